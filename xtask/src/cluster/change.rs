//! What all verbs have in common that change a cluster: they plan, say what they would do or do it, and end with a cluster that streams.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use pgherd_orchestrator::{ClusterSpec, Engine, Foreseen, Observer, Progress, Terms, foresee_by, reconcile_by};
use serde::Serialize;
use tokio::time::Instant;

use super::{TimeoutArg, status, up::print_how_to_connect};
use crate::{
    output::{self, Format, FormatArg},
    progress::Reporter,
};

#[derive(Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    pub(super) timeout: TimeoutArg,
    /// Prints what would be done and why, and changes nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Takes the cluster's lock from whoever has it
    #[arg(long)]
    pub(super) steal_lock: bool,
    #[command(flatten)]
    pub(super) format: FormatArg,
}

impl ChangeArgs {
    /// The usual ones, with a bound in seconds.
    pub(super) fn within(timeout: u64) -> ChangeArgs {
        let format = FormatArg { format: Format::Table };
        ChangeArgs { timeout: TimeoutArg { timeout }, dry_run: false, steal_lock: false, format }
    }

    pub(super) fn terms(&self) -> Terms {
        Terms { limit: self.timeout.duration(), steal_lock: self.steal_lock }
    }
}

/// Makes a cluster what it shall be, and tells of the result. With `changed` there was something to do in any case.
pub(super) async fn change(
    engine: &Engine,
    spec: &ClusterSpec,
    args: &ChangeArgs,
    changed: bool,
) -> anyhow::Result<ExitCode> {
    change_by(&mut Observer::new(engine, &spec.name), spec, args, changed).await
}

/// The same by an observer that may know more.
pub(super) async fn change_by(
    observer: &mut Observer,
    spec: &ClusterSpec,
    args: &ChangeArgs,
    changed: bool,
) -> anyhow::Result<ExitCode> {
    let format = args.format.format;
    if args.dry_run {
        return print_plan(&foresee_by(observer, spec).await?, format);
    }
    let began = Instant::now();
    let mut reporter = Reporter::new();
    let (observed, reconciled) = reconcile_by(observer, spec, args.terms(), |progress| match progress {
        Progress::Applying(steps) => steps.iter().for_each(|step| reporter.line(&step.to_string())),
        Progress::MayLose(node, bound) => reporter.line(&format!("promoting {node} {bound}")),
        Progress::Promoted(node) => reporter.line(&format!("{node} is the primary after {}", seconds(began.elapsed()))),
        Progress::Waiting([first, others @ ..]) => {
            let others = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
            reporter.waiting(&format!("{}: {}{others}", first.node, first.doing));
        }
        Progress::Waiting([]) => {}
    })
    .await?;
    drop(reporter);
    let what = match spec.only {
        None => format!("cluster \"{}\"", spec.name),
        Some(number) => format!("node \"{}\"", observed.node_name(number)),
    };
    if changed || reconciled {
        output::note(format_args!("{what} streams after {}", seconds(began.elapsed())));
    } else {
        output::note(format_args!("{what} is complete, nothing to do"));
    }
    let exit_code = status::print(&observed, format)?;
    if format == Format::Table {
        print_how_to_connect(observer.engine(), &observed, &spec.image).await?;
    }
    Ok(exit_code)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What would be done, for programs.
#[derive(Serialize)]
struct PlanOutput<'a> {
    schema: u32,
    steps: &'a [Foreseen],
}

fn print_plan(foreseen: &[Foreseen], format: Format) -> anyhow::Result<ExitCode> {
    match format {
        Format::Json => output::json(&PlanOutput { schema: 1, steps: foreseen })?,
        Format::Table if foreseen.is_empty() => output::note("nothing to do"),
        Format::Table => {
            output::table(["STEP", "WHY"], foreseen.iter().map(|step| [step.text.clone(), step.reason.clone()]))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
