-- clinicache: a whole schema at once.
--
--   plan -> _tables_in_order -> _why_not                        skipped, and why
--                            -> _propose -> by name             _propose_entity
--                                        -> a join table        _propose_join
--                                        -> by its columns      _propose_entity, without counters
--                                        -> its own name        _propose_own
--        -> _one_source_each                                    a counter counts one table
--   track_schema -> plan -> the statements
--
-- A proposal is an object: "entity", "columns" and "options" or "config" (what track is given), "made" (what becomes of it)
-- and "reasons".  Nothing is proposed that was not tried: "made" was resolved and compiled.

-- ---------------------------------------------------------------------------------------------------------------------
-- Which tables
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._is_bookkeeping(table_name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT lower(table_name COLLATE "C") IN (
    '_prisma_migrations', 'schema_migrations', 'ar_internal_metadata', 'flyway_schema_history', 'databasechangelog', 'databasechangeloglock',
    'knex_migrations', 'knex_migrations_lock', 'django_migrations', 'alembic_version', '__drizzle_migrations', 'sequelizemeta', 'migrations',
    'typeorm_metadata', 'mikro_orm_migrations', 'kysely_migration', 'kysely_migration_lock', 'goose_db_version', '__efmigrationshistory',
    'doctrine_migration_versions', 'phinxlog', 'atlas_schema_revisions')
$$;
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
         clinicache._may_track(c.relowner) AS trusted
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
COMMENT ON FUNCTION clinicache._why_not(regclass) IS 'Internal: why plan() skips a table; null: it does not';

-- ---------------------------------------------------------------------------------------------------------------------
-- What is seen in a table
-- ---------------------------------------------------------------------------------------------------------------------

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
COMMENT ON FUNCTION clinicache._entity_by_columns(regclass) IS
  'Internal: the one entity all of whose telling columns, three at least, a table has; null: none, or several';

-- ---------------------------------------------------------------------------------------------------------------------
-- Proposals
-- ---------------------------------------------------------------------------------------------------------------------

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
COMMENT ON FUNCTION clinicache._try_column(regclass, text, jsonb) IS
  'Internal: _resolve_column with a "reason" where there is something to say; {"ambiguous": true} in place of an error';

CREATE FUNCTION clinicache._check_made(rel regclass, made jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  parent record;
BEGIN
  PERFORM clinicache.check_config(rel, made);
  FOR parent IN SELECT p.relation, p.parent_config FROM clinicache._parents(rel, made) AS p LOOP
    IF NOT has_table_privilege(parent.relation, 'TRIGGER') THEN
      RAISE EXCEPTION 'look-ups need a trigger on %, which you may not make', parent.relation USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM clinicache.check_config(parent.relation, parent.parent_config);
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._check_made(regclass, jsonb) IS
  'Internal: would track take a resolved configuration? Its error, if not';

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
  PERFORM clinicache._check_made(rel, made);
  RETURN made;
EXCEPTION WHEN OTHERS THEN
  RETURN jsonb_build_object('error', SQLERRM);
END
$$;
COMMENT ON FUNCTION clinicache._try_entity(regclass, text, jsonb, jsonb) IS 'Internal: the resolved configuration, or {"error": message}';

CREATE FUNCTION clinicache._try_own(rel regclass, config jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made jsonb;
BEGIN
  made := clinicache._own_config(rel, config);
  PERFORM clinicache._check_made(rel, made);
  RETURN made;
EXCEPTION WHEN OTHERS THEN
  RETURN jsonb_build_object('error', SQLERRM);
END
$$;
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
COMMENT ON FUNCTION clinicache._one_source_each(jsonb) IS
  'Internal: of the tables planned, those that are not to count because another does, planned or tracked';

-- ---------------------------------------------------------------------------------------------------------------------
-- What users call
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._shown_tenant(made jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE jsonb_typeof(c.given) WHEN 'array' THEN array_to_string(clinicache._texts(c.given), ', ')
                                    WHEN 'object' THEN coalesce(c.given ->> 'lookup', format('=%L', c.given ->> 'const'))
                                    ELSE made ->> 'tenant' END
  FROM (SELECT made -> 'columns' -> (made ->> 'tenant')) AS c(given)
$$;
COMMENT ON FUNCTION clinicache._shown_tenant(jsonb) IS 'Internal: where a configuration has the tenant from, for people to read';

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
COMMENT ON FUNCTION clinicache._plan_proposals(name) IS 'Internal: a proposal for each table of a schema, those that are skipped last';

-- compiling the many small queries would take longer than running them
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
           m.made -> 'columns', clinicache._shown_tenant(m.made),
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
COMMENT ON FUNCTION clinicache.track_schema(name) IS
  'Tracks the tables of a schema as clinicache.plan proposes, all or none, and returns what it ran. Tables that are tracked already are left alone. Errors as for plan and track';
