# The worker: delivers what commits leave to it, comes and goes with the
# extension, and is in nobody's way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Tail;
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $last_id = 0;
my $node = new_node('worker', 'max_prepared_transactions = 10', 'max_worker_processes = 12');

# ---------------------------------------------------------------- helpers

sub new_node
{
	my ($name, @lines) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name);
	$new->init(allows_streaming => 1);
	$new->append_conf('postgresql.conf',
		join "\n", q{shared_preload_libraries = 'clinicache'}, 'fsync = off', @lines, '');
	return $new;
}

sub sql
{
	my ($statement, $database) = @_;
	return $node->safe_psql($database || 'postgres', $statement);
}

sub make_tracked
{
	my ($database) = @_;
	sql('CREATE EXTENSION clinicache', $database);
	sql(q{
		CREATE TABLE item(id bigint PRIMARY KEY, label text, note text);
		SELECT clinicache.track('item', '{"tags": ["item:{id}",
			{"tag": "label:{label}", "columns": ["label"]}]}')}, $database);
	return;
}

# Inserts a row; its tag.
sub insert
{
	my ($database) = @_;
	$last_id++;
	sql("INSERT INTO item VALUES ($last_id, 'x')", $database);
	return "item:$last_id";
}

sub state_is
{
	my ($state, $what, $database) = @_;
	ok( $node->poll_query_until(
			$database || 'postgres', "SELECT worker_state = '$state' FROM clinicache.stat_delivery"),
		$what);
	return;
}

sub stat_of { return sql("SELECT $_[0] FROM clinicache.stat_delivery") }

sub workers
{
	return sql(q{SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '')
		FROM pg_stat_activity WHERE backend_type = 'clinicache worker'});
}

# ------------------------------------------------------------------- begin

$node->start;
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clinicache launcher'}),
	1, 'there is a launcher');
make_tracked();
state_is('running', 'CREATE EXTENSION brings a worker');
is(stat_of('mode'), 'worker', 'delivery is the worker\'s');
append_to_file("$dir/position", sql('SELECT clinicache.position()') . "\n");
my $tail = Tail->new($node->connstr('postgres'), $dir, '--position-file', "$dir/position");
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name LIKE 'clinicache_tail%'}),
	'a subscriber follows');

ok(defined $tail->wait_for(5, insert()), 'a change is delivered');
is(sql('SELECT DISTINCT delivered FROM clinicache.invalidation_log'),
	'f', 'the committing session left it to the worker');

sql('BEGIN; INSERT INTO item VALUES (1000, \'prepared\'); PREPARE TRANSACTION \'p\'');
sleep 0.3;
ok(!$tail->tags->{'item:1000'}, 'a prepared change is not delivered');
sql(q{COMMIT PREPARED 'p'});
my $took = $tail->wait_for(5, 'item:1000');
ok(defined $took && $took < 1, 'but within a second of COMMIT PREPARED');

my $heartbeats = stat_of('messages');
sleep 3.3;
my $beats = stat_of('messages') - $heartbeats;
ok($beats >= 2 && $beats <= 5, "a heartbeat about once a second: $beats in 3.3 s");

# --------------------------------------------------------------- statistics

sql('UPDATE item SET note = \'n\' WHERE id = 1');
sql('SELECT clinicache.stat_reset()');
sql(q{INSERT INTO item SELECT i, 'l' || i % 3 FROM generate_series(2001, 2010) AS i});
sql(q{SET clinicache.bulk_threshold = 4; UPDATE item SET label = label || 'y' WHERE id > 2000});
is(sql('SELECT relation, rows_seen, tags >= 13, prefixes, suppressed, collapses FROM clinicache.stat_tables'),
	'item|20|t|2|0|2', 'stat_tables: rows, tags, prefixes, collapses');
ok($tail->wait_for(5, 'item:*', 'label:l1'), 'delivered');
is(stat_of('records_written || \' \' || records_delivered || \' \' || lag_records'),
	'2 2 0', 'stat_delivery: records written and delivered');
ok(stat_of('tags_written') >= 15 && stat_of('bytes') > 100, 'tags and bytes');
sql(q{SELECT clinicache.track('item', '{"tags": [{"tag": "item:{id}", "columns": ["id"]}], "ignore": ["note"]}')});
sql('UPDATE item SET note = \'m\' WHERE id = 1');
is(sql('SELECT suppressed FROM clinicache.stat_tables'), 1, 'a change of no watched column is suppressed');
sql('SELECT clinicache.stat_reset()');
is(sql('SELECT rows_seen FROM clinicache.stat_tables'), 0, 'stat_reset');

# ------------------------------------------------------- worker comes and goes

sql(q{SELECT pg_terminate_backend(worker_pid) FROM clinicache.stat_delivery});
my @tags = map { insert() } 1 .. 5;
ok(defined $tail->wait_for(10, @tags), 'nothing is missed when the worker is terminated');
state_is('running', 'and it is there again');

my $worker = stat_of('worker_pid');
kill 'STOP', $worker;
ok($node->poll_query_until('postgres', q{SELECT mode = 'commit' FROM clinicache.stat_delivery}),
	'a worker that gives no sign of life is not relied on');
is(stat_of('worker_state'), 'silent', 'the view says so');
ok(defined $tail->wait_for(5, insert()), 'commits deliver meanwhile');
kill 'CONT', $worker;
state_is('running', 'it goes on');

# Its stored position lost, or old: duplicates only.
my $before = $tail->tags;
sql('DELETE FROM clinicache.position_history');
sql(q{SELECT pg_terminate_backend(worker_pid) FROM clinicache.stat_delivery});
my $tag = insert();
ok(defined $tail->wait_for(10, $tag), 'delivery goes on without a stored position');
state_is('running', 'by the worker');
my $after = $tail->tags;
ok($after->{'item:1'} > $before->{'item:1'}, 'from the beginning of the log: duplicates');
ok(!$after->{'*'}, 'no reset');

# Positions are stored, once in a while, and old ones do not pile up without end.
ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM clinicache.position_history WHERE delivered'),
	'a position is stored');

# ------------------------------------------------ a transaction open for long

my $open = $node->background_psql('postgres');
$open->query_safe(q{BEGIN; INSERT INTO item VALUES (3000, 'open')});
sql(q{DO $$ BEGIN FOR i IN 1..30000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$});
sql(q{DO $$ BEGIN FOR i IN 10001..15000 LOOP INSERT INTO item VALUES (i, 'busy'); COMMIT; END LOOP; END $$});
$tail->wait_for(20, 'item:15000');
my $slowest = 0;
for (1 .. 5)
{
	$took = $tail->wait_for(10, insert());
	$slowest = $took if !defined $took || $took > $slowest;
}
ok($slowest < 0.5, "35,000 transactions later delivery is as quick: $slowest s");
$open->query_safe('COMMIT');
ok(defined $tail->wait_for(5, 'item:3000'), 'and the open one is delivered when it commits');
$open->quit;

# ------------------------------------------------------ a listener that sleeps

$node->append_conf('postgresql.conf', 'clinicache.notify_queue_limit = 0.00002');
$node->reload;
my $deaf = $node->background_psql('postgres');
$deaf->query_safe('LISTEN clinicache');
my $deaf_pid = $deaf->query_safe('SELECT pg_backend_pid()');
kill 'STOP', $deaf_pid;			# as one whose client reads nothing, without filling its socket first
my $began = time;
sql(q{INSERT INTO item SELECT i, repeat('z', 60) || i FROM generate_series(20001, 40000) AS i;
	SELECT pg_sleep(0)});
for my $i (1 .. 40)
{
	my $first = 50000 + $i * 900;
	sql("INSERT INTO item SELECT i, repeat('w', 60) || i FROM generate_series($first, $first + 899) AS i");
}
ok(time - $began < 30, 'writers do not wait for a listener that does not read');
# It looks once a second: what was written before it looked has gone out.
my $waits = 0;
for (1 .. 100)
{
	insert();
	last if $waits = stat_of('lag_records > 0') eq 't';
	select undef, undef, undef, 0.1;
}
ok($waits, 'the worker does, and the view shows records waiting');
$tag = insert();
kill 'CONT', $deaf_pid;
$deaf->query('SELECT 1') for 1 .. 3;	# psql reads its socket
ok(defined $tail->wait_for(20, $tag), 'all is delivered when it reads again');
$deaf->quit;

# ------------------------------------------------------------ databases

sql('CREATE DATABASE one');
make_tracked('one');
state_is('running', 'a second database has a worker of its own', 'one');

# Who may not drop the database may not stop its worker either.
sub worker_of
{
	return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'clinicache worker' AND datname = '$_[0]'");
}
sql('CREATE ROLE stranger LOGIN');
$worker = worker_of('one');
for my $statement ('DROP DATABASE one', 'CREATE DATABASE x TEMPLATE one', 'ALTER DATABASE one RENAME TO x')
{
	$node->psql('postgres', $statement, extra_params => [ '-U', 'stranger' ]);
}
$node->psql('postgres', 'BEGIN; DROP DATABASE one; COMMIT');
is(worker_of('one'), $worker, 'statements that PostgreSQL refuses leave the worker alone');

# Settings of the database do not get in its way, upkeep included.
sql('ALTER DATABASE one SET role = stranger');
sql('ALTER DATABASE one SET default_transaction_read_only = on');
sql(q{ALTER DATABASE one SET default_transaction_isolation = 'serializable'});
$node->append_conf('postgresql.conf', 'clinicache.upkeep_interval = 1');
$node->reload;
sql("SELECT pg_terminate_backend($worker)");
sleep 0.2 until worker_of('one') ne '' && worker_of('one') ne $worker;
$worker = worker_of('one');
sleep 3;
is(worker_of('one'), $worker, 'a role, read only and serializable by default: it works');
sql("ALTER DATABASE one RESET ALL");
$node->append_conf('postgresql.conf', 'clinicache.upkeep_interval = 30');
$node->reload;

sql('BEGIN; DROP EXTENSION clinicache CASCADE; DROP SCHEMA clinicache; CREATE EXTENSION clinicache; COMMIT', 'one');
sleep 2.5;
state_is('running', 'dropped and created again in a transaction, there is a worker', 'one');

$began = time;
sql('CREATE DATABASE two TEMPLATE one');
ok(time - $began < 5, 'a database with a worker can be copied');
state_is('running', 'its worker is back', 'one');
state_is('running', 'and the copy has one', 'two');
sql('ALTER DATABASE two RENAME TO three');
state_is('running', 'a database with a worker can be renamed', 'three');
sql('DROP DATABASE three');
sql('DROP DATABASE one WITH (FORCE)');
ok(time - $began < 20, 'and dropped');
is(workers(), 'postgres', 'no worker is left of them');
$node->command_fails([ 'psql', '-XAtd', $node->connstr('postgres'), '-c', 'DROP DATABASE nonesuch' ],
	'DROP DATABASE of one that does not exist fails as ever');

sql('BEGIN; DROP EXTENSION clinicache CASCADE; ROLLBACK');
ok(defined $tail->wait_for(10, insert()), 'a rolled back DROP EXTENSION changes nothing');
$node->command_ok([ 'pg_dump', '-f', "$dir/dump", $node->connstr('postgres') ],
	'pg_dump with the worker running');
$tail->stop;
my $log_size = -s $node->logfile;
sql('DROP EXTENSION clinicache CASCADE');
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'clinicache worker'}),
	'DROP EXTENSION ends the worker');
unlike(slurp_file($node->logfile, $log_size), qr/ERROR|PANIC|TRAP/, 'without an error');
sql('DROP TABLE item; DROP SCHEMA clinicache');
make_tracked();
state_is('running', 'created again, it has a worker again');

# ---------------------------------------------------------- restart, promotion

$node->restart;
state_is('running', 'after a restart there is a worker before anybody writes');

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres',
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'clinicache %'}),
	0, 'none on a standby');
$standby->promote;
ok($standby->poll_query_until('postgres',
		q{SELECT worker_state = 'running' FROM clinicache.stat_delivery}),
	'after promotion there is');
$standby->stop;
$node->stop;

# ------------------------------------------------------ no background worker free

my $main = $node;
$node = new_node('crowded', 'max_worker_processes = 2', 'max_logical_replication_workers = 1');
$node->start;
make_tracked();
state_is('no free background worker', 'the view says that max_worker_processes is used up');
is(stat_of('mode'), 'commit', 'and commits deliver');
$tail = Tail->new($node->connstr('postgres'), $dir);
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name LIKE 'clinicache_tail%'});
ok(defined $tail->wait_for(5, insert()), 'a change is delivered');
$tail->stop;
$node->stop;

done_testing();
