//! Settings after the name of the image, as in `docker run IMAGE -c work_mem=64MB`.

use std::collections::BTreeMap;

use crate::{configuration::RESERVED_SETTINGS, desired::specification, error::Error};

/// Reads arguments of `postgres` that name settings: `-c name=value` and `--name=value`.
///
/// <https://www.postgresql.org/docs/17/app-postgres.html>
///
/// # Errors
/// Where one is another argument, or a setting by which a node is what it is asked to be.
pub fn server_arguments(arguments: &[&str]) -> Result<BTreeMap<String, String>, Error> {
    let mut settings = BTreeMap::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let setting = match *argument {
            "-c" => rest.next().copied(),
            _ => argument.strip_prefix("--").or_else(|| argument.strip_prefix("-c")),
        };
        let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) else {
            return Err(specification(
                format!("\"{argument}\" is no setting"),
                "after the name of the image stand settings, as in: -c work_mem=64MB",
            ));
        };
        // As PostgreSQL takes them.
        let name = name.replace('-', "_").to_ascii_lowercase();
        if RESERVED_SETTINGS.contains(&name.as_str()) {
            return Err(specification(
                format!("setting \"{name}\" is not to be changed"),
                "by it a node is what it is asked to be, or found where it is looked for; leave it out",
            ));
        }
        settings.insert(name, value.to_owned());
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::server_arguments;

    #[test]
    fn settings_are_read_as_postgres_reads_them() {
        let settings = server_arguments(&["-c", "work_mem=64MB", "--log-statement=all", "-cjit=a=b"]).unwrap();
        let settings: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(settings, ["jit=a=b", "log_statement=all", "work_mem=64MB"]);
    }

    #[test]
    fn all_else_is_refused() {
        let refused = |arguments: &[&str]| server_arguments(arguments).unwrap_err().to_string();
        insta::assert_snapshot!(refused(&["-p", "5433"]), @r#""-p" is no setting"#);
        insta::assert_snapshot!(refused(&["-c"]), @r#""-c" is no setting"#);
        insta::assert_snapshot!(refused(&["-c", "port=5433"]), @r#"setting "port" is not to be changed"#);
    }
}
