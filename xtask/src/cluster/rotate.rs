//! `cluster rotate`: new secrets in the place of old ones.

use std::process::ExitCode;

use clap::ValueEnum;
use pgherd_orchestrator::{ClusterName, Engine, Replicas, Rotation};

use super::up;
use crate::{output, progress::Reporter};

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum What {
    /// Those of replication and of the application, whose connection line is another afterwards
    Passwords,
    /// The certificate and the key of every node
    Certificates,
    /// The certificate authority, and all certificates with it; old and new are both trusted in between
    Authority,
}

impl What {
    fn rotation(self) -> Rotation {
        match self {
            What::Passwords => Rotation::Passwords,
            What::Certificates => Rotation::Certificates,
            What::Authority => Rotation::Authority,
        }
    }
}

pub(super) async fn rotate(engine: &Engine, name: &ClusterName, what: What) -> anyhow::Result<ExitCode> {
    let (spec, _) = up::spec_of_existing(engine, name, Replicas::AsFound).await?;
    let reporter = Reporter::new();
    let observed =
        pgherd_orchestrator::rotate(engine, &spec, what.rotation(), |step| reporter.line(&step.to_string())).await?;
    drop(reporter);
    match what {
        What::Passwords => {
            output::note(format_args!("cluster \"{name}\" has new passwords; open sessions go on"));
            up::print_how_to_connect(engine, &observed, &spec.image).await?;
        }
        What::Certificates => output::note(format_args!("the nodes of cluster \"{name}\" have new certificates")),
        What::Authority => output::note(format_args!("cluster \"{name}\" has a new certificate authority")),
    }
    Ok(ExitCode::SUCCESS)
}
