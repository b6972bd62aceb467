//! What a running job tells of itself: to the status line, to `/v1/objects`, to `/metrics`.

use arrow::array::ArrayRef;
use asof_feature::{Held, TableHeld};

use crate::progress::ReplayProgress;
use crate::visibility::StreamPosition;

/// One stream.
#[derive(Debug, Clone)]
pub struct StreamStatistics {
    /// How far it has come, and what became of its events.
    pub position: StreamPosition,
    /// How far the replay of its file is.
    pub replay: ReplayProgress,
    /// Why events were refused, late or set aside, with the first example of each.
    pub reasons: Vec<Reason>,
    /// Declared columns that the whole file lacks: NULL in every event.
    pub absent_columns: Vec<String>,
    /// Rows that are held because a late version of a joined table may change what they bring.
    pub held_rows: usize,
}

/// One table.
#[derive(Debug, Clone)]
pub struct TableStatistics {
    /// Keys, versions, rows and bytes that joins look into.
    pub held: TableHeld,
    /// Its versions as they arrive: position, watermark, accounting.
    pub versions: StreamStatistics,
}

/// One derived stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedStatistics {
    /// Rows that it got since it is computed as it is now.
    pub rows: u64,
    /// Used events set aside for it because an expression failed on them.
    pub set_aside: u64,
    /// The least of its sources' watermarks in microseconds; `None` while one of them has none.
    pub watermark_us: Option<i64>,
    /// The streams whose events it sees, as indexes into the project's.
    pub sources: Vec<usize>,
}

/// One derived stream over a group window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowStatistics {
    /// Its rows, those set aside before they are in any window, its watermark and what it reads.
    pub derived: DerivedStatistics,
    /// What its open windows hold.
    pub held: Held,
    /// Entities with open windows.
    pub open_entities: usize,
    /// Closed windows that have no row because a column of it failed.
    pub rows_set_aside: u64,
    /// Events that came too late for a window.
    pub too_late: u64,
}

/// The stored side of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageStatistics {
    /// The stream.
    pub stream: String,
    /// Bytes of its log on disk.
    pub log_bytes: u64,
    /// Segments of its log.
    pub segments: usize,
    /// The first offset that the log still has.
    pub first_offset: u64,
    /// Bytes of events that came in since the start, decoded.
    pub received_bytes: u64,
    /// Dead letters of views and derived streams since the start that are not in the log, because the disk had no room for
    /// them.
    pub letters_left_out: u64,
}

/// One view.
#[derive(Debug, Clone)]
pub struct ViewStatistics {
    /// What it holds.
    pub held: Held,
    /// Events set aside for this view alone because an expression failed on them.
    pub set_aside: u64,
    /// The key of an entity that an event was lately taken in for.
    pub example_key: Option<Vec<ArrayRef>>,
}

/// A reason for which events were not used, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `unreadable`, `not_null`, `check`, `future`, `late`, or `set aside for …`.
    pub name: String,
    /// How many.
    pub count: u64,
    /// The offset of the first one.
    pub offset: u64,
    /// What was wrong with it.
    pub detail: String,
}

/// Reasons by name, each once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reasons {
    list: Vec<Reason>,
}

impl From<Vec<Reason>> for Reasons {
    fn from(list: Vec<Reason>) -> Reasons {
        Reasons { list }
    }
}

impl Reasons {
    pub(crate) fn add(&mut self, name: &str, offset: u64, detail: &str) {
        match self.list.iter_mut().find(|reason| reason.name == name) {
            Some(reason) => reason.count += 1,
            None => {
                self.list.push(Reason { name: name.to_owned(), count: 1, offset, detail: detail.to_owned() });
            }
        }
    }

    pub(crate) fn list(&self) -> &[Reason] {
        &self.list
    }
}
