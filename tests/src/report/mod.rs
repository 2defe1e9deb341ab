//! What a failed scenario leaves for its reader: what is there, what would be done next, and what it said last.
//!
//! Every part is bounded in time, and says why where it cannot be had: nothing here fails.

mod bundle;
mod cluster;
mod docker;

use std::{fmt::Write, thread};

use docker::{Container, Docker};

pub(crate) use bundle::{forget, save};
pub(crate) use docker::{by_name, by_owner, remove_all_of, remove_run};

/// The last lines of every log that the text holds. All of it is in the bundle.
const LOG_LINES: &str = "40";

/// A text for the terminal, and files for a closer look.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) text: String,
    files: Vec<(String, String)>,
}

impl Report {
    fn section(&mut self, title: &str, text: &str) {
        let _ = writeln!(self.text, "--- {title}\n{}", text.trim_end());
    }

    fn file(&mut self, name: String, text: String) {
        self.files.push((name, text));
    }
}

/// The report on all that a filter of the engine selects. Made in a thread of its own: the one that failed may be unwinding.
pub(crate) fn of_engine(filter: &str) -> Report {
    let made = thread::scope(|scope| scope.spawn(|| make(filter)).join());
    made.unwrap_or_else(|_| Report { text: "--- the report itself failed".to_owned(), files: Vec::new() })
}

fn make(filter: &str) -> Report {
    let mut report = Report::default();
    let docker = Docker::new();
    let containers = docker.containers(filter);

    let mut clusters: Vec<&str> = containers.iter().filter_map(|container| container.cluster.as_deref()).collect();
    clusters.dedup();
    for name in clusters {
        let found = cluster::look_at(name, docker.left());
        report.section(&format!("cluster \"{name}\": the probe's report, and the plan"), &found.text);
        report.file(format!("{name}.status.json"), found.status);
        report.file(format!("{name}.plan.json"), found.plan);
    }
    report.section("inventory", &docker.inventory(filter));
    for container in &containers {
        node(&docker, container, &mut report);
    }
    report
}

fn node(docker: &Docker, container: &Container, report: &mut Report) {
    let name = container.name.as_str();
    if container.is_node() {
        let plan = inside(docker, container, &["pgherd-agent", "plan"]);
        // The orchestrator has spoken for its own nodes.
        if container.cluster.is_none() {
            report.section(&format!("{name}: what its agent would do next"), &plan);
        }
        report.file(format!("{name}.agent-plan.txt"), plan);
        let data_directory = ["sh", "-c", "pg_controldata -D \"$PGDATA\""];
        report.file(format!("{name}.pg_controldata.txt"), inside(docker, container, &data_directory));
    }
    report.section(
        &format!("{name}: the last {LOG_LINES} lines of its log"),
        &docker.ask(&["logs", "--timestamps", "--tail", LOG_LINES, name]),
    );
    report.file(format!("{name}.log"), docker.ask(&["logs", "--timestamps", name]));
    report.file(format!("{name}.inspect.json"), docker.ask(&["inspect", name]));
}

fn inside(docker: &Docker, container: &Container, command: &[&str]) -> String {
    if container.state != "running" {
        return format!("cannot be asked: its container is {}\n", container.state);
    }
    docker.ask(&[&["exec", &*container.name], command].concat())
}
