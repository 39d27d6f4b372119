/*-------------------------------------------------------------------------
 *
 * cells.c
 *		Counts and sums, by a name of bytes: in memory and packed.
 *
 * A cell's name is so written that memcmp sorts by counter, dimension, key and
 * day:
 *
 *		counter(4) dimension(1) key(2+) | day(4) kind(1) class(2+)
 *		`---------- prefix -----------'   `------- suffix -------'
 *
 * Numbers are big-endian, with the sign turned around; a text has its length
 * before it, NULL_TEXT for null.  A change record holds contributions, whose
 * names are of another form (counter.c) but packed in the same way:
 *
 *		length(varint) name n(zigzag varint) length(varint) sum
 *
 * where a sum is what PostgreSQL stores of a numeric, and of length 0 for zero.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "cells.h"

#include "common/hashfn.h"
#include "common/int.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "tag_value.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define NULL_TEXT 0xFFFF
#define DIMENSION_AT 4
#define KEY_AT 5

/* open addressing; cells never move, and go only with the whole set */
struct CellSet
{
	MemoryContext context;
	Cell	  **slots;
	uint32		size;			/* a power of two */
	uint32		count;
	Size		bytes;
};

static void
make_slots(CellSet *set, uint32 size)
{
	set->slots = MemoryContextAllocExtended(set->context, sizeof(Cell *) * size,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	set->size = size;
}

/* An empty set, in a context of its own under "parent". */
CellSet *
cc_cells_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "clinicache cells",
												  ALLOCSET_DEFAULT_SIZES);
	CellSet    *set = MemoryContextAllocZero(parent, sizeof(CellSet));

	set->context = context;
	make_slots(set, 64);
	return set;
}

/* Make it empty again. */
void
cc_cells_reset(CellSet *set)
{
	MemoryContextReset(set->context);
	set->count = 0;
	set->bytes = 0;
	make_slots(set, 64);
}

void
cc_cells_free(CellSet *set)
{
	MemoryContextDelete(set->context);
	pfree(set);
}

uint32
cc_cells_count(const CellSet *set)
{
	return set->count;
}

/* What the set holds, about, in bytes. */
Size
cc_cells_bytes(const CellSet *set)
{
	return set->bytes + sizeof(Cell *) * set->size;
}

static Cell **
find_slot(CellSet *set, const char *name, uint32 len, uint32 hash)
{
	uint32		mask = set->size - 1;
	uint32		at = hash & mask;

	for (; set->slots[at]; at = (at + 1) & mask)
	{
		Cell	   *cell = set->slots[at];

		if (cell->hash == hash && cell->len == len && memcmp(cell->name, name, len) == 0)
			break;
	}
	return &set->slots[at];
}

static void
grow(CellSet *set)
{
	Cell	  **old = set->slots;
	uint32		size = set->size;

	make_slots(set, size * 2);
	for (uint32 i = 0; i < size; i++)
		if (old[i])
			*find_slot(set, old[i]->name, old[i]->len, old[i]->hash) = old[i];
	pfree(old);
}

/* The sum of two sums, NULL for zero, allocated in CurrentMemoryContext unless one is NULL. */
Numeric
cc_sum_add(Numeric a, Numeric b)
{
	if (a == NULL || b == NULL)
		return a ? a : b;
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a),
											   NumericGetDatum(b)));
}

/* Does it make no difference whether such a cell is there? */
bool
cc_cell_is_zero(int64 n, Numeric sum)
{
	if (n != 0)
		return false;
	return sum == NULL ||
		DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(sum),
										  NumericGetDatum(int64_to_numeric(0)))) == 0;
}

static Numeric
copy_sum(MemoryContext context, Numeric sum)
{
	if (sum == NULL)
		return NULL;
	return memcpy(MemoryContextAlloc(context, VARSIZE(sum)), sum, VARSIZE(sum));
}

/* Add to the cell of that name, made if need be.  Name and sum are copied. */
void
cc_cells_add(CellSet *set, const char *name, int len, int64 n, Numeric sum)
{
	uint32		hash = hash_bytes((const unsigned char *) name, len);
	Cell	  **slot = find_slot(set, name, len, hash);
	Cell	   *cell = *slot;
	Numeric		old;

	if (cell == NULL)
	{
		cell = MemoryContextAlloc(set->context, sizeof(Cell) + len);
		cell->name = memcpy(cell + 1, name, len);
		cell->len = len;
		cell->hash = hash;
		cell->n = n;
		cell->sum = copy_sum(set->context, sum);
		*slot = cell;
		set->count++;
		set->bytes += sizeof(Cell) + len + (sum ? VARSIZE(sum) : 0) + 32;
		if (set->count * 4 > set->size * 3)
			grow(set);
		return;
	}
	/* the sum first: running out of memory there leaves the cell as it was */
	old = cell->sum;
	if (sum != NULL)
	{
		Numeric		added = cc_sum_add(old, sum);

		sum = copy_sum(set->context, added);
		if (old != NULL)
			pfree(added);
	}
	if (pg_add_s64_overflow(cell->n, n, &cell->n))
		elog(ERROR, "counter out of range");
	if (sum == NULL)
		return;
	cell->sum = sum;
	if (old)
		pfree(old);
}

/* The cell of that name, or NULL. */
Cell *
cc_cells_find(CellSet *set, const char *name, int len)
{
	return *find_slot(set, name, len, hash_bytes((const unsigned char *) name, len));
}

static int
compare_cells(const void *a, const void *b)
{
	const Cell *x = *(Cell *const *) a;
	const Cell *y = *(Cell *const *) b;
	int			result = memcmp(x->name, y->name, Min(x->len, y->len));

	return result != 0 ? result : (x->len > y->len) - (x->len < y->len);
}

/* All cells, in no order; cc_cells_count of them, the array in CurrentMemoryContext. */
Cell **
cc_cells_list(CellSet *set)
{
	Cell	  **cells = MemoryContextAllocHuge(CurrentMemoryContext,
											   sizeof(Cell *) * Max(1, set->count));
	uint32		count = 0;

	for (uint32 i = 0; i < set->size; i++)
		if (set->slots[i])
			cells[count++] = set->slots[i];
	return cells;
}

/* The same, by name. */
Cell **
cc_cells_sorted(CellSet *set)
{
	Cell	  **cells = cc_cells_list(set);

	qsort(cells, set->count, sizeof(Cell *), compare_cells);
	return cells;
}

void
cc_append_int32(StringInfo buf, int32 value)
{
	uint32		bits = (uint32) value ^ 0x80000000;

	for (int shift = 24; shift >= 0; shift -= 8)
		appendStringInfoCharMacro(buf, (char) (bits >> shift));
}

int32
cc_read_int32(const char *bytes)
{
	const unsigned char *b = (const unsigned char *) bytes;

	return (int32) (((uint32) b[0] << 24 | (uint32) b[1] << 16 | (uint32) b[2] << 8 | b[3]) ^
					0x80000000);
}

/* A text, NULL allowed, of less than NULL_TEXT bytes. */
void
cc_append_text(StringInfo buf, const char *text, int len)
{
	if (text == NULL)
		len = NULL_TEXT;
	appendStringInfoCharMacro(buf, (char) (len >> 8));
	appendStringInfoCharMacro(buf, (char) len);
	if (text)
		appendBinaryStringInfo(buf, text, len);
}

/* Returns where the text ends. */
const char *
cc_read_text(const char *bytes, const char **text, int *len)
{
	const unsigned char *b = (const unsigned char *) bytes;

	*len = b[0] << 8 | b[1];
	*text = bytes + 2;
	if (*len == NULL_TEXT)
	{
		*text = NULL;
		*len = 0;
	}
	return bytes + 2 + *len;
}

void
cc_cell_append_prefix(StringInfo buf, const CellName *name)
{
	cc_append_int32(buf, name->counter);
	appendStringInfoCharMacro(buf, (char) name->dimension);
	cc_append_text(buf, name->key, name->key_len);
}

void
cc_cell_append_suffix(StringInfo buf, const CellName *name)
{
	cc_append_int32(buf, name->day);
	appendStringInfoCharMacro(buf, (char) name->kind);
	cc_append_text(buf, name->class, name->class_len);
}

int
cc_cell_prefix_len(const char *name)
{
	const unsigned char *b = (const unsigned char *) name + KEY_AT;

	return KEY_AT + 2 + (b[0] << 8 | b[1]);
}

/* Is a cell of this key?  Told without taking the name apart. */
bool
cc_cell_has_key(const char *name, const char *key, int len)
{
	const unsigned char *b = (const unsigned char *) name + KEY_AT;

	return (b[0] << 8 | b[1]) == len && memcmp(b + 2, key, len) == 0;
}

void
cc_cell_read_prefix(const char *bytes, CellName *name)
{
	name->counter = cc_read_int32(bytes);
	name->dimension = (unsigned char) bytes[DIMENSION_AT];
	cc_read_text(bytes + KEY_AT, &name->key, &name->key_len);
}

void
cc_cell_read_suffix(const char *bytes, int len, CellName *name)
{
	if (len < 7)
		elog(ERROR, "malformed counter cell");
	name->day = cc_read_int32(bytes);
	name->kind = (uint8) bytes[4];
	cc_read_text(bytes + 5, &name->class, &name->class_len);
}

static void
append_varint(StringInfo buf, uint64 value)
{
	for (; value >= 0x80; value >>= 7)
		appendStringInfoCharMacro(buf, (char) (value | 0x80));
	appendStringInfoCharMacro(buf, (char) value);
}

static uint64
read_varint(CellReader *reader)
{
	uint64		value = 0;

	for (int shift = 0; reader->at < reader->end && shift < 64; shift += 7)
	{
		unsigned char byte = (unsigned char) *reader->at++;

		value |= (uint64) (byte & 0x7F) << shift;
		if (byte < 0x80)
			return value;
	}
	elog(ERROR, "malformed counter data");
	return 0;
}

/* Append a cell. */
void
cc_pack_cell(StringInfo buf, const char *name, int len, int64 n, Numeric sum)
{
	int			sum_len = sum ? VARSIZE(sum) - VARHDRSZ : 0;

	append_varint(buf, len);
	appendBinaryStringInfo(buf, name, len);
	append_varint(buf, (uint64) n << 1 ^ (n < 0 ? PG_UINT64_MAX : 0));
	append_varint(buf, sum_len);
	if (sum_len > 0)
		appendBinaryStringInfo(buf, VARDATA(sum), sum_len);
}

/* Start reading packed cells (NULL: none), which must not be compressed. */
CellReader
cc_cells_reader(bytea *packed)
{
	CellReader	reader = {NULL, NULL};

	if (packed)
	{
		reader.at = VARDATA_ANY(packed);
		reader.end = reader.at + VARSIZE_ANY_EXHDR(packed);
	}
	return reader;
}

/* The next cell; false at the end.  Its name points into what is read. */
bool
cc_unpack_cell(CellReader *reader, PackedCell *cell)
{
	uint64		len;

	if (reader->at >= reader->end)
		return false;
	len = read_varint(reader);
	if (len > reader->end - reader->at)
		elog(ERROR, "malformed counter data");
	cell->name = reader->at;
	cell->len = (int) len;
	reader->at += len;
	len = read_varint(reader);
	cell->n = (int64) (len >> 1) ^ -(int64) (len & 1);
	len = read_varint(reader);
	if (len > reader->end - reader->at)
		elog(ERROR, "malformed counter data");
	cell->sum = NULL;
	if (len > 0)
	{
		cell->sum = palloc(VARHDRSZ + len);
		SET_VARSIZE(cell->sum, VARHDRSZ + len);
		memcpy(VARDATA(cell->sum), reader->at, len);
		reader->at += len;
	}
	return true;
}

/*
 * Shorten a key or class that is longer than CELL_TEXT_MAX, so that it fits
 * into an index, and still tells one from another.
 */
void
cc_cell_shorten(StringInfo text)
{
	char	   *whole;
	int			keep;

	if (likely(text->len <= CELL_TEXT_MAX))
		return;
	whole = pnstrdup(text->data, text->len);
	keep = pg_mbcliplen(whole, text->len, CELL_TEXT_MAX - 1 - CC_TAG_HASH_DIGITS);
	text->len = keep;
	text->data[keep] = '\0';
	appendStringInfoChar(text, '~');
	cc_append_hash(text, whole, strlen(whole));
	pfree(whole);
}
