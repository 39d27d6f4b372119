/*-------------------------------------------------------------------------
 *
 * tag_function.c
 *		clinicache.tag(): the reader's side of the templates.
 *
 * Takes values from JSON as applications have them and must come to the tag
 * that the trigger made from the column.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tag_template.h"
#include "tenant_zone.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(clinicache_tag);

static JsonbValue *
get_argument(Jsonb *args, const char *name)
{
	return getKeyJsonValueFromContainer(&args->root, name, strlen(name), NULL);
}

/* The text of a scalar argument, as cc_value_append would write the column. */
static void
append_scalar(StringInfo buf, const char *name, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			appendBinaryStringInfo(buf, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			appendStringInfoString(buf,
								   DatumGetCString(DirectFunctionCall1(numeric_out,
																	   NumericGetDatum(value->val.numeric))));
			break;
		case jbvBool:
			appendStringInfoString(buf, value->val.boolean ? "true" : "false");
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"%s\" has to be a string, number or boolean", name)));
	}
}

/*
 * The zone in which an instant becomes a day: that of the tenant in argument
 * "tenant" or "clinic", if given, else clinicache.timezone; argument
 * "timezone" overrules both.
 */
static TenantZone *
argument_zone(Jsonb *args, TenantZone *named)
{
	JsonbValue *value = get_argument(args, "timezone");
	StringInfoData text;

	initStringInfo(&text);
	if (value && value->type == jbvString)
	{
		char	   *name = pnstrdup(value->val.string.val, value->val.string.len);
		pg_tz	   *zone = pg_tzset(name);

		if (zone == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("time zone \"%s\" not recognized", name)));
		cc_zone_set(named, zone);
		return named;
	}
	value = get_argument(args, "tenant");
	if (value == NULL)
		value = get_argument(args, "clinic");
	if (value == NULL || value->type == jbvNull)
		return cc_tenant_zone(NULL, 0);
	append_scalar(&text, "tenant", value);
	return cc_tenant_zone(text.data, text.len);
}

/* Does an ISO 8601 text name an instant, that is, does it end in Z or an offset? */
static bool
names_instant(const char *text, int len)
{
	if (len <= 10)
		return false;
	for (int i = 10; i < len; i++)
		if (text[i] == 'Z' || text[i] == 'z' || text[i] == '+' || text[i] == '-')
			return true;
	return false;
}

/* A day, a wall time (its day counts) or an instant -> local time. */
static Timestamp
argument_local(Jsonb *args, const char *name, const char *text, int len)
{
	Timestamp	local;
	TenantZone	named;

	if (!cc_text_local_day(text, len, &local))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("argument \"%s\" is not a date", name),
				 errhint("Give a day (2026-11-21) or a time in ISO 8601.")));
	if (names_instant(text, len))
	{
		Datum		instant = DirectFunctionCall3(timestamptz_in,
												  CStringGetDatum(pnstrdup(text, len)),
												  ObjectIdGetDatum(InvalidOid),
												  Int32GetDatum(-1));

		local = cc_zone_local(argument_zone(args, &named), DatumGetTimestampTz(instant));
	}
	return local;
}

/* Append one placeholder's value; false if the argument is null. */
static bool
append_placeholder(StringInfo buf, TagPart *part, Jsonb *args)
{
	JsonbValue *value = get_argument(args, part->column);
	StringInfoData text;

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is missing", part->column),
				 errhint("Each placeholder of the template needs a key in args.")));
	if (value->type == jbvNull)
		return false;
	initStringInfo(&text);
	append_scalar(&text, part->column, value);
	if (cc_template_part_wants_day(part))
	{
		Timestamp	local;

		/* a month, 2026-11, is what filter month makes of it */
		if (!(part->filters[0] == FILTER_MONTH && text.len == 7))
		{
			local = argument_local(args, part->column, text.data, text.len);
			resetStringInfo(&text);
			cc_append_day(&text, local, part->filters[0]);
		}
	}
	cc_template_apply_text_filters(buf, part, text.data, text.len);
	return true;
}

/*
 * tag(template text, args jsonb) -> text
 *		Null if an argument is null: such a row has no tag.  A template that
 *		emits a prefix gives the label 'prefix*'.
 */
Datum
clinicache_tag(PG_FUNCTION_ARGS)
{
	TagTemplate *template = cc_template_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Jsonb	   *args = PG_GETARG_JSONB_P(1);
	StringInfoData buf;

	if (!JB_ROOT_IS_OBJECT(args))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("args has to be a JSON object")));
	initStringInfo(&buf);
	for (int i = 0; i < template->nparts; i++)
	{
		TagPart    *part = &template->parts[i];

		appendBinaryStringInfo(&buf, part->literal, part->literal_len);
		if (part->column && !append_placeholder(&buf, part, args))
			PG_RETURN_NULL();
	}
	cc_tag_shorten(&buf, template->is_prefix);
	if (template->is_prefix)
		appendStringInfoChar(&buf, '*');
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf.data, buf.len));
}
