//! Messages of a topic on their way into a batch of events.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use asof_definition::{KafkaFeed, MetadataColumn, MetadataField, Stream};
use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

use crate::event_body::{BodyColumns, EventBody};
use crate::event_body_error::EventBodyError;
use crate::origin::Origin;

/// Messages that are taken together.
pub const MESSAGES_MAX: usize = 16_384;
/// Bytes of values, and of keys and headers that are kept, that are taken together: reached by the message that ends a batch.
pub const MESSAGES_BYTES_MAX: usize = 4 << 20;

/// What is read of a topic's messages for a stream.
#[derive(Debug)]
pub(crate) struct MessageForm {
    feed: Arc<KafkaFeed>,
    columns: BodyColumns,
}

impl MessageForm {
    pub(crate) fn of(stream: &Stream, feed: &Arc<KafkaFeed>) -> Result<MessageForm, EventBodyError> {
        let mut columns = BodyColumns::of(stream, None)?;
        for metadata in &feed.metadata {
            columns.names[metadata.column] = format!("\u{0}{}", metadata.field.name());
        }
        Ok(MessageForm { feed: feed.clone(), columns })
    }
}

/// Messages in the order in which they came.
#[derive(Debug)]
pub(crate) struct MessageBatch {
    text: Vec<u8>,
    /// Bytes of keys and headers that are kept.
    beside_bytes: usize,
    /// Where the value of each ends in the text, and whether it has one.
    ends: Vec<(usize, bool)>,
    origin: Origin,
    metadata: Vec<Values>,
    columns: Vec<MetadataColumn>,
}

/// What stands in a column `METADATA FROM`.
#[derive(Debug)]
enum Values {
    Keys(BinaryBuilder),
    KeyTexts(StringBuilder),
    Timestamps(Vec<Option<i64>>),
    Headers(StringBuilder),
    Partitions(Vec<i64>),
    Offsets(Vec<i64>),
}

impl MessageBatch {
    pub(crate) fn new(form: &MessageForm) -> MessageBatch {
        let values = |metadata: &MetadataColumn| match metadata.field {
            MetadataField::Key if *form.columns.schema.field(metadata.column).data_type() == DataType::Binary => {
                Values::Keys(BinaryBuilder::new())
            }
            MetadataField::Key => Values::KeyTexts(StringBuilder::new()),
            MetadataField::Timestamp => Values::Timestamps(Vec::new()),
            MetadataField::Headers => Values::Headers(StringBuilder::new()),
            MetadataField::Partition => Values::Partitions(Vec::new()),
            MetadataField::Offset => Values::Offsets(Vec::new()),
        };
        MessageBatch {
            text: Vec::new(),
            beside_bytes: 0,
            ends: Vec::new(),
            origin: Origin::of_topic(&form.feed.topic),
            metadata: form.feed.metadata.iter().map(values).collect(),
            columns: form.feed.metadata.clone(),
        }
    }

    pub(crate) fn push(&mut self, message: &BorrowedMessage<'_>) {
        let value = message.payload();
        self.text.extend(value.unwrap_or_default());
        self.ends.push((self.text.len(), value.is_some()));
        let (partition, offset) = (message.partition(), message.offset());
        self.origin.push(partition.unsigned_abs(), offset.unsigned_abs());
        for values in &mut self.metadata {
            match values {
                Values::Keys(keys) => {
                    self.beside_bytes += message.key().map_or(0, <[u8]>::len);
                    keys.append_option(message.key());
                }
                Values::KeyTexts(keys) => {
                    self.beside_bytes += message.key().map_or(0, <[u8]>::len);
                    keys.append_option(message.key().map(String::from_utf8_lossy));
                }
                Values::Timestamps(times) => {
                    times.push(message.timestamp().to_millis().map(|ms| ms.saturating_mul(1_000)));
                }
                Values::Headers(headers) => {
                    let json = headers_json(message);
                    self.beside_bytes += json.as_ref().map_or(0, String::len);
                    headers.append_option(json);
                }
                Values::Partitions(partitions) => partitions.push(i64::from(partition)),
                Values::Offsets(offsets) => offsets.push(offset),
            }
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows() >= MESSAGES_MAX || self.text.len() + self.beside_bytes >= MESSAGES_BYTES_MAX
    }

    /// The events that the messages hold, and where they come from.
    pub(crate) fn finish(self, form: &MessageForm, looks_at_unit: bool) -> Result<(EventBody, Origin), EventBodyError> {
        let mut start = 0;
        let values = self.ends.iter().map(|(end, has_value)| {
            let place = start..*end;
            start = *end;
            has_value.then_some(place)
        });
        let values: Vec<_> = values.collect();
        let mut body = EventBody::of_messages(Bytes::from(self.text), &values, &form.columns, looks_at_unit)?;
        let columns: Vec<(usize, ArrayRef)> = self
            .columns
            .iter()
            .zip(self.metadata)
            .map(|(one, values)| (one.column, values.finish(one, form)))
            .collect();
        body.set_columns(self.beside_bytes, |batch| {
            let mut all = batch.columns().to_vec();
            columns.iter().for_each(|(column, values)| all[*column] = values.clone());
            RecordBatch::try_new(batch.schema(), all)
                .expect("a column of metadata has the type that its stream declares")
        });
        Ok((body, self.origin))
    }
}

impl Values {
    fn finish(self, metadata: &MetadataColumn, form: &MessageForm) -> ArrayRef {
        match self {
            Values::Keys(mut keys) => Arc::new(keys.finish()),
            Values::KeyTexts(mut texts) | Values::Headers(mut texts) => Arc::new(texts.finish()),
            Values::Timestamps(times) => Arc::new(TimestampMicrosecondArray::from(times)),
            Values::Offsets(offsets) => Arc::new(Int64Array::from(offsets)),
            Values::Partitions(numbers) => match form.columns.schema.field(metadata.column).data_type() {
                DataType::Int32 => Arc::new(numbers.iter().map(|one| i32::try_from(*one).ok()).collect::<Int32Array>()),
                _ => Arc::new(Int64Array::from(numbers)),
            },
        }
    }
}

/// Names and values as a JSON object, the last of equal names; a value that is no text is null.
fn headers_json(message: &BorrowedMessage<'_>) -> Option<String> {
    let headers = message.headers()?;
    let mut object = serde_json::Map::new();
    for header in headers.iter() {
        let text = header.value.and_then(|value| std::str::from_utf8(value).ok());
        object.insert(header.key.to_owned(), text.into());
    }
    Some(serde_json::Value::Object(object).to_string())
}
