/*-------------------------------------------------------------------------
 *
 * flush.c
 *		This transaction's pending set, and its way into the log.
 *
 *	  PRE_COMMIT, PRE_PREPARE	pending set -> change records (and, in commit
 *								delivery, NOTIFY; never for a prepared
 *								transaction, which can not notify)
 *	  COMMIT, ABORT, PREPARE	forget: the set dies with TopTransactionContext
 *	  subtransaction events		handed to pending.c
 *
 * The change record is written in the transaction that it describes, so it is
 * committed, rolled back and replayed with it.  Locks: RowExclusiveLock on one
 * log slot, taken so that it never waits for a slot that is being emptied.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "flush.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "invalidation_log.h"
#include "mb/pg_wchar.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "notify.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MAX_ORIGIN 200

/* entries of a record; an array of more might outgrow what PostgreSQL allocates */
#define MAX_ENTRIES 50000

/* owned by TopTransactionContext; NULL when this transaction changed nothing yet */
static PendingSet *pending = NULL;

/* part of it was written early, see spill_level */
static bool spilled = false;

/* PRE_COMMIT or PRE_PREPARE is over; what still comes is written at once */
static bool flushed = false;

/* a gathering may be cut short by an error: what it left behind does not count */
static uint64 last_gathering = 0;

/* entries on their way to records: each tenant's in a chain */
typedef struct Gather
{
	PendingSet *set;
	uint64		number;			/* marks the chains that are of this gathering */
	List	   *tenants;
	StringInfoData reasons;
} Gather;

static void spill_level(PendingSet *set);

/*
 * The transaction's own set.  Lives in TopTransactionContext.
 */
PendingSet *
cc_flush_pending(void)
{
	if (pending == NULL)
		pending = cc_pending_create(TopTransactionContext, spill_level, flushed);
	return pending;
}

/* The transaction's own set, or NULL if there is none yet. */
PendingSet *
cc_flush_pending_if_any(void)
{
	return pending;
}

static void
gather_entry(PendingEntry *entry, void *arg)
{
	Gather	   *gather = arg;

	if (entry->kind == PENDING_REASON)
	{
		if (gather->reasons.len > 0)
			appendStringInfoString(&gather->reasons, "; ");
		appendBinaryStringInfo(&gather->reasons, entry->text, entry->len);
		return;
	}
	if (entry->tenant->gather != gather->number)
	{
		gather->tenants = lappend(gather->tenants, entry->tenant);
		entry->tenant->gather = gather->number;
		entry->tenant->chain = NULL;
	}
	entry->chain = entry->tenant->chain;
	entry->tenant->chain = entry;
}

/* Shorter profiles come first; of equal ones, by name. */
static int
compare_profiles(const void *a, const void *b)
{
	int			left = *(const int *) a;
	int			right = *(const int *) b;
	int			seconds = cc_pending_profile_seconds(left) - cc_pending_profile_seconds(right);

	return seconds != 0 ? seconds :
		strcmp(cc_pending_profile_name(left), cc_pending_profile_name(right));
}

/*
 * A text[] of entries, NULL if there are none.  Made in one piece: with a text
 * and a Datum for each, this was a good part of what a commit costs.
 */
static ArrayType *
make_array(PendingEntry **entries, int count)
{
	Size		size = ARR_OVERHEAD_NONULLS(1);
	ArrayType  *array;
	char	   *at;

	if (count == 0)
		return NULL;
	for (int i = 0; i < count; i++)
		size += INTALIGN(VARHDRSZ + entries[i]->len);
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->elemtype = TEXTOID;
	ARR_DIMS(array)[0] = count;
	ARR_LBOUND(array)[0] = 1;
	at = ARR_DATA_PTR(array);
	for (int i = 0; i < count; i++)
	{
		SET_VARSIZE(at, VARHDRSZ + entries[i]->len);
		memcpy(VARDATA(at), entries[i]->text, entries[i]->len);
		at += INTALIGN(VARHDRSZ + entries[i]->len);
	}
	return array;
}

/* Move the tags of one profile to the front of what is left of them; how many? */
static int
take_profile(PendingEntry **tags, int ntags, int profile)
{
	int			count = 0;

	for (int i = 0; i < ntags; i++)
	{
		PendingEntry *entry = tags[i];

		if (entry->profile != profile)
			continue;
		tags[i] = tags[count];
		tags[count++] = entry;
	}
	return count;
}

static void
append_profile(StringInfo profiles, int profile, int count)
{
	char		number[16];
	int			len = pg_ltoa(count, number);

	if (profiles->len > 0)
		appendStringInfoChar(profiles, ',');
	appendStringInfoString(profiles, cc_pending_profile_name(profile));
	appendStringInfoChar(profiles, ':');
	appendBinaryStringInfo(profiles, number, len);
}

/*
 * Order tags by profile and list the profiles.  There are few, so one pass for
 * each is cheaper than sorting.
 */
static void
order_tags(PendingEntry **tags, int ntags, const Bitmapset *used, StringInfo names)
{
	int			nprofiles = 0;
	int		   *profiles = palloc(sizeof(int) * Max(1, bms_num_members(used)));
	int			profile = -1;

	while ((profile = bms_next_member(used, profile)) >= 0)
		profiles[nprofiles++] = profile;
	qsort(profiles, nprofiles, sizeof(int), compare_profiles);
	for (int i = 0; i < nprofiles; i++)
	{
		int			count = take_profile(tags, ntags, profiles[i]);

		if (count > 0)
			append_profile(names, profiles[i], count);
		tags += count;
		ntags -= count;
	}
}

static void
add_to_message(MessageBuilder *message, PendingEntry **tags, int ntags,
			   PendingEntry **prefixes, int nprefixes)
{
	for (int i = 0; i < nprefixes; i++)
		cc_message_add_prefix(message, prefixes[i]->text, prefixes[i]->len);
	for (int i = 0; i < ntags; i++)
	{
		const char *name = cc_pending_profile_name(tags[i]->profile);

		cc_message_add_tag(message, name, strlen(name),
						   cc_pending_profile_seconds(tags[i]->profile),
						   tags[i]->text, tags[i]->len);
	}
}

/*
 * Turn a tenant's chain, or MAX_ENTRIES of it, into a record and, if "message"
 * is given, add it to the message too.
 */
static void
make_record(PendingSet *set, PendingTenant *tenant, LogRecord *record, MessageBuilder *message)
{
	PendingEntry *entry;
	PendingEntry **tags;
	PendingEntry **prefixes;
	int			ntags = 0;
	int			nprefixes = 0;
	int			count = 0;
	StringInfoData names;

	for (entry = tenant->chain; entry && count < MAX_ENTRIES; entry = entry->chain)
		count++;
	tags = palloc(sizeof(PendingEntry *) * count);
	prefixes = palloc(sizeof(PendingEntry *) * count);
	for (entry = tenant->chain; count > 0; entry = entry->chain, count--)
	{
		if (entry->kind == PENDING_PREFIX)
			prefixes[nprefixes++] = entry;
		else if (!cc_pending_has_shorter(set, entry))
			tags[ntags++] = entry;
	}
	tenant->chain = entry;
	initStringInfo(&names);
	order_tags(tags, ntags, cc_pending_profiles(set), &names);
	record->tenant = tenant->text;
	record->tenant_len = tenant->len;
	record->profiles = names.data;
	record->tags = make_array(tags, ntags);
	record->prefixes = make_array(prefixes, nprefixes);
	if (message)
		add_to_message(message, tags, ntags, prefixes, nprefixes);
}

/* Who and what: the reasons given to invalidate(), else the application. */
static const char *
make_origin(Gather *gather)
{
	char	   *origin = gather->reasons.len > 0 ? gather->reasons.data : application_name;
	int			len;

	if (origin == NULL || origin[0] == '\0')
		return NULL;
	len = pg_mbcliplen(origin, strlen(origin), MAX_ORIGIN);
	return pnstrdup(origin, len);
}

/*
 * Write what was gathered.  Nothing is written when the extension is being
 * dropped by this very transaction.
 */
static void
write_records(Gather *gather, bool delivered, MessageBuilder *message)
{
	LogWriter  *writer;
	const char *origin = make_origin(gather);
	ListCell   *cell;

	if (gather->tenants == NIL)
		return;
	writer = cc_log_begin_write();
	foreach(cell, gather->tenants)
	{
		PendingTenant *tenant = lfirst(cell);

		while (tenant->chain)
		{
			LogRecord	record = {0};

			make_record(gather->set, tenant, &record, message);
			record.origin = origin;
			record.delivered = delivered;
			if (writer)
				cc_log_append(writer, &record);
		}
	}
	if (writer)
		cc_log_end_write(writer);
}

static void
begin_gather(Gather *gather, PendingSet *set)
{
	gather->set = set;
	gather->number = ++last_gathering;
	gather->tenants = NIL;
	initStringInfo(&gather->reasons);
}

/*
 * The innermost subtransaction holds too much: write its part now, within it,
 * so that its rollback hides the record.  It is not notified here: a
 * transaction that has notified can not be prepared any more.  Instead the
 * commit sends a wake-up, and maintain() delivers the record too.
 */
static void
spill_level(PendingSet *set)
{
	Gather		gather;
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "clinicache spill",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(work);

	begin_gather(&gather, set);
	cc_pending_visit_level(set, gather_entry, &gather);
	write_records(&gather, false, NULL);
	cc_pending_forget_level(set);
	spilled = true;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

/*
 * Write all; "notify": the committing session delivers, if it may.  Works in
 * the set's own context, which is about to go.
 */
static void
flush_all(bool notify)
{
	Gather		gather;
	MemoryContext old = MemoryContextSwitchTo(cc_pending_context(pending));
	MessageBuilder *message = NULL;

	begin_gather(&gather, pending);
	if (notify && cc_guc_delivery() == DELIVERY_COMMIT && !cc_notify_queue_is_full())
		message = cc_message_begin(0);
	cc_pending_visit(pending, gather_entry, &gather);
	cc_push_snapshot_for_insert();
	write_records(&gather, message != NULL, message);
	cc_pop_snapshot_for_insert();
	if (message && (spilled || !cc_message_is_empty(message)))
	{
		cc_notify_send(message, NULL);
		if (spilled && !cc_message_is_empty(message))
			cc_notify_send(cc_message_begin(0), NULL);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Other extensions' PRE_COMMIT callbacks may run after ours and change tracked
 * rows: a set begun by them writes through.
 */
static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (pending)
				flush_all(event == XACT_EVENT_PRE_COMMIT);
			pending = NULL;
			flushed = true;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the memory goes with TopTransactionContext */
			pending = NULL;
			spilled = flushed = false;
			break;
		default:
			/* parallel workers can not write, so they never have a set */
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (pending == NULL)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		cc_pending_subcommit(pending, GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		cc_pending_subabort(pending, GetCurrentTransactionNestLevel());
}

/* Register the callbacks; called once, from _PG_init. */
void
cc_flush_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
