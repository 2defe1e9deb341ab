//! One change of the primary, and what it was allowed to lose.

use std::time::{Duration, Instant};

use anyhow::Context;
use pgherd_orchestrator::{ClusterSpec, Engine, Inventory, LossBound, Primacy, Progress, reconcile};
use pgherd_probe::Lsn;

use super::{LIMIT, ledger::Acknowledged};

/// How another node becomes the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The primary is killed.
    Crash {
        /// Whether commits may be lost.
        asynchronous: bool,
    },
    Switchover,
}

/// A change that was made, after which the cluster is whole.
pub(super) struct Round {
    pub(super) observed: Inventory,
    /// What was said before the promotion, where something may be lost.
    pub(super) bound: Option<LossBound>,
    /// Where the successor left the log of its predecessor.
    parted_at: Option<Lsn>,
    /// From the order until every replica streams.
    took: Duration,
}

impl Round {
    pub(super) async fn play(
        engine: &Engine,
        spec: &ClusterSpec,
        way: Way,
        before: &Inventory,
    ) -> anyhow::Result<Round> {
        let primary = before.primary().context("there is no primary")?;
        let primacy = match way {
            Way::Switchover => Primacy::Switchover { to: None },
            Way::Crash { asynchronous } => {
                engine.kill_container(&before.node_name(primary).to_string()).await?;
                Primacy::Failover { to: None, allow_data_loss: asynchronous, force: false }
            }
        };
        let order = Instant::now();
        let mut bound = None;
        let progress = |progress: Progress<'_>| {
            if let Progress::MayLose(_, said) = progress {
                bound = Some(said.clone());
            }
        };
        let (observed, _) = reconcile(engine, &ClusterSpec { primacy, ..spec.clone() }, LIMIT, progress).await?;
        let took = order.elapsed();
        let status = observed.primary().and_then(|number| observed.nodes[&number].status());
        let parted_at = status.and_then(|status| Some(status.history.as_ref()?.last()?.at));
        Ok(Round { observed, bound, parted_at, took })
    }

    /// How much of the log was lost at least: up to the last of these commits. A row is told where it was written, and the record of
    /// its commit comes after that.
    pub(super) fn lost_bytes(&self, missing: &[Acknowledged]) -> Option<u64> {
        let last = missing.iter().map(|commit| commit.lsn).max()?;
        Some(last.bytes_since(self.parted_at?))
    }

    /// Whether more was lost than was said.
    pub(super) fn breaks_its_word(&self, lost: usize, lost_bytes: Option<u64>) -> bool {
        match &self.bound {
            None | Some(LossBound::Bytes(0)) => lost > 0,
            Some(LossBound::Bytes(bound)) => lost_bytes.is_some_and(|bytes| bytes > *bound),
            Some(LossBound::Unknown(_)) => false,
        }
    }

    /// What there is to say, in a line.
    pub(super) fn verdict(&self, lost: usize, lost_bytes: Option<u64>) -> String {
        let successor = self.observed.primary().map(|number| self.observed.node_name(number).to_string());
        let successor = successor.unwrap_or_else(|| "nobody".to_owned());
        let said = self.bound.as_ref().map(ToString::to_string).unwrap_or_default();
        // Why it is not known may be a whole page of somebody else's.
        let said = said.lines().next().map_or_else(String::new, |said| format!(", {said}"));
        let bytes = lost_bytes.map_or_else(String::new, |bytes| format!(" with at least {bytes} bytes of WAL"));
        let too_much = if self.breaks_its_word(lost, lost_bytes) { ", which is too much" } else { "" };
        format!("{successor} after {:.1} s{said}; {lost} lost{bytes}{too_much}", self.took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgherd_orchestrator::{ClusterName, Inventory, LossBound, Presence};
    use pgherd_probe::Lsn;

    use super::{Acknowledged, Round};

    fn round(bound: Option<LossBound>) -> Round {
        let observed = Inventory {
            name: "shop".parse::<ClusterName>().expect("a name"),
            network: Presence::Ours,
            secrets: Presence::Ours,
            source: None,
            nodes: std::collections::BTreeMap::new(),
            strangers: vec![],
            origin: None,
            free_ports: vec![],
        };
        Round { observed, bound, parted_at: Some(Lsn(1000)), took: Duration::ZERO }
    }

    #[test]
    fn no_more_may_be_lost_than_was_said() {
        let missing = [1200, 1100].map(|lsn| Acknowledged { id: 1, lsn: Lsn(lsn) });
        let unknown = LossBound::Unknown("nothing is left of the old primary".to_owned());
        for (bound, missing, breaks) in [
            (None, &missing[..], true),
            (None, &[], false),
            (Some(LossBound::Bytes(0)), &missing, true),
            (Some(LossBound::Bytes(199)), &missing, true),
            (Some(LossBound::Bytes(200)), &missing, false),
            (Some(LossBound::Bytes(200)), &[], false),
            (Some(unknown), &missing, false),
        ] {
            let round = round(bound);
            let bytes = round.lost_bytes(missing);
            assert_eq!(round.breaks_its_word(missing.len(), bytes), breaks, "{:?} {bytes:?}", round.bound);
        }
    }
}
