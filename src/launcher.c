/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		The launcher: one worker for each database that has the extension.
 *
 * Started with the server, or at the end of recovery.  Which databases have the
 * extension only a process within them can tell, so at first each gets a worker,
 * which ends itself where it is not needed.  After that databases are heard of:
 * from CREATE EXTENSION and CREATE DATABASE (utility.c) and from commits that
 * find no worker (shared.c).
 *
 * Reads pg_database and nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "worker.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define RETRY_MS 5000			/* when no background worker is to be had */
#define STARTING_MS 1000		/* look whether one that was started lives */
#define RESTART_SECONDS 1		/* of the launcher itself */

/* of workers that this process has started, by place in CcShared.databases */
static BackgroundWorkerHandle *handles[CC_SHARED_DATABASES];

static void
leave(int code, Datum arg)
{
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	cc_shared->launcher_latch = NULL;
	LWLockRelease(cc_shared->lock);
}

static void
enter(void)
{
	before_shmem_exit(leave, 0);
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	cc_shared->launcher_latch = MyLatch;
	cc_shared->rescan = true;
	/* those that a launcher before this one has started; a second one ends itself */
	for (int i = 0; i < CC_SHARED_DATABASES; i++)
		if (cc_shared->databases[i].dboid != InvalidOid &&
			cc_shared->databases[i].state == WORKER_STARTING &&
			cc_shared->databases[i].pid == 0)
			cc_shared->databases[i].state = WORKER_WANTED;
	LWLockRelease(cc_shared->lock);
}

/* The databases that there are, as a list of oids in CurrentMemoryContext. */
static List *
list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *databases = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(context);

		if (database->datallowconn && database->datconnlimit != -2)
			databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return databases;
}

/* Let a worker look into each database that is not known; forget those that are gone. */
static void
scan_databases(void)
{
	Oid			known[CC_SHARED_DATABASES];
	List	   *databases;
	ListCell   *cell;

	/* before the list is made: what is entered later may be newer than the list */
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	cc_shared->rescan = false;
	for (int i = 0; i < CC_SHARED_DATABASES; i++)
		known[i] = cc_shared->databases[i].dboid;
	LWLockRelease(cc_shared->lock);
	databases = list_databases();
	for (int i = 0; i < CC_SHARED_DATABASES; i++)
		if (OidIsValid(known[i]) && !list_member_oid(databases, known[i]))
			cc_shared_forget(known[i]);
	foreach(cell, databases)
		cc_shared_want_worker(lfirst_oid(cell));
	list_free(databases);
}

/* What launcher and workers have in common. */
static void
describe(BackgroundWorker *process, const char *type, const char *function, int restart_time)
{
	memset(process, 0, sizeof(BackgroundWorker));
	process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process->bgw_start_time = BgWorkerStart_RecoveryFinished;
	process->bgw_restart_time = restart_time;
	strlcpy(process->bgw_library_name, CC_LIBRARY, BGW_MAXLEN);
	strlcpy(process->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(process->bgw_name, type, BGW_MAXLEN);
	strlcpy(process->bgw_type, type, BGW_MAXLEN);
}

static bool
start_worker(int index, Oid dboid)
{
	BackgroundWorker worker;

	describe(&worker, "clinicache worker", "clinicache_worker_main", BGW_NEVER_RESTART);
	snprintf(worker.bgw_name, BGW_MAXLEN, "clinicache worker for database %u", dboid);
	worker.bgw_main_arg = ObjectIdGetDatum(dboid);
	worker.bgw_notify_pid = MyProcPid;
	if (handles[index])
		pfree(handles[index]);
	handles[index] = NULL;
	return RegisterDynamicBackgroundWorker(&worker, &handles[index]);
}

/*
 * Did a worker that was to start end before it could enter itself?  Its
 * database may be gone, or refuse connections.
 */
static bool
start_failed(int index)
{
	pid_t		pid;

	return handles[index] == NULL ||
		GetBackgroundWorkerPid(handles[index], &pid) == BGWH_STOPPED;
}

/* What is to be done for one database?  Returns in how many ms to look again, or -1. */
static long
look_after(int index)
{
	SharedDatabase *database = &cc_shared->databases[index];
	TimestampTz now = GetCurrentTimestamp();
	bool		start = false;
	long		again = -1;
	Oid			dboid;

	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	dboid = database->dboid;
	if (OidIsValid(dboid) && database->pid == 0)
	{
		if (database->state == WORKER_STARTING && start_failed(index))
		{
			database->state = WORKER_FAILED;
			database->failures++;
			database->start_after = cc_shared_retry_at(database->failures);
			cc_shared->rescan = true;
		}
		if (database->state == WORKER_STARTING)
			again = STARTING_MS;
		else if (database->state != WORKER_NONE && database->blocked == 0)
		{
			start = database->state == WORKER_WANTED || database->start_after <= now;
			if (!start)
				again = TimestampDifferenceMilliseconds(now, database->start_after) + 1;
		}
		if (start)
			database->state = WORKER_STARTING;
	}
	LWLockRelease(cc_shared->lock);
	if (!start)
		return again;

	start = start_worker(index, dboid);
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	if (database->dboid == dboid)
	{
		database->no_slot = !start;
		if (!start && database->pid == 0 && database->state == WORKER_STARTING)
			database->state = WORKER_WANTED;
	}
	LWLockRelease(cc_shared->lock);
	return start ? STARTING_MS : RETRY_MS;
}

/*
 * Entry point.
 */
void
clinicache_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("clinicache launcher");
	enter();
	for (;;)
	{
		long		timeout = -1;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (cc_shared->rescan)
			scan_databases();
		for (int i = 0; i < CC_SHARED_DATABASES; i++)
		{
			long		again = look_after(i);

			if (again >= 0 && (timeout < 0 || again < timeout))
				timeout = again;
		}
		if (cc_shared->rescan)
			timeout = timeout < 0 ? RETRY_MS : Min(timeout, RETRY_MS);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/*
 * Register the launcher.  Called once, from _PG_init, while the postmaster
 * loads shared_preload_libraries.
 */
void
cc_launcher_init(void)
{
	BackgroundWorker launcher;

	describe(&launcher, "clinicache launcher", "clinicache_launcher_main", RESTART_SECONDS);
	RegisterBackgroundWorker(&launcher);
}
