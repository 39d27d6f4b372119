\timing off
SELECT clock_timestamp() AS began \gset
INSERT INTO :"table" ("clinicId", "patientId", "doctorId", date, status, notes)
SELECT 1 + i % 50, 1 + i * 7919 % 100000, 1 + i % 500, now() + make_interval(mins => i * 31 % 129600), 'SCHEDULED', 'routine visit'
FROM generate_series(1, 200000) AS i;
SELECT 200000 / extract(epoch FROM clock_timestamp() - :'began'::timestamptz);
