/*-------------------------------------------------------------------------
 *
 * tracker.h
 *		A tracked table's rules, compiled from the trigger's argument.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_TRACKER_H
#define CLINICACHE_TRACKER_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "commands/trigger.h"
#include "lookup.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "pending.h"
#include "table_stats.h"
#include "tag_template.h"
#include "tag_value.h"
#include "tenant_zone.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

/* a column of the table that some rule reads, or a value that is looked up */
typedef struct SourceColumn
{
	AttrNumber	attno;			/* of a looked-up value: beyond the table's columns */
	int			lookup;			/* its number, -1: a column */
	char	   *name;
	ValueType	type;
	int16		typlen;
	bool		typbyval;
} SourceColumn;

/* what a placeholder names: a constant, or the first source that is not null */
typedef struct ValueRef
{
	char	   *constant;
	int			constant_len;
	int			nsources;
	int		   *sources;		/* indexes into Tracker.sources */
} ValueRef;

typedef enum WindowKind
{
	WINDOW_NONE,
	WINDOW_TODAY,
	WINDOW_UPCOMING,
	WINDOW_PAST
} WindowKind;

typedef struct TrackedTag
{
	TagTemplate *template;
	int			number;			/* of the template, see pending.h */
	int			profile;
	ValueRef **refs;			/* one for each part, NULL where it has no placeholder */
	WindowKind	window;
	ValueRef   *date;			/* of the window */
	ValueRef   *clock;			/* time of day beside it, or NULL */
	bool		edge;			/* also emitted when the tenant's day begins */
	Bitmapset  *watch;			/* attnos whose change counts; NULL: any but ignored ones */
} TrackedTag;

/* how a row says that it is deleted, softly */
typedef enum DeletedKind
{
	DELETED_NEVER,
	DELETED_TRUE,				/* a boolean */
	DELETED_NOT_NULL,			/* a date or timestamp */
	DELETED_VALUES				/* its text is one of some */
} DeletedKind;

/* what each row adds to a counter; see counter.c */
#define COUNTER_MAX_DIMENSIONS 8

typedef struct CounterRule
{
	char	   *name;
	int32		id;				/* counter_source.id; 0: nobody counts it */
	TenantZone	zone;			/* of tenants without one of their own */
	int			ndimensions;
	char	   *dimensions[COUNTER_MAX_DIMENSIONS];
	ValueRef   *keys[COUNTER_MAX_DIMENSIONS];
	ValueRef   *day;			/* these three may be NULL */
	ValueRef   *class;
	ValueRef   *sum;
	Bitmapset  *watch;			/* attnos that the contribution is made of */
} CounterRule;

/*
 * Tags that read the same sources and watch the same columns: they fire
 * together, and for equal sources they come out equal.  That is what the memo
 * remembers, so that a bulk statement renders each distinct tag about once.
 */
#define MEMO_SLOTS 128
#define MEMOS_MAX 64			/* in a transaction; 10 kB each */
#define MEMO_KEY_MAX 64

typedef struct MemoSlot
{
	uint32		era;
	uint32		hash;
	uint32		len;
	char		key[MEMO_KEY_MAX];
} MemoSlot;

typedef struct TagGroup
{
	Bitmapset  *sources;
	Bitmapset  *watch;
	bool		windowed;
	int			ntags;
	TrackedTag *tags;			/* in Tracker.tags */

	/* memo, valid for one pending set, generation and (if windowed) instant */
	uint64		serial;
	uint64		generation;
	TimestampTz instant;
	uint32		era;			/* moves when one of them does */
	int			rows;			/* in this era */
	PendingTenant *collapsed_tenant;	/* has all prefixes of this group */
	MemoSlot   *memo;			/* in the pending set; made for a bulk statement */
} TagGroup;

typedef struct Tracker
{
	struct Tracker *next;		/* of another trigger of the table */
	Oid			trigger;
	Oid			relid;
	MemoryContext context;
	bool		stale;			/* set by the relcache callback, which does no more */
	char	   *broken;			/* why it can not be used, else NULL */
	int			broken_code;
	TimestampTz broken_at;		/* statement in which that was found */

	int			nsources;
	SourceColumn *sources;
	int			max_attno;		/* of the sources that are columns */
	int			nlookups;
	Lookup	  **lookups;
	AttrNumber	key;			/* of a parent, see parent_change() */
	bool		declared;		/* rows that refer to its rows are always there with them */
	ValueRef   *tenant;			/* NULL: no tenant */
	bool		needs_zone;
	bool		windowed;		/* some tag has a window */
	bool		edged;			/* some tag has an edge */
	ValueRef   *day;			/* the row's day for edges, with "day_clock": the first ... */
	ValueRef   *day_clock;		/* ... window's; NULL: there is no window */
	Bitmapset  *always;			/* attnos of tenant, deleted and window columns */
	bool	   *compared;		/* by attno: a change of it is a change */
	bool	   *changed;		/* by attno: scratch of one update */
	int			natts;
	bool		selective;		/* some tag watches particular columns only */

	int			ncounters;
	CounterRule *counters;
	bool		counting;		/* some counter has an id */
	List	   *distrusted;		/* of a broken tracker: ids that it can not count for */
	ValueRef   *deleted;
	DeletedKind deleted_kind;
	List	   *deleted_values; /* of char * */

	TableStats *stats;			/* NULL: nobody counts */
	int			ntags;
	TrackedTag *tags;			/* ordered by group */
	int			ngroups;
	TagGroup   *groups;
} Tracker;

/*
 * The first source of a placeholder that is not null; NULL if all are, or if it
 * is a constant.
 */
static inline SourceColumn *
cc_find_value(Tracker *tracker, const ValueRef *ref, const Datum *values, const bool *nulls,
			  Datum *value)
{
	for (int i = 0; i < ref->nsources; i++)
	{
		SourceColumn *source = &tracker->sources[ref->sources[i]];

		if (!nulls[source->attno - 1])
		{
			*value = values[source->attno - 1];
			return source;
		}
	}
	return NULL;
}

/*
 * Is one of the sources a value that could not be looked up?  Then no tag can be
 * rendered, where one that is null needs none.
 */
static inline bool
cc_value_unknown(const Tracker *tracker, const ValueRef *ref, const bool *nulls)
{
	for (int i = 0; i < ref->nsources; i++)
	{
		const SourceColumn *source = &tracker->sources[ref->sources[i]];

		if (source->lookup >= 0 && nulls[tracker->natts + tracker->nlookups + source->lookup])
			return true;
	}
	return false;
}

/* config.c */
extern Tracker *cc_config_compile(Relation rel, Jsonb *config, MemoryContext context);

/* tracker.c */
extern void cc_tracker_init(void);
extern bool cc_tracker_trusts(Oid owner);
extern Trigger *cc_tracker_trigger(Relation rel, bool missing_ok);
extern Tracker *cc_tracker_get(Relation rel, Trigger *trigger);

/* emit.c */
extern void cc_emit_change(Tracker *tracker, PendingSet *set, TupleDesc desc,
						   Datum *old_values, bool *old_nulls,
						   Datum *new_values, bool *new_nulls);
extern bool cc_emit_fired(const Tracker *tracker);
extern bool cc_emit_differs(Tracker *tracker, TupleDesc desc,
							Datum *old_values, bool *old_nulls,
							Datum *new_values, bool *new_nulls);
extern bool cc_emit_buffered(Tracker *tracker, TupleDesc desc,
							 Datum *old_values, bool *old_nulls,
							 Datum *new_values, bool *new_nulls);
extern void cc_emit_edge(Tracker *tracker, PendingSet *set, Datum *values, bool *nulls,
						 TimestampTz from, TimestampTz to, bool whole_tenant);
extern void cc_emit_all_prefixes(Tracker *tracker, PendingSet *set);

#endif							/* CLINICACHE_TRACKER_H */
