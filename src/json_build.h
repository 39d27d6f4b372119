/*-------------------------------------------------------------------------
 *
 * json_build.h
 *		A jsonb value, made piece by piece: not by way of its text, which would
 *		have to be parsed.
 *
 * Keys and texts are not copied; they have to last until the value is complete.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_JSON_BUILD_H
#define CLINICACHE_JSON_BUILD_H

#include "postgres.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

static inline void
cc_json_key(JsonbParseState **json, const char *key, int len)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, key);
	value.val.string.len = len;
	(void) pushJsonbValue(json, WJB_KEY, &value);
}

static inline void
cc_json_null(JsonbParseState **json)
{
	JsonbValue	value = {.type = jbvNull};

	(void) pushJsonbValue(json, WJB_VALUE, &value);
}

static inline void
cc_json_text(JsonbParseState **json, const char *text, int len)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = len;
	(void) pushJsonbValue(json, WJB_VALUE, &value);
}

static inline void
cc_json_numeric(JsonbParseState **json, Numeric number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = number;
	(void) pushJsonbValue(json, WJB_VALUE, &value);
}

static inline void
cc_json_int(JsonbParseState **json, int64 number)
{
	cc_json_numeric(json, int64_to_numeric(number));
}

#endif							/* CLINICACHE_JSON_BUILD_H */
