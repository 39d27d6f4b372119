/*-------------------------------------------------------------------------
 *
 * pending.c
 *		What the current transaction will emit, exact under subtransactions.
 *
 * One hash holds every live entry (a tag, prefix or reason of a tenant), so
 * that a duplicate is found with one probe however deep the savepoints are.
 * Which subtransaction an entry belongs to is told by lists:
 *
 *	  set -> level (one per subtransaction that added something)
 *			   -> node (one per template)
 *					-> entries
 *
 * Rolling back a subtransaction drops its nodes' entries from the hash;
 * releasing it hands the nodes to the enclosing level.  A template's nodes are
 * stacked, innermost first, and count the tags of all enclosing nodes too.
 *
 * Collapse.  A node whose template exceeds clinicache.bulk_threshold gives up
 * its own tags for the template's prefix, once per tenant that had one.  The
 * enclosing levels' tags stay: this level may yet roll back.  When it is
 * released, the collapse goes on to the tags of the level it joins.
 *
 * Bounds.  A level with more than MAX_TENANTS tenants turns into entries of
 * no tenant, which everybody receives and which therefore hold no tenant's
 * values; a level with more than SPILL_BYTES is written to the log early, by
 * the spill callback.  A released subtransaction's level is only relinked, in
 * a callback where nothing may fail; settle() does the rest afterwards.
 *
 * Memory: everything is in the set's context, a child of the context given to
 * cc_pending_create (TopTransactionContext for the transaction's own set);
 * nothing points into it from outside but by pending serial numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "pending.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "nodes/bitmapset.h"
#include "utils/memutils.h"

#define MAX_TENANTS 1000
#define TEMPLATE_CHUNK 32
#define SPILL_BYTES (4 * 1024 * 1024)

/* tags of one template that one level added; its place in both chains */
struct PendingNode
{
	PendingTemplate *template;
	PendingLevel *level;
	PendingNode *parent;		/* same template, enclosing level */
	PendingNode *next_in_level;
	PendingEntry *entries;
	PendingEntry *last;			/* end of entries, for joining lists */
	int			ntags;			/* distinct tags, those of the parents included */
	bool		collapsed;
};

/*
 * A template in this transaction; all its tags collapse together.  Most
 * transactions need one node of it, so that one comes with it.
 */
struct PendingTemplate
{
	const TemplateInfo *info;	/* NULL: one of the set's own three */
	PendingNode *top;			/* innermost level's tags of it */
	PendingNode first;			/* the outermost, while there is any */
};

struct PendingLevel
{
	uint64		id;				/* of this set, never used again */
	int			nest;			/* transaction nesting level, 1 at the top */
	PendingLevel *parent;
	PendingNode *nodes;
	Size		bytes;
	int			ntenants;		/* an upper bound; counted out when it matters */
	bool		overflowed;		/* too many tenants: NULL stands for all */
};

typedef struct EntrySlot
{
	PendingEntry *entry;
	char		status;
} EntrySlot;

static inline bool
entries_equal(const PendingEntry *a, const PendingEntry *b)
{
	return a->hash == b->hash && a->kind == b->kind && a->tenant == b->tenant &&
		a->len == b->len &&
		(a->kind != PENDING_TAG || a->profile == b->profile) &&
		memcmp(a->text, b->text, a->len) == 0;
}

#define SH_PREFIX entryhash
#define SH_ELEMENT_TYPE EntrySlot
#define SH_KEY_TYPE PendingEntry *
#define SH_KEY entry
#define SH_HASH_KEY(tb, key) (key)->hash
#define SH_EQUAL(tb, a, b) entries_equal((a), (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct PendingSet
{
	MemoryContext context;
	uint64		serial;			/* tells sets apart, for pointers kept by trackers */
	uint64		last_level_id;
	uint64		generation;		/* moves when entries vanish by rollback */
	PendingSpill spill;
	entryhash_hash *entries;
	PendingLevel *level;		/* innermost */
	PendingTenant **tenants;	/* open addressing, see find_tenant */
	int			ntenants;
	int			tenants_size;
	PendingTenant no_tenant;
	PendingTenant *last_tenant;
	PendingTemplate **chunks;	/* by number, see cc_pending_template */
	int			nchunks;
	Size		limit;			/* of a level's bytes; beyond it is spilled */
	Bitmapset  *profiles;		/* that tags were added with */
	PendingCounts counts;		/* of all that was ever added */
	bool		unsettled;		/* a level joined the innermost one, see settle */

	/* none of these collapses */
	PendingTemplate literal;	/* prefixes that hold no row's values */
	PendingTemplate by_hand;	/* tags and prefixes */
	PendingTemplate reasons;	/* kept when the rest is spilled */
};

static uint64 last_serial = 0;

/*
 * An empty set, in a context of its own under "parent".  "spill" is called
 * when a level holds too much: it has to write out what
 * cc_pending_visit_level shows and then call cc_pending_forget_level.  NULL:
 * the set may grow (a dry run).  "at_once": every addition is too much.
 */
PendingSet *
cc_pending_create(MemoryContext parent, PendingSpill spill, bool at_once)
{
	MemoryContext context = AllocSetContextCreate(parent, "clinicache pending",
												  ALLOCSET_DEFAULT_SIZES);
	PendingSet *set = MemoryContextAllocZero(context, sizeof(PendingSet));

	set->context = context;
	set->serial = ++last_serial;
	set->generation = 1;
	set->spill = spill;
	set->limit = at_once ? 0 : SPILL_BYTES;
	set->entries = entryhash_create(context, 64, NULL);
	set->last_tenant = &set->no_tenant;
	return set;
}

/* The context that dies with the set; deleting it is how a set ends. */
MemoryContext
cc_pending_context(PendingSet *set)
{
	return set->context;
}

/* A number no other set of this backend has or will have. */
uint64
cc_pending_serial(PendingSet *set)
{
	return set->serial;
}

/* Moves whenever something that was added is no longer there. */
uint64
cc_pending_generation(PendingSet *set)
{
	return set->generation;
}

/* What was added so far, rolled back or not. */
PendingCounts
cc_pending_counts(PendingSet *set)
{
	return set->counts;
}

/*
 * The set's object for a tenant (NULL text: no tenant), made at first sight.
 */
PendingTenant *
cc_pending_tenant(PendingSet *set, const char *text, int len)
{
	PendingTenant *tenant = set->last_tenant;
	uint32		mask;
	uint32		at;

	if (text == NULL)
		return &set->no_tenant;
	if (tenant->text && tenant->len == len && memcmp(tenant->text, text, len) == 0)
		return tenant;

	if (set->ntenants * 2 >= set->tenants_size)
	{
		int			size = Max(16, set->tenants_size * 2);
		PendingTenant **grown = MemoryContextAllocZero(set->context, sizeof(*grown) * size);

		for (int i = 0; i < set->tenants_size; i++)
		{
			if (set->tenants[i] == NULL)
				continue;
			at = hash_bytes((const unsigned char *) set->tenants[i]->text, set->tenants[i]->len);
			for (at &= size - 1; grown[at]; at = (at + 1) & (size - 1))
				;
			grown[at] = set->tenants[i];
		}
		if (set->tenants)
			pfree(set->tenants);
		set->tenants = grown;
		set->tenants_size = size;
	}
	mask = set->tenants_size - 1;
	at = hash_bytes((const unsigned char *) text, len) & mask;
	for (; (tenant = set->tenants[at]) != NULL; at = (at + 1) & mask)
		if (tenant->len == len && memcmp(tenant->text, text, len) == 0)
			return set->last_tenant = tenant;

	tenant = MemoryContextAllocZero(set->context, sizeof(PendingTenant));
	tenant->text = memcpy(MemoryContextAlloc(set->context, len + 1), text, len);
	tenant->len = len;
	set->tenants[at] = tenant;
	set->ntenants++;
	return set->last_tenant = tenant;
}

/*
 * The set's object for a numbered template.  Lives as long as the set: they
 * come in chunks that never move.
 */
PendingTemplate *
cc_pending_template(PendingSet *set, int number)
{
	int			chunk = number / TEMPLATE_CHUNK;
	PendingTemplate *template;

	if (unlikely(chunk >= set->nchunks))
	{
		int			count = cc_pending_template_count() / TEMPLATE_CHUNK + 1;
		PendingTemplate **grown = MemoryContextAllocZero(set->context, sizeof(*grown) * count);

		if (set->chunks)
			memcpy(grown, set->chunks, sizeof(*grown) * set->nchunks);
		set->chunks = grown;
		set->nchunks = count;
	}
	if (unlikely(set->chunks[chunk] == NULL))
		set->chunks[chunk] = MemoryContextAllocZero(set->context,
													sizeof(PendingTemplate) * TEMPLATE_CHUNK);
	template = &set->chunks[chunk][number % TEMPLATE_CHUNK];
	template->info = cc_pending_template_info(number);
	return template;
}

/* Has this transaction so many tags of the template that its prefix stands for them? */
bool
cc_pending_is_collapsed(const PendingTemplate *template)
{
	return template->top && template->top->collapsed;
}

static PendingLevel *
current_level(PendingSet *set)
{
	int			nest = GetCurrentTransactionNestLevel();
	PendingLevel *level;

	if (set->level && set->level->nest >= nest)
		return set->level;
	level = MemoryContextAllocZero(set->context, sizeof(PendingLevel));
	level->id = ++set->last_level_id;
	level->nest = nest;
	level->parent = set->level;
	level->overflowed = set->level && set->level->overflowed;
	set->level = level;
	return level;
}

/*
 * The only level there is was made late: what it holds was added by the
 * subtransaction at nesting level "nest", the current one or an outer one.
 */
void
cc_pending_move_level(PendingSet *set, int nest)
{
	Assert(set->level == NULL || set->level->parent == NULL);
	if (set->level)
		set->level->nest = nest;
}

/* A node that is no longer in any list goes; its memory too, if it is its own. */
static void
free_node(PendingNode *node)
{
	if (node != &node->template->first)
		pfree(node);
}

static PendingNode *
node_at_level(PendingSet *set, PendingTemplate *template, PendingLevel *level)
{
	PendingNode *node = template->top;

	if (node && node->level == level)
		return node;
	if (node == NULL)
		node = memset(&template->first, 0, sizeof(PendingNode));
	else
		node = MemoryContextAllocZero(set->context, sizeof(PendingNode));
	node->template = template;
	node->level = level;
	node->parent = template->top;
	if (node->parent)
	{
		node->ntags = node->parent->ntags;
		node->collapsed = node->parent->collapsed;
	}
	node->next_in_level = level->nodes;
	level->nodes = node;
	template->top = node;
	return node;
}

static void
make_key(PendingEntry *key, PendingTenant *tenant, PendingKind kind, int profile,
		 const char *text, int len)
{
	key->tenant = tenant;
	key->kind = kind;
	key->profile = profile;
	key->len = len;
	key->text = text;
	key->hash = hash_combine(hash_bytes((const unsigned char *) text, len),
							 murmurhash32((uint32) ((uintptr_t) tenant >> 3)));
}

static inline bool
is_present(PendingSet *set, PendingEntry *key)
{
	return entryhash_lookup(set->entries, key) != NULL;
}

/* What an entry counts for in its level's size; the hash is about half full. */
static inline Size
entry_bytes(const PendingEntry *entry)
{
	return sizeof(PendingEntry) + entry->len + sizeof(EntrySlot) * 2;
}

/*
 * Insert a copy of an entry that is not present.  The copy is made before the
 * hash is touched: running out of memory leaves the set whole.
 */
static void
insert_entry(PendingSet *set, PendingNode *node, const PendingEntry *key)
{
	PendingEntry *entry = MemoryContextAlloc(set->context, sizeof(PendingEntry) + key->len);
	bool		found;

	*entry = *key;
	entry->text = memcpy((char *) (entry + 1), key->text, key->len);
	entry->chain = NULL;
	entryhash_insert(set->entries, entry, &found);
	Assert(!found);
	entry->next = node->entries;
	if (node->entries == NULL)
		node->last = entry;
	node->entries = entry;
	set->counts.tags += entry->kind == PENDING_TAG;
	set->counts.prefixes += entry->kind == PENDING_PREFIX;
	node->level->bytes += entry_bytes(entry);
	if (entry->tenant->counted != node->level->id)
	{
		entry->tenant->counted = node->level->id;
		node->level->ntenants++;
	}
}

static void
insert_if_absent(PendingSet *set, PendingNode *node, PendingEntry *key)
{
	if (!is_present(set, key))
		insert_entry(set, node, key);
}

/* Take an entry out of the hash, but leave it where it is. */
static void
delete_entry(PendingSet *set, PendingLevel *level, PendingEntry *entry)
{
	entryhash_delete(set->entries, entry);
	level->bytes -= Min(level->bytes, entry_bytes(entry));
}

/* Take all of a node's own entries out of the set. */
static void
drop_entries(PendingSet *set, PendingNode *node)
{
	PendingEntry *next;

	for (PendingEntry *entry = node->entries; entry; entry = next)
	{
		next = entry->next;
		delete_entry(set, node->level, entry);
		pfree(entry);
	}
	node->entries = node->last = NULL;
}

static void
insert_prefix(PendingSet *set, PendingLevel *level, PendingTenant *tenant, int profile,
			  const char *text, int len)
{
	PendingEntry key;

	make_key(&key, tenant, PENDING_PREFIX, profile, text, len);
	if (!is_present(set, &key))
		insert_entry(set, node_at_level(set, &set->literal, level), &key);
}

/*
 * Replace a node's own tags by the template's prefix for each tenant that had
 * one.  Enclosing nodes keep theirs until this level is released.
 */
static void
collapse_node(PendingSet *set, PendingNode *node)
{
	const TemplateInfo *info = node->template->info;

	for (PendingEntry *entry = node->entries; entry; entry = entry->next)
		insert_prefix(set, node->level, entry->tenant, info->profile,
					  info->prefix, info->prefix_len);
	drop_entries(set, node);
	set->counts.collapses += !node->collapsed;
	node->collapsed = true;
}

/* The true number of tenants that a level's own entries name. */
static int
count_tenants(PendingLevel *level)
{
	int			count = 0;

	for (PendingNode *node = level->nodes; node; node = node->next_in_level)
		for (PendingEntry *entry = node->entries; entry; entry = entry->next)
			entry->tenant->counted = 0;
	for (PendingNode *node = level->nodes; node; node = node->next_in_level)
		for (PendingEntry *entry = node->entries; entry; entry = entry->next)
			if (entry->tenant->counted != level->id)
			{
				entry->tenant->counted = level->id;
				count++;
			}
	return count;
}

/*
 * Turn an entry's key into what stands for it when it is told to everybody,
 * the other tenants included: the templates' prefixes.  There is none for what
 * was given by hand for one tenant, so that becomes "everything".
 */
static void
make_public(PendingSet *set, const PendingTemplate *template, PendingEntry *key)
{
	if (template->info && template->info->collapsible)
		make_key(key, &set->no_tenant, PENDING_PREFIX, template->info->profile,
				 template->info->prefix, template->info->prefix_len);
	else if (template == &set->by_hand && key->tenant != &set->no_tenant)
		make_key(key, &set->no_tenant, PENDING_PREFIX, key->profile, "", 0);
	else
		make_key(key, &set->no_tenant, key->kind, key->profile, key->text, key->len);
}

/* Take a node's entries of any tenant out of the set. */
static void
drop_tenants(PendingSet *set, PendingNode *node)
{
	PendingEntry *entry = node->entries;
	PendingEntry *next;

	node->entries = node->last = NULL;
	for (; entry; entry = next)
	{
		next = entry->next;
		if (entry->tenant == &set->no_tenant)
		{
			entry->next = node->entries;
			if (node->entries == NULL)
				node->last = entry;
			node->entries = entry;
			continue;
		}
		delete_entry(set, node->level, entry);
		pfree(entry);
	}
}

/*
 * Too many tenants: let entries of no tenant stand for all.  First what is new
 * is added, then what it stands for goes, so that running out of memory in
 * between loses nothing.
 */
static void
overflow_level(PendingSet *set, PendingLevel *level)
{
	PendingNode *literal = node_at_level(set, &set->literal, level);

	for (PendingNode *node = level->nodes; node; node = node->next_in_level)
	{
		if (node->template == &set->reasons)
			continue;
		for (PendingEntry *entry = node->entries; entry; entry = entry->next)
		{
			PendingEntry key = *entry;

			if (entry->tenant == &set->no_tenant)
				continue;
			make_public(set, node->template, &key);
			insert_if_absent(set, literal, &key);
		}
	}
	for (PendingNode *node = level->nodes; node; node = node->next_in_level)
		if (node->template != &set->reasons)
			drop_tenants(set, node);
	level->overflowed = true;
	level->ntenants = 1;
}

/* Keep a level's number of tenants within bounds. */
static void
check_tenants(PendingSet *set, PendingLevel *level)
{
	if (likely(level->ntenants <= MAX_TENANTS) || level->overflowed)
		return;
	level->ntenants = count_tenants(level);
	if (level->ntenants > MAX_TENANTS)
		overflow_level(set, level);
}

/*
 * After a level has joined the innermost one: go on with collapsing, and look
 * at the bounds.  No spill, since the current subtransaction may be an inner
 * one that has no level yet.
 */
static void
settle(PendingSet *set)
{
	if (likely(!set->unsettled))
		return;
	set->unsettled = false;
	if (set->level == NULL)
		return;
	for (PendingNode *node = set->level->nodes; node; node = node->next_in_level)
		if (node->collapsed && node->entries)
			collapse_node(set, node);
	check_tenants(set, set->level);
}

/* Keep a level within its bounds after something was added. */
static void
check_bounds(PendingSet *set, PendingLevel *level)
{
	check_tenants(set, level);
	if (unlikely(level->bytes > set->limit) && set->spill)
		set->spill(set);
}

/*
 * Add what stands for a tag of a collapsed template: its prefix, for this tenant.
 */
void
cc_pending_add_collapsed(PendingSet *set, PendingTenant *tenant, PendingTemplate *template)
{
	const TemplateInfo *info = template->info;

	cc_pending_add_prefix(set, tenant, info->profile, info->prefix, info->prefix_len);
}

/*
 * Add a tag, or a prefix that a template made; template NULL: it was given by
 * hand.  Everything is copied.  May write change records (a spill), so: not
 * while a caller holds buffers.
 */
void
cc_pending_add(PendingSet *set, PendingTenant *tenant, PendingTemplate *template,
			   PendingKind kind, int profile, const char *text, int len)
{
	PendingLevel *level;
	PendingNode *node;
	PendingEntry key;
	bool		collapsible = template && template->info->collapsible;

	settle(set);
	level = current_level(set);
	if (template == NULL)
		template = &set->by_hand;
	if (collapsible && (level->overflowed || cc_pending_is_collapsed(template)))
	{
		cc_pending_add_collapsed(set, tenant, template);
		return;
	}
	if (unlikely(!bms_is_member(profile, set->profiles)))
	{
		MemoryContext old = MemoryContextSwitchTo(set->context);

		set->profiles = bms_add_member(set->profiles, profile);
		MemoryContextSwitchTo(old);
	}
	make_key(&key, tenant, kind, profile, text, len);
	if (level->overflowed)
		make_public(set, template, &key);
	if (is_present(set, &key))
		return;
	node = node_at_level(set, template, level);
	insert_entry(set, node, &key);
	node->ntags++;
	if (collapsible && node->ntags > cc_bulk_threshold)
		collapse_node(set, node);
	check_bounds(set, level);
}

/*
 * Add a prefix that holds no value of any row; the empty one means everything.
 * Copied.
 */
void
cc_pending_add_prefix(PendingSet *set, PendingTenant *tenant, int profile,
					  const char *text, int len)
{
	PendingLevel *level;

	settle(set);
	level = current_level(set);
	insert_prefix(set, level, level->overflowed ? &set->no_tenant : tenant, profile, text, len);
	check_bounds(set, level);
}

/* Add a reason for the records' origin.  Copied. */
void
cc_pending_add_reason(PendingSet *set, const char *text, int len)
{
	PendingEntry key;

	make_key(&key, &set->no_tenant, PENDING_REASON, -1, text, len);
	insert_if_absent(set, node_at_level(set, &set->reasons, current_level(set)), &key);
}

/* Join a released node with the enclosing level's node of the same template. */
static void
merge_node(PendingNode *node, PendingNode *parent)
{
	parent->ntags = node->ntags;
	if (node->entries)
	{
		node->last->next = parent->entries;
		if (parent->entries == NULL)
			parent->last = node->last;
		parent->entries = node->entries;
	}
	parent->collapsed |= node->collapsed;
	node->template->top = parent;
	free_node(node);
}

/*
 * Subtransaction at nesting level "nest" is released: hand over its entries.
 * Allocates nothing.
 */
void
cc_pending_subcommit(PendingSet *set, int nest)
{
	PendingLevel *level = set->level;
	PendingLevel *parent;
	PendingNode *next;

	if (level == NULL || level->nest < nest)
		return;
	parent = level->parent;
	if (parent == NULL || parent->nest < nest - 1)
	{
		level->nest = nest - 1; /* the enclosing one had nothing of its own */
		return;
	}
	set->level = parent;
	parent->bytes += level->bytes;
	parent->ntenants += level->ntenants;
	parent->overflowed |= level->overflowed;

	for (PendingNode *node = level->nodes; node; node = next)
	{
		next = node->next_in_level;
		if (node->parent && node->parent->level == parent)
			merge_node(node, node->parent);
		else
		{
			node->level = parent;
			node->next_in_level = parent->nodes;
			parent->nodes = node;
		}
	}
	set->unsettled = true;
	pfree(level);
}

/*
 * Subtransaction at nesting level "nest" is rolled back: as if it never was.
 */
void
cc_pending_subabort(PendingSet *set, int nest)
{
	while (set->level && set->level->nest >= nest)
	{
		PendingLevel *level = set->level;
		PendingNode *next;

		for (PendingNode *node = level->nodes; node; node = next)
		{
			next = node->next_in_level;
			drop_entries(set, node);
			node->template->top = node->parent;
			free_node(node);
		}
		set->level = level->parent;
		pfree(level);
	}
	set->generation++;
}

static void
visit_level(PendingLevel *level, PendingVisit visit, void *arg)
{
	for (PendingNode *node = level->nodes; node; node = node->next_in_level)
		for (PendingEntry *entry = node->entries; entry; entry = entry->next)
			visit(entry, arg);
}

/* Call "visit" for each entry of the set. */
void
cc_pending_visit(PendingSet *set, PendingVisit visit, void *arg)
{
	settle(set);
	for (PendingLevel *level = set->level; level; level = level->parent)
		visit_level(level, visit, arg);
}

/* Call "visit" for each entry that the innermost level added, and for all reasons. */
void
cc_pending_visit_level(PendingSet *set, PendingVisit visit, void *arg)
{
	if (set->level == NULL)
		return;
	visit_level(set->level, visit, arg);
	for (PendingNode *node = set->reasons.top; node; node = node->parent)
		if (node->level != set->level)
			for (PendingEntry *entry = node->entries; entry; entry = entry->next)
				visit(entry, arg);
}

/*
 * The innermost level's entries have been written: forget them.  Counts stay,
 * so that a collapsed template stays collapsed, and reasons, for the records
 * to come.
 */
void
cc_pending_forget_level(PendingSet *set)
{
	for (PendingNode *node = set->level->nodes; node; node = node->next_in_level)
		if (node->template != &set->reasons)
			drop_entries(set, node);
	set->level->bytes = 0;
	set->level->ntenants = 0;
	set->level->id = ++set->last_level_id;	/* its tenants have to be counted anew */
}

/*
 * Is the same tag of the same tenant there under a profile that goes before
 * its own?
 */
bool
cc_pending_has_shorter(PendingSet *set, const PendingEntry *entry)
{
	PendingEntry key = *entry;
	int			i = -1;

	while ((i = bms_next_member(set->profiles, i)) >= 0)
	{
		if (cc_pending_compare_profiles(i, entry->profile) >= 0)
			continue;
		key.profile = i;
		if (is_present(set, &key))
			return true;
	}
	return false;
}
