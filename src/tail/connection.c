/*
 * connection.c
 *		Connects and queries without ever blocking in libpq, so that a peer that
 *		went away without a word (half-open connection) cannot hang us: every
 *		wait ends when the server has been silent for the heartbeat time-out.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tail.h"

#define CONNECT_TIMEOUT 30000	/* ms */
#define MAX_PARAMS		20

static int64_t
silence_deadline(const Tail *tail)
{
	return tail->alive_at + tail->options.heartbeat_timeout;
}

/* The first line of libpq's text says what happened, the others guess why. */
static void
report_libpq(const char *what, const char *text)
{
	report("%s: %.*s", what, (int) strcspn(text, "\n"), text);
}

/*
 * As psql does: -h, -p and -U first, then what the connection string says. Our
 * defaults come before both, what we depend on comes last.
 */
static PGconn *
start_connection(const Options *options)
{
	const char *keys[MAX_PARAMS];
	const char *values[MAX_PARAMS];
	int			n = 0;

#define PARAM(key, value) (keys[n] = (key), values[n] = (value), n++)
	PARAM("fallback_application_name", "clinicache_tail");
	PARAM("keepalives_idle", "30");
	PARAM("keepalives_interval", "10");
	PARAM("keepalives_count", "3");
	PARAM("tcp_user_timeout", "60000");
	PARAM("host", options->host);	/* NULL: not given */
	PARAM("port", options->port);
	PARAM("user", options->user);
	PARAM("dbname", options->dbname);
	PARAM("client_encoding", "UTF8");	/* in others a backslash is not one */
#undef PARAM
	keys[n] = values[n] = NULL;

	/* of several hosts the primary, unless the user wants another: a standby has no LISTEN */
	if (!options->once)
		setenv("PGTARGETSESSIONATTRS", "primary", 0);

	return PQconnectStartParams(keys, values, 1);
}

static Outcome
finish_connecting(PGconn *conn, int64_t deadline)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (conn == NULL || PQstatus(conn) == CONNECTION_BAD)
	{
		report_libpq("could not connect", conn ? PQerrorMessage(conn) : "out of memory");
		return OUTCOME_LOST;
	}
	while (status != PGRES_POLLING_OK)
	{
		/* the socket may change from one call to the next */
		Outcome		outcome = wait_for(PQsocket(conn),
									   status == PGRES_POLLING_READING ? POLLIN : POLLOUT,
									   deadline);

		if (outcome == OUTCOME_LOST)
			report("could not connect: no answer in time");
		if (outcome != OUTCOME_OK)
			return outcome;
		status = PQconnectPoll(conn);
		if (status == PGRES_POLLING_FAILED)
		{
			report_libpq("could not connect", PQerrorMessage(conn));
			return OUTCOME_LOST;
		}
	}
	return PQsetnonblocking(conn, 1) == 0 ? OUTCOME_OK : OUTCOME_LOST;
}

static void
ignore_notice(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

Outcome
connection_open(Tail *tail)
{
	int64_t		timeout = tail->options.heartbeat_timeout;
	Outcome		outcome;

	if (timeout > CONNECT_TIMEOUT)
		timeout = CONNECT_TIMEOUT;
	tail->conn = start_connection(&tail->options);
	outcome = finish_connecting(tail->conn, wait_clock() + timeout);
	if (outcome != OUTCOME_OK)
	{
		connection_close(tail);
		return outcome;
	}
	if (!tail->options.verbose)
		PQsetNoticeReceiver(tail->conn, ignore_notice, NULL);
	tail->alive_at = wait_clock();

	/* nobody's schema shall come between us and pg_catalog */
	return connection_query(tail, "SELECT pg_catalog.set_config('search_path', '', false)",
							0, NULL, NULL);
}

void
connection_close(Tail *tail)
{
	PQfinish(tail->conn);		/* takes NULL */
	tail->conn = NULL;
}

/* Sends what is buffered and reads until a whole result is there. */
static Outcome
wait_for_result(Tail *tail)
{
	for (;;)
	{
		int			unsent = PQflush(tail->conn);
		Outcome		outcome;

		if (unsent < 0)
			return OUTCOME_LOST;
		if (unsent == 0 && !PQisBusy(tail->conn))
			return OUTCOME_OK;
		outcome = wait_for(PQsocket(tail->conn), unsent ? POLLIN | POLLOUT : POLLIN,
						   silence_deadline(tail));
		if (outcome == OUTCOME_LOST)
			report("no answer within the heartbeat time-out");
		if (outcome != OUTCOME_OK)
			return outcome;
		if (!PQconsumeInput(tail->conn))
			return OUTCOME_LOST;
	}
}

/* Takes in what has arrived, for PQnotifies(). */
Outcome
connection_read(Tail *tail)
{
	if (PQconsumeInput(tail->conn))
		return OUTCOME_OK;
	report_libpq("connection lost", PQerrorMessage(tail->conn));
	return OUTCOME_LOST;
}

static Outcome
judge(Tail *tail, const PGresult *answer)
{
	const char *sqlstate;

	if (PQresultStatus(answer) == PGRES_TUPLES_OK ||
		PQresultStatus(answer) == PGRES_COMMAND_OK)
	{
		tail->alive_at = wait_clock();
		return OUTCOME_OK;
	}
	sqlstate = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
	if (sqlstate == NULL || strncmp(sqlstate, "57P", 3) == 0 ||	/* shutting down */
		PQstatus(tail->conn) == CONNECTION_BAD)
	{
		report_libpq("connection lost", PQresultErrorMessage(answer));
		return OUTCOME_LOST;
	}
	tail->alive_at = wait_clock();	/* an error is an answer too */
	snprintf(tail->sqlstate, sizeof(tail->sqlstate), "%s", sqlstate);
	snprintf(tail->error, sizeof(tail->error), "%s",
			 PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY));
	return OUTCOME_SERVER_ERROR;
}

/*
 * Runs one statement. On OUTCOME_OK *result is the caller's to clear; NULL for
 * a caller that does not care. NOTIFYs that arrive meanwhile stay in libpq.
 */
Outcome
connection_query(Tail *tail, const char *sql, int nparams,
				 const char *const *params, PGresult **result)
{
	PGresult   *first = NULL;
	PGresult   *next;
	Outcome		outcome;

	if (!PQsendQueryParams(tail->conn, sql, nparams, NULL, params, NULL, NULL, 0))
	{
		report_libpq("connection lost", PQerrorMessage(tail->conn));
		return OUTCOME_LOST;
	}
	while ((outcome = wait_for_result(tail)) == OUTCOME_OK &&
		   (next = PQgetResult(tail->conn)) != NULL)
	{
		if (first == NULL)
			first = next;
		else
			PQclear(next);
	}
	if (outcome == OUTCOME_OK)
		outcome = judge(tail, first);
	else if (outcome == OUTCOME_LOST && PQstatus(tail->conn) == CONNECTION_BAD)
		report_libpq("connection lost", PQerrorMessage(tail->conn));

	if (outcome == OUTCOME_OK && result != NULL)
		*result = first;
	else
		PQclear(first);
	return outcome;
}
