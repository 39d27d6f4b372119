/*-------------------------------------------------------------------------
 *
 * recent.c
 *		The newest rows of a counted table, for dashboards.
 *
 * The query is made by clinicache._recent_query(), which looks at the table's
 * columns and foreign keys; it names every object with its schema.  Its plan is
 * kept until the table changes, or until it fails.  It runs as the table's owner,
 * security-restricted: who may call a dashboard need not be allowed to read the
 * table.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "recent.h"

#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct RecentPlan
{
	struct RecentPlan *next;
	Oid			relid;
	char		dimension[NAMEDATALEN];
	int			count;
	bool		stale;			/* set by the callback */
	bool		running;		/* still set: it has failed */
	SPIPlanPtr	plan;
} RecentPlan;

static RecentPlan *plans = NULL;	/* in TopMemoryContext */

static void
recent_relcache_callback(Datum arg, Oid relid)
{
	for (RecentPlan *plan = plans; plan; plan = plan->next)
		plan->stale |= plan->relid == relid || !OidIsValid(relid);
}

/* Register the callback; called once, from _PG_init. */
void
cc_recent_init(void)
{
	CacheRegisterRelcacheCallback(recent_relcache_callback, (Datum) 0);
}

/* The text of the query, by the extension's owner. */
static char *
make_query(const CounterSource *source, const char *dimension, int count)
{
	Oid			types[] = {REGCLASSOID, TEXTOID, TEXTOID, INT4OID};
	Datum		values[] = {ObjectIdGetDatum(source->relid), CStringGetTextDatum(source->counter),
	CStringGetTextDatum(dimension), Int32GetDatum(count)};
	Oid			user;
	int			security;
	char	   *query;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(cc_catalog_owner(), security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	if (SPI_execute_with_args("SELECT clinicache._recent_query($1, $2, $3, $4)", 4, types, values,
							  NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not make the query of a dashboard");
	query = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SetUserIdAndSecContext(user, security);
	if (query == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not tracked as it was counted",
						get_rel_name(source->relid)),
				 errhint("Track it again with clinicache.track().")));
	return query;
}

static RecentPlan *
find_plan(const CounterSource *source, const char *dimension, int count)
{
	RecentPlan *plan;

	for (plan = plans; plan; plan = plan->next)
		if (plan->relid == source->relid && plan->count == count &&
			strcmp(plan->dimension, dimension) == 0)
			return plan;
	plan = MemoryContextAllocZero(TopMemoryContext, sizeof(RecentPlan));
	plan->relid = source->relid;
	strlcpy(plan->dimension, dimension, NAMEDATALEN);
	plan->count = count;
	plan->stale = true;
	plan->next = plans;
	plans = plan;
	return plan;
}

/* Make the plan anew; a generic one, so that it is not planned each time. */
static void
prepare(RecentPlan *plan, const CounterSource *source)
{
	Oid			type = TEXTOID;
	char	   *query = make_query(source, plan->dimension, plan->count);
	SPIPlanPtr	made = SPI_prepare_cursor(query, 1, &type, CURSOR_OPT_GENERIC_PLAN);

	if (made == NULL || SPI_keepplan(made) != 0)
		elog(ERROR, "could not prepare the query of a dashboard");
	if (plan->plan)
		SPI_freeplan(plan->plan);
	plan->plan = made;
}

/*
 * The rows as a JSON array, in the caller's context; "tenant", if not NULL, is set
 * to that of the newest row.  NULL if the table can not be asked by the dimension.
 */
char *
cc_recent_rows(const CounterSource *source, const char *dimension, const char *key, int count,
			   Snapshot snapshot, char **tenant)
{
	MemoryContext context = CurrentMemoryContext;
	RecentPlan *plan;
	Relation	rel;
	Oid			user;
	int			security;
	Datum		value = CStringGetTextDatum(key);
	char	   *rows = NULL;
	bool		known = false;
	int			result;

	for (int i = 0; i < source->ndimensions; i++)
		known |= strcmp(source->dimensions[i], dimension) == 0;
	if (!known)
		return NULL;
	rel = table_open(source->relid, AccessShareLock);
	plan = find_plan(source, dimension, count);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(rel->rd_rel->relowner, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	if (plan->stale || plan->running)
	{
		plan->stale = false;	/* before: what comes meanwhile counts */
		prepare(plan, source);
	}
	plan->running = true;
	result = SPI_execute_snapshot(plan->plan, &value, NULL, snapshot, InvalidSnapshot, true,
								  false, 1);
	plan->running = false;
	if (result == SPI_OK_SELECT && SPI_processed == 1)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);

		rows = text ? MemoryContextStrdup(context, text) : NULL;
		text = tenant ? SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
		if (text)
			*tenant = MemoryContextStrdup(context, text);
		MemoryContextSwitchTo(old);
	}
	SetUserIdAndSecContext(user, security);
	SPI_finish();
	table_close(rel, AccessShareLock);
	return rows;
}
