//! Scripts that fill a new cluster's database, on its primary, before anybody can reach that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A script: `.sql`, `.sql.gz`, `.sql.zst` or `.sh`, by the end of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitScript {
    /// Its name. They run in the order in which they are given.
    pub name: String,
    /// What it says.
    pub content: Vec<u8>,
}

/// A name by which no script would be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no name of a script\nhint: A script's name ends in \".sql\", \".sql.gz\", \".sql.zst\" or \".sh\", and has no \"/\" in it."
)]
pub struct InvalidScriptName(String);

/// Why a file is no script.
#[derive(Debug, thiserror::Error)]
pub enum ReadScriptError {
    /// By its name.
    #[error(transparent)]
    Name(#[from] InvalidScriptName),
    /// It is not there, or not to be read.
    #[error("could not read script \"{}\": {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl InitScript {
    /// A script of this name.
    ///
    /// # Errors
    /// Where nobody would know from its name what it is.
    pub fn new(name: &str, content: impl Into<Vec<u8>>) -> Result<InitScript, InvalidScriptName> {
        let is_known = [".sql", ".sql.gz", ".sql.zst", ".sh"].iter().any(|end| name.ends_with(end));
        if !is_known || name.contains(['/', '\0', '\n']) || name.len() > 200 {
            return Err(InvalidScriptName(name.to_owned()));
        }
        Ok(InitScript { name: name.to_owned(), content: content.into() })
    }

    /// The script in a file.
    ///
    /// # Errors
    /// Where the file cannot be read, and as of [`Self::new`].
    pub fn read(path: &Path) -> Result<InitScript, ReadScriptError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let read = |source| ReadScriptError::Unreadable { path: path.to_owned(), source };
        // Its name first: a directory has one, too.
        InitScript::new(&name, "")?;
        Ok(InitScript::new(&name, fs::read(path).map_err(read)?)?)
    }
}

/// The names under which they are put into the container, whose agent runs them in that order.
pub(crate) fn names(scripts: &[InitScript]) -> Vec<String> {
    scripts.iter().enumerate().map(|(index, script)| format!("{:03}-{}", index + 1, script.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::{InitScript, names};

    #[test]
    fn scripts_keep_their_order() {
        let script = |name| InitScript::new(name, "").expect("a script");
        assert_eq!(names(&[script("z.sql"), script("a.sh")]), ["001-z.sql", "002-a.sh"]);
        for name in ["", "README", "a.sql.xz", "../a.sql", "a\n.sql"] {
            assert!(InitScript::new(name, "").is_err(), "{name:?} was taken for a script");
        }
    }
}
