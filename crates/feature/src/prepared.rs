//! A batch of arrivals between its judgement and the views: everything is evaluated, nothing is visible yet.
//!
//! ```text
//!   arrivals ─▶ prepare: judge, evaluate ─▶ Prepared ─▶ (the log makes it durable) ─▶ take_in ─▶ views
//! ```

use arrow::array::{ArrayRef, UInt32Array};
use arrow::row::Rows;
use asof_window::{Keys, SortedEvents, TieBreak, Verdict};

use crate::arrivals::TooLate;
use crate::taking::SetAside;

/// A judged batch and what it brings to each view of its stream.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) verdicts: Vec<Verdict>,
    /// The greatest event time among the used rows.
    pub(crate) newest_us: Option<i64>,
    pub(crate) brought: Brought,
}

/// What a batch brings to the views of its stream and of those derived from it, each in the stream's order.
#[derive(Debug)]
pub(crate) struct Brought {
    /// For each view.
    pub(crate) set_aside: Vec<Vec<SetAside>>,
    /// For each derived stream.
    pub(crate) derived_set_aside: Vec<Vec<SetAside>>,
    /// For each derived stream, how many rows it got.
    pub(crate) derived_rows: Vec<u64>,
    /// For each view, the events that came too late for windows of it, ascending.
    pub(crate) too_late: Vec<Vec<TooLate>>,
    /// For each feed of a view; `None` where no event is in the view, or it has them already.
    pub(crate) events: Vec<Option<ViewEvents>>,
    pub(crate) ties: Ties,
    /// Events before this instant, of views that join, change no more; `None` where no view does.
    pub(crate) changeable_from_us: Option<i64>,
}

/// The events of a batch that are in one view.
#[derive(Debug)]
pub(crate) struct ViewEvents {
    /// Their rows in the batch, ascending.
    pub(crate) batch_rows: UInt32Array,
    pub(crate) keys: Keys,
    pub(crate) events: SortedEvents,
    /// Places among the events, in the order of the shards that they belong to.
    pub(crate) by_shard: Vec<u32>,
    /// Where the places of each shard begin in `by_shard` and, last, where those of the last one end.
    pub(crate) starts: Vec<usize>,
    /// Key parts of the last event.
    pub(crate) last_key: Vec<ArrayRef>,
}

/// What orders events of equal time, by row of the batch.
#[derive(Debug)]
pub(crate) struct Ties {
    pub(crate) partition: u32,
    pub(crate) offsets: Vec<u64>,
    /// Kept only where a view follows the order of events.
    pub(crate) primary_keys: Option<Rows>,
}

impl Prepared {
    /// One verdict for each row.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// For each view in the order given, the used rows set aside for it.
    pub fn set_aside(&self) -> &[Vec<SetAside>] {
        &self.brought.set_aside
    }

    /// For each view in the order given, the events that came too late for a window of it, ascending.
    pub fn too_late(&self) -> &[Vec<TooLate>] {
        &self.brought.too_late
    }

    /// For each derived stream in the order of [`crate::OnlineStream::derived`], the used rows set aside for it.
    pub fn derived_set_aside(&self) -> &[Vec<SetAside>] {
        &self.brought.derived_set_aside
    }

    /// The greatest event time among the used rows, in microseconds; `None` if no row is used.
    pub fn newest_us(&self) -> Option<i64> {
        self.newest_us
    }
}

impl Ties {
    /// Of a row that came by the branch of this number, to a view whose stream has a primary key or not.
    pub(crate) fn of(&self, row: usize, branch: u32, has_key: bool) -> TieBreak<'_> {
        let primary_keys = self.primary_keys.as_ref().filter(|_| has_key);
        TieBreak {
            primary_key: primary_keys.map_or(&[], |keys| keys.row(row).data()),
            // Branches come before partitions in the order of events: there are less than 2¹⁶ of either.
            partition: branch << 16 | self.partition,
            offset: self.offsets[row],
        }
    }
}
