//! A heartbeat: a commit that is tried again and again, because a primary that answers need not be one that commits.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{ClusterName, Engine, Observer, wait::MARK};

/// The heartbeat of one cluster. It ends with this.
pub(crate) struct Heartbeat {
    /// A connection of its own: a commit that hangs holds up nobody else's questions.
    observer: Arc<Observer>,
    primary: Option<u16>,
    /// One at most. It tells whether it came to a good end.
    beats: JoinSet<bool>,
    /// When the last one did.
    committed_ms: u64,
    has_failed: bool,
}

impl Heartbeat {
    pub(crate) fn new(engine: &Engine, cluster: &ClusterName) -> Heartbeat {
        let observer = Arc::new(Observer::new(engine, cluster));
        Heartbeat { observer, primary: None, beats: JoinSet::new(), committed_ms: 0, has_failed: false }
    }

    /// Sees what came of the last beat, begins the next one unless that still hangs, and returns for how long, at least, nothing could be
    /// committed on this primary.
    pub(crate) fn beat(&mut self, primary: u16, now_ms: u64) -> u64 {
        if self.primary != Some(primary) {
            self.beats.abort_all();
            (self.primary, self.beats, self.committed_ms, self.has_failed) =
                (Some(primary), JoinSet::new(), now_ms, false);
        }
        if let Some(ended) = self.beats.try_join_next() {
            self.has_failed = !ended.unwrap_or(false);
            if !self.has_failed {
                self.committed_ms = now_ms;
            }
        }
        let hangs = !self.beats.is_empty();
        if !hangs {
            let observer = Arc::clone(&self.observer);
            self.beats.spawn(async move {
                let Ok(connection) = observer.client(primary).await else { return false };
                connection.query_typed_one(MARK, &[]).await.is_ok()
            });
        }
        if hangs || self.has_failed { now_ms.saturating_sub(self.committed_ms) } else { 0 }
    }
}
