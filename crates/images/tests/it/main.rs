//! From a mirror to an image, and what is said where that fails: a real web server with a signed archive in miniature.

mod server;

use std::{error::Error, fs, io::Read, iter, path::Path};

use pgherd_images::{
    base::Base,
    cache::Cache,
    date::Timestamp,
    digest::Digest,
    fetch::{Fetcher, Progress},
    mirror,
    recipe::{Built, Recipe},
    release::{Architecture, PostgresMajor},
    release_file::Trust,
    signature::Keyring,
};
use server::Server;
use tempfile::TempDir;

const ARCHIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archive");
const RELEASE: &str = "/debian/dists/trixie/InRelease";
const SECURITY_RELEASE: &str = "/debian-security/dists/trixie-security/InRelease";
const HELLO: &str = "/debian/pool/hello_1.0-1_amd64.deb";

/// Before the end of what the archive of security updates says of itself.
const IN_TIME: Timestamp = Timestamp(1_795_300_000);

const DEFINITION: &str = r#"
    tags = [{ name = "hello:{major}" }, { name = "hello:night", env = { TIME = "night" } }]
    packages = { wanted = ["hello"], left_out = ["perl"] }
    paths = { left_out = ["/usr/share/man"] }
    users = [{ name = "greeter", id = 999, home = "/home", shell = "/usr/bin/hello" }]
    directories = [{ path = "/home", mode = 0o700, owner = 999 }]
    config = { user = "999:999", cmd = ["hello"], env = { LANG = "C", TIME = "day" }, ports = ["5432/tcp"], healthcheck = { cmd = ["hello", "?"], interval_seconds = 30, timeout_seconds = 10, start_period_seconds = 3600, start_interval_seconds = 5, retries = 3 } }
"#;

struct Silent;

impl Progress for Silent {
    fn begin(&self, _stage: &str, _bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
}

/// One attempt to build, of which a test changes what it is about.
struct Attempt<'a> {
    server: &'a Server,
    mirror: &'a str,
    trust: Trust,
    definition: &'a str,
}

impl<'a> Attempt<'a> {
    fn at(server: &'a Server) -> Self {
        Attempt { server, mirror: "/debian/", trust: trust(), definition: DEFINITION }
    }

    fn build(&self, cache: &TempDir) -> Result<Built, String> {
        self.try_build(cache).map_err(|error| {
            let causes = iter::successors(error.source(), |error: &&dyn Error| (*error).source());
            let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            // The server's port is another one every time.
            text.replace(&self.server.url(""), "http://mirror.example")
        })
    }

    fn try_build(&self, cache: &TempDir) -> Result<Built, Box<dyn Error>> {
        let cache = Cache::new(cache.path().to_owned());
        let fetcher = Fetcher::new(&cache, &Silent);
        let recipe = recipe(self.definition)?;
        let urls = mirror::candidates(&[self.server.url(self.mirror)], None, Path::new("/nonexistent"), &fetcher)?;
        let archives = mirror::find(&urls, recipe.codename(), &self.trust, &fetcher)?;
        let lock = recipe.lock(&archives, &fetcher)?;
        Ok(recipe.build(&lock, b"the agent", &fetcher)?)
    }

    /// What is said where it fails, and that nothing which is damaged has been kept.
    fn error(&self) -> String {
        let cache = TempDir::new().unwrap();
        let error = self.build(&cache).expect_err("it was built");
        for file in fs::read_dir(cache.path().join("sha256")).into_iter().flatten() {
            let path = file.unwrap().path();
            let digest = Digest::of(&fs::read(&path).unwrap());
            assert_eq!(path.file_name().unwrap().to_string_lossy(), digest.to_string());
        }
        error
    }
}

fn trust() -> Trust {
    let keys = Keyring::of_key(include_str!("../archive/key.asc")).unwrap();
    Trust { keys, now: IN_TIME, takes_expired: false }
}

fn recipe(definition: &str) -> Result<Recipe, Box<dyn Error>> {
    let directory = TempDir::new()?;
    fs::write(directory.path().join("hello.toml"), definition)?;
    Ok(Recipe::load(directory.path(), "hello", PostgresMajor::DEFAULT, Architecture::from_docker("amd64")?)?)
}

/// All text files of an image's layers, with what is in them.
fn files(built: &Built) -> String {
    let mut text = String::new();
    for entry in tar::Archive::new(&built.archive[..]).entries().unwrap() {
        let entry = entry.unwrap();
        if !entry.path().unwrap().ends_with("layer.tar") {
            continue;
        }
        for file in tar::Archive::new(entry).entries().unwrap() {
            let mut file = file.unwrap();
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            let path = file.path().unwrap().display().to_string();
            let first_line = content.lines().next().unwrap_or_default();
            if file.header().entry_type().is_file() {
                text.push_str(&format!("{path}: {first_line}\n"));
            }
        }
    }
    text
}

fn ids(built: &Built) -> Vec<Digest> {
    built.images.iter().map(|image| image.id()).collect()
}

#[test]
fn an_image_is_built_of_the_latest_packages_and_every_time_the_same() {
    let server = Server::of(ARCHIVE, []);
    let first = Attempt::at(&server).build(&TempDir::new().unwrap()).unwrap();
    let second = Attempt::at(&server).build(&TempDir::new().unwrap()).unwrap();
    assert_eq!(ids(&first), ids(&second));
    assert!(first.archive == second.archive);

    insta::assert_snapshot!(files(&first), @r"
    etc/group: greeter:x:999:
    etc/passwd: greeter:x:999:999:greeter:/home:/usr/bin/hello
    usr/bin/hello: hello
    usr/bin/hullo: hello
    usr/lib/libhello.so: mended
    usr/lib/old: old
    usr/share/doc/hello/copyright: licence
    usr/share/doc/libhello/copyright: licence
    var/lib/dpkg/status.d/hello: Package: hello
    var/lib/dpkg/status.d/libhello: Package: libhello
    ");
    let mut config: serde_json::Value = serde_json::from_slice(&first.images[1].config).unwrap();
    // It has the version of this crate in it.
    config["config"]["Labels"]["pgherd.inputs"] = "[INPUTS]".into();
    insta::assert_json_snapshot!(config, @r#"
    {
      "architecture": "amd64",
      "config": {
        "Cmd": [
          "hello"
        ],
        "Env": [
          "LANG=C",
          "TIME=night"
        ],
        "ExposedPorts": {
          "5432/tcp": {}
        },
        "Healthcheck": {
          "Interval": 30000000000,
          "Retries": 3,
          "StartInterval": 5000000000,
          "StartPeriod": 3600000000000,
          "Test": [
            "CMD",
            "hello",
            "?"
          ],
          "Timeout": 10000000000
        },
        "Labels": {
          "pgherd.inputs": "[INPUTS]",
          "pgherd.lock": "2cccded446d9a148e87a718adf2ce08b87f54d18da5c2bded1b95dff419a3b7e"
        },
        "StopSignal": "SIGTERM",
        "User": "999:999",
        "WorkingDir": "/"
      },
      "created": "2025-06-15T15:06:40Z",
      "history": [
        {
          "created": "2025-06-15T15:06:40Z",
          "created_by": "packages and files of images/hello.toml"
        }
      ],
      "os": "linux",
      "rootfs": {
        "diff_ids": [
          "sha256:94748b46574741fc93d4c2fdf7a5249b7afccca08268560586711c6e5ab5dfb4"
        ],
        "type": "layers"
      }
    }
    "#);
}

#[test]
fn an_agent_gets_a_layer_of_its_own() {
    let server = Server::of(ARCHIVE, []);
    let definition = format!("agent = true\n{DEFINITION}");
    let with = Attempt { definition: &definition, ..Attempt::at(&server) }.build(&TempDir::new().unwrap()).unwrap();
    let without = Attempt::at(&server).build(&TempDir::new().unwrap()).unwrap();
    assert_eq!(with.images[0].layers[..1], without.images[0].layers[..]);
    assert!(files(&with).contains("usr/local/bin/pgherd-agent: the agent"));
}

#[test]
fn a_base_keeps_its_layers_and_its_environment_and_nothing_else() {
    let env = ["PG_MAJOR=16", "PATH=/usr/bin:/usr/lib/postgresql/16/bin", "TIME=evening", "BASE=1"].map(str::to_owned);
    let created = Timestamp::parse_rfc3339("2026-08-01T00:00:00Z");
    let base_of = |layer: &[u8]| {
        Base::of_engine("postgres:16", &env, &[format!("sha256:{}", Digest::of(layer))], created).unwrap()
    };
    let base = base_of(b"a layer");

    let definition = DEFINITION.replace("packages = { wanted = [\"hello\"], left_out = [\"perl\"] }", "agent = true");
    let below = "packages = { wanted = ['hello'] }\nconfig = { entrypoint = ['setup'], volumes = ['/home'] }";
    let recipe = || {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("hello.toml"), format!("extends = 'below'\n{definition}")).unwrap();
        fs::write(directory.path().join("below.toml"), below).unwrap();
        Recipe::load(directory.path(), "hello", base.major, Architecture::from_docker("amd64").unwrap()).unwrap()
    };
    assert_eq!(recipe().lock_without_packages(), None);
    let on_base = recipe().on(base.clone());
    assert_eq!(on_base.tags().collect::<Vec<_>>(), ["hello:16-official", "hello:night-official"]);
    assert_ne!(on_base.inputs(b"the agent"), recipe().on(base_of(b"another")).inputs(b"the agent"));

    let cache = Cache::new(TempDir::new().unwrap().path().to_owned());
    let lock = on_base.lock_without_packages().unwrap();
    let built = on_base.build(&lock, b"the agent", &Fetcher::new(&cache, &Silent)).unwrap();
    // The archive names the base's layer, and does not have it.
    assert_eq!(built.images[0].layers[0], base.layers[0]);
    assert_eq!(
        files(&built),
        "etc/group: greeter:x:999:\netc/passwd: greeter:x:999:999:greeter:/home:/usr/bin/hello\nusr/local/bin/pgherd-agent: the agent\n"
    );
    let config: serde_json::Value = serde_json::from_slice(&built.images[0].config).unwrap();
    assert_eq!(config["created"], "2026-08-01T00:00:00Z");
    assert_eq!(
        (&config["config"]["Entrypoint"], &config["config"]["Volumes"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(config["config"]["Healthcheck"]["Test"], serde_json::json!(["CMD", "hello", "?"]));
    let env = ["BASE=1", "LANG=C", "PATH=/usr/bin:/usr/lib/postgresql/16/bin", "PG_MAJOR=16", "TIME=day"];
    assert_eq!(config["config"]["Env"], serde_json::json!(env));
}

#[test]
fn what_the_cache_has_is_not_fetched_again_unless_it_is_damaged() {
    let server = Server::of(ARCHIVE, []);
    let cache = TempDir::new().unwrap();
    let fetched = || server.requests().iter().filter(|path| path.ends_with(".deb")).count();
    let first = Attempt::at(&server).build(&cache).unwrap();
    assert_eq!(fetched(), 2);
    Attempt::at(&server).build(&cache).unwrap();
    assert_eq!(fetched(), 2);

    for file in fs::read_dir(cache.path().join("sha256")).unwrap() {
        fs::write(file.unwrap().path(), "damaged").unwrap();
    }
    let mended = Attempt::at(&server).build(&cache).unwrap();
    assert_eq!((fetched(), ids(&mended)), (4, ids(&first)));
}

#[test]
fn a_mirror_that_hangs_up_is_asked_again() {
    let server = Server::stumbling(ARCHIVE, [], &[RELEASE, HELLO]);
    Attempt::at(&server).build(&TempDir::new().unwrap()).unwrap();
    let asked = |path| server.requests().iter().filter(|seen| *seen == path).count();
    assert_eq!([RELEASE, HELLO, SECURITY_RELEASE].map(asked), [2, 2, 1]);
}

#[test]
fn a_corrupted_package_is_refused() {
    let damaged = vec![b'x'; 904];
    insta::assert_snapshot!(Attempt::at(&Server::of(ARCHIVE, [(HELLO, Some(damaged))])).error(), @"refusing http://mirror.example/debian/pool/hello_1.0-1_amd64.deb: its SHA-256 is 8be7d05ab03c57e8bffa037fc7ad25da6c15d5e56590b76efcd68b786c1acbbf, expected 580c97cac75acbef8b84f5f2730b9eb1ed6374c74ea77de65d1e61ce0cf5045a");
    let longer = vec![b'x'; 10_000];
    insta::assert_snapshot!(Attempt::at(&Server::of(ARCHIVE, [(HELLO, Some(longer))])).error(), @"refusing http://mirror.example/debian/pool/hello_1.0-1_amd64.deb: it is longer than 904 bytes");
}

#[test]
fn a_package_that_the_mirror_has_lost_is_named() {
    insta::assert_snapshot!(Attempt::at(&Server::of(ARCHIVE, [(HELLO, None)])).error(), @"could not fetch http://mirror.example/debian/pool/hello_1.0-1_amd64.deb: there is no such file");
}

#[test]
fn a_package_that_no_archive_has_is_named() {
    let definition = DEFINITION.replace("left_out = [\"perl\"]", "");
    let server = Server::of(ARCHIVE, []);
    insta::assert_snapshot!(Attempt { definition: &definition, ..Attempt::at(&server) }.error(), @r#"cannot find package "perl", which hello asks for: the archives have none"#);
}

#[test]
fn a_changed_release_file_is_refused() {
    let changed =
        fs::read_to_string(format!("{ARCHIVE}{RELEASE}")).unwrap().replace("Suite: stable", "Suite: unstable");
    insta::assert_snapshot!(Attempt::at(&Server::of(ARCHIVE, [(RELEASE, Some(changed.into()))])).error(), @"refusing http://mirror.example/debian/dists/trixie/InRelease: bad signature by key 1bace476d8a06015: the text has been changed since");
    let page = "<html>Welcome to the hotel's network</html>";
    insta::assert_snapshot!(Attempt::at(&Server::of(ARCHIVE, [(RELEASE, Some(page.into()))])).error(), @"refusing http://mirror.example/debian/dists/trixie/InRelease: not a signed text: not enough bytes in buffer: cleartext header");
}

#[test]
fn a_release_file_by_an_unknown_key_is_refused() {
    let server = Server::of(ARCHIVE, []);
    let trust = Trust { keys: Keyring::debian().unwrap(), ..trust() };
    insta::assert_snapshot!(Attempt { trust, ..Attempt::at(&server) }.error(), @"refusing http://mirror.example/debian/dists/trixie/InRelease: no signature by a known key: signed by 1bace476d8a06015, known are b7c5d7d6350947f8, 254cf3b5aec0a8f0, f8d2585b8783d481, 225629df75b188bd, 9904613d4cce68c6, 762f67a0b2c39de4");
}

#[test]
fn a_release_file_of_another_suite_is_refused() {
    let security = fs::read(format!("{ARCHIVE}{SECURITY_RELEASE}")).unwrap();
    insta::assert_snapshot!(Attempt::at(&Server::of(ARCHIVE, [(RELEASE, Some(security))])).error(), @r#"refusing http://mirror.example/debian/dists/trixie/InRelease: Codename is "trixie-security", expected "trixie""#);
}

#[test]
fn a_release_file_that_has_expired_is_refused() {
    let server = Server::of(ARCHIVE, []);
    let later = Trust { now: Timestamp(1_800_000_000), ..trust() };
    insta::assert_snapshot!(Attempt { trust: later.clone(), ..Attempt::at(&server) }.error(), @r#"
    refusing http://mirror.example/debian-security/dists/trixie-security/InRelease: expired: valid until 2026-11-28T00:53:03Z, and it is 2027-01-15T08:00:00Z by the clock of this host
    hint: another mirror may have a newer one; "cargo xtask images --allow-expired" takes the packages of this one, without the updates since
    "#);
    // Who takes it nevertheless, takes what was signed.
    let nevertheless = Trust { takes_expired: true, ..later };
    let in_time = Attempt::at(&server).build(&TempDir::new().unwrap()).unwrap();
    let late = Attempt { trust: nevertheless.clone(), ..Attempt::at(&server) }.build(&TempDir::new().unwrap()).unwrap();
    assert_eq!(ids(&late), ids(&in_time));
    let by_others = Trust { keys: Keyring::debian().unwrap(), ..nevertheless };
    assert!(Attempt { trust: by_others, ..Attempt::at(&server) }.error().contains("no signature by a known key"));
}

#[test]
fn a_mirror_without_security_updates_wants_a_second_one() {
    insta::assert_snapshot!(Attempt::at(&Server::of(ARCHIVE, [(SECURITY_RELEASE, None)])).error(), @r"
    could not find trixie-security on any mirror
      could not fetch http://mirror.example/debian/dists/trixie-security/InRelease: there is no such file
      could not fetch http://mirror.example/debian-security/dists/trixie-security/InRelease: there is no such file
    hint: name a second mirror with --mirror URL or in PGHERD_MIRROR
    ");
}

#[test]
fn a_mirror_that_is_none_is_named_with_all_that_was_tried() {
    insta::assert_snapshot!(Attempt { mirror: "/ubuntu", ..Attempt::at(&Server::of(ARCHIVE, [])) }.error(), @r"
    could not find trixie on any mirror
      could not fetch http://mirror.example/ubuntu/dists/trixie/InRelease: there is no such file
    hint: name another mirror with --mirror URL or in PGHERD_MIRROR
    ");
}

#[test]
fn a_mirror_that_cannot_be_reached_is_named() {
    let cache = TempDir::new().unwrap();
    let cache = Cache::new(cache.path().to_owned());
    let fetcher = Fetcher::new(&cache, &Silent);
    // Nothing listens on port 1.
    let urls = ["http://127.0.0.1:1/debian".to_owned()];
    let error = mirror::find(&urls, "trixie", &trust(), &fetcher);
    insta::assert_snapshot!(error.unwrap_err(), @r"
    could not find trixie on any mirror
      http://127.0.0.1:1/debian/dists/trixie/InRelease: io: Connection refused (os error 111)
    hint: name another mirror with --mirror URL or in PGHERD_MIRROR
    ");
}

#[test]
fn mirrors_come_from_flags_then_from_the_variable_then_from_apt() {
    let root = TempDir::new().unwrap();
    let (etc, lists) = (root.path().join("etc/apt"), root.path().join("var/lib/apt/lists"));
    fs::create_dir_all(&etc).unwrap();
    fs::create_dir_all(&lists).unwrap();
    let server = Server::of(ARCHIVE, []);
    let asked = format!("deb {} trixie main\n", server.url("/debian"));
    let known = "deb http://mirror.example/debian bookworm main\ndeb http://vendor.example/deb stable main\n";
    fs::write(etc.join("sources.list"), format!("{known}{known}{asked}")).unwrap();
    fs::write(lists.join("mirror.example_debian_dists_bookworm_InRelease"), "Origin: Debian\n").unwrap();
    fs::write(lists.join("vendor.example_deb_dists_stable_Release"), "Origin: Vendor\n").unwrap();

    let cache = Cache::new(root.path().join("cache"));
    let fetcher = Fetcher::new(&cache, &Silent);
    let candidates = |flags: &[&str], variable| {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        mirror::candidates(&flags, variable, root.path(), &fetcher).unwrap()
    };
    assert_eq!(candidates(&["http://a.example/debian/"], Some("http://b.example")), ["http://a.example/debian"]);
    assert_eq!(candidates(&[], Some("http://b.example http://c.example")), ["http://b.example", "http://c.example"]);
    assert_eq!(candidates(&[], None), ["http://mirror.example/debian".to_owned(), server.url("/debian")]);

    let none = mirror::candidates(&[], Some(" "), Path::new("/nonexistent"), &fetcher);
    insta::assert_snapshot!(none.unwrap_err(), @r#"no Debian mirror is known: name one with --mirror URL or in PGHERD_MIRROR, as in http://mirror.example/debian, since the host's apt configuration has none whose Release says "Origin: Debian""#);
}
