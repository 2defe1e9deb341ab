//! From a line that a person would type to the program that runs.

use std::env;

use pgherd_images::contract::{SUPERUSER, labels};
use pgherd_orchestrator::Owner;

use crate::step::Action;

/// The environment variable that holds the path of the command line under test.
const XTASK: &str = "PGHERD_XTASK";

/// A program with its arguments and the variables that it gets beside the usual ones.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Whether standard error goes unread.
    pub(crate) discards_errors: bool,
    /// Whether it and all that it starts are ended together.
    pub(crate) leads_group: bool,
}

impl Invocation {
    pub(crate) fn plain(program: &str, arguments: Vec<String>) -> Invocation {
        let (environment, discards_errors, leads_group) = (Vec::new(), false, false);
        Invocation { program: program.to_owned(), arguments, environment, discards_errors, leads_group }
    }

    /// Understands `docker …` and `cargo xtask …`, with variables before and `2>/dev/null` behind them, and queries.
    pub(crate) fn of(action: &Action) -> Invocation {
        match action {
            Action::Shell(line) => Invocation::of_line(line),
            Action::Sql { node, query } => Invocation::plain("docker", psql(node, query)),
        }
    }

    fn of_line(line: &str) -> Invocation {
        let (line, discards_errors) = line.strip_suffix("2>/dev/null").map_or((line, false), |line| (line, true));
        let mut words = split(line);
        let first = words.iter().position(|word| !word.contains('=')).expect("a command");
        let variables = words.drain(..first).filter_map(|word| word.split_once('=').map(owned)).collect::<Vec<_>>();
        let mut invocation = match (words.first().map(String::as_str), words.get(1).map(String::as_str)) {
            (Some("docker"), _) => Invocation::docker(words.split_off(1)),
            (Some("cargo"), Some("xtask")) => Invocation::xtask(words.split_off(2)),
            _ => panic!("a scenario types \"docker …\" and \"cargo xtask …\", not: {line}"),
        };
        invocation.environment.extend(variables);
        Invocation { discards_errors, ..invocation }
    }

    fn docker(mut arguments: Vec<String>) -> Invocation {
        let labelled = match arguments.iter().map(String::as_str).take(2).collect::<Vec<_>>()[..] {
            ["run" | "create", ..] => Some(1),
            ["network" | "volume", "create"] => Some(2),
            _ => None,
        };
        if let Some(position) = labelled {
            let label = format!("{}={}", labels::OWNER, Owner::of_this_process());
            arguments.splice(position..position, ["--label".to_owned(), label]);
        }
        Invocation::plain("docker", arguments)
    }

    fn xtask(arguments: Vec<String>) -> Invocation {
        let program = env::var(XTASK)
            .unwrap_or_else(|_| panic!("{XTASK} is not set\nhint: Run the scenarios with `cargo xtask e2e`."));
        let owner = Owner::of_this_process().to_string();
        let environment = vec![owned(("PGHERD_OWNER", &owner))];
        Invocation { environment, ..Invocation::plain(&program, arguments) }
    }

    /// The named volumes that `docker run -v NAME:/path` would make without a label.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let makes_a_container =
            self.program == "docker" && self.arguments.first().is_some_and(|a| a == "run" || a == "create");
        if !makes_a_container {
            return Vec::new();
        }
        let mounts = self.arguments.windows(2).filter(|pair| pair[0] == "-v").map(|pair| &pair[1]);
        mounts.filter_map(|mount| mount.split_once(':')).map(|(source, _)| source.to_owned()).collect()
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Unaligned, tuples only, no start-up file, errors with their SQLSTATE, and all in the order in which psql said it: the
/// engine carries two streams, and mixes them up.
fn psql(node: &str, query: &str) -> Vec<String> {
    let psql = format!("exec psql -X -U {SUPERUSER} -v VERBOSITY=verbose -Atc \"$0\" 2>&1");
    ["exec", node, "sh", "-c", &psql, query].map(str::to_owned).into()
}

/// Splits a line into words as a shell does, as far as quotes go.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "unbalanced quotes: {line}");
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::{Invocation, split};
    use crate::step::Action;

    #[test]
    fn a_line_is_split_as_by_a_shell() {
        assert_eq!(
            split(r#"docker exec n psql -c "SELECT 'a b'" ''"#),
            ["docker", "exec", "n", "psql", "-c", "SELECT 'a b'", ""]
        );
        assert_eq!(split("  a  b\n c "), ["a", "b", "c"]);
    }

    #[test]
    fn what_a_scenario_makes_is_labelled() {
        let docker = |line: &str| Invocation::of(&Action::Shell(format!("docker {line}")));
        let run = docker("run -v data:/d -v secrets:/s --name n image");
        assert!(run.arguments[2].starts_with("pgherd.owner="), "{run:?}");
        assert_eq!(run.volumes(), ["data", "secrets"]);
        assert!(docker("network create n").arguments[3].starts_with("pgherd.owner="));
        assert_eq!(docker("logs n").arguments, ["logs", "n"]);
    }
}
