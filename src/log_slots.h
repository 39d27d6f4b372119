/*-------------------------------------------------------------------------
 *
 * log_slots.h
 *		Emptying the log's slots, and the floor that tells readers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_LOG_SLOTS_H
#define CLINICACHE_LOG_SLOTS_H

#include "clinicache.h"

#include "position.h"

extern bool cc_floor_covers(const Position *since);
extern bool cc_floor_covers_fold(const Position *since);

/* positions up to which slots may go; NULL: none */
typedef struct SlotLimits
{
	const Position *expired;	/* past retention, and delivered */
	const Position *delivered;	/* delivered: may go when the log is too large */
	bool		counted;		/* there are counters: what is not folded has to stay */
	const Position *folded;		/* NULL: nothing was folded yet */
} SlotLimits;

extern int	cc_slots_empty(const SlotLimits *limits);

#endif							/* CLINICACHE_LOG_SLOTS_H */
