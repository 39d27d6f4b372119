/*-------------------------------------------------------------------------
 *
 * counter_read.c
 *		What counters say, in one snapshot.
 *
 * The newest fold that the snapshot shows tells where to look:
 *
 *		counter_cell	 what was merged up to its base
 *	  + counter_batch	 folds since then
 *	  + invalidation log records that the fold did not see and the snapshot does
 *	  + deltas.c		 what this transaction has done and not written yet
 *
 * An old snapshot shows an old fold, and what the log had after it may have been
 * emptied meanwhile; the floor tells.  Then, and for counters that are not to be
 * trusted, the table itself is counted, in the same snapshot.
 *
 * Everything is allocated in CurrentMemoryContext, and small.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "counter_read.h"

#include "counter.h"
#include "counter_known.h"
#include "counter_scan.h"
#include "counter_store.h"
#include "counter_tail.h"
#include "deltas.h"
#include "fold.h"
#include "log_slots.h"
#include "utils/builtins.h"

/* a source that is read for a wish */
typedef struct ReadEntry
{
	CounterSource *source;
	int			dimension;
	int			wish;
	bool		live;			/* count its table instead */
} ReadEntry;

typedef struct Reading
{
	CounterQuery *query;
	int			nentries;
	ReadEntry  *entries;
	StringInfoData name;
} Reading;

/* Load the sources and prepare for an answer.  "found" and "sources" of each wish are set. */
void
cc_counters_begin(CounterQuery *query, Snapshot snapshot)
{
	query->sources = cc_sources_load(snapshot);
	query->cells = cc_cells_create(CurrentMemoryContext);
	for (int i = 0; i < query->nwishes; i++)
	{
		CounterWish *wish = &query->wishes[i];
		ListCell   *cell;

		wish->sources = NIL;
		foreach(cell, query->sources)
			if (strcmp(((CounterSource *) lfirst(cell))->counter, wish->counter) == 0)
				wish->sources = lappend(wish->sources, lfirst(cell));
		wish->sources = list_concat(wish->sources,
									cc_known_uncounted(wish->counter, wish->sources));
		wish->found = wish->sources != NIL;
	}
}

static int
find_dimension(const CounterSource *source, const char *name)
{
	for (int i = 0; i < source->ndimensions; i++)
		if (strcmp(source->dimensions[i], name) == 0)
			return i;
	return -1;
}

static void
make_entries(Reading *reading)
{
	CounterQuery *query = reading->query;

	int			count = 1;

	for (int i = 0; i < query->nwishes; i++)
		count += list_length(query->wishes[i].sources);
	reading->entries = palloc(sizeof(ReadEntry) * count);
	for (int i = 0; i < query->nwishes; i++)
	{
		ListCell   *cell;

		foreach(cell, query->wishes[i].sources)
		{
			CounterSource *source = lfirst(cell);
			int			dimension = find_dimension(source, query->dimension);

			if (dimension >= 0)
				reading->entries[reading->nentries++] =
					(ReadEntry) {source, dimension, i, !source->valid};
		}
	}
}

/* Add to the answer's cell for one wish. */
static void
add_answer(Reading *reading, int wish, DateADT day, uint8 kind, const CellName *of,
		   int64 n, Numeric sum)
{
	CellName	name = {.counter = wish,.key = "",.day = day,.kind = kind};

	name.class = of->class;
	name.class_len = of->class_len;
	if (reading->query->direct)
	{
		reading->query->direct(wish, &name, n, sum, reading->query->arg);
		return;
	}
	resetStringInfo(&reading->name);
	cc_cell_append_prefix(&reading->name, &name);
	cc_cell_append_suffix(&reading->name, &name);
	cc_cells_add(reading->query->cells, reading->name.data, reading->name.len, n, sum);
}

/* Add a cell of a day, as far as it is wanted. */
static void
add_day(Reading *reading, const ReadEntry *entry, const CellName *name, int64 n, Numeric sum,
		bool days_only)
{
	const CounterWish *wish = &reading->query->wishes[entry->wish];

	if (wish->all && !days_only)
		add_answer(reading, entry->wish, 0, (name->kind & CELL_SUM_KIND) | CELL_ALL, name, n, sum);
	if (wish->days && !(name->kind & CELL_NO_DAY) &&
		name->day >= wish->from && name->day <= wish->to)
		add_answer(reading, entry->wish, name->day, name->kind, name, n, sum);
}

/* Add what a delta says, to whichever entry it is for. */
static void
add_delta(const CellName *name, int64 n, Numeric sum, void *arg)
{
	Reading    *reading = arg;
	CounterQuery *query = reading->query;

	for (int i = 0; i < reading->nentries; i++)
	{
		ReadEntry  *entry = &reading->entries[i];

		if (entry->source->id != name->counter)
			continue;
		if (name->kind & CELL_BROKEN)
			entry->live = true;
		else if (entry->dimension == name->dimension && name->key_len == query->key_len &&
				 memcmp(name->key, query->key, name->key_len) == 0)
			add_day(reading, entry, name, n, sum, false);
	}
}

static void
add_packed(const PackedCell *packed, void *arg)
{
	cc_contribution_expand(packed, add_delta, arg);
}

static void
add_record(bytea *deltas, void *arg)
{
	cc_deltas_expand(deltas, add_delta, arg);
}

/* A batch has cells of many keys; most are others'. */
static void
add_batched(const PackedCell *packed, void *arg)
{
	CounterQuery *query = ((Reading *) arg)->query;

	if (cc_cell_has_key(packed->name, query->key, query->key_len))
		cc_cell_expand(packed, add_delta, arg);
}

/*
 * Add a row of counter_cell.  Under PERIOD_ALL, true: the key is split, its days are
 * elsewhere; under a month, true: there is one.
 */
static bool
add_stored(Reading *reading, const ReadEntry *entry, CellStore *store, const StoreKey *key)
{
	bool		all = reading->query->wishes[entry->wish].all;
	bytea	   *cells = cc_store_find(store, key, NULL);
	bool		is_split = key->period != PERIOD_ALL || cc_store_is_split(cells);
	CellReader	reader = cc_cells_reader(cells);
	PackedCell	packed;

	if (is_split && key->period == PERIOD_ALL && !all)
		return true;
	while (cc_unpack_cell(&reader, &packed))
	{
		CellName	name;

		cc_cell_read_suffix(packed.name, packed.len, &name);
		if (name.kind & CELL_ALL)
			add_answer(reading, entry->wish, 0, name.kind, &name, packed.n, packed.sum);
		else
			add_day(reading, entry, &name, packed.n, packed.sum, is_split);
	}
	if (cells)
		pfree(cells);
	return is_split && cells != NULL;
}

static void
add_periods(Reading *reading, const ReadEntry *entry, CellStore *store, StoreKey *key)
{
	const CounterWish *wish = &reading->query->wishes[entry->wish];
	CellName	first = {.day = wish->from};
	CellName	last = {.day = wish->to};
	DateADT		from = cc_store_period(&first);
	DateADT		to = cc_store_period(&last);

	key->period = from;
	if (from == to)
	{
		(void) add_stored(reading, entry, store, key);
		return;
	}
	/* from a finite day on, month after month as long as there is one: mostly there are no gaps */
	if (from != PERIOD_BEFORE && from != PERIOD_NONE)
		for (key->period = from; key->period <= to; key->period = cc_store_next_month(key->period))
			if (!add_stored(reading, entry, store, key))
				break;
	if (from == PERIOD_BEFORE)
		key->period = PERIOD_ALL;
	else if (from == PERIOD_NONE)
		key->period = from - 1;
	while (cc_store_next_period(store, key) && key->period <= to)
	{
		(void) add_stored(reading, entry, store, key);
		if (key->period == PERIOD_NONE)
			break;
	}
}

static void
add_folded(Reading *reading, Snapshot snapshot)
{
	CounterQuery *query = reading->query;
	CellStore	store;

	cc_store_begin(&store, snapshot, AccessShareLock);
	for (int i = 0; i < reading->nentries; i++)
	{
		ReadEntry  *entry = &reading->entries[i];
		StoreKey	key = {entry->source->id, entry->dimension, query->key, query->key_len, PERIOD_ALL};

		if (entry->live)
			continue;
		if (add_stored(reading, entry, &store, &key) && query->wishes[entry->wish].days)
			add_periods(reading, entry, &store, &key);
	}
	cc_store_end(&store);
}

/* Can the log be read for one tenant only? */
static bool
is_tenant(const Reading *reading)
{
	if (reading->query->key_len > CELL_TEXT_MAX - 1)
		return false;
	for (int i = 0; i < reading->nentries; i++)
		if (reading->entries[i].source->tenant_dimension != reading->entries[i].dimension)
			return false;
	return true;
}

typedef struct LiveRead
{
	Reading    *reading;
	const ReadEntry *entry;
} LiveRead;

static void
add_live(const CellName *name, int64 n, Numeric sum, void *arg)
{
	LiveRead   *live = arg;
	CounterQuery *query = live->reading->query;

	if (name->counter == live->entry->source->id && name->dimension == live->entry->dimension &&
		name->key_len == query->key_len && memcmp(name->key, query->key, name->key_len) == 0)
		add_day(live->reading, live->entry, name, n, sum, false);
}

static void
count_live(Reading *reading, const ReadEntry *entry, Snapshot snapshot)
{
	LiveRead	live = {reading, entry};

	(void) cc_scan_table(entry->source->relid, cc_scan_config(entry->source->relid, false),
						 list_make1(entry->source), snapshot, add_live, &live);
}

/* Forget what was read of entries that turned out to have to be counted. */
static void
start_over(Reading *reading, Snapshot snapshot)
{
	cc_cells_reset(reading->query->cells);
	if (reading->query->restart)
		reading->query->restart(reading->query->arg);
	for (int i = 0; i < reading->nentries; i++)
		count_live(reading, &reading->entries[i], snapshot);
}

/* Is any entry to be counted in its table? */
static bool
any_live(const Reading *reading)
{
	for (int i = 0; i < reading->nentries; i++)
		if (reading->entries[i].live)
			return true;
	return false;
}

/* Add all that is folded, or what the caller has not kept of it. */
static void
read_folded(Reading *reading, const FoldState *state, Snapshot snapshot)
{
	CounterQuery *query = reading->query;
	/* a fold of our own may come to nothing, and another one have its number then */
	bool		keeps = query->resume && state->fold > 0 && !state->own && !any_live(reading);
	int64		upto = keeps ? query->resume(state->base, state->fold, query->arg) : 0;

	if (upto > 0 && upto == state->fold)
		return;
	if (upto == 0)
	{
		add_folded(reading, snapshot);
		upto = state->base;
	}
	if (state->fold > upto)
		(void) cc_batch_read(cc_batch_bucket(query->key, query->key_len), upto, state->fold,
							 snapshot, false, add_batched, reading);
	if (keeps)
		query->keep(state->fold, query->arg);
}

/*
 * Read what the wishes want, of one key of one dimension.  The snapshot must be
 * registered or active, and the one that cc_counters_begin was called with.
 */
void
cc_counters_read(CounterQuery *query, Snapshot snapshot)
{
	Reading		reading = {.query = query};
	FoldState	state;

	initStringInfo(&reading.name);
	make_entries(&reading);
	if (reading.nentries == 0)
		return;
	cc_fold_state(&state, snapshot);
	read_folded(&reading, &state, snapshot);
	cc_tail_read(&state, snapshot, is_tenant(&reading) ? query->key : NULL, query->key_len,
				 add_record, &reading);
	cc_deltas_visit(add_packed, &reading);
	/* after the scan: what was emptied meanwhile shows in no snapshot, only in the floor */
	if (any_live(&reading) || !cc_floor_covers_fold(state.since))
		start_over(&reading, snapshot);
}

/* Call "visit" for each cell of the answer that is not zero. */
void
cc_counters_visit(CounterQuery *query, AnswerVisit visit, void *arg)
{
	Cell	  **cells = cc_cells_sorted(query->cells);

	for (uint32 i = 0; i < cc_cells_count(query->cells); i++)
	{
		int			prefix_len = cc_cell_prefix_len(cells[i]->name);
		CellName	name;

		if (cc_cell_is_zero(cells[i]->n, cells[i]->sum))
			continue;
		cc_cell_read_prefix(cells[i]->name, &name);
		cc_cell_read_suffix(cells[i]->name + prefix_len, cells[i]->len - prefix_len, &name);
		visit(name.counter, &name, cells[i]->n, cells[i]->sum, arg);
	}
}
