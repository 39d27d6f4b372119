# ALTER EXTENSION UPDATE from every released version: afterwards the extension is
# what CREATE EXTENSION makes; what users tracked, granted and added to the
# vocabulary is as before; positions, tags and counters go on, in sessions that
# were there before too. Between the new library and the update all works as well.

use strict;
use warnings;

use File::Basename qw(dirname);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('upgrade');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclinicache.delivery = 'log'\n");
$node->start;

# ---------------------------------------------------------------- helpers

sub on { my ($database, @statements) = @_; return $node->safe_psql($database, join ";\n", @statements) }

# tags and prefixes since a position, in order
sub changes
{
	my ($database, $since) = @_;
	my $message = decode_json(on($database, "SELECT clinicache.changes('$since')"));

	return 'reset' if $message->{reset};
	return join ' ', sort((map { @$_ } values %{ $message->{tags} }), map { "$_*" } @{ $message->{prefixes} });
}

sub position { return on(shift, 'SELECT clinicache.position()') }

my $state = slurp_file(dirname(__FILE__) . '/../lib/extension_state.sql');
sub state { return on(shift, $state) }

# What is the user's, and stays so.
my %kept = (
	'tracked tables' => q{SELECT jsonb_agg(to_jsonb(t) ORDER BY t.relation::text) FROM clinicache.tracked_tables AS t},
	'triggers' => q{SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, E'\n' ORDER BY tgrelid::regclass::text, tgname)
		FROM pg_trigger WHERE tgname LIKE 'clinicache%' AND tgrelid::regclass::text NOT LIKE 'clinicache.%'},
	'identity' => q{SELECT epoch FROM clinicache.identity},
	'tenants' => q{SELECT string_agg(t::text, ' ' ORDER BY t) FROM clinicache.tenant AS t},
	'subscribers' => q{SELECT string_agg(s::text, ' ' ORDER BY s) FROM clinicache.subscriber AS s},
	map({ ("rows of clinicache.$_" => "SELECT string_agg(t::text, ' ' ORDER BY t.*::text) FROM clinicache.$_ AS t WHERE NOT t.builtin") }
		qw(entity profile alias class)));

# What roles were given, in terms of what this version gives.
my $granted = q{SELECT string_agg(format('%s %s', a.grantee::regrole, p.oid::regprocedure), E'\n' ORDER BY a.grantee::regrole::text, p.oid::regprocedure::text)
	FROM pg_proc AS p, aclexplode(p.proacl) AS a WHERE p.pronamespace = 'clinicache'::regnamespace AND a.grantee >= 16384};

my $counted = q{SELECT concat_ws(' ', clinicache.count('appointments', 'clinic', '7'), clinicache.total('visits', 'clinic', '7'),
	(SELECT count(*) FROM appointments WHERE clinic_id = 7), (SELECT sum(fee) FROM visit WHERE clinic = 7))};
my $verified = 'SELECT count(*) FROM clinicache.verify()';

sub prepare
{
	my ($database) = @_;
	on($database,
		q{SELECT clinicache.grant_tracker('app'), clinicache.grant_subscriber('web', '{7}'), clinicache.grant_reader('web')},
		q{GRANT CREATE ON SCHEMA public TO app},
		q{INSERT INTO clinicache.profile(name, revalidate) VALUES ('tiny', 3)},
		q{INSERT INTO clinicache.entity(name, tables, tenant, columns, tags) VALUES
			('gadget', '{gadget}', 'clinic', '{"id": [], "clinic": []}', '[["gadget:{id}", "tiny"]]')},
		q{INSERT INTO clinicache.alias(column_name, candidates) VALUES ('shelf', '{board}')},
		q{INSERT INTO clinicache.class(name, labels) VALUES ('dozing', '{asleep}')},
		q{INSERT INTO clinicache.tenant VALUES ('7', 'Asia/Tokyo'), ('8', 'Africa/Cairo')},
		q{SET ROLE app},
		q{CREATE TABLE appointments(id int PRIMARY KEY, clinic_id int, patient_id int, doctor_id int, date timestamptz, status text)},
		q{SELECT clinicache.track('appointments', 'appointment')},
		q{CREATE TABLE gadget(id int PRIMARY KEY, clinic_id int)},
		q{SELECT clinicache.track('gadget', 'gadget')},
		q{CREATE TABLE visit(id int, clinic int, seen timestamp, fee numeric, PRIMARY KEY (id, clinic)) PARTITION BY LIST (clinic)},
		q{CREATE TABLE visit_7 PARTITION OF visit FOR VALUES IN (7)},
		q{CREATE TABLE visit_8 PARTITION OF visit FOR VALUES IN (8)},
		q{SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["visit:{id}", "visits:day:{seen|date}"],
			"counters": [{"counter": "visits", "by": {"clinic": "clinic"}, "day": "seen", "sum": "fee"}]}')},
		q{INSERT INTO appointments SELECT i, 7 + i % 2, i, 1, '2026-11-20 20:00Z', 'CONFIRMED' FROM generate_series(1, 100) AS i},
		q{INSERT INTO visit SELECT i, 7 + i % 2, '2026-11-20 20:00', i FROM generate_series(1, 100) AS i});
	on($database, 'CALL clinicache.maintain()');
	# not folded yet
	on($database, q{UPDATE visit SET fee = fee + 1}, q{DELETE FROM appointments WHERE id > 90});
	return;
}

# The two are the same, or the lines that differ.
sub is_fresh
{
	my ($fresh, $got, $name) = @_;
	my ($one, $other) = map { my %lines = map { $_ => 1 } split /\n/; \%lines } $fresh, $got;

	return if ok($fresh eq $got, $name);
	my @differences = ((map { "- $_" } grep { !$other->{$_} } sort keys %$one), (map { "+ $_" } grep { !$one->{$_} } sort keys %$other));
	diag join "\n", splice(@differences, 0, 40), @differences ? 'and ' . @differences . ' more lines' : ();
	return;
}

# Writes, tags and counters are right.
my $next = 1000;
sub works
{
	my ($database, $name) = @_;
	my $position = position($database);
	my ($a, $b) = ($next++, $next++);

	on($database, qq{SET ROLE app; INSERT INTO gadget VALUES ($a, 7);
		INSERT INTO visit VALUES ($a, 7, '2026-11-20 20:00', 5); UPDATE visit SET fee = 6 WHERE id = $a});
	is(changes($database, $position), "gadget:$a visit:$a visits:day:2026-11-21", "$name: tags");
	my @counted = split / /, on($database, $counted);
	is("@counted[0, 1]", "@counted[2, 3]", "$name: counters");
	is(on($database, $verified), 0, "$name: verify()");
	on($database, 'CALL clinicache.maintain()');
	on($database, qq{INSERT INTO visit VALUES ($b, 7, '2026-11-20 20:00', 7)});
	is(changes($database, $position), "gadget:$a visit:$a visit:$b visits:day:2026-11-21", "$name: upkeep");
	@counted = split / /, on($database, $counted);
	is("@counted[0, 1]", "@counted[2, 3]", "$name: counters after upkeep");
	return;
}

# Grants on internal functions that this version has no more are all that may fail.
sub restore
{
	my ($from, $to) = @_;
	my $dump = $node->basedir . "/$to.dump";

	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($from) ], "pg_dump of $from");
	on('postgres', "CREATE DATABASE $to TEMPLATE template0");
	my (undef, $errors) = run_command([ 'pg_restore', '-d', $node->connstr($to), $dump ]);
	my @commands = $errors =~ /^Command was: (.*)/mg;
	is(join("\n", grep { !/^GRANT ALL ON FUNCTION clinicache\._/ } @commands), '', "$from restored as $to");
	is(scalar(() = $errors =~ /error: could not execute query/g), scalar @commands, 'and nothing else failed') or diag $errors;
	return scalar @commands;
}

# ------------------------------------------------------------------- a fresh one

on('postgres', 'CREATE ROLE app', 'CREATE ROLE web LOGIN', 'CREATE DATABASE fresh');
on('fresh', 'CREATE EXTENSION clinicache');
my $current = on('fresh', q{SELECT extversion FROM pg_extension WHERE extname = 'clinicache'});
my $fresh = state('fresh');
cmp_ok(length $fresh, '>', 100_000, 'the state of a fresh installation');
prepare('fresh');
is_fresh($fresh, state('fresh'), 'what users do is no part of it');
my $fresh_grants = on('fresh', $granted);

my @versions = split /\n/, on('postgres', qq{SELECT version FROM pg_available_extension_versions WHERE name = 'clinicache' AND version <> '$current' ORDER BY 1});
ok(scalar(grep { $_ eq '0.1.0' } @versions), "there are versions to update from: @versions");

# ------------------------------------------------------------- from each version

for my $version (@versions)
{
	my $db = 'from_' . $version =~ s/\W/_/gr;

	on('postgres', "CREATE DATABASE $db");
	on($db, "CREATE EXTENSION clinicache VERSION '$version'");
	is(on($db, q{SELECT extversion FROM pg_extension WHERE extname = 'clinicache'}), $version, "$version: is created");
	prepare($db);
	works($db, "$version, new library");
	my %before = map { $_ => on($db, $kept{$_}) } keys %kept;
	restore($db, "${db}_dumped");

	# sessions from before: one that knows the tables, one in the middle of a transaction
	my $session = $node->background_psql($db);
	$session->query_safe(q{INSERT INTO visit VALUES (901, 8, '2026-11-20 20:00', 1)});
	my $writer = $node->background_psql($db);
	my $position = position($db);
	$writer->query_safe(q{BEGIN; INSERT INTO visit VALUES (501, 7, '2026-11-19 20:00', 1)});
	$session->query_safe(q{INSERT INTO visit VALUES (502, 7, '2026-11-18 20:00', 1)});

	my ($status, undef, $stderr) = $node->psql($db, 'ALTER EXTENSION clinicache UPDATE');
	is($status, 0, "$version: ALTER EXTENSION UPDATE");
	is($stderr, '', "$version: without a word");
	is(on($db, q{SELECT extversion FROM pg_extension WHERE extname = 'clinicache'}), $current, "$version: to $current");

	$writer->query_safe(q{INSERT INTO visit VALUES (503, 7, '2026-11-17 20:00', 1); COMMIT});
	$session->query_safe(q{INSERT INTO visit VALUES (504, 7, '2026-11-16 20:00', 1)});
	is(changes($db, $position),
		'visit:501 visit:502 visit:503 visit:504 visits:day:2026-11-17 visits:day:2026-11-18 visits:day:2026-11-19 visits:day:2026-11-20',
		"$version: a position from before goes on, in sessions from before");
	$_->quit for $session, $writer;

	is_fresh($fresh, state($db), "$version: all objects are those of a fresh installation");
	is(on($db, $kept{$_}), $before{$_}, "$version: $_ are as before") for sort keys %kept;
	is(on($db, $granted), $fresh_grants, "$version: roles can do what this version grants");
	is(on($db, q{SELECT string_agg(finding, '; ') FROM clinicache.health() WHERE severity = 'critical'}), '', "$version: nothing critical");
	works($db, "$version, updated");

	# what users were granted is no part of the extension: dumps have it
	is(restore($db, "${db}_restored"), 0, "$version, updated: all of the dump is restored");
	is(on("${db}_restored", $granted), $fresh_grants, "$version, updated and restored: grants are there");

	# dumped before the update, restored as this version
	is_fresh($fresh, state("${db}_dumped"), "$version, dumped and restored: is $current");
	my $lacks = q{SELECT count(*) FROM clinicache.health() WHERE remedy = 'SELECT clinicache.regrant()'};
	is(on("${db}_dumped", $lacks), on("${db}_dumped", $granted) eq $fresh_grants ? 0 : 1, "$version, dumped and restored: health() tells of grants that lack something");
	on("${db}_dumped", 'SELECT clinicache.regrant()');
	is(on("${db}_dumped", $granted), $fresh_grants, "$version, dumped and restored: regrant() completes them");
	is(on("${db}_dumped", $lacks), 0, "$version, dumped and restored: then health() is content");
	works("${db}_dumped", "$version, dumped and restored");
	my ($refused, undef, $why) = $node->psql("${db}_dumped", 'GRANT EXECUTE ON FUNCTION clinicache.regrant, clinicache._regrant, clinicache._check_owner TO app; SET ROLE app; SELECT clinicache.regrant()');
	like($why, qr/permission denied for clinicache.regrant/, "$version: regrant() is for the extension's owner");
}

$node->stop;
done_testing();
