/*-------------------------------------------------------------------------
 *
 * subtransaction.c
 *		A step that may fail and leave nothing behind.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "subtransaction.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * Run a step in a subtransaction of its own, in the caller's memory context.  What it
 * did, locks included, stays if it returns true.  Its error is returned, a copy in the
 * caller's context; NULL: there was none.
 */
ErrorData *
cc_subtransaction(bool (*step) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (step(arg))
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* Is it an error that nobody may pass over? */
bool
cc_error_ends_statement(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		error->sqlerrcode == ERRCODE_OUT_OF_MEMORY;
}
