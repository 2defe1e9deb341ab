//! Builds the image of a definition into a file, for `docker load`, without any engine.
//!
//! `cargo run -p pgherd-images --example archive -- images postgres target/release/pgherd-agent /tmp/postgres.tar`
//!
//! The mirror is the one of the host's apt configuration, or the one that `PGHERD_MIRROR` names.

use std::{env, error::Error, fs, path::Path, time::SystemTime};

use pgherd_images::{
    cache::Cache,
    fetch::{Fetcher, Progress},
    mirror,
    recipe::Recipe,
    release::{Architecture, PostgresMajor},
    release_file::Trust,
    signature::Keyring,
};

struct Lines;

impl Progress for Lines {
    fn begin(&self, stage: &str, _bytes: Option<u64>) {
        eprintln!("{stage}");
    }

    fn advance(&self, _bytes: u64) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [definitions, name, agent, output] = &arguments[..] else {
        return Err("usage: archive DEFINITIONS NAME AGENT OUTPUT".into());
    };
    let (major, architecture) = (PostgresMajor::DEFAULT, Architecture::from_docker("amd64")?);
    let recipe = Recipe::load(Path::new(definitions), name, major, architecture)?;

    let cache = Cache::new(Cache::default_directory());
    let fetcher = Fetcher::new(&cache, &Lines);
    let mirrors = mirror::candidates(&[], env::var("PGHERD_MIRROR").ok().as_deref(), Path::new("/"), &fetcher)?;
    let trust = Trust { keys: Keyring::debian()?, now: SystemTime::now().into(), takes_expired: false };
    let archives = mirror::find(&mirrors, major.codename(), &trust, &fetcher)?;

    let lock = recipe.lock(&archives, &fetcher)?;
    for package in lock.packages.iter().flatten() {
        println!("{} {}", package.name, package.version);
    }
    let built = recipe.build(&lock, &fs::read(agent)?, &fetcher)?;
    fs::write(output, &built.archive)?;
    println!("{} packages, {} bytes to fetch", lock.packages.iter().flatten().count(), lock.download_bytes());
    for image in &built.images {
        println!("{} {} {} bytes", image.tag, image.id(), built.unpacked_bytes);
    }
    Ok(())
}
