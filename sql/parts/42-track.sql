-- clinicache: track, untrack.  The triggers are the configuration: nothing else is stored.
--
--   track -> resolve (40) -> templates and settings (41) -> check_config (C) -> CREATE TRIGGER
--
-- Row triggers are cloned to partitions by PostgreSQL, statement triggers are not, and inheritance children get neither:
-- _put_triggers and _drop_triggers see to those.

CREATE FUNCTION clinicache._table_name(rel regclass) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = rel
$$;
COMMENT ON FUNCTION clinicache._table_name(regclass) IS 'Internal: qualified, quoted name for dynamic SQL';

CREATE FUNCTION clinicache._may_track(owner oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT has_function_privilege(owner, 'clinicache.track(regclass, text, jsonb, jsonb)', 'EXECUTE')
         OR has_function_privilege(owner, 'clinicache.track(regclass, jsonb)', 'EXECUTE')
$$;
COMMENT ON FUNCTION clinicache._may_track(oid) IS
  'Internal: is a role trusted with tags?  What the triggers ask of their table''s owner (cc_tracker_trusts)';

CREATE FUNCTION clinicache._own_triggers(rel regclass) RETURNS TABLE (id oid, name text, fires_on text, cloned boolean, state "char")
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.oid, t.tgname::text, CASE p.proname WHEN 'row_change' THEN 'row' ELSE 'truncate' END, t.tgparentid <> 0, t.tgenabled
  FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE t.tgrelid = rel AND n.nspname = 'clinicache' AND p.proname IN ('row_change', 'truncate_change') AND NOT t.tgisinternal
$$;
COMMENT ON FUNCTION clinicache._own_triggers(regclass) IS
  'Internal: the clinicache triggers of a table; cloned: made by PostgreSQL from the partitioned parent''s';

CREATE FUNCTION clinicache._descendants(rel regclass) RETURNS TABLE (child regclass, partition boolean, level int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE tree AS (
    SELECT i.inhrelid, 1 AS level FROM pg_inherits AS i WHERE i.inhparent = rel
    UNION
    SELECT i.inhrelid, t.level + 1 FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.inhrelid)
  SELECT c.oid::regclass, c.relispartition, min(t.level)
  FROM tree AS t JOIN pg_class AS c ON c.oid = t.inhrelid
  WHERE c.relkind IN ('r', 'p')        -- foreign tables have no TRUNCATE triggers
  GROUP BY c.oid, c.relispartition
  ORDER BY 3, 1
$$;
COMMENT ON FUNCTION clinicache._descendants(regclass) IS
  'Internal: partitions or inheritance children of all levels, parents first; foreign tables left out';

CREATE FUNCTION clinicache._check_relation(rel regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class  record;
  parent regclass;
BEGIN
  SELECT c.relkind, c.relpersistence, c.relnamespace, n.nspname INTO class
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = rel;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'relation with OID % does not exist', rel::oid USING ERRCODE = 'undefined_table';
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    RAISE EXCEPTION '% is not a table', rel
      USING ERRCODE = 'wrong_object_type', HINT = 'Only ordinary and partitioned tables can be tracked; track the tables behind a view.';
  ELSIF rel::oid < 16384 OR class.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'clinicache') THEN
    RAISE EXCEPTION '% cannot be tracked: it belongs to %', rel,
                    CASE class.nspname WHEN 'clinicache' THEN 'clinicache itself' ELSE 'the system' END
      USING ERRCODE = 'insufficient_privilege';
  ELSIF class.relpersistence = 't' AND class.relnamespace <> pg_my_temp_schema() THEN
    RAISE EXCEPTION '% cannot be tracked: it is a temporary table of another session', rel USING ERRCODE = 'feature_not_supported';
  ELSIF EXISTS (SELECT FROM clinicache._own_triggers(rel) AS t WHERE t.cloned) THEN
    SELECT i.inhparent::regclass INTO parent FROM pg_inherits AS i WHERE i.inhrelid = rel;
    RAISE EXCEPTION '% is a partition of %, which is tracked', rel, parent
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'A partition follows its partitioned table: track or untrack that.';
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_relation(regclass) IS
  'Internal: refuses what is no table (42809), system tables (42501), partitions of tracked tables (55000)';

CREATE FUNCTION clinicache._replace_trigger(rel regclass, trigger_name text, truncates boolean, state "char", config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format(CASE WHEN truncates
                 THEN 'CREATE OR REPLACE TRIGGER %I AFTER TRUNCATE ON %s '
                      'FOR EACH STATEMENT EXECUTE FUNCTION clinicache.truncate_change(%L)'
                 ELSE 'CREATE OR REPLACE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s '
                      'FOR EACH ROW EXECUTE FUNCTION clinicache.row_change(%L)' END,
                 trigger_name, clinicache._table_name(rel), config);
  IF state <> 'O' THEN
    EXECUTE format('ALTER TABLE %s %s TRIGGER %I', clinicache._table_name(rel),
                   CASE state WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, trigger_name);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._replace_trigger(regclass, text, boolean, "char", jsonb) IS
  'Internal: makes or replaces one trigger, in a state as pg_trigger.tgenabled tells it';

CREATE FUNCTION clinicache._make_trigger(rel regclass, truncates boolean, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trigger_name text := CASE WHEN truncates THEN 'clinicache_truncate' ELSE 'clinicache' END;
BEGIN
  IF EXISTS (SELECT FROM pg_trigger AS t
             WHERE t.tgrelid = rel AND t.tgname = trigger_name
               AND t.oid NOT IN (SELECT o.id FROM clinicache._own_triggers(rel) AS o)) THEN
    RAISE EXCEPTION '% has another trigger called "%"', rel, trigger_name
      USING ERRCODE = 'duplicate_object',
            HINT = format('Rename it: ALTER TRIGGER %I ON %s RENAME TO ...', trigger_name, clinicache._table_name(rel));
  END IF;
  PERFORM clinicache._replace_trigger(rel, trigger_name, truncates, CASE config ->> 'fire' WHEN 'always' THEN 'A' ELSE 'O' END::"char", config);
END
$$;
COMMENT ON FUNCTION clinicache._make_trigger(regclass, boolean, jsonb) IS
  'Internal: makes or replaces one trigger; a foreign trigger of the same name: 42710';

CREATE FUNCTION clinicache._put_triggers(rel regclass, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  below   record;
  stale   text;
  parents text := clinicache._row_config(rel) ->> 'parents';
BEGIN
  PERFORM clinicache.check_config(rel, config);
  -- renamed triggers of ours would emit twice, as would a partition's own beside its clone
  FOR stale IN SELECT t.name FROM clinicache._own_triggers(rel) AS t
               WHERE NOT t.cloned AND t.name <> CASE t.fires_on WHEN 'row' THEN 'clinicache' ELSE 'clinicache_truncate' END LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', stale, clinicache._table_name(rel));
  END LOOP;
  FOR below IN SELECT d.child FROM clinicache._descendants(rel) AS d WHERE d.partition LOOP
    FOR stale IN SELECT t.name FROM clinicache._own_triggers(below.child) AS t WHERE t.fires_on = 'row' AND NOT t.cloned LOOP
      EXECUTE format('DROP TRIGGER %I ON %s', stale, clinicache._table_name(below.child));
    END LOOP;
  END LOOP;
  PERFORM clinicache._make_trigger(rel, false, config);
  PERFORM clinicache._make_trigger(rel, true, config);
  FOR below IN SELECT d.child, d.partition FROM clinicache._descendants(rel) AS d LOOP
    IF NOT below.partition THEN
      PERFORM clinicache._make_trigger(below.child, false, config);
    END IF;
    PERFORM clinicache._make_trigger(below.child, true, config);
  END LOOP;
  PERFORM clinicache._put_parent_triggers(rel, config), clinicache._forget_parents(parents);
  -- the triggers' lock keeps changes away until this transaction ends
  PERFORM clinicache.count_rows(rel, config);
END
$$;
COMMENT ON FUNCTION clinicache._put_triggers(regclass, jsonb) IS
  'Internal: checks a resolved configuration and puts it on a table, its partitions and inheritance children';

CREATE FUNCTION clinicache._drop_triggers(rel regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target  regclass;
  doomed  text;
  parents text := clinicache._row_config(rel) ->> 'parents';
BEGIN
  -- parents first: dropping a partitioned table's trigger drops the clones
  FOR target IN SELECT rel UNION ALL SELECT d.child FROM clinicache._descendants(rel) AS d LOOP
    FOR doomed IN SELECT t.name FROM clinicache._own_triggers(target) AS t WHERE NOT t.cloned LOOP
      EXECUTE format('DROP TRIGGER %I ON %s', doomed, clinicache._table_name(target));
    END LOOP;
  END LOOP;
  PERFORM clinicache._forget_parents(parents);
END
$$;
COMMENT ON FUNCTION clinicache._drop_triggers(regclass) IS
  'Internal: removes the clinicache triggers of a table, its partitions and inheritance children, and those of its look-ups';

-- ---------------------------------------------------------------------------------------------------------------------
-- Configuration
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._single_column(rel regclass, resolved jsonb, given jsonb, what text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  real text[];
BEGIN
  IF jsonb_typeof(given) IS DISTINCT FROM 'string' THEN
    RAISE EXCEPTION '"%" must name a column, not %', what, coalesce(given::text, 'null') USING ERRCODE = 'invalid_parameter_value';
  END IF;
  real := clinicache._known_column(rel, resolved, given #>> '{}', format('"%s"', what));
  IF cardinality(real) <> 1 THEN
    RAISE EXCEPTION '"%" must be one column, but logical column "%" is %', what, given #>> '{}', resolved -> (given #>> '{}')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the real column.';
  END IF;
  RETURN to_jsonb(real[1]);
END
$$;
COMMENT ON FUNCTION clinicache._single_column(regclass, jsonb, jsonb, text) IS
  'Internal: the one real column behind a setting''s name (22023, 42703)';

CREATE FUNCTION clinicache._zone_setting(rel regclass, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entry record;
  col   text;
  zone  jsonb := '{}';
BEGIN
  IF jsonb_typeof(given) <> 'object' THEN
    RAISE EXCEPTION '"zone" must be an object, not %', given
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"date": "local"} or {"date": "utc"}.';
  END IF;
  FOR entry IN SELECT z.key, z.value FROM jsonb_each(given) AS z LOOP
    IF entry.value NOT IN ('"local"', '"utc"') THEN
      RAISE EXCEPTION 'zone of "%" must be "local" or "utc", not %', entry.key, entry.value
        USING ERRCODE = 'invalid_parameter_value',
              HINT = 'local: the column holds the clinic''s wall time; utc: it holds UTC. Tenants'' zones stand in clinicache.tenant.';
    END IF;
    FOREACH col IN ARRAY clinicache._known_column(rel, resolved, entry.key, '"zone"') LOOP
      zone := zone || jsonb_build_object(col, entry.value);
    END LOOP;
  END LOOP;
  RETURN zone;
END
$$;
COMMENT ON FUNCTION clinicache._zone_setting(regclass, jsonb, jsonb) IS
  'Internal: the zone setting with real column names (22023, 42703)';

CREATE FUNCTION clinicache._settings(rel regclass, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  deleted  jsonb := given -> 'deleted';
  name     text;
  ignored  text[] := '{}';
  settings jsonb := '{}';
BEGIN
  IF jsonb_typeof(deleted) = 'object' THEN
    PERFORM clinicache._check_keys(deleted, '{column,values}', '"deleted"');
    IF NOT clinicache._is_text_list(deleted -> 'values') OR deleted -> 'values' = '[]' THEN
      RAISE EXCEPTION '"values" of "deleted" must be an array of strings'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"column": "status", "values": ["ARCHIVED"]}.';
    END IF;
    settings := jsonb_build_object('deleted', jsonb_set(deleted, '{column}',
                  clinicache._single_column(rel, resolved, deleted -> 'column', 'deleted')));
  ELSIF deleted IS NOT NULL THEN
    settings := jsonb_build_object('deleted', clinicache._single_column(rel, resolved, deleted, 'deleted'));
    name := settings ->> 'deleted';
    -- any other type, "not null" taken for deleted, would make every row of a status column a deleted one
    IF clinicache._column_type(rel, name) NOT IN ('boolean'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
      RAISE EXCEPTION 'column "%" in "deleted" is of type %, neither boolean nor timestamp', name, clinicache._column_type(rel, name)
        USING ERRCODE = 'datatype_mismatch',
              HINT = format('Name the values that mean deleted: "deleted": {"column": "%s", "values": ["..."]}.', name);
    END IF;
  END IF;
  IF given ? 'ignore' THEN
    IF NOT clinicache._is_text_list(given -> 'ignore') THEN
      RAISE EXCEPTION '"ignore" must be an array of column names, not %', given -> 'ignore' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH name IN ARRAY clinicache._texts(given -> 'ignore') LOOP
      ignored := ignored || clinicache._known_column(rel, resolved, name, '"ignore"');
    END LOOP;
    settings := settings || jsonb_build_object('ignore', to_jsonb(ignored));
  END IF;
  IF given ? 'zone' THEN
    settings := settings || jsonb_build_object('zone', clinicache._zone_setting(rel, resolved, given -> 'zone'));
  END IF;
  IF given ? 'fire' THEN
    IF given -> 'fire' <> '"always"' THEN
      RAISE EXCEPTION '"fire" must be "always", not %', given -> 'fire'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for triggers that do not fire for replicated changes.';
    END IF;
    settings := settings || jsonb_build_object('fire', 'always');
  END IF;
  IF given ? 'tenant' THEN
    IF jsonb_typeof(given -> 'tenant') <> 'string' THEN
      RAISE EXCEPTION '"tenant" must name a column, not %', given -> 'tenant' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM clinicache._known_column(rel, resolved, given ->> 'tenant', '"tenant"');
    settings := settings || jsonb_build_object('tenant', given -> 'tenant');
  END IF;
  RETURN settings;
END
$$;
COMMENT ON FUNCTION clinicache._settings(regclass, jsonb, jsonb) IS
  'Internal: deleted, ignore, zone, fire and tenant, checked, with real column names (22023, 42703)';

CREATE FUNCTION clinicache._without(entity_name text, tags jsonb, given jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known   text[] := ARRAY(SELECT clinicache._tag_object(t) ->> 'tag' FROM jsonb_array_elements(tags) AS t);
  unknown text;
BEGIN
  IF given IS NOT NULL AND NOT clinicache._is_text_list(given) THEN
    RAISE EXCEPTION '"without" must be an array of tag templates, not %', given USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT w INTO unknown FROM unnest(clinicache._texts(given)) AS w WHERE w <> ALL (known) LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'entity "%" has no tag template "%"', entity_name, unknown
      USING ERRCODE = 'invalid_parameter_value', HINT = format('Templates: %s.', clinicache._quoted(known));
  END IF;
  RETURN clinicache._texts(given);
END
$$;
COMMENT ON FUNCTION clinicache._without(text, jsonb, jsonb) IS
  'Internal: template texts to leave away; one that the entity lacks: 22023';

CREATE FUNCTION clinicache._preset_config(rel regclass, entity_name text, given jsonb, options jsonb)
RETURNS TABLE (config jsonb, absent jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  preset   record;
  tenant   text;
  looked_up jsonb;
  resolved jsonb;
  dropped  jsonb;
  settings jsonb;
  preset_tags record;
  tags     jsonb;
  counters jsonb;
BEGIN
  SELECT e.tenant, e.columns, e.tags, e.counters INTO preset FROM clinicache.entity AS e WHERE e.name = entity_name;
  -- options.tenant overrules the preset's, null included
  tenant := CASE WHEN options ? 'tenant' THEN options ->> 'tenant' ELSE preset.tenant END;
  looked_up := clinicache._given_lookups(rel, coalesce(options -> 'lookups', '{}'));
  SELECT r.resolved || looked_up, r.absent INTO resolved, absent
    FROM clinicache._resolve_columns(rel, entity_name, preset.columns,
                                     given || (SELECT coalesce(jsonb_object_agg(l.key, l.value), '{}') FROM jsonb_each(looked_up) AS l
                                               WHERE preset.columns ? l.key),
                                     ARRAY['id', tenant]) AS r;
  dropped := resolved;
  resolved := clinicache._drop_false_clocks(rel, preset.tags, resolved, given);
  absent := absent || coalesce((SELECT jsonb_object_agg(k, 'no time of day of its own') FROM jsonb_object_keys(dropped) AS k
                                WHERE NOT resolved ? k), '{}');
  SELECT p.kept, p.left_out INTO preset_tags
    FROM clinicache._preset_tags(preset.tags, resolved,
                                 clinicache._without(entity_name, preset.tags, options -> 'without')) AS p;
  tags := clinicache._merge_tags(preset_tags.kept, clinicache._own_tags(rel, resolved, coalesce(options -> 'tags', '[]')));
  -- a tenant that was said to be absent is none
  settings := clinicache._settings(rel, resolved, jsonb_strip_nulls(
                options || jsonb_build_object('tenant', CASE WHEN options ? 'tenant' OR resolved ? tenant THEN tenant END)));
  PERFORM clinicache._check_zones(rel, preset.tags || tags, resolved, coalesce(settings -> 'zone', '{}'));
  counters := CASE WHEN options ? 'counters' THEN clinicache._own_counters(rel, resolved, options -> 'counters')
                   -- what a row contributes must not change with rows of other tables
                   WHEN resolved -> (settings ->> 'tenant') ? 'lookup' THEN '[]'
                   ELSE clinicache._preset_counters(rel, resolved, preset.counters) END;
  config := jsonb_build_object('v', 1, 'entity', entity_name, 'columns', resolved, 'tags', tags, 'counters', counters,
                               'profiles', clinicache._used_profiles(tags), 'left_out', preset_tags.left_out) || settings;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION clinicache._preset_config(regclass, text, jsonb, jsonb) IS
  'Internal: resolved configuration of a table tracked as an entity, and why columns are absent';

CREATE FUNCTION clinicache._own_config(rel regclass, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  resolved jsonb := '{}';
  entry    record;
  tags     jsonb;
  settings jsonb;
BEGIN
  PERFORM clinicache._check_keys(given, '{entity,tenant,columns,lookups,deleted,ignore,zone,tags,counters,fire}', 'the configuration');
  given := jsonb_strip_nulls(given);
  IF jsonb_typeof(coalesce(given -> 'columns', '{}')) <> 'object' THEN
    RAISE EXCEPTION '"columns" must be an object, not %', given -> 'columns' USING ERRCODE = 'invalid_parameter_value';
  ELSIF jsonb_typeof(coalesce(given -> 'entity', '""')) <> 'string' THEN
    RAISE EXCEPTION '"entity" must be a string, not %', given -> 'entity' USING ERRCODE = 'invalid_parameter_value';
  ELSIF coalesce(given -> 'tags', '[]') = '[]' THEN
    RAISE EXCEPTION 'the configuration has no "tags"'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"tags": ["patient:{id}"]}.';
  END IF;
  FOR entry IN SELECT c.key, c.value FROM jsonb_each(given -> 'columns') AS c LOOP
    resolved := resolved || jsonb_build_object(entry.key, clinicache._given_column(rel, entry.key, entry.value));
  END LOOP;
  resolved := resolved || clinicache._given_lookups(rel, coalesce(given -> 'lookups', '{}'));
  tags := clinicache._own_tags(rel, resolved, given -> 'tags');
  settings := clinicache._settings(rel, resolved, given);
  PERFORM clinicache._check_zones(rel, tags, resolved, coalesce(settings -> 'zone', '{}'));
  RETURN jsonb_build_object('v', 1, 'columns', resolved, 'tags', tags, 'profiles', clinicache._used_profiles(tags),
                            'left_out', '[]'::jsonb)
         || jsonb_build_object('counters', clinicache._own_counters(rel, resolved, coalesce(given -> 'counters', '[]')))
         || settings || CASE WHEN given ? 'entity' THEN jsonb_build_object('entity', given -> 'entity') ELSE '{}' END;
END
$$;
COMMENT ON FUNCTION clinicache._own_config(regclass, jsonb) IS
  'Internal: resolved configuration of a table tracked with templates of its own';

-- ---------------------------------------------------------------------------------------------------------------------
-- What users call
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._tell_left_out(rel regclass, config jsonb, absent jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing int := jsonb_array_length(config -> 'left_out');
  preset  int := (SELECT jsonb_array_length(e.tags) FROM clinicache.entity AS e WHERE e.name = config ->> 'entity');
  unmet   text[];
BEGIN
  IF missing = 0 THEN
    RETURN;
  END IF;
  SELECT array_agg(DISTINCT c.name) INTO unmet
    FROM jsonb_array_elements_text(config -> 'left_out') AS l(tag), unnest(clinicache.template_columns(l.tag)) AS c(name)
   WHERE NOT config -> 'columns' ? c.name;
  RAISE NOTICE '% of the % tag templates of entity "%" are left out: % lacks their columns',
               missing, preset, config ->> 'entity', rel
    USING DETAIL = (SELECT string_agg(format('"%s": %s', a.key, a.value), '; ' ORDER BY a.key)
                    FROM jsonb_each_text(absent) AS a WHERE unmet IS NULL OR a.key = ANY (unmet)),
          HINT = 'clinicache.tracked_tables.left_out lists them; the columns argument of track names columns.';
END
$$;
COMMENT ON FUNCTION clinicache._tell_left_out(regclass, jsonb, jsonb) IS
  'Internal: the one NOTICE that counts templates left out';

CREATE FUNCTION clinicache._wanted_indexes(rel regclass, config jsonb) RETURNS TABLE (purpose text, columns text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH large AS (
    -- a partitioned table's own number may never have been set
    SELECT sum(greatest(c.reltuples, 0)) > 10000 AS is_large FROM pg_class AS c
    WHERE c.oid = rel OR c.oid IN (SELECT d.child FROM clinicache._descendants(rel) AS d WHERE d.partition)),
  wanted AS (
    SELECT DISTINCT 'edges' AS purpose, ARRAY[a.attname::text] AS columns, ARRAY[a.attnum] AS numbers
    FROM jsonb_array_elements(config -> 'tags') AS t,
         unnest(clinicache._real_columns(rel, config -> 'columns', t #>> '{time,0}')) AS r(name)
    JOIN pg_attribute AS a ON a.attrelid = rel AND a.attname = r.name
    WHERE t ? 'window'
    UNION ALL
    -- what clinic_dashboard and client_dashboard list
    SELECT 'dashboard', ARRAY[k.attname::text, d.attname::text], ARRAY[k.attnum, d.attnum]
    FROM jsonb_array_elements(config -> 'counters') AS c
    CROSS JOIN LATERAL jsonb_each_text(c -> 'by') AS b
    JOIN pg_attribute AS k ON k.attrelid = rel AND ARRAY[k.attname::text] = clinicache._real_columns(rel, config -> 'columns', b.value)
    JOIN pg_attribute AS d ON d.attrelid = rel AND ARRAY[d.attname::text] = clinicache._real_columns(rel, config -> 'columns', c ->> 'day')
    WHERE c ->> 'counter' = 'appointments' AND b.key IN ('clinic', 'client'))
  SELECT w.purpose, w.columns
  FROM wanted AS w, large
  WHERE large.is_large
    AND NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = rel AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = w.numbers[1]
                      AND (w.numbers[2] IS NULL OR i.indkey[1] = w.numbers[2]))
  ORDER BY w.purpose DESC, CASE w.purpose WHEN 'dashboard' THEN w.numbers END, w.columns
$$;
COMMENT ON FUNCTION clinicache._wanted_indexes(regclass, jsonb) IS
  'Internal: what a large table''s indexes should begin with and none does: for clock edges the time that windows stand on, for dashboards what their lists are found by';

CREATE FUNCTION clinicache._tell_unindexed(rel regclass, config jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unindexed text[];
  wanted    record;
BEGIN
  SELECT array_agg(w.columns[1]) INTO unindexed FROM clinicache._wanted_indexes(rel, config) AS w WHERE w.purpose = 'edges';
  IF unindexed IS NOT NULL THEN
    RAISE NOTICE 'no index of % begins with %: clock edges will read the whole table', rel, clinicache._quoted(unindexed)
      USING HINT = format('CREATE INDEX ON %s (%I);', clinicache._table_name(rel), unindexed[1]);
  END IF;
  FOR wanted IN
    SELECT w.columns[1] AS key, w.columns[2] AS day FROM clinicache._wanted_indexes(rel, config) AS w WHERE w.purpose = 'dashboard'
  LOOP
    RAISE NOTICE 'no index of % begins with "%" and "%": the newest appointments of a dashboard will have to be searched for',
                 rel, wanted.key, wanted.day
      USING HINT = format('CREATE INDEX ON %s (%I, %I);', clinicache._table_name(rel), wanted.key, wanted.day);
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._tell_unindexed(regclass, jsonb) IS
  'Internal: a NOTICE if a large table has windows and no index on the time they stand on, or counts for dashboards and has none for their lists';

CREATE FUNCTION clinicache.track(relation regclass, entity text, columns jsonb DEFAULT '{}', options jsonb DEFAULT '{}')
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  made record;
BEGIN
  IF relation IS NULL OR entity IS NULL OR columns IS NULL OR options IS NULL THEN
    RAISE EXCEPTION 'no argument of clinicache.track may be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  -- an untyped literal in track('t', '{"tags": ...}') arrives here, as text
  IF entity ~ '^[[:space:]]*[{]' AND columns = '{}' AND options = '{}' THEN
    PERFORM clinicache.track(relation, entity::jsonb);
    RETURN;
  END IF;
  PERFORM clinicache._check_relation(relation);
  IF NOT EXISTS (SELECT FROM clinicache.entity AS e WHERE e.name = track.entity) THEN
    RAISE EXCEPTION 'entity "%" does not exist', entity
      USING ERRCODE = 'undefined_object',
            HINT = format('Entities: %s. Add others to clinicache.entity, or give a configuration with your own "tags".',
                          (SELECT string_agg(e.name, ', ' ORDER BY e.name) FROM clinicache.entity AS e));
  ELSIF jsonb_typeof(columns) <> 'object' THEN
    RAISE EXCEPTION 'argument "columns" must be a JSON object, not %', columns
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"clinic": "clinicId"}.';
  END IF;
  PERFORM clinicache._check_keys(options, '{tags,without,counters,lookups,deleted,ignore,zone,tenant,fire}', 'argument "options"');
  SELECT p.config, p.absent INTO made FROM clinicache._preset_config(relation, entity, columns, options) AS p;
  IF made.config -> 'tags' = '[]' THEN
    RAISE EXCEPTION 'no tag template of entity "%" is left for %', entity, relation
      USING ERRCODE = 'invalid_parameter_value',
            DETAIL = (SELECT 'Absent columns: ' || string_agg(format('"%s" (%s)', a.key, a.value), ', ' ORDER BY a.key) || '.'
                      FROM jsonb_each_text(made.absent) AS a),
            HINT = 'Name columns with the columns argument, or add templates with "tags" in options.';
  END IF;
  PERFORM clinicache._put_triggers(relation, clinicache._with_parents(relation, made.config));
  PERFORM clinicache._tell_left_out(relation, made.config, made.absent);
  IF made.config -> 'columns' -> (made.config ->> 'tenant') ? 'lookup' AND NOT options ? 'counters'
     AND (SELECT e.counters <> '[]' FROM clinicache.entity AS e WHERE e.name = track.entity) THEN
    RAISE NOTICE 'counters of entity "%" are left out: the tenant of % is looked up', entity, relation
      USING DETAIL = 'What a row contributes would change with rows of other tables.',
            HINT = 'A column of its own for the tenant makes them possible.';
  END IF;
  PERFORM clinicache._tell_unindexed(relation, made.config);
  PERFORM clinicache._warn_no_upkeep(relation);
END
$$;
COMMENT ON FUNCTION clinicache.track(regclass, text, jsonb, jsonb) IS
  'Tracks a table as an entity of the vocabulary, from now on: its changes emit tags. columns: logical column to "name", ["a", "b"] (first not null), "=''constant''" or null (absent). options: tags, without, counters (in place of the preset''s; [] for none), lookups ({"clinic": "patientId -> public.patients(id).clinic_id"}), deleted, ignore, zone, tenant, fire. Replaces an earlier tracking, and counts the rows there are. Errors: 42703 unknown or missing column, 42702 ambiguous column, 42704 unknown entity or profile, 22023 bad setting, 0A000 counters of looked-up values, of unlogged and temporary tables';

CREATE FUNCTION clinicache.track(relation regclass, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made jsonb;
BEGIN
  IF track.relation IS NULL OR track.config IS NULL THEN
    RAISE EXCEPTION 'no argument of clinicache.track may be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  PERFORM clinicache._check_relation(track.relation);
  made := clinicache._with_parents(track.relation, clinicache._own_config(track.relation, track.config));
  PERFORM clinicache._put_triggers(track.relation, made);
  PERFORM clinicache._tell_unindexed(track.relation, made);
  PERFORM clinicache._warn_no_upkeep(track.relation);
END
$$;
COMMENT ON FUNCTION clinicache.track(regclass, jsonb) IS
  'Tracks a table with templates of its own: {"tags": [...], "tenant": "clinicId", "deleted": ..., "ignore": [...], "zone": {...}, "columns": {...}, "lookups": {...}, "counters": [...], "fire": "always"}; placeholders are real columns or keys of "columns". Replaces an earlier tracking. Errors as for the other form';

CREATE FUNCTION clinicache.untrack(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF untrack.relation IS NULL THEN
    RAISE EXCEPTION 'no argument of clinicache.untrack may be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  PERFORM clinicache._check_relation(untrack.relation);
  IF NOT EXISTS (SELECT FROM clinicache._own_triggers(untrack.relation)) THEN
    RAISE NOTICE '% is not tracked', untrack.relation;
    PERFORM clinicache.forget_counters(untrack.relation);
    RETURN;
  END IF;
  PERFORM clinicache._drop_triggers(untrack.relation);
  PERFORM clinicache.forget_counters(untrack.relation);
END
$$;
COMMENT ON FUNCTION clinicache.untrack(regclass) IS
  'Stops tracking a table, with its partitions and inheritance children. A NOTICE if it is not tracked';

CREATE FUNCTION clinicache.untrack_all() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target regclass;
BEGIN
  -- dropped by trigger, not by tree: orphans such as a detached partition's TRUNCATE trigger go too
  FOR target IN SELECT c.oid::regclass FROM pg_class AS c
                WHERE c.relkind IN ('r', 'p') AND (c.relpersistence <> 't' OR c.relnamespace = pg_my_temp_schema())
                  AND EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgparentid = 0
                              AND t.tgfoid IN ('clinicache.row_change()'::regprocedure, 'clinicache.truncate_change()'::regprocedure))
                ORDER BY c.relispartition, c.oid LOOP
    PERFORM clinicache._drop_triggers(target);
    PERFORM clinicache.forget_counters(target);
  END LOOP;
  PERFORM clinicache._drop_parent_triggers(split_part(t.tgname::text, '_', 3), '{}') FROM pg_trigger AS t
   WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.parent_change()'::regprocedure;
END
$$;
COMMENT ON FUNCTION clinicache.untrack_all() IS
  'Stops tracking every table, for example before DROP EXTENSION. The caller must own them all';

CREATE FUNCTION clinicache._preview_row(rel regclass, given jsonb, what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unknown text;
BEGIN
  IF given IS NOT NULL AND jsonb_typeof(given) <> 'object' THEN
    RAISE EXCEPTION '% must be a JSON object, not %', what, given USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT k INTO unknown FROM jsonb_object_keys(given) AS k WHERE k <> ALL (clinicache._column_names(rel)) LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'column "%" in % does not exist in %', unknown, what, rel
      USING ERRCODE = 'undefined_column',
            HINT = format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel)));
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._preview_row(regclass, jsonb, text) IS 'Internal: checks a row given to preview (22023, 42703)';

CREATE FUNCTION clinicache.preview(relation regclass, old_row jsonb, new_row jsonb) RETURNS TABLE (tag text, profile text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  before jsonb := nullif(preview.old_row, 'null');
  after  jsonb := nullif(preview.new_row, 'null');
BEGIN
  IF preview.relation IS NULL THEN
    RAISE EXCEPTION 'the relation given to clinicache.preview is null' USING ERRCODE = 'null_value_not_allowed';
  ELSIF before IS NULL AND after IS NULL THEN
    RAISE EXCEPTION 'clinicache.preview needs an old row, a new row or both'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'Only new: an insert. Only old: a delete. Both: an update.';
  ELSIF NOT EXISTS (SELECT FROM clinicache._own_triggers(preview.relation) AS t WHERE t.fires_on = 'row') THEN
    RAISE EXCEPTION '% is not tracked', preview.relation
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Track it with clinicache.track first.';
  END IF;
  PERFORM clinicache._preview_row(preview.relation, before, 'old_row');
  PERFORM clinicache._preview_row(preview.relation, after, 'new_row');
  after := CASE WHEN after IS NOT NULL THEN coalesce(before, '{}') || after END;
  -- once each, as in a transaction: the shortest profile wins
  RETURN QUERY EXECUTE format(
    'SELECT p.tag, (array_agg(p.profile ORDER BY f.revalidate, p.profile))[1] '
    'FROM clinicache.preview_rows($1, '
    'CASE WHEN $2 IS NOT NULL THEN jsonb_populate_record(NULL::%1$s, $2) END, '
    'CASE WHEN $3 IS NOT NULL THEN jsonb_populate_record(NULL::%1$s, $3) END) WITH ORDINALITY AS p(tag, profile, n) '
    'LEFT JOIN clinicache.profile AS f ON f.name = p.profile '
    'GROUP BY p.tag ORDER BY min(p.n)', clinicache._table_name(preview.relation))
    USING preview.relation, before, after;
END
$$;
COMMENT ON FUNCTION clinicache.preview(regclass, jsonb, jsonb) IS
  'Dry run: the tags that a change of a tracked table''s row would emit. Only new_row: insert; only old_row: delete; both: update, new_row''s keys laid over old_row. Errors: 55000 not tracked, 42703 unknown column';
