//! What one frame of the log holds: the judgement of a group of arrivals, the used events, the dead letters, the producers.
//! ```text
//!   version u8 │ flags u8 │ 0 u16 │ rows u32 │ dead letters u32 │ producers u32
//!   verdicts: u8 × rows
//!   arrival times: i64 × rows                     if flag 1: a history that was loaded
//!   watermark:     i64                            if flag 4: rows that were made: of windows, and which had closed; scored
//!   origin:        see `origin.rs`                if flag 8: rows that were read from a topic, or scored
//!   dead letters:  row u32, flags u8, reason, [view], detail, raw
//!   producers:     key, digest u64, rows, accepted, duplicates, late, rejected: u32 each
//!   zeros up to a multiple of 8
//!   used events:   an Arrow IPC stream, to the end
//! ```
//! Integers are little-endian, a text is its length (u32) and its bytes. The frame around it has the checksum, the first
//! offset and the arrival time of the group. Every row of the group has a verdict and so an offset; used are the rows whose
//! verdict says so, in their order. Any bytes decode to a batch or an error, in memory that their length justifies.

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::arrow_stream::{ArrowStream, ArrowStreamError};
use crate::byte_reader::{ByteReader, Malformed};
use crate::error::ConnectError;
use crate::origin::Origin;
use crate::stored_columns::stored_columns;

/// The version that is written, and the only one that there is.
pub const STORED_BATCH_VERSION: u8 = 1;
/// The used events begin at a multiple of this, and so do their buffers: what is read in place is aligned.
const ALIGNMENT: usize = 8;
/// Flag of a batch: each row has an arrival time of its own.
const HAS_ARRIVED: u8 = 1;
/// Flag of a batch: those arrival times are taken from event times.
const ARRIVED_IS_IMPUTED: u8 = 2;
/// Flag of a batch: it says by which watermark its rows were made.
const HAS_WATERMARK: u8 = 4;
/// Flag of a batch: it says where its rows come from.
const HAS_ORIGIN: u8 = 8;
/// Flag of a dead letter: it is one of a view.
const HAS_VIEW: u8 = 1;
/// Flag of a dead letter: its raw text is cut.
const RAW_IS_CUT: u8 = 2;
/// The least that a dead letter takes: row, flags and three lengths.
const DEAD_LETTER_BYTES_MIN: usize = 4 + 1 + 3 * 4;
/// The least that a producer takes: a length, the digest and five counts.
const PRODUCER_BYTES_MIN: usize = 4 + 8 + 5 * 4;

/// What was decided about a row when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StoredVerdict {
    /// It is an event of the stream.
    Used = 0,
    /// An event of its primary key was used before.
    Duplicate = 1,
    /// Its event time lay before the watermark.
    Late = 2,
    /// It could not be read.
    Unreadable = 3,
    /// A NOT NULL column had no value.
    NotNull = 4,
    /// A CHECK did not hold.
    Check = 5,
    /// Its event time lay too far beyond its arrival.
    Future = 6,
    /// It is no event: the clock alone has moved the watermark of a stream of windows.
    Clock = 7,
}

impl StoredVerdict {
    const ALL: [StoredVerdict; 8] = [
        StoredVerdict::Used,
        StoredVerdict::Duplicate,
        StoredVerdict::Late,
        StoredVerdict::Unreadable,
        StoredVerdict::NotNull,
        StoredVerdict::Check,
        StoredVerdict::Future,
        StoredVerdict::Clock,
    ];

    /// The number that stands for it on disk.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What a number stands for.
    pub fn from_code(code: u8) -> Option<StoredVerdict> {
        StoredVerdict::ALL.get(usize::from(code)).copied()
    }
}

/// An event, or its part in one view, that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its row in the batch, from 0.
    pub row: u32,
    /// The kind of reason, in a word.
    pub reason: String,
    /// The view or derived stream that set it aside; `None`: it is no event of the stream.
    pub view: Option<String>,
    /// What was expected and what was found.
    pub detail: String,
    /// The event as it was sent.
    pub raw: String,
    /// Whether the end of `raw` is missing.
    pub raw_is_cut: bool,
}

/// A request that can be told from a repetition of itself, and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Its key, given by the producer.
    pub key: String,
    /// What its body hashes to.
    pub digest: u64,
    /// How many rows it had.
    pub rows: u32,
    /// Of these, used.
    pub accepted: u32,
    /// Of these, duplicates.
    pub duplicates: u32,
    /// Of these, late.
    pub late: u32,
    /// Of these, rejected.
    pub rejected: u32,
}

/// A group of arrivals of one partition as the log keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredBatch {
    /// For each row what was decided.
    pub verdicts: Vec<StoredVerdict>,
    /// For each row its arrival time in microseconds, where it is not that of the group.
    pub arrived: Option<Int64Array>,
    /// Whether `arrived` was not known and is taken from the event times.
    pub arrived_is_imputed: bool,
    /// Of rows of windows: all windows had closed that ended before this instant, in microseconds, these among them. Of scored
    /// rows the watermark of those before.
    pub watermark_us: Option<i64>,
    /// Of rows that were read from a topic, where they stand there; of scored rows, where those before do.
    pub origin: Option<Origin>,
    /// The used rows, all columns of the stream.
    pub used: RecordBatch,
    /// In the order of their rows.
    pub dead: Vec<DeadLetter>,
    /// In the order in which their rows stand in the batch.
    pub producers: Vec<ProducerBatch>,
}

impl StoredBatch {
    /// Appends the batch to `out`, which may be used again and again.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ConnectError> {
        let start = out.len();
        self.check().map_err(|detail| unstorable(&detail))?;
        let has_arrived = if self.arrived.is_some() { HAS_ARRIVED } else { 0 };
        let is_imputed = if self.arrived_is_imputed { ARRIVED_IS_IMPUTED } else { 0 };
        let has_watermark = if self.watermark_us.is_some() { HAS_WATERMARK } else { 0 };
        let has_origin = if self.origin.is_some() { HAS_ORIGIN } else { 0 };
        out.extend([STORED_BATCH_VERSION, has_arrived | is_imputed | has_watermark | has_origin, 0, 0]);
        for count in [self.verdicts.len(), self.dead.len(), self.producers.len()] {
            put_length(count, out)?;
        }
        out.extend(self.verdicts.iter().map(|verdict| verdict.code()));
        for time in self.arrived.iter().flat_map(|arrived| arrived.values()) {
            out.extend(time.to_le_bytes());
        }
        out.extend(self.watermark_us.iter().flat_map(|watermark_us| watermark_us.to_le_bytes()));
        self.origin.iter().for_each(|origin| origin.encode(out));
        for letter in &self.dead {
            letter.encode(out)?;
        }
        for producer in &self.producers {
            producer.encode(out)?;
        }
        let padding = (out.len() - start).next_multiple_of(ALIGNMENT) - (out.len() - start);
        out.resize(out.len() + padding, 0);
        write_used(&self.used, out).map_err(|error| unstorable(&error.to_string()))
    }

    /// What decoding refuses is not written.
    fn check(&self) -> Result<(), String> {
        let used = self.verdicts.iter().filter(|verdict| **verdict == StoredVerdict::Used).count();
        if used != self.used.num_rows() {
            return Err(format!("{used} verdicts say used, and {} rows are", self.used.num_rows()));
        }
        let has_each = |arrived: &Int64Array| arrived.len() == self.verdicts.len() && arrived.null_count() == 0;
        if !self.arrived.as_ref().is_none_or(has_each) {
            return Err("not each row has an arrival time".to_owned());
        }
        let is_look = self.verdicts.iter().all(|verdict| *verdict == StoredVerdict::Clock);
        let has_places = |origin: &Origin| origin.rows() == self.verdicts.len() || is_look && origin.rows() == 0;
        if !self.origin.as_ref().is_none_or(has_places) {
            return Err("not each row has a place where it comes from".to_owned());
        }
        if self.dead.iter().any(|letter| letter.row as usize >= self.verdicts.len()) {
            return Err("a dead letter is of no row".to_owned());
        }
        Ok(())
    }

    /// Reads what [`StoredBatch::encode`] wrote, for a stream whose columns are `schema` now: a column that was not there
    /// then is NULL, which one that is NOT NULL cannot be; one that is not there any more is left out.
    pub fn decode(bytes: &[u8], schema: &SchemaRef) -> Result<StoredBatch, ConnectError> {
        let head = StoredHead::decode(bytes)?;
        let used = read_used(&bytes[head.used_at..], schema)?;
        let StoredHead { verdicts, arrived, arrived_is_imputed, watermark_us, origin, dead, producers, .. } = head;
        let batch = StoredBatch { verdicts, arrived, arrived_is_imputed, watermark_us, origin, used, dead, producers };
        batch.check().map_err(|detail| damaged(&detail))?;
        Ok(batch)
    }
}

/// All of a batch but the used events: what the counters, dead letters and producers of a stream need.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredHead {
    /// For each row what was decided.
    pub verdicts: Vec<StoredVerdict>,
    /// See [`StoredBatch::arrived`].
    pub arrived: Option<Int64Array>,
    /// See [`StoredBatch::arrived_is_imputed`].
    pub arrived_is_imputed: bool,
    /// See [`StoredBatch::watermark_us`].
    pub watermark_us: Option<i64>,
    /// See [`StoredBatch::origin`].
    pub origin: Option<Origin>,
    /// In the order of their rows.
    pub dead: Vec<DeadLetter>,
    /// In the order in which their rows stand in the batch.
    pub producers: Vec<ProducerBatch>,
    /// Where the used events begin.
    used_at: usize,
}

impl StoredHead {
    /// Reads it from the bytes of a whole batch.
    pub fn decode(bytes: &[u8]) -> Result<StoredHead, ConnectError> {
        match bytes.first() {
            Some(&STORED_BATCH_VERSION) => {}
            Some(&found) => return Err(ConnectError::StoredVersion { found, read: STORED_BATCH_VERSION }),
            None => return Err(damaged("it is empty")),
        }
        StoredHead::read(&mut ByteReader::new(bytes)).map_err(|Malformed(detail)| damaged(&detail))
    }

    fn read(from: &mut ByteReader<'_>) -> Result<StoredHead, Malformed> {
        let [_version, flags, zeros @ ..] = from.array::<4>()?;
        if flags & !(HAS_ARRIVED | ARRIVED_IS_IMPUTED | HAS_WATERMARK | HAS_ORIGIN) != 0 || zeros != [0; 2] {
            return Err(Malformed(format!("unknown flags {flags}, {zeros:?}")));
        }
        let [rows, dead, producers] = [from.u32()?, from.u32()?, from.u32()?].map(|count| count as usize);
        let verdict =
            |code: &u8| StoredVerdict::from_code(*code).ok_or_else(|| Malformed(format!("unknown verdict {code}")));
        let verdicts = from.take(rows)?.iter().map(verdict).collect::<Result<Vec<_>, _>>()?;
        let arrived = match flags & HAS_ARRIVED {
            0 => None,
            _ => Some(read_times(from, rows)?),
        };
        let watermark_us = match flags & HAS_WATERMARK {
            0 => None,
            _ => Some(i64::from_le_bytes(from.array()?)),
        };
        let origin = match flags & HAS_ORIGIN {
            0 => None,
            _ => Some(Origin::read(from)?),
        };
        let dead = from.list(dead, DEAD_LETTER_BYTES_MIN, DeadLetter::read)?;
        let producers = from.list(producers, PRODUCER_BYTES_MIN, ProducerBatch::read)?;
        let padding = from.at().next_multiple_of(ALIGNMENT) - from.at();
        if from.take(padding)?.iter().any(|byte| *byte != 0) {
            return Err(Malformed("its padding is not zeros".to_owned()));
        }
        let arrived_is_imputed = flags & ARRIVED_IS_IMPUTED != 0;
        let used_at = from.at();
        Ok(StoredHead { verdicts, arrived, arrived_is_imputed, watermark_us, origin, dead, producers, used_at })
    }
}

impl DeadLetter {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), ConnectError> {
        let view = if self.view.is_some() { HAS_VIEW } else { 0 };
        let cut = if self.raw_is_cut { RAW_IS_CUT } else { 0 };
        out.extend(self.row.to_le_bytes());
        out.push(view | cut);
        put_text(&self.reason, out)?;
        if let Some(view) = &self.view {
            put_text(view, out)?;
        }
        put_text(&self.detail, out)?;
        put_text(&self.raw, out)
    }

    fn read(from: &mut ByteReader<'_>) -> Result<DeadLetter, Malformed> {
        let (row, [flags]) = (from.u32()?, from.array::<1>()?);
        if flags & !(HAS_VIEW | RAW_IS_CUT) != 0 {
            return Err(Malformed(format!("unknown flags {flags} of a dead letter")));
        }
        let reason = from.text()?.to_owned();
        let view = if flags & HAS_VIEW == 0 { None } else { Some(from.text()?.to_owned()) };
        let (detail, raw) = (from.text()?.to_owned(), from.text()?.to_owned());
        Ok(DeadLetter { row, reason, view, detail, raw, raw_is_cut: flags & RAW_IS_CUT != 0 })
    }
}

impl ProducerBatch {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), ConnectError> {
        put_text(&self.key, out)?;
        out.extend(self.digest.to_le_bytes());
        for count in [self.rows, self.accepted, self.duplicates, self.late, self.rejected] {
            out.extend(count.to_le_bytes());
        }
        Ok(())
    }

    fn read(from: &mut ByteReader<'_>) -> Result<ProducerBatch, Malformed> {
        let key = from.text()?.to_owned();
        let digest = u64::from_le_bytes(from.array()?);
        let [rows, accepted, duplicates] = [from.u32()?, from.u32()?, from.u32()?];
        let [late, rejected] = [from.u32()?, from.u32()?];
        Ok(ProducerBatch { key, digest, rows, accepted, duplicates, late, rejected })
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) -> Result<(), ConnectError> {
    let length = u32::try_from(length).map_err(|_| unstorable("a part is longer than 4 GiB"))?;
    out.extend(length.to_le_bytes());
    Ok(())
}

fn put_text(text: &str, out: &mut Vec<u8>) -> Result<(), ConnectError> {
    put_length(text.len(), out)?;
    out.extend(text.as_bytes());
    Ok(())
}

fn read_times(from: &mut ByteReader<'_>, rows: usize) -> Result<Int64Array, Malformed> {
    let bytes = from.take(rows.saturating_mul(8))?;
    let times = bytes.chunks_exact(8).map(|time| i64::from_le_bytes(time.try_into().expect("a chunk has eight bytes")));
    Ok(Int64Array::new(ScalarBuffer::from_iter(times), None))
}

/// One batch, written buffer by buffer without a copy in between.
fn write_used(used: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
    let mut writer = StreamWriter::try_new_with_options(out, used.schema_ref(), options)?;
    if used.num_rows() > 0 {
        writer.write(used)?;
    }
    writer.finish()
}

fn read_used(bytes: &[u8], schema: &SchemaRef) -> Result<RecordBatch, ConnectError> {
    let refused = |error| match error {
        ArrowStreamError::Damaged(detail) => damaged(&format!("its used events: {detail}")),
        ArrowStreamError::TooManyRows => damaged("its used events have more rows than there are"),
    };
    // Copied once to where all buffers are aligned, then read in place.
    let mut stream = ArrowStream::open(Buffer::from(bytes), u32::MAX as usize).map_err(refused)?;
    let stored = stream.schema().clone();
    let all: Vec<usize> = (0..stored.fields().len()).collect();
    let batch = stream.next_batch(&all).map_err(refused)?.unwrap_or_else(|| RecordBatch::new_empty(stored));
    if stream.next_batch(&all).map_err(refused)?.is_some() {
        return Err(damaged("its used events are in two batches"));
    }
    stored_columns(&batch, schema)
}

fn damaged(detail: &str) -> ConnectError {
    ConnectError::StoredDamaged { detail: detail.to_owned() }
}

fn unstorable(detail: &str) -> ConnectError {
    ConnectError::Unstorable { detail: detail.to_owned() }
}
