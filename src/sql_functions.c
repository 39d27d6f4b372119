/*-------------------------------------------------------------------------
 *
 * sql_functions.c
 *		What SQL asks of templates, configurations and the pending set.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "flush.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tracker.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(clinicache_check_config);
PG_FUNCTION_INFO_V1(clinicache_trigger_config);
PG_FUNCTION_INFO_V1(clinicache_template_prefix);
PG_FUNCTION_INFO_V1(clinicache_template_columns);
PG_FUNCTION_INFO_V1(clinicache_pending_tags);
PG_FUNCTION_INFO_V1(clinicache_preview_rows);

/*
 * check_config(relation regclass, config jsonb) -> void
 *		Compile and forget.
 */
Datum
clinicache_check_config(PG_FUNCTION_ARGS)
{
	Relation	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinicache check",
												  ALLOCSET_SMALL_SIZES);

	cc_config_compile(rel, PG_GETARG_JSONB_P(1), context);
	MemoryContextDelete(context);
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * trigger_config(trigger oid) -> jsonb
 *		The configuration that a trigger holds; null if it is none of ours, or of
 *		a table whose owner may not track: anybody can name our function in
 *		CREATE TRIGGER, with whatever argument.
 */
Datum
clinicache_trigger_config(PG_FUNCTION_ARGS)
{
	Oid			trigger = PG_GETARG_OID(0);
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Datum		result = (Datum) 0;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(rel, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && ((Form_pg_trigger) GETSTRUCT(tuple))->tgnargs == 1)
	{
		Oid			function = ((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid;
		bool		isnull;
		Datum		args = fastgetattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(rel),
									   &isnull);

		/* the arguments are NUL-terminated strings, one after the other */
		Oid			owner = cc_catalog_owner_of(((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid);

		if (!isnull && (cc_catalog_is_function(function, "row_change") ||
						cc_catalog_is_function(function, "parent_change") ||
						cc_catalog_is_function(function, "truncate_change")) &&
			cc_tracker_trusts(owner))
			result = DirectFunctionCall1(jsonb_in,
										 CStringGetDatum(VARDATA_ANY(DatumGetByteaPP(args))));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (result == (Datum) 0)
		PG_RETURN_NULL();
	return result;
}

/*
 * template_prefix(template text) -> text
 */
Datum
clinicache_template_prefix(PG_FUNCTION_ARGS)
{
	TagTemplate *template = cc_template_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_TEXT_P(cstring_to_text(template->prefix));
}

/*
 * template_columns(template text) -> text[]
 */
Datum
clinicache_template_columns(PG_FUNCTION_ARGS)
{
	TagTemplate *template = cc_template_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Datum	   *columns = palloc(sizeof(Datum) * template->nparts);
	int			count = 0;

	for (int i = 0; i < template->nparts; i++)
		if (template->parts[i].column)
			columns[count++] = CStringGetTextDatum(template->parts[i].column);
	PG_RETURN_ARRAYTYPE_P(construct_array(columns, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* where rows of (tag, profile) go */
typedef struct TagRows
{
	ReturnSetInfo *rsinfo;
	PendingSet *set;
} TagRows;

static void
put_entry(PendingEntry *entry, void *arg)
{
	TagRows    *rows = arg;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	StringInfoData tag;

	if (entry->kind == PENDING_REASON)
		return;
	if (entry->kind == PENDING_TAG && cc_pending_has_shorter(rows->set, entry))
		return;
	initStringInfo(&tag);
	appendBinaryStringInfo(&tag, entry->text, entry->len);
	if (entry->kind == PENDING_PREFIX)
		appendStringInfoChar(&tag, '*');
	values[0] = PointerGetDatum(cstring_to_text_with_len(tag.data, tag.len));
	values[1] = CStringGetTextDatum(cc_pending_profile_name(entry->profile));
	tuplestore_putvalues(rows->rsinfo->setResult, rows->rsinfo->setDesc, values, nulls);
}

static void
return_tags(FunctionCallInfo fcinfo, PendingSet *set)
{
	TagRows		rows = {(ReturnSetInfo *) fcinfo->resultinfo, set};

	if (set)
		cc_pending_visit(set, put_entry, &rows);
}

/*
 * pending_tags() -> table(tag text, profile text)
 */
Datum
clinicache_pending_tags(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	return_tags(fcinfo, cc_flush_pending_if_any());
	return (Datum) 0;
}

/* Take a row argument apart; false if it is null. */
static bool
deform_argument(FunctionCallInfo fcinfo, int arg, TupleDesc desc, Datum *values, bool *nulls)
{
	HeapTupleHeader header;
	HeapTupleData tuple;

	if (PG_ARGISNULL(arg))
		return false;
	header = PG_GETARG_HEAPTUPLEHEADER(arg);
	if (HeapTupleHeaderGetTypeId(header) != desc->tdtypeid)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("row is of type %s, not %s",
						format_type_be(HeapTupleHeaderGetTypeId(header)),
						format_type_be(desc->tdtypeid))));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);
	return true;
}

/*
 * preview_rows(relation regclass, old_row record, new_row record)
 *		-> table(tag text, profile text)
 *		What a change from one row to the other would emit, by the same code,
 *		in a set of its own.
 */
Datum
clinicache_preview_rows(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Tracker    *tracker;
	PendingSet *set;
	TupleDesc	desc;
	Datum	   *values[2];
	bool	   *nulls[2];
	bool		given[2];

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	desc = RelationGetDescr(rel);
	tracker = cc_tracker_get(rel, cc_tracker_trigger(rel, false));
	if (tracker->broken)
		ereport(ERROR,
				(errcode(tracker->broken_code), errmsg("%s", tracker->broken)));
	for (int i = 0; i < 2; i++)
	{
		values[i] = palloc(sizeof(Datum) * Max(1, desc->natts));
		nulls[i] = palloc(sizeof(bool) * Max(1, desc->natts));
		given[i] = deform_argument(fcinfo, i + 1, desc, values[i], nulls[i]);
	}
	for (int i = 0; i < 2; i++)
		if (given[i] && tracker->nlookups > 0)
		{
			RowValues	row = cc_lookup_extend(tracker, values[i], nulls[i], desc->natts);

			cc_lookup_new(tracker, &row);
			values[i] = row.values;
			nulls[i] = row.nulls;
		}
	set = cc_pending_create(CurrentMemoryContext, NULL, false);
	cc_emit_change(tracker, set, desc,
				   given[0] ? values[0] : NULL, nulls[0],
				   given[1] ? values[1] : NULL, nulls[1]);
	return_tags(fcinfo, set);
	table_close(rel, NoLock);
	return (Datum) 0;
}
