/*-------------------------------------------------------------------------
 *
 * regrant.c
 *		Grants of the user's, made within an extension script.
 *
 * What an extension script grants, PostgreSQL takes for the extension's own
 * privileges, which pg_dump leaves to CREATE EXTENSION: roles that an upgrade
 * script gave access to new functions would have lost it after a restore.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "commands/extension.h"
#include "executor/spi.h"

PG_FUNCTION_INFO_V1(clinicache_regrant);

/*
 * regrant() -> void
 *		Calls _regrant() as if no extension script were running.
 */
Datum
clinicache_regrant(PG_FUNCTION_ARGS)
{
	bool		creating = creating_extension;

	SPI_connect();
	creating_extension = false;
	PG_TRY();
	{
		if (SPI_execute("SELECT clinicache._regrant()", false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not grant anew");
	}
	PG_FINALLY();
	{
		creating_extension = creating;
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}
