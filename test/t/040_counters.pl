# Counters are exact in every snapshot: random transactions from several
# sessions, and readers that compare counters with SQL over the tables.
#
#   lib/CounterTables.pm      tables, tracking, SQL that tells the truth
#   lib/CounterWorker.pm      a process: writes, reads, folds or verifies
#   lib/CounterStatements.pm  random statements
#   lib/CounterLoad.pm        starts processes and collects what they found
#
# 041_counters_crash.pl has crashes, standbys, old snapshots, memory, restore.
#
# Environment:
#   CLINICACHE_COUNTER_TX     committed transactions in all   (default 20000)
#   CLINICACHE_COUNTER_SEED   repeats the random choices      (default: the clock)

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
use CounterTables;

# PostgreSQL::Test ties the outputs, so they take bytes only
sub say_it { return diag map { encode_utf8($_) } @_ }

my $total = $ENV{CLINICACHE_COUNTER_TX} || 20000;
my $seed = $ENV{CLINICACHE_COUNTER_SEED} || int(time);
my $began = time;

my $node = PostgreSQL::Test::Cluster->new('counters');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
# deadlock_timeout: far longer than the lock_timeout of what locks whole tables,
# so that only a deadlock that stays is found
$node->append_conf(
	'postgresql.conf', q(
max_prepared_transactions = 20
max_connections = 50
fsync = off
synchronous_commit = off
log_statement = none
deadlock_timeout = 10s
autovacuum_naptime = 5s
clinicache.delivery = 'log'
clinicache.retention = 1s
clinicache.timezone = 'America/Sao_Paulo'
));
$node->start;
my $dsn = sprintf 'host=%s;port=%s;dbname=postgres', $node->host, $node->port;
my $db = CounterWorker::connect_to($dsn);
say_it "seed $seed";

CounterTables::create_tables($db);
CounterTables::create_truth($db);
# rows from before
srand $seed;
my $filler = bless { db => $db, number => 99, next => 1 }, 'CounterStatements';
$filler->statement for 1 .. 20;
CounterTables::track_tables($db);

# Every counter, dimension and key that there is, in one snapshot.
sub differences
{
	my ($session) = @_;
	return join "\n", @{ $session->selectcol_arrayref(
		q(SELECT format('%s %s %s %s: %s', k.counter, k.dimension, k.key, g.grain, c.told)
		  FROM (SELECT DISTINCT counter, dimension, key FROM truth WHERE key IS NOT NULL) AS k,
		       (VALUES ('day'), ('month'), ('all')) AS g(grain),
		       compare(k.counter, k.dimension, k.key, NULL, NULL, NULL, g.grain) AS c
		  WHERE NOT c.same)) };
}

sub verified
{
	my ($session) = @_;
	return join "\n", @{ $session->selectcol_arrayref(
		q(SELECT concat_ws(' ', counter, relation, dimension, key, day, class, n, total) FROM clinicache.verify())) };
}

is(differences($db), '', 'rows from before are counted');

# ---- random load

my $load = CounterLoad->new(
	dsn => $dsn, dir => PostgreSQL::Test::Utils::tempdir(), seed => $seed, rounds => 0);
$load->start('write', $CounterTables::SESSIONS,
	target => int($total / $CounterTables::SESSIONS) + 1, checks => 0.05, rare => 0.003);
$load->start('read', 2);
$load->start('fold', 1);
$load->start('verify', 1);
is($load->wait_for('write'), 0, 'all writers ran to their end');
is($load->stop, 0, 'and so did the others');
my ($wrong, $count) = $load->collect;
is(scalar @$wrong, 0, 'counters agreed with SQL whenever they were compared');
say_it $_ for @$wrong[ 0 .. ($#$wrong < 4 ? $#$wrong : 4) ];
# short runs have no time for what is rare
cmp_ok($count->{$_} // 0, '>=', 1, "$_: " . ($count->{$_} // 0))
  for 'prepared', 'rolled back', 'snapshots', 'verified',
  $total < 10000 ? () : ('truncated', 'zones set', 'rebuilt', 'upkeep');
cmp_ok($count->{committed}, '>=', $total, "$count->{committed} transactions committed");
is(differences($db), '', 'afterwards: every key');
is(verified($db), '', 'verify(): nothing');
$db->do('SELECT clinicache.maintain_fold()');
is(differences($db), '', 'folded: every key');
is(verified($db), '', 'folded: verify()');
is($db->selectrow_array('SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()'),
	0, 'no deadlock');
is($db->selectrow_array('SELECT count(*) FROM clinicache.counter_registry WHERE NOT valid'),
	0, 'all counters are still valid');
say_it join ', ', map { "$_ $count->{$_}" } sort keys %$count;
say_it sprintf 'load: %.0f s', time - $began;

$db->disconnect;
$node->stop;
done_testing();
