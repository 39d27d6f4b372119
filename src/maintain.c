/*-------------------------------------------------------------------------
 *
 * maintain.c
 *		Upkeep, called by the procedure maintain(): delivery of what commits left
 *		undelivered, the heartbeat, and emptying of old slots.
 *
 *		maintain_deliver()  newest delivered position P ─▶ records not visible at P
 *		                    ─▶ messages with the position S of now ─▶ history row S
 *		maintain_empty()    position of retention ago ─▶ slots all visible there
 *
 * The history is written by insertion only (a row updated each second would
 * bloat under an old snapshot) and trimmed behind the retention time.
 *
 * Locks: each takes ShareRowExclusiveLock on position_history, conditionally: if
 * another session is at it, there is nothing to do.  Snapshots are taken after
 * the lock, or they might miss what the session before has just written.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "catalog.h"
#include "log_scan.h"
#include "log_slots.h"
#include "notify.h"
#include "payload.h"
#include "position.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define Anum_history_id 1
#define Anum_history_at 2
#define Anum_history_position 3
#define Anum_history_delivered 4
#define Natts_history 4

#define DELIVER_MAX_TAGS 10000

typedef struct HistoryRow
{
	int64		id;
	TimestampTz at;
	char	   *position;
	bool		delivered;
} HistoryRow;

PG_FUNCTION_INFO_V1(clinicache_maintain_deliver);
PG_FUNCTION_INFO_V1(clinicache_maintain_empty);

static void
read_row(HistoryRow *row, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;

	row->id = DatumGetInt64(heap_getattr(tuple, Anum_history_id, desc, &isnull));
	row->at = DatumGetTimestampTz(heap_getattr(tuple, Anum_history_at, desc, &isnull));
	row->position = TextDatumGetCString(heap_getattr(tuple, Anum_history_position, desc, &isnull));
	row->delivered = DatumGetBool(heap_getattr(tuple, Anum_history_delivered, desc, &isnull));
}

/* The newest row, or the newest that was delivered; false: there is none. */
static bool
newest_row(HistoryRow *row, Snapshot snapshot, bool delivered)
{
	TableReader reader;
	HeapTuple	tuple;
	bool		found = false;

	cc_reader_begin(&reader, CC_TABLE_HISTORY, snapshot);
	while (!found && HeapTupleIsValid(tuple = cc_reader_next(&reader, BackwardScanDirection)))
	{
		read_row(row, tuple, RelationGetDescr(reader.rel));
		found = row->delivered || !delivered;
	}
	cc_reader_end(&reader);
	return found;
}

/* The newest row not after "limit"; trimming leaves few before it. */
static bool
newest_row_before(HistoryRow *row, Snapshot snapshot, TimestampTz limit)
{
	TableReader reader;
	HeapTuple	tuple;
	HistoryRow	next;
	bool		found = false;

	cc_reader_begin(&reader, CC_TABLE_HISTORY, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, ForwardScanDirection)))
	{
		read_row(&next, tuple, RelationGetDescr(reader.rel));
		if (next.at > limit)
			break;
		*row = next;
		found = true;
	}
	cc_reader_end(&reader);
	return found;
}

/* Delete rows older than "first", but for the one where delivery goes on. */
static void
trim_history(Snapshot snapshot, int64 first, int64 delivered)
{
	TableReader reader;
	HeapTuple	tuple;
	HistoryRow	row;

	cc_reader_begin(&reader, CC_TABLE_HISTORY, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, ForwardScanDirection)))
	{
		read_row(&row, tuple, RelationGetDescr(reader.rel));
		if (row.id >= first)
			break;
		if (row.id != delivered)
			simple_heap_delete(reader.rel, &tuple->t_self);
		pfree(row.position);
	}
	cc_reader_end(&reader);
}

static void
insert_row(const char *position, bool delivered)
{
	Datum		values[Natts_history];
	bool		nulls[Natts_history] = {false};

	values[Anum_history_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_history_position - 1] = CStringGetTextDatum(position);
	values[Anum_history_delivered - 1] = BoolGetDatum(delivered);
	cc_catalog_insert_numbered(CC_TABLE_HISTORY, Natts_history, values, nulls);
}

/* Is this session to do the upkeep?  The lock is kept to the end of the transaction. */
static bool
lock_history(void)
{
	cc_catalog_require_primary();
	return ConditionalLockRelationOid(cc_catalog_relid(CC_TABLE_HISTORY), ShareRowExclusiveLock);
}

/*
 * Notify what is visible in the snapshot and was not delivered, with the
 * snapshot's position "pos".  Without a row of history all of the log counts.
 */
static void
deliver(Snapshot snapshot, const char *pos)
{
	MessageBuilder *builder = cc_message_begin(DELIVER_MAX_TAGS);
	LogScanFilter filter = {.only_undelivered = true};
	Position   *since = NULL;
	HistoryRow	row;
	bool		known = true;

	if (newest_row(&row, snapshot, true))
	{
		since = cc_position_parse(row.position, true);
		known = since != NULL && cc_position_history_ok(since);
	}
	if (known && cc_floor_covers(since))
		cc_log_scan(since, snapshot, &filter, builder);
	if (!known || !cc_floor_covers(since))
		cc_message_set_reset(builder);
	cc_notify_send(builder, pos);
}

/*
 * maintain_deliver() -> void
 *		Delivers what commits left undelivered (prepared transactions, a full
 *		queue) and records how far delivery is; the message is the heartbeat too.
 */
Datum
clinicache_maintain_deliver(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;
	bool		delivers;
	char	   *pos;

	if (!lock_history())
		PG_RETURN_VOID();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	pos = cc_position_text(cc_position_from_snapshot(snapshot, true));
	delivers = cc_guc_delivery() != DELIVERY_LOG && !cc_notify_queue_is_full();
	if (delivers)
		deliver(snapshot, pos);
	insert_row(pos, delivers);
	UnregisterSnapshot(snapshot);
	PG_RETURN_VOID();
}

/* A row's position, or NULL if it is of another history. */
static Position *
own_position(const HistoryRow *row, const char *epoch)
{
	Position   *position = cc_position_parse(row->position, true);

	return position != NULL && strcmp(position->epoch, epoch) == 0 ? position : NULL;
}

/*
 * Up to where may slots go?  Records that are still to be delivered stay, unless
 * nobody delivers (mode log).
 */
static void
find_limits(SlotLimits *limits, Snapshot snapshot)
{
	bool		delivers = cc_guc_delivery() != DELIVERY_LOG;
	TimestampTz expiry = GetCurrentTimestamp() - (TimestampTz) cc_retention * USECS_PER_SEC;
	Identity	identity;
	HistoryRow	expired;
	HistoryRow	newest;
	HistoryRow	delivered;

	memset(limits, 0, sizeof(SlotLimits));
	cc_catalog_identity(&identity);
	if (!newest_row(&newest, snapshot, delivers))
		return;
	limits->delivered = own_position(&newest, identity.epoch);
	if (limits->delivered == NULL || !newest_row_before(&expired, snapshot, expiry))
		return;
	limits->expired = own_position(&expired, identity.epoch);
	/* delivery is behind: the floor must not pass it, or it would have to reset */
	if (limits->expired != NULL && cc_position_includes(limits->expired, limits->delivered))
		limits->expired = limits->delivered;
	if (!newest_row(&delivered, snapshot, true))
		delivered.id = 0;
	trim_history(snapshot, expired.id, delivered.id);
}

/*
 * maintain_empty() -> int
 *		Empties slots that are past retention; returns how many.
 */
Datum
clinicache_maintain_empty(PG_FUNCTION_ARGS)
{
	SlotLimits	limits;
	Snapshot	snapshot;
	int			count;

	if (!lock_history())
		PG_RETURN_INT32(0);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	find_limits(&limits, snapshot);
	UnregisterSnapshot(snapshot);
	count = cc_slots_empty(&limits);
	PG_RETURN_INT32(count);
}
