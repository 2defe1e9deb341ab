//! A client that commits on the primary all the time, whoever that is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, time::sleep};
use tokio_postgres::{Error, NoTls};

use crate::PATIENCE;

/// Between two tries to connect, while nobody is there.
const PAUSE: Duration = Duration::from_millis(20);

/// How a server ends a session that shuts down: `admin_shutdown`.
pub(super) const SHUTDOWN: &str = "57P01";

/// What a client has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many commits were acknowledged.
    pub(super) commits: u64,
    /// How its sessions ended but for the last one, by SQLSTATE: `None` where the connection was lost before that came.
    pub(super) ends: Vec<Option<String>>,
    /// The longest time from one acknowledged commit to the next.
    pub(super) gap: Duration,
}

pub(super) struct Load {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Load {
    /// Begins, and returns once something was committed. There has to be a table `load`.
    pub(super) fn begin(url: &str) -> Load {
        let (is_over, has_begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (url, is_over, has_begun) = (url.to_owned(), Arc::clone(&is_over), Arc::clone(&has_begun));
            move || Runtime::new().expect("a runtime").block_on(work(&url, &is_over, &has_begun))
        });
        let deadline = Instant::now() + PATIENCE;
        while !has_begun.load(Ordering::Relaxed) {
            assert!(Instant::now() < deadline && !thread.is_finished(), "nothing could be committed");
            thread::sleep(PAUSE);
        }
        Load { is_over, thread }
    }

    /// Ends, once something was committed after whatever happened.
    pub(super) fn end(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("a client that could connect")
    }
}

/// Commits until `is_over`, and once more after that.
async fn work(url: &str, is_over: &AtomicBool, has_begun: &AtomicBool) -> Seen {
    let (mut seen, mut latest) = (Seen::default(), None::<Instant>);
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await else {
            assert!(Instant::now() < deadline, "nobody takes writes");
            sleep(PAUSE).await;
            continue;
        };
        let connection = tokio::spawn(connection);
        let error = loop {
            let ends = is_over.load(Ordering::Relaxed);
            if let Err(error) = client.execute("INSERT INTO load DEFAULT VALUES", &[]).await {
                break error;
            }
            let now = Instant::now();
            seen.gap = seen.gap.max(latest.map_or(Duration::ZERO, |latest| now - latest));
            (latest, deadline) = (Some(now), now + PATIENCE);
            seen.commits += 1;
            has_begun.store(true, Ordering::Relaxed);
            if ends {
                return seen;
            }
        };
        // What comes between two questions is told to the connection alone.
        let last_words = connection.await.expect("no panic").err();
        seen.ends.push(sqlstate(&error).or_else(|| sqlstate(&last_words?)));
    }
}

fn sqlstate(error: &Error) -> Option<String> {
    error.code().map(|code| code.code().to_owned())
}
