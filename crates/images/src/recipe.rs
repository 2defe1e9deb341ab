//! From a definition to a loadable image: what goes in, which packages, and the build itself.

use std::{collections::BTreeMap, io, io::Read, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    archive::docker_archive,
    base::{self, Base},
    contract,
    date::Timestamp,
    deb::{Deb, DebError},
    definition::{self, Config, DefinitionError, Packages, Paths, Source},
    digest::Digest,
    fetch::{FetchError, Fetcher, Wanted},
    image::{Description, Image},
    index::Index,
    layer::{Access, LayerError, Tree},
    mirror::Archive,
    release::{Architecture, PostgresMajor},
    release_file::{IndexFile, ReleaseFileError},
    resolve::{LockedPackage, ResolveError, resolve},
};

/// Counts the changes of this crate that give another image for the same inputs.
const BUILDER: &str = concat!(env!("CARGO_PKG_VERSION"), " 1");

/// An image to build, for one version of PostgreSQL and one architecture.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The definition, after those that it extends.
    chain: Vec<Source>,
    /// What the lowest of them is made on.
    base: Option<Base>,
    major: PostgresMajor,
    architecture: Architecture,
}

/// Exactly which packages an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Until when the archives vouch for these being the latest, where they say so.
    pub valid_until: Option<Timestamp>,
    /// The packages of each definition of the chain, by name.
    pub packages: Vec<Vec<LockedPackage>>,
}

/// A finished image under all its names.
#[derive(Debug)]
pub struct Built {
    /// One image for each name.
    pub images: Vec<Image>,
    /// The tar that an engine loads.
    pub archive: Vec<u8>,
    /// The size of all files in the image, in bytes.
    pub unpacked_bytes: u64,
}

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An archive does not say which packages it has.
    #[error("cannot use {url}")]
    Archive {
        /// The archive.
        url: String,
        /// Why.
        source: ReleaseFileError,
    },
    /// An archive's list of packages cannot be read.
    #[error("cannot read {url}")]
    Index {
        /// The list.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// There is no set of packages that would do.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A package cannot be unpacked.
    #[error("cannot unpack package \"{package}\"")]
    Unpack {
        /// The package.
        package: String,
        /// Why.
        source: DebError,
    },
    /// The packages do not make a layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The image's configuration does not make JSON.
    #[error("cannot write the image's configuration")]
    Config(#[from] serde_json::Error),
    /// The image does not make a tar.
    #[error("cannot write the image's archive")]
    Write(#[from] io::Error),
}

impl Recipe {
    /// Reads the definition of that name in a directory.
    ///
    /// # Errors
    ///
    /// When it, or one that it extends, cannot be used.
    pub fn load(
        directory: &Path,
        name: &str,
        major: PostgresMajor,
        architecture: Architecture,
    ) -> Result<Recipe, DefinitionError> {
        Ok(Recipe { chain: definition::load(directory, name, major)?, base: None, major, architecture })
    }

    /// The last definition alone, on another image than those that it extends, under names that say so.
    #[must_use]
    pub fn on(self, base: Base) -> Recipe {
        let mut chain: Vec<Source> = self.chain.into_iter().next_back().into_iter().collect();
        for tag in chain.iter_mut().flat_map(|source| &mut source.definition.tags) {
            tag.name += base::ENDING;
        }
        Recipe { chain, base: Some(base), ..self }
    }

    /// The names of the image.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.chain.last().into_iter().flat_map(|source| &source.definition.tags).map(|tag| &*tag.name)
    }

    /// The codename of the Debian release that its packages come from.
    #[must_use]
    pub fn codename(&self) -> &'static str {
        self.major.codename()
    }

    /// Whether it is built where no image is named.
    #[must_use]
    pub fn by_default(&self) -> bool {
        self.chain.last().is_some_and(|source| source.definition.by_default)
    }

    /// Whether the agent is in it.
    #[must_use]
    pub fn has_agent(&self) -> bool {
        self.chain.iter().any(|source| source.definition.agent)
    }

    /// The digest of all that determines the image but the packages, which only a mirror knows.
    #[must_use]
    pub fn inputs(&self, agent: &[u8]) -> Digest {
        let agent = if self.has_agent() { agent } else { &[] };
        let copies = self.chain.iter().flat_map(|source| &source.copies);
        let copies = copies.flat_map(|(path, _, content)| [path.as_bytes(), content]);
        Digest::of_parts(self.selection().into_iter().chain([agent]).chain(copies))
    }

    /// The digest of all that determines the packages, for those mirrors.
    #[must_use]
    pub fn lock_inputs(&self, mirrors: &[String]) -> Digest {
        Digest::of_parts(self.selection().into_iter().chain(mirrors.iter().map(|mirror| mirror.as_bytes())))
    }

    fn selection(&self) -> Vec<&[u8]> {
        let texts = self.chain.iter().map(|source| source.text.as_bytes());
        let given = [BUILDER, self.major.codename(), self.architecture.docker()];
        let layers = self.base.iter().flat_map(|base| &base.layers).map(Digest::as_bytes);
        let env =
            self.base.iter().flat_map(|base| &base.env).flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        given.into_iter().map(str::as_bytes).chain(texts).chain(layers).chain(env).collect()
    }

    /// The choice of packages where none are wanted, which no archive has to be asked for.
    #[must_use]
    pub fn lock_without_packages(&self) -> Option<Lock> {
        let wants_none = self.chain.iter().all(|source| source.definition.packages.wanted.is_empty());
        wants_none.then(|| Lock { valid_until: None, packages: vec![Vec::new(); self.chain.len()] })
    }

    /// Chooses the packages among those that archives have.
    ///
    /// # Errors
    ///
    /// When an archive's list of packages cannot be had or lacks one that is needed.
    pub fn lock(&self, archives: &[Archive], fetcher: &Fetcher<'_>) -> Result<Lock, BuildError> {
        let files = archives
            .iter()
            .map(|archive| {
                let failed = |source| BuildError::Archive { url: archive.url.clone(), source };
                let file = archive.release.packages(self.architecture.debian()).map_err(failed)?;
                let url = format!("{}/dists/{}/{}", archive.url, archive.suite, archive.release.location(&file));
                Ok((file.clone(), Wanted { url, sha256: file.sha256, size: file.size }))
            })
            .collect::<Result<Vec<(IndexFile, Wanted)>, BuildError>>()?;
        let bytes = files.iter().map(|(file, _)| file.size).sum();
        fetcher.progress().begin("reading the lists of packages", Some(bytes));
        let mut texts = Vec::new();
        for (file, wanted) in &files {
            let failed = |source| BuildError::Index { url: wanted.url.clone(), source };
            texts.push(decompress(&file.path, &fetcher.file(wanted)?).map_err(failed)?);
        }
        let mut index = Index::default();
        for (archive, text) in archives.iter().zip(&texts) {
            index.add(&archive.url, text);
        }
        let (mut packages, mut present): (Vec<Vec<LockedPackage>>, Vec<LockedPackage>) = (Vec::new(), Vec::new());
        let mut selection = Packages::default();
        for Source { definition, .. } in &self.chain {
            selection.wanted.extend(definition.packages.wanted.clone());
            selection.left_out.extend(definition.packages.left_out.clone());
            selection.preferred.extend(definition.packages.preferred.clone());
            let new = resolve(&index, &selection, &present)?;
            present.extend(new.clone());
            packages.push(new);
        }
        Ok(Lock { valid_until: archives.iter().filter_map(|archive| archive.release.valid_until).min(), packages })
    }

    /// Builds the image.
    ///
    /// # Errors
    ///
    /// When a package cannot be had, or is not fit for an image.
    pub fn build(&self, lock: &Lock, agent: &[u8], fetcher: &Fetcher<'_>) -> Result<Built, BuildError> {
        let of_base = self.base.iter().flat_map(|base| base.layers.iter().map(|layer| (*layer, base.name.clone())));
        let mut layers: Vec<(Digest, String)> = of_base.collect();
        let mut tars = BTreeMap::new();
        let (mut newest, mut unpacked_bytes) = (self.base.as_ref().map_or(0, |base| base.created.0), 0);
        let mut paths = Paths::default();
        for (position, (source, packages)) in self.chain.iter().zip(&lock.packages).enumerate() {
            paths.left_out.extend(source.definition.paths.left_out.clone());
            paths.kept.extend(source.definition.paths.kept.clone());
            let debs = unpack(&source.name, packages, fetcher)?;
            let mut tree = Tree::of_packages(&debs, &paths)?;
            self.furnish(&mut tree, position);
            newest = newest.max(tree.newest());
            let mut trees = vec![(tree, format!("packages and files of images/{}.toml", source.name))];
            if source.definition.agent {
                let mut tree = Tree::default();
                tree.put_file(contract::AGENT, agent, Access { mode: 0o755, owner: 0 });
                trees.push((tree, contract::AGENT.to_owned()));
            }
            for (tree, holds) in trees {
                let tar = tree.to_tar(newest)?;
                let digest = Digest::of(&tar);
                unpacked_bytes += tree.unpacked_bytes();
                layers.push((digest, holds));
                tars.insert(digest, tar);
            }
        }
        let mut config = self.config();
        config.labels.insert(contract::labels::INPUTS.to_owned(), self.inputs(agent).to_string());
        config.labels.insert(contract::labels::LOCK.to_owned(), lock.digest().to_string());
        let (architecture, created) = (&self.architecture, Timestamp(newest));
        let description = Description { architecture, created, config: &config, layers: &layers };
        let tags = self.chain.last().into_iter().flat_map(|source| &source.definition.tags);
        let images = tags.map(|tag| description.image(&tag.name, &tag.env)).collect::<Result<Vec<Image>, _>>()?;
        let archive = docker_archive(&images, &tars)?;
        Ok(Built { images, archive, unpacked_bytes })
    }

    /// Puts in what a definition has besides packages.
    fn furnish(&self, tree: &mut Tree, position: usize) {
        let Source { definition, copies, .. } = &self.chain[position];
        for directory in &definition.directories {
            tree.put_directory(&directory.path, Access { mode: directory.mode, owner: directory.owner });
        }
        for file in &definition.files {
            tree.put_file(&file.path, file.text.as_bytes(), Access { mode: file.mode, owner: 0 });
        }
        for link in &definition.links {
            tree.put_link(&link.path, &link.target);
        }
        for (path, mode, content) in copies {
            tree.put_file(path, content, Access { mode: *mode, owner: 0 });
        }
        if !definition.users.is_empty() {
            let users = || self.chain[..=position].iter().flat_map(|source| &source.definition.users);
            let passwd: String =
                users().map(|u| format!("{0}:x:{1}:{1}:{0}:{2}:{3}\n", u.name, u.id, u.home, u.shell)).collect();
            let group: String = users().map(|u| format!("{}:x:{}:\n", u.name, u.id)).collect();
            let access = Access { mode: 0o644, owner: 0 };
            tree.put_file("/etc/passwd", passwd.as_bytes(), access);
            tree.put_file("/etc/group", group.as_bytes(), access);
        }
    }

    /// The configuration: what the last definition says, and where it says nothing, the one before. Of a base, only the environment
    /// holds on.
    fn config(&self) -> Config {
        let env = self.base.as_ref().map(|base| base.env.clone()).unwrap_or_default();
        let lowest = Config { env, ..Config::default() };
        self.chain.iter().map(|source| source.definition.config.clone()).fold(lowest, |below, above| Config {
            user: above.user.or(below.user),
            entrypoint: above.entrypoint.or(below.entrypoint),
            cmd: above.cmd.or(below.cmd),
            working_directory: above.working_directory.or(below.working_directory),
            stop_signal: above.stop_signal.or(below.stop_signal),
            healthcheck: above.healthcheck.or(below.healthcheck),
            volumes: [below.volumes, above.volumes].concat(),
            ports: [below.ports, above.ports].concat(),
            env: below.env.into_iter().chain(above.env).collect(),
            labels: below.labels.into_iter().chain(above.labels).collect(),
        })
    }
}

impl Lock {
    /// The digest of the packages.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_parts(self.packages.iter().flatten().map(|package| package.sha256.as_bytes()))
    }

    /// The size of the package files, in bytes.
    #[must_use]
    pub fn download_bytes(&self) -> u64 {
        self.packages.iter().flatten().map(|package| package.size).sum()
    }
}

/// Fetches packages and unpacks them.
fn unpack(name: &str, packages: &[LockedPackage], fetcher: &Fetcher<'_>) -> Result<Vec<(String, Deb)>, BuildError> {
    let wanted: Vec<Wanted> = packages
        .iter()
        .map(|p| Wanted { url: format!("{}/{}", p.archive, p.path), sha256: p.sha256, size: p.size })
        .collect();
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let (count, bytes) = (packages.len(), packages.iter().map(|package| package.size).sum());
    fetcher.progress().begin(&format!("fetching {count} packages for {name}"), Some(bytes));
    let files = fetcher.files(&wanted)?;
    fetcher.progress().begin(&format!("unpacking {count} packages for {name}"), Some(bytes));
    let mut debs = Vec::new();
    for (package, bytes) in packages.iter().zip(files) {
        let failed = |source| BuildError::Unpack { package: package.name.clone(), source };
        debs.push((package.name.clone(), Deb::unpack(&bytes).map_err(failed)?));
        fetcher.progress().advance(package.size);
    }
    Ok(debs)
}

fn decompress(path: &str, bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    match path.rsplit_once('.') {
        Some((_, "xz")) => liblzma::read::XzDecoder::new(bytes).read_to_string(&mut text)?,
        Some((_, "gz")) => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text)?,
        _ => io::Cursor::new(bytes).read_to_string(&mut text)?,
    };
    Ok(text)
}
