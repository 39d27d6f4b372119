-- What plan() is made of: ways over foreign keys, entities by name and columns, soft deletes, the order of tables.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(37);

CREATE SCHEMA pgtap_plan;
SET LOCAL search_path = pgtap_plan, public;
CREATE FUNCTION pg_temp.ways(rel regclass, logical text) RETURNS text[] LANGUAGE sql AS
$$ SELECT clinicache._find_lookups(rel, logical, clinicache._candidates(logical, '[]')) $$;

CREATE TABLE clinics (id text PRIMARY KEY, code text UNIQUE);
CREATE TABLE patients (id serial PRIMARY KEY, clinic_id text REFERENCES clinics);
CREATE TABLE records (id uuid PRIMARY KEY, patient_id int REFERENCES patients);
CREATE TABLE vitals ("recordId" uuid REFERENCES records);
CREATE TABLE "odd ""table" (id int PRIMARY KEY, "its record" uuid REFERENCES records);
CREATE TABLE far (odd_id int REFERENCES "odd ""table");
ALTER TABLE far ADD COLUMN id int PRIMARY KEY;
CREATE TABLE farther (far_id int REFERENCES far, id int PRIMARY KEY);
CREATE TABLE doctors (id serial PRIMARY KEY, site text REFERENCES clinics (code));
CREATE TABLE each_kind (patient int REFERENCES patients, doctor int REFERENCES doctors, here text REFERENCES clinics);
CREATE TABLE twice (a int REFERENCES patients, b int REFERENCES patients);
CREATE TABLE loop_a (id int PRIMARY KEY, b int, self int REFERENCES loop_a);
CREATE TABLE loop_b (id int PRIMARY KEY, a int REFERENCES loop_a);
ALTER TABLE loop_a ADD FOREIGN KEY (b) REFERENCES loop_b;
CREATE TABLE composite (x int, y int, clinic_id text, PRIMARY KEY (x, y));
CREATE TABLE by_two (x int, y int, FOREIGN KEY (x, y) REFERENCES composite);

SELECT is(pg_temp.ways('records', 'clinic'), ARRAY['patient_id -> pgtap_plan.patients(id).clinic_id'], 'one step');
SELECT is(pg_temp.ways('vitals', 'clinic'), ARRAY['recordId -> pgtap_plan.records(id).patient_id -> pgtap_plan.patients(id).clinic_id'], 'two');
SELECT is(pg_temp.ways('vitals', 'patient'), ARRAY['recordId -> pgtap_plan.records(id).patient_id'], 'the patient is nearer');
SELECT is(pg_temp.ways('far', 'clinic'), ARRAY['odd_id -> pgtap_plan."odd ""table"(id)."its record" -> pgtap_plan.records(id).patient_id -> pgtap_plan.patients(id).clinic_id'],
          'three, names quoted that need it');
SELECT is(cardinality(pg_temp.ways('farther', 'clinic')), 1, 'four');
CREATE TABLE farthest (farther_id int REFERENCES farther);
SELECT is(pg_temp.ways('farthest', 'clinic'), '{}', 'five are too many');
SELECT is(pg_temp.ways('doctors', 'clinic'), ARRAY['site -> pgtap_plan.clinics(code).id'], 'a key that is not the clinic''s own leads to that');
SELECT is(pg_temp.ways('twice', 'clinic'), ARRAY['a -> pgtap_plan.patients(id).clinic_id', 'b -> pgtap_plan.patients(id).clinic_id'], 'all of the same length');
SELECT is(pg_temp.ways('loop_a', 'clinic'), '{}', 'round in circles: nowhere');
SELECT is(pg_temp.ways('by_two', 'clinic'), '{}', 'keys of two columns are none');
SELECT is(clinicache._resolve_column('each_kind', 'clinic', '[]'), '{"column": "here"}', 'a column that points to the clinics is one');
SELECT is(clinicache._resolve_column('each_kind', 'patient', '[]'), '{"column": "patient"}', 'its name comes first');
SELECT is(clinicache._resolve_column('vitals', 'patient', '[]'), '{"lookup": "recordId -> pgtap_plan.records(id).patient_id"}', 'else the one way');
SELECT is(clinicache._resolve_column('vitals', 'doctor', '[]'), '{"refused": []}', 'only clinics and patients are looked up');
SELECT throws_ok($$ SELECT clinicache._resolve_column('twice', 'clinic', '[]') $$, '42702', NULL, 'two ways');
SELECT throws_ok($$ SELECT clinicache._resolve_column('twice', 'patient', '[]') $$, '42702', NULL, 'two columns');
CREATE TABLE parted (id int PRIMARY KEY, clinic_id text) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE of_parted (p int REFERENCES parted);
SELECT is(pg_temp.ways('of_parted', 'clinic'), ARRAY['p -> pgtap_plan.parted(id).clinic_id'], 'a partitioned table is one table');

-- entities
SELECT is(clinicache._entity_named(w.name), w.entity, w.name || ' by its name')
FROM (VALUES ('Patient', 'patient'), ('diagnoses', 'diagnosis'), ('LabResults', 'lab_test'), ('branches', 'clinic'), ('pat', NULL), ('s', NULL)) AS w(name, entity);
CREATE TABLE sitting (id int, client_id int, "doctorId" int, starts_at timestamptz);
CREATE TABLE deposit (id int, patient_id int, amount numeric, created_at date);
CREATE TABLE finding (id int, patient_id int, doctor_id int, medical_record_id int, appointment_id int);
CREATE TABLE wrong_types (id int, client_id int, "doctorId" int, starts_at text);
SELECT is(clinicache._entity_by_columns(t::regclass), e, t || ' by its columns')
FROM (VALUES ('sitting', 'appointment'), ('deposit', 'payment'), ('finding', NULL), ('wrong_types', NULL), ('patients', NULL)) AS w(t, e);

-- soft deletes
CREATE TYPE state AS ENUM ('NEW', 'Archived', 'DELETED');
CREATE TABLE soft_1 (status state, "deletedAt" timestamptz, is_deleted boolean);
CREATE TABLE soft_2 (status state, archived_at date);
CREATE TABLE soft_3 (status state);
CREATE TABLE soft_4 (status text, is_deleted int, deleted boolean DEFAULT false);
CREATE TABLE soft_5 (status text, deleted text);
SELECT is(clinicache._soft_delete(w.t::regclass), w.d::jsonb, w.t || ': ' || coalesce(w.d, 'none'))
FROM (VALUES ('soft_1', '"is_deleted"'), ('soft_2', '"archived_at"'), ('soft_3', '{"column": "status", "values": ["Archived", "DELETED"]}'),
             ('soft_4', '"deleted"'), ('soft_5', NULL)) AS w(t, d);

-- order
SELECT is_empty($$
  WITH placed AS (SELECT t.rel, t.n FROM clinicache._tables_in_order('pgtap_plan'::regnamespace) WITH ORDINALITY AS t(rel, n))
  SELECT f.conrelid::regclass FROM pg_constraint AS f JOIN placed AS c ON c.rel = f.conrelid JOIN placed AS p ON p.rel = f.confrelid
  WHERE f.contype = 'f' AND c.n < p.n AND NOT (f.conrelid::regclass::text LIKE 'loop_%')
$$, 'those that others point to come first');
SELECT is((SELECT count(*) FROM clinicache._tables_in_order('pgtap_plan'::regnamespace)),
          (SELECT count(*) FROM pg_class WHERE relnamespace = 'pgtap_plan'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition), 'each once, circles included');
SELECT is((SELECT count(*) FROM clinicache.track_schema('pgtap_plan')), (SELECT count(*) FROM clinicache._tables_in_order('pgtap_plan'::regnamespace)), 'all can be tracked');
SELECT is((SELECT array_agg(DISTINCT state) FROM clinicache.tracked_tables), ARRAY['enabled'], 'and are');

SELECT * FROM finish();
ROLLBACK;
