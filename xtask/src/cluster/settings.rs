//! `cluster set`: settings of PostgreSQL on every node.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use pgherd_orchestrator::{Changes, ClusterName, ClusterSpec, Engine, Primacy, Progress, Replicas, Stage, foresee_set};
use serde::Serialize;
use tokio::time::Instant;

use super::{change::ChangeArgs, status, up::spec_of_existing};
use crate::{
    output::{self, Format},
    progress::Reporter,
};

#[derive(Args)]
pub(super) struct SetArgs {
    /// A cluster, if it is not the usual one, and settings, as in work_mem=64MB
    #[arg(value_name = "NAME|SETTING=VALUE", required_unless_present = "reset")]
    targets: Vec<String>,
    /// Gives a setting back what every node has otherwise; may be given more than once
    #[arg(long, value_name = "SETTING")]
    reset: Vec<String>,
    /// Where the primary needs a start, has a replica take over that has the settings already, so that clients wait for no restart
    #[arg(long)]
    switchover: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

impl SetArgs {
    fn parse(&self) -> anyhow::Result<(ClusterName, Changes)> {
        let usual = || std::env::var("PGHERD_CLUSTER").unwrap_or_else(|_| "demo".to_owned());
        let (settings, names): (Vec<&String>, Vec<&String>) =
            self.targets.iter().partition(|target| target.contains('='));
        let name = match names[..] {
            [] => usual(),
            [name] => name.clone(),
            [_, other, ..] => bail!("\"{other}\" is neither the cluster nor a setting\nhint: Write SETTING=VALUE."),
        };
        let set = settings.iter().filter_map(|setting| parse_setting(setting).ok());
        let set = set.map(|(name, value)| (name, Some(value)));
        let reset = self.reset.iter().map(|name| (lower(name), None));
        Ok((name.parse()?, set.chain(reset).collect()))
    }
}

/// A setting and its value, as in `work_mem=64MB`. PostgreSQL takes names in any case.
pub(super) fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("name a setting and its value, as in \"work_mem=64MB\"")?;
    Ok((lower(name), value.trim().to_owned()))
}

fn lower(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

pub(super) async fn set(engine: &Engine, args: &SetArgs) -> anyhow::Result<ExitCode> {
    let (name, changes) = args.parse()?;
    let (spec, _) = spec_of_existing(engine, &name, Replicas::AsFound).await?;
    let primacy = if args.switchover { Primacy::Switchover { to: None } } else { Primacy::AsFound };
    let spec = ClusterSpec { primacy, ..spec };
    let failed = || format!("could not change the settings of cluster \"{name}\"");
    if args.change.dry_run {
        let stages = foresee_set(engine, &spec, &changes).await.with_context(failed)?;
        return print_stages(&name, &stages, args.change.format.format);
    }
    let began = Instant::now();
    let mut reporter = Reporter::new();
    let (observed, has_changed) =
        pgherd_orchestrator::set(engine, &spec, &changes, args.change.terms(), |progress| match progress {
            Progress::Applying(steps) => steps.iter().for_each(|step| reporter.line(&step.to_string())),
            Progress::Promoted(node) => {
                reporter.line(&format!("{node} is the primary after {:.1} s", began.elapsed().as_secs_f64()));
            }
            Progress::Waiting([first, ..]) => reporter.waiting(&format!("{}: {}", first.node, first.doing)),
            _ => {}
        })
        .await
        .with_context(failed)?;
    drop(reporter);
    match has_changed {
        true => output::note(format_args!("cluster \"{name}\" streams after {:.1} s", began.elapsed().as_secs_f64())),
        false => output::note(format_args!("cluster \"{name}\" has these settings already, nothing to do")),
    }
    status::print(&observed, args.change.format.format)
}

/// What would be done, for programs.
#[derive(Serialize)]
struct StagesOutput<'a> {
    schema: u32,
    stages: &'a [Stage],
}

pub(super) fn print_stages(cluster: &ClusterName, stages: &[Stage], format: Format) -> anyhow::Result<ExitCode> {
    let rows = stages.iter().flat_map(|stage| {
        stage.nodes.iter().map(|(number, settings)| {
            let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            let how = match (stage.restarts, stage.after_replay, stage.successor) {
                (_, _, Some(to)) => format!("by a start as a replica, once {} has taken over", cluster.node(to)),
                (false, _, None) => "while it runs".to_owned(),
                (true, false, None) => "by a start".to_owned(),
                (true, true, None) => "by a start, once it has replayed everything".to_owned(),
            };
            [cluster.node(*number).to_string(), settings.join(", "), how]
        })
    });
    match format {
        Format::Json => output::json(&StagesOutput { schema: 1, stages })?,
        Format::Table if stages.is_empty() => output::note("nothing to do"),
        Format::Table => output::table(["NODE", "SETTINGS", "HOW"], rows)?,
    }
    Ok(ExitCode::SUCCESS)
}
