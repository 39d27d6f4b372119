-- clinicache: who may do what.  Nothing is granted to PUBLIC (90-finish.sql).

CREATE FUNCTION clinicache._check_owner(called text, what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner oid := (SELECT e.extowner FROM pg_extension AS e WHERE e.extname = 'clinicache');
BEGIN
  IF NOT pg_has_role(current_user, owner, 'USAGE') THEN
    RAISE EXCEPTION 'permission denied for clinicache.%', called
      USING ERRCODE = 'insufficient_privilege', HINT = format('Only superusers and the owner of the extension %s.', what);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_owner(text, text) IS
  'Internal: the caller must own the extension (42501)';

CREATE FUNCTION clinicache._check_grant(called text, grantee name) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM clinicache._check_owner(called, 'grant access to it');
  IF grantee IS NULL THEN
    RAISE EXCEPTION 'the role given to clinicache.% is null', called USING ERRCODE = 'null_value_not_allowed';
  ELSIF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = grantee) THEN
    RAISE EXCEPTION 'role "%" does not exist', grantee
      USING ERRCODE = 'undefined_object', HINT = 'Create it first; access cannot be granted to PUBLIC.';
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_grant(text, name) IS
  'Internal: the caller must own the extension (42501), the role must exist (42704)';

CREATE FUNCTION clinicache._subscriber_functions() RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(p.oid::regprocedure ORDER BY p.oid)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname = 'clinicache' AND p.proname IN ('position', 'changes', 'reached', 'tag')
$$;
COMMENT ON FUNCTION clinicache._subscriber_functions() IS 'Internal: functions that a subscriber calls';

CREATE FUNCTION clinicache._tracker_functions() RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- internal functions run with the caller's rights, so they must be callable and give nothing away
  SELECT array_agg(p.oid::regprocedure ORDER BY p.oid)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname = 'clinicache'
    AND (p.proname IN ('track', 'track_schema', 'plan', 'untrack', 'untrack_all', 'preview', 'preview_rows', 'pending_tags', 'tag', 'check_config',
                       'trigger_config', 'template_prefix', 'template_columns', 'lookup_steps', 'invalidate', 'invalidate_prefix', 'emit_prefix',
                       'count_rows', 'forget_counters', 'rebuild', 'typescript')
         OR (left(p.proname, 1) = '_' AND left(p.proname, 8) <> '_health_'
             AND p.proname NOT IN ('_check_owner', '_check_grant', '_subscriber_functions',
                                                            '_tracker_functions', '_reader_functions', '_other_functions',
                                                            '_grant_functions', '_revoke_functions', '_granted',
                                                            '_tracker_tables', '_regrant',
                                                            '_cron_schedule', '_cron_jobs', '_no_cron')))
$$;
COMMENT ON FUNCTION clinicache._tracker_functions() IS 'Internal: functions that a tracker calls, directly or through others';

CREATE FUNCTION clinicache._tracker_tables() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'clinicache.profile, clinicache.entity, clinicache.alias, clinicache.class, clinicache.tracked_tables, clinicache.tag_templates'
$$;
COMMENT ON FUNCTION clinicache._tracker_tables() IS 'Internal: tables and views that a tracker reads';

CREATE FUNCTION clinicache._reader_functions() RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(p.oid::regprocedure ORDER BY p.oid)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname = 'clinicache'
    AND p.proname IN ('count', 'total', 'series', 'clinic_dashboard', 'client_dashboard', 'doctor_dashboard')
$$;
COMMENT ON FUNCTION clinicache._reader_functions() IS 'Internal: functions that a reader of dashboards calls';

CREATE FUNCTION clinicache._granted() RETURNS TABLE (role name, access text, functions regprocedure[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- each kind of grant is told by a function that no other has
  SELECT r.rolname, k.access, k.functions
  FROM (VALUES ('subscriber', 'clinicache.changes(text, text[], int)'::regprocedure, clinicache._subscriber_functions()),
               ('tracker', 'clinicache.untrack(regclass)'::regprocedure, clinicache._tracker_functions()),
               ('reader', 'clinicache.clinic_dashboard(text)'::regprocedure, clinicache._reader_functions())) AS k(access, sign, functions)
  JOIN pg_proc AS p ON p.oid = k.sign
  CROSS JOIN LATERAL aclexplode(p.proacl) AS a
  JOIN pg_roles AS r ON r.oid = a.grantee AND r.oid <> p.proowner
$$;
COMMENT ON FUNCTION clinicache._granted() IS 'Internal: which roles were granted which kind of access, and the functions that it needs';

CREATE FUNCTION clinicache._other_functions(grantee name, less regprocedure[]) RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT f.function), '{}')
  FROM clinicache._granted() AS g CROSS JOIN LATERAL unnest(g.functions) AS f(function)
  WHERE g.role = _other_functions.grantee AND g.functions <> less
$$;
COMMENT ON FUNCTION clinicache._other_functions(name, regprocedure[]) IS
  'Internal: functions that a role has by its grants other than the one that gives these';

CREATE FUNCTION clinicache._grant_functions(functions regprocedure[], grantee name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  function regprocedure;
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA clinicache TO %I', grantee);
  FOREACH function IN ARRAY functions LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', function, grantee);
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._grant_functions(regprocedure[], name) IS 'Internal: grants the schema and functions';

CREATE FUNCTION clinicache._revoke_functions(functions regprocedure[], grantee name, kept regprocedure[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  function regprocedure;
BEGIN
  FOREACH function IN ARRAY functions LOOP
    IF function = ANY (kept) THEN
      CONTINUE;
    END IF;
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I', function, grantee);
  END LOOP;
  IF cardinality(kept) = 0 THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA clinicache FROM %I', grantee);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._revoke_functions(regprocedure[], name, regprocedure[]) IS
  'Internal: revokes functions, less those kept for the role''s other grant, and the schema when none are kept';

CREATE FUNCTION clinicache.grant_subscriber(role name, tenants text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('grant_subscriber', role);
  IF array_position(tenants, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'a tenant given to clinicache.grant_subscriber is null'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'Records of no tenant go to all subscribers anyhow.';
  END IF;
  DELETE FROM clinicache.subscriber AS s WHERE s.role = grant_subscriber.role;
  INSERT INTO clinicache.subscriber VALUES (grant_subscriber.role, grant_subscriber.tenants);
  PERFORM clinicache._grant_functions(clinicache._subscriber_functions(), role);
END
$$;
COMMENT ON FUNCTION clinicache.grant_subscriber(name, text[]) IS
  'Lets a role call position, changes, reached and tag, and see the records of these tenants and of no tenant; null: of all. Replaces an earlier grant. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.revoke_subscriber(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('revoke_subscriber', role);
  DELETE FROM clinicache.subscriber AS s WHERE s.role = revoke_subscriber.role;
  PERFORM clinicache._revoke_functions(clinicache._subscriber_functions(), role,
                                       clinicache._other_functions(role, clinicache._subscriber_functions()));
END
$$;
COMMENT ON FUNCTION clinicache.revoke_subscriber(name) IS
  'Undoes grant_subscriber. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.grant_tracker(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('grant_tracker', role);
  PERFORM clinicache._grant_functions(clinicache._tracker_functions(), role);
  EXECUTE format('GRANT SELECT ON %s TO %I', clinicache._tracker_tables(), role);
END
$$;
COMMENT ON FUNCTION clinicache.grant_tracker(name) IS
  'Lets a role that owns tables track them, preview and invalidate by hand. Such a role is trusted with tags. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.revoke_tracker(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('revoke_tracker', role);
  PERFORM clinicache._revoke_functions(clinicache._tracker_functions(), role,
                                       clinicache._other_functions(role, clinicache._tracker_functions()));
  EXECUTE format('REVOKE SELECT ON %s FROM %I', clinicache._tracker_tables(), role);
END
$$;
COMMENT ON FUNCTION clinicache.revoke_tracker(name) IS
  'Undoes grant_tracker; writes to tables that the role owns and tracks then fail or reset (clinicache.on_error), so untrack them first. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.grant_reader(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('grant_reader', role);
  PERFORM clinicache._grant_functions(clinicache._reader_functions(), role);
END
$$;
COMMENT ON FUNCTION clinicache.grant_reader(name) IS
  'Lets a role call count, total, series and the dashboards, of all clinics, without any right on the tables behind them: dashboards show the newest appointments, with patients'' names, as the tables'' owner sees them. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.revoke_reader(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('revoke_reader', role);
  PERFORM clinicache._revoke_functions(clinicache._reader_functions(), role,
                                       clinicache._other_functions(role, clinicache._reader_functions()));
END
$$;
COMMENT ON FUNCTION clinicache.revoke_reader(name) IS
  'Undoes grant_reader. Errors: 42501 not the extension''s owner, 42704 no such role';

-- ---------------------------------------------------------------------------------------------------------------------
-- New versions
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._regrant() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  granted record;
BEGIN
  PERFORM clinicache._check_owner('regrant', 'grant access to it');
  FOR granted IN SELECT * FROM clinicache._granted() LOOP
    PERFORM clinicache._grant_functions(granted.functions, granted.role);
    IF granted.access = 'tracker' THEN
      EXECUTE format('GRANT SELECT ON %s TO %I', clinicache._tracker_tables(), granted.role);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._regrant() IS 'Internal: what regrant does';

CREATE FUNCTION clinicache.regrant() RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_regrant' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.regrant() IS
  'Gives roles that were granted access by an earlier version what this one adds to it. ALTER EXTENSION UPDATE does it; to be called after a dump of an earlier version was restored. Errors: 42501 not the extension''s owner';
