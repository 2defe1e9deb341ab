//! Files by their digest, kept between builds.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::digest::Digest;

/// A directory of files, each named by its SHA-256.
#[derive(Debug, Clone)]
pub struct Cache(PathBuf);

impl Cache {
    /// A cache in that directory, which need not be there yet.
    #[must_use]
    pub fn new(directory: PathBuf) -> Cache {
        Cache(directory)
    }

    /// The directory that the environment means: `$PGHERD_CACHE`, else `pgherd` below that of all caches.
    ///
    /// <https://specifications.freedesktop.org/basedir-spec/latest/>
    #[must_use]
    pub fn default_directory() -> PathBuf {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        variable("PGHERD_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|caches| caches.join("pgherd")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/pgherd")))
            .unwrap_or_else(|| env::temp_dir().join("pgherd"))
    }

    /// The file with that digest, if it is here and still is what it was.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        fs::read(self.0.join("sha256").join(digest.to_string())).ok().filter(|bytes| Digest::of(bytes) == *digest)
    }

    /// Keeps a file under its digest.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        write(&self.0.join("sha256"), &digest.to_string(), bytes)
    }

    /// What was made of some inputs before, by the digest of these.
    #[must_use]
    pub fn get_made(&self, kind: &str, inputs: &Digest) -> Option<Vec<u8>> {
        fs::read(self.0.join(kind).join(inputs.to_string())).ok()
    }

    /// Keeps what was made of some inputs.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written.
    pub fn put_made(&self, kind: &str, inputs: &Digest, bytes: &[u8]) -> io::Result<()> {
        write(&self.0.join(kind), &inputs.to_string(), bytes)
    }
}

/// Killed at any moment, the directory holds all of the file or nothing.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(directory.join(name))?;
    Ok(())
}
