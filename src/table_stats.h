/*-------------------------------------------------------------------------
 *
 * table_stats.h
 *		What each tracked table's triggers have done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_TABLE_STATS_H
#define CLINICACHE_TABLE_STATS_H

#include "clinicache.h"

#include "pending.h"

/* of one table in this backend, since it reported last */
typedef struct TableStats TableStats;

extern TableStats *cc_table_stats(Oid relid);
extern void cc_table_stats_add(TableStats *stats, PendingCounts added, int rows, int suppressed);
extern void cc_table_stats_report(void);
extern void cc_table_stats_trim(void);

#endif							/* CLINICACHE_TABLE_STATS_H */
