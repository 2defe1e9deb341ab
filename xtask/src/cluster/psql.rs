//! `cluster psql`: the image's own psql, through the engine, on the user's terminal or in a pipe.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Context;
use crossterm::terminal;
use futures_util::StreamExt;
use pgherd_images::contract::SUPERUSER;
use pgherd_orchestrator::{Engine, Exec, ExecOutput, NodeName, require_node};
use tokio::io::AsyncWriteExt;

pub(super) async fn psql(engine: &Engine, node: &NodeName, arguments: &[String]) -> anyhow::Result<ExitCode> {
    require_node(engine, node).await?;
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut command = vec!["psql", "-U", SUPERUSER];
    command.extend(arguments.iter().map(String::as_str));
    let Exec { id, mut output, mut input } = engine.exec(&node.to_string(), &command, interactive).await?;

    let raw_mode = interactive.then(RawMode::enter).transpose()?;
    if interactive {
        follow_size(engine.clone(), id.clone());
    }
    tokio::spawn(async move {
        // Ends with our input, or with psql: then the pipe is gone, and there is nobody left to tell.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
        let _ = input.shutdown().await;
    });
    while let Some(piece) = output.next().await {
        match piece? {
            ExecOutput::Stdout(bytes) => write_through(&mut std::io::stdout(), &bytes)?,
            ExecOutput::Stderr(bytes) => write_through(&mut std::io::stderr(), &bytes)?,
        }
    }
    drop(raw_mode);
    let code = engine.exec_exit_code(&id).await?;
    // A read of the terminal that is under way cannot be called off, and would keep the runtime from ending.
    std::process::exit(i32::try_from(code).context("psql ended with an exit code beyond all bounds")?);
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
