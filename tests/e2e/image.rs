//! What an image holds, and what it does not.

use e2e::{Entry, Scenario, entry};

pub(crate) const SCENARIOS: &[Entry] =
    &[entry!(what_an_image_holds, 0, "no package manager, no dynamic agent, bounded size")];

/// The bound of an image's size, unpacked.
const LARGEST_IMAGE_BYTES: u64 = 200_000_000;

/// The scripts that packages bring along, of one release of Debian or another.
const SCRIPTS_OF_PACKAGES: [&str; 7] = [
    "/usr/bin/bashbug",
    "/usr/bin/ldd",
    "/usr/bin/tzselect",
    "/usr/lib/postgresql/17/lib/pgxs/config/install-sh",
    "/usr/lib/postgresql/17/lib/pgxs/config/missing",
    "/usr/libexec/libselinux/selinux_compile_fcontexts",
    "/usr/share/libgcrypt20/clean-up-unmanaged-libraries",
];

fn what_an_image_holds() {
    let mut s = Scenario::new("what_an_image_holds", ["exhibit"]);
    s.note("three names share every layer, and have nothing but a role of their own");
    let tags = ["postgres", "primary", "replica"].map(|name| format!("pgherd/{name}:17"));
    let layers =
        tags.clone().map(|tag| s.aside(&format!("docker inspect --format {{{{.RootFS.Layers}}}} {tag}")).output);
    assert!(layers[0].contains("sha256:"), "{}", layers[0]);
    s.claim("the tags share their layers", layers.iter().all(|of_tag| *of_tag == layers[0]));
    for tag in &tags {
        s.run(&format!(
            "docker inspect --format \"{{{{.Config.User}}}} {{{{.Config.Entrypoint}}}} {{{{.Config.Volumes}}}}\" {tag}"
        ));
        let size = s.aside(&format!("docker inspect --format {{{{.Size}}}} {tag}")).output;
        let bytes: u64 = size.trim().parse().expect("a size");
        s.claim("it is smaller than 200 MB", bytes < LARGEST_IMAGE_BYTES);
    }

    s.run("docker create --name exhibit pgherd/postgres:17");
    let files = s.files("exhibit:/");
    let named = |names: &[&str]| {
        let paths = files.keys().filter(|path| names.contains(&path.rsplit('/').next().unwrap_or_default()));
        paths.cloned().collect::<Vec<_>>()
    };
    let tools = named(&["perl", "dpkg", "apt", "apt-get", "apk", "rpm"]);
    s.claim("there is neither perl nor a package manager", tools.is_empty());
    let server = named(&["postgres", "initdb", "pg_basebackup", "pg_rewind", "psql"]);
    s.claim("the server is complete", server.len() >= 5);
    let agent = files.iter().find(|(path, _)| path.ends_with("/pgherd-agent")).expect("the agent").1;
    s.claim("the agent needs no dynamic linker", is_static(agent));

    let of_packages = SCRIPTS_OF_PACKAGES.map(|path| s.real(path));
    let scripts = files.iter().filter(|(_, content)| content.starts_with(b"#!")).map(|(path, _)| path);
    let strange: Vec<&String> = scripts.filter(|path| !of_packages.contains(path)).collect();
    let none_is_strange = strange.is_empty();
    if !none_is_strange {
        eprintln!("scripts that no package is known for: {strange:?}");
    }
    s.claim("all scripts in it are of its packages", none_is_strange);
    s.finish();
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
