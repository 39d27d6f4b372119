/*-------------------------------------------------------------------------
 *
 * tag_template.h
 *		Templates such as "appointments:clinic:{clinicId}", taken apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_TAG_TEMPLATE_H
#define CLINICACHE_TAG_TEMPLATE_H

#include "postgres.h"
#include "tag_value.h"

/* literal text, then (except perhaps in the last part) a placeholder */
typedef struct TagPart
{
	char	   *literal;
	char	   *column;			/* NULL: no placeholder */
	int			literal_len;
	uint8		nfilters;
	uint8		filters[CC_MAX_FILTERS];	/* TagFilter */
} TagPart;

typedef struct TagTemplate
{
	char	   *text;			/* as written */
	char	   *prefix;			/* what all its tags begin with */
	bool		is_constant;	/* no placeholder */
	bool		is_prefix;		/* ended in '*': renders to a prefix */
	int			nparts;
	TagPart    *parts;
} TagTemplate;

extern TagTemplate *cc_template_parse(const char *text);
extern bool cc_template_part_wants_day(const TagPart *part);
extern void cc_template_apply_text_filters(StringInfo buf, const TagPart *part,
										   const char *text, int len);

#endif							/* CLINICACHE_TAG_TEMPLATE_H */
