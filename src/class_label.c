/*-------------------------------------------------------------------------
 *
 * class_label.c
 *		What status labels mean: clinicache.class.
 *
 * The table is small and read as a whole, once per backend and again after it was
 * changed: its statement trigger sends a relcache invalidation, and the callback
 * only marks what is kept as stale.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "class_label.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define Anum_class_name 1
#define Anum_class_labels 2

/* of bills and payments; rows of clinicache.class add to them */
static const char *const usual[][2] = {
	{"paid", "paid"},
	{"paid", "settled"},
	{"paid", "completed"},
	{"paid", "waived"},
	{"paid", "written off"},
	{"unpaid", "unpaid"},
	{"unpaid", "pending"},
	{"unpaid", "due"},
	{"unpaid", "overdue"},
	{"unpaid", "failed"},
	{"unpaid", "refunded"},
	{"unpaid", "void"}
};

typedef struct ClassLabel
{
	char	   *meaning;
	char	   *label;
} ClassLabel;

static MemoryContext label_context = NULL;	/* under CacheMemoryContext */
static List *labels = NIL;		/* of ClassLabel, in label_context */
static uint64 invalidations = 1;
static uint64 loaded = 0;
static Oid	class_relid = InvalidOid;

static void
class_relcache_callback(Datum arg, Oid relid)
{
	if (relid == class_relid || !OidIsValid(relid))
		invalidations++;
}

/* Register the callback; called once, from _PG_init. */
void
cc_class_init(void)
{
	CacheRegisterRelcacheCallback(class_relcache_callback, (Datum) 0);
}

/* The next byte that counts, in lower case; -1: none. */
static int
next_byte(const char **at, const char *end)
{
	while (*at < end && (**at == ' ' || **at == '-' || **at == '_'))
		(*at)++;
	return *at < end ? pg_tolower((unsigned char) *(*at)++) : -1;
}

/* Are the two the same but for case, spaces, - and _? */
bool
cc_labels_equal(const char *a, int a_len, const char *b, int b_len)
{
	const char *a_end = a + a_len;
	const char *b_end = b + b_len;
	int			byte;

	do
	{
		byte = next_byte(&a, a_end);
		if (byte != next_byte(&b, b_end))
			return false;
	} while (byte >= 0);
	return true;
}

static void
load_row(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	char	   *meaning = TextDatumGetCString(heap_getattr(tuple, Anum_class_name, desc, &isnull));
	Datum	   *values;
	bool	   *nulls;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(heap_getattr(tuple, Anum_class_labels, desc, &isnull)),
					  TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		ClassLabel *label;

		if (nulls[i])
			continue;
		label = palloc(sizeof(ClassLabel));
		label->meaning = meaning;
		label->label = TextDatumGetCString(values[i]);
		labels = lappend(labels, label);
	}
}

/* Load clinicache.class, what is committed by now, under AccessShareLock. */
static void
load_labels(void)
{
	uint64		before = invalidations;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	MemoryContext old;

	if (label_context == NULL)
		label_context = AllocSetContextCreate(CacheMemoryContext, "clinicache classes",
											  ALLOCSET_SMALL_SIZES);
	loaded = 0;
	labels = NIL;
	MemoryContextReset(label_context);
	class_relid = cc_catalog_relid(CC_TABLE_CLASS);
	rel = table_open(class_relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	old = MemoryContextSwitchTo(label_context);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		load_row(tuple, RelationGetDescr(rel));
	MemoryContextSwitchTo(old);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	loaded = before;
}

/* Moves when somebody has changed clinicache.class. */
uint64
cc_class_version(void)
{
	return invalidations;
}

/* Does a status (NULL: none) have the meaning?  None has no meaning. */
bool
cc_class_means(const char *label, int len, const char *meaning)
{
	ListCell   *cell;

	if (loaded != invalidations)
		load_labels();
	if (label == NULL)
		return false;
	for (int i = 0; i < (int) lengthof(usual); i++)
		if (strcmp(usual[i][0], meaning) == 0 &&
			cc_labels_equal(label, len, usual[i][1], strlen(usual[i][1])))
			return true;
	foreach(cell, labels)
	{
		ClassLabel *known = lfirst(cell);

		if (strcmp(known->meaning, meaning) == 0 &&
			cc_labels_equal(label, len, known->label, strlen(known->label)))
			return true;
	}
	return false;
}
