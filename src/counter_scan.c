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

/*
 * Tables that are tracked with counters of which counter_source knows nothing: after
 * a restore.  Looked up anew after any relation has changed.
 */
typedef struct Unregistered
{
	Oid			relid;
	char	   *counter;
} Unregistered;

static MemoryContext known_context = NULL;
static List *known = NIL;		/* of Unregistered: all counters of all triggers */
static uint64 invalidations = 1;
static uint64 known_at = 0;

static void
relcache_callback(Datum arg, Oid relid)
{
	invalidations++;
}

/* Register the callback; called once, from _PG_init. */
void
cc_scan_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/* Note the counters of a trigger's configuration. */
static void
note_counters(Oid relid, Jsonb *config)
{
	JsonbValue *counters = getKeyJsonValueFromContainer(&config->root, "counters", 8, NULL);
	MemoryContext old;

	if (counters == NULL || counters->type != jbvBinary ||
		!JsonContainerIsArray(counters->val.binary.data))
		return;
	old = MemoryContextSwitchTo(known_context);
	for (uint32 i = 0; i < JsonContainerSize(counters->val.binary.data); i++)
	{
		JsonbValue *counter = getIthJsonbValueFromContainer(counters->val.binary.data, i);
		JsonbValue *name;
		Unregistered *entry;

		if (counter->type != jbvBinary || !JsonContainerIsObject(counter->val.binary.data))
			continue;
		name = getKeyJsonValueFromContainer(counter->val.binary.data, "counter", 7, NULL);
		if (name == NULL || name->type != jbvString)
			continue;
		entry = palloc(sizeof(Unregistered));
		entry->relid = relid;
		entry->counter = pnstrdup(name->val.string.val, name->val.string.len);
		known = lappend(known, entry);
	}
	MemoryContextSwitchTo(old);
}

/* Read the counters of all triggers of ours. */
static void
load_known(void)
{
	uint64		before = invalidations;
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	if (known_context == NULL)
		known_context = AllocSetContextCreate(CacheMemoryContext, "clinicache counted tables",
											  ALLOCSET_SMALL_SIZES);
	known_at = 0;
	known = NIL;
	MemoryContextReset(known_context);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		isnull;
		Datum		args;

		/* anybody can name our function in CREATE TRIGGER: only who may track counts */
		if (form->tgnargs != 1 || OidIsValid(form->tgparentid) ||
			!cc_catalog_is_function(form->tgfoid, "row_change") ||
			!cc_tracker_trusts(cc_catalog_owner_of(form->tgrelid)))
			continue;
		args = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(rel), &isnull);
		note_counters(form->tgrelid,
					  DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														 CStringGetDatum(VARDATA_ANY(DatumGetByteaPP(args))))));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	known_at = before;
}

/* Does a table count for another one, which is configured for the counter too? */
static bool
counts_for_parent(Oid relid, const char *counter)
{
	List	   *ancestors = cc_sources_ancestors(relid);
	ListCell   *cell;

	foreach(cell, known)
	{
		Unregistered *entry = lfirst(cell);

		if (entry->relid != relid && strcmp(entry->counter, counter) == 0 &&
			list_member_oid(ancestors, entry->relid))
			return true;
	}
	return false;
}

/*
 * Sources, not valid ones, for a counter that is configured somewhere and counted
 * nowhere.
 */
List *
cc_scan_unregistered(const char *counter)
{
	List	   *sources = NIL;
	ListCell   *cell;

	if (known_at != invalidations)
		load_known();
	foreach(cell, known)
	{
		Unregistered *entry = lfirst(cell);
		CounterSource *source;
		Relation	rel;
		Tracker    *tracker;

		if (strcmp(entry->counter, counter) != 0 || counts_for_parent(entry->relid, counter))
			continue;
		rel = table_open(entry->relid, AccessShareLock);
		tracker = cc_config_compile(rel, cc_scan_config(entry->relid, false), CurrentMemoryContext);
		for (int i = 0; i < tracker->ncounters; i++)
			if (strcmp(tracker->counters[i].name, counter) == 0)
			{
				source = cc_source_make(tracker, &tracker->counters[i]);
				source->id = -1 - list_length(sources);
				source->valid = false;
				sources = lappend(sources, source);
			}
		table_close(rel, NoLock);
	}
	return sources;
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
