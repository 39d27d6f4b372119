/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *		A step that may fail and leave nothing behind.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_SUBTRANSACTION_H
#define CLINICACHE_SUBTRANSACTION_H

#include "postgres.h"

extern ErrorData *cc_subtransaction(bool (*step) (void *), void *arg);
extern bool cc_error_ends_statement(const ErrorData *error);

#endif							/* CLINICACHE_SUBTRANSACTION_H */
