/*-------------------------------------------------------------------------
 *
 * counter_zone.c
 *		Tenants whose time zone changes: their rows count for other days.
 *
 * Part of whatever statement changes clinicache.tenant.  Every counted table is
 * locked against changes; then what the tenants' rows contributed in the old zone
 * is taken off, and what they contribute in the new one is added, as deltas of
 * this transaction.  Whoever writes afterwards has the lock to wait for, and reads
 * the zones anew.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "counter.h"
#include "counter_scan.h"
#include "counter_source.h"
#include "replication/logicalworker.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(clinicache_rezone);
PG_FUNCTION_INFO_V1(clinicache_distrust_counters);
PG_FUNCTION_INFO_V1(clinicache_tenant_applied);

/* tenants with the zone before and after; NULL: the counter's own */
typedef struct Rezoning
{
	int			count;
	char	  **tenants;
	pg_tz	  **before;
	pg_tz	  **after;
} Rezoning;

static void
add_in_zone(Tracker *tracker, CounterRule *rule, pg_tz *tz, TupleTableSlot *slot,
			const char *tenant, int n)
{
	TenantZone	zone = rule->zone;
	Contribution contribution;

	if (tz != NULL)
		cc_zone_set(&zone, tz);
	if (cc_counter_contribution(tracker, rule, &zone, slot->tts_values, slot->tts_isnull,
								&contribution))
		cc_contribution_add(&contribution, tenant, strlen(tenant), n);
}

/* The row's place among the tenants; -1: it is of another. */
static int
find_tenant(Rezoning *rezoning, Tracker *tracker, TupleTableSlot *slot)
{
	const char *tenant = cc_counter_tenant(tracker, slot->tts_values, slot->tts_isnull);

	for (int i = 0; tenant && i < rezoning->count; i++)
		if (strcmp(rezoning->tenants[i], tenant) == 0)
			return i;
	return -1;
}

static bool
rezone_row(Tracker *tracker, TupleTableSlot *slot, void *arg)
{
	Rezoning   *rezoning = arg;
	int			which;

	if (tracker->tenant == NULL || !tracker->counting)
		return false;
	which = find_tenant(rezoning, tracker, slot);
	if (which < 0)
		return true;
	for (int i = 0; i < tracker->ncounters; i++)
	{
		CounterRule *rule = &tracker->counters[i];

		if (rule->id == 0 || rule->day == NULL)
			continue;
		add_in_zone(tracker, rule, rezoning->before[which], slot, rezoning->tenants[which], -1);
		add_in_zone(tracker, rule, rezoning->after[which], slot, rezoning->tenants[which], 1);
	}
	return true;
}

static void
rezone_source(Rezoning *rezoning, Oid relid, List *sources)
{
	Jsonb	   *config = cc_scan_config(relid, true);
	List	   *relids = cc_sources_lock_table(relid, ShareRowExclusiveLock);
	Snapshot	snapshot;
	ListCell   *cell;

	/* somebody has dropped its trigger: no reason to keep tenants from moving */
	if (config == NULL)
	{
		foreach(cell, sources)
			cc_sources_distrust(((CounterSource *) lfirst(cell))->id, "the table's trigger is gone");
		return;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	cc_scan_rows(relids, config, sources, snapshot, rezone_row, rezoning);
	UnregisterSnapshot(snapshot);
}

static void
distrust_all(const char *reason)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ListCell   *cell;

	foreach(cell, cc_sources_load(snapshot))
		cc_sources_distrust(((CounterSource *) lfirst(cell))->id, reason);
	UnregisterSnapshot(snapshot);
}

static char **
text_array(ArrayType *array, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	char	  **result;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, count);
	result = palloc(sizeof(char *) * Max(1, *count));
	for (int i = 0; i < *count; i++)
		result[i] = nulls[i] ? NULL : TextDatumGetCString(values[i]);
	return result;
}

static pg_tz **
zones(char **names, int count)
{
	pg_tz	  **result = palloc(sizeof(pg_tz *) * Max(1, count));

	for (int i = 0; i < count; i++)
		result[i] = names[i] ? pg_tzset(names[i]) : NULL;
	return result;
}

/*
 * rezone(tenants text[], before text[], after text[]) -> void
 *		Called by the trigger of clinicache.tenant; a null zone: none of its own.
 */
Datum
clinicache_rezone(PG_FUNCTION_ARGS)
{
	List	   *sources = cc_sources_lock_all(ShareRowExclusiveLock);
	List	   *done = NIL;
	Rezoning	rezoning;
	int			count;
	ListCell   *cell;

	rezoning.tenants = text_array(PG_GETARG_ARRAYTYPE_P(0), &rezoning.count);
	rezoning.before = zones(text_array(PG_GETARG_ARRAYTYPE_P(1), &count), rezoning.count);
	rezoning.after = zones(text_array(PG_GETARG_ARRAYTYPE_P(2), &count), rezoning.count);
	foreach(cell, sources)
	{
		Oid			relid = ((CounterSource *) lfirst(cell))->relid;

		if (list_member_oid(done, relid))
			continue;
		done = lappend_oid(done, relid);
		rezone_source(&rezoning, relid, cc_sources_of(sources, relid));
	}
	PG_RETURN_VOID();
}

/*
 * tenant_applied() -> trigger
 *		For each row of clinicache.tenant: what arrives by logical replication fires
 *		no statement's trigger, so sessions are told here to read the zones anew,
 *		and counters, whose rows were counted for other days, are not trusted.
 */
Datum
clinicache_tenant_applied(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "tenant_applied")));
	if (IsLogicalWorker())
	{
		CacheInvalidateRelcache(trigdata->tg_relation);
		distrust_all("a tenant's time zone arrived by replication");
	}
	PG_RETURN_POINTER(NULL);
}

/*
 * distrust_counters(reason text) -> void
 *		All counters are read from their tables from now on, until they are rebuilt.
 */
Datum
clinicache_distrust_counters(PG_FUNCTION_ARGS)
{
	distrust_all(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
