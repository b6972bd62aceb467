//! Messages of Protocol Buffers: each by its own type, all of them into one batch.

use std::path::Path;

use asof_definition::{Framing, KafkaFeed};

use crate::batch_builder::BatchBuilder;
use crate::event_body::BodyColumns;
use crate::messages::framing::{Frame, message_indexes};
use crate::messages::protobuf::{ProtobufFile, ProtobufType};
use crate::messages::read_messages::{NO_VALUE, ReadMessages, Values};
use crate::messages::schema_registry::{RegisteredSchema, RegistryTrouble, SchemaRegistry};
use crate::messages::writers::{Reading, Writers};
use crate::time_unit::UnitWitness;

/// How a stream's messages are read.
#[derive(Debug)]
pub(crate) struct ProtobufMessages {
    framing: Framing,
    /// The full name of the messages that are events.
    message: Option<String>,
    /// The stream's own schema: fields have numbers, so that no other is needed to read what any writer wrote.
    own: Option<ProtobufType>,
    pub(crate) writers: Writers<ProtobufFile>,
    has_tombstones: bool,
}

/// What a message is.
enum Kind<'p, 'm> {
    Event(&'p ProtobufType, &'m [u8]),
    SetAside(String),
    PassedOver,
}

impl ProtobufMessages {
    /// `schema` is the stream's own.
    pub(crate) fn new(
        feed: &KafkaFeed,
        schema: Option<&Path>,
        columns: &BodyColumns,
    ) -> Result<ProtobufMessages, String> {
        let own = |path| {
            let file = ProtobufFile::read(path)?;
            let name = feed.message.as_deref().unwrap_or_default();
            let message = file.message(name).ok_or_else(|| format!("it has no message `{name}`"))?;
            ProtobufType::new(message, columns)
        };
        let own = schema.map(own).transpose()?;
        Ok(ProtobufMessages {
            framing: feed.framing,
            message: feed.message.clone(),
            own,
            writers: Writers::default(),
            has_tombstones: feed.has_tombstones,
        })
    }

    /// The columns that the stream's own schema has no field for; `None` where messages name those of a registry.
    pub(crate) fn absent_of_own(&self) -> Option<Vec<usize>> {
        self.own.as_ref().map(|own| own.columns.absent().collect())
    }

    /// The columns that a schema has no field for, in its first type where none is named. An error is why they cannot
    /// be read by it.
    pub(crate) fn absent_of(&self, schema: &RegisteredSchema, columns: &BodyColumns) -> Result<Vec<usize>, String> {
        let mut file = registered(schema)?;
        let message = match &self.message {
            None => file.at(&[0], columns)?.clone(),
            Some(name) => {
                let found = file.message(name).ok_or_else(|| format!("it has no message `{name}`"))?;
                ProtobufType::new(found, columns)?
            }
        };
        Ok(message.columns.absent().collect())
    }

    pub(crate) fn read(
        &mut self,
        values: Values<'_>,
        columns: &BodyColumns,
        registry: Option<&SchemaRegistry>,
        integers: &mut [UnitWitness],
    ) -> Result<ReadMessages, RegistryTrouble> {
        if self.own.is_none() {
            self.writers.learn(values, registry, file)?;
        }
        let mut batch = BatchBuilder::new(&columns.schema, columns.unit(), 0, values.places.len());
        let (mut passed_over, mut deleted) = (Vec::new(), Vec::new());
        for (row, value) in values.iter().enumerate() {
            if value.is_none() && self.has_tombstones {
                batch.start_row();
                deleted.resize(values.places.len(), false);
                deleted[row] = true;
                continue;
            }
            match self.kind(value, columns) {
                Kind::Event(message, bytes) => message.read(bytes, &mut batch),
                Kind::SetAside(detail) => {
                    batch.start_row();
                    batch.reject_row(detail, b"");
                }
                Kind::PassedOver => {
                    batch.start_row();
                    passed_over.resize(values.places.len(), false);
                    passed_over[row] = true;
                }
            }
        }
        for (seen, column) in integers.iter_mut().zip(&batch.columns) {
            *seen = seen.join(column.integers_seen());
        }
        let decoded = batch.finish();
        Ok(ReadMessages { decoded, events: values.whole(), passed_over, deleted, changed_us: Vec::new() })
    }

    fn kind<'m>(&mut self, value: Option<&'m [u8]>, columns: &BodyColumns) -> Kind<'_, 'm> {
        let Some(value) = value else { return Kind::SetAside(NO_VALUE.to_owned()) };
        if let (Some(own), Framing::Bare) = (&self.own, self.framing) {
            return Kind::Event(own, value);
        }
        let Frame { schema: number, rest } = match Frame::of(value) {
            Ok(frame) => frame,
            Err(detail) => return Kind::SetAside(detail),
        };
        let indexes = message_indexes(rest);
        if let Some(own) = &self.own {
            return indexes.map_or_else(Kind::SetAside, |(_, bytes)| Kind::Event(own, bytes));
        }
        let file = match self.writers.next(number) {
            Some(Reading::By(file)) => file,
            Some(Reading::SetAside(why)) => return Kind::SetAside(why.clone()),
            Some(Reading::PassedOver) => return Kind::PassedOver,
            None => return Kind::SetAside(format!("schema {number} is not known")),
        };
        let (indexes, bytes) = match indexes {
            Ok(indexes) => indexes,
            Err(detail) => return Kind::SetAside(detail),
        };
        let is_other = |name: &String| file.descriptor(&indexes).is_some_and(|found| found.full_name() != name);
        if self.message.as_ref().is_some_and(is_other) {
            return Kind::PassedOver;
        }
        let message = file.at(&indexes, columns);
        match message {
            Ok(message) => Kind::Event(message, bytes),
            Err(detail) => Kind::SetAside(format!("schema {number} cannot be read: {detail}")),
        }
    }
}

fn file(number: u32, schema: &RegisteredSchema) -> Reading<ProtobufFile> {
    match registered(schema) {
        Ok(file) => Reading::By(file),
        Err(detail) => Reading::SetAside(format!("schema {number} cannot be read: {detail}")),
    }
}

fn registered(schema: &RegisteredSchema) -> Result<ProtobufFile, String> {
    match schema.kind.as_str() {
        "PROTOBUF" => ProtobufFile::registered(schema),
        other => Err(format!("it is one of {other}")),
    }
}
