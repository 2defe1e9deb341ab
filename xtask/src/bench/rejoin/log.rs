//! What an agent's log, in JSON, tells of time.

use anyhow::Context;
use pgherd_images::date::Timestamp;
use serde::Deserialize;

/// What we read of a line.
#[derive(Deserialize)]
struct Line {
    ts: String,
    /// Only steps are events here, and what PostgreSQL says is no JSON.
    event: Option<String>,
}

/// How many seconds each step took, by the times at which the log tells of them, and what is left of `total`.
pub(super) fn steps(log: &str, total: f64) -> anyhow::Result<Vec<(String, f64)>> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut steps: Vec<(String, f64)> = Vec::new();
    let mut running: Option<(String, f64)> = None;
    for Line { ts, event } in lines {
        let Some(event) = event else { continue };
        let now = seconds(&ts).with_context(|| format!("the agent's log has a time \"{ts}\""))?;
        if let Some((step, begin)) = running.replace((event, now)) {
            match steps.iter_mut().find(|(known, _)| *known == step) {
                Some((_, sum)) => *sum += now - begin,
                None => steps.push((step, now - begin)),
            }
        }
    }
    let rest = total - steps.iter().map(|(_, seconds)| seconds).sum::<f64>();
    steps.push(("start of the container and of PostgreSQL".to_owned(), rest));
    Ok(steps)
}

/// Seconds since 1970 of a time with milliseconds.
fn seconds(ts: &str) -> Option<f64> {
    let milliseconds: u32 = ts.strip_suffix('Z')?.rsplit_once('.')?.1.parse().ok()?;
    let seconds = Timestamp::parse_rfc3339(ts)?.0;
    Some(seconds as f64 + f64::from(milliseconds) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn a_step_lasts_until_the_next() {
        let log = r#"
{"ts":"2026-11-28T00:53:01.900Z","level":"info","event":"ask_upstream","message":"asking"}
2026-11-28 00:53:01.990 UTC [7] LOG:  listening
{"ts":"2026-11-28T00:53:02.000Z","level":"info","event":"rewind","message":"rewinding"}
{"ts":"2026-11-28T00:53:02.200Z","level":"info","message":"no step"}
{"ts":"2026-11-28T00:53:02.500Z","level":"info","event":"ask_upstream","message":"asking"}
{"ts":"2026-11-28T00:53:03.000Z","level":"info","event":"start_replica","message":"starting"}
"#;
        let steps = steps(log, 2.0).expect("times").into_iter().map(|(step, seconds)| format!("{step} {seconds:.2}"));
        let expected = ["ask_upstream 0.60", "rewind 0.50", "start of the container and of PostgreSQL 0.90"];
        assert_eq!(steps.collect::<Vec<_>>(), expected);
    }
}
