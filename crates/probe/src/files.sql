-- What stands in files of the server: the history of a timeline, which is named relative to the data directory, and
-- what pgherd's agent wrote about the node's volume, if there is one. Whatever is not there, or not to be seen, is null.
SELECT
    pg_read_file($1, 0, 1048576, true),
    CASE WHEN pg_has_role('pg_read_server_files', 'usage')
        THEN pg_read_file('/run/pgherd/disk.json', 0, 1024, true)
    END,
    -- Of a replica without a receiver, the timeline of the newest segment.
    CASE WHEN $2 THEN (SELECT max(left(name, 8)) FROM pg_ls_waldir() WHERE length(name) = 24) END,
    floor(1000 * extract(epoch FROM clock_timestamp()))::bigint
