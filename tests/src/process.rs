//! Programs, run to their end or to a limit.

use std::{fmt, process::Stdio, time::Duration};

/// What a program printed, and how it ended.
#[must_use = "either check how it ended, or record it"]
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code, or `None` if a signal or the limit ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Both streams, standard output first: how they were interleaved is not known.
    #[must_use]
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.output())?;
        match self.code {
            Some(0) => Ok(()),
            Some(code) => writeln!(f, "[exit status: {code}]"),
            None => writeln!(f, "[killed]"),
        }
    }
}

/// Runs a program without standard input, for as long as `limit`.
pub(crate) fn run(program: &str, arguments: &[String], environment: &[(String, String)], limit: Duration) -> Outcome {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).envs(environment.iter().cloned());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async { tokio::time::timeout(limit, command.output()).await });
    match ended {
        Ok(Ok(output)) => {
            Outcome { code: output.status.code(), stdout: plain(&output.stdout), stderr: plain(&output.stderr) }
        }
        Ok(Err(error)) => panic!("could not run \"{program}\": {error}"),
        Err(_) => Outcome {
            code: None,
            stdout: String::new(),
            stderr: format!("had not ended after {} s\n", limit.as_secs()),
        },
    }
}

/// A terminal's line ends are not part of what was said.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n")
}
