/*
 * listen.c
 *		Subscribers that do nothing but read.
 *
 *		listen CONNINFO CHANNEL CONNECTIONS [idle]
 *
 * "idle" ones do not even read, as a psql that waits at its prompt.  Says "listening" when all of them do; on SIGTERM, how much has come.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stop = 0;

static void
handle_sigterm(int signal)
{
	stop = 1;
}

static void
fail(PGconn *conn)
{
	fprintf(stderr, "listen: %s", PQerrorMessage(conn));
	exit(1);
}

static PGconn *
start(const char *conninfo, const char *channel)
{
	PGconn	   *conn = PQconnectdb(conninfo);
	char		command[128];
	PGresult   *result;

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn);
	snprintf(command, sizeof(command), "LISTEN %s", channel);
	result = PQexec(conn, command);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(conn);
	PQclear(result);
	return conn;
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = handle_sigterm};
	int			count = argc >= 4 ? atoi(argv[3]) : 0;
	int			idle = argc == 5 && strcmp(argv[4], "idle") == 0;
	PGconn	  **conns = calloc(count + 1, sizeof(PGconn *));
	struct pollfd *fds = calloc(count + 1, sizeof(struct pollfd));
	unsigned long messages = 0;
	unsigned long bytes = 0;

	if (count < 1)
		return 2;
	sigaction(SIGTERM, &action, NULL);
	for (int i = 0; i < count; i++)
	{
		conns[i] = start(argv[1], argv[2]);
		fds[i].fd = PQsocket(conns[i]);
		fds[i].events = POLLIN;
	}
	puts("listening");
	fflush(stdout);
	while (!stop)
	{
		if (idle)
		{
			poll(NULL, 0, 1000);
			continue;
		}
		if (poll(fds, count, 1000) <= 0)
			continue;
		for (int i = 0; i < count; i++)
		{
			PGnotify   *notify;

			if (!fds[i].revents)
				continue;
			if (!PQconsumeInput(conns[i]))
				fail(conns[i]);
			while ((notify = PQnotifies(conns[i])) != NULL)
			{
				messages++;
				bytes += strlen(notify->extra);
				PQfreemem(notify);
			}
		}
	}
	printf("%lu messages, %lu bytes\n", messages, bytes);
	return 0;
}
