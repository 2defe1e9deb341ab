//! Whom a node clones.

use super::*;

#[test]
fn another_replica_is_cloned_by_who_has_followed_nobody_yet() {
    let spec = NodeSpec { clone_from: Some("demo-2".parse().unwrap()), ..replica() };
    let new = Observed { secrets: secrets_of(Some(OURS)), upstream: answer_of(OURS), ..blank() };
    let emptied = Observed { followed: Some("demo-1".parse().unwrap()), ..new.clone() };
    let not_rewindable = returning_with(Standing { rewindable: false, ..standing_at(0x500_0000, false) });
    for (observed, from) in [(new, "demo-2"), (emptied, "demo-1"), (not_rewindable, "demo-1")] {
        let plan = render(&spec, &observed);
        let clone = format!("cloning system identifier {OURS} from \"{from}:5432\"");
        assert!(plan.contains("creating a replication slot on \"demo-1:5432\"") && plan.ends_with(&clone), "{plan}");
    }
}
