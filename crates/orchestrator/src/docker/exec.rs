//! Processes inside containers.

use std::{pin::Pin, time::Duration};

use bollard::{
    container::LogOutput,
    exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep},
};

use super::{Action, Engine, EngineError};

/// How long a process may take to end after it has closed its output.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A piece of what a process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// To its standard output, or to its terminal.
    Stdout(Bytes),
    /// To its standard error.
    Stderr(Bytes),
}

impl From<LogOutput> for ExecOutput {
    fn from(output: LogOutput) -> Self {
        match output {
            LogOutput::StdErr { message } => ExecOutput::Stderr(message),
            LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                ExecOutput::Stdout(message)
            }
        }
    }
}

impl From<ExecOutput> for Bytes {
    fn from(output: ExecOutput) -> Self {
        match output {
            ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => bytes,
        }
    }
}

/// What a process writes.
pub(super) type Output = Pin<Box<dyn Stream<Item = Result<ExecOutput, EngineError>> + Send>>;
/// What a process reads.
pub(super) type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// A process that runs in a container, with its streams.
pub struct Exec {
    /// The engine's name for it.
    pub id: String,
    /// What it writes; ends when it does.
    pub output: Output,
    /// What it reads.
    pub input: Input,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecEnd {
    /// Its exit code.
    pub exit_code: i64,
    /// What it wrote to its standard output, without the end of the last line.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Engine {
    /// Starts `command` in a running container, as the image's user, on a terminal of its own if `terminal`.
    ///
    /// # Errors
    /// What the engine says, such as that the container is not running.
    pub async fn exec(&self, container: &str, command: &[&str], terminal: bool) -> Result<Exec, EngineError> {
        self.exec_as(None, container, command, terminal).await
    }

    async fn exec_as(
        &self,
        user: Option<&str>,
        container: &str,
        command: &[&str],
        terminal: bool,
    ) -> Result<Exec, EngineError> {
        let action = || format!("run \"{}\" in container \"{container}\"", command.first().unwrap_or(&""));
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(terminal),
            cmd: Some(command.to_vec()),
            user,
            ..CreateExecOptions::default()
        };
        let id = self.docker.create_exec(container, options).await.action(action)?.id;
        let start = StartExecOptions { tty: terminal, ..StartExecOptions::default() };
        match self.docker.start_exec(&id, Some(start)).await.action(action)? {
            StartExecResults::Attached { output, input } => {
                let name = container.to_owned();
                let output = output.map(move |piece| {
                    piece.map(ExecOutput::from).action(|| format!("read from a process in container \"{name}\""))
                });
                Ok(Exec { id, output: Box::pin(output), input })
            }
            StartExecResults::Detached => Err(EngineError::Broken {
                action: action(),
                message: "the engine detached a process that was to be attached".to_owned(),
            }),
        }
    }

    /// Runs a command in a running container to its end, and returns its exit code and all that it wrote.
    ///
    /// # Errors
    /// What the engine says, such as that the container is not running.
    pub async fn run_in(&self, container: &str, command: &[&str]) -> Result<(i64, String), EngineError> {
        let mut exec = self.exec(container, command, false).await?;
        let mut output = Vec::new();
        while let Some(piece) = exec.output.next().await {
            output.extend_from_slice(&Bytes::from(piece?));
        }
        Ok((self.exec_exit_code(&exec.id).await?, String::from_utf8_lossy(&output).trim_end().to_owned()))
    }

    /// The same as another user, `None` for the image's, with something to read, and both streams apart.
    ///
    /// # Errors
    /// What the engine says, such as that the container is not running.
    pub async fn run_as(
        &self,
        user: Option<&str>,
        container: &str,
        command: &[&str],
        input: &str,
    ) -> Result<ExecEnd, EngineError> {
        let mut exec = self.exec_as(user, container, command, false).await?;
        // Who does not read it has said why.
        drop(exec.input.write_all(input.as_bytes()).await);
        drop(exec.input.shutdown().await);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(piece) = exec.output.next().await {
            match piece? {
                ExecOutput::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                ExecOutput::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let exit_code = self.exec_exit_code(&exec.id).await?;
        Ok(ExecEnd { exit_code, stdout: text(stdout), stderr: text(stderr) })
    }

    /// The exit code of a process whose output has ended, which happens a moment before the engine knows of its end.
    ///
    /// # Errors
    /// If the engine cannot be asked, or still takes the process for running after some seconds.
    pub async fn exec_exit_code(&self, id: &str) -> Result<i64, EngineError> {
        let action = || "learn the exit code of a process".to_owned();
        let deadline = Instant::now() + EXIT_TIMEOUT;
        loop {
            let inspected = self.docker.inspect_exec(id).await.action(action)?;
            match inspected.exit_code {
                Some(exit_code) if inspected.running != Some(true) => return Ok(exit_code),
                _ if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
                _ => {
                    let message = format!("it has closed its output, and still ran {} s later", EXIT_TIMEOUT.as_secs());
                    return Err(EngineError::Broken { action: action(), message });
                }
            }
        }
    }

    /// Tells the terminal of a process how large the user's is.
    ///
    /// # Errors
    /// What the engine says, such as that the process has ended.
    pub async fn resize_exec(&self, id: &str, columns: u16, rows: u16) -> Result<(), EngineError> {
        let size = ResizeExecOptions { width: columns, height: rows };
        self.docker.resize_exec(id, size).await.action(|| "resize a terminal".to_owned())
    }
}
