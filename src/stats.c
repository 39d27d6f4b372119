/*-------------------------------------------------------------------------
 *
 * stats.c
 *		What the views stat_delivery and stat_tables show.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "shared.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(clinicache_delivery_state);
PG_FUNCTION_INFO_V1(clinicache_table_counters);
PG_FUNCTION_INFO_V1(clinicache_stat_reset);

typedef enum DeliveryColumn
{
	COLUMN_MODE,
	COLUMN_WORKER_PID,
	COLUMN_WORKER_STATE,
	COLUMN_RECORDS_WRITTEN,
	COLUMN_TAGS_WRITTEN,
	COLUMN_RECORDS_DELIVERED,
	COLUMN_TAGS_DELIVERED,
	COLUMN_TAGS_MERGED,
	COLUMN_MESSAGES,
	COLUMN_BYTES,
	COLUMN_LAG_RECORDS,
	COLUMN_LAG_MS,
	COLUMN_LAST_DELIVERY,
	COLUMN_LAST_ERROR,
	COLUMN_LAST_ERROR_AT,
	COLUMN_QUEUE_USAGE,
	COLUMN_STATS_RESET,
	COLUMN_COUNT
} DeliveryColumn;

static const char *
mode_name(DeliveryMode mode)
{
	switch (mode)
	{
		case DELIVERY_WORKER:
			return "worker";
		case DELIVERY_COMMIT:
			return "commit";
		case DELIVERY_LOG:
			return "log";
		default:
			return "auto";
	}
}

/* A copy of the entry is looked at, taken under the lock. */
static const char *
state_name(const SharedDatabase *database)
{
	if (cc_shared == NULL)
		return "not preloaded";
	if (database == NULL)
		return "none";
	if (database->blocked > 0)
		return "blocked";
	if (database->no_slot)
		return "no free background worker";
	switch (database->state)
	{
		case WORKER_RUNNING:
			return cc_shared_worker_lives(database) ? "running" : "silent";
		case WORKER_WANTED:
		case WORKER_STARTING:
			return "starting";
		case WORKER_FAILED:
			return "failed";
		default:
			return "none";
	}
}

static void
set(Datum *values, bool *nulls, DeliveryColumn column, Datum value)
{
	values[column] = value;
	nulls[column] = false;
}

static void
set_time(Datum *values, bool *nulls, DeliveryColumn column, TimestampTz time)
{
	if (time != 0)
		set(values, nulls, column, TimestampTzGetDatum(time));
}

static void
set_counter(Datum *values, bool *nulls, DeliveryColumn column, pg_atomic_uint64 *counter)
{
	set(values, nulls, column, Int64GetDatum((int64) pg_atomic_read_u64(counter)));
}

static void
set_counters(Datum *values, bool *nulls, SharedDatabase *database)
{
	DeliveryCounters *counters = &database->counters;
	int64		left = (int64) pg_atomic_read_u64(&counters->records_left);
	int64		passed = (int64) pg_atomic_read_u64(&counters->records_passed);
	uint64		since = pg_atomic_read_u64(&database->waiting_since);
	TimestampTz now = GetCurrentTimestamp();

	set_counter(values, nulls, COLUMN_RECORDS_WRITTEN, &counters->records_written);
	set_counter(values, nulls, COLUMN_TAGS_WRITTEN, &counters->tags_written);
	set_counter(values, nulls, COLUMN_RECORDS_DELIVERED, &counters->records_delivered);
	set_counter(values, nulls, COLUMN_TAGS_DELIVERED, &counters->tags_delivered);
	set_counter(values, nulls, COLUMN_TAGS_MERGED, &counters->tags_merged);
	set_counter(values, nulls, COLUMN_MESSAGES, &counters->messages);
	set_counter(values, nulls, COLUMN_BYTES, &counters->bytes);
	set(values, nulls, COLUMN_LAG_RECORDS, Int64GetDatum(Max(left - passed, 0)));
	set(values, nulls, COLUMN_LAG_MS,
		Float8GetDatum(since == 0 || (TimestampTz) since > now ? 0.0 :
					   (double) (now - (TimestampTz) since) / 1000.0));
}

/*
 * delivery_state() -> record
 *		The row of the view stat_delivery.
 */
Datum
clinicache_delivery_state(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[COLUMN_COUNT] = {0};
	bool		nulls[COLUMN_COUNT];
	SharedDatabase *database = NULL;
	SharedDatabase copy;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != COLUMN_COUNT)
		elog(ERROR, "unexpected result type");
	memset(nulls, true, sizeof(nulls));
	if (cc_shared)
	{
		LWLockAcquire(cc_shared->lock, LW_SHARED);
		database = cc_shared_find(MyDatabaseId);
		if (database)
			memcpy(&copy, database, sizeof(copy));
		LWLockRelease(cc_shared->lock);
	}
	set(values, nulls, COLUMN_MODE, CStringGetTextDatum(mode_name(cc_guc_delivery())));
	set(values, nulls, COLUMN_WORKER_STATE,
		CStringGetTextDatum(state_name(database ? &copy : NULL)));
	set(values, nulls, COLUMN_QUEUE_USAGE,
		DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0));
	if (database)
	{
		if (copy.pid != 0)
			set(values, nulls, COLUMN_WORKER_PID, Int32GetDatum(copy.pid));
		set_counters(values, nulls, database);
		set_time(values, nulls, COLUMN_LAST_DELIVERY, copy.delivered_at);
		if (copy.error[0] != '\0')
			set(values, nulls, COLUMN_LAST_ERROR, CStringGetTextDatum(copy.error));
		set_time(values, nulls, COLUMN_LAST_ERROR_AT, copy.error_at);
		set_time(values, nulls, COLUMN_STATS_RESET, copy.stats_reset);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * table_counters() -> setof record
 *		Counters of this database's tables and partitions.
 */
Datum
clinicache_table_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; cc_shared != NULL && i < CC_SHARED_TABLES; i++)
	{
		SharedTable *table = &cc_shared->tables[i];
		Datum		values[6];
		bool		nulls[6] = {false};

		if (table->dboid != MyDatabaseId)
			continue;
		values[0] = ObjectIdGetDatum(table->relid);
		values[1] = Int64GetDatum((int64) pg_atomic_read_u64(&table->counters.rows));
		values[2] = Int64GetDatum((int64) pg_atomic_read_u64(&table->counters.tags));
		values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&table->counters.prefixes));
		values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&table->counters.suppressed));
		values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&table->counters.collapses));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * stat_reset() -> void
 *		All counters of this database begin anew.
 */
Datum
clinicache_stat_reset(PG_FUNCTION_ARGS)
{
	cc_shared_reset_stats();
	PG_RETURN_VOID();
}
