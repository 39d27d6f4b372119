/*-------------------------------------------------------------------------
 *
 * counter_store.c
 *		Folded counters: clinicache.counter_cell and counter_batch.
 *
 * counter_cell has one row for a key with few cells: all of them, under PERIOD_ALL.
 * When they become more it is split: a row for each month, with the cells of its
 * days, and under PERIOD_ALL what all days come to.  A fold that changes a row inserts another and deletes the old one: whoever has an old snapshot still
 * finds that.  Index entries are ordered by fold, so that the newest, which is the
 * one wanted, comes before all that are dead; rows updated in place would become
 * a chain that every reader has to walk while an old snapshot is open.
 *
 * counter_batch takes what folds bring in between: cells of many keys in one row,
 * as they come, to be merged into counter_cell by a later fold.
 *
 * Locks: who writes holds the fold's lock (fold.c), or writes the cells of a
 * counter that nobody else knows yet.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "counter_store.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog.h"
#include "common/hashfn.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define Anum_cell_counter 1
#define Anum_cell_dimension 2
#define Anum_cell_key 3
#define Anum_cell_period 4
#define Anum_cell_fold 5
#define Anum_cell_cells 6
#define Natts_cell 6
#define CELL_KEYS 5
#define COMPACT_CELLS 48		/* a key with so many is not split */
#define MAX_KEYS 4				/* that a scan is given */

#define Anum_batch_bucket 1
#define Anum_batch_fold 2
#define Anum_batch_cells 3
#define Natts_batch 3
#define BATCH_KEYS 2

/* Start reading counter_cell; the snapshot has to be registered or active. */
void
cc_store_begin(CellStore *store, Snapshot snapshot, LOCKMODE lockmode)
{
	store->lockmode = lockmode;
	store->context = CurrentMemoryContext;
	store->rel = table_open(cc_catalog_relid(CC_TABLE_CELL), lockmode);
	cc_catalog_check_columns(store->rel, Natts_cell);
	store->index = cc_catalog_open_index(store->rel, CELL_KEYS, AccessShareLock);
	store->slot = table_slot_create(store->rel, NULL);
	store->newest = cc_index_beginscan(store->rel, store->index, snapshot, MAX_KEYS);
	store->any = NULL;
}

/* Finish.  Locks for writing stay until the transaction ends. */
void
cc_store_end(CellStore *store)
{
	index_endscan(store->newest);
	if (store->any)
		index_endscan(store->any);
	ExecDropSingleTupleTableSlot(store->slot);
	index_close(store->index, AccessShareLock);
	table_close(store->rel, store->lockmode == AccessShareLock ? AccessShareLock : NoLock);
}

static void
init_keys(ScanKey keys, const StoreKey *key, text *key_text, StrategyNumber period_strategy)
{
	ScanKeyInit(&keys[0], Anum_cell_counter, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(key->counter));
	ScanKeyInit(&keys[1], Anum_cell_dimension, BTEqualStrategyNumber, F_INT2EQ,
				Int16GetDatum(key->dimension));
	ScanKeyInit(&keys[2], Anum_cell_key, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(key_text));
	ScanKeyInit(&keys[3], Anum_cell_period, period_strategy,
				period_strategy == BTEqualStrategyNumber ? F_DATE_EQ : F_DATE_GT,
				DateADTGetDatum(key->period));
}

/*
 * Have the first row for these keys in the store's slot; false: there is none.  A
 * btree scan allocates when it first finds something dead, and keeps that to its
 * end: the caller's context may be gone by then.
 */
static bool
find_first(CellStore *store, IndexScanDesc scan, ScanKey keys, ScanDirection direction)
{
	MemoryContext old = MemoryContextSwitchTo(store->context);
	bool		found;

	index_rescan(scan, keys, MAX_KEYS, NULL, 0);
	found = index_getnext_slot(scan, direction, store->slot);
	MemoryContextSwitchTo(old);
	return found;
}

/*
 * The packed cells of a key and period as the snapshot shows them, in
 * CurrentMemoryContext; NULL: none.  "tid", if given, is set to the row's place.
 */
bytea *
cc_store_find(CellStore *store, const StoreKey *key, ItemPointer tid)
{
	text	   *key_text = cstring_to_text_with_len(key->key, key->key_len);
	ScanKeyData keys[MAX_KEYS];
	bytea	   *cells = NULL;

	init_keys(keys, key, key_text, BTEqualStrategyNumber);
	if (find_first(store, store->newest, keys, BackwardScanDirection))
	{
		bool		isnull;
		Datum		value = slot_getattr(store->slot, Anum_cell_cells, &isnull);

		cells = DatumGetByteaPCopy(value);
		if (tid)
			*tid = store->slot->tts_tid;
	}
	ExecClearTuple(store->slot);
	pfree(key_text);
	return cells;
}

/*
 * Move key->period on to the next period of which there is, or was, a row; false:
 * there is no other.  One index look-up, however many dead rows a period has.
 */
bool
cc_store_next_period(CellStore *store, StoreKey *key)
{
	text	   *key_text = cstring_to_text_with_len(key->key, key->key_len);
	ScanKeyData keys[MAX_KEYS];
	bool		found;
	bool		isnull;

	if (store->any == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->context);

		store->any = cc_index_beginscan(store->rel, store->index, SnapshotAny, MAX_KEYS);
		MemoryContextSwitchTo(old);
	}
	init_keys(keys, key, key_text, BTGreaterStrategyNumber);
	found = find_first(store, store->any, keys, ForwardScanDirection);
	if (found)
		key->period = DatumGetDateADT(slot_getattr(store->slot, Anum_cell_period, &isnull));
	ExecClearTuple(store->slot);
	pfree(key_text);
	return found;
}

/* Call "visit" for each cell of a counter that the snapshot shows, of all days together too. */
void
cc_store_visit(int32 counter, Snapshot snapshot, StoreVisit visit, void *arg)
{
	CellStore	store;
	IndexScanDesc scan;
	ScanKeyData key;

	cc_store_begin(&store, snapshot, AccessShareLock);
	scan = cc_index_beginscan(store.rel, store.index, snapshot, 1);
	ScanKeyInit(&key, Anum_cell_counter, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(counter));
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, store.slot))
	{
		TupleTableSlot *slot = store.slot;
		StoreKey	found = {.counter = counter};
		CellReader	reader;
		PackedCell	packed;
		text	   *key_text;
		bytea	   *cells;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		key_text = DatumGetTextPP(slot->tts_values[Anum_cell_key - 1]);
		cells = DatumGetByteaPCopy(slot->tts_values[Anum_cell_cells - 1]);
		found.dimension = DatumGetInt16(slot->tts_values[Anum_cell_dimension - 1]);
		found.key = VARDATA_ANY(key_text);
		found.key_len = VARSIZE_ANY_EXHDR(key_text);
		found.period = DatumGetDateADT(slot->tts_values[Anum_cell_period - 1]);
		reader = cc_cells_reader(cells);
		while (cc_unpack_cell(&reader, &packed))
			visit(&found, &packed, arg);
		pfree(cells);
	}
	index_endscan(scan);
	cc_store_end(&store);
}

/*
 * Delete the cells of counters that are not among "ids".  Hold the fold's lock.
 * Passes over the others' without reading them.
 */
void
cc_store_trim(const List *ids, Snapshot snapshot)
{
	Relation	rel = table_open(cc_catalog_relid(CC_TABLE_CELL), RowExclusiveLock);
	Relation	index = cc_catalog_open_index(rel, CELL_KEYS, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = cc_index_beginscan(rel, index, snapshot, 1);
	int32		after = 0;
	bool		found = true;

	while (found)
	{
		ScanKeyData key;

		ScanKeyInit(&key, Anum_cell_counter, BTGreaterStrategyNumber, F_INT4GT,
					Int32GetDatum(after));
		index_rescan(scan, &key, 1, NULL, 0);
		while ((found = index_getnext_slot(scan, ForwardScanDirection, slot)))
		{
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			after = DatumGetInt32(slot_getattr(slot, Anum_cell_counter, &isnull));
			if (list_member_int(ids, after))
				break;			/* on behind it */
			simple_heap_delete(rel, &slot->tts_tid);
		}
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, NoLock);
}

/* Is this, found under PERIOD_ALL, of a key whose days are in rows of their own? */
bool
cc_store_is_split(bytea *cells)
{
	CellReader	reader = cc_cells_reader(cells);
	PackedCell	packed;
	CellName	name;

	if (!cc_unpack_cell(&reader, &packed))
		return false;
	cc_cell_read_suffix(packed.name, packed.len, &name);
	return (name.kind & CELL_ALL) != 0;
}

/* In which row of a split key a cell is. */
DateADT
cc_store_period(const CellName *name)
{
	int			year;
	int			month;
	int			day;

	if (name->kind & CELL_ALL)
		return PERIOD_ALL;
	if ((name->kind & CELL_NO_DAY) || DATE_IS_NOEND(name->day))
		return PERIOD_NONE;
	if (DATE_IS_NOBEGIN(name->day))
		return PERIOD_BEFORE;
	j2date(name->day + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return Max(name->day - (day - 1), PERIOD_BEFORE + 1);
}

/* The month after one of these. */
DateADT
cc_store_next_month(DateADT month)
{
	CellName	name = {.day = month + 31};

	return cc_store_period(&name);
}

/* a fold's changes on their way into counter_cell */
typedef struct Applying
{
	CellStore	store;
	RowWriter  *writer;
	int64		fold;
	List	   *months;			/* of the key, written now: the snapshot shows what they were */
	bool		months_remain;	/* something is left of one of them */
	bool		hidden;			/* the snapshot shows a row under PERIOD_ALL that is deleted */
	MemoryContext key_context;	/* reset by each key */
	MemoryContext row_context;	/* reset by each row */
} Applying;

/*
 * Merge sorted changes into a row's sorted cells (NULL: none); those that come to
 * nothing go.  Returns how many there are then.
 */
static int
merge_cells(StringInfo merged, bytea *old, Cell **changes, int nchanges, int prefix_len)
{
	CellReader	reader = cc_cells_reader(old);
	PackedCell	stored;
	bool		has_stored = cc_unpack_cell(&reader, &stored);
	int			count = 0;
	int			i = 0;

	while (has_stored || i < nchanges)
	{
		const char *name = i < nchanges ? changes[i]->name + prefix_len : NULL;
		int			len = i < nchanges ? changes[i]->len - prefix_len : 0;
		int			order = !has_stored ? 1 : !name ? -1 : memcmp(stored.name, name,
																  Min(stored.len, len));
		int64		n;
		Numeric		sum;

		if (order == 0)
			order = stored.len - len;
		if (order < 0)
		{
			cc_pack_cell(merged, stored.name, stored.len, stored.n, stored.sum);
			count++;
			has_stored = cc_unpack_cell(&reader, &stored);
			continue;
		}
		n = changes[i]->n + (order == 0 ? stored.n : 0);
		sum = order == 0 ? cc_sum_add(changes[i]->sum, stored.sum) : changes[i]->sum;
		if (!cc_cell_is_zero(n, sum))
		{
			cc_pack_cell(merged, name, len, n, sum);
			count++;
		}
		if (order == 0)
			has_stored = cc_unpack_cell(&reader, &stored);
		i++;
	}
	return count;
}

/* Write a key's row in place of the old one (NULL: there is none); empty: only delete that. */
static void
put_row(Applying *applying, const StoreKey *key, ItemPointer old, StringInfo merged)
{
	Datum		values[Natts_cell];
	bool		nulls[Natts_cell] = {false};

	if (old)
		simple_heap_delete(applying->store.rel, old);
	if (merged->len <= VARHDRSZ)
		return;
	SET_VARSIZE(merged->data, merged->len);
	values[Anum_cell_counter - 1] = Int32GetDatum(key->counter);
	values[Anum_cell_dimension - 1] = Int16GetDatum(key->dimension);
	values[Anum_cell_key - 1] = PointerGetDatum(cstring_to_text_with_len(key->key, key->key_len));
	values[Anum_cell_period - 1] = DateADTGetDatum(key->period);
	values[Anum_cell_fold - 1] = Int64GetDatum(applying->fold);
	values[Anum_cell_cells - 1] = PointerGetDatum(merged->data);
	cc_writer_insert(applying->writer, values, nulls);
}

static void
begin_row(StringInfo row)
{
	initStringInfo(row);
	appendStringInfoSpaces(row, VARHDRSZ);
}

/* Has a key that is split still a month, of those written now or of others? */
static bool
has_months(Applying *applying, const StoreKey *key)
{
	StoreKey	month = *key;

	if (applying->months_remain)
		return true;
	month.period = PERIOD_ALL;
	while (cc_store_next_period(&applying->store, &month))
		if (!list_member_int(applying->months, month.period) &&
			cc_store_find(&applying->store, &month, NULL) != NULL)
			return true;
	return false;
}

/* Put the changes of one key and period into its row; false: nothing is left of it. */
static bool
apply_row(Applying *applying, const StoreKey *key, Cell **changes, int nchanges, int prefix_len)
{
	bool		remains;

	MemoryContext old_context = MemoryContextSwitchTo(applying->row_context);
	ItemPointerData tid;
	bytea	   *old = NULL;
	StringInfoData merged;

	if (!applying->hidden || key->period != PERIOD_ALL)
		old = cc_store_find(&applying->store, key, &tid);
	begin_row(&merged);
	remains = merge_cells(&merged, old, changes, nchanges, prefix_len) > 0;
	if (!remains && key->period == PERIOD_ALL && has_months(applying, key))
	{
		CellName	mark = {.kind = CELL_ALL};
		StringInfoData name;

		/* half-way through a fold a key may come to nothing and yet have days */
		initStringInfo(&name);
		cc_cell_append_suffix(&name, &mark);
		cc_pack_cell(&merged, name.data, name.len, 0, NULL);
	}
	put_row(applying, key, old ? &tid : NULL, &merged);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(applying->row_context);
	return remains;
}

/* Add a cell to what all its key's days come to. */
static void
add_to_all(CellSet *all, StringInfo buf, const Cell *cell, int prefix_len, const CellName *name)
{
	CellName	total = *name;

	total.day = 0;
	total.kind = (name->kind & CELL_SUM_KIND) | CELL_ALL;
	resetStringInfo(buf);
	appendBinaryStringInfo(buf, cell->name, prefix_len);
	cc_cell_append_suffix(buf, &total);
	cc_cells_add(all, buf->data, buf->len, cell->n, cell->sum);
}

static void
apply_month(Applying *applying, const StoreKey *key, Cell **cells, int count, int prefix_len)
{
	applying->months = lappend_int(applying->months, key->period);
	applying->months_remain |= apply_row(applying, key, cells, count, prefix_len);
}

/* Apply the cells of a key that is split: those of each month, and all together. */
static void
apply_split(Applying *applying, StoreKey *key, Cell **cells, uint32 count, int prefix_len)
{
	CellSet    *all = cc_cells_create(CurrentMemoryContext);
	StringInfoData buf;
	uint32		first = 0;

	initStringInfo(&buf);
	applying->months = NIL;
	applying->months_remain = false;
	for (uint32 i = 0; i < count; i++)
	{
		CellName	name;
		DateADT		period;

		cc_cell_read_suffix(cells[i]->name + prefix_len, cells[i]->len - prefix_len, &name);
		period = cc_store_period(&name);
		if (i > 0 && period != key->period)
		{
			apply_month(applying, key, cells + first, i - first, prefix_len);
			first = i;
		}
		key->period = period;
		add_to_all(all, &buf, cells[i], prefix_len, &name);
	}
	apply_month(applying, key, cells + first, count - first, prefix_len);
	key->period = PERIOD_ALL;
	(void) apply_row(applying, key, cc_cells_sorted(all), cc_cells_count(all), prefix_len);
}

/* A key's cells, few so far, have become too many: have them as changes of a key without rows. */
static Cell **
unpack_all(const char *prefix, int prefix_len, StringInfo merged, uint32 *count)
{
	CellSet    *cells = cc_cells_create(CurrentMemoryContext);
	CellReader	reader = {merged->data + VARHDRSZ, merged->data + merged->len};
	PackedCell	packed;
	StringInfoData name;

	initStringInfo(&name);
	while (cc_unpack_cell(&reader, &packed))
	{
		resetStringInfo(&name);
		appendBinaryStringInfo(&name, prefix, prefix_len);
		appendBinaryStringInfo(&name, packed.name, packed.len);
		cc_cells_add(cells, name.data, name.len, packed.n, packed.sum);
	}
	*count = cc_cells_count(cells);
	return cc_cells_sorted(cells);
}

/* Apply the cells of one key. */
static void
apply_key(Applying *applying, Cell **cells, uint32 count)
{
	MemoryContext old_context = MemoryContextSwitchTo(applying->key_context);
	const char *prefix = cells[0]->name;
	int			prefix_len = cc_cell_prefix_len(prefix);
	CellName	name;
	StoreKey	key;
	ItemPointerData tid;
	bytea	   *old;

	cc_cell_read_prefix(prefix, &name);
	key = (StoreKey) {name.counter, name.dimension, name.key, name.key_len, PERIOD_ALL};
	old = cc_store_find(&applying->store, &key, &tid);
	if (cc_store_is_split(old))
		apply_split(applying, &key, cells, count, prefix_len);
	else
	{
		StringInfoData merged;

		begin_row(&merged);
		if (merge_cells(&merged, old, cells, count, prefix_len) <= COMPACT_CELLS)
			put_row(applying, &key, old ? &tid : NULL, &merged);
		else
		{
			cells = unpack_all(prefix, prefix_len, &merged, &count);
			if (old)
				simple_heap_delete(applying->store.rel, &tid);
			applying->hidden = old != NULL;
			apply_split(applying, &key, cells, count, prefix_len);
			applying->hidden = false;
		}
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(applying->key_context);
}

/*
 * Add the cells to counter_cell, under a fold's number.  What this transaction
 * applied before counts.
 */
void
cc_store_apply(CellSet *cells, int64 fold)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "clinicache apply",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(work);
	Cell	  **sorted = cc_cells_sorted(cells);
	Applying	applying = {.fold = fold};
	Snapshot	snapshot;
	uint32		count = cc_cells_count(cells);
	uint32		end;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	applying.key_context = AllocSetContextCreate(work, "clinicache apply key",
												 ALLOCSET_DEFAULT_SIZES);
	applying.row_context = AllocSetContextCreate(work, "clinicache apply row",
												 ALLOCSET_DEFAULT_SIZES);
	cc_store_begin(&applying.store, snapshot, RowExclusiveLock);
	applying.writer = cc_writer_begin(applying.store.rel, Natts_cell);
	for (uint32 i = 0; i < count; i = end)
	{
		int			prefix_len = cc_cell_prefix_len(sorted[i]->name);

		CHECK_FOR_INTERRUPTS();
		for (end = i + 1; end < count && sorted[end]->len > prefix_len &&
			 memcmp(sorted[end]->name, sorted[i]->name, prefix_len) == 0; end++)
			;
		apply_key(&applying, sorted + i, end - i);
	}
	cc_writer_end(applying.writer);
	cc_store_end(&applying.store);
	UnregisterSnapshot(snapshot);
	CommandCounterIncrement();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

/* Which row of a batch the key's cells are in. */
int
cc_batch_bucket(const char *key, int len)
{
	return hash_bytes((const unsigned char *) key, len) % BATCH_BUCKETS;
}

/* Write the cells into counter_batch, under a fold's number. */
void
cc_batch_write(CellSet *cells, int64 fold)
{
	StringInfoData rows[BATCH_BUCKETS] = {{0}};
	Relation	rel = table_open(cc_catalog_relid(CC_TABLE_BATCH), RowExclusiveLock);
	RowWriter  *writer = cc_writer_begin(rel, Natts_batch);
	Cell	  **list = cc_cells_list(cells);

	for (uint32 i = 0; i < cc_cells_count(cells); i++)
	{
		CellName	name;
		StringInfo	row;

		if (cc_cell_is_zero(list[i]->n, list[i]->sum))
			continue;
		cc_cell_read_prefix(list[i]->name, &name);
		row = &rows[cc_batch_bucket(name.key, name.key_len)];
		if (row->data == NULL)
		{
			initStringInfo(row);
			appendStringInfoSpaces(row, VARHDRSZ);
		}
		cc_pack_cell(row, list[i]->name, list[i]->len, list[i]->n, list[i]->sum);
	}
	for (int bucket = 0; bucket < BATCH_BUCKETS; bucket++)
	{
		Datum		values[Natts_batch];
		bool		nulls[Natts_batch] = {false};

		if (rows[bucket].data == NULL)
			continue;
		SET_VARSIZE(rows[bucket].data, rows[bucket].len);
		values[Anum_batch_bucket - 1] = Int32GetDatum(bucket);
		values[Anum_batch_fold - 1] = Int64GetDatum(fold);
		values[Anum_batch_cells - 1] = PointerGetDatum(rows[bucket].data);
		cc_writer_insert(writer, values, nulls);
		pfree(rows[bucket].data);
	}
	cc_writer_end(writer);
	table_close(rel, NoLock);
	pfree(list);
}

/*
 * Call "visit" for each cell of a bucket in the batches of folds after one and up
 * to another; "remove": then delete the rows.  Returns the size of what was read.
 */
Size
cc_batch_read(int bucket, int64 after, int64 upto, Snapshot snapshot, bool remove,
			  BatchVisit visit, void *arg)
{
	LOCKMODE	lockmode = remove ? RowExclusiveLock : AccessShareLock;
	Relation	rel = table_open(cc_catalog_relid(CC_TABLE_BATCH), lockmode);
	Relation	index = cc_catalog_open_index(rel, BATCH_KEYS, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = cc_index_beginscan(rel, index, snapshot, 3);
	ScanKeyData keys[3];
	Size		size = 0;

	ScanKeyInit(&keys[0], Anum_batch_bucket, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(bucket));
	ScanKeyInit(&keys[1], Anum_batch_fold, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	ScanKeyInit(&keys[2], Anum_batch_fold, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(upto));
	index_rescan(scan, keys, 3, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		bytea	   *cells = DatumGetByteaPP(slot_getattr(slot, Anum_batch_cells, &isnull));
		CellReader	reader = cc_cells_reader(cells);
		PackedCell	packed;

		CHECK_FOR_INTERRUPTS();
		size += VARSIZE_ANY_EXHDR(cells);
		while (cc_unpack_cell(&reader, &packed))
		{
			visit(&packed, arg);
			if (packed.sum)
				pfree(packed.sum);
		}
		if (remove)
			simple_heap_delete(rel, &slot->tts_tid);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, remove ? NoLock : lockmode);
	return size;
}
