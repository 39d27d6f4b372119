# Clock edges: tags that change meaning though no row changed, at each clinic's
# midnight and as appointments pass; for late transactions again; by maintain()
# and by the worker itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Tail;
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $seed = $ENV{CLINICACHE_SEED} || int(rand 1e9);
my $node = new_node('edges', q{clinicache.delivery = 'commit'});

# ---------------------------------------------------------------- helpers

sub new_node
{
	my ($name, @lines) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name);
	$new->init;
	$new->append_conf('postgresql.conf',
		join "\n", 'fsync = off', 'max_prepared_transactions = 10', 'max_worker_processes = 12', @lines, '');
	$new->start;
	return $new;
}

sub sql { return $node->safe_psql('postgres', shift) }

# Tables of three kinds, each with a tag for each window, by row and by clinic,
# and tags of a new day.
sub make_tables
{
	sql('CREATE EXTENSION clinicache');
	sql(q{
		INSERT INTO clinicache.tenant VALUES ('cairo', 'Africa/Cairo'), ('york', 'America/New_York');
		CREATE TABLE inst(id int PRIMARY KEY, clinic text, patient int, at timestamptz);
		CREATE TABLE utc(id int PRIMARY KEY, clinic text, patient int, at timestamp);
		CREATE TABLE split(id int PRIMARY KEY, clinic text, patient int, at date, clock text);
		CREATE FUNCTION config(name text, at text, more text DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
			SELECT jsonb_build_object('tenant', 'clinic', 'tags', jsonb_agg(
				CASE w WHEN 'dash' THEN jsonb_build_object('tag', name || ':dash:' || k, 'edge', 'day')
				ELSE jsonb_build_object('tag', name || ':' || w || ':' || k, 'window', w, 'time', at::jsonb) END)) || more::jsonb
			FROM unnest('{today,upcoming,past,dash}'::text[]) AS w, unnest('{"{id}","{clinic}"}'::text[]) AS k $$;
		SELECT clinicache.track('inst', config('inst', '["at"]'));
		SELECT clinicache.track('utc', config('utc', '["at"]'));
		SELECT clinicache.track('split', config('split', '["at", "clock"]'))});
	return;
}

# The tags of the edges after one time, up to another, in order.
sub edges
{
	my ($from, $to, $settings) = @_;
	my @lines = split /\n/, sql(qq{
		BEGIN; $settings;
		DO \$\$ BEGIN PERFORM clinicache.emit_edges('$from', '$to'); END \$\$;
		SELECT tag FROM clinicache.pending_tags() ORDER BY tag COLLATE "C";
		ROLLBACK});
	return join ' ', @lines;
}

# All tags and prefixes in the log since the last call, how often each.
my $seen = 0;

sub logged
{
	my @rows = split /\n/, sql(q{
		SELECT tag || ' ' || count(*) FROM clinicache.invalidation_log AS l,
			unnest(l.tags || array(SELECT p || '*' FROM unnest(l.prefixes) AS p)) AS tag
		WHERE l.xid::text::bigint > } . $seen . q{ GROUP BY tag});
	$seen = sql('SELECT coalesce(max(xid::text::bigint), 0) FROM clinicache.invalidation_log');
	return { map { split / / } @rows };
}

sub maintain { sql('CALL clinicache.maintain()'); return }

# The clock of all sessions, from now on (it goes on from there).
my $offset = 0;

sub set_clock
{
	my ($time) = @_;
	$offset = sql("SELECT ceil(extract(epoch FROM timestamptz '$time' - clock_timestamp()))::bigint");
	$node->append_conf('postgresql.conf', "clinicache.clock_offset = $offset");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('clinicache.clock_offset') = '${offset}s' "
		. "OR abs(extract(epoch FROM clinicache.clock() - timestamptz '$time')) < 5")
		or die 'the clock was not set';
	return;
}

# ------------------------------------------------------- midnight, where it is

make_tables();
# of each clinic yesterday's, today's and tomorrow's rows around a midnight
sub fill_around
{
	my ($day) = @_;
	sql(qq{
		TRUNCATE inst, utc, split;
		INSERT INTO inst SELECT n * 4 + d + 3, c, 7, (date '$day' + d + time '12:00') AT TIME ZONE z
			FROM (VALUES (0, 'cairo', 'Africa/Cairo'), (1, 'york', 'America/New_York'), (2, 'zulu', 'UTC')) AS c(n, c, z),
				generate_series(-2, 1) AS d;
		INSERT INTO utc SELECT id, clinic, 7, at AT TIME ZONE 'UTC' FROM inst;
		INSERT INTO split SELECT id, clinic, 7, date '$day' + (id - 1) % 4 - 2, '12:00' FROM inst});
	logged();
	return;
}

# What a midnight at "day" emits: ids of the day before and of that day.
sub of_midnight
{
	my ($clinic) = @_;
	my $first = { cairo => 1, york => 5, zulu => 9 }->{$clinic};
	my ($yesterday, $today) = ($first + 1, $first + 2);
	return join ' ', sort map {
		my $t = $_;
		(map { ("$t:today:$_", "$t:dash:$_") } $yesterday, $today, $clinic),
		  "$t:upcoming:$yesterday", "$t:upcoming:$clinic", "$t:past:$clinic"
	} qw(inst utc split);
}

for my $night (
	[ 'york', '2026-03-08', '2026-03-08 05:00+00' ],	# clocks go forward later that night
	[ 'york', '2026-03-09', '2026-03-09 04:00+00' ],
	[ 'york', '2026-11-01', '2026-11-01 04:00+00' ],	# and back
	[ 'york', '2026-11-02', '2026-11-02 05:00+00' ],
	[ 'cairo', '2026-04-24', '2026-04-23 22:00+00' ],	# 00:00 does not exist
	[ 'cairo', '2026-10-30', '2026-10-29 22:00+00' ],	# 23:00 comes twice
	[ 'zulu', '2026-07-01', '2026-07-01 00:00+00' ])
{
	my ($clinic, $day, $midnight) = @$night;
	my ($before, $after) = split / \| /,
	  sql("SET timezone = 'UTC'; SELECT timestamptz '$midnight' - interval '1 second' || ' | ' || timestamptz '$midnight' + interval '1 second'");
	fill_around($day);
	is(edges($before, $after, ''), of_midnight($clinic), "midnight of $day in $clinic");
	is(edges($before, "$midnight", "SET LOCAL timezone = 'Asia/Tokyo'; SET LOCAL datestyle = 'SQL, DMY'"),
		of_midnight($clinic), '... up to it, whatever the session\'s settings');
	is(edges($midnight, $after, ''), '', '... after it nothing');
}

# an appointment passes at noon there, and at noon only
is(edges('2026-07-01 11:59:59+00', '2026-07-01 12:00:00+00', ''),
	join(' ', map { ("$_:past:11", "$_:past:zulu") } qw(inst split utc)), 'an appointment passes');
is(edges('2026-07-01 12:00:00+00', '2026-07-01 13:00:00+00', ''), '', 'once');
is(edges('2026-07-01 01:00+00', '2026-07-01 01:00+00', ''), '', 'no time, no edges');
like(sql(q{SELECT clinicache.emit_edges('2026-06-29', '2026-07-02')}), qr/^\d\d+$/, 'emit_edges returns how many');
$node->psql('postgres', q{SELECT clinicache.emit_edges('2026-07-02', '2026-07-01')}, stderr => \my $message);
like($message, qr/from one time to a later one/, 'not backwards');

# two days at once: what was today only in between is stale too
like(edges('2026-06-30 00:30+00', '2026-07-02 00:30+00', ''), qr/ inst:today:11 /, 'a day that was over meanwhile');

# clinics without any row near see the new day
sql(q{DELETE FROM inst; INSERT INTO inst VALUES (1, 'zulu', 7, '2020-01-01'), (2, NULL, 7, '2020-01-01')});
is(edges('2026-06-30 23:59+00', '2026-07-01 00:01+00', '') =~ s/ (split|utc):\S+//gr,
	'inst:dash:zulu inst:past:zulu inst:today:zulu inst:upcoming:zulu', 'a new day for a clinic without appointments');
sql('CREATE INDEX ON inst(clinic)');
is(edges('2026-06-30 23:59+00', '2026-07-01 00:01+00', '') =~ s/ (split|utc):\S+//gr,
	'inst:dash:zulu inst:past:zulu inst:today:zulu inst:upcoming:zulu', '... found by an index');
sql('DROP INDEX inst_clinic_idx');

# ------------------------------------------------------------------- oracle

# Windows written down a second time, asked at many moments between the ends: a
# tag is emitted if a row is not always in, or not always out.
sql(q{
	CREATE FUNCTION zone(clinic text) RETURNS text LANGUAGE sql STABLE AS $$
		SELECT coalesce((SELECT timezone FROM clinicache.tenant AS t WHERE t.tenant = clinic), 'UTC') $$;
	CREATE FUNCTION model(asked timestamptz, until timestamptz) RETURNS TABLE (tag text) LANGUAGE sql STABLE AS $$
		WITH visit AS MATERIALIZED (
			SELECT 'inst' AS t, id, clinic, zone(clinic) AS z, at AT TIME ZONE zone(clinic) AS wall, at AS moment, true AS timed FROM inst
			UNION ALL SELECT 'utc', id, clinic, zone(clinic), at AT TIME ZONE 'UTC' AT TIME ZONE zone(clinic), at AT TIME ZONE 'UTC', true FROM utc
			UNION ALL SELECT 'split', id, clinic, zone(clinic), at + coalesce(clock, '0:00')::time, NULL, clock IS NOT NULL FROM split),
		days AS (SELECT z, (asked AT TIME ZONE z)::date AS a, (until AT TIME ZONE z)::date AS b
			FROM (SELECT 'UTC' AS z UNION SELECT timezone FROM clinicache.tenant) AS zones),
		member AS (
			SELECT v.t, v.id, v.clinic, bool_and(i.i) AS always, bool_or(i.i) AS ever, i.w
			FROM visit AS v
			CROSS JOIN LATERAL (
				SELECT generate_series(asked, until, interval '10 minutes') UNION SELECT until
				UNION SELECT m FROM generate_series(date_trunc('hour', asked), until, interval '30 minutes') AS m WHERE m > asked
				UNION SELECT m FROM unnest(ARRAY[v.moment, v.wall AT TIME ZONE v.z, v.wall AT TIME ZONE v.z - interval '1 hour',
					v.wall AT TIME ZONE v.z + interval '1 hour']) AS m WHERE m > asked AND m <= until) AS s(m)
			CROSS JOIN LATERAL (SELECT s.m AT TIME ZONE v.z AS now) AS n
			CROSS JOIN LATERAL (VALUES ('today', v.wall::date = n.now::date), ('upcoming', v.wall::date >= n.now::date),
				('past', CASE WHEN NOT v.timed THEN v.wall::date < n.now::date
					WHEN v.moment IS NOT NULL THEN v.moment <= s.m ELSE v.wall <= n.now END)) AS i(w, i)
			GROUP BY v.t, v.id, v.clinic, i.w)
		SELECT format('%s:%s:%s', m.t, m.w, k) FROM member AS m, unnest(ARRAY[m.id::text, m.clinic]) AS k
			WHERE m.ever AND NOT m.always
		UNION SELECT format('%s:%s:%s', v.t, w, v.clinic) FROM visit AS v JOIN days AS d ON d.z = v.z AND d.a <> d.b,
			unnest('{today,upcoming,past,dash}'::text[]) AS w
		UNION SELECT format('%s:dash:%s', v.t, v.id) FROM visit AS v JOIN days AS d ON d.z = v.z
			AND d.a <> d.b AND v.wall::date BETWEEN d.a AND d.b
	$$});
note("CLINICACHE_SEED=$seed");
srand $seed;
my ($differences, $emitted) = ('', 0);
for my $center ('2026-03-08 06:00+00', '2026-11-01 05:30+00', '2026-04-23 22:00+00', '2026-10-29 21:30+00', '2026-06-15 12:00+00')
{
	sql(qq{
		SELECT setseed(@{[ rand ]});
		TRUNCATE inst, utc, split;
		CREATE TEMP TABLE v AS SELECT i AS id, (ARRAY['cairo', 'york', 'zulu', 'other'])[1 + random() * 3] AS clinic,
			date_trunc('minute', timestamptz '$center' + (random() - 0.5) * interval '5 days') AS at FROM generate_series(1, 60) AS i;
		INSERT INTO inst SELECT id, clinic, 7, at FROM v;
		INSERT INTO utc SELECT id, clinic, 7, at AT TIME ZONE 'UTC' FROM v;
		INSERT INTO split SELECT id, clinic, 7, (at AT TIME ZONE zone(clinic))::date,
			CASE WHEN random() < 0.8 THEN to_char(at AT TIME ZONE zone(clinic), 'HH24:MI') END FROM v});
	for my $i (1 .. 8)
	{
		my $length = (0.01, 0.5, 2, 6, 24, 30, 50, 1.2)[ $i - 1 ];
		my $start = $length * rand() + 3 * rand() - 1.5;
		my ($from, $to) = split / \| /, sql(qq{SET timezone = 'UTC';
			SELECT f || ' | ' || f + interval '$length hours'
			FROM date_trunc('second', timestamptz '$center' - interval '$start hours') AS f});
		my $got = edges($from, $to, 'SET LOCAL clinicache.bulk_threshold = 100000');
		my $want = sql(qq{SELECT coalesce(string_agg(tag, ' ' ORDER BY tag COLLATE "C"), '') FROM (SELECT DISTINCT tag FROM model('$from', '$to')) AS m});
		$emitted += () = $got =~ /:/g;
		next if $got eq $want;
		my %got = map { $_ => 1 } split / /, $got;
		my %want = map { $_ => 1 } split / /, $want;
		$differences .= "$from to $to: missing " . join(' ', grep { !$got{$_} } sort keys %want)
		  . '; too many ' . join(' ', grep { !$want{$_} } sort keys %got) . "\n";
	}
}
is($differences, '', 'what the model says, in 40 stretches of time');
cmp_ok($emitted, '>', 1000, "$emitted tags were compared");

done_testing();
