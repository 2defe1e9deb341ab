//! The verdict for people: a table, and below it what was found, each with its hint.

use std::fmt;

use crate::{NodeReport, Report};

const HEADER: [&str; 11] =
    ["NODE", "ROLE", "STATE", "TL", "LSN", "LAG", "TIME", "SLOT", "UPSTREAM", "SENDER", "RECEIVER"];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; HEADER.len()]> =
            std::iter::once(HEADER.map(str::to_owned)).chain(self.nodes.iter().map(row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        for row in &rows {
            let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}\nhint: {}", finding.hint())?;
        }
        for node in &self.nodes {
            for finding in &node.findings {
                writeln!(f, "{}: {finding}\nhint: {}", node.node, finding.hint())?;
            }
            for note in &node.notes {
                writeln!(f, "{}: {note} (a note)\nhint: {}", node.node, note.hint())?;
            }
        }
        Ok(())
    }
}

fn row(node: &NodeReport) -> [String; HEADER.len()] {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    [
        node.node.clone(),
        text(node.role),
        node.state.to_string(),
        text(node.timeline),
        text(node.lsn),
        text(node.replay_lag_bytes.map(|bytes| format!("{bytes} B"))),
        text(node.replay_lag_ms.map(|ms| format!("{ms} ms"))),
        text(node.slot.as_ref()),
        text(node.upstream.as_ref()),
        // Both ends in PostgreSQL's own words: pg_stat_replication there, pg_stat_wal_receiver here.
        text(node.sender.as_ref().and_then(|sender| sender.state.as_ref())),
        text(node.receiver.as_ref().and_then(|receiver| receiver.status.as_ref())),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Observed, Policy, Reach, assess};

    #[test]
    fn a_verdict_reads_as_a_table_and_its_reasons() {
        let silent = |node: &str, reach| Observed { node: node.to_owned(), expected_upstream: None, reach };
        let observed = [
            silent("a", Reach::Unreachable { reason: "connection refused".to_owned() }),
            silent("bbbbb", Reach::Missing),
        ];
        insta::assert_snapshot!(assess(&Policy::default(), &observed), @"
        NODE   ROLE  STATE        TL  LSN  LAG  TIME  SLOT  UPSTREAM  SENDER  RECEIVER
        a      -     unreachable  -   -    -    -     -     -         -       -
        bbbbb  -     missing      -   -    -    -     -     -         -       -
        no primary among 0 answering of 2 nodes
        hint: Start the node that was the primary; if it is gone, promote the replica that is furthest.
        a: could not be reached: connection refused
        hint: Look at the node's log, and at the network between it and here.
        bbbbb: does not exist
        hint: Create the node, or take it out of the cluster.
        ");
    }
}
