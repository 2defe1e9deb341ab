//! A connection to a node like the observer's, as superuser through the engine, and what goes over it.

use std::{
    io,
    ops::Deref,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use anyhow::Context as _;
use pgherd_images::contract::SUPERUSER;
use pgherd_orchestrator::{Attendant, Engine, Tunnel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{Client, Config, NoTls};

pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) traffic: Arc<Traffic>,
    /// The tunnel ends with it.
    pub(super) attendant: Attendant,
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What went over a connection so far.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// How often something came back after something had been sent.
    round_trips: AtomicU64,
    bytes: AtomicU64,
    asked: AtomicBool,
}

impl Traffic {
    /// Round trips, and bytes in both directions.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.round_trips.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// Connects once the server is up, for which it waits no longer than `patience`.
pub(super) async fn connect(engine: &Engine, container: &str, patience: Duration) -> anyhow::Result<Connection> {
    let complaint = Arc::<Mutex<String>>::default();
    let traffic = Arc::<Traffic>::default();
    let (tunnel, attendant) = engine.attend(container, patience, &complaint).await?;
    let counted = Counted { tunnel, traffic: Arc::clone(&traffic) };
    let mut config = Config::new();
    config.user(SUPERUSER).dbname("postgres").application_name("pgherd");
    let connected = config.connect_raw(counted, NoTls).await;
    let (client, connection) = connected.with_context(|| format!("could not connect to {container}: {complaint:?}"))?;
    // The connection's own error reaches the client's next question, too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { client, traffic, attendant })
}

/// A tunnel that counts.
struct Counted {
    tunnel: Tunnel,
    traffic: Arc<Traffic>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tunnel).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        self.traffic.bytes.fetch_add(read as u64, Relaxed);
        if read > 0 && self.traffic.asked.swap(false, Relaxed) {
            self.traffic.round_trips.fetch_add(1, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tunnel).poll_write(cx, bytes))?;
        self.traffic.bytes.fetch_add(written as u64, Relaxed);
        self.traffic.asked.store(true, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_shutdown(cx)
    }
}
