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
