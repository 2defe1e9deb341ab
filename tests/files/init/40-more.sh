#!/bin/bash
# As they are written for the official image; and slow until somebody has looked.
set -e
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<-EOSQL
    INSERT INTO items VALUES (3, 'by a shell');
EOSQL
while [ -e /tmp/wait ] && [ ! -e /tmp/go ]; do
    psql -qc "SELECT pg_sleep(0.1)" > /dev/null
done
