/*-------------------------------------------------------------------------
 *
 * payload.c
 *		The message: the one format of NOTIFY, changes() and clinicache_tail.
 *
 *	{"v":1,"pos":"…","reset":false,"tags":{"seconds":["patient:42"]},"prefixes":[]}
 *
 * Keys always come in this order.  Profiles, tags and prefixes come in the order
 * in which they were first added.
 *
 * A builder gathers distinct tags and prefixes.  When there are more than its
 * limit it gives up precision, never an item: every tag gives way to the prefixes
 * of the templates that may have made it, and what no template makes stays; if
 * that is still too much, all is one reset.  What arrives later is treated the
 * same way, so the memory is bounded by the limit.
 *
 * A builder and all it holds live in one memory context under the one that was
 * current when it was made.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "payload.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "profile.h"
#include "tracked_prefixes.h"
#include "utils/memutils.h"

/* profile index of a prefix */
#define IS_PREFIX (-1)

/* what a tag too long for any message is cut to; the rest of its kind goes with it */
#define PREFIX_BYTES_KEPT 200

typedef enum Stage
{
	STAGE_EXACT,
	STAGE_PREFIXES,
	STAGE_RESET
} Stage;

typedef struct ItemKey
{
	const char *text;
	int			len;
	bool		is_prefix;
} ItemKey;

typedef struct ItemEntry
{
	ItemKey		key;
	uint32		hash;
	char		status;
	int			index;			/* into items */
} ItemEntry;

#define SH_PREFIX itemset
#define SH_ELEMENT_TYPE ItemEntry
#define SH_KEY_TYPE ItemKey
#define SH_KEY key
#define SH_HASH_KEY(tb, a) hash_bytes((const unsigned char *) (a).text, (a).len)
#define SH_EQUAL(tb, a, b) ((a).len == (b).len && (a).is_prefix == (b).is_prefix && \
							memcmp((a).text, (b).text, (a).len) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Item
{
	char	   *text;			/* not terminated */
	int			len;
	int			profile;		/* index, or IS_PREFIX */
} Item;

typedef struct Profile
{
	char	   *name;
	int			len;
	int			seconds;
} Profile;

struct MessageBuilder
{
	MemoryContext context;		/* of all this */
	MemoryContext item_context; /* of the items and their set; replaced by a collapse */
	int			max_tags;		/* 0: no limit */
	Stage		stage;
	TrackedPrefixes *prefixes;	/* since STAGE_PREFIXES */
	bool		everything;		/* the prefix "" is there, and is the only item */
	int			nprofiles;
	int			profiles_size;
	Profile    *profiles;
	int			last_profile;	/* most often the next one too */
	int			nitems;
	int			items_size;
	Item	   *items;
	itemset_hash *set;
};

static void
start_items(MessageBuilder *builder)
{
	builder->item_context = AllocSetContextCreate(builder->context, "clinicache message items",
												  ALLOCSET_DEFAULT_SIZES);
	builder->nitems = 0;
	builder->items_size = 64;
	builder->items = MemoryContextAlloc(builder->item_context, sizeof(Item) * builder->items_size);
	builder->set = itemset_create(builder->item_context, 64, NULL);
}

/*
 * A new builder.  It is freed with the current memory context.
 */
MessageBuilder *
cc_message_begin(int max_tags)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "clinicache message",
												  ALLOCSET_DEFAULT_SIZES);
	MessageBuilder *builder = MemoryContextAllocZero(context, sizeof(MessageBuilder));

	builder->context = context;
	builder->max_tags = max_tags;
	builder->profiles_size = 16;
	builder->profiles = MemoryContextAlloc(context, sizeof(Profile) * builder->profiles_size);
	start_items(builder);
	return builder;
}

static void
drop_items(MessageBuilder *builder)
{
	MemoryContextDelete(builder->item_context);
	start_items(builder);
}

/* Index of a profile; they are few. */
static int
find_profile(MessageBuilder *builder, const char *name, int len, int seconds)
{
	Profile    *profile;
	MemoryContext old;

	for (int i = -1; i < builder->nprofiles; i++)
	{
		int			candidate = i < 0 ? builder->last_profile : i;

		if (candidate < builder->nprofiles && builder->profiles[candidate].len == len &&
			memcmp(builder->profiles[candidate].name, name, len) == 0)
			return builder->last_profile = candidate;
	}
	if (builder->nprofiles == builder->profiles_size)
	{
		builder->profiles_size *= 2;
		builder->profiles = repalloc(builder->profiles, sizeof(Profile) * builder->profiles_size);
	}
	old = MemoryContextSwitchTo(builder->context);
	profile = &builder->profiles[builder->nprofiles];
	profile->name = pnstrdup(name, len);
	profile->len = len;
	profile->seconds = seconds >= 0 ? seconds : cc_profile_seconds(name, len);
	MemoryContextSwitchTo(old);
	return builder->last_profile = builder->nprofiles++;
}

/* Add an item as it is; the same again only lowers its profile. */
static void
insert_item(MessageBuilder *builder, const char *text, int len, int profile)
{
	ItemKey		key = {text, len, profile == IS_PREFIX};
	bool		found;
	ItemEntry  *entry = itemset_insert(builder->set, key, &found);
	Item	   *item;

	if (found)
	{
		item = &builder->items[entry->index];
		if (profile != IS_PREFIX && profile != item->profile &&
			builder->profiles[profile].seconds < builder->profiles[item->profile].seconds)
			item->profile = profile;
		return;
	}
	if (builder->nitems == builder->items_size)
	{
		builder->items_size *= 2;
		builder->items = repalloc_huge(builder->items, sizeof(Item) * builder->items_size);
	}
	entry->index = builder->nitems++;
	item = &builder->items[entry->index];
	item->text = MemoryContextAlloc(builder->item_context, Max(len, 1));
	memcpy(item->text, text, len);
	item->len = len;
	item->profile = profile;
	entry->key.text = item->text;
}

/* Add the prefixes that stand for an item; false: no template makes it. */
static bool
insert_prefixes(MessageBuilder *builder, const char *text, int len)
{
	TrackedPrefixes *tracked = builder->prefixes;
	int			first = len > 0 ? (unsigned char) text[0] : 0;
	bool		any = false;

	if (tracked->has_empty)
	{
		insert_item(builder, "", 0, IS_PREFIX);
		return builder->everything = true;
	}
	for (int i = tracked->from[first]; i < tracked->from[first + 1]; i++)
	{
		int			prefix_len = strlen(tracked->prefixes[i]);

		if (prefix_len > len || memcmp(text, tracked->prefixes[i], prefix_len) != 0)
			continue;
		insert_item(builder, tracked->prefixes[i], prefix_len, IS_PREFIX);
		any = true;
	}
	return any;
}

/* Add an item, or what stands for it in this stage. */
static void
insert_staged(MessageBuilder *builder, const char *text, int len, int profile)
{
	if (builder->stage == STAGE_EXACT || !insert_prefixes(builder, text, len))
		insert_item(builder, text, len, profile);
}

/* While there are too many items, go to the next stage. */
static void
collapse(MessageBuilder *builder)
{
	while (builder->max_tags > 0 && builder->nitems > builder->max_tags)
	{
		MemoryContext old_context = builder->item_context;
		Item	   *old_items = builder->items;
		int			old_count = builder->nitems;

		builder->stage++;
		if (builder->stage == STAGE_PREFIXES)
		{
			MemoryContext caller = MemoryContextSwitchTo(builder->context);

			builder->prefixes = cc_tracked_prefixes();
			MemoryContextSwitchTo(caller);
		}
		start_items(builder);
		for (int i = 0; builder->stage != STAGE_RESET && i < old_count; i++)
			insert_staged(builder, old_items[i].text, old_items[i].len, old_items[i].profile);
		MemoryContextDelete(old_context);
	}
}

/*
 * Add a tag with its profile.  Both are copied.  "seconds": how long the profile
 * is, or -1 to look it up, which may wait for a lock on clinicache.profile.
 */
void
cc_message_add_tag(MessageBuilder *builder, const char *profile, int profile_len, int seconds,
				   const char *tag, int len)
{
	if (builder->stage == STAGE_RESET || builder->everything)
		return;
	insert_staged(builder, tag, len, find_profile(builder, profile, profile_len, seconds));
	collapse(builder);
}

/*
 * Add a prefix, which is copied.  The empty one stands for all else.
 */
void
cc_message_add_prefix(MessageBuilder *builder, const char *prefix, int len)
{
	if (builder->stage == STAGE_RESET || builder->everything)
		return;
	if (len == 0)
	{
		drop_items(builder);
		builder->everything = true;
	}
	insert_staged(builder, prefix, len, IS_PREFIX);
	collapse(builder);
}

/* Make the message say "drop everything". */
void
cc_message_set_reset(MessageBuilder *builder)
{
	if (builder->stage != STAGE_RESET)
		drop_items(builder);
	builder->stage = STAGE_RESET;
}

/* Does the message say "drop everything"? */
bool
cc_message_is_reset(const MessageBuilder *builder)
{
	return builder->stage == STAGE_RESET;
}

/* Nothing to say: no tag, no prefix, no reset. */
bool
cc_message_is_empty(const MessageBuilder *builder)
{
	return builder->nitems == 0 && builder->stage != STAGE_RESET;
}

/* How many different tags and prefixes it holds. */
int
cc_message_count(const MessageBuilder *builder)
{
	return builder->nitems;
}

static void
append_json(StringInfo buf, const char *text, int len)
{
	appendStringInfoChar(buf, '"');
	for (int i = 0; i < len; i++)
	{
		unsigned char c = text[i];

		if (c == '"' || c == '\\')
		{
			appendStringInfoChar(buf, '\\');
			appendStringInfoChar(buf, c);
		}
		else if (c < ' ')
			appendStringInfo(buf, "\\u%04x", c);
		else
			appendStringInfoChar(buf, c);
	}
	appendStringInfoChar(buf, '"');
}

/* the inside of "tags" and of "prefixes", growing */
typedef struct Body
{
	StringInfoData tags;		/* the last list is still open */
	StringInfoData prefixes;
	int			profile;		/* of the open list; IS_PREFIX: none is open */
} Body;

static void
begin_body(Body *body)
{
	initStringInfo(&body->tags);
	initStringInfo(&body->prefixes);
	body->profile = IS_PREFIX;
}

static void
reset_body(Body *body)
{
	resetStringInfo(&body->tags);
	resetStringInfo(&body->prefixes);
	body->profile = IS_PREFIX;
}

static void
add_to_body(Body *body, const MessageBuilder *builder, const char *text, int len, int profile)
{
	if (profile == IS_PREFIX)
	{
		if (body->prefixes.len > 0)
			appendStringInfoChar(&body->prefixes, ',');
		append_json(&body->prefixes, text, len);
		return;
	}
	if (body->profile == profile)
		appendStringInfoChar(&body->tags, ',');
	else
	{
		if (body->profile != IS_PREFIX)
			appendStringInfoString(&body->tags, "],");
		append_json(&body->tags, builder->profiles[profile].name, builder->profiles[profile].len);
		appendStringInfoString(&body->tags, ":[");
		body->profile = profile;
	}
	append_json(&body->tags, text, len);
}

/* The whole message around a body.  A position needs no escapes. */
static void
append_message(StringInfo buf, const Body *body, bool reset, const char *pos)
{
	appendStringInfoString(buf, "{\"v\":1,");
	if (pos != NULL)
		appendStringInfo(buf, "\"pos\":\"%s\",", pos);
	appendStringInfo(buf, "\"reset\":%s,\"tags\":{", reset ? "true" : "false");
	appendBinaryStringInfo(buf, body->tags.data, body->tags.len);
	if (body->profile != IS_PREFIX)
		appendStringInfoChar(buf, ']');
	appendStringInfoString(buf, "},\"prefixes\":[");
	appendBinaryStringInfo(buf, body->prefixes.data, body->prefixes.len);
	appendStringInfoString(buf, "]}");
}

/* Call "visit" for the tags, profile by profile, then for the prefixes. */
typedef void (*ItemVisit) (const MessageBuilder *builder, const Item *item, void *arg);

static void
visit_items(const MessageBuilder *builder, ItemVisit visit, void *arg)
{
	for (int p = 0; p <= builder->nprofiles; p++)
	{
		int			profile = p < builder->nprofiles ? p : IS_PREFIX;

		for (int i = 0; i < builder->nitems; i++)
		{
			if (builder->items[i].profile == profile)
				visit(builder, &builder->items[i], arg);
		}
	}
}

static void
visit_for_text(const MessageBuilder *builder, const Item *item, void *arg)
{
	add_to_body((Body *) arg, builder, item->text, item->len, item->profile);
}

/*
 * One JSON text, of any length.  "pos" may be NULL.
 */
char *
cc_message_text(MessageBuilder *builder, const char *pos)
{
	StringInfoData buf;
	Body		body;

	begin_body(&body);
	visit_items(builder, visit_for_text, &body);
	initStringInfo(&buf);
	append_message(&buf, &body, cc_message_is_reset(builder), pos);
	return buf.data;
}

typedef struct Splitter
{
	Body		body;
	StringInfoData payload;
	bool		reset;
	int			sent;
	MessageSink sink;
	void	   *arg;
} Splitter;

static int
message_length(Splitter *splitter, const char *pos)
{
	resetStringInfo(&splitter->payload);
	append_message(&splitter->payload, &splitter->body, splitter->reset, pos);
	return splitter->payload.len;
}

static void
send_body(Splitter *splitter, const char *pos)
{
	(void) message_length(splitter, pos);
	splitter->sink(splitter->payload.data, splitter->arg);
	splitter->sent++;
	reset_body(&splitter->body);
}

/* Add the item if the payload stays short enough; else leave the body as it was. */
static bool
add_if_it_fits(Splitter *splitter, const MessageBuilder *builder,
			   const char *text, int len, int profile)
{
	/* as long as the message around an empty body, and the bracket of an open list */
	const int	around = sizeof("{\"v\":1,\"reset\":false,\"tags\":{]},\"prefixes\":[]}");
	Body	   *body = &splitter->body;
	int			tags_len = body->tags.len;
	int			prefixes_len = body->prefixes.len;
	int			open_profile = body->profile;

	add_to_body(body, builder, text, len, profile);
	if (around + body->tags.len + body->prefixes.len <= CC_PAYLOAD_MAX)
		return true;
	body->tags.len = tags_len;
	body->tags.data[tags_len] = '\0';
	body->prefixes.len = prefixes_len;
	body->prefixes.data[prefixes_len] = '\0';
	body->profile = open_profile;
	return false;
}

static bool
body_is_empty(const Body *body)
{
	return body->tags.len == 0 && body->prefixes.len == 0;
}

static void
visit_for_split(const MessageBuilder *builder, const Item *item, void *arg)
{
	Splitter   *splitter = (Splitter *) arg;
	int			kept;

	if (add_if_it_fits(splitter, builder, item->text, item->len, item->profile))
		return;
	if (!body_is_empty(&splitter->body))
		send_body(splitter, NULL);
	if (add_if_it_fits(splitter, builder, item->text, item->len, item->profile))
		return;
	/* too long for any message: a shorter prefix says at least as much */
	kept = pg_mbcliplen(item->text, item->len, PREFIX_BYTES_KEPT);
	(void) add_if_it_fits(splitter, builder, item->text, kept, IS_PREFIX);
}

/*
 * Hand out as many payloads as it takes, one at least.  The last carries "pos";
 * with nothing else to say it is a heartbeat, or without "pos" a wake-up.
 */
void
cc_message_split(MessageBuilder *builder, const char *pos, MessageSink sink, void *arg)
{
	Splitter	splitter;

	begin_body(&splitter.body);
	initStringInfo(&splitter.payload);
	splitter.reset = cc_message_is_reset(builder);
	splitter.sent = 0;
	splitter.sink = sink;
	splitter.arg = arg;
	visit_items(builder, visit_for_split, &splitter);
	if (pos != NULL && !body_is_empty(&splitter.body) &&
		message_length(&splitter, pos) > CC_PAYLOAD_MAX)
		send_body(&splitter, NULL);
	if (pos != NULL || splitter.sent == 0 || !body_is_empty(&splitter.body))
		send_body(&splitter, pos);
}
