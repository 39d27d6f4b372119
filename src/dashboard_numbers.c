/*-------------------------------------------------------------------------
 *
 * dashboard_numbers.c
 *		The numbers of a dashboard: cells of counters, added up.
 *
 * What is folded stays what it is until the next fold, and a clinic's dashboard is
 * asked for again and again.  So a session keeps what the folded cells of a key came
 * to, with the number of the fold, and next time adds only the batches since then,
 * what is not folded, and its own changes.  Folds have numbers, and who sees one
 * sees all before it; so what was kept of one fold, seen committed, is a part of
 * every later one.  Ids of sources are never given again.
 *
 * Memory: what is kept is under TopMemoryContext, bounded; all else in the context
 * of the dashboard.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "dashboard_numbers.h"

#include "catalog.h"
#include "class_label.h"
#include "common/hashfn.h"
#include "fold.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

/* keys of which something is kept: in sets, by their hash */
#define KEPT_SETS 256
#define KEPT_WAYS 4

/* larger ones are not kept */
#define KEPT_KEY 64
#define KEPT_SOURCES 16
#define KEPT_STATUSES 32
#define KEPT_DAYS 64

typedef struct KeptTotals
{
	MemoryContext context;		/* reset with each change; NULL: nothing was ever kept here */
	bool		valid;
	uint32		hash;			/* of the key */
	char		dimension[16];
	int			key_len;
	char		key[KEPT_KEY];
	DateADT		today;
	int			nsources;
	int32		sources[KEPT_SOURCES];	/* ids, those of each wish with a 0 behind them */
	uint64		classes;		/* what labels meant */
	Oid			fold_relid;		/* of counter_fold: another one after DROP EXTENSION */
	int64		fold;			/* all up to this one is in the totals */
	Totals		totals;
} KeptTotals;

static KeptTotals *kept = NULL; /* KEPT_SETS * KEPT_WAYS, in TopMemoryContext */

static char *
copy_label(const char *label, int len)
{
	return label ? pnstrdup(label, len) : NULL;
}

/* A status seen for the first time is looked up, once. */
static Status *
make_status(Numbers *numbers, const CellName *name)
{
	Totals	   *totals = &numbers->totals;
	MemoryContext old = MemoryContextSwitchTo(numbers->context);
	bool		cancelled = cc_class_means(name->class, name->class_len, "cancelled");
	Status	   *status;

	if (totals->nstatuses == totals->max_statuses)
	{
		totals->max_statuses = Max(8, totals->max_statuses * 2);
		totals->statuses = totals->statuses ?
			repalloc(totals->statuses, sizeof(Status) * totals->max_statuses) :
			palloc(sizeof(Status) * totals->max_statuses);
	}
	status = &totals->statuses[totals->nstatuses];
	status->label = copy_label(name->class, name->class_len);
	status->len = name->class_len;
	status->completed = cc_class_means(name->class, name->class_len, "completed");
	status->waiting = cc_class_means(name->class, name->class_len, "waiting");
	status->live = !cancelled && !status->completed &&
		!cc_class_means(name->class, name->class_len, "no_show");
	status->paid = cancelled || cc_class_means(name->class, name->class_len, "paid");
	status->unpaid = cancelled || cc_class_means(name->class, name->class_len, "unpaid");
	status->n = 0;
	totals->nstatuses++;
	MemoryContextSwitchTo(old);
	return status;
}

static Status *
find_status(Numbers *numbers, const CellName *name)
{
	for (int i = 0; i < numbers->totals.nstatuses; i++)
	{
		Status	   *status = &numbers->totals.statuses[i];

		if ((status->label == NULL) == (name->class == NULL) && status->len == name->class_len &&
			(status->label == NULL || memcmp(status->label, name->class, status->len) == 0))
			return status;
	}
	return make_status(numbers, name);
}

/* Add to a sum that lives as long as the dashboard. */
static void
add_sum(Numbers *numbers, Numeric *total, Numeric sum)
{
	MemoryContext old = MemoryContextSwitchTo(numbers->context);

	if (sum != NULL)
		*total = cc_sum_add(*total ? *total : int64_to_numeric(0), sum);
	MemoryContextSwitchTo(old);
}

/* Add to the count of a day; they mostly come in order. */
static void
add_day(Numbers *numbers, DateADT day, int64 n)
{
	Totals	   *totals = &numbers->totals;
	int			at = totals->ndays;

	while (at > 0 && totals->days[at - 1].day > day)
		at--;
	if (at > 0 && totals->days[at - 1].day == day)
	{
		totals->days[at - 1].n += n;
		return;
	}
	if (totals->ndays == totals->max_days)
	{
		totals->max_days = Max(16, totals->max_days * 2);
		totals->days = totals->days ?
			repalloc(totals->days, sizeof(DayCount) * totals->max_days) :
			MemoryContextAlloc(numbers->context, sizeof(DayCount) * totals->max_days);
	}
	memmove(&totals->days[at + 1], &totals->days[at], sizeof(DayCount) * (totals->ndays - at));
	totals->days[at] = (DayCount) {day, n};
	totals->ndays++;
}

static void
add_appointments(Numbers *numbers, const CellName *name, Status *status, int64 n)
{
	Totals	   *totals = &numbers->totals;

	if (name->kind & CELL_ALL)
	{
		status->n += n;
		totals->completed += status->completed ? n : 0;
		return;
	}
	if (name->day == numbers->today)
	{
		totals->today += n;
		totals->waiting += status->waiting ? n : 0;
	}
	if (name->day >= numbers->month_begin && name->day <= numbers->month_end)
		totals->this_month += n;
	if (name->day < numbers->today || !status->live)
		return;
	totals->upcoming += n;
	if (numbers->wants_days)
		add_day(numbers, name->day, n);
}

static void
add_cell(int wish, const CellName *name, int64 n, Numeric sum, void *arg)
{
	Numbers    *numbers = arg;
	Totals	   *totals = &numbers->totals;
	Status	   *status = find_status(numbers, name);

	switch (wish)
	{
		case WISH_APPOINTMENTS:
			add_appointments(numbers, name, status, n);
			break;
		case WISH_PATIENTS:
			if (name->kind & CELL_ALL)
				totals->patients += n;
			else
				totals->new_patients += n;
			break;
		case WISH_DOCTORS:
			totals->doctors += n;
			break;
		case WISH_STAFF:
			totals->staff += n;
			break;
		case WISH_PAYMENTS:
			if (!status->unpaid)
				add_sum(numbers, &totals->revenue, sum);
			break;
		case WISH_BILLS:
			if (!status->paid)
				add_sum(numbers, &totals->outstanding, sum);
			break;
	}
}

static void
forget_totals(void *arg)
{
	Numbers    *numbers = arg;

	memset(&numbers->totals, 0, sizeof(Totals));
}

static Numeric
copy_sum(Numeric sum)
{
	return sum ? memcpy(palloc(VARSIZE(sum)), sum, VARSIZE(sum)) : NULL;
}

/* Copy totals into CurrentMemoryContext. */
static void
copy_totals(Totals *target, const Totals *source)
{
	*target = *source;
	target->revenue = copy_sum(source->revenue);
	target->outstanding = copy_sum(source->outstanding);
	target->max_statuses = source->nstatuses;
	target->statuses = NULL;
	if (source->nstatuses > 0)
	{
		target->statuses = palloc(sizeof(Status) * source->nstatuses);
		memcpy(target->statuses, source->statuses, sizeof(Status) * source->nstatuses);
		for (int i = 0; i < source->nstatuses; i++)
			target->statuses[i].label = copy_label(source->statuses[i].label,
												   source->statuses[i].len);
	}
	target->max_days = source->ndays;
	target->days = NULL;
	if (source->ndays > 0)
	{
		target->days = palloc(sizeof(DayCount) * source->ndays);
		memcpy(target->days, source->days, sizeof(DayCount) * source->ndays);
	}
}

/* The ids of all sources that are read; -1: too many to be kept. */
static int
list_sources(const CounterQuery *query, int32 *ids)
{
	int			count = 0;

	for (int i = 0; i < query->nwishes; i++)
	{
		ListCell   *cell;

		if (count + list_length(query->wishes[i].sources) >= KEPT_SOURCES)
			return -1;
		foreach(cell, query->wishes[i].sources)
			ids[count++] = ((CounterSource *) lfirst(cell))->id;
		ids[count++] = 0;
	}
	return count;
}

/* Is this what the same numbers came to, as of some fold? */
static bool
is_same(const KeptTotals *entry, const KeptTotals *wanted)
{
	return entry->valid && entry->hash == wanted->hash && entry->key_len == wanted->key_len &&
		memcmp(entry->key, wanted->key, wanted->key_len) == 0 &&
		strcmp(entry->dimension, wanted->dimension) == 0 &&
		entry->today == wanted->today && entry->classes == wanted->classes &&
		entry->fold_relid == wanted->fold_relid && entry->nsources == wanted->nsources &&
		memcmp(entry->sources, wanted->sources, sizeof(int32) * wanted->nsources) == 0;
}

/* Fill in what tells one entry from another; false: such a thing is not kept. */
static bool
describe(const Numbers *numbers, KeptTotals *wanted)
{
	const CounterQuery *query = numbers->query;

	memset(wanted, 0, sizeof(KeptTotals));
	wanted->nsources = list_sources(query, wanted->sources);
	if (wanted->nsources < 0 || query->key_len > KEPT_KEY)
		return false;
	wanted->valid = true;
	strlcpy(wanted->dimension, query->dimension, sizeof(wanted->dimension));
	wanted->key_len = query->key_len;
	memcpy(wanted->key, query->key, query->key_len);
	wanted->hash = hash_bytes((const unsigned char *) query->key, query->key_len);
	wanted->today = numbers->today;
	wanted->classes = numbers->classes;
	wanted->fold_relid = cc_catalog_relid(CC_TABLE_FOLD);
	return true;
}

/* The key's entry; if there is none, NULL or, to be filled, one in place of another. */
static KeptTotals *
find_kept(const KeptTotals *wanted, bool make)
{
	static int	turn = 0;
	KeptTotals *set = kept ? kept + wanted->hash % KEPT_SETS * KEPT_WAYS : NULL;

	if (set == NULL && !make)
		return NULL;
	if (set == NULL)
	{
		kept = MemoryContextAllocZero(TopMemoryContext,
									  sizeof(KeptTotals) * KEPT_SETS * KEPT_WAYS);
		set = kept + wanted->hash % KEPT_SETS * KEPT_WAYS;
	}
	for (int i = 0; i < KEPT_WAYS; i++)
		if (is_same(&set[i], wanted))
			return &set[i];
	if (!make)
		return NULL;
	for (int i = 0; i < KEPT_WAYS; i++)
		if (!set[i].valid)
			return &set[i];
	return &set[turn++ % KEPT_WAYS];
}

/*
 * Take over what was kept of these numbers, if some fold up to "fold" is in it, and
 * the batches after that one are still there.  Returns which; 0: nothing was.
 */
static int64
resume(int64 base, int64 fold, void *arg)
{
	Numbers    *numbers = arg;
	KeptTotals	wanted;
	KeptTotals *entry;
	MemoryContext old;

	if (!describe(numbers, &wanted))
		return 0;
	entry = find_kept(&wanted, false);
	if (entry == NULL || entry->fold < base || entry->fold > fold)
		return 0;
	old = MemoryContextSwitchTo(numbers->context);
	copy_totals(&numbers->totals, &entry->totals);
	MemoryContextSwitchTo(old);
	return entry->fold;
}

/* The totals are those of a fold: keep them, unless they are of an older one than what is kept. */
static void
keep(int64 fold, void *arg)
{
	Numbers    *numbers = arg;
	KeptTotals	wanted;
	KeptTotals *entry;
	MemoryContext old;

	if (numbers->totals.nstatuses > KEPT_STATUSES || numbers->totals.ndays > KEPT_DAYS ||
		!describe(numbers, &wanted))
		return;
	entry = find_kept(&wanted, true);
	if (is_same(entry, &wanted) && entry->fold >= fold)
		return;
	entry->valid = false;		/* should memory run out below */
	wanted.context = entry->context;
	if (wanted.context)
		MemoryContextReset(wanted.context);
	else
		wanted.context = entry->context =
			AllocSetContextCreate(TopMemoryContext, "clinicache dashboard totals",
								  ALLOCSET_SMALL_SIZES);
	wanted.fold = fold;
	old = MemoryContextSwitchTo(wanted.context);
	copy_totals(&wanted.totals, &numbers->totals);
	MemoryContextSwitchTo(old);
	*entry = wanted;
}

/* Which day it is. */
void
cc_numbers_set_today(Numbers *numbers, DateADT today)
{
	int			year;
	int			month;
	int			day;

	numbers->today = today;
	j2date(today + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	numbers->month_begin = today - (day - 1);
	numbers->month_end = numbers->month_begin + day_tab[isleap(year)][month - 1] - 1;
}

/* Read the counters, once it is known what day it is. */
void
cc_numbers_read(Numbers *numbers, CounterQuery *query, Snapshot snapshot)
{
	for (int i = 0; i < query->nwishes; i++)
	{
		query->wishes[i].from = numbers->month_begin;
		query->wishes[i].to = numbers->month_end;
	}
	query->wishes[WISH_APPOINTMENTS].to = DATEVAL_NOEND;
	query->direct = add_cell;
	query->restart = forget_totals;
	query->resume = resume;
	query->keep = keep;
	query->arg = numbers;
	numbers->query = query;
	/* before: what is looked up of a meaning after a change is not kept as of now */
	numbers->classes = cc_class_version();
	cc_counters_read(query, snapshot);
}
