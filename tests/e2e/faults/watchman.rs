//! Somebody who looks at a cluster all the time, over connections that stay open, and remembers what was seen.

use std::{
    ops::ControlFlow,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use pgherd_orchestrator::{ClusterName, Engine, Lookout};
use pgherd_probe::{Finding, Health, Report};
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// What was seen, and when it was known.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) known_at: SystemTime,
    pub(super) took: Duration,
    pub(super) report: Report,
}

impl Look {
    /// Every finding as `lab-2 replay_paused`, or `cluster no_primary`, sorted, and its message.
    pub(super) fn findings(&self) -> Vec<(String, String)> {
        let of_nodes =
            self.report.nodes.iter().flat_map(|node| node.findings.iter().map(|finding| (&*node.node, finding)));
        named(self.report.findings.iter().map(|finding| ("cluster", finding)).chain(of_nodes))
    }

    /// What is worth knowing, and as it should be.
    pub(super) fn notes(&self) -> Vec<(String, String)> {
        named(self.report.nodes.iter().flat_map(|node| node.notes.iter().map(|note| (&*node.node, note))))
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.report.health == Health::Healthy
    }
}

fn named<'a>(findings: impl Iterator<Item = (&'a str, &'a Finding)>) -> Vec<(String, String)> {
    let mut named: Vec<_> =
        findings.map(|(whose, finding)| (format!("{whose} {}", kind(finding)), finding.to_string())).collect();
    named.sort();
    named
}

fn kind(finding: &Finding) -> String {
    let json = serde_json::to_value(finding).expect("a finding has a JSON form");
    json["kind"].as_str().expect("its kind").to_owned()
}

#[derive(Default)]
struct Seen {
    looks: Vec<Look>,
    is_over: bool,
}

/// Looks in a thread of its own until it is dropped.
pub(super) struct Watchman {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watchman {
    pub(super) fn begin(cluster: &str) -> Watchman {
        let cluster: ClusterName = cluster.parse().expect("the name of a cluster");
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let theirs = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            Runtime::new().expect("a runtime").block_on(watch(&cluster, |look| {
                let mut seen = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
                seen.looks.extend(look);
                theirs.1.notify_all();
                if seen.is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }));
        });
        Watchman { seen, thread: Some(thread) }
    }

    /// How many looks there were.
    pub(super) fn looks(&self) -> usize {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).looks.len()
    }

    /// How long the slowest look took from number `from` on.
    pub(super) fn slowest(&self, from: usize) -> Duration {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.looks.iter().skip(from).map(|look| look.took).max().unwrap_or_default()
    }

    /// The first look from number `from` on that is as wanted; else, when the time is up, all that there were.
    pub(super) fn wait(
        &self,
        from: usize,
        within: Duration,
        mut is_wanted: impl FnMut(&Look) -> bool,
    ) -> Result<Look, Vec<Look>> {
        let deadline = Instant::now() + within;
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = from;
        loop {
            if let Some(look) = seen.looks[next.min(seen.looks.len())..].iter().find(|look| is_wanted(look)) {
                return Ok(look.clone());
            }
            next = next.max(seen.looks.len());
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(seen.looks[from.min(seen.looks.len())..].to_vec());
            }
            seen = self.seen.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        if let Some(thread) = self.thread.take() {
            // Whatever became of it: what it has seen is all that counts.
            drop(thread.join());
        }
    }
}

async fn watch(cluster: &ClusterName, mut tell: impl FnMut(Option<Look>) -> ControlFlow<()>) {
    let engine = Engine::connect().await.expect("an engine");
    let mut lookout = Lookout::new(&engine, cluster);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked_at = Instant::now();
        // A container that is just being made or removed cannot be looked into.
        let look = lookout.look().await.ok().map(|look| Look {
            known_at: SystemTime::now(),
            took: asked_at.elapsed(),
            report: look.report,
        });
        if tell(look).is_break() {
            return;
        }
    }
}
