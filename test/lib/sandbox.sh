# Sourced by test/run and test/valgrind: a temporary directory that holds a copy
# of the tree, a PostgreSQL of our own and its servers, and disappears at the end.
#
#   $sandbox/tree      the copy that is built: the original may be read-only
#   $sandbox/pg        PostgreSQL, relocated: programs copied, the rest linked,
#                      so that installing touches nothing outside
#   $sandbox/data      the server that pg_regress and pgTAP use
#   $sandbox/log       one log for each part
#   $sandbox/tmp       TMPDIR, HOME
#
# Servers refuse to run as root: root runs all of it as user postgres.

. "$(dirname "${BASH_SOURCE[0]}")/pg_major.sh"

make_sandbox() {
	umask 022
	sandbox=$(mktemp -d /tmp/clinicache.XXXXXX)
	trap remove_sandbox EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	mkdir "$sandbox"/{tree,pg,log,tmp}
	pg_bin=$sandbox/pg/lib/postgresql/$pg_major/bin
	chmod 755 "$sandbox"

	# made beforehand by a developer's make with who knows which flags: left out
	tar -C "$1" --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		--exclude=./src/tail/clinicache_tail \
		--exclude=./results --exclude=./output_iso --exclude=./tmp_check -cf - . |
		tar -C "$sandbox/tree" --no-same-owner --no-same-permissions -xf -
	chmod -R u+rwX,go+rX "$sandbox/tree"
}

# Owner of the sandbox's content, and of the servers.
give_to_user() {
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres "$sandbox"
	fi
}

# Runs a command as that user, with nothing of the caller's environment but what
# is meant for tests: PGHOST, MAKEFLAGS, PERL5LIB and the like would mislead it.
as_user() {
	local keep=() name
	for name in $(compgen -e | grep -E '^(CLINICACHE_|PG_TEST_)'); do
		keep+=("$name=${!name}")
	done
	local run=()
	if [ "$(id -u)" = 0 ]; then
		run=(runuser -u postgres --)
	fi
	(
		cd "$sandbox/tree" || exit
		exec "${run[@]}" env -i \
			PATH="$pg_bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
			HOME="$sandbox/tmp" TMPDIR="$sandbox/tmp" USER=postgres LOGNAME=postgres \
			LANG=C.UTF-8 LC_ALL=C.UTF-8 SHELL=/bin/sh CI="${CI:-}" \
			PG_CONFIG="$pg_bin/pg_config" "${keep[@]}" "$@" </dev/null
	)
}

# PostgreSQL finds its files relative to its programs, so a copy of the programs
# is a complete installation.
relocate_postgresql() {
	local from=/usr/lib/postgresql/$pg_major share=/usr/share/postgresql/$pg_major
	local to=$sandbox/pg
	mkdir -p "$to/lib/postgresql/$pg_major" "$to/share/postgresql"
	cp -a "$from/bin" "$to/lib/postgresql/$pg_major/"
	cp -as "$from/lib" "$to/lib/postgresql/$pg_major/"
	cp -as "$share" "$to/share/postgresql/"
	ln -sfn /usr/include "$to/include"
	find "$to" -name 'clinicache*' -prune -exec rm -rf {} +
}

build_and_install() { # make's arguments
	as_user make -s -j"$(nproc)" PG_CONFIG="$pg_bin/pg_config" "$@" &&
		as_user make -s PG_CONFIG="$pg_bin/pg_config" "$@" install
}

init_server() {
	as_user initdb -D "$sandbox/data" -U postgres --auth=trust --encoding=UTF8 \
		--locale=C.UTF-8 --no-sync || return
	cat >>"$sandbox/data/postgresql.conf" <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$sandbox'
		port = 5432
		fsync = off
		wal_level = logical
		max_prepared_transactions = 50
		max_connections = 100
		timezone = 'UTC'
		log_timezone = 'UTC'
		log_line_prefix = '%m [%p] %a: '
	CONF
}

in_server() {
	as_user env PGHOST="$sandbox" PGPORT=5432 PGUSER=postgres "$@"
}

# Every server under the sandbox, those of TAP tests that were interrupted too.
stop_servers() {
	local pidfile pid
	for pidfile in $(find "$sandbox" -name postmaster.pid 2>/dev/null); do
		pid=$(head -n 1 "$pidfile" 2>/dev/null) || continue
		case $(readlink "/proc/$pid/exe" 2>/dev/null) in
			"$sandbox"/* | */valgrind*) ;;
			*) continue ;;
		esac
		kill -QUIT "$pid" 2>/dev/null || continue
		for _ in {1..100}; do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
	done
}

remove_sandbox() {
	local status=$?
	trap - EXIT
	stop_servers
	if [ -n "${KEEP:-}" ]; then
		echo "kept: $sandbox" >&2
	else
		chmod -R u+w "$sandbox" 2>/dev/null
		rm -rf "$sandbox"
	fi
	exit "$status"
}
