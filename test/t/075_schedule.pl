# Upkeep by pg_cron: schedule, unschedule, what they say where they can not, and
# the warning of track where nobody does it. With the pg_cron that is installed;
# before 1.5 that runs jobs on the minute only, so that the test takes two.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

chomp(my $libdir = `$ENV{PG_CONFIG} --pkglibdir`);
plan skip_all => 'pg_cron is not installed' unless -e "$libdir/pg_cron.so";

my $node = PostgreSQL::Test::Cluster->new('schedule');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
fsync = off
shared_preload_libraries = 'pg_cron'
cron.use_background_workers = on
max_worker_processes = 12
clinicache.delivery = 'worker'
});
$node->start;

# ---------------------------------------------------------------- helpers

sub sql
{
	my ($statement, $database) = @_;
	return $node->safe_psql($database || 'postgres', $statement);
}

# What the server says about it: errors, notices, hints.
sub said
{
	my ($statement, $database) = @_;
	my $said;
	$node->psql($database || 'postgres', $statement, stderr => \$said);
	return $said;
}

sub jobs { return sql('SELECT jobname, schedule, command, database, active FROM cron.job ORDER BY jobid') }

sub newest { return sql('SELECT max(id) FROM clinicache.position_history', shift) }

my $last_id = 0;
my %listener;

# Commits a change that nobody delivers; its tag.
sub insert
{
	my ($database) = @_;
	$last_id++;
	sql("INSERT INTO item VALUES ($last_id)", $database);
	return "item:$last_id";
}

sub heard
{
	my ($database) = @_;
	my $listener = $listener{$database};
	$listener->{heard} .= $listener->{session}->query_safe('SELECT') . "\n";
	return $listener->{heard};
}

sub waits_for
{
	my ($database, $tag) = @_;
	my $end = time + 75;
	while (time < $end)
	{
		return 1 if heard($database) =~ /"\Q$tag\E"/;
		sleep 0.2;
	}
	return 0;
}

# ------------------------------------------- where nobody does the upkeep

sql('CREATE DATABASE other');
for my $database ('postgres', 'other')
{
	sql('CREATE EXTENSION clinicache', $database);
	sql('CREATE TABLE item(id bigint PRIMARY KEY)', $database);
	is(said(q{SELECT clinicache.track('item', '{"tags": ["item:{id}"]}')}, $database),
		'', "a new extension is no reason for a warning: $database");
	my $session = $node->background_psql($database);
	$session->query_safe('LISTEN clinicache');
	$listener{$database} = { session => $session, heard => '' };
}
sql(q{
	CREATE ROLE tracker LOGIN;
	SELECT clinicache.grant_tracker('tracker');
	CREATE TABLE theirs(id bigint PRIMARY KEY);
	ALTER TABLE theirs OWNER TO tracker});

my $TRACK = q{SELECT clinicache.track('item', '{"tags": ["item:{id}"]}');};
my $WARNING = qr/WARNING:  nobody does the upkeep of clinicache in this database/;

sub grow_old { sql(q{UPDATE clinicache.position_history SET at = at - interval '11 minutes'}); return }

grow_old();
my $said = said($TRACK);
like($said, $WARNING, 'without upkeep for ten minutes track warns');
like($said, qr/HINT: .*shared_preload_libraries.*clinicache\.schedule\(\)/, 'and names what does it');
is(scalar(() = said($TRACK x 3) =~ /WARNING/g), 1, 'once a session');
$said = said(q{SELECT clinicache.track('item', 'patient', '{"clinic": null}')});
is(scalar(() = $said =~ /WARNING/g), 1, 'so does the other form') or diag $said;
sql($TRACK);
is(said(q{
	CREATE TEMP TABLE mine(id bigint);
	SELECT clinicache.track('mine', '{"tags": ["mine:{id}"]}')}), '', 'not for a temporary table');
like(said(q{
	SET ROLE tracker;
	SELECT clinicache.track('theirs', '{"tags": ["theirs:{id}"]}')}), $WARNING, 'a tracker is warned too');
like(said('SET ROLE tracker; SELECT FROM clinicache.position_history'),
	qr/permission denied/, 'though it does not see why');
sql('CALL clinicache.maintain()');
is(said($TRACK), '', 'maintain() by whomever will do');

# --------------------------------------------------- where pg_cron is not

$said = said('SELECT clinicache.schedule()');
like($said, qr/ERROR:  extension pg_cron is missing in database "postgres"/, 'schedule() without the extension');
like($said, qr/HINT:  CREATE EXTENSION pg_cron/, 'says what is missing');
like(said('SELECT clinicache.unschedule()'), qr/NOTICE:  there is no pg_cron in database "postgres"/,
	'unschedule() without it is no error');
sql('CREATE EXTENSION pg_cron');

my $version = sql(q{SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'});
my $seconds = $version !~ /^(0|1\.[0-4])\b/;
note "pg_cron $version";

$said = said(q{SELECT clinicache.schedule('2 seconds')}, 'other');
like($said, qr/ERROR:  pg_cron is in database "postgres", not in "other"/, 'schedule() in another database');
my ($statement) = $said =~ /HINT:  In database "postgres", as superuser: (SELECT .*)/;
like($statement // '', qr/cron\.schedule_in_database/, 'shows the statement for that one');
like(said('SELECT clinicache.unschedule()', 'other'),
	qr/HINT: .*SELECT cron\.unschedule\('clinicache other'\)/, 'unschedule() there too');

# ------------------------------------------------------------- schedule

grow_old();
is(sql('SELECT clinicache.unschedule()'), 'f', 'nothing to unschedule');
like(said($TRACK), $WARNING, 'pg_cron without a job is no upkeep');

sql(q{SELECT cron.schedule('by hand', '5 4 * * *', ' call clinicache.maintain( ) ;')});
sql(q{SELECT cron.schedule('not ours', '5 4 * * *', 'SELECT 1')});
sql(q{UPDATE cron.job SET active = false WHERE jobname = 'by hand'});
like(said($TRACK), $WARNING, 'nor is an inactive one');
sql(q{UPDATE cron.job SET active = true});
is(said($TRACK), '', 'a job by hand is');
my $failed = q{INSERT INTO cron.job_run_details (jobid, runid, status)
	SELECT jobid, nextval('cron.runid_seq'), 'failed' FROM cron.job WHERE };
sql("$failed jobname = 'by hand'");
like(said($TRACK), $WARNING, 'until it fails');

my $mine = $seconds ? '2 seconds' : '* * * * *';
$said = said(q{SELECT clinicache.schedule('2 seconds')});
if ($seconds)
{
	is($said, '', 'schedule()');
}
else
{
	like($said, qr/NOTICE:  upkeep is scheduled every minute: pg_cron \Q$version\E knows nothing shorter/,
		'schedule() by an old pg_cron says that it is every minute');
}
is(jobs(), "not ours|5 4 * * *|SELECT 1|postgres|t\n"
	. "clinicache postgres|$mine|CALL clinicache.maintain()|postgres|t", 'replaces the one by hand');
is(said($TRACK), '', 'and pleases track');
sql(q{UPDATE cron.job SET active = false WHERE jobname LIKE 'clinicache%'});
sql(q{SELECT clinicache.schedule('10 minutes')});
is(jobs(), "not ours|5 4 * * *|SELECT 1|postgres|t\n"
	. 'clinicache postgres|*/10 * * * *|CALL clinicache.maintain()|postgres|t', 'it replaces its own, active again');
like(said(q{SELECT clinicache.schedule('90 seconds')}),
	qr/NOTICE:  upkeep is scheduled every 00:01:00: pg_cron can not say every 00:01:30/, 'the next shorter interval, with a notice');
my $job = sql(q{SELECT clinicache.schedule('2 seconds')});
is(sql(q{SELECT jobid FROM cron.job WHERE jobname = 'clinicache postgres'}), $job, 'it returns the job');
sql(q{BEGIN; SELECT clinicache.unschedule(); ROLLBACK});
sql($statement);
is(sql('SELECT count(*) FROM cron.job'), 3, 'the statement for another database makes a job');

# -------------------------------------------------------- what the jobs do

my %newest = map { $_ => newest($_) } 'postgres', 'other';
my %tag = map { $_ => insert($_) } 'postgres', 'other';
for my $database ('postgres', 'other')
{
	unlike(heard($database), qr/"$tag{$database}"/, "nobody delivers at commit: $database");
}
ok(waits_for($_, $tag{$_}), "the job delivers: $_") for 'postgres', 'other';
for my $database ('postgres', 'other')
{
	ok($node->poll_query_until($database, "SELECT max(id) > $newest{$database} FROM clinicache.position_history"),
		"and records its position: $database");
}
ok($node->poll_query_until('postgres', q{
	SELECT array_agg(DISTINCT status) = '{succeeded}' FROM cron.job_run_details
	WHERE command = 'CALL clinicache.maintain()'}), 'pg_cron is content')
  or diag sql('SELECT status, return_message FROM cron.job_run_details');

# ------------------------------------------------------------- unschedule

is(sql('SELECT clinicache.unschedule()'), 't', 'unschedule()');
is(jobs(), "not ours|5 4 * * *|SELECT 1|postgres|t\n"
	. "clinicache other|$mine|CALL clinicache.maintain()|other|t", 'leaves what is not this database\'s upkeep');
sleep 2;	# pg_cron looks once a second
$newest{postgres} = newest('postgres');
$tag{postgres} = insert('postgres');
ok(waits_for('other', insert('other')), 'the other database is served again');
sleep 1;
unlike(heard('postgres'), qr/"$tag{postgres}"/, 'this one is not');
is(newest('postgres'), $newest{postgres}, 'nor does its history grow');
is(sql('SELECT clinicache.unschedule()'), 'f', 'unschedule() again: there was none');

$_->{session}->quit for values %listener;
$node->stop;
done_testing();
