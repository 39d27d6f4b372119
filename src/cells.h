/*-------------------------------------------------------------------------
 *
 * cells.h
 *		Counts and sums, by a name of bytes: in memory and packed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_CELLS_H
#define CLINICACHE_CELLS_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "utils/date.h"
#include "utils/numeric.h"

/* what a count's sum is made of; the values that no addition survives are counted apart */
#define CELL_FINITE 0
#define CELL_NAN 1
#define CELL_INFINITY 2
#define CELL_NEG_INFINITY 3
#define CELL_HUGE 4				/* so large that adding some may be too much for a numeric */
#define CELL_SUM_KIND 0x0F

#define CELL_BROKEN 0x20		/* no count: from here on the counter is not to be trusted */
#define CELL_ALL 0x40			/* of all days together */
#define CELL_NO_DAY 0x80		/* the row's day is null */

/*
 * What a cell counts: the rows of one day and class that have the key in the
 * dimension.
 */
typedef struct CellName
{
	int32		counter;		/* counter_source.id */
	int			dimension;		/* index into its dimensions */
	const char *key;
	int			key_len;
	DateADT		day;
	uint8		kind;
	const char *class;			/* NULL: the row's is null */
	int			class_len;
} CellName;

/* the longest key and class; longer ones keep their beginning and get a hash */
#define CELL_TEXT_MAX 200

typedef struct Cell
{
	char	   *name;
	uint32		len;
	uint32		hash;
	int64		n;
	Numeric		sum;			/* NULL: zero */
} Cell;

typedef struct CellSet CellSet;

extern CellSet *cc_cells_create(MemoryContext parent);
extern void cc_cells_reset(CellSet *set);
extern void cc_cells_free(CellSet *set);
extern uint32 cc_cells_count(const CellSet *set);
extern Size cc_cells_bytes(const CellSet *set);
extern void cc_cells_add(CellSet *set, const char *name, int len, int64 n, Numeric sum);
extern Cell *cc_cells_find(CellSet *set, const char *name, int len);
extern Cell **cc_cells_list(CellSet *set);
extern Cell **cc_cells_sorted(CellSet *set);

extern bool cc_cell_is_zero(int64 n, Numeric sum);
extern Numeric cc_sum_add(Numeric a, Numeric b);

/* a cell's name; the part before the day is what cells of one key have in common */
extern void cc_cell_append_prefix(StringInfo buf, const CellName *name);
extern void cc_cell_append_suffix(StringInfo buf, const CellName *name);
extern int	cc_cell_prefix_len(const char *name);
extern bool cc_cell_has_key(const char *name, const char *key, int len);
extern void cc_cell_read_prefix(const char *bytes, CellName *name);
extern void cc_cell_read_suffix(const char *bytes, int len, CellName *name);

/* numbers of fixed width, in an order that memcmp sorts */
extern void cc_append_int32(StringInfo buf, int32 value);
extern void cc_append_text(StringInfo buf, const char *text, int len);
extern int32 cc_read_int32(const char *bytes);
extern const char *cc_read_text(const char *bytes, const char **text, int *len);

/* packed: as it is stored */
typedef struct PackedCell
{
	const char *name;
	int			len;
	int64		n;
	Numeric		sum;			/* NULL: zero; else in CurrentMemoryContext */
} PackedCell;

typedef struct CellReader
{
	const char *at;
	const char *end;
} CellReader;

extern CellReader cc_cells_reader(bytea *packed);
extern void cc_pack_cell(StringInfo buf, const char *name, int len, int64 n, Numeric sum);
extern bool cc_unpack_cell(CellReader *reader, PackedCell *cell);
extern void cc_cell_shorten(StringInfo text);

#endif							/* CLINICACHE_CELLS_H */
