/*-------------------------------------------------------------------------
 *
 * catalog.h
 *		The extension's own tables: finding, reading and writing them from C.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_CATALOG_H
#define CLINICACHE_CATALOG_H

#include "clinicache.h"

#include "access/genam.h"
#include "access/htup.h"
#include "access/sdir.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* 16 hex digits and the zero */
#define CC_EPOCH_SIZE 17
#define CC_SECRET_SIZE 33

/* the row of clinicache.identity */
typedef struct Identity
{
	char		epoch[CC_EPOCH_SIZE];	/* of this database's history */
	char		secret[CC_SECRET_SIZE]; /* seals positions, see position.c */
} Identity;

extern void cc_catalog_init(void);
extern Oid	cc_catalog_relid(const char *table);
extern int	cc_catalog_fix_search_path(void);
extern Oid	cc_catalog_owner(void);
extern Oid	cc_catalog_owner_of(Oid relid);
extern bool cc_catalog_is_function(Oid function, const char *name);
extern bool cc_catalog_slots(Oid *tables);
extern void cc_catalog_forget_slots(void);
extern void cc_catalog_identity(Identity *identity);
extern void cc_catalog_check_columns(Relation rel, int natts);
extern Relation cc_catalog_open_index(Relation rel, int ncolumns, LOCKMODE lockmode);
extern void cc_catalog_require_primary(void);

/* reads one of our tables in the order of its first column */
typedef struct TableReader
{
	Relation	rel;
	Relation	index;
	Snapshot	snapshot;
	SysScanDesc scan;
} TableReader;

extern void cc_reader_begin(TableReader *reader, const char *table, Snapshot snapshot);
extern HeapTuple cc_reader_next(TableReader *reader, ScanDirection direction);
extern void cc_reader_end(TableReader *reader);

/* writes rows below the executor: no privileges, no triggers, not logically decoded */
typedef struct RowWriter RowWriter;

extern RowWriter *cc_writer_begin(Relation rel, int natts);
extern void cc_writer_insert(RowWriter *writer, const Datum *values, const bool *nulls);
extern void cc_writer_end(RowWriter *writer);
extern int64 cc_catalog_insert_numbered(const char *table, int natts, Datum *values, bool *nulls);

#endif							/* CLINICACHE_CATALOG_H */
