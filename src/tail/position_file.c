/*
 * position_file.c
 *		Keeps the last position across restarts: one line of text.
 *
 * The file is replaced, never rewritten (temporary file in the same directory,
 * fsync, rename, fsync of the directory), so that whatever moment the machine
 * dies at, it holds the old position or the new one. "<file>.lock" is held by
 * flock() while we run: two subscribers that share a position would each skip
 * what only the other one printed.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tail.h"

#define MAX_POSITION (1024 * 1024)	/* more is not a position */

static char *
with_suffix(const char *path, const char *suffix)
{
	size_t		size = strlen(path) + strlen(suffix) + 1;
	char	   *name = must_alloc(size);

	snprintf(name, size, "%s%s", path, suffix);
	return name;
}

static bool
fail(const char *action, const char *path)
{
	report("could not %s \"%s\": %s", action, path, strerror(errno));
	return false;
}

/* Taken for the life of the process; kill -9 releases it too. */
bool
position_file_lock(const char *path)
{
	char	   *name = with_suffix(path, ".lock");
	int			fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bool		locked = false;

	if (fd < 0)
		fail("open", name);
	else if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		locked = true;
	else if (errno == EWOULDBLOCK)
		report("position file \"%s\" is used by another clinicache_tail", path);
	else
		fail("lock", name);
	free(name);
	return locked;
}

/*
 * Sets *position to NULL when there is none. Content that cannot be a position
 * counts as none, for that leads to a reset, which is always safe; a file that
 * we cannot read is an error, for that would lead to one at every start.
 */
bool
position_file_load(const char *path, char **position)
{
	FILE	   *file = fopen(path, "r");
	char	   *text;
	size_t		length;

	*position = NULL;
	if (file == NULL)
		return errno == ENOENT ? true : fail("open", path);

	text = must_alloc(MAX_POSITION + 1);
	length = fread(text, 1, MAX_POSITION, file);
	if (ferror(file))
	{
		fail("read", path);
		fclose(file);
		free(text);
		return false;
	}
	fclose(file);

	while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
		length--;
	text[length] = '\0';
	if (length > 0 && length < MAX_POSITION && strlen(text) == length)
		*position = must_strdup(text);
	else
		report("position file \"%s\" holds no position", path);
	free(text);
	return true;
}

static bool
write_and_sync(const char *name, const char *position)
{
	int			fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE	   *file = fd < 0 ? NULL : fdopen(fd, "w");
	bool		written;

	if (file == NULL)
		return fail("open", name);
	written = fprintf(file, "%s\n", position) > 0 && fflush(file) == 0 && fsync(fd) == 0;
	if (!written)
		fail("write", name);
	if (fclose(file) != 0 && written)
		return fail("close", name);
	return written;
}

static bool
sync_directory_of(const char *path)
{
	char	   *copy = must_strdup(path);	/* dirname() writes into it */
	const char *name = dirname(copy);
	int			fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool		synced = fd >= 0 && fsync(fd) == 0;

	if (!synced)
		fail("fsync", name);
	if (fd >= 0)
		close(fd);
	free(copy);
	return synced;
}

bool
position_file_save(const char *path, const char *position)
{
	char	   *name = with_suffix(path, ".tmp");
	bool		saved = write_and_sync(name, position);

	if (saved && rename(name, path) != 0)
		saved = fail("rename", name);
	free(name);
	return saved && sync_directory_of(path);
}
