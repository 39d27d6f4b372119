/*-------------------------------------------------------------------------
 *
 * payload.h
 *		The message: the one format of NOTIFY, changes() and clinicache_tail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_PAYLOAD_H
#define CLINICACHE_PAYLOAD_H

#include "postgres.h"
#include "lib/stringinfo.h"

/* gathers distinct tags (shortest profile wins) and prefixes, of any number of records */
typedef struct MessageBuilder MessageBuilder;

/* largest NOTIFY payload */
#define CC_PAYLOAD_MAX 7999

/* max_tags: beyond it tags collapse to prefixes, then to reset; 0: no limit */
extern MessageBuilder *cc_message_begin(int max_tags);
extern void cc_message_add_tag(MessageBuilder *builder, const char *profile, int profile_len,
							   int seconds, const char *tag, int len);
extern void cc_message_add_prefix(MessageBuilder *builder, const char *prefix, int len);
extern void cc_message_set_reset(MessageBuilder *builder);
extern bool cc_message_is_reset(const MessageBuilder *builder);
extern bool cc_message_is_empty(const MessageBuilder *builder);
extern int	cc_message_count(const MessageBuilder *builder);

/* one JSON text of any length; pos may be NULL */
extern char *cc_message_text(MessageBuilder *builder, const char *pos);

typedef void (*MessageSink) (const char *payload, void *arg);

/* as many payloads of at most CC_PAYLOAD_MAX bytes as it takes; the last carries pos (may be NULL) */
extern void cc_message_split(MessageBuilder *builder, const char *pos, MessageSink sink, void *arg);

#endif							/* CLINICACHE_PAYLOAD_H */
