# The rows of one session of the oracle test: what it believes the tables hold,
# random values for new ones, and their text in SQL.
package OracleRows;

use strict;
use warnings;
use utf8;
use Digest::MD5 qw(md5_hex);
use Exporter qw(import);
use OracleModel;

our @EXPORT_OK = qw(pick chance names uuid first_id);

sub pick { return $_[ int rand @_ ] }
sub chance { return rand() < $_[0] }

# ---- rows, with an undo list for savepoints

sub row_key
{
	my ($self, $table, $row) = @_;
	return join '/', map { $row->{$_} } @{ $OracleModel::TABLE{$table}{key} };
}

sub set_row
{
	my ($self, $table, $key, $row) = @_;
	my $rows = $self->{rows}{$table} ||= {};
	push @{ $self->{undo} }, [ $table, $key, $rows->{$key} ];
	if ($row) { $rows->{$key} = $row }
	else { delete $rows->{$key} }
	return;
}

sub undo_to
{
	my ($self, $mark) = @_;
	my $undo = $self->{undo};
	while (@$undo > $mark)
	{
		my ($table, $key, $row) = @{ pop @$undo };
		if ($row) { $self->{rows}{$table}{$key} = $row }
		else { delete $self->{rows}{$table}{$key} }
	}
	return;
}

sub inserted
{
	my ($self, $table, $row) = @_;
	$self->{model}->emit($table, undef, $row);
	$self->set_row($table, $self->row_key($table, $row), $row);
	return;
}

# the columns by which other tables refer to a row, and what then happens
my %CHILD = (
	Patient => [
		[ 'Appointment', 'patientId', 'cascade' ],
		[ 'visit', 'patient_id', 'cascade' ],
		[ 'lab_result', 'patient_id', 'set null' ]
	],
	Doctor => [ [ 'Appointment', 'doctorId', 'set null' ] ]);

sub children
{
	my ($self, $table, $col, $id) = @_;
	my $rows = $self->{rows}{$table} || {};
	return map { $rows->{$_} }
	  grep { defined $rows->{$_}{$col} && $rows->{$_}{$col} eq $id }
	  sort keys %$rows;
}

sub updated
{
	my ($self, $table, $old, $new) = @_;
	$self->{model}->emit($table, $old, $new);
	my ($k1, $k2) = ($self->row_key($table, $old), $self->row_key($table, $new));
	$self->set_row($table, $k1, undef) if $k1 ne $k2;
	$self->set_row($table, $k2, $new);
	return if $k1 eq $k2;
	for my $child (@{ $CHILD{$table} || [] })
	{
		my ($t, $col) = @$child;
		$self->updated($t, $_, { %$_, $col => $new->{id} })
		  for $self->children($t, $col, $old->{id});
	}
	return;
}

sub deleted
{
	my ($self, $table, $old) = @_;
	$self->{model}->emit($table, $old, undef);
	$self->set_row($table, $self->row_key($table, $old), undef);
	for my $child (@{ $CHILD{$table} || [] })
	{
		my ($t, $col, $action) = @$child;
		for my $row ($self->children($t, $col, $old->{id}))
		{
			if ($action eq 'cascade') { $self->deleted($t, $row) }
			else { $self->updated($t, $row, { %$row, $col => undef }) }
		}
	}
	return;
}

# ---- random values

my @NASTY = (
	'plain', '', 'quo"te\\back', "line\nbreak\ttab", '{id}', 'star*',
	'Überweisung für Zoë', "it's", 'x' x 300, 'ü' x 250 . 'end', '名前' x 130,
	'☕' x 40, 'a:b:c', '$$', 'NULL', '%s %d', '\\N');

# ids below the first hundred of a session are those of its seeded rows
sub first_id { return 1_000_000 * ($_[0] + 1) + 100 }
sub next_id { return $_[0]{next}++ }

sub any_row
{
	my ($self, $table) = @_;
	my @keys = sort keys %{ $self->{rows}{$table} || {} };
	return @keys ? $self->{rows}{$table}{ pick(@keys) } : undef;
}

sub value
{
	my ($self, $table, $col, $id) = @_;
	my $clock = $self->{model}{clock};
	if ($col =~ /^(clinicId|clinic_id)$/)
	{
		return undef if $col eq 'clinic_id' && chance(0.1);
		return pick(@{ $self->{clinics} });
	}
	return chance(0.15) ? undef : "P$id" . pick('', '@Example.ORG', 'q')
	  if $col eq 'email';
	return chance(0.2) ? undef : pick(@{ $clock->{dates} })
	  if $col eq 'birthDate' || $col eq 'due';
	return chance(0.3) ? undef : pick(@NASTY) . (chance(0.3) ? $id : '')
	  if $col eq 'note' || $col eq 'body';
	return pick('t', 'f') if $col eq 'isDeleted';
	return pick(@{ $clock->{instants} }) if $col eq 'updatedAt';
	return chance(0.1) ? undef : pick(@{ $clock->{instants} })
	  if $col eq 'date' || $col eq 'taken';
	return pick(@{ $clock->{local} }) if $col eq 'visited';
	return pick('08:30', '14:30', '23:59') if $col eq 'visit_time';
	return pick(qw(north south east east far away)) if $col eq 'region';
	return pick(qw(SCHEDULED CONFIRMED CANCELLED ARCHIVED)) if $col eq 'status';
	return chance(0.5) ? undef : 'Room ' . int rand 9 if $col eq 'room';
	return chance(0.5) ? undef : pick('A', 'a') . int rand 70
	  if $col eq 'badge';
	return pick('Dental', 'DENTAL', 'Skin', "Kids'") if $col eq 'specialty';
	return int(rand 90) . '.' . (10 + int rand 90)
	  if $col eq 'value' || $col eq 'fee';
	return chance(0.5) ? undef : "guest$id" if $col eq 'guest_id';
	return pick(@NASTY) if $col =~ /^(remark|label|name)$/;

	if ($col =~ /^(patientId|patient_id)$/)
	{
		return undef if chance($col eq 'patientId' ? 0.05 : 0.3);
		my $patient = $self->any_row('Patient');
		return $patient && $patient->{id};
	}
	if ($col eq 'doctorId')
	{
		my $doctor = chance(0.2) ? undef : $self->any_row('Doctor');
		return $doctor && $doctor->{id};
	}
	die "no values for $table.$col";
}

sub new_row
{
	my ($self, $table) = @_;
	my $t = $OracleModel::TABLE{$table};
	my $id = $self->next_id;
	my %row;
	for my $c (@{ $t->{cols} })
	{
		my ($col, $type) = @$c;
		$row{$col} =
			$col eq $t->{key}[0]
		  ? ($type eq 'int' ? $id
			: $type eq 'uuid' ? uuid($id)
			: chance(0.5) ? "k$id"
			: "K $id/é")
		  : $self->value($table, $col, $id);
	}
	return \%row;
}

sub uuid
{
	my $h = md5_hex($_[0]);
	$h =~ s/^(.{8})(.{4})(.{4})(.{4})/$1-$2-$3-$4-/;
	return $h;
}

# values for some columns that are neither key nor partition key
sub new_values
{
	my ($self, $table, $max) = @_;
	my $t = $OracleModel::TABLE{$table};
	my %key = map { $_ => 1 } @{ $t->{key} };
	my @cols = grep { !$key{$_} } map { $_->[0] } @{ $t->{cols} };
	my %set;
	$set{$_} = $self->value($table, $_, $self->next_id)
	  for map { pick(@cols) } 1 .. 1 + int rand($max || 3);
	return \%set;
}

# ---- SQL text

sub sql_type
{
	my ($type) = @_;
	return $type eq 'utc' || $type eq 'local' ? 'timestamp(3)' : $type;
}

sub lit
{
	my ($self, $table, $col, $value) = @_;
	my $type = $OracleModel::TABLE{$table}{type}{$col};
	return 'NULL::' . sql_type($type) unless defined $value;
	$value .= '+00' if $type eq 'timestamptz';
	return $self->{db}->quote($value) . '::' . sql_type($type);
}

sub rel
{
	my ($self, $table) = @_;
	return $table eq 'Note'
	  ? qq("Note_$self->{number}")
	  : $OracleModel::TABLE{$table}{rel};
}

sub names { return map { qq("$_->[0]") } @{ $OracleModel::TABLE{ $_[0] }{cols} } }

sub values_list
{
	my ($self, $table, @rows) = @_;
	my @cols = map { $_->[0] } @{ $OracleModel::TABLE{$table}{cols} };
	return join ",\n", map {
		my $row = $_;
		'(' . join(', ', map { $self->lit($table, $_, $row->{$_}) } @cols) . ')'
	} @rows;
}

sub where
{
	my ($self, $table, @rows) = @_;
	my @key = @{ $OracleModel::TABLE{$table}{key} };
	return
		'('
	  . join(', ', map { qq("$_") } @key) . ') IN ('
	  . join(
		', ',
		map {
			my $row = $_;
			'('
			  . join(', ', map { $self->lit($table, $_, $row->{$_}) } @key)
			  . ')'
		} @rows) . ')';
}

sub run
{
	my ($self, $sql) = @_;
	push @{ $self->{story} }, $sql;
	return $self->{db}->do($sql);
}

1;
