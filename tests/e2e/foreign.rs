//! Replicas around a PostgreSQL that is not ours: Debian's own, in somebody's container and on the host.

use std::thread;

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(
        around_a_strangers_container,
        3,
        "replicas of a server in somebody else's container, which is as it was afterwards"
    ),
    entry!(around_a_server_of_the_host, 3, "replicas of a server on the host, by a connection string"),
    entry!(not_followed, 1, "servers that cannot be followed are refused, and are as they were"),
    entry!(gone_in_mid_clone, 3, "the server that is followed goes away in the middle of a clone"),
];

const NAMES: [&str; 3] = ["army", "theirs", "their_net"];

/// Builds the image of the stranger, beside the transcript: what that says depends on what is there already.
fn scenario(name: &'static str, names: &[&'static str]) -> Scenario {
    let s = Scenario::new(name, names.iter().copied());
    let built = s.aside(&format!("cargo xtask images guest --version {}", s.major()));
    assert_eq!(built.code, Some(0), "{built}");
    s
}

/// What its owner would type, with `settings` for its configuration file.
fn run_theirs(s: &mut Scenario, docker: &str, settings: &str) {
    let data = "/var/lib/postgresql/data";
    s.run(&format!(
        "docker run --name theirs {docker} -d pgherd/guest:17 sh -c \"\
         [ -e {data}/PG_VERSION ] || \
         {{ initdb -N -D {data} -U postgres --auth-local trust --auth-host scram-sha-256 >/dev/null && \
         printf '%s\\n' {settings} >> {data}/postgresql.conf; }} && exec postgres -D {data}\""
    ));
    s.sql_until("theirs", "SELECT pg_is_in_recovery()", "f", PATIENCE);
}

/// All that somebody could have changed: roles and who is a member of which, the lines of pg_hba.conf, settings, slots, databases.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    roles: String,
    hba: String,
    settings: String,
    slots: String,
    others: String,
}

impl State {
    fn of_theirs(s: &Scenario) -> State {
        let ask = |query: &str| s.sql_aside("theirs", query);
        State {
            roles: ask("SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^pg_'"),
            hba: ask("SELECT pg_read_file(current_setting('hba_file'))"),
            settings: ask("SELECT string_agg(name || ' = ' || setting, E'\\n' ORDER BY name) FROM pg_settings"),
            slots: ask("SELECT coalesce(string_agg(slot_name, ' ' ORDER BY slot_name), '') FROM pg_replication_slots"),
            others: ask("SELECT (SELECT count(*) FROM pg_database), (SELECT count(*) FROM pg_db_role_setting), \
                 (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_auth_members), \
                 (SELECT count(*) FROM pg_file_settings)"),
        }
    }
}

/// The role that the cluster has there.
fn role_of(s: &Scenario) -> String {
    format!("pgherd_{}", s.real("army").replace('-', "_"))
}

/// Makes two replicas, and looks at what that has changed.
fn follow(s: &mut Scenario, from: &str) -> State {
    let before = State::of_theirs(s);
    let listed = s.run(&format!("cargo xtask cluster up army {from} --dry-run"));
    s.claim("that has changed nothing", State::of_theirs(s) == before);
    s.run(&format!("cargo xtask cluster up army {from}"));
    s.sql("theirs", STREAMING);
    let after = State::of_theirs(s);
    let new_line = after.hba.strip_prefix(before.hba.trim_end()).unwrap_or_default().trim().to_owned();
    let role = role_of(s);
    let slots = ["army-1", "army-2"].map(|node| s.real(node).replace('-', "_"));
    s.show(&format!("{new_line}\n"));
    s.claim("a line is new that was listed", new_line.contains(&role) && listed.contains(&new_line));
    let is_listed = listed.contains(&format!("make role {role} on "));
    s.claim("a role is new that was listed", after.roles == format!("{role} {}", before.roles) && is_listed);
    let are_listed = slots.iter().all(|slot| listed.contains(&format!("it makes slot {slot} on ")));
    s.claim("two slots are new that were listed", after.slots == slots.join(" ") && are_listed);
    s.claim("all settings are as they were", after.settings == before.settings);
    let member =
        s.sql_aside("theirs", &format!("SELECT roleid::regrole FROM pg_auth_members WHERE member = '{role}'::regrole"));
    s.claim("the role is a member of pg_monitor", member == "pg_monitor");
    s.expect("theirs", "SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'", "0");
    before
}

fn around_a_strangers_container() {
    let mut s = scenario("around_a_strangers_container", &NAMES);
    s.run("docker network create their_net");
    let settings = "listen_addresses=\\'*\\' max_connections=150 cluster_name=\\'17/main\\' wal_level=logical";
    run_theirs(&mut s, "--network their_net", settings);
    s.sql("theirs", "CREATE TABLE t AS SELECT generate_series(1, 3) AS x");
    s.sql("theirs", "ALTER SYSTEM SET work_mem = '8MB'");
    s.sql("theirs", "SELECT pg_reload_conf()");
    s.sql_until("theirs", "SHOW work_mem", "8MB", PATIENCE);
    let before = follow(&mut s, "--from-container theirs");
    s.sql("theirs", "INSERT INTO t VALUES (4)");
    for node in ["army-1", "army-2"] {
        s.sql_until(node, "SELECT count(*) FROM t", "4", PATIENCE);
        s.sql_fails(node, "25006", "DELETE FROM t");
    }
    s.note("what a replica must not have less of is as there; other settings are those of nodes");
    s.expect("army-1", "SHOW max_connections", "150");
    s.expect("army-1", "SHOW work_mem", "4MB");
    s.run("cargo xtask cluster up army --from-container theirs");

    s.note("a replica follows another one; one goes, and its slot with it");
    s.run("cargo xtask cluster add army --upstream army-2");
    s.sql_until("army-3", "SELECT count(*) FROM t", "4", PATIENCE);
    s.run("cargo xtask cluster remove army-1");
    s.sql("theirs", STREAMING);
    s.sql("theirs", "SELECT slot_name FROM pg_replication_slots");

    s.note("while it is away, that is seen, and nobody takes over");
    s.pause("theirs");
    s.exits(3, "cargo xtask cluster status army");
    s.run("docker unpause theirs");
    s.run("cargo xtask cluster wait army --streaming");
    for verb in ["switchover army", "failover army --allow-data-loss", "promote army-2", "set army work_mem=64MB"] {
        s.exits(1, &format!("cargo xtask cluster {verb}"));
    }
    for verb in ["rotate passwords army", "up army --quorum 1", "export spec army", "env army"] {
        s.exits(1, &format!("cargo xtask cluster {verb}"));
    }
    s.run("cargo xtask cluster url army");

    s.run("cargo xtask cluster rm army --force");
    s.claim("the server is as it was", State::of_theirs(&s) == before);
    s.finish();
}

fn around_a_server_of_the_host() {
    let mut s = scenario("around_a_server_of_the_host", &NAMES[..2]);
    run_theirs(&mut s, "--network host -e PGPORT=25432", "listen_addresses=\\'*\\'");
    s.sql("theirs", "ALTER ROLE postgres PASSWORD 'geheim'");
    s.sql("theirs", "CREATE ROLE plain LOGIN REPLICATION CREATEROLE PASSWORD 'geheim'");
    s.exits(1, "cargo xtask cluster up army --from postgres://plain:geheim@localhost:25432/postgres");
    s.exits(1, "cargo xtask cluster up army --from postgres://postgres:wrong@localhost:25432/postgres");
    s.sql("theirs", "DROP ROLE plain");
    let before = follow(&mut s, "--from postgres://postgres:geheim@localhost:25432/postgres");
    s.sql("theirs", "CREATE TABLE t AS SELECT generate_series(1, 3) AS x");
    s.sql_until("army-2", "SELECT count(*) FROM t", "3", PATIENCE);
    s.run("cargo xtask cluster status army");

    s.note("without its superuser, what only he can take back is told");
    s.run("cargo xtask cluster rm army --force");
    s.expect("theirs", "SELECT count(*) FROM pg_replication_slots", "0");
    let role = role_of(&s);
    let dropped = s.sql_aside("theirs", &format!("DROP ROLE {role}"));
    s.claim("the role can be dropped as told", dropped == "DROP ROLE" && State::of_theirs(&s).roles == before.roles);
    s.finish();
}

fn not_followed() {
    let mut s = scenario("not_followed", &NAMES);
    s.run("docker network create their_net");
    s.exits(1, "cargo xtask cluster up army --from-container theirs");
    s.exits(1, "cargo xtask cluster up army --from nonsense");
    let poor = "listen_addresses=\\'localhost\\' wal_level=minimal max_wal_senders=0";
    run_theirs(&mut s, "--network their_net", poor);
    let refused = |s: &mut Scenario, arguments: &str| {
        let before = State::of_theirs(s);
        s.exits(1, format!("cargo xtask cluster up army --from-container theirs {arguments}").trim_end());
        let left = s.aside(&format!("docker volume ls -q --filter label=pgherd.cluster={}", s.real("army"))).output;
        s.claim("the server is as it was, and nothing was made", State::of_theirs(s) == before && left.is_empty());
    };
    refused(&mut s, "");
    let alter = |s: &mut Scenario, setting: &str| {
        s.sql("theirs", &format!("ALTER SYSTEM SET {setting}"));
        s.restart("theirs");
        s.sql_until("theirs", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    };
    alter(&mut s, "wal_level = replica");
    refused(&mut s, "");
    alter(&mut s, "listen_addresses = '*'");
    refused(&mut s, "");
    alter(&mut s, "max_wal_senders = 10");
    let other = if s.major() == 15 { 17 } else { 15 };
    let told = s.aside(&format!("cargo xtask cluster up army --from-container theirs --version {other}"));
    let is_told = told.output.contains(&format!("the server is PostgreSQL {}, not {other}", s.major()));
    s.claim("nor is one of another version than was asked for", told.code == Some(1) && is_told);
    refused(&mut s, "--replicas 6");
    let role = role_of(&s);
    let made = s.sql_aside("theirs", &format!("CREATE ROLE {role}"));
    s.claim("a role of that name is there already", made == "CREATE ROLE");
    refused(&mut s, "");
    let dropped = s.sql_aside("theirs", &format!("DROP ROLE {role}"));
    s.claim("and goes again", dropped == "DROP ROLE");
    let slot = format!("{}_1", s.real("army").replace('-', "_"));
    let made = s.sql_aside("theirs", &format!("SELECT slot_name FROM pg_create_physical_replication_slot('{slot}')"));
    s.claim("so is a slot", made == slot);
    refused(&mut s, "");
    let dropped = s.sql_aside("theirs", &format!("SELECT pg_drop_replication_slot('{slot}')"));
    s.claim("and goes again, too", dropped.is_empty());

    s.note("a line of its owner's comes first and lets nobody in: that shows when it is tried, and is undone");
    s.sql(
        "theirs",
        "COPY (SELECT 'host all,replication all all reject') TO PROGRAM 'cat >> /var/lib/postgresql/data/pg_hba.conf'",
    );
    refused(&mut s, "");
    s.sql("theirs", "COPY (SELECT 'hosts all all all trust') TO PROGRAM 'cat >> /var/lib/postgresql/data/pg_hba.conf'");
    let told = s.aside("cargo xtask cluster up army --from-container theirs");
    // The number of the line is another one in each version.
    let is_told = told.output.contains("could not read its pg_hba.conf again: line ");
    s.claim("a line that makes no sense is told before anything is done", told.code == Some(1) && is_told);

    s.note("a node of ours is nobody else's server, and a cluster with a primary follows none");
    s.run("cargo xtask cluster up army --replicas 1");
    s.exits(1, "cargo xtask cluster up other --from-container army-1");
    s.exits(1, "cargo xtask cluster up army --from-container theirs");
    s.finish();
}

fn gone_in_mid_clone() {
    let mut s = scenario("gone_in_mid_clone", &NAMES);
    s.run("docker network create their_net");
    run_theirs(&mut s, "--network their_net", "listen_addresses=\\'*\\'");
    s.sql("theirs", "CREATE TABLE ballast (x text)");
    s.sql("theirs", "ALTER TABLE ballast ALTER x SET STORAGE PLAIN");
    s.sql("theirs", "INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, 32000)");
    s.run(
        "docker run --rm --network container:theirs --cap-add NET_ADMIN pgherd/toolbox \
         tc qdisc add dev eth0 root tbf rate 80mbit burst 1mb latency 50ms",
    );
    let up = "cargo xtask cluster up army --from-container theirs --replicas 1";
    let failed = thread::scope(|scope| {
        let failed = scope.spawn(|| s.aside(&format!("{up} --timeout 30")));
        let half = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE backup_streamed > 50e6";
        let deadline = std::time::Instant::now() + PATIENCE;
        while s.sql_aside("theirs", half) != "1" && std::time::Instant::now() < deadline {
            thread::yield_now();
        }
        assert!(std::time::Instant::now() < deadline, "no clone was ever half done");
        let killed = s.aside("docker kill theirs");
        assert_eq!(killed.code, Some(0), "{killed}");
        failed.join().expect("it ends")
    });
    let last = failed.output.lines().find(|line| line.contains("timed out after 30 s, waiting for "));
    let told = last.is_some_and(|line| line.contains(&s.real("theirs")));
    s.claim("up ends in bounded time, and says for whom it has waited", failed.code == Some(1) && told);
    s.exits(3, "cargo xtask cluster status army");

    s.note("once it is back, the same command goes on");
    s.run("docker start theirs");
    s.sql_until("theirs", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    let again = s.aside(up);
    s.claim("it ends with a replica that streams", again.code == Some(0));
    s.sql_until("theirs", STREAMING_COUNT, "1", PATIENCE);
    s.expect("army-1", "SELECT count(*) FROM ballast", "32000");

    s.note("a cluster whose server is gone for good is removed, too, and says what may be left there");
    s.run("docker rm -f theirs");
    let removed = s.aside("cargo xtask cluster rm army --force");
    s.claim("it is told", removed.code == Some(0) && removed.output.contains("there may be left"));
    s.finish();
}
