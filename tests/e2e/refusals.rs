//! What a node refuses, and that it touches nothing then.

use std::collections::BTreeMap;

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(what_is_missing, 1, "a node says what it lacks"),
    entry!(a_replica_waits_for_its_primary, 2, "a replica may start first"),
    entry!(another_clusters_data, 2, "a node does not take another cluster's data"),
    entry!(a_second_primary, 2, "no second primary under the same secrets"),
    entry!(data_of_someone_else, 2, "foreign files and other major versions stay untouched"),
    entry!(a_recovery_conf, 1, "replicas of PostgreSQL 11 and older are known, and stay untouched"),
    entry!(trust_is_opted_into, 2, "trust is asked for, and warned of"),
];

const NAMES: [&str; 9] = [
    "pg-primary",
    "pg-replica",
    "pg_stream",
    "pg_secrets",
    "pg_data",
    "pg-other",
    "other_secrets",
    "other_data",
    "no_secrets",
];

/// The volume that is refused, through a container that does not run.
const OTHER: &str = "pg-other:/var/lib/postgresql";

/// Every byte that was on the refused volume is still there.
fn assert_kept(s: &mut Scenario, before: &BTreeMap<String, Vec<u8>>) {
    let after = s.files(OTHER);
    assert!(before.values().any(|content| !content.is_empty()), "there was nothing to keep");
    let changed = before.iter().filter(|(path, content)| after.get(*path) != Some(content)).map(|(path, _)| path);
    s.claim("every byte of the refused volume is as it was", changed.count() == 0);
}

/// A primary with its data on a volume, reached by whoever is in its network and has its secrets.
fn with_a_primary(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s.run(
        "docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v pg_data:/var/lib/postgresql -d pgherd/primary:17",
    );
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s
}

fn what_is_missing() {
    let mut s = Scenario::new("what_is_missing", NAMES);
    s.note("an upstream");
    let unset = s.exits(1, "docker run --rm -v pg_secrets:/run/pgherd/secrets pgherd/replica:17");
    s.claim("the error names the variable", unset.contains("PRIMARY_NAME"));

    s.note("the secrets volume");
    for image in ["pgherd/primary:17", "-e PRIMARY_NAME=pg-primary pgherd/replica:17"] {
        let refused = s.exits(1, &format!("docker run --rm {image}"));
        s.claim("the error names the mount", refused.contains("/run/pgherd/secrets"));
    }

    s.note("the primary, which would fill the secrets volume");
    let waited = s.exits(
        1,
        "docker run --rm -v no_secrets:/run/pgherd/secrets -e PGHERD_UPSTREAM_WAIT_SECONDS=2 \
         -e PRIMARY_NAME=pg-primary pgherd/replica:17",
    );
    s.claim("the error says what it waited for", waited.contains("replication-password"));
    s.finish();
}

fn a_replica_waits_for_its_primary() {
    let mut s = Scenario::new("a_replica_waits_for_its_primary", NAMES);
    s.run("docker network create pg_stream");
    s.run(
        "docker run --name pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets -d \
         -e PRIMARY_NAME=pg-primary pgherd/replica:17",
    );
    s.run_until("docker logs pg-replica", "wait", PATIENCE);
    s.run("docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets -d pgherd/primary:17");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.finish();
}

fn another_clusters_data() {
    let mut s = with_a_primary("another_clusters_data");
    s.run(
        "docker run --name pg-other --network pg_stream -v other_secrets:/run/pgherd/secrets \
         -v other_data:/var/lib/postgresql -d pgherd/primary:17",
    );
    s.sql_until("pg-other", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.stop("pg-other");
    let before = s.files(OTHER);

    s.note("under another cluster's secrets it neither follows nor leads");
    for image in ["-e PRIMARY_NAME=pg-primary pgherd/replica:17", "pgherd/primary:17"] {
        s.exits(
            1,
            &format!(
                "docker run --rm --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                 -v other_data:/var/lib/postgresql {image}"
            ),
        );
    }
    assert_kept(&mut s, &before);

    s.note("with its own secrets it does not follow another cluster's primary");
    s.exits(
        1,
        "docker run --rm --network pg_stream -v other_secrets:/run/pgherd/secrets \
         -v other_data:/var/lib/postgresql -e PRIMARY_NAME=pg-primary -e PGHERD_UPSTREAM_WAIT_SECONDS=0 pgherd/replica:17",
    );
    assert_kept(&mut s, &before);
    s.finish();
}

fn a_second_primary() {
    let mut s = with_a_primary("a_second_primary");
    s.note("the first one's secrets and an empty disk: this would be another cluster of the same name");
    s.exits(
        1,
        "docker run --rm --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v other_data:/var/lib/postgresql pgherd/primary:17",
    );
    s.expect("pg-primary", "SELECT 'still here'", "still here");
    s.finish();
}

fn data_of_someone_else() {
    let mut s = with_a_primary("data_of_someone_else");
    s.note("files that are no data directory");
    s.run("docker create --name pg-other -v other_data:/var/lib/postgresql pgherd/primary:17");
    s.plant(OTHER, "17/data/thesis.tex", "\\chapter{One and one}\n");
    refused_untouched(&mut s);

    s.note("data of another major version, in the place of this one's and beside it");
    for place in ["17/data/PG_VERSION", "16/data/PG_VERSION"] {
        s.run("docker rm pg-other");
        s.run("docker volume rm other_data");
        s.run("docker create --name pg-other -v other_data:/var/lib/postgresql pgherd/primary:17");
        s.plant(OTHER, place, "16\n");
        refused_untouched(&mut s);
    }
    s.finish();
}

fn a_recovery_conf() {
    let mut s = with_a_primary("a_recovery_conf");
    for (whose, place) in [("in our place", "17/data"), ("in the official image's", "data")] {
        s.note(whose);
        s.run("docker create --name pg-other -v other_data:/var/lib/postgresql pgherd/replica:17");
        s.plant(OTHER, &format!("{place}/PG_VERSION"), "11\n");
        s.plant(OTHER, &format!("{place}/recovery.conf"), "standby_mode = 'on'\n");
        refused_untouched(&mut s);
        s.run("docker rm pg-other");
        s.run("docker volume rm other_data");
    }
    s.note("PostgreSQL of today would end at such a file, and leave the reason to its log");
    s.stop("pg-primary");
    s.plant("pg-primary:/var/lib/postgresql", "17/data/recovery.conf", "standby_mode = 'on'\n");
    s.exits(1, "docker start --attach pg-primary");
    s.finish();
}

/// Neither role takes what is on `other_data`.
fn refused_untouched(s: &mut Scenario) {
    let before = s.files(OTHER);
    for arguments in [
        "-v other_secrets:/run/pgherd/secrets -v other_data:/var/lib/postgresql pgherd/primary:17",
        "-v pg_secrets:/run/pgherd/secrets -v other_data:/var/lib/postgresql -e PRIMARY_NAME=pg-primary pgherd/replica:17",
    ] {
        s.exits(1, &format!("docker run --rm --network pg_stream {arguments}"));
    }
    assert_kept(s, &before);
}

fn trust_is_opted_into() {
    let mut s = Scenario::new("trust_is_opted_into", NAMES);
    s.run("docker network create pg_stream");
    s.run("docker run --name pg-primary --network pg_stream -e POSTGRES_HOST_AUTH_METHOD=trust -d pgherd/primary:17");
    s.run(
        "docker run --name pg-replica --network pg_stream -e POSTGRES_HOST_AUTH_METHOD=trust -d \
         -e PRIMARY_NAME=pg-primary pgherd/replica:17",
    );
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    for node in ["pg-primary", "pg-replica"] {
        s.run_until(&format!("docker logs {node}"), "WARNING", PATIENCE);
    }
    s.expect("pg-primary", "SELECT count(*) FROM pg_stat_ssl WHERE ssl", "0");
    s.note("even so, no superuser comes over the network");
    s.run(r#"docker run --rm --network pg_stream pgherd/postgres:17 psql "host=pg-primary user=app dbname=app" -Atc "SELECT 1""#);
    s.exits(
        2,
        r#"docker run --rm --network pg_stream pgherd/postgres:17 psql "host=pg-primary user=postgres" -c "SELECT 1""#,
    );
    s.finish();
}
