-- All that the extension made in a database, a property a line, in order: two databases
-- with the same version say the same, however they came to it (sql/upgrade-diff).
SET search_path = pg_catalog, pg_temp;
WITH extension AS (
  SELECT * FROM pg_extension WHERE extname = 'clinicache'
), member AS (
  SELECT d.classid, d.objid FROM pg_depend AS d JOIN extension AS e
    ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
), acl(what, name, list) AS (
  -- in no order, and without roles but PUBLIC: what users granted is theirs
  SELECT 'function', p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc AS p
   WHERE p.pronamespace = 'clinicache'::regnamespace
  UNION ALL
  SELECT 'relation', c.oid::regclass::text, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
  FROM pg_class AS c WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relkind IN ('r', 'v', 'S')
  UNION ALL
  SELECT 'schema', n.nspname::text, coalesce(n.nspacl, acldefault('n', n.nspowner)) FROM pg_namespace AS n WHERE n.nspname = 'clinicache'
), init AS (
  SELECT (pg_identify_object(i.classoid, i.objoid, i.objsubid)).identity AS name, i.initprivs
  FROM pg_init_privs AS i JOIN member AS m ON m.classid = i.classoid AND m.objid = i.objoid
), property(object, property, value) AS (
  SELECT 'extension', 'version', e.extversion || ' ' || e.extrelocatable || ' ' || e.extnamespace::regnamespace FROM extension AS e
  UNION ALL
  SELECT 'extension', 'dumps ' || c.id::regclass, c.condition
  FROM extension AS e, unnest(e.extconfig, e.extcondition) AS c(id, condition)
  UNION ALL
  SELECT (pg_identify_object(m.classid, m.objid, 0)).identity, 'member', (pg_identify_object(m.classid, m.objid, 0)).type FROM member AS m
  UNION ALL
  -- of relations and types that are members; functions and the like see below
  SELECT o.identity, 'comment', d.description
  FROM member AS m JOIN pg_description AS d ON d.classoid = m.classid AND d.objoid = m.objid AND d.objsubid = 0,
       pg_identify_object(m.classid, m.objid, 0) AS o
  UNION ALL
  SELECT 'schema clinicache', 'comment', obj_description('clinicache'::regnamespace, 'pg_namespace')
  UNION ALL
  -- functions
  SELECT p.oid::regprocedure::text, 'definition', CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END
         || format(' owner %s, is member: %s', CASE WHEN p.proowner = e.extowner THEN 'the extension''s' ELSE 'another' END,
                   (p.oid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_proc'::regclass)))
  FROM pg_proc AS p, extension AS e WHERE p.pronamespace = 'clinicache'::regnamespace
  UNION ALL
  -- relations
  SELECT c.oid::regclass::text, 'relation',
         concat_ws(' ', c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity, c.relforcerowsecurity, array_to_string(c.reloptions, ','),
                   CASE WHEN c.relowner = e.extowner THEN 'the extension''s' ELSE 'another' END,
                   (SELECT array_agg(i.inhparent::regclass ORDER BY i.inhseqno) FROM pg_inherits AS i WHERE i.inhrelid = c.oid),
                   CASE c.relkind WHEN 'i' THEN pg_get_indexdef(c.oid) WHEN 'v' THEN pg_get_viewdef(c.oid) END)
  FROM pg_class AS c, extension AS e WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relkind <> 'S'
  UNION ALL
  SELECT c.oid::regclass::text, 'sequence',
         concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle,
                   (SELECT concat_ws(' ', d.deptype, d.refobjid::regclass, d.refobjsubid) FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
  FROM pg_class AS c JOIN pg_sequence AS s ON s.seqrelid = c.oid WHERE c.relnamespace = 'clinicache'::regnamespace
  UNION ALL
  -- columns: by their order, not their number, which a dropped one leaves behind
  SELECT c.oid::regclass::text, format('column %s', row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum)),
         concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attcollation::regcollation,
                   a.attstorage, a.attcompression, a.attislocal, a.attinhcount, a.attacl,
                   -- Debian's PostgreSQL notes a version of its own there
                   (SELECT array_agg(o ORDER BY o) FROM unnest(a.attoptions) AS o WHERE o NOT LIKE 'pg\_attver=%'),
                   pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relkind IN ('r', 'v', 'c')
  UNION ALL
  SELECT k.conrelid::regclass::text, 'constraint ' || k.conname, concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated, obj_description(k.oid, 'pg_constraint'))
  FROM pg_constraint AS k WHERE k.connamespace = 'clinicache'::regnamespace AND k.contype <> 'n'
  UNION ALL
  SELECT t.tgrelid::regclass::text, 'trigger ' || t.tgname, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'))
  FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid WHERE c.relnamespace = 'clinicache'::regnamespace AND NOT t.tgisinternal
  UNION ALL
  SELECT t.evtname::text, 'event trigger', concat_ws(' ', t.evtevent, t.evtfoid::regprocedure, t.evtenabled, t.evttags)
  FROM pg_event_trigger AS t WHERE t.oid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_event_trigger'::regclass)
  UNION ALL
  SELECT r.ev_class::regclass::text, 'rule ' || r.rulename, pg_get_ruledef(r.oid)
  FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class WHERE c.relnamespace = 'clinicache'::regnamespace AND c.relkind <> 'v'
  UNION ALL
  SELECT 'policy ' || p.polname, p.polrelid::regclass::text, concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid WHERE c.relnamespace = 'clinicache'::regnamespace
  UNION ALL
  -- privileges, and those that pg_dump leaves to CREATE EXTENSION
  SELECT a.name, 'privileges', string_agg(concat_ws(' ', x.grantee = 0, x.privilege_type, x.is_grantable), ', ' ORDER BY x.grantee, x.privilege_type)
  FROM acl AS a, aclexplode(a.list) AS x, extension AS e WHERE x.grantee IN (0, e.extowner) GROUP BY a.what, a.name
  UNION ALL
  SELECT i.name, 'initial privileges', string_agg(concat_ws(' ', CASE x.grantee WHEN 0 THEN 'PUBLIC' WHEN e.extowner THEN 'owner' ELSE 'a role' END,
                                                            x.privilege_type, x.is_grantable), ', ' ORDER BY x.grantee, x.privilege_type)
  FROM init AS i, aclexplode(i.initprivs) AS x, extension AS e GROUP BY i.name
  UNION ALL
  -- rows
  SELECT 'clinicache.profile', 'row', to_jsonb(r)::text FROM clinicache.profile AS r WHERE r.builtin
  UNION ALL
  SELECT 'clinicache.entity', 'row', to_jsonb(r)::text FROM clinicache.entity AS r WHERE r.builtin
  UNION ALL
  SELECT 'clinicache.alias', 'row', to_jsonb(r)::text FROM clinicache.alias AS r WHERE r.builtin
  UNION ALL
  SELECT 'clinicache.class', 'row', to_jsonb(r)::text FROM clinicache.class AS r WHERE r.builtin
  UNION ALL
  SELECT 'clinicache.identity', 'rows', count(*)::text FROM clinicache.identity
)
SELECT concat_ws(' | ', p.object, p.property, regexp_replace(p.value, '\s*\n\s*', E'\n    ', 'g'))
FROM property AS p ORDER BY p.object COLLATE "C", p.property COLLATE "C", p.value COLLATE "C";
