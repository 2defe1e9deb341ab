//! The rows of the table of faults that no engine can make: all its nodes have one clock, and years do not pass in a
//! scenario. The others are in the end-to-end scenarios `faults::…`.

use std::fmt::Write;

use insta::assert_snapshot;
use pgherd_probe::{Lsn, NodeLsn, Past, Slot};

use crate::cluster::{Cluster, END};

/// An hour, by which a clock is wrong.
const HOUR_MS: u64 = 3_600_000;

/// The upstream has more, and the receiver of `demo-2` has received nothing for some seconds.
fn freeze_receiver(cluster: &mut Cluster) {
    cluster.status("demo-1").lsn = NodeLsn::Primary { write: Lsn(END.0 + 120), flush: Lsn(END.0 + 120) };
    cluster.status("demo-2").past =
        Past { receive_stalled_ms: Some(1_700), replay_stalled_ms: Some(0), ..Past::default() };
}

/// Messages of the replica carry its time, and are as old as its clock is behind.
fn clock_behind(cluster: &mut Cluster) {
    cluster.receiver("demo-2").clock_behind_ms = Some(HOUR_MS);
    cluster.downstream_of("demo-1").last_reply_age_ms = Some(HOUR_MS + 400);
}

/// Messages of the replica come from the future, and what it has replayed was committed an hour ago.
fn clock_ahead(cluster: &mut Cluster) {
    cluster.receiver("demo-2").last_msg_age_ms = Some(0);
    cluster.downstream_of("demo-1").last_reply_age_ms = Some(0);
    cluster.status("demo-2").last_replay_age_ms = Some(HOUR_MS);
}

/// What is done to a cluster.
type Spoil = fn(&mut Cluster);

const FAULTS: [(&str, Spoil); 9] = [
    ("no fault: clock of a replica an hour behind", clock_behind),
    ("no fault: clock of a replica an hour ahead", clock_ahead),
    ("clock behind, and wal receiver frozen", |cluster| {
        clock_behind(cluster);
        freeze_receiver(cluster);
    }),
    ("clock ahead, and wal receiver frozen", |cluster| {
        clock_ahead(cluster);
        freeze_receiver(cluster);
    }),
    ("no fault: nobody writes for a year", |cluster| {
        cluster.status("demo-2").last_replay_age_ms = Some(365 * 24 * HOUR_MS);
        cluster.status("demo-3").last_replay_age_ms = Some(365 * 24 * HOUR_MS);
    }),
    ("transaction ids half used up", |cluster| {
        cluster.status("demo-1").upkeep.transaction_age = Some(1_200_000_000);
    }),
    ("transaction ids nearly used up", |cluster| {
        cluster.status("demo-1").upkeep.transaction_age = Some(2_110_000_000);
    }),
    ("one node upgraded to the next major version", |cluster| {
        cluster.status("demo-3").server_version_num = 180_001;
    }),
    ("slot of a subscriber lost", |cluster| {
        cluster.status("demo-1").slots.push(Slot {
            slot_name: "subscription".to_owned(),
            slot_type: "logical".to_owned(),
            wal_status: Some("lost".to_owned()),
            ..Slot::default()
        });
    }),
];

#[test]
fn the_table_of_what_cannot_be_made() {
    let mut table = String::new();
    for (name, spoil) in FAULTS {
        let mut cluster = Cluster::cascade();
        spoil(&mut cluster);
        let report = cluster.assess();
        let of_nodes = report.nodes.iter().flat_map(|node| node.findings.iter().map(|finding| (&*node.node, finding)));
        let findings: Vec<String> = report
            .findings
            .iter()
            .map(|finding| ("cluster", finding))
            .chain(of_nodes)
            .map(|(whose, finding)| format!("{whose} {finding}"))
            .collect();
        writeln!(table, "{name}: {}", report.health).unwrap();
        findings.iter().for_each(|finding| writeln!(table, "  {finding}").unwrap());
    }
    assert_snapshot!(table, @r#"
    no fault: clock of a replica an hour behind: healthy
    no fault: clock of a replica an hour ahead: healthy
    clock behind, and wal receiver frozen: degraded
      demo-2 has received nothing for 1700 ms: it has 0/5000000 of 0/5000078 that upstream "demo-1" has
    clock ahead, and wal receiver frozen: degraded
      demo-2 has received nothing for 1700 ms: it has 0/5000000 of 0/5000078 that upstream "demo-1" has
    no fault: nobody writes for a year: healthy
    transaction ids half used up: degraded
      demo-1 has transaction ids that are 1200000000 transactions old, more than 1000000000, with 947483648 left
    transaction ids nearly used up: broken
      demo-1 has transaction ids that are 2110000000 transactions old, more than 1000000000, with 37483648 left
    one node upgraded to the next major version: degraded
      cluster different major versions: "demo-1" has 17, "demo-2" has 17, "demo-3" has 18
    slot of a subscriber lost: degraded
      demo-1 has lost its logical slot "subscription"
    "#);
}
