/*-------------------------------------------------------------------------
 *
 * deltas.h
 *		What the current transaction does to counters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_DELTAS_H
#define CLINICACHE_DELTAS_H

#include "postgres.h"
#include "cells.h"

/* is given what goes into one change record */
typedef void (*DeltasWrite) (bytea *deltas, void *arg);

extern void cc_deltas_add(const char *tenant, int tenant_len, const char *name, int len,
						  int64 n, Numeric sum);
extern bool cc_deltas_are_none(void);
extern bool cc_deltas_are_of(const char *tenant, int len);
extern void cc_deltas_write(DeltasWrite write, void *arg);
extern void cc_deltas_write_level(DeltasWrite write, void *arg);
extern bool cc_deltas_release_is_large(int nest);
extern void cc_deltas_write_released(DeltasWrite write, void *arg);
extern void cc_deltas_visit(void (*visit) (const PackedCell *packed, void *arg), void *arg);
extern void cc_deltas_clear(void);
extern void cc_deltas_subcommit(int nest);
extern void cc_deltas_subabort(int nest);

#endif							/* CLINICACHE_DELTAS_H */
