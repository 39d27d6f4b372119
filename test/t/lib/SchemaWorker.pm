# Random transactions over the tables of SchemaModel: inserts, updates, moves of
# rows and of their parents, cascades, changed keys, soft deletes, savepoints.
package SchemaWorker;

use strict;
use warnings;
use DBI;
use Digest::MD5 qw(md5_hex);
use SchemaModel;

sub pick { return $_[ int rand @_ ] }
sub chance { return rand() < $_[0] }

sub connect_to
{
	my ($dsn) = @_;
	return DBI->connect("dbi:Pg:$dsn", undef, undef,
		{
			AutoCommit => 1, RaiseError => 1, PrintError => 0,
			pg_server_prepare => 0, pg_placeholder_dollaronly => 1
		});
}

# arguments: db, model, seed, target (committed transactions)
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {%arg}, $class;
	srand($self->{seed});
	$self->{next} = 100;
	$self->{$_} = 0 for qw(rolled_back statements);
	$self->{trouble} = '';
	$self->{db}->do("SET TimeZone = 'UTC'");
	# days that lie in one window whatever the time zone
	$self->{days} = $self->{db}->selectcol_arrayref(
		'SELECT (current_date + d)::text FROM unnest(ARRAY[-400, -160, -40, -9, -4, 4, 9, 33, 160]) AS d');
	return $self;
}

# ---- values

sub id
{
	my ($self, $kind) = @_;
	my $n = ++$self->{next};
	return $n if $kind eq 'int';
	my $h = md5_hex($n);
	$h =~ s/^(.{8})(.{4})(.{4})(.{4})/$1-$2-$3-$4-/;
	return $kind eq 'uuid' ? $h : pick("k$n", "K $n");
}

sub keys_of
{
	my ($self, $table) = @_;
	return sort keys %{ $self->{now}{$table} || {} };
}

sub value
{
	my ($self, $kind) = @_;
	return undef if $kind =~ s/\?$// && chance(0.15);
	return $self->id($1 || 'text') if $kind =~ /^key(?::(\w+))?$/;
	if ($kind =~ /^fk:(.*)/)
	{
		my @keys = $self->keys_of($1);
		return @keys ? pick(@keys) : undef;
	}
	return pick(split /,/, $1) if $kind =~ /^pick:(.*)/;
	return pick('a', "it's", 'x:y', '') . int rand 50 if $kind eq 'word';
	return int(rand 90) . '' if $kind eq 'num';
	return pick('t', 'f') if $kind eq 'bool';
	return pick(@{ $self->{days} }) if $kind eq 'day';
	return pick(@{ $self->{days} }) . pick(' 08:30', ' 14:00', ' 23:30') if $kind eq 'instant';
	return pick('08:30', '14:30') if $kind eq 'clock';
	die "no values of kind $kind";
}

sub lit
{
	my ($self, $value) = @_;
	return defined $value ? $self->{db}->quote($value) : 'NULL';
}

sub insert_sql
{
	my ($self, $t) = @_;
	my %row = map { $_ => $self->value($t->{cols}{$_}) } sort keys %{ $t->{cols} };
	# a parent that is needed and not there
	return undef if grep { !defined $row{$_} && $t->{cols}{$_} !~ /\?$/ } keys %row;
	my @cols = sort keys %row;
	return "INSERT INTO $t->{rel} (" . join(', ', map { qq("$_") } @cols) . ') VALUES ('
	  . join(', ', map { $self->lit($row{$_}) } @cols) . ') ON CONFLICT DO NOTHING';
}

sub where
{
	my ($self, $t, @keys) = @_;
	my $key = join " || '/' || ", map { qq("$_"::text) } @{ $t->{key} };
	return "$key IN (" . join(', ', map { $self->lit($_) } @keys) . ')';
}

# ---- statements

sub any_table { return $SchemaModel::TABLE{ pick(sort keys %SchemaModel::TABLE) } }

sub some_keys
{
	my ($self, $t, $n) = @_;
	my @keys = $self->keys_of($t->{name}) or return;
	my %some = map { pick(@keys) => 1 } 1 .. $n;
	return sort keys %some;
}

sub update_sql
{
	my ($self, $t, $columns, @keys) = @_;
	return undef unless @keys && @$columns;
	my %set = map { $_ => $self->value($t->{cols}{$_}) } @$columns;
	delete @set{ grep { !defined $set{$_} && $t->{cols}{$_} !~ /\?$/ } keys %set };
	return undef unless %set;
	return "UPDATE $t->{rel} SET " . join(', ', map { qq("$_" = ) . $self->lit($set{$_}) } sort keys %set)
	  . ' WHERE ' . $self->where($t, @keys);
}

sub st_update
{
	my ($self) = @_;
	my $t = any_table();
	my @cols = grep { $t->{cols}{$_} !~ /^key/ } sort keys %{ $t->{cols} };
	@cols = $t->{ignore} if $t->{ignore} && chance(0.1);
	return $self->update_sql($t, [ map { pick(@cols) } 1 .. 1 + int rand 2 ], $self->some_keys($t, 1 + int rand 3));
}

# a row that others look up leads elsewhere
sub st_move
{
	my ($self) = @_;
	my ($table, $column) = @{ pick(
		[ 'web.Patient', 'clinicId' ], [ 'web.Patient', 'clinicId' ], [ 'web.MedicalRecord', 'patientId' ],
		[ 'web.LabTest', 'recordId' ], [ 'ehr.patients', 'organization_id' ], [ 'ehr.patients', 'organization_id' ],
		[ 'ehr.medical_records', 'patient_id' ], [ 'ehr.vital_signs', 'medical_id' ], [ 'ehr.doctors', 'organization_id' ],
		[ 'ehr.rooms', 'site' ]) };
	my $t = $SchemaModel::TABLE{$table};
	return $self->update_sql($t, [$column], $self->some_keys($t, 1 + int rand 2));
}

# parent and child in one statement
sub st_move_both
{
	my ($self) = @_;
	my ($p, $c) = map { $SchemaModel::TABLE{$_} } 'web.Patient', pick('web.MedicalRecord', 'web.Payment', 'web.LabTest');
	my $first = $self->update_sql($p, ['clinicId'], $self->some_keys($p, 1)) or return;
	my $col = { 'web.MedicalRecord' => 'notes', 'web.Payment' => 'amount', 'web.LabTest' => 'result' }->{ $c->{name} };
	my $second = chance(0.7) ? $self->update_sql($c, [$col], $self->some_keys($c, 3))
	  : "DELETE FROM $c->{rel} WHERE " . $self->where($c, $self->some_keys($c, 1));
	return $second && $second !~ /IN \(\)/ ? "WITH p AS ($first) $second" : $first;
}

sub st_rekey
{
	my ($self) = @_;
	my $t = $SchemaModel::TABLE{ pick('web.Patient', 'web.MedicalRecord', 'ehr.patients', 'ehr.doctors', 'ehr.medical_records', 'web.Clinic') };
	return $self->update_sql($t, [ $t->{key}[0] ], $self->some_keys($t, 1));
}

sub st_delete
{
	my ($self) = @_;
	my $t = any_table();
	return undef if $t->{fixed};
	my @keys = $self->some_keys($t, 1 + int rand 2) or return undef;
	return "DELETE FROM $t->{rel} WHERE " . $self->where($t, @keys);
}

sub statement
{
	my ($self) = @_;
	my $dice = rand 100;
	my $sql;
	if ($dice < 30)
	{
		my $t = any_table();
		$sql = $t->{fixed} || $self->keys_of($t->{name}) > 25 ? $self->st_delete : $self->insert_sql($t);
	}
	elsif ($dice < 60) { $sql = $self->st_update }
	elsif ($dice < 78) { $sql = $self->st_move }
	elsif ($dice < 83) { $sql = $self->st_move_both }
	elsif ($dice < 87) { $sql = $self->st_rekey }
	else { $sql = $self->st_delete }
	$self->run($sql) if $sql;
	return;
}

# Runs a statement, looks at all rows, and notes what it must have emitted.
sub run
{
	my ($self, $sql) = @_;
	push @{ $self->{story} }, $sql;
	$self->{db}->do($sql);
	$self->{statements}++;
	my $after = $self->{model}->snapshot;
	$self->{model}->expect($self->{want}, $self->{may}, $self->{before}, $self->{now}, $after);
	$self->{now} = $after;
	return;
}

# ---- transactions

sub copy_of { return { map { $_ => { %{ $_[0]{$_} } } } keys %{ $_[0] } } }

sub nested
{
	my ($self) = @_;
	my $db = $self->{db};
	my $name = 's' . ++$self->{next};
	my ($now, $want, $may) = ($self->{now}, copy_of($self->{want}), { %{ $self->{may} } });
	push @{ $self->{story} }, "SAVEPOINT $name";
	$db->do("SAVEPOINT $name");
	$self->steps(1);
	if (chance(0.5))
	{
		push @{ $self->{story} }, "ROLLBACK TO $name";
		$db->do("ROLLBACK TO $name");
		@$self{qw(now want may)} = ($now, $want, $may);
	}
	return;
}

sub steps
{
	my ($self, $depth) = @_;
	for (1 .. 1 + int rand 3)
	{
		if (!$depth && chance(0.2)) { $self->nested }
		else { $self->statement }
	}
	return;
}

sub transaction
{
	my ($self) = @_;
	my $db = $self->{db};
	my $before = $self->{before} = $self->{now};
	@$self{qw(want may story)} = ({}, {}, []);
	$db->do('BEGIN');
	$self->steps(0);
	if (chance(0.08))
	{
		$db->do('ROLLBACK');
		$self->{now} = $before;
		$self->{rolled_back}++;
		return;
	}
	my ($xid) = $db->selectrow_array('SELECT pg_current_xact_id()::text');
	$db->do('COMMIT');
	push @{ $self->{runs} }, { xid => $xid, map { $_ => $self->{$_} } qw(want may story) };
	return;
}

# Rows to begin with: parents before children.
sub fill
{
	my ($self) = @_;
	my @tables = qw(web.Clinic web.User web.Patient web.Doctor web.Staff web.Service web._DoctorToService web.Appointment web.MedicalRecord
	  web.VitalSigns web.LabTest web.LabTestItem web.Payment ehr.organizations ehr.patients ehr.doctors ehr.Staff ehr.services
	  ehr.doctor_services ehr.visits ehr.bookings ehr.follow_ups ehr.medical_records ehr.diagnoses ehr.vital_signs ehr.vital_readings
	  ehr.room_types ehr.rooms ehr.room_equipment ehr.referrals ehr.payments ehr.growth_standards ehr.waiting_screen
	  solo.patients solo.doctors solo.appointments solo.prescriptions solo.settings);
	$self->{now} = $self->{model}->snapshot;
	for my $t (map { $SchemaModel::TABLE{$_} } @tables)
	{
		$self->{db}->do($self->insert_sql($t)) for 1 .. $t->{fixed} ? 4 : 12;
		$self->{now} = $self->{model}->snapshot;
	}
	($self->{first_xid}) = $self->{db}->selectrow_array('SELECT pg_current_xact_id()::text');
	return;
}

sub work
{
	my ($self) = @_;
	$self->fill;
	$self->{runs} = [];
	while (@{ $self->{runs} } < $self->{target})
	{
		$self->{db}->do('SET clinicache.bulk_threshold = ' . pick(1000, 1000, 1000, 5)) if chance(0.05);
		next if eval { $self->transaction; 1 };
		# two rows of a join table may become one: that is refused
		if (($self->{db}->state || '') =~ /^23/)
		{
			$self->{db}->do('ROLLBACK');
			$self->{now} = $self->{before};
			$self->{rolled_back}++;
			next;
		}
		$self->{trouble} = $@ . join "\n", @{ $self->{story} };
		last;
	}
	return $self->{runs};
}

1;
