//! The verbs that stop, remove and read.

use std::{
    io::{IsTerminal, Write},
    pin::pin,
    process::ExitCode,
};

use anyhow::bail;
use bytes::Bytes;
use futures_util::StreamExt;
use pgherd_orchestrator::{
    ClusterName, ClusterSpec, Engine, NodeName, Observer, Refusal, Replicas, Storage, list_clusters, reconcile,
    remove_cluster, require_node, stop_cluster, sweep,
};

use super::{
    change::ChangeArgs,
    target::Target,
    up::{ensure_helpers, spec_of_existing, start},
};
use crate::output;

pub(super) async fn stop(engine: &Engine, target: &Target) -> anyhow::Result<ExitCode> {
    match target {
        Target::Node(node) => {
            require_node(engine, node).await?;
            refuse_loss(engine, node).await?;
            engine.stop_container(&node.to_string()).await?;
            output::note(format_args!("node \"{node}\" is stopped"));
        }
        Target::Cluster(name) => {
            let observed = Observer::new(engine, name).observe().await?;
            if observed.is_empty() {
                bail!(Refusal::NoSuchCluster(name.clone()));
            }
            refuse_loss(engine, &name.node(observed.primary().unwrap_or(1))).await?;
            stop_cluster(engine, &observed).await?;
            output::note(format_args!("cluster \"{name}\" is stopped; its data stay"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One after the other, so that there are always others to read from; the primary last. What is down is started.
pub(super) async fn restart(engine: &Engine, target: &Target, args: &ChangeArgs) -> anyhow::Result<ExitCode> {
    let nodes = match target {
        Target::Node(node) => vec![node.clone()],
        Target::Cluster(name) => {
            let observed = Observer::new(engine, name).observe().await?;
            if observed.is_empty() {
                bail!(Refusal::NoSuchCluster(name.clone()));
            }
            let primary = observed.primary();
            let replicas = observed.nodes.keys().copied().filter(|number| Some(*number) != primary);
            replicas.chain(primary).map(|number| name.node(number)).collect()
        }
    };
    // Before the first of them is down.
    for node in &nodes {
        require_node(engine, node).await?;
        refuse_loss(engine, node).await?;
    }
    for node in &nodes {
        if args.dry_run {
            output::note(format_args!("restart {node}"));
            continue;
        }
        engine.restart_container(&node.to_string()).await?;
        let (spec, _) = spec_of_existing(engine, &node.cluster, Replicas::AsFound).await?;
        reconcile(engine, &ClusterSpec { only: Some(node.number), ..spec }, args.terms(), |_| ()).await?;
        output::note(format_args!("{node} is restarted"));
    }
    if args.dry_run { Ok(ExitCode::SUCCESS) } else { start(engine, target, args, true).await }
}

/// A primary whose data are in memory is not stopped: nothing would be left. A replica is cloned anew.
async fn refuse_loss(engine: &Engine, node: &NodeName) -> anyhow::Result<()> {
    let observed = Observer::new(engine, &node.cluster).observe().await?;
    let in_memory = observed.storage() == Some(&Storage::Memory);
    // One that has never served has nothing to lose.
    let serves = observed.nodes.get(&node.number).is_some_and(|found| found.status().is_some());
    if in_memory && serves && observed.primary() == Some(node.number) {
        bail!(Refusal::InMemory(node.clone()));
    }
    Ok(())
}

/// Removes what was left behind.
pub(super) async fn prune(engine: &Engine) -> anyhow::Result<ExitCode> {
    let removed = sweep(engine).await?;
    removed.iter().for_each(|what| output::note(format_args!("removed {what}")));
    output::note(format_args!("{} things were left behind", removed.len()));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(engine: &Engine, name: &ClusterName, force: bool) -> anyhow::Result<ExitCode> {
    let Some(cluster) = list_clusters(engine).await?.into_iter().find(|cluster| cluster.name == *name) else {
        bail!(Refusal::NoSuchCluster(name.clone()));
    };
    if !force && !confirmed(&format!("remove cluster \"{name}\" with the data of {} nodes?", cluster.nodes))? {
        bail!("cluster \"{name}\" was not removed");
    }
    ensure_helpers(engine, name, None).await?;
    let left = remove_cluster(engine, name).await?;
    output::note(format_args!("cluster \"{name}\" is removed"));
    left.iter().for_each(output::note);
    Ok(ExitCode::SUCCESS)
}

fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("cannot ask whether to {}\nhint: Say \"--force\" to do it unasked.", question.trim_end_matches('?'));
    }
    let mut terminal = std::io::stderr();
    write!(terminal, "{question} [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

pub(super) async fn logs(
    engine: &Engine,
    node: &NodeName,
    follow: bool,
    tail: Option<u32>,
) -> anyhow::Result<ExitCode> {
    require_node(engine, node).await?;
    let mut log = pin!(engine.logs(&node.to_string(), tail, follow));
    while let Some(piece) = log.next().await {
        // Whichever stream a node wrote it to: the log is the result here.
        std::io::stdout().write_all(&Bytes::from(piece?))?;
    }
    Ok(ExitCode::SUCCESS)
}
