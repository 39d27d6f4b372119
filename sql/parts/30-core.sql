-- The functions in C that tracking needs, in the order data flows.

CREATE FUNCTION clinicache.row_change() RETURNS trigger
  AS 'MODULE_PATHNAME', 'clinicache_row_change' LANGUAGE C;
COMMENT ON FUNCTION clinicache.row_change() IS
  'Row trigger of tracked tables: turns a change into tags. Made by clinicache.track(); its one argument is the resolved configuration as JSON';

CREATE FUNCTION clinicache.parent_change() RETURNS trigger
  AS 'MODULE_PATHNAME', 'clinicache_parent_change' LANGUAGE C;
COMMENT ON FUNCTION clinicache.parent_change() IS
  'Row trigger of tables that look-ups of tracked tables lead through: when a row leads elsewhere, emits their list tags. Made by clinicache.track(); its one argument is the configuration as JSON';

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

CREATE FUNCTION clinicache.lookup_steps(path text)
  RETURNS TABLE(step int, schema_name text, table_name text, key text, value text)
  AS 'MODULE_PATHNAME', 'clinicache_lookup_steps' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE ROWS 3;
COMMENT ON FUNCTION clinicache.lookup_steps(text) IS
  'A look-up taken apart: "patientId -> public.patients(id).clinic_id". Step 0 has the column that it begins at, as value; schema_name is null where none is written. Error 22023 if it is malformed';

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
