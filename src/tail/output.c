/*
 * output.c
 *		Prints messages, one a line, without a buffer of our own: when
 *		output_line() is back, the kernel has the whole line, and only then may
 *		a position that covers it be saved.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tail.h"

/*
 * After POLLOUT a pipe takes so many bytes without blocking; a larger write
 * could hang where neither a signal nor a deadline reaches us.
 */
#ifdef PIPE_BUF
#define CHUNK PIPE_BUF
#else
#define CHUNK 512
#endif

/*
 * A reader that does not read makes us stop reading from the server, and a
 * listening backend that is stuck keeps the whole cluster's NOTIFY queue from
 * being trimmed. So after the time-out we hang up; changes() will tell us later
 * what we missed.
 */
static Outcome
wait_until_writable(Tail *tail)
{
	int64_t		deadline = wait_clock() + tail->options.heartbeat_timeout;

	for (;;)
	{
		Outcome		outcome = wait_for(STDOUT_FILENO, POLLOUT, deadline);

		if (outcome != OUTCOME_LOST)
			return outcome;
		if (tail->conn != NULL)
			report("nobody reads the output, disconnecting until somebody does");
		connection_close(tail);
		deadline = WAIT_FOREVER;
	}
}

/* Lines in a file must outlive a power failure if the position does. */
static bool
sync_output(void)
{
	struct stat status;

	if (fstat(STDOUT_FILENO, &status) < 0 || !S_ISREG(status.st_mode))
		return true;
	return fsync(STDOUT_FILENO) == 0;
}

/* May leave tail->conn NULL though it returns OUTCOME_OK. */
Outcome
output_line(Tail *tail, const Message *message)
{
	const char *rest = message->line;
	size_t		left = message->line_length;

	while (left > 0)
	{
		Outcome		outcome = wait_until_writable(tail);
		ssize_t		written;

		if (outcome != OUTCOME_OK)
			return outcome;
		written = write(STDOUT_FILENO, rest, left < CHUNK ? left : CHUNK);
		if (written < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (written < 0)
		{
			report("could not write to standard output: %s", strerror(errno));
			return OUTCOME_LOCAL_ERROR;
		}
		rest += written;
		left -= (size_t) written;
	}

	if (message->pos != NULL && !sync_output())
	{
		report("could not flush standard output: %s", strerror(errno));
		return OUTCOME_LOCAL_ERROR;
	}
	return OUTCOME_OK;
}
