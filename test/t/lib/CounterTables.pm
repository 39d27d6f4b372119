# Tables of the counter tests, how they are tracked, and what their counters
# must say: SQL over the tables, which knows nothing of clinicache but the time
# zones of its tenants.
package CounterTables;

use strict;
use warnings;
use utf8;
use Exporter 'import';
use JSON::PP;

our @EXPORT_OK = qw(create_tables track_tables create_truth random_spec spec_sql
  pick chance literal $SESSIONS @CLINICS %ZONE @ZONES @TABLES);

our $SESSIONS = 8;
our @CLINICS = ('cairo', 'New York', 'line', 'c4', 'c"5', 'Größe');
our @ZONES = qw(Africa/Cairo America/New_York Pacific/Kiritimati Asia/Kolkata Europe/Berlin);
our %ZONE = (cairo => $ZONES[0], 'New York' => $ZONES[1], line => $ZONES[2]);
our $DEFAULT_ZONE = 'America/Sao_Paulo';
# in the order in which all of them are locked
our @TABLES = ('"Appointment"', 'payments', 'refund', 'visit');

my $json = JSON::PP->new->canonical;

sub pick { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }

# a value as SQL writes it
sub literal
{
	my ($value) = @_;
	return 'NULL' unless defined $value;
	return 'ARRAY[' . join(',', map { literal($_) } @$value) . ']::text[]' if ref $value;
	return "'" . $value =~ s/'/''/gr . "'";
}

sub create_tables
{
	my ($db) = @_;
	$db->do($_) for (
		'CREATE EXTENSION clinicache',
		# a lock that nothing else takes
		'CREATE TABLE gate ()',
		q(CREATE TYPE "AppointmentStatus" AS ENUM
		  ('SCHEDULED', 'CHECKED_IN', 'COMPLETED', 'CANCELLED', 'NO_SHOW')),
		q(CREATE TABLE "Appointment" (
		  gone int, id text PRIMARY KEY, "clinicId" text NOT NULL, "doctorId" text, "patientId" text,
		  date timestamp(3), status "AppointmentStatus" NOT NULL, fee numeric(12,3),
		  "isDeleted" boolean NOT NULL DEFAULT false, notes text, owner int NOT NULL)),
		'ALTER TABLE "Appointment" DROP COLUMN gone',
		q(CREATE TABLE payments (
		  id text PRIMARY KEY, clinic_id text, patient_id int, status text, amount numeric,
		  payment_date timestamptz, deleted_at timestamptz, owner int NOT NULL)),
		# feeds the same counter
		q(CREATE TABLE refund (
		  id text PRIMARY KEY, clinic_id text, amount float8, at date, owner int NOT NULL)),
		q(CREATE TABLE visit (
		  id text, region text, clinic text, doctor int, seen timestamp, kind text,
		  minutes int, owner int NOT NULL, PRIMARY KEY (id, region)) PARTITION BY LIST (region)),
		q(CREATE TABLE visit_north PARTITION OF visit FOR VALUES IN ('north')),
		# another column order, and a gap
		q(CREATE TABLE visit_south (
		  owner int NOT NULL, minutes int, dropped int, seen timestamp, region text NOT NULL,
		  kind text, doctor int, clinic text, id text NOT NULL)),
		'ALTER TABLE visit_south DROP COLUMN dropped',
		q(ALTER TABLE visit ATTACH PARTITION visit_south FOR VALUES IN ('south')),
		q(CREATE TABLE visit_east PARTITION OF visit FOR VALUES IN ('east') PARTITION BY HASH (id)),
		'CREATE TABLE visit_east_0 PARTITION OF visit_east FOR VALUES WITH (MODULUS 2, REMAINDER 0)',
		'CREATE TABLE visit_east_1 PARTITION OF visit_east FOR VALUES WITH (MODULUS 2, REMAINDER 1)');
	return;
}

sub track_tables
{
	my ($db) = @_;
	$db->do('SET client_min_messages = error');
	$db->do('INSERT INTO clinicache.tenant (tenant, timezone) VALUES ($1, $2)', undef, $_, $ZONE{$_})
	  for sort keys %ZONE;
	$db->do(
		q(SELECT clinicache.track('"Appointment"', 'appointment', '{}', $1)), undef,
		$json->encode(
			{
				deleted => 'isDeleted', ignore => ['notes'],
				counters => [
					{
						counter => 'appointments', day => 'date', class => 'status', sum => 'fee',
						by => { clinic => 'clinic', doctor => 'doctor', client => 'patient' }
					}
				]
			}));
	$db->do(q(SELECT clinicache.track('payments', 'payment', '{}', '{"deleted": "deleted_at"}')));
	my %own = (
		refund => {
			tenant => 'clinic_id',
			counters =>
			  [ { counter => 'payments', by => { clinic => 'clinic_id' }, day => 'at', sum => 'amount' } ]
		},
		visit => {
			tenant => 'clinic',
			deleted => { column => 'kind', values => ['ARCHIVED'] },
			counters => [
				{
					counter => 'visits', by => { clinic => 'clinic', doctor => 'doctor' },
					day => 'seen', class => 'kind', sum => 'minutes'
				},
				{ counter => 'regions', by => { region => 'region' } }
			]
		});
	$db->do('SELECT clinicache.track($1::regclass, $2::jsonb)', undef, $_,
		$json->encode({ tags => ["$_:{id}"], %{ $own{$_} } })) for sort keys %own;
	$db->do('RESET client_min_messages');
	return;
}

# truth: a row for each row of a table and dimension; compare() tells where a
# counter and truth differ, in the snapshot of the statement that calls it
sub create_truth
{
	my ($db) = @_;
	my $local = sub {
		my ($instant, $clinic) = @_;
		return "($instant AT TIME ZONE coalesce((SELECT t.timezone FROM clinicache.tenant t "
		  . "WHERE t.tenant = $clinic), '$DEFAULT_ZONE'))::date";
	};
	$db->do(
		q(CREATE VIEW truth AS
		SELECT 'appointments' AS counter, d.dimension, d.key, )
		  . $local->(q(a.date AT TIME ZONE 'UTC'), 'a."clinicId"')
		  . q( AS day, a.status::text AS class, a.fee AS amount
		FROM "Appointment" a, LATERAL (VALUES ('clinic', "clinicId"), ('doctor', "doctorId"), ('client', "patientId")) d(dimension, key)
		WHERE NOT a."isDeleted"
		UNION ALL
		SELECT 'payments', d.dimension, d.key, )
		  . $local->('p.payment_date', 'p.clinic_id')
		  . q(, p.status, p.amount
		FROM payments p, LATERAL (VALUES ('clinic', clinic_id), ('client', patient_id::text)) d(dimension, key)
		WHERE p.deleted_at IS NULL
		UNION ALL
		SELECT 'payments', 'clinic', r.clinic_id, r.at, NULL, r.amount::numeric FROM refund r
		UNION ALL
		SELECT 'visits', d.dimension, d.key, )
		  . $local->(q(v.seen AT TIME ZONE 'UTC'), 'v.clinic')
		  . q(, v.kind, v.minutes
		FROM visit v, LATERAL (VALUES ('clinic', clinic), ('doctor', doctor::text)) d(dimension, key)
		WHERE v.kind IS DISTINCT FROM 'ARCHIVED'
		UNION ALL
		SELECT 'regions', 'region', v.region, NULL, NULL, NULL FROM visit v
		WHERE v.kind IS DISTINCT FROM 'ARCHIVED'));
	$db->do(q(CREATE FUNCTION plain(label text) RETURNS text LANGUAGE sql IMMUTABLE
		RETURN lower(translate(label, ' -_', ''))));
	$db->do(
		q(CREATE FUNCTION compare(c text, d text, k text, classes text[], f date, t date, grain text,
			OUT same boolean, OUT told text) LANGUAGE plpgsql STABLE AS $$
		DECLARE
			true_n bigint; true_total numeric; n bigint; total numeric; series text; true_series text;
		BEGIN
			SELECT count(*), coalesce(sum(amount), 0) INTO true_n, true_total FROM truth
			 WHERE counter = c AND dimension = d AND key = k
			   AND (classes IS NULL OR plain(class) = ANY (SELECT plain(x) FROM unnest(classes) x)
				 OR class IS NULL AND array_position(classes, NULL) IS NOT NULL)
			   AND (f IS NULL AND t IS NULL
				 OR day >= coalesce(f, '-infinity') AND day <= coalesce(t, 'infinity'));
			SELECT string_agg(concat_ws(' ', x.day, x.class, x.n, x.total), ', ' ORDER BY x.day, x.class, x.n)
			  INTO true_series
			  FROM (SELECT CASE grain WHEN 'day' THEN day WHEN 'month' THEN date_trunc('month', day)::date END AS day,
						   class, count(*) AS n, trim_scale(coalesce(sum(amount), 0)) AS total
					FROM truth
					WHERE counter = c AND dimension = d AND key = k
					  AND (grain = 'all' AND f IS NULL AND t IS NULL
					    OR day >= coalesce(f, '-infinity') AND day <= coalesce(t, 'infinity'))
					GROUP BY 1, 2) AS x;
			n := clinicache.count(c, d, k, classes, f, t);
			total := clinicache.total(c, d, k, classes, f, t);
			SELECT string_agg(concat_ws(' ', x.day, x.class, x.n, trim_scale(x.total)), ', ' ORDER BY x.day, x.class, x.n)
			  INTO series FROM clinicache.series(c, d, k, grain, f, t) AS x;
			same := n = true_n AND total = true_total AND series IS NOT DISTINCT FROM true_series;
			told := format('count %s, total %s, series %s', n, trim_scale(total), series);
			IF NOT coalesce(same, false) THEN
				same := false;
				told := format('%s; but SQL: %s, %s, %s', told, true_n, trim_scale(true_total), true_series);
			END IF;
		END $$));
	return;
}

my %keys = (
	appointments => {
		clinic => sub { pick(@CLINICS) },
		doctor => sub { 'd' . int rand 12 },
		client => sub { 'p' . int rand 60 }
	},
	payments => { clinic => sub { pick(@CLINICS) }, client => sub { int rand 60 } },
	visits => { clinic => sub { pick(@CLINICS) }, doctor => sub { int rand 12 } },
	regions => { region => sub { pick(qw(north south east)) } });
my @class_lists = (
	(undef) x 4, [], [undef], ['scheduled'], [ 'Checked-In', 'no show' ],
	[ 'CANCELLED', 'completed' ], [ 'PAID', undef ], [ 'par tial', 'paid' ], ['first']);

sub day
{
	my ($from, $span) = @_;
	return sprintf '2026-%02d-%02d', $from + int rand $span, 1 + int rand 28;
}

# a random question: arguments of compare()
sub random_spec
{
	my $counter = pick(sort keys %keys);
	my $dimension = pick(sort keys %{ $keys{$counter} });
	my $from = chance(0.5) ? undef : chance(0.05) ? '-infinity' : day(2, 4);
	my $to = chance(0.5) ? undef : chance(0.05) ? 'infinity' : day(3, 4);
	return [
		$counter, $dimension, $keys{$counter}{$dimension}->(), pick(@class_lists),
		$from, $to, pick(qw(day month all))
	];
}

sub spec_sql
{
	my ($spec) = @_;
	return 'compare(' . join(', ', map { literal($_) } @$spec) . ')';
}

1;
