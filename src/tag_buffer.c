/*-------------------------------------------------------------------------
 *
 * tag_buffer.c
 *		The tags of a transaction that changes a row or two.
 *
 * Most transactions change one row and set no savepoint.  A pending set for
 * them would touch ten kilobytes of memory that other backends have pushed out
 * of the processor's caches meanwhile, which costs more than the work itself.
 * So tags are first put side by side into this buffer: those of one tenant and
 * one subtransaction, TAG_BUFFER_MAX at most.  As soon as a transaction needs
 * more than that, flush.c moves them to a pending set, which knows everything.
 *
 * Memory: static; nothing is allocated, so nothing here raises an error.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tag_buffer.h"

#include "access/xact.h"
#include "common/hashfn.h"

#define TEXT_MAX 3072
#define TENANT_MAX 64

static struct
{
	int			count;			/* 0: empty, and nothing else counts */
	int			nest;			/* of the subtransaction, 1 at the top */
	int			nprefixes;		/* among them */
	int			text_used;
	uint64		seen;			/* bits of hashes: most tags need not be compared with any other */
	bool		doubled;		/* some text is there twice, under different profiles */
	PendingTenant tenant;
	char		tenant_text[TENANT_MAX];
	uint32		hashes[TAG_BUFFER_MAX];
	int			templates[TAG_BUFFER_MAX];	/* numbers */
	PendingEntry entries[TAG_BUFFER_MAX];
	char		text[TEXT_MAX];
} buffer;

/* Is there nothing in it? */
bool
cc_buffer_is_empty(void)
{
	return buffer.count == 0;
}

/* What is in it. */
PendingCounts
cc_buffer_counts(void)
{
	PendingCounts counts = {buffer.count - buffer.nprefixes, buffer.nprefixes, 0};

	return counts;
}

/*
 * Make ready for tags of a tenant (NULL: no tenant) in the current
 * subtransaction.  NULL: the buffer can not hold them beside what it has.  The
 * result is good while the buffer is not empty or something is added at once.
 */
PendingTenant *
cc_buffer_open(const char *tenant, int len)
{
	int			nest = GetCurrentTransactionNestLevel();

	if (cc_bulk_threshold < TAG_BUFFER_MAX)
		return NULL;			/* might have to collapse */
	if (buffer.count > 0)
	{
		const char *own = buffer.tenant.text;

		if (buffer.nest != nest || (own == NULL) != (tenant == NULL))
			return NULL;
		if (own && (buffer.tenant.len != len || memcmp(own, tenant, len) != 0))
			return NULL;
		return &buffer.tenant;
	}
	if (len >= TENANT_MAX)
		return NULL;
	buffer.nest = nest;
	buffer.text_used = 0;
	buffer.seen = 0;
	buffer.doubled = false;
	buffer.nprefixes = 0;
	buffer.tenant.text = NULL;
	buffer.tenant.len = 0;
	if (tenant)
	{
		memcpy(buffer.tenant_text, tenant, len);
		buffer.tenant_text[len] = '\0';
		buffer.tenant.text = buffer.tenant_text;
		buffer.tenant.len = len;
	}
	return &buffer.tenant;
}

/* Is it there?  Notes if it is so under another profile. */
static bool
is_there(uint32 hash, PendingKind kind, int profile, const char *text, int len)
{
	for (int i = 0; i < buffer.count; i++)
	{
		const PendingEntry *entry = &buffer.entries[i];

		if (buffer.hashes[i] != hash || entry->kind != kind || entry->len != len ||
			memcmp(entry->text, text, len) != 0)
			continue;
		if (kind == PENDING_PREFIX || entry->profile == profile)
			return true;
		buffer.doubled = true;
	}
	return false;
}

/* Add what a template made, unless it is there.  False: there is no room. */
bool
cc_buffer_add(int template, PendingKind kind, int profile, const char *text, int len)
{
	uint32		hash = hash_bytes((const unsigned char *) text, len);
	uint64		bit = UINT64CONST(1) << (hash & 63);
	PendingEntry *entry;

	if ((buffer.seen & bit) != 0 && is_there(hash, kind, profile, text, len))
		return true;
	if (buffer.count == TAG_BUFFER_MAX || len > TEXT_MAX - buffer.text_used)
		return false;
	buffer.seen |= bit;
	buffer.hashes[buffer.count] = hash;
	buffer.templates[buffer.count] = template;
	entry = &buffer.entries[buffer.count++];
	entry->tenant = &buffer.tenant;
	entry->kind = kind;
	entry->profile = profile;
	entry->len = len;
	entry->text = memcpy(buffer.text + buffer.text_used, text, len);
	buffer.text_used += len;
	buffer.nprefixes += kind == PENDING_PREFIX;
	return true;
}

/* Is the same tag there under a profile that goes before its own? */
static bool
has_shorter(int index)
{
	const PendingEntry *entry = &buffer.entries[index];

	for (int i = 0; i < buffer.count; i++)
	{
		const PendingEntry *other = &buffer.entries[i];

		if (buffer.hashes[i] == buffer.hashes[index] && i != index &&
			other->kind == entry->kind && other->len == entry->len &&
			memcmp(other->text, entry->text, entry->len) == 0 &&
			cc_pending_compare_profiles(other->profile, entry->profile) < 0)
			return true;
	}
	return false;
}

/*
 * What makes a record: arrays of TAG_BUFFER_MAX for the entries, which stay
 * the buffer's own.
 */
PendingTenant *
cc_buffer_take(PendingEntry **tags, int *ntags, PendingEntry **prefixes, int *nprefixes)
{
	*ntags = *nprefixes = 0;
	for (int i = 0; i < buffer.count; i++)
	{
		if (buffer.entries[i].kind == PENDING_PREFIX)
			prefixes[(*nprefixes)++] = &buffer.entries[i];
		else if (!buffer.doubled || !has_shorter(i))
			tags[(*ntags)++] = &buffer.entries[i];
	}
	return &buffer.tenant;
}

/*
 * Add all to a set in which there is nothing yet, as if it had been added in
 * the subtransaction that it is of.  The buffer stays as it is.
 */
void
cc_buffer_move(PendingSet *set)
{
	PendingTenant *tenant = cc_pending_tenant(set, buffer.tenant.text, buffer.tenant.len);

	for (int i = 0; i < buffer.count; i++)
	{
		PendingEntry *entry = &buffer.entries[i];

		cc_pending_add(set, tenant, cc_pending_template(set, buffer.templates[i]),
					   entry->kind, entry->profile, entry->text, entry->len);
	}
	cc_pending_move_level(set, buffer.nest);
}

void
cc_buffer_clear(void)
{
	buffer.count = buffer.nprefixes = 0;
}

/* Subtransaction at nesting level "nest" is released: its tags are the enclosing one's. */
void
cc_buffer_subcommit(int nest)
{
	if (buffer.count > 0 && buffer.nest >= nest)
		buffer.nest = nest - 1;
}

/* Subtransaction at nesting level "nest" is rolled back, with all within. */
void
cc_buffer_subabort(int nest)
{
	if (buffer.nest >= nest)
		cc_buffer_clear();
}
