//! A copy of an upstream's data directory by base backup.

use std::fs;

use pgherd_probe::SystemIdentifier;

use crate::{
    error::Error,
    layout::Layout,
    observe::read_control,
    refusal::Refusal,
    staging,
    supervise::{Supervisor, Tool},
    upstream::Connection,
};

/// Clones the upstream into the partial directory, and stages the result as a replica's.
///
/// The WAL is streamed through the slot while the files are copied, so the clone never wants what the upstream has
/// removed (<https://www.postgresql.org/docs/17/app-pgbasebackup.html>).
///
/// # Errors
/// Where the upstream, a tool or the file system fails, and where the clone is another cluster's.
pub(crate) fn clone(
    layout: &Layout,
    supervisor: &mut Supervisor,
    from: &Connection,
    expected: SystemIdentifier,
) -> Result<(), Error> {
    staging::begin(layout).map_err(Error::doing("make the partial directory"))?;
    let backup = Tool::new("pg_basebackup")
        .arg("--pgdata")
        .arg(layout.partial_data())
        .args(["--dbname", &from.conninfo, "--slot", &from.slot])
        // One call syncs all of it when it is staged, and what is left of a failure is discarded by its marker.
        .args(["--wal-method", "stream", "--checkpoint", "fast", "--no-sync", "--no-clean"]);
    supervisor.run(backup).map_err(|error| match error {
        Error::Tool { complaint, .. } => Error::Upstream { doing: format!("clone \"{}\"", from.upstream), complaint },
        error => error,
    })?;
    let control = read_control(supervisor, &layout.partial_data())?
        .map_err(|reason| Refusal::Damaged { path: layout.partial_data(), reason })?;
    if control.system_identifier != expected {
        return Err(Error::Refused(Refusal::OtherCluster {
            place: "the clone",
            ours: control.system_identifier,
            authority: format!("upstream \"{}\"", from.upstream),
            theirs: expected,
        }));
    }
    fs::write(layout.partial_data().join("standby.signal"), "")?;
    staging::finish(layout).map_err(Error::doing("stage the clone"))
}
