//! The article's walk, typed by hand: its own commands, and for each the volume that carries the cluster's secrets.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[entry!(the_articles_walk, 4, "the article's commands, typed by hand")];

fn the_articles_walk() {
    let names = ["pg-primary", "pg-replica", "pg-replica2", "pg-replica3", "pg_stream", "pg_secrets"];
    let mut s = Scenario::new("the_articles_walk", names);
    s.run("docker network create --driver bridge pg_stream");
    s.run("docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets -d pgherd/primary:17");
    s.run(
        "docker run --name pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets -d \
         -e PRIMARY_NAME=pg-primary pgherd/replica:17",
    );
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);

    // A terminal, so that psql would start a pager if it had one.
    s.run(r#"docker exec -t pg-primary psql -U postgres -x -c "SELECT * FROM pg_stat_replication""#);

    s.note("a row that is written on the primary shows on the replica");
    s.sql("pg-primary", "CREATE TABLE walrus (line int PRIMARY KEY, words text)");
    s.sql("pg-primary", "INSERT INTO walrus VALUES (1, 'One and one and one is three')");
    s.sql_until("pg-replica", "SELECT words FROM walrus WHERE line = 1", "One and one and one is three", PATIENCE);

    s.note("the replica does not write");
    s.sql_fails("pg-replica", "25006", "INSERT INTO walrus VALUES (2, 'Come together')");

    s.note("how about another, and another?");
    for replica in ["pg-replica2", "pg-replica3"] {
        s.run(&format!(
            "docker run --name {replica} --network pg_stream -v pg_secrets:/run/pgherd/secrets -d \
             -e PRIMARY_NAME=pg-primary pgherd/replica:17"
        ));
    }
    s.sql_until("pg-primary", STREAMING_COUNT, "3", PATIENCE);
    s.sql_until("pg-replica3", "SELECT count(*) FROM walrus", "1", PATIENCE);
    s.sql("pg-primary", "SELECT slot_type, active, wal_status FROM pg_replication_slots");
    s.sql("pg-replica3", "SELECT pg_is_in_recovery(), received_tli, status FROM pg_stat_wal_receiver");
    let versions = ["pg-primary", "pg-replica", "pg-replica3"].map(|node| s.sql_aside(node, "SHOW server_version"));
    let major = format!("{}.", s.major());
    s.claim(
        "all nodes run the same minor version of this major one",
        versions.iter().all(|version| version.starts_with(&major) && *version == versions[0]),
    );
    s.finish();
}
