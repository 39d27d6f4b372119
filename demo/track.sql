-- All that an application has to do: say what its tables hold. The tags come
-- from the presets; the columns are found by themselves.
CREATE EXTENSION clinicache;

INSERT INTO clinicache.tenant (tenant, timezone) VALUES
	('harbor', 'America/New_York'), ('hilltop', 'America/New_York'), ('riverside', 'America/New_York');

SELECT clinicache.track('"Clinic"', 'clinic');
SELECT clinicache.track('"Doctor"', 'doctor');
SELECT clinicache.track('"Patient"', 'patient', options => '{"ignore": ["updatedAt"]}');
SELECT clinicache.track('"Appointment"', 'appointment', options => '{"ignore": ["updatedAt"]}');
SELECT clinicache.track('"Immunization"', 'immunization');
