#!/bin/sh
# The article's primary, as it is there.
set -e

if [ "$(grep -c 'replication repuser' "$PGDATA/pg_hba.conf")" -gt 0 ]; then
    exit 0
fi
psql -U postgres -c 'CREATE USER repuser WITH REPLICATION' postgres
echo 'host replication repuser all trust' >> "$PGDATA/pg_hba.conf"
pg_ctl -D "$PGDATA" reload
