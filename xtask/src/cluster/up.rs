//! The verbs that end with a cluster that streams.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use pgherd_images::release::PostgresMajor;
use pgherd_orchestrator::{
    ClusterName, ClusterSpec, Engine, Inventory, NodeName, Observer, Progress, Refusal, Replicas, connection_urls,
    reconcile, require_node,
};
use pgherd_probe::{NodeState, Policy, assess};
use tokio::time::{Instant, sleep};

use super::{Format, UpArgs, status, target::Target};
use crate::{images, output, progress::Reporter};

pub(super) async fn up(engine: &Engine, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let image = images::ensure(engine, args.version).await?;
    let spec = ClusterSpec {
        name: args.name.name.clone(),
        major: args.version.number(),
        image,
        replicas: args.replicas.map_or(Replicas::AsFound, Replicas::AtLeast),
        publish: args.publish,
        owner: super::owner(),
    };
    converge(engine, &spec, args.timeout.duration(), args.format.format).await
}

pub(super) async fn scale(
    engine: &Engine,
    name: &ClusterName,
    replicas: u16,
    timeout: Duration,
) -> anyhow::Result<ExitCode> {
    let spec = spec_of_existing(engine, name, Replicas::Exactly(replicas)).await?;
    converge(engine, &spec, timeout, Format::Table).await
}

pub(super) async fn start(engine: &Engine, target: &Target, timeout: Duration) -> anyhow::Result<ExitCode> {
    match target {
        Target::Cluster(name) => {
            let spec = spec_of_existing(engine, name, Replicas::AsFound).await?;
            converge(engine, &spec, timeout, Format::Table).await
        }
        Target::Node(node) => start_node(engine, node, timeout).await,
    }
}

/// What a cluster that is there must have been asked to be.
async fn spec_of_existing(engine: &Engine, name: &ClusterName, replicas: Replicas) -> anyhow::Result<ClusterSpec> {
    let observed = Observer::new(engine, name).observe().await?;
    if observed.nodes.is_empty() {
        bail!(Refusal::NoSuchCluster(name.clone()));
    }
    let major = observed.nodes.values().find_map(|node| node.major);
    let major = major.with_context(|| format!("no node of cluster \"{name}\" is labelled with its version"))?;
    let image = images::ensure(engine, PostgresMajor::new(major)?).await?;
    let publish = observed.nodes.values().any(|node| node.published.is_some());
    Ok(ClusterSpec { name: name.clone(), major, image, replicas, publish, owner: super::owner() })
}

async fn converge(engine: &Engine, spec: &ClusterSpec, timeout: Duration, format: Format) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let reporter = Reporter::new();
    let (observed, changed) = reconcile(engine, spec, timeout, |progress| match progress {
        Progress::Applying(steps) => steps.iter().for_each(|step| reporter.line(&step.to_string())),
        Progress::Waiting(nodes) => {
            let waiting = nodes.iter().map(|node| format!("{}: {}", node.node, node.doing)).collect::<Vec<_>>();
            reporter.waiting(&waiting.join(", "));
        }
    })
    .await?;
    drop(reporter);
    if changed {
        eprintln!("cluster \"{}\" streams after {:.1} s", spec.name, began.elapsed().as_secs_f64());
    } else {
        eprintln!("cluster \"{}\" is complete, nothing to do", spec.name);
    }
    let exit_code = status::print(&observed, format)?;
    if format == Format::Table {
        print_how_to_connect(engine, &observed, &spec.image).await?;
    }
    Ok(exit_code)
}

async fn print_how_to_connect(engine: &Engine, observed: &Inventory, image: &str) -> anyhow::Result<()> {
    let urls = connection_urls(engine, observed).await?;
    let network = observed.name.network();
    let outside = urls.outside.map_or_else(
        || "needs published ports, made by \"cluster up --publish\"".to_owned(),
        |url| format!("psql \"{url}\""),
    );
    output::line(format_args!(
        "\n\
         as superuser:    cargo xtask cluster psql {}\n\
         in the network:  docker run -it --rm --network {network} {image} psql \"{}\"\n\
         from this host:  {outside}",
        observed.node_name(observed.primary().unwrap_or(1)),
        urls.inside
    ))
}

async fn start_node(engine: &Engine, node: &NodeName, timeout: Duration) -> anyhow::Result<ExitCode> {
    require_node(engine, node).await?;
    engine.start_container(&node.to_string()).await?;
    let deadline = Instant::now() + timeout;
    let mut observer = Observer::patient(engine, &node.cluster);
    loop {
        let report = assess(&Policy::default(), &observer.observe().await?.observed());
        let row = report.nodes.into_iter().find(|row| row.node == node.to_string());
        let row = row.with_context(|| format!("node \"{node}\" is gone"))?;
        if matches!(row.state, NodeState::Running | NodeState::Streaming) {
            eprintln!("{node} is {}", row.state);
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() > deadline {
            bail!("timed out after {} s: {node} is {}", timeout.as_secs(), row.state);
        }
        sleep(Duration::from_millis(50)).await;
    }
}
