-- Two columns: the JSON form of NodeStatus, field by field, and whether this role may read files of the server. Every
-- CASE on the role of the server is there because PostgreSQL refuses the one kind of question on a primary and the
-- other on a replica; every CASE on pg_has_role() because nothing shown is not nothing there. Every greatest() of two
-- ends is there because they are not read at the same instant, or on the same clock, and what is meant has no sign.
-- A column that some release lacks is taken from the row's JSON form, where it is null then.
WITH server AS MATERIALIZED (
    SELECT
        pg_is_in_recovery() AS in_recovery,
        pg_last_xact_replay_timestamp() AS replayed_at,
        pg_has_role('pg_read_all_stats', 'usage') AS sees_stats,
        pg_has_role('pg_read_all_settings', 'usage') AS sees_settings
), setting AS MATERIALIZED (
    SELECT name, setting, coalesce(boot_val, '') AS boot_val, coalesce(unit, '') AS unit, vartype, context, source, pending_restart
    FROM pg_settings
), wal AS MATERIALIZED (
    SELECT
        CASE WHEN in_recovery
            THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_lsn()
        END AS end_lsn
    FROM server
), process AS MATERIALIZED (
    SELECT pid, backend_type, wait_event_type, wait_event
    FROM pg_stat_activity
    WHERE backend_type IN ('startup', 'walreceiver') OR wait_event = 'SyncRep'
), receiver AS MATERIALIZED (
    SELECT
        status, sender_host, sender_port, slot_name, received_tli, written_lsn, flushed_lsn, latest_end_lsn,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), last_msg_receipt_time) - last_msg_receipt_time
        ))::bigint AS last_msg_age_ms,
        ceil(1000 * extract(
            epoch FROM greatest(last_msg_send_time, last_msg_receipt_time) - last_msg_receipt_time
        ))::bigint AS clock_behind_ms,
        wait_event_type, wait_event
    FROM pg_stat_wal_receiver LEFT JOIN process USING (pid)
), position AS (
    -- After a promotion pg_control stays behind until the next checkpoint; the name of the file does not.
    SELECT
        ('x' || left(pg_walfile_name(end_lsn), 8))::bit(32)::int AS timeline, end_lsn AS timeline_lsn
    FROM server, wal
    WHERE NOT in_recovery
    UNION ALL
    SELECT
        coalesce(received_tli, control.timeline),
        CASE WHEN received_tli IS NULL THEN control.lsn ELSE pg_last_wal_replay_lsn() END
    FROM
        server LEFT JOIN receiver ON true, (
            SELECT min_recovery_end_timeline, min_recovery_end_lsn FROM pg_control_recovery()
            UNION ALL
            SELECT timeline_id, checkpoint_lsn FROM pg_control_checkpoint()
            ORDER BY 1 DESC, 2 DESC
            LIMIT 1
        ) AS control (timeline, lsn)
    WHERE in_recovery
), replay AS (
    SELECT
        (SELECT wait_event_type FROM process WHERE backend_type = 'startup') AS wait_event_type,
        (SELECT wait_event FROM process WHERE backend_type = 'startup') AS wait_event,
        (1000 * extract(epoch FROM current_setting('recovery_min_apply_delay')::interval))::bigint
            AS min_apply_delay_ms,
        CASE current_setting('max_standby_streaming_delay')
            WHEN '-1' THEN -1
            ELSE (1000 * extract(epoch FROM current_setting('max_standby_streaming_delay')::interval))::bigint
        END AS max_streaming_delay_ms,
        (
            SELECT json_object_agg(kind, canceled ORDER BY kind)
            FROM (
                SELECT replace(key, 'confl_', '') AS kind, sum(value::bigint) AS canceled
                FROM pg_stat_database_conflicts AS database, jsonb_each_text(to_jsonb(database) - 'datid' - 'datname')
                GROUP BY key
            ) AS conflict
        ) AS conflicts
), downstream AS (
    SELECT
        application_name, state, sent_lsn, write_lsn, flush_lsn, replay_lsn,
        ceil(1000 * extract(epoch FROM write_lag))::bigint AS write_lag_ms,
        ceil(1000 * extract(epoch FROM flush_lag))::bigint AS flush_lag_ms,
        ceil(1000 * extract(epoch FROM replay_lag))::bigint AS replay_lag_ms,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), reply_time) - reply_time
        ))::bigint AS last_reply_age_ms,
        sync_state
    FROM pg_stat_replication
), slot AS (
    SELECT
        slot_name, slot_type, active, restart_lsn,
        pg_wal_lsn_diff(greatest(end_lsn, restart_lsn), restart_lsn)::bigint AS retained_bytes,
        safe_wal_size AS safe_wal_bytes,
        wal_status,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), since) - since
        ))::bigint AS inactive_ms
    FROM
        wal, pg_replication_slots AS row,
        -- Since 17.
        LATERAL (SELECT (to_jsonb(row) ->> 'inactive_since')::timestamptz AS since) AS inactive
), synchronous AS (
    SELECT
        current_setting('synchronous_standby_names') AS standby_names,
        CASE WHEN sees_stats THEN (SELECT count(*) FROM process WHERE wait_event = 'SyncRep') END AS commits_waiting
    FROM server
), archiver AS (
    SELECT
        current_setting('archive_mode') AS mode, archived_count, failed_count, last_failed_wal,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), last_archived_time) - last_archived_time
        ))::bigint AS last_archived_age_ms,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), last_failed_time) - last_failed_time
        ))::bigint AS last_failed_age_ms
    FROM pg_stat_archiver
), checksum AS (
    SELECT sum(checksum_failures)::bigint AS failures, max(checksum_last_failure) AS last_failure FROM pg_stat_database
), collated AS MATERIALIZED (
    SELECT
        'database' AS kind, datname::text AS name, datcollversion AS recorded,
        pg_database_collation_actual_version(oid) AS actual
    FROM pg_database
    WHERE datcollversion IS NOT NULL
    UNION ALL
    -- Those that something depends on: an initialized database has hundreds, and looking one up in ICU takes its time.
    SELECT 'collation', oid::regcollation::text, collversion, pg_collation_actual_version(oid)
    FROM pg_collation
    WHERE collversion IS NOT NULL AND oid IN (
        SELECT refobjid FROM pg_depend WHERE refclassid = 'pg_collation'::regclass
    )
), upkeep AS (
    SELECT
        CASE WHEN sees_settings
            THEN (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM setting WHERE pending_restart)
        END AS pending_restart,
        (
            SELECT coalesce(json_agg(collated ORDER BY kind DESC, name), '[]')
            FROM collated WHERE recorded IS DISTINCT FROM actual
        ) AS collation_mismatches,
        failures AS checksum_failures,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), last_failure) - last_failure
        ))::bigint AS last_checksum_failure_age_ms,
        (SELECT to_json(archiver) FROM archiver) AS archiver,
        (SELECT max(age(datfrozenxid)) FROM pg_database) AS transaction_age,
        current_setting('autovacuum_freeze_max_age')::bigint AS autovacuum_freeze_max_age
    FROM server, checksum
), in_force AS (
    -- What a start or a reload has set, and what a replica must not have less of. No text that may hold a password.
    SELECT name, setting, boot_val, unit
    FROM setting
    WHERE
        name IN (
            'max_connections', 'max_worker_processes', 'max_prepared_transactions', 'max_locks_per_transaction',
            'max_wal_senders'
        )
        OR (
            setting <> boot_val AND context <> 'internal'
            AND source IN ('environment variable', 'configuration file', 'command line')
            AND NOT (vartype = 'string' AND name ~ 'conninfo|command|[.]')
        )
), status AS (
    SELECT
        current_setting('server_version_num')::int AS server_version_num,
        -- The function's bigint is signed, the identifier is not.
        (SELECT mod(system_identifier + 18446744073709551616, 18446744073709551616)::text FROM pg_control_system())
            AS system_identifier,
        current_setting('cluster_name') AS cluster_name,
        timeline, timeline_lsn,
        CASE WHEN in_recovery
            THEN json_build_object(
                'role', 'replica', 'receive', pg_last_wal_receive_lsn(), 'replay', pg_last_wal_replay_lsn()
            )
            ELSE json_build_object(
                'role', 'primary', 'write', pg_current_wal_lsn(), 'flush', pg_current_wal_flush_lsn()
            )
        END AS lsn,
        (SELECT to_json(receiver) FROM receiver) AS receiver,
        (1000 * extract(epoch FROM current_setting('wal_receiver_status_interval')::interval))::bigint
            AS receiver_status_interval_ms,
        -- Nothing else of it: there may be a password.
        (SELECT substring(setting FROM '\mhost *= *''?([^'' ]+)') FROM setting WHERE name = 'primary_conninfo')
            AS primary_host,
        nullif(current_setting('primary_slot_name'), '') AS primary_slot_name,
        CASE WHEN in_recovery THEN pg_get_wal_replay_pause_state() <> 'not paused' ELSE false END AS replay_paused,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), replayed_at) - replayed_at
        ))::bigint AS last_replay_age_ms,
        CASE WHEN in_recovery THEN (SELECT to_json(replay) FROM replay) END AS replay,
        coalesce((SELECT json_agg(downstream ORDER BY application_name) FROM downstream), '[]') AS downstreams,
        coalesce((SELECT json_agg(slot ORDER BY slot_name) FROM slot), '[]') AS slots,
        (SELECT to_json(synchronous) FROM synchronous) AS synchronous,
        (SELECT to_json(upkeep) FROM upkeep) AS upkeep,
        CASE WHEN sees_settings
            THEN (SELECT coalesce(json_agg(in_force ORDER BY name), '[]') FROM in_force)
        END AS settings
    FROM server, position
)
SELECT
    to_json(status)::text,
    has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'execute')
        AND has_function_privilege('pg_ls_waldir()', 'execute')
FROM status
