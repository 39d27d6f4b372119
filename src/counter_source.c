/*-------------------------------------------------------------------------
 *
 * counter_source.c
 *		Which tables are counted: clinicache.counter_source.
 *
 * A row of it is one counter of one table, with an id that deltas carry.  Its
 * rows are never changed: what is counted anew (track, rebuild, TRUNCATE) gets
 * another row with another id, in the transaction that does it, and deltas under
 * the old id mean nothing any more.  A counter that is not to be trusted gets a
 * row in clinicache.counter_invalid, so that nobody waits for anybody.
 *
 * Trackers know the ids; whoever writes here sends the table's relcache
 * invalidation, under a lock on the table that lets no change of it be under
 * way.  Partitions and inheritance children count for the table that was
 * tracked.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "counter_source.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "counter.h"
#include "counter_scan.h"
#include "counter_store.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "subtransaction.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define Anum_source_id 1
#define Anum_source_counter 2
#define Anum_source_relation 3
#define Anum_source_dimensions 4
#define Anum_source_tenant_dimension 5
#define Anum_source_timezone 6
#define Anum_source_counted_at 7
#define Natts_source 7

#define Anum_invalid_id 1
#define Anum_invalid_source 2
#define Natts_invalid 4

/* to lock many tables, see cc_sources_lock_all */
#define LOCK_ATTEMPTS 100

PG_FUNCTION_INFO_V1(clinicache_count_rows);
PG_FUNCTION_INFO_V1(clinicache_forget_counters);
PG_FUNCTION_INFO_V1(clinicache_maintain_counters);

static CounterSource *
read_source(HeapTuple tuple, TupleDesc desc)
{
	CounterSource *source = palloc0(sizeof(CounterSource));
	bool		isnull;
	Datum	   *names;

	source->id = DatumGetInt32(heap_getattr(tuple, Anum_source_id, desc, &isnull));
	source->counter = TextDatumGetCString(heap_getattr(tuple, Anum_source_counter, desc, &isnull));
	source->relid = DatumGetObjectId(heap_getattr(tuple, Anum_source_relation, desc, &isnull));
	deconstruct_array(DatumGetArrayTypeP(heap_getattr(tuple, Anum_source_dimensions, desc,
													  &isnull)),
					  TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &source->ndimensions);
	source->dimensions = palloc(sizeof(char *) * Max(1, source->ndimensions));
	for (int i = 0; i < source->ndimensions; i++)
		source->dimensions[i] = TextDatumGetCString(names[i]);
	source->tenant_dimension = DatumGetInt16(heap_getattr(tuple, Anum_source_tenant_dimension,
														  desc, &isnull));
	source->timezone = TextDatumGetCString(heap_getattr(tuple, Anum_source_timezone, desc,
														&isnull));
	source->valid = true;
	return source;
}

/* Sources of which counter_invalid says that they are not to be trusted. */
static void
mark_invalid(List *sources, Snapshot snapshot)
{
	Relation	rel = table_open(cc_catalog_relid(CC_TABLE_INVALID), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		CounterSource *source;

		source = cc_source_find(sources, DatumGetInt32(heap_getattr(tuple, Anum_invalid_source,
																   RelationGetDescr(rel),
																   &isnull)));
		if (source)
			source->valid = false;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * All sources whose tables exist, as a list of CounterSource.  They are few: one
 * for each counter of a tracked table.  The snapshot must be registered or active.
 */
List *
cc_sources_load(Snapshot snapshot)
{
	Relation	rel = table_open(cc_catalog_relid(CC_TABLE_SOURCE), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	List	   *sources = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CounterSource *source = read_source(tuple, RelationGetDescr(rel));

		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source->relid)))
			sources = lappend(sources, source);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (sources != NIL)
		mark_invalid(sources, snapshot);
	return sources;
}

/* The source with that id, or NULL. */
CounterSource *
cc_source_find(List *sources, int32 id)
{
	ListCell   *cell;

	foreach(cell, sources)
		if (((CounterSource *) lfirst(cell))->id == id)
			return lfirst(cell);
	return NULL;
}

/* Those of one table. */
List *
cc_sources_of(List *sources, Oid relid)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, sources)
		if (((CounterSource *) lfirst(cell))->relid == relid)
			result = lappend(result, lfirst(cell));
	return result;
}

/*
 * Lock a table with its partitions and inheritance children, which is what
 * find_all_inheritors() leaves to do: it locks those below only.  Returns them all.
 */
List *
cc_sources_lock_table(Oid relid, LOCKMODE lockmode)
{
	LockRelationOid(relid, lockmode);
	return find_all_inheritors(relid, lockmode, NULL);
}

/* The counted tables, with partitions and inheritance children. */
static List *
counted_tables(List *sources)
{
	List	   *relids = NIL;
	ListCell   *cell;

	foreach(cell, sources)
		relids = list_concat_unique_oid(relids,
										find_all_inheritors(((CounterSource *) lfirst(cell))->relid,
															NoLock, NULL));
	return relids;
}

/* tables to be locked all or none */
typedef struct LockAttempt
{
	List	   *relids;
	Oid			first;			/* to be waited for, if valid */
	LOCKMODE	lockmode;
	Oid			taken;			/* what somebody else has */
} LockAttempt;

static bool
lock_step(void *arg)
{
	LockAttempt *attempt = arg;
	ListCell   *cell;

	if (OidIsValid(attempt->first))
		LockRelationOid(attempt->first, attempt->lockmode);
	foreach(cell, attempt->relids)
		if (!ConditionalLockRelationOid(lfirst_oid(cell), attempt->lockmode))
		{
			attempt->taken = lfirst_oid(cell);
			return false;
		}
	return true;
}

/*
 * Wait for one table (if valid), then lock all without waiting.  Returns the one that
 * somebody else has, after giving back what was locked; InvalidOid: all are locked.
 */
static Oid
try_lock_all(List *relids, Oid first, LOCKMODE lockmode)
{
	LockAttempt attempt = {.relids = relids,.first = first,.lockmode = lockmode};
	ErrorData  *error = cc_subtransaction(lock_step, &attempt);

	if (error != NULL)
		ReThrowError(error);
	return attempt.taken;
}

/*
 * Lock all counted tables, and return their sources as they are from then on.
 * Whoever had the lock before may have counted a table anew, or tracked another.
 * While it waits for one table it holds no other, or it would be half of a deadlock
 * with whoever writes to two; only if that leads to nothing it waits for each in turn.
 */
List *
cc_sources_lock_all(LOCKMODE lockmode)
{
	List	   *locked = NIL;
	Oid			wait_for = InvalidOid;
	int			attempts = 0;

	for (;;)
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		List	   *sources = cc_sources_load(snapshot);
		List	   *relids = counted_tables(sources);
		ListCell   *cell;

		UnregisterSnapshot(snapshot);
		if (list_difference_oid(relids, locked) == NIL)
			return sources;
		if (++attempts <= LOCK_ATTEMPTS)
		{
			wait_for = try_lock_all(relids, wait_for, lockmode);
			if (!OidIsValid(wait_for))
				locked = relids;
			continue;
		}
		foreach(cell, relids)
			LockRelationOid(lfirst_oid(cell), lockmode);
		locked = relids;
	}
}

/* The table and whatever it is a partition or an inheritance child of. */
List *
cc_sources_ancestors(Oid relid)
{
	List	   *relids = list_make1_oid(relid);
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);

	/* grows while we go through it */
	for (int i = 0; i < list_length(relids); i++)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(list_nth_oid(relids, i)));
		scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			relids = list_append_unique_oid(relids,
											((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
		systable_endscan(scan);
	}
	table_close(inherits, AccessShareLock);
	return relids;
}

/* The sources for which changes of a table count, in a latest snapshot. */
static List *
sources_for(Oid relid)
{
	Oid			namespace = get_namespace_oid(CC_SCHEMA, true);
	Snapshot	snapshot;
	List	   *sources;
	List	   *result = NIL;
	ListCell   *cell;

	/* a library newer than the tables: nothing is counted yet */
	if (!OidIsValid(namespace) || !OidIsValid(get_relname_relid(CC_TABLE_SOURCE, namespace)))
		return NIL;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	sources = cc_sources_load(snapshot);
	UnregisterSnapshot(snapshot);
	if (sources == NIL)
		return NIL;
	foreach(cell, cc_sources_ancestors(relid))
	{
		result = cc_sources_of(sources, lfirst_oid(cell));
		if (result != NIL)
			break;
	}
	return result;
}

/* Give a rule its source's id and time zone. */
static void
assign(CounterRule *rule, const CounterSource *source)
{
	pg_tz	   *zone = pg_tzset(source->timezone);

	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" of counter \"%s\" is not known any more",
						source->timezone, source->counter),
				 errhint("Count anew: SELECT clinicache.rebuild(%s).",
						 quote_literal_cstr(source->counter))));
	rule->id = source->id;
	cc_zone_set(&rule->zone, zone);
}

/* Give a tracker's counters the ids of these sources; the others keep 0: nobody counts them. */
void
cc_sources_apply(Tracker *tracker, const List *sources)
{
	ListCell   *cell;

	foreach(cell, sources)
	{
		CounterSource *source = lfirst(cell);

		for (int i = 0; i < tracker->ncounters; i++)
			if (strcmp(tracker->counters[i].name, source->counter) == 0)
			{
				assign(&tracker->counters[i], source);
				tracker->counting = true;
			}
	}
}

/*
 * Tell a table's tracker which counters its changes count for.  A broken one only
 * notes their ids, which are to be distrusted then.
 */
void
cc_sources_assign(Tracker *tracker, Oid relid)
{
	List	   *sources;
	ListCell   *cell;

	if (tracker->ncounters == 0 && !tracker->broken)
		return;
	sources = sources_for(relid);
	cc_sources_apply(tracker, sources);
	foreach(cell, tracker->broken ? sources : NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(tracker->context);

		tracker->distrusted = lappend_int(tracker->distrusted, ((CounterSource *) lfirst(cell))->id);
		MemoryContextSwitchTo(old);
	}
}

/* Write that a source is not to be trusted any more. */
void
cc_sources_distrust(int32 id, const char *reason)
{
	Datum		values[Natts_invalid] = {0};
	bool		nulls[Natts_invalid] = {false};

	values[Anum_invalid_source - 1] = Int32GetDatum(id);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[3] = CStringGetTextDatum(reason);
	cc_catalog_insert_numbered(CC_TABLE_INVALID, Natts_invalid, values, nulls);
}

/* Trackers of the table, its partitions and children look their ids up again. */
static void
invalidate_trackers(Oid relid)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
		CacheInvalidateRelcacheByRelid(lfirst_oid(cell));
}

/* Delete a table's rows; true if there were any. */
static bool
delete_sources(Oid relid)
{
	Relation	rel = table_open(cc_catalog_relid(CC_TABLE_SOURCE), RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;
	bool		any = false;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		if (DatumGetObjectId(heap_getattr(tuple, Anum_source_relation, RelationGetDescr(rel),
										  &isnull)) != relid)
			continue;
		simple_heap_delete(rel, &tuple->t_self);
		any = true;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return any;
}

static void
insert_source(CounterSource *source)
{
	Datum		values[Natts_source] = {0};
	bool		nulls[Natts_source] = {false};
	Datum	   *names = palloc(sizeof(Datum) * Max(1, source->ndimensions));

	for (int i = 0; i < source->ndimensions; i++)
		names[i] = CStringGetTextDatum(source->dimensions[i]);
	values[Anum_source_counter - 1] = CStringGetTextDatum(source->counter);
	values[Anum_source_relation - 1] = ObjectIdGetDatum(source->relid);
	values[Anum_source_dimensions - 1] =
		PointerGetDatum(construct_array(names, source->ndimensions, TEXTOID, -1, false,
										TYPALIGN_INT));
	values[Anum_source_tenant_dimension - 1] = Int16GetDatum(source->tenant_dimension);
	values[Anum_source_timezone - 1] = CStringGetTextDatum(source->timezone);
	values[Anum_source_counted_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	source->id = cc_catalog_insert_numbered(CC_TABLE_SOURCE, Natts_source, values, nulls);
}

/* the counted table that was emptied last, and by which command */
static struct
{
	TransactionId xid;
	SubTransactionId subid;
	CommandId	command;
	Oid			relid;
} emptied;

static void
note_emptied(Oid relid)
{
	emptied.xid = GetTopTransactionId();
	emptied.subid = GetCurrentSubTransactionId();
	emptied.command = GetCurrentCommandId(false);
	emptied.relid = relid;
}

/* Was it by the command that is being executed?  Whatever wrote in between is another. */
static bool
just_emptied(Oid relid)
{
	return emptied.relid == relid && emptied.xid == GetTopTransactionIdIfAny() &&
		emptied.subid == GetCurrentSubTransactionId() &&
		emptied.command == GetCurrentCommandId(false);
}

/*
 * A counted table was emptied, by this transaction, which holds AccessExclusiveLock
 * on it: new sources, which begin with what there is now.  Mostly nothing; but
 * TRUNCATE ONLY leaves inheritance children, and another trigger may have inserted
 * rows.  If only a partition was, there is no telling what its rows had contributed.
 */
void
cc_sources_truncated(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	List	   *sources = sources_for(relid);
	ListCell   *cell;

	if (sources == NIL)
		return;
	if (((CounterSource *) linitial(sources))->relid != relid)
	{
		Oid			root = ((CounterSource *) linitial(sources))->relid;

		/* with the root itself: that had its turn */
		if (just_emptied(root))
			return;
		foreach(cell, sources)
			cc_sources_distrust(((CounterSource *) lfirst(cell))->id, "a partition was truncated");
		ereport(NOTICE,
				(errmsg("counters of table \"%s\" are read from the table itself from now on",
						get_rel_name(root)),
				 errhint("To make them quick again: SELECT clinicache.rebuild(%s).",
						 quote_literal_cstr(((CounterSource *) linitial(sources))->counter))));
		return;
	}
	(void) cc_sources_lock_table(relid, ShareRowExclusiveLock);
	delete_sources(relid);
	foreach(cell, sources)
		insert_source(lfirst(cell));
	invalidate_trackers(relid);
	CommandCounterIncrement();
	(void) cc_scan_initial(relid, cc_scan_config(relid, false), sources);
	note_emptied(relid);
}

/* Delete rows of one of the two tables that are of no use; which ones, "useless" tells. */
static void
trim_table(const char *table, Snapshot snapshot, int attnum,
		   bool (*useless) (Oid value, const List *ids), const List *ids)
{
	Relation	rel = table_open(cc_catalog_relid(table), RowExclusiveLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, attnum, RelationGetDescr(rel), &isnull);

		if (useless(DatumGetObjectId(value), ids))
			simple_heap_delete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
}

static bool
is_dropped(Oid relid, const List *ids)
{
	return !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

static bool
is_unknown(Oid id, const List *ids)
{
	return !list_member_int(ids, (int) id);
}

/*
 * maintain_counters() -> void
 *		Removes what is left of counters that are no more.
 */
Datum
clinicache_maintain_counters(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;
	List	   *ids = NIL;
	ListCell   *cell;

	cc_catalog_require_primary();
	/* as a fold: cells are changed by one session at a time */
	if (!ConditionalLockRelationOid(cc_catalog_relid(CC_TABLE_FOLD), ShareRowExclusiveLock))
		PG_RETURN_VOID();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	trim_table(CC_TABLE_SOURCE, snapshot, Anum_source_relation, is_dropped, NIL);
	foreach(cell, cc_sources_load(snapshot))
		ids = lappend_int(ids, ((CounterSource *) lfirst(cell))->id);
	trim_table(CC_TABLE_INVALID, snapshot, Anum_invalid_source, is_unknown, ids);
	cc_store_trim(ids, snapshot);
	UnregisterSnapshot(snapshot);
	PG_RETURN_VOID();
}

/*
 * Changes of the table by the statement that calls us have not been through the
 * trigger yet: they would be counted twice.  An inheritance child counts for the
 * parent that was tracked, and can not be counted for itself besides.
 */
static void
check_countable(Oid relid, List *relids)
{
	List	   *sources;
	ListCell   *cell;

	foreach(cell, relids)
		if (AfterTriggerPendingOnRel(lfirst_oid(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("table \"%s\" can not be counted while this statement changes it",
							get_rel_name(lfirst_oid(cell))),
					 errhint("Do it in a statement of its own.")));
	sources = sources_for(relid);
	if (sources == NIL || ((CounterSource *) linitial(sources))->relid == relid)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is a child of \"%s\", whose counters count it",
					get_rel_name(relid),
					get_rel_name(((CounterSource *) linitial(sources))->relid)),
			 errhint("Track the parent only, or untrack it first.")));
}

static void
check_ownership(Oid relid)
{
	if (!cc_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

/* A rule's row; the dimension whose key is the tenant is told by its reference. */
CounterSource *
cc_source_make(const Tracker *tracker, const CounterRule *rule)
{
	CounterSource *source = palloc0(sizeof(CounterSource));

	source->counter = rule->name;
	source->relid = tracker->relid;
	source->ndimensions = rule->ndimensions;
	source->dimensions = palloc(sizeof(char *) * COUNTER_MAX_DIMENSIONS);
	memcpy(source->dimensions, rule->dimensions, sizeof(char *) * rule->ndimensions);
	source->tenant_dimension = -1;
	for (int i = 0; i < rule->ndimensions; i++)
		if (rule->keys[i] == tracker->tenant)
			source->tenant_dimension = i;
	source->timezone = cc_timezone;
	source->valid = true;
	return source;
}

/*
 * count_rows(relation regclass, config jsonb) -> bigint
 *		Counts a table for the counters of a configuration, in place of what was
 *		counted before; returns the number of rows.  The caller has to own it.
 *
 * Locks the table against changes, and only then takes the snapshot in which it
 * counts: whatever is committed later goes through the trigger with the new ids.
 */
Datum
clinicache_count_rows(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Jsonb	   *config = PG_GETARG_JSONB_P(1);
	Relation	rel;
	Tracker    *tracker;
	List	   *relids;
	List	   *sources = NIL;
	ListCell   *cell;
	bool		had = false;
	int64		rows = 0;

	check_ownership(relid);
	relids = cc_sources_lock_table(relid, ShareRowExclusiveLock);
	check_countable(relid, relids);
	/* children that were tracked before for themselves too */
	foreach(cell, relids)
		had |= delete_sources(lfirst_oid(cell));
	/* whoever is changing time zones waits for counted tables (rezone), but can not know this one */
	LockRelationOid(cc_catalog_relid(CC_TABLE_TENANT), had ? AccessShareLock : ShareLock);
	rel = table_open(relid, NoLock);
	tracker = cc_config_compile(rel, config, CurrentMemoryContext);
	for (int i = 0; i < tracker->ncounters; i++)
	{
		CounterSource *source = cc_source_make(tracker, &tracker->counters[i]);

		insert_source(source);
		sources = lappend(sources, source);
	}
	CommandCounterIncrement();
	if (had || sources != NIL)
		invalidate_trackers(relid);
	if (sources != NIL)
		rows = cc_scan_initial(relid, config, sources);
	table_close(rel, NoLock);
	PG_RETURN_INT64(rows);
}

/*
 * forget_counters(relation regclass) -> void
 *		Its counters are no more.  The caller has to own the table.
 */
Datum
clinicache_forget_counters(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	check_ownership(relid);
	(void) cc_sources_lock_table(relid, ShareRowExclusiveLock);
	if (delete_sources(relid))
		invalidate_trackers(relid);
	PG_RETURN_VOID();
}
