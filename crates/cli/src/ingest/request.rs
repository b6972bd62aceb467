//! The requests that a file of events becomes, one after the other.
//!
//! The same file gives the same requests, byte for byte, whenever it is cut with the same options: a request has a key by
//! which the server knows it again.

use crate::failure::Failure;

/// The greatest body, half of what a server takes if nothing else is said.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;

/// A part of a file, ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) body: Vec<u8>,
    /// For each row of the body its number in the file, from 0.
    pub(crate) rows: Vec<u64>,
    /// Rows of the file that could not be read, and why. They are not in the body.
    pub(crate) unreadable: Vec<(u64, String)>,
    /// How far it brings the progress.
    pub(crate) progress: u64,
}

impl Request {
    /// Whether there is nothing to send and nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.unreadable.is_empty()
    }
}

/// Where requests come from.
pub(crate) trait Requests: Send {
    /// How their bodies are written.
    fn content_type(&self) -> &'static str;
    /// All progress of all requests together.
    fn progress_total(&self) -> u64;
    /// Columns of the stream that the whole file lacks.
    fn absent_columns(&self) -> Vec<String>;
    /// The next one; `None` behind the last.
    fn next(&mut self) -> Result<Option<Request>, Failure>;
}
