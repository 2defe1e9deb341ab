//! Which PostgreSQL a server says it is.

use super::ProtocolError;

/// `READ_REPLICATION_SLOT` is of 15, and so are some columns that `observe` asks for.
pub(super) const OLDEST: u16 = 15;

/// What a real one is shorter than.
const MAX_LENGTH: usize = 128;

/// The server's `server_version`, such as `17.12 (Debian 17.12-1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    text: String,
    major: u16,
}

impl ServerVersion {
    /// Reads what a server reports when a session begins.
    ///
    /// # Errors
    /// [`ProtocolError::Version`] for one that is older than 15, or no version at all.
    pub fn parse(text: &str) -> Result<ServerVersion, ProtocolError> {
        let text: String = text.chars().take(MAX_LENGTH).collect();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse() {
            Ok(major) if major >= OLDEST => Ok(ServerVersion { text, major }),
            _ => Err(ProtocolError::Version(format!("\"{}\"", text.escape_debug()))),
        }
    }

    /// The major version, 17 for 17.12 and for 17beta1.
    #[must_use]
    pub fn major(&self) -> u16 {
        self.major
    }

    /// The server's own words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}
