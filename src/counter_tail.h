/*-------------------------------------------------------------------------
 *
 * counter_tail.h
 *		Deltas that are not folded yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COUNTER_TAIL_H
#define CLINICACHE_COUNTER_TAIL_H

#include "clinicache.h"

#include "fold.h"
#include "log_scan.h"
#include "utils/snapshot.h"

extern void cc_tail_read(const FoldState *state, Snapshot snapshot, const char *tenant,
						 int tenant_len, DeltasVisit visit, void *arg);

#endif							/* CLINICACHE_COUNTER_TAIL_H */
