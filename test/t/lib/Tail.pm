# A clinicache_tail in the background, and what it has printed.
package Tail;

use strict;
use warnings;
use JSON::PP;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->utf8;
my $number = 0;
my @running;

# arguments: connection string, directory, clinicache_tail's options
sub new
{
	my ($class, $connection, $directory, @options) = @_;
	my $self = bless { output => "$directory/tail." . $number++ }, $class;

	chomp(my $bindir = `$ENV{PG_CONFIG} --bindir`);
	$self->{pid} = fork;
	die "fork: $!" unless defined $self->{pid};
	if ($self->{pid} == 0)
	{
		open STDOUT, '>', $self->{output} or POSIX::_exit(99);
		open STDERR, '>', "$self->{output}.err" or POSIX::_exit(99);
		delete $ENV{PGAPPNAME};
		exec "$bindir/clinicache_tail", '-d', $connection, @options or POSIX::_exit(99);
	}
	push @running, $self;
	return $self;
}

sub stop
{
	my ($self) = @_;
	return unless $self->{pid};
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{pid} = 0;
	return;
}

END { $_->stop for @running }

# All messages so far. An unfinished last line is left for the next time.
sub messages
{
	my ($self) = @_;
	open my $file, '<', $self->{output} or return;
	my @lines = <$file>;
	close $file;
	return map { $json->decode($_) } grep { /\n\z/ } @lines;
}

# How often each tag came; prefixes with a trailing *, a reset is *.
sub tags
{
	my ($self) = @_;
	my %seen;
	for my $message ($self->messages)
	{
		$seen{'*'}++ if $message->{reset};
		$seen{$_}++ for map { @$_ } values %{ $message->{tags} };
		$seen{"$_*"}++ for @{ $message->{prefixes} };
	}
	return \%seen;
}

# Waits until all of the tags have come; returns how many seconds that took, undef: too long.
sub wait_for
{
	my ($self, $patience, @tags) = @_;
	my $began = time;
	while (time - $began < $patience)
	{
		my $seen = $self->tags;
		return time - $began unless grep { !$seen->{$_} } @tags;
		sleep 0.02;
	}
	return;
}

1;
