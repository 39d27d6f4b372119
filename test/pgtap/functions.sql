-- Functions: signatures as the README promises them, language, volatility, strictness, parallel safety, search_path, comments.
BEGIN;
SELECT plan(95);

CREATE TEMP VIEW ours AS
SELECT p.*, l.lanname::text AS language, p.oid::regprocedure::text AS signature, left(p.proname, 1) = '_' AS internal
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang WHERE p.pronamespace = 'clinicache'::regnamespace;

-- volatility i s v, strictness s or -, parallel safety s r u
CREATE TEMP TABLE wanted (name text, arguments text, result text, language text, kinds text);
INSERT INTO wanted VALUES
  -- tracking
  ('track', 'relation regclass, entity text, columns jsonb DEFAULT ''{}''::jsonb, options jsonb DEFAULT ''{}''::jsonb', 'void', 'plpgsql', 'v - u'),
  ('track', 'relation regclass, config jsonb', 'void', 'plpgsql', 'v - u'),
  ('plan', 'schema name', 'TABLE(relation regclass, entity text, action text, columns jsonb, tenant text, statement text, left_out text[], reason text)', 'plpgsql', 's - u'),
  ('track_schema', 'schema name', 'TABLE(relation regclass, statement text)', 'plpgsql', 'v - u'),
  ('untrack', 'relation regclass', 'void', 'plpgsql', 'v - u'),
  ('untrack_all', '', 'void', 'plpgsql', 'v - u'),
  -- looking
  ('preview', 'relation regclass, old_row jsonb, new_row jsonb', 'TABLE(tag text, profile text)', 'plpgsql', 's - u'),
  ('preview_rows', 'relation regclass, old_row record, new_row record', 'TABLE(tag text, profile text)', 'c', 's - u'),
  ('pending_tags', '', 'TABLE(tag text, profile text)', 'c', 'v - r'),
  ('tag', 'template text, args jsonb', 'text', 'c', 's s s'),
  ('check_config', 'relation regclass, config jsonb', 'void', 'c', 's s s'),
  ('trigger_config', 'trigger oid', 'jsonb', 'c', 's s s'),
  ('template_prefix', 'template text', 'text', 'c', 'i s s'),
  ('template_columns', 'template text', 'text[]', 'c', 'i s s'),
  ('lookup_steps', 'path text', 'TABLE(step integer, schema_name text, table_name text, key text, value text)', 'c', 'i s s'),
  -- catch-up: a null position is a subscriber that starts afresh, so changes() is not strict
  ('position', '', 'text', 'c', 'v - u'),
  ('changes', 'since text, tenants text[] DEFAULT NULL::text[], max_tags integer DEFAULT 10000', 'jsonb', 'c', 'v - u'),
  ('reached', '"position" text', 'boolean', 'c', 'v s u'),
  -- by hand
  ('invalidate', 'tags text[], tenant text DEFAULT NULL::text, reason text DEFAULT NULL::text', 'void', 'c', 'v - u'),
  ('invalidate_prefix', 'prefix text, tenant text DEFAULT NULL::text, reason text DEFAULT NULL::text', 'void', 'plpgsql', 'v - u'),
  ('emit_prefix', 'prefix text, tenant text, reason text', 'void', 'c', 'v - u'),
  -- upkeep
  ('maintain', '', NULL, 'plpgsql', 'v - u'),
  ('maintain_deliver', '', 'void', 'c', 'v - u'),
  ('maintain_empty', '', 'integer', 'c', 'v - u'),
  ('maintain_history', '', 'void', 'plpgsql', 'v - u'),
  ('maintain_edges', '', 'boolean', 'c', 'v - u'),
  ('maintain_moves', '', 'bigint', 'plpgsql', 'v - u'),
  ('emit_edges', 'from_time timestamp with time zone, to_time timestamp with time zone', 'bigint', 'c', 'v s u'),
  ('clock', '', 'timestamp with time zone', 'c', 'v - s'),
  ('new_epoch', '', 'void', 'sql', 'v - u'),
  ('schedule', 'every interval DEFAULT ''00:00:30''::interval', 'bigint', 'plpgsql', 'v - u'),
  ('unschedule', '', 'boolean', 'plpgsql', 'v - u'),
  ('maintain_fold', '', 'bigint', 'c', 'v - u'),
  ('maintain_counters', '', 'void', 'c', 'v - u'),
  -- counters
  ('count', 'counter text, dimension text, key text, classes text[] DEFAULT NULL::text[], from_day date DEFAULT NULL::date, to_day date DEFAULT NULL::date', 'bigint', 'c', 's - r'),
  ('total', 'counter text, dimension text, key text, classes text[] DEFAULT NULL::text[], from_day date DEFAULT NULL::date, to_day date DEFAULT NULL::date', 'numeric', 'c', 's - r'),
  ('series', 'counter text, dimension text, key text, grain text, from_day date, to_day date', 'TABLE(day date, class text, n bigint, total numeric)', 'c', 's - r'),
  ('clinic_dashboard', 'clinic text', 'jsonb', 'c', 's - r'),
  ('client_dashboard', 'client text', 'jsonb', 'c', 's - r'),
  ('doctor_dashboard', 'doctor text', 'jsonb', 'c', 's - r'),
  ('verify', 'counter text DEFAULT NULL::text', 'TABLE(counter text, relation regclass, dimension text, key text, day date, class text, n bigint, total numeric)', 'c', 'v - u'),
  ('rebuild', 'counter text', 'bigint', 'plpgsql', 'v - u'),
  ('set_timezone', 'tenant text, zone text', 'void', 'plpgsql', 'v - u'),
  ('count_rows', 'relation regclass, config jsonb', 'bigint', 'c', 'v s u'),
  ('forget_counters', 'relation regclass', 'void', 'c', 'v s u'),
  ('rezone', 'tenants text[], before text[], after text[]', 'void', 'c', 'v s u'),
  ('distrust_counters', 'reason text', 'void', 'c', 'v s u'),
  -- DDL
  ('ddl_steps', 'command pg_ddl_command', 'TABLE(kind text, object oid, attnum integer, other oid, old_name text, new_name text)', 'c', 'v s u'),
  ('dropped_parents', 'relation oid', 'oid[]', 'c', 'v s u'),
  ('dropped_config', 'relation oid', 'jsonb', 'c', 'v s u'),
  ('ddl_done', '', 'event_trigger', 'plpgsql', 'v - u'),
  ('ddl_dropped', '', 'event_trigger', 'plpgsql', 'v - u'),
  -- statistics
  ('delivery_state', 'OUT mode text, OUT worker_pid integer, OUT worker_state text, OUT records_written bigint, OUT tags_written bigint, OUT records_delivered bigint, OUT tags_delivered bigint, OUT tags_merged bigint, OUT messages bigint, OUT bytes bigint, OUT lag_records bigint, OUT lag_ms double precision, OUT last_delivery timestamp with time zone, OUT last_error text, OUT last_error_at timestamp with time zone, OUT queue_usage double precision, OUT stats_reset timestamp with time zone', 'record', 'c', 'v - r'),
  ('table_counters', '', 'TABLE(relid oid, rows_seen bigint, tags bigint, prefixes bigint, suppressed bigint, collapses bigint)', 'c', 'v - r'),
  ('stat_reset', '', 'void', 'c', 'v - r'),
  ('health', '', 'TABLE(severity text, finding text, object text, remedy text)', 'sql', 'v - u'),
  ('typescript', '', 'text', 'plpgsql', 's - u'),
  -- privileges
  ('grant_subscriber', 'role name, tenants text[] DEFAULT NULL::text[]', 'void', 'plpgsql', 'v - u'),
  ('revoke_subscriber', 'role name', 'void', 'plpgsql', 'v - u'),
  ('grant_tracker', 'role name', 'void', 'plpgsql', 'v - u'),
  ('revoke_tracker', 'role name', 'void', 'plpgsql', 'v - u'),
  ('grant_reader', 'role name', 'void', 'plpgsql', 'v - u'),
  ('revoke_reader', 'role name', 'void', 'plpgsql', 'v - u'),
  ('regrant', '', 'void', 'c', 'v - u'),
  -- triggers
  ('row_change', '', 'trigger', 'c', 'v - u'),
  ('parent_change', '', 'trigger', 'c', 'v - u'),
  ('truncate_change', '', 'trigger', 'c', 'v - u'),
  ('tenant_changed', '', 'trigger', 'c', 'v - u'),
  ('tenant_rezone', '', 'trigger', 'plpgsql', 'v - u'),
  ('tenant_applied', '', 'trigger', 'c', 'v - u'),
  ('local_guard', '', 'trigger', 'c', 'v - u'),
  ('builtin_guard', '', 'trigger', 'plpgsql', 'v - u'),
  ('tenant_timezone_check', '', 'trigger', 'plpgsql', 'v - u');

SELECT is(concat_ws(' | ', pg_get_function_arguments(o.oid), pg_get_function_result(o.oid), o.language,
                    concat_ws(' ', o.provolatile, CASE WHEN o.proisstrict THEN 's' ELSE '-' END, o.proparallel)),
          concat_ws(' | ', w.arguments, w.result, w.language, w.kinds), w.name || '(' || w.arguments || ')')
FROM wanted AS w
LEFT JOIN ours AS o ON o.proname = w.name AND pg_get_function_arguments(o.oid) = w.arguments;
SELECT is((SELECT array_agg(signature ORDER BY signature COLLATE "C") FROM ours AS o
           WHERE NOT internal AND NOT EXISTS (SELECT FROM wanted AS w WHERE w.name = o.proname AND w.arguments = pg_get_function_arguments(o.oid))),
          NULL, 'no other function without a leading _');
SELECT is((SELECT array_agg(proname::text || ' ' || prokind::text) FROM ours WHERE prokind <> 'f'), ARRAY['maintain p'], 'maintain() is the one procedure');

-- All of them.
SELECT is_empty('SELECT signature FROM ours WHERE obj_description(oid, $$pg_proc$$) IS NULL', 'each has a comment');
SELECT is_empty($$ SELECT signature FROM ours WHERE internal <> (obj_description(oid, 'pg_proc') LIKE 'Internal: %') $$,
                'the comment of an internal one says so, and of no other');
SELECT is((SELECT array_agg(signature || ' ' || prorettype::regtype ORDER BY signature COLLATE "C" DESC) FROM ours WHERE prosecdef), ARRAY['clinicache.tenant_rezone() trigger', 'clinicache.ddl_dropped() event_trigger', 'clinicache.ddl_done() event_trigger', 'clinicache._upkeep_missing() boolean'],
          'four are SECURITY DEFINER: triggers, and one that says no more than yes or no');
SELECT is_empty($$ SELECT signature FROM ours WHERE internal AND language NOT IN ('sql', 'plpgsql') $$, 'internal ones are SQL or PL/pgSQL');
SELECT is_empty('SELECT signature FROM ours WHERE proleakproof', 'none claims to be leakproof');
SELECT is_empty($$
  SELECT signature FROM ours AS o
  WHERE NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = o.oid AND d.deptype = 'e' AND e.extname = 'clinicache')
$$, 'all belong to the extension');
SELECT is_empty($$ SELECT signature FROM ours WHERE proowner <> (SELECT extowner FROM pg_extension WHERE extname = 'clinicache') $$,
                'all have its owner');
SELECT is_empty($$ SELECT signature FROM ours WHERE language = 'c' AND probin <> '$libdir/clinicache' $$, 'C functions are in our module');

-- Pinned search_path: nothing that the caller made may stand in for what they name.
SELECT is((SELECT array_agg(signature) FROM ours
           WHERE language <> 'c' AND ('search_path=pg_catalog, pg_temp' = ANY (proconfig)) IS NOT TRUE),
          ARRAY['clinicache.maintain()'], 'all but maintain(), which commits and so can not, pin search_path');
SELECT is((SELECT array_agg(DISTINCT m[1]) FROM ours, regexp_matches(prosrc, '([a-z_.]+)\(', 'g') AS m
           WHERE proname = 'maintain' AND m[1] NOT LIKE 'clinicache.%' AND m[1] NOT LIKE 'pg_catalog.%'), NULL, 'maintain() names what it calls with its schema');
SELECT set_eq($$ SELECT signature, unnest(proconfig) FROM ours WHERE proconfig IS NOT NULL EXCEPT
                 SELECT signature, 'search_path=pg_catalog, pg_temp' FROM ours $$,
              $$ VALUES ('clinicache.track(regclass,text,jsonb,jsonb)', 'citus.enable_unsafe_triggers=on'),
                        ('clinicache.track(regclass,jsonb)', 'citus.enable_unsafe_triggers=on'),
                        ('clinicache.ddl_done()', 'citus.enable_unsafe_triggers=on'),
                        ('clinicache.ddl_dropped()', 'citus.enable_unsafe_triggers=on'),
                        ('clinicache.health()', 'jit=off'), ('clinicache.typescript()', 'jit=off'),
                        ('clinicache.plan(name)', 'jit=off'), ('clinicache.track_schema(name)', 'client_min_messages=warning') $$,
              'no other settings, but for Citus where triggers are made, no compiling for catalogs, and no notices of what the plan says');

-- Volatility: what reads tables is not IMMUTABLE, what changes or locks something is VOLATILE.
SELECT is_empty($$ SELECT signature FROM ours WHERE provolatile = 'i' AND language <> 'c' AND prosrc ~* '\mclinicache\.[a-z]+\M(?!\()|\mpg_(class|attribute|trigger|proc|type)\M' $$,
                'no IMMUTABLE function reads a table');
SELECT is_empty($$ SELECT signature FROM ours WHERE provolatile <> 'v' AND language <> 'c' AND prosrc ~ '\m(INSERT INTO|DELETE FROM|LOCK TABLE|GRANT|REVOKE|CREATE TRIGGER|DROP TRIGGER) ' $$,
                'what changes something is VOLATILE');
SELECT is_empty($$ SELECT signature FROM ours WHERE provolatile = 'i' AND proparallel <> 's' $$, 'IMMUTABLE ones are parallel safe');

-- Those called parallel safe are: each in a worker.
SELECT set_config(name, 'on', true) IS NOT NULL AS forced FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset
CREATE TEMP TABLE answer AS
SELECT clinicache.tag('a:{d|date}', '{"d": "2026-01-01T23:00:00Z", "tenant": "x", "timezone": "Asia/Tokyo"}') AS tag,
       clinicache.tag('a:{d|date}', '{"d": "2026-01-01T23:00:00Z", "tenant": "x"}') AS tag_of_tenant,
       clinicache.template_prefix('a:{b}') AS prefix, clinicache.template_columns('a:{b|date}{c}') AS columns,
       clinicache.trigger_config(0) AS config,
       clinicache.check_config('clinicache.tenant', '{"v": 1, "tags": [{"tag": "x:{tenant|hash}", "profile": "seconds"}], "profiles": {"seconds": 1}}')::text AS checked;
SELECT set_config(name, 'off', true) = 'off' AS forced FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset
SELECT is((SELECT row(tag, tag_of_tenant, prefix, columns, config)::text FROM answer), '(a:2026-01-02,a:2026-01-01,a:,"{b,c}",)', 'parallel safe functions run in a worker');

-- Strictness seen from outside.
SELECT is(clinicache.changes(NULL) ->> 'reset', 'true', 'changes(NULL) resets');
SELECT is(clinicache.reached(NULL), NULL, 'reached(NULL) is null');
SELECT is(clinicache.tag('a:{b}', '{"b": null}'), NULL, 'a null argument makes no tag');
SELECT throws_ok('SELECT clinicache.invalidate(NULL)', '22004', NULL, 'invalidate(NULL) is an error');
SELECT throws_ok('SELECT clinicache.invalidate_prefix(NULL)', '22004', NULL, 'so is invalidate_prefix(NULL)');

SELECT * FROM finish();
ROLLBACK;
