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
        other_wal: None,
    };
    let secrets = Secrets::Mounted { missing: vec![], system_identifier: Some(identity.system_identifier) };
    let upstream = UpstreamFacts::Identified(identity);
    let nothing = Observed { upstream, ..Observed::nothing(layout, secrets) };
    let of_cluster = |system_identifier, standby| {
        let (timeline, state) = (TimelineId(1), ClusterState::ShutDown);
        let (position, rewindable, segment_size) = (Lsn(0x300_0000), true, 16 << 20);
        let control = ControlData { system_identifier, timeline, state, position, rewindable, segment_size };
        DataDirectory::Initialized { control, standby }
    };
    let with_data = |last_record, standby| {
        let (timeline, history) = (TimelineId(1), History::default());
        let (last_record, read_to, segment_size) = (Lsn(last_record), Some(Lsn(last_record + 24)), 16 << 20);
        let recorded = timeline;
        let standing =
            Standing { timeline, recorded, history, last_record, read_to, standby, rewindable: true, segment_size };
        let upstream = UpstreamFacts::Traced(identity, standing, lineage.clone());
        Observed { data: of_cluster(identity.system_identifier, standby), upstream, ..nothing.clone() }
    };
    for (title, observed) in [
        ("an empty disk", nothing.clone()),
        ("a clone that was cut off", Observed { partial: Partial::Ours, ..nothing.clone() }),
        ("a replica", with_data(0x300_0028, true)),
        ("an old primary, with what nobody else has", with_data(0x400_0028, false)),
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
