-- Templates: filters, time zones, days; the trigger and tag() come to the same text.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

-- filters; hash is what any application computes
CREATE TABLE patients (id int PRIMARY KEY, clinic text, email text, born date);
SELECT clinicache.track('patients', '{"tenant": "clinic", "tags": ["p:{id}", "p:mail:{email|lower}", "p:hash:{email|hash}",
  "p:both:{email|lower|hash}", "p:born:{born|date}", "p:month:{born|month}", "p:day-hash:{born|date|hash}", "p:{clinic}:{id}:{clinic}", "p:static"]}');
INSERT INTO patients VALUES (1, 'north', 'Ada@Example.ORG', '1985-12-10');
SELECT unnest(tags) AS tag FROM t.told();
INSERT INTO patients VALUES (2, 'north', 'Ada@Example.ORG', '1985-12-10');
SELECT t.tags() = (
  SELECT array_agg(w ORDER BY w COLLATE "C") FROM unnest(ARRAY['p:2', 'p:mail:ada@example.org',
    'p:hash:' || left(encode(sha256('Ada@Example.ORG'), 'hex'), 16), 'p:both:' || left(encode(sha256('ada@example.org'), 'hex'), 16),
    'p:born:1985-12-10', 'p:month:1985-12', 'p:day-hash:' || left(encode(sha256('1985-12-10'), 'hex'), 16),
    'p:north:2:north', 'p:static']) AS w) AS computed_elsewhere;

-- the reader's side, for every template of every tracked table, from the row as JSON
CREATE FUNCTION t.reader_agrees(rel regclass, args jsonb) RETURNS boolean LANGUAGE sql AS $$
  SELECT (SELECT array_agg(DISTINCT w ORDER BY w) FROM (
            SELECT clinicache.tag(u, args) COLLATE "C" FROM clinicache.tracked_tables k, unnest(k.templates) u WHERE k.relation = rel) x(w)
          WHERE w IS NOT NULL) = t.tags()
$$;
UPDATE patients SET id = 3 WHERE id = 3;
INSERT INTO patients VALUES (3, 'south', 'É+"x\y"', '2000-02-29');
SELECT t.reader_agrees('patients', to_jsonb(p)) FROM patients p WHERE id = 3;
-- a null makes no tag of the templates that name it
INSERT INTO patients VALUES (4);
SELECT t.reader_agrees('patients', to_jsonb(p)) FROM patients p WHERE id = 4;
INSERT INTO patients VALUES (5);
SELECT * FROM t.told();

-- instants become local days: the tenant's zone, else clinicache.timezone
INSERT INTO clinicache.tenant VALUES ('ny', 'America/New_York'), ('tokyo', 'Asia/Tokyo'), ('lh', 'Australia/Lord_Howe');
CREATE TABLE visits (id int, clinic text, at timestamptz, utc timestamp, local timestamp, day date, txt text);
SELECT clinicache.track('visits', '{"tenant": "clinic", "zone": {"local": "local", "utc": "utc"},
  "tags": ["at:{at|date}", "utc:{utc|date}", "local:{local|date}", "day:{day|date}", "txt:{txt|date}", "m:{at|month}:{local|month}"]}');
INSERT INTO visits VALUES (1, 'ny', '2031-01-01 03:30+00', '2031-01-01 03:30', '2031-01-01 03:30', '2031-01-01', '2031-01-01T03:30');
SELECT t.tags();
INSERT INTO visits VALUES (1, 'tokyo', '2030-12-31 20:00+00', '2030-12-31 20:00', '2030-12-31 20:00', '2030-12-31', '2030-12-31');
SELECT t.tags();
INSERT INTO visits VALUES (1, 'nowhere', '2030-12-31 23:59+00', '2030-12-31 23:59', '2030-12-31 23:59', '2030-12-31', '2030-12-31 23:59');
SELECT t.tags();
-- in one statement, many zones, and both sides of a change of summer time
INSERT INTO visits (clinic, at) SELECT c, i FROM unnest(ARRAY['ny', 'tokyo', 'lh', NULL]) c,
  unnest(ARRAY['2031-03-09 06:59:59.999999+00', '2031-03-09 07:00+00', '2031-11-02 03:59+00', '2031-11-02 04:59+00', '1901-02-03 04:30+00']::timestamptz[]) i;
SELECT array_agg(e.tag ORDER BY e.tag COLLATE "C") = (
    SELECT array_agg(DISTINCT 'at:' || to_char(v.at AT TIME ZONE coalesce(z.timezone, 'UTC'), 'YYYY-MM-DD') COLLATE "C")
    FROM visits v LEFT JOIN clinicache.tenant z ON z.tenant = v.clinic WHERE v.id IS NULL) AS as_postgres_says
  FROM (SELECT DISTINCT tag FROM t.entry) e;
SELECT t.mark();
-- the reader names the tenant or the zone
SELECT clinicache.tag('at:{at|date}', '{"at": "2031-01-01T03:30:00Z", "tenant": "ny"}') AS tenant,
       clinicache.tag('at:{at|date}', '{"at": "2031-01-01T03:30:00Z", "clinic": "ny"}') AS clinic,
       clinicache.tag('at:{at|date}', '{"at": "2031-01-01T03:30:00Z", "timezone": "America/New_York"}') AS zone,
       clinicache.tag('at:{at|date}', '{"at": "2031-01-01T03:30:00Z"}') AS setting,
       clinicache.tag('at:{at|date}', '{"at": "2031-01-01T03:30", "tenant": "ny"}') AS wall_time,
       clinicache.tag('at:{at|date}', '{"at": "2031-01-01", "tenant": "ny"}') AS day,
       clinicache.tag('at:{at|month}', '{"at": "2031-01", "tenant": "ny"}') AS month;
-- a tenant that moves its clocks: from the next statement on
UPDATE clinicache.tenant SET timezone = 'Asia/Tokyo' WHERE tenant = 'ny';
INSERT INTO visits (clinic, at) VALUES ('ny', '2030-12-31 20:00+00');
SELECT t.tags();
TRUNCATE clinicache.tenant;
INSERT INTO visits (clinic, at) VALUES ('ny', '2030-12-31 20:00+00');
SELECT t.tags();

-- text that is no day, infinity: the prefix stands for what can not be told
INSERT INTO visits (clinic, txt) VALUES ('ny', 'soon');
SELECT t.tags();
INSERT INTO visits (clinic, at, day) VALUES ('ny', 'infinity', '-infinity');
SELECT t.tags();
INSERT INTO visits (clinic, day, utc) VALUES ('ny', '0044-03-15 BC', '12044-03-15');
SELECT cardinality(t.tags());

-- longer than 256 characters: shortened, the same on both sides, below the same prefix
CREATE TABLE notes (id int, body text);
SELECT clinicache.track('notes', '{"tags": ["note:{body}", "note:{id}:x:{body}*"]}');
INSERT INTO notes VALUES (1, repeat('a', 251)), (2, repeat('a', 252)), (3, repeat('b', 252) || '1'), (4, repeat('b', 252) || '2'),
                         (5, repeat('ü', 251)), (6, repeat('ü', 252)), (7, repeat('😀', 125)), (8, repeat('😀', 126)), (9, repeat('z', 100000));
SELECT count(*) AS tags, max(length(tag)) AS longest, count(*) FILTER (WHERE tag LIKE 'note:%') AS below_prefix FROM t.entry WHERE NOT is_prefix;
SELECT n.id, length(x.tag) = 5 + length(n.body) AS whole, EXISTS (SELECT FROM t.entry e WHERE e.tag = x.tag) AS same_in_trigger,
       EXISTS (SELECT FROM t.entry e WHERE e.tag = y.tag) AS same_prefix
  FROM notes n, clinicache.tag('note:{body}', to_jsonb(n)) AS x(tag), clinicache.tag('note:{id}:x:{body}*', to_jsonb(n)) AS y(tag) ORDER BY 1;
SELECT t.mark();
SELECT clinicache.invalidate(ARRAY['note:' || repeat('a', 300)]);
SELECT t.tags() = ARRAY[clinicache.tag('note:{body}', jsonb_build_object('body', repeat('a', 300)))] AS same_by_hand;
\i :stop
