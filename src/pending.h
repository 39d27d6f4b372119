/*-------------------------------------------------------------------------
 *
 * pending.h
 *		What the current transaction will emit, exact under subtransactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_PENDING_H
#define CLINICACHE_PENDING_H

#include "postgres.h"

typedef struct PendingSet PendingSet;
typedef struct PendingNode PendingNode;
typedef struct PendingLevel PendingLevel;
typedef struct PendingTemplate PendingTemplate;

/* what was added, for statistics */
typedef struct PendingCounts
{
	uint64		tags;
	uint64		prefixes;
	uint64		collapses;
} PendingCounts;

/* a tenant that this transaction met; text is NULL for "no tenant" */
typedef struct PendingTenant
{
	const char *text;
	int			len;
	struct PendingEntry *chain; /* scratch: its entries while records are made ... */
	uint64		gather;			/* ... by the gathering with this number, see flush.c */
	uint64		counted;		/* id of the level that counted it last */
} PendingTenant;

/* a template, numbered for the backend's life */
typedef struct TemplateInfo
{
	char	   *text;
	char	   *prefix;
	int			prefix_len;
	bool		collapsible;
	int			profile;		/* its prefix is shown with this one */
} TemplateInfo;

typedef enum PendingKind
{
	PENDING_TAG,
	PENDING_PREFIX,
	PENDING_REASON
} PendingKind;

typedef struct PendingEntry
{
	struct PendingEntry *next;	/* in its node */
	struct PendingEntry *chain; /* scratch, see PendingTenant */
	PendingTenant *tenant;
	PendingKind kind;
	int			profile;
	uint32		hash;
	int			len;
	const char *text;
} PendingEntry;

/* writes entries as change records when a set grows too large; see cc_pending_create */
typedef void (*PendingSpill) (PendingSet *set);
typedef void (*PendingVisit) (PendingEntry *entry, void *arg);

/* numbers.c */
extern int	cc_pending_profile(const char *name, int seconds);
extern const char *cc_pending_profile_name(int profile);
extern int	cc_pending_profile_seconds(int profile);
extern int	cc_pending_compare_profiles(int a, int b);
extern int	cc_pending_profile_count(void);

extern int	cc_pending_template_number(const char *text, const char *prefix,
									   bool collapsible, int profile);
extern TemplateInfo *cc_pending_template_info(int number);
extern int	cc_pending_template_count(void);

/* pending.c */
extern PendingSet *cc_pending_create(MemoryContext parent, PendingSpill spill, bool at_once);
extern MemoryContext cc_pending_context(PendingSet *set);
extern uint64 cc_pending_serial(PendingSet *set);
extern uint64 cc_pending_generation(PendingSet *set);
extern PendingCounts cc_pending_counts(PendingSet *set);

extern PendingTenant *cc_pending_tenant(PendingSet *set, const char *text, int len);
extern PendingTemplate *cc_pending_template(PendingSet *set, int number);
extern bool cc_pending_is_collapsed(const PendingTemplate *template);

extern void cc_pending_add(PendingSet *set, PendingTenant *tenant, PendingTemplate *template,
						   PendingKind kind, int profile, const char *text, int len);
extern void cc_pending_add_collapsed(PendingSet *set, PendingTenant *tenant,
									 PendingTemplate *template);
extern void cc_pending_add_prefix(PendingSet *set, PendingTenant *tenant, int profile,
								  const char *text, int len);
extern void cc_pending_add_reason(PendingSet *set, const char *text, int len);

extern void cc_pending_subcommit(PendingSet *set, int nest);
extern void cc_pending_subabort(PendingSet *set, int nest);

/* all entries of all levels; those of the innermost level only, for a spill */
extern void cc_pending_visit(PendingSet *set, PendingVisit visit, void *arg);
extern void cc_pending_visit_level(PendingSet *set, PendingVisit visit, void *arg);
extern void cc_pending_forget_level(PendingSet *set);
extern void cc_pending_move_level(PendingSet *set, int nest);
extern bool cc_pending_has_shorter(PendingSet *set, const PendingEntry *entry);

#endif							/* CLINICACHE_PENDING_H */
