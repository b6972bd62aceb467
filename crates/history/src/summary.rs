//! What a job did, to be told at its end.

use asof_window::Accounting;

/// Counts and warnings of a finished job.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Rows written.
    pub rows: u64,
    /// Feature columns of each row.
    pub features: usize,
    /// The streams read, in the order of their names; behind them those of windows over files, of which every row is used.
    pub streams: Vec<StreamSummary>,
    /// The tables read, in the order of their names: of their versions what a stream tells of its events.
    pub tables: Vec<StreamSummary>,
    /// Values made NULL because their expression failed (`--on-error null`).
    pub failed_values: u64,
    /// What the user may want to know, with a hint each.
    pub warnings: Vec<String>,
}

/// What became of a stream's events, or of a table's versions.
#[derive(Debug, Clone, Default)]
pub struct StreamSummary {
    /// Name of the stream.
    pub name: String,
    /// Verdicts.
    pub accounting: Accounting,
    /// Where it came from.
    pub origin: Origin,
    /// The oldest offset that there still was: older events of the log were dropped.
    pub first_offset: u64,
    /// The first event of each kind that was refused or set aside.
    pub reasons: Vec<Reason>,
    /// Events that no declared column could be found for: columns absent from the file, read as NULL.
    pub absent_columns: Vec<String>,
    /// Used events set aside, by view or derived stream.
    pub set_aside: Vec<(String, u64)>,
    /// Used events of the log that were loaded without arrival times: their event times stand for these.
    pub imputed: u64,
}

/// Where a stream's events were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The file that it declares, or rows of windows over files: an offset is a row of either.
    #[default]
    File,
    /// The project's own log, or that of the rows of windows over it.
    Log,
}

/// An example of why events were refused or set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The public name: a rejection, or `set aside for VIEW`.
    pub name: String,
    /// Offset of the event: in a file its row, from 0.
    pub offset: u64,
    /// What was wrong, in words.
    pub detail: String,
}
