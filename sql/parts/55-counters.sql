-- clinicache: counters.

CREATE FUNCTION clinicache.count(counter text, dimension text, key text, classes text[] DEFAULT NULL,
                                 from_day date DEFAULT NULL, to_day date DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_count' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.count(text, text, text, text[], date, date) IS
  'How many rows a counter has under a key of a dimension, exactly, in the caller''s snapshot with its own changes; classes: of these statuses only, compared ignoring case, spaces, - and _; from_day, to_day: local days, inclusive. Null: no tracked table has such a counter. Errors: 22004 null name or key, 22023 unknown dimension';

CREATE FUNCTION clinicache.total(counter text, dimension text, key text, classes text[] DEFAULT NULL,
                                 from_day date DEFAULT NULL, to_day date DEFAULT NULL) RETURNS numeric
AS 'MODULE_PATHNAME', 'clinicache_total' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.total(text, text, text, text[], date, date) IS
  'Like clinicache.count, the sum of the counter''s sum column; 0 where there is nothing to sum. Null: no tracked table has such a counter';

CREATE FUNCTION clinicache.series(counter text, dimension text, key text, grain text, from_day date, to_day date)
RETURNS TABLE (day date, class text, n bigint, total numeric)
AS 'MODULE_PATHNAME', 'clinicache_series' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION clinicache.series(text, text, text, text, date, date) IS
  'Counts and sums by day (grain day), month (grain month; its first day) or in one (grain all; day is null), and by status, of the local days from_day to to_day (null: no limit). Rows that count nothing are left out. Errors: 22004, 22023';

CREATE FUNCTION clinicache.verify(counter text DEFAULT NULL)
RETURNS TABLE (counter text, relation regclass, dimension text, key text, day date, class text, n bigint, total numeric)
AS 'MODULE_PATHNAME', 'clinicache_verify' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION clinicache.verify(text) IS
  'Compares counters (null: all valid ones) with their tables, in one snapshot: n and total are counter minus table. No rows: exact. Reads the whole table, and locks it against TRUNCATE. Errors: 55000 the transaction''s snapshot is too old';

CREATE FUNCTION clinicache.count_rows(relation regclass, config jsonb) RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_count_rows' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.count_rows(regclass, jsonb) IS
  'Part of track and rebuild: counts a table for the counters of its configuration, in place of what was counted before; returns the number of rows. Locks the table against changes until the transaction ends. Errors: 42501 not the table''s owner';

CREATE FUNCTION clinicache.forget_counters(relation regclass) RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_forget_counters' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.forget_counters(regclass) IS
  'Part of untrack: gives up a table''s counters. Errors: 42501 not the table''s owner';

CREATE FUNCTION clinicache._counter_tables(wanted text) RETURNS TABLE (relation regclass, config jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.tgrelid::regclass, c.config
  FROM pg_trigger AS t CROSS JOIN LATERAL (SELECT clinicache.trigger_config(t.oid) AS config) AS c
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure AND c.config IS NOT NULL
    AND EXISTS (SELECT FROM jsonb_array_elements(c.config -> 'counters') AS k WHERE wanted IS NULL OR k ->> 'counter' = wanted)
    -- inheritance children count for their parent
    AND NOT EXISTS (SELECT FROM pg_inherits AS i
                    JOIN pg_trigger AS p ON p.tgrelid = i.inhparent AND p.tgfoid = t.tgfoid
                    WHERE i.inhrelid = t.tgrelid)
  ORDER BY t.tgrelid
$$;
COMMENT ON FUNCTION clinicache._counter_tables(text) IS 'Internal: tables tracked with a counter (null: any), and their configuration';

CREATE FUNCTION clinicache.rebuild(counter text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target  record;
  counted bigint;
BEGIN
  IF rebuild.counter IS NULL THEN
    RAISE EXCEPTION 'the counter given to clinicache.rebuild is null'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'clinicache.counter_registry lists counters.';
  END IF;
  FOR target IN SELECT t.relation, t.config FROM clinicache._counter_tables(rebuild.counter) AS t LOOP
    counted := coalesce(counted, 0) + clinicache.count_rows(target.relation, target.config);
  END LOOP;
  IF counted IS NULL THEN
    RAISE EXCEPTION 'no tracked table has a counter "%"', rebuild.counter
      USING ERRCODE = 'undefined_object',
            HINT = format('Counters: %s.', (SELECT coalesce(string_agg(DISTINCT k ->> 'counter', ', '), 'none')
                                            FROM clinicache._counter_tables(NULL) AS t, jsonb_array_elements(t.config -> 'counters') AS k));
  END IF;
  RETURN counted;
END
$$;
COMMENT ON FUNCTION clinicache.rebuild(text) IS
  'Counts the tables of a counter anew, all counters of those tables with it; returns the number of rows. Locks each table against changes meanwhile. Needed after a restore, and where counter_registry says that a counter is not valid. Errors: 42704 no such counter, 42501 not the table''s owner';

-- ---------------------------------------------------------------------------------------------------------------------
-- Time zones: another zone, other days
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache.rezone(tenants text[], before text[], after text[]) RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_rezone' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.rezone(text[], text[], text[]) IS
  'Part of clinicache.tenant''s triggers: counts the tenants'' rows for the days of another zone; null: the counter''s own. Locks the counted tables against changes until the transaction ends';

CREATE FUNCTION clinicache.distrust_counters(reason text) RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_distrust_counters' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.distrust_counters(text) IS
  'Has all counters read from their tables, until clinicache.rebuild';

CREATE FUNCTION clinicache.tenant_rezone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changed record;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM clinicache.distrust_counters('clinicache.tenant was truncated');
    RETURN NULL;
  ELSIF TG_OP = 'INSERT' THEN
    SELECT array_agg(n.tenant) AS tenants, array_agg(NULL::text) AS before, array_agg(n.timezone) AS after
      INTO changed FROM new_rows AS n;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(o.tenant) AS tenants, array_agg(o.timezone) AS before, array_agg(NULL::text) AS after
      INTO changed FROM old_rows AS o;
  ELSE
    SELECT array_agg(coalesce(o.tenant, n.tenant)) AS tenants, array_agg(o.timezone) AS before, array_agg(n.timezone) AS after
      INTO changed
      FROM old_rows AS o FULL JOIN new_rows AS n ON n.tenant = o.tenant
     WHERE o.timezone IS DISTINCT FROM n.timezone;
  END IF;
  IF changed.tenants IS NOT NULL THEN
    PERFORM clinicache.rezone(changed.tenants, changed.before, changed.after);
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache.tenant_rezone() IS
  'Trigger function of clinicache.tenant: counters follow a tenant''s new time zone';

CREATE FUNCTION clinicache.set_timezone(tenant text, zone text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF set_timezone.tenant IS NULL THEN
    RAISE EXCEPTION 'the tenant given to clinicache.set_timezone is null'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'The zone of rows without a tenant is clinicache.timezone.';
  ELSIF set_timezone.zone IS NULL THEN
    DELETE FROM clinicache.tenant AS t WHERE t.tenant = set_timezone.tenant;
  ELSE
    UPDATE clinicache.tenant AS t SET timezone = set_timezone.zone WHERE t.tenant = set_timezone.tenant;
    IF NOT FOUND THEN
      INSERT INTO clinicache.tenant VALUES (set_timezone.tenant, set_timezone.zone);
    END IF;
  END IF;
  -- its lists of today, its days, its months: all may be others now
  PERFORM clinicache.emit_prefix('', set_timezone.tenant, 'time zone changed');
END
$$;
COMMENT ON FUNCTION clinicache.set_timezone(text, text) IS
  'Sets a tenant''s time zone (null: clinicache.timezone again), counts its rows for the days of that zone and has subscribers drop everything. Locks the counted tables against changes until the transaction ends. Errors: 22004 null tenant, 22023 unknown zone';

CREATE TRIGGER rezone_new AFTER INSERT ON clinicache.tenant REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
CREATE TRIGGER rezone_changed AFTER UPDATE ON clinicache.tenant REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
CREATE TRIGGER rezone_old AFTER DELETE ON clinicache.tenant REFERENCING OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
CREATE TRIGGER rezone_all AFTER TRUNCATE ON clinicache.tenant
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
COMMENT ON TRIGGER rezone_new ON clinicache.tenant IS 'Counters follow a new tenant''s zone';
COMMENT ON TRIGGER rezone_changed ON clinicache.tenant IS 'Counters follow a tenant''s new zone';
COMMENT ON TRIGGER rezone_old ON clinicache.tenant IS 'Counters follow a tenant that has lost its zone';
COMMENT ON TRIGGER rezone_all ON clinicache.tenant IS 'Counters are read from their tables until they are rebuilt';

CREATE FUNCTION clinicache.tenant_applied() RETURNS trigger
AS 'MODULE_PATHNAME', 'clinicache_tenant_applied' LANGUAGE C;
COMMENT ON FUNCTION clinicache.tenant_applied() IS
  'Trigger function of clinicache.tenant: time zones that arrive by logical replication are read anew, and counters not trusted until clinicache.rebuild';
CREATE TRIGGER tenant_applied AFTER INSERT OR UPDATE OR DELETE ON clinicache.tenant
  FOR EACH ROW EXECUTE FUNCTION clinicache.tenant_applied();
ALTER TABLE clinicache.tenant ENABLE ALWAYS TRIGGER tenant_applied;
COMMENT ON TRIGGER tenant_applied ON clinicache.tenant IS 'For time zones that arrive by logical replication, which fires no other trigger';
