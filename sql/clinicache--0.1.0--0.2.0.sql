-- clinicache: from version 0.1.0 to 0.2.0.  Made by sql/upgrade-script, but for what sql/upgrade adds.
\echo Use "ALTER EXTENSION clinicache UPDATE" to load this file. \quit

CREATE OR REPLACE FUNCTION clinicache._ddl_step(kind text, rel regclass, attnum int, other regclass, old_name text, new_name text,
                                     OUT refusal jsonb, OUT changed boolean, OUT recount boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config jsonb := clinicache._row_config(rel);
  col    text;
BEGIN
  changed := false;
  recount := true;
  CASE kind
    WHEN 'rename column' THEN
      PERFORM clinicache._rewrite_triggers(rel, old_name, new_name);
    WHEN 'alter type' THEN
      col := (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = rel AND a.attnum = _ddl_step.attnum);
      IF col = ANY (clinicache._stands_for(config, clinicache._names_in_config(config))) THEN
        refusal := clinicache._column_retyped(rel, col);
        changed := true;
      END IF;
    WHEN 'create' THEN
      refusal := clinicache._child_came(rel, other, (SELECT c.relispartition FROM pg_class AS c WHERE c.oid = other));
    WHEN 'attach', 'inherit' THEN
      refusal := clinicache._child_came(rel, other, kind = 'attach');
      changed := refusal IS NULL AND NOT clinicache._is_empty(other);
    WHEN 'detach', 'detach concurrently', 'no inherit' THEN
      changed := NOT clinicache._is_empty(other);
      recount := kind <> 'detach concurrently';
      PERFORM clinicache._child_went(rel, other, kind <> 'no inherit');
    WHEN 'triggers off' THEN
      PERFORM clinicache._distrust_table(l.relation, 'triggers were disabled') FROM clinicache._lineage(rel) AS l;
    WHEN 'triggers on' THEN
      changed := true;          -- perhaps, while nobody looked
    WHEN 'rename value' THEN
      col := (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = rel AND a.attnum = _ddl_step.attnum);
      changed := col = ANY (clinicache._stands_for(config, clinicache._names_in_config(config)));
      IF col = ANY (clinicache._stands_for(config, ARRAY[config #>> '{deleted,column}'])) THEN
        PERFORM clinicache._rename_deleted(rel, old_name, new_name);
      END IF;
  END CASE;
  IF changed AND refusal IS NULL THEN
    PERFORM clinicache._emit_templates(config);
  END IF;
END
$$;

COMMENT ON FUNCTION clinicache.ddl_done() IS
  'Event trigger function: tracking follows renamed columns, new and former partitions and children, changed types and enum values, triggers disabled and enabled. Errors: 42804 a type that a column in use can not have, 55000 a partition or child that is tracked itself';

CREATE OR REPLACE FUNCTION clinicache._tracker_functions() RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- internal functions run with the caller's rights, so they must be callable and give nothing away
  SELECT array_agg(p.oid::regprocedure ORDER BY p.oid)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname = 'clinicache'
    AND (p.proname IN ('track', 'untrack', 'untrack_all', 'preview', 'preview_rows', 'pending_tags', 'tag', 'check_config',
                       'trigger_config', 'template_prefix', 'template_columns', 'invalidate', 'invalidate_prefix', 'emit_prefix',
                       'count_rows', 'forget_counters', 'rebuild', 'typescript')
         OR (left(p.proname, 1) = '_' AND left(p.proname, 8) <> '_health_'
             AND p.proname NOT IN ('_check_owner', '_check_grant', '_subscriber_functions',
                                                            '_tracker_functions', '_reader_functions', '_other_functions',
                                                            '_grant_functions', '_revoke_functions', '_granted',
                                                            '_tracker_tables', '_regrant',
                                                            '_cron_schedule', '_cron_jobs', '_no_cron')))
$$;

CREATE FUNCTION clinicache._tracker_tables() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'clinicache.profile, clinicache.entity, clinicache.alias, clinicache.class, clinicache.tracked_tables, clinicache.tag_templates'
$$;

REVOKE ALL ON FUNCTION clinicache._tracker_tables() FROM PUBLIC;

COMMENT ON FUNCTION clinicache._tracker_tables() IS 'Internal: tables and views that a tracker reads';

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

REVOKE ALL ON FUNCTION clinicache._granted() FROM PUBLIC;

COMMENT ON FUNCTION clinicache._granted() IS 'Internal: which roles were granted which kind of access, and the functions that it needs';

CREATE OR REPLACE FUNCTION clinicache._other_functions(grantee name, less regprocedure[]) RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT f.function), '{}')
  FROM clinicache._granted() AS g CROSS JOIN LATERAL unnest(g.functions) AS f(function)
  WHERE g.role = _other_functions.grantee AND g.functions <> less
$$;

CREATE OR REPLACE FUNCTION clinicache.grant_tracker(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('grant_tracker', role);
  PERFORM clinicache._grant_functions(clinicache._tracker_functions(), role);
  EXECUTE format('GRANT SELECT ON %s TO %I', clinicache._tracker_tables(), role);
END
$$;

CREATE OR REPLACE FUNCTION clinicache.revoke_tracker(role name) RETURNS void
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

REVOKE ALL ON FUNCTION clinicache._regrant() FROM PUBLIC;

COMMENT ON FUNCTION clinicache._regrant() IS 'Internal: what regrant does';

CREATE FUNCTION clinicache.regrant() RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_regrant' LANGUAGE C VOLATILE PARALLEL UNSAFE;

REVOKE ALL ON FUNCTION clinicache.regrant() FROM PUBLIC;

COMMENT ON FUNCTION clinicache.regrant() IS
  'Gives roles that were granted access by an earlier version what this one adds to it. ALTER EXTENSION UPDATE does it; to be called after a dump of an earlier version was restored. Errors: 42501 not the extension''s owner';

CREATE FUNCTION clinicache._health_grants() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', format('access as a %s was granted by an earlier version, and lacks what this one adds', g.access),
         format('role %I', g.role), 'SELECT clinicache.regrant()'
  FROM clinicache._granted() AS g
  WHERE EXISTS (SELECT FROM unnest(g.functions) AS f(function) WHERE NOT has_function_privilege(g.role, f.function, 'EXECUTE'))
  ORDER BY 3, 2
$$;

REVOKE ALL ON FUNCTION clinicache._health_grants() FROM PUBLIC;

COMMENT ON FUNCTION clinicache._health_grants() IS 'Internal: part of health: grants that a restored dump of an earlier version left incomplete';

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

REVOKE ALL ON FUNCTION clinicache._health_subscriptions() FROM PUBLIC;

COMMENT ON FUNCTION clinicache._health_subscriptions() IS
  'Internal: part of health: tables that a subscription fills, and whose triggers do not fire then';

CREATE OR REPLACE FUNCTION clinicache._health_checks() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '{triggers,configuration,delivery,upkeep,cron,log,queue,settings,subscriptions,counters,tenants,grants,indexes,transactions,publications,untracked}'::text[]
$$;

-- by hand, after

-- Who may own the schema is asked by CREATE EXTENSION only.
-- covers: DO 3c76b7b4
-- covers: DO 4c69c2ba

SELECT clinicache.regrant();
