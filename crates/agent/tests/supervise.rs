//! The supervisor against real processes. One test, because its `waitpid(-1)` would reap the children of any other.

use std::{
    cell::Cell,
    fs,
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use pgherd_agent::{Ending, Error, Exit, Grace, Shutdown, Supervisor, Tool};
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

fn shell(script: &str) -> Tool {
    Tool::new("sh").args(["-c", script])
}

fn postmaster(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// The states of our children: `Z` is one that nobody has reaped.
fn children() -> Vec<char> {
    let parent = getpid().as_raw_nonzero().to_string();
    let stats =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let fields = stats.filter_map(|stat| {
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some((fields.next()?.chars().next()?, fields.next()? == parent))
    });
    fields.filter(|(_, ours)| *ours).map(|(state, _)| state).collect()
}

#[test]
fn process_1_in_miniature() {
    // Orphans come to us, as they do to process 1.
    set_child_subreaper(Some(getpid())).unwrap();
    let mut supervisor = Supervisor::install().unwrap();

    // A tool reads, writes, and fails with what it said last.
    assert_eq!(supervisor.run(Tool::new("cat").input("to and fro\n")).unwrap(), "to and fro\n");
    let failure = supervisor.run(shell("echo out; echo ' no such role' >&2; exit 3")).unwrap_err();
    assert_eq!(failure.to_string(), "sh failed with exit code 3: no such role");
    let failure = supervisor.run(shell("kill -KILL $$")).unwrap_err();
    assert_eq!(failure.to_string(), "sh failed with signal 9: ");
    assert!(matches!(supervisor.run(Tool::new("no-such-tool")), Err(Error::Doing { .. })));

    orphans_and_exit_codes(&mut supervisor);

    // What blocks out of reach of a signal is called in a thread, and abandoned.
    assert_eq!(supervisor.call(Duration::from_secs(60), || 42).unwrap(), Some(42));
    let (_sender, never) = mpsc::channel::<()>();
    assert_eq!(supervisor.call(Duration::from_millis(20), move || never.recv()).unwrap(), None);

    // A request to end reaches the tool, and everything that it has started.
    let interrupted = supervisor.run(shell("kill -TERM $PPID; sleep 600 & wait"));
    assert!(matches!(interrupted, Err(Error::Interrupted(15))), "{interrupted:?}");
    assert_eq!(interrupted.unwrap_err().exit_code(), 143);

    ladder(&mut supervisor);
    reloads(&mut supervisor);
    clock(supervisor);
}

/// However many orphans end at the same time, and however badly, the tool's own status is kept, and no zombie is.
fn orphans_and_exit_codes(supervisor: &mut Supervisor) {
    const ORPHANS: u32 = 10_000;
    const TOOLS: i32 = 100;
    // The shell in between ends at once, and leaves us its child.
    let orphan = supervisor.run(shell("(sleep 600 & echo $!)")).unwrap();
    assert_eq!(children().len(), 1);
    kill_process(Pid::from_raw(orphan.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();

    let orphans = "i=0; while [ $i -lt $ORPHANS ]; do (exit $((i % 256)) &); i=$((i+1)); done";
    let orphans = orphans.replace("$ORPHANS", &(ORPHANS / TOOLS.unsigned_abs()).to_string());
    for code in 1..=TOOLS {
        match supervisor.run(shell(&format!("{orphans}; exit {code}"))) {
            Err(Error::Tool { status, .. }) => assert_eq!(status, Exit::Code(code)),
            other => panic!("{other:?}"),
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !children().is_empty() && Instant::now() < deadline {
        supervisor.pause(Duration::from_millis(10)).unwrap();
    }
    assert_eq!(children(), []);
}

/// Half a minute, so that what waits for a signal in vain fails its test and does not hold it up.
const LONG: &str = "i=0; while [ $i -lt 3000 ]; do sleep 0.01; i=$((i+1)); done";

/// The first request shuts PostgreSQL down fast, the second at once; and what it did by itself is told from both.
fn ladder(supervisor: &mut Supervisor) {
    let (fast, immediate) = (Some(Shutdown::Fast), Some(Shutdown::Immediate));
    for (script, exit, asked) in [
        ("exit 3", Exit::Code(3), None),
        ("kill -KILL $$", Exit::Signal(9), None),
        ("trap 'exit 7' INT; kill -TERM $PPID", Exit::Code(7), fast),
        ("trap 'exit 7' INT; kill -INT $PPID", Exit::Code(7), fast),
        ("trap 'kill -TERM $PPID' INT; trap 'exit 8' QUIT; kill -TERM $PPID", Exit::Code(8), immediate),
        ("trap 'exit 8' QUIT; kill -QUIT $PPID", Exit::Code(8), immediate),
    ] {
        let script = format!("{script}; {LONG}");
        let ending = supervisor.guard(&mut postmaster(&script), || panic!("nobody hung up")).unwrap();
        assert_eq!(ending, Ending { exit, asked }, "{script}");
    }
}

/// A hang-up writes the files anew and is passed on after that; not where they could not be written, nor to a postmaster that
/// has no handler yet, which it would end.
fn reloads(supervisor: &mut Supervisor) {
    let directory = tempfile::tempdir().unwrap();
    let written = directory.path().join("written");
    let script = format!("trap '[ -e {} ] && exit 9; exit 1' HUP; kill -HUP $PPID; {LONG}", written.display());
    let reload = || Ok(fs::write(&written, "")?);
    let ending = supervisor.guard(&mut postmaster(&script), reload).unwrap();
    assert_eq!(ending, Ending { exit: Exit::Code(9), asked: None });

    for (trap, result) in [
        ("", Ok(())),
        ("trap 'exit 1' HUP;", Err(Error::Io(std::io::Error::other("the disk is full, which is part of the test")))),
    ] {
        let (result, reloads) = (Cell::new(Some(result)), Cell::new(0));
        // Ended only after the reload: signals of different numbers may overtake each other.
        let script = format!("{trap} trap 'exit 7' INT; kill -HUP $PPID; {LONG}");
        let reload = || {
            reloads.set(reloads.get() + 1);
            kill_process(getpid(), Signal::TERM).unwrap();
            result.take().unwrap()
        };
        let ending = supervisor.guard(&mut postmaster(&script), reload).unwrap();
        assert_eq!(ending, Ending { exit: Exit::Code(7), asked: Some(Shutdown::Fast) }, "{trap}");
        assert_eq!(reloads.get(), 1);
    }
}

/// Whatever hangs is ended while there is time: PostgreSQL by an immediate shutdown, a tool for good.
fn clock(supervisor: Supervisor) {
    let mut supervisor = supervisor.with_grace(Grace::from_seconds(1));
    let begin = Instant::now();
    let script = format!("trap '' INT; trap 'exit 8' QUIT; kill -TERM $PPID; {LONG}");
    let ending = supervisor.guard(&mut postmaster(&script), || panic!("nobody hung up")).unwrap();
    assert_eq!(ending, Ending { exit: Exit::Code(8), asked: Some(Shutdown::Immediate) });
    assert!(begin.elapsed() >= Duration::from_millis(800), "it had only {:?}", begin.elapsed());

    let interrupted = supervisor.run(shell(&format!("trap '' TERM; kill -TERM $PPID; {LONG}")));
    assert!(matches!(interrupted, Err(Error::Interrupted(15))), "{interrupted:?}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !children().is_empty() && Instant::now() < deadline {
        supervisor.pause(Duration::from_millis(10)).unwrap();
    }
    assert_eq!(children(), []);
}
