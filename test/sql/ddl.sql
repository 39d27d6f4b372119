-- DDL on tracked tables: what is followed, what is refused, what is told.  Every line that compares says t.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start
CREATE FUNCTION t.exact() RETURNS boolean LANGUAGE sql AS $$ SELECT NOT EXISTS (SELECT FROM clinicache.verify()) $$;
CREATE FUNCTION t.valid() RETURNS boolean LANGUAGE sql AS $$ SELECT bool_and(valid) FROM clinicache.counter_registry $$;

CREATE TYPE visit_status AS ENUM ('OPEN', 'DONE', 'ARCHIVED');
CREATE TABLE visit (id int PRIMARY KEY, clinic int, doctor int, "at" timestamptz, clock text, status visit_status, fee numeric,
                    note text, touched timestamptz, local_at timestamp, spare int);
INSERT INTO visit SELECT i, 1 + i % 2, i % 3, '2026-11-21 10:00Z', '10:30', 'OPEN', i, 'n', now(), '2026-11-21 10:00' FROM generate_series(1, 10) AS i;
SELECT clinicache.track('visit', '{"tenant": "clinic", "columns": {"dr": ["doctor"]}, "deleted": {"column": "status", "values": ["ARCHIVED"]},
  "ignore": ["touched"], "zone": {"local_at": "local", "at": "utc"},
  "tags": ["visit:{id}", "visit:day:{at|date}", "visit:local:{local_at|date}", {"tag": "visit:doctor:{dr}", "columns": ["status", "doctor"]},
           {"tag": "visit:today:{clinic}", "window": "past", "time": ["at", "clock"]}, "visits:*", "visits"],
  "counters": [{"counter": "visits", "by": {"clinic": "clinic", "doctor": "dr"}, "day": "at", "class": "status", "sum": "fee"}]}');
SELECT t.exact();
SELECT array_agg(id ORDER BY id) AS sources FROM clinicache.counter_source \gset
-- tags of one row, before and after its columns have other names
BEGIN; UPDATE visit SET status = 'DONE', fee = 5 WHERE id = 1; CREATE TABLE t.before AS SELECT * FROM clinicache.pending_tags(); COMMIT;
SELECT tag FROM t.before ORDER BY 1;
ALTER TABLE visit RENAME COLUMN id TO "visitId";
ALTER TABLE visit RENAME COLUMN clinic TO "clinicId";
ALTER TABLE visit RENAME doctor TO "doctorId";
ALTER TABLE visit RENAME COLUMN "at" TO starts;
ALTER TABLE visit RENAME COLUMN clock TO starts_clock;
ALTER TABLE visit RENAME COLUMN status TO state;
ALTER TABLE visit RENAME COLUMN fee TO price;
ALTER TABLE visit RENAME COLUMN touched TO "updatedAt";
ALTER TABLE visit RENAME COLUMN local_at TO local_time;
ALTER TABLE visit RENAME COLUMN note TO remark;
ALTER TABLE visit RENAME TO visits;
ALTER SCHEMA app RENAME TO clinic_app; SET search_path = clinic_app, public;
SELECT t.mark();
BEGIN; UPDATE visits SET state = 'OPEN', price = 7 WHERE "visitId" = 1; CREATE TABLE t.after AS SELECT * FROM clinicache.pending_tags(); COMMIT;
SELECT count(*) AS n, (SELECT count(*) FROM (TABLE t.before EXCEPT TABLE t.after) AS x) AS lost, (SELECT count(*) FROM (TABLE t.after EXCEPT TABLE t.before) AS x) AS new
FROM t.after;
SELECT t.tags();
UPDATE visits SET "updatedAt" = now();
SELECT t.tags() = '{}' AS ignored;
UPDATE visits SET state = 'ARCHIVED' WHERE "visitId" = 2;
SELECT clinicache.count('visits', 'doctor', '2'), t.exact(), t.valid(), (SELECT array_agg(id ORDER BY id) FROM clinicache.counter_source) = :'sources' AS not_recounted;
SELECT clinicache.trigger_config(oid) - 'tags' - 'profiles' AS config FROM pg_trigger WHERE tgrelid = 'visits'::regclass AND tgname = 'clinicache';
SELECT state, columns FROM clinicache.tracked_tables;
-- two columns swap their names; what is renamed back
ALTER TABLE visits RENAME COLUMN "visitId" TO swap;
ALTER TABLE visits RENAME COLUMN "clinicId" TO "visitId";
ALTER TABLE visits RENAME COLUMN swap TO "clinicId";
SELECT tag FROM clinicache.preview('visits', NULL, '{"clinicId": 77, "visitId": 2}');
ALTER TABLE visits RENAME COLUMN "clinicId" TO id;
ALTER TABLE visits RENAME COLUMN "visitId" TO clinic;
SELECT tag FROM clinicache.preview('visits', NULL, '{"id": 77, "clinic": 2}');
ALTER SCHEMA clinic_app RENAME TO app; SET search_path = app, public;
-- rolled back
BEGIN; ALTER TABLE visits RENAME COLUMN id TO other; ROLLBACK;
INSERT INTO visits (id, clinic) VALUES (11, 1);
SELECT t.tags() @> '{visit:11}' AS told, t.exact();

-- dropped columns: not those in use
\set VERBOSITY default
ALTER TABLE visits DROP COLUMN price;
ALTER TABLE visits DROP COLUMN remark, DROP COLUMN id;
\set VERBOSITY terse
SELECT code, message, hint FROM t.error('ALTER TABLE visits DROP COLUMN clinic');
SELECT code, message, hint FROM t.error('DROP TYPE visit_status CASCADE');
ALTER TABLE visits DROP COLUMN spare, DROP COLUMN remark, DROP COLUMN "updatedAt";
INSERT INTO visits (id, clinic, price) VALUES (12, 1, 3);
SELECT t.tags() @> '{visit:12}' AS told, t.exact(), t.valid();
-- as the hint says
CREATE FUNCTION t.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text; BEGIN EXECUTE statement; RETURN NULL;
EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT; RETURN hint; END $$;
SELECT substring(t.hint('ALTER TABLE visits DROP COLUMN local_time') FROM 'SELECT clinicache[.]track.*?[)];') AS statement \gset
:statement
ALTER TABLE visits DROP COLUMN local_time;
SELECT t.mark();
UPDATE visits SET state = 'DONE' WHERE id = 12;
SELECT t.tags(), t.exact(), t.valid();

-- types
SELECT code, message, hint FROM t.error('ALTER TABLE visits ALTER COLUMN starts TYPE int USING 1');
SELECT code, message, hint FROM t.error('ALTER TABLE visits ALTER COLUMN price TYPE text');
SELECT code, message, hint FROM t.error('ALTER TABLE visits ALTER COLUMN starts_clock TYPE int USING 1');
ALTER TABLE visits ALTER COLUMN price TYPE float8 USING price + 1;
SELECT t.tags(), t.exact(), t.valid(), clinicache.total('visits', 'clinic', '1') = (SELECT sum(price) FROM visits WHERE clinic = 1 AND state IS DISTINCT FROM 'ARCHIVED') AS total;
ALTER TABLE visits ADD COLUMN plain int; ALTER TABLE visits ALTER COLUMN plain TYPE text;
SELECT t.tags() = '{}' AS nothing;
-- dropped and added in one statement, as Prisma does where there is no cast
SELECT code, message, hint FROM t.error('ALTER TABLE visits DROP COLUMN price, ADD COLUMN price text');
ALTER TABLE visits DROP COLUMN price, ADD COLUMN price numeric DEFAULT 2;
SELECT t.tags(), t.exact(), t.valid(), clinicache.total('visits', 'clinic', '1') = (SELECT sum(price) FROM visits WHERE clinic = 1 AND state IS DISTINCT FROM 'ARCHIVED') AS total;
CREATE INDEX visits_starts ON visits (starts); DROP INDEX CONCURRENTLY visits_starts;
-- an enum, as Prisma migrates it
BEGIN;
CREATE TYPE "VisitStatus_new" AS ENUM ('OPEN', 'CLOSED', 'ARCHIVED');
ALTER TABLE visits ALTER COLUMN state DROP DEFAULT;
ALTER TABLE visits ALTER COLUMN state TYPE "VisitStatus_new" USING (CASE state::text WHEN 'DONE' THEN 'CLOSED' ELSE state::text END::"VisitStatus_new");
ALTER TYPE visit_status RENAME TO "VisitStatus_old";
ALTER TYPE "VisitStatus_new" RENAME TO visit_status;
DROP TYPE "VisitStatus_old";
ALTER TABLE visits ALTER COLUMN state SET DEFAULT 'OPEN';
COMMIT;
SELECT t.tags(), t.exact(), t.valid(), clinicache.count('visits', 'clinic', '1', '{CLOSED}') AS closed, clinicache.count('visits', 'clinic', '1', '{DONE}') AS done;
UPDATE visits SET state = 'CLOSED' WHERE id = 3;
SELECT t.tags(), t.exact();
-- a value's new name, the one that means deleted too; a domain over the enum; values added tell nothing
ALTER TYPE visit_status ADD VALUE 'LATER';
SELECT t.tags() = '{}' AS nothing;
ALTER TYPE visit_status RENAME VALUE 'CLOSED' TO 'SHUT';
SELECT t.tags(), t.exact(), t.valid(), clinicache.count('visits', 'clinic', '2', '{SHUT}') AS shut;
ALTER TYPE visit_status RENAME VALUE 'ARCHIVED' TO 'GONE';
UPDATE visits SET state = 'GONE' WHERE id = 3;
SELECT t.tags() @> '{visits:*}' AS told, t.exact(), (SELECT clinicache.trigger_config(oid) -> 'deleted' FROM pg_trigger WHERE tgrelid = 'visits'::regclass AND tgname = 'clinicache') AS deleted;
CREATE DOMAIN status_domain AS visit_status;
CREATE TABLE watch (id int, s status_domain);
SELECT clinicache.track('watch', '{"tags": ["watch:{s}"]}');
SELECT t.mark();
ALTER TYPE visit_status RENAME VALUE 'LATER' TO 'LATEST';
SELECT t.tags() @> '{watch:*}' AS told;
DROP TABLE watch;

-- dropped tables and schemas
SELECT t.mark();
DROP TABLE visits;
SELECT t.tags(), (SELECT count(*) FROM clinicache.counter_source) AS sources;
CREATE SCHEMA gone; CREATE TABLE gone.a (id int, n int);
SELECT clinicache.track('gone.a', '{"tags": ["a:{id}"], "counters": [{"counter": "a", "by": {"n": "n"}}]}');
SELECT clinicache.track('gone.a', '{"tags": ["aa:{id}"], "counters": [{"counter": "a", "by": {"n": "n"}}]}');
DROP SCHEMA gone CASCADE;
SELECT t.tags(), (SELECT count(*) FROM clinicache.counter_source) AS sources;
BEGIN; CREATE TABLE a (id int); SELECT clinicache.track('a', '{"tags": ["one:{id}"]}'); SELECT clinicache.track('a', '{"tags": ["two:{id}"]}');
ALTER TABLE a RENAME COLUMN id TO a_id; DROP TABLE a; COMMIT;
SELECT t.tags();
CREATE TABLE a (id int); SELECT clinicache.track('a', '{"tags": ["one:{id}"]}'); SELECT clinicache.untrack('a'); DROP TABLE a;
SELECT t.tags() = '{}' AS nothing;

-- partitions
CREATE TABLE part (id int, clinic int, n int) PARTITION BY LIST (clinic);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
SELECT clinicache.track('part', '{"tenant": "clinic", "tags": ["part:{id}", "part:n:{n}"], "counters": [{"counter": "parts", "by": {"clinic": "clinic"}, "sum": "n"}]}');
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE part_2_a PARTITION OF part_2 FOR VALUES FROM (0) TO (100);
CREATE TABLE part_3 (n int, dead int, id int, clinic int);
ALTER TABLE part_3 DROP COLUMN dead;
INSERT INTO part_3 VALUES (1, 30, 3), (2, 31, 3);
SELECT t.mark();
ALTER TABLE part ATTACH PARTITION part_3 FOR VALUES IN (3);
SELECT t.tags(), t.exact(), t.valid(), clinicache.count('parts', 'clinic', '3');
SELECT state FROM clinicache.tracked_tables;
INSERT INTO part VALUES (1, 1, 1), (2, 2, 1), (32, 3, 3);
SELECT t.tags(), t.exact();
TRUNCATE part_2_a;
SELECT t.tags() @> '{part:*}' AS told, t.valid();
SELECT clinicache.rebuild('parts');
-- an empty one is no news
CREATE TABLE part_4 (LIKE part);
SELECT t.mark();
ALTER TABLE part ATTACH PARTITION part_4 FOR VALUES IN (4);
SELECT t.tags() = '{}' AS nothing, t.valid();
ALTER TABLE part RENAME COLUMN id TO "partId";
ALTER TABLE part RENAME COLUMN n TO number;
INSERT INTO part VALUES (40, 4, 4);
SELECT t.tags(), t.exact(), t.valid();
TRUNCATE part_4;
SELECT t.tags() @> '{part:*}' AS told;
SELECT clinicache.rebuild('parts');
SELECT code, message, hint FROM t.error('ALTER TABLE part DROP COLUMN number');
SELECT t.mark();
ALTER TABLE part ALTER COLUMN number TYPE bigint;
SELECT t.tags(), t.exact(), t.valid();
SELECT count(*) AS sources FROM clinicache.counter_source;
-- with changes of the same transaction, and a savepoint that is rolled back
BEGIN;
INSERT INTO part VALUES (41, 2, 4);
SAVEPOINT s; ALTER TABLE part RENAME COLUMN number TO num; ALTER TABLE part ALTER COLUMN num TYPE numeric; INSERT INTO part VALUES (42, 2, 4); ROLLBACK TO s;
ALTER TABLE part ALTER COLUMN number TYPE numeric;
INSERT INTO part VALUES (43, 2, 4);
SELECT clinicache.count('parts', 'clinic', '2') AS two;
COMMIT;
SELECT t.tags(), t.exact(), t.valid(), clinicache.count('parts', 'clinic', '2') AS two;
ALTER TABLE part DETACH PARTITION part_3;
SELECT t.tags(), t.exact(), t.valid(), clinicache.count('parts', 'clinic', '3'), (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'part_3'::regclass) AS triggers;
INSERT INTO part_3 VALUES (9, 9, 3);
SELECT t.tags() = '{}' AS nothing;
ALTER TABLE part ATTACH PARTITION part_3 FOR VALUES IN (3);
SELECT t.mark();
ALTER TABLE part DETACH PARTITION part_3 CONCURRENTLY;
SELECT t.tags(), t.exact(), t.valid(), clinicache.count('parts', 'clinic', '3'), (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'part_3'::regclass) AS triggers;
SELECT clinicache.rebuild('parts');
DROP TABLE part_1;
SELECT t.tags(), t.exact(), t.valid(), clinicache.count('parts', 'clinic', '1');
BEGIN; ALTER TABLE part ATTACH PARTITION part_3 FOR VALUES IN (3); DROP TABLE part_3; COMMIT;
SELECT t.tags() @> '{part:*}' AS told, t.exact(), t.valid();
DROP TABLE part_2;
SELECT t.exact(), t.valid();
-- tracked itself, under another name
CREATE TABLE part_5 (LIKE part);
SELECT clinicache.track('part_5', '{"tags": ["own:{partId}"]}');
SELECT code, message, hint FROM t.error('ALTER TABLE part ATTACH PARTITION part_5 FOR VALUES IN (5)');
ALTER TRIGGER clinicache ON part_5 RENAME TO other_name;
SELECT code, message, hint FROM t.error('ALTER TABLE part ATTACH PARTITION part_5 FOR VALUES IN (5)');
DROP TABLE part, part_5;
SELECT t.mark();

-- inheritance
CREATE TABLE person (id int, name text);
SELECT clinicache.track('person', '{"tags": ["person:{id}"], "counters": [{"counter": "people", "by": {"name": "name"}}]}');
CREATE TABLE doctor (field text) INHERITS (person);
CREATE TABLE nurse (id int, name text);
INSERT INTO nurse VALUES (1, 'a');
INSERT INTO doctor VALUES (2, 'b', 'c');
SELECT t.tags();
ALTER TABLE nurse INHERIT person;
SELECT t.tags(), t.exact(), t.valid();
INSERT INTO nurse VALUES (3, 'a');
SELECT t.tags(), t.exact(), clinicache.count('people', 'name', 'a');
ALTER TABLE person RENAME COLUMN name TO full_name;
INSERT INTO nurse VALUES (4, 'a');
SELECT t.tags(), t.exact(), (SELECT array_agg(DISTINCT state) FROM clinicache.tracked_tables) AS states;
CREATE TABLE twofold (x int) INHERITS (doctor, person);
INSERT INTO twofold VALUES (5, 'a', 'f', 1);
SELECT t.tags(), t.exact(), clinicache.count('people', 'name', 'a');
DROP TABLE twofold;
SELECT t.tags(), t.exact(), clinicache.count('people', 'name', 'a');
ALTER TABLE nurse NO INHERIT person;
SELECT t.tags(), t.exact(), t.valid(), (SELECT array_agg(relation::text ORDER BY relation::text) FROM clinicache.tracked_tables) AS tracked;
DROP TABLE doctor;
SELECT t.tags(), t.exact(), t.valid();

-- a migration as Prisma writes it, of a table tracked by a preset
CREATE TYPE "AppointmentStatus" AS ENUM ('PENDING', 'CONFIRMED', 'CANCELED');
CREATE TABLE "Patient" (id text PRIMARY KEY, "firstName" text, "lastName" text);
CREATE TABLE "Appointment" (id text PRIMARY KEY, "clinicId" text NOT NULL, "patientId" text NOT NULL REFERENCES "Patient", "doctorId" text NOT NULL,
  "date" timestamp(3) NOT NULL, status "AppointmentStatus" NOT NULL DEFAULT 'PENDING', notes text, "updatedAt" timestamp(3));
SET client_min_messages = warning;
SELECT clinicache.track('"Appointment"', 'appointment', '{}', '{"ignore": ["updatedAt"]}');
RESET client_min_messages;
INSERT INTO "Patient" VALUES ('p1');
INSERT INTO "Appointment" VALUES ('a1', 'c1', 'p1', 'd1', '2026-11-21 10:00', 'CANCELED'), ('a2', 'c1', 'p1', 'd1', '2026-11-21 11:00', 'PENDING');
CREATE TABLE t.preset_before AS SELECT p.tag FROM clinicache.preview('"Appointment"', NULL, '{"id": "a1", "clinicId": "c1", "patientId": "p1", "doctorId": "d1", "date": "2026-11-21 10:00"}') AS p;
SELECT t.mark();
/*
  Warnings:
  - The values [CANCELED] on the enum `AppointmentStatus` will be removed. If these variants are still used in the database, this will fail.
*/
-- AlterEnum
BEGIN;
CREATE TYPE "AppointmentStatus_new" AS ENUM ('PENDING', 'CONFIRMED', 'CANCELLED');
ALTER TABLE "Appointment" ALTER COLUMN "status" DROP DEFAULT;
ALTER TABLE "Appointment" ALTER COLUMN "status" TYPE "AppointmentStatus_new" USING (replace("status"::text, 'CANCELED', 'CANCELLED')::"AppointmentStatus_new");
ALTER TYPE "AppointmentStatus" RENAME TO "AppointmentStatus_old";
ALTER TYPE "AppointmentStatus_new" RENAME TO "AppointmentStatus";
DROP TYPE "AppointmentStatus_old";
ALTER TABLE "Appointment" ALTER COLUMN "status" SET DEFAULT 'PENDING';
COMMIT;
-- DropForeignKey
ALTER TABLE "Appointment" DROP CONSTRAINT "Appointment_patientId_fkey";
-- AlterTable
ALTER TABLE "Appointment" RENAME COLUMN "doctorId" TO "practitionerId";
ALTER TABLE "Appointment" DROP COLUMN "notes", ADD COLUMN "reason" TEXT, ALTER COLUMN "date" SET DATA TYPE TIMESTAMPTZ(3);
-- RenameTable
ALTER TABLE "Appointment" RENAME TO "Booking";
ALTER TABLE "Booking" RENAME CONSTRAINT "Appointment_pkey" TO "Booking_pkey";
-- AddForeignKey
ALTER TABLE "Booking" ADD CONSTRAINT "Booking_patientId_fkey" FOREIGN KEY ("patientId") REFERENCES "Patient"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
SELECT bool_and(tag LIKE '%*' OR tag NOT LIKE '%:c1%') AND count(*) > 5 AS prefixes FROM unnest(t.tags()) AS u(tag);
SELECT (SELECT array_agg(tag ORDER BY tag) FROM t.preset_before)
       = (SELECT array_agg(p.tag ORDER BY p.tag) FROM clinicache.preview('"Booking"', NULL, '{"id": "a1", "clinicId": "c1", "patientId": "p1", "practitionerId": "d1", "date": "2026-11-21 10:00"}') AS p) AS same_tags;
UPDATE "Booking" SET status = 'CONFIRMED' WHERE id = 'a2';
SELECT clinicache.count('appointments', 'doctor', 'd1', '{CONFIRMED}') AS confirmed, clinicache.count('appointments', 'doctor', 'd1', '{CANCELLED}') AS cancelled,
       (clinicache.clinic_dashboard('c1') IS NOT NULL) AS dashboard, t.exact(), t.valid();
SELECT code, message, hint FROM t.error('ALTER TABLE "Booking" DROP COLUMN "practitionerId"');
CREATE MATERIALIZED VIEW summary AS SELECT "clinicId", count(*) FROM "Booking" GROUP BY 1;
CREATE UNIQUE INDEX ON summary ("clinicId");
REFRESH MATERIALIZED VIEW CONCURRENTLY summary;
DROP MATERIALIZED VIEW summary;
DROP TABLE "Booking", "Patient";
SELECT t.mark();

-- triggers keep their state
CREATE TABLE off (id int, clinic int);
SELECT clinicache.track('off', '{"tags": ["off:{id}"], "fire": "always"}');
ALTER TABLE off DISABLE TRIGGER clinicache_truncate;
ALTER TABLE off RENAME COLUMN id TO "offId";
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'off'::regclass ORDER BY 1;

-- temporary tables; owners without any grant; owners who are not trusted
CREATE TEMP TABLE fleeting (id int, clinic int);
SELECT clinicache.track('fleeting', '{"tags": ["fleeting:{id}"]}');
ALTER TABLE fleeting RENAME COLUMN id TO other;
INSERT INTO fleeting VALUES (1);
SELECT t.tags();
SELECT code, hint FROM t.error('ALTER TABLE fleeting DROP COLUMN other');
DROP TABLE fleeting;
CREATE ROLE regress_cc_ddl;
GRANT USAGE, CREATE ON SCHEMA app TO regress_cc_ddl;
SET ROLE regress_cc_ddl;
CREATE TABLE mine (id int, a int) PARTITION BY LIST (a); CREATE TABLE mine_1 PARTITION OF mine FOR VALUES IN (1);
ALTER TABLE mine RENAME COLUMN id TO mine_id; ALTER TABLE mine ALTER COLUMN mine_id TYPE bigint; ALTER TABLE mine DROP COLUMN mine_id;
DROP TABLE mine_1; DROP TABLE mine;
CREATE TABLE mine (id int);
RESET ROLE;
SELECT clinicache.grant_tracker('regress_cc_ddl');
SELECT clinicache.track('mine', '{"tags": ["mine:{id}"]}');
SET ROLE regress_cc_ddl;
ALTER TABLE mine RENAME COLUMN id TO mine_id;
INSERT INTO mine VALUES (1);
RESET ROLE;
SELECT t.tags();
SELECT clinicache.revoke_tracker('regress_cc_ddl');
SET ROLE regress_cc_ddl;
-- without a grant, even with triggers, nothing is emitted in our name
ALTER TABLE mine ALTER COLUMN mine_id TYPE text;
ALTER TABLE mine DROP COLUMN mine_id;
DROP TABLE mine;
RESET ROLE;
SELECT t.tags() = '{}' AS nothing_of_mine;
DROP OWNED BY regress_cc_ddl; DROP ROLE regress_cc_ddl;

-- an error of our own is a warning, and everybody drops everything
CREATE TABLE odd (id int, n int);
SELECT clinicache.track('odd', '{"tags": ["odd:{id}"]}');
CREATE OR REPLACE TRIGGER clinicache AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION clinicache.row_change('no json');
SELECT t.mark();
ALTER TABLE odd RENAME COLUMN id TO odd_id;
SELECT t.tags();
-- the extension can be dropped, and made again
DROP TABLE odd, off, person, nurse;
\i :stop
