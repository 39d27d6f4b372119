/*-------------------------------------------------------------------------
 *
 * edge.h
 *		Clock edges: tags that change meaning though no row changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_EDGE_H
#define CLINICACHE_EDGE_H

#include "clinicache.h"

#include "datatype/timestamp.h"
#include "utils/snapshot.h"

/* what was done, for all tables */
typedef struct EdgeCounts
{
	int			tables;			/* that have edges at all */
	uint64		tags;
} EdgeCounts;

extern EdgeCounts cc_edges_emit(TimestampTz from, TimestampTz to, TransactionId since,
								Snapshot snapshot);

#endif							/* CLINICACHE_EDGE_H */
