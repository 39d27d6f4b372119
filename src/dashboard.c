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

typedef struct Dashboard
{
	CounterQuery query;
	CounterWish wishes[WISHES];
	Snapshot	snapshot;
	DateADT		today;
	DateADT		month_begin;
	DateADT		month_end;
	StringInfoData json;

	/* appointments */
	CellSet    *by_status;		/* status -> n */
	int64		of_today;
	int64		waiting;
	int64		upcoming;
	int64		this_month;
	int64		completed;
	CellSet    *live_days;		/* day -> n, of upcoming ones */

	int64		patients;
	int64		new_patients;
	int64		doctors;
	int64		staff;
	Numeric		revenue;
	Numeric		outstanding;
} Dashboard;

static bool
means(const CellName *name, const char *meaning)
{
	return cc_class_means(name->class, name->class_len, meaning);
}

static bool
is_live(const CellName *name)
{
	return !means(name, "cancelled") && !means(name, "completed") && !means(name, "no_show");
}

static void
add_appointments(Dashboard *board, const CellName *name, int64 n)
{
	if (name->kind & CELL_ALL)
	{
		cc_cells_add(board->by_status, name->class ? name->class : "",
					 name->class ? name->class_len : 0, name->class ? n : 0, NULL);
		if (means(name, "completed"))
			board->completed += n;
		return;
	}
	if (name->day == board->today)
	{
		board->of_today += n;
		if (means(name, "waiting"))
			board->waiting += n;
	}
	if (name->day >= board->month_begin && name->day <= board->month_end)
		board->this_month += n;
	if (name->day >= board->today && is_live(name))
	{
		StringInfoData day;

		board->upcoming += n;
		initStringInfo(&day);
		cc_append_int32(&day, name->day);
		cc_cells_add(board->live_days, day.data, day.len, n, NULL);
	}
}

static void
add_cell(int wish, const CellName *name, int64 n, Numeric sum, void *arg)
{
	Dashboard  *board = arg;

	switch (wish)
	{
		case WISH_APPOINTMENTS:
			add_appointments(board, name, n);
			break;
		case WISH_PATIENTS:
			if (name->kind & CELL_ALL)
				board->patients += n;
			else
				board->new_patients += n;
			break;
		case WISH_DOCTORS:
			board->doctors += n;
			break;
		case WISH_STAFF:
			board->staff += n;
			break;
		case WISH_PAYMENTS:
			if (!means(name, "cancelled") && !means(name, "unpaid"))
				board->revenue = cc_sum_add(board->revenue, sum);
			break;
		case WISH_BILLS:
			if (!means(name, "cancelled") && !means(name, "paid"))
				board->outstanding = cc_sum_add(board->outstanding, sum);
			break;
	}
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
	board->by_status = cc_cells_create(CurrentMemoryContext);
	board->live_days = cc_cells_create(CurrentMemoryContext);
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
	cc_counters_read(&board->query, board->snapshot);
	cc_counters_visit(&board->query, add_cell, board);
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
	Cell	  **cells = cc_cells_sorted(board->by_status);
	const char *separator = "";

	put_key(&board->json, "appointments_by_status");
	if (!board->wishes[WISH_APPOINTMENTS].found)
	{
		appendStringInfoString(&board->json, "null");
		return;
	}
	appendStringInfoChar(&board->json, '{');
	for (uint32 i = 0; i < cc_cells_count(board->by_status); i++)
	{
		if (cells[i]->n == 0)
			continue;
		appendStringInfoString(&board->json, separator);
		escape_json(&board->json, pnstrdup(cells[i]->name, cells[i]->len));
		appendStringInfo(&board->json, ": " INT64_FORMAT, cells[i]->n);
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
	put_count(&board, WISH_PATIENTS, "patients", board.patients);
	put_count(&board, WISH_DOCTORS, "doctors", board.doctors);
	put_count(&board, WISH_STAFF, "staff", board.staff);
	put_count(&board, WISH_PATIENTS, "new_patients_this_month", board.new_patients);
	put_by_status(&board);
	put_count(&board, WISH_APPOINTMENTS, "today", board.of_today);
	put_count(&board, WISH_APPOINTMENTS, "waiting", board.waiting);
	put_count(&board, WISH_APPOINTMENTS, "upcoming", board.upcoming);
	put_count(&board, WISH_APPOINTMENTS, "this_month", board.this_month);
	put_count(&board, WISH_APPOINTMENTS, "completed", board.completed);
	put_sum(&board, WISH_PAYMENTS, "revenue_this_month", board.revenue);
	put_sum(&board, WISH_BILLS, "outstanding", board.outstanding);
	put_recent(&board, recent);
	return finish(&board);
}

/* The first day with an upcoming appointment. */
static void
put_next(Dashboard *board)
{
	Cell	  **cells = cc_cells_sorted(board->live_days);

	for (uint32 i = 0; i < cc_cells_count(board->live_days); i++)
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
	cc_counters_begin(&board.query, board.snapshot);
	/* the patient's clinic says what day it is */
	recent = read_recent(&board, fcinfo, RECENT_OF_CLIENT, &tenant);
	set_days(&board, tenant);
	read_counters(&board);

	put_text(&board.json, "client", board.query.key);
	put_day(&board.json, "day", board.today);
	put_count(&board, WISH_APPOINTMENTS, "upcoming_count", board.upcoming);
	put_count(&board, WISH_APPOINTMENTS, "total_month_count", board.this_month);
	put_count(&board, WISH_APPOINTMENTS, "completed_count", board.completed);
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
	put_count(&board, WISH_APPOINTMENTS, "today", board.of_today);
	put_count(&board, WISH_APPOINTMENTS, "waiting", board.waiting);
	put_count(&board, WISH_APPOINTMENTS, "upcoming", board.upcoming);
	put_count(&board, WISH_APPOINTMENTS, "completed", board.completed);
	return finish(&board);
}
