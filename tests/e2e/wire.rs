//! The probe over the network, as anybody would use it who is no part of pgherd: on a cluster of ours, and on a server that
//! is not.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use e2e::{Entry, Scenario, entry};
use pgherd_probe::{
    AskError, ConnectError, Conninfo, History, Lsn, Replication, TimelineId, connect,
    replication_protocol::{IdentifySystem, PhysicalSlot, ReadReplicationSlot, Show, TimelineHistory},
};
use tokio::runtime::Runtime;

use crate::{PATIENCE, STREAMING_COUNT, secrets::file};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(over_the_wire, 2, "the replication protocol and the probe's command, on a cluster of ours"),
    entry!(a_stranger, 1, "the same on a server that is not ours"),
];

const RESTART: &str = "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = ";

/// What a client needs that is on no node, in files of its own.
struct Client {
    runtime: Runtime,
    directory: tempfile::TempDir,
}

impl Client {
    fn new(passwords: &str, authority: &str) -> Client {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("pgpass"), passwords).expect("a password file");
        let only_ours = fs::Permissions::from_mode(0o600);
        fs::set_permissions(directory.path().join("pgpass"), only_ours).expect("a password file of ours alone");
        fs::write(directory.path().join("ca.crt"), authority).expect("a file of authorities");
        Client { runtime: Runtime::new().expect("a runtime"), directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    /// By the name that is in every node's certificate.
    fn conninfo(&self, s: &Scenario, node: &str, more: &str) -> String {
        let published = s.aside(&format!("docker port {node} 5432")).output;
        let (_, port) = published.trim().rsplit_once(':').unwrap_or_else(|| panic!("{published}"));
        let (passfile, authority) = (self.path("pgpass"), self.path("ca.crt"));
        // What comes last counts.
        format!(
            "host=localhost hostaddr=127.0.0.1 port={port} passfile={passfile} sslrootcert={authority} \
             connect_timeout=60 {more}"
        )
    }

    fn replication(&self, conninfo: &str) -> Result<Walsender<'_>, ConnectError> {
        let conninfo: Conninfo = conninfo.parse().expect("a connection string");
        let connection = self.runtime.block_on(Replication::connect(&conninfo))?;
        Ok(Walsender { runtime: &self.runtime, connection })
    }

    /// The errors of a connection for SQL and of one for replication, and their hints.
    fn refused(&self, conninfo: &str) -> [String; 2] {
        let text = |error: ConnectError| format!("{error} ({})", error.hint().unwrap_or_default());
        let parsed: Conninfo = conninfo.parse().expect("a connection string");
        let sql = self.runtime.block_on(connect(&parsed)).map(drop).expect_err("no connection for SQL");
        [text(sql), text(self.replication(conninfo).map(drop).expect_err("no connection for replication"))]
    }

    /// Runs the command on these servers.
    fn probe(&self, servers: &[String], arguments: &[&str]) -> Output {
        let program = env::var("PGHERD_PROBE").expect("cargo xtask e2e says where the command is");
        Command::new(program).args(servers).args(arguments).output().expect("the command runs")
    }
}

/// A connection for replication.
struct Walsender<'client> {
    runtime: &'client Runtime,
    connection: Replication,
}

impl Walsender<'_> {
    fn ask<C: pgherd_probe::replication_protocol::Command>(&mut self, command: &C) -> Result<C::Answer, AskError> {
        self.runtime.block_on(self.connection.ask(command))
    }

    fn slot(&mut self, name: &str) -> Option<PhysicalSlot> {
        self.ask(&ReadReplicationSlot(name.to_owned())).expect("an answer about a slot")
    }
}

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Whether all of it is what SQL says of the node.
fn compare(s: &mut Scenario, walsender: &mut Walsender<'_>, node: &str, kept: &str) {
    let before = lsn(&s.sql_aside(node, "SELECT pg_current_wal_flush_lsn()"));
    let identity = walsender.ask(&IdentifySystem).expect("an identity");
    let after = lsn(&s.sql_aside(node, "SELECT pg_current_wal_flush_lsn()"));
    let identifier = s.sql_aside(node, "SELECT system_identifier FROM pg_control_system()");
    s.claim("IDENTIFY_SYSTEM has the system identifier", identity.system_identifier.to_string() == identifier);
    s.claim("and an LSN between those before and after", (before..=after).contains(&identity.end));
    let timeline = s.sql_aside(node, "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int");
    s.claim("and the timeline", identity.timeline.to_string() == timeline);

    let before = lsn(&s.sql_aside(node, &format!("{RESTART}'{kept}'")));
    let slot = walsender.slot(kept).expect("a slot that is there");
    let after = lsn(&s.sql_aside(node, &format!("{RESTART}'{kept}'")));
    let restart = slot.restart_lsn.expect("a position");
    s.claim("READ_REPLICATION_SLOT has what the slot keeps", (before..=after).contains(&restart));
    s.claim("and its timeline", slot.restart_timeline == Some(identity.timeline));
    s.claim("and of a slot that is not there, nothing", walsender.slot("missing").is_none());
    let segment_size = walsender.ask(&Show("wal_segment_size".to_owned())).expect("a setting");
    s.claim("SHOW has the setting", segment_size == s.sql_aside(node, "SHOW wal_segment_size"));
}

fn history_of_the_first_timeline(s: &mut Scenario, walsender: &mut Walsender<'_>) {
    let refused = walsender.ask(&TimelineHistory(TimelineId(1)));
    let is_refused = matches!(&refused, Err(AskError::Refused(error)) if error.sqlstate == "58P01");
    s.claim("timeline 1 has no history, which is 58P01", is_refused);
    s.claim("and not the end of the session", walsender.ask(&IdentifySystem).is_ok());
}

fn over_the_wire() {
    let mut s = Scenario::new("over_the_wire", ["herd"]);
    s.run("cargo xtask cluster up herd --replicas 1 --publish");
    s.sql("herd-1", "CREATE ROLE monitor LOGIN PASSWORD 'walrus' IN ROLE app");
    s.sql_until("herd-2", "SELECT count(*) FROM pg_roles WHERE rolname = 'monitor'", "1", PATIENCE);
    let secret = |s: &Scenario, name: &str| file(s, &format!("herd-1:/run/pgherd/secrets/{name}"));
    let password = secret(&s, "replication-password");
    let passwords = format!("*:*:replication:replicator:{password}\n*:*:*:monitor:walrus\n");
    let client = Client::new(&passwords, &secret(&s, "ca.crt"));
    const SAFE: &str = "sslmode=verify-full channel_binding=require";
    let as_replicator = |s: &Scenario, node: &str, more: &str| {
        client.conninfo(s, node, &format!("user=replicator dbname=app {SAFE} {more}"))
    };

    s.note("as replicator, which may read no table: SCRAM bound to TLS, and the node's name in its certificate");
    let mut walsender = client.replication(&as_replicator(&s, "herd-1", "")).expect("a session");
    let session = "SELECT ssl, application_name FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE backend_type = 'walsender' AND application_name NOT LIKE 'herd%'";
    s.sql("herd-1", session);
    s.sql("herd-1", "SELECT left(rolpassword, 13) FROM pg_authid WHERE rolname = 'replicator'");
    let slot = pgherd_images::contract::slot_name(&s.real("herd-2"));
    compare(&mut s, &mut walsender, "herd-1", &slot);
    history_of_the_first_timeline(&mut s, &mut walsender);

    s.note("who is not who they should be gets nowhere");
    for (what, more, says) in [
        ("a wrong password", "password=wrong", "SQLSTATE 28P01"),
        ("a connection without TLS", "sslmode=disable channel_binding=prefer", "SQLSTATE 28000"),
        ("a name that is in no certificate", "host=elsewhere", "it is not for host \"elsewhere\""),
        ("authorities that are not there", "sslrootcert=/nowhere", "could not read the trusted authorities"),
    ] {
        let error = client.replication(&as_replicator(&s, "herd-1", more)).map(drop).expect_err("no session");
        s.claim(&format!("{what}: {says}"), error.to_string().contains(says));
    }
    let other = Client::new(&passwords, &another_authority());
    let error = other.replication(&other.conninfo(&s, "herd-1", &format!("user=replicator {SAFE}")));
    let error = error.map(drop).expect_err("no session").to_string();
    s.claim("another authority: the certificate is refused", error.contains("it comes from another authority"));
    let by_authority = as_replicator(&s, "herd-1", "host=elsewhere sslmode=verify-ca");
    s.claim("verify-ca takes any name", client.replication(&by_authority).is_ok());

    s.note("the command, as a role that may not see everything");
    let servers = |s: &Scenario| {
        ["herd-1", "herd-2"].map(|node| {
            let conninfo = client.conninfo(s, node, &format!("user=monitor dbname=app {SAFE}"));
            format!("{}={conninfo}", s.real(node))
        })
    };
    let output = client.probe(&servers(&s), &[]);
    s.claim("it is degraded, which is 3", output.status.code() == Some(3));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let cluster = s.real("herd");
    for line in errors.lines() {
        s.note(&format!("it says: {}", line.replace(&cluster, "herd")));
    }
    s.sql("herd-1", "GRANT pg_monitor TO monitor");
    s.sql_until("herd-2", "SELECT pg_has_role('monitor', 'pg_monitor', 'usage')", "t", PATIENCE);
    let output = client.probe(&servers(&s), &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    s.claim("with the grant it is healthy, which is 0, and has nothing to add", {
        output.status.code() == Some(0) && output.stderr.is_empty() && text.lines().count() == 3
    });
    let said = s.aside("cargo xtask cluster status herd").output;
    let first = |text: &str| text.lines().map(|line| line.split("  ").next().unwrap_or_default().to_owned()).collect();
    let (ours, theirs): (Vec<String>, Vec<String>) = (first(&text), first(&said));
    s.claim("and reads as cluster status does", ours == theirs);
    let json: serde_json::Value = serde_json::from_slice(&client.probe(&servers(&s), &["--format", "json"]).stdout)
        .expect("JSON alone on standard output");
    s.claim("as JSON, too", json["health"] == "healthy" && json["nodes"][1]["state"] == "streaming");

    s.note("a promotion");
    s.stop("herd-1");
    s.run("docker exec herd-2 pgherd-agent promote");
    s.sql("herd-2", "SELECT pg_create_physical_replication_slot('kept', true) IS NOT NULL");
    let mut walsender = client.replication(&as_replicator(&s, "herd-2", "")).expect("a session");
    compare(&mut s, &mut walsender, "herd-2", "kept");
    let history = walsender.ask(&TimelineHistory(TimelineId(2))).expect("a history");
    let file: History = s.sql_aside("herd-2", "SELECT pg_read_file('pg_wal/00000002.history')").parse().expect("one");
    s.claim("TIMELINE_HISTORY is what the file says", history == file && history.switch_from(TimelineId(1)).is_some());
    s.finish();
}

/// The certificate of somebody else's authority.
fn another_authority() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "pgherd certificate authority");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).expect("a certificate").pem()
}

fn a_stranger() {
    let mut s = Scenario::new("a_stranger", ["stranger"]);
    s.note("PostgreSQL as it is, without an agent, and without TLS");
    s.run(
        "docker run --name stranger -d -p 127.0.0.1::5432 --entrypoint sh pgherd/postgres:17 -c \
         \"initdb -D /tmp/data -A trust --no-sync; echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf; \
         echo 'host replication all all scram-sha-256' >> /tmp/data/pg_hba.conf; \
         exec postgres -D /tmp/data -c 'listen_addresses=*'\"",
    );
    s.sql_until("stranger", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.sql("stranger", "CREATE ROLE monitor LOGIN REPLICATION PASSWORD 'walrus' IN ROLE pg_monitor");
    s.sql("stranger", "CREATE ROLE somebody LOGIN PASSWORD 'walrus'");
    s.sql("stranger", "CREATE DATABASE closed");
    s.sql("stranger", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
    s.sql("stranger", "SELECT pg_create_physical_replication_slot('kept', true) IS NOT NULL");
    s.sql("stranger", "SELECT pg_create_physical_replication_slot('unused') IS NOT NULL");
    let client = Client::new("localhost:*:*:*:walrus\n", &another_authority());
    let conninfo = |s: &Scenario, more: &str| client.conninfo(s, "stranger", &format!("dbname=postgres {more}"));

    let mut walsender = client.replication(&conninfo(&s, "user=monitor")).expect("a session");
    compare(&mut s, &mut walsender, "stranger", "kept");
    let unused = walsender.slot("unused").expect("a slot that is there");
    s.claim("a slot that was never used keeps nothing", unused.restart_lsn.is_none());
    history_of_the_first_timeline(&mut s, &mut walsender);

    s.note("the command, of one server that has no name");
    let output = client.probe(&[conninfo(&s, "user=monitor")], &["--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone on standard output");
    s.claim("it is called by its host, and a running primary", {
        json["nodes"][0]["node"] == "localhost" && json["nodes"][0]["state"] == "running"
    });
    for finding in json["nodes"][0]["findings"].as_array().expect("a list") {
        s.note(&format!("it finds: {}", finding["kind"].as_str().unwrap_or_default()));
    }

    s.note("bad input, the same for SQL and for replication where it is the same");
    for (more, reasons) in [
        ("user=monitor password=wrong", ["SQLSTATE 28P01", "SQLSTATE 28P01"]),
        ("user=monitor sslmode=require", ["the server does not offer TLS", "the server does not offer TLS"]),
        ("user=monitor channel_binding=require", ["channel binding is required", "channel binding is required"]),
        ("user=monitor passfile=/nowhere", ["asks for a password, and none", "asks for a password, and none"]),
        ("user=nobody", ["SQLSTATE 28P01", "SQLSTATE 28P01"]),
        (
            "user=somebody dbname=closed",
            ["GRANT CONNECT ON DATABASE \"closed\" TO \"somebody\"", "ALTER ROLE \"somebody\" REPLICATION"],
        ),
        ("user=somebody dbname=missing", ["SQLSTATE 3D000", "ALTER ROLE \"somebody\" REPLICATION"]),
    ] {
        let errors = client.refused(&conninfo(&s, more));
        let is_said = errors.iter().zip(reasons).all(|(error, reason)| error.contains(reason));
        assert!(is_said, "{errors:?}");
        s.claim(&format!("{more}: {}", reasons.join("; for replication: ")), is_said);
    }
    let mut walsender = client.replication(&conninfo(&s, "user=monitor")).expect("a session");
    let before = s.sql_aside("stranger", STREAMING_COUNT);
    s.claim("whoever asks does not count as a replica", before == "0" && walsender.ask(&IdentifySystem).is_ok());
    s.finish();
}
