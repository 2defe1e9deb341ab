//! What a walsender can be asked, and what its answers say.
//!
//! <https://www.postgresql.org/docs/17/protocol-replication.html>

use std::str::FromStr;

use super::ProtocolError;
use crate::{History, Lsn, SystemIdentifier, TimelineId};

/// One question, which is answered by one row.
pub trait Command {
    /// What the answer says.
    type Answer;

    /// The command without its arguments, for messages.
    const NAME: &'static str;

    /// What is sent.
    fn text(&self) -> String;

    /// Reads the answer.
    ///
    /// # Errors
    /// [`ProtocolError::Answer`] for one that is not of the documented form.
    fn read(&self, row: &Row) -> Result<Self::Answer, ProtocolError>;
}

/// The one row of an answer: names of columns, and their values as text, which need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub(super) Vec<(String, Option<Vec<u8>>)>);

impl Row {
    fn text<C: Command>(&self, column: &str) -> Result<Option<String>, ProtocolError> {
        let found = self.0.iter().find(|(name, _)| name == column);
        let (_, value) = found.ok_or_else(|| wrong::<C>(format!("no column \"{column}\"")))?;
        Ok(value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned()))
    }

    fn optional<C: Command, T: FromStr>(&self, column: &str) -> Result<Option<T>, ProtocolError> {
        let parse = |text: String| text.parse().map_err(|_| wrong::<C>(format!("\"{text}\" as its \"{column}\"")));
        self.text::<C>(column)?.map(parse).transpose()
    }

    fn value<C: Command, T: FromStr>(&self, column: &str) -> Result<T, ProtocolError> {
        self.optional::<C, T>(column)?.ok_or_else(|| wrong::<C>(format!("nothing as its \"{column}\"")))
    }
}

fn wrong<C: Command>(what: String) -> ProtocolError {
    ProtocolError::Answer { command: C::NAME, what }
}

/// A name between quotes, so that it is a name whatever is in it.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Who the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentifySystem;

/// Who a server is, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Which family of data directories its own belongs to.
    pub system_identifier: SystemIdentifier,
    /// The timeline that it writes, or replays.
    pub timeline: TimelineId,
    /// The end of what is durable; of a replica, of what is received or replayed.
    pub end: Lsn,
}

impl Command for IdentifySystem {
    type Answer = SystemIdentity;

    const NAME: &'static str = "IDENTIFY_SYSTEM";

    fn text(&self) -> String {
        Self::NAME.to_owned()
    }

    fn read(&self, row: &Row) -> Result<SystemIdentity, ProtocolError> {
        Ok(SystemIdentity {
            system_identifier: row.value::<Self, _>("systemid")?,
            timeline: row.value::<Self, _>("timeline")?,
            end: row.value::<Self, _>("xlogpos")?,
        })
    }
}

/// How a timeline came to be. Timeline 1 has no history, and the server refuses with SQLSTATE 58P01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineHistory(pub TimelineId);

impl Command for TimelineHistory {
    type Answer = History;

    const NAME: &'static str = "TIMELINE_HISTORY";

    fn text(&self) -> String {
        format!("{} {}", Self::NAME, self.0)
    }

    fn read(&self, row: &Row) -> Result<History, ProtocolError> {
        row.value::<Self, _>("content")
    }
}

/// What a physical slot keeps. The server refuses for a logical one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReplicationSlot(pub String);

/// A physical slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhysicalSlot {
    /// The oldest position that it keeps; `None` before its first use.
    pub restart_lsn: Option<Lsn>,
    /// The timeline of that position.
    pub restart_timeline: Option<TimelineId>,
}

impl Command for ReadReplicationSlot {
    /// `None` where there is no slot of that name.
    type Answer = Option<PhysicalSlot>;

    const NAME: &'static str = "READ_REPLICATION_SLOT";

    fn text(&self) -> String {
        format!("{} {}", Self::NAME, quote(&self.0))
    }

    fn read(&self, row: &Row) -> Result<Option<PhysicalSlot>, ProtocolError> {
        let slot = PhysicalSlot {
            restart_lsn: row.optional::<Self, _>("restart_lsn")?,
            restart_timeline: row.optional::<Self, _>("restart_tli")?,
        };
        Ok(row.text::<Self>("slot_type")?.map(|_| slot))
    }
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Show(pub String);

impl Command for Show {
    type Answer = String;

    const NAME: &'static str = "SHOW";

    fn text(&self) -> String {
        format!("{} {}", Self::NAME, quote(&self.0))
    }

    fn read(&self, row: &Row) -> Result<String, ProtocolError> {
        match &row.0[..] {
            [(_, Some(value))] => Ok(String::from_utf8_lossy(value).into_owned()),
            _ => Err(wrong::<Self>(format!("{} columns, or nothing in it", row.0.len()))),
        }
    }
}
