# pg_upgrade from an older PostgreSQL: the tracked tables stay tracked, counters stay
# valid and right, the log and its upkeep go on; positions of before are answered by
# reset, there and, should the old server be started again, of after here. Also a
# database whose extension is of an older version. CLINICACHE_OLD is the old
# PostgreSQL's directory.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ---------------------------------------------------------------- helpers

sub on { my ($node, $database, @statements) = @_; return $node->safe_psql($database, join ";\n", @statements) }

# "reset", or tags and prefixes since a position, in order
sub changes
{
	my ($node, $database, $since) = @_;
	my $message = decode_json(on($node, $database, "SELECT clinicache.changes('$since')"));

	return 'reset' if $message->{reset};
	return join ' ', sort((map { @$_ } values %{ $message->{tags} }), map { "$_*" } @{ $message->{prefixes} });
}

sub position { return on(@_[ 0, 1 ], 'SELECT clinicache.position()') }

my $counted = q{SELECT concat_ws(' ', clinicache.count('appointments', 'clinic', '7'), clinicache.total('visits', 'clinic', '7')),
	concat_ws(' ', (SELECT count(*) FROM appointments WHERE clinic_id = 7), (SELECT sum(fee) FROM visit WHERE clinic = 7))};

sub is_counted
{
	my ($node, $database, $name) = @_;
	my ($counter, $table) = split /\|/, on($node, $database, $counted);
	is($counter, $table, "$name: counters are right");
	is(on($node, $database, 'SELECT count(*) FROM clinicache.verify()'), 0, "$name: verify()");
	is(on($node, $database, 'SELECT count(*) FILTER (WHERE valid), count(*) FROM clinicache.counter_registry'), '2|2', "$name: they are valid");
	return;
}

my $next = 1000;
sub works
{
	my ($node, $database, $name) = @_;
	my $position = position($node, $database);
	my $id = $next++;

	on($node, $database, "INSERT INTO visit VALUES ($id, 7, '2026-11-20 20:00', 5)", "UPDATE visit SET fee = 6 WHERE id = $id",
		"INSERT INTO appointments VALUES ($id, 7, 1, 1, '2026-11-20 20:00Z', 'CONFIRMED')", "DELETE FROM appointments WHERE id = $id");
	like(changes($node, $database, $position), qr/ appointment:$id .* visit:$id visits:day:2026-11-21 visits:schedule:1:2026-11-21$/, "$name: tags");
	is_counted($node, $database, $name);
	on($node, $database, 'CALL clinicache.maintain()') for 1 .. 2;
	is_counted($node, $database, "$name, upkeep done");
	$id = $next++;
	on($node, $database, "INSERT INTO visit VALUES ($id, 7, '2026-11-20 20:00', 5)");
	like(changes($node, $database, $position), qr/ visit:$id visits:day:2026-11-21 /, "$name: the log goes on");
	is_counted($node, $database, "$name, written again");
	return;
}

my %kept = (
	'tracked tables' => q{SELECT jsonb_agg(to_jsonb(t) ORDER BY t.relation::text) FROM clinicache.tracked_tables AS t},
	'triggers' => q{SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, E'\n' ORDER BY tgrelid::regclass::text, tgname)
		FROM pg_trigger WHERE tgname LIKE 'clinicache%' AND tgrelid::regclass::text NOT LIKE 'clinicache.%'},
	'counted tables' => q{SELECT string_agg(concat_ws(' ', id, counter, relation, valid), ', ' ORDER BY id) FROM clinicache.counter_registry},
	'grants' => q{SELECT string_agg(format('%s %s', a.grantee::regrole, p.oid::regprocedure), E'\n' ORDER BY a.grantee::regrole::text, p.oid::regprocedure::text)
		FROM pg_proc AS p, aclexplode(p.proacl) AS a WHERE p.pronamespace = 'clinicache'::regnamespace AND a.grantee >= 16384},
	map({ ("clinicache.$_" => "SELECT string_agg(t::text, ' ' ORDER BY t.*::text) FROM clinicache.$_ AS t") }
		qw(entity profile alias class tenant subscriber counter_source counter_fold)));

sub prepare
{
	my ($node, $database, $version) = @_;
	on($node, 'postgres', "CREATE DATABASE $database");
	on($node, $database, 'CREATE EXTENSION clinicache' . ($version ? " VERSION '$version'" : ''),
		'GRANT CREATE ON SCHEMA public TO app',
		q{SELECT clinicache.grant_tracker('app'), clinicache.grant_subscriber('web', '{7}'), clinicache.grant_reader('web')},
		q{INSERT INTO clinicache.profile(name, revalidate) VALUES ('tiny', 3)},
		q{INSERT INTO clinicache.class(name, labels) VALUES ('dozing', '{asleep}')},
		q{INSERT INTO clinicache.tenant VALUES ('7', 'Asia/Tokyo'), ('8', 'Africa/Cairo')},
		# so that OIDs differ from what a fresh installation would give
		map({ "CREATE TABLE filler_$_ (i int)" } 1 .. 20), map({ "DROP TABLE filler_$_" } 1 .. 19),
		q{SET ROLE app},
		q{CREATE TABLE appointments(id int PRIMARY KEY, clinic_id int, patient_id int, doctor_id int, date timestamptz, status text)},
		q{SELECT clinicache.track('appointments', 'appointment')},
		q{CREATE TABLE visit(id int, clinic int, seen timestamp, fee numeric, PRIMARY KEY (id, clinic)) PARTITION BY LIST (clinic)},
		map({ "CREATE TABLE visit_$_ PARTITION OF visit FOR VALUES IN ($_)" } 7, 8),
		q{SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["visit:{id}", "visits:day:{seen|date}"], "fire": "always",
			"counters": [{"counter": "visits", "by": {"clinic": "clinic"}, "day": "seen", "sum": "fee"}]}')},
		q{INSERT INTO appointments SELECT i, 7 + i % 2, i, 1, '2026-11-20 20:00Z', 'CONFIRMED' FROM generate_series(1, 100) AS i},
		q{INSERT INTO visit SELECT i, 7 + i % 2, '2026-11-20 20:00', i FROM generate_series(1, 100) AS i});
	on($node, $database, 'CALL clinicache.maintain()');
	# folded, and not folded yet
	on($node, $database, q{UPDATE visit SET fee = fee + 1}, q{DELETE FROM appointments WHERE id > 90});
	on($node, $database, 'SELECT clinicache.maintain_fold()');
	on($node, $database, q{UPDATE visit SET fee = fee + 1 WHERE id < 10});
	return;
}

sub start_again_promoted
{
	my ($node) = @_;
	$node->stop;
	$node->set_standby_mode;
	$node->start;
	$node->promote;
	return;
}

# ----------------------------------------------------------------- both servers

sub upgrade
{
	my ($name, $preload, $promoted) = @_;
	my @init = (extra => [ '--encoding=UTF8', '--locale=C' ]);
	my $conf = "fsync = off\nclinicache.upkeep_interval = 1h\nmax_prepared_transactions = 5\n"
	  . ($preload ? "shared_preload_libraries = 'clinicache'\n" : "clinicache.delivery = 'log'\n");
	my $old = PostgreSQL::Test::Cluster->new("old_$name", install_path => $ENV{CLINICACHE_OLD});
	my $new = PostgreSQL::Test::Cluster->new("new_$name");
	my (%before, %position);

	$old->init(@init, allows_streaming => 1);
	$old->append_conf('postgresql.conf', $conf);
	$old->start;
	start_again_promoted($old) if $promoted;
	on($old, 'postgres', 'CREATE ROLE app', 'CREATE ROLE web LOGIN');
	prepare($old, 'clinic');
	prepare($old, 'ancient', '0.1.0');
	for my $db (qw(clinic ancient))
	{
		works($old, $db, "$name, old $db");
		$before{$db}{$_} = on($old, $db, $kept{$_}) for keys %kept;
		$position{$db} = position($old, $db);
		on($old, $db, q{UPDATE visit SET fee = fee + 1 WHERE id = 10});
	}
	# folds come and go where there is a worker
	delete $kept{'clinicache.counter_fold'} if $preload;
	$old->stop;

	$new->init(@init);
	$new->append_conf('postgresql.conf', $conf);
	my @command = ('pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
		'-s', $new->host, '-p', $old->port, '-P', $new->port, '--copy');
	chdir $new->basedir or die;
	command_ok([ @command, '--check' ], "$name: pg_upgrade --check");
	command_ok(\@command, "$name: pg_upgrade");
	$new->start;

	for my $db (qw(clinic ancient))
	{
		my $what = "$name, $db";
		is(on($new, $db, $kept{$_}), $before{$db}{$_}, "$what: $_") for sort keys %kept;
		is(changes($new, $db, $position{$db}), 'reset', "$what: a position of before answers reset");
		is(on($new, $db, "SELECT clinicache.reached('$position{$db}')"), 'f', "$what: and is not reached");
		is_counted($new, $db, $what);
		works($new, $db, $what);
		is(on($new, $db, q{SELECT string_agg(finding, '; ') FROM clinicache.health() WHERE severity = 'critical' AND finding NOT LIKE 'upkeep%'}), '', "$what: nothing critical");
		ok($new->poll_query_until($db, q{SELECT worker_state = 'running' FROM clinicache.stat_delivery}), "$what: there is a worker") if $preload;
		$position{new}{$db} = position($new, $db);
	}
	on($new, 'ancient', 'ALTER EXTENSION clinicache UPDATE');
	works($new, 'ancient', "$name, ancient, updated");
	is(changes($new, 'ancient', $position{new}{ancient}) =~ /reset/, '', "$name, ancient: positions since the upgrade survive the update");

	# as after a change of mind
	$old->start;
	is(changes($old, 'clinic', $position{new}{clinic}), 'reset', "$name: the old server answers the new one's positions by reset");
	works($old, 'clinic', "$name, the old server again");
	like(changes($old, 'clinic', $position{clinic}), qr/visit:10\b/, "$name: and knows its own");
	$_->stop for $old, $new;
	return;
}

upgrade('plain', 0, 0);
upgrade('preloaded', 1, 1);
done_testing();
