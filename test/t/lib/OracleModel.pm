# The oracle's model: what tags a row change must leave, written from the
# manual's rules alone and sharing nothing with the extension.
#
#   row change --> emit() --> live set {template}{tenant}{tag} --> expected()
#
# The live set is copied at each savepoint and put back when it is rolled
# back, so that what was undone is as if it had never been.
package OracleModel;

use strict;
use warnings;
use utf8;
use Digest::SHA qw(sha256_hex);
use Encode qw(encode_utf8);
use Storable qw(dclone);

use constant NULL_TENANT => "\x{1}null";

# Seconds after which each profile refreshes; the smaller one wins.
our %REVALIDATE = (
	seconds => 1,
	minutes => 60,
	default => 900,
	hours => 3600,
	days => 86400);

# Types: utc = timestamp holding UTC, local = timestamp holding wall time.
# Column order is that of the tables in 010_oracle.pl.
our %TABLE = (
	Clinic => {
		rel => '"Clinic"', key => ['id'], tenant => 'id',
		cols => [ [ id => 'text' ], [ name => 'text' ] ],
		tags => [
			{ tag => 'clinic:{id}', profile => 'minutes' },
			{ tag => 'clinic:{id}:counts', profile => 'hours' },
			{ tag => 'clinics:all', profile => 'days' },
		],
	},
	Doctor => {
		rel => '"Doctor"', key => ['id'], tenant => 'clinicId',
		cols => [
			[ id => 'int' ], [ clinicId => 'text' ],
			[ specialty => 'text' ]
		],
		tags => [
			{ tag => 'doctor:{id}', profile => 'seconds' },
			{ tag => 'clinic:{clinicId}:counts', profile => 'minutes' },
			{
				tag => 'doctors:specialty:{specialty|lower}:{clinicId}',
				profile => 'minutes', columns => ['specialty']
			},
			{ tag => 'doctors:all' },
		],
	},
	Patient => {
		rel => '"Patient"', key => ['id'], tenant => 'clinicId',
		deleted => 'isDeleted', ignore => [ 'updatedAt', 'email' ],
		cols => [
			[ id => 'int' ], [ clinicId => 'text' ], [ email => 'text' ],
			[ birthDate => 'date' ], [ note => 'text' ],
			[ isDeleted => 'boolean' ], [ updatedAt => 'utc' ],
			[ badge => 'text' ]
		],
		tags => [
			{ tag => 'client:{id}', profile => 'seconds' },
			{ tag => 'patients:clinic:{clinicId}', profile => 'minutes' },
			# another profile for the text that "Appointment" emits too
			{ tag => 'clinic:{clinicId}:counts', profile => 'hours' },
			# one tag by two templates: the shorter profile wins
			{ tag => 'label:{badge}', profile => 'days' },
			{ tag => 'label:{badge|lower}', profile => 'minutes' },
			{ tag => 'mail:{email|lower}', profile => 'hours' },
			{ tag => 'mailhash:{email|hash}', profile => 'days' },
			{ tag => 'born:{birthDate|month}:{clinicId}' },
			{ tag => 'born:day:{birthDate|date}' },
			{ tag => 'note:{id}:{note}', columns => ['note'] },
			{ tag => 'patients:gone:{isDeleted}', profile => 'minutes' },
			{ tag => 'patients:names', columns => ['badge'] },
			{ tag => 'patients:list:*', profile => 'minutes' },
		],
	},
	# Tracked by the preset "appointment", see 010_oracle.pl for the options.
	Appointment => {
		rel => '"Appointment"', key => ['id'], tenant => 'clinicId',
		deleted => 'status', ignore => ['updatedAt'], preset => 1,
		cols => [
			[ id => 'text' ], [ clinicId => 'text' ],
			[ patientId => 'int' ], [ doctorId => 'int' ],
			[ date => 'utc' ], [ status => '"AppointmentStatus"' ],
			[ room => 'text' ], [ updatedAt => 'utc' ]
		],
		tags => [
			[ 'appointment:{id}', 'seconds' ],
			[ 'appointments:patient:{patientId}', 'seconds' ],
			[ 'patient:{patientId}:appointments', 'seconds' ],
			[ 'appointments:doctor:{doctorId}', 'seconds' ],
			[ 'doctor:{doctorId}:appointments', 'seconds' ],
			[ 'doctor:{doctorId}:slots', 'seconds' ],
			[ 'appointments:date:{date|date}', 'seconds' ],
			[ 'appointments:month:{clinicId}:{date|month}', 'minutes' ],
			[ 'visits:schedule:{doctorId}:{date|date}', 'seconds' ],
			{
				tag => 'appointments:today:{clinicId}', profile => 'seconds',
				window => 'today', time => ['date']
			},
			{
				tag => 'appointments:upcoming:{clinicId}',
				profile => 'seconds', window => 'upcoming', time => ['date']
			},
			{
				tag => 'appointments:past:{clinicId}', profile => 'minutes',
				window => 'past', time => ['date']
			},
			{
				tag => 'queue:doctor:{doctorId}', profile => 'seconds',
				window => 'today', time => ['date']
			},
			[ 'appointments:status:{status}:clinic:{clinicId}', 'seconds' ],
			[ 'appointments:clinic:{clinicId}', 'minutes' ],
			[ 'search:appointment:{clinicId}', 'minutes' ],
			[ 'patient:{patientId}', 'seconds' ],
			[ 'clinic:{clinicId}:counts', 'seconds' ],
			[ 'clinic:{clinicId}:dashboard', 'seconds' ],
			[ 'admin:dashboard:{clinicId}', 'seconds' ],
			[ 'dashboard_stats_{patientId}', 'seconds' ],
			{
				tag => 'room:{room}', columns => ['room'],
				profile => 'minutes'
			},
		],
	},
	lab_result => {
		rel => 'lab_result', key => ['lab_id'], tenant => 'clinic_id',
		ignore => ['remark'],
		columns => { who => [ 'patient_id', 'guest_id' ] },
		cols => [
			[ lab_id => 'uuid' ], [ clinic_id => 'text' ],
			[ patient_id => 'int' ], [ guest_id => 'text' ],
			[ taken => 'timestamptz' ], [ due => 'date' ],
			[ value => 'numeric' ], [ remark => 'text' ]
		],
		tags => [
			{ tag => 'lab:{lab_id}', profile => 'seconds' },
			{ tag => 'labs:of:{who}', profile => 'seconds' },
			{ tag => 'labs:day:{clinic_id}:{taken|date}', profile => 'minutes' },
			{ tag => 'labs:month:{taken|month}', profile => 'hours' },
			{ tag => 'labs:at:{taken}' },
			{
				tag => 'labs:past:{clinic_id}', window => 'past',
				time => ['taken'], profile => 'hours'
			},
			{
				tag => 'labs:today', window => 'today',
				time => ['taken'], profile => 'seconds'
			},
			{
				tag => 'labs:due:{clinic_id}', window => 'upcoming',
				time => ['due'], profile => 'minutes'
			},
			{
				tag => 'labs:late:{clinic_id}', window => 'past',
				time => ['due'], columns => ['value'], profile => 'minutes'
			},
			{ tag => 'labs:values', columns => ['value'], profile => 'days' },
			{ tag => 'labs:list:{clinic_id}:*', profile => 'minutes' },
		],
	},
	visit => {
		rel => 'visit', key => [ 'visit_id', 'region' ],
		tenant => 'clinic_id', zone => { visited => 'local' },
		ignore => ['visit_time'],
		partition => 'region',
		cols => [
			[ visit_id => 'int' ], [ region => 'text' ],
			[ clinic_id => 'text' ], [ patient_id => 'int' ],
			[ visited => 'local' ], [ visit_time => 'text' ],
			[ fee => 'numeric' ]
		],
		tags => [
			{ tag => 'visit:{visit_id}', profile => 'seconds' },
			{ tag => 'visits:region:{region}', profile => 'minutes' },
			{ tag => 'visits:day:{clinic_id}:{visited|date}' },
			{ tag => 'visits:at:{visited}', columns => ['visited'] },
			{
				tag => 'visits:fees:{clinic_id}', columns => ['fee'],
				profile => 'hours'
			},
			{
				tag => 'visits:next:{clinic_id}', window => 'upcoming',
				time => [ 'visited', 'visit_time' ], profile => 'seconds'
			},
		],
	},
	drug => {
		rel => 'drug', key => ['code'],
		cols => [ [ code => 'text' ], [ label => 'text' ] ],
		tags => [
			{ tag => 'drug:{code}', profile => 'days' },
			{ tag => 'drugs:all', profile => 'days' },
			{ tag => 'drug:{code}:text', columns => ['label'], profile => 'days' },
		],
	},
	# One such table for each session, so that TRUNCATE meets no other writer.
	Note => {
		key => ['id'], tenant => 'clinicId',
		cols => [
			[ id => 'int' ], [ clinicId => 'text' ], [ body => 'text' ]
		],
		tags => [
			{ tag => 'memo:{id}', profile => 'seconds' },
			{ tag => 'memos:{clinicId}', profile => 'minutes' },
			{ tag => 'memos:all', profile => 'hours' },
			{ tag => 'memolist:*', profile => 'hours' },
		],
	});

for my $t (values %TABLE)
{
	$_ = { tag => $_->[0], profile => $_->[1] }
	  for grep { ref eq 'ARRAY' } @{ $t->{tags} };
	$t->{type} = { map { @$_ } @{ $t->{cols} } };
	for my $tag (@{ $t->{tags} })
	{
		my %used;
		while ($tag->{tag} =~ /\{(\w+)/g)
		{
			$used{$_} = 1 for @{ ($t->{columns} || {})->{$1} || [$1] };
		}
		$tag->{used} = \%used;
	}
	# watched by every template, and whatever "ignore" says
	my %always = map { $_ => 1 } grep { defined } @$t{qw(tenant deleted)};
	$always{$_} = 1 for map { @{ $_->{time} || [] } } @{ $t->{tags} };
	$t->{always} = [ sort keys %always ];
	my %needed = (%always, map { %{ $_->{used} } } @{ $t->{tags} });
	my %ignored =
	  map { $_ => 1 } grep { !$needed{$_} } @{ $t->{ignore} || [] };
	$t->{watched} = [ grep { !$ignored{$_} } map { $_->[0] } @{ $t->{cols} } ];
}

# The configuration given to clinicache.track(relation, config).
sub config
{
	my ($table) = @_;
	my $t = $TABLE{$table};
	my %config = map { $_ => $t->{$_} }
	  grep { defined $t->{$_} } qw(tenant deleted ignore columns zone);
	$config{tags} = [
		map {
			my $tag = $_;
			my %h = map { $_ => $tag->{$_} }
			  grep { defined $tag->{$_} } qw(tag profile window time columns);
			# the short form where there is nothing but the tag
			(keys %h == 1) ? $tag->{tag} : \%h
		} @{ $t->{tags} }
	];
	return \%config;
}

# clock: {days}{instant}{zone} = local day, {window}{instant}{zone}{window},
#        {today} = day in UTC;  zones: {tenant} = zone, {''} = the default
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {%arg}, $class;
	$self->begin;
	return $self;
}

sub begin
{
	my ($self) = @_;
	$self->{live} = { tags => {}, collapsed => {}, prefixes => {} };
	$self->{saved} = [];
	return;
}

sub savepoint
{
	my ($self, $name) = @_;
	push @{ $self->{saved} }, [ $name, dclone($self->{live}) ];
	return;
}

sub release
{
	my ($self, $name) = @_;
	while (my $s = pop @{ $self->{saved} })
	{
		return if $s->[0] eq $name;
	}
	die "no savepoint $name";
}

sub rollback_to
{
	my ($self, $name) = @_;
	my $saved = $self->{saved};
	pop @$saved while @$saved && $saved->[-1][0] ne $name;
	die "no savepoint $name" unless @$saved;
	$self->{live} = dclone($saved->[-1][1]);
	return;
}

sub zone_of
{
	my ($self, $tenant) = @_;
	return $self->{zones}{ defined $tenant ? $tenant : '' }
	  || $self->{zones}{''};
}

sub local_day
{
	my ($self, $type, $value, $zone) = @_;
	return substr($value, 0, 10) if $type eq 'date' || $type eq 'local';
	my $day = $self->{clock}{days}{$value}{$zone};
	die "instant $value is not in the clock" unless defined $day;
	return $day;
}

sub in_window
{
	my ($self, $window, $type, $value, $zone) = @_;
	if ($type eq 'utc' || $type eq 'timestamptz')
	{
		return $self->{clock}{window}{$value}{$zone}{$window};
	}
	# dates and wall times are days away from now in every zone
	my $order = substr($value, 0, 10) cmp $self->{clock}{today};
	return $window eq 'past' ? $order < 0
	  : $window eq 'upcoming' ? $order > 0
	  : 0;
}

sub shorten
{
	my ($tag) = @_;
	return $tag if length($tag) <= 256;
	return
	  substr($tag, 0, 239) . '~' . substr(sha256_hex(encode_utf8($tag)), 0, 16);
}

# A value's text does not depend on the session's settings.
sub text_of
{
	my ($type, $v) = @_;
	return $v eq 't' ? 'true' : 'false' if $type eq 'boolean';
	return $v unless $type =~ /^(?:utc|local|timestamptz)$/;
	$v =~ s/ /T/;
	$v =~ s/\.?0+\z// if $v =~ /\./;
	return $type eq 'timestamptz' ? "$v+00:00" : $v;
}

# undef where a value is null, and so the row has no such tag
sub render
{
	my ($self, $t, $template, $row, $zone) = @_;
	my $out = '';
	for my $piece (split /(\{[^}]*\})/, $template)
	{
		if ($piece !~ /^\{(\w+)(?:\|(\w+))?\}$/)
		{
			$out .= $piece;
			next;
		}
		my ($name, $filter) = ($1, $2 || '');
		my ($col) = grep { defined $row->{$_} }
		  @{ ($t->{columns} || {})->{$name} || [$name] };
		return undef unless defined $col;
		my $v = $row->{$col};
		$v = text_of($t->{type}{$col}, $v)
		  unless $filter eq 'date' || $filter eq 'month';
		if ($filter eq 'lower') { $v = lc $v }
		elsif ($filter eq 'hash')
		{
			$v = substr(sha256_hex(encode_utf8($v)), 0, 16);
		}
		elsif ($filter)
		{
			$v = $self->local_day($t->{type}{$col}, $v, $zone);
			$v = substr($v, 0, 7) if $filter eq 'month';
		}
		$out .= $v;
	}
	return $out;
}

sub prefix_of
{
	my ($template) = @_;
	return $1 if $template =~ /^([^{]*)[{]/;
	return $1 if $template =~ /^(.*)\*$/;
	return $template;
}

sub add_tag
{
	my ($self, $template, $tenant, $tag, $profile) = @_;
	my $live = $self->{live};
	my $key = defined $tenant ? $tenant : NULL_TENANT;
	if (my $tenants = $live->{collapsed}{$template})
	{
		$tenants->{$key} = 1;
		return;
	}
	my $entry = \$live->{tags}{$template}{$key}{$tag};
	$$entry = $profile
	  if !defined $$entry || $REVALIDATE{$profile} < $REVALIDATE{$$entry};
	# a tag counts once for each tenant that has it
	my $count = 0;
	$count += keys %$_ for values %{ $live->{tags}{$template} };
	if ($count > $self->{threshold})
	{
		my $tags = delete $live->{tags}{$template};
		$live->{collapsed}{$template} = { map { $_ => 1 } keys %$tags };
	}
	return;
}

sub add_prefix
{
	my ($self, $tenant, $prefix) = @_;
	my $key = defined $tenant ? $tenant : NULL_TENANT;
	$self->{live}{prefixes}{$key}{$prefix} = 1;
	return;
}

# One row version's tags by the templates that fire.
sub emit_version
{
	my ($self, $t, $row, $templates) = @_;
	my $tenant = $t->{tenant} ? $row->{ $t->{tenant} } : undef;
	my $zone = $self->zone_of($tenant);
	for my $tag (@$templates)
	{
		if ($tag->{window})
		{
			my $col = $tag->{time}[0];
			next unless defined $row->{$col};
			next
			  unless $self->in_window($tag->{window}, $t->{type}{$col},
				$row->{$col}, $zone);
		}
		my $text = $self->render($t, $tag->{tag}, $row, $zone);
		next unless defined $text;
		if ($tag->{tag} =~ /\*$/)
		{
			$self->add_prefix($tenant, substr($text, 0, -1));
		}
		else
		{
			$self->add_tag($tag->{tag}, $tenant, shorten($text),
				$tag->{profile} || 'default');
		}
	}
	return;
}

sub differs
{
	my ($a, $b) = @_;
	return defined $a ? (!defined $b || $a ne $b) : defined $b;
}

# One row event; old or new is undef for an insert or a delete.
sub emit
{
	my ($self, $table, $old, $new) = @_;
	my $t = $TABLE{$table} or die "no table $table";
	if ($old && $new && $t->{partition})
	{
		my $p = $t->{partition};
		if (differs(partition($old->{$p}, $old), partition($new->{$p}, $new)))
		{
			$self->emit($table, $old, undef);
			$self->emit($table, undef, $new);
			return;
		}
	}
	my @fire = @{ $t->{tags} };
	if ($old && $new)
	{
		my %changed = map { $_ => 1 }
		  grep { differs($old->{$_}, $new->{$_}) } map { $_->[0] } @{ $t->{cols} };
		return unless grep { $changed{$_} } @{ $t->{watched} };
		@fire = grep {
			my $tag = $_;
			!$tag->{columns}
			  || grep { $changed{$_} } (
				@{ $tag->{columns} }, keys %{ $tag->{used} },
				@{ $t->{always} })
		} @fire;
	}
	$self->emit_version($t, $old, \@fire) if $old;
	$self->emit_version($t, $new, \@fire) if $new;
	return;
}

# The partition of "visit" that a row lies in, see 010_oracle.pl.
sub partition
{
	my ($region, $row) = @_;
	return $region if $region eq 'north' || $region eq 'south';
	return $row->{visit_id} < 2_500_000 ? 'east_low' : 'east_high'
	  if $region eq 'east';
	return 'other';
}

sub truncate_table
{
	my ($self, $table) = @_;
	for my $tag (@{ $TABLE{$table}{tags} })
	{
		if ($tag->{tag} =~ /[{*]/)
		{
			$self->add_prefix(undef, prefix_of($tag->{tag}));
		}
		else
		{
			$self->add_tag($tag->{tag}, undef, $tag->{tag},
				$tag->{profile} || 'default');
		}
	}
	return;
}

# {tenant}{tags}{tag} = profile, {tenant}{prefixes}{prefix} = 1
sub expected
{
	my ($self) = @_;
	my %out;
	my $live = $self->{live};
	for my $template (keys %{ $live->{tags} })
	{
		my $tenants = $live->{tags}{$template};
		for my $tenant (keys %$tenants)
		{
			while (my ($tag, $profile) = each %{ $tenants->{$tenant} })
			{
				my $slot = \$out{$tenant}{tags}{$tag};
				$$slot = $profile
				  if !defined $$slot
				  || $REVALIDATE{$profile} < $REVALIDATE{$$slot};
			}
		}
	}
	for my $template (keys %{ $live->{collapsed} })
	{
		$out{$_}{prefixes}{ prefix_of($template) } = 1
		  for keys %{ $live->{collapsed}{$template} };
	}
	for my $tenant (keys %{ $live->{prefixes} })
	{
		$out{$tenant}{prefixes}{$_} = 1
		  for keys %{ $live->{prefixes}{$tenant} };
	}
	return \%out;
}

1;
