//! What holds for every cluster, however odd.

use pgherd_probe::{
    Archiver, CollationMismatch, Disk, Downstream, Finding, Health, History, Lsn, NodeLsn, NodeReport, NodeRole,
    NodeState, NodeStatus, Observed, Past, Policy, Process, Reach, Receiver, Replay, Report, Setting, Slot, Switch,
    Synchronous, SystemIdentifier, TimelineId, Upkeep, Watch, assess,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::cluster::{Cluster, setting};

/// Few names, so that they often meet.
const NODES: [&str; 4] = ["demo-1", "demo-2", "demo-3", "demo-4"];

fn node() -> impl Strategy<Value = String> {
    select(&NODES[..]).prop_map(str::to_owned)
}

/// What they name their slots, after themselves or not.
fn slot_name() -> impl Strategy<Value = String> {
    node().prop_map(|node| node.replace('-', "_"))
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    option::weighted(0.9, select(words).prop_map(str::to_owned))
}

fn lsn() -> impl Strategy<Value = Option<Lsn>> {
    option::weighted(0.9, prop_oneof![0..4_u64, any::<u64>()].prop_map(Lsn))
}

prop_compose! {
    fn receiver()(
        status in word(&["streaming", "streaming", "waiting"]),
        sender_host in option::of(node()),
        slot_name in option::of(slot_name()),
        flushed_lsn in lsn(),
        clock_behind_ms in option::of(0..5_000_u64),
        wait_event_type in word(&["Activity", "Activity", "IO"]),
    ) -> Receiver {
        Receiver { status, sender_host, slot_name, flushed_lsn, clock_behind_ms, wait_event_type, ..Receiver::default() }
    }
}

prop_compose! {
    fn downstream()(
        application_name in node(),
        state in word(&["streaming", "streaming", "catchup", "backup"]),
        sent_lsn in lsn(),
        replay_lag_ms in any::<Option<u64>>(),
        last_reply_age_ms in option::of(0..10_000_u64),
    ) -> Downstream {
        Downstream { application_name, state, sent_lsn, replay_lag_ms, last_reply_age_ms, ..Downstream::default() }
    }
}

prop_compose! {
    fn slot()(
        slot_name in slot_name(),
        slot_type in select(&["physical", "physical", "logical"][..]).prop_map(str::to_owned),
        active: bool,
        (retained_bytes, safe_wal_bytes) in any::<(Option<u64>, Option<i64>)>(),
        wal_status in word(&["reserved", "unreserved", "lost"]),
    ) -> Slot {
        Slot { slot_name, slot_type, active, retained_bytes, safe_wal_bytes, wal_status, ..Slot::default() }
    }
}

prop_compose! {
    fn replay()(
        wait_event_type in word(&["Activity", "IO", "Lock", "BufferPin"]),
        wait_event in word(&["RecoveryWalStream", "RecoveryConflictSnapshot", "relation"]),
        min_apply_delay_ms in select(&[None, Some(0), Some(5_000), Some(u64::MAX)][..]),
        max_streaming_delay_ms in select(&[None, Some(-1), Some(30_000)][..]),
    ) -> Replay {
        Replay { wait_event_type, wait_event, min_apply_delay_ms, max_streaming_delay_ms, conflicts: None }
    }
}

prop_compose! {
    fn upkeep()(
        pending_restart in option::of(vec(Just("shared_buffers".to_owned()), 0..2)),
        versions in option::of(vec(any::<(bool, bool)>(), 0..2)),
        (checksum_failures, last_checksum_failure_age_ms) in any::<(Option<u64>, Option<u64>)>(),
        mode in select(&["off", "on", "always"][..]),
        (last_archived_age_ms, last_failed_age_ms) in any::<(Option<u64>, Option<u64>)>(),
        (transaction_age, autovacuum_freeze_max_age) in any::<(Option<u64>, Option<u64>)>(),
    ) -> Upkeep {
        let version = |known: bool| known.then(|| "2.41".to_owned());
        let mismatch = |(recorded, actual)| CollationMismatch {
            kind: "database".to_owned(),
            name: "app".to_owned(),
            recorded: version(recorded),
            actual: version(actual),
        };
        Upkeep {
            pending_restart,
            collation_mismatches: versions.map(|versions| versions.into_iter().map(mismatch).collect()),
            checksum_failures,
            last_checksum_failure_age_ms,
            archiver: Some(Archiver {
                mode: mode.to_owned(), last_archived_age_ms, last_failed_age_ms, ..Archiver::default()
            }),
            transaction_age,
            autovacuum_freeze_max_age,
        }
    }
}

prop_compose! {
    fn synchronous()(
        standby_names in word(&["", "*", "demo-1", "\"demo-1\"", "ANY 2 (\"demo-1\", \"demo-2\", \"demo-3\")", "2 ("]),
        commits_waiting: Option<u64>,
    ) -> Synchronous {
        Synchronous { standby_names, commits_waiting }
    }
}

/// Few places, so that histories are often the same.
fn history() -> impl Strategy<Value = Option<History>> {
    let switches = vec((1..4_u32, 0..4_u64), 0..3);
    option::of(switches.prop_map(|switches| {
        let lines: Vec<String> = switches.iter().map(|(timeline, at)| format!("{timeline}\t{}", Lsn(*at))).collect();
        lines.join("\n").parse().expect("a history")
    }))
}

/// Few settings, so that nodes often have the same.
fn settings() -> impl Strategy<Value = Option<Vec<Setting>>> {
    let one =
        (select(&["max_connections", "work_mem", "cluster_name"][..]), select(&["50", "100", "-1", "off", ""][..]));
    option::of(vec(one.prop_map(|(name, value)| setting(name, value, "100", "kB")), 0..3))
}

type Surroundings = (Option<History>, Option<Disk>, Option<String>, Option<Vec<Process>>, Past);

/// What neither role nor stream have to do with.
fn surroundings() -> impl Strategy<Value = Surroundings> {
    let backend_types = select(&["startup", "walreceiver", "checkpointer"][..]);
    let process = backend_types.prop_map(|backend_type| Process { backend_type: backend_type.to_owned(), pid: 27 });
    let disk = any::<(u64, u64)>().prop_map(|(free_bytes, total_bytes)| Disk { free_bytes, total_bytes, age_ms: 900 });
    let past = any::<(Option<u64>, Option<u64>)>().prop_map(|(replay_stalled_ms, receive_stalled_ms)| Past {
        replay_stalled_ms,
        receive_stalled_ms,
        commit_stalled_ms: None,
    });
    (history(), option::of(disk), word(&["ready", "stopping"]), option::of(vec(process, 0..2)), past)
}

prop_compose! {
    fn status()(
        (server_version_num, system_identifier, timeline) in (select(&[150_020, 170_012][..]), 1..3_u64, 1..3_u32),
        cluster_name in node(),
        lsn in prop_oneof![
            1 => lsn().prop_map(|write| NodeLsn::Primary { write: write.unwrap_or_default(), flush: Lsn(0) }),
            3 => (lsn(), lsn()).prop_map(|(receive, replay)| NodeLsn::Replica { receive, replay }),
        ],
        receiver in option::weighted(0.8, receiver()),
        receiver_status_interval_ms in select(&[None, Some(0), Some(1_000), Some(2_000)][..]),
        (primary_host, primary_slot_name) in (option::of(node()), option::of(slot_name())).boxed(),
        replay_paused in prop::bool::weighted(0.2),
        last_replay_age_ms: Option<u64>,
        replay in option::of(replay()).boxed(),
        (downstreams, slots) in (vec(downstream(), 0..4), vec(slot(), 0..4)).boxed(),
        (synchronous, upkeep, settings) in (synchronous(), upkeep(), settings()).boxed(),
        (history, disk, postmaster, stopped, past) in surroundings().boxed(),
    ) -> NodeStatus {
        NodeStatus {
            server_version_num,
            system_identifier: SystemIdentifier(system_identifier),
            cluster_name,
            timeline: TimelineId(timeline),
            timeline_lsn: lsn.visible(),
            newest_wal: None,
            lsn,
            receiver,
            receiver_status_interval_ms,
            primary_host,
            primary_slot_name,
            replay_paused,
            last_replay_age_ms,
            replay,
            downstreams,
            slots,
            synchronous,
            upkeep,
            settings,
            history,
            disk,
            postmaster,
            stopped,
            past,
        }
    }
}

fn reach() -> impl Strategy<Value = Reach> {
    let reason = || Just("no answer".to_owned());
    prop_oneof![
        8 => status().prop_map(|status| Reach::Answered(Box::new(status))).boxed(),
        1 => reason().prop_map(|reason| Reach::Starting { reason }),
        1 => reason().prop_map(|reason| Reach::Unreachable { reason }),
        1 => reason().prop_map(|reason| Reach::Stopped { reason }),
        1 => Just(Reach::Missing),
    ]
}

fn observed() -> impl Strategy<Value = Vec<Observed>> {
    vec((option::of(node()), reach()), 0..=NODES.len()).prop_map(|nodes| {
        let named = NODES.iter().zip(nodes);
        named
            .map(|(node, (expected_upstream, reach))| Observed { node: (*node).to_owned(), expected_upstream, reach })
            .collect()
    })
}

/// The upstream of every node but the first, as the number of a node before it.
fn upstreams() -> impl Strategy<Value = Vec<usize>> {
    vec(any::<prop::sample::Index>(), 0..12)
        .prop_map(|picks| picks.iter().enumerate().map(|(before, pick)| pick.index(before + 1)).collect())
}

fn status_of(node: &mut Observed) -> Option<&mut NodeStatus> {
    match &mut node.reach {
        Reach::Answered(status) => Some(status),
        _ => None,
    }
}

fn judge(observed: &[Observed]) -> Report {
    assess(&Policy::default(), observed)
}

fn row(report: &Report, node: &str) -> NodeReport {
    report.nodes.iter().find(|row| row.node == node).expect("every node has a row").clone()
}

proptest! {
    #[test]
    fn health_is_the_worst_finding(observed in observed()) {
        let report = judge(&observed);
        for node in &report.nodes {
            prop_assert_eq!(node.health, node.findings.iter().map(|f| f.health()).max().unwrap_or_default());
        }
        let findings = report.nodes.iter().flat_map(|node| &node.findings).chain(&report.findings);
        prop_assert_eq!(report.health, findings.map(|finding| finding.health()).max().unwrap_or_default());
    }

    #[test]
    fn a_finding_is_never_healthy_and_speaks_like_postgresql(observed in observed()) {
        let report = judge(&observed);
        let notes = || report.nodes.iter().flat_map(|node| &node.notes);
        prop_assert!(notes().all(|note| note.health() == Health::Healthy));
        let findings = || report.nodes.iter().flat_map(|node| &node.findings).chain(&report.findings);
        prop_assert!(findings().all(|finding| finding.health() > Health::Healthy));
        for finding in findings().chain(notes()) {
            let message = finding.to_string();
            prop_assert!(!message.ends_with('.') && !message.starts_with(char::is_uppercase), "{}", message);
            prop_assert!(finding.hint().ends_with('.'), "{}", finding.hint());
        }
    }

    #[test]
    fn the_order_of_nodes_matters_to_the_order_of_rows_only(observed in observed(), turn: prop::sample::Index) {
        let mut turned = observed.clone();
        turned.rotate_left(if observed.is_empty() { 0 } else { turn.index(observed.len()) });
        let (report, turned_report) = (judge(&observed), judge(&turned));
        prop_assert_eq!(&report.findings, &turned_report.findings);
        for (node, row_then) in turned.iter().zip(&turned_report.nodes) {
            prop_assert_eq!(&row(&report, &node.node), row_then);
        }
    }

    #[test]
    fn a_replica_streams_only_if_both_ends_say_so_and_it_replays(observed in observed()) {
        for node in judge(&observed).nodes.iter().filter(|node| node.state == NodeState::Streaming) {
            let upstream = node.upstream.as_deref().expect("it streams from somewhere");
            let answer = |name: &str| match &observed.iter().find(|o| o.node == name).expect("a node").reach {
                Reach::Answered(status) => status.clone(),
                reach => panic!("{name} streams and does not answer: {reach:?}"),
            };
            let (sending, receiving) = (answer(upstream), answer(&node.node));
            let seen = |d: &Downstream| d.application_name == node.node && d.is_streaming();
            prop_assert!(sending.downstreams.iter().any(seen));
            let status = receiving.receiver.and_then(|receiver| receiver.status);
            prop_assert_eq!(status.as_deref(), Some("streaming"));
            prop_assert!(!receiving.replay_paused);
            let moves = |process: &Process| process.backend_type == "checkpointer";
            prop_assert!(receiving.stopped.iter().flatten().all(moves));
        }
    }

    #[test]
    fn a_replica_streams_only_if_its_upstream_hears_from_it(observed in observed()) {
        for node in judge(&observed).nodes.iter().filter(|node| node.state == NodeState::Streaming) {
            let Reach::Answered(receiving) = &observed.iter().find(|o| o.node == node.node).expect("a node").reach else {
                panic!("{} streams and does not answer", node.node);
            };
            let clock_behind_ms = receiving.receiver.as_ref().and_then(|receiver| receiver.clock_behind_ms);
            let reply_age_ms = node.sender.as_ref().and_then(|sender| sender.last_reply_age_ms);
            if let (Some(1_000), Some(reply_age_ms)) = (receiving.receiver_status_interval_ms, reply_age_ms) {
                let busy_ms = if receiving.receiver.as_ref().is_some_and(Receiver::is_busy) { 5_000 } else { 0 };
                prop_assert!(reply_age_ms <= 3_000 + busy_ms + clock_behind_ms.unwrap_or(0));
            }
        }
    }

    #[test]
    fn a_lag_is_never_less_than_the_silence_that_hides_it(observed in observed()) {
        for node in judge(&observed).nodes {
            let silence = node.findings.iter().find_map(|finding| match finding {
                Finding::SenderUnheard { reply_age_ms, .. } => Some(*reply_age_ms),
                _ => None,
            });
            if let Some(silence) = silence {
                prop_assert_eq!(node.state, NodeState::NotStreaming);
                prop_assert!(node.replay_lag_bytes == Some(0) || node.replay_lag_ms.is_none_or(|lag| lag >= silence));
            }
        }
    }

    #[test]
    fn who_watches_sees_more_and_nothing_less(looks in vec((observed(), 0..5_000_u64, 0..5_000_u64), 1..5)) {
        let (mut watch, mut now_ms, mut first_ms) = (Watch::default(), 0, None);
        for (mut observed, pause_ms, takes_ms) in looks {
            let blind: Vec<Finding> = {
                observed.iter_mut().filter_map(status_of).for_each(|status| status.past = Past::default());
                judge(&observed).nodes.into_iter().flat_map(|node| node.findings).collect()
            };
            let began_ms = now_ms + pause_ms;
            now_ms = began_ms + takes_ms;
            watch.look(began_ms..now_ms, &mut observed);
            let watched_ms = began_ms.saturating_sub(*first_ms.get_or_insert(now_ms));
            let seen: Vec<Finding> = judge(&observed).nodes.into_iter().flat_map(|node| node.findings).collect();
            prop_assert!(blind.iter().all(|finding| seen.contains(finding)));
            for past in observed.iter_mut().filter_map(status_of).map(|status| status.past) {
                prop_assert!(past.replay_stalled_ms <= Some(watched_ms) && past.receive_stalled_ms <= Some(watched_ms));
            }
        }
    }

    #[test]
    fn who_has_parted_is_on_no_way(observed in observed()) {
        let report = judge(&observed);
        let on_their_way = report.findings.iter().find_map(|finding| match finding {
            Finding::TimelinesDiffer { nodes } => Some(nodes),
            _ => None,
        });
        for finding in &report.findings {
            if let Finding::Forked { node, from, fork: Switch { .. }, .. } = finding {
                prop_assert!(node != from);
                prop_assert!(on_their_way.is_none_or(|nodes| nodes.iter().all(|on_its_way| on_its_way.node != *node)));
            }
        }
    }

    #[test]
    fn an_orphan_is_idle_and_of_nobody(observed in observed()) {
        let in_use = |name: &str| observed.iter().any(|node| match &node.reach {
            Reach::Answered(status) => {
                let held = status.receiver.as_ref().and_then(|receiver| receiver.slot_name.as_deref());
                held == Some(name) || status.primary_slot_name.as_deref() == Some(name)
            }
            _ => node.node.replace('-', "_") == name,
        });
        for (node, report) in observed.iter().zip(judge(&observed).nodes) {
            let slots = match &node.reach {
                Reach::Answered(status) => status.slots.as_slice(),
                _ => &[],
            };
            let orphans = slots.iter().filter(|s| s.slot_type == "physical" && !s.active && !in_use(&s.slot_name));
            let found = report.findings.iter().filter(|finding| matches!(finding, Finding::SlotOrphaned { .. }));
            prop_assert_eq!(found.count(), orphans.count());
        }
    }

    #[test]
    fn a_healthy_cluster_of_any_shape_raises_no_alarm(upstreams in upstreams()) {
        let names: Vec<String> = (1..=upstreams.len() + 1).map(|number| format!("demo-{number}")).collect();
        let mut nodes = vec![(names[0].as_str(), None)];
        nodes.extend(upstreams.iter().enumerate().map(|(at, up)| (names[at + 1].as_str(), Some(names[*up].as_str()))));
        let report = Cluster::tree(&nodes).assess();
        prop_assert_eq!(report.health, Health::Healthy);
        prop_assert!(report.is_converged());
        prop_assert_eq!(report.nodes.iter().filter(|node| node.role == Some(NodeRole::Primary)).count(), 1);
    }

    #[test]
    fn an_observation_survives_its_json_form(observed in observed()) {
        let json = serde_json::to_string(&observed).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Vec<Observed>>(&json).expect("what was just written"), observed);
    }
}
