-- Records of the past from data/, then bookings relative to today.
INSERT INTO "Clinic" ("id", "name") VALUES
	('harbor', 'Harbor Clinic'), ('hilltop', 'Hilltop Clinic'), ('riverside', 'Riverside Clinic');

\copy "Doctor" ("id", "clinicId", "name", "specialty") FROM 'data/doctors.csv' (FORMAT csv, HEADER)
\copy "Patient" ("id", "clinicId", "firstName", "lastName", "gender", "birthDate", "city") FROM 'data/patients.csv' (FORMAT csv, HEADER)
\copy "Appointment" ("id", "clinicId", "patientId", "doctorId", "date", "reason", "fee") FROM 'data/appointments.csv' (FORMAT csv, HEADER)
\copy "Immunization" ("id", "clinicId", "patientId", "code", "date", "name") FROM 'data/immunizations.csv' (FORMAT csv, HEADER)

UPDATE "Appointment" SET "status" = 'COMPLETED';

-- Dr Lee's next week: 35 patients, seven a day, from nine in the morning
INSERT INTO "Appointment" ("id", "clinicId", "patientId", "doctorId", "date", "reason")
SELECT 'week-' || n, 'harbor', "id", 'dr-lee',
	(day + time '09:00' + (n % 7) * interval '45 minutes') AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC',
	'Encounter for check up'
FROM (SELECT "id", row_number() OVER (ORDER BY "id") AS n FROM "Patient") p,
	LATERAL (SELECT (now() AT TIME ZONE 'America/New_York')::date + 7 + (n / 7)::int AS day) d;

-- and one booking of tomorrow for the patient who will move
INSERT INTO "Appointment" ("id", "clinicId", "patientId", "doctorId", "date", "reason")
SELECT 'apt-1001', 'riverside', '2b3e79b8', 'dr-haddad',
	((now() AT TIME ZONE 'America/New_York')::date + 1 + time '11:00') AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC',
	'Follow-up encounter';
