//! What is secret stays so, and nobody is taken for somebody else.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(passwords_stay_secret, 3, "no password and no key shows anywhere, and none can be guessed"),
    entry!(somebody_else, 2, "an upstream that cannot show who it is is not followed"),
    entry!(an_exposed_key, 2, "a key that others can read is refused"),
    entry!(secrets_of_an_older_agent, 2, "a cluster without a certificate authority gets one"),
];

const NAMES: [&str; 8] = [
    "pg-primary",
    "pg-replica",
    "pg-other",
    "pg_stream",
    "pg_secrets",
    "other_secrets",
    "primary_data",
    "replica_data",
];

const RUN_PRIMARY: &str = "docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                           -v primary_data:/var/lib/postgresql -d pgherd/primary:17";

const RUN_REPLICA: &str = "docker run --name pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                           -v replica_data:/var/lib/postgresql -d -e PRIMARY_NAME=pg-primary pgherd/replica:17";

/// How those connections are protected by which WAL is sent.
const TLS_OF_REPLICATION: &str =
    "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE state = 'streaming'";

fn with_a_primary(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s.run(RUN_PRIMARY);
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s
}

/// The content of one file of a container.
pub(crate) fn file(s: &Scenario, path: &str) -> String {
    let content = s.files(path).into_values().find(|content| !content.is_empty()).expect("a file");
    String::from_utf8(content).expect("text").trim().to_owned()
}

/// The passwords of the cluster and, of its authority and of these nodes, a line of each private key that has nothing but key in it.
fn secrets(s: &Scenario, nodes: &[&str]) -> Vec<String> {
    let passwords = ["replication-password", "app-password"].map(|name| format!("/run/pgherd/secrets/{name}"));
    let mut secrets: Vec<String> = passwords.iter().map(|path| file(s, &format!("{}:{path}", nodes[0]))).collect();
    let authority = format!("{}:/run/pgherd/secrets/ca.key", nodes[0]);
    for path in nodes.iter().map(|node| format!("{node}:/run/pgherd/server.pem")).chain([authority]) {
        let pem = file(s, &path);
        let mut lines = pem.lines().skip_while(|line| *line != "-----BEGIN PRIVATE KEY-----");
        secrets.push(lines.nth(2).expect("the second line of a key").to_owned());
    }
    assert!(secrets.iter().all(|secret| secret.len() >= 32), "these are no secrets");
    secrets
}

/// None of these commands, which each show something that is no secret, shows one of the secrets.
fn keep(s: &mut Scenario, secrets: &[String], looks: &[(&str, &str)]) {
    for (look, shown) in looks {
        let output = s.aside(look).output;
        assert!(output.contains(&s.real(shown)), "{look} does not even show {shown}:\n{output}");
        let shows = secrets.iter().any(|secret| output.contains(secret));
        s.claim(&format!("no secret in: {look}"), !shows);
    }
}

/// Whether the engine's archive of an image, whose layers are not compressed in it, has one of the secrets in it.
fn image_shows(image: &str, secrets: &[String]) -> bool {
    let mut save = Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker");
    let mut archive = save.stdout.take().expect("its output");
    let longest = secrets.iter().map(String::len).max().expect("secrets");
    let (mut window, mut piece, mut read, mut found) = (Vec::new(), vec![0; 1 << 20], 0, false);
    loop {
        let length = archive.read(&mut piece).expect("an archive");
        if length == 0 {
            break;
        }
        read += length;
        window.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&window);
        found |= secrets.iter().any(|secret| text.contains(secret));
        window.drain(..window.len().saturating_sub(longest));
    }
    assert!(save.wait().expect("its end").success() && read > 10_000_000, "docker save {image} wrote {read} bytes");
    found
}

fn passwords_stay_secret() {
    let mut s = with_a_primary("passwords_stay_secret");
    s.note("whatever is said to PostgreSQL is logged");
    s.sql("pg-primary", "ALTER SYSTEM SET log_statement = 'all'");
    s.sql("pg-primary", "SELECT pg_reload_conf()");
    s.run(RUN_REPLICA);
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql("pg-primary", TLS_OF_REPLICATION);
    let first = secrets(&s, &["pg-primary", "pg-replica"]);
    s.claim("passwords have 32 characters", first[..2].iter().all(|password| password.len() == 32));

    s.note("all of them are replaced; neither the old nor the new ones show");
    s.run("docker exec pg-primary pgherd-agent rotate passwords");
    s.run("docker exec pg-primary pgherd-agent rotate authority");
    for node in ["pg-primary", "pg-replica"] {
        s.run(&format!("docker exec {node} pgherd-agent reload"));
    }
    s.run("docker exec pg-primary pgherd-agent rotate retire");
    let second = secrets(&s, &["pg-primary", "pg-replica"]);
    let differ = first.iter().zip(&second).all(|(first, second)| first != second);
    s.claim("all of them are others now", differ);
    let secrets = [first, second].concat();

    for (node, logged) in
        [("pg-primary", "statement: SET log_statement = none"), ("pg-replica", "started streaming WAL")]
    {
        // All that is known of every process of the node, to one that is in the midst of them.
        let processes = format!("docker run --rm --user 999:999 --pid container:{node} pgherd/toolbox sh -c");
        let psql = format!("docker exec {node} psql -U postgres -c");
        keep(
            &mut s,
            &secrets,
            &[
                (&format!("docker inspect {node}"), "PGDATA="),
                (&format!("docker logs {node}"), logged),
                (&format!("docker top {node} -eo pid,args"), "pgherd-agent run"),
                (&format!("{processes} \"cat /proc/[0-9]*/cmdline\""), "config_file="),
                (&format!("{processes} \"cat /proc/[0-9]*/environ\""), "PGDATA="),
                (&format!("{psql} \"SELECT * FROM pg_stat_activity\""), "pg_stat_activity"),
                (&format!("{psql} \"SELECT name, setting FROM pg_settings\""), "/run/pgherd/server.pem"),
                (&format!("docker exec {node} pgherd-agent plan"), "secrets: of system identifier"),
            ],
        );
    }
    let ask_replica = "docker exec pg-replica psql -U postgres -c";
    keep(
        &mut s,
        &secrets,
        &[
            ("docker inspect pg_secrets primary_data replica_data pg_stream", "pg_secrets"),
            ("docker inspect pgherd/postgres:17 pgherd/primary:17 pgherd/replica:17", "PGHERD_ROLE=replica"),
            ("docker history --no-trunc pgherd/primary:17", "IMAGE"),
            (&format!("{ask_replica} \"SHOW primary_conninfo\""), "passfile=/run/pgherd/replication.pgpass"),
            (&format!("{ask_replica} \"SELECT * FROM pg_stat_wal_receiver\""), "sslmode=verify-ca"),
        ],
    );
    let shows = image_shows(&s.real("pgherd/primary:17"), &secrets);
    s.claim("no secret in the image", !shows);
    s.note("nor in what a node says that fails: for want of a host, of a server, of a password, of space");
    // The cluster's secrets, but for a password that is another's.
    s.run(
        "docker run --rm --user 0 -v pg_secrets:/from:ro -v other_secrets:/to pgherd/toolbox \
         sh -c \"cp -p /from/* /to && mv /to/app-password /to/replication-password\"",
    );
    for (volume, upstream, said) in [
        ("pg_secrets", "nowhere", "gave up waiting for upstream \"nowhere:5432\""),
        ("pg_secrets", "pg-primary:5433", "Connection refused"),
        ("other_secrets", "pg-primary", "password authentication failed"),
        ("pg_secrets", "pg-primary --tmpfs /var/lib/postgresql:size=20m,uid=999", "error: "),
    ] {
        s.run(&format!(
            "docker run --name pg-other --network pg_stream -v {volume}:/run/pgherd/secrets \
             -e PGHERD_UPSTREAM_WAIT_SECONDS=2 -d -e PRIMARY_NAME={upstream} pgherd/replica:17"
        ));
        s.run_until("docker logs pg-other", said, PATIENCE);
        keep(&mut s, &secrets, &[("docker logs pg-other", said)]);
        s.remove_container("pg-other");
    }

    s.note("who has no password, or a wrong one, comes in as nobody");
    for user in ["app", "replicator", "postgres"] {
        s.exits(
            2,
            &format!(
                "docker run --rm --network pg_stream -e PGPASSWORD=guess pgherd/postgres:17 \
                 psql \"host=pg-primary user={user} dbname=app\" -c \"SELECT 1\""
            ),
        );
    }
    s.finish();
}

fn somebody_else() {
    let mut s = with_a_primary("somebody_else");
    s.note("a certificate of another authority: whoever answers there is not of this cluster");
    s.run("docker run --name pg-other -v other_secrets:/run/pgherd/secrets -d pgherd/primary:17");
    s.sql_until("pg-other", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.remove_container("pg-other");
    let refused = s.exits(
        1,
        "docker run --rm --network pg_stream -v other_secrets:/run/pgherd/secrets -e PGHERD_UPSTREAM_WAIT_SECONDS=2 \
         -e PRIMARY_NAME=pg-primary pgherd/replica:17",
    );
    s.claim("the certificate is named as the reason", refused.contains("certificate verify failed"));

    s.note("a name that the certificate is not for, where the name was given by an orchestrator");
    let spec = r#"{"node":"pg-replica","role":{"replica":{"upstream":"pg-primary"}},"upstream_wait_seconds":2}"#;
    let replica =
        format!("--network pg_stream -v pg_secrets:/run/pgherd/secrets -e 'PGHERD_SPEC={spec}' pgherd/postgres:17");
    let refused = s.exits(1, &format!("docker run --rm {replica}"));
    s.claim("both names are given", refused.contains("does not match host name"));

    s.note("the primary is told its name, and shows it");
    s.remove_container("pg-primary");
    s.run(&RUN_PRIMARY.replace("--name pg-primary", "--name pg-primary --hostname pg-primary"));
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.run(&format!("docker run --name pg-replica -d {replica}"));
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql("pg-primary", TLS_OF_REPLICATION);

    s.note("no WAL goes out unprotected, not even to one who knows the password");
    s.exits(
        2,
        "docker exec pg-replica psql \"host=pg-primary user=replicator passfile=/run/pgherd/replication.pgpass \
         replication=true sslmode=disable\" -c IDENTIFY_SYSTEM",
    );
    s.finish();
}

fn an_exposed_key() {
    let mut s = with_a_primary("an_exposed_key");
    let as_root = "docker run --rm --user 0 -v pg_secrets:/run/pgherd/secrets pgherd/toolbox";
    for (exposure, way_out) in [
        ("chmod 0644 /run/pgherd/secrets/ca.key", "chmod 0600 /run/pgherd/secrets/ca.key"),
        (
            "chown 0:0 /run/pgherd/secrets/replication-password",
            "chown 999:999 /run/pgherd/secrets/replication-password",
        ),
    ] {
        s.run(&format!("{as_root} {exposure}"));
        let refused = s.exits(
            1,
            "docker run --rm --network pg_stream -v pg_secrets:/run/pgherd/secrets -e PRIMARY_NAME=pg-primary \
             pgherd/replica:17",
        );
        s.claim("the way out is given", refused.contains(way_out.split_once(' ').expect("a command").1));
        s.run(&format!("{as_root} {way_out}"));
    }
    s.run(RUN_REPLICA);
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.finish();
}

fn secrets_of_an_older_agent() {
    let mut s = with_a_primary("secrets_of_an_older_agent");
    s.run(RUN_REPLICA);
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.run("docker stop pg-replica pg-primary");
    s.note("such a one made passwords and nothing else");
    s.run(
        "docker run --rm --user 0 -v pg_secrets:/run/pgherd/secrets pgherd/toolbox \
         rm /run/pgherd/secrets/ca.key /run/pgherd/secrets/ca.crt",
    );
    s.run("docker start pg-replica");
    s.run_until(
        "docker logs pg-replica",
        "no \"/run/pgherd/secrets/ca.key\" and no \"/run/pgherd/secrets/ca.crt\"",
        PATIENCE,
    );
    s.run("docker start pg-primary");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql("pg-primary", TLS_OF_REPLICATION);
    s.finish();
}
