/*-------------------------------------------------------------------------
 *
 * shared.h
 *		What backends, launcher and workers share.
 *
 * Exists only where shared_preload_libraries names clinicache; everywhere else
 * cc_shared is NULL and delivery is the committing session's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_SHARED_H
#define CLINICACHE_SHARED_H

#include "clinicache.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* databases that can have a worker, and tables that can have statistics */
#define CC_SHARED_DATABASES 64
#define CC_SHARED_TABLES 2048

#define CC_LAST_ERROR_SIZE 256

/* a worker that gave no sign for so long does not count */
#define CC_WORKER_SILENCE (5 * USECS_PER_SEC)

typedef enum WorkerState
{
	WORKER_NONE,				/* nobody has asked for one, or the extension is not there */
	WORKER_WANTED,				/* the launcher is to start one */
	WORKER_STARTING,			/* registered with the postmaster */
	WORKER_RUNNING,
	WORKER_FAILED				/* ended with an error, to be started again later */
} WorkerState;

/* counters of one database; written by anybody, without a lock; nothing else in here (shared.c) */
typedef struct DeliveryCounters
{
	pg_atomic_uint64 records_written;
	pg_atomic_uint64 tags_written;
	pg_atomic_uint64 records_left;	/* of them, those left to the worker ... */
	pg_atomic_uint64 records_passed;	/* ... and that number when its last pass began */
	pg_atomic_uint64 records_delivered; /* by the worker */
	pg_atomic_uint64 tags_delivered;	/* as they were in the records ... */
	pg_atomic_uint64 tags_merged;	/* ... and of them, those that another record had too */
	pg_atomic_uint64 messages;
	pg_atomic_uint64 bytes;
} DeliveryCounters;

/*
 * One database.  "lock" means CcShared.lock.
 */
typedef struct SharedDatabase
{
	Oid			dboid;			/* lock to change; read without; InvalidOid: free */
	WorkerState state;			/* lock */
	int			blocked;		/* lock; sessions that must not find a worker, DROP DATABASE */
	bool		wanted_again;	/* lock; asked for while there was one already */
	bool		no_slot;		/* lock; max_worker_processes is used up */
	pid_t		pid;			/* lock to change; read without; 0: none */
	TimestampTz start_after;	/* lock; not before, after a failure */
	int			failures;		/* lock; in a row */
	struct Latch *latch;		/* lock to change; the worker's, while pid is not 0 */

	pg_atomic_uint32 asleep;	/* the worker waits to be woken; taken by who wakes it */
	pg_atomic_uint64 requested; /* times that somebody asked it to deliver and store now ... */
	pg_atomic_uint64 served;	/* ... and up to which that was done */
	pg_atomic_uint64 alive_at;	/* TimestampTz of its last sign of life */
	pg_atomic_uint64 waiting_since; /* TimestampTz; all before is delivered.  0: all is */
	DeliveryCounters counters;
	TimestampTz stats_reset;	/* lock */
	TimestampTz delivered_at;	/* lock; last time that something was sent */
	TimestampTz error_at;		/* lock */
	char		error[CC_LAST_ERROR_SIZE];	/* lock */
} SharedDatabase;

/* counters of one tracked table; likewise */
typedef struct TableCounters
{
	pg_atomic_uint64 rows;
	pg_atomic_uint64 tags;
	pg_atomic_uint64 prefixes;
	pg_atomic_uint64 suppressed;
	pg_atomic_uint64 collapses;
} TableCounters;

/* one tracked table */
typedef struct SharedTable
{
	Oid			dboid;			/* lock to change; read without; InvalidOid: free */
	Oid			relid;
	TableCounters counters;
} SharedTable;

typedef struct CcShared
{
	LWLock	   *lock;
	struct Latch *launcher_latch;	/* lock; NULL: there is none */
	bool		rescan;			/* lock; databases may have come */
	int			ntables;		/* lock; of tables[], those ever used */
	SharedDatabase databases[CC_SHARED_DATABASES];
	SharedTable tables[CC_SHARED_TABLES];
} CcShared;

extern CcShared *cc_shared;

extern void cc_shared_init(void);

/* of this backend's database; NULL: there is none */
extern SharedDatabase *cc_shared_mine(void);
extern SharedDatabase *cc_shared_find(Oid dboid);
extern SharedDatabase *cc_shared_enter(Oid dboid);

extern bool cc_shared_worker_lives(const SharedDatabase *database);
extern TimestampTz cc_shared_retry_at(int failures);
extern void cc_shared_want_worker(Oid dboid);
extern void cc_shared_rescan(void);
extern void cc_shared_ask(void);
extern void cc_shared_wake(void);
extern bool cc_shared_deliver_now(void);
extern bool cc_shared_block(Oid dboid);
extern void cc_shared_end_worker(Oid dboid);
extern void cc_shared_unblock(Oid dboid, bool dropped);
extern void cc_shared_forget(Oid dboid);
extern void cc_shared_reset_table(SharedTable *table);
extern void cc_shared_reset_stats(void);

#endif							/* CLINICACHE_SHARED_H */
