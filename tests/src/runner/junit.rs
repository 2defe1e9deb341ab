//! The results for machines, <https://github.com/testmoapp/junitxml>.

use std::{fs, io, path::Path, time::Duration};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Played, Verdict};

/// Writes `junit.xml` into a directory.
pub(super) fn write(directory: &Path, suite: &str, played: &[Played], time: Duration) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let xml = report(suite, played, time).to_string().map_err(io::Error::other)?;
    fs::write(directory.join("junit.xml"), xml)
}

fn report(name: &str, played: &[Played], time: Duration) -> Report {
    let mut suite = TestSuite::new(name);
    suite.set_time(time).add_test_cases(played.iter().map(case));
    let mut report = Report::new(name);
    report.set_time(time).add_test_suite(suite);
    report
}

fn case(played: &Played) -> TestCase {
    let status = match &played.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed(reason) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(reason.as_str());
            status
        }
        Verdict::Skipped(reason) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
    };
    let mut case = TestCase::new(played.entry.name, status);
    case.set_classname(played.entry.group()).set_time(played.time);
    if matches!(played.verdict, Verdict::Failed(_)) {
        case.set_system_out(played.output.as_str());
    }
    case
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Played, Verdict, report};
    use crate::registry::Entry;

    static ENTRY: Entry = Entry::idle("e2e::walk", "a", 1);

    #[test]
    fn whatever_a_scenario_prints_is_well_formed() {
        let verdicts =
            [Verdict::Passed, Verdict::Failed("<\"&\u{1}\u{1b}[1m]]>".to_owned()), Verdict::Skipped("no".to_owned())];
        let played: Vec<Played> = verdicts
            .into_iter()
            .map(|verdict| Played {
                entry: &ENTRY,
                verdict,
                time: Duration::from_millis(1500),
                output: "]]>\0".to_owned(),
            })
            .collect();
        let xml = report("e2e", &played, Duration::from_secs(2)).to_string().expect("XML");
        let read = quick_junit::Report::deserialize_from_str(&xml).expect("well-formed XML");
        assert_eq!((read.tests, read.failures), (3, 1));
        assert_eq!(read.test_suites[0].disabled, 1);
        assert_eq!(read.test_suites[0].test_cases[0].classname.as_ref().map(|c| c.as_str()), Some("walk"));
    }
}
