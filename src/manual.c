/*-------------------------------------------------------------------------
 *
 * manual.c
 *		Tags and prefixes given by hand.
 *
 * Transactional like all others: they join this transaction's pending set.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "flush.h"
#include "miscadmin.h"
#include "tag_value.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define MAX_PREFIX_LENGTH 1024

PG_FUNCTION_INFO_V1(clinicache_invalidate);
PG_FUNCTION_INFO_V1(clinicache_invalidate_prefix);

/* Tags by hand carry the profile that tags without one have. */
static int
default_profile(void)
{
	return cc_pending_profile(CC_PROFILE_DEFAULT, CC_PROFILE_DEFAULT_SECONDS);
}

static PendingTenant *
tenant_argument(FunctionCallInfo fcinfo, int arg, PendingSet *set)
{
	text	   *tenant;

	if (PG_ARGISNULL(arg))
		return cc_pending_tenant(set, NULL, 0);
	tenant = PG_GETARG_TEXT_PP(arg);
	return cc_pending_tenant(set, VARDATA_ANY(tenant), VARSIZE_ANY_EXHDR(tenant));
}

static void
add_reason(FunctionCallInfo fcinfo, int arg, PendingSet *set)
{
	text	   *reason;

	if (PG_ARGISNULL(arg))
		return;
	reason = PG_GETARG_TEXT_PP(arg);
	if (VARSIZE_ANY_EXHDR(reason) > 0)
		cc_pending_add_reason(set, VARDATA_ANY(reason), VARSIZE_ANY_EXHDR(reason));
}

/* Reject the call where the log can not be written, before anything is pending. */
static void
check_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	PreventCommandDuringRecovery(function);
}

/*
 * invalidate(tags text[], tenant text, reason text) -> void
 */
Datum
clinicache_invalidate(PG_FUNCTION_ARGS)
{
	Datum	   *tags;
	bool	   *nulls;
	int			ntags;
	PendingSet *set;
	PendingTenant *tenant;
	int			profile = default_profile();
	StringInfoData tag;

	check_writable("clinicache.invalidate()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tags must not be null")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &tags, &nulls, &ntags);
	for (int i = 0; i < ntags; i++)
		if (nulls[i] || VARSIZE_ANY_EXHDR(DatumGetPointer(tags[i])) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a tag must not be null or empty"),
					 errhint("To drop everything, use clinicache.invalidate_prefix('').")));

	set = cc_flush_pending();
	tenant = tenant_argument(fcinfo, 1, set);
	add_reason(fcinfo, 2, set);
	initStringInfo(&tag);
	for (int i = 0; i < ntags; i++)
	{
		resetStringInfo(&tag);
		appendBinaryStringInfo(&tag, VARDATA_ANY(DatumGetPointer(tags[i])),
							   VARSIZE_ANY_EXHDR(DatumGetPointer(tags[i])));
		cc_tag_shorten(&tag, false);
		cc_pending_add(set, tenant, NULL, PENDING_TAG, profile, tag.data, tag.len);
	}
	PG_RETURN_VOID();
}

/*
 * invalidate_prefix(prefix text, tenant text, reason text) -> void
 */
Datum
clinicache_invalidate_prefix(PG_FUNCTION_ARGS)
{
	text	   *prefix;
	PendingSet *set;
	PendingTenant *tenant;
	StringInfoData cut;

	check_writable("clinicache.invalidate_prefix()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("prefix must not be null")));
	prefix = PG_GETARG_TEXT_PP(0);
	if (VARSIZE_ANY_EXHDR(prefix) > MAX_PREFIX_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("prefix is longer than %d bytes", MAX_PREFIX_LENGTH),
				 errhint("Tags have at most %d characters.", CC_TAG_MAX)));
	set = cc_flush_pending();
	tenant = tenant_argument(fcinfo, 1, set);
	add_reason(fcinfo, 2, set);
	initStringInfo(&cut);
	appendBinaryStringInfo(&cut, VARDATA_ANY(prefix), VARSIZE_ANY_EXHDR(prefix));
	cc_tag_shorten(&cut, true);
	cc_pending_add(set, tenant, NULL, PENDING_PREFIX, default_profile(), cut.data, cut.len);
	PG_RETURN_VOID();
}
