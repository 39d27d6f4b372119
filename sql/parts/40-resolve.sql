-- clinicache: from logical columns to real ones.
--
--   logical column --> columns argument, if given --------------------------> real columns or a constant
--                 +--> candidates: itself, preset's list, aliases, _id form
--                        each as spelt, snake_case, camelCase; at last ignoring case and _
--                        less those whose foreign key points to another entity -> one real column
--                 +--> clinic and patient: the column whose foreign key points to their table, whatever its name
--                 +--> these two: the one shortest way over foreign keys to a table that has it -> a look-up
--                 +--> absent
--
-- Functions that begin with _ are internal; all run with the caller's rights.  String literals in bodies hold no backslash,
-- because bodies are parsed under the caller's standard_conforming_strings.

-- ---------------------------------------------------------------------------------------------------------------------
-- Names
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._snake(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT lower(regexp_replace(word, '([a-z0-9])([A-Z])', E'\\1_\\2', 'g') COLLATE "C")
$$;
COMMENT ON FUNCTION clinicache._snake(text) IS 'Internal: clinicId to clinic_id';

CREATE FUNCTION clinicache._camel(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(CASE WHEN n = 1 THEN part ELSE upper(left(part, 1) COLLATE "C") || substr(part, 2) END, '' ORDER BY n)
  FROM unnest(string_to_array(word, '_')) WITH ORDINALITY AS p(part, n)
$$;
COMMENT ON FUNCTION clinicache._camel(text) IS 'Internal: clinic_id to clinicId';

CREATE FUNCTION clinicache._squash(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT lower(replace(word, '_', '') COLLATE "C")
$$;
COMMENT ON FUNCTION clinicache._squash(text) IS 'Internal: a name without case and underscores, to compare';

CREATE FUNCTION clinicache._quoted(words text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg('"' || word || '"', ', ' ORDER BY n), '(none)')
  FROM unnest(words) WITH ORDINALITY AS w(word, n)
$$;
COMMENT ON FUNCTION clinicache._quoted(text[]) IS 'Internal: names as a list for messages';

CREATE FUNCTION clinicache._texts(list jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(word ORDER BY n), '{}')
  FROM jsonb_array_elements_text(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]' END) WITH ORDINALITY AS w(word, n)
$$;
COMMENT ON FUNCTION clinicache._texts(jsonb) IS 'Internal: JSON array to text array; anything else: empty';

CREATE FUNCTION clinicache._entity_named(word text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  -- what _squash does, spelt out: called for each word of the vocabulary it would take milliseconds
  SELECT e.name
  FROM (SELECT clinicache._squash(_entity_named.word) OFFSET 0) AS given(word), clinicache.entity AS e, unnest(e.tables || e.name) AS t(word),
       LATERAL (SELECT lower(replace(t.word, '_', '') COLLATE "C")) AS s(singular)
  WHERE left(given.word, greatest(length(s.singular) - 2, 0)) = left(s.singular, -2)
    AND given.word IN (s.singular, s.singular || 's', s.singular || 'es',
                       regexp_replace(s.singular, 'y$', 'ies'), regexp_replace(s.singular, 'is$', 'es'))
  ORDER BY e.builtin, e.name
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._entity_named(text) IS
  'Internal: the entity that a table of this name holds (singular, plural, snake and camel case), or null';

-- ---------------------------------------------------------------------------------------------------------------------
-- Columns of a table
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._column_names(rel regclass) RETURNS text[]
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}')
  FROM pg_attribute AS a
  WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION clinicache._column_names(regclass) IS 'Internal: the columns of a table';

CREATE FUNCTION clinicache._column_type(rel regclass, col text) RETURNS regtype
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE base AS (
    SELECT t.oid, t.typtype, t.typbasetype
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = rel AND a.attname = col AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT t.oid, t.typtype, t.typbasetype
    FROM base AS b JOIN pg_type AS t ON t.oid = b.typbasetype
    WHERE b.typtype = 'd')
  SELECT b.oid::regtype FROM base AS b WHERE b.typtype <> 'd'
$$;
COMMENT ON FUNCTION clinicache._column_type(regclass, text) IS 'Internal: type of a column, domains looked through; null: no such column';

CREATE FUNCTION clinicache._refused_by(rel regclass, col text, logical text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wanted  text := clinicache._entity_named(logical);
  own     text := clinicache._entity_named(regexp_replace(col, '_?[iI][dD]$', ''));
  refused text;
BEGIN
  IF wanted IS NULL THEN
    RETURN NULL;
  END IF;
  -- bool_or: one key that points to the right table is enough
  SELECT CASE WHEN bool_or(pointed.entity IN (wanted, own)) THEN NULL ELSE min(pointed.target::text) END
    INTO refused
    FROM (SELECT c.confrelid::regclass AS target, clinicache._entity_named(r.relname::text) AS entity
          FROM pg_constraint AS c
          JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
          JOIN pg_class AS r ON r.oid = c.confrelid
          WHERE c.contype = 'f' AND c.conrelid = rel AND cardinality(c.conkey) = 1 AND a.attname = col) AS pointed
   WHERE pointed.entity IS NOT NULL;
  RETURN refused;
END
$$;
COMMENT ON FUNCTION clinicache._refused_by(regclass, text, text) IS
  'Internal: the table of another entity that the column''s foreign key points to, which refuses the column; null: none';

CREATE FUNCTION clinicache._candidates(logical text, listed jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(c.word ORDER BY c.n)
  FROM (SELECT u.word, min(u.n) AS n
        FROM unnest(ARRAY[logical] || clinicache._texts(listed)
                    || coalesce((SELECT a.candidates FROM clinicache.alias AS a WHERE a.column_name = logical), '{}')
                    || CASE WHEN logical <> 'id' THEN ARRAY[logical || '_id'] END) WITH ORDINALITY AS u(word, n)
        GROUP BY u.word) AS c
$$;
COMMENT ON FUNCTION clinicache._candidates(text, jsonb) IS 'Internal: candidate names of a logical column, in order of preference';

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
COMMENT ON FUNCTION clinicache._foreign_keys(regclass) IS 'Internal: the single-column foreign keys of a table';

CREATE FUNCTION clinicache._single_key(rel regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.attname::text
  FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
  WHERE i.indrelid = rel AND i.indisprimary AND i.indnkeyatts = 1
$$;
COMMENT ON FUNCTION clinicache._single_key(regclass) IS 'Internal: the column that is the primary key; null: there is none, or it has several';

CREATE FUNCTION clinicache._pointing_columns(rel regclass, logical text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT f.col ORDER BY f.col), '{}')
  FROM clinicache._foreign_keys(rel) AS f JOIN pg_class AS c ON c.oid = f.target
  WHERE f.target <> rel
    AND clinicache._entity_named(c.relname::text) = logical AND clinicache._single_key(f.target) = f.key
$$;
COMMENT ON FUNCTION clinicache._pointing_columns(regclass, text) IS
  'Internal: columns that hold a clinic or patient, whatever their names, because their foreign keys say so';

CREATE FUNCTION clinicache._fitting_columns(rel regclass, logical text, candidates text[]) RETURNS TABLE (names text[], refusals text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- what _squash does, spelt out: it is asked of every column; the other spellings of the few that it lets through
  WITH named AS (
    SELECT DISTINCT a.attname::text AS name, a.attnum, w.n,
           NOT a.attname::text IN (w.word, clinicache._snake(w.word), clinicache._camel(w.word)) AS loosely
    FROM pg_attribute AS a
    JOIN unnest(candidates) WITH ORDINALITY AS w(word, n)
      ON lower(replace(a.attname::text, '_', '') COLLATE "C") = lower(replace(w.word, '_', '') COLLATE "C")
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped),
  judged AS (
    SELECT n.*, clinicache._refused_by(rel, n.name, logical) AS target, rank() OVER (ORDER BY n.loosely, n.n) AS place FROM named AS n),
  best AS (
    SELECT array_agg(j.name ORDER BY j.attnum) AS names FROM judged AS j
    WHERE j.target IS NULL GROUP BY j.place ORDER BY j.place LIMIT 1)
  SELECT coalesce((SELECT b.names FROM best AS b),
                  CASE WHEN logical IN ('clinic', 'patient') THEN clinicache._pointing_columns(rel, logical) ELSE '{}' END),
         ARRAY(SELECT format('"%s", whose foreign key points to %s', j.name, j.target) FROM judged AS j
               WHERE j.target IS NOT NULL GROUP BY j.name, j.target ORDER BY min(j.place), min(j.attnum))
$$;
COMMENT ON FUNCTION clinicache._fitting_columns(regclass, text, text[]) IS
  'Internal: the columns of the first candidate that a table has, or those whose foreign keys make them a clinic or patient; and what was refused';

CREATE FUNCTION clinicache._find_column(rel regclass, logical text, candidates text[]) RETURNS jsonb
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
COMMENT ON FUNCTION clinicache._find_column(regclass, text, text[]) IS
  'Internal: {"column": name} for the first candidate that the table has, else {"refused": [reasons]}; two at once: 42702';

CREATE FUNCTION clinicache._find_id(rel regclass, listed jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key_columns text[];
BEGIN
  SELECT array_agg(a.attname::text ORDER BY a.attnum) INTO key_columns
    FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
   WHERE i.indrelid = rel AND i.indisprimary;
  IF cardinality(key_columns) = 1 THEN
    RETURN jsonb_build_object('column', key_columns[1]);
  END IF;
  RETURN clinicache._find_column(rel, 'id', clinicache._candidates('id', listed))
         || CASE WHEN key_columns IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('key', to_jsonb(key_columns)) END;
END
$$;
COMMENT ON FUNCTION clinicache._find_id(regclass, jsonb) IS
  'Internal: like _find_column for "id": the single-column primary key, else a column of that name; "key" names a composite key';

-- ---------------------------------------------------------------------------------------------------------------------
-- Look-ups: what the row itself lacks, found over foreign keys
--
--   medicalId -> public.medical_records(id).patient_id -> public.patients(id).clinic_id
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._path_name(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN word ~ '^[A-Za-z0-9_]+$' THEN word ELSE '"' || replace(word, '"', '""') || '"' END
$$;
COMMENT ON FUNCTION clinicache._path_name(text) IS 'Internal: an identifier in a look-up''s path, exactly as in the catalog';

CREATE FUNCTION clinicache._path_step(col text, target regclass, key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s -> %s.%s(%s)', clinicache._path_name(col), clinicache._path_name(n.nspname::text),
                clinicache._path_name(c.relname::text), clinicache._path_name(key))
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target
$$;
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
COMMENT ON FUNCTION clinicache._resolve_column(regclass, text, jsonb) IS
  'Internal: {"column": name}, {"lookup": path} where a clinic or patient is found over foreign keys, or {"refused": [reasons]}; several: 42702';

-- ---------------------------------------------------------------------------------------------------------------------
-- The columns argument
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._given_column(rel regclass, logical text, given jsonb) RETURNS jsonb
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
COMMENT ON FUNCTION clinicache._given_column(regclass, text, jsonb) IS
  'Internal: checks one value of the columns argument; array of real columns or {"const": text}; unknown column: 42703';

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
COMMENT ON FUNCTION clinicache._resolve_columns(regclass, text, jsonb, jsonb, text[], jsonb) IS
  'Internal: logical columns found (array of real columns, constant or look-up) and absent (with the reason); a required one absent: 42703';

CREATE FUNCTION clinicache._missing_column(rel regclass, entity_name text, logical text, listed jsonb, search jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tried text := CASE WHEN search ? 'key'
                     THEN format('the primary key has several columns: %s', clinicache._quoted(clinicache._texts(search -> 'key')))
                     WHEN logical = 'id' THEN 'no primary key, no column "id"'
                     ELSE format('tried %s', array_to_string(clinicache._candidates(logical, listed), ', ')) END;
  refused text := array_to_string(clinicache._texts(search -> 'refused'), '; refused ');
BEGIN
  RAISE EXCEPTION 'no column of % serves as "%" of entity "%" (%)', rel, logical, entity_name, tried
    USING ERRCODE = 'undefined_column',
          DETAIL = CASE WHEN refused <> '' THEN format('Refused %s. ', refused) ELSE '' END
                   || format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel))),
          HINT = format('Name it with columns => ''{"%1$s": "..."}''; %2$sor say that there is none: columns => ''{"%1$s": null}''.',
                        logical,
                        CASE WHEN logical = 'id' THEN ''
                             ELSE format('give a constant: columns => ''{"%s": "=''''main''''"}''; ', logical) END);
END
$$;
COMMENT ON FUNCTION clinicache._missing_column(regclass, text, text, jsonb, jsonb) IS
  'Internal: raises 42703 for a required logical column, naming the candidates';
