# From the moment that a writer's commit has returned to the moment that a
# subscriber has its tag in hand.
#
#   latency.pl DSN RATE SECONDS     prints the median and the 99th percentile, in ms
#
# Two processes, two connections; each appointment's own tag tells which commit
# a message is about.
use strict;
use warnings;
use DBI;
use IO::Select;
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

my ($dsn, $rate, $seconds) = @ARGV;

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub connect_to
{
	return DBI->connect("dbi:Pg:$dsn", undef, undef,
		{ AutoCommit => 1, RaiseError => 1, pg_server_prepare => 1 });
}

pipe my $read, my $write or die "pipe: $!";
my $writer = fork;
die "fork: $!" unless defined $writer;
if ($writer == 0)
{
	close $read;
	my $db = connect_to();
	my $insert = $db->prepare(q{INSERT INTO clinicache ("clinicId", "patientId", "doctorId", date, status)
		VALUES (?, ?, ?, now(), 'SCHEDULED') RETURNING id});
	my @done;
	sleep 1;
	my $began = now();
	for my $n (0 .. $rate * $seconds - 1)
	{
		my $wait = $began + $n / $rate - now();
		sleep $wait if $wait > 0;
		$insert->execute(1 + $n % 50, 1 + $n % 10007, 1 + $n % 500);
		my ($id) = $insert->fetchrow_array;
		push @done, "$id " . now();
	}
	print $write map { "$_\n" } @done;
	close $write;
	exit;
}
close $write;

my $db = connect_to();
my (%arrived, $until);
$db->do('LISTEN clinicache');
my $select = IO::Select->new($db->{pg_socket}, $read);
my %done;
while (!defined $until || now() < $until)
{
	my @ready = $select->can_read(0.05);
	while (my $notify = $db->pg_notifies)
	{
		$arrived{$1} //= now() while $notify->[2] =~ /"appointment:(\d+)"/g;
	}
	if (grep { $_ == $read } @ready)
	{
		%done = map { split / / } <$read>;
		$select->remove($read);
		$until = now() + 2;
	}
}
waitpid $writer, 0;

my @missing = grep { !$arrived{$_} } keys %done;
die scalar(@missing) . " tags did not arrive\n" if @missing;
my @times = sort { $a <=> $b } map { 1000 * ($arrived{$_} - $done{$_}) } keys %done;
printf "%.2f %.2f\n", $times[ @times / 2 ], $times[ @times * 0.99 ];
