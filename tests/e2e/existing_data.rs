//! Clusters that begin with data of another server's: what was there is there, on all nodes, and the original is as it was.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT, file_systems::HostDirectory};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(from_a_volume, 3, "a cluster begins with the volume of a server like the official image's"),
    entry!(from_a_directory, 3, "a cluster begins with a directory of the host, by a file"),
    entry!(unfit_data, 1, "data of which no cluster can be made are refused, and stay as they are"),
    entry!(a_copy_that_is_cut_off, 2, "a copy that was cut off is begun anew by the next up"),
];

/// Like the official image, but for its entry point: its user, its PGDATA, and `POSTGRES_USER=shop`.
const SERVER: &str = "docker run --user 999:999 --network none -v pg_data:/var/lib/postgresql/data";

/// What the server has beside rows: a role of ours by chance, a password, and settings of its own.
const LIFE: [&str; 7] = [
    "CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id",
    "CREATE ROLE clerk LOGIN PASSWORD 'secret'",
    "CREATE ROLE app NOLOGIN",
    "CREATE DATABASE warehouse",
    "ALTER SYSTEM SET work_mem = '32MB'",
    "ALTER SYSTEM SET archive_command = 'false'",
    "ALTER SYSTEM SET max_connections = 150",
];

fn images(s: &Scenario, arguments: &str) {
    let built = s.aside(&format!("cargo xtask images {arguments}"));
    assert_eq!(built.code, Some(0), "{built}");
}

/// The digest of every file, and owner, mode and time of change of everything, below what is mounted.
fn tree(s: &Scenario, mount: &str) -> String {
    const FILES: &str = "* */* */*/* */*/*/* */*/*/*/*";
    // Directories have no digest.
    let list =
        format!("cd /origin && ls -AlRn --time=ctime --time-style=full-iso && (sha256sum {FILES} 2>/dev/null || true)");
    let listed = s.aside(&format!("docker run --rm -v {mount}:/origin:ro pgherd/toolbox:latest sh -c '{list}'"));
    assert!(listed.code == Some(0) && listed.output.contains("PG_VERSION"), "{listed}");
    // How many blocks a file takes is settled when the kernel writes it.
    listed.output.lines().filter(|line| !line.starts_with("total ")).map(|line| format!("{line}\n")).collect()
}

/// A data directory on `pg_data`, made and lived in by a server that is not ours, and shut down in good order.
fn lived_in(s: &mut Scenario) {
    initdb(s);
    s.run(&format!("{SERVER} --name pg-other --stop-signal SIGINT -d --entrypoint postgres pgherd/stand-in:17"));
    s.run_until(UP, "serves", PATIENCE);
    for statement in LIFE {
        s.run(&format!("docker exec pg-other psql -U shop -d postgres -qc \"{statement}\""));
    }
    s.run("docker restart pg-other");
    s.run_until("docker exec pg-other psql -U shop -d postgres -Atc \"SHOW max_connections\"", "150", PATIENCE);
}

/// Whether the server that is not ours answers.
const UP: &str = "docker exec pg-other psql -U shop -d postgres -Atc \"SELECT 'serves'\"";

fn initdb(s: &mut Scenario) {
    let initdb = "-U shop -D /var/lib/postgresql/data --locale C.UTF-8 --encoding UTF8 --auth trust";
    let made = s.aside(&format!("{SERVER} --rm --entrypoint initdb pgherd/stand-in:17 {initdb}"));
    s.claim("initdb has made a data directory of superuser \"shop\"", made.code == Some(0));
}

fn has_all(s: &mut Scenario, cluster: &str) {
    let nodes = [1, 2, 3].map(|number| format!("{cluster}-{number}"));
    s.sql_until(&nodes[0], STREAMING_COUNT, "2", PATIENCE);
    for node in &nodes {
        s.expect(node, "SELECT count(*) FROM orders", "1000");
        s.expect(node, "SHOW work_mem", "32MB");
        s.expect(node, "SHOW max_connections", "150");
    }
    s.sql(&nodes[0], "INSERT INTO orders VALUES (1001)");
    for node in &nodes[1..] {
        s.sql_until(node, "SELECT max(id) FROM orders", "1001", PATIENCE);
    }
}

/// Whether an application comes in over the network by the password of the cluster's.
fn application_comes_in(s: &Scenario) -> bool {
    let url = s.aside("cargo xtask cluster url shop 2>/dev/null").output;
    let psql = "docker run --rm --network pgherd-shop pgherd/postgres:17 psql";
    let query = "SELECT current_user, current_database()";
    let asked = s.aside(&format!("{psql} {} -Atc \"{query}\"", url.trim()));
    asked.code == Some(0) && asked.output.trim() == "app|app"
}

fn from_a_volume() {
    let mut s = Scenario::new("from_a_volume", ["shop", "strange_data", "pg-other", "pg_data"]);
    images(&s, &format!("stand-in --version {}", s.major()));
    lived_in(&mut s);
    s.note("no copy is made of what a server runs on, nor of what one was killed on, which looks the same");
    s.exits(1, "cargo xtask cluster up shop --from-volume pg_data");
    s.kill("pg-other");
    s.exits(1, "cargo xtask cluster up shop --from-volume pg_data");
    s.run("docker start pg-other");
    s.run_until(UP, "serves", PATIENCE);
    s.stop("pg-other");

    let before = tree(&s, "pg_data");
    s.run("cargo xtask cluster up shop --from-volume pg_data --dry-run");
    s.run("cargo xtask cluster up shop --from-volume pg_data");
    has_all(&mut s, "shop");
    let databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datallowconn";
    s.expect("shop-1", databases, "app postgres template1 warehouse");
    s.expect("shop-1", "SELECT rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolname = 'clerk'", "t");
    let comes_in = application_comes_in(&s);
    s.claim("the application comes in by the cluster's password, though its role could not log in before", comes_in);
    s.run_until("docker logs shop-1", "settings that stay behind: archive_command", PATIENCE);
    s.run_until("docker logs shop-1", "role \"app\" was there", PATIENCE);
    s.expect("shop-1", "SHOW archive_command", "(disabled)");

    s.note("a cluster begins but once");
    s.run("cargo xtask cluster up shop --from-volume pg_data --dry-run");
    s.exits(1, "cargo xtask cluster up shop --from-volume strange_data");
    s.exits(1, "cargo xtask cluster up shop --from-dir /srv/strange");
    s.exits(2, "cargo xtask cluster up shop --from-dir /srv/strange --from-volume pg_data 2>/dev/null");
    s.run("cargo xtask cluster export spec shop");

    s.note("as any cluster");
    s.run("cargo xtask cluster switchover shop-2");
    s.sql_until("shop-2", STREAMING_COUNT, "2", PATIENCE);
    s.run("cargo xtask cluster status shop");
    let after = tree(&s, "pg_data");
    s.claim("the volume is as it was, byte for byte", before == after);
    s.finish();
}

fn from_a_directory() {
    let mut s = Scenario::new("from_a_directory", ["shop", "pg-other", "pg_data", "pg_directory"]);
    images(&s, &format!("stand-in --version {}", s.major()));
    lived_in(&mut s);
    s.note(
        "of a server that was killed; in Debian's place, with the configuration elsewhere, and nobody's postmaster.pid",
    );
    s.kill("pg-other");
    let directory = HostDirectory::new(&s, "pg_directory");
    s.run(
        "docker run --rm -v pg_data:/from:ro -v /tmp/pg_directory:/to pgherd/toolbox:latest sh -c \
         'mkdir /to/17 && cp -a /from /to/17/main && cd /to/17/main && \
         rm postmaster.pid postgresql.conf pg_hba.conf pg_ident.conf && chown -R 7:7 .'",
    );
    let before = tree(&s, "/tmp/pg_directory");
    s.run("cargo xtask cluster up shop --from-dir /tmp/pg_directory");
    has_all(&mut s, "shop");
    s.run_until("docker logs shop-1", "in production", PATIENCE);
    s.run("cargo xtask cluster status shop");
    let after = tree(&s, "/tmp/pg_directory");
    s.claim("the directory is as it was, byte for byte", before == after);
    drop(directory);
    s.finish();
}

/// What makes data unfit, by what is done to them in a shell.
const UNFIT: [(&str, &str); 7] = [
    ("of another version", "echo 15 > PG_VERSION"),
    (
        "of an architecture with another byte order",
        "printf \"\\0\\0\\6\\244\" | dd of=global/pg_control bs=1 seek=8 conv=notrunc status=none",
    ),
    ("whose control file is damaged", "printf x | dd of=global/pg_control bs=1 seek=100 conv=notrunc status=none"),
    ("of a replica", "touch standby.signal"),
    ("with a tablespace elsewhere", "ln -s /fast pg_tblspc/16384"),
    (
        "with a library that the image has not",
        "echo \"shared_preload_libraries = 'timescaledb'\" >> postgresql.auto.conf",
    ),
    ("with a setting that makes no sense", "echo \"work_mem = 'much'\" >> postgresql.auto.conf"),
];

fn unfit_data() {
    let mut s = Scenario::new("unfit_data", ["shop", "pg-other", "pg_data", "bad_data", "empty_data", "no_data"]);
    images(&s, &format!("stand-in --version {}", s.major()));
    s.exits(1, "cargo xtask cluster up shop --from-volume no_data");
    s.exits(1, "cargo xtask cluster up shop --from-dir /srv/nowhere");
    s.run("docker volume create empty_data");
    s.exits(1, "cargo xtask cluster up shop --from-volume empty_data");
    initdb(&mut s);
    for (what, change) in UNFIT {
        s.note(what);
        refused(&mut s, &format!("cp -a /from/. . && {change}"));
    }

    s.note("with a locale that the image has not");
    s.run(&format!("{SERVER} --name pg-other --stop-signal SIGINT -d --entrypoint postgres pgherd/stand-in:17"));
    s.run_until(UP, "serves", PATIENCE);
    let locale = "UPDATE pg_database SET datcollate = 'tlh_KX.utf8', datctype = 'tlh_KX.utf8'";
    s.run(&format!("docker exec pg-other psql -U shop -d postgres -qc \"{locale}\""));
    s.stop("pg-other");
    refused(&mut s, "cp -a /from/. .");
    let left = ["ps -a", "volume ls", "network ls"]
        .map(|list| s.aside(&format!("docker {list} -q --filter name={}", s.real("shop"))).output);
    s.claim("nothing was made", left == ["", "", ""]);
    s.finish();
}

/// A copy of `pg_data` that is changed is refused, and stays as it is.
fn refused(s: &mut Scenario, change: &str) {
    s.run("docker volume create bad_data");
    let changed = s.aside(&format!(
        "docker run --rm -v pg_data:/from:ro -v bad_data:/bad pgherd/toolbox:latest sh -euc 'cd /bad && {}'",
        change.replace('\'', "'\"'\"'")
    ));
    assert_eq!(changed.code, Some(0), "{changed}");
    let before = tree(s, "bad_data");
    s.exits(1, "cargo xtask cluster up shop --from-volume bad_data");
    let after = tree(s, "bad_data");
    s.claim("they are as they were", before == after);
    s.run("docker volume rm bad_data");
}

fn a_copy_that_is_cut_off() {
    let mut s = Scenario::new("a_copy_that_is_cut_off", ["shop", "pg-other", "pg_data"]);
    images(&s, &format!("stand-in --version {}", s.major()));
    lived_in(&mut s);
    s.stop("pg-other");
    s.note("so much that it takes a while");
    s.run("docker run --rm -v pg_data:/data pgherd/toolbox:latest dd if=/dev/zero of=/data/base/ballast bs=1M count=1024 status=none");
    s.run("docker run --rm -v pg_data:/data pgherd/toolbox:latest chown 999:999 /data/base/ballast");
    let before = tree(&s, "pg_data");
    s.note("more than would ever fit");
    s.exits(1, "cargo xtask cluster up shop --from-volume pg_data --volume-size 256MB");

    let job = s.spawn("cargo xtask cluster up shop --replicas 2 --from-volume pg_data");
    let helpers = "docker ps --no-trunc --filter label=pgherd.helper=shop-1";
    s.run_until(&format!("{helpers} --format \"{{{{.Command}}}}\""), "agent bring", PATIENCE);
    let helper = s.aside(&format!("{helpers} --quiet")).output.trim().to_owned();
    let in_the_middle = "until [ -e /var/lib/postgresql/17/partial/data/base/ballast ]; do :; done";
    let seen = s.aside(&format!("docker exec {helper} sh -c '{in_the_middle}'"));
    let killed = s.aside(&format!("docker kill {helper}"));
    s.claim("the helper is killed in the middle of it", [seen.code, killed.code] == [Some(0); 2]);
    s.join(job, 1);
    s.run("docker run --rm -v pgherd-shop-1:/volume pgherd/toolbox:latest ls /volume/17 /volume/17/partial");

    s.note("what the cluster begins with is not forgotten");
    s.run("cargo xtask cluster up shop --replicas 2 --dry-run");
    s.run("cargo xtask cluster up shop --replicas 2");
    has_all(&mut s, "shop");
    let after = tree(&s, "pg_data");
    s.claim("the volume is as it was, byte for byte", before == after);
    s.finish();
}
