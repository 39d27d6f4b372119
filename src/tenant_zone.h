/*-------------------------------------------------------------------------
 *
 * tenant_zone.h
 *		Time zones of tenants, and what the clock says there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_TENANT_ZONE_H
#define CLINICACHE_TENANT_ZONE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/snapshot.h"

/* one time zone, with the stretch of time for which its offset is known */
typedef struct TenantZone
{
	pg_tz	   *zone;
	TimestampTz from;			/* offset holds in [from, to) */
	TimestampTz to;
	int64		offset;			/* microseconds east of UTC */
} TenantZone;

/* what clocks show from one instant to a later one */
typedef struct ZoneSweep
{
	Timestamp	from_day;		/* midnights that began the days at both ends */
	Timestamp	to_day;
	Timestamp	low;			/* wall times between, those before and after each */
	Timestamp	high;			/* change of the offset too */
} ZoneSweep;

/* the same of all zones in use */
typedef struct ZoneSpan
{
	bool		days;			/* the date changes in one of them */
	Timestamp	low;
	Timestamp	high;
} ZoneSpan;

extern void cc_tenant_zone_init(void);
extern void cc_tenant_zones_at(Snapshot snapshot);
extern TenantZone *cc_tenant_own_zone(const char *tenant, int len);
extern bool cc_tenants_have_zones(void);
extern TenantZone *cc_tenant_zone(const char *tenant, int len);
extern uint64 cc_tenant_zone_version(void);
extern void cc_zone_set(TenantZone *zone, pg_tz *tz);
extern Timestamp cc_zone_local(TenantZone *zone, TimestampTz instant);
extern void cc_zone_sweep(TenantZone *zone, TimestampTz from, TimestampTz to, ZoneSweep *sweep);
extern void cc_zone_span(TimestampTz from, TimestampTz to, ZoneSpan *span);
extern TimestampTz cc_zone_next_midnight(TimestampTz now);

/* The midnight that began the day of a wall time. */
static inline Timestamp
cc_day_start(Timestamp local)
{
	return local - (local % USECS_PER_DAY + USECS_PER_DAY) % USECS_PER_DAY;
}

#endif							/* CLINICACHE_TENANT_ZONE_H */
