/*-------------------------------------------------------------------------
 *
 * invalidation_log.h
 *		The log of change records: appending, scanning.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_INVALIDATION_LOG_H
#define CLINICACHE_INVALIDATION_LOG_H

#include "postgres.h"
#include "access/transam.h"
#include "datatype/timestamp.h"
#include "utils/array.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* one row to write; tags are ordered by profile */
typedef struct LogRecord
{
	const char *tenant;			/* NULL: for everybody */
	int			tenant_len;
	const char *origin;			/* may be NULL */
	ArrayType  *tags;			/* text[], NULL: none */
	const char *profiles;		/* each with its number of tags: "seconds:15,hours:1" */
	ArrayType  *prefixes;		/* text[], NULL: none */
	bytea	   *deltas;			/* of counters, packed; NULL: none */
	bool		delivered;
} LogRecord;

typedef struct LogWriter LogWriter;

extern void cc_log_init(void);
extern LogWriter *cc_log_begin_write(void);
extern void cc_log_append(LogWriter *writer, const LogRecord *record);
extern void cc_log_end_write(LogWriter *writer);

#endif							/* CLINICACHE_INVALIDATION_LOG_H */
