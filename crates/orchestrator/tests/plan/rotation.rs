//! Which agent is told what, and when, so that secrets are replaced and nobody is disconnected.

use pgherd_orchestrator::{Rotation, plan_rotation};

use super::*;

fn rendered(rotation: Rotation, observed: &Inventory) -> String {
    match plan_rotation(rotation, observed) {
        Err(refusal) => format!("refused: {refusal}"),
        Ok(stages) => {
            let stages =
                stages.iter().map(|steps| steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
            stages.collect::<Vec<_>>().join("\nthen\n")
        }
    }
}

#[test]
fn all_who_run_are_told_and_in_this_order() {
    let mut observed = complete(2);
    observed.nodes.insert(1, answering_primary(1));
    observed.nodes.insert(3, node(3, Some(ContainerState::Exited { exit_code: 0 }), Some(replica())));
    assert_snapshot!(rendered(Rotation::Passwords, &observed), @"
    draw new passwords on demo-1
    then
    take up the new secrets on demo-1
    take up the new secrets on demo-2
    ");
    assert_snapshot!(rendered(Rotation::Certificates, &observed), @"
    take up the new secrets on demo-1
    take up the new secrets on demo-2
    ");
    assert_snapshot!(rendered(Rotation::Authority, &observed), @"
    make a new certificate authority beside the old one on demo-1
    then
    take up the new secrets on demo-1
    take up the new secrets on demo-2
    then
    retire the old certificate authority on demo-1
    ");
}

#[test]
fn who_cannot_be_told_is_waited_for() {
    assert_snapshot!(rendered(Rotation::Authority, &complete(2)), @r#"
    refused: cannot replace the secrets of cluster "demo": 0 nodes answer as its primary, and one must
    hint: "cluster status demo" tells more.
    "#);
    let mut observed = complete(2);
    observed.nodes.insert(1, answering_primary(1));
    observed.nodes.insert(2, answering_primary(2));
    assert_snapshot!(rendered(Rotation::Passwords, &observed), @r#"
    refused: cannot replace the secrets of cluster "demo": 2 nodes answer as its primary, and one must
    hint: "cluster status demo" tells more.
    "#);
    observed.nodes.insert(2, node(2, Some(ContainerState::Paused), Some(replica())));
    assert_snapshot!(rendered(Rotation::Passwords, &observed), @r#"
    refused: cannot replace secrets while "demo-2" is paused
    hint: Stop it, or bring it up, first.
    "#);
}
