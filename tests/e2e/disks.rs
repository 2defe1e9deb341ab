//! Volumes of limited size: they are that size, they fill up alone, and they leave no loop device.

use e2e::{Entry, Scenario, entry};
use pgherd_orchestrator::{Engine, NodeName, disk};
use tokio::runtime::Runtime;

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(disks, 3, "volumes of limited size are that size, and leave no device"),
    entry!(a_full_disk, 2, "the disk of a replica is full, and has room again"),
];

/// Something that wants room, and a lot of it.
const WRITE: &str = "CREATE TABLE t AS SELECT generate_series(1, 100000) AS x";

/// The toolbox with the devices of the engine's host.
const BESIDE_THE_HOST: &str = "docker run --rm --device-cgroup-rule \"b 7:* rwm\" -v /dev:/dev";

fn on_the_engine<T>(ask: impl AsyncFnOnce(&Engine) -> T) -> T {
    Runtime::new().expect("a runtime").block_on(async { ask(&Engine::connect().await.expect("an engine")).await })
}

/// The size and the free space of a node's file system, in KiB.
fn size_and_free(s: &Scenario, node: &str) -> (u64, u64) {
    let df =
        format!("docker run --rm -v pgherd-{node}:/volume pgherd/toolbox:latest df -k --output=size,avail /volume");
    let outcome = s.aside(&df);
    let mut numbers = outcome.output.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.next().zip(numbers.next()).unwrap_or_else(|| panic!("no figures: {outcome}"))
}

/// The file of a node's disk, as the kernel knows it.
fn inode(s: &Scenario, node: &str) -> String {
    let stat =
        format!("docker run --rm -v pgherd-{}-disk:/disk pgherd/toolbox:latest stat -c %i /disk/disk", s.real(node));
    s.aside(&stat).output.trim().to_owned()
}

/// The files that loop devices are attached to.
fn attached_inodes(s: &Scenario) -> Vec<String> {
    let list = s.aside(&format!("{BESIDE_THE_HOST} pgherd/toolbox:latest losetup --noheadings --output BACK-INO"));
    assert_eq!(list.code, Some(0), "{list}");
    list.output.split_whitespace().map(str::to_owned).collect()
}

fn disks() {
    let mut s = Scenario::new("disks", ["tight"]);
    for size in ["512", "512mb", "255MB", "2TB"] {
        s.exits(2, &format!("cargo xtask cluster up tight --volume-size {size}"));
    }
    s.run("cargo xtask cluster up tight --replicas 1 --volume-size 512MB");
    for node in ["tight-1", "tight-2"] {
        let (size, free) = size_and_free(&s, node);
        let is_so = (450 << 10..512 << 10).contains(&size) && free > 300 << 10;
        s.claim(&format!("{node} has a file system of less than 512 MB, and more than 300 MB are free"), is_so);
    }
    s.note("the size stays what it is");
    s.run("cargo xtask cluster up tight --volume-size 512MB");
    s.exits(1, "cargo xtask cluster up tight --volume-size 1GB");

    s.note("the disk of the primary is full; a segment of write-ahead log is there, without room for which PostgreSQL would panic");
    s.sql("tight-1", "CREATE TABLE before AS SELECT 1 AS x");
    let primary: NodeName = s.real("tight-1").parse().expect("a node");
    on_the_engine(async |engine| disk::fill(engine, &primary).await).expect("a full disk");
    let free = ["tight-1", "tight-2"].map(|node| size_and_free(&s, node).1);
    s.claim("tight-1 has no room at all, and tight-2 has some", free[0] == 0 && free[1] > 0);
    assert!(on_the_engine(async |engine| disk::is_filled(engine, &primary).await).expect("an answer"));
    s.sql_fails("tight-1", "53100", "CREATE TABLE t AS SELECT 1 AS x");
    on_the_engine(async |engine| disk::release(engine, &primary).await).expect("room");
    assert!(!on_the_engine(async |engine| disk::is_filled(engine, &primary).await).expect("an answer"));
    s.sql("tight-1", WRITE);
    s.sql_until("tight-2", "SELECT count(*) FROM t", "100000", PATIENCE);

    s.note("stopped and started; removed and made again on its disk");
    s.run("cargo xtask cluster stop tight");
    s.run("cargo xtask cluster start tight");
    s.run("docker rm -f tight-2");
    s.run("cargo xtask cluster up tight");
    s.sql("tight-2", "SELECT count(*) FROM t");

    s.note("after a restart of the host, nothing is attached any more");
    s.run("cargo xtask cluster stop tight");
    detach(&mut s, "/dev/pgherd-tight-1 /dev/pgherd-tight-2");
    s.exits(3, "cargo xtask cluster status tight");
    s.run("cargo xtask cluster start tight");
    s.sql("tight-2", "SELECT count(*) FROM t");
    s.run("docker stop tight-2");
    detach(&mut s, "/dev/pgherd-tight-2");
    s.run("cargo xtask cluster chaos ls tight");
    s.run("cargo xtask cluster chaos heal tight");
    s.sql("tight-2", "SELECT count(*) FROM t");

    s.note("a node that is added has a disk of the same size, and takes it along when it goes");
    s.run("cargo xtask cluster scale tight 2");
    let sizes = ["tight-2", "tight-3"].map(|node| size_and_free(&s, node).0);
    s.claim("the new one's is as large", sizes[0] == sizes[1]);
    let inodes = ["tight-1", "tight-2", "tight-3"].map(|node| inode(&s, node));
    let attached = attached_inodes(&s);
    s.claim("all three are attached", inodes.iter().all(|inode| attached.contains(inode)));
    s.run("cargo xtask cluster scale tight 1");
    let attached = attached_inodes(&s);
    s.claim("the loop device of the one that is gone is gone", !attached.contains(&inodes[2]));
    s.run("cargo xtask cluster rm tight --force");
    let attached = attached_inodes(&s);
    s.claim("none is attached any more", !inodes.iter().any(|inode| attached.contains(inode)));
    for number in 1..=3 {
        let device = s.aside(&format!("{BESIDE_THE_HOST} pgherd/toolbox:latest ls /dev/pgherd-tight-{number}"));
        assert_eq!(device.code, Some(2), "{device}");
    }
    let left = ["ps -a", "volume ls", "network ls"]
        .map(|list| s.aside(&format!("docker {list} -q --filter name={}", s.real("tight"))).output);
    s.claim("nothing is left of the cluster", left == ["", "", ""]);
    s.finish();
}

fn detach(s: &mut Scenario, devices: &str) {
    s.run(&format!(
        "{BESIDE_THE_HOST} pgherd/toolbox:latest sh -c \
         'for disk in {devices}; do losetup -d $(readlink $disk); rm $disk; done'"
    ));
}

fn a_full_disk() {
    let mut s = Scenario::new("a_full_disk", ["brim"]);
    s.note("only who has a disk of his own can have a full one");
    s.run("cargo xtask cluster up brim --replicas 1");
    s.exits(1, "cargo xtask cluster chaos disk-full brim-2");
    s.run("cargo xtask cluster rm brim --force");

    s.run("cargo xtask cluster up brim --replicas 1 --volume-size 256MB");
    s.run("cargo xtask cluster chaos disk-full brim-2");
    s.run("cargo xtask cluster chaos ls brim");
    s.sql("brim-1", "CREATE TABLE ballast (x text)");
    s.sql("brim-1", "ALTER TABLE ballast ALTER x SET STORAGE PLAIN");
    s.sql("brim-1", "INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, 6000)");
    s.note("the replica cannot keep what it receives; the primary goes on, and keeps what it will want");
    s.run_until("docker logs brim-2", "No space left on device", PATIENCE);
    s.expect("brim-1", "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()", "0");
    s.expect("brim-1", "SELECT wal_status FROM pg_replication_slots", "reserved");
    let status = s.aside("cargo xtask cluster status brim");
    s.claim("status says that something is wrong", status.code == Some(3));

    s.run("cargo xtask cluster chaos heal brim");
    s.run("cargo xtask cluster chaos ls brim");
    s.sql_until("brim-2", "SELECT count(*) FROM ballast", "6000", PATIENCE);
    s.finish();
}
