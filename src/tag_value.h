/*-------------------------------------------------------------------------
 *
 * tag_value.h
 *		Column values as text and as local time, whatever the session's settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_TAG_VALUE_H
#define CLINICACHE_TAG_VALUE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "tenant_zone.h"

/* what a placeholder does with its value; applied in the order written */
typedef enum TagFilter
{
	FILTER_DATE,
	FILTER_MONTH,
	FILTER_LOWER,
	FILTER_HASH
} TagFilter;

#define CC_MAX_FILTERS 4

/* how a type is turned into text; see cc_value_append */
typedef struct ValueType
{
	Oid			typid;			/* base type of a domain */
	bool		is_enum;
	bool		is_local;		/* configuration says: holds local wall time */
	FmgrInfo	output;			/* for types without a rendering of their own */
} ValueType;

extern void cc_value_type_init(ValueType *type, Oid typid, MemoryContext context);
extern bool cc_value_type_has_day(const ValueType *type);
extern bool cc_value_is_instant(const ValueType *type);
extern void cc_value_append(StringInfo buf, ValueType *type, Datum value);
extern bool cc_value_local(const ValueType *type, Datum value, TenantZone *zone,
						   Timestamp *local, bool *has_time);
extern bool cc_value_time_of_day(const ValueType *type, Datum value, int64 *usecs);

/* the pieces that tag() shares with the trigger */
extern bool cc_text_local_day(const char *text, int len, Timestamp *local);
extern void cc_append_day(StringInfo buf, Timestamp local, TagFilter filter);
extern void cc_append_hash(StringInfo buf, const char *text, int len);
extern void cc_append_lower(StringInfo buf, const char *text, int len);
extern void cc_tag_shorten(StringInfo buf, bool is_prefix);

#endif							/* CLINICACHE_TAG_VALUE_H */
