-- Privileges: nothing to PUBLIC but what triggers need; grants give and take what the README says, no more.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(75);

-- Every privilege of others than the owner on the schema and what is in it; PUBLIC is "public".
CREATE TEMP VIEW given AS
WITH acl AS (
  SELECT 'schema' AS what, n.nspowner AS owner, coalesce(n.nspacl, acldefault('n', n.nspowner)) AS list
  FROM pg_namespace AS n WHERE n.nspname = 'clinicache'
  UNION ALL
  SELECT c.relname, c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
  FROM pg_class AS c WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relkind IN ('r', 'v', 'S')
  UNION ALL
  SELECT c.relname || '.' || a.attname, c.relowner, a.attacl
  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = 'clinicache'::regnamespace AND a.attacl IS NOT NULL
  UNION ALL
  SELECT translate(replace(p.oid::regprocedure::text, 'clinicache.', ''), '"', ''), p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
  FROM pg_proc AS p WHERE p.pronamespace = 'clinicache'::regnamespace
)
SELECT CASE x.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(x.grantee)::text END AS role,
       acl.what || ' ' || x.privilege_type || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END AS privilege
FROM acl, aclexplode(acl.list) AS x WHERE x.grantee <> acl.owner;
-- What a role was given, less the functions with a leading _.
CREATE FUNCTION pg_temp.given_to(role text) RETURNS text[] LANGUAGE sql AS $$
  SELECT array_agg(g.privilege ORDER BY g.privilege COLLATE "C") FROM given AS g WHERE g.role = given_to.role AND left(g.privilege, 1) <> '_'
$$;

SELECT is(pg_temp.given_to('public'), ARRAY['parent_change() EXECUTE', 'row_change() EXECUTE', 'tenant_changed() EXECUTE', 'truncate_change() EXECUTE'],
          'PUBLIC may execute trigger functions, which nobody can call, and nothing else');
SELECT is_empty('SELECT role, privilege FROM given WHERE role <> $$public$$', 'nobody but the owner has anything');
SELECT is_empty($$ SELECT privilege FROM given WHERE role = 'public' AND left(privilege, 1) = '_' $$, 'no internal function is PUBLIC''s');
SELECT is_empty($$
  SELECT p.oid::regprocedure FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
  WHERE p.pronamespace = 'clinicache'::regnamespace AND p.prosecdef AND x.grantee = 0
$$, 'no SECURITY DEFINER function is PUBLIC''s');
SELECT throws_ok('SELECT clinicache.row_change()', '39P01', NULL, 'a trigger function can not be called');
SELECT is_empty($$
  SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'clinicache'::regnamespace AND (c.relrowsecurity OR c.relforcerowsecurity)
$$, 'no row level security: tables are granted to nobody who would need it');
SELECT is_empty($$
  SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relkind = 'v' AND c.reloptions::text ~ 'security_invoker'
$$, 'views give what is granted on them');

CREATE ROLE pgtap_web; CREATE ROLE pgtap_some; CREATE ROLE pgtap_owner; CREATE ROLE "pgtap Quoted";

-- Subscribers.
SELECT lives_ok($$ SELECT clinicache.grant_subscriber('pgtap_web') $$, 'grant_subscriber');
SELECT is(pg_temp.given_to('pgtap_web'),
          ARRAY['changes(text,text[],integer) EXECUTE', 'position() EXECUTE', 'reached(text) EXECUTE', 'schema USAGE', 'tag(text,jsonb) EXECUTE'],
          'gives position, changes, reached, tag and the schema');
SELECT is_empty($$ SELECT privilege FROM given WHERE role = 'pgtap_web' AND left(privilege, 1) = '_' $$, 'and no internal function');
SELECT is((SELECT array_agg(s::text) FROM clinicache.subscriber AS s), ARRAY['(pgtap_web,)'], 'all tenants');
SELECT lives_ok($$ SELECT clinicache.grant_subscriber('pgtap_web', '{7,8}') $$, 'granted again, with tenants');
SELECT is((SELECT array_agg(s::text) FROM clinicache.subscriber AS s), ARRAY['(pgtap_web,"{7,8}")'], 'replaces the one before');
SELECT is(cardinality(pg_temp.given_to('pgtap_web')), 5, 'and gives nothing more');
SET ROLE pgtap_web;
SELECT is(clinicache.changes(NULL) ->> 'reset', 'true', 'a subscriber calls changes()');
SELECT ok(clinicache.reached(clinicache.position()), 'and position() and reached()');
SELECT is(clinicache.tag('a:{b}', '{"b": 1}'), 'a:1', 'and tag()');
SELECT throws_ok('SELECT FROM clinicache.' || t, '42501', NULL, 'a subscriber does not read ' || t)
FROM unnest(ARRAY['invalidation_log', 'invalidation_log_0', 'subscriber', 'identity', 'position_history', 'edge_history', 'tenant', 'entity', 'tracked_tables']) AS t;
SELECT throws_ok(s, '42501', NULL, 'nor calls ' || s)
FROM unnest(ARRAY['SELECT clinicache.invalidate(''{x}'')', 'SELECT clinicache.new_epoch()', 'CALL clinicache.maintain()',
                  'SELECT clinicache.maintain_empty()', 'SELECT clinicache.maintain_edges()', 'SELECT clinicache.emit_edges(now(), now())',
                  'SELECT clinicache.schedule()', 'SELECT clinicache.unschedule()',
                  'SELECT clinicache.grant_subscriber(''pgtap_web'')',
                  'SELECT clinicache.revoke_tracker(''pgtap_web'')', 'SELECT FROM clinicache.pending_tags()']) AS s;
RESET ROLE;
SELECT lives_ok($$ SELECT clinicache.revoke_subscriber('pgtap_web') $$, 'revoke_subscriber');
SELECT is_empty($$ SELECT privilege FROM given WHERE role = 'pgtap_web' UNION ALL SELECT role FROM clinicache.subscriber $$, 'takes all of it');
SELECT lives_ok($$ SELECT clinicache.revoke_subscriber('pgtap_web') $$, 'and may be called again');

-- EXECUTE alone makes no subscriber.
GRANT USAGE ON SCHEMA clinicache TO pgtap_some;
GRANT EXECUTE ON FUNCTION clinicache.changes TO pgtap_some;
SET ROLE pgtap_some;
SELECT throws_ok('SELECT clinicache.changes(NULL)', '42501', 'role "pgtap_some" is not a clinicache subscriber', 'changes() wants a subscriber');
RESET ROLE;

-- Trackers.
SELECT lives_ok($$ SELECT clinicache.grant_tracker('pgtap_owner') $$, 'grant_tracker');
SELECT is(pg_temp.given_to('pgtap_owner'),
          ARRAY['alias SELECT', 'check_config(regclass,jsonb) EXECUTE', 'class SELECT', 'count_rows(regclass,jsonb) EXECUTE',
                'emit_prefix(text,text,text) EXECUTE', 'entity SELECT', 'forget_counters(regclass) EXECUTE',
                'invalidate(text[],text,text) EXECUTE', 'invalidate_prefix(text,text,text) EXECUTE', 'lookup_steps(text) EXECUTE', 'pending_tags() EXECUTE',
                'plan(name) EXECUTE', 'preview(regclass,jsonb,jsonb) EXECUTE', 'preview_rows(regclass,record,record) EXECUTE', 'profile SELECT',
                'rebuild(text) EXECUTE', 'schema USAGE',
                'tag(text,jsonb) EXECUTE', 'tag_templates SELECT', 'template_columns(text) EXECUTE', 'template_prefix(text) EXECUTE',
                'track(regclass,jsonb) EXECUTE', 'track(regclass,text,jsonb,jsonb) EXECUTE', 'track_schema(name) EXECUTE', 'tracked_tables SELECT',
                'trigger_config(oid) EXECUTE', 'typescript() EXECUTE', 'untrack(regclass) EXECUTE', 'untrack_all() EXECUTE'],
          'gives tracking, looking, invalidation by hand, and the vocabulary to read');
SELECT is_empty($$ SELECT privilege FROM given WHERE role = 'pgtap_owner' AND privilege ~ '^_(check_owner|check_grant|subscriber_functions|tracker_functions|grant_functions|revoke_functions|cron_|no_cron|health_)' $$,
                'not what grants and schedules are made with');
CREATE SCHEMA pgtap_cc AUTHORIZATION pgtap_owner;
CREATE TABLE pgtap_cc.others (id int PRIMARY KEY);
SET ROLE pgtap_owner;
CREATE TABLE pgtap_cc.visit (id int PRIMARY KEY, "clinicId" int);
SELECT lives_ok($$ SELECT clinicache.track('pgtap_cc.visit', 'appointment', '{"clinic": "clinicId", "patient": null, "doctor": null, "date": null, "status": null}') $$,
                'a tracker tracks its table by a preset');
SELECT lives_ok($$ INSERT INTO pgtap_cc.visit VALUES (1, 7) $$, 'writes');
SELECT ok(EXISTS (SELECT FROM clinicache.pending_tags() WHERE tag = 'appointment:1'), 'and sees what will be emitted');
SELECT throws_ok($$ SELECT clinicache.track('pgtap_cc.others', '{"tags": ["o:{id}"]}') $$, '42501', NULL, 'but tracks no table of others');
SELECT throws_ok('SELECT clinicache.changes(NULL)', '42501', NULL, 'is no subscriber');
SELECT throws_ok($$ INSERT INTO clinicache.profile (name, revalidate) VALUES ('x', 1) $$, '42501', NULL, 'and does not write the vocabulary');
CREATE TABLE pgtap_cc.patients (id int PRIMARY KEY, clinic_id int);
SELECT is((SELECT array_agg(relation::text) FROM clinicache.track_schema('pgtap_cc')), ARRAY['pgtap_cc.patients'], 'of a schema it tracks its own tables');
SELECT is((SELECT array_agg(relation || ': ' || reason ORDER BY relation::text) FROM clinicache.plan('pgtap_cc')),
          ARRAY['pgtap_cc.others: belongs to ' || (SELECT relowner::regrole FROM pg_class WHERE oid = 'pgtap_cc.others'::regclass) || ', who may track it; you may not',
                'pgtap_cc.patients: is tracked already', 'pgtap_cc.visit: is tracked already'], 'and is told of the others');
SELECT lives_ok($$ SELECT clinicache.untrack_all() $$, 'and untracks');
RESET ROLE;

-- Both: each is revoked for itself.
SELECT lives_ok($$ SELECT clinicache.grant_subscriber('pgtap_owner'), clinicache.revoke_tracker('pgtap_owner') $$, 'revoke_tracker from a subscriber');
SELECT is((SELECT array_agg(privilege ORDER BY privilege COLLATE "C") FROM given WHERE role = 'pgtap_owner'),
          ARRAY['changes(text,text[],integer) EXECUTE', 'position() EXECUTE', 'reached(text) EXECUTE', 'schema USAGE', 'tag(text,jsonb) EXECUTE'],
          'leaves a subscriber');
SELECT lives_ok($$ SELECT clinicache.grant_tracker('pgtap_owner'), clinicache.revoke_subscriber('pgtap_owner') $$, 'revoke_subscriber from a tracker');
SELECT is((SELECT cardinality(pg_temp.given_to('pgtap_owner'))), 29, 'leaves a tracker');
SELECT lives_ok($$ SELECT clinicache.revoke_tracker('pgtap_owner') $$, 'revoke_tracker');
SELECT is_empty($$ SELECT privilege FROM given WHERE role = 'pgtap_owner' $$, 'takes all of it');
SELECT lives_ok($$ SELECT clinicache.grant_subscriber('pgtap Quoted'), clinicache.grant_tracker('pgtap Quoted'),
                          clinicache.revoke_subscriber('pgtap Quoted'), clinicache.revoke_tracker('pgtap Quoted') $$, 'names that need quotes');
SELECT is_empty($$ SELECT privilege FROM given WHERE role = 'pgtap Quoted' $$, 'leave nothing behind');

-- Readers.
SELECT lives_ok($$ SELECT clinicache.grant_reader('pgtap_web'), clinicache.grant_subscriber('pgtap_web'), clinicache.revoke_subscriber('pgtap_web') $$,
                'grant_reader, and another grant that comes and goes');
SELECT is(pg_temp.given_to('pgtap_web'),
          ARRAY['client_dashboard(text) EXECUTE', 'clinic_dashboard(text) EXECUTE', 'count(text,text,text,text[],date,date) EXECUTE',
                'doctor_dashboard(text) EXECUTE', 'schema USAGE', 'series(text,text,text,text,date,date) EXECUTE',
                'total(text,text,text,text[],date,date) EXECUTE'], 'gives counters and dashboards');
SET ROLE pgtap_web;
SELECT is(clinicache.clinic_dashboard('7') ->> 'clinic', '7', 'a reader reads a dashboard');
SELECT throws_ok(s, '42501', NULL, 'but does not ' || s)
FROM unnest(ARRAY['SELECT FROM clinicache.verify()', 'SELECT clinicache.rebuild(''x'')', 'SELECT clinicache.set_timezone(''x'', ''UTC'')',
                  'SELECT FROM clinicache.counter_registry', 'SELECT FROM clinicache.counter_cell']) AS s;
RESET ROLE;
SELECT lives_ok($$ SELECT clinicache.revoke_reader('pgtap_web') $$, 'revoke_reader');
SELECT is_empty($$ SELECT privilege FROM given WHERE role = 'pgtap_web' $$, 'takes all of it');

-- Refused.
SELECT throws_ok($$ SELECT clinicache.grant_subscriber('pgtap_nobody') $$, '42704', NULL, 'a role must exist');
SELECT throws_ok($$ SELECT clinicache.grant_tracker('public') $$, '42704', NULL, 'PUBLIC is none');
SELECT throws_ok($$ SELECT clinicache.grant_subscriber(NULL) $$, '22004', NULL, 'nor is null');
SELECT throws_ok($$ SELECT clinicache.grant_subscriber('pgtap_web', ARRAY[NULL]) $$, '22004', NULL, 'null is no tenant');

SELECT * FROM finish();
ROLLBACK;
