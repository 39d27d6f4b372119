/*-------------------------------------------------------------------------
 *
 * edge_upkeep.c
 *		maintain_edges(): each clock edge once, and again for who was late.
 *
 *		newest row of edge_history ─▶ edges from there to now     ─▶ a new row
 *		rows that wait             ─▶ edges again, for those that ended since
 *
 * A transaction that is open across an edge may commit a row that was not yet
 * in a window when it was written, and that the edge did not see.  So each row
 * of the history names the transactions that were running when its time had
 * been looked through, prepared ones too; as they end, its edges are emitted
 * again, for rows that were written by them or later.
 *
 * Written and read below the executor, by insertion and deletion only, under
 * ShareRowExclusiveLock, which is taken conditionally: one session at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "edge.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "position.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(clinicache_maintain_edges);

#define Anum_edge_id 1
#define Anum_edge_at 2
#define Anum_edge_since 3
#define Anum_edge_through 4
#define Anum_edge_running 5
#define Natts_edge 5

/* a clock that is set back by more than this starts anew, by less is waited for */
#define SET_BACK_MAX (60 * USECS_PER_SEC)

/* one row of the history */
typedef struct EdgeRow
{
	ItemPointerData tid;		/* invalid: not stored yet, or not any more as it is */
	TimestampTz since;
	TimestampTz through;
	int			nrunning;
	FullTransactionId *running; /* ascending */
} EdgeRow;

static void
take_array(EdgeRow *row, ArrayType *array)
{
	Datum	   *xids;
	bool	   *nulls;

	deconstruct_array(array, XID8OID, sizeof(FullTransactionId), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &xids, &nulls, &row->nrunning);
	row->running = palloc(sizeof(FullTransactionId) * Max(1, row->nrunning));
	for (int i = 0; i < row->nrunning; i++)
		row->running[i] = DatumGetFullTransactionId(xids[i]);
}

/* All rows, oldest first. */
static List *
read_rows(Snapshot snapshot)
{
	TableReader reader;
	HeapTuple	tuple;
	List	   *rows = NIL;

	cc_reader_begin(&reader, CC_TABLE_EDGES, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, ForwardScanDirection)))
	{
		TupleDesc	desc = RelationGetDescr(reader.rel);
		EdgeRow    *row = palloc(sizeof(EdgeRow));
		bool		isnull;

		row->tid = tuple->t_self;
		row->since = DatumGetTimestampTz(heap_getattr(tuple, Anum_edge_since, desc, &isnull));
		row->through = DatumGetTimestampTz(heap_getattr(tuple, Anum_edge_through, desc, &isnull));
		take_array(row, DatumGetArrayTypeP(heap_getattr(tuple, Anum_edge_running, desc, &isnull)));
		rows = lappend(rows, row);
	}
	cc_reader_end(&reader);
	return rows;
}

static void
write_row(EdgeRow *row)
{
	Datum	   *xids = palloc(sizeof(Datum) * Max(1, row->nrunning));
	Datum		values[Natts_edge];
	bool		nulls[Natts_edge] = {false};

	for (int i = 0; i < row->nrunning; i++)
		xids[i] = FullTransactionIdGetDatum(row->running[i]);
	values[Anum_edge_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_edge_since - 1] = TimestampTzGetDatum(row->since);
	values[Anum_edge_through - 1] = TimestampTzGetDatum(row->through);
	values[Anum_edge_running - 1] =
		PointerGetDatum(construct_array(xids, row->nrunning, XID8OID, sizeof(FullTransactionId),
										FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	cc_catalog_insert_numbered(CC_TABLE_EDGES, Natts_edge, values, nulls);
}

/* Make the table's rows those of "rows", given what it had. */
static void
write_rows(List *old_rows, List *rows)
{
	Relation	rel = relation_open(cc_catalog_relid(CC_TABLE_EDGES), RowExclusiveLock);
	ListCell   *cell;

	foreach(cell, old_rows)
	{
		EdgeRow    *row = lfirst(cell);

		if (!list_member_ptr(rows, row))
			simple_heap_delete(rel, &row->tid);
	}
	foreach(cell, rows)
		if (!list_member_ptr(old_rows, lfirst(cell)))
			write_row(lfirst(cell));
	relation_close(rel, NoLock);
}

static int
compare_xids(const void *a, const void *b)
{
	uint64		x = U64FromFullTransactionId(*(const FullTransactionId *) a);
	uint64		y = U64FromFullTransactionId(*(const FullTransactionId *) b);

	return (x > y) - (x < y);
}

/* Ids that are in use precede the next one. */
static FullTransactionId
widen(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/*
 * Who may have written something by now that no snapshot shows yet?  A
 * snapshot's list would not do: it leaves away those that began after the last
 * one that ended.  Prepared transactions stand behind the processes.
 */
static void
take_running(EdgeRow *row)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId own = GetTopTransactionIdIfAny();
	uint32		nprocs = ProcGlobal->allProcCount + max_prepared_xacts;
	int			kept = 0;

	row->running = palloc(sizeof(FullTransactionId) * (nprocs + 1));
	row->nrunning = 0;
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (uint32 i = 0; i < nprocs; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		TransactionId xid = proc->xid;

		if (TransactionIdIsNormal(xid) && xid != own &&
			(proc->databaseId == MyDatabaseId || !OidIsValid(proc->databaseId)) &&
			TransactionIdPrecedes(xid, XidFromFullTransactionId(next)))
			row->running[row->nrunning++] = widen(xid, next);
	}
	LWLockRelease(ProcArrayLock);
	/* places of prepared transactions keep what they were used for; one being prepared has two */
	qsort(row->running, row->nrunning, sizeof(FullTransactionId), compare_xids);
	for (int i = 0; i < row->nrunning; i++)
		if ((kept == 0 || !FullTransactionIdEquals(row->running[i], row->running[kept - 1])) &&
			TransactionIdIsInProgress(XidFromFullTransactionId(row->running[i])))
			row->running[kept++] = row->running[i];
	row->nrunning = kept;
}

/*
 * Split off who has ended.  Returns the row with those still running, NULL if
 * none is; "ended" is set to the first that has ended.
 */
static EdgeRow *
without_ended(EdgeRow *row, const Position *now, TransactionId *ended)
{
	EdgeRow    *rest = palloc(sizeof(EdgeRow));

	*ended = InvalidTransactionId;
	*rest = *row;
	rest->nrunning = 0;
	rest->running = palloc(sizeof(FullTransactionId) * Max(1, row->nrunning));
	for (int i = 0; i < row->nrunning; i++)
	{
		if (!cc_position_sees(now, row->running[i]))
			rest->running[rest->nrunning++] = row->running[i];
		else if (!TransactionIdIsValid(*ended))
			*ended = XidFromFullTransactionId(row->running[i]);
	}
	if (rest->nrunning == 0)
		return NULL;
	return rest->nrunning == row->nrunning ? row : rest;
}

/*
 * One row for two that follow one another and wait for the same: a transaction
 * that is open for long does not leave a row for each upkeep.
 */
static List *
add_waiting(List *rows, EdgeRow *row)
{
	EdgeRow    *last = rows == NIL ? NULL : llast(rows);
	EdgeRow    *both;

	if (last == NULL || last->through != row->since || last->nrunning != row->nrunning ||
		memcmp(last->running, row->running, sizeof(FullTransactionId) * row->nrunning) != 0)
		return lappend(rows, row);
	both = palloc(sizeof(EdgeRow));
	*both = *row;
	both->since = last->since;
	return lappend(list_delete_last(rows), both);
}

/* Emit again what waited for transactions that have ended; returns what still waits. */
static List *
emit_waiting(List *rows, Snapshot snapshot)
{
	Position   *now = cc_position_local(snapshot);
	List	   *waiting = NIL;
	ListCell   *cell;

	foreach(cell, rows)
	{
		EdgeRow    *row = lfirst(cell);
		TransactionId ended;
		EdgeRow    *rest = without_ended(row, now, &ended);

		if (TransactionIdIsValid(ended))
			(void) cc_edges_emit(row->since, row->through, ended, snapshot);
		if (rest != NULL)
			waiting = add_waiting(waiting, rest);
	}
	return waiting;
}

/*
 * Emit the edges since the newest row; returns the next one, NULL: no table has
 * any edges.  "row" comes with the time that it is, and who is running.
 */
static EdgeRow *
emit_new(EdgeRow *newest, EdgeRow *row, Snapshot snapshot)
{
	TimestampTz now = row->through;
	TimestampTz through = newest ? newest->through : now;
	EdgeCounts	counts;

	row->since = through;
	if (now <= through)
		row->nrunning = 0;
	if (now >= through)
		counts = cc_edges_emit(through, now, InvalidTransactionId, snapshot);
	else if (through - now <= SET_BACK_MAX)
	{
		row = newest;
		counts = cc_edges_emit(now, now, InvalidTransactionId, snapshot);
	}
	else
	{
		/* what was today is not any more: edges, backwards */
		row->since = now;
		counts = cc_edges_emit(now, through, InvalidTransactionId, snapshot);
	}
	return counts.tables > 0 ? row : NULL;
}

/*
 * maintain_edges() -> boolean
 *		Emits the clock edges since the last time; the first time, notes when
 *		that was.  False: another session is at it.
 */
Datum
clinicache_maintain_edges(PG_FUNCTION_ARGS)
{
	EdgeRow    *now = palloc0(sizeof(EdgeRow));
	Snapshot	snapshot;
	List	   *old_rows;
	List	   *rows;
	EdgeRow    *newest;
	EdgeRow    *row;

	cc_catalog_require_primary();
	PreventCommandIfReadOnly("clinicache.maintain_edges()");
	if (!ConditionalLockRelationOid(cc_catalog_relid(CC_TABLE_EDGES), ShareRowExclusiveLock))
		PG_RETURN_BOOL(false);
	/* in this order: who has written by now shows in the snapshot, or is in the list */
	now->through = cc_clock();
	take_running(now);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	old_rows = read_rows(snapshot);
	newest = old_rows == NIL ? NULL : llast(old_rows);

	row = emit_new(newest, now, snapshot);
	if (row == NULL)
		rows = NIL;
	else if (row == newest)
		rows = old_rows;
	else
		rows = lappend(emit_waiting(old_rows, snapshot), row);
	write_rows(old_rows, rows);
	UnregisterSnapshot(snapshot);
	PG_RETURN_BOOL(true);
}
