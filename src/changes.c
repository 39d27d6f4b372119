/*-------------------------------------------------------------------------
 *
 * changes.c
 *		changes(): what committed after a position, for a subscriber that was away.
 *
 *		grants ──▶ position valid? ──▶ scan the log ──▶ valid still? ──▶ message
 *		                 └─ no ─▶ reset                    └─ no ─▶ reset
 *
 * The message's position and the scan use the same snapshot, the calling
 * statement's, so the next call goes on exactly where this one ended.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "log_scan.h"
#include "log_slots.h"
#include "miscadmin.h"
#include "payload.h"
#include "position.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define Anum_subscriber_role 1
#define Anum_subscriber_tenants 2

#define DEFAULT_MAX_TAGS 10000

/* tenants, sorted; "all" makes the list meaningless */
typedef struct TenantSet
{
	bool		all;
	int			count;
	text	  **tenants;
} TenantSet;

PG_FUNCTION_INFO_V1(clinicache_changes);

static int
compare_bytes(const char *a, int a_len, const char *b, int b_len)
{
	int			order = memcmp(a, b, Min(a_len, b_len));

	return order != 0 ? order : a_len - b_len;
}

static int
compare_tenants(const void *a, const void *b)
{
	text	   *x = *(text *const *) a;
	text	   *y = *(text *const *) b;

	return compare_bytes(VARDATA_ANY(x), VARSIZE_ANY_EXHDR(x),
						 VARDATA_ANY(y), VARSIZE_ANY_EXHDR(y));
}

static bool
set_has(const TenantSet *set, const char *tenant, int len)
{
	int			low = 0;
	int			high = set->count;

	while (!set->all && low < high)
	{
		int			middle = (low + high) / 2;
		int			order = compare_bytes(tenant, len, VARDATA_ANY(set->tenants[middle]),
										  VARSIZE_ANY_EXHDR(set->tenants[middle]));

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return set->all;
}

/* Add an array's elements; sort_set when all are there. */
static void
add_tenants(TenantSet *set, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (set->tenants == NULL)
		set->tenants = palloc(sizeof(text *) * (count + 1));
	else
		set->tenants = repalloc(set->tenants, sizeof(text *) * (set->count + count + 1));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("list of tenants must not contain nulls"),
					 errhint("Records of no tenant are always included.")));
		set->tenants[set->count++] = DatumGetTextPP(elements[i]);
	}
}

static void
sort_set(TenantSet *set)
{
	if (set->count > 1)
		qsort(set->tenants, set->count, sizeof(text *), compare_tenants);
}

/* Take in one row of clinicache.subscriber; false: not about the caller. */
static bool
add_grant(TenantSet *set, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Name		name = DatumGetName(heap_getattr(tuple, Anum_subscriber_role, desc, &isnull));
	Oid			role = get_role_oid(NameStr(*name), true);
	Datum		tenants;

	if (!OidIsValid(role) || !has_privs_of_role(GetUserId(), role))
		return false;
	tenants = heap_getattr(tuple, Anum_subscriber_tenants, desc, &isnull);
	if (isnull)
		set->all = true;
	else
		add_tenants(set, DatumGetArrayTypePCopy(tenants));
	return true;
}

/*
 * The tenants that the caller may see.  Read without privileges on the table,
 * with a latest snapshot: a revoked grant must not live on in an old one.
 */
static void
load_grants(TenantSet *set)
{
	Oid			owner = cc_catalog_owner();
	bool		is_subscriber = false;
	TableReader reader;
	Snapshot	snapshot;
	HeapTuple	tuple;

	if (superuser() || (OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)))
	{
		set->all = true;
		return;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	cc_reader_begin(&reader, CC_TABLE_SUBSCRIBER, snapshot);
	while (HeapTupleIsValid(tuple = cc_reader_next(&reader, ForwardScanDirection)))
		is_subscriber |= add_grant(set, tuple, RelationGetDescr(reader.rel));
	cc_reader_end(&reader);
	UnregisterSnapshot(snapshot);
	sort_set(set);
	if (!is_subscriber)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is not a clinicache subscriber",
						GetUserNameFromId(GetUserId(), false)),
				 errhint("Ask the extension's owner for clinicache.grant_subscriber().")));
}

/* Of the tenants asked for (NULL: all) those that are granted. */
static void
restrict_set(TenantSet *granted, ArrayType *wanted_array)
{
	TenantSet	wanted = {0};
	int			kept = 0;

	if (wanted_array == NULL)
		return;
	add_tenants(&wanted, wanted_array);
	sort_set(&wanted);
	for (int i = 0; i < wanted.count; i++)
	{
		if (set_has(granted, VARDATA_ANY(wanted.tenants[i]), VARSIZE_ANY_EXHDR(wanted.tenants[i])))
			wanted.tenants[kept++] = wanted.tenants[i];
	}
	wanted.count = kept;
	*granted = wanted;
}

/* What belongs to no tenant concerns everybody. */
static bool
tenant_counts(const char *tenant, int len, void *arg)
{
	return tenant == NULL || set_has((const TenantSet *) arg, tenant, len);
}

/* Fill the builder with what is after "since" (NULL: no position, start afresh). */
static void
collect(const Position *since, Snapshot snapshot, TenantSet *set, MessageBuilder *builder)
{
	LogScanFilter filter = {0};

	if (since == NULL || !cc_position_history_ok(since) || !cc_floor_covers(since))
	{
		cc_message_set_reset(builder);
		return;
	}
	if (!set->all)
	{
		filter.test = tenant_counts;
		filter.arg = set;
	}
	cc_log_scan(since, snapshot, &filter, builder);
	/* slots may have been emptied before we came to them; no snapshot shows that */
	if (!cc_floor_covers(since))
		cc_message_set_reset(builder);
}

static int
get_max_tags(FunctionCallInfo fcinfo, int argno)
{
	int			max_tags = PG_ARGISNULL(argno) ? DEFAULT_MAX_TAGS : PG_GETARG_INT32(argno);

	if (max_tags < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_tags must be at least 1"),
				 errhint("Beyond it tags collapse to prefixes, and those to a reset.")));
	return max_tags;
}

/*
 * changes(since text, tenants text[], max_tags int) -> jsonb
 *		One message with all that committed after the position.
 */
Datum
clinicache_changes(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = GetActiveSnapshot();
	int			max_tags = get_max_tags(fcinfo, 2);
	TenantSet	set = {0};
	Position   *since = NULL;
	MessageBuilder *builder;
	char	   *pos;

	load_grants(&set);
	restrict_set(&set, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1));
	if (!PG_ARGISNULL(0))
		since = cc_position_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	pos = cc_position_text(cc_position_from_snapshot(snapshot, true));
	builder = cc_message_begin(max_tags);
	collect(since, snapshot, &set, builder);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in,
										CStringGetDatum(cc_message_text(builder, pos))));
}
