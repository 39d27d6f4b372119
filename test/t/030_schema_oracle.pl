# The oracle on whole schemas: three applications' tables (test/sql/include/schemas.psql)
# are tracked by one track_schema() call each; then random transactions. After each
# statement all rows are read with what they look up, by joins that are written in
# lib/SchemaModel.pm; rows that differ from before say what tags there must be.
#
# None may be missing, for whoever sees the tenant's records; a prefix stands for
# what begins with it. At most 1 % may be too many.
#
# Environment:
#   CLINICACHE_ORACLE_TX     committed transactions (default 2500)
#   CLINICACHE_ORACLE_SEED   repeats the random choices
#   CLINICACHE_BREAK         breaks something on purpose; the test must FAIL:
#     parent    the triggers of tables that are looked through are disabled
#     lookup    "LabTest" is tracked without its look-ups
#     join      the join tables are not tracked
#     extra     "User" emits one tag too many

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP;
use Time::HiRes qw(time);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

BEGIN
{
	plan skip_all => 'DBD::Pg is not installed (libdbd-pg-perl)'
	  unless eval { require DBD::Pg; 1 };
}
use SchemaModel;
use SchemaWorker;

my $total = $ENV{CLINICACHE_ORACLE_TX} || 2500;
my $seed = $ENV{CLINICACHE_ORACLE_SEED} || int(time);
my $break = $ENV{CLINICACHE_BREAK} || '';
my $began = time;

my $node = PostgreSQL::Test::Cluster->new('schema_oracle');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "fsync = off\nclinicache.delivery = 'log'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', slurp_file("$FindBin::RealBin/../sql/include/schemas.psql"));
$node->safe_psql('postgres', 'CREATE EXTENSION clinicache');
my $db = SchemaWorker::connect_to(sprintf 'host=%s;port=%s;dbname=postgres', $node->host, $node->port);
diag "seed $seed" . ($break ? ", broken on purpose: $break" : '');

# ---- tracked, one call each

my %tracked;
for my $schema (qw(web ehr solo))
{
	my $done = $db->selectall_arrayref('SELECT relation::text, statement FROM clinicache.track_schema($1)', undef, $schema);
	$tracked{$schema} = @$done;
}
my %modelled;
$modelled{ (split /\./)[0] }++ for keys %SchemaModel::TABLE;
is_deeply(\%tracked, { %modelled, web => $modelled{web}, ehr => $modelled{ehr} }, 'each table is tracked, and nothing else');
is($db->selectrow_array(q(SELECT count(*) FROM clinicache.tracked_tables WHERE state <> 'enabled')), 0, 'and enabled');

if ($break eq 'parent')
{
	$db->do("ALTER TABLE $_->[0] DISABLE TRIGGER $_->[1]")
	  for @{ $db->selectall_arrayref(q(SELECT tgrelid::regclass::text, quote_ident(tgname) FROM pg_trigger WHERE tgname LIKE 'clinicache_parent%')) };
}
elsif ($break eq 'lookup') { $db->do(q(SELECT clinicache.track('web."LabTest"', 'lab_test', '{"clinic": null, "patient": null}'))) }
elsif ($break eq 'join') { $db->do("SELECT clinicache.untrack('$_')") for 'web."_DoctorToService"', 'ehr.doctor_services' }
elsif ($break eq 'extra') { $db->do(q(SELECT clinicache.track('web."User"', 'user', '{}', '{"tags": ["too:much:{id}"]}'))) }
elsif ($break) { die "CLINICACHE_BREAK=$break is not known" }

# ---- run

my $worker = SchemaWorker->new(
	db => $db, seed => $seed, target => $total,
	model => SchemaModel->new(
		db => $db, today => $db->selectrow_array('SELECT current_date::text')));
my $runs = $worker->work;
is($worker->{trouble}, '', 'no unexpected error');
cmp_ok(scalar @$runs, '>=', $total, "$total transactions committed");

# ---- compare

my %log;
for my $record (@{ $db->selectall_arrayref('SELECT xid::text, tenant, tags, prefixes FROM clinicache.invalidation_log') })
{
	my ($xid, $tenant, $tags, $prefixes) = @$record;
	$tenant = '' unless defined $tenant;
	$log{$xid}{tags}{$_}{$tenant} = 1 for @{ $tags || [] };
	$log{$xid}{prefixes}{$_}{$tenant} = 1 for @{ $prefixes || [] };
}

# Is there something in the log that a subscriber of the tenant sees, and that drops the tag?
sub is_there
{
	my ($got, $tag, $tenant) = @_;
	my $seen = sub { my ($of) = @_; return $of && ($of->{''} || $of->{$tenant} || $tenant eq '*') };
	return 1 if $tag !~ /\*$/ && $seen->($got->{tags}{$tag});
	(my $text = $tag) =~ s/\*$//;
	return scalar grep { index($text, $_) == 0 && $seen->($got->{prefixes}{$_}) } keys %{ $got->{prefixes} || {} };
}

# What was not asked for: another tag, another tenant's, a prefix that nothing begins with.
sub surplus
{
	my ($run, $got) = @_;
	my ($want, $may) = @$run{qw(want may)};
	my @extra;
	for my $tag (keys %{ $got->{tags} || {} })
	{
		next if $may->{$tag} || $want->{$tag} && $want->{$tag}{'*'};
		push @extra, map { "$_ > $tag" }
		  $want->{$tag} ? grep { length && !$want->{$tag}{$_} } keys %{ $got->{tags}{$tag} } : keys %{ $got->{tags}{$tag} };
	}
	for my $prefix (keys %{ $got->{prefixes} || {} })
	{
		next if grep { index($_, $prefix) == 0 } keys %$want, keys %$may;
		push @extra, map { "$_ > $prefix*" } keys %{ $got->{prefixes}{$prefix} };
	}
	return sort @extra;
}

my ($expected, $emitted, $missing, $extra, @bad) = (0, 0, 0, 0);
for my $run (@$runs)
{
	my $got = delete $log{ $run->{xid} } || {};
	my @missing;
	for my $tag (sort keys %{ $run->{want} })
	{
		my @tenants = sort keys %{ $run->{want}{$tag} };
		$expected += @tenants;
		push @missing, map { "$_ > $tag" } grep { !is_there($got, $tag, $_) } @tenants;
	}
	$emitted += keys %$_ for map { values %{ $got->{$_} || {} } } qw(tags prefixes);
	my @extra = surplus($run, $got);
	$missing += @missing;
	$extra += @extra;
	push @bad, { %$run, missing => \@missing, extra => \@extra } if @missing || @extra;
}
is($missing, 0, 'no tag is missing');
cmp_ok($extra, '<=', $emitted / 100, 'at most 1 % are extra');
delete $log{$_} for grep { $_ <= $worker->{first_xid} } keys %log;
is(join(' ', sort keys %log), '', 'and nothing but these transactions left any');
for my $run ((sort { @{ $b->{missing} } <=> @{ $a->{missing} } || @{ $a->{story} } <=> @{ $b->{story} } } @bad)[ 0 .. 3 ])
{
	next if !$run || (!@{ $run->{missing} } && $extra <= $emitted / 100 && !$ENV{CLINICACHE_SHOW});
	diag "transaction $run->{xid}";
	diag "  $_ (" . @{ $run->{$_} } . '): ' . join ' | ', @{ $run->{$_} }[ 0 .. ($#{ $run->{$_} } < 9 ? $#{ $run->{$_} } : 9) ] for qw(missing extra);
	diag "    $_" for @{ $run->{story} };
}

is($db->selectrow_array('SELECT count(*) FROM clinicache.verify()'), 0, 'counters are exact');
is($db->selectrow_array(q(SELECT count(*) FROM clinicache.health() WHERE severity = 'critical' AND object ~ '^(web|ehr|solo)')), 0, 'tables are healthy');
diag sprintf '%d transactions, %d rolled back, %d statements; %d tags expected, %d emitted, %d missing, %d extra; %.0f s',
  scalar @$runs, $worker->{rolled_back}, $worker->{statements}, $expected, $emitted, $missing, $extra, time - $began;
$db->disconnect;
$node->stop('fast');
done_testing();
