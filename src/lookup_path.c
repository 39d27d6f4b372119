/*-------------------------------------------------------------------------
 *
 * lookup_path.c
 *		Look-ups: from "patientId -> public.patients(id).clinic_id" to tables,
 *		columns and operators.
 *
 * Names stand in a path as they stand in the catalogs, no case is folded; double
 * quotes are needed only around unusual ones.  A step's key has to be unique, by
 * an index: that is what a foreign key can refer to, and what makes a look-up one
 * descent of a tree.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_opfamily.h"
#include "funcapi.h"
#include "lookup_internal.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#define MAX_STEPS 8

PG_FUNCTION_INFO_V1(clinicache_lookup_steps);

/* ------------------------------------------------------------------ parsing */

static void
path_error(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("look-up \"%s\" is not understood", text),
			 errhint("Write it as \"patientId -> public.patients(id).clinic_id\"; further steps "
					 "follow after \"->\". Names with other characters than letters, digits and _ "
					 "stand in double quotes.")));
}

static const char *
skip_space(const char *at)
{
	while (*at == ' ' || *at == '\t' || *at == '\n')
		at++;
	return at;
}

/* Take a name; ERROR if there is none. */
static char *
take_name(const char *text, const char **at)
{
	StringInfoData name;
	const char *c = skip_space(*at);

	initStringInfo(&name);
	if (*c == '"')
	{
		for (c++; *c != '"' || c[1] == '"'; c++)
		{
			if (*c == '\0')
				path_error(text);
			c += *c == '"';
			appendStringInfoChar(&name, *c);
		}
		c++;
	}
	else
		while (IS_HIGHBIT_SET(*c) || isalnum((unsigned char) *c) || *c == '_' || *c == '$')
			appendStringInfoChar(&name, *c++);
	if (name.len == 0 || name.len >= NAMEDATALEN)
		path_error(text);
	*at = skip_space(c);
	return name.data;
}

/* Take what has to be there. */
static void
take(const char *text, const char **at, const char *expected)
{
	const char *c = skip_space(*at);

	if (strncmp(c, expected, strlen(expected)) != 0)
		path_error(text);
	*at = skip_space(c + strlen(expected));
}

/*
 * Take a path apart, in CurrentMemoryContext.  A table may stand without its
 * schema: "schema" is NULL then.  ERRCODE_INVALID_PARAMETER_VALUE if it is no path.
 */
LookupPath *
cc_lookup_parse(const char *text)
{
	LookupPath *path = palloc0(sizeof(LookupPath));
	const char *at = text;

	path->from = take_name(text, &at);
	do
	{
		PathStep   *step = palloc0(sizeof(PathStep));

		take(text, &at, "->");
		step->table = take_name(text, &at);
		if (*at == '.')
		{
			take(text, &at, ".");
			step->schema = step->table;
			step->table = take_name(text, &at);
		}
		take(text, &at, "(");
		step->key = take_name(text, &at);
		take(text, &at, ")");
		take(text, &at, ".");
		step->value = take_name(text, &at);
		path->steps = lappend(path->steps, step);
	} while (*at != '\0');
	if (list_length(path->steps) > MAX_STEPS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("look-up \"%s\" has more than %d steps", text, MAX_STEPS)));
	return path;
}

/*
 * lookup_steps(path text) -> table (step int, schema_name text, table_name text, key text, value text)
 *		Step 0 has the column that the path begins at, as "value".
 */
Datum
clinicache_lookup_steps(PG_FUNCTION_ARGS)
{
	LookupPath *path = cc_lookup_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[5] = {Int32GetDatum(0)};
	bool		nulls[5] = {false, true, true, true, false};
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	values[4] = CStringGetTextDatum(path->from);
	tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	nulls[2] = nulls[3] = false;
	foreach(cell, path->steps)
	{
		PathStep   *step = lfirst(cell);

		values[0] = Int32GetDatum(foreach_current_index(cell) + 1);
		nulls[1] = step->schema == NULL;
		if (step->schema)
			values[1] = CStringGetTextDatum(step->schema);
		values[2] = CStringGetTextDatum(step->table);
		values[3] = CStringGetTextDatum(step->key);
		values[4] = CStringGetTextDatum(step->value);
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---------------------------------------------------------------- compiling */

static AttrNumber
column_of(Oid relid, const char *name)
{
	AttrNumber	attno = get_attnum(relid, name);

	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist, but a look-up uses it",
						name, get_rel_name(relid)),
				 errhint("Track the table again with clinicache.track().")));
	return attno;
}

/*
 * Is it a unique index on just this column, all rows in it, by which rows are found
 * with an operator (InvalidOid: with any)?
 */
bool
cc_lookup_index_serves(Relation index, AttrNumber key, Oid equality)
{
	Form_pg_index form = index->rd_index;

	return form->indisvalid && form->indislive && form->indisunique && form->indnkeyatts == 1 &&
		form->indkey.values[0] == key && index->rd_rel->relam == BTREE_AM_OID &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		(!OidIsValid(equality) || op_in_opfamily(equality, index->rd_opfamily[0]));
}

/*
 * Such an index of a table, or InvalidOid.  The caller holds a lock on the table.
 */
Oid
cc_lookup_index(Relation rel, AttrNumber key, Oid equality)
{
	List	   *indexes = RelationGetIndexList(rel);
	Oid			result = InvalidOid;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (cc_lookup_index_serves(index, key, equality))
			result = RelationGetRelid(index);
		index_close(index, AccessShareLock);
		if (OidIsValid(result))
			break;
	}
	list_free(indexes);
	return result;
}

/* How is the key compared with a value of this type? */
static void
find_equality(LookupStep *step, Relation rel, AttrNumber key, Oid typid)
{
	Oid			indexid = cc_lookup_index(rel, key, InvalidOid);
	Relation	index;
	Oid			opcintype;

	if (!OidIsValid(indexid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no unique index of table \"%s\" is on column \"%s\" alone, by which a "
						"look-up finds rows", RelationGetRelationName(rel),
						get_attname(RelationGetRelid(rel), key, false)),
				 errhint("Make that column a key, or leave the look-up out.")));
	index = index_open(indexid, AccessShareLock);
	opcintype = index->rd_opcintype[0];
	step->subtype = getBaseType(typid);
	step->equality = get_opfamily_member(index->rd_opfamily[0], opcintype, step->subtype,
										 BTEqualStrategyNumber);
	if (!OidIsValid(step->equality) && IsBinaryCoercible(step->subtype, opcintype))
	{
		step->equality = get_opfamily_member(index->rd_opfamily[0], opcintype, opcintype,
											 BTEqualStrategyNumber);
		step->subtype = opcintype;
	}
	index_close(index, AccessShareLock);
	if (!OidIsValid(step->equality))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a look-up can not find column \"%s\" of table \"%s\" by a value of type %s",
						get_attname(RelationGetRelid(rel), key, false),
						RelationGetRelationName(rel), format_type_be(typid)),
				 errhint("Columns of a look-up have the type of the key that they refer to.")));
	step->procedure = get_opcode(step->equality);
}

/* May the owner read both columns, all rows?  What RLS hides would look like gone. */
static void
check_readable(Oid relid, Oid owner, const PathStep *names)
{
	const char *const columns[] = {names->key, names->value};
	bool		readable = pg_class_aclcheck(relid, owner, ACL_SELECT) == ACLCHECK_OK;

	if (!readable)
	{
		readable = true;
		for (int i = 0; i < lengthof(columns); i++)
			readable &= pg_attribute_aclcheck(relid, get_attnum(relid, columns[i]), owner,
											  ACL_SELECT) == ACLCHECK_OK;
	}
	if (!readable)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("owner \"%s\" may not read table \"%s\", but a look-up does",
						GetUserNameFromId(owner, false), get_rel_name(relid)),
				 errhint("GRANT SELECT (%s, %s) ON %s TO %s.", quote_identifier(names->key),
						 quote_identifier(names->value),
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
													get_rel_name(relid)),
						 quote_identifier(GetUserNameFromId(owner, false)))));
	/* as with foreign keys, whoever owns both sees all, FORCE ROW LEVEL SECURITY or not */
	if (!has_privs_of_role(owner, cc_catalog_owner_of(relid)) &&
		check_enable_rls(relid, owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("row security may hide rows of table \"%s\" from owner \"%s\", but a look-up "
						"has to find them", get_rel_name(relid), GetUserNameFromId(owner, false)),
				 errhint("Give both tables one owner, or the owner BYPASSRLS.")));
}

static void
set_target(LookupTarget *target, Oid relid, const PathStep *names)
{
	target->relid = relid;
	target->index = InvalidOid;
	target->key = column_of(relid, names->key);
	target->value = column_of(relid, names->value);
}

/* The tables whose rows are a step's: leaves, if it is partitioned. */
static void
find_targets(LookupStep *step, Relation rel, const PathStep *names)
{
	List	   *tables = list_make1_oid(RelationGetRelid(rel));
	ListCell   *cell;

	step->is_partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (step->is_partitioned)
		tables = step->tree = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
	step->targets = palloc(sizeof(LookupTarget) * list_length(tables));
	foreach(cell, tables)
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION)
			set_target(&step->targets[step->ntargets++], lfirst_oid(cell), names);
}

/* Compile one step, which is found by values of type "typid". */
static void
compile_step(Lookup *lookup, LookupStep *step, const PathStep *names, Oid typid)
{
	Oid			namespace = names->schema ? get_namespace_oid(names->schema, true) : InvalidOid;
	Oid			relid = OidIsValid(namespace) ? get_relname_relid(names->table, namespace) : InvalidOid;
	Relation	rel;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" of a look-up does not exist",
						names->schema ? names->schema : "?", names->table),
				 errhint("Track the table again with clinicache.track().")));
	rel = table_open(relid, AccessShareLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table, a look-up can not use it", names->table)));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a look-up can not use temporary table \"%s\"", names->table)));
	step->relid = relid;
	step->table = pstrdup(quote_qualified_identifier(names->schema, names->table));
	step->value_name = pstrdup(names->value);
	find_targets(step, rel, names);
	check_readable(relid, lookup->owner, names);
	find_equality(step, rel, column_of(relid, names->key), typid);
	step->typid = get_atttype(relid, column_of(relid, names->value));
	get_typlenbyval(step->typid, &step->typlen, &step->typbyval);
	table_close(rel, NoLock);
}

/*
 * Compile a path that begins at a table, in "context", which the caller owns.  Takes
 * AccessShareLock on the tables on the way.  Errors: ERRCODE_INVALID_PARAMETER_VALUE,
 * ERRCODE_UNDEFINED_TABLE, ERRCODE_UNDEFINED_COLUMN, ERRCODE_DATATYPE_MISMATCH,
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE: the table's owner may not read one.
 */
Lookup *
cc_lookup_compile(Relation rel, const char *text, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	LookupPath *path = cc_lookup_parse(text);
	Lookup	   *lookup = palloc0(sizeof(Lookup));
	Oid			typid;
	ListCell   *cell;

	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("temporary table \"%s\" can not have look-ups", RelationGetRelationName(rel)),
				 errdetail("Tables on the way would keep its triggers.")));
	lookup->context = context;
	lookup->owner = rel->rd_rel->relowner;
	lookup->from = path->from;
	lookup->from_attno = column_of(RelationGetRelid(rel), path->from);
	typid = get_atttype(RelationGetRelid(rel), lookup->from_attno);
	get_typlenbyval(typid, &lookup->from_typlen, &lookup->from_typbyval);
	lookup->steps = palloc0(sizeof(LookupStep) * list_length(path->steps));
	foreach(cell, path->steps)
	{
		LookupStep *step = &lookup->steps[lookup->nsteps++];

		compile_step(lookup, step, lfirst(cell), typid);
		typid = step->typid;
	}
	MemoryContextSwitchTo(old);
	return lookup;
}
