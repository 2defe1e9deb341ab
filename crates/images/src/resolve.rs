//! Which packages an image needs: index in, lock out.
//!
//! Within one stable suite and its security updates the latest version of everything fits together, so there is nothing
//! to search: every dependency is met by its first alternative that can be had. Recommendations are not followed, and
//! conflicts are not read.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    definition::Packages,
    digest::Digest,
    index::{Index, IndexError, Package},
    pattern::matches_name,
    relation::Relation,
    version::Version,
};

/// A package that was chosen, with all that it takes to get exactly this one again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The URL of the archive that has it.
    pub archive: String,
    /// The path of the package file below the archive's URL.
    pub path: String,
    /// The size of the package file, in bytes.
    pub size: u64,
    /// The digest of the package file.
    pub sha256: Digest,
}

/// Why there is no set of packages that would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing in the archives meets a dependency.
    #[error("cannot find package \"{wanted}\", which {by} asks for: the archives have {available}")]
    Missing {
        /// All the alternatives.
        wanted: String,
        /// Who asks.
        by: String,
        /// The versions that there are.
        available: String,
    },
    /// Several packages would do, and the definition does not say which one it prefers.
    #[error(
        "cannot choose a provider of \"{name}\", which {by} asks for, among {providers}: name one under `preferred`"
    )]
    Ambiguous {
        /// What is provided.
        name: String,
        /// Who asks.
        by: String,
        /// Who provides it.
        providers: String,
    },
    /// Two packages need different versions of a third.
    #[error("cannot have {wanted}, which {by} asks for, beside {name} {chosen}, which was chosen before")]
    Conflict {
        /// What is asked for.
        wanted: String,
        /// Who asks.
        by: String,
        /// The package.
        name: String,
        /// The version that is chosen already.
        chosen: Version,
    },
    /// The index describes a package in a way that cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Chooses the packages that a definition wants and all that they need, by name. `present` are there already.
///
/// A dependency on something that the definition leaves out counts as met, unless an alternative before it can be had.
///
/// # Errors
///
/// When a package is missing, ambiguous or wanted in two versions, with the one that asks for it.
pub fn resolve(
    index: &Index<'_>,
    packages: &Packages,
    present: &[LockedPackage],
) -> Result<Vec<LockedPackage>, ResolveError> {
    let mut chosen = BTreeMap::new();
    for package in present {
        let same = index.named(&package.name)?.into_iter().find(|found| found.version == package.version);
        chosen.extend(same.map(|found| (found.name.clone(), found)));
    }
    let definition = "the definition".to_owned();
    let mut asked: VecDeque<(String, Vec<Relation>)> = packages
        .wanted
        .iter()
        .map(|name| (definition.clone(), vec![Relation { name: name.clone(), constraint: None }]))
        .collect();
    while let Some((by, alternatives)) = asked.pop_front() {
        if let Some(package) = choose(index, packages, &chosen, &by, &alternatives)? {
            asked.extend(package.depends.iter().map(|group| (package.name.clone(), group.clone())));
            chosen.insert(package.name.clone(), package);
        }
    }
    let new = chosen.into_values().filter(|package| !present.iter().any(|p| p.name == package.name));
    Ok(new.map(lock).collect())
}

fn lock(Package { name, version, archive, path, size, sha256, .. }: Package) -> LockedPackage {
    LockedPackage { name, version, archive, path, size, sha256 }
}

/// The package to add for a dependency, or none where that is met.
fn choose(
    index: &Index<'_>,
    packages: &Packages,
    chosen: &BTreeMap<String, Package>,
    by: &str,
    alternatives: &[Relation],
) -> Result<Option<Package>, ResolveError> {
    let met = |relation: &Relation| chosen.values().any(|package| meets(package, relation));
    if alternatives.iter().any(met) {
        return Ok(None);
    }
    for relation in alternatives {
        if packages.leaves_out(&relation.name) {
            return Ok(None);
        }
        if let Some(package) = find(index, packages, by, relation)? {
            if let Some(before) = chosen.get(&package.name) {
                return Err(ResolveError::Conflict {
                    wanted: relation.to_string(),
                    by: by.to_owned(),
                    name: before.name.clone(),
                    chosen: before.version.clone(),
                });
            }
            return Ok(Some(package));
        }
    }
    Err(ResolveError::Missing {
        wanted: list(alternatives, " | "),
        by: by.to_owned(),
        available: match alternatives.first().map(|first| index.named(&first.name)).transpose()? {
            Some(found) if !found.is_empty() => list(found.iter().map(|package| &package.version), ", "),
            _ => "none".to_owned(),
        },
    })
}

/// The best package for a relation: the latest of that name, else the one that provides it.
fn find(
    index: &Index<'_>,
    packages: &Packages,
    by: &str,
    relation: &Relation,
) -> Result<Option<Package>, ResolveError> {
    if let Some(package) = index.named(&relation.name)?.into_iter().find(|package| meets(package, relation)) {
        return Ok(Some(package));
    }
    let mut providers = index.providing(&relation.name)?;
    providers.retain(|package| meets(package, relation) && !packages.leaves_out(&package.name));
    providers.dedup_by(|later, first| later.name == first.name);
    if let Some(preferred) = packages.preferred.get(&relation.name) {
        providers.retain(|package| package.name == *preferred);
    }
    if providers.len() > 1 {
        return Err(ResolveError::Ambiguous {
            name: relation.name.clone(),
            by: by.to_owned(),
            providers: list(providers.iter().map(|package| &package.name), ", "),
        });
    }
    Ok(providers.pop())
}

/// Whether a package is what a relation names, or provides it. Where versions matter, it must provide one.
fn meets(package: &Package, relation: &Relation) -> bool {
    let provides = |provided: &Relation| {
        let version_fits = || provided.provided_version().is_some_and(|version| relation.admits(version));
        provided.name == relation.name && (relation.constraint.is_none() || version_fits())
    };
    (package.name == relation.name && relation.admits(&package.version)) || package.provides.iter().any(provides)
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}

impl Packages {
    /// Whether a package is left out. One that is wanted by name never is.
    fn leaves_out(&self, name: &str) -> bool {
        !self.wanted.iter().any(|wanted| wanted == name)
            && self.left_out.iter().any(|pattern| matches_name(pattern, name))
    }
}

#[cfg(test)]
mod tests {
    use super::{Packages, resolve};
    use crate::{digest::Digest, index::Index};

    /// An index of lines `name version; field: value; …`.
    fn packages_file(lines: &[&str]) -> String {
        let stanza = |line: &&str| {
            let (head, fields) = line.split_once(';').unwrap_or((line, ""));
            let (name, version) = head.trim().split_once(' ').unwrap();
            let fields: String = fields.split(';').map(|field| format!("{}\n", field.trim())).collect();
            let sha256 = Digest::of(head.as_bytes());
            format!(
                "Package: {name}\nVersion: {version}\nFilename: p/{name}\nSize: 1\nSHA256: {sha256}\n{}\n\n",
                fields.trim()
            )
        };
        lines.iter().map(stanza).collect()
    }

    /// What is chosen of main and security, or the error.
    fn chosen(main: &[&str], security: &[&str], wanted: &str, left_out: &str, preferred: &[(&str, &str)]) -> String {
        let (main, security) = (packages_file(main), packages_file(security));
        let mut index = Index::default();
        index.add("http://mirror.example/debian", &main);
        index.add("http://mirror.example/debian-security", &security);
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let preferred = preferred.iter().map(|(name, package)| ((*name).to_owned(), (*package).to_owned())).collect();
        let packages = Packages { wanted: words(wanted), left_out: words(left_out), preferred };
        match resolve(&index, &packages, &[]) {
            Ok(lock) => lock.iter().map(|p| format!("{} {}", p.name, p.version)).collect::<Vec<_>>().join(", "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn dependencies_are_followed_to_their_end() {
        let main = ["a 1; Depends: b, c; Pre-Depends: d", "b 1; Depends: a", "c 1; Recommends: e", "d 1", "e 1"];
        insta::assert_snapshot!(chosen(&main, &[], "a", "", &[]), @"a 1, b 1, c 1, d 1");
    }

    #[test]
    fn the_latest_version_wins_wherever_it_is() {
        insta::assert_snapshot!(chosen(&["a 1-9"], &["a 1-10"], "a", "", &[]), @"a 1-10");
        insta::assert_snapshot!(chosen(&["a 1-10"], &["a 1-9"], "a", "", &[]), @"a 1-10");
    }

    #[test]
    fn the_first_alternative_that_can_be_had_is_taken() {
        let main = ["a 1; Depends: b | c | d", "c 1", "d 1"];
        insta::assert_snapshot!(chosen(&main, &[], "a", "", &[]), @"a 1, c 1");
        let main = ["a 1; Depends: b (>= 2) | c", "b 1", "c 1"];
        insta::assert_snapshot!(chosen(&main, &[], "a", "", &[]), @"a 1, c 1");
    }

    #[test]
    fn an_alternative_that_is_there_already_is_taken_first() {
        let main = ["a 1; Depends: b | c", "b 1", "c 1"];
        insta::assert_snapshot!(chosen(&main, &[], "c a", "", &[]), @"a 1, c 1");
    }

    #[test]
    fn what_is_left_out_counts_as_there_unless_it_is_wanted() {
        let main = ["a 1; Depends: locales | locales-all, libllvm19", "locales-all 1", "locales 1", "libllvm19 1"];
        insta::assert_snapshot!(chosen(&main, &[], "a", "locales libllvm*", &[]), @"a 1");
        insta::assert_snapshot!(chosen(&main, &[], "a locales", "locales libllvm*", &[]), @"a 1, locales 1");
    }

    #[test]
    fn a_provider_stands_for_what_it_provides() {
        let main = ["a 1; Depends: mail", "b 1; Provides: mail", "c 1; Provides: mail, post (= 2)"];
        insta::assert_snapshot!(
            chosen(&main, &[], "a", "", &[]),
            @r#"cannot choose a provider of "mail", which a asks for, among b, c: name one under `preferred`"#
        );
        insta::assert_snapshot!(chosen(&main, &[], "a", "", &[("mail", "c")]), @"a 1, c 1");
        insta::assert_snapshot!(chosen(&main, &[], "a", "b", &[]), @"a 1, c 1");
    }

    #[test]
    fn a_versioned_dependency_wants_a_versioned_provider() {
        let main = ["a 1; Depends: post (>= 2)", "b 1; Provides: post", "c 1; Provides: post (= 2)"];
        insta::assert_snapshot!(chosen(&main, &[], "a", "", &[]), @"a 1, c 1");
        insta::assert_snapshot!(
            chosen(&["a 1; Depends: post (>= 3)", "c 1; Provides: post (= 2)"], &[], "a", "", &[]),
            @r#"cannot find package "post (>= 3)", which a asks for: the archives have none"#
        );
    }

    #[test]
    fn what_cannot_be_is_named_with_who_asks_for_it() {
        insta::assert_snapshot!(
            chosen(&["a 1; Depends: b (>= 2) | c", "b 1"], &["b 1+deb13u1"], "a", "", &[]),
            @r#"cannot find package "b (>= 2) | c", which a asks for: the archives have 1+deb13u1, 1"#
        );
        insta::assert_snapshot!(
            chosen(&["a 1; Depends: b, c", "b 2", "b 1", "c 1; Depends: b (= 1)"], &[], "a", "", &[]),
            @"cannot have b (= 1), which c asks for, beside b 2, which was chosen before"
        );
        insta::assert_snapshot!(
            chosen(&["a 1; Depends: b (1)"], &[], "a", "", &[]),
            @r#"cannot read package "a" in the index of http://mirror.example/debian: field Depends is Some("b (1)")"#
        );
    }

    #[test]
    fn what_is_present_is_not_chosen_again() {
        let main = packages_file(&["a 1; Depends: b", "b 1", "c 1; Depends: b"]);
        let mut index = Index::default();
        index.add("http://mirror.example/debian", &main);
        let wanting = |name: &str| Packages { wanted: vec![name.to_owned()], ..Packages::default() };
        let below = resolve(&index, &wanting("a"), &[]).unwrap();
        let above = resolve(&index, &wanting("c"), &below).unwrap();
        assert_eq!(above.iter().map(|package| &*package.name).collect::<Vec<_>>(), ["c"]);
    }
}
