/*
 * clinicache_tail.c
 *		The reference subscriber: prints which cache tags to drop, and misses none.
 *
 * Whoever writes a subscriber in another language can copy this protocol. Its
 * order is what makes it gap-free.
 *
 *		load position P from the file (none: NULL)
 *		  │
 *		  ▼
 *	┌─▶ connect, with keepalives ◀──────────── backoff 0.1 s … 30 s, jitter ◀─┐
 *	│     │                                                                   │
 *	│   LISTEN                  first, so that nothing falls between the two: │
 *	│     │                     what commits from here on is notified         │
 *	│   changes(P)              and what committed before is answered here    │
 *	│     │                     (NULL, too old, other history: reset)         │
 *	│     ▼                                                                   │
 *	│   follow:  NOTIFY with tags ──────────▶ print                           │
 *	│            NOTIFY without anything ───▶ changes(P), print               │
 *	│            NOTIFY with a position ────▶ check it, save it as P          │
 *	│            30 s without a position ───▶ changes(P), print, save         │
 *	│            silence, broken connection ──────────────────────────────────┘
 *
 * Rules that are easy to get wrong:
 *
 * - P means "all up to here has been printed". It is saved after the line was
 *	 written and before anything else is read. Killed in between, we print a
 *	 message twice; duplicates are harmless, a gap is not.
 *
 * - Messages between LISTEN and the answer of changes() may come twice as well.
 *	 Do not remove duplicates by comparing tags: the second may stand for a later
 *	 change, made after the cache was filled again.
 *
 * - A NOTIFY without tags and without position ("wake-up") leaves something
 *	 unread, so a position that arrives before changes() has answered must not be
 *	 saved. Likewise after a message that we could not read.
 *
 * - Any role of the database can NOTIFY. A false tag costs a cache miss; a false
 *	 position would make us skip changes, after the next start. So a position
 *	 from NOTIFY is only a claim: the server must confirm it by reached(), which
 *	 refuses what is malformed, of another history or ahead of this one's WAL,
 *	 and then P stays where it was. That stops accidents and strangers, not a
 *	 role that edits the snapshot inside a true position. Where such a role can
 *	 connect, use --strict: every P is then an answer of changes(), at the price
 *	 of reading twice what arrived between two positions. With --tenant it is so
 *	 anyway.
 *
 * - NOTIFY carries all tenants' tags to all listeners. With --tenant their
 *	 content is not looked at: each is a wake-up, and changes(P, tenants) answers
 *	 what this role may see.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tail.h"

#define POSITION_INTERVAL	30000	/* ms without a position until changes() */
#define WAKE_INTERVAL		50	/* ms between two changes(); many wake-ups, one call */
#define STRICT_INTERVAL		1000	/* the same for positions, with --strict */
#define BACKOFF_FIRST		100
#define BACKOFF_LAST		30000

static int64_t
earlier(int64_t one, int64_t other)
{
	return one < other ? one : other;
}

/* A short heartbeat time-out must leave room for a question before it ends. */
static int64_t
position_interval(const Tail *tail)
{
	return earlier(POSITION_INTERVAL, tail->options.heartbeat_timeout / 3);
}

/* Everything up to pos has been printed. */
static Outcome
accept_position(Tail *tail, const char *pos)
{
	tail->position_at = wait_clock();
	if (tail->position != NULL && strcmp(tail->position, pos) == 0)
		return OUTCOME_OK;
	if (tail->options.position_file != NULL &&
		!position_file_save(tail->options.position_file, pos))
		return OUTCOME_LOCAL_ERROR;
	free(tail->position);
	tail->position = must_strdup(pos);
	return OUTCOME_OK;
}

static void
forget_claim(Tail *tail)
{
	free(tail->claim);
	tail->claim = NULL;
}

/* Prints what changes() answered and takes its position. */
static Outcome
take_answer(Tail *tail, const char *text)
{
	Message		message;
	Outcome		outcome = OUTCOME_OK;

	if (!message_parse(text, &message) || message.pos == NULL)
	{
		report("clinicache.changes() answered what version 1 of the format does not know: %.200s",
			   text);
		message_free(&message);
		return OUTCOME_INCOMPATIBLE;
	}
	if (!message.empty || tail->options.heartbeats)
		outcome = output_line(tail, &message);
	if (outcome == OUTCOME_OK)
		outcome = accept_position(tail, message.pos);
	message_free(&message);
	return outcome;
}

static Outcome
ask_changes(Tail *tail, const char *since)
{
	const char *params[3];
	PGresult   *result;
	Outcome		outcome;

	params[0] = since;
	params[1] = tail->options.tenants;
	params[2] = tail->options.max_tags;
	outcome = connection_query(tail,
							   "SELECT clinicache.changes($1::pg_catalog.text,"
							   " $2::pg_catalog.text[], $3::pg_catalog.int4)::pg_catalog.text",
							   3, params, &result);
	if (outcome != OUTCOME_OK)
		return outcome;
	outcome = take_answer(tail, PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return outcome;
}

/* SQLSTATE class 22: the server cannot read what we gave it as a position. */
static bool
position_refused(const Tail *tail)
{
	return strncmp(tail->sqlstate, "22", 2) == 0;
}

/* Reads all that happened since the position. */
static Outcome
catch_up(Tail *tail)
{
	Outcome		outcome;

	/* older than the answer, or equal to it: of no use afterwards */
	forget_claim(tail);
	tail->wake = tail->doubt = false;

	outcome = ask_changes(tail, tail->position);
	if (outcome == OUTCOME_SERVER_ERROR && tail->position != NULL && position_refused(tail))
	{
		report("the saved position is not one (%s), starting over with a reset", tail->error);
		outcome = ask_changes(tail, NULL);
	}
	if (outcome != OUTCOME_OK)
		return outcome;

	tail->changes_at = wait_clock();
	tail->ever_caught_up = true;
	tail->attempts = 0;			/* only now: a server that accepts and fails needs the pause */
	if (tail->options.verbose)
		report("caught up to position %s", tail->position);
	return tail->conn != NULL ? OUTCOME_OK : OUTCOME_LOST;
}

static Outcome
start_listening(Tail *tail)
{
	char		command[256];
	char	   *channel = PQescapeIdentifier(tail->conn, tail->options.channel,
											 strlen(tail->options.channel));

	if (channel == NULL)
		return OUTCOME_LOST;
	strcpy(command, "LISTEN ");
	strncat(command, channel, sizeof(command) - strlen(command) - 1);
	PQfreemem(channel);
	return connection_query(tail, command, 0, NULL, NULL);
}

static Outcome
take_notification(Tail *tail, const char *payload)
{
	Message		message;
	Outcome		outcome = OUTCOME_OK;

	if (!message_parse(payload, &message))
	{
		report_limited("ignored a notification that is not a message of version 1");
		message_free(&message);
		tail->doubt = true;
		return OUTCOME_OK;
	}

	if (tail->options.tenants != NULL || (message.empty && message.pos == NULL))
		tail->wake = true;
	else
	{
		if (!message.empty || tail->options.heartbeats)
			outcome = output_line(tail, &message);
		if (message.pos != NULL)
		{
			forget_claim(tail);
			tail->claim = must_strdup(message.pos);
		}
	}
	message_free(&message);
	if (outcome == OUTCOME_OK && tail->conn == NULL)
		return OUTCOME_LOST;
	return outcome;
}

static Outcome
drain_notifications(Tail *tail)
{
	PGnotify   *notify;

	while ((notify = PQnotifies(tail->conn)) != NULL)
	{
		Outcome		outcome = OUTCOME_OK;

		tail->alive_at = wait_clock();
		if (strcmp(notify->relname, tail->options.channel) == 0)
			outcome = take_notification(tail, notify->extra);
		PQfreemem(notify);
		if (outcome != OUTCOME_OK)
			return outcome;
	}
	return OUTCOME_OK;
}

/* Asks the server whether it knows a position that came with NOTIFY. */
static Outcome
settle_claim(Tail *tail)
{
	const char *params[1];
	PGresult   *result;
	bool		reached = false;
	const char *reason = "it is not of this server's past";
	Outcome		outcome;

	params[0] = tail->claim;
	outcome = connection_query(tail, "SELECT clinicache.reached($1::pg_catalog.text)",
							   1, params, &result);
	if (outcome == OUTCOME_SERVER_ERROR)
		reason = tail->error;
	else if (outcome != OUTCOME_OK)
		return outcome;
	else
	{
		reached = PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
		PQclear(result);
	}

	outcome = OUTCOME_OK;
	if (reached)
		outcome = accept_position(tail, tail->claim);
	else
		report_limited("ignored a position that came by notification: %s", reason);
	forget_claim(tail);
	return outcome;
}

/*
 * When changes() must be called next, WAIT_FOREVER never being among the
 * answers: in the end the lack of an accepted position calls for it.
 */
static int64_t
next_changes(const Tail *tail)
{
	int64_t		when = tail->position_at + position_interval(tail);

	if (tail->wake)
		when = earlier(when, tail->changes_at + WAKE_INTERVAL);
	if (tail->claim != NULL && tail->options.strict)
		when = earlier(when, tail->changes_at + STRICT_INTERVAL);
	return when;
}

/*
 * Silence needs no clock here: when it lasts, changes() is due, and that query
 * fails if the server does not answer within the heartbeat time-out.
 */
static Outcome
follow(Tail *tail)
{
	for (;;)
	{
		Outcome		outcome = drain_notifications(tail);

		if (outcome == OUTCOME_OK && tail->claim != NULL &&
			!tail->wake && !tail->doubt && !tail->options.strict)
			outcome = settle_claim(tail);
		else if (outcome == OUTCOME_OK && wait_clock() >= next_changes(tail))
			outcome = catch_up(tail);
		else if (outcome == OUTCOME_OK)
		{
			outcome = wait_for(PQsocket(tail->conn), POLLIN, next_changes(tail));
			if (outcome == OUTCOME_OK)
				outcome = connection_read(tail);
			else if (outcome == OUTCOME_LOST)
				outcome = OUTCOME_OK;	/* only the deadline has come */
		}
		if (outcome != OUTCOME_OK)
			return outcome;
	}
}

/* One connection, from beginning to end. */
static Outcome
subscribe(Tail *tail)
{
	Outcome		outcome = connection_open(tail);

	if (outcome == OUTCOME_OK && tail->options.verbose)
		report("connected to database \"%s\"", PQdb(tail->conn));
	if (outcome == OUTCOME_OK && !tail->options.once)
		outcome = start_listening(tail);
	if (outcome == OUTCOME_OK)
		outcome = catch_up(tail);
	if (outcome == OUTCOME_OK && !tail->options.once)
		outcome = follow(tail);
	connection_close(tail);
	forget_claim(tail);
	return outcome;
}

/*
 * Doubles from try to try; the random part keeps a fleet of subscribers from
 * returning all at once to a server that has just come up.
 */
static Outcome
back_off(Tail *tail)
{
	int64_t		delay = BACKOFF_FIRST;
	int			i;
	Outcome		outcome;

	for (i = 0; i < tail->attempts && delay < BACKOFF_LAST; i++)
		delay *= 2;
	delay = earlier(delay, BACKOFF_LAST);
	delay = delay / 2 + random() % (delay / 2 + 1);
	tail->attempts++;

	if (tail->options.verbose)
		report("connecting again in %.1f s", (double) delay / 1000.0);
	outcome = wait_for(-1, 0, wait_clock() + delay);
	return outcome == OUTCOME_LOST ? OUTCOME_OK : outcome;
}

/*
 * At the start a missing function or privilege is somebody's mistake, to be
 * told at once. Later it may be a restore in progress: keep trying.
 */
static bool
is_hopeless(const Tail *tail)
{
	static const char *const states[] = {"3F000", "42883", "42501"};
	size_t		i;

	for (i = 0; i < sizeof(states) / sizeof(states[0]); i++)
	{
		if (strcmp(tail->sqlstate, states[i]) == 0)
			return !tail->ever_caught_up;
	}
	return false;
}

static int
run(Tail *tail)
{
	for (;;)
	{
		Outcome		outcome = subscribe(tail);

		if (outcome == OUTCOME_STOPPED || outcome == OUTCOME_OK)
			return EXIT_OK;
		if (outcome == OUTCOME_LOCAL_ERROR)
			return EXIT_LOCAL;
		if (outcome == OUTCOME_INCOMPATIBLE)
			return EXIT_SERVER;
		if (outcome == OUTCOME_LOST && tail->options.once)
			return EXIT_CONNECTION;
		if (outcome == OUTCOME_SERVER_ERROR)
			report("server refused: %s", tail->error);
		if (outcome == OUTCOME_SERVER_ERROR && (tail->options.once || is_hopeless(tail)))
			return EXIT_SERVER;

		outcome = back_off(tail);
		if (outcome != OUTCOME_OK)
			return outcome == OUTCOME_STOPPED ? EXIT_OK : EXIT_LOCAL;
	}
}

int
main(int argc, char **argv)
{
	static Tail tail;
	int			status;

	options_parse(&tail.options, argc, argv);
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0)	/* or another file would get its number */
	{
		report("standard output is closed");
		return EXIT_LOCAL;
	}
	if (!wait_init())
	{
		report("could not set up signal handling");
		return EXIT_LOCAL;
	}
	srandom((unsigned int) (time(NULL) ^ ((long) getpid() << 16)));

	if (tail.options.position_file != NULL &&
		(!position_file_lock(tail.options.position_file) ||
		 !position_file_load(tail.options.position_file, &tail.position)))
		return EXIT_LOCAL;
	if (tail.position == NULL && tail.options.verbose)
		report("no saved position, starting with a reset");

	status = run(&tail);
	free(tail.position);
	free(tail.options.tenants);
	return status;
}
