//! Why no cluster can be made from what is there.

use std::path::PathBuf;

use pgherd_images::release::RUN_BY_AGENT;

use crate::{data_directory::is_before_12, progress::Bytes, refusal::upgrade};

/// What speaks against a data directory, or a place where one was to be. Whatever it is, nothing was changed there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is nothing to begin with.
    #[error("no data directory is there{}", holding(.0))]
    NoData(Vec<String>),
    /// There is more than one of our version.
    #[error("there is more than one data directory: \"{}\"", .0.join("\", \""))]
    Several(Vec<String>),
    /// There are only those of another version.
    #[error("the data are of PostgreSQL {found}, and this image is PostgreSQL {image}")]
    OtherMajor {
        /// The content of `PG_VERSION`.
        found: String,
        /// Our major version.
        image: u16,
    },
    /// What PostgreSQL has against it: another architecture, damage, a setting or a library that this image does not know.
    #[error("this image's PostgreSQL {image} does not take it: {complaint}")]
    NotTaken {
        /// Our major version.
        image: u16,
        /// PostgreSQL's words.
        complaint: String,
    },
    /// A server may run on it.
    #[error("it is in use, or its server was killed: postmaster.pid names process {pid}, started at {started}")]
    InUse {
        /// As its server numbers it, maybe in another container.
        pid: String,
        /// When, as its host knew it.
        started: String,
    },
    /// A replica's, or half restored.
    #[error("it is no primary's: {0}")]
    NoPrimary(String),
    /// A part of it is where a copy would not find it.
    #[error("\"{link}\" is a link to \"{}\", outside of the data directory", target.display())]
    Elsewhere {
        /// The link, below the data directory.
        link: String,
        /// Where it leads.
        target: PathBuf,
    },
    /// The copy would have to take the place of other data.
    #[error("the node has data already, in \"{}\"", .0.display())]
    Occupied(PathBuf),
    /// Somebody has used it while it was copied.
    #[error("it was changed while it was copied")]
    Changed,
    /// It does not fit.
    #[error("no room for it: the copy takes {needed}, and {free} are free on the node's volume")]
    NoRoom {
        /// What it takes.
        needed: Bytes,
        /// What there is.
        free: Bytes,
    },
}

impl Unfit {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let by_base_backup = "a cluster \"--from\" the running server is made by a base backup";
        match self {
            Unfit::NoData(_) => "name the directory that holds PG_VERSION, or one of the two above it".into(),
            Unfit::Several(_) => "name one of them".into(),
            Unfit::OtherMajor { found, .. } if is_before_12(found) => upgrade(found, false),
            Unfit::OtherMajor { found, .. } if found.parse().is_ok_and(|major| RUN_BY_AGENT.contains(&major)) => {
                format!("\"--version {found}\" makes a cluster of it")
            }
            Unfit::OtherMajor { found, .. } => upgrade(found, false),
            Unfit::NotTaken { complaint, .. } if complaint.contains("locale") => {
                "take an image that has this locale, such as the one that made the data: \"cargo xtask images --base IMAGE\" \
                 puts nodes on it, and \"--image\" names the result"
                    .into()
            }
            Unfit::NotTaken { complaint, .. } if complaint.contains("could not access file") => {
                "take an image that has this library, made by \"cargo xtask images --base IMAGE\"; or remove it from \
                 shared_preload_libraries where the data are, if they do without"
                    .into()
            }
            Unfit::NotTaken { complaint, .. } if complaint.contains("configuration file") => {
                "mend it where the data are, as by ALTER SYSTEM RESET".into()
            }
            Unfit::NotTaken { .. } => "take the image and the architecture that the data were made by; a dump and restore \
                 brings them over to any other"
                .into(),
            Unfit::InUse { .. } => format!(
                "stop the server in good order, which removes that file; the data of one that runs cannot be copied, but \
                 {by_base_backup}"
            ),
            Unfit::NoPrimary(_) => {
                "promote it first, or bring the data of its primary; nothing of a recovery that has not ended is a cluster \
                 of its own"
                    .into()
            }
            Unfit::Elsewhere { .. } => format!("move what it leads to inside; or start the server: {by_base_backup}"),
            Unfit::Occupied(_) => "take another directory by \"--volume\", or begin with the data that are there".into(),
            Unfit::Changed => "stop whoever uses it; the copy is begun anew by the same command".into(),
            Unfit::NoRoom { .. } => "make room there, or give the nodes larger volumes by \"--volume-size\"".into(),
        }
    }
}

fn holding(entries: &[String]) -> String {
    if entries.is_empty() { String::new() } else { format!(", but \"{}\"", entries.join("\", \"")) }
}
