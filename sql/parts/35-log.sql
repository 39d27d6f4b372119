-- clinicache: the invalidation log seen from SQL.  Positions, catch-up and the two halves of upkeep.
-- None is parallel safe: they take latest snapshots, which parallel mode forbids.

CREATE FUNCTION clinicache.position() RETURNS text
AS 'MODULE_PATHNAME', 'clinicache_position' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.position() IS
  'Position of the calling statement''s snapshot, for changes() and reached(); opaque text';

CREATE FUNCTION clinicache.changes(since text, tenants text[] DEFAULT NULL, max_tags int DEFAULT 10000) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_changes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.changes(text, text[], int) IS
  'One message with all that committed after a position; null, too old or of another history: reset. Shows the tenants granted to the caller';

CREATE FUNCTION clinicache.reached("position" text) RETURNS boolean
AS 'MODULE_PATHNAME', 'clinicache_reached' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.reached(text) IS
  'Does this server, a standby too, show all that the position saw?';

CREATE FUNCTION clinicache.maintain_deliver() RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_maintain_deliver' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_deliver() IS
  'Part of maintain(): delivers what commits left undelivered, sends the heartbeat, records the position';

CREATE FUNCTION clinicache.maintain_empty() RETURNS int
AS 'MODULE_PATHNAME', 'clinicache_maintain_empty' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_empty() IS
  'Part of maintain(): empties slots of the log that are past retention or beyond log_max_size; returns how many';

CREATE FUNCTION clinicache.maintain_fold() RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_maintain_fold' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_fold() IS
  'Part of maintain(): folds the counter deltas of committed transactions into clinicache.counter_cell; returns how many change records it read, -1 when another session is folding';

CREATE FUNCTION clinicache.maintain_counters() RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_maintain_counters' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_counters() IS
  'Part of maintain(): removes the cells of counters that are no more, and the counters of dropped tables';

-- Profiles are cached in every backend; the function only announces that its table was changed.
CREATE TRIGGER profile_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON clinicache.profile
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_changed();
COMMENT ON TRIGGER profile_changed ON clinicache.profile IS 'Makes every session read the profiles again';

-- Rows of these are deleted by upkeep.  Shipped by a FOR ALL TABLES publication, those deletions would hit rows of
-- the subscriber's own with the same number.
ALTER TABLE clinicache.position_history REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.log_floor REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_source REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_invalid REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_fold REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_batch REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_cell REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.edge_history REPLICA IDENTITY NOTHING;
