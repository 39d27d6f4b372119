/*-------------------------------------------------------------------------
 *
 * flush.c
 *		This transaction's pending set, and its way into the log.
 *
 *	  PRE_COMMIT, PRE_PREPARE	buffer or pending set -> change records (and, in commit
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
#include "deltas.h"
#include "invalidation_log.h"
#include "late.h"
#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"
#include "notify.h"
#include "shared.h"
#include "table_stats.h"
#include "tag_buffer.h"
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

/* of this transaction's records: all, their tags, and those that nobody has delivered yet */
static uint64 records_written = 0;
static uint64 tags_written = 0;
static uint64 records_left = 0;

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
 * May tags still go to the buffer?  Not once there is a set, nor when they have
 * to be written at once.
 */
bool
cc_flush_buffers(void)
{
	return pending == NULL && !flushed;
}

/*
 * The transaction's own set, which takes over what is in the buffer.  Lives in
 * TopTransactionContext.
 */
PendingSet *
cc_flush_pending(void)
{
	if (pending == NULL)
	{
		PendingSet *set = cc_pending_create(TopTransactionContext, spill_level, flushed);

		/* should memory run out, the buffer still has them */
		if (!cc_buffer_is_empty())
			cc_buffer_move(set);
		cc_buffer_clear();
		pending = set;
	}
	return pending;
}

/* Is it this transaction's set?  A dry run has one of its own. */
bool
cc_flush_is_pending(const PendingSet *set)
{
	return set == pending;
}

/* The same, or NULL if nothing was added yet. */
PendingSet *
cc_flush_pending_if_any(void)
{
	return cc_buffer_is_empty() ? pending : cc_flush_pending();
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

/* Keep a sorted list of the profiles seen; there are few. */
static int
note_profile(int *profiles, int nprofiles, int profile)
{
	int			at = 0;

	while (at < nprofiles && cc_pending_compare_profiles(profiles[at], profile) < 0)
		at++;
	if (at < nprofiles && profiles[at] == profile)
		return nprofiles;
	memmove(&profiles[at + 1], &profiles[at], sizeof(int) * (nprofiles - at));
	profiles[at] = profile;
	return nprofiles + 1;
}

/*
 * Order tags by profile, shorter ones first, and list the profiles.  They are
 * few, so one pass for each is cheaper than sorting.
 */
static void
order_tags(PendingEntry **tags, int ntags, StringInfo names)
{
	int			nprofiles = 0;
	int		   *profiles = palloc(sizeof(int) * (cc_pending_profile_count() + 1));

	for (int i = 0; i < ntags; i++)
		if (i == 0 || tags[i]->profile != tags[i - 1]->profile)
			nprofiles = note_profile(profiles, nprofiles, tags[i]->profile);
	for (int i = 0; i < nprofiles; i++)
	{
		int			count = take_profile(tags, ntags, profiles[i]);

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

/* Fill in what a record says, and add it to "message" if that is given. */
static void
fill_record(LogRecord *record, const PendingTenant *tenant, PendingEntry **tags, int ntags,
			PendingEntry **prefixes, int nprefixes, MessageBuilder *message)
{
	StringInfoData names;

	initStringInfo(&names);
	order_tags(tags, ntags, &names);
	record->tenant = tenant->text;
	record->tenant_len = tenant->len;
	record->profiles = names.data;
	record->tags = make_array(tags, ntags);
	record->prefixes = make_array(prefixes, nprefixes);
	records_written++;
	records_left += record->delivered ? 0 : 1;
	tags_written += ntags + nprefixes;
	if (message)
		add_to_message(message, tags, ntags, prefixes, nprefixes);
}

/* Turn a tenant's chain, or MAX_ENTRIES of it, into a record. */
static void
make_record(PendingSet *set, PendingTenant *tenant, LogRecord *record, MessageBuilder *message)
{
	PendingEntry *entry;
	PendingEntry **tags;
	PendingEntry **prefixes;
	int			ntags = 0;
	int			nprefixes = 0;
	int			count = 0;

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
	fill_record(record, tenant, tags, ntags, prefixes, nprefixes, message);
}

/* Who and what: the reasons given to invalidate(), else the application. */
static const char *
make_origin(const char *reasons)
{
	const char *origin = reasons[0] != '\0' ? reasons : application_name;
	int			len;

	if (origin == NULL || origin[0] == '\0')
		return NULL;
	len = strlen(origin);
	return len <= MAX_ORIGIN ? origin :
		pnstrdup(origin, pg_mbcliplen(origin, len, MAX_ORIGIN));
}

/*
 * Write what was gathered.  Nothing is written when the extension is being
 * dropped by this very transaction.
 */
static void
write_records(Gather *gather, bool delivered, MessageBuilder *message)
{
	LogWriter  *writer;
	const char *origin = make_origin(gather->reasons.data);
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

			record.origin = origin;
			record.delivered = delivered;
			make_record(gather->set, tenant, &record, message);
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

/* Append a record of deltas only, which nobody has to deliver. */
static void
write_deltas_record(bytea *deltas, void *arg)
{
	LogRecord	record = {.delivered = true,.deltas = deltas};

	cc_log_append(arg, &record);
	records_written++;
}

/*
 * Write what this transaction does to counters, or a part of it, in records without
 * tags.  Tenants may be mixed, so they are nobody's.
 */
static void
write_deltas(void (*part) (DeltasWrite write, void *arg))
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "clinicache deltas",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(work);
	LogWriter  *writer = cc_log_begin_write();

	if (writer)
	{
		part(write_deltas_record, writer);
		cc_log_end_write(writer);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

/* The innermost subtransaction does too much to counters: write its part now, within it. */
void
cc_flush_spill_deltas(void)
{
	write_deltas(cc_deltas_write_level);
}

/* A subtransaction is about to be released: together with its parent's part it may be too much. */
static void
spill_released(int nest)
{
	if (likely(!cc_deltas_release_is_large(nest)))
		return;
	cc_push_snapshot_for_insert();
	write_deltas(cc_deltas_write_released);
	cc_pop_snapshot_for_insert();
}

static void
flush_deltas(void)
{
	cc_push_snapshot_for_insert();
	write_deltas(cc_deltas_write);
	cc_pop_snapshot_for_insert();
	cc_deltas_clear();
}

/* A change made by another extension after our part of the commit: write it at once. */
void
cc_flush_late_deltas(void)
{
	if (unlikely(flushed) && !cc_deltas_are_none())
		flush_deltas();
}

/* The few deltas of a transaction that go into its only record. */
static void
take_deltas(bytea *deltas, void *arg)
{
	LogRecord  *record = arg;

	Assert(record->deltas == NULL);
	record->deltas = deltas;
}

/* A message for the committing session to send; NULL: it does not deliver. */
static MessageBuilder *
begin_message(bool notify)
{
	if (notify && cc_guc_delivery() == DELIVERY_COMMIT && !cc_notify_queue_is_full())
		return cc_message_begin(0);
	return NULL;
}

/*
 * Write what is in the buffer.  Works in the transaction's context, which is
 * about to go.
 */
static void
flush_buffer(bool notify)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	MessageBuilder *message = begin_message(notify);
	PendingEntry *tags[TAG_BUFFER_MAX];
	PendingEntry *prefixes[TAG_BUFFER_MAX];
	int			ntags;
	int			nprefixes;
	PendingTenant *tenant = cc_buffer_take(tags, &ntags, prefixes, &nprefixes);
	LogRecord	record = {.origin = make_origin(""),.delivered = message != NULL};
	LogWriter  *writer;

	fill_record(&record, tenant, tags, ntags, prefixes, nprefixes, message);
	if (cc_deltas_are_of(tenant->text, tenant->len))
	{
		cc_deltas_write(take_deltas, &record);
		cc_deltas_clear();
	}
	cc_push_snapshot_for_insert();
	writer = cc_log_begin_write();
	if (writer)
	{
		cc_log_append(writer, &record);
		cc_log_end_write(writer);
	}
	cc_pop_snapshot_for_insert();
	if (message)
		cc_notify_send(message, NULL);
	MemoryContextSwitchTo(old);
}

/*
 * Write the pending set; "notify": the committing session delivers, if it may.
 * Works in the set's own context, which is about to go.
 */
static void
flush_set(bool notify)
{
	Gather		gather;
	MemoryContext old = MemoryContextSwitchTo(cc_pending_context(pending));
	MessageBuilder *message = begin_message(notify);

	begin_gather(&gather, pending);
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

/* The transaction is over; "kept": its records stay. */
static void
report_written(bool kept)
{
	SharedDatabase *database = records_written > 0 && kept ? cc_shared_mine() : NULL;

	if (database)
	{
		pg_atomic_fetch_add_u64(&database->counters.records_written, records_written);
		pg_atomic_fetch_add_u64(&database->counters.tags_written, tags_written);
		if (records_left > 0)
			pg_atomic_fetch_add_u64(&database->counters.records_left, records_left);
	}
	records_written = tags_written = records_left = 0;
}

/*
 * Other extensions' PRE_COMMIT callbacks may run after ours and change tracked
 * rows: a set begun by them writes through.
 */
static void
xact_callback(XactEvent event, void *arg)
{
	bool		wake;
	bool		wrote;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (cc_late_is_due())
				cc_late_emit(cc_flush_pending());
			if (pending)
				flush_set(event == XACT_EVENT_PRE_COMMIT);
			else if (!cc_buffer_is_empty())
				flush_buffer(event == XACT_EVENT_PRE_COMMIT);
			if (!cc_deltas_are_none())
				flush_deltas();
			pending = NULL;
			cc_buffer_clear();
			flushed = true;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the memory goes with TopTransactionContext */
			pending = NULL;
			cc_buffer_clear();
			cc_deltas_clear();
			cc_late_forget();
			spilled = flushed = false;
			/* by now others see the records; those of a prepared transaction, utility.c */
			wake = event == XACT_EVENT_COMMIT && records_left > 0 && cc_delivery != DELIVERY_LOG;
			wrote = event == XACT_EVENT_COMMIT && records_written > 0;
			report_written(event != XACT_EVENT_ABORT);
			if (wake)
				cc_shared_wake();
			else if (wrote)
				cc_shared_ask();
			cc_table_stats_report();
			break;
		default:
			/* parallel workers can not write, so they never have a set */
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			nest = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		spill_released(nest);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		cc_buffer_subcommit(nest);
		cc_deltas_subcommit(nest);
		if (pending)
			cc_pending_subcommit(pending, nest);
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		cc_buffer_subabort(nest);
		cc_deltas_subabort(nest);
		if (pending)
			cc_pending_subabort(pending, nest);
	}
}

/* Register the callbacks; called once, from _PG_init. */
void
cc_flush_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
