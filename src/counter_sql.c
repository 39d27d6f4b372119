/*-------------------------------------------------------------------------
 *
 * counter_sql.c
 *		count(), total() and series(), as SQL calls them.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "catalog/pg_type.h"
#include "class_label.h"
#include "compat.h"
#include "counter.h"
#include "counter_read.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(clinicache_count);
PG_FUNCTION_INFO_V1(clinicache_total);
PG_FUNCTION_INFO_V1(clinicache_series);

/* arguments that the three have in common, in this order */
#define ARG_COUNTER 0
#define ARG_DIMENSION 1
#define ARG_KEY 2
#define ARG_CLASSES 3			/* grain, for series */
#define ARG_FROM 4
#define ARG_TO 5

/* what was asked, and what has been added up of it */
typedef struct Asked
{
	CounterQuery query;
	CounterWish wish;
	ArrayType  *classes;		/* NULL: all */
	int64		n;
	Numeric		sum;
	int64		odd[CELL_SUM_KIND + 1]; /* values that are no numbers, by kind */
} Asked;

static char *
text_argument(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" of a clinicache counter function is null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* A counter that exists has dimensions of its own: any other name is an error. */
static void
check_dimension(const CounterWish *wish, const char *name)
{
	StringInfoData known;
	ListCell   *cell;

	initStringInfo(&known);
	foreach(cell, wish->sources)
	{
		CounterSource *source = lfirst(cell);

		for (int i = 0; i < source->ndimensions; i++)
		{
			if (strcmp(source->dimensions[i], name) == 0)
				return;
			appendStringInfo(&known, "%s%s", known.len > 0 ? ", " : "", source->dimensions[i]);
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("counter \"%s\" has no dimension \"%s\"", wish->counter, name),
			 errhint("Dimensions: %s.", known.data)));
}

/* Read what the arguments ask for; false: nothing is counted so. */
static bool
ask(FunctionCallInfo fcinfo, Asked *asked)
{
	Snapshot	snapshot = GetActiveSnapshot();
	StringInfoData key;

	memset(asked, 0, sizeof(Asked));
	asked->wish.counter = text_argument(fcinfo, ARG_COUNTER, "counter");
	asked->query.dimension = text_argument(fcinfo, ARG_DIMENSION, "dimension");
	initStringInfo(&key);
	appendStringInfoString(&key, text_argument(fcinfo, ARG_KEY, "key"));
	cc_cell_shorten(&key);
	asked->query.key = key.data;
	asked->query.key_len = key.len;
	asked->query.nwishes = 1;
	asked->query.wishes = &asked->wish;
	asked->wish.from = PG_ARGISNULL(ARG_FROM) ? DATEVAL_NOBEGIN : PG_GETARG_DATEADT(ARG_FROM);
	asked->wish.to = PG_ARGISNULL(ARG_TO) ? DATEVAL_NOEND : PG_GETARG_DATEADT(ARG_TO);
	asked->wish.days = !PG_ARGISNULL(ARG_FROM) || !PG_ARGISNULL(ARG_TO);
	asked->wish.all = !asked->wish.days;
	cc_counters_begin(&asked->query, snapshot);
	if (!asked->wish.found)
		return false;
	check_dimension(&asked->wish, asked->query.dimension);
	return true;
}

static bool
class_is_wanted(const Asked *asked, const CellName *name)
{
	ArrayIterator iterator;
	Datum		value;
	bool		isnull;
	bool		wanted = false;

	if (asked->classes == NULL)
		return true;
	iterator = array_create_iterator(asked->classes, 0, NULL);
	while (!wanted && array_iterate(iterator, &value, &isnull))
	{
		if (isnull || name->class == NULL)
			wanted = isnull && name->class == NULL;
		else
		{
			StringInfoData label;

			initStringInfo(&label);
			appendStringInfoString(&label, TextDatumGetCString(value));
			cc_cell_shorten(&label);	/* as the row's was */
			wanted = cc_labels_equal(name->class, name->class_len, label.data, label.len);
		}
	}
	array_free_iterator(iterator);
	return wanted;
}

static void
add_cell(int wish, const CellName *name, int64 n, Numeric sum, void *arg)
{
	Asked	   *asked = arg;

	if (!class_is_wanted(asked, name))
		return;
	asked->n += n;
	asked->sum = cc_sum_add(asked->sum, sum);
	asked->odd[name->kind & CELL_SUM_KIND] += n;
}

/* As sum() over the rows would have it: numbers that are none take over. */
static Numeric
make_total(Numeric sum, const int64 *odd)
{
	const char *text = NULL;

	if (odd[CELL_HUGE] != 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the counter's sum has values beyond 1e1000, which it does not add up"),
				 errhint("Sum the table's column itself.")));
	if (odd[CELL_NAN] != 0 || (odd[CELL_INFINITY] != 0 && odd[CELL_NEG_INFINITY] != 0))
		text = "NaN";
	else if (odd[CELL_INFINITY] != 0)
		text = "Infinity";
	else if (odd[CELL_NEG_INFINITY] != 0)
		text = "-Infinity";
	if (text == NULL)
		return sum ? sum : int64_to_numeric(0);
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static bool
answer(FunctionCallInfo fcinfo, Asked *asked)
{
	if (!ask(fcinfo, asked))
		return false;
	if (!PG_ARGISNULL(ARG_CLASSES))
		asked->classes = PG_GETARG_ARRAYTYPE_P(ARG_CLASSES);
	cc_counters_read(&asked->query, GetActiveSnapshot());
	cc_counters_visit(&asked->query, add_cell, asked);
	return true;
}

/*
 * count(counter text, dimension text, key text, classes text[], from_day date,
 *		to_day date) -> bigint
 */
Datum
clinicache_count(PG_FUNCTION_ARGS)
{
	Asked		asked;

	if (!answer(fcinfo, &asked))
		PG_RETURN_NULL();
	PG_RETURN_INT64(asked.n);
}

/*
 * total(... the same ...) -> numeric
 */
Datum
clinicache_total(PG_FUNCTION_ARGS)
{
	Asked		asked;

	if (!answer(fcinfo, &asked))
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(make_total(asked.sum, asked.odd));
}

/* a row of series() in the making: cells of one period and class, which come in order */
typedef struct Series
{
	ReturnSetInfo *rsinfo;
	bool		all;
	bool		by_month;
	CellSet    *cells;			/* period and class -> n, sum; kinds apart */
	StringInfoData name;
} Series;

static void
add_to_series(int wish, const CellName *name, int64 n, Numeric sum, void *arg)
{
	Series	   *series = arg;
	CellName	row = *name;

	if (series->all)
	{
		row.day = 0;
		row.kind = (name->kind & CELL_SUM_KIND) | CELL_ALL;
	}
	else if (series->by_month && !DATE_NOT_FINITE(name->day))
	{
		int			year;
		int			month;
		int			day;

		j2date(name->day + POSTGRES_EPOCH_JDATE, &year, &month, &day);
		row.day = name->day - (day - 1);
	}
	/* the kind goes last: see put_series */
	resetStringInfo(&series->name);
	cc_append_int32(&series->name, row.day);
	cc_append_text(&series->name, row.class, row.class_len);
	appendStringInfoCharMacro(&series->name, (char) row.kind);
	cc_cells_add(series->cells, series->name.data, series->name.len, n, sum);
}

static void
put_row(Series *series, const char *name, int64 n, Numeric sum, const int64 *odd)
{
	Datum		values[4];
	bool		nulls[4] = {false};
	const char *class;
	int			class_len;

	cc_read_text(name + 4, &class, &class_len);
	values[0] = DateADTGetDatum(cc_read_int32(name));
	nulls[0] = name[4 + 2 + class_len] & CELL_ALL;
	nulls[1] = class == NULL;
	values[1] = class ? PointerGetDatum(cstring_to_text_with_len(class, class_len)) : (Datum) 0;
	values[2] = Int64GetDatum(n);
	values[3] = NumericGetDatum(make_total(sum, odd));
	tuplestore_putvalues(series->rsinfo->setResult, series->rsinfo->setDesc, values, nulls);
}

/* Put out the rows: neighbours that differ in the kind only are one. */
static void
put_series(Series *series)
{
	Cell	  **cells = cc_cells_sorted(series->cells);
	uint32		count = cc_cells_count(series->cells);
	uint32		end;

	for (uint32 i = 0; i < count; i = end)
	{
		int64		odd[CELL_SUM_KIND + 1] = {0};
		int64		n = 0;
		Numeric		sum = NULL;

		for (end = i; end < count && cells[end]->len == cells[i]->len &&
			 memcmp(cells[end]->name, cells[i]->name, cells[i]->len - 1) == 0; end++)
		{
			n += cells[end]->n;
			sum = cc_sum_add(sum, cells[end]->sum);
			odd[cells[end]->name[cells[end]->len - 1] & CELL_SUM_KIND] += cells[end]->n;
		}
		if (n != 0 || !cc_cell_is_zero(n, sum))
			put_row(series, cells[i]->name, n, sum, odd);
	}
}

/*
 * series(counter text, dimension text, key text, grain text, from_day date,
 *		to_day date) -> table(day date, class text, n bigint, total numeric)
 */
Datum
clinicache_series(PG_FUNCTION_ARGS)
{
	char	   *grain = text_argument(fcinfo, ARG_CLASSES, "grain");
	Series		series = {
		.all = strcmp(grain, "all") == 0,
		.by_month = strcmp(grain, "month") == 0
	};
	Asked		asked;

	if (!series.all && !series.by_month && strcmp(grain, "day") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("grain \"%s\" is not known", grain),
				 errhint("Grains are day, month and all.")));
	InitMaterializedSRF(fcinfo, 0);
	if (!ask(fcinfo, &asked))
		return (Datum) 0;
	if (!series.all)
	{
		asked.wish.days = true;
		asked.wish.all = false;
	}
	series.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	series.cells = cc_cells_create(CurrentMemoryContext);
	initStringInfo(&series.name);
	cc_counters_read(&asked.query, GetActiveSnapshot());
	cc_counters_visit(&asked.query, add_to_series, &series);
	put_series(&series);
	return (Datum) 0;
}
