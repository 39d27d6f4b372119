# A streaming standby: reached() tells whether it shows what a position saw;
# positions taken on it skip nothing, though it does not know all running
# transactions; upkeep is refused; promotion begins another history.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf(
	'postgresql.conf', q{
fsync = off
autovacuum = off
max_prepared_transactions = 5
clinicache.delivery = 'log'
});
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION clinicache');
$primary->safe_psql(
	'postgres', q{
	CREATE TABLE item(id bigint PRIMARY KEY, owner int);
	SELECT clinicache.track('item', '{"tenant": "owner", "tags": ["item:{id}"]}');
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# ---------------------------------------------------------------- helpers

sub on_primary { return $primary->safe_psql('postgres', shift) }

sub on_standby { return $standby->safe_psql('postgres', shift) }

sub insert
{
	on_primary(join ';', map { "INSERT INTO item VALUES ($_, 1)" } @_);
	return;
}

sub position { return shift->safe_psql('postgres', 'SELECT clinicache.position()') }

# "reset", or the tags and prefixes in order
sub changes
{
	my ($node, $since) = @_;
	my $message = decode_json(
		$node->safe_psql('postgres', "SELECT clinicache.changes('$since', max_tags => 10000000)"));

	return 'reset' if $message->{reset};
	return join ' ', sort((map { @$_ } values %{ $message->{tags} }),
		map { "$_*" } @{ $message->{prefixes} });
}

sub reached
{
	my ($node, $position) = @_;
	return $node->safe_psql('postgres', "SELECT clinicache.reached('$position')");
}

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
	return;
}

sub pause
{
	on_standby('SELECT pg_wal_replay_pause()');
	$standby->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'})
	  or die 'replay does not pause';
	return;
}

sub resume { on_standby('SELECT pg_wal_replay_resume()'); return }

# Transaction id up to which a position sees all, from its text.
sub xmax
{
	my ($position) = @_;
	return hex((split /\./, $position)[5]);
}

# ------------------------------------------------------------- reached

catch_up();
my $before = position($primary);
pause();
insert(1);
my $position = position($primary);
is(reached($standby, $position), 'f', 'reached: not while replay is paused');
is(changes($standby, $position), 'reset', 'a position that the standby has not reached: reset');
is(reached($primary, $position), 't', 'reached on the primary');

my $reader = $standby->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM item');
resume();
$standby->poll_query_until('postgres', "SELECT clinicache.reached('$position')")
  or die 'never reached';
is(on_standby('SELECT count(*) FROM item'), 1, 'reached: then the row is visible');
is($reader->query_safe("SELECT clinicache.reached('$position')"),
	'f', 'reached: not in a transaction that still reads from an old snapshot');
is($reader->query_safe('SELECT count(*) FROM item'), 0, 'which does not see the row');
$reader->query_safe('COMMIT');
is($reader->query_safe("SELECT clinicache.reached('$position')"), 't', 'reached after that');

# as soon as it says so, and each time
my $wrong = 0;
for my $id (100 .. 130)
{
	insert($id);
	$position = position($primary);
	my $end = time + 20;
	until ($reader->query_safe("SELECT clinicache.reached('$position')") eq 't')
	{
		die 'never reached' if time > $end;
	}
	$wrong++ if $reader->query_safe("SELECT count(*) FROM item WHERE id = $id") != 1;
}
is($wrong, 0, 'reached: the next statement shows it, 31 times of 31');
$reader->quit;

# the end of WAL just behind a page's header, on a server that then does nothing
for my $round (1 .. 3)
{
	on_primary("INSERT INTO item VALUES (200 + $round, 1); SELECT pg_switch_wal()");
	$position = position($primary);
	my $end = time + 5;
	my $answer = 'f';
	while ($answer eq 'f' && time < $end)
	{
		$answer = reached($standby, $position);
		sleep 0.05;
	}
	is($answer, 't', "reached: at the beginning of a segment, without more WAL ($round)");
}

# ------------------------------------------------ changes and position

catch_up();
my $all = changes($primary, $before);
like($all, qr/^item:1 item:100 .*item:203$/, 'the primary has all');
is(changes($standby, $before), $all, 'changes() on the standby answers the same');
my $mine = position($standby);
is(changes($standby, $mine), '', 'a position of the standby: nothing since');
is(reached($primary, $mine), 't', 'the primary has reached it');
insert(2, 3);
on_primary('BEGIN; INSERT INTO item VALUES (4, 1); ROLLBACK');
catch_up();
is(changes($standby, $mine), 'item:2 item:3', 'what came since, on the standby');
is(changes($primary, $mine), 'item:2 item:3', 'and on the primary');
is( decode_json(on_standby('SELECT clinicache.changes(NULL)'))->{reset},
	JSON::PP::true, 'changes(NULL): reset');
my $pos = decode_json(on_standby("SELECT clinicache.changes('$mine')"))->{pos};
insert(5);
catch_up();
is(changes($standby, $pos), 'item:5', 'the position in a message of the standby is good too');

# a transaction that runs on the primary
my $writer = $primary->background_psql('postgres');
$writer->query_safe('BEGIN; INSERT INTO item VALUES (10, 1)');
on_primary(q{BEGIN; INSERT INTO item VALUES (11, 1); PREPARE TRANSACTION 'p'});
insert(12);
catch_up();
$mine = position($standby);
insert(13);
$writer->query_safe('COMMIT');
on_primary(q{COMMIT PREPARED 'p'});
catch_up();
is(changes($standby, $mine), 'item:10 item:11 item:13', 'what ran at the position, on the standby');
is(changes($primary, $mine), 'item:10 item:11 item:13', 'and on the primary');

# one with more subtransactions than the standby keeps
sub many_subtransactions
{
	my ($from, $count) = @_;
	my $top = $writer->query_safe(
		"BEGIN; INSERT INTO item VALUES ($from, 2); SELECT pg_current_xact_id()");
	$writer->query_safe(
		join ';', map { "SAVEPOINT s; INSERT INTO item VALUES ($from + $_, 2)" } 1 .. $count);
	return $top;
}

my $top = many_subtransactions(1000, 200);
insert(14, 15);
catch_up();
$mine = position($standby);
cmp_ok(xmax($mine), '<=', $top, 'subtransactions overflow: the position sees nothing from there on');
insert(16);
$writer->query_safe('ROLLBACK TO s; INSERT INTO item VALUES (1999, 2); COMMIT');
catch_up();
for my $node ($standby, $primary)
{
	my %tags = map { $_ => 1 } split / /, changes($node, $mine);
	my @missing = grep { !$tags{$_} } map { "item:$_" } 16, 1000 .. 1199, 1999;
	is("@missing", '', 'subtransactions overflow: nothing is missing on the ' . $node->name);
	ok(!$tags{'item:1200'}, 'nor does what was rolled back come');
}

# one with fewer, that does not overflow
$top = many_subtransactions(2000, 30);
insert(17);
catch_up();
$mine = position($standby);
insert(18);
$writer->query_safe('COMMIT');
catch_up();
my $expected = join ' ', sort map { "item:$_" } 18, 2000 .. 2030;
is(changes($standby, $mine), $expected, 'few subtransactions: exact');
is(changes($primary, $mine), $expected, 'on the primary too');

# positions all along while others write and commit, at random
my %received;
$mine = position($standby);
my $begin = $mine;
my @writers = map { $primary->background_psql('postgres') } 1 .. 3;
my @open = (0) x @writers;
my $next = 3000;
srand 7;
for my $step (1 .. 60)
{
	my $w = int rand @writers;

	if (!$open[$w])
	{
		$writers[$w]->query_safe("BEGIN; INSERT INTO item VALUES ($next, 3)");
		$next++;
		$open[$w] = 1;
	}
	elsif (rand() < 0.4)
	{
		my $last = $next + int(rand() < 0.3 ? 80 : 3);
		$writers[$w]->query_safe(
			join ';', map { "SAVEPOINT a; INSERT INTO item VALUES ($_, 3)" } $next .. $last);
		$next = $last + 1;
	}
	else
	{
		$writers[$w]->query_safe(rand() < 0.3 ? 'ROLLBACK' : 'COMMIT');
		$open[$w] = 0;
	}
	next if $step % 3;
	my $message = decode_json(on_standby("SELECT clinicache.changes('$mine')"));
	die 'reset without a reason' if $message->{reset};
	$received{$_} = 1 for map { @$_ } values %{ $message->{tags} };
	$mine = $message->{pos};
}
$writers[$_]->query_safe('COMMIT') for grep { $open[$_] } 0 .. $#writers;
$_->quit for @writers, $writer;
catch_up();
$received{$_} = 1 for split / /, changes($standby, $mine);
is( join(' ', sort keys %received),
	on_primary(q{SELECT string_agg('item:' || id, ' ' ORDER BY ('item:' || id) COLLATE "C") FROM item WHERE owner = 3}),
	'a subscriber of the standby misses nothing and gets nothing that was rolled back');

# ------------------------------------------------------------- upkeep

my ($status, $stdout, $stderr) = $standby->psql('postgres', 'CALL clinicache.maintain()');
isnt($status, 0, 'maintain() fails on a standby');
like($stderr, qr/ERROR:  clinicache upkeep cannot run during recovery/, 'with an error that says why');
like($stderr, qr/HINT:  /, 'and a hint');

# the primary's floor counts on the standby
$primary->append_conf('postgresql.conf', "clinicache.retention = 1s\n");
$primary->reload;
for (1 .. 3)
{
	on_primary('CALL clinicache.maintain()');
	sleep 1.1;
}
on_primary('CALL clinicache.maintain()');
catch_up();
is(changes($standby, $begin), 'reset', 'emptied on the primary: reset on the standby');
$mine = position($standby);
insert(20);
catch_up();
is(changes($standby, $mine), 'item:20', 'recent positions stay good');

# ---------------------------------------------------------- promotion

my $of_primary = position($primary);
my $of_standby = position($standby);
$pos = decode_json(on_standby("SELECT clinicache.changes('$of_standby')"))->{pos};
$standby->promote;
is(changes($standby, $of_primary), 'reset', 'promoted: a position of the old primary answers reset');
is(changes($standby, $of_standby), 'reset', 'and one of its own from before');
is(changes($standby, $pos), 'reset', 'and one of a message');
is(reached($standby, $of_primary), 'f', 'and is not reached');
insert(30);    # on the old primary
on_standby('INSERT INTO item VALUES (31, 1)');
my $of_old = position($primary);
is(changes($standby, $of_old), 'reset', 'one that the old primary gave out meanwhile too');
$mine = position($standby);
is(changes($primary, $mine), 'reset', 'the old primary does not know the new history');
on_standby('INSERT INTO item VALUES (32, 1)');
is(changes($standby, $mine), 'item:32', 'new positions work, writes are logged');
is( on_standby(q{SELECT count(*) FROM clinicache.invalidation_log WHERE tags && '{item:31, item:32}'}),
	2, 'all writes since');
on_standby('CALL clinicache.maintain()');
on_standby('INSERT INTO item VALUES (33, 1)');
is(changes($standby, $mine), 'item:32 item:33', 'upkeep works there');
is(changes($primary, $of_primary), 'item:30', 'the old primary goes on with its own');
$standby->restart;
is(changes($standby, $mine), 'item:32 item:33', 'after a restart');
is(changes($standby, $of_primary), 'reset', 'and the old history stays unknown');

# written far past what the old history had
on_standby('CREATE TABLE filler AS SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 20000) AS i');
is(changes($standby, $of_old), 'reset', 'even when the new history is longer');

$standby->stop;
$primary->stop;
done_testing();
