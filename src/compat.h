/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Every difference between the supported PostgreSQL majors (15 and up).
 *
 * Other files test no PG_VERSION_NUM; they use the names defined here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_COMPAT_H
#define CLINICACHE_COMPAT_H

#include "access/toast_compression.h"
#include "access/toast_internals.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "utils/acl.h"

#if PG_VERSION_NUM < 150000
#error "clinicache needs PostgreSQL 15 or later"
#endif

/* 16 replaced the pg_*_aclcheck family by object_aclcheck */
#if PG_VERSION_NUM >= 160000
#define cc_proc_aclcheck(procid, role, mode) \
	object_aclcheck(ProcedureRelationId, (procid), (role), (mode))
#else
#define cc_proc_aclcheck(procid, role, mode) \
	pg_proc_aclcheck((procid), (role), (mode))
#endif

#if PG_VERSION_NUM >= 160000
#define cc_database_ownercheck(dboid, role) object_ownercheck(DatabaseRelationId, (dboid), (role))
#else
#define cc_database_ownercheck(dboid, role) pg_database_ownercheck((dboid), (role))
#endif

#if PG_VERSION_NUM >= 160000
#define cc_class_ownercheck(relid, role) object_ownercheck(RelationRelationId, (relid), (role))
#else
#define cc_class_ownercheck(relid, role) pg_class_ownercheck((relid), (role))
#endif

/* 17 added transaction_timeout */
#define CC_HAVE_TRANSACTION_TIMEOUT (PG_VERSION_NUM >= 170000)

/* 16 added run_as_table_owner to the truncation of tables */
#if PG_VERSION_NUM >= 160000
#define cc_truncate_guts(rels, relids) \
	ExecuteTruncateGuts((rels), (relids), NIL, DROP_RESTRICT, false, false)
#else
#define cc_truncate_guts(rels, relids) \
	ExecuteTruncateGuts((rels), (relids), NIL, DROP_RESTRICT, false)
#endif

/* 16 moved varatt.h out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* the quick compression, where PostgreSQL was built with it; pglz would cost more than it saves */
#ifdef USE_LZ4
#define cc_compress_datum(value) toast_compress_datum((value), TOAST_LZ4_COMPRESSION)
#else
#define cc_compress_datum(value) PointerGetDatum(NULL)
#endif

/* 17 wants the relation itself */
#if PG_VERSION_NUM >= 170000
#define cc_identity_sequence(rel, attnum) getIdentitySequence((rel), (attnum), false)
#else
#define cc_identity_sequence(rel, attnum) \
	getIdentitySequence(RelationGetRelid(rel), (attnum), false)
#endif

/* 17 moved the local transaction number */
#if PG_VERSION_NUM >= 170000
#define cc_my_lxid() (MyProc->vxid.lxid)
#else
#define cc_my_lxid() (MyProc->lxid)
#endif

/* 18 gave index_beginscan an instrumentation argument */
#if PG_VERSION_NUM >= 180000
#define cc_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define cc_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif

/*
 * Assertions want a snapshot wherever a table that may have toasted values is
 * written; PRE_COMMIT has none.  Inserting looks at no snapshot, so servers
 * built without assertions are spared the making of one in each commit.
 */
#ifdef USE_ASSERT_CHECKING
#define cc_push_snapshot_for_insert() PushActiveSnapshot(GetTransactionSnapshot())
#define cc_pop_snapshot_for_insert() PopActiveSnapshot()
#else
#define cc_push_snapshot_for_insert() ((void) 0)
#define cc_pop_snapshot_for_insert() ((void) 0)
#endif

#endif							/* CLINICACHE_COMPAT_H */
