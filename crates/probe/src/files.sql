-- What stands in files of the server: the history of a timeline, which is named relative to the data directory; what
-- pgherd's agent wrote about the node's volume; the timeline of the newest segment, of a replica without a receiver; what
-- the postmaster is about; and which processes the kernel says are stopped, of those that serve no client. What is not
-- there, or not to be seen, is null.
WITH postmaster AS MATERIALIZED (
    SELECT string_to_array(pg_read_file('postmaster.pid', 0, 1024, true), E'\n') AS lines
), process AS (
    SELECT 'postmaster' AS backend_type, lines[1]::int AS pid FROM postmaster
    UNION ALL
    SELECT backend_type, pid FROM pg_stat_activity WHERE backend_type NOT IN ('client backend', 'parallel worker')
), seen AS (
    SELECT
        backend_type, pid,
        CASE WHEN pg_has_role('pg_read_server_files', 'usage')
            THEN substring(pg_read_file('/proc/' || pid || '/stat', 0, 256, true) FROM '\) (.)')
        END AS state
    FROM process
)
SELECT
    pg_read_file($1, 0, 1048576, true),
    CASE WHEN pg_has_role('pg_read_server_files', 'usage')
        THEN pg_read_file('/run/pgherd/disk.json', 0, 1024, true)
    END,
    floor(1000 * extract(epoch FROM clock_timestamp()))::bigint,
    CASE WHEN $2 THEN (SELECT max(left(name, 8)) FROM pg_ls_waldir() WHERE length(name) = 24) END,
    (
        SELECT json_agg(json_build_object('backend_type', backend_type, 'pid', pid) ORDER BY backend_type, pid)
            FILTER (WHERE state IN ('T', 't'))::text
        FROM seen
    ),
    (SELECT count(state) > 0 FROM seen),
    (SELECT rtrim(lines[8]) FROM postmaster)
