//! Promotions: who has parted, and who is on the way.

use insta::assert_snapshot;
use pgherd_probe::{History, Lsn, NodeLsn, TimelineId};

use crate::cluster::{Cluster, END, replica_at, verdict};

fn history(text: &str) -> Option<History> {
    Some(text.parse().unwrap())
}

#[test]
fn a_replica_that_was_promoted_behind_our_back() {
    let promote = |cluster: &mut Cluster| {
        let status = cluster.status("demo-2");
        status.lsn = NodeLsn::Primary { write: END, flush: END };
        status.timeline = TimelineId(2);
        status.history = history("1 0/5000000");
        status.receiver = None;
        cluster.status("demo-1").downstreams.clear();
        cluster.status("demo-3").timeline = TimelineId(2);
        cluster.status("demo-3").history = history("1 0/5000000");
    };
    assert_snapshot!(verdict(promote), @r#"
    broken
      2 primaries: "demo-1" on timeline 1 at 0/5000000, "demo-2" on timeline 2 at 0/5000000; they parted at 0/5000000 on timeline 1
      hint: Stop all of them but one at once: what is written to the others has to be thrown away. The highest timeline is that of the latest promotion.
    demo-2: running
      is a primary, but should stream from "demo-1"
      hint: If somebody promoted it, make it the primary everywhere. If nobody did, stop it before it is written to.
    "#);
}

/// A replica of a cluster whose first node was left behind by a promotion at 0/5000000.
fn after_a_promotion(cluster: &mut Cluster) {
    for node in ["demo-1", "demo-2"] {
        let status = cluster.status(node);
        status.timeline = TimelineId(2);
        status.history = history("1 0/5000000");
    }
}

#[test]
fn a_replica_on_its_way_after_a_promotion() {
    assert_snapshot!(verdict(after_a_promotion), @r#"
    degraded
      different timelines: "demo-1" has 2, "demo-2" has 2, "demo-3" has 1
      hint: Right after a promotion, wait. If it stays, the node has to be pointed to the new primary, rewound or cloned again.
    "#);
}

#[test]
fn a_replica_that_cannot_follow_a_promotion() {
    let outrun = |cluster: &mut Cluster| {
        after_a_promotion(cluster);
        let status = cluster.status("demo-3");
        status.lsn = replica_at(END.0 + 4096, END.0 + 4096);
        status.timeline_lsn = Some(Lsn(END.0 + 4096));
    };
    assert_snapshot!(verdict(outrun), @r#"
    broken
      "demo-3" on timeline 1 at 0/5001000 and "demo-1" parted at 0/5000000 on timeline 1
      hint: Read nothing from it: what it has after that place is in no other history. Rewind it with pg_rewind, or clone it again.
    "#);
}

#[test]
fn two_promotions_with_one_number() {
    let promote_twice = |cluster: &mut Cluster| {
        after_a_promotion(cluster);
        let status = cluster.status("demo-3");
        status.timeline = TimelineId(2);
        status.history = history("1 0/4FFF000");
    };
    assert_snapshot!(verdict(promote_twice), @r#"
    broken
      "demo-3" on timeline 2 at 0/5000000 and "demo-1" parted at 0/4FFF000 on timeline 1
      hint: Read nothing from it: what it has after that place is in no other history. Rewind it with pg_rewind, or clone it again.
    "#);
}

#[test]
fn a_replica_whose_timeline_is_not_certain() {
    let lose_the_receiver = |cluster: &mut Cluster| {
        after_a_promotion(cluster);
        let status = cluster.status("demo-3");
        status.lsn = replica_at(END.0 + 4096, END.0 + 4096);
        status.timeline_lsn = Some(Lsn(END.0 - 4096));
    };
    assert_snapshot!(verdict(lose_the_receiver), @r#"
    degraded
      different timelines: "demo-1" has 2, "demo-2" has 2, "demo-3" has 1
      hint: Right after a promotion, wait. If it stays, the node has to be pointed to the new primary, rewound or cloned again.
    "#);
}
