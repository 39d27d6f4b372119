\set record random(1, 100000)
\set pulse random(60, 100)
INSERT INTO :table (record_id, patient_id, clinic_id, pulse) VALUES (:record, :record, 1 + :record % 50, :pulse);
