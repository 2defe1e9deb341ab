//! SQL on this node's own server, as superuser, through its unix socket.

use pgherd_images::contract::{MAINTENANCE_DATABASE, SUPERUSER};

use crate::{
    error::Error,
    layout::Layout,
    supervise::{Supervisor, Tool},
};

/// Runs statements, and returns their rows, unaligned. They are not to be seen among the processes.
///
/// # Errors
/// Where one of them fails, or nobody listens.
pub(crate) fn sql(layout: &Layout, supervisor: &mut Supervisor, statements: &str) -> Result<String, Error> {
    let psql = Tool::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d", MAINTENANCE_DATABASE]);
    supervisor.run(psql.arg("-h").arg(&layout.socket_directory).input(statements))
}
