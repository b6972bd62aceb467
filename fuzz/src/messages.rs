//! Messages of a topic in every format, and what must be true of one between two that are whole.

use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use asof_connect::{BodyForm, BodyLimits, EventBody, EventBodyError, MessageDecoder, SchemaSettings};
use asof_definition::{MessageFormat, SourceFile, Stream, check};
use tempfile::TempDir;

use crate::begin::Seed;

/// A format of messages, with a stream that reads them and a message that is an event.
#[derive(Debug)]
pub struct MessageForm {
    stream: Stream,
    decoder: Mutex<MessageDecoder>,
    whole: &'static [u8],
    /// Whether what is shown of a message that was read is an event by itself.
    shows_events: bool,
    _folder: TempDir,
}

const COLUMNS: &str = "id BIGINT, is_on BOOLEAN, ratio REAL, amount DECIMAL(12,2), price DOUBLE, note VARCHAR, raw VARBINARY, \
                       day DATE, ts TIMESTAMP NOT NULL";
const AVRO_SCHEMA: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": ["null", "int"]}, {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "string"}]}}},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "mixed", "type": ["null", "string", "long", {"type": "fixed", "name": "Four", "size": 4}]},
    {"name": "price", "type": ["null", "float"]}, {"name": "note", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
    {"name": "raw", "type": "bytes"}, {"name": "is_on", "type": "boolean"}, {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;
const AVRO_MESSAGE: &[u8] =
    &[2, 1, 2, 2, b'a', 2, b'b', 0, 2, 2, b'x', 0, 4, 1, 0, 4, 6, 2, 0, 0, 0, 0x3f, 2, 2, 1, 1, 2, 2];
const PROTOBUF_SCHEMA: &str = r#"
    syntax = "proto3";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    message Order {
      int32 id = 1; string amount = 2; optional double price = 3; google.protobuf.StringValue note = 4; bytes raw = 5;
      string day = 6; google.protobuf.Timestamp ts = 7; Order inner = 8; repeated int64 beside = 9; map<string, Order> more = 10;
      bool is_on = 11; float ratio = 12;
    }"#;
const PROTOBUF_MESSAGE: &[u8] = &[
    8, 7, 0x12, 4, b'2', b'.', b'5', b'6', 0x19, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0x22, 4, 10, 2, 0xc3, 0xa4, 0x2a, 1, 1,
    0x3a, 4, 0x10, 0xc0, 0x84, 0x3d, 0x4a, 2, 1, 2, 0x58, 1,
];
const CHANGE: &str = r#"{"schema":{},"payload":{"before":{"id":1},"after":{"id":1,"amount":"2.50","note":"x","ts":"2024-01-31T00:00:00Z"},"op":"u","source":{"ts_ms":1706659200000}}}"#;

/// Records of Avro.
pub static AVRO: LazyLock<MessageForm> = LazyLock::new(|| {
    let options = "format = 'avro', schema_file = 'order.avsc'";
    MessageForm::new(&stream_of(options), "order.avsc", AVRO_SCHEMA, AVRO_MESSAGE)
});
/// Messages of Protocol Buffers.
pub static PROTOBUF: LazyLock<MessageForm> = LazyLock::new(|| {
    let options = "format = 'protobuf', schema_file = 'order.proto', message = 'Order'";
    MessageForm::new(&stream_of(options), "order.proto", PROTOBUF_SCHEMA, PROTOBUF_MESSAGE)
});
/// Changes of rows.
pub static DEBEZIUM: LazyLock<MessageForm> = LazyLock::new(|| {
    let text = format!(
        "CREATE TABLE orders ({COLUMNS}, gone BOOLEAN, changed_at TIMESTAMP METADATA FROM 'source.timestamp', PRIMARY KEY (id), \
         WATERMARK FOR changed_at AS changed_at) WITH (connector = 'kafka', \
         topic = 'orders', format = 'debezium-json', delete_column = 'gone');"
    );
    MessageForm::new(&text, "none", "", CHANGE.as_bytes())
});

fn stream_of(options: &str) -> String {
    format!(
        "CREATE STREAM orders ({COLUMNS}, WATERMARK FOR ts AS ts) WITH (connector = 'kafka', topic = 'orders', {options});"
    )
}

impl MessageForm {
    fn new(text: &str, file: &str, schema: &str, whole: &'static [u8]) -> MessageForm {
        let folder = TempDir::new().expect("there is a folder for what is temporary");
        std::fs::write(Path::new(folder.path()).join(file), schema).expect("it has room");
        let sources = [SourceFile { name: "orders.sql".to_owned(), text: text.to_owned() }];
        let project = check(&sources).expect("a sound project");
        let tables = project.tables.iter().map(|table| table.stored());
        let stream = project.streams.iter().cloned().chain(tables).next().expect("there is one");
        let settings = SchemaSettings { registry: None, folder: folder.path().to_owned() };
        let feed = stream.feed().expect("it reads a topic");
        let shows_events = feed.format != MessageFormat::DebeziumJson;
        let decoder = MessageDecoder::new(&stream, feed, &settings).expect("its columns are those of the schema");
        MessageForm {
            stream: Stream::clone(&stream),
            decoder: Mutex::new(decoder),
            whole,
            shows_events,
            _folder: folder,
        }
    }

    /// The message that is whole.
    pub fn seeds(&self) -> Vec<Seed> {
        vec![("whole".to_owned(), self.whole.to_vec())]
    }

    /// Reads the bytes as a message between two that are whole.
    ///
    /// # Panics
    /// If that changes these two, or what can be read of it is not what its own text says.
    pub fn check(&self, bytes: &[u8]) {
        let mut decoder = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        let values = [Some(self.whole), Some(bytes), Some(self.whole)];
        // Times of a message may be those of another unit: then nothing is read.
        let Ok(body) = decoder.decode(&values) else { return };
        let body = body.expect("two messages are events");
        let decoded = &body.batches()[0];
        let rows = body.rows();
        assert!(rows == 3 || rows == 2, "{rows} rows of three messages");
        assert_eq!(decoded.batch.slice(0, 1), decoded.batch.slice(rows - 1, 1), "whole messages are read as one event");
        assert!(decoded.unreadable.iter().all(|one| one.row == 1), "{:?}", decoded.unreadable);
        let raw = body.raw(1);
        if rows < 3 || !decoded.unreadable.is_empty() || raw.is_cut || !self.shows_events {
            return;
        }
        match EventBody::read(raw.text.clone().into(), BodyForm::Json, &self.stream, BodyLimits { rows_max: 1 }) {
            Err(EventBodyError::BeforeYear1980 { .. }) => {}
            Err(error) => panic!("`{}` was read before: {error}", raw.text),
            Ok(again) if again.batches()[0].unreadable.is_empty() => {}
            Ok(again) => panic!("`{}` was read before: {:?}", raw.text, again.batches()[0].unreadable),
        }
    }
}
