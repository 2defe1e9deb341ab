//! What people bring along from the official image: its variables, its directory of scripts, and settings after its name.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(like_the_official_image, 2, "a role, a database, scripts and settings, as the official image takes them"),
    entry!(a_script_fails, 1, "a script that fails leaves no server that lacks what it was to make"),
    entry!(the_superuser_by_password, 1, "POSTGRES_PASSWORD alone, and what contradicts it"),
];

const NAMES: [&str; 4] = ["pg-primary", "pg-replica", "pg_stream", "pg_secrets"];

const ON_NETWORK: &str = "--network pg_stream -v pg_secrets:/run/pgherd/secrets";

const SCRIPTS: &str = "docker cp tests/files/init/. pg-primary:/docker-entrypoint-initdb.d";

fn begin(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s
}

/// A question by somebody on the network.
fn from_outside(url: &str, query: &str) -> String {
    format!("docker run --rm --network pg_stream pgherd/postgres:17 psql -XAt {url} -c \"{query}\"")
}

fn like_the_official_image() {
    let mut s = begin("like_the_official_image");
    s.run(&format!(
        "docker create --name pg-primary {ON_NETWORK} -e POSTGRES_USER=clerk -e POSTGRES_PASSWORD=open-sesame -e POSTGRES_DB=shop \
         -e 'POSTGRES_INITDB_ARGS=--wal-segsize=32 --locale=C' pgherd/primary:17 -c shared_preload_libraries=pg_stat_statements -c work_mem=7MB"
    ));
    s.run(SCRIPTS);
    s.note("the last script waits for us, and as long as it runs there is no server to be seen");
    s.run("docker cp tests/files/init/README pg-primary:/tmp/wait");
    s.run("docker start pg-primary");
    s.run_until("docker logs pg-primary", "40-more.sh", PATIENCE);
    s.exits(1, "docker exec pg-primary pgherd-agent health");
    s.exits(2, &from_outside("postgresql://clerk:open-sesame@pg-primary/shop", "SELECT 'too early'"));
    s.run("docker cp tests/files/init/README pg-primary:/tmp/go");
    s.sql_until("pg-primary", "SELECT 'up'", "up", PATIENCE);
    let url = "postgresql://clerk:open-sesame@pg-primary/shop";
    s.run(&from_outside(url, "TABLE items"));
    s.run(&from_outside(url, "SELECT usesuper FROM pg_user WHERE usename = current_user"));
    s.run(&from_outside(
        url,
        "SELECT name, setting FROM pg_settings WHERE name IN ('work_mem', 'wal_segment_size') ORDER BY 1",
    ));

    s.note("a replica has it all, with the same role, and runs no script; and nor does a primary that has its data");
    s.run(&format!("docker create --name pg-replica {ON_NETWORK} -e PRIMARY_NAME=pg-primary pgherd/replica:17"));
    s.run("docker cp tests/files/init/. pg-replica:/docker-entrypoint-initdb.d");
    s.run("docker start pg-replica");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.run(&from_outside(
        "postgresql://clerk:open-sesame@pg-replica/shop",
        "SELECT count(*), pg_is_in_recovery() FROM items",
    ));
    s.restart("pg-primary");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.run(&from_outside(url, "SELECT count(*), current_setting('work_mem') FROM items"));
    s.finish();
}

fn a_script_fails() {
    let mut s = begin("a_script_fails");
    s.run(&format!("docker create --name pg-primary {ON_NETWORK} pgherd/primary:17"));
    s.run("docker cp tests/files/broken/50-typo.sql pg-primary:/docker-entrypoint-initdb.d/");
    s.exits(1, "docker start --attach pg-primary");

    s.note("mended, it begins anew; without any variable, what scripts make is the application's");
    s.run("docker cp tests/files/broken/mended.sql pg-primary:/docker-entrypoint-initdb.d/50-typo.sql");
    s.run("docker start pg-primary");
    s.sql_until("pg-primary", "SELECT 'up'", "up", PATIENCE);
    s.run("docker exec pg-primary psql -U app -c \"SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'\"");
    s.expect("pg-primary", "SELECT rolsuper FROM pg_roles WHERE rolname = 'app'", "f");
    s.finish();
}

fn the_superuser_by_password() {
    let mut s = begin("the_superuser_by_password");
    s.run(&format!("docker run -d --name pg-primary {ON_NETWORK} -e POSTGRES_PASSWORD=open-sesame pgherd/primary:17"));
    s.run(&format!("docker run -d --name pg-replica {ON_NETWORK} -e PRIMARY_NAME=pg-primary pgherd/replica:17"));
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    for node in ["pg-primary", "pg-replica"] {
        let url = |password: &str| format!("postgresql://postgres:{password}@{node}/postgres");
        s.run(&from_outside(&url("open-sesame"), "SELECT current_user, pg_is_in_recovery()"));
        s.exits(2, &format!("{} 2>/dev/null", from_outside(&url("sesame"), "SELECT 1")));
    }

    s.note("what contradicts itself is refused before anything is made");
    let refused = |arguments: &str| format!("docker run --rm {arguments}");
    s.exits(
        1,
        &refused("-v /run/pgherd/secrets -e POSTGRES_PASSWORD=a -e POSTGRES_PASSWORD_FILE=/b pgherd/primary:17"),
    );
    s.exits(1, &refused("-v /run/pgherd/secrets -e POSTGRES_INITDB_ARGS=--waldir=/wal pgherd/primary:17"));
    s.exits(1, &refused("pgherd/primary:17 -c port=5433"));
    s.exits(1, &refused("pgherd/primary:17 postgres -p 5433"));
    s.exits(2, &format!("{} 2>/dev/null", refused("pgherd/primary:17 no-such-command")));
    s.finish();
}
