# One session of the oracle test: random transactions over rows that are its
# own (other sessions have others), each told to the model as well.
#
#   OracleWorker       transactions, savepoints, what is recorded of them
#     OracleStatements   the statements
#       OracleRows         rows, random values, SQL text
package OracleWorker;

use strict;
use warnings;
use utf8;
use DBI;
use JSON::PP;
use OracleModel;
use OracleRows qw(pick chance names first_id);
use OracleStatements;

our @ISA = ('OracleStatements');

my $json = JSON::PP->new->utf8->canonical;

# arguments: dsn, number, target (committed transactions), seed, file, model,
# clinics, seeded rows {table}[row]
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {%arg}, $class;
	srand($self->{seed});
	$self->{db} = connect_to($self->{dsn});
	$self->{rows} = {};
	$self->{undo} = [];
	$self->{next} = first_id($self->{number});
	$self->{settled} = 0;
	for my $table (keys %{ $self->{seeded} })
	{
		$self->{rows}{$table}{ $self->row_key($table, $_) } = $_
		  for @{ $self->{seeded}{$table} };
	}
	# no setting of a session may show in a tag
	$self->{db}->do($_)
	  for 'SET DateStyle = ' . pick("'SQL, DMY'", 'German', 'ISO'),
	  'SET TimeZone = ' . pick("'Asia/Tokyo'", "'America/Lima'", "'UTC'"),
	  'SET IntervalStyle = sql_standard', 'SET extra_float_digits = 0',
	  "SET clinicache.bulk_threshold = $self->{model}{threshold}";
	return $self;
}

sub connect_to
{
	my ($dsn) = @_;
	return DBI->connect(
		"dbi:Pg:$dsn", undef, undef,
		{
			AutoCommit => 1, RaiseError => 1, PrintError => 0,
			pg_server_prepare => 0, pg_placeholder_dollaronly => 1,
			pg_enable_utf8 => 1, AutoInactiveDestroy => 1
		});
}

sub steps
{
	my ($self, $depth, $safe) = @_;
	for (1 .. 1 + int rand($depth ? 3 : 4))
	{
		if ($depth < 4 && chance($safe ? 0 : 0.22))
		{
			$self->nested($depth);
		}
		else
		{
			$self->statement($safe);
		}
	}
	return;
}

sub nested
{
	my ($self, $depth) = @_;
	my $name = 's' . $self->{savepoints}++;
	$self->run("SAVEPOINT $name");
	$self->{model}->savepoint($name);
	my $mark = @{ $self->{undo} };
	$self->steps($depth + 1);
	if (chance(0.12))
	{
		$self->st_error or die 'this statement should have failed';
		$self->back_to($name, $mark);
	}
	elsif (chance(0.4))
	{
		$self->back_to($name, $mark);
	}
	$self->steps($depth + 1) if chance(0.2);
	# else it stays open and ends with what surrounds it
	if (chance(0.6))
	{
		$self->run("RELEASE $name");
		$self->{model}->release($name);
	}
	return;
}

sub back_to
{
	my ($self, $name, $mark) = @_;
	$self->run("ROLLBACK TO $name");
	$self->{model}->rollback_to($name);
	$self->undo_to($mark);
	return;
}

# ---- transactions

sub xid
{
	my ($self) = @_;
	return $self->{db}->selectrow_array('SELECT pg_current_xact_id()::text');
}

# What the transaction will emit must be known to it beforehand.
sub check_pending
{
	my ($self) = @_;
	my $want = $self->{model}->expected;
	my (%want, %got);
	for my $tenant (values %$want)
	{
		$want{$_} = 1 for keys %{ $tenant->{tags} || {} };
		$want{"$_*"} = 1 for keys %{ $tenant->{prefixes} || {} };
	}
	$got{$_} = 1
	  for @{ $self->{db}
		  ->selectcol_arrayref('SELECT tag FROM clinicache.pending_tags()') };
	my @missing = grep { !$got{$_} } sort keys %want;
	my @extra = grep { !$want{$_} } sort keys %got;
	if (@{ $self->{model}{saved} })
	{
		# While a savepoint is open that collapsed a template, tags from before
		# it are listed beside the prefix: it may yet be rolled back.
		my @prefixes = map { substr $_, 0, -1 } grep { /\*$/ } keys %want;
		@extra = grep {
			my $tag = $_;
			!grep { index($tag, $_) == 0 } @prefixes
		} @extra;
	}
	return unless @missing || @extra;
	$self->record(
		{
			pending => 1, missing => \@missing, extra => \@extra,
			story => $self->{story}
		});
	return;
}

sub record
{
	my ($self, $what) = @_;
	$what->{story} = [ map { substr $_, 0, 500 } @{ $what->{story} } ]
	  if $what->{story};
	print { $self->{out} } $json->encode($what), "\n";
	return;
}

sub settle
{
	my ($self, $how, $xid) = @_;
	$self->{count}{$how}++;
	my $committed = $how =~ /^(commit|prepared)$/;
	$self->record(
		{
			xid => $xid, how => $how, worker => $self->{number},
			($committed ? (want => $self->{model}->expected) : ()),
			story => $self->{story}
		});
	$self->{settled}++ if $committed;
	return;
}

# One transaction; returns false when it was left prepared.
sub transaction
{
	my ($self, $safe) = @_;
	$self->{model}->begin;
	$self->{undo} = [];
	$self->{story} = [];
	$self->run(pick('BEGIN', 'BEGIN', 'BEGIN ISOLATION LEVEL REPEATABLE READ'));
	my $xid = chance(0.5) ? $self->xid : undef;
	$self->steps(0, $safe);
	$self->check_pending if chance(0.1);
	my $dice = rand;
	if ($dice < 0.1)
	{
		$self->st_error($safe) if chance(0.3);
		$self->run('ROLLBACK');
		$self->undo_to(0);
		$self->settle('rollback', $xid);
		return 1;
	}
	$xid = $self->xid unless defined $xid;
	if ($dice < 0.16 && !$safe)
	{
		$self->prepared($xid);
		return 1;
	}
	$self->run('COMMIT');
	$self->settle('commit', $xid);
	return 1;
}

sub prepared
{
	my ($self, $xid) = @_;
	my $gid = "oracle-$self->{number}-" . $self->next_id;
	$self->run("PREPARE TRANSACTION '$gid'");
	my %kept = (
		live => $self->{model}{live}, undo => $self->{undo},
		story => $self->{story});
	# others come and go before it is decided
	$self->transaction(1) while chance(0.4);
	$self->{model}->begin;
	$self->{model}{live} = $kept{live};
	$self->{story} = $kept{story};
	my $commit = chance(0.7);
	$self->run(($commit ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
	$self->{undo} = $kept{undo};
	$self->undo_to(0) unless $commit;
	$self->settle($commit ? 'prepared' : 'rollback prepared', $xid);
	return;
}

# a statement that is its own transaction
sub autocommit
{
	my ($self) = @_;
	$self->{model}->begin;
	$self->{undo} = [];
	$self->{story} = [];
	my $row = $self->new_row('Patient');
	my $sql = 'INSERT INTO "Patient" (' . join(', ', names('Patient')) . ') VALUES '
	  . $self->values_list('Patient', $row)
	  . ' RETURNING pg_current_xact_id()::text';
	push @{ $self->{story} }, $sql;
	my ($xid) = $self->{db}->selectrow_array($sql);
	$self->inserted('Patient', $row);
	$self->settle('commit', $xid);
	return;
}

sub work
{
	my ($self) = @_;
	open $self->{out}, '>', $self->{file} or die "$self->{file}: $!";
	my ($pid) = $self->{db}->selectrow_array('SELECT pg_backend_pid()');
	$self->record({ backend => $pid, worker => $self->{number} });
	while ($self->{settled} < $self->{target})
	{
		my $ok = eval {
			if (chance(0.05)) { $self->autocommit }
			else { $self->transaction }
			1;
		};
		next if $ok;
		# what PostgreSQL itself may ask a client to try again
		if (($self->{db}->state || '') =~ /^40/)
		{
			$self->{db}->do('ROLLBACK');
			$self->undo_to(0);
			$self->settle('retry', undef);
			next;
		}
		$self->record({ died => "$@", story => $self->{story} });
		last;
	}
	# the model's rows, to be compared with the tables'
	$self->record(
		{
			rows => {
				map { $_ => [ values %{ $self->{rows}{$_} } ] }
				  keys %{ $self->{rows} }
			},
			worker => $self->{number}, counts => $self->{count}
		});
	close $self->{out} or die "$self->{file}: $!";
	$self->{db}->disconnect;
	return;
}

1;
