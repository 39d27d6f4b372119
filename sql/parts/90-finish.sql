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
  FOREACH name IN ARRAY ARRAY['identity', 'position_history', 'edge_history', 'parent_move', 'log_floor', 'invalidation_log', 'counter_source', 'counter_invalid',
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
GRANT EXECUTE ON FUNCTION clinicache.row_change(), clinicache.truncate_change(), clinicache.parent_change(), clinicache.tenant_changed() TO PUBLIC;
