-- Every way to change a row tells the same: old values and new ones.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

CREATE TABLE clinic (id int PRIMARY KEY);
CREATE TABLE patient (id int PRIMARY KEY, clinic int REFERENCES clinic ON DELETE CASCADE ON UPDATE CASCADE, name text);
CREATE TABLE visit (id int PRIMARY KEY, patient int REFERENCES patient ON DELETE SET NULL ON UPDATE CASCADE, state text DEFAULT 'new');
SELECT clinicache.track('clinic', '{"tags": ["c:{id}"], "tenant": "id"}'),
       clinicache.track('patient', '{"tags": ["p:{id}", "p:clinic:{clinic}"], "tenant": "clinic"}'),
       clinicache.track('visit', '{"tags": ["v:{id}", "v:patient:{patient}", "v:all", "v:list:*"]}');
INSERT INTO clinic VALUES (1), (2);
SELECT * FROM t.told();
-- INSERT, INSERT SELECT, UPDATE, DELETE
INSERT INTO patient VALUES (1, 1, 'a');
SELECT * FROM t.told();
INSERT INTO patient SELECT i, 2, 'x' FROM generate_series(2, 4) i;
SELECT * FROM t.told();
UPDATE patient SET clinic = 2 WHERE id = 1;
SELECT * FROM t.told();
DELETE FROM patient WHERE id = 1 RETURNING id;
SELECT * FROM t.told();
-- COPY
COPY patient FROM STDIN (FORMAT csv);
10,1,copied
11,2,copied
\.
SELECT * FROM t.told();
-- ON CONFLICT: nothing, insert, update
INSERT INTO patient VALUES (10, 2, 'z') ON CONFLICT DO NOTHING;
SELECT t.tags() = '{}' AS nothing;
INSERT INTO patient VALUES (10, 2, 'z'), (12, 2, 'z') ON CONFLICT (id) DO UPDATE SET clinic = excluded.clinic;
SELECT * FROM t.told();
INSERT INTO patient VALUES (10, 1, 'z') ON CONFLICT (id) DO UPDATE SET clinic = 1 WHERE patient.name = 'nobody';
SELECT t.tags() = '{}' AS nothing;
-- MERGE with all three
MERGE INTO patient p USING (VALUES (10, 1), (11, NULL), (13, 1)) AS s(id, clinic) ON p.id = s.id
  WHEN MATCHED AND s.clinic IS NULL THEN DELETE
  WHEN MATCHED THEN UPDATE SET clinic = s.clinic
  WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.clinic, 'merged');
SELECT * FROM t.told();
-- WITH, a function, a rule, a cursor
WITH gone AS (DELETE FROM patient WHERE id = 13 RETURNING *) INSERT INTO visit SELECT 1, 10 FROM gone;
SELECT * FROM t.told();
DO $$ DECLARE r record; BEGIN
  FOR r IN SELECT id FROM visit LOOP UPDATE visit SET state = 'seen' WHERE id = r.id; END LOOP;
END $$;
SELECT t.tags();
BEGIN; DECLARE c CURSOR FOR SELECT * FROM visit FOR UPDATE; MOVE c; UPDATE visit SET state = 'left' WHERE CURRENT OF c; COMMIT;
SELECT t.tags();
CREATE VIEW open_visits AS SELECT * FROM visit WHERE state <> 'closed';
UPDATE open_visits SET state = 'closed';
SELECT t.tags();
PREPARE p AS UPDATE visit SET patient = $1; EXECUTE p(4); EXECUTE p(3);
SELECT t.tags();
-- cascades: ON UPDATE CASCADE, ON DELETE CASCADE, SET NULL, down two tables
UPDATE patient SET id = 33 WHERE id = 3;
SELECT * FROM t.told();
DELETE FROM clinic WHERE id = 2;
SELECT * FROM t.told();
-- TRUNCATE tells everybody, for cascaded tables too
TRUNCATE clinic CASCADE;
SELECT * FROM t.told();
BEGIN; TRUNCATE visit; ROLLBACK;
SELECT t.tags() = '{}' AS rolled_back;
-- TRUNCATE of what is in this very transaction
BEGIN; INSERT INTO clinic VALUES (9); TRUNCATE clinic CASCADE; COMMIT;
SELECT * FROM t.told();
-- each change once per transaction and tenant
BEGIN;
INSERT INTO clinic VALUES (1); INSERT INTO patient VALUES (1, 1), (2, 1), (3, NULL);
UPDATE patient SET name = 'x'; UPDATE patient SET name = 'y'; DELETE FROM patient;
COMMIT;
SELECT count(*) AS records, count(DISTINCT xid) AS transactions, sum(cardinality(tags)) AS tags FROM clinicache.invalidation_log
 WHERE NOT pg_visible_in_snapshot(xid, current_setting('t.snapshot')::pg_snapshot);
SELECT * FROM t.told();
-- a failed statement, a deferred constraint that fails at commit
INSERT INTO visit VALUES (5, 404);
SELECT t.tags() = '{}' AS failed;
ALTER TABLE visit ALTER CONSTRAINT visit_patient_fkey DEFERRABLE INITIALLY DEFERRED;
BEGIN; INSERT INTO visit VALUES (5, 404); COMMIT;
SELECT t.tags() = '{}' AS failed_at_commit;
-- a deferred trigger that writes at commit still counts
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO visit VALUES (77); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON patient DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
BEGIN; INSERT INTO patient VALUES (50, NULL); COMMIT;
SELECT * FROM t.told();
DROP TRIGGER late ON patient;
-- a BEFORE trigger's changes count, and what it holds back does not
CREATE FUNCTION shape() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 666 THEN RETURN NULL; END IF; NEW.id := NEW.id + 1000; RETURN NEW; END $$;
CREATE TRIGGER before BEFORE INSERT ON visit FOR EACH ROW EXECUTE FUNCTION shape();
INSERT INTO visit VALUES (666), (1);
SELECT t.tags();
-- replication role: silent unless asked to fire always
SET session_replication_role = replica;
UPDATE visit SET state = 'replicated';
SELECT t.tags() = '{}' AS silent;
SELECT clinicache.track('visit', '{"tags": ["v:{id}"], "fire": "always"}');
SELECT state FROM clinicache.tracked_tables WHERE relation = 'visit'::regclass;
UPDATE visit SET state = 'again' WHERE id = 1001;
TRUNCATE visit;
SELECT t.tags();
RESET session_replication_role;
-- a disabled trigger is silent, and is seen to be
ALTER TABLE visit DISABLE TRIGGER clinicache;
SELECT state FROM clinicache.tracked_tables WHERE relation = 'visit'::regclass;
-- prepared transaction: logged, and told once it commits
SELECT current_setting('max_prepared_transactions')::int > 0 AS prepared \gset
\if :prepared
BEGIN; INSERT INTO clinic VALUES (100); PREPARE TRANSACTION 'regress_cc';
INSERT INTO clinic VALUES (101);
SELECT * FROM t.told();
SELECT clinicache.position() AS before \gset
COMMIT PREPARED 'regress_cc';
SELECT clinicache.changes(:'before') -> 'tags' AS then_told;
\else
INSERT INTO clinic VALUES (101);
SELECT * FROM t.told();
SELECT '{"default": ["c:100"]}'::jsonb AS then_told;
\endif
\i :stop
