/*-------------------------------------------------------------------------
 *
 * counter_known.h
 *		Tables that are configured to be counted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COUNTER_KNOWN_H
#define CLINICACHE_COUNTER_KNOWN_H

#include "clinicache.h"

#include "nodes/pg_list.h"

extern void cc_known_init(void);
extern List *cc_known_uncounted(const char *counter, const List *counted);

#endif							/* CLINICACHE_COUNTER_KNOWN_H */
