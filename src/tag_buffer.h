/*-------------------------------------------------------------------------
 *
 * tag_buffer.h
 *		The tags of a transaction that changes a row or two.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_TAG_BUFFER_H
#define CLINICACHE_TAG_BUFFER_H

#include "postgres.h"
#include "pending.h"

/* more tags than that go to a pending set; templates do not collapse so early */
#define TAG_BUFFER_MAX 64

extern bool cc_buffer_is_empty(void);
extern PendingCounts cc_buffer_counts(void);
extern PendingTenant *cc_buffer_open(const char *tenant, int len);
extern bool cc_buffer_add(int template, PendingKind kind, int profile, const char *text, int len);

extern PendingTenant *cc_buffer_take(PendingEntry **tags, int *ntags,
									 PendingEntry **prefixes, int *nprefixes);
extern void cc_buffer_move(PendingSet *set);
extern void cc_buffer_clear(void);

extern void cc_buffer_subcommit(int nest);
extern void cc_buffer_subabort(int nest);

#endif							/* CLINICACHE_TAG_BUFFER_H */
