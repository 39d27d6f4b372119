-- Values of all types as text that does not depend on the session.
\getenv srcdir PG_ABS_SRCDIR
\set start :srcdir '/sql/include/start.psql'
\set stop :srcdir '/sql/include/stop.psql'
\i :start

CREATE TYPE mood AS ENUM ('good', 'not so good');
CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
CREATE TABLE vals (id int PRIMARY KEY, u uuid, b bigint, s smallint, e mood, d date, ts timestamp(3), tz timestamptz, ti time,
                   n numeric, f8 float8, f4 float4, bo boolean, c char(8), v varchar(9), by bytea, na name, iv interval, j jsonb,
                   ip inet, dom email, arr text[], "Mixed ""Case" text, "züri" text);
SELECT clinicache.track('vals', jsonb_build_object('tags', (
  SELECT jsonb_agg(attname || ':{' || attname || '}' ORDER BY attnum) FROM pg_attribute
  WHERE attrelid = 'vals'::regclass AND attnum > 0)));
\set values '''6F9619FF-8B86-D011-B42D-00C04FC964FF'', -9223372036854775808, 7, ''not so good'', ''2031-12-10'', ''2031-12-10 01:02:03.5'', ''2031-12-10 01:02:03.25+01'', ''14:30'', 12.50, 0.1, 1e30, true, ''ab '', ''x y '', ''\\x00ff'', ''Ab'', ''1 day 02:03:04'', ''{"a": [1, "x"]}'', ''10.0.0.1'', ''a@b'', ''{x,"y z"}'', ''q'', ''ü'''
INSERT INTO vals VALUES (1, :values);
SELECT unnest(tags) AS tag FROM t.told();

-- whatever the session speaks
CREATE TABLE t.first (tags text[]);
UPDATE vals SET id = 2 WHERE id = 1;
INSERT INTO t.first SELECT array_remove(array_remove(t.tags(), 'id:1'), 'id:2');
SET DateStyle = 'German'; SET TimeZone = 'Asia/Kathmandu'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape'; SET extra_float_digits = -5;
UPDATE vals SET id = 3 WHERE id = 2;
SELECT array_remove(array_remove(t.tags(), 'id:2'), 'id:3') = tags AS the_same FROM t.first;
SET DateStyle = 'SQL, DMY'; SET TimeZone = 'America/St_Johns'; SET IntervalStyle = 'sql_standard';
SELECT clinicache.tag('tz:{tz|date}', '{"tz": "2031-12-10T01:02:03+01:00"}');
UPDATE vals SET id = 4 WHERE id = 3;
SELECT array_remove(array_remove(t.tags(), 'id:4'), 'id:3') = tags AS the_same FROM t.first;
RESET DateStyle; RESET TimeZone; RESET IntervalStyle; RESET bytea_output; RESET extra_float_digits;
-- settings of the session are as before
SHOW bytea_output;

-- large, compressed and external values
CREATE TABLE large (id int, note text);
ALTER TABLE large ALTER note SET STORAGE EXTERNAL;
SELECT clinicache.track('large', '{"tags": ["l:{id}", "l:note:{note|hash}"]}');
INSERT INTO large VALUES (1, repeat('long ', 10000));
SELECT t.tags() = ARRAY['l:1', 'l:note:' || left(encode(sha256(convert_to(repeat('long ', 10000), 'UTF8')), 'hex'), 16)] AS toasted;
-- unchanged although stored anew
UPDATE large SET note = repeat('long ', 10000);
SELECT t.tags() = '{}' AS no_change;
UPDATE large SET note = repeat('long ', 10000) || '!';
SELECT cardinality(t.tags()) AS old_and_new;
DELETE FROM large;
SELECT cardinality(t.tags()) AS deleted;

-- each type as tenant
CREATE TABLE tenants_uuid (id int, clinic uuid, kind mood);
SELECT clinicache.track('tenants_uuid', '{"tenant": "clinic", "tags": ["u:{kind}"]}');
INSERT INTO tenants_uuid VALUES (1, '6F9619FF-8B86-D011-B42D-00C04FC964FF', 'good'), (2, NULL, 'not so good');
SELECT * FROM t.told();
\i :stop
