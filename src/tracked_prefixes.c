/*-------------------------------------------------------------------------
 *
 * tracked_prefixes.c
 *		The prefixes that tracked tables' templates have.
 *
 * When a message has more tags than it may, they give way to prefixes.  Caches
 * that know exact tags only have labelled their reads with the template's own
 * prefix, as clinicache.tag_templates shows it, and with no other: so it has to
 * be one of these.  They are read from the triggers, which is slow and rare.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tracked_prefixes.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_trigger.h"
#include "nodes/pg_list.h"
#include "tag_template.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

static int
compare_cells(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* The "tag" of one element of a configuration's "tags"; NULL if there is none. */
static char *
template_text(JsonbValue *element)
{
	JsonbValue *text;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		return NULL;
	text = getKeyJsonValueFromContainer(element->val.binary.data, "tag", 3, NULL);
	return text && text->type == jbvString ?
		pnstrdup(text->val.string.val, text->val.string.len) : NULL;
}

/* Add what the templates of one trigger's configuration begin with. */
static List *
parse_config(List *list, const char *config)
{
	Jsonb	   *json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(config)));
	JsonbValue *tags = getKeyJsonValueFromContainer(&json->root, "tags", 4, NULL);

	if (tags == NULL || tags->type != jbvBinary || !JsonContainerIsArray(tags->val.binary.data))
		return list;
	for (uint32 i = 0; i < JsonContainerSize(tags->val.binary.data); i++)
	{
		char	   *text = template_text(getIthJsonbValueFromContainer(tags->val.binary.data, i));
		TagTemplate *template = text ? cc_template_parse(text) : NULL;

		if (template && (!template->is_constant || template->is_prefix))
			list = lappend(list, template->prefix);
	}
	return list;
}

/*
 * The same; a configuration that can not be read adds the empty prefix, since
 * its table's changes mean everything.  No subtransaction is needed around the
 * catch: parsing takes no locks, references or snapshots.
 */
static List *
add_prefixes(List *list, const char *config)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *volatile result = list;

	PG_TRY();
	{
		result = parse_config(result, config);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_INVALID_TEXT_REPRESENTATION &&
			geterrcode() != ERRCODE_INVALID_PARAMETER_VALUE)
			PG_RE_THROW();
		FlushErrorState();
		result = lappend(list, "");
	}
	PG_END_TRY();
	return result;
}

static List *
read_triggers(void)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *list = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		isnull;
		Datum		args;

		if (form->tgnargs != 1 || OidIsValid(form->tgparentid) ||
			!cc_catalog_is_function(form->tgfoid, "row_change"))
			continue;
		args = fastgetattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(rel), &isnull);
		if (!isnull)
			list = add_prefixes(list, VARDATA_ANY(DatumGetByteaPP(args)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return list;
}

/*
 * Read them, in CurrentMemoryContext.  AccessShareLock on pg_trigger, released.
 */
TrackedPrefixes *
cc_tracked_prefixes(void)
{
	TrackedPrefixes *result = palloc0(sizeof(TrackedPrefixes));
	List	   *list = read_triggers();
	ListCell   *cell;
	int			byte = 0;

	result->prefixes = palloc(sizeof(char *) * Max(1, list_length(list)));
	list_sort(list, compare_cells);
	foreach(cell, list)
		if (result->count == 0 ||
			strcmp(result->prefixes[result->count - 1], lfirst(cell)) != 0)
			result->prefixes[result->count++] = lfirst(cell);
	for (int i = 0; i < result->count; i++)
	{
		unsigned char first = result->prefixes[i][0];

		result->has_empty |= first == '\0';
		while (byte <= first)
			result->from[byte++] = i;
	}
	while (byte <= 256)
		result->from[byte++] = result->count;
	return result;
}
