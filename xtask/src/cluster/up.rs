//! The verbs that end with a cluster that streams.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use pgherd_images::{contract, release::PostgresMajor};
use pgherd_orchestrator::{
    ClusterName, ClusterSpec, Engine, Inventory, Observer, Progress, Refusal, Replicas, VolumeSize, connection_urls,
    disk, reconcile, require_node,
};
use tokio::time::Instant;

use super::{UpArgs, status, target::Target};
use crate::{
    images,
    output::{self, Format},
    progress::Reporter,
};

pub(super) async fn up(engine: &Engine, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let image = images::ensure(engine, args.version).await?;
    ensure_helpers(engine, &args.name.name, args.volume_size).await?;
    let spec = ClusterSpec {
        name: args.name.name.clone(),
        major: args.version.number(),
        image,
        replicas: args.replicas.map_or(Replicas::AsFound, Replicas::AtLeast),
        publish: args.publish,
        volume_size: args.volume_size,
        only: None,
        owner: super::owner(),
    };
    converge(engine, &spec, args.timeout.duration(), args.format.format, false).await
}

pub(super) async fn scale(
    engine: &Engine,
    name: &ClusterName,
    replicas: u16,
    timeout: Duration,
) -> anyhow::Result<ExitCode> {
    let (spec, major) = spec_of_existing(engine, name, Replicas::Exactly(replicas)).await?;
    images::ensure(engine, major).await?;
    converge(engine, &spec, timeout, Format::Table, false).await
}

pub(super) async fn start(engine: &Engine, target: &Target, timeout: Duration) -> anyhow::Result<ExitCode> {
    let spec = spec_of_target(engine, target).await?;
    converge(engine, &spec, timeout, Format::Table, false).await
}

/// Starts what is down after something else was changed already.
pub(super) async fn go_on(engine: &Engine, target: &Target, timeout: Duration) -> anyhow::Result<ExitCode> {
    let spec = spec_of_target(engine, target).await?;
    converge(engine, &spec, timeout, Format::Table, true).await
}

async fn spec_of_target(engine: &Engine, target: &Target) -> anyhow::Result<ClusterSpec> {
    Ok(match target {
        Target::Cluster(name) => spec_of_existing(engine, name, Replicas::AsFound).await?.0,
        Target::Node(node) => {
            require_node(engine, node).await?;
            let (spec, _) = spec_of_existing(engine, &node.cluster, Replicas::AsFound).await?;
            ClusterSpec { only: Some(node.number), ..spec }
        }
    })
}

/// What a cluster that is there must have been asked to be.
pub(super) async fn spec_of_existing(
    engine: &Engine,
    name: &ClusterName,
    replicas: Replicas,
) -> anyhow::Result<(ClusterSpec, PostgresMajor)> {
    let observed = Observer::new(engine, name).observe().await?;
    if observed.is_empty() {
        bail!(Refusal::NoSuchCluster(name.clone()));
    }
    ensure_helpers(engine, name, None).await?;
    let major = observed.nodes.values().find_map(|node| node.major);
    let major = major.with_context(|| format!("no node of cluster \"{name}\" is labelled with its version"))?;
    let spec = ClusterSpec {
        name: name.clone(),
        major,
        image: contract::node_image(major),
        replicas,
        publish: false,
        volume_size: None,
        only: None,
        owner: super::owner(),
    };
    Ok((spec, PostgresMajor::new(major)?))
}

/// Builds the image of helpers where they are needed: disks are attached and detached by them.
pub(super) async fn ensure_helpers(
    engine: &Engine,
    name: &ClusterName,
    wanted: Option<VolumeSize>,
) -> anyhow::Result<()> {
    if wanted.is_some() || disk::volume_size(engine, name).await?.is_some() {
        images::ensure_toolbox(engine).await?;
    }
    Ok(())
}

/// Reconciles, and tells of the result. With `changed` there was something to do in any case.
async fn converge(
    engine: &Engine,
    spec: &ClusterSpec,
    timeout: Duration,
    format: Format,
    changed: bool,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut reporter = Reporter::new();
    let (observed, reconciled) = reconcile(engine, spec, timeout, |progress| match progress {
        Progress::Applying(steps) => steps.iter().for_each(|step| reporter.line(&step.to_string())),
        Progress::Waiting([first, others @ ..]) => {
            let others = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
            reporter.waiting(&format!("{}: {}{others}", first.node, first.doing));
        }
        Progress::Waiting([]) => {}
    })
    .await?;
    drop(reporter);
    let what = match spec.only {
        None => format!("cluster \"{}\"", spec.name),
        Some(number) => format!("node \"{}\"", observed.node_name(number)),
    };
    if changed || reconciled {
        output::note(format_args!("{what} streams after {:.1} s", began.elapsed().as_secs_f64()));
    } else {
        output::note(format_args!("{what} is complete, nothing to do"));
    }
    let exit_code = status::print(&observed, format)?;
    if format == Format::Table {
        print_how_to_connect(engine, &observed, &spec.image).await?;
    }
    Ok(exit_code)
}

pub(super) async fn print_how_to_connect(engine: &Engine, observed: &Inventory, image: &str) -> anyhow::Result<()> {
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
