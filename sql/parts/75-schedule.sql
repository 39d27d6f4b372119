-- clinicache: upkeep by pg_cron, for servers without the worker.
--
--   schedule -> _cron_schedule (interval to pg_cron's notation) -> cron.schedule -> CALL clinicache.maintain()
--   track (42) -> _warn_no_upkeep -> _upkeep_missing
--
-- pg_cron is not required: what names its tables is PL/pgSQL, which looks for them only when it runs.  That schema cron is
-- pg_cron's, and not anybody's, follows from the extension being there: it creates the schema.

CREATE FUNCTION clinicache._cron_schedule(seconds int, version text, OUT schedule text, OUT period int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- fields of a cron line that divide the hour or the day: others would make the last interval before its end a shorter one
  SELECT c.schedule, c.period
  FROM (SELECT n || ' seconds', n FROM generate_series(1, 59) AS n
        WHERE regexp_match(_cron_schedule.version, '^(\d+)\.(\d+)')::int[] >= '{1,5}'
        UNION ALL
        SELECT CASE n WHEN 1 THEN '*' ELSE '*/' || n END || ' * * * *', n * 60 FROM generate_series(1, 30) AS n WHERE 60 % n = 0
        UNION ALL
        SELECT CASE n WHEN 1 THEN '0 *' ELSE '0 */' || n END || ' * * *', n * 3600 FROM generate_series(1, 12) AS n WHERE 24 % n = 0
        UNION ALL
        VALUES ('0 0 * * *', 86400)) AS c(schedule, period)
  ORDER BY c.period <= _cron_schedule.seconds DESC, abs(c.period - _cron_schedule.seconds)
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._cron_schedule(int, text) IS
  'Internal: the longest schedule that this version of pg_cron knows and that is not longer than so many seconds, else (before 1.5, less than a minute) the shortest; and its seconds';

CREATE FUNCTION clinicache._cron_jobs() RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  title name := 'clinicache ' || current_database();
BEGIN
  RETURN QUERY
    SELECT j.jobid FROM cron.job AS j
    WHERE j.database = current_database() AND j.command ~* '^\s*call\s+clinicache\s*\.\s*maintain\s*\(\s*\)[\s;]*$'
       OR j.jobname::name = title AND j.username = current_user;
END
$$;
COMMENT ON FUNCTION clinicache._cron_jobs() IS
  'Internal: jobs of pg_cron that do this database''s upkeep, made by hand too, as far as the caller may see them. Only where pg_cron is';

CREATE FUNCTION clinicache._no_cron(seconds int) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- not shown to everybody; null then, as without the library
  home    text := (SELECT s.setting FROM pg_settings AS s WHERE s.name = 'cron.database_name');
  version text := (SELECT a.default_version FROM pg_available_extensions AS a WHERE a.name = 'pg_cron');
BEGIN
  IF home = current_database() THEN
    RAISE EXCEPTION 'extension pg_cron is missing in database "%"', home
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'CREATE EXTENSION pg_cron, as superuser.';
  ELSIF home IS NOT NULL THEN
    RAISE EXCEPTION 'pg_cron is in database "%", not in "%"', home, current_database()
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = format('In database "%s", as superuser: SELECT cron.schedule_in_database(%L, %L, %L, %L)', home,
                          'clinicache ' || current_database(), (clinicache._cron_schedule(seconds, version)).schedule,
                          'CALL clinicache.maintain()', current_database());
  END IF;
  RAISE EXCEPTION 'there is no pg_cron in database "%"', current_database()
    USING ERRCODE = 'object_not_in_prerequisite_state',
          HINT = format('Install package postgresql-%s-cron, name pg_cron in shared_preload_libraries and this database in cron.database_name, '
                        'restart, CREATE EXTENSION pg_cron. Or name clinicache in shared_preload_libraries: its worker does the upkeep. '
                        'Or let any scheduler run psql -c ''CALL clinicache.maintain()''.',
                        current_setting('server_version_num')::int / 10000);
END
$$;
COMMENT ON FUNCTION clinicache._no_cron(int) IS
  'Internal: the error for a database without pg_cron (55000), with what to do instead';

CREATE FUNCTION clinicache.unschedule() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job     bigint;
  removed boolean := false;
BEGIN
  PERFORM clinicache._check_owner('unschedule', 'schedule its upkeep');
  IF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') THEN
    RAISE NOTICE 'there is no pg_cron in database "%"', current_database()
      USING HINT = format('If the upkeep is scheduled from another database, in that: SELECT cron.unschedule(%L)',
                          'clinicache ' || current_database());
    RETURN false;
  END IF;
  FOR job IN SELECT j.id FROM clinicache._cron_jobs() AS j(id) LOOP
    PERFORM cron.unschedule(job);
    removed := true;
  END LOOP;
  RETURN removed;
END
$$;
COMMENT ON FUNCTION clinicache.unschedule() IS
  'Removes the jobs of pg_cron that do this database''s upkeep, for example before DROP EXTENSION; returns whether there was one. Without pg_cron: a NOTICE, and false. Errors: 42501 not the extension''s owner';

CREATE FUNCTION clinicache.schedule(every interval DEFAULT '30 seconds') RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  seconds numeric := extract(epoch FROM schedule.every);
  version text := (SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'pg_cron');
  chosen  record;
BEGIN
  PERFORM clinicache._check_owner('schedule', 'schedule its upkeep');
  IF seconds IS NULL OR seconds NOT BETWEEN 1 AND 86400 OR seconds <> trunc(seconds) THEN
    RAISE EXCEPTION 'upkeep can not be scheduled every %', coalesce(schedule.every::text, 'null')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Give whole seconds, from 1 second to 1 day; 30 seconds do well.';
  ELSIF version IS NULL THEN
    PERFORM clinicache._no_cron(seconds::int);
  END IF;
  SELECT s.schedule, s.period INTO chosen FROM clinicache._cron_schedule(seconds::int, version) AS s;
  IF chosen.period > seconds THEN
    RAISE NOTICE 'upkeep is scheduled every minute: pg_cron % knows nothing shorter', version
      USING HINT = 'pg_cron 1.5 and later know seconds.';
  ELSIF chosen.period < seconds THEN
    RAISE NOTICE 'upkeep is scheduled every %: pg_cron can not say every %', make_interval(secs => chosen.period), schedule.every;
  END IF;
  -- removed first: cron.schedule() leaves a job of this name as inactive, and on the port, as it was
  PERFORM clinicache.unschedule();
  RETURN cron.schedule('clinicache ' || current_database(), chosen.schedule, 'CALL clinicache.maintain()');
END
$$;
COMMENT ON FUNCTION clinicache.schedule(interval) IS
  'Lets pg_cron call maintain() in this database, as the caller; returns the number of the job (cron.job.jobid), which replaces earlier ones. What pg_cron can not express becomes the next shorter interval, before pg_cron 1.5 at least a minute, with a NOTICE. Errors: 22023 not whole seconds from a second to a day, 55000 no pg_cron in this database, 42501 not the extension''s owner';

-- ---------------------------------------------------------------------------------------------------------------------
-- What track() says when nobody does it
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._upkeep_missing() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- a worker that is starting or has failed is coming
  IF (SELECT s.worker_state NOT IN ('not preloaded', 'none', 'no free background worker') FROM clinicache.delivery_state() AS s)
     OR EXISTS (SELECT FROM clinicache.position_history AS h WHERE h.at > clock_timestamp() - interval '10 minutes') THEN
    RETURN false;
  ELSIF NOT EXISTS (SELECT FROM pg_extension AS e, pg_namespace AS n
                    WHERE e.extname = 'pg_cron' AND n.nspname = 'cron' AND has_schema_privilege(n.oid, 'USAGE')) THEN
    RETURN true;
  END IF;
  -- a job counts until it has failed: not let in by pg_hba.conf, mostly
  RETURN NOT EXISTS (SELECT FROM clinicache._cron_jobs() AS j(id) JOIN cron.job AS c ON c.jobid = j.id
                     WHERE c.active
                       AND (SELECT d.status FROM cron.job_run_details AS d WHERE d.jobid = j.id ORDER BY d.runid DESC LIMIT 1)
                           IS DISTINCT FROM 'failed');
END
$$;
COMMENT ON FUNCTION clinicache._upkeep_missing() IS
  'Internal: true when no worker runs, no job of pg_cron is scheduled (or it fails), and maintain() was not called for ten minutes. SECURITY DEFINER: trackers do not read what it reads';

CREATE FUNCTION clinicache._warn_no_upkeep(rel regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- once a session; prefix "clinicache" takes no settings but its own
  IF current_setting('clinicache_session.told_no_upkeep', true) = 'on'
     OR (SELECT c.relpersistence = 't' FROM pg_class AS c WHERE c.oid = rel)
     OR NOT clinicache._upkeep_missing() THEN
    RETURN;
  END IF;
  RAISE WARNING 'nobody does the upkeep of clinicache in this database'
    USING DETAIL = 'clinicache.maintain() was not called for ten minutes or more. Without it there is no heartbeat, the log grows, '
                   'and what a commit could not deliver stays undelivered.',
          HINT = 'Name clinicache in shared_preload_libraries, for its worker; or SELECT clinicache.schedule(), with pg_cron. '
                 'If a job is scheduled, cron.job_run_details has its error.';
  PERFORM set_config('clinicache_session.told_no_upkeep', 'on', false);
END
$$;
COMMENT ON FUNCTION clinicache._warn_no_upkeep(regclass) IS
  'Internal: one WARNING a session when _upkeep_missing(), unless the table is temporary';
