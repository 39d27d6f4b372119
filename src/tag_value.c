/*-------------------------------------------------------------------------
 *
 * tag_value.c
 *		Column values as text and as local time, whatever the session's settings.
 *
 * A tag that the trigger renders in one session must equal the tag that a
 * reader renders in another, so nothing here may depend on DateStyle, TimeZone,
 * IntervalStyle, extra_float_digits, bytea_output or the locale of money.
 * Frequent types are rendered directly; the rest goes through the type's output
 * function under fixed settings, as pg_dump and postgres_fdw do it.
 *
 * All functions allocate in CurrentMemoryContext and keep nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tag_value.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "common/shortest_dec.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/formatting.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/*
 * Prepare a type.  "context" must live as long as *type: the FmgrInfo is set
 * up there.  Reads the system catalogs; not for the row path.
 */
void
cc_value_type_init(ValueType *type, Oid typid, MemoryContext context)
{
	Oid			output;
	bool		is_varlena;

	type->typid = getBaseType(typid);
	type->is_enum = type_is_enum(type->typid);
	type->is_local = false;
	getTypeOutputInfo(type->typid, &output, &is_varlena);
	fmgr_info_cxt(output, &type->output, context);
}

/*
 * Can values of this type tell a day, for filters date and month and windows?
 * Text counts: applications keep '2026-11-21' in text columns.
 */
bool
cc_value_type_has_day(const ValueType *type)
{
	switch (type->typid)
	{
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return true;
		default:
			return false;
	}
}

/* Does the value tell a moment, the same on clocks everywhere? */
bool
cc_value_is_instant(const ValueType *type)
{
	return !type->is_local && (type->typid == TIMESTAMPOID || type->typid == TIMESTAMPTZOID);
}

/* Settings under which output functions speak the same language in every session. */
static int
fix_output_settings(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO"},
		{"intervalstyle", "postgres"},
		{"timezone", "UTC"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"lc_monetary", "C"},
		{"search_path", "pg_catalog"},
	};
	int			nest = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1],
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

static void
append_other(StringInfo buf, ValueType *type, Datum value)
{
	if (type->is_enum || type->typid == NUMERICOID)
		appendStringInfoString(buf, OutputFunctionCall(&type->output, value));
	else
	{
		int			nest = fix_output_settings();

		appendStringInfoString(buf, OutputFunctionCall(&type->output, value));
		AtEOXact_GUC(true, nest);
	}
}

static void
append_uuid(StringInfo buf, Datum value)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *data = DatumGetUUIDP(value)->data;
	char		out[36];
	char	   *p = out;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[data[i] >> 4];
		*p++ = digits[data[i] & 0xF];
	}
	appendBinaryStringInfo(buf, out, sizeof(out));
}

static void
append_varlena(StringInfo buf, Datum value, bool blank_padded)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);
	int			len = VARSIZE_ANY_EXHDR(text);

	/* as the cast to text does */
	while (blank_padded && len > 0 && VARDATA_ANY(text)[len - 1] == ' ')
		len--;
	appendBinaryStringInfo(buf, VARDATA_ANY(text), len);
	if ((Pointer) text != DatumGetPointer(value))
		pfree(text);
}

static void
append_datetime(StringInfo buf, Oid typid, Datum value)
{
	char		text[MAXDATELEN + 1];
	int			utc = 0;

	(void) JsonEncodeDateTime(text, value, typid,
							  typid == TIMESTAMPTZOID ? &utc : NULL);
	appendStringInfoString(buf, text);
}

/*
 * Append the value as text: numbers and uuids in PostgreSQL's form, times in
 * ISO 8601, timestamptz in UTC.  Toasted values are fetched.
 */
void
cc_value_append(StringInfo buf, ValueType *type, Datum value)
{
	char		number[DOUBLE_SHORTEST_DECIMAL_LEN + 24];
	int			len;

	switch (type->typid)
	{
		case TEXTOID:
		case VARCHAROID:
			append_varlena(buf, value, false);
			return;
		case BPCHAROID:
			append_varlena(buf, value, true);
			return;
		case NAMEOID:
			appendStringInfoString(buf, NameStr(*DatumGetName(value)));
			return;
		case INT2OID:
			len = pg_itoa(DatumGetInt16(value), number);
			break;
		case INT4OID:
			len = pg_ltoa(DatumGetInt32(value), number);
			break;
		case INT8OID:
			len = pg_lltoa(DatumGetInt64(value), number);
			break;
		case OIDOID:
			len = pg_ultoa_n(DatumGetObjectId(value), number);
			break;
		case FLOAT4OID:
			len = float_to_shortest_decimal_buf(DatumGetFloat4(value), number);
			break;
		case FLOAT8OID:
			len = double_to_shortest_decimal_buf(DatumGetFloat8(value), number);
			break;
		case BOOLOID:
			appendStringInfoString(buf, DatumGetBool(value) ? "true" : "false");
			return;
		case UUIDOID:
			append_uuid(buf, value);
			return;
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			append_datetime(buf, type->typid, value);
			return;
		default:
			append_other(buf, type, value);
			return;
	}
	appendBinaryStringInfo(buf, number, len);
}

/*
 * Day written at the start of a text, 'YYYY-MM-DD...'; false if it is none.
 */
bool
cc_text_local_day(const char *text, int len, Timestamp *local)
{
	int			field[3] = {0, 0, 0};
	int			day_table;

	if (len < 10 || text[4] != '-' || text[7] != '-')
		return false;
	for (int i = 0, f = 0; i < 10; i++)
	{
		if (i == 4 || i == 7)
			f++;
		else if (text[i] >= '0' && text[i] <= '9')
			field[f] = field[f] * 10 + (text[i] - '0');
		else
			return false;
	}
	if (field[1] < 1 || field[1] > 12 || field[2] < 1)
		return false;
	day_table = day_tab[isleap(field[0])][field[1] - 1];
	if (field[2] > day_table)
		return false;
	*local = (Timestamp) (date2j(field[0], field[1], field[2]) - POSTGRES_EPOCH_JDATE) *
		USECS_PER_DAY;
	return true;
}

/*
 * Local wall time of a value; *has_time tells whether it knows more than the
 * day.  timestamp and timestamptz are instants unless the configuration says
 * that they hold wall time already.  False: not a day at all.
 */
bool
cc_value_local(const ValueType *type, Datum value, TenantZone *zone,
			   Timestamp *local, bool *has_time)
{
	*has_time = false;
	switch (type->typid)
	{
		case DATEOID:
			{
				DateADT		day = DatumGetDateADT(value);

				if (DATE_IS_NOBEGIN(day))
					TIMESTAMP_NOBEGIN(*local);
				else if (DATE_IS_NOEND(day))
					TIMESTAMP_NOEND(*local);
				else if (day >= TIMESTAMP_END_JULIAN - POSTGRES_EPOCH_JDATE)
					return false;	/* dates reach further than timestamps */
				else
					*local = (Timestamp) day * USECS_PER_DAY;
				return true;
			}
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			*has_time = true;
			*local = DatumGetTimestamp(value);
			if (!type->is_local)
				*local = cc_zone_local(zone, *local);
			return true;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			{
				struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

				return cc_text_local_day(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), local);
			}
		default:
			return false;
	}
}

/* 'H:MM', 'HH:MM:SS', either with a trailing AM or PM */
static bool
parse_clock(const char *text, int len, int64 *usecs)
{
	char		copy[32];
	int			hour;
	int			minute;
	int			second = 0;
	int			used = 0;
	char	   *rest;

	if (len <= 0 || len >= (int) sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (sscanf(copy, " %2d:%2d%n", &hour, &minute, &used) != 2)
		return false;
	rest = copy + used;
	if (rest[0] == ':' && sscanf(rest, ":%2d%n", &second, &used) == 1)
		rest += used;
	while (*rest == ' ')
		rest++;
	if (pg_strncasecmp(rest, "am", 2) == 0 || pg_strncasecmp(rest, "pm", 2) == 0)
	{
		if (hour < 1 || hour > 12)
			return false;
		hour = hour % 12 + (pg_tolower((unsigned char) rest[0]) == 'p' ? 12 : 0);
	}
	if (hour < 0 || hour > 24 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return false;
	*usecs = ((int64) hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE + second) * USECS_PER_SEC;
	return true;
}

/*
 * Time of day from a time or text column that stands beside a date column.
 * False: it is not one, and only the day is known.
 */
bool
cc_value_time_of_day(const ValueType *type, Datum value, int64 *usecs)
{
	switch (type->typid)
	{
		case TIMEOID:
			*usecs = DatumGetTimeADT(value);
			return true;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			{
				struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

				return parse_clock(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), usecs);
			}
		default:
			return false;
	}
}

/*
 * Append a local day, 2026-11-21, or month, 2026-11.
 */
void
cc_append_day(StringInfo buf, Timestamp local, TagFilter filter)
{
	int			year;
	int			month;
	int			day;
	char		text[32];
	int			len;
	Timestamp	days;

	if (TIMESTAMP_NOT_FINITE(local))
	{
		appendStringInfoString(buf, TIMESTAMP_IS_NOBEGIN(local) ? "-infinity" : "infinity");
		return;
	}
	days = local / USECS_PER_DAY;
	if (local % USECS_PER_DAY < 0)
		days--;
	j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (year <= 0)
	{
		appendStringInfo(buf, "%04d-%02d", 1 - year, month);
		if (filter == FILTER_DATE)
			appendStringInfo(buf, "-%02d", day);
		appendStringInfoString(buf, " BC");
		return;
	}
	/* once per row in bulk loads, so without printf */
	len = pg_ultostr_zeropad(text, year, 4) - text;
	text[len++] = '-';
	len = pg_ultostr_zeropad(text + len, month, 2) - text;
	if (filter == FILTER_DATE)
	{
		text[len++] = '-';
		len = pg_ultostr_zeropad(text + len, day, 2) - text;
	}
	appendBinaryStringInfo(buf, text, len);
}

/*
 * Append the first 16 hex digits of the SHA-256 of a text, which any
 * application can compute too.
 */
void
cc_append_hash(StringInfo buf, const char *text, int len)
{
	static const char digits[] = "0123456789abcdef";
	uint8		sum[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) text, len) < 0 ||
		pg_cryptohash_final(context, sum, sizeof(sum)) < 0)
		elog(ERROR, "could not compute SHA-256");
	pg_cryptohash_free(context);
	for (int i = 0; i < CC_TAG_HASH_DIGITS / 2; i++)
	{
		appendStringInfoChar(buf, digits[sum[i] >> 4]);
		appendStringInfoChar(buf, digits[sum[i] & 0xF]);
	}
}

/*
 * Append a text in lower case, by the database's default collation.
 */
void
cc_append_lower(StringInfo buf, const char *text, int len)
{
	char	   *lower = str_tolower(text, len, DEFAULT_COLLATION_OID);

	appendStringInfoString(buf, lower);
	pfree(lower);
}

/*
 * Shorten a tag that JavaScript would call longer than CC_TAG_MAX: its first
 * CC_TAG_KEEP units, '~', and a hash of the whole.  It still starts with its
 * template's literal text, so a prefix still covers it.  A prefix is cut to
 * those CC_TAG_KEEP units, so that it covers shortened tags too.
 */
void
cc_tag_shorten(StringInfo buf, bool is_prefix)
{
	int			units = 0;
	int			keep = 0;
	char	   *whole;

	if (buf->len <= (is_prefix ? CC_TAG_KEEP : CC_TAG_MAX))
		return;
	for (int at = 0; at < buf->len;)
	{
		int			char_len = Min(pg_mblen(buf->data + at), buf->len - at);

		/* beyond the basic plane a character is two UTF-16 units */
		units += (char_len == 4 && GetDatabaseEncoding() == PG_UTF8) ? 2 : 1;
		at += char_len;
		if (units <= CC_TAG_KEEP)
			keep = at;
	}
	if (units <= (is_prefix ? CC_TAG_KEEP : CC_TAG_MAX))
		return;
	whole = pnstrdup(buf->data, buf->len);
	buf->len = keep;
	buf->data[keep] = '\0';
	if (!is_prefix)
	{
		appendStringInfoChar(buf, '~');
		cc_append_hash(buf, whole, strlen(whole));
	}
	pfree(whole);
}
