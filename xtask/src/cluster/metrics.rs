//! `cluster metrics`: what is known of a cluster, for Prometheus, looked up whenever it asks.

mod exposition;

use std::{convert::Infallible, net::SocketAddr, pin::pin, process::ExitCode, time::Duration};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pgherd_orchestrator::{ClusterName, Engine, Lookout};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::ctrl_c,
    sync::Mutex,
    time::{Instant, timeout},
};

use super::NameArg;
use crate::output;

/// How long a look may take; Prometheus waits for 10 s unless it is told otherwise.
const LOOK_TIMEOUT: Duration = Duration::from_secs(9);

/// How long a client may take to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last, with its one question and answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// How many may ask at once. Others wait in the listener's own queue.
const MOST_CONNECTIONS: usize = 16;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Args)]
pub(super) struct MetricsArgs {
    #[command(flatten)]
    name: NameArg,
    /// Where to listen; with port 0, on any that is free
    #[arg(long, default_value = "127.0.0.1:9187", value_name = "ADDRESS:PORT", value_parser = address)]
    listen: SocketAddr,
    /// Prints what would be answered, and ends
    #[arg(long, conflicts_with = "listen")]
    once: bool,
    /// Commits a few bytes without effect on the primary at each look: one that answers may hang with all commits
    #[arg(long)]
    heartbeat: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let hint = "hint: Use an IP address and a port, as in \"127.0.0.1:9187\" or \"[::1]:9187\".";
    text.parse().map_err(|error| format!("{error}\n{hint}"))
}

pub(super) async fn metrics(engine: &Engine, args: &MetricsArgs) -> anyhow::Result<ExitCode> {
    let name = &args.name.name;
    let lookout = Lookout::new(engine, name);
    let lookout = if args.heartbeat { lookout.with_heartbeat() } else { lookout };
    let exporter = Exporter { name, lookout: Mutex::new(lookout) };
    // Whatever is wrong from the beginning is told here, and not to the first who asks.
    let text = exporter.scrape().await?;
    if args.once {
        output::line(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        let hint = "hint: Name another address with \"--listen\"; port 0 is any that is free.";
        anyhow!("could not listen on {}: {error}\n{hint}", args.listen)
    })?;
    output::note(format_args!("metrics of cluster \"{name}\" are on http://{}/metrics", listener.local_addr()?));
    exporter.serve(&listener).await?;
    Ok(ExitCode::SUCCESS)
}

struct Exporter<'a> {
    name: &'a ClusterName,
    lookout: Mutex<Lookout>,
}

impl Exporter<'_> {
    /// Answers until ctrl-c.
    async fn serve(&self, listener: &TcpListener) -> anyhow::Result<()> {
        let mut interrupted = pin!(ctrl_c());
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                    Ok((stream, _)) => connections.push(self.answer(stream)),
                    Err(error) => output::note(format_args!("could not accept a connection: {error}")),
                },
                Some(()) = connections.next() => {}
                _ = &mut interrupted => return Ok(()),
            }
        }
    }

    async fn answer(&self, stream: TcpStream) {
        let service = service_fn(async |request| Ok::<_, Infallible>(self.respond(&request).await));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // A client that goes away, or is too slow, has nobody to tell it to.
        let _ = timeout(CONNECTION_TIMEOUT, connection).await;
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
            response.headers_mut().insert(ALLOW, "GET".parse().expect("a header"));
            return response;
        }
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
        }
        match self.scrape().await {
            Ok(text) => {
                let accepted = request.headers().get(ACCEPT).and_then(|accepted| accepted.to_str().ok());
                // The text is valid in both formats: the older one takes the end mark for a comment.
                let is_new = accepted.is_some_and(|accepted| accepted.contains("application/openmetrics-text"));
                respond(StatusCode::OK, if is_new { OPEN_METRICS } else { PLAIN }, text)
            }
            Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
        }
    }

    /// Looks, one after the other: whoever asks meanwhile waits, and his wait counts.
    async fn scrape(&self) -> anyhow::Result<String> {
        let look = async {
            let mut lookout = self.lookout.lock().await;
            let began = Instant::now();
            let look = lookout.look().await?;
            anyhow::Ok(exposition::encode(self.name, &look.observed, &look.report, began.elapsed()))
        };
        let late = || format!("could not look at cluster \"{}\" within {} s", self.name, LOOK_TIMEOUT.as_secs());
        timeout(LOOK_TIMEOUT, look).await.with_context(late)?
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind);
    response.body(Full::new(text.into())).expect("a response")
}
