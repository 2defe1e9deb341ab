//! Who follows whom, and what cannot be.

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use pgherd_agent::{Role, Upstream};
use pgherd_orchestrator::{ClusterSpec, Inventory, Replicas, Step, after, plan};

use crate::{complete, desired, nothing, rendered, succession::streaming};

fn follow(edges: &[(u16, u16)]) -> ClusterSpec {
    ClusterSpec { upstreams: BTreeMap::from_iter(edges.iter().copied()), ..desired(Replicas::AsFound) }
}

/// A chain: each node follows the one before it.
fn chain(replicas: u16) -> Inventory {
    let mut observed = complete(replicas);
    for number in 3..replicas + 2 {
        let upstream = Upstream { host: format!("demo-{}", number - 1), port: 5432 };
        observed.nodes.get_mut(&number).expect("a node").spec.as_mut().expect("a specification").role =
            Role::Replica { upstream };
    }
    observed
}

#[test]
fn a_tree_is_made_as_it_is_asked_for() {
    let tree = ClusterSpec { replicas: Replicas::AtLeast(3), ..follow(&[(3, 2), (4, 3)]) };
    let text = rendered(&tree, &nothing());
    let containers: Vec<&str> = text.lines().filter(|line| line.starts_with("create the container")).collect();
    assert_snapshot!(containers.join("\n"), @"
    create the container of demo-1, the primary
    create the container of demo-2, a replica of demo-1
    create the container of demo-3, a replica of demo-2
    create the container of demo-4, a replica of demo-3
    ");
}

#[test]
fn of_many_that_are_born_together_most_clone_each_other() {
    let clones = |desired: &ClusterSpec, observed: &Inventory| {
        let steps = plan(desired, observed).expect("a plan").steps;
        let clone = |step: &Step| match step {
            Step::CreateContainer { node, born_as: Some(spec), .. } => {
                Some(format!("{}<{}", node.number, spec.clone_from.as_ref()?.host.trim_start_matches("demo-")))
            }
            _ => None,
        };
        steps.iter().filter_map(clone).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(clones(&desired(Replicas::AtLeast(4)), &nothing()), "");
    assert_eq!(clones(&desired(Replicas::AtLeast(5)), &nothing()), "4<2 5<2 6<2");
    assert_eq!(clones(&desired(Replicas::AtLeast(12)), &nothing()), "4<2 5<2 6<2 7<2 8<3 9<3 10<3 11<3 12<4 13<4");
    // Whoever follows another replica clones that one, and those who come later may have much to clone.
    let tree = ClusterSpec { upstreams: BTreeMap::from([(4, 2)]), ..desired(Replicas::AtLeast(6)) };
    assert_eq!(clones(&tree, &nothing()), "5<2 6<2 7<2");
    assert_eq!(clones(&desired(Replicas::Exactly(9)), &complete(1)), "");
}

#[test]
fn a_tree_stays_as_it_is() {
    assert_eq!(plan(&desired(Replicas::AsFound), &chain(3)).map(|plan| plan.steps), Ok(vec![]));
    assert_snapshot!(rendered(&follow(&[(4, 1)]), &chain(3)), @"tell demo-4 to be a replica of demo-1 beside demo-1, demo-2, demo-3");
}

#[test]
fn a_quorum_is_of_those_who_follow_the_primary_itself() {
    let quorum = |mut observed: Inventory| {
        observed.nodes.values_mut().filter_map(|node| node.spec.as_mut()).for_each(|spec| spec.quorum = 2);
        observed
    };
    let of_two = ClusterSpec { quorum: Some(2), ..desired(Replicas::AsFound) };
    let refused = rendered(&of_two, &chain(2));
    assert_snapshot!(refused, @r#"
    refused: a quorum of 2 is more than the 1 replicas of cluster "demo" that follow the primary itself
    hint: A replica of a replica confirms no commit. Ask for a smaller quorum, or let more follow the primary.
    "#);
    assert_eq!(rendered(&follow(&[(3, 2)]), &quorum(complete(2))), refused);
    let without = ClusterSpec { without: BTreeSet::from([2]), ..desired(Replicas::AsFound) };
    let mut fan = quorum(complete(3));
    fan.nodes.get_mut(&4).and_then(|node| node.spec.as_mut()).expect("a specification").role =
        Role::Replica { upstream: Upstream { host: "demo-3".to_owned(), port: 5432 } };
    assert_eq!(rendered(&without, &fan), refused);
    // A switchover that was cut off may have left it so: it can be finished, or undone.
    assert_eq!(plan(&desired(Replicas::AsFound), &quorum(chain(2))).map(|plan| plan.steps), Ok(vec![]));
    assert!(plan(&follow(&[(3, 1)]), &quorum(chain(2))).is_ok());
}

#[test]
fn who_loses_his_upstream_follows_the_primary() {
    let without = ClusterSpec { without: BTreeSet::from([3]), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&without, &chain(3)), @"
    tell demo-1 to be the primary beside demo-2, demo-4
    tell demo-2 to be a replica of demo-1 beside demo-1, demo-4
    tell demo-4 to be a replica of demo-1 beside demo-1, demo-2
    remove the container of demo-3
    drop the slot of demo-3 on demo-2
    remove the volume of demo-3
    ");
}

#[test]
fn slots_that_nobody_uses_go() {
    let mut observed = streaming(2);
    let steps = plan(&follow(&[(3, 2)]), &observed).expect("a plan").steps;
    observed = after(&steps, &observed);
    assert_eq!(plan(&desired(Replicas::AsFound), &observed).map(|plan| plan.steps), Ok(vec![]), "it is in use");
    if let pgherd_probe::Reach::Answered(status) = &mut observed.nodes.get_mut(&1).expect("a node").reach {
        status.slots.iter_mut().for_each(|slot| slot.active = slot.slot_name != "demo_3");
    }
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"drop the slot of demo-3 on demo-1");
}

#[test]
fn a_quorum_is_told_to_all() {
    let quorum = |quorum| ClusterSpec { quorum: Some(quorum), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&quorum(1), &complete(2)), @"
    tell demo-1 to be the primary beside demo-2, demo-3, any 1 of which confirm a commit
    tell demo-2 to be a replica of demo-1 beside demo-1, demo-3, any 1 of which confirm a commit
    tell demo-3 to be a replica of demo-1 beside demo-1, demo-2, any 1 of which confirm a commit
    ");
    assert_snapshot!(rendered(&quorum(3), &complete(2)), @r#"
    refused: a quorum of 3 is more than the 2 replicas of cluster "demo"
    hint: Commits would wait for ever. Ask for a smaller quorum, or for more replicas.
    "#);
}

#[test]
fn what_cannot_be_is_refused() {
    assert_snapshot!(rendered(&follow(&[(2, 3), (3, 2)]), &complete(2)), @"
    refused: nodes demo-2, demo-3 would follow each other in a circle
    hint: Every chain of upstreams has to end at the primary.
    ");
    assert_snapshot!(rendered(&follow(&[(2, 2)]), &complete(2)), @"
    refused: nodes demo-2 would follow each other in a circle
    hint: Every chain of upstreams has to end at the primary.
    ");
    assert_snapshot!(rendered(&follow(&[(2, 7)]), &complete(2)), @r#"
    refused: cannot make "demo-2" a replica of "demo-7": there is no such node
    hint: "cluster status demo" lists the nodes.
    "#);
    assert_snapshot!(rendered(&follow(&[(7, 2)]), &complete(2)), @r#"
    refused: there is no node "demo-7"
    hint: "cluster status demo" lists the nodes of a cluster.
    "#);
    assert_snapshot!(rendered(&follow(&[(1, 2)]), &complete(2)), @r#"
    refused: "demo-1" is the primary, which follows nobody
    hint: "cluster switchover" makes another node the primary.
    "#);
    let without = ClusterSpec { without: BTreeSet::from([1]), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&without, &complete(2)), @r#"
    refused: cannot remove "demo-1", which is the primary
    hint: "cluster switchover demo" makes another node the primary first.
    "#);
}
