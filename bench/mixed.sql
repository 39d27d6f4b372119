\set dice random(1, 100)
\set row random(1, 100000)
\set clinic random(1, 50)
\set patient random(1, 100000)
\set doctor random(1, 500)
\set minutes random(0, 129600)
\if :dice <= 70
UPDATE :table SET status = CASE status WHEN 'SCHEDULED' THEN 'ARRIVED' WHEN 'ARRIVED' THEN 'DONE' ELSE 'SCHEDULED' END WHERE id = :row;
\elif :dice <= 90
INSERT INTO :table ("clinicId", "patientId", "doctorId", date, status, notes) VALUES (:clinic, :patient, :doctor, now() + make_interval(mins => :minutes), 'SCHEDULED', 'routine visit');
\else
DELETE FROM :table WHERE id = :row;
\endif
