//! Programs, run to their end or to a limit.

use std::{
    fmt,
    io::{PipeReader, Read, pipe},
    process::Stdio,
    thread,
    time::Duration,
};

use crate::command::Invocation;

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

/// Runs a program without standard input, for as long as `limit`.
pub(crate) fn run(invocation: &Invocation, limit: Duration) -> Outcome {
    let (reader, writer) = pipe().expect("a pipe");
    let errors = match invocation.discards_errors {
        true => Stdio::null(),
        false => writer.try_clone().expect("a second end of a pipe").into(),
    };
    let mut command = tokio::process::Command::new(&invocation.program);
    command.args(&invocation.arguments).envs(invocation.environment.iter().cloned());
    command.stdin(Stdio::null()).stdout(writer).stderr(errors).kill_on_drop(true);
    let output = thread::spawn(move || read(reader));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("could not run \"{}\": {error}", invocation.program));
        // Our own ends of the pipe would keep its reader waiting.
        drop(command);
        tokio::time::timeout(limit, child.wait()).await
    });
    let mut output = output.join().expect("what it printed");
    let code = match ended {
        Ok(status) => status.expect("how it ended").code(),
        Err(_) => {
            output += &format!("had not ended after {} s\n", limit.as_secs());
            None
        }
    };
    Outcome { code, output }
}

/// A terminal's line ends are not part of what was said.
fn read(mut reader: PipeReader) -> String {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("what it printed");
    String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
}
