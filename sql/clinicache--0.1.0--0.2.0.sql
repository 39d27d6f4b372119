-- clinicache: from version 0.1.0 to 0.2.0.  Made by sql/upgrade-script, but for what sql/upgrade adds.
\echo Use "ALTER EXTENSION clinicache UPDATE" to load this file. \quit

CREATE FUNCTION clinicache.parent_change() RETURNS trigger
  AS 'MODULE_PATHNAME', 'clinicache_parent_change' LANGUAGE C;

REVOKE ALL ON FUNCTION clinicache.parent_change() FROM PUBLIC;

COMMENT ON FUNCTION clinicache.parent_change() IS
  'Row trigger of tables that look-ups of tracked tables lead through: when a row leads elsewhere, emits their list tags. Made by clinicache.track(); its one argument is the configuration as JSON';

CREATE FUNCTION clinicache.lookup_steps(path text)
  RETURNS TABLE(step int, schema_name text, table_name text, key text, value text)
  AS 'MODULE_PATHNAME', 'clinicache_lookup_steps' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE ROWS 3;

REVOKE ALL ON FUNCTION clinicache.lookup_steps(path text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache.lookup_steps(text) IS
  'A look-up taken apart: "patientId -> public.patients(id).clinic_id". Step 0 has the column that it begins at, as value; schema_name is null where none is written. Error 22023 if it is malformed';

CREATE OR REPLACE FUNCTION clinicache._entity_named(word text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  -- what _squash does, spelt out: called for each word of the vocabulary it would take milliseconds
  SELECT e.name
  FROM (SELECT clinicache._squash(_entity_named.word)) AS given(word), clinicache.entity AS e, unnest(e.tables || e.name) AS t(word),
       LATERAL (SELECT lower(replace(t.word, '_', '') COLLATE "C")) AS s(singular)
  WHERE left(given.word, greatest(length(s.singular) - 2, 0)) = left(s.singular, -2)
    AND given.word IN (s.singular, s.singular || 's', s.singular || 'es',
                       regexp_replace(s.singular, 'y$', 'ies'), regexp_replace(s.singular, 'is$', 'es'))
  ORDER BY e.builtin, e.name
  LIMIT 1
$$;

CREATE FUNCTION clinicache._foreign_keys(rel regclass) RETURNS TABLE (col text, target regclass, key text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT a.attname::text, c.confrelid::regclass, k.attname::text
  FROM pg_constraint AS c
  JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
  JOIN pg_attribute AS k ON k.attrelid = c.confrelid AND k.attnum = c.confkey[1]
  WHERE c.contype = 'f' AND c.conrelid = rel AND cardinality(c.conkey) = 1
    -- a key to a partitioned table has a constraint for each partition besides
    AND NOT EXISTS (SELECT FROM pg_constraint AS p WHERE p.oid = c.conparentid AND p.conrelid = c.conrelid)
$$;

REVOKE ALL ON FUNCTION clinicache._foreign_keys(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._foreign_keys(regclass) IS 'Internal: the single-column foreign keys of a table';

CREATE FUNCTION clinicache._single_key(rel regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.attname::text
  FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
  WHERE i.indrelid = rel AND i.indisprimary AND i.indnkeyatts = 1
$$;

REVOKE ALL ON FUNCTION clinicache._single_key(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._single_key(regclass) IS 'Internal: the column that is the primary key; null: there is none, or it has several';

CREATE FUNCTION clinicache._pointing_columns(rel regclass, logical text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT f.col ORDER BY f.col), '{}')
  FROM clinicache._foreign_keys(rel) AS f JOIN pg_class AS c ON c.oid = f.target
  WHERE logical IN ('clinic', 'patient') AND f.target <> rel
    AND clinicache._entity_named(c.relname::text) = logical AND clinicache._single_key(f.target) = f.key
$$;

REVOKE ALL ON FUNCTION clinicache._pointing_columns(rel regclass, logical text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._pointing_columns(regclass, text) IS
  'Internal: columns that hold a clinic or patient, whatever their names, because their foreign keys say so';

CREATE FUNCTION clinicache._fitting_columns(rel regclass, logical text, candidates text[]) RETURNS TABLE (names text[], refusals text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH wanted AS (
    SELECT w.n, clinicache._squash(w.word) AS squashed, ARRAY[w.word, clinicache._snake(w.word), clinicache._camel(w.word)] AS spelt
    FROM unnest(candidates) WITH ORDINALITY AS w(word, n)),
  named AS (
    SELECT DISTINCT a.attname::text AS name, a.attnum, w.n, NOT a.attname::text = ANY (w.spelt) AS loosely
    FROM pg_attribute AS a JOIN wanted AS w ON lower(replace(a.attname::text, '_', '') COLLATE "C") = w.squashed
                                               OR a.attname::text = ANY (w.spelt)
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped),
  judged AS (
    SELECT n.*, clinicache._refused_by(rel, n.name, logical) AS target, rank() OVER (ORDER BY n.loosely, n.n) AS place FROM named AS n),
  best AS (
    SELECT array_agg(j.name ORDER BY j.attnum) AS names FROM judged AS j
    WHERE j.target IS NULL GROUP BY j.place ORDER BY j.place LIMIT 1)
  SELECT coalesce((SELECT b.names FROM best AS b), clinicache._pointing_columns(rel, logical)),
         ARRAY(SELECT format('"%s", whose foreign key points to %s', j.name, j.target) FROM judged AS j
               WHERE j.target IS NOT NULL GROUP BY j.name, j.target ORDER BY min(j.place), min(j.attnum))
$$;

REVOKE ALL ON FUNCTION clinicache._fitting_columns(rel regclass, logical text, candidates text[]) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._fitting_columns(regclass, text, text[]) IS
  'Internal: the columns of the first candidate that a table has, or those whose foreign keys make them a clinic or patient; and what was refused';

CREATE OR REPLACE FUNCTION clinicache._find_column(rel regclass, logical text, candidates text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fit record;
BEGIN
  SELECT f.names, f.refusals INTO fit FROM clinicache._fitting_columns(rel, logical, candidates) AS f;
  IF cardinality(fit.names) > 1 THEN
    RAISE EXCEPTION 'logical column "%" is ambiguous in %: % fit', logical, rel, clinicache._quoted(fit.names)
      USING ERRCODE = 'ambiguous_column',
            HINT = format('Say which: columns => ''{"%s": "%s"}''.', logical, fit.names[1]);
  ELSIF cardinality(fit.names) = 1 THEN
    RETURN jsonb_build_object('column', fit.names[1]);
  END IF;
  RETURN jsonb_build_object('refused', to_jsonb(fit.refusals));
END
$$;

CREATE FUNCTION clinicache._path_name(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN word ~ '^[A-Za-z0-9_]+$' THEN word ELSE '"' || replace(word, '"', '""') || '"' END
$$;

REVOKE ALL ON FUNCTION clinicache._path_name(word text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._path_name(text) IS 'Internal: an identifier in a look-up''s path, exactly as in the catalog';

CREATE FUNCTION clinicache._path_step(col text, target regclass, key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s -> %s.%s(%s)', clinicache._path_name(col), clinicache._path_name(n.nspname::text),
                clinicache._path_name(c.relname::text), clinicache._path_name(key))
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target
$$;

REVOKE ALL ON FUNCTION clinicache._path_step(col text, target regclass, key text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._path_step(text, regclass, text) IS 'Internal: one foreign key in a look-up''s path';

CREATE FUNCTION clinicache._path_ends(rel regclass, logical text, candidates text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- of the clinic's own table it is the key; whoever points to that has no need to come here
  SELECT CASE WHEN logical IN ('clinic', 'patient')
                   AND clinicache._entity_named((SELECT c.relname::text FROM pg_class AS c WHERE c.oid = rel)) = logical
              THEN array_remove(ARRAY[clinicache._single_key(rel)], NULL)
              ELSE (SELECT f.names FROM clinicache._fitting_columns(rel, logical, candidates) AS f) END
$$;

REVOKE ALL ON FUNCTION clinicache._path_ends(rel regclass, logical text, candidates text[]) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._path_ends(regclass, text, text[]) IS 'Internal: the columns of a table that a look-up may end in';

CREATE FUNCTION clinicache._find_lookups(rel regclass, logical text, candidates text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tables regclass[] := ARRAY[rel];
  paths  text[] := ARRAY[''];
  seen   regclass[] := ARRAY[rel];
  found  text[];
BEGIN
  -- breadth first: tables, and the ways to each, that are one step further
  FOR step IN 1..4 LOOP
    SELECT array_agg(f.target), array_agg(p.path || clinicache._path_step(f.col, f.target, f.key) || '.')
      INTO tables, paths
      FROM unnest(tables, paths) AS p(rel, path) CROSS JOIN LATERAL clinicache._foreign_keys(p.rel) AS f
     WHERE f.target <> ALL (seen);
    EXIT WHEN tables IS NULL;
    SELECT array_agg(p.path || clinicache._path_name(e.col) ORDER BY (p.path || clinicache._path_name(e.col)) COLLATE "C")
      INTO found
      FROM (SELECT DISTINCT u.rel FROM unnest(tables) AS u(rel)) AS d
      CROSS JOIN LATERAL unnest(clinicache._path_ends(d.rel, logical, candidates)) AS e(col)
      JOIN unnest(tables, paths) AS p(rel, path) ON p.rel = d.rel;
    IF found IS NOT NULL THEN
      RETURN found;
    END IF;
    seen := seen || tables;
  END LOOP;
  RETURN '{}';
END
$$;

REVOKE ALL ON FUNCTION clinicache._find_lookups(rel regclass, logical text, candidates text[]) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._find_lookups(regclass, text, text[]) IS
  'Internal: all shortest ways over foreign keys, of up to four steps, to a table that has the logical column';

CREATE FUNCTION clinicache._resolve_column(rel regclass, logical text, listed jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  candidates text[] := clinicache._candidates(logical, listed);
  hit        jsonb;
  paths      text[];
BEGIN
  IF logical = 'id' THEN
    RETURN clinicache._find_id(rel, listed);
  END IF;
  hit := clinicache._find_column(rel, logical, candidates);
  IF hit ? 'column' OR logical NOT IN ('clinic', 'patient') THEN
    RETURN hit;
  END IF;
  paths := clinicache._find_lookups(rel, logical, candidates);
  IF cardinality(paths) > 1 THEN
    RAISE EXCEPTION 'logical column "%" of % can be looked up in % ways', logical, rel, cardinality(paths)
      USING ERRCODE = 'ambiguous_column',
            DETAIL = array_to_string(paths, E'\n'),
            HINT = format('Choose one: options => %L, or none: columns => %L.',
                          jsonb_build_object('lookups', jsonb_build_object(logical, paths[1])), jsonb_build_object(logical, NULL));
  END IF;
  RETURN CASE WHEN cardinality(paths) = 1 THEN jsonb_build_object('lookup', paths[1]) ELSE hit END;
END
$$;

REVOKE ALL ON FUNCTION clinicache._resolve_column(rel regclass, logical text, listed jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._resolve_column(regclass, text, jsonb) IS
  'Internal: {"column": name}, {"lookup": path} where a clinic or patient is found over foreign keys, or {"refused": [reasons]}; several: 42702';

CREATE OR REPLACE FUNCTION clinicache._given_column(rel regclass, logical text, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names text[];
  col   text;
BEGIN
  IF jsonb_typeof(given) = 'string' THEN
    col := given #>> '{}';
    IF left(col, 1) = '=' THEN
      IF col !~ '^=''([^'']|'''')*''$' THEN
        RAISE EXCEPTION 'constant for logical column "%" is not understood: %', logical, col
          USING ERRCODE = 'invalid_parameter_value', HINT = 'Write it as "=''value''", quotes within it doubled.';
      END IF;
      RETURN jsonb_build_object('const', replace(substr(col, 3, length(col) - 3), '''''', ''''));
    END IF;
    names := ARRAY[col];
  ELSIF jsonb_typeof(given) = 'object' AND (jsonb_typeof(given -> 'const') = 'string' OR jsonb_typeof(given -> 'lookup') = 'string')
        AND given - 'const' - 'lookup' = '{}' AND NOT (given ? 'const' AND given ? 'lookup') THEN
    -- as tracked_tables shows it
    RETURN given;
  ELSIF jsonb_typeof(given) = 'array' AND jsonb_array_length(given) > 0
        AND NOT jsonb_path_exists(given, '$[*] ? (@.type() != "string")') THEN
    names := clinicache._texts(given);
  ELSE
    RAISE EXCEPTION 'logical column "%" must be a column name, an array of them, a constant or null, not %', logical, given
      USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Examples: {"%1$s": "a"}, {"%1$s": ["a", "b"]}, {"%1$s": "=''main''"}, {"%1$s": null}.', logical);
  END IF;
  FOREACH col IN ARRAY names LOOP
    IF NOT col = ANY (clinicache._column_names(rel)) THEN
      RAISE EXCEPTION 'column "%" of % does not exist, named for logical column "%"', col, rel, logical
        USING ERRCODE = 'undefined_column',
              HINT = format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel)));
    END IF;
  END LOOP;
  RETURN to_jsonb(names);
END
$$;

CREATE FUNCTION clinicache._resolve_columns(rel regclass, entity_name text, listed jsonb, given jsonb, required text[], lookups jsonb DEFAULT '{}')
RETURNS TABLE (resolved jsonb, absent jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  logical text;
  hit     jsonb;
BEGIN
  resolved := '{}';
  absent := '{}';
  FOR logical IN SELECT k FROM jsonb_object_keys(given) AS k LOOP
    IF NOT listed ? logical THEN
      RAISE EXCEPTION 'entity "%" has no logical column "%"', entity_name, logical
        USING ERRCODE = 'undefined_column',
              HINT = format('Logical columns of "%s": %s.', entity_name,
                            clinicache._quoted(ARRAY(SELECT k FROM jsonb_object_keys(listed) AS k ORDER BY k)));
    END IF;
  END LOOP;
  FOR logical IN SELECT k FROM jsonb_object_keys(listed) AS k ORDER BY k LOOP
    IF given ? logical THEN
      IF given -> logical = 'null' THEN
        absent := absent || jsonb_build_object(logical, 'said to be absent');
      ELSE
        resolved := resolved || jsonb_build_object(logical, clinicache._given_column(rel, logical, given -> logical));
      END IF;
      CONTINUE;
    END IF;
    hit := CASE WHEN lookups ? logical THEN jsonb_build_object('lookup', lookups -> logical)
             ELSE clinicache._resolve_column(rel, logical, listed -> logical) END;
    IF hit ? 'column' THEN
      resolved := resolved || jsonb_build_object(logical, jsonb_build_array(hit ->> 'column'));
    ELSIF hit ? 'lookup' THEN
      resolved := resolved || jsonb_build_object(logical, jsonb_build_object('lookup', hit -> 'lookup'));
    ELSIF logical = ANY (required) THEN
      PERFORM clinicache._missing_column(rel, entity_name, logical, listed -> logical, hit);
    ELSE
      absent := absent || jsonb_build_object(logical,
                  coalesce(nullif('refused ' || array_to_string(clinicache._texts(hit -> 'refused'), '; '), 'refused '),
                           'no such column'));
    END IF;
  END LOOP;
  RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION clinicache._resolve_columns(rel regclass, entity_name text, listed jsonb, given jsonb, required text[], lookups jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._resolve_columns(regclass, text, jsonb, jsonb, text[], jsonb) IS
  'Internal: logical columns found (array of real columns, constant or look-up) and absent (with the reason); a required one absent: 42703';

CREATE OR REPLACE FUNCTION clinicache._check_keys(given jsonb, accepted text[], what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unknown text;
BEGIN
  IF jsonb_typeof(given) IS DISTINCT FROM 'object' THEN
    RAISE EXCEPTION '% must be a JSON object, not %', what, coalesce(given::text, 'null')
      USING ERRCODE = 'invalid_parameter_value', HINT = format('Accepted keys: %s.', array_to_string(accepted, ', '));
  END IF;
  SELECT k INTO unknown FROM jsonb_object_keys(given) AS k WHERE k <> ALL (accepted) ORDER BY k LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'unknown key "%" in %', unknown, what
      USING ERRCODE = 'invalid_parameter_value', HINT = format('Accepted keys: %s.', array_to_string(accepted, ', '));
  END IF;
END
$$;

COMMENT ON FUNCTION clinicache._check_keys(jsonb, text[], text) IS
  'Internal: refuses what is no object and unknown keys (22023)';

CREATE OR REPLACE FUNCTION clinicache._preset_tags(tags jsonb, resolved jsonb, without text[])
RETURNS TABLE (kept jsonb, left_out jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  given  jsonb;
  tag    jsonb;
  member text;
BEGIN
  kept := '[]';
  left_out := '[]';
  FOR given IN SELECT t FROM jsonb_array_elements(tags) WITH ORDINALITY AS u(t, n) ORDER BY n LOOP
    tag := clinicache._tag_object(given);
    CONTINUE WHEN tag ->> 'tag' = ANY (without);
    -- a window stands on its first column; the second, the time of day, may be absent
    IF NOT resolved ?& clinicache.template_columns(tag ->> 'tag')
       OR (tag ? 'window' AND coalesce(jsonb_typeof(resolved -> (tag #>> '{time,0}')) <> 'array', true)) THEN
      left_out := left_out || jsonb_build_array(tag -> 'tag');
      CONTINUE;
    END IF;
    FOREACH member IN ARRAY ARRAY['time', 'columns'] LOOP
      IF tag ? member THEN
        tag := tag - member || coalesce((
          SELECT jsonb_build_object(member, jsonb_agg(w.name ORDER BY w.n))
          FROM jsonb_array_elements_text(tag -> member) WITH ORDINALITY AS w(name, n)
          WHERE jsonb_typeof(resolved -> w.name) = 'array' OR (member = 'columns' AND resolved -> w.name ? 'lookup')
          HAVING count(*) > 0), '{}');
      END IF;
    END LOOP;
    kept := kept || jsonb_build_array(tag);
  END LOOP;
  RETURN NEXT;
END
$$;

CREATE OR REPLACE FUNCTION clinicache._preset_counters(rel regclass, resolved jsonb, counters jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  given  jsonb;
  kept   jsonb;
  member text;
  result jsonb := '[]';
BEGIN
  IF NOT clinicache._can_count(rel) THEN
    RETURN result;
  END IF;
  FOR given IN SELECT c FROM jsonb_array_elements(counters) WITH ORDINALITY AS e(c, n) ORDER BY n LOOP
    kept := jsonb_build_object('counter', given -> 'counter', 'by',
              (SELECT jsonb_object_agg(b.key, b.value) FROM jsonb_each(given -> 'by') AS b
               WHERE resolved ? (b.value #>> '{}') AND NOT coalesce(resolved -> (b.value #>> '{}') ? 'lookup', false)));
    -- nothing to ask for it by
    CONTINUE WHEN kept -> 'by' = 'null';
    FOREACH member IN ARRAY ARRAY['day', 'class', 'sum'] LOOP
      -- a column of another type is no day, or no amount
      IF jsonb_typeof(resolved -> (given ->> member)) = 'array'
         AND (member <> 'day' OR (SELECT bool_and(clinicache._has_day(clinicache._column_type(rel, c)))
                                  FROM unnest(clinicache._texts(resolved -> (given ->> member))) AS c))
         AND (member <> 'sum' OR (SELECT bool_and(clinicache._is_number(clinicache._column_type(rel, c)))
                                  FROM unnest(clinicache._texts(resolved -> (given ->> member))) AS c)) THEN
        kept := kept || jsonb_build_object(member, given -> member);
      END IF;
    END LOOP;
    result := result || jsonb_build_array(kept);
  END LOOP;
  RETURN result;
END
$$;

CREATE OR REPLACE FUNCTION clinicache._own_counters(rel regclass, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  counter jsonb;
  member  record;
  col     text;
  names   text[] := '{}';
BEGIN
  IF jsonb_typeof(given) <> 'array' THEN
    RAISE EXCEPTION '"counters" must be an array, not %', given
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'For example [{"counter": "visits", "by": {"clinic": "clinicId"}, "day": "date", "class": "status", "sum": "fee"}].';
  ELSIF given <> '[]' AND NOT clinicache._can_count(rel) THEN
    RAISE EXCEPTION '% cannot have counters: it is unlogged or temporary', rel
      USING ERRCODE = 'feature_not_supported', HINT = 'Leave "counters" out, or make the table a logged one.';
  END IF;
  FOR counter IN SELECT c FROM jsonb_array_elements(given) AS c LOOP
    PERFORM clinicache._check_keys(counter, '{counter,by,day,class,sum}', format('counter %s', counter));
    IF coalesce(jsonb_typeof(counter -> 'counter') <> 'string' OR counter ->> 'counter' = '', true) THEN
      RAISE EXCEPTION 'counter % has no name', counter
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Give it one with "counter".';
    ELSIF counter ->> 'counter' = ANY (names) THEN
      RAISE EXCEPTION 'counter "%" is there twice', counter ->> 'counter' USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(jsonb_typeof(counter -> 'by') <> 'object' OR counter -> 'by' = '{}', true) THEN
      RAISE EXCEPTION 'counter "%" has no dimension', counter ->> 'counter'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Say by what it is asked for: "by": {"clinic": "clinicId"}.';
    END IF;
    names := names || (counter ->> 'counter');
    FOR member IN SELECT m.key, m.value, true AS is_dimension FROM jsonb_each(counter -> 'by') AS m
                  UNION ALL
                  SELECT m.key, m.value, false FROM jsonb_each(counter) AS m
                  WHERE m.key IN ('day', 'class', 'sum') AND m.value <> 'null' LOOP
      IF jsonb_typeof(member.value) <> 'string' THEN
        RAISE EXCEPTION '"%" of counter "%" must name a column, not %', member.key, counter ->> 'counter', member.value
          USING ERRCODE = 'invalid_parameter_value',
                HINT = CASE WHEN member.is_dimension THEN 'A value that the row itself lacks can not be a dimension: what it '
                            'contributes would change with other rows.' END;
      END IF;
      IF resolved -> (member.value #>> '{}') ? 'lookup' THEN
        RAISE EXCEPTION '"%" of counter "%" is looked up', member.key, counter ->> 'counter'
          USING ERRCODE = 'feature_not_supported', DETAIL = 'What a row contributes would change with rows of other tables.',
                HINT = 'Count by columns of the table itself.';
      END IF;
      FOREACH col IN ARRAY clinicache._known_column(rel, resolved, member.value #>> '{}', format('counter "%s"', counter ->> 'counter')) LOOP
        IF NOT member.is_dimension AND member.key = 'day' AND NOT clinicache._has_day(clinicache._column_type(rel, col)) THEN
          RAISE EXCEPTION 'column "%" of type % cannot be the day of counter "%"', col, clinicache._column_type(rel, col), counter ->> 'counter'
            USING ERRCODE = 'datatype_mismatch', HINT = 'It has to be a date or timestamp.';
        ELSIF NOT member.is_dimension AND member.key = 'sum' AND NOT clinicache._is_number(clinicache._column_type(rel, col)) THEN
          RAISE EXCEPTION 'column "%" of type % cannot be summed by counter "%"', col, clinicache._column_type(rel, col), counter ->> 'counter'
            USING ERRCODE = 'datatype_mismatch', HINT = 'It has to be a number; what money is worth depends on lc_monetary.';
        END IF;
      END LOOP;
    END LOOP;
  END LOOP;
  RETURN jsonb_strip_nulls(given);
END
$$;

CREATE OR REPLACE FUNCTION clinicache._put_triggers(rel regclass, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  below record;
  stale text;
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
  PERFORM clinicache._drop_parent_triggers(clinicache._row_config(rel) ->> 'parents')
    WHERE clinicache._row_config(rel) ? 'parents' AND NOT config ? 'parents';
  PERFORM clinicache._make_trigger(rel, false, config);
  PERFORM clinicache._make_trigger(rel, true, config);
  PERFORM clinicache._put_parent_triggers(rel, config);
  FOR below IN SELECT d.child, d.partition FROM clinicache._descendants(rel) AS d LOOP
    IF NOT below.partition THEN
      PERFORM clinicache._make_trigger(below.child, false, config);
    END IF;
    PERFORM clinicache._make_trigger(below.child, true, config);
  END LOOP;
  -- the triggers' lock keeps changes away until this transaction ends
  PERFORM clinicache.count_rows(rel, config);
END
$$;

CREATE OR REPLACE FUNCTION clinicache._drop_triggers(rel regclass) RETURNS void
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
  IF parents IS NOT NULL THEN
    PERFORM clinicache._drop_parent_triggers(parents);
  END IF;
END
$$;

COMMENT ON FUNCTION clinicache._drop_triggers(regclass) IS
  'Internal: removes the clinicache triggers of a table, its partitions and inheritance children, and those of its look-ups';

CREATE OR REPLACE FUNCTION clinicache._preset_config(rel regclass, entity_name text, given jsonb, options jsonb)
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

CREATE OR REPLACE FUNCTION clinicache._own_config(rel regclass, given jsonb) RETURNS jsonb
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

CREATE OR REPLACE FUNCTION clinicache.track(relation regclass, entity text, columns jsonb DEFAULT '{}', options jsonb DEFAULT '{}')
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
  PERFORM clinicache._tell_unindexed(relation, made.config);
  PERFORM clinicache._warn_no_upkeep(relation);
END
$$;

COMMENT ON FUNCTION clinicache.track(regclass, text, jsonb, jsonb) IS
  'Tracks a table as an entity of the vocabulary, from now on: its changes emit tags. columns: logical column to "name", ["a", "b"] (first not null), "=''constant''" or null (absent). options: tags, without, counters (in place of the preset''s; [] for none), lookups ({"clinic": "patientId -> public.patients(id).clinic_id"}), deleted, ignore, zone, tenant, fire. Replaces an earlier tracking, and counts the rows there are. Errors: 42703 unknown or missing column, 42702 ambiguous column, 42704 unknown entity or profile, 22023 bad setting, 0A000 counters of looked-up values, of unlogged and temporary tables';

CREATE OR REPLACE FUNCTION clinicache.track(relation regclass, config jsonb) RETURNS void
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

CREATE OR REPLACE FUNCTION clinicache.untrack_all() RETURNS void
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
  PERFORM clinicache._drop_parent_triggers(NULL);
END
$$;

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

REVOKE ALL ON FUNCTION clinicache._path_text(path text, first int, last int, default_schema text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._path_text(text, int, int, text) IS
  'Internal: a look-up from the value of one step to that of another, as it is written; tables without a schema get this one';

CREATE FUNCTION clinicache._lookups(config jsonb) RETURNS TABLE (name text, path text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.key, c.value ->> 'lookup' FROM jsonb_each(config -> 'columns') AS c
  WHERE jsonb_typeof(c.value) = 'object' AND c.value ? 'lookup' ORDER BY 1
$$;

REVOKE ALL ON FUNCTION clinicache._lookups(config jsonb) FROM PUBLIC;

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

REVOKE ALL ON FUNCTION clinicache._given_lookups(rel regclass, given jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._given_lookups(regclass, jsonb) IS
  'Internal: "lookups" as given to track, as columns of a configuration; tables without a schema are taken to be in the tracked table''s (22023)';

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

REVOKE ALL ON FUNCTION clinicache._as_far_as(template text, names text[]) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._as_far_as(text, text[]) IS
  'Internal: a template of which only these placeholders are known: itself, or what it begins with, as a prefix';

CREATE FUNCTION clinicache._parent_tags(config jsonb, names text[], known text[]) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- windows are of the child's own time, which is not known here
  SELECT coalesce(jsonb_agg(jsonb_build_object('tag', t.tag, 'profile', t.profile, 'columns', t.used) ORDER BY t.tag), '[]')
  FROM (SELECT DISTINCT ON (1) clinicache._as_far_as(e.tag ->> 'tag', names || known) AS tag, e.tag ->> 'profile' AS profile,
               ARRAY(SELECT DISTINCT u.name FROM unnest(clinicache.template_columns(e.tag ->> 'tag')) AS u(name)
                     WHERE u.name = ANY (names) ORDER BY 1) AS used
        FROM jsonb_array_elements(config -> 'tags') AS e(tag)
        WHERE clinicache.template_columns(e.tag ->> 'tag') && names
        ORDER BY 1, (config -> 'profiles' ->> (e.tag ->> 'profile'))::int) AS t
$$;

REVOKE ALL ON FUNCTION clinicache._parent_tags(config jsonb, names text[], known text[]) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._parent_tags(jsonb, text[], text[]) IS
  'Internal: what of a child''s templates changes with what these names lead to, where others are known as well';

CREATE FUNCTION clinicache._refers(rel regclass, col text, target regclass, key text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_constraint AS c
                 JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND ARRAY[a.attnum] = c.conkey AND a.attname = col
                 JOIN pg_attribute AS k ON k.attrelid = c.confrelid AND ARRAY[k.attnum] = c.confkey AND k.attname = key
                 WHERE c.contype = 'f' AND c.conrelid = rel AND c.confrelid = target)
$$;

REVOKE ALL ON FUNCTION clinicache._refers(rel regclass, col text, target regclass, key text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._refers(regclass, text, regclass, text) IS 'Internal: is there a foreign key from the column to the key?';

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
         s.relkind = 'r' AND clinicache._refers(CASE WHEN s.step = 1 THEN rel ELSE s.before::regclass END, s.referring, s.relation, s.key)
  FROM steps AS s WHERE s.step > 0 AND s.relation IS NOT NULL
$$;

REVOKE ALL ON FUNCTION clinicache._ways(rel regclass, config jsonb) FROM PUBLIC;

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

REVOKE ALL ON FUNCTION clinicache._known_by_key(config jsonb, path text, key text, OUT names text[], OUT columns jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._known_by_key(jsonb, text, text) IS
  'Internal: the names of a child''s configuration that the key of a table on the way stands for, which the path before it leads to';

CREATE FUNCTION clinicache._parents(rel regclass, config jsonb)
RETURNS TABLE (number int, relation regclass, declared boolean, parent_config jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- look-ups that come the same way reach the same row
  SELECT row_number() OVER (ORDER BY w.way COLLATE "C")::int, w.relation, w.declared,
         jsonb_build_object('v', 1, 'columns', w.columns || k.columns, 'compare', 'used', 'tags', t.tags, 'left_out', '[]'::jsonb,
                            'profiles', config -> 'profiles')
         || CASE WHEN config ->> 'tenant' = ANY (w.names || k.names) THEN jsonb_build_object('tenant', config -> 'tenant') ELSE '{}' END
         || CASE WHEN config ? 'fire' THEN jsonb_build_object('fire', config -> 'fire') ELSE '{}' END
  FROM (SELECT y.way, y.relation, min(y.key) AS key, clinicache._path_text(min(y.path), 0, min(y.step) - 1, NULL) AS path,
               bool_and(y.declared) AS declared, array_agg(y.name ORDER BY y.name) AS names,
               jsonb_object_agg(y.name, CASE WHEN y.is_last THEN jsonb_build_array(y.value)
                                             ELSE jsonb_build_object('lookup', clinicache._path_text(y.path, y.step, 99, NULL)) END) AS columns
        FROM clinicache._ways(rel, config) AS y GROUP BY y.way, y.relation) AS w
  CROSS JOIN LATERAL clinicache._known_by_key(config, w.path, w.key) AS k
  CROSS JOIN LATERAL clinicache._parent_tags(config, w.names, k.names) AS t(tags)
  WHERE t.tags <> '[]'
$$;

REVOKE ALL ON FUNCTION clinicache._parents(rel regclass, config jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._parents(regclass, jsonb) IS
  'Internal: the tables that a table''s look-ups lead through, with the configurations of their triggers';

CREATE FUNCTION clinicache._parent_triggers(parents text) RETURNS TABLE (relation regclass, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.tgrelid::regclass, t.tgname::text FROM pg_trigger AS t
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.parent_change()'::regprocedure
    AND (starts_with(t.tgname::text, format('clinicache_parent_%s_', parents)) OR parents IS NULL)
$$;

REVOKE ALL ON FUNCTION clinicache._parent_triggers(parents text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._parent_triggers(text) IS
  'Internal: the triggers that belong to one table''s look-ups (null: to any''s), by the "parents" of its configuration';

CREATE FUNCTION clinicache._drop_parent_triggers(parents text, kept text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  doomed record;
BEGIN
  FOR doomed IN SELECT t.relation, t.name FROM clinicache._parent_triggers(parents) AS t WHERE t.name <> ALL (kept) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', doomed.name, clinicache._table_name(doomed.relation));
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION clinicache._drop_parent_triggers(parents text, kept text[]) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._drop_parent_triggers(text, text[]) IS
  'Internal: removes from other tables the triggers of one table''s look-ups (null: of any''s), but for those kept';

CREATE FUNCTION clinicache._check_parent_owner(rel regclass, parent regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner name := (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = parent);
BEGIN
  IF NOT (has_function_privilege(owner, 'clinicache.track(regclass, text, jsonb, jsonb)', 'EXECUTE')
          OR has_function_privilege(owner, 'clinicache.track(regclass, jsonb)', 'EXECUTE')) THEN
    RAISE EXCEPTION 'look-ups of % lead through %, whose owner % may not track tables', rel, parent, owner
      USING ERRCODE = 'insufficient_privilege',
            DETAIL = 'Changes of that table would fail, because its trigger would be refused.',
            HINT = format('A superuser can allow it: SELECT clinicache.grant_tracker(%L).', owner);
  END IF;
END
$$;

REVOKE ALL ON FUNCTION clinicache._check_parent_owner(rel regclass, parent regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._check_parent_owner(regclass, regclass) IS
  'Internal: the owner of a table that look-ups lead through must be allowed to track (42501)';

CREATE FUNCTION clinicache._put_parent_triggers(rel regclass, config jsonb) RETURNS void
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
    PERFORM clinicache._check_parent_owner(rel, parent.relation);
    PERFORM clinicache.check_config(parent.relation, parent.parent_config);
    -- another way may have had this number
    IF EXISTS (SELECT FROM clinicache._parent_triggers(config ->> 'parents') AS t WHERE t.name = trigger_name AND t.relation <> parent.relation) THEN
      EXECUTE (SELECT format('DROP TRIGGER %I ON %s', t.name, clinicache._table_name(t.relation))
               FROM clinicache._parent_triggers(config ->> 'parents') AS t WHERE t.name = trigger_name);
    END IF;
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE %s ON %s FOR EACH ROW EXECUTE FUNCTION clinicache.parent_change(%L)',
                   trigger_name, CASE WHEN parent.declared THEN '' ELSE 'OR INSERT OR DELETE' END,
                   clinicache._table_name(parent.relation), parent.parent_config);
    IF config ->> 'fire' = 'always' THEN
      EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', clinicache._table_name(parent.relation), trigger_name);
    END IF;
    kept := kept || trigger_name;
  END LOOP;
  PERFORM clinicache._drop_parent_triggers(config ->> 'parents', kept);
END
$$;

REVOKE ALL ON FUNCTION clinicache._put_parent_triggers(rel regclass, config jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._put_parent_triggers(regclass, jsonb) IS
  'Internal: puts triggers on the tables that a table''s look-ups lead through; the caller needs what CREATE TRIGGER needs there';

CREATE FUNCTION clinicache._with_parents(rel regclass, config jsonb) RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM clinicache._lookups(config))
              THEN config || jsonb_build_object('parents', coalesce(clinicache._row_config(rel) ->> 'parents',
                                                                    left(replace(gen_random_uuid()::text, '-', ''), 12)))
              ELSE config END
$$;

REVOKE ALL ON FUNCTION clinicache._with_parents(rel regclass, config jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._with_parents(regclass, jsonb) IS
  'Internal: a configuration with a name for the triggers that its look-ups need, if it has any; the name that the table has already stays';

CREATE FUNCTION clinicache._looking_up() RETURNS TABLE (relation regclass, config jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.tgrelid::regclass, c.config
  FROM pg_trigger AS t
  -- most have none, and may hold what is no JSON
  CROSS JOIN LATERAL (SELECT CASE WHEN position('"parents"'::bytea IN t.tgargs) > 0 THEN clinicache.trigger_config(t.oid) END AS config) AS c
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure AND c.config ? 'parents'
$$;

REVOKE ALL ON FUNCTION clinicache._looking_up() FROM PUBLIC;

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

REVOKE ALL ON FUNCTION clinicache._renamed_path(path text, kind text, in_schema text, in_table text, old_name text, new_name text) FROM PUBLIC;

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
    PERFORM clinicache._put_parent_triggers(child.relation, child.config);
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION clinicache._rename_in_lookups(kind text, object oid, old_name text, new_name text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._rename_in_lookups(text, oid, text, text) IS
  'Internal: look-ups follow a renamed column, table or schema, or a table moved to another schema';

CREATE FUNCTION clinicache._looked_through(in_schema text, in_table text, col text) RETURNS TABLE (relation regclass, config jsonb, origin text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT ON (c.relation) c.relation, c.config,
         (SELECT o.value FROM clinicache.lookup_steps(l.path) AS o WHERE o.step = 0)
  FROM clinicache._looking_up() AS c CROSS JOIN LATERAL clinicache._lookups(c.config) AS l
  CROSS JOIN LATERAL clinicache.lookup_steps(l.path) AS s
  WHERE s.schema_name = in_schema AND s.table_name = in_table AND (col IS NULL OR col IN (s.key, s.value))
  ORDER BY c.relation, l.name
$$;

REVOKE ALL ON FUNCTION clinicache._looked_through(in_schema text, in_table text, col text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._looked_through(text, text, text) IS
  'Internal: tables whose look-ups use a table, or a column of it, and the column of theirs that the look-up begins at';

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
                                'hint', clinicache._how_without(child.relation, child.config, child.origin));
    END;
    PERFORM clinicache._emit_templates(child.config);
  END LOOP;
  RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION clinicache._parent_retyped(rel regclass, col text) FROM PUBLIC;

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
                            'hint', clinicache._how_without(child.relation, child.config, child.origin));
END
$$;

REVOKE ALL ON FUNCTION clinicache._parent_dropped(in_schema text, in_table text, col text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._parent_dropped(text, text, text) IS
  'Internal: why a table, or a column, can not be dropped, for what is looked up there; null: it can';

CREATE FUNCTION clinicache._is_bookkeeping(table_name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT lower(table_name COLLATE "C") IN (
    '_prisma_migrations', 'schema_migrations', 'ar_internal_metadata', 'flyway_schema_history', 'databasechangelog', 'databasechangeloglock',
    'knex_migrations', 'knex_migrations_lock', 'django_migrations', 'alembic_version', '__drizzle_migrations', 'sequelizemeta', 'migrations',
    'typeorm_metadata', 'mikro_orm_migrations', 'kysely_migration', 'kysely_migration_lock', 'goose_db_version', '__efmigrationshistory',
    'doctrine_migration_versions', 'phinxlog', 'atlas_schema_revisions')
$$;

REVOKE ALL ON FUNCTION clinicache._is_bookkeeping(table_name text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._is_bookkeeping(text) IS 'Internal: a table of this name is a migration tool''s own';

CREATE FUNCTION clinicache._tables_in_order(schema_id oid) RETURNS SETOF regclass
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  waiting regclass[] := ARRAY(
    SELECT c.oid FROM pg_class AS c
    WHERE c.relnamespace = schema_id AND c.relkind IN ('r', 'p')
      -- partitions follow their partitioned table; one whose parent is elsewhere is told of
      AND NOT EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent
                      WHERE i.inhrelid = c.oid AND c.relispartition AND p.relnamespace = schema_id)
    ORDER BY c.relname COLLATE "C");
  ready   regclass[];
BEGIN
  WHILE cardinality(waiting) > 0 LOOP
    ready := ARRAY(SELECT w.rel FROM unnest(waiting) WITH ORDINALITY AS w(rel, n)
                   WHERE NOT EXISTS (SELECT FROM pg_constraint AS f
                                     WHERE f.contype = 'f' AND f.conrelid = w.rel AND f.confrelid <> w.rel AND f.confrelid = ANY (waiting))
                   ORDER BY w.n);
    IF cardinality(ready) = 0 THEN
      ready := waiting[1:1];      -- they refer to each other: begin anywhere
    END IF;
    RETURN QUERY SELECT r.rel FROM unnest(ready) WITH ORDINALITY AS r(rel, n) ORDER BY r.n;
    waiting := ARRAY(SELECT w.rel FROM unnest(waiting) WITH ORDINALITY AS w(rel, n) WHERE w.rel <> ALL (ready) ORDER BY w.n);
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION clinicache._tables_in_order(schema_id oid) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._tables_in_order(oid) IS
  'Internal: the tables of a schema, partitions left out, those first that others'' foreign keys point to';

CREATE FUNCTION clinicache._why_not(rel regclass) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class  record;
  parent regclass := (SELECT i.inhparent FROM pg_inherits AS i WHERE i.inhrelid = rel ORDER BY i.inhseqno LIMIT 1);
  member name := (SELECT e.extname FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = rel AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e');
BEGIN
  SELECT c.relname::text AS name, c.relpersistence, c.relispartition, c.relowner,
         has_function_privilege(c.relowner, 'clinicache.track(regclass, text, jsonb, jsonb)', 'EXECUTE')
           OR has_function_privilege(c.relowner, 'clinicache.track(regclass, jsonb)', 'EXECUTE') AS trusted
    INTO class FROM pg_class AS c WHERE c.oid = rel;
  RETURN CASE
    WHEN clinicache._is_bookkeeping(class.name) THEN 'bookkeeping of a migration tool'
    WHEN member IS NOT NULL THEN format('belongs to extension %I', member)
    WHEN class.relpersistence = 't' THEN 'a temporary table'
    WHEN EXISTS (SELECT FROM clinicache._own_triggers(rel) AS t WHERE t.fires_on = 'row') THEN 'is tracked already'
    WHEN parent IS NOT NULL THEN format(CASE WHEN class.relispartition THEN 'a partition of %s, and follows it'
                                             ELSE 'inherits from %s, and follows it' END, parent)
    WHEN EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = rel AND t.tgname IN ('clinicache', 'clinicache_truncate')
                                               AND t.oid NOT IN (SELECT o.id FROM clinicache._own_triggers(rel) AS o))
      THEN 'has a trigger of somebody else''s called "clinicache" or "clinicache_truncate": rename that'
    WHEN NOT has_table_privilege(rel, 'TRIGGER') THEN format('belongs to %I, who may track it; you may not', pg_get_userbyid(class.relowner))
    WHEN NOT class.trusted THEN format('its owner %I is not trusted with tags: SELECT clinicache.grant_tracker(%L)',
                                       pg_get_userbyid(class.relowner), pg_get_userbyid(class.relowner)) END;
END
$$;

REVOKE ALL ON FUNCTION clinicache._why_not(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._why_not(regclass) IS 'Internal: why plan() skips a table; null: it does not';

CREATE FUNCTION clinicache._soft_delete(rel regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH seen AS (
    SELECT a.attname::text AS name, a.attnum, clinicache._squash(a.attname::text) AS squashed, clinicache._column_type(rel, a.attname::text) AS kind
    FROM pg_attribute AS a WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped)
  SELECT f.found
  FROM (SELECT 1 AS place, s.attnum, to_jsonb(s.name) AS found FROM seen AS s
        WHERE s.squashed IN ('isdeleted', 'deleted') AND s.kind = 'boolean'::regtype
        UNION ALL
        SELECT 2, s.attnum, to_jsonb(s.name) FROM seen AS s
        WHERE s.squashed IN ('deletedat', 'archivedat', 'deleted') AND s.kind IN ('timestamp'::regtype, 'timestamptz'::regtype, 'date'::regtype)
        UNION ALL
        SELECT 3, s.attnum, jsonb_build_object('column', s.name, 'values', jsonb_agg(e.enumlabel::text ORDER BY e.enumsortorder))
        FROM seen AS s JOIN pg_enum AS e ON e.enumtypid = s.kind
        WHERE s.squashed IN ('status', 'state') AND clinicache._squash(e.enumlabel::text) IN ('archived', 'deleted')
        GROUP BY s.name, s.attnum) AS f
  ORDER BY f.place, f.attnum LIMIT 1
$$;

REVOKE ALL ON FUNCTION clinicache._soft_delete(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._soft_delete(regclass) IS
  'Internal: "deleted" for track: a boolean, a timestamp, or a status with labels that mean it; null: none';

CREATE FUNCTION clinicache._plan_settings(rel regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
           'deleted', clinicache._soft_delete(rel),
           'ignore', (SELECT jsonb_agg(c ORDER BY n) FROM unnest(clinicache._column_names(rel)) WITH ORDINALITY AS u(c, n)
                      WHERE clinicache._squash(c) = 'updatedat')))
$$;

REVOKE ALL ON FUNCTION clinicache._plan_settings(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._plan_settings(regclass) IS 'Internal: "deleted" and "ignore" as the table''s columns suggest them';

CREATE FUNCTION clinicache._plan_zone(rel regclass, tags jsonb, resolved jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- without a zone of its own the day is what stood on the clinic's wall; a timestamptz is an instant in any case
  SELECT coalesce(jsonb_object_agg(p.day, CASE clinicache._column_type(rel, d.col) WHEN 'timestamp'::regtype THEN 'local' ELSE 'utc' END), '{}')
  FROM clinicache._time_pairs(tags) AS p,
       unnest(clinicache._texts(resolved -> p.day)) AS d(col), unnest(clinicache._texts(resolved -> p.clock)) AS c(col)
  WHERE clinicache._is_clock(clinicache._column_type(rel, c.col)) AND d.col <> c.col
    AND clinicache._column_type(rel, d.col) IN ('timestamp'::regtype, 'timestamptz'::regtype)
$$;

REVOKE ALL ON FUNCTION clinicache._plan_zone(rel regclass, tags jsonb, resolved jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._plan_zone(regclass, jsonb, jsonb) IS
  'Internal: "zone" for timestamps whose time of day stands in another column, where track demands one';

CREATE FUNCTION clinicache._entity_by_columns(rel regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- what many kinds of tables have tells nothing
  WITH telling AS (
    SELECT e.name, k.logical, e.columns -> k.logical AS listed
    FROM clinicache.entity AS e, jsonb_object_keys(e.columns) AS k(logical)
    WHERE k.logical <> ALL ('{id,clinic,user,created,time,status,name,category,department}')),
  found AS (
    SELECT w.logical, w.listed, f.names[1] AS col
    FROM (SELECT DISTINCT t.logical, t.listed FROM telling AS t) AS w,
         clinicache._fitting_columns(rel, w.logical, clinicache._candidates(w.logical, w.listed)) AS f
    WHERE cardinality(f.names) = 1
      AND CASE w.logical WHEN 'date' THEN clinicache._has_day(clinicache._column_type(rel, f.names[1]))
                         WHEN 'amount' THEN clinicache._is_number(clinicache._column_type(rel, f.names[1])) ELSE true END),
  fit AS (
    SELECT t.name, count(*) AS size, rank() OVER (ORDER BY count(*) DESC) AS place
    FROM telling AS t LEFT JOIN found AS f USING (logical, listed)
    GROUP BY t.name HAVING count(*) >= 3 AND count(*) = count(f.col))
  SELECT min(f.name) FROM fit AS f WHERE f.place = 1 HAVING count(*) = 1
$$;

REVOKE ALL ON FUNCTION clinicache._entity_by_columns(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._entity_by_columns(regclass) IS
  'Internal: the one entity all of whose telling columns, three at least, a table has; null: none, or several';

CREATE FUNCTION clinicache._try_column(rel regclass, logical text, listed jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  hit    jsonb;
  detail text;
BEGIN
  hit := clinicache._resolve_column(rel, logical, listed);
  RETURN hit || CASE WHEN hit ? 'lookup' THEN jsonb_build_object('reason', format('"%s" is looked up: %s', logical, hit ->> 'lookup')) ELSE '{}' END;
EXCEPTION WHEN ambiguous_column THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN jsonb_build_object('ambiguous', true, 'reason', 'left out: ' || SQLERRM || CASE WHEN detail <> '' THEN ' (' || replace(detail, E'\n', '; ') || ')' ELSE '' END);
END
$$;

REVOKE ALL ON FUNCTION clinicache._try_column(rel regclass, logical text, listed jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._try_column(regclass, text, jsonb) IS
  'Internal: _resolve_column with a "reason" where there is something to say; {"ambiguous": true} in place of an error';

CREATE FUNCTION clinicache._try_entity(rel regclass, entity_name text, columns jsonb, options jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made jsonb;
BEGIN
  made := (SELECT p.config FROM clinicache._preset_config(rel, entity_name, columns, options) AS p);
  IF made -> 'tags' = '[]' THEN
    RETURN jsonb_build_object('error', format('none of the tag templates of entity "%s" has its columns here', entity_name));
  END IF;
  PERFORM clinicache.check_config(rel, made);
  RETURN made;
EXCEPTION WHEN OTHERS THEN
  RETURN jsonb_build_object('error', SQLERRM);
END
$$;

REVOKE ALL ON FUNCTION clinicache._try_entity(rel regclass, entity_name text, columns jsonb, options jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._try_entity(regclass, text, jsonb, jsonb) IS 'Internal: the resolved configuration, or {"error": message}';

CREATE FUNCTION clinicache._try_own(rel regclass, config jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made jsonb;
BEGIN
  made := clinicache._own_config(rel, config);
  PERFORM clinicache.check_config(rel, made);
  RETURN made;
EXCEPTION WHEN OTHERS THEN
  RETURN jsonb_build_object('error', SQLERRM);
END
$$;

REVOKE ALL ON FUNCTION clinicache._try_own(rel regclass, config jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._try_own(regclass, jsonb) IS 'Internal: the resolved configuration, or {"error": message}';

CREATE FUNCTION clinicache._propose_entity(rel regclass, entity_name text, by_name boolean) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  preset   record;
  logical  text;
  hit      jsonb;
  columns  jsonb := '{}';
  resolved jsonb := '{}';
  looked_up jsonb := '{}';
  options  jsonb := clinicache._plan_settings(rel);
  zone     jsonb;
  reasons  text[] := ARRAY[CASE WHEN by_name THEN 'recognised by its name' ELSE 'recognised by its columns: tags, no counters' END];
  made     jsonb;
BEGIN
  SELECT e.tenant, e.columns, e.tags INTO preset FROM clinicache.entity AS e WHERE e.name = entity_name;
  FOR logical IN SELECT k FROM jsonb_object_keys(preset.columns) AS k ORDER BY k LOOP
    hit := clinicache._try_column(rel, logical, preset.columns -> logical);
    reasons := reasons || (hit ->> 'reason');
    IF hit ? 'column' THEN
      resolved := resolved || jsonb_build_object(logical, jsonb_build_array(hit -> 'column'));
    ELSIF hit ? 'lookup' THEN
      looked_up := looked_up || jsonb_build_object(logical, NULL);
    ELSIF hit ? 'ambiguous' OR logical IN ('id', preset.tenant) THEN
      columns := columns || jsonb_build_object(logical, NULL);
      IF NOT hit ? 'ambiguous' THEN
        reasons := reasons || CASE logical WHEN 'id' THEN 'no primary key of one column' ELSE format('no "%s" column, and no way to one', logical) END;
      END IF;
    END IF;
  END LOOP;
  zone := clinicache._plan_zone(rel, preset.tags, resolved);
  IF zone <> '{}' THEN
    options := options || jsonb_build_object('zone', zone);
    reasons := reasons || format('the time of day stands in a column of its own: check the zone, %s', zone);
  END IF;
  IF NOT by_name THEN
    options := options || '{"counters": []}';
  END IF;
  made := clinicache._try_entity(rel, entity_name, columns, options);
  IF made ? 'error' AND looked_up <> '{}' THEN
    -- better without what would be looked up than not at all
    reasons := reasons || format('left out: %s', made ->> 'error');
    columns := columns || looked_up;
    made := clinicache._try_entity(rel, entity_name, columns, options);
  END IF;
  RETURN CASE WHEN made ? 'error' THEN jsonb_build_object('error', format('not tracked as "%s": %s', entity_name, made ->> 'error'))
              ELSE jsonb_build_object('entity', entity_name, 'columns', columns, 'options', options, 'made', made,
                                      'reasons', to_jsonb(array_remove(reasons, NULL))) END;
END
$$;

REVOKE ALL ON FUNCTION clinicache._propose_entity(rel regclass, entity_name text, by_name boolean) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._propose_entity(regclass, text, boolean) IS
  'Internal: a proposal to track a table as an entity, or {"error": why not}';

CREATE FUNCTION clinicache._own_name_tags(rel regclass, with_clinic boolean) RETURNS TABLE (tags jsonb, id jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- what has a meaning in templates is not taken into their text
  SELECT jsonb_path_query_array(jsonb_build_array(
           CASE WHEN k.cols IS NOT NULL THEN jsonb_build_array(t.name || ':' || CASE cardinality(k.cols) WHEN 1 THEN '{id}'
                  ELSE (SELECT string_agg('{' || c || '}', ':' ORDER BY n) FROM unnest(k.cols) WITH ORDINALITY AS u(c, n)) END, 'seconds') END,
           CASE WHEN with_clinic THEN jsonb_build_array(t.name || ':clinic:{clinic}', 'minutes') END,
           jsonb_build_array(t.name || ':all', 'hours')), 'strict $[*] ? (@.type() != "null")'),
         CASE WHEN cardinality(k.cols) = 1 THEN jsonb_build_object('id', k.cols[1]) ELSE '{}' END
  FROM (SELECT translate(c.relname::text, '{}*', '___') AS name FROM pg_class AS c WHERE c.oid = rel) AS t,
       (SELECT CASE WHEN count(*) = 1 OR NOT bool_or(a.attname ~ '[{}|]') THEN array_agg(a.attname::text ORDER BY a.attnum) END AS cols
        FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
        WHERE i.indrelid = rel AND i.indisprimary) AS k
$$;

REVOKE ALL ON FUNCTION clinicache._own_name_tags(rel regclass, with_clinic boolean) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._own_name_tags(regclass, boolean) IS
  'Internal: tag templates named after a table: its row, its clinic''s rows, all; and the column behind {id}';

CREATE FUNCTION clinicache._propose_own(rel regclass) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  clinic  jsonb := clinicache._try_column(rel, 'clinic', '[]');
  found   boolean := clinic ? 'column' OR clinic ? 'lookup';
  reasons text[] := array_remove(ARRAY['no entity fits: tags of its own name', clinic ->> 'reason'], NULL);
  own     record;
  config  jsonb;
  made    jsonb;
BEGIN
  LOOP
    SELECT t.tags, t.id INTO own FROM clinicache._own_name_tags(rel, found) AS t;
    config := jsonb_build_object('tags', own.tags) || clinicache._plan_settings(rel)
              || CASE WHEN found THEN '{"tenant": "clinic"}'::jsonb ELSE '{}' END
              || CASE WHEN found AND clinic ? 'lookup' THEN jsonb_build_object('lookups', jsonb_build_object('clinic', clinic -> 'lookup')) ELSE '{}' END;
    own.id := own.id || CASE WHEN found AND clinic ? 'column' THEN jsonb_build_object('clinic', clinic -> 'column') ELSE '{}' END;
    config := config || CASE WHEN own.id <> '{}' THEN jsonb_build_object('columns', own.id) ELSE '{}' END;
    made := clinicache._try_own(rel, config);
    EXIT WHEN NOT made ? 'error' OR NOT found;
    -- better without a clinic than not at all
    found := false;
    reasons := reasons || format('clinic left out: %s', made ->> 'error');
  END LOOP;
  RETURN CASE WHEN made ? 'error' THEN made
              ELSE jsonb_build_object('config', config, 'made', made, 'reasons', to_jsonb(reasons)) END;
END
$$;

REVOKE ALL ON FUNCTION clinicache._propose_own(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._propose_own(regclass) IS
  'Internal: a proposal to track a table with tags of its own name, or {"error": why not}';

CREATE FUNCTION clinicache._row_tag(config jsonb, key text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_build_object('tag', t.tag ->> 'tag', 'profile', t.tag ->> 'profile', 'name', c.names[1])
  FROM jsonb_array_elements(config -> 'tags') WITH ORDINALITY AS t(tag, n), clinicache.template_columns(t.tag ->> 'tag') AS c(names)
  WHERE cardinality(c.names) = 1 AND t.tag ->> 'tag' LIKE '%{' || c.names[1] || '}' AND NOT t.tag ?| '{window,columns}'
    AND coalesce(config #> ARRAY['columns', c.names[1]], to_jsonb(c.names)) = jsonb_build_array(key)
  ORDER BY t.n LIMIT 1
$$;

REVOKE ALL ON FUNCTION clinicache._row_tag(config jsonb, key text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._row_tag(jsonb, text) IS
  'Internal: of a configuration, the first template that ends in the key and has no other placeholder: what its rows are known by';

CREATE FUNCTION clinicache._join_sides(rel regclass) RETURNS TABLE (col text, target regclass, key text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH keys AS (SELECT f.* FROM clinicache._foreign_keys(rel) AS f),
  other AS (
    SELECT a.attname FROM pg_attribute AS a
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped AND a.attname::text NOT IN (SELECT k.col FROM keys AS k)
      AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = rel AND i.indisprimary AND a.attnum = ANY (i.indkey::int2[]))
      AND clinicache._column_type(rel, a.attname::text) NOT IN ('timestamp'::regtype, 'timestamptz'::regtype, 'date'::regtype))
  SELECT k.col, k.target, k.key FROM keys AS k
  WHERE NOT EXISTS (SELECT FROM other)
    AND (SELECT count(*) = 2 AND count(DISTINCT j.col) = 2 AND count(DISTINCT j.target) = 2 AND NOT bool_or(j.col ~ '[{}|]' OR j.target = rel)
         FROM keys AS j)
  ORDER BY k.col COLLATE "C"
$$;

REVOKE ALL ON FUNCTION clinicache._join_sides(rel regclass) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._join_sides(regclass) IS
  'Internal: the two foreign keys of a table that holds nothing else but a key and timestamps; no rows: it is none such';

CREATE FUNCTION clinicache._propose_join(rel regclass, planned jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  side    record;
  config  jsonb;
  tag     jsonb;
  tenant  text;
  tags    jsonb := '[]';
  parents text[] := '{}';
  made    jsonb;
BEGIN
  FOR side IN SELECT s.* FROM clinicache._join_sides(rel) AS s LOOP
    config := coalesce(planned -> side.target::oid::text, clinicache._row_config(side.target));
    tag := clinicache._row_tag(config, side.key);
    IF tag IS NOT NULL THEN
      tags := tags || jsonb_build_array(jsonb_build_array(
                replace(tag ->> 'tag', format('{%s}', tag ->> 'name'), format('{%s}', side.col)), tag -> 'profile'));
      parents := parents || side.target::text;
      tenant := CASE WHEN config ->> 'entity' = 'clinic' THEN side.col ELSE tenant END;
    END IF;
  END LOOP;
  IF cardinality(parents) < 2 THEN
    RETURN NULL;
  END IF;
  config := jsonb_build_object('tags', tags) || clinicache._plan_settings(rel)
            || CASE WHEN tenant IS NOT NULL THEN jsonb_build_object('tenant', tenant) ELSE '{}' END;
  made := clinicache._try_own(rel, config);
  RETURN CASE WHEN made ? 'error' THEN NULL
              ELSE jsonb_build_object('config', config, 'made', made,
                     'reasons', jsonb_build_array(format('joins %s: their rows'' tags', array_to_string(parents, ' and ')))) END;
END
$$;

REVOKE ALL ON FUNCTION clinicache._propose_join(rel regclass, planned jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._propose_join(regclass, jsonb) IS
  'Internal: a proposal to track a join table with the tags of the rows that it joins; null: it is none, or they have no such tags';

CREATE FUNCTION clinicache._propose(rel regclass, planned jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entity_name text := clinicache._entity_named((SELECT c.relname::text FROM pg_class AS c WHERE c.oid = rel));
  made        jsonb;
  reasons     jsonb := '[]';
BEGIN
  IF entity_name IS NOT NULL THEN
    made := clinicache._propose_entity(rel, entity_name, true);
    IF NOT made ? 'error' THEN
      RETURN made;
    END IF;
    reasons := reasons || jsonb_build_array(made -> 'error');
  END IF;
  made := clinicache._propose_join(rel, planned);
  IF made IS NULL THEN
    entity_name := clinicache._entity_by_columns(rel);
    made := CASE WHEN entity_name IS NOT NULL THEN clinicache._propose_entity(rel, entity_name, false) ELSE '{"error": null}' END;
    IF made ? 'error' THEN
      made := clinicache._propose_own(rel);
    END IF;
  END IF;
  RETURN CASE WHEN made ? 'error' THEN made ELSE jsonb_set(made, '{reasons}', reasons || (made -> 'reasons')) END;
END
$$;

REVOKE ALL ON FUNCTION clinicache._propose(rel regclass, planned jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._propose(regclass, jsonb) IS
  'Internal: how a table would be tracked, or {"error": why it can not be}; planned: configurations of tables before it, by OID';

CREATE FUNCTION clinicache._name_fits(table_name text, entity_name text) RETURNS int
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- the entity's own name first, then the others in their order
  SELECT coalesce(min(w.n), 1000)::int
  FROM clinicache.entity AS e, unnest(e.name || e.tables) WITH ORDINALITY AS w(word, n), clinicache._squash(w.word) AS s(singular)
  WHERE e.name = entity_name
    AND clinicache._squash(table_name) IN (s.singular, s.singular || 's', s.singular || 'es',
                                           regexp_replace(s.singular, 'y$', 'ies'), regexp_replace(s.singular, 'is$', 'es'))
$$;

REVOKE ALL ON FUNCTION clinicache._name_fits(table_name text, entity_name text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._name_fits(text, text) IS 'Internal: how well a table''s name fits an entity, 1 best';

CREATE FUNCTION clinicache._one_source_each(planned jsonb) RETURNS TABLE (relation oid, counter text, source regclass)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH source AS (
    SELECT p.key::oid AS rel, c.counter ->> 'counter' AS name, 1 AS turn,
           clinicache._name_fits((SELECT k.relname::text FROM pg_class AS k WHERE k.oid = p.key::oid), p.value ->> 'entity') AS fits
    FROM jsonb_each(planned) AS p, jsonb_array_elements(p.value -> 'counters') AS c(counter)
    UNION ALL
    -- what is counted already stays where it is
    SELECT t.tgrelid, c.counter ->> 'counter', 0, 0
    FROM pg_trigger AS t, jsonb_array_elements(clinicache.trigger_config(t.oid) -> 'counters') AS c(counter)
    WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure),
  ranked AS (
    SELECT s.*, first_value(s.rel) OVER (PARTITION BY s.name ORDER BY s.turn, s.fits, s.rel::regclass::text COLLATE "C") AS best FROM source AS s)
  SELECT r.rel, min(r.name), min(r.best)::regclass FROM ranked AS r WHERE r.turn = 1 AND r.best <> r.rel GROUP BY r.rel
$$;

REVOKE ALL ON FUNCTION clinicache._one_source_each(planned jsonb) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._one_source_each(jsonb) IS
  'Internal: of the tables planned, those that are not to count because another does, planned or tracked';

CREATE FUNCTION clinicache._plan_proposals(schema name) RETURNS TABLE (relation regclass, proposal jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  schema_id oid := (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = _plan_proposals.schema);
  planned   jsonb := '{}';      -- configurations, by OID
  proposals jsonb := '{}';
  loser     record;
  why       text;
  given     regclass;
BEGIN
  FOR given IN SELECT t FROM clinicache._tables_in_order(schema_id) AS t LOOP
    why := clinicache._why_not(given);
    proposal := CASE WHEN why IS NULL THEN clinicache._propose(given, planned) ELSE jsonb_build_object('error', why) END;
    proposals := proposals || jsonb_build_object(given::oid::text, proposal);
    IF proposal ? 'made' THEN
      planned := planned || jsonb_build_object(given::oid::text, proposal -> 'made');
    END IF;
  END LOOP;
  FOR loser IN SELECT l.relation::text AS id, l.counter, l.source FROM clinicache._one_source_each(planned) AS l LOOP
    proposal := proposals -> loser.id;
    proposals := proposals || jsonb_build_object(loser.id, proposal || jsonb_build_object(
      'options', (proposal -> 'options') || '{"counters": []}', 'made', (proposal -> 'made') || '{"counters": []}',
      'reasons', (proposal -> 'reasons') || jsonb_build_array(format('not counted: counter "%s" is of %s', loser.counter, loser.source))));
  END LOOP;
  FOR relation, proposal IN
    SELECT t.rel, proposals -> t.rel::oid::text FROM clinicache._tables_in_order(schema_id) WITH ORDINALITY AS t(rel, n)
    ORDER BY proposals -> t.rel::oid::text ? 'error', t.n LOOP
    RETURN NEXT;
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION clinicache._plan_proposals(schema name) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._plan_proposals(name) IS 'Internal: a proposal for each table of a schema, those that are skipped last';

CREATE FUNCTION clinicache.plan(schema name)
RETURNS TABLE (relation regclass, entity text, action text, columns jsonb, tenant text, statement text, left_out text[], reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
  IF plan.schema IS NULL THEN
    RAISE EXCEPTION 'the schema given to clinicache.plan is null' USING ERRCODE = 'null_value_not_allowed';
  ELSIF NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = plan.schema) THEN
    RAISE EXCEPTION 'schema "%" does not exist', plan.schema USING ERRCODE = 'invalid_schema_name';
  ELSIF plan.schema IN ('pg_catalog', 'information_schema', 'pg_toast', 'clinicache') THEN
    RAISE EXCEPTION 'tables of schema "%" cannot be tracked', plan.schema USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN QUERY
    SELECT p.relation, p.proposal ->> 'entity', CASE WHEN p.proposal ? 'error' THEN 'skip' ELSE 'track' END,
           (m.made -> 'columns') || coalesce((SELECT jsonb_object_agg(l.key, jsonb_build_object('lookup', l.value))
                                              FROM jsonb_each(m.made -> 'lookups') AS l), '{}'),
           coalesce(m.made #>> ARRAY['lookups', m.made ->> 'tenant'], array_to_string(clinicache._texts(m.made #> ARRAY['columns', m.made ->> 'tenant']), ', '),
                    m.made ->> 'tenant'),
           CASE WHEN p.proposal ? 'config'
                THEN format('SELECT clinicache.track(%L, %L);', clinicache._table_name(p.relation), p.proposal -> 'config')
                WHEN p.proposal ? 'entity'
                THEN format('SELECT clinicache.track(%L, %L%s%s);', clinicache._table_name(p.relation), p.proposal ->> 'entity',
                            CASE WHEN p.proposal -> 'columns' <> '{}' OR p.proposal -> 'options' <> '{}' THEN format(', %L', p.proposal -> 'columns') END,
                            CASE WHEN p.proposal -> 'options' <> '{}' THEN format(', %L', p.proposal -> 'options') END) END,
           CASE WHEN m.made IS NOT NULL THEN clinicache._texts(m.made -> 'left_out') END,
           coalesce(p.proposal ->> 'error', array_to_string(clinicache._texts(p.proposal -> 'reasons'), '; '))
    FROM clinicache._plan_proposals(plan.schema) WITH ORDINALITY AS p(relation, proposal, n)
    CROSS JOIN LATERAL (SELECT p.proposal -> 'made' AS made) AS m
    ORDER BY p.n;
END
$$;

REVOKE ALL ON FUNCTION clinicache.plan(schema name) FROM PUBLIC;

COMMENT ON FUNCTION clinicache.plan(name) IS
  'How the tables of a schema would be tracked, in the order in which they should be: the entity (null: tags of its own name), columns as they would be resolved, whose rows they are, the statement to run, preset templates left out, and why. action: track or skip. Changes nothing. Errors: 3F000 no such schema, 42501 a schema of the system';

CREATE FUNCTION clinicache.track_schema(schema name) RETURNS TABLE (relation regclass, statement text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
BEGIN
  -- what notices would say, the plan has said
  FOR relation, statement IN SELECT p.relation, p.statement FROM clinicache.plan(track_schema.schema) AS p WHERE p.action = 'track' LOOP
    EXECUTE statement;
    RETURN NEXT;
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION clinicache.track_schema(schema name) FROM PUBLIC;

COMMENT ON FUNCTION clinicache.track_schema(name) IS
  'Tracks the tables of a schema as clinicache.plan proposes, all or none, and returns what it ran. Tables that are tracked already are left alone. Errors as for plan and track';

COMMENT ON COLUMN clinicache.tracked_tables.columns IS 'Logical column to its real columns (first not null), {"const": text} or {"lookup": path}';

CREATE OR REPLACE FUNCTION clinicache._stands_for(config jsonb, names text[]) RETURNS text[]
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

CREATE FUNCTION clinicache._renamed_origin(path text, old_name text, new_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN s.value = old_name THEN clinicache._path_name(new_name) || substr(path, length(clinicache._path_name(old_name)) + 1) ELSE path END
  FROM clinicache.lookup_steps(path) AS s WHERE s.step = 0
$$;

REVOKE ALL ON FUNCTION clinicache._renamed_origin(path text, old_name text, new_name text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._renamed_origin(text, text, text) IS 'Internal: a look-up after the column that it begins at was renamed';

CREATE OR REPLACE FUNCTION clinicache._renamed(config jsonb, old_name text, new_name text) RETURNS jsonb
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

CREATE OR REPLACE FUNCTION clinicache._dropped(config jsonb, col text) RETURNS jsonb
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

CREATE OR REPLACE FUNCTION clinicache._without_column(config jsonb, col text) RETURNS jsonb
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

CREATE FUNCTION clinicache._follow_lookups(kind text, object oid, attnum int, old_name text, new_name text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failure text;
BEGIN
  IF kind NOT IN ('rename column', 'rename table', 'rename schema', 'set schema', 'alter type')
     OR NOT EXISTS (SELECT FROM clinicache._looking_up()) THEN
    RETURN NULL;
  END IF;
  BEGIN
    IF kind = 'alter type' THEN
      RETURN clinicache._parent_retyped(object, (SELECT a.attname FROM pg_attribute AS a
                                                 WHERE a.attrelid = object AND a.attnum = _follow_lookups.attnum));
    END IF;
    PERFORM clinicache._rename_in_lookups(kind, object, old_name, new_name);
  EXCEPTION WHEN OTHERS THEN
    failure := SQLERRM;
  END;
  IF failure IS NOT NULL THEN
    PERFORM clinicache.emit_prefix('', NULL, NULL);
    RAISE WARNING 'clinicache could not make look-ups follow a statement: %', failure
      USING HINT = 'Subscribers are told to drop everything; clinicache.health() shows which table to track again.';
  END IF;
  RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION clinicache._follow_lookups(kind text, object oid, attnum int, old_name text, new_name text) FROM PUBLIC;

COMMENT ON FUNCTION clinicache._follow_lookups(text, oid, int, text, text) IS
  'Internal: what a step of a statement means for look-ups of other tables; null, or why it is refused';

CREATE OR REPLACE FUNCTION clinicache._follow_commands() RETURNS jsonb
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

CREATE OR REPLACE FUNCTION clinicache._follow_drops() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone    record;
  refusal jsonb;
  parent  oid;
  parents oid[] := '{}';
BEGIN
  FOR gone IN SELECT d.objid, d.objsubid, d.address_names FROM pg_event_trigger_dropped_objects() AS d
              WHERE d.object_type IN ('table', 'table column') AND d.classid = 'pg_class'::regclass LOOP
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
        -- null would mean those of every table
        PERFORM clinicache._emit_templates(c), CASE WHEN c ? 'parents' THEN clinicache._drop_parent_triggers(c ->> 'parents') END
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
    IF clinicache._is_followed(parent) THEN
      PERFORM clinicache._changed_safely(parent, true);
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;

COMMENT ON FUNCTION clinicache.ddl_done() IS
  'Event trigger function: tracking follows renamed columns, new and former partitions and children, changed types and enum values, triggers disabled and enabled. Errors: 42804 a type that a column in use can not have, 55000 a partition or child that is tracked itself';

DROP EVENT TRIGGER clinicache_ddl;

CREATE EVENT TRIGGER clinicache_ddl ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER TYPE', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE SCHEMA')
  EXECUTE FUNCTION clinicache.ddl_done();

COMMENT ON EVENT TRIGGER clinicache_ddl IS
  'Tracking follows ALTER TABLE, ALTER TYPE ... RENAME VALUE and new partitions and children';

CREATE OR REPLACE FUNCTION clinicache._tracker_functions() RETURNS regprocedure[]
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

REVOKE ALL ON FUNCTION clinicache._health_lookups() FROM PUBLIC;

COMMENT ON FUNCTION clinicache._health_lookups() IS
  'Internal: part of health: look-ups through tables whose rows move unnoticed';

CREATE OR REPLACE FUNCTION clinicache._health_untracked() RETURNS TABLE (severity text, finding text, object text, remedy text)
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
  SELECT '{triggers,configuration,lookups,delivery,upkeep,cron,log,queue,settings,subscriptions,counters,tenants,grants,indexes,transactions,publications,untracked}'::text[]
$$;

ALTER FUNCTION clinicache.track(regclass, text, jsonb, jsonb) SET citus.enable_unsafe_triggers = on;

ALTER FUNCTION clinicache.track(regclass, jsonb) SET citus.enable_unsafe_triggers = on;

GRANT EXECUTE ON FUNCTION clinicache.row_change(), clinicache.truncate_change(), clinicache.parent_change(), clinicache.tenant_changed() TO PUBLIC;

DROP FUNCTION clinicache._resolve_columns(rel regclass, entity_name text, listed jsonb, given jsonb, required text[]);

-- by hand, after

-- Who may own the schema is asked by CREATE EXTENSION only.
-- covers: DO 3c76b7b4
-- covers: DO 4c69c2ba

SELECT clinicache.regrant();
