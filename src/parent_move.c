/*-------------------------------------------------------------------------
 *
 * parent_move.c
 *		Notes that a transaction made look-ups lead elsewhere.
 *
 * A child's writer looks its clinic up in its own snapshot.  If the patient moves
 * to another clinic meanwhile, and that commits first, the child's record goes to
 * the clinic that the patient has left, and the other's lists, dropped by the move,
 * may have been read again before the child was there.  Neither can know of the
 * other, and neither waits.  So the transaction that moves leaves a row here, and
 * maintain_moves() (SQL) emits its tags once more when all who may have seen the
 * world before it have ended.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog.h"
#include "compat.h"
#include "lookup.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#define Anum_move_at 2
#define Anum_move_xid 3
#define Anum_move_horizon 4
#define Natts_move 4

/*
 * Note it in the current subtransaction, with which the note is rolled back; once
 * for each.  RowExclusiveLock on clinicache.parent_move.
 */
void
cc_move_note(void)
{
	static LocalTransactionId noted_in = InvalidLocalTransactionId;
	static SubTransactionId noted_by = InvalidSubTransactionId;
	Datum		values[Natts_move];
	bool		nulls[Natts_move] = {false};

	if (noted_in == cc_my_lxid() && noted_by == GetCurrentSubTransactionId())
		return;
	values[Anum_move_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_move_xid - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	nulls[Anum_move_horizon - 1] = true;
	cc_catalog_insert_numbered(CC_TABLE_MOVES, Natts_move, values, nulls);
	noted_in = cc_my_lxid();
	noted_by = GetCurrentSubTransactionId();
}
