# clinicache_tail: whatever happens to it, to its output or to the server, it
# prints what was committed and nothing else.
#
# The oracle is the table itself: each row's id is unique and never reused, so
# the received tags item:<id> must be exactly the ids found in the table; ids
# of rolled-back inserts are missing there and must not arrive.
#
# CLINICACHE_TAIL          the program (default: beside pg_config's, then PATH)
# CLINICACHE_TAIL_SECONDS  length of the load (default 20; acceptance 60)

use strict;
use warnings;

use File::Spec;
use IPC::Run ();
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{CLINICACHE_TAIL_SECONDS} || 20;
my $patience = $PostgreSQL::Test::Utils::timeout_default;
my $tail_binary = find_tail();
my $dir = PostgreSQL::Test::Utils::tempdir;
my (%running, %outputs, @stopped);

my $node = PostgreSQL::Test::Cluster->new('tail');
$node->init;
$node->append_conf('postgresql.conf', "clinicache.delivery = 'commit'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clinicache');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE item(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text);
	SELECT clinicache.track('item', '{"tenant": "tenant", "tags": ["item:{id}"]}');
});

# ---------------------------------------------------------------- helpers

sub find_tail
{
	return $ENV{CLINICACHE_TAIL} if $ENV{CLINICACHE_TAIL};
	my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
	chomp(my $bindir = `$pg_config --bindir`);
	return "$bindir/clinicache_tail" if -x "$bindir/clinicache_tail";
	for my $path (File::Spec->path)
	{
		return "$path/clinicache_tail" if -x "$path/clinicache_tail";
	}
	die 'clinicache_tail not found, set CLINICACHE_TAIL';
}

# Runs one in the background. Each run has an output of its own: a line that
# kill -9 cut in two is then the last of its file, where received() skips it.
sub start_tail
{
	my ($name, @args) = @_;
	my $output = "$dir/$name." . scalar(@{ $outputs{$name} ||= [] });

	push @{ $outputs{$name} }, $output;
	return run_tail($output, "$dir/$name.err", @args);
}

sub run_tail
{
	my ($output, $errors, @args) = @_;
	my $pid = fork;

	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		if (ref $output) { open STDOUT, '>&', $output or POSIX::_exit(99) }
		else { open STDOUT, '>', $output or POSIX::_exit(99) }
		open STDERR, '>>', $errors or POSIX::_exit(99);
		delete $ENV{PGAPPNAME};	# tail_backends() looks for its own name
		exec $tail_binary, '-d', $node->connstr('postgres'), @args
		  or POSIX::_exit(99);
	}
	$running{$pid} = 1;
	return $pid;
}

# Waits for its end; returns the exit code, or minus the signal.
sub end_of
{
	my ($pid, $signal) = @_;
	my $deadline = time + $patience;

	kill $signal, $pid if $signal;
	while (waitpid($pid, WNOHANG) == 0)
	{
		if (time > $deadline)
		{
			kill 'KILL', $pid;
			waitpid $pid, 0;
			delete $running{$pid};
			return 'it did not end';
		}
		sleep 0.01;
	}
	delete $running{$pid};
	return $? & 127 ? -($? & 127) : $? >> 8;
}

sub once
{
	my ($name, @args) = @_;
	return end_of(start_tail($name, '--once', @args));
}

# All whole lines that the runs of this name have printed.
sub lines_of
{
	my ($name) = @_;
	my @lines;

	for my $output (@{ $outputs{$name} || [] })
	{
		next unless -e $output;
		my $text = slurp_file($output);
		push @lines, $text =~ /^(.*)\n/mg;
	}
	return @lines;
}

# What arrived: ids of items, other tags, number of resets, prefixes and
# lines that do not look like a message.
sub received
{
	my ($name) = @_;
	my %seen = (ids => {}, resets => 0, prefixes => 0, odd => []);

	for my $line (lines_of($name))
	{
		if ($line !~ /^\{"v":1,(?:"pos":"[^"]+",)?"reset":(true|false),"tags":(\{.*\}),"prefixes":(\[.*\])\}$/)
		{
			push @{ $seen{odd} }, $line;
			next;
		}
		my ($reset, $tags, $prefixes) = ($1, $2, $3);
		$seen{resets}++ if $reset eq 'true';
		$seen{prefixes}++ if $prefixes ne '[]';
		$seen{ids}{$_}++ for $tags =~ /"item:(\d+)"/g;
	}
	return \%seen;
}

sub ids_in_table
{
	my ($where) = @_;
	$where ||= 'true';
	return map { $_ => 1 }
	  split /\n/, $node->safe_psql('postgres', "SELECT id FROM item WHERE $where");
}

sub errors_of { my ($name) = @_; return -e "$dir/$name.err" ? slurp_file("$dir/$name.err") : '' }

# Polls until the code answers true.
sub wait_until
{
	my ($what, $code) = @_;
	my $deadline = time + $patience;

	while (time < $deadline)
	{
		return pass($what) if $code->();
		sleep 0.05;
	}
	return fail($what);
}

sub add_item
{
	my ($tenant) = @_;
	return $node->safe_psql('postgres',
		'INSERT INTO item(tenant) VALUES (' . (defined $tenant ? "'$tenant'" : 'NULL') . ') RETURNING id');
}

sub wait_for_item
{
	my ($name, $id, $what) = @_;
	return wait_until($what, sub { received($name)->{ids}{$id} });
}

sub position_of { my ($file) = @_; return -e $file ? slurp_file($file) : '' }

# Compares received with committed; $from excludes what a reset stood for.
sub is_complete
{
	my ($name, $where, $what) = @_;
	my %committed = ids_in_table($where);
	my $received = received($name)->{ids};
	my @missing = grep { !$received->{$_} } keys %committed;
	my @extra = grep { !$committed{$_} } keys %$received;

	is(scalar(@missing), 0, "$what: none of " . keys(%committed) . ' is missing')
	  or diag("missing, for instance: @missing[0 .. ($#missing > 9 ? 9 : $#missing)]");
	is(scalar(@extra), 0, "$what: none is extra")
	  or diag("extra, for instance: @extra[0 .. ($#extra > 9 ? 9 : $#extra)]");
}

sub start_maintaining
{
	my $psql = "psql -XqAt -d '" . $node->connstr('postgres') . "'";
	return IPC::Run::start(
		[ 'sh', '-c', "while :; do $psql -c 'CALL clinicache.maintain()' >/dev/null 2>&1; sleep 0.3; done" ]);
}

# Transactions that commit, roll back, and roll back savepoints; one in a
# hundred stays open for two seconds while the others overtake it.
sub start_writers
{
	my ($duration) = @_;
	my $script = "$dir/writers.pgbench";

	append_to_file($script, <<'SQL') unless -e $script;
\set kind random(1, 100)
\set tenant random(1, 5)
BEGIN;
INSERT INTO item(tenant) VALUES ('t' || :tenant);
\if :kind <= 20
ROLLBACK;
\elif :kind <= 50
SAVEPOINT one;
INSERT INTO item(tenant) SELECT 't' || n FROM generate_series(1, 3) n;
SAVEPOINT two;
INSERT INTO item(tenant) VALUES (NULL);
ROLLBACK TO one;
INSERT INTO item(tenant) VALUES ('t' || :tenant);
RELEASE one;
COMMIT;
\elif :kind = 51
SELECT pg_sleep(2);
INSERT INTO item(tenant) VALUES ('t' || :tenant);
COMMIT;
\else
COMMIT;
\endif
SQL
	return IPC::Run::start(
		[
			'pgbench', '-n', '-f', $script, '-c', '8', '-R', '300',
			'-T', int($duration), '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>&', "$dir/pgbench.out");
}

sub tail_backends
{
	return split /\n/, $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE application_name = 'clinicache_tail' ORDER BY backend_start");
}

END
{
	my $status = $?;
	kill 'KILL', keys %running if %running;
	kill 'CONT', @stopped if @stopped;
	$? = $status;
}

# ------------------------------------------------------------------ tests

subtest 'command line' => sub {
	my ($out, $err);
	IPC::Run::run([ $tail_binary, '--help' ], '>', \$out, '2>', \$err);
	is($?, 0, '--help exits with 0');
	like($out, qr/--position-file/, '--help tells the options');
	like($out, qr/Exit status/, '--help tells the exit codes');
	IPC::Run::run([ $tail_binary, '--version' ], '>', \$out, '2>', \$err);
	is($?, 0, '--version exits with 0');
	like($out, qr/^clinicache_tail .*\d+\.\d+/, '--version tells it');
	for my $wrong ([ '--nonsense' ], [ '--max-tags', 'x' ], [ '--channel', '' ], [ 'a', 'b' ])
	{
		IPC::Run::run([ $tail_binary, @$wrong ], '>', \$out, '2>', \$err);
		is($? >> 8, 1, "wrong usage exits with 1: @$wrong");
	}
	IPC::Run::run([ $tail_binary, '--once', '-h', "$dir/nowhere" ], '>', \$out, '2>', \$err);
	is($? >> 8, 2, '--once without a server exits with 2');
	$node->safe_psql('postgres', 'CREATE DATABASE bare');
	IPC::Run::run([ $tail_binary, '--once', '-d', $node->connstr('bare') ], '>', \$out, '2>', \$err);
	is($? >> 8, 3, '--once without the extension exits with 3');
	IPC::Run::run([ $tail_binary, '-d', $node->connstr('bare') ], '>', \$out, '2>', \$err);
	is($? >> 8, 3, 'so it does without --once');
};

subtest '--once and the position file' => sub {
	my $file = "$dir/once.pos";
	my @args = ('--position-file', $file);

	is(once('once', @args), 0, 'first run');
	is(received('once')->{resets}, 1, 'without a position it prints a reset');
	my $first = position_of($file);
	like($first, qr/^\S.*\n\z/, 'the file holds one line');

	is(once('once', @args), 0, 'second run');
	is(scalar(lines_of('once')), 1, 'nothing happened, nothing is printed');

	my $id = add_item('t1');
	is(once('once', @args), 0, 'third run');
	ok(received('once')->{ids}{$id}, 'it prints what was committed in between');
	is(received('once')->{resets}, 1, 'and no further reset');
	is_deeply(received('once')->{odd}, [], 'each line is a message');
	isnt(position_of($file), $first, 'the position moved on');
	is((stat $file)[2] & 07777, 0600, 'only the owner reads it');
	ok(!-e "$file.tmp", 'no temporary file is left');

	for my $case ([ 'nonsense', "this is no position\n" ], [ 'empty', '' ],
		[ 'binary', "\0\1\2\xff\xfe" ], [ 'cut', substr($first, 0, 5) ])
	{
		my ($name, $content) = @$case;
		open my $handle, '>', $file or die $!;
		print $handle $content;
		close $handle;
		is(once("bad_$name", @args), 0, "position file, $name: exits with 0");
		is(received("bad_$name")->{resets}, 1, "position file, $name: reset");
		is(once("bad_$name", @args), 0, "position file, $name: second run");
		is(scalar(lines_of("bad_$name")), 1, "position file, $name: good again");
	}

	is(once('nodir', '--position-file', "$dir/missing/file"), 1, 'no such directory: exits with 1');
	mkdir "$dir/a_directory" or die $!;
	is(once('isdir', '--position-file', "$dir/a_directory"), 1, 'a directory is no file: exits with 1');
};

subtest 'following' => sub {
	my $file = "$dir/follow.pos";
	my @args = ('--position-file', $file);
	my $pid = start_tail('follow', @args);

	wait_until('it begins with a reset', sub { received('follow')->{resets} == 1 });
	my $id = add_item('t1');
	wait_for_item('follow', $id, 'it prints what is committed');
	is(run_tail_to_end('follow_second', @args), 1, 'a second one with the same file exits with 1');

	my $before = position_of($file);
	my $lines = lines_of('follow');
	$node->safe_psql('postgres', 'CALL clinicache.maintain()');
	wait_until('a heartbeat moves the position', sub { position_of($file) ne $before });
	is(scalar(lines_of('follow')), $lines, 'and prints nothing');
	is(end_of($pid, 'TERM'), 0, 'SIGTERM: exits with 0');

	$pid = start_tail('beats', '--heartbeats', '--verbose');
	wait_until('--verbose tells of it', sub { errors_of('beats') =~ /caught up/ });
	$node->safe_psql('postgres', 'CALL clinicache.maintain()');
	wait_until('--heartbeats prints them',
		sub { grep { /"pos":.*"reset":false,"tags":\{\},"prefixes":\[\]/ } lines_of('beats') });
	is(end_of($pid, 'INT'), 0, 'SIGINT: exits with 0');

	$pid = start_tail('strict', '--strict', '--position-file', "$dir/strict.pos");
	wait_until('--strict', sub { position_of("$dir/strict.pos") ne '' });
	$before = position_of("$dir/strict.pos");
	add_item('t1');
	$node->safe_psql('postgres', 'CALL clinicache.maintain()');
	wait_until('--strict moves on through changes()', sub { position_of("$dir/strict.pos") ne $before });
	is(end_of($pid, 'TERM'), 0, '--strict: exits with 0');
};

sub run_tail_to_end { my ($name, @args) = @_; return end_of(start_tail($name, @args)) }

subtest 'output that fails' => sub {
	my $file = "$dir/output.pos";

	is(once('output', '--position-file', $file), 0, 'position taken');
	my $before = position_of($file);
	my $id = add_item('t1');

	pipe my $reader, my $writer or die $!;
	close $reader;
	my $pid = run_tail($writer, "$dir/output.err", '--once', '--position-file', $file);
	close $writer;
	is(end_of($pid), 1, 'nobody reads: exits with 1');
	is(position_of($file), $before, 'the position stays');

  SKIP:
	{
		skip 'no /dev/full', 2 unless -c '/dev/full';
		$pid = run_tail('/dev/full', "$dir/output.err", '--once', '--position-file', $file);
		is(end_of($pid), 1, 'disk full: exits with 1');
		is(position_of($file), $before, 'the position stays');
	}

	is(once('output', '--position-file', $file), 0, 'output that works');
	ok(received('output')->{ids}{$id}, 'prints what the others could not');

	# a reader that goes away is noticed though there is nothing to print
	pipe $reader, $writer or die $!;
	$pid = run_tail($writer, "$dir/gone.err", '--position-file', $file, '--verbose');
	close $writer;
	wait_until('it follows', sub { errors_of('gone') =~ /caught up/ });
	close $reader;
	is(end_of($pid), 1, 'the reader goes away: exits with 1');

	# one that does not read must not hold up the NOTIFY queue for ever
	pipe $reader, $writer or die $!;
	$pid = run_tail($writer, "$dir/lazy.err", '--position-file', $file, '--heartbeat-timeout', '2');
	close $writer;
	$node->safe_psql('postgres', 'INSERT INTO item(tenant) SELECT NULL FROM generate_series(1, 900)')
	  for 1 .. 12;
	wait_until('nobody reads: it disconnects', sub { errors_of('lazy') =~ /nobody reads/ });
	wait_until('its backend is gone', sub { !tail_backends() });
	is(end_of($pid, 'TERM'), 0, 'SIGTERM reaches it while it cannot write');
	close $reader;
};

subtest 'tenants' => sub {
	my $file = "$dir/tenant.pos";
	my $pid = start_tail('tenant', '--position-file', $file, '--tenant', 't1', '--tenant', 'strange "\\ {name}');
	wait_until('begins', sub { received('tenant')->{resets} == 1 });
	my $mine = add_item('t1');
	my $foreign = add_item('t2');
	my $strange = add_item('strange "\\ {name}');
	my $shared = add_item(undef);

	wait_for_item('tenant', $_, 'its own or shared record arrives') for $mine, $strange, $shared;
	my $last = add_item('t1');
	wait_for_item('tenant', $last, 'a later one arrives');
	ok(!received('tenant')->{ids}{$foreign}, 'the other tenant\'s does not');
	is(end_of($pid, 'TERM'), 0, 'ends');

	is(once('tenant_once', '--position-file', $file, '--tenant', 't2'), 0, '--once --tenant');
	$foreign = add_item('t2');
	$mine = add_item('t1');
	is(once('tenant_once', '--position-file', $file, '--tenant', 't2'), 0, '--once --tenant');
	ok(received('tenant_once')->{ids}{$foreign}, 'its own');
	ok(!received('tenant_once')->{ids}{$mine}, 'not the other');
};

subtest 'payload = position' => sub {
	$node->append_conf('postgresql.conf', "clinicache.payload = 'position'\n");
	$node->reload;
	my $pid = start_tail('wake', '--position-file', "$dir/wake.pos");
	wait_until('begins', sub { received('wake')->{resets} == 1 });
	my @ids = map { add_item("t$_") } 1 .. 3;
	wait_for_item('wake', $_, 'a wake-up makes it read the record') for @ids;
	is_deeply(received('wake')->{odd}, [], 'each line is a message');
	is(end_of($pid, 'TERM'), 0, 'ends');
	$node->append_conf('postgresql.conf', "clinicache.payload = 'tags'\n");
	$node->reload;
};

subtest 'forged notifications' => sub {
	my $file = "$dir/forged.pos";
	my $pid = start_tail('forged', '--position-file', $file);
	wait_until('begins', sub { received('forged')->{resets} == 1 });
	my $message = '{"v":1,"reset":false,"tags":{"default":["forged"]},"prefixes":[]}';
	my @forged = (
		'forged', '', '{}', '[]', '{"v":1}', 'null', '{"v":1,"reset":false,"tags":{"default":["forged"]},"prefixes":[]',
		"$message\n", "$message $message", "{\n" . substr($message, 1), '{"v":2,' . substr($message, 7),
		'{"v":1,"v":1,' . substr($message, 7), '{"\u0076":1,' . substr($message, 7),
		'{"v":1,"reset":"false","tags":{"default":["forged"]},"prefixes":[]}',
		'{"v":1,"reset":false,"tags":["forged"],"prefixes":[]}',
		'{"v":1,"reset":false,"tags":{"default":"forged"},"prefixes":[]}',
		'{"v":1,"reset":false,"tags":{"default":[1]},"prefixes":["forged"]}',
		'{"v":1,"reset":false,"tags":{"default":["forged\x"]},"prefixes":[]}',
		'{"v":1,"reset":false,"tags":{},"prefixes":[],"x":' . ('[' x 500) . (']' x 500) . '}',
		'{"v":1,"pos":"","reset":false,"tags":{"default":["forged"]},"prefixes":[]}',
		'{"v":1,"pos":5,"reset":false,"tags":{"default":["forged"]},"prefixes":[]}');
	for my $payload (@forged)
	{
		$node->safe_psql('postgres', q{SELECT pg_notify('clinicache', $forged$} . $payload . q{$forged$)});
	}
	my $id = add_item('t1');
	wait_for_item('forged', $id, 'it goes on after ' . @forged . ' forged messages');
	is(scalar(grep { /forged/ } lines_of('forged')), 0, 'it printed none of them');
	is_deeply(received('forged')->{odd}, [], 'each line is a message');
	like(errors_of('forged'), qr/not a message/, 'it warned');
	cmp_ok(scalar(() = errors_of('forged') =~ /not a message/g), '<', 10, 'but not each time');
	is(end_of($pid, 'TERM'), 0, 'ends');

	# well-formed messages with false positions
	$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0');
	$node->safe_psql('other', 'CREATE EXTENSION clinicache');
	my $other = $node->safe_psql('other', 'SELECT clinicache.position()');
	$pid = start_tail('forged_pos', '--position-file', $file);
	$id = add_item('t1');
	wait_for_item('forged_pos', $id, 'follows');
	my $before = position_of($file);
	for my $pos ('bogus', $other)
	{
		$node->safe_psql('postgres',
			qq{SELECT pg_notify('clinicache', '{"v":1,"pos":"$pos","reset":false,"tags":{},"prefixes":[]}')});
		sleep 1.1;
	}
	wait_until('it refuses them', sub { (() = errors_of('forged_pos') =~ /ignored a position/g) == 2 });
	# a worker's heartbeats move it on
	if ($node->safe_psql('postgres', 'SHOW shared_preload_libraries') =~ /clinicache/)
	{
		unlike(position_of($file), qr/^(bogus|\Q$other\E)$/, 'it keeps positions of its own');
	}
	else
	{
		is(position_of($file), $before, 'the position stays');
	}
	is(end_of($pid, 'KILL'), -9, 'kill -9');
	$id = add_item('t1');
	is(once('forged_pos', '--position-file', $file), 0, 'next start');
	is(received('forged_pos')->{resets}, 0, 'no reset is needed');
	ok(received('forged_pos')->{ids}{$id}, 'and nothing was skipped');

	# A true position, edited to have seen the next twenty transactions, by a
	# role without any privilege.
	$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN');
	my $strict = "$dir/forged_strict.pos";
	$pid = start_tail('forged_strict', '--strict', '--position-file', $strict);
	wait_until('--strict follows', sub { position_of($strict) ne '' });
	my @fields = split /\./, position_of($strict) =~ s/\n//r;
	$fields[5] = sprintf '%x', hex($fields[5]) + 20;
	my $edited = join '.', @fields[ 0 .. 5 ];
	$before = position_of($strict);
	$node->safe_psql('postgres',
		qq{SET SESSION AUTHORIZATION stranger;
		SELECT pg_notify('clinicache', '{"v":1,"pos":"$edited","reset":false,"tags":{},"prefixes":[]}')});
	wait_until('--strict asks changes() instead', sub { position_of($strict) ne $before });
	is(end_of($pid, 'KILL'), -9, 'kill -9');
	my @later = map { add_item('t1') } 1 .. 25;
	is(once('forged_strict', '--position-file', $strict), 0, 'next start');
	is(scalar(grep { !received('forged_strict')->{ids}{$_} } @later), 0, '--strict skips nothing');
};

subtest 'server restarts' => sub {
	my $from = add_item('t1');
	my $pid = start_tail('restart', '--position-file', "$dir/restart.pos");
	wait_until('begins', sub { received('restart')->{resets} == 1 });
	for my $mode ('fast', 'immediate')
	{
		my $before = add_item('t1');
		$node->stop($mode);
		sleep 1;
		$node->start;
		my $missed = add_item('t1');
		wait_for_item('restart', $missed, "after stop -m $mode it connects again");
	}
	is_complete('restart', "id > $from", 'restarts');
	is(received('restart')->{resets}, 1, 'without a further reset');
	like(errors_of('restart'), qr/connection lost/, 'it told of the loss');
	cmp_ok(scalar(() = errors_of('restart') =~ /could not connect/g), '<', 20, 'it did not knock all the time');
	is(end_of($pid, 'TERM'), 0, 'ends');
};

subtest 'half-open connection' => sub {
	my $from = add_item('t1');
	my $pid = start_tail('halfopen', '--heartbeat-timeout', '3', '--position-file', "$dir/halfopen.pos");
	wait_until('begins', sub { received('halfopen')->{resets} == 1 });
	my ($backend) = tail_backends();
	die 'the tail has no backend' unless $backend;
	push @stopped, $backend;
	kill 'STOP', $backend or die "could not stop $backend: $!";
	my $id = add_item('t1');
	sleep 0.5;
	ok(!received('halfopen')->{ids}{$id}, 'its backend is stopped');
	wait_for_item('halfopen', $id, 'after the time-out it comes by another connection');
	like(errors_of('halfopen'), qr/heartbeat time-out/, 'it told why');
	kill 'CONT', $backend;
	@stopped = ();
	wait_until('the old backend ends', sub { !grep { $_ == $backend } tail_backends() });
	is_complete('halfopen', "id > $from", 'half-open');
	is(received('halfopen')->{resets}, 1, 'without a further reset');
	is(end_of($pid, 'TERM'), 0, 'ends');
};

# Kills it at random moments while the writers write; restarts the server once.
sub load_with_kills
{
	my ($name, $duration, @args) = @_;
	my $file = "$dir/$name.pos";
	my $end = time + $duration;
	my $restart = time + $duration / 2;
	my $writers = start_writers($duration);
	my $round = 0;
	my %count = (kills => 0, terms => 0, bad_ends => 0, bad_files => 0, inodes => {});

	while (time < $end)
	{
		my $pid = start_tail($name, '--position-file', $file, @args);
		my $until = time + 0.02 + rand 1.5;
		while (time < $until)
		{
			# open always finds a whole file, the old one or the new one
			my $text = position_of($file);
			$count{bad_files}++ unless $text =~ /^\S[^\n]*\n\z/;
			$count{inodes}{ (stat $file)[1] } = 1;
			sleep 0.02;
		}
		my $signal = ++$round % 5 ? 'KILL' : 'TERM';	# the moments are random, not this
		my $status = end_of($pid, $signal);
		$count{ $signal eq 'KILL' ? 'kills' : 'terms' }++;
		$count{bad_ends}++ unless $status eq ($signal eq 'KILL' ? -9 : 0);
		sleep rand 0.3;
		if ($restart && time > $restart)
		{
			$restart = undef;
			$node->restart;
			eval { $writers->finish };	# they lost their connections
			$writers = start_writers($end - time) if $end - time > 1;
		}
	}
	eval { $writers->finish };
	return \%count;
}

for my $case ([ 'load' ], [ 'load_strict', '--strict' ], [ 'load_wake', '--tenant', 't1', '--tenant', 't2' ])
{
	my ($name, @args) = @$case;
	my $where = $name eq 'load_wake' ? q{(tenant IN ('t1', 't2') OR tenant IS NULL)} : 'true';
	my $duration = $name eq 'load' ? $seconds : $seconds / 2;
	$duration = 8 if $duration < 8;	# enough rounds to be killed in
	push @args, '--max-tags', '1000000';

	subtest "killed at random under load, $name" => sub {
		my $file = "$dir/$name.pos";
		my $from = add_item('t1');
		is(once($name, '--position-file', $file, @args), 0, 'position taken');

		my $maintaining = start_maintaining();
		my $count = load_with_kills($name, $duration, @args);

		# the last one follows for a while, then what is left is caught up
		my $pid = start_tail($name, '--position-file', $file, @args);
		my $last = add_item('t1');
		wait_for_item($name, $last, 'the last run follows');
		$maintaining->kill_kill(grace => 2);
		is(end_of($pid, 'KILL'), -9, 'kill -9');
		is(once($name, '--position-file', $file, @args), 0, 'caught up');

		my $seen = received($name);
		my %committed = ids_in_table("id > $from");
		my $sequence = $node->safe_psql('postgres', q{SELECT last_value FROM pg_sequences WHERE sequencename = 'item_id_seq'});
		note("$count->{kills} times killed, $count->{terms} times asked to end, "
			  . keys(%committed) . ' ids committed of ' . ($sequence - $from) . ' drawn');
		cmp_ok(scalar(keys %committed), '>', 100, 'there was a load');
		cmp_ok($sequence - $from, '>', scalar(keys %committed), 'with rollbacks');
		cmp_ok($count->{kills}, '>', 2, 'it was killed');
		is($count->{bad_ends}, 0, 'it ended as it was asked to');
		is($count->{bad_files}, 0, 'the position file was whole at any moment');
		cmp_ok(scalar(keys %{ $count->{inodes} }), '>', 1, 'because it is replaced, not rewritten');
		is($seen->{resets}, 1, 'no reset but the first');
		is($seen->{prefixes}, 0, 'nothing collapsed');
		is_deeply($seen->{odd}, [], 'each line is a message');
		is_complete($name, "id > $from AND $where", $name);
	};
}

$node->stop;
done_testing();
