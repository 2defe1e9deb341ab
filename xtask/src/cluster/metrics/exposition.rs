//! A look as metrics, and their text form. Pure.
//!
//! What postgres_exporter measures as well has its name and its labels, <https://github.com/prometheus-community/postgres_exporter>;
//! all else begins with `pgherd_`. It has one server for each of its targets, we have a cluster: hence `cluster` and `node`.

#[cfg(test)]
mod tests;
mod upkeep;

use std::{fmt, time::Duration};

use pgherd_orchestrator::{ClusterName, Stream, streams};
use pgherd_probe::{
    Downstream, Finding, Health, Lsn, NodeReport, NodeRole, NodeStatus, Observed, Receiver, Report, Slot,
};
use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, encoding::text, metrics::MetricType, registry::Registry,
};

/// A metric with all its samples.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Labels, f64)>,
}

type Labels = Vec<(&'static str, String)>;

/// All of a look as text, in the OpenMetrics format, which readers of the older Prometheus format understand as well.
///
/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
pub(super) fn encode(cluster: &ClusterName, observed: &[Observed], report: &Report, took: Duration) -> String {
    let mut registry = Registry::with_labels([("cluster".into(), cluster.to_string().into())].into_iter());
    registry.register_collector(Box::new(Families(families(observed, report, took))));
    let mut encoded = String::new();
    text::encode(&mut encoded, &registry).expect("a string takes all that is written to it");
    encoded
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, samples } in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                metric.encode_family(labels)?.encode_gauge(value)?;
            }
        }
        Ok(())
    }
}

/// One node, with what it said, if it said anything.
struct Node<'a> {
    status: Option<&'a NodeStatus>,
    report: &'a NodeReport,
}

impl Node<'_> {
    fn label(&self) -> (&'static str, String) {
        ("node", self.report.node.clone())
    }
}

fn families(observed: &[Observed], report: &Report, took: Duration) -> Vec<Family> {
    let nodes = observed.iter().zip(&report.nodes);
    let nodes: Vec<Node<'_>> = nodes.map(|(observed, report)| Node { status: observed.status(), report }).collect();
    let mut families = of_nodes(&nodes);
    families.extend(of_senders(&streams(observed)));
    families.extend(of_receivers(&nodes));
    families.extend(of_slots(&nodes));
    families.extend(upkeep::families(&nodes));
    families.extend([
        findings(report),
        Family::of(
            "pgherd_cluster_health",
            "How well the cluster does its job: 0 healthy, 1 degraded, 2 broken",
            [(vec![], health(report.health))],
        ),
        Family::of("pgherd_look_seconds", "How long it took to ask every node", [(vec![], took.as_secs_f64())]),
    ]);
    families
}

fn of_nodes(nodes: &[Node<'_>]) -> Vec<Family> {
    let family = |name, help, value: fn(&Node<'_>) -> Option<f64>| {
        Family::of(name, help, nodes.iter().filter_map(|node| Some((vec![node.label()], value(node)?))))
    };
    let stated = |name, help, label, text: fn(&Node<'_>) -> Option<String>| {
        let sample = |node: &Node<'_>| Some((vec![node.label(), (label, text(node)?)], 1.0));
        Family::of(name, help, nodes.iter().filter_map(sample))
    };
    vec![
        family("pg_up", "Whether the node answered", |node| Some(flag(node.status.is_some()))),
        stated("pg_static", "The release of PostgreSQL", "short_version", |node| {
            let number = node.status?.server_version_num;
            Some(format!("{}.{}.0", number / 10_000, number % 10_000))
        }),
        family("pg_replication_is_replica", "Whether the node is in recovery", |node| {
            Some(flag(node.status?.in_recovery()))
        }),
        family("pg_replication_lag_seconds", "How far a replica is behind its upstream; 0 on a primary", |node| {
            match node.report.role? {
                NodeRole::Primary => Some(0.0),
                NodeRole::Replica => node.report.replay_lag_ms.map(seconds),
            }
        }),
        family("pg_replication_last_replay_seconds", "The age of the transaction that was replayed last", |node| {
            node.status?.last_replay_age_ms.map(seconds)
        }),
        family("pgherd_replay_lag_bytes", "What the upstream has and the replica has not replayed", |node| {
            node.report.replay_lag_bytes.map(amount)
        }),
        family("pgherd_replay_paused", "Whether somebody has paused replay, or asked for it", |node| {
            node.status.filter(|status| status.in_recovery()).map(|status| flag(status.replay_paused))
        }),
        family("pgherd_replay_delay_seconds", "So much later than the primary it replays on purpose", |node| {
            node.status?.replay.as_ref()?.min_apply_delay_ms.map(seconds)
        }),
        family(
            "pgherd_replay_stalled_seconds",
            "For how long nothing was replayed, although there was something",
            |node| node.status?.past.replay_stalled_ms.map(seconds),
        ),
        family(
            "pgherd_receive_stalled_seconds",
            "For how long nothing was received, although there was something",
            |node| node.status?.past.receive_stalled_ms.map(seconds),
        ),
        family("pgherd_lsn_bytes", "The end of what queries on the node see", |node| node.report.lsn.map(position)),
        family("pgherd_timeline", "The timeline that the node writes or receives", |node| {
            node.report.timeline.map(|timeline| f64::from(timeline.0))
        }),
        family("pgherd_node_health", "How far the node takes the cluster: 0 healthy, 1 degraded, 2 broken", |node| {
            Some(health(node.report.health))
        }),
        stated("pgherd_node_state", "What the node is doing", "state", |node| Some(node.report.state.to_string())),
    ]
}

/// What goes out, by `pg_stat_replication` of the sending end.
fn of_senders(streams: &[Stream]) -> Vec<Family> {
    let family = |name, help, value: fn(&Stream, &Downstream) -> Option<f64>| {
        let sample = |stream: &Stream| {
            let sender = stream.sender.as_ref()?;
            let labels = vec![
                ("node", stream.upstream.clone()),
                ("application_name", stream.downstream.clone()),
                ("state", sender.state.clone().unwrap_or_default()),
                ("slot_name", stream.slot.as_ref().map(|slot| slot.slot_name.clone()).unwrap_or_default()),
            ];
            Some((labels, value(stream, sender)?))
        };
        Family::of(name, help, streams.iter().filter_map(sample))
    };
    vec![
        family("pg_stat_replication_pg_current_wal_lsn_bytes", "The end of what the sender has", |stream, _| {
            stream.upstream_lsn.map(position)
        }),
        family(
            "pg_stat_replication_pg_wal_lsn_diff",
            "What the receiver has not said that it replayed",
            |stream, sender| Some(amount(stream.upstream_lsn?.bytes_since(sender.replay_lsn?))),
        ),
        family("pgherd_stat_replication_write_lag_seconds", "From flushing here to writing there", |_, sender| {
            sender.write_lag_ms.map(seconds)
        }),
        family("pgherd_stat_replication_flush_lag_seconds", "From flushing here to flushing there", |_, sender| {
            sender.flush_lag_ms.map(seconds)
        }),
        family("pgherd_stat_replication_replay_lag_seconds", "From flushing here to replaying there", |_, sender| {
            sender.replay_lag_ms.map(seconds)
        }),
        family(
            "pgherd_stat_replication_reply_age_seconds",
            "The time since the receiver was heard last",
            |_, sender| sender.last_reply_age_ms.map(seconds),
        ),
        family("pgherd_stat_replication_sync", "Whether commits wait for the receiver, or may", |_, sender| {
            sender.sync_state.as_ref().map(|state| flag(state == "sync" || state == "quorum"))
        }),
    ]
}

/// What comes in, by `pg_stat_wal_receiver` of the receiving end.
fn of_receivers(nodes: &[Node<'_>]) -> Vec<Family> {
    let family = |name, help, value: fn(&Receiver) -> Option<f64>| {
        let sample = |node: &Node<'_>| {
            let receiver = node.status?.receiver.as_ref()?;
            let labels = vec![
                node.label(),
                ("upstream_host", receiver.sender_host.clone().unwrap_or_default()),
                ("slot_name", receiver.slot_name.clone().unwrap_or_default()),
            ];
            Some((labels, value(receiver)?))
        };
        Family::of(name, help, nodes.iter().filter_map(sample))
    };
    vec![
        family(
            "pg_stat_wal_receiver_status",
            "-3 hidden, -2 other, -1 stopping, 0 stopped, 1 starting, 2 streaming, 3 waiting, 4 restarting",
            |receiver| {
                Some(match receiver.status.as_deref() {
                    None => -3.0,
                    Some("stopping") => -1.0,
                    Some("stopped") => 0.0,
                    Some("starting") => 1.0,
                    Some("streaming") => 2.0,
                    Some("waiting") => 3.0,
                    Some("restarting") => 4.0,
                    Some(_) => -2.0,
                })
            },
        ),
        family("pg_stat_wal_receiver_flushed_lsn", "The end of what is received and durable", |receiver| {
            receiver.flushed_lsn.map(position)
        }),
        family("pg_stat_wal_receiver_latest_end_lsn", "The upstream's end when it last spoke", |receiver| {
            receiver.latest_end_lsn.map(position)
        }),
        family("pg_stat_wal_receiver_received_tli", "The timeline of what was received last", |receiver| {
            receiver.received_tli.map(|timeline| f64::from(timeline.0))
        }),
        family("pgherd_stat_wal_receiver_message_age_seconds", "The time since the upstream spoke last", |receiver| {
            receiver.last_msg_age_ms.map(seconds)
        }),
    ]
}

fn of_slots(nodes: &[Node<'_>]) -> Vec<Family> {
    let slots = || {
        nodes.iter().flat_map(move |node| {
            node.status.into_iter().flat_map(|status| &status.slots).map(move |slot| (node.label(), slot))
        })
    };
    let labels =
        |node, slot: &Slot| vec![node, ("slot_name", slot.slot_name.clone()), ("slot_type", slot.slot_type.clone())];
    let family = |name, help, value: fn(&Slot) -> Option<f64>| {
        Family::of(name, help, slots().filter_map(|(node, slot)| Some((labels(node, slot), value(slot)?))))
    };
    let active = |slot: &Slot| Some(flag(slot.active));
    let status = slots().filter_map(|(node, slot)| {
        let mut labels = labels(node, slot);
        labels.push(("wal_status", slot.wal_status.clone()?));
        Some((labels, 1.0))
    });
    vec![
        // The exporter had both names in the course of time, and has dashboards with either.
        family("pg_replication_slots_active", "Whether a stream uses the slot", active),
        family("pg_replication_slot_slot_is_active", "Whether a stream uses the slot", active),
        family(
            "pg_replication_slots_pg_wal_lsn_diff",
            "What cannot be recycled because of the slot, in bytes",
            |slot| slot.retained_bytes.map(amount),
        ),
        family("pg_replication_slot_safe_wal_size_bytes", "What can be written before the slot may be lost", |slot| {
            slot.safe_wal_bytes.map(|bytes| amount(bytes.unsigned_abs()).copysign(if bytes < 0 { -1.0 } else { 1.0 }))
        }),
        Family::of("pg_replication_slot_wal_status", "Whether what the slot keeps is still there", status),
    ]
}

/// How many findings of a kind a node has, or the cluster as a whole.
fn findings(report: &Report) -> Family {
    let of_cluster = report.findings.iter().map(|finding| (None, finding));
    let of_nodes = report.nodes.iter().flat_map(|node| node.findings.iter().map(move |f| (Some(node), f)));
    let mut family = Family::of("pgherd_findings", "What is wrong, by its kind", []);
    for (node, finding) in of_cluster.chain(of_nodes) {
        let mut labels = vec![("kind", kind(finding)), ("health", finding.health().to_string())];
        labels.extend(node.map(|node| ("node", node.node.clone())));
        match family.samples.iter_mut().find(|(found, _)| *found == labels) {
            Some((_, count)) => *count += 1.0,
            None => family.samples.push((labels, 1.0)),
        }
    }
    family
}

/// The name that a finding has in JSON.
fn kind(finding: &Finding) -> String {
    let json = serde_json::to_value(finding).unwrap_or_default();
    json["kind"].as_str().unwrap_or_default().to_owned()
}

impl Family {
    /// Where several samples have the same labels, as those of two connections of one name, the largest counts: one of a kind is
    /// all that a reader takes.
    fn of(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) -> Family {
        let mut family = Family { name, help, samples: Vec::new() };
        for (labels, value) in samples {
            match family.samples.iter_mut().find(|(found, _)| *found == labels) {
                Some((_, found)) => *found = found.max(value),
                None => family.samples.push((labels, value)),
            }
        }
        family
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn health(health: Health) -> f64 {
    match health {
        Health::Healthy => 0.0,
        Health::Degraded => 1.0,
        Health::Broken => 2.0,
    }
}

/// Exact up to 8 PiB, as far as numbers of Prometheus are.
#[expect(clippy::cast_precision_loss, reason = "a number of Prometheus has 53 bits")]
fn amount(amount: u64) -> f64 {
    amount as f64
}

fn position(lsn: Lsn) -> f64 {
    amount(lsn.0)
}

fn seconds(ms: u64) -> f64 {
    amount(ms) / 1000.0
}
