/*-------------------------------------------------------------------------
 *
 * table_stats.c
 *		What each tracked table's triggers have done.
 *
 * Counted in the backend and added to shared memory (shared.c) when the
 * transaction ends, however it ends, as pg_stat_user_tables does.  Entries of
 * shared memory are found by a search under the lock, once per table and
 * backend; adding takes no lock.  An entry that is given to another table in
 * that moment counts a little of the old one: good enough for statistics.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "table_stats.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "shared.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define RETRY_SECONDS 60

struct TableStats
{
	Oid			relid;
	SharedTable *shared;		/* NULL: not looked for yet, or there is no room */
	TimestampTz retry_at;		/* there was no room; not to look again before */
	bool		dirty;
	TableStats *next;			/* of those with something to report */
	uint64		rows;
	uint64		suppressed;
	PendingCounts added;
};

static HTAB *tables = NULL;		/* of TableStats by relid, for the backend's life */
static TableStats *to_report = NULL;

/* A table's counters in this backend; they never move. */
TableStats *
cc_table_stats(Oid relid)
{
	TableStats *stats;
	bool		found;

	if (tables == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(Oid),.entrysize = sizeof(TableStats)};

		tables = hash_create("clinicache table statistics", 64, &info, HASH_ELEM | HASH_BLOBS);
	}
	stats = hash_search(tables, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset(stats, 0, sizeof(TableStats));
		stats->relid = relid;
	}
	return stats;
}

/* Rows were seen, of which "suppressed" had no watched column changed, and this was added. */
void
cc_table_stats_add(TableStats *stats, PendingCounts added, int rows, int suppressed)
{
	if (cc_shared == NULL)
		return;
	stats->rows += rows;
	stats->suppressed += suppressed;
	stats->added.tags += added.tags;
	stats->added.prefixes += added.prefixes;
	stats->added.collapses += added.collapses;
	if (!stats->dirty)
	{
		stats->dirty = true;
		stats->next = to_report;
		to_report = stats;
	}
}

/* The table's entry in shared memory, made if need be; NULL: there is no room. */
static SharedTable *
enter(Oid relid)
{
	SharedTable *table = NULL;

	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < cc_shared->ntables; i++)
	{
		SharedTable *other = &cc_shared->tables[i];

		if (other->dboid == MyDatabaseId && other->relid == relid)
		{
			LWLockRelease(cc_shared->lock);
			return other;
		}
		if (table == NULL && !OidIsValid(other->dboid))
			table = other;
	}
	if (table == NULL && cc_shared->ntables < CC_SHARED_TABLES)
		table = &cc_shared->tables[cc_shared->ntables++];
	if (table != NULL)
	{
		cc_shared_reset_table(table);
		table->relid = relid;
		table->dboid = MyDatabaseId;
	}
	LWLockRelease(cc_shared->lock);
	return table;
}

/* The same, but not each time that it fails: that takes a lock which all share. */
static SharedTable *
find_shared(TableStats *stats)
{
	TimestampTz now = GetCurrentTransactionStopTimestamp();
	SharedTable *shared;

	if (stats->retry_at > now)
		return NULL;
	shared = enter(stats->relid);
	stats->retry_at = shared ? 0 : now + RETRY_SECONDS * USECS_PER_SEC;
	return shared;
}

static void
add(pg_atomic_uint64 *total, uint64 count)
{
	if (count > 0)
		pg_atomic_fetch_add_u64(total, count);
}

/* The transaction is over: hand the counters over.  Raises no error. */
void
cc_table_stats_report(void)
{
	while (to_report)
	{
		TableStats *stats = to_report;
		SharedTable *shared = stats->shared;

		if (shared == NULL || shared->dboid != MyDatabaseId || shared->relid != stats->relid)
			shared = stats->shared = find_shared(stats);
		if (shared)
		{
			add(&shared->counters.rows, stats->rows);
			add(&shared->counters.suppressed, stats->suppressed);
			add(&shared->counters.tags, stats->added.tags);
			add(&shared->counters.prefixes, stats->added.prefixes);
			add(&shared->counters.collapses, stats->added.collapses);
		}
		stats->rows = stats->suppressed = 0;
		memset(&stats->added, 0, sizeof(stats->added));
		stats->dirty = false;
		to_report = stats->next;
	}
}

/*
 * Give back this database's entries of tables that are no more.  In a
 * transaction; the lock is held per entry only, since catalogs are looked up.
 */
void
cc_table_stats_trim(void)
{
	for (int i = 0; cc_shared != NULL && i < CC_SHARED_TABLES; i++)
	{
		SharedTable *table = &cc_shared->tables[i];
		Oid			relid = table->relid;

		if (table->dboid != MyDatabaseId ||
			SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			continue;
		LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
		if (table->dboid == MyDatabaseId && table->relid == relid)
			table->dboid = InvalidOid;
		LWLockRelease(cc_shared->lock);
	}
}
