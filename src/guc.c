/*-------------------------------------------------------------------------
 *
 * guc.c
 *		The settings of clinicache.
 *
 * Whatever decides what subscribers are promised (delivery, channel, payload,
 * time zone) is PGC_SIGHUP: a session that could set its own channel would
 * make the "pos" of everybody's messages untrue.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include <limits.h>

#include "pgtime.h"
#include "shared.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

int			cc_delivery = DELIVERY_AUTO;
int			cc_payload = PAYLOAD_TAGS;
int			cc_on_error = ON_ERROR_RESET;
char	   *cc_channel = NULL;
char	   *cc_timezone = NULL;
int			cc_bulk_threshold = 1000;
int			cc_retention = 86400;
int			cc_log_max_size = 1024;
double		cc_notify_queue_limit = 0.5;
int			cc_coalesce_ms = 50;
int			cc_upkeep_interval = 30;
int			cc_clock_offset = 0;

static const struct config_enum_entry delivery_options[] = {
	{"auto", DELIVERY_AUTO, false},
	{"worker", DELIVERY_WORKER, false},
	{"commit", DELIVERY_COMMIT, false},
	{"log", DELIVERY_LOG, false},
	{NULL, 0, false}
};

static const struct config_enum_entry payload_options[] = {
	{"tags", PAYLOAD_TAGS, false},
	{"position", PAYLOAD_POSITION, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_error_options[] = {
	{"reset", ON_ERROR_RESET, false},
	{"error", ON_ERROR_ERROR, false},
	{NULL, 0, false}
};

/* LISTEN takes an identifier: NAMEDATALEN - 1 bytes at most, and not empty. */
static bool
check_channel(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] != '\0' && strlen(*newval) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("A channel name has 1 to %d bytes.", NAMEDATALEN - 1);
	return false;
}

static bool
check_timezone(char **newval, void **extra, GucSource source)
{
	if (pg_tzset(*newval) != NULL)
		return true;
	GUC_check_errdetail("Time zone \"%s\" is not known.", *newval);
	return false;
}

static void
define_delivery_settings(void)
{
	DefineCustomEnumVariable("clinicache.delivery",
							 "Who turns change records into notifications.",
							 "auto: the worker where it runs, else the committing session.",
							 &cc_delivery, DELIVERY_AUTO, delivery_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("clinicache.channel",
							   "The channel that subscribers LISTEN on.",
							   NULL, &cc_channel, "clinicache",
							   PGC_SIGHUP, 0, check_channel, NULL, NULL);
	DefineCustomEnumVariable("clinicache.payload",
							 "What a notification holds: the tags, or only a wake-up.",
							 "position: no tag leaves the database in a notification; "
							 "subscribers read them with clinicache.changes().",
							 &cc_payload, PAYLOAD_TAGS, payload_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("clinicache.coalesce_ms",
							"How long the worker lets change records gather, at most, to notify "
							"their tags merged.",
							"It waits only under load: half a millisecond for each record of the "
							"messages before.",
							&cc_coalesce_ms, 50, 0, 10000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomRealVariable("clinicache.notify_queue_limit",
							 "How full the notification queue may be before commits leave "
							 "their records to clinicache.maintain().",
							 "A fraction of the queue, 0 to 1.",
							 &cc_notify_queue_limit, 0.5, 0.0, 1.0,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_log_settings(void)
{
	DefineCustomIntVariable("clinicache.retention",
							"How long change records are kept for subscribers that are away.",
							NULL, &cc_retention, 86400, 0, INT_MAX / 4,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("clinicache.log_max_size",
							"Disk space of the invalidation log beyond which its oldest part goes, "
							"whatever the retention.",
							"Subscribers that were behind it are told to reset.",
							&cc_log_max_size, 1024, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
}

static void
define_upkeep_settings(void)
{
	DefineCustomIntVariable("clinicache.upkeep_interval",
							"How often the worker emits clock edges, empties old slots of the log "
							"and trims positions.",
							NULL, &cc_upkeep_interval, 30, 1, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_tracking_settings(void)
{
	DefineCustomStringVariable("clinicache.timezone",
							   "Time zone of tenants that clinicache.tenant does not name.",
							   NULL, &cc_timezone, "UTC",
							   PGC_SIGHUP, 0, check_timezone, NULL, NULL);
	DefineCustomIntVariable("clinicache.clock_offset",
							"Seconds that clinicache's clock is ahead of the server's, for tests.",
							"Moves windows, days of dashboards and clock edges; no recorded time.",
							&cc_clock_offset, 0, INT_MIN, INT_MAX,
							PGC_SUSET, GUC_UNIT_S | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							NULL, NULL, NULL);
	DefineCustomIntVariable("clinicache.bulk_threshold",
							"Different tags of one template in a transaction beyond which they "
							"collapse to the template's prefix.",
							NULL, &cc_bulk_threshold, 1000, 1, 1000000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("clinicache.on_error",
							 "What a change does whose table's configuration cannot be used.",
							 "reset: it passes, with a WARNING, and subscribers drop everything; "
							 "error: it fails.",
							 &cc_on_error, ON_ERROR_RESET, on_error_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
}

/*
 * Define all settings and reserve the prefix.  Called once, from _PG_init.
 */
void
cc_guc_define(void)
{
	define_delivery_settings();
	define_log_settings();
	define_upkeep_settings();
	define_tracking_settings();
	MarkGUCPrefixReserved("clinicache");
}

/*
 * What time it is for windows, dashboards and clock edges: now, as long as no
 * test has moved the clock.
 */
TimestampTz
cc_clock(void)
{
	return GetCurrentTimestamp() + (TimestampTz) cc_clock_offset * USECS_PER_SEC;
}

/*
 * The delivery in force.  "auto" means the worker while it gives signs of life,
 * else the committing session; an explicit "worker" leaves records to whoever
 * comes, be it maintain().
 */
DeliveryMode
cc_guc_delivery(void)
{
	if (cc_delivery != DELIVERY_AUTO)
		return (DeliveryMode) cc_delivery;
	return cc_shared_worker_lives(cc_shared_mine()) ? DELIVERY_WORKER : DELIVERY_COMMIT;
}
