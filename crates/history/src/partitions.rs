//! Batches scattered into shards, each shard taken back whole. What does not fit the memory budget waits on disk as Arrow
//! IPC streams, one file a shard, and vanishes with the job.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use tempfile::TempDir;

use crate::budget::Budget;
use crate::error::HistoryError;

/// Rows of one schema, scattered into shards.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// Tells temporary files apart.
    number: u64,
    schema: SchemaRef,
    folder: Arc<TempDir>,
    budget: Arc<Budget>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    shards: Vec<Shard>,
    /// Bytes of the batches in memory, by all shards.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Shard {
    slices: Vec<Slice>,
    spilled: bool,
}

/// Rows of one batch.
#[derive(Debug)]
struct Slice {
    /// Place of the batch in the order of the input.
    number: u64,
    rows: RecordBatch,
    /// Its share of the batch's memory.
    bytes: usize,
}

impl Partitions {
    /// Empty shards.
    pub(crate) fn new(schema: SchemaRef, shards: usize, budget: &Arc<Budget>, folder: &Arc<TempDir>) -> Partitions {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Partitions {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            schema,
            folder: folder.clone(),
            budget: budget.clone(),
            waiting: Mutex::new(Waiting { shards, bytes: 0 }),
        }
    }

    /// Number of shards.
    pub(crate) fn len(&self) -> usize {
        self.lock().shards.len()
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Scatters the rows of `batch`; `shard_of` names the shard of each (a new one is added), `number` the place of the batch in the input.
    pub(crate) fn scatter(&self, number: u64, batch: &RecordBatch, shard_of: &[u32]) -> Result<(), HistoryError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let highest = shard_of.iter().max().map_or(0, |highest| *highest as usize);
        let (rows, ends) = rows_by_shard(shard_of, highest + 1);
        let batch = take_record_batch(batch, &UInt32Array::from(rows))?;
        let bytes_per_row = batch.get_array_memory_size() / batch.num_rows() + 1;
        let bytes = bytes_per_row * batch.num_rows();
        let mut waiting = self.lock();
        if waiting.shards.len() <= highest {
            waiting.shards.resize_with(highest + 1, Shard::default);
        }
        let mut start = 0;
        for (shard, end) in waiting.shards.iter_mut().zip(ends) {
            if end > start {
                let rows = batch.slice(start, end - start);
                shard.slices.push(Slice { number, rows, bytes: bytes_per_row * (end - start) });
            }
            start = end;
        }
        waiting.bytes += bytes;
        if self.budget.take(bytes) {
            self.spill(&mut waiting)?;
        }
        Ok(())
    }

    /// All rows of a shard in the order of the input, as far as numbers tell; rows that went to disk come first, in no
    /// order. The shard is empty afterwards.
    pub(crate) fn take(&self, shard: usize) -> Result<RecordBatch, HistoryError> {
        let Shard { mut slices, spilled } = {
            let mut waiting = self.lock();
            let taken = waiting.shards.get_mut(shard).map(std::mem::take).unwrap_or_default();
            let bytes: usize = taken.slices.iter().map(|slice| slice.bytes).sum();
            waiting.bytes -= bytes;
            self.budget.give_back(bytes);
            taken
        };
        slices.sort_by_key(|slice| slice.number);
        let mut batches = if spilled { self.read_back(shard)? } else { Vec::new() };
        batches.extend(slices.into_iter().map(|slice| slice.rows));
        Ok(concat_batches(&self.schema, &batches)?)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves everything in memory to disk.
    fn spill(&self, waiting: &mut Waiting) -> Result<(), HistoryError> {
        for (place, shard) in waiting.shards.iter_mut().enumerate() {
            if shard.slices.is_empty() {
                continue;
            }
            let mut slices = std::mem::take(&mut shard.slices);
            slices.sort_by_key(|slice| slice.number);
            let slices: Vec<RecordBatch> = slices.into_iter().map(|slice| slice.rows).collect();
            shard.spilled = true;
            let path = self.path(place);
            let written = concat_batches(&self.schema, &slices).and_then(|batch| append(&path, &batch));
            written.map_err(|source| HistoryError::Spill { path, source })?;
        }
        self.budget.give_back(std::mem::take(&mut waiting.bytes));
        Ok(())
    }

    fn read_back(&self, shard: usize) -> Result<Vec<RecordBatch>, HistoryError> {
        let path = self.path(shard);
        let read = || {
            let mut reader = BufReader::new(File::open(&path)?);
            let mut batches = Vec::new();
            // Each spill appended one whole stream.
            while !std::io::BufRead::fill_buf(&mut reader)?.is_empty() {
                for batch in StreamReader::try_new(&mut reader, None)? {
                    batches.push(batch?);
                }
            }
            std::fs::remove_file(&path)?;
            Ok::<_, ArrowError>(batches)
        };
        read().map_err(|source| HistoryError::Spill { path: path.clone(), source })
    }

    fn path(&self, shard: usize) -> PathBuf {
        self.folder.path().join(format!("{}-{shard}.arrows", self.number))
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.budget.give_back(bytes);
    }
}

fn append(path: &PathBuf, batch: &RecordBatch) -> Result<(), ArrowError> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut writer = StreamWriter::try_new(BufWriter::new(file), &batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    writer.into_inner()?.flush()?;
    Ok(())
}

/// Row numbers grouped by shard, in their order within each, and where each group ends.
fn rows_by_shard(shard_of: &[u32], shards: usize) -> (Vec<u32>, Vec<usize>) {
    let mut ends = vec![0usize; shards];
    for &shard in shard_of {
        ends[shard as usize] += 1;
    }
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        *end = total - *end;
    }
    let mut rows = vec![0u32; shard_of.len()];
    for (row, &shard) in shard_of.iter().enumerate() {
        let place = &mut ends[shard as usize];
        rows[*place] = row as u32;
        *place += 1;
    }
    (rows, ends)
}
