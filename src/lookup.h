/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Values that a row itself lacks, found along foreign keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_LOOKUP_H
#define CLINICACHE_LOOKUP_H

#include "postgres.h"
#include "access/attnum.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

typedef struct Tracker Tracker;
typedef struct Lookup Lookup;

/* "<from> -> <schema>.<table>(<key>).<value> -> ..." taken apart */
typedef struct PathStep
{
	char	   *schema;
	char	   *table;
	char	   *key;
	char	   *value;
} PathStep;

typedef struct LookupPath
{
	char	   *from;			/* column of the table that the path begins at */
	List	   *steps;			/* of PathStep */
} LookupPath;

/*
 * A row's columns with looked-up values behind them, each at its source's attno,
 * and behind those, in nulls, whether they are unknown: see cc_value_unknown().
 */
typedef struct RowValues
{
	Datum	   *values;
	bool	   *nulls;
} RowValues;

/* lookup_path.c */
extern LookupPath *cc_lookup_parse(const char *text);
extern Lookup *cc_lookup_compile(Relation rel, const char *text, MemoryContext context);

/* lookup.c */
extern Oid	cc_lookup_type(const Lookup *lookup);
extern const char *cc_lookup_from(const Lookup *lookup);
extern bool cc_lookup_depends(const Lookup *lookup, Oid relid);
extern char *cc_lookup_all_values(const Lookup *lookup);
extern RowValues cc_lookup_extend(const Tracker *tracker, const Datum *values, const bool *nulls,
								  int natts);
extern void cc_lookup_new(const Tracker *tracker, RowValues *row);
extern bool cc_lookup_old(const Tracker *tracker, RowValues *row, RowValues *earlier);

extern bool cc_lookup_row_before(Relation rel, AttrNumber key, Datum value, TupleTableSlot *slot);

/* parent_move.c */
extern void cc_move_note(void);

#endif							/* CLINICACHE_LOOKUP_H */
