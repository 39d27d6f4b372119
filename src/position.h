/*-------------------------------------------------------------------------
 *
 * position.h
 *		Snapshots as positions: points in commit order to resume from.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_POSITION_H
#define CLINICACHE_POSITION_H

#include "clinicache.h"

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "catalog.h"
#include "utils/snapshot.h"

/* running transactions that a position which leaves the server may list */
#define CC_POSITION_RUNNING 100

/* not visible is: xid >= xmax, or xid in the list */
typedef struct Position
{
	char		epoch[CC_EPOCH_SIZE];
	Oid			dboid;
	TimeLineID	tli;
	XLogRecPtr	lsn;			/* all that is visible was in the WAL before */
	FullTransactionId xmax;
	int			nrunning;
	FullTransactionId *running; /* ascending, all < xmax */
} Position;

extern Position *cc_position_local(Snapshot snapshot);
extern Position *cc_position_from_snapshot(Snapshot snapshot, bool shorten);
extern char *cc_position_text(const Position *position);
extern Position *cc_position_parse(const char *text, bool noerror);
extern bool cc_position_sees(const Position *position, FullTransactionId xid);
extern bool cc_position_includes(const Position *later, const Position *earlier);
extern bool cc_position_history_ok(const Position *position);

#endif							/* CLINICACHE_POSITION_H */
