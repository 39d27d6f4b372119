/*-------------------------------------------------------------------------
 *
 * late.h
 *		Windows that open for a transaction's rows before it commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_LATE_H
#define CLINICACHE_LATE_H

#include "clinicache.h"

#include "pending.h"

extern void cc_late_note(int template, TimestampTz opens);
extern bool cc_late_is_due(void);
extern void cc_late_emit(PendingSet *set);
extern void cc_late_forget(void);

#endif							/* CLINICACHE_LATE_H */
