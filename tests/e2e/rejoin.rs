//! How a node comes back that has data: it streams, rewinds, clones anew or refuses, and says why.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(rewound, 2, "an old primary has what nobody else has, and is rewound"),
    entry!(streams_again, 2, "an old primary has nothing of its own, and streams"),
    entry!(killed_without_divergence, 2, "an old primary is killed when its replica has everything, and is not cloned"),
    entry!(with_tablespaces, 2, "nodes with tablespaces have diverged"),
    entry!(cloned_anew, 2, "an old primary that cannot be rewound is cloned anew, and its data are kept"),
    entry!(promoted_by_hand, 2, "a replica that was promoted does not go back to its primary"),
];

const NAMES: [&str; 6] = ["pg-primary", "pg-replica", "pg_stream", "pg_secrets", "primary_data", "replica_data"];

const TO_THE_OTHER: &str = "docker run -d --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                            -v primary_data:/var/lib/postgresql -e PRIMARY_NAME=pg-replica pgherd/replica:17";

const REPLICA: &str = "docker run -d --name pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                       -v replica_data:/var/lib/postgresql -e PRIMARY_NAME=pg-primary pgherd/replica:17";

/// A primary and its replica, which have one row in common.
fn two_nodes(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s.run(
        "docker run -d --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v primary_data:/var/lib/postgresql pgherd/primary:17",
    );
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.run(REPLICA);
    s.sql("pg-primary", "CREATE TABLE t (x text)");
    s.sql("pg-primary", "INSERT INTO t VALUES ('common')");
    s.sql_until("pg-replica", "SELECT count(*) FROM t", "1", PATIENCE);
    s
}

fn promote_the_replica(s: &mut Scenario) {
    s.sql_until("pg-replica", "SELECT pg_is_in_recovery()", "t", PATIENCE);
    s.run("docker exec pg-replica pgherd-agent promote");
    s.sql("pg-replica", "INSERT INTO t VALUES ('new')");
}

/// The old primary cannot be one any more, and follows the new one.
fn rejoin(s: &mut Scenario, way: &str) {
    s.remove_container("pg-primary");
    s.run(TO_THE_OTHER);
    s.run_until("docker logs pg-primary", way, PATIENCE);
    s.sql_until("pg-replica", STREAMING_COUNT, "1", PATIENCE);
    s.sql_until("pg-primary", "SELECT string_agg(x, ', ' ORDER BY x) FROM t", "common, new", PATIENCE);
}

fn rewound() {
    let mut s = two_nodes("rewound");
    s.note("a write that no replica has");
    s.stop("pg-replica");
    s.sql("pg-primary", "INSERT INTO t VALUES ('lonely')");
    s.kill("pg-primary");
    s.run("docker start pg-replica");
    promote_the_replica(&mut s);

    s.note("whoever starts the old primary again gets no second one");
    s.run("docker start pg-primary");
    s.run_until("docker logs pg-primary", "refused: data directory is on timeline 1, and node", PATIENCE);
    s.run_until("docker inspect --format {{.State.Status}} pg-primary", "exited", PATIENCE);

    s.note("as a replica it comes back; the new primary's data win, and the lonely write is in the trash");
    rejoin(&mut s, "rejoin: rewinding: timeline 1 goes on to ");
    let trash = s.aside("docker exec pg-primary pgherd-agent trash").output;
    s.claim("the trash holds the WAL from the fork on", trash.starts_with("wal-1-") && trash.lines().count() == 1);
    let entry = trash.split_whitespace().next().unwrap_or_default();
    let directory = format!("/var/lib/postgresql/17/trash/{entry}");
    let read = format!("docker exec pg-primary sh -c 'pg_waldump --rmgr=Heap {directory}/0*'");
    s.claim("and in it the lonely insert", s.aside(&read).output.contains("INSERT"));
    let log = s.aside("docker logs pg-primary").output;
    s.claim(
        "its size is in the log",
        log.contains("kept ") && log.contains(&s.real(" bytes, in /var/lib/postgresql/17/trash/")),
    );
    s.claim("nothing was cloned", !log.contains("cloning"));

    s.note("restarted, it only streams");
    s.restart("pg-primary");
    s.run_until("docker logs pg-primary", "rejoin: streaming: the upstream is on our timeline 2", PATIENCE);
    s.sql_until("pg-replica", STREAMING_COUNT, "1", PATIENCE);
    s.finish();
}

fn streams_again() {
    let mut s = two_nodes("streams_again");
    s.note("stopped cleanly");
    s.stop("pg-primary");
    promote_the_replica(&mut s);
    rejoin(&mut s, "rejoin: streaming: timeline 1 up to ");
    let log = s.aside("docker logs pg-primary").output;
    s.claim("nothing was rewound or cloned", !log.contains("rewinding") && !log.contains("cloning"));
    s.finish();
}

fn killed_without_divergence() {
    const HAS_EVERYTHING: &str =
        "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_insert_lsn()";
    let mut s = two_nodes("killed_without_divergence");
    s.note("writes have stopped, and the replica has them all");
    s.sql_until("pg-primary", HAS_EVERYTHING, "1", PATIENCE);
    s.kill("pg-primary");
    promote_the_replica(&mut s);
    s.note("whatever PostgreSQL still had to say between the two may be undone, and nothing is copied");
    rejoin(&mut s, "rejoin: ");
    let log = s.aside("docker logs pg-primary").output;
    let way = ["rejoin: streaming: ", "rejoin: rewinding: "].into_iter().any(|way| log.contains(way));
    s.claim("it streamed or was rewound, and nothing was cloned", way && !log.contains("cloning"));
    s.expect("pg-replica", "SELECT string_agg(x, ', ' ORDER BY x) FROM t", "common, new");
    s.finish();
}

fn with_tablespaces() {
    const ROWS: &str = "SELECT string_agg(x, ', ' ORDER BY x) FROM u";
    let mut s = two_nodes("with_tablespaces");
    s.note("a directory of its own on the primary; on its replica, a place in the data directory");
    s.run("docker run --rm -u 999 -v primary_data:/volume pgherd/toolbox mkdir /volume/fast");
    s.stop("pg-replica");
    s.run("docker rm pg-replica");
    s.run("docker volume rm replica_data");
    s.sql("pg-primary", "CREATE TABLESPACE fast LOCATION '/var/lib/postgresql/fast'");
    s.sql("pg-primary", "CREATE TABLE u (x text) TABLESPACE fast");
    s.sql("pg-primary", "INSERT INTO u VALUES ('common')");
    s.run(REPLICA);
    s.sql_until("pg-replica", ROWS, "common", PATIENCE);
    s.stop("pg-replica");
    s.sql("pg-primary", "INSERT INTO u VALUES ('lonely')");
    s.kill("pg-primary");
    s.run("docker start pg-replica");
    promote_the_replica(&mut s);
    s.sql("pg-replica", "INSERT INTO u VALUES ('new')");

    s.note("pg_rewind of 15 writes through the link; later ones refuse, because the one is no other");
    rejoin(&mut s, "rejoin: rewinding: timeline 1 goes on to ");
    s.sql_until("pg-primary", ROWS, "common, new", PATIENCE);
    is_rewound_or_told_why(&mut s, "pg-primary");

    s.note("and the other way round, where after a clone both have it in place");
    s.stop("pg-primary");
    s.sql("pg-replica", "INSERT INTO u VALUES ('lonely, too')");
    s.kill("pg-replica");
    s.run("docker start pg-primary");
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "t", PATIENCE);
    s.run("docker exec pg-primary pgherd-agent promote");
    s.sql("pg-primary", "INSERT INTO u VALUES ('newer')");
    s.run("docker start pg-replica");
    s.run_until("docker logs pg-replica", "rejoin: rewinding: timeline 2 goes on to ", PATIENCE);
    s.sql_until("pg-replica", ROWS, "common, new, newer", PATIENCE);
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    is_rewound_or_told_why(&mut s, "pg-replica");
    s.finish();
}

fn is_rewound_or_told_why(s: &mut Scenario, node: &str) {
    let log = s.aside(&format!("docker logs {node}")).output;
    let reason = log.lines().find(|line| line.contains("rejoin: re-cloning: "));
    let names_it = |reason: &str| reason.contains("an earlier rewind failed: ") && reason.contains("pg_tblspc/");
    s.claim("it was rewound, or cloned for a reason that names the tablespace", reason.is_none_or(names_it));
}

fn cloned_anew() {
    let mut s = two_nodes("cloned_anew");
    s.note("neither checksums nor hints");
    s.stop("pg-replica");
    s.sql("pg-primary", "ALTER SYSTEM SET wal_log_hints = off");
    s.stop("pg-primary");
    s.run(
        "docker run --rm -v primary_data:/var/lib/postgresql pgherd/postgres:17 \
         sh -c 'pg_checksums --disable --no-sync -D /var/lib/postgresql/17/data 2>/dev/null'",
    );
    s.run("docker start pg-primary");
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.sql("pg-primary", "INSERT INTO t VALUES ('lonely')");
    s.kill("pg-primary");
    s.run("docker start pg-replica");
    promote_the_replica(&mut s);

    rejoin(&mut s, "rejoin: re-cloning: diverged from timeline 1 after ");
    let trash = s.aside("docker exec pg-primary pgherd-agent trash").output;
    s.claim("the trash holds the old data directory", trash.starts_with("data-") && trash.lines().count() == 1);

    s.note("and gives it back");
    let entry = trash.split_whitespace().next().unwrap_or_default().to_owned();
    s.remove_container("pg-primary");
    let restore = format!(
        "docker run --rm -v primary_data:/var/lib/postgresql pgherd/postgres:17 pgherd-agent trash restore {entry}"
    );
    s.claim("the old data directory is back in place", s.aside(&restore).code == Some(0));
    let control =
        s.aside("docker run --rm -v primary_data:/var/lib/postgresql pgherd/postgres:17 pg_controldata").output;
    let says = |line: &str| control.lines().any(|found| found.split_whitespace().eq(line.split_whitespace()));
    s.claim("it is a primary's, as it was killed", says("Database cluster state: in production"));
    s.claim("on its own timeline", says("Latest checkpoint's TimeLineID: 1"));
    s.finish();
}

fn promoted_by_hand() {
    let mut s = two_nodes("promoted_by_hand");
    s.sql("pg-replica", "SELECT pg_promote()");
    s.sql("pg-replica", "CHECKPOINT");
    s.run("docker stop pg-replica");
    s.note("its primary is still there, on timeline 1");
    s.run("docker start pg-replica");
    s.run_until("docker logs pg-replica", "refused: data directory is on timeline 2 at ", PATIENCE);
    s.run_until("docker logs pg-replica", "and upstream \"pg-primary:5432\" is on timeline 1", PATIENCE);
    s.run_until("docker inspect --format {{.State.Status}} pg-replica", "exited", PATIENCE);
    s.finish();
}
