-- Tracking and untracking, dry runs, what is tracked, tags by hand.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

-- presets find columns of both naming styles
CREATE TABLE "Appointment" (id bigint PRIMARY KEY, "clinicId" int, "patientId" int, "doctorId" int,
                            date timestamptz, status text);
CREATE TABLE appointments (appointment_key uuid PRIMARY KEY, clinic_id int, patient_id int, provider_id int,
                           starts_at timestamptz, status text);
SELECT clinicache.track('"Appointment"', 'appointment');
SELECT clinicache.track('appointments', 'appointment');
SELECT relation, entity, tenant, columns, cardinality(templates) AS templates, left_out, state
  FROM clinicache.tracked_tables ORDER BY relation::text COLLATE "C";

-- the triggers are the configuration
SELECT t.tgrelid::regclass, t.tgname, t.tgtype, p.proname, t.tgenabled,
       (clinicache.trigger_config(t.oid) ->> 'entity') AS entity
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.pronamespace = 'clinicache'::regnamespace
   AND t.tgrelid::regclass::text !~ '^clinicache' ORDER BY t.tgrelid::regclass::text COLLATE "C", 2;
SELECT t.tags() = '{}' AS tracking_itself_tells_nothing;

-- a dry run, and the same for true
SELECT tag, profile FROM clinicache.preview('"Appointment"', NULL,
  '{"id": 1, "clinicId": 7, "patientId": 42, "doctorId": 3, "date": "2031-05-01 10:00+00", "status": "new"}')
  ORDER BY tag COLLATE "C";
BEGIN;
INSERT INTO "Appointment" VALUES (1, 7, 42, 3, '2031-05-01 10:00+00', 'new');
SELECT (SELECT array_agg(x ORDER BY x::text) FROM clinicache.pending_tags() x)
     = (SELECT array_agg(x ORDER BY x::text) FROM clinicache.preview('"Appointment"', NULL, to_jsonb(a)) x
        ) AS preview_told_so
  FROM "Appointment" a;
COMMIT;
SELECT * FROM t.told();
SELECT count(*) FROM clinicache.pending_tags();

-- update: keys of the new row are laid over the old one; delete
SELECT array_agg(tag ORDER BY tag COLLATE "C") FROM clinicache.preview('"Appointment"', '{"id": 1, "clinicId": 7, "status": "new"}', '{"clinicId": 8}');
SELECT count(*) FROM clinicache.preview('"Appointment"', '{"id": 1, "clinicId": 7}', '{"clinicId": 7}');
SELECT array_agg(tag ORDER BY tag COLLATE "C") FROM clinicache.preview('"Appointment"', '{"id": 1, "clinicId": 7}', NULL);
SELECT t.tags() = '{}' AS dry_runs_tell_nothing;

-- what to put on a read, and with which tables' writes it goes stale
SELECT template, profile, prefix, tables FROM clinicache.tag_templates WHERE template ~ 'date|today|all$|^appointment:'
 ORDER BY template COLLATE "C";
SELECT clinicache.tag('appointments:month:{clinic}:{date|month}', '{"clinic": 7, "date": "2031-05-01"}'),
       clinicache.tag('appointment:{id}', '{"id": 1}'), clinicache.tag('appointments:all', '{}'),
       clinicache.tag('appointment:{id}', '{"id": null}') IS NULL AS null_makes_no_tag,
       clinicache.tag('patients:list:*', '{}');
SELECT clinicache.template_prefix('a:{b}:c'), clinicache.template_prefix('a:*'), clinicache.template_prefix('a'),
       clinicache.template_columns('{b|lower}:{clinicId|date|hash}:x{b}');

-- own templates; columns, constants, options
CREATE TABLE rooms (id int PRIMARY KEY, clinic_id int, name text, bookedBy int, "updatedAt" timestamptz);
SELECT clinicache.track('rooms', '{"tenant": "clinic_id", "ignore": ["updatedAt"],
  "columns": {"who": ["bookedby", "id"], "site": "=''main''"},
  "tags": ["room:{id}", {"tag": "rooms:{site}:by:{who}", "profile": "minutes"}, "rooms:list:*", ["rooms:all", "hours"]]}');
INSERT INTO rooms VALUES (1, 7, 'blue', NULL, NULL), (2, 7, 'red', 99, NULL);
SELECT * FROM t.told();
SELECT relation, entity, tenant, columns, templates, left_out, state FROM clinicache.tracked_tables WHERE relation = 'rooms'::regclass;

-- tracking again replaces
SELECT clinicache.track('rooms', '{"tags": ["only:{id}"]}');
UPDATE rooms SET "updatedAt" = now() WHERE id = 1;
SELECT * FROM t.told();
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'rooms'::regclass;

-- options of a preset: added, replaced, left away, absent, constant
CREATE TABLE patients (id int PRIMARY KEY, name text);
\set VERBOSITY default
SELECT clinicache.track('patients', 'patient', '{"clinic": null}', '{"tags": ["patient:name:{name|hash}"]}');
\set VERBOSITY terse
SELECT templates, left_out FROM clinicache.tracked_tables WHERE relation = 'patients'::regclass;
SELECT clinicache.track('patients', 'patient', '{"clinic": "=''main''"}',
  '{"without": ["patients:list:*", "patients:all"], "tags": [["patient:{id}", "days"]]}');
INSERT INTO patients VALUES (1, 'Ada');
SELECT * FROM t.told();

-- by hand
SELECT clinicache.invalidate(ARRAY['weather', 'weather', 'news'], reason => 'new forecast');
SELECT clinicache.invalidate(tags => '{lunch}', tenant => '7');
SELECT clinicache.invalidate('{}');
SELECT clinicache.invalidate_prefix('appointments:', '7', 'import');
SELECT clinicache.invalidate_prefix('appointments:doctor:3');
SELECT clinicache.invalidate_prefix('nobody:makes:this:');
SELECT DISTINCT tenant, tag, origin FROM t.entry ORDER BY 2;
SELECT * FROM t.told();
BEGIN;
SELECT clinicache.invalidate('{weather}', reason => 'first'), clinicache.invalidate('{news}', reason => 'second');
SELECT tag, profile FROM clinicache.pending_tags() ORDER BY 1;
ROLLBACK;
SELECT t.tags() = '{}' AS rolled_back;
SELECT clinicache.invalidate_prefix('');
SELECT * FROM t.told();

-- by default the origin is the application
SET application_name = 'front desk';
INSERT INTO rooms VALUES (3);
SELECT origin, tag FROM t.entry;
RESET application_name;

-- positions
SELECT clinicache.position() AS before \gset
SELECT clinicache.changes(:'before') - 'pos' AS nothing, clinicache.reached(:'before');
SELECT clinicache.changes(NULL) - 'pos' AS afresh;
SELECT clinicache.invalidate('{a:1,a:2,b:1}', '7'), clinicache.invalidate('{c}', '8'), clinicache.invalidate('{d}');
SELECT clinicache.changes(:'before') - 'pos' AS all_of_it;
SELECT clinicache.changes(:'before', '{8}') - 'pos' AS one_tenant;
SELECT clinicache.changes(:'before', '{}') - 'pos' AS no_tenant;
-- too many: the prefixes that readers know from tag_templates; if that does not do, reset
INSERT INTO rooms SELECT i FROM generate_series(10, 19) i;
SELECT clinicache.changes(:'before', max_tags => 6) - 'pos' AS fewer;
SELECT clinicache.changes(:'before', max_tags => 4) - 'pos' AS too_many;
SELECT clinicache.changes(clinicache.changes(:'before') ->> 'pos') - 'pos' AS and_then_nothing;

-- another history, a position of the future
SELECT clinicache.changes(overlay(:'before' placing repeat('0', 16) from 3)) ->> 'reset' AS other_epoch,
       clinicache.reached(overlay(:'before' placing repeat('0', 16) from 3));

-- upkeep
CALL clinicache.maintain();
SELECT clinicache.changes(:'before') ->> 'reset' AS upkeep_keeps_what_is_fresh;
SELECT count(*) >= 2 AS recorded, bool_or(delivered) AS delivered FROM clinicache.position_history;

-- untracking
SELECT clinicache.untrack('rooms');
SELECT clinicache.untrack('rooms');
SELECT t.mark();
DELETE FROM rooms;
SELECT t.tags() = '{}' AS silence, count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'rooms'::regclass;
DROP SCHEMA t CASCADE;
DROP EXTENSION clinicache;
SELECT clinicache.untrack_all();
SELECT count(*) FROM clinicache.tracked_tables;
DROP EXTENSION clinicache;
-- the schema stays, as with any extension that names one, and is empty
DROP SCHEMA clinicache;
\i :stop
