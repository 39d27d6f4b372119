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

extern void cc_tenant_zone_init(void);
extern void cc_tenant_zones_at(Snapshot snapshot);
extern TenantZone *cc_tenant_own_zone(const char *tenant, int len);
extern TenantZone *cc_tenant_zone(const char *tenant, int len);
extern void cc_zone_set(TenantZone *zone, pg_tz *tz);
extern Timestamp cc_zone_local(TenantZone *zone, TimestampTz instant);

#endif							/* CLINICACHE_TENANT_ZONE_H */
