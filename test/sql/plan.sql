-- Whole schemas: what plan() proposes, what track_schema() does.  The schemas: include/schemas.psql.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\set schemas :srcdir '/sql/include/schemas.psql'
\i :start
\set ECHO none
SET client_min_messages = error;
DROP SCHEMA IF EXISTS web, ehr, solo CASCADE;
\i :schemas
RESET client_min_messages;
\set ECHO all

-- Prisma's style: quoted camel case, an implicit join table, date and time of day in two columns
SELECT relation, entity, action, tenant, cardinality(left_out) AS left_out, reason FROM clinicache.plan('web');
-- snake case: partitions, a second table of appointments, a third by its columns, two ways to a clinic
SELECT relation, entity, action, tenant, cardinality(left_out) AS left_out, reason FROM clinicache.plan('ehr');
-- an application of one practice
SELECT relation, entity, action, tenant, cardinality(left_out) AS left_out, reason FROM clinicache.plan('solo');
SELECT relation, columns FROM clinicache.plan('ehr') WHERE relation IN ('ehr.diagnoses'::regclass, 'ehr.rooms'::regclass);

-- planning has tracked nothing; each statement is run as it stands, all by one call
SELECT count(*) FROM clinicache.tracked_tables;
CREATE TABLE planned AS SELECT 'web' AS schema, * FROM clinicache.plan('web');
SELECT statement FROM clinicache.track_schema('web');
INSERT INTO planned SELECT 'ehr', * FROM clinicache.plan('ehr');
SELECT statement FROM clinicache.track_schema('ehr');
INSERT INTO planned SELECT 'solo', * FROM clinicache.plan('solo');
SELECT statement FROM clinicache.track_schema('solo');

-- what was planned is what is tracked
SELECT p.schema, count(*) AS planned, count(t.relation) AS tracked,
       bool_and(p.entity IS NOT DISTINCT FROM t.entity AND p.left_out = t.left_out AND t.state = 'enabled') AS the_same
  FROM planned p LEFT JOIN clinicache.tracked_tables t USING (relation) WHERE action = 'track' GROUP BY 1 ORDER BY 1;
SELECT counter, relation, dimensions FROM clinicache.counter_registry ORDER BY counter COLLATE "C";

-- again: nothing is left to do, and what was tracked otherwise stays so
SELECT clinicache.track('ehr.rooms', '{"tags": ["my-room:{id}"]}');
SELECT s.name, (SELECT count(*) FROM clinicache.track_schema(s.name)) AS tracked FROM unnest('{web,ehr,solo}'::name[]) AS s(name);
SELECT reason, count(*) FROM clinicache.plan('ehr') GROUP BY reason ORDER BY reason;
SELECT templates FROM clinicache.tracked_tables WHERE relation = 'ehr.rooms'::regclass;

-- three steps from the clinic; a join table; a soft delete
SET search_path = web;
INSERT INTO "Clinic" VALUES ('c1', 'One');
INSERT INTO "Patient" (id, "clinicId") VALUES ('p1', 'c1');
INSERT INTO "MedicalRecord" VALUES ('m1', 'p1');
INSERT INTO "LabTest" VALUES (1, 'm1');
INSERT INTO "Doctor" (id, "clinicId") VALUES ('d1', 'c1');
INSERT INTO "Service" VALUES (5, 'c1', 'Check-up', 'basic');
SELECT t.mark();
INSERT INTO "LabTestItem" VALUES (1, 1, '5.1');
SELECT * FROM t.told();
INSERT INTO "_DoctorToService" VALUES ('d1', 5);
SELECT * FROM t.told();
UPDATE "Patient" SET "isDeleted" = true;
SELECT count(*) > 0 AS told FROM t.told();
SELECT clinicache.count('patients', 'clinic', 'c1') AS none_is_left;
UPDATE "Patient" SET "updatedAt" = now();
SELECT t.tags() = '{}' AS no_change;
RESET search_path;

-- odd tables
CREATE SCHEMA odd;
SET search_path = odd;
CREATE TABLE "we{ird}*" (a int, "b}" int, clinic_id int, "clinicId" int, PRIMARY KEY (a, "b}"));
CREATE TABLE pairs (x int, y int, "hospitalId" int, PRIMARY KEY (x, y));
CREATE TABLE bag (note text);
CREATE TABLE alembic_version (version_num text);
CREATE TABLE base (id int PRIMARY KEY);
CREATE TABLE derived () INHERITS (base);
CREATE TABLE ehr.shifts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_elsewhere PARTITION OF ehr.shifts DEFAULT;
CREATE TABLE member (id int PRIMARY KEY, clinic_id int);
ALTER EXTENSION plpgsql ADD TABLE member;
CREATE TABLE husband (id int PRIMARY KEY, wife_id int);
CREATE TABLE wife (id int PRIMARY KEY, husband_id int REFERENCES husband);
ALTER TABLE husband ADD FOREIGN KEY (wife_id) REFERENCES wife;
CREATE TABLE friend (a int REFERENCES base, b int REFERENCES base, PRIMARY KEY (a, b));
CREATE TABLE base_wife (base_id int REFERENCES base, wife_id int REFERENCES wife, since timestamptz, position int);
CREATE TABLE wife_bag (wife_id int REFERENCES wife, base_id int REFERENCES base, since timestamptz);
CREATE TABLE appointments (id int PRIMARY KEY, clinic_id int, starts_at timestamptz, start_time time, "deletedAt" date, status text);
CREATE TABLE members (id int PRIMARY KEY);
CREATE TABLE taken (id int PRIMARY KEY);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER clinicache AFTER INSERT ON taken FOR EACH ROW EXECUTE FUNCTION f();
SELECT relation, entity, action, tenant, reason FROM clinicache.plan('odd');
SELECT statement FROM clinicache.plan('odd') WHERE action = 'track';

-- all or none
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '%on odd.wife') THEN
    RAISE EXCEPTION 'no trigger on this table';
  END IF;
END $$;
CREATE EVENT TRIGGER regress_cc_refuse ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION refuse();
SELECT code, message FROM t.error($$SELECT * FROM clinicache.track_schema('odd')$$);
SELECT count(*) FROM clinicache.tracked_tables WHERE relation::text LIKE 'odd.%' OR relation::text = 'wife';
DROP EVENT TRIGGER regress_cc_refuse;
SELECT count(*) FROM clinicache.track_schema('odd');
ALTER EXTENSION plpgsql DROP TABLE member;
SELECT statement FROM clinicache.track_schema('odd');

-- a column whose foreign key says that it is one; several ways: none is guessed
CREATE TABLE odd.prescription (id int PRIMARY KEY, organization_id uuid, who int REFERENCES ehr.patients, by_whom int REFERENCES ehr.patients);
SELECT code, message, hint FROM t.error($$SELECT clinicache.track('odd.prescription', 'prescription')$$);
SELECT statement, reason FROM clinicache.plan('odd') WHERE action = 'track';
CREATE TABLE odd.expense (id int PRIMARY KEY, first_patient int REFERENCES ehr.patients, second_patient int REFERENCES ehr.patients);
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT clinicache.track('odd.expense', 'expense');
\set VERBOSITY terse

-- who may not make the triggers that a look-up needs does without it
CREATE ROLE regress_cc_planner;
SELECT clinicache.grant_tracker('regress_cc_planner');
CREATE SCHEMA theirs AUTHORIZATION regress_cc_planner;
GRANT USAGE ON SCHEMA ehr TO regress_cc_planner;
GRANT SELECT, REFERENCES ON ehr.patients TO regress_cc_planner;
SET ROLE regress_cc_planner;
CREATE TABLE theirs.diagnoses (id int PRIMARY KEY, patient_id int REFERENCES ehr.patients);
CREATE TABLE theirs.notes (id int PRIMARY KEY, patient_id int REFERENCES ehr.patients);
SELECT statement, reason FROM clinicache.plan('theirs');
SELECT relation FROM clinicache.track_schema('theirs');
RESET ROLE;
CREATE TABLE solo.new (id int PRIMARY KEY);
SET ROLE regress_cc_planner;
SELECT p.relation, replace(reason, c.relowner::regrole::text, 'OWNER') AS reason
  FROM clinicache.plan('solo') p JOIN pg_class c ON c.oid = p.relation WHERE c.relname = 'new';
RESET ROLE;

-- errors
SELECT e.* FROM unnest(ARRAY['nowhere', 'pg_catalog', 'clinicache', NULL]) AS s(name),
  unnest(ARRAY['plan', 'track_schema']) AS f(name), t.error(format('SELECT * FROM clinicache.%I(%L)', f.name, s.name)) AS e;
CREATE SCHEMA empty;
SELECT * FROM clinicache.plan('empty');
SELECT * FROM clinicache.track_schema('empty');
SELECT clinicache.untrack_all();

-- in a migration, as the README has it: nothing in Prisma's shadow database, where the extension is not
\set migration 'DO $$ BEGIN IF EXISTS (SELECT FROM pg_extension WHERE extname = ''clinicache'') THEN PERFORM clinicache.track_schema(''solo''); END IF; END $$'
:migration;
SELECT count(*) FROM clinicache.tracked_tables;
:migration;
SELECT clinicache.untrack_all();
DROP SCHEMA t CASCADE;
DROP EXTENSION clinicache;
:migration;
\set ECHO none
SET client_min_messages = error;
DROP SCHEMA web, ehr, solo, odd, empty, theirs CASCADE;
DROP OWNED BY regress_cc_planner;
DROP ROLE regress_cc_planner;
\i :stop
