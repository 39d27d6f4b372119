/*-------------------------------------------------------------------------
 *
 * counter_tail.c
 *		Deltas that are not folded yet.
 *
 * While many sessions write, the log behind the last fold holds a thousand
 * records, of which a reader of one clinic wants a few.  A session that reads
 * again before the next fold need not look at them again: it keeps their deltas,
 * with the position up to which it has them, and goes on from there.
 *
 * What is kept was committed, since its position counts this session's own
 * transaction as running.  It serves a snapshot only if that shows all that the
 * position saw; an older one reads the log as if nothing were kept.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "counter_tail.h"

#include "access/xact.h"
#include "catalog.h"
#include "compat.h"
#include "utils/memutils.h"

/* beyond that the rest is not kept, and read each time */
#define KEPT_BYTES (4 * 1024 * 1024)

typedef struct KeptDeltas
{
	struct KeptDeltas *next;
	const char *tenant;			/* NULL: nobody's */
	int			tenant_len;
	bytea	   *deltas;
} KeptDeltas;

static struct
{
	MemoryContext context;		/* reset with the fold; NULL: nothing is kept */
	Oid			relid;			/* of counter_fold: another one after DROP EXTENSION */
	int64		fold;
	Position   *since;			/* what it saw: numbers are used again after a rollback */
	Position   *upto;			/* all deltas visible there are kept */
	KeptDeltas *first;
	KeptDeltas *last;
	Size		bytes;
	bool		full;
} kept;

typedef struct TailScan
{
	const char *tenant;
	int			tenant_len;
	DeltasVisit visit;
	void	   *arg;
} TailScan;

static bool
is_of(const TailScan *scan, const char *tenant, int len)
{
	return tenant == NULL || scan->tenant == NULL ||
		(scan->tenant_len == len && memcmp(scan->tenant, tenant, len) == 0);
}

static Position *
copy_position(const Position *position)
{
	Position   *copy = MemoryContextAlloc(kept.context, sizeof(Position));

	*copy = *position;
	copy->running = MemoryContextAlloc(kept.context,
									   sizeof(FullTransactionId) * (position->nrunning + 1));
	memcpy(copy->running, position->running, sizeof(FullTransactionId) * position->nrunning);
	return copy;
}

static bool
same_position(const Position *a, const Position *b)
{
	return FullTransactionIdEquals(a->xmax, b->xmax) && a->nrunning == b->nrunning &&
		memcmp(a->running, b->running, sizeof(FullTransactionId) * a->nrunning) == 0;
}

/* Forget what is kept if it is not of this fold. */
static void
check_fold(const FoldState *state)
{
	Oid			relid = cc_catalog_relid(CC_TABLE_FOLD);

	if (kept.context && kept.relid == relid && kept.fold == state->fold && kept.since &&
		same_position(kept.since, state->since))
		return;
	kept.since = NULL;			/* should memory run out below */
	if (kept.context)
		MemoryContextReset(kept.context);
	else
		kept.context = AllocSetContextCreate(TopMemoryContext, "clinicache counter tail",
											 ALLOCSET_DEFAULT_SIZES);
	kept.relid = relid;
	kept.fold = state->fold;
	kept.upto = NULL;
	kept.first = kept.last = NULL;
	kept.bytes = 0;
	kept.full = false;
	kept.since = copy_position(state->since);
}

/* Keep a record's deltas and pass them on; own ones are not committed. */
static void
keep(bytea *deltas, FullTransactionId xid, const char *tenant, int len, void *arg)
{
	TailScan   *scan = arg;
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	KeptDeltas *entry;

	if (is_of(scan, tenant, len))
		scan->visit(deltas, scan->arg);
	if (FullTransactionIdIsValid(own) && FullTransactionIdEquals(own, xid))
		return;
	kept.bytes += sizeof(KeptDeltas) + len + VARSIZE_ANY(deltas);
	entry = MemoryContextAlloc(kept.context, sizeof(KeptDeltas));
	entry->next = NULL;
	entry->tenant = tenant ? memcpy(MemoryContextAlloc(kept.context, len + 1), tenant, len) : NULL;
	entry->tenant_len = len;
	entry->deltas = memcpy(MemoryContextAlloc(kept.context, VARSIZE_ANY(deltas)), deltas,
						   VARSIZE_ANY(deltas));
	if (kept.last)
		kept.last->next = entry;
	else
		kept.first = entry;
	kept.last = entry;
}

/* All that the position sees is kept now. */
static void
kept_upto(const Position *position)
{
	Position   *old = kept.upto;

	kept.upto = copy_position(position);
	if (old)
	{
		pfree(old->running);
		pfree(old);
	}
}

/*
 * May deltas be kept?  Not of a fold that may come to nothing; nor during recovery,
 * where a position may have to say less than its snapshot showed.
 */
static bool
may_keep(const FoldState *state, Snapshot snapshot)
{
	return state->since != NULL && !state->own && !snapshot->takenDuringRecovery;
}

/*
 * Is there no record that is visible at the position and not kept?  Own ones are not
 * committed, and what a serializable transaction looks for others have to see.
 */
static bool
nothing_since(const Position *position)
{
	return same_position(kept.upto, position) && !IsolationIsSerializable() &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/*
 * Call "visit", in a context that is reset soon, for the deltas of records that
 * the fold did not see and the snapshot shows, those that this transaction has
 * written among them: of a tenant and of nobody, or of all (NULL).
 */
void
cc_tail_read(const FoldState *state, Snapshot snapshot, const char *tenant, int tenant_len,
			 DeltasVisit visit, void *arg)
{
	TailScan	scan = {tenant, tenant_len, visit, arg};
	bool		keeps = may_keep(state, snapshot);
	Position   *position = keeps ? cc_position_local(snapshot) : NULL;
	const Position *from = state->since;

	if (keeps)
		check_fold(state);
	if (!keeps || kept.full || (kept.upto && !cc_position_includes(position, kept.upto)))
	{
		(void) cc_log_scan_deltas(from, snapshot, tenant, tenant_len, true, visit, arg);
		return;
	}
	for (KeptDeltas *entry = kept.first; entry; entry = entry->next)
		if (is_of(&scan, entry->tenant, entry->tenant_len))
			visit(entry->deltas, arg);
	if (kept.upto)
	{
		if (nothing_since(position))
			return;
		from = kept.upto;
	}
	/* an error on the way leaves some kept that would be kept again */
	kept.full = true;
	(void) cc_log_scan_all_deltas(from, snapshot, keep, &scan);
	kept.full = kept.bytes > KEPT_BYTES;
	kept_upto(position);
}
