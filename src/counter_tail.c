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
	uint64		xmax;			/* of its snapshot */
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

/* Forget what is kept if it is not of this fold. */
static void
check_fold(const FoldState *state)
{
	Oid			relid = cc_catalog_relid(CC_TABLE_FOLD);

	if (kept.context && kept.relid == relid && kept.fold == state->fold &&
		kept.xmax == U64FromFullTransactionId(state->since->xmax))
		return;
	if (kept.context)
		MemoryContextReset(kept.context);
	else
		kept.context = AllocSetContextCreate(TopMemoryContext, "clinicache counter tail",
											 ALLOCSET_DEFAULT_SIZES);
	kept.relid = relid;
	kept.fold = state->fold;
	kept.xmax = U64FromFullTransactionId(state->since->xmax);
	kept.upto = NULL;
	kept.first = kept.last = NULL;
	kept.bytes = 0;
	kept.full = false;
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

static void
copy_position(const Position *position)
{
	Position   *copy = MemoryContextAlloc(kept.context, sizeof(Position));

	*copy = *position;
	copy->running = MemoryContextAlloc(kept.context,
									   sizeof(FullTransactionId) * (position->nrunning + 1));
	memcpy(copy->running, position->running, sizeof(FullTransactionId) * position->nrunning);
	if (kept.upto)
	{
		pfree(kept.upto->running);
		pfree(kept.upto);
	}
	kept.upto = copy;
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
	Position   *position = state->since ? cc_position_local(snapshot) : NULL;
	const Position *from = state->since;

	if (state->since)
		check_fold(state);
	if (state->since == NULL || kept.full ||
		(kept.upto && !cc_position_includes(position, kept.upto)))
	{
		(void) cc_log_scan_deltas(from, snapshot, tenant, tenant_len, true, visit, arg);
		return;
	}
	for (KeptDeltas *entry = kept.first; entry; entry = entry->next)
		if (is_of(&scan, entry->tenant, entry->tenant_len))
			visit(entry->deltas, arg);
	if (kept.upto)
		from = kept.upto;
	/* an error on the way leaves some kept that would be kept again */
	kept.full = true;
	(void) cc_log_scan_all_deltas(from, snapshot, keep, &scan);
	kept.full = kept.bytes > KEPT_BYTES;
	copy_position(position);
}
