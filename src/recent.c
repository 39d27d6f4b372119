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
#include "json_build.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/datetime.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* how a column's values become JSON */
typedef struct JsonColumn
{
	int			attno;
	NameData	name;
	Oid			declared;		/* its type; "type" is what that is a domain over */
	Oid			type;
	FmgrInfo	output;
} JsonColumn;

typedef struct RecentPlan
{
	struct RecentPlan *next;
	Oid			relid;
	char		dimension[NAMEDATALEN];
	int			count;
	bool		stale;			/* set by the callback, and when it has failed */
	int			uses;			/* a policy's function may call a dashboard in its turn */
	SPIPlanPtr	plan;
	MemoryContext columns_context;
	int			ncolumns;		/* of the result when it was executed last; -1: not known */
	JsonColumn *columns;
} RecentPlan;

/* where the query's rows go */
typedef struct RecentReceiver
{
	DestReceiver receiver;
	RecentPlan *plan;
	MemoryContext context;		/* of the caller: for what is handed back */
	JsonbParseState **json;		/* NULL: only the tenant is wanted */
	char	  **tenant;			/* NULL: it is not */
	JsonColumn *columns;
	uint64		rows;
} RecentReceiver;

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
	plan->ncolumns = -1;
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
	/* for ten rows it costs more than it saves; the setting ends with the caller's */
	(void) set_config_option("enable_memoize", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
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

/* As jsonb orders keys: what comes in order need not be sorted for each row. */
static int
compare_columns(const void *a, const void *b)
{
	const JsonColumn *x = a;
	const JsonColumn *y = b;
	int			difference = (int) strlen(NameStr(x->name)) - (int) strlen(NameStr(y->name));

	if (difference == 0)
		difference = strcmp(NameStr(x->name), NameStr(y->name));
	return difference != 0 ? difference : x->attno - y->attno;
}

/* All but the first, which is the tenant. */
static void
describe_columns(TupleDesc desc, JsonColumn *columns)
{
	for (int i = 0; i < desc->natts - 1; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i + 1);
		Oid			output;
		bool		is_varlena;

		columns[i].attno = att->attnum;
		columns[i].name = att->attname;
		columns[i].declared = att->atttypid;
		columns[i].type = getBaseType(att->atttypid);
		getTypeOutputInfo(att->atttypid, &output, &is_varlena);
		fmgr_info(output, &columns[i].output);
	}
	qsort(columns, desc->natts - 1, sizeof(JsonColumn), compare_columns);
}

static bool
columns_are(const RecentPlan *plan, TupleDesc desc)
{
	if (plan->ncolumns != desc->natts - 1)
		return false;
	for (int i = 0; i < plan->ncolumns; i++)
	{
		JsonColumn *column = &plan->columns[i];
		Form_pg_attribute att = TupleDescAttr(desc, column->attno - 1);

		if (column->declared != att->atttypid ||
			strcmp(NameStr(column->name), NameStr(att->attname)) != 0)
			return false;
	}
	return true;
}

/*
 * The columns of the result, which may change as the table does.  Kept with the plan,
 * unless another execution of it is under way.
 */
static JsonColumn *
find_columns(RecentPlan *plan, TupleDesc desc)
{
	JsonColumn *columns;
	MemoryContext old;

	if (columns_are(plan, desc))
		return plan->columns;
	if (plan->uses > 1)
	{
		columns = palloc0(sizeof(JsonColumn) * desc->natts);
		describe_columns(desc, columns);
		return columns;
	}
	plan->ncolumns = -1;		/* should it fail below */
	if (plan->columns_context)
		MemoryContextReset(plan->columns_context);
	else
		plan->columns_context = AllocSetContextCreate(TopMemoryContext, "clinicache dashboard rows",
													  ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(plan->columns_context);
	columns = palloc0(sizeof(JsonColumn) * desc->natts);
	describe_columns(desc, columns);
	MemoryContextSwitchTo(old);
	plan->columns = columns;
	plan->ncolumns = desc->natts - 1;
	return columns;
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	RecentReceiver *receiver = (RecentReceiver *) self;

	receiver->columns = find_columns(receiver->plan, desc);
}

/* Numbers are numbers; times are written as JSON has them, the same in every session. */
static void
put_value(JsonbParseState **json, JsonColumn *column, Datum value)
{
	char	   *text;
	int			utc = 0;

	switch (column->type)
	{
		case INT2OID:
			cc_json_int(json, DatumGetInt16(value));
			return;
		case INT4OID:
			cc_json_int(json, DatumGetInt32(value));
			return;
		case INT8OID:
			cc_json_int(json, DatumGetInt64(value));
			return;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			text = palloc(MAXDATELEN + 1);
			JsonEncodeDateTime(text, value, column->type, &utc);
			break;
		default:
			text = OutputFunctionCall(&column->output, value);
	}
	cc_json_text(json, text, strlen(text));
}

/* Put a row as a JSON object; its first column is the tenant. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RecentReceiver *receiver = (RecentReceiver *) self;
	JsonbParseState **json = receiver->json;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	slot_getallattrs(slot);
	if (receiver->rows++ == 0 && receiver->tenant && !slot->tts_isnull[0])
		*receiver->tenant = TextDatumGetCString(slot->tts_values[0]);
	if (json)
	{
		(void) pushJsonbValue(json, WJB_BEGIN_OBJECT, NULL);
		for (int i = 0; i < slot->tts_tupleDescriptor->natts - 1; i++)
		{
			JsonColumn *column = &receiver->columns[i];

			cc_json_key(json, NameStr(column->name), strlen(NameStr(column->name)));
			if (slot->tts_isnull[column->attno - 1])
				cc_json_null(json);
			else
				put_value(json, column, slot->tts_values[column->attno - 1]);
		}
		(void) pushJsonbValue(json, WJB_END_OBJECT, NULL);
	}
	MemoryContextSwitchTo(old);
	return true;
}

static void
receive_nothing(DestReceiver *self)
{
}

/* Execute the plan, made if need be. */
static void
run(RecentPlan *plan, const CounterSource *source, const char *key, int count,
	RecentReceiver *receiver)
{
	ParamListInfo params = makeParamList(1);
	SPIExecuteOptions options = {
		.params = params,
		.read_only = true,		/* in the caller's snapshot */
		.must_return_tuples = true,
		.tcount = count,
		.dest = &receiver->receiver
	};
	SPIPlanPtr	to_run;

	params->params[0].value = CStringGetTextDatum(key);
	params->params[0].isnull = false;
	params->params[0].pflags = PARAM_FLAG_CONST;
	params->params[0].ptype = TEXTOID;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	to_run = plan->stale || plan->plan == NULL || !SPI_plan_is_valid(plan->plan) ?
		prepare(plan, source) : plan->plan;
	if (SPI_execute_plan_extended(to_run, &options) != SPI_OK_SELECT)
		elog(ERROR, "the query of a dashboard is none");
	SPI_finish();
}

/* The same, as the table's owner. */
static void
run_as_owner(RecentPlan *plan, const CounterSource *source, const char *key, int count,
			 RecentReceiver *receiver)
{
	Relation	rel = table_open(source->relid, AccessShareLock);
	Oid			user;
	int			security;
	int			nest;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(rel->rd_rel->relowner, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	/* what the table's own functions call by name is not for the caller to say */
	nest = cc_catalog_fix_search_path();
	plan->uses++;
	PG_TRY();
	{
		run(plan, source, key, count, receiver);
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
}

/*
 * The rows as a JSON array, put into "json" (NULL: not wanted), whose last piece was a
 * key; "tenant", if not NULL, is set to that of the newest row.  In the active snapshot.
 * False, and nothing is put, if the table can not be asked by the dimension.
 */
bool
cc_recent_rows(const CounterSource *source, const char *dimension, const char *key, int count,
			   JsonbParseState **json, char **tenant)
{
	RecentPlan *plan;
	RecentReceiver receiver = {
		.receiver = {receive_row, receive_startup, receive_nothing, receive_nothing, DestTuplestore},
		.context = CurrentMemoryContext,
		.json = json,
		.tenant = tenant
	};
	bool		known = false;

	for (int i = 0; i < source->ndimensions; i++)
		known |= strcmp(source->dimensions[i], dimension) == 0;
	if (!known)
		return false;
	plan = receiver.plan = find_plan(source, dimension, count);
	if (json)
		(void) pushJsonbValue(json, WJB_BEGIN_ARRAY, NULL);
	run_as_owner(plan, source, key, count, &receiver);
	if (json)
		(void) pushJsonbValue(json, WJB_END_ARRAY, NULL);
	return true;
}
