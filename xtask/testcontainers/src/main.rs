//! The other way of `cargo xtask bench handle`: a single PostgreSQL for a test, by the crate testcontainers.
//!
//! It is told an image and the owner of what it makes. For every volume that is then named on standard input it starts a node, asks it
//! something as a test would, and says how many seconds that took.

use std::{
    env,
    error::Error,
    io::{Write, stdin, stdout},
    time::Instant,
};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{IntoContainerPort, Mount, WaitFor},
    runners::AsyncRunner,
};
use tokio_postgres::NoTls;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [image, owner] = &arguments[..] else { return Err("usage: start-by-testcontainers IMAGE OWNER".into()) };
    // Those that were measured stand by, stopped: the removal of their files would slow down what is measured next.
    let mut measured = Vec::new();
    for volume in stdin().lines() {
        let begin = Instant::now();
        let node = start(image, owner, &volume?).await?;
        let seconds = begin.elapsed().as_secs_f64();
        node.stop().await?;
        measured.push(node);
        writeln!(stdout(), "{seconds}")?;
    }
    for node in measured {
        node.rm().await?;
    }
    Ok(())
}

/// A node that has answered. It waits as others do who start PostgreSQL by testcontainers: for its word in the log.
async fn start(image: &str, owner: &str, volume: &str) -> Result<ContainerAsync<GenericImage>, Box<dyn Error>> {
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let node = GenericImage::new(name, tag)
        .with_exposed_port(5432.tcp())
        .with_wait_for(WaitFor::message_on_stderr("database system is ready to accept connections"))
        .with_env_var("PGHERD_ROLE", "primary")
        .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
        .with_mount(Mount::volume_mount(volume, "/var/lib/postgresql"))
        .with_label("pgherd.owner", owner)
        .start()
        .await?;
    let (host, port) = (node.get_host().await?, node.get_host_port_ipv4(5432.tcp()).await?);
    let (client, connection) = tokio_postgres::connect(&format!("postgresql://app@{host}:{port}/app"), NoTls).await?;
    let connection = tokio::spawn(connection);
    client.simple_query("SELECT 1").await?;
    drop(client);
    connection.await??;
    Ok(node)
}
