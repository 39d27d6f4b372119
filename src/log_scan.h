/*-------------------------------------------------------------------------
 *
 * log_scan.h
 *		Reading the log between a position and a snapshot; its columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_LOG_SCAN_H
#define CLINICACHE_LOG_SCAN_H

#include "clinicache.h"

#include "payload.h"
#include "position.h"
#include "utils/snapshot.h"

/* columns of clinicache.invalidation_log and its slots */
#define Anum_log_xid 1
#define Anum_log_tenant 2
#define Anum_log_at 3
#define Anum_log_origin 4
#define Anum_log_tags 5
#define Anum_log_profiles 6
#define Anum_log_prefixes 7
#define Anum_log_deltas 8
#define Anum_log_delivered 9
#define Natts_log 9

/* does a record of this tenant (NULL: of none) count? */
typedef bool (*TenantTest) (const char *tenant, int len, void *arg);

typedef struct LogScanFilter
{
	TenantTest	test;			/* NULL: all count */
	void	   *arg;
	bool		only_undelivered;
} LogScanFilter;

/* what the filter let pass */
typedef struct LogScanCounts
{
	uint64		records;
	uint64		tags;			/* in all records together; prefixes too */
} LogScanCounts;

/* is given what a record does to counters */
typedef void (*DeltasVisit) (bytea *deltas, void *arg);

typedef void (*RecordVisit) (bytea *deltas, FullTransactionId xid, const char *tenant, int len,
							 void *arg);

extern void cc_log_scan_all_deltas(const Position *since, Snapshot snapshot,
								   RecordVisit visit, void *arg);
extern uint64 cc_log_scan_deltas(const Position *since, Snapshot snapshot,
								 const char *tenant, int tenant_len, bool own,
								 DeltasVisit visit, void *arg);
extern LogScanCounts cc_log_scan(const Position *since, Snapshot snapshot,
								 const LogScanFilter *filter, MessageBuilder *builder);

#endif							/* CLINICACHE_LOG_SCAN_H */
