-- Tables that look-ups lead through: what comes, goes, moves and changes there, and whose triggers are whose.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start
CREATE FUNCTION pending() RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT coalesce(string_agg(DISTINCT tag, ' ' ORDER BY tag), 'nothing') FROM clinicache.pending_tags() $$;
CREATE FUNCTION triggers() RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(t.tgrelid::regclass || CASE WHEN t.tgtype & 32 <> 0 THEN ' truncate' ELSE '' END, ' ' ORDER BY t.tgrelid::regclass::text COLLATE "C", t.tgtype)
   FROM pg_trigger AS t WHERE t.tgfoid = 'clinicache.parent_change()'::regprocedure AND t.tgparentid = 0 $$;

CREATE TABLE pat (id text PRIMARY KEY, clinic int, name text);
CREATE TABLE vital (id int PRIMARY KEY, pid text REFERENCES pat DEFERRABLE, note text);
CREATE TABLE loose (id int PRIMARY KEY, pid text, touched int);
INSERT INTO pat VALUES ('p1', 1), ('p2', 2);
INSERT INTO vital VALUES (1, 'p1'), (2, 'p2');
INSERT INTO loose VALUES (1, 'p1'), (2, 'p2');
SELECT clinicache.track('vital', '{"tenant": "clinic", "tags": ["vital:{id}", "vitals:{clinic}"], "lookups": {"clinic": "pid -> pat(id).clinic"}}');
SELECT clinicache.track('loose', '{"tenant": "clinic", "ignore": ["touched"], "tags": ["loose:{id}", "looses:{clinic}", "of:{pid}", "all"], "lookups": {"clinic": "pid -> pat(id).clinic"}}');
SELECT triggers();

-- rows that come and go: none refers to them where a foreign key holds
BEGIN; INSERT INTO pat VALUES ('p3', 3); SELECT pending(); DELETE FROM pat WHERE id = 'p3'; SELECT pending(); ROLLBACK;
BEGIN; UPDATE pat SET name = 'x'; SELECT pending(); ROLLBACK;
-- deleted and inserted anew, in one statement, in two with a deferred key
BEGIN; WITH d AS (DELETE FROM pat WHERE id = 'p1' RETURNING *) INSERT INTO pat SELECT id, clinic + 100, name FROM d; SELECT pending(); ROLLBACK;
BEGIN; SET CONSTRAINTS ALL DEFERRED; DELETE FROM pat WHERE id = 'p1'; INSERT INTO pat VALUES ('p1', 7); SELECT pending(); ROLLBACK;
BEGIN; SET CONSTRAINTS ALL DEFERRED; DELETE FROM pat WHERE id = 'p1'; INSERT INTO pat VALUES ('p1', 1); SELECT pending(); ROLLBACK;
-- other keys
BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE pat SET id = 'x' WHERE id = 'p1'; UPDATE pat SET id = 'p1' WHERE id = 'p2'; SELECT pending(); ROLLBACK;
-- emptied
BEGIN; TRUNCATE pat, vital; SELECT pending(); ROLLBACK;
-- a change that counts for nothing, after a move in the same transaction
BEGIN; UPDATE pat SET clinic = 5 WHERE id = 'p1'; UPDATE loose SET touched = 1; SELECT pending(); ROLLBACK;
-- the key is no more: rows may come and go by themselves from now on
ALTER TABLE vital DROP CONSTRAINT vital_pid_fkey;
SELECT triggers();
BEGIN; DELETE FROM pat WHERE id = 'p1'; SELECT pending(); ROLLBACK;
ALTER TABLE vital ADD FOREIGN KEY (pid) REFERENCES pat;
SELECT clinicache.track('vital', '{"tenant": "clinic", "tags": ["vital:{id}", "vitals:{clinic}"], "lookups": {"clinic": "pid -> pat(id).clinic"}}');
SELECT triggers();
-- inheritance children have no foreign key
CREATE TABLE vital_old () INHERITS (vital);
SELECT triggers();
DROP TABLE vital_old;
SELECT triggers();

-- whose triggers are whose
CREATE TABLE other (id int PRIMARY KEY, clinic int);
SELECT clinicache.track('other', '{"tags": ["other:{id}"]}');
DROP TABLE other;
SELECT triggers();
CREATE TABLE part (id int, pid text) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
SELECT clinicache.track('part', '{"tags": ["part:{clinic}"], "lookups": {"clinic": "pid -> pat(id).clinic"}}');
DROP TABLE part_2;
SELECT triggers();
SELECT clinicache.track('part', '{"tags": ["part:{id}"]}');
SELECT triggers();
DROP TABLE part;
CREATE TEMP TABLE brief (id int, pid text);
SELECT clinicache.track('brief', '{"tags": ["brief:{clinic}"], "lookups": {"clinic": "pid -> app.pat(id).clinic"}}');

-- a partitioned table on the way
CREATE TYPE site AS ENUM ('x', 'y');
CREATE TABLE room (id int PRIMARY KEY, site site) PARTITION BY RANGE (id);
CREATE TABLE room_1 PARTITION OF room FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE room_11 PARTITION OF room_1 FOR VALUES FROM (0) TO (50);
CREATE TABLE bed (id int PRIMARY KEY, room int);
INSERT INTO room VALUES (1, 'x');
SELECT clinicache.track('bed', '{"tags": ["beds:{site}"], "lookups": {"site": "room -> room(id).site"}}');
BEGIN; INSERT INTO bed VALUES (1, 1), (2, 60); SELECT pending(); COMMIT;
CREATE TABLE room_12 PARTITION OF room_1 FOR VALUES FROM (50) TO (100);
INSERT INTO room VALUES (60, 'y');
BEGIN; INSERT INTO bed VALUES (3, 60); SELECT pending(); COMMIT;
SELECT triggers();
BEGIN; TRUNCATE room_12; SELECT pending(); ROLLBACK;
BEGIN; DROP TABLE room_12; SELECT pending(); ROLLBACK;
BEGIN; ALTER TABLE room_1 DETACH PARTITION room_12; SELECT pending(); COMMIT;
BEGIN; ALTER TABLE room_1 ATTACH PARTITION room_12 FOR VALUES FROM (50) TO (100); SELECT pending(); COMMIT;
BEGIN; UPDATE room SET id = 70 WHERE id = 1; SELECT pending(); ROLLBACK;
BEGIN; ALTER TYPE site RENAME VALUE 'x' TO 'xx'; SELECT pending(); COMMIT;
BEGIN; INSERT INTO bed VALUES (4, 1); SELECT pending(); ROLLBACK;
DROP TABLE bed;

-- names that come from further up
CREATE TABLE top (id text PRIMARY KEY, clinic int);
CREATE TABLE lower (PRIMARY KEY (id)) INHERITS (top);
CREATE TABLE low (id int PRIMARY KEY, pid text);
SELECT clinicache.track('low', '{"tags": ["low:{clinic}"], "lookups": {"clinic": "pid -> lower(id).clinic"}}');
ALTER TABLE top RENAME clinic TO site;
INSERT INTO lower VALUES ('a', 4);
BEGIN; INSERT INTO low VALUES (1, 'a'); SELECT pending(); COMMIT;
SELECT clinicache.untrack('low');

-- no more than one's own
CREATE ROLE regress_parent_eve;
CREATE ROLE regress_parent_plain;
GRANT USAGE, CREATE ON SCHEMA app TO regress_parent_eve, regress_parent_plain;
GRANT SELECT ON pat TO regress_parent_eve;
SELECT clinicache.grant_tracker('regress_parent_eve');
SET ROLE regress_parent_eve;
CREATE TABLE mid (id int PRIMARY KEY, pid text);
CREATE TABLE child (id int PRIMARY KEY, m int);
SELECT clinicache.track('child', '{"tags": ["x:{s}"], "lookups": {"s": "m -> mid(id).pid -> pat(id).name"}}');
CREATE TRIGGER forged AFTER INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION clinicache.row_change(
  '{"v": 1, "parents": "evil", "columns": {"s": {"lookup": "m -> app.mid(id).pid -> app.pat(id).name"}}, "tags": [{"tag": "x:{s}", "profile": "default"}], "profiles": {"default": 60}, "left_out": []}');
ALTER TABLE mid RENAME TO middle;
RESET ROLE;
SELECT triggers();
SELECT (regexp_match(tgname, 'parent_(.*)_'))[1] AS token FROM pg_trigger WHERE tgrelid = 'pat'::regclass AND tgname LIKE 'clinicache_parent%' AND tgtype & 32 <> 0 LIMIT 1 \gset
SET ROLE regress_parent_eve;
SELECT format('CREATE TABLE k (id int); CREATE TRIGGER forged AFTER INSERT OR UPDATE OR DELETE ON k FOR EACH ROW EXECUTE FUNCTION clinicache.row_change(%L)',
              jsonb_build_object('v', 1, 'parents', split_part(:'token', '_', 1), 'columns', '{}'::jsonb, 'tags', '[]'::jsonb)) AS forge \gset
:forge;
DROP TABLE k;
RESET ROLE;
SELECT triggers();
DROP TABLE child, middle;
-- an owner who may not track: no write fails for that
ALTER TABLE pat OWNER TO regress_parent_plain;
BEGIN; UPDATE pat SET clinic = 8 WHERE id = 'p1'; SELECT pending(); ROLLBACK;
ALTER TABLE vital OWNER TO regress_parent_eve;
SET ROLE regress_parent_eve;
SELECT clinicache.track('vital', '{"tags": ["vitals:{clinic}"], "lookups": {"clinic": "pid -> pat(id).clinic"}}');
RESET ROLE;
SELECT clinicache.track('vital', '{"tags": ["vitals:{clinic}"], "lookups": {"clinic": "pid -> pat(id).clinic"}}');
SELECT clinicache.untrack_all();
SELECT triggers();
DROP TABLE vital, pat;
DROP OWNED BY regress_parent_eve, regress_parent_plain;
DROP ROLE regress_parent_eve, regress_parent_plain;
\i :stop
