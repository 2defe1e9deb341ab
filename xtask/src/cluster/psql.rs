//! `cluster psql`, `sql` and `exec`: the image's own psql and whatever else, through the engine, on the user's terminal or in a pipe.

use std::{
    io::{IsTerminal, Write},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use crossterm::terminal;
use futures_util::StreamExt;
use pgherd_images::contract::SUPERUSER;
use pgherd_orchestrator::{Engine, Exec, ExecOutput, NodeName, Observer, Refusal, require_node};
use tokio::{io::AsyncWriteExt, sync::oneshot, time::timeout};

use super::target::Target;
use crate::output;

/// Ctrl-C for a query that runs, Ctrl-D for the prompt after it.
const CANCEL_AND_QUIT: &[u8] = b"\x03\x04";

/// How long a parting word to psql may take.
const PARTING_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn psql(engine: &Engine, node: &NodeName, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let arguments = arguments.iter().map(String::as_str);
    on_terminal(engine, node, &["psql", "-U", SUPERUSER].into_iter().chain(arguments).collect::<Vec<_>>()).await
}

/// Runs any command in a node's container.
pub(super) async fn exec(engine: &Engine, node: &NodeName, command: &[String]) -> anyhow::Result<ExitCode> {
    on_terminal(engine, node, &command.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Runs one statement, of a cluster's on its primary.
pub(super) async fn sql(engine: &Engine, target: &Target, statement: &str) -> anyhow::Result<ExitCode> {
    let node = match target {
        Target::Node(node) => node.clone(),
        Target::Cluster(name) => {
            let observed = Observer::new(engine, name).observe().await?;
            if observed.is_empty() {
                bail!(Refusal::NoSuchCluster(name.clone()));
            }
            observed.refuse_followers("run a statement on the primary")?;
            observed.primary().map(|number| name.node(number)).ok_or_else(|| Refusal::NoPrimary(name.clone()))?
        }
    };
    on_terminal(engine, &node, &["psql", "-U", SUPERUSER, "-v", "ON_ERROR_STOP=1", "-c", statement]).await
}

async fn on_terminal(engine: &Engine, node: &NodeName, command: &[&str]) -> anyhow::Result<ExitCode> {
    require_node(engine, node).await?;
    let ended = run(engine, node, command).await;
    // A read of our input that is under way cannot be called off, and would keep the runtime from ending.
    std::process::exit(match ended {
        Ok(code) => code,
        Err(error) if output::reader_is_gone(&error) => 0,
        Err(error) => {
            output::note(format_args!("error: {error:#}"));
            1
        }
    });
}

async fn run(engine: &Engine, node: &NodeName, command: &[&str]) -> anyhow::Result<i32> {
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let Exec { id, mut output, mut input } = engine.exec(&node.to_string(), command, interactive).await?;

    let _raw_mode = interactive.then(RawMode::enter).transpose()?;
    if interactive {
        follow_size(engine.clone(), id.clone());
    }
    let (quit, told) = oneshot::channel();
    let feed = tokio::spawn(async move {
        let mut keys = tokio::io::stdin();
        // Whatever fails here, psql is gone, and there is nobody left to tell.
        tokio::select! {
            _ = tokio::io::copy(&mut keys, &mut input) => {}
            _ = told, if interactive => drop(input.write_all(CANCEL_AND_QUIT).await),
        }
        drop(input.shutdown().await);
    });
    let mut signal = pin!(told_to_quit());
    loop {
        tokio::select! {
            piece = output.next() => match piece.transpose()? {
                Some(ExecOutput::Stdout(bytes)) => write_through(&mut std::io::stdout(), &bytes)?,
                Some(ExecOutput::Stderr(bytes)) => write_through(&mut std::io::stderr(), &bytes)?,
                None => break,
            },
            exit_code = &mut signal => {
                // The engine does not end a process whose client is gone, nor does psql, nor its transaction.
                let _ = quit.send(());
                drop(timeout(PARTING_TIMEOUT, feed).await);
                return Ok(exit_code);
            }
        }
    }
    i32::try_from(engine.exec_exit_code(&id).await?).context("psql ended with an exit code beyond all bounds")
}

/// Waits for a signal that ends programs, and returns the exit code that shells give to that. The terminal's own interrupt is
/// none: in raw mode it is a key like all others, and goes to psql.
pub(super) async fn told_to_quit() -> i32 {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            return tokio::select! {
                _ = terminate.recv() => 128 + 15,
                _ = hangup.recv() => 128 + 1,
            };
        }
    }
    std::future::pending().await
}

fn write_through(stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// Hands every key to the far end as it is, until dropped.
struct RawMode;

impl RawMode {
    fn enter() -> anyhow::Result<RawMode> {
        terminal::enable_raw_mode().context("could not switch the terminal to raw mode")?;
        Ok(RawMode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = terminal::disable_raw_mode();
    }
}

/// Tells the far terminal the size of ours, now and whenever it changes.
fn follow_size(engine: Engine, id: String) {
    tokio::spawn(async move {
        #[cfg(unix)]
        let mut changes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()).ok();
        loop {
            if let Ok((columns, rows)) = terminal::size() {
                // A size that does not arrive spoils a layout, no more.
                let _ = engine.resize_exec(&id, columns, rows).await;
            }
            #[cfg(unix)]
            match &mut changes {
                Some(changes) => {
                    changes.recv().await;
                }
                None => return,
            }
            #[cfg(not(unix))]
            return;
        }
    });
}
