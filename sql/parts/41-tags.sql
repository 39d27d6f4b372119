-- clinicache: tag templates and settings of a tracked table, checked and put into the form that the trigger holds.
--
--   "resolved" below is the object of logical columns: key -> array of real columns, or {"const": text}.
--   A name in a template or setting is a key of it first, else a real column.

CREATE FUNCTION clinicache._check_keys(given jsonb, accepted text[], what text) RETURNS void
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

CREATE FUNCTION clinicache._real_columns(rel regclass, resolved jsonb, name text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN jsonb_typeof(resolved -> name) = 'array' THEN clinicache._texts(resolved -> name)
              WHEN resolved ? name THEN '{}'
              WHEN name = ANY (clinicache._column_names(rel)) THEN ARRAY[name] END
$$;
COMMENT ON FUNCTION clinicache._real_columns(regclass, jsonb, text) IS
  'Internal: real columns behind a name; empty for a constant, null for a name that is neither key nor column';

CREATE FUNCTION clinicache._known_column(rel regclass, resolved jsonb, name text, what text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  real text[] := clinicache._real_columns(rel, resolved, name);
  keys text[] := ARRAY(SELECT k FROM jsonb_object_keys(resolved) AS k ORDER BY k);
BEGIN
  IF real IS NULL THEN
    RAISE EXCEPTION 'column "%" in % does not exist in %', name, what, rel
      USING ERRCODE = 'undefined_column',
            HINT = CASE WHEN cardinality(keys) > 0 THEN format('Logical columns found: %s. ', clinicache._quoted(keys)) ELSE '' END
                   || format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel)));
  END IF;
  RETURN real;
END
$$;
COMMENT ON FUNCTION clinicache._known_column(regclass, jsonb, text, text) IS
  'Internal: _real_columns, or 42703 when there are none';

-- ---------------------------------------------------------------------------------------------------------------------
-- Templates
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._is_text_list(given jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_typeof(given) = 'array' AND NOT jsonb_path_exists(given, '$[*] ? (@.type() != "string")'), false)
$$;
COMMENT ON FUNCTION clinicache._is_text_list(jsonb) IS 'Internal: is it an array of strings?';

CREATE FUNCTION clinicache._tag_object(given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kind text := jsonb_typeof(given);
  tag  jsonb := given;
BEGIN
  IF kind = 'string' THEN
    tag := jsonb_build_object('tag', given);
  ELSIF kind = 'array' AND clinicache._is_text_list(given) AND jsonb_array_length(given) = 2 THEN
    tag := jsonb_build_object('tag', given -> 0, 'profile', given -> 1);
  END IF;
  PERFORM clinicache._check_keys(tag, '{tag,profile,window,time,edge,columns}', format('tag template %s', given));
  tag := jsonb_build_object('profile', 'default') || jsonb_strip_nulls(tag);
  IF coalesce(jsonb_typeof(tag -> 'tag') <> 'string' OR tag ->> 'tag' IN ('', '*'), true) THEN
    RAISE EXCEPTION 'tag template % has no text', given
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Write "patient:{id}" or {"tag": "patient:{id}", "profile": "seconds"}.';
  ELSIF jsonb_typeof(tag -> 'profile') <> 'string' THEN
    RAISE EXCEPTION 'profile of tag template "%" must be a string', tag ->> 'tag' USING ERRCODE = 'invalid_parameter_value';
  ELSIF tag ? 'window' AND tag -> 'window' NOT IN ('"today"', '"upcoming"', '"past"') THEN
    RAISE EXCEPTION 'window % of tag template "%" is not known', tag -> 'window', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Windows are today, upcoming and past.';
  ELSIF tag ? 'edge' AND tag -> 'edge' <> '"day"' THEN
    RAISE EXCEPTION 'edge % of tag template "%" is not known', tag -> 'edge', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'The only edge is day.';
  END IF;
  IF jsonb_typeof(tag -> 'time') = 'string' THEN
    tag := jsonb_set(tag, '{time}', jsonb_build_array(tag -> 'time'));
  END IF;
  IF tag ? 'time' AND NOT (clinicache._is_text_list(tag -> 'time') AND jsonb_array_length(tag -> 'time') IN (1, 2)) THEN
    RAISE EXCEPTION 'time of tag template "%" must be an array of one or two columns', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'One column, or the date column followed by the time-of-day column.';
  ELSIF tag ? 'columns' AND NOT (clinicache._is_text_list(tag -> 'columns') AND jsonb_array_length(tag -> 'columns') > 0) THEN
    RAISE EXCEPTION 'columns of tag template "%" must be an array of column names', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value';
  ELSIF tag ? 'window' AND NOT tag ? 'time' THEN
    RAISE EXCEPTION 'tag template "%" has a window but no time', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Add "time": ["<column>"].';
  END IF;
  RETURN tag;
END
$$;
COMMENT ON FUNCTION clinicache._tag_object(jsonb) IS
  'Internal: a template given as string, [template, profile] or object, as a checked object with tag and profile (22023)';

CREATE FUNCTION clinicache._preset_tags(tags jsonb, resolved jsonb, without text[])
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
COMMENT ON FUNCTION clinicache._preset_tags(jsonb, jsonb, text[]) IS
  'Internal: the preset''s templates whose columns exist, as objects, and the texts of those left out';

CREATE FUNCTION clinicache._own_tags(rel regclass, resolved jsonb, tags jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  given jsonb;
  tag   jsonb;
  name  text;
  what  text;
  own   jsonb := '[]';
BEGIN
  IF jsonb_typeof(tags) <> 'array' THEN
    RAISE EXCEPTION 'tags must be an array of tag templates, not %', tags
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example "tags": ["patient:{id}"].';
  END IF;
  FOR given IN SELECT t FROM jsonb_array_elements(tags) WITH ORDINALITY AS u(t, n) ORDER BY n LOOP
    tag := clinicache._tag_object(given);
    what := format('tag template "%s"', tag ->> 'tag');
    FOREACH name IN ARRAY clinicache.template_columns(tag ->> 'tag')
                          || clinicache._texts(tag -> 'columns') LOOP
      PERFORM clinicache._known_column(rel, resolved, name, what);
    END LOOP;
    FOREACH name IN ARRAY clinicache._texts(tag -> 'time') LOOP
      IF cardinality(clinicache._known_column(rel, resolved, name, what)) = 0 THEN
        RAISE EXCEPTION 'time of % is a constant', what USING ERRCODE = 'invalid_parameter_value';
      END IF;
    END LOOP;
    own := own || jsonb_build_array(tag);
  END LOOP;
  RETURN own;
END
$$;
COMMENT ON FUNCTION clinicache._own_tags(regclass, jsonb, jsonb) IS
  'Internal: the user''s templates as objects; a placeholder that is neither logical nor real column: 42703';

CREATE FUNCTION clinicache._merge_tags(preset jsonb, own jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_agg(t.tag ORDER BY t.part, t.n), '[]')
  FROM (SELECT 1 AS part, n, tag FROM jsonb_array_elements(preset) WITH ORDINALITY AS p(tag, n)
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(own) AS o WHERE o -> 'tag' = p.tag -> 'tag')
        UNION ALL
        SELECT 2, n, tag FROM jsonb_array_elements(own) WITH ORDINALITY AS o(tag, n)) AS t
$$;
COMMENT ON FUNCTION clinicache._merge_tags(jsonb, jsonb) IS
  'Internal: preset''s templates, then the user''s; one of the same text replaces the preset''s';

CREATE FUNCTION clinicache._used_profiles(tags jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  used    text[] := ARRAY(SELECT DISTINCT t ->> 'profile' FROM jsonb_array_elements(tags) AS t ORDER BY 1);
  unknown text;
BEGIN
  SELECT u INTO unknown FROM unnest(used) AS u
   WHERE NOT EXISTS (SELECT FROM clinicache.profile AS p WHERE p.name = u) LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'profile "%" does not exist', unknown
      USING ERRCODE = 'undefined_object',
            HINT = format('Profiles: %s. Add others to clinicache.profile.',
                          (SELECT string_agg(p.name, ', ' ORDER BY p.revalidate, p.name) FROM clinicache.profile AS p));
  END IF;
  RETURN (SELECT coalesce(jsonb_object_agg(p.name, p.revalidate), '{}') FROM clinicache.profile AS p WHERE p.name = ANY (used));
END
$$;
COMMENT ON FUNCTION clinicache._used_profiles(jsonb) IS
  'Internal: profiles of the templates with their revalidate seconds; unknown one: 42704';

-- ---------------------------------------------------------------------------------------------------------------------
-- Date and time columns, zones
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._time_pairs(tags jsonb) RETURNS TABLE (day text, clock text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT t #>> '{time,0}', t #>> '{time,1}'
  FROM jsonb_array_elements(tags) AS t
  WHERE jsonb_typeof(t) = 'object' AND jsonb_typeof(t -> 'time') = 'array' AND jsonb_array_length(t -> 'time') = 2
  ORDER BY 1, 2
$$;
COMMENT ON FUNCTION clinicache._time_pairs(jsonb) IS 'Internal: (date, time of day) column pairs that templates name';

CREATE FUNCTION clinicache._is_clock(kind regtype) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT kind IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'time'::regtype)
$$;
COMMENT ON FUNCTION clinicache._is_clock(regtype) IS 'Internal: can a column of this type hold a time of day?';

CREATE FUNCTION clinicache._drop_false_clocks(rel regclass, tags jsonb, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  pair record;
  col  text;
BEGIN
  FOR pair IN SELECT p.day, p.clock FROM clinicache._time_pairs(tags) AS p WHERE resolved ? p.clock LOOP
    IF jsonb_typeof(resolved -> pair.clock) = 'object' THEN
      RAISE EXCEPTION '"%", the time of day that belongs to "%", cannot be a constant', pair.clock, pair.day
        USING ERRCODE = 'invalid_parameter_value', HINT = format('{"%s": null} says that there is none.', pair.clock);
    ELSIF resolved -> pair.clock = resolved -> pair.day THEN
      resolved := resolved - pair.clock;
      CONTINUE;
    END IF;
    FOREACH col IN ARRAY clinicache._texts(resolved -> pair.clock) LOOP
      IF NOT clinicache._is_clock(clinicache._column_type(rel, col)) THEN
        IF given ? pair.clock THEN
          RAISE EXCEPTION 'column "%" of type % cannot be "%", the time of day that belongs to "%"',
                          col, clinicache._column_type(rel, col), pair.clock, pair.day
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('It must be text or time; {"%s": null} says that there is none.', pair.clock);
        END IF;
        resolved := resolved - pair.clock;
      END IF;
    END LOOP;
  END LOOP;
  RETURN resolved;
END
$$;
COMMENT ON FUNCTION clinicache._drop_false_clocks(regclass, jsonb, jsonb, jsonb) IS
  'Internal: resolved columns less time-of-day columns that are the date column itself or no time of day';

CREATE FUNCTION clinicache._check_zones(rel regclass, tags jsonb, resolved jsonb, zone jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  pair  record;
  col   text;
  clock text;
BEGIN
  FOR pair IN SELECT p.day, p.clock FROM clinicache._time_pairs(tags) AS p LOOP
    SELECT c INTO clock FROM unnest(clinicache._real_columns(rel, resolved, pair.clock)) AS c
     WHERE clinicache._is_clock(clinicache._column_type(rel, c)) LIMIT 1;
    CONTINUE WHEN clock IS NULL;
    FOREACH col IN ARRAY coalesce(clinicache._real_columns(rel, resolved, pair.day), '{}') LOOP
      IF clinicache._column_type(rel, col) IN ('timestamp'::regtype, 'timestamptz'::regtype) AND NOT zone ? col THEN
        RAISE EXCEPTION 'column "%" of % is a % with its time of day in "%": say in which zone its date counts',
                        col, rel, clinicache._column_type(rel, col), clock
          USING ERRCODE = 'invalid_parameter_value',
                DETAIL = 'A local date read as UTC is the day before in the Americas.',
                HINT = format('Add "zone": {"%1$s": "local"} if it holds the date on the clinic''s wall, '
                              || '"zone": {"%1$s": "utc"} if it holds a moment in UTC.', pair.day);
      END IF;
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._check_zones(regclass, jsonb, jsonb, jsonb) IS
  'Internal: a timestamp whose time of day stands in another column needs a zone (22023)';

-- ---------------------------------------------------------------------------------------------------------------------
-- Counters
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._has_day(kind regtype) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT kind IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
$$;
COMMENT ON FUNCTION clinicache._has_day(regtype) IS 'Internal: can a counter take its day from a column of this type?';

CREATE FUNCTION clinicache._is_number(kind regtype) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT kind IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'float4'::regtype, 'float8'::regtype, 'numeric'::regtype)
$$;
COMMENT ON FUNCTION clinicache._is_number(regtype) IS 'Internal: can a counter sum a column of this type?';

CREATE FUNCTION clinicache._can_count(rel regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- an unlogged table is empty after a crash, its counters would not be; a temporary one is nobody else's business
  SELECT c.relpersistence = 'p' FROM pg_class AS c WHERE c.oid = rel
$$;
COMMENT ON FUNCTION clinicache._can_count(regclass) IS 'Internal: are the rows of this table there for everybody, and after a crash?';

CREATE FUNCTION clinicache._preset_counters(rel regclass, resolved jsonb, counters jsonb) RETURNS jsonb
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
COMMENT ON FUNCTION clinicache._preset_counters(regclass, jsonb, jsonb) IS
  'Internal: a preset''s counters as far as the table has their columns; none on unlogged and temporary tables';

CREATE FUNCTION clinicache._own_counters(rel regclass, resolved jsonb, given jsonb) RETURNS jsonb
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
COMMENT ON FUNCTION clinicache._own_counters(regclass, jsonb, jsonb) IS
  'Internal: checks counters given to track (22023, 42703, 42804; 0A000 for unlogged and temporary tables)';
