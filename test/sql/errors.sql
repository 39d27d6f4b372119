-- Every error that users can make: SQLSTATE, message, hint.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

CREATE TABLE doctor (id int PRIMARY KEY);
CREATE TABLE patient (id int PRIMARY KEY, clinic_id int, "clinicId" int, name text, seen date, n int);
CREATE TABLE visit (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE appointment (id int PRIMARY KEY, clinic int, patient_id int REFERENCES doctor, date timestamp, time text);
CREATE VIEW v AS SELECT 1 AS id;
CREATE TABLE statements (n serial, s text);
INSERT INTO statements (s) VALUES
-- what can be tracked
 ($$track('nowhere', 'patient')$$), ($$track('v', '{"tags": ["x:{id}"]}')$$), ($$track('pg_class', '{"tags": ["x:{oid}"]}')$$),
 ($$track('clinicache.tenant', '{"tags": ["x:{tenant}"]}')$$), ($$track(NULL, 'patient')$$), ($$track('patient', NULL::text)$$),
 ($$track('patient', NULL::jsonb)$$), ($$track(0::regclass, 'patient')$$), ($$untrack(NULL)$$),
-- entities and columns
 ($$track('patient', 'dragon')$$), ($$track('patient', 'patient')$$), ($$track('patient', 'patient', '{"clinic": "nope"}')$$),
 ($$track('patient', 'patient', '{"dragon": "id"}')$$), ($$track('patient', 'patient', '{"clinic": 7}')$$), ($$track('patient', 'patient', '{"clinic": []}')$$),
 ($$track('patient', 'patient', '{"clinic": "=main"}')$$), ($$track('patient', 'patient', '[]')$$), ($$track('visit', 'patient', '{"clinic": null}')$$),
 ($$track('doctor', 'patient')$$), ($$track('doctor', 'notification', '{}', '{"without": ["user:{user}:notifications"]}')$$),
-- a foreign key that points to another entity's table; no column for the tenant
 ($$track('appointment', 'appointment', '{"patient": "patient_id"}')$$), ($$track('appointment', 'growth', '{"clinic": null}', '{"without": ["growth:{id}"]}')$$),
-- zones
 ($$track('appointment', 'appointment', '{"clinic": "clinic"}', '{"zone": {"date": "mars"}}')$$),
 ($$track('appointment', 'appointment', '{}', '{"zone": {"dragon": "utc"}}')$$), ($$track('appointment', 'appointment', '{}', '{"zone": "utc"}')$$),
 ($$track('appointment', '{"tags": [{"tag": "x:{id}", "window": "today", "time": ["date", "time"]}]}')$$),
-- options
 ($$track('patient', 'patient', '{"clinic": null}', '{"counters": 1}')$$), ($$track('patient', '{"tags": ["x:{id}"], "lookups": []}')$$),
 ($$track('patient', 'patient', '{"clinic": null}', '{"dragon": 1}')$$), ($$track('patient', 'patient', '{"clinic": null}', '{"without": ["nope"]}')$$),
 ($$track('patient', 'patient', '{"clinic": null}', '{"without": "patients:all"}')$$), ($$track('patient', 'patient', '{"clinic": null}', '{"tenant": "nope"}')$$),
 ($$track('patient', 'patient', '{"clinic": null}', '{"ignore": ["nope"]}')$$), ($$track('patient', 'patient', '{"clinic": null}', '{"ignore": "name"}')$$),
 ($$track('patient', 'patient', '{"clinic": null}', '{"deleted": "nope"}')$$), ($$track('patient', 'patient', '{"clinic": null}', '{"deleted": {"column": "name"}}')$$),
 ($$track('patient', 'patient', '{"clinic": null}', '{"deleted": 7}')$$), ($$track('patient', 'patient', '{"clinic": null}', '{"fire": "never"}')$$),
-- own templates
 ($$track('patient', '{}'::jsonb)$$), ($$track('patient', '{"tags": []}')$$), ($$track('patient', '{"tags": "x"}')$$), ($$track('patient', '{"dragon": 1, "tags": ["x"]}')$$),
 ($$track('patient', '"x"'::jsonb)$$), ($$track('patient', '{"tags": ["x:{nope}"]}')$$), ($$track('patient', '{"tags": [{"profile": "seconds"}]}')$$),
 ($$track('patient', '{"tags": [{"tag": "x", "profile": "nope"}]}')$$), ($$track('patient', '{"tags": [{"tag": "x", "window": "never", "time": "seen"}]}')$$),
 ($$track('patient', '{"tags": [{"tag": "x", "window": "today"}]}')$$), ($$track('patient', '{"tags": [{"tag": "x", "window": "today", "time": "n"}]}')$$),
 ($$track('patient', '{"tags": [{"tag": "x", "window": "today", "time": "nope"}]}')$$), ($$track('patient', '{"tags": [{"tag": "x", "edge": "month"}]}')$$),
 ($$track('patient', '{"tags": [{"tag": "x", "columns": ["nope"]}]}')$$), ($$track('patient', '{"tags": [{"tag": "x", "columns": "name"}]}')$$),
 ($$track('patient', '{"tags": [{"tag": "x", "dragon": 1}]}')$$), ($$track('patient', '{"tags": [["a", "b", "c"]]}')$$), ($$track('patient', '{"tags": [7]}')$$),
 ($$track('patient', '{"tags": ["x:{n|date}"]}')$$), ($$track('patient', '{"columns": {"who": "nope"}, "tags": ["x:{who}"]}')$$),
-- malformed templates
 ($$track('patient', '{"tags": ["x:{id"]}')$$), ($$track('patient', '{"tags": ["x:id}"]}')$$), ($$track('patient', '{"tags": ["x:{}"]}')$$),
 ($$track('patient', '{"tags": ["x:{id|upper}"]}')$$), ($$track('patient', '{"tags": ["x:{seen|lower|date}"]}')$$), ($$track('patient', '{"tags": [""]}')$$),
 ($$track('patient', '{"tags": ["*"]}')$$), ($$template_prefix('x:{a}}')$$), ($$template_columns('x:{{a}')$$), ($$template_prefix(repeat('x', 300))$$),
-- dry runs, the reader's side
 ($$preview('patient', NULL, '{"id": 1}')$$), ($$preview('doctor', NULL, NULL)$$), ($$preview('doctor', NULL, '[]')$$), ($$preview('doctor', NULL, '{"nope": 1}')$$),
 ($$preview(NULL, NULL, '{}')$$), ($$tag('x:{id}', '{}')$$), ($$tag('x:{id}', '[]')$$), ($$tag('x:{id}', '{"id": []}')$$), ($$tag('x:{id|date}', '{"id": "soon"}')$$),
 ($$tag('x:{id|date}', '{"id": "2031-02-30"}')$$), ($$tag('x:{id|date}', '{"id": "2031-01-01T00:00:00Z", "timezone": "Mars"}')$$), ($$tag('x:{id', '{}')$$),
-- by hand
 ($$invalidate(NULL)$$), ($$invalidate('{NULL}')$$), ($$invalidate('{""}')$$), ($$invalidate_prefix(NULL)$$), ($$invalidate_prefix(repeat('x', 1025))$$),
-- positions
 ($$changes('')$$), ($$changes('nonsense')$$), ($$changes(position() || 'x')$$), ($$changes('1.' || repeat('z', 16))$$), ($$reached('nonsense')$$),
 ($$changes(NULL, '{NULL}')$$), ($$changes(NULL, max_tags => 0)$$),
-- roles
 ($$grant_subscriber('regress_cc_nobody')$$), ($$grant_subscriber(NULL)$$), ($$grant_subscriber('postgres', '{NULL}')$$), ($$revoke_subscriber('regress_cc_nobody')$$),
 ($$grant_tracker('regress_cc_nobody')$$), ($$grant_tracker('public')$$);
SELECT clinicache.track('doctor', '{"tags": ["d:{id}"]}');
SELECT s AS statement, code, regexp_replace(message, '"1\.[0-9a-f]{16}\.[^"]+"', '"POSITION"') AS message, hint
  FROM statements, t.error('SELECT * FROM clinicache.' || replace(s, 'position()', 'clinicache.position()')) e ORDER BY n;
SELECT relation, templates FROM clinicache.tracked_tables;

-- the zone must be chosen; with a foreign key to another entity the column is passed over, and the tenant is needed
SELECT code, message, hint FROM t.error($$SELECT clinicache.track('appointment', 'appointment')$$);
CREATE TABLE bills (id int PRIMARY KEY, clinic_id int REFERENCES doctor, patient_id int);
SELECT code, message, hint FROM t.error($$SELECT clinicache.track('bills', 'bill')$$);
CREATE TABLE ratings (id int PRIMARY KEY, doctor_id int REFERENCES patient, clinic int);
SELECT code, message, hint FROM t.error($$SELECT clinicache.track('ratings', 'rating')$$);
-- a trigger of somebody else's with our name
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER clinicache AFTER INSERT ON visit FOR EACH ROW EXECUTE FUNCTION f();
SELECT code, message, hint FROM t.error($$SELECT clinicache.track('visit', '{"tags": ["v:{a}"]}')$$);
-- trigger functions called otherwise than by track
SELECT code, message FROM t.error($$SELECT clinicache.row_change()$$);
CREATE TRIGGER x BEFORE INSERT ON patient FOR EACH ROW EXECUTE FUNCTION clinicache.row_change('{}');
INSERT INTO patient VALUES (1);
CREATE OR REPLACE TRIGGER x AFTER INSERT ON patient FOR EACH STATEMENT EXECUTE FUNCTION clinicache.row_change('{}');
INSERT INTO patient VALUES (1);
DROP TRIGGER x ON patient;
-- time zones, builtin rows, settings
SELECT e.* FROM unnest(ARRAY[$$INSERT INTO clinicache.tenant VALUES ('7', 'Mars/Base')$$, $$INSERT INTO clinicache.tenant VALUES ('7', 'EST5')$$,
  $$INSERT INTO clinicache.tenant VALUES ('7', NULL)$$, $$INSERT INTO clinicache.tenant VALUES (NULL, 'UTC')$$,
  $$DELETE FROM clinicache.profile WHERE name = 'seconds'$$, $$UPDATE clinicache.entity SET tags = '[]' WHERE name = 'patient'$$,
  $$INSERT INTO clinicache.entity (name, tags) VALUES ('patient', '[]')$$, $$INSERT INTO clinicache.entity (name, tags) VALUES ('dragon', '{}')$$,
  $$INSERT INTO clinicache.alias VALUES ('x', '{y}', true)$$,
  $$SET clinicache.delivery = log$$, $$SET clinicache.channel = 'x'$$, $$SET clinicache.payload = position$$, $$SET clinicache.timezone = 'UTC'$$,
  $$SET clinicache.retention = 1$$, $$SET clinicache.dragon = 1$$, $$SET clinicache.bulk_threshold = 0$$, $$SET clinicache.on_error = silence$$,
  $$DO 'BEGIN CALL clinicache.maintain(); END'$$]) AS s, t.error(s) e;
BEGIN; CALL clinicache.maintain(); ROLLBACK;
BEGIN READ ONLY; SELECT clinicache.invalidate('{x}'); ROLLBACK;
BEGIN READ ONLY; SELECT clinicache.invalidate_prefix('d:'); ROLLBACK;
SELECT t.tags() = '{}' AS nothing_came_of_it;
-- DROP EXTENSION does not take tables' tracking along unasked
DROP SCHEMA t CASCADE;
DROP EXTENSION clinicache;
\i :stop
