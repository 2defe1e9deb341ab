//! Who made a disposable cluster, and whether he still lives.
//!
//! A process identifier alone says nothing after a restart of the machine, or after it came round again.

use std::{fmt, fs, str::FromStr};

/// A process, told apart from all others that ever had its number on any boot of any machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    boot_id: String,
    pid: u32,
    /// In clock ticks since boot, as in field 22 of `/proc/PID/stat`, proc(5).
    start_time: u64,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn of_this_process() -> Owner {
        let pid = std::process::id();
        Owner { boot_id: boot_id().unwrap_or_default(), pid, start_time: start_time(pid).unwrap_or_default() }
    }

    /// Whether the process still runs. An owner on another machine, or on one without `/proc`, counts as alive:
    /// only what is known to be dead may be swept.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match boot_id() {
            Some(boot_id) if boot_id == self.boot_id => start_time(self.pid) == Some(self.start_time),
            _ => true,
        }
    }
}

fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_whitespace().nth(19)?.parse().ok()
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.boot_id, self.pid, self.start_time)
    }
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.splitn(3, '/');
            let boot_id = parts.next()?.to_owned();
            Some(Owner { boot_id, pid: parts.next()?.parse().ok()?, start_time: parts.next()?.parse().ok()? })
        };
        parse().ok_or("an owner is written boot-id/pid/start-time")
    }
}

#[cfg(test)]
mod tests {
    use super::Owner;

    #[test]
    fn this_process_lives_and_survives_its_text_form() {
        let owner = Owner::of_this_process();
        assert!(owner.is_alive());
        assert_eq!(owner.to_string().parse(), Ok(owner));
    }

    #[test]
    fn a_process_that_has_ended_is_dead() {
        let mut child = std::process::Command::new("true").spawn().expect("spawn");
        let pid = child.id();
        let owner =
            Owner { pid, start_time: super::start_time(pid).expect("a start time"), ..Owner::of_this_process() };
        child.wait().expect("wait");
        assert!(!owner.is_alive());
    }

    #[test]
    fn another_machines_process_counts_as_alive() {
        let elsewhere = Owner { boot_id: "elsewhere".to_owned(), ..Owner::of_this_process() };
        assert!(elsewhere.is_alive());
    }
}
