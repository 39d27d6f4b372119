/*-------------------------------------------------------------------------
 *
 * counter.c
 *		What a row contributes to counters.
 *
 * A contribution is a pure function of the row, its tenant's time zone and the
 * zone that the counter was built with: that is what lets a change be undone
 * later by subtracting what the old row contributes.  It is one more row, and its
 * sum, for one day and class, under a key in each dimension:
 *
 *		counter(4) day(4) kind(1) class dimensions(1) key ...
 *
 * with numbers and texts as in cells.c.  Written so, once for all dimensions, it
 * travels in change records; cc_contribution_expand makes cells of it.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "counter.h"

#include "catalog/pg_type.h"
#include "deltas.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* reused for every row; live in TopMemoryContext */
static StringInfoData name_scratch = {0};
static StringInfoData text_scratch = {0};

static void
prepare_scratch(void)
{
	MemoryContext old;

	if (likely(name_scratch.data != NULL))
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&text_scratch);
	initStringInfo(&name_scratch);
	MemoryContextSwitchTo(old);
}

/* Can values of the type be summed? */
bool
cc_counter_can_sum(const ValueType *type)
{
	switch (type->typid)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return true;
		default:
			return false;
	}
}

/* As a cast to numeric does it. */
static Numeric
to_numeric(const ValueType *type, Datum value)
{
	switch (type->typid)
	{
		case INT2OID:
			return int64_to_numeric(DatumGetInt16(value));
		case INT4OID:
			return int64_to_numeric(DatumGetInt32(value));
		case INT8OID:
			return int64_to_numeric(DatumGetInt64(value));
		case FLOAT4OID:
			return DatumGetNumeric(DirectFunctionCall1(float4_numeric, value));
		case FLOAT8OID:
			return DatumGetNumeric(DirectFunctionCall1(float8_numeric, value));
		default:
			return DatumGetNumericCopy(value);
	}
}

static bool
is_deleted(Tracker *tracker, const Datum *values, const bool *nulls)
{
	SourceColumn *source;
	Datum		value;
	ListCell   *cell;

	if (tracker->deleted_kind == DELETED_NEVER)
		return false;
	source = cc_find_value(tracker, tracker->deleted, values, nulls, &value);
	if (source == NULL)
		return false;
	if (tracker->deleted_kind == DELETED_TRUE)
		return DatumGetBool(value);
	if (tracker->deleted_kind == DELETED_NOT_NULL)
		return true;
	resetStringInfo(&text_scratch);
	cc_value_append(&text_scratch, &source->type, value);
	foreach(cell, tracker->deleted_values)
		if (strcmp(lfirst(cell), text_scratch.data) == 0)
			return true;
	return false;
}

/* The row's value as text in text_scratch; false: null. */
static bool
make_whole_text(Tracker *tracker, const ValueRef *ref, const Datum *values, const bool *nulls)
{
	SourceColumn *source;
	Datum		value;

	resetStringInfo(&text_scratch);
	if (ref->constant)
		appendBinaryStringInfo(&text_scratch, ref->constant, ref->constant_len);
	else
	{
		source = cc_find_value(tracker, ref, values, nulls, &value);
		if (source == NULL)
			return false;
		cc_value_append(&text_scratch, &source->type, value);
	}
	return true;
}

/* The same, shortened to what fits a cell's name. */
static bool
make_text(Tracker *tracker, const ValueRef *ref, const Datum *values, const bool *nulls)
{
	if (!make_whole_text(tracker, ref, values, nulls))
		return false;
	cc_cell_shorten(&text_scratch);
	return true;
}

static void
append_value(Tracker *tracker, const ValueRef *ref, const Datum *values, const bool *nulls)
{
	bool		found = ref != NULL && make_text(tracker, ref, values, nulls);

	cc_append_text(&name_scratch, found ? text_scratch.data : NULL, text_scratch.len);
}

/* The zone in which the row's day counts. */
static TenantZone *
find_zone(Tracker *tracker, CounterRule *rule, const Datum *values, const bool *nulls)
{
	TenantZone *zone = NULL;

	if (tracker->tenant && make_whole_text(tracker, tracker->tenant, values, nulls))
		zone = cc_tenant_own_zone(text_scratch.data, text_scratch.len);
	return zone ? zone : &rule->zone;
}

/* The row's day; CELL_NO_DAY if it has none. */
static uint8
find_day(Tracker *tracker, CounterRule *rule, TenantZone *zone, const Datum *values,
		 const bool *nulls, DateADT *day)
{
	SourceColumn *source;
	Datum		value;
	Timestamp	local;
	bool		has_time;

	*day = DATEVAL_NOEND;		/* where no day sorts, see PERIOD_NONE */
	if (rule->day == NULL)
		return CELL_NO_DAY;
	source = cc_find_value(tracker, rule->day, values, nulls, &value);
	if (source == NULL)
		return CELL_NO_DAY;
	if (zone == NULL)
		zone = find_zone(tracker, rule, values, nulls);
	if (!cc_value_local(&source->type, value, zone, &local, &has_time))
		return CELL_NO_DAY;
	if (TIMESTAMP_IS_NOBEGIN(local))
		*day = DATEVAL_NOBEGIN;
	else if (TIMESTAMP_IS_NOEND(local))
		*day = DATEVAL_NOEND;
	else
		*day = (DateADT) (local / USECS_PER_DAY - (local % USECS_PER_DAY < 0 ? 1 : 0));
	return 0;
}

/*
 * Is it beyond what all rows of a table may be added up of?  The sum of them has to
 * stay below 10^131072, or no fold would ever come to its end.
 */
static bool
is_huge(Numeric value)
{
	static Numeric limits[2] = {NULL, NULL};

	if (unlikely(limits[1] == NULL))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		for (int i = 0; i < 2; i++)
			limits[i] = DatumGetNumeric(DirectFunctionCall3(numeric_in,
															CStringGetDatum(i ? "1e1000" : "-1e1000"),
															ObjectIdGetDatum(InvalidOid),
															Int32GetDatum(-1)));
		MemoryContextSwitchTo(old);
	}
	return DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(value),
											NumericGetDatum(limits[1]))) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(value),
										 NumericGetDatum(limits[0])));
}

/* The row's sum, and which kind it is. */
static uint8
find_sum(Tracker *tracker, CounterRule *rule, const Datum *values, const bool *nulls,
		 Numeric *sum)
{
	SourceColumn *source;
	Datum		value;
	Numeric		given;

	*sum = NULL;
	if (rule->sum == NULL)
		return CELL_FINITE;
	source = cc_find_value(tracker, rule->sum, values, nulls, &value);
	if (source == NULL)
		return CELL_FINITE;
	given = to_numeric(&source->type, value);
	if (numeric_is_nan(given))
		return CELL_NAN;
	if (numeric_is_inf(given))
		return DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(given),
												NumericGetDatum(int64_to_numeric(0)))) ?
			CELL_INFINITY : CELL_NEG_INFINITY;
	if (source->type.typid == NUMERICOID && is_huge(given))
		return CELL_HUGE;
	*sum = given;
	return CELL_FINITE;
}

/*
 * What a row contributes; false: nothing, it is deleted.  "zone": in which its
 * day counts; NULL: its tenant's.  The arrays hold at least the columns up to
 * tracker->max_attno.
 */
bool
cc_counter_contribution(Tracker *tracker, CounterRule *rule, TenantZone *zone,
						const Datum *values, const bool *nulls, Contribution *contribution)
{
	DateADT		day;
	uint8		kind;

	prepare_scratch();
	if (is_deleted(tracker, values, nulls))
		return false;
	kind = find_day(tracker, rule, zone, values, nulls, &day) |
		find_sum(tracker, rule, values, nulls, &contribution->sum);
	resetStringInfo(&name_scratch);
	cc_append_int32(&name_scratch, rule->id);
	cc_append_int32(&name_scratch, day);
	appendStringInfoCharMacro(&name_scratch, (char) kind);
	append_value(tracker, rule->class, values, nulls);
	appendStringInfoCharMacro(&name_scratch, (char) rule->ndimensions);
	for (int i = 0; i < rule->ndimensions; i++)
		append_value(tracker, rule->keys[i], values, nulls);
	contribution->name = name_scratch.data;
	contribution->len = name_scratch.len;
	return true;
}

/*
 * The row's tenant, whole; NULL: it has none.  Good until the next call of anything
 * here.
 */
const char *
cc_counter_tenant(Tracker *tracker, const Datum *values, const bool *nulls)
{
	prepare_scratch();
	if (tracker->tenant == NULL || !make_whole_text(tracker, tracker->tenant, values, nulls))
		return NULL;
	return text_scratch.data;
}

/*
 * Note among this transaction's deltas that a tenant's (NULL: nobody's) row with the
 * contribution came (n = 1) or went (-1).
 */
void
cc_contribution_add(const Contribution *contribution, const char *tenant, int tenant_len, int n)
{
	Numeric		sum = contribution->sum;

	if (sum != NULL && n < 0)
		sum = DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(sum)));
	cc_deltas_add(tenant, tenant_len, contribution->name, contribution->len, n, sum);
}

static bool
any_changed(Tracker *tracker, const Bitmapset *watch)
{
	int			attno = -1;

	while ((attno = bms_next_member(watch, attno)) >= 0)
		if (tracker->changed[attno])
			return true;
	return false;
}

static void
add_row(Tracker *tracker, CounterRule *rule, const Datum *values, const bool *nulls, int n)
{
	Contribution contribution;
	bool		has_tenant;

	if (!cc_counter_contribution(tracker, rule, NULL, values, nulls, &contribution))
		return;
	has_tenant = tracker->tenant && make_text(tracker, tracker->tenant, values, nulls);
	cc_contribution_add(&contribution, has_tenant ? text_scratch.data : NULL, text_scratch.len, n);
}

/*
 * A row was inserted (old values NULL), deleted (new ones NULL) or updated: note
 * what that does to counters.  After an update tracker->changed has to tell which
 * columns differ.  Call it in a context that is reset soon.
 */
void
cc_counter_change(Tracker *tracker, const Datum *old_values, const bool *old_nulls,
				  const Datum *new_values, const bool *new_nulls)
{
	for (int i = 0; i < tracker->ncounters; i++)
	{
		CounterRule *rule = &tracker->counters[i];

		if (rule->id == 0)
			continue;
		if (old_values && new_values && !any_changed(tracker, rule->watch))
			continue;
		if (old_values)
			add_row(tracker, rule, old_values, old_nulls, -1);
		if (new_values)
			add_row(tracker, rule, new_values, new_nulls, 1);
	}
}

/* Rows were changed that could not be counted: say so of these counters. */
void
cc_counter_distrust(const List *ids)
{
	ListCell   *cell;

	prepare_scratch();
	foreach(cell, ids)
	{
		resetStringInfo(&name_scratch);
		cc_append_int32(&name_scratch, lfirst_int(cell));
		cc_append_int32(&name_scratch, 0);
		appendStringInfoCharMacro(&name_scratch, (char) CELL_BROKEN);
		cc_append_text(&name_scratch, NULL, 0);
		appendStringInfoCharMacro(&name_scratch, 0);
		cc_deltas_add(NULL, 0, name_scratch.data, name_scratch.len, 1, NULL);
	}
}

/* Which counter a contribution is for. */
int32
cc_contribution_counter(const char *name)
{
	return cc_read_int32(name);
}

/* Call "visit" for the cell in each dimension; for CELL_BROKEN once, without a key. */
void
cc_contribution_expand(const PackedCell *packed, CellVisit visit, void *arg)
{
	CellName	name = {0};
	const char *at;
	int			dimensions;

	if (packed->len < 12)
		elog(ERROR, "malformed counter data");
	name.counter = cc_read_int32(packed->name);
	name.day = cc_read_int32(packed->name + 4);
	name.kind = (uint8) packed->name[8];
	at = cc_read_text(packed->name + 9, &name.class, &name.class_len);
	dimensions = (unsigned char) *at++;
	if (name.kind & CELL_BROKEN)
		visit(&name, packed->n, packed->sum, arg);
	for (name.dimension = 0; name.dimension < dimensions; name.dimension++)
	{
		at = cc_read_text(at, &name.key, &name.key_len);
		if (name.key != NULL)
			visit(&name, packed->n, packed->sum, arg);
	}
}

/* The same for each contribution of a change record. */
void
cc_deltas_expand(bytea *deltas, CellVisit visit, void *arg)
{
	CellReader	reader = cc_cells_reader(deltas);
	PackedCell	packed;

	while (cc_unpack_cell(&reader, &packed))
		cc_contribution_expand(&packed, visit, arg);
}

/* Call "visit" for a cell of a batch, whose name is a cell's own. */
void
cc_cell_expand(const PackedCell *packed, CellVisit visit, void *arg)
{
	int			prefix_len = cc_cell_prefix_len(packed->name);
	CellName	name;

	cc_cell_read_prefix(packed->name, &name);
	cc_cell_read_suffix(packed->name + prefix_len, packed->len - prefix_len, &name);
	visit(&name, packed->n, packed->sum, arg);
}
