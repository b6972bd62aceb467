//! Messages of Avro: each by the schema of its writer, all of them into one batch.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use asof_definition::{Framing, KafkaFeed};

use crate::event_body::BodyColumns;
use crate::messages::avro::{AvroRows, AvroWriter};
use crate::messages::avro_schema::AvroRecord;
use crate::messages::framing::Frame;
use crate::messages::read_messages::{NO_VALUE, ReadMessages, RowFrom, Values, merged};
use crate::messages::schema_registry::{RegisteredSchema, RegistryTrouble, SchemaRegistry};
use crate::messages::writers::{Reading, Writers};
use crate::time_unit::UnitWitness;

/// What stands for the number of a schema where messages name none: bytes by which no record is likely to end.
const OWN_SCHEMA: u32 = 0xfe9c_b1a7;
/// What a frame of that number begins with.
const OWN_FRAME: [u8; 5] = [0, 0xfe, 0x9c, 0xb1, 0xa7];

/// How a stream's messages are read.
#[derive(Debug)]
pub(crate) struct AvroMessages {
    /// What records are read as, if the stream says.
    reader: Option<AvroRecord>,
    /// The full name of the records that are events.
    message: Option<String>,
    pub(crate) writers: Writers<AvroWriter>,
    /// The one writer of messages without framing.
    own: Option<AvroWriter>,
    has_tombstones: bool,
}

impl AvroMessages {
    /// `schema` is the text of the stream's own.
    pub(crate) fn new(feed: &KafkaFeed, schema: Option<&str>, columns: &BodyColumns) -> Result<AvroMessages, String> {
        let reader = schema.map(AvroRecord::parse).transpose()?;
        let own = match (&reader, feed.framing) {
            (Some(record), Framing::Bare) => Some(AvroWriter::new(OWN_SCHEMA, record.clone(), None, columns)?),
            _ => None,
        };
        Ok(AvroMessages {
            reader,
            message: feed.message.clone(),
            writers: Writers::default(),
            own,
            has_tombstones: feed.has_tombstones,
        })
    }

    /// The columns that the stream's own schema has no field for; `None` where messages name those of a registry.
    pub(crate) fn absent_of_own(&self) -> Option<Vec<usize>> {
        self.own.as_ref().map(|own| own.absent().collect())
    }

    /// The columns that a schema has no field for. An error is why they cannot be read by it.
    pub(crate) fn absent_of(&self, schema: &RegisteredSchema, columns: &BodyColumns) -> Result<Vec<usize>, String> {
        let writer = writer(self.reader.as_ref(), self.message.as_deref(), OWN_SCHEMA, schema, columns)?;
        Ok(writer.map_or_else(Vec::new, |writer| writer.absent().collect()))
    }

    pub(crate) fn read(
        &mut self,
        values: Values<'_>,
        columns: &BodyColumns,
        registry: Option<&SchemaRegistry>,
        integers: &mut [UnitWitness],
    ) -> Result<ReadMessages, RegistryTrouble> {
        if self.own.is_some() {
            return Ok(self.read_own(values, columns, integers));
        }
        let (reader, message) = (self.reader.as_ref(), self.message.as_deref());
        let read = |number, schema: &RegisteredSchema| reading(reader, message, number, schema, columns);
        self.writers.learn(values, registry, read)?;
        let mut rows: Vec<RowFrom> = Vec::with_capacity(values.places.len());
        let mut groups: BTreeMap<u32, Group<'_>> = BTreeMap::new();
        for (row, value) in values.iter().enumerate() {
            rows.push(RowFrom::PassedOver);
            if value.is_none() && self.has_tombstones {
                rows[row] = RowFrom::Nothing;
                continue;
            }
            let framed =
                value.ok_or_else(|| NO_VALUE.to_owned()).and_then(|value| Ok((value, Frame::of(value)?.schema)));
            let (value, number) = match framed {
                Ok(framed) => framed,
                Err(detail) => {
                    rows[row] = RowFrom::SetAside(detail);
                    continue;
                }
            };
            match self.writers.next(number) {
                Some(Reading::By(_)) => groups.entry(number).or_default().push(row, value),
                Some(Reading::SetAside(why)) => rows[row] = RowFrom::SetAside(why.clone()),
                Some(Reading::PassedOver) => {}
                None => rows[row] = RowFrom::SetAside(format!("schema {number} is not known")),
            }
        }
        let mut batches = Vec::with_capacity(groups.len());
        for (number, group) in groups {
            let writer = self.writers.reader(number).expect("the group is of a writer that is read");
            group.read(writer, columns, integers, &mut batches, &mut rows);
        }
        Ok(finish(values, &batches, &rows, columns))
    }

    fn read_own(&mut self, values: Values<'_>, columns: &BodyColumns, integers: &mut [UnitWitness]) -> ReadMessages {
        let mut framed = Vec::with_capacity(values.text.len() + values.places.len() * OWN_FRAME.len());
        let mut ends = Vec::with_capacity(values.places.len());
        for value in values.iter().flatten() {
            framed.extend(OWN_FRAME);
            framed.extend(value);
            ends.push(framed.len());
        }
        let without_value = if self.has_tombstones { RowFrom::Nothing } else { RowFrom::SetAside(NO_VALUE.to_owned()) };
        let mut rows = vec![without_value; values.places.len()];
        let (mut group, mut start) = (Group::default(), 0);
        let with_value = values.iter().enumerate().filter(|(_, value)| value.is_some());
        for ((row, _), end) in with_value.zip(ends) {
            group.push(row, &framed[start..end]);
            start = end;
        }
        let mut batches = Vec::with_capacity(1);
        let writer = self.own.as_mut().expect("there is a schema of the stream's own");
        group.read(writer, columns, integers, &mut batches, &mut rows);
        finish(values, &batches, &rows, columns)
    }
}

fn reading(
    reader: Option<&AvroRecord>,
    message: Option<&str>,
    number: u32,
    schema: &RegisteredSchema,
    columns: &BodyColumns,
) -> Reading<AvroWriter> {
    match writer(reader, message, number, schema, columns) {
        Ok(Some(writer)) => Reading::By(writer),
        Ok(None) => Reading::PassedOver,
        Err(detail) => Reading::SetAside(format!("schema {number} cannot be read: {detail}")),
    }
}

/// What records of this schema mean to our columns; `None` where they are no events of the stream.
fn writer(
    reader: Option<&AvroRecord>,
    message: Option<&str>,
    number: u32,
    schema: &RegisteredSchema,
    columns: &BodyColumns,
) -> Result<Option<AvroWriter>, String> {
    if message.is_some() && AvroRecord::full_name_of(&schema.text).as_deref() != message {
        return Ok(None);
    }
    if schema.kind != "AVRO" {
        return Err(format!("it is one of {}", schema.kind));
    }
    if let Some(name) = schema.references.keys().next() {
        return Err(format!("it refers to another schema, `{name}`, which is not supported for Avro"));
    }
    let record = AvroRecord::parse(&schema.text)?;
    AvroWriter::new(number, record, reader.cloned(), columns).map(Some)
}

/// Messages of one writer.
#[derive(Default)]
struct Group<'m> {
    rows: Vec<usize>,
    frames: Vec<&'m [u8]>,
}

impl<'m> Group<'m> {
    fn push(&mut self, row: usize, frame: &'m [u8]) {
        self.rows.push(row);
        self.frames.push(frame);
    }

    fn read(
        &self,
        writer: &mut AvroWriter,
        columns: &BodyColumns,
        integers: &mut [UnitWitness],
        batches: &mut Vec<RecordBatch>,
        rows: &mut [RowFrom],
    ) {
        match writer.decode(&self.frames, columns, integers) {
            Err(detail) => self.rows.iter().for_each(|row| rows[*row] = RowFrom::SetAside(detail.clone())),
            Ok(AvroRows { decoded, whole, damaged }) => {
                for (place, own) in whole.iter().enumerate() {
                    rows[self.rows[*own]] = RowFrom::Batch(batches.len(), place);
                }
                for one in decoded.unreadable {
                    rows[self.rows[whole[one.row]]] = RowFrom::SetAside(one.detail);
                }
                for (own, detail) in damaged {
                    rows[self.rows[own]] = RowFrom::SetAside(detail);
                }
                batches.push(decoded.batch);
            }
        }
    }
}

fn finish(values: Values<'_>, batches: &[RecordBatch], rows: &[RowFrom], columns: &BodyColumns) -> ReadMessages {
    let merged = merged(&columns.schema, batches, rows);
    let (decoded, passed_over) = merged.expect("every batch has the columns of the stream");
    let deleted = rows.iter().map(|from| matches!(from, RowFrom::Nothing)).collect();
    ReadMessages { decoded, events: values.whole(), passed_over, deleted, changed_us: Vec::new() }
}
