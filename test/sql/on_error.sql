-- A configuration that can not be used: the write passes and everybody drops everything, or it fails.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

SHOW clinicache.on_error;
CREATE TABLE v (id int PRIMARY KEY, clinic int, note text);
SELECT clinicache.track('v', '{"tenant": "clinic", "tags": ["v:{id}", "v:note:{note}"]}');
INSERT INTO v VALUES (1, 7, 'a');
SELECT t.tags();
-- behind the back of our event triggers
SET session_replication_role = replica; ALTER TABLE v RENAME COLUMN note TO remark; RESET session_replication_role;
INSERT INTO v VALUES (2, 7, 'b'), (3, 7, 'c');
SELECT * FROM t.told();
UPDATE v SET remark = 'x';
DELETE FROM v WHERE id = 3;
TRUNCATE v;
SELECT * FROM t.told();
-- in full
\set VERBOSITY default
INSERT INTO v VALUES (2, 7, 'b');
\set VERBOSITY terse
SELECT t.mark();
-- in a savepoint that is rolled back nothing is told; in a function with a handler the write passes
BEGIN; SAVEPOINT s; INSERT INTO v VALUES (4); ROLLBACK TO s; COMMIT;
SELECT t.tags() = '{}' AS nothing;
BEGIN; SAVEPOINT s; INSERT INTO v VALUES (4); RELEASE s; SELECT clinicache.invalidate('{other}', '7'); COMMIT;
SELECT * FROM t.told();
SELECT clinicache.preview('v', NULL, '{"id": 1}');
-- the table is healed by tracking it again, or by renaming back
SET session_replication_role = replica; ALTER TABLE v RENAME COLUMN remark TO note; RESET session_replication_role;
INSERT INTO v VALUES (5, 7, 'b');
SELECT t.tags();
-- dropped column
SET session_replication_role = replica; ALTER TABLE v DROP COLUMN note; RESET session_replication_role;
INSERT INTO v VALUES (6, 7);
SELECT t.tags();
-- failing instead
SET clinicache.on_error = error;
\set VERBOSITY default
INSERT INTO v VALUES (7, 7);
\set VERBOSITY terse
TRUNCATE v;
SELECT code, hint FROM t.error('INSERT INTO v VALUES (7, 7)');
SELECT t.tags() = '{}' AS nothing;
SELECT clinicache.track('v', '{"tenant": "clinic", "tags": ["v:{id}"]}');
INSERT INTO v VALUES (7, 7);
SELECT t.tags();
RESET clinicache.on_error;
-- configurations broken by hand
CREATE TABLE broken (config text);
CREATE TABLE w (id int, day date);
CREATE FUNCTION t.break(config text) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE OR REPLACE TRIGGER clinicache AFTER INSERT ON w FOR EACH ROW EXECUTE FUNCTION clinicache.row_change(%L)', config);
  RETURN NULL;
END $$;
SELECT t.break('not json'); INSERT INTO w VALUES (1);
SELECT t.break('[]'); INSERT INTO w VALUES (1);
SELECT t.break('{}'); INSERT INTO w VALUES (1);
SELECT t.break('{"tags": [{"tag": "x:{id"}]}'); INSERT INTO w VALUES (1);
SELECT t.break('{"tags": [{"tag": "x:{nope}"}]}'); INSERT INTO w VALUES (1);
SELECT t.break('{"tags": [{"tag": "x:{id|date}"}]}'); INSERT INTO w VALUES (1);
SELECT t.break('{"tags": [{"tag": "x:{id}", "profile": "unheard"}]}'); INSERT INTO w VALUES (1);
SELECT t.break('{"tags": [{"tag": "x:{id}", "window": "today"}]}'); INSERT INTO w VALUES (1);
SELECT t.break('{"tags": ["x:{id}"]}'); INSERT INTO w VALUES (1);
SELECT t.break('{"tags": [{"tag": "x:{id}"}], "columns": {"id": {"dragon": 1}}}'); INSERT INTO w VALUES (1);
CREATE OR REPLACE TRIGGER clinicache AFTER INSERT ON w FOR EACH ROW EXECUTE FUNCTION clinicache.row_change();
INSERT INTO w VALUES (1);
SELECT count(*) FILTER (WHERE tag = '*' AND tenant IS NULL) = count(*) AS everything, count(*) FROM t.entry;
SELECT clinicache.changes(current_setting('t.position')) - 'pos' AS everything;
SELECT count(*) FROM w;
-- what is good and unknown is no harm
SELECT t.break('{"tags": [{"tag": "x:{id}"}], "from_the_future": true}');
SELECT t.mark();
INSERT INTO w VALUES (1);
SELECT t.tags();
-- only superusers choose
CREATE ROLE regress_cc_plain;
SET ROLE regress_cc_plain;
SET clinicache.on_error = error;
RESET ROLE;
DROP ROLE regress_cc_plain;
\i :stop
