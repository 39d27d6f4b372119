-- typescript(): the text. That it runs and makes the tags that clinicache.tag() makes: test/t/086_typescript.pl.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(35);

CREATE FUNCTION pg_temp.line(pattern text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(l, chr(10)) FROM regexp_split_to_table(clinicache.typescript(), chr(10)) AS l WHERE strpos(l, pattern) > 0
$$;

-- Nothing tracked.
SELECT ok(clinicache.typescript() ~ 'export const tags = {\n};', 'nothing tracked: no builders');
SELECT ok(clinicache.typescript() !~ 'function (text|day|month|lower|either|prefixFor|prefixLabels)\M', 'nor what only they call');
SELECT is(pg_temp.line('  default: {'), '  default: { stale: 300, revalidate: 900 },', 'profiles, without what is null');
SELECT is((SELECT count(*) FROM regexp_matches(clinicache.typescript(), '^  \w+: { .*revalidate: ', 'gn')), (SELECT count(*) FROM clinicache.profile), 'all of them');

CREATE SCHEMA ts;
CREATE TABLE ts.patients (id int PRIMARY KEY, clinic_id int, created_at timestamptz);
CREATE TABLE ts.appointments (id int PRIMARY KEY, clinic_id int, patient_id int, doctor_id int, date timestamptz, status text);
CREATE TABLE ts.odd (id int PRIMARY KEY, "a b" text, d date, "2nd" text, "__proto__" text);
SELECT clinicache.track('ts.patients', 'patient'), clinicache.track('ts.appointments', 'appointment') \g /dev/null

SELECT is(pg_temp.line('  appointment: ('), '  appointment: (args: { id: Value }): string[] => labels(`appointment:${text(args.id)}`, ''appointment:''),', 'a builder');
SELECT is(pg_temp.line('  appointmentsAll: ('), '  appointmentsAll: (): string[] => labels(''appointments:all'', ''appointments:all''),', 'without arguments');
SELECT is(pg_temp.line('  appointmentsMonth: ('),
          '  appointmentsMonth: (args: { clinic: Value; date: Day }): string[] => labels(`appointments:month:${text(args.clinic)}:${month(args.date)}`, ''appointments:month:''),', 'with a day');
SELECT is(pg_temp.line('  patientsList: ('), '  patientsList: (): string[] => prefixLabels(''patients:list:'', ''patients:list:''),', 'of a prefix');
SELECT is(pg_temp.line('  patient: ('),
          '  patient: (args: { id: Value; patient?: undefined } | { patient: Value; id?: undefined }): string[] => labels(`patient:${text(either(args.id, args.patient))}`, ''patient:''),',
          'templates that differ in names only share one');
SELECT is(pg_temp.line('/** patient:{id}'), '  /** patient:{id}, patient:{patient} (seconds) of ts.appointments, ts.patients */', 'its comment');
SELECT is(pg_temp.line('  patient: { templates'), '  patient: { templates: [''patient:{id}'', ''patient:{patient}''], profile: ''seconds'', prefix: ''patient:'' },', 'its templates');
SELECT is(pg_temp.line('prefixFor'), 'export function prefixFor(name: keyof typeof tags): string {', 'prefixFor');
SELECT is((SELECT count(*) FROM regexp_matches(clinicache.typescript(), '^  /\*\* ', 'gn')), (SELECT count(DISTINCT template) - 1 FROM clinicache.tag_templates), 'a builder for each template, but for the two');
SELECT is(clinicache.typescript(), clinicache.typescript(), 'the same every time');

-- Filters, and text that has to be quoted.
SELECT clinicache.track('ts.odd', '{"tags": ["odd:{a b|lower|hash}", "odd:{d|date|hash}:{d}", "odd:`$\\x''{a b|lower}", "{id}", "odd:list:{id}:*",
  "x:{id}:{a b}", "x:{a b}:{id}", "9:{id}", "y:{id}:{id}", "y:{id}:{2nd}", "z*/q", "p:{__proto__}", "*/{id}", "l:{id}", "l:*"]}') \g /dev/null
SELECT is(pg_temp.line('  oddByABLowerHash: ('), '  oddByABLowerHash: (args: { ''a b'': Value }): string[] => labels(`odd:${hash(lower(text(args[''a b''])))}`, ''odd:''),', 'text filters, in their order');
SELECT is(pg_temp.line('  oddByDDateHashD: ('), '  oddByDDateHashD: (args: { d: Day }): string[] => labels(`odd:${hash(day(args.d))}:${text(args.d)}`, ''odd:''),', 'a day is a day wherever it stands');
SELECT is(pg_temp.line('  oddX: ('), '  oddX: (args: { ''a b'': Value }): string[] => labels(`odd:\`\$\\x''${lower(text(args[''a b'']))}`, ''odd:`$\\x\''''),', 'literal text is quoted');
SELECT is(pg_temp.line('  byId_2: ('), '  byId_2: (args: { id: Value }): string[] => labels(`${text(args.id)}`, ''''),', 'no literal text: named by its placeholder');
SELECT is(pg_temp.line('  byId: ('), '  byId: (args: { id: Value }): string[] => labels(`*/${text(args.id)}`, ''*/''),', 'two of one name: a number');
SELECT is(pg_temp.line('/** * /{id}'), '  /** * /{id} (default) of ts.odd */', 'no comment is ended early');
SELECT is(pg_temp.line('  oddList: ('), '  oddList: (args: { id: Value }): string[] => prefixLabels(`odd:list:${text(args.id)}:`, ''odd:list:''),', 'a prefix with a placeholder');
SELECT is(pg_temp.line('  xByABId: ('), '  xByABId: (args: { ''a b'': Value; id: Value }): string[] => labels(`x:${text(args[''a b''])}:${text(args.id)}`, ''x:''),', 'names in other places do not share');
SELECT isnt(pg_temp.line('  xByIdAB: ('), NULL, 'but have one each');
SELECT isnt(pg_temp.line('  yByIdId: ('), NULL, 'nor one name twice');
SELECT isnt(pg_temp.line('  yById2nd: ('), NULL, 'with two names');
SELECT is(pg_temp.line('  _9: ('), '  _9: (args: { id: Value }): string[] => labels(`9:${text(args.id)}`, ''9:''),', 'a name that begins with a digit');
SELECT is(pg_temp.line('  p: ('), '  p: (args: { [''__proto__'']: Value }): string[] => labels(`p:${text(args.__proto__)}`, ''p:''),', 'an argument that objects have already');
SELECT isnt(pg_temp.line('  lById: ('), NULL, 'a tag beside its prefix');
SELECT is(pg_temp.line('  lPrefix: ('), '  lPrefix: (): string[] => prefixLabels(''l:'', ''l:''),', 'and the prefix');
SELECT is_empty($$ SELECT name FROM clinicache._ts_templates() WHERE name !~ '^[A-Za-z_][A-Za-z0-9_]*$' $$, 'names are identifiers');
SELECT is_empty($$ SELECT name FROM clinicache._ts_templates() GROUP BY name HAVING count(*) > 1 $$, 'and unique');
SELECT bag_eq('SELECT unnest(templates) FROM clinicache._ts_templates()', 'SELECT DISTINCT template FROM clinicache.tag_templates', 'no template is lost');

-- Those who track may call it, others not.
CREATE ROLE pgtap_web; CREATE ROLE pgtap_owner;
SELECT clinicache.grant_tracker('pgtap_owner'), clinicache.grant_subscriber('pgtap_web') \g /dev/null
SET ROLE pgtap_owner;
SELECT alike(clinicache.typescript(), '%export const tags%', 'a tracker calls it');
SET ROLE pgtap_web;
SELECT throws_ok('SELECT clinicache.typescript()', '42501', NULL, 'a subscriber does not');
SELECT throws_ok('SELECT FROM clinicache.health()', '42501', NULL, 'nor health()');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
