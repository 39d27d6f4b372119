/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The worker of one database: delivers what commits leave to it.
 *
 *		woken ─▶ pass: snapshot ─▶ delivery.c ─▶ commit ─▶ go on from the snapshot
 *		      ─▶ pause, the longer the more there was ─▶ fold counters (fold.c)
 *		      ─▶ next pass, or sleep
 *
 * About once a second a message carries the position ("pos"), for which WAL is
 * flushed, and after news it is stored (history.c), in a transaction of its own:
 * notifying takes a lock that is kept until the commit is on disk.
 *
 * An error ends the process; the launcher starts it again, and it repeats from
 * the stored position.  Nothing is lost, some tags are sent twice.  Meanwhile
 * delivery "auto" is the committing sessions' again.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "worker.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "compat.h"
#include "delivery.h"
#include "fold.h"
#include "history.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "tenant_zone.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define HEARTBEAT_MS 1000
#define FORGIVE_MS 60000
#define STORE_IDLE_MS 30000		/* a position is stored so often without news */
#define STORE_RETRY_MS 100		/* the history is somebody else's for a moment */
#define QUEUE_FULL_MS 200		/* look again whether listeners have caught up */

#define FOLD_RECORDS 256		/* readers of counters pass over no more than that, about ... */
#define FOLD_RETRY_MS 10000
#define STEP_LOCK_MS 500			/* less than deadlock_timeout, which would end the other */
#define FOLD_IDLE_MS 1000		/* ... nor over what is older */

/* a pause of so many microseconds for each record of the pass before, coalesce_ms at most */
#define PAUSE_PER_RECORD 500

static SharedDatabase *mine;	/* this worker's entry; NULL: not registered */

/* what a worker remembers from pass to pass */
static MemoryContext pass_context;	/* reset by each pass */
static MemoryContext since_context; /* of "delivery", replaced by each pass */
static Delivery delivery;
static bool resumed = false;	/* "delivery" has been read */
static TimestampTz last_pos = 0;
static TimestampTz last_store = 0;
static TimestampTz store_failed = 0;
static TimestampTz last_upkeep = 0;
static TimestampTz last_fold = 0;
static TimestampTz fold_after = 0;	/* it has failed */
static int64 unfolded = 0;		/* records since then, as far as we know */
static TimestampTz next_midnight = 0;	/* anywhere, by cc_clock() ... */
static uint64 zones_version = 0;	/* ... in the zones of this version */
static TimestampTz started = 0;
static bool news = false;		/* sent since the position was stored */
static bool extension_gone = false;
static volatile sig_atomic_t asked_to_end = false;

static void
handle_sigterm(SIGNAL_ARGS)
{
	asked_to_end = true;
	die(postgres_signal_arg);
}

/* The process ends: commits must not count on it any more. */
static void
unregister(int code, Datum arg)
{
	if (mine == NULL)
		return;
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	mine->pid = 0;
	mine->latch = NULL;
	if (extension_gone && !mine->wanted_again)
	{
		mine->state = WORKER_NONE;
		if (mine->blocked == 0)
			mine->dboid = InvalidOid;
	}
	else if (code == 0 || asked_to_end)
		mine->state = WORKER_WANTED;
	else
	{
		/* it may be the database that is gone */
		cc_shared->rescan |= mine->state == WORKER_STARTING;
		mine->state = WORKER_FAILED;
		mine->failures++;
		mine->start_after = cc_shared_retry_at(mine->failures - 1);
	}
	if (cc_shared->launcher_latch)
		SetLatch(cc_shared->launcher_latch);
	LWLockRelease(cc_shared->lock);
	mine = NULL;
}

/* Enter this process as its database's worker; false: there is another, or none may be. */
static bool
register_worker(Oid dboid)
{
	SharedDatabase *database;

	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	database = cc_shared_find(dboid);
	if (database != NULL && database->pid == 0 && database->blocked > 0)
		database->state = WORKER_WANTED;	/* again when it may */
	else if (database != NULL && database->pid == 0)
	{
		mine = database;
		mine->state = WORKER_STARTING;
		mine->wanted_again = false;
		mine->latch = MyLatch;
		pg_atomic_write_u32(&mine->asleep, 0);
		pg_atomic_write_u64(&mine->waiting_since, 0);
		pg_atomic_write_u64(&mine->alive_at, 0);
		mine->pid = MyProcPid;
	}
	LWLockRelease(cc_shared->lock);
	return mine != NULL;
}

/* From now on commits may leave their records to this process. */
static void
announce(void)
{
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	mine->state = WORKER_RUNNING;
	LWLockRelease(cc_shared->lock);
}

/* Whatever the database's or anybody's defaults say. */
static void
fix_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		/* what was sent and is lost in a crash is sent again */
		{"synchronous_commit", "off"},
		{"row_security", "off"},
		{"role", "none"},
#if CC_HAVE_TRANSACTION_TIMEOUT
		{"transaction_timeout", "0"},
#endif
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

static void
begin_transaction(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, activity);
}

static void
commit_transaction(void)
{
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * After an error: remember it for the view and let it end the process, unless
 * it came from the extension being dropped under our hands.
 */
static void
end_with_error(void)
{
	ErrorData  *error;
	const char *message;
	int			len;

	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	AbortOutOfAnyTransaction();
	FlushErrorState();
	begin_transaction("looking for the extension");
	extension_gone = !OidIsValid(get_extension_oid(CC_EXTENSION, true));
	commit_transaction();
	if (extension_gone)
		proc_exit(0);
	message = error->message ? error->message : "";
	len = pg_mbcliplen(message, strlen(message), CC_LAST_ERROR_SIZE - 1);
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	memcpy(mine->error, message, len);
	mine->error[len] = '\0';
	mine->error_at = GetCurrentTimestamp();
	LWLockRelease(cc_shared->lock);
	ReThrowError(error);
}

static void
count(const DeliveryCounts *counts)
{
	DeliveryCounters *total = &mine->counters;

	if (counts->sent.messages > 0)
	{
		pg_atomic_fetch_add_u64(&total->messages, counts->sent.messages);
		pg_atomic_fetch_add_u64(&total->bytes, counts->sent.bytes);
	}
	if (counts->read.records == 0)
		return;
	pg_atomic_fetch_add_u64(&total->records_delivered, counts->read.records);
	pg_atomic_fetch_add_u64(&total->tags_delivered, counts->read.tags);
	if (counts->read.tags > counts->tags)
		pg_atomic_fetch_add_u64(&total->tags_merged, counts->read.tags - counts->tags);
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	mine->delivered_at = GetCurrentTimestamp();
	LWLockRelease(cc_shared->lock);
}

/* What the snapshot shows has been sent: the next pass begins there. */
static void
go_on_from(Snapshot snapshot)
{
	static MemoryContext spare = NULL;
	MemoryContext old;
	MemoryContext used = since_context;

	if (spare == NULL)
		spare = AllocSetContextCreate(TopMemoryContext, "clinicache position",
									  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(spare);
	old = MemoryContextSwitchTo(spare);
	delivery.since = cc_position_local(snapshot);
	delivery.known = true;
	MemoryContextSwitchTo(old);
	since_context = spare;
	spare = used;
}

/*
 * Store a position that has been sent.  Another session at upkeep: the next
 * one will do.
 */
static bool
store(const char *pos)
{
	bool		stored;

	begin_transaction("storing the position");
	stored = cc_history_lock();
	if (stored)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		cc_history_insert(pos, cc_delivery != DELIVERY_LOG);
		PopActiveSnapshot();
		last_store = GetCurrentTimestamp();
		news = false;
	}
	commit_transaction();
	return stored;
}

/*
 * One transaction: send what there is.  Returns how many records that was; -1:
 * listeners are too far behind, nothing was sent.  "pos" is set to the position
 * sent along, in pass_context, if it was time for one.
 */
static int64
send_pass(bool pos_due, char **pos)
{
	DeliveryCounts counts;
	Snapshot	snapshot;
	MemoryContext old;

	memset(&counts, 0, sizeof(counts));
	begin_transaction("delivering");
	if (!OidIsValid(get_extension_oid(CC_EXTENSION, true)))
	{
		extension_gone = true;
		commit_transaction();
		return 0;
	}
	if (cc_notify_queue_is_full() && cc_delivery != DELIVERY_LOG)
	{
		commit_transaction();
		return -1;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(snapshot);
	if (!resumed)
	{
		old = MemoryContextSwitchTo(since_context);
		cc_delivery_resume(&delivery, snapshot);
		MemoryContextSwitchTo(old);
		resumed = true;
	}
	old = MemoryContextSwitchTo(pass_context);
	if (pos_due)
		*pos = cc_position_text(cc_position_from_snapshot(snapshot, true));
	if (cc_delivery != DELIVERY_LOG)
	{
		counts = cc_delivery_send(&delivery, snapshot, *pos);
		/* made now, while the snapshot is there; it counts from the commit on */
		go_on_from(snapshot);
	}
	MemoryContextSwitchTo(old);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	commit_transaction();
	count(&counts);
	return (int64) counts.read.records;
}

/* Has somebody asked for a position to be stored?  See cc_shared_deliver_now. */
static bool
is_requested(void)
{
	return pg_atomic_read_u64(&mine->requested) != pg_atomic_read_u64(&mine->served);
}

/* Has so much time passed?  Also if the clock was set back meanwhile. */
static bool
is_past(TimestampTz since, TimestampTz now, int milliseconds)
{
	return now < since || TimestampDifferenceExceeds(since, now, milliseconds);
}

/* A pass, and what follows it.  Returns how long to pause before the next, in ms. */
static long
pass(bool pos_due)
{
	TimestampTz began = GetCurrentTimestamp();
	uint64		left = pg_atomic_read_u64(&mine->counters.records_left);
	uint64		requested = pg_atomic_read_u64(&mine->requested);
	char	   *pos = NULL;
	int64		records;

	MemoryContextReset(pass_context);
	records = send_pass(pos_due, &pos);
	if (extension_gone)
		return 0;
	if (records < 0)
	{
		/* a commit that comes now finds us awake: nothing may be missed */
		pg_atomic_write_u32(&mine->asleep, 0);
		return QUEUE_FULL_MS;
	}
	unfolded += records;
	pg_atomic_write_u64(&mine->waiting_since, records > 0 ? (uint64) began : 0);
	pg_atomic_write_u64(&mine->counters.records_passed, left);
	news |= records > 0;
	if (pos != NULL)
	{
		last_pos = began;
		if (news || is_requested() || is_past(last_store, began, STORE_IDLE_MS))
		{
			store_failed = store(pos) ? 0 : began;
			if (store_failed == 0)
				pg_atomic_write_u64(&mine->served, requested);
		}
	}
	return Min(cc_coalesce_ms, (long) (records * PAUSE_PER_RECORD / 1000));
}

/*
 * One of our functions without arguments, in a transaction of its own.  We are
 * superuser: a function of that name which is not the extension's is not called.
 */
static Datum
call(const char *name)
{
	Oid			function;
	Oid			extension;
	Datum		result = BoolGetDatum(true);

	begin_transaction(name);
	PushActiveSnapshot(GetTransactionSnapshot());
	function = LookupFuncName(list_make2(makeString(CC_SCHEMA), makeString(pstrdup(name))),
							  0, NULL, true);
	extension = get_extension_oid(CC_EXTENSION, true);
	if (OidIsValid(function) && OidIsValid(extension) &&
		getExtensionOfObject(ProcedureRelationId, function) == extension)
		result = OidFunctionCall0(function);
	PopActiveSnapshot();
	commit_transaction();
	return result;
}

/* Time has passed: emit clock edges.  If another session is at it, try again soon. */
static void
edges(bool unused)
{
	bool		done = DatumGetBool(call("maintain_edges"));

	begin_transaction("looking for the next midnight");
	next_midnight = done ? cc_zone_next_midnight(cc_clock()) :
		cc_clock() + HEARTBEAT_MS * 1000L;
	zones_version = cc_tenant_zone_version();
	commit_transaction();
}

/* Has a new day begun somewhere, or do we not know when the next one does? */
static bool
is_midnight(void)
{
	return cc_clock() >= next_midnight || zones_version != cc_tenant_zone_version();
}

static void
fold(bool merge)
{
	begin_transaction("folding");
	if (OidIsValid(get_extension_oid(CC_EXTENSION, true)))
		(void) cc_fold(merge);
	commit_transaction();
}

/*
 * What must not keep delivery from going on: an error in it is logged, and it is
 * tried again later.  Nor does it wait for a lock for long: DROP EXTENSION holds
 * some and waits for others, which this process may have.
 */
static bool
attempt(void (*step) (bool), bool arg)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;
	int			before = LockTimeout;

	LockTimeout = STEP_LOCK_MS;
	PG_TRY();
	{
		step(arg);
		done = true;
	}
	PG_CATCH();
	{
		if (asked_to_end)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
	}
	PG_END_TRY();
	LockTimeout = before;
	return done;
}

/* Fold counters: "merge" leaves no batches for readers to look into. */
static void
fold_now(bool merge)
{
	last_fold = GetCurrentTimestamp();
	unfolded = 0;
	if (last_fold < fold_after && fold_after - last_fold <= FOLD_RETRY_MS * 1000L)
		return;
	fold_after = attempt(fold, merge) ? 0 : GetCurrentTimestamp() + FOLD_RETRY_MS * 1000L;
}

static void
upkeep(bool unused)
{
	edges(false);
	(void) call("maintain_moves");
	fold_now(true);
	(void) call("maintain_counters");
	(void) call("maintain_empty");
	(void) call("maintain_history");
}

/* Who has lived for a while is not to be punished for failures of long ago. */
static void
forgive(TimestampTz now)
{
	if (mine->failures == 0 || now - started < FORGIVE_MS * 1000L)
		return;
	LWLockAcquire(cc_shared->lock, LW_EXCLUSIVE);
	mine->failures = 0;
	LWLockRelease(cc_shared->lock);
}

/* Wait for a commit, or for the next heartbeat. */
static void
sleep_until_woken(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = TimestampDifferenceMilliseconds(now, last_pos + HEARTBEAT_MS * 1000L);

	if (is_requested())
		timeout = Min(timeout, STORE_RETRY_MS);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(Min(timeout, HEARTBEAT_MS), 1), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/*
 * Let records gather, so that they go out merged.  A commit may set the latch
 * once meanwhile: that does not end the pause, but whatever else may be wanted of
 * a process (to end, above all) does not wait for it.
 */
static void
pause_for(long milliseconds)
{
	TimestampTz until = GetCurrentTimestamp() + milliseconds * 1000;
	long		left = milliseconds;

	while (left > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(left, HEARTBEAT_MS), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		pg_atomic_write_u64(&mine->alive_at, (uint64) GetCurrentTimestamp());
		left = Min(left, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until));
	}
}

static void
run(void)
{
	while (!extension_gone)
	{
		TimestampTz now;
		bool		pos_due;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			next_midnight = 0;	/* it may be another */
		}
		now = GetCurrentTimestamp();
		pg_atomic_write_u64(&mine->alive_at, (uint64) now);
		pos_due = is_past(last_pos, now, HEARTBEAT_MS) ||
			(is_requested() && is_past(store_failed, now, STORE_RETRY_MS));
		if (!pos_due && pg_atomic_read_u32(&mine->asleep) != 0)
		{
			pg_atomic_write_u64(&mine->waiting_since, 0);
			sleep_until_woken();
			continue;
		}
		/* before the snapshot: who commits after it finds the flag, see shared.c */
		pg_atomic_write_u32(&mine->asleep, 1);
		pg_memory_barrier();
		pause_for(pass(pos_due));
		if (!extension_gone &&
			(unfolded >= FOLD_RECORDS || is_past(last_fold, GetCurrentTimestamp(), FOLD_IDLE_MS)))
			fold_now(false);
		if (!extension_gone && is_past(last_upkeep, now, cc_upkeep_interval * 1000))
		{
			last_upkeep = GetCurrentTimestamp();
			(void) attempt(upkeep, false);
		}
		else if (!extension_gone && is_midnight() && !attempt(edges, false))
			next_midnight = cc_clock() + HEARTBEAT_MS * 1000L;
		forgive(now);
	}
}

/*
 * Entry point; the argument is the database.  Ends itself where the extension
 * is not installed.
 */
void
clinicache_worker_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();

	if (cc_shared == NULL || !register_worker(dboid))
		proc_exit(0);
	before_shmem_exit(unregister, 0);
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	fix_settings();
	pgstat_report_appname("clinicache worker");
	pass_context = AllocSetContextCreate(TopMemoryContext, "clinicache pass",
										 ALLOCSET_DEFAULT_SIZES);
	since_context = AllocSetContextCreate(TopMemoryContext, "clinicache position",
										  ALLOCSET_SMALL_SIZES);
	started = last_upkeep = GetCurrentTimestamp();
	PG_TRY();
	{
		(void) pass(true);
		if (!extension_gone)
		{
			announce();
			run();
		}
	}
	PG_CATCH();
	{
		end_with_error();
	}
	PG_END_TRY();
	proc_exit(0);
}
