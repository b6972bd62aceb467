//! Where batches wait in shards: in memory up to a share of the limit, beyond it in a folder of the job's own.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tempfile::TempDir;

use crate::budget::Budget;
use crate::error::HistoryError;
use crate::job::Job;
use crate::partitions::Partitions;

/// The fewest shards, and the most: each may have a file of its own.
const SHARDS_MIN: usize = 64;
const SHARDS_MAX: usize = 512;
/// A shard is held as it came, joined and sorted.
const COPIES: u64 = 3;
/// How much larger events are in memory than in a compressed file, for choosing the number of shards.
const EXPANSION: u64 = 4;
/// The share of the memory limit that waiting batches may fill; the rest is for the shards being worked on.
const WAITING_SHARE: usize = 3;

/// Where batches wait.
pub(crate) struct Room {
    pub(crate) budget: Arc<Budget>,
    pub(crate) folder: Arc<TempDir>,
}

impl Room {
    pub(crate) fn new(job: &Job) -> Result<Room, HistoryError> {
        let folder = TempDir::with_prefix("asof-history-")
            .map_err(|source| HistoryError::Spill { path: std::env::temp_dir(), source: source.into() })?;
        let budget = Budget::new(job.memory_limit_bytes / WAITING_SHARE);
        Ok(Room { budget: Arc::new(budget), folder: Arc::new(folder) })
    }

    pub(crate) fn partitions(&self, schema: SchemaRef, shards: usize) -> Partitions {
        Partitions::new(schema, shards, &self.budget, &self.folder)
    }
}

/// Shards for files of this size.
pub(crate) fn shard_count(job: &Job, input_bytes: u64) -> usize {
    let worked_on = input_bytes.saturating_mul(EXPANSION * COPIES).saturating_mul(job.threads as u64);
    // A shard in work may take an eighth of the limit.
    let needed = worked_on.saturating_mul(8) / (job.memory_limit_bytes as u64).max(1);
    let fitting = usize::try_from(needed).unwrap_or(SHARDS_MAX).clamp(SHARDS_MIN, SHARDS_MAX);
    job.shards.unwrap_or(fitting).next_power_of_two()
}
