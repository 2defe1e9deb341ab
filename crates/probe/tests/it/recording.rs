//! An hour of a real cluster, idle and then heavily loaded, with nothing wrong in it: written by `examples/record.rs`.

use std::{
    io::{BufRead, BufReader},
    ops::Range,
};

use flate2::read::GzDecoder;
use pgherd_probe::{Finding, NodeStatus, Observed, Policy, Reach, Watch, assess};
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
}

/// All looks, with the upstreams that the cluster was made with.
fn recording() -> Vec<Look> {
    let file = GzDecoder::new(include_bytes!("../recordings/hour.jsonl.gz").as_slice());
    let look = |line: std::io::Result<String>| {
        let mut look: Look = serde_json::from_str(&line.expect("a line")).expect("a look");
        for replica in look.observed.iter_mut().filter(|node| node.node != "rec-1") {
            replica.expected_upstream = Some("rec-1".to_owned());
        }
        look
    };
    BufReader::new(file).lines().map(look).collect()
}

fn findings(watch: &mut Watch, look: &mut Look) -> Vec<String> {
    watch.look(look.during_ms.clone(), &mut look.observed);
    let report = assess(&Policy::default(), &look.observed);
    let of_nodes = report.nodes.iter().flat_map(|node| node.findings.iter().map(|f| format!("{} {f}", node.node)));
    of_nodes.chain(report.findings.iter().map(ToString::to_string)).collect()
}

#[test]
fn an_hour_without_a_false_alarm() {
    let mut watch = Watch::default();
    for mut look in recording() {
        assert_eq!(findings(&mut watch, &mut look), [""; 0], "{:?}", look.during_ms);
    }
}
