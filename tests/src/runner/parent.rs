//! The runner itself: begins scenarios while memory and cores last, and cleans up after those that could not.

use std::{
    any::Any,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{self, ExitCode},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use pgherd_orchestrator::Owner;

use super::{
    Arguments, Played, SKIPPED, USAGE, Verdict, junit,
    progress::{Progress, say},
    schedule::{self, Budget, Need},
    select, summary,
};
use crate::{
    command::Invocation,
    context::KEEP,
    process::Job,
    registry::{Entry, Suite},
    report,
    version::VERSION,
};

/// Scenarios wait more than they compute.
const SCENARIOS_PER_CORE: usize = 2;

/// What every scenario of a run is given.
#[derive(Clone, Copy)]
struct Run<'a> {
    arguments: &'a Arguments,
    results: &'a Path,
}

pub(super) fn run(suite: Suite, arguments: &Arguments, results: &Path) -> ExitCode {
    let mut pending = select::select(suite.entries(), arguments.filter.as_deref(), arguments.all);
    if pending.is_empty() {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        eprintln!(
            "error: no scenario has \"{filter}\" in its name\nhint: \"ls\" lists them; some run with --all only."
        );
        return ExitCode::from(USAGE);
    }
    match arguments.shuffle {
        Some(seed) => {
            say(format_args!("shuffled: --shuffle {seed} gives this order again"));
            select::shuffle(&mut pending, seed);
        }
        None => select::in_good_order(&mut pending),
    }
    // Before anything is played whose results could not be kept.
    if let Err(error) = fs::create_dir_all(results) {
        eprintln!("error: could not create {}: {error}", results.display());
        return ExitCode::FAILURE;
    }
    let began = Instant::now();
    let played = play_all(pending, Run { arguments, results }, budget(arguments));
    if let Err(error) = junit::write(results, suite.name, &played, began.elapsed()) {
        eprintln!("error: could not write {}: {error}", results.join("junit.xml").display());
        return ExitCode::FAILURE;
    }
    say(summary::summary(&played));
    let failed = played.iter().any(|played| matches!(played.verdict, Verdict::Failed(_)));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn play_all(mut pending: Vec<&'static Entry>, run: Run<'_>, budget: Budget) -> Vec<Played> {
    let progress = Progress::new(pending.len());
    let mut running: Vec<&'static Entry> = Vec::new();
    let mut all = Vec::new();
    let needs = |entries: &[&'static Entry]| entries.iter().map(|entry| Need::of(entry)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let (sender, played) = mpsc::channel();
        while !(pending.is_empty() && running.is_empty()) {
            while let Some(position) = schedule::next(&needs(&pending), &needs(&running), budget) {
                let entry = pending.remove(position);
                running.push(entry);
                let sender = sender.clone();
                // The thread stays until the scenario's end, for the kernel would end that with it.
                scope.spawn(move || sender.send(play_or_fail(entry, run)));
            }
            progress.running(&running.iter().map(|entry| entry.name).collect::<Vec<_>>());
            let played = played.recv().expect("a sender is here");
            running.retain(|entry| entry.name != played.entry.name);
            progress.played(&played);
            all.push(played);
        }
    });
    all
}

/// Plays a scenario. Where the runner itself is at fault, that one has failed: the others are waited for.
fn play_or_fail(entry: &'static Entry, run: Run<'_>) -> Played {
    let began = Instant::now();
    catch_unwind(AssertUnwindSafe(|| play(entry, run))).unwrap_or_else(|panic| {
        let reason = format!("the runner failed: {}", message(&*panic));
        Played { entry, verdict: Verdict::Failed(reason), time: began.elapsed(), output: String::new() }
    })
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// Plays a scenario in a process of its own.
fn play(entry: &'static Entry, run: Run<'_>) -> Played {
    let began = Instant::now();
    let job = Job::start(&invocation(entry, run));
    let owner = job.pid().map(Owner::of_process);
    let outcome = job.end(Duration::from_secs(run.arguments.limit));
    let mut output = outcome.output;
    let verdict = match outcome.code {
        Some(0) => Verdict::Passed,
        Some(code) if code == i32::from(SKIPPED) => {
            Verdict::Skipped(output.trim_end().lines().next_back().unwrap_or_default().to_owned())
        }
        Some(code) => Verdict::Failed(reason(&output).unwrap_or_else(|| format!("it exited with {code}"))),
        None if began.elapsed().as_secs() >= run.arguments.limit => {
            Verdict::Failed(format!("timed out after {} s", run.arguments.limit))
        }
        None => Verdict::Failed("it was killed".to_owned()),
    };
    if let (Verdict::Failed(reason), Some(owner)) = (&verdict, owner) {
        // It could make no report itself.
        if outcome.code.is_none() {
            let made = report::of_engine(&report::by_owner(&owner));
            let saved = report::save(run.results, entry.name, &output, &made);
            output += &format!("\nfailed: {reason}\n{}\n{saved}\n", made.text);
        }
        output += &clean_up(&owner, run.arguments.keep);
    }
    Played { entry, verdict, time: began.elapsed(), output }
}

/// What runs here, which a build may have replaced or removed since: the kernel's link leads to it all the same,
/// <https://man7.org/linux/man-pages/man5/proc_pid_exe.5.html>.
fn this_program() -> String {
    let link = Path::new("/proc/self/exe");
    let program = if link.exists() { link.to_owned() } else { env::current_exe().expect("the path of this program") };
    program.to_string_lossy().into_owned()
}

fn invocation(entry: &Entry, run: Run<'_>) -> Invocation {
    let program = this_program();
    let results = run.results.to_string_lossy();
    let arguments = ["--exact", entry.name, "--parent", &process::id().to_string(), "--output", &results];
    let mut environment = vec![(VERSION.to_owned(), run.arguments.version.to_string())];
    if run.arguments.keep {
        environment.push((KEEP.to_owned(), "1".to_owned()));
    }
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Invocation { environment, leads_group: true, ..Invocation::plain(&program, arguments) }
}

/// The line that says what failed, if there is one: ours, or the one that follows where a panic came from.
fn reason(output: &str) -> Option<String> {
    let ours = output.lines().find_map(|line| line.strip_prefix("failed: "));
    let of_panic = || output.lines().skip_while(|line| !line.contains("panicked at ")).nth(1);
    ours.or_else(of_panic).map(str::to_owned)
}

/// Removes what a scenario has left that had no chance to do so, or says how to look at it.
fn clean_up(owner: &Owner, keep: bool) -> String {
    if keep {
        let filter = report::by_owner(owner);
        return format!(
            "--- kept until the next run, which removes it:\n\
             docker ps --all --filter {filter}\ndocker volume ls --filter {filter}\ndocker network ls --filter {filter}\n"
        );
    }
    match report::remove_all_of(owner) {
        Ok(removed) => removed.iter().map(|what| format!("removed {what}\n")).collect(),
        Err(error) => format!("could not remove what it has made: {error}\nhint: The next run sweeps it.\n"),
    }
}

fn budget(arguments: &Arguments) -> Budget {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.map_or(cores * SCENARIOS_PER_CORE, |jobs| usize::from(jobs.get()));
    Budget { mebibytes: available_mebibytes(), jobs }
}

/// As the kernel estimates it, <https://docs.kernel.org/filesystems/proc.html#meminfo>. On another system, enough for one scenario.
fn available_mebibytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes =
        meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.unwrap_or(0_u64) / 1024
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_panic_says_why() {
        let caught = |panics: fn()| message(&*std::panic::catch_unwind(panics).expect_err("a panic")).to_owned();
        assert_eq!(caught(|| panic!("could not run \"{}\"", "it")), "could not run \"it\"");
        assert_eq!(caught(|| panic!("plainly")), "plainly");
        assert_eq!(caught(|| std::panic::panic_any(3)), "it panicked");
    }
}
