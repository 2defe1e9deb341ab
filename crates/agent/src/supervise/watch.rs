//! A tool that runs for long, and who watches it.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::unix::{fs::FileExt, process::CommandExt},
    time::{Duration, Instant},
};

use super::{Exit, Supervisor, Tool, interrupted_by, memory_file, read_back};
use crate::error::Error;

/// Between two looks at a tool that is watched.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Who watches a tool.
pub(crate) trait Watch {
    /// Takes a line of its standard error, and says whether that tells of its progress: all others are its complaint.
    fn is_progress(&mut self, line: &str) -> bool;

    /// Looks at what comes of it, once every [`LOOK_INTERVAL`].
    ///
    /// Whoever counts time counts looks: an agent that was frozen itself has not looked, and an upstream is not to blame.
    ///
    /// # Errors
    /// One that ends the tool.
    fn look(&mut self) -> Result<(), Error>;
}

/// Nobody: for tools that do not wait for anybody else.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    fn is_progress(&mut self, _: &str) -> bool {
        false
    }

    fn look(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Supervisor {
    /// Runs a tool to its end under the eyes of `watch`, and returns what it wrote to its standard output.
    ///
    /// Its files are in memory rather than pipes: there is no reader to block, whoever inherits them.
    ///
    /// # Errors
    /// Where it cannot be run or fails, where `watch` ends it, and where a signal asks the agent to end. It has ended by
    /// then, too.
    pub(crate) fn watch(&mut self, tool: Tool, watch: &mut impl Watch) -> Result<String, Error> {
        let Tool { name, mut command, input } = tool;
        let (mut output, complaint) = (memory_file()?, memory_file()?);
        let mut stdin = memory_file()?;
        stdin.write_all(input.unwrap_or_default().as_bytes())?;
        stdin.rewind()?;
        command.stdin(stdin).stdout(output.try_clone()?).stderr(complaint.try_clone()?).process_group(0);
        let pid = self.spawn(&mut command).map_err(Error::doing(format!("run {name}")))?;
        let mut said = Said { file: complaint, position: 0, begun: String::new(), complaint: Vec::new() };
        let mut next_look = Instant::now() + LOOK_INTERVAL;
        let exit = loop {
            if let Some(exit) = self.exit() {
                break exit;
            }
            let verdict = match self.next_event(Some(next_look))? {
                Some(event) => interrupted_by(&event),
                None => {
                    next_look = Instant::now() + LOOK_INTERVAL;
                    said.hand_to(watch)?;
                    watch.look()
                }
            };
            if let Err(error) = verdict {
                self.end_group(pid)?;
                return Err(error);
            }
        };
        said.hand_to(watch)?;
        match exit {
            Exit::Code(0) => Ok(read_back(&mut output)?),
            status => Err(Error::Tool { tool: name, status, complaint: said.last_lines() }),
        }
    }
}

/// A tool's standard error, read while it is written.
struct Said {
    file: File,
    position: u64,
    /// A line without its end.
    begun: String,
    complaint: Vec<String>,
}

impl Said {
    fn hand_to(&mut self, watch: &mut impl Watch) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            // By position: the tool writes at the offset that we share.
            let length = self.file.read_at(&mut buffer, self.position)?;
            if length == 0 {
                return Ok(());
            }
            self.position += length as u64;
            self.begun += &String::from_utf8_lossy(&buffer[..length]);
            while let Some((line, rest)) = self.begun.split_once('\n') {
                if !line.trim().is_empty() && !watch.is_progress(line) {
                    self.complaint.push(line.trim().to_owned());
                }
                self.begun = rest.to_owned();
            }
        }
    }

    /// What it complained of last, in one line.
    fn last_lines(mut self) -> String {
        let unfinished = self.begun.trim();
        if !unfinished.is_empty() {
            self.complaint.push(unfinished.to_owned());
        }
        self.complaint[self.complaint.len().saturating_sub(3)..].join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes lines of digits for progress.
    struct Digits(Vec<String>);

    impl Watch for Digits {
        fn is_progress(&mut self, line: &str) -> bool {
            let is_progress = line.bytes().all(|b| b.is_ascii_digit());
            self.0.extend(is_progress.then(|| line.to_owned()));
            is_progress
        }

        fn look(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn progress_is_told_from_complaints_as_it_comes() {
        let mut tool = memory_file().unwrap();
        let mut said =
            Said { file: tool.try_clone().unwrap(), position: 0, begun: String::new(), complaint: Vec::new() };
        let mut digits = Digits(Vec::new());
        for (piece, seen) in [("10\n2", 1), ("0\nodd\n\n3", 2), ("0\nsecond\nthird\nfourth\n4", 3), ("", 3)] {
            tool.write_all(piece.as_bytes()).unwrap();
            said.hand_to(&mut digits).unwrap();
            assert_eq!(digits.0.len(), seen, "{piece:?}");
        }
        assert_eq!(digits.0, ["10", "20", "30"]);
        assert_eq!(said.last_lines(), "third; fourth; 4");
    }
}
