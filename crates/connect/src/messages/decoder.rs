//! Reads the messages of one topic for one stream, whatever their format is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_definition::{KafkaFeed, MessageFormat, Stream};
use bytes::Bytes;

use crate::event_body::{BodyColumns, EventBody};
use crate::event_body_error::EventBodyError;
use crate::messages::avro_messages::AvroMessages;
use crate::messages::json_messages::JsonMessages;
use crate::messages::protobuf::ProtobufFile;
use crate::messages::protobuf_messages::ProtobufMessages;
use crate::messages::read_messages::{ReadMessages, Values};
use crate::messages::schema_registry::{RegisteredSchema, RegistryTrouble, SchemaRegistry};
use crate::messages::schema_settings::SchemaSettings;
use crate::messages::writers::WriterSchema;
use crate::time_unit::UnitWitness;

/// The largest schema file that is read.
const SCHEMA_FILE_BYTES_MAX: u64 = 1 << 20;

/// How the messages of a topic become rows of a stream.
#[derive(Debug)]
pub struct MessageDecoder {
    pub(crate) columns: BodyColumns,
    feed: Arc<KafkaFeed>,
    registry: Option<SchemaRegistry>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Json(JsonMessages),
    Avro(Box<AvroMessages>),
    Protobuf(ProtobufMessages),
}

/// Why messages cannot be read at all, whatever is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The stream's own schema.
    #[error("schema_file `{}`: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no registry to ask.
    #[error("messages of format '{format}' name schemas of a registry, and [schema_registry] has no `url`")]
    NoRegistry {
        /// The format of the stream's messages.
        format: &'static str,
    },
    /// What is said of the registry.
    #[error(transparent)]
    Registry(#[from] RegistryTrouble),
    /// Rows of a sink cannot be written.
    #[error("the rows of the sink cannot be written as Avro: {detail}")]
    Rows {
        /// What the writer says.
        detail: String,
    },
    /// A column has a type that no message has.
    #[error(transparent)]
    Columns(#[from] EventBodyError),
}

/// Why a batch of messages has no events yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeTrouble {
    /// The registry does not answer as it should, and is to be asked again.
    #[error(transparent)]
    Registry(RegistryTrouble),
    /// Times cannot be of the unit that is declared, and never will be.
    #[error(transparent)]
    Unit(EventBodyError),
}

impl MessageDecoder {
    /// A decoder for a stream, whose schema file is read. Nothing is asked of a registry yet.
    pub fn new(
        stream: &Stream,
        feed: &Arc<KafkaFeed>,
        settings: &SchemaSettings,
    ) -> Result<MessageDecoder, SchemaError> {
        let mut columns = BodyColumns::of(stream, None)?;
        for metadata in &feed.metadata {
            // No field of a message has such a name.
            columns.names[metadata.column] = format!("\u{0}{}", metadata.field.name());
        }
        let path = feed.schema_file.as_ref().map(|file| settings.folder.join(file));
        let wrong = |path: &Path, detail: String| SchemaError::File { path: path.to_owned(), detail };
        let form = match feed.format {
            MessageFormat::Json | MessageFormat::DebeziumJson => Form::Json(JsonMessages::new(feed)),
            MessageFormat::Avro => {
                let text = path.as_deref().map(|path| schema_text(path).map_err(|detail| wrong(path, detail)));
                let made = AvroMessages::new(feed, text.transpose()?.as_deref(), &columns);
                Form::Avro(Box::new(made.map_err(|detail| wrong(path.as_deref().unwrap_or(Path::new("")), detail))?))
            }
            MessageFormat::Protobuf => {
                let made = ProtobufMessages::new(feed, path.as_deref(), &columns);
                Form::Protobuf(made.map_err(|detail| wrong(path.as_deref().unwrap_or(Path::new("")), detail))?)
            }
        };
        let registry = match (&settings.registry, feed.needs_registry()) {
            (_, false) => None,
            (None, true) => return Err(SchemaError::NoRegistry { format: feed.format.name() }),
            (Some(registry), true) => Some(SchemaRegistry::new(registry)?),
        };
        Ok(MessageDecoder { columns, feed: feed.clone(), registry, form })
    }

    /// The events of values, of which `None` is none; without what a message has beside its value. Nothing if all of
    /// them are passed over. At most [`MESSAGES_MAX`](crate::MESSAGES_MAX) values.
    pub fn decode(&mut self, values: &[Option<&[u8]>]) -> Result<Option<EventBody>, TakeTrouble> {
        let mut text = Vec::new();
        let mut places = Vec::with_capacity(values.len());
        for value in values {
            let start = text.len();
            text.extend(value.unwrap_or_default());
            places.push(value.map(|_| start..text.len()));
        }
        let mut read = self.read(Values { text: &text, places: &places }, true)?;
        read.mark_deleted(&self.feed);
        let Some(ReadMessages { decoded, events, .. }) = read.kept() else { return Ok(None) };
        let body = EventBody::of_messages(Bytes::from(text), self.is_text(), decoded, &events);
        body.map(Some).map_err(TakeTrouble::Unit)
    }

    /// Reads values. Nothing has changed after an error, and the same values may be given once more.
    pub(crate) fn read(&mut self, values: Values<'_>, looks_at_unit: bool) -> Result<ReadMessages, TakeTrouble> {
        let (columns, registry) = (&self.columns, self.registry.as_ref());
        let mut integers = vec![UnitWitness::default(); columns.names.len()];
        let read = match &mut self.form {
            Form::Json(messages) => return messages.read(values, columns, looks_at_unit).map_err(TakeTrouble::Unit),
            Form::Avro(messages) => messages.read(values, columns, registry, &mut integers),
            Form::Protobuf(messages) => messages.read(values, columns, registry, &mut integers),
        };
        let read = read.map_err(TakeTrouble::Registry)?;
        if looks_at_unit {
            columns.check_units(&integers).map_err(TakeTrouble::Unit)?;
        }
        Ok(read)
    }

    /// The columns that the stream's own schema has no field for; `None` where messages are read by those of a
    /// registry.
    pub(crate) fn absent_of_own(&self) -> Option<Vec<usize>> {
        match &self.form {
            Form::Json(_) => None,
            Form::Avro(messages) => messages.absent_of_own(),
            Form::Protobuf(messages) => messages.absent_of_own(),
        }
    }

    /// The columns that a schema has no field for. An error is why they cannot be read by it.
    pub(crate) fn absent_of(&self, schema: &RegisteredSchema) -> Result<Vec<usize>, String> {
        match &self.form {
            Form::Json(_) => Ok(Vec::new()),
            Form::Avro(messages) => messages.absent_of(schema, &self.columns),
            Form::Protobuf(messages) => messages.absent_of(schema, &self.columns),
        }
    }

    /// Whether a message's value is a text that may be shown as it is.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.form, Form::Json(_))
    }

    /// The schemas of the registry that messages named so far.
    pub(crate) fn writers(&self) -> Vec<WriterSchema> {
        match &self.form {
            Form::Json(_) => Vec::new(),
            Form::Avro(messages) => messages.writers.told(|_| None),
            Form::Protobuf(messages) => messages.writers.told(ProtobufFile::trouble),
        }
    }
}

fn schema_text(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > SCHEMA_FILE_BYTES_MAX {
        return Err(format!("it is longer than {} MiB", SCHEMA_FILE_BYTES_MAX >> 20));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}
