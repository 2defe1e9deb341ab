//! Waits until a cluster is what somebody needs, so that a test or a deployment need not guess how long that takes.

use std::{fmt, time::Duration};

use pgherd_probe::{Lsn, NodeReport, NodeRole, NodeState, ParseLsnError, Report};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    ByteCount, ClusterName, Look, Lookout, NodeName, ReconcileError, Refusal, causes::with_causes, require_node,
};

/// Between two looks at a cluster that is not what it shall be yet.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long the first look may take, however short the wait: what was seen last is worth more than a prompt end.
const FIRST_LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// As good as for ever, and still a moment that a clock can tell.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 86_400);

/// What was seen before anything was.
const NOTHING: &str = "nothing yet";

/// How long a primary may take to commit a mark.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes a mark into the write-ahead log and returns its end, as soon as it is durable here; the wait for synchronous
/// replicas is what the caller is about to do.
pub(crate) const MARK: &str = "SELECT set_config('synchronous_commit', 'local', true), \
                    pg_logical_emit_message(true, 'pgherd', '')::text";

/// The end of what queries see; each of the two functions is refused in the other role, or means something else.
const VISIBLE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                       ELSE pg_current_wal_lsn() END::text";

/// What is waited for: of one node, or where none is named, of all that are not the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// It streams, as seen from both ends. Of no node in particular: there is one primary, and all others stream.
    Streaming(Option<NodeName>),
    /// Its queries see everything up to a position of the primary's write-ahead log.
    ///
    /// Positions of two histories cannot be compared: this means something until the next promotion.
    Replayed(Lsn, Option<NodeName>),
    /// Fewer bytes than this are not replayed yet.
    LagBelow(ByteCount, Option<NodeName>),
    /// It has a role.
    Role(NodeRole, NodeName),
}

/// Why a wait has ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// There is nothing to wait for, or no engine to ask.
    #[error(transparent)]
    Look(#[from] ReconcileError),
    /// Time is over.
    #[error("timed out after {limit:?}, waiting for {awaited}; last seen: {last_seen}")]
    TimedOut {
        /// How long it was.
        limit: Duration,
        /// What was waited for.
        awaited: Awaited,
        /// What was there instead.
        last_seen: String,
    },
    /// There is nobody to ask for a position, or no telling who.
    #[error(
        "cannot tell how far cluster \"{cluster}\" has committed: {count} nodes answer as its primary, and one must\n\
         hint: \"cluster status {cluster}\" tells more."
    )]
    NotOnePrimary {
        /// The cluster.
        cluster: ClusterName,
        /// How many do.
        count: usize,
    },
    /// The primary did not say how far it is.
    #[error("could not learn from \"{node}\" how far it has committed: {reason}")]
    NoAnswer {
        /// The primary.
        node: NodeName,
        /// Why not.
        reason: String,
    },
}

impl Awaited {
    /// What is not as awaited yet, in one line; `None` when all is.
    #[must_use]
    pub fn missing(&self, report: &Report) -> Option<String> {
        let missing: Vec<String> = match self {
            Awaited::Streaming(None) if report.is_converged() => Vec::new(),
            Awaited::Streaming(None) => {
                let streams = |node: &&NodeReport| !matches!(node.state, NodeState::Running | NodeState::Streaming);
                let nodes = report.nodes.iter().filter(streams).map(what_it_does);
                report.findings.iter().map(ToString::to_string).chain(nodes).collect()
            }
            Awaited::Streaming(node) => {
                of(report, node, |node| (node.state != NodeState::Streaming).then(|| what_it_does(node)))
            }
            Awaited::Replayed(lsn, node) => of(report, node, |node| match node.lsn {
                Some(seen) if seen >= *lsn => None,
                Some(seen) => Some(format!("{} is at {seen}", node.node)),
                None => Some(what_it_does(node)),
            }),
            Awaited::LagBelow(limit, node) => of(report, node, |node| match node.replay_lag_bytes {
                Some(lag) if lag < limit.0 => None,
                Some(lag) => Some(format!("{} is {lag} bytes behind", node.node)),
                None => Some(what_it_does(node)),
            }),
            Awaited::Role(role, node) => {
                of(report, &Some(node.clone()), |node| (node.role != Some(*role)).then(|| what_it_does(node)))
            }
        };
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    fn node(&self) -> Option<&NodeName> {
        match self {
            Awaited::Streaming(node) | Awaited::Replayed(_, node) | Awaited::LagBelow(_, node) => node.as_ref(),
            Awaited::Role(_, node) => Some(node),
        }
    }
}

fn of(report: &Report, node: &Option<NodeName>, missing: impl Fn(&NodeReport) -> Option<String>) -> Vec<String> {
    let name = node.as_ref().map(NodeName::to_string);
    let is_meant = |found: &&NodeReport| match &name {
        Some(name) => found.node == *name,
        None => found.role != Some(NodeRole::Primary),
    };
    report.nodes.iter().filter(is_meant).filter_map(missing).collect()
}

/// The worst that is known of a node, or what it is.
fn what_it_does(node: &NodeReport) -> String {
    match (node.findings.first(), node.role) {
        (Some(finding), _) => format!("{} {finding}", node.node),
        (None, Some(role)) => format!("{} is a {role}, {}", node.node, node.state),
        (None, None) => format!("{} is {}", node.node, node.state),
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.node().map_or_else(|| "every replica".to_owned(), |node| format!("\"{node}\""));
        match self {
            Awaited::Streaming(_) => write!(f, "{who} to stream"),
            Awaited::Replayed(lsn, _) => write!(f, "{who} to replay {lsn}"),
            Awaited::LagBelow(limit, _) => write!(f, "{who} to be less than {limit} behind"),
            Awaited::Role(role, _) => write!(f, "{who} to be a {role}"),
        }
    }
}

/// When the first look has to be over, and when all of them.
fn bounds(limit: Duration) -> (Instant, Instant) {
    let (now, limit) = (Instant::now(), limit.min(LONGEST_WAIT));
    (now + limit.max(FIRST_LOOK_TIMEOUT), now + limit)
}

impl Lookout {
    /// Looks until all is as awaited: once in any case, and then within `limit`.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] after `limit`, [`Refusal::NoSuchNode`], and what [`Lookout::look`] fails with.
    pub async fn wait_for(&mut self, awaited: &Awaited, limit: Duration) -> Result<(), WaitError> {
        if let Awaited::Replayed(lsn, Some(node)) = awaited {
            return self.wait_replayed(node, *lsn, limit).await;
        }
        let (mut until, deadline) = bounds(limit);
        let mut last_seen = NOTHING.to_owned();
        while let Ok(look) = timeout_at(until, self.look()).await {
            let look = look?;
            let is_there = |node: &&NodeName| look.inventory.nodes.contains_key(&node.number);
            if let Some(node) = awaited.node().filter(|node| !is_there(node)) {
                Err(ReconcileError::from(Refusal::NoSuchNode(node.clone())))?;
            }
            match awaited.missing(&look.report) {
                None => return Ok(()),
                Some(missing) => last_seen = missing,
            }
            until = deadline;
            sleep(POLL_INTERVAL).await;
        }
        Err(WaitError::TimedOut { limit, awaited: awaited.clone(), last_seen })
    }

    /// A position that everything lies before which was committed until now: a node that has replayed it lets its queries read
    /// what the caller has written, see [`Lookout::wait_replayed`].
    ///
    /// It is the end of a mark that this writes, some bytes of write-ahead log without effect, and commits. What the primary
    /// tells without writing is no such position: `pg_current_wal_flush_lsn()` lies before commits with `synchronous_commit = off`,
    /// and both it and `pg_current_wal_insert_lsn()` can lie within or behind a record that is sent only when somebody commits
    /// something else, so that a wait for them would be one for a stranger.
    ///
    /// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-REPLICATION>
    ///
    /// # Errors
    /// [`WaitError::NotOnePrimary`], [`WaitError::NoAnswer`], and what [`Lookout::look`] fails with.
    pub async fn commit_lsn(&mut self) -> Result<Lsn, WaitError> {
        let Look { inventory, .. } = self.look().await?;
        let primaries: Vec<u16> = inventory.primaries().collect();
        let [primary] = primaries[..] else {
            return Err(WaitError::NotOnePrimary { cluster: inventory.name, count: primaries.len() });
        };
        let no_answer = |reason| WaitError::NoAnswer { node: inventory.node_name(primary), reason };
        let mark = async {
            let client = self.observer.client(primary).await?;
            let row = client.query_typed_one(MARK, &[]).await.map_err(|error| with_causes(&error))?;
            let lsn: String = row.try_get(1).map_err(|error| with_causes(&error))?;
            lsn.parse().map_err(|error: ParseLsnError| error.to_string())
        };
        let late = || Err(format!("no answer within {} s", COMMIT_TIMEOUT.as_secs()));
        timeout(COMMIT_TIMEOUT, mark).await.unwrap_or_else(|_| late()).map_err(no_answer)
    }

    /// Waits until queries on a node see everything up to a position, such as that of [`Lookout::commit_lsn`].
    ///
    /// It asks that node alone: whatever other nodes do, they do not hold it up.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] after `limit`, [`Refusal::NoSuchNode`], and if the engine cannot be asked.
    pub async fn wait_replayed(&mut self, node: &NodeName, lsn: Lsn, limit: Duration) -> Result<(), WaitError> {
        require_node(self.observer.engine(), node).await?;
        let (mut until, deadline) = bounds(limit);
        let mut last_seen = NOTHING.to_owned();
        while let Ok(seen) = timeout_at(until, self.visible_lsn(node)).await {
            match seen {
                Ok(seen) if seen >= Some(lsn) => return Ok(()),
                Ok(Some(seen)) => last_seen = format!("{node} is at {seen}"),
                Ok(None) => last_seen = format!("{node} has replayed nothing"),
                Err(reason) => last_seen = format!("{node} does not answer: {reason}"),
            }
            until = deadline;
            sleep(POLL_INTERVAL).await;
        }
        Err(WaitError::TimedOut { limit, awaited: Awaited::Replayed(lsn, Some(node.clone())), last_seen })
    }

    /// The end of what queries on a node see.
    async fn visible_lsn(&mut self, node: &NodeName) -> Result<Option<Lsn>, String> {
        let client = self.observer.client(node.number).await?;
        let row = client.query_typed_one(VISIBLE, &[]).await.map_err(|error| with_causes(&error))?;
        let lsn: Option<String> = row.try_get(0).map_err(|error| with_causes(&error))?;
        lsn.map(|lsn| lsn.parse()).transpose().map_err(|error: ParseLsnError| error.to_string())
    }
}
