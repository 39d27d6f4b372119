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
# Without a worker at first, whatever the suite preloads: it would emit the edges itself.
my $node = new_node('edges', q{shared_preload_libraries = ''}, q{clinicache.delivery = 'commit'});

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

# All tags and prefixes written to the log since the last call, how often each.
my $seen = '-infinity';

sub logged
{
	my @rows = split /\n/, sql(q{
		SELECT tag || ' ' || count(*) FROM clinicache.invalidation_log AS l,
			unnest(l.tags || array(SELECT p || '*' FROM unnest(l.prefixes) AS p)) AS tag
		WHERE l.at > '} . $seen . q{' GROUP BY tag});
	$seen = sql(q{SELECT coalesce(max(at), '-infinity') FROM clinicache.invalidation_log});
	return { map { split / / } @rows };
}

sub maintain { sql('CALL clinicache.maintain()'); return }

# The clock of all sessions, which goes on from there.
sub set_clock
{
	my ($time) = @_;
	my $offset = sql("SELECT ceil(extract(epoch FROM timestamptz '$time' - clock_timestamp()))::bigint");
	$node->append_conf('postgresql.conf', "clinicache.clock_offset = $offset");
	$node->reload;
	$node->poll_query_until('postgres',
		"SELECT abs(extract(epoch FROM clinicache.clock() - timestamptz '$time')) < 5")
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

# Where clocks are set back, at 06:00 in UTC from 02:00 to 01:00, an hour comes twice.
sql(q{TRUNCATE inst, utc, split;
	INSERT INTO inst VALUES (1, 'york', 7, '2026-11-01 05:45+00'), (2, 'york', 7, '2026-11-01 06:45+00');
	INSERT INTO split VALUES (3, 'york', 7, '2026-11-01', '01:45')});
is(edges('2026-11-01 05:29+00', '2026-11-01 06:05+00', ''), 'inst:past:1 inst:past:york split:past:3 split:past:york',
	'moments pass once, a time on the wall the first time');
is(edges('2026-11-01 06:05+00', '2026-11-01 06:50+00', ''), 'inst:past:2 inst:past:york split:past:3 split:past:york',
	'... and the second time');

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

# ---------------------------------------------------------------- maintain()

# What was logged, in order; those that came more than once with a number.
sub told
{
	my $tags = logged();
	return join ' ', map { $_ . ($tags->{$_} > 1 ? "($tags->{$_})" : '') } sort keys %$tags;
}

sub rows_of_history { return sql('SELECT count(*) FROM clinicache.edge_history') }

fill_around('2026-07-01');
set_clock('2026-07-01 03:59:40+00');
maintain();
is(told(), '', 'the first time there is no time that has passed');
is(rows_of_history(), 1, 'but it is noted');
set_clock('2026-07-01 04:00:10+00');
maintain();
is(told(), of_midnight('york'), 'a midnight has passed: the tags of that clinic, each once');
maintain();
is(told(), '', 'not again');
is(rows_of_history(), 1, 'one row of the history is kept');
set_clock('2026-07-01 16:00:05+00');
logged();
maintain();
like(told(), qr/inst:past:7 inst:past:cairo inst:past:york/, 'time passes at noon, and did elsewhere');

# Nobody looks for two days.
fill_around('2026-07-03');
set_clock('2026-07-03 12:00:30+00');
maintain();
my $told = told();
like($told, qr/ inst:today:2 inst:today:3 .*inst:today:6 inst:today:7 /, 'two days are caught up');
unlike($told, qr/\(/, 'each tag once');
maintain();
is(told(), '', 'and no more');

# ------------------------------------------------------- late transactions

# An appointment of the new day that is deleted before midnight, in a
# transaction that ends after it: then there is no row to be found any more.
set_clock('2026-07-03 15:59:30+00');
fill_around('2026-07-03');
maintain();
told();
my $deleting = $node->background_psql('postgres');
$deleting->query_safe('BEGIN; DELETE FROM split WHERE id = 7; DELETE FROM inst WHERE id = 8');
set_clock('2026-07-03 16:00:10+00');
maintain();
is(told(), join(' ', map { ("$_:past:7", "$_:past:york") } qw(inst split utc)), 'an appointment passes that is being deleted');
$deleting->query_safe('COMMIT');
is(told(), 'inst:dash:8 inst:dash:york inst:upcoming:8 inst:upcoming:york split:dash:7 split:dash:york '
	. 'split:past:* split:today:7 split:today:york split:upcoming:7 split:upcoming:york',
	'its deletion reaches the list that it has come into');
maintain();
is(told(), '', 'and there is nothing to repeat');
$deleting->quit;

# Begins a transaction before midnight in New York that writes a row of the new day.
sub write_before
{
	my ($day, $id) = @_;
	set_clock("$day 03:59:30+00");
	fill_around($day);
	maintain();
	told();
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; INSERT INTO inst VALUES ($id, 'york', 7, timestamptz '$day 16:00+00')");
	set_clock("$day 04:00:10+00");
	return $session;
}

my $late = write_before('2026-07-04', 100);
maintain();
is(told(), of_midnight('york'), 'the edge does not see what is not committed');
maintain();
is(told(), '', 'while that is open, nothing is repeated');
$late->query_safe('COMMIT');
my $own = told();
unlike($own, qr/today:(york|100)\b/, 'its own tags are from before midnight');
like($own, qr/inst:today:\*/, 'but prefixes stand for windows that opened meanwhile');
unlike($own, qr/(past|upcoming|dash):\*/, 'and for no others');
maintain();
is(told(), 'inst:dash:100 inst:dash:york inst:today:100 inst:today:york',
	'when it has ended the edge is emitted again, for what it wrote');
maintain();
is(told(), '', 'once');
is(rows_of_history(), 1, 'and forgotten');
$late->quit;

$late = write_before('2026-07-05', 101);
$late->query_safe(q{PREPARE TRANSACTION 'late'});
$late->quit;
maintain();
is(told(), of_midnight('york'), 'a prepared transaction is not seen either');
for my $second (20, 30, 40)
{
	set_clock("2026-07-05 04:00:$second+00");
	maintain();
}
$node->restart;
maintain();
is(told(), '', 'while it is prepared, nothing is repeated');
cmp_ok(rows_of_history(), '<=', 2, 'rows that wait for the same are one');
sql(q{COMMIT PREPARED 'late'});
told();
maintain();
like(told(), qr/inst:today:101 inst:today:york/, 'after COMMIT PREPARED the edge is emitted again');
maintain();
is(told(), '', 'once');

# One that ends leaves others to be waited for.
$late = write_before('2026-07-06', 102);
my $later = $node->background_psql('postgres');
$later->query_safe(q{BEGIN; INSERT INTO utc VALUES (102, 'cairo', 7, '2020-01-01'); SELECT 1});
maintain();
$late->query_safe('COMMIT');
told();
maintain();
like(told(), qr/inst:today:102 inst:today:york/, 'it does not have to wait for another that is open');
$later->query_safe('ROLLBACK');
$_->quit for $late, $later;
maintain();
is(told(), '', 'one that was rolled back repeats nothing');

# --------------------------------------------------- several at upkeep, locks

set_clock('2026-07-08 03:59:30+00');
fill_around('2026-07-08');
maintain();
told();
set_clock('2026-07-08 04:00:10+00');
my $other = $node->background_psql('postgres');
$other->query_safe('BEGIN');
is($other->query_safe('SELECT clinicache.maintain_edges()'), 't', 'a session is at upkeep');
is(sql('SELECT clinicache.maintain_edges()'), 'f', 'another does not wait for it');
maintain();
is(told(), '', 'and emits nothing');
$other->query_safe('COMMIT');
is(told(), of_midnight('york'), 'the edge is emitted once');
maintain();
is(told(), '', 'by one of them');

set_clock('2026-07-08 15:59:50+00');
maintain();
told();
set_clock('2026-07-08 16:00:10+00');
$other->query_safe('BEGIN; LOCK TABLE utc');
sql(q{SET statement_timeout = '5s'; SELECT clinicache.maintain_edges()});
is(told(), 'inst:past:7 inst:past:york split:past:7 split:past:york utc:dash:* utc:past:* utc:today:* utc:upcoming:*',
	'prefixes stand for the tags of a table that is locked');
$other->query_safe('ROLLBACK');
$other->quit;

# -------------------------------------------------------- a clock set back

set_clock('2026-07-08 15:59:40+00');
maintain();
is(told(), '', 'a clock that is set back by seconds is waited for');
set_clock('2026-07-08 03:30:00+00');
maintain();
like(told(), qr/inst:today:6 inst:today:7 inst:today:york/, 'set back across midnight, yesterday is today again');
set_clock('2026-07-08 04:30:00+00');
maintain();
like(told(), qr/inst:today:6 inst:today:7 inst:today:york/, 'and midnight comes again');

# ------------------------------------------------------ which rows are read

sql(q{
	CREATE TABLE many(id int PRIMARY KEY, clinic text, at timestamptz, day date, clock text);
	INSERT INTO many SELECT i, 'zulu', t, t::date, to_char(t, 'HH24:MI')
		FROM (SELECT i, timestamptz '2026-01-01 00:00+00' + i * interval '5 minutes' AS t FROM generate_series(1, 100000) AS i) AS v;
	ANALYZE many});
my @notices;
for my $index ('SELECT', 'CREATE INDEX ON many(at)', 'CREATE INDEX ON many(day)')
{
	sql($index);
	$node->psql('postgres', q{SELECT clinicache.track('many', '{"tenant": "clinic", "tags": [
		{"tag": "many:past:{id}", "window": "past", "time": "at"}, {"tag": "many:today:{id}", "window": "today", "time": "at"},
		{"tag": "many:split:{id}", "window": "today", "time": ["day", "clock"]}]}')}, stderr => \my $notice);
	push @notices, $notice =~ /NOTICE:  no index of public[.]many begins with (.*): clock/ ? $1 : '';
}
is(join(';', @notices), '"at", "day";"day";', 'track tells what is not indexed');
my $reads = q{SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables WHERE relname = 'many'};
sql('SELECT pg_stat_reset()');
sql(q{BEGIN; SELECT clinicache.emit_edges('2026-06-01 09:00+00', '2026-06-01 09:30+00');
	SELECT clinicache.emit_edges('2026-05-31 23:59+00', '2026-06-01 00:01+00'); ROLLBACK});
$node->poll_query_until('postgres', q{SELECT idx_scan >= 3 FROM pg_stat_user_tables WHERE relname = 'many'});
is(sql($reads) =~ s/\|\d+$//r, 0, 'of 100,000 rows none is read but by an index');
is(sql(q{SELECT idx_tup_read < 10000 FROM pg_stat_user_indexes WHERE indexrelname = 'many_at_idx'}), 't', 'nor are many by it');
is(edges('2026-06-01 09:00+00', '2026-06-01 09:10+00', '') =~ s/ (inst|utc|split):\S+//gr,
	'many:past:43597 many:past:43598', 'the right ones');
sql('DROP TABLE many');

# ------------------------------------- partitions, inheritance, kinds of columns

sql(q{
	CREATE TABLE part(id int, clinic text, "At" timestamp NOT NULL) PARTITION BY RANGE ("At");
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-06-01') TO ('2026-07-01');
	CREATE TABLE part_2 (gone int, "At" timestamp NOT NULL, clinic text, id int);
	ALTER TABLE part_2 DROP COLUMN gone;
	ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM ('2026-07-01') TO ('2026-08-01');
	CREATE TABLE base(id int, clinic text, day text);
	CREATE TABLE child() INHERITS (base);
	SELECT clinicache.track('part', '{"tenant": "clinic", "zone": {"At": "local"}, "tags": [{"tag": "part:{id}", "window": "today", "time": "At"}]}');
	SELECT clinicache.track('base', '{"tenant": "clinic", "tags": [{"tag": "base:{id}", "window": "today", "time": "day"},
		{"tag": "base:new day", "edge": "day"}]}');
	INSERT INTO part VALUES (1, 'york', '2026-06-30 23:59'), (2, 'york', '2026-07-01 00:00'), (3, 'york', '2026-07-02 00:00'), (4, NULL, '2026-07-01 00:00');
	INSERT INTO base VALUES (1, 'york', '2026-07-01T00:00:00Z'), (2, 'york', 'soon'), (3, 'york', NULL);
	INSERT INTO child VALUES (4, 'york', '2026-06-30'), (5, 'cairo', '2026-06-30')});
my $others = qr/ ?\b(inst|utc|split):\S+/;
is(edges('2026-07-01 03:59+00', '2026-07-01 04:01+00', '') =~ s/$others//gr,
	'base:1 base:4 base:new day part:1 part:2', 'partitions, an inheritance child, text and wall time');
sql('ALTER TABLE part DISABLE TRIGGER clinicache');
is(edges('2026-07-01 03:59+00', '2026-07-01 04:01+00', '') =~ s/$others//gr,
	'base:1 base:4 base:new day', 'tracking that is switched off has no edges');
sql('DROP TABLE part; DROP TABLE base CASCADE');

# Tags of a new day where no window says which rows; row security, even of the owner.
sql(q{
	CREATE ROLE keeper; GRANT CREATE ON SCHEMA public TO keeper; SELECT clinicache.grant_tracker('keeper');
	CREATE TABLE plain(id int, clinic text);
	CREATE TABLE hidden(id int, clinic text, at timestamptz);
	INSERT INTO plain VALUES (1, 'york'); INSERT INTO hidden VALUES (1, 'york', '2026-07-01 12:00+00');
	ALTER TABLE hidden OWNER TO keeper;
	ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	SELECT clinicache.track('plain', '{"tenant": "clinic", "tags": [{"tag": "plain:{id}", "edge": "day"}]}');
	SELECT clinicache.track('hidden', '{"tenant": "clinic", "tags": [{"tag": "hidden:{id}", "window": "today", "time": "at"}]}')});
is(edges('2026-07-01 03:59+00', '2026-07-01 04:01+00', '') =~ s/$others//gr,
	'hidden:1 plain:*', 'a prefix where no window says which rows; row security hides none');

# What the owner lets run while a query is planned runs as the owner.
sql(q{
	CREATE FUNCTION spy(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
		BEGIN RAISE LOG 'planned by %', current_user; RETURN $1; END $$;
	CREATE INDEX ON hidden((spy(1)))});
my $size = -s $node->logfile;
edges('2026-07-01 03:59+00', '2026-07-01 04:01+00', '');
my $log = slurp_file($node->logfile, $size);
unlike($log, qr/planned by postgres/, 'no function of the owner\'s runs as somebody else');
unlike($log, qr/WARNING/, 'all tables could be read');
sql('DROP TABLE plain, hidden');

# Who may not track has no edges, and can not make any.
sql(q{
	CREATE ROLE stranger; CREATE TABLE evil(id int); ALTER TABLE evil OWNER TO stranger;
	CREATE TRIGGER clinicache AFTER INSERT ON evil FOR EACH ROW EXECUTE FUNCTION
		clinicache.row_change('{"tags": [{"tag": "*", "edge": "day"}]}')});
is(edges('2026-07-01 03:59+00', '2026-07-01 04:01+00', '') =~ s/$others//gr, '', 'an owner who may not track');
sql('DROP TABLE evil');

# ---------------------------------------------------- publications, no edges

set_clock('2026-07-09 03:59:50+00');
fill_around('2026-07-09');
maintain();
sql('CREATE PUBLICATION everything FOR ALL TABLES');
told();
set_clock('2026-07-09 04:00:10+00');
maintain();
is(told(), of_midnight('york'), 'with FOR ALL TABLES published');
is(rows_of_history(), 1, 'the history is trimmed');
sql('DROP PUBLICATION everything; SELECT clinicache.untrack_all()');
maintain();
is(rows_of_history(), 0, 'where nothing has edges there is none');
is(sql(q{BEGIN; DO $$ BEGIN PERFORM clinicache.maintain_edges(), clinicache.emit_edges('2026-07-01', '2026-07-02'); END $$;
	SELECT pg_current_xact_id_if_assigned() IS NULL; COMMIT}), 't', 'nor is anything written');
$node->stop;

# ------------------------------------------------------------------ the worker

$node = new_node('edges_worker', q{shared_preload_libraries = 'clinicache'}, 'clinicache.upkeep_interval = 1h');
make_tables();
sub worker_runs
{
	return $node->poll_query_until('postgres', q{SELECT worker_state = 'running' FROM clinicache.stat_delivery});
}
ok(worker_runs(), 'there is a worker');
my $day = sql(q{SELECT (now() AT TIME ZONE 'UTC')::date + 3});
fill_around($day);
my $tail = Tail->new($node->connstr('postgres'), $dir);
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name LIKE 'clinicache_tail%'});
set_clock(sql(qq{SELECT timestamptz '$day 00:00+00' - interval '3 seconds'}));
my $took = $tail->wait_for(10, 'inst:today:10', 'inst:today:11', 'inst:dash:zulu', 'split:today:zulu');
ok(defined $took && $took < 6, 'midnight comes, and the worker emits and delivers it by itself');
is($tail->tags->{'inst:today:11'}, 1, 'once');

# A zone that comes into use meanwhile has its midnight too.
set_clock(sql(qq{SELECT timestamptz '$day 18:15+00' - interval '4 seconds'}));
sql(qq{INSERT INTO clinicache.tenant VALUES ('nepal', 'Asia/Kathmandu');
	INSERT INTO inst VALUES (200, 'nepal', 7, timestamptz '$day 18:15+00' + interval '5 hours')});
ok(!$tail->tags->{'inst:today:nepal'}, 'before midnight there');
$took = $tail->wait_for(10, 'inst:today:200', 'inst:today:nepal');
ok(defined $took && $took < 7, 'a clinic whose zone has just been entered');
$tail->stop;
$node->stop;

done_testing();
