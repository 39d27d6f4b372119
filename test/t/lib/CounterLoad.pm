# Processes of the counter tests: started, stopped, and what they found.
package CounterLoad;

use strict;
use warnings;
use utf8;
use JSON::PP;
use POSIX qw(_exit);
use Time::HiRes qw(sleep);
use CounterWorker;

my $json = JSON::PP->new->utf8;

# arguments: dir, seed, and what every process is given
sub new
{
	my ($class, %arg) = @_;
	return bless { %arg, child => {}, carried => {} }, $class;
}

# Start "n" processes of a kind.
sub start
{
	my ($self, $kind, $n, %arg) = @_;
	for my $number (0 .. $n - 1)
	{
		my $pid = fork;
		die "fork: $!" unless defined $pid;
		if (!$pid)
		{
			my $ok = eval {
				CounterWorker->new(
					dsn => $self->{dsn}, dir => $self->{dir}, kind => $kind, number => $number,
					seed => $self->{seed} + 100 * $number + unpack('%16C*', $kind) + 10000 * $self->{rounds},
					%arg, %{ $self->{carried}{"$kind$number"} // {} })->work;
				1;
			};
			warn "$kind $number: $@" unless $ok;
			_exit($ok ? 0 : 1);
		}
		$self->{child}{$pid} = "$kind$number";
	}
	return;
}

# Wait until all of a kind have ended; the first status that is not 0.
sub wait_for
{
	my ($self, $kind) = @_;
	my $failed = 0;
	for my $pid (grep { $self->{child}{$_} =~ /^$kind/ } keys %{ $self->{child} })
	{
		waitpid $pid, 0;
		$failed ||= $?;
		delete $self->{child}{$pid};
	}
	return $failed;
}

sub stop
{
	my ($self) = @_;
	open my $file, '>', "$self->{dir}/stop" or die $!;
	close $file or die $!;
	my $failed = $self->wait_for('');
	unlink "$self->{dir}/stop" or die $!;
	$self->{rounds}++;
	return $failed;
}

# What they left: all that was wrong, and the sums of what they counted.
sub collect
{
	my ($self) = @_;
	my (@wrong, %count);
	for my $file (glob "$self->{dir}/*.json")
	{
		my ($name) = $file =~ m{([^/]+)\.json$};
		open my $in, '<', $file or die "$file: $!";
		while (my $line = <$in>)
		{
			my $r = $json->decode($line);
			push @wrong, join "\n  ", $r->{wrong}, @{ $r->{story} // [] } if $r->{wrong};
			next unless $r->{count};
			$count{$_} += $r->{count}{$_} for keys %{ $r->{count} };
			$self->{carried}{$name} = { next => $r->{next} } if defined $r->{next};
		}
		close $in;
		unlink $file or die "$file: $!";
	}
	return (\@wrong, \%count);
}

1;
