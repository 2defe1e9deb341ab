//! What the agent would do about a few states of a replica's disk. Run it by `cargo run -p pgherd-agent --example plan`.

use pgherd_agent::{
    ClusterState, ControlData, DataDirectory, Identity, Layout, Lineage, NodeSpec, Observed, Partial, Role, Secrets,
    Slot, Standing, UpstreamFacts, plan,
};
use pgherd_probe::{History, Lsn, ParseHistoryError, ParseLsnError, SystemIdentifier, TimelineId};

fn main() -> Result<(), String> {
    let spec = NodeSpec::new("demo-2", Role::Replica { upstream: "demo-1".parse()? });
    let layout = Layout::of_image(17);
    let identity = Identity {
        system_identifier: SystemIdentifier(7_711_465_481_869_942_929),
        timeline: TimelineId(2),
        position: "0/5000000".parse().map_err(|error: ParseLsnError| error.to_string())?,
        in_recovery: false,
        major: 17,
        slot: Slot::Kept,
    };
    let lineage = Lineage {
        history: "1 0/3000148".parse().map_err(|error: ParseHistoryError| error.to_string())?,
        oldest_wal: None,
    };
    let secrets = Secrets::Mounted { missing: vec![], system_identifier: Some(identity.system_identifier) };
    let upstream = UpstreamFacts::Traced(identity, lineage);
    let nothing = Observed { upstream, ..Observed::nothing(layout, secrets) };
    let of_cluster = |system_identifier, standby| {
        let (timeline, state) = (TimelineId(1), ClusterState::ShutDown);
        let (position, rewindable, segment_size) = (Lsn(0x300_0000), true, 16 << 20);
        let control = ControlData { system_identifier, timeline, state, position, rewindable, segment_size };
        DataDirectory::Initialized { control, standby }
    };
    let standing = |last_record, standby| {
        let (timeline, history, last_record) = (TimelineId(1), History::default(), Lsn(last_record));
        Some(Standing { timeline, history, last_record, standby, rewindable: true, segment_size: 16 << 20 })
    };
    let ours = identity.system_identifier;
    let replica = Observed { data: of_cluster(ours, true), standing: standing(0x300_0028, true), ..nothing.clone() };
    let old_primary =
        Observed { data: of_cluster(ours, false), standing: standing(0x400_0028, false), ..nothing.clone() };
    for (title, observed) in [
        ("an empty disk", nothing.clone()),
        ("a clone that was cut off", Observed { partial: Partial::Ours, ..nothing.clone() }),
        ("a replica", replica),
        ("an old primary, with what nobody else has", old_primary),
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
