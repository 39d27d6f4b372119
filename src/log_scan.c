/*-------------------------------------------------------------------------
 *
 * log_scan.c
 *		Reading the log between a position and a snapshot.
 *
 * Wanted are the records visible in the snapshot and not visible at the
 * position.  Not visible at it means: xid >= xmax, or xid in its list of running
 * transactions.  So each slot is read by one range of its xid index and one
 * look-up for each listed transaction.  Never from xmin on: a transaction that
 * stays open for an hour would make every call read the whole hour again.  But
 * listed ones that lie close before xmax, as those of a busy server do, are
 * cheaper read as a part of the range than each for itself.
 *
 * The caller's own records (spilled early) are visible to itself, but its
 * position counts it as running: they are left for the time after its commit.
 *
 * Locks: AccessShareLock on one slot at a time, given back at once.  Holding it
 * to the end of the transaction would buy nothing, since emptied slots are
 * noticed by the floor (log_slots.c), and would keep upkeep from emptying slots
 * while a dashboard's transaction stays open.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "log_scan.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupmacs.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/xid8.h"

/* a look-up costs as much as reading so many index entries in vain */
#define LOOKUP_WORTH 32

/* what stays the same during one cc_log_scan */
typedef struct LogScan
{
	const Position *since;		/* NULL: all counts */
	FullTransactionId from;		/* here the range begins */
	int			nlookups;		/* of the listed transactions, those before it */
	LogScanCounts counts;
	const LogScanFilter *filter;
	MessageBuilder *builder;
	FullTransactionId own;		/* invalid: none */
	DeltasVisit visit;			/* one of them set: the scan is for deltas, not for tags */
	RecordVisit visit_record;
	void	   *arg;
	const char *tenant;			/* whose deltas, and those of nobody; NULL: all */
	int			tenant_len;
	MemoryContext row_context;	/* reset per row */
} LogScan;

/* elements of a text[] in place: deconstruct_array would cost more than all else */
typedef struct TextWalk
{
	char	   *at;
	int			left;
} TextWalk;

static void
begin_walk(TextWalk *walk, TupleTableSlot *slot, int attnum)
{
	ArrayType  *array;

	walk->left = 0;
	if (slot->tts_isnull[attnum - 1])
		return;
	array = DatumGetArrayTypeP(slot->tts_values[attnum - 1]);
	if (ARR_HASNULL(array) || ARR_ELEMTYPE(array) != TEXTOID)
		elog(ERROR, "malformed record in the invalidation log");
	walk->at = ARR_DATA_PTR(array);
	walk->left = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

static bool
next_text(TextWalk *walk, const char **text, int *len)
{
	if (walk->left == 0)
		return false;
	walk->left--;
	walk->at = (char *) att_align_pointer(walk->at, TYPALIGN_INT, -1, walk->at);
	*text = VARDATA_ANY(walk->at);
	*len = VARSIZE_ANY_EXHDR(walk->at);
	walk->at += VARSIZE_ANY(walk->at);
	return true;
}

/* The next profile of a list such as "seconds:15,hours:1"; false at its end. */
static bool
next_profile(char **list, const char **name, int *len, int *ntags)
{
	char	   *colon = strchr(*list, ':');

	if (colon == NULL)
		return false;
	*name = *list;
	*len = colon - *list;
	*ntags = strtol(colon + 1, list, 10);
	if (**list == ',')
		(*list)++;
	return true;
}

/* Add the record's tags, profile by profile, and its prefixes. */
static void
add_record(LogScan *scan, TupleTableSlot *slot)
{
	MessageBuilder *builder = scan->builder;
	TextWalk	tags;
	TextWalk	prefixes;
	const char *tag;
	int			len;

	begin_walk(&tags, slot, Anum_log_tags);
	begin_walk(&prefixes, slot, Anum_log_prefixes);
	scan->counts.records++;
	scan->counts.tags += tags.left + prefixes.left;
	if (!slot->tts_isnull[Anum_log_profiles - 1])
	{
		char	   *profiles = TextDatumGetCString(slot->tts_values[Anum_log_profiles - 1]);
		const char *profile;
		int			profile_len;
		int			left;

		while (next_profile(&profiles, &profile, &profile_len, &left))
			while (left-- > 0 && next_text(&tags, &tag, &len))
				cc_message_add_tag(builder, profile, profile_len, -1, tag, len);
	}
	while (next_text(&tags, &tag, &len))
		cc_message_add_tag(builder, CC_PROFILE_DEFAULT, strlen(CC_PROFILE_DEFAULT), -1, tag, len);
	while (next_text(&prefixes, &tag, &len))
		cc_message_add_prefix(builder, tag, len);
}

static bool
record_counts(LogScan *scan, TupleTableSlot *slot)
{
	const LogScanFilter *filter = scan->filter;
	FullTransactionId xid = DatumGetFullTransactionId(slot->tts_values[Anum_log_xid - 1]);

	if (FullTransactionIdIsValid(scan->own) && FullTransactionIdEquals(xid, scan->own))
		return false;
	if (scan->since && cc_position_sees(scan->since, xid))
		return false;
	if (filter->only_undelivered && DatumGetBool(slot->tts_values[Anum_log_delivered - 1]))
		return false;
	if (filter->test != NULL)
	{
		struct varlena *tenant = NULL;

		if (!slot->tts_isnull[Anum_log_tenant - 1])
			tenant = PG_DETOAST_DATUM_PACKED(slot->tts_values[Anum_log_tenant - 1]);
		return filter->test(tenant ? VARDATA_ANY(tenant) : NULL,
							tenant ? VARSIZE_ANY_EXHDR(tenant) : 0, filter->arg);
	}
	return true;
}

/* May the record have deltas that are wanted?  Looks at no more than it has to. */
static bool
deltas_count(LogScan *scan, TupleTableSlot *slot)
{
	FullTransactionId xid;

	slot_getsomeattrs(slot, Anum_log_tenant);
	xid = DatumGetFullTransactionId(slot->tts_values[Anum_log_xid - 1]);
	if ((scan->since && cc_position_sees(scan->since, xid)) ||
		(FullTransactionIdIsValid(scan->own) && FullTransactionIdEquals(xid, scan->own)))
		return false;
	scan->counts.records++;
	if (scan->tenant && !slot->tts_isnull[Anum_log_tenant - 1])
	{
		text	   *tenant = DatumGetTextPP(slot->tts_values[Anum_log_tenant - 1]);

		if (VARSIZE_ANY_EXHDR(tenant) != scan->tenant_len ||
			memcmp(VARDATA_ANY(tenant), scan->tenant, scan->tenant_len) != 0)
			return false;
	}
	slot_getsomeattrs(slot, Anum_log_deltas);
	return !slot->tts_isnull[Anum_log_deltas - 1];
}

/* Give away a record's deltas. */
static void
visit_deltas(LogScan *scan, TupleTableSlot *slot)
{
	bytea	   *deltas = DatumGetByteaPP(slot->tts_values[Anum_log_deltas - 1]);
	text	   *tenant = NULL;

	if (scan->visit)
	{
		scan->visit(deltas, scan->arg);
		return;
	}
	if (!slot->tts_isnull[Anum_log_tenant - 1])
		tenant = DatumGetTextPP(slot->tts_values[Anum_log_tenant - 1]);
	scan->visit_record(deltas, DatumGetFullTransactionId(slot->tts_values[Anum_log_xid - 1]),
					   tenant ? VARDATA_ANY(tenant) : NULL,
					   tenant ? VARSIZE_ANY_EXHDR(tenant) : 0, scan->arg);
}

static void
read_record(LogScan *scan, TupleTableSlot *slot)
{
	if (scan->visit || scan->visit_record)
	{
		if (deltas_count(scan, slot))
			visit_deltas(scan, slot);
		return;
	}
	slot_getsomeattrs(slot, scan->filter->only_undelivered ? Anum_log_delivered :
					  Anum_log_prefixes);
	if (record_counts(scan, slot))
		add_record(scan, slot);
}

/* Run the index scan for one key; false: the message is a reset already, stop. */
static bool
scan_key(LogScan *scan, IndexScanDesc index_scan, TupleTableSlot *slot,
		 FullTransactionId xid, StrategyNumber strategy)
{
	MemoryContext old;
	ScanKeyData key;

	ScanKeyInit(&key, 1, strategy,
				strategy == BTEqualStrategyNumber ? F_XID8EQ : F_XID8GE,
				FullTransactionIdGetDatum(xid));
	index_rescan(index_scan, &key, 1, NULL, 0);
	while (index_getnext_slot(index_scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(scan->row_context);
		read_record(scan, slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scan->row_context);
		if (scan->builder && cc_message_is_reset(scan->builder))
			return false;
	}
	return true;
}

static bool
scan_slot(LogScan *scan, Oid table, Snapshot snapshot)
{
	Relation	rel = table_open(table, AccessShareLock);
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc index_scan;
	bool		go_on = true;

	cc_catalog_check_columns(rel, Natts_log);
	if (RelationGetNumberOfBlocks(rel) == 0)
	{
		table_close(rel, AccessShareLock);
		return true;
	}
	index = cc_catalog_open_index(rel, 1, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	index_scan = cc_index_beginscan(rel, index, snapshot, 1);
	for (int i = 0; go_on && i < scan->nlookups; i++)
		go_on = scan_key(scan, index_scan, slot, scan->since->running[i], BTEqualStrategyNumber);
	if (go_on)
		go_on = scan_key(scan, index_scan, slot, scan->from, BTGreaterEqualStrategyNumber);
	index_endscan(index_scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return go_on;
}

/* Where to begin the range: so low that what it reads in vain costs less than look-ups. */
static void
plan_range(LogScan *scan, const Position *since)
{
	scan->since = since;
	scan->from = since ? since->xmax : FullTransactionIdFromU64(0);
	scan->nlookups = since ? since->nrunning : 0;
	while (scan->nlookups > 0)
	{
		FullTransactionId listed = since->running[scan->nlookups - 1];

		if (U64FromFullTransactionId(scan->from) - U64FromFullTransactionId(listed) > LOOKUP_WORTH)
			break;
		scan->from = listed;
		scan->nlookups--;
	}
}

static void
run(LogScan *scan, const Position *since, Snapshot snapshot)
{
	Oid			tables[CC_LOG_SLOTS];

	if (!cc_catalog_slots(tables))
		return;
	plan_range(scan, since);
	scan->row_context = AllocSetContextCreate(CurrentMemoryContext, "clinicache log row",
											  ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < CC_LOG_SLOTS; i++)
	{
		if (!scan_slot(scan, tables[i], snapshot))
			break;
	}
	MemoryContextDelete(scan->row_context);
}

/*
 * Add to the builder what committed after "since" (NULL: ever) and is visible
 * in "snapshot".  The caller checks the floor before and after.
 */
LogScanCounts
cc_log_scan(const Position *since, Snapshot snapshot,
			const LogScanFilter *filter, MessageBuilder *builder)
{
	LogScan		scan = {.filter = filter,.builder = builder,.own = GetTopFullTransactionIdIfAny()};

	run(&scan, since, snapshot);
	return scan.counts;
}

/*
 * Call "visit", in a context that is reset soon, for the deltas of records not
 * visible at "since" (NULL: all) and visible in "snapshot": of one tenant and of
 * nobody, or of all (NULL).  "own": what this transaction wrote early counts too.
 * Returns how many records there were.
 */
uint64
cc_log_scan_deltas(const Position *since, Snapshot snapshot, const char *tenant, int tenant_len,
				   bool own, DeltasVisit visit, void *arg)
{
	LogScan		scan = {.visit = visit,.arg = arg,.tenant = tenant,.tenant_len = tenant_len};

	if (!own)
		scan.own = GetTopFullTransactionIdIfAny();

	run(&scan, since, snapshot);
	return scan.counts.records;
}

/*
 * The same for all tenants, whose each is said, with what this transaction wrote.
 */
void
cc_log_scan_all_deltas(const Position *since, Snapshot snapshot, RecordVisit visit, void *arg)
{
	LogScan		scan = {.visit_record = visit,.arg = arg};

	run(&scan, since, snapshot);
}
