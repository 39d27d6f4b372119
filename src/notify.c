/*-------------------------------------------------------------------------
 *
 * notify.c
 *		Handing messages to PostgreSQL's NOTIFY.
 *
 * NOTIFY sends at commit, in commit order, and drops what a transaction says
 * twice.  That order is what makes the "pos" of a message true: whatever a
 * snapshot shows has been queued before the transaction that took it.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "notify.h"

#include "commands/async.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/*
 * Is the notification queue fuller than clinicache.notify_queue_limit?  A full
 * queue would make commits fail.  Looked up at most once a second per backend,
 * since it takes a lock that all listeners use.
 */
bool
cc_notify_queue_is_full(void)
{
	static TimestampTz looked_up = 0;
	static double usage = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (cc_notify_queue_limit <= 0)
		return true;
	if (now - looked_up >= USECS_PER_SEC || now < looked_up)
	{
		usage = DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0));
		looked_up = now;
	}
	return usage > cc_notify_queue_limit;
}

static void
notify_payload(const char *payload, void *arg)
{
	NotifyCounts *counts = arg;

	Async_Notify(cc_channel, payload);
	counts->messages++;
	counts->bytes += strlen(payload);
}

/*
 * Queue the builder's messages for this transaction's commit.
 *
 * With clinicache.payload = position no tag leaves the database.  A message
 * with a position and no tags means "nothing was missed", so news go without:
 * they make the subscriber call changes(), which answers with a position.
 */
NotifyCounts
cc_notify_send(MessageBuilder *builder, const char *pos)
{
	NotifyCounts counts = {0};

	if (cc_payload == PAYLOAD_POSITION && !cc_message_is_empty(builder) &&
		!cc_message_is_reset(builder))
		notify_payload(cc_message_text(cc_message_begin(0), NULL), &counts);
	else
		cc_message_split(builder, pos, notify_payload, &counts);
	return counts;
}
