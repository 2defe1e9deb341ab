//! Plans for nodes whose volumes have a size.

use insta::assert_snapshot;
use pgherd_orchestrator::{ClusterSpec, ContainerState, Disk, Inventory, NodeInventory, Replicas, VolumeSize, plan};

use crate::{complete, desired, node, nothing, rendered, replica};

pub(crate) fn half_a_gigabyte() -> VolumeSize {
    "512MB".parse().expect("a size")
}

fn with_disks(mut observed: Inventory) -> Inventory {
    let disk = Disk { size: half_a_gigabyte(), is_detached: false };
    observed.nodes.values_mut().for_each(|node| node.disk = Some(disk));
    observed
}

fn on_disks(replicas: Replicas) -> ClusterSpec {
    ClusterSpec { volume_size: Some(half_a_gigabyte()), ..desired(replicas) }
}

#[test]
fn a_cluster_on_disks_is_made_in_one_plan_too() {
    assert_snapshot!(rendered(&on_disks(Replicas::AtLeast(1)), &nothing()), @"
    create the network
    create the secrets volume
    create the disk of demo-1, 512MB
    attach the disk of demo-1
    create the volume of demo-1 on its disk
    create the container of demo-1, the primary
    start demo-1
    create the disk of demo-2, 512MB
    attach the disk of demo-2
    create the volume of demo-2 on its disk
    create the container of demo-2, a replica of demo-1
    start demo-2
    ");
}

#[test]
fn a_complete_cluster_on_disks_needs_no_step_whether_asked_for_its_size_or_not() {
    let observed = with_disks(complete(2));
    for desired in [on_disks(Replicas::AsFound), desired(Replicas::AsFound)] {
        assert_eq!(plan(&desired, &observed).map(|plan| plan.steps), Ok(vec![]));
    }
}

#[test]
fn nodes_that_are_added_get_the_size_of_those_that_are_there() {
    assert_snapshot!(rendered(&desired(Replicas::Exactly(2)), &with_disks(complete(1))), @"
    tell demo-1 to be the primary beside demo-2, demo-3
    tell demo-2 to be a replica of demo-1 beside demo-1, demo-3
    create the disk of demo-3, 512MB
    attach the disk of demo-3
    create the volume of demo-3 on its disk
    create the container of demo-3, a replica of demo-1
    start demo-3
    ");
}

#[test]
fn a_disk_is_attached_before_anything_mounts_it_and_detached_before_it_goes() {
    let mut observed = with_disks(complete(4));
    let on_its_disk =
        |found| NodeInventory { disk: Some(Disk { size: half_a_gigabyte(), is_detached: false }), ..found };
    observed.nodes.insert(2, on_its_disk(node(2, Some(ContainerState::Exited { exit_code: 0 }), Some(replica()))));
    observed.nodes.insert(3, on_its_disk(node(3, None, None)));
    observed.nodes.insert(4, on_its_disk(NodeInventory { volume: false, ..node(4, None, None) }));
    assert_snapshot!(rendered(&desired(Replicas::Exactly(3)), &observed), @"
    tell demo-1 to be the primary beside demo-2, demo-3, demo-4
    attach the disk of demo-2
    make demo-2 a replica of demo-1
    start demo-2
    attach the disk of demo-3
    create the container of demo-3
    attach the disk of demo-4
    create the volume of demo-4 on its disk
    create the container of demo-4
    remove the container of demo-5
    drop the slot of demo-5 on demo-1
    detach the disk of demo-5
    remove the volume of demo-5
    remove the disk of demo-5
    ");
}

#[test]
fn after_a_restart_of_the_host_the_disks_come_first() {
    let mut observed = with_disks(complete(2));
    for number in [1, 3] {
        let found = node(number, Some(ContainerState::Exited { exit_code: 128 }), None);
        let disk = Some(Disk { size: half_a_gigabyte(), is_detached: true });
        observed.nodes.insert(number, NodeInventory { disk, ..found });
    }
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"
    attach the disk of demo-1
    attach the disk of demo-3
    ");
}

#[test]
fn another_size_is_refused() {
    let other = ClusterSpec { volume_size: Some("2GB".parse().expect("a size")), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&other, &with_disks(complete(1))), @r#"
    refused: the volumes of cluster "demo" have 512MB, not 2GB
    hint: Leave out "--volume-size", or remove the cluster and make it again.
    "#);
    assert_snapshot!(rendered(&on_disks(Replicas::AsFound), &complete(1)), @r#"
    refused: the volumes of cluster "demo" have no size of their own, so none of 512MB
    hint: Leave out "--volume-size", or remove the cluster and make it again.
    "#);
}
