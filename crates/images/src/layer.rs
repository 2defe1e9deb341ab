//! One layer of an image: packages and files in, the same tar out every time.
//!
//! Entries are sorted, owners are numbers, and times are those of the packages. Nothing is run: the maintainer scripts
//! of the packages we take do nothing that a container misses.
//!
//! A layer is a tar: <https://github.com/opencontainers/image-spec/blob/main/layer.md>.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::Arc,
};

use crate::{deb::Deb, definition::Paths, pattern::matches_path};

/// The files of a layer by path, without a leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    content: Content,
    mode: u32,
    uid: u64,
    gid: u64,
    modified: u64,
    package: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Directory,
    File(Arc<[u8]>),
    Link(String),
}

/// Who owns an entry, and what they and others may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permissions.
    pub mode: u32,
    /// The number of the user and of the group.
    pub owner: u32,
}

/// Why packages do not make a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A path leads out of the image, or is no text.
    #[error("refusing {path:?} of package \"{package}\": it is not a path inside the image")]
    Path {
        /// The path.
        path: String,
        /// The package.
        package: String,
    },
    /// An entry is a device, a pipe or something else that no package needs.
    #[error("refusing {path:?} of package \"{package}\": it is neither file, directory nor link")]
    Kind {
        /// The path.
        path: String,
        /// The package.
        package: String,
    },
    /// A hard link leads nowhere.
    #[error("cannot link {path:?} of package \"{package}\": it has no file {target:?}")]
    Link {
        /// The path.
        path: String,
        /// What it is a link to.
        target: String,
        /// The package.
        package: String,
    },
    /// Two packages have the same file.
    #[error("cannot have {path:?} of both \"{first}\" and \"{second}\"")]
    Collision {
        /// The path.
        path: String,
        /// One package.
        first: String,
        /// Another.
        second: String,
    },
    /// An entry is below one that is not a directory.
    #[error("cannot have {path:?} below {parent:?}, which is not a directory")]
    Parent {
        /// The path.
        path: String,
        /// What it is below.
        parent: String,
    },
    /// An entry does not fit into a tar.
    #[error("cannot write {path:?} into the layer")]
    Write {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The tar in a package cannot be read.
    #[error("cannot read the files of package \"{package}\"")]
    Read {
        /// The package.
        package: String,
        /// Why.
        source: io::Error,
    },
}

/// Directories of old that have moved below `/usr`: <https://wiki.debian.org/UsrMerge>.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl Tree {
    /// The files of packages, by name, less what is left out. The order of the packages does not matter.
    ///
    /// # Errors
    ///
    /// When a package has what no image should, or two packages have the same file.
    pub fn of_packages(packages: &[(String, Deb)], paths: &Paths) -> Result<Tree, LayerError> {
        let mut tree = Tree::default();
        for (name, deb) in packages {
            tree.add_package(name, deb, paths)?;
        }
        let has = |name: &&str| tree.0.keys().any(|path| path.starts_with(&format!("usr/{name}/")));
        let merged: Vec<&str> = MERGED.into_iter().filter(has).collect();
        for name in merged {
            tree.0.insert(name.to_owned(), Entry::new(Content::Link(format!("usr/{name}")), 0o777, 0));
        }
        Ok(tree)
    }

    fn add_package(&mut self, package: &str, deb: &Deb, paths: &Paths) -> Result<(), LayerError> {
        let failed = |source| LayerError::Read { package: package.to_owned(), source };
        // Hard links name what is already there, even where that is then left out.
        let mut files: BTreeMap<String, Arc<[u8]>> = BTreeMap::new();
        let mut newest = 0;
        for entry in tar::Archive::new(&deb.data[..]).entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let header = entry.header().clone();
            let inside = |path: &[u8]| inside(path, package);
            let path = inside(&entry.path_bytes())?;
            let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
            let content = match header.entry_type() {
                tar::EntryType::Directory => Content::Directory,
                tar::EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).map_err(failed)?;
                    Content::File(bytes.into())
                }
                tar::EntryType::Symlink => {
                    let text = String::from_utf8(target);
                    Content::Link(
                        text.map_err(|_| LayerError::Path { path: path.clone(), package: package.to_owned() })?,
                    )
                }
                tar::EntryType::Link => {
                    let target = inside(&target)?;
                    let file = files.get(&target).cloned();
                    let (path, package) = (path.clone(), package.to_owned());
                    Content::File(file.ok_or(LayerError::Link { path, target, package })?)
                }
                _ => return Err(LayerError::Kind { path, package: package.to_owned() }),
            };
            let modified = header.mtime().map_err(failed)?;
            newest = newest.max(modified);
            let entry = Entry {
                content,
                mode: header.mode().map_err(failed)? & 0o7777,
                uid: header.uid().map_err(failed)?,
                gid: header.gid().map_err(failed)?,
                modified,
                package: Some(package.to_owned()),
            };
            if let Content::File(bytes) = &entry.content {
                files.insert(path.clone(), bytes.clone());
            }
            let path = usr_merged(path, &entry.content);
            let left_out = |path: &str| paths.left_out.iter().any(|pattern| matches_path(pattern, path));
            if !path.is_empty() && (!left_out(&path) || paths.kept.iter().any(|pattern| matches_path(pattern, &path))) {
                self.merge(path, entry)?;
            }
        }
        // Scanners of distroless images look here for what is installed.
        let status = Content::File(deb.control.as_bytes().into());
        let entry = Entry { modified: newest, package: Some(package.to_owned()), ..Entry::new(status, 0o644, 0) };
        self.merge(format!("var/lib/dpkg/status.d/{package}"), entry)
    }

    /// Directories may come from many packages, and the same link too; a file comes from one.
    fn merge(&mut self, path: String, entry: Entry) -> Result<(), LayerError> {
        match self.0.get_mut(&path) {
            None => {
                self.0.insert(path, entry);
            }
            Some(before) if before.content == entry.content && !matches!(entry.content, Content::File(_)) => {
                before.modified = before.modified.max(entry.modified);
                // Whichever came first: the stricter of the two, and root's.
                before.mode &= entry.mode;
                before.uid = before.uid.min(entry.uid);
                before.gid = before.gid.min(entry.gid);
            }
            Some(before) => {
                let mut packages = [before.package.clone(), entry.package].map(Option::unwrap_or_default);
                packages.sort();
                let [first, second] = packages;
                return Err(LayerError::Collision { path, first, second });
            }
        }
        Ok(())
    }

    /// Puts a directory here, whatever packages say about it.
    pub fn put_directory(&mut self, path: &str, access: Access) {
        self.put(path, Content::Directory, access);
    }

    /// Puts a file here, whatever packages say about it.
    pub fn put_file(&mut self, path: &str, content: &[u8], access: Access) {
        self.put(path, Content::File(content.into()), access);
    }

    /// Puts a symbolic link here, whatever packages say about it.
    pub fn put_link(&mut self, path: &str, target: &str) {
        self.put(path, Content::Link(target.to_owned()), Access { mode: 0o777, owner: 0 });
    }

    fn put(&mut self, path: &str, content: Content, access: Access) {
        self.0.insert(path.trim_matches('/').to_owned(), Entry::new(content, access.mode, access.owner));
    }

    /// The time of the newest entry, in seconds since 1970.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.values().map(|entry| entry.modified).max().unwrap_or(0)
    }

    /// The size of all files, in bytes.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        self.0
            .values()
            .map(|entry| if let Content::File(bytes) = &entry.content { bytes.len() as u64 } else { 0 })
            .sum()
    }

    /// The tar. Entries without a time of their own get `time`, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// When an entry is below one that is not a directory, or does not fit into a tar.
    pub fn to_tar(&self, time: u64) -> Result<Vec<u8>, LayerError> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, entry) in &self.with_parents()? {
            let (kind, size) = match &entry.content {
                Content::Directory => (tar::EntryType::Directory, 0),
                Content::File(bytes) => (tar::EntryType::Regular, bytes.len() as u64),
                Content::Link(_) => (tar::EntryType::Symlink, 0),
            };
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(size);
            header.set_mode(entry.mode);
            header.set_uid(entry.uid);
            header.set_gid(entry.gid);
            header.set_mtime(if entry.package.is_some() { entry.modified } else { time });
            let written = match &entry.content {
                Content::Directory => tar.append_data(&mut header, format!("{path}/"), io::empty()),
                Content::File(bytes) => tar.append_data(&mut header, path, &bytes[..]),
                Content::Link(target) => tar.append_link(&mut header, path, target),
            };
            written.map_err(|source| LayerError::Write { path: path.clone(), source })?;
        }
        tar.into_inner().map_err(|source| LayerError::Write { path: "the end".to_owned(), source })
    }

    /// All entries, and a plain directory for every parent that none of them is.
    fn with_parents(&self) -> Result<BTreeMap<String, Entry>, LayerError> {
        let mut entries = self.0.clone();
        for path in self.0.keys() {
            for (end, _) in path.match_indices('/') {
                let parent = path[..end].to_owned();
                let entry = entries.entry(parent.clone()).or_insert(Entry::new(Content::Directory, 0o755, 0));
                if entry.content != Content::Directory {
                    return Err(LayerError::Parent { path: path.clone(), parent });
                }
            }
        }
        Ok(entries)
    }
}

impl Entry {
    fn new(content: Content, mode: u32, owner: u32) -> Entry {
        Entry { content, mode, uid: owner.into(), gid: owner.into(), modified: 0, package: None }
    }
}

/// A path of a package, without the `./` that it begins with.
fn inside(path: &[u8], package: &str) -> Result<String, LayerError> {
    let refused = || LayerError::Path { path: String::from_utf8_lossy(path).into_owned(), package: package.to_owned() };
    let text = str::from_utf8(path).map_err(|_| refused())?;
    if text.starts_with('/') || text.contains('\0') || text.split('/').any(|name| name == "..") {
        return Err(refused());
    }
    Ok(text.split('/').filter(|name| !name.is_empty() && *name != ".").collect::<Vec<_>>().join("/"))
}

fn usr_merged(path: String, content: &Content) -> String {
    let top = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&top) && (path.len() > top.len() || *content == Content::Directory) {
        format!("usr/{path}")
    } else {
        path
    }
}

#[cfg(test)]
mod tests;
