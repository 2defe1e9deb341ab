//! Bad input: a clear error, the exit code that it deserves, and nothing half-made.

use e2e::{Entry, Scenario, entry};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(bad_arguments, 0, "wrong usage is refused with 2, and what is not there with 1"),
    entry!(a_taken_name, 0, "a stranger's container keeps its name"),
    entry!(no_engine, 0, "an engine that cannot be reached is named"),
    entry!(no_mirror, 0, "a mirror that cannot be reached is named"),
];

fn bad_arguments() {
    let mut s = Scenario::new("bad_arguments", ["taken"]);
    for line in [
        "cargo xtask cluster up Demo",
        "cargo xtask cluster up demo-1",
        "cargo xtask cluster up ''",
        "cargo xtask cluster up a123456789a123456789a123456789a123456789a",
        "cargo xtask cluster up taken --version 9",
        "cargo xtask cluster up taken --version seventeen",
        "cargo xtask cluster up taken --replicas 0",
        "cargo xtask cluster up taken --replicas 1000000",
        "cargo xtask cluster scale taken 0",
        "cargo xtask cluster psql taken",
        "cargo xtask cluster explode",
    ] {
        s.exits(2, line);
    }
    s.note("what is not there");
    for line in [
        "cargo xtask cluster status taken",
        "cargo xtask cluster url taken",
        "cargo xtask cluster stop taken",
        "cargo xtask cluster start taken",
        "cargo xtask cluster scale taken 3",
        "cargo xtask cluster rm taken --force",
        "cargo xtask cluster psql taken-1 -- -c 'SELECT 1'",
        "cargo xtask cluster logs taken-1",
    ] {
        s.exits(1, line);
    }
    let left = things_named(&s, "taken");
    s.claim("nothing is half-made", left.is_empty());
    s.finish();
}

fn a_taken_name() {
    let mut s = Scenario::new("a_taken_name", ["taken"]);
    s.note("someone has a container of his own that is called like the first node");
    s.run("docker create --name taken-1 pgherd/postgres:17");
    s.exits(1, "cargo xtask cluster up taken");
    s.run("docker inspect --format {{.State.Status}} taken-1");
    s.run("docker rm taken-1");
    let left = things_named(&s, "taken");
    s.claim("nothing is half-made", left.is_empty());
    s.finish();
}

fn no_engine() {
    let mut s = Scenario::new("no_engine", ["nowhere"]);
    for host in ["tcp://127.0.0.1:1", "unix:///nowhere.sock", "nonsense"] {
        s.exits(1, &format!("DOCKER_HOST={host} cargo xtask cluster up nowhere"));
    }
    s.finish();
}

fn no_mirror() {
    let mut s = Scenario::new("no_mirror", [""; 0]);
    let cache = tempfile::tempdir().expect("a directory");
    let line = "cargo xtask images --mirror http://127.0.0.1:1/debian --refresh --cache";
    let refused = s.aside(&format!("{line} {}", cache.path().display()));
    s.claim(
        "an unreachable mirror is refused with exit code 1, by its name",
        refused.code == Some(1)
            && refused.output.contains("http://127.0.0.1:1/debian")
            && !refused.output.contains("panicked"),
    );
    s.note("the images that were there are still there");
    s.run("docker image inspect --format {{.RepoTags}} pgherd/postgres:17");
    s.finish();
}

/// Containers, volumes and networks with this in their names.
fn things_named(s: &Scenario, name: &str) -> String {
    let lists = ["ps -a", "volume ls", "network ls"];
    lists.map(|list| s.aside(&format!("docker {list} -q --filter name={}", s.real(name))).output).concat()
}
