//! What a failed scenario leaves for its reader: what is there, and what it said last.

use std::{fmt::Write, time::Duration};

use crate::{command::Invocation, process};

/// The last lines of every log that a report holds.
const LOG_LINES: &str = "40";

/// Asks the engine something that no scenario waits for.
fn docker(arguments: &[&str]) -> String {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    process::run(&Invocation::plain("docker", arguments), Duration::from_secs(60)).output
}

/// The containers of a run, by name.
pub(crate) fn containers(run: &str) -> Vec<String> {
    listed(&docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("name={run}")]))
}

fn listed(output: &str) -> Vec<String> {
    let mut names: Vec<String> = output.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// The inventory of a run and the end of every node's log.
pub(crate) fn of_run(run: &str) -> String {
    let filter = format!("name={run}");
    let mut report = String::new();
    for list in [["ps", "-a"], ["volume", "ls"], ["network", "ls"]] {
        let _ = writeln!(report, "$ docker {} --filter {filter}", list.join(" "));
        report += &docker(&[list[0], list[1], "--filter", &filter]);
    }
    for container in containers(run) {
        let _ = writeln!(report, "$ docker logs --tail {LOG_LINES} {container}");
        report += &docker(&["logs", "--tail", LOG_LINES, &container]);
    }
    report
}

/// Removes whatever has the run in its name: containers with their anonymous volumes, then what they used.
pub(crate) fn remove_run(run: &str) {
    let filter = format!("name={run}");
    remove(&["rm", "--force", "--volumes"], &containers(run));
    remove(&["volume", "rm"], &listed(&docker(&["volume", "ls", "-q", "--filter", &filter])));
    remove(&["network", "rm"], &listed(&docker(&["network", "ls", "--format", "{{.Name}}", "--filter", &filter])));
}

fn remove(command: &[&str], names: &[String]) {
    if !names.is_empty() {
        let arguments: Vec<&str> = command.iter().copied().chain(names.iter().map(String::as_str)).collect();
        docker(&arguments);
    }
}
