/*-------------------------------------------------------------------------
 *
 * init.c
 *		Module load: settings and the callbacks that live as long as the backend.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "class_label.h"
#include "counter_known.h"
#include "flush.h"
#include "invalidation_log.h"
#include "miscadmin.h"
#include "recent.h"
#include "shared.h"
#include "tenant_zone.h"
#include "tracker.h"
#include "worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Registers everything once; each callback returns at once when it has
 * nothing to do.  Nothing is registered per transaction.
 */
void
_PG_init(void)
{
	cc_guc_define();
	cc_tracker_init();
	cc_tenant_zone_init();
	cc_log_init();
	cc_flush_init();
	cc_class_init();
	cc_known_init();
	cc_recent_init();
	/* pg_upgrade counts on it that nobody writes behind its back */
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
	{
		cc_shared_init();
		cc_launcher_init();
		cc_utility_init();
	}
}
