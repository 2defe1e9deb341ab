//! Who made a disposable cluster, and whether he still lives.
//!
//! A process identifier alone says nothing after a restart of the machine, or after it came round again.

use std::{fmt, fs, os::unix::fs::MetadataExt, str::FromStr};

/// A process, told apart from all others that ever had its number on any boot of any machine, in any of its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    boot_id: String,
    /// The inode of its PID namespace, pid_namespaces(7): containers on one kernel share the boot, but not the numbers.
    pid_namespace: u64,
    pid: u32,
    /// In clock ticks since boot, as in field 22 of `/proc/PID/stat`, proc(5).
    start_time: u64,
}

/// What can be said of an owner from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The process runs.
    Alive,
    /// The process has ended.
    Dead,
    /// It is, or was, of another machine, another boot, or another PID namespace.
    Unknown,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn of_this_process() -> Owner {
        Owner::of_process(std::process::id())
    }

    /// The process of that number, which runs in this PID namespace or has not yet been waited for.
    #[must_use]
    pub fn of_process(pid: u32) -> Owner {
        Owner {
            boot_id: boot_id().unwrap_or_default(),
            pid_namespace: pid_namespace().unwrap_or_default(),
            pid,
            start_time: stat(pid).unwrap_or_default().start_time,
        }
    }

    /// Whether the process still runs, as far as that can be told from here.
    #[must_use]
    pub fn fate(&self) -> Fate {
        let here = boot_id().is_some_and(|boot_id| boot_id == self.boot_id)
            && pid_namespace().is_some_and(|namespace| namespace == self.pid_namespace);
        let runs = |found: Stat| found.start_time == self.start_time && !found.has_ended;
        match here {
            true if stat(self.pid).is_some_and(runs) => Fate::Alive,
            true => Fate::Dead,
            false => Fate::Unknown,
        }
    }

    /// Whether the process still runs. One of which that cannot be told counts as alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.fate() != Fate::Dead
    }
}

fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

fn pid_namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|namespace| namespace.ino())
}

/// What proc(5) says of a process.
#[derive(Debug, Clone, Copy, Default)]
struct Stat {
    /// Whether nothing is left of it but its number, for which its parent has not asked yet.
    has_ended: bool,
    start_time: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let has_ended = ["Z", "X"].contains(&fields.next()?);
    Some(Stat { has_ended, start_time: fields.nth(18)?.parse().ok()? })
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.boot_id, self.pid_namespace, self.pid, self.start_time)
    }
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.splitn(4, '/');
            Some(Owner {
                boot_id: parts.next()?.to_owned(),
                pid_namespace: parts.next()?.parse().ok()?,
                pid: parts.next()?.parse().ok()?,
                start_time: parts.next()?.parse().ok()?,
            })
        };
        parse().ok_or("an owner is written boot-id/pid-namespace/pid/start-time")
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, Owner};

    #[test]
    fn this_process_lives_and_survives_its_text_form() {
        let owner = Owner::of_this_process();
        assert!(owner.is_alive());
        assert_eq!(owner.to_string().parse(), Ok(owner));
    }

    #[test]
    fn a_process_that_has_ended_is_dead() {
        let mut child = std::process::Command::new("true").spawn().expect("spawn");
        let owner = Owner::of_process(child.id());
        child.wait().expect("wait");
        assert_eq!(owner.fate(), Fate::Dead);
        assert!(!owner.is_alive());
    }

    #[test]
    fn who_cannot_be_judged_counts_as_alive() {
        let here = Owner::of_this_process();
        for elsewhere in [
            Owner { boot_id: "elsewhere".to_owned(), ..here.clone() },
            Owner { pid_namespace: here.pid_namespace + 1, ..here.clone() },
        ] {
            assert_eq!(elsewhere.fate(), Fate::Unknown);
            assert!(elsewhere.is_alive());
        }
    }

    #[test]
    fn other_texts_are_no_owners() {
        for text in ["", "boot/1/2", "boot/a/2/3", "boot/1/2/3/4"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }
}
