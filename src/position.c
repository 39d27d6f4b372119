/*-------------------------------------------------------------------------
 *
 * position.c
 *		Snapshots as positions: points in commit order to resume from.
 *
 * Transaction ids are handed out in another order than transactions commit, so
 * no number says "everything up to here".  A snapshot does: what was visible in
 * it has been seen, all else has not.  What the snapshot alone does not say:
 *
 * - The transaction that asks is not in its own snapshot's list, yet its record
 *   comes only at its commit: it is added to the list.
 * - After a crash ids are used again whose WAL was not flushed.  A position
 *   holds the WAL insert location, read after the snapshot was taken, and the
 *   WAL is flushed up to it before the position leaves cc_position_from_snapshot.
 *   A position that lies ahead of this server's WAL is of another history.
 * - On a standby running ids are in subxip, and when that overflowed only xmin
 *   can be trusted.
 *
 * The text is opaque to users: 1.epoch.database.timeline.lsn.xmax[.delta]...~seal,
 * all hexadecimal; each delta leads from the id before it down to the next
 * running one.  The seal is a keyed hash of the rest.  Positions travel in
 * notifications, which any role can send: without it a stranger could alter a
 * position so that it claims to have seen what it has not.
 *
 * Everything is allocated in CurrentMemoryContext.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "position.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define POSITION_VERSION '1'
#define SEAL_MARK '~'
#define SEAL_DIGITS 16

/* more than a server can run; only keeps hostile text from filling memory */
#define RUNNING_MAX 65536

PG_FUNCTION_INFO_V1(clinicache_position);
PG_FUNCTION_INFO_V1(clinicache_reached);

/*
 * End of the WAL inserted so far.  GetXLogInsertRecPtr answers with the place
 * of the next record; right after a page's header that is beyond what can be
 * flushed, or what a standby will have replayed.
 */
static XLogRecPtr
inserted_lsn(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();
	uint32		offset = XLogSegmentOffset(lsn, wal_segment_size);

	if (offset == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (offset > XLOG_BLCKSZ && offset % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

/*
 * How far this server's history goes, and on which timeline.  A standby counts
 * the record that it is replaying as "begun": a snapshot may show its effect
 * already, but only when it is done may we say that it shows.
 */
static XLogRecPtr
server_lsn(TimeLineID *tli, bool begun)
{
	if (RecoveryInProgress())
		return begun ? GetCurrentReplayRecPtr(tli) : GetXLogReplayRecPtr(tli);
	*tli = GetWALInsertionTimeLine();
	return inserted_lsn();
}

/* As pg_current_snapshot does it: ids of a snapshot are not after the next one. */
static FullTransactionId
widen(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (!TransactionIdIsNormal(xid))
		return FullTransactionIdFromEpochAndXid(0, xid);
	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

static int
compare_xids(const void *a, const void *b)
{
	uint64		x = U64FromFullTransactionId(*(const FullTransactionId *) a);
	uint64		y = U64FromFullTransactionId(*(const FullTransactionId *) b);

	return (x > y) - (x < y);
}

/* Fill in xmax and the list of running transactions, sorted and without doubles. */
static void
take_running(Position *position, Snapshot snapshot)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId own = GetTopTransactionIdIfAny();
	TransactionId *xids = snapshot->takenDuringRecovery ? snapshot->subxip : snapshot->xip;
	int			count = snapshot->takenDuringRecovery ? snapshot->subxcnt : (int) snapshot->xcnt;
	int			kept = 0;

	position->xmax = widen(snapshot->xmax, next);
	position->running = palloc(sizeof(FullTransactionId) * (count + 1));
	position->nrunning = 0;
	if (snapshot->takenDuringRecovery && snapshot->suboverflowed)
	{
		position->xmax = widen(snapshot->xmin, next);
		return;
	}
	for (int i = 0; i < count; i++)
	{
		if (TransactionIdPrecedes(xids[i], snapshot->xmax))
			position->running[position->nrunning++] = widen(xids[i], next);
	}
	if (TransactionIdIsValid(own) && TransactionIdPrecedes(own, snapshot->xmax))
		position->running[position->nrunning++] = widen(own, next);

	qsort(position->running, position->nrunning, sizeof(FullTransactionId), compare_xids);
	for (int i = 0; i < position->nrunning; i++)
	{
		if (kept == 0 ||
			!FullTransactionIdEquals(position->running[i], position->running[kept - 1]))
			position->running[kept++] = position->running[i];
	}
	position->nrunning = kept;
}

/*
 * A snapshot's position for use in this session only: what it sees, and nothing
 * that tells histories apart.
 */
Position *
cc_position_local(Snapshot snapshot)
{
	Position   *position = palloc0(sizeof(Position));

	Assert(IsMVCCSnapshot(snapshot));
	take_running(position, snapshot);
	return position;
}

/*
 * The position of a snapshot.  "shorten": keep it fit for a NOTIFY payload by
 * lowering xmax, which only repeats some records; not for a floor, which must
 * count everything as visible that is.
 *
 * Waits until the WAL up to here is flushed.
 */
Position *
cc_position_from_snapshot(Snapshot snapshot, bool shorten)
{
	Position   *position = cc_position_local(snapshot);
	Identity	identity;

	cc_catalog_identity(&identity);
	memcpy(position->epoch, identity.epoch, CC_EPOCH_SIZE);
	position->dboid = MyDatabaseId;
	if (shorten && position->nrunning > CC_POSITION_RUNNING)
	{
		position->xmax = position->running[CC_POSITION_RUNNING];
		position->nrunning = CC_POSITION_RUNNING;
	}
	/* after the snapshot: the commit records of all that it shows are before it */
	position->lsn = server_lsn(&position->tli, true);
	if (!RecoveryInProgress() && GetFlushRecPtr(NULL) < position->lsn)
		XLogFlush(position->lsn);
	return position;
}

/* The seal of a position's text, by this database's secret. */
static void
make_seal(const char *text, int len, char *seal)
{
	Identity	identity;
	uint8		sum[PG_SHA256_DIGEST_LENGTH];
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);

	cc_catalog_identity(&identity);
	if (context == NULL ||
		pg_hmac_init(context, (const uint8 *) identity.secret, strlen(identity.secret)) < 0 ||
		pg_hmac_update(context, (const uint8 *) text, len) < 0 ||
		pg_hmac_final(context, sum, sizeof(sum)) < 0)
		elog(ERROR, "could not compute HMAC");
	pg_hmac_free(context);
	hex_encode((const char *) sum, SEAL_DIGITS / 2, seal);
	seal[SEAL_DIGITS] = '\0';
}

/*
 * The position as text, sealed.
 */
char *
cc_position_text(const Position *position)
{
	StringInfoData buf;
	char		seal[SEAL_DIGITS + 1];
	uint64		above = U64FromFullTransactionId(position->xmax);

	initStringInfo(&buf);
	appendStringInfo(&buf, "%c.%s.%x.%x.%" INT64_MODIFIER "x.%" INT64_MODIFIER "x",
					 POSITION_VERSION, position->epoch, position->dboid, position->tli,
					 (uint64) position->lsn, above);
	for (int i = position->nrunning - 1; i >= 0; i--)
	{
		uint64		xid = U64FromFullTransactionId(position->running[i]);

		appendStringInfo(&buf, ".%" INT64_MODIFIER "x", above - xid);
		above = xid;
	}
	make_seal(buf.data, buf.len, seal);
	appendStringInfo(&buf, "%c%s", SEAL_MARK, seal);
	return buf.data;
}

/* Take ".digits" off the text; false if it is not there, or not as we write it. */
static bool
take_number(const char **cursor, uint64 max, uint64 *number)
{
	const char *at = *cursor;
	int			digits = 0;

	*number = 0;
	if (*at++ != '.' || (at[0] == '0' && at[1] != '.' && at[1] != '\0'))
		return false;
	for (; *at != '\0' && *at != '.'; at++)
	{
		if (++digits > 16)
			return false;
		if (*at >= '0' && *at <= '9')
			*number = *number << 4 | (uint64) (*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			*number = *number << 4 | (uint64) (*at - 'a' + 10);
		else
			return false;
	}
	*cursor = at;
	return digits > 0 && *number <= max;
}

static bool
parse_running(Position *position, const char *cursor)
{
	uint64		above = U64FromFullTransactionId(position->xmax);
	uint64		delta;
	int			count = 0;

	for (const char *at = cursor; *at != '\0'; at++)
		count += (*at == '.');
	if (count > RUNNING_MAX)
		return false;
	position->nrunning = count;
	position->running = palloc(sizeof(FullTransactionId) * (count + 1));
	while (count > 0)
	{
		if (!take_number(&cursor, above, &delta) || delta == 0 ||
			above - delta < FirstNormalTransactionId)
			return false;
		above -= delta;
		position->running[--count] = FullTransactionIdFromU64(above);
	}
	return *cursor == '\0';
}

static bool
parse_fields(Position *position, const char *text)
{
	const char *cursor = text + 2 + (CC_EPOCH_SIZE - 1);
	uint64		number;

	if (strlen(text) < 2 + (CC_EPOCH_SIZE - 1) || text[0] != POSITION_VERSION || text[1] != '.' ||
		strspn(text + 2, "0123456789abcdef") != CC_EPOCH_SIZE - 1)
		return false;
	memcpy(position->epoch, text + 2, CC_EPOCH_SIZE - 1);
	if (!take_number(&cursor, PG_UINT32_MAX, &number))
		return false;
	position->dboid = (Oid) number;
	if (!take_number(&cursor, PG_UINT32_MAX, &number))
		return false;
	position->tli = (TimeLineID) number;
	if (!take_number(&cursor, PG_UINT64_MAX, &position->lsn))
		return false;
	if (!take_number(&cursor, PG_UINT64_MAX, &number) || number < FirstNormalTransactionId)
		return false;
	position->xmax = FullTransactionIdFromU64(number);
	return parse_running(position, cursor);
}

/*
 * Is the text sealed by us?  That of another epoch can not be told; it is good
 * for nothing but a reset anyway.
 */
static bool
is_genuine(const Position *position, const char *text, int len)
{
	Identity	identity;
	char		seal[SEAL_DIGITS + 1];

	cc_catalog_identity(&identity);
	if (strcmp(position->epoch, identity.epoch) != 0)
		return true;
	make_seal(text, len, seal);
	return strcmp(seal, text + len + 1) == 0;
}

/*
 * Read a position's text.  Malformed: ERROR, or NULL if "noerror", which is for
 * positions out of our own tables and takes the seal for granted.
 */
Position *
cc_position_parse(const char *text, bool noerror)
{
	Position   *position = palloc0(sizeof(Position));
	const char *mark = strchr(text, SEAL_MARK);
	int			len = mark ? (int) (mark - text) : 0;

	if (mark && strlen(mark + 1) == SEAL_DIGITS &&
		parse_fields(position, pnstrdup(text, len)) &&
		(noerror || is_genuine(position, text, len)))
		return position;
	if (!noerror)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid clinicache position: \"%s\"", text),
				 errhint("Pass a position as it was received, or NULL to start afresh.")));
	return NULL;
}

/*
 * Was what this transaction did visible at the position (if it committed at all)?
 */
bool
cc_position_sees(const Position *position, FullTransactionId xid)
{
	return FullTransactionIdPrecedes(xid, position->xmax) &&
		(position->nrunning == 0 ||
		 bsearch(&xid, position->running, position->nrunning,
				 sizeof(FullTransactionId), compare_xids) == NULL);
}

/*
 * Is all that is visible at "earlier" visible at "later" too?  Compares ids
 * only, and says no when in doubt.
 */
bool
cc_position_includes(const Position *later, const Position *earlier)
{
	uint64		from = U64FromFullTransactionId(later->xmax);
	uint64		to = U64FromFullTransactionId(earlier->xmax);

	if (from < to)
	{
		if (to - from > (uint64) earlier->nrunning)
			return false;
		for (uint64 xid = from; xid < to; xid++)
		{
			if (cc_position_sees(earlier, FullTransactionIdFromU64(xid)))
				return false;
		}
	}
	for (int i = 0; i < later->nrunning; i++)
	{
		if (cc_position_sees(earlier, later->running[i]))
			return false;
	}
	return true;
}

/* Same epoch, database and timeline as this server's, and not ahead of it? */
static bool
lsn_is_reached(const Position *position, bool begun)
{
	Identity	identity;
	TimeLineID	tli;
	XLogRecPtr	lsn;

	cc_catalog_identity(&identity);
	lsn = server_lsn(&tli, begun);
	return strcmp(position->epoch, identity.epoch) == 0 && position->dboid == MyDatabaseId &&
		position->tli == tli && position->lsn <= lsn;
}

/*
 * Does the position belong to this server's past?  False after a restore, a
 * copy, a failover, or a crash that lost what it had seen.
 */
bool
cc_position_history_ok(const Position *position)
{
	return lsn_is_reached(position, true) &&
		FullTransactionIdPrecedesOrEquals(position->xmax, ReadNextFullTransactionId());
}

/*
 * position() -> text
 *		The position of the calling statement's snapshot.
 */
Datum
clinicache_position(PG_FUNCTION_ARGS)
{
	Position   *position = cc_position_from_snapshot(GetActiveSnapshot(), true);

	PG_RETURN_TEXT_P(cstring_to_text(cc_position_text(position)));
}

/*
 * reached("position" text) -> boolean
 *		Does this server, a standby perhaps, show all that the position saw?
 *
 * WAL locations answer that without transaction ids.  But in REPEATABLE READ
 * the caller goes on reading from a snapshot that may be older.
 */
Datum
clinicache_reached(PG_FUNCTION_ARGS)
{
	Position   *position = cc_position_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	bool		result = lsn_is_reached(position, false);

	if (result && IsolationUsesXactSnapshot())
		result = cc_position_includes(cc_position_from_snapshot(GetActiveSnapshot(), false),
									  position);
	PG_RETURN_BOOL(result);
}
