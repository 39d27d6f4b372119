/*-------------------------------------------------------------------------
 *
 * clinicache.h
 *		Names that every module shares: the schema, its tables, the settings.
 *
 * Nothing here holds state; each module's own header declares its functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_H
#define CLINICACHE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "fmgr.h"

#define CC_SCHEMA "clinicache"
#define CC_EXTENSION "clinicache"
#define CC_TABLE_LOG "invalidation_log"
#define CC_TABLE_FLOOR "log_floor"
#define CC_TABLE_HISTORY "position_history"
#define CC_TABLE_EDGES "edge_history"
#define CC_TABLE_MOVES "parent_move"
#define CC_TABLE_IDENTITY "identity"
#define CC_TABLE_TENANT "tenant"
#define CC_TABLE_SUBSCRIBER "subscriber"
#define CC_TABLE_CLASS "class"
#define CC_TABLE_SOURCE "counter_source"
#define CC_TABLE_INVALID "counter_invalid"
#define CC_TABLE_FOLD "counter_fold"
#define CC_TABLE_BATCH "counter_batch"
#define CC_TABLE_CELL "counter_cell"

/* children of the invalidation log, see invalidation_log.c */
#define CC_LOG_SLOTS 8

/*
 * The longest tag, in UTF-16 units: Next.js ignores tags whose JavaScript
 * length is greater.  Longer ones keep CC_TAG_KEEP units and end in a hash.
 */
#define CC_TAG_MAX 256
#define CC_TAG_HASH_DIGITS 16
#define CC_TAG_KEEP (CC_TAG_MAX - 1 - CC_TAG_HASH_DIGITS)

#define CC_PROFILE_DEFAULT "default"
#define CC_PROFILE_DEFAULT_SECONDS 900

typedef enum DeliveryMode
{
	DELIVERY_AUTO,
	DELIVERY_WORKER,
	DELIVERY_COMMIT,
	DELIVERY_LOG
} DeliveryMode;

typedef enum PayloadMode
{
	PAYLOAD_TAGS,
	PAYLOAD_POSITION
} PayloadMode;

typedef enum OnError
{
	ON_ERROR_RESET,
	ON_ERROR_ERROR
} OnError;

/* settings, guc.c; all but bulk_threshold and on_error are PGC_SIGHUP */
extern int	cc_delivery;
extern int	cc_payload;
extern int	cc_on_error;
extern char *cc_channel;
extern char *cc_timezone;
extern int	cc_bulk_threshold;
extern int	cc_retention;
extern int	cc_log_max_size;
extern double cc_notify_queue_limit;
extern int	cc_coalesce_ms;
extern int	cc_upkeep_interval;
extern int	cc_clock_offset;

extern void cc_guc_define(void);
extern TimestampTz cc_clock(void);

/* the delivery in force: resolves "auto" */
extern DeliveryMode cc_guc_delivery(void);

#endif							/* CLINICACHE_H */
