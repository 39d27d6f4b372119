/*-------------------------------------------------------------------------
 *
 * tracker.c
 *		Trackers, compiled once per trigger and backend.
 *
 * A tracker is kept under CacheMemoryContext until its table's relcache entry
 * is invalidated (the trigger was replaced, a column altered).  The callback
 * only marks it stale: it may run while the tracker is in use, during a detoast
 * or a look-up.  The next trigger call replaces it.
 *
 * Compilation runs in a subtransaction, so that whatever is wrong with a
 * configuration leaves the user's statement alone when clinicache.on_error is
 * "reset".
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tracker.h"

#include "access/xact.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "counter_source.h"
#include "miscadmin.h"
#include "subtransaction.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct TrackerEntry
{
	Oid			relid;			/* hash key */
	Tracker    *first;			/* of a list, mostly of one or two */
} TrackerEntry;

static HTAB *trackers = NULL;

static bool looking_up = false; /* some tracker was compiled with look-ups */

static bool
depends_on(const Tracker *tracker, Oid relid)
{
	for (int i = 0; i < tracker->nlookups; i++)
		if (cc_lookup_depends(tracker->lookups[i], relid))
			return true;
	return false;
}

/* Mark an entry's trackers stale; relid not invalid: those that look up in that table. */
static void
mark_stale(TrackerEntry *entry, Oid relid)
{
	for (Tracker *tracker = entry->first; tracker; tracker = tracker->next)
		tracker->stale |= !OidIsValid(relid) || depends_on(tracker, relid);
}

static void
tracker_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	TrackerEntry *entry;

	if (trackers == NULL)
		return;
	if (OidIsValid(relid))
	{
		entry = hash_search(trackers, &relid, HASH_FIND, NULL);
		if (entry)
			mark_stale(entry, InvalidOid);
		if (!looking_up)
			return;
	}
	hash_seq_init(&status, trackers);
	while ((entry = hash_seq_search(&status)) != NULL)
		mark_stale(entry, relid);
}

/* Register the callback; called once, from _PG_init. */
void
cc_tracker_init(void)
{
	CacheRegisterRelcacheCallback(tracker_relcache_callback, (Datum) 0);
}

static bool
may_execute(Oid owner, Oid namespace, const char *name, Oid *types, int ntypes)
{
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										   CStringGetDatum(name),
										   PointerGetDatum(buildoidvector(types, ntypes)),
										   ObjectIdGetDatum(namespace));

	return OidIsValid(function) &&
		cc_proc_aclcheck(function, owner, ACL_EXECUTE) == ACLCHECK_OK;
}

/*
 * May the table's owner execute clinicache.track(), in either form?  Everybody
 * can name our trigger function in CREATE TRIGGER; this is what keeps the tags
 * in the hands of those who were trusted with them.  Whoever writes the row
 * needs no privilege here, not even on our schema.
 */
bool
cc_tracker_trusts(Oid owner)
{
	Oid			namespace = get_namespace_oid(CC_SCHEMA, true);
	Oid			types[4] = {REGCLASSOID, TEXTOID, JSONBOID, JSONBOID};
	Oid			own_types[2] = {REGCLASSOID, JSONBOID};

	return may_execute(owner, namespace, "track", types, 4) ||
		may_execute(owner, namespace, "track", own_types, 2);
}

static void
check_owner(Relation rel)
{
	Oid			owner = rel->rd_rel->relowner;

	if (cc_tracker_trusts(owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("owner \"%s\" of table \"%s\" may not track tables",
					GetUserNameFromId(owner, false), RelationGetRelationName(rel)),
			 errhint("A superuser can allow it: SELECT clinicache.grant_tracker(%s).",
					 quote_literal_cstr(GetUserNameFromId(owner, false)))));
}

static Tracker *
compile(Relation rel, Trigger *trigger)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinicache tracker",
												  ALLOCSET_SMALL_SIZES);
	Tracker    *tracker;
	MemoryContext old;
	Jsonb	   *config;

	check_owner(rel);
	if (trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" needs one argument, its configuration", trigger->tgname),
				 errhint("Let clinicache.track() make the trigger.")));
	old = MemoryContextSwitchTo(context);
	config = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(trigger->tgargs[0])));
	tracker = cc_config_compile(rel, config, context);
	cc_sources_assign(tracker, RelationGetRelid(rel));
	MemoryContextSwitchTo(old);
	return tracker;
}

/* A tracker that only remembers why there is none. */
static Tracker *
make_broken(Relation rel, const ErrorData *error)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinicache tracker",
												  ALLOCSET_SMALL_SIZES);
	Tracker    *tracker = MemoryContextAllocZero(context, sizeof(Tracker));

	tracker->relid = RelationGetRelid(rel);
	tracker->context = context;
	tracker->broken = MemoryContextStrdup(context, error->message);
	tracker->broken_code = error->sqlerrcode;
	tracker->broken_at = GetCurrentStatementStartTimestamp();
	return tracker;
}

typedef struct Compilation
{
	Relation	rel;
	Trigger    *trigger;
	Tracker    *tracker;
} Compilation;

static bool
compile_step(void *arg)
{
	Compilation *compilation = arg;

	compilation->tracker = compile(compilation->rel, compilation->trigger);
	return true;
}

/*
 * Compile within a subtransaction.  Cancellation and exhausted memory are
 * raised as ever, and so is the owner's lack of permission: that is no
 * accident to be passed over.
 */
static Tracker *
compile_safely(Relation rel, Trigger *trigger)
{
	Compilation compilation = {.rel = rel,.trigger = trigger};
	ErrorData  *error = cc_subtransaction(compile_step, &compilation);
	Tracker    *tracker;

	if (error == NULL)
		return compilation.tracker;
	/* of a parent, whose owner need not know of us, the same is one */
	if ((error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE &&
		 !cc_catalog_is_function(trigger->tgfoid, "parent_change")) ||
		cc_error_ends_statement(error))
		ReThrowError(error);
	tracker = make_broken(rel, error);
	cc_sources_assign(tracker, RelationGetRelid(rel));
	return tracker;
}

/* A broken tracker is tried again in the next statement. */
static bool
is_current(const Tracker *tracker, const Relation rel)
{
	if (tracker->stale)
		return false;
	if (tracker->broken)
		return tracker->broken_at == GetCurrentStatementStartTimestamp();
	return tracker->natts == RelationGetDescr(rel)->natts;
}

static Tracker **
find_tracker(TrackerEntry *entry, Oid trigger)
{
	Tracker   **link = &entry->first;

	while (*link && (*link)->trigger != trigger)
		link = &(*link)->next;
	return link;
}

/* Free the trackers of tables that are gone. */
static void
forget_dropped(void)
{
	HASH_SEQ_STATUS status;
	TrackerEntry *entry;

	hash_seq_init(&status, trackers);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->first == NULL || !entry->first->stale ||
			SearchSysCacheExists1(RELOID, ObjectIdGetDatum(entry->relid)))
			continue;
		while (entry->first)
		{
			Tracker    *tracker = entry->first;

			entry->first = tracker->next;
			MemoryContextDelete(tracker->context);
		}
		(void) hash_search(trackers, &entry->relid, HASH_REMOVE, NULL);
	}
}

/* The row trigger of a tracked table; ERROR, or NULL, if it is not tracked. */
Trigger *
cc_tracker_trigger(Relation rel, bool missing_ok)
{
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgnargs == 1 && cc_catalog_is_function(trigger->tgfoid, "row_change"))
			return trigger;
	}
	if (missing_ok)
		return NULL;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" is not tracked", RelationGetRelationName(rel)),
			 errhint("Track it with clinicache.track().")));
	pg_unreachable();
}

/*
 * The tracker of one of a table's triggers.  It belongs to the cache and is
 * good until the next call.  Look at "broken" before using it.
 */
Tracker *
cc_tracker_get(Relation rel, Trigger *trigger)
{
	Oid			relid = RelationGetRelid(rel);
	TrackerEntry *entry;
	Tracker    *tracker;
	Tracker   **link;
	bool		found;

	if (unlikely(trackers == NULL))
	{
		HASHCTL		info = {.keysize = sizeof(Oid),.entrysize = sizeof(TrackerEntry)};

		trackers = hash_create("clinicache trackers", 64, &info, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(trackers, &relid, HASH_FIND, NULL);
	if (entry)
	{
		tracker = *find_tracker(entry, trigger->tgoid);
		if (likely(tracker && is_current(tracker, rel)))
			return tracker;
	}

	forget_dropped();
	/* compile before touching the entry: it may fail, and may invalidate */
	tracker = compile_safely(rel, trigger);
	tracker->trigger = trigger->tgoid;
	/* a parent's rows are counted where it is tracked itself */
	tracker->stats = cc_catalog_is_function(trigger->tgfoid, "row_change") ?
		cc_table_stats(relid) : NULL;
	entry = hash_search(trackers, &relid, HASH_ENTER, &found);
	if (!found)
		entry->first = NULL;
	link = find_tracker(entry, trigger->tgoid);
	if (*link)
	{
		Tracker    *old = *link;

		*link = old->next;
		MemoryContextDelete(old->context);
	}
	looking_up |= tracker->nlookups > 0;
	MemoryContextSetParent(tracker->context, CacheMemoryContext);
	tracker->next = entry->first;
	entry->first = tracker;
	return tracker;
}
