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
