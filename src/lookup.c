/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Values that a row itself lacks, found along foreign keys.
 *
 * A step is one descent of the key's index, below the executor: no plan, no rights
 * to check per row, no row security in the way; lookup_path.c has seen to it that
 * the table's owner may read what is read here.  It takes AccessShareLock on the
 * tables on the way, as any query does, and no lock on rows.
 *
 * Which version of the parent?  For the new row, what this transaction sees now, its
 * own changes included.  For the old row also what it saw before it changed anything
 * (command 0): in a cascade the parent is gone from the first and still in the
 * second, and after a move within the transaction they differ, and both count.
 * (What this transaction has made itself, a cascade leaves in the statement's snapshot.)
 *
 * What was found is remembered until anything can have changed: within a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "lookup_internal.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "tracker.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* what a look-up came to */
typedef struct Found
{
	bool		missing;		/* some row on the way is not there */
	bool		fresh;			/* some row on the way was written by this transaction */
	bool		isnull;
	Datum		value;
} Found;

#define MEMO_ENTRIES 128
#define MEMO_KEY 40
#define MEMO_COPIES_MAX 8192

typedef struct LookupEntry
{
	uint32		era;
	uint32		hash;
	int			len;
	bool		has_before;
	char		key[MEMO_KEY];
	Found		now;
	Found		before;
} LookupEntry;

/* everything that tells what is visible: while it stands still, so do answers */
typedef struct Visible
{
	LocalTransactionId transaction;
	SubTransactionId subtransaction;
	CommandId	command;
	CommandId	snapshot_command;
	TransactionId xmin;
	TransactionId xmax;
	uint32		running;
} Visible;

struct LookupMemo
{
	Visible		visible;
	uint32		era;			/* moves when that does */
	int			copies;			/* in "context" */
	MemoryContext context;		/* of values found, of this era */
	LookupEntry entries[MEMO_ENTRIES];
};

/* ------------------------------------------------------------- one descent */

static Datum
copy_value(const LookupStep *step, Datum value)
{
	if (step->typlen == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return datumCopy(value, step->typbyval, step->typlen);
}

/* Put the row of a key into the slot; false: there is none. */
static bool
fetch_row(Relation rel, Relation index, Oid subtype, RegProcedure procedure, Datum key,
		  Snapshot snapshot, TupleTableSlot *slot)
{
	IndexScanDesc scan = cc_index_beginscan(rel, index, snapshot, 1);
	ScanKeyData scankey;
	bool		hit;

	ScanKeyEntryInitialize(&scankey, 0, 1, BTEqualStrategyNumber, subtype,
						   index->rd_indcollation[0], procedure, key);
	index_rescan(scan, &scankey, 1, NULL, 0);
	hit = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	return hit;
}

/* Was the row in the slot written by this transaction?  Kinds of tables that do not tell: yes. */
static bool
is_own(TupleTableSlot *slot)
{
	bool		isnull;

	return !TTS_IS_BUFFERTUPLE(slot) ||
		TransactionIdIsCurrentTransactionId(
			DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull)));
}

/* May the index lack rows that the snapshot shows?  See "indcheckxmin" in pg_index. */
static bool
is_complete(Relation index)
{
	return !index->rd_index->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							  TransactionXmin);
}

/*
 * The index to look in; NULL: there is none.  The one that served last, if it is still
 * there: REINDEX CONCURRENTLY replaces it.
 */
static Relation
open_index(const LookupStep *step, LookupTarget *target, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		known = list_member_oid(indexes, target->index);
	Relation	index;

	list_free(indexes);
	if (known)
	{
		index = index_open(target->index, AccessShareLock);
		if (cc_lookup_index_serves(index, target->key, InvalidOid))
			return index;
		index_close(index, NoLock);
	}
	target->index = cc_lookup_index(rel, target->key, step->equality);
	return OidIsValid(target->index) ? index_open(target->index, AccessShareLock) : NULL;
}

/* Find the row of a key in one table; false: there is none. */
static bool
search_table(const LookupStep *step, LookupTarget *target, Datum key, Snapshot snapshot,
			 Found *found)
{
	Relation	rel = try_table_open(target->relid, AccessShareLock);
	Relation	index = rel ? open_index(step, target, rel) : NULL;
	bool		hit = false;

	if (index != NULL && is_complete(index))
	{
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		hit = fetch_row(rel, index, step->subtype, step->procedure, key, snapshot, slot);
		if (hit)
		{
			Datum		value = slot_getattr(slot, target->value, &found->isnull);

			if (!found->isnull)
				found->value = copy_value(step, value);
			found->fresh |= is_own(slot);
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	if (index != NULL)
		index_close(index, NoLock);
	if (rel != NULL)
		table_close(rel, NoLock);
	return hit;
}

/* Follow the whole path in one snapshot.  Allocates in CurrentMemoryContext. */
static Found
walk(const Lookup *lookup, Datum from, Snapshot snapshot)
{
	Found		found = {.value = from};

	for (int i = 0; i < lookup->nsteps && !found.isnull && !found.missing; i++)
	{
		const LookupStep *step = &lookup->steps[i];
		Datum		key = found.value;
		bool		hit = false;

		for (int j = 0; j < step->ntargets && !hit; j++)
			hit = search_table(step, &step->targets[j], key, snapshot, &found);
		found.missing = !hit;
	}
	return found;
}

/*
 * The snapshot in force, as of after (or before) all that this transaction has done.
 * It shares memory with the active one and is good as long as that.
 */
static SnapshotData
snapshot_as_of(CommandId command)
{
	SnapshotData snapshot = ActiveSnapshotSet() ? *GetActiveSnapshot() : *GetTransactionSnapshot();

	snapshot.curcid = command;
	return snapshot;
}

static Found
walk_now(const Lookup *lookup, Datum from)
{
	SnapshotData now = snapshot_as_of(GetCurrentCommandId(false) + 1);
	Found		found = walk(lookup, from, &now);

	/* a parent that was committed since the statement began, which foreign keys see */
	if (found.missing && !IsolationUsesXactSnapshot())
	{
		Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());

		latest->curcid = GetCurrentCommandId(false) + 1;	/* registered, it is a copy */
		found = walk(lookup, from, latest);
		UnregisterSnapshot(latest);
	}
	return found;
}

/*
 * Before this transaction changed anything; of what it made itself and now is gone,
 * before this statement.
 */
static Found
walk_before(const Lookup *lookup, Datum from, bool gone)
{
	SnapshotData before = snapshot_as_of(FirstCommandId);
	Found		found = walk(lookup, from, &before);

	if (found.missing && gone && ActiveSnapshotSet())
		found = walk(lookup, from, GetActiveSnapshot());
	return found;
}

/* ------------------------------------------------------------- remembering */

/* Begin a new era if anything that is visible may have changed. */
static LookupMemo *
current_memo(Lookup *lookup)
{
	LookupMemo *memo = lookup->memo;
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
	Visible		visible;

	if (snapshot == NULL)
		return NULL;
	memset(&visible, 0, sizeof(visible));	/* padding: it is compared as bytes */
	visible.transaction = cc_my_lxid();
	visible.subtransaction = GetCurrentSubTransactionId();
	visible.command = GetCurrentCommandId(false);
	visible.snapshot_command = snapshot->curcid;
	visible.xmin = snapshot->xmin;
	visible.xmax = snapshot->xmax;
	visible.running = snapshot->xcnt;
	if (memo == NULL)
	{
		memo = lookup->memo = MemoryContextAllocZero(lookup->context, sizeof(LookupMemo));
		memo->context = AllocSetContextCreate(lookup->context, "clinicache look-ups",
											  ALLOCSET_SMALL_SIZES);
	}
	else if (memo->copies <= MEMO_COPIES_MAX &&
			 memcmp(&memo->visible, &visible, sizeof(visible)) == 0)
		return memo;
	memo->visible = visible;
	memo->era++;
	if (memo->copies > 0)
		MemoryContextReset(memo->context);
	memo->copies = 0;
	return memo;
}

/* The place of a key; NULL: it is too long to be remembered. */
static LookupEntry *
find_entry(Lookup *lookup, LookupMemo *memo, Datum from)
{
	const char *data = (const char *) &from;
	int			len = sizeof(Datum);
	uint32		hash;
	LookupEntry *entry;

	if (lookup->from_typlen == -1)
	{
		if (VARATT_IS_EXTERNAL(DatumGetPointer(from)) || VARATT_IS_COMPRESSED(DatumGetPointer(from)))
			return NULL;
		data = VARDATA_ANY(DatumGetPointer(from));
		len = VARSIZE_ANY_EXHDR(DatumGetPointer(from));
	}
	else if (!lookup->from_typbyval)
	{
		data = DatumGetPointer(from);
		len = lookup->from_typlen;
	}
	if (len < 0 || len > MEMO_KEY)
		return NULL;
	hash = hash_bytes((const unsigned char *) data, len);
	entry = &memo->entries[hash % MEMO_ENTRIES];
	if (entry->era == memo->era && entry->hash == hash && entry->len == len &&
		memcmp(entry->key, data, len) == 0)
		return entry;
	entry->era = 0;				/* not yet good */
	entry->hash = hash;
	entry->len = len;
	entry->has_before = false;
	memcpy(entry->key, data, len);
	return entry;
}

/* Keep what was found, beyond this row. */
static Found
keep(Lookup *lookup, LookupMemo *memo, Found found)
{
	const LookupStep *last = &lookup->steps[lookup->nsteps - 1];
	MemoryContext old;

	if (found.missing || found.isnull || last->typbyval)
		return found;
	old = MemoryContextSwitchTo(memo->context);
	found.value = copy_value(last, found.value);
	MemoryContextSwitchTo(old);
	memo->copies++;
	return found;
}

/* What the value "from" leads to, now and (for "before" not NULL, where it may differ) before. */
static Found
look_up(Lookup *lookup, Datum from, Found *before)
{
	LookupMemo *memo = current_memo(lookup);
	LookupEntry *entry = memo ? find_entry(lookup, memo, from) : NULL;
	Found		now;

	if (entry && entry->era == memo->era)
		now = entry->now;
	else
	{
		now = walk_now(lookup, from);
		if (entry)
		{
			entry->now = keep(lookup, memo, now);
			entry->era = memo->era;
		}
	}
	if (before == NULL)
		return now;
	*before = now;
	if (!now.missing && !now.fresh)
		return now;
	if (entry && entry->has_before)
		*before = entry->before;
	else
	{
		*before = walk_before(lookup, from, now.missing);
		if (entry)
		{
			entry->before = keep(lookup, memo, *before);
			entry->has_before = true;
		}
	}
	return now;
}

/* --------------------------------------------------------------------- rows */

/* The type of what is found. */
Oid
cc_lookup_type(const Lookup *lookup)
{
	return lookup->steps[lookup->nsteps - 1].typid;
}

/* The column that the path begins at. */
const char *
cc_lookup_from(const Lookup *lookup)
{
	return lookup->from;
}

/* Does a look-up read this table?  If so, what was compiled ends with its relcache entry. */
bool
cc_lookup_depends(const Lookup *lookup, Oid relid)
{
	for (int i = 0; i < lookup->nsteps; i++)
	{
		const LookupStep *step = &lookup->steps[i];

		if (step->relid == relid || list_member_oid(step->tree, relid))
			return true;
		for (int j = 0; j < step->ntargets; j++)
			if (step->targets[j].relid == relid)
				return true;
	}
	return false;
}

/* A query for all values that a look-up can find, and perhaps more. */
char *
cc_lookup_all_values(const Lookup *lookup)
{
	const LookupStep *last = &lookup->steps[lookup->nsteps - 1];

	return psprintf("SELECT DISTINCT %s FROM %s%s", quote_identifier(last->value_name),
					last->is_partitioned ? "" : "ONLY ", last->table);
}

/*
 * Copies of a row's arrays with room for what is looked up.  "natts" columns have to be
 * there; those beyond tracker->max_attno need hold nothing.  In CurrentMemoryContext.
 */
RowValues
cc_lookup_extend(const Tracker *tracker, const Datum *values, const bool *nulls, int natts)
{
	int			nlookups = tracker->nlookups;
	RowValues	row = {
		.values = palloc0(sizeof(Datum) * (tracker->natts + nlookups)),
		.nulls = palloc0(sizeof(bool) * (tracker->natts + 2 * nlookups))
	};

	memcpy(row.values, values, sizeof(Datum) * natts);
	memcpy(row.nulls, nulls, sizeof(bool) * natts);
	return row;
}

static void
put(const Tracker *tracker, RowValues *row, int number, Found found)
{
	row->values[tracker->natts + number] = found.value;
	row->nulls[tracker->natts + number] = found.missing || found.isnull;
	row->nulls[tracker->natts + tracker->nlookups + number] = found.missing;
}

/* Do two answers differ, as the old row's?  One that is missing has nothing to say. */
static bool
differ(const Lookup *lookup, const Found *now, const Found *before)
{
	const LookupStep *last = &lookup->steps[lookup->nsteps - 1];

	if (now->missing || before->missing)
		return false;
	if (now->isnull || before->isnull)
		return now->isnull != before->isnull;
	return !datumIsEqual(now->value, before->value, last->typbyval, last->typlen);
}

/*
 * What a row leads to, now and (for "before" not NULL) before: if its way begins at
 * a null, that leads to a null.  Runs as the table's owner, restricted.
 */
static Found
find_for_row(Lookup *lookup, const RowValues *row, Found *before)
{
	Found		found = {.isnull = true};
	Oid			user;
	int			security;

	if (before != NULL)
		*before = found;
	if (row->nulls[lookup->from_attno - 1])
		return found;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(lookup->owner, security | SECURITY_RESTRICTED_OPERATION);
	found = look_up(lookup, row->values[lookup->from_attno - 1], before);
	SetUserIdAndSecContext(user, security);
	return found;
}

/*
 * Fill in what a new row's columns lead to.  The row comes from cc_lookup_extend().
 * Errors are those of reading a table.
 */
void
cc_lookup_new(const Tracker *tracker, RowValues *row)
{
	for (int i = 0; i < tracker->nlookups; i++)
		put(tracker, row, i, find_for_row(tracker->lookups[i], row, NULL));
}

/*
 * Fill in what an old row's columns lead to.  True: before this transaction changed
 * anything they led elsewhere, see "earlier", and that counts as well.
 */
bool
cc_lookup_old(const Tracker *tracker, RowValues *row, RowValues *earlier)
{
	Found	   *befores = palloc0(sizeof(Found) * tracker->nlookups);
	bool		two = false;

	for (int i = 0; i < tracker->nlookups; i++)
	{
		Found		found = find_for_row(tracker->lookups[i], row, &befores[i]);

		two |= differ(tracker->lookups[i], &found, &befores[i]);
		if (found.missing)
			found = befores[i];
		else if (befores[i].missing)
			befores[i] = found;
		put(tracker, row, i, found);
	}
	if (!two)
		return false;
	*earlier = cc_lookup_extend(tracker, row->values, row->nulls, tracker->natts);
	for (int i = 0; i < tracker->nlookups; i++)
		put(tracker, earlier, i, befores[i]);
	return true;
}

/*
 * Of a table's own row: was there one with this key before the transaction changed
 * anything?  Then it is put into the slot.  The caller has the table open.
 */
bool
cc_lookup_row_before(Relation rel, AttrNumber key, Datum value, TupleTableSlot *slot)
{
	Oid			indexid = cc_lookup_index(rel, key, InvalidOid);
	SnapshotData before = snapshot_as_of(FirstCommandId);
	Relation	index;
	Oid			equality;
	bool		hit;

	if (!OidIsValid(indexid))
		return false;
	index = index_open(indexid, AccessShareLock);
	equality = get_opfamily_member(index->rd_opfamily[0], index->rd_opcintype[0],
								   index->rd_opcintype[0], BTEqualStrategyNumber);
	hit = fetch_row(rel, index, InvalidOid, get_opcode(equality), value, &before, slot);
	index_close(index, NoLock);
	return hit;
}
