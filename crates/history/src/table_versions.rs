//! The tables that a job's views join: all versions of each, read before the first event of a stream.
//!
//! ```text
//!   versions of files and of the log ─▶ judged ─▶ VersionsBeingRead ─▶ TableVersions ─▶ joins as of the events' times
//!                                                  any order, any thread     nothing comes any more
//! ```
//! As-served knowledge keeps beside them when each arrived. They are in memory: what they take is not there for batches that
//! wait, and beyond a third of the limit the job ends.

use std::sync::{Arc, Mutex, PoisonError};

use asof_definition::{FeatureView, Stream};
use asof_feature::{Places, StreamPlan, Tables, VersionArrivals, VersionedTable, Versions};

use crate::budget::Budget;
use crate::error::HistoryError;
use crate::event_batch::{EventBatch, Offsets};
use crate::job::{Job, Knowledge};
use crate::room::Room;

/// The share of the memory limit that versions may take.
const VERSIONS_SHARE: usize = 3;

/// Tables whose versions are still coming, from any thread and in any order.
pub(crate) struct VersionsBeingRead {
    tables: Vec<Mutex<JoinedTable>>,
    knowledge: Knowledge,
    /// Of the versions alone.
    budget: Budget,
    /// Of all that waits in memory.
    waiting: Arc<Budget>,
}

/// Tables that have all their versions.
#[derive(Debug)]
pub(crate) struct TableVersions {
    tables: Vec<JoinedTable>,
    knowledge: Knowledge,
    bytes: usize,
    waiting: Arc<Budget>,
}

#[derive(Debug)]
struct JoinedTable {
    versions: VersionedTable,
    /// Noted for as-served knowledge alone.
    arrivals: VersionArrivals,
    /// What it took when it was last looked at.
    bytes: usize,
}

impl VersionsBeingRead {
    /// The tables that are joined on the way to `views`, without versions.
    pub(crate) fn of(job: &Job, views: &[Arc<FeatureView>], room: &Room) -> Result<VersionsBeingRead, HistoryError> {
        let derived: Vec<Arc<Stream>> = views.iter().flat_map(|view| view.stream.lineage()).collect();
        let mut tables: Vec<JoinedTable> = Vec::new();
        for table in views.iter().flat_map(|view| view.stream.tables()) {
            if tables.iter().all(|known| known.versions.table().name() != table.name()) {
                let versions = VersionedTable::joined_by(&table, &derived, views)?;
                tables.push(JoinedTable { versions, arrivals: VersionArrivals::default(), bytes: 0 });
            }
        }
        Ok(VersionsBeingRead {
            tables: tables.into_iter().map(Mutex::new).collect(),
            knowledge: job.knowledge,
            budget: Budget::new(job.memory_limit_bytes / VERSIONS_SHARE),
            waiting: room.budget.clone(),
        })
    }

    /// Takes in the used rows of a judged batch of versions; of a table that nobody joins it keeps nothing.
    pub(crate) fn take_in(&self, plan: &StreamPlan, batch: &EventBatch) -> Result<(), HistoryError> {
        let mut tables = self.tables.iter().map(|table| table.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(mut table) = tables.find(|table| table.versions.table().name() == plan.stream().name) else {
            return Ok(());
        };
        table.take_in(batch)?;
        if self.knowledge == Knowledge::AsServed {
            table.note_arrivals(plan, batch);
        }
        let bytes = table.versions.held().bytes + table.arrivals.memory_bytes();
        let more = bytes.saturating_sub(table.bytes);
        table.bytes += more;
        self.waiting.take(more);
        if self.budget.take(more) {
            return Err(HistoryError::VersionsTooLarge {
                bytes: self.budget.taken_bytes(),
                limit_bytes: self.budget.limit_bytes(),
            });
        }
        Ok(())
    }

    /// All versions are there.
    pub(crate) fn finish(self) -> TableVersions {
        let tables = self.tables.into_iter().map(|table| table.into_inner().unwrap_or_else(PoisonError::into_inner));
        TableVersions {
            tables: tables.collect(),
            knowledge: self.knowledge,
            bytes: self.budget.taken_bytes(),
            waiting: self.waiting,
        }
    }
}

impl JoinedTable {
    fn take_in(&mut self, batch: &EventBatch) -> Result<(), HistoryError> {
        let places = match &batch.offsets {
            Offsets::From(first) => Places::From(*first),
            Offsets::Each(offsets) => Places::Each(offsets.values()),
        };
        // What it changes is for streams that were read before: there are none.
        self.versions.take_in(Versions { partition: 0, batch: &batch.rows, used: batch.used.as_ref(), places })?;
        Ok(())
    }

    fn note_arrivals(&mut self, plan: &StreamPlan, batch: &EventBatch) {
        let arrived_us = batch.arrivals_us(plan);
        for row in (0..batch.rows.num_rows()).filter(|row| batch.is_used(*row)) {
            self.arrivals.note(batch.offsets.of(row), arrived_us.value(row));
        }
    }
}

impl TableVersions {
    /// Whether what an event is joined with depends on when one asks.
    pub(crate) fn are_as_served(&self) -> bool {
        self.knowledge == Knowledge::AsServed && !self.tables.is_empty()
    }

    /// Knowing all versions.
    pub(crate) fn complete(&self) -> Tables<'_> {
        Tables::complete(self.tables.iter().map(|table| &table.versions))
    }

    /// Each row of a batch knowing the versions that had arrived at the instant beside it, in microseconds.
    pub(crate) fn as_served<'a>(&'a self, known_us: &'a [i64]) -> Tables<'a> {
        Tables::as_served(self.tables.iter().map(|table| (&table.versions, &table.arrivals)), known_us)
    }
}

impl Drop for TableVersions {
    fn drop(&mut self) {
        self.waiting.give_back(self.bytes);
    }
}
