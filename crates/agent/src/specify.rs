//! Telling the agent that runs in this container of what it is to take up: secrets and settings that have changed, or a whole
//! specification.

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::{
    apply::connect_to,
    conninfo::conninfo,
    desired::parse,
    durable,
    error::Error,
    layout::Layout,
    log::log,
    session::Session,
    spec::{NodeSpec, Role, Upstream},
    supervise::Supervisor,
    upstream::look_until,
};

/// How long PostgreSQL may take to read its configuration again, in seconds. It reads at once, unless the machine is busy.
const RELOAD_SECONDS: u32 = 30;

/// How long a new upstream may take to let us in, in seconds. It may be starting.
const UPSTREAM_SECONDS: u32 = 30;

/// What the PostgreSQL that runs here says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Running {
    node: String,
    in_recovery: bool,
    conninfo: String,
    /// When it read its configuration last.
    loaded: String,
}

const QUESTION: &str = "\
SELECT current_setting('cluster_name') AS node, pg_is_in_recovery() AS in_recovery,
    current_setting('primary_conninfo') AS conninfo, pg_conf_load_time()::text AS loaded";

/// Has the agent of this node take up what has changed on its volumes, and returns when a PostgreSQL that runs has done so, too.
/// One that does not run does at its start.
///
/// # Errors
/// Where PostgreSQL has not read its configuration again in time: the log of the node says why.
pub fn reload(layout: &Layout, supervisor: &mut Supervisor) -> Result<(), Error> {
    if !runs(layout)? {
        log("postgresql does not run; it takes up secrets and settings at its start");
        return Ok(());
    }
    let before = running(layout, supervisor)?;
    take_up(&before, layout, supervisor)?;
    log("the node has taken up secrets and settings as they are now");
    Ok(())
}

/// Makes the specification in `json` what the node is asked to be, and returns when the PostgreSQL that runs here has taken up as
/// much of it as a running node can become: everything but another role, which waits for the next start.
///
/// A replica that is given another upstream has its slot there by then, or has it already where `has_slot` says so; whether it can follow
/// is seen from outside.
///
/// # Errors
/// Where `json` is no specification of this node, PostgreSQL does not run, or the new upstream gives no slot in time: then nothing
/// was changed. Where PostgreSQL has not read its configuration again in time, or what `ALTER SYSTEM` says keeps it with another
/// upstream: then the node is asked what was specified, and does it at its next start at the latest.
pub fn specify(json: &str, has_slot: bool, layout: &Layout, supervisor: &mut Supervisor) -> Result<(), Error> {
    let asked = parse(json, "standard input")?;
    if !runs(layout)? {
        return Err(Error::Specification {
            message: format!("cannot specify what node \"{}\" is to be: its postgresql does not run", asked.node),
            hint: format!(
                "wait until it does; or stop the node, and put the specification into {}",
                layout.spec_file().display()
            ),
        });
    }
    let before = running(layout, supervisor)?;
    if before.node != asked.node {
        return Err(Error::Specification {
            message: format!("cannot make node \"{}\" of node \"{}\"", asked.node, before.node),
            hint: "a node keeps its name; specify the one that runs here".to_owned(),
        });
    }
    let follows = match &asked.role {
        Role::Replica { upstream } if before.in_recovery => {
            Some((upstream, expected_conninfo(upstream, &asked, layout)))
        }
        _ => None,
    };
    if let Some((upstream, _)) = follows.as_ref().filter(|(_, conninfo)| !has_slot && *conninfo != before.conninfo) {
        connect_to(upstream, &asked, layout)?.provide_slot(supervisor, UPSTREAM_SECONDS)?;
    }
    let doing = || format!("write \"{}\"", layout.spec_file().display());
    let text = serde_json::to_string(&asked).map_err(|error| Error::doing(doing())(error.into()))?;
    durable::replace(&layout.spec_file(), text.as_bytes()).map_err(Error::doing_at(doing(), &layout.spec_file()))?;
    let after = take_up(&before, layout, supervisor)?;
    match follows {
        Some((upstream, expected)) if after.in_recovery && after.conninfo != expected => {
            return Err(Error::Specification {
                message: format!(
                    "node \"{}\" is to follow \"{upstream}\", and its primary_conninfo is \"{}\"",
                    asked.node, after.conninfo
                ),
                hint: "what ALTER SYSTEM has set comes first: ALTER SYSTEM RESET primary_conninfo".to_owned(),
            });
        }
        _ => {}
    }
    log(if (asked.role == Role::Primary) == after.in_recovery {
        "the node has taken up what it is asked to be, but for its role, which waits for its next start"
    } else {
        "the node has taken up what it is asked to be"
    });
    Ok(())
}

fn expected_conninfo(upstream: &Upstream, asked: &NodeSpec, layout: &Layout) -> String {
    conninfo(upstream, &asked.node, asked, layout)
}

fn runs(layout: &Layout) -> Result<bool, Error> {
    Ok(layout.data().join("postmaster.pid").try_exists()?)
}

fn running(layout: &Layout, supervisor: &mut Supervisor) -> Result<Running, Error> {
    // It may be on its way up.
    look_until(supervisor, "postgresql to answer", RELOAD_SECONDS, |supervisor| ask(layout, supervisor))
}

/// Has the agent write the files anew and tell PostgreSQL, and waits until that has read them.
fn take_up(before: &Running, layout: &Layout, supervisor: &mut Supervisor) -> Result<Running, Error> {
    // From inside, because an engine that is asked to send a signal takes it for the wish to end, and does not start the node again
    // if it crashes afterwards.
    kill_process(Pid::INIT, Signal::HUP).map_err(|error| Error::doing("signal process 1")(error.into()))?;
    // A new session has it from the postmaster, which has loaded the certificate by the time that it forks again.
    look_until(supervisor, "postgresql to read its configuration again", RELOAD_SECONDS, |supervisor| {
        let seen = ask(layout, supervisor)?;
        let is_new =
            |now: Running| if now.loaded == before.loaded { Err(format!("read at {}", now.loaded)) } else { Ok(now) };
        Ok(seen.and_then(is_new))
    })
}

/// The inner error is what was seen instead of an answer.
fn ask(layout: &Layout, supervisor: &mut Supervisor) -> Result<Result<Running, String>, Error> {
    match Session::open(layout, supervisor).and_then(|mut session| session.ask(QUESTION)) {
        Ok(running) => Ok(Ok(running)),
        Err(Error::Local(complaint)) => Ok(Err(complaint)),
        Err(error) => Err(error),
    }
}
