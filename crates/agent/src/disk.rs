//! How much room the node's disk has, told for as long as PostgreSQL runs, which knows no function for it: a superuser reads the
//! file by `pg_read_file`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    mem,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::retry_on_intr,
};
use serde::Serialize;

use crate::{
    layout::Layout,
    log::{Level, Line},
};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The file is no older than this, and a look's time.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// What is worth telling before the file is that old. Less would have a busy node write at every look.
const CHANGE_BYTES: u64 = 1 << 20;

/// Every text has this length.
const TEXT_BYTES: usize = 128;

/// The room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Room {
    /// What is free for us.
    free_bytes: u64,
    total_bytes: u64,
    at_unix_ms: u64,
}

impl Room {
    fn on_file_system_of(path: &Path, now: SystemTime) -> io::Result<Room> {
        let statistics = retry_on_intr(|| rustix::fs::statvfs(path))?;
        let bytes = |blocks: u64| blocks.saturating_mul(statistics.f_frsize);
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Ok(Room { free_bytes: bytes(statistics.f_bavail), total_bytes: bytes(statistics.f_blocks), at_unix_ms })
    }

    /// Whether it is to be told, after `told`. A clock that was set back is a change, too.
    fn is_news_after(&self, told: &Room) -> bool {
        let age = Duration::from_millis(self.at_unix_ms.saturating_sub(told.at_unix_ms));
        self.total_bytes != told.total_bytes
            || self.free_bytes.abs_diff(told.free_bytes) >= CHANGE_BYTES
            || age >= REFRESH_INTERVAL
            || self.at_unix_ms < told.at_unix_ms
    }

    /// JSON, with spaces up to its length.
    fn text(&self) -> io::Result<String> {
        Ok(format!("{:<1$}\n", serde_json::to_string(self)?, TEXT_BYTES - 1))
    }
}

/// Room is told of until this is dropped.
pub(crate) struct Teller {
    _end: Sender<()>,
}

impl Teller {
    /// Begins to tell, in a thread of its own: a file system that hangs holds up nothing else. Whatever fails is no reason to end a
    /// server, and is logged once.
    pub(crate) fn begin(layout: &Layout) -> Teller {
        let (end, ended) = mpsc::channel();
        let (data, file) = (layout.data(), layout.disk_file());
        let tell_again_and_again = move || {
            let (mut told, mut complained) = (None, false);
            loop {
                if let Err(error) = tell(&data, &file, &mut told)
                    && !mem::replace(&mut complained, true)
                {
                    complain(&error);
                }
                if ended.recv_timeout(LOOK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("disk".into()).spawn(tell_again_and_again) {
            complain(&error);
        }
        Teller { _end: end }
    }
}

fn complain(error: &io::Error) {
    let message = format!("could not tell how much room the disk has: {error}");
    Line::new(Level::Warning, message).event("disk_unknown").write();
}

fn tell(data: &Path, file: &Path, told: &mut Option<Room>) -> io::Result<()> {
    let room = Room::on_file_system_of(data, SystemTime::now())?;
    if told.is_none_or(|told| room.is_news_after(&told)) {
        exchange(file, &room.text()?)?;
        *told = Some(room);
    }
    Ok(())
}

/// Puts `text`, which always has the same length, in the place of what `file` holds.
///
/// Two files change places, and the one that is written to keeps its blocks. So this works on a disk that is full, when it is wanted
/// most, unless that disk's file system writes everything to a new place.
fn exchange(file: &Path, text: &str) -> io::Result<()> {
    let next = file.with_extension("next");
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&next)?.write_all(text.as_bytes())?;
    match rustix::fs::renameat_with(CWD, &next, CWD, file, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // At first there is one file only, and not all file systems can do it.
        Err(_) => fs::rename(&next, file),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ROOM: Room = Room { free_bytes: 10 << 20, total_bytes: 1 << 30, at_unix_ms: 1_795_827_182_007 };

    #[test]
    fn a_text_has_one_length() {
        insta::assert_snapshot!(ROOM.text().unwrap().trim_end(), @r#"{"free_bytes":10485760,"total_bytes":1073741824,"at_unix_ms":1795827182007}"#);
        let longest = Room { free_bytes: u64::MAX, total_bytes: u64::MAX, at_unix_ms: u64::MAX };
        assert_eq!([ROOM, longest].map(|room| room.text().unwrap().len()), [TEXT_BYTES; 2]);
    }

    #[test]
    fn what_is_the_same_is_told_again_when_it_is_old() {
        let after = |milliseconds| Room { at_unix_ms: ROOM.at_unix_ms + milliseconds, ..ROOM };
        assert!(!after(0).is_news_after(&ROOM) && !after(4_999).is_news_after(&ROOM));
        assert!(after(5_000).is_news_after(&ROOM) && ROOM.is_news_after(&after(1)));
        let free = |free_bytes| Room { free_bytes, ..ROOM };
        assert!(!free(ROOM.free_bytes - CHANGE_BYTES + 1).is_news_after(&ROOM));
        assert!(free(ROOM.free_bytes - CHANGE_BYTES).is_news_after(&ROOM));
        assert!(free(ROOM.free_bytes + CHANGE_BYTES).is_news_after(&ROOM));
        assert!(Room { total_bytes: 2 << 30, ..ROOM }.is_news_after(&ROOM));
    }

    #[test]
    fn two_files_change_places() {
        use std::os::unix::fs::MetadataExt;

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("disk.json");
        let inode = || fs::metadata(&file).unwrap().ino();
        let mut inodes = Vec::new();
        for round in 0..4 {
            exchange(&file, &format!("{round}\n")).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{round}\n"));
            inodes.push(inode());
        }
        assert_eq!((inodes[0], inodes[1]), (inodes[2], inodes[3]), "a new file takes room");
        assert_ne!(inodes[0], inodes[1], "a reader could see a half of one");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    }

    #[test]
    fn room_is_told_of_until_the_end_and_what_fails_is_no_panic() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout { volume: root.path().join("volume"), run: root.path().to_owned(), ..Layout::of_image(17) };
        let mut told = None;
        assert!(tell(&layout.data(), &layout.disk_file(), &mut told).is_err() && told.is_none(), "there is no disk");
        fs::create_dir_all(layout.data()).unwrap();
        tell(&layout.data(), &layout.disk_file(), &mut told).unwrap();
        let read: Value = serde_json::from_slice(&fs::read(layout.disk_file()).unwrap()).unwrap();
        let number = |key: &str| read[key].as_u64().unwrap();
        assert!(number("free_bytes") <= number("total_bytes") && number("total_bytes") > 0 && number("at_unix_ms") > 0);
    }
}
