//! A copy of a data directory on the node's volume, complete or not there at all.

use std::{fs, io, path::Path};

use super::{
    copy,
    find::{below, find, refuse_unusable},
    unfit::Unfit,
};
use crate::{
    data_directory::Partial, durable, error::Error, layout::Layout, log::log, place::free_on_file_system_of,
    progress::Bytes, refusal::Refusal, staging,
};

/// For what the node writes until it serves.
const SPARE_BYTES: u64 = 64 << 20;

/// Copies the data directory at `place`, or in one of the two levels below it, to where the node adopts it. What an earlier attempt has left
/// is made anew, and a copy that is complete is left.
///
/// # Errors
/// What speaks against it, whatever the file system says, and where the original has changed meanwhile. No copy is there then.
pub fn bring(place: &Path, layout: &Layout) -> Result<(), Error> {
    if layout.brought().try_exists()? {
        log(format_args!("\"{}\" is there already", layout.brought().display()));
        return Ok(());
    }
    // A directory of the host's may outlive the cluster that it was made for.
    for there in [layout.staged(), layout.data()] {
        if there.try_exists()? {
            return Err(Unfit::Occupied(there).into());
        }
    }
    let data = find(place, layout.major)?;
    refuse_unusable(&data)?;
    match Partial::observe(layout)? {
        Partial::Missing => {}
        Partial::Ours => staging::discard(layout).map_err(Error::doing("discard the partial directory"))?,
        Partial::Foreign(entries) => return Err(Refusal::Foreign { path: layout.partial(), entries }.into()),
    }
    begin(layout).map_err(Error::doing_at("make the partial directory", &layout.partial()))?;
    let copied = copy_whole(&data, layout);
    if copied.is_err() {
        staging::discard(layout).map_err(Error::doing("discard the partial directory"))?;
    }
    let bytes = copied?;
    log(format_args!("brought \"{}\", {bytes}", below(place, &data)));
    Ok(())
}

/// All that is made belongs to the user of nodes at once, so that he can go on from wherever this ends.
fn begin(layout: &Layout) -> io::Result<()> {
    for directory in [layout.version_directory(), layout.partial()] {
        match copy::create_directory(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    copy::create_file(&layout.partial_marker())?;
    durable::sync_directory_of(&layout.partial_marker())?;
    durable::sync_directory_of(&layout.partial())
}

fn copy_whole(data: &Path, layout: &Layout) -> Result<Bytes, Error> {
    let content = copy::content(data)?;
    let bytes = Bytes(content.iter().map(|entry| entry.bytes).sum());
    let (needed, free) = (Bytes(bytes.0 + SPARE_BYTES), free_on_file_system_of(&layout.partial())?);
    if needed > free && !shares(data, layout)? {
        return Err(Unfit::NoRoom { needed, free }.into());
    }
    let doing = || Error::doing(format!("copy \"{}\"", data.display()));
    copy::create_directory(&layout.partial_data()).map_err(doing())?;
    content.iter().try_for_each(|entry| copy::copy(entry, data, &layout.partial_data())).map_err(doing())?;
    // A server that was started meanwhile has written to its control file, or is still there.
    refuse_unusable(data)?;
    let control = Path::new("global/pg_control");
    if fs::read(data.join(control))? != fs::read(layout.partial_data().join(control))? {
        return Err(Unfit::Changed.into());
    }
    stage(layout).map_err(Error::doing("put the copy in place"))?;
    Ok(bytes)
}

/// Whether a copy takes no room, because it shares its blocks with the original.
fn shares(data: &Path, layout: &Layout) -> io::Result<bool> {
    let probe = copy::create_file(&layout.partial().join("data-shares"))?;
    let shares = copy::share(&fs::File::open(data.join("PG_VERSION"))?, &probe).is_ok();
    fs::remove_file(layout.partial().join("data-shares"))?;
    Ok(shares)
}

fn stage(layout: &Layout) -> io::Result<()> {
    durable::sync_file_system_of(&layout.partial())?;
    fs::rename(layout.partial_data(), layout.brought())?;
    durable::sync_directory_of(&layout.brought())?;
    staging::discard(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_data(test: impl FnOnce(&Path, &Layout)) {
        let root = tempfile::tempdir().unwrap();
        let (place, volume) = (root.path().join("place"), root.path().join("volume"));
        for directory in [&place.join("data/global"), &volume] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(place.join("data/PG_VERSION"), "17\n").unwrap();
        fs::write(place.join("data/global/pg_control"), "control").unwrap();
        test(&place, &Layout { volume, ..Layout::of_image(17) });
    }

    #[test]
    fn a_copy_is_complete_or_not_there() {
        with_data(|place, layout| {
            bring(place, layout).unwrap();
            assert_eq!(fs::read(layout.brought().join("global/pg_control")).unwrap(), b"control");
            assert!(!layout.partial().exists());
            fs::write(layout.brought().join("ours"), "").unwrap();
            bring(place, layout).unwrap();
            assert!(layout.brought().join("ours").exists(), "what is there is not brought again");
        });
    }

    #[test]
    fn what_was_cut_off_is_begun_anew() {
        with_data(|place, layout| {
            begin(layout).unwrap();
            fs::create_dir(layout.partial_data()).unwrap();
            fs::write(layout.partial_data().join("half"), "").unwrap();
            bring(place, layout).unwrap();
            assert!(layout.brought().join("PG_VERSION").exists() && !layout.brought().join("half").exists());
        });
    }

    #[test]
    fn where_it_fails_nothing_is_left() {
        with_data(|place, layout| {
            fs::write(place.join("data/postmaster.pid"), "7\n").unwrap();
            assert!(matches!(bring(place, layout), Err(Error::Refused(Refusal::Unfit(Unfit::InUse { .. })))));
            assert!(!layout.version_directory().exists());
            fs::remove_file(place.join("data/postmaster.pid")).unwrap();
            fs::remove_dir_all(place.join("data/global")).unwrap();
            assert!(bring(place, layout).is_err());
            assert!(!layout.partial().exists() && !layout.brought().exists());
        });
    }

    #[test]
    fn what_is_foreign_stays() {
        with_data(|place, layout| {
            fs::create_dir_all(layout.partial()).unwrap();
            fs::write(layout.partial().join("precious"), "").unwrap();
            assert!(matches!(bring(place, layout), Err(Error::Refused(Refusal::Foreign { .. }))));
            assert!(layout.partial().join("precious").exists());
        });
    }
}
