//! The article's recipe: a container that sets itself up by the official entrypoint and one of two scripts, and `docker run`.

use std::{env, time::Instant};

use anyhow::Context;
use pgherd_images::{contract::labels, release::PostgresMajor};
use pgherd_orchestrator::Owner;
use xshell::{Shell, cmd};

use super::{LIMIT, REPLICAS};
use crate::e2e::shell_in_workspace;

/// The image of `images/article.toml`, built, and what it takes to run it.
pub(super) struct Recipe {
    sh: Shell,
    image: String,
    label: String,
}

impl Recipe {
    /// Builds the image if it is missing.
    pub(super) fn ready(major: PostgresMajor) -> anyhow::Result<Recipe> {
        let sh = shell_in_workspace()?;
        let xtask = env::current_exe().context("could not find out which program this is")?;
        let version = major.to_string();
        cmd!(sh, "{xtask} images article --version {version}").quiet().ignore_stdout().run()?;
        let label = format!("{}={}", labels::OWNER, Owner::of_this_process());
        Ok(Recipe { sh, image: format!("pgherd/bench-article:{major}"), label })
    }

    /// Seconds from nothing to all replicas streaming, as seen by the primary.
    pub(super) fn measure(&self, round: u16) -> anyhow::Result<f64> {
        let Recipe { sh, label, .. } = self;
        let network = format!("bench-article-{}-{round}", std::process::id());
        let primary = format!("{network}-primary");
        let replicas = (1..=REPLICAS).map(|number| format!("{network}-replica{number}")).collect::<Vec<_>>();

        let start = Instant::now();
        cmd!(sh, "docker network create --driver bridge --label {label} {network}").quiet().ignore_stdout().run()?;
        self.docker_run(&primary, &network, &[])?;
        // While it sets itself up, the primary listens on its socket only: a replica that came now would find nobody.
        self.ask(&primary, "until pg_isready --quiet --host 127.0.0.1; do sleep 0.02; done")?;
        for replica in &replicas {
            self.docker_run(replica, &network, &["-e", &format!("PRIMARY_NAME={primary}")])?;
        }
        self.ask(&primary, &until_streaming())?;
        let seconds = start.elapsed().as_secs_f64();

        cmd!(sh, "docker kill {primary} {replicas...}").quiet().ignore_stdout().run()?;
        cmd!(sh, "docker network rm {network}").quiet().ignore_stdout().run()?;
        Ok(seconds)
    }

    /// The article's line. The volume stands for the one that the official image declares.
    fn docker_run(&self, name: &str, network: &str, options: &[&str]) -> anyhow::Result<()> {
        let Recipe { sh, image, label } = self;
        let run = cmd!(
            sh,
            "docker run --name {name} --network {network} --label {label} -v /var/lib/postgresql -d {options...} {image}"
        );
        Ok(run.quiet().ignore_stdout().run()?)
    }

    /// Runs a waiting command line inside a container, with a bound.
    fn ask(&self, container: &str, command: &str) -> anyhow::Result<()> {
        let sh = &self.sh;
        let limit = LIMIT.as_secs().to_string();
        let ask = cmd!(sh, "docker exec {container} timeout {limit} sh -c {command}").quiet().ignore_stdout();
        ask.run().with_context(|| format!("waited at most {limit} s in {container} for: {command}"))
    }
}

/// A wait inside the server: finer, and cheaper for what is measured, than asking again and again from outside.
///
/// Only the replicas' last servers have this name: those that stop again while they set themselves up stream for a moment,
/// too.
fn until_streaming() -> String {
    format!(
        "psql --no-psqlrc --username postgres <<'END'\n\
         SELECT 1 WHERE (SELECT count(*) FROM pg_stat_replication WHERE application_name = 'article' \
         AND state = 'streaming') < {REPLICAS} \\watch interval=0.02 min_rows=1\nEND\n"
    )
}
