/*-------------------------------------------------------------------------
 *
 * tracked_prefixes.h
 *		The prefixes that tracked tables' templates have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_TRACKED_PREFIXES_H
#define CLINICACHE_TRACKED_PREFIXES_H

#include "postgres.h"

/* sorted by bytes; those that begin with byte b are from[b] to from[b + 1] - 1 */
typedef struct TrackedPrefixes
{
	int			count;
	char	  **prefixes;
	int			from[257];
	bool		has_empty;		/* some template begins with a placeholder */
} TrackedPrefixes;

extern TrackedPrefixes *cc_tracked_prefixes(void);

#endif							/* CLINICACHE_TRACKED_PREFIXES_H */
