//! A part of the log that was read.

use bytes::Bytes;

/// A message of the log.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    pub payload: Bytes,
}

/// A part of the log.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The messages, the oldest first.
    pub messages: Vec<Stored>,
    /// The number of messages that follow.
    pub pending: u64,
}

impl Page {
    /// Whether the log has nothing after this page.
    pub fn is_last(&self) -> bool {
        self.pending == 0 || self.messages.is_empty()
    }

    /// Returns the sequence after the last message; `None` if there is no message.
    pub fn next(&self) -> Option<u64> {
        Some(self.messages.last()?.sequence + 1)
    }
}
