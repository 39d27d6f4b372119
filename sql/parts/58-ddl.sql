-- clinicache: statements that change tracked tables.
--
--   ddl_command_end -> ddl_done    -> ddl_steps (C): renamed, altered, attached, detached, created, inherited
--   sql_drop        -> ddl_dropped -> columns, tables, partitions
--
-- Both do nothing for tables that are not tracked, and for owners who are not trusted with tags.  They run as the extension's
-- owner, because whoever may change a table need not be allowed anything here; they run nothing that belongs to the table's owner.
-- What is refused is refused on purpose; any other error becomes a WARNING, and everybody drops everything.

CREATE FUNCTION clinicache.ddl_steps(command pg_ddl_command)
RETURNS TABLE (kind text, object oid, attnum int, other oid, old_name text, new_name text)
AS 'MODULE_PATHNAME', 'clinicache_ddl_steps' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 2;
COMMENT ON FUNCTION clinicache.ddl_steps(pg_ddl_command) IS
  'Part of the event trigger clinicache_ddl: what of a statement may concern a tracked table';

CREATE FUNCTION clinicache.dropped_parents(relation oid) RETURNS oid[]
AS 'MODULE_PATHNAME', 'clinicache_dropped_parents' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.dropped_parents(oid) IS
  'Part of the event trigger clinicache_drop: what a table was a partition or an inheritance child of until this transaction';

CREATE FUNCTION clinicache.dropped_config(relation oid) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_dropped_config' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.dropped_config(oid) IS
  'Part of the event trigger clinicache_drop: the configuration of a table that this transaction dropped; null: it was not tracked';

-- ---------------------------------------------------------------------------------------------------------------------
-- Which tables
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._row_config(rel regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache.trigger_config(t.id) FROM clinicache._own_triggers(rel) AS t WHERE t.fires_on = 'row' ORDER BY t.cloned, t.id LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._row_config(regclass) IS 'Internal: the configuration in a table''s row trigger; null: there is none';

CREATE FUNCTION clinicache._is_followed(rel regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- an owner who may not track decides no tags, by whatever statement
  SELECT EXISTS (SELECT FROM clinicache._own_triggers(rel))
         AND (SELECT clinicache._may_track(c.relowner) FROM pg_class AS c WHERE c.oid = rel)
$$;
COMMENT ON FUNCTION clinicache._is_followed(regclass) IS 'Internal: has a table our triggers, and an owner who may track?';

CREATE FUNCTION clinicache._lineage(rel regclass) RETURNS TABLE (relation regclass, level int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE up AS (
    SELECT rel::oid AS id, 0 AS level
    UNION
    SELECT i.inhparent, u.level + 1 FROM up AS u JOIN pg_inherits AS i ON i.inhrelid = u.id)
  SELECT u.id::regclass, max(u.level) FROM up AS u GROUP BY u.id ORDER BY 2
$$;
COMMENT ON FUNCTION clinicache._lineage(regclass) IS 'Internal: a table and what it is a partition or an inheritance child of';

CREATE FUNCTION clinicache._is_empty(rel regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target regclass;
  filled boolean;
BEGIN
  -- foreign tables are not read: that would be as somebody else
  FOR target IN SELECT c.oid FROM pg_class AS c
                WHERE c.relkind = 'r' AND (c.oid = rel OR c.oid IN (SELECT d.child FROM clinicache._descendants(rel) AS d)) LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %s)', clinicache._table_name(target)) INTO filled;
    IF filled THEN
      RETURN false;
    END IF;
  END LOOP;
  RETURN (SELECT c.relkind IN ('r', 'p') FROM pg_class AS c WHERE c.oid = rel);
END
$$;
COMMENT ON FUNCTION clinicache._is_empty(regclass) IS 'Internal: has a table no rows?';

-- ---------------------------------------------------------------------------------------------------------------------
-- Columns in a configuration
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._names_in_tag(tag jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache.template_columns(tag ->> 'tag') || clinicache._texts(tag -> 'time') || clinicache._texts(tag -> 'columns')
$$;
COMMENT ON FUNCTION clinicache._names_in_tag(jsonb) IS 'Internal: what a tag template names, logical or real';

CREATE FUNCTION clinicache._names_in_counter(counter jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_remove(ARRAY(SELECT b.value FROM jsonb_each_text(counter -> 'by') AS b)
                      || ARRAY[counter ->> 'day', counter ->> 'class', counter ->> 'sum'], NULL)
$$;
COMMENT ON FUNCTION clinicache._names_in_counter(jsonb) IS 'Internal: what a counter names, logical or real';

CREATE FUNCTION clinicache._names_in_config(config jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT n.name), '{}')
  FROM (SELECT unnest(clinicache._names_in_tag(t)) FROM jsonb_array_elements(config -> 'tags') AS t
        UNION ALL
        SELECT unnest(clinicache._names_in_counter(c)) FROM jsonb_array_elements(coalesce(config -> 'counters', '[]')) AS c
        UNION ALL
        VALUES (config ->> 'tenant'),
               (CASE jsonb_typeof(config -> 'deleted') WHEN 'object' THEN config #>> '{deleted,column}' ELSE config ->> 'deleted' END)) AS n(name)
  WHERE n.name IS NOT NULL
$$;
COMMENT ON FUNCTION clinicache._names_in_config(jsonb) IS 'Internal: what a configuration names, logical or real, but for "ignore" and "zone"';

CREATE FUNCTION clinicache._stands_for(config jsonb, names text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT r.name), '{}')
  FROM unnest(names) AS n(name)
  CROSS JOIN LATERAL unnest(CASE jsonb_typeof(config -> 'columns' -> n.name)
                            WHEN 'array' THEN clinicache._texts(config -> 'columns' -> n.name)
                            WHEN 'string' THEN ARRAY[config -> 'columns' ->> n.name]
                            WHEN 'object' THEN CASE WHEN config -> 'columns' -> n.name ? 'lookup' THEN
                              ARRAY(SELECT l.value FROM clinicache.lookup_steps(config -> 'columns' -> n.name ->> 'lookup') AS l WHERE l.step = 0)
                              ELSE '{}' END
                            ELSE ARRAY[n.name] END) AS r(name)
$$;
COMMENT ON FUNCTION clinicache._stands_for(jsonb, text[]) IS 'Internal: the real columns behind a configuration''s names';

CREATE FUNCTION clinicache._renamed_origin(path text, old_name text, new_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN s.value = old_name THEN clinicache._path_name(new_name) || substr(path, length(clinicache._path_name(old_name)) + 1) ELSE path END
  FROM clinicache.lookup_steps(path) AS s WHERE s.step = 0
$$;
COMMENT ON FUNCTION clinicache._renamed_origin(text, text, text) IS 'Internal: a look-up after the column that it begins at was renamed';

CREATE FUNCTION clinicache._renamed(config jsonb, old_name text, new_name text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns jsonb;
BEGIN
  SELECT coalesce(jsonb_object_agg(c.key, CASE
           WHEN c.value = to_jsonb(old_name) THEN to_jsonb(new_name)
           WHEN jsonb_typeof(c.value) = 'array' THEN to_jsonb(array_replace(clinicache._texts(c.value), old_name, new_name))
           WHEN c.value ? 'lookup' THEN jsonb_build_object('lookup', clinicache._renamed_origin(c.value ->> 'lookup', old_name, new_name))
           ELSE c.value END), '{}')
    INTO columns FROM jsonb_each(config -> 'columns') AS c;
  -- named directly: the name stays, as a logical one, because tags are made of it
  IF NOT columns ? old_name AND old_name = ANY (clinicache._names_in_config(config)) THEN
    columns := columns || jsonb_build_object(old_name, jsonb_build_array(new_name));
  END IF;
  config := config || jsonb_build_object('columns', columns);
  IF config ? 'ignore' THEN
    config := config || jsonb_build_object('ignore', array_replace(clinicache._texts(config -> 'ignore'), old_name, new_name));
  END IF;
  IF config -> 'zone' ? old_name THEN
    config := jsonb_set(config #- ARRAY['zone', old_name], ARRAY['zone', new_name], config -> 'zone' -> old_name);
  END IF;
  RETURN config;
END
$$;
COMMENT ON FUNCTION clinicache._renamed(jsonb, text, text) IS
  'Internal: a configuration after a column''s renaming; its tags keep their text';

CREATE FUNCTION clinicache._dropped(config jsonb, col text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT config
         || CASE WHEN config ? 'ignore'
                 THEN jsonb_build_object('ignore', array_remove(clinicache._texts(config -> 'ignore'), col)) ELSE '{}' END
         || CASE WHEN config ? 'zone' THEN jsonb_build_object('zone', (config -> 'zone') - col) ELSE '{}' END
         || jsonb_build_object('columns', (SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}')
                                           FROM jsonb_each(config -> 'columns') AS c
                                           WHERE NOT (c.value ? col AND jsonb_typeof(c.value) IN ('array', 'string'))
                                             AND NOT starts_with(coalesce(c.value ->> 'lookup', ''), clinicache._path_name(col) || ' -> ')))
$$;
COMMENT ON FUNCTION clinicache._dropped(jsonb, text) IS
  'Internal: a configuration after a column that it does not use was dropped';

CREATE FUNCTION clinicache._without_column(config jsonb, col text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache._dropped(c.kept, col) - '{v,profiles,left_out,parents}'::text[]
         || jsonb_build_object(
              'tags', (SELECT coalesce(jsonb_agg(t.tag ORDER BY t.n), '[]')
                       FROM jsonb_array_elements(config -> 'tags') WITH ORDINALITY AS t(tag, n)
                       WHERE NOT col = ANY (clinicache._stands_for(config, clinicache._names_in_tag(t.tag)))),
              'counters', (SELECT coalesce(jsonb_agg(k.counter ORDER BY k.n), '[]')
                           FROM jsonb_array_elements(coalesce(config -> 'counters', '[]')) WITH ORDINALITY AS k(counter, n)
                           WHERE NOT col = ANY (clinicache._stands_for(config, clinicache._names_in_counter(k.counter)))))
  FROM (SELECT config
               - CASE WHEN col = ANY (clinicache._stands_for(config, ARRAY[config ->> 'tenant'])) THEN 'tenant' ELSE '' END
               - CASE WHEN col = ANY (clinicache._stands_for(config, ARRAY[coalesce(config #>> '{deleted,column}', config ->> 'deleted')]))
                      THEN 'deleted' ELSE '' END) AS c(kept)
$$;
COMMENT ON FUNCTION clinicache._without_column(jsonb, text) IS
  'Internal: a configuration for track without all that uses a column';

CREATE FUNCTION clinicache._how_without(rel regclass, config jsonb, col text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  less  jsonb := clinicache._without_column(config, col);
  root  regclass := (SELECT l.relation FROM clinicache._lineage(rel) AS l, clinicache._own_triggers(l.relation) AS t
                     WHERE t.fires_on = 'row' AND NOT t.cloned ORDER BY l.level DESC LIMIT 1);
  table_name text := clinicache._table_name(coalesce(root, rel));
BEGIN
  RETURN CASE WHEN less -> 'tags' = '[]' THEN ''
              ELSE format('Track the table without it first: SELECT clinicache.track(%L, %L); ', table_name, less) END
         || format(CASE WHEN less -> 'tags' = '[]' THEN 'S' ELSE 'or s' END || 'top tracking it: SELECT clinicache.untrack(%L).', table_name);
END
$$;
COMMENT ON FUNCTION clinicache._how_without(regclass, jsonb, text) IS
  'Internal: a hint with the statement that lets a column go';

-- ---------------------------------------------------------------------------------------------------------------------
-- What is done
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._rewrite_triggers(rel regclass, old_name text, new_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own    record;
  config jsonb;
  made   jsonb;
BEGIN
  -- statement triggers of partitions hold the configuration too; counters count on, their columns are the same
  FOR own IN SELECT d.target, t.* FROM (SELECT rel AS target UNION ALL SELECT c.child FROM clinicache._descendants(rel) AS c) AS d
             CROSS JOIN LATERAL clinicache._own_triggers(d.target) AS t WHERE NOT t.cloned LOOP
    config := clinicache.trigger_config(own.id);
    made := CASE WHEN new_name IS NULL THEN clinicache._dropped(config, old_name)
                 ELSE clinicache._renamed(config, old_name, new_name) END;
    IF made <> config THEN
      PERFORM clinicache._replace_trigger(own.target, own.name, own.fires_on = 'truncate', own.state, made);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._rewrite_triggers(regclass, text, text) IS
  'Internal: puts a column''s new name (null: none) into the triggers of a table and those below; nothing is counted anew';

CREATE FUNCTION clinicache._rename_deleted(rel regclass, old_value text, new_value text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own    record;
  config jsonb;
BEGIN
  FOR own IN SELECT t.* FROM clinicache._own_triggers(rel) AS t WHERE NOT t.cloned LOOP
    config := clinicache.trigger_config(own.id);
    IF config #> '{deleted,values}' ? old_value THEN
      PERFORM clinicache._replace_trigger(rel, own.name, own.fires_on = 'truncate', own.state,
                jsonb_set(config, '{deleted,values}',
                          to_jsonb(array_replace(clinicache._texts(config #> '{deleted,values}'), old_value, new_value))));
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._rename_deleted(regclass, text, text) IS
  'Internal: an enum''s value that means deleted has another name';

CREATE FUNCTION clinicache._emit_templates(config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  template text;
BEGIN
  FOR template IN SELECT DISTINCT t ->> 'tag' FROM jsonb_array_elements(config -> 'tags') AS t LOOP
    IF right(template, 1) = '*' OR cardinality(clinicache.template_columns(template)) > 0 THEN
      PERFORM clinicache.emit_prefix(clinicache.template_prefix(template), NULL, NULL);
    ELSE
      PERFORM clinicache.invalidate(ARRAY[template]);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._emit_templates(jsonb) IS
  'Internal: emits the prefix of every template of a configuration, as TRUNCATE does';

CREATE FUNCTION clinicache._distrust_table(rel regclass, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  counter text;
BEGIN
  INSERT INTO clinicache.counter_invalid (source, at, reason)
  SELECT s.id, clock_timestamp(), _distrust_table.reason FROM clinicache.counter_source AS s
  WHERE s.relation = rel AND NOT EXISTS (SELECT FROM clinicache.counter_invalid AS i WHERE i.source = s.id);
  SELECT min(s.counter) INTO counter FROM clinicache.counter_source AS s WHERE s.relation = rel;
  IF counter IS NOT NULL THEN
    RAISE NOTICE 'counters of table "%" are read from the table itself from now on', rel
      USING HINT = format('To make them quick again: SELECT clinicache.rebuild(%L).', counter);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._distrust_table(regclass, text) IS 'Internal: has a table''s counters read from it until they are rebuilt';

CREATE FUNCTION clinicache._contents_changed(rel regclass, recount boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  root regclass;
  told jsonb;
BEGIN
  FOR told IN SELECT DISTINCT clinicache._row_config(l.relation) FROM clinicache._lineage(rel) AS l WHERE clinicache._is_followed(l.relation) LOOP
    IF told IS NOT NULL THEN
      PERFORM clinicache._emit_templates(told);
    END IF;
  END LOOP;
  SELECT l.relation INTO root FROM clinicache._lineage(rel) AS l
   WHERE EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = l.relation) ORDER BY l.level LIMIT 1;
  IF root IS NULL THEN
    RETURN;
  ELSIF recount AND clinicache._is_followed(root) AND (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0) FROM pg_class AS c
                     WHERE c.oid = root OR c.oid IN (SELECT d.child FROM clinicache._descendants(root) AS d)) < 1e7 THEN
    PERFORM clinicache.count_rows(root, clinicache._row_config(root));
  ELSE
    PERFORM clinicache._distrust_table(root, 'changed by a statement');
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._contents_changed(regclass, boolean) IS
  'Internal: a table''s rows changed with no row event: emits prefixes, counts anew (tables of less than ten million rows) or has counters read from the table';

-- ---------------------------------------------------------------------------------------------------------------------
-- Steps: each returns null, or why the statement is refused: {"code", "message", "hint"}
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._column_retyped(rel regclass, col text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config jsonb := clinicache._row_config(rel);
  why    text;
BEGIN
  BEGIN
    PERFORM clinicache.check_config(rel, config);
  EXCEPTION WHEN datatype_mismatch OR invalid_parameter_value THEN
    why := SQLERRM;
  END;
  IF why IS NULL AND jsonb_typeof(config -> 'deleted') = 'string'
     AND col = ANY (clinicache._stands_for(config, ARRAY[config ->> 'deleted']))
     AND clinicache._column_type(rel, col) NOT IN ('boolean'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
    why := format('column "%s" tells which rows are deleted', col);
  ELSIF why IS NULL AND NOT clinicache._is_clock(clinicache._column_type(rel, col))
        AND EXISTS (SELECT FROM clinicache._time_pairs(config -> 'tags') AS p WHERE col = ANY (clinicache._stands_for(config, ARRAY[p.clock]))) THEN
    why := format('column "%s" is the time of day of a window', col);
  END IF;
  RETURN CASE WHEN why IS NOT NULL THEN
    jsonb_build_object('code', 'datatype_mismatch',
                       'message', format('column "%s" of %s cannot be of type %s, because clinicache uses it: %s',
                                         col, rel, clinicache._column_type(rel, col), why),
                       'hint', clinicache._how_without(rel, config, col)) END;
END
$$;
COMMENT ON FUNCTION clinicache._column_retyped(regclass, text) IS
  'Internal: why a column in use can not have the type that it has got; null: it can';

CREATE FUNCTION clinicache._column_dropped(rel regclass, col text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config  jsonb := clinicache._row_config(rel);
  refusal jsonb;
BEGIN
  IF NOT col = ANY (clinicache._stands_for(config, clinicache._names_in_config(config))) THEN
    PERFORM clinicache._rewrite_triggers(rel, col, NULL);
    RETURN NULL;
  ELSIF col = ANY (clinicache._column_names(rel)) THEN
    -- DROP COLUMN a, ADD COLUMN a: that is how Prisma changes a type that has no cast
    refusal := clinicache._column_retyped(rel, col);
    IF refusal IS NULL THEN
      PERFORM clinicache._contents_changed(rel, true);
    END IF;
    RETURN refusal;
  END IF;
  RETURN jsonb_build_object('code', 'dependent_objects_still_exist',
                            'message', format('column "%s" of %s cannot be dropped, because clinicache makes tags or counters of it', col, rel),
                            'hint', clinicache._how_without(rel, config, col));
END
$$;
COMMENT ON FUNCTION clinicache._column_dropped(regclass, text) IS
  'Internal: why a column can not be dropped; null: it can, and the triggers do not name it any more';

CREATE FUNCTION clinicache._child_came(parent regclass, child regclass, partition boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config jsonb := clinicache._row_config(parent);
  fires  "char" := (SELECT t.state FROM clinicache._own_triggers(parent) AS t WHERE t.fires_on = 'row' LIMIT 1);
  target regclass;
  own    regclass;
BEGIN
  SELECT d.target INTO own
    FROM (SELECT child AS target UNION ALL SELECT c.child FROM clinicache._descendants(_child_came.child) AS c) AS d
   WHERE EXISTS (SELECT FROM clinicache._own_triggers(d.target) AS t WHERE t.fires_on = 'row' AND NOT t.cloned)
     -- a child of two parents
     AND (partition OR clinicache._row_config(d.target) <> config) LIMIT 1;
  IF own IS NOT NULL THEN
    RETURN jsonb_build_object('code', 'object_not_in_prerequisite_state',
                              'message', format('%s is tracked itself and cannot be added to %s, which is tracked', own, parent),
                              'hint', format('Untrack it first: SELECT clinicache.untrack(%L).', clinicache._table_name(own)));
  END IF;
  FOR target IN SELECT c.oid FROM pg_class AS c WHERE c.oid = _child_came.child AND c.relkind IN ('r', 'p')
                UNION ALL SELECT d.child FROM clinicache._descendants(_child_came.child) AS d LOOP
    IF NOT partition THEN
      PERFORM clinicache._replace_trigger(target, 'clinicache', false, fires, config);
    END IF;
    PERFORM clinicache._replace_trigger(target, 'clinicache_truncate', true, fires, config);
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._child_came(regclass, regclass, boolean) IS
  'Internal: gives a new partition or inheritance child of a tracked table its triggers; one that is tracked itself is refused';

CREATE FUNCTION clinicache._child_went(parent regclass, child regclass, partition boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- a detached partition has lost its row trigger, an inheritance child holds the parent's configuration
  IF NOT EXISTS (SELECT FROM clinicache._own_triggers(child) AS t WHERE t.fires_on = 'row')
     OR (NOT partition AND clinicache._row_config(child) = clinicache._row_config(parent)) THEN
    PERFORM clinicache._drop_triggers(child);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._child_went(regclass, regclass, boolean) IS
  'Internal: removes what a former partition or inheritance child has of its parent''s triggers';

-- ---------------------------------------------------------------------------------------------------------------------
-- Event triggers
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._ddl_step(kind text, rel regclass, attnum int, other regclass, old_name text, new_name text,
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
COMMENT ON FUNCTION clinicache._ddl_step(text, regclass, int, regclass, text, text) IS
  'Internal: one step of a statement on a tracked table: why it is refused, whether rows may have changed, whether to count them anew';

CREATE FUNCTION clinicache._columns_of_type(type oid) RETURNS TABLE (relation regclass, attnum int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE types AS (
    SELECT type AS id
    UNION
    -- domains over it, arrays of it
    SELECT d.objid FROM types AS t JOIN pg_depend AS d
      ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.id AND d.classid = 'pg_type'::regclass)
  SELECT d.objid::regclass, d.objsubid
  FROM types AS t JOIN pg_depend AS d
    ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.id AND d.classid = 'pg_class'::regclass AND d.objsubid > 0
  JOIN pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
$$;
COMMENT ON FUNCTION clinicache._columns_of_type(oid) IS 'Internal: the table columns of a type, of domains over it and arrays of it';

CREATE FUNCTION clinicache._ddl_failed(rel regclass, message text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM clinicache.emit_prefix('', NULL, NULL), clinicache._distrust_table(l.relation, message) FROM clinicache._lineage(rel) AS l;
  RAISE WARNING 'clinicache could not follow a change of %: %', rel, message
    USING HINT = 'Subscribers are told to drop everything; track the table again with clinicache.track().';
END
$$;
COMMENT ON FUNCTION clinicache._ddl_failed(regclass, text) IS
  'Internal: an error of our own is not the statement''s: a WARNING, and everybody drops everything';

CREATE FUNCTION clinicache._changed_safely(rel regclass, recount boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failure text;
BEGIN
  BEGIN
    PERFORM clinicache._contents_changed(rel, recount);
  EXCEPTION WHEN OTHERS THEN
    failure := SQLERRM;
  END;
  IF failure IS NOT NULL THEN
    PERFORM clinicache._ddl_failed(rel, failure);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._changed_safely(regclass, boolean) IS 'Internal: _contents_changed, of which no error remains but a WARNING';

CREATE FUNCTION clinicache._lookups_step(kind text, object oid, attnum int, old_name text, new_name text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  CASE
    WHEN kind IN ('alter type', 'rename value') THEN
      RETURN clinicache._parent_retyped(object, (SELECT a.attname FROM pg_attribute AS a
                                                 WHERE a.attrelid = object AND a.attnum = _lookups_step.attnum));
    WHEN kind = 'rename column' THEN
      PERFORM clinicache._rename_in_lookups(kind, t.object, old_name, new_name)
      FROM (SELECT object UNION ALL SELECT d.child::oid FROM clinicache._descendants(_lookups_step.object) AS d) AS t(object);
    WHEN kind IN ('rename table', 'rename schema', 'set schema') THEN
      PERFORM clinicache._rename_in_lookups(kind, object, old_name, new_name);
    WHEN kind IN ('create', 'inherit', 'no inherit') THEN
      PERFORM clinicache._refresh_parents(object);
    WHEN kind IN ('attach', 'detach', 'detach concurrently') THEN
      PERFORM clinicache._parent_contents_changed(object), clinicache._refresh_parents(object);
    ELSE
      NULL;
  END CASE;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._lookups_step(text, oid, int, text, text) IS
  'Internal: what a step of a statement means for look-ups of other tables; null, or why it is refused';

CREATE FUNCTION clinicache._lookups_failed(message text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM clinicache.emit_prefix('', NULL, NULL);
  RAISE WARNING 'clinicache could not make look-ups follow a statement: %', message
    USING HINT = 'Subscribers are told to drop everything; clinicache.health() shows which table to track again.';
END
$$;
COMMENT ON FUNCTION clinicache._lookups_failed(text) IS 'Internal: _ddl_failed for look-ups';

CREATE FUNCTION clinicache._follow_lookups(kind text, object oid, attnum int, old_name text, new_name text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failure text;
BEGIN
  IF NOT EXISTS (SELECT FROM clinicache._looking_up()) THEN
    RETURN NULL;
  END IF;
  BEGIN
    RETURN clinicache._lookups_step(kind, object, attnum, old_name, new_name);
  EXCEPTION WHEN OTHERS THEN
    failure := SQLERRM;
  END;
  PERFORM clinicache._lookups_failed(failure);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._follow_lookups(text, oid, int, text, text) IS
  'Internal: _lookups_step, of which no error remains but a WARNING';

CREATE FUNCTION clinicache._follow_commands() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  step    record;
  done    record;
  target  record;
  failure text;
  refusal jsonb;
  changes jsonb := '{}';
BEGIN
  FOR step IN
    WITH s AS MATERIALIZED (
      SELECT s.* FROM pg_event_trigger_ddl_commands() AS c CROSS JOIN LATERAL clinicache.ddl_steps(c.command) AS s WHERE NOT c.in_extension)
    SELECT s.kind, s.object AS rel, s.attnum, s.other, s.old_name, s.new_name FROM s WHERE s.kind NOT IN ('create', 'rename value')
    UNION ALL
    SELECT s.kind, i.inhparent, 0, s.object, NULL, NULL FROM s JOIN pg_inherits AS i ON s.kind = 'create' AND i.inhrelid = s.object
    UNION ALL
    SELECT s.kind, k.relation, k.attnum, 0, s.old_name, s.new_name
    FROM s CROSS JOIN LATERAL clinicache._columns_of_type(s.object) AS k WHERE s.kind = 'rename value'
  LOOP
    refusal := clinicache._follow_lookups(step.kind, step.rel, step.attnum, step.old_name, step.new_name);
    IF refusal IS NOT NULL THEN
      RETURN refusal;
    END IF;
    -- the triggers may be further down than the column that is renamed
    CONTINUE WHEN NOT CASE step.kind
      WHEN 'rename table' THEN false
      WHEN 'rename schema' THEN false
      WHEN 'set schema' THEN false
      WHEN 'rename column' THEN clinicache._is_followed(step.rel)
                                OR EXISTS (SELECT FROM clinicache._descendants(step.rel) AS d WHERE clinicache._is_followed(d.child))
      ELSE clinicache._is_followed(step.rel) AND clinicache._row_config(step.rel) IS NOT NULL END;
    BEGIN
      done := clinicache._ddl_step(step.kind, step.rel, step.attnum, step.other, step.old_name, step.new_name);
      failure := NULL;
    EXCEPTION WHEN OTHERS THEN
      failure := SQLERRM;
    END;
    IF failure IS NOT NULL THEN
      PERFORM clinicache._ddl_failed(step.rel, failure);
    ELSIF done.refusal IS NOT NULL THEN
      RETURN done.refusal;
    ELSIF done.changed THEN
      -- once for a tree, however many of its tables a statement names
      changes := changes || coalesce((
        SELECT jsonb_object_agg(l.relation::oid, done.recount AND coalesce((changes ->> l.relation::oid::text)::boolean, true))
        FROM clinicache._lineage(step.rel) AS l
        WHERE EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = l.relation)),
        jsonb_build_object(step.rel, done.recount));
    END IF;
  END LOOP;
  FOR target IN SELECT c.key::oid AS rel, c.value::boolean AS recount FROM jsonb_each_text(changes) AS c LOOP
    PERFORM clinicache._changed_safely(target.rel, target.recount);
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._follow_commands() IS
  'Internal: what the event trigger clinicache_ddl does; null, or why the statement is refused';

CREATE FUNCTION clinicache._follow_drops() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone    record;
  refusal jsonb;
  parent  oid;
  parents oid[] := '{}';
BEGIN
  FOR gone IN SELECT d.objid, d.objsubid, d.address_names FROM pg_event_trigger_dropped_objects() AS d
              WHERE d.object_type IN ('table', 'table column', 'table constraint') LOOP
    IF gone.objsubid = 0 AND cardinality(gone.address_names) = 3 THEN
      -- the foreign key was what told that nothing comes or goes unseen
      BEGIN
        PERFORM clinicache._refresh_parents(to_regclass(format('%I.%I', gone.address_names[1], gone.address_names[2])));
      EXCEPTION WHEN OTHERS THEN
        PERFORM clinicache._lookups_failed(SQLERRM);
      END;
      CONTINUE;
    END IF;
    BEGIN
      refusal := clinicache._parent_dropped(gone.address_names[1], gone.address_names[2],
                                            CASE WHEN gone.objsubid <> 0 THEN gone.address_names[3] END);
    EXCEPTION WHEN OTHERS THEN
      PERFORM clinicache.emit_prefix('', NULL, NULL);
    END;
    IF refusal IS NOT NULL THEN
      RETURN refusal;
    END IF;
    IF gone.objsubid = 0 THEN
      parents := parents || clinicache.dropped_parents(gone.objid);
      BEGIN
        PERFORM clinicache._emit_templates(c), clinicache._forget_parents(c ->> 'parents')
        FROM clinicache.dropped_config(gone.objid) AS c WHERE c IS NOT NULL;
      EXCEPTION WHEN OTHERS THEN
        PERFORM clinicache.emit_prefix('', NULL, NULL);
      END;
      IF EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = gone.objid) THEN
        DELETE FROM clinicache.counter_source AS s WHERE s.relation = gone.objid;
      END IF;
    ELSIF coalesce(clinicache._is_followed(gone.objid), false) THEN
      BEGIN
        refusal := clinicache._column_dropped(gone.objid, gone.address_names[cardinality(gone.address_names)]);
      EXCEPTION WHEN OTHERS THEN
        PERFORM clinicache._ddl_failed(gone.objid, SQLERRM);
      END;
      IF refusal IS NOT NULL THEN
        RETURN refusal;
      END IF;
    END IF;
  END LOOP;
  FOR parent IN SELECT DISTINCT c.oid FROM unnest(parents) AS p JOIN pg_class AS c ON c.oid = p LOOP
    PERFORM clinicache._parent_contents_changed(parent);
    IF clinicache._is_followed(parent) THEN
      PERFORM clinicache._changed_safely(parent, true);
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._follow_drops() IS
  'Internal: what the event trigger clinicache_drop does; null, or why the statement is refused';

CREATE FUNCTION clinicache._refuse(refusal jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION '%', refusal ->> 'message' USING ERRCODE = refusal ->> 'code', HINT = refusal ->> 'hint';
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._refuse(jsonb) IS 'Internal: fails a statement; null: does nothing';

CREATE FUNCTION clinicache.ddl_done() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  refusal jsonb;
BEGIN
  BEGIN
    refusal := clinicache._follow_commands();
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'clinicache could not look at a statement: %', SQLERRM;
  END;
  PERFORM clinicache._refuse(refusal);
END
$$;
COMMENT ON FUNCTION clinicache.ddl_done() IS
  'Event trigger function: tracking follows renamed columns, new and former partitions and children, changed types and enum values, triggers disabled and enabled. Errors: 42804 a type that a column in use can not have, 55000 a partition or child that is tracked itself';

CREATE FUNCTION clinicache.ddl_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  refusal jsonb;
BEGIN
  BEGIN
    refusal := clinicache._follow_drops();
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'clinicache could not look at a statement: %', SQLERRM;
  END;
  PERFORM clinicache._refuse(refusal);
END
$$;
COMMENT ON FUNCTION clinicache.ddl_dropped() IS
  'Event trigger function: a column in use is not dropped; the prefixes of a dropped table''s tags are emitted, its counters are no more; partitions are told of. Errors: 2BP01 column in use';

CREATE EVENT TRIGGER clinicache_ddl ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER TYPE', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE SCHEMA')
  EXECUTE FUNCTION clinicache.ddl_done();
CREATE EVENT TRIGGER clinicache_drop ON sql_drop
  EXECUTE FUNCTION clinicache.ddl_dropped();
COMMENT ON EVENT TRIGGER clinicache_ddl IS
  'Tracking follows ALTER TABLE, ALTER TYPE ... RENAME VALUE and new partitions and children';
COMMENT ON EVENT TRIGGER clinicache_drop IS
  'Refuses to drop columns that tags or counters are made of; tells of dropped tables and partitions';
