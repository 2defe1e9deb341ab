//! Making a replica the primary, and permitting a data directory to be one.

use std::{fs, time::Duration};

use pgherd_probe::{SystemIdentifier, TimelineId};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::{
    agent::lock,
    caught_up,
    data_directory::DataDirectory,
    durable,
    error::Error,
    grant::{Grant, Succession},
    layout::Layout,
    observe::read_control,
    session::Session,
    spec::{NodeSpec, Role},
    supervise::Supervisor,
    upstream::look_until,
};

/// How long PostgreSQL may take for it, in seconds.
const PATIENCE_SECONDS: u32 = 60;

#[derive(Deserialize)]
struct Replica {
    system_identifier: SystemIdentifier,
    in_recovery: bool,
    paused: bool,
}

const REPLICA: &str = "\
SELECT system_identifier::text, pg_is_in_recovery() AS in_recovery,
    CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused
FROM pg_control_system()";

/// The timeline that is written to, which control data name after the next checkpoint alone; until then, the process that recovers.
#[derive(Deserialize)]
struct Recovered {
    timeline: Option<String>,
    startup: Option<i32>,
}

const RECOVERED: &str = "\
SELECT CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
    (SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup') AS startup";

/// Promotes the replica that runs on this node, and returns its new timeline as soon as it takes writes.
///
/// With `caught_up`, only if it has everything of an upstream that was shut down, for which it waits that long. Replay that is
/// paused goes on first, because it would hold up either.
///
/// The permission comes before the promotion: from then on no other node of the cluster starts read-write, whenever it comes back.
/// One that runs is not stopped; that is for whoever promotes to see to.
///
/// The checkpoint that PostgreSQL begins by itself is neither waited for nor hurried. Until its end the control data call the node by
/// its old timeline; whoever is rewound to it asks for a checkpoint first.
///
/// # Errors
/// Where no replica runs here, or it has not caught up in time: then nobody was permitted anything. Where PostgreSQL does not become
/// a primary in time: then it may still do so later.
pub fn promote(
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
    caught_up: Option<Duration>,
) -> Result<TimelineId, Error> {
    let mut session = Session::open(layout, supervisor)?;
    let replica: Replica = session.ask(REPLICA)?;
    if !replica.in_recovery {
        return Err(Error::Specification {
            message: format!("node \"{}\" is a primary already", spec.node),
            hint: "promote a replica".to_owned(),
        });
    }
    if replica.paused {
        session.run("SELECT pg_wal_replay_resume()")?;
    }
    if let Some(bound) = caught_up {
        caught_up::wait(&mut session, spec, layout, supervisor, bound)?;
    }
    let permit = |timeline| permit(spec, layout, replica.system_identifier, timeline);
    let next = TimelineId(newest_timeline(layout)? + 1);
    permit(next)?;
    session.run("SELECT pg_promote(false)")?;
    let timeline = look_until(supervisor, "the end of recovery", PATIENCE_SECONDS, |_| {
        let Recovered { timeline, startup } = session.ask(RECOVERED)?;
        if let (None, Some(startup)) = (&timeline, startup) {
            wake(startup);
        }
        Ok(timeline.ok_or_else(|| "still in recovery".to_owned()))
    })?;
    let strange = |error| Error::Local(format!("a strange timeline: {error}: {timeline}"));
    let timeline = TimelineId(u32::from_str_radix(&timeline, 16).map_err(strange)?);
    if timeline != next {
        permit(timeline)?;
    }
    stay_primary(spec, layout)?;
    Ok(timeline)
}

/// Wakes the startup process. One that takes notice of its promotion in the moment in which it finds its wal receiver gone sleeps over it
/// first, for as long as `wal_retrieve_retry_interval`; to read its configuration again ends that.
fn wake(startup: i32) {
    // It may have ended meanwhile, which is what is wanted.
    let _ = Pid::from_raw(startup).map(|pid| kill_process(pid, Signal::HUP));
}

/// Whoever is told what to be by a file starts as the primary from now on, also if nobody comes any more to tell it.
fn stay_primary(spec: &NodeSpec, layout: &Layout) -> Result<(), Error> {
    if !layout.spec_file().try_exists()? {
        return Ok(());
    }
    let spec = NodeSpec { role: Role::Primary, ..spec.clone() };
    let json = serde_json::to_vec(&spec).map_err(std::io::Error::from)?;
    durable::replace(&layout.spec_file(), &json).map_err(Error::doing("write down the role"))
}

/// Permits the data directory of a node that does not run to be written to: the word of a person who knows that no other node
/// is primary.
///
/// # Errors
/// Where the node runs, or has no data of its own.
pub fn grant(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor) -> Result<TimelineId, Error> {
    let _lock = lock(layout)?;
    let read = |supervisor: &mut Supervisor| {
        DataDirectory::observe(&layout.data(), layout.major, |path| read_control(supervisor, path))
    };
    match read(supervisor)? {
        DataDirectory::Initialized { control, standby: false } => {
            permit(spec, layout, control.system_identifier, control.timeline)?;
            Ok(control.timeline)
        }
        other => Err(Error::Specification {
            message: format!("there is nothing to permit: {} is {other}", layout.data().display()),
            hint: "only a primary's data are written to; a replica is promoted".to_owned(),
        }),
    }
}

fn permit(
    spec: &NodeSpec,
    layout: &Layout,
    system_identifier: SystemIdentifier,
    timeline: TimelineId,
) -> Result<(), Error> {
    let succession = Succession { node: spec.node.clone(), timeline };
    // Under trust there may be no volume that all nodes see.
    if layout.secrets.try_exists()? {
        succession.write(&layout.succession_file()).map_err(Error::doing("record the succession"))?;
    }
    let grant = Grant { system_identifier, timeline };
    grant.write(&layout.grant_file()).map_err(Error::doing("write the grant"))
}

/// The highest number that a timeline has here. The next promotion takes the one after it.
fn newest_timeline(layout: &Layout) -> Result<u32, Error> {
    let mut newest = 1;
    for file in fs::read_dir(layout.data().join("pg_wal"))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let timeline = name.strip_suffix(".history").and_then(|digits| u32::from_str_radix(digits, 16).ok());
        newest = newest.max(timeline.unwrap_or(0));
    }
    Ok(newest)
}
