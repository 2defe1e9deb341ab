//! The ways to write a time that we meet: a Debian archive's, and that of image configurations and engines.

use std::fmt;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the first of January 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "builder", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Timestamp(pub u64);

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Timestamp {
    /// Parses a time as an archive's `Release` has it: `Sat, 28 Nov 2026 00:53:02 UTC`.
    ///
    /// <https://wiki.debian.org/DebianRepository/Format#Date.2C_Valid-Until>
    #[must_use]
    pub fn parse(text: &str) -> Option<Timestamp> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [_weekday, day, month, year, time, "UTC" | "GMT" | "Z" | "+0000"] = words[..] else { return None };
        let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
        let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
        let [hour, minute, second] = *numbers(time, ':')? else { return None };
        let plausible =
            (1970..10_000).contains(&year) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
        plausible.then(|| Timestamp(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second))
    }

    /// Parses a time as an engine has it, <https://www.rfc-editor.org/rfc/rfc3339#section-5.6>, and leaves fractions of a second out.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        let (date, time) = text.split_once('T')?;
        let (time, offset) = match time.strip_suffix('Z') {
            Some(time) => (time, 0),
            None => {
                let (time, offset) = time.split_at_checked(time.find(['+', '-'])?)?;
                let (hours, minutes) = offset[1..].split_once(':')?;
                let seconds = hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60;
                (time, if offset.starts_with('-') { -seconds } else { seconds })
            }
        };
        let [year, month, day] = *numbers(date, '-')? else { return None };
        let [hour, minute, second] = *numbers(time.split('.').next()?, ':')? else { return None };
        let plausible =
            (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24;
        if !plausible {
            return None;
        }
        let local = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        local.checked_add_signed(-offset).map(Timestamp)
    }
}

fn numbers(text: &str, separator: char) -> Option<Box<[u64]>> {
    text.split(separator).map(|part| part.parse().ok()).collect()
}

/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>: years begin in March, so that a leap day is their last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year / 400, year % 400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_since_1970`]: year, month and day.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Timestamp(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// RFC 3339, as a configuration has it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0 / 86_400);
        let (hour, minute, second) = (self.0 / 3_600 % 24, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MONTHS, Timestamp, civil};

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, written) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0, "1970-01-01T00:00:00Z"),
            ("Tue, 29 Feb 2000 23:59:59 UTC", 951_868_799, "2000-02-29T23:59:59Z"),
            ("Sat, 28 Nov 2026 00:53:02 UTC", 1_795_827_182, "2026-11-28T00:53:02Z"),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(seconds)), "{text}");
            assert_eq!(Timestamp(seconds).to_string(), written);
        }
    }

    #[test]
    fn an_engines_times_are_read() {
        for (text, seconds) in [
            ("2026-11-28T00:53:02Z", Some(1_795_827_182)),
            ("2026-11-28T00:53:02.123456789Z", Some(1_795_827_182)),
            ("2026-11-28T02:23:02+01:30", Some(1_795_827_182)),
            ("2026-11-27T19:53:02.5-05:00", Some(1_795_827_182)),
            ("0001-01-01T00:00:00Z", None),
            ("2026-13-28T00:53:02Z", None),
            ("2026-11-28T00:53:02", None),
            ("2026-11-28", None),
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), seconds.map(Timestamp), "{text}");
        }
    }

    #[test]
    fn malformed_times_are_refused() {
        for text in ["", "Sat, 28 Nov 2026 00:53:02", "Sat, 28 Nov 2026 00:53 UTC", "Sat, 28 Nov 1926 00:53:02 UTC"] {
            assert_eq!(Timestamp::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_time_survives_its_text(seconds in 0..200_000_000_000_u64) {
            let (year, month, day) = civil(seconds / 86_400);
            let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
            let name = MONTHS[month as usize - 1];
            let text = format!("Mon, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} UTC");
            prop_assert_eq!(Timestamp::parse(&text), Some(Timestamp(seconds)), "{}", text);
        }
    }
}
