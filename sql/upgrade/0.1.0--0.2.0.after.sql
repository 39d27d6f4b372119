-- Who may own the schema is asked by CREATE EXTENSION only.
-- covers: DO 3c76b7b4
-- covers: DO 4c69c2ba
-- covers: DO 6130ab53
-- covers: DO 9d40447c
CREATE TRIGGER local_guard BEFORE INSERT OR UPDATE OR DELETE ON clinicache.parent_move
  FOR EACH ROW EXECUTE FUNCTION clinicache.local_guard();
ALTER TABLE clinicache.parent_move ENABLE ALWAYS TRIGGER local_guard;
COMMENT ON TRIGGER local_guard ON clinicache.parent_move IS 'Passes over rows replicated from another server';
-- Written into the privileges, where a fresh installation has them.
REVOKE ALL ON TABLE clinicache.parent_move FROM PUBLIC;
REVOKE ALL ON SEQUENCE clinicache.parent_move_id_seq FROM PUBLIC;
