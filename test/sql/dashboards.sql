-- Dashboards beside the SQL that they stand for, as clocks pass midnight.  Every line of output that compares should say t.
SET client_min_messages = warning;
CREATE EXTENSION clinicache;
CREATE SCHEMA d;
SET search_path = d;

CREATE TABLE departments (id int PRIMARY KEY, name text, color text);
CREATE TABLE doctors (id int PRIMARY KEY, clinic_id text, name text, department_id int REFERENCES departments, created_at timestamptz DEFAULT '2026-01-10');
CREATE TABLE staff (id int PRIMARY KEY, clinic_id text, name text, created_at timestamptz DEFAULT '2026-01-10');
CREATE TABLE patients (id int PRIMARY KEY, clinic_id text, first_name text, last_name text, created_at timestamptz);
CREATE TABLE appointments (id int PRIMARY KEY, clinic_id text, patient_id int REFERENCES patients, doctor_id int REFERENCES doctors,
                           appointment_date timestamptz, status text);
CREATE TABLE payments (id int PRIMARY KEY, clinic_id text, patient_id int, amount numeric(10,2), payment_date timestamptz, status text);
CREATE TABLE bills (id int PRIMARY KEY, clinic_id text, patient_id int, due_amount numeric(10,2), due_date date, status text);
INSERT INTO clinicache.tenant VALUES ('cairo', 'Africa/Cairo'), ('ny', 'America/New_York'), ('utc', 'UTC');
SELECT clinicache.track('appointments', 'appointment'), clinicache.track('patients', 'patient'), clinicache.track('doctors', 'doctor'),
       clinicache.track('staff', 'staff'), clinicache.track('payments', 'payment'), clinicache.track('bills', 'bill');

CREATE VIEW clinics AS SELECT tenant AS id, timezone AS zone FROM clinicache.tenant;
INSERT INTO departments VALUES (1, 'Cardiology', '#d33'), (2, 'Dermatology', NULL);
INSERT INTO doctors (id, clinic_id, name, department_id)
  SELECT 10 * n + i, c.id, format('Dr. %s %s', c.id, i), 1 + i % 2
  FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM clinics) AS c, generate_series(1, 3) AS i;
INSERT INTO staff (id, clinic_id, name) SELECT row_number() OVER (), id, 'x' FROM clinics, generate_series(1, 2);
INSERT INTO patients SELECT 100 * n + i, c.id, 'P' || i, c.id, '2026-11-01'::timestamptz - 20 * interval '1 day' + i * interval '19 hours'
  FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM clinics) AS c, generate_series(1, 40) AS i;
-- from the middle of October to the end of November 2026: both DST nights of these zones (30 October in Cairo, 1 November in New York)
INSERT INTO appointments
  SELECT row_number() OVER (), c.id, 100 * n + 1 + i % 40, 10 * n + 1 + i % 3, '2026-10-15 00:10Z'::timestamptz + i * interval '97 minutes',
         (ARRAY['Scheduled', 'COMPLETED', 'cancelled', 'No-Show', 'Checked In', 'waiting', NULL])[1 + i % 7]
  FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM clinics) AS c, generate_series(1, 700) AS i;
INSERT INTO payments SELECT i, (ARRAY['cairo', 'ny', 'utc'])[1 + i % 3], i, i / 8.0, '2026-10-20'::timestamptz + i * interval '5 hours',
  (ARRAY['PAID', 'Pending', 'cancelled', NULL])[1 + i % 4] FROM generate_series(1, 200) AS i;
INSERT INTO bills SELECT i, (ARRAY['cairo', 'ny', 'utc'])[1 + i % 3], i, i, '2026-10-20', (ARRAY['Paid', 'open', 'Cancelled'])[1 + i % 3 + 0 * i]
  FROM generate_series(1, 100) AS i;
UPDATE bills SET status = (ARRAY['Paid', 'open', 'Cancelled', NULL])[1 + id % 4];

-- the definitions, in SQL
CREATE FUNCTION is(status text, VARIADIC labels text[]) RETURNS boolean LANGUAGE sql AS $$
  SELECT coalesce(lower(translate(status, ' -_', '')) = ANY (labels), false)
$$;
CREATE FUNCTION live(status text) RETURNS boolean LANGUAGE sql AS $$ SELECT NOT is(status, 'cancelled', 'completed', 'noshow') $$;
CREATE FUNCTION clinic_in_sql(c text, moment timestamptz) RETURNS jsonb LANGUAGE sql AS $$
  WITH z AS (SELECT zone, (moment AT TIME ZONE zone)::date AS today, date_trunc('month', moment AT TIME ZONE zone)::date AS month FROM clinics WHERE id = c),
       a AS (SELECT a.*, (a.appointment_date AT TIME ZONE z.zone)::date AS day, z.* FROM appointments AS a, z WHERE a.clinic_id = c)
  SELECT jsonb_build_object(
    'clinic', c, 'day', (SELECT today FROM z),
    'patients', (SELECT count(*) FROM patients WHERE clinic_id = c), 'doctors', (SELECT count(*) FROM doctors WHERE clinic_id = c),
    'staff', (SELECT count(*) FROM staff WHERE clinic_id = c),
    'new_patients_this_month', (SELECT count(*) FROM patients, z WHERE clinic_id = c AND date_trunc('month', created_at AT TIME ZONE zone) = month),
    'appointments_by_status', (SELECT jsonb_object_agg(status, n) FROM (SELECT status, count(*) AS n FROM a WHERE status IS NOT NULL GROUP BY 1) AS s),
    'today', (SELECT count(*) FROM a WHERE day = today),
    'waiting', (SELECT count(*) FROM a WHERE day = today AND is(status, 'waiting', 'checkedin', 'arrived', 'inqueue')),
    'upcoming', (SELECT count(*) FROM a WHERE day >= today AND live(status)),
    'this_month', (SELECT count(*) FROM a WHERE date_trunc('month', day) = month),
    'completed', (SELECT count(*) FROM a WHERE is(status, 'completed')),
    'revenue_this_month', (SELECT coalesce(sum(amount), 0) FROM payments, z WHERE clinic_id = c AND NOT is(status, 'cancelled', 'pending')
                           AND date_trunc('month', payment_date AT TIME ZONE zone) = month),
    'outstanding', (SELECT coalesce(sum(due_amount), 0) FROM bills WHERE clinic_id = c AND NOT is(status, 'cancelled', 'paid')),
    'recent', (SELECT jsonb_agg(r.id) FROM (SELECT id FROM a ORDER BY appointment_date DESC, id DESC LIMIT 10) AS r))
$$;
CREATE FUNCTION client_in_sql(p int, moment timestamptz) RETURNS jsonb LANGUAGE sql AS $$
  WITH a AS (SELECT a.*, (a.appointment_date AT TIME ZONE z.zone)::date AS day, (moment AT TIME ZONE zone)::date AS today
             FROM appointments AS a JOIN clinics AS z ON z.id = a.clinic_id WHERE a.patient_id = p)
  SELECT jsonb_build_object('client', p::text, 'day', (SELECT min(today) FROM a),
    'upcoming_count', (SELECT count(*) FROM a WHERE day >= today AND live(status)),
    'total_month_count', (SELECT count(*) FROM a WHERE date_trunc('month', day) = date_trunc('month', today)),
    'completed_count', (SELECT count(*) FROM a WHERE is(status, 'completed')),
    'next_appointment_date', (SELECT min(day) FROM a WHERE day >= today AND live(status)),
    'recent', (SELECT jsonb_agg(r.id) FROM (SELECT id FROM a ORDER BY appointment_date DESC, id DESC LIMIT 5) AS r))
$$;
CREATE FUNCTION doctor_in_sql(d int, moment timestamptz) RETURNS jsonb LANGUAGE sql AS $$
  WITH a AS (SELECT a.*, (a.appointment_date AT TIME ZONE z.zone)::date AS day, (moment AT TIME ZONE zone)::date AS today
             FROM appointments AS a JOIN clinics AS z ON z.id = a.clinic_id WHERE a.doctor_id = d)
  SELECT jsonb_build_object('doctor', d::text, 'day', (SELECT min(today) FROM a), 'today', (SELECT count(*) FROM a WHERE day = today),
    'waiting', (SELECT count(*) FROM a WHERE day = today AND is(status, 'waiting', 'checkedin', 'arrived', 'inqueue')),
    'upcoming', (SELECT count(*) FROM a WHERE day >= today AND live(status)), 'completed', (SELECT count(*) FROM a WHERE is(status, 'completed')))
$$;
CREATE FUNCTION ids(board jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT board - 'recent_appointments'
         || CASE WHEN board ? 'recent_appointments' THEN jsonb_build_object('recent', jsonb_path_query_array(board, '$.recent_appointments[*].id')) ELSE '{}' END
$$;
-- at a moment of clinicache's clock: all dashboards are what SQL says
CREATE FUNCTION compare(moment timestamptz) RETURNS TABLE (clinics boolean, clients boolean, doctors boolean) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('clinicache.clock_offset', extract(epoch FROM moment - clock_timestamp())::int::text, true);
  RETURN QUERY SELECT
    (SELECT bool_and(ids(clinicache.clinic_dashboard(c.id)) = clinic_in_sql(c.id, moment)) FROM clinics AS c),
    (SELECT bool_and(ids(clinicache.client_dashboard(p::text)) = client_in_sql(p, moment)) FROM generate_series(101, 340, 13) AS p WHERE p % 100 BETWEEN 1 AND 40),
    (SELECT bool_and(ids(clinicache.doctor_dashboard(d.id::text)) = doctor_in_sql(d.id, moment)) FROM d.doctors AS d);
END
$$;
-- half a minute before and after midnight in each zone, DST nights and ends of months among them
SELECT m.moment, s.seconds, c.*
FROM (SELECT (n.day AT TIME ZONE z.zone) AS moment FROM clinics AS z,
             (VALUES ('2026-10-30'::timestamp), ('2026-11-01'), ('2026-11-02'), ('2026-12-01')) AS n(day)) AS m,
     (VALUES (-30), (30)) AS s(seconds), compare(m.moment + s.seconds * interval '1 second') AS c
WHERE (c.clinics AND c.clients AND c.doctors) IS NOT TRUE;
SELECT * FROM compare('2026-11-10 12:00Z');
CALL clinicache.maintain();
SELECT * FROM compare('2026-11-10 12:00Z');
-- with changes of this transaction
BEGIN;
UPDATE appointments SET status = 'Completed' WHERE id % 11 = 0;
UPDATE appointments SET appointment_date = appointment_date + interval '3 days', clinic_id = 'ny' WHERE id % 13 = 0;
DELETE FROM payments WHERE id % 5 = 0;
SELECT * FROM compare('2026-11-10 12:00Z');
ROLLBACK;

-- a clinic whose name is longer than a key has its own zone, and its day, all the same
INSERT INTO clinicache.tenant VALUES (repeat('long ', 60), 'Pacific/Kiritimati');
INSERT INTO appointments SELECT 10000 + i, repeat('long ', 60), 101, 11, '2026-11-10 13:00Z', 'Scheduled' FROM generate_series(1, 3) AS i;
BEGIN;
SELECT set_config('clinicache.clock_offset', extract(epoch FROM '2026-11-10 12:00Z' - clock_timestamp())::int::text, true) IS NOT NULL AS moved;
SELECT b ->> 'clinic' = repeat('long ', 60) AS clinic, b ->> 'day' AS day, b -> 'today' AS today, b -> 'upcoming' AS upcoming
FROM clinicache.clinic_dashboard(repeat('long ', 60)) AS b;
COMMIT;
SELECT clinicache.set_timezone(repeat('long ', 60), 'UTC');
SELECT day, n FROM clinicache.series('appointments', 'clinic', repeat('long ', 60), 'day', NULL, NULL);
SELECT * FROM clinicache.verify();
DELETE FROM appointments WHERE id > 10000;
DELETE FROM clinicache.tenant WHERE tenant LIKE 'long%';

-- names, departments, what a reader sees
SELECT jsonb_path_query(clinicache.client_dashboard('101'), '$.recent_appointments[0]');
SELECT clinicache.clinic_dashboard('nobody') - 'day', clinicache.client_dashboard('0') - 'day', clinicache.doctor_dashboard('0') - 'day';

SELECT clinicache.client_dashboard(k) ->> 'upcoming_count' AS upcoming, clinicache.client_dashboard(k) -> 'recent_appointments' AS recent
FROM unnest(ARRAY['0101', ' 101', '101 ', 'x', '99999999999999999999', '1.0', '']) AS k;

-- one clinic, its constant, no status, a text key of its own; local wall time in two columns
CREATE TABLE visits (id int PRIMARY KEY, day timestamp, clock text, doctor uuid);
SELECT clinicache.untrack('appointments');
SELECT clinicache.clinic_dashboard('ny') -> 'today' AS not_tracked;
SELECT clinicache.track('visits', 'appointment', '{"clinic": "=''ny''", "patient": null, "date": "day", "time": "clock", "doctor": "doctor"}', '{"zone": {"date": "local"}}');
INSERT INTO visits VALUES (1, '2026-11-10', '23:30', md5('d')::uuid), (2, '2026-11-11', '00:30', md5('d')::uuid);
BEGIN;
-- 03:00 UTC on the 11th is the evening of the 10th in New York
SELECT set_config('clinicache.clock_offset', extract(epoch FROM '2026-11-11 03:00Z' - clock_timestamp())::int::text, true) IS NOT NULL AS moved;
SELECT b - 'patients' - 'doctors' - 'staff' - 'new_patients_this_month' - 'revenue_this_month' - 'outstanding' FROM clinicache.clinic_dashboard('ny') AS b;
SELECT clinicache.doctor_dashboard(md5('d')::uuid::text);
COMMIT;
DROP SCHEMA d CASCADE;
DROP EXTENSION clinicache;
