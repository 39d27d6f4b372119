-- Counters beside SQL over the table: own changes, savepoints, soft deletion, sums that are no numbers, long keys, TRUNCATE,
-- partitions, inheritance, time zones, rebuild.  Every line of output that compares should say t.
SET client_min_messages = warning;
CREATE EXTENSION clinicache;
CREATE SCHEMA c;
SET search_path = c;

CREATE TABLE visit (
  id int PRIMARY KEY, "clinicId" text, "doctorId" int, patient_id uuid, at timestamptz, status text, fee float8, gone timestamptz);
INSERT INTO clinicache.tenant VALUES ('cairo', 'Africa/Cairo'), ('ny', 'America/New_York');
INSERT INTO visit
SELECT i, (ARRAY['cairo', 'ny', 'x', NULL])[1 + i % 4], nullif(i % 5, 0), md5((i % 30)::text)::uuid,
       CASE WHEN i % 17 = 0 THEN NULL WHEN i % 101 = 0 THEN 'infinity' WHEN i % 103 = 0 THEN '-infinity'
            ELSE '2026-03-01 00:00Z'::timestamptz + i * interval '37 minutes' END,
       (ARRAY['Scheduled', 'CHECKED-IN', 'no show', NULL])[1 + i % 4],
       CASE WHEN i % 50 = 0 THEN 'NaN' WHEN i % 70 = 0 THEN 'Infinity' WHEN i % 3 = 0 THEN NULL ELSE i / 4.0 END, NULL
FROM generate_series(1, 2000) AS i;
SELECT clinicache.track('visit', '{"tags": ["visit:{id}"], "tenant": "clinicId", "deleted": "gone", "counters": [
  {"counter": "visits", "by": {"clinic": "clinicId", "doctor": "doctorId", "client": "patient_id"}, "day": "at", "class": "status", "sum": "fee"},
  {"counter": "plain", "by": {"doctor": "doctorId"}}]}');

-- what SQL says
CREATE VIEW truth AS
SELECT v.*, CASE WHEN isfinite(at) THEN (at AT TIME ZONE coalesce(t.timezone, 'UTC'))::date ELSE at::date END AS day
FROM visit AS v LEFT JOIN clinicache.tenant AS t ON t.tenant = v."clinicId" WHERE gone IS NULL;
CREATE FUNCTION compare() RETURNS TABLE (what text, same boolean) LANGUAGE sql VOLATILE AS $$
  SELECT 'all by clinic', bool_and(clinicache.count('visits', 'clinic', k) = (SELECT count(*) FROM truth WHERE "clinicId" = k)
                              AND clinicache.total('visits', 'clinic', k) = (SELECT coalesce(sum(fee::numeric), 0) FROM truth WHERE "clinicId" = k))
  FROM unnest(ARRAY['cairo', 'ny', 'x', 'nobody', repeat('long', 100)]) AS k
  UNION ALL
  SELECT 'days and classes by doctor', bool_and(
           clinicache.count('visits', 'doctor', d::text, c, f, u)
           = (SELECT count(*) FROM truth
              WHERE "doctorId" = d AND day >= coalesce(f, '-infinity') AND day <= coalesce(u, 'infinity')
                AND (c IS NULL OR lower(translate(status, ' -_', '')) = ANY (SELECT lower(translate(x, ' -_', '')) FROM unnest(c) AS x)
                     OR (status IS NULL AND array_position(c, NULL) IS NOT NULL))))
  FROM generate_series(1, 5) AS d,
       (VALUES (NULL::text[]), ('{checked in}'), ('{scheduled,NO_SHOW}'), (ARRAY[NULL::text])) AS k(c),
       (VALUES ('2026-03-08'::date, '2026-03-08'::date), ('2026-03-20', '2026-04-10'), ('2026-03-01', NULL), (NULL, '2026-03-15')) AS r(f, u)
  UNION ALL
  SELECT 'series by day', (SELECT count(*) FROM (
           (SELECT day, class, n, total FROM clinicache.series('visits', 'clinic', 'ny', 'day', NULL, NULL)
            EXCEPT SELECT day, status, count(*), coalesce(sum(fee::numeric), 0) FROM truth WHERE "clinicId" = 'ny' AND day IS NOT NULL GROUP BY 1, 2)
           UNION ALL
           (SELECT day, status, count(*), coalesce(sum(fee::numeric), 0) FROM truth WHERE "clinicId" = 'ny' AND day IS NOT NULL GROUP BY 1, 2
            EXCEPT SELECT day, class, n, total FROM clinicache.series('visits', 'clinic', 'ny', 'day', NULL, NULL))) AS d) = 0
  UNION ALL
  SELECT 'series by month', (SELECT sum(n) FROM clinicache.series('visits', 'client', md5('7')::uuid::text, 'month', '2026-03-05', NULL))
           IS NOT DISTINCT FROM (SELECT nullif(count(*), 0)::numeric FROM truth WHERE patient_id = md5('7')::uuid AND day >= '2026-03-05')
  UNION ALL
  SELECT 'without day, class and sum', bool_and(clinicache.count('plain', 'doctor', d::text) = (SELECT count(*) FROM truth WHERE "doctorId" = d)
                                                AND clinicache.total('plain', 'doctor', d::text) = 0) FROM generate_series(1, 4) AS d
  UNION ALL
  SELECT 'verify', NOT EXISTS (SELECT FROM clinicache.verify())
$$;
SELECT * FROM compare();

BEGIN;
UPDATE visit SET "clinicId" = 'ny', fee = fee + 1 WHERE id % 7 = 0;
SELECT bool_and(same) AS own_changes FROM compare();
SAVEPOINT a;
UPDATE visit SET gone = now() WHERE id % 3 = 0;
INSERT INTO visit SELECT i, repeat('long', 100), 1, md5('7')::uuid, '2026-11-01 05:30Z', 'x', 1 FROM generate_series(3001, 3010) AS i;
SELECT bool_and(same) AS in_savepoint FROM compare();
SAVEPOINT b;
DELETE FROM visit WHERE id < 500;
SELECT bool_and(same) AS in_two FROM compare();
RELEASE b;
SELECT bool_and(same) AS one_released FROM compare();
ROLLBACK TO a;
SELECT bool_and(same) AS rolled_back FROM compare();
COMMIT;
SELECT bool_and(same) AS committed FROM compare();
CALL clinicache.maintain();
SELECT bool_and(same) AS folded FROM compare();
UPDATE visit SET gone = now() WHERE id % 5 = 0;
UPDATE visit SET gone = NULL WHERE id % 10 = 0;
DO $$ BEGIN PERFORM clinicache.maintain_fold(); END $$;
SELECT bool_and(same) AS soft_deletes FROM compare();
-- a worker may be at it at the same moment
CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. 100 LOOP
    COMMIT;
    CALL clinicache.maintain();
    EXIT WHEN NOT EXISTS (SELECT FROM clinicache.counter_cell);
    PERFORM pg_sleep(0.1);
  END LOOP;
END $$;
DELETE FROM visit;
CALL settle();
SELECT bool_and(same) AS emptied, (SELECT count(*) FROM clinicache.counter_cell) AS cells FROM compare();

-- many small transactions, folds between
DO $$
BEGIN
  FOR i IN 1 .. 300 LOOP
    INSERT INTO visit VALUES (i, 'cairo', 1 + i % 3, md5((i % 9)::text)::uuid, '2026-04-01'::timestamptz + i * interval '7 hours', 'Scheduled', i);
    COMMIT;
    IF i % 20 = 0 THEN PERFORM clinicache.maintain_fold(); COMMIT; END IF;
  END LOOP;
END $$;
SELECT bool_and(same) AS many FROM compare();

-- another zone, another day
SELECT clinicache.set_timezone('cairo', 'Pacific/Auckland');
SELECT bool_and(same) AS moved_zone FROM compare();
UPDATE clinicache.tenant SET timezone = 'America/Los_Angeles' WHERE tenant = 'cairo';
SELECT bool_and(same) AS by_update FROM compare();
BEGIN;
SELECT clinicache.set_timezone('cairo', NULL);
SELECT bool_and(same) AS no_zone FROM compare();
ROLLBACK;
SELECT bool_and(same) AS zone_rolled_back FROM compare();

-- TRUNCATE, also undone
BEGIN;
INSERT INTO visit VALUES (1001, 'ny', 1, NULL, now(), 'x', 1);
SAVEPOINT a;
TRUNCATE visit;
SELECT bool_and(same) AS truncated FROM compare();
INSERT INTO visit VALUES (1001, 'ny', 1, NULL, now(), 'x', 1);
SELECT bool_and(same) AS and_filled FROM compare();
ROLLBACK TO a;
SELECT bool_and(same) AS undone FROM compare();
COMMIT;
TRUNCATE visit;
SELECT clinicache.count('visits', 'clinic', 'ny');
INSERT INTO visit SELECT i, 'ny', 2, NULL, now(), 'x', 1 FROM generate_series(1, 10) AS i;
SELECT bool_and(same) AS after_truncate FROM compare();

-- not to be trusted: read from the table; counted anew
SELECT clinicache.distrust_counters('test');
SELECT counter, valid, reason FROM clinicache.counter_registry;
SELECT bool_and(same) AS live FROM compare();
SELECT clinicache.rebuild('visits');
SELECT counter, valid, reason FROM clinicache.counter_registry;
SELECT bool_and(same) AS rebuilt FROM compare();
-- as after a restore
TRUNCATE clinicache.counter_source, clinicache.counter_invalid, clinicache.counter_fold, clinicache.counter_batch, clinicache.counter_cell;
SELECT bool_and(same) AS restored FROM compare();
SELECT clinicache.rebuild('plain');
SELECT bool_and(same) AS restored_and_rebuilt FROM compare();

-- tracked otherwise, no more, dropped
SELECT clinicache.track('visit', '{"tags": ["visit:{id}"], "counters": [{"counter": "other", "by": {"doctor": "doctorId"}}]}');
SELECT clinicache.count('other', 'doctor', '2'), clinicache.count('visits', 'clinic', 'ny') AS none;
SELECT clinicache.untrack('visit');
SELECT clinicache.count('other', 'doctor', '2') AS none;
SELECT clinicache.track('visit', '{"tags": ["visit:{id}"], "counters": [{"counter": "other", "by": {"doctor": "doctorId"}}]}');
DROP TABLE visit CASCADE;
SELECT clinicache.count('other', 'doctor', '2') AS none;
CALL settle();
SELECT (SELECT count(*) FROM clinicache.counter_source) AS sources, (SELECT count(*) FROM clinicache.counter_cell) AS cells;

-- partitions: rows move between them, one is truncated
CREATE TABLE part (id int, clinic int, at date) PARTITION BY LIST (clinic);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 (at date, clinic int, id int);
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
INSERT INTO part SELECT i, 1 + i % 2, '2026-01-01'::date + i FROM generate_series(1, 100) AS i;
SELECT clinicache.track('part', '{"tags": ["p:{id}"], "tenant": "clinic", "counters": [{"counter": "parts", "by": {"clinic": "clinic"}, "day": "at"}]}');
UPDATE part SET clinic = 2 WHERE id % 10 = 1;
SELECT clinicache.count('parts', 'clinic', '1'), clinicache.count('parts', 'clinic', '2'), NOT EXISTS (SELECT FROM clinicache.verify()) AS exact;
RESET client_min_messages;
TRUNCATE part1;
SET client_min_messages = warning;
SELECT clinicache.count('parts', 'clinic', '1'), clinicache.count('parts', 'clinic', '2');
SELECT clinicache.rebuild('parts');
TRUNCATE part;
SELECT clinicache.count('parts', 'clinic', '1'), clinicache.count('parts', 'clinic', '2'), NOT EXISTS (SELECT FROM clinicache.verify()) AS exact;
DROP TABLE part CASCADE;
CREATE TABLE parent (id int, clinic int);
CREATE TABLE child (extra text) INHERITS (parent);
SELECT clinicache.track('parent', '{"tags": ["p:{id}"], "counters": [{"counter": "family", "by": {"clinic": "clinic"}}]}');
INSERT INTO parent VALUES (1, 1);
INSERT INTO child VALUES (2, 1, 'x');
SELECT clinicache.count('family', 'clinic', '1'), NOT EXISTS (SELECT FROM clinicache.verify()) AS exact;

TRUNCATE ONLY parent;
SELECT clinicache.count('family', 'clinic', '1'), NOT EXISTS (SELECT FROM clinicache.verify()) AS exact;
CREATE FUNCTION seed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO parent VALUES (7, 1); RETURN NULL; END $$;
CREATE TRIGGER a_seed AFTER TRUNCATE ON parent FOR EACH STATEMENT EXECUTE FUNCTION seed();
CREATE TRIGGER z_seed AFTER TRUNCATE ON parent FOR EACH STATEMENT EXECUTE FUNCTION seed();
TRUNCATE parent;
SELECT clinicache.count('family', 'clinic', '1'), NOT EXISTS (SELECT FROM clinicache.verify()) AS exact;
-- a child that was tracked before its parent
CREATE TABLE parent2 (id int, clinic int);
CREATE TABLE child2 () INHERITS (parent2);
INSERT INTO child2 VALUES (1, 1);
SELECT clinicache.track(r, '{"tags": ["p:{id}"], "counters": [{"counter": "family2", "by": {"clinic": "clinic"}}]}')
FROM unnest(ARRAY['child2', 'parent2']::regclass[]) AS r;
INSERT INTO child2 VALUES (2, 1);
SELECT clinicache.count('family2', 'clinic', '1'), NOT EXISTS (SELECT FROM clinicache.verify()) AS exact;
-- labels and keys of any length; in a parallel query
CREATE TABLE long (id int, k text, status text);
SELECT clinicache.track('long', '{"tags": ["l:{id}"], "counters": [{"counter": "long", "by": {"k": "k"}, "class": "status"}]}');
INSERT INTO long SELECT i, repeat(chr(228), 150) || i % 2, repeat('s', 300) || i % 3 FROM generate_series(1, 12) AS i;
SELECT clinicache.count('long', 'k', repeat(chr(228), 150) || '1', ARRAY[repeat('s', 300) || '1', repeat('s', 300) || '2']);
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT sum(clinicache.count('long', 'k', k)) FROM (SELECT DISTINCT k FROM long) AS k;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;

-- refused
\set VERBOSITY terse
SELECT clinicache.track('child2', '{"tags": ["p:{id}"]}');
WITH i AS (INSERT INTO long VALUES (13, 'x', 'x') RETURNING 1) SELECT clinicache.rebuild('long') FROM i;
CREATE TABLE plain (id int, t text, n int);
SELECT clinicache.track('plain', '{"tags": ["p:{id}"], "counters": [{"counter": "a", "by": {"x": "nothing"}}]}');
SELECT clinicache.track('plain', '{"tags": ["p:{id}"], "counters": [{"counter": "a", "by": {"x": "n"}, "day": "t"}]}');
SELECT clinicache.track('plain', '{"tags": ["p:{id}"], "counters": [{"counter": "a", "by": {"x": "n"}, "sum": "t"}]}');
SELECT clinicache.track('plain', '{"tags": ["p:{id}"], "counters": [{"counter": "a", "by": {}}]}');
SELECT clinicache.track('plain', '{"tags": ["p:{id}"], "counters": [{"counter": "a", "by": {"x": {"lookup": "n -> y(id).z"}}}]}');
SELECT clinicache.track('plain', '{"tags": ["p:{id}"], "counters": [{"counter": "a", "by": {"x": "n"}}, {"counter": "a", "by": {"x": "n"}}]}');
SELECT clinicache.track('plain', '{"tags": ["p:{id}"], "counters": [{"counter": "a", "by": {"x": "n"}, "summe": "n"}]}');
CREATE UNLOGGED TABLE lost (id int);
SELECT clinicache.track('lost', '{"tags": ["l:{id}"], "counters": [{"counter": "a", "by": {"x": "id"}}]}');
SELECT clinicache.count('family', 'doctor', '1');
SELECT clinicache.count('family', 'clinic', NULL);
SELECT clinicache.series('family', 'clinic', '1', 'week', NULL, NULL);
SELECT clinicache.rebuild('nothing');
SELECT clinicache.set_timezone('x', 'Mars/Olympus');
DROP SCHEMA c CASCADE;
DROP EXTENSION clinicache;
