//! Messages of a topic on their way into a batch of events.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef};
use asof_definition::{KafkaFeed, MetadataColumn, MetadataField};
use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

use crate::civil::TIMESTAMP_US;
use crate::event_body::EventBody;
use crate::event_body_error::EventBodyError;
use crate::messages::MESSAGES_MAX;
use crate::messages::decoder::{MessageDecoder, TakeTrouble};
use crate::messages::read_messages::{ReadMessages, Values};
use crate::origin::Origin;

/// Bytes of values, and of keys and headers that are kept, that are taken together: reached by the message that ends a batch.
pub const MESSAGES_BYTES_MAX: usize = 4 << 20;

/// Messages in the order in which they came.
#[derive(Debug)]
pub(crate) struct MessageBatch {
    text: Vec<u8>,
    /// Bytes of keys and headers that are kept.
    beside_bytes: usize,
    /// Where the value of each stands in the text, if it has one.
    places: Vec<Option<Range<usize>>>,
    origin: Origin,
    metadata: Vec<Beside>,
    feed: Arc<KafkaFeed>,
}

/// What stands in a column `METADATA FROM`.
#[derive(Debug)]
enum Beside {
    Keys(BinaryBuilder),
    KeyTexts(StringBuilder),
    Timestamps(Vec<Option<i64>>),
    Headers(StringBuilder),
    Partitions(Vec<i64>),
    Offsets(Vec<i64>),
    KeyNumbers(Vec<Option<i64>>),
    /// In what was read of the values.
    Changed,
}

impl MessageBatch {
    pub(crate) fn new(feed: &Arc<KafkaFeed>, schema: &SchemaRef) -> MessageBatch {
        let values = |metadata: &MetadataColumn| match metadata.field {
            MetadataField::Key if *schema.field(metadata.column).data_type() == DataType::Binary => {
                Beside::Keys(BinaryBuilder::new())
            }
            MetadataField::Key if schema.field(metadata.column).data_type().is_integer() => {
                Beside::KeyNumbers(Vec::new())
            }
            MetadataField::Key => Beside::KeyTexts(StringBuilder::new()),
            MetadataField::Timestamp => Beside::Timestamps(Vec::new()),
            MetadataField::Headers => Beside::Headers(StringBuilder::new()),
            MetadataField::Partition => Beside::Partitions(Vec::new()),
            MetadataField::Offset => Beside::Offsets(Vec::new()),
            MetadataField::SourceTimestamp => Beside::Changed,
        };
        MessageBatch {
            text: Vec::new(),
            beside_bytes: 0,
            places: Vec::new(),
            origin: Origin::of_topic(&feed.topic),
            metadata: feed.metadata.iter().map(values).collect(),
            feed: feed.clone(),
        }
    }

    pub(crate) fn push(&mut self, message: &BorrowedMessage<'_>) {
        let value = message.payload();
        let start = self.text.len();
        self.text.extend(value.unwrap_or_default());
        self.places.push(value.map(|_| start..self.text.len()));
        let (partition, offset) = (message.partition(), message.offset());
        self.origin.push(partition.unsigned_abs(), offset.unsigned_abs());
        for values in &mut self.metadata {
            match values {
                Beside::Keys(keys) => {
                    self.beside_bytes += message.key().map_or(0, <[u8]>::len);
                    keys.append_option(message.key());
                }
                Beside::KeyTexts(keys) => {
                    self.beside_bytes += message.key().map_or(0, <[u8]>::len);
                    keys.append_option(message.key().map(String::from_utf8_lossy));
                }
                Beside::Timestamps(times) => {
                    let us = message.timestamp().to_millis().and_then(|ms| ms.checked_mul(1_000));
                    times.push(us.filter(|us| TIMESTAMP_US.contains(us)));
                }
                Beside::Headers(headers) => {
                    let json = headers_json(message);
                    self.beside_bytes += json.as_ref().map_or(0, String::len);
                    headers.append_option(json);
                }
                Beside::KeyNumbers(keys) => keys.push(message.key().and_then(key_number)),
                Beside::Changed => {}
                Beside::Partitions(partitions) => partitions.push(i64::from(partition)),
                Beside::Offsets(offsets) => offsets.push(offset),
            }
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows() >= MESSAGES_MAX || self.text.len() + self.beside_bytes >= MESSAGES_BYTES_MAX
    }

    /// Reads the values. The batch is as it was after an error.
    pub(crate) fn read(&self, decoder: &mut MessageDecoder, looks_at_unit: bool) -> Result<ReadMessages, TakeTrouble> {
        decoder.read(Values { text: &self.text, places: &self.places }, looks_at_unit)
    }

    /// The events that were read of the messages, if there are any, and where they come from.
    pub(crate) fn finish(
        self,
        mut read: ReadMessages,
        is_text: bool,
    ) -> Result<(Option<EventBody>, Origin), EventBodyError> {
        let schema = read.decoded.batch.schema();
        let mut columns = read.decoded.batch.columns().to_vec();
        for (metadata, values) in self.feed.metadata.iter().zip(self.metadata) {
            columns[metadata.column] = match values {
                Beside::Changed => Arc::new(TimestampMicrosecondArray::from(read.changed_us.clone())),
                values => values.finish(metadata, &schema),
            };
        }
        read.decoded.batch =
            RecordBatch::try_new(schema, columns).expect("a column of metadata has the type that its stream declares");
        read.mark_deleted(&self.feed);
        let origin = self.origin.passing_over(&read.passed_over);
        let Some(ReadMessages { decoded, events, .. }) = read.kept() else { return Ok((None, origin)) };
        Ok((Some(EventBody::of_messages(Bytes::from(self.text), is_text, decoded, &events)?), origin))
    }
}

impl Beside {
    fn finish(self, metadata: &MetadataColumn, schema: &SchemaRef) -> ArrayRef {
        match self {
            Beside::Keys(mut keys) => Arc::new(keys.finish()),
            Beside::KeyTexts(mut texts) | Beside::Headers(mut texts) => Arc::new(texts.finish()),
            Beside::Timestamps(times) => Arc::new(TimestampMicrosecondArray::from(times)),
            Beside::Offsets(offsets) => Arc::new(Int64Array::from(offsets)),
            Beside::Partitions(numbers) => integers(numbers.into_iter().map(Some).collect(), metadata, schema),
            Beside::KeyNumbers(numbers) => integers(numbers, metadata, schema),
            Beside::Changed => unreachable!("it is in what was read"),
        }
    }
}

/// As the column's type; NULL where it has no such number.
fn integers(numbers: Vec<Option<i64>>, metadata: &MetadataColumn, schema: &SchemaRef) -> ArrayRef {
    match schema.field(metadata.column).data_type() {
        DataType::Int32 => {
            let narrow = |one: &Option<i64>| one.and_then(|one| i32::try_from(one).ok());
            Arc::new(numbers.iter().map(narrow).collect::<Int32Array>())
        }
        _ => Arc::new(Int64Array::from(numbers)),
    }
}

/// A key that is the digits of an integer.
fn key_number(key: &[u8]) -> Option<i64> {
    std::str::from_utf8(key).ok()?.parse().ok()
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
