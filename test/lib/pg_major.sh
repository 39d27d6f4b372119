# Sourced: sets $pg_major, the PostgreSQL that is built for and tested.
#
# PG_MAJOR says which; else it is the one that this Debian has.
pg_major=${PG_MAJOR:-$(. /etc/os-release 2>/dev/null; [ "${VERSION_ID:-}" = 13 ] && echo 17 || echo 15)}
