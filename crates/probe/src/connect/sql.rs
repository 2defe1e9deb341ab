//! Connections for SQL: `tokio-postgres` below, and beneath it the negotiation of TLS that it lacks.

use std::{convert::Infallible, pin::Pin};

use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, NoTls, Socket,
    config::{self, SslNegotiation},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};

use super::{
    ConnectError, Conninfo, Failure, Server, Stage,
    tls::Tls,
    wire::{Progress, Wire},
};
use crate::replication_protocol::ServerVersion;

/// Connects to the first server that will, for SQL.
///
/// Each may take as long as `connect_timeout` says, 5 s by default, until it is ready for questions: whoever accepts and
/// says nothing is left alone then. The connection is driven by a task of the current runtime, and closed when the client
/// is dropped. Queries on it have no time limit.
///
/// # Errors
/// Where no server could be connected to: why, of each.
pub async fn connect(conninfo: &Conninfo) -> Result<Client, ConnectError> {
    let mut failures = Vec::new();
    for server in conninfo.servers() {
        let progress = Progress::new();
        // A unix socket is accepted by the kernel, without the server.
        let stage = || if server.is_local() { Stage::Greeting } else { progress.stage() };
        let late = |_| Err(Failure::Silent { stage: stage(), limit: conninfo.timeout });
        match timeout(conninfo.timeout, connect_to(conninfo, server, &progress)).await.unwrap_or_else(late) {
            Ok(client) => return Ok(client),
            Err(failure) => failures.push((server.clone(), failure)),
        }
    }
    Err(ConnectError::new(conninfo, failures))
}

async fn connect_to(conninfo: &Conninfo, server: &Server, progress: &Progress) -> Result<Client, Failure> {
    let mut config = conninfo.config.clone();
    // Without one, the server may not need it.
    if let Some(password) = conninfo.password(server, false).map_err(Failure::PasswordFile)? {
        config.password(password);
    }
    config.host(&server.host).port(server.port);
    if let Some(address) = server.address {
        config.hostaddr(address);
    }
    if server.is_local() {
        config.ssl_mode(config::SslMode::Disable);
        return finish(&config, NoTls, progress).await;
    }
    // "Direct" means that the connector speaks first, which asks the server itself.
    config.ssl_mode(config::SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    let connector = Connector { tls: Tls::of(conninfo)?, host: server.host.clone(), progress: progress.clone() };
    finish(&config, connector, progress).await
}

async fn finish<T>(config: &Config, connector: T, progress: &Progress) -> Result<Client, Failure>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) =
        config.connect(connector).await.map_err(|error| Failure::of_sql(error, progress.stage()))?;
    ServerVersion::parse(connection.parameter("server_version").unwrap_or_default())?;
    // The connection's own error reaches the client's next question, too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Negotiates in the place where `tokio-postgres` begins with TLS.
#[derive(Clone)]
struct Connector {
    tls: Tls,
    host: String,
    progress: Progress,
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Wire<Socket>;
    type TlsConnect = Connector;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Connector, Infallible> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Connector {
    type Stream = Wire<Socket>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Wire<Socket>, Failure>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { self.tls.negotiate(socket, &self.host, &self.progress).await })
    }
}

impl TlsStream for Wire<Socket> {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}
