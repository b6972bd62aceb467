//! How far a sink is: written by the thread that writes its topic, read by anybody.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use asof_connect::Progress;

use crate::distribution::Distribution;

/// What is known of one sink.
#[derive(Debug, Default)]
pub(crate) struct SinkState {
    told: Mutex<SinkTold>,
    /// From the first row of a commit to its end.
    pub(crate) commits: Distribution,
}

/// The same, as it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct SinkTold {
    /// What the cluster has committed; `None` before it was asked.
    pub(crate) progress: Option<Progress>,
    /// What this process has tried to commit last.
    pub(crate) attempted: Progress,
    /// Rows that were committed since the start.
    pub(crate) rows: u64,
    /// Entities whose entry will be another one by time alone.
    pub(crate) scheduled: u64,
    /// Rows that an expression of the sink failed on, since the start, and the first of them.
    pub(crate) set_aside: u64,
    pub(crate) first_set_aside: Option<String>,
    /// Offsets of its logs that were gone before it had written them, since the start.
    pub(crate) lost_offsets: u64,
    /// Why nothing is written.
    pub(crate) trouble: Option<String>,
    /// How often the writer was opened anew since the start.
    pub(crate) reopened: u64,
    /// Whether nothing is written until the next start.
    pub(crate) has_stopped: bool,
}

/// What a running job tells of a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkStatistics {
    /// For each log that it reads, by the log's name, the offset up to which it is written; none before the cluster was asked.
    pub progress: BTreeMap<String, u64>,
    /// Of a feature view's entries up to which instant, in microseconds, what time changed is written.
    pub as_of_us: Option<i64>,
    /// Of these entries how many will be others by time alone.
    pub scheduled: u64,
    /// Offsets that it has not written yet, over all logs; `None` before the cluster was asked.
    pub lag: Option<u64>,
    /// Rows that were committed since the start.
    pub rows: u64,
    /// Rows that an expression of the sink failed on, since the start.
    pub set_aside: u64,
    /// What was wrong with the first of them.
    pub first_set_aside: Option<String>,
    /// Offsets of its logs that were gone before it had written them, since the start.
    pub lost_offsets: u64,
    /// Why nothing is written.
    pub trouble: Option<String>,
    /// Whether nothing is written until the next start.
    pub has_stopped: bool,
    /// How often the writer was opened anew since the start.
    pub reopened: u64,
}

impl SinkState {
    pub(crate) fn lock(&self) -> MutexGuard<'_, SinkTold> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Given up to where each log can be read.
    pub(crate) fn statistics(&self, readable: impl Iterator<Item = (String, u64)>) -> SinkStatistics {
        let told = self.lock().clone();
        let lag = told.progress.as_ref().map(|progress| {
            let behind = readable.map(|(log, end)| end.saturating_sub(progress.logs.get(&log).copied().unwrap_or(0)));
            behind.sum()
        });
        let progress = told.progress.unwrap_or_default();
        SinkStatistics {
            as_of_us: progress.entries.map(|entries| entries.as_of_us),
            progress: progress.logs,
            scheduled: told.scheduled,
            lag,
            rows: told.rows,
            set_aside: told.set_aside,
            first_set_aside: told.first_set_aside,
            lost_offsets: told.lost_offsets,
            trouble: told.trouble,
            has_stopped: told.has_stopped,
            reopened: told.reopened,
        }
    }
}
