#!/bin/sh
# What the official image's entrypoint does with an empty volume, for the benchmark: initialize, start a server that
# listens on its socket only, run the init script, stop, and become the server for good.
set -e

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth-local=trust --auth-host=trust > /dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "-c listen_addresses='' -p 5432"
    if [ -z "$PRIMARY_NAME" ]; then article-primary.sh; else article-replica.sh; fi
    pg_ctl -w -m fast stop
fi

# The name tells the benchmark this server's stream from those of the ones that were stopped again.
exec postgres -c listen_addresses='*' -c cluster_name=article
