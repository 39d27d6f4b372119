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

static void
load_zones_if_stale(void)
{
	if (zone_loaded != zone_invalidations || (zone_of_parallel && !IsInParallelMode()))
		load_zones();
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
	load_zones_if_stale();
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

/* Has any tenant a zone of its own? */
bool
cc_tenants_have_zones(void)
{
	(void) cc_tenant_own_zone("", 0);
	return zone_cache->members > 0;
}

/* The zone of a tenant, and clinicache.timezone where it has none. */
TenantZone *
cc_tenant_zone(const char *tenant, int len)
{
	TenantZone *zone = cc_tenant_own_zone(tenant, len);

	return zone ? zone : get_default_zone();
}

/* Moves when somebody has changed clinicache.tenant. */
uint64
cc_tenant_zone_version(void)
{
	return zone_invalidations;
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

/* When the offset that holds at an instant ends, as far as that is known; else the instant. */
static TimestampTz
offset_end(TenantZone *zone, TimestampTz instant)
{
	(void) cc_zone_local(zone, instant);
	return instant >= zone->from && instant < zone->to ? zone->to : instant;
}

/*
 * What the zone's clocks show between two instants.  Where they are set back,
 * they show more than what lies between the ends.
 */
void
cc_zone_sweep(TenantZone *zone, TimestampTz from, TimestampTz to, ZoneSweep *sweep)
{
	Timestamp	start = cc_zone_local(zone, from);
	Timestamp	end = cc_zone_local(zone, to);
	TimestampTz at = from;

	sweep->from_day = cc_day_start(start);
	sweep->to_day = cc_day_start(end);
	sweep->low = Min(start, end);
	sweep->high = Max(start, end);
	for (;;)
	{
		TimestampTz change = offset_end(zone, at);
		Timestamp	before = cc_zone_local(zone, at) + (change - at) - 1;

		if (change <= at || change > to)
			break;
		sweep->high = Max(sweep->high, before);
		sweep->low = Min(sweep->low, cc_zone_local(zone, change));
		at = change;
	}
}

/* The zones in use, each once: the default and what clinicache.tenant names. */
static List *
zones_in_use(void)
{
	List	   *zones = list_make1(get_default_zone());
	List	   *known = list_make1(get_default_zone()->zone);
	tenantcache_iterator iterator;
	TenantEntry *entry;

	load_zones_if_stale();
	tenantcache_start_iterate(zone_cache, &iterator);
	while ((entry = tenantcache_iterate(zone_cache, &iterator)) != NULL)
	{
		/* time zones of one name are one object */
		if (list_member_ptr(known, entry->zone.zone))
			continue;
		known = lappend(known, entry->zone.zone);
		zones = lappend(zones, &entry->zone);
	}
	list_free(known);
	return zones;
}

/* What clocks show between two instants, wherever tenants are. */
void
cc_zone_span(TimestampTz from, TimestampTz to, ZoneSpan *span)
{
	List	   *zones = zones_in_use();
	ListCell   *cell;

	span->days = false;
	foreach(cell, zones)
	{
		ZoneSweep	sweep;
		bool		first = cell == list_head(zones);

		cc_zone_sweep(lfirst(cell), from, to, &sweep);
		span->days |= sweep.from_day != sweep.to_day;
		span->low = first ? sweep.low : Min(span->low, sweep.low);
		span->high = first ? sweep.high : Max(span->high, sweep.high);
	}
	list_free(zones);
}

/*
 * The first instant at which the date is another.  The offset may change
 * before midnight, or at it; 23:00 may come twice, and midnight not at all.
 */
static TimestampTz
next_midnight(TenantZone *zone, TimestampTz now)
{
	Timestamp	today = cc_day_start(cc_zone_local(zone, now));
	TimestampTz at = now;

	for (;;)
	{
		Timestamp	local = cc_zone_local(zone, at);
		TimestampTz midnight = at + (today + USECS_PER_DAY - local);
		TimestampTz change = offset_end(zone, at);

		if (cc_day_start(local) != today)
			return at;
		if (change <= at || midnight < change)
			return midnight;
		at = change;
	}
}

/* The next midnight anywhere. */
TimestampTz
cc_zone_next_midnight(TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	List	   *zones = zones_in_use();
	ListCell   *cell;

	foreach(cell, zones)
	{
		TimestampTz midnight = next_midnight(lfirst(cell), now);

		next = Min(next, midnight);
	}
	list_free(zones);
	return next;
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
