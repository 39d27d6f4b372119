/*-------------------------------------------------------------------------
 *
 * history.c
 *		clinicache.position_history: positions stored now and then.
 *
 * Delivery goes on at the newest row that says "delivered"; a floor is chosen
 * among the rows (maintain.c).  Written by insertion only (a row updated each
 * second would bloat under an old snapshot) and trimmed behind the retention.
 *
 * Locks: writers take ShareRowExclusiveLock, conditionally: if another session
 * is at it, there is nothing to do.  Snapshots are taken after the lock, or they
 * might miss what the session before has just written.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "history.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "catalog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#define Anum_history_id 1
#define Anum_history_at 2
#define Anum_history_position 3
#define Anum_history_delivered 4
#define Natts_history 4

static void
read_row(HistoryRow *row, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;

	row->id = DatumGetInt64(heap_getattr(tuple, Anum_history_id, desc, &isnull));
	row->at = DatumGetTimestampTz(heap_getattr(tuple, Anum_history_at, desc, &isnull));
	row->position = TextDatumGetCString(heap_getattr(tuple, Anum_history_position, desc, &isnull));
	row->delivered = DatumGetBool(heap_getattr(tuple, Anum_history_delivered, desc, &isnull));
}

/*
 * The newest row, or the newest that was delivered; false: there is none.  Its
 * text is allocated in CurrentMemoryContext.
 */
bool
cc_history_newest(HistoryRow *row, Snapshot snapshot, bool delivered)
{
	TableReader reader;
	HeapTuple	tuple;
	bool		found = false;

	cc_reader_begin(&reader, CC_TABLE_HISTORY, snapshot);
	while (!found && HeapTupleIsValid(tuple = cc_reader_next(&reader, BackwardScanDirection)))
	{
		read_row(row, tuple, RelationGetDescr(reader.rel));
		found = row->delivered || !delivered;
	}
	cc_reader_end(&reader);
	return found;
}

/* The newest row not after "limit"; trimming leaves few before it. */
bool
cc_history_newest_before(HistoryRow *row, Snapshot snapshot, TimestampTz limit)
{
	TableReader reader;
	HeapTuple	tuple;
	HistoryRow	next;
	bool		found = false;

	cc_reader_begin(&reader, CC_TABLE_HISTORY, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, ForwardScanDirection)))
	{
		read_row(&next, tuple, RelationGetDescr(reader.rel));
		if (next.at > limit)
			break;
		*row = next;
		found = true;
	}
	cc_reader_end(&reader);
	return found;
}

/* Delete rows older than "first", but for the one where delivery goes on. */
void
cc_history_trim(Snapshot snapshot, int64 first, int64 delivered)
{
	TableReader reader;
	HeapTuple	tuple;
	HistoryRow	row;

	cc_reader_begin(&reader, CC_TABLE_HISTORY, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, ForwardScanDirection)))
	{
		read_row(&row, tuple, RelationGetDescr(reader.rel));
		if (row.id >= first)
			break;
		if (row.id != delivered)
			simple_heap_delete(reader.rel, &tuple->t_self);
		pfree(row.position);
	}
	cc_reader_end(&reader);
}

/* Append a row; "delivered": all that the position sees has been sent.  Hold the lock. */
void
cc_history_insert(const char *position, bool delivered)
{
	Datum		values[Natts_history];
	bool		nulls[Natts_history] = {false};

	values[Anum_history_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_history_position - 1] = CStringGetTextDatum(position);
	values[Anum_history_delivered - 1] = BoolGetDatum(delivered);
	cc_catalog_insert_numbered(CC_TABLE_HISTORY, Natts_history, values, nulls);
}

/* Is this session to do the upkeep?  The lock is kept to the end of the transaction. */
bool
cc_history_lock(void)
{
	cc_catalog_require_primary();
	return ConditionalLockRelationOid(cc_catalog_relid(CC_TABLE_HISTORY), ShareRowExclusiveLock);
}

/*
 * The same, but for a moment it is waited for: the worker has it for about as long
 * once a second, when it stores its position.
 */
bool
cc_history_lock_soon(void)
{
	for (int tries = 0; tries < 20; tries++)
	{
		if (cc_history_lock())
			return true;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(5000L);
	}
	return false;
}
