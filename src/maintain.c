/*-------------------------------------------------------------------------
 *
 * maintain.c
 *		Upkeep, called by the procedure maintain() and by the worker.
 *
 *		maintain_deliver()  what nobody delivered ─▶ delivery.c ─▶ history row
 *		maintain_fold()     fold.c
 *		maintain_empty()    position of retention ago ─▶ slots all visible there
 *
 * Both take the history's lock (history.c).
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "catalog.h"
#include "counter_source.h"
#include "delivery.h"
#include "fold.h"
#include "history.h"
#include "log_slots.h"
#include "miscadmin.h"
#include "notify.h"
#include "position.h"
#include "shared.h"
#include "table_stats.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(clinicache_maintain_deliver);
PG_FUNCTION_INFO_V1(clinicache_maintain_empty);

/*
 * maintain_deliver() -> void
 *		Delivers what commits left undelivered (prepared transactions, a full
 *		queue) and records how far delivery is; the message is the heartbeat too.
 *		Where there is a worker, it is asked to, and waited for.
 */
Datum
clinicache_maintain_deliver(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;
	bool		delivers;
	char	   *pos;

	if (cc_shared_deliver_now())
		PG_RETURN_VOID();
	if (!cc_history_lock_soon())
		PG_RETURN_VOID();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	pos = cc_position_text(cc_position_from_snapshot(snapshot, true));
	delivers = cc_guc_delivery() != DELIVERY_LOG && !cc_notify_queue_is_full();
	if (delivers)
	{
		Delivery	delivery;

		cc_delivery_resume(&delivery, snapshot);
		(void) cc_delivery_send(&delivery, snapshot, pos);
	}
	cc_history_insert(pos, delivers);
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
 * Counters need what was not folded: the later of the two does not count.  NULL if
 * that can not be told.
 */
static const Position *
not_after_fold(const Position *position, const SlotLimits *limits)
{
	if (position == NULL || !limits->counted)
		return position;
	if (limits->folded == NULL)
		return NULL;
	if (cc_position_includes(limits->folded, position))
		return position;
	return cc_position_includes(position, limits->folded) ? limits->folded : NULL;
}

static void
find_folded(SlotLimits *limits, Snapshot snapshot, const Identity *identity)
{
	FoldState	state;

	limits->counted = cc_sources_load(snapshot) != NIL;
	if (!limits->counted)
		return;
	cc_fold_state(&state, snapshot);
	if (state.since == NULL)
		return;
	/* as a floor it has to tell whose it is */
	memcpy(state.since->epoch, identity->epoch, CC_EPOCH_SIZE);
	state.since->dboid = MyDatabaseId;
	limits->folded = state.since;
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
	find_folded(limits, snapshot, &identity);
	if (!cc_history_newest(&newest, snapshot, delivers))
		return;
	limits->delivered = not_after_fold(own_position(&newest, identity.epoch), limits);
	if (limits->delivered == NULL || !cc_history_newest_before(&expired, snapshot, expiry))
		return;
	limits->expired = own_position(&expired, identity.epoch);
	/* delivery is behind: the floor must not pass it, or it would have to reset */
	if (limits->expired != NULL && cc_position_includes(limits->expired, limits->delivered))
		limits->expired = limits->delivered;
	limits->expired = not_after_fold(limits->expired, limits);
	if (!cc_history_newest(&delivered, snapshot, true))
		delivered.id = 0;
	cc_history_trim(snapshot, expired.id, delivered.id);
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

	if (!cc_history_lock_soon())
		PG_RETURN_INT32(0);
	cc_table_stats_trim();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	find_limits(&limits, snapshot);
	UnregisterSnapshot(snapshot);
	count = cc_slots_empty(&limits);
	PG_RETURN_INT32(count);
}
