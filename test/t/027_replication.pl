# Two servers that both have clinicache, and a publication of everything between
# them: each keeps its own log, identity and vocabulary, and a replica whose
# triggers fire always feeds its own log and counters from what it applies, the
# first copy included.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('replication');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "fsync = off\nclinicache.delivery = 'log'\nmax_prepared_transactions = 10\nlogical_decoding_work_mem = 64kB\n");
$node->start;

sub on { my ($db, $sql) = @_; return $node->safe_psql($db, $sql) }

for my $db (qw(source replica))
{
	on('postgres', "CREATE DATABASE $db");
	on($db, q{CREATE EXTENSION clinicache; CREATE TABLE t(id int PRIMARY KEY)});
}
on('source', q{SELECT clinicache.track('t', '{"tags": ["t:{id}"]}');
	INSERT INTO t VALUES (1);
	INSERT INTO clinicache.tenant VALUES ('NY', 'America/New_York');
	INSERT INTO clinicache.profile (name, revalidate) VALUES ('own', 5);
	CREATE PUBLICATION everything FOR ALL TABLES});
on('source', q{SELECT pg_create_logical_replication_slot('s', 'pgoutput')});
on('replica', q{SELECT clinicache.track('t', '{"tags": ["t:{id}"], "fire": "always"}')});
my $identity = on('replica', 'SELECT epoch FROM clinicache.identity');
my $position = on('replica', 'SELECT clinicache.position()');

sub changes { return on('replica', "SELECT clinicache.changes('$position') - 'pos'") }

my $source = $node->connstr . ' dbname=source';
on('replica', "CREATE SUBSCRIPTION s CONNECTION '$source' PUBLICATION everything WITH (create_slot = false, slot_name = 's')");
ok($node->poll_query_until('replica', q{SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}),
	'every table is synchronised, ours too');
is(changes(), '{"v": 1, "tags": {"default": ["t:1"]}, "reset": false, "prefixes": []}',
	'the first copy is told by the replica itself');

on('source', q{INSERT INTO t VALUES (2); SELECT clinicache.new_epoch();
	UPDATE clinicache.tenant SET timezone = 'Asia/Tokyo'});
ok($node->poll_query_until('replica', q{SELECT count(*) = 1 FROM clinicache.tenant WHERE timezone = 'Asia/Tokyo'}),
	'tenants are replicated');
is(changes(), '{"v": 1, "tags": {"default": ["t:1", "t:2"]}, "reset": false, "prefixes": []}',
	'and so are changes, each told once');
is(on('replica', 'SELECT string_agg(epoch, $$ $$) FROM clinicache.identity'), $identity,
	'a new epoch there is none here');
is(on('replica', 'SELECT count(*) FROM clinicache.invalidation_log AS l WHERE NOT EXISTS
		(SELECT FROM t WHERE t.xmin::text = (l.xid::text::bigint % 4294967296)::text)'), 0,
	'the log holds transactions of this server only');
is(on('replica', q{SELECT count(*) FROM clinicache.profile WHERE name = 'own'}), 1,
	'what users added to the vocabulary arrives');

on('replica', 'DROP SUBSCRIPTION s');
is(on('replica', q{SET session_replication_role = replica; SELECT clinicache.new_epoch();
		SELECT count(*) FROM clinicache.identity WHERE epoch <> '} . $identity . q{'}), "\n1",
	'but a session in that role may do what any other may');

# ------------------------------------------------- counters of what is applied

# Another pair: a publication by name, a partitioned table at the replica, large
# transactions that are streamed while they run, prepared ones.
for my $db (qw(here there))
{
	on('postgres', "CREATE DATABASE $db");
	on($db, join ";\n", 'CREATE EXTENSION clinicache', q{INSERT INTO clinicache.tenant VALUES ('7', 'Asia/Tokyo')},
		'CREATE TABLE visit(id int, clinic int, seen timestamp, fee numeric, PRIMARY KEY (id, clinic))'
		  . ($db eq 'there' ? ' PARTITION BY LIST (clinic)' : ''),
		$db eq 'there' ? map({ "CREATE TABLE visit_$_ PARTITION OF visit FOR VALUES IN ($_)" } 7, 8) : (),
		q{SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["visit:{id}"], "fire": "always",
			"counters": [{"counter": "visits", "by": {"clinic": "clinic"}, "day": "seen", "sum": "fee"}]}')});
}
on('here', $_) for (q{INSERT INTO visit SELECT i, 7 + i % 2, '2026-11-20 20:00', i FROM generate_series(1, 1000) AS i},
	'CREATE PUBLICATION visits FOR TABLE visit', q{SELECT pg_create_logical_replication_slot('v', 'pgoutput', false, true)});

my $counters = q{SELECT concat_ws(' ', clinicache.count('visits', 'clinic', '7'), clinicache.total('visits', 'clinic', '7'), clinicache.total('visits', 'clinic', '8')),
	concat_ws(' ', (SELECT count(*) FROM visit WHERE clinic = 7), (SELECT coalesce(sum(fee), 0) FROM visit WHERE clinic = 7), (SELECT coalesce(sum(fee), 0) FROM visit WHERE clinic = 8))};

sub is_counted
{
	my ($name) = @_;
	my ($counter, $table) = split /\|/, on('there', $counters);
	is($counter, $table, "$name: counters are right");
	is(on('there', 'SELECT count(*) FROM clinicache.verify()'), 0, "$name: verify()");
	is(on('there', 'SELECT bool_and(valid) FROM clinicache.counter_registry'), 't', "$name: they are valid");
	is(on('there', 'SELECT sum(fee) FROM visit'), on('here', 'SELECT sum(fee) FROM visit'), "$name: the rows are there");
	return;
}

# tags and prefixes at the replica since then
sub told
{
	my $message = decode_json(on('there', "SELECT clinicache.changes('$position', max_tags => 1000000)"));
	return 'reset' if $message->{reset};
	return join ' ', sort((map { @$_ } values %{ $message->{tags} }), map { "$_*" } @{ $message->{prefixes} });
}

sub arrives
{
	my (@statements) = @_;
	$position = on('there', 'SELECT clinicache.position()');
	on('here', $_) for @statements;
	$node->wait_for_catchup('v');
	return;
}

my $streaming = on('here', q{SELECT CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'parallel' ELSE 'on' END});
$position = on('there', 'SELECT clinicache.position()');
on('there', sprintf q{CREATE SUBSCRIPTION v CONNECTION '%s dbname=here' PUBLICATION visits
	WITH (create_slot = false, slot_name = 'v', streaming = %s, two_phase = true)}, $node->connstr, $streaming);
ok($node->poll_query_until('there', q{SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}), 'counters: the first copy');
is(scalar(grep { /^visit:(?:\d+|\*)$/ } split / /, told()), 1000, 'the first copy: told');
is_counted('the first copy');

arrives('UPDATE visit SET fee = fee + 1 WHERE id = 1', 'DELETE FROM visit WHERE id = 2', 'UPDATE visit SET clinic = 15 - clinic WHERE id = 3');
is(told(), 'visit:1 visit:2 visit:3', 'changes: told');
is_counted('changes');
arrives('BEGIN; SAVEPOINT s; UPDATE visit SET fee = 0 WHERE id = 4; ROLLBACK TO s; UPDATE visit SET fee = 9 WHERE id = 5; COMMIT');
is(told(), 'visit:5', 'a savepoint: told');
is_counted('a savepoint');
arrives(q{SET logical_decoding_work_mem = '64kB'; BEGIN; SAVEPOINT a; INSERT INTO visit SELECT i, 7, '2026-11-20 20:00', 1 FROM generate_series(2000, 3000) AS i;
	ROLLBACK TO a; INSERT INTO visit SELECT i, 7, '2026-11-20 20:00', 1 FROM generate_series(4000, 14000) AS i; COMMIT});
is(told(), 'visit:*', 'a large transaction: told');
is_counted('a large transaction');
arrives(q{BEGIN; UPDATE visit SET fee = fee + 1 WHERE id = 6; PREPARE TRANSACTION 'six'});
is(told(), '', 'prepared: not told');
is(on('there', 'SELECT count(*) FROM pg_prepared_xacts'), 2, 'prepared: here and there');
arrives(q{COMMIT PREPARED 'six'});
is(told(), 'visit:6', 'committed: told');
is_counted('committed');
on('there', 'CALL clinicache.maintain()');
is_counted('upkeep');
arrives('TRUNCATE visit', q{INSERT INTO visit VALUES (1, 7, '2026-11-20 20:00', 1)});
is(told(), 'visit:* visit:1', 'TRUNCATE: told');
is_counted('TRUNCATE');

# triggers that do not fire for it
my $unheard = q{SELECT remedy FROM clinicache.health() WHERE object = 'public.visit' AND finding LIKE 'logical replication writes to it%'};
is(on('there', $unheard), '', 'triggers that fire always: health() is content');
on('there', 'ALTER TABLE visit ENABLE TRIGGER clinicache');
my $remedy = on('there', $unheard);
isnt($remedy, '', 'triggers that do not fire for what is applied: health() says so');
arrives(q{INSERT INTO visit VALUES (2, 7, '2026-11-20 20:00', 1)});
is(told(), '', 'and is right');
on('there', $remedy);
is(on('there', $unheard), '', 'its remedy: health() is content');
arrives(q{INSERT INTO visit VALUES (3, 7, '2026-11-20 20:00', 1)});
is(told(), 'visit:3', 'its remedy: changes are told');
is_counted('its remedy');
on('there', 'DROP SUBSCRIPTION v');
is(on($_, 'SELECT count(*) FROM clinicache.verify()'), 0, "at the end, $_: verify()") for qw(here there);
$node->stop;
done_testing();
