# kill -9 of a server, so that it can be started again at once.
package KillServer;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Utils qw(slurp_file);
use Time::HiRes qw(sleep);

our @EXPORT = qw(kill_server);

# Those of the processes that still run; a zombie does not.
sub running
{
	return grep { (eval { slurp_file("/proc/$_/stat") } // '') =~ /^\d+ \(.*\) [^ZX]/s } @_;
}

# kill -9 of the whole server at once
sub kill_server
{
	my ($node) = @_;
	my $lock_file = $node->data_dir . '/postmaster.pid';
	my ($postmaster) = slurp_file($lock_file) =~ /^(\d+)/;
	my @children = grep {
		(eval { slurp_file("/proc/$_/stat") } // '') =~ /^\d+ \(.*\) \S (\d+)/s
		  && $1 == $postmaster
	} map { m{/(\d+)$} ? $1 : () } glob '/proc/[0-9]*';

	$node->kill9;
	kill 'KILL', @children;
	for (1 .. 100)
	{
		last if !running($postmaster, @children);
		sleep 0.1;
	}
	# where nobody reaps zombies the dead postmaster would seem to hold them
	unlink $lock_file, $node->host . '/.s.PGSQL.' . $node->port . '.lock'
	  if !running($postmaster, @children);
	return;
}

1;
