/*-------------------------------------------------------------------------
 *
 * tenant_zone.c
 *		Time zones of tenants, and what the clock says there.
 *
 * clinicache.tenant is read as a whole, once per backend and again after it was
 * changed: its statement trigger tenant_changed() sends a relcache invalidation,
 * which transactions that commit a change deliver to everybody.  The callback
 * only marks the cache stale, since it may run in the middle of a look-up.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tenant_zone.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define Anum_tenant_tenant 1
#define Anum_tenant_timezone 2

typedef struct TenantEntry
{
	uint32		hash;
	char		status;
	char	   *tenant;
	int			len;
	TenantZone	zone;
} TenantEntry;


#define SH_PREFIX tenantcache
#define SH_ELEMENT_TYPE TenantEntry
#define SH_KEY_TYPE char *
#define SH_KEY tenant
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp((a), (b)) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * Valid while "loaded" is what "invalidations" was before loading began: an
 * invalidation meanwhile, or an error, leaves a cache that is loaded again.
 */
static MemoryContext zone_context = NULL;	/* under CacheMemoryContext */
static tenantcache_hash *zone_cache = NULL; /* in zone_context */
static uint64 zone_invalidations = 1;
static uint64 zone_loaded = 0;
static bool zone_of_parallel = false;	/* good for a parallel plan only */
static Snapshot zone_snapshot = NULL;	/* set: as it shows them; see cc_tenant_zones_at */
static Oid	tenant_relid = InvalidOid;

/* the zone of clinicache.timezone; re-made when the setting changes */
static TenantZone default_zone;
static char default_name[TZ_STRLEN_MAX + 1];

PG_FUNCTION_INFO_V1(clinicache_tenant_changed);

static void
tenant_relcache_callback(Datum arg, Oid relid)
{
	if (relid == tenant_relid || !OidIsValid(relid))
		zone_invalidations++;
}

/* Register the callback; called once, from _PG_init. */
void
cc_tenant_zone_init(void)
{
	CacheRegisterRelcacheCallback(tenant_relcache_callback, (Datum) 0);
}

static void
load_row(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull[2];
	char	   *tenant;
	char	   *name;
	pg_tz	   *zone;
	TenantEntry *entry;
	bool		found;

	tenant = TextDatumGetCString(heap_getattr(tuple, Anum_tenant_tenant, desc, &isnull[0]));
	name = TextDatumGetCString(heap_getattr(tuple, Anum_tenant_timezone, desc, &isnull[1]));
	zone = pg_tzset(name);
	if (zone == NULL)
		return;					/* gone from the system: the default holds */
	entry = tenantcache_insert(zone_cache, tenant, &found);
	cc_zone_set(&entry->zone, zone);
}

/*
 * Load clinicache.tenant.  Reads it with a latest snapshot, under
 * AccessShareLock; without checking privileges, since the trigger runs as
 * whoever writes.  Where PostgreSQL takes no new snapshots (clinicache.tag() in
 * a parallel plan) the statement's has to do, and is not kept beyond that.
 */
static void
load_zones(void)
{
	Oid			namespace = get_namespace_oid(CC_SCHEMA, true);
	uint64		invalidations = zone_invalidations;
	Relation	rel;
	SysScanDesc scan;
	Snapshot	snapshot;
	HeapTuple	tuple;
	MemoryContext old;

	if (zone_context == NULL)
		zone_context = AllocSetContextCreate(CacheMemoryContext, "clinicache tenant zones",
											 ALLOCSET_DEFAULT_SIZES);
	zone_loaded = 0;
	MemoryContextReset(zone_context);
	tenant_relid = OidIsValid(namespace) ?
		get_relname_relid(CC_TABLE_TENANT, namespace) : InvalidOid;
	zone_cache = tenantcache_create(zone_context, 64, NULL);
	if (!OidIsValid(tenant_relid))
	{
		zone_loaded = invalidations;
		return;
	}

	rel = table_open(tenant_relid, AccessShareLock);
	snapshot = RegisterSnapshot(zone_snapshot ? zone_snapshot :
								IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot());
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	old = MemoryContextSwitchTo(zone_context);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		load_row(tuple, RelationGetDescr(rel));
	MemoryContextSwitchTo(old);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	zone_loaded = invalidations;
	zone_of_parallel = IsInParallelMode();
}

/*
 * From now on the zones are those that this snapshot, which has to stay registered,
 * shows; NULL: the latest again.
 */
void
cc_tenant_zones_at(Snapshot snapshot)
{
	zone_snapshot = snapshot;
	zone_loaded = 0;
}

static TenantZone *
get_default_zone(void)
{
	if (strcmp(default_name, cc_timezone) != 0)
	{
		cc_zone_set(&default_zone, pg_tzset(cc_timezone));
		strlcpy(default_name, cc_timezone, sizeof(default_name));
	}
	return &default_zone;
}

/*
 * The zone that clinicache.tenant gives a tenant (NULL: no tenant), or NULL.  The
 * answer is good until the next call.  Reads the table only when it was changed
 * since the last call.
 */
TenantZone *
cc_tenant_own_zone(const char *tenant, int len)
{
	TenantEntry *entry;
	char		key[NAMEDATALEN * 2];
	char	   *lookup = key;

	if (tenant == NULL)
		return NULL;
	if (zone_loaded != zone_invalidations || (zone_of_parallel && !IsInParallelMode()))
		load_zones();
	if (zone_cache->members == 0)
		return NULL;
	if (len < (int) sizeof(key))
	{
		memcpy(key, tenant, len);
		key[len] = '\0';
	}
	else
		lookup = pnstrdup(tenant, len);
	entry = tenantcache_lookup(zone_cache, lookup);
	return entry ? &entry->zone : NULL;
}

/* The same, and clinicache.timezone where there is none. */
TenantZone *
cc_tenant_zone(const char *tenant, int len)
{
	TenantZone *zone = cc_tenant_own_zone(tenant, len);

	return zone ? zone : get_default_zone();
}

/* Point a TenantZone at a time zone; nothing is known of its offset yet. */
void
cc_zone_set(TenantZone *zone, pg_tz *tz)
{
	zone->zone = tz;
	zone->from = zone->to = 0;
}

/* The same without memory, for times that pg_time_t's calendar does not reach well. */
static Timestamp
compute_local(pg_tz *tz, TimestampTz instant)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	Timestamp	local;

	if (timestamp2tm(instant, &offset, &tm, &fsec, NULL, tz) != 0 ||
		tm2timestamp(&tm, fsec, NULL, &local) != 0)
		return instant;			/* at the very ends of the calendar */
	return local;
}

/*
 * The wall time that clocks in the zone show at an instant.  Infinities stay.
 * The offset is remembered up to the zone's next change of it: rows of a
 * statement mostly lie between the same two.
 */
Timestamp
cc_zone_local(TenantZone *zone, TimestampTz instant)
{
	pg_time_t	now;
	pg_time_t	boundary;
	long		before;
	long		after;
	int			before_isdst;
	int			after_isdst;
	int			found;

	if (TIMESTAMP_NOT_FINITE(instant))
		return instant;
	if (instant >= zone->from && instant < zone->to)
		return instant + zone->offset;

	now = timestamptz_to_time_t(instant);
	found = pg_next_dst_boundary(&now, &before, &before_isdst, &boundary,
								 &after, &after_isdst, zone->zone);
	if (found < 0 || instant < 0)
		return compute_local(zone->zone, instant);
	zone->offset = (int64) before * USECS_PER_SEC;
	zone->from = instant;
	zone->to = found == 0 ? instant + USECS_PER_DAY : time_t_to_timestamptz(boundary);
	return instant + zone->offset;
}

/*
 * tenant_changed() -> trigger
 *		On clinicache.tenant, after each statement: makes every backend read it
 *		again, once the change is committed.
 */
Datum
clinicache_tenant_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "tenant_changed")));
	CacheInvalidateRelcache(trigdata->tg_relation);
	PG_RETURN_POINTER(NULL);
}
