//! Where a scenario runs: under the runner, in a process of its own, or by itself inside a plain `#[test]`.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::registry::{Entry, Suite};

/// The environment variable that keeps what a failed scenario made.
pub(crate) const KEEP: &str = "PGHERD_E2E_KEEP";

static CONTEXT: OnceLock<Context> = OnceLock::new();

/// What the runner knows of the one scenario of this process.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) entry: &'static Entry,
    suite: Suite,
    results: PathBuf,
    ending: Mutex<Option<Ending>>,
}

/// How a scenario ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished,
    Skipped(String),
}

/// Tells the process which scenario it is for.
pub(crate) fn enter(suite: Suite, entry: &'static Entry, results: PathBuf) -> &'static Context {
    CONTEXT.get_or_init(|| Context { entry, suite, results, ending: Mutex::new(None) })
}

/// The context, under the runner.
pub(crate) fn get() -> Option<&'static Context> {
    CONTEXT.get()
}

impl Context {
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Remembers how the scenario ended. Without a runner, nobody asks.
pub(crate) fn end(ending: Ending) {
    match get() {
        Some(context) => *context.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending),
        None => {
            if let Ending::Skipped(reason) = ending {
                eprintln!("skipped: {reason}");
            }
        }
    }
}

/// Where snapshots are: the suite's, else the directory `snapshots` of the package that is tested.
pub(crate) fn snapshots() -> PathBuf {
    let own = || Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("snapshots");
    get().map_or_else(own, |context| context.suite.snapshots.into())
}

/// Where results go: what the runner said, else `e2e` in the target directory.
pub(crate) fn results() -> PathBuf {
    get().map_or_else(|| default_results("e2e"), |context| context.results.clone())
}

/// The directory of that name in cargo's target directory, in which this program is.
pub(crate) fn default_results(name: &str) -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let is_target = |directory: &&Path| directory.join("CACHEDIR.TAG").is_file();
    program.ancestors().find(is_target).map_or_else(env::temp_dir, Path::to_owned).join(name)
}

/// Whether what a failed scenario made shall stay.
pub(crate) fn keeps() -> bool {
    env::var_os(KEEP).is_some()
}
