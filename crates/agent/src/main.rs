//! `pgherd-agent`: PID 1 of every node.

use std::{
    env, io,
    os::unix::process::CommandExt,
    panic,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use pgherd_agent::{
    Error, Format, Layout, Level, Line, NodeSpec, Running, Supervisor, ask_source, attend, bring, check_settings,
    desired, drop_source_slots, examine, explain, grace, grant, health, introduce, keep, knock, layout, log,
    log_format, name_node, processes, promote, reload, retire_authorities, rotate_authority, rotate_passwords, run,
    server_arguments, signal, specify, trash, wal_end,
};
use pgherd_probe::TimelineId;
use rustix::process::Signal;

const USAGE: &str = "\
usage: pgherd-agent [--log text | --log json]
                    [run [-c SETTING=VALUE …] | plan | health | attend [--wait-ms N] | reload
                    | specify [--has-slot] | check-settings [JSON]
                    | rotate passwords|authority|retire
                    | examine PLACE | bring PLACE
                    | promote [--caught-up [--wait-ms N]] | grant | wal-end
                    | source secrets ID | source knock | source sql STATEMENT | source drop-slots SLOT…
                    | trash [list | put | restore NAME] | processes | signal SIGNAL PROCESS]

  run        make this node what it is asked to be, and run PostgreSQL (the default), with settings beside those that it has; the word may be
             left out, or be postgres
  plan       print what run would do next, and why; change nothing
  health     say in one line whether the PostgreSQL that runs here serves; exit with 1 if it does not
  attend     pipe standard input and output to PostgreSQL's unix socket, and carry out what an orchestrator orders beside
             that, both in frames; where nobody listens yet, wait N ms for it
  reload     have the agent and the PostgreSQL that run here take up changed secrets and settings
  specify    make what is on standard input, a specification as JSON, what this node is asked to be, and have the agent and the
             PostgreSQL that run here take it up: other peers, another quorum, another upstream, on which it is given a slot
             unless it has one; another role waits for the next start
  check-settings  print what PostgreSQL makes of settings, an object of JSON, on standard input unless it is given, in its own units;
             change nothing
  examine    print as JSON what a data directory at PLACE, or up to two levels below it, is, or why no cluster can be made of it;
             change nothing
  bring      copy it to this node's volume, where the node's first start as a primary adopts it; change nothing else
  rotate     replace secrets, on the primary: passwords; or authority, with a new one, and then retire, which ends the
             trust in the old one. Every node is to reload after passwords, and between authority and retire
  promote    make the replica that runs here the primary, and print its timeline as JSON; whoever was it does not start
             read-write again. With --caught-up, only if it has everything of an upstream that was shut down; wait N ms for that
  grant      permit the data of this node, which does not run, to be written to: if you know that no other node is primary
  wal-end    print how far the WAL of this node goes, which does not run, as JSON; change nothing
  source     of a cluster around a server that is not ours: make secrets for the server with this system identifier, and print
             what it is to store as the password of our role; try whether it lets that role in, and print its identifier; run
             SQL there as that role; drop slots there, once nobody uses them
  trash      list what had to make way; put the data of this node, which does not run, there; or put a data directory
             back in place
  processes  list PostgreSQL's processes by number, state and what they do
  signal     send KILL, INT, STOP or CONT to the postmaster, startup, walreceiver, walsender, checkpointer, other or all,
             and list who got it; exit with 1 if nobody did

Any other command is executed in the agent's place, such as psql.

Without --log, the variable PGHERD_LOG says how run writes the log; without both it is text.";

/// Hundreds of times what the answer takes. The engine waits longer, so that it has our words.
const HEALTH_BOUND: Duration = Duration::from_secs(5);

/// SIGINT asks the postmaster for a fast shutdown.
const SIGNALS: [(&str, Signal); 4] =
    [("KILL", Signal::KILL), ("INT", Signal::INT), ("STOP", Signal::STOP), ("CONT", Signal::CONT)];

fn main() -> ExitCode {
    // In the form of the log, whatever that is by then.
    panic::set_hook(Box::new(|panic| Line::new(Level::Error, panic).event("panic").write()));
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let command = match arguments[..] {
        ["--log", name, ref command @ ..] => {
            let Ok(format) = name.parse::<Format>() else { return usage() };
            format.set();
            command
        }
        ref command => command,
    };
    perform(command).unwrap_or_else(|error| {
        let (level, event) = match error {
            Error::Interrupted(_) => (Level::Info, "interrupted"),
            Error::Refused(_) => (Level::Error, "refused"),
            _ => (Level::Error, "failed"),
        };
        Line::new(level, &error).event(event).hint(error.hint()).write();
        ExitCode::from(error.exit_code())
    })
}

fn perform(command: &[&str]) -> Result<ExitCode, Error> {
    match *command {
        [] | ["run"] => run_node(&[]),
        ["run" | "postgres", ref settings @ ..] => run_node(settings),
        ["--version" | "-V" | "--help" | "-?", ..] => execute("postgres", command),
        [argument, ..] if argument.starts_with('-') => run_node(command),
        ["plan"] => print_plan(),
        ["health"] => print_health(),
        ["attend"] => attend_to(Duration::ZERO),
        ["attend", "--wait-ms", milliseconds] => match milliseconds.parse() {
            Ok(milliseconds) => attend_to(Duration::from_millis(milliseconds)),
            Err(_) => Ok(usage()),
        },
        ["reload"] => beside_the_agent(reload),
        ["check-settings"] => print_settings(&io::read_to_string(io::stdin())?),
        ["check-settings", json] => print_settings(json),
        ["specify"] => take_specification(false),
        ["specify", "--has-slot"] => take_specification(true),
        ["rotate", "passwords"] => beside_the_agent(rotate_passwords),
        ["rotate", "authority"] => beside_the_agent(|layout, _| rotate_authority(layout)),
        ["rotate", "retire"] => beside_the_agent(|layout, _| retire_authorities(layout)),
        ["promote"] => print_promotion(None),
        ["promote", "--caught-up"] => print_promotion(Some(Duration::ZERO)),
        ["promote", "--caught-up", "--wait-ms", milliseconds] => match milliseconds.parse() {
            Ok(milliseconds) => print_promotion(Some(Duration::from_millis(milliseconds))),
            Err(_) => Ok(usage()),
        },
        ["examine", place] => print_examination(place),
        ["bring", place] => bring(Path::new(place), &layout(&environment)?).map(|()| ExitCode::SUCCESS),
        ["grant"] => permit(),
        ["wal-end"] => print_wal_end(),
        ["source", "secrets", identifier] => introduce_to(identifier),
        ["source", "knock"] => at_source(|spec, layout, supervisor| Ok(knock(spec, layout, supervisor)?.to_string())),
        ["source", "sql", statement] => {
            at_source(|spec, layout, supervisor| ask_source(statement, spec, layout, supervisor))
        }
        ["source", "drop-slots", ref slots @ ..] => at_source(|spec, layout, supervisor| {
            drop_source_slots(slots, spec, layout, supervisor).map(|()| String::new())
        }),
        ["trash"] | ["trash", "list"] => print_trash(),
        ["trash", "put"] => beside_the_agent(|layout, _| trash::put(layout)),
        ["trash", "restore", name] => beside_the_agent(|layout, _| trash::restore(layout, name)),
        ["processes"] => print_processes(processes),
        ["signal", name, selection] => match (SIGNALS.iter().find(|(known, _)| *known == name), selection.parse()) {
            (Some((_, number)), Ok(selection)) => print_processes(|node| signal(selection, *number, node)),
            _ => Ok(usage()),
        },
        [program, ref arguments @ ..] => execute(program, arguments),
    }
}

/// Lets a container of the image be something else than a node, as in `docker run IMAGE psql …`.
fn execute(program: &str, arguments: &[&str]) -> Result<ExitCode, Error> {
    let error = Command::new(program).args(arguments).exec();
    if error.kind() == io::ErrorKind::NotFound {
        log(format_args!("there is no command \"{program}\""));
        return Ok(usage());
    }
    Err(Error::doing(format!("execute \"{program}\""))(error))
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn run_node(settings: &[&str]) -> Result<ExitCode, Error> {
    let supervisor = Supervisor::install()?;
    // For this command alone: whoever has another one executed in the container reads text.
    log_format(&environment)?.set();
    let mut supervisor = supervisor.with_grace(grace(&environment)?);
    let layout = layout(&environment)?;
    let mut spec = desired(&layout, &environment, &hostname())?;
    spec.settings.extend(server_arguments(settings)?);
    name_node(&spec.node);
    let doing = format!("keep what the node is in \"{}\"", layout.control().display());
    keep(&layout, &environment, &spec).map_err(Error::doing_at(doing, &layout.control()))?;
    let ending = run(&spec, &layout, &mut supervisor)?;
    ending.line().write();
    Ok(ExitCode::from(ending.exit.code()))
}

fn print_plan() -> Result<ExitCode, Error> {
    let mut supervisor = Supervisor::install()?;
    let layout = layout(&environment)?;
    let spec = desired(&layout, &environment, &hostname())?;
    let (observed, steps) = explain(&spec, &layout, &mut supervisor)?;
    print!("{observed}");
    for step in steps {
        println!("step: {step}");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_health() -> Result<ExitCode, Error> {
    Ok(match health(&layout(&environment)?, HEALTH_BOUND) {
        Ok(service) => {
            println!("healthy: {service}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("unhealthy: {why}");
            ExitCode::FAILURE
        }
    })
}

/// Does something to the node beside the agent that runs it.
fn beside_the_agent(change: impl FnOnce(&Layout, &mut Supervisor) -> Result<(), Error>) -> Result<ExitCode, Error> {
    let mut supervisor = Supervisor::install()?;
    change(&layout(&environment)?, &mut supervisor)?;
    Ok(ExitCode::SUCCESS)
}

fn print_settings(json: &str) -> Result<ExitCode, Error> {
    let mut supervisor = Supervisor::install()?;
    let settings = serde_json::from_str(json).map_err(io::Error::from)?;
    let taken = check_settings(&settings, &layout(&environment)?, &mut supervisor)?;
    println!("{}", serde_json::to_string(&taken).map_err(io::Error::from)?);
    Ok(ExitCode::SUCCESS)
}

fn take_specification(has_slot: bool) -> Result<ExitCode, Error> {
    beside_the_agent(|layout, supervisor| {
        let json = io::read_to_string(io::stdin()).map_err(Error::doing("read standard input"))?;
        specify(&json, has_slot, layout, supervisor)
    })
}

fn print_promotion(caught_up: Option<Duration>) -> Result<ExitCode, Error> {
    let (_, timeline) = change_primary(|spec, layout, supervisor| promote(spec, layout, supervisor, caught_up))?;
    println!("{}", serde_json::json!({ "timeline": timeline }));
    Ok(ExitCode::SUCCESS)
}

fn permit() -> Result<ExitCode, Error> {
    let (node, timeline) = change_primary(grant)?;
    log(format_args!("node \"{node}\" is the primary on timeline {timeline}"));
    Ok(ExitCode::SUCCESS)
}

fn change_primary(
    change: impl FnOnce(&NodeSpec, &Layout, &mut Supervisor) -> Result<TimelineId, Error>,
) -> Result<(String, TimelineId), Error> {
    let mut supervisor = Supervisor::install()?;
    let layout = layout(&environment)?;
    let spec = desired(&layout, &environment, &hostname())?;
    let timeline = change(&spec, &layout, &mut supervisor)?;
    Ok((spec.node, timeline))
}

fn introduce_to(identifier: &str) -> Result<ExitCode, Error> {
    let Ok(identifier) = identifier.parse() else { return Ok(usage()) };
    println!("{}", introduce(&layout(&environment)?, identifier)?);
    Ok(ExitCode::SUCCESS)
}

fn at_source(
    ask: impl FnOnce(&NodeSpec, &Layout, &mut Supervisor) -> Result<String, Error>,
) -> Result<ExitCode, Error> {
    let mut supervisor = Supervisor::install()?;
    let layout = layout(&environment)?;
    let spec = desired(&layout, &environment, &hostname())?;
    print!("{}", ask(&spec, &layout, &mut supervisor)?);
    Ok(ExitCode::SUCCESS)
}

fn print_wal_end() -> Result<ExitCode, Error> {
    let mut supervisor = Supervisor::install()?;
    let found = wal_end(&layout(&environment)?, &mut supervisor)?;
    println!("{}", serde_json::to_string(&found).map_err(io::Error::from)?);
    Ok(ExitCode::SUCCESS)
}

fn print_examination(place: &str) -> Result<ExitCode, Error> {
    let mut supervisor = Supervisor::install()?;
    let found = examine(Path::new(place), &layout(&environment)?, &mut supervisor)?;
    println!("{}", serde_json::to_string(&found).map_err(io::Error::from)?);
    Ok(ExitCode::SUCCESS)
}

fn print_trash() -> Result<ExitCode, Error> {
    for entry in trash::entries(&layout(&environment)?)? {
        println!("{entry}");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_processes(find: impl FnOnce(&str) -> io::Result<Vec<Running>>) -> Result<ExitCode, Error> {
    let node = desired(&layout(&environment)?, &environment, &hostname())?.node;
    let found = find(&node)?;
    for running in &found {
        println!("{running}");
    }
    Ok(if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn attend_to(patience: Duration) -> Result<ExitCode, Error> {
    let layout = layout(&environment)?;
    Ok(match attend(&layout, patience) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            log(complaint);
            ExitCode::FAILURE
        }
    })
}

fn environment(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
