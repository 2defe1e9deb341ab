//! Files inside containers that need not run: the archive API reaches their volumes, too.
//!
//! <https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/PutContainerArchive>

use std::{io::Read, path::Path};

use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt;
use pgherd_images::contract;

use super::{Action, Engine, EngineError, found};

/// Far more than any file of the contract; a bound on what a broken engine can make us hold.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

impl Engine {
    /// Writes one file below the existing directory `base`, with the directories in between, all owned by the node's user.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn write_file(&self, container: &str, base: &str, path: &str, content: &[u8]) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::default().path(base).build();
        let body = bollard::body_full(Bytes::from(archive_of(path, content)));
        let sent = self.docker.upload_to_container(container, Some(options), body).await;
        sent.action(|| format!("write \"{base}/{path}\" in container \"{container}\""))
    }

    /// Whether there is anything at a path, without reading it.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn has_file(&self, container: &str, path: &str) -> Result<bool, EngineError> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        let info = self.docker.get_container_archive_info(container, Some(options)).await;
        Ok(found(info.action(|| format!("look for \"{path}\" in container \"{container}\"")))?.is_some())
    }

    /// Reads one file, or `None` where there is none.
    ///
    /// # Errors
    /// If the engine cannot be asked, or if the path is not a file of at most 1 MiB.
    pub async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let action = || format!("read \"{path}\" in container \"{container}\"");
        let broken = |message: String| EngineError::Broken { action: action(), message };
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = std::pin::pin!(self.docker.download_from_container(container, Some(options)));
        let mut archive = Vec::new();
        while let Some(piece) = stream.next().await {
            let Some(piece) = found(piece.action(action))? else { return Ok(None) };
            archive.extend_from_slice(&piece);
            if archive.len() as u64 > 2 * LARGEST_FILE_BYTES {
                return Err(broken(format!("it is larger than {LARGEST_FILE_BYTES} bytes")));
            }
        }
        first_file(&archive).map(Some).map_err(|error| broken(error.to_string()))
    }
}

fn archive_of(path: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut append = |path: &Path, kind: tar::EntryType, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(contract::UID.into());
        header.set_gid(contract::UID.into());
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).expect("writing to memory cannot fail");
    };
    let path = Path::new(path);
    let mut directories: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
    directories.reverse();
    for directory in directories {
        append(directory, tar::EntryType::Directory, 0o700, &[]);
    }
    append(path, tar::EntryType::Regular, 0o600, content);
    archive.into_inner().expect("writing to memory cannot fail")
}

fn first_file(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            entry.take(LARGEST_FILE_BYTES).read_to_end(&mut content)?;
            return Ok(content);
        }
    }
    Err(std::io::Error::other("it is not a file"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_survives_its_archive() {
        let archive = super::archive_of("17/control/spec.json", b"{}");
        assert_eq!(super::first_file(&archive).expect("a file"), b"{}");
        let mut entries = tar::Archive::new(&archive[..]);
        let paths: Vec<_> =
            entries.entries().expect("entries").map(|e| e.expect("entry").path_bytes().into_owned()).collect();
        assert_eq!(paths, [b"17".to_vec(), b"17/control".to_vec(), b"17/control/spec.json".to_vec()]);
    }
}
