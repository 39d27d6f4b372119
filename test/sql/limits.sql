-- No limit drops a tag or fails a commit.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

CREATE TABLE v (id int, clinic int, day date, txt text);
SELECT clinicache.track('v', '{"tenant": "clinic", "tags": ["v:{id}", "v:all", "v:list:*", "v:day:{day|date}", "{txt}"]}');
-- is each tag that a model gives covered by the log, by itself or by a prefix, for its tenant or for everybody?
CREATE FUNCTION t.missing(expected text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM (
      SELECT m.tenant, m.tag FROM (%s) AS m(tenant, tag)
      EXCEPT (SELECT e.tenant, e.tag FROM t.entry e WHERE NOT is_prefix)) AS m
    WHERE NOT EXISTS (SELECT FROM (SELECT tenant, left(tag, -1) AS prefix FROM t.entry WHERE is_prefix) e
                      WHERE (e.tenant = m.tenant OR e.tenant IS NULL) AND starts_with(m.tag, e.prefix))
      AND NOT EXISTS (SELECT FROM t.entry e WHERE e.tenant IS NULL AND e.tag = m.tag)', expected) INTO n;
  RETURN n;
END $$;
CREATE FUNCTION t.records() RETURNS TABLE (records bigint, transactions bigint, tags bigint, prefixes text[]) LANGUAGE sql AS $$
  SELECT count(*), count(DISTINCT xid), sum(cardinality(tags)),
         (SELECT array_agg(DISTINCT e.tag ORDER BY e.tag) FROM t.entry e WHERE is_prefix)
  FROM clinicache.invalidation_log WHERE NOT pg_visible_in_snapshot(xid, current_setting('t.snapshot')::pg_snapshot) $$;

-- bulk_threshold: any session may set it
SHOW clinicache.bulk_threshold;
INSERT INTO v (id, clinic) SELECT i, 1 FROM generate_series(1, 1000) i;
SELECT * FROM t.records();
SELECT t.missing('SELECT clinic::text, ''v:'' || id FROM v');
SELECT t.mark();
INSERT INTO v (id, clinic) SELECT i, 1 FROM generate_series(1, 1001) i;
SELECT * FROM t.records();
SELECT t.mark();
-- the threshold is the transaction's, not the statement's
BEGIN; INSERT INTO v (id, clinic) SELECT i, 1 FROM generate_series(1, 600) i; INSERT INTO v (id, clinic) SELECT i, 1 FROM generate_series(601, 1200) i; COMMIT;
SELECT * FROM t.records();
SELECT t.mark();
-- a template without literal start collapses to everything
INSERT INTO v (txt) SELECT 'word ' || i FROM generate_series(1, 1001) i;
SELECT * FROM t.records();
SELECT clinicache.changes(current_setting('t.position')) -> 'prefixes' AS everything;
SELECT t.mark();
-- rows that make no tag of the template give no prefix of it, collapsed or not
SET clinicache.bulk_threshold = 1;
BEGIN; INSERT INTO v (id, clinic) VALUES (1, 1), (2, 1), (3, 1); INSERT INTO v (day, clinic) VALUES ('2031-01-01', 2); COMMIT;
SELECT * FROM t.told();
RESET clinicache.bulk_threshold;

-- tags by hand never collapse, but are written in several records when they are many
SELECT clinicache.invalidate(array_agg('by:hand:' || i), '7', 'many') FROM generate_series(1, 60000) i;
SELECT records > 1 AS spilled, transactions, tags = 60000 AS complete, prefixes FROM t.records();
SELECT t.missing('SELECT ''7'', ''by:hand:'' || i FROM generate_series(1, 60000) i');
SELECT bool_and(origin = 'many') AS origin FROM t.entry;
SELECT clinicache.changes(current_setting('t.position')) - 'pos' AS collapsed_to_prefixes;
SELECT jsonb_array_length(clinicache.changes(current_setting('t.position'), max_tags => 100000) -> 'tags' -> 'default') AS or_complete;
SELECT t.mark();
-- what was written early in a savepoint goes with it
BEGIN; SELECT clinicache.invalidate('{kept}'); SAVEPOINT s;
SELECT clinicache.invalidate(array_agg('by:hand:' || i), '7') FROM generate_series(1, 60000) i; ROLLBACK TO s; COMMIT;
SELECT * FROM t.told();
BEGIN; SELECT clinicache.invalidate('{kept}'); SAVEPOINT s;
SELECT clinicache.invalidate(array_agg('by:hand:' || i), '7') FROM generate_series(1, 60000) i; RELEASE s; SELECT clinicache.invalidate('{kept,too}'); COMMIT;
SELECT count(DISTINCT tag) FROM t.entry;
SELECT t.mark();
BEGIN; SELECT clinicache.invalidate(array_agg('by:hand:' || i), '7') FROM generate_series(1, 60000) i; ROLLBACK;
SELECT t.tags() = '{}' AS rolled_back;

-- very many tenants: up to 1,000 a record each, beyond one for everybody
TRUNCATE v; SELECT t.mark();
INSERT INTO v (id, clinic) SELECT 1, i FROM generate_series(1, 1000) i;
SELECT * FROM t.records();
SELECT t.missing('SELECT clinic::text, ''v:'' || id FROM v');
SELECT t.mark();
TRUNCATE v; SELECT t.mark();
INSERT INTO v (id, clinic) SELECT i % 50, i FROM generate_series(1, 100000) i;
SELECT records, transactions, prefixes FROM t.records();
SELECT tenant, tag FROM t.entry ORDER BY tag COLLATE "C";
SELECT t.missing('SELECT clinic::text, ''v:'' || id FROM v WHERE clinic % 100 = 0');
SELECT t.mark();
UPDATE v SET clinic = -clinic WHERE clinic <= 20000;
SELECT records FROM t.records();
SELECT t.mark();
-- rolled back in a savepoint: the others are exact again
BEGIN; INSERT INTO v (id, clinic) VALUES (1, 1); SAVEPOINT s; INSERT INTO v (id, clinic) SELECT 2, i FROM generate_series(1, 2000) i; ROLLBACK TO s;
INSERT INTO v (id, clinic) VALUES (3, 2); COMMIT;
SELECT * FROM t.told();
BEGIN; INSERT INTO v (id, clinic) VALUES (1, 1); SAVEPOINT s; INSERT INTO v (id, clinic) SELECT 2, i FROM generate_series(1, 2000) i; RELEASE s;
INSERT INTO v (id, clinic) VALUES (3, 2); COMMIT;
SELECT * FROM t.told();

-- one large transaction over all this
BEGIN;
INSERT INTO v (id, clinic) SELECT i, i % 7 FROM generate_series(1, 20000) i;
UPDATE v SET id = id + 1; DELETE FROM v WHERE id % 2 = 0;
SELECT clinicache.invalidate(array_agg('by:hand:' || i), (i % 3)::text) FROM generate_series(1, 30000) i GROUP BY i % 3;
COMMIT;
SELECT t.missing('SELECT (i % 3)::text, ''by:hand:'' || i FROM generate_series(1, 30000) i') + t.missing('SELECT clinic::text, ''v:'' || id FROM v') AS missing;
SELECT t.mark();

-- tags of any content; the longest
TRUNCATE v; SELECT t.mark();
INSERT INTO v (txt) VALUES (E'tab\t"quote"\\back\nline'), ('ünï 😀'), (''), (E'\x01');
SELECT array_agg(tag ORDER BY tag COLLATE "C") FROM t.entry WHERE tag NOT LIKE 'v:%';
SELECT jsonb_path_query_array(clinicache.changes(current_setting('t.position')), '$.tags.default[*] ? (!(@ starts with "v:"))') AS in_changes;
SELECT t.mark();
INSERT INTO v (txt) SELECT repeat(chr(65 + i), 200000) FROM generate_series(1, 5) i;
SELECT count(*), max(length(tag)) FROM t.entry WHERE tag NOT LIKE 'v:%';
SELECT t.mark();
SELECT clinicache.invalidate(ARRAY[repeat('x', 5000000)]);
SELECT length(t.tags()::text);
-- 8,000 bytes of tags do not fit one notification: no matter
SELECT clinicache.invalidate(array_agg(repeat(md5(i::text), 8))) FROM generate_series(1, 200) i;
SELECT cardinality(t.tags());

-- nothing to do: a read-only transaction, a change without tags, no xid for that
BEGIN READ ONLY; SELECT count(*) FROM v WHERE id = 1; COMMIT;
CREATE TABLE only_nulls (id int, x int);
SELECT clinicache.track('only_nulls', '{"tags": ["n:{x}"]}');
INSERT INTO only_nulls VALUES (1);
SELECT t.tags() = '{}' AS nothing;
BEGIN; SELECT count(*) FROM clinicache.pending_tags(); SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid; COMMIT;
-- a temporary and an unlogged table
CREATE TEMPORARY TABLE scratch (id int);
CREATE UNLOGGED TABLE quick (id int);
SELECT clinicache.track('scratch', '{"tags": ["s:{id}"]}'), clinicache.track('quick', '{"tags": ["q:{id}"]}');
INSERT INTO scratch VALUES (1); INSERT INTO quick VALUES (1);
SELECT t.tags();
-- many templates on a table
CREATE TABLE wide (id int);
SELECT clinicache.track('wide', jsonb_build_object('tags', (SELECT jsonb_agg('w' || i || ':{id}') FROM generate_series(1, 500) i)));
INSERT INTO wide VALUES (1);
SELECT cardinality(t.tags());
\i :stop
