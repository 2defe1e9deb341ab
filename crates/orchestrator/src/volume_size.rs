//! How large a node's own volume is, where it is limited.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::quantity::{self, MEMORY_UNITS};

/// The size of a file system in bytes, spelled as PostgreSQL spells memory: `512MB`, `2GB`, in powers of 1024.
///
/// <https://www.postgresql.org/docs/17/config-setting.html#CONFIG-SETTING-NAMES-VALUES>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct VolumeSize(u64);

/// A text that is no size of a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVolumeSize {
    /// Not a size at all.
    #[error(
        "\"{0}\" is not a size\n\
         hint: Use a whole number with one of the units \"kB\", \"MB\", \"GB\" and \"TB\", as in \"512MB\"; units are powers of 1024."
    )]
    Malformed(String),
    /// Too small for a cluster to live on.
    #[error("{0} is less than {min}, the least that data and write-ahead log of a new cluster fit in", min = VolumeSize::MIN)]
    TooSmall(VolumeSize),
    /// Larger than anything that was tried.
    #[error("{0} is more than {max}, the most that a volume can have", max = VolumeSize::MAX)]
    TooLarge(String),
}

impl VolumeSize {
    /// The least: twice what a primary with two replicas came to rest at, 129 MB, of which 98 MB are log that it keeps and reuses
    /// (`min_wal_size`, `wal_keep_size`). A new one begins with 64 MB; the file system itself takes 22 MB of 128.
    pub const MIN: VolumeSize = VolumeSize(256 << 20);

    /// The most. The journal and the tables of a file system of this size take 1 GB of the engine's own already.
    pub const MAX: VolumeSize = VolumeSize(1 << 40);

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// What a label says that we have written, whatever the bounds were then.
    pub(crate) fn from_label(bytes: &str) -> Option<VolumeSize> {
        bytes.parse().ok().map(VolumeSize)
    }
}

impl FromStr for VolumeSize {
    type Err = InvalidVolumeSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || InvalidVolumeSize::Malformed(text.to_owned());
        let (digits, unit) = quantity::split(text, &MEMORY_UNITS).ok_or_else(malformed)?;
        let number: u64 = digits.parse().map_err(|_| malformed())?;
        match number.checked_mul(unit).map(VolumeSize) {
            Some(size) if size < VolumeSize::MIN => Err(InvalidVolumeSize::TooSmall(size)),
            Some(size) if size <= VolumeSize::MAX => Ok(size),
            _ => Err(InvalidVolumeSize::TooLarge(text.to_owned())),
        }
    }
}

impl fmt::Display for VolumeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quantity::write(f, self.0, &MEMORY_UNITS)
    }
}

#[cfg(test)]
mod tests {
    use super::VolumeSize;

    #[test]
    fn sizes_are_read_as_postgresql_reads_them() {
        for (text, bytes, shown) in [
            ("512MB", 512 << 20, "512MB"),
            ("1024MB", 1 << 30, "1GB"),
            ("524289kB", (512 << 20) + 1024, "524289kB"),
            ("1TB", 1 << 40, "1TB"),
        ] {
            let size: VolumeSize = text.parse().expect("a size");
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn all_else_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "not a size"),
            ("512", "not a size"),
            ("MB", "not a size"),
            ("512mb", "not a size"),
            ("512 MB", "not a size"),
            ("1.5GB", "not a size"),
            ("-1GB", "not a size"),
            ("99999999999999999999GB", "not a size"),
            ("0MB", "0B is less than"),
            ("16MB", "16MB is less than"),
            ("2TB", "2TB is more than"),
            ("99999999999TB", "is more than"),
        ] {
            let error = text.parse::<VolumeSize>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
