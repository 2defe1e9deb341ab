-- One row of one column: the JSON form of NodeStatus, field by field. Every CASE is there because PostgreSQL refuses
-- the one kind of question on a primary and the other on a replica. Every greatest() of two ends is there because they
-- are not read at the same instant, or on the same clock, and what is meant has no sign.
WITH server AS MATERIALIZED (
    SELECT pg_is_in_recovery() AS in_recovery, pg_last_xact_replay_timestamp() AS replayed_at
), wal AS MATERIALIZED (
    SELECT
        CASE WHEN in_recovery
            THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_lsn()
        END AS end_lsn
    FROM server
), receiver AS MATERIALIZED (
    SELECT
        status, sender_host, sender_port, slot_name, received_tli, flushed_lsn, latest_end_lsn,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), last_msg_receipt_time) - last_msg_receipt_time
        ))::bigint AS last_msg_age_ms,
        ceil(1000 * extract(
            epoch FROM greatest(last_msg_send_time, last_msg_receipt_time) - last_msg_receipt_time
        ))::bigint AS clock_behind_ms
    FROM pg_stat_wal_receiver
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
        wal_status
    FROM pg_replication_slots, wal
), status AS (
    SELECT
        current_setting('server_version_num')::int AS server_version_num,
        -- The function's bigint is signed, the identifier is not.
        (SELECT mod(system_identifier + 18446744073709551616, 18446744073709551616)::text FROM pg_control_system())
            AS system_identifier,
        current_setting('cluster_name') AS cluster_name,
        CASE WHEN in_recovery
            THEN coalesce(
                (SELECT received_tli FROM receiver),
                greatest(
                    (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                    (SELECT timeline_id FROM pg_control_checkpoint())
                )
            )
            -- After a promotion pg_control stays behind until the next checkpoint; the name of the file does not.
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
        END AS timeline,
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
        nullif(current_setting('primary_slot_name'), '') AS primary_slot_name,
        CASE WHEN in_recovery THEN pg_get_wal_replay_pause_state() <> 'not paused' ELSE false END AS replay_paused,
        ceil(1000 * extract(
            epoch FROM greatest(clock_timestamp(), replayed_at) - replayed_at
        ))::bigint AS last_replay_age_ms,
        coalesce((SELECT json_agg(downstream ORDER BY application_name) FROM downstream), '[]') AS downstreams,
        coalesce((SELECT json_agg(slot ORDER BY slot_name) FROM slot), '[]') AS slots
    FROM server
)
SELECT to_json(status)::text FROM status
