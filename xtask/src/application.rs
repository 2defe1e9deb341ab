//! A connection as an application has it: over TCP, as role `app`, through the ports of a cluster that is published.

use std::time::Duration;

use anyhow::Context;
use pgherd_orchestrator::{Engine, Inventory, connection_urls};
use tokio_postgres::{Client, Config, NoTls};

/// How long a server may take to let us in before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How to reach a cluster. A node keeps its port as long as its container is there.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    config: Config,
}

impl Application {
    /// Reads the password and the ports.
    pub(crate) async fn of(engine: &Engine, observed: &Inventory) -> anyhow::Result<Application> {
        let url = connection_urls(engine, observed).await?.outside;
        let url = url.with_context(|| format!("the nodes of cluster \"{}\" have no published ports", observed.name))?;
        let mut config: Config = url.parse()?;
        config.connect_timeout(CONNECT_TIMEOUT).application_name("application");
        Ok(Application { config })
    }

    /// Connects to whoever takes writes: all nodes are tried, one after the other.
    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        connect(&self.config).await
    }

    /// Connects to one node, whatever it is.
    pub(crate) async fn connect_to(&self, port: u16) -> Result<Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).connect_timeout(CONNECT_TIMEOUT);
        self.config.get_user().map(|user| config.user(user));
        self.config.get_password().map(|password| config.password(password));
        self.config.get_dbname().map(|name| config.dbname(name));
        connect(&config).await
    }
}

async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // The connection's own error reaches the client's next question, too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
