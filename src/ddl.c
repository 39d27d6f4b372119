/*-------------------------------------------------------------------------
 *
 * ddl.c
 *		What the event triggers (sql/parts/58-ddl.sql) can not see from SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "tcop/deparse_utility.h"
#include "tracker.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define Natts_step 6

PG_FUNCTION_INFO_V1(clinicache_ddl_steps);
PG_FUNCTION_INFO_V1(clinicache_dropped_parents);
PG_FUNCTION_INFO_V1(clinicache_dropped_config);

static void
put_step(ReturnSetInfo *rows, const char *kind, Oid object, int attnum, Oid other,
		 const char *old_name, const char *new_name)
{
	Datum		values[Natts_step] = {0};
	bool		nulls[Natts_step] = {false};

	values[0] = CStringGetTextDatum(kind);
	values[1] = ObjectIdGetDatum(object);
	values[2] = Int32GetDatum(attnum);
	values[3] = ObjectIdGetDatum(other);
	nulls[4] = old_name == NULL;
	if (old_name)
		values[4] = CStringGetTextDatum(old_name);
	nulls[5] = new_name == NULL;
	if (new_name)
		values[5] = CStringGetTextDatum(new_name);
	tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
}

static void
put_rename(ReturnSetInfo *rows, ObjectAddress address, const RenameStmt *rename)
{
	if (rename->renameType == OBJECT_TABLE)
		put_step(rows, "rename table", address.objectId, 0, InvalidOid,
				 rename->relation->relname, rename->newname);
	else if (rename->renameType == OBJECT_SCHEMA)
		put_step(rows, "rename schema", address.objectId, 0, InvalidOid,
				 rename->subname, rename->newname);
	else if (rename->renameType == OBJECT_COLUMN && address.objectSubId > 0)
		put_step(rows, "rename column", address.objectId, address.objectSubId, InvalidOid,
				 rename->subname, rename->newname);
}

static void
put_simple(ReturnSetInfo *rows, const CollectedCommand *command)
{
	ObjectAddress address = command->d.simple.address;

	if (IsA(command->parsetree, CreateStmt))
		put_step(rows, "create", address.objectId, 0, InvalidOid, NULL, NULL);
	else if (IsA(command->parsetree, RenameStmt))
		put_rename(rows, address, (RenameStmt *) command->parsetree);
	else if (IsA(command->parsetree, AlterObjectSchemaStmt) &&
			 ((AlterObjectSchemaStmt *) command->parsetree)->objectType == OBJECT_TABLE)
		put_step(rows, "set schema", address.objectId, 0, InvalidOid, NULL, NULL);
	else if (IsA(command->parsetree, AlterEnumStmt) &&
			 ((AlterEnumStmt *) command->parsetree)->oldVal != NULL)
		put_step(rows, "rename value", address.objectId, 0, InvalidOid,
				 ((AlterEnumStmt *) command->parsetree)->oldVal,
				 ((AlterEnumStmt *) command->parsetree)->newVal);
}

/* Has this transaction deleted the row of a catalog? */
static bool
deleted_by_me(HeapTuple tuple)
{
	return !(tuple->t_data->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple->t_data));
}

/* Is it this transaction's, and not deleted? */
static bool
made_by_me(HeapTuple tuple)
{
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)) &&
		!deleted_by_me(tuple);
}

static bool
is_named(Oid relid, const RangeVar *name)
{
	char	   *relname = get_rel_name(relid);

	return relname != NULL && strcmp(relname, name->relname) == 0 &&
		(name->schemaname == NULL ||
		 get_rel_namespace(relid) == LookupExplicitNamespace(name->schemaname, true));
}

/*
 * The partition that was attached or detached.  The subcommand has but its name,
 * to be looked up in the caller's search_path, which is not ours: pg_inherits
 * tells.  Of two of that name, both: a step too many does no harm.
 */
static void
put_partition(ReturnSetInfo *rows, const char *kind, Oid parent, const RangeVar *name, bool gone)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	List	   *done = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(parent));
	scan = systable_beginscan(inherits, InheritsParentIndexId, true,
							  gone ? SnapshotAny : NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			child = ((Form_pg_inherits) GETSTRUCT(tuple))->inhrelid;

		if ((gone && !deleted_by_me(tuple)) || !is_named(child, name) ||
			list_member_oid(done, child))
			continue;
		put_step(rows, kind, parent, 0, child, NULL, NULL);
		done = lappend_oid(done, child);
	}
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
}

/*
 * Triggers were disabled or enabled: was ours among them?  Where it is off now,
 * changes pass unseen; where it was off, they may have.
 */
static void
put_firing(ReturnSetInfo *rows, Oid relid)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	bool		off = false;
	bool		was_off = false;
	bool		changed = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		fires = form->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
			form->tgenabled == TRIGGER_FIRES_ALWAYS;

		if (!cc_catalog_is_function(form->tgfoid, "row_change"))
			continue;
		if (deleted_by_me(tuple))
		{
			changed = true;
			was_off |= !fires;
		}
		else if (made_by_me(tuple))
			off |= !fires;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (changed && (off || was_off))
		put_step(rows, off ? "triggers off" : "triggers on", relid, 0, InvalidOid, NULL, NULL);
}

static void
put_subcommand(ReturnSetInfo *rows, Oid relid, const CollectedATSubcmd *sub)
{
	AlterTableCmd *command = castNode(AlterTableCmd, sub->parsetree);
	Oid			other = sub->address.objectId;

	switch (command->subtype)
	{
		case AT_AlterColumnType:
			/* of a child, where the parent's is altered */
			put_step(rows, "alter type", OidIsValid(other) ? other : relid,
					 sub->address.objectSubId, InvalidOid, NULL, NULL);
			break;
		case AT_AttachPartition:
			put_partition(rows, "attach", relid, castNode(PartitionCmd, command->def)->name, false);
			break;
		case AT_DetachPartition:
			put_partition(rows, castNode(PartitionCmd, command->def)->concurrent ?
						  "detach concurrently" : "detach", relid,
						  castNode(PartitionCmd, command->def)->name, true);
			break;
		case AT_DetachPartitionFinalize:
			put_partition(rows, "detach concurrently", relid,
						  castNode(PartitionCmd, command->def)->name, true);
			break;
		case AT_AddInherit:
			put_step(rows, "inherit", other, 0, relid, NULL, NULL);
			break;
		case AT_DropInherit:
			put_step(rows, "no inherit", other, 0, relid, NULL, NULL);
			break;
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
		case AT_DisableTrig:
		case AT_EnableTrigAll:
		case AT_DisableTrigAll:
		case AT_EnableTrigUser:
		case AT_DisableTrigUser:
			put_firing(rows, relid);
			break;
		default:
			break;
	}
}

/*
 * ddl_steps(command pg_ddl_command)
 *		-> table (kind text, object oid, attnum int, other oid, old_name text, new_name text)
 *		What of a statement may concern a tracked table.  "object" is the table
 *		(of two, the parent; of "rename value" the type), "other" the child.
 */
Datum
clinicache_ddl_steps(PG_FUNCTION_ARGS)
{
	CollectedCommand *command = (CollectedCommand *) PG_GETARG_POINTER(0);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (command->type == SCT_Simple && command->parsetree != NULL)
		put_simple(rows, command);
	else if (command->type == SCT_AlterTable &&
			 command->d.alterTable.classId == RelationRelationId)
		foreach(cell, command->d.alterTable.subcmds)
			put_subcommand(rows, command->d.alterTable.objectId, lfirst(cell));
	return (Datum) 0;
}

/*
 * dropped_parents(relation oid) -> oid[]
 *		What a table was a partition or an inheritance child of before this
 *		transaction dropped it: the deleted rows of pg_inherits tell.
 */
Datum
clinicache_dropped_parents(PG_FUNCTION_ARGS)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	Datum		parents[64];
	int			nparents = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(PG_GETARG_OID(0)));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, SnapshotAny, 1, &key);
	while (nparents < lengthof(parents) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (deleted_by_me(tuple))
			parents[nparents++] = ObjectIdGetDatum(((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	}
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	PG_RETURN_ARRAYTYPE_P(construct_array(parents, nparents, OIDOID, sizeof(Oid), true,
										  TYPALIGN_INT));
}

/* Was the row removed for good, not replaced by a newer one? */
static bool
is_last(HeapTuple tuple)
{
	return deleted_by_me(tuple) && ItemPointerEquals(&tuple->t_self, &tuple->t_data->t_ctid);
}

/* Had a table that this transaction dropped an owner who is trusted with tags? */
static bool
had_trusted_owner(Oid relid)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		trusted = false;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, ClassOidIndexId, true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (is_last(tuple))
			trusted = cc_tracker_trusts(((Form_pg_class) GETSTRUCT(tuple))->relowner);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return trusted;
}

/*
 * dropped_config(relation oid) -> jsonb
 *		How a table was tracked that this transaction dropped; null: it was not, or
 *		by an owner who is not trusted with tags.
 */
Datum
clinicache_dropped_config(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	char	   *config = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, SnapshotAny, 1, &key);
	while (config == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		isnull;
		Datum		args;

		if (!is_last(tuple) || form->tgnargs != 1 ||
			!cc_catalog_is_function(form->tgfoid, "row_change"))
			continue;
		args = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(rel), &isnull);
		/* a NUL-terminated string */
		if (!isnull)
			config = pstrdup(VARDATA_ANY(DatumGetByteaPP(args)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (config == NULL || !had_trusted_owner(relid))
		PG_RETURN_NULL();
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(config));
}
