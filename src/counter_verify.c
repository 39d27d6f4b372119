/*-------------------------------------------------------------------------
 *
 * counter_verify.c
 *		Counters against the rows of their tables.
 *
 * In one snapshot the table's cells are added up and what the counters say is
 * taken off: folded cells, those of all days together as well, batches, the log,
 * this transaction's own.  What is left is a difference.  A large table is gone
 * through several times, each time for a part of the cells.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "compat.h"
#include "counter.h"
#include "counter_scan.h"
#include "counter_source.h"
#include "counter_store.h"
#include "deltas.h"
#include "executor/tuptable.h"
#include "fold.h"
#include "funcapi.h"
#include "log_scan.h"
#include "log_slots.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* rows of a table that are compared at once, about */
#define ROWS_AT_ONCE 500000

PG_FUNCTION_INFO_V1(clinicache_verify);

typedef struct Verification
{
	CounterSource *source;
	CellSet    *cells;			/* counters less rows */
	StringInfoData name;
	int			sign;
	int			parts;
	int			part;			/* whose turn it is */
	bool		broken;			/* not to be trusted, as soon as that is folded */
} Verification;

/* Add a cell, if its key is of the part whose turn it is. */
static void
add(Verification *verification, const CellName *name, int64 n, Numeric sum)
{
	if (name->counter != verification->source->id ||
		(verification->parts > 1 &&
		 hash_bytes((const unsigned char *) name->key, name->key_len) % verification->parts !=
		 verification->part))
		return;
	if (sum && verification->sign < 0)
		sum = DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(sum)));
	resetStringInfo(&verification->name);
	cc_cell_append_prefix(&verification->name, name);
	cc_cell_append_suffix(&verification->name, name);
	cc_cells_add(verification->cells, verification->name.data, verification->name.len,
				 n * verification->sign, sum);
}

/* A row's or a delta's: it counts for its day, and for all together. */
static void
add_with_all(const CellName *name, int64 n, Numeric sum, void *arg)
{
	CellName	all = *name;

	Verification *verification = arg;

	if (name->kind & CELL_BROKEN)
	{
		verification->broken |= name->counter == verification->source->id;
		return;
	}
	add(arg, name, n, sum);
	all.day = 0;
	all.kind = (name->kind & CELL_SUM_KIND) | CELL_ALL;
	add(arg, &all, n, sum);
}

static void
add_packed(const PackedCell *packed, void *arg)
{
	cc_contribution_expand(packed, add_with_all, arg);
}

static void
add_record(bytea *deltas, void *arg)
{
	cc_deltas_expand(deltas, add_with_all, arg);
}

static void
add_batched(const PackedCell *packed, void *arg)
{
	cc_cell_expand(packed, add_with_all, arg);
}

static void
add_stored(const StoreKey *key, const PackedCell *packed, void *arg)
{
	CellName	name = {key->counter, key->dimension, key->key, key->key_len, 0, 0, NULL, 0};

	cc_cell_read_suffix(packed->name, packed->len, &name);
	/* a key that is not split: its days are all there is */
	if (key->period == PERIOD_ALL && !(name.kind & CELL_ALL))
		add_with_all(&name, packed->n, packed->sum, arg);
	else
		add(arg, &name, packed->n, packed->sum);
}

/* Compare one part of the cells; false: the snapshot is too old to tell. */
static bool
compare(Verification *verification, Jsonb *config, Snapshot snapshot)
{
	CounterSource *source = verification->source;
	FoldState	state;

	verification->sign = -1;
	(void) cc_scan_table(source->relid, config, list_make1(source), snapshot, add_with_all,
						 verification);
	verification->sign = 1;
	cc_fold_state(&state, snapshot);
	cc_store_visit(source->id, snapshot, add_stored, verification);
	for (int bucket = 0; bucket < BATCH_BUCKETS; bucket++)
		(void) cc_batch_read(bucket, state.base, state.fold, snapshot, false, add_batched,
							 verification);
	(void) cc_log_scan_deltas(state.since, snapshot, NULL, 0, true, add_record, verification);
	cc_deltas_visit(add_packed, verification);
	return cc_floor_covers_fold(state.since);
}

static void
put_difference(ReturnSetInfo *rsinfo, const CounterSource *source, const Cell *cell)
{
	int			prefix_len = cc_cell_prefix_len(cell->name);
	Datum		values[8];
	bool		nulls[8] = {false};
	CellName	name;

	cc_cell_read_prefix(cell->name, &name);
	cc_cell_read_suffix(cell->name + prefix_len, cell->len - prefix_len, &name);
	values[0] = CStringGetTextDatum(source->counter);
	values[1] = ObjectIdGetDatum(source->relid);
	values[2] = CStringGetTextDatum(source->dimensions[name.dimension]);
	values[3] = PointerGetDatum(cstring_to_text_with_len(name.key, name.key_len));
	values[4] = DateADTGetDatum(name.day);
	nulls[4] = (name.kind & (CELL_NO_DAY | CELL_ALL)) != 0;
	nulls[5] = name.class == NULL;
	values[5] = name.class ?
		PointerGetDatum(cstring_to_text_with_len(name.class, name.class_len)) : (Datum) 0;
	values[6] = Int64GetDatum(cell->n);
	values[7] = NumericGetDatum(cell->sum ? cell->sum : int64_to_numeric(0));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_differences(Verification *verification, ReturnSetInfo *rsinfo)
{
	Cell	  **cells = cc_cells_sorted(verification->cells);

	for (uint32 i = 0; i < cc_cells_count(verification->cells); i++)
		if (!cc_cell_is_zero(cells[i]->n, cells[i]->sum))
			put_difference(rsinfo, verification->source, cells[i]);
	pfree(cells);
}

static void
verify_source(CounterSource *source, Snapshot snapshot, ReturnSetInfo *rsinfo)
{
	Verification verification = {.source = source};
	Jsonb	   *config = cc_scan_config(source->relid, false);
	double		rows = 0;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(source->relid, NoLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(cell), NoLock);

		rows += Max(rel->rd_rel->reltuples, 0);
		table_close(rel, NoLock);
	}
	initStringInfo(&verification.name);
	verification.cells = cc_cells_create(CurrentMemoryContext);
	verification.parts = 1 + (int) Min(rows / ROWS_AT_ONCE, 1000);
	for (; verification.part < verification.parts; verification.part++)
	{
		cc_cells_reset(verification.cells);
		if (!compare(&verification, config, snapshot))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("this transaction's snapshot is too old to verify counter \"%s\"",
							source->counter),
					 errhint("Verify in a new transaction.")));
		if (!verification.broken)
			put_differences(&verification, rsinfo);
	}
	cc_cells_free(verification.cells);
}

/*
 * verify(counter text) -> table(counter text, relation regclass, dimension text,
 *		key text, day date, class text, n bigint, total numeric)
 *
 * The tables are locked against TRUNCATE, which is not MVCC, and the snapshot is
 * taken after that.
 */
Datum
clinicache_verify(PG_FUNCTION_ARGS)
{
	char	   *counter = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	List	   *sources = cc_sources_load(GetActiveSnapshot());
	Snapshot	snapshot;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, sources)
		(void) cc_sources_lock_table(((CounterSource *) lfirst(cell))->relid, AccessShareLock);
	snapshot = RegisterSnapshot(IsolationUsesXactSnapshot() ? GetActiveSnapshot() :
								GetLatestSnapshot());
	foreach(cell, cc_sources_load(snapshot))
	{
		CounterSource *source = lfirst(cell);

		/* what is not valid is read from the table, and so can not differ */
		if (source->valid && (counter == NULL || strcmp(counter, source->counter) == 0))
			verify_source(source, snapshot, (ReturnSetInfo *) fcinfo->resultinfo);
	}
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}
