//! Whether PostgreSQL would take a setting, asked of its own binary, which changes nothing for that.

use std::collections::BTreeMap;

use crate::{
    error::Error,
    layout::Layout,
    supervise::{Supervisor, Tool},
};

/// Returns what PostgreSQL makes of these settings beside those that this node has, if it has data, in its own units.
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
    // It reads the configuration, and wants to see a directory, but does not look into that.
    let (data, config_file) = match layout.config_file().try_exists()? {
        true => (layout.data(), layout.config_file()),
        false => (layout.run.clone(), "/dev/null".into()),
    };
    let config_file = format!("config_file={}", config_file.display());
    for name in settings.keys() {
        // Errors are read by people, and not among others.
        let bare = ["-c", "log_line_prefix=", "-c", &config_file];
        let postgres = Tool::new("postgres").arg("-D").arg(&data).args(bare);
        let value = supervisor.run(postgres.args(all()).args(["-C", name]))?;
        taken.insert(name.clone(), value.trim_end().to_owned());
    }
    Ok(taken)
}
