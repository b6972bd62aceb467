//! Events of a request as JSON text: told apart into rows, each read like a line of a JSON-lines file.

use std::ops::Range;

use crate::batch_builder::{BatchBuilder, Decoded};
use crate::event_body::{BodyColumns, RowPlace};
use crate::event_body_error::{BodyForm, EventBodyError};
use crate::json_elements::JsonElements;
use crate::json_rows::{JsonRows, JsonRule};
use crate::row_cutter::{BYTE_ORDER_MARK, ROW_BYTES_MAX, RowRule};
use crate::time_unit::UnitWitness;

/// Columns begin with room for a row every so many bytes: events are seldom shorter.
const ROW_BYTES_EXPECTED: usize = 64;

/// The rows of a body of JSON text.
#[derive(Debug)]
pub(crate) struct JsonBody {
    pub(crate) batches: Vec<Decoded>,
    /// Where each row stands.
    pub(crate) places: Vec<RowPlace>,
}

/// Reads a body of either JSON form.
pub(crate) fn read_json_body(
    text: &[u8],
    form: BodyForm,
    columns: &BodyColumns,
    rows_max: usize,
) -> Result<JsonBody, EventBodyError> {
    let mut reader = BodyReader::new(text, form, columns, rows_max);
    let start = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    if form == BodyForm::Ndjson {
        for row in RowRule::Line.spans(&text[start..]) {
            reader.read(start + row.start..start + row.end)?;
        }
    } else {
        let syntax = |detail| EventBodyError::Syntax { form, detail };
        for row in JsonElements::new(text, start).map_err(syntax)? {
            reader.read(row.map_err(syntax)?)?;
        }
    }
    reader.finish()
}

/// What a message is to the rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonMessage {
    /// One object, at its place in the text.
    Object(Range<usize>),
    /// It cannot be read.
    SetAside(String),
    /// A row of NULLs, which is not read.
    Nothing,
}

/// Reads messages into one batch.
pub(crate) fn read_json_messages(
    text: &[u8],
    values: &[JsonMessage],
    columns: &BodyColumns,
    looks_at_unit: bool,
) -> Result<Decoded, EventBodyError> {
    let mut reader = BodyReader::new(text, BodyForm::Json, columns, values.len());
    for value in values {
        match value {
            JsonMessage::Object(place) => reader.read(place.clone())?,
            JsonMessage::SetAside(detail) => reader.set_aside(detail),
            JsonMessage::Nothing => reader.batch.start_row(),
        }
    }
    reader.note_integers();
    if looks_at_unit {
        columns.check_units(&reader.integers)?;
    }
    debug_assert!(reader.batches.is_empty(), "messages of a batch are fewer than rows of one");
    Ok(reader.batch.finish())
}

/// The rows read so far.
struct BodyReader<'b> {
    text: &'b [u8],
    form: BodyForm,
    columns: &'b BodyColumns,
    rows_max: usize,
    rows: JsonRows<'b>,
    batch: BatchBuilder<'b>,
    batches: Vec<Decoded>,
    places: Vec<RowPlace>,
    /// The plain integers of each column in `batches`.
    integers: Vec<UnitWitness>,
}

impl<'b> BodyReader<'b> {
    fn new(text: &'b [u8], form: BodyForm, columns: &'b BodyColumns, rows_max: usize) -> BodyReader<'b> {
        let rows_expected = (text.len() / ROW_BYTES_EXPECTED + 1).min(rows_max);
        BodyReader {
            text,
            form,
            columns,
            rows_max,
            rows: JsonRows::new(&columns.names, JsonRule::Event),
            batch: BatchBuilder::new(&columns.schema, columns.unit(), 0, rows_expected),
            batches: Vec::new(),
            places: Vec::with_capacity(rows_expected),
            integers: vec![UnitWitness::default(); columns.names.len()],
        }
    }

    fn read(&mut self, place: Range<usize>) -> Result<(), EventBodyError> {
        if self.places.len() >= self.rows_max {
            return Err(EventBodyError::TooManyRows { rows_max: self.rows_max });
        }
        let detail = || "it is longer than 4 GiB".to_owned();
        let form = self.form;
        self.places.push(RowPlace::new(&place).ok_or_else(|| EventBodyError::Syntax { form, detail: detail() })?);
        let row = &self.text[place];
        if row.len() > ROW_BYTES_MAX {
            self.batch.start_row();
            self.batch.reject_row(format!("the row is longer than {} MiB", ROW_BYTES_MAX >> 20), row);
        } else {
            self.rows.read(row, &mut self.batch);
        }
        if self.batch.is_full() {
            self.note_integers();
            self.batches.push(self.batch.take());
        }
        Ok(())
    }

    fn set_aside(&mut self, detail: &str) {
        self.batch.start_row();
        self.batch.reject_row(detail.to_owned(), b"");
    }

    fn note_integers(&mut self) {
        for (seen, column) in self.integers.iter_mut().zip(&self.batch.columns) {
            *seen = seen.join(column.integers_seen());
        }
    }

    fn finish(mut self) -> Result<JsonBody, EventBodyError> {
        self.note_integers();
        self.columns.check_units(&self.integers)?;
        if !self.batch.is_empty() {
            self.batches.push(self.batch.finish());
        }
        Ok(JsonBody { batches: self.batches, places: self.places })
    }
}
