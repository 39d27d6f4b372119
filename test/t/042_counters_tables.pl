# Counters while tables are tracked, truncated, broken, dropped and restored: what
# count() says is right, or it says nothing, or it fails; never a wrong number.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('tables');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf(
	'postgresql.conf', q{
fsync = off
autovacuum = off
log_statement = none
max_prepared_transactions = 5
clinicache.delivery = 'log'
clinicache.timezone = 'UTC'
});
$node->start;

# ---------------------------------------------------------------- helpers

sub sql { return $node->safe_psql('postgres', join ";\n", @_) }

sub session
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('SET client_min_messages = error');
	return $session;
}

# a configuration with one counter of the table's name
sub config
{
	my ($table, %more) = @_;
	return qq({"tenant": "clinic", "tags": ["$table:{id}"], "counters": [{"counter": "$table", )
	  . q("by": {"clinic": "clinic"}, "day": "day")
	  . join('', map { qq(, "$_": "$more{$_}") } sort keys %more) . '}]}';
}

sub track { my ($table, @more) = @_; return "SELECT clinicache.track('$table', '" . config($table, @more) . "'::jsonb)" }

# What the counter and the table say of a clinic: "n n" if they agree.
sub both_sql
{
	my ($table, $clinic) = (@_, 'a');
	return "SELECT concat_ws(' ', clinicache.count('$table', 'clinic', '$clinic'), "
	  . "(SELECT count(*) FROM $table WHERE clinic = '$clinic'))";
}

sub both { return sql(both_sql(@_)) }

sub valid
{
	my ($counter) = @_;
	return sql("SELECT string_agg(valid::text, ' ') FROM clinicache.counter_registry WHERE counter = '$counter'");
}

sub fold { return sql('SELECT clinicache.maintain_fold()') }

sub verified
{
	return sql(q(SELECT concat_ws(' ', counter, dimension, left(key, 10), day, class, n, total) FROM clinicache.verify()));
}

my $COLUMNS = '(id int, clinic text, kind text, day timestamp, amount numeric)';
sub rows
{
	my ($table, $n, $clinic) = (@_, 'a');
	return "INSERT INTO $table SELECT i, '$clinic', 'x', '2026-01-01 23:30', 1.5 FROM generate_series(1, $n) AS i";
}

sql('CREATE EXTENSION clinicache');

# ------------------------------------------------ within one transaction

my $s = session();
my $steps = sub { return $s->query_safe($_[0]) };
$steps->($_) for 'BEGIN', "CREATE TABLE one $COLUMNS", rows('one', 10);
is($steps->(q(SELECT clinicache.count('one', 'clinic', 'a') IS NULL)), 't', 'not tracked: null');
$steps->(track('one'));
is($steps->(both_sql('one')), '10 10', 'tracked in the transaction that filled it');
$steps->(rows('one', 5));
is($steps->(both_sql('one')), '15 15', 'and goes on');
$steps->($_) for 'SAVEPOINT s', 'TRUNCATE one';
is($steps->(both_sql('one')), '0 0', 'TRUNCATE in a savepoint');
$steps->(rows('one', 3));
is($steps->(both_sql('one')), '3 3', 'filled again');
$steps->($_) for 'ROLLBACK TO s', rows('one', 1);
is($steps->(both_sql('one')), '16 16', 'TRUNCATE rolled back');
$steps->('COMMIT');
is(both('one'), '16 16', 'committed');
fold();
is(both('one'), '16 16', 'folded');

$steps->($_) for 'BEGIN', rows('one', 4), 'TRUNCATE one', rows('one', 2);
is($steps->(both_sql('one')), '2 2', 'rows from before TRUNCATE do not count');
$steps->('ROLLBACK');
is(both('one'), '16 16', 'rolled back');

# another transaction's track, seen by an old snapshot
sql("CREATE TABLE two $COLUMNS", rows('two', 7));
$steps->('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM two');
sql(track('two'));
sql(rows('two', 2));
is($steps->(both_sql('two')), '7 7', 'a snapshot from before track()');
$steps->('COMMIT');
is($steps->(both_sql('two')), '9 9', 'and one from after it');

# other counters
sql(track('two', sum => 'amount', class => 'kind'));
is(sql(q(SELECT clinicache.total('two', 'clinic', 'a'))), '13.5', 'tracked again with a sum');
is(sql(q(SELECT clinicache.count('two', 'clinic', 'a', '{X}'))), '9', 'and a class');
sql(rows('two', 1));
is(both('two'), '10 10', 'and goes on');
fold();
is(verified(), '', 'verify()');
$steps->($_) for 'BEGIN', q(SELECT clinicache.untrack('two'));
is($steps->(q(SELECT clinicache.count('two', 'clinic', 'a') IS NULL)), 't', 'untracked: null');
$steps->('ROLLBACK');
is(both('two'), '10 10', 'rolled back');

# counters that were folded, prepared and given up
sql("BEGIN; " . rows('two', 5) . "; PREPARE TRANSACTION 'p'");
fold();
sql(q(COMMIT PREPARED 'p'));
is(both('two'), '15 15', 'prepared before a fold, committed after it');
sql(q(SELECT clinicache.untrack('two')));
is(sql(q(SELECT clinicache.count('two', 'clinic', 'a') IS NULL)), 't', 'untracked');
sql('DROP TABLE two', 'DROP TABLE one');
sql('CALL clinicache.maintain()');
is(sql('SELECT count(*) FROM clinicache.counter_source'), '0', 'maintain() cleans counter_source');
is(sql('SELECT count(*) FROM clinicache.counter_cell'), '0', 'and counter_cell');

# --------------------------------------------------------- partitions

sql(q(CREATE TABLE part (id int, clinic text, kind text, day timestamp, amount numeric) PARTITION BY LIST (kind)),
	q(CREATE TABLE part_x PARTITION OF part FOR VALUES IN ('x')),
	q(CREATE TABLE part_y PARTITION OF part FOR VALUES IN ('y')),
	track('part'), rows('part', 6), q(UPDATE part SET kind = 'y' WHERE id <= 2));
is(both('part'), '6 6', 'rows that move between partitions');
sql('TRUNCATE part_y');
is(both('part'), '4 4', 'TRUNCATE of a partition');
is(valid('part'), 'false', 'which is not counted any more');
sql(q(SELECT clinicache.rebuild('part')));
is(valid('part'), 'true', 'until it is rebuilt');
sql('TRUNCATE part', rows('part', 5));
is(valid('part'), 'true', 'TRUNCATE of all of it');
is(both('part'), '5 5', 'is counted');
sql('BEGIN; LOCK TABLE part IN ACCESS EXCLUSIVE MODE; TRUNCATE part_x; COMMIT');
is(both('part'), '0 0', 'TRUNCATE of a partition while the root is locked');
sql(q(SELECT clinicache.rebuild('part')));
sql('BEGIN', 'TRUNCATE part', rows('part', 5), q(INSERT INTO part VALUES (1, 'a', 'y')), 'TRUNCATE part_x', 'COMMIT');
is(both('part'), '1 1', 'TRUNCATE of both, one after the other');
sql(q(SELECT clinicache.untrack('part')), 'DROP TABLE part');

# ------------------------------------------- a count while others write

sql("CREATE TABLE busy $COLUMNS", track('busy'), rows('busy', 3));
$steps->($_) for 'BEGIN', rows('busy', 2);
my $other = session();
$other->query_until(qr/began/, qq(\\echo began\nSELECT clinicache.rebuild('busy');\n));
ok($node->poll_query_until('postgres',
	q(SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'busy'::regclass)),
	'rebuild() waits for those who write');
$steps->('COMMIT');
$other->query_safe('SELECT 1');
is(both('busy'), '5 5', 'and counts what they wrote');

# Time zones that change while a table is counted anew, or for the first time.
for my $case (
	[ 'rebuild()', track('busy'), q(SELECT clinicache.rebuild('busy')) ],
	[ 'track() again', track('busy'), track('busy', sum => 'amount') ],
	[ 'TRUNCATE', track('busy'), 'TRUNCATE busy; ' . rows('busy', 4) ],
	[ 'track()', q(SELECT clinicache.untrack('busy')), track('busy') ],
	[ 'a write', track('busy'), rows('busy', 1) ])
{
	my ($name, $before, $within) = @$case;
	sql($before, q(DELETE FROM clinicache.tenant));
	$steps->($_) for 'BEGIN', $within;
	$other->query_until(qr/began/, qq(\\echo began\nSELECT clinicache.set_timezone('a', 'Asia/Tokyo');\n));
	$node->poll_query_until('postgres', q(SELECT count(*) >= 1 FROM pg_locks WHERE NOT granted))
	  or die 'set_timezone() does not wait';
	$steps->('COMMIT');
	$other->query_safe('SELECT 1');
	is(verified(), '', "set_timezone() waits for $name");
	is(sql(q(SELECT string_agg(DISTINCT day::text, ' ') FROM clinicache.series('busy', 'clinic', 'a', 'day', NULL, NULL))),
		'2026-01-02', "and counts for the zone's days ($name)");
}

# A name longer than a key.
my $long = 'x' x 300;
sql(rows('busy', 1, $long), "SELECT clinicache.set_timezone('$long', 'Asia/Tokyo')", rows('busy', 1, $long));
is(sql("SELECT concat_ws(' ', day, n) FROM clinicache.series('busy', 'clinic', '$long', 'day', NULL, NULL)"),
	'2026-01-02 2', 'a tenant with a long name has its own zone too');
is(verified(), '', 'verify()');

# ------------------------------------------------ configuration broken
# (which the event triggers would refuse)

sql(q(CREATE TABLE broken (id int, clinic text, day date, extra text)),
	q(SELECT clinicache.track('broken', '{"tenant": "clinic", "tags": ["broken:{id}:{extra}"],
	  "counters": [{"counter": "broken", "by": {"clinic": "clinic"}, "day": "day"}]}'::jsonb)),
	q(INSERT INTO broken SELECT i, 'a', '2026-01-01' FROM generate_series(1, 10) AS i),
	"CREATE TABLE sound $COLUMNS", track('sound', sum => 'amount'));
fold();
sql('SET session_replication_role = replica', 'ALTER TABLE broken DROP COLUMN extra');
$steps->($_) for 'BEGIN', 'SAVEPOINT s', q(INSERT INTO broken VALUES (11, 'a', '2026-01-01')), 'ROLLBACK TO s', 'COMMIT';
sql('ALTER TABLE broken ADD COLUMN extra text');
is(both('broken'), '10 10', 'a change that was not counted, rolled back');
is(valid('broken'), 'true', 'does no harm');
sql('SET session_replication_role = replica', 'ALTER TABLE broken DROP COLUMN extra');
sql(q(INSERT INTO broken SELECT i, 'a', '2026-01-01' FROM generate_series(11, 20) AS i));
my ($status, $out, $error) = $node->psql('postgres', both_sql('broken'));
isnt($status, 0, 'rows that could not be counted: count() fails');
like($error, qr/column "extra" of table "broken" does not exist/, 'and says why');
# records of other counters follow: the fold read freed memory
sql('DO $$ BEGIN FOR i IN 1 .. 300 LOOP INSERT INTO sound VALUES (i, \'a\', NULL, \'2026-01-01\', i); COMMIT; END LOOP; END $$');
ok(defined fold(), 'a fold over them, and others');
is(valid('broken'), 'false', 'the counter is not valid');
is(valid('sound'), 'true', 'the other is');
is(sql(q(SELECT clinicache.total('sound', 'clinic', 'a'))), '45150', 'and right');
sql('ALTER TABLE broken ADD COLUMN extra text');
is(both('broken'), '20 20', 'repaired: counted live');
sql(q(INSERT INTO broken VALUES (21, 'a', '2026-01-01')));
is(both('broken'), '21 21', 'changes are counted live too');
fold();
is(both('broken'), '21 21', 'and still after a fold');
sql(q(SELECT clinicache.rebuild('broken')));
is(valid('broken'), 'true', 'rebuild() makes it valid');
is(both('broken'), '21 21', 'and right');
sql('SET session_replication_role = replica', 'ALTER TABLE broken DROP COLUMN extra', 'RESET session_replication_role', q(DELETE FROM broken WHERE id <= 5));
sql(q(SELECT clinicache.track('broken', '{"tenant": "clinic", "tags": ["broken:{id}"],
	  "counters": [{"counter": "broken", "by": {"clinic": "clinic"}, "day": "day"}]}'::jsonb)));
is(valid('broken'), 'true', 'so does track()');
is(both('broken'), '16 16', 'and is right');
($status, $out, $error) = $node->psql('postgres',
	q(SET session_replication_role = replica; ALTER TABLE broken DROP COLUMN day; RESET session_replication_role; SET clinicache.on_error = 'error'; INSERT INTO broken VALUES (1, 'a')));
isnt($status, 0, 'on_error = error: the change fails');
sql('DROP TABLE broken');
is(verified(), '', 'verify()');

# -------------------------------------------------------- dump, restore

sql(q(CREATE TABLE kept (id int, clinic text, kind text, day timestamptz, amount numeric)), track('kept', sum => 'amount'),
	q(INSERT INTO kept SELECT i, 'a', 'x', '2026-01-01 23:30Z', i FROM generate_series(1, 100) AS i),
	q(SELECT clinicache.set_timezone('a', 'Africa/Cairo')));
fold();
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
sql('CREATE DATABASE copy');
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'restore');
sub on_copy { return $node->safe_psql('copy', join ";\n", @_) }
my $series = q(SELECT string_agg(concat_ws(' ', day, n, trim_scale(total)), ', ')
	FROM clinicache.series('kept', 'clinic', 'a', 'day', NULL, NULL));
is(on_copy($series), sql($series), 'restored: counted live');
is(on_copy('SELECT count(*) FROM clinicache.counter_source'), '0', 'nothing of it is registered');
on_copy(q(INSERT INTO kept VALUES (101, 'a', 'x', '2026-01-01 12:00Z', 5)));
is(on_copy(both_sql('kept')), '101 101', 'changes are seen');
on_copy('CALL clinicache.maintain()');
is(on_copy(both_sql('kept')), '101 101', 'upkeep does not change that');
is(on_copy(q(SELECT clinicache.rebuild('kept'))), '101', 'rebuild()');
is(on_copy('SELECT bool_and(valid) FROM clinicache.counter_registry'), 't', 'makes it valid');
on_copy(q(INSERT INTO kept VALUES (102, 'a', 'x', '2026-01-01 12:00Z', 5)));
is(on_copy(both_sql('kept')), '102 102', 'and it goes on');
is(on_copy($series), '2026-01-01 2 10, 2026-01-02 100 5050', 'exact');
is(on_copy(q(SELECT count(*) FROM clinicache.verify())), '0', 'verify()');

$s->quit;
$other->quit;
$node->stop;
done_testing();
