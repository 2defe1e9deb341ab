//! What does not move: stopped, in a conflict, or meant to.

use insta::assert_snapshot;
use pgherd_probe::{Lsn, NodeLsn, Process};

use crate::cluster::{Cluster, END, replica_at, verdict};

#[test]
fn processes_that_are_stopped() {
    let stop = |node: &str, backend_types: &[&str]| {
        let processes = backend_types
            .iter()
            .zip(27..)
            .map(|(backend_type, pid)| Process { backend_type: (*backend_type).to_owned(), pid });
        verdict(|cluster| cluster.status(node).stopped = Some(processes.collect()))
    };
    assert_snapshot!(stop("demo-1", &["postmaster", "walsender"]), @r"
    degraded
    demo-1: running
      has processes that are stopped: postmaster [27], walsender [28]
      hint: Find out who stopped them, and send them SIGCONT. Without a postmaster there are no new connections.
    ");
    assert_snapshot!(stop("demo-2", &["checkpointer", "startup"]), @r"
    degraded
    demo-2: not streaming, 0 bytes behind, 0 ms behind
      has processes that are stopped: startup [28]
      hint: Find out who stopped them, and send them SIGCONT. Without a postmaster there are no new connections.
      has processes that are stopped: checkpointer [27]
      hint: Find out who stopped them, and send them SIGCONT. Without a postmaster there are no new connections.
    ");
}

#[test]
fn a_receiver_that_is_frozen() {
    let freeze = |cluster: &mut Cluster| {
        cluster.status("demo-2").lsn = replica_at(END.0 - 4096, END.0 - 4096);
        cluster.status("demo-2").past.receive_stalled_ms = Some(1_990);
    };
    assert_snapshot!(verdict(freeze), @r#"
    degraded
    demo-2: not streaming, 4096 bytes behind
      has received nothing for 1990 ms: it has 0/4FFF000 of 0/5000000 that upstream "demo-1" has
      hint: Look for a wal receiver or a wal sender that is stopped, for a network that is cut, and for a disk that does not keep up.
    "#);
}

#[test]
fn a_startup_process_that_is_frozen() {
    let freeze = |cluster: &mut Cluster| {
        cluster.status("demo-3").lsn = replica_at(END.0, END.0 - 4096);
        cluster.status("demo-3").past.replay_stalled_ms = Some(1_990);
    };
    // One that is at work has more time.
    let at_work = |cluster: &mut Cluster| {
        freeze(cluster);
        cluster.status("demo-3").replay.as_mut().unwrap().wait_event_type = Some("IO".to_owned());
    };
    assert_eq!(verdict(at_work), "healthy\n");
    assert_snapshot!(verdict(freeze), @r"
    degraded
    demo-3: not streaming, 4096 bytes behind
      has replayed nothing for 1990 ms: it is at 0/4FFF000, with 0/5000000 received
      hint: Look at the startup process: it is stopped, or waits for its disk. If it stays, restart the replica.
    ");
}

#[test]
fn a_long_conflict() {
    let conflict = |stalled_ms| {
        verdict(|cluster| {
            let status = cluster.status("demo-3");
            status.lsn = replica_at(END.0, END.0 - 4096);
            status.past.replay_stalled_ms = Some(stalled_ms);
            let replay = status.replay.as_mut().unwrap();
            replay.wait_event_type = Some("IPC".to_owned());
            replay.wait_event = Some("RecoveryConflictSnapshot".to_owned());
        })
    };
    assert_snapshot!(conflict(9_990), @"healthy");
    assert_snapshot!(conflict(10_990), @r"
    degraded
    demo-3: not streaming, 4096 bytes behind
      has waited with replay for a query for 10990 ms, more than 10000 ms: RecoveryConflictSnapshot
      hint: Wait for max_standby_streaming_delay, or end the query: pg_stat_activity on the replica shows it.
    ");
}

#[test]
fn a_delay_that_is_asked_for() {
    let delay = |lag_ms, stalled_ms| {
        verdict(|cluster| {
            cluster.status("demo-1").lsn = NodeLsn::Primary { write: Lsn(END.0 + (2 << 30)), flush: END };
            cluster.downstream_of("demo-1").replay_lag_ms = Some(lag_ms);
            let status = cluster.status("demo-2");
            status.past.replay_stalled_ms = Some(stalled_ms);
            status.replay.as_mut().unwrap().min_apply_delay_ms = Some(300_000);
        })
    };
    assert_snapshot!(delay(359_000, 301_000), @r"
    healthy
    demo-2: streaming, 2147483648 bytes behind, 359000 ms behind
      note: replays 300000 ms late, as recovery_min_apply_delay says
      hint: Set recovery_min_apply_delay to 0 if nobody needs the delay.
    ");
    assert_snapshot!(delay(361_000, 302_000), @r"
    degraded
    demo-2: not streaming, 2147483648 bytes behind, 361000 ms behind
      has replayed nothing for 302000 ms: it is at 0/5000000, with 0/5000000 received
      hint: Look at the startup process: it is stopped, or waits for its disk. If it stays, restart the replica.
      is 361000 ms behind, more than 360000 ms
      hint: Look for a long query that conflicts with replay, for a slow disk, and for a burst of writes on the primary.
      note: replays 300000 ms late, as recovery_min_apply_delay says
      hint: Set recovery_min_apply_delay to 0 if nobody needs the delay.
    ");
}
