-- clinicache: what is wrong, and the statement or setting that remedies it.
--
--   health -> _health_checks -> each _health_xxx() in a subtransaction of its own -> findings, critical first
--
-- A check reads catalogs and clinicache's own small tables, never a tracked table.  All are VOLATILE: they look anew.
-- All can be called on a standby.

CREATE FUNCTION clinicache._health_repair(rel regclass) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT clinicache._put_triggers(t.tgrelid, clinicache.trigger_config(t.oid)) FROM pg_trigger AS t '
                'WHERE t.tgrelid = %L::regclass AND t.tgname = %L', clinicache._table_name(rel), o.name)
  FROM clinicache._own_triggers(rel) AS o WHERE NOT o.cloned
  ORDER BY o.fires_on = 'row' DESC LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._health_repair(regclass) IS
  'Internal: the statement that makes a table''s triggers anew, from the configuration that one of them holds';

-- ---------------------------------------------------------------------------------------------------------------------
-- Tracked tables
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_triggers() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN t.state IN ('no row trigger', 'disabled', 'replica', 'trigger missing below', 'triggers differ below') OR r.off THEN 'critical'
              ELSE 'warning' END,
         CASE CASE WHEN r.off THEN 'disabled' ELSE t.state END
           WHEN 'disabled' THEN 'the row trigger is disabled: changes emit nothing'
           WHEN 'replica' THEN 'triggers fire for replicated changes only: others emit nothing'
           WHEN 'no row trigger' THEN 'the row trigger is missing: changes emit nothing'
           WHEN 'no truncate trigger' THEN 'the TRUNCATE trigger is missing: TRUNCATE emits nothing'
           WHEN 'triggers differ' THEN 'the TRUNCATE trigger is disabled, or fires at other times than the row trigger'
           WHEN 'trigger missing below' THEN 'a partition or inheritance child lacks a trigger'
           WHEN 'triggers differ below' THEN 'triggers of a partition are disabled or fire at other times'
           ELSE t.state END,
         t.relation::text,
         -- a lone TRUNCATE trigger may be what a detached partition has left
         clinicache._health_repair(t.relation)
         || CASE t.state WHEN 'no row trigger' THEN format('; or SELECT clinicache.untrack(%L)', clinicache._table_name(t.relation)) ELSE '' END
  FROM clinicache.tracked_tables AS t
  CROSS JOIN LATERAL (SELECT coalesce(bool_or(o.state = 'D'), false) AS off
                      FROM clinicache._own_triggers(t.relation) AS o WHERE o.fires_on = 'row') AS r
  WHERE t.state NOT IN ('enabled', 'always')
  ORDER BY t.relation::text
$$;
COMMENT ON FUNCTION clinicache._health_triggers() IS 'Internal: part of health: triggers disabled or missing';

CREATE FUNCTION clinicache._health_configuration() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target record;
  effect text;
  hint   text;
BEGIN
  severity := 'critical';
  FOR target IN
    SELECT t.tgrelid::regclass AS relation, clinicache.trigger_config(t.oid) AS config, pg_get_userbyid(c.relowner) AS owner,
           clinicache._may_track(c.relowner) AS trusted
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure
    ORDER BY t.tgrelid::regclass::text
  LOOP
    effect := CASE current_setting('clinicache.on_error', true)
                WHEN 'error' THEN 'its changes fail' ELSE 'each of its changes drops everything' END;
    object := target.relation::text;
    IF NOT target.trusted THEN
      finding := format('its owner %I may not track tables: %s', target.owner, effect);
      remedy := format('SELECT clinicache.grant_tracker(%L)', target.owner);
      RETURN NEXT;
      CONTINUE;
    END IF;
    BEGIN
      PERFORM clinicache.check_config(target.relation, target.config);
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
      finding := format('its configuration can not be used: %s: %s', effect, SQLERRM);
      remedy := concat_ws(' ', CASE WHEN target.config ? 'entity'
                                    THEN format('SELECT clinicache.track(%L, %L)', clinicache._table_name(target.relation), target.config ->> 'entity')
                                    ELSE format('SELECT clinicache.track(%L, ...) anew', clinicache._table_name(target.relation)) END,
                          '-- ' || nullif(hint, ''));
      RETURN NEXT;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_configuration() IS
  'Internal: part of health: configurations that can not be used, and owners that are not trusted with tags';

CREATE FUNCTION clinicache._health_lookups() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'critical',
         format('nothing tells when rows of %s lead its look-ups elsewhere: a trigger is %s', p.relation,
                CASE WHEN t.oid IS NULL THEN 'missing' ELSE 'disabled' END),
         l.relation::text,
         clinicache._health_repair(l.relation)
  FROM clinicache._looking_up() AS l CROSS JOIN LATERAL clinicache._parents(l.relation, l.config) AS p
  LEFT JOIN pg_trigger AS t ON t.tgrelid = p.relation AND t.tgfoid = 'clinicache.parent_change()'::regprocedure
                               AND t.tgname = format('clinicache_parent_%s_%s', l.config ->> 'parents', p.number)
  WHERE t.oid IS NULL OR t.tgenabled IN ('D', 'R')
  ORDER BY l.relation::text, p.number
$$;
COMMENT ON FUNCTION clinicache._health_lookups() IS
  'Internal: part of health: look-ups through tables whose rows move unnoticed';

CREATE FUNCTION clinicache._health_untracked() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  shown    int := 20;
  names    text[] := ARRAY(SELECT DISTINCT s.name
                           FROM unnest(clinicache._candidates('clinic', '[]')) AS c(name),
                                unnest(ARRAY[c.name, clinicache._snake(c.name), clinicache._camel(c.name)]) AS s(name));
  clinics  oid[] := ARRAY(SELECT t.relation::oid FROM clinicache.tracked_tables AS t WHERE t.entity = 'clinic');
  target   record;
  preset   text;
  key      text;
BEGIN
  FOR target IN
    SELECT c.oid::regclass AS relation, c.relname::text AS name, k.attname AS clinic, row_number() OVER w AS n, count(*) OVER () AS all_of_them
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
      SELECT a.attname FROM pg_attribute AS a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        -- the slow question is asked of columns with a foreign key only: nothing refuses others
        AND CASE WHEN EXISTS (SELECT FROM pg_constraint AS f WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum])
                 THEN EXISTS (SELECT FROM pg_constraint AS f
                              WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum] AND f.confrelid = ANY (clinics))
                      OR a.attname = ANY (names) AND clinicache._refused_by(c.oid::regclass, a.attname::text, 'clinic') IS NULL
                 ELSE a.attname = ANY (names) END
      ORDER BY array_position(names, a.attname::text), a.attnum LIMIT 1) AS k
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition AND c.oid >= 16384
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'clinicache') AND NOT clinicache._is_bookkeeping(c.relname::text)
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      AND NOT EXISTS (SELECT FROM pg_trigger AS t
                      WHERE t.tgrelid = c.oid AND t.tgfoid IN ('clinicache.row_change()'::regprocedure, 'clinicache.truncate_change()'::regprocedure))
    WINDOW w AS (ORDER BY n.nspname, c.relname)
    ORDER BY n
  LOOP
    IF target.n > shown THEN
      severity := 'notice';
      finding := format('%s more tables have a clinic and are not tracked', target.all_of_them - shown);
      object := NULL;
      remedy := 'Track those first that are listed';
      RETURN NEXT;
      EXIT;
    END IF;
    preset := clinicache._entity_named(target.name);
    key := clinicache._find_id(target.relation, '[]') ->> 'column';
    severity := CASE WHEN preset IS NULL THEN 'notice' ELSE 'warning' END;
    finding := format('has a clinic (column "%s") and is not tracked: its changes emit nothing', target.clinic);
    object := target.relation::text;
    remedy := CASE WHEN preset IS NULL
                   THEN format('SELECT clinicache.track(%L, %L)', clinicache._table_name(target.relation),
                               jsonb_build_object('tenant', target.clinic, 'tags', to_jsonb(array_remove(ARRAY[
                                 target.name || ':{' || key || '}', target.name || ':clinic:{' || target.clinic || '}'], NULL))))
                   ELSE format('SELECT clinicache.track(%L, %L)', clinicache._table_name(target.relation), preset) END;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_untracked() IS
  'Internal: part of health: tables that say whose clinic a row is, and that nobody tracks; at most twenty';

CREATE FUNCTION clinicache._health_indexes() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE w.purpose WHEN 'edges' THEN 'warning' ELSE 'notice' END,
         CASE w.purpose WHEN 'edges' THEN 'no index for clock edges: they read the whole table'
                        ELSE 'no index for dashboards: their newest appointments have to be searched for' END,
         t.tgrelid::regclass::text,
         format('CREATE INDEX ON %s (%s)', clinicache._table_name(t.tgrelid),
                (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.n) FROM unnest(w.columns) WITH ORDINALITY AS c(name, n)))
  FROM pg_trigger AS t, clinicache._wanted_indexes(t.tgrelid, clinicache.trigger_config(t.oid)) AS w
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure
  ORDER BY 3, 4
$$;
COMMENT ON FUNCTION clinicache._health_indexes() IS 'Internal: part of health: indexes that large tracked tables lack';

CREATE FUNCTION clinicache._health_counters() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', f.finding, format('%s of %s', f.counter, f.relation), format('SELECT clinicache.rebuild(%L)', f.counter)
  FROM (SELECT format('the counter is not valid, so it is read from the table, slowly: %s', r.reason) AS finding, r.counter, r.relation
        FROM clinicache.counter_registry AS r WHERE NOT r.valid
        UNION ALL
        SELECT 'the counter was never counted here (a restored dump?), so it is read from the table, slowly', k ->> 'counter', t.relation
        FROM clinicache._counter_tables(NULL) AS t, jsonb_array_elements(t.config -> 'counters') AS k
        WHERE NOT EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = t.relation AND s.counter = k ->> 'counter')
        UNION ALL
        SELECT format('the counter''s days are those of %s, but clinicache.timezone is %s now', s.timezone, current_setting('clinicache.timezone')),
               s.counter, s.relation
        FROM clinicache.counter_source AS s WHERE s.timezone <> current_setting('clinicache.timezone')
          AND NOT EXISTS (SELECT FROM clinicache.counter_invalid AS i WHERE i.source = s.id)) AS f
  ORDER BY f.counter, f.relation::text, f.finding
$$;
COMMENT ON FUNCTION clinicache._health_counters() IS 'Internal: part of health: counters that are not valid, or not there';

CREATE FUNCTION clinicache._health_tenants() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  zone record;
BEGIN
  severity := 'critical';
  FOR zone IN SELECT t.timezone AS name, min(t.tenant) AS tenant, count(*) AS tenants FROM clinicache.tenant AS t GROUP BY 1 ORDER BY 1 LOOP
    BEGIN
      PERFORM now() AT TIME ZONE zone.name;
    EXCEPTION WHEN invalid_parameter_value THEN
      finding := format('the server does not know time zone "%s" (any more) of %s', zone.name,
                        CASE zone.tenants WHEN 1 THEN 'a tenant' ELSE zone.tenants || ' tenants' END);
      object := zone.tenant;
      remedy := format('UPDATE clinicache.tenant SET timezone = ''...'' WHERE timezone = %L -- or install its time zone data', zone.name);
      RETURN NEXT;
    END;
  END LOOP;
  severity := 'warning';
  FOR finding, object, remedy IN
    SELECT 'a subscriber''s role does not exist any more', s.role::text, format('DELETE FROM clinicache.subscriber WHERE role = %L', s.role)
    FROM clinicache.subscriber AS s WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = s.role) ORDER BY s.role
  LOOP
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_tenants() IS
  'Internal: part of health: time zones that the server does not know, subscribers without a role';

CREATE FUNCTION clinicache._health_grants() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', format('access as a %s was granted by an earlier version, and lacks what this one adds', g.access),
         format('role %I', g.role), 'SELECT clinicache.regrant()'
  FROM clinicache._granted() AS g
  WHERE EXISTS (SELECT FROM unnest(g.functions) AS f(function) WHERE NOT has_function_privilege(g.role, f.function, 'EXECUTE'))
  ORDER BY 3, 2
$$;
COMMENT ON FUNCTION clinicache._health_grants() IS 'Internal: part of health: grants that a restored dump of an earlier version left incomplete';

-- ---------------------------------------------------------------------------------------------------------------------
-- Delivery and upkeep
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_delivery() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stat   record;
  wanted text;
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN;                     -- the primary delivers
  END IF;
  SELECT * INTO stat FROM clinicache.delivery_state();
  wanted := current_setting('clinicache.delivery');
  object := 'worker';
  IF stat.worker_state = 'not preloaded' THEN
    IF wanted = 'worker' THEN
      severity := 'critical';
      finding := 'clinicache.delivery is worker, but the library is not preloaded: nobody notifies between two calls of maintain()';
    ELSE
      severity := 'notice';
      finding := 'the library is not preloaded: there is no worker, no statistics, and commits take NOTIFY''s lock';
    END IF;
    remedy := format('ALTER SYSTEM SET shared_preload_libraries = %s; and restart',
                     concat_ws(', ', nullif(current_setting('shared_preload_libraries'), ''), 'clinicache'))
              || CASE wanted WHEN 'worker' THEN '; or ALTER SYSTEM SET clinicache.delivery = auto' ELSE
                      '; where that is impossible, ALTER SYSTEM SET clinicache.delivery = commit' END;
    -- who chose commit or log knows
    IF wanted IN ('auto', 'worker') THEN
      RETURN NEXT;
    END IF;
  ELSIF stat.worker_state NOT IN ('running', 'starting') THEN
    severity := CASE wanted WHEN 'worker' THEN 'critical' ELSE 'warning' END;
    finding := format('the worker is down: %s', concat_ws(': ', stat.worker_state, stat.last_error));
    -- the launcher, too, takes one of them, and without it there is no worker
    remedy := CASE CASE WHEN stat.worker_state = 'none' AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.backend_type = 'clinicache launcher')
                        THEN 'no free background worker' ELSE stat.worker_state END
                WHEN 'no free background worker'
                THEN format('ALTER SYSTEM SET max_worker_processes = %s; and restart', current_setting('max_worker_processes')::int + 4)
                WHEN 'blocked' THEN 'Nothing, if it passes: DROP DATABASE or the like stopped the worker. Else restart the server'
                WHEN 'silent' THEN format('SELECT pg_terminate_backend(%s) -- it is started again', coalesce(stat.worker_pid::text, '...'))
                ELSE 'See the server''s log; the worker is started again within seconds' END;
    RETURN NEXT;
  END IF;
  IF stat.lag_ms > 60000 THEN
    severity := 'warning';
    finding := format('%s change records have been waiting for delivery for %s s', stat.lag_records, round(stat.lag_ms / 1000));
    remedy := 'See the worker''s last error in clinicache.stat_delivery, and the fill of the notification queue';
    RETURN NEXT;
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._health_delivery() IS 'Internal: part of health: the worker, and whether clinicache.delivery can be had';

CREATE FUNCTION clinicache._health_upkeep() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  state  text := (SELECT s.worker_state FROM clinicache.delivery_state() AS s);
  worker boolean := state NOT IN ('not preloaded', 'none', 'no free background worker');
  job    boolean := false;
  age    interval;
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') THEN
    job := EXISTS (SELECT FROM clinicache._cron_jobs() AS j(id) JOIN cron.job AS c ON c.jobid = j.id WHERE c.active);
  END IF;
  SELECT clock_timestamp() - h.at INTO age FROM clinicache.position_history AS h ORDER BY h.id DESC LIMIT 1;
  object := 'maintain()';
  remedy := CASE WHEN worker THEN 'See clinicache.stat_delivery and the server''s log'
                 WHEN job THEN 'SELECT * FROM cron.job_run_details ORDER BY runid DESC LIMIT 10 -- what became of the job'
                 ELSE 'SELECT clinicache.schedule() -- with pg_cron; or preload the library, for its worker' END;
  IF age IS NULL OR age > interval '10 minutes' THEN
    severity := CASE WHEN age < interval '1 hour' THEN 'warning' ELSE 'critical' END;
    finding := CASE WHEN age IS NULL THEN 'upkeep was never done'
                    ELSE format('upkeep was last done %s ago', date_trunc('second', age)) END
               || ': no heartbeat, the log grows, and what commits could not deliver stays undelivered';
    RETURN NEXT;
  -- any other scheduler shows in what it did: ours here is the row that CREATE EXTENSION made
  ELSIF NOT worker AND NOT job AND NOT EXISTS (SELECT FROM clinicache.position_history AS h OFFSET 1) THEN
    severity := 'warning';
    finding := 'nobody does the upkeep: there is no worker and no job of pg_cron in this database';
    RETURN NEXT;
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._health_upkeep() IS 'Internal: part of health: whether somebody calls maintain()';

CREATE FUNCTION clinicache._health_cron() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') THEN
    RETURN;
  END IF;
  FOR finding, object, remedy IN
    SELECT CASE WHEN NOT j.active THEN 'the job that does the upkeep is not active'
                ELSE format('the job that does the upkeep fails: %s', r.return_message) END,
           format('job %s of pg_cron', j.jobid),
           CASE WHEN NOT j.active THEN 'SELECT clinicache.schedule() -- replaces it'
                ELSE 'Let pg_cron in by pg_hba.conf, or ALTER SYSTEM SET cron.use_background_workers = on; and restart' END
    FROM clinicache._cron_jobs() AS c(id) JOIN cron.job AS j ON j.jobid = c.id
    LEFT JOIN LATERAL (SELECT d.status, d.return_message FROM cron.job_run_details AS d
                       WHERE d.jobid = j.jobid AND d.status IN ('succeeded', 'failed') ORDER BY d.runid DESC LIMIT 1) AS r ON true
    WHERE NOT j.active OR r.status = 'failed'
    ORDER BY j.jobid
  LOOP
    severity := 'warning';      -- that upkeep is not done is another finding
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_cron() IS 'Internal: part of health: pg_cron''s job, where there is one';

CREATE FUNCTION clinicache._health_log() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning',
         CASE WHEN l.size > l.most THEN format('the log is larger than clinicache.log_max_size (%s of %s): subscribers that were away are told to reset',
                                               pg_size_pretty(l.size), pg_size_pretty(l.most))
              ELSE format('the log is near clinicache.log_max_size (%s of %s): then its oldest part goes, whatever the retention',
                          pg_size_pretty(l.size), pg_size_pretty(l.most)) END,
         'clinicache.invalidation_log',
         format('ALTER SYSTEM SET clinicache.log_max_size = ''%s MB''; SELECT pg_reload_conf() -- or a shorter clinicache.retention than %s',
                2 * greatest(l.size, l.most) / 1048576, current_setting('clinicache.retention'))
  FROM (SELECT sum(pg_total_relation_size(i.inhrelid))::bigint AS size, pg_size_bytes(current_setting('clinicache.log_max_size')) AS most
        FROM pg_inherits AS i WHERE i.inhparent = 'clinicache.invalidation_log'::regclass) AS l
  WHERE l.size > 0.8 * l.most
$$;
COMMENT ON FUNCTION clinicache._health_log() IS 'Internal: part of health: size of the log';

CREATE FUNCTION clinicache._health_queue() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- the tail is held by a session that listens and is inside a transaction: the oldest is the likeliest
  SELECT CASE WHEN q.used > q.most THEN 'critical' ELSE 'warning' END,
         format('the notification queue is %s %% full', round(q.used * 100))
         || CASE WHEN q.used > q.most THEN ': commits leave their records to the worker or to maintain()' ELSE '' END,
         'notification queue',
         coalesce((SELECT format('SELECT pg_terminate_backend(%s) -- %s, in a transaction since %s; if it is that which listens', a.pid,
                                 coalesce(nullif(a.application_name, ''), a.usename), to_char(a.xact_start, 'YYYY-MM-DD HH24:MI'))
                   FROM pg_stat_activity AS a
                   WHERE a.backend_type = 'client backend' AND a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid()
                   ORDER BY a.xact_start LIMIT 1),
                  'End the session that listens and does not read')
  FROM (SELECT pg_notification_queue_usage()::numeric AS used, current_setting('clinicache.notify_queue_limit')::numeric AS most) AS q
  WHERE q.used > q.most / 2 AND q.used > 0.01
$$;
COMMENT ON FUNCTION clinicache._health_queue() IS 'Internal: part of health: fill of PostgreSQL''s notification queue';

-- ---------------------------------------------------------------------------------------------------------------------
-- Around us
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_transactions() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', format('a prepared transaction is %s old: its tags wait for it, and old rows of log and counters stay',
                           date_trunc('minute', clock_timestamp() - p.prepared)),
         format('prepared transaction %L', p.gid), format('COMMIT PREPARED %1$L or ROLLBACK PREPARED %1$L', p.gid)
  FROM pg_prepared_xacts AS p
  WHERE p.database = current_database() AND p.prepared < clock_timestamp() - interval '1 hour'
  UNION ALL
  SELECT 'warning', format('a transaction is %s old (%s): old rows of log and counters stay while it lasts',
                           date_trunc('minute', clock_timestamp() - a.xact_start), coalesce(a.state, a.backend_type)),
         concat_ws(' ', 'process', a.pid, nullif(a.application_name, ''), a.usename), format('SELECT pg_terminate_backend(%s)', a.pid)
  FROM pg_stat_activity AS a
  WHERE a.datname = current_database() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
    AND a.backend_type <> 'autovacuum worker' AND a.xact_start < clock_timestamp() - interval '1 hour'
  UNION ALL
  -- a slot does not say since when
  SELECT 'warning', format('a replication slot that nobody uses holds a snapshot that is %s transactions old: old rows of log and counters stay',
                           age(s.xmin)),
         format('replication slot %I', s.slot_name), format('SELECT pg_drop_replication_slot(%L)', s.slot_name)
  FROM pg_replication_slots AS s
  WHERE s.xmin IS NOT NULL AND NOT s.active AND (s.database IS NULL OR s.database = current_database())
$$;
COMMENT ON FUNCTION clinicache._health_transactions() IS
  'Internal: part of health: old transactions, prepared ones, and replication slots that keep old rows';

CREATE FUNCTION clinicache._health_publications() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'notice', 'it publishes clinicache''s tables with all others: other servers pass over them, but positions are not thinned out',
         format('publication %I', p.pubname), 'Publish schemas or tables by name instead of ALL TABLES'
  FROM pg_publication AS p WHERE p.puballtables
  UNION ALL
  SELECT 'warning', 'it publishes schema clinicache, which is this server''s own', format('publication %I', p.pubname),
         format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA clinicache', p.pubname)
  FROM pg_publication AS p JOIN pg_publication_namespace AS n ON n.pnpubid = p.oid WHERE n.pnnspid = 'clinicache'::regnamespace
  UNION ALL
  -- what users add to the vocabulary they may well publish
  SELECT 'warning', format('it publishes %s, which is this server''s own', c.oid::regclass), format('publication %I', p.pubname),
         format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, c.oid::regclass)
  FROM pg_publication AS p JOIN pg_publication_rel AS r ON r.prpubid = p.oid JOIN pg_class AS c ON c.oid = r.prrelid
  WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relname NOT IN ('profile', 'entity', 'alias', 'class', 'tenant')
  ORDER BY 3, 4
$$;
COMMENT ON FUNCTION clinicache._health_publications() IS 'Internal: part of health: clinicache''s own tables in publications';

CREATE FUNCTION clinicache._health_subscriptions() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'critical', 'logical replication writes to it, and its triggers do not fire for that: such changes emit nothing and are not counted',
         s.srrelid::regclass::text,
         format('SELECT clinicache._put_triggers(t.tgrelid, clinicache.trigger_config(t.oid) || ''{"fire": "always"}'') FROM pg_trigger AS t '
                'WHERE t.tgrelid = %L::regclass AND t.tgname = %L', clinicache._table_name(r.root), r.name)
  FROM (SELECT DISTINCT p.srrelid FROM pg_subscription_rel AS p) AS s
  -- a partition's trigger is that of the table which is tracked
  CROSS JOIN LATERAL (SELECT l.relation AS root, t.name, t.state FROM clinicache._lineage(s.srrelid::regclass) AS l, clinicache._own_triggers(l.relation) AS t
                      WHERE t.fires_on = 'row' AND NOT t.cloned ORDER BY l.level LIMIT 1) AS r
  WHERE r.state = 'O'
  ORDER BY 3
$$;
COMMENT ON FUNCTION clinicache._health_subscriptions() IS
  'Internal: part of health: tables that a subscription fills, and whose triggers do not fire then';

CREATE FUNCTION clinicache._health_settings() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'critical', 'session_replication_role is replica here: changes emit nothing where tables are not tracked with "fire": "always"',
         replace(replace(concat_ws(' in ', w.role, w.base), 'ROLE ', 'role '), 'DATABASE ', 'database '),
         'ALTER ' || concat_ws(' IN ', w.role, w.base) || ' RESET session_replication_role'
  FROM pg_db_role_setting AS s
  LEFT JOIN pg_roles AS r ON r.oid = s.setrole
  LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
  CROSS JOIN LATERAL (
    SELECT CASE WHEN s.setrole <> 0 THEN format('ROLE %I', r.rolname) WHEN s.setdatabase = 0 THEN 'ROLE ALL' END AS role,
           CASE WHEN s.setdatabase <> 0 THEN format('DATABASE %I', d.datname) END AS base) AS w
  WHERE 'session_replication_role=replica' = ANY (s.setconfig) AND (s.setdatabase = 0 OR d.datname = current_database())
  UNION ALL
  SELECT 'critical', 'session_replication_role is replica for the whole server: changes emit nothing where tables are not tracked with "fire": "always"',
         'session_replication_role', 'ALTER SYSTEM RESET session_replication_role; SELECT pg_reload_conf() -- it may stand in postgresql.conf too'
  FROM pg_settings AS s
  WHERE s.name = 'session_replication_role' AND s.setting = 'replica' AND s.source IN ('configuration file', 'command line')
$$;
COMMENT ON FUNCTION clinicache._health_settings() IS
  'Internal: part of health: session_replication_role set for a role, a database or the server';

-- ---------------------------------------------------------------------------------------------------------------------
-- What users call
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_checks() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '{triggers,configuration,lookups,delivery,upkeep,cron,log,queue,settings,subscriptions,counters,tenants,grants,indexes,transactions,publications,untracked}'::text[]
$$;
COMMENT ON FUNCTION clinicache._health_checks() IS 'Internal: the checks of health, the weightiest first';

CREATE FUNCTION clinicache._health_all() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  check_name text;
BEGIN
  PERFORM clinicache.delivery_state();          -- loads the library: its settings are there from now on
  FOREACH check_name IN ARRAY clinicache._health_checks() LOOP
    BEGIN
      RETURN QUERY EXECUTE format('SELECT * FROM clinicache.%I()', '_health_' || check_name);
    EXCEPTION WHEN OTHERS THEN
      severity := 'warning';
      finding := format('check "%s" failed: %s', check_name, SQLERRM);
      object := NULL;
      remedy := format('SELECT * FROM clinicache.%I() -- says more', '_health_' || check_name);
      RETURN NEXT;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_all() IS 'Internal: findings of all checks; one that fails is a finding';

-- compiling the many small queries would take longer than running them
CREATE FUNCTION clinicache.health() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT h.severity, h.finding, h.object, h.remedy
  FROM clinicache._health_all() WITH ORDINALITY AS h(severity, finding, object, remedy, n)
  ORDER BY array_position('{critical,warning,notice}'::text[], h.severity), h.n
$$;
COMMENT ON FUNCTION clinicache.health() IS
  'What is wrong in this database, with the statement or setting that remedies it; critical (changes are missed, or everything is dropped), warning, notice; no rows: healthy. Reads catalogs and clinicache''s own tables only. For the extension''s owner';
