-- Tables, views, indexes, triggers, and a comment on each.
BEGIN;
SELECT plan(78);

CREATE TEMP VIEW ours AS
SELECT c.oid, c.relname::text AS name, c.relkind::text AS kind FROM pg_class AS c WHERE c.relnamespace = 'clinicache'::regnamespace;

-- Reported names are sorted, so that a failure lists exactly what is missing or too much.
SELECT is((SELECT array_agg(name ORDER BY name COLLATE "C") FROM ours WHERE kind = 'r'),
          ARRAY['alias', 'class', 'counter_batch', 'counter_cell', 'counter_fold', 'counter_invalid', 'counter_source', 'edge_history', 'entity', 'identity', 'invalidation_log', 'invalidation_log_0', 'invalidation_log_1',
                'invalidation_log_2', 'invalidation_log_3', 'invalidation_log_4', 'invalidation_log_5', 'invalidation_log_6',
                'invalidation_log_7', 'log_floor', 'parent_move', 'position_history', 'profile', 'subscriber', 'tenant'], 'the tables');
SELECT is((SELECT array_agg(name ORDER BY name COLLATE "C") FROM ours WHERE kind = 'v'),
          ARRAY['counter_registry', 'stat_delivery', 'stat_tables', 'tag_templates', 'tracked_tables'], 'the views');
SELECT is((SELECT array_agg(name ORDER BY name COLLATE "C") FROM ours WHERE kind = 'S'),
          ARRAY['counter_invalid_id_seq', 'counter_source_id_seq', 'edge_history_id_seq', 'log_floor_id_seq', 'parent_move_id_seq', 'position_history_id_seq'], 'the sequences, all of identity columns');
SELECT is((SELECT array_agg(DISTINCT kind ORDER BY kind) FROM ours), ARRAY['S', 'i', 'r', 'v'], 'nothing else');

-- Columns in order, with types and NOT NULL.
SELECT is((SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
                             ', ' ORDER BY a.attnum)
           FROM pg_attribute AS a WHERE a.attrelid = ('clinicache.' || e.name)::regclass AND a.attnum > 0 AND NOT a.attisdropped),
          e.columns, 'columns of ' || e.name)
FROM (VALUES
  ('profile', 'name text not null, stale integer, revalidate integer not null, expire integer, builtin boolean not null'),
  ('entity', 'name text not null, tables text[] not null, tenant text, columns jsonb not null, tags jsonb not null, counters jsonb not null, builtin boolean not null'),
  ('alias', 'column_name text not null, candidates text[] not null, builtin boolean not null'),
  ('class', 'name text not null, labels text[] not null, builtin boolean not null'),
  ('tenant', 'tenant text not null, timezone text not null'),
  ('subscriber', 'role name not null, tenants text[]'),
  ('identity', 'epoch text not null, created timestamp with time zone not null, secret text not null'),
  ('position_history', 'id bigint not null, at timestamp with time zone not null, position text not null, delivered boolean not null'),
  ('edge_history', 'id bigint not null, at timestamp with time zone not null, since timestamp with time zone not null, through timestamp with time zone not null, running xid8[] not null'),
  ('parent_move', 'id bigint not null, at timestamp with time zone not null, xid xid8 not null, horizon xid8'),
  ('log_floor', 'id bigint not null, at timestamp with time zone not null, position text not null'),
  ('invalidation_log', 'xid xid8 not null, tenant text, at timestamp with time zone not null, origin text, tags text[], profiles text, prefixes text[], deltas bytea, delivered boolean not null'),
  ('counter_source', 'id integer not null, counter text not null, relation regclass not null, dimensions text[] not null, tenant_dimension smallint not null, timezone text not null, counted_at timestamp with time zone not null'),
  ('counter_invalid', 'id bigint not null, source integer not null, at timestamp with time zone not null, reason text not null'),
  ('counter_fold', 'fold bigint not null, at timestamp with time zone not null, base bigint not null, snapshot text not null'),
  ('counter_batch', 'bucket integer not null, fold bigint not null, cells bytea not null'),
  ('counter_cell', 'counter integer not null, dimension smallint not null, key text not null, period date not null, fold bigint not null, cells bytea not null'),
  ('counter_registry', 'id integer, counter text, relation regclass, valid boolean, dimensions text[], timezone text, counted_at timestamp with time zone, reason text'),
  ('tracked_tables', 'relation regclass, entity text, tenant text, columns jsonb, templates text[], left_out text[], state text'),
  ('tag_templates', 'template text, profile text, prefix text, tables regclass[]'),
  ('stat_delivery', 'mode text, worker_pid integer, worker_state text, records_written bigint, tags_written bigint, records_delivered bigint, tags_delivered bigint, tags_merged bigint, messages bigint, bytes bigint, lag_records bigint, lag_ms double precision, last_delivery timestamp with time zone, last_error text, last_error_at timestamp with time zone, queue_usage double precision, stats_reset timestamp with time zone'),
  ('stat_tables', 'relation regclass, rows_seen bigint, tags bigint, prefixes bigint, suppressed bigint, collapses bigint')
) AS e(name, columns);

SELECT col_is_pk('clinicache', e.name, e.key, 'key of ' || e.name)
FROM (VALUES ('profile', 'name'), ('entity', 'name'), ('alias', 'column_name'), ('class', 'name'), ('tenant', 'tenant'), ('subscriber', 'role'),
             ('identity', 'epoch'), ('position_history', 'id'), ('edge_history', 'id'), ('parent_move', 'id'), ('log_floor', 'id')) AS e(name, key);

-- The eight slots: children of the log, the same columns in the same order (C reads them by number), one index, on xid, no autovacuum.
SELECT is((SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent
           WHERE i.inhrelid = ('clinicache.' || s.name)::regclass), 'invalidation_log', s.name || ' is a slot')
FROM (SELECT 'invalidation_log_' || n FROM generate_series(0, 7) AS n) AS s(name);
SELECT is((SELECT array_agg(pg_get_indexdef(i.indexrelid)) FROM pg_index AS i WHERE i.indrelid = ('clinicache.' || s.name)::regclass),
          ARRAY[format('CREATE INDEX %s_xid ON clinicache.%1$s USING btree (xid)', s.name)], s.name || ' has one index, on xid')
FROM (SELECT 'invalidation_log_' || n FROM generate_series(0, 7) AS n) AS s(name);
SELECT is_empty($$
  SELECT a.attrelid::regclass, a.attname FROM pg_attribute AS a JOIN pg_inherits AS i ON i.inhrelid = a.attrelid
  WHERE i.inhparent = 'clinicache.invalidation_log'::regclass AND a.attnum > 0
    AND (a.attname, a.atttypid, a.attnum, a.attnotnull) NOT IN (
      SELECT p.attname, p.atttypid, p.attnum, p.attnotnull FROM pg_attribute AS p WHERE p.attrelid = i.inhparent)
$$, 'columns of the slots are those of the log');
SELECT is_empty($$
  SELECT i.inhrelid::regclass FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
  WHERE i.inhparent = 'clinicache.invalidation_log'::regclass
    AND ('autovacuum_enabled=false' = ANY (c.reloptions)) IS NOT TRUE
$$, 'autovacuum leaves the slots alone');
SELECT is((SELECT count(*) FROM pg_inherits WHERE inhparent = 'clinicache.invalidation_log'::regclass), 8::bigint, 'eight slots');
SELECT hasnt_pk('clinicache', 'invalidation_log', 'the log has no key: a transaction may write several records');
SELECT is((SELECT count(*) FROM pg_index WHERE indrelid = 'clinicache.invalidation_log'::regclass), 0::bigint, 'the parent has no index');
SELECT is((SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relnamespace = 'clinicache'::regnamespace AND relreplident = 'n' AND relkind = 'r'),
          ARRAY['counter_batch', 'counter_cell', 'counter_fold', 'counter_invalid', 'counter_source', 'edge_history', 'log_floor', 'position_history'], 'deletions by upkeep are not shipped to logical replicas');

-- Permanent, logged, of the owner of the extension, members of it.
SELECT is_empty($$ SELECT o.name FROM ours AS o JOIN pg_class AS c USING (oid) WHERE c.relpersistence <> 'p' $$, 'all is permanent and logged');
SELECT is_empty($$
  SELECT o.name FROM ours AS o
  WHERE o.kind IN ('r', 'v') AND NOT EXISTS (
    SELECT FROM pg_depend AS d JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = o.oid AND d.deptype = 'e' AND e.extname = 'clinicache')
$$, 'all belongs to the extension');
SELECT is_empty($$
  SELECT o.name FROM ours AS o JOIN pg_class AS c USING (oid)
  WHERE c.relowner <> (SELECT e.extowner FROM pg_extension AS e WHERE e.extname = 'clinicache')
$$, 'all has the owner of the extension');

-- Triggers on our own tables.
SELECT is((SELECT array_agg(c.relname || ': ' || t.tgname || ' ' || p.proname || ' ' || t.tgenabled::text
                           ORDER BY c.relname || ': ' || t.tgname || ' ' || p.proname COLLATE "C")
           FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
           WHERE c.relnamespace = 'clinicache'::regnamespace AND NOT t.tgisinternal),
          ARRAY(SELECT w.trigger COLLATE "C" FROM (
                  SELECT t || g FROM unnest(ARRAY['alias', 'class', 'entity', 'profile']) AS t,
                         unnest(ARRAY[': builtin_guard builtin_guard O', ': local_guard_new local_guard A', ': local_guard_old local_guard A']) AS g
                  UNION ALL
                  SELECT t || ': local_guard local_guard A'
                  FROM unnest(ARRAY['counter_batch', 'counter_cell', 'counter_fold', 'counter_invalid', 'counter_source', 'edge_history', 'parent_move', 'identity',
                                    'invalidation_log', 'log_floor', 'position_history']
                              || ARRAY(SELECT 'invalidation_log_' || i FROM generate_series(0, 7) AS i)) AS t
                  UNION ALL
                  VALUES ('class: class_changed tenant_changed O'), ('profile: profile_changed tenant_changed A'),
                         ('tenant: tenant_applied tenant_applied A'), ('tenant: rezone_all tenant_rezone O'), ('tenant: rezone_changed tenant_rezone O'), ('tenant: rezone_new tenant_rezone O'),
                         ('tenant: rezone_old tenant_rezone O'), ('tenant: tenant_changed tenant_changed A'),
                         ('tenant: timezone_check tenant_timezone_check O')) AS w(trigger) ORDER BY 1), 'the triggers');

-- Event triggers.
SELECT is((SELECT array_agg(e.evtname || ' ' || e.evtevent || ' ' || e.evtfoid::regproc || ' ' || e.evtenabled::text ORDER BY e.evtname)
           FROM pg_event_trigger AS e JOIN pg_depend AS d ON d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e'
           JOIN pg_extension AS x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid AND x.extname = 'clinicache'),
          ARRAY['clinicache_ddl ddl_command_end clinicache.ddl_done O', 'clinicache_drop sql_drop clinicache.ddl_dropped O'], 'the event triggers');
SELECT is_empty($$ SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'clinicache%' AND obj_description(oid, 'pg_event_trigger') IS NULL $$,
                'a comment on each event trigger');

-- What CREATE EXTENSION leaves in them.
SELECT is((SELECT count(*) FROM clinicache.identity), 1::bigint, 'one identity');
SELECT ok((SELECT epoch ~ '^[0-9a-f]{16}$' AND secret ~ '^[0-9a-f]{32}$' AND secret !~ epoch FROM clinicache.identity),
          'its epoch and secret are hexadecimal, and the secret does not hold the epoch');

-- Comments.
SELECT is_empty($$ SELECT o.name FROM ours AS o WHERE o.kind IN ('r', 'v') AND obj_description(o.oid, 'pg_class') IS NULL $$,
                'a comment on each table and view');
SELECT is_empty($$
  SELECT o.name, a.attname FROM ours AS o JOIN pg_attribute AS a ON a.attrelid = o.oid
  WHERE o.kind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped AND a.attislocal AND col_description(o.oid, a.attnum) IS NULL
$$, 'a comment on each column');
SELECT is_empty($$
  SELECT t.tgrelid::regclass, t.tgname FROM pg_trigger AS t
  WHERE t.tgrelid IN (SELECT oid FROM ours) AND NOT t.tgisinternal AND obj_description(t.oid, 'pg_trigger') IS NULL
$$, 'a comment on each trigger');
SELECT is_empty($$
  SELECT o.name FROM ours AS o JOIN pg_index AS i ON i.indexrelid = o.oid
  WHERE NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = o.oid) AND obj_description(o.oid, 'pg_class') IS NULL
$$, 'a comment on each index that is no constraint''s');
SELECT ok(obj_description('clinicache'::regnamespace, 'pg_namespace') IS NOT NULL, 'a comment on the schema');
SELECT ok((SELECT obj_description(oid, 'pg_extension') IS NOT NULL FROM pg_extension WHERE extname = 'clinicache'), 'a comment on the extension');

-- Constraints that keep nonsense out.
SELECT throws_ok($$ INSERT INTO clinicache.profile (name, revalidate) VALUES ('x', -1) $$, '23514', NULL, 'no negative time');
SELECT throws_ok($$ INSERT INTO clinicache.entity (name, tags) VALUES ('x', '{}') $$, '23514', NULL, 'tags of an entity are an array');
SELECT throws_ok($$ INSERT INTO clinicache.tenant VALUES ('x', 'Mars/Olympus') $$, '22023', NULL, 'no unknown time zone');
SELECT throws_ok($$ INSERT INTO clinicache.tenant VALUES ('x', 'FOO5') $$, '22023', NULL, 'nor one that is a rule and no name');
SELECT lives_ok($$ INSERT INTO clinicache.tenant VALUES ('x', 'America/New_York'), ('y', 'UTC') $$, 'names of time zones');

SELECT * FROM finish();
ROLLBACK;
