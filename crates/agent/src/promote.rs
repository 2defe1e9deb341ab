//! Making a replica the primary, and permitting a data directory to be one.

use std::fs;

use pgherd_probe::TimelineId;

use crate::{
    agent::lock,
    data_directory::DataDirectory,
    error::Error,
    grant::{Grant, Succession},
    layout::Layout,
    local::sql,
    observe::read_control,
    spec::NodeSpec,
    supervise::Supervisor,
};

/// How long PostgreSQL may take for it, in seconds.
const PATIENCE_SECONDS: u32 = 60;

/// Promotes the replica that runs on this node, and returns its new timeline.
///
/// The permission comes first: from then on no other node of the cluster starts read-write, whenever it comes back. One that
/// runs is not stopped; that is for whoever promotes to see to.
///
/// # Errors
/// Where no replica runs here, or PostgreSQL does not become a primary in time: then it may still do so later.
pub fn promote(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor) -> Result<TimelineId, Error> {
    if ask(layout, supervisor, "SELECT pg_is_in_recovery()")? != "t" {
        return Err(Error::Specification {
            message: format!("node \"{}\" is a primary already", spec.node),
            hint: "promote a replica".to_owned(),
        });
    }
    let next = newest_timeline(layout)? + 1;
    permit(spec, layout, supervisor, TimelineId(next))?;
    let promoted = ask(layout, supervisor, &format!("SELECT pg_promote(true, {PATIENCE_SECONDS})"))?;
    if promoted != "t" {
        return Err(Error::TimedOut {
            what: "the end of recovery".to_owned(),
            seconds: PATIENCE_SECONDS,
            last_seen: "still in recovery".to_owned(),
        });
    }
    // Its first checkpoint tells everybody by which timeline it is to be called.
    ask(layout, supervisor, "CHECKPOINT")?;
    let timeline = ask(layout, supervisor, "SELECT timeline_id FROM pg_control_checkpoint()")?;
    let timeline = TimelineId(timeline.parse().map_err(|_| Error::Io(std::io::Error::other(timeline)))?);
    if timeline.0 != next {
        permit(spec, layout, supervisor, timeline)?;
    }
    Ok(timeline)
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
            permit(spec, layout, supervisor, control.timeline)?;
            Ok(control.timeline)
        }
        other => Err(Error::Specification {
            message: format!("there is nothing to permit: {} is {other}", layout.data().display()),
            hint: "only a primary's data are written to; a replica is promoted".to_owned(),
        }),
    }
}

fn permit(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor, timeline: TimelineId) -> Result<(), Error> {
    let control = read_control(supervisor, &layout.data())?.map_err(std::io::Error::other)?;
    let succession = Succession { node: spec.node.clone(), timeline };
    // Under trust there may be no volume that all nodes see.
    if layout.secrets.try_exists()? {
        succession.write(&layout.succession_file()).map_err(Error::doing("record the succession"))?;
    }
    let grant = Grant { system_identifier: control.system_identifier, timeline };
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

fn ask(layout: &Layout, supervisor: &mut Supervisor, statement: &str) -> Result<String, Error> {
    Ok(sql(layout, supervisor, statement)?.trim().to_owned())
}
