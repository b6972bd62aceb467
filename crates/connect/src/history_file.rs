//! The used events of sealed segments as Parquet, for training and for anyone's tools.
//! ```text
//!   _partition INTEGER │ _offset BIGINT │ _arrived TIMESTAMP │ the stream's columns        by _offset, ascending
//!   (two underscores where the stream has a column of that name)
//!   footer: … `asof.verdicts` = how all rows of these offsets were judged, the used ones and the others
//!             `asof.history` = `version=1 xxh3-64=<16 hexadecimal digits>`
//! ```
//! The checksum is of the whole file with zeros for its own digits, and is looked at before anything else is read: Parquet
//! itself would not notice a flipped bit in a column of numbers. The file takes its name only when it is whole and synced.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit as ArrowUnit, TimestampMicrosecondType,
};
use asof_definition::Stream;
use asof_disk::{Disk, SyncSite, write_whole};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;

use crate::data_folder::{HistoryPlace, history_folder, history_name};
use crate::disk_chunks::DiskChunks;
use crate::error::ConnectError;
use crate::format::Format;
use crate::history_checksum::{self, check_whole};
use crate::parquet_rows::guarded;
use crate::stored_columns::stored_columns;
use crate::stored_events::UsedEvents;
use crate::stored_stream::StoredStream;
use crate::table_writer::parquet_properties;
use crate::verdict_counts::VerdictCounts;

/// The syncs by which a Parquet file becomes durable: its folder's, and its own.
pub const HISTORY_SYNC_SITES: [SyncSite; 2] = [FOLDER_SITE, FILE_SITE];
const FOLDER_SITE: SyncSite = SyncSite("history.folder");
const FILE_SITE: SyncSite = SyncSite("history.file");
/// The columns before the stream's.
const PLACES: [&str; 3] = ["_partition", "_offset", "_arrived"];
/// The footer's key of how the rows were judged that the file covers.
const VERDICTS_KEY: &str = "asof.verdicts";
/// The most rows of a row group: a reader's thread has work for some milliseconds, and a column chunk fits a cache.
const GROUP_ROWS_MAX: usize = 1 << 17;
/// Rows decoded at a time.
const DECODED_ROWS: usize = 16_384;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenHistory {
    /// Where it lies.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// How many used events it has.
    pub events: u64,
}

/// Writes the used events of `offsets`, which are whole sealed segments of a stream's log. A file that is there already is
/// replaced by the same. The file is in memory while it is written: about as much as its segments. `between` is called
/// between two frames with the offset that comes next: who is in no hurry waits there.
pub fn write_history_file(
    disk: &Arc<dyn Disk>,
    data_folder: &Path,
    stream: &Stream,
    partition: u32,
    offsets: Range<u64>,
    between: &mut dyn FnMut(u64),
) -> Result<WrittenHistory, ConnectError> {
    let folder = history_folder(data_folder, &stream.name, partition);
    let path = folder.join(history_name(&offsets));
    let encode_error = |error: ParquetError| ConnectError::Encode {
        path: path.clone(),
        format: Format::Parquet,
        detail: error.to_string(),
    };
    let mut frames = StoredStream::open(disk.clone(), data_folder, stream, partition, offsets.start)?;
    let mut writer = HistoryWriter::new(&stream.schema(), partition).map_err(encode_error)?;
    let mut position = offsets.start;
    while position < offsets.end {
        let frame = frames.next_frame()?;
        let Some(frame) = frame.filter(|frame| frame.first_offset == position && frame.end_offset() <= offsets.end)
        else {
            let stream = stream.name.clone();
            return Err(ConnectError::StoredGap { stream, partition, offsets: position..offsets.end });
        };
        position = frame.end_offset();
        writer.write(&UsedEvents::of_frame(&frame)).map_err(encode_error)?;
        between(position);
    }
    let (bytes, events) = writer.finish().map_err(encode_error)?;
    let write_error = |source| ConnectError::Write { path: path.clone(), source };
    disk.make_folder(&folder, FOLDER_SITE).map_err(write_error)?;
    write_whole(&**disk, &path, &bytes, FILE_SITE).map_err(write_error)?;
    Ok(WrittenHistory { bytes: bytes.len() as u64, events, path })
}

/// A Parquet file that grows in memory.
struct HistoryWriter {
    schema: SchemaRef,
    partition: i32,
    writer: ArrowWriter<Vec<u8>>,
    verdicts: VerdictCounts,
}

impl HistoryWriter {
    fn new(events: &Schema, partition: u32) -> Result<HistoryWriter, ParquetError> {
        let schema = Arc::new(file_schema(events));
        let partition = i32::try_from(partition).map_err(|_| unwritable(&format!("partition {partition}")))?;
        let properties = parquet_properties(&schema)
            .into_builder()
            .set_compression(Compression::LZ4_RAW)
            .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(HistoryWriter { schema, partition, writer, verdicts: VerdictCounts::default() })
    }

    fn write(&mut self, used: &UsedEvents) -> Result<(), ParquetError> {
        let rows = used.offsets.len();
        let mut offsets = Vec::with_capacity(rows);
        for offset in &used.offsets {
            offsets.push(i64::try_from(*offset).map_err(|_| unwritable(&format!("offset {offset}")))?);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_value(self.partition, rows)),
            Arc::new(Int64Array::from(offsets)),
            Arc::new(TimestampMicrosecondArray::new(used.arrived_us.values().clone(), None)),
        ];
        columns.extend(used.events.columns().iter().cloned());
        self.verdicts.add(used.verdicts);
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn finish(mut self) -> Result<(Vec<u8>, u64), ParquetError> {
        for (key, value) in
            [(VERDICTS_KEY, self.verdicts.text()), (history_checksum::KEY, history_checksum::unsealed())]
        {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let mut bytes = self.writer.into_inner()?;
        history_checksum::seal(&mut bytes).ok_or_else(|| unwritable("no place for the checksum"))?;
        Ok((bytes, self.verdicts.used))
    }
}

fn unwritable(what: &str) -> ParquetError {
    ParquetError::General(format!("this cannot be written: {what}"))
}

fn file_schema(events: &Schema) -> Schema {
    let types = [DataType::Int32, DataType::Int64, DataType::Timestamp(ArrowUnit::Microsecond, None)];
    let places = PLACES.into_iter().zip(types);
    let places = places.map(|(name, data_type)| Arc::new(Field::new(free_name(name, events), data_type, false)));
    Schema::new(places.chain(events.fields().iter().cloned()).collect::<Vec<_>>())
}

/// `name`, with as many underscores in front as it takes to be no column of the stream: Parquet and its readers find
/// columns by name, and some do not tell cases apart.
fn free_name(name: &str, events: &Schema) -> String {
    let mut free = name.to_owned();
    while events.fields().iter().any(|field| field.name().eq_ignore_ascii_case(&free)) {
        free.insert(0, '_');
    }
    free
}

/// A Parquet file of a partition, found whole.
pub(crate) struct HistoryFile {
    place: HistoryPlace,
    schema: SchemaRef,
    batches: ParquetRecordBatchReader,
    /// Given out with the first events.
    verdicts: VerdictCounts,
}

impl std::fmt::Debug for HistoryFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HistoryFile").field("place", &self.place).finish_non_exhaustive()
    }
}

impl HistoryFile {
    /// Opens a file for the columns of `schema`; its other columns are not read.
    pub(crate) fn open(disk: &dyn Disk, place: HistoryPlace, schema: &SchemaRef) -> Result<HistoryFile, ConnectError> {
        let path = &place.path;
        let read_error = |source| ConnectError::Read { path: path.clone(), source };
        let file = disk.open(path).map_err(read_error)?;
        check_whole(path, &*file)?;
        let chunks = DiskChunks::new(file).map_err(read_error)?;
        let builder = guarded(path, || ParquetRecordBatchReaderBuilder::try_new(chunks))?;
        let found = builder.schema().fields();
        let is_place = |(field, name): (&Arc<Field>, &str)| {
            field.name().starts_with('_') && field.name().trim_start_matches('_') == name.trim_start_matches('_')
        };
        if found.len() < PLACES.len() || !found.iter().zip(PLACES).all(is_place) {
            return Err(corrupt(path, "it does not begin with the columns of places"));
        }
        let pairs = builder.metadata().file_metadata().key_value_metadata().into_iter().flatten();
        let verdicts = pairs.filter(|pair| pair.key == VERDICTS_KEY).find_map(|pair| pair.value.as_deref());
        let verdicts = verdicts.and_then(VerdictCounts::read);
        let verdicts = verdicts.ok_or_else(|| corrupt(path, "it does not tell how its rows were judged"))?;
        let is_wanted =
            |place: &usize| *place < PLACES.len() || schema.column_with_name(found[*place].name()).is_some();
        let columns: Vec<usize> = (0..found.len()).filter(is_wanted).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        let batches = guarded(path, || builder.with_batch_size(DECODED_ROWS).with_projection(mask).build())?;
        Ok(HistoryFile { place, schema: schema.clone(), batches, verdicts })
    }

    /// The offset behind the last that it covers.
    pub(crate) fn end_offset(&self) -> u64 {
        self.place.end_offset
    }

    /// The next events, `None` behind the last. A file without used events gives none of them once, with its verdicts.
    pub(crate) fn next_events(&mut self) -> Result<Option<UsedEvents>, ConnectError> {
        let path = &self.place.path;
        let verdicts = std::mem::take(&mut self.verdicts);
        let Some(batch) = guarded(path, || self.batches.next().transpose())? else {
            let events = RecordBatch::new_empty(self.schema.clone());
            let nothing = UsedEvents { offsets: Vec::new(), arrived_us: Vec::<i64>::new().into(), events, verdicts };
            return Ok((verdicts != VerdictCounts::default()).then_some(nothing));
        };
        let offsets = batch.column(1).as_primitive_opt::<Int64Type>();
        let arrived = batch.column(2).as_primitive_opt::<TimestampMicrosecondType>();
        let (Some(offsets), Some(arrived)) = (offsets, arrived) else {
            return Err(corrupt(path, "its columns of places are of other types"));
        };
        let offsets: Vec<u64> = offsets.values().iter().map(|offset| offset.cast_unsigned()).collect();
        let covered = self.place.first_offset..self.place.end_offset;
        if !offsets.is_sorted() || offsets.iter().any(|offset| !covered.contains(offset)) {
            return Err(corrupt(path, "its offsets are not those of its name"));
        }
        let columns: Vec<usize> = (PLACES.len()..batch.num_columns()).collect();
        let events = batch.project(&columns).map_err(|error| corrupt(path, &error.to_string()))?;
        let events = stored_columns(&events, &self.schema)?;
        let arrived_us = Int64Array::new(arrived.values().clone(), None);
        Ok(Some(UsedEvents { offsets, arrived_us, events, verdicts }))
    }
}

fn corrupt(path: &Path, detail: &str) -> ConnectError {
    ConnectError::Corrupt { path: path.to_owned(), format: Format::Parquet, detail: detail.to_owned() }
}
