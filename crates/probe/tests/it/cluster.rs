//! Clusters made of statuses: all is well with a new one, and a test spoils it in one place.

use std::fmt::Write;

use pgherd_probe::{
    Archiver, Disk, Downstream, Health, History, Lsn, NodeLsn, NodeStatus, Observed, Past, Policy, Reach, Receiver,
    Replay, Report, Setting, Slot, Synchronous, SystemIdentifier, TimelineId, Upkeep, assess,
};

/// How far every node of a new cluster has come.
pub(crate) const END: Lsn = Lsn(0x0500_0000);

pub(crate) struct Cluster(pub(crate) Vec<Observed>);

impl Cluster {
    /// A primary `demo-1`, its replica `demo-2`, and `demo-3`, which streams from `demo-2`.
    pub(crate) fn cascade() -> Self {
        Cluster::tree(&[("demo-1", None), ("demo-2", Some("demo-1")), ("demo-3", Some("demo-2"))])
    }

    /// Nodes with their upstreams, each of which stands before its downstreams.
    pub(crate) fn tree(nodes: &[(&str, Option<&str>)]) -> Self {
        let mut cluster = Cluster(Vec::new());
        for (node, upstream) in nodes {
            if let Some(upstream) = upstream {
                let status = cluster.status(upstream);
                status.downstreams.push(downstream(node));
                status.slots.push(slot(node));
            }
            cluster.0.push(Observed {
                node: (*node).to_owned(),
                expected_upstream: upstream.map(str::to_owned),
                reach: Reach::Answered(Box::new(status(node, *upstream))),
            });
        }
        cluster
    }

    pub(crate) fn node(&mut self, node: &str) -> &mut Observed {
        self.0.iter_mut().find(|observed| observed.node == node).expect("the test knows its nodes")
    }

    pub(crate) fn status(&mut self, node: &str) -> &mut NodeStatus {
        match &mut self.node(node).reach {
            Reach::Answered(status) => status,
            reach => panic!("{node} does not answer: {reach:?}"),
        }
    }

    pub(crate) fn receiver(&mut self, node: &str) -> &mut Receiver {
        self.status(node).receiver.as_mut().expect("a replica of a new cluster has a receiver")
    }

    /// The only downstream of a node, as that node sees it.
    pub(crate) fn downstream_of(&mut self, node: &str) -> &mut Downstream {
        &mut self.status(node).downstreams[0]
    }

    pub(crate) fn slot_on(&mut self, node: &str) -> &mut Slot {
        &mut self.status(node).slots[0]
    }

    pub(crate) fn assess(&self) -> Report {
        assess(&Policy::default(), &self.0)
    }
}

/// The verdict on a cascade that was spoilt, as text: what is healthy is left out.
pub(crate) fn verdict(spoil: impl FnOnce(&mut Cluster)) -> String {
    let mut cluster = Cluster::cascade();
    spoil(&mut cluster);
    let report = cluster.assess();
    let mut text = format!("{}\n", report.health);
    for finding in &report.findings {
        writeln!(text, "  {finding}\n  hint: {}", finding.hint()).unwrap();
    }
    for node in report.nodes.iter().filter(|node| node.health > Health::Healthy || !node.notes.is_empty()) {
        write!(text, "{}: {}", node.node, node.state).unwrap();
        if let Some(bytes) = node.replay_lag_bytes {
            write!(text, ", {bytes} bytes behind").unwrap();
        }
        if let Some(ms) = node.replay_lag_ms {
            write!(text, ", {ms} ms behind").unwrap();
        }
        text.push('\n');
        for finding in &node.findings {
            writeln!(text, "  {finding}\n  hint: {}", finding.hint()).unwrap();
        }
        for note in &node.notes {
            writeln!(text, "  note: {note}\n  hint: {}", note.hint()).unwrap();
        }
    }
    text
}

pub(crate) fn replica_at(receive: u64, replay: u64) -> NodeLsn {
    NodeLsn::Replica { receive: Some(Lsn(receive)), replay: Some(Lsn(replay)) }
}

fn status(node: &str, upstream: Option<&str>) -> NodeStatus {
    NodeStatus {
        server_version_num: 170_012,
        system_identifier: SystemIdentifier(7_301_442_936_183_316_481),
        cluster_name: node.to_owned(),
        timeline: TimelineId(1),
        timeline_lsn: Some(END),
        newest_wal: None,
        lsn: match upstream {
            None => NodeLsn::Primary { write: END, flush: END },
            Some(_) => replica_at(END.0, END.0),
        },
        receiver: upstream.map(|upstream| Receiver {
            status: Some("streaming".to_owned()),
            sender_host: Some(upstream.to_owned()),
            sender_port: Some(5432),
            slot_name: Some(slot(node).slot_name),
            received_tli: Some(TimelineId(1)),
            written_lsn: Some(END),
            flushed_lsn: Some(END),
            latest_end_lsn: Some(END),
            last_msg_age_ms: Some(800),
            clock_behind_ms: Some(0),
            wait_event_type: Some("Activity".to_owned()),
            wait_event: Some("WalReceiverMain".to_owned()),
        }),
        receiver_status_interval_ms: Some(1_000),
        primary_host: upstream.map(str::to_owned),
        primary_slot_name: upstream.map(|_| slot(node).slot_name),
        replay_paused: false,
        last_replay_age_ms: upstream.map(|_| 3_600_000),
        replay: upstream.map(|_| Replay {
            wait_event_type: Some("Activity".to_owned()),
            wait_event: Some("RecoveryWalStream".to_owned()),
            min_apply_delay_ms: Some(0),
            max_streaming_delay_ms: Some(30_000),
            conflicts: Some([("lock".to_owned(), 0), ("snapshot".to_owned(), 0)].into()),
        }),
        downstreams: Vec::new(),
        slots: Vec::new(),
        synchronous: Synchronous { standby_names: Some(String::new()), commits_waiting: Some(0) },
        upkeep: Upkeep {
            pending_restart: Some(Vec::new()),
            collation_mismatches: Some(Vec::new()),
            checksum_failures: Some(0),
            last_checksum_failure_age_ms: None,
            archiver: Some(Archiver { mode: "off".to_owned(), ..Archiver::default() }),
            transaction_age: Some(27),
            autovacuum_freeze_max_age: Some(200_000_000),
        },
        settings: Some(vec![setting("max_connections", "100", "100", ""), setting("wal_keep_size", "64", "0", "MB")]),
        history: Some(History::default()),
        disk: Some(Disk { free_bytes: 40 << 30, total_bytes: 100 << 30, age_ms: 700 }),
        postmaster: Some(if upstream.is_some() { "standby" } else { "ready" }.to_owned()),
        stopped: Some(Vec::new()),
        past: Past::default(),
    }
}

/// What is in force of a setting, in which unit, and what it is elsewhere.
pub(crate) fn setting(name: &str, setting: &str, boot_val: &str, unit: &str) -> Setting {
    let [name, setting, boot_val, unit] = [name, setting, boot_val, unit].map(str::to_owned);
    Setting { name, setting, boot_val, unit }
}

fn downstream(node: &str) -> Downstream {
    Downstream {
        application_name: node.to_owned(),
        state: Some("streaming".to_owned()),
        sent_lsn: Some(END),
        write_lsn: Some(END),
        flush_lsn: Some(END),
        replay_lsn: Some(END),
        last_reply_age_ms: Some(400),
        sync_state: Some("async".to_owned()),
        ..Downstream::default()
    }
}

fn slot(node: &str) -> Slot {
    Slot {
        slot_name: node.replace('-', "_"),
        slot_type: "physical".to_owned(),
        active: true,
        restart_lsn: Some(END),
        retained_bytes: Some(0),
        wal_status: Some("reserved".to_owned()),
        safe_wal_bytes: Some(4 << 30),
        inactive_ms: None,
    }
}
