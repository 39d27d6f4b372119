# clinicache, built with PGXS.
#
#   make, make install, make installcheck    as with any extension
#   make upgrade-script                      sql/clinicache--<last release>--<this version>.sql
#   make test, make demo                     everything, from a bare Debian 12
#   make WERROR=1                            warnings are errors, as in the tests

EXTENSION = clinicache
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" clinicache.control)

# In the order data flows; src/README.md has a sentence on each.
MODULE_big = clinicache
OBJS = \
	src/init.o \
	src/guc.o \
	src/row_trigger.o \
	src/subtransaction.o \
	src/tracker.o \
	src/config.o \
	src/lookup_path.o \
	src/lookup.o \
	src/parent_move.o \
	src/emit.o \
	src/edge.o \
	src/edge_upkeep.o \
	src/tag_template.o \
	src/tag_value.o \
	src/tag_function.o \
	src/tenant_zone.o \
	src/numbers.o \
	src/late.o \
	src/tag_buffer.o \
	src/pending.o \
	src/cells.o \
	src/counter.o \
	src/deltas.o \
	src/flush.o \
	src/catalog.o \
	src/invalidation_log.o \
	src/log_scan.o \
	src/log_slots.o \
	src/position.o \
	src/payload.o \
	src/tracked_prefixes.o \
	src/notify.o \
	src/profile.o \
	src/changes.o \
	src/counter_source.o \
	src/counter_store.o \
	src/fold.o \
	src/counter_scan.o \
	src/counter_known.o \
	src/counter_tail.o \
	src/counter_read.o \
	src/counter_verify.o \
	src/counter_zone.o \
	src/counter_sql.o \
	src/class_label.o \
	src/recent.o \
	src/dashboard_numbers.o \
	src/dashboard.o \
	src/history.o \
	src/delivery.o \
	src/shared.o \
	src/table_stats.o \
	src/stats.o \
	src/maintain.o \
	src/worker.o \
	src/launcher.o \
	src/utility.o \
	src/manual.o \
	src/sql_functions.o \
	src/ddl.o \
	src/regrant.o

# The subscriber, a program of its own; PGXS builds a module or a program, not both.
TAIL = src/tail/clinicache_tail
TAIL_OBJS = \
	src/tail/clinicache_tail.o \
	src/tail/options.o \
	src/tail/connection.o \
	src/tail/wait.o \
	src/tail/message.o \
	src/tail/output.o \
	src/tail/position_file.o \
	src/tail/report.o

# The install script is made of its parts. Those of released versions stay as they were; to update
# from the last of them, sql/upgrade-script writes the script.
RELEASED = 0.1.0
INSTALL_SCRIPT_SQL = sql/clinicache--$(EXTVERSION).sql
SQL_PARTS = $(sort $(wildcard sql/parts/*.sql))
UPGRADE = $(lastword $(RELEASED))--$(EXTVERSION)
DATA_built = $(INSTALL_SCRIPT_SQL)
DATA = $(RELEASED:%=sql/clinicache--%.sql) $(wildcard sql/clinicache--*--*.sql)

REGRESS = $(sort $(notdir $(basename $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test --encoding=UTF8 --no-locale
ISOLATION = $(sort $(notdir $(basename $(wildcard test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test/isolation --encoding=UTF8 --no-locale

# PostgreSQL's own headers are not clean under the two that are switched off.
PG_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare $(if $(WERROR),-Werror)
EXTRA_CLEAN = $(TAIL) $(TAIL_OBJS) test/expected

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(and $(PGXS),$(wildcard $(PGXS))),)

# Bitcode for JIT needs the very clang that PostgreSQL was built with: without it, do without.
CLANG_OF_SERVER := $(shell sed -n 's/^CLANG *= *//p' $(dir $(PGXS))../Makefile.global)
ifeq ($(shell command -v $(or $(CLANG),$(CLANG_OF_SERVER)) 2>/dev/null),)
override with_llvm = no
endif

include $(PGXS)

all: $(TAIL)

$(INSTALL_SCRIPT_SQL): $(SQL_PARTS) clinicache.control Makefile
	(echo '-- made by the Makefile from sql/parts; edit those' && \
	 cat $(SQL_PARTS)) > $@.tmp && mv $@.tmp $@

upgrade-script: $(INSTALL_SCRIPT_SQL)
	sql/upgrade-script $(subst --, ,$(UPGRADE)) > sql/clinicache--$(UPGRADE).sql.tmp
	mv sql/clinicache--$(UPGRADE).sql.tmp sql/clinicache--$(UPGRADE).sql

.PHONY: upgrade-script

# Debian's PostgreSQL is built without dependency tracking.
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h)
$(TAIL_OBJS): $(wildcard src/tail/*.h) clinicache.control

$(TAIL_OBJS): override CPPFLAGS := -I$(includedir) -DCLINICACHE_VERSION='"$(EXTVERSION)"' $(CPPFLAGS)

$(TAIL): $(TAIL_OBJS)
	$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDFLAGS_EX) -L$(libdir) -lpq -o $@

# pg_regress wants the answers beside the tests.
installcheck: test/expected
test/expected:
	ln -s ../expected $@

install: install-tail
install-tail: all
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(TAIL) '$(DESTDIR)$(bindir)/'

uninstall: uninstall-tail
uninstall-tail:
	rm -f '$(DESTDIR)$(bindir)/$(notdir $(TAIL))'

.PHONY: install-tail uninstall-tail

else

all install uninstall clean installcheck:
	@echo 'clinicache: $(PG_CONFIG) does not lead to PGXS: install postgresql-server-dev-15,' >&2
	@echo 'or say where: make PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config' >&2
	@exit 1

.PHONY: all install uninstall clean installcheck

endif

test:
	@test/run

demo:
	@demo/run

.PHONY: test demo bench

# README's table and picture.
bench:
	bench/run
