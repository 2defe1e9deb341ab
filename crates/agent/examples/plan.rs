//! What the agent would do about a few states of a replica's disk. Run it by `cargo run -p pgherd-agent --example plan`.

use pgherd_agent::{
    ClusterState, ControlData, DataDirectory, GrantFile, Identity, Layout, NodeSpec, Observed, Partial, Role, Secrets,
    UpstreamFacts, plan,
};
use pgherd_probe::{SystemIdentifier, TimelineId};

fn main() -> Result<(), String> {
    let spec = NodeSpec::new("demo-2", Role::Replica { upstream: "demo-1".parse()? });
    let identity = Identity {
        system_identifier: SystemIdentifier(7_711_465_481_869_942_929),
        timeline: TimelineId(1),
        major: 17,
        has_slot: false,
    };
    let nothing = Observed {
        layout: Layout::of_image(17),
        data: DataDirectory::Missing,
        data_is_mount: false,
        data_place: None,
        partial: Partial::Missing,
        staged: DataDirectory::Missing,
        misplaced: None,
        grant: GrantFile::Missing,
        secrets: Secrets::Mounted { missing: vec![], system_identifier: Some(identity.system_identifier) },
        upstream: UpstreamFacts::Identified(identity),
    };
    let of_cluster = |system_identifier, standby| {
        let control = ControlData { system_identifier, timeline: TimelineId(1), state: ClusterState::ShutDown };
        DataDirectory::Initialized { control, standby }
    };
    for (title, observed) in [
        ("an empty disk", nothing.clone()),
        ("a clone that was cut off", Observed { partial: Partial::Ours, ..nothing.clone() }),
        ("a replica", Observed { data: of_cluster(identity.system_identifier, true), ..nothing.clone() }),
        ("another cluster's data", Observed { data: of_cluster(SystemIdentifier(42), true), ..nothing.clone() }),
        ("somebody's files", Observed { data: DataDirectory::Foreign(vec!["thesis.odt".into()]), ..nothing }),
    ] {
        println!("{title}:");
        match plan(&spec, &observed) {
            Ok(steps) => steps.iter().for_each(|step| println!("  {step}")),
            Err(refusal) => println!("  refused: {refusal}\n  hint: {}", refusal.hint()),
        }
    }
    Ok(())
}
