//! What is agreed across the container wall: paths, ports, names and environment variables.
//!
//! The image provides them, the agent relies on them inside the container, and the orchestrator reaches for them from
//! outside. Nothing here does anything; a change here is a change of the contract between two versions of pgherd.

/// The numeric user and group that own every file of a node and run every process in it (`postgres`, as in the official image).
pub const UID: u32 = 999;

/// The port on which PostgreSQL listens inside the container.
pub const PORT: u16 = 5432;

/// Where the node's own volume is mounted. Data and control files live below it, in a directory for each major version.
pub const NODE_VOLUME: &str = "/var/lib/postgresql";

/// Where the cluster's shared secrets volume is mounted.
pub const SECRETS: &str = "/run/pgherd/secrets";

/// The directory of PostgreSQL's unix socket.
pub const SOCKET_DIRECTORY: &str = "/run/postgresql";

/// One line that says what the agent is doing now, for those who find no server yet. Gone with the container.
pub const PHASE_FILE: &str = "/run/pgherd/phase";

/// The room on the node's disk, an object of `free_bytes`, `total_bytes` and `at_unix_ms`: of the file system that holds PGDATA,
/// what is free for PostgreSQL, and when that was so, by the node's clock. While PostgreSQL runs it is 6 s old at most; one that is much
/// older tells of an agent or a disk that stands still. A superuser reads it by `pg_read_file`.
pub const DISK_FILE: &str = "/run/pgherd/disk.json";

/// The agent's path in the image; its directory is on `PATH`.
pub const AGENT: &str = "/usr/local/bin/pgherd-agent";

/// The name of the image of nodes, which are told their role.
#[must_use]
pub fn node_image(major: u16) -> String {
    format!("pgherd/postgres:{major}")
}

/// The image of helper containers: packet filters, traffic control, loop devices.
pub const TOOLBOX_IMAGE: &str = "pgherd/toolbox:latest";

/// The directory of scripts that fill a new data directory, as in the official image: `.sql`, `.sql.gz`, `.sql.zst` and `.sh`.
pub const INIT_SCRIPTS: &str = "/docker-entrypoint-initdb.d";

/// The database superuser, reached through the unix socket with peer authentication only.
pub const SUPERUSER: &str = "postgres";

/// The role with which replicas clone and stream.
pub const REPLICATION_ROLE: &str = "replicator";

/// The role as which `pg_rewind` reads the files of an upstream. It may do nothing else.
pub const REWIND_ROLE: &str = "rewinder";

/// The database in which [`REWIND_ROLE`] has its rights, and which is there always.
pub const MAINTENANCE_DATABASE: &str = "postgres";

/// The name of the application's role and of its database.
pub const APP: &str = "app";

/// The directory that holds everything of one major version on the node's volume.
#[must_use]
pub fn version_directory(major: u16) -> String {
    format!("{NODE_VOLUME}/{major}")
}

/// PGDATA.
#[must_use]
pub fn data_directory(major: u16) -> String {
    format!("{NODE_VOLUME}/{major}/data")
}

/// The directory of configuration, specification and grant, beside PGDATA and never inside it.
#[must_use]
pub fn control_directory(major: u16) -> String {
    format!("{NODE_VOLUME}/{major}/control")
}

/// The name of the specification that an orchestrator leaves in the control directory, `NodeSpec` as JSON.
pub const SPEC_FILE: &str = "spec.json";

/// The name of the physical replication slot of a node on its upstream.
///
/// Slot names may hold only lower-case letters, digits and underscores
/// (<https://www.postgresql.org/docs/17/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION>).
#[must_use]
pub fn slot_name(node: &str) -> String {
    node.chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
            _ => '_',
        })
        .collect()
}

/// Files of the shared secrets volume. The primary fills it; every file has mode 0600.
pub mod secrets {
    /// The password of [`super::REPLICATION_ROLE`].
    pub const REPLICATION_PASSWORD: &str = "replication-password";
    /// The password of [`super::REWIND_ROLE`].
    pub const REWIND_PASSWORD: &str = "rewind-password";
    /// The password of [`super::APP`].
    pub const APP_PASSWORD: &str = "app-password";
    /// The password of [`super::SUPERUSER`], there only if somebody has chosen one: with it that role is let in over the network.
    pub const SUPERUSER_PASSWORD: &str = "superuser-password";
    /// Every password's file, and the role whose it is.
    pub const PASSWORDS: [(&str, &str); 3] = [
        (REPLICATION_PASSWORD, super::REPLICATION_ROLE),
        (REWIND_PASSWORD, super::REWIND_ROLE),
        (APP_PASSWORD, super::APP),
    ];
    /// The private key of the cluster's certificate authority, from which every node issues its own certificate.
    pub const AUTHORITY_KEY: &str = "ca.key";
    /// The certificates of the authorities that are trusted, the newest first: one, or two while it is replaced.
    pub const AUTHORITY_CERTIFICATES: &str = "ca.crt";
    /// What the name of a secret ends in that is about to take the place of another.
    pub const PENDING: &str = ".next";
    /// Who was promoted last, and to which timeline, as JSON. Nobody else writes to an older one.
    pub const SUCCESSION: &str = "succession.json";
    /// The system identifier of the one cluster that these secrets belong to, in decimal.
    pub const SYSTEM_IDENTIFIER: &str = "system-identifier";
}

/// Environment variables that the agent reads.
pub mod environment {
    /// What the node is to be at its first start, `NodeSpec` as JSON. The file on its volume wins, once there is one.
    pub const SPEC: &str = "PGHERD_SPEC";
    /// `primary` or `replica`, set by the two images of the `docker run` path.
    pub const ROLE: &str = "PGHERD_ROLE";
    /// The upstream of a replica, `host` or `host:port`, as in the article.
    pub const PRIMARY_NAME: &str = "PRIMARY_NAME";
    /// `trust` opens replication and applications to anyone who reaches the port, as the official image spells it.
    pub const AUTHENTICATION: &str = "POSTGRES_HOST_AUTH_METHOD";
    /// The role that owns the database of a new data directory, a superuser, as in the official image.
    pub const POSTGRES_USER: &str = "POSTGRES_USER";
    /// That role's password; without [`POSTGRES_USER`] the superuser's, who is let in over the network with it.
    pub const POSTGRES_PASSWORD: &str = "POSTGRES_PASSWORD";
    /// A file that holds the password instead.
    pub const POSTGRES_PASSWORD_FILE: &str = "POSTGRES_PASSWORD_FILE";
    /// The database of a new data directory, instead of one of the role's name.
    pub const POSTGRES_DB: &str = "POSTGRES_DB";
    /// More arguments of initdb, quoted as in a shell.
    pub const POSTGRES_INITDB_ARGS: &str = "POSTGRES_INITDB_ARGS";
    /// How long a replica waits for its upstream and for its secrets, in seconds.
    pub const UPSTREAM_WAIT_SECONDS: &str = "PGHERD_UPSTREAM_WAIT_SECONDS";
    /// `json` for a log of objects; anything else that is set must be `text`.
    pub const LOG: &str = "PGHERD_LOG";
    /// How long the engine waits for the container's end before it kills it, in seconds: Docker's `--stop-timeout`.
    pub const STOP_SECONDS: &str = "PGHERD_STOP_SECONDS";
    /// How long a clone may stand still before it is begun anew, in seconds.
    pub const CLONE_STALL_SECONDS: &str = "PGHERD_CLONE_STALL_SECONDS";
    /// How often a clone that fails is tried again.
    pub const CLONE_RETRIES: &str = "PGHERD_CLONE_RETRIES";
    /// For tests: the agent ends like a killed one at its N-th point before or after a step.
    pub const CRASH_AT: &str = "PGHERD_CRASH_AT";
    /// The major version of the PostgreSQL in the image, as in the official one.
    pub const PG_MAJOR: &str = "PG_MAJOR";
    /// The data directory, as in the official image.
    pub const PGDATA: &str = "PGDATA";
}

/// Labels on everything that pgherd makes on an engine. They hold what never changes: Docker cannot change them.
pub mod labels {
    /// The name of the cluster.
    pub const CLUSTER: &str = "pgherd.cluster";
    /// The name of the node, on its container and volume.
    pub const NODE: &str = "pgherd.node";
    /// The major version of PostgreSQL, on a node's container and volume.
    pub const MAJOR: &str = "pgherd.major";
    /// The size in bytes that a node's volume was made with, on the volume that holds its disk.
    pub const VOLUME_SIZE: &str = "pgherd.volume-size";
    /// Where the nodes keep their data if that is not on volumes of the engine's, on a node's volume: `tmpfs`, or a directory's path.
    pub const STORAGE: &str = "pgherd.storage";
    /// The node whose disk is being worked on, on helper containers.
    pub const HELPER: &str = "pgherd.helper";
    /// Where the server is that the cluster follows in the place of a primary of its own, on the secrets volume.
    pub const SOURCE: &str = "pgherd.source";
    /// The data of another server's that a cluster began with, on its secrets volume: `volume:NAME` or `directory:/PATH`.
    pub const ORIGIN: &str = "pgherd.origin";
    /// The version of this labelling.
    pub const SCHEMA: &str = "pgherd.schema";
    /// What [`SCHEMA`] says today.
    pub const SCHEMA_VERSION: &str = "1";
    /// Whose it is: absent on what a user made, `boot-id/pid-namespace/pid/start-time` of a test run otherwise.
    pub const OWNER: &str = "pgherd.owner";
    /// The process that is changing the cluster, on its lock, written like an owner.
    pub const HOLDER: &str = "pgherd.holder";
    /// The digest of everything that an image was made from, on images.
    pub const INPUTS: &str = "pgherd.inputs";
    /// The digest of the packages that an image holds, on images.
    pub const LOCK: &str = "pgherd.lock";
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_slot_name_is_a_legal_one() {
        assert_eq!(super::slot_name("demo-2"), "demo_2");
        assert_eq!(super::slot_name("3F.a"), "3f_a");
    }
}
