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
    fn status(&self, node: &str) -> &NodeStatus {
        let observed = self.observed.iter().find(|observed| observed.node == node);
        observed.and_then(Observed::status).expect("every node answers")
    }

    fn status_mut(&mut self, node: &str) -> &mut NodeStatus {
        let observed = self.observed.iter_mut().find(|observed| observed.node == node);
        match &mut observed.expect("the nodes stay the same").reach {
            Reach::Answered(status) => status,
            reach => panic!("{node} does not answer: {reach:?}"),
        }
    }

    /// What is durable on the primary, received by a replica, and replayed there.
    fn places(&self, replica: &str) -> [Lsn; 3] {
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

const MINUTE_MS: u64 = 60_000;

#[test]
fn an_hour_without_a_false_alarm() {
    let mut watch = Watch::default();
    for mut look in recording() {
        let report = look.judge(&mut watch);
        assert_eq!(findings(&report), [""; 0], "{:?}", look.during_ms);
        assert!(report.is_converged());
    }
}

/// What the test above is worth.
#[test]
fn the_hour_is_one_and_has_a_load() {
    let looks = recording();
    assert!(looks.windows(2).all(|two| two[1].during_ms.start < two[0].during_ms.start + 10_000));
    let [began, ended] = [0, looks.len() - 1].map(|number| looks[number].during_ms.clone());
    let half = looks.partition_point(|look| look.during_ms.start < began.start + 30 * MINUTE_MS);
    assert!(ended.end - began.start >= 60 * MINUTE_MS);

    let work = |from: usize, to: usize| {
        let [from, to] = [from, to].map(|number| {
            let age = looks[number].status("rec-1").upkeep.transaction_age.expect("an age");
            (looks[number].places("rec-2")[0], age)
        });
        (to.0.bytes_since(from.0), to.1 - from.1)
    };
    let (idle_bytes, idle_transactions) = work(0, half - 1);
    assert!(idle_bytes < 1 << 20 && idle_transactions < 10, "{idle_bytes} bytes, {idle_transactions} transactions");
    let (bytes, transactions) = work(half, looks.len() - 1);
    assert!(bytes > 5 << 30 && transactions > 100_000, "{bytes} bytes, {transactions} transactions");

    // The replicas had to run after it.
    let behind = looks.iter().map(|look| look.places("rec-2"));
    let behind = behind.filter(|[end, _, replay]| end.bytes_since(*replay) > 16 << 20);
    assert!(behind.count() > 60);
}

/// Which of a replica's processes stands still, as an index into [`Look::places`].
#[derive(Debug, Clone, Copy)]
enum Frozen {
    Receiver = 1,
    Startup = 2,
}

impl Frozen {
    fn is_waiting(self, look: &Look) -> bool {
        let status = look.status("rec-2");
        match self {
            Frozen::Receiver => status.receiver.as_ref().is_some_and(|receiver| !receiver.is_busy()),
            Frozen::Startup => status.replay.as_ref().is_some_and(|replay| !replay.is_busy()),
        }
    }

    /// Makes of a look what it would have been if the process had stood still since an earlier one.
    fn freeze(self, since: &Look, now: &mut Look) {
        let (frozen, [_, receive, _]) = (since.status("rec-2").clone(), now.places("rec-2"));
        let silence_ms = now.during_ms.start - since.during_ms.start;
        let status = now.status_mut("rec-2");
        match self {
            Frozen::Startup => {
                status.lsn = NodeLsn::Replica { receive: Some(receive), replay: frozen.lsn.visible() };
                status.replay = frozen.replay;
            }
            Frozen::Receiver => {
                (status.lsn, status.receiver) = (frozen.lsn, frozen.receiver);
                let mut row = since.status("rec-1").downstreams[0].clone();
                row.last_reply_age_ms = row.last_reply_age_ms.map(|age_ms| age_ms + silence_ms);
                now.status_mut("rec-1").downstreams[0] = row;
            }
        }
    }

    /// The numbers of the look at which the real process had gone on, and of the one at which this one is noticed.
    fn notice(self, looks: &[Look]) -> Option<(usize, usize)> {
        let (since, mut watch, mut missed) = (looks[0].clone(), Watch::default(), None);
        let at = since.places("rec-2")[self as usize];
        for (number, mut look) in looks.iter().cloned().enumerate() {
            if look.places("rec-2")[self as usize] > at {
                missed = missed.or(Some(number));
            }
            self.freeze(&since, &mut look);
            if !findings(&look.judge(&mut watch)).is_empty() {
                return Some((missed.unwrap_or(number), number));
            }
        }
        None
    }
}

/// At a look a second, the third one is within 3 s of the first write-ahead log that was missed.
#[test]
fn a_process_that_had_frozen_in_it_is_noticed_at_the_third_look() {
    let looks = recording();
    let loaded = looks.partition_point(|look| look.during_ms.start < looks[0].during_ms.start + 32 * MINUTE_MS);
    for frozen in [Frozen::Receiver, Frozen::Startup] {
        let mut at_once = 0;
        for from in (loaded..looks.len() - 60).step_by(5) {
            let (missed, noticed) = frozen.notice(&looks[from..from + 60]).expect("it is noticed within a minute");
            let is_swift = |look: &Look| look.during_ms.end - look.during_ms.start < 300;
            // One that froze at its work has more time, and so has one that is looked at slowly.
            if frozen.is_waiting(&looks[from]) && looks[from..=from + noticed].iter().all(is_swift) {
                assert!(noticed <= missed + 2, "{frozen:?} at {:?}", looks[from].during_ms);
                at_once += 1;
            }
        }
        assert!(at_once >= 5, "{frozen:?}: {at_once}");
    }
}
