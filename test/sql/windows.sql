-- Windows: today, upcoming, past, where the tenant is; dates relative to now.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

INSERT INTO clinicache.tenant VALUES ('east', 'Pacific/Kiritimati'), ('west', 'Pacific/Pago_Pago');
CREATE TABLE visits (id int, clinic text, at timestamptz, local timestamp, day date, clock text, mark text);
SELECT clinicache.track('visits', '{"tenant": "clinic", "zone": {"local": "local"}, "tags": [
  {"tag": "at:today:{id}", "window": "today", "time": "at"}, {"tag": "at:upcoming:{id}", "window": "upcoming", "time": ["at"]},
  {"tag": "at:past:{id}", "window": "past", "time": ["at"]},
  {"tag": "local:today:{id}", "window": "today", "time": "local"}, {"tag": "local:upcoming:{id}", "window": "upcoming", "time": ["local"]},
  {"tag": "local:past:{id}", "window": "past", "time": ["local"]},
  {"tag": "day:today:{id}", "window": "today", "time": "day"}, {"tag": "day:upcoming:{id}", "window": "upcoming", "time": ["day"]},
  {"tag": "day:past:{id}", "window": "past", "time": ["day"]},
  {"tag": "clock:today:{id}", "window": "today", "time": ["day", "clock"]}, {"tag": "clock:upcoming:{id}", "window": "upcoming", "time": ["day", "clock"]},
  {"tag": "clock:past:{id}", "window": "past", "time": ["day", "clock"]}]}');

-- the model: DESIGN's windows, written down a second time
CREATE FUNCTION t.model(v visits, asked timestamptz) RETURNS SETOF text LANGUAGE sql AS $$
  WITH z AS (SELECT coalesce((SELECT timezone FROM clinicache.tenant WHERE tenant = v.clinic), 'UTC') AS zone),
       n AS (SELECT asked AT TIME ZONE zone AS now, date_trunc('day', asked AT TIME ZONE zone) AS today, zone FROM z),
       x(name, time, has_time) AS (
         SELECT 'at', v.at AT TIME ZONE zone, true FROM n UNION ALL SELECT 'local', v.local, true
         UNION ALL SELECT 'day', v.day::timestamp, false
         UNION ALL SELECT 'clock', v.day + coalesce(CASE WHEN v.clock ~ '^\d+:\d\d' THEN v.clock END, '0:00')::time, coalesce(v.clock ~ '^\d+:\d\d', false))
  SELECT name || ':' || w || ':' || v.id FROM x, n, unnest(ARRAY['today', 'upcoming', 'past']) w
   WHERE time IS NOT NULL AND CASE w WHEN 'today' THEN time >= today AND time < today + interval '1 day'
                WHEN 'upcoming' THEN time >= today WHEN 'past' THEN CASE WHEN has_time THEN time < now ELSE time < today END END
$$;
CREATE TABLE t.asked (at timestamptz);
-- times around now and around midnight, days around today, clocks around now, in three zones
CREATE FUNCTION t.fill() RETURNS void LANGUAGE sql AS $$
  TRUNCATE t.asked; INSERT INTO t.asked VALUES (statement_timestamp());
  INSERT INTO visits
  SELECT row_number() OVER (), c.clinic, statement_timestamp() + h * interval '7 hours 1 minute' + interval '5 minutes',
         (statement_timestamp() AT TIME ZONE c.zone) + h * interval '5 hours 1 minute' + interval '5 minutes',
         (statement_timestamp() AT TIME ZONE c.zone)::date + h / 3, k.clock
  FROM (SELECT 'east', 'Pacific/Kiritimati' UNION ALL SELECT 'west', 'Pacific/Pago_Pago' UNION ALL SELECT 'none', 'UTC') c(clinic, zone),
       generate_series(-8, 8) h,
       (SELECT NULL UNION ALL SELECT 'later' UNION ALL SELECT '0:00' UNION ALL SELECT '23:59:59' UNION ALL SELECT '11:59 PM' UNION ALL SELECT '12:00am') k(clock);
$$;
SELECT t.fill();
SELECT count(*) AS differences FROM (
  (SELECT tag FROM t.entry EXCEPT SELECT t.model(v, a.at) FROM visits v, t.asked a) UNION ALL
  (SELECT t.model(v, a.at) FROM visits v, t.asked a EXCEPT SELECT tag FROM t.entry)) d;
-- every window had something in it, and something out of it
SELECT count(DISTINCT regexp_replace(tag, ':\d+$', '')) AS kinds, min(n) > 0 AND max(n) < (SELECT count(*) FROM visits) AS some_not_all
  FROM (SELECT regexp_replace(tag, ':\d+$', '') AS tag, count(*) AS n FROM t.entry GROUP BY 1) x;
SELECT t.mark();

-- an update fires by the old row's window and by the new one's
TRUNCATE visits;
INSERT INTO visits (id, clinic, day) VALUES (1, 'west', '2031-01-01');
SELECT t.mark();
UPDATE visits SET day = '2001-01-01';
SELECT t.tags();
UPDATE visits SET mark = 'x';
SELECT t.tags();
UPDATE visits SET day = NULL;
SELECT t.tags();
UPDATE visits SET mark = 'y';
SELECT t.tags() = '{}' AS no_time_no_window;
UPDATE visits SET day = 'infinity';
SELECT t.tags();
DELETE FROM visits;
SELECT t.tags();

-- a preset with a date and a text column beside it
CREATE TABLE "Appointment" (id int PRIMARY KEY, "clinicId" text, "patientId" int, "doctorId" int, date timestamp(3), time text, status text);
SELECT clinicache.track('"Appointment"', 'appointment', options => '{"zone": {"date": "local"}}');
SELECT clinicache.trigger_config(oid) -> 'zone' AS zone,
       jsonb_path_query_array(clinicache.trigger_config(oid), '$.tags[*] ? (exists(@.window)).time') AS times
  FROM pg_trigger WHERE tgrelid = '"Appointment"'::regclass AND tgname = 'clinicache';
INSERT INTO "Appointment" VALUES (1, 'west', 1, 1, date_trunc('day', statement_timestamp() AT TIME ZONE 'Pacific/Pago_Pago'), '00:00', 'new');
SELECT DISTINCT tag FROM t.entry WHERE tag ~ 'today|upcoming|past' ORDER BY 1;
SELECT EXISTS (SELECT FROM t.entry WHERE tag = 'appointments:date:' || to_char(date, 'YYYY-MM-DD')) AS wall_day FROM "Appointment";
\i :stop
