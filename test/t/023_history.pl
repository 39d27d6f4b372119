# Histories: a position of another server, another database, another epoch or
# the future answers reset. Dumps carry the tracking and what users added to the
# vocabulary, not the log. Logical decoding sees nothing of the log.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $main = PostgreSQL::Test::Cluster->new('main');
$main->init(allows_streaming => 'logical');
$main->append_conf(
	'postgresql.conf', q{
fsync = off
autovacuum = off
clinicache.delivery = 'log'
});
$main->start;

# ---------------------------------------------------------------- helpers

sub sql
{
	my ($node, $database, $query) = @_;
	return $node->safe_psql($database, $query);
}

sub position { return sql(@_[ 0, 1 ], 'SELECT clinicache.position()') }

# "reset", or the tags and prefixes in order
sub changes
{
	my ($node, $database, $since) = @_;
	my $message = decode_json(
		sql($node, $database, "SELECT clinicache.changes('$since', max_tags => 10000000)"));

	return 'reset' if $message->{reset};
	return join ' ', sort((map { @$_ } values %{ $message->{tags} }),
		map { "$_*" } @{ $message->{prefixes} });
}

sub insert
{
	my ($node, $database, $id) = @_;
	return sql($node, $database, "INSERT INTO item VALUES ($id, 7)");
}

sub maintain { return sql(@_[ 0, 1 ], 'CALL clinicache.maintain()') }

# The place works: positions of its own are good, its writes are logged.
my $next_id = 100000;
sub works
{
	my ($node, $database, $name) = @_;
	my $position = position($node, $database);
	my ($a, $b) = ($next_id++, $next_id++);

	insert($node, $database, $a);
	is(changes($node, $database, $position), "item:$a owner:7", "$name: tracks");
	maintain($node, $database);
	insert($node, $database, $b);
	is(changes($node, $database, $position), "item:$a item:$b owner:7", "$name: upkeep works");
	return $position;
}

# --------------------------------------------------------------- the original

sql($main, 'postgres', 'CREATE DATABASE clinic');
sql($main, 'clinic', q{
	CREATE EXTENSION clinicache;
	CREATE ROLE app;
	CREATE ROLE reader LOGIN;
	GRANT CREATE ON SCHEMA public TO app;
	SELECT clinicache.grant_tracker('app');
	SELECT clinicache.grant_subscriber('reader', '{7}');

	INSERT INTO clinicache.profile(name, revalidate) VALUES ('tiny', 3);
	INSERT INTO clinicache.entity(name, tables, tenant, columns, tags) VALUES
		('gadget', '{gadget}', 'clinic', '{"id": [], "clinic": []}', '[["gadget:{id}", "tiny"]]');
	INSERT INTO clinicache.alias(column_name, candidates) VALUES ('shelf', '{board}');
	INSERT INTO clinicache.class(name, labels) VALUES ('dozing', '{asleep}');
	INSERT INTO clinicache.tenant VALUES ('7', 'Asia/Tokyo'), ('8', 'Africa/Cairo');

	SET ROLE app;
	CREATE TABLE item(id bigint PRIMARY KEY, owner int);
	SELECT clinicache.track('item', '{"tenant": "owner",
		"tags": ["item:{id}", {"tag": "owner:{owner}", "profile": "minutes"}]}');
	CREATE TABLE gadget(id int PRIMARY KEY, clinic_id int);
	SELECT clinicache.track('gadget', 'gadget');
	CREATE TABLE visit(id int, clinic int, seen timestamp, PRIMARY KEY (id, clinic)) PARTITION BY LIST (clinic);
	CREATE TABLE visit_7 PARTITION OF visit FOR VALUES IN (7);
	CREATE TABLE visit_8 PARTITION OF visit FOR VALUES IN (8);
	SELECT clinicache.track('visit', '{"tenant": "clinic", "fire": "always",
		"tags": ["visit:{id}", "visits:day:{seen|date}", {"tag": "odd:''\"\\\\:{id}", "profile": "tiny"}]}');
});
my $first = position($main, 'clinic');
insert($main, 'clinic', 1);
my $original = works($main, 'clinic', 'original');
is(changes($main, 'clinic', $first), 'item:1 item:100000 item:100001 owner:7', 'original: from the beginning');

# ---------------------------------------------------- positions of the future

# A position with a field altered, sealed as the server does it. Fields: version,
# epoch, database, timeline, lsn, xmax, running ...
my $secret = sql($main, 'clinic', 'SELECT secret FROM clinicache.identity');
sub altered
{
	my ($position, $field, $change) = @_;
	my @fields = split /\./, ($position =~ s/~.*//r);

	$fields[$field] = $field == 1 ? $change : sprintf '%x', hex($fields[$field]) + $change;
	my $text = join '.', @fields;
	return "$text~" . substr hmac_sha256_hex($text, $secret), 0, 16;
}

is(altered($original, 2, 0), $original, 'the test seals as the server does');
is(changes($main, 'clinic', altered($original, 4, 1 << 32)), 'reset', 'a WAL location of the future: reset');
is(changes($main, 'clinic', altered($original, 5, 1_000_000)), 'reset', 'a transaction id of the future: reset');
is(changes($main, 'clinic', altered($original, 3, 1)), 'reset', 'another timeline: reset');
is(changes($main, 'clinic', altered($original, 2, 1)), 'reset', 'another database: reset');
is(changes($main, 'clinic', altered($original, 1, '0123456789abcdef')), 'reset', 'another epoch: reset');
is(sql($main, 'clinic', "SELECT clinicache.reached('" . altered($original, 4, 1 << 32) . "')"),
	'f', 'nor is the future reached');
my $tried = 0;
for my $malformed ('', 'x', '1', "$original.", "${original}0", substr($original, 0, -1), substr($original, 0, 20),
	"2$original", $original =~ s/~.*//r, altered($original, 5, 1) =~ s/~.*/~/r . ($original =~ /~(.*)/)[0])
{
	my ($status, undef, $stderr) =
	  $main->psql('clinic', "\\set VERBOSITY sqlstate\nSELECT clinicache.changes('$malformed')");
	like($stderr, qr/ERROR:  22P02/, 'malformed or altered position ' . ++$tried . ': an error');
}

# ------------------------------------------------- a copy of the database

for my $strategy ('wal_log', 'file_copy')
{
	my $copy = "copy_$strategy";
	my $before = position($main, 'clinic');

	sql($main, 'postgres', "CREATE DATABASE $copy TEMPLATE clinic STRATEGY $strategy");
	is(changes($main, $copy, $before), 'reset', "$copy: the original's position answers reset");
	is(changes($main, $copy, $first), 'reset', "$copy: an old one too");
	is(sql($main, $copy, "SELECT clinicache.reached('$before')"), 'f', "$copy: nor is it reached");
	my $own = works($main, $copy, $copy);
	is(changes($main, 'clinic', $own), 'reset', "$copy: its positions answer reset in the original");
	is(changes($main, 'clinic', $before), '', "$copy: the original goes on");
	is(changes($main, $copy, $before), 'reset', "$copy: still reset after upkeep");
}

# ------------------------------------------------------- dump and restore

my $dump = $main->basedir . '/clinic.sql';
my $archive = $main->basedir . '/clinic.dump';
$main->command_ok([ 'pg_dump', '-f', $dump, $main->connstr('clinic') ], 'pg_dump');
$main->command_ok([ 'pg_dump', '-Fc', '-f', $archive, $main->connstr('clinic') ], 'pg_dump -Fc');
sql($main, 'postgres', 'CREATE DATABASE restored_plain TEMPLATE template0');
sql($main, 'postgres', 'CREATE DATABASE restored_custom TEMPLATE template0');
$main->command_ok(
	[ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $dump, '-d', $main->connstr('restored_plain') ],
	'restore with psql');
$main->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $main->connstr('restored_custom'), $archive ],
	'restore with pg_restore');

my %same = (
	'the tracked tables' => q{SELECT jsonb_agg(to_jsonb(t) ORDER BY t.relation::text) FROM clinicache.tracked_tables AS t},
	'the triggers' => q{SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, E'\n' ORDER BY tgrelid::regclass::text, tgname)
		FROM pg_trigger WHERE tgname LIKE 'clinicache%' AND tgrelid::regclass::text NOT LIKE 'clinicache.%'},
	map({ ("clinicache.$_" => "SELECT jsonb_agg(to_jsonb(t) ORDER BY t.*::text) FROM clinicache.$_ AS t") }
		qw(entity profile alias class tenant subscriber)),
	'privileges on functions' => q{SELECT string_agg(g, E'\n' ORDER BY g)
		FROM (SELECT p.oid::regprocedure || ' ' || a.grantee::regrole
			FROM pg_proc AS p, aclexplode(p.proacl) AS a WHERE p.pronamespace = 'clinicache'::regnamespace AND a.grantee <> 0) AS t(g)});
for my $restored (qw(restored_plain restored_custom))
{
	for my $what (sort keys %same)
	{
		my $expected = sql($main, 'clinic', $same{$what});
		my $got = sql($main, $restored, $same{$what});
		ok($expected ne '' && $got eq $expected, "$restored: $what are the same") or diag "$expected\n----\n$got";
	}
	is(sql($main, $restored, q{SELECT count(*) FROM clinicache.identity}), 1, "$restored: one epoch");
	isnt(sql($main, $restored, 'SELECT epoch FROM clinicache.identity'),
		sql($main, 'clinic', 'SELECT epoch FROM clinicache.identity'), "$restored: a new one");
	is(sql($main, $restored, 'SELECT count(*) FROM clinicache.invalidation_log'), 0, "$restored: the log is empty");
	is(changes($main, $restored, $first), 'reset', "$restored: an old position answers reset");
	my $own = works($main, $restored, $restored);
	is(changes($main, 'clinic', $own), 'reset', "$restored: its positions answer reset in the original");

	$own = position($main, $restored);
	sql($main, $restored, q{SET ROLE app;
		INSERT INTO gadget VALUES (1, 7);
		INSERT INTO visit VALUES (1, 7, '2026-11-20 20:00'), (2, 8, '2026-11-20 23:00');
		TRUNCATE visit_8});
	is(changes($main, $restored, $own), in_order('gadget:1 visit:1 visit:2 visits:day:2026-11-21',
			q{odd:'"\\:1 odd:'"\\:2 odd:'"\\:* visit:* visits:day:*}),
		"$restored: presets of the user's, partitions, time zones, owner's rights");
	my $tiny = decode_json(sql($main, $restored, "SELECT clinicache.changes('$own')"))->{tags}{tiny} // [];
	is(join(' ', sort @$tiny), q{gadget:1 odd:'"\\:1 odd:'"\\:2}, "$restored: the user's profile");
	is( $main->safe_psql($restored, "SELECT clinicache.changes('$own', '{8}') -> 'tags' = '{}'",
			extra_params => [ '-U', 'reader' ]),
		't', "$restored: a subscriber limited to tenants stays so");
}

sub in_order { return join ' ', sort map { split / / } @_ }

# ---------------------------------------------- dropped and made again

sql($main, 'postgres', 'CREATE DATABASE again TEMPLATE template0');
my $setup = q{
	CREATE EXTENSION clinicache;
	CREATE TABLE IF NOT EXISTS item(id bigint PRIMARY KEY, owner int);
	SELECT clinicache.track('item', '{"tenant": "owner", "tags": ["item:{id}", "owner:{owner}"]}')};
sql($main, 'again', $setup);
my $old = works($main, 'again', 'first extension');
sql($main, 'again', 'SELECT clinicache.untrack_all(); DROP EXTENSION clinicache');
insert($main, 'again', 1);
sql($main, 'again', $setup);
is(changes($main, 'again', $old), 'reset', 'dropped and created again: old positions answer reset');
works($main, 'again', 'second extension');
is(changes($main, 'again', $old), 'reset', 'after upkeep too');

# a new epoch by hand
$old = position($main, 'again');
sql($main, 'again', 'SELECT clinicache.new_epoch()');
is(changes($main, 'again', $old), 'reset', 'new_epoch(): positions before it answer reset');
works($main, 'again', 'new_epoch()');
is(changes($main, 'again', $old), 'reset', 'new_epoch(): after upkeep too');

# a session that knew the old one goes on with the new one
my $session = $main->background_psql('again');
$session->query_safe('INSERT INTO item VALUES (2, 7)');
sql($main, 'again', 'SELECT clinicache.untrack_all(); DROP EXTENSION clinicache');
$session->query_safe('INSERT INTO item VALUES (3, 7)');
sql($main, 'again', $setup);
my $new = position($main, 'again');
$session->query_safe('INSERT INTO item VALUES (4, 7)');
is(changes($main, 'again', $new), 'item:4 owner:7', 'a session from before the new extension is tracked by it');
$session->quit;

# --------------------------------------------------------- logical decoding

my $replica = PostgreSQL::Test::Cluster->new('replica');
$replica->init;
$replica->append_conf('postgresql.conf', "fsync = off\nclinicache.delivery = 'log'\nclinicache.retention = 1s\n");
$replica->start;
sql($replica, 'postgres', q{
	CREATE EXTENSION clinicache;
	CREATE TABLE item(id bigint PRIMARY KEY, owner int);
	SELECT clinicache.track('item', '{"tenant": "owner", "fire": "always", "tags": ["item:{id}", "owner:{owner}"]}')});
sql($main, 'again', q{CREATE PUBLICATION everything FOR ALL TABLES});
sql($replica, 'postgres', sprintf
	q{CREATE SUBSCRIPTION everything CONNECTION $$%s$$ PUBLICATION everything WITH (copy_data = false)},
	$main->connstr('again'));
sql($main, 'again', q{SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')});
$main->append_conf('postgresql.conf', "clinicache.retention = 1s\n");
$main->reload;
my $on_replica = position($replica, 'postgres');

insert($main, 'again', 10);
# records so large that they are toasted and spilled
sql($main, 'again', q{SET clinicache.bulk_threshold = 1000000;
	INSERT INTO item SELECT i, 8 FROM generate_series(1000, 60000) AS i});
sql($main, 'again', q{SELECT clinicache.invalidate(array_agg(md5(i::text))) FROM generate_series(1, 5000) AS i});
my $emptied = 0;
for my $round (1 .. 4)
{
	insert($main, 'again', 10 + $round);
	maintain($main, 'again');
	maintain($replica, 'postgres');
	sleep 1.1;
}
maintain($main, 'again');
maintain($main, 'again');
is(sql($main, 'again', q{SELECT count(*) FROM clinicache.invalidation_log WHERE 'item:10' = ANY (tags)}),
	0, 'decoding: slots were emptied meanwhile');

my $decoded = sql($main, 'again', q{
	SELECT data FROM pg_logical_slot_get_changes('decoded', NULL, NULL) WHERE data NOT LIKE 'table public.item: INSERT: id[bigint]:_____ %'});
like($decoded, qr/table public\.item: INSERT: id\[bigint\]:10 /, 'decoding: the tracked table is decoded');
unlike($decoded, qr/invalidation_log/, 'decoding: nothing of the log, neither records nor their removal');
unlike($decoded, qr/TRUNCATE/, 'decoding: no TRUNCATE of anything');
unlike($decoded, qr/clinicache\.\w+: INSERT/, 'decoding: no insert into a table of clinicache');

$main->wait_for_catchup('everything');
is(sql($replica, 'postgres', 'SELECT count(*) FROM item'), 5 + 59001, 'publication FOR ALL TABLES: the rows arrive');
is( sql($replica, 'postgres', q{SELECT count(*) FROM clinicache.invalidation_log WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())}),
	0, 'publication: no foreign transaction ids in the replica\'s log');
is( sql($replica, 'postgres', q{SELECT count(*) FROM clinicache.identity}), 1, 'publication: nor another epoch');
is( sql($replica, 'postgres', q{SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = 'everything'}),
	0, 'publication: applied without errors');
my $fed = position($replica, 'postgres');
insert($main, 'again', 20);
$main->wait_for_catchup('everything');
is(changes($replica, 'postgres', $fed), 'item:20 owner:7', 'fire always: the replica feeds its own log');
sql($replica, 'postgres', 'DROP SUBSCRIPTION everything');
$replica->stop;

# ------------------------------------------------- a restored base backup

$main->adjust_conf('postgresql.conf', 'clinicache.retention', '1d');
$main->reload;
my $in_backup = position($main, 'clinic');
$main->backup('base');
my $behind_backup = position($main, 'clinic');
insert($main, 'clinic', 50);
for my $target ('the end', 'immediate')
{
	my $restored = PostgreSQL::Test::Cluster->new('restored_' . ($target =~ /(\w+)$/)[0]);

	$restored->init_from_backup($main, 'base');
	$restored->append_conf('postgresql.conf', "restore_command = '/bin/false'\n");
	$restored->append_conf('postgresql.conf', "recovery_target = 'immediate'\nrecovery_target_action = 'promote'\n")
	  if $target eq 'immediate';
	$restored->set_recovery_mode;
	$restored->start;
	$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
	isnt(sql($restored, 'postgres', 'SELECT timeline_id FROM pg_control_checkpoint()'), 1, "backup, $target: a new timeline");
	is(changes($restored, 'clinic', $in_backup), 'reset', "backup, $target: a position that is in it answers reset");
	is(changes($restored, 'clinic', $behind_backup), 'reset', "backup, $target: and one from behind it");
	my $own = works($restored, 'clinic', "backup, $target");
	sql($restored, 'clinic', 'CREATE TABLE filler AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 20000) AS i');
	is(changes($restored, 'clinic', $behind_backup), 'reset', "backup, $target: still when it is longer than the original");
	is(changes($main, 'clinic', $own), 'reset', "backup, $target: its positions answer reset in the original");
	$restored->stop;
}

# without a new timeline the copy is known by its length alone, until new_epoch()
sql($main, 'clinic', q{SELECT pg_logical_emit_message(false, 'filler', repeat('x', 100000))});
my $ahead = position($main, 'clinic');
my $copied = PostgreSQL::Test::Cluster->new('copied');
$copied->init_from_backup($main, 'base');
$copied->start;
is(sql($copied, 'postgres', 'SELECT timeline_id FROM pg_control_checkpoint()'), 1, 'copy of files: the same timeline');
is(changes($copied, 'clinic', $ahead), 'reset', 'copy of files: a position that is ahead of it answers reset');
is(sql($copied, 'clinic', "SELECT clinicache.reached('$ahead')"), 'f', 'copy of files: nor is it reached');
sql($copied, 'clinic', 'SELECT clinicache.new_epoch()');
is(changes($copied, 'clinic', $in_backup), 'reset', 'copy of files, new epoch: a position that is in it answers reset');
my $own = works($copied, 'clinic', 'copy of files');
is(changes($main, 'clinic', $own), 'reset', 'copy of files: its positions answer reset in the original');
$copied->stop;
is(changes($main, 'clinic', $in_backup), 'item:50 owner:7', 'the original goes on');

$main->stop;
done_testing();
