/*
 * message.c
 *		Reads one message, {"v":1,"pos":"…","reset":false,"tags":{…},"prefixes":[…]}.
 *
 * Any role can NOTIFY on our channel, so the text is checked to the last byte
 * before anything is printed: what leaves here is one line, valid JSON, and has
 * the shape that readers rely on. Stricter than JSON where our server is: the
 * only blank is the space, no top-level key may come twice or be escaped (two
 * parsers could disagree about it), and a position has no escapes. Keys that we
 * do not know are passed on, version 1 may grow.
 */
#include <stdlib.h>
#include <string.h>

#include "tail.h"

#define MAX_DEPTH	16
#define MAX_MEMBERS 16

typedef struct Span
{
	const char *start;
	size_t		length;
} Span;

typedef struct Member
{
	Span		key;			/* without quotes */
	Span		value;
} Member;

static bool scan_value(const char **at, int depth);

static void
skip_blanks(const char **at)
{
	while (**at == ' ')
		(*at)++;
}

/* Takes the character if it is next, and the blanks around it. */
static bool
accept(const char **at, char character)
{
	skip_blanks(at);
	if (**at != character)
		return false;
	(*at)++;
	skip_blanks(at);
	return true;
}

static bool
accept_word(const char **at, const char *word)
{
	size_t		length = strlen(word);

	if (strncmp(*at, word, length) != 0)
		return false;
	*at += length;
	return true;
}

static bool
is_digit(char character)
{
	return character >= '0' && character <= '9';
}

static bool
is_hex(char character)
{
	return is_digit(character) ||
		(character >= 'a' && character <= 'f') || (character >= 'A' && character <= 'F');
}

static bool
scan_escape(const char **at)
{
	int			i;

	if (**at != 'u')
		return **at != '\0' && strchr("\"\\/bfnrt", *(*at)++) != NULL;
	for (i = 1; i <= 4; i++)
	{
		if (!is_hex((*at)[i]))
			return false;
	}
	*at += 5;
	return true;
}

static bool
scan_string(const char **at)
{
	if (*(*at)++ != '"')
		return false;
	for (;;)
	{
		unsigned char character = (unsigned char) *(*at)++;

		if (character == '"')
			return true;
		if (character < ' ')	/* the end of the text included */
			return false;
		if (character == '\\' && !scan_escape(at))
			return false;
	}
}

static bool
scan_digits(const char **at)
{
	if (!is_digit(**at))
		return false;
	while (is_digit(**at))
		(*at)++;
	return true;
}

static bool
scan_number(const char **at)
{
	if (**at == '-')
		(*at)++;
	if (**at == '0')
		(*at)++;
	else if (!scan_digits(at))
		return false;
	if (**at == '.')
	{
		(*at)++;
		if (!scan_digits(at))
			return false;
	}
	if (**at == 'e' || **at == 'E')
	{
		(*at)++;
		if (**at == '+' || **at == '-')
			(*at)++;
		return scan_digits(at);
	}
	return true;
}

static bool
scan_container(const char **at, char close, int depth)
{
	(*at)++;
	if (accept(at, close))
		return true;
	do
	{
		if (close == '}' && !(scan_string(at) && accept(at, ':')))
			return false;
		if (!scan_value(at, depth))
			return false;
	} while (accept(at, ','));
	return accept(at, close);
}

static bool
scan_value(const char **at, int depth)
{
	if (depth > MAX_DEPTH)
		return false;
	switch (**at)
	{
		case '{':
			return scan_container(at, '}', depth + 1);
		case '[':
			return scan_container(at, ']', depth + 1);
		case '"':
			return scan_string(at);
		case 't':
			return accept_word(at, "true");
		case 'f':
			return accept_word(at, "false");
		case 'n':
			return accept_word(at, "null");
		default:
			return scan_number(at);
	}
}

/* The next four check the shape of a value that is known to be valid JSON. */
static bool
equals(Span span, const char *text)
{
	return span.length == strlen(text) && memcmp(span.start, text, span.length) == 0;
}

/* Moves over an array of strings; *empty becomes false if it holds any. */
static bool
check_strings(const char **at, bool *empty)
{
	if (!accept(at, '['))
		return false;
	if (accept(at, ']'))
		return true;
	*empty = false;
	do
	{
		if (!scan_string(at))
			return false;
	} while (accept(at, ','));
	return accept(at, ']');
}

static bool
check_prefixes(Span value, bool *empty)
{
	const char *at = value.start;

	return check_strings(&at, empty);
}

/* An object of arrays of strings, one for each profile. */
static bool
check_tags(Span value, bool *empty)
{
	const char *at = value.start;

	if (!accept(&at, '{'))
		return false;
	if (accept(&at, '}'))
		return true;
	do
	{
		if (!(scan_string(&at) && accept(&at, ':') && check_strings(&at, empty)))
			return false;
	} while (accept(&at, ','));
	return true;
}

static Span
span_between(const char *start, const char *end)
{
	Span		span;

	while (end > start && end[-1] == ' ')
		end--;
	span.start = start;
	span.length = (size_t) (end - start);
	return span;
}

/* Returns the number of members, or -1 if the text is not such an object. */
static int
scan_members(const char *text, Member *members)
{
	const char *at = text;
	int			count = 0;
	int			i;

	if (!accept(&at, '{') || accept(&at, '}'))
		return -1;
	do
	{
		const char *start = at;
		Member	   *member = &members[count];

		if (count == MAX_MEMBERS || !scan_string(&at))
			return -1;
		member->key = span_between(start + 1, at - 1);
		if (memchr(member->key.start, '\\', member->key.length) != NULL || !accept(&at, ':'))
			return -1;
		for (i = 0; i < count; i++)
		{
			if (members[i].key.length == member->key.length &&
				memcmp(members[i].key.start, member->key.start, member->key.length) == 0)
				return -1;
		}
		start = at;
		if (!scan_value(&at, 0))
			return -1;
		member->value = span_between(start, at);
		count++;
	} while (accept(&at, ','));
	if (!accept(&at, '}') || *at != '\0')
		return -1;
	return count;
}

static const Member *
find_member(const Member *members, int count, const char *key)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		if (equals(members[i].key, key))
			return &members[i];
	}
	return NULL;
}

/* Copies a value without the blanks that jsonb writes between its parts. */
static char *
append_compact(char *to, Span value)
{
	const char *at = value.start;
	const char *end = value.start + value.length;

	while (at < end)
	{
		const char *start = at;

		if (*at == ' ')
		{
			at++;
			continue;
		}
		if (*at == '"')
			(void) scan_string(&at);
		else
			at++;
		memcpy(to, start, (size_t) (at - start));
		to += at - start;
	}
	return to;
}

static char *
append_member(char *to, const Member *member)
{
	*to++ = '"';
	memcpy(to, member->key.start, member->key.length);
	to += member->key.length;
	*to++ = '"';
	*to++ = ':';
	to = append_compact(to, member->value);
	*to++ = ',';
	return to;
}

/*
 * The line is never longer than the text and its newline: same members, fewer
 * blanks. NOTIFY and changes() look alike in it, jsonb's order of keys undone.
 */
static void
render(Message *message, size_t size, const Member *members, int count)
{
	static const char *const order[] = {"v", "pos", "reset", "tags", "prefixes"};
	const size_t known = sizeof(order) / sizeof(order[0]);
	char	   *to = message->line = must_alloc(size + 2);
	size_t		i;
	int			j;

	*to++ = '{';
	for (i = 0; i < known; i++)
	{
		const Member *member = find_member(members, count, order[i]);

		if (member != NULL)
			to = append_member(to, member);
	}
	for (j = 0; j < count; j++)
	{
		bool		unknown = true;

		for (i = 0; i < known; i++)
			unknown = unknown && !equals(members[j].key, order[i]);
		if (unknown)
			to = append_member(to, &members[j]);
	}
	to[-1] = '}';				/* over the last comma */
	*to++ = '\n';
	*to = '\0';
	message->line_length = (size_t) (to - message->line);
}

/* A string without escapes, not empty; NULL if the value is something else. */
static char *
copy_position(Span value)
{
	char	   *pos;

	if (value.length < 3 || value.start[0] != '"' ||
		memchr(value.start, '\\', value.length) != NULL)
		return NULL;
	pos = must_alloc(value.length - 1);
	memcpy(pos, value.start + 1, value.length - 2);
	pos[value.length - 2] = '\0';
	return pos;
}

bool
message_parse(const char *text, Message *message)
{
	Member		members[MAX_MEMBERS];
	int			count = scan_members(text, members);
	const Member *version = find_member(members, count, "v");
	const Member *pos = find_member(members, count, "pos");
	const Member *reset = find_member(members, count, "reset");
	const Member *tags = find_member(members, count, "tags");
	const Member *prefixes = find_member(members, count, "prefixes");

	memset(message, 0, sizeof(*message));
	if (version == NULL || !equals(version->value, "1") ||
		reset == NULL || tags == NULL || prefixes == NULL)
		return false;
	if (!equals(reset->value, "true") && !equals(reset->value, "false"))
		return false;
	message->empty = equals(reset->value, "false");
	if (!check_tags(tags->value, &message->empty) ||
		!check_prefixes(prefixes->value, &message->empty))
		return false;
	if (pos != NULL && (message->pos = copy_position(pos->value)) == NULL)
		return false;
	render(message, strlen(text), members, count);
	return true;
}

void
message_free(Message *message)
{
	free(message->pos);
	free(message->line);
	memset(message, 0, sizeof(*message));
}
