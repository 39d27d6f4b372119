/*
 * options.c
 *		The command line, which follows psql's where both have a word for it.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tail.h"

#define MAX_CHANNEL 63			/* NAMEDATALEN - 1 */

static const char usage[] =
"clinicache_tail prints which cache tags to drop, one JSON message a line.\n"
"\n"
"Usage:\n"
"  clinicache_tail [OPTION]... [DBNAME]\n"
"\n"
"Connection:\n"
"  -d, --dbname=DBNAME          database name or connection string\n"
"  -h, --host=HOSTNAME          server host or socket directory\n"
"  -p, --port=PORT              server port\n"
"  -U, --username=USERNAME      user name (a password comes from ~/.pgpass)\n"
"\n"
"What to follow:\n"
"      --channel=NAME           as the setting clinicache.channel (\"clinicache\")\n"
"      --position-file=FILE     resume from the position in FILE and keep it there\n"
"      --tenant=TENANT          only this tenant's tags and those of no tenant;\n"
"                               may be repeated\n"
"      --max-tags=NUMBER        collapse longer answers to prefixes (10000)\n"
"      --once                   print what happened since the position, then exit\n"
"      --heartbeats             also print messages that hold only a position\n"
"      --strict                 take positions from clinicache.changes() only,\n"
"                               never from NOTIFY, which any role can send\n"
"      --heartbeat-timeout=SEC  connect again after so much silence (90)\n"
"\n"
"      --verbose                tell on stderr what happens\n"
"  -V, --version                show the version, then exit\n"
"  -?, --help                   show this help, then exit\n"
"\n"
"A message with \"reset\":true means: drop everything. Without a saved position\n"
"the first message is one. A message may come twice; none is left out.\n"
"\n"
"Exit status:\n"
"  0  --once is done, or SIGINT or SIGTERM came\n"
"  1  wrong usage, output closed, or the position file could not be used\n"
"  2  no connection, or it broke (with --once; else it connects again)\n"
"  3  clinicache is not installed, does not allow this role, or speaks\n"
"     another version of the message format\n";

static const char try_help[] = "Try \"clinicache_tail --help\".\n";

enum LongOption
{
	OPT_CHANNEL = 256,
	OPT_POSITION_FILE,
	OPT_TENANT,
	OPT_MAX_TAGS,
	OPT_ONCE,
	OPT_HEARTBEATS,
	OPT_STRICT,
	OPT_HEARTBEAT_TIMEOUT,
	OPT_VERBOSE,
	OPT_HELP
};

static const struct option long_options[] = {
	{"dbname", required_argument, NULL, 'd'},
	{"host", required_argument, NULL, 'h'},
	{"port", required_argument, NULL, 'p'},
	{"username", required_argument, NULL, 'U'},
	{"channel", required_argument, NULL, OPT_CHANNEL},
	{"position-file", required_argument, NULL, OPT_POSITION_FILE},
	{"tenant", required_argument, NULL, OPT_TENANT},
	{"max-tags", required_argument, NULL, OPT_MAX_TAGS},
	{"once", no_argument, NULL, OPT_ONCE},
	{"heartbeats", no_argument, NULL, OPT_HEARTBEATS},
	{"strict", no_argument, NULL, OPT_STRICT},
	{"heartbeat-timeout", required_argument, NULL, OPT_HEARTBEAT_TIMEOUT},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0}
};

static void
give_up(const char *reason, const char *argument)
{
	report("%s: \"%s\"", reason, argument);
	fputs(try_help, stderr);
	exit(EXIT_LOCAL);
}

static void
show(const char *text)
{
	fputs(text, stdout);
	exit(fflush(stdout) == 0 ? EXIT_OK : EXIT_LOCAL);
}

static long
positive_number(const char *text, const char *reason)
{
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number < 1 || number > INT_MAX)
		give_up(reason, text);
	return number;
}

/* Appends a quoted element to an array literal, the input syntax of text[]. */
static void
add_tenant(Options *options, const char *tenant)
{
	size_t		used = options->tenants ? strlen(options->tenants) : 0;
	char	   *array = must_alloc(used + 2 * strlen(tenant) + 5);
	char	   *to = array;

	if (used > 0)
	{
		memcpy(to, options->tenants, used - 1);
		to += used - 1;			/* over the closing brace */
		*to++ = ',';
	}
	else
		*to++ = '{';
	*to++ = '"';
	for (; *tenant != '\0'; tenant++)
	{
		if (*tenant == '"' || *tenant == '\\')
			*to++ = '\\';
		*to++ = *tenant;
	}
	strcpy(to, "\"}");
	free(options->tenants);
	options->tenants = array;
}

static void
take_option(Options *options, int option)
{
	switch (option)
	{
		case 'd':
			options->dbname = optarg;
			break;
		case 'h':
			options->host = optarg;
			break;
		case 'p':
			options->port = optarg;
			break;
		case 'U':
			options->user = optarg;
			break;
		case OPT_CHANNEL:
			if (*optarg == '\0' || strlen(optarg) > MAX_CHANNEL)
				give_up("invalid channel name", optarg);
			options->channel = optarg;
			break;
		case OPT_POSITION_FILE:
			options->position_file = optarg;
			break;
		case OPT_TENANT:
			add_tenant(options, optarg);
			break;
		case OPT_MAX_TAGS:
			(void) positive_number(optarg, "invalid number of tags");
			options->max_tags = optarg;
			break;
		case OPT_ONCE:
			options->once = true;
			break;
		case OPT_HEARTBEATS:
			options->heartbeats = true;
			break;
		case OPT_STRICT:
			options->strict = true;
			break;
		case OPT_HEARTBEAT_TIMEOUT:
			options->heartbeat_timeout =
				(int64_t) positive_number(optarg, "invalid number of seconds") * 1000;
			break;
		case OPT_VERBOSE:
			options->verbose = true;
			break;
	}
}

/* Does not return if the command line is wrong or only asked for a text. */
void
options_parse(Options *options, int argc, char **argv)
{
	int			option;

	memset(options, 0, sizeof(*options));
	options->channel = "clinicache";
	options->max_tags = "10000";
	options->heartbeat_timeout = 90 * 1000;

	/* for getopt '?' is an error, so it has to be first as in other programs */
	if (argc > 1 && strcmp(argv[1], "-?") == 0)
		show(usage);
	while ((option = getopt_long(argc, argv, "d:h:p:U:V", long_options, NULL)) != -1)
	{
		if (option == 'V')
			show("clinicache_tail (clinicache) " CLINICACHE_VERSION "\n");
		else if (option == OPT_HELP)
			show(usage);
		else if (option == '?')	/* getopt said why */
		{
			fputs(try_help, stderr);
			exit(EXIT_LOCAL);
		}
		else
			take_option(options, option);
	}
	if (optind < argc && options->dbname == NULL)
		options->dbname = argv[optind++];
	if (optind < argc)
		give_up("too many arguments, first", argv[optind]);
}
