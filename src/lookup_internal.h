/*-------------------------------------------------------------------------
 *
 * lookup_internal.h
 *		A compiled look-up, as lookup_path.c makes it and lookup.c runs it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_LOOKUP_INTERNAL_H
#define CLINICACHE_LOOKUP_INTERNAL_H

#include "lookup.h"

#include "access/skey.h"

/* a table that holds a step's rows: the step's own, or a partition of it */
typedef struct LookupTarget
{
	Oid			relid;
	Oid			index;			/* on the key; another one if this is gone */
	AttrNumber	key;
	AttrNumber	value;
} LookupTarget;

/* one step: the row whose key is the value of the step before */
typedef struct LookupStep
{
	char	   *table;			/* qualified and quoted */
	char	   *value_name;
	Oid			relid;
	bool		is_partitioned;
	int			ntargets;
	LookupTarget *targets;
	List	   *tree;			/* OIDs of all tables of a partitioned one */
	Oid			equality;		/* operator: key = value of the step before */
	Oid			subtype;		/* of its right side */
	RegProcedure procedure;		/* that implements it */
	Oid			typid;			/* of the value found */
	int16		typlen;
	bool		typbyval;
} LookupStep;

typedef struct LookupMemo LookupMemo;

struct Lookup
{
	MemoryContext context;
	Oid			owner;			/* of the table; look-ups run as it */
	char	   *from;
	AttrNumber	from_attno;
	int16		from_typlen;
	bool		from_typbyval;
	int			nsteps;
	LookupStep *steps;
	LookupMemo *memo;			/* made when first used */
};

/* lookup_path.c */
extern Oid	cc_lookup_index(Relation rel, AttrNumber key, Oid equality);
extern bool cc_lookup_index_serves(Relation index, AttrNumber key, Oid equality);

#endif							/* CLINICACHE_LOOKUP_INTERNAL_H */
