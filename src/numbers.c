/*-------------------------------------------------------------------------
 *
 * numbers.c
 *		Profiles and templates, numbered.
 *
 * They are the same in all transactions and few, so they get numbers for the
 * backend's life, in TopMemoryContext, and a pending set deals in those.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "pending.h"

#include "utils/memutils.h"

typedef struct Profile
{
	char	   *name;
	int			seconds;
} Profile;

static Profile *profiles = NULL;
static int	nprofiles = 0;

/*
 * The number of a profile, made at first sight.  "seconds" (its revalidate
 * time) decides which of two is the shorter; the latest word counts.
 */
int
cc_pending_profile(const char *name, int seconds)
{
	MemoryContext old;

	for (int i = 0; i < nprofiles; i++)
		if (strcmp(profiles[i].name, name) == 0)
		{
			profiles[i].seconds = seconds;
			return i;
		}
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (profiles == NULL)
		profiles = palloc(sizeof(Profile));
	else
		profiles = repalloc(profiles, sizeof(Profile) * (nprofiles + 1));
	profiles[nprofiles].name = pstrdup(name);
	profiles[nprofiles].seconds = seconds;
	MemoryContextSwitchTo(old);
	return nprofiles++;
}

/* The name of a numbered profile; lives as long as the backend. */
const char *
cc_pending_profile_name(int profile)
{
	return profiles[profile].name;
}

/* How long a numbered profile lets values live, in seconds. */
int
cc_pending_profile_seconds(int profile)
{
	return profiles[profile].seconds;
}

/* How many have been numbered so far. */
int
cc_pending_profile_count(void)
{
	return nprofiles;
}

/* Less than 0: a's values live shorter, or as long and its name comes first. */
int
cc_pending_compare_profiles(int a, int b)
{
	if (profiles[a].seconds != profiles[b].seconds)
		return profiles[a].seconds < profiles[b].seconds ? -1 : 1;
	return a == b ? 0 : strcmp(profiles[a].name, profiles[b].name);
}

/*
 * Templates, numbered likewise: their text is the identity, several tables may
 * share one.  In chunks that never move, so that a table's are neighbours.
 */
#define INFO_CHUNK 64

static TemplateInfo **info_chunks = NULL;
static int	ntemplates = 0;

/* What is known of a numbered template; never moves. */
TemplateInfo *
cc_pending_template_info(int number)
{
	return &info_chunks[number / INFO_CHUNK][number % INFO_CHUNK];
}

/*
 * The number of a template, made at first sight.  Called when a tracker is
 * compiled, not for each row.
 */
int
cc_pending_template_number(const char *text, const char *prefix, bool collapsible, int profile)
{
	MemoryContext old;
	TemplateInfo *info;

	for (int i = 0; i < ntemplates; i++)
		if (strcmp(cc_pending_template_info(i)->text, text) == 0)
		{
			cc_pending_template_info(i)->profile = profile;
			return i;
		}
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (ntemplates % INFO_CHUNK == 0)
	{
		int			nchunks = ntemplates / INFO_CHUNK;

		if (info_chunks == NULL)
			info_chunks = palloc(sizeof(*info_chunks));
		else
			info_chunks = repalloc(info_chunks, sizeof(*info_chunks) * (nchunks + 1));
		info_chunks[nchunks] = palloc(sizeof(TemplateInfo) * INFO_CHUNK);
	}
	info = cc_pending_template_info(ntemplates);
	info->text = pstrdup(text);
	info->prefix = pstrdup(prefix);
	info->prefix_len = strlen(prefix);
	info->collapsible = collapsible;
	info->profile = profile;
	MemoryContextSwitchTo(old);
	return ntemplates++;
}

/* How many there are. */
int
cc_pending_template_count(void)
{
	return ntemplates;
}
