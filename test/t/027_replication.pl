# Two servers that both have clinicache, and a publication of everything between
# them: each keeps its own log, identity and vocabulary, and a replica whose
# triggers fire always feeds its own log from what it applies.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('replication');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "fsync = off\nclinicache.delivery = 'log'\n");
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
done_testing();
