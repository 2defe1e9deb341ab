//! How applications connect.

use pgherd_images::contract::{self, APP, MAINTENANCE_DATABASE, secrets};

use crate::{ClusterName, Engine, EngineError, Inventory};

/// The connection lines of a cluster, in libpq's URI form with all hosts, so that a client finds the primary by itself.
///
/// <https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNSTRING-URIS>
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConnectionUrls {
    /// From containers on the cluster's network.
    pub inside: String,
    /// From the host, where the nodes' ports are published.
    pub outside: Option<String>,
}

/// The hosts and ports of the nodes of a cluster around a server that is not ours: roles and passwords are those of that server.
fn hosts_of(observed: &Inventory) -> ConnectionUrls {
    let url = |hosts: Vec<String>| format!("postgresql://{}/{MAINTENANCE_DATABASE}", hosts.join(","));
    let (inside, outside) = hosts(observed);
    ConnectionUrls { inside: url(inside), outside: (!outside.is_empty()).then(|| url(outside)) }
}

/// Reads the application's password through any node's container and makes the cluster's connection lines.
///
/// Of a cluster around a server that is not ours they name neither role nor password: these are that server's.
///
/// # Errors
/// If the engine cannot be asked, or if no primary has made the password yet.
pub async fn connection_urls(engine: &Engine, observed: &Inventory) -> Result<ConnectionUrls, EngineError> {
    if observed.source.is_some() {
        return Ok(hosts_of(observed));
    }
    let path = format!("{}/{}", contract::SECRETS, secrets::APP_PASSWORD);
    for (number, node) in &observed.nodes {
        if node.container.is_some()
            && let Some(password) = engine.read_file(&observed.node_name(*number).to_string(), &path).await?
        {
            return Ok(urls(observed, String::from_utf8_lossy(&password).trim()));
        }
    }
    Err(no_password(&observed.name))
}

fn no_password(cluster: &ClusterName) -> EngineError {
    EngineError::Broken {
        action: format!("read the password of role \"{APP}\" of cluster \"{cluster}\""),
        message: "its primary has not made one yet".to_owned(),
    }
}

fn urls(observed: &Inventory, password: &str) -> ConnectionUrls {
    // The password is letters and digits only, so nothing needs escaping.
    let url = |hosts: Vec<String>| {
        format!("postgresql://{APP}:{password}@{}/{APP}?target_session_attrs=read-write", hosts.join(","))
    };
    let (inside, outside) = hosts(observed);
    ConnectionUrls { inside: url(inside), outside: (!outside.is_empty()).then(|| url(outside)) }
}

/// Every node from the cluster's network, and from the host.
fn hosts(observed: &Inventory) -> (Vec<String>, Vec<String>) {
    let inside = observed.nodes.keys().map(|n| format!("{}:{}", observed.node_name(*n), contract::PORT)).collect();
    let published = observed.nodes.values().filter_map(|node| node.published);
    (inside, published.map(|port| format!("127.0.0.1:{port}")).collect())
}
