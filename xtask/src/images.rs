//! `cargo xtask images`: builds what is missing or outdated on the engine, and nothing else.

mod agent;
mod bar;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::DecimalBytes;
use pgherd_images::{
    apt,
    base::Base,
    cache::Cache,
    contract::{self, labels},
    date::Timestamp,
    definition,
    digest::Digest,
    fetch::{FetchError, Fetcher},
    mirror::{self, Archive},
    recipe::{BuildError, Built, Lock, Recipe},
    release::{Architecture, PostgresMajor},
    release_file::Trust,
    signature::Keyring,
};
use pgherd_orchestrator::Engine;
use tokio::{runtime::Runtime, task::block_in_place};

use bar::Bar;

use crate::output;

/// Build the images that are missing on the engine, or that are made of something else than what is here now
///
/// Debian packages are taken from a mirror: the one that --mirror or PGHERD_MIRROR names, else the one that the host's
/// apt uses. Their signatures are checked in any case.
#[derive(Args)]
pub(crate) struct ImagesArgs {
    /// Definitions in images/ to build, by name [default: those that a cluster needs]
    names: Vec<String>,
    /// Major version of PostgreSQL
    #[arg(long, default_value_t = PostgresMajor::DEFAULT)]
    version: PostgresMajor,
    /// Make the images of nodes on this one, which the engine has: the official postgres:15 to 18, or one that is made of it
    ///
    /// It brings PostgreSQL and says its version; the agent is a layer on top. The names of these images end in "-official".
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["names", "version"])]
    base: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

/// Where packages come from.
#[derive(Args, Default)]
struct SourceArgs {
    /// Debian mirror, such as `http://mirror.example/debian`; repeat it for a separate mirror of security updates
    #[arg(long = "mirror", value_name = "URL")]
    mirrors: Vec<String>,
    /// Ask the mirror for newer packages, and build if there are some
    #[arg(long)]
    refresh: bool,
    /// Take packages of a mirror whose lists have expired, too [default: for apt's own mirrors, what apt does]
    ///
    /// Testing, where PostgreSQL 18 comes from, expires after a week. Signatures are checked in any case, but a mirror that has stopped
    /// lacks security updates.
    #[arg(long)]
    allow_expired: bool,
    /// Directory of downloaded packages [default: $PGHERD_CACHE, else pgherd in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

pub(crate) fn run(args: &ImagesArgs) -> Result<ExitCode> {
    Runtime::new()?.block_on(async {
        let engine = Engine::connect().await?;
        let architecture = Architecture::from_docker(engine.architecture())?;
        let recipes = match &args.base {
            Some(base) => vec![recipe_on(base, &engine, &architecture).await?],
            None => recipes(&args.names, args.version, &architecture)?,
        };
        for recipe in recipes {
            let outcome = if bring_up_to_date(&engine, &recipe, &architecture, &args.source).await? {
                "built"
            } else {
                "up to date"
            };
            for tag in recipe.tags() {
                let id = engine.image_id(tag).await?.unwrap_or_default();
                let id: String = id.trim_start_matches("sha256:").chars().take(12).collect();
                let size = DecimalBytes(engine.image_size(tag).await?.unwrap_or_default());
                output::line(format_args!("{tag}  {outcome}  {id}  {size} unpacked"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The definition of nodes.
const NODES: &str = "postgres";

/// Builds the image of nodes unless the engine has it as it should be now, and returns its name.
pub(crate) async fn ensure(engine: &Engine, major: PostgresMajor) -> Result<String> {
    ensure_of(engine, NODES, major).await?;
    Ok(contract::node_image(major.number()))
}

/// Which image nodes are made of.
#[derive(Args)]
pub(crate) struct ImageArg {
    /// An image that the engine has, taken as it is [default: the one of this checkout, built if it is missing]
    #[arg(long, value_name = "IMAGE", global = true)]
    image: Option<String>,
}

impl ImageArg {
    pub(crate) async fn ensure(&self, engine: &Engine) -> Result<String> {
        match &self.image {
            Some(image) => Ok(image.clone()),
            None => ensure(engine, PostgresMajor::DEFAULT).await,
        }
    }
}

/// Builds the image of helper containers unless the engine has it as it should be now.
pub(crate) async fn ensure_toolbox(engine: &Engine) -> Result<()> {
    ensure_of(engine, "toolbox", PostgresMajor::DEFAULT).await
}

/// Builds the image of other people's health checks unless the engine has it as it should be now.
pub(crate) async fn ensure_peers(engine: &Engine, major: PostgresMajor) -> Result<()> {
    ensure_of(engine, "peers", major).await
}

/// Builds the image of Docker Compose unless the engine has it as it should be now.
pub(crate) async fn ensure_compose(engine: &Engine) -> Result<()> {
    ensure_of(engine, "compose", PostgresMajor::DEFAULT).await
}

/// Builds the images of a definition unless the engine has them as they should be now.
async fn ensure_of(engine: &Engine, definition: &str, major: PostgresMajor) -> Result<()> {
    let architecture = Architecture::from_docker(engine.architecture())?;
    let recipe = Recipe::load(&definitions(), definition, major, architecture.clone())?;
    bring_up_to_date(engine, &recipe, &architecture, &SourceArgs::default()).await.map(drop)
}

fn definitions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("images")
}

/// The recipes of those names, or of all images that are built by default.
fn recipes(names: &[String], major: PostgresMajor, architecture: &Architecture) -> Result<Vec<Recipe>> {
    let load = |name: &String| Ok(Recipe::load(&definitions(), name, major, architecture.clone())?);
    if names.is_empty() {
        let all = definition::names(&definitions())?.iter().map(load).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().filter(Recipe::by_default).collect())
    } else {
        names.iter().map(load).collect()
    }
}

/// The recipe of nodes on an image that the engine has.
async fn recipe_on(name: &str, engine: &Engine, architecture: &Architecture) -> Result<Recipe> {
    let facts = engine.image_facts(name).await?;
    let facts =
        facts.with_context(|| format!("there is no image \"{name}\" on the engine\nhint: docker pull {name}"))?;
    let created = facts.created.as_deref().and_then(Timestamp::parse_rfc3339);
    let base = Base::of_engine(name, &facts.env, &facts.layers, created)?;
    Ok(Recipe::load(&definitions(), NODES, base.major, architecture.clone())?.on(base))
}

/// Builds an image and loads it, unless the engine has it as it should be now. Says which.
async fn bring_up_to_date(
    engine: &Engine,
    recipe: &Recipe,
    architecture: &Architecture,
    source: &SourceArgs,
) -> Result<bool> {
    let bar = Bar::new();
    bar.waiting("compiling the agent");
    let agent = if recipe.has_agent() { block_in_place(|| agent::build(architecture))? } else { Vec::new() };
    let inputs = recipe.inputs(&agent).to_string();
    let made_of_the_same = are_labelled(engine, recipe, labels::INPUTS, &inputs).await?;
    if made_of_the_same && !source.refresh {
        return Ok(false);
    }

    let cache = Cache::new(source.cache.clone().unwrap_or_else(Cache::default_directory));
    let kitchen = Kitchen { recipe, source, cache: &cache, fetcher: Fetcher::new(&cache, &bar), bar: &bar };
    let lock = block_in_place(|| recipe.lock_without_packages().map_or_else(|| kitchen.lock(), Ok))?;
    if made_of_the_same && are_labelled(engine, recipe, labels::LOCK, &lock.digest().to_string()).await? {
        return Ok(false);
    }
    let built = block_in_place(|| kitchen.build(&lock, &agent))?;
    bar.stage(&format!("loading {} into the engine", DecimalBytes(built.archive.len() as u64)));
    let mut replaced = Vec::new();
    for tag in recipe.tags() {
        replaced.extend(engine.image_id(tag).await?);
    }
    engine.load_image(built.archive.into()).await?;
    let loaded = are_labelled(engine, recipe, labels::INPUTS, &inputs).await?;
    ensure!(loaded, "the engine has loaded the images and does not show them: another process may be loading its own");
    for id in replaced {
        engine.remove_nameless_image(&id).await?;
    }
    Ok(true)
}

/// Whether the engine has an image of every name, and all with that label.
async fn are_labelled(engine: &Engine, recipe: &Recipe, label: &str, value: &str) -> Result<bool> {
    for tag in recipe.tags() {
        let labels = engine.image_labels(tag).await?.unwrap_or_default();
        if labels.get(label).map(String::as_str) != Some(value) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All that it takes to make one image.
struct Kitchen<'a> {
    recipe: &'a Recipe,
    source: &'a SourceArgs,
    cache: &'a Cache,
    fetcher: Fetcher<'a>,
    bar: &'a Bar,
}

impl Kitchen<'_> {
    /// The packages to take: those that were chosen last time while the archives stand by them, else the latest.
    fn lock(&self) -> Result<Lock> {
        let kept = self.cache.get_made(LOCKS, &self.lock_inputs());
        let kept = kept.and_then(|json| serde_json::from_slice::<Lock>(&json).ok());
        match kept.filter(|lock| !self.source.refresh && lock.valid_until.is_some_and(|until| until > now())) {
            Some(lock) => Ok(lock),
            None => self.latest(),
        }
    }

    fn latest(&self) -> Result<Lock> {
        self.bar.stage("looking for mirrors");
        let (fetcher, codename, root) = (&self.fetcher, self.recipe.codename(), Path::new("/"));
        let named = mirror_variable();
        let urls = mirror::candidates(&self.source.mirrors, named.as_deref(), root, fetcher)?;
        // What apt is told of its mirrors goes for no other.
        let of_apt = self.source.mirrors.is_empty() && named.as_deref().is_none_or(|urls| urls.trim().is_empty());
        let takes_expired = self.source.allow_expired || of_apt && apt::takes_expired(root);
        let trust = Trust { keys: Keyring::debian()?, now: now(), takes_expired };
        let archives = mirror::find(&urls, codename, &trust, fetcher)?;
        for Archive { url, suite, release } in &archives {
            if let Some(until) = release.valid_until.filter(|until| *until < trust.now) {
                output::note(format_args!(
                    "warning: {suite} of {url} has expired: what it has is the latest of {until}"
                ));
            }
        }
        let lock = self.recipe.lock(&archives, fetcher)?;
        self.cache.put_made(LOCKS, &self.lock_inputs(), &serde_json::to_vec(&lock)?).map_err(FetchError::Cache)?;
        Ok(lock)
    }

    fn build(&self, lock: &Lock, agent: &[u8]) -> Result<Built> {
        match self.recipe.build(lock, agent, &self.fetcher) {
            // A mirror drops what newer packages replace, before the archive's signature on the old ones expires.
            Err(BuildError::Fetch(FetchError::Missing(_))) => {
                let again = self.recipe.build(&self.latest()?, agent, &self.fetcher);
                again.context("the mirror has not all that its own lists name; it may be in the middle of an update")
            }
            built => Ok(built?),
        }
    }

    fn lock_inputs(&self) -> Digest {
        let mirrors = self.source.mirrors.iter().cloned().chain(mirror_variable()).collect::<Vec<_>>();
        self.recipe.lock_inputs(&mirrors)
    }
}

/// The kind under which the cache keeps locks.
const LOCKS: &str = "locks";

fn mirror_variable() -> Option<String> {
    env::var("PGHERD_MIRROR").ok()
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
