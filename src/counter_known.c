/*-------------------------------------------------------------------------
 *
 * counter_known.c
 *		Tables that are configured to be counted, whether or not anybody did.
 *
 * After a restore, of a database or of one table, triggers name counters of which
 * clinicache.counter_source knows nothing.  A counter that leaves such a table out
 * would be wrong without a word: readers ask here, and count it live.
 *
 * What the triggers say is remembered.  Each reader asks, so it has to be cheap:
 * the relcache callback notes which relations have changed, and only those are
 * looked at again.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "counter_known.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "counter_scan.h"
#include "counter_source.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* a counter in a trigger's configuration */
typedef struct Known
{
	Oid			relid;
	char	   *counter;
	List	   *ancestors;		/* what it is a partition or an inheritance child of, itself too */
	uint64		judged_at;		/* list_version for which the next holds */
	bool		for_parent;
} Known;

static MemoryContext known_context = NULL;
static List *known = NIL;
static uint64 list_version = 1;
static int	nremoved;			/* from the list, but not from its context */

/* all is unknown while "known_at" is not "invalidations"; else what "changed" lists */
static uint64 invalidations = 1;
static uint64 known_at = 0;
static Oid	changed[32];
static int	nchanged = 0;

static void
relcache_callback(Datum arg, Oid relid)
{
	if (known_at != invalidations)
		return;
	if (!OidIsValid(relid) || nchanged == lengthof(changed))
		invalidations++;
	else if (nchanged == 0 || changed[nchanged - 1] != relid)
		changed[nchanged++] = relid;
}

/* Register the callback; called once, from _PG_init. */
void
cc_known_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/* Remember the counters of a trigger's configuration. */
static void
note_counters(Oid relid, Jsonb *config)
{
	JsonbValue *counters = getKeyJsonValueFromContainer(&config->root, "counters", 8, NULL);
	List	   *ancestors;
	MemoryContext old;

	if (counters == NULL || counters->type != jbvBinary ||
		!JsonContainerIsArray(counters->val.binary.data))
		return;
	ancestors = cc_sources_ancestors(relid);
	old = MemoryContextSwitchTo(known_context);
	for (uint32 i = 0; i < JsonContainerSize(counters->val.binary.data); i++)
	{
		JsonbValue *counter = getIthJsonbValueFromContainer(counters->val.binary.data, i);
		JsonbValue *name;
		Known	   *entry;

		if (counter->type != jbvBinary || !JsonContainerIsObject(counter->val.binary.data))
			continue;
		name = getKeyJsonValueFromContainer(counter->val.binary.data, "counter", 7, NULL);
		if (name == NULL || name->type != jbvString)
			continue;
		entry = palloc(sizeof(Known));
		entry->relid = relid;
		entry->ancestors = list_copy(ancestors);
		entry->judged_at = 0;
		entry->counter = pnstrdup(name->val.string.val, name->val.string.len);
		known = lappend(known, entry);
	}
	MemoryContextSwitchTo(old);
}

/* The same for a row of pg_trigger, if it is a row trigger of ours and no clone. */
static void
note_trigger(Relation rel, HeapTuple tuple)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	bool		isnull;
	Datum		args;

	if (form->tgnargs != 1 || OidIsValid(form->tgparentid) ||
		!cc_catalog_is_function(form->tgfoid, "row_change"))
		return;
	args = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(rel), &isnull);
	note_counters(form->tgrelid,
				  DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													 CStringGetDatum(VARDATA_ANY(DatumGetByteaPP(args))))));
}

/* Look at all triggers of the database. */
static void
load_all(void)
{
	uint64		before = invalidations;
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	if (known_context == NULL)
		known_context = AllocSetContextCreate(CacheMemoryContext, "clinicache counted tables",
											  ALLOCSET_SMALL_SIZES);
	known = NIL;
	MemoryContextReset(known_context);
	list_version++;
	nremoved = nchanged = 0;
	/* from here on the callback notes what changes behind the scan */
	known_at = before;
	PG_TRY();
	{
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			note_trigger(rel, tuple);
	}
	PG_CATCH();
	{
		invalidations++;
		PG_RE_THROW();
	}
	PG_END_TRY();
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Look at one relation's triggers again; it may be gone, or none that has any. */
static void
load_one(Oid relid)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	ListCell   *cell;

	list_version++;
	foreach(cell, known)
		if (((Known *) lfirst(cell))->relid == relid)
		{
			known = foreach_delete_current(known, cell);
			nremoved++;
		}
	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		note_trigger(rel, tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Bring "known" up to date.  Looking may itself bring news of changes. */
static void
refresh(void)
{
	if (nremoved > 1000)
		invalidations++;
	for (int tries = 0; tries < 100; tries++)
	{
		if (known_at != invalidations)
			load_all();
		else if (nchanged > 0)
		{
			/* listed until it was done, in case of an error */
			load_one(changed[0]);
			if (known_at == invalidations)
				memmove(changed, changed + 1, sizeof(Oid) * --nchanged);
		}
		else
			break;
	}
}

/* Does a table count for another one, which is configured for the counter too? */
static bool
counts_for_parent(Known *child)
{
	ListCell   *cell;

	if (child->judged_at == list_version)
		return child->for_parent;
	child->judged_at = list_version;
	child->for_parent = false;
	foreach(cell, known)
	{
		Known	   *entry = lfirst(cell);

		if (entry->relid != child->relid && list_member_oid(child->ancestors, entry->relid) &&
			strcmp(entry->counter, child->counter) == 0)
			child->for_parent = true;
	}
	return child->for_parent;
}

static bool
is_counted(const List *counted, Oid relid)
{
	ListCell   *cell;

	foreach(cell, counted)
		if (((CounterSource *) lfirst(cell))->relid == relid)
			return true;
	return false;
}

/* What a table would be counted as, not valid; appended to the list. */
static List *
append_source(List *sources, Oid relid, const char *counter)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Tracker    *tracker = cc_config_compile(rel, cc_scan_config(relid, false), CurrentMemoryContext);

	for (int i = 0; i < tracker->ncounters; i++)
		if (strcmp(tracker->counters[i].name, counter) == 0)
		{
			CounterSource *source = cc_source_make(tracker, &tracker->counters[i]);

			/* an id that no delta has */
			source->id = -1 - list_length(sources);
			source->valid = false;
			sources = lappend(sources, source);
		}
	table_close(rel, NoLock);
	return sources;
}

/*
 * Sources, not valid ones, for the tables that are configured for a counter and are
 * not among those that were counted.
 */
List *
cc_known_uncounted(const char *counter, const List *counted)
{
	List	   *relids = NIL;
	List	   *sources = NIL;
	ListCell   *cell;

	refresh();
	/* opening tables may change the list */
	foreach(cell, known)
	{
		Known	   *entry = lfirst(cell);

		/*
		 * anybody can name our function in CREATE TRIGGER: only who may track
		 * counts
		 */
		if (strcmp(entry->counter, counter) == 0 && !is_counted(counted, entry->relid) &&
			!counts_for_parent(entry) && cc_tracker_trusts(cc_catalog_owner_of(entry->relid)))
			relids = lappend_oid(relids, entry->relid);
	}
	foreach(cell, relids)
		sources = append_source(sources, lfirst_oid(cell), counter);
	return sources;
}
