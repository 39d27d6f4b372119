-- The vocabulary that comes with the extension: complete, consistent in itself, protected, and what users add is dumped.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(34);

-- One row for each template of an entity; templates are arrays or objects.
CREATE TEMP VIEW template AS
SELECT e.name AS entity, e.columns, e.tenant, t.n,
       CASE jsonb_typeof(t.item) WHEN 'array' THEN t.item ->> 0 ELSE t.item ->> 'tag' END AS tag,
       CASE jsonb_typeof(t.item) WHEN 'array' THEN t.item ->> 1 ELSE t.item ->> 'profile' END AS profile,
       t.item
FROM clinicache.entity AS e, jsonb_array_elements(e.tags) WITH ORDINALITY AS t(item, n)
WHERE e.builtin;

SELECT is((SELECT count(*) FROM clinicache.entity), 26::bigint, '26 entities');
SELECT is((SELECT count(*) FROM template), 162::bigint, '162 templates');
SELECT is((SELECT array_agg(name ORDER BY name COLLATE "C") FROM clinicache.entity),
          ARRAY['appointment', 'audit_log', 'bill', 'clinic', 'clinic_member', 'clinic_setting', 'department', 'diagnosis', 'doctor', 'drug',
                'expense', 'growth', 'growth_standard', 'immunization', 'lab_test', 'medical_record', 'notification', 'patient', 'payment',
                'prescription', 'rating', 'service', 'staff', 'user', 'vital_signs', 'working_days'], 'their names');
SELECT is((SELECT array_agg(name ORDER BY name COLLATE "C") FROM clinicache.profile),
          ARRAY['days', 'default', 'hours', 'long', 'max', 'medicalLong', 'medicalMedium', 'medicalShort', 'medium', 'minutes', 'realtime',
                'reference', 'seconds', 'short', 'weeks'], 'the profiles');
SELECT is((SELECT array_agg(column_name ORDER BY column_name COLLATE "C") FROM clinicache.alias), ARRAY['clinic', 'doctor', 'patient'], 'the aliases');
SELECT is((SELECT array_agg(name ORDER BY name COLLATE "C") FROM clinicache.class), ARRAY['cancelled', 'completed', 'no_show', 'waiting'], 'the classes');
SELECT is((SELECT array_agg(builtin) FROM (SELECT builtin FROM clinicache.entity UNION SELECT builtin FROM clinicache.profile
                                           UNION SELECT builtin FROM clinicache.alias UNION SELECT builtin FROM clinicache.class) AS x),
          ARRAY[true], 'all of them are built in');
SELECT is((SELECT count(*) FROM clinicache.tenant) + (SELECT count(*) FROM clinicache.subscriber), 0::bigint, 'no tenants, no subscribers');

-- Templates.
SELECT is_empty('SELECT entity, n FROM template WHERE tag IS NULL OR profile IS NULL', 'each has a text and a profile');
SELECT is_empty('SELECT entity, tag FROM template WHERE profile NOT IN (SELECT name FROM clinicache.profile)', 'of known profiles');
SELECT is_empty('SELECT entity, tag FROM template GROUP BY 1, 2 HAVING count(*) > 1', 'none twice in an entity');
SELECT is_empty('SELECT entity, tag FROM template WHERE clinicache.template_prefix(tag) = $$$$', 'none begins with a placeholder: its prefix would be everything');
SELECT is_empty('SELECT t.entity, t.tag, c FROM template AS t, unnest(clinicache.template_columns(t.tag)) AS c WHERE NOT t.columns ? c',
                'their columns are logical columns of the entity');
SELECT is_empty($$ SELECT entity, tag FROM template WHERE item ? 'window' AND (item ->> 'window' NOT IN ('today', 'upcoming', 'past') OR NOT item ? 'time') $$,
                'windows are known and have a time');
SELECT is_empty($$ SELECT t.entity, t.tag, c FROM template AS t, jsonb_array_elements_text(t.item -> 'time') AS c WHERE NOT t.columns ? c $$, 'times are logical columns of the entity');
SELECT is_empty($$ SELECT entity, tag, k FROM template, jsonb_object_keys(CASE jsonb_typeof(item) WHEN 'object' THEN item ELSE '{}' END) AS k
                   WHERE k NOT IN ('tag', 'profile', 'window', 'time', 'edge', 'columns') $$, 'objects have known keys only');
SELECT is_empty($$ SELECT entity, tag FROM template WHERE CASE jsonb_typeof(item) WHEN 'array' THEN jsonb_array_length(item) <> 2 END $$, 'arrays have two elements');

-- Entities.
SELECT is_empty('SELECT name, tenant FROM clinicache.entity WHERE NOT columns ? tenant', 'the tenant is a logical column');
SELECT is_empty('SELECT name FROM clinicache.entity WHERE cardinality(tables) = 0', 'each is recognised by a table''s name');
SELECT is_empty('SELECT t FROM clinicache.entity, unnest(tables) AS t GROUP BY t HAVING count(*) > 1', 'by names of its own');
SELECT is_empty($$ SELECT name, c.key FROM clinicache.entity, jsonb_each(columns) AS c
                   WHERE jsonb_typeof(c.value) <> 'array' OR jsonb_path_exists(c.value, '$[*] ? (@.type() != "string")') $$, 'candidates are lists of names');
SELECT is_empty($$ SELECT e.name, c FROM clinicache.entity AS e, jsonb_array_elements(e.counters) AS k,
                     LATERAL (SELECT value FROM jsonb_each_text(k -> 'by')
                              UNION ALL SELECT k ->> x FROM unnest(ARRAY['day', 'class', 'sum']) AS x WHERE k ? x) AS u(c)
                   WHERE NOT e.columns ? c $$, 'columns of counters too');
SELECT is_empty('SELECT name FROM clinicache.profile WHERE expire <= revalidate', 'a value expires after it is refreshed');

-- Protected.
SELECT throws_ok($$ UPDATE clinicache.entity SET tags = '[]' WHERE name = 'patient' $$, '42501', NULL, 'no update of what is built in');
SELECT throws_ok($$ DELETE FROM clinicache.profile WHERE name = 'seconds' $$, '42501', NULL, 'no deletion');
SELECT throws_ok($$ INSERT INTO clinicache.alias VALUES ('room', '{room_id}', true) $$, '42501', NULL, 'no insertion as built in');
SELECT throws_ok($$ UPDATE clinicache.class SET builtin = false WHERE name = 'waiting' $$, '42501', NULL, 'nor a disguise');

-- Users add to it.
SELECT lives_ok($$ INSERT INTO clinicache.profile (name, revalidate) VALUES ('mine', 5) $$, 'a profile of one''s own');
SELECT lives_ok($$ INSERT INTO clinicache.entity (name, columns, tags) VALUES ('room', '{"id": []}', '[["room:{id}", "mine"]]') $$, 'an entity');
CREATE SCHEMA pgtap_cc;
CREATE TABLE pgtap_cc.room (id int PRIMARY KEY);
SELECT lives_ok($$ SELECT clinicache.track('pgtap_cc.room', 'room') $$, 'a table is tracked as it');
SELECT is((SELECT array_agg(tag || ' ' || profile) FROM clinicache.preview('pgtap_cc.room', NULL, '{"id": 3}')), ARRAY['room:3 mine'], 'and emits its tags');
SELECT lives_ok($$ DELETE FROM clinicache.entity WHERE name = 'room' $$, 'and may go again');

-- Dumped: what users add, no more.  Identity, positions and the log are another history's.
SELECT is((SELECT array_agg(c::regclass::text || ' ' || w ORDER BY n)
           FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) WITH ORDINALITY AS u(c, w, n) WHERE e.extname = 'clinicache'),
          ARRAY['clinicache.profile WHERE NOT builtin', 'clinicache.entity WHERE NOT builtin', 'clinicache.alias WHERE NOT builtin',
                'clinicache.class WHERE NOT builtin', 'clinicache.tenant ', 'clinicache.subscriber '], 'what pg_dump takes along');
SELECT is_empty($$
  SELECT c.relname FROM pg_class AS c, pg_extension AS e
  WHERE e.extname = 'clinicache' AND c.oid = ANY (e.extconfig)
    AND c.relname ~ '^(identity|position_history|edge_history|log_floor|invalidation_log)'
$$, 'and what it must not');

SELECT * FROM finish();
ROLLBACK;
