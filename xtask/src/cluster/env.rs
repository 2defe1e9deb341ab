//! `cluster env`: what libpq reads from the environment, for the application's role.

use std::process::ExitCode;

use anyhow::{Context, bail};
use pgherd_orchestrator::{ClusterName, Engine, Observer, Refusal, connection_urls};

use crate::output;

pub(super) async fn env(engine: &Engine, name: &ClusterName) -> anyhow::Result<ExitCode> {
    let observed = Observer::new(engine, name).observe().await?;
    if observed.is_empty() {
        bail!(Refusal::NoSuchCluster(name.clone()));
    }
    observed.refuse_followers("name a role and its password")?;
    let urls = connection_urls(engine, &observed).await?;
    // A port that is not published leads nowhere from here, but from a container on the network.
    let url: tokio_postgres::Config = urls.outside.unwrap_or(urls.inside).parse()?;
    let hosts = url.get_hosts().iter().map(|host| match host {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    });
    let password = url.get_password().context("the connection line has no password")?;
    output::line(format_args!(
        "export PGHOST={}\nexport PGPORT={}\nexport PGDATABASE={}\nexport PGUSER={}\nexport PGPASSWORD={}\n\
         export PGTARGETSESSIONATTRS=read-write",
        hosts.collect::<Vec<_>>().join(","),
        url.get_ports().iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        url.get_dbname().unwrap_or_default(),
        url.get_user().unwrap_or_default(),
        String::from_utf8_lossy(password),
    ))?;
    Ok(ExitCode::SUCCESS)
}
