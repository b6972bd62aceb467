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
    /// Batches in memory, their rows grouped by shard. They are not cut up: a batch of its own for each shard would cost
    /// more than the few rows in it.
    batches: Vec<Scattered>,
    /// Whether a shard has rows on disk.
    spilled: Vec<bool>,
    /// Bytes of the batches in memory.
    bytes: usize,
}

/// A batch with its rows grouped by shard.
#[derive(Debug)]
struct Scattered {
    /// Place of the batch in the order of the input.
    number: u64,
    rows: RecordBatch,
    /// Where the rows of each shard end; shards beyond have none.
    ends: Vec<usize>,
}

impl Scattered {
    /// The rows of a shard, if it has any.
    fn shard(&self, shard: usize) -> Option<RecordBatch> {
        let end = *self.ends.get(shard)?;
        let start = if shard == 0 { 0 } else { self.ends[shard - 1] };
        (end > start).then(|| self.rows.slice(start, end - start))
    }
}

impl Partitions {
    /// Empty shards.
    pub(crate) fn new(schema: SchemaRef, shards: usize, budget: &Arc<Budget>, folder: &Arc<TempDir>) -> Partitions {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Partitions {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            schema,
            folder: folder.clone(),
            budget: budget.clone(),
            waiting: Mutex::new(Waiting { batches: Vec::new(), spilled: vec![false; shards], bytes: 0 }),
        }
    }

    /// Number of shards.
    pub(crate) fn len(&self) -> usize {
        self.lock().spilled.len()
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Scatters the rows of `batch`; `shard_of` names the shard of each (a new one is added), `number` the place of the
    /// batch in the input.
    pub(crate) fn scatter(&self, number: u64, batch: &RecordBatch, shard_of: &[u32]) -> Result<(), HistoryError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let highest = shard_of.iter().max().map_or(0, |highest| *highest as usize);
        let (rows, ends) = rows_by_shard(shard_of, highest + 1);
        let batch = take_record_batch(batch, &UInt32Array::from(rows))?;
        let bytes = batch.get_array_memory_size() + ends.len() * size_of::<usize>();
        let mut waiting = self.lock();
        if waiting.spilled.len() <= highest {
            waiting.spilled.resize(highest + 1, false);
        }
        waiting.batches.push(Scattered { number, rows: batch, ends });
        waiting.bytes += bytes;
        if self.budget.take(bytes) {
            self.spill(&mut waiting)?;
        }
        Ok(())
    }

    /// All rows of a shard in the order of the input, as far as numbers tell; rows that went to disk come first, in no
    /// order. To be asked once for each shard, after the last batch was scattered.
    pub(crate) fn take(&self, shard: usize) -> Result<RecordBatch, HistoryError> {
        let (mut slices, spilled) = {
            let waiting = self.lock();
            let slices = waiting.batches.iter().filter_map(|batch| Some((batch.number, batch.shard(shard)?)));
            (slices.collect::<Vec<_>>(), waiting.spilled.get(shard).is_some_and(|spilled| *spilled))
        };
        slices.sort_by_key(|(number, _)| *number);
        let mut batches = if spilled { self.read_back(shard)? } else { Vec::new() };
        batches.extend(slices.into_iter().map(|(_, slice)| slice));
        Ok(concat_batches(&self.schema, &batches)?)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves everything in memory to disk.
    fn spill(&self, waiting: &mut Waiting) -> Result<(), HistoryError> {
        let mut batches = std::mem::take(&mut waiting.batches);
        batches.sort_by_key(|batch| batch.number);
        for (shard, spilled) in waiting.spilled.iter_mut().enumerate() {
            let slices: Vec<RecordBatch> = batches.iter().filter_map(|batch| batch.shard(shard)).collect();
            if slices.is_empty() {
                continue;
            }
            *spilled = true;
            let path = self.path(shard);
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
