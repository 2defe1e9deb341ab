//! Every stream of a cluster, its two ends put together.

use pgherd_probe::{Downstream, Lsn, NodeStatus, Observed, Receiver, Slot};
use serde::Serialize;

/// One stream of write-ahead log, or what is left of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// Who sends: a node, or whatever else a receiver names.
    pub upstream: String,
    /// Who receives: a node, or whatever else has connected to one, such as a base backup.
    pub downstream: String,
    /// The end of what the upstream has; `None` where it does not answer.
    pub upstream_lsn: Option<Lsn>,
    /// The sending end, `None` where the upstream has none, or does not answer.
    pub sender: Option<Downstream>,
    /// The receiving end, `None` where the downstream has none, does not answer, or is no node.
    pub receiver: Option<Receiver>,
    /// What the upstream keeps for it, where the downstream is a node with a slot.
    pub slot: Option<Slot>,
}

/// Puts together what the nodes say, in the order of their names: first what their upstreams send, then what is received
/// from where nobody sends it.
///
/// Of several connections of one name, as there are while a dead one is not noticed, the receiver belongs to the one that has
/// come furthest.
#[must_use]
pub fn streams(observed: &[Observed]) -> Vec<Stream> {
    let status = |node: &str| observed.iter().find(|observed| observed.node == node).and_then(Observed::status);
    let mut streams = Vec::new();
    for upstream in observed {
        let Some(sending) = upstream.status() else { continue };
        for (index, sender) in sending.downstreams.iter().enumerate() {
            let downstream = &sender.application_name;
            let receiver = status(downstream).and_then(|status| status.receiver.as_ref());
            let receiver = receiver.filter(|r| r.sender_host.as_deref() == Some(&*upstream.node));
            streams.push(Stream {
                upstream: upstream.node.clone(),
                downstream: downstream.clone(),
                upstream_lsn: sending.lsn.end(),
                sender: Some(sender.clone()),
                receiver: receiver.filter(|_| furthest(&sending.downstreams, downstream) == Some(index)).cloned(),
                slot: status(downstream).and_then(|status| slot_of(status, sending)),
            });
        }
    }
    for downstream in observed {
        let Some(receiving) = downstream.status() else { continue };
        let Some(receiver) = &receiving.receiver else { continue };
        let Some(upstream) = &receiver.sender_host else { continue };
        if !streams.iter().any(|s| (&s.upstream, &s.downstream) == (upstream, &downstream.node)) {
            let sending = status(upstream);
            streams.push(Stream {
                upstream: upstream.clone(),
                downstream: downstream.node.clone(),
                upstream_lsn: sending.and_then(|sending| sending.lsn.end()),
                sender: None,
                receiver: Some(receiver.clone()),
                slot: sending.and_then(|sending| slot_of(receiving, sending)),
            });
        }
    }
    streams
}

/// Which of the connections of this name has come furthest.
fn furthest(senders: &[Downstream], name: &str) -> Option<usize> {
    let named = senders.iter().enumerate().filter(|(_, sender)| sender.application_name == name);
    named.max_by_key(|(_, sender)| (sender.is_streaming(), sender.flush_lsn)).map(|(index, _)| index)
}

fn slot_of(receiving: &NodeStatus, sending: &NodeStatus) -> Option<Slot> {
    let held = receiving.receiver.as_ref().and_then(|receiver| receiver.slot_name.as_ref());
    let name = held.or(receiving.primary_slot_name.as_ref())?;
    sending.slots.iter().find(|slot| slot.slot_name == *name).cloned()
}
