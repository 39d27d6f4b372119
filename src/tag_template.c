/*-------------------------------------------------------------------------
 *
 * tag_template.c
 *		Templates such as "appointments:clinic:{clinicId}", taken apart.
 *
 * Used by the tracker (row -> tag) and by clinicache.tag() (arguments -> tag),
 * so that writer and reader can not disagree.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tag_template.h"

#include "mb/pg_wchar.h"

/* leaves room for the values in a tag of CC_TAG_MAX */
#define MAX_TEMPLATE_LENGTH 512
#define MAX_PREFIX_LENGTH 200

static void
template_error(const char *text, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid tag template \"%s\"", text),
			 errdetail_internal("%s", why),
			 errhint("A template is text with placeholders {column} or {column|filter}; "
					 "filters are date, month, lower and hash.")));
}

static TagFilter
parse_filter(const char *text, const char *name)
{
	if (strcmp(name, "date") == 0)
		return FILTER_DATE;
	if (strcmp(name, "month") == 0)
		return FILTER_MONTH;
	if (strcmp(name, "lower") == 0)
		return FILTER_LOWER;
	if (strcmp(name, "hash") == 0)
		return FILTER_HASH;
	template_error(text, psprintf("There is no filter \"%s\".", name));
	pg_unreachable();
}

/* the inside of one pair of braces: column, then filters */
static void
parse_placeholder(const char *text, TagPart *part, const char *start, int len)
{
	char	   *inside = pnstrdup(start, len);
	char	   *filter = strchr(inside, '|');

	if (filter)
		*filter++ = '\0';
	if (inside[0] == '\0')
		template_error(text, "A placeholder is empty.");
	if (strchr(inside, '{'))
		template_error(text, "A placeholder is inside another.");
	part->column = inside;
	while (filter)
	{
		char	   *next = strchr(filter, '|');
		TagFilter	parsed;

		if (next)
			*next++ = '\0';
		parsed = parse_filter(text, filter);
		if (part->nfilters == CC_MAX_FILTERS)
			template_error(text, "A placeholder has too many filters.");
		if (part->nfilters > 0 && (parsed == FILTER_DATE || parsed == FILTER_MONTH))
			template_error(text, "Filters date and month come first.");
		part->filters[part->nfilters++] = parsed;
		filter = next;
	}
}

static void
set_prefix(TagTemplate *template)
{
	template->is_constant = template->parts[0].column == NULL;
	template->prefix = template->parts[0].literal;
	if (strlen(template->prefix) > MAX_PREFIX_LENGTH)
		template_error(template->text, "It begins with more than 200 bytes of literal text.");
}

/*
 * Parse a template; everything is allocated in CurrentMemoryContext.
 * ERRCODE_INVALID_PARAMETER_VALUE with a hint if it is malformed.
 */
TagTemplate *
cc_template_parse(const char *text)
{
	TagTemplate *template = palloc0(sizeof(TagTemplate));
	const char *at = text;
	int			len = strlen(text);
	int			max_parts = 1;

	template->text = pstrdup(text);
	if (len == 0 || len > MAX_TEMPLATE_LENGTH)
		template_error(text, "It has to be 1 to 512 bytes long.");
	template->is_prefix = text[len - 1] == '*';
	for (const char *p = text; *p; p++)
		max_parts += *p == '{';
	template->parts = palloc0(sizeof(TagPart) * max_parts);

	for (;;)
	{
		TagPart    *part = &template->parts[template->nparts++];
		const char *open = strchr(at, '{');
		const char *close = strchr(at, '}');

		if (close && (!open || close < open))
			template_error(text, "A \"}\" has no \"{\".");
		part->literal_len = open ? (int) (open - at) : (int) strlen(at);
		if (!open && template->is_prefix)
			part->literal_len--;	/* the '*' itself */
		part->literal = pnstrdup(at, part->literal_len);
		if (!open)
			break;
		if (!close)
			template_error(text, "A \"{\" has no \"}\".");
		parse_placeholder(text, part, open + 1, (int) (close - open - 1));
		at = close + 1;
	}
	set_prefix(template);
	return template;
}

/* Does the placeholder ask for a day or month, so that a time zone matters? */
bool
cc_template_part_wants_day(const TagPart *part)
{
	return part->nfilters > 0 &&
		(part->filters[0] == FILTER_DATE || part->filters[0] == FILTER_MONTH);
}

/*
 * Append a value after the text filters lower and hash of its placeholder.
 * Filters date and month were applied by the caller, who knows the type.
 */
void
cc_template_apply_text_filters(StringInfo buf, const TagPart *part, const char *text, int len)
{
	StringInfoData step;
	bool		first = true;

	for (int i = 0; i < part->nfilters; i++)
	{
		if (part->filters[i] != FILTER_LOWER && part->filters[i] != FILTER_HASH)
			continue;
		if (!first)
		{
			text = pnstrdup(step.data, step.len);
			len = step.len;
		}
		initStringInfo(&step);
		if (part->filters[i] == FILTER_LOWER)
			cc_append_lower(&step, text, len);
		else
			cc_append_hash(&step, text, len);
		first = false;
	}
	if (first)
		appendBinaryStringInfo(buf, text, len);
	else
		appendBinaryStringInfo(buf, step.data, step.len);
}
