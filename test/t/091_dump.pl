# Dumps, restored in every way that pg_dump and pg_restore offer: whole, in parallel,
# schema only, data only, one table, by another owner. What is tracked stays so,
# positions of before are answered by reset, tags are right; counters are never
# wrong: read from the tables until they are rebuilt, as health() says.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclinicache.delivery = 'log'\nclinicache.upkeep_interval = 1h\n");
$node->start;

# ---------------------------------------------------------------- helpers

sub on { my ($database, @statements) = @_; return $node->safe_psql($database, join ";\n", @statements) }

sub create { on('postgres', "CREATE DATABASE $_[0] TEMPLATE template0"); return }

# "reset", or tags and prefixes since a position, in order
sub changes
{
	my ($database, $since) = @_;
	my $message = decode_json(on($database, "SELECT clinicache.changes('$since')"));

	return 'reset' if $message->{reset};
	return join ' ', sort((map { @$_ } values %{ $message->{tags} }), map { "$_*" } @{ $message->{prefixes} });
}

sub position { return on(shift, 'SELECT clinicache.position()') }

# Two tables feed counter "visits": what it says of a clinic, and what they say.
sub is_counted
{
	my ($database, $name) = @_;
	my ($counter, $tables) = split /\n/, on($database,
		q{SELECT concat_ws(' ', clinicache.count('visits', 'clinic', '7'), clinicache.total('visits', 'clinic', '7'),
			clinicache.count('visits', 'clinic', '7', '{X}', '2026-11-21', '2026-11-21'))},
		q{SELECT concat_ws(' ', count(*), sum(fee), count(*) FILTER (WHERE kind = 'x' AND (seen AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Tokyo')::date = '2026-11-21'))
			FROM (SELECT clinic, seen, kind, fee FROM visit UNION ALL SELECT clinic, seen, kind, fee FROM walkin) AS t WHERE clinic = 7});
	return is($counter, $tables, "$name: counters are right");
}

# Writes emit right tags and change counters, before and after upkeep.
my $next = 1000;
sub works
{
	my ($database, $name) = @_;
	my $id = $next++;

	on($database, 'INSERT INTO person VALUES (1, 7) ON CONFLICT DO NOTHING');
	my $position = position($database);
	on($database, "INSERT INTO visit VALUES ($id, 7, '2026-11-20 20:00', 'x', 5)", "INSERT INTO walkin VALUES ($id, 7, '2026-11-20 20:00', 'x', 6)",
		"INSERT INTO gadget VALUES ($id, 7)", "INSERT INTO record VALUES ($id, 1)", "UPDATE visit SET fee = 7 WHERE id = $id");
	is(changes($database, $position), "gadget:$id record:$id records:clinic:7 visit:$id visits:day:2026-11-21 walkin:$id", "$name: tags");
	$position = position($database);
	on($database, 'UPDATE person SET clinic = 8 WHERE id = 1', 'UPDATE person SET clinic = 7 WHERE id = 1');
	is(changes($database, $position), 'records:clinic:7 records:clinic:8', "$name: tags of what is looked up");
	is_counted($database, "$name, written");
	on($database, 'CALL clinicache.maintain()');
	is_counted($database, "$name, upkeep done");
	return;
}

my $to_mend = q{SELECT DISTINCT remedy FROM clinicache.health() WHERE object LIKE 'visits of %'};
my $verified = q{SELECT count(*) FROM clinicache.verify()};

# Counters are read from the tables and health() says how to mend that; then they are exact.
sub mends
{
	my ($database, $name) = @_;
	is(on($database, $to_mend), q{SELECT clinicache.rebuild('visits')}, "$name: health() says how counters become quick");
	on($database, on($database, $to_mend));
	is(on($database, $to_mend), '', "$name, rebuilt: nothing to mend");
	is(on($database, $verified), 0, "$name, rebuilt: verify()");
	works($database, "$name, rebuilt");
	is(on($database, $verified), 0, "$name, rebuilt and written: verify()");
	return;
}

my %same = (
	'tracked tables' => q{SELECT jsonb_agg(to_jsonb(t) ORDER BY t.relation::text) FROM clinicache.tracked_tables AS t},
	'triggers' => q{SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, E'\n' ORDER BY tgrelid::regclass::text, tgname)
		FROM pg_trigger WHERE tgname LIKE 'clinicache%' AND tgrelid::regclass::text NOT LIKE 'clinicache.%'},
	'tenants' => q{SELECT string_agg(t::text, ' ' ORDER BY t) FROM clinicache.tenant AS t},
	'subscribers' => q{SELECT string_agg(s::text, ' ' ORDER BY s) FROM clinicache.subscriber AS s},
	map({ ("rows of clinicache.$_" => "SELECT string_agg(t::text, ' ' ORDER BY t.*::text) FROM clinicache.$_ AS t") }
		qw(entity profile alias class)));

my $first;
sub is_same
{
	my ($database, $name, $what) = @_;
	for my $part (grep { !$what || /$what/ } sort keys %same)
	{
		is(on($database, $same{$part}), on('clinic', $same{$part}), "$name: $part");
	}
	is(on($database, 'SELECT count(*) FROM clinicache.identity'), 1, "$name: one epoch");
	is(changes($database, $first), 'reset', "$name: a position of the original answers reset");
	return;
}

sub run
{
	my ($name, @command) = @_;
	return $node->command_ok([@command], $name);
}

sub connection { return $node->connstr(shift) }

sub psql_file
{
	my ($database, $file, $name) = @_;
	return run($name, 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $file, '-d', connection($database));
}

# ------------------------------------------------------------------- the original

my $base = $node->basedir;
on('postgres', 'CREATE ROLE app', 'CREATE ROLE web LOGIN', 'CREATE ROLE boss SUPERUSER LOGIN', 'CREATE ROLE heir');
create('clinic');
on('clinic',
	'CREATE EXTENSION clinicache', 'GRANT CREATE ON SCHEMA public TO app',
	q{SELECT clinicache.grant_tracker('app'), clinicache.grant_subscriber('web', '{7}'), clinicache.grant_reader('web')},
	q{INSERT INTO clinicache.profile(name, revalidate) VALUES ('tiny', 3)},
	q{INSERT INTO clinicache.entity(name, tables, tenant, columns, tags) VALUES
		('gadget', '{gadget}', 'clinic', '{"id": [], "clinic": []}', '[["gadget:{id}", "tiny"]]')},
	q{INSERT INTO clinicache.alias(column_name, candidates) VALUES ('shelf', '{board}')},
	q{INSERT INTO clinicache.class(name, labels) VALUES ('dozing', '{asleep}')},
	q{INSERT INTO clinicache.tenant VALUES ('7', 'Asia/Tokyo'), ('8', 'Africa/Cairo')},
	'SET ROLE app',
	q{CREATE TABLE gadget(id int PRIMARY KEY, clinic_id int)}, q{SELECT clinicache.track('gadget', 'gadget')},
	'CREATE TABLE person(id int PRIMARY KEY, clinic int)', 'CREATE TABLE record(id int PRIMARY KEY, person int REFERENCES person)',
	q{SELECT clinicache.track('record', '{"tags": ["record:{id}", "records:clinic:{clinic}"], "lookups": {"clinic": "person -> public.person(id).clinic"}}')},
	map({ my ($table, $tags, $how) = @$_;
			("CREATE TABLE $table(id int, clinic int, seen timestamp, kind text, fee numeric, PRIMARY KEY (id, clinic)) $how",
			qq{SELECT clinicache.track('$table', '{"tenant": "clinic", "tags": [$tags], "counters":
				[{"counter": "visits", "by": {"clinic": "clinic"}, "day": "seen", "class": "kind", "sum": "fee"}]}')}) }
		[ 'visit', '"visit:{id}", "visits:day:{seen|date}"', 'PARTITION BY LIST (clinic)' ], [ 'walkin', '"walkin:{id}"', '' ]),
	map({ ("CREATE TABLE visit_$_ PARTITION OF visit FOR VALUES IN ($_)") } 7, 8),
	q{INSERT INTO visit SELECT i, 7 + i % 2, '2026-11-20 20:00', 'x', i FROM generate_series(1, 100) AS i},
	q{INSERT INTO walkin SELECT i, 7 + i % 2, '2026-11-20 10:00', 'y', i FROM generate_series(1, 50) AS i});
on('clinic', 'CALL clinicache.maintain()');
$first = position('clinic');
works('clinic', 'original');
is(on('clinic', $verified), 0, 'original: verify()');

run('pg_dump', 'pg_dump', '-f', "$base/plain.sql", connection('clinic'));
run('pg_dump -Fc', 'pg_dump', '-Fc', '-f', "$base/all.dump", connection('clinic'));
run('pg_dump -t', 'pg_dump', '-t', 'walkin', '-f', "$base/walkin.sql", connection('clinic'));
run('pg_dump -a', 'pg_dump', '-a', '-f', "$base/data.sql", connection('clinic'));
run('pg_dump -a --disable-triggers', 'pg_dump', '-a', '--disable-triggers', '-f', "$base/forced.sql", connection('clinic'));

# ------------------------------------------------------------------ whole databases

my %restore = (
	plain => sub { psql_file($_[0], "$base/plain.sql", 'plain: restored') },
	parallel => sub { run('parallel: restored', 'pg_restore', '-j4', '--exit-on-error', '-d', connection($_[0]), "$base/all.dump") },
	sections => sub {
		run("sections: $_ restored", 'pg_restore', "--section=$_", '--exit-on-error', '-d', connection($_[0]), "$base/all.dump")
		  for qw(pre-data data post-data);
	},
	one_transaction => sub { run('one transaction: restored', 'pg_restore', '-1', '-d', connection($_[0]), "$base/all.dump") });
for my $how (sort keys %restore)
{
	create($how);
	$restore{$how}->($how);
	is_same($how, $how);
	is_counted($how, $how);
	works($how, $how);
	mends($how, $how);
}

# Schema only: nothing of the vocabulary or the tenants, which are rows. Then the data.
for my $case ([ schema => undef ], [ data => "$base/data.sql" ], [ data_forced => "$base/forced.sql" ])
{
	my ($db, $data) = @$case;
	create($db);
	run("$db: schema restored", 'pg_restore', '-s', '--exit-on-error', '-d', connection($db), "$base/all.dump");
	is_same($db, "$db, schema only", qr/^(?:tracked tables|triggers)/);
	if (!$data)
	{
		on($db, q{INSERT INTO clinicache.tenant VALUES ('7', 'Asia/Tokyo')});
		works($db, $db);
		mends($db, $db);
		next;
	}
	on($db, q{SELECT clinicache.rebuild('visits')});
	my $before = position($db);
	psql_file($db, $data, "$db: data restored");
	is_same($db, $db);
	my $told = changes($db, $before);
	like($told, qr/(?:^| )visit:(?:100|\*)(?: |$)/, "$db: what was restored is told: one table") or diag substr $told, 0, 400;
	like($told, qr/(?:^| )walkin:(?:50|\*)(?: |$)/, "$db: and the other");
	is_counted($db, $db);
	is(on($db, $verified), 0, "$db: verify()");
	works($db, $db);
	is(on($db, $to_mend), '', "$db: the counters are valid");
}

# ------------------------------------------------------------------- a single table

# "parallel" has valid counters of both tables
on('parallel', 'DROP TABLE walkin');
is(on('parallel', q{SELECT clinicache.count('visits', 'clinic', '7') = (SELECT count(*) FROM visit WHERE clinic = 7)}), 't', 'single table: dropped');
psql_file('parallel', "$base/walkin.sql", 'single table: restored with psql');
is_same('parallel', 'single table', qr/^(?:tracked tables|triggers)/);
is_counted('parallel', 'single table');
works('parallel', 'single table');
mends('parallel', 'single table');
is(on('parallel', q{SELECT count(*) FROM clinicache.counter_registry WHERE valid}), 2, 'single table: both counters are there');

# in a session that has read the counter before, and one whose snapshot is older than the table
my $session = $node->background_psql('parallel');
my $count = q{SELECT clinicache.count('visits', 'clinic', '7') - (SELECT count(*) FROM visit WHERE clinic = 7) - (SELECT count(*) FROM walkin WHERE clinic = 7)};
is($session->query_safe($count), 0, 'single table: a session');
on('parallel', 'DROP TABLE walkin');
my $without = q{SELECT clinicache.count('visits', 'clinic', '7') - (SELECT count(*) FROM visit WHERE clinic = 7)};
is($session->query_safe($without), 0, 'single table: the same session without it');
my $old = $node->background_psql('parallel');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM visit');
psql_file('parallel', "$base/walkin.sql", 'single table: restored again');
is($session->query_safe($count), 0, 'single table: the same session with it');
is($old->query_safe($without), 0, 'single table: an old snapshot');
on('parallel', q{SELECT clinicache.rebuild('visits')});
is($session->query_safe($count), 0, 'single table: the same session, rebuilt');
is($old->query_safe($without), 0, 'single table: an old snapshot, rebuilt');
$_->quit for $session, $old;

# pg_restore -t brings no triggers: the table is not tracked, and not counted
on('parallel', 'DROP TABLE walkin');
run('pg_restore -t', 'pg_restore', '-t', 'walkin', '--exit-on-error', '-d', connection('parallel'), "$base/all.dump");
is(on('parallel', $without), 0, 'pg_restore -t: a table without triggers does not count');
is(on('parallel', q{SELECT count(*) FROM clinicache.health() WHERE object = 'public.walkin' AND finding LIKE '%is not tracked%'}), 1,
	'pg_restore -t: health() tells that it is not tracked');
psql_file('parallel', do {
		run('pg_restore -L', 'sh', '-c', 'pg_restore -l "$1" | grep "TRIGGER public walkin " > "$2" && pg_restore -L "$2" -f "$3" "$1"', 'sh',
			"$base/all.dump", "$base/list", "$base/triggers.sql");
		"$base/triggers.sql" }, 'its triggers: restored');
is_counted('parallel', 'its triggers');
mends('parallel', 'its triggers');

# the rows of one table again
for my $way ([], ['--disable-triggers'])
{
	my $name = "rows of one table @$way";
	my $before = position('parallel');
	on('parallel', 'TRUNCATE walkin');
	run("$name: restored", 'pg_restore', '-a', '-t', 'walkin', @$way, '--exit-on-error', '-d', connection('parallel'), "$base/all.dump");
	is_counted('parallel', $name);
	is(on('parallel', $verified), 0, "$name: verify()");
	like(changes('parallel', $before), qr/^walkin:\*/, "$name: told");
	works('parallel', $name);
	is(on('parallel', $to_mend), '', "$name: the counters are valid");
}
on('parallel', 'ALTER TABLE walkin DISABLE TRIGGER ALL', q{INSERT INTO walkin VALUES (5000, 7, '2026-11-20 20:00', 'x', 1)});
is_counted('parallel', 'triggers disabled');
is(on('parallel', q{SELECT string_agg(DISTINCT reason, '; ') FROM clinicache.counter_registry WHERE NOT valid}), 'triggers were disabled', 'triggers disabled: the registry says so');
on('parallel', 'ALTER TABLE walkin ENABLE TRIGGER clinicache');
is_counted('parallel', 'triggers enabled again');
is(on('parallel', $verified), 0, 'triggers enabled again: verify()');
is(on('parallel', $to_mend), '', 'triggers enabled again: counted anew');
on('parallel', 'ALTER TABLE visit_7 DISABLE TRIGGER USER', q{INSERT INTO visit VALUES (5000, 7, '2026-11-20 20:00', 'x', 1)});
is_counted('parallel', q{a partition's triggers disabled});
on('parallel', 'BEGIN', 'ALTER TABLE visit_7 ENABLE TRIGGER USER', 'ALTER TABLE visit ENABLE ALWAYS TRIGGER clinicache', 'COMMIT');
is_counted('parallel', q{a partition's triggers enabled again});
is(on('parallel', $verified), 0, q{a partition's triggers enabled again: verify()});

# -------------------------------------------------------------------------- owners

for my $case ([ boss_keeps => [] ], [ boss_takes => ['--no-owner'] ])
{
	my ($db, $options) = @$case;
	create($db);
	run("$db: restored by another superuser", 'pg_restore', @$options, '-U', 'boss', '--exit-on-error', '-d', connection($db), "$base/all.dump");
	is_same($db, $db);
	is(on($db, q{SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'walkin'}), @$options ? 'boss' : 'app', "$db: owner of the tables");
	is(on($db, q{SELECT pg_get_userbyid(extowner) FROM pg_extension WHERE extname = 'clinicache'}), 'boss', "$db: owner of the extension");
	is_counted($db, $db);
	works($db, $db);
	mends($db, $db);
	is($node->safe_psql($db, q{SELECT clinicache.changes(NULL) ->> 'reset'}, extra_params => [ '-U', 'web' ]), 'true', "$db: subscribers");
}
on('boss_takes', map { "ALTER TABLE $_ OWNER TO heir" } qw(visit walkin gadget person record visit_7 visit_8));
is(on('boss_takes', q{SELECT remedy FROM clinicache.health() WHERE severity = 'critical' AND object = 'public.walkin'}), q{SELECT clinicache.grant_tracker('heir')},
	'given to an owner who may not track: health() says so');
on('boss_takes', q{SELECT clinicache.grant_tracker('heir')});
works('boss_takes', 'owner may track');
is(on('boss_takes', $verified), 0, 'owner may track: verify()');
create('trapped');
my (undef, undef, $stderr) = $node->psql('trapped', 'CREATE SCHEMA clinicache AUTHORIZATION heir; CREATE EXTENSION clinicache');
like($stderr, qr/schema "clinicache" exists already and belongs to another role/, 'a schema of somebody who is no superuser: refused');

$node->stop;
done_testing();
