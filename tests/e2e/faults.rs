//! The table of faults: what the probe says of each, how soon, and what others say.

pub(crate) mod life_cycle;
pub(crate) mod network;
mod peers;
pub(crate) mod processes;
pub(crate) mod replay;
pub(crate) mod slots;
pub(crate) mod topology;
mod watchman;

use std::time::{Duration, SystemTime};

use e2e::{Action, Expected, Scenario, Step};

use crate::PATIENCE;
use watchman::{Look, Watchman};

/// Something that is done.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A command that shall succeed.
    Run(&'static str),
    /// A query as superuser.
    Sql(&'static str, &'static str),
    /// Not before this query is answered with "t".
    Until(&'static str, &'static str),
    /// A query that shall be refused with this SQLSTATE.
    Fails(&'static str, &'static str, &'static str),
    /// What is asked is called so, as in psql.
    Named(&'static str, &'static str, &'static str),
    /// A command that is repeated until it succeeds in this.
    Repeat(&'static str, &'static str),
    /// A command that goes on by itself.
    Begin(&'static str),
}
use Act::{Begin, Fails, Named, Repeat, Run, Sql, Until};

/// A row of the table.
struct Fault {
    name: &'static str,
    /// The node that others are asked about.
    node: &'static str,
    make: &'static [Act],
    /// What is written then, on the first node, so that something is missed.
    write: bool,
    /// All that shall be found, the telling one first: `lab-2 replay_paused`, or, with a part of the message, `lab-2 starting: cloning`.
    /// After ` …` the message differs from run to run. Nothing: it is no fault.
    findings: &'static [&'static str],
    /// How soon the first of them shall be known, in seconds, after the write, else after it was made. Where nothing shall be found: how
    /// long nothing is.
    within: u64,
    end: &'static [Act],
}

/// A cluster that is watched while faults come and go.
struct Table {
    s: Scenario,
    cluster: &'static str,
    watchman: Watchman,
    rows: String,
    figures: String,
}

/// A row that the replicas do not have when it is acknowledged; the time is taken before, on the server.
const WRITE: &str = "WITH row AS (INSERT INTO missed DEFAULT VALUES RETURNING extract(epoch FROM clock_timestamp()) AS at) \
                     SELECT at FROM row";

/// What stands for the rest of a message that differs from run to run.
const OPEN_END: &str = " …";

impl Table {
    /// Before anything is there.
    fn new(name: &'static str, cluster: &'static str, others: &[&str]) -> Table {
        let names = [cluster.to_owned(), format!("{cluster}-peers")];
        let s = Scenario::new(name, names.into_iter().chain(others.iter().map(|&other| other.to_owned())));
        let watchman = Watchman::begin(&s.real(cluster));
        let rows = "FAULT  VERDICT  FINDINGS  NOTICED  PG_ISREADY  CHECK_POSTGRES\n".to_owned();
        Table { s, cluster, watchman, rows, figures: String::new() }
    }

    /// With a cluster, and others who look at it.
    fn begin(name: &'static str, cluster: &'static str, others: &[&str], up: &str) -> Table {
        let mut table = Table::new(name, cluster, others);
        table.s.run_until(&format!("cargo xtask cluster up {cluster} {up}"), "streams after", PATIENCE);
        table.s.sql(&format!("{cluster}-1"), "CREATE TABLE missed ()");
        table.s.sql(&format!("{cluster}-1"), peers::ROLE);
        table.s.run(&peers::arrive(cluster));
        table
    }

    fn show(&mut self, faults: &[Fault]) {
        for fault in faults {
            self.healthy("before", fault);
            self.row(fault);
        }
    }

    fn row(&mut self, fault: &Fault) {
        self.s.note(fault.name);
        let from = self.watchman.looks();
        self.act(fault.make);
        let mut since = SystemTime::now();
        if fault.write {
            let action = Action::Sql { node: format!("{}-1", self.cluster), query: WRITE.to_owned() };
            let expected = Expected::Named("written".to_owned());
            let written_at = self.s.perform(&Step::Once { action, expected }).trim().parse().expect("a time");
            since = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(written_at);
        }
        let (look, noticed) = if fault.findings.is_empty() {
            (self.nothing(fault, from), "no alarm".to_owned())
        } else {
            self.something(fault, from, since)
        };
        let answers = peers::ask(&self.s, self.cluster, fault.node);
        self.figures += &answers.in_full;
        let told = look.findings().into_iter().chain(look.notes());
        let told: String = told.map(|(what, message)| self.told(fault, &what, message)).collect();
        self.s.show(&told);
        let names =
            |named: Vec<(String, String)>| named.into_iter().map(|(what, _)| what).collect::<Vec<_>>().join(", ");
        let found = match names(look.findings()) {
            found if found.is_empty() => "-".to_owned(),
            found => found,
        };
        self.rows += &format!(
            "{}  {}  {found}  {noticed}  {}  {}\n",
            fault.name, look.report.health, answers.pg_isready, answers.check_postgres
        );
        self.act(fault.end);
        self.healthy("after", fault);
    }

    fn act(&mut self, acts: &[Act]) {
        for act in acts {
            match *act {
                Run(line) => drop(self.s.run(line)),
                Sql(node, query) => drop(self.s.sql(node, query)),
                Until(node, query) => self.s.sql_until(node, query, "t", PATIENCE),
                Fails(node, sqlstate, query) => self.s.sql_fails(node, sqlstate, query),
                Named(name, node, query) => self.s.remember(name, node, query),
                Repeat(line, text) => self.s.run_until(line, text, PATIENCE),
                Begin(line) => drop(self.s.spawn(line)),
            }
        }
    }

    /// Findings go when their reason goes.
    fn healthy(&mut self, when: &str, fault: &Fault) {
        let healthy = self.watchman.wait(self.watchman.looks(), PATIENCE, Look::is_healthy);
        healthy.unwrap_or_else(|looks| panic!("not healthy {when} \"{}\": {}", fault.name, last(&looks)));
    }

    fn nothing(&mut self, fault: &Fault, from: usize) -> Look {
        let alarm = self.watchman.wait(from, Duration::from_secs(fault.within), |look| !look.is_healthy());
        let looks = alarm.map(|look| vec![look]).unwrap_or_else(|looks| looks);
        let healthy = looks.iter().all(Look::is_healthy) && !looks.is_empty();
        eprintln!("{}: {} looks, at last {}", fault.name, looks.len(), last(&looks));
        self.s.claim("no look has found anything", healthy);
        looks.last().expect("a look").clone()
    }

    fn something(&mut self, fault: &Fault, from: usize, since: SystemTime) -> (Look, String) {
        let expected: Vec<(String, String)> = fault.findings.iter().map(|finding| self.expected(finding)).collect();
        let is = |found: &(String, String), expected: &(String, String)| {
            found.0 == expected.0 && found.1.contains(&expected.1)
        };
        let is_first = |look: &Look| look.findings().iter().any(|found| is(found, &expected[0]));
        let first = self.watchman.wait(from, PATIENCE, is_first);
        let first = first.unwrap_or_else(|looks| panic!("\"{}\" was not noticed: {}", fault.name, last(&looks)));
        let after = first.known_at.duration_since(since).unwrap_or_default();
        let (after_s, slowest_s) = (after.as_secs_f64(), self.watchman.slowest(from).as_secs_f64());
        let (name, finding) = (fault.name, fault.findings[0]);
        let figure = format!("{after_s:6.2} s  {name}: {finding}  (no look took longer than {slowest_s:.2} s)\n");
        eprint!("{figure}");
        self.figures += &figure;
        let mut all = expected.clone();
        all.sort();
        let is_whole = |look: &Look| {
            let found = look.findings();
            found.len() == all.len() && found.iter().zip(&all).all(|(found, expected)| is(found, expected))
        };
        let whole = self.watchman.wait(from, PATIENCE, is_whole).unwrap_or_else(|looks| {
            panic!("\"{}\" was never seen as a whole, which is {all:#?}: {}", fault.name, last(&looks))
        });
        let is_in_time = after <= Duration::from_secs(fault.within);
        let since_when = if fault.write { "the write" } else { "its making" };
        self.s.claim(&format!("noticed within {} s of {since_when}: {}", fault.within, fault.findings[0]), is_in_time);
        (whole, format!("< {} seconds", fault.within))
    }

    /// A finding in full, or up to what differs from run to run.
    fn told(&self, fault: &Fault, what: &str, message: String) -> String {
        let open_ended = fault.findings.iter().filter(|finding| finding.ends_with(OPEN_END));
        let cut = open_ended.map(|finding| self.expected(finding)).filter(|expected| expected.0 == what).find_map(
            |expected| {
                let end = message.find(&expected.1)? + expected.1.len();
                Some(format!("{}{OPEN_END}", &message[..end]))
            },
        );
        format!("{what}: {}\n", cut.unwrap_or(message))
    }

    /// Whose finding of which kind, and what is in its message.
    fn expected(&self, finding: &str) -> (String, String) {
        let finding = finding.strip_suffix(OPEN_END).unwrap_or(finding);
        let (what, message) = finding.split_once(": ").unwrap_or((finding, ""));
        (self.s.real(what), self.s.real(message))
    }

    fn finish(mut self) {
        self.s.note("the table");
        self.s.show(&self.rows);
        self.s.keep_figures(&self.figures);
        self.s.finish();
    }
}

fn last(looks: &[Look]) -> String {
    looks
        .last()
        .map_or_else(|| "nobody has looked".to_owned(), |look| format!("{} {:#?}", look.report.health, look.findings()))
}
