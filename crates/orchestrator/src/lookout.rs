//! Keeps an eye on one cluster: looks at it, and judges what was seen.

use std::time::Duration;

use pgherd_probe::{NodeReport, NodeRole, Observed, Policy, Reach, Report, Watch, assess};
use tokio::time::{Instant, sleep};

use crate::{ClusterName, Engine, Inventory, Observer, ReconcileError, Refusal, heartbeat::Heartbeat};

/// So much longer than the policy allows something stands still before it is told: the policy's bound itself is allowed, and times
/// are whole milliseconds.
const STALL_MARGIN: Duration = Duration::from_millis(50);

/// Watches one cluster over connections that stay open from look to look.
pub struct Lookout {
    pub(crate) observer: Observer,
    cluster: ClusterName,
    policy: Policy,
    began: Instant,
    watch: Watch,
    heartbeat: Option<Heartbeat>,
}

/// What one look has shown.
#[derive(Debug, Clone)]
pub struct Look {
    /// What is there on the engine.
    pub inventory: Inventory,
    /// What the nodes said, and for how long they have stood still.
    pub observed: Vec<Observed>,
    /// The verdict on them.
    pub report: Report,
}

impl Lookout {
    /// Begins, without a look yet.
    #[must_use]
    pub fn new(engine: &Engine, cluster: &ClusterName) -> Self {
        Lookout {
            observer: Observer::new(engine, cluster),
            cluster: cluster.clone(),
            policy: Policy::default(),
            began: Instant::now(),
            watch: Watch::default(),
            heartbeat: None,
        }
    }

    /// Has every look begin a commit on the primary, of a few bytes without effect, and the next one see what came of it: a primary that
    /// answers may hang with all commits. And replicas always have something to replay, so that none looks well by having nothing to do.
    #[must_use]
    pub fn with_heartbeat(self) -> Self {
        let heartbeat = Heartbeat::new(self.observer.engine(), &self.cluster);
        Lookout { heartbeat: Some(heartbeat), ..self }
    }

    /// Where good ends.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Observes every node and judges. A node that cannot be asked costs some seconds, and is part of the verdict.
    ///
    /// # Errors
    /// [`Refusal::NoSuchCluster`], and if the engine cannot be asked.
    pub async fn look(&mut self) -> Result<Look, ReconcileError> {
        let asked_ms = self.now_ms();
        let inventory = self.observer.observe().await?;
        if inventory.is_empty() {
            Err(Refusal::NoSuchCluster(self.cluster.clone()))?;
        }
        let mut observed = inventory.observed();
        self.watch.look(asked_ms..self.now_ms(), &mut observed);
        self.beat(&inventory, &mut observed);
        let report = assess(&self.policy, &observed);
        Ok(Look { inventory, observed, report })
    }

    /// Looks, and where a replica is behind, once more after [`Policy::max_stall_ms`]: one look cannot tell what stands still from
    /// what is on its way.
    ///
    /// # Errors
    /// Those of [`Lookout::look`].
    pub async fn look_closely(&mut self) -> Result<Look, ReconcileError> {
        let look = self.look().await?;
        let is_behind = |node: &NodeReport| node.role == Some(NodeRole::Replica) && node.replay_lag_bytes != Some(0);
        if !look.report.nodes.iter().any(is_behind) {
            return Ok(look);
        }
        sleep(Duration::from_millis(self.policy.max_stall_ms) + STALL_MARGIN).await;
        self.look().await
    }

    /// Where there is one primary: with none, or with two, more is wrong than a heartbeat could tell.
    fn beat(&mut self, inventory: &Inventory, observed: &mut [Observed]) {
        let now_ms = self.now_ms();
        let Some(heartbeat) = &mut self.heartbeat else { return };
        let primaries: Vec<u16> = inventory.primaries().collect();
        let [primary] = primaries[..] else { return };
        let stalled_ms = heartbeat.beat(primary, now_ms);
        let name = inventory.node_name(primary).to_string();
        for node in observed.iter_mut().filter(|node| node.node == name) {
            if let Reach::Answered(status) = &mut node.reach {
                status.past.commit_stalled_ms = Some(stalled_ms);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
