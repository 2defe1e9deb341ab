//! The one process that an orchestrator has in a node's container: a pipe to PostgreSQL's unix socket, and an ear for orders.
//!
//! Through `docker exec` it carries the PostgreSQL protocol over the Engine API, as an OS user whom peer authentication
//! believes, without a published port or a password. And what the agent is to do beside that it does at once: an exec of its own
//! takes the engine a tenth of a second, which is long for a cluster without a primary.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write, pipe, stdin, stdout},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use crate::{
    frame::{Answer, Frame, Order},
    layout::Layout,
    log::latest_phase,
};

/// Between two looks at a server that is not ready yet.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The line of `postmaster.pid` that holds the server's state, counted from 0.
///
/// <https://git.postgresql.org/gitweb/?p=postgresql.git;f=src/include/utils/pidfile.h>
const STATE_LINE: usize = 7;

/// Carries bytes both ways in frames until PostgreSQL closes its side, and carries out orders. The end of standard input is passed on as
/// a half-close.
///
/// Where the server is not ready yet, it looks again until `patience` is over: cheaper than another exec through the engine.
///
/// # Errors
/// Where there is no socket in time: the text says what the agent is doing instead.
pub fn attend(layout: &Layout, patience: Duration) -> Result<(), String> {
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
    let input = File::from(stdin().as_fd().try_clone_to_owned()?);
    let output = Arc::new(Mutex::new(File::from(stdout().as_fd().try_clone_to_owned()?)));
    let upward = socket.try_clone()?;
    let (orders, to_do) = mpsc::channel();
    thread::spawn(move || listen(input, upward, &orders));
    let at_work = Arc::new(Mutex::new(()));
    thread::spawn({
        let (output, at_work) = (Arc::clone(&output), Arc::clone(&at_work));
        move || {
            for order in to_do {
                let _until_it_is_answered = lock(&at_work);
                if say(&output, &Frame::Answer(perform(&order))).is_err() {
                    return;
                }
            }
        }
    });
    let mut buffer = [0; 16 * 1024];
    let end = loop {
        match socket.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => say(&output, &Frame::Postgres(Bytes::copy_from_slice(&buffer[..length])))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    // Whoever gave an order while PostgreSQL ends learns how that ended, too.
    drop(lock(&at_work));
    end
}

/// Passes on what is for PostgreSQL and what is to be done, until nothing more comes, or nothing that can be understood: that ends the
/// whole connection.
fn listen(mut input: impl Read, mut upward: UnixStream, orders: &mpsc::Sender<Order>) {
    let mut received = BytesMut::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = input.read(&mut buffer) {
        received.extend_from_slice(&buffer[..length]);
        loop {
            let passed_on = match Frame::parse(&mut received) {
                Ok(None) => break,
                Ok(Some(Frame::Postgres(bytes))) => upward.write_all(&bytes).is_ok(),
                Ok(Some(Frame::Order(order))) => orders.send(order).is_ok(),
                Ok(Some(Frame::Answer(_))) => true,
                Err(error) => {
                    eprintln!("could not understand what is to be passed on: {error}");
                    let _ = upward.shutdown(Shutdown::Both);
                    false
                }
            };
            if !passed_on {
                return;
            }
        }
    }
    // The other direction tells of whatever went wrong in this one.
    let _ = upward.shutdown(Shutdown::Write);
}

/// Runs a command of this program, which goes on if nobody waits for it any more.
fn perform(order: &Order) -> Answer {
    run(order).unwrap_or_else(|error| Answer { exit_code: None, said: format!("could not run the agent: {error}") })
}

fn run(order: &Order) -> io::Result<Answer> {
    let (mut said, writer) = pipe()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(&order.arguments).stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // Our own ends of the pipe would keep its reader waiting.
    drop(command);
    let mut input = child.stdin.take();
    // Whoever ends without reading says why.
    let _ = input.as_mut().map(|input| input.write_all(order.input.as_bytes()));
    drop(input);
    let mut text = Vec::new();
    said.read_to_end(&mut text)?;
    let exit_code = child.wait()?.code();
    Ok(Answer { exit_code, said: String::from_utf8_lossy(&text).trim_end().to_owned() })
}

/// Frames are whole, because only one is written at a time.
fn say(output: &Mutex<File>, frame: &Frame) -> io::Result<()> {
    lock(output).write_all(&frame.encode())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `listen` makes of these bytes, after which the pipe stays open: what comes to PostgreSQL, and how many orders.
    fn heard(bytes: &[u8]) -> (Vec<u8>, usize) {
        let (input, mut pen) = pipe().expect("a pipe");
        let (upward, mut postgres) = UnixStream::pair().expect("two sockets");
        let ours = upward.try_clone().expect("another of it");
        let (orders, given) = mpsc::channel();
        let listening = thread::spawn(move || listen(input, upward, &orders));
        pen.write_all(bytes).expect("room in a pipe");
        let mut passed_on = Vec::new();
        postgres.read_to_end(&mut passed_on).expect("an end");
        listening.join().expect("no panic");
        // PostgreSQL's answers have no way any more either.
        assert_eq!((&ours).read(&mut [0]).expect("an end"), 0);
        (passed_on, given.try_iter().count())
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        let order = Order { arguments: vec!["state".to_owned()], input: String::new() };
        let good = [Frame::Postgres(Bytes::from_static(b"query")).encode(), Frame::Order(order).encode()].concat();
        for bad in [&b"X\0\0\0\0"[..], b"P\xff\xff\xff\xff", b"O\0\0\0\x01{"] {
            let (passed_on, orders) = heard(&[&good, bad, &good].concat());
            assert_eq!((passed_on.as_slice(), orders), (&b"query"[..], 1), "{bad:?}");
        }
    }
}
