//! Where a node is told what to be: by a file on its volume, by what its container was born with, or by the environment of
//! `docker run`.

use std::{fs, io};

use pgherd_images::contract::{SPEC_FILE, environment as variable};

use crate::{
    configuration::RESERVED_SETTINGS,
    durable,
    error::Error,
    grace::Grace,
    layout::Layout,
    log::Format,
    spec::{Authentication, CloneBounds, NodeSpec, Role, Verify},
};

/// The value of an environment variable; one that is empty counts as not set.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The layout of the image that we are in.
///
/// # Errors
/// Where the image does not say its version, or PGDATA was pointed elsewhere.
pub fn layout(environment: Environment<'_>) -> Result<Layout, Error> {
    let major = set(environment, variable::PG_MAJOR).and_then(|text| text.parse().ok()).ok_or_else(|| {
        specification(
            format!("{} is not set to a major version", variable::PG_MAJOR),
            "run the agent in an image of pgherd, which sets it",
        )
    })?;
    let layout = Layout::of_image(major);
    match set(environment, variable::PGDATA) {
        Some(path) if layout.data() != *path => Err(specification(
            format!("{} is \"{path}\", but this image keeps its data in {}", variable::PGDATA, layout.data().display()),
            "leave it as it is, and mount a volume at its grandparent",
        )),
        _ => Ok(layout),
    }
}

/// What the node is to be. `hostname` names a node that nobody named.
///
/// # Errors
/// Where it is not said, or not properly.
pub fn desired(layout: &Layout, environment: Environment<'_>, hostname: &str) -> Result<NodeSpec, Error> {
    match (from_file(layout)?, set(environment, variable::SPEC)) {
        (Some(spec), _) => Ok(spec),
        (None, Some(text)) => parse(&text, variable::SPEC),
        (None, None) => from_environment(layout, environment, hostname),
    }
}

/// What the file on the volume says, if there is one.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn from_file(layout: &Layout) -> Result<Option<NodeSpec>, Error> {
    let path = layout.spec_file();
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::doing_at(format!("read \"{}\"", path.display()), &path)(error)),
    }
}

/// How lines of the log are written, which concerns the container alone and is said by its environment.
///
/// # Errors
/// Where there is no such format.
pub fn log_format(environment: Environment<'_>) -> Result<Format, Error> {
    set(environment, variable::LOG).map_or(Ok(Format::Text), |name| {
        let unknown = |()| specification(format!("{} is \"{name}\"", variable::LOG), "set it to \"text\" or \"json\"");
        name.parse().map_err(unknown)
    })
}

/// How much time there is from the request to end until the engine kills, which concerns the container alone, too.
///
/// # Errors
/// Where it is no number.
pub fn grace(environment: Environment<'_>) -> Result<Grace, Error> {
    set(environment, variable::STOP_SECONDS).map_or(Ok(Grace::default()), |text| {
        let hint = "set it to the seconds that the container is granted, as in: docker run --stop-timeout 30 -e PGHERD_STOP_SECONDS=30 …";
        text.parse().map(Grace::from_seconds).map_err(|_| {
            specification(format!("{} is \"{text}\"", variable::STOP_SECONDS), hint)
        })
    })
}

/// Reads a specification from `source`.
///
/// # Errors
/// Where it is none.
pub(crate) fn parse(text: &str, source: &str) -> Result<NodeSpec, Error> {
    let spec: NodeSpec = serde_json::from_str(text).map_err(|error| {
        specification(format!("cannot read \"{source}\": {error}"), "it is written by the orchestrator")
    })?;
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c))
    };
    match spec.settings.keys().find(|name| !is_name(name) || RESERVED_SETTINGS.contains(&name.as_str())) {
        Some(name) => Err(specification(
            format!("cannot take setting \"{name}\" from \"{source}\""),
            "a setting has a name in lower case, and is none of those by which a node is found and followed",
        )),
        None => Ok(spec),
    }
}

/// Keeps on the volume what the container alone knows, for the next one: what it was born as, or the name of a node that
/// nobody named.
///
/// # Errors
/// Whatever the file system says.
pub fn keep(layout: &Layout, environment: Environment<'_>, spec: &NodeSpec) -> io::Result<()> {
    if layout.spec_file().try_exists()? {
        return Ok(());
    }
    fs::create_dir_all(layout.control())?;
    match set(environment, variable::SPEC) {
        Some(json) => durable::write_once(&layout.spec_file(), json.as_bytes()),
        None => durable::write_once(&layout.node_name_file(), spec.node.as_bytes()),
    }
}

fn from_environment(layout: &Layout, environment: Environment<'_>, hostname: &str) -> Result<NodeSpec, Error> {
    let role = match set(environment, variable::ROLE).as_deref() {
        Some("primary") => Role::Primary,
        Some("replica") => Role::Replica { upstream: upstream(environment)? },
        Some(other) => {
            return Err(specification(
                format!("{} is \"{other}\"", variable::ROLE),
                "set it to \"primary\" or \"replica\"",
            ));
        }
        None => {
            let control = layout.control();
            return Err(specification(
                format!(
                    "this node is not told what to be: no {} in {}, and no {}",
                    SPEC_FILE,
                    control.display(),
                    variable::ROLE
                ),
                "use the image of a primary or of a replica, or start the node by cargo xtask cluster up",
            ));
        }
    };
    let authentication = match set(environment, variable::AUTHENTICATION).as_deref() {
        None | Some("scram-sha-256") => Authentication::Scram,
        Some("trust") => Authentication::Trust,
        Some(other) => {
            return Err(specification(
                format!("{} is \"{other}\"", variable::AUTHENTICATION),
                "leave it unset for passwords, or set it to \"trust\" for none at all",
            ));
        }
    };
    let number = |name: &str, usual: u32, unit: &str| match set(environment, name) {
        None => Ok(usual),
        Some(text) => text
            .parse()
            .map_err(|_| specification(format!("{name} is \"{text}\""), &format!("set it to a number of {unit}"))),
    };
    let seconds = NodeSpec::default_upstream_wait_seconds();
    let upstream_wait_seconds = number(variable::UPSTREAM_WAIT_SECONDS, seconds, "seconds")?;
    let usual = CloneBounds::default();
    let clone = CloneBounds {
        stall_seconds: number(variable::CLONE_STALL_SECONDS, usual.stall_seconds, "seconds")?,
        retries: number(variable::CLONE_RETRIES, usual.retries, "retries")?,
    };
    let node = fs::read_to_string(layout.node_name_file()).unwrap_or_else(|_| hostname.to_owned());
    let verify = Verify::Authority;
    Ok(NodeSpec { authentication, upstream_wait_seconds, clone, verify, ..NodeSpec::new(node, role) })
}

fn upstream(environment: Environment<'_>) -> Result<crate::spec::Upstream, Error> {
    const HINT: &str = "name the container of the primary, as in: docker run -e PRIMARY_NAME=pg-primary …";
    // The article's image sets the word.
    let name = set(environment, variable::PRIMARY_NAME).filter(|name| name != "unset");
    let name = name.ok_or_else(|| specification(format!("{} is not set", variable::PRIMARY_NAME), HINT))?;
    name.parse().map_err(|error| specification(format!("{}: {error}", variable::PRIMARY_NAME), HINT))
}

pub(crate) fn set(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

pub(crate) fn specification(message: String, hint: &str) -> Error {
    Error::Specification { message, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(volume: &Path, variables: &[(&str, &str)]) -> String {
        let layout = Layout { volume: volume.to_owned(), ..Layout::of_image(17) };
        let environment =
            |name: &str| variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned());
        match desired(&layout, &environment, "3f2a") {
            Ok(spec) => serde_json::to_string(&spec).unwrap(),
            Err(error) => error.to_string().replace(&*volume.to_string_lossy(), "VOLUME"),
        }
    }

    #[test]
    fn the_environment_says_it_by_hand() {
        let volume = tempfile::tempdir().unwrap();
        let check = |variables| check(volume.path(), variables);
        insta::assert_snapshot!(check(&[]),
            @"this node is not told what to be: no spec.json in VOLUME/17/control, and no PGHERD_ROLE");
        insta::assert_snapshot!(check(&[("PGHERD_ROLE", "primary")]),
            @r#"{"node":"3f2a","role":"primary","authentication":"scram","upstream_wait_seconds":300,"verify":"authority"}"#);
        insta::assert_snapshot!(check(&[("PGHERD_ROLE", "master")]), @r#"PGHERD_ROLE is "master""#);
        for unset in [
            &[("PGHERD_ROLE", "replica")] as &[_],
            &[("PGHERD_ROLE", "replica"), ("PRIMARY_NAME", "")],
            &[("PGHERD_ROLE", "replica"), ("PRIMARY_NAME", "unset")],
        ] {
            assert_eq!(check(unset), "PRIMARY_NAME is not set");
        }
        insta::assert_snapshot!(check(&[("PGHERD_ROLE", "replica"), ("PRIMARY_NAME", "a b")]),
            @r#"PRIMARY_NAME: "a b" is not a host name, an address, or either with a port"#);
        insta::assert_snapshot!(check(&[("PGHERD_ROLE", "replica"), ("PRIMARY_NAME", "pg-primary"),
            ("POSTGRES_HOST_AUTH_METHOD", "trust"), ("PGHERD_UPSTREAM_WAIT_SECONDS", "5"),
            ("PGHERD_CLONE_RETRIES", "1")]),
            @r#"{"node":"3f2a","role":{"replica":{"upstream":"pg-primary:5432"}},"authentication":"trust","upstream_wait_seconds":5,"verify":"authority","clone":{"stall_seconds":60,"retries":1}}"#);
        insta::assert_snapshot!(check(&[("PGHERD_ROLE", "primary"), ("PGHERD_CLONE_STALL_SECONDS", "1m")]),
            @r#"PGHERD_CLONE_STALL_SECONDS is "1m""#);
        insta::assert_snapshot!(check(&[("PGHERD_ROLE", "primary"), ("POSTGRES_HOST_AUTH_METHOD", "md5")]),
            @r#"POSTGRES_HOST_AUTH_METHOD is "md5""#);
    }

    #[test]
    fn a_node_keeps_its_first_name_and_a_file_overrules_the_environment() {
        let volume = tempfile::tempdir().unwrap();
        let layout = Layout { volume: volume.path().to_owned(), ..Layout::of_image(17) };
        let environment = |name: &str| (name == "PGHERD_ROLE").then(|| "primary".to_owned());
        let first = desired(&layout, &environment, "first").unwrap();
        keep(&layout, &environment, &first).unwrap();
        assert_eq!(desired(&layout, &environment, "second").unwrap(), first);

        fs::write(layout.spec_file(), r#"{"node":"demo-2","role":{"replica":{"upstream":"demo-1"}}}"#).unwrap();
        assert_eq!(desired(&layout, &environment, "third").unwrap().node, "demo-2");
        fs::write(layout.spec_file(), r#"{"node":"demo-2","role":"primary","port":1}"#).unwrap();
        assert!(desired(&layout, &environment, "third").unwrap_err().to_string().contains("unknown field `port`"));
    }

    #[test]
    fn the_environment_says_what_concerns_the_container() {
        let log_format = |value: &'static str| log_format(&move |_| Some(value.to_owned()));
        assert_eq!(log_format("").unwrap(), Format::Text);
        assert_eq!(log_format("json").unwrap(), Format::Json);
        insta::assert_snapshot!(log_format("debug").unwrap_err(), @r#"PGHERD_LOG is "debug""#);

        let grace = |value: &'static str| grace(&move |_| Some(value.to_owned()));
        assert_eq!(grace("").unwrap(), Grace::default());
        assert_eq!(grace("30").unwrap(), Grace::from_seconds(30));
        insta::assert_snapshot!(grace("30s").unwrap_err(), @r#"PGHERD_STOP_SECONDS is "30s""#);
    }

    #[test]
    fn the_image_fixes_the_data_directory() {
        let layout_of = |pgdata: &'static str| {
            layout(&move |name| Some(if name == "PGDATA" { pgdata } else { "17" }.to_owned())).map(|it| it.data())
        };
        assert_eq!(layout_of("").unwrap(), Path::new("/var/lib/postgresql/17/data"));
        assert_eq!(layout_of("/var/lib/postgresql/17/data").unwrap(), Path::new("/var/lib/postgresql/17/data"));
        insta::assert_snapshot!(layout_of("/data").unwrap_err(),
            @r#"PGDATA is "/data", but this image keeps its data in /var/lib/postgresql/17/data"#);
    }
}
