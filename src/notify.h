/*-------------------------------------------------------------------------
 *
 * notify.h
 *		Handing messages to PostgreSQL's NOTIFY.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_NOTIFY_H
#define CLINICACHE_NOTIFY_H

#include "payload.h"

/* is the notification queue fuller than clinicache.notify_queue_limit? (looked up at most once a second) */
extern bool cc_notify_queue_is_full(void);

typedef struct NotifyCounts
{
	uint64		messages;
	uint64		bytes;
} NotifyCounts;

/* queue the builder's messages for this transaction's commit; honours clinicache.payload; pos may be NULL */
extern NotifyCounts cc_notify_send(MessageBuilder *builder, const char *pos);

#endif							/* CLINICACHE_NOTIFY_H */
