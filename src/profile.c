/*-------------------------------------------------------------------------
 *
 * profile.c
 *		Cache profiles: which of two is the shorter.
 *
 * clinicache.profile is read as a whole when first needed, and again after it
 * was changed: its statement trigger sends a relcache invalidation, as that of
 * clinicache.tenant does (tenant_zone.c).  The callback only marks the cache
 * stale, since it may run in the middle of a look-up.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "profile.h"

#include <limits.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define CC_TABLE_PROFILE "profile"
#define Anum_profile_name 1
#define Anum_profile_revalidate 3

typedef struct ProfileEntry
{
	char	   *name;
	int			len;
	int			seconds;
} ProfileEntry;

static MemoryContext profile_context = NULL;	/* under CacheMemoryContext */
static ProfileEntry *profile_entries = NULL;
static int	profile_count = 0;
static uint64 profile_invalidations = 1;
static uint64 profile_loaded = 0;	/* what that was before loading; see tenant_zone.c */
static Oid	profile_relid = InvalidOid;

static void
profile_relcache_callback(Datum arg, Oid relid)
{
	if (relid == profile_relid || !OidIsValid(relid))
		profile_invalidations++;
}

/* Register the callback; called once per backend. */
void
cc_profile_init(void)
{
	CacheRegisterRelcacheCallback(profile_relcache_callback, (Datum) 0);
}

static void
add_profile(HeapTuple tuple, TupleDesc desc, int *allocated)
{
	bool		isnull;
	ProfileEntry *entry;

	if (profile_count == *allocated)
	{
		*allocated *= 2;
		profile_entries = repalloc(profile_entries, sizeof(ProfileEntry) * *allocated);
	}
	entry = &profile_entries[profile_count];
	entry->name = TextDatumGetCString(heap_getattr(tuple, Anum_profile_name, desc, &isnull));
	entry->len = strlen(entry->name);
	entry->seconds = DatumGetInt32(heap_getattr(tuple, Anum_profile_revalidate, desc, &isnull));
	profile_count++;
}

/*
 * Load the table with a latest snapshot, under AccessShareLock and without
 * checking privileges: it is needed by whoever commits.
 */
static void
load_profiles(void)
{
	Oid			namespace = get_namespace_oid(CC_SCHEMA, true);
	uint64		invalidations = profile_invalidations;
	int			allocated = 32;
	Relation	rel;
	SysScanDesc scan;
	Snapshot	snapshot;
	HeapTuple	tuple;
	MemoryContext old;

	if (profile_context == NULL)
		profile_context = AllocSetContextCreate(CacheMemoryContext, "clinicache profiles",
												ALLOCSET_SMALL_SIZES);
	profile_loaded = 0;
	profile_count = 0;
	MemoryContextReset(profile_context);
	profile_relid = OidIsValid(namespace) ?
		get_relname_relid(CC_TABLE_PROFILE, namespace) : InvalidOid;
	profile_entries = MemoryContextAlloc(profile_context, sizeof(ProfileEntry) * allocated);
	if (!OidIsValid(profile_relid))
	{
		profile_loaded = invalidations;
		return;
	}

	rel = table_open(profile_relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	old = MemoryContextSwitchTo(profile_context);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		add_profile(tuple, RelationGetDescr(rel), &allocated);
	MemoryContextSwitchTo(old);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	profile_loaded = invalidations;
}

/*
 * Seconds after which values of this profile are refreshed; INT_MAX for one
 * that clinicache.profile does not know.
 */
int
cc_profile_seconds(const char *name, int len)
{
	if (profile_loaded != profile_invalidations)
		load_profiles();
	for (int i = 0; i < profile_count; i++)
	{
		if (profile_entries[i].len == len && memcmp(profile_entries[i].name, name, len) == 0)
			return profile_entries[i].seconds;
	}
	return INT_MAX;
}
