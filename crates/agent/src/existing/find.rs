//! Where the data directory is in what was named, and whether anything stands in the way of copying it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pgherd_images::date::Timestamp;

use super::unfit::Unfit;
use crate::{
    data_directory::{directories, entries, version},
    error::Error,
    observe::read_if_there,
    refusal::Refusal,
};

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Error {
        Refusal::Unfit(unfit).into()
    }
}

/// Finds the data directory of `major` at `place` or up to two levels below it: the official image keeps it in `data` and, from 18 on, in
/// `18/docker`, Debian in `17/main`, and we in `17/data`.
///
/// # Errors
/// Where there is none or more than one, and where something cannot be read.
pub(crate) fn find(place: &Path, major: u16) -> Result<PathBuf, Error> {
    let mut found = Vec::new();
    look(place, 2, &mut found)?;
    let of_ours: Vec<&PathBuf> =
        found.iter().filter(|(_, version)| *version == major.to_string()).map(|it| &it.0).collect();
    match (of_ours.as_slice(), found.first()) {
        ([data], _) => Ok((*data).clone()),
        ([], None) => {
            let entries = entries(place)?.unwrap_or_default().into_iter().take(3).collect();
            Err(Unfit::NoData(entries).into())
        }
        ([], Some((_, version))) => Err(Unfit::OtherMajor { found: version.clone(), image: major }.into()),
        (several, _) => Err(Unfit::Several(several.iter().map(|data| below(place, data)).collect()).into()),
    }
}

/// The path of something below `place`, as a person would write it there.
pub(crate) fn below(place: &Path, path: &Path) -> String {
    match path.strip_prefix(place) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.to_string_lossy().into_owned(),
        _ => ".".to_owned(),
    }
}

/// Nothing is looked for inside a data directory: each database of it has a `PG_VERSION`, too.
fn look(place: &Path, levels: u32, found: &mut Vec<(PathBuf, String)>) -> io::Result<()> {
    match version(place)? {
        Some(version) => found.push((place.to_owned(), version)),
        None if levels > 0 => directories(place)?.iter().try_for_each(|below| look(below, levels - 1, found))?,
        None => {}
    }
    Ok(())
}

/// Refuses a data directory that cannot be copied, or not as a primary's.
///
/// <https://www.postgresql.org/docs/17/storage-file-layout.html>
///
/// # Errors
/// What stands in the way, and where something cannot be read.
pub(crate) fn refuse_unusable(data: &Path) -> Result<(), Error> {
    if let Some(text) = read_if_there(&data.join("postmaster.pid"))? {
        let line = |number: usize| text.lines().nth(number).unwrap_or("?").trim().to_owned();
        let started = line(2).parse().map_or_else(|_| line(2), |seconds| Timestamp(seconds).to_string());
        return Err(Unfit::InUse { pid: line(0), started }.into());
    }
    for signal in ["standby.signal", "recovery.signal", "recovery.conf"] {
        if data.join(signal).try_exists()? {
            return Err(Unfit::NoPrimary(format!("there is a {signal}")).into());
        }
    }
    for link in parts(data)?.into_iter().chain(below_parts(data, "base")?).chain(below_parts(data, "pg_tblspc")?) {
        let path = data.join(&link);
        if path.is_symlink() {
            return Err(Unfit::Elsewhere { link, target: fs::read_link(path)? }.into());
        }
    }
    Ok(())
}

/// What PostgreSQL keeps data in, and not what somebody has put beside it, such as a certificate.
fn parts(data: &Path) -> io::Result<Vec<String>> {
    let is_part = |name: &String| name.starts_with("pg_") || ["base", "global"].contains(&name.as_str());
    let names = entries(data)?.unwrap_or_default();
    Ok(names.into_iter().filter(|name| is_part(name) && !name.ends_with(".conf")).collect())
}

fn below_parts(data: &Path, part: &str) -> io::Result<Vec<String>> {
    let names = entries(&data.join(part))?.unwrap_or_default();
    Ok(names.into_iter().map(|name| format!("{part}/{name}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files, and what comes of it, with the directory's own path left out.
    fn with(files: &[(&str, &str)], look: impl FnOnce(&Path) -> Result<PathBuf, Error>) -> String {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        match look(root.path()) {
            Ok(path) => format!("found {}", below(root.path(), &path)),
            Err(error) => format!("{error}\nhint: {}", error.hint().unwrap_or_default()),
        }
    }

    #[test]
    fn a_data_directory_is_found_where_images_and_debian_have_it() {
        for place in [".", "data", "pgdata", "17/data", "17/main", "17/docker"] {
            let file = format!("{place}/PG_VERSION");
            let database = format!("{place}/base/1/PG_VERSION");
            let found = with(&[(&file, "17\n"), (&database, "17\n")], |root| find(root, 17));
            assert_eq!(found, format!("found {place}"));
        }
        let beside = [("15/main/PG_VERSION", "15\n"), ("17/main/PG_VERSION", "17\n")];
        assert_eq!(with(&beside, |root| find(root, 17)), "found 17/main");
        assert_eq!(with(&beside, |root| find(root, 15)), "found 15/main");
    }

    #[test]
    fn what_is_none_of_ours_is_told_with_the_way_out() {
        let cases: [&[(&str, &str)]; 6] = [
            &[],
            &[("thesis.tex", ""), ("a/b/c/PG_VERSION", "17\n")],
            &[("data/PG_VERSION", "15\n")],
            &[("data/PG_VERSION", "9.6\n")],
            &[("data/PG_VERSION", "14\n")],
            &[("data/PG_VERSION", "17\n"), ("17/main/PG_VERSION", "17\n")],
        ];
        let told = cases.map(|files| with(files, |root| find(root, 17)));
        insta::assert_snapshot!(told.join("\n---\n"), @r#"
        no data directory is there
        hint: name the directory that holds PG_VERSION, or one of the two above it
        ---
        no data directory is there, but "a", "thesis.tex"
        hint: name the directory that holds PG_VERSION, or one of the two above it
        ---
        the data are of PostgreSQL 15, and this image is PostgreSQL 17
        hint: "--version 15" makes a cluster of it
        ---
        the data are of PostgreSQL 9.6, and this image is PostgreSQL 17
        hint: nothing was touched; bring them over by pg_upgrade or by a dump and restore
        ---
        the data are of PostgreSQL 14, and this image is PostgreSQL 17
        hint: nothing was touched; bring them over by pg_upgrade or by a dump and restore
        ---
        there is more than one data directory: "17/main", "data"
        hint: name one of them
        "#);
    }

    #[test]
    fn what_is_in_use_or_not_whole_is_not_copied() {
        let usable = |root: &Path| refuse_unusable(root).map(|()| root.to_owned());
        assert_eq!(with(&[("PG_VERSION", "17\n"), ("pg_tblspc/16384/relation", "")], usable), "found .");
        let linked = |link: &'static str| {
            move |root: &Path| {
                fs::create_dir_all(root.join(link).parent().unwrap())?;
                std::os::unix::fs::symlink("/fast", root.join(link))?;
                usable(root)
            }
        };
        let told = [
            with(&[("postmaster.pid", "7\n/var/lib/postgresql/data\n1795671261\n5432\n")], usable),
            with(&[("postmaster.pid", "")], usable),
            with(&[("standby.signal", "")], usable),
            with(&[], linked("pg_wal")),
            with(&[], linked("pg_tblspc/16385")),
        ];
        insta::assert_snapshot!(told.join("\n---\n"), @r#"
        it is in use, or its server was killed: postmaster.pid names process 7, started at 2026-11-26T05:34:21Z
        hint: stop the server in good order, which removes that file; the data of one that runs cannot be copied, but a cluster "--from" the running server is made by a base backup
        ---
        it is in use, or its server was killed: postmaster.pid names process ?, started at ?
        hint: stop the server in good order, which removes that file; the data of one that runs cannot be copied, but a cluster "--from" the running server is made by a base backup
        ---
        it is no primary's: there is a standby.signal
        hint: promote it first, or bring the data of its primary; nothing of a recovery that has not ended is a cluster of its own
        ---
        "pg_wal" is a link to "/fast", outside of the data directory
        hint: move what it leads to inside; or start the server: a cluster "--from" the running server is made by a base backup
        ---
        "pg_tblspc/16385" is a link to "/fast", outside of the data directory
        hint: move what it leads to inside; or start the server: a cluster "--from" the running server is made by a base backup
        "#);
    }
}
