//! The one hook of the crash matrix: an agent that ends at a point of its choice, as if its container had been killed.

use std::{
    env, process,
    sync::atomic::{AtomicU32, Ordering},
};

use pgherd_images::contract::environment::CRASH_AT;

/// The exit code of a container that was killed.
const KILLED: i32 = 137;

/// Marks a point before or after a step. The N-th one that is passed ends the agent, if the environment says N: everything in
/// its container ends with process 1, without another word.
pub(crate) fn point() {
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if env::var(CRASH_AT).is_ok_and(|point| point.parse() == Ok(passed)) {
        process::exit(KILLED);
    }
}
