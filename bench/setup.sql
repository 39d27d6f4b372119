-- One table for each way of telling caches about changes; all have the same
-- columns, indexes and rows.
CREATE EXTENSION clinicache;
CREATE EXTENSION tcn;
CREATE EXTENSION pgq;

\set table untracked
\ir table.sql
CREATE TABLE clinicache    (LIKE untracked INCLUDING ALL);
CREATE TABLE counted       (LIKE untracked INCLUDING ALL);
CREATE TABLE tcn           (LIKE untracked INCLUDING ALL);
CREATE TABLE notify_by_tag (LIKE untracked INCLUDING ALL);
CREATE TABLE log_by_hand   (LIKE untracked INCLUDING ALL);
CREATE TABLE pgq           (LIKE untracked INCLUDING ALL);

-- tags alone, as the others; and with the preset's counters
SELECT clinicache.track('clinicache', 'appointment', options => '{"counters": []}');
SELECT clinicache.track('counted', 'appointment');

-- contrib/tcn: one notification a row
CREATE TRIGGER tcn AFTER INSERT OR UPDATE OR DELETE ON tcn FOR EACH ROW EXECUTE FUNCTION triggered_change_notification();

-- what people write by hand: a notification for each tag
CREATE FUNCTION tags_by_hand(a untracked) RETURNS text[] LANGUAGE sql STABLE
RETURN ARRAY['appointment:' || a.id, 'appointments:clinic:' || a."clinicId", 'appointments:patient:' || a."patientId",
             'appointments:doctor:' || a."doctorId", 'appointments:date:' || to_char(a.date AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
             'clinic:' || a."clinicId" || ':dashboard'];
CREATE FUNCTION notify_by_tag() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  tag text;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    FOREACH tag IN ARRAY tags_by_hand(ROW(OLD.*)::untracked) LOOP PERFORM pg_notify('by_hand', tag); END LOOP;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    FOREACH tag IN ARRAY tags_by_hand(ROW(NEW.*)::untracked) LOOP PERFORM pg_notify('by_hand', tag); END LOOP;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER by_hand AFTER INSERT OR UPDATE OR DELETE ON notify_by_tag FOR EACH ROW EXECUTE FUNCTION notify_by_tag();

-- the same with a table, for subscribers that were away, and one wake-up
CREATE TABLE hand_log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now(), tags text[]);
CREATE FUNCTION log_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  tags text[] := '{}';
BEGIN
  IF TG_OP <> 'INSERT' THEN tags := tags || tags_by_hand(ROW(OLD.*)::untracked); END IF;
  IF TG_OP <> 'DELETE' THEN tags := tags || tags_by_hand(ROW(NEW.*)::untracked); END IF;
  INSERT INTO hand_log (tags) VALUES (tags);
  PERFORM pg_notify('by_hand', '');
  RETURN NULL;
END
$$;
CREATE TRIGGER by_hand AFTER INSERT OR UPDATE OR DELETE ON log_by_hand FOR EACH ROW EXECUTE FUNCTION log_by_hand();

-- PgQ: an event a row, for consumers that poll
DO $$
BEGIN
  PERFORM pgq.create_queue('bench');
END
$$;
CREATE TRIGGER pgq AFTER INSERT OR UPDATE OR DELETE ON pgq FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('bench');
