# One process of the counter tests.
#
#   write     random transactions, with checks of what they see of themselves
#   read      the same questions again and again in one snapshot
#   fold      maintain_fold() and maintain() without a pause
#   verify    verify()
#   replica   as read, on a standby
#
# Each runs until its target is reached or the file "stop" appears, and leaves a
# file of JSON lines: {"wrong": ...} for what must not be, and {"count": {...}}.
package CounterWorker;

use strict;
use warnings;
use utf8;
use DBI;
use JSON::PP;
use Time::HiRes qw(sleep time);
use CounterStatements;
use CounterTables qw(pick chance random_spec spec_sql @TABLES @CLINICS @ZONES);

our @ISA = ('CounterStatements');

my $json = JSON::PP->new->utf8->canonical;
my $ALL = join ', ', @TABLES;

sub connect_to
{
	my ($dsn) = @_;
	return DBI->connect(
		"dbi:Pg:$dsn", undef, undef,
		{
			AutoCommit => 1, RaiseError => 1, PrintError => 0, PrintWarn => 0,
			pg_server_prepare => 0, pg_placeholder_dollaronly => 1,
			pg_enable_utf8 => 1, AutoInactiveDestroy => 1
		});
}

# arguments: dsn, kind, number, seed, dir, target (committed transactions)
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {%arg}, $class;
	srand($self->{seed});
	$self->{next} //= 1;
	$self->{count} = {};
	open $self->{out}, '>>', "$self->{dir}/$self->{kind}$self->{number}.json" or die $!;
	$self->reconnect;
	return $self;
}

sub reconnect
{
	my ($self) = @_;
	$self->{db} = connect_to($self->{dsn});
	$self->{db}->do('SET client_min_messages = warning');
	$self->{db}->do('SET DateStyle = ' . pick("'ISO'", "'ISO, DMY'"));
	$self->{db}->do('SET TimeZone = ' . pick("'Asia/Tokyo'", "'America/Lima'", "'UTC'"));
	return;
}

sub record
{
	my ($self, $what) = @_;
	print { $self->{out} } $json->encode($what), "\n";
	$self->{out}->flush;
	return;
}

sub wrong
{
	my ($self, $what) = @_;
	$self->record({ wrong => "$self->{kind} $self->{number}: $what", story => $self->{story} });
	return;
}

sub stopped { my ($self) = @_; return -e "$self->{dir}/stop" }

# Ask a counter and SQL; they must agree.  Returns what they say.
sub check
{
	my ($self, $spec, $when) = @_;
	my $sql = spec_sql($spec);
	my ($same, $told) = $self->{db}->selectrow_array("SELECT same, told FROM $sql");
	$self->{count}{checks}++;
	$self->wrong("$when: $sql: $told") unless $same;
	return $told;
}

# ------------------------------------------------------------------- writing

sub steps
{
	my ($self, $depth, $checks) = @_;
	for (1 .. 1 + int rand($depth ? 2 : 3))
	{
		if ($depth < 4 && chance(0.15)) { $self->nested($depth, $checks) }
		else { $self->statement }
		$self->check(random_spec(), "in its own transaction, depth $depth") if chance($checks);
	}
	return;
}

sub nested
{
	my ($self, $depth, $checks) = @_;
	my $name = 's' . ++$self->{savepoints};
	$self->run("SAVEPOINT $name");
	$self->steps($depth + 1, $checks);
	if (chance(0.1))
	{
		eval { $self->run('SELECT 1 / 0') };
		$self->run("ROLLBACK TO $name");
	}
	elsif (chance(0.4)) { $self->run("ROLLBACK TO $name") }
	$self->steps($depth + 1, $checks) if chance(0.2);
	# else it stays open and ends with what surrounds it
	$self->run("RELEASE $name") if chance(0.6);
	return;
}

sub transaction
{
	my ($self) = @_;
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
	my $locked = chance(0.5);
	$self->run("BEGIN ISOLATION LEVEL $level; LOCK TABLE gate IN ACCESS SHARE MODE");
	# a snapshot from before a TRUNCATE or a new zone can not be compared
	$self->run("LOCK TABLE $ALL IN ROW EXCLUSIVE MODE") if $locked;
	$self->steps(0, $locked ? $self->{checks} : 0);
	my $dice = rand;
	if ($dice < 0.08)
	{
		$self->run('ROLLBACK');
		$self->{count}{'rolled back'}++;
		return;
	}
	return $self->prepared if $dice < 0.13;
	$self->run('COMMIT');
	$self->{count}{committed}++;
	return;
}

sub prepared
{
	my ($self) = @_;
	my $gid = "counter-$self->{number}-" . $self->{next}++;
	$self->run("PREPARE TRANSACTION '$gid'");
	$self->{gid} = $gid;
	$self->check(random_spec(), 'while one is prepared') if chance(0.2);
	if (chance(0.7))
	{
		$self->run("COMMIT PREPARED '$gid'");
		$self->{count}{committed}++;
	}
	else { $self->run("ROLLBACK PREPARED '$gid'") }
	delete $self->{gid};
	$self->{count}{prepared}++;
	return;
}

# What needs whole tables.  Mostly it waits for the transactions in progress first,
# holding nothing; else it is given up when it does not get its locks soon, long
# before deadlock_timeout.
sub rare
{
	my ($self) = @_;
	my $gated = chance(0.8);
	$self->run('SET lock_timeout = ' . ($gated ? "'5s'" : "'200ms'"));
	my ($what, $sql) = @{ pick(
		[ 'zones set', 'SELECT clinicache.set_timezone(' . CounterTables::literal(pick(@CLINICS)) . ', '
			. CounterTables::literal(pick(undef, @ZONES)) . ')' ],
		[ 'truncated', 'TRUNCATE ' . pick(@TABLES, 'payments, refund') ],
		[
			'rebuilt',
			pick('TRUNCATE visit_north;', 'TRUNCATE visit_east;', '')
			  . q(SELECT clinicache.rebuild('visits'))
		]) };
	my $how = pick($gated ? () : '', 'ROLLBACK', 'ROLLBACK TO s', 'COMMIT');
	my $ok = eval {
		$self->run('BEGIN') if $how;
		$self->run('LOCK TABLE gate IN ACCESS EXCLUSIVE MODE') if $gated;
		$self->run('SAVEPOINT s') if $how;
		$self->run($sql);
		$self->statement(1) if $how;
		$self->run("LOCK TABLE $ALL IN ROW EXCLUSIVE MODE") if $how;
		$self->check(random_spec(), "after $sql") if $how;
		$self->run($how) if $how eq 'ROLLBACK TO s';
		$self->check(random_spec(), "after $how") if $how eq 'ROLLBACK TO s';
		$self->run($how eq 'ROLLBACK' ? $how : 'COMMIT') if $how;
		$self->{count}{$what}++;
		$self->{count}{committed}++ if $how ne 'ROLLBACK';
		1;
	};
	my ($error, $state) = ($@, $self->{db}->state);
	$self->{db}->do('ROLLBACK') if !$ok;
	$self->run('RESET lock_timeout');
	die $error if !$ok && $state ne '55P03';
	$self->{count}{'not locked'}++ if !$ok;
	return;
}

sub write_one
{
	my ($self) = @_;
	if (chance($self->{rare})) { $self->rare }
	elsif (chance(0.55))
	{
		$self->statement(1);
		$self->{count}{committed}++;
	}
	else { $self->transaction }
	return;
}

sub write
{
	my ($self) = @_;
	while (($self->{count}{committed} // 0) < $self->{target} && !$self->stopped)
	{
		$self->{story} = [];
		next if eval { $self->write_one; 1 };
		my ($error, $state) = ($@, $self->{db}->state // '');
		last if $self->{outage} && $self->lost;
		# what PostgreSQL may ask a serializable transaction to try again
		$self->wrong("$state $error") if $state ne '40001';
		last if $state ne '40001';
		$self->{db}->do('ROLLBACK');
		$self->{count}{'to retry'}++;
	}
	return;
}

# Is the server gone?  The tests of crashes kill it.
sub lost { my ($self) = @_; return !$self->{db}->ping }

# ------------------------------------------------------------------- reading

sub read_one
{
	my ($self) = @_;
	my $db = $self->{db};
	my @specs = map { random_spec() } 1 .. 3;
	# TRUNCATE is not MVCC: locks first, then the snapshot
	if (chance(0.3))
	{
		$db->do("BEGIN; LOCK TABLE $ALL IN ACCESS SHARE MODE");
		$self->check($_, 'in a statement') for @specs;
		$db->do('COMMIT');
		return;
	}
	$db->do("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE $ALL IN ACCESS SHARE MODE");
	my @first = map { $self->check($_, 'in a snapshot') } @specs;
	for my $again (1 .. 1 + int rand 5)
	{
		sleep rand 0.08;
		for my $i (0 .. $#specs)
		{
			my $told = $self->check($specs[$i], "in a snapshot, again ($again)");
			$self->wrong(spec_sql($specs[$i]) . ": first $first[$i], then $told") if $told ne $first[$i];
		}
	}
	if (chance(0.2)) { $self->verify_one }
	$db->do('COMMIT');
	$self->{count}{snapshots}++;
	return;
}

# The same on a standby, whose replay may cancel it.
sub replica_one
{
	my ($self) = @_;
	if (eval { $self->read_one; 1 })
	{
		$self->{count}{replica}++;
		return;
	}
	die $@ if $self->{db}->state !~ /^40(001|P01)$/;
	$self->{db}->do('ROLLBACK');
	$self->{count}{'cancelled by replay'}++;
	return;
}

# An old snapshot may be too old for it, which it says.
sub verify_one
{
	my ($self) = @_;
	sleep rand 0.4;
	my $rows = eval {
		$self->{db}->selectall_arrayref(
			q(SELECT concat_ws(' ', counter, relation, dimension, key, day, class, n, total) FROM clinicache.verify()));
	};
	if (!$rows)
	{
		die $@ if $self->{db}->state ne '55000';
		$self->{count}{'too old to verify'}++;
		return;
	}
	$self->{count}{verified}++;
	$self->wrong('verify(): ' . join(', ', map { $_->[0] } @$rows)) if @$rows;
	return;
}

sub fold_one
{
	my ($self) = @_;
	if ($self->{count}{folds}++ % 20 == 19)
	{
		$self->{db}->do('CALL clinicache.maintain()');
		$self->{count}{upkeep}++;
	}
	my ($records) = $self->{db}->selectrow_array('SELECT clinicache.maintain_fold()');
	$self->{count}{records} += $records if $records > 0;
	sleep rand 0.1;
	return;
}

sub repeat
{
	my ($self, $method) = @_;
	until ($self->stopped)
	{
		$self->{story} = undef;
		next if eval { $self->$method; 1 };
		my $error = $@;
		last if $self->{outage} && $self->lost;
		$self->wrong(($self->{db}->state // '') . " $error");
		last;
	}
	return;
}

sub work
{
	my ($self) = @_;
	if ($self->{kind} eq 'write') { $self->write }
	else { $self->repeat("$self->{kind}_one") }
	$self->record({ count => $self->{count}, next => $self->{next}, gid => $self->{gid} });
	close $self->{out} or die $!;
	return;
}

1;
