/*-------------------------------------------------------------------------
 *
 * history.h
 *		clinicache.position_history: positions stored now and then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_HISTORY_H
#define CLINICACHE_HISTORY_H

#include "clinicache.h"

#include "datatype/timestamp.h"
#include "utils/snapshot.h"

typedef struct HistoryRow
{
	int64		id;
	TimestampTz at;
	char	   *position;
	bool		delivered;
} HistoryRow;

extern bool cc_history_lock(void);
extern bool cc_history_lock_soon(void);
extern bool cc_history_newest(HistoryRow *row, Snapshot snapshot, bool delivered);
extern bool cc_history_newest_before(HistoryRow *row, Snapshot snapshot, TimestampTz limit);
extern void cc_history_trim(Snapshot snapshot, int64 first, int64 delivered);
extern void cc_history_insert(const char *position, bool delivered);

#endif							/* CLINICACHE_HISTORY_H */
