/*-------------------------------------------------------------------------
 *
 * invalidation_log.c
 *		Appending change records to the log.
 *
 *		flush.c ──▶ cc_log_begin_write ──▶ a slot, chosen by the clock
 *		            cc_log_append      ──▶ one row, and its entry in the xid index
 *		            cc_log_end_write       (the slot stays locked until the end
 *		                                    of the transaction)
 *
 * The log is kept in CC_LOG_SLOTS child tables, so that what is past retention
 * can be emptied as a whole.  Which slot a row is in matters only for that:
 * every reader looks into all of them.
 *
 * Locks: a writer holds RowExclusiveLock on one slot until its transaction
 * ends, hence a slot that upkeep has locked exclusively holds no row of a
 * transaction in progress.  Upkeep's lock is never waited for while another
 * slot is free.
 *
 * Runs in transaction callbacks, where there is no active snapshot, and in the
 * middle of statements, even inside a subtransaction (spilling); so nothing
 * here may run queries or user code.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "invalidation_log.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "compat.h"
#include "log_scan.h"
#include "profile.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

/* bytes of tags; fewer are not worth the while */
#define COMPRESS_FROM 256

struct LogWriter
{
	Relation	rel;
	RowWriter  *rows;
};

/* Register the callbacks; called once, from _PG_init. */
void
cc_log_init(void)
{
	cc_catalog_init();
	cc_profile_init();
}

/* The slot whose turn it is: six of them span the retention time. */
static int
slot_by_clock(void)
{
	int64		seconds = GetCurrentTimestamp() / USECS_PER_SEC;

	return (int) ((seconds / Max(1, cc_retention / 6)) % CC_LOG_SLOTS);
}

/* Open a slot whose lock is there for the taking; NULL: there is none, or it was dropped. */
static Relation
open_free_slot(const Oid *tables, int first)
{
	for (int i = 0; i < CC_LOG_SLOTS; i++)
	{
		Oid			table = tables[(first + i) % CC_LOG_SLOTS];
		Relation	rel;

		if (!ConditionalLockRelationOid(table, RowExclusiveLock))
			continue;
		rel = try_table_open(table, NoLock);
		if (rel == NULL)
			UnlockRelationOid(table, RowExclusiveLock);
		return rel;
	}
	return NULL;
}

/* Open a slot, waiting if need be; NULL: the extension is gone. */
static Relation
open_slot(void)
{
	Oid			tables[CC_LOG_SLOTS];

	while (cc_catalog_slots(tables))
	{
		int			first = slot_by_clock();
		Relation	rel = open_free_slot(tables, first);

		if (rel != NULL)
			return rel;
		/* all are locked, or the extension was dropped while we looked: waiting tells */
		LockRelationOid(tables[first], RowExclusiveLock);
		rel = try_table_open(tables[first], NoLock);
		if (rel != NULL)
			return rel;
		UnlockRelationOid(tables[first], RowExclusiveLock);
		cc_catalog_forget_slots();
	}
	return NULL;
}

/*
 * Start writing.  NULL when the log does not exist: the extension was dropped,
 * perhaps by this transaction.  Allocates in CurrentMemoryContext, and so does
 * cc_log_append: the caller's context has to be a short-lived one.
 */
LogWriter *
cc_log_begin_write(void)
{
	Relation	rel = open_slot();
	LogWriter  *writer;

	if (rel == NULL)
		return NULL;
	writer = palloc(sizeof(LogWriter));
	writer->rel = rel;
	writer->rows = cc_writer_begin(rel, Natts_log);
	return writer;
}

/*
 * Tags share most of their text, so the array shrinks to half, and with it the
 * WAL that commits wait for.  PostgreSQL compresses only rows of 2 kB and more.
 */
static Datum
compress_tags(Datum tags)
{
	Datum		compressed;

	if (VARSIZE(DatumGetPointer(tags)) < COMPRESS_FROM)
		return tags;
	compressed = cc_compress_datum(tags);
	return DatumGetPointer(compressed) ? compressed : tags;
}

static void
set_value(Datum *values, bool *nulls, int attnum, Datum value)
{
	values[attnum - 1] = value;
	nulls[attnum - 1] = false;
}

/*
 * Append one row, under the top-level transaction id: that is what readers'
 * positions know.  Inside a subtransaction the row vanishes with it all the same.
 */
void
cc_log_append(LogWriter *writer, const LogRecord *record)
{
	Datum		values[Natts_log];
	bool		nulls[Natts_log];

	memset(values, 0, sizeof(values));
	memset(nulls, true, sizeof(nulls));
	set_value(values, nulls, Anum_log_xid,
			  FullTransactionIdGetDatum(GetTopFullTransactionId()));
	set_value(values, nulls, Anum_log_at, TimestampTzGetDatum(GetCurrentTimestamp()));
	set_value(values, nulls, Anum_log_delivered, BoolGetDatum(record->delivered));
	if (record->tenant != NULL)
		set_value(values, nulls, Anum_log_tenant,
				  PointerGetDatum(cstring_to_text_with_len(record->tenant, record->tenant_len)));
	if (record->origin != NULL)
		set_value(values, nulls, Anum_log_origin, CStringGetTextDatum(record->origin));
	if (record->tags != NULL)
	{
		set_value(values, nulls, Anum_log_tags, compress_tags(PointerGetDatum(record->tags)));
		set_value(values, nulls, Anum_log_profiles, CStringGetTextDatum(record->profiles));
	}
	if (record->prefixes != NULL)
		set_value(values, nulls, Anum_log_prefixes, PointerGetDatum(record->prefixes));
	if (record->deltas != NULL)
		set_value(values, nulls, Anum_log_deltas, PointerGetDatum(record->deltas));
	cc_writer_insert(writer->rows, values, nulls);
}

/* Finish.  The locks stay: see the head of this file. */
void
cc_log_end_write(LogWriter *writer)
{
	cc_writer_end(writer->rows);
	table_close(writer->rel, NoLock);
}
