//! What can be done to a node, as values that print as they are typed.

use std::{fmt, str::FromStr};

use pgherd_agent::Selection;

use crate::NodeName;

/// A fault. Its text is what follows `cluster chaos` on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Drops packets silently: all but those of the loopback interface, or those of one other node.
    Partition {
        /// The node whose packet filter does it.
        node: NodeName,
        /// The only other end, or `None` for everybody.
        from: Option<NodeName>,
        /// Which packets, as the node sees them.
        direction: Direction,
    },
    /// Limits what the node sends, by a token bucket, tc-tbf(8).
    Bandwidth {
        /// The node.
        node: NodeName,
        /// How much it may send.
        rate: Rate,
    },
    /// Delays each packet that the node sends, tc-netem(8).
    Delay {
        /// The node.
        node: NodeName,
        /// By how much.
        delay: Milliseconds,
    },
    /// Loses packets that the node sends, at random, tc-netem(8).
    Loss {
        /// The node.
        node: NodeName,
        /// How many of a hundred.
        percent: Percent,
    },
    /// Refuses the node's questions to its name server.
    Dns {
        /// The node.
        node: NodeName,
    },
    /// Shuts the node down as an operator does.
    Stop {
        /// The node.
        node: NodeName,
        /// Whether only its PostgreSQL is shut down, by a signal that the agent does not see.
        postgres_only: bool,
    },
    /// SIGKILL: no process can prepare for it.
    Kill {
        /// The node.
        node: NodeName,
        /// Some of its processes, or `None` for the whole container.
        process: Option<Selection>,
    },
    /// Stands still, and keeps its connections: the cgroup's freezer for a container, SIGSTOP for a process.
    Freeze {
        /// The node.
        node: NodeName,
        /// Some of its processes, or `None` for the whole container.
        process: Option<Selection>,
    },
    /// Takes all free space of the node's volume, which has to be of limited size.
    DiskFull {
        /// The node.
        node: NodeName,
    },
}

/// Which packets a partition drops, as the node sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// All.
    #[default]
    Both,
    /// What comes in: the node is heard, and hears nothing.
    In,
    /// What goes out: the node hears, and is not heard.
    Out,
}

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

/// A duration of whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milliseconds(pub u32);

/// A share, from 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

impl Fault {
    /// The node that it happens to.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        match self {
            Fault::Partition { node, .. }
            | Fault::Bandwidth { node, .. }
            | Fault::Delay { node, .. }
            | Fault::Loss { node, .. }
            | Fault::Dns { node }
            | Fault::Stop { node, .. }
            | Fault::Kill { node, .. }
            | Fault::Freeze { node, .. }
            | Fault::DiskFull { node } => node,
        }
    }

    /// Whether a helper container of the toolbox image brings it about.
    #[must_use]
    pub fn needs_toolbox(&self) -> bool {
        !matches!(self, Fault::Stop { .. } | Fault::Kill { .. } | Fault::Freeze { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |process: &Option<Selection>| process.map_or(String::new(), |process| format!(" --process {process}"));
        match self {
            Fault::Partition { node, from, direction } => {
                write!(f, "partition {node}")?;
                if let Some(from) = from {
                    write!(f, " --from {from}")?;
                }
                match direction {
                    Direction::Both => Ok(()),
                    one_way => write!(f, " --direction {one_way}"),
                }
            }
            Fault::Bandwidth { node, rate } => write!(f, "bandwidth {node} {rate}"),
            Fault::Delay { node, delay } => write!(f, "delay {node} {delay}"),
            Fault::Loss { node, percent } => write!(f, "loss {node} {percent}"),
            Fault::Dns { node } => write!(f, "dns {node}"),
            Fault::Stop { node, postgres_only: false } => write!(f, "stop {node}"),
            Fault::Stop { node, postgres_only: true } => write!(f, "stop {node} --postgres-only"),
            Fault::Kill { node, process } => write!(f, "kill {node}{}", of(process)),
            Fault::Freeze { node, process } => write!(f, "freeze {node}{}", of(process)),
            Fault::DiskFull { node } => write!(f, "disk-full {node}"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Both => "both",
            Direction::In => "in",
            Direction::Out => "out",
        })
    }
}

impl FromStr for Direction {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Direction::Both, Direction::In, Direction::Out];
        all.into_iter()
            .find(|direction| direction.to_string() == text)
            .ok_or("a direction is \"in\", \"out\" or \"both\"")
    }
}

/// Units of rates, greatest first, as tc(8) spells them.
const RATE_UNITS: [(&str, u64); 3] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000)];

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = RATE_UNITS.iter().find(|(_, bits)| self.0.is_multiple_of(*bits));
        let (name, bits) = unit.unwrap_or(&("bit", 1));
        write!(f, "{}{name}", self.0 / bits)
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (number, bits) = RATE_UNITS.iter().find_map(|(name, bits)| Some((text.strip_suffix(name)?, bits)))?;
            number.parse::<u64>().ok()?.checked_mul(*bits)
        };
        // Below, a single packet takes longer than most patience lasts; above, tc counts in other ways.
        let within = |rate: &u64| (8_000..=100_000_000_000).contains(rate);
        parse()
            .filter(within)
            .map(Rate)
            .ok_or("a rate is written as in 512kbit, 10mbit or 1gbit, from 8kbit to 100gbit")
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl FromStr for Milliseconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (number, unit) = match text.strip_suffix("ms") {
                Some(number) => (number, 1),
                None => (text.strip_suffix('s')?, 1000),
            };
            number.parse::<u32>().ok()?.checked_mul(unit).map(Milliseconds)
        };
        parse().filter(|delay| (1..=60_000).contains(&delay.0)).ok_or("a delay is written as in 200ms or 1s, up to 60s")
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).parse();
        number
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .map(Percent)
            .ok_or("a share is written as in 5%, from 1% to 100%")
    }
}

#[cfg(test)]
mod tests {
    use super::{Direction, Milliseconds, Percent, Rate};

    #[test]
    fn quantities_come_back_as_they_were_typed() {
        for text in ["8kbit", "1500kbit", "10mbit", "1gbit"] {
            assert_eq!(text.parse::<Rate>().expect(text).to_string(), text);
        }
        for text in ["1ms", "200ms", "60000ms"] {
            assert_eq!(text.parse::<Milliseconds>().expect(text).to_string(), text);
        }
        for text in ["1%", "100%"] {
            assert_eq!(text.parse::<Percent>().expect(text).to_string(), text);
        }
        for text in ["in", "out", "both"] {
            assert_eq!(text.parse::<Direction>().expect(text).to_string(), text);
        }
        assert_eq!("2s".parse(), Ok(Milliseconds(2000)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(
            ["", "mbit", "10", "-1mbit", "1kbit", "1000gbit", "99999999999999gbit"]
                .iter()
                .all(|t| t.parse::<Rate>().is_err())
        );
        assert!(["", "s", "0ms", "61s", "5", "1.5s", "5000000s"].iter().all(|t| t.parse::<Milliseconds>().is_err()));
        assert!(["", "0%", "101%", "a%"].iter().all(|t| t.parse::<Percent>().is_err()));
    }
}
