//! What an image is, as data: the files `images/*.toml`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::release::PostgresMajor;

/// One image definition. `{major}` anywhere in its text stands for the major version of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The definition whose layers lie below this one's, and whose configuration holds where this one says nothing.
    pub extends: Option<String>,
    /// Whether it is built where no image is named.
    #[serde(default)]
    pub by_default: bool,
    /// Whether the agent gets a layer of its own on top.
    #[serde(default)]
    pub agent: bool,
    /// The names of the image. They share every layer. Without any it is there to be extended.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Which packages are in it.
    #[serde(default)]
    pub packages: Packages,
    /// Which paths of the packages are in it.
    #[serde(default)]
    pub paths: Paths,
    /// Users of `/etc/passwd`, each with a group of the same name and number.
    #[serde(default)]
    pub users: Vec<User>,
    /// Directories that no package has, or has otherwise.
    #[serde(default)]
    pub directories: Vec<Directory>,
    /// Small files that no package has.
    #[serde(default)]
    pub files: Vec<File>,
    /// Symbolic links that no package has.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Directories beside the definition whose files are copied in.
    #[serde(default)]
    pub copies: Vec<Copy>,
    /// How a container of it runs.
    #[serde(default)]
    pub config: Config,
}

/// A name of the image, with the environment that only this name has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// `repository/name:tag`.
    pub name: String,
    /// Variables on top of the configuration's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Which packages are in an image: those that are wanted and all that they need, less what is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// By name.
    #[serde(default)]
    pub wanted: Vec<String>,
    /// By name, or by how the name begins with an asterisk after it.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Which package is taken for a name that several provide.
    #[serde(default)]
    pub preferred: BTreeMap<String, String>,
}

/// Which paths of the packages are in an image: all but those below what is left out, unless they are kept.
///
/// A component that ends in an asterisk stands for every name that begins so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Absolute paths.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Absolute paths.
    #[serde(default)]
    pub kept: Vec<String>,
}

/// A user, and the group of the same name and number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub id: u32,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// An absolute path.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// The number of the user and the group.
    #[serde(default)]
    pub owner: u32,
}

/// A text file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// An absolute path.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// What it holds.
    pub text: String,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// An absolute path.
    pub path: String,
    /// What it leads to.
    pub target: String,
}

/// Files beside the definition that are copied into the image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// The name of a directory beside the definition.
    pub from: String,
    /// An absolute path.
    pub to: String,
    /// Permissions.
    pub mode: u32,
}

/// How a container runs: <https://github.com/moby/docker-image-spec/blob/main/spec.md>.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The number of the user.
    pub user: Option<String>,
    /// What runs whatever a container is told, which is arguments to it then.
    pub entrypoint: Option<Vec<String>>,
    /// What runs in a container that is not told.
    pub cmd: Option<Vec<String>>,
    /// Where it runs.
    pub working_directory: Option<String>,
    /// How it is asked to stop.
    pub stop_signal: Option<String>,
    /// How an engine finds out whether it is healthy.
    pub healthcheck: Option<Healthcheck>,
    /// Paths where a container gets a volume without being told.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Ports it listens on, as in `5432/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What an engine runs in a container again and again, <https://docs.docker.com/reference/dockerfile/#healthcheck>: a container is
/// healthy from its first success on, and unhealthy after so many failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Healthcheck {
    /// A program and its arguments; it exits with 0 or 1.
    pub cmd: Vec<String>,
    /// Between the end of one and the next.
    pub interval_seconds: u64,
    /// What takes longer has failed.
    pub timeout_seconds: u64,
    /// Before the first success, failures do not count for so long.
    pub start_period_seconds: u64,
    /// Takes the place of the interval for that long; engines before 25 do not know it.
    pub start_interval_seconds: u64,
    /// How many failures in a row count.
    pub retries: u32,
}

/// A definition with its text and the files that it copies.
#[derive(Debug, Clone)]
pub struct Source {
    /// The definition's name: that of its file, without the ending.
    pub name: String,
    /// Its text, for the digest of an image's inputs.
    pub text: String,
    /// What the text says.
    pub definition: Definition,
    /// Files to copy, by their absolute path in the image, with permissions and content.
    pub copies: Vec<(String, u32, Vec<u8>)>,
}

/// A definition that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// A file is missing or cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is no image definition.
    #[error("invalid image definition {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: toml::de::Error,
    },
    /// There is no definition of that name.
    #[error("no image definition \"{name}\" in {directory}: there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Where definitions are.
        directory: PathBuf,
        /// The names that there are.
        known: String,
    },
    /// Definitions extend one another in a circle.
    #[error("image definition \"{0}\" extends itself")]
    Circle(String),
}

/// The names of all definitions of a directory, in order.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn names(directory: &Path) -> Result<Vec<String>, DefinitionError> {
    let failed = |source| DefinitionError::Read { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a definition for a major version, after those that it extends: the lowest comes first.
///
/// # Errors
///
/// When one of them is missing, malformed or extends itself, or when a file that it copies cannot be read.
pub fn load(directory: &Path, name: &str, major: PostgresMajor) -> Result<Vec<Source>, DefinitionError> {
    let mut chain: Vec<Source> = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        if chain.iter().any(|source| source.name == name) {
            return Err(DefinitionError::Circle(name));
        }
        let source = read(directory, &name, major)?;
        next = source.definition.extends.clone();
        chain.push(source);
    }
    chain.reverse();
    Ok(chain)
}

fn read(directory: &Path, name: &str, major: PostgresMajor) -> Result<Source, DefinitionError> {
    let known = names(directory)?;
    if !known.iter().any(|known| known == name) {
        let (name, directory, known) = (name.to_owned(), directory.to_owned(), known.join(", "));
        return Err(DefinitionError::Unknown { name, directory, known });
    }
    let path = directory.join(format!("{name}.toml"));
    let text = read_file(&path, |path| fs::read_to_string(path))?.replace("{major}", &major.to_string());
    let definition: Definition = toml::from_str(&text).map_err(|source| DefinitionError::Parse { path, source })?;
    let mut copies = Vec::new();
    for copy in &definition.copies {
        let from = directory.join(&copy.from);
        let failed = |source| DefinitionError::Read { path: from.clone(), source };
        for entry in fs::read_dir(&from).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            copies.push((format!("{}/{name}", copy.to), copy.mode, read_file(&path, |path| fs::read(path))?));
        }
    }
    copies.sort();
    Ok(Source { name: name.to_owned(), text, definition, copies })
}

fn read_file<T>(path: &Path, read: impl Fn(&Path) -> io::Result<T>) -> Result<T, DefinitionError> {
    read(path).map_err(|source| DefinitionError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fs, path::Path};

    use super::{load, names};
    use crate::release::PostgresMajor;

    fn images(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn error(files: &[(&str, &str)], name: &str) -> String {
        let directory = images(files);
        let error = load(directory.path(), name, PostgresMajor::DEFAULT).unwrap_err();
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}").replace(&directory.path().display().to_string(), "images")
    }

    #[test]
    fn a_definition_comes_after_those_that_it_extends() {
        let directory = images(&[
            ("low.toml", "tags = [{ name = 'low:{major}' }]"),
            ("high.toml", "extends = 'low'\ntags = []\ncopies = [{ from = 'dir', to = '/bin', mode = 0o755 }]"),
            ("dir/b", "two"),
            ("dir/a", "one"),
        ]);
        let chain = load(directory.path(), "high", PostgresMajor::DEFAULT).unwrap();
        assert_eq!(chain.iter().map(|source| &*source.name).collect::<Vec<_>>(), ["low", "high"]);
        assert_eq!(chain[0].definition.tags[0].name, "low:17");
        let copies = [("/bin/a".to_owned(), 0o755, b"one".to_vec()), ("/bin/b".to_owned(), 0o755, b"two".to_vec())];
        assert_eq!(chain[1].copies, copies);
        assert_eq!(names(directory.path()).unwrap(), ["high", "low"]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let circle = [("a.toml", "extends = 'b'\ntags = []"), ("b.toml", "extends = 'a'\ntags = []")];
        insta::assert_snapshot!(error(&circle, "a"), @r#"image definition "a" extends itself"#);
        insta::assert_snapshot!(error(&circle, "c"), @r#"no image definition "c" in images: there are a, b"#);
        insta::assert_snapshot!(error(&[("a.toml", "tags = []\nlayer = 1")], "a"), @r"
        invalid image definition images/a.toml: TOML parse error at line 2, column 1
          |
        2 | layer = 1
          | ^^^^^
        unknown field `layer`, expected one of `extends`, `by_default`, `agent`, `tags`, `packages`, `paths`, `users`, `directories`, `files`, `links`, `copies`, `config`
        ");
        let copies = "tags = []\ncopies = [{ from = 'dir', to = '/bin', mode = 0o755 }]";
        insta::assert_snapshot!(
            error(&[("a.toml", copies)], "a"),
            @"could not read images/dir: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn the_definitions_of_this_project_are_definitions() {
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../images"));
        for name in names(directory).unwrap() {
            load(directory, &name, PostgresMajor::DEFAULT).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }
}
