# What the tables of test/sql/include/schemas.psql must emit, written by hand
# from the schema and the vocabulary: which entity a table is, which column
# stands for what, and where what the row lacks is to be had. Shares nothing
# with plan() or look-ups but the templates' texts.
#
#   snapshot() --> rows with what they look up --> expect(before, after)
package SchemaModel;

use strict;
use warnings;
use JSON::PP;

my $json = JSON::PP->new->allow_nonref;

# via: the table, with the same logical column, that a look-up goes through first;
# key: columns that tell rows apart; as: logical column => column, or SQL
# over r in parentheses where it is looked up; cols: column => kind of values.
# kinds: key, word, num, bool, instant, day, clock, pick:a,b  fk:table;
#        a trailing ? allows null
our %TABLE = (
	'web.Clinic' => {
		entity => 'clinic', as => { id => 'id' }, tenant => 'id', fixed => 1,
		ignore => 'updatedAt',
		cols => { id => 'key', name => 'word', updatedAt => 'instant?' }
	},
	'web.User' => {
		entity => 'user', as => { id => 'id' },
		cols => { id => 'key', email => 'word?', clinicId => 'fk:web.Clinic?' }
	},
	'web.Patient' => {
		entity => 'patient', as => { id => 'id', clinic => 'clinicId' },
		tenant => 'clinic', ignore => 'updatedAt',
		cols => {
			id => 'key', clinicId => 'fk:web.Clinic', firstName => 'word?',
			isDeleted => 'bool', updatedAt => 'instant?'
		}
	},
	'web.Doctor' => {
		entity => 'doctor', tenant => 'clinic', ignore => 'updatedAt',
		as => { id => 'id', clinic => 'clinicId', specialty => 'specialty' },
		cols => {
			id => 'key', clinicId => 'fk:web.Clinic',
			specialty => 'pick:Skin,Eyes?', updatedAt => 'instant?'
		}
	},
	'web.Staff' => {
		entity => 'staff', tenant => 'clinic', ignore => 'updatedAt',
		as => { id => 'id', clinic => 'clinicId', department => 'department' },
		cols => {
			id => 'key:int', clinicId => 'fk:web.Clinic',
			department => 'pick:Desk,Lab?', deletedAt => 'instant?',
			updatedAt => 'instant?'
		}
	},
	'web.Service' => {
		entity => 'service', tenant => 'clinic',
		as => { id => 'id', clinic => 'clinicId', category => 'category' },
		cols => {
			id => 'key:int', clinicId => 'fk:web.Clinic', name => 'word?',
			category => 'pick:basic,extra?'
		}
	},
	'web._DoctorToService' => {
		key => [ 'A', 'B' ], tags => [ 'doctor:{A}', 'service:{B}' ],
		as => { A => 'A', B => 'B' },
		cols => { A => 'fk:web.Doctor', B => 'fk:web.Service' }
	},
	'web.Appointment' => {
		entity => 'appointment', tenant => 'clinic', ignore => 'updatedAt',
		as => {
			id => 'id', clinic => 'clinicId', patient => 'patientId',
			doctor => 'doctorId', date => 'date', status => 'status'
		},
		cols => {
			id => 'key', clinicId => 'fk:web.Clinic',
			patientId => 'fk:web.Patient', doctorId => 'fk:web.Doctor?',
			date => 'instant', time => 'clock?',
			status => 'pick:SCHEDULED,CONFIRMED,COMPLETED,CANCELLED,ARCHIVED',
			updatedAt => 'instant?'
		}
	},
	'web.MedicalRecord' => {
		entity => 'medical_record', tenant => 'clinic', ignore => 'updatedAt',
		as => {
			id => 'id', patient => 'patientId',
			clinic =>
			  '(SELECT p."clinicId" FROM web."Patient" p WHERE p.id = r."patientId")'
		},
		via => { clinic => 'web.Patient' },
		cols => {
			id => 'key', patientId => 'fk:web.Patient', notes => 'word?',
			deletedAt => 'instant?', updatedAt => 'instant?'
		}
	},
	'web.VitalSigns' => {
		entity => 'vital_signs',
		as => {
			id => 'id', medical_record => 'medicalId',
			patient =>
			  '(SELECT m."patientId" FROM web."MedicalRecord" m WHERE m.id = r."medicalId")'
		},
		via => { patient => 'web.MedicalRecord' },
		cols => {
			id => 'key:int', medicalId => 'fk:web.MedicalRecord',
			pulse => 'num?'
		}
	},
	'web.LabTest' => {
		entity => 'lab_test', tenant => 'clinic',
		as => {
			id => 'id', medical_record => 'recordId', service => 'serviceId',
			patient =>
			  '(SELECT m."patientId" FROM web."MedicalRecord" m WHERE m.id = r."recordId")',
			clinic =>
			  '(SELECT p."clinicId" FROM web."MedicalRecord" m JOIN web."Patient" p ON p.id = m."patientId" WHERE m.id = r."recordId")'
		},
		via => { clinic => 'web.MedicalRecord', patient => 'web.MedicalRecord' },
		cols => {
			id => 'key:int', recordId => 'fk:web.MedicalRecord',
			serviceId => 'num?', result => 'word?'
		}
	},
	'web.LabTestItem' => {
		own => 'LabTestItem', tenant => 'clinic',
		as => {
			id => 'id',
			clinic =>
			  '(SELECT p."clinicId" FROM web."LabTest" l JOIN web."MedicalRecord" m ON m.id = l."recordId" JOIN web."Patient" p ON p.id = m."patientId" WHERE l.id = r."labTestId")'
		},
		via => { clinic => 'web.LabTest' },
		cols =>
		  { id => 'key:int', labTestId => 'fk:web.LabTest', value => 'word?' }
	},
	'web.Payment' => {
		entity => 'payment', tenant => 'clinic', ignore => 'updatedAt',
		as => {
			id => 'id', patient => 'patientId', status => 'status',
			clinic =>
			  '(SELECT p."clinicId" FROM web."Patient" p WHERE p.id = r."patientId")'
		},
		via => { clinic => 'web.Patient' },
		cols => {
			id => 'key:int', patientId => 'fk:web.Patient', amount => 'num?',
			status => 'pick:PAID,UNPAID,REFUNDED', paymentDate => 'instant?',
			updatedAt => 'instant?'
		}
	},

	'ehr.organizations' => {
		entity => 'clinic', as => { id => 'id' }, tenant => 'id', fixed => 1,
		cols => { id => 'key:uuid', name => 'word?' }
	},
	'ehr.patients' => {
		entity => 'patient', tenant => 'clinic', ignore => 'updated_at',
		key => ['patient_id'],
		as => { id => 'patient_id', clinic => 'organization_id' },
		cols => {
			patient_id => 'key:int', organization_id => 'fk:ehr.organizations?',
			full_name => 'word?', deleted_at => 'instant?',
			updated_at => 'instant?'
		}
	},
	'ehr.doctors' => {
		entity => 'doctor', tenant => 'clinic',
		as => {
			id => 'id', clinic => 'organization_id', specialty => 'specialty',
			status => 'status'
		},
		cols => {
			id => 'key:uuid', organization_id => 'fk:ehr.organizations',
			specialty => 'pick:Skin,Eyes?', status => 'word?'
		}
	},
	'ehr.Staff' => {
		entity => 'staff', tenant => 'clinic',
		as => {
			id => 'id', clinic => 'organization_id',
			department => 'department'
		},
		cols => {
			id => 'key:int', organization_id => 'fk:ehr.organizations',
			department => 'pick:Desk,Lab?'
		}
	},
	'ehr.services' => {
		entity => 'service', tenant => 'clinic',
		as =>
		  { id => 'id', clinic => 'organization_id', category => 'category' },
		cols => {
			id => 'key:int', organization_id => 'fk:ehr.organizations',
			category => 'pick:basic,extra?', is_deleted => 'bool'
		}
	},
	'ehr.doctor_services' => {
		key => [ 'doctor_id', 'service_id' ],
		tags => [ 'doctor:{doctor_id}', 'service:{service_id}' ],
		as => { doctor_id => 'doctor_id', service_id => 'service_id' },
		cols => {
			doctor_id => 'fk:ehr.doctors', service_id => 'fk:ehr.services',
			created_at => 'instant?'
		}
	},
	'ehr.visits' => {
		entity => 'appointment', tenant => 'clinic',
		as => {
			id => 'id', clinic => 'organization_id', patient => 'patient_id',
			doctor => 'doctor_id', date => 'starts_at', status => 'status'
		},
		cols => {
			id => 'key:int', starts_at => 'instant',
			organization_id => 'fk:ehr.organizations',
			patient_id => 'fk:ehr.patients?', doctor_id => 'fk:ehr.doctors?',
			status => 'pick:new,done?'
		}
	},
	'ehr.bookings' => {
		entity => 'appointment', tenant => 'clinic',
		as => {
			id => 'id', clinic => 'organization_id', patient => 'patient_id',
			date => 'start', status => 'status'
		},
		cols => {
			id => 'key:int', organization_id => 'fk:ehr.organizations',
			patient_id => 'fk:ehr.patients?', start => 'instant?',
			status => 'pick:new,done?'
		}
	},
	'ehr.follow_ups' => {
		entity => 'appointment', tenant => 'clinic',
		as => {
			id => 'id', clinic => 'organization_id', patient => 'client_id',
			doctor => 'provider_id', date => 'scheduled_at', status => 'status'
		},
		cols => {
			id => 'key:int', organization_id => 'fk:ehr.organizations?',
			client_id => 'fk:ehr.patients?', provider_id => 'fk:ehr.doctors?',
			scheduled_at => 'instant?', status => 'pick:new,done?'
		}
	},
	'ehr.medical_records' => {
		entity => 'medical_record', tenant => 'clinic', ignore => 'updated_at',
		key => ['medical_record_id'],
		as => {
			id => 'medical_record_id', patient => 'patient_id',
			clinic =>
			  '(SELECT p.organization_id FROM ehr.patients p WHERE p.patient_id = r.patient_id)'
		},
		via => { clinic => 'ehr.patients' },
		cols => {
			medical_record_id => 'key:int', patient_id => 'fk:ehr.patients?',
			summary => 'word?', updated_at => 'instant?'
		}
	},
	'ehr.diagnoses' => {
		entity => 'diagnosis', tenant => 'clinic',
		as => {
			id => 'id', doctor => 'doctor_id',
			medical_record => 'medical_record_id',
			patient =>
			  '(SELECT m.patient_id FROM ehr.medical_records m WHERE m.medical_record_id = r.medical_record_id)',
			clinic =>
			  '(SELECT d.organization_id FROM ehr.doctors d WHERE d.id = r.doctor_id)'
		},
		via => { clinic => 'ehr.doctors', patient => 'ehr.medical_records' },
		cols => {
			id => 'key:uuid', medical_record_id => 'fk:ehr.medical_records?',
			doctor_id => 'fk:ehr.doctors?', code => 'word?'
		}
	},
	'ehr.vital_signs' => {
		entity => 'vital_signs', key => ['vital_sign_id'],
		as => {
			id => 'vital_sign_id', medical_record => 'medical_id',
			patient =>
			  '(SELECT m.patient_id FROM ehr.medical_records m WHERE m.medical_record_id = r.medical_id)',
			# no template of its own has it, but it leads on
			clinic =>
			  '(SELECT p.organization_id FROM ehr.medical_records m JOIN ehr.patients p USING (patient_id) WHERE m.medical_record_id = r.medical_id)'
		},
		via => { clinic => 'ehr.medical_records', patient => 'ehr.medical_records' },
		cols => {
			vital_sign_id => 'key:int', medical_id => 'fk:ehr.medical_records?',
			pulse => 'num?'
		}
	},
	'ehr.vital_readings' => {
		own => 'vital_readings', tenant => 'clinic',
		as => {
			id => 'id',
			clinic =>
			  '(SELECT p.organization_id FROM ehr.vital_signs v JOIN ehr.medical_records m ON m.medical_record_id = v.medical_id JOIN ehr.patients p ON p.patient_id = m.patient_id WHERE v.vital_sign_id = r.vital_sign_id)'
		},
		via => { clinic => 'ehr.vital_signs' },
		cols => {
			id => 'key:int', vital_sign_id => 'fk:ehr.vital_signs?',
			value => 'num?'
		}
	},
	'ehr.room_types' => {
		own => 'room_types', as => { id => 'id' },
		cols => { id => 'key:int', name => 'word?' }
	},
	'ehr.rooms' => {
		own => 'rooms', tenant => 'clinic',
		as => { id => 'id', clinic => 'site' },
		cols => {
			id => 'key:int', site => 'fk:ehr.organizations?', number => 'word?'
		}
	},
	'ehr.room_equipment' => {
		own => 'room_equipment', tenant => 'clinic',
		as => {
			id => 'id',
			clinic => '(SELECT m.site FROM ehr.rooms m WHERE m.id = r.room_id)'
		},
		via => { clinic => 'ehr.rooms' },
		cols => { id => 'key:int', room_id => 'fk:ehr.rooms?', label => 'word?' }
	},
	'ehr.referrals' => {
		own => 'referrals', as => { id => 'id' },
		cols => {
			id => 'key:int', from_doctor => 'fk:ehr.doctors?',
			to_doctor => 'fk:ehr.doctors?', reason => 'word?'
		}
	},
	'ehr.payments' => {
		entity => 'payment', tenant => 'clinic',
		as => {
			id => 'id', clinic => 'organization_id', patient => 'patient_id',
			status => 'status'
		},
		cols => {
			id => 'key:int', organization_id => 'fk:ehr.organizations?',
			patient_id => 'fk:ehr.patients?', amount => 'num?',
			status => 'pick:PAID,UNPAID?', payment_date => 'day?'
		}
	},
	'ehr.growth_standards' => {
		entity => 'growth_standard', key => ['age_days'],
		as => {
			gender => 'gender', type => 'measurement_type', age => 'age_days'
		},
		cols => {
			gender => 'pick:m,f', measurement_type => 'pick:weight,height',
			age_days => 'key:int', p50 => 'num?'
		}
	},
	'ehr.waiting_screen' => {
		own => 'waiting_screen', tenant => 'clinic', key => ['slot'],
		as => { id => 'slot', clinic => 'organization_id' },
		cols => {
			slot => 'key:int', organization_id => 'fk:ehr.organizations?',
			label => 'word?'
		}
	},

	'solo.patients' => {
		entity => 'patient', as => { id => 'id' },
		cols => { id => 'key:int', name => 'word?', born => 'day?' }
	},
	'solo.doctors' => {
		entity => 'doctor', as => { id => 'id' },
		cols => { id => 'key:int', specialization => 'pick:Skin,Eyes?' }
	},
	'solo.appointments' => {
		entity => 'appointment',
		as => {
			id => 'id', patient => 'patient_id', doctor => 'doctor_id',
			date => 'appointment_date', status => 'status'
		},
		cols => {
			id => 'key:int', patient_id => 'fk:solo.patients?',
			doctor_id => 'fk:solo.doctors?', appointment_date => 'day?',
			appointment_time => 'clock?', status => 'pick:new,done?'
		}
	},
	'solo.prescriptions' => {
		entity => 'prescription',
		as =>
		  { id => 'id', patient => 'patient_id', doctor => 'doctor_id' },
		cols => {
			id => 'key:int', patient_id => 'fk:solo.patients?',
			doctor_id => 'fk:solo.doctors?', drug => 'word?'
		}
	},
	'solo.settings' => {
		own => 'settings', key => ['key'], as => { id => 'key' },
		cols => { key => 'key', value => 'word?' }
	});

# {parent}{logical column} = those that look it up there
my %child;

for my $name (keys %TABLE)
{
	my $t = $TABLE{$name};
	push @{ $child{ $t->{via}{$_} }{$_} }, $t for keys %{ $t->{via} || {} };
	my ($schema, $table) = split /\./, $name;
	$t->{name} = $name;
	$t->{rel} = qq($schema."$table");
	$t->{key} ||= ['id'];
	$t->{tags} = [
		"$t->{own}:{id}",
		($t->{tenant} ? "$t->{own}:clinic:{clinic}" : ()),
		"$t->{own}:all" ]
	  if $t->{own};
}

# arguments: db, today (day in UTC)
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {%arg}, $class;
	my %preset = map { $_->[0] => $json->decode($_->[1]) }
	  @{ $self->{db}->selectall_arrayref(
		  'SELECT name, tags::text FROM clinicache.entity') };
	for my $t (values %TABLE)
	{
		my @tags = $t->{entity} ? @{ $preset{ $t->{entity} } } : @{ $t->{tags} };
		$self->{templates}{ $t->{name} } = [
			grep {
				my $tag = $_;
				!grep { !exists $t->{as}{$_} } @{ $tag->{uses} }, $tag->{time} || ()
			} map { template($_) } @tags ];
	}
	$self->{sql} = join "\nUNION ALL\n", map { rows_sql($TABLE{$_}) } sort keys %TABLE;
	return $self;
}

sub template
{
	my ($given) = @_;
	my $tag = ref $given eq 'HASH' ? {%$given}
	  : { tag => ref $given ? $given->[0] : $given };
	$tag->{uses} = [ $tag->{tag} =~ /\{(\w+)/g ];
	$tag->{time} = $tag->{window} ? $tag->{time}[0] : undef;
	return $tag;
}

sub rows_sql
{
	my ($t) = @_;
	my @looked = grep { $t->{as}{$_} =~ /^\(/ } sort keys %{ $t->{as} };
	my $looked = join ', ', map { "'$_', $t->{as}{$_}" } @looked;
	my $key = join " || '/' || ", map { qq(r."$_"::text) } @{ $t->{key} };
	return qq(SELECT '$t->{name}', $key, to_jsonb(r)::text, jsonb_build_object($looked)::text FROM $t->{rel} r);
}

# {table}{key} = [row as text, looked-up values as text]
sub snapshot
{
	my ($self) = @_;
	my %rows;
	$rows{ $_->[0] }{ $_->[1] } = [ @$_[ 2, 3 ] ]
	  for @{ $self->{db}->selectall_arrayref($self->{sql}) };
	return \%rows;
}

# The values that templates name, of one version of a row.
sub values_of
{
	my ($t, $version) = @_;
	my $row = $json->decode($version->[0]);
	my $looked = $json->decode($version->[1]);
	return {
		map {
			my $from = $t->{as}{$_};
			$_ => ($from =~ /^\(/ ? $looked->{$_} : $row->{$from})
		} keys %{ $t->{as} }
	};
}

sub in_window
{
	my ($self, $window, $value) = @_;
	return 0 unless defined $value;
	my $order = substr($value, 0, 10) cmp $self->{today};
	return $window eq 'past' ? $order < 0 : $window eq 'upcoming' ? $order > 0 : 0;
}

# Adds one version's tags, of templates that name one of these columns, or all.
# Tenant * is anybody's.
sub emit
{
	my ($self, $want, $t, $version, $only, $anybody) = @_;
	my $v = values_of($t, $version);
	my $tenant = $anybody ? '*' : $t->{tenant} ? $v->{ $t->{tenant} } : undef;
	for my $tag (@{ $self->{templates}{ $t->{name} } })
	{
		next if $only && !grep { $only->{$_} } @{ $tag->{uses} };
		next if $tag->{window} && !$self->in_window($tag->{window}, $v->{ $tag->{time} });
		next if grep { !defined $v->{$_} } @{ $tag->{uses} };
		my $text = $tag->{tag};
		$text =~ s/\{(\w+)(?:\|(\w+))?\}/
		  !$2 ? $v->{$1} : substr $v->{$1}, 0, $2 eq 'date' ? 10 : 7/ge;
		$want->{$text}{ defined $tenant ? $tenant : '' } = 1;
	}
	return;
}

# A parent that leads elsewhere emits lists of its children, whether it has any:
# as far as they are known from it, those are allowed.
sub allow
{
	my ($self, $may, $t, @versions) = @_;
	my @v = map { values_of($t, $_) } @versions;
	for my $logical (keys %{ $child{ $t->{name} } || {} })
	{
		next if (grep { !defined } map { $_->{$logical} } @v) == 2;
		next if !grep { ($_->{$logical} // '') ne ($v[0]{$logical} // '') } @v;
		for my $c (@{ $child{ $t->{name} }{$logical} })
		{
			for my $tag (@{ $self->{templates}{ $c->{name} } })
			{
				next unless grep { $_ eq $logical } @{ $tag->{uses} };
				for my $v (@v)
				{
					next unless defined $v->{$logical};
					my $text = $tag->{tag};
					$text =~ s/\{$logical\}/$v->{$logical}/g;
					$text =~ s/\{.*/*/;
					$may->{$text} = 1;
				}
			}
			$self->allow($may, $c, map { +[ '{}', $json->encode({ $logical => $_->{$logical} }) ] } @v)
			  if $child{ $c->{name} }{$logical};
		}
	}
	return;
}

# What a statement that led from one snapshot to another must have emitted, in a
# transaction that began at a third. Whose an old row was by look-ups that the
# transaction itself had changed, nobody else has ever seen.
sub expect
{
	my ($self, $want, $may, $begin, $before, $after) = @_;
	for my $name (keys %TABLE)
	{
		my $t = $TABLE{$name};
		my ($was, $is) = map { $_->{$name} || {} } $before, $after;
		for my $key (keys %{ { %$was, %$is } })
		{
			my ($old, $new) = ($was->{$key}, $is->{$key});
			my $unseen = $t->{via} && $old && ($begin->{$name}{$key} || ['', ''])->[1] ne $old->[1];
			if ($old && $new)
			{
				next if $old->[0] eq $new->[0] && $old->[1] eq $new->[1];
				my $only = watched_change($t, $old, $new) ? undef
				  : looked_change($old, $new);
				next if $only && !%$only;
				$self->emit($want, $t, $old, $only, $unseen);
				$self->emit($want, $t, $new, $only);
				$self->allow($may, $t, $old, $new);
			}
			else
			{
				$self->emit($want, $t, $old || $new, undef, $unseen);
			}
		}
	}
	return;
}

sub watched_change
{
	my ($t, $old, $new) = @_;
	return 0 if $old->[0] eq $new->[0];
	return 1 unless $t->{ignore};
	my @rows = map { $json->decode($_->[0]) } $old, $new;
	delete $_->{ $t->{ignore} } for @rows;
	my $canonical = JSON::PP->new->canonical;
	return $canonical->encode($rows[0]) ne $canonical->encode($rows[1]);
}

sub looked_change
{
	my ($old, $new) = @_;
	my ($was, $is) = map { $json->decode($_->[1]) } $old, $new;
	return {
		map { $_ => 1 }
		grep {
			(defined $was->{$_} ? "=$was->{$_}" : '') ne (defined $is->{$_} ? "=$is->{$_}" : '')
		} keys %$was
	};
}

1;
