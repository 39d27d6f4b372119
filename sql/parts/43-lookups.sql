-- clinicache: values that a row itself lacks, looked up along foreign keys.
--
--   "columns": {"clinic": {"lookup": "medicalId -> public.medical_records(id).patient_id -> public.patients(id).clinic_id"}}
--
-- Rows of the tables on the way can move: a patient to another clinic.  Each of those tables gets triggers parent_change, whose
-- configuration is made here from the child's: the child's list tags, of what its columns lead to before and after.
-- Both know each other by the child's "parents", which is in the triggers' names.
--
-- Where a foreign key is declared, rows come and go with those that refer to them, which tell; but a row that was deleted
-- and inserted anew within a transaction leads elsewhere.  Where none is, every row that comes or goes counts.

-- ---------------------------------------------------------------------------------------------------------------------
-- Paths
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._path_text(path text, first int, last int, default_schema text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(CASE WHEN s.step = _path_text.first THEN clinicache._path_name(s.value)
                         ELSE format('%s.%s(%s).%s', clinicache._path_name(coalesce(s.schema_name, default_schema)),
                                     clinicache._path_name(s.table_name), clinicache._path_name(s.key), clinicache._path_name(s.value)) END,
                    ' -> ' ORDER BY s.step)
  FROM clinicache.lookup_steps(path) AS s
  WHERE s.step BETWEEN _path_text.first AND _path_text.last
$$;
COMMENT ON FUNCTION clinicache._path_text(text, int, int, text) IS
  'Internal: a look-up from the value of one step to that of another, as it is written; tables without a schema get this one';

CREATE FUNCTION clinicache._lookups(config jsonb) RETURNS TABLE (name text, path text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.key, c.value ->> 'lookup' FROM jsonb_each(config -> 'columns') AS c
  WHERE jsonb_typeof(c.value) = 'object' AND c.value ? 'lookup' ORDER BY 1
$$;
COMMENT ON FUNCTION clinicache._lookups(jsonb) IS 'Internal: the look-ups of a configuration';

CREATE FUNCTION clinicache._given_lookups(rel regclass, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entry  record;
  result jsonb := '{}';
BEGIN
  IF jsonb_typeof(given) <> 'object' THEN
    RAISE EXCEPTION '"lookups" must be an object, not %', given
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"clinic": "patientId -> public.patients(id).clinic_id"}.';
  END IF;
  FOR entry IN SELECT l.key, l.value FROM jsonb_each(given) AS l LOOP
    IF jsonb_typeof(entry.value) <> 'string' THEN
      RAISE EXCEPTION 'look-up "%" must be a string, not %', entry.key, entry.value
        USING ERRCODE = 'invalid_parameter_value', HINT = 'For example "patientId -> public.patients(id).clinic_id".';
    END IF;
    result := result || jsonb_build_object(entry.key, jsonb_build_object('lookup',
                clinicache._path_text(entry.value #>> '{}', 0, 99,
                                      (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = rel))));
  END LOOP;
  RETURN result;
END
$$;
COMMENT ON FUNCTION clinicache._given_lookups(regclass, jsonb) IS
  'Internal: "lookups" as given to track, as columns of a configuration; tables without a schema are taken to be in the tracked table''s (22023)';

-- ---------------------------------------------------------------------------------------------------------------------
-- What the tables on the way emit
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._as_far_as(template text, names text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  part record;
  kept text := '';
BEGIN
  FOR part IN SELECT m[1] AS literal, m[2] AS placeholder FROM regexp_matches(template, '([^{]*)([{][^}]*[}])?', 'g') AS m LOOP
    kept := kept || part.literal;
    IF part.placeholder IS NOT NULL AND NOT split_part(btrim(part.placeholder, '{}'), '|', 1) = ANY (names) THEN
      IF kept = '' THEN
        RAISE EXCEPTION 'tag template "%" can not be used with look-ups: it begins with a column', template
          USING ERRCODE = 'feature_not_supported',
                DETAIL = 'When a row that is looked up changes, the prefix of the tag is emitted; this one has none.',
                HINT = 'Begin it with literal text.';
      END IF;
      RETURN kept || '*';
    END IF;
    kept := kept || coalesce(part.placeholder, '');
  END LOOP;
  RETURN kept;
END
$$;
COMMENT ON FUNCTION clinicache._as_far_as(text, text[]) IS
  'Internal: a template of which only these placeholders are known: itself, or what it begins with, as a prefix';

CREATE FUNCTION clinicache._parent_tags(rel regclass, config jsonb, names text[], known text[]) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- windows are of the child's own time, which is not known here
  SELECT coalesce(jsonb_agg(jsonb_build_object('tag', t.tag, 'profile', t.profile, 'columns', t.used) ORDER BY t.tag), '[]')
  FROM (SELECT DISTINCT ON (1) clinicache._as_far_as(e.tag ->> 'tag', names || known) AS tag, e.tag ->> 'profile' AS profile,
               CASE WHEN c.words && _parent_tags.names
                    THEN ARRAY(SELECT DISTINCT u.name FROM unnest(c.words) AS u(name) WHERE u.name = ANY (_parent_tags.names) ORDER BY 1)
                    ELSE ARRAY[config ->> 'tenant'] END AS used
        FROM jsonb_array_elements(config -> 'tags') AS e(tag)
        CROSS JOIN LATERAL (SELECT clinicache.template_columns(e.tag ->> 'tag') AS words) AS c
        WHERE c.words && _parent_tags.names
           -- rows come to another tenant: into lists that do not name it; the tags of the rows themselves are not known here
           OR (config ->> 'tenant' = ANY (_parent_tags.names)
               AND NOT EXISTS (SELECT FROM unnest(c.words) AS n(name)
                               WHERE clinicache._real_columns(rel, config -> 'columns', n.name) = ARRAY[clinicache._single_key(rel)]))
        ORDER BY 1, (config -> 'profiles' ->> (e.tag ->> 'profile'))::int) AS t
$$;
COMMENT ON FUNCTION clinicache._parent_tags(regclass, jsonb, text[], text[]) IS
  'Internal: what of a child''s templates changes with what these names lead to, where others are known as well';

CREATE FUNCTION clinicache._refers(rel regclass, col text, target regclass, key text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_constraint AS c
                 JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND ARRAY[a.attnum] = c.conkey AND a.attname = col
                 JOIN pg_attribute AS k ON k.attrelid = c.confrelid AND ARRAY[k.attnum] = c.confkey AND k.attname = key
                 WHERE c.contype = 'f' AND c.convalidated AND c.conrelid = rel AND c.confrelid = target)
         -- inheritance children have none
         AND NOT EXISTS (SELECT FROM clinicache._descendants(rel) AS d WHERE NOT d.partition)
$$;
COMMENT ON FUNCTION clinicache._refers(regclass, text, regclass, text) IS
  'Internal: does a foreign key hold for all rows of a table, from the column to the key?';

CREATE FUNCTION clinicache._ways(rel regclass, config jsonb)
RETURNS TABLE (name text, path text, step int, way text, relation regclass, key text, value text, is_last boolean, declared boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH steps AS (
    SELECT l.name, l.path, s.step, s.schema_name, s.table_name, s.key, s.value, c.oid::regclass AS relation, c.relkind,
           max(s.step) OVER same AS last_step,
           lag(c.oid, 1, rel::oid) OVER same AS before, lag(s.value) OVER same AS referring
    FROM clinicache._lookups(config) AS l CROSS JOIN LATERAL clinicache.lookup_steps(l.path) AS s
    LEFT JOIN pg_namespace AS n ON n.nspname = s.schema_name
    LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = s.table_name
    WINDOW same AS (PARTITION BY l.name ORDER BY s.step ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING))
  SELECT s.name, s.path, s.step,
         format('%s -> %s(%s)', clinicache._path_text(s.path, 0, s.step - 1, NULL), clinicache._table_name(s.relation), s.key),
         s.relation, s.key, s.value, s.step = s.last_step,
         -- where no row comes or goes without a change of those that lead to it; rows of partitions move as DELETE and INSERT
         s.relkind = 'r' AND NOT config ? 'fire' AND clinicache._refers(CASE WHEN s.step = 1 THEN rel ELSE s.before::regclass END, s.referring, s.relation, s.key)
  FROM steps AS s WHERE s.step > 0 AND s.relation IS NOT NULL
$$;
COMMENT ON FUNCTION clinicache._ways(regclass, jsonb) IS
  'Internal: each step of each look-up of a table, the way that leads there, and whether a foreign key is declared for it';

CREATE FUNCTION clinicache._known_by_key(config jsonb, path text, key text, OUT names text[], OUT columns jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(n.name), '{}'), coalesce(jsonb_object_agg(n.name, jsonb_build_array(key)), '{}')
  FROM (SELECT c.key FROM jsonb_each(config -> 'columns') AS c
        WHERE c.value ->> 'lookup' = path
           OR (jsonb_typeof(c.value) = 'array' AND jsonb_array_length(c.value) = 1 AND clinicache._path_name(c.value ->> 0) = path)
        UNION
        -- named directly
        SELECT n FROM unnest(clinicache._names_in_config(config)) AS n
        WHERE clinicache._path_name(n) = path AND NOT config -> 'columns' ? n) AS n(name)
$$;
COMMENT ON FUNCTION clinicache._known_by_key(jsonb, text, text) IS
  'Internal: the names of a child''s configuration that the key of a table on the way stands for, which the path before it leads to';

CREATE FUNCTION clinicache._parents(rel regclass, config jsonb)
RETURNS TABLE (number int, relation regclass, declared boolean, parent_config jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- look-ups that come the same way reach the same row
  SELECT row_number() OVER (ORDER BY w.way COLLATE "C")::int, w.relation, w.declared,
         jsonb_build_object('v', 1, 'columns', w.columns || k.columns, 'key', w.key, 'declared', w.declared, 'compare', 'used',
                            'tags', t.tags, 'left_out', '[]'::jsonb, 'profiles', config -> 'profiles')
         || CASE WHEN config ->> 'tenant' = ANY (w.names || k.names) THEN jsonb_build_object('tenant', config -> 'tenant') ELSE '{}' END
         || CASE WHEN config ? 'fire' THEN jsonb_build_object('fire', config -> 'fire') ELSE '{}' END
  FROM (SELECT y.way, y.relation, min(y.key) AS key, clinicache._path_text(min(y.path), 0, min(y.step) - 1, NULL) AS path,
               bool_and(y.declared) AS declared, array_agg(y.name ORDER BY y.name) AS names,
               jsonb_object_agg(y.name, CASE WHEN y.is_last THEN jsonb_build_array(y.value)
                                             ELSE jsonb_build_object('lookup', clinicache._path_text(y.path, y.step, 99, NULL)) END) AS columns
        FROM clinicache._ways(rel, config) AS y GROUP BY y.way, y.relation) AS w
  CROSS JOIN LATERAL clinicache._known_by_key(config, w.path, w.key) AS k
  CROSS JOIN LATERAL clinicache._parent_tags(rel, config, w.names, k.names) AS t(tags)
  WHERE t.tags <> '[]'
$$;
COMMENT ON FUNCTION clinicache._parents(regclass, jsonb) IS
  'Internal: the tables that a table''s look-ups lead through, with the configurations of their triggers';

-- ---------------------------------------------------------------------------------------------------------------------
-- Their triggers
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._parent_triggers(parents text) RETURNS TABLE (relation regclass, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.tgrelid::regclass, t.tgname::text FROM pg_trigger AS t
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.parent_change()'::regprocedure
    AND starts_with(t.tgname::text, format('clinicache_parent_%s_', parents))
$$;
COMMENT ON FUNCTION clinicache._parent_triggers(text) IS
  'Internal: the triggers that belong to one table''s look-ups, by the "parents" of its configuration';

CREATE FUNCTION clinicache._drop_parent_triggers(parents text, kept text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  doomed record;
BEGIN
  FOR doomed IN SELECT t.relation, t.name FROM clinicache._parent_triggers(parents) AS t
                WHERE format('%s %s', t.relation::oid, t.name) <> ALL (kept) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', doomed.name, clinicache._table_name(doomed.relation));
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._drop_parent_triggers(text, text[]) IS
  'Internal: removes from other tables the triggers of one table''s look-ups, but for those kept (oid of the table, name)';

CREATE FUNCTION clinicache._forget_parents(parents text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- partitions and inheritance children have it from their parent, and whoever forged it has no say
  IF parents IS NOT NULL AND NOT EXISTS (SELECT FROM clinicache._looking_up() AS l WHERE l.config ->> 'parents' = _forget_parents.parents) THEN
    PERFORM clinicache._drop_parent_triggers(parents, '{}');
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._forget_parents(text) IS
  'Internal: a table is tracked no more: removes the triggers of its look-ups from other tables, unless a tracked table has the same';

CREATE FUNCTION clinicache._check_parent_owner(rel regclass, parent regclass, following boolean) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner name := (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = parent);
  -- what an event trigger does, it does for the table's owner
  actor name := CASE WHEN following THEN (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = rel) ELSE current_user END;
BEGIN
  IF NOT pg_has_role(actor, owner, 'USAGE') THEN
    RAISE EXCEPTION 'look-ups of % lead through %, which belongs to %', rel, parent, owner
      USING ERRCODE = 'insufficient_privilege', DETAIL = 'Tables on the way get a trigger.',
            HINT = format('Let a member of %I, or a superuser, track the table.', owner);
  ELSIF NOT clinicache._may_track((SELECT c.relowner FROM pg_class AS c WHERE c.oid = parent)) THEN
    RAISE EXCEPTION 'look-ups of % lead through %, whose owner % may not track tables', rel, parent, owner
      USING ERRCODE = 'insufficient_privilege', DETAIL = 'Each of its changes would drop everything.',
            HINT = format('A superuser can allow it: SELECT clinicache.grant_tracker(%L).', owner);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_parent_owner(regclass, regclass, boolean) IS
  'Internal: who puts triggers on a table that look-ups lead through must own it, and its owner be allowed to track (42501)';

CREATE FUNCTION clinicache._put_parent_trigger(parent regclass, trigger_name text, truncates boolean, parent_config jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION clinicache.parent_change(%L)', trigger_name,
                 CASE WHEN truncates THEN 'TRUNCATE' WHEN (parent_config -> 'declared')::boolean THEN 'INSERT OR UPDATE'
                      ELSE 'INSERT OR UPDATE OR DELETE' END,
                 clinicache._table_name(parent), CASE WHEN truncates THEN 'STATEMENT' ELSE 'ROW' END, parent_config);
  IF parent_config ? 'fire' THEN
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', clinicache._table_name(parent), trigger_name);
  END IF;
  RETURN format('%s %s', parent::oid, trigger_name);
END
$$;
COMMENT ON FUNCTION clinicache._put_parent_trigger(regclass, text, boolean, jsonb) IS
  'Internal: makes one trigger of a table that look-ups lead through; returns what identifies it';

CREATE FUNCTION clinicache._put_parent_triggers(rel regclass, config jsonb, following boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  parent       record;
  trigger_name text;
  kept         text[] := '{}';
BEGIN
  IF NOT config ? 'parents' THEN
    RETURN;
  END IF;
  FOR parent IN SELECT p.* FROM clinicache._parents(rel, config) AS p LOOP
    trigger_name := format('clinicache_parent_%s_%s', config ->> 'parents', parent.number);
    PERFORM clinicache._check_parent_owner(rel, parent.relation, following);
    PERFORM clinicache.check_config(parent.relation, parent.parent_config);
    kept := kept || clinicache._put_parent_trigger(parent.relation, trigger_name, false, parent.parent_config);
    -- with a foreign key the rows that refer to them have to be emptied as well, and tell
    IF NOT parent.declared THEN
      kept := kept || ARRAY(SELECT clinicache._put_parent_trigger(t.relation, trigger_name || '_truncate', true, parent.parent_config)
                            FROM (SELECT parent.relation UNION ALL
                                  SELECT d.child FROM clinicache._descendants(parent.relation) AS d WHERE d.partition) AS t(relation));
    END IF;
  END LOOP;
  PERFORM clinicache._drop_parent_triggers(config ->> 'parents', kept);
END
$$;
COMMENT ON FUNCTION clinicache._put_parent_triggers(regclass, jsonb, boolean) IS
  'Internal: puts triggers on the tables that a table''s look-ups lead through, for the caller or (following a statement) for the table''s owner';

CREATE FUNCTION clinicache._with_parents(rel regclass, config jsonb) RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM clinicache._lookups(config))
              THEN config || jsonb_build_object('parents', coalesce(clinicache._row_config(rel) ->> 'parents',
                                                                    left(replace(gen_random_uuid()::text, '-', ''), 12)))
              ELSE config END
$$;
COMMENT ON FUNCTION clinicache._with_parents(regclass, jsonb) IS
  'Internal: a configuration with a name for the triggers that its look-ups need, if it has any; the name that the table has already stays';

-- ---------------------------------------------------------------------------------------------------------------------
-- Statements that change the tables on the way
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._looking_up() RETURNS TABLE (relation regclass, config jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.tgrelid::regclass, c.config
  FROM pg_trigger AS t
  -- most have none, and may hold what is no JSON
  CROSS JOIN LATERAL (SELECT CASE WHEN position('"parents"'::bytea IN t.tgargs) > 0 THEN clinicache.trigger_config(t.oid) END AS config) AS c
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure AND c.config ? 'parents'
$$;
COMMENT ON FUNCTION clinicache._looking_up() IS 'Internal: tracked tables with look-ups';

CREATE FUNCTION clinicache._renamed_path(path text, kind text, in_schema text, in_table text, old_name text, new_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(CASE s.step WHEN 0 THEN clinicache._path_name(s.value)
                    ELSE format('%s.%s(%s).%s', clinicache._path_name(n.schema_name), clinicache._path_name(n.table_name),
                                clinicache._path_name(n.key), clinicache._path_name(n.value)) END, ' -> ' ORDER BY s.step)
  FROM clinicache.lookup_steps(path) AS s
  CROSS JOIN LATERAL (SELECT s.schema_name = in_schema AND s.table_name = in_table AS here) AS h
  CROSS JOIN LATERAL (
    SELECT CASE WHEN kind = 'rename schema' AND s.schema_name = old_name THEN new_name
                WHEN kind = 'set schema' AND s.table_name = in_table
                     AND to_regclass(format('%I.%I', s.schema_name, s.table_name)) IS NULL THEN in_schema
                ELSE s.schema_name END AS schema_name,
           CASE WHEN kind = 'rename table' AND s.schema_name = in_schema AND s.table_name = old_name THEN new_name
                ELSE s.table_name END AS table_name,
           CASE WHEN kind = 'rename column' AND h.here AND s.key = old_name THEN new_name ELSE s.key END AS key,
           CASE WHEN kind = 'rename column' AND h.here AND s.value = old_name THEN new_name ELSE s.value END AS value) AS n
$$;
COMMENT ON FUNCTION clinicache._renamed_path(text, text, text, text, text, text) IS
  'Internal: a look-up after a table, a schema, or a column of a table on the way was renamed or moved';

CREATE FUNCTION clinicache._rename_in_lookups(kind text, object oid, old_name text, new_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  in_schema text := (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = object);
  in_table  text := (SELECT c.relname FROM pg_class AS c WHERE c.oid = object);
  child     record;
  own       record;
  columns   jsonb;
BEGIN
  FOR child IN SELECT l.relation, l.config FROM clinicache._looking_up() AS l LOOP
    SELECT jsonb_object_agg(l.name, jsonb_build_object('lookup',
             clinicache._renamed_path(l.path, kind, in_schema, in_table, old_name, new_name)))
      INTO columns FROM clinicache._lookups(child.config) AS l;
    CONTINUE WHEN child.config -> 'columns' @> columns;
    child.config := jsonb_set(child.config, '{columns}', (child.config -> 'columns') || columns);
    FOR own IN SELECT d.target, t.* FROM (SELECT child.relation AS target UNION ALL
                                          SELECT c.child FROM clinicache._descendants(child.relation) AS c) AS d
               CROSS JOIN LATERAL clinicache._own_triggers(d.target) AS t WHERE NOT t.cloned LOOP
      PERFORM clinicache._replace_trigger(own.target, own.name, own.fires_on = 'truncate', own.state, child.config);
    END LOOP;
    PERFORM clinicache._put_parent_triggers(child.relation, child.config, true);
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._rename_in_lookups(text, oid, text, text) IS
  'Internal: look-ups follow a renamed column, table or schema, or a table moved to another schema';

CREATE FUNCTION clinicache._looked_through(in_schema text, in_table text, col text) RETURNS TABLE (relation regclass, config jsonb, names text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.relation, c.config, array_agg(DISTINCT l.name)
  FROM clinicache._looking_up() AS c CROSS JOIN LATERAL clinicache._lookups(c.config) AS l
  CROSS JOIN LATERAL clinicache.lookup_steps(l.path) AS s
  WHERE s.schema_name = in_schema AND s.table_name = in_table AND (col IS NULL OR col IN (s.key, s.value))
  GROUP BY c.relation, c.config
  ORDER BY c.relation
$$;
COMMENT ON FUNCTION clinicache._looked_through(text, text, text) IS
  'Internal: tables whose look-ups use a table, or a column of it, and the names of those look-ups';

CREATE FUNCTION clinicache._how_without_lookups(rel regclass, config jsonb, names text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- as if they began at a column of their own, and that were dropped
  SELECT clinicache._how_without(rel, jsonb_set(config, '{columns}', (config -> 'columns') || (
           SELECT jsonb_object_agg(n, jsonb_build_object('lookup', '"?" -> "?"."?"("?")."?"')) FROM unnest(names) AS n)), '?')
$$;
COMMENT ON FUNCTION clinicache._how_without_lookups(regclass, jsonb, text[]) IS
  'Internal: a hint with the statement that lets look-ups go';

CREATE FUNCTION clinicache._led_through(rel regclass) RETURNS TABLE (relation regclass, config jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT ON (t.relation) t.relation, t.config
  FROM clinicache._lineage(rel) AS l JOIN pg_class AS c ON c.oid = l.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL clinicache._looked_through(n.nspname, c.relname, NULL) AS t
$$;
COMMENT ON FUNCTION clinicache._led_through(regclass) IS
  'Internal: tables whose look-ups use a table or what it is a partition of';

CREATE FUNCTION clinicache._parent_contents_changed(rel regclass) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache._emit_templates(l.config) FROM clinicache._led_through(rel) AS l
$$;
COMMENT ON FUNCTION clinicache._parent_contents_changed(regclass) IS
  'Internal: rows of a table came or went with no row event: emits the prefixes of all that look up there';

CREATE FUNCTION clinicache._refresh_parents(rel regclass) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache._put_parent_triggers(l.relation, l.config, true)
  FROM (SELECT t.relation, t.config FROM clinicache._led_through(rel) AS t
        UNION
        SELECT t.relation, t.config FROM clinicache._looking_up() AS t WHERE t.relation IN (SELECT u.relation FROM clinicache._lineage(rel) AS u)) AS l
$$;
COMMENT ON FUNCTION clinicache._refresh_parents(regclass) IS
  'Internal: a table has another foreign key, partition or child: makes the triggers anew of look-ups that begin at it or lead through it';

CREATE FUNCTION clinicache._parent_retyped(rel regclass, col text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  child record;
BEGIN
  FOR child IN SELECT l.* FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               CROSS JOIN LATERAL clinicache._looked_through(n.nspname, c.relname, col) AS l WHERE c.oid = rel LOOP
    BEGIN
      PERFORM clinicache.check_config(child.relation, child.config);
    EXCEPTION WHEN datatype_mismatch OR invalid_parameter_value THEN
      RETURN jsonb_build_object('code', 'datatype_mismatch',
                                'message', format('column "%s" of %s cannot be of type %s, because look-ups of %s use it: %s', col, rel,
                                                  clinicache._column_type(rel, col), child.relation, SQLERRM),
                                'hint', clinicache._how_without_lookups(child.relation, child.config, child.names));
    END;
    PERFORM clinicache._emit_templates(child.config);
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._parent_retyped(regclass, text) IS
  'Internal: why a column can not have the type that it has got, for what is looked up there; null: it can, and prefixes are emitted';

CREATE FUNCTION clinicache._parent_dropped(in_schema text, in_table text, col text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  child record;
  found regclass := to_regclass(format('%I.%I', in_schema, in_table));
BEGIN
  SELECT l.* INTO child FROM clinicache._looked_through(in_schema, in_table, col) AS l LIMIT 1;
  IF child.relation IS NULL THEN
    RETURN NULL;
  ELSIF col = ANY (clinicache._column_names(found)) THEN
    -- dropped and added by one statement, as Prisma does
    RETURN clinicache._parent_retyped(found, col);
  END IF;
  RETURN jsonb_build_object('code', 'dependent_objects_still_exist',
                            'message', CASE WHEN col IS NULL
                              THEN format('table %I.%I cannot be dropped, because clinicache looks up rows of %s there', in_schema, in_table, child.relation)
                              ELSE format('column "%s" of %I.%I cannot be dropped, because clinicache looks up rows of %s there',
                                          col, in_schema, in_table, child.relation) END,
                            'hint', clinicache._how_without_lookups(child.relation, child.config, child.names));
END
$$;
COMMENT ON FUNCTION clinicache._parent_dropped(text, text, text) IS
  'Internal: why a table, or a column, can not be dropped, for what is looked up there; null: it can';
