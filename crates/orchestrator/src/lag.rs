//! Lag as a control: a replica that replays late, or not at all, so that an application can be tried against it.

use std::{fmt, str::FromStr, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use crate::{
    Engine, InvalidTimeSpan, Lookout, NodeName, Observer, ReconcileError, TimeSpan, causes::with_causes, require_node,
};

/// How long a replica may take to do as it was told.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two looks at it.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// In milliseconds, whatever the unit that it was set in. On a primary nothing is replayed, and PostgreSQL refuses the question.
const REPLAY: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END, \
                      (SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay')";

/// How late a replica replays: a commit no earlier than this long after it was made on the primary.
///
/// <https://www.postgresql.org/docs/17/runtime-config-replication.html#GUC-RECOVERY-MIN-APPLY-DELAY>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayDelay(TimeSpan);

/// A text that is no delay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReplayDelay {
    /// Not a span of time at all.
    #[error(transparent)]
    Malformed(#[from] InvalidTimeSpan),
    /// More than PostgreSQL takes.
    #[error("{0} is more than {max}, 24.8 days, the most that PostgreSQL takes", max = ReplayDelay::MAX)]
    TooLong(TimeSpan),
}

impl ReplayDelay {
    /// What fits into the setting.
    pub const MAX: TimeSpan = TimeSpan { milliseconds: i32::MAX as u64 };
}

impl FromStr for ReplayDelay {
    type Err = InvalidReplayDelay;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span: TimeSpan = text.parse()?;
        if span > ReplayDelay::MAX { Err(InvalidReplayDelay::TooLong(span)) } else { Ok(ReplayDelay(span)) }
    }
}

/// What a replica is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LagControl {
    /// To stop replaying, until it is told to go on or restarts. It goes on receiving.
    ///
    /// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL>
    Pause,
    /// To go on.
    Resume,
    /// To replay late, or with a delay of nothing, as soon as it can. It outlives restarts, not a new clone.
    ///
    /// PostgreSQL begins to receive once it has replayed what it had, and so a replica that is restarted while something waits
    /// for its delay receives nothing until that is over.
    Delay(ReplayDelay),
}

/// How a replica replays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayState {
    /// `not paused`, `pause requested` or `paused`.
    pub pause_state: String,
    /// `recovery_min_apply_delay`.
    pub delay_ms: u64,
}

impl ReplayState {
    /// The delay, where there is one.
    #[must_use]
    pub fn delay(&self) -> Option<TimeSpan> {
        (self.delay_ms > 0).then_some(TimeSpan { milliseconds: self.delay_ms })
    }
}

impl fmt::Display for ReplayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pause_state)?;
        self.delay().map_or(Ok(()), |delay| write!(f, ", and delayed by {delay}"))
    }
}

/// Why a replica does not replay as it was told.
#[derive(Debug, thiserror::Error)]
pub enum LagError {
    /// It is not there, or the engine cannot be asked.
    #[error(transparent)]
    Node(#[from] ReconcileError),
    /// It does not replay.
    #[error("node \"{0}\" is a primary, which replays nothing\nhint: Name one of its replicas.")]
    NotAReplica(NodeName),
    /// It does not answer, or refuses.
    #[error("could not {action} on \"{node}\": {reason}")]
    NoAnswer {
        /// What it was asked to do.
        action: String,
        /// Which one.
        node: NodeName,
        /// What it said.
        reason: String,
    },
    /// It was told, and has not done it.
    #[error(
        "could not {action} on \"{node}\" within {} s: replay is {last_seen}\n\
         hint: It was told, and may still do it. A record that waits for its delay is replayed before a pause begins.",
        LIMIT.as_secs()
    )]
    TimedOut {
        /// What it was told to do.
        action: String,
        /// Which one.
        node: NodeName,
        /// What it did at last.
        last_seen: ReplayState,
    },
}

impl LagControl {
    /// One at a time: `ALTER SYSTEM` stands in no transaction.
    fn statements(self) -> Vec<String> {
        let reload = || "SELECT pg_reload_conf()".to_owned();
        match self {
            LagControl::Pause => vec!["SELECT pg_wal_replay_pause()".to_owned()],
            LagControl::Resume => vec!["SELECT pg_wal_replay_resume()".to_owned()],
            LagControl::Delay(ReplayDelay(TimeSpan { milliseconds: 0 })) => {
                vec!["ALTER SYSTEM RESET recovery_min_apply_delay".to_owned(), reload()]
            }
            LagControl::Delay(ReplayDelay(delay)) => {
                vec![format!("ALTER SYSTEM SET recovery_min_apply_delay = '{}ms'", delay.milliseconds), reload()]
            }
        }
    }

    fn is_done(self, found: &ReplayState) -> bool {
        match self {
            LagControl::Pause => found.pause_state == "paused",
            LagControl::Resume => found.pause_state == "not paused",
            LagControl::Delay(ReplayDelay(delay)) => found.delay_ms == delay.milliseconds,
        }
    }
}

impl fmt::Display for LagControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LagControl::Pause => f.write_str("pause replay"),
            LagControl::Resume => f.write_str("resume replay"),
            LagControl::Delay(ReplayDelay(TimeSpan { milliseconds: 0 })) => f.write_str("end the delay of replay"),
            LagControl::Delay(ReplayDelay(delay)) => write!(f, "delay replay by {delay}"),
        }
    }
}

/// Tells a replica how to replay, and returns when it does so.
///
/// # Errors
/// [`LagError::NotAReplica`] before anything is changed, and [`LagError::TimedOut`] after 10 s.
pub async fn control_lag(engine: &Engine, node: &NodeName, control: LagControl) -> Result<ReplayState, LagError> {
    require_node(engine, node).await?;
    let no_answer = |reason: String| LagError::NoAnswer { action: control.to_string(), node: node.clone(), reason };
    let observer = Observer::new(engine, &node.cluster);
    let client = observer.client(node.number).await.map_err(no_answer)?;
    if replay_of(&client).await.map_err(no_answer)?.is_none() {
        return Err(LagError::NotAReplica(node.clone()));
    }
    for statement in control.statements() {
        in_time(client.batch_execute(&statement)).await.map_err(no_answer)?;
    }
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = replay_of(&client).await.map_err(no_answer)?;
        match found.ok_or_else(|| LagError::NotAReplica(node.clone()))? {
            found if control.is_done(&found) => return Ok(found),
            last_seen if Instant::now() >= deadline => {
                return Err(LagError::TimedOut { action: control.to_string(), node: node.clone(), last_seen });
            }
            _ => sleep(POLL_INTERVAL).await,
        }
    }
}

/// How a server replays; `None` on a primary.
async fn replay_of(client: &Client) -> Result<Option<ReplayState>, String> {
    let row = in_time(client.query_typed_one(REPLAY, &[])).await?;
    let read = || -> Result<_, tokio_postgres::Error> { Ok((row.try_get(0)?, row.try_get::<_, i64>(1)?)) };
    let (pause_state, delay_ms) = read().map_err(|error| with_causes(&error))?;
    Ok(Option::map(pause_state, |pause_state| ReplayState { pause_state, delay_ms: delay_ms.unsigned_abs() }))
}

impl Lookout {
    /// How a node replays; `None` on a primary.
    ///
    /// # Errors
    /// [`LagError::NoAnswer`].
    pub async fn replay(&mut self, node: &NodeName) -> Result<Option<ReplayState>, LagError> {
        let no_answer =
            |reason| LagError::NoAnswer { action: "learn how replay goes".to_owned(), node: node.clone(), reason };
        let client = self.observer.client(node.number).await.map_err(no_answer)?;
        replay_of(&client).await.map_err(no_answer)
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, String> {
    match timeout(LIMIT, asked).await {
        Ok(answer) => answer.map_err(|error| with_causes(&error)),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}
