//! What the volume of a node that does not run says of its WAL.

use pgherd_probe::{Lsn, SystemIdentifier, TimelineId};
use serde::Serialize;

use crate::{
    error::Error, last_record::end_of_wal, layout::Layout, newest_timeline::newest_timeline, observe::read_control,
    supervise::Supervisor,
};

/// The WAL of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalOnDisk {
    /// Whose it is.
    pub system_identifier: SystemIdentifier,
    /// The newest timeline of which there is any.
    pub timeline: TimelineId,
    /// How the directory was left, in PostgreSQL's words.
    pub state: String,
    /// Right after the last valid record. Nothing from here on was acknowledged.
    pub end: Lsn,
}

/// Reads how far the WAL of this node goes, which does not run. Nothing is written, and no specification is needed.
///
/// <https://www.postgresql.org/docs/17/app-pgcontroldata.html>, <https://www.postgresql.org/docs/17/pgwaldump.html>
///
/// # Errors
/// Where there is no data directory, or its WAL cannot be read as far as its control data name it.
pub fn wal_end(layout: &Layout, supervisor: &mut Supervisor) -> Result<WalOnDisk, Error> {
    let data = layout.data();
    let control = read_control(supervisor, &data)?.map_err(|complaint| Error::Specification {
        message: format!("cannot read the control data of \"{}\": {complaint}", data.display()),
        hint: format!("mount the volume of a node at \"{}\"", layout.volume.display()),
    })?;
    let (newest, _) = newest_timeline(&data.join("pg_wal"), &control)?;
    let end = end_of_wal(supervisor, &data, &newest)?.map_err(|complaint| Error::Specification {
        message: format!(
            "cannot read the WAL in \"{}\" up to {} on timeline {}, which its control data name: {complaint}",
            data.display(),
            newest.position,
            newest.timeline
        ),
        hint: "its disk may be damaged; another node may have what this one has lost".to_owned(),
    })?;
    Ok(WalOnDisk {
        system_identifier: control.system_identifier,
        timeline: newest.timeline,
        state: control.state.to_string(),
        end,
    })
}
