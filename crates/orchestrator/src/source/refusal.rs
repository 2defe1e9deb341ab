//! Why a server cannot be followed, or a cluster that follows one cannot do something, before anything is changed.

use crate::ClusterName;

/// Why nothing can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceRefusal {
    /// Who could make a role would have to be let in, too.
    #[error(
        "role \"{user}\" of the server is no superuser, and may not make a role for replication and let it in\n\
         hint: Connect as a superuser, or name its container by \"--from-container\"."
    )]
    NoRights {
        /// As whom we are connected.
        user: String,
    },
    /// There is no such container, or it does not run.
    #[error("there is no container \"{0}\" that runs\nhint: \"docker ps\" lists those that do.")]
    NoContainer(String),
    /// It belongs to a cluster.
    #[error(
        "container \"{container}\" is a node of cluster \"{cluster}\", which is ours\nhint: \"cluster add {cluster}\" adds a replica."
    )]
    Ours {
        /// The container.
        container: String,
        /// Its cluster.
        cluster: String,
    },
    /// Nobody can reach it.
    #[error("container \"{0}\" is on no network\nhint: \"docker network connect NETWORK {0}\" puts it on one.")]
    NoNetwork(String),
    /// It is not one server.
    #[error("the connection string names {0} servers, and one is followed\nhint: Name the one that takes writes.")]
    NotOneServer(usize),
    /// It is a replica itself.
    #[error("the server is in recovery, so that no role can be made there\nhint: Name the primary that it follows.")]
    InRecovery,
    /// Its write-ahead log has too little in it.
    #[error(
        "the server has wal_level = {0}, which is not enough for a replica\n\
         hint: Set it to \"replica\" and restart the server."
    )]
    WalLevel(String),
    /// It does not listen where nodes could reach it.
    #[error(
        "the server listens on \"{0}\" alone, where no container reaches it\n\
         hint: Set listen_addresses to \"*\", or to an address that containers reach, and restart the server."
    )]
    Loopback(String),
    /// It has not enough left of something.
    #[error(
        "{replicas} new replicas take {needed} of the server's {setting} = {max}, of which {used} are in use\n\
         hint: Ask for fewer, have some follow others by \"--upstream\", or raise it and restart the server."
    )]
    Full {
        /// The setting.
        setting: &'static str,
        /// What it is.
        max: u16,
        /// How many are in use.
        used: u16,
        /// How many are needed.
        needed: u16,
        /// For how many replicas.
        replicas: u16,
    },
    /// Nodes are administered as that role, which they have from the server.
    #[error(
        "the server has no superuser \"postgres\" that may log in, as whom nodes are administered\n\
         hint: CREATE ROLE postgres SUPERUSER LOGIN"
    )]
    NoSuperuser,
    /// Somebody else has made it, or an earlier cluster has left it.
    #[error(
        "role \"{role}\" is there already on the server, and is not known to be ours\n\
         hint: DROP ROLE {role}, if nobody needs it, or give the cluster another name."
    )]
    RoleTaken {
        /// The role.
        role: String,
    },
    /// The same of a slot.
    #[error(
        "slot \"{slot}\" is there already on the server, and is not known to be ours\n\
         hint: SELECT pg_drop_replication_slot('{slot}'), if nobody needs it, or give the cluster another name."
    )]
    SlotTaken {
        /// The slot.
        slot: String,
    },
    /// It would not take a line more.
    #[error("the server could not read its pg_hba.conf again: {0}\nhint: Mend that first.")]
    BrokenHba(String),
    /// It is of another version.
    #[error("the server is PostgreSQL {found}, not {wanted}\nhint: Leave out \"--version\".")]
    OtherMajor {
        /// Asked for.
        wanted: u16,
        /// There.
        found: u16,
    },
    /// Nobody could connect to a database of a locale that the node's system does not know.
    #[error(
        "databases of the server have locales that image \"{image}\" has not: {locales}\n\
         hint: With \"locales-all\" among what images/postgres.toml wants, \"cargo xtask images\" builds one that has them."
    )]
    Locales {
        /// Which.
        locales: String,
        /// The image of nodes.
        image: String,
    },
    /// The cluster follows another one.
    #[error("cluster \"{cluster}\" follows {found}, not {wanted}\nhint: Give the other one a cluster of its own.")]
    Another {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: String,
        /// There.
        found: String,
    },
    /// The cluster has one of its own.
    #[error("cluster \"{0}\" is there already, and has a primary of its own\nhint: Choose another name.")]
    HasPrimary(ClusterName),
    /// The primary is not ours.
    #[error(
        "cannot {what}: cluster \"{cluster}\" follows {source_address}, which is not ours\n\
         hint: That is for its owner to do, at {source_address}."
    )]
    NotOurs {
        /// The cluster.
        cluster: ClusterName,
        /// The server.
        source_address: String,
        /// What was asked, as an infinitive.
        what: &'static str,
    },
}
