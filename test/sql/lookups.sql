-- Look-ups: values that a row itself lacks, along foreign keys.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start
CREATE FUNCTION pending() RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT string_agg(DISTINCT tag, ' ' ORDER BY tag) FROM clinicache.pending_tags() $$;

CREATE TABLE patients (id text PRIMARY KEY, clinic_id int, name text);
CREATE TABLE records (id serial PRIMARY KEY, patient_id text REFERENCES patients ON UPDATE CASCADE ON DELETE CASCADE, note text);
CREATE TABLE "Vital" (id int PRIMARY KEY, "recordId" int REFERENCES records ON DELETE CASCADE, day date, "updatedAt" int);
INSERT INTO patients VALUES ('p1', 1), ('p2', 2), ('nobody', NULL);
INSERT INTO records VALUES (10, 'p1'), (20, 'p2'), (30, 'nobody'), (40, NULL);
SELECT clinicache.track('"Vital"', '{"tenant": "clinic", "ignore": ["updatedAt"], "tags":
  ["vital:{id}", "vitals:clinic:{clinic}", "patient:{patient}:vitals", {"tag": "day:{clinic}:{day|date}", "columns": ["day"]}, "all"],
  "lookups": {"clinic": "recordId -> records(id).patient_id -> patients(id).clinic_id", "patient": "recordId -> records(id).patient_id"}}');
SELECT tgrelid::regclass, tgname LIKE 'clinicache_parent_%' AS named, convert_from(tgargs, 'UTF8') LIKE '%"compare": "used"%' AS configured
FROM pg_trigger WHERE tgfoid = 'clinicache.parent_change()'::regprocedure ORDER BY tgrelid::regclass::text COLLATE "C";
SELECT tenant, columns FROM clinicache.tracked_tables;
SELECT * FROM clinicache.preview('"Vital"', NULL, '{"id": 1, "recordId": 20, "day": "2026-11-28"}');

-- insert, update, a row that moves, soft values
BEGIN;
INSERT INTO "Vital" VALUES (1, 10, '2026-11-28');
SELECT pending();
COMMIT;
BEGIN;
UPDATE "Vital" SET "updatedAt" = 1;
SELECT pending() AS nothing;
UPDATE "Vital" SET day = '2026-11-29';
SELECT pending();
COMMIT;
BEGIN;
UPDATE "Vital" SET "recordId" = 20;
SELECT pending();
COMMIT;
SELECT tenant, tags FROM clinicache.invalidation_log ORDER BY xid DESC, tenant LIMIT 2;
-- a clinic that is null belongs to everybody; no record, no tags of it
BEGIN;
INSERT INTO "Vital" VALUES (3, 30), (4, 40), (5, NULL);
SELECT pending();
COMMIT;
SELECT tenant FROM clinicache.invalidation_log ORDER BY xid DESC LIMIT 1;

-- parents: only what leads elsewhere counts
BEGIN;
UPDATE patients SET name = 'x';
UPDATE records SET note = 'x';
SELECT pending() AS nothing;
UPDATE patients SET clinic_id = 7 WHERE id = 'p2';
SELECT pending();
COMMIT;
SELECT tenant, tags, prefixes FROM clinicache.invalidation_log ORDER BY xid DESC, tenant LIMIT 2;
BEGIN;
UPDATE records SET patient_id = 'p1' WHERE id = 20;
SELECT pending();
ROLLBACK;
-- a patient moves and its vital changes, in one transaction: both clinics
BEGIN;
UPDATE patients SET clinic_id = 8 WHERE id = 'p2';
SAVEPOINT s;
UPDATE "Vital" SET day = '2026-12-01' WHERE id = 1;
SELECT pending();
ROLLBACK TO s;
DELETE FROM "Vital" WHERE id = 1;
SELECT pending();
ROLLBACK;
-- what was moved in a savepoint and came back is forgotten
BEGIN;
SAVEPOINT s;
UPDATE patients SET clinic_id = 9 WHERE id = 'p2';
ROLLBACK TO s;
INSERT INTO "Vital" VALUES (6, 20);
SELECT pending();
ROLLBACK;
-- cascades: the parent is gone when the child's trigger looks
BEGIN;
DELETE FROM patients WHERE id = 'p2';
SELECT pending();
ROLLBACK;
BEGIN;
UPDATE patients SET id = 'P2' WHERE id = 'p2';
SELECT pending();
ROLLBACK;
-- parent and child of one statement, of one transaction
BEGIN;
WITH p AS (INSERT INTO patients VALUES ('p5', 5)), r AS (INSERT INTO records VALUES (50, 'p5'))
INSERT INTO "Vital" VALUES (7, 50);
SELECT pending();
DELETE FROM patients WHERE id = 'p5';
SELECT pending();
COMMIT;
-- no parent at all: prefixes
SET session_replication_role = replica;
INSERT INTO records VALUES (60, 'gone');
RESET session_replication_role;
BEGIN;
INSERT INTO "Vital" VALUES (8, 60);
SELECT pending();
ROLLBACK;
-- bulk: remembered within the statement, right in the next
BEGIN;
INSERT INTO "Vital" SELECT 100 + i, 10 + 10 * (i % 2), '2026-11-28' FROM generate_series(1, 50) AS i;
SELECT count(*), string_agg(DISTINCT tag, ' ' ORDER BY tag) FILTER (WHERE tag NOT LIKE 'vital:%') FROM clinicache.pending_tags();
UPDATE patients SET clinic_id = 3 WHERE id = 'p1';
UPDATE "Vital" SET day = '2026-11-30' WHERE id > 100;
SELECT string_agg(DISTINCT tag, ' ' ORDER BY tag) FILTER (WHERE tag NOT LIKE 'vital:%') FROM clinicache.pending_tags();
ROLLBACK;

-- presets, several kinds of keys, a table without declared keys, a partitioned parent
CREATE TABLE doctors (uid uuid PRIMARY KEY, "clinicId" text) PARTITION BY HASH (uid);
CREATE TABLE doctors_0 PARTITION OF doctors FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE doctors_1 ("clinicId" text, uid uuid NOT NULL);
ALTER TABLE doctors ATTACH PARTITION doctors_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO doctors SELECT md5(i::text)::uuid, 'c' || i FROM generate_series(1, 8) AS i;
CREATE TABLE reviews (id bigserial PRIMARY KEY, by_doctor uuid, stars int);
SELECT clinicache.track('reviews', '{"tenant": "clinic", "tags": ["reviews:{clinic}"], "lookups": {"clinic": "by_doctor -> doctors(uid).clinicId"}}');
BEGIN;
INSERT INTO reviews (by_doctor) SELECT md5(i::text)::uuid FROM generate_series(1, 8) AS i;
SELECT pending();
COMMIT;
BEGIN;
UPDATE doctors SET "clinicId" = 'moved' WHERE uid = md5('3')::uuid;
SELECT pending();
COMMIT;
BEGIN;
DELETE FROM doctors WHERE uid = md5('4')::uuid;
INSERT INTO doctors VALUES (md5('9')::uuid, 'c9');
SELECT pending();
COMMIT;
CREATE TABLE diagnosis (id serial PRIMARY KEY, patient text REFERENCES patients, code text);
SELECT clinicache.track('diagnosis', 'diagnosis', options => '{"lookups": {"clinic": "patient -> patients(id).clinic_id"}}');
BEGIN;
INSERT INTO diagnosis VALUES (1, 'p1', 'J45');
SELECT pending();
COMMIT;

-- nothing is counted whose clinic other rows change
CREATE TABLE payment (id serial PRIMARY KEY, patient text REFERENCES patients, amount numeric, status text, date date);
SELECT clinicache.track('payment', 'payment');
SELECT columns -> 'clinic' AS clinic FROM clinicache.tracked_tables WHERE relation = 'payment'::regclass;
DROP TABLE payment;

-- clock edges of looked-up clinics, in the clinic's time zone
INSERT INTO clinicache.tenant VALUES ('1', 'Africa/Cairo'), ('7', 'America/New_York');
CREATE TABLE visit (id int PRIMARY KEY, patient text REFERENCES patients, at timestamptz);
SELECT clinicache.track('visit', '{"tenant": "clinic", "lookups": {"clinic": "patient -> patients(id).clinic_id"}, "tags": [
  {"tag": "today:{clinic}", "window": "today", "time": ["at"]}, {"tag": "dashboard:{clinic}", "edge": "day"}, "visits:{clinic}:{at|date}"]}');
INSERT INTO visit VALUES (1, 'p1', '2026-11-29 10:00Z'), (2, 'p2', '2026-11-29 10:00Z'), (3, 'nobody', '2026-11-29 10:00Z');
BEGIN;
INSERT INTO visit VALUES (4, 'p1', '2026-11-28 23:00Z'), (5, 'p2', '2026-11-28 23:00Z');
SELECT string_agg(tag, ' ' ORDER BY tag) FROM clinicache.pending_tags() WHERE tag LIKE 'visits:%';
ROLLBACK;
BEGIN;
SELECT clinicache.emit_edges('2026-11-28 21:59:59Z', '2026-11-28 22:00:01Z') > 0 AS cairo;
SELECT pending();
ROLLBACK;
BEGIN;
SELECT clinicache.emit_edges('2026-11-29 04:59:59Z', '2026-11-29 05:00:01Z') > 0 AS new_york;
SELECT pending();
ROLLBACK;
SELECT clinicache.untrack('visit');

-- what cannot be
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "lookups": {"c": "by_doctor"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "lookups": {"c": "by_doctor -> nowhere(id).x"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "lookups": {"c": "by_doctor -> doctors(nokey).x"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "lookups": {"c": "by_doctor -> patients(name).clinic_id"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "lookups": {"c": "stars -> patients(id).clinic_id"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "lookups": {"c": 1}}');
SELECT clinicache.track('reviews', '{"tags": ["{id}:{c}"], "lookups": {"c": "by_doctor -> doctors(uid).clinicId"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "deleted": "c", "lookups": {"c": "by_doctor -> doctors(uid).clinicId"}}');
SELECT clinicache.track('reviews', '{"tags": [{"tag": "r", "window": "today", "time": ["c"]}], "lookups": {"c": "by_doctor -> doctors(uid).clinicId"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "counters": [{"counter": "r", "by": {"clinic": "c"}}], "lookups": {"c": "by_doctor -> doctors(uid).clinicId"}}');
SELECT clinicache.track('reviews', '{"tags": ["r:{c}"], "tenant": "c", "counters": [{"counter": "r", "by": {"doctor": "by_doctor"}}], "lookups": {"c": "by_doctor -> doctors(uid).clinicId"}}');

-- statements that change the tables on the way
ALTER TABLE patients RENAME clinic_id TO "clinicId";
ALTER TABLE patients RENAME TO "Patient";
ALTER TABLE records RENAME patient_id TO "patientId";
CREATE SCHEMA other;
ALTER TABLE records SET SCHEMA other;
ALTER SCHEMA other RENAME TO "an other";
ALTER TABLE "Vital" RENAME "recordId" TO rid;
SELECT columns FROM clinicache.tracked_tables WHERE relation = '"Vital"'::regclass;
BEGIN;
UPDATE "Patient" SET "clinicId" = 11 WHERE id = 'p1';
SELECT pending();
ROLLBACK;
BEGIN;
UPDATE "an other".records SET "patientId" = 'p2' WHERE id = 10;
UPDATE "Vital" SET day = NULL;
SELECT pending();
ROLLBACK;
\set SHOW_CONTEXT never
ALTER TABLE "Patient" DROP COLUMN "clinicId";
ALTER TABLE "Vital" DROP COLUMN rid;
DROP TABLE "an other".records CASCADE;
-- the hint says what does it
BEGIN;
DO $$
DECLARE
  given text;
BEGIN
  DROP TABLE "an other".records CASCADE;
EXCEPTION WHEN dependent_objects_still_exist THEN
  GET STACKED DIAGNOSTICS given = PG_EXCEPTION_HINT;
  EXECUTE (regexp_match(given, '(SELECT .*); or stop'))[1];
END $$;
SELECT columns, templates FROM clinicache.tracked_tables WHERE relation = '"Vital"'::regclass;
DROP TABLE "an other".records CASCADE;
ROLLBACK;
ALTER TABLE "Patient" ALTER id TYPE bytea USING id::bytea;
BEGIN;
ALTER TABLE "Patient" ALTER "clinicId" TYPE bigint;
SELECT pending();
COMMIT;
BEGIN;
INSERT INTO "Vital" VALUES (9, 10);
SELECT pending();
ROLLBACK;
-- the parent's rows seen as the table's owner, whatever the caller may see
CREATE ROLE regress_lookup_owner;
CREATE ROLE regress_lookup_app;
GRANT USAGE ON SCHEMA app TO regress_lookup_app, regress_lookup_owner;
SELECT clinicache.grant_tracker('regress_lookup_owner');
ALTER TABLE diagnosis OWNER TO regress_lookup_owner;
GRANT INSERT ON diagnosis TO regress_lookup_app;
SET ROLE regress_lookup_app;
INSERT INTO diagnosis VALUES (2, NULL, 'J46');
RESET ROLE;
GRANT SELECT (id, "clinicId") ON "Patient" TO regress_lookup_owner;
ALTER TABLE "Patient" ENABLE ROW LEVEL SECURITY;
SET ROLE regress_lookup_app;
INSERT INTO diagnosis VALUES (3, NULL, 'J46');
RESET ROLE;
ALTER TABLE "Patient" DISABLE ROW LEVEL SECURITY;
BEGIN;
SET LOCAL ROLE regress_lookup_app;
INSERT INTO diagnosis VALUES (4, 'p1', 'J46');
RESET ROLE;
SELECT pending();
COMMIT;
-- health sees what is missing, and mends it
ALTER TABLE "Patient" DISABLE TRIGGER USER;
SELECT severity, finding, object FROM clinicache._health_lookups();
SELECT remedy AS repair FROM clinicache._health_lookups() WHERE object = 'app."Vital"' \gset
:repair;
ALTER TABLE "Patient" ENABLE TRIGGER USER;
SELECT severity, finding, object FROM clinicache._health_lookups();
-- the end
SELECT clinicache.untrack('"Vital"');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = 'clinicache.parent_change()'::regprocedure AND tgparentid = 0 ORDER BY tgrelid::regclass::text COLLATE "C";
DROP TABLE diagnosis;
SELECT clinicache.untrack_all();
SELECT count(*) FROM pg_trigger WHERE tgfoid = 'clinicache.parent_change()'::regprocedure;
DROP OWNED BY regress_lookup_owner, regress_lookup_app;
DROP ROLE regress_lookup_owner, regress_lookup_app;
\i :stop
