//! The used rows of a stream that a late version of a joined table may still change, kept for being evaluated again.
//!
//! ```text
//!   chunk   columns that the joins' readers need (others are NULL) │ offsets │ for each join, 32 bits of the key's hash
//!   a version of key k, valid from u until the next one  ─▶  one scan for the hash of k, of chunks that reach beyond u
//! ```
//! Rule kept here: every used row with an event time from [`HeldRows::complete_from_us`] on is here, and no version that comes can
//! change one before it. Hashes that are equal by chance cost an evaluation that changes nothing.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{interleave, interleave_record_batch, take};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use asof_definition::Stream;

use crate::changed_keys::ChangedKeys;
use crate::lookup::NO_KEY;
use crate::versioned_table::VersionChanges;
use crate::view::nullable;

/// Chunks are put together up to so many rows, so that events which come one by one do not each hold arrays of their own.
const CHUNK_ROWS_MAX: usize = 4096;
/// What a chunk takes beside its arrays' bytes, for each column: an array's own fields.
const COLUMN_BYTES: usize = 96;

/// Rows by chunks, in the order in which they came.
#[derive(Debug)]
pub(crate) struct HeldRows {
    schema: SchemaRef,
    time_column: usize,
    /// Which columns are kept.
    needed: Vec<bool>,
    /// For each column that is not, NULLs that all chunks share.
    nulls: Vec<Option<ArrayRef>>,
    chunks: Vec<Chunk>,
    from_us: i64,
    bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    partition: u32,
    batch: RecordBatch,
    offsets: Vec<u64>,
    /// For each join, row by row.
    hashes: Vec<Vec<u32>>,
    least_us: i64,
    greatest_us: i64,
    bytes: usize,
}

/// Rows of a batch that may have to be held.
pub(crate) struct UsedRows<'a> {
    pub(crate) batch: &'a RecordBatch,
    /// `None` is all.
    pub(crate) used: Option<&'a BooleanArray>,
    pub(crate) partition: u32,
    pub(crate) offsets: &'a [u64],
    pub(crate) hashes: &'a [Vec<u32>],
}

/// Some rows to be looked at once more, whether they are held then or not: 8 bytes a row, beside what is held anyway.
#[derive(Debug)]
pub(crate) struct PinnedRows {
    batches: Vec<RecordBatch>,
    /// The batch and the row in it.
    places: Vec<(u32, u32)>,
}

/// Where a held row is: its chunk and its row in it.
pub(crate) type HeldPlace = (usize, usize);

impl HeldRows {
    /// No rows yet, of a stream of whose columns those that are true in `needed` are read again.
    pub(crate) fn new(stream: &Stream, mut needed: Vec<bool>) -> HeldRows {
        needed[stream.time_column] = true;
        HeldRows {
            schema: nullable(&stream.schema()),
            time_column: stream.time_column,
            nulls: vec![None; needed.len()],
            needed,
            chunks: Vec::new(),
            from_us: i64::MIN,
            bytes: 0,
        }
    }

    /// The event time in microseconds from which on all used rows are held.
    pub(crate) fn complete_from_us(&self) -> i64 {
        self.from_us
    }

    /// Bytes that go when no row before an instant changes any more.
    pub(crate) fn bytes_before(&self, from_us: i64) -> usize {
        self.chunks.iter().filter(|chunk| chunk.greatest_us < from_us).map(|chunk| chunk.bytes).sum()
    }

    /// No row before this instant changes any more.
    pub(crate) fn drop_before(&mut self, from_us: i64) {
        if from_us <= self.from_us {
            return;
        }
        self.from_us = from_us;
        self.chunks.retain(|chunk| chunk.greatest_us >= from_us);
        self.bytes = self.chunks.iter().map(|chunk| chunk.bytes).sum();
    }

    /// Holds those of the rows that may change.
    pub(crate) fn hold(&mut self, rows: UsedRows<'_>) -> Result<(), ArrowError> {
        let times = rows.batch.column(self.time_column).as_primitive::<TimestampMicrosecondType>();
        let is_used = |row: usize| rows.used.is_none_or(|used| used.is_valid(row) && used.value(row));
        let kept = (0..times.len()).filter(|row| is_used(*row) && times.value(*row) >= self.from_us);
        let kept: Vec<usize> = kept.collect();
        let moments = || kept.iter().map(|row| times.value(*row));
        let (Some(least_us), Some(greatest_us)) = (moments().min(), moments().max()) else { return Ok(()) };
        let taken = UInt32Array::from_iter_values(kept.iter().map(|row| *row as u32));
        let are_all = kept.len() == times.len();
        let columns = (0..self.needed.len()).map(|column| match self.needed[column] {
            true => own(rows.batch.column(column), &taken, are_all),
            false => Ok(self.nulls_of(column, kept.len())),
        });
        let columns = columns.collect::<Result<_, _>>()?;
        let hashes = rows.hashes.iter().map(|all| kept.iter().map(|row| all.get(*row).copied().unwrap_or(NO_KEY)));
        let mut chunk = Chunk {
            partition: rows.partition,
            batch: RecordBatch::try_new(self.schema.clone(), columns)?,
            offsets: kept.iter().map(|row| rows.offsets[*row]).collect(),
            hashes: hashes.map(Iterator::collect).collect(),
            least_us,
            greatest_us,
            bytes: 0,
        };
        chunk.count_bytes(&self.needed);
        self.bytes += chunk.bytes;
        self.chunks.push(chunk);
        self.put_together()
    }

    /// Puts the last chunks together while they are of like size: each row is copied a logarithmic number of times.
    fn put_together(&mut self) -> Result<(), ArrowError> {
        while let [.., before, last] = &self.chunks[..] {
            let (some, more) = (before.rows(), last.rows());
            if some > 2 * more || some + more > CHUNK_ROWS_MAX || before.partition != last.partition {
                break;
            }
            let at = self.chunks.len() - 2;
            let places: Vec<HeldPlace> =
                (0..some).map(|row| (at, row)).chain((0..more).map(|row| (at + 1, row))).collect();
            let batch = self.gather(&places)?;
            let (Some(last), Some(mut before)) = (self.chunks.pop(), self.chunks.pop()) else { break };
            self.bytes -= last.bytes + before.bytes;
            before.batch = batch;
            before.offsets.extend(last.offsets);
            before.hashes.iter_mut().zip(last.hashes).for_each(|(own, more)| own.extend(more));
            before.least_us = before.least_us.min(last.least_us);
            before.greatest_us = before.greatest_us.max(last.greatest_us);
            before.count_bytes(&self.needed);
            self.bytes += before.bytes;
            self.chunks.push(before);
        }
        Ok(())
    }

    /// The rows that some of these changes may reach by one of the joins, in steps of at most `rows_max`: those of a step
    /// came to one partition.
    pub(crate) fn touched(&self, changes: &VersionChanges, joins: &[usize], rows_max: usize) -> Vec<Vec<HeldPlace>> {
        let keys = ChangedKeys::new(changes);
        let mut by_partition: BTreeMap<u32, Vec<HeldPlace>> = BTreeMap::new();
        for (at, chunk) in self.chunks.iter().enumerate().filter(|(_, chunk)| keys.reaches(chunk.greatest_us)) {
            let times = chunk.batch.column(self.time_column).as_primitive::<TimestampMicrosecondType>().values();
            let is_touched = |row: &usize| {
                let by = |join: &usize| keys.touches(chunk.hashes[*join][*row], times[*row]);
                times[*row] >= self.from_us && joins.iter().any(by)
            };
            let rows = (0..chunk.rows()).filter(is_touched).map(|row| (at, row));
            by_partition.entry(chunk.partition).or_default().extend(rows);
        }
        by_partition.values().flat_map(|places| places.chunks(rows_max)).map(<[HeldPlace]>::to_vec).collect()
    }

    /// The rows at these places as one batch.
    pub(crate) fn gather(&mut self, places: &[HeldPlace]) -> Result<RecordBatch, ArrowError> {
        let (chunks, indices) = renumbered(places);
        let columns = (0..self.needed.len()).map(|column| match self.needed[column] {
            true => {
                let arrays = chunks.iter().map(|chunk| self.chunks[*chunk].batch.column(column).as_ref());
                interleave(&arrays.collect::<Vec<&dyn Array>>(), &indices)
            }
            false => Ok(self.nulls_of(column, places.len())),
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    /// The rows at these places for later.
    pub(crate) fn pin(&self, places: &[HeldPlace]) -> PinnedRows {
        let (chunks, places) = renumbered(places);
        PinnedRows {
            places: places.into_iter().map(|(chunk, row)| (chunk as u32, row as u32)).collect(),
            batches: chunks.iter().map(|chunk| self.chunks[*chunk].batch.clone()).collect(),
        }
    }

    /// The partition and the offsets of rows of one partition.
    pub(crate) fn offsets(&self, places: &[HeldPlace]) -> (u32, Vec<u64>) {
        let partition = places.first().map_or(0, |(chunk, _)| self.chunks[*chunk].partition);
        (partition, places.iter().map(|(chunk, row)| self.chunks[*chunk].offsets[*row]).collect())
    }

    /// Says which keys rows ask for now, of the joins that were evaluated.
    pub(crate) fn set_hashes(&mut self, places: &[HeldPlace], hashes: &[Vec<u32>]) {
        for (join, hashes) in hashes.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty()) {
            for ((chunk, row), hash) in places.iter().zip(hashes) {
                self.chunks[*chunk].hashes[join][*row] = *hash;
            }
        }
    }

    /// NULLs of a column's type.
    fn nulls_of(&mut self, column: usize, rows: usize) -> ArrayRef {
        let data_type = self.schema.field(column).data_type();
        let known = self.nulls[column].take().filter(|nulls| nulls.len() >= rows);
        let nulls = known.unwrap_or_else(|| new_null_array(data_type, rows.max(CHUNK_ROWS_MAX)));
        let slice = nulls.slice(0, rows);
        self.nulls[column] = Some(nulls);
        slice
    }

    /// How many rows there are; some of them change no more.
    pub(crate) fn rows(&self) -> usize {
        self.chunks.iter().map(Chunk::rows).sum()
    }

    /// The least event time of them, in microseconds.
    pub(crate) fn least_us(&self) -> Option<i64> {
        self.chunks.iter().map(|chunk| chunk.least_us.max(self.from_us)).min()
    }

    /// For each partition that has rows here, their least offset.
    pub(crate) fn least_offsets(&self) -> BTreeMap<u32, u64> {
        let mut least = BTreeMap::new();
        for chunk in &self.chunks {
            let times = chunk.batch.column(self.time_column).as_primitive::<TimestampMicrosecondType>().values();
            let held = chunk.offsets.iter().zip(times).filter(|(_, time_us)| **time_us >= self.from_us);
            if let Some(offset) = held.map(|(offset, _)| *offset).min() {
                let known = least.entry(chunk.partition).or_insert(offset);
                *known = offset.min(*known);
            }
        }
        least
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let nulls: usize = self.nulls.iter().flatten().map(|nulls| nulls.get_array_memory_size()).sum();
        self.bytes + nulls + self.chunks.capacity() * size_of::<Chunk>()
    }
}

impl PinnedRows {
    /// The rows as one batch.
    pub(crate) fn gather(&self) -> Result<RecordBatch, ArrowError> {
        let places: Vec<(usize, usize)> =
            self.places.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        interleave_record_batch(&self.batches.iter().collect::<Vec<_>>(), &places)
    }
}

impl Chunk {
    fn rows(&self) -> usize {
        self.offsets.len()
    }

    fn count_bytes(&mut self, needed: &[bool]) {
        let columns = self.batch.columns().iter().zip(needed).filter(|(_, needed)| **needed);
        let columns: usize = columns.map(|(column, _)| column.get_buffer_memory_size()).sum();
        let hashes: usize = self.hashes.iter().map(|hashes| hashes.capacity() * size_of::<u32>()).sum();
        let offsets = self.offsets.capacity() * size_of::<u64>();
        self.bytes = columns + needed.len() * COLUMN_BYTES + hashes + offsets;
    }
}

/// Rows of an array. If these are all it is the array itself, unless that is a small part of what it keeps alive.
fn own(array: &ArrayRef, rows: &UInt32Array, are_all: bool) -> Result<ArrayRef, ArrowError> {
    if are_all && array.get_buffer_memory_size() <= 2 * array.to_data().get_slice_memory_size()? + COLUMN_BYTES {
        return Ok(array.clone());
    }
    take(array, rows, None)
}

/// The chunks of places, each once and ascending, and the places with their chunks numbered so.
fn renumbered(places: &[HeldPlace]) -> (Vec<usize>, Vec<HeldPlace>) {
    let mut chunks: Vec<usize> = places.iter().map(|(chunk, _)| *chunk).collect();
    chunks.sort_unstable();
    chunks.dedup();
    let number = |chunk: &usize| chunks.binary_search(chunk).expect("the chunk is one of its places'");
    let numbered = places.iter().map(|(chunk, row)| (number(chunk), *row)).collect();
    (chunks, numbered)
}
