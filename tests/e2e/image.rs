//! What an image holds, and what it does not.

use std::io::Read;

use e2e::Scenario;

/// The bound of an image's size, unpacked.
const LARGEST_IMAGE_BYTES: u64 = 200_000_000;

#[test]
fn what_an_image_holds() {
    let mut s = Scenario::new("what_an_image_holds", ["exhibit"]);
    s.note("three names share every layer, and have nothing but a role of their own");
    let tags = ["postgres", "primary", "replica"].map(|name| format!("pgherd/{name}:17"));
    let layers =
        tags.clone().map(|tag| s.aside(&format!("docker inspect --format {{{{.RootFS.Layers}}}} {tag}")).stdout);
    assert!(layers[0].contains("sha256:"), "{}", layers[0]);
    assert!(layers.iter().all(|of_tag| *of_tag == layers[0]), "the tags do not share their layers: {layers:?}");
    for tag in &tags {
        s.run(&format!(
            "docker inspect --format \"{{{{.Config.User}}}} {{{{.Config.Entrypoint}}}} {{{{.Config.Volumes}}}}\" {tag}"
        ));
        let size = s.aside(&format!("docker inspect --format {{{{.Size}}}} {tag}")).stdout;
        let bytes: u64 = size.trim().parse().expect("a size");
        println!("{tag}: {bytes} bytes");
        assert!(bytes < LARGEST_IMAGE_BYTES, "{tag} has {bytes} bytes");
    }

    s.run("docker create --name exhibit pgherd/postgres:17");
    let files = Files::of(&s, "exhibit");
    assert_eq!(
        files.named(&["perl", "dpkg", "apt", "apt-get", "aptitude", "apk", "rpm"]),
        [""; 0],
        "neither perl nor a package manager"
    );
    assert!(
        files.scripts.iter().all(|path| !path.starts_with("usr/local") && !path.contains("pgherd")),
        "{:?}",
        files.scripts
    );
    assert!(is_static(&files.agent), "the agent needs a dynamic linker");
    assert!(
        files.named(&["postgres", "initdb", "pg_basebackup", "pg_rewind", "psql"]).len() >= 5,
        "the server is not all there"
    );
    s.note(&format!("scripts in the image, all of them from its packages: {}", files.scripts.join(" ")));
    s.finish();
}

/// The files of a container.
#[derive(Default)]
struct Files {
    /// The paths of all.
    paths: Vec<String>,
    /// The paths of those that name an interpreter.
    scripts: Vec<String>,
    /// The agent itself.
    agent: Vec<u8>,
}

impl Files {
    fn of(s: &Scenario, container: &str) -> Files {
        let mut files = Files::default();
        let export = s.archive(&format!("{container}:/"));
        let mut archive = tar::Archive::new(&export[..]);
        for entry in archive.entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().trim_start_matches('/').to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a file");
            if content.starts_with(b"#!") {
                files.scripts.push(path.clone());
            }
            if path.ends_with("/pgherd-agent") {
                files.agent = content;
            }
            files.paths.push(path);
        }
        files.scripts.sort();
        files
    }

    /// Those whose last component is one of these.
    fn named(&self, names: &[&str]) -> Vec<&str> {
        let last = |path: &str| path.rsplit('/').next().map(str::to_owned).unwrap_or_default();
        self.paths.iter().filter(|path| names.contains(&last(path).as_str())).map(String::as_str).collect()
    }
}

/// Whether a 64-bit little-endian ELF file asks for no interpreter, elf(5).
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| {
        elf[at..at + length].iter().rev().fold(0_usize, |n, byte| n << 8 | usize::from(*byte))
    };
    assert!(elf.starts_with(b"\x7fELF\x02\x01"), "no 64-bit little-endian ELF file");
    let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!(count > 0, "no program headers");
    (0..count).all(|header| number(offset + header * size, 4) != PT_INTERP as usize)
}
