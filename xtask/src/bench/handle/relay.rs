//! A way to the engine for clients that speak a newer API than it.
//!
//! testcontainers asks by the newest version of the API that it knows, and an older engine refuses that. To a request without a version,
//! every engine answers in its own, so the relay takes the version out and passes on all else as it is.
//!
//! <https://docs.docker.com/reference/api/engine/#versioned-api-and-sdk>

use std::{env, io, net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinHandle,
};

pub(super) struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    pub(super) async fn open() -> anyhow::Result<Relay> {
        let socket = socket()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("could not listen on a port of 127.0.0.1")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that is cut off says so itself.
                tokio::spawn(pass(client, socket.clone()));
            }
        });
        Ok(Relay { address, task })
    }

    /// What clients take for the engine, as `DOCKER_HOST`.
    pub(super) fn host(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the engine listens.
fn socket() -> anyhow::Result<PathBuf> {
    let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    match host.strip_prefix("unix://") {
        Some(path) => Ok(path.into()),
        None => bail!("DOCKER_HOST is \"{host}\"\nhint: this is measured at an engine on this machine: unix://PATH"),
    }
}

/// Passes on one connection. These clients send one request over each.
async fn pass(client: TcpStream, socket: PathBuf) -> io::Result<()> {
    let (mut client, mut engine) = (BufReader::new(client), UnixStream::connect(socket).await?);
    let mut request = String::new();
    client.read_line(&mut request).await?;
    engine.write_all(without_version(&request).as_bytes()).await?;
    copy_bidirectional(&mut client, &mut engine).await.map(drop)
}

/// The first line of a request, without the version of the API in its path.
fn without_version(request: &str) -> String {
    let parts = request.split_once(" /v").and_then(|(method, rest)| Some((method, rest.split_once('/')?)));
    match parts {
        Some((method, (version, rest))) if version.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            format!("{method} /{rest}")
        }
        _ => request.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_version;

    #[test]
    fn a_version_is_taken_out_and_nothing_else() {
        let create = without_version("POST /v1.53/containers/create?platform= HTTP/1.1\r\n");
        assert_eq!(create, "POST /containers/create?platform= HTTP/1.1\r\n");
        for same in ["GET /_ping HTTP/1.1\r\n", "GET /volumes/v1.53/x HTTP/1.1\r\n", "GET /v HTTP/1.1\r\n", ""] {
            assert_eq!(without_version(same), same);
        }
    }
}
