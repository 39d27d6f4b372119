/*-------------------------------------------------------------------------
 *
 * counter.h
 *		What a row contributes to counters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COUNTER_H
#define CLINICACHE_COUNTER_H

#include "postgres.h"
#include "cells.h"
#include "tracker.h"

typedef struct Contribution
{
	const char *name;			/* good until the next one is made */
	int			len;
	Numeric		sum;			/* NULL: none; in CurrentMemoryContext */
} Contribution;

/* called with each cell that a contribution belongs to; the key is not shortened again */
typedef void (*CellVisit) (const CellName *name, int64 n, Numeric sum, void *arg);

extern bool cc_counter_can_sum(const ValueType *type);
extern bool cc_counter_contribution(Tracker *tracker, CounterRule *rule, TenantZone *zone,
									const Datum *values, const bool *nulls,
									Contribution *contribution);
extern const char *cc_counter_tenant(Tracker *tracker, const Datum *values, const bool *nulls);
extern void cc_contribution_add(const Contribution *contribution, const char *tenant,
								int tenant_len, int n);
extern void cc_counter_change(Tracker *tracker, const Datum *old_values, const bool *old_nulls,
							  const Datum *new_values, const bool *new_nulls);
extern void cc_counter_distrust(const List *ids);
extern int32 cc_contribution_counter(const char *name);
extern void cc_contribution_expand(const PackedCell *packed, CellVisit visit, void *arg);
extern void cc_deltas_expand(bytea *deltas, CellVisit visit, void *arg);
extern void cc_cell_expand(const PackedCell *packed, CellVisit visit, void *arg);

#endif							/* CLINICACHE_COUNTER_H */
