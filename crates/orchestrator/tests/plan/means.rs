//! Plans for nodes with limits, with their data elsewhere, and with scripts.

use insta::assert_snapshot;
use pgherd_agent::Role;
use pgherd_orchestrator::{
    ClusterSpec, ContainerState, InitScript, Inventory, Limits, NodeInventory, Profile, Replicas, Storage, plan,
};

use crate::{complete, desired, node, nothing, rendered, replica};

fn half_a_cpu() -> Limits {
    Limits { memory: Some("1GB".parse().expect("a size")), cpus: Some("0.5".parse().expect("a number")) }
}

fn with(change: impl Fn(&mut NodeInventory), mut observed: Inventory) -> Inventory {
    observed.nodes.values_mut().for_each(change);
    observed
}

fn with_memory(observed: Inventory) -> Inventory {
    with(|node| node.storage = Storage::Memory, observed)
}

#[test]
fn a_cluster_that_is_thrown_away_is_in_memory_and_does_not_sync() {
    let mut throwaway = desired(Replicas::AtLeast(1));
    Profile::Throwaway.apply_to(&mut throwaway);
    assert_eq!(throwaway.common, [("fsync".to_owned(), "off".to_owned())].into());
    assert_snapshot!(rendered(&throwaway, &nothing()), @"
    create the network
    create the secrets volume
    create the volume of demo-1, for all but its data
    create the container of demo-1, the primary, with its data in memory
    start demo-1
    create the volume of demo-2, for all but its data
    create the container of demo-2, a replica of demo-1, with its data in memory
    start demo-2
    ");
    let mut durable = desired(Replicas::AtLeast(1));
    Profile::Durable.apply_to(&mut durable);
    assert_eq!(durable, desired(Replicas::AtLeast(1)));
}

#[test]
fn data_can_be_in_directories_and_those_of_new_nodes_are_beside_them() {
    let storage = Storage::Directory("/srv/shop".to_owned());
    let in_directories = ClusterSpec { storage: Some(storage.clone()), ..desired(Replicas::AtLeast(1)) };
    assert_snapshot!(rendered(&in_directories, &nothing()), @"
    create the network
    create the secrets volume in /srv/shop/demo-secrets
    create the volume of demo-1 in /srv/shop/demo-1
    create the container of demo-1, the primary
    start demo-1
    create the volume of demo-2 in /srv/shop/demo-2
    create the container of demo-2, a replica of demo-1
    start demo-2
    ");
    let observed = with(|node| node.storage = storage.clone(), complete(1));
    assert_snapshot!(rendered(&desired(Replicas::Exactly(2)), &observed), @"
    tell demo-1 to be the primary beside demo-2, demo-3
    tell demo-2 to be a replica of demo-1 beside demo-1, demo-3
    create the volume of demo-3 in /srv/shop/demo-3
    create the container of demo-3, a replica of demo-1
    start demo-3
    ");
}

#[test]
fn data_do_not_move() {
    let in_memory = ClusterSpec { storage: Some(Storage::Memory), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&in_memory, &complete(1)), @r#"
    refused: the data of cluster "demo" are on "named", not on "tmpfs"
    hint: Leave out "--volume", or remove the cluster and make it again.
    "#);
    let sized = ClusterSpec { volume_size: Some(crate::disks::half_a_gigabyte()), ..in_memory };
    assert_snapshot!(rendered(&sized, &nothing()), @r#"
    refused: a volume on "tmpfs" cannot have a size of 512MB
    hint: Leave out "--volume-size", or "--volume".
    "#);
}

#[test]
fn a_primary_that_has_lost_its_memory_is_not_begun_anew() {
    let mut observed = with_memory(complete(1));
    let ended = node(1, Some(ContainerState::Exited { exit_code: 137 }), Some(Role::Primary));
    observed.nodes.insert(1, NodeInventory { storage: Storage::Memory, ..ended });
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @r#"
    refused: the data of "demo-1", the primary, were in memory, and are gone with its container
    hint: "cluster failover demo --allow-data-loss" makes a replica the primary that still runs; or remove the cluster.
    "#);
    let mut observed = with_memory(complete(1));
    let ended = node(2, Some(ContainerState::Exited { exit_code: 137 }), Some(replica()));
    observed.nodes.insert(2, NodeInventory { storage: Storage::Memory, ..ended });
    let steps = plan(&desired(Replicas::AsFound), &crate::introduced(observed)).expect("a plan").steps;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["start demo-2"]);
}

#[test]
fn limits_are_changed_while_nodes_run_and_new_ones_have_those_of_the_others() {
    let limited = ClusterSpec { limits: half_a_cpu(), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&limited, &complete(1)), @"
    limit demo-1 to 1GB of memory and 0.5 CPUs
    limit demo-2 to 1GB of memory and 0.5 CPUs
    ");
    let observed = with(|node| node.limits = half_a_cpu(), complete(1));
    assert_eq!(plan(&limited, &observed).expect("a plan").steps, []);
    let more = ClusterSpec { limits: Limits { memory: Some("2GB".parse().expect("a size")), cpus: None }, ..limited };
    assert_snapshot!(rendered(&more, &observed), @"
    limit demo-1 to 2GB of memory and 0.5 CPUs
    limit demo-2 to 2GB of memory and 0.5 CPUs
    ");
    assert_snapshot!(rendered(&desired(Replicas::Exactly(2)), &observed), @"
    tell demo-1 to be the primary beside demo-2, demo-3
    tell demo-2 to be a replica of demo-1 beside demo-1, demo-3
    create the volume of demo-3
    create the container of demo-3, a replica of demo-1, with at most 1GB of memory and 0.5 CPUs
    start demo-3
    ");
}

#[test]
fn scripts_are_for_a_new_primary_alone() {
    let scripts = ["schema.sql", "rows.sql.gz"].map(|name| InitScript::new(name, "").expect("a script"));
    let filled = ClusterSpec { scripts: scripts.into(), ..desired(Replicas::AtLeast(1)) };
    assert_snapshot!(rendered(&filled, &nothing()), @"
    create the network
    create the secrets volume
    create the volume of demo-1
    create the container of demo-1, the primary
    have demo-1 run 001-schema.sql, 002-rows.sql.gz
    start demo-1
    create the volume of demo-2
    create the container of demo-2, a replica of demo-1
    start demo-2
    ");
    assert_eq!(plan(&filled, &complete(1)).expect("a plan").steps, []);
    // A making that was cut off before its primary was started.
    let mut observed = complete(1);
    observed.nodes.insert(1, node(1, Some(ContainerState::Created), Some(Role::Primary)));
    assert_snapshot!(rendered(&filled, &crate::introduced(observed)), @"
    have demo-1 run 001-schema.sql, 002-rows.sql.gz
    start demo-1
    ");
}

#[test]
fn new_nodes_have_the_settings_that_all_shall_have() {
    let common = [("work_mem".to_owned(), "64MB".to_owned())].into();
    let asked = ClusterSpec { common, ..desired(Replicas::AtLeast(1)) };
    let json = serde_json::to_string(&plan(&asked, &nothing()).expect("a plan")).expect("JSON");
    assert_eq!(json.matches(r#""settings":{"work_mem":"64MB"}"#).count(), 2, "{json}");
    // Those that are there are changed in an order of their own.
    assert_eq!(plan(&asked, &complete(1)).expect("a plan").steps, []);
}
