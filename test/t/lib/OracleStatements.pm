# Random statements of the oracle test. Each runs in the session's transaction
# and, when it has succeeded, is told to the model row by row.
package OracleStatements;

use strict;
use warnings;
use utf8;
use OracleModel;
use OracleRows qw(pick chance names);

our @ISA = ('OracleRows');

sub pick_table
{
	return pick(
		qw(Patient Patient Patient Appointment Appointment Appointment
		  Appointment lab_result lab_result visit visit Doctor drug Note));
}

sub existing
{
	my ($self, $table, $n) = @_;
	my %rows;
	for (1 .. $n)
	{
		my $row = $self->any_row($table) or last;
		$rows{ $self->row_key($table, $row) } = $row;
	}
	return map { $rows{$_} } sort keys %rows;
}

sub st_insert
{
	my ($self, $table, $n) = @_;
	my @rows = map { $self->new_row($table) } 1 .. $n || 1 + int rand 4;
	$self->run('INSERT INTO '
		  . $self->rel($table) . ' ('
		  . join(', ', names($table))
		  . ")\nVALUES "
		  . $self->values_list($table, @rows));
	$self->inserted($table, $_) for @rows;
	return;
}

sub st_copy
{
	my ($self, $table, $n) = @_;
	my @rows = map { $self->new_row($table) } 1 .. $n || 1 + int rand 9;
	my $t = $OracleModel::TABLE{$table};
	$self->run('COPY '
		  . $self->rel($table) . ' ('
		  . join(', ', names($table))
		  . ') FROM STDIN');
	my %escape = ("\\" => '\\\\', "\n" => '\\n', "\t" => '\\t');
	for my $row (@rows)
	{
		my @out;
		for my $c (@{ $t->{cols} })
		{
			my $v = $row->{ $c->[0] };
			if (!defined $v) { push @out, '\\N'; next }
			$v .= '+00' if $c->[1] eq 'timestamptz';
			$v =~ s/([\\\n\t])/$escape{$1}/g;
			push @out, $v;
		}
		$self->{db}->pg_putcopydata(join("\t", @out) . "\n");
	}
	$self->{db}->pg_putcopyend;
	$self->inserted($table, $_) for @rows;
	return;
}

sub st_update
{
	my ($self, $table, $n) = @_;
	my @rows = $self->existing($table, $n || 1 + int rand 4);
	return unless @rows;
	my $set = $self->new_values($table);
	if (chance(0.15))
	{
		# nothing changes, or nothing that is watched
		$set = { %{ $rows[0] } };
		delete @$set{ @{ $OracleModel::TABLE{$table}{key} } };
		$set->{updatedAt} = $self->value($table, 'updatedAt')
		  if exists $set->{updatedAt};
		@rows = ($rows[0]);
	}
	$self->run('UPDATE '
		  . $self->rel($table) . ' SET '
		  . join(', ',
			map { qq("$_" = ) . $self->lit($table, $_, $set->{$_}) }
			  sort keys %$set)
		  . ' WHERE '
		  . $self->where($table, @rows));
	$self->updated($table, $_, { %$_, %$set }) for @rows;
	return;
}

# a value of its own for each row, by a join
sub st_update_from
{
	my ($self, $table, $n) = @_;
	my @rows = $self->existing($table, $n || 1 + int rand 6) or return;
	my @set = sort keys %{ $self->new_values($table) };
	my @new = map {
		my $row = $_;
		+{
			%$row,
			map { $_ => $self->value($table, $_, $self->next_id) } @set
		}
	} @rows;
	$self->run('UPDATE '
		  . $self->rel($table)
		  . ' t SET '
		  . join(', ', map { qq("$_" = s."$_") } @set)
		  . "\nFROM (VALUES "
		  . $self->values_list($table, @new)
		  . ') s('
		  . join(', ', names($table))
		  . ') WHERE '
		  . $self->same_key($table));
	$self->updated($table, $rows[$_], $new[$_]) for 0 .. $#rows;
	return;
}

sub same_key
{
	my ($self, $table) = @_;
	return join ' AND ', map { qq(t."$_" = s."$_") }
	  @{ $OracleModel::TABLE{$table}{key} };
}

sub st_delete
{
	my ($self, $table, $n) = @_;
	my @rows = $self->existing($table, $n || 1 + int rand 2) or return;
	$self->run('DELETE FROM '
		  . $self->rel($table)
		  . ' WHERE '
		  . $self->where($table, @rows));
	$self->deleted($table, $_) for @rows;
	return;
}

sub st_upsert
{
	my ($self, $table) = @_;
	my @old = $self->existing($table, int rand 3);
	my @set = sort keys %{ $self->new_values($table) };
	my @fresh = map { $self->new_row($table) } 0 .. int rand 3;
	my $nothing = chance(0.2);
	my @key = @{ $OracleModel::TABLE{$table}{key} };
	my @rows;
	for my $old (@old)
	{
		my $row = $self->new_row($table);
		@$row{@key} = @$old{@key};
		push @rows, $row;
	}
	$self->run('INSERT INTO '
		  . $self->rel($table) . ' ('
		  . join(', ', names($table))
		  . ")\nVALUES "
		  . $self->values_list($table, @rows, @fresh)
		  . "\nON CONFLICT ("
		  . join(', ', map { qq("$_") } @{ $OracleModel::TABLE{$table}{key} })
		  . ') DO '
		  . ($nothing ? 'NOTHING'
			: 'UPDATE SET '
			  . join(', ', map { qq("$_" = EXCLUDED."$_") } @set)));
	if (!$nothing)
	{
		for my $i (0 .. $#old)
		{
			$self->updated($table, $old[$i],
				{ %{ $old[$i] }, map { $_ => $rows[$i]{$_} } @set });
		}
	}
	$self->inserted($table, $_) for @fresh;
	return;
}

sub st_merge
{
	my ($self, $table) = @_;
	my @old = $self->existing($table, 2 + int rand 3);
	my @fresh = map { $self->new_row($table) } 0 .. int rand 3;
	my $set = $self->new_values($table);
	my @gone = splice @old, 0, int(@old / 2);
	my $mark = sub {
		my ($do, @rows) = @_;
		return map {
			my $v = $self->values_list($table, $_);
			$v =~ s/\)\z/, '$do')/;
			$v
		} @rows;
	};
	my @cols = names($table);
	$self->run('MERGE INTO '
		  . $self->rel($table)
		  . " t\nUSING (VALUES "
		  . join(",\n", $mark->('d', @gone), $mark->('u', @old),
			$mark->('i', @fresh))
		  . ') s('
		  . join(', ', @cols)
		  . ', what) ON '
		  . $self->same_key($table)
		  . "\nWHEN MATCHED AND s.what = 'd' THEN DELETE"
		  . "\nWHEN MATCHED THEN UPDATE SET "
		  . join(', ',
			map { qq("$_" = ) . $self->lit($table, $_, $set->{$_}) }
			  sort keys %$set)
		  . "\nWHEN NOT MATCHED THEN INSERT ("
		  . join(', ', @cols)
		  . ') VALUES ('
		  . join(', ', map { "s.$_" } @cols)
		  . ')');
	# a deleted row's cascades reach what the same statement updates later,
	# but only in other tables: no conflict within this one
	$self->deleted($table, $_) for @gone;
	$self->updated($table, $_, { %$_, %$set }) for @old;
	$self->inserted($table, $_) for @fresh;
	return;
}

# a patient and the appointments that go along to another clinic
sub st_move
{
	my ($self) = @_;
	my $patient = $self->any_row('Patient') or return;
	my $to = pick(@{ $self->{clinics} });
	my $quoted = $self->{db}->quote($to);
	$self->run(qq(WITH p AS (UPDATE "Patient" SET "clinicId" = $quoted
  WHERE id = $patient->{id} RETURNING id)
UPDATE "Appointment" a SET "clinicId" = $quoted FROM p
WHERE a."patientId" = p.id));
	$self->updated('Patient', $patient, { %$patient, clinicId => $to });
	$self->updated('Appointment', $_, { %$_, clinicId => $to })
	  for $self->children('Appointment', 'patientId', $patient->{id});
	return;
}

sub st_move_partition
{
	my ($self) = @_;
	my @rows = $self->existing('visit', 1 + int rand 3) or return;
	my $to = $self->value('visit', 'region');
	my %seen;
	# the key is (visit_id, region): no two of them may meet
	@rows = grep { !$seen{ $_->{visit_id} }++ } @rows;
	$self->run(qq(UPDATE visit SET region = '$to' WHERE )
		  . $self->where('visit', @rows));
	$self->updated('visit', $_, { %$_, region => $to }) for @rows;
	return;
}

# the children's key follows, ON UPDATE CASCADE
sub st_rekey
{
	my ($self) = @_;
	my $patient = $self->any_row('Patient') or return;
	my $id = $self->next_id;
	$self->run(qq(UPDATE "Patient" SET id = $id WHERE id = $patient->{id}));
	$self->updated('Patient', $patient, { %$patient, id => $id });
	return;
}

# born, changed and gone again within one transaction
sub st_short_life
{
	my ($self, $table) = @_;
	$self->st_insert($table, 1);
	my ($key) = grep { $self->{rows}{$table}{$_} } $self->{undo}[-1][1];
	my $row = $self->{rows}{$table}{$key};
	my $where = $self->where($table, $row);
	my $set = $self->new_values($table);
	my $new = { %$row, %$set };
	$self->run('UPDATE '
		  . $self->rel($table) . ' SET '
		  . join(', ',
			map { qq("$_" = ) . $self->lit($table, $_, $set->{$_}) }
			  sort keys %$set)
		  . " WHERE $where");
	$self->updated($table, $row, $new);
	$self->run('DELETE FROM ' . $self->rel($table) . " WHERE $where");
	$self->deleted($table, $new);
	return;
}

sub st_bulk
{
	my ($self) = @_;
	my $threshold = $self->{model}{threshold};
	my $n = pick($threshold - 2, $threshold, $threshold + 1, $threshold + 20);
	my $table = pick(qw(Patient Appointment lab_result visit drug Note));
	my $what = pick(qw(insert copy update update_from delete));
	return $self->st_insert($table, $n) if $what eq 'insert';
	return $self->st_copy($table, $n) if $what eq 'copy';
	return $self->st_update($table, 2 * $n) if $what eq 'update';
	return $self->st_update_from($table, 2 * $n) if $what eq 'update_from';
	return $self->st_delete($table, $n) if keys %{ $self->{rows}{$table} } > 250;
	return $self->st_insert($table, $n);
}

sub st_clinic
{
	my ($self) = @_;
	my $row = $self->any_row('Clinic') or return;
	my $new = { %$row, name => $self->value('Clinic', 'name') };
	$self->run('UPDATE "Clinic" SET name = '
		  . $self->lit('Clinic', 'name', $new->{name})
		  . ' WHERE '
		  . $self->where('Clinic', $row));
	$self->updated('Clinic', $row, $new);
	return;
}

sub st_truncate
{
	my ($self) = @_;
	$self->run('TRUNCATE ' . $self->rel('Note'));
	$self->{model}->truncate_table('Note');
	$self->set_row('Note', $_, undef)
	  for sort keys %{ $self->{rows}{Note} || {} };
	return;
}

sub st_by_hand
{
	my ($self) = @_;
	my $tenant = chance(0.5) ? undef : pick(@{ $self->{clinics} });
	my $t = defined $tenant ? "'$tenant'" : 'NULL';
	if (chance(0.7))
	{
		my @tags = map { 'hand:' . int rand 1000 } 0 .. int rand 3;
		$self->run('SELECT clinicache.invalidate(ARRAY['
			  . join(',', map { "'$_'" } @tags)
			  . "], $t, 'oracle')");
		$self->{model}->add_tag("\x{1}hand", $tenant, $_, 'default') for @tags;
	}
	else
	{
		$self->run("SELECT clinicache.invalidate_prefix('lab:', $t)");
		$self->{model}->add_prefix($tenant, 'lab:');
	}
	return;
}

# a subtransaction of PL/pgSQL that fails after it has changed rows
sub st_exception
{
	my ($self) = @_;
	my $patient = $self->any_row('Patient') or return;
	my @rows = map { $self->new_row('Patient') } 0 .. 2;
	my $list = join ', ', names('Patient');
	my $kept = $self->values_list('Patient', $rows[0]);
	my $lost = $self->values_list('Patient', @rows[ 1, 2 ]);
	$self->run(qq(DO \$do\$ BEGIN
  INSERT INTO "Patient" ($list) VALUES $kept;
  BEGIN
    INSERT INTO "Patient" ($list) VALUES $lost;
    DELETE FROM "Patient" WHERE id = $patient->{id};
    PERFORM 1 / 0;
  EXCEPTION WHEN division_by_zero THEN
    UPDATE "Patient" SET badge = 'saved' WHERE id = $patient->{id};
  END;
END \$do\$));
	$self->inserted('Patient', $rows[0]);
	$self->updated('Patient', $patient, { %$patient, badge => 'saved' });
	return;
}

# fails on purpose; the caller rolls back
sub st_error
{
	my ($self, $safe) = @_;
	my $patient = $self->any_row('Patient');
	my $appointment = $self->any_row('Appointment');
	my @rows = map { $self->new_row('Patient') } 0 .. 3;
	$rows[3]{id} = $patient ? $patient->{id} : $rows[0]{id};
	my $sql = $safe ? 'SELECT 1 / 0' : pick(
		'INSERT INTO "Patient" ('
		  . join(', ', names('Patient'))
		  . ') VALUES '
		  . $self->values_list('Patient', @rows),
		$appointment
		? q(UPDATE "Appointment" SET "clinicId" = 'nowhere' WHERE )
		  . $self->where('Appointment', $appointment)
		: (),
		'SELECT 1 / 0');
	return !eval { $self->run($sql); 1 };
}

# $safe: touch no row that a transaction left prepared may have locked
sub statement
{
	my ($self, $safe) = @_;
	if ($safe)
	{
		my $table = pick(qw(drug Doctor));
		return chance(0.5) ? $self->st_copy($table) : $self->st_insert($table);
	}
	my $table = pick_table();
	my $n = keys %{ $self->{rows}{$table} || {} };
	my $dice = rand 100;
	return $self->st_delete($table, 1 + int rand 20) if $n > 300 && $dice < 60;
	return $self->st_insert($table) if $n < 5 || $dice < 18;
	return $self->st_update($table) if $dice < 42;
	return $self->st_update_from($table) if $dice < 48;
	return $self->st_delete($table) if $dice < 58;
	return $self->st_upsert($table) if $dice < 65;
	return $self->st_merge($table) if $dice < 72;
	return $self->st_copy($table) if $dice < 76;
	return $self->st_move if $dice < 80;
	return $self->st_move_partition if $dice < 84;
	return $self->st_rekey if $dice < 86;
	return $self->st_short_life($table) if $dice < 89;
	return $self->st_bulk if $dice < 93;
	return $self->st_clinic if $dice < 95;
	return $self->st_by_hand if $dice < 97;
	return $self->st_truncate if $dice < 98;
	return $self->st_exception;
}

1;
