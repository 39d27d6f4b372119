/*-------------------------------------------------------------------------
 *
 * fold.c
 *		From change records to folded counters.
 *
 *		deltas of records that the last fold did not see, and a snapshot sees
 *		   ─▶ counter_batch                       a few rows for thousands of keys
 *		   ─▶ counter_cell, with the batches      when there are many, or time for it
 *		   ─▶ counter_fold: its number, what its snapshot saw
 *
 * One transaction does it all, so a reader finds in any snapshot the newest fold
 * it sees, what that fold folded, and in the log the rest: it need not know what
 * folds are under way.
 *
 * Locks: ShareRowExclusiveLock on counter_fold to the end of the transaction,
 * only if it is free.  The snapshot is taken after it, so that it sees the fold
 * before.  No transaction id is needed until the first row is written, hence the
 * ids that the snapshot knows are older than ours, and after a crash that keeps
 * our rows none of them is given out again.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "fold.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "cells.h"
#include "counter.h"
#include "counter_source.h"
#include "counter_store.h"
#include "log_scan.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define Anum_fold_fold 1
#define Anum_fold_at 2
#define Anum_fold_base 3
#define Anum_fold_snapshot 4
#define Natts_fold 4

/*
 * So many batches, or so large ones, are merged: who reads a key for the first time looks
 * into each, while a merge writes what has changed of a clinic's or doctor's months anew.
 */
#define MERGE_BATCHES 100
#define MERGE_BYTES (6 * 1024 * 1024)

/*
 * Records without deltas are worth a fold too when readers have to pass so many; and
 * any in upkeep, which can empty no more of the log than was folded.
 */
#define IDLE_RECORDS 500

/* cells in memory beyond which they are applied at once */
#define CELLS_BYTES (32 * 1024 * 1024)

PG_FUNCTION_INFO_V1(clinicache_maintain_fold);

/* a fold in progress */
typedef struct Folding
{
	MemoryContext context;
	List	   *sources;
	CellSet    *cells;
	StringInfoData name;
	int64		number;
	bool		direct;			/* some were applied: no batch this time */
	uint64		deltas;
	List	   *distrusted;		/* ids */
} Folding;

/* As PostgreSQL writes a pg_snapshot: xmin:xmax:running, */
static char *
snapshot_text(const Position *position)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, UINT64_FORMAT ":" UINT64_FORMAT ":",
					 U64FromFullTransactionId(position->nrunning > 0 ? position->running[0] :
											  position->xmax),
					 U64FromFullTransactionId(position->xmax));
	for (int i = 0; i < position->nrunning; i++)
		appendStringInfo(&buf, "%s" UINT64_FORMAT, i > 0 ? "," : "",
						 U64FromFullTransactionId(position->running[i]));
	return buf.data;
}

static Position *
parse_snapshot(const char *text)
{
	Position   *position = palloc0(sizeof(Position));
	char	   *at;
	int			commas = 1;

	for (const char *c = text; *c; c++)
		commas += *c == ',';
	position->running = palloc(sizeof(FullTransactionId) * commas);
	(void) strtou64(text, &at, 10);
	if (*at == ':')
		position->xmax = FullTransactionIdFromU64(strtou64(at + 1, &at, 10));
	if (*at != ':')
		elog(ERROR, "malformed snapshot of a fold");
	while (at[0] != '\0' && at[1] != '\0')
		position->running[position->nrunning++] =
			FullTransactionIdFromU64(strtou64(at + 1, &at, 10));
	return position;
}

/*
 * The newest fold that a snapshot shows.  Allocates in CurrentMemoryContext; the
 * snapshot has to be registered or active.
 */
void
cc_fold_state(FoldState *state, Snapshot snapshot)
{
	TableReader reader;
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;

	memset(state, 0, sizeof(FoldState));
	cc_reader_begin(&reader, CC_TABLE_FOLD, snapshot);
	desc = RelationGetDescr(reader.rel);
	tuple = cc_reader_next(&reader, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
	{
		state->own =
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
		state->fold = DatumGetInt64(heap_getattr(tuple, Anum_fold_fold, desc, &isnull));
		state->base = DatumGetInt64(heap_getattr(tuple, Anum_fold_base, desc, &isnull));
		state->since = parse_snapshot(TextDatumGetCString(heap_getattr(tuple, Anum_fold_snapshot,
																	   desc, &isnull)));
	}
	cc_reader_end(&reader);
}

/* Delete the rows of older folds, and insert the new one's. */
static void
write_state(const FoldState *state, Snapshot snapshot)
{
	Datum		values[Natts_fold];
	bool		nulls[Natts_fold] = {false};
	TableReader reader;
	HeapTuple	tuple;
	Relation	rel;
	RowWriter  *writer;

	cc_reader_begin(&reader, CC_TABLE_FOLD, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, BackwardScanDirection)))
		simple_heap_delete(reader.rel, &tuple->t_self);
	cc_reader_end(&reader);
	rel = table_open(cc_catalog_relid(CC_TABLE_FOLD), RowExclusiveLock);
	writer = cc_writer_begin(rel, Natts_fold);
	values[Anum_fold_fold - 1] = Int64GetDatum(state->fold);
	values[Anum_fold_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_fold_base - 1] = Int64GetDatum(state->base);
	values[Anum_fold_snapshot - 1] = CStringGetTextDatum(snapshot_text(state->since));
	cc_writer_insert(writer, values, nulls);
	cc_writer_end(writer);
	table_close(rel, NoLock);
}

static void
apply(Folding *folding)
{
	cc_store_apply(folding->cells, folding->number);
	cc_cells_reset(folding->cells);
	folding->direct = true;
}

static void
fold_cell(const CellName *name, int64 n, Numeric sum, void *arg)
{
	Folding    *folding = arg;

	if (name->kind & CELL_BROKEN)
	{
		/* not in the context of the record, which is reset before the list is read */
		MemoryContext old = MemoryContextSwitchTo(folding->context);

		folding->distrusted = list_append_unique_int(folding->distrusted, name->counter);
		MemoryContextSwitchTo(old);
		return;
	}
	resetStringInfo(&folding->name);
	cc_cell_append_prefix(&folding->name, name);
	cc_cell_append_suffix(&folding->name, name);
	cc_cells_add(folding->cells, folding->name.data, folding->name.len, n, sum);
}

static void
fold_deltas(bytea *deltas, void *arg)
{
	Folding    *folding = arg;
	CellReader	reader = cc_cells_reader(deltas);
	PackedCell	packed;

	folding->deltas++;
	while (cc_unpack_cell(&reader, &packed))
		if (cc_source_find(folding->sources, cc_contribution_counter(packed.name)))
			cc_contribution_expand(&packed, fold_cell, folding);
	if (cc_cells_bytes(folding->cells) > CELLS_BYTES)
		apply(folding);
}

static void
fold_batched(const PackedCell *packed, void *arg)
{
	Folding    *folding = arg;
	CellName	name;

	cc_cell_read_prefix(packed->name, &name);
	if (cc_source_find(folding->sources, name.counter))
		cc_cells_add(folding->cells, packed->name, packed->len, packed->n, packed->sum);
}

/* Merge all batches, and what is in memory, into counter_cell. */
static void
merge(Folding *folding, const FoldState *before, Snapshot snapshot)
{
	for (int bucket = 0; bucket < BATCH_BUCKETS; bucket++)
	{
		(void) cc_batch_read(bucket, before->base, before->fold, snapshot, true, fold_batched,
							 folding);
		if (cc_cells_bytes(folding->cells) > CELLS_BYTES)
			apply(folding);
	}
	if (cc_cells_count(folding->cells) > 0)
		apply(folding);
}

static int64
fold(bool forced, Snapshot snapshot)
{
	static Size batched = 0;	/* since the last merge, by this process: a guess */
	Folding		folding = {
		.context = CurrentMemoryContext,
		.cells = cc_cells_create(CurrentMemoryContext)
	};
	FoldState	before;
	FoldState	after;
	uint64		records;
	ListCell   *cell;

	folding.sources = cc_sources_load(snapshot);
	if (folding.sources == NIL)
		return 0;
	initStringInfo(&folding.name);
	cc_fold_state(&before, snapshot);
	folding.number = before.fold + 1;
	records = cc_log_scan_deltas(before.since, snapshot, NULL, 0, false, fold_deltas,
								 &folding);
	/* nobody writes: now it costs nobody anything */
	forced |= records == 0 && before.base < before.fold;
	if (before.fold > 0 && folding.deltas == 0 &&
		(forced ? records == 0 && before.base == before.fold : records < IDLE_RECORDS))
		return 0;
	foreach(cell, folding.distrusted)
		cc_sources_distrust(lfirst_int(cell), "the table's configuration could not be used");
	after.fold = folding.number;
	after.base = before.base;
	after.since = cc_position_local(snapshot);
	batched += cc_cells_bytes(folding.cells);
	if (forced || folding.direct || after.fold - before.base >= MERGE_BATCHES ||
		batched > MERGE_BYTES)
	{
		merge(&folding, &before, snapshot);
		after.base = after.fold;
		batched = 0;
	}
	else
		cc_batch_write(folding.cells, after.fold);
	write_state(&after, snapshot);
	return (int64) records;
}

/*
 * Fold what has been committed.  "merge": into counter_cell, batches too.  Returns
 * how many records were read; -1: another session is folding.  Everything is
 * undone if the transaction does not commit.  ERROR during recovery.
 */
int64
cc_fold(bool merge)
{
	MemoryContext work;
	MemoryContext old;
	Snapshot	snapshot;
	int64		records;

	cc_catalog_require_primary();
	if (!ConditionalLockRelationOid(cc_catalog_relid(CC_TABLE_FOLD), ShareRowExclusiveLock))
		return -1;
	work = AllocSetContextCreate(CurrentMemoryContext, "clinicache fold", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(work);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	records = fold(merge, snapshot);
	UnregisterSnapshot(snapshot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
	return records;
}

/*
 * maintain_fold() -> bigint
 *		A fold that leaves no batches; returns how many records it read.
 */
Datum
clinicache_maintain_fold(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(cc_fold(true));
}
