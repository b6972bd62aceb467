//! What a job did, to be told at its end.

use asof_window::Accounting;

/// Counts and warnings of a finished job.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Rows written.
    pub rows: u64,
    /// Feature columns of each row.
    pub features: usize,
    /// The streams read, in the order of their names.
    pub streams: Vec<StreamSummary>,
    /// Values made NULL because their expression failed (`--on-error null`).
    pub failed_values: u64,
    /// What the user may want to know, with a hint each.
    pub warnings: Vec<String>,
}

/// What became of a stream's events.
#[derive(Debug, Clone, Default)]
pub struct StreamSummary {
    /// Name of the stream.
    pub name: String,
    /// Verdicts.
    pub accounting: Accounting,
    /// The first event of each kind that was refused or set aside.
    pub reasons: Vec<Reason>,
    /// Events that no declared column could be found for: columns absent from the file, read as NULL.
    pub absent_columns: Vec<String>,
    /// Used events set aside, by view.
    pub set_aside: Vec<(String, u64)>,
}

/// An example of why events were refused or set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The public name: a rejection, or `set aside for VIEW`.
    pub name: String,
    /// Offset of the event: its row in the file, from 0.
    pub offset: u64,
    /// What was wrong, in words.
    pub detail: String,
}
