//! What a run has come to. Pure.

use super::{Played, Verdict, progress};

/// How many of the slowest are named.
const SLOWEST: usize = 5;

/// Failures in full, the slowest few, failures in a line each, for whoever has the end of a log alone, and a line that counts.
pub(super) fn summary(played: &[Played]) -> String {
    let failed: Vec<&Played> = played.iter().filter(|played| matches!(played.verdict, Verdict::Failed(_))).collect();
    let in_full = failed.iter().map(|played| format!("\n=== {}\n{}\n", played.entry.path(), played.output.trim_end()));
    let mut by_time: Vec<&Played> = played.iter().collect();
    by_time.sort_by_key(|played| std::cmp::Reverse(played.time));
    let mut summary = format!("{}\nslowest:\n{}\n", in_full.collect::<String>(), lines(by_time.iter().take(SLOWEST)));
    if !failed.is_empty() {
        summary += &format!("failed:\n{}\n", lines(failed.iter()));
    }
    summary + &count(played)
}

fn lines<'a>(played: impl Iterator<Item = &'a &'a Played>) -> String {
    played.map(|played| format!("{}\n", progress::line(played))).collect()
}

fn count(played: &[Played]) -> String {
    let count = |is: fn(&Verdict) -> bool| played.iter().filter(|played| is(&played.verdict)).count();
    format!(
        "{} passed, {} failed, {} skipped",
        count(|verdict| *verdict == Verdict::Passed),
        count(|verdict| matches!(verdict, Verdict::Failed(_))),
        count(|verdict| matches!(verdict, Verdict::Skipped(_)))
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Played, Verdict, summary};
    use crate::registry::Entry;

    static ENTRY: Entry = Entry::idle("e2e::walk", "a", 1);

    #[test]
    fn failures_are_repeated_and_everything_is_counted() {
        let played = |verdict, seconds| Played {
            entry: &ENTRY,
            verdict,
            time: Duration::from_secs(seconds),
            output: "said\n".to_owned(),
        };
        let all = [
            played(Verdict::Passed, 1),
            played(Verdict::Failed("it broke".to_owned()), 2),
            played(Verdict::Skipped("no".to_owned()), 0),
        ];
        assert_eq!(
            summary(&all),
            "\n=== walk::a\nsaid\n\nslowest:\nFAIL    2.0 s  walk::a: it broke\nok      1.0 s  walk::a\n\
             skip    0.0 s  walk::a (no)\n\nfailed:\nFAIL    2.0 s  walk::a: it broke\n\n1 passed, 1 failed, 1 skipped"
        );
    }
}
