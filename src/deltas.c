/*-------------------------------------------------------------------------
 *
 * deltas.c
 *		What the current transaction does to counters.
 *
 * Contributions (counter.c), added up: those that cancel each other out vanish.
 * As with tags, most transactions have one or two, of one subtransaction, and
 * those stay in a static buffer; when more comes, all goes to sets of cells:
 *
 *		level (one per subtransaction that changed something)
 *		  -> sets: its own, and those of subtransactions released into it
 *
 * Rolling back a subtransaction drops its level.  Releasing one only relinks its
 * sets, in a callback where nothing may fail; the next addition merges them.
 *
 * A level that grows too large is written to the log early, within its
 * subtransaction, by flush.c.  So are two that a release would make too large
 * together: within the subtransaction that is released, whose records have the fate
 * of its parent's from then on.
 *
 * Memory: everything is under TopTransactionContext and forgotten at the
 * transaction's end.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "deltas.h"

#include "access/xact.h"
#include "compat.h"
#include "flush.h"
#include "utils/memutils.h"

#define BUFFER_MAX 8
#define BUFFER_TEXT_MAX 1024
#define TENANT_MAX 64
#define SPILL_BYTES (4 * 1024 * 1024)
#define RECORD_BYTES (512 * 1024)

typedef struct BufferedDelta
{
	int			at;				/* of its name in the text */
	int			len;
	int64		n;
	Numeric		sum;			/* in TopTransactionContext */
} BufferedDelta;

static struct
{
	int			count;
	int			nest;			/* of the subtransaction that they are of */
	int			text_used;
	BufferedDelta deltas[BUFFER_MAX];
	char		text[BUFFER_TEXT_MAX];
} buffer;

typedef struct DeltaChunk
{
	struct DeltaChunk *next;
	CellSet    *set;
} DeltaChunk;

typedef struct DeltaLevel
{
	int			nest;			/* transaction nesting level, 1 at the top */
	struct DeltaLevel *parent;
	DeltaChunk *chunks;			/* its own is the first */
	bool		written;		/* all of it, within the innermost, which is being released */
} DeltaLevel;

static DeltaLevel *innermost = NULL;

/* whose they all are; "mixed": not one tenant's */
static char tenant_text[TENANT_MAX];
static int	tenant_len = -1;	/* -1: not known yet; 0 with mixed: nobody's */
static bool mixed = false;

static void
note_tenant(const char *tenant, int len)
{
	if (mixed)
		return;
	if (tenant == NULL || len >= TENANT_MAX)
		mixed = true;
	else if (tenant_len < 0)
	{
		memcpy(tenant_text, tenant, len);
		tenant_len = len;
	}
	else if (tenant_len != len || memcmp(tenant_text, tenant, len) != 0)
		mixed = true;
}

/* A level with an empty set, within "parent". */
static DeltaLevel *
make_level(int nest, DeltaLevel *parent)
{
	DeltaLevel *level = MemoryContextAllocZero(TopTransactionContext, sizeof(DeltaLevel));

	level->nest = nest;
	level->parent = parent;
	level->chunks = MemoryContextAllocZero(TopTransactionContext, sizeof(DeltaChunk));
	level->chunks->set = cc_cells_create(TopTransactionContext);
	return level;
}

/*
 * Merge what subtransactions have left into the level's first set.  Should
 * memory run out in between, nothing is lost or counted twice.
 */
static void
settle(DeltaLevel *level)
{
	DeltaChunk *first = level->chunks;
	DeltaChunk *chunk;

	while ((chunk = first->next) != NULL)
	{
		Cell	  **cells = cc_cells_sorted(chunk->set);

		for (uint32 i = 0; i < cc_cells_count(chunk->set); i++)
		{
			cc_cells_add(first->set, cells[i]->name, cells[i]->len, cells[i]->n, cells[i]->sum);
			cells[i]->n = 0;
			cells[i]->sum = NULL;
		}
		pfree(cells);
		first->next = chunk->next;
		cc_cells_free(chunk->set);
		pfree(chunk);
	}
}

static DeltaLevel *
current_level(int nest)
{
	if (innermost && innermost->chunks->next)
		settle(innermost);
	if (innermost == NULL || innermost->nest < nest)
		innermost = make_level(nest, innermost);
	return innermost;
}

/* Move what is buffered to a level of its own; there is none yet. */
static void
move_buffer(void)
{
	DeltaLevel *level;

	if (buffer.count == 0)
		return;
	level = make_level(buffer.nest, NULL);
	for (int i = 0; i < buffer.count; i++)
	{
		BufferedDelta *delta = &buffer.deltas[i];

		cc_cells_add(level->chunks->set, buffer.text + delta->at, delta->len, delta->n, delta->sum);
	}
	innermost = level;
	buffer.count = 0;
}

/* Add to the buffer; false: it does not fit. */
static bool
add_buffered(const char *name, int len, int64 n, Numeric sum, int nest)
{
	BufferedDelta *delta;
	MemoryContext old;

	if (innermost != NULL || (buffer.count > 0 && buffer.nest != nest))
		return false;
	if (buffer.count == 0)
		buffer.text_used = 0;
	old = MemoryContextSwitchTo(TopTransactionContext);
	for (int i = 0; i < buffer.count; i++)
	{
		delta = &buffer.deltas[i];
		if (delta->len == len && memcmp(buffer.text + delta->at, name, len) == 0)
		{
			if (sum)
			{
				Numeric		before = delta->sum;

				delta->sum = before ? cc_sum_add(sum, before) :
					memcpy(palloc(VARSIZE(sum)), sum, VARSIZE(sum));
				if (before)
					pfree(before);
			}
			delta->n += n;
			MemoryContextSwitchTo(old);
			return true;
		}
	}
	if (buffer.count == BUFFER_MAX || len > BUFFER_TEXT_MAX - buffer.text_used)
	{
		MemoryContextSwitchTo(old);
		return false;
	}
	delta = &buffer.deltas[buffer.count];
	delta->sum = sum ? memcpy(palloc(VARSIZE(sum)), sum, VARSIZE(sum)) : NULL;
	delta->n = n;
	delta->at = buffer.text_used;
	delta->len = len;
	memcpy(buffer.text + delta->at, name, len);
	buffer.text_used += len;
	buffer.nest = nest;
	buffer.count++;
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * Add a contribution of a row of "tenant" (NULL: nobody's).  Everything is
 * copied.  May write change records, so: not while a caller holds buffers.
 */
void
cc_deltas_add(const char *tenant, int len_of_tenant, const char *name, int len,
			  int64 n, Numeric sum)
{
	int			nest = GetCurrentTransactionNestLevel();
	DeltaLevel *level;

	note_tenant(tenant, len_of_tenant);
	if (add_buffered(name, len, n, sum, nest))
		return;
	move_buffer();
	level = current_level(nest);
	cc_cells_add(level->chunks->set, name, len, n, sum);
	if (unlikely(cc_cells_bytes(level->chunks->set) > SPILL_BYTES))
		cc_flush_spill_deltas();
}

/* Is there nothing to write? */
bool
cc_deltas_are_none(void)
{
	return buffer.count == 0 && innermost == NULL;
}

/* Are they all this tenant's, and so few that they fit into its record? */
bool
cc_deltas_are_of(const char *tenant, int len)
{
	return innermost == NULL && buffer.count > 0 && !mixed && tenant != NULL &&
		tenant_len == len && memcmp(tenant_text, tenant, len) == 0;
}

static void
write_packed(StringInfo buf, DeltasWrite write, void *arg)
{
	if (buf->len <= VARHDRSZ)
		return;
	SET_VARSIZE(buf->data, buf->len);
	write((bytea *) buf->data, arg);
}

static void
begin_packing(StringInfo buf)
{
	resetStringInfo(buf);
	appendStringInfoSpaces(buf, VARHDRSZ);
}

static void
write_set(CellSet *set, StringInfo buf, DeltasWrite write, void *arg)
{
	Cell	  **cells = cc_cells_sorted(set);

	for (uint32 i = 0; i < cc_cells_count(set); i++)
	{
		if (cc_cell_is_zero(cells[i]->n, cells[i]->sum))
			continue;
		cc_pack_cell(buf, cells[i]->name, cells[i]->len, cells[i]->n, cells[i]->sum);
		if (buf->len > RECORD_BYTES)
		{
			write_packed(buf, write, arg);
			begin_packing(buf);
		}
	}
	pfree(cells);
}

/*
 * Pass all to "write", packed, a record's worth at a time; allocates in
 * CurrentMemoryContext.
 */
void
cc_deltas_write(DeltasWrite write, void *arg)
{
	StringInfoData buf;

	initStringInfo(&buf);
	begin_packing(&buf);
	for (int i = 0; i < buffer.count; i++)
	{
		BufferedDelta *delta = &buffer.deltas[i];

		if (!cc_cell_is_zero(delta->n, delta->sum))
			cc_pack_cell(&buf, buffer.text + delta->at, delta->len, delta->n, delta->sum);
	}
	for (DeltaLevel *level = innermost; level; level = level->parent)
		for (DeltaChunk *chunk = level->chunks; chunk; chunk = chunk->next)
			write_set(chunk->set, &buf, write, arg);
	write_packed(&buf, write, arg);
}

/* The same with those of the innermost level, which are then forgotten. */
void
cc_deltas_write_level(DeltasWrite write, void *arg)
{
	StringInfoData buf;

	initStringInfo(&buf);
	begin_packing(&buf);
	write_set(innermost->chunks->set, &buf, write, arg);
	write_packed(&buf, write, arg);
	cc_cells_reset(innermost->chunks->set);
}

static Size
level_bytes(const DeltaLevel *level)
{
	Size		bytes = 0;

	for (DeltaChunk *chunk = level->chunks; chunk; chunk = chunk->next)
		bytes += cc_cells_bytes(chunk->set);
	return bytes;
}

/* Is it too much for one level what the release of subtransaction "nest" would join? */
bool
cc_deltas_release_is_large(int nest)
{
	return innermost && innermost->nest == nest && innermost->parent &&
		innermost->parent->nest == nest - 1 &&
		level_bytes(innermost) + level_bytes(innermost->parent) > SPILL_BYTES;
}

/* Write both, within the subtransaction that is being released; see cc_deltas_subcommit. */
void
cc_deltas_write_released(DeltasWrite write, void *arg)
{
	StringInfoData buf;

	initStringInfo(&buf);
	begin_packing(&buf);
	for (DeltaLevel *level = innermost->parent;; level = innermost)
	{
		for (DeltaChunk *chunk = level->chunks; chunk; chunk = chunk->next)
			write_set(chunk->set, &buf, write, arg);
		if (level == innermost)
			break;
	}
	write_packed(&buf, write, arg);
	innermost->written = innermost->parent->written = true;
}

/* Call "visit" for each. */
void
cc_deltas_visit(void (*visit) (const PackedCell *packed, void *arg), void *arg)
{
	for (int i = 0; i < buffer.count; i++)
	{
		BufferedDelta *delta = &buffer.deltas[i];
		PackedCell	packed = {buffer.text + delta->at, delta->len, delta->n, delta->sum};

		visit(&packed, arg);
	}
	for (DeltaLevel *level = innermost; level; level = level->parent)
		for (DeltaChunk *chunk = level->chunks; chunk; chunk = chunk->next)
		{
			Cell	  **cells = cc_cells_sorted(chunk->set);

			for (uint32 i = 0; i < cc_cells_count(chunk->set); i++)
			{
				PackedCell	packed = {cells[i]->name, cells[i]->len, cells[i]->n, cells[i]->sum};

				visit(&packed, arg);
			}
			pfree(cells);
		}
}

/* The transaction is over, or all is written. */
void
cc_deltas_clear(void)
{
	buffer.count = 0;
	innermost = NULL;			/* its memory goes with the transaction */
	tenant_len = -1;
	mixed = false;
}

/* Leave the innermost level, with all that it holds. */
static void
drop_innermost(void)
{
	DeltaLevel *level = innermost;
	DeltaChunk *next;

	for (DeltaChunk *chunk = level->chunks; chunk; chunk = next)
	{
		next = chunk->next;
		cc_cells_free(chunk->set);
		pfree(chunk);
	}
	innermost = level->parent;
	pfree(level);
}

/* Subtransaction at nesting level "nest" is released.  Allocates nothing. */
void
cc_deltas_subcommit(int nest)
{
	DeltaLevel *level = innermost;
	DeltaChunk *last;

	if (buffer.count > 0 && buffer.nest >= nest)
		buffer.nest = nest - 1;
	if (level == NULL || level->nest < nest)
		return;
	if (level->parent == NULL || level->parent->nest < nest - 1)
	{
		level->nest = nest - 1;
		return;
	}
	if (level->written)
	{
		drop_innermost();
		drop_innermost();
		return;
	}
	innermost = level->parent;
	for (last = innermost->chunks; last->next; last = last->next)
		;
	last->next = level->chunks;
	pfree(level);
}

/* Subtransaction at nesting level "nest" is rolled back, with all within. */
void
cc_deltas_subabort(int nest)
{
	if (buffer.nest >= nest)
		buffer.count = 0;
	while (innermost && innermost->nest >= nest)
		drop_innermost();
	/* what a release had written went with it */
	if (innermost)
		innermost->written = false;
}
