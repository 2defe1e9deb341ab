//! Which packages an archive has: its `Packages` files.
//!
//! <https://wiki.debian.org/DebianRepository/Format#A.22Packages.22_Indices>

use std::collections::HashMap;

use crate::{
    deb822::{Stanza, stanzas},
    digest::Digest,
    relation::{Relation, parse_groups},
    version::Version,
};

/// One package of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// What it needs: groups, each met by any one of its alternatives.
    pub depends: Vec<Vec<Relation>>,
    /// What it stands for besides itself.
    pub provides: Vec<Relation>,
    /// The URL of the archive that has it.
    pub archive: String,
    /// The path of the package file below the archive's URL.
    pub path: String,
    /// The size of the package file, in bytes.
    pub size: u64,
    /// The digest of the package file.
    pub sha256: Digest,
}

/// The packages of one or more archives, by name.
#[derive(Debug, Default)]
pub struct Index<'a> {
    stanzas: HashMap<String, Vec<(&'a str, Stanza<'a>)>>,
    providers: HashMap<String, Vec<String>>,
}

/// A package that an archive describes in a way that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read package \"{package}\" in the index of {archive}: field {field} is {value:?}")]
pub struct IndexError {
    package: String,
    archive: String,
    field: &'static str,
    value: Option<String>,
}

impl<'a> Index<'a> {
    /// Adds the packages of an archive's `Packages` file.
    ///
    /// Only names are read now, and the rest when a package is asked for: most never are.
    pub fn add(&mut self, archive: &'a str, packages: &'a str) {
        for stanza in stanzas(packages) {
            let Some(name) = stanza.get("Package") else { continue };
            for provided in stanza.get("Provides").iter().flat_map(|field| field.split(',')) {
                let virtual_name = provided.split(['(', ':']).next().unwrap_or_default().trim();
                self.providers.entry(virtual_name.to_owned()).or_default().push(name.clone());
            }
            self.stanzas.entry(name).or_default().push((archive, stanza));
        }
    }

    /// The packages of that name, latest version first.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read.
    pub fn named(&self, name: &str) -> Result<Vec<Package>, IndexError> {
        let found = self.stanzas.get(name).into_iter().flatten();
        let mut packages =
            found.map(|(archive, stanza)| read(name, archive, *stanza)).collect::<Result<Vec<_>, _>>()?;
        packages.sort_by(|left, right| right.version.cmp(&left.version));
        Ok(packages)
    }

    /// The packages that provide a name, by their own names, each with its latest version first.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read.
    pub fn providing(&self, name: &str) -> Result<Vec<Package>, IndexError> {
        let mut names: Vec<&String> = self.providers.get(name).into_iter().flatten().collect();
        names.sort();
        names.dedup();
        let found = names.into_iter().map(|name| self.named(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn read(name: &str, archive: &str, stanza: Stanza<'_>) -> Result<Package, IndexError> {
    let error = |field, value| IndexError { package: name.to_owned(), archive: archive.to_owned(), field, value };
    let required = |field| stanza.get(field).ok_or_else(|| error(field, None));
    let relations = |field| {
        let value = stanza.get(field).unwrap_or_default();
        parse_groups(&value).map_err(|_| error(field, Some(value)))
    };
    let (size, sha256) = (required("Size")?, required("SHA256")?);
    Ok(Package {
        name: name.to_owned(),
        version: Version(required("Version")?),
        depends: [relations("Pre-Depends")?, relations("Depends")?].concat(),
        provides: relations("Provides")?.concat(),
        archive: archive.to_owned(),
        path: required("Filename")?,
        size: size.parse().map_err(|_| error("Size", Some(size)))?,
        sha256: sha256.parse().map_err(|_| error("SHA256", Some(sha256)))?,
    })
}
