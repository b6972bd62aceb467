//! Records of Apache Avro into columns, one writer's schema at a time, by `arrow-avro`.
//!
//! A decoder that has met a damaged record is of no use any more: it has some of the record's columns and not the others.
//! So records are first read all in one go. If one of them is damaged each is tried alone, and those that are whole are
//! read in one go by another decoder.
//!
//! A decoder takes what stands behind a record for the next one's frame. Where a value ends like a frame begins it is
//! told by one alone, which stops behind its one record.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use asof_expression::type_name;

use crate::batch_builder::Decoded;
use crate::column::bounded;
use crate::convert::is_convertible;
use crate::event_body::BodyColumns;
use crate::messages::MESSAGES_MAX;
use crate::messages::avro_schema::AvroRecord;
use crate::time_unit::UnitWitness;
use crate::typed_rows::{Conversion, TypedRows};
use crate::wanted::position_of;

/// How much of what a decoder says is shown, in bytes.
const SAID_MAX: usize = 200;
/// One more record than there are messages.
const ALL: usize = MESSAGES_MAX + 1;
/// The bytes of a frame in front of its record.
const FRAME_BYTES: usize = 5;

/// What one writer's records mean to our columns.
#[derive(Debug)]
pub(crate) struct AvroWriter {
    number: u32,
    writer: AvroRecord,
    /// What they are read as: the writer's own schema, where nothing is said.
    reader: Option<AvroRecord>,
    /// The fields that are read, of the schema that they are read as.
    projection: Vec<usize>,
    /// Those of them that are columns: all, but where types of fields that are none are needed.
    kept: Vec<usize>,
    decoder: Decoder,
    rows: TypedRows,
}

/// Some records, read.
#[derive(Debug)]
pub(crate) struct AvroRows {
    /// Those that are whole.
    pub(crate) decoded: Decoded,
    /// Their places among all.
    pub(crate) whole: Vec<usize>,
    /// The places of the others, and what is wrong with each.
    pub(crate) damaged: Vec<(usize, String)>,
}

/// Records as they were written: those that are whole, their places among all, and what is wrong with the others.
type Records = (RecordBatch, Vec<usize>, Vec<(usize, String)>);

impl AvroWriter {
    /// An error is why our columns cannot be read from what this writer writes.
    pub(crate) fn new(
        number: u32,
        writer: AvroRecord,
        reader: Option<AvroRecord>,
        columns: &BodyColumns,
    ) -> Result<AvroWriter, String> {
        if let Some(reader) = &reader {
            // A type that is named a second time would be taken for the reader's of that name, whatever the writer's
            // is.
            for record in [&writer, reader] {
                record.named_again.as_ref().map_or(Ok(()), |name| {
                    Err(format!(
                        "`{}` names the type `{name}` a second time, which is not supported beside a \
                                 schema_file: write it out",
                        record.full_name
                    ))
                })?;
            }
        }
        let read_as = reader.as_ref().unwrap_or(&writer);
        let names = || read_as.fields.iter().map(String::as_str);
        let fields: Vec<Option<usize>> = columns.names.iter().map(|name| position_of(name, names())).collect();
        let mut projection: Vec<usize> = fields.iter().flatten().copied().collect();
        projection.sort_unstable();
        projection.dedup();
        let decoder = decoder(number, &writer, reader.as_ref(), &projection, ALL).or_else(|error| {
            // A type that is defined in one field and used in another is gone with the first.
            projection = (0..read_as.fields.len()).collect();
            decoder(number, &writer, reader.as_ref(), &projection, ALL).map_err(|_| error)
        })?;
        let found = decoder.schema();
        if !projection.is_empty() && found.fields().len() != projection.len() {
            return Err("its fields are not those that were asked for".to_owned());
        }
        // Where each column stands among the fields that are read, and then among the columns that are kept of them.
        let read = |field: usize| projection.binary_search(&field).ok();
        let mut kept: Vec<usize> = fields.iter().flatten().filter_map(|field| read(*field)).collect();
        kept.sort_unstable();
        kept.dedup();
        let mut places = Vec::with_capacity(fields.len());
        for (column, field) in fields.iter().enumerate() {
            let declared = columns.schema.field(column).data_type();
            let Some(place) = field.and_then(read) else {
                places.push(None);
                continue;
            };
            places.push(kept.binary_search(&place).ok());
            let written = found.field(place).data_type();
            // The names of an enumeration are no dates or numbers.
            let is_name = matches!(written, DataType::Dictionary(_, _));
            if !is_convertible(written, declared) || is_name && *declared != DataType::Utf8 {
                let (name, declared) = (&columns.names[column], type_name(declared));
                let written = read_as.type_text(projection[place]);
                return Err(format!("column `{name}` is {declared}, and `{}` writes {written}", read_as.full_name));
            }
        }
        let (schema, unit) = (columns.schema.clone(), columns.unit());
        let rows = TypedRows { schema, unit, places, conversion: Conversion::ToWanted };
        Ok(AvroWriter { number, writer, reader, projection, kept, decoder, rows })
    }

    /// The columns of ours that its records have no field for.
    pub(crate) fn absent(&self) -> impl Iterator<Item = usize> {
        self.rows.places.iter().enumerate().filter(|(_, place)| place.is_none()).map(|(column, _)| column)
    }

    /// Reads records that are framed with the writer's number.
    pub(crate) fn decode(
        &mut self,
        frames: &[&[u8]],
        columns: &BodyColumns,
        integers: &mut [UnitWitness],
    ) -> Result<AvroRows, String> {
        let is_doubtful = frames.iter().any(|frame| ends_like_a_frame(frame));
        let read = if is_doubtful { None } else { together(&mut self.decoder, frames).ok() };
        let (batch, whole, damaged) = match read {
            Some(batch) => (batch, (0..frames.len()).collect(), Vec::new()),
            None => self.one_by_one(frames)?,
        };
        let batch = self.plain(&batch)?;
        self.look_at_integers(&batch, columns, integers);
        Ok(AvroRows { decoded: self.rows.decode(&batch, 0)?, whole, damaged })
    }

    /// The columns that are kept, the names of enumerations as texts.
    fn plain(&self, batch: &RecordBatch) -> Result<RecordBatch, String> {
        let said = |error: ArrowError| bounded(&error.to_string(), SAID_MAX);
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for place in &self.kept {
            let column = batch.column(*place);
            let column = match column.data_type() {
                DataType::Dictionary(_, names) => cast(column, names).map_err(said)?,
                _ => column.clone(),
            };
            fields.push(Field::new(batch.schema().field(*place).name(), column.data_type().clone(), true));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(said)
    }

    fn one_by_one(&mut self, frames: &[&[u8]]) -> Result<Records, String> {
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        let mut alone = self.fresh(1)?;
        for (place, frame) in frames.iter().enumerate() {
            match together(&mut alone, &[frame]) {
                Ok(_) => whole.push(place),
                Err(detail) => {
                    damaged.push((place, detail));
                    alone = self.fresh(1)?;
                }
            }
        }
        self.decoder = self.fresh(ALL)?;
        let good: Vec<&[u8]> = whole.iter().map(|place| frames[*place]).collect();
        let batch = match together(&mut self.decoder, &good) {
            Ok(batch) => batch,
            Err(detail) => {
                self.decoder = self.fresh(ALL)?;
                return Err(detail);
            }
        };
        Ok((batch, whole, damaged))
    }

    fn fresh(&self, records: usize) -> Result<Decoder, String> {
        decoder(self.number, &self.writer, self.reader.as_ref(), &self.projection, records)
    }

    /// Notes the plain integers of time columns whose unit is not declared.
    fn look_at_integers(&self, batch: &RecordBatch, columns: &BodyColumns, seen: &mut [UnitWitness]) {
        for (column, place) in self.rows.places.iter().enumerate() {
            let Some(array) = place.map(|place| batch.column(place)) else { continue };
            if columns.is_unit_doubtful(column)
                && array.data_type().is_integer()
                && let Ok(integers) = cast(array, &DataType::Int64)
            {
                integers.as_primitive::<Int64Type>().iter().flatten().for_each(|count| seen[column].look_at(count));
            }
        }
    }
}

/// A decoder of one writer's frames, which gives these fields of what they are read as. It stops behind so many records.
fn decoder(
    number: u32,
    writer: &AvroRecord,
    reader: Option<&AvroRecord>,
    projection: &[usize],
    records: usize,
) -> Result<Decoder, String> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let schema = AvroSchema::new(writer.text.clone());
    let said = |error: &dyn std::fmt::Display| bounded(&error.to_string(), SAID_MAX);
    store.set(Fingerprint::Id(number), schema).map_err(|error| said(&error))?;
    let mut builder = ReaderBuilder::new().with_writer_schema_store(store).with_batch_size(records);
    if let Some(reader) = reader {
        builder = builder.with_reader_schema(AvroSchema::new(reader.text.clone()));
    }
    let fields = reader.unwrap_or(writer).fields.len();
    if projection.len() < fields && !projection.is_empty() {
        builder = builder.with_projection(projection.to_vec());
    }
    guarded(|| builder.build_decoder().map_err(|error| said(&error)))
}

/// Whether the last bytes could be taken for the beginning of another frame of the same writer.
fn ends_like_a_frame(frame: &[u8]) -> bool {
    frame.len() >= 2 * FRAME_BYTES && frame[frame.len() - FRAME_BYTES..] == frame[..FRAME_BYTES]
}

/// The batch of all of these frames. After an error the decoder is of no use any more.
fn together(decoder: &mut Decoder, frames: &[&[u8]]) -> Result<RecordBatch, String> {
    guarded(|| {
        let said = |error: &dyn std::fmt::Display| bounded(&error.to_string(), SAID_MAX);
        for frame in frames {
            let room = decoder.capacity();
            let read = decoder.decode(frame).map_err(|error| said(&error))?;
            if read != frame.len() || decoder.capacity() + 1 != room {
                return Err("the record ends before its schema says that it does".to_owned());
            }
        }
        let batch = decoder.flush().map_err(|error| said(&error))?;
        let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(decoder.schema()));
        if batch.num_rows() == frames.len() { Ok(batch) } else { Err("it is not one record".to_owned()) }
    })
}

/// A decoder that gives up on hostile bytes takes nobody else with it.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("the reader gave up on damaged bytes".to_owned()))
}
