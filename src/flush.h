/*-------------------------------------------------------------------------
 *
 * flush.h
 *		This transaction's pending set, and its way into the log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_FLUSH_H
#define CLINICACHE_FLUSH_H

#include "pending.h"

extern void cc_flush_init(void);
extern void cc_flush_spill_deltas(void);
extern void cc_flush_late_deltas(void);

/* may tags go to the buffer (tag_buffer.h) instead of the set? */
extern bool cc_flush_buffers(void);

/* is it the transaction's set, rather than a dry run's? */
extern bool cc_flush_is_pending(const PendingSet *set);

/* the transaction's set, made at first use */
extern PendingSet *cc_flush_pending(void);

/* the same, but NULL if nothing was added yet */
extern PendingSet *cc_flush_pending_if_any(void);

#endif							/* CLINICACHE_FLUSH_H */
