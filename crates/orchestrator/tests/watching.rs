//! What is made of what the nodes say: streams, and whether what is waited for is so.

use insta::assert_snapshot;
use pgherd_orchestrator::{Awaited, ByteCount, streams};
use pgherd_probe::{Lsn, NodeRole, Observed, Policy, Report, assess};

/// A primary, a replica that lags, its downstream, one that is stopped, and one of which the primary knows nothing.
fn observed() -> Vec<Observed> {
    serde_json::from_str(include_str!("observed.json")).expect("nodes")
}

#[test]
fn a_stream_has_two_ends_and_any_of_them_may_be_missing() {
    let line = |stream: pgherd_orchestrator::Stream| {
        let sender = stream.sender.map_or("-".to_owned(), |sender| {
            format!("{} {}", sender.state.unwrap_or_default(), sender.flush_lsn.unwrap_or_default())
        });
        let receiver = stream.receiver.and_then(|receiver| receiver.status).unwrap_or("-".to_owned());
        let slot = stream.slot.map_or("-".to_owned(), |slot| slot.slot_name);
        format!("{} -> {}: {sender}, {receiver}, slot {slot}", stream.upstream, stream.downstream)
    };
    let lines: Vec<String> = streams(&observed()).into_iter().map(line).collect();
    assert_snapshot!(lines.join("\n"), @"
    demo-1 -> demo-2: streaming 0/5000000, streaming, slot demo_2
    demo-1 -> demo-2: streaming 0/3000000, -, slot demo_2
    demo-1 -> pg_basebackup: backup 0/0, -, slot -
    demo-2 -> demo-4: streaming 0/5000000, streaming, slot demo_4
    demo-1 -> demo-5: -, streaming, slot demo_5
    ");
}

#[test]
fn what_is_missing_is_said_of_those_who_miss_it() {
    let report = assess(&Policy::default(), &observed());
    let node = |number| Some("demo".parse::<pgherd_orchestrator::ClusterName>().expect("a name").node(number));
    let mut lines = Vec::new();
    for awaited in [
        Awaited::Streaming(None),
        Awaited::Streaming(node(2)),
        Awaited::Streaming(node(4)),
        Awaited::Replayed(Lsn(0x0500_0000), None),
        Awaited::Replayed(Lsn(0x0500_0000), node(4)),
        Awaited::Replayed(Lsn(0x0500_0001), node(4)),
        Awaited::Replayed(Lsn(0x0500_0000), node(1)),
        Awaited::LagBelow(ByteCount(4097), node(2)),
        Awaited::LagBelow(ByteCount(4096), node(2)),
        Awaited::LagBelow(ByteCount(1), None),
        Awaited::LagBelow(ByteCount(1), node(1)),
        Awaited::Role(NodeRole::Primary, node(1).expect("a node")),
        Awaited::Role(NodeRole::Primary, node(2).expect("a node")),
        Awaited::Role(NodeRole::Replica, node(3).expect("a node")),
    ] {
        lines.push(format!("{awaited}: {}", awaited.missing(&report).unwrap_or("yes".to_owned())));
    }
    assert_snapshot!(lines.join("\n"), @r#"
    every replica to stream: demo-3 is stopped: its container exited with code 137; demo-5 is not in pg_stat_replication of upstream "demo-1"
    "demo-2" to stream: yes
    "demo-4" to stream: yes
    every replica to replay 0/5000000: demo-2 is at 0/4FFF000; demo-3 is stopped: its container exited with code 137; demo-5 is at 0/4FFF000
    "demo-4" to replay 0/5000000: yes
    "demo-4" to replay 0/5000001: demo-4 is at 0/5000000
    "demo-1" to replay 0/5000000: yes
    "demo-2" to be less than 4097B behind: yes
    "demo-2" to be less than 4kB behind: demo-2 is 4096 bytes behind
    every replica to be less than 1B behind: demo-2 is 4096 bytes behind; demo-3 is stopped: its container exited with code 137; demo-5 is 4096 bytes behind
    "demo-1" to be less than 1B behind: demo-1 is a primary, running
    "demo-1" to be a primary: yes
    "demo-2" to be a primary: demo-2 is a replica, streaming
    "demo-3" to be a replica: demo-3 is stopped: its container exited with code 137
    "#);
}

#[test]
fn nothing_is_missing_where_nothing_is_wrong() {
    let observed: Vec<Observed> = observed().into_iter().filter(|node| node.node == "demo-1").collect();
    let report: Report = assess(&Policy::default(), &observed);
    for awaited in
        [Awaited::Streaming(None), Awaited::Replayed(Lsn(u64::MAX), None), Awaited::LagBelow(ByteCount(1), None)]
    {
        assert_eq!(awaited.missing(&report), None, "{awaited}");
    }
}
