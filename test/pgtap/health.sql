-- health(): each finding that can be made in a transaction, its remedy, and that nothing is found once it is remedied.
-- Old transactions, a log near its limit, a standby and pg_cron: test/t/085_health_worker.pl.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(46);

-- Of one object: what is found, or null; the suite may preload us or not, so other findings may be there.
CREATE FUNCTION pg_temp.found(object text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(h.severity || ': ' || h.finding, ' | ') FROM clinicache.health() AS h WHERE h.object = found.object
$$;
CREATE FUNCTION pg_temp.remedy(object text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(h.remedy, '; ') FROM clinicache.health() AS h WHERE h.object = remedy.object
$$;
-- Does what the remedy says; comments and all.
CREATE FUNCTION pg_temp.cure(object text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE (SELECT h.remedy FROM clinicache.health() AS h WHERE h.object = cure.object);
END
$$;

CREATE SCHEMA hc;
CREATE TABLE hc.clinics (id int PRIMARY KEY);
CREATE TABLE hc.appointments (id int PRIMARY KEY, clinic_id int, patient_id int, doctor_id int, date timestamptz, status text);
CREATE TABLE hc.rooms (id int, clinic int, kind text) PARTITION BY LIST (clinic);
CREATE TABLE hc.rooms_1 PARTITION OF hc.rooms FOR VALUES IN (1);
SELECT clinicache.track('hc.clinics', 'clinic'), clinicache.track('hc.appointments', 'appointment'),
       clinicache.track('hc.rooms', '{"tags": ["room:{id}", "rooms:{kind}"], "tenant": "clinic"}') \g /dev/null

SELECT is((SELECT array_agg(format('%s %s', severity, object)) FROM clinicache.health() WHERE object LIKE 'hc.%' OR object LIKE '% of hc.%'), NULL, 'tracked and healthy: nothing');
SELECT is_empty($$ SELECT * FROM clinicache.health() WHERE severity NOT IN ('critical', 'warning', 'notice') OR finding IS NULL OR remedy IS NULL $$,
                'each finding has a severity and a remedy');
SELECT is_empty($$ SELECT finding FROM clinicache.health() WHERE finding LIKE 'check %' $$, 'no check fails');
SELECT is((SELECT array_agg(p.proname::text ORDER BY p.proname) FROM pg_proc AS p
           WHERE p.pronamespace = 'clinicache'::regnamespace AND p.proname LIKE '\_health\_%' AND p.proname NOT IN ('_health_checks', '_health_all', '_health_repair')),
          (SELECT array_agg('_health_' || c ORDER BY '_health_' || c) FROM unnest(clinicache._health_checks()) AS c), 'health() makes all checks there are');

-- Triggers.
ALTER TABLE hc.appointments DISABLE TRIGGER clinicache;
SELECT is(pg_temp.found('hc.appointments'), 'critical: the row trigger is disabled: changes emit nothing', 'a disabled row trigger');
SELECT is((SELECT h.object FROM clinicache.health() AS h LIMIT 1), 'hc.appointments', 'comes first');
SELECT pg_temp.cure('hc.appointments') \g /dev/null
SELECT is(pg_temp.found('hc.appointments'), NULL, 'the remedy enables it');
ALTER TABLE hc.appointments DISABLE TRIGGER clinicache_truncate;
SELECT is(pg_temp.found('hc.appointments'), 'warning: the TRUNCATE trigger is disabled, or fires at other times than the row trigger', 'a disabled TRUNCATE trigger');
DROP TRIGGER clinicache_truncate ON hc.appointments;
SELECT is(pg_temp.found('hc.appointments'), 'warning: the TRUNCATE trigger is missing: TRUNCATE emits nothing', 'a missing one');
SELECT pg_temp.cure('hc.appointments') \g /dev/null
SELECT is(pg_temp.found('hc.appointments'), NULL, 'the remedy makes it anew');
CREATE TEMP TABLE before AS SELECT t.* FROM clinicache.tracked_tables AS t WHERE t.relation = 'hc.appointments'::regclass;
DROP TRIGGER clinicache ON hc.appointments;
SELECT is(pg_temp.found('hc.appointments'), 'critical: the row trigger is missing: changes emit nothing', 'a missing row trigger');
SELECT alike(pg_temp.remedy('hc.appointments'), '%; or SELECT clinicache.untrack(''hc.appointments'')', 'may be meant');
SELECT lives_ok(format('DO $d$ BEGIN PERFORM %s; END $d$', substr(split_part(pg_temp.remedy('hc.appointments'), '; or ', 1), 8)), 'or is made anew');
SELECT results_eq('SELECT t.* FROM clinicache.tracked_tables AS t WHERE t.relation = ''hc.appointments''::regclass', 'SELECT * FROM before', 'exactly as it was');
ALTER TABLE hc.rooms_1 DISABLE TRIGGER clinicache;
SELECT is(pg_temp.found('hc.rooms'), 'critical: triggers of a partition are disabled or fire at other times', 'a partition''s disabled trigger');
SELECT pg_temp.cure('hc.rooms') \g /dev/null
SELECT is(pg_temp.found('hc.rooms'), NULL, 'the remedy enables it');
ALTER TABLE hc.clinics ENABLE REPLICA TRIGGER clinicache, ENABLE REPLICA TRIGGER clinicache_truncate;
SELECT is(pg_temp.found('hc.clinics'), 'critical: triggers fire for replicated changes only: others emit nothing', 'replica triggers');
SELECT pg_temp.cure('hc.clinics') \g /dev/null

-- Configurations that can not be used, and owners that are not trusted.
SAVEPOINT broken;
SET LOCAL session_replication_role = replica;      -- or it would be refused
ALTER TABLE hc.rooms DROP COLUMN kind;
SET LOCAL session_replication_role = origin;
SELECT alike(pg_temp.found('hc.rooms'), 'critical: its configuration can not be used: each of its changes drops everything: %kind%', 'a column that is gone');
SET LOCAL clinicache.on_error = 'error';
SELECT alike(pg_temp.found('hc.rooms'), 'critical: its configuration can not be used: its changes fail: %kind%', 'with on_error = error');
ROLLBACK TO broken;
CREATE ROLE pgtap_clinic;
ALTER TABLE hc.clinics OWNER TO pgtap_clinic;
SELECT is(pg_temp.found('hc.clinics'), 'critical: its owner pgtap_clinic may not track tables: each of its changes drops everything', 'an owner that may not track');
SELECT pg_temp.cure('hc.clinics') \g /dev/null
SELECT is(pg_temp.found('hc.clinics'), NULL, 'is granted it');

-- Tables with a clinic that nobody tracks.
CREATE TABLE hc.patients (id int PRIMARY KEY, "clinicId" int);
CREATE TABLE hc.widgets (id int PRIMARY KEY, home int REFERENCES hc.clinics);
CREATE TABLE hc.others (id int PRIMARY KEY, home int);
CREATE TABLE hc.wards (id int PRIMARY KEY, clinic_id int REFERENCES hc.patients);
CREATE TABLE hc._prisma_migrations (id int PRIMARY KEY, clinic_id int);
CREATE TEMP TABLE passing (id int PRIMARY KEY, clinic_id int);
CREATE TABLE hc.rooms_2 PARTITION OF hc.rooms FOR VALUES IN (2);
SELECT is(pg_temp.found('hc.patients'), 'warning: has a clinic (column "clinicId") and is not tracked: its changes emit nothing', 'a table like a preset''s');
SELECT is(pg_temp.remedy('hc.patients'), 'SELECT clinicache.track(''hc.patients'', ''patient'')', 'is tracked by that');
SELECT is(pg_temp.found('hc.widgets'), 'notice: has a clinic (column "home") and is not tracked: its changes emit nothing', 'a table with a foreign key to clinics');
SELECT pg_temp.cure('hc.patients'), pg_temp.cure('hc.widgets') \g /dev/null
SELECT is(coalesce(pg_temp.found('hc.patients'), pg_temp.found('hc.widgets')), NULL, 'the remedies track them');
SELECT is_empty($$ SELECT * FROM clinicache.health() WHERE object IN ('hc.others', 'hc.wards', 'hc._prisma_migrations', 'passing', 'hc.rooms_2') $$,
                'nothing of tables without a clinic, with a key to another entity, temporary ones, partitions and Prisma''s');
DO $$ BEGIN FOR i IN 10..40 LOOP EXECUTE format('CREATE TABLE hc.many_%s (id int, clinic_id int)', i); END LOOP; END $$;
SELECT is((SELECT count(*) FROM clinicache.health() WHERE object LIKE 'hc.many%'), 20::bigint, 'twenty at most');
SELECT is((SELECT h.finding FROM clinicache.health() AS h WHERE h.object IS NULL), '11 more tables have a clinic and are not tracked', 'and how many more');

-- Counters.
UPDATE clinicache.counter_source SET timezone = 'Asia/Tokyo' WHERE relation = 'hc.appointments'::regclass;
SELECT is(pg_temp.found('appointments of hc.appointments'), 'warning: the counter''s days are those of Asia/Tokyo, but clinicache.timezone is UTC now', 'a counter of another zone');
SELECT clinicache.distrust_counters('for a test') \g /dev/null
SELECT alike(pg_temp.found('appointments of hc.appointments'), 'warning: the counter is not valid, so it is read from the table, slowly: for a test', 'a counter that is not valid');
DELETE FROM clinicache.counter_source WHERE relation = 'hc.appointments'::regclass;
SELECT is(pg_temp.found('appointments of hc.appointments'), 'warning: the counter was never counted here (a restored dump?), so it is read from the table, slowly', 'a counter that is not there');
SELECT pg_temp.cure('appointments of hc.appointments') \g /dev/null
SELECT is(pg_temp.found('appointments of hc.appointments'), NULL, 'the remedy counts it');

-- Indexes.
UPDATE pg_class SET reltuples = 100000 WHERE oid = 'hc.appointments'::regclass;
SELECT is(pg_temp.remedy('hc.appointments'), 'CREATE INDEX ON hc.appointments (date); CREATE INDEX ON hc.appointments (clinic_id, date); CREATE INDEX ON hc.appointments (patient_id, date)',
          'indexes that a large table lacks');
CREATE INDEX ON hc.appointments (date); CREATE INDEX ON hc.appointments (clinic_id, date, id); CREATE INDEX ON hc.appointments (patient_id, date);
UPDATE pg_class SET reltuples = 100000 WHERE oid = 'hc.appointments'::regclass;
SELECT is(pg_temp.found('hc.appointments'), NULL, 'and has');

-- Tenants, subscribers.
ALTER TABLE clinicache.tenant DISABLE TRIGGER timezone_check;
INSERT INTO clinicache.tenant VALUES ('pgtap', 'Mars/Base');
SELECT is(pg_temp.found('pgtap'), 'critical: the server does not know time zone "Mars/Base" (any more) of a tenant', 'an unknown time zone');
INSERT INTO clinicache.subscriber VALUES ('pgtap_nobody');
SELECT is(pg_temp.found('pgtap_nobody'), 'warning: a subscriber''s role does not exist any more', 'a subscriber that is gone');
SELECT pg_temp.cure('pgtap_nobody') \g /dev/null
SELECT is(pg_temp.found('pgtap_nobody'), NULL, 'is deleted');

-- Settings.
ALTER ROLE pgtap_clinic SET session_replication_role = replica;
SELECT alike(pg_temp.found('role pgtap_clinic'), 'critical: session_replication_role is replica here%', 'a role whose changes emit nothing');
SELECT is(pg_temp.remedy('role pgtap_clinic'), 'ALTER ROLE pgtap_clinic RESET session_replication_role', 'its remedy');
SELECT pg_temp.cure('role pgtap_clinic') \g /dev/null
SELECT is(pg_temp.found('role pgtap_clinic'), NULL, 'helps');

-- Upkeep: the newest position is the one with the highest number.
INSERT INTO clinicache.position_history (id, at, position) VALUES (9223372036854775806, clock_timestamp() - interval '20 minutes', 'x');
SELECT alike(pg_temp.found('maintain()'), 'warning: upkeep was last done 00:20:0_ ago%', 'upkeep that was not done for long');
INSERT INTO clinicache.position_history (id, at, position) VALUES (9223372036854775807, clock_timestamp() - interval '2 hours', 'x');
SELECT alike(pg_temp.found('maintain()'), 'critical: upkeep was last done 02:00:0_ ago%', 'for very long');

-- Publications: last, since then what replicas could not identify is not deleted.
CREATE PUBLICATION pgtap_some FOR TABLE clinicache.identity, clinicache.entity;
SELECT is(pg_temp.remedy('publication pgtap_some'), 'ALTER PUBLICATION pgtap_some DROP TABLE clinicache.identity', 'a published table of clinicache''s own');
SELECT pg_temp.cure('publication pgtap_some') \g /dev/null
SELECT is(pg_temp.found('publication pgtap_some'), NULL, 'is taken out');

-- A check that fails is a finding, and the others are made.
CREATE OR REPLACE FUNCTION clinicache._health_log() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RAISE EXCEPTION 'no way'; END $$;
SELECT is((SELECT h.severity || ': ' || h.finding FROM clinicache.health() AS h WHERE h.finding LIKE 'check%'), 'warning: check "log" failed: no way', 'a check that fails');
SELECT isnt(pg_temp.found('pgtap'), NULL, 'does not hide others');

SELECT * FROM finish();
ROLLBACK;
