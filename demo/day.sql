-- A day in a clinic. Each step is SQL as an application would send it; the
-- comments that begin so are read by story.pl:
--
--   --# title        --: explanation       --! what the subscriber does (stop, start)
--   --= the tags that must arrive and no others (a prefix ends in *)
--   --? tags that may arrive as well: they depend on the time of day
--   --+ tags that must be among those that arrive
--   --@ clinic: numbers of its dashboard, and by how much they change
--
-- {today}, {month} … are days and instants that story.pl asks of the server.

--# A patient books with Dr Lee for this afternoon
--: One INSERT. Its tags are the lists, calendars and dashboards that show it, by how soon they should be fresh.
INSERT INTO "Appointment" ("id", "clinicId", "patientId", "doctorId", "date", "reason")
VALUES ('apt-2001', 'harbor', 'c86662c7', 'dr-lee', '{today 16:30}', 'Follow-up encounter');
--= appointment:apt-2001 appointments:patient:c86662c7 patient:c86662c7:appointments patient:c86662c7
--= appointments:doctor:dr-lee doctor:dr-lee:appointments doctor:dr-lee:slots queue:doctor:dr-lee
--= appointments:date:{today} appointments:month:harbor:{month} visits:schedule:dr-lee:{today}
--= appointments:today:harbor appointments:upcoming:harbor appointments:status:SCHEDULED:clinic:harbor
--= appointments:clinic:harbor search:appointment:harbor appointments:all
--= clinic:harbor:counts clinic:harbor:dashboard admin:dashboard:harbor dashboard_stats_c86662c7
--? appointments:past:harbor

--# It is moved to tomorrow
--: Old and new values both count: today's calendar and tomorrow's.
UPDATE "Appointment" SET "date" = '{tomorrow 10:00}', "updatedAt" = now() WHERE "id" = 'apt-2001';
--= appointment:apt-2001 appointments:patient:c86662c7 patient:c86662c7:appointments patient:c86662c7
--= appointments:doctor:dr-lee doctor:dr-lee:appointments doctor:dr-lee:slots queue:doctor:dr-lee
--= appointments:date:{today} appointments:month:harbor:{month} visits:schedule:dr-lee:{today}
--= appointments:date:{tomorrow} appointments:month:harbor:{month of tomorrow} visits:schedule:dr-lee:{tomorrow}
--= appointments:today:harbor appointments:upcoming:harbor appointments:status:SCHEDULED:clinic:harbor
--= appointments:clinic:harbor search:appointment:harbor appointments:all
--= clinic:harbor:counts clinic:harbor:dashboard admin:dashboard:harbor dashboard_stats_c86662c7
--? appointments:past:harbor

--# The ORM saves it again, and nothing has changed but "updatedAt"
--: "updatedAt" was to be ignored: no tag, no message, no row in the log.
UPDATE "Appointment" SET "status" = 'SCHEDULED', "updatedAt" = now() WHERE "id" = 'apt-2001';
--=

--# A booking fails at payment and is rolled back
--: What did not happen is not told.
BEGIN;
INSERT INTO "Appointment" ("id", "clinicId", "patientId", "doctorId", "date")
VALUES ('apt-2002', 'hilltop', '54073b02', 'dr-okafor', '{tomorrow 10:00}');
ROLLBACK;
--=

--# Elma moves from Riverside to Hilltop
--: Both clinics drop what they had of her.
UPDATE "Patient" SET "clinicId" = 'hilltop' WHERE "id" = '2b3e79b8';
--= patient:2b3e79b8 patients:all patients:list:*
--= patients:clinic:riverside patients:recent:riverside patients:counts:clinic:riverside dashboard:patients:riverside
--= clinic:riverside:counts clinic:riverside:dashboard admin:dashboard:riverside search:patient:riverside
--= patients:clinic:hilltop patients:recent:hilltop patients:counts:clinic:hilltop dashboard:patients:hilltop
--= clinic:hilltop:counts clinic:hilltop:dashboard admin:dashboard:hilltop search:patient:hilltop

--# Dr Lee is ill: next week's 35 appointments are cancelled
--: More than bulk_threshold (25 here) tags of one kind become one prefix; clinic, doctor and days stay exact.
UPDATE "Appointment" SET "status" = 'CANCELLED'
WHERE "doctorId" = 'dr-lee' AND "date" > now() AT TIME ZONE 'UTC' + interval '5 days';
--+ appointment:* appointments:patient:* patient:* dashboard_stats_*
--+ appointments:doctor:dr-lee doctor:dr-lee:slots appointments:clinic:harbor
--+ appointments:status:SCHEDULED:clinic:harbor appointments:status:CANCELLED:clinic:harbor

--# A patient asks to be forgotten
--: One DELETE. His appointments and immunizations go by ON DELETE CASCADE, which no application code sees.
DELETE FROM "Patient" WHERE "id" = '54073b02';
--+ patient:54073b02 patients:clinic:hilltop patients:list:*
--+ patient:54073b02:appointments appointments:past:hilltop appointment:week-5
--+ immunizations:patient:54073b02 patient:54073b02:immunizations vaccinations:counts:hilltop

--# The web server goes away; meanwhile a clinic is renamed and a doctor changes specialty
--! stop
--: The subscriber has saved its position (maintain(), run by pg_cron, sends one now and then). Nobody waits for it.
UPDATE "Clinic" SET "name" = 'Harbor Medical Centre' WHERE "id" = 'harbor';
UPDATE "Doctor" SET "specialty" = 'Geriatrics' WHERE "id" = 'dr-berg';
--=

--# The web server is back
--! start
--: It asks for all that committed after its position: what it missed, no more and no less.
--= clinic:harbor clinics:all clinic:stats:global
--= doctor:dr-berg doctors:clinic:riverside doctors:all doctors:list:* queue:doctor:dr-berg doctor:dr-berg:slots
--= doctors:specialty:Cardiology:clinic:riverside doctors:specialty:Geriatrics:clinic:riverside
--= clinic:riverside:counts clinic:riverside:dashboard admin:dashboard:riverside search:doctor:riverside

--# Test data is thrown away
--: No row event tells what was in it, so each kind of tag goes by its prefix.
TRUNCATE "Immunization";
--= immunization:* immunizations:patient:* patient:* immunizations:vaccine:* immunizations:clinic:*
--= vaccinations:patient:* vaccinations:counts:* vaccinations:all

--# Three bookings, and Hilltop's dashboard
--: clinic_dashboard() is exact in every snapshot: counters ride in the change records. Nothing is recounted, no row is hot.
--@ hilltop: today +2, upcoming +3
INSERT INTO "Appointment" ("id", "clinicId", "patientId", "doctorId", "date") VALUES
  ('apt-3001', 'hilltop', '2b3e79b8', 'dr-okafor', '{today 16:30}'),
  ('apt-3002', 'hilltop', '2b3e79b8', 'dr-okafor', '{today 16:30}'),
  ('apt-3003', 'hilltop', '2b3e79b8', 'dr-okafor', '{tomorrow 10:00}');
--+ appointments:clinic:hilltop clinic:hilltop:dashboard admin:dashboard:hilltop dashboard_stats_2b3e79b8

--# One of them has been seen, one is cancelled
--@ hilltop: today +0, upcoming -2, completed +1
UPDATE "Appointment" SET "status" = 'COMPLETED' WHERE "id" = 'apt-3001';
UPDATE "Appointment" SET "status" = 'CANCELLED' WHERE "id" = 'apt-3003';
--+ appointment:apt-3001 appointment:apt-3003 clinic:hilltop:dashboard
