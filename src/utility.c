/*-------------------------------------------------------------------------
 *
 * utility.c
 *		Statements that concern the workers.
 *
 *	  COMMIT PREPARED				its records wake the worker: no callback of ours
 *									runs in the transaction that they belong to
 *	  DROP DATABASE, CREATE DATABASE ... TEMPLATE, ALTER DATABASE ... RENAME,
 *	  ALTER DATABASE ... SET TABLESPACE
 *									need the database for themselves: its worker
 *									goes first, and none comes until they are done
 *	  CREATE DATABASE, CREATE EXTENSION
 *									the launcher hears of them, after the commit
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "worker.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "shared.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/syscache.h"

static ProcessUtility_hook_type previous_utility = NULL;

/* to be told when this transaction commits */
static bool extension_created = false;
static bool database_created = false;

static const char *
string_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* The database that a statement needs for itself; InvalidOid: none, or it does not exist. */
static Oid
wanted_database(Node *statement)
{
	const char *name = NULL;

	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, CreatedbStmt))
	{
		name = string_option(((CreatedbStmt *) statement)->options, "template");
		if (name == NULL)
			name = "template1";
	}
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) statement)->subname;
	else if (IsA(statement, AlterDatabaseStmt) &&
			 string_option(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL)
		name = ((AlterDatabaseStmt *) statement)->dbname;
	return name ? get_database_oid(name, true) : InvalidOid;
}

static bool
is_template(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return result;
}

/* PostgreSQL's own function is not to be had in older minor versions of 15. */
static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		result;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Would PostgreSQL refuse the statement anyway?  Then the worker stays, or any
 * role could stop it.
 */
static bool
may_have(Node *statement, Oid dboid)
{
	bool		owner = cc_database_ownercheck(dboid, GetUserId());

	if (IsA(statement, RenameStmt))
		return owner && may_create_databases();
	if (IsTransactionBlock())
		return false;
	if (IsA(statement, CreatedbStmt))
		return may_create_databases() && (owner || is_template(dboid));
	return owner;
}

static void
unblock(int code, Datum arg)
{
	cc_shared_unblock(DatumGetObjectId(arg), false);
}

static void
call_next(PlannedStmt *statement, const char *query, bool read_only,
		  ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
		  DestReceiver *dest, QueryCompletion *completion)
{
	if (previous_utility)
		previous_utility(statement, query, read_only, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(statement, query, read_only, context, params, environment, dest,
								completion);
}

static void
process_utility(PlannedStmt *statement, const char *query, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	/* looked at before: a statement that rolls back may free itself */
	Node	   *node = statement->utilityStmt;
	bool		drops = IsA(node, DropdbStmt);
	bool		creates = IsA(node, CreatedbStmt);
	bool		commits = IsA(node, TransactionStmt) &&
		((TransactionStmt *) node)->kind == TRANS_STMT_COMMIT_PREPARED;
	bool		extends = IsA(node, CreateExtensionStmt) &&
		strcmp(((CreateExtensionStmt *) node)->extname, CC_EXTENSION) == 0;
	Oid			dboid = InvalidOid;

	/* after ROLLBACK and the like there may be no transaction to look up names in */
	if (IsTransactionState() && !IsA(node, TransactionStmt))
		dboid = wanted_database(node);
	if (OidIsValid(dboid) && dboid != MyDatabaseId && may_have(node, dboid) &&
		cc_shared_block(dboid))
	{
		/* a session that is terminated unblocks too */
		PG_ENSURE_ERROR_CLEANUP(unblock, ObjectIdGetDatum(dboid));
		{
			cc_shared_end_worker(dboid);
			call_next(statement, query, read_only, context, params, environment, dest, completion);
		}
		PG_END_ENSURE_ERROR_CLEANUP(unblock, ObjectIdGetDatum(dboid));
		cc_shared_unblock(dboid, drops);
	}
	else
		call_next(statement, query, read_only, context, params, environment, dest, completion);

	if (commits)
		cc_shared_wake();
	database_created |= creates;
	extension_created |= extends;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (!extension_created && !database_created)
		return;
	if (event == XACT_EVENT_COMMIT && extension_created)
		cc_shared_want_worker(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT && database_created)
		cc_shared_rescan();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		extension_created = database_created = false;
}

/*
 * Install the hook.  Called once, from _PG_init, where there can be workers.
 */
void
cc_utility_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(xact_callback, NULL);
}
