# kill -9 of a backend, of the worker and of the postmaster, under load: a
# subscriber ends with exactly the committed tags.
#
# The oracle is the table: each row's id is unique and never reused, so the
# tags item:<id> received must be those of the ids found in the table.
#
# CLINICACHE_KILLS    how often each is killed (default 10)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use KillServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Tail;
use Test::More;
use Time::HiRes qw(sleep time);

my $kills = $ENV{CLINICACHE_KILLS} || 10;
my $dir = PostgreSQL::Test::Utils::tempdir;
my @writers;

my $node = PostgreSQL::Test::Cluster->new('kills');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'clinicache'
restart_after_crash = on
max_prepared_transactions = 10
log_min_messages = warning
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION clinicache;
	CREATE TABLE item(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text);
	SELECT clinicache.track('item', '{"tags": ["item:{id}"]}')});
wait_for_worker();

# ---------------------------------------------------------------- helpers

# Writes until it is stopped, through all crashes: commits, rollbacks, savepoints.
sub start_writer
{
	my ($number) = @_;
	my $file = "$dir/writer$number.sql";
	append_to_file($file, q{
\set n random(1, 6)
\if :n = 1
BEGIN; INSERT INTO item (label) VALUES ('gone'); ROLLBACK;
\elif :n = 2
BEGIN; INSERT INTO item (label) VALUES ('kept'); SAVEPOINT s; INSERT INTO item (label) VALUES ('gone'); ROLLBACK TO s; COMMIT;
\elif :n = 3
INSERT INTO item (label) SELECT 'many' FROM generate_series(1, 20);
\else
INSERT INTO item (label) VALUES ('one');
\endif
});
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	return $pid if $pid;
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	while (1)
	{
		system 'pgbench', '-n', '-c', '2', '-T', '3600', '-R', '300', '-f', $file,
		  $node->connstr('postgres');
		sleep 0.1;
	}
	return;
}

# Of writers and their pgbench.
sub stop_writers
{
	for my $pid (@writers)
	{
		kill 'STOP', $pid;
		system 'pkill', '-TERM', '-P', $pid;
		kill 'KILL', $pid;
		waitpid $pid, 0;
	}
	@writers = ();
	return;
}
END { my $status = $?; stop_writers(); $? = $status }

sub query
{
	my ($sql) = @_;
	my ($status, $out) = $node->psql('postgres', $sql);
	return defined $status && $status == 0 ? $out : undef;
}

sub wait_for_server
{
	for (1 .. 600)
	{
		return 1 if defined query('SELECT 1');
		sleep 0.1;
	}
	die 'the server did not come back';
}

sub wait_for_worker
{
	return $node->poll_query_until('postgres',
		q{SELECT worker_state = 'running' FROM clinicache.stat_delivery});
}

sub pid_of
{
	my ($type) = @_;
	return query("SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'
		AND pid <> pg_backend_pid() AND datname = 'postgres' ORDER BY random() LIMIT 1");
}

sub kill_postmaster
{
	kill_server($node);
	$node->start;
	return 1;
}

my %victim = (
	backend => sub { my $pid = pid_of('client backend'); return $pid && kill 'KILL', $pid },
	worker => sub { my $pid = pid_of('clinicache worker'); return $pid && kill 'KILL', $pid },
	postmaster => \&kill_postmaster);

# What was committed and what arrived, beyond what a prefix or a reset covered.
sub compare
{
	my ($tail, $what) = @_;
	my %committed = map { ("item:$_" => 1) } split /\n/, query('SELECT id FROM item');
	my $seen = $tail->tags;
	my @missing = grep { !$seen->{$_} } sort keys %committed;
	my @extra = grep { /^item:\d/ && !$committed{$_} } sort keys %$seen;

	ok(keys %committed > 100, scalar(keys %committed) . " rows after killing the $what");
	ok(!$seen->{'*'} && !$seen->{'item:*'}, 'no reset and no prefix: all of it exact');
	is(join(' ', @missing[ 0 .. ($#missing < 9 ? $#missing : 9) ]), '', 'none is missing');
	is(join(' ', @extra[ 0 .. ($#extra < 9 ? $#extra : 9) ]), '', 'none arrived that was not committed');
	return;
}

# -------------------------------------------------------------------- kills

for my $what (qw(worker backend postmaster))
{
	my $position = "$dir/position.$what";
	my $killed = 0;
	my $tail;

	# from a position of now, so that what came before does not arrive
	query('DELETE FROM item');
	append_to_file($position, query('SELECT clinicache.position()') . "\n");
	$tail = Tail->new($node->connstr('postgres'), $dir, '--position-file', $position,
		'--max-tags', 1000000);
	push @writers, map { start_writer($_) } 1 .. 2;
	for (1 .. $kills)
	{
		sleep 0.3 + rand 0.7;
		wait_for_server();
		wait_for_worker() if $what eq 'worker';
		$killed++ if $victim{$what}->();
		wait_for_server();
	}
	sleep 0.5;
	stop_writers();
	wait_for_server();
	is($killed, $kills, "killed $kills times: the $what");
	ok(wait_for_worker(), 'there is a worker again');
	query(q{INSERT INTO item (label) VALUES ('last')});
	my $last = 'item:' . query('SELECT max(id) FROM item');
	ok(defined $tail->wait_for(30, $last), 'delivery goes on');
	sleep 1;
	compare($tail, $what);
	$tail->stop;
}
$node->stop;
done_testing();
