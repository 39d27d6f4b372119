# Prepared transactions: the record is written at PREPARE, shows at COMMIT
# PREPARED, whatever happened to the server in between, and maintain() notifies
# it, since no committing session can.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('prepared');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
fsync = off
max_prepared_transactions = 10
clinicache.delivery = 'commit'
});
$node->start;
sql('CREATE EXTENSION clinicache');
sql(
	q{
	CREATE TABLE item(id bigint PRIMARY KEY, owner int, label text);
	SELECT clinicache.track('item', '{"tenant": "owner",
		"tags": ["item:{id}", "owner:{owner}:{label}"]}');
});

my $listener = start_listening();

# ---------------------------------------------------------------- helpers

sub sql { return $node->safe_psql('postgres', shift) }

sub position { return sql('SELECT clinicache.position()') }

# "reset", or the tags and prefixes (as P*) in order
sub in_message
{
	my ($message) = @_;
	return 'reset' if $message->{reset};
	return join ' ', sort((map { @$_ } values %{ $message->{tags} }),
		map { "$_*" } @{ $message->{prefixes} });
}

sub in_order { return join ' ', sort map { split / / } @_ }

sub changes
{
	my ($since) = @_;
	return in_message(decode_json(
		sql("SELECT clinicache.changes('$since', max_tags => 10000000)")));
}

sub start_listening
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('LISTEN clinicache; LISTEN marker');
	return $session;
}

# All messages notified so far and not returned yet, in order. A notification of
# our own, which can not overtake the others, says when they are all there.
sub notified
{
	my $marker = 'm' . int(rand 1e9);
	my ($output, $end) = ('', time + 20);

	sql("NOTIFY marker, '$marker'");
	while ($output !~ /"marker" with payload "$marker"/)
	{
		die "no notification: $output" if time > $end;
		$output .= $listener->query_safe('SELECT') . "\n";
		sleep 0.05;
	}
	return map { decode_json($_) }
	  $output =~ /"clinicache" with payload "(.*)" received from/g;
}

# What the messages told, all in one line.
sub told
{
	my %told = map { $_ => 1 } map { split / /, in_message($_) } @_;
	return join ' ', sort keys %told;
}

sub prepare
{
	my ($name, @statements) = @_;
	sql(join ";\n", 'BEGIN', @statements, "PREPARE TRANSACTION '$name'");
	return;
}

sub maintain { sql('CALL clinicache.maintain()'); return }

# ------------------------------------------------ the session that prepared

notified();
my $before = position();
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe(q{BEGIN; INSERT INTO item VALUES (1, 7, 'a');
	SELECT clinicache.invalidate('{by-hand}'); PREPARE TRANSACTION 'one'});
is($session->query_safe('SELECT count(*) FROM clinicache.pending_tags()'), 0,
	'nothing is pending after PREPARE');
$session->query_safe(q{INSERT INTO item VALUES (2, 7, 'b')});
$session->query_safe(q{BEGIN; SAVEPOINT s; INSERT INTO item VALUES (3, 7, 'c'); ROLLBACK TO s; COMMIT});
is($session->query_safe('SELECT pg_backend_pid()'), $pid, 'the session lives on');
$session->quit;

is(changes($before), 'item:2 owner:7:b', 'prepared only: what others committed is there, nothing else');
is(told(notified()), 'item:2 owner:7:b', 'nor is it notified');
is(sql(q{SELECT count(*) FROM clinicache.invalidation_log WHERE 'item:1' = ANY (tags)}),
	0, 'nor visible in the log');
my $during = position();
maintain();
my ($heartbeat) = grep { $_->{pos} } notified();
is(in_message($heartbeat), '', 'maintain() finds nothing to tell, but has a position');

# --------------------------------------- across a restart and a crash

prepare('two', q{INSERT INTO item VALUES (10, 8, 'x')});
$node->restart;
is(changes($during), '', 'restarted: still not visible');
my $after_restart = position();
sql(q{INSERT INTO item VALUES (11, 8, 'y')});
$node->stop('immediate');
$node->start;
is(changes($during), 'item:11 owner:8:y', 'crashed: still not visible');
my $after_crash = position();
is(sql('SELECT count(*) FROM pg_prepared_xacts'), 2, 'both are still prepared');
$listener->{run}->kill_kill;
$listener = start_listening();

# in the opposite order
sql(q{COMMIT PREPARED 'two'});
is(changes($after_crash), 'item:10 owner:8:x', 'the second is committed first');
my $between = position();
sql(q{COMMIT PREPARED 'one'});
my $first = 'by-hand item:1 owner:7:a';
is(changes($between), $first, 'a position between them has the first only');
is(changes($before), in_order("$first item:10 item:11 item:2 owner:7:b owner:8:x owner:8:y"),
	'a position before it all skips none');
my $later = in_order("$first item:10 item:11 owner:8:x owner:8:y");
is(changes($during), $later, 'nor one taken while the first was prepared');
is(changes($heartbeat->{pos}), $later, 'nor that of a heartbeat at that time');
is(changes($after_restart), $later, 'nor one after the restart');
is( sql(q{SELECT string_agg(DISTINCT delivered::text, ',') FROM clinicache.invalidation_log
	WHERE tags && '{item:1, item:10, by-hand}'}),
	'false', 'their records are undelivered');
# the server may have a worker, which is woken and need not wait for maintain()
my $preloaded = sql('SHOW shared_preload_libraries') =~ /clinicache/;
my $told = told(notified());
is($told, '', 'COMMIT PREPARED itself notifies nothing') unless $preloaded;
maintain();
is(in_order($told, told(notified())), in_order("$first item:10 owner:8:x"),
	'maintain() or the worker notifies both, and nothing that was told before');
maintain();
is(told(notified()), '', 'only once');

# ------------------------------------------------------- rolled back

my $position = position();
prepare('three', q{INSERT INTO item VALUES (20, 9, 'r')}, 'DELETE FROM item WHERE id = 2');
$node->restart;
$listener->{run}->kill_kill;
$listener = start_listening();
sql(q{ROLLBACK PREPARED 'three'});
maintain();
is(changes($position), '', 'ROLLBACK PREPARED leaves nothing');
is(told(notified()), '', 'and tells nothing');
is(sql(q{SELECT count(*) FROM clinicache.invalidation_log WHERE 'item:20' = ANY (tags)}),
	0, 'nothing in the log');

# -------------------------------------------- statements of all kinds

$position = position();
prepare('truncate', 'TRUNCATE item', q{INSERT INTO item VALUES (30, 9, 't')});
is(changes($position), '', 'TRUNCATE: not visible yet');
sql(q{COMMIT PREPARED 'truncate'});
$told = changes($position);
like($told, qr/item:\*/, 'TRUNCATE: prefixes after COMMIT PREPARED');
like($told, qr/owner:\*/, 'of all templates');
maintain();
is(told(notified()), $told, 'and maintain() tells the same');

# -------------------------------------- too large for memory: spilled

my $rows = 60000;
my $many = "INSERT INTO item SELECT i, 1, repeat('l', 40) || i FROM generate_series(%d, %d) AS i";

sub large
{
	my ($name, $from) = @_;
	return prepare(
		$name,
		'SET LOCAL clinicache.bulk_threshold = 1000000',
		sprintf($many, $from, $from + $rows - 1),
		'SAVEPOINT s',
		sprintf($many, $from + $rows, $from + 2 * $rows - 1),
		'ROLLBACK TO s',
		"INSERT INTO item VALUES (" . ($from + 5 * $rows) . ", 1, 'last$from')");
}

maintain();
notified();
$position = position();
large('large', 1_000_000);
large('lost', 5_000_000);
is(changes($position), '', 'spilled: not visible before COMMIT PREPARED');
$node->stop('immediate');
$node->start;
$listener->{run}->kill_kill;
$listener = start_listening();
sql(q{ROLLBACK PREPARED 'lost'});
is(changes($position), '', 'spilled: ROLLBACK PREPARED leaves nothing');
sql(q{COMMIT PREPARED 'large'});
cmp_ok(
	sql(q{SELECT count(*) FROM clinicache.invalidation_log
		WHERE xid = (SELECT xid FROM clinicache.invalidation_log WHERE 'owner:1:last1000000' = ANY (tags))}),
	'>=', 2, 'spilled: there are several records of one transaction');
is( sql(q{
	WITH logged AS (
		SELECT u.tag FROM clinicache.invalidation_log AS l, unnest(l.tags) AS u(tag)
		WHERE l.xid = (SELECT xid FROM clinicache.invalidation_log WHERE 'owner:1:last1000000' = ANY (tags))),
	expected AS (
		SELECT 'item:' || id AS tag FROM item WHERE owner = 1
		UNION ALL SELECT 'owner:1:' || label FROM item WHERE owner = 1)
	SELECT count(*) FILTER (WHERE l.tag IS NULL) || ' missing, ' ||
		count(*) FILTER (WHERE e.tag IS NULL) || ' extra'
	FROM (SELECT DISTINCT tag FROM logged) AS l FULL JOIN expected AS e USING (tag)}),
	'0 missing, 0 extra', 'spilled: they hold exactly what was not rolled back');
is(scalar(split / /, changes($position)), 2 * ($rows + 1), 'changes() has them all');
maintain();
like(told(notified()), qr/^(reset|item:\*.* owner:.*)$/, 'maintain() tells them by prefixes');

# --------------------------- the log is emptied around what is prepared

$node->append_conf('postgresql.conf', "clinicache.retention = 1s\n");
$node->reload;
$position = position();
prepare('old', q{INSERT INTO item VALUES (40, 9, 'old')});
for (1 .. 4)
{
	sql("INSERT INTO item VALUES (40 + $_, 9, 'n$_')");
	maintain();
	sleep 0.8;
}
$node->restart;
$listener->{run}->kill_kill;
$listener = start_listening();
maintain();
sleep 1.1;
maintain();
notified();
my $recent = position();
sql(q{COMMIT PREPARED 'old'});
is(changes($recent), 'item:40 owner:9:old', 'past retention: its record was not emptied while it was prepared');
like(changes($position), qr/^reset$|item:40 .*owner:9:old/, 'a position before it all: reset, or nothing is missing');
maintain();
is(told(notified()), 'item:40 owner:9:old', 'maintain() tells it before it empties it');

# ------------------------------------------------- wake-ups only

$node->append_conf('postgresql.conf', "clinicache.payload = 'position'\n");
$node->reload;
maintain();
notified();
$position = position();
prepare('quiet', q{INSERT INTO item VALUES (50, 9, 'q')});
sql(q{COMMIT PREPARED 'quiet'});
maintain();
my @messages = notified();
is(told(@messages), '', 'payload = position: no tag leaves the database');
ok(scalar(grep { !$_->{pos} && !$_->{reset} } @messages), 'but a wake-up does');
is(changes($position), 'item:50 owner:9:q', 'and changes() has it');

$listener->quit;
$node->stop;
done_testing();
