/*-------------------------------------------------------------------------
 *
 * counter_scan.c
 *		Counting the rows of a tracked table itself.
 *
 * For the first count of a table, for counters that can not be trusted, and to
 * compare.  Each row goes through the code that the trigger uses, so that what is
 * counted here is what changes will add to and take from.  Partitions and
 * inheritance children count for their table; each has columns of its own order,
 * hence a tracker of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "counter_scan.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "counter_store.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* cells in memory beyond which the first count writes them */
#define CELLS_BYTES (64 * 1024 * 1024)

/* how often to tell how far it is, in microseconds, and after how many rows to look */
#define PROGRESS_EVERY (2 * USECS_PER_SEC)
#define PROGRESS_ROWS 10000

typedef struct TableScan
{
	CellVisit	visit;
	void	   *arg;
	int64		rows;
	bool		tell;			/* progress */
	TimestampTz told;
	const char *name;			/* of the table, for that */
	double		expected;		/* rows */
} TableScan;

/* The configuration that a table is tracked with; ERROR, or NULL, if it is not. */
Jsonb *
cc_scan_config(Oid relid, bool missing_ok)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Trigger    *trigger = cc_tracker_trigger(rel, true);
	Jsonb	   *config = NULL;

	if (trigger != NULL)
		config = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(trigger->tgargs[0])));
	else if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is counted, but not tracked any more",
						RelationGetRelationName(rel)),
				 errhint("Track it again with clinicache.track(), or give its counters up with "
						 "clinicache.untrack().")));
	table_close(rel, NoLock);
	return config;
}

static void
tell_progress(TableScan *scan)
{
	TimestampTz now;

	if (!scan->tell || scan->rows % PROGRESS_ROWS != 0)
		return;
	now = GetCurrentTimestamp();
	if (now - scan->told < PROGRESS_EVERY)
		return;
	scan->told = now;
	ereport(NOTICE,
			(errmsg("counted " INT64_FORMAT " of about %.0f rows of table \"%s\"",
					scan->rows, Max(scan->expected, (double) scan->rows), scan->name)));
}

static bool
count_row(Tracker *tracker, TupleTableSlot *slot, void *arg)
{
	TableScan  *scan = arg;

	for (int i = 0; i < tracker->ncounters; i++)
	{
		CounterRule *rule = &tracker->counters[i];
		Contribution contribution;
		PackedCell	packed;

		if (rule->id == 0 ||
			!cc_counter_contribution(tracker, rule, NULL, slot->tts_values, slot->tts_isnull,
									 &contribution))
			continue;
		packed = (PackedCell) {contribution.name, contribution.len, 1, contribution.sum};
		cc_contribution_expand(&packed, scan->visit, scan->arg);
	}
	scan->rows++;
	tell_progress(scan);
	return true;
}

static void
scan_one(Relation rel, Tracker *tracker, Snapshot snapshot, RowVisit visit, void *arg)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "clinicache scan row",
													  ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	bool		go_on = true;

	while (go_on && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, tracker->max_attno);
		old = MemoryContextSwitchTo(row_context);
		go_on = visit(tracker, slot, arg);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
}

/*
 * Call "visit" for each row of the tables, which the caller has locked: one tracked
 * with the configuration and those below it.  Each comes with a tracker of its own
 * that counts for the sources, its columns up to max_attno in the slot, and a
 * CurrentMemoryContext that is reset after it.
 */
void
cc_scan_rows(List *relids, Jsonb *config, List *sources, Snapshot snapshot, RowVisit visit,
			 void *arg)
{
	ListCell   *cell;

	foreach(cell, relids)
	{
		Relation	rel = table_open(lfirst_oid(cell), NoLock);

		/* a foreign partition has no triggers of ours: nothing of it is counted */
		if (rel->rd_rel->relkind == RELKIND_RELATION)
		{
			MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "clinicache scan",
													   ALLOCSET_DEFAULT_SIZES);
			Tracker    *tracker = cc_config_compile(rel, config, work);

			cc_sources_apply(tracker, sources);
			scan_one(rel, tracker, snapshot, visit, arg);
			MemoryContextDelete(work);
		}
		table_close(rel, NoLock);
	}
}

/*
 * Call "visit" for each cell that a row of the table belongs to, for the counters
 * of these sources, on days of the time zones that the snapshot shows.
 * AccessShareLock on the table and those below, kept.  Returns how many rows there
 * were.
 */
int64
cc_scan_table(Oid relid, Jsonb *config, List *sources, Snapshot snapshot, CellVisit visit,
			  void *arg)
{
	List	   *relids = cc_sources_lock_table(relid, AccessShareLock);
	TableScan	scan = {.visit = visit,.arg = arg};

	cc_tenant_zones_at(snapshot);
	PG_TRY();
	{
		cc_scan_rows(relids, config, sources, snapshot, count_row, &scan);
	}
	PG_FINALLY();
	{
		cc_tenant_zones_at(NULL);
	}
	PG_END_TRY();
	return scan.rows;
}

/* cells of the first count */
typedef struct InitialCount
{
	CellSet    *cells;
	StringInfoData name;
} InitialCount;

static void
add_initial(const CellName *name, int64 n, Numeric sum, void *arg)
{
	InitialCount *count = arg;

	resetStringInfo(&count->name);
	cc_cell_append_prefix(&count->name, name);
	cc_cell_append_suffix(&count->name, name);
	cc_cells_add(count->cells, count->name.data, count->name.len, n, sum);
	if (cc_cells_bytes(count->cells) > CELLS_BYTES)
	{
		/* fold 0: older than any */
		cc_store_apply(count->cells, 0);
		cc_cells_reset(count->cells);
	}
}

/*
 * Count a table for new sources, whose cells nobody else can know.  The caller
 * has locked it against changes; the snapshot is taken here, after that.  Shows
 * progress.
 */
int64
cc_scan_initial(Oid relid, Jsonb *config, List *sources)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "clinicache count",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(work);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	InitialCount count = {.cells = cc_cells_create(work)};
	TableScan	scan = {
		.visit = add_initial,
		.arg = &count,
		.tell = true,
		.told = GetCurrentTimestamp(),
		.name = get_rel_name(relid)
	};
	List	   *relids = cc_sources_lock_table(relid, AccessShareLock);
	Relation	rel = table_open(relid, NoLock);

	scan.expected = rel->rd_rel->reltuples;
	table_close(rel, NoLock);
	initStringInfo(&count.name);
	cc_scan_rows(relids, config, sources, snapshot, count_row, &scan);
	cc_store_apply(count.cells, 0);
	UnregisterSnapshot(snapshot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
	return scan.rows;
}
