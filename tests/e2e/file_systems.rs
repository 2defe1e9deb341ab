//! Whatever is mounted: a running node, or an error that names the path, its owner and its mode.

use std::{os::unix::fs::MetadataExt, process::Command};

use e2e::{Entry, Scenario, entry};
use tempfile::TempDir;

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(bind_mounts, 1, "directories of the host as volumes: whose they are, and what they hold"),
    entry!(read_only_mounts, 2, "what is mounted read-only, where it has to be written to and where not"),
    entry!(in_memory, 2, "nodes on tmpfs"),
    entry!(a_mount_at_pgdata, 2, "a mount at PGDATA: what is there streams, and nothing is made there"),
    entry!(permissions_of_pgdata, 1, "a data directory that PostgreSQL would not take"),
];

const NAMES: [&str; 8] =
    ["pg-primary", "pg-replica", "pg_stream", "pg_secrets", "primary_data", "replica_data", "pg_directory", "pg_data"];

const SECRETS: &str = "-v pg_secrets:/run/pgherd/secrets";

/// A node by hand, which stays in the foreground until it fails, or in the background.
fn node(name: &str, arguments: &str) -> String {
    let image = match name {
        "pg-primary" => "pgherd/primary:17",
        _ => "-e PRIMARY_NAME=pg-primary pgherd/replica:17",
    };
    format!("docker run --name {name} --network pg_stream {arguments} {image}")
}

fn begin(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s
}

fn is_up(s: &mut Scenario, node: &str) {
    s.sql_until(node, "SELECT 'up'", "up", PATIENCE);
}

/// A directory of the machine that the engine runs on, which here is ours. Containers give it to whom they like.
pub(crate) struct HostDirectory(TempDir);

impl HostDirectory {
    /// At `/tmp/pg_directory` in the transcript.
    pub(crate) fn new(s: &Scenario) -> HostDirectory {
        let name = s.real("pg_directory");
        HostDirectory(tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in("/tmp").expect("a directory"))
    }
}

impl Drop for HostDirectory {
    fn drop(&mut self) {
        let path = self.0.path().display();
        let Ok(temporary) = std::fs::metadata("/proc/self") else { return };
        let (mount, owner) = (format!("{path}:/volume"), format!("{}:{}", temporary.uid(), temporary.gid()));
        let give_back = ["run", "--rm", "-v", &mount, "pgherd/toolbox", "chown", "-R", &owner, "/volume"];
        if let Err(error) = Command::new("docker").args(give_back).output() {
            eprintln!("could not give {path} back: {error}");
        }
    }
}

fn bind_mounts() {
    const VOLUME: &str = "-v /tmp/pg_directory:/var/lib/postgresql";
    let mut s = begin("bind_mounts");
    let directory = HostDirectory::new(&s);
    let in_it = "docker run --rm -v /tmp/pg_directory:/volume pgherd/toolbox";
    s.note("one that belongs to root");
    s.run(&format!("{in_it} sh -c 'chown 0:0 /volume && chmod 0755 /volume && mkdir -m 0700 /volume/lost+found'"));
    s.exits(1, &node("pg-primary", &format!("--rm {SECRETS} {VOLUME}")));
    s.note("the way out, with a lost+found at its top that is still root's");
    s.run(&format!("{in_it} chown 999:999 /volume"));
    s.run(&node("pg-primary", &format!("-d {SECRETS} {VOLUME}")));
    is_up(&mut s, "pg-primary");
    s.restart("pg-primary");
    is_up(&mut s, "pg-primary");
    s.remove_container("pg-primary");

    s.note("its data became somebody else's");
    s.run(&format!("{in_it} chown -R 0:0 /volume/17/data"));
    s.exits(1, &node("pg-primary", &format!("--rm {SECRETS} {VOLUME}")));
    s.run(&format!("{in_it} chown -R 999:999 /volume/17/data"));
    s.note("a part of them");
    s.run(&format!("{in_it} chown 0:0 /volume/17/data/PG_VERSION"));
    s.exits(1, &node("pg-primary", &format!("--rm {SECRETS} {VOLUME}")));
    s.run(&format!("{in_it} chown 999:999 /volume/17/data/PG_VERSION"));
    s.note("and its control directory");
    s.run(&format!("{in_it} chown 0:0 /volume/17/control"));
    s.exits(1, &node("pg-primary", &format!("--rm {SECRETS} {VOLUME}")));
    s.run(&format!("{in_it} chown 999:999 /volume/17/control"));

    s.note("secrets that it cannot read");
    let secrets = "docker run --rm -v pg_secrets:/volume pgherd/toolbox";
    s.run(&format!("{secrets} chown 0:0 /volume"));
    s.exits(1, &node("pg-primary", &format!("--rm {SECRETS} {VOLUME}")));
    s.run(&format!("{secrets} chown 999:999 /volume"));
    s.run(&node("pg-primary", &format!("-d {SECRETS} {VOLUME}")));
    is_up(&mut s, "pg-primary");
    s.remove_container("pg-primary");
    drop(directory);
    s.finish();
}

fn read_only_mounts() {
    let mut s = begin("read_only_mounts");
    s.note("a volume for data");
    s.exits(1, &node("pg-primary", &format!("--rm {SECRETS} -v primary_data:/var/lib/postgresql:ro")));
    s.note("secrets that the primary has to make");
    s.exits(1, &node("pg-primary", "--rm -v pg_secrets:/run/pgherd/secrets:ro -v primary_data:/var/lib/postgresql"));
    s.run(&node("pg-primary", &format!("-d {SECRETS} -v primary_data:/var/lib/postgresql")));
    is_up(&mut s, "pg-primary");
    s.note("secrets that a replica only reads, and a primary that has made them");
    s.run(&node("pg-replica", "-d -v pg_secrets:/run/pgherd/secrets:ro -v replica_data:/var/lib/postgresql"));
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.remove_container("pg-primary");
    s.run(&node("pg-primary", "-d -v pg_secrets:/run/pgherd/secrets:ro -v primary_data:/var/lib/postgresql"));
    is_up(&mut s, "pg-primary");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.finish();
}

fn in_memory() {
    let mut s = begin("in_memory");
    s.exits(1, &node("pg-primary", &format!("--rm {SECRETS} --tmpfs /var/lib/postgresql")));
    for name in ["pg-primary", "pg-replica"] {
        s.run(&node(name, &format!("-d {SECRETS} --tmpfs /var/lib/postgresql:uid=999,gid=999")));
    }
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.note("gone with the container, a replica comes back as it came");
    s.restart("pg-replica");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.note("and a primary does not, because it would be another one");
    s.stop("pg-primary");
    s.exits(1, "docker start -a pg-primary");
    s.finish();
}

fn a_mount_at_pgdata() {
    const AT_PGDATA: &str = "-v replica_data:/var/lib/postgresql -v pg_data:/var/lib/postgresql/17/data";
    let mut s = begin("a_mount_at_pgdata");
    s.run(&node("pg-primary", &format!("-d {SECRETS} -v primary_data:/var/lib/postgresql")));
    is_up(&mut s, "pg-primary");
    s.note("on an empty volume the engine makes its mount point, as root");
    s.exits(1, &node("pg-replica", &format!("--rm {SECRETS} {AT_PGDATA}")));
    s.run("docker run --rm -v replica_data:/volume pgherd/toolbox chown -R 999:999 /volume/17");
    s.note("into an empty mount nothing that is finished can be renamed");
    s.exits(1, &node("pg-replica", &format!("--rm {SECRETS} {AT_PGDATA}")));

    s.note("one that holds a replica's data");
    s.run(&node("pg-replica", &format!("-d {SECRETS} -v replica_data:/var/lib/postgresql")));
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.stop("pg-replica");
    s.run("docker rm pg-replica");
    s.run(
        "docker run --rm -v replica_data:/from -v pg_data:/to pgherd/toolbox \
         sh -c 'cp -a /from/17/data/. /to && chown 999:999 /to && chmod 0700 /to && rm -r /from/17/data/*'",
    );
    s.run(&node("pg-replica", &format!("-d {SECRETS} {AT_PGDATA}")));
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.finish();
}

fn permissions_of_pgdata() {
    let mut s = begin("permissions_of_pgdata");
    let primary = format!("{SECRETS} -v primary_data:/var/lib/postgresql");
    s.run(&node("pg-primary", &format!("-d {primary}")));
    is_up(&mut s, "pg-primary");
    s.stop("pg-primary");
    for mode in ["0755", "0770"] {
        s.run(&format!("docker run --rm -v primary_data:/volume pgherd/toolbox chmod {mode} /volume/17/data"));
        s.exits(1, "docker start -a pg-primary");
    }
    s.note("its group may read");
    s.run("docker run --rm -v primary_data:/volume pgherd/toolbox chmod 0750 /volume/17/data");
    s.run("docker start pg-primary");
    is_up(&mut s, "pg-primary");
    s.finish();
}
