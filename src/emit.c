/*-------------------------------------------------------------------------
 *
 * emit.c
 *		From a row change to tags in a pending set.
 *
 * The hot path: runs once per changed row.  It reads no catalog (but what a
 * type's output function looks up) and no table (but tenants' time zones, once
 * per change of clinicache.tenant), and what it allocates belongs to the
 * caller's per-row context.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tracker.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "flush.h"
#include "late.h"
#include "tag_buffer.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* one version of the row, with what several tags need of it */
typedef struct RowImage
{
	Datum	   *values;
	bool	   *nulls;
	PendingTenant *tenant;
	TenantZone *zone;			/* set if the tracker needs it */
	TimestampTz now;			/* of windows */
	bool		committed;		/* what is emitted goes with the transaction, to be committed */
	const ValueRef *local_of;	/* "local" is the local time of this one */
	Timestamp	local;
	bool		local_has_time;
	bool		is_instant;		/* it stands for a moment: "instant" */
	TimestampTz instant;
} RowImage;

/* when a row's appointment is */
typedef struct RowTime
{
	Timestamp	local;
	bool		has_time;		/* false: only the day is known */
	bool		is_instant;
	TimestampTz instant;
} RowTime;

/* reused for every tag; lives in TopMemoryContext, unless one grew large */
#define SCRATCH_MAX (64 * 1024)
static StringInfoData scratch = {0};
static StringInfoData part_scratch = {0};

static void
prepare_scratch(void)
{
	MemoryContext old;

	if (likely(scratch.data != NULL && scratch.maxlen + part_scratch.maxlen <= SCRATCH_MAX))
		return;
	if (scratch.data != NULL)
	{
		pfree(scratch.data);
		pfree(part_scratch.data);
		scratch.data = NULL;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&part_scratch);
	initStringInfo(&scratch);
	MemoryContextSwitchTo(old);
}

/* Whose row is it?  NULL: nobody's; else good until "scratch" is used again. */
static const char *
find_tenant(Tracker *tracker, const RowImage *row, int *len)
{
	const ValueRef *ref = tracker->tenant;
	SourceColumn *source;
	Datum		value;

	*len = 0;
	if (ref == NULL)
		return NULL;
	if (ref->constant)
	{
		*len = ref->constant_len;
		return ref->constant;
	}
	if ((source = cc_find_value(tracker, ref, row->values, row->nulls, &value)) == NULL)
		return NULL;
	resetStringInfo(&scratch);
	cc_value_append(&scratch, &source->type, value);
	*len = scratch.len;
	return scratch.data;
}

/* Note the tenant, in the set or in the buffer; false: the buffer is for another. */
static bool
set_tenant(Tracker *tracker, PendingSet *set, RowImage *row)
{
	int			len;
	const char *tenant = find_tenant(tracker, row, &len);

	row->tenant = set ? cc_pending_tenant(set, tenant, len) : cc_buffer_open(tenant, len);
	if (row->tenant == NULL)
		return false;
	if (tracker->needs_zone)
		row->zone = cc_tenant_zone(row->tenant->text, row->tenant->len);
	return true;
}

/*
 * The time that windows are judged by.  Not the statement's start, which
 * stands still in a procedure that commits, and lags in a long statement.
 * To the second, so that the memo of a bulk statement holds for that long.
 */
static TimestampTz
window_now(void)
{
	TimestampTz exact = cc_clock();

	return exact - (exact % USECS_PER_SEC + USECS_PER_SEC) % USECS_PER_SEC;
}

/* Local wall time of a column; false if null, or no day (*is_null tells which). */
static bool
get_local(Tracker *tracker, const ValueRef *ref, RowImage *row, bool *is_null)
{
	SourceColumn *source;
	Datum		value;

	*is_null = false;
	if (row->local_of == ref)
		return true;
	source = cc_find_value(tracker, ref, row->values, row->nulls, &value);
	if (source == NULL)
	{
		*is_null = true;
		return false;
	}
	row->local_of = NULL;		/* what is remembered goes, day or not */
	row->is_instant = cc_value_is_instant(&source->type);
	if (row->is_instant)
		row->instant = DatumGetTimestampTz(value);
	if (!cc_value_local(&source->type, value, row->zone, &row->local, &row->local_has_time))
		return false;
	row->local_of = ref;
	return true;
}

/* When is it, by a date and perhaps the time of day beside it?  False as of get_local. */
static bool
find_time(Tracker *tracker, const ValueRef *date, const ValueRef *clock, RowImage *row,
		  RowTime *time, bool *is_null)
{
	SourceColumn *source;
	Datum		value;
	int64		usecs;

	if (!get_local(tracker, date, row, is_null))
		return false;
	time->local = row->local;
	time->has_time = row->local_has_time;
	time->is_instant = row->is_instant;
	time->instant = row->instant;
	if (clock == NULL || TIMESTAMP_NOT_FINITE(time->local))
		return true;
	/* the date column's own time of day says nothing then */
	time->is_instant = false;
	time->local = cc_day_start(time->local);
	source = cc_find_value(tracker, clock, row->values, row->nulls, &value);
	time->has_time = source && cc_value_time_of_day(&source->type, value, &usecs);
	if (time->has_time)
		time->local += usecs;
	return true;
}

/* The tag's window is still closed for the row, and opens so much later: see late.c. */
static bool
opens_in(const TrackedTag *tag, const RowImage *row, int64 usecs)
{
	if (row->committed && usecs > 0)
		cc_late_note(tag->number, row->now + usecs);
	return false;
}

/*
 * Does this version of the row lie in the tag's window, now, where its tenant
 * is?  By the wider of the two readings that applications use: a list of
 * "upcoming" may show all of today, one of "past" what is over since a minute.
 */
static bool
in_window(Tracker *tracker, TrackedTag *tag, RowImage *row)
{
	Timestamp	now = cc_zone_local(row->zone, row->now);
	Timestamp	today = cc_day_start(now);
	RowTime		time;
	bool		is_null;
	int64		ahead;

	if (!find_time(tracker, tag->date, tag->clock, row, &time, &is_null))
		return !is_null;		/* no day in it: rather one tag too many */
	if (TIMESTAMP_NOT_FINITE(time.local))
		return TIMESTAMP_IS_NOBEGIN(time.local) ? tag->window == WINDOW_PAST :
			tag->window == WINDOW_UPCOMING;
	switch (tag->window)
	{
		case WINDOW_TODAY:
			if (time.local < today + USECS_PER_DAY)
				return time.local >= today;
			return opens_in(tag, row, cc_day_start(time.local) - now);
		case WINDOW_UPCOMING:
			return time.local >= today;
		case WINDOW_PAST:
			if (!time.has_time)
				return time.local < today ||
					opens_in(tag, row, time.local - now + USECS_PER_DAY);
			/* where clocks are set back, an hour of the wall's comes twice */
			ahead = time.is_instant ? time.instant - row->now : time.local - now;
			return ahead < USECS_PER_SEC || opens_in(tag, row, ahead);
		default:
			return true;
	}
}

typedef enum RenderResult
{
	RENDERED,
	RENDERED_NULL,				/* a placeholder is null: no tag */
	RENDERED_ODD				/* no day to be found, or no row to look up: the prefix stands for it */
} RenderResult;

/* Append one placeholder's value, filtered, to "scratch". */
static RenderResult
render_part(Tracker *tracker, TagPart *part, const ValueRef *ref, RowImage *row)
{
	StringInfo	target = part->nfilters > 0 ? &part_scratch : &scratch;
	SourceColumn *source;
	Datum		value;

	resetStringInfo(&part_scratch);
	if (cc_template_part_wants_day(part) && !ref->constant)
	{
		bool		is_null;

		if (!get_local(tracker, ref, row, &is_null))
			return is_null && !cc_value_unknown(tracker, ref, row->nulls) ?
				RENDERED_NULL : RENDERED_ODD;
		cc_append_day(target, row->local, part->filters[0]);
	}
	else if (ref->constant)
		appendBinaryStringInfo(target, ref->constant, ref->constant_len);
	else
	{
		source = cc_find_value(tracker, ref, row->values, row->nulls, &value);
		if (source == NULL)
			return cc_value_unknown(tracker, ref, row->nulls) ? RENDERED_ODD : RENDERED_NULL;
		cc_value_append(target, &source->type, value);
	}
	if (part->nfilters > 0)
		cc_template_apply_text_filters(&scratch, part, part_scratch.data, part_scratch.len);
	return RENDERED;
}

/* Render a tag into "scratch". */
static RenderResult
render_tag(Tracker *tracker, TrackedTag *tag, RowImage *row)
{
	TagTemplate *template = tag->template;

	resetStringInfo(&scratch);
	for (int i = 0; i < template->nparts; i++)
	{
		TagPart    *part = &template->parts[i];
		RenderResult result;

		appendBinaryStringInfo(&scratch, part->literal, part->literal_len);
		if (part->column == NULL)
			continue;
		result = render_part(tracker, part, tag->refs[i], row);
		if (result != RENDERED)
			return result;
	}
	cc_tag_shorten(&scratch, template->is_prefix);
	return RENDERED;
}

/* Add a tag to the set, or (NULL) to the buffer; false: the buffer can not hold it. */
static bool
add_tag(Tracker *tracker, PendingSet *set, TrackedTag *tag, RowImage *row)
{
	PendingKind kind = tag->template->is_prefix ? PENDING_PREFIX : PENDING_TAG;

	switch (render_tag(tracker, tag, row))
	{
		case RENDERED_NULL:
			return true;
		case RENDERED_ODD:
			if (set == NULL)
				return false;
			cc_pending_add_collapsed(set, row->tenant, cc_pending_template(set, tag->number));
			return true;
		case RENDERED:
			break;
	}
	if (set == NULL)
		return cc_buffer_add(tag->number, kind, tag->profile, scratch.data, scratch.len);
	cc_pending_add(set, row->tenant, cc_pending_template(set, tag->number), kind, tag->profile,
				   scratch.data, scratch.len);
	return true;
}

/* The same, if the row is in the tag's window. */
static bool
emit_tag(Tracker *tracker, PendingSet *set, TrackedTag *tag, RowImage *row)
{
	if (tag->window != WINDOW_NONE && !in_window(tracker, tag, row))
		return true;
	return add_tag(tracker, set, tag, row);
}

/* Start a new era of the group's memo if what it remembers no longer holds. */
static void
check_era(TagGroup *group, PendingSet *set, TimestampTz now)
{
	TimestampTz instant = group->windowed ? now : 0;

	if (likely(group->serial == cc_pending_serial(set) &&
			   group->generation == cc_pending_generation(set) &&
			   group->instant == instant))
		return;
	if (group->serial != cc_pending_serial(set))
		group->memo = NULL;		/* it went with that set */
	group->serial = cc_pending_serial(set);
	group->generation = cc_pending_generation(set);
	group->instant = instant;
	group->era++;
	group->rows = 0;
	group->collapsed_tenant = NULL;
}

/* in the place of a value's size */
#define MEMO_NULL PG_UINT32_MAX
#define MEMO_UNKNOWN (PG_UINT32_MAX - 1)

/* The values that a group's tags are made of, as bytes; 0: too many to remember. */
static int
memo_key(Tracker *tracker, TagGroup *group, const RowImage *row, char *key)
{
	int			len = 0;
	int			index = -1;

	memcpy(key, &row->tenant, sizeof(row->tenant));
	len = sizeof(row->tenant);
	while ((index = bms_next_member(group->sources, index)) >= 0)
	{
		SourceColumn *source = &tracker->sources[index];
		Datum		value = row->values[source->attno - 1];
		const char *data = (const char *) &value;
		uint32		size = sizeof(Datum);

		if (row->nulls[source->attno - 1])
			size = source->lookup >= 0 &&
				row->nulls[tracker->natts + tracker->nlookups + source->lookup] ?
				MEMO_UNKNOWN : MEMO_NULL;
		else if (source->typlen == -1)
		{
			if (VARATT_IS_EXTERNAL(DatumGetPointer(value)) ||
				VARATT_IS_COMPRESSED(DatumGetPointer(value)))
				return 0;
			data = VARDATA_ANY(DatumGetPointer(value));
			size = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		}
		else if (!source->typbyval)
		{
			if (source->typlen < 0)
				return 0;
			data = DatumGetPointer(value);
			size = source->typlen;
		}
		if (len + sizeof(size) > MEMO_KEY_MAX)
			return 0;
		memcpy(key + len, &size, sizeof(size));
		len += sizeof(size);
		if (size == MEMO_NULL || size == MEMO_UNKNOWN)
			continue;
		if (size > MEMO_KEY_MAX - len)
			return 0;
		memcpy(key + len, data, size);
		len += size;
	}
	return len;
}

/* The group's memo, if it is worth while to have one. */
static MemoSlot *
group_memo(TagGroup *group, PendingSet *set)
{
	static uint64 serial = 0;
	static int	count = 0;

	if (++group->rows < 4)
		return NULL;			/* most transactions change a row or two */
	if (group->memo != NULL)
		return group->memo;
	if (serial != cc_pending_serial(set))
	{
		serial = cc_pending_serial(set);
		count = 0;
	}
	if (++count > MEMOS_MAX)
		return NULL;
	group->memo = MemoryContextAllocZero(cc_pending_context(set), sizeof(MemoSlot) * MEMO_SLOTS);
	return group->memo;
}

/* Add the group's tags, unless those for the same values were added in this era. */
static void
emit_group(Tracker *tracker, PendingSet *set, TagGroup *group, RowImage *row)
{
	MemoSlot   *slot = group_memo(group, set);
	char		key[MEMO_KEY_MAX];
	int			len = slot ? memo_key(tracker, group, row, key) : 0;
	uint32		hash = 0;

	if (len > 0)
	{
		hash = hash_bytes((const unsigned char *) key, len);
		slot += hash % MEMO_SLOTS;
		if (slot->era == group->era && slot->hash == hash && slot->len == len &&
			memcmp(slot->key, key, len) == 0)
			return;
	}
	for (int i = 0; i < group->ntags; i++)
		(void) emit_tag(tracker, set, &group->tags[i], row);
	if (len == 0)
		return;
	/* only now: an error on the way would leave us remembering what is not there */
	slot->era = group->era;
	slot->hash = hash;
	slot->len = len;
	memcpy(slot->key, key, len);
}

/* All tags of the group have collapsed: give this tenant their prefixes, once. */
static bool
emit_collapsed(PendingSet *set, TagGroup *group, PendingTenant *tenant)
{
	if (group->windowed)
		return false;
	for (int i = 0; i < group->ntags; i++)
		if (!cc_pending_is_collapsed(cc_pending_template(set, group->tags[i].number)))
			return false;
	if (group->collapsed_tenant == tenant)
		return true;
	for (int i = 0; i < group->ntags; i++)
		cc_pending_add_collapsed(set, tenant,
								 cc_pending_template(set, group->tags[i].number));
	group->collapsed_tenant = tenant;
	return true;
}

/*
 * A collapsed template must not give its prefix for a row that has no tag of
 * it, so the short cut is only for rows without nulls.
 */
static bool
has_null(Tracker *tracker, TagGroup *group, const RowImage *row)
{
	int			index = -1;

	while ((index = bms_next_member(group->sources, index)) >= 0)
		if (row->nulls[tracker->sources[index].attno - 1])
			return true;
	return false;
}

static bool
fires(const Tracker *tracker, const TagGroup *group)
{
	int			attno = -1;

	if (group->watch == NULL)
		return true;
	while ((attno = bms_next_member(group->watch, attno)) >= 0)
		if (tracker->changed[attno])
			return true;
	return false;
}

/* Did the last update, of a tracker all of whose tags watch columns, concern any of them? */
bool
cc_emit_fired(const Tracker *tracker)
{
	for (int g = 0; g < tracker->ngroups; g++)
		if (fires(tracker, &tracker->groups[g]))
			return true;
	return false;
}

static void
emit_row(Tracker *tracker, PendingSet *set, Datum *values, bool *nulls, bool is_update)
{
	RowImage	row = {.values = values,.nulls = nulls,.now = tracker->windowed ? window_now() : 0,
	.committed = cc_flush_is_pending(set)};

	(void) set_tenant(tracker, set, &row);
	for (int g = 0; g < tracker->ngroups; g++)
	{
		TagGroup   *group = &tracker->groups[g];

		if (is_update && !fires(tracker, group))
			continue;
		check_era(group, set, row.now);
		if (!has_null(tracker, group, &row) && emit_collapsed(set, group, row.tenant))
			continue;
		emit_group(tracker, set, group, &row);
	}
}

/* The same into the buffer; false: some of its tags do not fit. */
static bool
buffer_row(Tracker *tracker, Datum *values, bool *nulls, bool is_update)
{
	RowImage	row = {.values = values,.nulls = nulls,.now = tracker->windowed ? window_now() : 0,
	.committed = true};

	if (!set_tenant(tracker, NULL, &row))
		return false;
	for (int g = 0; g < tracker->ngroups; g++)
	{
		TagGroup   *group = &tracker->groups[g];

		if (is_update && !fires(tracker, group))
			continue;
		for (int i = 0; i < group->ntags; i++)
			if (!emit_tag(tracker, NULL, &group->tags[i], &row))
				return false;
	}
	return true;
}

/*
 * Are the two the same, byte for byte?  A value stored out of line that was not
 * touched has the same pointer in both rows: no need to fetch it.
 */
static bool
same_value(Datum old_value, Datum new_value, Form_pg_attribute att)
{
	if (att->attlen == -1)
	{
		char	   *a = DatumGetPointer(old_value);
		char	   *b = DatumGetPointer(new_value);

		if (VARATT_IS_EXTERNAL_ONDISK(a) && VARATT_IS_EXTERNAL_ONDISK(b) &&
			memcmp(a, b, VARSIZE_EXTERNAL(a)) == 0)
			return true;
	}
	return datum_image_eq(old_value, new_value, att->attbyval, att->attlen);
}

/* Note whether what is looked up differs. */
static void
find_lookup_change(Tracker *tracker, const SourceColumn *source, Datum *old_values,
				   bool *old_nulls, Datum *new_values, bool *new_nulls)
{
	int			i = source->attno - 1;

	tracker->changed[i + 1] = old_nulls[i] != new_nulls[i] ||
		(!old_nulls[i] && !datum_image_eq(old_values[i], new_values[i],
										  source->typbyval, source->typlen));
}

/* Note in tracker->changed which columns differ; false if none that counts does. */
static bool
find_columns(Tracker *tracker, TupleDesc desc, Datum *old_values, bool *old_nulls,
			 Datum *new_values, bool *new_nulls)
{
	bool		any = false;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		differs;

		tracker->changed[i + 1] = false;
		if (att->attisdropped)
			continue;
		/* a template's "columns" may name an ignored one */
		if (!tracker->compared[i + 1] && !tracker->selective)
			continue;
		if (old_nulls[i] || new_nulls[i])
			differs = old_nulls[i] != new_nulls[i];
		else
			differs = !same_value(old_values[i], new_values[i], att);
		if (!differs)
			continue;
		tracker->changed[i + 1] = true;
		any |= tracker->compared[i + 1];
		if (any && !tracker->selective)
			return true;
	}
	return any;
}

/* The same, with what is looked up behind the columns. */
static bool
find_changes(Tracker *tracker, TupleDesc desc, Datum *old_values, bool *old_nulls,
			 Datum *new_values, bool *new_nulls)
{
	bool		any = find_columns(tracker, desc, old_values, old_nulls, new_values, new_nulls);

	for (int i = 0; i < tracker->nsources; i++)
	{
		if (tracker->sources[i].lookup < 0)
			continue;
		/* if the row is the same, nothing was looked up: other rows tell of themselves */
		if (any)
			find_lookup_change(tracker, &tracker->sources[i], old_values, old_nulls,
							   new_values, new_nulls);
		else
			tracker->changed[tracker->sources[i].attno] = false;
	}
	return any;
}

/*
 * Does an update change any column that counts?  If not, nothing has to be looked
 * up.  The arrays hold all columns of "desc".
 */
bool
cc_emit_differs(Tracker *tracker, TupleDesc desc, Datum *old_values, bool *old_nulls,
				Datum *new_values, bool *new_nulls)
{
	return find_columns(tracker, desc, old_values, old_nulls, new_values, new_nulls);
}

/* For statistics: rows that were looked at, and what came of them. */
static void
count(Tracker *tracker, PendingCounts before, PendingCounts after, int rows, int suppressed)
{
	PendingCounts added = {
		.tags = after.tags - before.tags,
		.prefixes = after.prefixes - before.prefixes,
		.collapses = after.collapses - before.collapses
	};

	if (tracker->stats)
		cc_table_stats_add(tracker->stats, added, rows, suppressed);
}

/*
 * Add the tags of one row change to a set.  Old values NULL: insert; new ones
 * NULL: delete.  The arrays hold all columns of "desc" for an update, and at
 * least those up to tracker->max_attno otherwise.  Call it in a context that
 * is reset soon.
 */
void
cc_emit_change(Tracker *tracker, PendingSet *set, TupleDesc desc,
			   Datum *old_values, bool *old_nulls, Datum *new_values, bool *new_nulls)
{
	bool		is_update = old_values && new_values;
	PendingCounts before = cc_pending_counts(set);
	bool		suppressed;

	prepare_scratch();
	suppressed = is_update &&
		!find_changes(tracker, desc, old_values, old_nulls, new_values, new_nulls);
	if (old_values && !suppressed)
		emit_row(tracker, set, old_values, old_nulls, is_update);
	if (new_values && !suppressed)
		emit_row(tracker, set, new_values, new_nulls, is_update);
	count(tracker, before, cc_pending_counts(set), 1, suppressed);
}

/*
 * The same into the buffer, as long as that will do.  False: it does not hold
 * them all; use a set for the whole change.
 */
bool
cc_emit_buffered(Tracker *tracker, TupleDesc desc,
				 Datum *old_values, bool *old_nulls, Datum *new_values, bool *new_nulls)
{
	bool		is_update = old_values && new_values;
	PendingCounts before = cc_buffer_counts();
	bool		suppressed;
	bool		fits;

	prepare_scratch();
	suppressed = is_update &&
		!find_changes(tracker, desc, old_values, old_nulls, new_values, new_nulls);
	fits = suppressed ||
		((!old_values || buffer_row(tracker, old_values, old_nulls, is_update)) &&
		 (!new_values || buffer_row(tracker, new_values, new_nulls, is_update)));
	/* the row itself is counted where it is emitted as a whole */
	count(tracker, before, cc_buffer_counts(), fits, suppressed);
	return fits;
}

/*
 * Does a row enter or leave the tag's window at some moment after "from", up to
 * "to"?  Not only if it is in at one end and out at the other: after two days
 * without upkeep, yesterday's list of today is stale as well.
 */
static bool
crosses(Tracker *tracker, TrackedTag *tag, RowImage *row, const ZoneSweep *sweep,
		TimestampTz from, TimestampTz to)
{
	bool		days = sweep->from_day != sweep->to_day;
	Timestamp	first = Min(sweep->from_day, sweep->to_day);
	Timestamp	end = Max(sweep->from_day, sweep->to_day) + USECS_PER_DAY;
	RowTime		time;
	bool		is_null;

	if (tag->edge && days && tracker->day &&
		find_time(tracker, tracker->day, tracker->day_clock, row, &time, &is_null) &&
		time.local >= first && time.local < end)
		return true;
	if (tag->window == WINDOW_NONE ||
		!find_time(tracker, tag->date, tag->clock, row, &time, &is_null))
		return false;
	switch (tag->window)
	{
		case WINDOW_TODAY:
			return days && time.local >= first && time.local < end;
		case WINDOW_UPCOMING:
			return (time.local >= sweep->from_day) != (time.local >= sweep->to_day);
		case WINDOW_PAST:
			if (!time.has_time)
				return (time.local < sweep->from_day) != (time.local < sweep->to_day);
			return time.is_instant ? time.instant > from && time.instant <= to :
				time.local > sweep->low && time.local <= sweep->high;
		default:
			return false;
	}
}

/*
 * Add the tags whose meaning changes for a row after "from", up to "to", though
 * the row does not.  "whole_tenant": it is not a row, only its tenant is filled
 * in, and of tags that name nothing else a new day changes all.  The arrays
 * hold columns up to tracker->max_attno.  Call it in a context that is reset soon.
 */
void
cc_emit_edge(Tracker *tracker, PendingSet *set, Datum *values, bool *nulls,
			 TimestampTz from, TimestampTz to, bool whole_tenant)
{
	RowImage	row = {.values = values,.nulls = nulls,.now = to};
	const char *tenant;
	int			len;
	ZoneSweep	sweep;

	prepare_scratch();
	tenant = find_tenant(tracker, &row, &len);
	row.zone = cc_tenant_zone(tenant, len);
	cc_zone_sweep(row.zone, from, to, &sweep);
	if (whole_tenant && sweep.from_day == sweep.to_day)
		return;
	for (int i = 0; i < tracker->ntags; i++)
	{
		TrackedTag *tag = &tracker->tags[i];

		if (tag->window == WINDOW_NONE && !tag->edge)
			continue;
		if (!whole_tenant && !crosses(tracker, tag, &row, &sweep, from, to))
			continue;
		if (row.tenant == NULL)
			(void) set_tenant(tracker, set, &row);
		(void) add_tag(tracker, set, tag, &row);
	}
}

/*
 * The table was emptied: whatever its templates can make is stale, for every
 * tenant.
 */
void
cc_emit_all_prefixes(Tracker *tracker, PendingSet *set)
{
	PendingTenant *everybody = cc_pending_tenant(set, NULL, 0);

	for (int i = 0; i < tracker->ntags; i++)
	{
		TrackedTag *tag = &tracker->tags[i];
		TagTemplate *template = tag->template;

		if (template->is_constant && !template->is_prefix)
			cc_pending_add(set, everybody, cc_pending_template(set, tag->number), PENDING_TAG,
						   tag->profile, template->text, strlen(template->text));
		else
			cc_pending_add_prefix(set, everybody, tag->profile,
								  template->prefix, strlen(template->prefix));
	}
}
