# Memory: a huge transaction does not grow with its rows, a long-lived session
# does not grow with its transactions, and what they emit is complete all the same.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $ROWS = $ENV{CLINICACHE_MEMORY_ROWS} || 1_000_000;
my $TRANSACTIONS = $ENV{CLINICACHE_MEMORY_TRANSACTIONS} || 100_000;

# what a huge transaction may take, PostgreSQL's own queue of triggers included
my $HUGE_KB = 64 * 1024;
# what a session may grow by for good: by a huge transaction, or between the first
# tenth of many and their end
my $CONTEXTS_KB = 256;
my $PROCESS_KB = 2048;

my $node = PostgreSQL::Test::Cluster->new('memory');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
fsync = off
autovacuum = off
max_wal_size = 4GB
jit = off
clinicache.delivery = 'commit'
});
$node->start;
sql('CREATE EXTENSION clinicache');

# ---------------------------------------------------------------- helpers

sub sql { return $node->safe_psql('postgres', shift) }

sub position { return sql('SELECT clinicache.position()') }

sub changes
{
	my ($since, @tenants) = @_;
	my $tenants = @tenants ? "'{" . join(',', @tenants) . "}'" : 'NULL';
	return decode_json(sql("SELECT clinicache.changes('$since', $tenants, max_tags => 100000000)"));
}

sub tags { return map { @$_ } values %{ $_[0]{tags} } }

sub session
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('SET synchronous_commit = off');
	$session->{pid} = $session->query_safe('SELECT pg_backend_pid()');
	return $session;
}

# kB of the process's own memory; shared buffers do not count.
sub own_memory
{
	my ($session) = @_;
	return slurp_file("/proc/$session->{pid}/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die 'no RssAnon';
}

# kB in use in memory contexts (what they hold grows by doubling: too coarse)
sub contexts
{
	my ($session) = @_;
	return $session->query_safe('SELECT (sum(used_bytes) / 1024)::int FROM pg_backend_memory_contexts');
}

# The most kB that the process had of its own while it ran the query.
sub peak
{
	my ($session, $query) = @_;
	my $samples = $node->basedir . '/samples';
	my $sampler = IPC::Run::start(
		[ 'perl', '-e', q{
			$| = 1;
			my $most = 0;
			while (open my $status, '<', "/proc/$ARGV[0]/status")
			{
				/^RssAnon:\s+(\d+)/ && $1 > $most && print(($most = $1), "\n") while <$status>;
				select undef, undef, undef, 0.01;
			}
		}, $session->{pid} ], '>', $samples);

	$session->query_safe($query);
	$sampler->kill_kill;
	my @samples = split /\n/, slurp_file($samples);
	die 'memory was not sampled' if !@samples;
	return $samples[-1];
}

# The growth while the query runs is small, after one like it on few rows.
sub huge_is_cheap
{
	my ($name, $session, $warm_up, $query) = @_;

	$session->query_safe($warm_up);
	my ($contexts, $process) = (contexts($session), own_memory($session));
	my $grown = peak($session, $query) - $process;
	my $kept = contexts($session) - $contexts;
	cmp_ok($grown, '<', $HUGE_KB, "$name: takes less than $HUGE_KB kB");
	cmp_ok($kept, '<', $CONTEXTS_KB, "$name: and gives it back");
	note "$name: grew by $grown kB at most, contexts by $kept kB for good";
	return;
}

# ------------------------------------------------- one huge transaction

sql(qq{
	CREATE UNLOGGED TABLE appointment(id int, clinic_id int, patient_id int, doctor_id int,
		appointment_date timestamptz, status text) WITH (fillfactor = 50);
	INSERT INTO appointment SELECT i, i % 300, i % 70000, i % 2000,
		'2026-11-21'::timestamptz + i * interval '1 minute', 'BOOKED' FROM generate_series(1, $ROWS) AS i;
	SELECT clinicache.track('appointment', 'appointment');
	ALTER TABLE appointment SET (autovacuum_enabled = off);
	CREATE UNLOGGED TABLE item(id int, owner int, v int DEFAULT 0) WITH (fillfactor = 50);
	SELECT clinicache.track('item', '{"tenant": "owner", "tags": ["item:{id}", "owner:{owner}"]}');
	INSERT INTO item SELECT i, i % 300 FROM generate_series(1, $ROWS) AS i;
});

my $session = session();
my $before = position();
huge_is_cheap("UPDATE of $ROWS rows, preset", $session,
	q{UPDATE appointment SET status = 'DONE' WHERE id <= 5000},
	q{UPDATE appointment SET status = 'CANCELLED'});
my $message = changes($before, 7);
ok(!$message->{reset}, 'preset: no reset');
my %prefixes = map { $_ => 1 } @{ $message->{prefixes} };
ok($prefixes{'appointment:'} && $prefixes{'appointments:patient:'}, 'preset: tags by row are told by prefix');
my %tags = map { $_ => 1 } tags($message);
ok($tags{'appointments:clinic:7'} && $tags{'appointments:all'}, 'preset: the others by name');
ok(!$tags{'appointments:clinic:8'}, 'preset: and not those of another tenant');

# every tag is kept: it is written in parts
$before = position();
huge_is_cheap("UPDATE of $ROWS rows, every tag", $session,
	q{SET clinicache.bulk_threshold = 1000000; UPDATE item SET v = 1 WHERE id <= 5000},
	q{UPDATE item SET v = 2});
is(sql(q{SELECT count(DISTINCT tag) FROM clinicache.invalidation_log, unnest(tags) AS tag
		WHERE tag LIKE 'item:%' AND xid = (SELECT max(xid) FROM clinicache.invalidation_log)}),
	$ROWS, 'every tag: all are in the log');
is(scalar(grep { /^item:/ } tags(changes($before, 7))), int(($ROWS + 293) / 300), 'every tag: a tenant is told its own');

# ------------------------------------------- more tenants than are told apart

$session->query_safe('RESET clinicache.bulk_threshold');
$before = position();
huge_is_cheap('100,000 tenants', $session,
	q{INSERT INTO item SELECT i, i FROM generate_series(1, 900) AS i},
	q{INSERT INTO item SELECT 2000000 + i, 2000000 + i FROM generate_series(1, 100000) AS i});
$message = changes($before, 2050000);
is(join(' ', sort @{ $message->{prefixes} }), 'item: owner:', '100,000 tenants: each is told, by prefixes');
ok(!$message->{reset}, '100,000 tenants: without a reset');
$message = changes($before, 'stranger');
is(join(' ', sort @{ $message->{prefixes} }), 'item: owner:', '100,000 tenants: and so is everybody else');
cmp_ok(sql(q{SELECT count(*) FROM clinicache.invalidation_log WHERE xid = (SELECT max(xid) FROM clinicache.invalidation_log)}),
	'<=', 2000, '100,000 tenants: in few records');

# ------------------------------------------------- very many savepoints

$before = position();
huge_is_cheap('100,000 savepoints', $session,
	q{DO $$BEGIN FOR i IN 1 .. 100 LOOP BEGIN INSERT INTO item VALUES (i, 1); EXCEPTION WHEN others THEN NULL; END; END LOOP; END$$},
	q{DO $$
	BEGIN
		FOR i IN 1 .. 100000 LOOP
			BEGIN
				INSERT INTO item VALUES (3000000 + i, i % 10);
				IF i > 500 THEN RAISE division_by_zero; END IF;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END$$});
is(scalar(grep { /^item:3\d{6}$/ } tags(changes($before))), 500, '100,000 savepoints: told are those that were not rolled back');
$session->quit;

# -------------------------------------------------- very many transactions

sql(q{
	CREATE UNLOGGED TABLE small(id int PRIMARY KEY, owner int, v int DEFAULT 0) WITH (fillfactor = 50);
	INSERT INTO small SELECT i, i % 30 FROM generate_series(1, 1000) AS i;
	SELECT clinicache.track('small', '{"tenant": "owner", "tags": ["small:{id}", "small:{owner}:{v}", "small:all"]}');
	-- a change of clinicache.tenant or of the table makes sessions read them again
	CREATE PROCEDURE many(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			UPDATE small SET v = v + 1 WHERE id = i % 1000 + 1;
			IF i % 3 = 0 THEN
				BEGIN
					UPDATE small SET v = v + 1 WHERE id = i % 1000;
					INSERT INTO small VALUES (i % 1000 + 1, 1);
				EXCEPTION WHEN unique_violation THEN NULL;
				END;
			END IF;
			IF i % 100 = 0 THEN PERFORM clinicache.changes(clinicache.position()); END IF;
			IF i % 500 = 0 THEN INSERT INTO clinicache.tenant VALUES ('x' || i % 7, 'UTC') ON CONFLICT (tenant) DO UPDATE SET timezone = 'UTC'; END IF;
			IF i % 1000 = 0 THEN COMMENT ON TABLE small IS 'again'; END IF;
			IF i % 11 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
	END$$;
	ALTER TABLE small SET (autovacuum_enabled = off)});

sub stays_flat
{
	my ($name, $session, $run) = @_;

	$run->($TRANSACTIONS / 10);
	my ($contexts, $process) = (contexts($session), own_memory($session));
	$run->($TRANSACTIONS - $TRANSACTIONS / 10);
	my $grown = contexts($session) - $contexts;
	my $process_grown = own_memory($session) - $process;
	cmp_ok($grown, '<', $CONTEXTS_KB, "$name: memory contexts do not grow");
	cmp_ok($process_grown, '<', $PROCESS_KB, "$name: nor does the process");
	note "$name: contexts $contexts + $grown kB, process $process + $process_grown kB";
	return;
}

$session = session();
stays_flat("$TRANSACTIONS transactions of a procedure", $session, sub { $session->query_safe("CALL many($_[0])") });

# Transactions of a client: each on its own, with errors and savepoints, and the
# calls of a subscriber.
my $round = join "\n", map { s/^\s+//mgr } map({ "UPDATE small SET v = v + 1 WHERE id = $_;" } 1 .. 7), q{
	\set ON_ERROR_STOP off
	BEGIN; UPDATE small SET v = 1 WHERE id = 8; SAVEPOINT a;
	UPDATE small SET v = 2 WHERE id BETWEEN 8 AND 12; ROLLBACK TO a;
	INSERT INTO small VALUES (9999, 1); RELEASE a; DELETE FROM small WHERE id = 9999; COMMIT;
	BEGIN; UPDATE small SET v = 3 WHERE id = 9; ROLLBACK;
	BEGIN; INSERT INTO small VALUES (9998, 1); DO $$BEGIN RAISE EXCEPTION SQLSTATE 'CC001'; END$$; COMMIT;
	SELECT clinicache.position() AS pos \gset
	SELECT count(clinicache.changes(:'pos')) AS n \gset
	SELECT count(clinicache.reached(:'pos')) AS n \gset
	SELECT clinicache.invalidate(ARRAY['by hand'], reason => 'test') AS n \gset
	SELECT count(*) AS n FROM clinicache.pending_tags() \gset
	SELECT clinicache.changes('no position') AS n \gset
};
my $script = $node->basedir . '/round.sql';
append_to_file($script, $round x 50);
my $per_script = 50 * 16;
$TRANSACTIONS /= 2;
stays_flat("$TRANSACTIONS transactions of a client", $session, sub
{
	$session->query("\\i $script") for 1 .. $_[0] / $per_script;
	$session->{stderr} = '';
	return;
});
is($session->query_safe('SELECT count(*) FROM small'), 1000, 'they left what they should');
$session->quit;

$node->stop;
done_testing();
