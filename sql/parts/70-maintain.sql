-- clinicache: upkeep.  Each step commits, so that none holds another's locks.

-- What is older than clinicache.retention is trimmed by maintain_empty(), in C.
CREATE FUNCTION clinicache.maintain_history() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  history regclass := 'clinicache.position_history';
BEGIN
  -- without replica identity, a published DELETE is an error; the table stays bounded by retention
  IF EXISTS (SELECT FROM pg_publication AS p
             WHERE p.pubdelete
               AND (p.puballtables
                    OR EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = history)
                    OR EXISTS (SELECT FROM pg_publication_namespace AS n
                               WHERE n.pnpubid = p.oid AND n.pnnspid = 'clinicache'::regnamespace))) THEN
    RETURN;
  END IF;
  BEGIN
    LOCK TABLE clinicache.position_history IN SHARE ROW EXCLUSIVE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN;                     -- another session is at upkeep
  END;
  DELETE FROM clinicache.position_history AS h
   WHERE h.at < now() - interval '2 minutes'
     AND h.id NOT IN (SELECT coalesce(max(n.id), 0) FROM clinicache.position_history AS n
                      UNION ALL
                      SELECT coalesce(max(n.id), 0) FROM clinicache.position_history AS n WHERE n.delivered)
     AND h.id NOT IN (SELECT DISTINCT ON (date_trunc('minute', n.at, 'UTC')) n.id
                      FROM clinicache.position_history AS n
                      WHERE n.at < now() - interval '2 minutes'
                      ORDER BY date_trunc('minute', n.at, 'UTC'), n.delivered DESC, n.id DESC);
END
$$;
COMMENT ON FUNCTION clinicache.maintain_history() IS
  'Part of maintain(): thins clinicache.position_history to one row a minute (delivered ones first) past two minutes; the newest row and the newest delivered row stay';

-- Clock edges: tags that change meaning though no row changes, src/edge.c.
CREATE FUNCTION clinicache.clock() RETURNS timestamptz
AS 'MODULE_PATHNAME', 'clinicache_clock' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION clinicache.clock() IS
  'What time it is for windows and clock edges: now, as long as no test has moved the clock';

CREATE FUNCTION clinicache.emit_edges(from_time timestamptz, to_time timestamptz) RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_emit_edges' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.emit_edges(timestamptz, timestamptz) IS
  'Adds to this transaction''s tags those that changed meaning after one time, up to another, though no row changed: windows that a row entered or left, and what a new day changes. Returns how many. maintain_edges() calls it for time that has passed. Error 22023 if the times are infinite or in the wrong order';

CREATE FUNCTION clinicache.maintain_edges() RETURNS boolean
AS 'MODULE_PATHNAME', 'clinicache_maintain_edges' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_edges() IS
  'Part of maintain(): emits the clock edges since the last time, and those of transactions that ended late; false: another session is at it';

-- What a writer looked up before a row moved, and what it commits after: src/parent_move.c.
CREATE FUNCTION clinicache.maintain_moves() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  move   record;
  entry  record;
  emitted bigint := 0;
BEGIN
  IF NOT EXISTS (SELECT FROM clinicache.parent_move) THEN
    RETURN 0;
  END IF;
  BEGIN
    LOCK TABLE clinicache.parent_move IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN 0;                   -- another session is at upkeep
  END;
  -- snapshots that do not show it: nobody's any more?  Then its children's writers are those that run now
  WITH behind AS MATERIALIZED (
    SELECT max(age(a.backend_xmin)) AS age FROM pg_stat_activity AS a
    WHERE a.datid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()) AND a.pid <> pg_backend_pid()
      AND a.backend_type <> 'autovacuum worker'),
  seen AS (
    DELETE FROM clinicache.parent_move AS m USING behind AS b
    WHERE m.horizon IS NULL AND coalesce(b.age < age(m.xid::xid), true)
    RETURNING m.xid)
  INSERT INTO clinicache.parent_move (xid, horizon) SELECT DISTINCT s.xid, pg_current_xact_id() FROM seen AS s;
  FOR move IN DELETE FROM clinicache.parent_move AS m
              WHERE m.horizon < pg_snapshot_xmin(pg_current_snapshot()) RETURNING m.xid LOOP
    FOR entry IN SELECT l.tenant, l.tags, l.prefixes FROM clinicache.invalidation_log AS l WHERE l.xid = move.xid LOOP
      PERFORM clinicache.invalidate(entry.tags, entry.tenant) WHERE cardinality(entry.tags) > 0;
      PERFORM clinicache.emit_prefix(p, entry.tenant, NULL) FROM unnest(entry.prefixes) AS p;
    END LOOP;
    IF NOT FOUND THEN
      PERFORM clinicache.emit_prefix('', NULL, NULL);       -- the log is emptied that far
    END IF;
    emitted := emitted + 1;
  END LOOP;
  RETURN emitted;
END
$$;
COMMENT ON FUNCTION clinicache.maintain_moves() IS
  'Part of maintain(): of transactions that made look-ups lead elsewhere, emits the tags once more as soon as nobody can have looked up what was before; returns of how many';

CREATE PROCEDURE clinicache.maintain()
LANGUAGE plpgsql
AS $$
BEGIN
  -- The first COMMIT refuses a caller's transaction block (2D000): upkeep would hold its locks until that ends.
  -- READ COMMITTED whatever the session's default, since each step must see what the others committed.
  COMMIT;
  IF pg_catalog.pg_is_in_recovery() THEN
    PERFORM clinicache.maintain_deliver();      -- says so, better than SET would
  END IF;
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_edges();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_moves();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_deliver();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_fold();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_counters();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_empty();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_history();
  COMMIT;
END
$$;
COMMENT ON PROCEDURE clinicache.maintain() IS
  'All upkeep, to be called about every 30 seconds where no worker runs: emits clock edges, delivers what is undelivered, sends the heartbeat, folds counters, empties old slots of the log, trims positions. May run in several sessions at once; not inside a transaction block (2D000)';

-- Also called by the install script.
CREATE FUNCTION clinicache.new_epoch() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  DELETE FROM clinicache.identity;
  -- digits 13 and 17 of a version 4 UUID are not random
  INSERT INTO clinicache.identity (epoch, secret)
  SELECT substr(e.digits, 1, 8) || substr(e.digits, 25, 8),
         substr(s.digits, 1, 12) || substr(s.digits, 25, 8) || substr(t.digits, 1, 12)
  FROM replace(gen_random_uuid()::text, '-', '') AS e(digits),
       replace(gen_random_uuid()::text, '-', '') AS s(digits),
       replace(gen_random_uuid()::text, '-', '') AS t(digits);
END;
COMMENT ON FUNCTION clinicache.new_epoch() IS
  'Starts another history: every position given out so far is answered by reset from now on. Needed only after a data directory was restored or copied file by file without a new timeline';
