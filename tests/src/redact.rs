//! What changes from run to run, and what a transcript shows in its place.
//!
//! Determinism comes first: scenarios have fixed names and sort what they ask for. What is left is in one table. A redaction
//! never hides a claim: counts, roles, states, timelines, SQLSTATEs and exit codes stay, and where the order of two LSNs
//! matters, a scenario compares them.

use std::sync::LazyLock;

use regex::Regex;

/// A password in a connection line.
const PASSWORD: (&str, &str) = (r"(://[^:@/ ]+):[^@ ]+@", "$1:[PASSWORD]@");

/// In this order: what is matched, and what is shown.
pub const REDACTIONS: [(&str, &str); 19] = [
    // Of psql's expanded output: the longest value decides the width.
    (r"(?m)^(-\[ RECORD \d+ \]-*\+)-+$", "$1---"),
    // Of pg_stat_replication: processes, their ports, transactions and delays, and the number of a role.
    (r"(?m)^((?:pid|usesysid|client_port|backend_xmin|(?:write|flush|replay)_lag) +\| ).*$", "$1[VARIES]"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?| UTC)?", "[TIME]"),
    // In full, and as the host name of a container that has no other.
    (r"\b(?:sha256:)?[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "[ID]"),
    PASSWORD,
    (r"\b\d+/[0-9A-F]{6,8}\b|\b\d+/0\b", "[LSN]"),
    (r"\b7\d{18}\b", "[SYSTEM IDENTIFIER]"),
    (r"\b127\.0\.0\.1:\d+\b", "127.0.0.1:[PORT]"),
    (r"\b(?:1[07]2?|192)\.\d+\.\d+\.\d+\b(?:/\d+)?(?:\(\d+\))?", "[ADDRESS]"),
    // A process in a line of PostgreSQL's log.
    (r"\[\d+\]", "[PID]"),
    (r"\b\d+(?:\.\d+)? ?(?:ms|s|min)\b", "[DURATION]"),
    // What a replica had yet to replay at that moment.
    (r"\b\d+ (?:B|bytes)\b", "[BYTES]"),
    // And how long it had been behind, which has no measure yet in the first moment.
    (r"(\[BYTES\] +)- ", "$1[DURATION] "),
    // Lag over time, as bars.
    (r"[▁▂▃▄▅▆▇█]+", "[BARS]"),
    // A file of write-ahead log; its timeline stays.
    (r"\b([0-9A-F]{8})[0-9A-F]{16}\b", "$1[SEGMENT]"),
    // How often PostgreSQL has tried to archive a file.
    (r"\b\d+ failures\b", "[COUNT] failures"),
    // A line for every ten seconds of waiting.
    (r"(?m)^waiting: .*\n", ""),
    // The first file of a relation that had no room, a catalogue's or a new table's.
    (r"\bbase/\d+/\d+\b", "base/[FILE]"),
    // The line of PostgreSQL's source that reported an error.
    (r"(?m)^LOCATION: .*\n", ""),
];

static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    REDACTIONS.iter().map(|(pattern, shown)| (Regex::new(pattern).expect("a regular expression"), *shown)).collect()
});

static GAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(" {2,}").expect("a regular expression"));

/// Applies the table, then aligns tables again, whose columns had the widths of what was replaced.
#[must_use]
pub fn redact(output: &str) -> String {
    let mut text = output.to_owned();
    for (pattern, shown) in COMPILED.iter() {
        text = pattern.replace_all(&text, *shown).into_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let blocks = lines.chunk_by(|a, b| cells(a).len() > 1 && cells(a).len() == cells(b).len());
    let as_it_is = |block: &[&str]| block.iter().map(|line| format!("{line}\n")).collect();
    blocks.map(|block| if is_table(block) { align(block) } else { as_it_is(block) }).collect()
}

/// Two columns are a table below a header; without, they may be an error and its hint.
fn is_table(block: &[&str]) -> bool {
    let is_header = |line: &str| line.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
    block.len() > 1 && (cells(block[0]).len() > 2 || is_header(block[0]))
}

/// Hides passwords, and nothing else: for those who look for what went wrong.
pub(crate) fn hide_passwords(output: &str) -> String {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new(PASSWORD.0).expect("a regular expression"));
    PATTERN.replace_all(output, PASSWORD.1).into_owned()
}

fn cells(line: &str) -> Vec<&str> {
    GAP.split(line.trim_end()).collect()
}

fn align(rows: &[&str]) -> String {
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| cells(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let padded = |row: &Vec<&str>| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(padded).collect()
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn what_varies_goes_and_what_is_claimed_stays() {
        for (said, shown) in [
            ("pid              | 76\n", "pid              | [VARIES]\n"),
            ("-[ RECORD 1 ]----+------------\nstate | streaming\n", "-[ RECORD 1 ]----+---\nstate | streaming\n"),
            ("timeline 2 forked at 0/3000060\n", "timeline 2 forked at [LSN]\n"),
            ("ERROR:  25006: read-only\nLOCATION:  x, y.c:1\n", "ERROR:  25006: read-only\n"),
            ("postgresql://app:s3cr3t@demo-1,demo-2/app\n", "postgresql://app:[PASSWORD]@demo-1,demo-2/app\n"),
            ("a-2  512 B  -  a_2\n", "a-2  [BYTES]  [DURATION]  a_2\n"),
            ("a-2  512 B  0 ms  ▁▁█\n", "a-2  [BYTES]  [DURATION]  [BARS]\n"),
            ("000000020000000000000A0C, 3 failures\n", "00000002[SEGMENT], [COUNT] failures\n"),
            ("waiting: a-2: is starting\ndone\n", "done\n"),
            ("16 replicas, exit code 3, pgherd/postgres:17\n", "16 replicas, exit code 3, pgherd/postgres:17\n"),
            (
                "has 7301234567890123456, wants 7299999999999999999\n",
                "has [SYSTEM IDENTIFIER], wants [SYSTEM IDENTIFIER]\n",
            ),
        ] {
            assert_eq!(redact(said), shown);
        }
    }

    #[test]
    fn a_table_is_aligned_again() {
        let table = "NODE  LSN         STATE\na-1   0/30000A8   streaming\na-2   1/0         down\n";
        assert_eq!(redact(table), "NODE  LSN    STATE\na-1   [LSN]  streaming\na-2   [LSN]  down\n");
        assert_eq!(redact("NODE      FAULTS\na-1  -\n"), "NODE  FAULTS\na-1   -\n");
        assert_eq!(redact("ERROR:  25006: no\nHINT:  Do not.\n"), "ERROR:  25006: no\nHINT:  Do not.\n");
    }
}
