//! Judges one replica, from both ends of its stream.

use crate::{
    Downstream, Finding, NodeLsn, NodeReport, NodeRole, NodeState, NodeStatus, Observed, Policy, Process, Receiver,
    Replay, Slot, assess::Answered, upkeep,
};

/// The two ends of what should be a stream.
struct Stream<'a> {
    policy: &'a Policy,
    /// The replica's name.
    node: &'a str,
    receiving: &'a NodeStatus,
    upstream: &'a str,
    /// The upstream, if it answered.
    sending: Option<&'a NodeStatus>,
    /// For how long the upstream may not hear from the replica; `None` where no silence is too long.
    max_reply_age_ms: Option<u64>,
}

pub(crate) fn assess(policy: &Policy, observed: &Observed, status: &NodeStatus, answered: &Answered<'_>) -> NodeReport {
    let receiver = status.receiver.as_ref();
    let sender_host = receiver.and_then(|receiver| receiver.sender_host.as_deref());
    let known = NodeReport {
        role: Some(NodeRole::Replica),
        timeline: Some(status.timeline),
        lsn: status.lsn.visible(),
        slot: receiver.and_then(|receiver| receiver.slot_name.clone()).or_else(|| status.primary_slot_name.clone()),
        upstream: sender_host.or(observed.expected_upstream.as_deref()).map(str::to_owned),
        receiver: receiver.cloned(),
        ..NodeReport::unknown(observed, NodeState::NotStreaming)
    };
    let Some(upstream) = observed.expected_upstream.as_deref().or(sender_host) else {
        let finding = if receiver.is_some() { Finding::ReceiverHidden } else { Finding::NoUpstream };
        return NodeReport { findings: vec![finding], ..known };
    };

    let stream = Stream {
        policy,
        node: &observed.node,
        receiving: status,
        upstream,
        sending: answered.get(upstream),
        max_reply_age_ms: max_reply_age_ms(policy, status),
    };
    let mut findings = stream.receiving_end();
    findings.extend(stream.stalled());
    findings.extend(stream.sending_end());
    let state = match findings.as_slice() {
        [] => NodeState::Streaming,
        [Finding::CatchingUp { .. }] => NodeState::CatchingUp,
        _ => NodeState::NotStreaming,
    };
    findings.extend(known.slot.as_deref().and_then(|slot| stream.slot(slot)));
    let replay_lag_bytes = stream.replay_lag_bytes();
    let replay_lag_ms = stream.replay_lag_ms();
    findings.extend(stream.lag(replay_lag_bytes, replay_lag_ms));
    findings.extend(stream.delayed());
    let sender = stream.downstream().cloned();
    NodeReport { state, replay_lag_bytes, replay_lag_ms, sender, findings, ..known }
}

/// The policy or two and a half of the replica's own intervals: one reply may be missed, and the next be late. A
/// receiver that is at work, or waits for its disk, does not reply meanwhile.
fn max_reply_age_ms(policy: &Policy, receiving: &NodeStatus) -> Option<u64> {
    let interval_ms = receiving.receiver_status_interval_ms.filter(|interval_ms| *interval_ms > 0)?;
    let is_busy = receiving.receiver.as_ref().is_some_and(Receiver::is_busy);
    let busy_ms = if is_busy { policy.max_busy_stall_ms } else { 0 };
    Some(policy.max_reply_age_ms.max(interval_ms.saturating_mul(5) / 2).saturating_add(busy_ms))
}

impl<'a> Stream<'a> {
    fn receiving_end(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let upstream = || self.upstream.to_owned();
        match self.receiving.receiver.as_ref().map(|receiver| receiver.status.as_deref()) {
            Some(Some("streaming")) => {}
            Some(Some(status)) => findings.push(Finding::ReceiverNotStreaming { status: status.to_owned() }),
            Some(None) => findings.push(Finding::ReceiverHidden),
            None => findings.push(Finding::NoReceiver { upstream: upstream(), misled: self.misled() }),
        }
        let sender_host = self.receiving.receiver.as_ref().and_then(|receiver| receiver.sender_host.as_ref());
        if let Some(sender_host) = sender_host.filter(|host| *host != self.upstream) {
            findings.push(Finding::WrongUpstream { sender_host: sender_host.clone(), expected_upstream: upstream() });
        }
        let is_of_stream = |process: &Process| upkeep::is_of_stream(self.receiving, process);
        findings.extend(upkeep::stopped(self.receiving, is_of_stream));
        findings.extend(self.replay());
        findings
    }

    /// Whom it is told to receive from, if that is somebody else.
    fn misled(&self) -> Option<String> {
        self.receiving.primary_host.clone().filter(|host| host != self.upstream)
    }

    /// What keeps it from showing what it has received.
    fn replay(&self) -> Option<Finding> {
        let (receive, replay) = (self.receiving.lsn.end(), self.receiving.lsn.visible());
        if self.receiving.replay_paused {
            return Some(Finding::ReplayPaused { replay, receive });
        }
        let process = self.receiving.replay.as_ref();
        let stalled_ms = self.receiving.past.replay_stalled_ms?;
        let max_stall_ms = self.max_stall_ms(process.is_none_or(Replay::is_busy)).saturating_add(self.apply_delay_ms());
        match process.and_then(Replay::conflict) {
            Some(wait_event) => (stalled_ms > self.policy.max_conflict_ms).then(|| Finding::RecoveryConflict {
                wait_event: wait_event.to_owned(),
                stalled_ms,
                max_ms: self.policy.max_conflict_ms,
                max_streaming_delay_ms: process.and_then(|process| process.max_streaming_delay_ms),
            }),
            None => (stalled_ms > max_stall_ms).then(|| Finding::ReplayStalled {
                replay,
                receive,
                stalled_ms,
                max_ms: max_stall_ms,
                wait_event: process.and_then(|process| process.wait_event.clone()),
            }),
        }
    }

    /// A single record or flush may take its time; waiting for more while there is more may not.
    fn max_stall_ms(&self, is_busy: bool) -> u64 {
        if is_busy { self.policy.max_busy_stall_ms } else { self.policy.max_stall_ms }
    }

    /// By how much it is meant to be late.
    fn apply_delay_ms(&self) -> u64 {
        self.receiving.replay.as_ref().and_then(|replay| replay.min_apply_delay_ms).unwrap_or(0)
    }

    /// Between two ends that both believe in the stream.
    fn stalled(&self) -> Option<Finding> {
        let receiver = self.receiving.receiver.as_ref()?;
        let max_ms = self.max_stall_ms(receiver.is_busy());
        let stalled_ms = self.receiving.past.receive_stalled_ms.filter(|stalled_ms| *stalled_ms > max_ms)?;
        let NodeLsn::Replica { receive, .. } = self.receiving.lsn else { return None };
        (receiver.status.as_deref() == Some("streaming")).then(|| Finding::ReceiveStalled {
            upstream: self.upstream.to_owned(),
            receive,
            end: self.sending.and_then(|sending| sending.lsn.end()),
            stalled_ms,
            max_ms,
        })
    }

    fn sending_end(&self) -> Option<Finding> {
        let upstream = self.upstream.to_owned();
        let Some(sending) = self.sending else {
            return Some(Finding::UpstreamSilent { upstream });
        };
        let Some(downstream) = self.downstream() else {
            return Some(Finding::NotSeenByUpstream { upstream });
        };
        if let Some((reply_age_ms, max_ms)) = self.unheard(downstream) {
            return Some(Finding::SenderUnheard { upstream, reply_age_ms, max_ms });
        }
        match downstream.state.as_deref() {
            Some("streaming") => None,
            Some("catchup") => {
                Some(Finding::CatchingUp { upstream, sent: downstream.sent_lsn, end: sending.lsn.end() })
            }
            Some(state) => Some(Finding::SenderNotStreaming { upstream, state: state.to_owned() }),
            None => Some(Finding::SenderHidden { upstream }),
        }
    }

    /// The upstream's row for this replica.
    ///
    /// There are two for a while when a connection has died unnoticed and the replica has come back on another.
    fn downstream(&self) -> Option<&'a Downstream> {
        let mine = self.sending?.downstreams.iter().filter(|downstream| downstream.application_name == self.node);
        mine.max_by_key(|downstream| {
            (self.unheard(downstream).is_none(), downstream.is_streaming(), downstream.flush_lsn)
        })
    }

    /// For how long the upstream has not heard from the replica, and how long is allowed, where it is too long.
    ///
    /// Only while write-ahead log is being sent: before and after that nobody replies. The age compares two clocks, so
    /// what is known of their difference comes off; a clock that is ahead hides as much silence, and that stays unknown.
    ///
    /// There is no such judgement of the upstream's silence (`last_msg_age_ms`). A sender that hears from its receiver
    /// has no reason to speak while the upstream is idle, so a healthy receiver hears nothing until it asks, after half
    /// of its `wal_receiver_timeout`: by then a sender that is frozen, or cut off, has long stopped taking replies.
    fn unheard(&self, downstream: &Downstream) -> Option<(u64, u64)> {
        if !matches!(downstream.state.as_deref(), Some("streaming" | "catchup")) {
            return None;
        }
        let clock_behind_ms = self.receiving.receiver.as_ref().and_then(|receiver| receiver.clock_behind_ms);
        let reply_age_ms = downstream.last_reply_age_ms?.saturating_sub(clock_behind_ms.unwrap_or(0));
        let max_ms = self.max_reply_age_ms?;
        (reply_age_ms > max_ms).then_some((reply_age_ms, max_ms))
    }

    fn slot(&self, name: &str) -> Option<Finding> {
        let (slot, upstream) = (name.to_owned(), self.upstream.to_owned());
        let Some(&Slot { active, retained_bytes, ref wal_status, inactive_ms, .. }) =
            self.sending?.slots.iter().find(|slot| slot.slot_name == name)
        else {
            return Some(Finding::SlotMissing { slot, upstream });
        };
        match wal_status.as_deref() {
            Some("lost") => Some(Finding::SlotLost { slot, upstream }),
            Some("unreserved") => Some(Finding::SlotUnreserved { slot, upstream, retained_bytes }),
            _ if !active => Some(Finding::SlotInactive { slot, upstream, retained_bytes, inactive_ms }),
            _ => None,
        }
    }

    /// Only a measured time is held against a replica: an upper bound would blame it for an idle upstream. One that is
    /// late on purpose is held to the time alone: how much is written in it is not its own doing.
    fn lag(&self, lag_bytes: Option<u64>, lag_ms: Option<u64>) -> impl Iterator<Item = Finding> {
        let max_bytes = self.policy.max_replay_lag_bytes;
        let max_ms = self.policy.max_replay_lag_ms.saturating_add(self.apply_delay_ms());
        let lag_bytes = lag_bytes.filter(|lag_bytes| *lag_bytes > max_bytes && self.apply_delay_ms() == 0);
        let lag_ms = lag_ms.filter(|lag_ms| self.measures_lag() && *lag_ms > max_ms);
        let bytes = lag_bytes.map(|lag_bytes| Finding::LagBytes { lag_bytes, max_bytes });
        bytes.into_iter().chain(lag_ms.map(|lag_ms| Finding::LagTime { lag_ms, max_ms }))
    }

    fn delayed(&self) -> Option<Finding> {
        let delay_ms = self.apply_delay_ms();
        (delay_ms > 0).then_some(Finding::ReplayDelayed { delay_ms })
    }

    /// Positions can be compared on one history only; elsewhere the difference is a number without a meaning.
    fn replay_lag_bytes(&self) -> Option<u64> {
        let sending = self.sending.filter(|sending| {
            (sending.system_identifier, sending.timeline) == (self.receiving.system_identifier, self.receiving.timeline)
        })?;
        Some(sending.lsn.end()?.bytes_since(self.receiving.lsn.visible()?))
    }

    /// The upstream's measurement is the better one while it lasts: it grows when replay stands still. It is absent
    /// when the replica had everything a moment ago, and then the age of its last transaction is that of an idle
    /// upstream. Without a stream nothing is measured, and the age is all that there is. A stream that is not heard
    /// of has frozen the measurement, and then the lag is no less than the silence.
    fn replay_lag_ms(&self) -> Option<u64> {
        if self.replay_lag_bytes()? == 0 {
            return Some(0);
        }
        let downstream = self.downstream();
        if self.measures_lag() {
            return downstream?.replay_lag_ms;
        }
        let silence_ms =
            downstream.and_then(|downstream| self.unheard(downstream)).map(|(reply_age_ms, _)| reply_age_ms);
        self.receiving.last_replay_age_ms.max(silence_ms)
    }

    fn measures_lag(&self) -> bool {
        self.downstream().is_some_and(|downstream| downstream.is_streaming() && self.unheard(downstream).is_none())
    }
}
