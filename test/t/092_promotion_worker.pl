# A standby with the library preloaded: no worker while it recovers, counters and
# dashboards exact there; promoted, it gets its worker by itself, subscribers of the
# old primary are told to reset, new ones get every tag; a standby of the new
# primary follows, and the old primary, rewound, is one too.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Tail;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $one = PostgreSQL::Test::Cluster->new('one');
$one->init(allows_streaming => 1, extra => ['--data-checksums']);
$one->append_conf('postgresql.conf', q{
shared_preload_libraries = 'clinicache'
autovacuum = off
wal_keep_size = 512MB
});
$one->start;

# ---------------------------------------------------------------- helpers

sub on { my ($node, @statements) = @_; return $node->safe_psql('postgres', join ";\n", @statements) }

sub reset_by
{
	my ($node, $position) = @_;
	return decode_json(on($node, "SELECT clinicache.changes('$position')"))->{reset} ? 'reset' : 'known';
}

sub position { return on(shift, 'SELECT clinicache.position()') }

sub wait_for_worker
{
	my ($node, $name) = @_;
	return ok($node->poll_query_until('postgres', q{SELECT worker_state = 'running' FROM clinicache.stat_delivery}), "$name: a worker");
}

sub catch_up { my ($from, $to) = @_; $from->wait_for_catchup($to, 'replay', $from->lsn('flush')); return }

sub standby_of
{
	my ($primary, $name) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup($name);
	$standby->init_from_backup($primary, $name, has_streaming => 1);
	$standby->start;
	return $standby;
}

my $counted = q{SELECT concat_ws(' ', clinicache.count('visits', 'clinic', '7'), clinicache.total('visits', 'clinic', '7'),
		clinicache.count('visits', 'clinic', '7', '{X}', '2026-11-20', '2026-11-20'), clinicache.clinic_dashboard('7') ->> 'today'),
	concat_ws(' ', count(*), sum(fee), count(*) FILTER (WHERE kind = 'x' AND day = '2026-11-20'),
		(SELECT count(*) FROM appointments WHERE clinic_id = 7 AND date::date = current_date)) FROM visit WHERE clinic = 7};

sub is_counted
{
	my ($node, $name) = @_;
	my ($counter, $table) = split /\|/, on($node, $counted);
	is($counter, $table, "$name: counters are right");
	is(on($node, 'SELECT count(*) FROM clinicache.verify()'), 0, "$name: verify()");
	return;
}

# A subscriber from now on gets what is written.
my $next = 1000;
sub delivers
{
	my ($node, $name) = @_;
	my $id = $next++;
	my $file = "$dir/position.$name.$id";

	append_to_file($file, position($node) . "\n");
	my $tail = Tail->new($node->connstr('postgres'), $dir, '--position-file', $file);
	on($node, "INSERT INTO visit VALUES ($id, 7, '2026-11-20', 'x', 2)");
	ok(defined $tail->wait_for(30, "visit:$id"), "$name: the worker delivers");
	ok(!$tail->tags->{'*'}, "$name: without a reset");
	$tail->stop;
	return;
}

# ------------------------------------------------------------- primary and standby

on($one, 'CREATE EXTENSION clinicache',
	q{CREATE TABLE visit(id int PRIMARY KEY, clinic int, day date, kind text, fee numeric)},
	q{SELECT clinicache.track('visit', '{"tenant": "clinic", "tags": ["visit:{id}"], "counters":
		[{"counter": "visits", "by": {"clinic": "clinic"}, "day": "day", "class": "kind", "sum": "fee"}]}')},
	q{CREATE TABLE appointments(id int PRIMARY KEY, clinic_id int, patient_id int, doctor_id int, date timestamptz, status text)},
	q{SELECT clinicache.track('appointments', 'appointment')},
	q{INSERT INTO visit SELECT i, 7 + i % 2, '2026-11-20', 'x', i FROM generate_series(1, 100) AS i},
	q{INSERT INTO appointments SELECT i, 7 + i % 2, i, 1, now(), 'CONFIRMED' FROM generate_series(1, 100) AS i});
wait_for_worker($one, 'primary');
my $two = standby_of($one, 'two');
delivers($one, 'primary');
on($one, 'SELECT clinicache.maintain_fold()', 'UPDATE visit SET fee = fee + 1 WHERE id <= 50', 'DELETE FROM appointments WHERE id > 90');
catch_up($one, $two);
is_counted($two, 'standby');
on($one, 'BEGIN', 'UPDATE visit SET fee = fee + 1', 'ROLLBACK', 'DELETE FROM visit WHERE id = 1');
catch_up($one, $two);
is_counted($two, 'standby, later');
is(on($two, q{SELECT worker_pid IS NULL, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clinicache worker') FROM clinicache.stat_delivery}),
	't|0', 'standby: no worker');
is(on($two, q{SELECT string_agg(finding, '; ') FROM clinicache.health() WHERE severity <> 'notice'}), '', 'standby: health() is content');

# --------------------------------------------------------------------- promotion

my $of_one = position($one);
my $of_two = position($two);
$one->stop('fast');
$two->promote;
wait_for_worker($two, 'promoted');
is(reset_by($two, $of_one), 'reset', 'promoted: a position of the old primary answers reset');
is(reset_by($two, $of_two), 'reset', 'promoted: and one of its own from before');
is(reset_by($two, position($two)), 'known', 'promoted: positions of now are good');
is_counted($two, 'promoted');

# a subscriber that followed the old primary
append_to_file("$dir/moved", "$of_one\n");
my $moved = Tail->new($two->connstr('postgres'), $dir, '--position-file', "$dir/moved");
ok(defined $moved->wait_for(30, '*'), 'promoted: a subscriber that comes over drops everything');
on($two, q{INSERT INTO visit VALUES (5000, 7, '2026-11-20', 'x', 2)});
ok(defined $moved->wait_for(30, 'visit:5000'), 'promoted: and goes on');
$moved->stop;
delivers($two, 'promoted');
is_counted($two, 'promoted and written');
on($two, q{SELECT clinicache.rebuild('visits')}, 'ALTER TABLE visit RENAME COLUMN fee TO price', 'ALTER TABLE visit RENAME COLUMN price TO fee');
on($two, 'UPDATE visit SET fee = fee + 1');
is_counted($two, 'promoted, rebuilt');

# -------------------------------------------------------------- those that follow

my $three = standby_of($two, 'three');
$two->stop;
$one->start;
on($one, q{INSERT INTO visit VALUES (6000, 7, '2026-11-20', 'x', 2)});
my $astray = position($one);
$one->stop;
command_ok([ 'pg_rewind', '--source-pgdata', $two->data_dir, '--target-pgdata', $one->data_dir, '--no-sync', '--config-file', $one->data_dir . '/postgresql.conf' ], 'pg_rewind');
$two->start;
# pg_rewind has copied the other's configuration
$one->adjust_conf('postgresql.conf', 'port', $one->port);
$one->append_conf('postgresql.conf', sprintf "unix_socket_directories = '%s'\nlog_line_prefix = '%%m [%%p] %%q%%a '\n", $one->host);
$one->enable_streaming($two);
$one->start;
on($two, 'UPDATE visit SET fee = fee + 1 WHERE id < 20');
for my $node ($one, $three)
{
	my $name = $node->name;
	catch_up($two, $node);
	is_counted($node, "$name, standby of the new primary");
	is(reset_by($node, $of_one), 'reset', "$name: positions of the old primary answer reset");
	is(reset_by($node, position($node)), 'known', "$name: positions of now are good");
}
is(reset_by($one, $astray), 'reset', 'one, rewound: one that it gave out when it was astray');
is(reset_by($two, $astray), 'reset', 'two: neither');
is(on($one, 'SELECT count(*) FROM visit WHERE id = 6000'), 0, 'one: what it had written is gone');
wait_for_worker($two, 'two, started again');
delivers($two, 'two, started again');
$_->stop for $three, $one, $two;
done_testing();
