//! What comes to a stream live: arrivals to be judged, or what a log says was judged before.

use arrow::array::{Int64Array, RecordBatch};
use arrow::row::Rows;
use asof_window::{Accounting, Lateness, Verdict};

use crate::stream::Faced;
use crate::taking::SetAside;

/// An event that came too late for a window of a view: it had closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TooLate {
    /// Its row in the batch.
    pub row: usize,
    /// The SELECT of a UNION ALL by which it came, from 0: the same event may come by several, with another key.
    pub branch: u32,
}

/// A batch of arrivals at one partition.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals<'a> {
    /// The rows and their face.
    pub faced: Faced<'a>,
    /// When they arrived.
    pub arrived_us: ArrivedAt<'a>,
    /// The offset of each row in its partition.
    pub offsets: &'a [u64],
    /// Whether they can be late.
    pub lateness: Lateness,
    /// Rows whose primary key was used at a time that the judge no longer remembers, and that time in microseconds;
    /// ascending by row.
    pub used_before: &'a [(usize, i64)],
    /// Of rows that come from a feed the partition of each there: it is judged among the rows of that partition.
    pub fed: Option<&'a [u32]>,
}

/// When the rows of a batch arrived, in microseconds.
#[derive(Debug, Clone, Copy)]
pub enum ArrivedAt<'a> {
    /// All at one time.
    All(i64),
    /// Each at its own, where that is NULL at its event time.
    Each(&'a Int64Array),
}

/// What became of a batch of arrivals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One verdict for each row.
    pub verdicts: Vec<Verdict>,
    /// For each view in the order given, the used rows set aside for it.
    pub set_aside: Vec<Vec<SetAside>>,
    /// For each derived stream in the order of [`OnlineStream::derived`], the used rows set aside for it.
    pub derived_set_aside: Vec<Vec<SetAside>>,
}

/// A batch that was judged before, as a log has it.
#[derive(Debug, Clone, Copy)]
pub struct Recalled<'a> {
    /// The partition that it arrived at.
    pub partition: u32,
    /// The used rows alone: the stream's columns.
    pub used: &'a RecordBatch,
    /// The offset of each used row.
    pub offsets: &'a [u64],
    /// The encoded primary key of each used row, where there is one.
    pub primary_keys: Option<&'a Rows>,
    /// Counts of the verdicts on the whole batch.
    pub counts: Accounting,
    /// For each view in the order given, whether it takes the rows in; others have them already.
    pub views: &'a [bool],
    /// For each view in the order given those that came too late for a window of it, by their places among the used rows,
    /// ascending; none where none did.
    pub too_late: &'a [Vec<TooLate>],
    /// How many rows of the whole batch are no events: looks at the clock.
    pub looks: u64,
    /// Of rows that came from a feed the partition of each used row there.
    pub fed: Option<&'a [u32]>,
    /// Whether the stream itself takes note of them.
    pub judgement: Judgement,
}

/// Whether a recalled batch is news to its stream: to the judge, the counts and the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It is.
    Recalled,
    /// They know it, from a checkpoint.
    Known,
    /// They know all of it but its primary keys, which were others when the checkpoint was taken.
    KnownButKeys,
}
