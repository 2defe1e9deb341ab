//! What a cluster is for, in one word.

use serde::{Deserialize, Serialize};

use crate::{ClusterSpec, Storage};

/// How much the data of a cluster matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// They outlive whatever happens to processes, containers and the host: as ever.
    Durable,
    /// They are gone with the containers: in memory, and never synced. For tests, which start sooner so.
    Throwaway,
}

impl Profile {
    /// Asks for what that means, where `spec` does not ask for something else.
    pub fn apply_to(self, spec: &mut ClusterSpec) {
        if self == Profile::Throwaway {
            // A volume of a limited size is no memory.
            if spec.volume_size.is_none() {
                spec.storage.get_or_insert(Storage::Memory);
            }
            spec.common.entry("fsync".to_owned()).or_insert_with(|| "off".to_owned());
        }
    }
}
