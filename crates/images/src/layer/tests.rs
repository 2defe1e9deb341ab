use std::io::Read;

use proptest::prelude::*;
use tar::EntryType;

use super::{Access, Tree};
use crate::{deb::Deb, definition::Paths};

const TIME: u64 = 2_000;

/// A package of entries `(path, type, content or target)`. Paths go in as they are, which the tar crate would refuse.
fn package(name: &str, entries: &[(&str, EntryType, &str)]) -> (String, Deb) {
    let mut tar = tar::Builder::new(Vec::new());
    for (position, (path, kind, content)) in entries.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        let data = if kind.is_file() { content.as_bytes() } else { &[] };
        if !kind.is_file() {
            header.set_link_name_literal(content).unwrap();
        }
        header.set_entry_type(*kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_size(data.len() as u64);
        header.set_mtime(1_000 + position as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        tar.append(&header, data).unwrap();
    }
    (name.to_owned(), Deb { control: format!("Package: {name}\n"), data: tar.into_inner().unwrap() })
}

fn paths(left_out: &[&str], kept: &[&str]) -> Paths {
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    Paths { left_out: owned(left_out), kept: owned(kept) }
}

/// One line for each entry of a tar.
fn listing(tar: &[u8]) -> String {
    let mut lines = String::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let header = entry.header().clone();
        let target = entry.link_name().unwrap().map(|link| format!("-> {}", link.display())).unwrap_or_default();
        let (mode, owner, time) = (header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap());
        let path = entry.path().unwrap().display().to_string();
        lines.push_str(format!("{mode:04o} {owner:3} {time} {path} {target}{}", text.trim_end()).trim_end());
        lines.push('\n');
    }
    lines
}

fn layer(packages: &[(String, Deb)], paths: &Paths) -> String {
    match Tree::of_packages(packages, paths).and_then(|tree| tree.to_tar(TIME)) {
        Ok(tar) => listing(&tar),
        Err(error) => error.to_string(),
    }
}

#[test]
fn packages_become_sorted_files_of_a_merged_system() {
    let packages = [
        package(
            "b",
            &[
                ("./", EntryType::Directory, ""),
                ("./lib64/", EntryType::Directory, ""),
                ("./lib64/ld.so", EntryType::Symlink, "../lib/ld.so"),
                ("./usr/bin/two", EntryType::Regular, "2"),
                ("./usr/bin/too", EntryType::Link, "./usr/bin/two"),
                ("./usr/share/doc/b/copyright", EntryType::Regular, "free"),
                ("./usr/share/doc/b/changelog", EntryType::Regular, "long"),
            ],
        ),
        package("a", &[("./bin/one", EntryType::Regular, "1"), ("./lib/ld.so", EntryType::Regular, "ld")]),
    ];
    insta::assert_snapshot!(layer(&packages, &paths(&["/usr/share/doc"], &["/usr/share/doc/*/copyright"])), @r"
    0777   0 2000 bin -> usr/bin
    0777   0 2000 lib -> usr/lib
    0777   0 2000 lib64 -> usr/lib64
    0755   0 2000 usr/
    0755   0 2000 usr/bin/
    0644   0 1000 usr/bin/one 1
    0644   0 1004 usr/bin/too 2
    0644   0 1003 usr/bin/two 2
    0755   0 2000 usr/lib/
    0644   0 1001 usr/lib/ld.so ld
    0755   0 1001 usr/lib64/
    0644   0 1002 usr/lib64/ld.so -> ../lib/ld.so
    0755   0 2000 usr/share/
    0755   0 2000 usr/share/doc/
    0755   0 2000 usr/share/doc/b/
    0644   0 1005 usr/share/doc/b/copyright free
    0755   0 2000 var/
    0755   0 2000 var/lib/
    0755   0 2000 var/lib/dpkg/
    0755   0 2000 var/lib/dpkg/status.d/
    0644   0 1001 var/lib/dpkg/status.d/a Package: a
    0644   0 1006 var/lib/dpkg/status.d/b Package: b
    ");
}

#[test]
fn what_no_image_should_have_is_refused() {
    for (path, kind, content, expected) in [
        (
            "/etc/shadow",
            EntryType::Regular,
            "",
            "refusing \"/etc/shadow\" of package \"a\": it is not a path inside the image",
        ),
        (
            "./usr/../../etc",
            EntryType::Regular,
            "",
            "refusing \"./usr/../../etc\" of package \"a\": it is not a path inside the image",
        ),
        (
            "./dev/sda",
            EntryType::Block,
            "",
            "refusing \"dev/sda\" of package \"a\": it is neither file, directory nor link",
        ),
        (
            "./run/pipe",
            EntryType::Fifo,
            "",
            "refusing \"run/pipe\" of package \"a\": it is neither file, directory nor link",
        ),
        ("./usr/a", EntryType::Link, "./usr/b", "cannot link \"usr/a\" of package \"a\": it has no file \"usr/b\""),
    ] {
        assert_eq!(layer(&[package("a", &[(path, kind, content)])], &Paths::default()), expected);
    }
    let below_a_link = [("./usr/a", EntryType::Symlink, "/etc"), ("./usr/a/passwd", EntryType::Regular, "")];
    assert_eq!(
        layer(&[package("a", &below_a_link)], &Paths::default()),
        "cannot have \"usr/a/passwd\" below \"usr/a\", which is not a directory"
    );
}

#[test]
fn two_packages_cannot_have_one_file() {
    let file = [("./usr/a", EntryType::Regular, "1")];
    let packages = [package("y", &file), package("x", &file)];
    insta::assert_snapshot!(layer(&packages, &Paths::default()), @r#"cannot have "usr/a" of both "x" and "y""#);
}

#[test]
fn what_is_put_in_overrides_packages() {
    let packages = [package("a", &[("./tmp", EntryType::Directory, ""), ("./var/run", EntryType::Directory, "")])];
    let mut tree = Tree::of_packages(&packages, &paths(&["/var/lib"], &[])).unwrap();
    tree.put_directory("/tmp", Access { mode: 0o1777, owner: 0 });
    tree.put_file("/etc/motd", b"hello", Access { mode: 0o600, owner: 999 });
    tree.put_link("/var/run", "/run");
    insta::assert_snapshot!(listing(&tree.to_tar(TIME).unwrap()), @r"
    0755   0 2000 etc/
    0600 999 2000 etc/motd hello
    1777   0 2000 tmp/
    0755   0 2000 var/
    0755   0 2000 var/lib/
    0755   0 2000 var/lib/dpkg/
    0755   0 2000 var/lib/dpkg/status.d/
    0644   0 1001 var/lib/dpkg/status.d/a Package: a
    0777   0 2000 var/run -> /run
    ");
    assert_eq!(tree.unpacked_bytes(), 16);
}

#[test]
fn a_long_path_survives() {
    let long = format!("usr/{}file", "directory/".repeat(30));
    let mut tree = Tree::default();
    tree.put_file(&long, b"", Access { mode: 0o644, owner: 0 });
    assert!(listing(&tree.to_tar(TIME).unwrap()).contains(&long));
}

proptest! {
    #[test]
    fn the_order_of_packages_does_not_matter(
        names in prop::collection::btree_set("[a-e]", 1..5),
        directories in prop::collection::vec("[u-z]", 5),
        seed: prop::sample::Index,
    ) {
        let make = || names.iter().zip(&directories).map(|(name, directory)| {
            let (directory, file) = (format!("./{directory}/"), format!("./{directory}/{name}"));
            package(name, &[(&directory, EntryType::Directory, ""), (&file, EntryType::Regular, name)])
        });
        let tar = |packages: &[(String, Deb)]| Tree::of_packages(packages, &Paths::default()).unwrap().to_tar(TIME).unwrap();
        let mut shuffled: Vec<_> = make().collect();
        shuffled.rotate_left(seed.index(names.len()));
        shuffled.reverse();
        prop_assert_eq!(tar(&shuffled), tar(&make().collect::<Vec<_>>()));
    }
}
