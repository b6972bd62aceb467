//! What is asked: which features, for which rows, with which knowledge, within which bounds.

use std::path::PathBuf;
use std::sync::Arc;

use asof_connect::TimeUnit;
use asof_definition::{FeatureService, FeatureView};

use crate::stop::Stop;

/// A request for a training set.
#[derive(Debug, Clone)]
pub struct Job {
    /// The project's folder; relative paths of streams start here.
    pub folder: PathBuf,
    /// Where the project's own log lies, for streams without a connector.
    pub data_folder: PathBuf,
    /// What is computed.
    pub target: Target,
    /// For which rows.
    pub rows: RowsOf,
    /// Where the rows go; the ending tells the format.
    pub out: PathBuf,
    /// Which events count.
    pub knowledge: Knowledge,
    /// What happens where an expression fails.
    pub on_error: OnError,
    /// Bound of the memory for events, reads and results that wait for their shard, in bytes.
    pub memory_limit_bytes: usize,
    /// Number of worker threads, at least 1.
    pub threads: usize,
    /// Number of shards; `None` chooses by the size of the input. Values do not depend on it.
    pub shards: Option<usize>,
    /// Asked from outside to end the job early.
    pub stop: Stop,
}

/// What is computed.
#[derive(Debug, Clone)]
pub enum Target {
    /// The vector of a feature service.
    Service(Arc<FeatureService>),
    /// The features of one view.
    View(Arc<FeatureView>),
}

/// For which rows.
#[derive(Debug, Clone)]
pub enum RowsOf {
    /// The rows of a spine file.
    Spine(SpineRows),
    /// Each used event that is in the view, with the columns to keep beside its keys.
    EveryEvent {
        /// Further columns of the stream.
        keep: Vec<String>,
    },
}

/// A spine and how its instants are read.
#[derive(Debug, Clone)]
pub struct SpineRows {
    /// The file; the ending tells the format.
    pub path: PathBuf,
    /// The column that holds the as-of instant.
    pub time_column: String,
    /// The unit of plain integers in it; `None` is microseconds, checked against years before 1980.
    pub time_unit: Option<TimeUnit>,
    /// Read as of one microsecond earlier.
    pub before: bool,
}

/// Which events count at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// Every used event with event time at most the instant.
    EventTime,
    /// Of these, the ones that had arrived: what serving would have answered.
    AsServed,
}

impl Knowledge {
    /// As the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Knowledge::EventTime => "event-time",
            Knowledge::AsServed => "as-served",
        }
    }
}

/// What happens where an expression fails on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The first such row ends the job with an error.
    Fail,
    /// The value is NULL, and counted.
    Null,
}
