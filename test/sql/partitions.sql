-- Partitions and inheritance: one configuration for the tree.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

CREATE TABLE visit (id int, clinic int, note text) PARTITION BY LIST (clinic);
CREATE TABLE visit_1 PARTITION OF visit FOR VALUES IN (1);
CREATE TABLE visit_2 (note text, junk int, clinic int, id int);      -- columns in another order, with a gap
ALTER TABLE visit_2 DROP COLUMN junk;
ALTER TABLE visit ATTACH PARTITION visit_2 FOR VALUES IN (2);
CREATE TABLE visit_more PARTITION OF visit DEFAULT PARTITION BY RANGE (id);
CREATE TABLE visit_more_a PARTITION OF visit_more FOR VALUES FROM (0) TO (100);
SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["v:{id}", "v:note:{note}", {"tag": "v:clinic:{clinic}", "columns": ["id"]}]}');
SELECT relation, templates, state FROM clinicache.tracked_tables;
SELECT template, tables FROM clinicache.tag_templates;
CREATE FUNCTION t.triggers() RETURNS TABLE (rel text, names text[]) LANGUAGE sql AS $$
  SELECT tgrelid::regclass::text, array_agg(tgname::text ORDER BY tgname) FROM pg_trigger g JOIN pg_class c ON c.oid = tgrelid
   WHERE c.relnamespace = 'app'::regnamespace AND NOT tgisinternal GROUP BY 1 ORDER BY 1 $$;
SELECT * FROM t.triggers();
INSERT INTO visit VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c');
SELECT * FROM t.told();
-- directly into a partition; columns are found by name in each
INSERT INTO visit_2 (id, clinic, note) VALUES (4, 2, 'd');
SELECT * FROM t.told();
UPDATE visit SET note = 'e' WHERE id = 4;
SELECT * FROM t.told();
-- a row moved between partitions: old place and new place
UPDATE visit SET clinic = 1 WHERE id = 4;
SELECT * FROM t.told();
MERGE INTO visit v USING (VALUES (2)) s(clinic) ON v.id = 4 WHEN MATCHED THEN UPDATE SET clinic = s.clinic;
SELECT * FROM t.told();
UPDATE visit_more SET id = 5 WHERE id = 3;
SELECT * FROM t.told();
DELETE FROM visit WHERE id < 3;
SELECT * FROM t.told();
-- TRUNCATE of one partition, of a subtree, of all
TRUNCATE visit_1;
SELECT * FROM t.told();
TRUNCATE visit_more;
SELECT t.tags();
TRUNCATE visit;
SELECT t.tags();
-- a new partition gets its triggers at once
CREATE TABLE visit_4 PARTITION OF visit FOR VALUES IN (4);
INSERT INTO visit VALUES (7, 4);
SELECT * FROM t.told();
SELECT state FROM clinicache.tracked_tables;
SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["v:{id}"]}');
SELECT state FROM clinicache.tracked_tables;
TRUNCATE visit_4;
SELECT t.tags();
-- a table tracked already can not be attached (PostgreSQL sees two triggers of one name), untracked it can
CREATE TABLE visit_5 (LIKE visit);
SELECT clinicache.track('visit_5', '{"tenant": "clinic", "tags": ["own:{id}"]}');
INSERT INTO visit_5 VALUES (8, 5);
SELECT t.tags();
ALTER TABLE visit ATTACH PARTITION visit_5 FOR VALUES IN (5);
UPDATE visit_5 SET note = 'still its own';
SELECT t.tags();
SELECT clinicache.untrack('visit_5');
ALTER TABLE visit ATTACH PARTITION visit_5 FOR VALUES IN (5);
UPDATE visit SET note = 'attached' WHERE id = 8;
SELECT t.tags();
SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["v:{id}"]}');
SELECT names FROM t.triggers() WHERE rel = 'visit_5';
TRUNCATE visit_5;
SELECT t.tags();
-- nor one whose trigger was renamed
CREATE TABLE visit_8 (LIKE visit);
SELECT clinicache.track('visit_8', '{"tags": ["own:{id}"]}');
ALTER TRIGGER clinicache ON visit_8 RENAME TO other_name;
ALTER TABLE visit ATTACH PARTITION visit_8 FOR VALUES IN (8);
SELECT clinicache.untrack('visit_8');
ALTER TABLE visit ATTACH PARTITION visit_8 FOR VALUES IN (8);
INSERT INTO visit VALUES (9, 8);
SELECT t.tags();
INSERT INTO visit VALUES (10, 8);
SELECT t.tags();
-- a partition follows its parent
SELECT * FROM t.error($$SELECT clinicache.track('visit_5', '{"tags": ["x:{id}"]}')$$);
SELECT * FROM t.error($$SELECT clinicache.untrack('visit_1')$$);
-- a detached partition loses its triggers
ALTER TABLE visit DETACH PARTITION visit_5;
SELECT relation, state FROM clinicache.tracked_tables ORDER BY relation::text;
SELECT clinicache.untrack('visit');
SELECT * FROM t.triggers();
SELECT clinicache.untrack_all();
SELECT * FROM t.triggers();

-- a tracked table is attached to an untracked parent and stays tracked
CREATE TABLE visit_6 (LIKE visit);
SELECT clinicache.track('visit_6', '{"tags": ["six:{id}"]}');
ALTER TABLE visit ATTACH PARTITION visit_6 FOR VALUES IN (6);
INSERT INTO visit VALUES (60, 6);
SELECT t.tags();

-- inheritance children
CREATE TABLE person (id int, name text);
CREATE TABLE doctor (field text) INHERITS (person);
CREATE TABLE surgeon () INHERITS (doctor);
SELECT clinicache.track('person', '{"tags": ["person:{id}"]}');
INSERT INTO surgeon VALUES (1, 's'); INSERT INTO doctor VALUES (2, 'd'); INSERT INTO person VALUES (3, 'p');
SELECT t.tags();
UPDATE person SET name = upper(name);
SELECT t.tags();
TRUNCATE surgeon;
SELECT t.tags();
SELECT relation, state FROM clinicache.tracked_tables ORDER BY relation::text;
SELECT clinicache.untrack('person');
SELECT * FROM t.triggers();
\i :stop
