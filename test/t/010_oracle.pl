# The oracle test: thousands of random transactions from several sessions.
# A model in the test (lib/OracleModel.pm) computes from old and new rows the
# exact tags of each committed transaction; the log, joined by xid, and the
# messages a LISTENing session received must equal it: none missing, none extra.
#
#   lib/OracleWorker.pm   one session (OracleStatements.pm, OracleRows.pm)
#   lib/OracleModel.pm    what each row change must leave
#
# Sessions change rows of their own only, so the model needs no locks; tags,
# tenants, tables, log and channel are shared.
#
# Environment:
#   CLINICACHE_ORACLE_TX     committed transactions in all   (default 6000)
#   CLINICACHE_ORACLE_SEED   repeats the random choices      (default: the clock)
#   CLINICACHE_BREAK         breaks a trigger on purpose; the test must FAIL:
#     partition   one partition of "visit" loses its trigger
#     delete      "Appointment" is tracked for INSERT and UPDATE only
#     truncate    the "Note" tables lose their statement trigger
#     template    one template of lab_result is dropped from its configuration
#     extra       one template too many in the configuration of drug
#     zone        the tenants' time zones are forgotten
#   Breaks in C that were tried, each of which this test reports (build such an
#   extension, install it, run the test):
#     emit.c     an update emits the new row's tags only
#     emit.c     find_changes() overlooks the last column
#     emit.c     any of the three windows is shifted
#     flush.c    a rolled-back subtransaction is treated as a released one
#     flush.c    PRE_PREPARE writes nothing
#     pending.c  the longer profile wins
#     pending.c  a released savepoint's collapse does not reach the level it joins
#     pending.c  a rollback leaves the memo of tags added valid (generation)

use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Encode qw(encode_utf8);
use JSON::PP;
use POSIX qw(_exit);
use Time::HiRes qw(sleep time);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

BEGIN
{
	plan skip_all => 'DBD::Pg is not installed (libdbd-pg-perl)'
	  unless eval { require DBD::Pg; 1 };
}
use OracleModel;
use OracleWorker;

# PostgreSQL::Test ties the outputs, so they take bytes only
sub say_it { return diag map { encode_utf8($_) } @_ }

my $sessions = 4;
my $total = $ENV{CLINICACHE_ORACLE_TX} || 6000;
my $seed = $ENV{CLINICACHE_ORACLE_SEED} || int(time);
my $break = $ENV{CLINICACHE_BREAK} || '';
my $json = JSON::PP->new->canonical;
my $bytes_json = JSON::PP->new->utf8;
my $began = time;
my @THRESHOLD = (40, 40, 17, 60);

my %ZONE = (
	'' => 'America/Sao_Paulo',
	'cairo' => 'Africa/Cairo',
	'New York' => 'America/New_York',
	'kolkata' => 'Asia/Kolkata',
	'line:14' => 'Pacific/Kiritimati');
# the last three have no zone of their own
my @CLINICS = (
	'cairo', 'New York', 'kolkata', 'line:14', 'c5', 'c"6', 'c7', 'Größe');

my $node = PostgreSQL::Test::Cluster->new('oracle');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf(
	'postgresql.conf', qq(
max_prepared_transactions = 20
fsync = off
clinicache.delivery = 'commit'
clinicache.timezone = '$ZONE{''}'
));
$node->start;
my $dsn = sprintf 'host=%s;port=%s;dbname=postgres', $node->host, $node->port;
my $db = OracleWorker::connect_to($dsn);
say_it "seed $seed" . ($break ? ", broken on purpose: $break" : '');

# ---- schema; rows that existed before tracking; columns dropped and added

sub note_table
{
	my ($n) = @_;
	return
	  qq(CREATE TABLE "Note_$n" (id int PRIMARY KEY, "clinicId" text, body text););
}

$db->do($_) for (
	'CREATE EXTENSION clinicache',
	q(CREATE TYPE "AppointmentStatus" AS ENUM ('SCHEDULED', 'CONFIRMED', 'CANCELLED', 'ARCHIVED')),
	'CREATE TABLE "Clinic" (id text PRIMARY KEY, name text)',
	q(CREATE TABLE "Doctor" (
  id int PRIMARY KEY, "clinicId" text NOT NULL REFERENCES "Clinic", specialty text)),
	q(CREATE TABLE "Patient" (
  gone1 int, id int PRIMARY KEY, "clinicId" text REFERENCES "Clinic", gone2 text,
  email text, "birthDate" date, note text, "isDeleted" boolean NOT NULL,
  "updatedAt" timestamp(3))),
	q(CREATE TABLE "Appointment" (
  id text PRIMARY KEY, "clinicId" text NOT NULL REFERENCES "Clinic",
  "patientId" int REFERENCES "Patient" ON DELETE CASCADE ON UPDATE CASCADE,
  "doctorId" int REFERENCES "Doctor" ON DELETE SET NULL,
  date timestamp(3), status "AppointmentStatus" NOT NULL, room text,
  "updatedAt" timestamp(3))),
	'CREATE INDEX ON "Appointment" ("patientId")',
	'CREATE INDEX ON "Appointment" ("doctorId")',
	q(CREATE TABLE lab_result (
  lab_id uuid PRIMARY KEY, clinic_id text,
  patient_id int REFERENCES "Patient" ON DELETE SET NULL ON UPDATE CASCADE,
  old_total numeric, guest_id text, taken timestamptz, due date, value numeric,
  twice numeric GENERATED ALWAYS AS (value * 2) STORED, remark text)),
	'CREATE INDEX ON lab_result (patient_id)',
	q(CREATE TABLE visit (
  visit_id int, region text, clinic_id text,
  patient_id int REFERENCES "Patient" ON DELETE CASCADE ON UPDATE CASCADE,
  visited timestamp, visit_time text, fee numeric, PRIMARY KEY (visit_id, region))
PARTITION BY LIST (region)),
	q(CREATE TABLE visit_north PARTITION OF visit FOR VALUES IN ('north')),
	# another column order, and a gap
	q(CREATE TABLE visit_south (
  fee numeric, dropped int, visited timestamp, region text NOT NULL, visit_time text,
  patient_id int, clinic_id text, visit_id int NOT NULL)),
	'ALTER TABLE visit_south DROP COLUMN dropped',
	q(ALTER TABLE visit ATTACH PARTITION visit_south FOR VALUES IN ('south')),
	q(CREATE TABLE visit_east PARTITION OF visit FOR VALUES IN ('east')
  PARTITION BY RANGE (visit_id)),
	'CREATE TABLE visit_east_low PARTITION OF visit_east FOR VALUES FROM (0) TO (2500000)',
	'CREATE TABLE visit_east_high PARTITION OF visit_east FOR VALUES FROM (2500000) TO (MAXVALUE)',
	'CREATE TABLE visit_other PARTITION OF visit DEFAULT',
	'CREATE INDEX ON visit (patient_id)',
	'CREATE TABLE drug (code text PRIMARY KEY, label text)',
	(map { note_table($_) } 0 .. $sessions - 1));

my @seeded;
for my $n (0 .. $sessions - 1)
{
	my @mine = @CLINICS[ 2 * $n, 2 * $n + 1 ];
	$db->do('INSERT INTO "Clinic" VALUES ($1, $2)', undef, $_, "Clinic $_")
	  for @mine;
	$seeded[$n]{Clinic} = [ map { { id => $_, name => "Clinic $_" } } @mine ];
}
for my $n (0 .. $sessions - 1)
{
	my $id = OracleRows::first_id($n) - 100;
	for my $i (1 .. 5)
	{
		my $k = $id + $i;
		my $clinic = $CLINICS[ ($n + $i) % @CLINICS ];
		$db->do('INSERT INTO "Doctor" VALUES ($1, $2, $3)',
			undef, $k, $clinic, 'Skin');
		$db->do(
			'INSERT INTO "Patient" VALUES (1, $1, $2, $3, $4, NULL, NULL, false, NULL)',
			undef, $k, $clinic, 'old', "P$k");
		$db->do(
			'INSERT INTO lab_result VALUES ($1, $2, $3, 7, NULL, NULL, NULL, 1.10)',
			undef, OracleRows::uuid($k), $clinic, $k);
		push @{ $seeded[$n]{Doctor} },
		  { id => $k, clinicId => $clinic, specialty => 'Skin' };
		push @{ $seeded[$n]{Patient} },
		  {
			id => $k, clinicId => $clinic, email => "P$k", isDeleted => 'f',
			badge => 'A1', birthDate => undef, note => undef,
			updatedAt => undef
		  };
		push @{ $seeded[$n]{lab_result} },
		  {
			lab_id => OracleRows::uuid($k), clinic_id => $clinic,
			patient_id => $k, value => '1.10',
			map { $_ => undef } qw(guest_id taken due remark)
		  };
	}
}
$db->do($_) for (
	'ALTER TABLE "Patient" DROP COLUMN gone1, DROP COLUMN gone2',
	q(ALTER TABLE "Patient" ADD COLUMN badge text DEFAULT 'A1'),
	'ALTER TABLE lab_result DROP COLUMN old_total');

# ---- tracking

for my $tenant (grep { length } sort keys %ZONE)
{
	$db->do('INSERT INTO clinicache.tenant (tenant, timezone) VALUES ($1, $2)',
		undef, $tenant, $ZONE{$tenant})
	  unless $break eq 'zone';
}
{
	$db->do('SET client_min_messages = error');
	for my $table (sort keys %OracleModel::TABLE)
	{
		my $t = $OracleModel::TABLE{$table};
		next if $t->{preset};
		my $config = $json->encode(OracleModel::config($table));
		$db->do('SELECT clinicache.track($1::regclass, $2::jsonb)',
			undef, $_, $config)
		  for $table eq 'Note'
		  ? (map { qq("Note_$_") } 0 .. $sessions - 1)
		  : $t->{rel};
	}
	$db->do(
		q(SELECT clinicache.track('"Appointment"', 'appointment', '{}', $1::jsonb)),
		undef,
		$json->encode(
			{
				deleted => { column => 'status', values => ['ARCHIVED'] },
				ignore => ['updatedAt'],
				without => ['appointments:all'],
				tags => [
					{
						tag => 'room:{room}', columns => ['room'],
						profile => 'minutes'
					}
				]
			}));
}
break_it($break) if $break;

# Breaks a trigger from outside, so that the test can be seen to fail.
sub break_it
{
	my ($how) = @_;
	my $reconfigure = sub {
		my ($table, $when, $change) = @_;
		my ($text) = $db->selectrow_array(
			q(SELECT clinicache.trigger_config(oid)::text FROM pg_trigger
			  WHERE tgrelid = $1::regclass AND tgname = 'clinicache'),
			undef, $table);
		my $config = $json->decode($text);
		$change->($config);
		my $quoted = $db->quote($json->encode($config));
		$db->do("DROP TRIGGER clinicache ON $table");
		$db->do("CREATE TRIGGER clinicache AFTER $when ON $table FOR EACH ROW "
			  . "EXECUTE FUNCTION clinicache.row_change($quoted)");
	};
	if ($how eq 'partition')
	{
		$db->do('ALTER TABLE visit_south DISABLE TRIGGER clinicache');
	}
	elsif ($how eq 'delete')
	{
		$reconfigure->('"Appointment"', 'INSERT OR UPDATE', sub { });
	}
	elsif ($how eq 'truncate')
	{
		$db->do(qq(DROP TRIGGER clinicache_truncate ON "Note_$_"))
		  for 0 .. $sessions - 1;
	}
	elsif ($how eq 'template')
	{
		$reconfigure->(
			'lab_result',
			'INSERT OR UPDATE OR DELETE',
			sub { pop @{ $_[0]{tags} } });
	}
	elsif ($how eq 'extra')
	{
		$reconfigure->(
			'drug',
			'INSERT OR UPDATE OR DELETE',
			sub {
				push @{ $_[0]{tags} }, { tag => 'drugs:x', profile => 'days' };
			});
	}
	elsif ($how ne 'zone')
	{
		die "CLINICACHE_BREAK=$how is not known";
	}
	return;
}

# ---- the clock: local days and windows of the instants used, asked beforehand

my %clock = (days => {}, window => {});
my @zones = do { my %z = map { $_ => 1 } values %ZONE; sort keys %z };
{
	my $far = $db->selectcol_arrayref(
		q(SELECT to_char(current_date + d + t, 'YYYY-MM-DD HH24:MI:SS.MS')
		  FROM unnest(ARRAY[-410, -40, -9, -5, 5, 9, 33, 200]) d,
		       unnest(ARRAY['00:00', '02:59', '03:30', '04:30', '10:00', '18:29:59.999',
		                    '21:30', '22:30', '23:59:59.999']::time[]) t));
	# near ones only if no midnight comes while the test runs
	my ($edge) = $db->selectrow_array(
		q(SELECT bool_or((now() AT TIME ZONE z)::date <> ((now() + interval '20 minutes') AT TIME ZONE z)::date)
		  FROM unnest($1::text[]) z), undef, \@zones);
	my $near = $edge ? [] : $db->selectcol_arrayref(
		q(SELECT to_char(now() AT TIME ZONE 'UTC' + h, 'YYYY-MM-DD HH24:MI:SS.MS')
		  FROM unnest(ARRAY['-20 hours', '-3 hours', '-25 minutes', '90 minutes', '6 hours',
		                    '20 hours']::interval[]) h));
	say_it 'midnight is near in some zone: no instants of today' if $edge;
	$clock{instants} = [ @$far, (@$near) x 4 ];
	my $facts = $db->selectall_arrayref(
		q(SELECT i, z, to_char(l, 'YYYY-MM-DD'), (l::date = n::date)::int,
		         (l::date >= n::date)::int, (l < n)::int
		  FROM unnest($1::text[]) i, unnest($2::text[]) z,
		       LATERAL (SELECT i::timestamp AT TIME ZONE 'UTC' AT TIME ZONE z AS l,
		                       now() AT TIME ZONE z AS n) x),
		undef, [ @$far, @$near ], \@zones);
	for (@$facts)
	{
		my ($i, $z, $day, $today, $upcoming, $past) = @$_;
		$clock{days}{$i}{$z} = $day;
		$clock{window}{$i}{$z} =
		  { today => $today, upcoming => $upcoming, past => $past };
	}
	$clock{local} = $far;
	($clock{today}) = $db->selectrow_array(
		q(SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')));
	$clock{dates} = $db->selectcol_arrayref(
		q(SELECT to_char(current_date + d, 'YYYY-MM-DD')
		  FROM unnest(ARRAY[-9000, -410, -40, -9, 9, 33, 200]) d));
}
my ($first_xid) = $db->selectrow_array('SELECT pg_current_xact_id()::text');

# ---- run

my $listener = OracleWorker::connect_to($dsn);
$listener->do('LISTEN clinicache');
my ($maintain_pid) = $db->selectrow_array('SELECT pg_backend_pid()');
my ($worker_pid) = $db->selectrow_array(
	q{SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'clinicache worker' AND datname = current_database()});
my $dir = PostgreSQL::Test::Utils::tempdir();
my %child;
for my $n (0 .. $sessions - 1)
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	if (!$pid)
	{
		my $ok = eval {
			my $worker = OracleWorker->new(
				dsn => $dsn, number => $n, seed => $seed + $n,
				target => int($total / $sessions) + 1,
				file => "$dir/$n.json", clinics => \@CLINICS,
				seeded => $seeded[$n],
				model => OracleModel->new(
					clock => \%clock, zones => \%ZONE,
					threshold => $THRESHOLD[$n]));
			$worker->work;
			1;
		};
		warn "session $n: $@" unless $ok;
		_exit($ok ? 0 : 1);
	}
	$child{$pid} = $n;
}

my @messages;

sub receive
{
	while (my $n = $listener->pg_notifies)
	{
		my ($channel, $pid, $payload) = @$n;
		utf8::encode($payload) if utf8::is_utf8($payload);
		push @messages, [ $pid, $bytes_json->decode($payload) ];
	}
	return;
}

my $maintained = time;
my $failed_child = 0;
while (%child)
{
	receive();
	if (time > $maintained + 0.5)
	{
		$db->do('CALL clinicache.maintain()');
		$maintained = time;
	}
	my $pid = waitpid -1, POSIX::WNOHANG();
	if ($pid > 0 && exists $child{$pid})
	{
		$failed_child ||= $?;
		delete $child{$pid};
	}
	sleep 0.02;
}
is($failed_child, 0, 'all sessions ran to their end');
$db->do('CALL clinicache.maintain()');
for (1 .. 20) { receive(); sleep 0.05 }

# ---- compare

sub min { return $_[0] < $_[1] ? $_[0] : $_[1] }

sub explain_it
{
	my ($r, @lines) = @_;
	say_it $_ for @lines;
	for my $side (qw(missing extra))
	{
		my @list = @{ $r->{$side} || [] };
		say_it "  $side (" . @list . '): ' . join ' | ',
		  @list[ 0 .. min($#list, 9) ]
		  if @list;
	}
	say_it '  after:';
	say_it "    $_" for @{ $r->{story} || [] };
	return;
}

my (%want, %story, %count, %backend, %in_order, @trouble, %rows);
for my $n (0 .. $sessions - 1)
{
	open my $in, '<', "$dir/$n.json" or die "$dir/$n.json: $!";
	while (my $line = <$in>)
	{
		my $r = $bytes_json->decode($line);
		if ($r->{backend}) { $backend{ $r->{backend} } = $r->{worker} }
		elsif ($r->{died}) { push @trouble, $r }
		elsif ($r->{pending})
		{
			push @trouble, { %$r, died => 'pending_tags() differs' };
		}
		elsif ($r->{rows})
		{
			$count{$_} += $r->{counts}{$_} for keys %{ $r->{counts} };
			$rows{ $r->{worker} } = $r->{rows};
		}
		else
		{
			next unless defined $r->{xid};
			$want{ $r->{xid} } = $r->{want} || {};
			$story{ $r->{xid} } = $r;
			push @{ $in_order{ $r->{worker} } }, $r->{xid}
			  if $r->{how} eq 'commit';
		}
	}
	close $in;
}
is(scalar @trouble, 0, 'no unexpected error, pending_tags() as expected');
explain_it($_, "$_->{died}") for @trouble[ 0 .. min($#trouble, 2) ];

# "tenant > profile > tag" and "tenant > prefix*" of a transaction
sub flat_model
{
	my ($want) = @_;
	my %flat;
	for my $tenant (keys %$want)
	{
		my $name = $tenant eq OracleModel::NULL_TENANT ? '(null)' : $tenant;
		my $tags = $want->{$tenant}{tags} || {};
		$flat{"$name > $tags->{$_} > $_"} = 1 for keys %$tags;
		$flat{"$name > prefix > $_*"} = 1
		  for keys %{ $want->{$tenant}{prefixes} || {} };
	}
	return \%flat;
}

my (%log, %log_union, $log_tags, $log_prefixes, @twice);
my $log_rows = $db->selectall_arrayref(
	q(SELECT xid::text, tenant, array_to_json(tags)::text, profiles,
	         array_to_json(prefixes)::text, delivered
	  FROM clinicache.invalidation_log WHERE xid > $1::xid8), undef, $first_xid);
my $undelivered = 0;
for (@$log_rows)
{
	my ($xid, $tenant, @rest) = @$_;
	my $delivered = pop @rest;
	my $profiles = splice @rest, 1, 1;
	my ($tags, $prefixes) = map { defined $_ ? $json->decode($_) : [] } @rest;
	$undelivered++
	  unless $delivered || ($story{$xid} || {})->{how} eq 'prepared';
	my $name = defined $tenant ? $tenant : '(null)';
	my @profile =
	  map { my ($p, $n) = split /:/; ($p) x $n } split /,/, defined $profiles ? $profiles : '';
	for my $i (0 .. $#$tags)
	{
		my $p = defined $profile[$i] ? $profile[$i] : '(none)';
		push @twice, "$xid $tags->[$i]"
		  if $log{$xid}{"$name > $p > $tags->[$i]"}++;
		$log_union{"$p > $tags->[$i]"} = 1;
		$log_tags++;
	}
	for my $prefix (@$prefixes)
	{
		push @twice, "$xid $prefix*" if $log{$xid}{"$name > prefix > $prefix*"}++;
		$log_union{"prefix > $prefix"} = 1;
		$log_prefixes++;
	}
}
my ($missing, $extra, @bad, $want_tags) = (0, 0);
for my $xid (sort { $a <=> $b } keys %{ { %want, %log } })
{
	my $w = flat_model($want{$xid} || {});
	my $g = $log{$xid} || {};
	$want_tags += keys %$w;
	my @m = grep { !$g->{$_} } sort keys %$w;
	my @e = grep { !$w->{$_} } sort keys %$g;
	$missing += @m;
	$extra += @e;
	push @bad, { %{ $story{$xid} || {} }, xid => $xid, missing => \@m, extra => \@e }
	  if @m || @e;
}
is($missing, 0, 'log: no tag is missing');
is($extra, 0, 'log: no tag is extra');
is(scalar @twice, 0, 'log: a tag once for each transaction and tenant')
  or say_it join "\n", @twice[ 0 .. min($#twice, 9) ];
is($undelivered, 0, 'log: each commit but COMMIT PREPARED delivered its records');
say_it scalar(@bad) . ' transactions differ' if @bad;
explain_it($_, "transaction $_->{xid}, " . ($_->{how} || 'not of any session'))
  for (sort { @{ $a->{story} || [] } <=> @{ $b->{story} || [] } } @bad)
  [ 0 .. min($#bad, 4) ];

# ---- messages: their union is the log's, and each session's come in order

my (%got_union, %of, $bytes);
for (@messages)
{
	my ($pid, $m) = @$_;
	my @items;
	for my $p (keys %{ $m->{tags} || {} })
	{
		push @items, "$p > $_" for @{ $m->{tags}{$p} };
	}
	push @items, "prefix > $_" for @{ $m->{prefixes} || [] };
	push @items, 'reset' if $m->{reset};
	$got_union{$_} = 1 for @items;
	push @{ $of{$pid} }, \@items if @items;
}
my @lost = grep { !$got_union{$_} } sort keys %log_union;
my @invented = grep { !$log_union{$_} } sort keys %got_union;
is(scalar @lost, 0, 'messages: nothing of the log is missing')
  or explain_it({ missing => \@lost });
is(scalar @invented, 0, 'messages: nothing that is not in the log')
  or explain_it({ extra => \@invented });

# A session's messages, one after another, must be those of its transactions
my $out_of_order = 0;
for my $pid (sort keys %backend)
{
	my @queue = grep { %{ $log{$_} || {} } } @{ $in_order{ $backend{$pid} } };
	my (%left, %last);
	for my $items (@{ $of{$pid} || [] })
	{
		my %item = map { s/^.*? > //r => 1 } grep { !/^prefix/ } @$items;
		$item{"$_*"} = 1 for map { s/^prefix > //r } grep { /^prefix/ } @$items;
		if (!%left)
		{
			my %next = map { s/^.*? > .*? > //sr => 1 }
			  keys %{ @queue ? $log{ $queue[0] } : {} };
			# not the next one's: is it more of the last one's?
			next
			  if (grep { !$next{$_} } keys %item)
			  && !grep { !$last{$_} } keys %item;
			last unless shift @queue;
			%left = %last = %next;
		}
		$out_of_order++ if grep { !$last{$_} } keys %item;
		delete @left{ keys %item };
	}
	$out_of_order += @queue + keys %left;
}
is($out_of_order, 0,
	'messages: of each session in the order of its transactions');

# What COMMIT PREPARED made visible is told by maintain(), in batches: a tag's
# profile there is the shortest of the batch.
my %told = map { s/^(?!prefix).*? > //sr => 1 } map { @$_ }
  map { @{ $of{$_} || [] } } $maintain_pid, $worker_pid;
my @untold;
for my $xid (grep { $story{$_}{how} eq 'prepared' } sort keys %story)
{
	for my $item (keys %{ $log{$xid} })
	{
		my ($kind, $text) = $item =~ /^.*? > (.*?) > (.*)/s;
		$text = 'prefix > ' . substr $text, 0, -1 if $kind eq 'prefix';
		push @untold, "$xid $text" unless $told{$text};
	}
}
is(scalar @untold, 0, 'messages: maintain() or the worker told of each prepared transaction')
  or explain_it({ missing => \@untold });

# ---- the model's own rows must be those of the tables, or it proves nothing

# how the model writes a value
sub as_model
{
	my ($col, $type) = @_;
	return $type eq 'timestamptz'
	  ? qq(to_char("$col" AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'))
	  : $type =~ /^(utc|local)$/
	  ? qq(to_char("$col", 'YYYY-MM-DD HH24:MI:SS.MS'))
	  : $type eq 'boolean' ? qq(left("$col"::text, 1))
	  : qq("$col"::text);
}

for my $table (sort keys %OracleModel::TABLE)
{
	my $t = $OracleModel::TABLE{$table};
	my @cols = map { $_->[0] } @{ $t->{cols} };
	my $list = join ', ', map { as_model(@$_) } @{ $t->{cols} };
	my @rels = $table eq 'Note'
	  ? (map { qq("Note_$_") } 0 .. $sessions - 1)
	  : $t->{rel};
	my $line = sub { join '|', map { defined $_ ? $_ : '-' } @_ };
	my %got = map { $line->(@$_) => 1 }
	  map { @{ $db->selectall_arrayref("SELECT $list FROM $_") } } @rels;
	my %model = map { $line->(@$_{@cols}) => 1 }
	  map { @{ $rows{$_}{$table} || [] } } keys %rows;
	my @m = grep { !$got{$_} } sort keys %model;
	my @e = grep { !$model{$_} } sort keys %got;
	is(@m + @e, 0, "rows of $table are the model's (" . keys(%got) . ')')
	  or explain_it({ missing => \@m, extra => \@e });
}

my $committed = ($count{commit} || 0) + ($count{prepared} || 0);
cmp_ok($committed, '>=', $total, "$total transactions committed");
say_it sprintf
  '%d committed (%d of them prepared first), %d rolled back, %d prepared and rolled back, %d to be retried',
  $committed, map { $count{$_} || 0 } 'prepared', 'rollback',
  'rollback prepared', 'retry';
say_it sprintf '%d tags and %d prefixes in %d records; %d were expected; %d messages; %.0f s',
  $log_tags || 0, $log_prefixes || 0, scalar @$log_rows, $want_tags,
  scalar @messages, time - $began;
say_it "missing $missing, extra $extra";

$_->disconnect for $db, $listener;
$node->stop('fast');
done_testing();
