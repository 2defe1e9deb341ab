//! A scenario: a session that is written down, compared with its snapshot, and leaves nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use pgherd_orchestrator::Owner;

use crate::{
    command::Invocation,
    context::{self, Ending},
    names::Names,
    process::{self, Job, Outcome},
    redact::{hide_passwords, redact},
    report,
    step::{Action, Expected, Step},
    version::Version,
};

/// No single command of a session takes longer.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// Even at the end of a wait a look is worth this much.
const LEAST_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks at something that is waited for. An exec costs about as much.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A session in progress. What it made goes when it is dropped.
#[derive(Debug)]
pub struct Scenario {
    name: &'static str,
    pub(crate) names: Names,
    transcript: String,
    jobs: Vec<Option<Job>>,
    /// Whether anything could have failed but a command.
    asserted: bool,
    ended: bool,
}

impl Scenario {
    /// Begins a scenario. `name` is that of its snapshot; `names` are those that it gives to things on the engine.
    ///
    /// # Panics
    /// Under the runner, if the scenario is registered by another name.
    #[track_caller]
    pub fn new(name: &'static str, names: impl IntoIterator<Item = impl Into<String>>) -> Scenario {
        if let Some(context) = context::get() {
            assert_eq!(name, context.entry.name, "a scenario is called as its function is");
        }
        let names = Names::new(names);
        Scenario { name, names, transcript: String::new(), jobs: Vec::new(), asserted: false, ended: false }
    }

    /// Leaves versions of PostgreSQL as they are typed, whichever one the run is about.
    #[must_use]
    pub fn with_versions_as_typed(mut self) -> Scenario {
        self.names.leave_versions_as_typed();
        self
    }

    /// Does a step and returns what it printed.
    ///
    /// # Panics
    /// If it does not end as expected.
    #[track_caller]
    pub fn perform(&mut self, step: &Step) -> String {
        assert!(!step.to_string().contains('\n'), "a step is one line: {step}");
        self.asserted |= step.asserts();
        let outcome = match step {
            Step::Note(_) | Step::Claim(_) => {
                self.tell(step, "");
                return String::new();
            }
            Step::Begin(line) => {
                let job = Job::start(&self.invocation(&Action::Shell(line.clone())));
                self.jobs.push(Some(job));
                self.tell(step, "");
                return String::new();
            }
            Step::Once { action, .. } => self.act(action),
            Step::Until { action, expected, within } => self.repeat(action, expected, *within),
            Step::Join { job, .. } => {
                let job = self.jobs.get_mut(job.wrapping_sub(1)).and_then(Option::take);
                job.unwrap_or_else(|| panic!("no such job, or joined before: {step}")).end(COMMAND_LIMIT)
            }
        };
        let (Step::Once { expected, .. } | Step::Until { expected, .. } | Step::Join { expected, .. }) = step else {
            unreachable!("the others have returned")
        };
        let met = self.localized(expected).is_met_by(outcome.code, &outcome.output);
        let shown = match (met, step) {
            // The line says it all; what else the output of a wait holds is whatever was there by then.
            (true, Step::Until { .. } | Step::Once { expected: Expected::Answer(_) | Expected::Named(_), .. }) => {
                String::new()
            }
            (true, _) => outcome.output.clone(),
            (false, _) => outcome.to_string(),
        };
        self.tell(step, &shown);
        assert!(met, "{}", failure(step, &outcome));
        if let Expected::Named(name) = expected {
            self.names.remember(name, outcome.output.trim());
        }
        outcome.output
    }

    /// Does something beside the session: it is not in the transcript, and may end in any way.
    pub fn aside(&self, line: &str) -> Outcome {
        self.act(&Action::Shell(line.to_owned()))
    }

    /// Asks a node something beside the session, for comparison with a later answer.
    #[must_use]
    pub fn sql_aside(&self, node: &str, query: &str) -> String {
        self.act(&Action::Sql { node: node.to_owned(), query: query.to_owned() }).output.trim().to_owned()
    }

    /// A text with the declared names as they are on the engine.
    #[must_use]
    pub fn real(&self, text: &str) -> String {
        self.names.localize(text)
    }

    /// The major version of PostgreSQL that this run is about.
    #[must_use]
    pub fn major(&self) -> u16 {
        Version::of_this_run().number()
    }

    /// Shows, below the last line, what was seen beside the session. It is redacted as all the rest.
    pub fn show(&mut self, text: &str) {
        let text = redact(&self.names.restore(text));
        self.write(&text);
    }

    /// Keeps what differs from run to run, and is worth reading, beside the results: `NAME.figures.txt`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn keep_figures(&self, text: &str) {
        let path = context::results().join(format!("{}.figures.txt", self.name));
        let written = std::fs::write(&path, self.names.restore(text));
        written.unwrap_or_else(|error| panic!("could not write {}: {error}", path.display()));
    }

    /// How many commands were begun in the background.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Compares the transcript with its snapshot.
    ///
    /// # Panics
    /// If they differ, or if the scenario has asserted nothing.
    #[track_caller]
    pub fn finish(self) {
        assert!(
            context::get().is_none_or(|context| context.entry.recorded),
            "scenario \"{}\" is registered as unrecorded\nhint: End it with finish_unrecorded().",
            self.name
        );
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(context::snapshots());
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(self.name, self.transcript));
        self.end(Ending::Finished);
    }

    /// Ends a scenario whose transcript depends on the machine: what it asserts is all that is checked.
    ///
    /// # Panics
    /// If it has asserted nothing.
    #[track_caller]
    pub fn finish_unrecorded(self) {
        assert!(
            context::get().is_none_or(|context| !context.entry.recorded),
            "scenario \"{}\" is registered as recorded\nhint: End it with finish(), or register it as unrecorded().",
            self.name
        );
        self.end(Ending::Finished);
    }

    /// Ends a scenario that this machine cannot play, and counts it as skipped.
    pub fn skip(mut self, reason: &str) {
        self.ended = true;
        context::end(Ending::Skipped(reason.to_owned()));
    }

    #[track_caller]
    fn end(mut self, ending: Ending) {
        assert!(
            self.asserted,
            "failed: scenario \"{}\" asserts nothing\n\
             hint: Expect an answer, an SQLSTATE or an exit code, wait for something, or claim something.",
            self.name
        );
        self.ended = true;
        context::end(ending);
    }

    fn repeat(&self, action: &Action, expected: &Expected, within: Duration) -> Outcome {
        let deadline = Instant::now() + within;
        let expected = self.localized(expected);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = process::run(&self.invocation(action), left.max(LEAST_LIMIT));
            if expected.is_met_by(outcome.code, &outcome.output) || Instant::now() >= deadline {
                return outcome;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn act(&self, action: &Action) -> Outcome {
        process::run(&self.invocation(action), COMMAND_LIMIT)
    }

    fn invocation(&self, action: &Action) -> Invocation {
        let here = match action {
            Action::Shell(line) => Action::Shell(self.names.localize(line)),
            Action::Sql { node, query } => {
                Action::Sql { node: self.names.localize(node), query: self.names.localize(query) }
            }
        };
        let invocation = Invocation::of(&here);
        for volume in invocation.volumes() {
            let create = Invocation::of(&Action::Shell(format!("docker volume create {volume}")));
            let _ = process::run(&create, COMMAND_LIMIT);
        }
        invocation
    }

    fn localized(&self, expected: &Expected) -> Expected {
        match expected {
            Expected::Answer(answer) => Expected::Answer(self.names.localize(answer)),
            Expected::Says(text) => Expected::Says(self.names.localize(text)),
            expected => expected.clone(),
        }
    }

    /// Writes a step and what it printed into the transcript.
    fn tell(&mut self, step: &Step, output: &str) {
        // What is said about the session is not torn apart.
        let is_about = |line: &str| line.starts_with("# ");
        let goes_on = is_about(&step.to_string()) && self.transcript.lines().next_back().is_some_and(is_about);
        let separator = if self.transcript.is_empty() || goes_on { "" } else { "\n" };
        let text = format!("{separator}{step}\n{}", redact(&self.names.restore(output)));
        self.write(&text);
    }

    /// The runner reads along, so that it knows where a scenario was that it had to end.
    fn write(&mut self, text: &str) {
        if context::get().is_some() {
            print!("{text}");
        }
        self.transcript += text;
    }
}

/// What was expected, and what came instead.
fn failure(step: &Step, outcome: &Outcome) -> String {
    let waited = match step {
        Step::Until { within, .. } => format!("waited {} s; at last ", within.as_secs()),
        _ => String::new(),
    };
    let ended = outcome.code.map_or("was killed".to_owned(), |code| format!("exited with {code}"));
    format!("failed: {step}\n{waited}it {ended} and said:\n{}", hide_passwords(&outcome.output))
}

impl Drop for Scenario {
    fn drop(&mut self) {
        // First of all, so that nothing is made any more.
        self.jobs.clear();
        let panics = thread::panicking();
        if !self.ended {
            if !panics {
                eprintln!("failed: scenario \"{}\" was begun and not finished", self.name);
            }
            let told = if context::get().is_some() { "" } else { &self.transcript };
            eprintln!("--- scenario \"{}\" failed\n{told}", self.name);
            let report = report::of_engine(&report::by_name(self.names.run()));
            eprintln!("{}", report.text);
            eprintln!("{}", report::save(&context::results(), self.name, &self.transcript, &report));
        }
        if self.ended {
            report::forget(&context::results(), self.name);
        }
        if self.ended || !context::keeps() {
            let removed = match context::get() {
                // All that this process has made is the scenario's.
                Some(_) => report::remove_all_of(&Owner::of_this_process()).map(drop),
                None => report::remove_run(self.names.run()),
            };
            if let Err(error) = removed {
                eprintln!("could not remove what \"{}\" has made: {error}", self.name);
            }
        }
        assert!(self.ended || panics, "scenario \"{}\" was begun and not finished", self.name);
    }
}
