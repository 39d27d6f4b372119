/*-------------------------------------------------------------------------
 *
 * counter_source.h
 *		Which tables are counted: clinicache.counter_source.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COUNTER_SOURCE_H
#define CLINICACHE_COUNTER_SOURCE_H

#include "clinicache.h"

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "tracker.h"
#include "utils/snapshot.h"

/* rows of one table, counted since it was tracked, emptied or counted anew */
typedef struct CounterSource
{
	int32		id;
	char	   *counter;
	Oid			relid;
	int			ndimensions;
	char	  **dimensions;
	int			tenant_dimension;	/* whose key is the record's tenant; -1: none */
	char	   *timezone;		/* of tenants without one of their own */
	bool		valid;			/* false: count the table itself */
} CounterSource;

extern List *cc_sources_load(Snapshot snapshot);
extern CounterSource *cc_source_find(List *sources, int32 id);
extern List *cc_sources_lock_table(Oid relid, LOCKMODE lockmode);
extern List *cc_sources_lock_all(LOCKMODE lockmode);
extern List *cc_sources_of(List *sources, Oid relid);
extern CounterSource *cc_source_make(const Tracker *tracker, const CounterRule *rule);
extern List *cc_sources_ancestors(Oid relid);
extern void cc_sources_apply(Tracker *tracker, const List *sources);
extern void cc_sources_assign(Tracker *tracker, Oid relid);
extern void cc_sources_distrust(int32 id, const char *reason);
extern void cc_sources_truncated(Relation rel);

#endif							/* CLINICACHE_COUNTER_SOURCE_H */
