//! Somebody who may change a server that is not ours: a superuser, in its container or by a connection string.

use std::{fmt, time::Duration};

use pgherd_agent::Upstream;
use pgherd_images::contract::labels;
use pgherd_probe::{Conninfo, Reach, connect};
use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{
    ENGINE_HOST, Source, SourceError, SourceFacts, SourceInventory, SourcePlace, SourceRefusal,
    facts::{BASICS, Basics, missing_locales},
    role_name, way_to,
};
use crate::{ClusterName, ContainerState, Engine, Helper, HelperEnd, causes::with_causes};

/// How long the server may take for anything that it is asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who may change the server.
pub enum Administrator {
    /// By psql in its container, as the user of the system that the server runs as.
    InContainer {
        /// The engine.
        engine: Engine,
        /// The container.
        container: String,
        /// The superuser.
        user: String,
        /// The port, where it is not the one that psql takes there.
        port: Option<u16>,
    },
    /// By a connection.
    Connected {
        /// The connection.
        client: Client,
        /// Where nodes reach the server that this is to.
        server: Upstream,
    },
}

impl Administrator {
    /// The superuser of a server in a container of somebody else's: `POSTGRES_USER` as in the official image, else `postgres`.
    ///
    /// # Errors
    /// [`SourceRefusal::NoContainer`], [`SourceRefusal::Ours`], and if the engine cannot be asked.
    pub async fn in_container(
        engine: &Engine,
        container: &str,
        port: Option<u16>,
    ) -> Result<Administrator, SourceError> {
        let found = engine.inspect_container(container).await?.filter(|found| found.state == ContainerState::Running);
        let found = found.ok_or_else(|| SourceRefusal::NoContainer(container.to_owned()))?;
        if let Some(cluster) = found.labels.get(labels::CLUSTER) {
            return Err(SourceRefusal::Ours { container: found.name, cluster: cluster.clone() }.into());
        }
        let user = found.environment.get("POSTGRES_USER").filter(|user| !user.is_empty());
        let user = user.cloned().unwrap_or_else(|| "postgres".to_owned());
        Ok(Administrator::InContainer { engine: engine.clone(), container: found.name, user, port })
    }

    /// Whoever a connection string names. A server of this machine is reached by nodes as the engine's host.
    ///
    /// # Errors
    /// [`SourceRefusal::NotOneServer`], and why there is no connection.
    pub async fn by_connection(conninfo: &Conninfo) -> Result<Administrator, SourceError> {
        let [server] = conninfo.servers() else {
            return Err(SourceRefusal::NotOneServer(conninfo.servers().len()).into());
        };
        let failed = |reason| SourceError::Failed { action: format!("connect to {server}"), reason };
        let is_here = server.host.starts_with('/') || ["localhost", "127.0.0.1", "::1"].contains(&server.host.as_str());
        let host = if is_here { ENGINE_HOST.to_owned() } else { server.host.clone() };
        let server = Upstream { host, port: server.port };
        let client = connect(conninfo).await.map_err(|error| failed(error.to_string()))?;
        Ok(Administrator::Connected { client, server })
    }

    /// Runs statements, and returns the first column of their last row. They are not to be seen among the processes, nor, where the
    /// server would have it otherwise, in its log.
    ///
    /// # Errors
    /// What it says, or that it says nothing.
    pub(super) async fn ask(&self, action: &str, statements: &str) -> Result<String, SourceError> {
        let failed = |reason| SourceError::Failed { action: action.to_owned(), reason };
        let asked = async {
            match self {
                Administrator::InContainer { engine, container, user, port } => {
                    let port = port.map(|port| format!("--port={port}"));
                    let psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "postgres"];
                    let psql: Vec<&str> = psql.into_iter().chain(port.as_deref()).collect();
                    let end = engine.run_as(Some("postgres"), container, &psql, statements).await?;
                    if end.exit_code != 0 {
                        let said = if end.stderr.is_empty() { end.stdout } else { end.stderr };
                        return Err(failed(said));
                    }
                    Ok(end.stdout)
                }
                Administrator::Connected { client, .. } => {
                    let answer = client.simple_query(statements).await.map_err(|error| failed(with_causes(&error)))?;
                    let value = |message: &SimpleQueryMessage| match message {
                        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
                        _ => None,
                    };
                    Ok(answer.iter().rev().find_map(value).unwrap_or_default())
                }
            }
        };
        let late = || failed(format!("no answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// Where the server is, as nodes will know it. `port` is the one that it listens on.
    async fn place(&self, port: u16) -> Result<(SourcePlace, Upstream, Option<String>), SourceError> {
        match self {
            Administrator::InContainer { engine, container, .. } => {
                let attachments = engine.attachments(container).await?.unwrap_or_default();
                let way = way_to(container, port, &attachments);
                let (address, network) = way.ok_or_else(|| SourceRefusal::NoNetwork(container.clone()))?;
                Ok((SourcePlace::Container { name: container.clone(), port }, address, network))
            }
            Administrator::Connected { server, .. } => Ok((SourcePlace::Server(server.clone()), server.clone(), None)),
        }
    }
}

impl fmt::Debug for Administrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Administrator::InContainer { container, user, .. } => write!(f, "{user} in container {container}"),
            Administrator::Connected { server, .. } => write!(f, "connected to {server}"),
        }
    }
}

/// A server that is to be followed, and somebody who may change it.
#[derive(Debug)]
pub struct Guest {
    pub(crate) administrator: Administrator,
    /// Where it is, and who we are there.
    pub source: Source,
    /// What was there at the first look, to which it goes back if nothing comes of it.
    pub(crate) before: SourceFacts,
    /// What is there.
    pub facts: SourceFacts,
}

impl Guest {
    /// Looks at a server that a cluster is to follow.
    ///
    /// # Errors
    /// A [`SourceRefusal`] where nothing can be done there as this role, and what the server says.
    pub async fn meet(cluster: &ClusterName, administrator: Administrator) -> Result<Guest, SourceError> {
        let role = role_name(cluster);
        let basics: Basics = read(&administrator.ask("look at the server", BASICS).await?)?;
        if !basics.is_superuser {
            return Err(SourceRefusal::NoRights { user: basics.user }.into());
        }
        if basics.in_recovery {
            return Err(SourceRefusal::InRecovery.into());
        }
        let facts = look(&administrator, &role).await?;
        let (place, address, network) = administrator.place(facts.port).await?;
        let source = Source { place, address, network, role };
        Ok(Guest { administrator, source, before: facts.clone(), facts })
    }

    /// Asks which of the locales of its databases an image of nodes knows.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn compare_locales(&mut self, engine: &Engine, image: &str) -> Result<(), SourceError> {
        if missing_locales(&self.facts.locales, "C.utf8").is_empty() {
            return Ok(());
        }
        let helper = Helper {
            action: format!("list the locales of image \"{image}\""),
            image: image.to_owned(),
            command: ["locale", "-a"].map(str::to_owned).into(),
            ..Helper::default()
        };
        let HelperEnd { output, .. } = engine.run_helper(helper).await?;
        self.facts.missing_locales = missing_locales(&self.facts.locales, &output);
        Ok(())
    }

    /// What there is of it, as long as no cluster follows it.
    pub(crate) fn unrecorded(&self) -> SourceInventory {
        let reach = Reach::Unreachable { reason: "no node runs that could ask it".to_owned() };
        let (source, facts) = (self.source.clone(), Some(self.facts.clone()));
        SourceInventory { source, is_recorded: false, reach, facts }
    }

    /// Looks again, after something was done there.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn look_again(&mut self) -> Result<(), SourceError> {
        let missing_locales = std::mem::take(&mut self.facts.missing_locales);
        self.facts = SourceFacts { missing_locales, ..look(&self.administrator, &self.source.role).await? };
        Ok(())
    }
}

async fn look(administrator: &Administrator, role: &str) -> Result<SourceFacts, SourceError> {
    let by_network = matches!(administrator, Administrator::Connected { .. });
    read(&administrator.ask("look at the server", &SourceFacts::question(role, by_network)).await?)
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, SourceError> {
    let strange = |error| format!("a strange answer: {error}: {json}");
    serde_json::from_str(json)
        .map_err(|error| SourceError::Failed { action: "look at the server".to_owned(), reason: strange(error) })
}
