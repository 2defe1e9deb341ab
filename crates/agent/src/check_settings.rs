//! Whether PostgreSQL would take a setting, asked of its own binary, which changes nothing for that.

use std::collections::BTreeMap;

use crate::{
    error::Error,
    layout::Layout,
    supervise::{Supervisor, Tool},
};

/// Returns what PostgreSQL makes of these settings beside those that this node has, in its own units.
///
/// <https://www.postgresql.org/docs/17/app-postgres.html> (`-C`)
///
/// # Errors
/// Where there is no such setting, or it cannot have that value: PostgreSQL says why.
pub fn check_settings(
    settings: &BTreeMap<String, String>,
    layout: &Layout,
    supervisor: &mut Supervisor,
) -> Result<BTreeMap<String, String>, Error> {
    let all = || settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
    let mut taken = BTreeMap::new();
    for name in settings.keys() {
        let config_file = format!("config_file={}", layout.config_file().display());
        let postgres = Tool::new("postgres").arg("-D").arg(layout.data()).args(["-c", &config_file]);
        let value = supervisor.run(postgres.args(all()).args(["-C", name]))?;
        taken.insert(name.clone(), value.trim_end().to_owned());
    }
    Ok(taken)
}
