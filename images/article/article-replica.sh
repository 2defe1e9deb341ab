#!/bin/sh
# The article's replica. The one difference: since PostgreSQL 12 standby.signal marks a replica, not recovery.conf.
set -e

if [ -f "$PGDATA/standby.signal" ]; then
    exit 0
fi
pg_ctl -D "$PGDATA" stop -m fast
rm -Rf "${PGDATA:?}"/*
pg_basebackup -U repuser -X stream -R -c fast -h "$PRIMARY_NAME" -D "$PGDATA"
pg_ctl -D "$PGDATA" start
