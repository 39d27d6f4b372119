/*-------------------------------------------------------------------------
 *
 * delivery.h
 *		From change records to notifications, but for the committing session's own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_DELIVERY_H
#define CLINICACHE_DELIVERY_H

#include "clinicache.h"

#include "log_scan.h"
#include "notify.h"
#include "position.h"
#include "utils/snapshot.h"

/* up to where everything has been sent */
typedef struct Delivery
{
	bool		known;			/* false: nobody knows, so everybody has to reset */
	Position   *since;			/* NULL: nothing was sent yet */
} Delivery;

typedef struct DeliveryCounts
{
	LogScanCounts read;
	uint64		tags;			/* different ones among those read */
	NotifyCounts sent;
} DeliveryCounts;

extern void cc_delivery_resume(Delivery *delivery, Snapshot snapshot);
extern DeliveryCounts cc_delivery_send(const Delivery *delivery, Snapshot snapshot,
									   const char *pos);

#endif							/* CLINICACHE_DELIVERY_H */
