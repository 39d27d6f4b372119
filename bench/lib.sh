# Sourced by bench/cost, bench/run and bench/dashboard, after test/lib/sandbox.sh: a server as it
# comes, with fsync, that has run for a while.

# start_bench_server SETUP LINE...    with database "bench", set up by a file ('': not), and these lines in its configuration
start_bench_server() {
	local setup=$1 i
	shift
	make_sandbox "$root"
	relocate_postgresql
	give_to_user
	build_and_install >"$sandbox/log/build.log" 2>&1 && init_server >/dev/null || { cat "$sandbox/log/build.log"; return 1; }
	sed -i '/^fsync/d; /^wal_level/d' "$sandbox/data/postgresql.conf"
	printf '%s\n' 'max_connections = 200' 'min_wal_size = 1GB' 'max_wal_size = 2GB' "$@" >>"$sandbox/data/postgresql.conf"
	as_user pg_ctl -D "$sandbox/data" -w -l "$sandbox/log/server.log" start >/dev/null || return
	cp "$here"/*.sql "$here"/*.pl "$sandbox/tmp/" && give_to_user
	in_server createdb bench || return
	[ -z "$setup" ] || in_server psql -qX -v ON_ERROR_STOP=1 -d bench -o /dev/null -f "$sandbox/tmp/$setup" || return
	# WAL segments to use again; making new ones would be most of what is measured
	for ((i = 0; i < 64; i++)); do
		echo "SELECT pg_logical_emit_message(false, '', ''); SELECT pg_switch_wal();"
	done >"$sandbox/tmp/segments.sql"
	in_server psql -qX -d bench -o /dev/null -f "$sandbox/tmp/segments.sql" -c CHECKPOINT
}
