/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The background processes: a launcher, and a worker for each database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_WORKER_H
#define CLINICACHE_WORKER_H

#include "clinicache.h"

#define CC_LIBRARY "clinicache"

extern void cc_launcher_init(void);
extern void cc_utility_init(void);

/* entry points of the processes */
extern PGDLLEXPORT void clinicache_launcher_main(Datum arg);
extern PGDLLEXPORT void clinicache_worker_main(Datum arg);

#endif							/* CLINICACHE_WORKER_H */
