/*-------------------------------------------------------------------------
 *
 * dashboard_numbers.h
 *		The numbers of a dashboard: cells of counters, added up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_DASHBOARD_NUMBERS_H
#define CLINICACHE_DASHBOARD_NUMBERS_H

#include "clinicache.h"

#include "counter_read.h"
#include "utils/date.h"
#include "utils/numeric.h"

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

typedef struct DayCount
{
	DateADT		day;
	int64		n;
} DayCount;

/* what has been added up so far; pointers are into its context */
typedef struct Totals
{
	int64		today;			/* appointments, as the next four */
	int64		waiting;
	int64		upcoming;
	int64		this_month;
	int64		completed;

	int64		patients;
	int64		new_patients;
	int64		doctors;
	int64		staff;
	Numeric		revenue;		/* NULL: zero */
	Numeric		outstanding;

	int			nstatuses;
	int			max_statuses;
	Status	   *statuses;		/* in the order in which they were met */
	int			ndays;
	int			max_days;
	DayCount   *days;			/* of upcoming ones, in order; only if wanted */
} Totals;

typedef struct Numbers
{
	MemoryContext context;
	const CounterQuery *query;
	DateADT		today;
	DateADT		month_begin;
	DateADT		month_end;
	bool		wants_days;
	uint64		classes;		/* what labels mean, when reading began */
	Totals		totals;
} Numbers;

extern void cc_numbers_set_today(Numbers *numbers, DateADT today);
extern void cc_numbers_read(Numbers *numbers, CounterQuery *query, Snapshot snapshot);

#endif							/* CLINICACHE_DASHBOARD_NUMBERS_H */
