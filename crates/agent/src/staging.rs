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

/// Deletes the partial directory; the marker last, so that what is left after a crash is still known to be ours.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn discard(layout: &Layout) -> io::Result<()> {
    match fs::remove_dir_all(layout.partial_data()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir_all(layout.partial())
}

/// Exchanges what is staged into place.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn put_in_place(layout: &Layout) -> io::Result<()> {
    durable::exchange(&layout.staged(), &layout.data(), &layout.trash())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_directory::Partial;

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
