#!/usr/bin/perl
# Plays day.sql: sends each step to the server, prints it with the tags that
# the subscriber (clinicache_tail) received, and fails if they are not the
# expected ones. The connection comes from PG* variables; run it by demo/run.
use strict;
use warnings;
use JSON::PP;
use POSIX ();
use Time::HiRes qw(sleep time);

my ($file, $dir) = @ARGV;
die "usage: story.pl FILE DIRECTORY\n" unless defined $dir;
my ($lines, $position) = ("$dir/tail.out", "$dir/tail.position");
my $color = -t STDOUT && !$ENV{NO_COLOR};
my ($bold, $dim, $green, $red, $plain) =
  $color ? map { "\e[${_}m" } 1, 2, 32, 31, 0 : ('') x 5;
my $width = 100;
my ($tail, $fence, $failed, $step_number) = (undef, 0, 0, 0);
$| = 1;
$SIG{INT} = $SIG{TERM} = sub { exit 1 };

# ---- server and subscriber

sub psql
{
	my ($sql, @more) = @_;
	my $text = "$dir/step.sql";
	open my $out, '>', $text or die "$text: $!\n";
	print $out $sql;
	close $out;
	my @answer = qx(psql -XqAt -v ON_ERROR_STOP=1 @more -f '$text' 2>&1);
	die "psql failed:\n@answer" if $?;
	chomp @answer;
	return @answer;
}

sub start_tail
{
	$tail = fork;
	die "fork: $!\n" unless defined $tail;
	return if $tail;
	open STDOUT, '>>', $lines or die "$lines: $!\n";
	open STDERR, '>>', "$dir/tail.err" or die "$dir/tail.err: $!\n";
	exec 'clinicache_tail', "--position-file=$position" or POSIX::_exit(1);
}

# An upkeep run sends a position, which the subscriber saves.
sub save_position
{
	my $old = slurp($position);
	my $until = time + 20;
	while (time < $until)
	{
		psql('CALL clinicache.maintain()');
		for (1 .. 20)
		{
			return if slurp($position) ne $old;
			sleep 0.02;
		}
	}
	die "the subscriber saved no position; see $dir/tail.err\n";
}

sub slurp
{
	my ($path) = @_;
	open my $in, '<', $path or return '';
	local $/;
	my $text = <$in>;
	return defined $text ? $text : '';
}

sub stop_tail
{
	return unless $tail;
	kill TERM => $tail;
	waitpid $tail, 0;
	undef $tail;
	return;
}

END { my $status = $?; stop_tail(); $? = $status }

my $seen = 0;    # bytes of the subscriber's output that were read

sub new_messages
{
	open my $in, '<', $lines or return;
	seek $in, $seen, 0;
	my @messages;
	while (my $line = <$in>)
	{
		last unless $line =~ /\n\z/;
		$seen += length $line;
		push @messages, JSON::PP->new->utf8->decode($line);
	}
	return @messages;
}

# All messages up to now. Messages come in commit order, so a tag sent by hand
# and seen again says that nothing is still on its way.
sub collect
{
	my $mark = 'demo:fence:' . ++$fence;
	my (%tags, $reset);
	my $until = time + 20;
	my $again = 0;
	while (time < $until)
	{
		# again if need be: a subscriber without a position begins with a reset,
		# which stands for all that was before
		if (time >= $again)
		{
			psql("SELECT clinicache.invalidate(ARRAY['$mark'])");
			$again = time + 0.5;
		}
		my $done;
		for my $m (new_messages())
		{
			$reset ||= $m->{reset};
			for my $profile (keys %{ $m->{tags} })
			{
				for my $tag (@{ $m->{tags}{$profile} })
				{
					if ($tag eq $mark) { $done = 1 }
					elsif ($tag !~ /^demo:fence:/) { $tags{$tag} = $profile }
				}
			}
			$tags{"$_*"} = 'prefix' for @{ $m->{prefixes} };
		}
		return ($reset, %tags) if $done;
		sleep 0.02;
	}
	die "the subscriber did not receive '$mark' within 20 seconds; see $dir/tail.err\n";
}

# ---- the days and instants that the steps name

my %when;
$when{$_->[0]} = $_->[1] for map { [ split /\|/ ] } psql(<<'SQL');
WITH d AS (SELECT (now() AT TIME ZONE 'America/New_York')::date AS today)
SELECT name, value FROM d, LATERAL (VALUES
	('today', to_char(today, 'YYYY-MM-DD')),
	('tomorrow', to_char(today + 1, 'YYYY-MM-DD')),
	('month', to_char(today, 'YYYY-MM')),
	('month of tomorrow', to_char(today + 1, 'YYYY-MM')),
	('today 16:30', to_char((today + time '16:30') AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')),
	('tomorrow 10:00', to_char((today + 1 + time '10:00') AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
) v(name, value)
SQL

# ---- printing

sub wrap
{
	my ($first, $next, @words) = @_;
	my $line = $first;
	my @out;
	for my $word (@words)
	{
		if (length($line) + length($word) + 2 > $width && $line =~ /\S\s*$/)
		{
			push @out, $line;
			$line = $next;
		}
		$line .= "$word  ";
	}
	s/\s+$// for @out, $line;
	return join "\n", @out, $line;
}

my %ORDER = (seconds => 1, minutes => 2, hours => 3, days => 4, prefix => 9);

sub show_tags
{
	my (%tags) = @_;
	my %group;
	push @{ $group{ $tags{$_} } }, $_ for sort keys %tags;
	print "    ${dim}(nothing arrived)${plain}\n" unless %group;
	for my $profile (
		sort { ($ORDER{$a} || 5) <=> ($ORDER{$b} || 5) || $a cmp $b } keys %group)
	{
		my @tags = @{ $group{$profile} };
		my $more = @tags > 26 ? @tags - 24 : 0;
		splice @tags, 24 if $more;
		my $text = wrap(sprintf('    %-9s', $profile), ' ' x 13, @tags,
			$more ? "... and $more more" : ());
		$text =~ s/^(    \S+ *)/$1$green/;
		print "$text$plain\n";
	}
	return;
}

# ---- dashboards

sub dashboard
{
	my ($clinic) = @_;
	my ($text) = psql("SELECT clinicache.clinic_dashboard('$clinic')");
	return JSON::PP->new->decode($text);
}

# Shows the numbers that a step names; false if they have not changed as it says.
sub show_dashboard
{
	my ($step, $before, $after) = @_;
	my ($ok, @shown) = (1);
	for my $name (sort keys %{ $step->{changes} })
	{
		push @shown, "$name $before->{$name} -> $after->{$name} ";
		$ok &&= $after->{$name} - $before->{$name} == $step->{changes}{$name};
	}
	my $text = wrap("    dashboard of $step->{clinic}: ", ' ' x 13, @shown);
	print "$green$text$plain\n";
	return $ok;
}

# ---- one step

sub play
{
	my ($step) = @_;
	$step_number++;
	print "\n$bold$step_number. $step->{title}$plain\n";
	print "   $dim$_$plain\n" for @{ $step->{why} };
	print "\n";
	print "  | $_\n" for split /\n/, $step->{sql};
	print "\n" if length $step->{sql};

	if ($step->{subscriber} eq 'stop')
	{
		save_position();
		stop_tail();
	}
	my $before = $step->{clinic} && dashboard($step->{clinic});
	psql($step->{sql}) if length $step->{sql};
	start_tail() if $step->{subscriber} eq 'start';

	my ($reset, %got) = $tail ? collect() : (undef);
	if ($tail) { show_tags(%got) }
	else { print "    ${dim}(nobody is listening)${plain}\n" }
	my %want = map { $_ => 1 } @{ $step->{exact} }, @{ $step->{some} };
	my %may = map { $_ => 1 } @{ $step->{may} };
	my @missing = grep { !$got{$_} } sort keys %want;
	my @extra =
	  $step->{is_exact} ? grep { !$want{$_} && !$may{$_} } sort keys %got : ();
	push @extra, 'a reset' if $reset;
	push @missing, 'a dashboard that counts so'
	  if $step->{clinic} && !show_dashboard($step, $before, dashboard($step->{clinic}));
	return unless @missing || @extra;
	$failed++;
	print "    ${red}MISSING: @missing$plain\n" if @missing;
	print "    ${red}NOT EXPECTED: @extra$plain\n" if @extra;
	return;
}

sub steps_of
{
	my ($path) = @_;
	open my $in, '<', $path or die "$path: $!\n";
	my (@steps, $step);
	while (my $line = <$in>)
	{
		chomp $line;
		$line =~ s/\{([\w :]+)\}/exists $when{$1} ? $when{$1} : die "$path: {$1}?\n"/ge
		  unless $line =~ /^-- /;
		if ($line =~ /^--# (.*)/)
		{
			push @steps, $step = {
				title => $1, why => [], sql => '', subscriber => '',
				exact => [], may => [], some => []
			};
		}
		elsif (!$step || $line =~ /^--$|^-- /) { next }
		elsif ($line =~ /^--: (.*)/) { push @{ $step->{why} }, $1 }
		elsif ($line =~ /^--! (.*)/) { $step->{subscriber} = $1 }
		elsif ($line =~ /^--@ (\w+): (.*)/)
		{
			$step->{clinic} = $1;
			$step->{changes} = { map { split ' ' } split /, /, $2 };
		}
		elsif ($line =~ /^--=(.*)/)
		{
			$step->{is_exact} = 1;
			push @{ $step->{exact} }, split ' ', $1;
		}
		elsif ($line =~ /^--\? (.*)/) { push @{ $step->{may} }, split ' ', $1 }
		elsif ($line =~ /^--\+ (.*)/) { push @{ $step->{some} }, split ' ', $1 }
		elsif (length $line) { $step->{sql} .= "$line\n" }
	}
	return @steps;
}

my $began = time;
my @steps = steps_of($file);
start_tail();
my $warm_up = sub {
	# the first message of a subscriber without a position is a reset
	my ($reset) = collect();
	die "the subscriber was not told to begin with an empty cache\n"
	  unless $reset;
};
$warm_up->();

print <<"END";
${bold}A day in a clinic, and the cache tags that arrive$plain
Beside each statement: the tags that clinicache_tail, a subscriber in another process, received
for it, grouped by how soon the cached values should be fresh again. TAG* drops all that begin so.
END
play($_) for @steps;

printf "\n%s%d steps, %s (%.1f s)%s\n", $failed ? $red : $bold, scalar @steps,
  $failed ? "$failed of them not as expected" : 'each with the tags that were expected',
  time - $began, $plain;
exit($failed ? 1 : 0);
