# An error in the middle, a lock that can not be had, a namesake: what is kept
# across transactions or for the next row must not be left half done.  Each case
# once lost a tag without a word.

use strict;
use warnings;

use DBI;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('errors');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
fsync = off
clinicache.delivery = 'commit'
});
$node->start;

sub connection
{
	return DBI->connect('dbi:Pg:host=' . $node->host . ';port=' . $node->port . ';dbname=postgres',
		'', '', { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
}

my $db = connection();        # looks on
$db->do(q{
	SET client_min_messages = warning;
	CREATE EXTENSION clinicache;
	CREATE TYPE mood AS ENUM ('x', 'y');
	CREATE TABLE t(id int, clinic text, at timestamptz, note text, e mood);
	SELECT clinicache.track('t', '{"tenant": "clinic", "tags": ["t:{id}", "day:{at|date}", "note:{note}", "e:{e}"]}');
	INSERT INTO clinicache.tenant VALUES ('NY', 'America/New_York')});
my $position;
mark();

sub mark { ($position) = $db->selectrow_array('SELECT clinicache.position()') }

# Tags and prefixes (as P*) since the last mark, in order.
sub told
{
	my ($text) = $db->selectrow_array('SELECT clinicache.changes(?)', undef, $position);
	my $message = decode_json($text);
	mark();
	return 'reset' if $message->{reset};
	return join ' ', sort map { @$_ } values %{ $message->{tags} }, [ map { "$_*" } @{ $message->{prefixes} } ];
}

# Holds a lock while the code runs.
sub while_locked
{
	my ($lock, $code) = @_;
	my $holder = connection();
	$holder->begin_work;
	$holder->do($lock);
	$code->();
	$holder->rollback;
	$holder->disconnect;
}

sub fails_with
{
	my ($session, $statement, $state, $what) = @_;
	eval { $session->do($statement); 1 };
	is($session->state, $state, $what);
}

# ---------------------------------------------------- a spill fails in a savepoint

my $slots = 'LOCK TABLE ' . join(', ', map { "clinicache.invalidation_log_$_" } 0 .. 7) . ' IN ACCESS EXCLUSIVE MODE';
{
	my $s = connection();
	$s->do(q{SET clinicache.bulk_threshold = 1000000; SET lock_timeout = '200ms'});
	$s->begin_work;
	$s->do(q{INSERT INTO t(id, clinic) VALUES (1, 'A')});
	$s->do('SAVEPOINT s');
	while_locked($slots, sub {
		fails_with($s, q{INSERT INTO t(id, clinic, note) SELECT i, 'A', repeat('x', 180) || i FROM generate_series(100, 40000) AS i},
			'55P03', 'a spill that gets no slot is an error');
	});
	$s->do('ROLLBACK TO s');
	$s->do(q{INSERT INTO t(id, clinic) VALUES (2, 'B')});
	$s->commit;
	is(told(), 't:1 t:2', 'what the enclosing level had is told after a spill failed');
}

# -------------------------------------- a cache is being loaded when the lock is held

{
	my $s = connection();
	$s->do(q{SET lock_timeout = '200ms'});
	while_locked('LOCK TABLE clinicache.tenant', sub {
		fails_with($s, q{INSERT INTO t(id, clinic, at) VALUES (3, 'NY', '2026-11-21 02:00Z')},
			'55P03', 'no time zones to be had: an error');
	});
	$s->do(q{INSERT INTO t(id, clinic, at) VALUES (3, 'NY', '2026-11-21 02:00Z')});
	is(told(), 'day:2026-11-20 t:3', 'and the next time they are read');
}
{
	my $s = connection();
	$s->do(q{SET lock_timeout = '200ms'});
	while_locked('LOCK TABLE clinicache.profile', sub {
		$s->do(q{INSERT INTO t(id) VALUES (4)});
	});
	is(told(), 't:4', 'a commit does not wait for the table of profiles');
}
{
	my $s = connection();
	$s->do('SET force_parallel_mode = on') if $node->pg_version < 16;
	$s->do('SET debug_parallel_query = on') if $node->pg_version >= 16;
	is(($s->selectrow_array(q{SELECT clinicache.tag('day:{d|date}', '{"d": "2026-11-21T02:00:00Z", "tenant": "NY"}')}))[0],
		'day:2026-11-20', 'tag() in a parallel plan knows the time zones');
	$s->do(q{INSERT INTO t(id, clinic, at) VALUES (5, 'NY', '2026-11-21 02:00Z')});
	is(told(), 'day:2026-11-20 t:5', 'and the session does so afterwards');
}

# ------------------------------------------------ rendering fails after the memo was asked

{
	my $s = connection();
	$s->do(q{SET lock_timeout = '200ms'});
	$s->begin_work;
	$s->do(q{INSERT INTO t(e) SELECT 'x' FROM generate_series(1, 6)});
	$s->do('SAVEPOINT s');
	my $y = q{INSERT INTO t(e) VALUES (enum_last(NULL::mood))};
	while_locked('LOCK TABLE pg_catalog.pg_enum', sub { fails_with($s, $y, '55P03', 'a value that can not be rendered') });
	$s->do('ROLLBACK TO s');
	$s->do($y);
	$s->commit;
	is(told(), 'e:x e:y', 'its tag is told when it works the second time');
}

# ----------------------------------------------------------- somebody's own row_change()

{
	my $s = connection();
	$s->do(q{
		SET client_min_messages = warning;
		CREATE FUNCTION public.row_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER audit AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION public.row_change('{"tags": []}')});
	is(($s->selectrow_array(q{SELECT count(*) FROM clinicache.preview('t', NULL, '{"id": 1}')}))[0], 1,
		'preview() is not misled by a namesake of the trigger function');
	$s->do(q{INSERT INTO t(id) VALUES (6)});
	is(told(), 't:6', 'nor is the trigger');
	$s->do(q{CREATE TRIGGER zz AFTER INSERT ON t FOR EACH ROW
		EXECUTE FUNCTION clinicache.row_change('{"tags": [{"tag": "zz:{id}"}]}')});
	$s->do(q{INSERT INTO t(id) VALUES (7)});
	is(told(), 't:7 zz:7', 'two triggers of ours on a table both count');
	$s->do('DROP TRIGGER zz ON t; DROP TRIGGER audit ON t');
}

# ------------------------------------------------------- the time that windows are judged by

$db->do(q{
	CREATE TABLE w(id int, at timestamptz, n int);
	SELECT clinicache.track('w', '{"tags": [{"tag": "past:{id}", "window": "past", "time": "at"}]}');
	CREATE PROCEDURE night() LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO w VALUES (1, clock_timestamp() + '100 ms');
	  COMMIT;
	  PERFORM pg_sleep(1.3);
	  UPDATE w SET n = 1;
	END $$});
mark();
$db->do('CALL night()');
# the first commit may say as well that the window opens just then
like(told(), qr/^(?:past:\* )?past:1$/, 'time passes in a procedure');

$db->do(q{
	CREATE TABLE h(id int, at timestamptz, txt text);
	SELECT clinicache.track('h', '{"tags": ["a:{at|date}:{txt|date}", {"tag": "p:{txt}", "window": "past", "time": "at"}]}')});
mark();
$db->do(q{INSERT INTO h VALUES (1, now() - interval '1 second', 'garbage')});
is(told(), 'a:* p:garbage', 'what is no day does not spoil the time that was read before it');

# ------------------------------------------------------------------- tenants' values, prefixes

$db->do(q{
	CREATE TABLE f(id int, clinic text, ssn text);
	SELECT clinicache.track('f', '{"tenant": "clinic", "tags": ["f:{id}", "file:{ssn}:*"]}')});
mark();
$db->do(q{INSERT INTO f SELECT 1, 'c1', 's' || i FROM generate_series(1, 1001) AS i});
is(told(), 'f:1 file:*', 'prefixes that rows make collapse as tags do');
$db->begin_work;
$db->do(q{INSERT INTO f SELECT 1, 'c' || i, 'secret' || i FROM generate_series(1, 1100) AS i});
$db->do(q{SELECT clinicache.invalidate('{hand:secret}', 'c5')});
$db->commit;
my ($values) = $db->selectrow_array(q{SELECT count(*) FROM clinicache.invalidation_log
	WHERE tenant IS NULL AND (tags::text ~ 'secret' OR prefixes::text ~ 'secret')});
is($values, 0, 'what is told to everybody holds no tenant\'s values');
is(told(), '*', 'a tag given by hand for one of too many tenants is told as everything');

my ($covers) = $db->selectrow_array(q{SELECT starts_with(
	clinicache.tag('list:{name}:page:{p}', a), rtrim(clinicache.tag('list:{name}:*', a), '*'))
	FROM (SELECT jsonb_build_object('name', repeat('n', 300), 'p', 1)) AS x(a)});
ok($covers, 'a long prefix covers the long tags that begin with it');

# --------------------------------------------------------------- loops with EXCEPTION blocks

$db->do(q{DO $$
	BEGIN
	  FOR i IN 1..1500 LOOP
	    BEGIN INSERT INTO f VALUES (i, 'd' || i); EXCEPTION WHEN division_by_zero THEN NULL; END;
	  END LOOP;
	END $$});
my ($records) = $db->selectrow_array(
	q{SELECT count(*) FROM clinicache.invalidation_log WHERE at > now() - interval '1 hour' AND tenant ~ '^d'});
is($records, 0, 'too many tenants in released subtransactions are one record for everybody');
is(told(), 'f:*', 'with the prefix');

# ------------------------------------------------- our tables changed under the library's feet

$db->do('ALTER TABLE clinicache.invalidation_log_3 RENAME TO elsewhere');
fails_with(connection(), 'INSERT INTO t(id) VALUES (8)', '42P01', 'a part of the log is gone: an error, not silence');
$db->do('ALTER TABLE clinicache.elsewhere RENAME TO invalidation_log_3');
$db->do('ALTER TABLE clinicache.invalidation_log ADD COLUMN mine int');
fails_with(connection(), 'INSERT INTO t(id) VALUES (8)', '55000', 'a log of another shape: an error, not a crash');
$db->do('ALTER TABLE clinicache.invalidation_log DROP COLUMN mine');
is(told(), '', 'neither change was made');

$db->do('DROP EXTENSION clinicache CASCADE; CREATE ROLE mallory; ALTER SCHEMA clinicache OWNER TO mallory');
fails_with($db, 'CREATE EXTENSION clinicache', '55000', 'not into a schema that is somebody else\'s');

done_testing();
