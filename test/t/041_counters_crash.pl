# Counters are exact after kill -9, on a standby, in snapshots so old that the log
# behind them is gone, and in transactions too large for memory.
#
# Environment:
#   CLINICACHE_COUNTER_KILLS    how often the server is killed    (default 4)
#   CLINICACHE_COUNTER_SECONDS  under how many seconds of load    (default 3)
#   CLINICACHE_COUNTER_ROWS     rows of the large transaction     (default 300000)

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Encode qw(encode_utf8);
use Time::HiRes qw(sleep time);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

BEGIN
{
	plan skip_all => 'DBD::Pg is not installed (libdbd-pg-perl)'
	  unless eval { require DBD::Pg; 1 };
}
use CounterLoad;
use CounterTables qw(random_spec spec_sql);
use KillServer;

# PostgreSQL::Test ties the outputs, so they take bytes only
sub say_it { return diag map { encode_utf8($_) } @_ }

my $kills = $ENV{CLINICACHE_COUNTER_KILLS} || 4;
my $seconds = $ENV{CLINICACHE_COUNTER_SECONDS} || 3;
my $rows = $ENV{CLINICACHE_COUNTER_ROWS} || 300_000;
my $seed = $ENV{CLINICACHE_COUNTER_SEED} || int(time);

# what the large transaction may take, PostgreSQL's own queue of triggers included
my $HUGE_KB = 64 * 1024;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf(
	'postgresql.conf', q(
max_prepared_transactions = 20
max_connections = 50
fsync = off
synchronous_commit = off
log_statement = none
deadlock_timeout = 10s
max_wal_size = 2GB
jit = off
clinicache.delivery = 'log'
clinicache.retention = 1s
clinicache.timezone = 'America/Sao_Paulo'
));
$node->start;
say_it "seed $seed";
srand $seed;

sub connection { return CounterWorker::connect_to(sprintf 'host=%s;port=%s;dbname=postgres', $_[0]->host, $_[0]->port) }

my $db = connection($node);
CounterTables::create_tables($db);
CounterTables::create_truth($db);
CounterTables::track_tables($db);

my $load = CounterLoad->new(
	dsn => sprintf('host=%s;port=%s;dbname=postgres', $node->host, $node->port),
	dir => PostgreSQL::Test::Utils::tempdir(), seed => $seed, rounds => 0);

sub start_load
{
	my (%more) = @_;
	$load->start('write', 4, target => 1e9, checks => 0.05, rare => 0.002, %more);
	$load->start('read', 1, %more);
	$load->start('fold', 1, %more);
	return;
}

sub end_load
{
	my ($what) = @_;
	is($load->stop, 0, "$what: all ran to their end");
	my ($wrong, $count) = $load->collect;
	is(scalar @$wrong, 0, "$what: counters agreed with SQL");
	say_it $_ for @$wrong[ 0 .. ($#$wrong < 2 ? $#$wrong : 2) ];
	return $count;
}

# Every counter, dimension and key that there is, in one snapshot.
sub differences
{
	my ($session) = @_;
	return join "\n", @{ $session->selectcol_arrayref(
		q(SELECT format('%s %s %s %s: %s', k.counter, k.dimension, k.key, g.grain, c.told)
		  FROM (SELECT DISTINCT counter, dimension, key FROM truth WHERE key IS NOT NULL) AS k,
		       (VALUES ('day'), ('all')) AS g(grain),
		       compare(k.counter, k.dimension, k.key, NULL, NULL, NULL, g.grain) AS c
		  WHERE NOT c.same)) };
}

sub verified
{
	my ($session) = @_;
	return join "\n", @{ $session->selectcol_arrayref(
		q(SELECT concat_ws(' ', counter, relation, dimension, key, day, class, n, total) FROM clinicache.verify())) };
}

# ------------------------------------------------------------ old snapshots

start_load();
sleep 1;
my $old = connection($node);
$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
my @specs = map { random_spec() } 1 .. 30;
my $ask = sub { return [ map { join ' ', $old->selectrow_array('SELECT same, told FROM ' . spec_sql($_)) } @specs ] };
# rows that a TRUNCATE removes are gone for an old snapshot too
$old->do('LOCK TABLE ' . join(', ', @CounterTables::TABLES) . ' IN ACCESS SHARE MODE');
my $first = $ask->();
is(scalar(grep { !/^1 / } @$first), 0, 'old snapshot: exact when it is new');
my $too_old = 0;
my $end = time + 30;
my $later = $first;
my $rounds = 0;
while (!$too_old && time < $end)
{
	sleep 0.5;
	$db->do(q(SELECT clinicache.set_timezone('c4', $1)), undef, CounterTables::pick(@CounterTables::ZONES))
	  if $rounds++ == 1;
	$later = $ask->();
	last if "@$later" ne "@$first";
	# verify() says when the log is gone
	$old->do('SAVEPOINT s');
	$too_old = !eval { $old->do('SELECT FROM clinicache.verify()'); 1 } && $old->state eq '55000';
	$old->do('ROLLBACK TO s');
}
is(join("\n", @$later), join("\n", @$first), 'and the same while the log behind it is emptied');
ok($too_old, 'which has happened by now');
is(join("\n", @{ $ask->() }), join("\n", @$first), 'and the same when it is counted live');
$old->do('COMMIT');
is(scalar(grep { !/^1 / } @{ $ask->() }), 0, 'a new snapshot is exact too');
my $count = end_load('old snapshot');
$old->disconnect;

# ---------------------------------------------------------------- kill -9

my $prepared = 0;
for my $kill (1 .. $kills)
{
	start_load(outage => 1);
	sleep $seconds * (0.5 + rand 0.5);
	kill_server($node);
	$count = end_load("kill $kill");
	$node->start;
	$db = connection($node);
	for (@{ $db->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') })
	{
		$db->do((rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$_'");
		$prepared++;
	}
	is(verified($db), '', "kill $kill: verify() after " . ($count->{committed} // 0) . ' transactions');
	is(differences($db), '', "kill $kill: every key");
	$db->do('SELECT clinicache.maintain_fold()');
	is(verified($db) . differences($db), '', "kill $kill: folded");
}
say_it "$prepared transactions were prepared when the server was killed";

# ---------------------------------------------------------------- standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', q(
hot_standby_feedback = on
max_standby_streaming_delay = -1
));
$standby->start;
start_load();
$load->start('replica', 2, dsn => sprintf 'host=%s;port=%s;dbname=postgres', $standby->host, $standby->port);
sleep 3 * $seconds;
$count = end_load('standby');
cmp_ok($count->{replica} // 0, '>=', 10, 'snapshots of the standby: ' . ($count->{replica} // 0));
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
my $replica = connection($standby);
is(verified($replica), '', 'standby: verify()');
is(differences($replica), '', 'standby: every key');
$replica->disconnect;
$standby->promote;
$replica = connection($standby);
$replica->do(q(INSERT INTO refund VALUES ('promoted', 'cairo', 1, '2026-01-01', 0)));
$replica->do('SELECT clinicache.maintain_fold()');
is(verified($replica) . differences($replica), '', 'promoted');
$replica->disconnect;
$standby->stop;
say_it join ', ', map { "$_ $count->{$_}" } sort keys %$count;

# ----------------------------------------------------------------- memory

sub own_memory
{
	my ($session) = @_;
	return slurp_file("/proc/$session->{pg_pid}/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die 'no RssAnon';
}

# Runs statements in one transaction; it may not grow by more than it may, at the
# end of each.
sub in_bounds
{
	my ($name, @statements) = @_;
	my $session = connection($node);
	$session->do($_) for 'BEGIN', $statements[0] =~ s/ROWS/100/gr, 'ROLLBACK';
	my $before = own_memory($session);
	my $most = 0;
	$session->do('BEGIN');
	for (@statements)
	{
		$session->do($_ =~ s/ROWS/$rows/gr);
		my $grown = own_memory($session) - $before;
		$most = $grown if $grown > $most;
	}
	cmp_ok($most, '<', $HUGE_KB, "$name: takes less than $HUGE_KB kB");
	note "$name: $most kB";
	my $same = sub {
		my ($when) = @_;
		is(join("\n", @{ $session->selectcol_arrayref(
			q(SELECT c.told FROM (VALUES ('clinic', 'cairo'), ('clinic', 'c4'), ('client', '7'), ('client', '100007'),
			  ('client', '250000')) AS k(dimension, key),
			  compare('payments', k.dimension, k.key, NULL, NULL, NULL, 'day') AS c WHERE NOT c.same)) }),
			'', "$name: exact $when");
	};
	$same->('in the transaction');
	$session->do('COMMIT');
	$same->('when it is committed');
	is(verified($session), '', "$name: verify()");
	$session->do('SELECT clinicache.maintain_fold()');
	$same->('when it is folded');
	is(verified($session), '', "$name: verify() again");
	$session->disconnect;
	return;
}

my $insert = q(INSERT INTO payments (id, clinic_id, patient_id, status, amount, payment_date, owner)
	SELECT '%s-' || i, (ARRAY['cairo', 'c4'])[1 + i %% 2], i, 'paid', i, timestamptz '2026-03-01 00:00Z' + i %% 90 * interval '1 day', 0
	FROM generate_series(%s) AS i);
$db->do('TRUNCATE payments');
in_bounds('many keys',
	sprintf($insert, 'a', '1, ROWS / 3'),
	'SAVEPOINT s',
	sprintf($insert, 'b', 'ROWS / 3, 2 * ROWS / 3'),
	q(UPDATE payments SET clinic_id = 'line' WHERE patient_id % 10 = 3),
	'ROLLBACK TO s',
	sprintf($insert, 'c', 'ROWS / 4, ROWS / 2'),
	'RELEASE s',
	sprintf($insert, 'd', 'ROWS / 2, ROWS'));
in_bounds('one key', q(UPDATE payments SET amount = amount + 0.5));
in_bounds('many savepoints',
	q(DO $$
	BEGIN
		FOR i IN 1 .. ROWS / 4 LOOP
			BEGIN
				INSERT INTO payments (id, clinic_id, patient_id, amount, owner) VALUES ('e-' || i, 'c4', 100000 + i, i, 0);
				IF i % 5 = 0 THEN RAISE division_by_zero; END IF;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END$$));

$db->disconnect;
$node->stop;
done_testing();
