-- clinicache: from logical columns to real ones.
--
--   logical column --> columns argument, if given --------------------------> real columns or a constant
--                 +--> candidates: itself, preset's list, aliases, _id form
--                        each as spelt, snake_case, camelCase; at last ignoring case and _
--                        less those whose foreign key points to another entity -> one real column, or absent
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
  SELECT e.name
  FROM clinicache.entity AS e, unnest(e.tables || e.name) AS t(word), clinicache._squash(t.word) AS s(singular)
  WHERE clinicache._squash(_entity_named.word) IN
        (s.singular, s.singular || 's', s.singular || 'es',
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

CREATE FUNCTION clinicache._find_column(rel regclass, logical text, candidates text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names     text[] := clinicache._column_names(rel);
  refusals  text[] := '{}';
  candidate text;
  loosely   boolean;
  hits      text[];
  col       text;
  target    text;
BEGIN
  FOREACH loosely IN ARRAY ARRAY[false, true] LOOP
    FOREACH candidate IN ARRAY candidates LOOP
      hits := '{}';
      FOREACH col IN ARRAY names LOOP
        CONTINUE WHEN CASE WHEN loosely THEN clinicache._squash(col) <> clinicache._squash(candidate)
                           ELSE col NOT IN (candidate, clinicache._snake(candidate), clinicache._camel(candidate)) END;
        target := clinicache._refused_by(rel, col, logical);
        IF target IS NULL THEN
          hits := hits || col;
        ELSIF NOT format('"%s", whose foreign key points to %s', col, target) = ANY (refusals) THEN
          refusals := refusals || format('"%s", whose foreign key points to %s', col, target);
        END IF;
      END LOOP;
      IF cardinality(hits) > 1 THEN
        RAISE EXCEPTION 'logical column "%" is ambiguous in %: % fit', logical, rel, clinicache._quoted(hits)
          USING ERRCODE = 'ambiguous_column',
                HINT = format('Say which: columns => ''{"%s": "%s"}''.', logical, hits[1]);
      ELSIF cardinality(hits) = 1 THEN
        RETURN jsonb_build_object('column', hits[1]);
      END IF;
    END LOOP;
  END LOOP;
  RETURN jsonb_build_object('refused', to_jsonb(refusals));
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

CREATE FUNCTION clinicache._resolve_columns(rel regclass, entity_name text, listed jsonb, given jsonb, required text[])
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
    hit := CASE logical WHEN 'id' THEN clinicache._find_id(rel, listed -> logical)
             ELSE clinicache._find_column(rel, logical, clinicache._candidates(logical, listed -> logical)) END;
    IF hit ? 'column' THEN
      resolved := resolved || jsonb_build_object(logical, jsonb_build_array(hit ->> 'column'));
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
COMMENT ON FUNCTION clinicache._resolve_columns(regclass, text, jsonb, jsonb, text[]) IS
  'Internal: logical columns found (array of real columns or constant) and absent (with the reason); a required one absent: 42703';

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
