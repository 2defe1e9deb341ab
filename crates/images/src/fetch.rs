//! Files from an archive: all that this crate asks of a network.

use std::{io, sync::Mutex, thread, time::Duration};

use backon::{BlockingRetryable, ExponentialBuilder};

use crate::{cache::Cache, digest::Digest};

/// Longer than any release file: Debian's has 150 KB.
const UNSIZED_BYTES_MAX: u64 = 8 << 20;

/// Enough to fill a line; more would only be impolite to the mirror.
const PARALLEL: usize = 4;

/// Fetches files over HTTP, and keeps those whose digest is known.
pub struct Fetcher<'a> {
    agent: ureq::Agent,
    cache: &'a Cache,
    progress: &'a dyn Progress,
}

/// Who wants to know how far a build is.
pub trait Progress: Sync {
    /// A stage begins, of so many bytes where that is known.
    fn begin(&self, stage: &str, bytes: Option<u64>);
    /// So many bytes more of it are done.
    fn advance(&self, bytes: u64);
}

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub url: String,
    /// Its digest.
    pub sha256: Digest,
    /// Its size, in bytes.
    pub size: u64,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server has no such file.
    #[error("could not fetch {0}: there is no such file")]
    Missing(String),
    /// The server was not reached, or answered with an error, or too late.
    #[error("could not fetch {url}")]
    Failed {
        /// Where it is.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The server has a longer file there.
    #[error("refusing {url}: it is longer than {bytes_max} bytes")]
    TooLong {
        /// Where it is.
        url: String,
        /// The size of what was asked for, or the most that is sensible.
        bytes_max: u64,
    },
    /// The server has another file there.
    #[error("refusing {url}: its SHA-256 is {found}, expected {expected}")]
    Digest {
        /// Where it is.
        url: String,
        /// The digest of what came.
        found: Digest,
        /// The digest of what was asked for.
        expected: Digest,
    },
    /// A text has bytes that are none.
    #[error("refusing {0}: it is not UTF-8")]
    Text(String),
    /// The cache cannot be written.
    #[error("could not write to the cache, where --cache or PGHERD_CACHE may name another directory")]
    Cache(#[source] io::Error),
}

impl<'a> Fetcher<'a> {
    /// Fetches into that cache.
    #[must_use]
    pub fn new(cache: &'a Cache, progress: &'a dyn Progress) -> Fetcher<'a> {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .timeout_global(Some(Duration::from_secs(600)))
            .build();
        Fetcher { agent: config.new_agent(), cache, progress }
    }

    /// Who wants to know how far things are.
    #[must_use]
    pub fn progress(&self) -> &dyn Progress {
        self.progress
    }

    /// Fetches a text that nothing is known of yet.
    ///
    /// # Errors
    ///
    /// When it is not there, or the server cannot be asked.
    pub fn text(&self, url: &str) -> Result<String, FetchError> {
        let bytes = self.download(url, UNSIZED_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| FetchError::Text(url.to_owned()))
    }

    /// Fetches a file, from the cache if that has it.
    ///
    /// # Errors
    ///
    /// When it is not there or is another one, or when the server cannot be asked.
    pub fn file(&self, wanted: &Wanted) -> Result<Vec<u8>, FetchError> {
        let bytes = match self.cache.get(&wanted.sha256) {
            Some(bytes) => bytes,
            None => {
                let bytes = self.download(&wanted.url, wanted.size)?;
                let found = Digest::of(&bytes);
                if found != wanted.sha256 {
                    return Err(FetchError::Digest { url: wanted.url.clone(), found, expected: wanted.sha256 });
                }
                self.cache.put(&found, &bytes).map_err(FetchError::Cache)?;
                bytes
            }
        };
        self.progress.advance(wanted.size);
        Ok(bytes)
    }

    /// Fetches files, some at a time, in their order.
    ///
    /// # Errors
    ///
    /// As [`Fetcher::file`] does, for the first that fails. The others are not begun any more.
    pub fn files(&self, wanted: &[Wanted]) -> Result<Vec<Vec<u8>>, FetchError> {
        let queue = Mutex::new(wanted.iter().enumerate());
        let next = || queue.lock().ok().and_then(|mut queue| queue.next());
        let work = || {
            let mut done = Vec::new();
            while let Some((position, wanted)) = next() {
                match self.file(wanted) {
                    Ok(bytes) => done.push((position, bytes)),
                    Err(error) => {
                        while next().is_some() {}
                        return Err(error);
                    }
                }
            }
            Ok(done)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut files: Vec<(usize, Vec<u8>)> = results.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        files.sort_by_key(|(position, _)| *position);
        Ok(files.into_iter().map(|(_, bytes)| bytes).collect())
    }

    fn download(&self, url: &str, bytes_max: u64) -> Result<Vec<u8>, FetchError> {
        let ask = || {
            let response = self.agent.get(url).call()?;
            // The limit must not be reached, which a file of that very size would do.
            response.into_body().into_with_config().limit(bytes_max + 1).read_to_vec()
        };
        // Of fifty files one may meet a name server or a mirror that stumbles; after 3.5 s it is down.
        let pauses = ExponentialBuilder::default().with_min_delay(Duration::from_millis(500)).with_max_times(3);
        let answer = ask.retry(pauses).when(may_pass).call();
        answer.map_err(|error| match error {
            ureq::Error::StatusCode(404 | 410) => FetchError::Missing(url.to_owned()),
            ureq::Error::BodyExceedsLimit(_) => FetchError::TooLong { url: url.to_owned(), bytes_max },
            error => FetchError::Failed { url: url.to_owned(), source: Box::new(error) },
        })
    }
}

/// Whether the next attempt may go better. A silence has taken its time already, and is not waited for again.
fn may_pass(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() != io::ErrorKind::TimedOut,
        ureq::Error::StatusCode(status) => *status == 429 || *status >= 500,
        ureq::Error::Protocol(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}
