-- Appointments as an application keeps them; of each table an untracked and a tracked one.
CREATE EXTENSION clinicache;

CREATE TABLE clinic  (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE doctor  (id int PRIMARY KEY, "clinicId" int NOT NULL REFERENCES clinic, name text NOT NULL);
CREATE TABLE patient (id int PRIMARY KEY, "clinicId" int NOT NULL REFERENCES clinic, name text NOT NULL);
INSERT INTO clinic  SELECT i, 'clinic ' || i FROM generate_series(1, 50) AS i;
INSERT INTO doctor  SELECT i, 1 + i % 50, 'doctor ' || i FROM generate_series(1, 500) AS i;
INSERT INTO patient SELECT i, 1 + i % 50, 'patient ' || i FROM generate_series(1, 100000) AS i;

\set table plain
\ir table.sql
CREATE TABLE tracked    (LIKE plain INCLUDING ALL);
CREATE TABLE plain_fk   (LIKE plain INCLUDING ALL);
CREATE TABLE tracked_fk (LIKE plain INCLUDING ALL);
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['plain_fk', 'tracked_fk'] LOOP
    EXECUTE format('ALTER TABLE %I ADD FOREIGN KEY ("clinicId") REFERENCES clinic, ADD FOREIGN KEY ("patientId") REFERENCES patient, '
                   'ADD FOREIGN KEY ("doctorId") REFERENCES doctor', name);
  END LOOP;
END
$$;
SELECT clinicache.track('tracked', 'appointment', options => '{"counters": []}');
SELECT clinicache.track('tracked_fk', 'appointment', options => '{"counters": []}');

-- Vital signs know their record, which knows the patient, who knows the clinic; the one table has all three.
CREATE TABLE record (id int PRIMARY KEY, patient_id int NOT NULL REFERENCES patient);
INSERT INTO record SELECT i, i FROM generate_series(1, 100000) AS i;
CREATE TABLE vital (id bigserial PRIMARY KEY, record_id int NOT NULL REFERENCES record, patient_id int, clinic_id int, pulse int);
CREATE TABLE vital_lookup (LIKE vital INCLUDING ALL);
ALTER TABLE vital_lookup ADD FOREIGN KEY (record_id) REFERENCES record;
SELECT clinicache.track('vital', 'vital_signs', '{"medical_record": "record_id"}', '{"tenant": "clinic_id", "tags": ["vitals:clinic:{clinic_id}"]}');
SELECT clinicache.track('vital_lookup', 'vital_signs', '{"medical_record": "record_id"}', '{"tenant": "clinic", "tags": ["vitals:clinic:{clinic}"],
  "lookups": {"patient": "record_id -> record(id).patient_id", "clinic": "record_id -> record(id).patient_id -> patient(id).clinicId"}}');
VACUUM ANALYZE;
