/*-------------------------------------------------------------------------
 *
 * row_trigger.c
 *		The triggers, as the executor calls them.
 *
 * row_change(config)		AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW
 * parent_change(config)	the same, on tables that look-ups lead through
 * truncate_change(config)	AFTER TRUNCATE FOR EACH STATEMENT
 *
 * They add to this transaction's pending set and write nothing themselves, but for
 * a parent's note that its rows lead elsewhere, parent_move.c.
 *
 * local_guard()			BEFORE INSERT OR UPDATE OR DELETE FOR EACH ROW,
 *							on our own tables
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "counter.h"
#include "counter_source.h"
#include "executor/tuptable.h"
#include "flush.h"
#include "replication/logicalworker.h"
#include "tracker.h"
#include "utils/datum.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(clinicache_row_change);
PG_FUNCTION_INFO_V1(clinicache_parent_change);
PG_FUNCTION_INFO_V1(clinicache_truncate_change);
PG_FUNCTION_INFO_V1(clinicache_local_guard);

static void
protocol_error(const char *function, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"%s\" %s", function, what),
			 errhint("Let clinicache.track() make the trigger.")));
}

/*
 * The configuration can not be used.  By clinicache.on_error the change fails,
 * or passes with everybody told to drop everything.
 */
static void
handle_broken(Tracker *tracker, Relation rel, PendingSet *set)
{
	static TimestampTz warned = 0;
	bool		fail = cc_on_error == ON_ERROR_ERROR;

	if (fail || warned != GetCurrentStatementStartTimestamp())
		ereport(fail ? ERROR : WARNING,
				(errcode(tracker->broken_code),
				 errmsg("clinicache can not track changes of table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail_internal("%s", tracker->broken),
				 errhint("%s the table again with clinicache.track().",
						 fail ? "Track" : "Subscribers are told to drop everything; track")));
	warned = GetCurrentStatementStartTimestamp();
	cc_pending_add_prefix(set, cc_pending_tenant(set, NULL, 0),
						  cc_pending_profile(CC_PROFILE_DEFAULT, CC_PROFILE_DEFAULT_SECONDS),
						  "", 0);
	cc_counter_distrust(tracker->distrusted);
	cc_flush_late_deltas();
}

/* Into the buffer while that will do, else into the pending set. */
static void
emit_rows(Tracker *tracker, TupleDesc desc, RowValues old, RowValues new)
{
	if (!cc_flush_buffers() ||
		!cc_emit_buffered(tracker, desc, old.values, old.nulls, new.values, new.nulls))
		cc_emit_change(tracker, cc_flush_pending(), desc,
					   old.values, old.nulls, new.values, new.nulls);
}

static void
emit_change(Tracker *tracker, TupleDesc desc, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	RowValues	old = {NULL, NULL};
	RowValues	new = {NULL, NULL};
	RowValues	earlier;

	if (old_slot)
		old = (RowValues) {old_slot->tts_values, old_slot->tts_isnull};
	if (new_slot)
		new = (RowValues) {new_slot->tts_values, new_slot->tts_isnull};
	if (tracker->nlookups > 0 &&
		!(old_slot && new_slot && !cc_emit_differs(tracker, desc, old.values, old.nulls,
												   new.values, new.nulls)))
	{
		if (new_slot)
		{
			new = cc_lookup_extend(tracker, new.values, new.nulls, new_slot->tts_nvalid);
			cc_lookup_new(tracker, &new);
		}
		if (old_slot)
		{
			old = cc_lookup_extend(tracker, old.values, old.nulls, old_slot->tts_nvalid);
			if (cc_lookup_old(tracker, &old, &earlier))
				emit_rows(tracker, desc, earlier, new);
		}
	}
	/* last: counters ask which columns this one found changed */
	emit_rows(tracker, desc, old, new);
	if (tracker->counting)
	{
		cc_counter_change(tracker, old.values, old.nulls, new.values, new.nulls);
		cc_flush_late_deltas();
	}
}

/*
 * A row of a parent has a new key.  Where a foreign key is declared no row refers to it
 * yet, unless it comes in the place of one that had the key before this transaction:
 * that is like an update.  (Rows that the key takes along tell of themselves.)  NULL:
 * the key is new.
 */
static TupleTableSlot *
find_replaced(Tracker *tracker, Relation rel, TupleTableSlot *new_slot)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		isnull;
	Datum		key = slot_getattr(new_slot, tracker->key, &isnull);

	if (isnull || !cc_lookup_row_before(rel, tracker->key, key, slot))
	{
		ExecDropSingleTupleTableSlot(slot);
		return NULL;
	}
	slot_getallattrs(slot);
	slot_getallattrs(new_slot);
	return slot;
}

static bool
has_new_key(const Tracker *tracker, TupleDesc desc, TupleTableSlot *old_slot,
			TupleTableSlot *new_slot)
{
	Form_pg_attribute att = TupleDescAttr(desc, tracker->key - 1);
	bool		old_null;
	bool		new_null;
	Datum		old_key;
	Datum		new_key;

	if (old_slot == NULL)
		return true;
	old_key = slot_getattr(old_slot, tracker->key, &old_null);
	new_key = slot_getattr(new_slot, tracker->key, &new_null);
	return old_null != new_null ||
		(!old_null && !datum_image_eq(old_key, new_key, att->attbyval, att->attlen));
}

/*
 * What both row triggers do; "function" is the name of the one.  False: nothing that
 * the tracker's tags are made of has changed (or, of a tracker whose tags do not all
 * watch columns, nobody knows).
 */
static bool
row_changed(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	Tracker    *tracker;
	TupleTableSlot *old_slot = NULL;
	TupleTableSlot *new_slot = NULL;
	TupleTableSlot *replaced = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo))
		protocol_error(function, "was not called by trigger manager");
	if (!TRIGGER_FIRED_AFTER(trigdata->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		protocol_error(function, "has to be fired AFTER, FOR EACH ROW");

	rel = trigdata->tg_relation;
	tracker = cc_tracker_get(rel, trigdata->tg_trigger);
	if (unlikely(tracker->broken != NULL))
	{
		handle_broken(tracker, rel, cc_flush_pending());
		return false;
	}

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		new_slot = trigdata->tg_trigslot;
	else if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		old_slot = trigdata->tg_trigslot;
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		old_slot = trigdata->tg_trigslot;
		new_slot = trigdata->tg_newslot;
		slot_getallattrs(old_slot);
		slot_getallattrs(new_slot);
	}
	else
		protocol_error(function, "was fired by an event other than INSERT, UPDATE, DELETE");
	if (old_slot)
		slot_getsomeattrs(old_slot, tracker->max_attno);
	if (new_slot)
		slot_getsomeattrs(new_slot, tracker->max_attno);

	if (tracker->declared && has_new_key(tracker, RelationGetDescr(rel), old_slot, new_slot) &&
		(old_slot = replaced = find_replaced(tracker, rel, new_slot)) == NULL)
		return false;
	emit_change(tracker, RelationGetDescr(rel), old_slot, new_slot);
	if (replaced)
		ExecDropSingleTupleTableSlot(replaced);
	return old_slot == NULL || new_slot == NULL || cc_emit_fired(tracker);
}

/*
 * row_change() -> trigger
 */
Datum
clinicache_row_change(PG_FUNCTION_ARGS)
{
	(void) row_changed(fcinfo, "row_change");
	return PointerGetDatum(NULL);
}

/* A table was emptied; false: its configuration can not be used. */
static bool
emptied(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Tracker    *tracker;

	if (!CALLED_AS_TRIGGER(fcinfo))
		protocol_error(function, "was not called by trigger manager");
	if (!TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		protocol_error(function, "has to be fired AFTER TRUNCATE, FOR EACH STATEMENT");

	tracker = cc_tracker_get(trigdata->tg_relation, trigdata->tg_trigger);
	if (tracker->broken)
		handle_broken(tracker, trigdata->tg_relation, cc_flush_pending());
	else
		cc_emit_all_prefixes(tracker, cc_flush_pending());
	return !tracker->broken;
}

/*
 * parent_change() -> trigger
 *		Of tables that look-ups of others lead through: what changes for those
 *		others when a row here leads elsewhere.  Its configuration names no column
 *		but those, hence it does nothing at most changes.
 */
Datum
clinicache_parent_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (CALLED_AS_TRIGGER(fcinfo) && TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		emptied(fcinfo, "parent_change");
	else if (!row_changed(fcinfo, "parent_change"))
		return PointerGetDatum(NULL);
	cc_move_note();
	return PointerGetDatum(NULL);
}

/*
 * truncate_change() -> trigger
 */
Datum
clinicache_truncate_change(PG_FUNCTION_ARGS)
{
	if (emptied(fcinfo, "truncate_change"))
		cc_sources_truncated(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

/*
 * local_guard() -> trigger
 *		Lets everybody's changes pass but those of logical replication's workers.
 */
Datum
clinicache_local_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		protocol_error("local_guard", "has to be fired BEFORE, FOR EACH ROW");
	if (IsLogicalWorker())
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
						   trigdata->tg_newtuple : trigdata->tg_trigtuple);
}
