//! Which versions of PostgreSQL there are images of, and which release of Debian each one comes from.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// A major version of PostgreSQL that an image can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PostgresMajor(u16);

/// All that is offered. Every stable release of Debian has one major version of PostgreSQL, and keeps it; forky is to be the next.
///
/// <https://packages.debian.org/postgresql>
const CODENAMES: [(PostgresMajor, &str); 3] =
    [(PostgresMajor(15), "bookworm"), (PostgresMajor(17), "trixie"), (PostgresMajor(18), "forky")];

/// What the agent knows how to run.
pub const RUN_BY_AGENT: RangeInclusive<u16> = 15..=18;

impl PostgresMajor {
    /// The version that is taken where none is asked for.
    pub const DEFAULT: PostgresMajor = PostgresMajor(17);

    /// The major version with that number.
    ///
    /// # Errors
    ///
    /// When there is no image of it, with those that there are.
    pub fn new(number: u16) -> Result<PostgresMajor, NotOffered> {
        CODENAMES
            .into_iter()
            .map(|(major, _)| major)
            .find(|major| major.0 == number)
            .ok_or_else(|| NotOffered(number.to_string()))
    }

    /// The major version with that number, if the agent runs it. Not all of these come from a Debian release: some images have another base.
    #[must_use]
    pub fn run_by_agent(number: u16) -> Option<PostgresMajor> {
        RUN_BY_AGENT.contains(&number).then_some(PostgresMajor(number))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The codename of the Debian release that has it, or nothing where none does.
    #[must_use]
    pub fn codename(self) -> &'static str {
        CODENAMES.iter().find(|(major, _)| *major == self).map_or("", |(_, codename)| codename)
    }
}

impl fmt::Display for PostgresMajor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for PostgresMajor {
    type Err = NotOffered;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map_err(|_| NotOffered(text.to_owned())).and_then(PostgresMajor::new)
    }
}

/// A version that there is no image of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOffered(String);

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offered: Vec<String> = CODENAMES.iter().map(|(major, _)| major.to_string()).collect();
        write!(f, "no image of PostgreSQL \"{}\": offered are {}", self.0, offered.join(", "))
    }
}

impl std::error::Error for NotOffered {}

/// The processor architecture of an engine, by the name that Docker has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Architecture {
    docker: &'static str,
    debian: &'static str,
    rust: &'static str,
}

/// <https://www.debian.org/ports/> against <https://go.dev/doc/install/source#environment>. Only the first is tried.
const ARCHITECTURES: [Architecture; 5] = [
    Architecture { docker: "amd64", debian: "amd64", rust: "x86_64" },
    Architecture { docker: "arm64", debian: "arm64", rust: "aarch64" },
    Architecture { docker: "ppc64le", debian: "ppc64el", rust: "powerpc64le" },
    Architecture { docker: "riscv64", debian: "riscv64", rust: "riscv64gc" },
    Architecture { docker: "s390x", debian: "s390x", rust: "s390x" },
];

impl Architecture {
    /// The architecture that Docker calls so.
    ///
    /// # Errors
    ///
    /// When Debian has none that matches.
    pub fn from_docker(name: &str) -> Result<Architecture, UnknownArchitecture> {
        ARCHITECTURES.into_iter().find(|a| a.docker == name).ok_or_else(|| UnknownArchitecture(name.to_owned()))
    }

    /// Docker's name, `GOARCH`.
    #[must_use]
    pub fn docker(&self) -> &'static str {
        self.docker
    }

    /// Debian's name.
    #[must_use]
    pub fn debian(&self) -> &'static str {
        self.debian
    }

    /// The first part of Rust's target triples.
    #[must_use]
    pub fn rust(&self) -> &'static str {
        self.rust
    }
}

/// An architecture that no image can be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownArchitecture(String);

impl fmt::Display for UnknownArchitecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = ARCHITECTURES.iter().map(Architecture::docker).collect();
        write!(f, "no image for the engine's architecture \"{}\": known are {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownArchitecture {}

#[cfg(test)]
mod tests {
    use super::{Architecture, PostgresMajor};

    #[test]
    fn what_is_not_offered_is_refused_with_what_is() {
        assert_eq!("17".parse::<PostgresMajor>().unwrap().codename(), "trixie");
        assert_eq!("18".parse::<PostgresMajor>().unwrap().codename(), "forky");
        assert_eq!(
            PostgresMajor::new(16).unwrap_err().to_string(),
            "no image of PostgreSQL \"16\": offered are 15, 17, 18"
        );
        assert_eq!(PostgresMajor::run_by_agent(16).unwrap().codename(), "");
        assert_eq!(PostgresMajor::run_by_agent(14), None);
        assert!("seventeen".parse::<PostgresMajor>().is_err());
    }

    #[test]
    fn an_architecture_has_three_names() {
        let arm = Architecture::from_docker("arm64").unwrap();
        assert_eq!((arm.docker(), arm.debian(), arm.rust()), ("arm64", "arm64", "aarch64"));
        assert!(Architecture::from_docker("mips").is_err());
    }
}
