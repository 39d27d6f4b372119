/*-------------------------------------------------------------------------
 *
 * late.c
 *		Windows that open for a transaction's rows before it commits.
 *
 * A row that is not yet in a window when it is written gives no tag of it.  If
 * the transaction is open still when the window opens, others read the row as it
 * was before: an appointment of the new day that is being deleted stands in
 * their list of today.  No clock edge can put that right: after the commit there
 * is no row to be found.  So the first moment at which each template's window
 * would open is kept, and if that has come, the commit emits the prefix.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "late.h"

#define LATE_MAX 64

/* from here to where others see it, a commit takes a moment */
#define COMMIT_TAKES USECS_PER_SEC

typedef struct LateTemplate
{
	int			number;
	TimestampTz opens;
} LateTemplate;

/* of this transaction */
static LateTemplate templates[LATE_MAX];
static int	ntemplates = 0;
static TimestampTz first = DT_NOEND;

/* A template's window will open for a row that was written. */
void
cc_late_note(int template, TimestampTz opens)
{
	int			i = 0;

	while (i < ntemplates && templates[i].number != template)
		i++;
	if (i == ntemplates)
	{
		/* with more templates than that, one stands for others: it emits all */
		if (ntemplates == LATE_MAX)
			templates[i = LATE_MAX - 1].number = -1;
		else
		{
			templates[i].number = template;
			templates[i].opens = opens;
			ntemplates++;
		}
	}
	templates[i].opens = Min(templates[i].opens, opens);
	first = Min(first, opens);
}

/* Has a window opened, or will before others see what this transaction wrote? */
bool
cc_late_is_due(void)
{
	return ntemplates > 0 && first <= cc_clock() + COMMIT_TAKES;
}

/* Add the prefixes of those that have. */
void
cc_late_emit(PendingSet *set)
{
	PendingTenant *everybody = cc_pending_tenant(set, NULL, 0);
	TimestampTz seen = cc_clock() + COMMIT_TAKES;

	for (int i = 0; i < ntemplates; i++)
	{
		TemplateInfo *info;

		if (templates[i].opens > seen)
			continue;
		if (templates[i].number < 0)
			cc_pending_add_prefix(set, everybody,
								  cc_pending_profile(CC_PROFILE_DEFAULT, CC_PROFILE_DEFAULT_SECONDS),
								  "", 0);
		else
		{
			info = cc_pending_template_info(templates[i].number);
			cc_pending_add_prefix(set, everybody, info->profile, info->prefix, info->prefix_len);
		}
	}
}

/* The transaction is over. */
void
cc_late_forget(void)
{
	ntemplates = 0;
	first = DT_NOEND;
}
