/*-------------------------------------------------------------------------
 *
 * delivery.c
 *		From change records to notifications, but for the committing session's own.
 *
 *		since ─▶ records not visible there, visible in the snapshot, undelivered
 *		      ─▶ one set of tags ─▶ NOTIFY, with the snapshot's position
 *
 * The notifications go out when the transaction commits.  Only then may the
 * caller go on from the snapshot; after an error it repeats, and subscribers see
 * some tags twice.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "delivery.h"

#include "history.h"
#include "log_slots.h"
#include "payload.h"

/* more tags than that go out as prefixes */
#define DELIVER_MAX_TAGS 50000

/*
 * Find out where delivery stopped.  Without a row of history all of the log
 * counts.  Allocates in CurrentMemoryContext.
 */
void
cc_delivery_resume(Delivery *delivery, Snapshot snapshot)
{
	HistoryRow	row;

	delivery->since = NULL;
	delivery->known = true;
	if (!cc_history_newest(&row, snapshot, true))
		return;
	delivery->since = cc_position_parse(row.position, true);
	delivery->known = delivery->since != NULL && cc_position_history_ok(delivery->since);
}

/*
 * Notify what is visible in the snapshot and was not delivered; "pos", the
 * snapshot's position, goes along unless it is NULL.  With it there is always a
 * message, without it only if there is news.
 */
DeliveryCounts
cc_delivery_send(const Delivery *delivery, Snapshot snapshot, const char *pos)
{
	MessageBuilder *builder = cc_message_begin(DELIVER_MAX_TAGS);
	LogScanFilter filter = {.only_undelivered = true};
	DeliveryCounts counts;

	memset(&counts, 0, sizeof(counts));
	if (delivery->known)
		counts.read = cc_log_scan(delivery->since, snapshot, &filter, builder);
	/* afterwards: what was emptied meanwhile shows in no snapshot, only in the floor */
	if (!delivery->known || !cc_floor_covers(delivery->since))
		cc_message_set_reset(builder);
	counts.tags = cc_message_count(builder);
	if (pos != NULL || !cc_message_is_empty(builder))
		counts.sent = cc_notify_send(builder, pos);
	return counts;
}
