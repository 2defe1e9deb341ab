//! `cluster up --from` and `--from-container`: a server that is not ours.

use anyhow::Context;
use clap::Args;
use pgherd_orchestrator::{Administrator, ClusterName, Engine, Guest};

/// Whom a cluster follows that has no primary of its own.
#[derive(Args)]
pub(super) struct FromArgs {
    /// Makes replicas of a PostgreSQL that is not ours, by the connection string of a superuser; --dry-run lists what that changes there
    ///
    /// A role, a line of pg_hba.conf and a slot for each replica: "cluster rm" takes back what it can, and tells the rest. A server on this
    /// machine has to listen on more than its loopback interface. A password that the string has not is taken from PGPASSWORD or ~/.pgpass.
    #[arg(long, value_name = "URL", conflicts_with_all = ["from_container", "quorum", "file", "init", "from_volume", "from_dir"])]
    from: Option<String>,
    /// The same of a PostgreSQL in a container of somebody else's, whose network the replicas join
    #[arg(long, value_name = "CONTAINER[:PORT]", conflicts_with_all = ["quorum", "file", "init", "from_volume", "from_dir"])]
    from_container: Option<String>,
}

impl FromArgs {
    /// Looks at the server, if one is named.
    pub(super) async fn meet(&self, engine: &Engine, cluster: &ClusterName) -> anyhow::Result<Option<Guest>> {
        let administrator = match (&self.from, &self.from_container) {
            (Some(url), _) => {
                // Its own error may have the password in it.
                let conninfo = url.parse().map_err(|_| anyhow::anyhow!("\"--from\" is no connection string"))?;
                Administrator::by_connection(&conninfo).await
            }
            (None, Some(container)) => {
                let (name, port) = match container.split_once(':') {
                    Some((name, port)) => (name, Some(port.parse().with_context(|| format!("\"{port}\" is no port"))?)),
                    None => (container.as_str(), None),
                };
                Administrator::in_container(engine, name, port).await
            }
            (None, None) => return Ok(None),
        };
        let guest = Guest::meet(cluster, administrator?).await;
        guest.map(Some).with_context(|| format!("cluster \"{cluster}\" cannot follow this server"))
    }
}
