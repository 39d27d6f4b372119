/*
 * report.c
 *		Words for the operator, on stderr only: stdout belongs to messages.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tail.h"

#define REPORT_INTERVAL 1000	/* ms */

static void report_va(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void
report_va(const char *format, va_list args)
{
	fputs("clinicache_tail: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void
report(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	report_va(format, args);
	va_end(args);
}

/*
 * For what any role can cause with NOTIFY: at most one such line a second, or
 * a stranger could fill the disk that holds our log.
 */
void
report_limited(const char *format,...)
{
	static int64_t next = 0;
	static unsigned long silenced = 0;
	int64_t		now = wait_clock();
	va_list		args;

	if (now < next)
	{
		silenced++;
		return;
	}
	if (silenced > 0)
		report("%lu more warnings were not shown", silenced);
	silenced = 0;
	next = now + REPORT_INTERVAL;

	va_start(args, format);
	report_va(format, args);
	va_end(args);
}

void *
must_alloc(size_t size)
{
	void	   *memory = malloc(size);

	if (memory == NULL)
	{
		report("out of memory");
		exit(EXIT_LOCAL);
	}
	return memory;
}

char *
must_strdup(const char *text)
{
	size_t		size = strlen(text) + 1;

	return memcpy(must_alloc(size), text, size);
}
