//! What the agent says: lines on standard error, and the phase for those who come later.
//!
//! Text is for people; JSON, one object a line, for whatever collects logs. PostgreSQL's own lines are neither: it inherits
//! standard error, so that nothing stands between its last words and the log, and writes them as its configuration says.

use std::{
    fmt::Display,
    fs,
    io::{Write, stderr},
    str::FromStr,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use pgherd_images::date::Timestamp;
use serde::Serialize;

use crate::{durable, layout::Layout, step::Step};

static FORMAT: OnceLock<Format> = OnceLock::new();
static NODE: OnceLock<String> = OnceLock::new();

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl Format {
    /// Writes everything from here on like this. The first call counts.
    pub fn set(self) {
        let _ = FORMAT.set(self);
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(()),
        }
    }
}

/// Writes the node's name into every object from here on. The first call counts.
pub fn name_node(node: &str) {
    let _ = NODE.set(node.to_owned());
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All goes its way.
    Info,
    /// It goes on, but somebody should know.
    Warning,
    /// It does not go on.
    Error,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a line is said by writing it"]
pub struct Line {
    level: Level,
    event: Option<&'static str>,
    message: String,
    hint: Option<String>,
}

/// A line as an object. What it has not, it leaves out.
#[derive(Serialize)]
struct Object<'a> {
    ts: String,
    level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Line {
    /// A line of this level.
    pub fn new(level: Level, message: impl Display) -> Line {
        Line { level, event: None, message: message.to_string(), hint: None }
    }

    /// Names what the line tells of, for those who look for it in JSON: a name in `snake_case` that stays when the message
    /// finds better words.
    pub fn event(mut self, name: &'static str) -> Line {
        self.event = Some(name);
        self
    }

    /// Adds what a person can do about it.
    pub fn hint(mut self, hint: Option<String>) -> Line {
        self.hint = hint;
        self
    }

    /// Writes it, in one piece. It is lost where nobody reads the log any more: that is no reason to end a server.
    pub fn write(&self) {
        let text = match FORMAT.get() {
            Some(Format::Json) => self.json(SystemTime::now(), NODE.get().map(String::as_str)),
            _ => self.text(),
        };
        let _ = stderr().write_all(text.as_bytes());
    }

    /// As text, with the end of the line.
    pub(crate) fn text(&self) -> String {
        const FRAME: &str = "********************************************************************************";
        let lines = self.message.lines();
        let mut lines: Vec<String> = match self.level {
            Level::Info => vec![self.message.clone()],
            Level::Warning => lines.map(|line| format!("WARNING: {line}")).collect(),
            // A refusal is none of the agent's failures.
            Level::Error if self.event == Some("refused") => vec![format!("refused: {}", self.message)],
            Level::Error => vec![format!("error: {}", self.message)],
        };
        // What takes several lines is not to be overlooked.
        if self.level == Level::Warning && lines.len() > 1 {
            lines.insert(0, FRAME.to_owned());
            lines.push(FRAME.to_owned());
        }
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        lines.into_iter().map(|line| format!("pgherd-agent: {line}\n")).collect()
    }

    fn json(&self, now: SystemTime, node: Option<&str>) -> String {
        let milliseconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
        let seconds = Timestamp::from(now).to_string();
        let object = Object {
            ts: format!("{}.{milliseconds:03}Z", seconds.trim_end_matches('Z')),
            level: self.level,
            node,
            event: self.event,
            message: &self.message.replace('\n', " "),
            hint: self.hint.as_deref(),
        };
        serde_json::to_string(&object).map_or_else(|_| self.text(), |json| json + "\n")
    }
}

/// Writes a line of no particular event.
pub fn log(message: impl Display) {
    Line::new(Level::Info, message).write();
}

/// Writes what is done next, and keeps it as what the agent is doing now.
pub(crate) fn phase(layout: &Layout, step: &Step) {
    Line::new(Level::Info, step).event(step.into()).write();
    now(layout, step);
}

/// Keeps what the agent is doing now, and does not log it: for what changes every second.
pub(crate) fn now(layout: &Layout, what: impl Display) {
    // Whoever reads it can do without; a node on a read-only root file system must start all the same.
    let _ = durable::replace_for_now(&layout.phase_file(), format!("{what}\n").as_bytes());
}

/// What the agent that runs in this container is doing, as it has said last.
pub(crate) fn latest_phase(layout: &Layout) -> String {
    let phase = fs::read_to_string(layout.phase_file()).unwrap_or_default();
    phase.lines().next().unwrap_or("nothing that it tells of").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn json(line: &Line) -> String {
        line.json(UNIX_EPOCH + Duration::from_millis(1_795_827_182_007), Some("demo-2"))
    }

    #[test]
    fn a_line_reads_well_as_text_and_as_json() {
        let step = Line::new(Level::Info, Step::PutInPlace).event((&Step::PutInPlace).into());
        insta::assert_snapshot!(step.text(), @"pgherd-agent: putting the data directory in place");
        insta::assert_snapshot!(json(&step), @r#"{"ts":"2026-11-28T00:53:02.007Z","level":"info","node":"demo-2","event":"put_in_place","message":"putting the data directory in place"}"#);

        let error = Line::new(Level::Error, "PRIMARY_NAME is \"a b\"").hint(Some("name a container".into()));
        insta::assert_snapshot!(error.text(), @r#"
        pgherd-agent: error: PRIMARY_NAME is "a b"
        pgherd-agent: hint: name a container
        "#);
        insta::assert_snapshot!(error.json(UNIX_EPOCH, None), @r#"{"ts":"1970-01-01T00:00:00.000Z","level":"error","message":"PRIMARY_NAME is \"a b\"","hint":"name a container"}"#);
    }

    #[test]
    fn a_long_warning_is_framed_as_text_and_one_object_as_json() {
        let warning = Line::new(Level::Warning, "whoever reaches the port\ncan read everything");
        insta::assert_snapshot!(warning.text(), @r"
        pgherd-agent: ********************************************************************************
        pgherd-agent: WARNING: whoever reaches the port
        pgherd-agent: WARNING: can read everything
        pgherd-agent: ********************************************************************************
        ");
        insta::assert_snapshot!(json(&warning), @r#"{"ts":"2026-11-28T00:53:02.007Z","level":"warning","node":"demo-2","message":"whoever reaches the port can read everything"}"#);
    }

    #[test]
    fn formats_have_names() {
        assert_eq!("text".parse(), Ok(Format::Text));
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("xml".parse::<Format>(), Err(()));
    }
}
