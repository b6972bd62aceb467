//! Repeats of a primary key in a file taken in event-time order: events wait by hash of their key, and of each key, in
//! order, the first and every one beyond the horizon of the last used stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use arrow::row::Rows;
use asof_window::{Keys, is_repeat, shard_of};
use tempfile::TempDir;

use crate::budget::Budget;
use crate::error::HistoryError;
use crate::partitions::Partitions;

/// Events of one stream waiting to be compared by primary key.
#[derive(Debug)]
pub(crate) struct DuplicateSearch {
    waiting: Partitions,
    horizon_us: i64,
    found: Mutex<Duplicates>,
}

/// Offsets of events that repeat a used one.
#[derive(Debug, Default)]
pub(crate) struct Duplicates {
    bits: Vec<u64>,
    count: u64,
}

impl DuplicateSearch {
    pub(crate) fn new(horizon_us: i64, shards: usize, budget: &Arc<Budget>, folder: &Arc<TempDir>) -> DuplicateSearch {
        let fields = vec![
            Field::new("primary_key", DataType::Binary, false),
            Field::new("time", DataType::Int64, false),
            Field::new("offset", DataType::UInt64, false),
        ];
        let waiting = Partitions::new(Arc::new(Schema::new(fields)), shards, budget, folder);
        DuplicateSearch { waiting, horizon_us, found: Mutex::default() }
    }

    pub(crate) fn shards(&self) -> usize {
        self.waiting.len()
    }

    /// Adds events by encoded primary key, event time and offset.
    pub(crate) fn add(
        &self,
        number: u64,
        primary_keys: Rows,
        times: Int64Array,
        offsets: UInt64Array,
    ) -> Result<(), HistoryError> {
        let keys = Keys::Rows(primary_keys);
        let shards = self.waiting.len();
        let shard_of: Vec<u32> = (0..keys.len()).map(|row| shard_of(keys.hash(row), shards)).collect();
        let Keys::Rows(rows) = keys else { return Ok(()) };
        let columns: Vec<ArrayRef> = vec![Arc::new(rows.try_into_binary()?), Arc::new(times), Arc::new(offsets)];
        self.waiting.scatter(number, &RecordBatch::try_new(self.waiting.schema().clone(), columns)?, &shard_of)
    }

    /// Searches one shard.
    pub(crate) fn search(&self, shard: usize) -> Result<(), HistoryError> {
        let batch = self.waiting.take(shard)?;
        let keys = batch.column(0).as_binary::<i32>();
        let times = batch.column(1).as_primitive::<Int64Type>().values();
        let offsets = batch.column(2).as_primitive::<UInt64Type>().values();
        let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        rows.sort_unstable_by_key(|&row| (times[row as usize], offsets[row as usize]));
        let mut last_used: HashMap<&[u8], i64, foldhash::fast::FixedState> =
            HashMap::with_capacity_and_hasher(rows.len(), foldhash::fast::FixedState::default());
        let mut repeats = Vec::new();
        for row in rows {
            let (key, time_us) = (keys.value(row as usize), times[row as usize]);
            match last_used.get_mut(key) {
                Some(used_us) if is_repeat(*used_us, time_us, self.horizon_us) => repeats.push(offsets[row as usize]),
                Some(used_us) => *used_us = time_us,
                None => {
                    last_used.insert(key, time_us);
                }
            }
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        repeats.into_iter().for_each(|offset| found.add(offset));
        Ok(())
    }

    pub(crate) fn finish(self) -> Duplicates {
        self.found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duplicates {
    fn add(&mut self, offset: u64) {
        let word = (offset / 64) as usize;
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (offset % 64);
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn hold(&self, offset: u64) -> bool {
        self.bits.get((offset / 64) as usize).is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }
}
