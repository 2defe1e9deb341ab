//! The way of a data directory: from partial, which may be discarded, through staged, which is complete, into place.

use std::{fs, io};

use crate::{
    configuration::{FILES_IN_DATA_DIRECTORY, PLACEHOLDER},
    durable,
    layout::Layout,
};

/// Makes the marked directory in which a data directory can be made.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn begin(layout: &Layout) -> io::Result<()> {
    fs::create_dir_all(layout.partial())?;
    fs::write(layout.partial_marker(), "this directory is discarded at the next start\n")?;
    // Nothing may stand there unmarked after a crash.
    durable::sync_directory_of(&layout.partial_marker())?;
    durable::sync_directory_of(&layout.partial())
}

/// Moves tablespaces that are linked from the partial data directory to where the links are, and makes them tablespaces "in
/// place" (<https://www.postgresql.org/docs/17/runtime-config-developer.html#GUC-ALLOW-IN-PLACE-TABLESPACES>).
///
/// A link is absolute, so that it would lead astray as soon as its directory goes its way from partial through staged into
/// place, and later into the trash. What is inside the data directory goes with it.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn move_tablespaces_in(layout: &Layout) -> io::Result<()> {
    for entry in fs::read_dir(layout.partial_data().join("pg_tblspc"))? {
        let link = entry?.path();
        if link.is_symlink() {
            let directory = fs::read_link(&link)?;
            fs::remove_file(&link)?;
            fs::rename(directory, link)?;
        }
    }
    Ok(())
}

/// Makes what is in the partial directory durable, and stages it.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn finish(layout: &Layout) -> io::Result<()> {
    for name in FILES_IN_DATA_DIRECTORY {
        fs::write(layout.partial_data().join(name), PLACEHOLDER)?;
    }
    durable::sync_file_system_of(&layout.partial())?;
    fs::rename(layout.partial_data(), layout.staged())?;
    durable::sync_directory_of(&layout.staged())?;
    discard(layout)
}

/// Stages what was brought, once it is the node's own. It was shut down, and is made durable with all that was written beside that.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn stage_brought(layout: &Layout) -> io::Result<()> {
    durable::sync_file_system_of(&layout.brought())?;
    fs::rename(layout.brought(), layout.staged())?;
    durable::sync_directory_of(&layout.staged())
}

/// Deletes the partial directory; the marker last, so that what is left after a crash is still known to be ours.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn discard(layout: &Layout) -> io::Result<()> {
    for content in [layout.partial_data(), layout.partial_tablespaces()] {
        match fs::remove_dir_all(content) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir_all(layout.partial())
}

/// Puts what is staged in place, where an empty directory may stand.
///
/// # Errors
/// Whatever the file system says, such as that there are data.
pub(crate) fn put_in_place(layout: &Layout) -> io::Result<()> {
    match fs::remove_dir(layout.data()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(layout.staged(), layout.data())?;
    durable::sync_directory_of(&layout.data())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_directory::Partial;

    #[test]
    fn tablespaces_go_with_their_data_directory() {
        let volume = tempfile::tempdir().unwrap();
        let layout = Layout { volume: volume.path().to_owned(), ..Layout::of_image(17) };
        begin(&layout).unwrap();
        let (links, outside) = (layout.partial_data().join("pg_tblspc"), layout.partial_tablespaces().join("16385"));
        for directory in [&links.join("16384"), &outside] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join("relation"), directory.to_string_lossy().as_bytes()).unwrap();
        }
        std::os::unix::fs::symlink(&outside, links.join("16385")).unwrap();
        move_tablespaces_in(&layout).unwrap();
        for oid in ["16384", "16385"] {
            assert!(links.join(oid).symlink_metadata().unwrap().is_dir(), "{oid}");
            assert!(links.join(oid).join("relation").exists(), "{oid}");
        }
        finish(&layout).unwrap();
        assert!(layout.staged().join("pg_tblspc/16385/relation").exists() && !layout.partial().exists());
    }

    #[test]
    fn a_directory_goes_its_way() {
        let volume = tempfile::tempdir().unwrap();
        let layout = Layout { volume: volume.path().to_owned(), ..Layout::of_image(17) };
        for data_exists in [false, true] {
            begin(&layout).unwrap();
            assert_eq!(Partial::observe(&layout).unwrap(), Partial::Ours);
            fs::create_dir(layout.partial_data()).unwrap();
            fs::write(layout.partial_data().join("PG_VERSION"), "17\n").unwrap();
            finish(&layout).unwrap();
            assert!(layout.staged().join("PG_VERSION").exists() && !layout.partial().exists());
            if data_exists {
                fs::remove_dir_all(layout.data()).unwrap();
                fs::create_dir(layout.data()).unwrap();
            }
            put_in_place(&layout).unwrap();
            assert!(layout.data().join("PG_VERSION").exists() && !layout.staged().exists());
        }
        assert!(!layout.trash().exists(), "an empty directory is not worth keeping");
    }
}
