/*-------------------------------------------------------------------------
 *
 * log_slots.c
 *		Emptying the log's slots, and the floor that tells readers.
 *
 * Emptying (TRUNCATE) is not MVCC: it removes rows from old snapshots too.  The
 * floor makes up for that.  It is a position G at which all removed rows are
 * visible; a reader's position P is good only if all that is visible at G is
 * visible at P, for then it needs none of the removed rows.  The floor is
 * written in the transaction that empties, and readers look at it, with a latest
 * snapshot, after their scan too: a slot found emptied was emptied by a
 * transaction that is visible by then, since locks are released after that.
 *
 * Locks: the caller holds ShareRowExclusiveLock on position_history, so one
 * session at a time is here.  Slots are locked AccessExclusively, but only
 * conditionally: a lock that is waited for would hold up writers and readers
 * behind it.  Under that lock no transaction in progress has rows in the slot
 * (writers keep theirs to the end), so the index tells all.  Emptying comes
 * last, and the locks go with the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "log_slots.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog.h"
#include "commands/tablecmds.h"
#include "compat.h"
#include "counter_source.h"
#include "executor/tuptable.h"
#include "log_scan.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#define Anum_floor_position 3
#define Natts_floor 3

/* a btree without entries has its meta page only */
#define EMPTY_INDEX_BLOCKS 1

/* one slot that has rows */
typedef struct SlotState
{
	Oid			table;
	int64		size;			/* bytes, with index and toast table */
	uint64		last_xid;		/* largest in the index; 0: none */
	bool		taken;			/* locked, to be emptied */
} SlotState;

typedef struct Emptying
{
	int			nslots;
	SlotState	slots[CC_LOG_SLOTS];	/* by last_xid */
	int64		size;			/* of all that is not taken */
	int			taken;
} Emptying;

/*
 * A floor row's position, or NULL if it is none of this epoch (NULL: any will do).
 */
static Position *
floor_position(HeapTuple tuple, TupleDesc desc, const char *epoch)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, Anum_floor_position, desc, &isnull);
	Position   *position = cc_position_parse(TextDatumGetCString(value), true);

	if (position != NULL && epoch != NULL && strcmp(position->epoch, epoch) != 0)
		return NULL;
	return position;
}

/*
 * The newest floor of this epoch that is committed, or NULL.  Older epochs'
 * floors are passed over: every position of this epoch was taken after them.
 * Looks without a snapshot, which could not be taken in a parallel query.
 */
static Position *
current_floor(bool of_epoch)
{
	Identity	identity;
	Position   *position = NULL;
	TableReader reader;
	HeapTuple	tuple;

	if (of_epoch)
		cc_catalog_identity(&identity);
	cc_reader_begin(&reader, CC_TABLE_FLOOR, SnapshotSelf);
	while (position == NULL &&
		   HeapTupleIsValid(tuple = cc_reader_next(&reader, BackwardScanDirection)))
		position = floor_position(tuple, RelationGetDescr(reader.rel),
								  of_epoch ? identity.epoch : NULL);
	cc_reader_end(&reader);
	return position;
}

/*
 * Does the log still hold all that is not visible at "since" (NULL: all that
 * ever was)?  What is committed by now counts, whatever snapshots show.
 */
bool
cc_floor_covers(const Position *since)
{
	Position   *floor = current_floor(true);

	return floor == NULL || (since != NULL && cc_position_includes(since, floor));
}

/* The same for what a fold saw: snapshots know of no epochs. */
bool
cc_floor_covers_fold(const Position *since)
{
	Position   *floor = current_floor(false);

	return floor == NULL || (since != NULL && cc_position_includes(since, floor));
}

static void
delete_older_floors(Snapshot snapshot)
{
	TableReader reader;
	HeapTuple	tuple;

	cc_reader_begin(&reader, CC_TABLE_FLOOR, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, ForwardScanDirection)))
		simple_heap_delete(reader.rel, &tuple->t_self);
	cc_reader_end(&reader);
}

/* Raise the floor, unless it is that high already. */
static void
raise_floor(const Position *position)
{
	Position   *floor = current_floor(true);
	Snapshot	before;
	Datum		values[Natts_floor];
	bool		nulls[Natts_floor] = {false};

	if (floor != NULL && cc_position_includes(floor, position))
		return;
	before = RegisterSnapshot(GetLatestSnapshot());
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_floor_position - 1] = CStringGetTextDatum(cc_position_text(position));
	cc_catalog_insert_numbered(CC_TABLE_FLOOR, Natts_floor, values, nulls);
	delete_older_floors(before);
	UnregisterSnapshot(before);
}

/* Largest transaction id in the slot, of whatever fate; 0: none. */
static uint64
last_xid(Relation rel, Relation index)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = cc_index_beginscan(rel, index, SnapshotAny, 0);
	uint64		result = 0;
	bool		isnull;

	index_rescan(scan, NULL, 0, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
		result = U64FromFullTransactionId(DatumGetFullTransactionId(slot_getattr(slot, Anum_log_xid,
																				&isnull)));
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/* Has the slot a row, of whatever fate, of a transaction in the list? */
static bool
has_running(Relation rel, Relation index, const Position *position)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = cc_index_beginscan(rel, index, SnapshotAny, 1);
	bool		found = false;

	for (int i = 0; !found && i < position->nrunning; i++)
	{
		ScanKeyData key;

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_XID8EQ,
					FullTransactionIdGetDatum(position->running[i]));
		index_rescan(scan, &key, 1, NULL, 0);
		found = index_getnext_slot(scan, ForwardScanDirection, slot);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

/*
 * Look at a slot under AccessShareLock; false: there is nothing in it.  With a
 * "limit": false also if some row in it is not visible there.
 */
static bool
inspect_slot(SlotState *state, const Position *limit)
{
	Relation	rel = table_open(state->table, AccessShareLock);
	Relation	index = cc_catalog_open_index(rel, 1, AccessShareLock);
	bool		result;

	/* vacuum may have shortened the table to nothing, but never does so to an index */
	result = RelationGetNumberOfBlocks(rel) > 0 ||
		RelationGetNumberOfBlocks(index) > EMPTY_INDEX_BLOCKS;

	state->last_xid = result ? last_xid(rel, index) : 0;
	if (result && limit != NULL)
		result = state->last_xid < U64FromFullTransactionId(limit->xmax) &&
			!has_running(rel, index, limit);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return result;
}

static int
compare_slots(const void *a, const void *b)
{
	uint64		x = ((const SlotState *) a)->last_xid;
	uint64		y = ((const SlotState *) b)->last_xid;

	return (x > y) - (x < y);
}

/* Find the slots that have rows. */
static void
survey(Emptying *emptying)
{
	Oid			tables[CC_LOG_SLOTS];

	memset(emptying, 0, sizeof(Emptying));
	if (!cc_catalog_slots(tables))
		return;
	for (int i = 0; i < CC_LOG_SLOTS; i++)
	{
		SlotState  *state = &emptying->slots[emptying->nslots];

		state->table = tables[i];
		if (!inspect_slot(state, NULL))
			continue;
		state->size = DatumGetInt64(DirectFunctionCall1(pg_total_relation_size,
														ObjectIdGetDatum(tables[i])));
		emptying->size += state->size;
		emptying->nslots++;
	}
	qsort(emptying->slots, emptying->nslots, sizeof(SlotState), compare_slots);
}

/*
 * Lock a slot for emptying if nobody uses it and all its rows are visible at
 * "limit" (NULL: whatever it holds).
 */
static bool
take_slot(SlotState *state, const Position *limit)
{
	/* a first look without the lock spares writers most of the disturbance */
	if (limit != NULL && !inspect_slot(state, limit))
		return false;
	if (!ConditionalLockRelationOid(state->table, AccessExclusiveLock))
		return false;
	state->taken = limit == NULL || inspect_slot(state, limit);
	if (!state->taken)
		UnlockRelationOid(state->table, AccessExclusiveLock);
	return state->taken;
}

/*
 * Take slots, oldest first, while the log is larger than "max_size".  True if
 * any was taken.
 */
static bool
take_slots(Emptying *emptying, const Position *limit, int64 max_size)
{
	int			before = emptying->taken;

	for (int i = 0; i < emptying->nslots && emptying->size > max_size; i++)
	{
		SlotState  *state = &emptying->slots[i];

		if (state->taken || !take_slot(state, limit))
			continue;
		emptying->size -= state->size;
		emptying->taken++;
	}
	return emptying->taken > before;
}

/* Truncate what was taken: no relids_logged, so nothing of it is decoded logically. */
static void
truncate_taken(Emptying *emptying)
{
	List	   *rels = NIL;
	List	   *relids = NIL;
	ListCell   *cell;

	for (int i = 0; i < emptying->nslots; i++)
	{
		Relation	rel;

		if (!emptying->slots[i].taken)
			continue;
		rel = table_open(emptying->slots[i].table, NoLock);
		CheckTableNotInUse(rel, "TRUNCATE");
		rels = lappend(rels, rel);
		relids = lappend_oid(relids, RelationGetRelid(rel));
	}
	cc_truncate_guts(rels, relids);
	foreach(cell, rels)
		table_close((Relation) lfirst(cell), NoLock);
}

/*
 * Empty the slots whose time has come; returns how many.  First what is past
 * retention.  If the log is still larger than clinicache.log_max_size, what
 * live subscribers have had; and if that is not enough, whatever is oldest, which
 * resets every subscriber.  Nothing goes that counters still need.
 */
int
cc_slots_empty(const SlotLimits *limits)
{
	int64		max_size = (int64) cc_log_max_size * 1024 * 1024;
	const Position *floor = NULL;
	Emptying	emptying;

	survey(&emptying);
	if (limits->expired != NULL && take_slots(&emptying, limits->expired, -1))
		floor = limits->expired;
	if (limits->delivered != NULL && take_slots(&emptying, limits->delivered, max_size))
		floor = limits->delivered;
	if (limits->counted)
	{
		if (limits->folded != NULL && take_slots(&emptying, limits->folded, max_size))
			floor = limits->folded;
	}
	else if (take_slots(&emptying, NULL, max_size))
	{
		/* after the locks: it shows all that these slots hold; not shortened, or it would not */
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		bool		counted = cc_sources_load(snapshot) != NIL;

		floor = cc_position_from_snapshot(snapshot, false);
		UnregisterSnapshot(snapshot);
		/* since the limits were found: then the slots may hold deltas that no fold has seen */
		if (counted)
			return 0;
	}
	if (emptying.taken == 0)
		return 0;
	raise_floor(floor);
	CommandCounterIncrement();
	truncate_taken(&emptying);
	return emptying.taken;
}
