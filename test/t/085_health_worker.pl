# health(): what can not be made in one transaction: a log near its limit,
# prepared and other old transactions, idle slots, the worker, pg_cron, a
# restored dump, a standby. The rest: test/pgtap/health.sql.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

chomp(my $libdir = `$ENV{PG_CONFIG} --pkglibdir`);
my $has_cron = -e "$libdir/pg_cron.so";

my $node = PostgreSQL::Test::Cluster->new('health');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "fsync = off\nmax_prepared_transactions = 5\nmax_worker_processes = 12\nshared_preload_libraries = ''\n");
$node->start;

# ---------------------------------------------------------------- helpers

sub sql { my ($statement, $database) = @_; return $node->safe_psql($database || 'postgres', $statement) }

# Severities and findings of an object, newline between.
sub found
{
	my ($object, $on, $database) = @_;
	return ($on || $node)->safe_psql($database || 'postgres',
		"SELECT severity || ': ' || finding FROM clinicache.health() WHERE object LIKE '$object'");
}

sub remedy { return sql("SELECT remedy FROM clinicache.health() WHERE object LIKE '" . shift() . "'") }

sub found_within
{
	my ($object, $pattern) = @_;
	for (1 .. 300)
	{
		return 1 if found($object) =~ $pattern;
		sleep 0.1;
	}
	return 0;
}

sub set { my ($what) = @_; $node->append_conf('postgresql.conf', "$what\n"); $node->reload; sleep 0.2; return }

# Thresholds of an hour, as seconds: of the same functions.
sub hasten
{
	sql(q{DO $do$ BEGIN
		EXECUTE replace(pg_get_functiondef('clinicache._health_transactions()'::regprocedure), '1 hour', '100 ms');
	END $do$});
	return;
}

# ---------------------------------------------------------------- without the library preloaded

sql(q{CREATE EXTENSION clinicache; CREATE TABLE room (id int PRIMARY KEY, clinic_id int, kind text);
SELECT clinicache.track('room', '{"tags": ["room:{id}"], "tenant": "clinic_id", "counters": [{"counter": "rooms", "by": {"clinic": "clinic_id"}}]}')});
like(found('worker'), qr/^notice: the library is not preloaded/, 'not preloaded');
like(remedy('worker'), qr/^ALTER SYSTEM SET shared_preload_libraries = clinicache; and restart/, 'how to');
like(found('maintain()'), qr/^warning: nobody does the upkeep/, 'no upkeep');
sql('CALL clinicache.maintain()');
is(found('maintain()'), '', 'upkeep was done');
set("clinicache.delivery = 'worker'");
like(found('worker'), qr/^critical: clinicache.delivery is worker, but the library is not preloaded/, 'a worker is demanded');
set("clinicache.delivery = 'commit'");
is(found('worker'), '', 'commit delivery is a choice');
is(sql('SELECT count(*) FROM clinicache.health()'), 0, 'healthy: no rows');

set("session_replication_role = 'replica'");
like(found('session_replication_role'), qr/^critical: .* for the whole server/, 'session_replication_role of the server');
set("session_replication_role = 'origin'");
is(found('session_replication_role'), '', 'reset');

# The log.
set("clinicache.log_max_size = '1MB'");
sql("SELECT clinicache.invalidate(ARRAY(SELECT md5(i::text) || md5('a' || i) || md5('b' || i) || md5('c' || i) FROM generate_series(1, 10000) AS i))");
like(found('clinicache.invalidation_log'), qr/^warning: the log is (?:near|larger than) clinicache.log_max_size/, 'a log near its limit');
set("clinicache.log_max_size = '1GB'");
is(found('clinicache.invalidation_log'), '', 'a higher limit');

# Transactions.
is(found('%transaction%'), '', 'no old transaction');
hasten();
sql("BEGIN; INSERT INTO room VALUES (1, 1); PREPARE TRANSACTION 'it''s old'");
my $old = $node->background_psql('postgres');
$old->query_safe("SET application_name = 'sleeper'");
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$old->query_safe('SELECT count(*) FROM room');
sleep 0.3;
like(found('prepared transaction%'), qr/^warning: a prepared transaction is/, 'an old prepared transaction');
is(remedy('prepared transaction%'), "COMMIT PREPARED 'it''s old' or ROLLBACK PREPARED 'it''s old'", 'its remedy');
like(found('process % sleeper %'), qr/^warning: a transaction is .* old \(idle in transaction\)/, 'an old snapshot');
like(remedy('process % sleeper %'), qr/^SELECT pg_terminate_backend\(\d+\)$/, 'its remedy');
sql("ROLLBACK PREPARED 'it''s old'");
$old->query_safe('COMMIT');
$old->quit;
is(found('%transaction%') . found('process%'), '', 'both ended');

# A full check must not take long.
cmp_ok(sql(q{SELECT extract(epoch FROM clock_timestamp() - now()) FROM (SELECT count(*) FROM clinicache.health()) AS h}), '<', 2, 'fast');

# ---------------------------------------------------------------- a restored dump

sql('CREATE DATABASE restored');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dump');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restore');
like(found('rooms of public.room', undef, 'restored'), qr/^warning: the counter was never counted here/, 'its counters are not there');
sql("SELECT clinicache.rebuild('rooms')", 'restored');
is(found('rooms of public.room', undef, 'restored'), '', 'the remedy counts them');
sql('DROP DATABASE restored');

# ---------------------------------------------------------------- a standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('health_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nprimary_slot_name = 'gone'\n");
sql("SELECT pg_create_physical_replication_slot('gone')");
$standby->start;
sql('ALTER TABLE room DISABLE TRIGGER clinicache');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
like(found('public.room', $standby), qr/^critical: the row trigger is disabled/, 'health() works on a standby');
is(found('worker', $standby) . found('maintain()', $standby), '', 'where nobody delivers');
is($standby->safe_psql('postgres', "SELECT count(*) FROM clinicache.health() WHERE finding LIKE 'check %'"), 0, 'no check fails there');
sql('ALTER TABLE room ENABLE TRIGGER clinicache');
ok($node->poll_query_until('postgres', "SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'gone'"), 'the standby holds a snapshot');
is(found('replication slot%'), '', 'as it may');
$standby->stop;
ok($node->poll_query_until('postgres', "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'gone'"), 'it is gone');
like(found('replication slot gone'), qr/^warning: a replication slot that nobody uses holds a snapshot/, 'a slot that nobody uses');
sql(remedy('replication slot gone'));
is(found('replication slot gone'), '', 'the remedy drops it');

# ---------------------------------------------------------------- the worker

set("clinicache.delivery = 'auto'\nshared_preload_libraries = 'clinicache'");
$node->restart;
ok(found_within('worker', qr/^$/), 'with a worker: nothing');
is(found('maintain()'), '', 'nor of upkeep');
set('max_worker_processes = 1');
$node->restart;
like(found('worker'), qr/^warning: the worker is down: none/, 'not even a launcher');
like(remedy('worker'), qr/^ALTER SYSTEM SET max_worker_processes = 5; and restart/, 'its remedy');
# PostgreSQL's own and the launcher
set('max_worker_processes = 2');
$node->restart;
ok(found_within('worker', qr/^warning: the worker is down: no free background worker/), 'no free background worker');
like(remedy('worker'), qr/^ALTER SYSTEM SET max_worker_processes = 6; and restart/, 'its remedy');
set("clinicache.delivery = 'worker'");
like(found('worker'), qr/^critical: the worker is down/, 'where one is demanded');
set("clinicache.delivery = 'auto'");

# ---------------------------------------------------------------- pg_cron

SKIP:
{
	skip 'pg_cron is not installed', 5 unless $has_cron;
	set("max_worker_processes = 12\nshared_preload_libraries = 'pg_cron'\ncron.use_background_workers = on");
	$node->restart;
	sql('CREATE EXTENSION pg_cron');
	sql('SELECT clinicache.schedule()');
	is(found('job %'), '', 'a job that has not run yet');
	is(found('maintain()'), '', 'does the upkeep');
	sql(q{INSERT INTO cron.job_run_details (jobid, runid, database, username, command, status, return_message)
		SELECT j.jobid, 1000000, j.database, j.username, j.command, 'failed', 'connection failed' FROM cron.job AS j});
	like(found('job %'), qr/^warning: the job that does the upkeep fails: connection failed/, 'a job that fails');
	sql('UPDATE cron.job SET active = false');
	like(found('job %'), qr/^warning: the job that does the upkeep is not active/, 'one that is not active');
	sql('SELECT clinicache.schedule()');
	is(found('job %'), '', 'the remedy replaces it');
}

$node->stop;
done_testing();
