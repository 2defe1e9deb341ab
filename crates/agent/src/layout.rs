//! Where everything of a node lives, derived from a few roots that tests can point elsewhere.

use std::path::{Path, PathBuf};

use pgherd_images::contract;

/// The paths of one node. PGDATA has its siblings on the same file system, so that they can be renamed into its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The major version of the image's PostgreSQL.
    pub major: u16,
    /// The node's own volume.
    pub volume: PathBuf,
    /// The cluster's secrets volume.
    pub secrets: PathBuf,
    /// What is gone with the container: the phase, the room on the disk, the password file and the certificate.
    pub run: PathBuf,
    /// The directory of PostgreSQL's unix socket.
    pub socket_directory: PathBuf,
}

impl Layout {
    /// The layout inside an image of this major version.
    #[must_use]
    pub fn of_image(major: u16) -> Layout {
        let run = Path::new(contract::PHASE_FILE).parent().unwrap_or(Path::new("/run"));
        Layout {
            major,
            volume: contract::NODE_VOLUME.into(),
            secrets: contract::SECRETS.into(),
            run: run.to_owned(),
            socket_directory: contract::SOCKET_DIRECTORY.into(),
        }
    }

    /// The parent of everything of this major version.
    #[must_use]
    pub fn version_directory(&self) -> PathBuf {
        self.volume.join(self.major.to_string())
    }

    /// PGDATA.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.version_directory().join("data")
    }

    /// What makes PGDATA a replica's: a promotion removes it.
    ///
    /// <https://www.postgresql.org/docs/17/warm-standby.html#STANDBY-SERVER-SETUP>
    #[must_use]
    pub fn standby_signal(&self) -> PathBuf {
        self.data().join("standby.signal")
    }

    /// Unfinished work: [`Self::partial_marker`], and beside it the data directory in the making.
    #[must_use]
    pub fn partial(&self) -> PathBuf {
        self.version_directory().join("partial")
    }

    /// The file that says that the partial directory is the agent's own, and may be discarded.
    #[must_use]
    pub fn partial_marker(&self) -> PathBuf {
        self.partial().join("unfinished-work-of-pgherd-agent")
    }

    /// The data directory in the making.
    #[must_use]
    pub fn partial_data(&self) -> PathBuf {
        self.partial().join("data")
    }

    /// The tablespaces of the data directory in the making, by their OIDs.
    #[must_use]
    pub fn partial_tablespaces(&self) -> PathBuf {
        self.partial().join("tablespaces")
    }

    /// A complete copy of a data directory of another server's, which is not ours yet.
    #[must_use]
    pub fn brought(&self) -> PathBuf {
        self.version_directory().join("brought")
    }

    /// A data directory that is complete and synced, and not yet in place.
    #[must_use]
    pub fn staged(&self) -> PathBuf {
        self.version_directory().join("staged")
    }

    /// What had to make way. Nothing in it is ever needed to run.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.version_directory().join("trash")
    }

    /// Configuration, specification and grant.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.version_directory().join("control")
    }

    /// Locked while an agent works on the volume.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.control().join("lock")
    }

    /// The specification that an orchestrator leaves.
    #[must_use]
    pub fn spec_file(&self) -> PathBuf {
        self.control().join(contract::SPEC_FILE)
    }

    /// The name of a node that no orchestrator named, kept so that a new container on the same volume is the same node.
    #[must_use]
    pub fn node_name_file(&self) -> PathBuf {
        self.control().join("node-name")
    }

    /// The permission to start read-write.
    #[must_use]
    pub fn grant_file(&self) -> PathBuf {
        self.control().join("grant.json")
    }

    /// The upstream that this node followed last, `host:port`.
    #[must_use]
    pub fn upstream_file(&self) -> PathBuf {
        self.control().join("upstream")
    }

    /// There while `pg_rewind` changes the data directory, and afterwards if it failed: why.
    #[must_use]
    pub fn rewind_file(&self) -> PathBuf {
        self.control().join("rewinding")
    }

    /// Who was promoted last, on the secrets volume, where every node sees it.
    #[must_use]
    pub fn succession_file(&self) -> PathBuf {
        self.secrets.join(contract::secrets::SUCCESSION)
    }

    /// The live `postgresql.conf`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.control().join("postgresql.conf")
    }

    /// The live `pg_hba.conf`.
    #[must_use]
    pub fn hba_file(&self) -> PathBuf {
        self.control().join("pg_hba.conf")
    }

    /// The live `pg_ident.conf`.
    #[must_use]
    pub fn ident_file(&self) -> PathBuf {
        self.control().join("pg_ident.conf")
    }

    /// The passwords for upstreams in libpq's form. Not on the node's volume: it is not this node's to keep.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.run.join("replication.pgpass")
    }

    /// The server's private key and its certificate, in one file so that they are replaced at once. Made anew at every start.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.run.join("server.pem")
    }

    /// The certificates of the authorities that the cluster trusts.
    #[must_use]
    pub fn authority_certificates(&self) -> PathBuf {
        self.secrets.join(contract::secrets::AUTHORITY_CERTIFICATES)
    }

    /// PostgreSQL's unix socket, <https://www.postgresql.org/docs/17/runtime-config-connection.html#GUC-UNIX-SOCKET-DIRECTORIES>.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_directory.join(format!(".s.PGSQL.{}", contract::PORT))
    }

    /// The room on the disk, while PostgreSQL runs.
    #[must_use]
    pub fn disk_file(&self) -> PathBuf {
        self.run.join("disk.json")
    }

    /// One line that says what the agent is doing now.
    #[must_use]
    pub fn phase_file(&self) -> PathBuf {
        self.run.join("phase")
    }
}
