# Random statements of one session of the counter tests.  Each session changes
# rows of its own ("owner") only, so that sessions never wait for each other's
# rows; clinics, doctors, counters and the log they share.
package CounterStatements;

use strict;
use warnings;
use utf8;
use CounterTables qw(pick chance literal @CLINICS);

# columns but id and owner, as an expression that is random for each row it is
# computed for; "$" stands for a random number below 1
my $clinic = '(ARRAY[' . join(',', map { literal($_) } @CLINICS) . '])[1 + floor($ * ' . @CLINICS . ')]';
my $instant = q((timestamp '2026-02-01 00:30' + floor($ * 2500) * interval '1 hour'));
my $maybe = sub { my ($share, $value) = @_; return "CASE WHEN \$ > $share THEN $value END" };
my %columns = (
	'"Appointment"' => {
		'"clinicId"' => $clinic,
		'"doctorId"' => $maybe->(0.1, q('d' || floor($ * 12))),
		'"patientId"' => $maybe->(0.1, q('p' || floor($ * 60))),
		date => $maybe->(0.05, $instant),
		status => q((enum_range(NULL::"AppointmentStatus"))[1 + floor($ * 5)]),
		fee => $maybe->(0.2, 'round(($ * 1000)::numeric, 3)'),
		'"isDeleted"' => '$ < 0.2',
		notes => q(md5($::text))
	},
	payments => {
		clinic_id => $maybe->(0.03, $clinic),
		patient_id => $maybe->(0.05, 'floor($ * 60)::int'),
		status => $maybe->(0.2, q((ARRAY['paid', 'PAID', 'par-tial', 'REFUNDED'])[1 + floor($ * 4)])),
		amount => q(CASE WHEN $ < 0.02 THEN 'NaN' WHEN $ < 0.02 THEN 'Infinity' WHEN $ < 0.01 THEN '-Infinity'
			WHEN $ < 0.9 THEN round(($ * 2000 - 300)::numeric, (1 + $ * 8)::int) END),
		payment_date => q(CASE WHEN $ < 0.01 THEN 'infinity' WHEN $ < 0.01 THEN '-infinity' WHEN $ < 0.95 THEN )
		  . "$instant AT TIME ZONE 'UTC' END",
		deleted_at => 'CASE WHEN $ < 0.2 THEN now() END'
	},
	refund => {
		clinic_id => $maybe->(0.05, $clinic),
		amount => q(CASE WHEN $ < 0.02 THEN 'NaN' WHEN $ < 0.9 THEN $ * 100 END),
		at => $maybe->(0.1, q(date '2026-02-01' + floor($ * 100)::int))
	},
	visit => {
		region => q((ARRAY['north', 'south', 'east'])[1 + floor($ * 3)]),
		clinic => $maybe->(0.05, $clinic),
		doctor => $maybe->(0.1, 'floor($ * 12)::int'),
		seen => $maybe->(0.05, $instant),
		kind => $maybe->(0.1, q((ARRAY['first', 'control', 'ARCHIVED'])[1 + floor($ * 3)])),
		minutes => $maybe->(0.1, 'floor($ * 90)::int')
	});

sub expression { my ($text) = @_; return $text =~ s/\$/random()/gr }

sub table
{
	return pick('"Appointment"', '"Appointment"', 'payments', 'payments', 'refund', 'visit', 'visit');
}

# n new ids for rows of a table; the latest are remembered, whatever comes of them
sub new_ids
{
	my ($self, $table, $n) = @_;
	my $ids = $self->{ids}{$table} //= [];
	my $first = $self->{next};
	$self->{next} += $n;
	push @$ids, map { "s$self->{number}-$_" } $first .. $self->{next} - 1;
	splice @$ids, 0, @$ids - 80 if @$ids > 80;
	return $first;
}

sub old_id { my ($self, $table) = @_; return pick(@{ $self->{ids}{$table} // [] }) // 'none' }

sub mine
{
	my ($self, $table, $n) = @_;
	return "owner = $self->{number} AND id IN ("
	  . join(', ', map { literal($self->old_id($table)) } 1 .. $n) . ')';
}

sub names { my ($table) = @_; return sort keys %{ $columns{$table} } }

sub run
{
	my ($self, $sql) = @_;
	push @{ $self->{story} }, $sql;
	$self->{count}{statements}++;
	return $self->{db}->do($sql);
}

sub select_new
{
	my ($self, $table, $n) = @_;
	my $first = $self->new_ids($table, $n);
	return "SELECT 's$self->{number}-' || i, $self->{number}, "
	  . join(', ', map { expression($columns{$table}{$_}) } names($table))
	  . " FROM generate_series($first, $first + $n - 1) AS i";
}

sub target { my ($table) = @_; return "$table (" . join(', ', 'id', 'owner', names($table)) . ')' }

sub st_insert
{
	my ($self) = @_;
	my $table = table();
	return $self->run('INSERT INTO ' . target($table) . ' ' . $self->select_new($table, 1 + int rand 3));
}

sub set_some
{
	my ($table, $most) = @_;
	my @names = names($table);
	my %chosen = map { pick(@names) => 1 } 1 .. 1 + int rand $most;
	return join ', ', map { "$_ = " . expression($columns{$table}{$_}) } sort keys %chosen;
}

sub st_update
{
	my ($self) = @_;
	my $table = table();
	return $self->run("UPDATE $table SET " . set_some($table, 3) . ' WHERE ' . $self->mine($table, 1 + int rand 4));
}

sub st_soft_delete
{
	my ($self) = @_;
	my $deleted = chance(0.5);
	my ($table, $set) = @{ pick(
		[ '"Appointment"', '"isDeleted" = ' . ($deleted ? 'true' : 'false') ],
		[ 'payments', 'deleted_at = ' . ($deleted ? 'now()' : 'NULL') ],
		[ 'visit', 'kind = ' . ($deleted ? "'ARCHIVED'" : "'first'") ]) };
	return $self->run("UPDATE $table SET $set WHERE " . $self->mine($table, 4));
}

sub st_delete
{
	my ($self) = @_;
	my $table = table();
	return $self->run("DELETE FROM $table WHERE " . $self->mine($table, 1 + int rand 3));
}

# hundreds of rows at once: as many go as come
sub st_bulk_insert
{
	my ($self) = @_;
	my $table = table();
	my $n = 60 + int rand 240;
	$self->run("DELETE FROM $table WHERE owner = $self->{number}") if chance(0.6);
	$self->run('INSERT INTO ' . target($table) . ' ' . $self->select_new($table, $n));
	return;
}

sub st_bulk_update
{
	my ($self) = @_;
	my $table = table();
	return $self->run("UPDATE $table SET " . set_some($table, 2) . " WHERE owner = $self->{number}");
}

sub st_copy
{
	my ($self) = @_;
	my $n = 1 + int rand 20;
	my $first = $self->new_ids('payments', $n);
	my $lines = join '', map {
		join("\t",
			"s$self->{number}-$_", $self->{number},
			pick(@CLINICS), pick('\N', 1 .. 59), pick('\N', 'paid', 'REFUNDED'),
			pick('\N', 'NaN', '12.5', '0.001'), pick('\N', '2026-03-08 03:30+00', '2026-04-23 22:15+00'))
		  . "\n"
	} $first .. $first + $n - 1;
	my $db = $self->{db};
	push @{ $self->{story} }, "COPY of $n payments";
	$db->do('COPY payments (id, owner, clinic_id, patient_id, status, amount, payment_date) FROM STDIN');
	$db->pg_putcopydata($lines);
	$db->pg_putcopyend;
	return;
}

sub st_merge
{
	my ($self) = @_;
	my $table = table();
	my @names = names($table);
	return $self->run("MERGE INTO $table AS o USING ("
		  . $self->select_new($table, 2) =~ s/AS i$/AS i(i)/r
		  . ' UNION ALL SELECT ' . join(', ', 'id', 'owner', @names) . " FROM $table WHERE " . $self->mine($table, 3)
		  . ') AS n(' . join(', ', 'id', 'owner', @names) . ') ON o.id = n.id AND o.owner = n.owner '
		  . 'WHEN MATCHED AND random() < 0.3 THEN DELETE '
		  . 'WHEN MATCHED THEN UPDATE SET ' . set_some($table, 2)
		  . ' WHEN NOT MATCHED THEN INSERT (' . join(', ', 'id', 'owner', @names) . ') VALUES ('
		  . join(', ', map { "n.$_" } 'id', 'owner', @names) . ')');
}

sub st_upsert
{
	my ($self) = @_;
	my $table = pick('"Appointment"', 'payments', 'refund');
	my $set = join ', ', map { "$_ = excluded.$_" } names($table);
	my $select = $self->select_new($table, 2);
	my $id = literal($self->old_id($table));
	$select =~ s/^SELECT .*? \|\| i,/SELECT CASE WHEN random() < 0.5 THEN $id ELSE 's$self->{number}-' || i END,/;
	# the same row twice is an error
	return $self->run('INSERT INTO ' . target($table) . ' ' . "$select LIMIT 1 ON CONFLICT (id) DO UPDATE SET $set");
}

# an exception block that fails half of the time, and one within it
sub st_block
{
	my ($self) = @_;
	my $table = table();
	my ($one, $two, $three) = map { 'INSERT INTO ' . target($table) . ' ' . $self->select_new($table, 2) } 1 .. 3;
	my $raise = sub { return chance(0.5) ? 'RAISE division_by_zero;' : '' };
	return $self->run(
		"DO \$\$ BEGIN $one; BEGIN UPDATE $table SET " . set_some($table, 2) . ' WHERE ' . $self->mine($table, 3)
		  . "; BEGIN $two; " . $raise->() . ' EXCEPTION WHEN division_by_zero THEN NULL; END; '
		  . $raise->() . " EXCEPTION WHEN division_by_zero THEN $three; END; END \$\$");
}

my @STATEMENTS = (
	(\&st_insert) x 6, (\&st_update) x 10, (\&st_soft_delete) x 3, (\&st_delete) x 3,
	\&st_bulk_insert, \&st_bulk_update, \&st_copy, \&st_merge, \&st_merge, \&st_upsert, \&st_upsert,
	\&st_block, \&st_block);
my @LIGHT = @STATEMENTS[ 0 .. 21 ];

sub statement
{
	my ($self, $light) = @_;
	return ($light || chance(0.6) ? pick(@LIGHT) : pick(@STATEMENTS))->($self);
}

1;
