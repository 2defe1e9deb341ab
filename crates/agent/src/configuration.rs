//! The files that PostgreSQL is started with. They live outside PGDATA, so that no clone or rewind can touch them.

use std::{fmt::Write, io};

use pgherd_images::contract::{
    APP, MAINTENANCE_DATABASE, PORT, REPLICATION_ROLE, REWIND_ROLE, SUPERUSER, secrets::SUPERUSER_PASSWORD,
};

use crate::{
    conninfo::conninfo,
    durable,
    layout::Layout,
    spec::{Authentication, NodeSpec, Role},
};

/// What stands in PGDATA in the place of the files that nobody reads there.
pub(crate) const PLACEHOLDER: &str =
    "# not read: the live file is in ../control, written anew at every start; ALTER SYSTEM works as ever\n";

/// The configuration files that initdb leaves in PGDATA.
pub(crate) const FILES_IN_DATA_DIRECTORY: [&str; 3] = ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"];

/// The name of the user name map that lets the one OS user in the container be any of our three roles.
const IDENT_MAP: &str = "pgherd";

/// Writes all three files.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn write(layout: &Layout, spec: &NodeSpec) -> io::Result<()> {
    durable::replace_for_now(&layout.config_file(), postgresql_conf(layout, spec).as_bytes())?;
    let superuser = layout.secrets.join(SUPERUSER_PASSWORD).try_exists()?;
    let hba = pg_hba_conf(spec.authentication, spec.replication_role(), superuser);
    durable::replace_for_now(&layout.hba_file(), hba.as_bytes())?;
    durable::replace_for_now(&layout.ident_file(), pg_ident_conf().as_bytes())
}

/// Writes down whom a replica follows that is about to start: a plan has found that it can. What a running one is told proves
/// nothing, and the next start still knows whose history its data are from.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn note_upstream(layout: &Layout, spec: &NodeSpec) -> io::Result<()> {
    match &spec.role {
        Role::Replica { upstream } => {
            durable::replace_for_now(&layout.upstream_file(), upstream.to_string().as_bytes())
        }
        Role::Primary => Ok(()),
    }
}

/// Settings that a replica must have no less of than its primary, with what every node has of them.
///
/// <https://www.postgresql.org/docs/17/hot-standby.html#HOT-STANDBY-ADMIN>
pub const ORDER_BOUND_SETTINGS: [(&str, u32); 5] = [
    ("max_connections", 100),
    ("max_worker_processes", 8),
    ("max_prepared_transactions", 0),
    ("max_locks_per_transaction", 64),
    // A clone takes two walsenders. The default of ten loses replicas when eight are cloned at once.
    ("max_wal_senders", 100),
];

/// Settings by which a node is what it is asked to be, and found where it is looked for.
pub const RESERVED_SETTINGS: [&str; 20] = [
    "allow_in_place_tablespaces",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "log_destination",
    "logging_collector",
    "password_encryption",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "ssl",
    "ssl_cert_file",
    "ssl_key_file",
    "synchronous_standby_names",
    "unix_socket_directories",
];

/// Everything that differs from PostgreSQL's own defaults, and why where the manual does not say it.
fn settings(layout: &Layout, spec: &NodeSpec) -> Vec<(&'static str, String)> {
    let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut settings = vec![
        ("data_directory", path(layout.data())),
        ("hba_file", path(layout.hba_file())),
        ("ident_file", path(layout.ident_file())),
        ("cluster_name", spec.node.clone()),
        ("listen_addresses", "*".into()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", path(layout.socket_directory.clone())),
        ("password_encryption", "scram-sha-256".into()),
        ("max_replication_slots", "100".into()),
        ("wal_level", "replica".into()),
        ("wal_log_hints", "on".into()),
        // A replica has its tablespaces inside its data directory, as `clone` says; without this it would not recover.
        ("allow_in_place_tablespaces", "on".into()),
        ("hot_standby", "on".into()),
        // A replica that is away loses its slot before it fills the primary's disk.
        ("max_slot_wal_keep_size", "4GB".into()),
        // For those who stream without a slot.
        ("wal_keep_size", "64MB".into()),
        // Lag is told by the replica; at the default of ten seconds it would be ten seconds old.
        ("wal_receiver_status_interval", "1s".into()),
        // A replica that finds no upstream at its first try waits this long for its second.
        ("wal_retrieve_retry_interval", "500ms".into()),
        // One call, where the default opens every file of the data directory.
        ("recovery_init_sync_method", "syncfs".into()),
        // The image holds no LLVM.
        ("jit", "off".into()),
        ("log_destination", "stderr".into()),
        ("log_line_prefix", "%m [%p] %q%u@%d %a ".into()),
        ("log_timezone", "UTC".into()),
        ("timezone", "UTC".into()),
        ("datestyle", "iso, mdy".into()),
        ("lc_messages", "C.UTF-8".into()),
        ("default_text_search_config", "pg_catalog.english".into()),
    ];
    settings.extend(ORDER_BOUND_SETTINGS.map(|(name, value)| (name, value.to_string())));
    if spec.authentication == Authentication::Scram {
        // No client has a certificate, so there is no ssl_ca_file to check one against. And no ssl_min_protocol_version above the
        // default: an old client would fall back on no encryption at all. Nodes ask for more in their conninfo.
        settings.extend([
            ("ssl", "on".into()),
            ("ssl_cert_file", path(layout.certificate_file())),
            ("ssl_key_file", path(layout.certificate_file())),
        ]);
    }
    // On a replica, too, where it means nothing: so it holds from the first moment of a promotion on.
    if let Some(names) = synchronous_standby_names(spec) {
        settings.push(("synchronous_standby_names", names));
    }
    if let Role::Replica { upstream } = &spec.role {
        settings.extend([
            ("primary_conninfo", conninfo(upstream, &spec.node, spec, layout)),
            ("primary_slot_name", pgherd_images::contract::slot_name(&spec.node)),
        ]);
    }
    settings
}

/// Whom a commit waits for. Walreceivers present themselves by the names of their nodes; quoted, these may hold anything.
///
/// <https://www.postgresql.org/docs/17/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>
fn synchronous_standby_names(spec: &NodeSpec) -> Option<String> {
    let names: Vec<_> = spec.peers.iter().map(|peer| format!("\"{}\"", peer.host.replace('"', "\"\""))).collect();
    (spec.quorum > 0 && !names.is_empty()).then(|| format!("ANY {} ({})", spec.quorum, names.join(", ")))
}

fn postgresql_conf(layout: &Layout, spec: &NodeSpec) -> String {
    let mut text = String::from("# written by pgherd-agent at every start; change settings with ALTER SYSTEM\n");
    // Of a setting that comes twice, PostgreSQL takes the last.
    let usual = settings(layout, spec);
    let usual = usual.iter().map(|(name, value)| (*name, value));
    for (name, value) in usual.chain(spec.settings.iter().map(|(name, value)| (name.as_str(), value))) {
        let _ = writeln!(text, "{name} = {}", quote(value));
    }
    text
}

/// Quotes the value of a setting in `postgresql.conf`.
///
/// <https://www.postgresql.org/docs/17/config-setting.html#CONFIG-SETTING-CONFIGURATION-FILE>
pub(crate) fn quote(value: &str) -> String {
    let escaped = value.replace('\\', r"\\").replace('\'', "''").replace('\n', r"\n").replace('\r', r"\r");
    format!("'{escaped}'")
}

/// Nobody is superuser over the network, whatever the authentication, unless somebody has chosen a password for that.
///
/// <https://www.postgresql.org/docs/17/auth-pg-hba-conf.html>
fn pg_hba_conf(authentication: Authentication, replication_role: &str, superuser_has_password: bool) -> String {
    let superuser = if superuser_has_password { "scram-sha-256" } else { "reject" };
    let (nodes, method) = match authentication {
        Authentication::Scram => ("hostssl", "scram-sha-256"),
        Authentication::Trust => ("host   ", "trust"),
    };
    format!(
        "\
# written by pgherd-agent at every start
# TYPE  DATABASE     USER        ADDRESS  METHOD
local   all          all                  peer map={IDENT_MAP}
local   replication  all                  peer map={IDENT_MAP}
host    all          {SUPERUSER}    all      {superuser}
host    replication  {SUPERUSER}    all      reject
{nodes} replication  {replication_role}  all      {method}
# to see, before a clone, what tablespaces there are
{nodes} postgres     {replication_role}  all      {method}
{nodes} {MAINTENANCE_DATABASE}     {REWIND_ROLE}    all      {method}
# and every role that is a member of it: GRANT {APP} TO somebody
host    all          +{APP}        all      {method}
"
    )
}

/// <https://www.postgresql.org/docs/17/auth-username-maps.html>
fn pg_ident_conf() -> String {
    let mut text = String::from("# written by pgherd-agent at every start\n# MAPNAME  SYSTEM-USERNAME  PG-USERNAME\n");
    for role in [SUPERUSER, APP, REPLICATION_ROLE] {
        let _ = writeln!(text, "{IDENT_MAP}     postgres         {role}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Upstream;

    fn spec(role: Role) -> NodeSpec {
        NodeSpec::new("demo-2", role)
    }

    #[test]
    fn a_replica_differs_from_a_primary_in_its_upstream_alone() {
        let layout = Layout::of_image(17);
        let primary = postgresql_conf(&layout, &spec(Role::Primary));
        let replica = postgresql_conf(&layout, &spec(Role::Replica { upstream: "demo-1".parse().unwrap() }));
        let rest = replica.strip_prefix(&primary).expect("the same settings first");
        insta::assert_snapshot!(rest, @"
        primary_conninfo = 'host=demo-1 port=5432 user=replicator passfile=/run/pgherd/replication.pgpass application_name=demo-2 connect_timeout=5 keepalives_idle=15 keepalives_interval=5 keepalives_count=3 sslmode=verify-full sslrootcert=/run/pgherd/secrets/ca.crt ssl_min_protocol_version=TLSv1.3 channel_binding=require'
        primary_slot_name = 'demo_2'
        ");
        for line in ["cluster_name = 'demo-2'", "listen_addresses = '*'", "max_wal_senders = '100'"] {
            assert!(primary.lines().any(|found| found == line), "{line}");
        }
    }

    #[test]
    fn a_quorum_is_of_the_peers_whatever_the_role() {
        let peers: [Upstream; 2] = ["demo-1", "demo-3:6000"].map(|peer| peer.parse().unwrap());
        let quorum = |quorum, peers: &[Upstream], role| {
            let spec = NodeSpec { quorum, peers: peers.to_vec(), ..spec(role) };
            let text = postgresql_conf(&Layout::of_image(17), &spec);
            text.lines().find(|line| line.starts_with("synchronous_standby_names")).map(str::to_owned)
        };
        let expected = r#"synchronous_standby_names = 'ANY 1 ("demo-1", "demo-3")'"#;
        for role in [Role::Primary, Role::Replica { upstream: peers[0].clone() }] {
            assert_eq!(quorum(1, &peers, role).as_deref(), Some(expected));
        }
        assert_eq!(quorum(0, &peers, Role::Primary), None);
        assert_eq!(quorum(1, &[], Role::Primary), None);
        let strange = Upstream { host: "a\"b".into(), port: 5432 };
        assert_eq!(
            quorum(1, &[strange], Role::Primary).as_deref(),
            Some(r#"synchronous_standby_names = 'ANY 1 ("a""b")'"#)
        );
    }

    #[test]
    fn what_is_bound_is_what_the_probe_looks_at() {
        assert_eq!(ORDER_BOUND_SETTINGS.map(|(name, _)| name), pgherd_probe::ORDER_BOUND);
    }

    #[test]
    fn values_are_quoted() {
        assert_eq!(quote("it's"), "'it''s'");
        assert_eq!(quote(r"host='a\'b'"), r"'host=''a\\''b'''");
        assert_eq!(quote("two\nlines"), r"'two\nlines'");
    }

    #[test]
    fn no_superuser_over_the_network() {
        insta::assert_snapshot!(pg_hba_conf(Authentication::Scram, REPLICATION_ROLE, false), @"
        # written by pgherd-agent at every start
        # TYPE  DATABASE     USER        ADDRESS  METHOD
        local   all          all                  peer map=pgherd
        local   replication  all                  peer map=pgherd
        host    all          postgres    all      reject
        host    replication  postgres    all      reject
        hostssl replication  replicator  all      scram-sha-256
        # to see, before a clone, what tablespaces there are
        hostssl postgres     replicator  all      scram-sha-256
        hostssl postgres     rewinder    all      scram-sha-256
        # and every role that is a member of it: GRANT app TO somebody
        host    all          +app        all      scram-sha-256
        ");
        let trusting = pg_hba_conf(Authentication::Trust, REPLICATION_ROLE, false);
        let of_superuser = |line: &&str| line.split_whitespace().nth(2) == Some(SUPERUSER);
        assert!(trusting.lines().filter(of_superuser).all(|line| line.ends_with("reject")));
        let chosen = pg_hba_conf(Authentication::Scram, REPLICATION_ROLE, true);
        let methods: Vec<_> =
            chosen.lines().filter(of_superuser).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(methods, ["scram-sha-256", "reject"], "never for replication");
        insta::assert_snapshot!(pg_ident_conf(), @"
        # written by pgherd-agent at every start
        # MAPNAME  SYSTEM-USERNAME  PG-USERNAME
        pgherd     postgres         postgres
        pgherd     postgres         app
        pgherd     postgres         replicator
        ");
    }
}
