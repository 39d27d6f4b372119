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

/* queue the builder's messages for this transaction's commit; honours clinicache.payload; pos may be NULL */
extern void cc_notify_send(MessageBuilder *builder, const char *pos);

#endif							/* CLINICACHE_NOTIFY_H */
