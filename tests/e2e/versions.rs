//! The other versions of PostgreSQL, and images that have another base than ours.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(postgresql_15, 2, "a cluster of PostgreSQL 15, from bookworm"),
    entry!(postgresql_18, 2, "a cluster of PostgreSQL 18, from forky"),
    entry!(on_an_official_image, 2, "the agent on an image that is like the official one"),
];

/// Builds images, beside the transcript: what that says depends on what is there already.
fn images(s: &Scenario, arguments: &str) {
    let built = s.aside(&format!("cargo xtask images {arguments}"));
    assert_eq!(built.code, Some(0), "{built}");
}

fn postgresql_15() {
    a_cluster_of("postgresql_15", 15);
}

fn postgresql_18() {
    a_cluster_of("postgresql_18", 18);
}

fn a_cluster_of(name: &'static str, major: u16) {
    let mut s = Scenario::new(name, ["herd"]).with_versions_as_typed();
    images(&s, &format!("--version {major}"));
    s.run(&format!("cargo xtask cluster up herd --version {major} --replicas 1"));
    s.sql("herd-1", "SELECT current_setting('server_version_num')::int / 10000");
    s.sql("herd-1", "SHOW data_checksums");
    s.sql("herd-1", "SELECT datname, pg_encoding_to_char(encoding), datlocprovider FROM pg_database ORDER BY 1");
    s.sql("herd-1", "CREATE TABLE t AS SELECT generate_series(1, 3) AS x");
    s.sql_until("herd-2", "SELECT count(*) FROM t", "3", PATIENCE);
    s.sql_fails("herd-2", "25006", "DELETE FROM t");

    s.note("in and out of an orderly stop, and of a kill");
    s.restart("herd-1");
    s.sql_until("herd-1", STREAMING_COUNT, "1", PATIENCE);
    s.kill("herd-2");
    s.sql("herd-1", "INSERT INTO t VALUES (4)");
    s.run("cargo xtask cluster start herd");
    s.sql("herd-1", STREAMING);
    s.sql_until("herd-2", "SELECT count(*) FROM t", "4", PATIENCE);
    s.run("cargo xtask cluster status herd");
    s.finish();
}

/// User, entry point and volumes of an image.
fn inspect(s: &mut Scenario, image: &str) -> String {
    let format = "{{.Config.User}} {{.Config.Entrypoint}} {{.Config.Volumes}}";
    s.run(&format!("docker inspect --format \"{format}\" {image}"))
}

fn on_an_official_image() {
    let mut s =
        Scenario::new("on_an_official_image", ["pg-primary", "pg-replica", "pg_stream", "pg_secrets", "pg_data"]);
    s.note("what the engine does not have is not pulled, and what has no PostgreSQL is no base");
    s.exits(1, "cargo xtask images --base postgres:nowhere");
    s.exits(1, "cargo xtask images --base pgherd/toolbox:latest");

    images(&s, &format!("stand-in --version {}", s.major()));
    images(&s, "--base pgherd/stand-in:17");
    s.note("the base has its own entry point, and a volume; ours on top of it has neither");
    inspect(&mut s, "pgherd/stand-in:17");
    for image in ["pgherd/postgres:17-official", "pgherd/primary:17-official", "pgherd/replica:17-official"] {
        inspect(&mut s, image);
    }
    let layers = ["pgherd/stand-in:17", "pgherd/primary:17-official"].map(|image| {
        let listed =
            s.aside(&format!("docker inspect --format \"{{{{range .RootFS.Layers}}}}{{{{.}}}} {{{{end}}}}\" {image}"));
        listed.output.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    s.claim("its layers are the lowest of ours", !layers[0].is_empty() && layers[1].starts_with(&layers[0]));

    s.run("docker network create pg_stream");
    s.run(
        "docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v pg_data:/var/lib/postgresql -d pgherd/primary:17-official",
    );
    s.note("this one has the volume that the official image declares, as if built by a Dockerfile, which cannot take it back");
    s.run(
        "docker run --name pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v /var/lib/postgresql/data -d -e PRIMARY_NAME=pg-primary pgherd/replica:17-official",
    );
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql("pg-primary", "CREATE TABLE walrus AS SELECT 1 AS line");
    s.sql_until("pg-replica", "SELECT count(*) FROM walrus", "1", PATIENCE);
    s.sql("pg-primary", "SHOW data_directory");

    s.restart("pg-primary");
    s.restart("pg-replica");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql("pg-primary", "INSERT INTO walrus VALUES (2)");
    s.sql_until("pg-replica", "SELECT count(*) FROM walrus", "2", PATIENCE);
    s.sql_fails("pg-replica", "25006", "DELETE FROM walrus");
    s.finish();
}
