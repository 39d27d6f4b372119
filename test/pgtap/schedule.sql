-- schedule(), unschedule(): intervals in pg_cron's notation, arguments, and what they say without pg_cron (with it: test/t/075_schedule.pl).
BEGIN;
SELECT plan(40);

-- null: as for 1.6
CREATE TEMP TABLE wanted (every interval, schedule text, period int, before_1_5 text);
INSERT INTO wanted VALUES
  ('1 second', '1 seconds', 1, '* * * * *'),
  ('30 seconds', '30 seconds', 30, '* * * * *'),
  ('59 seconds', '59 seconds', 59, '* * * * *'),
  ('1 minute', '* * * * *', 60, NULL),
  ('90 seconds', '* * * * *', 60, NULL),
  ('2 minutes', '*/2 * * * *', 120, NULL),
  ('7 minutes', '*/6 * * * *', 360, NULL),
  ('45 minutes', '*/30 * * * *', 1800, NULL),
  ('59 minutes 59 seconds', '*/30 * * * *', 1800, NULL),
  ('1 hour', '0 * * * *', 3600, NULL),
  ('5 hours', '0 */4 * * *', 14400, NULL),
  ('23 hours', '0 */12 * * *', 43200, NULL),
  ('1 day', '0 0 * * *', 86400, NULL);
SELECT is(clinicache._cron_schedule(extract(epoch FROM w.every)::int, '1.6')::text, row(w.schedule, w.period)::text, 'every ' || w.every)
FROM wanted AS w;
SELECT is((clinicache._cron_schedule(extract(epoch FROM w.every)::int, '1.4-1')).schedule, coalesce(w.before_1_5, w.schedule), 'before 1.5: every ' || w.every)
FROM wanted AS w;
SELECT is(array_agg(v ORDER BY n), '{1.5,1.6,1.10,2.0,1.5-1}', 'versions that know seconds')
FROM unnest('{1.0,1.4,1.4-1,1.5,1.6,1.10,2.0,1.5-1,nonsense,0.9}'::text[]) WITH ORDINALITY AS u(v, n)
WHERE (clinicache._cron_schedule(1, v)).period = 1;
SELECT is_empty($$
  SELECT s FROM generate_series(1, 86400, 7) AS s, clinicache._cron_schedule(s, '1.6') AS c WHERE c.period > s
$$, 'never longer than asked for');

SELECT throws_ok(format('SELECT clinicache.schedule(%L)', every), '22023', 'upkeep can not be scheduled every ' || coalesce(every, 'null'), 'not every ' || coalesce(every, 'null'))
FROM unnest(ARRAY[NULL, '00:00:00', '-00:00:30', '00:00:00.5', '00:00:01.5', '1 day 00:00:01', '1 mon']) AS u(every);

-- This database has no pg_cron.
SELECT throws_ok('SELECT clinicache.schedule()', '55000', 'there is no pg_cron in database "' || current_database() || '"', 'schedule() needs pg_cron');
SET LOCAL client_min_messages = warning;
SELECT is(clinicache.unschedule(), false, 'unschedule() does not');

-- EXECUTE alone does not do.
CREATE ROLE pgtap_some;
GRANT USAGE ON SCHEMA clinicache TO pgtap_some;
GRANT EXECUTE ON FUNCTION clinicache.schedule, clinicache.unschedule, clinicache._check_owner TO pgtap_some;
SET ROLE pgtap_some;
SELECT throws_ok(format('SELECT clinicache.%s()', f), '42501', 'permission denied for clinicache.' || f, f || '() is for the extension''s owner')
FROM unnest(ARRAY['schedule', 'unschedule']) AS u(f);
RESET ROLE;
SELECT ok(NOT clinicache._upkeep_missing(), 'with a position of less than ten minutes ago nothing is amiss');

SELECT * FROM finish();
ROLLBACK;
