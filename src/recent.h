/*-------------------------------------------------------------------------
 *
 * recent.h
 *		The newest rows of a counted table, for dashboards.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_RECENT_H
#define CLINICACHE_RECENT_H

#include "counter_source.h"
#include "utils/jsonb.h"

extern void cc_recent_init(void);
extern bool cc_recent_rows(const CounterSource *source, const char *dimension, const char *key,
						   int count, JsonbParseState **json, char **tenant);

#endif							/* CLINICACHE_RECENT_H */
