-- clinicache: dashboards.  The numbers come from counters, the list of appointments from the user's table.

CREATE FUNCTION clinicache._fk_target(rel regclass, col text) RETURNS TABLE (target regclass, target_column text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.confrelid::regclass, f.attname::text
  FROM pg_constraint AS c
  JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
  JOIN pg_attribute AS f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
  WHERE c.contype = 'f' AND c.conrelid = rel AND cardinality(c.conkey) = 1 AND a.attname = col
  ORDER BY c.oid
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._fk_target(regclass, text) IS 'Internal: where the foreign key of a column leads';

CREATE FUNCTION clinicache._first_column(rel regclass, names text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.name
  FROM unnest(names) WITH ORDINALITY AS w(word, n)
  JOIN unnest(clinicache._column_names(rel)) AS c(name) ON clinicache._squash(c.name) = clinicache._squash(w.word)
  ORDER BY w.n
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._first_column(regclass, text[]) IS 'Internal: the first of these names, in whatever spelling, that is a column';

CREATE FUNCTION clinicache._name_expression(rel regclass, alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  whole text := clinicache._first_column(rel, '{name,full_name,display_name}');
  parts text[] := array_remove(ARRAY[clinicache._first_column(rel, '{first_name,given_name,first}'),
                                     clinicache._first_column(rel, '{last_name,family_name,surname,last}')], NULL);
BEGIN
  IF whole IS NOT NULL THEN
    RETURN format('CAST(%I.%I AS pg_catalog.text)', alias, whole);
  ELSIF cardinality(parts) > 0 THEN
    RETURN format('pg_catalog.concat_ws('' '', %s)', (SELECT string_agg(format('%I.%I', alias, p), ', ' ORDER BY n)
                                                      FROM unnest(parts) WITH ORDINALITY AS u(p, n)));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._name_expression(regclass, text) IS 'Internal: SQL for the name of a row of patients or staff; null: it has none';

CREATE FUNCTION clinicache._value_expression(rel regclass, resolved jsonb, name text, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN jsonb_typeof(resolved -> name) = 'object' THEN format('CAST(%L AS pg_catalog.text)', resolved -> name ->> 'const')
    ELSE (SELECT CASE count(*) WHEN 0 THEN NULL WHEN 1 THEN min(format('%I.%I', alias, c))
                      ELSE format('COALESCE(%s)', string_agg(format('CAST(%I.%I AS pg_catalog.text)', alias, c), ', ' ORDER BY n)) END
          FROM unnest(clinicache._real_columns(rel, resolved, name)) WITH ORDINALITY AS u(c, n))
  END
$$;
COMMENT ON FUNCTION clinicache._value_expression(regclass, jsonb, text, text) IS
  'Internal: SQL for what a logical column stands for: a column, the first not null of several, a constant; null: it is absent';

CREATE FUNCTION clinicache._not_deleted(config jsonb, rel regclass, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN config -> 'deleted' IS NULL THEN 'true'
    WHEN jsonb_typeof(config -> 'deleted') = 'object'
      THEN format('(%1$I.%2$I IS NULL OR CAST(%1$I.%2$I AS pg_catalog.text) OPERATOR(pg_catalog.<>) ALL (CAST(%3$L AS pg_catalog.text[])))',
                  alias, config -> 'deleted' ->> 'column', clinicache._texts(config -> 'deleted' -> 'values'))
    WHEN clinicache._column_type(rel, config ->> 'deleted') = 'boolean'::regtype
      THEN format('%I.%I IS NOT TRUE', alias, config ->> 'deleted')
    ELSE format('%I.%I IS NULL', alias, config ->> 'deleted') END
$$;
COMMENT ON FUNCTION clinicache._not_deleted(jsonb, regclass, text) IS 'Internal: SQL condition for rows that are not softly deleted';

CREATE FUNCTION clinicache._department_join(rel regclass, doctor_table regclass) RETURNS TABLE (joins text, fields text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  hit    record;
  colour text;
BEGIN
  -- the appointment's own department, else its doctor's
  SELECT s.alias, a.attname, k.target, k.target_column INTO hit
    FROM (VALUES (rel, 't', 1), (doctor_table, 'd', 2)) AS s(source, alias, n)
    JOIN pg_attribute AS a ON a.attrelid = s.source AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN LATERAL clinicache._fk_target(s.source, a.attname) AS k
    JOIN pg_class AS c ON c.oid = k.target
   WHERE clinicache._entity_named(c.relname) = 'department'
   ORDER BY s.n, a.attnum LIMIT 1;
  IF hit.target IS NOT NULL THEN
    joins := format(' LEFT JOIN %s AS g ON g.%I OPERATOR(pg_catalog.=) %I.%I',
                    clinicache._table_name(hit.target), hit.target_column, hit.alias, hit.attname);
    fields := coalesce(', ' || clinicache._name_expression(hit.target, 'g') || ' AS department', '');
    colour := clinicache._first_column(hit.target, '{color,colour,color_code,hex_color}');
    fields := fields || CASE WHEN colour IS NOT NULL THEN format(', g.%I AS department_color', colour) ELSE '' END;
  END IF;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION clinicache._department_join(regclass, regclass) IS
  'Internal: how an appointment''s foreign keys lead to a department, and its name and colour; nulls: they do not';

CREATE FUNCTION clinicache._key_expression(rel regclass, col text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- only what the column's type would print: any other text is the key of no row, and no error
  SELECT CASE
    WHEN clinicache._column_type(rel, col) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
      THEN 'CASE WHEN $1 OPERATOR(pg_catalog.~) ''^(0|-?[1-9][0-9]{0,17})$'' THEN CAST($1 AS pg_catalog.int8) END'
    WHEN clinicache._column_type(rel, col) = 'uuid'::regtype
      THEN 'CASE WHEN $1 OPERATOR(pg_catalog.~) ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'' THEN CAST($1 AS pg_catalog.uuid) END'
    ELSE (SELECT format('CAST($1 AS %s)', format_type(a.atttypid, NULL)) FROM pg_attribute AS a WHERE a.attrelid = rel AND a.attname = col) END
$$;
COMMENT ON FUNCTION clinicache._key_expression(regclass, text) IS
  'Internal: SQL for a key, given as text, to be compared with a column through its index';

CREATE FUNCTION clinicache._recent_query(rel regclass, counter text, dimension text, how_many int) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config   jsonb := (SELECT clinicache.trigger_config(o.id) FROM clinicache._own_triggers(rel) AS o WHERE o.fires_on = 'row' LIMIT 1);
  resolved jsonb := config -> 'columns';
  rule     jsonb := (SELECT c FROM jsonb_array_elements(config -> 'counters') AS c WHERE c ->> 'counter' = counter);
  key_name text := rule -> 'by' ->> dimension;
  key_columns text[] := clinicache._real_columns(rel, resolved, key_name);
  id       text := clinicache._value_expression(rel, resolved, 'id', 't');
  at       text := clinicache._value_expression(rel, resolved, rule ->> 'day', 't');
  tenant   text := clinicache._value_expression(rel, resolved, config ->> 'tenant', 't');
  who      record;
  one      record;
  joins    text := '';
  fields   text := '';
  doctor_table regclass;
  department   record;
  condition    text;
  ordering     text;
BEGIN
  condition := CASE WHEN cardinality(key_columns) = 1
    THEN format('t.%I OPERATOR(pg_catalog.=) %s', key_columns[1], clinicache._key_expression(rel, key_columns[1]))
    ELSE format('%s OPERATOR(pg_catalog.=) $1', clinicache._value_expression(rel, resolved, key_name, 't')) END;
  -- rows without a date have no place in it; so an index on key and date, read backwards, is in order
  condition := condition || coalesce(format(' AND %s IS NOT NULL', at), '');
  ordering := concat_ws(', ', at || ' DESC', clinicache._value_expression(rel, resolved, 'time', 't') || ' DESC', id || ' DESC');
  IF id IS NOT NULL THEN
    fields := fields || format(', %s AS id', id);
  END IF;
  IF at IS NOT NULL THEN
    fields := fields || format(', %s AS date', at);
  END IF;
  FOR one IN SELECT f.label, clinicache._value_expression(rel, resolved, f.label, 't') AS value
             FROM (VALUES ('time'), ('status')) AS f(label) LOOP
    CONTINUE WHEN one.value IS NULL;
    fields := fields || format(', %s AS %I', one.value, one.label);
  END LOOP;
  FOR who IN SELECT w.label, w.alias, clinicache._value_expression(rel, resolved, w.label, 't') AS value,
                    clinicache._real_columns(rel, resolved, w.label) AS columns
             FROM (VALUES ('patient', 'p'), ('doctor', 'd')) AS w(label, alias) LOOP
    CONTINUE WHEN who.value IS NULL;
    fields := fields || format(', %s AS %I', who.value, who.label);
    SELECT k.target, k.target_column, clinicache._name_expression(k.target, who.alias) AS name INTO one
      FROM unnest(who.columns) AS c CROSS JOIN LATERAL clinicache._fk_target(rel, c) AS k LIMIT 1;
    CONTINUE WHEN one.target IS NULL;
    joins := joins || format(' LEFT JOIN %s AS %I ON %I.%I OPERATOR(pg_catalog.=) %s',
                             clinicache._table_name(one.target), who.alias, who.alias, one.target_column,
                             format('t.%I', who.columns[1]));
    fields := fields || CASE WHEN one.name IS NOT NULL THEN format(', %s AS %I', one.name, who.label || '_name') ELSE '' END;
    doctor_table := CASE WHEN who.label = 'doctor' THEN one.target ELSE doctor_table END;
  END LOOP;
  SELECT d.joins, d.fields INTO department FROM clinicache._department_join(rel, doctor_table) AS d;
  RETURN format('SELECT CAST(%s AS pg_catalog.text) AS tenant%s FROM %s AS t%s WHERE %s AND %s%s LIMIT %s',
                coalesce(tenant, 'NULL'), fields || coalesce(department.fields, ''),
                clinicache._table_name(rel), joins || coalesce(department.joins, ''),
                condition, clinicache._not_deleted(config, rel, 't'),
                -- for the tenant alone any row will do, and none need be sorted
                CASE WHEN how_many > 1 AND ordering <> '' THEN ' ORDER BY ' || ordering ELSE '' END, how_many);
END
$$;
COMMENT ON FUNCTION clinicache._recent_query(regclass, text, text, int) IS
  'Internal: SQL that returns the newest rows of a counted table under a key ($1), with its tenant first and names where declared foreign keys lead to them';

CREATE FUNCTION clinicache.clinic_dashboard(clinic text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_clinic_dashboard' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.clinic_dashboard(text) IS
  'A clinic at a glance, exact in the caller''s snapshot: day (local), patients, doctors, staff, new_patients_this_month, appointments_by_status, today, waiting, upcoming, this_month, completed, revenue_this_month, outstanding, recent_appointments (ten, by date). Null where no table is tracked for it. Errors: 22004 null clinic';

CREATE FUNCTION clinicache.client_dashboard(client text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_client_dashboard' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.client_dashboard(text) IS
  'A patient''s appointments: day, upcoming_count, total_month_count, completed_count, next_appointment_date, recent_appointments (five). Null where no table is tracked for it. Errors: 22004 null client';

CREATE FUNCTION clinicache.doctor_dashboard(doctor text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_doctor_dashboard' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.doctor_dashboard(text) IS
  'A doctor''s appointments: day, today, waiting (of today''s), upcoming, completed. Null where no table is tracked for it. Errors: 22004 null doctor';
