-- Who may do what. Nothing is for PUBLIC; writers of tracked tables need nothing of ours.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

SET client_min_messages = error;
DROP ROLE IF EXISTS regress_cc_web, regress_cc_some, regress_cc_child, regress_cc_owner, regress_cc_untrusted, regress_cc_writer;
RESET client_min_messages;
CREATE ROLE regress_cc_web; CREATE ROLE regress_cc_some; CREATE ROLE regress_cc_child IN ROLE regress_cc_some;
CREATE ROLE regress_cc_owner; CREATE ROLE regress_cc_untrusted; CREATE ROLE regress_cc_writer;
GRANT CREATE, USAGE ON SCHEMA app TO regress_cc_owner, regress_cc_untrusted;
GRANT USAGE ON SCHEMA app, t TO PUBLIC;

-- PUBLIC has nothing but the trigger functions
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'clinicache'::regnamespace
   AND has_function_privilege('regress_cc_writer', p.oid, 'EXECUTE') ORDER BY 1;
SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relkind IN ('r', 'v', 'S')
   AND has_table_privilege('regress_cc_writer', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
SET ROLE regress_cc_writer;
SELECT clinicache.changes(NULL);
SELECT * FROM clinicache.invalidation_log;
RESET ROLE;

-- an owner without grant can not track
SET ROLE regress_cc_owner;
CREATE TABLE visit (id int PRIMARY KEY, clinic text, name text);
SELECT clinicache.track('visit', '{"tags": ["v:{id}"]}');
RESET ROLE;
SELECT clinicache.grant_tracker('regress_cc_owner');
SET ROLE regress_cc_owner;
SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["v:{id}", "v:all", "v:day:{name|hash}"]}');
SELECT relation, state FROM clinicache.tracked_tables;
SELECT template FROM clinicache.tag_templates ORDER BY 1;
SELECT count(*) FROM clinicache.preview('visit', NULL, '{"id": 1, "name": "x"}');
SELECT clinicache.invalidate('{by:owner}', reason => 'may'), clinicache.invalidate_prefix('v:');
SELECT name FROM clinicache.entity WHERE name = 'patient';
-- but reads neither the log nor changes, grants nothing, tracks no other's table
SELECT * FROM clinicache.invalidation_log;
SELECT clinicache.changes(NULL);
SELECT code FROM unnest(ARRAY['SELECT clinicache.grant_tracker(''regress_cc_writer'')', 'SELECT clinicache.grant_subscriber(''regress_cc_owner'')',
  'INSERT INTO clinicache.tenant VALUES (1, ''UTC'')', 'UPDATE clinicache.entity SET tags = tags']) s, t.error(s) e;
RESET ROLE;
CREATE TABLE mine (id int);
SET ROLE regress_cc_owner;
SELECT clinicache.track('mine', '{"tags": ["m:{id}"]}');
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON visit TO regress_cc_writer;
RESET ROLE;
SELECT t.tags();

-- a plain writer, without a privilege on anything of ours
SET ROLE regress_cc_writer;
INSERT INTO visit VALUES (1, '7', 'x'), (2, '8', 'y'), (3, NULL, 'z');
UPDATE visit SET name = 'w' WHERE id = 1;
DELETE FROM visit WHERE id = 2;
RESET ROLE;
SELECT * FROM t.told();
SET ROLE regress_cc_writer;
TRUNCATE visit;
RESET ROLE;
SELECT * FROM t.told();
-- with a window, so that clinicache.tenant is read on the writer's behalf
INSERT INTO clinicache.tenant VALUES ('tokyo', 'Asia/Tokyo');
CREATE TABLE booked (id int, clinic text, at timestamptz);
SELECT clinicache.track('booked', '{"tenant": "clinic", "tags": ["b:{at|date}"]}');
GRANT INSERT ON booked TO regress_cc_writer;
SET ROLE regress_cc_writer;
INSERT INTO booked VALUES (1, 'tokyo', '2030-12-31 20:00+00');
RESET ROLE;
SELECT * FROM t.told();
-- row level security hides nothing from the log
ALTER TABLE visit ENABLE ROW LEVEL SECURITY;
ALTER TABLE visit FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON visit USING (clinic = '7') WITH CHECK (true);
SET ROLE regress_cc_writer;
INSERT INTO visit VALUES (4, '7', 'a'), (5, '9', 'b');
UPDATE visit SET clinic = '9';
SELECT count(*) AS visible FROM visit;
RESET ROLE;
SELECT * FROM t.told();

-- a subscriber can name our functions: on a table of its own it forges a trigger, and its writes fail
SELECT clinicache.grant_subscriber('regress_cc_untrusted', '{}');
SET ROLE regress_cc_untrusted;
CREATE TABLE forged (id int);
CREATE TRIGGER clinicache AFTER INSERT ON forged FOR EACH ROW
  EXECUTE FUNCTION clinicache.row_change('{"v": 1, "tags": [{"tag": "patient:{id}", "profile": "seconds"}], "profiles": {"seconds": 1}}');
INSERT INTO forged VALUES (1);
RESET ROLE;
SELECT t.tags() = '{}' AS not_told;
SELECT code, message, hint FROM t.error('INSERT INTO forged VALUES (1)');
SELECT clinicache.grant_tracker('regress_cc_untrusted');
SET ROLE regress_cc_untrusted;
INSERT INTO forged VALUES (1);
RESET ROLE;
SELECT t.tags();
-- revoked: the session that has the tracker compiled learns of it at the latest when the table is looked at again
SELECT clinicache.revoke_tracker('regress_cc_untrusted');
ALTER TABLE forged ADD COLUMN x int;
SELECT code, hint FROM t.error('INSERT INTO forged VALUES (2)');
-- a changed owner counts, not the old one
ALTER TABLE forged OWNER TO regress_cc_owner;
INSERT INTO forged VALUES (3);
SELECT t.tags();

-- subscribers
SELECT clinicache.grant_subscriber('regress_cc_web'), clinicache.grant_subscriber('regress_cc_some', '{7,8}');
SELECT clinicache.position() AS before \gset
SELECT clinicache.invalidate('{for:7}', '7'), clinicache.invalidate('{for:8}', '8'), clinicache.invalidate('{for:9}', '9'), clinicache.invalidate('{for:all}');
SET ROLE regress_cc_web;
SELECT clinicache.changes(:'before') -> 'tags' AS all_of_them;
SELECT clinicache.changes(:'before', '{9}') -> 'tags' AS asked;
SELECT clinicache.position() IS NOT NULL AS position, clinicache.reached(:'before'), clinicache.tag('a:{b}', '{"b": 1}');
SELECT code FROM unnest(ARRAY['SELECT FROM clinicache.invalidation_log', 'SELECT FROM clinicache.invalidation_log_0', 'SELECT FROM clinicache.subscriber',
  'SELECT FROM clinicache.tracked_tables', 'SELECT clinicache.invalidate(''{x}'')', 'SELECT clinicache.track(''app.mine'', ''{"tags": ["x"]}''::jsonb)',
  'CALL clinicache.maintain()', 'SELECT clinicache.maintain_empty()']) s, t.error(s) e;
SET ROLE regress_cc_some;
SELECT clinicache.changes(:'before') -> 'tags' AS seven_eight_and_all;
SELECT clinicache.changes(:'before', '{7,9}') -> 'tags' AS seven_and_all;
SELECT clinicache.changes(:'before', '{9}') -> 'tags' AS only_all;
SET ROLE regress_cc_child;
SELECT clinicache.changes(:'before') -> 'tags' AS inherited;
-- a grant replaces the one before; an empty list
RESET ROLE;
SELECT clinicache.grant_subscriber('regress_cc_some', '{}');
SET ROLE regress_cc_some;
SELECT clinicache.changes(:'before') -> 'tags' AS only_all;
-- NOINHERIT, grants by hand, revoked
RESET ROLE;
ALTER ROLE regress_cc_child NOINHERIT;
GRANT EXECUTE ON FUNCTION clinicache.changes TO regress_cc_writer;
GRANT USAGE ON SCHEMA clinicache TO regress_cc_writer;
SET ROLE regress_cc_writer;
SELECT clinicache.changes(:'before');
RESET ROLE;
SELECT clinicache.revoke_subscriber('regress_cc_web');
SELECT count(*) FROM clinicache.subscriber WHERE role = 'regress_cc_web';
SET ROLE regress_cc_web;
SELECT clinicache.changes(:'before');
RESET ROLE;
-- both grants, one revoked: the other stays
SELECT clinicache.grant_tracker('regress_cc_web'), clinicache.grant_subscriber('regress_cc_web'), clinicache.revoke_tracker('regress_cc_web');
SET ROLE regress_cc_web;
SELECT clinicache.changes(NULL) ->> 'reset' AS still_subscribed, clinicache.tag('a', '{}');
RESET ROLE;
SELECT clinicache.grant_tracker('regress_cc_web'), clinicache.revoke_subscriber('regress_cc_web');
SET ROLE regress_cc_web;
SELECT clinicache.tag('a', '{}'), count(*) AS tracks FROM clinicache.tracked_tables;
SELECT clinicache.changes(NULL);
RESET ROLE;

REVOKE ALL ON FUNCTION clinicache.changes FROM regress_cc_writer;
DROP SCHEMA app CASCADE;
DROP EXTENSION clinicache CASCADE;
DROP SCHEMA clinicache;
REVOKE ALL ON SCHEMA t FROM PUBLIC;
DROP ROLE regress_cc_web, regress_cc_some, regress_cc_child, regress_cc_owner, regress_cc_untrusted, regress_cc_writer;
\i :stop
