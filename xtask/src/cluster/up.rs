//! The verbs that end with a cluster that streams.

use std::{fs, io, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use pgherd_images::{
    contract::{self, labels},
    release::PostgresMajor,
};
use pgherd_orchestrator::{
    ClusterFile, ClusterName, ClusterSpec, Engine, InitScript, Inventory, Observer, Origin, Refusal, Replicas,
    SourceRefusal, Storage, VolumeSize, connection_urls, disk, list_clusters, require_node,
};

use super::{
    UpArgs,
    change::{ChangeArgs, change, change_by},
    target::Target,
};
use crate::{images, output};

pub(super) async fn up(engine: &Engine, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let guest = args.from.meet(engine, &args.name.name).await?;
    let version = args.version.map(PostgresMajor::number);
    let version = version.or(guest.as_ref().map(|guest| guest.facts.major)).unwrap_or(PostgresMajor::DEFAULT.number());
    // Before an image of that version is built.
    if let Some(found) = guest.as_ref().map(|guest| guest.facts.major).filter(|found| *found != version) {
        bail!(SourceRefusal::OtherMajor { wanted: version, found });
    }
    let usual = ClusterSpec { owner: super::owner(), ..ClusterSpec::new(args.name.name.clone(), version) };
    // Its scripts are beside it.
    let (file, directory) = match &args.file {
        Some(path) => (read_file(path)?, path.parent().unwrap_or(Path::new(""))),
        None => (args.as_file()?, Path::new("")),
    };
    let mut spec = file.spec(&usual);
    if args.file.is_none() {
        spec.replicas = args.replicas.map_or(Replicas::AsFound, Replicas::AtLeast);
        spec.origin = match (&args.from_volume, &args.from_dir) {
            (Some(name), _) => Some(Origin::Volume(name.clone())),
            (None, Some(path)) => Some(Origin::directory(path)?),
            (None, None) => None,
        };
    }
    spec.scripts = file.init.iter().map(|path| InitScript::read(&directory.join(path))).collect::<Result<_, _>>()?;
    spec.image = match args.image.clone().or(image_of(engine, &spec.name).await?) {
        Some(image) => image,
        None => images::ensure(engine, PostgresMajor::new(spec.major)?).await?,
    };
    if matches!(spec.storage, Some(Storage::Directory(_))) {
        images::ensure_toolbox(engine).await?;
    }
    ensure_helpers(engine, &spec.name, spec.volume_size).await?;
    let mut observer = Observer::new(engine, &spec.name);
    if let Some(mut guest) = guest {
        guest.compare_locales(engine, &spec.image).await?;
        observer = observer.following(guest);
    }
    change_by(&mut observer, &spec, &args.change, false).await
}

impl UpArgs {
    /// The same as a file would say it, but for the number of replicas, which are never removed.
    fn as_file(&self) -> anyhow::Result<ClusterFile> {
        Ok(ClusterFile {
            publish: Some(self.publish),
            quorum: self.quorum,
            volume_size: self.volume_size,
            volume: self.volume.clone(),
            memory: self.memory,
            cpus: self.cpus,
            profile: self.profile.map(Into::into),
            init: self.init.clone(),
            upstreams: self.upstream.iter().map(|edge| edge.of(&self.name.name)).collect::<Result<_, _>>()?,
            settings: self.setting.iter().cloned().collect(),
            ..ClusterFile::default()
        })
    }
}

/// The image of the nodes of a cluster that is there, unless it is the usual one, which is kept up to date. On another one, a node may
/// not know the locale of the data.
async fn image_of(engine: &Engine, name: &ClusterName) -> anyhow::Result<Option<String>> {
    let containers = engine.list_containers(&format!("{}={name}", labels::CLUSTER)).await?;
    let node = containers.into_iter().find(|container| container.labels.contains_key(labels::NODE));
    Ok(node.and_then(|node| {
        let usual = contract::node_image(node.labels.get(labels::MAJOR)?.parse().ok()?);
        (node.image != usual).then_some(node.image)
    }))
}

/// Reads what a cluster shall be; "-" is standard input.
fn read_file(path: &Path) -> anyhow::Result<ClusterFile> {
    let text = match path.to_str() {
        Some("-") => io::read_to_string(io::stdin()),
        _ => fs::read_to_string(path),
    };
    let text = text.with_context(|| format!("could not read \"{}\"", path.display()))?;
    text.parse().with_context(|| format!("\"{}\" does not say what a cluster shall be", path.display()))
}

pub(super) async fn scale(
    engine: &Engine,
    name: &ClusterName,
    replicas: u16,
    args: &ChangeArgs,
) -> anyhow::Result<ExitCode> {
    let (spec, major) = spec_of_existing(engine, name, Replicas::Exactly(replicas)).await?;
    images::ensure(engine, major).await?;
    change(engine, &spec, args, false).await
}

/// Brings up what is there of a cluster or a node. With `changed` there was something to do in any case.
pub(super) async fn start(
    engine: &Engine,
    target: &Target,
    args: &ChangeArgs,
    changed: bool,
) -> anyhow::Result<ExitCode> {
    let spec = match target {
        Target::Cluster(name) => spec_of_existing(engine, name, Replicas::AsFound).await?.0,
        Target::Node(node) => {
            require_node(engine, node).await?;
            let (spec, _) = spec_of_existing(engine, &node.cluster, Replicas::AsFound).await?;
            ClusterSpec { only: Some(node.number), ..spec }
        }
    };
    change(engine, &spec, args, changed).await
}

/// What a cluster that is there must have been asked to be.
pub(super) async fn spec_of_existing(
    engine: &Engine,
    name: &ClusterName,
    replicas: Replicas,
) -> anyhow::Result<(ClusterSpec, PostgresMajor)> {
    // Without a look at the nodes: one that hangs would hold up the very verb that is to help.
    let Some(cluster) = list_clusters(engine).await?.into_iter().find(|cluster| cluster.name == *name) else {
        bail!(Refusal::NoSuchCluster(name.clone()));
    };
    ensure_helpers(engine, name, None).await?;
    let major = cluster.major.with_context(|| format!("no node of cluster \"{name}\" is labelled with its version"))?;
    let usual = ClusterSpec::new(name.clone(), major);
    let image = image_of(engine, name).await?.unwrap_or_else(|| usual.image.clone());
    let spec = ClusterSpec { replicas, image, owner: super::owner(), ..usual };
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

pub(super) async fn print_how_to_connect(engine: &Engine, observed: &Inventory, image: &str) -> anyhow::Result<()> {
    let urls = connection_urls(engine, observed).await?;
    let network = observed.name.network();
    let outside = urls.outside.map_or_else(
        || "needs published ports, made by \"cluster up --publish\"".to_owned(),
        |url| format!("psql \"{url}\""),
    );
    if let Some(found) = &observed.source {
        output::note(format_args!(
            "roles and passwords are those of {}; over the network, nodes let in who is a member of its role \"app\"",
            found.source
        ));
    }
    output::line(format_args!(
        "\n\
         as superuser:    cargo xtask cluster psql {}\n\
         in the network:  docker run -it --rm --network {network} {image} psql \"{}\"\n\
         from this host:  {outside}",
        observed.node_name(observed.primary().unwrap_or(1)),
        urls.inside
    ))
}
