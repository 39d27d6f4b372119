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

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/datetime.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct RecentPlan
{
	struct RecentPlan *next;
	Oid			relid;
	char		dimension[NAMEDATALEN];
	int			count;
	bool		stale;			/* set by the callback, and when it has failed */
	int			uses;			/* a policy's function may call a dashboard in its turn */
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

/*
 * Make the plan anew; a generic one, so that it is not planned each time.  It is
 * kept, unless the old one is being executed: then it is good for this time.
 */
static SPIPlanPtr
prepare(RecentPlan *plan, const CounterSource *source)
{
	Oid			type = TEXTOID;
	char	   *query;
	SPIPlanPtr	made;

	plan->stale = false;		/* before: what comes meanwhile counts */
	query = make_query(source, plan->dimension, plan->count);
	made = SPI_prepare_cursor(query, 1, &type, CURSOR_OPT_GENERIC_PLAN);
	if (made == NULL)
		elog(ERROR, "could not prepare the query of a dashboard");
	if (plan->uses > 1)
	{
		plan->stale = true;
		return made;
	}
	if (SPI_keepplan(made) != 0)
		elog(ERROR, "could not keep the query of a dashboard");
	if (plan->plan)
		SPI_freeplan(plan->plan);
	plan->plan = made;
	return made;
}

/* how a column's values become JSON */
typedef struct JsonColumn
{
	char	   *label;			/* quoted, with what is before and after it */
	Oid			type;
	bool		bare;			/* a number or boolean */
	FmgrInfo	output;
} JsonColumn;

static JsonColumn *
describe_columns(TupleDesc desc)
{
	JsonColumn *columns = palloc0(sizeof(JsonColumn) * desc->natts);

	for (int i = 1; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		StringInfoData label;
		Oid			output;
		bool		is_varlena;

		initStringInfo(&label);
		appendStringInfoString(&label, i > 1 ? ", " : "{");
		escape_json(&label, NameStr(att->attname));
		appendStringInfoString(&label, ": ");
		columns[i].label = label.data;
		columns[i].type = getBaseType(att->atttypid);
		columns[i].bare = columns[i].type == INT4OID || columns[i].type == INT8OID ||
			columns[i].type == INT2OID;
		getTypeOutputInfo(att->atttypid, &output, &is_varlena);
		fmgr_info(output, &columns[i].output);
	}
	return columns;
}

/* Times are written as JSON has them, the same in every session. */
static void
append_value(StringInfo json, JsonColumn *column, Datum value)
{
	char		text[MAXDATELEN + 1];
	int			utc = 0;

	switch (column->type)
	{
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			JsonEncodeDateTime(text, value, column->type, &utc);
			escape_json(json, text);
			break;
		default:
			if (column->bare)
				appendStringInfoString(json, OutputFunctionCall(&column->output, value));
			else
				escape_json(json, OutputFunctionCall(&column->output, value));
	}
}

/* SPI's rows as one JSON array, and the first one's tenant, in "context". */
static char *
join_rows(MemoryContext context, char **tenant)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	JsonColumn *columns = describe_columns(desc);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		heap_deform_tuple(SPI_tuptable->vals[row], desc, values, nulls);
		if (row == 0 && tenant && !nulls[0])
			*tenant = MemoryContextStrdup(context, TextDatumGetCString(values[0]));
		if (row > 0)
			appendStringInfoString(&json, ", ");
		for (int i = 1; i < desc->natts; i++)
		{
			appendStringInfoString(&json, columns[i].label);
			if (nulls[i])
				appendStringInfoString(&json, "null");
			else
				append_value(&json, &columns[i], values[i]);
		}
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return MemoryContextStrdup(context, json.data);
}

/* Execute the plan, made if need be. */
static char *
run(RecentPlan *plan, const CounterSource *source, const char *key, int count,
	Snapshot snapshot, MemoryContext context, char **tenant)
{
	Datum		value = CStringGetTextDatum(key);
	SPIPlanPtr	to_run;
	char	   *rows;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	to_run = plan->stale || plan->plan == NULL ? prepare(plan, source) : plan->plan;
	if (SPI_execute_snapshot(to_run, &value, NULL, snapshot, InvalidSnapshot, true, false,
							 count) != SPI_OK_SELECT)
		elog(ERROR, "the query of a dashboard is none");
	rows = join_rows(context, tenant);
	SPI_finish();
	return rows;
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
	RecentPlan *volatile plan;
	Relation	rel;
	Oid			user;
	int			security;
	int			nest;
	char	   *rows;
	bool		known = false;

	for (int i = 0; i < source->ndimensions; i++)
		known |= strcmp(source->dimensions[i], dimension) == 0;
	if (!known)
		return NULL;
	rel = table_open(source->relid, AccessShareLock);
	plan = find_plan(source, dimension, count);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(rel->rd_rel->relowner, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	/* what the table's own functions call by name is not for the caller to say */
	nest = cc_catalog_fix_search_path();
	/* for ten rows it costs more than it saves */
	(void) set_config_option("enable_memoize", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	plan->uses++;
	PG_TRY();
	{
		rows = run(plan, source, key, count, snapshot, context, tenant);
	}
	PG_CATCH();
	{
		plan->uses--;
		plan->stale = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	plan->uses--;
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(user, security);
	table_close(rel, AccessShareLock);
	return rows;
}
