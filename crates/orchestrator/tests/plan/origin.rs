//! Clusters that begin with data that are there.

use pgherd_orchestrator::{Cluster, ClusterFile, Origin, Settings, Step};
use proptest::prelude::*;

use super::*;
use crate::{disks::half_a_gigabyte, laws::apply_to};

fn pg_data() -> Origin {
    Origin::Volume("pg_data".to_owned())
}

fn of_pg_data(replicas: Replicas) -> ClusterSpec {
    ClusterSpec { origin: Some(pg_data()), ..desired(replicas) }
}

#[test]
fn data_are_copied_before_anybody_starts() {
    let plan = rendered(&of_pg_data(Replicas::AtLeast(1)), &nothing());
    assert_snapshot!(plan, @r#"
    create the network
    create the secrets volume
    create the volume of demo-1
    copy the data of volume "pg_data" to the volume of demo-1
    create the container of demo-1, the primary
    start demo-1
    create the volume of demo-2
    create the container of demo-2, a replica of demo-1
    start demo-2
    "#);
    let on_disks = ClusterSpec { volume_size: Some(half_a_gigabyte()), ..of_pg_data(Replicas::AtLeast(1)) };
    let of_node_1: String = rendered(&on_disks, &nothing()).lines().skip(2).take(6).collect::<Vec<_>>().join("\n");
    assert_snapshot!(of_node_1, @r#"
    create the disk of demo-1, 512MB
    attach the disk of demo-1
    create the volume of demo-1 on its disk
    copy the data of volume "pg_data" to the volume of demo-1
    create the container of demo-1, the primary
    start demo-1
    "#);
}

#[test]
fn what_the_data_need_is_needed_by_replicas_too() {
    let settings = BTreeMap::from([(1, Settings::from([("max_connections".to_owned(), "300".to_owned())]))]);
    let desired = ClusterSpec { settings, ..of_pg_data(Replicas::AtLeast(2)) };
    let born_as = |step: &Step| match step {
        Step::CreateContainer { born_as, .. } => born_as.as_ref().map(|spec| spec.settings.clone()),
        _ => None,
    };
    let settings: Vec<_> = plan(&desired, &nothing()).expect("a plan").steps.iter().filter_map(born_as).collect();
    assert_eq!(settings.len(), 3);
    assert!(settings.iter().all(|settings| settings["max_connections"] == "300"));
}

#[test]
fn a_cluster_begins_but_once() {
    let begun = Inventory { origin: Some(pg_data()), ..complete(2) };
    for desired in [of_pg_data(Replicas::AsFound), desired(Replicas::AsFound)] {
        assert_eq!(plan(&desired, &begun).map(|plan| plan.steps), Ok(vec![]));
    }
    let other = Origin::Directory("/srv/data".to_owned());
    assert_snapshot!(rendered(&ClusterSpec { origin: Some(other), ..desired(Replicas::AsFound) }, &begun), @r#"
    refused: cluster "demo" is there already, and did not begin with the data of directory "/srv/data"
    hint: Leave that out, or give the cluster that is to begin with them another name.
    "#);
    assert_snapshot!(rendered(&of_pg_data(Replicas::AsFound), &complete(2)), @r#"
    refused: cluster "demo" is there already, and did not begin with the data of volume "pg_data"
    hint: Leave that out, or give the cluster that is to begin with them another name.
    "#);
}

#[test]
fn whoever_has_run_is_not_brought_data_again() {
    let mut observed = Inventory { origin: Some(pg_data()), ..complete(1) };
    observed.nodes.insert(1, node(1, None, None));
    assert_snapshot!(rendered(&of_pg_data(Replicas::AsFound), &observed), @"create the container of demo-1");
    observed.nodes.insert(1, node(1, Some(ContainerState::Created), Some(Role::Primary)));
    assert_snapshot!(rendered(&of_pg_data(Replicas::AsFound), &introduced(observed)), @"start demo-1");
}

#[test]
fn the_same_by_flags_by_file_and_by_library() {
    let by_flags = ClusterSpec { publish: true, quorum: Some(0), ..of_pg_data(Replicas::Exactly(2)) };
    let text = "replicas = 2\nquorum = 0\npublish = true\nfrom-volume = \"pg_data\"\n";
    let file: ClusterFile = text.parse().expect("a file");
    let by_file = file.spec(&desired(Replicas::AsFound));
    assert_eq!(by_file, by_flags);
    assert_eq!(file.to_string(), text);
    let builder = Cluster::builder().name("demo").expect("a name").from_volume("pg_data");
    let by_library = ClusterSpec { owner: None, replicas: Replicas::Exactly(2), ..builder.spec() };
    assert_eq!(by_library, by_flags);

    let written = ClusterFile::of(&Inventory { origin: Some(Origin::Directory("/srv/data".into())), ..complete(2) });
    assert_eq!((written.from_volume, written.from_dir.as_deref()), (None, Some("/srv/data")));
    let both: Result<ClusterFile, _> = "from-volume = \"a\"\nfrom-dir = \"b\"".parse();
    assert_snapshot!(both.expect_err("two things"), @r#"a cluster begins with one thing: "from-volume" or "from-dir""#);
}

proptest! {
    /// However a plan was cut off, nobody who is asked to be the primary starts without the data, and they are brought to nobody who did.
    #[test]
    fn no_primary_starts_without_the_data(
        cuts in prop::collection::vec(0..12_usize, 4),
        forgets in any::<bool>(),
    ) {
        let (mut observed, mut is_brought, mut has_started) = (nothing(), false, false);
        for cut in cuts.into_iter().map(Some).chain(std::iter::repeat_n(None, 6)) {
            // Whoever goes on need not say it again: it is written down before there is a node.
            let is_written = observed.origin.is_some();
            let desired = if forgets && is_written { desired(Replicas::Exactly(2)) } else { of_pg_data(Replicas::Exactly(2)) };
            let steps = plan(&desired, &observed).expect("a plan").steps;
            for step in &steps[..cut.map_or(steps.len(), |cut| cut.min(steps.len()))] {
                match step {
                    Step::CreateSecretsVolume => observed.origin = desired.origin.clone(),
                    Step::BringData { node, origin } => {
                        prop_assert!(node.number == 1 && *origin == pg_data() && !has_started);
                        is_brought = true;
                    }
                    Step::Start(node) if node.number == 1 => {
                        prop_assert!(is_brought, "the primary starts without the data");
                        has_started = true;
                    }
                    _ => {}
                }
                apply_to(&mut observed, std::slice::from_ref(step));
            }
        }
        prop_assert!(has_started);
    }
}
