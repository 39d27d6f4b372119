/*-------------------------------------------------------------------------
 *
 * catalog.c
 *		The extension's own tables: finding, reading and writing them from C.
 *
 * They are read and written below the executor, for three reasons: whoever
 * commits a change or reads changes() needs no privilege on them; it works in
 * transaction callbacks, where there is no active snapshot; and rows written so
 * can be kept out of logical decoding, or a FOR ALL TABLES publication would
 * ship positions and transaction ids to a server where they mean nothing.
 *
 * Only the OIDs of the log's slots are cached (they are needed at each commit);
 * the relcache callback marks them unknown and does nothing else, since it may
 * run in the middle of a look-up.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "catalog.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/sequence.h"
#include "compat.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define Anum_identity_epoch 1
#define Anum_identity_created 2
#define Anum_identity_secret 3

struct RowWriter
{
	Relation	rel;			/* the caller's */
	TupleTableSlot *slot;
	int			natts;			/* that the caller gives */
	int			nindexes;
	Relation   *indexes;
	IndexInfo **infos;
};

/* known while "slots_known" is what "slot_invalidations" was before looking */
static Oid	slot_tables[CC_LOG_SLOTS];
static uint64 slot_invalidations = 1;
static uint64 slots_known = 0;

static void
slots_relcache_callback(Datum arg, Oid relid)
{
	for (int i = 0; i < CC_LOG_SLOTS; i++)
		if (slot_tables[i] == relid || !OidIsValid(relid))
		{
			slot_invalidations++;
			break;
		}
}

/* Register the callback; called once per backend. */
void
cc_catalog_init(void)
{
	CacheRegisterRelcacheCallback(slots_relcache_callback, (Datum) 0);
}

/*
 * OID of one of our tables.  ERROR if the extension is not (or no longer)
 * installed in this database.
 */
Oid
cc_catalog_relid(const char *table)
{
	Oid			namespace = get_namespace_oid(CC_SCHEMA, true);
	Oid			relid = OidIsValid(namespace) ?
		get_relname_relid(table, namespace) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" does not exist", CC_SCHEMA, table),
				 errhint("Install the extension with CREATE EXTENSION %s.", CC_EXTENSION)));
	return relid;
}

/* Is this our function of that name, rather than somebody's namesake? */
bool
cc_catalog_is_function(Oid function, const char *name)
{
	char	   *own = get_func_name(function);

	return own != NULL && strcmp(own, name) == 0 &&
		get_func_namespace(function) == get_namespace_oid(CC_SCHEMA, true);
}

/*
 * What runs as another user must not find the caller's functions.  The settings end
 * with AtEOXact_GUC(false, <the result>), or with the (sub)transaction on error.
 */
int
cc_catalog_fix_search_path(void)
{
	int			nest = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

/* Owner of our schema; InvalidOid if there is none. */
Oid
cc_catalog_owner(void)
{
	Oid			namespace = get_namespace_oid(CC_SCHEMA, true);
	Oid			owner = InvalidOid;
	HeapTuple	tuple;

	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(namespace));
	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* Owner of a table; InvalidOid if there is none. */
Oid
cc_catalog_owner_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/*
 * Copy the OIDs of the log's CC_LOG_SLOTS tables.  False: the extension is
 * gone, perhaps dropped by this very transaction.  ERROR if it is here and its
 * tables are not: going on would lose changes without a word.
 */
bool
cc_catalog_slots(Oid *tables)
{
	uint64		invalidations = slot_invalidations;
	Oid			namespace;

	if (slots_known == invalidations)
	{
		memcpy(tables, slot_tables, sizeof(slot_tables));
		return true;
	}
	if (!OidIsValid(get_extension_oid(CC_EXTENSION, true)))
		return false;
	namespace = get_namespace_oid(CC_SCHEMA, false);
	for (int i = 0; i < CC_LOG_SLOTS; i++)
	{
		char		name[NAMEDATALEN];

		snprintf(name, sizeof(name), CC_TABLE_LOG "_%d", i);
		tables[i] = get_relname_relid(name, namespace);
		if (!OidIsValid(tables[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"%s.%s\" does not exist", CC_SCHEMA, name),
					 errhint("It is a part of the invalidation log. Restore its name, or drop and "
							 "create the extension.")));
	}
	memcpy(slot_tables, tables, sizeof(slot_tables));
	slots_known = invalidations;
	return true;
}

/* Look the slots up anew next time: one of them turned out to be gone. */
void
cc_catalog_forget_slots(void)
{
	slot_invalidations++;
}

static void
copy_text(HeapTuple tuple, TupleDesc desc, int attnum, char *target, Size size)
{
	bool		isnull;

	text_to_cstring_buffer(DatumGetTextPP(heap_getattr(tuple, attnum, desc, &isnull)),
						   target, size);
}

/* Read the newest committed row of clinicache.identity; false: there is none. */
static bool
read_identity(Relation rel, Identity *identity)
{
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	TimestampTz newest = DT_NOBEGIN;
	HeapTuple	tuple;

	identity->epoch[0] = '\0';
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		TimestampTz created;

		created = DatumGetTimestampTz(heap_getattr(tuple, Anum_identity_created, desc, &isnull));
		if (identity->epoch[0] != '\0' && created <= newest)
			continue;
		newest = created;
		copy_text(tuple, desc, Anum_identity_epoch, identity->epoch, CC_EPOCH_SIZE);
		copy_text(tuple, desc, Anum_identity_secret, identity->secret, CC_SECRET_SIZE);
	}
	systable_endscan(scan);
	return identity->epoch[0] != '\0';
}

/*
 * The epoch in force: the row's, and the server's own number in it.  pg_upgrade
 * carries the row over to another server, while the old one may go on by itself.
 */
static void
mix_in_server(Identity *identity)
{
	uint64		epoch = strtou64(identity->epoch, NULL, 16) ^ GetSystemIdentifier();

	snprintf(identity->epoch, CC_EPOCH_SIZE, "%016" INT64_MODIFIER "x", epoch);
}

/*
 * Read who we are, by now: no snapshot is needed, which could not be taken in a
 * parallel query.  AccessShareLock, released.
 */
void
cc_catalog_identity(Identity *identity)
{
	Relation	rel = table_open(cc_catalog_relid(CC_TABLE_IDENTITY), AccessShareLock);
	bool		found = read_identity(rel, identity);

	/* should a new epoch be committed while we look, both rows may escape us */
	for (int i = 0; !found && i < 3; i++)
		found = read_identity(rel, identity);
	table_close(rel, AccessShareLock);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" is empty", CC_SCHEMA, CC_TABLE_IDENTITY),
				 errhint("Drop and create the extension again.")));
	mix_in_server(identity);
}

/* Upkeep writes; a standby gets its results by replay.  ERROR there. */
void
cc_catalog_require_primary(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("clinicache upkeep cannot run during recovery"),
				 errhint("Call clinicache.maintain() on the primary server.")));
}

/*
 * Columns are known by number here.  While the library is of another version
 * than the tables, between installing packages and ALTER EXTENSION, that would
 * read one thing for another: ERROR instead.  "natts" columns, and perhaps some
 * that somebody added and dropped.
 */
void
cc_catalog_check_columns(Relation rel, int natts)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			live = desc->natts;

	while (live > natts && TupleDescAttr(desc, live - 1)->attisdropped)
		live--;
	if (live != natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" has %d columns where this version of clinicache has %d",
						CC_SCHEMA, RelationGetRelationName(rel), live, natts),
				 errhint("Run ALTER EXTENSION %s UPDATE.", CC_EXTENSION)));
}

static bool
is_key_index(Relation index, int ncolumns)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisvalid || form->indnatts != ncolumns || index->rd_rel->relam != BTREE_AM_OID ||
		RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < ncolumns; i++)
		if (form->indkey.values[i] != i + 1)
			return false;
	return true;
}

/*
 * Open the valid btree index on the table's first columns.  Looked up anew each
 * time, because REINDEX CONCURRENTLY replaces it.
 */
Relation
cc_catalog_open_index(Relation rel, int ncolumns, LOCKMODE lockmode)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), lockmode);

		if (is_key_index(index, ncolumns))
		{
			list_free(indexes);
			return index;
		}
		index_close(index, lockmode);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" has no usable index on its first column or columns",
					RelationGetRelationName(rel)),
			 errhint("Restore it with REINDEX, or drop and create the extension again.")));
	return NULL;				/* not reached */
}

/*
 * Start reading a table by its key, under AccessShareLock.  The snapshot stays
 * the caller's and must be registered.
 */
void
cc_reader_begin(TableReader *reader, const char *table, Snapshot snapshot)
{
	reader->rel = table_open(cc_catalog_relid(table), AccessShareLock);
	reader->index = cc_catalog_open_index(reader->rel, 1, AccessShareLock);
	reader->snapshot = snapshot;
	reader->scan = systable_beginscan_ordered(reader->rel, reader->index, snapshot, 0, NULL);
}

/* The next row, which is good until the next call, or NULL. */
HeapTuple
cc_reader_next(TableReader *reader, ScanDirection direction)
{
	return systable_getnext_ordered(reader->scan, direction);
}

/* Finish reading and release the locks. */
void
cc_reader_end(TableReader *reader)
{
	systable_endscan_ordered(reader->scan);
	index_close(reader->index, AccessShareLock);
	table_close(reader->rel, AccessShareLock);
}

/*
 * Prepare to insert rows of "natts" columns into a table that the caller has
 * opened under RowExclusiveLock.  All indexes that are ready are kept, those of
 * a REINDEX CONCURRENTLY in progress too.  Allocates in CurrentMemoryContext.
 */
RowWriter *
cc_writer_begin(Relation rel, int natts)
{
	RowWriter  *writer = palloc(sizeof(RowWriter));
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	cc_catalog_check_columns(rel, natts);
	writer->rel = rel;
	writer->natts = natts;
	writer->slot = table_slot_create(rel, NULL);
	writer->nindexes = 0;
	writer->indexes = palloc(sizeof(Relation) * (list_length(indexes) + 1));
	writer->infos = palloc(sizeof(IndexInfo *) * (list_length(indexes) + 1));
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);

		if (!info->ii_ReadyForInserts)
		{
			index_close(index, RowExclusiveLock);
			continue;
		}
		if (info->ii_Expressions != NIL || info->ii_Predicate != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("index \"%s\" on table \"%s\" is not supported",
							RelationGetRelationName(index), RelationGetRelationName(rel)),
					 errhint("Drop it; clinicache maintains only plain indexes of its tables.")));
		writer->indexes[writer->nindexes] = index;
		writer->infos[writer->nindexes++] = info;
	}
	list_free(indexes);
	return writer;
}

/* Insert one row, given one value and one null flag per column. */
void
cc_writer_insert(RowWriter *writer, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = writer->slot;
	Datum		keys[INDEX_MAX_KEYS];
	bool		key_nulls[INDEX_MAX_KEYS];

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * writer->natts);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * writer->natts);
	for (int i = writer->natts; i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] = true;
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(writer->rel, slot, GetCurrentCommandId(true),
					   TABLE_INSERT_NO_LOGICAL, NULL);
	for (int i = 0; i < writer->nindexes; i++)
	{
		Relation	index = writer->indexes[i];

		FormIndexDatum(writer->infos[i], slot, NULL, keys, key_nulls);
		index_insert(index, keys, key_nulls, &slot->tts_tid, writer->rel,
					 index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
					 false, writer->infos[i]);
	}
}

/* Finish; the locks stay until the transaction ends. */
void
cc_writer_end(RowWriter *writer)
{
	for (int i = 0; i < writer->nindexes; i++)
		index_close(writer->indexes[i], NoLock);
	ExecDropSingleTupleTableSlot(writer->slot);
}

/*
 * Insert one row into a table whose first column is an identity, of type bigint or
 * int; values[0] is filled in here.  Returns the number.
 */
int64
cc_catalog_insert_numbered(const char *table, int natts, Datum *values, bool *nulls)
{
	Relation	rel = table_open(cc_catalog_relid(table), RowExclusiveLock);
	Oid			sequence = cc_identity_sequence(rel, 1);
	RowWriter  *writer = cc_writer_begin(rel, natts);
	int64		number = nextval_internal(sequence, false);

	values[0] = TupleDescAttr(RelationGetDescr(rel), 0)->atttypid == INT4OID ?
		Int32GetDatum((int32) number) : Int64GetDatum(number);
	nulls[0] = false;
	cc_writer_insert(writer, values, nulls);
	cc_writer_end(writer);
	table_close(rel, NoLock);
	return number;
}
