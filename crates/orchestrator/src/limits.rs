//! How much of the engine's host a node may take.
//!
//! <https://docs.docker.com/engine/containers/resource_constraints/>

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::quantity::ByteCount;

/// How much a node's container may take; `None` where there is no limit, or where it is not asked for another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Memory in bytes; none of it is swapped out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteCount>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
}

impl Limits {
    /// Those of `self`, and of `otherwise` where it has none.
    #[must_use]
    pub fn or(self, otherwise: Limits) -> Limits {
        Limits { memory: self.memory.or(otherwise.memory), cpus: self.cpus.or(otherwise.cpus) }
    }

    pub(crate) fn are_none(&self) -> bool {
        *self == Limits::default()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.map(|memory| format!("{memory} of memory"));
        let cpus = self.cpus.map(|cpus| format!("{cpus} CPUs"));
        f.write_str(&memory.into_iter().chain(cpus).collect::<Vec<_>>().join(" and "))
    }
}

impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A number of processors, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus {
    /// 1000 for one.
    pub thousandths: u32,
}

/// A text that is no number of processors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a number of CPUs\nhint: Use a number above zero with at most three decimals, as in \"0.5\" or \"2\"."
)]
pub struct InvalidCpus(String);

impl FromStr for Cpus {
    type Err = InvalidCpus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidCpus(text.to_owned());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 {
            return Err(invalid());
        }
        let decimals: u32 = format!("{decimals:0<3}").parse().map_err(|_| invalid())?;
        let whole = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(1000));
        let thousandths = whole.and_then(|whole| whole.checked_add(decimals)).filter(|number| *number > 0);
        thousandths.map(|thousandths| Cpus { thousandths }).ok_or_else(invalid)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.thousandths / 1000, format!("{:03}", self.thousandths % 1000));
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            decimals => write!(f, "{whole}.{decimals}"),
        }
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Cpus;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(thousandths in 1..u32::MAX) {
            let cpus = Cpus { thousandths };
            prop_assert_eq!(cpus.to_string().parse(), Ok(cpus));
        }
    }

    #[test]
    fn processors_are_counted_in_decimals() {
        for (text, thousandths) in [("2", 2000), ("0.5", 500), ("1.25", 1250), ("0.001", 1)] {
            assert_eq!(text.parse(), Ok(Cpus { thousandths }));
        }
        for text in ["", "0", "0.0", "-1", "+1", "1.", ".5", "1.0001", "two", "1e3", "9999999999"] {
            assert!(text.parse::<Cpus>().is_err(), "{text:?} was taken for a number of CPUs");
        }
    }
}
