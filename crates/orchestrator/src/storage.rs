//! Where nodes keep their data.

use std::{collections::HashMap, fmt, str::FromStr};

use pgherd_images::contract::labels;
use serde::{Serialize, Serializer};

/// Where the nodes of a cluster keep their data. It is chosen when a cluster is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Storage {
    /// On volumes of the engine's.
    #[default]
    Volumes,
    /// In directories below this one on the engine's host, one for each node and one for the secrets. They outlive the cluster.
    Directory(String),
    /// In memory: gone as soon as a node's container stops. What a node is asked to be stays on a volume.
    Memory,
}

/// A text that names no place for data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no place for data\n\
     hint: Use \"named\" for volumes of the engine's, \"tmpfs\" for memory, or the absolute path of a directory on its host."
)]
pub struct InvalidStorage(String);

impl Storage {
    /// The directory of a node or of the secrets.
    #[must_use]
    pub(crate) fn directory_of(&self, what: &str) -> Option<String> {
        match self {
            Storage::Directory(parent) => Some(format!("{parent}/{what}")),
            Storage::Volumes | Storage::Memory => None,
        }
    }

    /// The label that a volume carries, for those who come later.
    pub(crate) fn label(&self) -> Option<(String, String)> {
        (*self != Storage::Volumes).then(|| (labels::STORAGE.to_owned(), self.to_string()))
    }

    /// What the labels of a volume say.
    pub(crate) fn of(labels: &HashMap<String, String>) -> Storage {
        labels.get(labels::STORAGE).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

impl FromStr for Storage {
    type Err = InvalidStorage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "named" => Ok(Storage::Volumes),
            "tmpfs" => Ok(Storage::Memory),
            // Docker takes a colon for the end of a path.
            _ if text.starts_with('/')
                && !text.trim_end_matches('/').is_empty()
                && !text.contains([':', ',', '\n', '\'']) =>
            {
                Ok(Storage::Directory(text.trim_end_matches('/').to_owned()))
            }
            _ => Err(InvalidStorage(text.to_owned())),
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Storage::Volumes => "named",
            Storage::Memory => "tmpfs",
            Storage::Directory(path) => path,
        })
    }
}

impl Serialize for Storage {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Storage;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["named", "tmpfs", "/srv/shop"] {
            assert_eq!(text.parse::<Storage>().map(|storage| storage.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("/srv/shop/".parse(), Ok(Storage::Directory("/srv/shop".to_owned())));
        for text in ["", "/", "//", "srv", "./srv", "/a:b", "/it's", "memory"] {
            assert!(text.parse::<Storage>().is_err(), "{text:?} was taken for a place");
        }
    }

    #[test]
    fn only_the_unusual_is_labelled() {
        assert_eq!(Storage::Volumes.label(), None);
        for storage in [Storage::Memory, Storage::Directory("/srv".to_owned())] {
            assert_eq!(Storage::of(&storage.label().into_iter().collect()), storage);
        }
    }
}
