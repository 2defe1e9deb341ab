//! A pipe from standard input and output to PostgreSQL's unix socket.
//!
//! Through `docker exec` it carries the PostgreSQL protocol over the Engine API, as an OS user whom peer authentication
//! believes, without a published port or a password.

use std::{
    fs::{self, File},
    io::{self, stdin, stdout},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

use pgherd_images::contract::PORT;

use crate::layout::Layout;

/// Carries bytes both ways until PostgreSQL closes its side. The end of standard input is passed on as a half-close.
///
/// # Errors
/// Where there is no socket yet: the text says what the agent is doing instead.
pub fn tunnel(layout: &Layout) -> Result<(), String> {
    let path = layout.socket_directory.join(format!(".s.PGSQL.{PORT}"));
    let socket = UnixStream::connect(&path).map_err(|error| {
        let phase = fs::read_to_string(layout.phase_file()).unwrap_or_default();
        let phase = phase.lines().next().unwrap_or("nothing that it tells of");
        format!("could not connect to \"{}\": {error}; the node is at: {phase}", path.display())
    })?;
    carry(socket).map_err(|error| error.to_string())
}

fn carry(mut socket: UnixStream) -> io::Result<()> {
    // Descriptors of our own: those of std hold bytes back until there is a line of them.
    let mut input = File::from(stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(stdout().as_fd().try_clone_to_owned()?);
    let mut upward = socket.try_clone()?;
    thread::spawn(move || {
        let _ = io::copy(&mut input, &mut upward);
        // The other direction tells of whatever went wrong in this one.
        let _ = upward.shutdown(Shutdown::Write);
    });
    io::copy(&mut socket, &mut output).map(drop)
}
