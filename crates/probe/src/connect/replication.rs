//! Connections for replication: the protocol over a socket, within time limits.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{
    ConnectError, Conninfo, Failure, Server,
    tls::Tls,
    wire::{Progress, Wire},
};
use crate::replication_protocol::{Command, Event, ProtocolError, ServerError, ServerVersion, Session};

/// What the server shows as `application_name`, unless the connection string has one.
const APPLICATION_NAME: &str = "pgherd-probe";

/// How much is read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// A unix socket or a TCP connection.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection to a walsender.
pub struct Replication {
    session: Session,
    wire: Wire<Box<dyn Socket>>,
    limit: Duration,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server refused, and takes the next one.
    #[error(transparent)]
    Refused(Box<ServerError>),
    /// The server ended the session, or answered something strange. The connection is of no use any more.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(io::Error),
    /// The server did not answer in time. The connection is of no use any more.
    #[error("no answer to {command} within {} s", .limit.as_secs_f64())]
    Silent {
        /// What was asked.
        command: &'static str,
        /// How long that took.
        limit: Duration,
    },
}

impl Replication {
    /// Connects to the first server that will, for physical replication. The role needs `REPLICATION`, and a line for
    /// the database `replication` in `pg_hba.conf`.
    ///
    /// Each may take as long as `connect_timeout` says, 5 s by default, and so may every answer.
    ///
    /// # Errors
    /// Where no server could be connected to: why, of each.
    pub async fn connect(conninfo: &Conninfo) -> Result<Replication, ConnectError> {
        let mut failures = Vec::new();
        for server in conninfo.servers() {
            let progress = Progress::new();
            let late = |_| Err(Failure::Silent { stage: progress.stage(), limit: conninfo.timeout });
            let attempt = Replication::connect_to(conninfo, server, &progress);
            match timeout(conninfo.timeout, attempt).await.unwrap_or_else(late) {
                Ok(replication) => return Ok(replication),
                Err(failure) => failures.push((server.clone(), failure)),
            }
        }
        Err(ConnectError::new(conninfo, failures))
    }

    async fn connect_to(conninfo: &Conninfo, server: &Server, progress: &Progress) -> Result<Replication, Failure> {
        let login = conninfo.login(conninfo.password(server, true).map_err(Failure::PasswordFile)?);
        let socket = open(server).await.map_err(Failure::Unreachable)?;
        let wire = if server.is_local() {
            Wire::plain(socket, progress)
        } else {
            Tls::of(conninfo)?.negotiate(socket, &server.host, progress).await?
        };
        let login = if wire.is_encrypted() || server.is_local() { login.over_tls(wire.end_point()) } else { login };
        let name = conninfo.config.get_application_name().unwrap_or(APPLICATION_NAME);
        let mut replication = Replication { session: Session::begin(login, name), wire, limit: conninfo.timeout };
        loop {
            match replication.next_event().await {
                Ok(Event::Ready) => return Ok(replication),
                Ok(_) => {}
                Err(AskError::Lost(error)) => return Err(Failure::of_io(error, progress.stage())),
                Err(AskError::Protocol(error)) => return Err(error.into()),
                Err(error) => return Err(Failure::Lost(io::Error::other(error))),
            }
        }
    }

    /// What the server says it is.
    #[must_use]
    pub fn server_version(&self) -> Option<&ServerVersion> {
        self.session.server_version()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Where there is none in time. After [`AskError::Refused`] the next question can be asked.
    pub async fn ask<C: Command>(&mut self, command: &C) -> Result<C::Answer, AskError> {
        self.session.ask(command)?;
        let limit = self.limit;
        let answer = async {
            loop {
                match self.next_event().await? {
                    Event::Answered(row) => return Ok(command.read(&row)?),
                    Event::Refused(error) => return Err(AskError::Refused(Box::new(error))),
                    Event::Ready | Event::Notice(_) => {}
                }
            }
        };
        timeout(limit, answer).await.unwrap_or(Err(AskError::Silent { command: C::NAME, limit }))
    }

    /// Takes leave, so that the server's log has nothing to complain about.
    pub async fn close(mut self) {
        self.session.end();
        let _ = timeout(self.limit, self.send()).await;
    }

    async fn next_event(&mut self) -> Result<Event, AskError> {
        loop {
            if let Some(event) = self.session.next_event()? {
                return Ok(event);
            }
            self.send().await.map_err(AskError::Lost)?;
            let mut chunk = [0; CHUNK_BYTES];
            match self.wire.read(&mut chunk).await.map_err(AskError::Lost)? {
                0 => return Err(self.session.closed().into()),
                length => self.session.receive(&chunk[..length]),
            }
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        self.wire.write_all(&self.session.take_outgoing()).await?;
        self.wire.flush().await
    }
}

async fn open(server: &Server) -> io::Result<Box<dyn Socket>> {
    if server.is_local() {
        let path = format!("{}/.s.PGSQL.{}", server.host, server.port);
        return Ok(Box::new(UnixStream::connect(path).await?));
    }
    let stream = match server.address {
        Some(address) => TcpStream::connect((address, server.port)).await?,
        None => TcpStream::connect((&*server.host, server.port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}
