//! How the time between the request to end and the engine's last signal is shared out.

use std::time::Duration;

/// What `docker stop` grants unless it is told otherwise, in seconds.
const DOCKERS_DEFAULT: u32 = 10;

/// What an immediate shutdown may take. PostgreSQL kills a child that does not react after 5 s, and a healthy one ends at
/// once, <https://www.postgresql.org/docs/17/server-shutdown.html>.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(6);

/// What a tool may take to clean up.
const TOOL: Duration = Duration::from_secs(5);

/// The time from the request to end until all processes of the container are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(Duration);

impl Grace {
    /// So many seconds.
    #[must_use]
    pub fn from_seconds(seconds: u32) -> Grace {
        Grace(Duration::from_secs(seconds.into()))
    }

    /// How long PostgreSQL has for a fast shutdown, before it is asked for an immediate one: at least four fifths, because
    /// a shutdown that ends with its checkpoint is worth more than an orderly end without.
    #[must_use]
    pub fn for_fast_shutdown(self) -> Duration {
        self.0 - IMMEDIATE_SHUTDOWN.min(self.0 / 5)
    }

    /// How long a tool has from the request to end until it is killed: at most half, the rest is for what it leaves.
    #[must_use]
    pub fn for_tool(self) -> Duration {
        TOOL.min(self.0 / 2)
    }
}

impl Default for Grace {
    fn default() -> Self {
        Grace::from_seconds(DOCKERS_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_what_comes_after() {
        for (grace, fast, tool) in
            [(1, 800, 500), (10, 8_000, 5_000), (15, 12_000, 5_000), (30, 24_000, 5_000), (90, 84_000, 5_000)]
        {
            let grace = Grace::from_seconds(grace);
            assert_eq!(
                (grace.for_fast_shutdown().as_millis(), grace.for_tool().as_millis()),
                (fast, tool),
                "{grace:?}"
            );
        }
        assert_eq!(Grace::default(), Grace::from_seconds(10));
    }
}
