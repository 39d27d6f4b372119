-- clinicache 0.1.0, as released: not to be edited
-- clinicache: tables.  Installed into schema clinicache, which CREATE EXTENSION makes (control file).

-- Whoever owns the schema could put functions into it that are called in our functions' place.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
             WHERE n.nspname = 'clinicache' AND n.nspowner <> current_user::pg_catalog.regrole) THEN
    RAISE EXCEPTION 'schema "clinicache" exists already and belongs to another role'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'See what is in it, then drop it: CREATE EXTENSION makes its own.';
  END IF;
END
$$;

COMMENT ON SCHEMA clinicache IS
  'clinicache: turns row changes into exact cache tags, atomically with the change';

-- ---------------------------------------------------------------------------------------------------------------------
-- Vocabulary: what users may extend.  Rows with builtin = true come with the extension and are replaced by upgrades;
-- rows that users add have builtin = false and are carried by pg_dump.
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TABLE clinicache.profile (
  name       text    PRIMARY KEY CHECK (name ~ '^[^,:]+$'),
  stale      int     CHECK (stale >= 0),
  revalidate int     NOT NULL CHECK (revalidate >= 0),
  expire     int     CHECK (expire >= 0),
  builtin    boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE  clinicache.profile IS 'Cache lifetimes that tags are grouped by in a message: hints for stale-while-revalidate';
COMMENT ON COLUMN clinicache.profile.name IS 'Name that tag templates refer to; a template without one has profile "default"';
COMMENT ON COLUMN clinicache.profile.stale IS 'Seconds for which a client may reuse the value without asking; null: no limit';
COMMENT ON COLUMN clinicache.profile.revalidate IS 'Seconds after which the value is refreshed in the background; the shortest wins when two templates yield one tag';
COMMENT ON COLUMN clinicache.profile.expire IS 'Seconds after which the value must not be served any more; null: never';
COMMENT ON COLUMN clinicache.profile.builtin IS 'True for rows that came with the extension: not dumped, not to be changed';

CREATE TABLE clinicache.entity (
  name     text    PRIMARY KEY,
  tables   text[]  NOT NULL DEFAULT '{}',
  tenant   text,
  columns  jsonb   NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(columns) = 'object'),
  tags     jsonb   NOT NULL CHECK (pg_catalog.jsonb_typeof(tags) = 'array'),
  counters jsonb   NOT NULL DEFAULT '[]' CHECK (pg_catalog.jsonb_typeof(counters) = 'array'),
  builtin  boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE  clinicache.entity IS 'Presets: the tag templates of a kind of clinic data, in terms of logical columns';
COMMENT ON COLUMN clinicache.entity.name IS 'Name given to clinicache.track';
COMMENT ON COLUMN clinicache.entity.tables IS 'Names by which a table is recognised as this entity (singular; plural, snake and camel case are understood)';
COMMENT ON COLUMN clinicache.entity.tenant IS 'Logical column that holds the tenant (the clinic); null for what tenants share';
COMMENT ON COLUMN clinicache.entity.columns IS 'Object: logical column to the array of candidate names, in order of preference after the name itself';
COMMENT ON COLUMN clinicache.entity.tags IS 'Array of templates: [template, profile] or an object with tag, profile, window, time, edge, columns';
COMMENT ON COLUMN clinicache.entity.counters IS 'Array of counters: {"counter": name, "by": {dimension: logical column}, "day": ..., "class": ..., "sum": ...}';
COMMENT ON COLUMN clinicache.entity.builtin IS 'True for rows that came with the extension: not dumped, not to be changed';

CREATE TABLE clinicache.alias (
  column_name text    PRIMARY KEY,
  candidates  text[]  NOT NULL,
  builtin     boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE  clinicache.alias IS 'Candidate column names of a logical column, for all entities, tried after the entity''s own';
COMMENT ON COLUMN clinicache.alias.column_name IS 'Logical column';
COMMENT ON COLUMN clinicache.alias.candidates IS 'Column names in order of preference; snake and camel case of each are tried';
COMMENT ON COLUMN clinicache.alias.builtin IS 'True for rows that came with the extension: not dumped, not to be changed';

CREATE TABLE clinicache.class (
  name    text    PRIMARY KEY,
  labels  text[]  NOT NULL,
  builtin boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE  clinicache.class IS 'Status labels by meaning; a status in none of cancelled, completed, no_show is live';
COMMENT ON COLUMN clinicache.class.name IS 'Meaning: cancelled, completed, no_show, waiting; also paid and unpaid, of bills and payments, whose usual labels need no row';
COMMENT ON COLUMN clinicache.class.labels IS 'Labels with that meaning, compared ignoring case, spaces, - and _';
COMMENT ON COLUMN clinicache.class.builtin IS 'True for rows that came with the extension: not dumped, not to be changed';

-- A changed preset would be lost by dump and upgrade without a word, so it is refused (trigger made in 90-finish.sql).
CREATE FUNCTION clinicache.builtin_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF (TG_OP <> 'INSERT' AND OLD.builtin) OR (TG_OP <> 'DELETE' AND NEW.builtin) THEN
    RAISE EXCEPTION 'rows of clinicache.% with builtin = true belong to the extension', TG_TABLE_NAME
      USING ERRCODE = 'insufficient_privilege',
            DETAIL = 'They are not dumped, and upgrades replace them.',
            HINT = 'Insert a row of your own under another name, with builtin = false.';
  END IF;
  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION clinicache.builtin_guard() IS
  'Trigger function: refuses changes of vocabulary rows that came with the extension (42501)';

-- ---------------------------------------------------------------------------------------------------------------------
-- Tenants and subscribers
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TABLE clinicache.tenant (
  tenant   text PRIMARY KEY,
  timezone text NOT NULL
);
COMMENT ON TABLE  clinicache.tenant IS 'Time zones of tenants that differ from clinicache.timezone';
COMMENT ON COLUMN clinicache.tenant.tenant IS 'Tenant, as text, exactly as the tenant column of tracked tables renders it';
COMMENT ON COLUMN clinicache.tenant.timezone IS 'IANA name such as America/New_York; decides the local day of {column|date}, {column|month} and windows';

-- A trigger, not a CHECK: it needs no EXECUTE privilege of whoever inserts.
CREATE FUNCTION clinicache.tenant_timezone_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known boolean := true;
BEGIN
  IF NEW.timezone IS NULL THEN
    RETURN NEW;                 -- the NOT NULL constraint says it better
  END IF;
  BEGIN
    PERFORM pg_catalog.now() AT TIME ZONE NEW.timezone;
  EXCEPTION WHEN invalid_parameter_value THEN
    known := false;
  END;
  -- AT TIME ZONE also takes abbreviations (EST) and POSIX rules (FOO5), which are no names; only such spellings need the
  -- slow look into pg_timezone_names.
  IF known AND (NEW.timezone !~ '^[A-Za-z_-]+/[A-Za-z_/-]+$') THEN
    known := EXISTS (SELECT FROM pg_catalog.pg_timezone_names z
                     WHERE pg_catalog.lower(z.name) = pg_catalog.lower(NEW.timezone));
  END IF;
  IF NOT known THEN
    RAISE EXCEPTION 'time zone "%" of tenant "%" is not known', NEW.timezone, NEW.tenant
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use an IANA name such as America/New_York; SELECT name FROM pg_timezone_names lists them.';
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION clinicache.tenant_timezone_check() IS
  'Trigger function of clinicache.tenant: the time zone must be a name of pg_timezone_names (22023)';

CREATE TRIGGER timezone_check BEFORE INSERT OR UPDATE OF timezone ON clinicache.tenant
  FOR EACH ROW EXECUTE FUNCTION clinicache.tenant_timezone_check();
COMMENT ON TRIGGER timezone_check ON clinicache.tenant IS 'Refuses unknown time zones';

CREATE TABLE clinicache.subscriber (
  role    name PRIMARY KEY,
  tenants text[]
);
COMMENT ON TABLE  clinicache.subscriber IS 'Roles that may read changes, and which tenants'' records they see; kept by grant_subscriber and revoke_subscriber';
COMMENT ON COLUMN clinicache.subscriber.role IS 'Role name';
COMMENT ON COLUMN clinicache.subscriber.tenants IS 'Tenants whose records the role sees, besides those of no tenant; null: all';

-- ---------------------------------------------------------------------------------------------------------------------
-- Identity, positions, log.  None of it is dumped: a restored copy is another history.
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TABLE clinicache.identity (
  epoch   text        PRIMARY KEY CHECK (epoch ~ '^[0-9a-f]{16}$'),
  created timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  secret  text        NOT NULL CHECK (secret ~ '^[0-9a-f]{32}$')
);
COMMENT ON TABLE  clinicache.identity IS 'One row: which history of this database positions belong to';
COMMENT ON COLUMN clinicache.identity.epoch IS '16 random hex digits, made by CREATE EXTENSION and anew after restore or copy';
COMMENT ON COLUMN clinicache.identity.created IS 'When the epoch was made';
COMMENT ON COLUMN clinicache.identity.secret IS 'Key of the seal that tells a true position from one that somebody altered';

CREATE TABLE clinicache.position_history (
  id        bigint      GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  position  text        NOT NULL,
  delivered boolean     NOT NULL DEFAULT false
);
COMMENT ON TABLE  clinicache.position_history IS 'Positions taken by upkeep, newest last; rows are only inserted and trimmed, never updated';
COMMENT ON COLUMN clinicache.position_history.id IS 'Order of insertion';
COMMENT ON COLUMN clinicache.position_history.at IS 'When the position was taken';
COMMENT ON COLUMN clinicache.position_history.position IS 'Position, opaque text (see clinicache.position)';
COMMENT ON COLUMN clinicache.position_history.delivered IS 'True when all that is visible at the position has been delivered';

CREATE TABLE clinicache.edge_history (
  id      bigint      GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  since   timestamptz NOT NULL,
  through timestamptz NOT NULL,
  running xid8[]      NOT NULL
);
COMMENT ON TABLE  clinicache.edge_history IS 'Up to when clock edges have been emitted (newest row), and stretches of time to be looked through again; rows are only inserted and deleted, never updated';
COMMENT ON COLUMN clinicache.edge_history.id IS 'Order of insertion';
COMMENT ON COLUMN clinicache.edge_history.at IS 'When the row was written';
COMMENT ON COLUMN clinicache.edge_history.since IS 'Edges after this time, by clinicache.clock(), ...';
COMMENT ON COLUMN clinicache.edge_history.through IS '... up to this one have been emitted';
COMMENT ON COLUMN clinicache.edge_history.running IS 'Transactions of this database that were running then: as they end, edges are emitted again for rows that they may have written';

CREATE TABLE clinicache.log_floor (
  id       bigint      GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  position text        NOT NULL
);
COMMENT ON TABLE  clinicache.log_floor IS 'Floors of the invalidation log, the newest row counts: all emptied records are visible at it';
COMMENT ON COLUMN clinicache.log_floor.id IS 'Order of insertion';
COMMENT ON COLUMN clinicache.log_floor.at IS 'When the floor was raised';
COMMENT ON COLUMN clinicache.log_floor.position IS 'Position below which a subscriber is told to reset';

CREATE TABLE clinicache.invalidation_log (
  xid       xid8        NOT NULL,
  tenant    text,
  at        timestamptz NOT NULL,
  origin    text,
  tags      text[],
  profiles  text,
  prefixes  text[],
  deltas    bytea,
  delivered boolean     NOT NULL DEFAULT false
);
COMMENT ON TABLE  clinicache.invalidation_log IS 'Change records: what a transaction changed for one tenant. Parent of the time slots, itself empty';
COMMENT ON COLUMN clinicache.invalidation_log.xid IS 'Top-level transaction that made the changes';
COMMENT ON COLUMN clinicache.invalidation_log.tenant IS 'Tenant; null for what belongs to none';
COMMENT ON COLUMN clinicache.invalidation_log.at IS 'When the record was written, shortly before commit';
COMMENT ON COLUMN clinicache.invalidation_log.origin IS 'Who and what: application_name, or the reason given to clinicache.invalidate';
COMMENT ON COLUMN clinicache.invalidation_log.tags IS 'Tags to drop, ordered by profile';
COMMENT ON COLUMN clinicache.invalidation_log.profiles IS 'Profiles of the tags, in order, each with the number of consecutive tags that have it: seconds:15,hours:1';
COMMENT ON COLUMN clinicache.invalidation_log.prefixes IS 'Prefixes to drop; the empty prefix means everything';
COMMENT ON COLUMN clinicache.invalidation_log.deltas IS 'What the transaction does to counters, packed; see clinicache.counter_source';
COMMENT ON COLUMN clinicache.invalidation_log.delivered IS 'True when the committing backend sent the record itself; what it did not, maintain() or the worker sends';

-- Rows are inserted, never changed, and go by emptying a slot: autovacuum would read and write all of them for nothing.
DO $$
BEGIN
  FOR i IN 0..7 LOOP
    EXECUTE pg_catalog.format('CREATE TABLE clinicache.invalidation_log_%s () INHERITS (clinicache.invalidation_log) '
                              'WITH (autovacuum_enabled = false)', i);
    EXECUTE pg_catalog.format('CREATE INDEX invalidation_log_%1$s_xid ON clinicache.invalidation_log_%1$s (xid)', i);
    EXECUTE pg_catalog.format($c$COMMENT ON TABLE clinicache.invalidation_log_%s IS
      'Time slot %s of the invalidation log, chosen by the clock; emptied by maintain() when delivered and past retention'$c$, i, i);
    EXECUTE pg_catalog.format('COMMENT ON INDEX clinicache.invalidation_log_%s_xid IS ''Records by transaction''', i);
  END LOOP;
END
$$;

SELECT pg_catalog.pg_extension_config_dump('clinicache.profile', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('clinicache.entity', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('clinicache.alias', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('clinicache.class', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('clinicache.tenant', '');
-- GRANTs are dumped; without the list of tenants they would be wider after a restore.
SELECT pg_catalog.pg_extension_config_dump('clinicache.subscriber', '');
-- clinicache: where counters are kept.  None of it is dumped: a restored copy counts anew (clinicache.rebuild), and until
-- then reads the tables themselves.  Rows are inserted and deleted, never updated, so that old snapshots cost nobody time.

CREATE TABLE clinicache.counter_source (
  id               int         GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  counter          text        NOT NULL,
  relation         regclass    NOT NULL,
  dimensions       text[]      NOT NULL,
  tenant_dimension int2        NOT NULL,
  timezone         text        NOT NULL,
  counted_at       timestamptz NOT NULL
);
COMMENT ON TABLE  clinicache.counter_source IS 'Counters of tracked tables; what is counted anew gets a new id, and deltas under the old one mean nothing';
COMMENT ON COLUMN clinicache.counter_source.id IS 'What deltas and cells refer to';
COMMENT ON COLUMN clinicache.counter_source.counter IS 'Name, as clinicache.count takes it; several tables may feed one';
COMMENT ON COLUMN clinicache.counter_source.relation IS 'Table whose rows are counted, partitions and inheritance children with it';
COMMENT ON COLUMN clinicache.counter_source.dimensions IS 'Dimensions, by number from 0';
COMMENT ON COLUMN clinicache.counter_source.tenant_dimension IS 'The one whose key is the tenant; -1: none';
COMMENT ON COLUMN clinicache.counter_source.timezone IS 'clinicache.timezone when the table was counted: days of tenants without a zone of their own';
COMMENT ON COLUMN clinicache.counter_source.counted_at IS 'When the table was counted';

CREATE TABLE clinicache.counter_invalid (
  id     bigint      GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  source int         NOT NULL,
  at     timestamptz NOT NULL,
  reason text        NOT NULL
);
COMMENT ON TABLE  clinicache.counter_invalid IS 'Counters that are not to be trusted any more; they are read from the table until clinicache.rebuild';
COMMENT ON COLUMN clinicache.counter_invalid.id IS 'Order of insertion';
COMMENT ON COLUMN clinicache.counter_invalid.source IS 'counter_source.id';
COMMENT ON COLUMN clinicache.counter_invalid.at IS 'Since when';
COMMENT ON COLUMN clinicache.counter_invalid.reason IS 'Why';

CREATE VIEW clinicache.counter_registry AS
SELECT s.id, s.counter, s.relation,
       NOT EXISTS (SELECT FROM clinicache.counter_invalid AS i WHERE i.source = s.id) AS valid,
       s.dimensions, s.timezone, s.counted_at,
       (SELECT pg_catalog.string_agg(DISTINCT i.reason, '; ') FROM clinicache.counter_invalid AS i WHERE i.source = s.id) AS reason
FROM clinicache.counter_source AS s
ORDER BY s.counter, s.id;
COMMENT ON VIEW   clinicache.counter_registry IS 'Counters and whether they are valid';
COMMENT ON COLUMN clinicache.counter_registry.id IS 'What deltas refer to; new with each count';
COMMENT ON COLUMN clinicache.counter_registry.counter IS 'Name, as clinicache.count takes it';
COMMENT ON COLUMN clinicache.counter_registry.relation IS 'Table whose rows are counted';
COMMENT ON COLUMN clinicache.counter_registry.valid IS 'False: read from the table itself, exact but slow; clinicache.rebuild makes it valid';
COMMENT ON COLUMN clinicache.counter_registry.dimensions IS 'By what it can be asked for';
COMMENT ON COLUMN clinicache.counter_registry.timezone IS 'Zone in which days count where the tenant has none of its own';
COMMENT ON COLUMN clinicache.counter_registry.counted_at IS 'When the table was counted';
COMMENT ON COLUMN clinicache.counter_registry.reason IS 'Why it is not valid';

CREATE TABLE clinicache.counter_fold (
  fold     bigint      PRIMARY KEY,
  at       timestamptz NOT NULL,
  base     bigint      NOT NULL,
  snapshot text        NOT NULL
);
COMMENT ON TABLE  clinicache.counter_fold IS 'How far counters are folded: one row is visible at any time';
COMMENT ON COLUMN clinicache.counter_fold.fold IS 'Number';
COMMENT ON COLUMN clinicache.counter_fold.at IS 'When it was made';
COMMENT ON COLUMN clinicache.counter_fold.base IS 'The last fold that merged all batches into counter_cell';
COMMENT ON COLUMN clinicache.counter_fold.snapshot IS 'What it saw, as a pg_snapshot: later records are added by readers';

CREATE TABLE clinicache.counter_batch (
  bucket int    NOT NULL,
  fold   bigint NOT NULL,
  cells  bytea  NOT NULL
);
CREATE INDEX counter_batch_key ON clinicache.counter_batch (bucket, fold);
COMMENT ON TABLE  clinicache.counter_batch IS 'What folds have brought since the last merge, many keys in one row';
COMMENT ON COLUMN clinicache.counter_batch.bucket IS 'Hash of the keys';
COMMENT ON COLUMN clinicache.counter_batch.fold IS 'Which fold';
COMMENT ON COLUMN clinicache.counter_batch.cells IS 'Packed';
COMMENT ON INDEX  clinicache.counter_batch_key IS 'What a reader of one key needs';

CREATE TABLE clinicache.counter_cell (
  counter   int    NOT NULL,
  dimension int2   NOT NULL,
  key       text   COLLATE "C" NOT NULL,
  period    date   NOT NULL,
  fold      bigint NOT NULL,
  cells     bytea  NOT NULL
);
CREATE INDEX counter_cell_key ON clinicache.counter_cell (counter, dimension, key, period, fold);
COMMENT ON TABLE  clinicache.counter_cell IS 'Folded counters: for each key and month the counts and sums of its days and classes, and of all days together';
COMMENT ON COLUMN clinicache.counter_cell.counter IS 'counter_source.id';
COMMENT ON COLUMN clinicache.counter_cell.dimension IS 'Number of the dimension';
COMMENT ON COLUMN clinicache.counter_cell.key IS 'The clinic, doctor, ...';
COMMENT ON COLUMN clinicache.counter_cell.period IS 'First day of the month; -infinity: all days together; infinity: rows without a day';
COMMENT ON COLUMN clinicache.counter_cell.fold IS 'The fold that wrote the row, in place of an older one';
COMMENT ON COLUMN clinicache.counter_cell.cells IS 'Packed';
COMMENT ON INDEX  clinicache.counter_cell_key IS 'The newest row of a key and period comes last, whatever dead ones there are';

-- a month of a clinic is about 3 kB: small enough to be read in place, uncompressed
ALTER TABLE clinicache.counter_cell SET (toast_tuple_target = 4080);

-- many short-lived rows: vacuum them before they pile up, a little at a time
ALTER TABLE clinicache.counter_fold SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE clinicache.counter_batch SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE clinicache.counter_cell SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
-- clinicache: the vocabulary that clinic applications share, as data.
-- Entities, templates, candidate column names, status classes and cache profiles; see COMMENT ON TABLE clinicache.entity.
-- A template is [template, profile] or an object; one that ends in * emits a prefix; "edge": "day" is also emitted at the
-- tenant's midnight.  The tests count 26 entities and 162 templates.

INSERT INTO clinicache.profile (name, stale, revalidate, expire, builtin) VALUES
  ('seconds', 30, 1, 60, true),
  ('minutes', 300, 60, 3600, true),
  ('hours', 300, 3600, 86400, true),
  ('days', 300, 86400, 604800, true),
  ('weeks', 300, 604800, 2592000, true),
  ('max', 300, 2592000, 31536000, true),
  ('default', 300, 900, NULL, true),
  ('realtime', 10, 30, 300, true),
  ('short', 300, 600, 1800, true),
  ('medium', 3600, 7200, 86400, true),
  ('long', 86400, 172800, 604800, true),
  ('medicalShort', 300, 600, 1800, true),
  ('medicalMedium', 3600, 7200, 86400, true),
  ('medicalLong', 43200, 86400, 604800, true),
  ('reference', 604800, 1209600, 2592000, true);

INSERT INTO clinicache.alias (column_name, candidates, builtin) VALUES
  ('clinic', ARRAY['clinic_id', 'clinicId', 'organization_id', 'hospital_id', 'branch_id', 'practice_id', 'tenant_id']::text[], true),
  ('patient', ARRAY['patient_id', 'client_id', 'clinic_patient_id']::text[], true),
  ('doctor', ARRAY['doctor_id', 'provider_id', 'physician_id', 'practitioner_id']::text[], true);

-- 'live' is no row: it is all that is not cancelled, completed or no_show.
INSERT INTO clinicache.class (name, labels, builtin) VALUES
  ('cancelled', ARRAY['cancelled', 'canceled', 'rejected', 'declined']::text[], true),
  ('completed', ARRAY['completed', 'done', 'finished', 'checked out', 'fulfilled']::text[], true),
  ('no_show', ARRAY['no show', 'noshow', 'missed']::text[], true),
  ('waiting', ARRAY['waiting', 'checked in', 'arrived', 'in queue']::text[], true);

INSERT INTO clinicache.entity (name, tables, tenant, columns, tags, counters, builtin) VALUES
  ('clinic', ARRAY['clinic', 'hospital', 'organization', 'branch', 'practice']::text[], 'id',
   '{"id": []}',
   '[
     ["clinic:{id}", "seconds"], ["clinics:all", "hours"], ["clinic:stats:global", "hours"]
   ]',
   '[]', true),
  ('clinic_setting', ARRAY['clinic_setting', 'setting']::text[], 'clinic',
   '{"clinic": []}',
   '[
     ["clinic:{clinic}:settings", "seconds"], ["clinic:{clinic}:features", "minutes"], ["clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('clinic_member', ARRAY['clinic_member', 'member', 'clinic_user']::text[], 'clinic',
   '{"clinic": [], "user": []}',
   '[
     ["clinic:{clinic}:members", "seconds"], ["user:{user}", "seconds"]
   ]',
   '[]', true),
  ('patient', ARRAY['patient', 'client', 'clinic_patient']::text[], 'clinic',
   '{"id": [], "clinic": [], "created": ["created_at", "registered_at", "hire_date"]}',
   '[
     ["patient:{id}", "seconds"], ["patients:clinic:{clinic}", "minutes"], ["patients:recent:{clinic}", "seconds"],
     ["patients:counts:clinic:{clinic}", "seconds"], ["dashboard:patients:{clinic}", "seconds"],
     ["clinic:{clinic}:counts", "seconds"], ["clinic:{clinic}:dashboard", "seconds"],
     ["admin:dashboard:{clinic}", "seconds"], ["search:patient:{clinic}", "minutes"], ["patients:all", "hours"],
     ["patients:list:*", "minutes"]
   ]',
   '[{"counter": "patients", "by": {"clinic": "clinic"}, "day": "created"}]', true),
  ('doctor', ARRAY['doctor', 'provider', 'physician', 'clinic_doctor']::text[], 'clinic',
   '{"id": [], "clinic": [], "specialty": ["specialty", "specialization"], "status": [], "created": ["created_at", "registered_at", "hire_date"]}',
   '[
     ["doctor:{id}", "seconds"], ["doctors:clinic:{clinic}", "minutes"],
     ["doctors:specialty:{specialty}:clinic:{clinic}", "minutes"], ["clinic:{clinic}:counts", "seconds"],
     ["admin:dashboard:{clinic}", "seconds"], ["search:doctor:{clinic}", "minutes"], ["doctors:all", "hours"],
     ["queue:doctor:{id}", "seconds"], ["doctor:{id}:slots", "seconds"], ["clinic:{clinic}:dashboard", "seconds"],
     ["doctors:list:*", "minutes"]
   ]',
   '[{"counter": "doctors", "by": {"clinic": "clinic"}, "day": "created"}]', true),
  ('staff', ARRAY['staff', 'employee']::text[], 'clinic',
   '{"id": [], "clinic": [], "department": [], "status": [], "created": ["created_at", "registered_at", "hire_date"]}',
   '[
     ["staff:{id}", "seconds"], ["staff:clinic:{clinic}", "minutes"],
     ["staff:department:{department}:clinic:{clinic}", "minutes"], ["clinic:{clinic}:counts", "seconds"],
     ["admin:dashboard:{clinic}", "seconds"], ["staff:all", "hours"], ["clinic:{clinic}:dashboard", "seconds"]
   ]',
   '[{"counter": "staff", "by": {"clinic": "clinic"}, "day": "created"}]', true),
  ('working_days', ARRAY['working_day', 'schedule', 'availability', 'doctor_schedule']::text[], 'clinic',
   '{"clinic": [], "doctor": []}',
   '[
     ["working-days:doctor:{doctor}", "seconds"], ["doctor:{doctor}:working-days", "seconds"],
     ["doctor:{doctor}:slots", "seconds"], ["working-days:clinic:{clinic}", "minutes"],
     ["doctor:{doctor}", "seconds"], ["doctors:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('department', ARRAY['department']::text[], 'clinic',
   '{"id": [], "clinic": []}',
   '[
     ["department:{id}", "seconds"], ["departments:clinic:{clinic}", "minutes"], ["departments:all", "hours"],
     ["departments", "hours"], ["departments:list:*", "minutes"]
   ]',
   '[]', true),
  ('appointment', ARRAY['appointment', 'visit', 'encounter', 'booking']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": ["patient_id", "client_id"], "doctor": [], "date": ["appointment_date", "start", "starts_at", "scheduled_at", "scheduled_date", "appointment_time"], "status": [], "time": ["appointment_time", "start_time", "time"]}',
   '[
     ["appointment:{id}", "seconds"], ["appointments:patient:{patient}", "seconds"],
     ["patient:{patient}:appointments", "seconds"], ["appointments:doctor:{doctor}", "seconds"],
     ["doctor:{doctor}:appointments", "seconds"], ["doctor:{doctor}:slots", "seconds"],
     ["appointments:date:{date|date}", "seconds"], ["appointments:month:{clinic}:{date|month}", "minutes"],
     ["visits:schedule:{doctor}:{date|date}", "seconds"],
     {"tag": "appointments:today:{clinic}", "window": "today", "time": ["date", "time"], "profile": "seconds"},
     {"tag": "appointments:upcoming:{clinic}", "window": "upcoming", "time": ["date", "time"], "profile": "seconds"},
     {"tag": "appointments:past:{clinic}", "window": "past", "time": ["date", "time"], "profile": "minutes"},
     {"tag": "queue:doctor:{doctor}", "window": "today", "time": ["date", "time"], "profile": "seconds"},
     ["appointments:status:{status}:clinic:{clinic}", "seconds"], ["appointments:clinic:{clinic}", "minutes"],
     ["search:appointment:{clinic}", "minutes"], ["appointments:all", "hours"], ["patient:{patient}", "seconds"],
     {"tag": "clinic:{clinic}:counts", "edge": "day", "profile": "seconds"},
     {"tag": "clinic:{clinic}:dashboard", "edge": "day", "profile": "seconds"},
     {"tag": "admin:dashboard:{clinic}", "edge": "day", "profile": "seconds"},
     {"tag": "dashboard_stats_{patient}", "edge": "day", "profile": "seconds"}
   ]',
   '[{"counter": "appointments", "by": {"clinic": "clinic", "doctor": "doctor", "client": "patient"}, "day": "date", "class": "status"}]', true),
  ('service', ARRAY['service', 'procedure']::text[], 'clinic',
   '{"id": [], "clinic": [], "category": []}',
   '[
     ["service:{id}", "seconds"], ["services:clinic:{clinic}", "minutes"],
     ["services:category:{category}:clinic:{clinic}", "minutes"], ["services:available:clinic:{clinic}", "minutes"],
     ["services:stats:{clinic}", "minutes"], ["services:all", "hours"]
   ]',
   '[]', true),
  ('medical_record', ARRAY['medical_record', 'health_record']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "appointment": []}',
   '[
     ["medical-record:{id}", "seconds"], ["medical-records:patient:{patient}", "seconds"],
     ["patient:{patient}:medical-records", "seconds"], ["medical-records:appointment:{appointment}", "seconds"],
     ["medical-records:clinic:{clinic}", "minutes"], ["medical-records:count:clinic:{clinic}", "minutes"],
     ["patient:{patient}:records", "seconds"]
   ]',
   '[]', true),
  ('diagnosis', ARRAY['diagnosis', 'condition']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "doctor": [], "appointment": [], "medical_record": ["medical_record_id", "medical_id"]}',
   '[
     ["diagnosis:{id}", "seconds"], ["diagnoses:patient:{patient}", "seconds"],
     ["diagnoses:doctor:{doctor}", "minutes"], ["diagnoses:appointment:{appointment}", "seconds"],
     ["diagnoses:medical-record:{medical_record}", "seconds"], ["diagnoses:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('vital_signs', ARRAY['vital_sign', 'vital']::text[], NULL,
   '{"id": [], "patient": [], "medical_record": ["medical_record_id", "medical_id"]}',
   '[
     ["vital-signs:{id}", "seconds"], ["patient:{patient}:vitals", "seconds"],
     ["medical:vital:patient:{patient}", "seconds"], ["medical:vital:patient:{patient}:latest", "seconds"],
     ["medical:vital:medical:{medical_record}", "seconds"]
   ]',
   '[]', true),
  ('immunization', ARRAY['immunization', 'vaccination']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "vaccine": ["vaccine", "vaccine_id", "code"], "date": [], "status": []}',
   '[
     ["immunization:{id}", "seconds"], ["immunizations:patient:{patient}", "seconds"],
     ["patient:{patient}:immunizations", "seconds"], ["immunizations:vaccine:{vaccine}", "minutes"],
     ["immunizations:clinic:{clinic}", "minutes"], ["vaccinations:patient:{patient}", "seconds"],
     ["vaccinations:counts:{clinic}", "minutes"], ["vaccinations:all", "hours"]
   ]',
   '[]', true),
  ('prescription', ARRAY['prescription', 'medication']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "doctor": [], "medical_record": ["medical_record_id", "medical_id"], "appointment": []}',
   '[
     ["prescription:{id}", "seconds"], ["prescriptions:patient:{patient}", "seconds"],
     ["prescriptions:active:{patient}", "seconds"], ["patient:{patient}:prescriptions", "seconds"],
     ["prescriptions:doctor:{doctor}", "minutes"], ["prescriptions:medical-record:{medical_record}", "seconds"],
     ["appointment:{appointment}:prescriptions", "seconds"]
   ]',
   '[]', true),
  ('lab_test', ARRAY['lab_test', 'lab_result']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "medical_record": ["medical_record_id", "medical_id", "record_id"], "service": []}',
   '[
     ["lab-test:{id}", "seconds"], ["lab-tests:patient:{patient}", "seconds"],
     ["patient:{patient}:lab-tests", "seconds"], ["medical:lab:medical:{medical_record}", "seconds"],
     ["lab-tests:service:{service}", "minutes"], ["lab-tests:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('growth', ARRAY['growth', 'growth_record', 'growth_measurement']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": []}',
   '[
     ["growth:{id}", "seconds"], ["growth:patient:{patient}", "seconds"], ["growth:patient:{patient}:all", "seconds"],
     ["patient:{patient}:growth", "seconds"], ["growth:percentile:patient:{patient}", "seconds"],
     ["growth:trends:patient:{patient}", "seconds"], ["growth:summary:patient:{patient}", "seconds"],
     ["growth:recent:clinic:{clinic}", "minutes"], ["growth:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('growth_standard', ARRAY['who_growth_standard', 'growth_standard']::text[], NULL,
   '{"gender": [], "type": ["measurement_type", "type"], "age": ["age_days", "age_in_months"]}',
   '[
     ["growth:who:standards", "max"], ["growth:who:map", "max"], ["growth:who:all", "max"],
     ["growth:who:gender:{gender}", "max"], ["growth:who:type:{type}", "max"], ["growth:who:age:{age}", "max"],
     ["system:who-standards", "max"]
   ]',
   '[]', true),
  ('drug', ARRAY['drug', 'medicine']::text[], NULL,
   '{"id": [], "name": []}',
   '[
     ["drug:{id}", "days"], ["drug:name:{name}", "days"], ["drug:{id}:guidelines", "days"], ["drugs:all", "days"],
     ["system:drugs", "days"]
   ]',
   '[]', true),
  ('payment', ARRAY['payment']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "status": [], "amount": ["amount_paid", "amount", "total_amount"], "date": ["payment_date", "bill_date", "created_at"]}',
   '[
     ["payment:{id}", "seconds"], ["payments:patient:{patient}", "seconds"], ["patient:{patient}:billing", "seconds"],
     ["payments:status:{status}:clinic:{clinic}", "seconds"], ["payments:stats:{clinic}", "minutes"],
     ["payments:recent:{clinic}", "seconds"], ["payments:clinic:{clinic}", "minutes"],
     ["admin:dashboard:{clinic}", "seconds"]
   ]',
   '[{"counter": "payments", "by": {"clinic": "clinic", "client": "patient"}, "day": "date", "class": "status", "sum": "amount"}]', true),
  ('bill', ARRAY['bill', 'billing', 'invoice', 'patient_bill']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "payment": [], "status": [], "amount": ["due_amount", "total_cost", "amount"], "date": ["due_date", "service_date", "created_at"], "appointment": []}',
   '[
     ["bill:{id}", "seconds"], ["bills:patient:{patient}", "seconds"], ["patient:{patient}:billing", "seconds"],
     ["bills:payment:{payment}", "seconds"], ["bills:clinic:{clinic}", "minutes"],
     ["clinic:{clinic}:bills", "minutes"], ["appointment:{appointment}:bills", "seconds"]
   ]',
   '[{"counter": "bills", "by": {"clinic": "clinic", "client": "patient"}, "day": "date", "class": "status", "sum": "amount"}]', true),
  ('expense', ARRAY['expense']::text[], 'clinic',
   '{"id": [], "clinic": [], "category": [], "date": []}',
   '[
     ["expense:{id}", "seconds"], ["expenses:category:{category}", "minutes"],
     ["expenses:date:{date|date}", "minutes"], ["expenses:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('rating', ARRAY['rating', 'review']::text[], 'clinic',
   '{"id": [], "clinic": [], "doctor": ["doctor_id", "staff_id"]}',
   '[
     ["doctor:{doctor}:ratings", "minutes"], ["doctor:{doctor}:performance", "minutes"]
   ]',
   '[]', true),
  ('user', ARRAY['user']::text[], NULL,
   '{"id": []}',
   '[
     ["user:{id}", "seconds"]
   ]',
   '[]', true),
  ('notification', ARRAY['notification']::text[], NULL,
   '{"id": [], "user": []}',
   '[
     ["user:{user}:notifications", "seconds"]
   ]',
   '[]', true),
  ('audit_log', ARRAY['audit_log', 'activity']::text[], 'clinic',
   '{"clinic": [], "user": []}',
   '[
     ["admin:activity:{user}", "seconds"], ["admin:activity:clinic:{clinic}", "seconds"],
     ["clinic:{clinic}:activity", "seconds"]
   ]',
   '[]', true);
-- The functions in C that tracking needs, in the order data flows.

CREATE FUNCTION clinicache.row_change() RETURNS trigger
  AS 'MODULE_PATHNAME', 'clinicache_row_change' LANGUAGE C;
COMMENT ON FUNCTION clinicache.row_change() IS
  'Row trigger of tracked tables: turns a change into tags. Made by clinicache.track(); its one argument is the resolved configuration as JSON';

CREATE FUNCTION clinicache.truncate_change() RETURNS trigger
  AS 'MODULE_PATHNAME', 'clinicache_truncate_change' LANGUAGE C;
COMMENT ON FUNCTION clinicache.truncate_change() IS
  'Statement trigger of tracked tables for TRUNCATE: emits the prefix of every template. Made by clinicache.track()';

CREATE FUNCTION clinicache.tenant_changed() RETURNS trigger
  AS 'MODULE_PATHNAME', 'clinicache_tenant_changed' LANGUAGE C;
COMMENT ON FUNCTION clinicache.tenant_changed() IS
  'Trigger of clinicache.tenant: makes every session read the time zones again';

CREATE FUNCTION clinicache.check_config(relation regclass, config jsonb) RETURNS void
  AS 'MODULE_PATHNAME', 'clinicache_check_config' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION clinicache.check_config(regclass, jsonb) IS
  'Compiles a resolved configuration for a table; an error says what is wrong with it (22023, 42703, 42804)';

CREATE FUNCTION clinicache.trigger_config(trigger oid) RETURNS jsonb
  AS 'MODULE_PATHNAME', 'clinicache_trigger_config' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION clinicache.trigger_config(oid) IS
  'The configuration that a clinicache trigger (pg_trigger.oid) holds; null for any other trigger';

CREATE FUNCTION clinicache.template_prefix(template text) RETURNS text
  AS 'MODULE_PATHNAME', 'clinicache_template_prefix' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION clinicache.template_prefix(text) IS
  'What every tag of a template begins with: the text before its first placeholder. Error 22023 if it is malformed';

CREATE FUNCTION clinicache.template_columns(template text) RETURNS text[]
  AS 'MODULE_PATHNAME', 'clinicache_template_columns' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION clinicache.template_columns(text) IS
  'The columns that a template names, in order of appearance, without filters. Error 22023 if it is malformed';

CREATE FUNCTION clinicache.tag(template text, args jsonb) RETURNS text
  AS 'MODULE_PATHNAME', 'clinicache_tag' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION clinicache.tag(text, jsonb) IS
  'The tag that a read puts on what it caches: the template with its placeholders replaced by args, filters included. Null if an argument is null; error 22023 if one is missing, 22007 if it is no date where a day is asked for. Instants become days in the time zone of args "timezone", of the tenant in args "tenant" or "clinic", or of clinicache.timezone';

CREATE FUNCTION clinicache.preview_rows(relation regclass, old_row record, new_row record)
  RETURNS TABLE(tag text, profile text)
  AS 'MODULE_PATHNAME', 'clinicache_preview_rows' LANGUAGE C STABLE;
COMMENT ON FUNCTION clinicache.preview_rows(regclass, record, record) IS
  'What a change of a tracked table''s row would emit; clinicache.preview() calls it with rows made from JSON';

CREATE FUNCTION clinicache.pending_tags() RETURNS TABLE(tag text, profile text)
  AS 'MODULE_PATHNAME', 'clinicache_pending_tags' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.pending_tags() IS
  'What this transaction will emit so far, statement by statement; a prefix is shown with a trailing *';

CREATE FUNCTION clinicache.invalidate(tags text[], tenant text DEFAULT NULL, reason text DEFAULT NULL)
  RETURNS void
  AS 'MODULE_PATHNAME', 'clinicache_invalidate' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.invalidate(text[], text, text) IS
  'Emits tags by hand when this transaction commits. tenant: whose they are, null for everybody; reason: goes into the record''s origin. Tags longer than 256 characters are shortened as clinicache.tag() does. Errors: 22004 without tags, 22023 for a null or empty tag';

CREATE FUNCTION clinicache.emit_prefix(prefix text, tenant text, reason text)
  RETURNS void
  AS 'MODULE_PATHNAME', 'clinicache_invalidate_prefix' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.emit_prefix(text, text, text) IS
  'Emits a prefix without looking whether any template can make it; see clinicache.invalidate_prefix()';

-- A FOR ALL TABLES publication ships our tables too.  Transaction ids, positions and the epoch of another server mean
-- nothing here, or worse, something else; and the vocabulary's own rows are here already.
CREATE FUNCTION clinicache.local_guard() RETURNS trigger
AS 'MODULE_PATHNAME', 'clinicache_local_guard' LANGUAGE C;
COMMENT ON FUNCTION clinicache.local_guard() IS
  'Trigger function: passes over rows that logical replication brings from another server''s clinicache';
-- clinicache: the invalidation log seen from SQL.  Positions, catch-up and the two halves of upkeep.
-- None is parallel safe: they take latest snapshots, which parallel mode forbids.

CREATE FUNCTION clinicache.position() RETURNS text
AS 'MODULE_PATHNAME', 'clinicache_position' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.position() IS
  'Position of the calling statement''s snapshot, for changes() and reached(); opaque text';

CREATE FUNCTION clinicache.changes(since text, tenants text[] DEFAULT NULL, max_tags int DEFAULT 10000) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_changes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.changes(text, text[], int) IS
  'One message with all that committed after a position; null, too old or of another history: reset. Shows the tenants granted to the caller';

CREATE FUNCTION clinicache.reached("position" text) RETURNS boolean
AS 'MODULE_PATHNAME', 'clinicache_reached' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.reached(text) IS
  'Does this server, a standby too, show all that the position saw?';

CREATE FUNCTION clinicache.maintain_deliver() RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_maintain_deliver' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_deliver() IS
  'Part of maintain(): delivers what commits left undelivered, sends the heartbeat, records the position';

CREATE FUNCTION clinicache.maintain_empty() RETURNS int
AS 'MODULE_PATHNAME', 'clinicache_maintain_empty' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_empty() IS
  'Part of maintain(): empties slots of the log that are past retention or beyond log_max_size; returns how many';

CREATE FUNCTION clinicache.maintain_fold() RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_maintain_fold' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_fold() IS
  'Part of maintain(): folds the counter deltas of committed transactions into clinicache.counter_cell; returns how many change records it read, -1 when another session is folding';

CREATE FUNCTION clinicache.maintain_counters() RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_maintain_counters' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_counters() IS
  'Part of maintain(): removes the cells of counters that are no more, and the counters of dropped tables';

-- Profiles are cached in every backend; the function only announces that its table was changed.
CREATE TRIGGER profile_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON clinicache.profile
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_changed();
COMMENT ON TRIGGER profile_changed ON clinicache.profile IS 'Makes every session read the profiles again';

-- Rows of these are deleted by upkeep.  Shipped by a FOR ALL TABLES publication, those deletions would hit rows of
-- the subscriber's own with the same number.
ALTER TABLE clinicache.position_history REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.log_floor REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_source REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_invalid REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_fold REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_batch REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.counter_cell REPLICA IDENTITY NOTHING;
ALTER TABLE clinicache.edge_history REPLICA IDENTITY NOTHING;
-- clinicache: from logical columns to real ones.
--
--   logical column --> columns argument, if given --------------------------> real columns or a constant
--                 +--> candidates: itself, preset's list, aliases, _id form
--                        each as spelt, snake_case, camelCase; at last ignoring case and _
--                        less those whose foreign key points to another entity -> one real column, or absent
--
-- Functions that begin with _ are internal; all run with the caller's rights.  String literals in bodies hold no backslash,
-- because bodies are parsed under the caller's standard_conforming_strings.

-- ---------------------------------------------------------------------------------------------------------------------
-- Names
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._snake(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT lower(regexp_replace(word, '([a-z0-9])([A-Z])', E'\\1_\\2', 'g') COLLATE "C")
$$;
COMMENT ON FUNCTION clinicache._snake(text) IS 'Internal: clinicId to clinic_id';

CREATE FUNCTION clinicache._camel(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(CASE WHEN n = 1 THEN part ELSE upper(left(part, 1) COLLATE "C") || substr(part, 2) END, '' ORDER BY n)
  FROM unnest(string_to_array(word, '_')) WITH ORDINALITY AS p(part, n)
$$;
COMMENT ON FUNCTION clinicache._camel(text) IS 'Internal: clinic_id to clinicId';

CREATE FUNCTION clinicache._squash(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT lower(replace(word, '_', '') COLLATE "C")
$$;
COMMENT ON FUNCTION clinicache._squash(text) IS 'Internal: a name without case and underscores, to compare';

CREATE FUNCTION clinicache._quoted(words text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg('"' || word || '"', ', ' ORDER BY n), '(none)')
  FROM unnest(words) WITH ORDINALITY AS w(word, n)
$$;
COMMENT ON FUNCTION clinicache._quoted(text[]) IS 'Internal: names as a list for messages';

CREATE FUNCTION clinicache._texts(list jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(word ORDER BY n), '{}')
  FROM jsonb_array_elements_text(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]' END) WITH ORDINALITY AS w(word, n)
$$;
COMMENT ON FUNCTION clinicache._texts(jsonb) IS 'Internal: JSON array to text array; anything else: empty';

CREATE FUNCTION clinicache._entity_named(word text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT e.name
  FROM clinicache.entity AS e, unnest(e.tables || e.name) AS t(word), clinicache._squash(t.word) AS s(singular)
  WHERE clinicache._squash(_entity_named.word) IN
        (s.singular, s.singular || 's', s.singular || 'es',
         regexp_replace(s.singular, 'y$', 'ies'), regexp_replace(s.singular, 'is$', 'es'))
  ORDER BY e.builtin, e.name
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._entity_named(text) IS
  'Internal: the entity that a table of this name holds (singular, plural, snake and camel case), or null';

-- ---------------------------------------------------------------------------------------------------------------------
-- Columns of a table
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._column_names(rel regclass) RETURNS text[]
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}')
  FROM pg_attribute AS a
  WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION clinicache._column_names(regclass) IS 'Internal: the columns of a table';

CREATE FUNCTION clinicache._column_type(rel regclass, col text) RETURNS regtype
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE base AS (
    SELECT t.oid, t.typtype, t.typbasetype
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = rel AND a.attname = col AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT t.oid, t.typtype, t.typbasetype
    FROM base AS b JOIN pg_type AS t ON t.oid = b.typbasetype
    WHERE b.typtype = 'd')
  SELECT b.oid::regtype FROM base AS b WHERE b.typtype <> 'd'
$$;
COMMENT ON FUNCTION clinicache._column_type(regclass, text) IS 'Internal: type of a column, domains looked through; null: no such column';

CREATE FUNCTION clinicache._refused_by(rel regclass, col text, logical text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wanted  text := clinicache._entity_named(logical);
  own     text := clinicache._entity_named(regexp_replace(col, '_?[iI][dD]$', ''));
  refused text;
BEGIN
  IF wanted IS NULL THEN
    RETURN NULL;
  END IF;
  -- bool_or: one key that points to the right table is enough
  SELECT CASE WHEN bool_or(pointed.entity IN (wanted, own)) THEN NULL ELSE min(pointed.target::text) END
    INTO refused
    FROM (SELECT c.confrelid::regclass AS target, clinicache._entity_named(r.relname::text) AS entity
          FROM pg_constraint AS c
          JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
          JOIN pg_class AS r ON r.oid = c.confrelid
          WHERE c.contype = 'f' AND c.conrelid = rel AND cardinality(c.conkey) = 1 AND a.attname = col) AS pointed
   WHERE pointed.entity IS NOT NULL;
  RETURN refused;
END
$$;
COMMENT ON FUNCTION clinicache._refused_by(regclass, text, text) IS
  'Internal: the table of another entity that the column''s foreign key points to, which refuses the column; null: none';

CREATE FUNCTION clinicache._candidates(logical text, listed jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(c.word ORDER BY c.n)
  FROM (SELECT u.word, min(u.n) AS n
        FROM unnest(ARRAY[logical] || clinicache._texts(listed)
                    || coalesce((SELECT a.candidates FROM clinicache.alias AS a WHERE a.column_name = logical), '{}')
                    || CASE WHEN logical <> 'id' THEN ARRAY[logical || '_id'] END) WITH ORDINALITY AS u(word, n)
        GROUP BY u.word) AS c
$$;
COMMENT ON FUNCTION clinicache._candidates(text, jsonb) IS 'Internal: candidate names of a logical column, in order of preference';

CREATE FUNCTION clinicache._find_column(rel regclass, logical text, candidates text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names     text[] := clinicache._column_names(rel);
  refusals  text[] := '{}';
  candidate text;
  loosely   boolean;
  hits      text[];
  col       text;
  target    text;
BEGIN
  FOREACH loosely IN ARRAY ARRAY[false, true] LOOP
    FOREACH candidate IN ARRAY candidates LOOP
      hits := '{}';
      FOREACH col IN ARRAY names LOOP
        CONTINUE WHEN CASE WHEN loosely THEN clinicache._squash(col) <> clinicache._squash(candidate)
                           ELSE col NOT IN (candidate, clinicache._snake(candidate), clinicache._camel(candidate)) END;
        target := clinicache._refused_by(rel, col, logical);
        IF target IS NULL THEN
          hits := hits || col;
        ELSIF NOT format('"%s", whose foreign key points to %s', col, target) = ANY (refusals) THEN
          refusals := refusals || format('"%s", whose foreign key points to %s', col, target);
        END IF;
      END LOOP;
      IF cardinality(hits) > 1 THEN
        RAISE EXCEPTION 'logical column "%" is ambiguous in %: % fit', logical, rel, clinicache._quoted(hits)
          USING ERRCODE = 'ambiguous_column',
                HINT = format('Say which: columns => ''{"%s": "%s"}''.', logical, hits[1]);
      ELSIF cardinality(hits) = 1 THEN
        RETURN jsonb_build_object('column', hits[1]);
      END IF;
    END LOOP;
  END LOOP;
  RETURN jsonb_build_object('refused', to_jsonb(refusals));
END
$$;
COMMENT ON FUNCTION clinicache._find_column(regclass, text, text[]) IS
  'Internal: {"column": name} for the first candidate that the table has, else {"refused": [reasons]}; two at once: 42702';

CREATE FUNCTION clinicache._find_id(rel regclass, listed jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key_columns text[];
BEGIN
  SELECT array_agg(a.attname::text ORDER BY a.attnum) INTO key_columns
    FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
   WHERE i.indrelid = rel AND i.indisprimary;
  IF cardinality(key_columns) = 1 THEN
    RETURN jsonb_build_object('column', key_columns[1]);
  END IF;
  RETURN clinicache._find_column(rel, 'id', clinicache._candidates('id', listed))
         || CASE WHEN key_columns IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('key', to_jsonb(key_columns)) END;
END
$$;
COMMENT ON FUNCTION clinicache._find_id(regclass, jsonb) IS
  'Internal: like _find_column for "id": the single-column primary key, else a column of that name; "key" names a composite key';

-- ---------------------------------------------------------------------------------------------------------------------
-- The columns argument
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._given_column(rel regclass, logical text, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names text[];
  col   text;
BEGIN
  IF jsonb_typeof(given) = 'string' THEN
    col := given #>> '{}';
    IF left(col, 1) = '=' THEN
      IF col !~ '^=''([^'']|'''')*''$' THEN
        RAISE EXCEPTION 'constant for logical column "%" is not understood: %', logical, col
          USING ERRCODE = 'invalid_parameter_value', HINT = 'Write it as "=''value''", quotes within it doubled.';
      END IF;
      RETURN jsonb_build_object('const', replace(substr(col, 3, length(col) - 3), '''''', ''''));
    END IF;
    names := ARRAY[col];
  ELSIF jsonb_typeof(given) = 'array' AND jsonb_array_length(given) > 0
        AND NOT jsonb_path_exists(given, '$[*] ? (@.type() != "string")') THEN
    names := clinicache._texts(given);
  ELSE
    RAISE EXCEPTION 'logical column "%" must be a column name, an array of them, a constant or null, not %', logical, given
      USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Examples: {"%1$s": "a"}, {"%1$s": ["a", "b"]}, {"%1$s": "=''main''"}, {"%1$s": null}.', logical);
  END IF;
  FOREACH col IN ARRAY names LOOP
    IF NOT col = ANY (clinicache._column_names(rel)) THEN
      RAISE EXCEPTION 'column "%" of % does not exist, named for logical column "%"', col, rel, logical
        USING ERRCODE = 'undefined_column',
              HINT = format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel)));
    END IF;
  END LOOP;
  RETURN to_jsonb(names);
END
$$;
COMMENT ON FUNCTION clinicache._given_column(regclass, text, jsonb) IS
  'Internal: checks one value of the columns argument; array of real columns or {"const": text}; unknown column: 42703';

CREATE FUNCTION clinicache._resolve_columns(rel regclass, entity_name text, listed jsonb, given jsonb, required text[])
RETURNS TABLE (resolved jsonb, absent jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  logical text;
  hit     jsonb;
BEGIN
  resolved := '{}';
  absent := '{}';
  FOR logical IN SELECT k FROM jsonb_object_keys(given) AS k LOOP
    IF NOT listed ? logical THEN
      RAISE EXCEPTION 'entity "%" has no logical column "%"', entity_name, logical
        USING ERRCODE = 'undefined_column',
              HINT = format('Logical columns of "%s": %s.', entity_name,
                            clinicache._quoted(ARRAY(SELECT k FROM jsonb_object_keys(listed) AS k ORDER BY k)));
    END IF;
  END LOOP;
  FOR logical IN SELECT k FROM jsonb_object_keys(listed) AS k ORDER BY k LOOP
    IF given ? logical THEN
      IF given -> logical = 'null' THEN
        absent := absent || jsonb_build_object(logical, 'said to be absent');
      ELSE
        resolved := resolved || jsonb_build_object(logical, clinicache._given_column(rel, logical, given -> logical));
      END IF;
      CONTINUE;
    END IF;
    hit := CASE logical WHEN 'id' THEN clinicache._find_id(rel, listed -> logical)
             ELSE clinicache._find_column(rel, logical, clinicache._candidates(logical, listed -> logical)) END;
    IF hit ? 'column' THEN
      resolved := resolved || jsonb_build_object(logical, jsonb_build_array(hit ->> 'column'));
    ELSIF logical = ANY (required) THEN
      PERFORM clinicache._missing_column(rel, entity_name, logical, listed -> logical, hit);
    ELSE
      absent := absent || jsonb_build_object(logical,
                  coalesce(nullif('refused ' || array_to_string(clinicache._texts(hit -> 'refused'), '; '), 'refused '),
                           'no such column'));
    END IF;
  END LOOP;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION clinicache._resolve_columns(regclass, text, jsonb, jsonb, text[]) IS
  'Internal: logical columns found (array of real columns or constant) and absent (with the reason); a required one absent: 42703';

CREATE FUNCTION clinicache._missing_column(rel regclass, entity_name text, logical text, listed jsonb, search jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tried text := CASE WHEN search ? 'key'
                     THEN format('the primary key has several columns: %s', clinicache._quoted(clinicache._texts(search -> 'key')))
                     WHEN logical = 'id' THEN 'no primary key, no column "id"'
                     ELSE format('tried %s', array_to_string(clinicache._candidates(logical, listed), ', ')) END;
  refused text := array_to_string(clinicache._texts(search -> 'refused'), '; refused ');
BEGIN
  RAISE EXCEPTION 'no column of % serves as "%" of entity "%" (%)', rel, logical, entity_name, tried
    USING ERRCODE = 'undefined_column',
          DETAIL = CASE WHEN refused <> '' THEN format('Refused %s. ', refused) ELSE '' END
                   || format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel))),
          HINT = format('Name it with columns => ''{"%1$s": "..."}''; %2$sor say that there is none: columns => ''{"%1$s": null}''.',
                        logical,
                        CASE WHEN logical = 'id' THEN ''
                             ELSE format('give a constant: columns => ''{"%s": "=''''main''''"}''; ', logical) END);
END
$$;
COMMENT ON FUNCTION clinicache._missing_column(regclass, text, text, jsonb, jsonb) IS
  'Internal: raises 42703 for a required logical column, naming the candidates';
-- clinicache: tag templates and settings of a tracked table, checked and put into the form that the trigger holds.
--
--   "resolved" below is the object of logical columns: key -> array of real columns, or {"const": text}.
--   A name in a template or setting is a key of it first, else a real column.

CREATE FUNCTION clinicache._check_keys(given jsonb, accepted text[], what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unknown text;
BEGIN
  IF jsonb_typeof(given) IS DISTINCT FROM 'object' THEN
    RAISE EXCEPTION '% must be a JSON object, not %', what, coalesce(given::text, 'null')
      USING ERRCODE = 'invalid_parameter_value', HINT = format('Accepted keys: %s.', array_to_string(accepted, ', '));
  END IF;
  SELECT k INTO unknown FROM jsonb_object_keys(given) AS k WHERE k <> ALL (accepted) ORDER BY k LIMIT 1;
  IF unknown = 'lookups' THEN
    RAISE EXCEPTION '"%" is not supported yet', unknown
      USING ERRCODE = 'feature_not_supported', HINT = 'Look-ups come in a later version; leave the key out.';
  ELSIF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'unknown key "%" in %', unknown, what
      USING ERRCODE = 'invalid_parameter_value', HINT = format('Accepted keys: %s.', array_to_string(accepted, ', '));
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_keys(jsonb, text[], text) IS
  'Internal: refuses what is no object (22023), unknown keys (22023) and keys of later versions (0A000)';

CREATE FUNCTION clinicache._real_columns(rel regclass, resolved jsonb, name text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN jsonb_typeof(resolved -> name) = 'array' THEN clinicache._texts(resolved -> name)
              WHEN resolved ? name THEN '{}'
              WHEN name = ANY (clinicache._column_names(rel)) THEN ARRAY[name] END
$$;
COMMENT ON FUNCTION clinicache._real_columns(regclass, jsonb, text) IS
  'Internal: real columns behind a name; empty for a constant, null for a name that is neither key nor column';

CREATE FUNCTION clinicache._known_column(rel regclass, resolved jsonb, name text, what text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  real text[] := clinicache._real_columns(rel, resolved, name);
  keys text[] := ARRAY(SELECT k FROM jsonb_object_keys(resolved) AS k ORDER BY k);
BEGIN
  IF real IS NULL THEN
    RAISE EXCEPTION 'column "%" in % does not exist in %', name, what, rel
      USING ERRCODE = 'undefined_column',
            HINT = CASE WHEN cardinality(keys) > 0 THEN format('Logical columns found: %s. ', clinicache._quoted(keys)) ELSE '' END
                   || format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel)));
  END IF;
  RETURN real;
END
$$;
COMMENT ON FUNCTION clinicache._known_column(regclass, jsonb, text, text) IS
  'Internal: _real_columns, or 42703 when there are none';

-- ---------------------------------------------------------------------------------------------------------------------
-- Templates
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._is_text_list(given jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_typeof(given) = 'array' AND NOT jsonb_path_exists(given, '$[*] ? (@.type() != "string")'), false)
$$;
COMMENT ON FUNCTION clinicache._is_text_list(jsonb) IS 'Internal: is it an array of strings?';

CREATE FUNCTION clinicache._tag_object(given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kind text := jsonb_typeof(given);
  tag  jsonb := given;
BEGIN
  IF kind = 'string' THEN
    tag := jsonb_build_object('tag', given);
  ELSIF kind = 'array' AND clinicache._is_text_list(given) AND jsonb_array_length(given) = 2 THEN
    tag := jsonb_build_object('tag', given -> 0, 'profile', given -> 1);
  END IF;
  PERFORM clinicache._check_keys(tag, '{tag,profile,window,time,edge,columns}', format('tag template %s', given));
  tag := jsonb_build_object('profile', 'default') || jsonb_strip_nulls(tag);
  IF coalesce(jsonb_typeof(tag -> 'tag') <> 'string' OR tag ->> 'tag' IN ('', '*'), true) THEN
    RAISE EXCEPTION 'tag template % has no text', given
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Write "patient:{id}" or {"tag": "patient:{id}", "profile": "seconds"}.';
  ELSIF jsonb_typeof(tag -> 'profile') <> 'string' THEN
    RAISE EXCEPTION 'profile of tag template "%" must be a string', tag ->> 'tag' USING ERRCODE = 'invalid_parameter_value';
  ELSIF tag ? 'window' AND tag -> 'window' NOT IN ('"today"', '"upcoming"', '"past"') THEN
    RAISE EXCEPTION 'window % of tag template "%" is not known', tag -> 'window', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Windows are today, upcoming and past.';
  ELSIF tag ? 'edge' AND tag -> 'edge' <> '"day"' THEN
    RAISE EXCEPTION 'edge % of tag template "%" is not known', tag -> 'edge', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'The only edge is day.';
  END IF;
  IF jsonb_typeof(tag -> 'time') = 'string' THEN
    tag := jsonb_set(tag, '{time}', jsonb_build_array(tag -> 'time'));
  END IF;
  IF tag ? 'time' AND NOT (clinicache._is_text_list(tag -> 'time') AND jsonb_array_length(tag -> 'time') IN (1, 2)) THEN
    RAISE EXCEPTION 'time of tag template "%" must be an array of one or two columns', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'One column, or the date column followed by the time-of-day column.';
  ELSIF tag ? 'columns' AND NOT (clinicache._is_text_list(tag -> 'columns') AND jsonb_array_length(tag -> 'columns') > 0) THEN
    RAISE EXCEPTION 'columns of tag template "%" must be an array of column names', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value';
  ELSIF tag ? 'window' AND NOT tag ? 'time' THEN
    RAISE EXCEPTION 'tag template "%" has a window but no time', tag ->> 'tag'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Add "time": ["<column>"].';
  END IF;
  RETURN tag;
END
$$;
COMMENT ON FUNCTION clinicache._tag_object(jsonb) IS
  'Internal: a template given as string, [template, profile] or object, as a checked object with tag and profile (22023)';

CREATE FUNCTION clinicache._preset_tags(tags jsonb, resolved jsonb, without text[])
RETURNS TABLE (kept jsonb, left_out jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  given  jsonb;
  tag    jsonb;
  member text;
BEGIN
  kept := '[]';
  left_out := '[]';
  FOR given IN SELECT t FROM jsonb_array_elements(tags) WITH ORDINALITY AS u(t, n) ORDER BY n LOOP
    tag := clinicache._tag_object(given);
    CONTINUE WHEN tag ->> 'tag' = ANY (without);
    -- a window stands on its first column; the second, the time of day, may be absent
    IF NOT resolved ?& clinicache.template_columns(tag ->> 'tag')
       OR (tag ? 'window' AND coalesce(jsonb_typeof(resolved -> (tag #>> '{time,0}')) <> 'array', true)) THEN
      left_out := left_out || jsonb_build_array(tag -> 'tag');
      CONTINUE;
    END IF;
    FOREACH member IN ARRAY ARRAY['time', 'columns'] LOOP
      IF tag ? member THEN
        tag := tag - member || coalesce((
          SELECT jsonb_build_object(member, jsonb_agg(w.name ORDER BY w.n))
          FROM jsonb_array_elements_text(tag -> member) WITH ORDINALITY AS w(name, n)
          WHERE jsonb_typeof(resolved -> w.name) = 'array' HAVING count(*) > 0), '{}');
      END IF;
    END LOOP;
    kept := kept || jsonb_build_array(tag);
  END LOOP;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION clinicache._preset_tags(jsonb, jsonb, text[]) IS
  'Internal: the preset''s templates whose columns exist, as objects, and the texts of those left out';

CREATE FUNCTION clinicache._own_tags(rel regclass, resolved jsonb, tags jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  given jsonb;
  tag   jsonb;
  name  text;
  what  text;
  own   jsonb := '[]';
BEGIN
  IF jsonb_typeof(tags) <> 'array' THEN
    RAISE EXCEPTION 'tags must be an array of tag templates, not %', tags
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example "tags": ["patient:{id}"].';
  END IF;
  FOR given IN SELECT t FROM jsonb_array_elements(tags) WITH ORDINALITY AS u(t, n) ORDER BY n LOOP
    tag := clinicache._tag_object(given);
    what := format('tag template "%s"', tag ->> 'tag');
    FOREACH name IN ARRAY clinicache.template_columns(tag ->> 'tag')
                          || clinicache._texts(tag -> 'columns') LOOP
      PERFORM clinicache._known_column(rel, resolved, name, what);
    END LOOP;
    FOREACH name IN ARRAY clinicache._texts(tag -> 'time') LOOP
      IF cardinality(clinicache._known_column(rel, resolved, name, what)) = 0 THEN
        RAISE EXCEPTION 'time of % is a constant', what USING ERRCODE = 'invalid_parameter_value';
      END IF;
    END LOOP;
    own := own || jsonb_build_array(tag);
  END LOOP;
  RETURN own;
END
$$;
COMMENT ON FUNCTION clinicache._own_tags(regclass, jsonb, jsonb) IS
  'Internal: the user''s templates as objects; a placeholder that is neither logical nor real column: 42703';

CREATE FUNCTION clinicache._merge_tags(preset jsonb, own jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_agg(t.tag ORDER BY t.part, t.n), '[]')
  FROM (SELECT 1 AS part, n, tag FROM jsonb_array_elements(preset) WITH ORDINALITY AS p(tag, n)
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(own) AS o WHERE o -> 'tag' = p.tag -> 'tag')
        UNION ALL
        SELECT 2, n, tag FROM jsonb_array_elements(own) WITH ORDINALITY AS o(tag, n)) AS t
$$;
COMMENT ON FUNCTION clinicache._merge_tags(jsonb, jsonb) IS
  'Internal: preset''s templates, then the user''s; one of the same text replaces the preset''s';

CREATE FUNCTION clinicache._used_profiles(tags jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  used    text[] := ARRAY(SELECT DISTINCT t ->> 'profile' FROM jsonb_array_elements(tags) AS t ORDER BY 1);
  unknown text;
BEGIN
  SELECT u INTO unknown FROM unnest(used) AS u
   WHERE NOT EXISTS (SELECT FROM clinicache.profile AS p WHERE p.name = u) LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'profile "%" does not exist', unknown
      USING ERRCODE = 'undefined_object',
            HINT = format('Profiles: %s. Add others to clinicache.profile.',
                          (SELECT string_agg(p.name, ', ' ORDER BY p.revalidate, p.name) FROM clinicache.profile AS p));
  END IF;
  RETURN (SELECT coalesce(jsonb_object_agg(p.name, p.revalidate), '{}') FROM clinicache.profile AS p WHERE p.name = ANY (used));
END
$$;
COMMENT ON FUNCTION clinicache._used_profiles(jsonb) IS
  'Internal: profiles of the templates with their revalidate seconds; unknown one: 42704';

-- ---------------------------------------------------------------------------------------------------------------------
-- Date and time columns, zones
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._time_pairs(tags jsonb) RETURNS TABLE (day text, clock text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT t #>> '{time,0}', t #>> '{time,1}'
  FROM jsonb_array_elements(tags) AS t
  WHERE jsonb_typeof(t) = 'object' AND jsonb_typeof(t -> 'time') = 'array' AND jsonb_array_length(t -> 'time') = 2
  ORDER BY 1, 2
$$;
COMMENT ON FUNCTION clinicache._time_pairs(jsonb) IS 'Internal: (date, time of day) column pairs that templates name';

CREATE FUNCTION clinicache._is_clock(kind regtype) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT kind IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'time'::regtype)
$$;
COMMENT ON FUNCTION clinicache._is_clock(regtype) IS 'Internal: can a column of this type hold a time of day?';

CREATE FUNCTION clinicache._drop_false_clocks(rel regclass, tags jsonb, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  pair record;
  col  text;
BEGIN
  FOR pair IN SELECT p.day, p.clock FROM clinicache._time_pairs(tags) AS p WHERE resolved ? p.clock LOOP
    IF jsonb_typeof(resolved -> pair.clock) = 'object' THEN
      RAISE EXCEPTION '"%", the time of day that belongs to "%", cannot be a constant', pair.clock, pair.day
        USING ERRCODE = 'invalid_parameter_value', HINT = format('{"%s": null} says that there is none.', pair.clock);
    ELSIF resolved -> pair.clock = resolved -> pair.day THEN
      resolved := resolved - pair.clock;
      CONTINUE;
    END IF;
    FOREACH col IN ARRAY clinicache._texts(resolved -> pair.clock) LOOP
      IF NOT clinicache._is_clock(clinicache._column_type(rel, col)) THEN
        IF given ? pair.clock THEN
          RAISE EXCEPTION 'column "%" of type % cannot be "%", the time of day that belongs to "%"',
                          col, clinicache._column_type(rel, col), pair.clock, pair.day
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('It must be text or time; {"%s": null} says that there is none.', pair.clock);
        END IF;
        resolved := resolved - pair.clock;
      END IF;
    END LOOP;
  END LOOP;
  RETURN resolved;
END
$$;
COMMENT ON FUNCTION clinicache._drop_false_clocks(regclass, jsonb, jsonb, jsonb) IS
  'Internal: resolved columns less time-of-day columns that are the date column itself or no time of day';

CREATE FUNCTION clinicache._check_zones(rel regclass, tags jsonb, resolved jsonb, zone jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  pair  record;
  col   text;
  clock text;
BEGIN
  FOR pair IN SELECT p.day, p.clock FROM clinicache._time_pairs(tags) AS p LOOP
    SELECT c INTO clock FROM unnest(clinicache._real_columns(rel, resolved, pair.clock)) AS c
     WHERE clinicache._is_clock(clinicache._column_type(rel, c)) LIMIT 1;
    CONTINUE WHEN clock IS NULL;
    FOREACH col IN ARRAY coalesce(clinicache._real_columns(rel, resolved, pair.day), '{}') LOOP
      IF clinicache._column_type(rel, col) IN ('timestamp'::regtype, 'timestamptz'::regtype) AND NOT zone ? col THEN
        RAISE EXCEPTION 'column "%" of % is a % with its time of day in "%": say in which zone its date counts',
                        col, rel, clinicache._column_type(rel, col), clock
          USING ERRCODE = 'invalid_parameter_value',
                DETAIL = 'A local date read as UTC is the day before in the Americas.',
                HINT = format('Add "zone": {"%1$s": "local"} if it holds the date on the clinic''s wall, '
                              || '"zone": {"%1$s": "utc"} if it holds a moment in UTC.', pair.day);
      END IF;
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._check_zones(regclass, jsonb, jsonb, jsonb) IS
  'Internal: a timestamp whose time of day stands in another column needs a zone (22023)';

-- ---------------------------------------------------------------------------------------------------------------------
-- Counters
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._has_day(kind regtype) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT kind IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
$$;
COMMENT ON FUNCTION clinicache._has_day(regtype) IS 'Internal: can a counter take its day from a column of this type?';

CREATE FUNCTION clinicache._is_number(kind regtype) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT kind IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'float4'::regtype, 'float8'::regtype, 'numeric'::regtype)
$$;
COMMENT ON FUNCTION clinicache._is_number(regtype) IS 'Internal: can a counter sum a column of this type?';

CREATE FUNCTION clinicache._can_count(rel regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- an unlogged table is empty after a crash, its counters would not be; a temporary one is nobody else's business
  SELECT c.relpersistence = 'p' FROM pg_class AS c WHERE c.oid = rel
$$;
COMMENT ON FUNCTION clinicache._can_count(regclass) IS 'Internal: are the rows of this table there for everybody, and after a crash?';

CREATE FUNCTION clinicache._preset_counters(rel regclass, resolved jsonb, counters jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  given  jsonb;
  kept   jsonb;
  member text;
  result jsonb := '[]';
BEGIN
  IF NOT clinicache._can_count(rel) THEN
    RETURN result;
  END IF;
  FOR given IN SELECT c FROM jsonb_array_elements(counters) WITH ORDINALITY AS e(c, n) ORDER BY n LOOP
    kept := jsonb_build_object('counter', given -> 'counter', 'by',
              (SELECT jsonb_object_agg(b.key, b.value) FROM jsonb_each(given -> 'by') AS b WHERE resolved ? (b.value #>> '{}')));
    -- nothing to ask for it by
    CONTINUE WHEN kept -> 'by' = 'null';
    FOREACH member IN ARRAY ARRAY['day', 'class', 'sum'] LOOP
      -- a column of another type is no day, or no amount
      IF jsonb_typeof(resolved -> (given ->> member)) = 'array'
         AND (member <> 'day' OR (SELECT bool_and(clinicache._has_day(clinicache._column_type(rel, c)))
                                  FROM unnest(clinicache._texts(resolved -> (given ->> member))) AS c))
         AND (member <> 'sum' OR (SELECT bool_and(clinicache._is_number(clinicache._column_type(rel, c)))
                                  FROM unnest(clinicache._texts(resolved -> (given ->> member))) AS c)) THEN
        kept := kept || jsonb_build_object(member, given -> member);
      END IF;
    END LOOP;
    result := result || jsonb_build_array(kept);
  END LOOP;
  RETURN result;
END
$$;
COMMENT ON FUNCTION clinicache._preset_counters(regclass, jsonb, jsonb) IS
  'Internal: a preset''s counters as far as the table has their columns; none on unlogged and temporary tables';

CREATE FUNCTION clinicache._own_counters(rel regclass, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  counter jsonb;
  member  record;
  col     text;
  names   text[] := '{}';
BEGIN
  IF jsonb_typeof(given) <> 'array' THEN
    RAISE EXCEPTION '"counters" must be an array, not %', given
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'For example [{"counter": "visits", "by": {"clinic": "clinicId"}, "day": "date", "class": "status", "sum": "fee"}].';
  ELSIF given <> '[]' AND NOT clinicache._can_count(rel) THEN
    RAISE EXCEPTION '% cannot have counters: it is unlogged or temporary', rel
      USING ERRCODE = 'feature_not_supported', HINT = 'Leave "counters" out, or make the table a logged one.';
  END IF;
  FOR counter IN SELECT c FROM jsonb_array_elements(given) AS c LOOP
    PERFORM clinicache._check_keys(counter, '{counter,by,day,class,sum}', format('counter %s', counter));
    IF coalesce(jsonb_typeof(counter -> 'counter') <> 'string' OR counter ->> 'counter' = '', true) THEN
      RAISE EXCEPTION 'counter % has no name', counter
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Give it one with "counter".';
    ELSIF counter ->> 'counter' = ANY (names) THEN
      RAISE EXCEPTION 'counter "%" is there twice', counter ->> 'counter' USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(jsonb_typeof(counter -> 'by') <> 'object' OR counter -> 'by' = '{}', true) THEN
      RAISE EXCEPTION 'counter "%" has no dimension', counter ->> 'counter'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Say by what it is asked for: "by": {"clinic": "clinicId"}.';
    END IF;
    names := names || (counter ->> 'counter');
    FOR member IN SELECT m.key, m.value, true AS is_dimension FROM jsonb_each(counter -> 'by') AS m
                  UNION ALL
                  SELECT m.key, m.value, false FROM jsonb_each(counter) AS m
                  WHERE m.key IN ('day', 'class', 'sum') AND m.value <> 'null' LOOP
      IF jsonb_typeof(member.value) <> 'string' THEN
        RAISE EXCEPTION '"%" of counter "%" must name a column, not %', member.key, counter ->> 'counter', member.value
          USING ERRCODE = 'invalid_parameter_value',
                HINT = CASE WHEN member.is_dimension THEN 'A value that the row itself lacks can not be a dimension: what it '
                            'contributes would change with other rows.' END;
      END IF;
      FOREACH col IN ARRAY clinicache._known_column(rel, resolved, member.value #>> '{}', format('counter "%s"', counter ->> 'counter')) LOOP
        IF NOT member.is_dimension AND member.key = 'day' AND NOT clinicache._has_day(clinicache._column_type(rel, col)) THEN
          RAISE EXCEPTION 'column "%" of type % cannot be the day of counter "%"', col, clinicache._column_type(rel, col), counter ->> 'counter'
            USING ERRCODE = 'datatype_mismatch', HINT = 'It has to be a date or timestamp.';
        ELSIF NOT member.is_dimension AND member.key = 'sum' AND NOT clinicache._is_number(clinicache._column_type(rel, col)) THEN
          RAISE EXCEPTION 'column "%" of type % cannot be summed by counter "%"', col, clinicache._column_type(rel, col), counter ->> 'counter'
            USING ERRCODE = 'datatype_mismatch', HINT = 'It has to be a number; what money is worth depends on lc_monetary.';
        END IF;
      END LOOP;
    END LOOP;
  END LOOP;
  RETURN jsonb_strip_nulls(given);
END
$$;
COMMENT ON FUNCTION clinicache._own_counters(regclass, jsonb, jsonb) IS
  'Internal: checks counters given to track (22023, 42703, 42804; 0A000 for unlogged and temporary tables)';
-- clinicache: track, untrack.  The triggers are the configuration: nothing else is stored.
--
--   track -> resolve (40) -> templates and settings (41) -> check_config (C) -> CREATE TRIGGER
--
-- Row triggers are cloned to partitions by PostgreSQL, statement triggers are not, and inheritance children get neither:
-- _put_triggers and _drop_triggers see to those.

CREATE FUNCTION clinicache._table_name(rel regclass) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = rel
$$;
COMMENT ON FUNCTION clinicache._table_name(regclass) IS 'Internal: qualified, quoted name for dynamic SQL';

CREATE FUNCTION clinicache._own_triggers(rel regclass) RETURNS TABLE (id oid, name text, fires_on text, cloned boolean, state "char")
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.oid, t.tgname::text, CASE p.proname WHEN 'row_change' THEN 'row' ELSE 'truncate' END, t.tgparentid <> 0, t.tgenabled
  FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE t.tgrelid = rel AND n.nspname = 'clinicache' AND p.proname IN ('row_change', 'truncate_change') AND NOT t.tgisinternal
$$;
COMMENT ON FUNCTION clinicache._own_triggers(regclass) IS
  'Internal: the clinicache triggers of a table; cloned: made by PostgreSQL from the partitioned parent''s';

CREATE FUNCTION clinicache._descendants(rel regclass) RETURNS TABLE (child regclass, partition boolean, level int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE tree AS (
    SELECT i.inhrelid, 1 AS level FROM pg_inherits AS i WHERE i.inhparent = rel
    UNION
    SELECT i.inhrelid, t.level + 1 FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.inhrelid)
  SELECT c.oid::regclass, c.relispartition, min(t.level)
  FROM tree AS t JOIN pg_class AS c ON c.oid = t.inhrelid
  WHERE c.relkind IN ('r', 'p')        -- foreign tables have no TRUNCATE triggers
  GROUP BY c.oid, c.relispartition
  ORDER BY 3, 1
$$;
COMMENT ON FUNCTION clinicache._descendants(regclass) IS
  'Internal: partitions or inheritance children of all levels, parents first; foreign tables left out';

CREATE FUNCTION clinicache._check_relation(rel regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class  record;
  parent regclass;
BEGIN
  SELECT c.relkind, c.relpersistence, c.relnamespace, n.nspname INTO class
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = rel;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'relation with OID % does not exist', rel::oid USING ERRCODE = 'undefined_table';
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    RAISE EXCEPTION '% is not a table', rel
      USING ERRCODE = 'wrong_object_type', HINT = 'Only ordinary and partitioned tables can be tracked; track the tables behind a view.';
  ELSIF rel::oid < 16384 OR class.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'clinicache') THEN
    RAISE EXCEPTION '% cannot be tracked: it belongs to %', rel,
                    CASE class.nspname WHEN 'clinicache' THEN 'clinicache itself' ELSE 'the system' END
      USING ERRCODE = 'insufficient_privilege';
  ELSIF class.relpersistence = 't' AND class.relnamespace <> pg_my_temp_schema() THEN
    RAISE EXCEPTION '% cannot be tracked: it is a temporary table of another session', rel USING ERRCODE = 'feature_not_supported';
  ELSIF EXISTS (SELECT FROM clinicache._own_triggers(rel) AS t WHERE t.cloned) THEN
    SELECT i.inhparent::regclass INTO parent FROM pg_inherits AS i WHERE i.inhrelid = rel;
    RAISE EXCEPTION '% is a partition of %, which is tracked', rel, parent
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'A partition follows its partitioned table: track or untrack that.';
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_relation(regclass) IS
  'Internal: refuses what is no table (42809), system tables (42501), partitions of tracked tables (55000)';

CREATE FUNCTION clinicache._replace_trigger(rel regclass, trigger_name text, truncates boolean, state "char", config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format(CASE WHEN truncates
                 THEN 'CREATE OR REPLACE TRIGGER %I AFTER TRUNCATE ON %s '
                      'FOR EACH STATEMENT EXECUTE FUNCTION clinicache.truncate_change(%L)'
                 ELSE 'CREATE OR REPLACE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s '
                      'FOR EACH ROW EXECUTE FUNCTION clinicache.row_change(%L)' END,
                 trigger_name, clinicache._table_name(rel), config);
  IF state <> 'O' THEN
    EXECUTE format('ALTER TABLE %s %s TRIGGER %I', clinicache._table_name(rel),
                   CASE state WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, trigger_name);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._replace_trigger(regclass, text, boolean, "char", jsonb) IS
  'Internal: makes or replaces one trigger, in a state as pg_trigger.tgenabled tells it';

CREATE FUNCTION clinicache._make_trigger(rel regclass, truncates boolean, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trigger_name text := CASE WHEN truncates THEN 'clinicache_truncate' ELSE 'clinicache' END;
BEGIN
  IF EXISTS (SELECT FROM pg_trigger AS t
             WHERE t.tgrelid = rel AND t.tgname = trigger_name
               AND t.oid NOT IN (SELECT o.id FROM clinicache._own_triggers(rel) AS o)) THEN
    RAISE EXCEPTION '% has another trigger called "%"', rel, trigger_name
      USING ERRCODE = 'duplicate_object',
            HINT = format('Rename it: ALTER TRIGGER %I ON %s RENAME TO ...', trigger_name, clinicache._table_name(rel));
  END IF;
  PERFORM clinicache._replace_trigger(rel, trigger_name, truncates, CASE config ->> 'fire' WHEN 'always' THEN 'A' ELSE 'O' END::"char", config);
END
$$;
COMMENT ON FUNCTION clinicache._make_trigger(regclass, boolean, jsonb) IS
  'Internal: makes or replaces one trigger; a foreign trigger of the same name: 42710';

CREATE FUNCTION clinicache._put_triggers(rel regclass, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  below record;
  stale text;
BEGIN
  PERFORM clinicache.check_config(rel, config);
  -- renamed triggers of ours would emit twice, as would a partition's own beside its clone
  FOR stale IN SELECT t.name FROM clinicache._own_triggers(rel) AS t
               WHERE NOT t.cloned AND t.name <> CASE t.fires_on WHEN 'row' THEN 'clinicache' ELSE 'clinicache_truncate' END LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', stale, clinicache._table_name(rel));
  END LOOP;
  FOR below IN SELECT d.child FROM clinicache._descendants(rel) AS d WHERE d.partition LOOP
    FOR stale IN SELECT t.name FROM clinicache._own_triggers(below.child) AS t WHERE t.fires_on = 'row' AND NOT t.cloned LOOP
      EXECUTE format('DROP TRIGGER %I ON %s', stale, clinicache._table_name(below.child));
    END LOOP;
  END LOOP;
  PERFORM clinicache._make_trigger(rel, false, config);
  PERFORM clinicache._make_trigger(rel, true, config);
  FOR below IN SELECT d.child, d.partition FROM clinicache._descendants(rel) AS d LOOP
    IF NOT below.partition THEN
      PERFORM clinicache._make_trigger(below.child, false, config);
    END IF;
    PERFORM clinicache._make_trigger(below.child, true, config);
  END LOOP;
  -- the triggers' lock keeps changes away until this transaction ends
  PERFORM clinicache.count_rows(rel, config);
END
$$;
COMMENT ON FUNCTION clinicache._put_triggers(regclass, jsonb) IS
  'Internal: checks a resolved configuration and puts it on a table, its partitions and inheritance children';

CREATE FUNCTION clinicache._drop_triggers(rel regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target regclass;
  doomed text;
BEGIN
  -- parents first: dropping a partitioned table's trigger drops the clones
  FOR target IN SELECT rel UNION ALL SELECT d.child FROM clinicache._descendants(rel) AS d LOOP
    FOR doomed IN SELECT t.name FROM clinicache._own_triggers(target) AS t WHERE NOT t.cloned LOOP
      EXECUTE format('DROP TRIGGER %I ON %s', doomed, clinicache._table_name(target));
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._drop_triggers(regclass) IS
  'Internal: removes the clinicache triggers of a table, its partitions and inheritance children';

-- ---------------------------------------------------------------------------------------------------------------------
-- Configuration
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._single_column(rel regclass, resolved jsonb, given jsonb, what text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  real text[];
BEGIN
  IF jsonb_typeof(given) IS DISTINCT FROM 'string' THEN
    RAISE EXCEPTION '"%" must name a column, not %', what, coalesce(given::text, 'null') USING ERRCODE = 'invalid_parameter_value';
  END IF;
  real := clinicache._known_column(rel, resolved, given #>> '{}', format('"%s"', what));
  IF cardinality(real) <> 1 THEN
    RAISE EXCEPTION '"%" must be one column, but logical column "%" is %', what, given #>> '{}', resolved -> (given #>> '{}')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the real column.';
  END IF;
  RETURN to_jsonb(real[1]);
END
$$;
COMMENT ON FUNCTION clinicache._single_column(regclass, jsonb, jsonb, text) IS
  'Internal: the one real column behind a setting''s name (22023, 42703)';

CREATE FUNCTION clinicache._zone_setting(rel regclass, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entry record;
  col   text;
  zone  jsonb := '{}';
BEGIN
  IF jsonb_typeof(given) <> 'object' THEN
    RAISE EXCEPTION '"zone" must be an object, not %', given
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"date": "local"} or {"date": "utc"}.';
  END IF;
  FOR entry IN SELECT z.key, z.value FROM jsonb_each(given) AS z LOOP
    IF entry.value NOT IN ('"local"', '"utc"') THEN
      RAISE EXCEPTION 'zone of "%" must be "local" or "utc", not %', entry.key, entry.value
        USING ERRCODE = 'invalid_parameter_value',
              HINT = 'local: the column holds the clinic''s wall time; utc: it holds UTC. Tenants'' zones stand in clinicache.tenant.';
    END IF;
    FOREACH col IN ARRAY clinicache._known_column(rel, resolved, entry.key, '"zone"') LOOP
      zone := zone || jsonb_build_object(col, entry.value);
    END LOOP;
  END LOOP;
  RETURN zone;
END
$$;
COMMENT ON FUNCTION clinicache._zone_setting(regclass, jsonb, jsonb) IS
  'Internal: the zone setting with real column names (22023, 42703)';

CREATE FUNCTION clinicache._settings(rel regclass, resolved jsonb, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  deleted  jsonb := given -> 'deleted';
  name     text;
  ignored  text[] := '{}';
  settings jsonb := '{}';
BEGIN
  IF jsonb_typeof(deleted) = 'object' THEN
    PERFORM clinicache._check_keys(deleted, '{column,values}', '"deleted"');
    IF NOT clinicache._is_text_list(deleted -> 'values') OR deleted -> 'values' = '[]' THEN
      RAISE EXCEPTION '"values" of "deleted" must be an array of strings'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"column": "status", "values": ["ARCHIVED"]}.';
    END IF;
    settings := jsonb_build_object('deleted', jsonb_set(deleted, '{column}',
                  clinicache._single_column(rel, resolved, deleted -> 'column', 'deleted')));
  ELSIF deleted IS NOT NULL THEN
    settings := jsonb_build_object('deleted', clinicache._single_column(rel, resolved, deleted, 'deleted'));
    name := settings ->> 'deleted';
    -- any other type, "not null" taken for deleted, would make every row of a status column a deleted one
    IF clinicache._column_type(rel, name) NOT IN ('boolean'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
      RAISE EXCEPTION 'column "%" in "deleted" is of type %, neither boolean nor timestamp', name, clinicache._column_type(rel, name)
        USING ERRCODE = 'datatype_mismatch',
              HINT = format('Name the values that mean deleted: "deleted": {"column": "%s", "values": ["..."]}.', name);
    END IF;
  END IF;
  IF given ? 'ignore' THEN
    IF NOT clinicache._is_text_list(given -> 'ignore') THEN
      RAISE EXCEPTION '"ignore" must be an array of column names, not %', given -> 'ignore' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH name IN ARRAY clinicache._texts(given -> 'ignore') LOOP
      ignored := ignored || clinicache._known_column(rel, resolved, name, '"ignore"');
    END LOOP;
    settings := settings || jsonb_build_object('ignore', to_jsonb(ignored));
  END IF;
  IF given ? 'zone' THEN
    settings := settings || jsonb_build_object('zone', clinicache._zone_setting(rel, resolved, given -> 'zone'));
  END IF;
  IF given ? 'fire' THEN
    IF given -> 'fire' <> '"always"' THEN
      RAISE EXCEPTION '"fire" must be "always", not %', given -> 'fire'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for triggers that do not fire for replicated changes.';
    END IF;
    settings := settings || jsonb_build_object('fire', 'always');
  END IF;
  IF given ? 'tenant' THEN
    IF jsonb_typeof(given -> 'tenant') <> 'string' THEN
      RAISE EXCEPTION '"tenant" must name a column, not %', given -> 'tenant' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM clinicache._known_column(rel, resolved, given ->> 'tenant', '"tenant"');
    settings := settings || jsonb_build_object('tenant', given -> 'tenant');
  END IF;
  RETURN settings;
END
$$;
COMMENT ON FUNCTION clinicache._settings(regclass, jsonb, jsonb) IS
  'Internal: deleted, ignore, zone, fire and tenant, checked, with real column names (22023, 42703)';

CREATE FUNCTION clinicache._without(entity_name text, tags jsonb, given jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known   text[] := ARRAY(SELECT clinicache._tag_object(t) ->> 'tag' FROM jsonb_array_elements(tags) AS t);
  unknown text;
BEGIN
  IF given IS NOT NULL AND NOT clinicache._is_text_list(given) THEN
    RAISE EXCEPTION '"without" must be an array of tag templates, not %', given USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT w INTO unknown FROM unnest(clinicache._texts(given)) AS w WHERE w <> ALL (known) LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'entity "%" has no tag template "%"', entity_name, unknown
      USING ERRCODE = 'invalid_parameter_value', HINT = format('Templates: %s.', clinicache._quoted(known));
  END IF;
  RETURN clinicache._texts(given);
END
$$;
COMMENT ON FUNCTION clinicache._without(text, jsonb, jsonb) IS
  'Internal: template texts to leave away; one that the entity lacks: 22023';

CREATE FUNCTION clinicache._preset_config(rel regclass, entity_name text, given jsonb, options jsonb)
RETURNS TABLE (config jsonb, absent jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  preset   record;
  tenant   text;
  resolved jsonb;
  dropped  jsonb;
  settings jsonb;
  preset_tags record;
  tags     jsonb;
  counters jsonb;
BEGIN
  SELECT e.tenant, e.columns, e.tags, e.counters INTO preset FROM clinicache.entity AS e WHERE e.name = entity_name;
  -- options.tenant overrules the preset's, null included
  tenant := CASE WHEN options ? 'tenant' THEN options ->> 'tenant' ELSE preset.tenant END;
  SELECT r.resolved, r.absent INTO resolved, absent
    FROM clinicache._resolve_columns(rel, entity_name, preset.columns, given, ARRAY['id', tenant]) AS r;
  dropped := resolved;
  resolved := clinicache._drop_false_clocks(rel, preset.tags, resolved, given);
  absent := absent || coalesce((SELECT jsonb_object_agg(k, 'no time of day of its own') FROM jsonb_object_keys(dropped) AS k
                                WHERE NOT resolved ? k), '{}');
  SELECT p.kept, p.left_out INTO preset_tags
    FROM clinicache._preset_tags(preset.tags, resolved,
                                 clinicache._without(entity_name, preset.tags, options -> 'without')) AS p;
  tags := clinicache._merge_tags(preset_tags.kept, clinicache._own_tags(rel, resolved, coalesce(options -> 'tags', '[]')));
  -- a tenant that was said to be absent is none
  settings := clinicache._settings(rel, resolved, jsonb_strip_nulls(
                options || jsonb_build_object('tenant', CASE WHEN options ? 'tenant' OR resolved ? tenant THEN tenant END)));
  PERFORM clinicache._check_zones(rel, preset.tags || tags, resolved, coalesce(settings -> 'zone', '{}'));
  counters := CASE WHEN options ? 'counters' THEN clinicache._own_counters(rel, resolved, options -> 'counters')
                   ELSE clinicache._preset_counters(rel, resolved, preset.counters) END;
  config := jsonb_build_object('v', 1, 'entity', entity_name, 'columns', resolved, 'tags', tags, 'counters', counters,
                               'profiles', clinicache._used_profiles(tags), 'left_out', preset_tags.left_out) || settings;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION clinicache._preset_config(regclass, text, jsonb, jsonb) IS
  'Internal: resolved configuration of a table tracked as an entity, and why columns are absent';

CREATE FUNCTION clinicache._own_config(rel regclass, given jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  resolved jsonb := '{}';
  entry    record;
  tags     jsonb;
  settings jsonb;
BEGIN
  PERFORM clinicache._check_keys(given, '{entity,tenant,columns,deleted,ignore,zone,tags,counters,fire}', 'the configuration');
  given := jsonb_strip_nulls(given);
  IF jsonb_typeof(coalesce(given -> 'columns', '{}')) <> 'object' THEN
    RAISE EXCEPTION '"columns" must be an object, not %', given -> 'columns' USING ERRCODE = 'invalid_parameter_value';
  ELSIF jsonb_typeof(coalesce(given -> 'entity', '""')) <> 'string' THEN
    RAISE EXCEPTION '"entity" must be a string, not %', given -> 'entity' USING ERRCODE = 'invalid_parameter_value';
  ELSIF coalesce(given -> 'tags', '[]') = '[]' THEN
    RAISE EXCEPTION 'the configuration has no "tags"'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"tags": ["patient:{id}"]}.';
  END IF;
  FOR entry IN SELECT c.key, c.value FROM jsonb_each(given -> 'columns') AS c LOOP
    resolved := resolved || jsonb_build_object(entry.key, clinicache._given_column(rel, entry.key, entry.value));
  END LOOP;
  tags := clinicache._own_tags(rel, resolved, given -> 'tags');
  settings := clinicache._settings(rel, resolved, given);
  PERFORM clinicache._check_zones(rel, tags, resolved, coalesce(settings -> 'zone', '{}'));
  RETURN jsonb_build_object('v', 1, 'columns', resolved, 'tags', tags, 'profiles', clinicache._used_profiles(tags),
                            'left_out', '[]'::jsonb)
         || jsonb_build_object('counters', clinicache._own_counters(rel, resolved, coalesce(given -> 'counters', '[]')))
         || settings || CASE WHEN given ? 'entity' THEN jsonb_build_object('entity', given -> 'entity') ELSE '{}' END;
END
$$;
COMMENT ON FUNCTION clinicache._own_config(regclass, jsonb) IS
  'Internal: resolved configuration of a table tracked with templates of its own';

-- ---------------------------------------------------------------------------------------------------------------------
-- What users call
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._tell_left_out(rel regclass, config jsonb, absent jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing int := jsonb_array_length(config -> 'left_out');
  preset  int := (SELECT jsonb_array_length(e.tags) FROM clinicache.entity AS e WHERE e.name = config ->> 'entity');
  unmet   text[];
BEGIN
  IF missing = 0 THEN
    RETURN;
  END IF;
  SELECT array_agg(DISTINCT c.name) INTO unmet
    FROM jsonb_array_elements_text(config -> 'left_out') AS l(tag), unnest(clinicache.template_columns(l.tag)) AS c(name)
   WHERE NOT config -> 'columns' ? c.name;
  RAISE NOTICE '% of the % tag templates of entity "%" are left out: % lacks their columns',
               missing, preset, config ->> 'entity', rel
    USING DETAIL = (SELECT string_agg(format('"%s": %s', a.key, a.value), '; ' ORDER BY a.key)
                    FROM jsonb_each_text(absent) AS a WHERE unmet IS NULL OR a.key = ANY (unmet)),
          HINT = 'clinicache.tracked_tables.left_out lists them; the columns argument of track names columns.';
END
$$;
COMMENT ON FUNCTION clinicache._tell_left_out(regclass, jsonb, jsonb) IS
  'Internal: the one NOTICE that counts templates left out';

CREATE FUNCTION clinicache._wanted_indexes(rel regclass, config jsonb) RETURNS TABLE (purpose text, columns text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH large AS (
    -- a partitioned table's own number may never have been set
    SELECT sum(greatest(c.reltuples, 0)) > 10000 AS is_large FROM pg_class AS c
    WHERE c.oid = rel OR c.oid IN (SELECT d.child FROM clinicache._descendants(rel) AS d WHERE d.partition)),
  wanted AS (
    SELECT DISTINCT 'edges' AS purpose, ARRAY[a.attname::text] AS columns, ARRAY[a.attnum] AS numbers
    FROM jsonb_array_elements(config -> 'tags') AS t,
         unnest(clinicache._real_columns(rel, config -> 'columns', t #>> '{time,0}')) AS r(name)
    JOIN pg_attribute AS a ON a.attrelid = rel AND a.attname = r.name
    WHERE t ? 'window'
    UNION ALL
    -- what clinic_dashboard and client_dashboard list
    SELECT 'dashboard', ARRAY[k.attname::text, d.attname::text], ARRAY[k.attnum, d.attnum]
    FROM jsonb_array_elements(config -> 'counters') AS c
    CROSS JOIN LATERAL jsonb_each_text(c -> 'by') AS b
    JOIN pg_attribute AS k ON k.attrelid = rel AND ARRAY[k.attname::text] = clinicache._real_columns(rel, config -> 'columns', b.value)
    JOIN pg_attribute AS d ON d.attrelid = rel AND ARRAY[d.attname::text] = clinicache._real_columns(rel, config -> 'columns', c ->> 'day')
    WHERE c ->> 'counter' = 'appointments' AND b.key IN ('clinic', 'client'))
  SELECT w.purpose, w.columns
  FROM wanted AS w, large
  WHERE large.is_large
    AND NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = rel AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = w.numbers[1]
                      AND (w.numbers[2] IS NULL OR i.indkey[1] = w.numbers[2]))
  ORDER BY w.purpose DESC, CASE w.purpose WHEN 'dashboard' THEN w.numbers END, w.columns
$$;
COMMENT ON FUNCTION clinicache._wanted_indexes(regclass, jsonb) IS
  'Internal: what a large table''s indexes should begin with and none does: for clock edges the time that windows stand on, for dashboards what their lists are found by';

CREATE FUNCTION clinicache._tell_unindexed(rel regclass, config jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unindexed text[];
  wanted    record;
BEGIN
  SELECT array_agg(w.columns[1]) INTO unindexed FROM clinicache._wanted_indexes(rel, config) AS w WHERE w.purpose = 'edges';
  IF unindexed IS NOT NULL THEN
    RAISE NOTICE 'no index of % begins with %: clock edges will read the whole table', rel, clinicache._quoted(unindexed)
      USING HINT = format('CREATE INDEX ON %s (%I);', clinicache._table_name(rel), unindexed[1]);
  END IF;
  FOR wanted IN
    SELECT w.columns[1] AS key, w.columns[2] AS day FROM clinicache._wanted_indexes(rel, config) AS w WHERE w.purpose = 'dashboard'
  LOOP
    RAISE NOTICE 'no index of % begins with "%" and "%": the newest appointments of a dashboard will have to be searched for',
                 rel, wanted.key, wanted.day
      USING HINT = format('CREATE INDEX ON %s (%I, %I);', clinicache._table_name(rel), wanted.key, wanted.day);
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._tell_unindexed(regclass, jsonb) IS
  'Internal: a NOTICE if a large table has windows and no index on the time they stand on, or counts for dashboards and has none for their lists';

CREATE FUNCTION clinicache.track(relation regclass, entity text, columns jsonb DEFAULT '{}', options jsonb DEFAULT '{}')
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  made record;
BEGIN
  IF relation IS NULL OR entity IS NULL OR columns IS NULL OR options IS NULL THEN
    RAISE EXCEPTION 'no argument of clinicache.track may be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  -- an untyped literal in track('t', '{"tags": ...}') arrives here, as text
  IF entity ~ '^[[:space:]]*[{]' AND columns = '{}' AND options = '{}' THEN
    PERFORM clinicache.track(relation, entity::jsonb);
    RETURN;
  END IF;
  PERFORM clinicache._check_relation(relation);
  IF NOT EXISTS (SELECT FROM clinicache.entity AS e WHERE e.name = track.entity) THEN
    RAISE EXCEPTION 'entity "%" does not exist', entity
      USING ERRCODE = 'undefined_object',
            HINT = format('Entities: %s. Add others to clinicache.entity, or give a configuration with your own "tags".',
                          (SELECT string_agg(e.name, ', ' ORDER BY e.name) FROM clinicache.entity AS e));
  ELSIF jsonb_typeof(columns) <> 'object' THEN
    RAISE EXCEPTION 'argument "columns" must be a JSON object, not %', columns
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"clinic": "clinicId"}.';
  END IF;
  PERFORM clinicache._check_keys(options, '{tags,without,counters,deleted,ignore,zone,tenant,fire}', 'argument "options"');
  SELECT p.config, p.absent INTO made FROM clinicache._preset_config(relation, entity, columns, options) AS p;
  IF made.config -> 'tags' = '[]' THEN
    RAISE EXCEPTION 'no tag template of entity "%" is left for %', entity, relation
      USING ERRCODE = 'invalid_parameter_value',
            DETAIL = (SELECT 'Absent columns: ' || string_agg(format('"%s" (%s)', a.key, a.value), ', ' ORDER BY a.key) || '.'
                      FROM jsonb_each_text(made.absent) AS a),
            HINT = 'Name columns with the columns argument, or add templates with "tags" in options.';
  END IF;
  PERFORM clinicache._put_triggers(relation, made.config);
  PERFORM clinicache._tell_left_out(relation, made.config, made.absent);
  PERFORM clinicache._tell_unindexed(relation, made.config);
  PERFORM clinicache._warn_no_upkeep(relation);
END
$$;
COMMENT ON FUNCTION clinicache.track(regclass, text, jsonb, jsonb) IS
  'Tracks a table as an entity of the vocabulary, from now on: its changes emit tags. columns: logical column to "name", ["a", "b"] (first not null), "=''constant''" or null (absent). options: tags, without, counters (in place of the preset''s; [] for none), deleted, ignore, zone, tenant, fire. Replaces an earlier tracking, and counts the rows there are. Errors: 42703 unknown or missing column, 42702 ambiguous column, 42704 unknown entity or profile, 22023 bad setting, 0A000 look-ups, counters of unlogged and temporary tables';

CREATE FUNCTION clinicache.track(relation regclass, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made jsonb;
BEGIN
  IF track.relation IS NULL OR track.config IS NULL THEN
    RAISE EXCEPTION 'no argument of clinicache.track may be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  PERFORM clinicache._check_relation(track.relation);
  made := clinicache._own_config(track.relation, track.config);
  PERFORM clinicache._put_triggers(track.relation, made);
  PERFORM clinicache._tell_unindexed(track.relation, made);
  PERFORM clinicache._warn_no_upkeep(track.relation);
END
$$;
COMMENT ON FUNCTION clinicache.track(regclass, jsonb) IS
  'Tracks a table with templates of its own: {"tags": [...], "tenant": "clinicId", "deleted": ..., "ignore": [...], "zone": {...}, "columns": {...}, "counters": [...], "fire": "always"}; placeholders are real columns or keys of "columns". Replaces an earlier tracking. Errors as for the other form';

CREATE FUNCTION clinicache.untrack(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF untrack.relation IS NULL THEN
    RAISE EXCEPTION 'no argument of clinicache.untrack may be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  PERFORM clinicache._check_relation(untrack.relation);
  IF NOT EXISTS (SELECT FROM clinicache._own_triggers(untrack.relation)) THEN
    RAISE NOTICE '% is not tracked', untrack.relation;
    PERFORM clinicache.forget_counters(untrack.relation);
    RETURN;
  END IF;
  PERFORM clinicache._drop_triggers(untrack.relation);
  PERFORM clinicache.forget_counters(untrack.relation);
END
$$;
COMMENT ON FUNCTION clinicache.untrack(regclass) IS
  'Stops tracking a table, with its partitions and inheritance children. A NOTICE if it is not tracked';

CREATE FUNCTION clinicache.untrack_all() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target regclass;
BEGIN
  -- dropped by trigger, not by tree: orphans such as a detached partition's TRUNCATE trigger go too
  FOR target IN SELECT c.oid::regclass FROM pg_class AS c
                WHERE c.relkind IN ('r', 'p') AND (c.relpersistence <> 't' OR c.relnamespace = pg_my_temp_schema())
                  AND EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgparentid = 0
                              AND t.tgfoid IN ('clinicache.row_change()'::regprocedure, 'clinicache.truncate_change()'::regprocedure))
                ORDER BY c.relispartition, c.oid LOOP
    PERFORM clinicache._drop_triggers(target);
    PERFORM clinicache.forget_counters(target);
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache.untrack_all() IS
  'Stops tracking every table, for example before DROP EXTENSION. The caller must own them all';

CREATE FUNCTION clinicache._preview_row(rel regclass, given jsonb, what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unknown text;
BEGIN
  IF given IS NOT NULL AND jsonb_typeof(given) <> 'object' THEN
    RAISE EXCEPTION '% must be a JSON object, not %', what, given USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT k INTO unknown FROM jsonb_object_keys(given) AS k WHERE k <> ALL (clinicache._column_names(rel)) LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'column "%" in % does not exist in %', unknown, what, rel
      USING ERRCODE = 'undefined_column',
            HINT = format('Columns of %s: %s.', rel, clinicache._quoted(clinicache._column_names(rel)));
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._preview_row(regclass, jsonb, text) IS 'Internal: checks a row given to preview (22023, 42703)';

CREATE FUNCTION clinicache.preview(relation regclass, old_row jsonb, new_row jsonb) RETURNS TABLE (tag text, profile text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  before jsonb := nullif(preview.old_row, 'null');
  after  jsonb := nullif(preview.new_row, 'null');
BEGIN
  IF preview.relation IS NULL THEN
    RAISE EXCEPTION 'the relation given to clinicache.preview is null' USING ERRCODE = 'null_value_not_allowed';
  ELSIF before IS NULL AND after IS NULL THEN
    RAISE EXCEPTION 'clinicache.preview needs an old row, a new row or both'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'Only new: an insert. Only old: a delete. Both: an update.';
  ELSIF NOT EXISTS (SELECT FROM clinicache._own_triggers(preview.relation) AS t WHERE t.fires_on = 'row') THEN
    RAISE EXCEPTION '% is not tracked', preview.relation
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Track it with clinicache.track first.';
  END IF;
  PERFORM clinicache._preview_row(preview.relation, before, 'old_row');
  PERFORM clinicache._preview_row(preview.relation, after, 'new_row');
  after := CASE WHEN after IS NOT NULL THEN coalesce(before, '{}') || after END;
  -- once each, as in a transaction: the shortest profile wins
  RETURN QUERY EXECUTE format(
    'SELECT p.tag, (array_agg(p.profile ORDER BY f.revalidate, p.profile))[1] '
    'FROM clinicache.preview_rows($1, '
    'CASE WHEN $2 IS NOT NULL THEN jsonb_populate_record(NULL::%1$s, $2) END, '
    'CASE WHEN $3 IS NOT NULL THEN jsonb_populate_record(NULL::%1$s, $3) END) WITH ORDINALITY AS p(tag, profile, n) '
    'LEFT JOIN clinicache.profile AS f ON f.name = p.profile '
    'GROUP BY p.tag ORDER BY min(p.n)', clinicache._table_name(preview.relation))
    USING preview.relation, before, after;
END
$$;
COMMENT ON FUNCTION clinicache.preview(regclass, jsonb, jsonb) IS
  'Dry run: the tags that a change of a tracked table''s row would emit. Only new_row: insert; only old_row: delete; both: update, new_row''s keys laid over old_row. Errors: 55000 not tracked, 42703 unknown column';
-- clinicache: what is tracked.  Both views read the triggers: there is no other record of it.

CREATE FUNCTION clinicache._table_state(rel regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH own AS (SELECT * FROM clinicache._own_triggers(rel)),
       row_trigger AS (SELECT o.state FROM own AS o WHERE o.fires_on = 'row' AND NOT o.cloned LIMIT 1),
       truncate_trigger AS (SELECT o.state FROM own AS o WHERE o.fires_on = 'truncate' LIMIT 1)
  SELECT CASE
    WHEN NOT EXISTS (SELECT FROM row_trigger) THEN 'no row trigger'
    WHEN NOT EXISTS (SELECT FROM truncate_trigger) THEN 'no truncate trigger'
    WHEN (SELECT r.state FROM row_trigger AS r) <> (SELECT t.state FROM truncate_trigger AS t) THEN 'triggers differ'
    WHEN EXISTS (SELECT FROM clinicache._descendants(rel) AS d
                 WHERE (SELECT count(DISTINCT o.fires_on) FROM clinicache._own_triggers(d.child) AS o) < 2)
      THEN 'trigger missing below'
    WHEN EXISTS (SELECT FROM clinicache._descendants(rel) AS d, clinicache._own_triggers(d.child) AS o, row_trigger AS r
                 WHERE d.partition AND o.state <> r.state)
      THEN 'triggers differ below'
    ELSE (SELECT CASE r.state WHEN 'O' THEN 'enabled' WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica' ELSE 'disabled' END
          FROM row_trigger AS r)
  END
$$;
COMMENT ON FUNCTION clinicache._table_state(regclass) IS 'Internal: state of a tracked table''s triggers, see clinicache.tracked_tables';

CREATE VIEW clinicache.tracked_tables AS
SELECT t.tgrelid::pg_catalog.regclass AS relation,
       c.config ->> 'entity' AS entity,
       c.config ->> 'tenant' AS tenant,
       c.config -> 'columns' AS columns,
       ARRAY(SELECT e.tag ->> 'tag'
             FROM pg_catalog.jsonb_array_elements(c.config -> 'tags') WITH ORDINALITY AS e(tag, n) ORDER BY e.n) AS templates,
       clinicache._texts(c.config -> 'left_out') AS left_out,
       clinicache._table_state(t.tgrelid::pg_catalog.regclass) AS state
FROM (SELECT DISTINCT ON (g.tgrelid) g.oid, g.tgrelid
      FROM pg_catalog.pg_trigger AS g
      WHERE g.tgparentid = 0
        AND (g.tgfoid = 'clinicache.row_change()'::pg_catalog.regprocedure
             -- a partition's TRUNCATE trigger stands beside a clone and belongs to the partitioned table
             OR (g.tgfoid = 'clinicache.truncate_change()'::pg_catalog.regprocedure
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS r
                                 WHERE r.tgrelid = g.tgrelid AND r.tgparentid <> 0
                                   AND r.tgfoid = 'clinicache.row_change()'::pg_catalog.regprocedure)))
      ORDER BY g.tgrelid, g.tgfoid = 'clinicache.row_change()'::pg_catalog.regprocedure DESC, g.oid) AS t
CROSS JOIN LATERAL (SELECT clinicache.trigger_config(t.oid) AS config) AS c
ORDER BY 1;
COMMENT ON VIEW clinicache.tracked_tables IS 'Tracked tables; partitions stand under their partitioned table, inheritance children for themselves';
COMMENT ON COLUMN clinicache.tracked_tables.relation IS 'Table';
COMMENT ON COLUMN clinicache.tracked_tables.entity IS 'Entity it is tracked as; null with templates of its own';
COMMENT ON COLUMN clinicache.tracked_tables.tenant IS 'Logical or real column that holds the tenant; null: none';
COMMENT ON COLUMN clinicache.tracked_tables.columns IS 'Logical column to its real columns (first not null) or {"const": text}';
COMMENT ON COLUMN clinicache.tracked_tables.templates IS 'Tag templates that are emitted';
COMMENT ON COLUMN clinicache.tracked_tables.left_out IS 'Preset templates whose columns the table lacks';
COMMENT ON COLUMN clinicache.tracked_tables.state IS
  'enabled, always (also for replicated changes), replica (only those), disabled; or what is wrong: no row trigger, no truncate trigger, triggers differ, trigger missing below, triggers differ below (partitions and inheritance children). Tracking again repairs it';

CREATE VIEW clinicache.tag_templates AS
SELECT e.tag ->> 'tag' AS template,
       e.tag ->> 'profile' AS profile,
       clinicache.template_prefix(e.tag ->> 'tag') AS prefix,
       pg_catalog.array_agg(DISTINCT t.tgrelid::pg_catalog.regclass) AS tables
FROM pg_catalog.pg_trigger AS t
CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(clinicache.trigger_config(t.oid) -> 'tags') AS e(tag)
WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::pg_catalog.regprocedure
GROUP BY 1, 2, 3
ORDER BY 1, 2;
COMMENT ON VIEW clinicache.tag_templates IS 'Templates that tracked tables emit: what to label a read with';
COMMENT ON COLUMN clinicache.tag_templates.template IS 'Template, to be rendered with clinicache.tag';
COMMENT ON COLUMN clinicache.tag_templates.profile IS 'Cache profile, see clinicache.profile';
COMMENT ON COLUMN clinicache.tag_templates.prefix IS 'What all its tags begin with; it is emitted in their stead when there are too many';
COMMENT ON COLUMN clinicache.tag_templates.tables IS 'Tables whose changes emit it';
-- clinicache: counters.

CREATE FUNCTION clinicache.count(counter text, dimension text, key text, classes text[] DEFAULT NULL,
                                 from_day date DEFAULT NULL, to_day date DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_count' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.count(text, text, text, text[], date, date) IS
  'How many rows a counter has under a key of a dimension, exactly, in the caller''s snapshot with its own changes; classes: of these statuses only, compared ignoring case, spaces, - and _; from_day, to_day: local days, inclusive. Null: no tracked table has such a counter. Errors: 22004 null name or key, 22023 unknown dimension';

CREATE FUNCTION clinicache.total(counter text, dimension text, key text, classes text[] DEFAULT NULL,
                                 from_day date DEFAULT NULL, to_day date DEFAULT NULL) RETURNS numeric
AS 'MODULE_PATHNAME', 'clinicache_total' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.total(text, text, text, text[], date, date) IS
  'Like clinicache.count, the sum of the counter''s sum column; 0 where there is nothing to sum. Null: no tracked table has such a counter';

CREATE FUNCTION clinicache.series(counter text, dimension text, key text, grain text, from_day date, to_day date)
RETURNS TABLE (day date, class text, n bigint, total numeric)
AS 'MODULE_PATHNAME', 'clinicache_series' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION clinicache.series(text, text, text, text, date, date) IS
  'Counts and sums by day (grain day), month (grain month; its first day) or in one (grain all; day is null), and by status, of the local days from_day to to_day (null: no limit). Rows that count nothing are left out. Errors: 22004, 22023';

CREATE FUNCTION clinicache.verify(counter text DEFAULT NULL)
RETURNS TABLE (counter text, relation regclass, dimension text, key text, day date, class text, n bigint, total numeric)
AS 'MODULE_PATHNAME', 'clinicache_verify' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION clinicache.verify(text) IS
  'Compares counters (null: all valid ones) with their tables, in one snapshot: n and total are counter minus table. No rows: exact. Reads the whole table, and locks it against TRUNCATE. Errors: 55000 the transaction''s snapshot is too old';

CREATE FUNCTION clinicache.count_rows(relation regclass, config jsonb) RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_count_rows' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.count_rows(regclass, jsonb) IS
  'Part of track and rebuild: counts a table for the counters of its configuration, in place of what was counted before; returns the number of rows. Locks the table against changes until the transaction ends. Errors: 42501 not the table''s owner';

CREATE FUNCTION clinicache.forget_counters(relation regclass) RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_forget_counters' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.forget_counters(regclass) IS
  'Part of untrack: gives up a table''s counters. Errors: 42501 not the table''s owner';

CREATE FUNCTION clinicache._counter_tables(wanted text) RETURNS TABLE (relation regclass, config jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.tgrelid::regclass, c.config
  FROM pg_trigger AS t CROSS JOIN LATERAL (SELECT clinicache.trigger_config(t.oid) AS config) AS c
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure AND c.config IS NOT NULL
    AND EXISTS (SELECT FROM jsonb_array_elements(c.config -> 'counters') AS k WHERE wanted IS NULL OR k ->> 'counter' = wanted)
    -- inheritance children count for their parent
    AND NOT EXISTS (SELECT FROM pg_inherits AS i
                    JOIN pg_trigger AS p ON p.tgrelid = i.inhparent AND p.tgfoid = t.tgfoid
                    WHERE i.inhrelid = t.tgrelid)
  ORDER BY t.tgrelid
$$;
COMMENT ON FUNCTION clinicache._counter_tables(text) IS 'Internal: tables tracked with a counter (null: any), and their configuration';

CREATE FUNCTION clinicache.rebuild(counter text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target  record;
  counted bigint;
BEGIN
  IF rebuild.counter IS NULL THEN
    RAISE EXCEPTION 'the counter given to clinicache.rebuild is null'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'clinicache.counter_registry lists counters.';
  END IF;
  FOR target IN SELECT t.relation, t.config FROM clinicache._counter_tables(rebuild.counter) AS t LOOP
    counted := coalesce(counted, 0) + clinicache.count_rows(target.relation, target.config);
  END LOOP;
  IF counted IS NULL THEN
    RAISE EXCEPTION 'no tracked table has a counter "%"', rebuild.counter
      USING ERRCODE = 'undefined_object',
            HINT = format('Counters: %s.', (SELECT coalesce(string_agg(DISTINCT k ->> 'counter', ', '), 'none')
                                            FROM clinicache._counter_tables(NULL) AS t, jsonb_array_elements(t.config -> 'counters') AS k));
  END IF;
  RETURN counted;
END
$$;
COMMENT ON FUNCTION clinicache.rebuild(text) IS
  'Counts the tables of a counter anew, all counters of those tables with it; returns the number of rows. Locks each table against changes meanwhile. Needed after a restore, and where counter_registry says that a counter is not valid. Errors: 42704 no such counter, 42501 not the table''s owner';

-- ---------------------------------------------------------------------------------------------------------------------
-- Time zones: another zone, other days
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache.rezone(tenants text[], before text[], after text[]) RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_rezone' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.rezone(text[], text[], text[]) IS
  'Part of clinicache.tenant''s triggers: counts the tenants'' rows for the days of another zone; null: the counter''s own. Locks the counted tables against changes until the transaction ends';

CREATE FUNCTION clinicache.distrust_counters(reason text) RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_distrust_counters' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.distrust_counters(text) IS
  'Has all counters read from their tables, until clinicache.rebuild';

CREATE FUNCTION clinicache.tenant_rezone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changed record;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM clinicache.distrust_counters('clinicache.tenant was truncated');
    RETURN NULL;
  ELSIF TG_OP = 'INSERT' THEN
    SELECT array_agg(n.tenant) AS tenants, array_agg(NULL::text) AS before, array_agg(n.timezone) AS after
      INTO changed FROM new_rows AS n;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(o.tenant) AS tenants, array_agg(o.timezone) AS before, array_agg(NULL::text) AS after
      INTO changed FROM old_rows AS o;
  ELSE
    SELECT array_agg(coalesce(o.tenant, n.tenant)) AS tenants, array_agg(o.timezone) AS before, array_agg(n.timezone) AS after
      INTO changed
      FROM old_rows AS o FULL JOIN new_rows AS n ON n.tenant = o.tenant
     WHERE o.timezone IS DISTINCT FROM n.timezone;
  END IF;
  IF changed.tenants IS NOT NULL THEN
    PERFORM clinicache.rezone(changed.tenants, changed.before, changed.after);
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache.tenant_rezone() IS
  'Trigger function of clinicache.tenant: counters follow a tenant''s new time zone';

CREATE FUNCTION clinicache.set_timezone(tenant text, zone text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF set_timezone.tenant IS NULL THEN
    RAISE EXCEPTION 'the tenant given to clinicache.set_timezone is null'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'The zone of rows without a tenant is clinicache.timezone.';
  ELSIF set_timezone.zone IS NULL THEN
    DELETE FROM clinicache.tenant AS t WHERE t.tenant = set_timezone.tenant;
  ELSE
    UPDATE clinicache.tenant AS t SET timezone = set_timezone.zone WHERE t.tenant = set_timezone.tenant;
    IF NOT FOUND THEN
      INSERT INTO clinicache.tenant VALUES (set_timezone.tenant, set_timezone.zone);
    END IF;
  END IF;
  -- its lists of today, its days, its months: all may be others now
  PERFORM clinicache.emit_prefix('', set_timezone.tenant, 'time zone changed');
END
$$;
COMMENT ON FUNCTION clinicache.set_timezone(text, text) IS
  'Sets a tenant''s time zone (null: clinicache.timezone again), counts its rows for the days of that zone and has subscribers drop everything. Locks the counted tables against changes until the transaction ends. Errors: 22004 null tenant, 22023 unknown zone';

CREATE TRIGGER rezone_new AFTER INSERT ON clinicache.tenant REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
CREATE TRIGGER rezone_changed AFTER UPDATE ON clinicache.tenant REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
CREATE TRIGGER rezone_old AFTER DELETE ON clinicache.tenant REFERENCING OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
CREATE TRIGGER rezone_all AFTER TRUNCATE ON clinicache.tenant
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_rezone();
COMMENT ON TRIGGER rezone_new ON clinicache.tenant IS 'Counters follow a new tenant''s zone';
COMMENT ON TRIGGER rezone_changed ON clinicache.tenant IS 'Counters follow a tenant''s new zone';
COMMENT ON TRIGGER rezone_old ON clinicache.tenant IS 'Counters follow a tenant that has lost its zone';
COMMENT ON TRIGGER rezone_all ON clinicache.tenant IS 'Counters are read from their tables until they are rebuilt';

CREATE FUNCTION clinicache.tenant_applied() RETURNS trigger
AS 'MODULE_PATHNAME', 'clinicache_tenant_applied' LANGUAGE C;
COMMENT ON FUNCTION clinicache.tenant_applied() IS
  'Trigger function of clinicache.tenant: time zones that arrive by logical replication are read anew, and counters not trusted until clinicache.rebuild';
CREATE TRIGGER tenant_applied AFTER INSERT OR UPDATE OR DELETE ON clinicache.tenant
  FOR EACH ROW EXECUTE FUNCTION clinicache.tenant_applied();
ALTER TABLE clinicache.tenant ENABLE ALWAYS TRIGGER tenant_applied;
COMMENT ON TRIGGER tenant_applied ON clinicache.tenant IS 'For time zones that arrive by logical replication, which fires no other trigger';
-- clinicache: dashboards.  The numbers come from counters, the list of appointments from the user's table.

CREATE FUNCTION clinicache._fk_target(rel regclass, col text) RETURNS TABLE (target regclass, target_column text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.confrelid::regclass, f.attname::text
  FROM pg_constraint AS c
  JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
  JOIN pg_attribute AS f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
  WHERE c.contype = 'f' AND c.conrelid = rel AND cardinality(c.conkey) = 1 AND a.attname = col
  ORDER BY c.oid
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._fk_target(regclass, text) IS 'Internal: where the foreign key of a column leads';

CREATE FUNCTION clinicache._first_column(rel regclass, names text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.name
  FROM unnest(names) WITH ORDINALITY AS w(word, n)
  JOIN unnest(clinicache._column_names(rel)) AS c(name) ON clinicache._squash(c.name) = clinicache._squash(w.word)
  ORDER BY w.n
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._first_column(regclass, text[]) IS 'Internal: the first of these names, in whatever spelling, that is a column';

CREATE FUNCTION clinicache._name_expression(rel regclass, alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  whole text := clinicache._first_column(rel, '{name,full_name,display_name}');
  parts text[] := array_remove(ARRAY[clinicache._first_column(rel, '{first_name,given_name,first}'),
                                     clinicache._first_column(rel, '{last_name,family_name,surname,last}')], NULL);
BEGIN
  IF whole IS NOT NULL THEN
    RETURN format('CAST(%I.%I AS pg_catalog.text)', alias, whole);
  ELSIF cardinality(parts) > 0 THEN
    RETURN format('pg_catalog.concat_ws('' '', %s)', (SELECT string_agg(format('%I.%I', alias, p), ', ' ORDER BY n)
                                                      FROM unnest(parts) WITH ORDINALITY AS u(p, n)));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._name_expression(regclass, text) IS 'Internal: SQL for the name of a row of patients or staff; null: it has none';

CREATE FUNCTION clinicache._value_expression(rel regclass, resolved jsonb, name text, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN jsonb_typeof(resolved -> name) = 'object' THEN format('CAST(%L AS pg_catalog.text)', resolved -> name ->> 'const')
    ELSE (SELECT CASE count(*) WHEN 0 THEN NULL WHEN 1 THEN min(format('%I.%I', alias, c))
                      ELSE format('COALESCE(%s)', string_agg(format('CAST(%I.%I AS pg_catalog.text)', alias, c), ', ' ORDER BY n)) END
          FROM unnest(clinicache._real_columns(rel, resolved, name)) WITH ORDINALITY AS u(c, n))
  END
$$;
COMMENT ON FUNCTION clinicache._value_expression(regclass, jsonb, text, text) IS
  'Internal: SQL for what a logical column stands for: a column, the first not null of several, a constant; null: it is absent';

CREATE FUNCTION clinicache._not_deleted(config jsonb, rel regclass, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN config -> 'deleted' IS NULL THEN 'true'
    WHEN jsonb_typeof(config -> 'deleted') = 'object'
      THEN format('(%1$I.%2$I IS NULL OR CAST(%1$I.%2$I AS pg_catalog.text) OPERATOR(pg_catalog.<>) ALL (CAST(%3$L AS pg_catalog.text[])))',
                  alias, config -> 'deleted' ->> 'column', clinicache._texts(config -> 'deleted' -> 'values'))
    WHEN clinicache._column_type(rel, config ->> 'deleted') = 'boolean'::regtype
      THEN format('%I.%I IS NOT TRUE', alias, config ->> 'deleted')
    ELSE format('%I.%I IS NULL', alias, config ->> 'deleted') END
$$;
COMMENT ON FUNCTION clinicache._not_deleted(jsonb, regclass, text) IS 'Internal: SQL condition for rows that are not softly deleted';

CREATE FUNCTION clinicache._department_join(rel regclass, doctor_table regclass) RETURNS TABLE (joins text, fields text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  hit    record;
  colour text;
BEGIN
  -- the appointment's own department, else its doctor's
  SELECT s.alias, a.attname, k.target, k.target_column INTO hit
    FROM (VALUES (rel, 't', 1), (doctor_table, 'd', 2)) AS s(source, alias, n)
    JOIN pg_attribute AS a ON a.attrelid = s.source AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN LATERAL clinicache._fk_target(s.source, a.attname) AS k
    JOIN pg_class AS c ON c.oid = k.target
   WHERE clinicache._entity_named(c.relname) = 'department'
   ORDER BY s.n, a.attnum LIMIT 1;
  IF hit.target IS NOT NULL THEN
    joins := format(' LEFT JOIN %s AS g ON g.%I OPERATOR(pg_catalog.=) %I.%I',
                    clinicache._table_name(hit.target), hit.target_column, hit.alias, hit.attname);
    fields := coalesce(', ' || clinicache._name_expression(hit.target, 'g') || ' AS department', '');
    colour := clinicache._first_column(hit.target, '{color,colour,color_code,hex_color}');
    fields := fields || CASE WHEN colour IS NOT NULL THEN format(', g.%I AS department_color', colour) ELSE '' END;
  END IF;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION clinicache._department_join(regclass, regclass) IS
  'Internal: how an appointment''s foreign keys lead to a department, and its name and colour; nulls: they do not';

CREATE FUNCTION clinicache._key_expression(rel regclass, col text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- only what the column's type would print: any other text is the key of no row, and no error
  SELECT CASE
    WHEN clinicache._column_type(rel, col) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
      THEN 'CASE WHEN $1 OPERATOR(pg_catalog.~) ''^(0|-?[1-9][0-9]{0,17})$'' THEN CAST($1 AS pg_catalog.int8) END'
    WHEN clinicache._column_type(rel, col) = 'uuid'::regtype
      THEN 'CASE WHEN $1 OPERATOR(pg_catalog.~) ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'' THEN CAST($1 AS pg_catalog.uuid) END'
    ELSE (SELECT format('CAST($1 AS %s)', format_type(a.atttypid, NULL)) FROM pg_attribute AS a WHERE a.attrelid = rel AND a.attname = col) END
$$;
COMMENT ON FUNCTION clinicache._key_expression(regclass, text) IS
  'Internal: SQL for a key, given as text, to be compared with a column through its index';

CREATE FUNCTION clinicache._recent_query(rel regclass, counter text, dimension text, how_many int) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config   jsonb := (SELECT clinicache.trigger_config(o.id) FROM clinicache._own_triggers(rel) AS o WHERE o.fires_on = 'row' LIMIT 1);
  resolved jsonb := config -> 'columns';
  rule     jsonb := (SELECT c FROM jsonb_array_elements(config -> 'counters') AS c WHERE c ->> 'counter' = counter);
  key_name text := rule -> 'by' ->> dimension;
  key_columns text[] := clinicache._real_columns(rel, resolved, key_name);
  id       text := clinicache._value_expression(rel, resolved, 'id', 't');
  at       text := clinicache._value_expression(rel, resolved, rule ->> 'day', 't');
  tenant   text := clinicache._value_expression(rel, resolved, config ->> 'tenant', 't');
  who      record;
  one      record;
  joins    text := '';
  fields   text := '';
  doctor_table regclass;
  department   record;
  condition    text;
  ordering     text;
BEGIN
  condition := CASE WHEN cardinality(key_columns) = 1
    THEN format('t.%I OPERATOR(pg_catalog.=) %s', key_columns[1], clinicache._key_expression(rel, key_columns[1]))
    ELSE format('%s OPERATOR(pg_catalog.=) $1', clinicache._value_expression(rel, resolved, key_name, 't')) END;
  -- rows without a date have no place in it; so an index on key and date, read backwards, is in order
  condition := condition || coalesce(format(' AND %s IS NOT NULL', at), '');
  ordering := concat_ws(', ', at || ' DESC', clinicache._value_expression(rel, resolved, 'time', 't') || ' DESC', id || ' DESC');
  IF id IS NOT NULL THEN
    fields := fields || format(', %s AS id', id);
  END IF;
  IF at IS NOT NULL THEN
    fields := fields || format(', %s AS date', at);
  END IF;
  FOR one IN SELECT f.label, clinicache._value_expression(rel, resolved, f.label, 't') AS value
             FROM (VALUES ('time'), ('status')) AS f(label) LOOP
    CONTINUE WHEN one.value IS NULL;
    fields := fields || format(', %s AS %I', one.value, one.label);
  END LOOP;
  FOR who IN SELECT w.label, w.alias, clinicache._value_expression(rel, resolved, w.label, 't') AS value,
                    clinicache._real_columns(rel, resolved, w.label) AS columns
             FROM (VALUES ('patient', 'p'), ('doctor', 'd')) AS w(label, alias) LOOP
    CONTINUE WHEN who.value IS NULL;
    fields := fields || format(', %s AS %I', who.value, who.label);
    SELECT k.target, k.target_column, clinicache._name_expression(k.target, who.alias) AS name INTO one
      FROM unnest(who.columns) AS c CROSS JOIN LATERAL clinicache._fk_target(rel, c) AS k LIMIT 1;
    CONTINUE WHEN one.target IS NULL;
    joins := joins || format(' LEFT JOIN %s AS %I ON %I.%I OPERATOR(pg_catalog.=) %s',
                             clinicache._table_name(one.target), who.alias, who.alias, one.target_column,
                             format('t.%I', who.columns[1]));
    fields := fields || CASE WHEN one.name IS NOT NULL THEN format(', %s AS %I', one.name, who.label || '_name') ELSE '' END;
    doctor_table := CASE WHEN who.label = 'doctor' THEN one.target ELSE doctor_table END;
  END LOOP;
  SELECT d.joins, d.fields INTO department FROM clinicache._department_join(rel, doctor_table) AS d;
  RETURN format('SELECT CAST(%s AS pg_catalog.text) AS tenant%s FROM %s AS t%s WHERE %s AND %s%s LIMIT %s',
                coalesce(tenant, 'NULL'), fields || coalesce(department.fields, ''),
                clinicache._table_name(rel), joins || coalesce(department.joins, ''),
                condition, clinicache._not_deleted(config, rel, 't'),
                -- for the tenant alone any row will do, and none need be sorted
                CASE WHEN how_many > 1 AND ordering <> '' THEN ' ORDER BY ' || ordering ELSE '' END, how_many);
END
$$;
COMMENT ON FUNCTION clinicache._recent_query(regclass, text, text, int) IS
  'Internal: SQL that returns the newest rows of a counted table under a key ($1), with its tenant first and names where declared foreign keys lead to them';

CREATE FUNCTION clinicache.clinic_dashboard(clinic text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_clinic_dashboard' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.clinic_dashboard(text) IS
  'A clinic at a glance, exact in the caller''s snapshot: day (local), patients, doctors, staff, new_patients_this_month, appointments_by_status, today, waiting, upcoming, this_month, completed, revenue_this_month, outstanding, recent_appointments (ten, by date). Null where no table is tracked for it. Errors: 22004 null clinic';

CREATE FUNCTION clinicache.client_dashboard(client text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_client_dashboard' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.client_dashboard(text) IS
  'A patient''s appointments: day, upcoming_count, total_month_count, completed_count, next_appointment_date, recent_appointments (five). Null where no table is tracked for it. Errors: 22004 null client';

CREATE FUNCTION clinicache.doctor_dashboard(doctor text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_doctor_dashboard' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.doctor_dashboard(text) IS
  'A doctor''s appointments: day, today, waiting (of today''s), upcoming, completed. Null where no table is tracked for it. Errors: 22004 null doctor';
-- clinicache: statements that change tracked tables.
--
--   ddl_command_end -> ddl_done    -> ddl_steps (C): renamed, altered, attached, detached, created, inherited
--   sql_drop        -> ddl_dropped -> columns, tables, partitions
--
-- Both do nothing for tables that are not tracked, and for owners who are not trusted with tags.  They run as the extension's
-- owner, because whoever may change a table need not be allowed anything here; they run nothing that belongs to the table's owner.
-- What is refused is refused on purpose; any other error becomes a WARNING, and everybody drops everything.

CREATE FUNCTION clinicache.ddl_steps(command pg_ddl_command)
RETURNS TABLE (kind text, object oid, attnum int, other oid, old_name text, new_name text)
AS 'MODULE_PATHNAME', 'clinicache_ddl_steps' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 2;
COMMENT ON FUNCTION clinicache.ddl_steps(pg_ddl_command) IS
  'Part of the event trigger clinicache_ddl: what of a statement may concern a tracked table';

CREATE FUNCTION clinicache.dropped_parents(relation oid) RETURNS oid[]
AS 'MODULE_PATHNAME', 'clinicache_dropped_parents' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.dropped_parents(oid) IS
  'Part of the event trigger clinicache_drop: what a table was a partition or an inheritance child of until this transaction';

CREATE FUNCTION clinicache.dropped_config(relation oid) RETURNS jsonb
AS 'MODULE_PATHNAME', 'clinicache_dropped_config' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.dropped_config(oid) IS
  'Part of the event trigger clinicache_drop: the configuration of a table that this transaction dropped; null: it was not tracked';

-- ---------------------------------------------------------------------------------------------------------------------
-- Which tables
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._row_config(rel regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache.trigger_config(t.id) FROM clinicache._own_triggers(rel) AS t WHERE t.fires_on = 'row' ORDER BY t.cloned, t.id LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._row_config(regclass) IS 'Internal: the configuration in a table''s row trigger; null: there is none';

CREATE FUNCTION clinicache._is_followed(rel regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- an owner who may not track decides no tags, by whatever statement
  SELECT EXISTS (SELECT FROM clinicache._own_triggers(rel))
         AND (SELECT has_function_privilege(c.relowner, 'clinicache.track(regclass, text, jsonb, jsonb)', 'EXECUTE')
                     OR has_function_privilege(c.relowner, 'clinicache.track(regclass, jsonb)', 'EXECUTE')
              FROM pg_class AS c WHERE c.oid = rel)
$$;
COMMENT ON FUNCTION clinicache._is_followed(regclass) IS 'Internal: has a table our triggers, and an owner who may track?';

CREATE FUNCTION clinicache._lineage(rel regclass) RETURNS TABLE (relation regclass, level int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE up AS (
    SELECT rel::oid AS id, 0 AS level
    UNION
    SELECT i.inhparent, u.level + 1 FROM up AS u JOIN pg_inherits AS i ON i.inhrelid = u.id)
  SELECT u.id::regclass, max(u.level) FROM up AS u GROUP BY u.id ORDER BY 2
$$;
COMMENT ON FUNCTION clinicache._lineage(regclass) IS 'Internal: a table and what it is a partition or an inheritance child of';

CREATE FUNCTION clinicache._is_empty(rel regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target regclass;
  filled boolean;
BEGIN
  -- foreign tables are not read: that would be as somebody else
  FOR target IN SELECT c.oid FROM pg_class AS c
                WHERE c.relkind = 'r' AND (c.oid = rel OR c.oid IN (SELECT d.child FROM clinicache._descendants(rel) AS d)) LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %s)', clinicache._table_name(target)) INTO filled;
    IF filled THEN
      RETURN false;
    END IF;
  END LOOP;
  RETURN (SELECT c.relkind IN ('r', 'p') FROM pg_class AS c WHERE c.oid = rel);
END
$$;
COMMENT ON FUNCTION clinicache._is_empty(regclass) IS 'Internal: has a table no rows?';

-- ---------------------------------------------------------------------------------------------------------------------
-- Columns in a configuration
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._names_in_tag(tag jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache.template_columns(tag ->> 'tag') || clinicache._texts(tag -> 'time') || clinicache._texts(tag -> 'columns')
$$;
COMMENT ON FUNCTION clinicache._names_in_tag(jsonb) IS 'Internal: what a tag template names, logical or real';

CREATE FUNCTION clinicache._names_in_counter(counter jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_remove(ARRAY(SELECT b.value FROM jsonb_each_text(counter -> 'by') AS b)
                      || ARRAY[counter ->> 'day', counter ->> 'class', counter ->> 'sum'], NULL)
$$;
COMMENT ON FUNCTION clinicache._names_in_counter(jsonb) IS 'Internal: what a counter names, logical or real';

CREATE FUNCTION clinicache._names_in_config(config jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT n.name), '{}')
  FROM (SELECT unnest(clinicache._names_in_tag(t)) FROM jsonb_array_elements(config -> 'tags') AS t
        UNION ALL
        SELECT unnest(clinicache._names_in_counter(c)) FROM jsonb_array_elements(coalesce(config -> 'counters', '[]')) AS c
        UNION ALL
        VALUES (config ->> 'tenant'),
               (CASE jsonb_typeof(config -> 'deleted') WHEN 'object' THEN config #>> '{deleted,column}' ELSE config ->> 'deleted' END)) AS n(name)
  WHERE n.name IS NOT NULL
$$;
COMMENT ON FUNCTION clinicache._names_in_config(jsonb) IS 'Internal: what a configuration names, logical or real, but for "ignore" and "zone"';

CREATE FUNCTION clinicache._stands_for(config jsonb, names text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT r.name), '{}')
  FROM unnest(names) AS n(name)
  CROSS JOIN LATERAL unnest(CASE jsonb_typeof(config -> 'columns' -> n.name)
                            WHEN 'array' THEN clinicache._texts(config -> 'columns' -> n.name)
                            WHEN 'string' THEN ARRAY[config -> 'columns' ->> n.name]
                            WHEN 'object' THEN '{}'
                            ELSE ARRAY[n.name] END) AS r(name)
$$;
COMMENT ON FUNCTION clinicache._stands_for(jsonb, text[]) IS 'Internal: the real columns behind a configuration''s names';

CREATE FUNCTION clinicache._renamed(config jsonb, old_name text, new_name text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns jsonb;
BEGIN
  SELECT coalesce(jsonb_object_agg(c.key, CASE
           WHEN c.value = to_jsonb(old_name) THEN to_jsonb(new_name)
           WHEN jsonb_typeof(c.value) = 'array' THEN to_jsonb(array_replace(clinicache._texts(c.value), old_name, new_name))
           ELSE c.value END), '{}')
    INTO columns FROM jsonb_each(config -> 'columns') AS c;
  -- named directly: the name stays, as a logical one, because tags are made of it
  IF NOT columns ? old_name AND old_name = ANY (clinicache._names_in_config(config)) THEN
    columns := columns || jsonb_build_object(old_name, jsonb_build_array(new_name));
  END IF;
  config := config || jsonb_build_object('columns', columns);
  IF config ? 'ignore' THEN
    config := config || jsonb_build_object('ignore', array_replace(clinicache._texts(config -> 'ignore'), old_name, new_name));
  END IF;
  IF config -> 'zone' ? old_name THEN
    config := jsonb_set(config #- ARRAY['zone', old_name], ARRAY['zone', new_name], config -> 'zone' -> old_name);
  END IF;
  RETURN config;
END
$$;
COMMENT ON FUNCTION clinicache._renamed(jsonb, text, text) IS
  'Internal: a configuration after a column''s renaming; its tags keep their text';

CREATE FUNCTION clinicache._dropped(config jsonb, col text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT config
         || CASE WHEN config ? 'ignore'
                 THEN jsonb_build_object('ignore', array_remove(clinicache._texts(config -> 'ignore'), col)) ELSE '{}' END
         || CASE WHEN config ? 'zone' THEN jsonb_build_object('zone', (config -> 'zone') - col) ELSE '{}' END
         || jsonb_build_object('columns', (SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}')
                                           FROM jsonb_each(config -> 'columns') AS c
                                           WHERE NOT (c.value ? col AND jsonb_typeof(c.value) IN ('array', 'string'))))
$$;
COMMENT ON FUNCTION clinicache._dropped(jsonb, text) IS
  'Internal: a configuration after a column that it does not use was dropped';

CREATE FUNCTION clinicache._without_column(config jsonb, col text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clinicache._dropped(c.kept, col) - '{v,profiles,left_out}'::text[]
         || jsonb_build_object(
              'tags', (SELECT coalesce(jsonb_agg(t.tag ORDER BY t.n), '[]')
                       FROM jsonb_array_elements(config -> 'tags') WITH ORDINALITY AS t(tag, n)
                       WHERE NOT col = ANY (clinicache._stands_for(config, clinicache._names_in_tag(t.tag)))),
              'counters', (SELECT coalesce(jsonb_agg(k.counter ORDER BY k.n), '[]')
                           FROM jsonb_array_elements(coalesce(config -> 'counters', '[]')) WITH ORDINALITY AS k(counter, n)
                           WHERE NOT col = ANY (clinicache._stands_for(config, clinicache._names_in_counter(k.counter)))))
  FROM (SELECT config
               - CASE WHEN col = ANY (clinicache._stands_for(config, ARRAY[config ->> 'tenant'])) THEN 'tenant' ELSE '' END
               - CASE WHEN col = ANY (clinicache._stands_for(config, ARRAY[coalesce(config #>> '{deleted,column}', config ->> 'deleted')]))
                      THEN 'deleted' ELSE '' END) AS c(kept)
$$;
COMMENT ON FUNCTION clinicache._without_column(jsonb, text) IS
  'Internal: a configuration for track without all that uses a column';

CREATE FUNCTION clinicache._how_without(rel regclass, config jsonb, col text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  less  jsonb := clinicache._without_column(config, col);
  root  regclass := (SELECT l.relation FROM clinicache._lineage(rel) AS l, clinicache._own_triggers(l.relation) AS t
                     WHERE t.fires_on = 'row' AND NOT t.cloned ORDER BY l.level DESC LIMIT 1);
  table_name text := clinicache._table_name(coalesce(root, rel));
BEGIN
  RETURN CASE WHEN less -> 'tags' = '[]' THEN ''
              ELSE format('Track the table without it first: SELECT clinicache.track(%L, %L); ', table_name, less) END
         || format(CASE WHEN less -> 'tags' = '[]' THEN 'S' ELSE 'or s' END || 'top tracking it: SELECT clinicache.untrack(%L).', table_name);
END
$$;
COMMENT ON FUNCTION clinicache._how_without(regclass, jsonb, text) IS
  'Internal: a hint with the statement that lets a column go';

-- ---------------------------------------------------------------------------------------------------------------------
-- What is done
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._rewrite_triggers(rel regclass, old_name text, new_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own    record;
  config jsonb;
  made   jsonb;
BEGIN
  -- statement triggers of partitions hold the configuration too; counters count on, their columns are the same
  FOR own IN SELECT d.target, t.* FROM (SELECT rel AS target UNION ALL SELECT c.child FROM clinicache._descendants(rel) AS c) AS d
             CROSS JOIN LATERAL clinicache._own_triggers(d.target) AS t WHERE NOT t.cloned LOOP
    config := clinicache.trigger_config(own.id);
    made := CASE WHEN new_name IS NULL THEN clinicache._dropped(config, old_name)
                 ELSE clinicache._renamed(config, old_name, new_name) END;
    IF made <> config THEN
      PERFORM clinicache._replace_trigger(own.target, own.name, own.fires_on = 'truncate', own.state, made);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._rewrite_triggers(regclass, text, text) IS
  'Internal: puts a column''s new name (null: none) into the triggers of a table and those below; nothing is counted anew';

CREATE FUNCTION clinicache._rename_deleted(rel regclass, old_value text, new_value text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own    record;
  config jsonb;
BEGIN
  FOR own IN SELECT t.* FROM clinicache._own_triggers(rel) AS t WHERE NOT t.cloned LOOP
    config := clinicache.trigger_config(own.id);
    IF config #> '{deleted,values}' ? old_value THEN
      PERFORM clinicache._replace_trigger(rel, own.name, own.fires_on = 'truncate', own.state,
                jsonb_set(config, '{deleted,values}',
                          to_jsonb(array_replace(clinicache._texts(config #> '{deleted,values}'), old_value, new_value))));
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._rename_deleted(regclass, text, text) IS
  'Internal: an enum''s value that means deleted has another name';

CREATE FUNCTION clinicache._emit_templates(config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  template text;
BEGIN
  FOR template IN SELECT DISTINCT t ->> 'tag' FROM jsonb_array_elements(config -> 'tags') AS t LOOP
    IF right(template, 1) = '*' OR cardinality(clinicache.template_columns(template)) > 0 THEN
      PERFORM clinicache.emit_prefix(clinicache.template_prefix(template), NULL, NULL);
    ELSE
      PERFORM clinicache.invalidate(ARRAY[template]);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._emit_templates(jsonb) IS
  'Internal: emits the prefix of every template of a configuration, as TRUNCATE does';

CREATE FUNCTION clinicache._distrust_table(rel regclass, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  counter text;
BEGIN
  INSERT INTO clinicache.counter_invalid (source, at, reason)
  SELECT s.id, clock_timestamp(), _distrust_table.reason FROM clinicache.counter_source AS s
  WHERE s.relation = rel AND NOT EXISTS (SELECT FROM clinicache.counter_invalid AS i WHERE i.source = s.id);
  SELECT min(s.counter) INTO counter FROM clinicache.counter_source AS s WHERE s.relation = rel;
  IF counter IS NOT NULL THEN
    RAISE NOTICE 'counters of table "%" are read from the table itself from now on', rel
      USING HINT = format('To make them quick again: SELECT clinicache.rebuild(%L).', counter);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._distrust_table(regclass, text) IS 'Internal: has a table''s counters read from it until they are rebuilt';

CREATE FUNCTION clinicache._contents_changed(rel regclass, recount boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  root regclass;
  told jsonb;
BEGIN
  FOR told IN SELECT DISTINCT clinicache._row_config(l.relation) FROM clinicache._lineage(rel) AS l WHERE clinicache._is_followed(l.relation) LOOP
    IF told IS NOT NULL THEN
      PERFORM clinicache._emit_templates(told);
    END IF;
  END LOOP;
  SELECT l.relation INTO root FROM clinicache._lineage(rel) AS l
   WHERE EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = l.relation) ORDER BY l.level LIMIT 1;
  IF root IS NULL THEN
    RETURN;
  ELSIF recount AND clinicache._is_followed(root) AND (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0) FROM pg_class AS c
                     WHERE c.oid = root OR c.oid IN (SELECT d.child FROM clinicache._descendants(root) AS d)) < 1e7 THEN
    PERFORM clinicache.count_rows(root, clinicache._row_config(root));
  ELSE
    PERFORM clinicache._distrust_table(root, 'changed by a statement');
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._contents_changed(regclass, boolean) IS
  'Internal: a table''s rows changed with no row event: emits prefixes, counts anew (tables of less than ten million rows) or has counters read from the table';

-- ---------------------------------------------------------------------------------------------------------------------
-- Steps: each returns null, or why the statement is refused: {"code", "message", "hint"}
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._column_retyped(rel regclass, col text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config jsonb := clinicache._row_config(rel);
  why    text;
BEGIN
  BEGIN
    PERFORM clinicache.check_config(rel, config);
  EXCEPTION WHEN datatype_mismatch OR invalid_parameter_value THEN
    why := SQLERRM;
  END;
  IF why IS NULL AND jsonb_typeof(config -> 'deleted') = 'string'
     AND col = ANY (clinicache._stands_for(config, ARRAY[config ->> 'deleted']))
     AND clinicache._column_type(rel, col) NOT IN ('boolean'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
    why := format('column "%s" tells which rows are deleted', col);
  ELSIF why IS NULL AND NOT clinicache._is_clock(clinicache._column_type(rel, col))
        AND EXISTS (SELECT FROM clinicache._time_pairs(config -> 'tags') AS p WHERE col = ANY (clinicache._stands_for(config, ARRAY[p.clock]))) THEN
    why := format('column "%s" is the time of day of a window', col);
  END IF;
  RETURN CASE WHEN why IS NOT NULL THEN
    jsonb_build_object('code', 'datatype_mismatch',
                       'message', format('column "%s" of %s cannot be of type %s, because clinicache uses it: %s',
                                         col, rel, clinicache._column_type(rel, col), why),
                       'hint', clinicache._how_without(rel, config, col)) END;
END
$$;
COMMENT ON FUNCTION clinicache._column_retyped(regclass, text) IS
  'Internal: why a column in use can not have the type that it has got; null: it can';

CREATE FUNCTION clinicache._column_dropped(rel regclass, col text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config  jsonb := clinicache._row_config(rel);
  refusal jsonb;
BEGIN
  IF NOT col = ANY (clinicache._stands_for(config, clinicache._names_in_config(config))) THEN
    PERFORM clinicache._rewrite_triggers(rel, col, NULL);
    RETURN NULL;
  ELSIF col = ANY (clinicache._column_names(rel)) THEN
    -- DROP COLUMN a, ADD COLUMN a: that is how Prisma changes a type that has no cast
    refusal := clinicache._column_retyped(rel, col);
    IF refusal IS NULL THEN
      PERFORM clinicache._contents_changed(rel, true);
    END IF;
    RETURN refusal;
  END IF;
  RETURN jsonb_build_object('code', 'dependent_objects_still_exist',
                            'message', format('column "%s" of %s cannot be dropped, because clinicache makes tags or counters of it', col, rel),
                            'hint', clinicache._how_without(rel, config, col));
END
$$;
COMMENT ON FUNCTION clinicache._column_dropped(regclass, text) IS
  'Internal: why a column can not be dropped; null: it can, and the triggers do not name it any more';

CREATE FUNCTION clinicache._child_came(parent regclass, child regclass, partition boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config jsonb := clinicache._row_config(parent);
  fires  "char" := (SELECT t.state FROM clinicache._own_triggers(parent) AS t WHERE t.fires_on = 'row' LIMIT 1);
  target regclass;
  own    regclass;
BEGIN
  SELECT d.target INTO own
    FROM (SELECT child AS target UNION ALL SELECT c.child FROM clinicache._descendants(_child_came.child) AS c) AS d
   WHERE EXISTS (SELECT FROM clinicache._own_triggers(d.target) AS t WHERE t.fires_on = 'row' AND NOT t.cloned)
     -- a child of two parents
     AND (partition OR clinicache._row_config(d.target) <> config) LIMIT 1;
  IF own IS NOT NULL THEN
    RETURN jsonb_build_object('code', 'object_not_in_prerequisite_state',
                              'message', format('%s is tracked itself and cannot be added to %s, which is tracked', own, parent),
                              'hint', format('Untrack it first: SELECT clinicache.untrack(%L).', clinicache._table_name(own)));
  END IF;
  FOR target IN SELECT c.oid FROM pg_class AS c WHERE c.oid = _child_came.child AND c.relkind IN ('r', 'p')
                UNION ALL SELECT d.child FROM clinicache._descendants(_child_came.child) AS d LOOP
    IF NOT partition THEN
      PERFORM clinicache._replace_trigger(target, 'clinicache', false, fires, config);
    END IF;
    PERFORM clinicache._replace_trigger(target, 'clinicache_truncate', true, fires, config);
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._child_came(regclass, regclass, boolean) IS
  'Internal: gives a new partition or inheritance child of a tracked table its triggers; one that is tracked itself is refused';

CREATE FUNCTION clinicache._child_went(parent regclass, child regclass, partition boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- a detached partition has lost its row trigger, an inheritance child holds the parent's configuration
  IF NOT EXISTS (SELECT FROM clinicache._own_triggers(child) AS t WHERE t.fires_on = 'row')
     OR (NOT partition AND clinicache._row_config(child) = clinicache._row_config(parent)) THEN
    PERFORM clinicache._drop_triggers(child);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._child_went(regclass, regclass, boolean) IS
  'Internal: removes what a former partition or inheritance child has of its parent''s triggers';

-- ---------------------------------------------------------------------------------------------------------------------
-- Event triggers
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._ddl_step(kind text, rel regclass, attnum int, other regclass, old_name text, new_name text,
                                     OUT refusal jsonb, OUT changed boolean, OUT recount boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config jsonb := clinicache._row_config(rel);
  col    text;
BEGIN
  changed := false;
  recount := true;
  CASE kind
    WHEN 'rename column' THEN
      PERFORM clinicache._rewrite_triggers(rel, old_name, new_name);
    WHEN 'alter type' THEN
      col := (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = rel AND a.attnum = _ddl_step.attnum);
      IF col = ANY (clinicache._stands_for(config, clinicache._names_in_config(config))) THEN
        refusal := clinicache._column_retyped(rel, col);
        changed := true;
      END IF;
    WHEN 'create' THEN
      refusal := clinicache._child_came(rel, other, (SELECT c.relispartition FROM pg_class AS c WHERE c.oid = other));
    WHEN 'attach', 'inherit' THEN
      refusal := clinicache._child_came(rel, other, kind = 'attach');
      changed := refusal IS NULL AND NOT clinicache._is_empty(other);
    WHEN 'detach', 'detach concurrently', 'no inherit' THEN
      changed := NOT clinicache._is_empty(other);
      recount := kind <> 'detach concurrently';
      PERFORM clinicache._child_went(rel, other, kind <> 'no inherit');
    WHEN 'rename value' THEN
      col := (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = rel AND a.attnum = _ddl_step.attnum);
      changed := col = ANY (clinicache._stands_for(config, clinicache._names_in_config(config)));
      IF col = ANY (clinicache._stands_for(config, ARRAY[config #>> '{deleted,column}'])) THEN
        PERFORM clinicache._rename_deleted(rel, old_name, new_name);
      END IF;
  END CASE;
  IF changed AND refusal IS NULL THEN
    PERFORM clinicache._emit_templates(config);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._ddl_step(text, regclass, int, regclass, text, text) IS
  'Internal: one step of a statement on a tracked table: why it is refused, whether rows may have changed, whether to count them anew';

CREATE FUNCTION clinicache._columns_of_type(type oid) RETURNS TABLE (relation regclass, attnum int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE types AS (
    SELECT type AS id
    UNION
    -- domains over it, arrays of it
    SELECT d.objid FROM types AS t JOIN pg_depend AS d
      ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.id AND d.classid = 'pg_type'::regclass)
  SELECT d.objid::regclass, d.objsubid
  FROM types AS t JOIN pg_depend AS d
    ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.id AND d.classid = 'pg_class'::regclass AND d.objsubid > 0
  JOIN pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
$$;
COMMENT ON FUNCTION clinicache._columns_of_type(oid) IS 'Internal: the table columns of a type, of domains over it and arrays of it';

CREATE FUNCTION clinicache._ddl_failed(rel regclass, message text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM clinicache.emit_prefix('', NULL, NULL), clinicache._distrust_table(l.relation, message) FROM clinicache._lineage(rel) AS l;
  RAISE WARNING 'clinicache could not follow a change of %: %', rel, message
    USING HINT = 'Subscribers are told to drop everything; track the table again with clinicache.track().';
END
$$;
COMMENT ON FUNCTION clinicache._ddl_failed(regclass, text) IS
  'Internal: an error of our own is not the statement''s: a WARNING, and everybody drops everything';

CREATE FUNCTION clinicache._changed_safely(rel regclass, recount boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failure text;
BEGIN
  BEGIN
    PERFORM clinicache._contents_changed(rel, recount);
  EXCEPTION WHEN OTHERS THEN
    failure := SQLERRM;
  END;
  IF failure IS NOT NULL THEN
    PERFORM clinicache._ddl_failed(rel, failure);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._changed_safely(regclass, boolean) IS 'Internal: _contents_changed, of which no error remains but a WARNING';

CREATE FUNCTION clinicache._follow_commands() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  step    record;
  done    record;
  target  record;
  failure text;
  changes jsonb := '{}';
BEGIN
  FOR step IN
    WITH s AS MATERIALIZED (
      SELECT s.* FROM pg_event_trigger_ddl_commands() AS c CROSS JOIN LATERAL clinicache.ddl_steps(c.command) AS s WHERE NOT c.in_extension)
    SELECT s.kind, s.object AS rel, s.attnum, s.other, s.old_name, s.new_name FROM s WHERE s.kind NOT IN ('create', 'rename value')
    UNION ALL
    SELECT s.kind, i.inhparent, 0, s.object, NULL, NULL FROM s JOIN pg_inherits AS i ON s.kind = 'create' AND i.inhrelid = s.object
    UNION ALL
    SELECT s.kind, k.relation, k.attnum, 0, s.old_name, s.new_name
    FROM s CROSS JOIN LATERAL clinicache._columns_of_type(s.object) AS k WHERE s.kind = 'rename value'
  LOOP
    -- the triggers may be further down than the column that is renamed
    CONTINUE WHEN NOT CASE step.kind
      WHEN 'rename column' THEN clinicache._is_followed(step.rel)
                                OR EXISTS (SELECT FROM clinicache._descendants(step.rel) AS d WHERE clinicache._is_followed(d.child))
      ELSE clinicache._is_followed(step.rel) AND clinicache._row_config(step.rel) IS NOT NULL END;
    BEGIN
      done := clinicache._ddl_step(step.kind, step.rel, step.attnum, step.other, step.old_name, step.new_name);
      failure := NULL;
    EXCEPTION WHEN OTHERS THEN
      failure := SQLERRM;
    END;
    IF failure IS NOT NULL THEN
      PERFORM clinicache._ddl_failed(step.rel, failure);
    ELSIF done.refusal IS NOT NULL THEN
      RETURN done.refusal;
    ELSIF done.changed THEN
      -- once for a tree, however many of its tables a statement names
      changes := changes || coalesce((
        SELECT jsonb_object_agg(l.relation::oid, done.recount AND coalesce((changes ->> l.relation::oid::text)::boolean, true))
        FROM clinicache._lineage(step.rel) AS l
        WHERE EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = l.relation)),
        jsonb_build_object(step.rel, done.recount));
    END IF;
  END LOOP;
  FOR target IN SELECT c.key::oid AS rel, c.value::boolean AS recount FROM jsonb_each_text(changes) AS c LOOP
    PERFORM clinicache._changed_safely(target.rel, target.recount);
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._follow_commands() IS
  'Internal: what the event trigger clinicache_ddl does; null, or why the statement is refused';

CREATE FUNCTION clinicache._follow_drops() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone    record;
  refusal jsonb;
  parent  oid;
  parents oid[] := '{}';
BEGIN
  FOR gone IN SELECT d.objid, d.objsubid, d.address_names FROM pg_event_trigger_dropped_objects() AS d
              WHERE d.object_type IN ('table', 'table column') AND d.classid = 'pg_class'::regclass LOOP
    IF gone.objsubid = 0 THEN
      parents := parents || clinicache.dropped_parents(gone.objid);
      BEGIN
        PERFORM clinicache._emit_templates(c) FROM clinicache.dropped_config(gone.objid) AS c WHERE c IS NOT NULL;
      EXCEPTION WHEN OTHERS THEN
        PERFORM clinicache.emit_prefix('', NULL, NULL);
      END;
      IF EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = gone.objid) THEN
        DELETE FROM clinicache.counter_source AS s WHERE s.relation = gone.objid;
      END IF;
    ELSIF coalesce(clinicache._is_followed(gone.objid), false) THEN
      BEGIN
        refusal := clinicache._column_dropped(gone.objid, gone.address_names[cardinality(gone.address_names)]);
      EXCEPTION WHEN OTHERS THEN
        PERFORM clinicache._ddl_failed(gone.objid, SQLERRM);
      END;
      IF refusal IS NOT NULL THEN
        RETURN refusal;
      END IF;
    END IF;
  END LOOP;
  FOR parent IN SELECT DISTINCT c.oid FROM unnest(parents) AS p JOIN pg_class AS c ON c.oid = p LOOP
    IF clinicache._is_followed(parent) THEN
      PERFORM clinicache._changed_safely(parent, true);
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION clinicache._follow_drops() IS
  'Internal: what the event trigger clinicache_drop does; null, or why the statement is refused';

CREATE FUNCTION clinicache._refuse(refusal jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION '%', refusal ->> 'message' USING ERRCODE = refusal ->> 'code', HINT = refusal ->> 'hint';
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._refuse(jsonb) IS 'Internal: fails a statement; null: does nothing';

CREATE FUNCTION clinicache.ddl_done() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  refusal jsonb;
BEGIN
  BEGIN
    refusal := clinicache._follow_commands();
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'clinicache could not look at a statement: %', SQLERRM;
  END;
  PERFORM clinicache._refuse(refusal);
END
$$;
COMMENT ON FUNCTION clinicache.ddl_done() IS
  'Event trigger function: tracking follows renamed columns, new and former partitions and children, changed types and enum values. Errors: 42804 a type that a column in use can not have, 55000 a partition or child that is tracked itself';

CREATE FUNCTION clinicache.ddl_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  refusal jsonb;
BEGIN
  BEGIN
    refusal := clinicache._follow_drops();
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'clinicache could not look at a statement: %', SQLERRM;
  END;
  PERFORM clinicache._refuse(refusal);
END
$$;
COMMENT ON FUNCTION clinicache.ddl_dropped() IS
  'Event trigger function: a column in use is not dropped; the prefixes of a dropped table''s tags are emitted, its counters are no more; partitions are told of. Errors: 2BP01 column in use';

CREATE EVENT TRIGGER clinicache_ddl ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER TYPE', 'CREATE TABLE', 'CREATE SCHEMA')
  EXECUTE FUNCTION clinicache.ddl_done();
CREATE EVENT TRIGGER clinicache_drop ON sql_drop
  EXECUTE FUNCTION clinicache.ddl_dropped();
COMMENT ON EVENT TRIGGER clinicache_ddl IS
  'Tracking follows ALTER TABLE, ALTER TYPE ... RENAME VALUE and new partitions and children';
COMMENT ON EVENT TRIGGER clinicache_drop IS
  'Refuses to drop columns that tags or counters are made of; tells of dropped tables and partitions';
-- clinicache: who may do what.  Nothing is granted to PUBLIC (90-finish.sql).

CREATE FUNCTION clinicache._check_owner(called text, what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner oid := (SELECT e.extowner FROM pg_extension AS e WHERE e.extname = 'clinicache');
BEGIN
  IF NOT pg_has_role(current_user, owner, 'USAGE') THEN
    RAISE EXCEPTION 'permission denied for clinicache.%', called
      USING ERRCODE = 'insufficient_privilege', HINT = format('Only superusers and the owner of the extension %s.', what);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_owner(text, text) IS
  'Internal: the caller must own the extension (42501)';

CREATE FUNCTION clinicache._check_grant(called text, grantee name) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM clinicache._check_owner(called, 'grant access to it');
  IF grantee IS NULL THEN
    RAISE EXCEPTION 'the role given to clinicache.% is null', called USING ERRCODE = 'null_value_not_allowed';
  ELSIF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = grantee) THEN
    RAISE EXCEPTION 'role "%" does not exist', grantee
      USING ERRCODE = 'undefined_object', HINT = 'Create it first; access cannot be granted to PUBLIC.';
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._check_grant(text, name) IS
  'Internal: the caller must own the extension (42501), the role must exist (42704)';

CREATE FUNCTION clinicache._subscriber_functions() RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(p.oid::regprocedure ORDER BY p.oid)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname = 'clinicache' AND p.proname IN ('position', 'changes', 'reached', 'tag')
$$;
COMMENT ON FUNCTION clinicache._subscriber_functions() IS 'Internal: functions that a subscriber calls';

CREATE FUNCTION clinicache._tracker_functions() RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- internal functions run with the caller's rights, so they must be callable and give nothing away
  SELECT array_agg(p.oid::regprocedure ORDER BY p.oid)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname = 'clinicache'
    AND (p.proname IN ('track', 'untrack', 'untrack_all', 'preview', 'preview_rows', 'pending_tags', 'tag', 'check_config',
                       'trigger_config', 'template_prefix', 'template_columns', 'invalidate', 'invalidate_prefix', 'emit_prefix',
                       'count_rows', 'forget_counters', 'rebuild', 'typescript')
         OR (left(p.proname, 1) = '_' AND left(p.proname, 8) <> '_health_'
             AND p.proname NOT IN ('_check_owner', '_check_grant', '_subscriber_functions',
                                                            '_tracker_functions', '_reader_functions', '_other_functions',
                                                            '_grant_functions', '_revoke_functions',
                                                            '_cron_schedule', '_cron_jobs', '_no_cron')))
$$;
COMMENT ON FUNCTION clinicache._tracker_functions() IS 'Internal: functions that a tracker calls, directly or through others';

CREATE FUNCTION clinicache._reader_functions() RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(p.oid::regprocedure ORDER BY p.oid)
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname = 'clinicache'
    AND p.proname IN ('count', 'total', 'series', 'clinic_dashboard', 'client_dashboard', 'doctor_dashboard')
$$;
COMMENT ON FUNCTION clinicache._reader_functions() IS 'Internal: functions that a reader of dashboards calls';

CREATE FUNCTION clinicache._other_functions(grantee name, less regprocedure[]) RETURNS regprocedure[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- each kind of grant is told by a function that no other has
  SELECT coalesce(array_agg(DISTINCT f.function), '{}')
  FROM (VALUES ('clinicache.changes(text, text[], int)'::regprocedure, clinicache._subscriber_functions()),
               ('clinicache.untrack(regclass)'::regprocedure, clinicache._tracker_functions()),
               ('clinicache.clinic_dashboard(text)'::regprocedure, clinicache._reader_functions())) AS k(sign, functions)
  JOIN pg_proc AS p ON p.oid = k.sign
  CROSS JOIN LATERAL aclexplode(p.proacl) AS a
  JOIN pg_roles AS r ON r.oid = a.grantee AND r.rolname = _other_functions.grantee
  CROSS JOIN LATERAL unnest(k.functions) AS f(function)
  WHERE k.functions <> less
$$;
COMMENT ON FUNCTION clinicache._other_functions(name, regprocedure[]) IS
  'Internal: functions that a role has by its grants other than the one that gives these';

CREATE FUNCTION clinicache._grant_functions(functions regprocedure[], grantee name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  function regprocedure;
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA clinicache TO %I', grantee);
  FOREACH function IN ARRAY functions LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', function, grantee);
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._grant_functions(regprocedure[], name) IS 'Internal: grants the schema and functions';

CREATE FUNCTION clinicache._revoke_functions(functions regprocedure[], grantee name, kept regprocedure[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  function regprocedure;
BEGIN
  FOREACH function IN ARRAY functions LOOP
    IF function = ANY (kept) THEN
      CONTINUE;
    END IF;
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I', function, grantee);
  END LOOP;
  IF cardinality(kept) = 0 THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA clinicache FROM %I', grantee);
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._revoke_functions(regprocedure[], name, regprocedure[]) IS
  'Internal: revokes functions, less those kept for the role''s other grant, and the schema when none are kept';

CREATE FUNCTION clinicache.grant_subscriber(role name, tenants text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('grant_subscriber', role);
  IF array_position(tenants, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'a tenant given to clinicache.grant_subscriber is null'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'Records of no tenant go to all subscribers anyhow.';
  END IF;
  DELETE FROM clinicache.subscriber AS s WHERE s.role = grant_subscriber.role;
  INSERT INTO clinicache.subscriber VALUES (grant_subscriber.role, grant_subscriber.tenants);
  PERFORM clinicache._grant_functions(clinicache._subscriber_functions(), role);
END
$$;
COMMENT ON FUNCTION clinicache.grant_subscriber(name, text[]) IS
  'Lets a role call position, changes, reached and tag, and see the records of these tenants and of no tenant; null: of all. Replaces an earlier grant. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.revoke_subscriber(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('revoke_subscriber', role);
  DELETE FROM clinicache.subscriber AS s WHERE s.role = revoke_subscriber.role;
  PERFORM clinicache._revoke_functions(clinicache._subscriber_functions(), role,
                                       clinicache._other_functions(role, clinicache._subscriber_functions()));
END
$$;
COMMENT ON FUNCTION clinicache.revoke_subscriber(name) IS
  'Undoes grant_subscriber. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.grant_tracker(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('grant_tracker', role);
  PERFORM clinicache._grant_functions(clinicache._tracker_functions(), role);
  EXECUTE format('GRANT SELECT ON clinicache.profile, clinicache.entity, clinicache.alias, clinicache.class, '
                 'clinicache.tracked_tables, clinicache.tag_templates TO %I', role);
END
$$;
COMMENT ON FUNCTION clinicache.grant_tracker(name) IS
  'Lets a role that owns tables track them, preview and invalidate by hand. Such a role is trusted with tags. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.revoke_tracker(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('revoke_tracker', role);
  PERFORM clinicache._revoke_functions(clinicache._tracker_functions(), role,
                                       clinicache._other_functions(role, clinicache._tracker_functions()));
  EXECUTE format('REVOKE SELECT ON clinicache.profile, clinicache.entity, clinicache.alias, clinicache.class, '
                 'clinicache.tracked_tables, clinicache.tag_templates FROM %I', role);
END
$$;
COMMENT ON FUNCTION clinicache.revoke_tracker(name) IS
  'Undoes grant_tracker; writes to tables that the role owns and tracks then fail or reset (clinicache.on_error), so untrack them first. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.grant_reader(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('grant_reader', role);
  PERFORM clinicache._grant_functions(clinicache._reader_functions(), role);
END
$$;
COMMENT ON FUNCTION clinicache.grant_reader(name) IS
  'Lets a role call count, total, series and the dashboards, of all clinics, without any right on the tables behind them: dashboards show the newest appointments, with patients'' names, as the tables'' owner sees them. Errors: 42501 not the extension''s owner, 42704 no such role';

CREATE FUNCTION clinicache.revoke_reader(role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM clinicache._check_grant('revoke_reader', role);
  PERFORM clinicache._revoke_functions(clinicache._reader_functions(), role,
                                       clinicache._other_functions(role, clinicache._reader_functions()));
END
$$;
COMMENT ON FUNCTION clinicache.revoke_reader(name) IS
  'Undoes grant_reader. Errors: 42501 not the extension''s owner, 42704 no such role';
-- Prefixes by hand; tags by hand are clinicache.invalidate(), in C.

CREATE FUNCTION clinicache.invalidate_prefix(prefix text, tenant text DEFAULT NULL, reason text DEFAULT NULL)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM clinicache.emit_prefix(invalidate_prefix.prefix, invalidate_prefix.tenant, invalidate_prefix.reason);
  -- a typo here would drop nothing and look as if it had
  IF NOT EXISTS (
    SELECT FROM clinicache.tag_templates AS t
    WHERE starts_with(t.prefix, invalidate_prefix.prefix)
       OR starts_with(invalidate_prefix.prefix, t.prefix))
  THEN
    RAISE WARNING 'no template of a tracked table can produce a tag with prefix "%"', invalidate_prefix.prefix
      USING ERRCODE = '01000',
            HINT = 'The prefix was emitted all the same. clinicache.tag_templates lists what can be produced.';
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache.invalidate_prefix(text, text, text) IS
  'Emits a prefix by hand when this transaction commits: subscribers drop all tags that begin with it; the empty one means everything. tenant: whose, null for everybody; reason: goes into the record''s origin. Errors: 22004 for a null prefix, 22023 for one of more than 1,024 bytes. A WARNING if no tracked table''s template can produce it';
-- clinicache: upkeep.  Each step commits, so that none holds another's locks.

-- What is older than clinicache.retention is trimmed by maintain_empty(), in C.
CREATE FUNCTION clinicache.maintain_history() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  history regclass := 'clinicache.position_history';
BEGIN
  -- without replica identity, a published DELETE is an error; the table stays bounded by retention
  IF EXISTS (SELECT FROM pg_publication AS p
             WHERE p.pubdelete
               AND (p.puballtables
                    OR EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = history)
                    OR EXISTS (SELECT FROM pg_publication_namespace AS n
                               WHERE n.pnpubid = p.oid AND n.pnnspid = 'clinicache'::regnamespace))) THEN
    RETURN;
  END IF;
  BEGIN
    LOCK TABLE clinicache.position_history IN SHARE ROW EXCLUSIVE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN;                     -- another session is at upkeep
  END;
  DELETE FROM clinicache.position_history AS h
   WHERE h.at < now() - interval '2 minutes'
     AND h.id NOT IN (SELECT coalesce(max(n.id), 0) FROM clinicache.position_history AS n
                      UNION ALL
                      SELECT coalesce(max(n.id), 0) FROM clinicache.position_history AS n WHERE n.delivered)
     AND h.id NOT IN (SELECT DISTINCT ON (date_trunc('minute', n.at, 'UTC')) n.id
                      FROM clinicache.position_history AS n
                      WHERE n.at < now() - interval '2 minutes'
                      ORDER BY date_trunc('minute', n.at, 'UTC'), n.delivered DESC, n.id DESC);
END
$$;
COMMENT ON FUNCTION clinicache.maintain_history() IS
  'Part of maintain(): thins clinicache.position_history to one row a minute (delivered ones first) past two minutes; the newest row and the newest delivered row stay';

-- Clock edges: tags that change meaning though no row changes, src/edge.c.
CREATE FUNCTION clinicache.clock() RETURNS timestamptz
AS 'MODULE_PATHNAME', 'clinicache_clock' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION clinicache.clock() IS
  'What time it is for windows and clock edges: now, as long as no test has moved the clock';

CREATE FUNCTION clinicache.emit_edges(from_time timestamptz, to_time timestamptz) RETURNS bigint
AS 'MODULE_PATHNAME', 'clinicache_emit_edges' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.emit_edges(timestamptz, timestamptz) IS
  'Adds to this transaction''s tags those that changed meaning after one time, up to another, though no row changed: windows that a row entered or left, and what a new day changes. Returns how many. maintain_edges() calls it for time that has passed. Error 22023 if the times are infinite or in the wrong order';

CREATE FUNCTION clinicache.maintain_edges() RETURNS boolean
AS 'MODULE_PATHNAME', 'clinicache_maintain_edges' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clinicache.maintain_edges() IS
  'Part of maintain(): emits the clock edges since the last time, and those of transactions that ended late; false: another session is at it';

CREATE PROCEDURE clinicache.maintain()
LANGUAGE plpgsql
AS $$
BEGIN
  -- The first COMMIT refuses a caller's transaction block (2D000): upkeep would hold its locks until that ends.
  -- READ COMMITTED whatever the session's default, since each step must see what the others committed.
  COMMIT;
  IF pg_catalog.pg_is_in_recovery() THEN
    PERFORM clinicache.maintain_deliver();      -- says so, better than SET would
  END IF;
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_edges();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_deliver();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_fold();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_counters();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_empty();
  COMMIT;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
  PERFORM clinicache.maintain_history();
  COMMIT;
END
$$;
COMMENT ON PROCEDURE clinicache.maintain() IS
  'All upkeep, to be called about every 30 seconds where no worker runs: emits clock edges, delivers what is undelivered, sends the heartbeat, folds counters, empties old slots of the log, trims positions. May run in several sessions at once; not inside a transaction block (2D000)';

-- Also called by the install script.
CREATE FUNCTION clinicache.new_epoch() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  DELETE FROM clinicache.identity;
  -- digits 13 and 17 of a version 4 UUID are not random
  INSERT INTO clinicache.identity (epoch, secret)
  SELECT substr(e.digits, 1, 8) || substr(e.digits, 25, 8),
         substr(s.digits, 1, 12) || substr(s.digits, 25, 8) || substr(t.digits, 1, 12)
  FROM replace(gen_random_uuid()::text, '-', '') AS e(digits),
       replace(gen_random_uuid()::text, '-', '') AS s(digits),
       replace(gen_random_uuid()::text, '-', '') AS t(digits);
END;
COMMENT ON FUNCTION clinicache.new_epoch() IS
  'Starts another history: every position given out so far is answered by reset from now on. Needed only after a data directory was restored or copied file by file without a new timeline';
-- clinicache: upkeep by pg_cron, for servers without the worker.
--
--   schedule -> _cron_schedule (interval to pg_cron's notation) -> cron.schedule -> CALL clinicache.maintain()
--   track (42) -> _warn_no_upkeep -> _upkeep_missing
--
-- pg_cron is not required: what names its tables is PL/pgSQL, which looks for them only when it runs.  That schema cron is
-- pg_cron's, and not anybody's, follows from the extension being there: it creates the schema.

CREATE FUNCTION clinicache._cron_schedule(seconds int, version text, OUT schedule text, OUT period int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- fields of a cron line that divide the hour or the day: others would make the last interval before its end a shorter one
  SELECT c.schedule, c.period
  FROM (SELECT n || ' seconds', n FROM generate_series(1, 59) AS n
        WHERE regexp_match(_cron_schedule.version, '^(\d+)\.(\d+)')::int[] >= '{1,5}'
        UNION ALL
        SELECT CASE n WHEN 1 THEN '*' ELSE '*/' || n END || ' * * * *', n * 60 FROM generate_series(1, 30) AS n WHERE 60 % n = 0
        UNION ALL
        SELECT CASE n WHEN 1 THEN '0 *' ELSE '0 */' || n END || ' * * *', n * 3600 FROM generate_series(1, 12) AS n WHERE 24 % n = 0
        UNION ALL
        VALUES ('0 0 * * *', 86400)) AS c(schedule, period)
  ORDER BY c.period <= _cron_schedule.seconds DESC, abs(c.period - _cron_schedule.seconds)
  LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._cron_schedule(int, text) IS
  'Internal: the longest schedule that this version of pg_cron knows and that is not longer than so many seconds, else (before 1.5, less than a minute) the shortest; and its seconds';

CREATE FUNCTION clinicache._cron_jobs() RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  title name := 'clinicache ' || current_database();
BEGIN
  RETURN QUERY
    SELECT j.jobid FROM cron.job AS j
    WHERE j.database = current_database() AND j.command ~* '^\s*call\s+clinicache\s*\.\s*maintain\s*\(\s*\)[\s;]*$'
       OR j.jobname::name = title AND j.username = current_user;
END
$$;
COMMENT ON FUNCTION clinicache._cron_jobs() IS
  'Internal: jobs of pg_cron that do this database''s upkeep, made by hand too, as far as the caller may see them. Only where pg_cron is';

CREATE FUNCTION clinicache._no_cron(seconds int) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- not shown to everybody; null then, as without the library
  home    text := (SELECT s.setting FROM pg_settings AS s WHERE s.name = 'cron.database_name');
  version text := (SELECT a.default_version FROM pg_available_extensions AS a WHERE a.name = 'pg_cron');
BEGIN
  IF home = current_database() THEN
    RAISE EXCEPTION 'extension pg_cron is missing in database "%"', home
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'CREATE EXTENSION pg_cron, as superuser.';
  ELSIF home IS NOT NULL THEN
    RAISE EXCEPTION 'pg_cron is in database "%", not in "%"', home, current_database()
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = format('In database "%s", as superuser: SELECT cron.schedule_in_database(%L, %L, %L, %L)', home,
                          'clinicache ' || current_database(), (clinicache._cron_schedule(seconds, version)).schedule,
                          'CALL clinicache.maintain()', current_database());
  END IF;
  RAISE EXCEPTION 'there is no pg_cron in database "%"', current_database()
    USING ERRCODE = 'object_not_in_prerequisite_state',
          HINT = format('Install package postgresql-%s-cron, name pg_cron in shared_preload_libraries and this database in cron.database_name, '
                        'restart, CREATE EXTENSION pg_cron. Or name clinicache in shared_preload_libraries: its worker does the upkeep. '
                        'Or let any scheduler run psql -c ''CALL clinicache.maintain()''.',
                        current_setting('server_version_num')::int / 10000);
END
$$;
COMMENT ON FUNCTION clinicache._no_cron(int) IS
  'Internal: the error for a database without pg_cron (55000), with what to do instead';

CREATE FUNCTION clinicache.unschedule() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job     bigint;
  removed boolean := false;
BEGIN
  PERFORM clinicache._check_owner('unschedule', 'schedule its upkeep');
  IF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') THEN
    RAISE NOTICE 'there is no pg_cron in database "%"', current_database()
      USING HINT = format('If the upkeep is scheduled from another database, in that: SELECT cron.unschedule(%L)',
                          'clinicache ' || current_database());
    RETURN false;
  END IF;
  FOR job IN SELECT j.id FROM clinicache._cron_jobs() AS j(id) LOOP
    PERFORM cron.unschedule(job);
    removed := true;
  END LOOP;
  RETURN removed;
END
$$;
COMMENT ON FUNCTION clinicache.unschedule() IS
  'Removes the jobs of pg_cron that do this database''s upkeep, for example before DROP EXTENSION; returns whether there was one. Without pg_cron: a NOTICE, and false. Errors: 42501 not the extension''s owner';

CREATE FUNCTION clinicache.schedule(every interval DEFAULT '30 seconds') RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  seconds numeric := extract(epoch FROM schedule.every);
  version text := (SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'pg_cron');
  chosen  record;
BEGIN
  PERFORM clinicache._check_owner('schedule', 'schedule its upkeep');
  IF seconds IS NULL OR seconds NOT BETWEEN 1 AND 86400 OR seconds <> trunc(seconds) THEN
    RAISE EXCEPTION 'upkeep can not be scheduled every %', coalesce(schedule.every::text, 'null')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Give whole seconds, from 1 second to 1 day; 30 seconds do well.';
  ELSIF version IS NULL THEN
    PERFORM clinicache._no_cron(seconds::int);
  END IF;
  SELECT s.schedule, s.period INTO chosen FROM clinicache._cron_schedule(seconds::int, version) AS s;
  IF chosen.period > seconds THEN
    RAISE NOTICE 'upkeep is scheduled every minute: pg_cron % knows nothing shorter', version
      USING HINT = 'pg_cron 1.5 and later know seconds.';
  ELSIF chosen.period < seconds THEN
    RAISE NOTICE 'upkeep is scheduled every %: pg_cron can not say every %', make_interval(secs => chosen.period), schedule.every;
  END IF;
  -- removed first: cron.schedule() leaves a job of this name as inactive, and on the port, as it was
  PERFORM clinicache.unschedule();
  RETURN cron.schedule('clinicache ' || current_database(), chosen.schedule, 'CALL clinicache.maintain()');
END
$$;
COMMENT ON FUNCTION clinicache.schedule(interval) IS
  'Lets pg_cron call maintain() in this database, as the caller; returns the number of the job (cron.job.jobid), which replaces earlier ones. What pg_cron can not express becomes the next shorter interval, before pg_cron 1.5 at least a minute, with a NOTICE. Errors: 22023 not whole seconds from a second to a day, 55000 no pg_cron in this database, 42501 not the extension''s owner';

-- ---------------------------------------------------------------------------------------------------------------------
-- What track() says when nobody does it
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._upkeep_missing() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- a worker that is starting or has failed is coming
  IF (SELECT s.worker_state NOT IN ('not preloaded', 'none', 'no free background worker') FROM clinicache.delivery_state() AS s)
     OR EXISTS (SELECT FROM clinicache.position_history AS h WHERE h.at > clock_timestamp() - interval '10 minutes') THEN
    RETURN false;
  ELSIF NOT EXISTS (SELECT FROM pg_extension AS e, pg_namespace AS n
                    WHERE e.extname = 'pg_cron' AND n.nspname = 'cron' AND has_schema_privilege(n.oid, 'USAGE')) THEN
    RETURN true;
  END IF;
  -- a job counts until it has failed: not let in by pg_hba.conf, mostly
  RETURN NOT EXISTS (SELECT FROM clinicache._cron_jobs() AS j(id) JOIN cron.job AS c ON c.jobid = j.id
                     WHERE c.active
                       AND (SELECT d.status FROM cron.job_run_details AS d WHERE d.jobid = j.id ORDER BY d.runid DESC LIMIT 1)
                           IS DISTINCT FROM 'failed');
END
$$;
COMMENT ON FUNCTION clinicache._upkeep_missing() IS
  'Internal: true when no worker runs, no job of pg_cron is scheduled (or it fails), and maintain() was not called for ten minutes. SECURITY DEFINER: trackers do not read what it reads';

CREATE FUNCTION clinicache._warn_no_upkeep(rel regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- once a session; prefix "clinicache" takes no settings but its own
  IF current_setting('clinicache_session.told_no_upkeep', true) = 'on'
     OR (SELECT c.relpersistence = 't' FROM pg_class AS c WHERE c.oid = rel)
     OR NOT clinicache._upkeep_missing() THEN
    RETURN;
  END IF;
  RAISE WARNING 'nobody does the upkeep of clinicache in this database'
    USING DETAIL = 'clinicache.maintain() was not called for ten minutes or more. Without it there is no heartbeat, the log grows, '
                   'and what a commit could not deliver stays undelivered.',
          HINT = 'Name clinicache in shared_preload_libraries, for its worker; or SELECT clinicache.schedule(), with pg_cron. '
                 'If a job is scheduled, cron.job_run_details has its error.';
  PERFORM set_config('clinicache_session.told_no_upkeep', 'on', false);
END
$$;
COMMENT ON FUNCTION clinicache._warn_no_upkeep(regclass) IS
  'Internal: one WARNING a session when _upkeep_missing(), unless the table is temporary';
-- clinicache: statistics, in the manner of pg_stat_*.  They live in shared memory, so they need shared_preload_libraries.

CREATE FUNCTION clinicache.delivery_state(
  OUT mode text, OUT worker_pid int, OUT worker_state text, OUT records_written bigint, OUT tags_written bigint,
  OUT records_delivered bigint, OUT tags_delivered bigint, OUT tags_merged bigint, OUT messages bigint, OUT bytes bigint,
  OUT lag_records bigint, OUT lag_ms float8, OUT last_delivery timestamptz, OUT last_error text,
  OUT last_error_at timestamptz, OUT queue_usage float8, OUT stats_reset timestamptz)
AS 'MODULE_PATHNAME', 'clinicache_delivery_state' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.delivery_state() IS 'The row of clinicache.stat_delivery';

CREATE VIEW clinicache.stat_delivery AS SELECT * FROM clinicache.delivery_state();
COMMENT ON VIEW clinicache.stat_delivery IS
  'How change records become notifications in this database; counters since stats_reset or the server''s start, null without shared_preload_libraries';
COMMENT ON COLUMN clinicache.stat_delivery.mode IS 'Delivery in force: worker, commit or log (clinicache.delivery, with auto resolved)';
COMMENT ON COLUMN clinicache.stat_delivery.worker_pid IS 'Process of the worker; null: there is none now';
COMMENT ON COLUMN clinicache.stat_delivery.worker_state IS
  'running; starting; silent (no sign of life for 5 s); failed (to be started again); blocked (DROP DATABASE and the like); no free background worker (raise max_worker_processes); none; not preloaded';
COMMENT ON COLUMN clinicache.stat_delivery.records_written IS 'Change records committed, in any mode';
COMMENT ON COLUMN clinicache.stat_delivery.tags_written IS 'Tags and prefixes in them';
COMMENT ON COLUMN clinicache.stat_delivery.records_delivered IS 'Change records that the worker has sent';
COMMENT ON COLUMN clinicache.stat_delivery.tags_delivered IS 'Tags and prefixes in them';
COMMENT ON COLUMN clinicache.stat_delivery.tags_merged IS 'Of these, those not sent because another record of the same message had them too';
COMMENT ON COLUMN clinicache.stat_delivery.messages IS 'Notifications that the worker has sent, heartbeats too';
COMMENT ON COLUMN clinicache.stat_delivery.bytes IS 'Size of their payloads, in bytes';
COMMENT ON COLUMN clinicache.stat_delivery.lag_records IS 'Change records left to the worker and not sent yet';
COMMENT ON COLUMN clinicache.stat_delivery.lag_ms IS 'For how long records have been waiting, in milliseconds; 0: none is';
COMMENT ON COLUMN clinicache.stat_delivery.last_delivery IS 'When the worker last sent tags';
COMMENT ON COLUMN clinicache.stat_delivery.last_error IS 'What ended the worker last, shortened; the server''s log has all of it';
COMMENT ON COLUMN clinicache.stat_delivery.last_error_at IS 'When that was';
COMMENT ON COLUMN clinicache.stat_delivery.queue_usage IS 'How full PostgreSQL''s notification queue is, 0 to 1; see clinicache.notify_queue_limit';
COMMENT ON COLUMN clinicache.stat_delivery.stats_reset IS 'When counting began';

CREATE FUNCTION clinicache.table_counters() RETURNS TABLE(relid oid, rows_seen bigint, tags bigint, prefixes bigint,
                                                          suppressed bigint, collapses bigint)
AS 'MODULE_PATHNAME', 'clinicache_table_counters' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION clinicache.table_counters() IS 'What clinicache.stat_tables shows, each partition for itself';

CREATE VIEW clinicache.stat_tables AS
SELECT t.relation,
       pg_catalog.sum(c.rows_seen)::bigint AS rows_seen,
       pg_catalog.sum(c.tags)::bigint AS tags,
       pg_catalog.sum(c.prefixes)::bigint AS prefixes,
       pg_catalog.sum(c.suppressed)::bigint AS suppressed,
       pg_catalog.sum(c.collapses)::bigint AS collapses
FROM clinicache.tracked_tables AS t
LEFT JOIN (SELECT a.relid AS tracked, k.*
           FROM clinicache.table_counters() AS k
           CROSS JOIN LATERAL (SELECT k.relid
                               UNION SELECT p.relid FROM pg_catalog.pg_partition_ancestors(k.relid) AS p(relid)) AS a(relid)) AS c
  ON c.tracked = t.relation
GROUP BY t.relation
ORDER BY t.relation;
COMMENT ON VIEW clinicache.stat_tables IS
  'What the triggers of tracked tables have done, partitions with their table; rolled back work counts too. Null: nothing yet, or no shared_preload_libraries';
COMMENT ON COLUMN clinicache.stat_tables.relation IS 'Tracked table';
COMMENT ON COLUMN clinicache.stat_tables.rows_seen IS 'Rows inserted, updated and deleted';
COMMENT ON COLUMN clinicache.stat_tables.tags IS 'Tags they added, each once a transaction and tenant';
COMMENT ON COLUMN clinicache.stat_tables.prefixes IS 'Prefixes they added, from collapses and templates that end in *';
COMMENT ON COLUMN clinicache.stat_tables.suppressed IS 'Updates that changed no watched column and so emitted nothing';
COMMENT ON COLUMN clinicache.stat_tables.collapses IS 'Times that more than clinicache.bulk_threshold tags of a template became its prefix';

CREATE FUNCTION clinicache.stat_reset() RETURNS void
AS 'MODULE_PATHNAME', 'clinicache_stat_reset' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION clinicache.stat_reset() IS 'Sets the counters of stat_delivery and stat_tables in this database to zero';
-- clinicache: what is wrong, and the statement or setting that remedies it.
--
--   health -> _health_checks -> each _health_xxx() in a subtransaction of its own -> findings, critical first
--
-- A check reads catalogs and clinicache's own small tables, never a tracked table.  All are VOLATILE: they look anew.
-- All can be called on a standby.

CREATE FUNCTION clinicache._health_repair(rel regclass) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT clinicache._put_triggers(t.tgrelid, clinicache.trigger_config(t.oid)) FROM pg_trigger AS t '
                'WHERE t.tgrelid = %L::regclass AND t.tgname = %L', clinicache._table_name(rel), o.name)
  FROM clinicache._own_triggers(rel) AS o WHERE NOT o.cloned
  ORDER BY o.fires_on = 'row' DESC LIMIT 1
$$;
COMMENT ON FUNCTION clinicache._health_repair(regclass) IS
  'Internal: the statement that makes a table''s triggers anew, from the configuration that one of them holds';

-- ---------------------------------------------------------------------------------------------------------------------
-- Tracked tables
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_triggers() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN t.state IN ('no row trigger', 'disabled', 'replica', 'trigger missing below', 'triggers differ below') OR r.off THEN 'critical'
              ELSE 'warning' END,
         CASE CASE WHEN r.off THEN 'disabled' ELSE t.state END
           WHEN 'disabled' THEN 'the row trigger is disabled: changes emit nothing'
           WHEN 'replica' THEN 'triggers fire for replicated changes only: others emit nothing'
           WHEN 'no row trigger' THEN 'the row trigger is missing: changes emit nothing'
           WHEN 'no truncate trigger' THEN 'the TRUNCATE trigger is missing: TRUNCATE emits nothing'
           WHEN 'triggers differ' THEN 'the TRUNCATE trigger is disabled, or fires at other times than the row trigger'
           WHEN 'trigger missing below' THEN 'a partition or inheritance child lacks a trigger'
           WHEN 'triggers differ below' THEN 'triggers of a partition are disabled or fire at other times'
           ELSE t.state END,
         t.relation::text,
         -- a lone TRUNCATE trigger may be what a detached partition has left
         clinicache._health_repair(t.relation)
         || CASE t.state WHEN 'no row trigger' THEN format('; or SELECT clinicache.untrack(%L)', clinicache._table_name(t.relation)) ELSE '' END
  FROM clinicache.tracked_tables AS t
  CROSS JOIN LATERAL (SELECT coalesce(bool_or(o.state = 'D'), false) AS off
                      FROM clinicache._own_triggers(t.relation) AS o WHERE o.fires_on = 'row') AS r
  WHERE t.state NOT IN ('enabled', 'always')
  ORDER BY t.relation::text
$$;
COMMENT ON FUNCTION clinicache._health_triggers() IS 'Internal: part of health: triggers disabled or missing';

CREATE FUNCTION clinicache._health_configuration() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target record;
  effect text;
  hint   text;
BEGIN
  severity := 'critical';
  FOR target IN
    SELECT t.tgrelid::regclass AS relation, clinicache.trigger_config(t.oid) AS config, pg_get_userbyid(c.relowner) AS owner,
           has_function_privilege(c.relowner, 'clinicache.track(regclass,text,jsonb,jsonb)', 'EXECUTE')
             OR has_function_privilege(c.relowner, 'clinicache.track(regclass,jsonb)', 'EXECUTE') AS trusted
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure
    ORDER BY t.tgrelid::regclass::text
  LOOP
    effect := CASE current_setting('clinicache.on_error', true)
                WHEN 'error' THEN 'its changes fail' ELSE 'each of its changes drops everything' END;
    object := target.relation::text;
    IF NOT target.trusted THEN
      finding := format('its owner %I may not track tables: %s', target.owner, effect);
      remedy := format('SELECT clinicache.grant_tracker(%L)', target.owner);
      RETURN NEXT;
      CONTINUE;
    END IF;
    BEGIN
      PERFORM clinicache.check_config(target.relation, target.config);
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
      finding := format('its configuration can not be used: %s: %s', effect, SQLERRM);
      remedy := concat_ws(' ', CASE WHEN target.config ? 'entity'
                                    THEN format('SELECT clinicache.track(%L, %L)', clinicache._table_name(target.relation), target.config ->> 'entity')
                                    ELSE format('SELECT clinicache.track(%L, ...) anew', clinicache._table_name(target.relation)) END,
                          '-- ' || nullif(hint, ''));
      RETURN NEXT;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_configuration() IS
  'Internal: part of health: configurations that can not be used, and owners that are not trusted with tags';

CREATE FUNCTION clinicache._health_untracked() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  shown    int := 20;
  names    text[] := ARRAY(SELECT DISTINCT s.name
                           FROM unnest(clinicache._candidates('clinic', '[]')) AS c(name),
                                unnest(ARRAY[c.name, clinicache._snake(c.name), clinicache._camel(c.name)]) AS s(name));
  clinics  oid[] := ARRAY(SELECT t.relation::oid FROM clinicache.tracked_tables AS t WHERE t.entity = 'clinic');
  target   record;
  preset   text;
  key      text;
BEGIN
  FOR target IN
    SELECT c.oid::regclass AS relation, c.relname::text AS name, k.attname AS clinic, row_number() OVER w AS n, count(*) OVER () AS all_of_them
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
      SELECT a.attname FROM pg_attribute AS a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        -- the slow question is asked of columns with a foreign key only: nothing refuses others
        AND CASE WHEN EXISTS (SELECT FROM pg_constraint AS f WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum])
                 THEN EXISTS (SELECT FROM pg_constraint AS f
                              WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum] AND f.confrelid = ANY (clinics))
                      OR a.attname = ANY (names) AND clinicache._refused_by(c.oid::regclass, a.attname::text, 'clinic') IS NULL
                 ELSE a.attname = ANY (names) END
      ORDER BY array_position(names, a.attname::text), a.attnum LIMIT 1) AS k
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition AND c.oid >= 16384
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'clinicache') AND c.relname <> '_prisma_migrations'
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      AND NOT EXISTS (SELECT FROM pg_trigger AS t
                      WHERE t.tgrelid = c.oid AND t.tgfoid IN ('clinicache.row_change()'::regprocedure, 'clinicache.truncate_change()'::regprocedure))
    WINDOW w AS (ORDER BY n.nspname, c.relname)
    ORDER BY n
  LOOP
    IF target.n > shown THEN
      severity := 'notice';
      finding := format('%s more tables have a clinic and are not tracked', target.all_of_them - shown);
      object := NULL;
      remedy := 'Track those first that are listed';
      RETURN NEXT;
      EXIT;
    END IF;
    preset := clinicache._entity_named(target.name);
    key := clinicache._find_id(target.relation, '[]') ->> 'column';
    severity := CASE WHEN preset IS NULL THEN 'notice' ELSE 'warning' END;
    finding := format('has a clinic (column "%s") and is not tracked: its changes emit nothing', target.clinic);
    object := target.relation::text;
    remedy := CASE WHEN preset IS NULL
                   THEN format('SELECT clinicache.track(%L, %L)', clinicache._table_name(target.relation),
                               jsonb_build_object('tenant', target.clinic, 'tags', to_jsonb(array_remove(ARRAY[
                                 target.name || ':{' || key || '}', target.name || ':clinic:{' || target.clinic || '}'], NULL))))
                   ELSE format('SELECT clinicache.track(%L, %L)', clinicache._table_name(target.relation), preset) END;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_untracked() IS
  'Internal: part of health: tables that say whose clinic a row is, and that nobody tracks; at most twenty';

CREATE FUNCTION clinicache._health_indexes() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE w.purpose WHEN 'edges' THEN 'warning' ELSE 'notice' END,
         CASE w.purpose WHEN 'edges' THEN 'no index for clock edges: they read the whole table'
                        ELSE 'no index for dashboards: their newest appointments have to be searched for' END,
         t.tgrelid::regclass::text,
         format('CREATE INDEX ON %s (%s)', clinicache._table_name(t.tgrelid),
                (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.n) FROM unnest(w.columns) WITH ORDINALITY AS c(name, n)))
  FROM pg_trigger AS t, clinicache._wanted_indexes(t.tgrelid, clinicache.trigger_config(t.oid)) AS w
  WHERE t.tgparentid = 0 AND t.tgfoid = 'clinicache.row_change()'::regprocedure
  ORDER BY 3, 4
$$;
COMMENT ON FUNCTION clinicache._health_indexes() IS 'Internal: part of health: indexes that large tracked tables lack';

CREATE FUNCTION clinicache._health_counters() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', f.finding, format('%s of %s', f.counter, f.relation), format('SELECT clinicache.rebuild(%L)', f.counter)
  FROM (SELECT format('the counter is not valid, so it is read from the table, slowly: %s', r.reason) AS finding, r.counter, r.relation
        FROM clinicache.counter_registry AS r WHERE NOT r.valid
        UNION ALL
        SELECT 'the counter was never counted here (a restored dump?), so it is read from the table, slowly', k ->> 'counter', t.relation
        FROM clinicache._counter_tables(NULL) AS t, jsonb_array_elements(t.config -> 'counters') AS k
        WHERE NOT EXISTS (SELECT FROM clinicache.counter_source AS s WHERE s.relation = t.relation AND s.counter = k ->> 'counter')
        UNION ALL
        SELECT format('the counter''s days are those of %s, but clinicache.timezone is %s now', s.timezone, current_setting('clinicache.timezone')),
               s.counter, s.relation
        FROM clinicache.counter_source AS s WHERE s.timezone <> current_setting('clinicache.timezone')
          AND NOT EXISTS (SELECT FROM clinicache.counter_invalid AS i WHERE i.source = s.id)) AS f
  ORDER BY f.counter, f.relation::text, f.finding
$$;
COMMENT ON FUNCTION clinicache._health_counters() IS 'Internal: part of health: counters that are not valid, or not there';

CREATE FUNCTION clinicache._health_tenants() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  zone record;
BEGIN
  severity := 'critical';
  FOR zone IN SELECT t.timezone AS name, min(t.tenant) AS tenant, count(*) AS tenants FROM clinicache.tenant AS t GROUP BY 1 ORDER BY 1 LOOP
    BEGIN
      PERFORM now() AT TIME ZONE zone.name;
    EXCEPTION WHEN invalid_parameter_value THEN
      finding := format('the server does not know time zone "%s" (any more) of %s', zone.name,
                        CASE zone.tenants WHEN 1 THEN 'a tenant' ELSE zone.tenants || ' tenants' END);
      object := zone.tenant;
      remedy := format('UPDATE clinicache.tenant SET timezone = ''...'' WHERE timezone = %L -- or install its time zone data', zone.name);
      RETURN NEXT;
    END;
  END LOOP;
  severity := 'warning';
  FOR finding, object, remedy IN
    SELECT 'a subscriber''s role does not exist any more', s.role::text, format('DELETE FROM clinicache.subscriber WHERE role = %L', s.role)
    FROM clinicache.subscriber AS s WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = s.role) ORDER BY s.role
  LOOP
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_tenants() IS
  'Internal: part of health: time zones that the server does not know, subscribers without a role';

-- ---------------------------------------------------------------------------------------------------------------------
-- Delivery and upkeep
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_delivery() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stat   record;
  wanted text;
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN;                     -- the primary delivers
  END IF;
  SELECT * INTO stat FROM clinicache.delivery_state();
  wanted := current_setting('clinicache.delivery');
  object := 'worker';
  IF stat.worker_state = 'not preloaded' THEN
    IF wanted = 'worker' THEN
      severity := 'critical';
      finding := 'clinicache.delivery is worker, but the library is not preloaded: nobody notifies between two calls of maintain()';
    ELSE
      severity := 'notice';
      finding := 'the library is not preloaded: there is no worker, no statistics, and commits take NOTIFY''s lock';
    END IF;
    remedy := format('ALTER SYSTEM SET shared_preload_libraries = %s; and restart',
                     concat_ws(', ', nullif(current_setting('shared_preload_libraries'), ''), 'clinicache'))
              || CASE wanted WHEN 'worker' THEN '; or ALTER SYSTEM SET clinicache.delivery = auto' ELSE
                      '; where that is impossible, ALTER SYSTEM SET clinicache.delivery = commit' END;
    -- who chose commit or log knows
    IF wanted IN ('auto', 'worker') THEN
      RETURN NEXT;
    END IF;
  ELSIF stat.worker_state NOT IN ('running', 'starting') THEN
    severity := CASE wanted WHEN 'worker' THEN 'critical' ELSE 'warning' END;
    finding := format('the worker is down: %s', concat_ws(': ', stat.worker_state, stat.last_error));
    -- the launcher, too, takes one of them, and without it there is no worker
    remedy := CASE CASE WHEN stat.worker_state = 'none' AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.backend_type = 'clinicache launcher')
                        THEN 'no free background worker' ELSE stat.worker_state END
                WHEN 'no free background worker'
                THEN format('ALTER SYSTEM SET max_worker_processes = %s; and restart', current_setting('max_worker_processes')::int + 4)
                WHEN 'blocked' THEN 'Nothing, if it passes: DROP DATABASE or the like stopped the worker. Else restart the server'
                WHEN 'silent' THEN format('SELECT pg_terminate_backend(%s) -- it is started again', coalesce(stat.worker_pid::text, '...'))
                ELSE 'See the server''s log; the worker is started again within seconds' END;
    RETURN NEXT;
  END IF;
  IF stat.lag_ms > 60000 THEN
    severity := 'warning';
    finding := format('%s change records have been waiting for delivery for %s s', stat.lag_records, round(stat.lag_ms / 1000));
    remedy := 'See the worker''s last error in clinicache.stat_delivery, and the fill of the notification queue';
    RETURN NEXT;
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._health_delivery() IS 'Internal: part of health: the worker, and whether clinicache.delivery can be had';

CREATE FUNCTION clinicache._health_upkeep() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  state  text := (SELECT s.worker_state FROM clinicache.delivery_state() AS s);
  worker boolean := state NOT IN ('not preloaded', 'none', 'no free background worker');
  job    boolean := false;
  age    interval;
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') THEN
    job := EXISTS (SELECT FROM clinicache._cron_jobs() AS j(id) JOIN cron.job AS c ON c.jobid = j.id WHERE c.active);
  END IF;
  SELECT clock_timestamp() - h.at INTO age FROM clinicache.position_history AS h ORDER BY h.id DESC LIMIT 1;
  object := 'maintain()';
  remedy := CASE WHEN worker THEN 'See clinicache.stat_delivery and the server''s log'
                 WHEN job THEN 'SELECT * FROM cron.job_run_details ORDER BY runid DESC LIMIT 10 -- what became of the job'
                 ELSE 'SELECT clinicache.schedule() -- with pg_cron; or preload the library, for its worker' END;
  IF age IS NULL OR age > interval '10 minutes' THEN
    severity := CASE WHEN age < interval '1 hour' THEN 'warning' ELSE 'critical' END;
    finding := CASE WHEN age IS NULL THEN 'upkeep was never done'
                    ELSE format('upkeep was last done %s ago', date_trunc('second', age)) END
               || ': no heartbeat, the log grows, and what commits could not deliver stays undelivered';
    RETURN NEXT;
  -- any other scheduler shows in what it did: ours here is the row that CREATE EXTENSION made
  ELSIF NOT worker AND NOT job AND NOT EXISTS (SELECT FROM clinicache.position_history AS h OFFSET 1) THEN
    severity := 'warning';
    finding := 'nobody does the upkeep: there is no worker and no job of pg_cron in this database';
    RETURN NEXT;
  END IF;
END
$$;
COMMENT ON FUNCTION clinicache._health_upkeep() IS 'Internal: part of health: whether somebody calls maintain()';

CREATE FUNCTION clinicache._health_cron() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') THEN
    RETURN;
  END IF;
  FOR finding, object, remedy IN
    SELECT CASE WHEN NOT j.active THEN 'the job that does the upkeep is not active'
                ELSE format('the job that does the upkeep fails: %s', r.return_message) END,
           format('job %s of pg_cron', j.jobid),
           CASE WHEN NOT j.active THEN 'SELECT clinicache.schedule() -- replaces it'
                ELSE 'Let pg_cron in by pg_hba.conf, or ALTER SYSTEM SET cron.use_background_workers = on; and restart' END
    FROM clinicache._cron_jobs() AS c(id) JOIN cron.job AS j ON j.jobid = c.id
    LEFT JOIN LATERAL (SELECT d.status, d.return_message FROM cron.job_run_details AS d
                       WHERE d.jobid = j.jobid AND d.status IN ('succeeded', 'failed') ORDER BY d.runid DESC LIMIT 1) AS r ON true
    WHERE NOT j.active OR r.status = 'failed'
    ORDER BY j.jobid
  LOOP
    severity := 'warning';      -- that upkeep is not done is another finding
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_cron() IS 'Internal: part of health: pg_cron''s job, where there is one';

CREATE FUNCTION clinicache._health_log() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning',
         CASE WHEN l.size > l.most THEN format('the log is larger than clinicache.log_max_size (%s of %s): subscribers that were away are told to reset',
                                               pg_size_pretty(l.size), pg_size_pretty(l.most))
              ELSE format('the log is near clinicache.log_max_size (%s of %s): then its oldest part goes, whatever the retention',
                          pg_size_pretty(l.size), pg_size_pretty(l.most)) END,
         'clinicache.invalidation_log',
         format('ALTER SYSTEM SET clinicache.log_max_size = ''%s MB''; SELECT pg_reload_conf() -- or a shorter clinicache.retention than %s',
                2 * greatest(l.size, l.most) / 1048576, current_setting('clinicache.retention'))
  FROM (SELECT sum(pg_total_relation_size(i.inhrelid))::bigint AS size, pg_size_bytes(current_setting('clinicache.log_max_size')) AS most
        FROM pg_inherits AS i WHERE i.inhparent = 'clinicache.invalidation_log'::regclass) AS l
  WHERE l.size > 0.8 * l.most
$$;
COMMENT ON FUNCTION clinicache._health_log() IS 'Internal: part of health: size of the log';

CREATE FUNCTION clinicache._health_queue() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- the tail is held by a session that listens and is inside a transaction: the oldest is the likeliest
  SELECT CASE WHEN q.used > q.most THEN 'critical' ELSE 'warning' END,
         format('the notification queue is %s %% full', round(q.used * 100))
         || CASE WHEN q.used > q.most THEN ': commits leave their records to the worker or to maintain()' ELSE '' END,
         'notification queue',
         coalesce((SELECT format('SELECT pg_terminate_backend(%s) -- %s, in a transaction since %s; if it is that which listens', a.pid,
                                 coalesce(nullif(a.application_name, ''), a.usename), to_char(a.xact_start, 'YYYY-MM-DD HH24:MI'))
                   FROM pg_stat_activity AS a
                   WHERE a.backend_type = 'client backend' AND a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid()
                   ORDER BY a.xact_start LIMIT 1),
                  'End the session that listens and does not read')
  FROM (SELECT pg_notification_queue_usage()::numeric AS used, current_setting('clinicache.notify_queue_limit')::numeric AS most) AS q
  WHERE q.used > q.most / 2 AND q.used > 0.01
$$;
COMMENT ON FUNCTION clinicache._health_queue() IS 'Internal: part of health: fill of PostgreSQL''s notification queue';

-- ---------------------------------------------------------------------------------------------------------------------
-- Around us
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_transactions() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', format('a prepared transaction is %s old: its tags wait for it, and old rows of log and counters stay',
                           date_trunc('minute', clock_timestamp() - p.prepared)),
         format('prepared transaction %L', p.gid), format('COMMIT PREPARED %1$L or ROLLBACK PREPARED %1$L', p.gid)
  FROM pg_prepared_xacts AS p
  WHERE p.database = current_database() AND p.prepared < clock_timestamp() - interval '1 hour'
  UNION ALL
  SELECT 'warning', format('a transaction is %s old (%s): old rows of log and counters stay while it lasts',
                           date_trunc('minute', clock_timestamp() - a.xact_start), coalesce(a.state, a.backend_type)),
         concat_ws(' ', 'process', a.pid, nullif(a.application_name, ''), a.usename), format('SELECT pg_terminate_backend(%s)', a.pid)
  FROM pg_stat_activity AS a
  WHERE a.datname = current_database() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
    AND a.backend_type <> 'autovacuum worker' AND a.xact_start < clock_timestamp() - interval '1 hour'
  UNION ALL
  -- a slot does not say since when
  SELECT 'warning', format('a replication slot that nobody uses holds a snapshot that is %s transactions old: old rows of log and counters stay',
                           age(s.xmin)),
         format('replication slot %I', s.slot_name), format('SELECT pg_drop_replication_slot(%L)', s.slot_name)
  FROM pg_replication_slots AS s
  WHERE s.xmin IS NOT NULL AND NOT s.active AND (s.database IS NULL OR s.database = current_database())
$$;
COMMENT ON FUNCTION clinicache._health_transactions() IS
  'Internal: part of health: old transactions, prepared ones, and replication slots that keep old rows';

CREATE FUNCTION clinicache._health_publications() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'notice', 'it publishes clinicache''s tables with all others: other servers pass over them, but positions are not thinned out',
         format('publication %I', p.pubname), 'Publish schemas or tables by name instead of ALL TABLES'
  FROM pg_publication AS p WHERE p.puballtables
  UNION ALL
  SELECT 'warning', 'it publishes schema clinicache, which is this server''s own', format('publication %I', p.pubname),
         format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA clinicache', p.pubname)
  FROM pg_publication AS p JOIN pg_publication_namespace AS n ON n.pnpubid = p.oid WHERE n.pnnspid = 'clinicache'::regnamespace
  UNION ALL
  -- what users add to the vocabulary they may well publish
  SELECT 'warning', format('it publishes %s, which is this server''s own', c.oid::regclass), format('publication %I', p.pubname),
         format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, c.oid::regclass)
  FROM pg_publication AS p JOIN pg_publication_rel AS r ON r.prpubid = p.oid JOIN pg_class AS c ON c.oid = r.prrelid
  WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relname NOT IN ('profile', 'entity', 'alias', 'class', 'tenant')
  ORDER BY 3, 4
$$;
COMMENT ON FUNCTION clinicache._health_publications() IS 'Internal: part of health: clinicache''s own tables in publications';

CREATE FUNCTION clinicache._health_settings() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'critical', 'session_replication_role is replica here: changes emit nothing where tables are not tracked with "fire": "always"',
         replace(replace(concat_ws(' in ', w.role, w.base), 'ROLE ', 'role '), 'DATABASE ', 'database '),
         'ALTER ' || concat_ws(' IN ', w.role, w.base) || ' RESET session_replication_role'
  FROM pg_db_role_setting AS s
  LEFT JOIN pg_roles AS r ON r.oid = s.setrole
  LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
  CROSS JOIN LATERAL (
    SELECT CASE WHEN s.setrole <> 0 THEN format('ROLE %I', r.rolname) WHEN s.setdatabase = 0 THEN 'ROLE ALL' END AS role,
           CASE WHEN s.setdatabase <> 0 THEN format('DATABASE %I', d.datname) END AS base) AS w
  WHERE 'session_replication_role=replica' = ANY (s.setconfig) AND (s.setdatabase = 0 OR d.datname = current_database())
  UNION ALL
  SELECT 'critical', 'session_replication_role is replica for the whole server: changes emit nothing where tables are not tracked with "fire": "always"',
         'session_replication_role', 'ALTER SYSTEM RESET session_replication_role; SELECT pg_reload_conf() -- it may stand in postgresql.conf too'
  FROM pg_settings AS s
  WHERE s.name = 'session_replication_role' AND s.setting = 'replica' AND s.source IN ('configuration file', 'command line')
$$;
COMMENT ON FUNCTION clinicache._health_settings() IS
  'Internal: part of health: session_replication_role set for a role, a database or the server';

-- ---------------------------------------------------------------------------------------------------------------------
-- What users call
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION clinicache._health_checks() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '{triggers,configuration,delivery,upkeep,cron,log,queue,settings,counters,tenants,indexes,transactions,publications,untracked}'::text[]
$$;
COMMENT ON FUNCTION clinicache._health_checks() IS 'Internal: the checks of health, the weightiest first';

CREATE FUNCTION clinicache._health_all() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  check_name text;
BEGIN
  PERFORM clinicache.delivery_state();          -- loads the library: its settings are there from now on
  FOREACH check_name IN ARRAY clinicache._health_checks() LOOP
    BEGIN
      RETURN QUERY EXECUTE format('SELECT * FROM clinicache.%I()', '_health_' || check_name);
    EXCEPTION WHEN OTHERS THEN
      severity := 'warning';
      finding := format('check "%s" failed: %s', check_name, SQLERRM);
      object := NULL;
      remedy := format('SELECT * FROM clinicache.%I() -- says more', '_health_' || check_name);
      RETURN NEXT;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION clinicache._health_all() IS 'Internal: findings of all checks; one that fails is a finding';

-- compiling the many small queries would take longer than running them
CREATE FUNCTION clinicache.health() RETURNS TABLE (severity text, finding text, object text, remedy text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT h.severity, h.finding, h.object, h.remedy
  FROM clinicache._health_all() WITH ORDINALITY AS h(severity, finding, object, remedy, n)
  ORDER BY array_position('{critical,warning,notice}'::text[], h.severity), h.n
$$;
COMMENT ON FUNCTION clinicache.health() IS
  'What is wrong in this database, with the statement or setting that remedies it; critical (changes are missed, or everything is dropped), warning, notice; no rows: healthy. Reads catalogs and clinicache''s own tables only. For the extension''s owner';
-- clinicache: tag builders for TypeScript, made from the templates that tracked tables emit.
--
--   tag_templates -> _ts_parts (literals and placeholders) -> _ts_templates (names, shapes) -> _ts_builder (one function)
--                                                                                         -> typescript (the module)
--
-- What a builder does has to be what clinicache.tag() does: src/tag_template.c, src/tag_value.c.
-- Two templates that differ in the names of placeholders only, patient:{id} and patient:{patient}, share a builder.

CREATE FUNCTION clinicache._ts_string(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT chr(39) || replace(replace(replace(replace(replace(replace(word, chr(92), chr(92) || chr(92)), chr(39), chr(92) || chr(39)),
           chr(10), chr(92) || 'n'), chr(13), chr(92) || 'r'), chr(8232), chr(92) || 'u2028'), chr(8233), chr(92) || 'u2029') || chr(39)
$$;
COMMENT ON FUNCTION clinicache._ts_string(text) IS 'Internal: a text as TypeScript string';

CREATE FUNCTION clinicache._ts_literal(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(replace(replace(replace(word, chr(92), chr(92) || chr(92)), '`', chr(92) || '`'), '$', chr(92) || '$'), chr(13), chr(92) || 'r')
$$;
COMMENT ON FUNCTION clinicache._ts_literal(text) IS 'Internal: a text inside a TypeScript template literal';

CREATE FUNCTION clinicache._ts_key(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- '__proto__': ... would set the prototype
  SELECT CASE WHEN word = '__proto__' THEN '[''__proto__'']'
              WHEN word ~ '^[A-Za-z_$][A-Za-z0-9_$]*$' THEN word
              ELSE clinicache._ts_string(word) END
$$;
COMMENT ON FUNCTION clinicache._ts_key(text) IS 'Internal: a name as key of a TypeScript object';

CREATE FUNCTION clinicache._ts_comment(words text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(translate(words, chr(10) || chr(13) || chr(8232) || chr(8233), '    '), '*/', '* /')
$$;
COMMENT ON FUNCTION clinicache._ts_comment(text) IS 'Internal: a text that does not end the comment it stands in';

CREATE FUNCTION clinicache._ts_camel(words text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(CASE WHEN w.n = 1 THEN lower(left(w.word, 1) COLLATE "C") ELSE upper(left(w.word, 1) COLLATE "C") END
                             || substr(w.word, 2), '' ORDER BY w.n), '')
  FROM (SELECT p.word, row_number() OVER (ORDER BY p.n) AS n
        FROM regexp_split_to_table(words COLLATE "C", '[^A-Za-z0-9]+') WITH ORDINALITY AS p(word, n) WHERE p.word <> '') AS w
$$;
COMMENT ON FUNCTION clinicache._ts_camel(text) IS 'Internal: words in camel case; what is no ASCII letter or digit parts words';

CREATE FUNCTION clinicache._ts_parts(template text) RETURNS TABLE (n bigint, literal text, name text, filters text[])
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.n, r.m[1], split_part(r.m[2], '|', 1), (string_to_array(r.m[2], '|'))[2:]
  FROM regexp_matches(CASE right(template, 1) WHEN '*' THEN left(template, -1) ELSE template END,
                      '([^{]*)(?:[{]([^}]*)[}])?', 'g') WITH ORDINALITY AS r(m, n)
$$;
COMMENT ON FUNCTION clinicache._ts_parts(text) IS
  'Internal: a template taken apart: literal text and the placeholder after it; name is null after the last. Without the final * of a prefix';

CREATE FUNCTION clinicache._ts_templates() RETURNS TABLE (name text, templates text[], profile text, prefix text, tables text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH template AS MATERIALIZED (
    -- the shortest profile wins
    SELECT t.template, t.prefix, (array_agg(t.profile ORDER BY p.revalidate, t.profile COLLATE "C"))[1] AS profile,
           array_agg(DISTINCT r::text COLLATE "C") AS tables
    FROM clinicache.tag_templates AS t CROSS JOIN LATERAL unnest(t.tables) AS r LEFT JOIN clinicache.profile AS p ON p.name = t.profile
    GROUP BY t.template, t.prefix),
  shaped AS (
    -- placeholders by number: where the same one stands twice is part of the shape
    SELECT t.*, s.shape || CASE right(t.template, 1) WHEN '*' THEN '*' ELSE '' END AS shape, s.names
    FROM template AS t
    CROSS JOIN LATERAL (
      SELECT string_agg(p.literal || CASE WHEN p.name IS NULL THEN ''
                                          ELSE '{' || array_position(u.names, p.name) || '|' || array_to_string(p.filters, '|') || '}' END, '' ORDER BY p.n) AS shape,
             u.names
      FROM clinicache._ts_parts(t.template) AS p,
           (SELECT coalesce(array_agg(f.name ORDER BY f.n), '{}') AS names
            FROM (SELECT q.name, min(q.n) AS n FROM clinicache._ts_parts(t.template) AS q WHERE q.name IS NOT NULL GROUP BY q.name) AS f) AS u
      GROUP BY u.names) AS s),
  -- one name in two places, x:{a}:{b} and x:{b}:{a}: a builder each
  clashing AS (
    SELECT DISTINCT a.shape FROM shaped AS a JOIN shaped AS b USING (shape)
    CROSS JOIN LATERAL unnest(a.names) WITH ORDINALITY AS x(name, n) JOIN LATERAL unnest(b.names) WITH ORDINALITY AS y(name, n) ON y.name = x.name
    WHERE x.n <> y.n),
  builder AS (
    SELECT array_agg(s.template ORDER BY s.template COLLATE "C") AS templates, min(s.prefix) AS prefix,
           (array_agg(s.profile ORDER BY p.revalidate, s.profile COLLATE "C"))[1] AS profile,
           (SELECT array_agg(DISTINCT r COLLATE "C") FROM shaped AS a, unnest(a.tables) AS r WHERE a.shape = s.shape
              AND (s.template_key IS NULL OR a.template = s.template_key)) AS tables
    FROM (SELECT z.*, CASE WHEN c.shape IS NOT NULL THEN z.template END AS template_key FROM shaped AS z LEFT JOIN clashing AS c USING (shape)) AS s
    LEFT JOIN clinicache.profile AS p ON p.name = s.profile
    GROUP BY s.shape, s.template_key),
  named AS (
    SELECT b.*, coalesce(nullif(w.literals, ''), nullif(w.placeholders, ''), 'tag') AS short, w.placeholders
    FROM builder AS b
    CROSS JOIN LATERAL (
      SELECT clinicache._ts_camel(string_agg(p.literal, ' ' ORDER BY p.n)) AS literals,
             clinicache._ts_camel('by ' || coalesce(string_agg(p.name || ' ' || array_to_string(p.filters, ' '), ' ' ORDER BY p.n), '')) AS placeholders
      FROM clinicache._ts_parts(b.templates[1]) AS p) AS w),
  -- two of one name: with their placeholders; still two: with a number
  long AS (
    SELECT n.*, CASE WHEN count(*) OVER (PARTITION BY n.short) = 1 THEN n.short
                     WHEN right(n.templates[1], 1) = '*' THEN n.short || 'Prefix'
                     WHEN n.placeholders IN ('by', n.short) THEN n.short
                     ELSE n.short || upper(left(n.placeholders, 1)) || substr(n.placeholders, 2) END AS wanted
    FROM named AS n),
  numbered AS (
    SELECT l.*, row_number() OVER (PARTITION BY l.wanted ORDER BY l.templates[1] COLLATE "C") AS n FROM long AS l)
  SELECT CASE WHEN d.wanted ~ '^[0-9]' THEN '_' ELSE '' END || d.wanted || CASE d.n WHEN 1 THEN '' ELSE '_' || d.n END,
         d.templates, d.profile, d.prefix, d.tables
  FROM numbered AS d
  ORDER BY d.wanted COLLATE "C", d.n
$$;
COMMENT ON FUNCTION clinicache._ts_templates() IS
  'Internal: builders: their names and the templates of each, which differ in the names of placeholders only';

CREATE FUNCTION clinicache._ts_argument(names text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN cardinality(names) = 1 THEN a.list ELSE 'either(' || a.list || ')' END
  FROM (SELECT string_agg(CASE WHEN n.name ~ '^[A-Za-z_$][A-Za-z0-9_$]*$' THEN 'args.' || n.name
                               ELSE 'args[' || clinicache._ts_string(n.name) || ']' END, ', ' ORDER BY n.n) AS list
        FROM unnest(names) WITH ORDINALITY AS n(name, n)) AS a
$$;
COMMENT ON FUNCTION clinicache._ts_argument(text[]) IS 'Internal: the argument, under whichever of its names it was given';

CREATE FUNCTION clinicache._ts_builder(templates text[], prefix text) RETURNS TABLE (args text, body text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  WITH part AS (
    SELECT t.n AS variant, p.n, p.literal, p.name, p.filters
    FROM unnest(templates) WITH ORDINALITY AS t(template, n), clinicache._ts_parts(t.template) AS p),
  argument AS (
    -- of all variants, since the shape, with the filters, is one
    SELECT a.variant, a.name, min(a.n) AS n, bool_or(a.filters[1] IN ('date', 'month')) AS is_day
    FROM part AS a WHERE a.name IS NOT NULL GROUP BY a.variant, a.name),
  variant AS (
    SELECT v.variant,
           (SELECT string_agg(clinicache._ts_key(a.name) || ': ' || CASE WHEN a.is_day THEN 'Day' ELSE 'Value' END, '; ' ORDER BY a.n)
            FROM argument AS a WHERE a.variant = v.variant)
           || coalesce((SELECT string_agg('; ' || clinicache._ts_key(o.name) || '?: undefined', '' ORDER BY o.name COLLATE "C")
                        FROM (SELECT DISTINCT a.name FROM argument AS a
                              WHERE a.name NOT IN (SELECT m.name FROM argument AS m WHERE m.variant = v.variant)) AS o), '') AS fields
    FROM (SELECT DISTINCT variant FROM part) AS v),
  piece AS (
    SELECT p.n, min(p.literal) FILTER (WHERE p.variant = 1) AS literal,
           array_agg(DISTINCT p.name COLLATE "C") FILTER (WHERE p.name IS NOT NULL) AS names
    FROM part AS p GROUP BY p.n),
  value AS (
    SELECT p.n, p.literal, f.filters,
           CASE f.filters[1] WHEN 'date' THEN 'day(' WHEN 'month' THEN 'month(' ELSE 'text(' END || clinicache._ts_argument(p.names) || ')' AS plain
    FROM piece AS p JOIN part AS f ON f.variant = 1 AND f.n = p.n)
  SELECT (SELECT string_agg('{ ' || v.fields || ' }', ' | ' ORDER BY v.variant) FROM variant AS v),
         format('%s(%s, %s)', CASE right(templates[1], 1) WHEN '*' THEN 'prefixLabels' ELSE 'labels' END,
                (SELECT CASE WHEN bool_or(v.plain IS NOT NULL)
                             THEN '`' || string_agg(clinicache._ts_literal(v.literal)
                                  || coalesce('${' || (SELECT coalesce(string_agg(x.filter || '(', '' ORDER BY x.n DESC), '')
                                                      FROM unnest(v.filters) WITH ORDINALITY AS x(filter, n) WHERE x.filter IN ('lower', 'hash'))
                                              || v.plain
                                              || (SELECT repeat(')', count(*)::int) FROM unnest(v.filters) AS x(filter) WHERE x.filter IN ('lower', 'hash')) || '}', ''),
                                  '' ORDER BY v.n) || '`'
                             ELSE clinicache._ts_string(string_agg(v.literal, '' ORDER BY v.n)) END
                 FROM value AS v),
                clinicache._ts_string(prefix))
$$;
COMMENT ON FUNCTION clinicache._ts_builder(text[], text) IS
  'Internal: type of the arguments (null: none) and the expression that makes the labels, for templates of one shape';

CREATE FUNCTION clinicache._ts_lower() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- lower() is by the database's collation: in C ASCII only; by libc each character for itself; by ICU as JavaScript does it
  SELECT CASE WHEN d.datlocprovider = 'i' THEN 'value.toLowerCase()'
              WHEN d.datctype IN ('C', 'POSIX') THEN 'value.replace(/[A-Z]/g, (letter) => letter.toLowerCase())'
              ELSE 'Array.from(value, (letter) => (letter === ''' || U&'\0130' || ''' ? ''i'' : letter.toLowerCase())).join('''')' END
  FROM pg_database AS d WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION clinicache._ts_lower() IS 'Internal: TypeScript for filter lower, as this database does it';

CREATE FUNCTION clinicache._ts_helpers(used text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(h.code, chr(10) || chr(10) ORDER BY h.n)
  FROM (VALUES
    (1, 'hash(', $ts$function hash(value: string): string {
  return createHash('sha256').update(value, 'utf8').digest('hex').slice(0, 16);
}$ts$),
    (2, 'text(', $ts$/** As PostgreSQL prints it: numbers without an exponent. */
function text(value: Value): string {
  if (typeof value !== 'number') return String(value);
  if (!Number.isFinite(value)) throw new RangeError(`${value} makes no tag`);
  const [digits = '', exponent] = String(value).split('e');
  if (exponent === undefined) return digits;
  const sign = digits.startsWith('-') ? '-' : '';
  const [whole = '', fraction = ''] = digits.slice(sign.length).split('.');
  const shift = Number(exponent);
  return shift < 0
    ? `${sign}0.${'0'.repeat(-shift - 1)}${whole}${fraction}`
    : `${sign}${whole}${fraction.padEnd(shift, '0')}`;
}$ts$),
    (3, 'day(', $ts$function day(value: Day): string {
  const time = new Date(`${value}T00:00:00Z`);
  if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(value) || value < '0001' || !Number.isFinite(time.getTime()) || !time.toISOString().startsWith(value))
    throw new RangeError(`'${value}' is no day: give a local day such as 2026-11-21`);
  return value;
}$ts$),
    (4, 'month(', $ts$/** A month, 2026-11, or the month of a day. */
function month(value: Day): string {
  return /^[0-9]{4}-(0[1-9]|1[0-2])$/.test(value) ? value : day(value).slice(0, 7);
}$ts$),
    (5, 'lower(', $ts$/** As this database's lower() does it. */
function lower(value: string): string {
  return $ts$ || clinicache._ts_lower() || $ts$;
}$ts$),
    (6, 'either(', $ts$function either<T>(...values: (T | undefined)[]): T {
  for (const value of values) if (value !== undefined) return value;
  throw new TypeError('an argument is missing');
}$ts$),
    (7, 'cut(', $ts$/** The first 239 UTF-16 units, no character halved. */
function cut(label: string): string {
  const unit = label.charCodeAt(238);
  return label.slice(0, unit >= 0xd800 && unit <= 0xdbff ? 238 : 239);
}$ts$),
    (8, 'labels(', $ts$/** What a read is labelled with: the tag, its prefix, and what reset drops. Caches ignore longer tags than 256. */
export function labels(tag: string, prefix: string): string[] {
  const short = tag.length > 256 ? `${cut(tag)}~${hash(tag)}` : tag;
  return Array.from(new Set([short, `${prefix}*`, '*']));
}$ts$),
    (9, 'prefixLabels(', $ts$/** Of a template that ends in *: the prefix that is emitted takes the place of the tag. */
export function prefixLabels(emitted: string, prefix: string): string[] {
  return Array.from(new Set([`${cut(emitted)}*`, `${prefix}*`, '*']));
}$ts$)) AS h(n, sign, code)
  WHERE strpos(used || ' labels( cut( hash(' || CASE WHEN strpos(used, 'month(') > 0 THEN ' day(' ELSE '' END, h.sign) > 0
$$;
COMMENT ON FUNCTION clinicache._ts_helpers(text) IS 'Internal: the functions that builders call, as far as they do';

CREATE FUNCTION clinicache._ts_lifetimes() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(format('  %s: { %s },', clinicache._ts_key(p.name),
                           concat_ws(', ', 'stale: ' || p.stale, 'revalidate: ' || p.revalidate, 'expire: ' || p.expire)),
                    chr(10) ORDER BY p.revalidate, p.name COLLATE "C")
  FROM clinicache.profile AS p
$$;
COMMENT ON FUNCTION clinicache._ts_lifetimes() IS 'Internal: profiles as members of a TypeScript object';

CREATE FUNCTION clinicache.typescript() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  newline  text := chr(10);
  builders text;
  infos    text;
BEGIN
  SELECT string_agg(format('  /** %s (%s) of %s */%s  %s: (%s): string[] => %s,',
                           clinicache._ts_comment(array_to_string(t.templates, ', ')), clinicache._ts_comment(t.profile),
                           clinicache._ts_comment(array_to_string(t.tables, ', ')), newline,
                           t.name, coalesce('args: ' || b.args, ''), b.body), newline ORDER BY t.n),
         string_agg(format('  %s: { templates: [%s], profile: %s, prefix: %s },', t.name,
                           (SELECT string_agg(clinicache._ts_string(u), ', ') FROM unnest(t.templates) AS u),
                           clinicache._ts_string(t.profile), clinicache._ts_string(t.prefix)), newline ORDER BY t.n)
    INTO builders, infos
    FROM clinicache._ts_templates() WITH ORDINALITY AS t(name, templates, profile, prefix, tables, n)
    CROSS JOIN LATERAL clinicache._ts_builder(t.templates, t.prefix) AS b;
  RETURN $ts$// Cache tags, made by SELECT clinicache.typescript() from the tables that are tracked. Do not edit: make it anew when tracking changes.
//
//   tags.xxx({ ... })      the labels of a read: its tag, the prefix that may be dropped in the tag's stead, and '*' (reset)
//   templates.xxx          the templates behind it, their profile and prefix
//   profiles.xxx           lifetimes in seconds
//
// When a message of clinicache arrives, expire its tags, `${prefix}*` for each of its prefixes, and '*' on reset: labelFor says which.

import { createHash } from 'node:crypto';

/** Give numbers as the column has them, uuids in lower case. */
export type Value = string | number | bigint | boolean;

/** A local day, 2026-11-21, in the time zone of the clinic. */
export type Day = string;

$ts$ || clinicache._ts_helpers(coalesce(builders, ''))
      || $ts$

export const tags = {
$ts$ || coalesce(builders || newline, '') || $ts$};

export const templates = {
$ts$ || coalesce(infos || newline, '') || $ts$} as const;

export const profiles = {
$ts$ || coalesce(clinicache._ts_lifetimes() || newline, '') || $ts$} as const;
$ts$ || CASE WHEN builders IS NOT NULL THEN $ts$
/** What all tags of a builder begin with. */
export function prefixFor(name: keyof typeof tags): string {
  return templates[name].prefix;
}
$ts$ ELSE '' END || $ts$
/** The label that a prefix of a message drops. */
export function labelFor(prefix: string): string {
  return `${prefix}*`;
}
$ts$;
END
$$;
COMMENT ON FUNCTION clinicache.typescript() IS
  'A TypeScript module with a function for each template of tracked tables, which gives what to label a read with and does what clinicache.tag() does; and the cache profiles. Make it anew when tracking changes';
-- clinicache: first rows, triggers on its own tables, privileges.

CREATE TRIGGER builtin_guard BEFORE INSERT OR UPDATE OR DELETE ON clinicache.profile
  FOR EACH ROW EXECUTE FUNCTION clinicache.builtin_guard();
CREATE TRIGGER builtin_guard BEFORE INSERT OR UPDATE OR DELETE ON clinicache.entity
  FOR EACH ROW EXECUTE FUNCTION clinicache.builtin_guard();
CREATE TRIGGER builtin_guard BEFORE INSERT OR UPDATE OR DELETE ON clinicache.alias
  FOR EACH ROW EXECUTE FUNCTION clinicache.builtin_guard();
CREATE TRIGGER builtin_guard BEFORE INSERT OR UPDATE OR DELETE ON clinicache.class
  FOR EACH ROW EXECUTE FUNCTION clinicache.builtin_guard();
COMMENT ON TRIGGER builtin_guard ON clinicache.profile IS 'Refuses changes of the extension''s own rows; upgrade scripts disable it';
COMMENT ON TRIGGER builtin_guard ON clinicache.entity IS 'Refuses changes of the extension''s own rows; upgrade scripts disable it';
COMMENT ON TRIGGER builtin_guard ON clinicache.alias IS 'Refuses changes of the extension''s own rows; upgrade scripts disable it';
COMMENT ON TRIGGER builtin_guard ON clinicache.class IS 'Refuses changes of the extension''s own rows; upgrade scripts disable it';

CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON clinicache.tenant
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_changed();
COMMENT ON TRIGGER tenant_changed ON clinicache.tenant IS 'Makes every session read the time zones again';

CREATE TRIGGER class_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON clinicache.class
  FOR EACH STATEMENT EXECUTE FUNCTION clinicache.tenant_changed();
COMMENT ON TRIGGER class_changed ON clinicache.class IS 'Makes every session read the classes again';

-- In logical replication's apply workers too: the time zones and profiles that arrive count, what is another server's
-- own does not.
ALTER TABLE clinicache.tenant ENABLE ALWAYS TRIGGER tenant_changed;
ALTER TABLE clinicache.profile ENABLE ALWAYS TRIGGER profile_changed;
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['identity', 'position_history', 'edge_history', 'log_floor', 'invalidation_log', 'counter_source', 'counter_invalid',
                              'counter_fold', 'counter_batch', 'counter_cell']
                        || ARRAY(SELECT 'invalidation_log_' || i FROM pg_catalog.generate_series(0, 7) AS i) LOOP
    EXECUTE pg_catalog.format('CREATE TRIGGER local_guard BEFORE INSERT OR UPDATE OR DELETE ON clinicache.%I '
                              'FOR EACH ROW EXECUTE FUNCTION clinicache.local_guard()', name);
    EXECUTE pg_catalog.format('ALTER TABLE clinicache.%I ENABLE ALWAYS TRIGGER local_guard', name);
    EXECUTE pg_catalog.format('COMMENT ON TRIGGER local_guard ON clinicache.%I IS '
                              '''Passes over rows replicated from another server''', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['profile', 'entity', 'alias', 'class'] LOOP
    EXECUTE pg_catalog.format('CREATE TRIGGER local_guard_new BEFORE INSERT ON clinicache.%I '
                              'FOR EACH ROW WHEN (NEW.builtin) EXECUTE FUNCTION clinicache.local_guard()', name);
    EXECUTE pg_catalog.format('CREATE TRIGGER local_guard_old BEFORE UPDATE OR DELETE ON clinicache.%I '
                              'FOR EACH ROW WHEN (OLD.builtin) EXECUTE FUNCTION clinicache.local_guard()', name);
    EXECUTE pg_catalog.format('ALTER TABLE clinicache.%I ENABLE ALWAYS TRIGGER local_guard_new, '
                              'ENABLE ALWAYS TRIGGER local_guard_old', name);
    EXECUTE pg_catalog.format('COMMENT ON TRIGGER local_guard_new ON clinicache.%I IS '
                              '''Passes over the extension''''s rows replicated from another server''', name);
    EXECUTE pg_catalog.format('COMMENT ON TRIGGER local_guard_old ON clinicache.%I IS '
                              '''Passes over changes of the extension''''s rows replicated from another server''', name);
  END LOOP;
END
$$;

SELECT clinicache.new_epoch();

INSERT INTO clinicache.position_history (position, delivered) VALUES (clinicache.position(), true);

-- Citus forbids triggers on distributed tables unless told that they are safe; without Citus the setting is a placeholder.
ALTER FUNCTION clinicache.track(regclass, text, jsonb, jsonb) SET citus.enable_unsafe_triggers = on;
ALTER FUNCTION clinicache.track(regclass, jsonb) SET citus.enable_unsafe_triggers = on;
ALTER FUNCTION clinicache.ddl_done() SET citus.enable_unsafe_triggers = on;
ALTER FUNCTION clinicache.ddl_dropped() SET citus.enable_unsafe_triggers = on;

REVOKE ALL ON ALL TABLES IN SCHEMA clinicache FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA clinicache FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA clinicache FROM PUBLIC;
-- CREATE TRIGGER asks for EXECUTE of whoever creates a partition; what a trigger may do is decided by its table's owner.
GRANT EXECUTE ON FUNCTION clinicache.row_change(), clinicache.truncate_change(), clinicache.tenant_changed() TO PUBLIC;
