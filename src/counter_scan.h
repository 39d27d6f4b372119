/*-------------------------------------------------------------------------
 *
 * counter_scan.h
 *		Counting the rows of a tracked table itself.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COUNTER_SCAN_H
#define CLINICACHE_COUNTER_SCAN_H

#include "clinicache.h"

#include "counter.h"
#include "counter_source.h"
#include "executor/tuptable.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* called with each row; false: enough of the tracker's table */
typedef bool (*RowVisit) (Tracker *tracker, TupleTableSlot *slot, void *arg);

extern Jsonb *cc_scan_config(Oid relid, bool missing_ok);
extern void cc_scan_rows(List *relids, Jsonb *config, List *sources, Snapshot snapshot,
						 RowVisit visit, void *arg);
extern int64 cc_scan_table(Oid relid, Jsonb *config, List *sources, Snapshot snapshot,
						   CellVisit visit, void *arg);
extern int64 cc_scan_initial(Oid relid, Jsonb *config, List *sources);

#endif							/* CLINICACHE_COUNTER_SCAN_H */
