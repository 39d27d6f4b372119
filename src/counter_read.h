/*-------------------------------------------------------------------------
 *
 * counter_read.h
 *		What counters say, in one snapshot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COUNTER_READ_H
#define CLINICACHE_COUNTER_READ_H

#include "clinicache.h"

#include "cells.h"
#include "counter_source.h"
#include "utils/snapshot.h"

/* what is wanted of a counter for one key; the rest is filled in */
typedef struct CounterWish
{
	const char *counter;
	bool		all;			/* all days together */
	bool		days;			/* those from one to another */
	DateADT		from;
	DateADT		to;
	bool		found;			/* some table is counted so */
	List	   *sources;		/* of CounterSource */
} CounterWish;

/* is given a cell of the answer */
typedef void (*AnswerVisit) (int wish, const CellName *name, int64 n, Numeric sum, void *arg);

typedef struct CounterQuery
{
	const char *dimension;
	const char *key;
	int			key_len;
	int			nwishes;
	CounterWish *wishes;
	List	   *sources;		/* all there are, see cc_counters_begin */

	/*
	 * The answer: a set to be visited later, or, if "direct" is given, pieces of
	 * cells, to be added up by whoever is given them, who has to begin anew when
	 * "restart" is called.
	 */
	CellSet    *cells;
	AnswerVisit direct;
	void		(*restart) (void *arg);
	void	   *arg;

	/*
	 * With "direct", optional: who may have kept what an earlier reading found folded.
	 * "resume" says up to which fold it has taken that over, one from "base" to "fold",
	 * or 0; "keep" is called when it has been given all that is folded up to a fold, and
	 * nothing else.
	 */
	int64		(*resume) (int64 base, int64 fold, void *arg);
	void		(*keep) (int64 fold, void *arg);
} CounterQuery;

extern void cc_counters_begin(CounterQuery *query, Snapshot snapshot);
extern void cc_counters_read(CounterQuery *query, Snapshot snapshot);
extern void cc_counters_visit(CounterQuery *query, AnswerVisit visit, void *arg);

#endif							/* CLINICACHE_COUNTER_READ_H */
