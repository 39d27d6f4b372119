/*-------------------------------------------------------------------------
 *
 * counter_store.h
 *		Folded counters: clinicache.counter_cell and counter_batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COUNTER_STORE_H
#define CLINICACHE_COUNTER_STORE_H

#include "clinicache.h"

#include "access/genam.h"
#include "cells.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/date.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* periods that are no months */
#define PERIOD_ALL DATEVAL_NOBEGIN	/* all days together */
#define PERIOD_BEFORE ((DateADT) (DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE))	/* day -infinity */
#define PERIOD_NONE DATEVAL_NOEND	/* day infinity, or none */

/* counters of many keys share a batch's row: those with the same hash of the key */
#define BATCH_BUCKETS 64

/* the key of a row of counter_cell, but for the fold */
typedef struct StoreKey
{
	int32		counter;
	int			dimension;
	const char *key;
	int			key_len;
	DateADT		period;
} StoreKey;

typedef struct CellStore
{
	Relation	rel;
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc newest;		/* by the caller's snapshot */
	IndexScanDesc any;			/* by none; made when it is needed */
	LOCKMODE	lockmode;
	MemoryContext context;		/* where scans live */
} CellStore;

extern void cc_store_begin(CellStore *store, Snapshot snapshot, LOCKMODE lockmode);
extern void cc_store_end(CellStore *store);
extern bytea *cc_store_find(CellStore *store, const StoreKey *key, ItemPointer tid);
extern bool cc_store_is_split(bytea *cells);
extern bool cc_store_next_period(CellStore *store, StoreKey *key);
typedef void (*StoreVisit) (const StoreKey *key, const PackedCell *packed, void *arg);
extern void cc_store_visit(int32 counter, Snapshot snapshot, StoreVisit visit, void *arg);
extern void cc_store_trim(const List *ids, Snapshot snapshot);
extern DateADT cc_store_period(const CellName *name);
extern DateADT cc_store_next_month(DateADT month);
extern void cc_store_apply(CellSet *cells, int64 fold);

extern int	cc_batch_bucket(const char *key, int len);
extern void cc_batch_write(CellSet *cells, int64 fold);
typedef void (*BatchVisit) (const PackedCell *packed, void *arg);
extern Size cc_batch_read(int bucket, int64 after, int64 upto, Snapshot snapshot, bool remove,
						  BatchVisit visit, void *arg);

#endif							/* CLINICACHE_COUNTER_STORE_H */
