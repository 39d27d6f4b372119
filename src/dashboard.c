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

#include "dashboard_numbers.h"
#include "json_build.h"
#include "miscadmin.h"
#include "recent.h"
#include "tenant_zone.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(clinicache_clinic_dashboard);
PG_FUNCTION_INFO_V1(clinicache_client_dashboard);
PG_FUNCTION_INFO_V1(clinicache_doctor_dashboard);

#define APPOINTMENTS "appointments"
#define RECENT_OF_CLINIC 10
#define RECENT_OF_CLIENT 5

typedef struct Dashboard
{
	CounterQuery query;
	CounterWish wishes[WISHES];
	Snapshot	snapshot;
	char	   *whole_key;		/* as it was given */
	Numbers		numbers;
	JsonbParseState *json;
} Dashboard;

/* Local days, by the tenant's zone, else that of the counters. */
static void
set_days(Dashboard *board, const char *tenant)
{
	TenantZone *zone = tenant ? cc_tenant_own_zone(tenant, strlen(tenant)) : NULL;
	TenantZone	counted;
	Timestamp	now;

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
	cc_numbers_set_today(&board->numbers,
						 (DateADT) (now / USECS_PER_DAY - (now % USECS_PER_DAY < 0 ? 1 : 0)));
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
	board->whole_key = text_to_cstring(PG_GETARG_TEXT_PP(0));
	initStringInfo(&key);
	appendStringInfoString(&key, board->whole_key);
	cc_cell_shorten(&key);
	board->query.dimension = dimension;
	board->query.key = key.data;
	board->query.key_len = key.len;
	board->query.nwishes = nwishes;
	board->query.wishes = board->wishes;
	board->snapshot = GetActiveSnapshot();
	board->numbers.context = CurrentMemoryContext;
	wish_for(board, WISH_APPOINTMENTS, APPOINTMENTS, true, true);
	(void) pushJsonbValue(&board->json, WJB_BEGIN_OBJECT, NULL);
}

static void
read_counters(Dashboard *board)
{
	cc_numbers_read(&board->numbers, &board->query, board->snapshot);
}

static void
put_key(Dashboard *board, const char *key)
{
	cc_json_key(&board->json, key, strlen(key));
}

static void
put_text(Dashboard *board, const char *key, const char *value)
{
	put_key(board, key);
	cc_json_text(&board->json, value, strlen(value));
}

static void
put_null(Dashboard *board, const char *key)
{
	put_key(board, key);
	cc_json_null(&board->json);
}

static void
put_day(Dashboard *board, const char *key, DateADT day)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;

	j2date(day + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, text);
	put_text(board, key, pstrdup(text));
}

/* A number, null if no table is tracked for the wish. */
static void
put_count(Dashboard *board, int wish, const char *key, int64 n)
{
	put_key(board, key);
	if (board->wishes[wish].found)
		cc_json_int(&board->json, n);
	else
		cc_json_null(&board->json);
}

static void
put_sum(Dashboard *board, int wish, const char *key, Numeric sum)
{
	put_key(board, key);
	if (board->wishes[wish].found)
		cc_json_numeric(&board->json, sum ? sum : int64_to_numeric(0));
	else
		cc_json_null(&board->json);
}

static void
put_by_status(Dashboard *board)
{
	Totals	   *totals = &board->numbers.totals;

	put_key(board, "appointments_by_status");
	if (!board->wishes[WISH_APPOINTMENTS].found)
	{
		cc_json_null(&board->json);
		return;
	}
	(void) pushJsonbValue(&board->json, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < totals->nstatuses; i++)
	{
		Status	   *status = &totals->statuses[i];

		if (status->n == 0 || status->label == NULL)
			continue;
		cc_json_key(&board->json, status->label, status->len);
		cc_json_int(&board->json, status->n);
	}
	(void) pushJsonbValue(&board->json, WJB_END_OBJECT, NULL);
}

/*
 * Put the newest appointments under the key; how many: 0 for none of them, only for
 * "tenant", which is set to that of the newest.
 */
static void
put_recent(Dashboard *board, int count, char **tenant)
{
	List	   *sources = board->wishes[WISH_APPOINTMENTS].sources;
	JsonbParseState **json = count > 0 ? &board->json : NULL;

	if (json)
		put_key(board, "recent_appointments");
	if (sources == NIL ||
		!cc_recent_rows(linitial(sources), board->query.dimension, board->whole_key,
						Max(count, 1), json, tenant))
	{
		if (json)
			cc_json_null(json);
	}
}

static Datum
finish(Dashboard *board)
{
	JsonbValue *value = pushJsonbValue(&board->json, WJB_END_OBJECT, NULL);

	return JsonbPGetDatum(JsonbValueToJsonb(value));
}

/*
 * clinic_dashboard(clinic text) -> jsonb
 */
Datum
clinicache_clinic_dashboard(PG_FUNCTION_ARGS)
{
	Dashboard	board;
	Totals	   *totals = &board.numbers.totals;

	begin(&board, fcinfo, "clinic", WISHES);
	wish_for(&board, WISH_PATIENTS, "patients", true, true);
	wish_for(&board, WISH_DOCTORS, "doctors", true, false);
	wish_for(&board, WISH_STAFF, "staff", true, false);
	wish_for(&board, WISH_PAYMENTS, "payments", false, true);
	wish_for(&board, WISH_BILLS, "bills", true, false);
	cc_counters_begin(&board.query, board.snapshot);
	set_days(&board, board.whole_key);
	read_counters(&board);

	put_text(&board, "clinic", board.whole_key);
	put_day(&board, "day", board.numbers.today);
	put_count(&board, WISH_PATIENTS, "patients", totals->patients);
	put_count(&board, WISH_DOCTORS, "doctors", totals->doctors);
	put_count(&board, WISH_STAFF, "staff", totals->staff);
	put_count(&board, WISH_PATIENTS, "new_patients_this_month", totals->new_patients);
	put_by_status(&board);
	put_count(&board, WISH_APPOINTMENTS, "today", totals->today);
	put_count(&board, WISH_APPOINTMENTS, "waiting", totals->waiting);
	put_count(&board, WISH_APPOINTMENTS, "upcoming", totals->upcoming);
	put_count(&board, WISH_APPOINTMENTS, "this_month", totals->this_month);
	put_count(&board, WISH_APPOINTMENTS, "completed", totals->completed);
	put_sum(&board, WISH_PAYMENTS, "revenue_this_month", totals->revenue);
	put_sum(&board, WISH_BILLS, "outstanding", totals->outstanding);
	put_recent(&board, RECENT_OF_CLINIC, NULL);
	return finish(&board);
}

/* The first day with an upcoming appointment. */
static void
put_next(Dashboard *board)
{
	Totals	   *totals = &board->numbers.totals;

	for (int i = 0; i < totals->ndays; i++)
		if (totals->days[i].n > 0 && !DATE_NOT_FINITE(totals->days[i].day))
		{
			put_day(board, "next_appointment_date", totals->days[i].day);
			return;
		}
	put_null(board, "next_appointment_date");
}

/*
 * client_dashboard(client text) -> jsonb
 */
Datum
clinicache_client_dashboard(PG_FUNCTION_ARGS)
{
	Dashboard	board;
	Totals	   *totals = &board.numbers.totals;
	char	   *tenant = NULL;

	begin(&board, fcinfo, "client", 1);
	board.numbers.wants_days = true;
	cc_counters_begin(&board.query, board.snapshot);
	/* the patient's clinic says what day it is */
	put_recent(&board, RECENT_OF_CLIENT, &tenant);
	set_days(&board, tenant);
	read_counters(&board);

	put_text(&board, "client", board.whole_key);
	put_day(&board, "day", board.numbers.today);
	put_count(&board, WISH_APPOINTMENTS, "upcoming_count", totals->upcoming);
	put_count(&board, WISH_APPOINTMENTS, "total_month_count", totals->this_month);
	put_count(&board, WISH_APPOINTMENTS, "completed_count", totals->completed);
	put_next(&board);
	return finish(&board);
}

/*
 * doctor_dashboard(doctor text) -> jsonb
 */
Datum
clinicache_doctor_dashboard(PG_FUNCTION_ARGS)
{
	Dashboard	board;
	Totals	   *totals = &board.numbers.totals;
	char	   *tenant = NULL;

	begin(&board, fcinfo, "doctor", 1);
	cc_counters_begin(&board.query, board.snapshot);
	if (cc_tenants_have_zones())
		put_recent(&board, 0, &tenant);
	set_days(&board, tenant);
	read_counters(&board);

	put_text(&board, "doctor", board.whole_key);
	put_day(&board, "day", board.numbers.today);
	put_count(&board, WISH_APPOINTMENTS, "today", totals->today);
	put_count(&board, WISH_APPOINTMENTS, "waiting", totals->waiting);
	put_count(&board, WISH_APPOINTMENTS, "upcoming", totals->upcoming);
	put_count(&board, WISH_APPOINTMENTS, "completed", totals->completed);
	return finish(&board);
}
