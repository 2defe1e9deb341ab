//! Settings that a replica has differently from its primary.

use insta::assert_snapshot;
use pgherd_probe::Health;

use crate::cluster::{Cluster, setting, verdict};

/// The cascade, with another setting on a node.
fn with(node: &str, name: &str, value: &str, boot_val: &str, unit: &str) -> String {
    verdict(|cluster| change(cluster, node, name, value, boot_val, unit))
}

fn change(cluster: &mut Cluster, node: &str, name: &str, value: &str, boot_val: &str, unit: &str) {
    let settings = cluster.status(node).settings.as_mut().expect("known settings");
    settings.retain(|setting| setting.name != name);
    settings.push(setting(name, value, boot_val, unit));
}

#[test]
fn what_one_node_has_otherwise_is_worth_a_note() {
    assert_snapshot!(with("demo-3", "work_mem", "65536", "4096", "kB"), @r#"
    healthy
    demo-3: streaming, 0 bytes behind, 0 ms behind
      note: has other settings than primary "demo-1": work_mem 64MB, not 4MB
      hint: Once this node is the primary, what it has holds. Set the same on all nodes; what was set by hand goes with ALTER SYSTEM RESET, and a reload or a restart.
    "#);
    // Where it is the primary, all others have it otherwise.
    assert_snapshot!(with("demo-1", "wal_keep_size", "128", "0", "MB"), @r#"
    healthy
    demo-2: streaming, 0 bytes behind, 0 ms behind
      note: has other settings than primary "demo-1": wal_keep_size 64MB, not 128MB
      hint: Once this node is the primary, what it has holds. Set the same on all nodes; what was set by hand goes with ALTER SYSTEM RESET, and a reload or a restart.
    demo-3: streaming, 0 bytes behind, 0 ms behind
      note: has other settings than primary "demo-1": wal_keep_size 64MB, not 128MB
      hint: Once this node is the primary, what it has holds. Set the same on all nodes; what was set by hand goes with ALTER SYSTEM RESET, and a reload or a restart.
    "#);
    assert_snapshot!(with("demo-2", "session_preload_libraries", "auto_explain", "", ""), @r#"
    healthy
    demo-2: streaming, 0 bytes behind, 0 ms behind
      note: has other settings than primary "demo-1": session_preload_libraries auto_explain, not ""
      hint: Once this node is the primary, what it has holds. Set the same on all nodes; what was set by hand goes with ALTER SYSTEM RESET, and a reload or a restart.
    "#);
}

#[test]
fn a_replica_with_less_than_its_primary_cannot_go_on() {
    let raise = |cluster: &mut Cluster| {
        change(cluster, "demo-1", "max_connections", "300", "100", "");
        change(cluster, "demo-3", "max_connections", "500", "100", "");
        change(cluster, "demo-3", "max_wal_senders", "5", "10", "");
        change(cluster, "demo-1", "max_wal_senders", "100", "10", "");
        change(cluster, "demo-2", "max_wal_senders", "100", "10", "");
    };
    assert_snapshot!(verdict(raise), @r#"
    degraded
    demo-2: streaming, 0 bytes behind, 0 ms behind
      has less than primary "demo-1" of what replay needs: max_connections 100, not 300
      hint: Raise them to what the primary has, and restart the node: replay pauses where it reads of the primary's, and to resume it would shut the node down.
    demo-3: streaming, 0 bytes behind, 0 ms behind
      has less than primary "demo-1" of what replay needs: max_wal_senders 5, not 100
      hint: Raise them to what the primary has, and restart the node: replay pauses where it reads of the primary's, and to resume it would shut the node down.
      note: has other settings than primary "demo-1": max_connections 500, not 300
      hint: Once this node is the primary, what it has holds. Set the same on all nodes; what was set by hand goes with ALTER SYSTEM RESET, and a reload or a restart.
    "#);
}

#[test]
fn what_is_a_nodes_own_is_no_drift() {
    for name in [
        "cluster_name",
        "data_directory",
        "hba_file",
        "ssl_cert_file",
        "unix_socket_directories",
        "listen_addresses",
        "port",
        "primary_slot_name",
        "synchronous_standby_names",
        "recovery_min_apply_delay",
        "recovery_target_time",
        "hot_standby_feedback",
        "max_standby_streaming_delay",
        "wal_receiver_status_interval",
    ] {
        assert_eq!(with("demo-2", name, "1", "0", ""), "healthy\n", "{name}");
    }
    // The same by another way: what PostgreSQL comes with was written down.
    assert_eq!(with("demo-2", "work_mem", "4096", "4096", "kB"), "healthy\n");
}

#[test]
fn nothing_is_compared_with_what_is_not_known() {
    let verdict_of = |spoil: fn(&mut Cluster)| {
        let mut cluster = Cluster::cascade();
        change(&mut cluster, "demo-2", "max_connections", "50", "100", "");
        spoil(&mut cluster);
        let report = cluster.assess();
        report.nodes[1].findings.iter().chain(&report.nodes[1].notes).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(verdict_of(|_| ()).len(), 1);
    // A role that sees nothing; another major version, which comes with other values; two primaries, of which neither is the one.
    assert_eq!(verdict_of(|cluster| cluster.status("demo-1").settings = None), Vec::<String>::new());
    assert_eq!(verdict_of(|cluster| cluster.status("demo-2").settings = None), Vec::<String>::new());
    assert_eq!(verdict_of(|cluster| cluster.status("demo-1").server_version_num = 180_001), Vec::<String>::new());
    let promote = |cluster: &mut Cluster| cluster.status("demo-3").lsn = cluster.status("demo-1").lsn;
    assert_eq!(verdict_of(promote), Vec::<String>::new());
    assert_eq!(Cluster::cascade().assess().health, Health::Healthy);
}
