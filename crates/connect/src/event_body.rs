//! The events of one request, decoded by the rules that files are read by.
//! ```text
//!   bytes ─▶ rows told apart ─▶ columns of the stream, in batches of at most 65,536 rows
//!     └───────── kept, so that a row that is set aside can be shown as it was sent
//! ```
//! A row that cannot be read keeps its place as NULLs and is listed as unreadable; it never blocks the others. Only a body
//! whose rows cannot be told apart is an [`EventBodyError`]. Memory is a small multiple of the body: of text about the width
//! of the stream's row for each row, of Arrow what [`ArrowStream`](crate::arrow_stream) allows.
//! Read next: `json_body.rs`, `arrow_body.rs`.

use std::ops::Range;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit as ArrowUnit, TimestampMicrosecondType};
use asof_definition::Stream;
use bytes::Bytes;

use crate::arrow_body::read_arrow_body;
use crate::base64::write_base64;
use crate::batch_builder::Decoded;
use crate::error::ConnectError;
use crate::event_body_error::{BodyForm, EventBodyError};
use crate::json_body::read_json_body;
use crate::row_text::row_json;
use crate::time_unit::{TimeUnit, UnitCheck, UnitWitness};
use crate::wanted::{Wanted, WantedColumn};

const TIMESTAMP: DataType = DataType::Timestamp(ArrowUnit::Microsecond, None);
/// How much of an event that is set aside is kept, in bytes.
pub const DEAD_RAW_BYTES_MAX: usize = 64 << 10;

/// How large a body may be. Its bytes are counted before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// How many rows it may have.
    pub rows_max: usize,
}

/// The text of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    /// JSON as it was sent, or as it says what was sent; at most [`DEAD_RAW_BYTES_MAX`].
    pub text: String,
    /// Whether the end is missing.
    pub is_cut: bool,
}

/// The events of one request.
#[derive(Debug, Clone)]
pub struct EventBody {
    batches: Vec<Decoded>,
    rows: usize,
    sent: Sent,
    memory_bytes: usize,
}

/// What was sent, for [`EventBody::raw`].
#[derive(Debug, Clone)]
enum Sent {
    Text {
        bytes: Bytes,
        rows: Vec<RowPlace>,
    },
    /// Messages that are no text, of one batch.
    Binary {
        bytes: Bytes,
        rows: Vec<RowPlace>,
    },
    /// For each decoded batch the columns that were asked for, as they came.
    Arrow(Vec<RecordBatch>),
}

/// Where a row stands in its body: a row is at most 16 MiB, a body less than 4 GiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowPlace {
    start: u32,
    bytes: u32,
}

impl RowPlace {
    /// `None` beyond 4 GiB.
    pub(crate) fn new(place: &Range<usize>) -> Option<RowPlace> {
        Some(RowPlace { start: u32::try_from(place.start).ok()?, bytes: u32::try_from(place.len()).ok()? })
    }

    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.bytes as usize
    }
}

/// What is asked of a body: the columns of its stream.
#[derive(Debug)]
pub(crate) struct BodyColumns {
    pub(crate) schema: SchemaRef,
    pub(crate) names: Vec<String>,
    pub(crate) not_null: Vec<bool>,
    /// As declared. `None`: microseconds, checked to be no other unit by mistake.
    pub(crate) declared_unit: Option<TimeUnit>,
}

impl BodyColumns {
    /// The columns of a stream, and behind them an arrival column that is none of these.
    pub(crate) fn of(stream: &Stream, arrival_column: Option<&str>) -> Result<BodyColumns, EventBodyError> {
        let wanted = |column: &asof_definition::Column| WantedColumn {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
        };
        let declared_unit = stream.timestamp_unit.map(TimeUnit::from);
        let mut columns: Vec<WantedColumn> = stream.columns.iter().map(wanted).collect();
        let mut not_null: Vec<bool> = stream.columns.iter().map(|column| column.not_null).collect();
        if let Some(name) = arrival_column.filter(|name| stream.column_index(name).is_none()) {
            columns.push(WantedColumn { name: name.to_owned(), data_type: TIMESTAMP });
            not_null.push(false);
        }
        let names = columns.iter().map(|column| column.name.clone()).collect();
        let schema = Wanted { columns, time_unit: declared_unit }.schema().map_err(unsupported)?;
        Ok(BodyColumns { schema, names, not_null, declared_unit })
    }

    pub(crate) fn unit(&self) -> TimeUnit {
        self.declared_unit.unwrap_or(TimeUnit::Microsecond)
    }

    /// Whether plain integers of this column may be of another unit than they are read in.
    pub(crate) fn is_unit_doubtful(&self, column: usize) -> bool {
        self.declared_unit.is_none() && matches!(self.schema.field(column).data_type(), DataType::Timestamp(_, _))
    }

    /// Refuses the body if the first plain integers of a time column are all before 1980.
    pub(crate) fn check_units(&self, seen: &[UnitWitness]) -> Result<(), EventBodyError> {
        for (column, witness) in seen.iter().enumerate().filter(|(column, _)| self.is_unit_doubtful(*column)) {
            if let UnitCheck::Before1980 { example, suggested } = witness.check() {
                let column = self.names[column].clone();
                return Err(EventBodyError::BeforeYear1980 { column, example, suggested });
            }
        }
        Ok(())
    }
}

fn unsupported(error: ConnectError) -> EventBodyError {
    match error {
        ConnectError::UnsupportedType { column, declared } => EventBodyError::UnsupportedType { column, declared },
        other => unreachable!("a schema is refused for a column's type only: {other}"),
    }
}

impl EventBody {
    /// Reads a body for the columns of `stream`.
    pub fn read(
        bytes: Bytes,
        form: BodyForm,
        stream: &Stream,
        limits: BodyLimits,
    ) -> Result<EventBody, EventBodyError> {
        EventBody::read_columns(bytes, form, &BodyColumns::of(stream, None)?, limits)
    }

    /// Reads a body whose events tell in a column when they arrived: a TIMESTAMP column of the stream, or one beside its
    /// columns. Gives the arrival times in microseconds, NULL where there is none.
    pub fn read_with_arrivals(
        bytes: Bytes,
        form: BodyForm,
        stream: &Stream,
        arrival_column: &str,
        limits: BodyLimits,
    ) -> Result<(EventBody, Int64Array), EventBodyError> {
        let columns = BodyColumns::of(stream, Some(arrival_column))?;
        let place = columns.names.iter().position(|name| name == arrival_column).expect("it is one of the columns");
        if *columns.schema.field(place).data_type() != TIMESTAMP {
            let found = columns.schema.field(place).data_type().clone();
            return Err(EventBodyError::ColumnType { column: arrival_column.to_owned(), found, declared: TIMESTAMP });
        }
        let mut body = EventBody::read_columns(bytes, form, &columns, limits)?;
        let arrived: Int64Array = body.batches.iter().flat_map(|decoded| arrivals_of(&decoded.batch, place)).collect();
        if arrived.null_count() == body.rows && body.rows > 0 {
            return Err(EventBodyError::NoArrivals { column: arrival_column.to_owned() });
        }
        let own: Vec<usize> = (0..stream.columns.len()).collect();
        for decoded in &mut body.batches {
            decoded.batch = decoded.batch.project(&own).expect("the stream's columns come first");
        }
        Ok((body, arrived))
    }

    /// The events of messages, each of which stands at its place in `bytes`.
    pub(crate) fn of_messages(
        bytes: Bytes,
        is_text: bool,
        decoded: Decoded,
        places: &[Range<usize>],
    ) -> Result<EventBody, EventBodyError> {
        let too_long = || EventBodyError::Syntax { form: BodyForm::Json, detail: "it is longer than 4 GiB".to_owned() };
        let rows = places.iter().map(RowPlace::new).collect::<Option<Vec<RowPlace>>>().ok_or_else(too_long)?;
        let mut body = EventBody::of_text(bytes, vec![decoded], rows);
        if let (false, Sent::Text { bytes, rows }) = (is_text, &mut body.sent) {
            body.sent = Sent::Binary { bytes: std::mem::take(bytes), rows: std::mem::take(rows) };
        }
        Ok(body)
    }

    fn read_columns(
        bytes: Bytes,
        form: BodyForm,
        columns: &BodyColumns,
        limits: BodyLimits,
    ) -> Result<EventBody, EventBodyError> {
        match form {
            BodyForm::Json | BodyForm::Ndjson => {
                let body = read_json_body(&bytes, form, columns, limits.rows_max)?;
                Ok(EventBody::of_text(bytes, body.batches, body.places))
            }
            BodyForm::Arrow => {
                let body = read_arrow_body(&bytes, columns, limits.rows_max)?;
                Ok(EventBody::of_arrow(bytes.len(), body.batches, body.sent))
            }
        }
    }

    fn of_text(bytes: Bytes, batches: Vec<Decoded>, rows: Vec<RowPlace>) -> EventBody {
        let decoded: usize = batches.iter().map(|decoded| decoded.batch.get_array_memory_size()).sum();
        let places = rows.capacity() * size_of::<RowPlace>();
        let memory_bytes = bytes.len() + decoded + places + set_aside_bytes(&batches);
        EventBody { rows: rows.len(), batches, sent: Sent::Text { bytes, rows }, memory_bytes }
    }

    /// Arrays may be parts of the body or of each other: their own parts are counted, beside the body.
    fn of_arrow(body_bytes: usize, batches: Vec<Decoded>, sent: Vec<RecordBatch>) -> EventBody {
        let both = batches.iter().map(|decoded| &decoded.batch).chain(&sent);
        let memory_bytes = body_bytes + both.map(own_bytes).sum::<usize>() + set_aside_bytes(&batches);
        let rows = batches.iter().map(|decoded| decoded.batch.num_rows()).sum();
        EventBody { batches, rows, sent: Sent::Arrow(sent), memory_bytes }
    }

    /// The rows in their order, the unreadable ones among them.
    pub fn batches(&self) -> &[Decoded] {
        &self.batches
    }

    /// How many rows it has, unreadable ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// A row as it was sent. Rows count from 0 over the whole body.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn raw(&self, row: usize) -> RawRow {
        match &self.sent {
            Sent::Text { bytes, rows } => raw_row(&bytes[rows[row].range()]),
            Sent::Binary { bytes, rows } => {
                let decoded = &self.batches[0];
                match decoded.unreadable.binary_search_by_key(&row, |one| one.row) {
                    Ok(_) => raw_bytes(&bytes[rows[row].range()]),
                    // A readable row is written from what it was read as, which reads back the same.
                    Err(_) => raw_row(&row_json(&decoded.batch, row)),
                }
            }
            Sent::Arrow(sent) => {
                let batch = self.batches.partition_point(|decoded| decoded.first_row <= row as u64) - 1;
                let decoded = &self.batches[batch];
                let place = row - decoded.first_row as usize;
                // A readable row is written from what it was read as, which reads back the same.
                let is_unreadable = decoded.unreadable.binary_search_by_key(&place, |one| one.row).is_ok();
                let source = if is_unreadable { &sent[batch] } else { &decoded.batch };
                raw_row(&row_json(source, place))
            }
        }
    }

    /// About how much memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

fn arrivals_of(batch: &RecordBatch, place: usize) -> Vec<Option<i64>> {
    batch.column(place).as_primitive::<TimestampMicrosecondType>().iter().collect()
}

fn own_bytes(batch: &RecordBatch) -> usize {
    // A size that overflows belongs to no array that was read from bytes.
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX)).sum()
}

fn set_aside_bytes(batches: &[Decoded]) -> usize {
    let unreadable = batches.iter().flat_map(|decoded| &decoded.unreadable);
    unreadable.map(|one| size_of_val(one) + one.detail.len() + one.raw.len()).sum()
}

/// Bytes that are no text, as base64 in quotes: no row, wherever it is sent.
fn raw_bytes(bytes: &[u8]) -> RawRow {
    let head = &bytes[..bytes.len().min(DEAD_RAW_BYTES_MAX / 4 * 3 - 3)];
    let mut text = vec![b'"'];
    write_base64(head, &mut text);
    text.push(b'"');
    let text = String::from_utf8(text).expect("base64 is ASCII");
    RawRow { text, is_cut: head.len() < bytes.len() }
}

fn raw_row(row: &[u8]) -> RawRow {
    let head = &row[..row.len().min(DEAD_RAW_BYTES_MAX)];
    let mut text = String::from_utf8_lossy(head).into_owned();
    let is_cut = head.len() < row.len() || text.len() > DEAD_RAW_BYTES_MAX;
    text.truncate(text.floor_char_boundary(DEAD_RAW_BYTES_MAX));
    if is_cut {
        // Half of a character, if the cut went through one.
        text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
    }
    RawRow { text, is_cut }
}
