# META.json has to agree with the version in the control file: check_meta.pl VERSION
use strict;
use warnings;
use JSON::PP;

my ($version) = @ARGV;
open(my $file, '<', 'META.json') or die "META.json: $!\n";
my $meta = decode_json(do { local $/; <$file> });
my $provided = $meta->{provides}{clinicache};

die "META.json: version is $meta->{version}, not $version\n" if $meta->{version} ne $version;
die "META.json: provides version $provided->{version}, not $version\n"
  if $provided->{version} ne $version;
die "META.json: provides $provided->{file}\n"
  if $provided->{file} ne "sql/clinicache--$version.sql";
