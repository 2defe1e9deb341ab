//! The whole of an error in one line.

use std::error::Error;

/// The error and all that it came from. Libraries say little but "error trying to connect"; the reason is in their sources.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        // Some libraries repeat their source in their own words.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.replace('\n', "; ")
}
