//! A report with everything, as an archive.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

use super::Report;

fn path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.tar.gz"))
}

/// Writes the bundle of a scenario in the place of an older one, and says where it is, or why not.
pub(crate) fn save(directory: &Path, name: &str, transcript: &str, report: &Report) -> String {
    let path = path(directory, name);
    match fs::create_dir_all(directory).and_then(|()| write(&path, name, transcript, report)) {
        Ok(()) => format!("--- all of it: {}", path.display()),
        Err(error) => format!("--- could not write {}: {error}", path.display()),
    }
}

/// Removes what an earlier failure left.
pub(crate) fn forget(directory: &Path, name: &str) {
    // Mostly there is nothing.
    let _ = fs::remove_file(path(directory, name));
}

fn write(path: &Path, name: &str, transcript: &str, report: &Report) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(File::create(path)?, Compression::fast()));
    let mut append = |file: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, format!("{name}/{file}"), text.as_bytes())
    };
    append("transcript.txt", transcript)?;
    append("report.txt", &report.text)?;
    for (file, text) in &report.files {
        append(file, text)?;
    }
    archive.into_inner()?.finish()?;
    Ok(())
}
