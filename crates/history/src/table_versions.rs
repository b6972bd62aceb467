//! The tables that a job's views join, or group the rows of: all versions of each, read before the first event of a stream.
//!
//! ```text
//!   versions of files and of the log ─▶ judged ─▶ VersionsBeingRead ─▶ TableVersions ─▶ joins as of the events' times
//!                          └──▶ rows in groups, which end with the next version: wait until all are there
//! ```
//! As-served knowledge keeps beside them when each arrived. They are in memory: what they take is not there for batches that
//! wait, and beyond a third of the limit the job ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::row::Rows;
use asof_definition::{FeatureView, Over, Stream, Table};
use asof_feature::{ArrivedEnd, Places, StreamPlan, Tables, VersionArrivals, VersionedTable, Versions};

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
    /// The tables that are joined on the way to `views`, or whose rows these group, without versions.
    pub(crate) fn of(job: &Job, views: &[Arc<FeatureView>], room: &Room) -> Result<VersionsBeingRead, HistoryError> {
        let derived: Vec<Arc<Stream>> = views.iter().flat_map(|view| view.stream.lineage()).collect();
        let mut tables: Vec<JoinedTable> = Vec::new();
        for table in views.iter().flat_map(tables_of) {
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
        let Some(mut table) = self.table(&plan.stream().name) else { return Ok(()) };
        table.take_in(batch)?;
        if self.knowledge == Knowledge::AsServed {
            table.note_arrivals(plan, batch);
        }
        let bytes = table.versions.held().bytes + table.arrivals.memory_bytes();
        let more = bytes.saturating_sub(table.bytes);
        table.bytes += more;
        self.take(more)
    }

    /// Takes note of a batch that waits until all versions are there.
    pub(crate) fn hold(&self, batch: &EventBatch) -> Result<(), HistoryError> {
        self.take(held_bytes(batch))
    }

    /// One that waited is delivered.
    pub(crate) fn let_go(&self, batch: &EventBatch) {
        self.budget.give_back(held_bytes(batch));
        self.waiting.give_back(held_bytes(batch));
    }

    fn take(&self, bytes: usize) -> Result<(), HistoryError> {
        self.waiting.take(bytes);
        if self.budget.take(bytes) {
            return Err(HistoryError::VersionsTooLarge {
                bytes: self.budget.taken_bytes(),
                limit_bytes: self.budget.limit_bytes(),
            });
        }
        Ok(())
    }

    /// When the versions of a batch end, of a table that is read to its end: knowing event times, by all its versions; as-served
    /// by those that had arrived at the instant in microseconds beside each.
    pub(crate) fn ends(
        &self,
        plan: &StreamPlan,
        batch: &EventBatch,
        known_us: &[i64],
    ) -> Result<Vec<ArrivedEnd>, HistoryError> {
        let table = self.table(&plan.stream().name).expect("a table whose rows are grouped keeps its versions");
        let versions = versions_of(batch);
        Ok(match self.knowledge {
            Knowledge::EventTime => {
                let ends_us = table.versions.ends_us(versions)?.into_iter();
                ends_us.map(|end_us| ArrivedEnd { end_us, until_us: i64::MAX }).collect()
            }
            Knowledge::AsServed => table.versions.arrived_ends(versions, &table.arrivals, known_us)?,
        })
    }

    fn table(&self, name: &str) -> Option<MutexGuard<'_, JoinedTable>> {
        let mut tables = self.tables.iter().map(|table| table.lock().unwrap_or_else(PoisonError::into_inner));
        tables.find(|table| table.versions.table().name() == name)
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
        // What it changes is for streams that were read before: there are none.
        self.versions.take_in(versions_of(batch))?;
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

/// The tables that a view looks into, or groups the rows of.
fn tables_of(view: &Arc<FeatureView>) -> Vec<Arc<Table>> {
    let grouped = match &view.over {
        Over::Groups(table) => Some(table.clone()),
        Over::Events | Over::Row(_) => None,
    };
    view.stream.tables().into_iter().chain(grouped).collect()
}

fn versions_of(batch: &EventBatch) -> Versions<'_> {
    let places = match &batch.offsets {
        Offsets::From(first) => Places::From(*first),
        Offsets::Each(offsets) => Places::Each(offsets.values()),
    };
    Versions { partition: 0, batch: &batch.rows, used: batch.used.as_ref(), places }
}

fn held_bytes(batch: &EventBatch) -> usize {
    batch.rows.get_array_memory_size() + batch.primary_keys.as_ref().map_or(0, Rows::size)
}

impl Drop for TableVersions {
    fn drop(&mut self) {
        self.waiting.give_back(self.bytes);
    }
}
