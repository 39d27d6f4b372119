# typescript(): the module runs, and its builders make the tags that
# clinicache.tag() makes, of many values. Needs node; types are stripped by tsc,
# which also checks them strictly, or by a recent node, or else by us.

use strict;
use warnings;
use utf8;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub found { my ($program) = @_; return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH} }

plan skip_all => 'node is not installed' unless found('node');

my $dir = PostgreSQL::Test::Utils::tempdir;
my $json = JSON::PP->new->canonical->allow_nonref->ascii;
my $node = PostgreSQL::Test::Cluster->new('typescript');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\nshared_preload_libraries = ''\n");
$node->start;

# ---------------------------------------------------------------- helpers

# Large ones are more than a command line takes; psql reads them from its input.
sub sql
{
	my ($statement, $database) = @_;
	utf8::encode($statement);
	my $answer = $node->safe_psql($database || 'postgres', $statement);
	utf8::decode($answer);
	return $answer;
}

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>:encoding(UTF-8)', "$dir/$name" or die $!;
	print $file $text;
	close $file or die $!;
	return "$dir/$name";
}

# Good for what typescript() writes, where each type stands on the line of its
# function; in strings there is none that looks like one.
sub without_types
{
	my ($module) = @_;
	$module =~ s/^export type .*\n//mg;
	$module =~ s/^(  \w+: )\((?:args: .*?)?\): string\[\] => (?=labels\(|prefixLabels\()/$1 . '(args) => '/gme;
	$module =~ s/^((?:export )?function \w+)(?:<T>)?\((.*)\): [\w\[\]]+ \{$/my ($name, $list) = ($1, $2); $list =~ s{: [^,]+}{}g; "$name($list) {"/gme;
	$module =~ s/^\} as const;$/};/mg;
	return $module;
}

# The module as one that node runs.
my $how;
sub module
{
	my ($name, $text) = @_;
	my ($version) = `node --version` =~ /v(\d+\.\d+)/;
	if (found('tsc'))
	{
		$how = 'tsc';
		# node's own types may not be installed
		write_file("crypto.d.ts", "declare module 'node:crypto' { export function createHash(name: string): { update(text: string, encoding: string): { digest(encoding: string): string } }; }\n");
		write_file("$name.mts", $text);
		is(system("cd $dir && tsc --strict --noUnusedLocals --noUnusedParameters --noUncheckedIndexedAccess --exactOptionalPropertyTypes "
			  . "--typeRoots . --target es2022 --module nodenext --moduleResolution nodenext crypto.d.ts $name.mts"), 0, "$name: strict TypeScript");
		return "$dir/$name.mjs";
	}
	if ($version >= 22.06)
	{
		$how = 'node --experimental-strip-types';
		return write_file("$name.mts", $text);
	}
	$how = 'our own stripping of types';
	return write_file("$name.mjs", without_types($text));
}

sub run_node
{
	my ($script) = @_;
	my $file = write_file('run.mjs', $script);
	my $options = $how =~ /^node (.*)/ ? $1 : '';
	my $output = `node $options $file 2>$dir/errors`;
	is($?, 0, 'node runs it') or diag slurp_file("$dir/errors");
	utf8::decode($output);
	return $output || 'null';
}

# ---------------------------------------------------------------- the module

sql(q{
CREATE EXTENSION clinicache;
CREATE TABLE patients (id int PRIMARY KEY, clinic_id int, created_at timestamptz);
CREATE TABLE appointments (id int PRIMARY KEY, clinic_id int, patient_id int, doctor_id int, date timestamptz, status text);
CREATE TABLE odd (id int PRIMARY KEY, a text, "b c" text, d date);
SET client_min_messages = warning;
SELECT clinicache.track('patients', 'patient'), clinicache.track('appointments', 'appointment');
SELECT clinicache.track('odd', $config$ {"tags": ["odd:{a}", "low:{a|lower}", "hash:{a|hash}", "lh:{a|lower|hash}", "hl:{b c|hash|lower}", "{a}", "ä€😀`$\\\\'{a}${a}",
  "two:{a}:{b c}", "two:{b c}:{a}", "same:{a}:{a}", "day:{d|date}", "month:{d|month}", "dayhash:{d|date|hash}", "list:{a}:*", "list:{a|lower}:{d|month}*", "const", "const:*"]} $config$);
});
my $module = module('tags', sql('SELECT clinicache.typescript()'));
note "types stripped by: $how";

# ---------------------------------------------------------------- values

my $long = 'x' x 300;
my @texts = ('', '1', 'a', 'ABC', ' a b ', "tab\tnew\nline", "it's \"quoted\" \\ `\${x}`", 'ÄÖÜß', 'ΣΑΣ', 'İstanbul', 'ẞ', 'Ж', 'Ǆ', '日本語', '😀',
	'ĀĂĄĆÉÑØŠŽ', "e\x{301}", '{id}', '*', 'a:b', '01', '1e5', 'true', 'null', 'toString', '-0', $long, 'Ä' x 150, 'é' x 300, '😀' x 200, 'a' . '😀' x 200,
	map { ('y' x $_, 'y' x $_ . '😀', '😀' . 'y' x $_) } 225 .. 256);
my @numbers = ('0', '-0', '42', '-7', '2147483648', '9007199254740991', '0.1', '-1.5', '1e21', '1.25e+21', '1.2345678901234566e+25', '-1e300', '1e-7', '-1.5e-10', '123456789.125', '5e-324');
my @days = ('2026-11-21', '2024-02-29', '0001-01-01', '9999-12-31', '1999-02-28');
my @months = ('2026-11', '0001-01');

# each builder with each template of it
my @templates = @{ $json->decode(sql(q{SELECT json_agg(json_build_array(t.name, u, clinicache.template_columns(u), u ~ '[|]date', u ~ '[|]month', t.prefix))
	FROM clinicache._ts_templates() AS t, unnest(t.templates) AS u})) };
my @cases;
for my $template (@templates)
{
	my ($name, $of, $columns, $date, $month, $prefix) = @$template;
	my $is_day = sub { my $column = shift; return $of =~ /\{\Q$column\E\|(?:date|month)/ };
	my @values = map { $json->encode($_) } @texts;
	push @values, @numbers;
	@values = ('"x"', '7') unless $name =~ /^(odd|low|hash|lh|hl|by|two|same|list|patient|a|$)/i;
	my @tried = @$columns ? @values : ('1');
	@tried = map { $json->encode($_) } @days, $month && !$date ? @months : () if grep { $is_day->($_) } @$columns;
	for my $value (@tried)
	{
		# another value in other places, so that none is taken for another
		my $n = 0;
		my $args = '{' . join(', ', map { $json->encode($_) . ': ' . ($is_day->($_) ? $value =~ /^"\d{4}-/ ? $value : '"2026-11-21"' : $n++ ? '"other"' : $value) }
			  do { my %seen; grep { !$seen{$_}++ } @$columns }) . '}';
		push @cases, [ $name, $of, $args, $prefix ];
	}
}
cmp_ok(scalar @cases, '>', 2000, 'many cases');

# ---------------------------------------------------------------- comparison

my $calls = '[' . join(",\n", map { '[' . $json->encode($_->[0]) . ", $_->[2]]" } @cases) . ']';
my $output = run_node(qq{import { tags } from '$module';
const cases = $calls;
console.log(JSON.stringify(cases.map(([name, args]) => tags[name](args))));
});
my @built = @{ $json->decode($output) || [] };

my $list = '[' . join(',', map { '{"template": ' . $json->encode($_->[1]) . ', "args": ' . $_->[2] . '}' } @cases) . ']';
my $answer = sql("SELECT json_agg(clinicache.tag(c ->> 'template', c -> 'args') ORDER BY n) FROM jsonb_array_elements(\$list\$$list\$list\$) WITH ORDINALITY AS e(c, n)");
my @wanted = @{ $json->decode($answer) };

my @wrong;
for my $i (0 .. $#cases)
{
	my ($name, $of, $args, $prefix) = @{ $cases[$i] };
	my %seen;
	my $labels = $json->encode([ grep { !$seen{$_}++ } $wanted[$i], "$prefix*", '*' ]);
	push @wrong, "$of $args: " . $json->encode($built[$i]) . ", not $labels" if $json->encode($built[$i]) ne $labels;
}
is(scalar @wrong, 0, 'builders make the tags that tag() makes') or diag join "\n", @wrong[0 .. ($#wrong < 9 ? $#wrong : 9)];
ok((grep { /~[0-9a-f]{16}$/ } @wanted) > 50, 'shortened ones among them');

# What is no value, or no day.
$output = run_node(qq{import * as m from '$module';
const { tags, templates, profiles, prefixFor, labelFor } = m;
const error = (f) => { try { return f(); } catch (e) { return e.name; } };
console.log(JSON.stringify([
  error(() => tags.odd({ a: NaN })), error(() => tags.odd({ a: 1 / 0 })), error(() => tags.patient({})),
  ['2026-02-29', '2026-13-01', '2026-1-1', '0000-01-01', '2026-11-21T10:00:00Z', '', 'x', ' 2026-11-21', '2026-11-21 '].map((d) => error(() => tags.day({ d }))),
  ['2026-13', '2026-00', '2026-02-30', '2026'].map((d) => error(() => tags.month({ d }))),
  tags.odd({ a: 12345678901234567890n }), tags.odd({ a: false }), tags.patient({ patient: 4 }), prefixFor('patient'), labelFor('patient:'),
  templates.patient.profile, profiles[templates.patient.profile].revalidate, Object.keys(tags).length === Object.keys(templates).length]));
});
is_deeply($json->decode($output),
	[ 'RangeError', 'RangeError', 'TypeError', [ ('RangeError') x 9 ], [ ('RangeError') x 4 ],
		[ 'odd:12345678901234567890', 'odd:*', '*' ], [ 'odd:false', 'odd:*', '*' ], [ 'patient:4', 'patient:*', '*' ],
		'patient:', 'patient:*', 'seconds', 1, JSON::PP::true ], 'errors, other values, templates and profiles');

# Other collations have another lower().
for my $locale ([ 'c', "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'" ], [ 'icu', "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und'" ])
{
	my ($name, $options) = @$locale;
  SKIP:
	{
		my $said;
		skip "no locale $name", 3 if $node->psql('postgres', "CREATE DATABASE $name $options", stderr => \$said) != 0;
		sql(q{CREATE EXTENSION clinicache; CREATE TABLE odd (id int PRIMARY KEY, a text); SELECT clinicache.track('odd', '{"tags": ["low:{a|lower}"]}')}, $name);
		my $other = module("tags_$name", sql('SELECT clinicache.typescript()', $name));
		my $values = $json->encode([ 'ABC', 'ÄÖÜ', 'ΣΑΣ', 'İ', 'Ж' ]);
		my $built = run_node(qq{import { tags } from '$other';
console.log(JSON.stringify($values.map((a) => tags.low({ a })[0])));
});
		my $wanted = sql("SELECT json_agg(clinicache.tag('low:{a|lower}', jsonb_build_object('a', a)) ORDER BY n) FROM jsonb_array_elements_text(\$v\$$values\$v\$) WITH ORDINALITY AS e(a, n)", $name);
		is_deeply($json->decode($built), $json->decode($wanted), "lower() in a database of locale $name");
	}
}

$node->stop;
done_testing();
