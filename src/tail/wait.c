/*
 * wait.c
 *		The only place that sleeps: poll() with a deadline, woken by SIGINT,
 *		SIGTERM and by the reader of our output going away.
 *
 * Signals reach poll() through a pipe, since a flag alone can be set between
 * the look at it and the call of poll(), which would then sleep on.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tail.h"

static volatile sig_atomic_t stopped = 0;
static int	signal_pipe[2] = {-1, -1};

static void
handle_stop(int signum)
{
	int			saved_errno = errno;

	(void) signum;
	stopped = 1;
	if (write(signal_pipe[1], "", 1) < 0)
	{
		/* full: poll() has something to wake up to already */
	}
	errno = saved_errno;
}

bool
wait_init(void)
{
	struct sigaction action;
	int			i;

	if (pipe(signal_pipe) < 0)
		return false;
	for (i = 0; i < 2; i++)
	{
		if (fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK) < 0 ||
			fcntl(signal_pipe[i], F_SETFD, FD_CLOEXEC) < 0)
			return false;
	}

	memset(&action, 0, sizeof(action));
	sigemptyset(&action.sa_mask);
	action.sa_handler = handle_stop;
	if (sigaction(SIGINT, &action, NULL) < 0 || sigaction(SIGTERM, &action, NULL) < 0)
		return false;

	/* a vanished reader shall be an error of write(), which we can report */
	action.sa_handler = SIG_IGN;
	return sigaction(SIGPIPE, &action, NULL) == 0;
}

bool
wait_stopped(void)
{
	return stopped != 0;
}

int64_t
wait_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int
milliseconds_until(int64_t deadline)
{
	int64_t		left;

	if (deadline == WAIT_FOREVER)
		return -1;
	left = deadline - wait_clock();
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int) left;
}

/*
 * Waits until fd is ready (OUTCOME_OK) or the deadline has come (OUTCOME_LOST,
 * which the caller may read as it likes). fd -1 waits for the deadline only.
 */
Outcome
wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd fds[3];

	fds[0].fd = signal_pipe[0];
	fds[0].events = POLLIN;
	fds[1].fd = STDOUT_FILENO;
	fds[1].events = 0;			/* errors and hang-ups only */
	fds[2].fd = fd;
	fds[2].events = events;

	for (;;)
	{
		int			ready = poll(fds, 3, milliseconds_until(deadline));

		if (stopped)
			return OUTCOME_STOPPED;
		if (ready < 0 && errno != EINTR)
			return OUTCOME_LOST;
		if (ready > 0 && (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)))
		{
			report("standard output was closed");
			return OUTCOME_LOCAL_ERROR;
		}
		if (ready > 0 && fds[2].revents != 0)
			return OUTCOME_OK;
		if (deadline != WAIT_FOREVER && wait_clock() >= deadline)
			return OUTCOME_LOST;
	}
}
