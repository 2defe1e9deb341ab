//! The supervisor against real processes. One test, because its `waitpid(-1)` would reap the children of any other.

use std::{fs, process::Command, sync::mpsc, time::Duration};

use pgherd_agent::{Error, Exit, Supervisor, Tool};
use rustix::process::{getpid, set_child_subreaper};

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

    // However many orphans end at the same time, the tool's own status is kept, and no zombie is.
    for code in 1..20 {
        let orphans = "i=0; while [ $i -lt 50 ]; do (exit 99 &); i=$((i+1)); done";
        match supervisor.run(shell(&format!("{orphans}; exit {code}"))) {
            Err(Error::Tool { status, .. }) => assert_eq!(status, Exit::Code(code)),
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..500 {
        if children().is_empty() {
            break;
        }
        supervisor.pause(Duration::from_millis(10)).unwrap();
    }
    assert_eq!(children(), []);

    // What blocks out of reach of a signal is called in a thread, and abandoned.
    assert_eq!(supervisor.call(Duration::from_secs(60), || 42).unwrap(), Some(42));
    let (_sender, never) = mpsc::channel::<()>();
    assert_eq!(supervisor.call(Duration::from_millis(20), move || never.recv()).unwrap(), None);

    // A request to end reaches the tool, and everything that it has started.
    let interrupted = supervisor.run(shell("kill -TERM $PPID; sleep 600 & wait"));
    assert!(matches!(interrupted, Err(Error::Interrupted(15))), "{interrupted:?}");
    assert_eq!(interrupted.unwrap_err().exit_code(), 143);

    // The first request shuts PostgreSQL down fast, the second at once, and a hang-up reloads it.
    let forever = "while :; do sleep 0.01; done";
    for (script, expected) in [
        ("exit 3", Exit::Code(3)),
        ("trap 'exit 7' INT; kill -TERM $PPID", Exit::Code(7)),
        ("trap 'exit 7' INT; kill -INT $PPID", Exit::Code(7)),
        ("trap 'kill -TERM $PPID' INT; trap 'exit 8' QUIT; kill -TERM $PPID", Exit::Code(8)),
        ("trap 'kill -INT $PPID' HUP; trap 'exit 9' INT; kill -HUP $PPID", Exit::Code(9)),
        ("kill -KILL $$", Exit::Signal(9)),
    ] {
        let exit = supervisor.guard(&mut postmaster(&format!("{script}; {forever}"))).unwrap();
        assert_eq!(exit, expected, "{script}");
    }
    assert_eq!(Exit::Signal(9).code(), 137);
}
