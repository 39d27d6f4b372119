# Crashes: a position that left the server before one is good after it, though
# transaction ids are given out a second time whose WAL was not flushed; and the
# log holds exactly what was committed.
#
# The oracle is the table itself: a row's id is unique and never reused, so tags
# item:<id> after a position must be the ids found now and not seen then.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP;
use FindBin;
use lib "$FindBin::RealBin/lib";
use KillServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $LOAD_SECONDS = $ENV{CLINICACHE_CRASH_SECONDS} || 2;

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
# fsync off: the server crashes here, not the machine; what was written stays
$node->append_conf(
	'postgresql.conf', q{
fsync = off
autovacuum = off
wal_writer_delay = 10s
checkpoint_timeout = 1h
max_wal_size = 4GB
clinicache.delivery = 'log'
});
$node->start;
sql('CREATE EXTENSION clinicache');
sql(
	q{
	CREATE TABLE item(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		owner int, v int NOT NULL DEFAULT 0);
	CREATE INDEX ON item(owner, id);
	SELECT clinicache.track('item', '{"tenant": "owner", "tags": ["item:{id}"]}');
});

# ---------------------------------------------------------------- helpers

sub sql { return $node->safe_psql('postgres', shift) }

sub session { return $node->background_psql('postgres') }

sub changes
{
	my ($since) = @_;
	return decode_json(
		sql("SELECT clinicache.changes('$since', max_tags => 10000000)"));
}

sub tags
{
	my ($message) = @_;
	return map { @$_ } values %{ $message->{tags} };
}

# id => 1 of all rows
sub ids { return map { $_ => 1 } split /\n/, sql('SELECT id FROM item') }

# Position and the rows that its snapshot shows, of one statement.
sub position_and_ids
{
	my ($session) = @_;
	my $query = q{SELECT clinicache.position() || ':' ||
		coalesce((SELECT string_agg(id::text, ',') FROM item), '')};
	my $answer = $session ? $session->query_safe($query) : sql($query);
	my ($position, $ids) = split /:/, $answer;
	return ($position, map { $_ => 1 } split /,/, $ids // '');
}

# Compare without printing thousands of lines.
sub is_same_set
{
	my ($got, $expected, $name) = @_;
	my @missing = grep { !$got->{$_} } keys %$expected;
	my @extra = grep { !$expected->{$_} } keys %$got;

	ok(!@missing && !@extra, "$name (" . keys(%$expected) . ')')
	  or diag 'missing: ' . join(' ', splice @missing, 0, 20)
	  . '; extra: ' . join(' ', splice @extra, 0, 20);
	return;
}

# ---------------------------------------- transaction ids given out twice

# Ways to a position; each returns it with the rows it has seen. What they leave
# behind is not flushed, except by the position itself.
my @ways = (
	[ 'after commits and rollbacks', sub {
			my ($session) = @_;
			return position_and_ids($session);
	} ],
	[ 'inside a transaction that has an id and wrote nothing', sub {
			my ($session) = @_;
			$session->query_safe('BEGIN; SELECT pg_current_xact_id()');
			return position_and_ids($session);
	} ],
	[ 'inside a transaction that wrote', sub {
			my ($session) = @_;
			$session->query_safe('BEGIN; INSERT INTO item(owner) VALUES (1)');
			my ($position, %seen) = position_and_ids($session);
			# its own row, which only its commit would show to others
			my $own = $session->query_safe('SELECT max(id) FROM item');
			delete $seen{$own};
			return ($position, %seen);
	} ],
	[ 'while others run, with ids before and behind', sub {
			my ($session, $others) = @_;
			$_->query_safe('BEGIN; SELECT pg_current_xact_id()') for @$others[0, 1];
			$others->[2]->query_safe('BEGIN; INSERT INTO item(owner) VALUES (1)');
			$session->query_safe('INSERT INTO item(owner) VALUES (2); SELECT pg_current_xact_id()');
			return position_and_ids($session);
	} ],
	[ 'from an aborted transaction with savepoints', sub {
			my ($session) = @_;
			$session->query_safe(join ';', 'BEGIN',
				(map { "SAVEPOINT s$_; INSERT INTO item(owner) VALUES (1)" } 1 .. 10), 'ROLLBACK');
			return position_and_ids($session);
	} ],
	[ 'out of changes()', sub {
			my ($session) = @_;
			my $answer = $session->query_safe(
				q{SELECT clinicache.changes(NULL) ->> 'pos' || ':' || string_agg(id::text, ',') FROM item});
			my ($position, $ids) = split /:/, $answer;
			return ($position, map { $_ => 1 } split /,/, $ids);
	} ]);

my $reused = 0;
for my $way (@ways)
{
	my ($name, $take) = @$way;
	my $session = session();
	my @others = map { session() } 1 .. 3;

	$_->query_safe('SET synchronous_commit = off') for $session, @others;
	for (1 .. 8)
	{
		$session->query_safe('INSERT INTO item(owner) VALUES (1)');
		$session->query_safe('BEGIN; INSERT INTO item(owner) VALUES (1); ROLLBACK');
		$session->query_safe('BEGIN; SELECT pg_current_xact_id(); ROLLBACK');
	}
	my ($position, %seen) = $take->($session, \@others);
	my $burner = session();
	$burner->query_safe('SET synchronous_commit = off');
	$burner->query_safe('INSERT INTO item(owner) VALUES (1)');
	$burner->query_safe('BEGIN; INSERT INTO item(owner) VALUES (1); SELECT pg_current_xact_id(); ROLLBACK')
	  for 1 .. 10;
	my $last_id = $burner->query_safe('SELECT pg_current_xact_id()');

	$node->stop('immediate');
	$node->start;
	my $first_id = sql('INSERT INTO item(owner) VALUES (3) RETURNING pg_current_xact_id()');
	$reused++ if $first_id <= $last_id;
	# go over all ids that were lost
	sql(join ';', map { 'BEGIN; INSERT INTO item(owner) VALUES (3); '
			. ($_ % 7 ? 'COMMIT' : 'ROLLBACK') } 1 .. 60);

	my $message = changes($position);
	my %now = ids();
	ok(!$message->{reset}, "$name: no reset needed");
	ok(!grep({ !$now{$_} } keys %seen), "$name: nothing that the position saw was lost");
	is_same_set(
		{ map { /^item:(\d+)$/ ? ($1 => 1) : ($_ => 1) } tags($message) },
		{ map { $seen{$_} ? () : ($_ => 1) } keys %now },
		"$name: the new rows, no others");
	is(sql("SELECT clinicache.reached('$position')"), 't', "$name: reached");
	$_->{run}->kill_kill for $session, $burner, @others;
}
cmp_ok($reused, '>=', 4, "ids were given out twice in $reused of " . @ways . ' rounds');

# ---------------------------------------------------- crash under load

my $script = $node->basedir . '/load.sql';
append_to_file(
	$script, q{
\set n random(1, 8)
\set fate random(1, 10)
\set c :client_id + 10
BEGIN;
\if :fate <= 5
SET LOCAL synchronous_commit = off;
\endif
UPDATE item SET v = v + 1 WHERE id = (SELECT max(id) FROM item WHERE owner = :c);
SAVEPOINT s;
INSERT INTO item(owner) SELECT :c FROM generate_series(1, :n);
\if :fate = 2
ROLLBACK TO s;
\endif
\if :fate = 3
ROLLBACK;
\else
COMMIT;
\endif
});

for my $crash (
	[ 'kill -9', sub { kill_server($node) } ],
	[ 'immediate shutdown', sub { $node->stop('immediate') } ])
{
	my ($name, $act) = @$crash;
	my ($begin, %seen) = position_and_ids();
	my $position = $begin;
	my (%received, $output, $polls);
	my $load = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 4, '-j', 2, '-T', 60, '-f', $script,
			$node->connstr('postgres') ],
		'>&', \$output);
	my $end = time + $LOAD_SECONDS;

	while (time < $end)
	{
		my $message = changes($position);
		die 'reset without a reason' if $message->{reset};
		$received{$_} = 1 for tags($message);
		$position = $message->{pos};
		$polls++;
		sleep 0.05;
	}
	$act->();
	$load->finish;
	$node->start;
	sql('INSERT INTO item(owner) VALUES (4)') for 1 .. 3;

	my %now = ids();
	note "$name: " . keys(%now) . " rows, $polls polls";
	cmp_ok(keys(%now) - keys(%seen), '>', 50, "$name: there was load");
	ok(!grep({ !$now{$_} } keys %seen), "$name: nothing that a position saw was lost");
	is( sql(q{
		WITH logged AS (
			SELECT substr(u.tag, 6)::bigint AS id, count(*) AS n
			FROM clinicache.invalidation_log AS l, unnest(l.tags) AS u(tag)
			GROUP BY 1)
		SELECT count(*) FROM logged FULL JOIN item USING (id)
		WHERE logged.n IS DISTINCT FROM item.v + 1}),
		0, "$name: as many records of each row as committed changes of it");

	my $message = changes($position);
	ok(!$message->{reset}, "$name: the subscriber need not reset");
	$received{$_} = 1 for tags($message);
	my @changed = tags(changes($begin));
	my %expected = map { ("item:$_" => 1) } grep { !$seen{$_} } keys %now;
	# besides new rows only old ones that were changed
	my %gone = map { $_ => 1 } grep { !$now{ substr $_, 5 } } keys %received;
	is_same_set(\%gone, {}, "$name: nothing received that was not committed");
	is_same_set({ map { $received{$_} ? ($_ => 1) : () } keys %expected }, \%expected,
		"$name: all new rows received, the crash in between");
	is_same_set({ map { $_ => 1 } @changed }, \%received,
		"$name: what was received piece by piece is what a position before it all says");
}

$node->stop;
done_testing();
