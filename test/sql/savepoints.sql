-- Savepoints: what was rolled back tells nothing, a collapse in it included.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

CREATE TABLE v (id int, clinic int, note text);
SELECT clinicache.track('v', '{"tenant": "clinic", "tags": ["v:{id}", "v:clinic:{clinic}", "v:all"]}');
BEGIN; INSERT INTO v VALUES (1, 1); SAVEPOINT s; INSERT INTO v VALUES (2, 2); ROLLBACK TO s; INSERT INTO v VALUES (3, 1); COMMIT;
SELECT * FROM t.told();
BEGIN; SAVEPOINT s; INSERT INTO v VALUES (4, 2); RELEASE s; SAVEPOINT s; INSERT INTO v VALUES (4, 2), (5, 2); ROLLBACK TO s; COMMIT;
SELECT * FROM t.told();
-- a duplicate that is rolled back does not take the original along
BEGIN; INSERT INTO v VALUES (6, 3); SAVEPOINT s; UPDATE v SET note = 'x' WHERE id = 6; ROLLBACK TO s; COMMIT;
SELECT * FROM t.told();
-- and one first told in a savepoint is told when it comes again
BEGIN; SAVEPOINT s; INSERT INTO v VALUES (7, 3); ROLLBACK TO s; INSERT INTO v VALUES (7, 3); COMMIT;
SELECT * FROM t.told();
-- four deep
BEGIN;
INSERT INTO v VALUES (10, 1); SAVEPOINT a; INSERT INTO v VALUES (11, 1); SAVEPOINT b; INSERT INTO v VALUES (12, 1);
SAVEPOINT c; INSERT INTO v VALUES (13, 1); RELEASE c; SAVEPOINT d; INSERT INTO v VALUES (14, 1); ROLLBACK TO b; INSERT INTO v VALUES (15, 1); RELEASE a;
SELECT array_agg(tag ORDER BY tag) FROM clinicache.pending_tags();
COMMIT;
SELECT * FROM t.told();
-- exceptions in functions
DO $$ BEGIN
  INSERT INTO v VALUES (20, 1);
  FOR i IN 21..24 LOOP
    BEGIN INSERT INTO v VALUES (i, 1); IF i % 2 = 0 THEN RAISE division_by_zero; END IF; EXCEPTION WHEN division_by_zero THEN NULL; END;
  END LOOP;
END $$;
SELECT * FROM t.told();
-- by hand in a savepoint, reason included
BEGIN; SELECT clinicache.invalidate('{kept}', reason => 'kept'); SAVEPOINT s;
SELECT clinicache.invalidate('{lost}', reason => 'lost'), clinicache.invalidate_prefix('v:'); ROLLBACK TO s; COMMIT;
SELECT tag, origin FROM t.entry;
SELECT t.mark();

-- collapse
SET clinicache.bulk_threshold = 3;
BEGIN; INSERT INTO v SELECT 100 + i, 1 FROM generate_series(1, 3) i; COMMIT;
SELECT * FROM t.told();
BEGIN; INSERT INTO v SELECT 100 + i, 1 FROM generate_series(1, 4) i; COMMIT;
SELECT * FROM t.told();
-- inside a savepoint that is rolled back: the parent's tags stay
BEGIN; INSERT INTO v VALUES (110, 1), (111, 1); SAVEPOINT s; INSERT INTO v SELECT 120 + i, 1 FROM generate_series(1, 5) i; ROLLBACK TO s; COMMIT;
SELECT * FROM t.told();
-- inside a savepoint that is released: the prefix stands for the parent's too
BEGIN; INSERT INTO v VALUES (110, 1), (111, 1); SAVEPOINT s; INSERT INTO v SELECT 120 + i, 1 FROM generate_series(1, 5) i; RELEASE s; COMMIT;
SELECT * FROM t.told();
-- rolled back, then gone on with: exact again
BEGIN; INSERT INTO v VALUES (110, 1); SAVEPOINT s; INSERT INTO v SELECT 120 + i, 1 FROM generate_series(1, 5) i; ROLLBACK TO s;
INSERT INTO v VALUES (130, 1); COMMIT;
SELECT * FROM t.told();
-- only the sum is too much: collapsed where it is reached, exact again where it is undone
BEGIN; INSERT INTO v VALUES (140, 1), (141, 2); SAVEPOINT s; INSERT INTO v VALUES (142, 1), (143, 3); ROLLBACK TO s; COMMIT;
SELECT * FROM t.told();
BEGIN; INSERT INTO v VALUES (140, 1), (141, 2); SAVEPOINT s; INSERT INTO v VALUES (142, 1), (143, 3); RELEASE s; COMMIT;
SELECT * FROM t.told();
-- collapsed in the parent; a child's rows of other tenants, kept or undone
BEGIN; INSERT INTO v SELECT 150 + i, 1 FROM generate_series(1, 5) i; SAVEPOINT s; INSERT INTO v VALUES (160, 2); ROLLBACK TO s;
SAVEPOINT s; INSERT INTO v VALUES (161, 3); RELEASE s; INSERT INTO v VALUES (162, 4); COMMIT;
SELECT * FROM t.told();
-- the same under a child that had collapsed on its own
BEGIN; INSERT INTO v VALUES (170, 1); SAVEPOINT s; SAVEPOINT u; INSERT INTO v SELECT 170 + i, 2 FROM generate_series(1, 5) i; RELEASE u; ROLLBACK TO s;
INSERT INTO v VALUES (180, 2); COMMIT;
SELECT * FROM t.told();
-- many tags in one statement after a rollback of the same ones (what was remembered must be forgotten)
BEGIN; SAVEPOINT s; INSERT INTO v SELECT 1, 1 FROM generate_series(1, 10); ROLLBACK TO s; INSERT INTO v SELECT 1, 1 FROM generate_series(1, 10); COMMIT;
SELECT * FROM t.told();
RESET clinicache.bulk_threshold;
BEGIN; INSERT INTO v SELECT i, 1 FROM generate_series(1, 10) i; SAVEPOINT s;
INSERT INTO v SELECT i, 1 FROM generate_series(11, 20) i; INSERT INTO v SELECT i, 1 FROM generate_series(11, 20) i; ROLLBACK TO s;
INSERT INTO v SELECT i, 1 FROM generate_series(11, 12) i; INSERT INTO v SELECT i, 1 FROM generate_series(11, 15) i; COMMIT;
SELECT count(*) FROM (SELECT unnest(t.tags())) x;
\i :stop
