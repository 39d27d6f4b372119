\set clinic random(1, 50)
\set patient random(1, 100000)
\set doctor random(1, 500)
\set minutes random(0, 129600)
INSERT INTO :table ("clinicId", "patientId", "doctorId", date, status, notes) VALUES (:clinic, :patient, :doctor, now() + make_interval(mins => :minutes), 'SCHEDULED', 'routine visit');
