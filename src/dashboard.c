/*-------------------------------------------------------------------------
 *
 * dashboard.c
 *		The three dashboards.
 *
 * Numbers come from counters: one reading for all of a dashboard, in the caller's
 * snapshot.  What is today and this month is the clock's to say, in the time zone
 * of the clinic, each time anew; no counter knows of it.  Days are whole days:
 *
 *		upcoming	date >= today, status not cancelled, completed or no-show
 *		today		date = today
 *		this month	date in the month of today
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "class_label.h"
#include "counter_read.h"
#include "miscadmin.h"
#include "recent.h"
#include "tenant_zone.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(clinicache_clinic_dashboard);
PG_FUNCTION_INFO_V1(clinicache_client_dashboard);
PG_FUNCTION_INFO_V1(clinicache_doctor_dashboard);

#define APPOINTMENTS "appointments"
#define RECENT_OF_CLINIC 10
#define RECENT_OF_CLIENT 5

/* the wishes of a clinic's dashboard; the others have only the first */
enum
{
	WISH_APPOINTMENTS,
	WISH_PATIENTS,
	WISH_DOCTORS,
	WISH_STAFF,
	WISH_PAYMENTS,
	WISH_BILLS,
	WISHES
};

/* a status of appointments, bills or payments, and what it means */
typedef struct Status
{
	char	   *label;			/* NULL: none */
	int			len;
	bool		completed;
	bool		waiting;
	bool		live;			/* neither cancelled nor completed nor no-show */
	bool		paid;			/* or cancelled: nothing is outstanding */
	bool		unpaid;			/* or cancelled: no revenue */
	int64		n;				/* appointments that have it */
} Status;

/* what has been added up so far */
typedef struct Numbers
{
	int64		today;			/* appointments, as the next four */
	int64		waiting;
	int64		upcoming;
	int64		this_month;
	int64		completed;
	CellSet    *days;			/* day -> n, of upcoming ones, if wanted */

	int64		patients;
	int64		new_patients;
	int64		doctors;
	int64		staff;
	Numeric		revenue;
	Numeric		outstanding;
} Numbers;

typedef struct Dashboard
{
	CounterQuery query;
	CounterWish wishes[WISHES];
	MemoryContext context;
	Snapshot	snapshot;
	DateADT		today;
	DateADT		month_begin;
	DateADT		month_end;
	StringInfoData json;

	bool		wants_next;		/* the days of upcoming ones are wanted */
	Numbers		numbers;
	List	   *statuses;		/* of Status */
} Dashboard;

/* A status seen for the first time is looked up, once. */
static Status *
make_status(Dashboard *board, const CellName *name)
{
	MemoryContext old = MemoryContextSwitchTo(board->context);
	Status	   *status = palloc0(sizeof(Status));
	bool		cancelled = cc_class_means(name->class, name->class_len, "cancelled");

	status->label = name->class ? pnstrdup(name->class, name->class_len) : NULL;
	status->len = name->class_len;
	status->completed = cc_class_means(name->class, name->class_len, "completed");
	status->waiting = cc_class_means(name->class, name->class_len, "waiting");
	status->live = !cancelled && !status->completed &&
		!cc_class_means(name->class, name->class_len, "no_show");
	status->paid = cancelled || cc_class_means(name->class, name->class_len, "paid");
	status->unpaid = cancelled || cc_class_means(name->class, name->class_len, "unpaid");
	board->statuses = lappend(board->statuses, status);
	MemoryContextSwitchTo(old);
	return status;
}

static Status *
find_status(Dashboard *board, const CellName *name)
{
	ListCell   *cell;

	foreach(cell, board->statuses)
	{
		Status	   *status = lfirst(cell);

		if ((status->label == NULL) == (name->class == NULL) && status->len == name->class_len &&
			(status->label == NULL || memcmp(status->label, name->class, status->len) == 0))
			return status;
	}
	return make_status(board, name);
}

/* Add to a sum that lives as long as the dashboard. */
static void
add_sum(Dashboard *board, Numeric *total, Numeric sum)
{
	MemoryContext old = MemoryContextSwitchTo(board->context);

	if (sum != NULL)
		*total = cc_sum_add(*total ? *total : int64_to_numeric(0), sum);
	MemoryContextSwitchTo(old);
}

static void
add_appointments(Dashboard *board, const CellName *name, Status *status, int64 n)
{
	Numbers    *numbers = &board->numbers;

	if (name->kind & CELL_ALL)
	{
		status->n += n;
		numbers->completed += status->completed ? n : 0;
		return;
	}
	if (name->day == board->today)
	{
		numbers->today += n;
		numbers->waiting += status->waiting ? n : 0;
	}
	if (name->day >= board->month_begin && name->day <= board->month_end)
		numbers->this_month += n;
	if (name->day < board->today || !status->live)
		return;
	numbers->upcoming += n;
	if (board->wants_next)
	{
		StringInfoData day;

		initStringInfo(&day);
		cc_append_int32(&day, name->day);
		cc_cells_add(numbers->days, day.data, day.len, n, NULL);
	}
}

static void
add_cell(int wish, const CellName *name, int64 n, Numeric sum, void *arg)
{
	Dashboard  *board = arg;
	Numbers    *numbers = &board->numbers;
	Status	   *status = find_status(board, name);

	switch (wish)
	{
		case WISH_APPOINTMENTS:
			add_appointments(board, name, status, n);
			break;
		case WISH_PATIENTS:
			if (name->kind & CELL_ALL)
				numbers->patients += n;
			else
				numbers->new_patients += n;
			break;
		case WISH_DOCTORS:
			numbers->doctors += n;
			break;
		case WISH_STAFF:
			numbers->staff += n;
			break;
		case WISH_PAYMENTS:
			if (!status->unpaid)
				add_sum(board, &numbers->revenue, sum);
			break;
		case WISH_BILLS:
			if (!status->paid)
				add_sum(board, &numbers->outstanding, sum);
			break;
	}
}

static void
forget_numbers(void *arg)
{
	Dashboard  *board = arg;
	ListCell   *cell;

	memset(&board->numbers, 0, sizeof(Numbers));
	board->numbers.days = cc_cells_create(board->context);
	foreach(cell, board->statuses)
		((Status *) lfirst(cell))->n = 0;
}

/* Local days, by the tenant's zone, else that of the counters. */
static void
set_days(Dashboard *board, const char *tenant)
{
	TenantZone *zone = tenant ? cc_tenant_own_zone(tenant, strlen(tenant)) : NULL;
	TenantZone	counted;
	Timestamp	now;
	int			year;
	int			month;
	int			day;

	if (zone == NULL && board->query.sources != NIL)
	{
		pg_tz	   *tz = pg_tzset(((CounterSource *) linitial(board->query.sources))->timezone);

		if (tz != NULL)
		{
			cc_zone_set(&counted, tz);
			zone = &counted;
		}
	}
	if (zone == NULL)
		zone = cc_tenant_zone(NULL, 0);
	now = cc_zone_local(zone, cc_clock());
	board->today = (DateADT) (now / USECS_PER_DAY - (now % USECS_PER_DAY < 0 ? 1 : 0));
	j2date(board->today + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	board->month_begin = board->today - (day - 1);
	board->month_end = board->month_begin + day_tab[isleap(year)][month - 1] - 1;
}

static void
wish_for(Dashboard *board, int wish, const char *counter, bool all, bool days)
{
	board->wishes[wish].counter = counter;
	board->wishes[wish].all = all;
	board->wishes[wish].days = days;
}

/* Prepare for the key given as the function's argument. */
static void
begin(Dashboard *board, FunctionCallInfo fcinfo, const char *dimension, int nwishes)
{
	StringInfoData key;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the %s given to clinicache.%s_dashboard is null", dimension, dimension)));
	memset(board, 0, sizeof(Dashboard));
	initStringInfo(&key);
	appendStringInfoString(&key, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	cc_cell_shorten(&key);
	board->query.dimension = dimension;
	board->query.key = key.data;
	board->query.key_len = key.len;
	board->query.nwishes = nwishes;
	board->query.wishes = board->wishes;
	board->snapshot = GetActiveSnapshot();
	board->context = CurrentMemoryContext;
	forget_numbers(board);
	initStringInfo(&board->json);
	wish_for(board, WISH_APPOINTMENTS, APPOINTMENTS, true, true);
}

/* Read the counters, once it is known what day it is. */
static void
read_counters(Dashboard *board)
{
	for (int i = 0; i < board->query.nwishes; i++)
	{
		board->wishes[i].from = board->month_begin;
		board->wishes[i].to = board->month_end;
	}
	board->wishes[WISH_APPOINTMENTS].to = DATEVAL_NOEND;
	board->query.direct = add_cell;
	board->query.restart = forget_numbers;
	board->query.arg = board;
	cc_counters_read(&board->query, board->snapshot);
}

static void
put_key(StringInfo json, const char *key)
{
	appendStringInfo(json, "%s\"%s\": ", json->len > 1 ? ", " : "{", key);
}

static void
put_text(StringInfo json, const char *key, const char *value)
{
	put_key(json, key);
	if (value)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

static void
put_day(StringInfo json, const char *key, DateADT day)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;

	j2date(day + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, text);
	put_text(json, key, text);
}

/* A number, null if no table is tracked for the wish. */
static void
put_count(Dashboard *board, int wish, const char *key, int64 n)
{
	put_key(&board->json, key);
	if (board->wishes[wish].found)
		appendStringInfo(&board->json, INT64_FORMAT, n);
	else
		appendStringInfoString(&board->json, "null");
}

static void
put_sum(Dashboard *board, int wish, const char *key, Numeric sum)
{
	if (sum == NULL)
		sum = int64_to_numeric(0);
	put_key(&board->json, key);
	appendStringInfoString(&board->json, board->wishes[wish].found ?
						   DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(sum))) :
						   "null");
}

static void
put_by_status(Dashboard *board)
{
	const char *separator = "";
	ListCell   *cell;

	put_key(&board->json, "appointments_by_status");
	if (!board->wishes[WISH_APPOINTMENTS].found)
	{
		appendStringInfoString(&board->json, "null");
		return;
	}
	appendStringInfoChar(&board->json, '{');
	foreach(cell, board->statuses)
	{
		Status	   *status = lfirst(cell);

		if (status->n == 0 || status->label == NULL)
			continue;
		appendStringInfoString(&board->json, separator);
		escape_json(&board->json, status->label);
		appendStringInfo(&board->json, ": " INT64_FORMAT, status->n);
		separator = ", ";
	}
	appendStringInfoChar(&board->json, '}');
}

static void
put_recent(Dashboard *board, const char *rows)
{
	put_key(&board->json, "recent_appointments");
	appendStringInfoString(&board->json, rows ? rows : "null");
}

static Datum
finish(Dashboard *board)
{
	appendStringInfoChar(&board->json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(board->json.data));
}

/* The newest appointments under the key; "tenant": whose the newest is. */
static char *
read_recent(Dashboard *board, FunctionCallInfo fcinfo, int count, char **tenant)
{
	List	   *sources = board->wishes[WISH_APPOINTMENTS].sources;

	if (sources == NIL)
		return NULL;
	return cc_recent_rows(linitial(sources), board->query.dimension,
						  text_to_cstring(PG_GETARG_TEXT_PP(0)), count, board->snapshot, tenant);
}

/*
 * clinic_dashboard(clinic text) -> jsonb
 */
Datum
clinicache_clinic_dashboard(PG_FUNCTION_ARGS)
{
	Dashboard	board;
	char	   *recent;

	begin(&board, fcinfo, "clinic", WISHES);
	wish_for(&board, WISH_PATIENTS, "patients", true, true);
	wish_for(&board, WISH_DOCTORS, "doctors", true, false);
	wish_for(&board, WISH_STAFF, "staff", true, false);
	wish_for(&board, WISH_PAYMENTS, "payments", false, true);
	wish_for(&board, WISH_BILLS, "bills", true, false);
	cc_counters_begin(&board.query, board.snapshot);
	set_days(&board, board.query.key);
	read_counters(&board);
	recent = read_recent(&board, fcinfo, RECENT_OF_CLINIC, NULL);

	put_text(&board.json, "clinic", board.query.key);
	put_day(&board.json, "day", board.today);
	put_count(&board, WISH_PATIENTS, "patients", board.numbers.patients);
	put_count(&board, WISH_DOCTORS, "doctors", board.numbers.doctors);
	put_count(&board, WISH_STAFF, "staff", board.numbers.staff);
	put_count(&board, WISH_PATIENTS, "new_patients_this_month", board.numbers.new_patients);
	put_by_status(&board);
	put_count(&board, WISH_APPOINTMENTS, "today", board.numbers.today);
	put_count(&board, WISH_APPOINTMENTS, "waiting", board.numbers.waiting);
	put_count(&board, WISH_APPOINTMENTS, "upcoming", board.numbers.upcoming);
	put_count(&board, WISH_APPOINTMENTS, "this_month", board.numbers.this_month);
	put_count(&board, WISH_APPOINTMENTS, "completed", board.numbers.completed);
	put_sum(&board, WISH_PAYMENTS, "revenue_this_month", board.numbers.revenue);
	put_sum(&board, WISH_BILLS, "outstanding", board.numbers.outstanding);
	put_recent(&board, recent);
	return finish(&board);
}

/* The first day with an upcoming appointment. */
static void
put_next(Dashboard *board)
{
	Cell	  **cells = cc_cells_sorted(board->numbers.days);

	for (uint32 i = 0; i < cc_cells_count(board->numbers.days); i++)
	{
		DateADT		day = cc_read_int32(cells[i]->name);

		if (cells[i]->n > 0 && !DATE_NOT_FINITE(day))
		{
			put_day(&board->json, "next_appointment_date", day);
			return;
		}
	}
	put_text(&board->json, "next_appointment_date", NULL);
}

/*
 * client_dashboard(client text) -> jsonb
 */
Datum
clinicache_client_dashboard(PG_FUNCTION_ARGS)
{
	Dashboard	board;
	char	   *tenant = NULL;
	char	   *recent;

	begin(&board, fcinfo, "client", 1);
	board.wants_next = true;
	cc_counters_begin(&board.query, board.snapshot);
	/* the patient's clinic says what day it is */
	recent = read_recent(&board, fcinfo, RECENT_OF_CLIENT, &tenant);
	set_days(&board, tenant);
	read_counters(&board);

	put_text(&board.json, "client", board.query.key);
	put_day(&board.json, "day", board.today);
	put_count(&board, WISH_APPOINTMENTS, "upcoming_count", board.numbers.upcoming);
	put_count(&board, WISH_APPOINTMENTS, "total_month_count", board.numbers.this_month);
	put_count(&board, WISH_APPOINTMENTS, "completed_count", board.numbers.completed);
	put_next(&board);
	put_recent(&board, recent);
	return finish(&board);
}

/*
 * doctor_dashboard(doctor text) -> jsonb
 */
Datum
clinicache_doctor_dashboard(PG_FUNCTION_ARGS)
{
	Dashboard	board;
	char	   *tenant = NULL;

	begin(&board, fcinfo, "doctor", 1);
	cc_counters_begin(&board.query, board.snapshot);
	if (cc_tenants_have_zones())
		(void) read_recent(&board, fcinfo, 1, &tenant);
	set_days(&board, tenant);
	read_counters(&board);

	put_text(&board.json, "doctor", board.query.key);
	put_day(&board.json, "day", board.today);
	put_count(&board, WISH_APPOINTMENTS, "today", board.numbers.today);
	put_count(&board, WISH_APPOINTMENTS, "waiting", board.numbers.waiting);
	put_count(&board, WISH_APPOINTMENTS, "upcoming", board.numbers.upcoming);
	put_count(&board, WISH_APPOINTMENTS, "completed", board.numbers.completed);
	return finish(&board);
}
