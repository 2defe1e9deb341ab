//! An hour of a real cluster, idle and then heavily loaded, with nothing wrong in it: written by `examples/record.rs`.

use std::{
    io::{self, BufRead, BufReader},
    ops::Range,
};

use flate2::read::GzDecoder;
use pgherd_probe::{Lsn, NodeLsn, NodeStatus, Observed, Policy, Reach, Report, Watch, assess};
use serde::Deserialize;

/// A line of it.
#[derive(Deserialize, Clone)]
struct Look {
    during_ms: Range<u64>,
    observed: Vec<Observed>,
}

impl Look {
    fn status(&mut self, node: &str) -> &mut NodeStatus {
        let observed = self.observed.iter_mut().find(|observed| observed.node == node);
        match &mut observed.expect("the nodes stay the same").reach {
            Reach::Answered(status) => status,
            reach => panic!("{node} does not answer: {reach:?}"),
        }
    }

    /// What is durable on the primary, received by a replica, and replayed there.
    fn places(&mut self, replica: &str) -> [Lsn; 3] {
        match (self.status("rec-1").lsn, self.status(replica).lsn) {
            (NodeLsn::Primary { flush, .. }, NodeLsn::Replica { receive: Some(receive), replay: Some(replay) }) => {
                [flush, receive, replay]
            }
            other => panic!("{other:?}"),
        }
    }

    fn judge(&mut self, watch: &mut Watch) -> Report {
        watch.look(self.during_ms.clone(), &mut self.observed);
        assess(&Policy::default(), &self.observed)
    }
}

/// All looks at a primary and its two replicas.
fn recording() -> Vec<Look> {
    let file = GzDecoder::new(include_bytes!("../recordings/hour.jsonl.gz").as_slice());
    let look = |line: io::Result<String>| {
        let mut look: Look = serde_json::from_str(&line.expect("a line")).expect("a look");
        for replica in look.observed.iter_mut().filter(|node| node.node != "rec-1") {
            replica.expected_upstream = Some("rec-1".to_owned());
        }
        look
    };
    BufReader::new(file).lines().map(look).collect()
}

fn findings(report: &Report) -> Vec<String> {
    let of_nodes =
        report.nodes.iter().flat_map(|node| node.findings.iter().map(move |found| format!("{} {found}", node.node)));
    of_nodes.chain(report.findings.iter().map(ToString::to_string)).collect()
}

#[test]
fn an_hour_without_a_false_alarm() {
    let mut watch = Watch::default();
    for mut look in recording() {
        let report = look.judge(&mut watch);
        assert_eq!(findings(&report), [""; 0], "{:?}", look.during_ms);
        assert!(report.is_converged());
    }
}
