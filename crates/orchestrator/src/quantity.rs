//! Amounts of bytes and of time, spelled as PostgreSQL spells them: `16MB`, `500ms`.
//!
//! <https://www.postgresql.org/docs/17/config-setting.html#CONFIG-SETTING-NAMES-VALUES>

use std::{fmt, str::FromStr, time::Duration};

/// The units of memory in bytes, the largest first.
pub(crate) const MEMORY_UNITS: [(&str, u64); 5] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

/// The units of time in milliseconds, the largest first. PostgreSQL's microseconds are finer than any wait of ours.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// A number of bytes, such as of write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

/// A span of time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan {
    /// How many of them.
    pub milliseconds: u64,
}

/// A text that is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a number of bytes\n\
     hint: Use a whole number with one of the units \"B\", \"kB\", \"MB\", \"GB\" and \"TB\", as in \"16MB\"; units are powers of 1024."
)]
pub struct InvalidByteCount(String);

/// A text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a span of time\n\
     hint: Use a whole number with one of the units \"ms\", \"s\", \"min\", \"h\" and \"d\", as in \"30s\"."
)]
pub struct InvalidTimeSpan(String);

/// The number and what its unit is worth; `None` where the text is nothing of the kind.
pub(crate) fn split<'a>(text: &'a str, units: &[(&str, u64)]) -> Option<(&'a str, u64)> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, unit) = units.iter().find(|(name, _)| *name == unit)?;
    (!digits.is_empty()).then_some((digits, *unit))
}

/// Writes a number in the largest unit that leaves a whole one.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (name, unit) = units
        .iter()
        .find(|(_, unit)| amount != 0 && amount.is_multiple_of(*unit))
        .or(units.last())
        .expect("there are units");
    f.pad(&format!("{}{name}", amount / unit))
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = split(text, units)?;
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl FromStr for ByteCount {
    type Err = InvalidByteCount;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &MEMORY_UNITS).map(ByteCount).ok_or_else(|| InvalidByteCount(text.to_owned()))
    }
}

impl FromStr for TimeSpan {
    type Err = InvalidTimeSpan;

    /// Zero needs no unit.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let milliseconds = if text == "0" { Some(0) } else { parse(text, &TIME_UNITS) };
        milliseconds.map(|milliseconds| TimeSpan { milliseconds }).ok_or_else(|| InvalidTimeSpan(text.to_owned()))
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &MEMORY_UNITS)
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.milliseconds, &TIME_UNITS)
    }
}

impl From<TimeSpan> for Duration {
    fn from(span: TimeSpan) -> Duration {
        Duration::from_millis(span.milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ByteCount, TimeSpan};

    proptest! {
        #[test]
        fn what_is_written_is_read_again(amount: u64) {
            prop_assert_eq!(ByteCount(amount).to_string().parse(), Ok(ByteCount(amount)));
            let span = TimeSpan { milliseconds: amount };
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_an_amount_or_an_error(text in ".*") {
            let _ = (text.parse::<ByteCount>(), text.parse::<TimeSpan>());
        }
    }

    #[test]
    fn amounts_are_read_as_postgresql_reads_them() {
        for (text, bytes, shown) in
            [("0B", 0, "0B"), ("1024B", 1 << 10, "1kB"), ("1MB", 1 << 20, "1MB"), ("1025kB", 1025 << 10, "1025kB")]
        {
            let count: ByteCount = text.parse().expect("a number of bytes");
            assert_eq!((count.0, count.to_string().as_str()), (bytes, shown));
        }
        for (text, milliseconds, shown) in [
            ("0", 0, "0ms"),
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1min"),
            ("24h", 86_400_000, "1d"),
        ] {
            let span: TimeSpan = text.parse().expect("a span of time");
            assert_eq!((span.milliseconds, span.to_string().as_str()), (milliseconds, shown));
        }
    }

    #[test]
    fn all_else_is_refused() {
        for text in
            ["", "5", "s", "-5s", "+5s", "5 s", "1.5s", "5S", "5sec", "99999999999999999999s", "999999999999999999d"]
        {
            assert!(text.parse::<TimeSpan>().is_err(), "{text:?} was taken for a span of time");
        }
        for text in ["", "0", "5", "MB", "-1MB", "1 MB", "1mb", "1.5MB", "99999999999999999999B", "99999999999TB"] {
            assert!(text.parse::<ByteCount>().is_err(), "{text:?} was taken for a number of bytes");
        }
    }
}
