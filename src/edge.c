/*-------------------------------------------------------------------------
 *
 * edge.c
 *		Clock edges: tags that change meaning though no row changed.
 *
 * At a tenant's midnight, or as an appointment's time passes, rows enter and
 * leave windows, and the days of dashboards begin.  For a stretch of time:
 *
 *	  tracked tables ─▶ candidates, by the index on the time column ─▶ emit.c
 *	                 ─▶ tenants, if the date changes somewhere      ─▶ emit.c
 *
 * Candidates are a plain range of each time column, wide enough for all zones
 * in use; emit.c tests exactly.  Queries run as the table's owner, restricted,
 * since planning them may run functions of the owner's, and without row
 * security.  Nothing waits for a lock.  Each table is done in a subtransaction:
 * where that fails, prefixes stand for its tags.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "edge.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "flush.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "subtransaction.h"
#include "tracker.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define BATCH 1000

PG_FUNCTION_INFO_V1(clinicache_emit_edges);
PG_FUNCTION_INFO_V1(clinicache_clock);

/* one stretch of time */
typedef struct EdgePass
{
	TimestampTz from;
	TimestampTz to;
	TransactionId since;		/* only rows written by it or later; invalid: all */
	Snapshot	snapshot;
	ZoneSpan	span;
	EdgeCounts	counts;
} EdgePass;

/* how much of a time column has to be looked at */
typedef enum Range
{
	RANGE_NONE,
	RANGE_EXACT,				/* times between the ends */
	RANGE_DAYS					/* days of the ends */
} Range;

/* parameters of a query: lower and upper bound for each kind of column */
typedef enum BoundKind
{
	BOUND_INSTANT,
	BOUND_INSTANT_DAYS,
	BOUND_WALL,
	BOUND_WALL_DAYS,
	BOUND_DATE,
	BOUND_TEXT,
	BOUND_KINDS
} BoundKind;

/* Settings under which a table's query means the same in every session. */
static int
fix_settings(void)
{
	int			nest = cc_catalog_fix_search_path();

	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

/*
 * Is the tag made of the tenant alone?  The tenant's name and a column's may
 * both stand for it, so it is the columns that count.
 */
static bool
is_of_tenant(Tracker *tracker, const TrackedTag *tag)
{
	const ValueRef *tenant = tracker->tenant;

	for (int i = 0; i < tag->template->nparts; i++)
	{
		const ValueRef *ref = tag->refs[i];

		if (tag->template->parts[i].column == NULL || ref->constant)
			continue;
		if (tenant == NULL || tenant->constant || ref->nsources != tenant->nsources ||
			memcmp(ref->sources, tenant->sources, sizeof(int) * ref->nsources) != 0)
			return false;
	}
	return true;
}

static void
widen(const ValueRef *ref, Range *ranges, Range range)
{
	for (int i = 0; ref && i < ref->nsources; i++)
		ranges[ref->sources[i]] = Max(ranges[ref->sources[i]], range);
}

/* Which time columns have to be looked at, and how far?  False: none. */
static bool
find_ranges(EdgePass *pass, Tracker *tracker, Range *ranges)
{
	bool		any = false;

	for (int i = 0; i < tracker->ntags; i++)
	{
		TrackedTag *tag = &tracker->tags[i];

		if (pass->span.days && tag->window != WINDOW_NONE)
			widen(tag->date, ranges, RANGE_DAYS);
		else if (pass->span.days && tag->edge)
			widen(tracker->day, ranges, RANGE_DAYS);
		else if (tag->window == WINDOW_PAST)
			widen(tag->date, ranges, tag->clock ? RANGE_DAYS : RANGE_EXACT);
	}
	for (int i = 0; i < tracker->nsources; i++)
	{
		const ValueType *type = &tracker->sources[i].type;

		/* of a day alone no time passes but midnight */
		if (ranges[i] == RANGE_EXACT && type->typid != TIMESTAMPOID &&
			type->typid != TIMESTAMPTZOID)
			ranges[i] = RANGE_NONE;
		any |= ranges[i] != RANGE_NONE;
	}
	return any;
}

/* "column between" its bounds, a comparison that an index on the column serves. */
static void
append_condition(StringInfo query, const SourceColumn *source, Range range)
{
	const char *column = quote_identifier(source->name);
	const char *cast = "";
	BoundKind	kind;

	switch (source->type.typid)
	{
		case DATEOID:
			kind = BOUND_DATE;
			break;
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			if (cc_value_is_instant(&source->type))
				kind = range == RANGE_DAYS ? BOUND_INSTANT_DAYS : BOUND_INSTANT;
			else
				kind = range == RANGE_DAYS ? BOUND_WALL_DAYS : BOUND_WALL;
			/* where a timestamptz holds wall time, it is as if it were in UTC */
			if ((source->type.typid == TIMESTAMPTZOID) != cc_value_is_instant(&source->type))
				cast = " AT TIME ZONE 'UTC'";
			break;
		default:
			kind = BOUND_TEXT;
			if (source->type.typid == BPCHAROID)
				cast = "::bpchar";
			break;
	}
	appendStringInfo(query, "(%s >= ($%d%s) AND %s <= ($%d%s))",
					 column, kind * 2 + 1, cast, column, kind * 2 + 2, cast);
}

static void
append_columns(StringInfo query, Tracker *tracker, const Bitmapset *sources)
{
	int			index = -1;
	bool		first = true;

	while ((index = bms_next_member(sources, index)) >= 0)
	{
		appendStringInfo(query, "%s%s", first ? "" : ", ",
						 quote_identifier(tracker->sources[index].name));
		first = false;
	}
	if (first)
		appendStringInfoString(query, "1");
}

/* The table; inheritance children are tracked for themselves. */
static char *
from_clause(Relation rel)
{
	return psprintf("%s%s", rel->rd_rel->relkind == RELKIND_RELATION ? "ONLY " : "",
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											   RelationGetRelationName(rel)));
}

static Datum
date_text(DateADT date)
{
	StringInfoData text;

	initStringInfo(&text);
	cc_append_day(&text, (Timestamp) date * USECS_PER_DAY, FILTER_DATE);
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

/*
 * Bounds, both inclusive.  No zone is more than a day away from UTC.  An upper
 * bound of text is the day after, which texts that go on after the day precede.
 */
static void
set_bounds(const EdgePass *pass, Datum *bounds, Oid *types)
{
	Timestamp	low = cc_day_start(pass->span.low);
	Timestamp	high = cc_day_start(pass->span.high) + USECS_PER_DAY;
	DateADT		first = (DateADT) (low / USECS_PER_DAY);
	DateADT		last = (DateADT) (high / USECS_PER_DAY);
	static const Oid kinds[BOUND_KINDS] = {
		TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPOID, TIMESTAMPOID, DATEOID, TEXTOID
	};

	for (int i = 0; i < BOUND_KINDS * 2; i++)
		types[i] = kinds[i / 2];
	bounds[BOUND_INSTANT * 2] = TimestampTzGetDatum(pass->from);
	bounds[BOUND_INSTANT * 2 + 1] = TimestampTzGetDatum(pass->to);
	bounds[BOUND_INSTANT_DAYS * 2] = TimestampTzGetDatum(low - USECS_PER_DAY);
	bounds[BOUND_INSTANT_DAYS * 2 + 1] = TimestampTzGetDatum(high + USECS_PER_DAY);
	bounds[BOUND_WALL * 2] = TimestampGetDatum(pass->span.low);
	bounds[BOUND_WALL * 2 + 1] = TimestampGetDatum(pass->span.high);
	bounds[BOUND_WALL_DAYS * 2] = TimestampGetDatum(low);
	bounds[BOUND_WALL_DAYS * 2 + 1] = TimestampGetDatum(high);
	bounds[BOUND_DATE * 2] = DateADTGetDatum(first);
	bounds[BOUND_DATE * 2 + 1] = DateADTGetDatum(last);
	bounds[BOUND_TEXT * 2] = date_text(first);
	bounds[BOUND_TEXT * 2 + 1] = date_text(last);
}

/* Was the row in hand, whose last column is its xmin, written since? */
static bool
is_recent(EdgePass *pass, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		xmin;

	if (!TransactionIdIsValid(pass->since))
		return true;
	xmin = SPI_getbinval(tuple, desc, desc->natts, &isnull);
	return isnull || !TransactionIdPrecedes(DatumGetTransactionId(xmin), pass->since);
}

/* Run a query for "sources" and hand each row to emit.c. */
static void
emit_rows(EdgePass *pass, Tracker *tracker, const char *query, const Bitmapset *sources,
		  bool whole_tenant)
{
	int			nvalues = tracker->natts + tracker->nlookups;
	Datum	   *values = palloc0(sizeof(Datum) * Max(1, nvalues));
	bool	   *nulls = palloc0(sizeof(bool) * Max(1, nvalues + tracker->nlookups));
	Datum		bounds[BOUND_KINDS * 2];
	Oid			types[BOUND_KINDS * 2];
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "clinicache edge row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	Portal		portal;

	memset(nulls, true, sizeof(bool) * nvalues);
	set_bounds(pass, bounds, types);
	portal = SPI_cursor_open_with_args(NULL, query, BOUND_KINDS * 2, types, bounds, NULL,
									   true, CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, BATCH);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	tuple = SPI_tuptable->vals[i];
			int			index = -1;
			int			column = 0;

			if (!whole_tenant && !is_recent(pass, tuple, SPI_tuptable->tupdesc))
				continue;
			while ((index = bms_next_member(sources, index)) >= 0)
			{
				AttrNumber	attno = tracker->sources[index].attno;

				values[attno - 1] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, ++column,
												  &nulls[attno - 1]);
			}
			old = MemoryContextSwitchTo(row_context);
			if (!whole_tenant && tracker->nlookups > 0)
				cc_lookup_new(tracker, &(RowValues) {values, nulls});
			cc_emit_edge(tracker, cc_flush_pending(), values, nulls, pass->from, pass->to,
						 whole_tenant);
			MemoryContextSwitchTo(old);
			MemoryContextReset(row_context);
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
}

/* Rows that may enter or leave a window. */
static void
emit_candidates(EdgePass *pass, Tracker *tracker, Relation rel)
{
	Range	   *ranges = palloc0(sizeof(Range) * (tracker->nsources + 1));
	Bitmapset  *sources = NULL;
	StringInfoData query;
	bool		first = true;

	if (!find_ranges(pass, tracker, ranges))
		return;
	for (int i = 0; i < tracker->nsources; i++)
		if (tracker->sources[i].lookup < 0)
			sources = bms_add_member(sources, i);
	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	append_columns(&query, tracker, sources);
	if (TransactionIdIsValid(pass->since))
		appendStringInfoString(&query, ", xmin");
	appendStringInfo(&query, " FROM %s WHERE ", from_clause(rel));
	for (int i = 0; i < tracker->nsources; i++)
	{
		if (ranges[i] == RANGE_NONE)
			continue;
		appendStringInfoString(&query, first ? "" : " OR ");
		append_condition(&query, &tracker->sources[i], ranges[i]);
		first = false;
	}
	emit_rows(pass, tracker, query.data, sources, false);
}

/* Can each of the column's values be found by an index, one after the other? */
static bool
is_indexed(Relation rel, const SourceColumn *source)
{
	ListCell   *cell;
	bool		found = false;

	/* operators of other types may be anywhere */
	if (source->type.typid >= FirstGenbkiObjectId)
		return false;
	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found |= index->rd_index->indisvalid && index->rd_index->indkey.values[0] == source->attno &&
			index->rd_rel->relam == BTREE_AM_OID && RelationGetIndexPredicate(index) == NIL;
		index_close(index, NoLock);
	}
	return found;
}

/* The tenants there are: each value of the column, or of the columns, once. */
static char *
tenant_query(Tracker *tracker, Relation rel, const Bitmapset *sources)
{
	int			lookup = tracker->sources[bms_next_member(sources, -1)].lookup;
	StringInfoData query;
	const char *from = from_clause(rel);

	if (lookup >= 0)
		return cc_lookup_all_values(tracker->lookups[lookup]);
	initStringInfo(&query);
	if (bms_num_members(sources) == 1 &&
		is_indexed(rel, &tracker->sources[bms_singleton_member(sources)]))
	{
		const char *column =
			quote_identifier(tracker->sources[bms_singleton_member(sources)].name);

		/* from each value to the next */
		appendStringInfo(&query,
						 "WITH RECURSIVE clinicache_tenant(value) AS ("
						 "(SELECT %1$s FROM %2$s WHERE %1$s IS NOT NULL ORDER BY 1 LIMIT 1) "
						 "UNION ALL SELECT (SELECT %1$s FROM %2$s WHERE %1$s > t.value "
						 "ORDER BY 1 LIMIT 1) FROM clinicache_tenant AS t WHERE t.value IS NOT NULL) "
						 "SELECT t.value FROM clinicache_tenant AS t WHERE t.value IS NOT NULL "
						 "UNION ALL (SELECT NULL FROM %2$s WHERE %1$s IS NULL LIMIT 1)",
						 column, from);
		return query.data;
	}
	appendStringInfoString(&query, "SELECT DISTINCT ");
	append_columns(&query, tracker, sources);
	appendStringInfo(&query, " FROM %s", from);
	return query.data;
}

/*
 * The date changes somewhere: tags of tenants as a whole, whether or not they
 * have a row near that day, and of what no index leads to.
 */
static void
emit_tenants(EdgePass *pass, Tracker *tracker, Relation rel)
{
	const ValueRef *tenant = tracker->tenant;
	Bitmapset  *sources = NULL;
	PendingSet *set = cc_flush_pending();
	bool		any = false;

	for (int i = 0; i < tracker->ntags; i++)
	{
		TrackedTag *tag = &tracker->tags[i];

		if (tag->window == WINDOW_NONE && !tag->edge)
			continue;
		if (is_of_tenant(tracker, tag))
			any = true;
		else if (tag->edge && tracker->day == NULL)
			cc_pending_add_prefix(set, cc_pending_tenant(set, NULL, 0), tag->profile,
								  tag->template->prefix, strlen(tag->template->prefix));
	}
	if (!any)
		return;
	for (int i = 0; tenant && i < tenant->nsources; i++)
		sources = bms_add_member(sources, tenant->sources[i]);
	if (sources != NULL)
		emit_rows(pass, tracker, tenant_query(tracker, rel, sources), sources, true);
	else
		emit_rows(pass, tracker, "SELECT 1", NULL, true);
}

/* Lock a table and what is below it, without waiting. */
static Relation
open_table(Oid relid)
{
	List	   *children;
	ListCell   *cell;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table \"%s\"", get_rel_name(relid))));
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
	{
		children = find_all_inheritors(relid, NoLock, NULL);
		foreach(cell, children)
			if (!ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock))
				ereport(ERROR,
						(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						 errmsg("could not lock table \"%s\"", get_rel_name(lfirst_oid(cell)))));
	}
	return try_relation_open(relid, NoLock);
}

/* Emit a table's edges. */
static void
emit_table(EdgePass *pass, Relation rel)
{
	Tracker    *tracker = cc_tracker_get(rel, cc_tracker_trigger(rel, false));
	Oid			user;
	int			security;
	int			nest;

	if (tracker->broken)
		ereport(ERROR,
				(errcode(tracker->broken_code), errmsg_internal("%s", tracker->broken)));
	if (!tracker->windowed && !tracker->edged)
		return;
	pass->counts.tables++;
	if (pass->from >= pass->to)
		return;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(rel->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	nest = fix_settings();
	SPI_connect();
	emit_candidates(pass, tracker, rel);
	/* what a late transaction wrote, it has emitted itself as far as it is no window's */
	if (pass->span.days && !TransactionIdIsValid(pass->since))
		emit_tenants(pass, tracker, rel);
	SPI_finish();
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(user, security);
}

/* A table's edges could not be found: prefixes stand for all the tags that have one. */
static void
emit_prefixes(Oid relid)
{
	Datum		args[] = {ObjectIdGetDatum(relid)};
	Oid			types[] = {OIDOID};
	int			nest = fix_settings();

	SPI_connect();
	SPI_execute_with_args("SELECT clinicache.emit_prefix(clinicache.template_prefix(e.tag ->> 'tag'), "
						  "NULL, NULL) FROM pg_trigger AS t, "
						  "jsonb_array_elements(clinicache.trigger_config(t.oid) -> 'tags') AS e(tag) "
						  "WHERE t.tgrelid = $1 AND t.tgparentid = 0 "
						  "AND t.tgfoid = 'clinicache.row_change()'::regprocedure "
						  "AND (e.tag ? 'window' OR e.tag ? 'edge')",
						  1, types, args, NULL, false, 0);
	SPI_finish();
	AtEOXact_GUC(false, nest);
}

/* what is to be done for one table */
typedef struct EdgeStep
{
	EdgePass   *pass;
	Oid			relid;
	bool		prefixes;
} EdgeStep;

static bool
do_step(void *arg)
{
	EdgeStep   *step = arg;
	Relation	rel = step->prefixes ? NULL : open_table(step->relid);

	PushActiveSnapshot(step->pass->snapshot);
	if (step->prefixes)
		emit_prefixes(step->relid);
	/* others' temporary tables can not be read, and our own will not last */
	else if (rel != NULL && rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP)
		emit_table(step->pass, rel);
	PopActiveSnapshot();
	if (rel != NULL)
		relation_close(rel, NoLock);
	return true;
}

/* Run a step in a subtransaction; false: it failed, with a WARNING about that. */
static bool
try_step(EdgePass *pass, Oid relid, bool prefixes)
{
	EdgeStep	step = {.pass = pass,.relid = relid,.prefixes = prefixes};
	ErrorData  *error = cc_subtransaction(do_step, &step);

	if (error == NULL)
		return true;
	if (cc_error_ends_statement(error))
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("clinicache could not find clock edges of table \"%s\"",
					get_rel_name(relid)),
			 errdetail_internal("%s", error->message),
			 errhint("Subscribers are told to drop all tags of the table's windows and edges.")));
	FreeErrorData(error);
	return false;
}

/*
 * Is the table's owner one whose tags count?  Whoever may not track could still
 * name our trigger function, and make us emit prefixes by locking the table.
 */
static bool
is_trusted(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		trusted = false;

	if (HeapTupleIsValid(tuple))
	{
		trusted = cc_tracker_trusts(((Form_pg_class) GETSTRUCT(tuple))->relowner);
		ReleaseSysCache(tuple);
	}
	return trusted;
}

/* The tracked tables; partitions stand under theirs. */
static List *
tracked_tables(void)
{
	Oid			function;
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *tables = NIL;

	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("row_change"),
							   PointerGetDatum(buildoidvector(NULL, 0)),
							   ObjectIdGetDatum(get_namespace_oid(CC_SCHEMA, true)));
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (form->tgfoid == function && !OidIsValid(form->tgparentid) &&
			form->tgenabled != TRIGGER_DISABLED && is_trusted(form->tgrelid))
			tables = list_append_unique_oid(tables, form->tgrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tables;
}

/*
 * Add to this transaction's tags those of the edges after "from", up to "to".
 * "since": only for rows written by that transaction or later.  The snapshot
 * has to be registered and taken after "to".
 */
EdgeCounts
cc_edges_emit(TimestampTz from, TimestampTz to, TransactionId since, Snapshot snapshot)
{
	EdgePass	pass = {.from = from,.to = to,.since = since,.snapshot = snapshot};
	PendingCounts before = cc_pending_counts(cc_flush_pending());
	PendingCounts after;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinicache edges",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *tables = tracked_tables();
	ListCell   *cell;

	cc_zone_span(from, to, &pass.span);
	foreach(cell, tables)
		if (!try_step(&pass, lfirst_oid(cell), false))
		{
			pass.counts.tables++;
			if (from < to)
				(void) try_step(&pass, lfirst_oid(cell), true);
		}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	after = cc_pending_counts(cc_flush_pending());
	pass.counts.tags = after.tags + after.prefixes - before.tags - before.prefixes;
	return pass.counts;
}

/*
 * emit_edges(from_time timestamptz, to_time timestamptz) -> bigint
 */
Datum
clinicache_emit_edges(PG_FUNCTION_ARGS)
{
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz to = PG_GETARG_TIMESTAMPTZ(1);
	Snapshot	snapshot;
	EdgeCounts	counts;

	PreventCommandIfReadOnly("clinicache.emit_edges()");
	PreventCommandIfParallelMode("clinicache.emit_edges()");
	PreventCommandDuringRecovery("clinicache.emit_edges()");
	if (TIMESTAMP_NOT_FINITE(from) || TIMESTAMP_NOT_FINITE(to) || from > to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("clock edges are looked for from one time to a later one"),
				 errhint("Give two finite times, the earlier one first.")));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	counts = cc_edges_emit(from, to, InvalidTransactionId, snapshot);
	UnregisterSnapshot(snapshot);
	PG_RETURN_INT64((int64) counts.tags);
}

/*
 * clock() -> timestamptz
 */
Datum
clinicache_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(cc_clock());
}
