//! A pipe from standard input and output to PostgreSQL's unix socket.
//!
//! Through `docker exec` it carries the PostgreSQL protocol over the Engine API, as an OS user whom peer authentication
//! believes, without a published port or a password.

use std::{
    fs::{self, File},
    io::{self, Read, Write, stdin, stdout},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

use crate::{layout::Layout, log::latest_phase};

/// Between two looks at a server that is not ready yet.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The line of `postmaster.pid` that holds the server's state, counted from 0.
///
/// <https://git.postgresql.org/gitweb/?p=postgresql.git;f=src/include/utils/pidfile.h>
const STATE_LINE: usize = 7;

/// Carries bytes both ways until PostgreSQL closes its side. The end of standard input is passed on as a half-close.
///
/// Where the server is not ready yet, it looks again until `patience` is over: cheaper than another exec through the engine.
///
/// # Errors
/// Where there is no socket in time: the text says what the agent is doing instead.
pub fn tunnel(layout: &Layout, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    while !is_ready(layout) && Instant::now() < deadline {
        thread::sleep(POLL_INTERVAL);
    }
    let path = layout.socket();
    let socket = UnixStream::connect(&path).map_err(|error| {
        let phase = latest_phase(layout);
        format!("could not connect to \"{}\": {error}; the node is at: {phase}", path.display())
    })?;
    carry(socket).map_err(|error| error.to_string())
}

/// Whether the postmaster says that it accepts connections. Its socket is there earlier, and would be answered by a refusal.
fn is_ready(layout: &Layout) -> bool {
    let lock_file = fs::read_to_string(layout.data().join("postmaster.pid")).unwrap_or_default();
    lock_file.lines().nth(STATE_LINE).is_some_and(|state| state.trim_end() == "ready")
}

fn carry(mut socket: UnixStream) -> io::Result<()> {
    // Descriptors of our own: those of std hold bytes back until there is a line of them.
    let mut input = File::from(stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(stdout().as_fd().try_clone_to_owned()?);
    let mut upward = socket.try_clone()?;
    thread::spawn(move || {
        let _ = pump(&mut input, &mut upward);
        // The other direction tells of whatever went wrong in this one.
        let _ = upward.shutdown(Shutdown::Write);
    });
    pump(&mut socket, &mut output)
}

/// Carries bytes as they come.
///
/// Not `io::copy`: on Linux that splices, and a splice that waits for the socket's next bytes holds the lock of the pipe, in
/// which the reader of the bytes before then cannot find them.
fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
