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
COMMENT ON COLUMN clinicache.tracked_tables.columns IS 'Logical column to its real columns (first not null), {"const": text} or {"lookup": path}';
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
