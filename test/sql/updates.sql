-- What counts as a change: watched columns, ignored ones, soft delete, nulls, profiles, columns that come and go.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

CREATE TABLE a (id int PRIMARY KEY, clinic int, doctor int, status text, note text, "updatedAt" timestamptz, gone boolean, gone_at timestamptz,
                total int GENERATED ALWAYS AS (doctor * 10) STORED);
SELECT clinicache.track('a', '{"tenant": "clinic", "ignore": ["updatedAt"], "tags": ["a:{id}",
  {"tag": "a:doctor:{doctor}", "columns": ["status"]}, {"tag": "a:seen", "columns": ["updatedAt"]}, "a:total:{total}", "a:note:{note}"]}');
INSERT INTO a (id, clinic, doctor, status) VALUES (1, 7, 3, 'new');
SELECT * FROM t.told();
-- nothing changes
UPDATE a SET status = 'new', doctor = 3, note = NULL;
SELECT t.tags() = '{}' AS same_values;
UPDATE a SET status = status;
SELECT t.tags() = '{}' AS same_values;
-- an ignored column: not a change, but a template that names it in "columns" may still wait for a real one
UPDATE a SET "updatedAt" = '2031-01-01';
SELECT t.tags() = '{}' AS ignored;
UPDATE a SET "updatedAt" = '2031-01-02', status = 'seen';
SELECT t.tags();
-- "columns": fires by them, by its own placeholders, and by the tenant
UPDATE a SET note = 'x';
SELECT t.tags();
UPDATE a SET status = 'left';
SELECT t.tags();
UPDATE a SET doctor = 4;
SELECT t.tags();
UPDATE a SET clinic = 8;
SELECT * FROM t.told();
-- insert and delete fire all
DELETE FROM a;
SELECT t.tags();
-- nulls
INSERT INTO a (id) VALUES (2);
SELECT * FROM t.told();
UPDATE a SET clinic = 7, note = '';
SELECT * FROM t.told();
UPDATE a SET clinic = NULL;
SELECT * FROM t.told();

-- an ignored column that makes a tag counts all the same
SELECT clinicache.track('a', '{"ignore": ["note", "status"], "tags": ["a:{id}", "a:note:{note}"]}');
UPDATE a SET note = 'y';
SELECT t.tags();
UPDATE a SET status = 'z';
SELECT t.tags() = '{}' AS ignored;

-- soft delete in three styles; each is watched although ignored, and though "columns" name others
SELECT clinicache.track('a', '{"deleted": "gone", "ignore": ["gone"], "tags": [{"tag": "a:{id}", "columns": ["doctor"]}]}');
UPDATE a SET gone = false; UPDATE a SET status = 'q';
SELECT t.tags() AS false_is_not_null;
UPDATE a SET gone = true;
SELECT t.tags();
SELECT clinicache.track('a', '{"deleted": "gone_at", "ignore": ["gone_at"], "tags": [{"tag": "a:{id}", "columns": ["doctor"]}]}');
UPDATE a SET gone_at = '2031-01-01';
SELECT t.tags();
SELECT clinicache.track('a', '{"deleted": {"column": "status", "values": ["ARCHIVED"]}, "ignore": ["status"], "tags": [{"tag": "a:{id}", "columns": ["doctor"]}]}');
UPDATE a SET status = 'ARCHIVED';
SELECT t.tags();
UPDATE a SET note = 'n';
SELECT t.tags() = '{}' AS not_watched;
SELECT clinicache.trigger_config(oid) -> 'deleted' FROM pg_trigger WHERE tgrelid = 'a'::regclass AND tgname = 'clinicache';

-- one tag from two templates: the shorter profile wins, in one table and over two
CREATE TABLE b (id int);
SELECT clinicache.track('a', '{"tags": [["x:{id}", "hours"], {"tag": "x:{doctor}", "profile": "seconds"}, ["shared", "days"], "y:{id}"]}'),
       clinicache.track('b', '{"tags": [["shared", "minutes"], ["y:{id}", "realtime"]]}');
TRUNCATE a;
SELECT t.mark();
INSERT INTO a (id, doctor) VALUES (5, 5), (6, 7);
SELECT * FROM t.told();
BEGIN; INSERT INTO a (id) VALUES (8); INSERT INTO b VALUES (8); SELECT tag, profile FROM clinicache.pending_tags() ORDER BY 1; COMMIT;
SELECT * FROM t.told();
-- but not over two tenants, each of whom has a record
SELECT clinicache.track('b', '{"tenant": "id", "tags": [["shared", "minutes"]]}');
BEGIN; INSERT INTO a (id) VALUES (9); INSERT INTO b VALUES (9); COMMIT;
SELECT * FROM t.told();

-- first not null of several columns
SELECT clinicache.track('a', '{"columns": {"who": ["doctor", "clinic"]}, "tags": ["who:{who}"]}');
TRUNCATE a; SELECT t.mark();
INSERT INTO a (id, doctor, clinic) VALUES (1, 1, 2), (2, NULL, 3), (3, NULL, NULL);
SELECT t.tags();
UPDATE a SET doctor = 4 WHERE id = 2;
SELECT t.tags();

-- dropped columns leave gaps; added ones are filled from defaults
CREATE TABLE gaps (junk int, id int, more_junk text, clinic int);
ALTER TABLE gaps DROP COLUMN junk;
INSERT INTO gaps VALUES (1, 'j', 7);
SELECT clinicache.track('gaps', '{"tenant": "clinic", "tags": ["g:{id}"]}');
ALTER TABLE gaps DROP COLUMN more_junk;
ALTER TABLE gaps ADD COLUMN late text DEFAULT 'late';
UPDATE gaps SET id = 2;
SELECT * FROM t.told();
SELECT clinicache.track('gaps', '{"tenant": "clinic", "tags": ["g:{id}", "g:late:{late}"]}');
UPDATE gaps SET late = 'later';
SELECT * FROM t.told();
DELETE FROM gaps;
SELECT * FROM t.told();
-- the very session that tracks again, and alters, in one transaction
BEGIN;
INSERT INTO gaps VALUES (1);
SELECT clinicache.track('gaps', '{"tags": ["again:{id}"]}');
INSERT INTO gaps VALUES (2);
ALTER TABLE gaps ALTER COLUMN id TYPE bigint;
INSERT INTO gaps VALUES (10000000000);
COMMIT;
SELECT t.tags();
-- a renamed table keeps its tracking
ALTER TABLE gaps RENAME TO holes;
INSERT INTO holes VALUES (3);
SELECT t.tags();
\i :stop
