-- clinicache: tables.  Installed into schema clinicache, which CREATE EXTENSION makes (control file).

-- Whoever owns the schema could put functions into it that are called in our functions' place.  A superuser need not:
-- a dump restored by another one than made it brings a schema of that.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace AS n JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
             WHERE n.nspname = 'clinicache' AND n.nspowner <> current_user::pg_catalog.regrole AND NOT r.rolsuper) THEN
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

CREATE TABLE clinicache.parent_move (
  id      bigint      GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  xid     xid8        NOT NULL,
  horizon xid8
);
COMMENT ON TABLE  clinicache.parent_move IS 'Transactions that made look-ups lead elsewhere, whose tags are emitted once more; rows are only inserted and deleted, never updated';
COMMENT ON COLUMN clinicache.parent_move.id IS 'Order of insertion';
COMMENT ON COLUMN clinicache.parent_move.at IS 'When the row was written';
COMMENT ON COLUMN clinicache.parent_move.xid IS 'Transaction, as in clinicache.invalidation_log';
COMMENT ON COLUMN clinicache.parent_move.horizon IS 'When all transactions before this one have ended it is time; null: somebody may still look up what was before';

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
