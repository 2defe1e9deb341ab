//! The verbs that end with a cluster that streams.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use pgherd_images::{
    contract::{self, labels},
    release::PostgresMajor,
};
use pgherd_orchestrator::{
    ByteCount, ClusterFile, ClusterName, ClusterSpec, Cpus, Engine, InitScript, Inventory, Observer, Origin, Profile,
    Refusal, Replicas, SourceRefusal, Storage, VolumeSize, connection_urls, disk, list_clusters, require_node,
};

use super::{
    NameArg,
    change::{ChangeArgs, change, change_by},
    from::FromArgs,
    replica_count,
    settings::parse_setting,
    shape::Edge,
    target::Target,
};
use crate::{images, output};

#[derive(Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    name: NameArg,
    /// Reads from a file what the cluster shall be, "-" for standard input; what it does not say stays as it is
    ///
    /// TOML, with the keys name, version, replicas, quorum, publish, volume, volume-size, memory, cpus, profile, init, from-volume, from-dir,
    /// upstreams and settings: "export spec" writes the file of a cluster that is there. Where the file says how many replicas there are,
    /// those above go.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["replicas", "publish", "volume", "volume_size", "memory", "cpus", "profile", "init", "setting", "from_volume", "from_dir", "quorum", "upstream"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    from: FromArgs,
    /// How many replicas it shall have at least; 2 in a new cluster [default: as many as there are]
    #[arg(short = 'n', long, value_parser = replica_count())]
    replicas: Option<u16>,
    /// The major version of PostgreSQL [default: 17, or that of the server that is followed]
    #[arg(long, env = "PGHERD_VERSION")]
    version: Option<PostgresMajor>,
    /// An image of nodes that the engine has, taken as it is, such as one on another base [default: what the nodes have, else the one of this
    /// checkout, built if it is missing]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Gives every node a port on 127.0.0.1
    #[arg(long)]
    publish: bool,
    /// Gives every node a file system of this size; units are powers of 1024: kB, MB, GB, TB [default: what the nodes have]
    ///
    /// A node's disk is then a file on a volume, attached to a loop device of the engine's host by a helper container, and fills up
    /// without filling the engine's own. In a new cluster, nodes share the engine's file system unless this is given.
    #[arg(long, value_name = "SIZE")]
    volume_size: Option<VolumeSize>,
    /// Where nodes keep their data: "named" for volumes, "tmpfs" for memory, or a directory of the engine's host [default: named, or where
    /// those are that are there]
    ///
    /// A directory outlives the cluster, and is taken up by the next one that is made in it. In memory, a node that stops has lost its data.
    #[arg(long, value_name = "named|tmpfs|DIRECTORY")]
    volume: Option<Storage>,
    /// How much memory each node may take, as in 1GB [default: as it is]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteCount>,
    /// How many processors each node may take, as in 0.5 [default: as it is]
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<Cpus>,
    /// A setting of PostgreSQL that every node has, as in work_mem=64MB; may be given more than once
    #[arg(long, value_name = "SETTING=VALUE", value_parser = parse_setting)]
    setting: Vec<(String, String)>,
    /// A script that fills the database of a new cluster, .sql, .sql.gz, .sql.zst or .sh; may be given more than once
    #[arg(long, value_name = "FILE")]
    init: Vec<PathBuf>,
    /// How much the data matter: "throwaway" keeps them in memory and never syncs them
    #[arg(long, value_enum)]
    profile: Option<ProfileArg>,
    /// Begins with the data on this volume, of which a copy is made; no server may run on them
    ///
    /// The data directory may be the volume's top or up to two levels below it, as in "data", "17/main" and "18/docker". It is looked at
    /// before anything is made, and never changed. Roles, databases and what ALTER SYSTEM says come along; postgresql.conf and pg_hba.conf
    /// do not.
    #[arg(long, value_name = "NAME", conflicts_with = "from_dir")]
    from_volume: Option<String>,
    /// The same with a directory of the engine's host
    #[arg(long, value_name = "PATH")]
    from_dir: Option<PathBuf>,
    /// How many replicas must have a commit durably before it is acknowledged; 0 for none [default: as it is]
    ///
    /// A failover is known to lose nothing then, as long as enough of them answer. Commits wait while fewer do.
    #[arg(long, value_name = "REPLICAS")]
    quorum: Option<u16>,
    /// Whom a replica follows, as in demo-3=demo-2; may be given more than once [default: the primary]
    #[arg(long, value_name = "REPLICA=UPSTREAM")]
    upstream: Vec<Edge>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ProfileArg {
    Durable,
    Throwaway,
}

impl From<ProfileArg> for Profile {
    fn from(profile: ProfileArg) -> Profile {
        match profile {
            ProfileArg::Durable => Profile::Durable,
            ProfileArg::Throwaway => Profile::Throwaway,
        }
    }
}

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
