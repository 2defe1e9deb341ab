//! What all verbs have in common that change a cluster: they plan, say what they would do or do it, and end with a cluster that streams.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use pgherd_orchestrator::{
    ClusterName, ClusterSpec, Engine, Foreseen, Inventory, NodeInventory, Observer, Progress, SettingsError, Stage,
    Storage, Terms, check_settings, foresee_by, foresee_settings, reconcile_by, settle_settings,
};
use serde::Serialize;
use tokio::time::Instant;

use super::{TimeoutArg, settings::print_stages, status, up::print_how_to_connect};
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
    let (format, engine) = (args.format.format, observer.engine().clone());
    if args.dry_run {
        check_settings(&engine, spec).await?;
        let steps = foresee_by(observer, spec).await?;
        let stages = match foresee_settings(&engine, spec).await {
            // Those steps bring up who has to be asked.
            Err(SettingsError::NotNow { .. }) if !steps.is_empty() => Vec::new(),
            stages => stages?,
        };
        return print_plan(&spec.name, &steps, &stages, format);
    }
    check_settings(&engine, spec).await?;
    let began = Instant::now();
    let mut reporter = Reporter::new();
    let mut report = |progress: Progress<'_>| match progress {
        Progress::Applying(steps) => steps.iter().for_each(|step| reporter.line(&step.to_string())),
        Progress::MayLose(node, bound) => reporter.line(&format!("promoting {node} {bound}")),
        Progress::Promoted(node) => reporter.line(&format!("{node} is the primary after {}", seconds(began.elapsed()))),
        Progress::Waiting([first, others @ ..]) => {
            let others = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
            reporter.waiting(&format!("{}: {}{others}", first.node, first.doing));
        }
        Progress::Waiting([]) => {}
    };
    // What is refused changes nothing, settings neither; and only who runs is told of them.
    let (observed, reconciled) = reconcile_by(observer, spec, args.terms(), &mut report).await?;
    let settled = settle_settings(&engine, spec, args.terms(), report).await?;
    let has_changed = changed || reconciled || settled.is_some();
    let observed = settled.unwrap_or(observed);
    drop(reporter);
    let what = match spec.only {
        None => format!("cluster \"{}\"", spec.name),
        Some(number) => format!("node \"{}\"", observed.node_name(number)),
    };
    if has_changed {
        output::note(format_args!("{what} streams after {}", seconds(began.elapsed())));
    } else {
        output::note(format_args!("{what} is complete, nothing to do"));
    }
    warn_of_loss(&observed);
    let exit_code = status::print(&observed, format)?;
    if format == Format::Table {
        print_how_to_connect(observer.engine(), &observed, &spec.image).await?;
    }
    Ok(exit_code)
}

/// What nobody should find out afterwards.
fn warn_of_loss(observed: &Inventory) {
    if observed.storage() == Some(&Storage::Memory) {
        output::note("WARNING: the data are in memory, and a node that stops has lost its own");
    }
    let is_off = |node: &NodeInventory| {
        node.spec.as_ref().is_some_and(|spec| spec.settings.get("fsync").is_some_and(|value| is_false(value)))
    };
    if observed.nodes.values().any(is_off) {
        output::note("WARNING: fsync is off, and what a crash of the host leaves of the data may be damaged");
    }
}

/// As PostgreSQL takes it: also by the first letters of a word, as long as it is no other one.
fn is_false(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    value == "0" || begins("off", 2) || begins("false", 1) || begins("no", 1)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What would be done, for programs.
#[derive(Serialize)]
struct PlanOutput<'a> {
    schema: u32,
    steps: &'a [Foreseen],
    /// What comes after them, of a cluster that is there.
    #[serde(skip_serializing_if = "<[Stage]>::is_empty")]
    settings: &'a [Stage],
}

fn print_plan(
    cluster: &ClusterName,
    foreseen: &[Foreseen],
    settings: &[Stage],
    format: Format,
) -> anyhow::Result<ExitCode> {
    match format {
        Format::Json => output::json(&PlanOutput { schema: 1, steps: foreseen, settings })?,
        Format::Table if foreseen.is_empty() && settings.is_empty() => output::note("nothing to do"),
        Format::Table => {
            if !foreseen.is_empty() {
                let rows = foreseen.iter().map(|step| [step.text.clone(), step.reason.clone()]);
                output::table(["STEP", "WHY"], rows)?;
            }
            if !settings.is_empty() {
                print_stages(cluster, settings, format)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
