//! Programs, run to their end or to a limit.

use std::{
    fmt,
    io::{PipeReader, Read, pipe},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Child, runtime::Runtime};

use crate::command::Invocation;

/// How long the output of a program may stay open after its end, by what it has started itself.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a program printed, and how it ended.
#[must_use = "either check how it ended, or record it"]
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code, or `None` if a signal or the limit ended it.
    pub code: Option<i32>,
    /// Both streams, as a terminal shows them.
    pub output: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.output)?;
        match self.code {
            Some(0) => Ok(()),
            Some(code) => writeln!(f, "[exit status: {code}]"),
            None => writeln!(f, "[killed]"),
        }
    }
}

/// A program that runs, without standard input. It is ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Job {
    runtime: Runtime,
    child: Child,
    /// Whether what it starts goes with it.
    leads_group: bool,
    output: Arc<Mutex<Vec<u8>>>,
    end_of_output: Mutex<mpsc::Receiver<()>>,
}

impl Job {
    /// Starts a program.
    pub(crate) fn start(invocation: &Invocation) -> Job {
        let (reader, writer) = pipe().expect("a pipe");
        let errors = match invocation.discards_errors {
            true => Stdio::null(),
            false => writer.try_clone().expect("a second end of a pipe").into(),
        };
        let mut command = tokio::process::Command::new(&invocation.program);
        command.args(&invocation.arguments).envs(invocation.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(writer).stderr(errors);
        if invocation.leads_group {
            command.process_group(0);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let spawned = runtime.block_on(async { command.spawn() });
        let child = spawned.unwrap_or_else(|error| panic!("could not run \"{}\": {error}", invocation.program));
        // Our own ends of the pipe would keep its reader waiting.
        drop(command);
        let output = Arc::default();
        let (end, end_of_output) = mpsc::channel();
        let sink = Arc::clone(&output);
        thread::spawn(move || {
            read(reader, &sink);
            end.send(())
        });
        Job { runtime, child, leads_group: invocation.leads_group, output, end_of_output: Mutex::new(end_of_output) }
    }

    /// Its number, until its end.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end for as long as `limit`, and ends it then.
    pub(crate) fn end(mut self, limit: Duration) -> Outcome {
        let ended = self.runtime.block_on(async { tokio::time::timeout(limit, self.child.wait()).await });
        let code = match &ended {
            Ok(status) => status.as_ref().expect("how it ended").code(),
            Err(_) => {
                self.kill();
                None
            }
        };
        // A part of it is better than none.
        let _ = self.end_of_output.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(LAST_WORDS);
        let bytes = std::mem::take(&mut *self.output.lock().unwrap_or_else(PoisonError::into_inner));
        // A terminal's line ends are not part of what was said.
        let mut output = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        if ended.is_err() {
            output += &format!("had not ended after {} s\n", limit.as_secs());
        }
        Outcome { code, output }
    }

    fn kill(&mut self) {
        let Some(pid) = self.child.id() else { return };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        match pid.filter(|_| self.leads_group) {
            // Fails only where it has ended by itself.
            Some(group) => drop(kill_process_group(group, Signal::KILL)),
            None => drop(self.child.start_kill()),
        }
        let _ = self.runtime.block_on(self.child.wait());
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program without standard input, for as long as `limit`.
pub(crate) fn run(invocation: &Invocation, limit: Duration) -> Outcome {
    Job::start(invocation).end(limit)
}

fn read(mut reader: PipeReader, sink: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::run;
    use crate::command::Invocation;

    fn shell(line: &str) -> Invocation {
        Invocation::plain("sh", vec!["-c".to_owned(), line.to_owned()])
    }

    #[test]
    fn both_streams_and_the_exit_code_are_kept() {
        let outcome = run(&shell("echo a; echo b >&2; exit 3"), Duration::from_secs(60));
        assert_eq!((outcome.code, outcome.output.as_str()), (Some(3), "a\nb\n"));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_what_it_started() {
        let endless = Invocation { leads_group: true, ..shell("echo a; tail -f /dev/null; true") };
        let outcome = run(&endless, Duration::from_millis(300));
        assert_eq!((outcome.code, outcome.output.as_str()), (None, "a\nhad not ended after 0 s\n"));
    }
}
