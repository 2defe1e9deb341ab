//! The major version of PostgreSQL that a run is about.
//!
//! Scenarios are written for 17, and so are their transcripts; `cargo xtask e2e --version NN` puts another one in its place,
//! here alone.

use std::env;

use pgherd_images::release::PostgresMajor;

/// The environment variable that names the version, for `cargo xtask cluster up` as well.
pub(crate) const VERSION: &str = "PGHERD_VERSION";

/// The version of this run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version(u16);

impl Version {
    /// For scenarios that name versions themselves.
    pub(crate) const AS_TYPED: Version = Version(PostgresMajor::DEFAULT.number());

    /// What the environment asks for.
    pub(crate) fn of_this_run() -> Version {
        let asked = env::var(VERSION).ok().and_then(|text| text.parse::<PostgresMajor>().ok());
        Version(asked.unwrap_or(PostgresMajor::DEFAULT).number())
    }

    /// Its number.
    pub(crate) fn number(self) -> u16 {
        self.0
    }

    /// From what a scenario types to what is on the engine.
    pub(crate) fn localize(self, text: &str) -> String {
        replace(text, PostgresMajor::DEFAULT.number(), self.0)
    }

    /// And back.
    pub(crate) fn restore(self, text: &str) -> String {
        replace(text, self.0, PostgresMajor::DEFAULT.number())
    }
}

fn replace(text: &str, from: u16, to: u16) -> String {
    if from == to {
        return text.to_owned();
    }
    let words =
        ["pgherd/postgres:", "pgherd/primary:", "pgherd/replica:", "pgherd/stand-in:", "pgherd/guest:", "PostgreSQL "];
    let text =
        words.iter().fold(text.to_owned(), |text, word| text.replace(&format!("{word}{from}"), &format!("{word}{to}")));
    text.replace(&format!("/{from}/"), &format!("/{to}/"))
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn images_and_paths_follow_the_version() {
        let typed = "docker run -v d:/var/lib/postgresql/17/data pgherd/primary:17-official 17";
        let there = "docker run -v d:/var/lib/postgresql/18/data pgherd/primary:18-official 17";
        assert_eq!(Version(18).localize(typed), there);
        assert_eq!(Version(18).restore(there), typed);
        assert_eq!(Version(17).localize(typed), typed);
    }
}
