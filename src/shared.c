/*-------------------------------------------------------------------------
 *
 * shared.c
 *		What backends, launcher and workers share: registry and latches.
 *
 * One LWLock guards the registry.  It is taken when a worker comes or goes and
 * when somebody looks at the statistics, never by a commit: that reads dboid and
 * pid without it and uses atomics.  The lock is held for a few instructions,
 * without anything that can fail.
 *
 * Waking.  A worker that is about to sleep sets "asleep", looks for records once
 * more, and only then waits.  The first commit to find the flag takes it and
 * sets the latch; all others see that the worker is up and do nothing.  Since
 * commits look at the flag after they have become visible, a record is either
 * seen by the worker's last look or followed by a wake-up.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "shared.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* how long DROP DATABASE waits for a worker to go */
#define BLOCK_TRIES 500
#define BLOCK_PAUSE 10000L		/* microseconds */

/* between looks at whether a request was served */
#define REQUEST_PAUSE 1000L
#define REQUEST_TRIES 5000

CcShared   *cc_shared = NULL;

static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static void
request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(sizeof(CcShared));
	RequestNamedLWLockTranche(CC_EXTENSION, 1);
}

/*
 * The structs of counters hold nothing but counters.  Set up once; from then on
 * only set to zero, since others may be adding right now.
 */
#define COUNTERS_IN(counters) ((pg_atomic_uint64 *) (counters)), sizeof(*(counters)) / sizeof(pg_atomic_uint64)

static void
init_counters(pg_atomic_uint64 *counters, int count)
{
	for (int i = 0; i < count; i++)
		pg_atomic_init_u64(&counters[i], 0);
}

static void
reset_counters(pg_atomic_uint64 *counters, int count)
{
	for (int i = 0; i < count; i++)
		pg_atomic_write_u64(&counters[i], 0);
}

static void
init_database(SharedDatabase *database)
{
	pg_atomic_init_u32(&database->asleep, 0);
	pg_atomic_init_u64(&database->requested, 0);
	pg_atomic_init_u64(&database->served, 0);
	pg_atomic_init_u64(&database->alive_at, 0);
	pg_atomic_init_u64(&database->waiting_since, 0);
	init_counters(COUNTERS_IN(&database->counters));
}

/* A table's counters begin anew.  With the lock. */
void
cc_shared_reset_table(SharedTable *table)
{
	reset_counters(COUNTERS_IN(&table->counters));
}

/* All counters of this backend's database begin anew, and its last error is forgotten. */
void
cc_shared_reset_stats(void)
{
	SharedDatabase *database;

	if (cc_shared == NULL)
		return;
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	database = cc_shared_find(MyDatabaseId);
	if (database != NULL)
	{
		reset_counters(COUNTERS_IN(&database->counters));
		database->stats_reset = GetCurrentTimestamp();
		database->error_at = 0;
		database->error[0] = '\0';
	}
	for (int i = 0; i < cc_shared->ntables; i++)
		if (cc_shared->tables[i].dboid == MyDatabaseId)
			cc_shared_reset_table(&cc_shared->tables[i]);
	LWLockRelease(cc_shared->lock);
}

static void
startup(void)
{
	bool		found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cc_shared = ShmemInitStruct(CC_EXTENSION, sizeof(CcShared), &found);
	if (!found)
	{
		memset(cc_shared, 0, sizeof(CcShared));
		cc_shared->lock = &(GetNamedLWLockTranche(CC_EXTENSION))->lock;
		for (int i = 0; i < CC_SHARED_DATABASES; i++)
			init_database(&cc_shared->databases[i]);
		for (int i = 0; i < CC_SHARED_TABLES; i++)
			init_counters(COUNTERS_IN(&cc_shared->tables[i].counters));
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Ask for shared memory.  Called once, from _PG_init, while the postmaster
 * loads shared_preload_libraries.
 */
void
cc_shared_init(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

/* A database's entry, or NULL.  With the lock, or where a stale answer does no harm. */
SharedDatabase *
cc_shared_find(Oid dboid)
{
	if (cc_shared == NULL)
		return NULL;
	for (int i = 0; i < CC_SHARED_DATABASES; i++)
		if (cc_shared->databases[i].dboid == dboid)
			return &cc_shared->databases[i];
	return NULL;
}

/* A database's entry, made if need be; NULL: there is no room.  With the lock. */
SharedDatabase *
cc_shared_enter(Oid dboid)
{
	SharedDatabase *database = cc_shared_find(dboid);

	if (database != NULL)
		return database;
	database = cc_shared_find(InvalidOid);
	if (database == NULL)
		return NULL;
	database->state = WORKER_NONE;
	database->blocked = 0;
	database->no_slot = false;
	database->start_after = 0;
	database->failures = 0;
	database->stats_reset = GetCurrentTimestamp();
	database->delivered_at = database->error_at = 0;
	database->error[0] = '\0';
	database->wanted_again = false;
	pg_atomic_write_u32(&database->asleep, 0);
	pg_atomic_write_u64(&database->alive_at, 0);
	pg_atomic_write_u64(&database->waiting_since, 0);
	reset_counters(COUNTERS_IN(&database->counters));
	pg_write_barrier();
	database->dboid = dboid;
	return database;
}

/* This backend's database's entry, or NULL.  Takes no lock. */
SharedDatabase *
cc_shared_mine(void)
{
	static SharedDatabase *mine = NULL;

	if (mine == NULL || mine->dboid != MyDatabaseId)
		mine = cc_shared_find(MyDatabaseId);
	return mine;
}

/* Is there a worker that can be relied on?  Takes no lock. */
bool
cc_shared_worker_lives(const SharedDatabase *database)
{
	TimestampTz silence;

	if (database == NULL || database->pid == 0)
		return false;
	silence = GetCurrentTimestamp() -
		(TimestampTz) pg_atomic_read_u64((pg_atomic_uint64 *) &database->alive_at);
	/* a clock that was set back must not make it immortal */
	return silence < CC_WORKER_SILENCE && silence > -CC_WORKER_SILENCE;
}

/* When to try again after so many failures in a row: 1, 2, 4 ... 30 s. */
TimestampTz
cc_shared_retry_at(int failures)
{
	return GetCurrentTimestamp() + Min(30, 1 << Min(failures, 5)) * USECS_PER_SEC;
}

static void
wake_launcher(void)
{
	if (cc_shared->launcher_latch)
		SetLatch(cc_shared->launcher_latch);
}

/* Ask the launcher for a worker in a database, unless it knows. */
void
cc_shared_want_worker(Oid dboid)
{
	SharedDatabase *database;

	if (cc_shared == NULL)
		return;
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	database = cc_shared_enter(dboid);
	if (database != NULL && database->state == WORKER_NONE)
	{
		database->state = WORKER_WANTED;
		wake_launcher();
	}
	else if (database != NULL)
		database->wanted_again = true;	/* should this one be about to end itself */
	LWLockRelease(cc_shared->lock);
}

/*
 * A transaction has delivered by itself: ask for a worker if there is none.
 * Once a second at most, since there may be no room for one.
 */
void
cc_shared_ask(void)
{
	static TimestampTz asked = 0;
	SharedDatabase *database = cc_shared_mine();
	TimestampTz now;

	if (cc_shared == NULL || (database != NULL && database->state != WORKER_NONE))
		return;
	now = GetCurrentTimestamp();
	if (now >= asked && now - asked < USECS_PER_SEC)
		return;
	asked = now;
	cc_shared_want_worker(MyDatabaseId);
}

/* Tell the launcher that there may be new databases. */
void
cc_shared_rescan(void)
{
	if (cc_shared == NULL)
		return;
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	cc_shared->rescan = true;
	wake_launcher();
	LWLockRelease(cc_shared->lock);
}

/*
 * A record was left to this database's worker and is visible now.  Costs one
 * read of shared memory while the worker is up.
 */
void
cc_shared_wake(void)
{
	SharedDatabase *database = cc_shared_mine();

	if (cc_shared == NULL)
		return;
	if (database == NULL || (database->pid == 0 && database->state == WORKER_NONE))
	{
		cc_shared_want_worker(MyDatabaseId);
		return;
	}
	pg_memory_barrier();
	if (pg_atomic_read_u32(&database->asleep) == 0 ||
		pg_atomic_exchange_u32(&database->asleep, 0) == 0)
		return;
	pg_atomic_write_u64(&database->waiting_since, (uint64) GetCurrentTimestamp());
	LWLockAcquire(cc_shared->lock, LW_SHARED);
	if (database->dboid == MyDatabaseId && database->pid != 0 && database->latch)
		SetLatch(database->latch);
	LWLockRelease(cc_shared->lock);
}

/*
 * Let the worker deliver all that is visible by now and store its position, and
 * wait for that, some seconds at most.  False: there is no worker that does.
 */
bool
cc_shared_deliver_now(void)
{
	SharedDatabase *database = cc_shared_mine();
	uint64		number;

	if (!cc_shared_worker_lives(database))
		return false;
	number = pg_atomic_add_fetch_u64(&database->requested, 1);
	for (int i = 0; pg_atomic_read_u64(&database->served) < number; i++)
	{
		if (i == REQUEST_TRIES || !cc_shared_worker_lives(database) ||
			database->dboid != MyDatabaseId)
			return false;
		cc_shared_wake();
		CHECK_FOR_INTERRUPTS();
		pg_usleep(REQUEST_PAUSE);
	}
	return true;
}

/* Has the database's worker gone?  Else tell it once more. */
static bool
worker_is_gone(Oid dboid)
{
	SharedDatabase *database;
	bool		gone;

	LWLockAcquire(cc_shared->lock, LW_SHARED);
	database = cc_shared_find(dboid);
	gone = database == NULL ||
		(database->pid == 0 && database->state != WORKER_STARTING);
	if (!gone && database->pid != 0)
		kill(database->pid, SIGTERM);
	LWLockRelease(cc_shared->lock);
	return gone;
}

/*
 * Let no worker begin in a database until cc_shared_unblock: somebody wants it
 * for himself.  False: there is no room to say so.
 */
bool
cc_shared_block(Oid dboid)
{
	SharedDatabase *database;

	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	/* an entry even where there was none: the launcher may be about to look in */
	database = cc_shared_enter(dboid);
	if (database != NULL)
		database->blocked++;
	LWLockRelease(cc_shared->lock);
	return database != NULL;
}

/*
 * End a blocked database's worker and wait until it is gone, some seconds at
 * most: whoever wants the database will complain if that was not enough.
 */
void
cc_shared_end_worker(Oid dboid)
{
	for (int i = 0; i < BLOCK_TRIES && !worker_is_gone(dboid); i++)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(BLOCK_PAUSE);
	}
}

static void
forget(Oid dboid)
{
	SharedDatabase *database = cc_shared_find(dboid);

	if (database != NULL && database->pid == 0 && database->blocked == 0)
		database->dboid = InvalidOid;
	for (int i = 0; i < cc_shared->ntables; i++)
		if (cc_shared->tables[i].dboid == dboid)
			cc_shared->tables[i].dboid = InvalidOid;
}

/* A worker may begin again, unless the database is no more ("dropped").  Raises no error. */
void
cc_shared_unblock(Oid dboid, bool dropped)
{
	SharedDatabase *database;

	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	database = cc_shared_find(dboid);
	if (database != NULL && database->blocked > 0)
		database->blocked--;
	if (dropped)
		forget(dboid);
	else if (database != NULL && database->blocked == 0 && database->state == WORKER_NONE)
		database->dboid = InvalidOid;
	wake_launcher();
	LWLockRelease(cc_shared->lock);
}

/* The database is no more. */
void
cc_shared_forget(Oid dboid)
{
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	forget(dboid);
	LWLockRelease(cc_shared->lock);
}
