//! The bounded loop of observing, planning and applying.

use std::{
    fs::{self, File},
    mem,
    time::Duration,
};

use rustix::{fs::FlockOperation, io::Errno};

use crate::{
    apply::{Outcome, apply, ask_peers, ask_upstream, trace},
    crash,
    ending::Ending,
    error::Error,
    layout::Layout,
    log::{Level, Line, phase},
    observe::{Heard, Observed, UpstreamFacts, observe},
    plan::plan,
    refusal::Refusal,
    spec::{Authentication, NodeSpec},
    step::Step,
    supervise::Supervisor,
};

/// More rounds than any plan needs: nine, for a rewind that fails.
const ROUNDS: usize = 12;

/// Makes this node what it is asked to be, runs PostgreSQL, and returns how that ended.
///
/// # Errors
/// Where the node is refused, or does not come to run.
pub fn run(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor) -> Result<Ending, Error> {
    let control = layout.control();
    fs::create_dir_all(&control).map_err(Error::doing_at(format!("create \"{}\"", control.display()), &control))?;
    let _lock = lock(layout)?;
    warn_of_trust(spec);
    let mut failures = 0;
    let mut spec = spec.clone();
    loop {
        match converge(&spec, layout, supervisor) {
            // All that is known by now may have changed: what comes next is planned from the start, and clones nobody but the upstream.
            Err(error @ Error::Upstream { .. }) if failures < spec.clone.retries => {
                let delay = backoff(failures);
                let message = format!("{error}; trying again in {} ms", delay.as_millis());
                Line::new(Level::Warning, message).event("retry").write();
                supervisor.pause(delay)?;
                spec.clone_from = None;
                failures += 1;
            }
            Err(error @ Error::Upstream { .. }) => {
                return Err(Error::GaveUp { attempts: failures + 1, last: Box::new(error) });
            }
            end => return end,
        }
    }
}

/// The pause before the next attempt: 0.5, 1, 2, 4, 8, 16 s, and 30 s from then on.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << failures.min(6)).min(Duration::from_secs(30))
}

/// Claims the volume for as long as the file is open. PostgreSQL's own lock file sees no further than its container.
pub(crate) fn lock(layout: &Layout) -> Result<File, Error> {
    let path = layout.lock_file();
    let file = File::create(&path).map_err(Error::doing_at("open the lock file", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Refusal::VolumeInUse(layout.lock_file()).into()),
        Err(error) => Err(Error::doing("lock the volume")(error.into())),
    }
}

fn converge(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor) -> Result<Ending, Error> {
    let mut heard = Heard::NOTHING;
    for _ in 0..ROUNDS {
        // What was said is good for one round: afterwards somebody may have changed it, such as we.
        let observed = observe(layout, mem::replace(&mut heard, Heard::NOTHING), supervisor)?;
        for step in plan(spec, &observed)? {
            phase(layout, &step);
            crash::point();
            match apply(&step, spec, layout, supervisor)? {
                Outcome::Done => {}
                Outcome::Upstream(facts) => heard.upstream = facts,
                Outcome::Peers(facts) => heard.peers = facts,
                Outcome::Ended(ending) => return Ok(ending),
            }
            crash::point();
        }
    }
    Err(Error::Rounds(ROUNDS))
}

/// What the next steps would be, with everything that they rest on. Others are asked, once each, where that matters.
///
/// # Errors
/// Where the node is refused, or cannot be observed.
pub fn explain(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor) -> Result<(Observed, Vec<Step>), Error> {
    let mut heard = Heard::NOTHING;
    loop {
        let observed = observe(layout, heard.clone(), supervisor)?;
        let steps = plan(spec, &observed)?;
        match steps.as_slice() {
            [Step::WaitForUpstream(upstream)] if heard.upstream == UpstreamFacts::NotAsked => {
                heard.upstream = ask_upstream(upstream, spec, layout, supervisor)?;
            }
            [Step::AskUpstream { upstream, control, standby }] if heard.upstream == UpstreamFacts::NotAsked => {
                heard.upstream = trace(upstream, control, *standby, spec, layout, supervisor)?;
            }
            [Step::AskPeers(peers)] => heard.peers = ask_peers(peers, spec, layout, supervisor)?,
            _ => return Ok((observed, steps)),
        }
    }
}

fn warn_of_trust(spec: &NodeSpec) {
    if spec.authentication == Authentication::Trust {
        let warning = "authentication is \"trust\": whoever reaches the port of this node can\n\
            read and change every table of the application, and copy the whole cluster.\n\
            never use it on a network that anyone else can reach.";
        Line::new(Level::Warning, warning).event("trust").write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::CloneBounds;

    #[test]
    fn an_upstream_has_time_to_notice_that_a_clone_is_gone() {
        let pauses = |retries| (0..retries).map(backoff).sum::<Duration>();
        assert_eq!(pauses(3), Duration::from_millis(3500));
        let wal_sender_timeout = Duration::from_secs(60);
        assert!(pauses(CloneBounds::default().retries) > wal_sender_timeout);
        assert_eq!(backoff(u32::MAX), Duration::from_secs(30));
    }
}
