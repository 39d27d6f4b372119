/*
 * tail.h
 *		Names shared by the files of clinicache_tail; see clinicache_tail.c for
 *		the protocol that they implement together.
 */
#ifndef CLINICACHE_TAIL_H
#define CLINICACHE_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libpq-fe.h"

#ifndef CLINICACHE_VERSION		/* the Makefile reads it from the control file */
#define CLINICACHE_VERSION "unknown"
#endif

/* Exit codes, as --help lists them. */
#define EXIT_OK			0
#define EXIT_LOCAL		1		/* usage, output or position file */
#define EXIT_CONNECTION 2		/* only with --once */
#define EXIT_SERVER		3		/* not installed, not allowed, not understood */

/* How a step ended. Everything but OUTCOME_OK ends the connection. */
typedef enum Outcome
{
	OUTCOME_OK,
	OUTCOME_LOST,				/* connection broken or silent: connect again */
	OUTCOME_SERVER_ERROR,		/* the server refused; see Tail.sqlstate, Tail.error */
	OUTCOME_INCOMPATIBLE,		/* it speaks what we do not understand: give up */
	OUTCOME_LOCAL_ERROR,		/* stdout or the position file failed: give up */
	OUTCOME_STOPPED				/* SIGINT or SIGTERM */
} Outcome;

typedef struct Options
{
	const char *dbname;
	const char *host;
	const char *port;
	const char *user;
	const char *channel;
	const char *position_file;
	char	   *tenants;		/* array literal for changes(), NULL: all */
	const char *max_tags;
	int64_t		heartbeat_timeout;	/* ms */
	bool		once;
	bool		heartbeats;
	bool		strict;
	bool		verbose;
} Options;

/* The subscriber. Times are milliseconds of the monotonic clock. */
typedef struct Tail
{
	Options		options;
	PGconn	   *conn;			/* NULL: not connected */
	char		sqlstate[6];	/* of the last OUTCOME_SERVER_ERROR ... */
	char		error[256];		/* ... and its text, for the caller to report */

	char	   *position;		/* all up to here has been printed; NULL: none */
	int64_t		position_at;	/* when it was last accepted */
	char	   *claim;			/* newest position in a NOTIFY, not yet accepted */

	bool		wake;			/* told that there is something to read */
	bool		doubt;			/* a NOTIFY was not understood: accept no claim */
	int64_t		changes_at;		/* when changes() last answered */
	int64_t		alive_at;		/* when the server was last heard */

	bool		ever_caught_up;
	int			attempts;		/* failed ones in a row */
} Tail;

/* A message in the format of DESIGN.md §7, checked. */
typedef struct Message
{
	char	   *pos;			/* NULL: the message has none */
	bool		empty;			/* nothing to drop: heartbeat or wake-up */
	char	   *line;			/* compact text, newline included */
	size_t		line_length;
} Message;

/* options.c */
extern void options_parse(Options *options, int argc, char **argv);

/* message.c */
extern bool message_parse(const char *text, Message *message);
extern void message_free(Message *message);

/* position_file.c */
extern bool position_file_lock(const char *path);
extern bool position_file_load(const char *path, char **position);
extern bool position_file_save(const char *path, const char *position);

/* connection.c */
extern Outcome connection_open(Tail *tail);
extern Outcome connection_query(Tail *tail, const char *sql, int nparams,
								const char *const *params, PGresult **result);
extern Outcome connection_read(Tail *tail);
extern void connection_close(Tail *tail);

/* output.c */
extern Outcome output_line(Tail *tail, const Message *message);

/* wait.c */
extern bool wait_init(void);
extern bool wait_stopped(void);
extern int64_t wait_clock(void);
extern Outcome wait_for(int fd, short events, int64_t deadline);

#define WAIT_FOREVER INT64_MAX

/* report.c */
extern void report(const char *format,...) __attribute__((format(printf, 1, 2)));
extern void report_limited(const char *format,...) __attribute__((format(printf, 1, 2)));
extern void *must_alloc(size_t size);
extern char *must_strdup(const char *text);

#endif							/* CLINICACHE_TAIL_H */
