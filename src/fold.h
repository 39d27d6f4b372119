/*-------------------------------------------------------------------------
 *
 * fold.h
 *		From change records to folded counters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_FOLD_H
#define CLINICACHE_FOLD_H

#include "clinicache.h"

#include "position.h"
#include "utils/snapshot.h"

/* how far counters are folded */
typedef struct FoldState
{
	int64		fold;			/* 0: nothing was folded yet */
	int64		base;			/* the last fold that merged all batches before it */
	Position   *since;			/* what it saw; NULL: nothing */
	bool		own;			/* made by this transaction: it may come to nothing */
} FoldState;

extern void cc_fold_state(FoldState *state, Snapshot snapshot);
extern int64 cc_fold(bool merge);

#endif							/* CLINICACHE_FOLD_H */
