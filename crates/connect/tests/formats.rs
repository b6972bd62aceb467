//! Messages of Avro and Protocol Buffers by schema files: values as they are in JSON, and bytes that are none.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use asof_connect::{BodyForm, BodyLimits, EventBody, MessageDecoder, SchemaSettings};
use asof_definition::{SourceFile, Stream, check};
use proptest::prelude::*;
use tempfile::TempDir;

const COLUMNS: &str = "id BIGINT NOT NULL, amount DECIMAL(12,2), price DOUBLE, note VARCHAR, raw VARBINARY, day DATE, \
                       ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts";
const AVRO: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "int"}, {"name": "beside", "type": {"type": "array", "items": "long"}},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "price", "type": ["null", "float"]}, {"name": "note", "type": ["null", "string"]},
    {"name": "raw", "type": "bytes"}, {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;
const PROTOBUF: &str = r#"
    syntax = "proto3";
    import "google/protobuf/timestamp.proto";
    message Order {
      int32 id = 1; string amount = 2; optional double price = 3; optional string note = 4; bytes raw = 5;
      string day = 6; google.protobuf.Timestamp ts = 7; Order inner = 8; repeated int64 beside = 9;
    }"#;
/// What both of the messages below say.
const EVENT: &str = r#"{"id":-1,"amount":"2.56","price":0.5,"note":"ä","raw":"AQ==","day":"1970-01-02","ts":"1970-01-01T00:00:00.001Z"}"#;
/// By the specification's "Binary Encoding": zigzag varints, a block of two items and its end, a decimal's bytes,
/// branches.
const AVRO_MESSAGE: &[u8] = &[1, 4, 2, 4, 0, 4, 1, 0, 2, 0, 0, 0, 0x3f, 2, 4, 0xc3, 0xa4, 2, 1, 2, 2];
/// By "Encoding": tag and value of each field, and those that no column has.
const PROTOBUF_MESSAGE: &[u8] = &[
    8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0x12, 4, b'2', b'.', b'5', b'6', 0x19, 0, 0, 0, 0, 0,
    0, 0xe0, 0x3f, 0x22, 2, 0xc3, 0xa4, 0x2a, 1, 1, 0x32, 10, b'1', b'9', b'7', b'0', b'-', b'0', b'1', b'-', b'0',
    b'2', 0x3a, 4, 0x10, 0xc0, 0x84, 0x3d, 0x4a, 2, 1, 2,
];

struct Reader {
    stream: Stream,
    decoder: MessageDecoder,
    _folder: TempDir,
}

fn reader(format: &str, file: &str, schema: &str, columns: &str) -> Result<Reader, String> {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(file), schema).unwrap();
    let text = format!(
        "CREATE STREAM orders ({columns}) WITH (connector = 'kafka', topic = 'orders', format = '{format}', schema_file = '{file}'{});",
        if format == "protobuf" { ", message = 'Order'" } else { "" }
    );
    let project = check(&[SourceFile { name: "a.sql".to_owned(), text }]).unwrap();
    let stream = Stream::clone(&project.streams[0]);
    let settings = SchemaSettings { registry: None, folder: folder.path().to_owned() };
    let decoder = MessageDecoder::new(&stream, stream.feed().unwrap(), &settings).map_err(|error| error.to_string())?;
    Ok(Reader { stream, decoder, _folder: folder })
}

fn avro() -> Reader {
    reader("avro", "order.avsc", AVRO, COLUMNS).unwrap()
}

fn protobuf() -> Reader {
    reader("protobuf", "order.proto", PROTOBUF, COLUMNS).unwrap()
}

/// Whole messages read the same whatever lies between them; gives the details of those that were not read.
fn check_among(reader: &mut Reader, whole: &[u8], others: &[Option<&[u8]>]) -> Vec<(usize, String)> {
    let event = EventBody::read(EVENT.into(), BodyForm::Json, &reader.stream, BodyLimits { rows_max: 1 }).unwrap();
    let event = &event.batches()[0].batch;
    let mut values = vec![Some(whole)];
    others.iter().for_each(|other| values.extend([*other, Some(whole)]));
    let body = reader.decoder.decode(&values).unwrap().unwrap();
    assert_eq!(body.rows(), values.len());
    let decoded = &body.batches()[0];
    for row in (0..values.len()).step_by(2) {
        assert_eq!(decoded.batch.slice(row, 1), *event, "row {row} of {}", values.len());
    }
    assert!(decoded.unreadable.iter().all(|one| one.row % 2 == 1));
    decoded.unreadable.iter().map(|one| (one.row / 2, format!("{}: {}", body.raw(one.row).text, one.detail))).collect()
}

#[test]
fn a_message_is_the_event_that_it_says() {
    assert_eq!(check_among(&mut avro(), AVRO_MESSAGE, &[]), []);
    assert_eq!(check_among(&mut protobuf(), PROTOBUF_MESSAGE, &[]), []);
}

#[test]
fn what_is_no_message_is_set_aside_by_itself() {
    let cut = &AVRO_MESSAGE[..AVRO_MESSAGE.len() - 1];
    let longer = [AVRO_MESSAGE, &[0]].concat();
    let text = [&AVRO_MESSAGE[..14], &[4, 0xff, 0xff], &AVRO_MESSAGE[17..]].concat();
    let others = [None, Some(cut), Some(&longer[..]), Some(&[][..]), Some(&text[..]), Some(&[0xff; 30][..])];
    let told = check_among(&mut avro(), AVRO_MESSAGE, &others);
    assert_eq!(told.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5], "{told:?}");
    assert!(told[0].1.contains("no value"), "{told:?}");
    assert!(told[1].1.starts_with("\"AQQCBAAEAQACAAAAPwIEw6QCAQI=\": "), "{told:?}");

    let cut = &PROTOBUF_MESSAGE[..PROTOBUF_MESSAGE.len() - 1];
    let day = [&PROTOBUF_MESSAGE[..36], b"xx", &PROTOBUF_MESSAGE[38..]].concat();
    // Messages inside each other, deeper than a reader may follow.
    let mut deep = Vec::new();
    for _ in 0..500 {
        let mut outer = vec![0x42];
        let mut length = deep.len();
        while length > 127 {
            outer.push(length as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&deep);
        deep = outer;
    }
    let others = [None, Some(cut), Some(&day[..]), Some(&[0xff; 30][..]), Some(&deep[..])];
    let told = check_among(&mut protobuf(), PROTOBUF_MESSAGE, &others);
    assert_eq!(told.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{told:?}");
    assert!(told[2].1.contains("column `day`: expected DATE"), "{told:?}");
}

#[test]
fn columns_that_a_schema_cannot_give_are_refused_before_any_message() {
    let said = |format, file, schema, columns| reader(format, file, schema, columns).err().unwrap_or_default();
    let columns = COLUMNS.replace("note VARCHAR", "note BIGINT");
    let words = "column `note` is BIGINT, and `Order` writes [\"null\",\"string\"]";
    assert!(said("avro", "a.avsc", AVRO, &columns).ends_with(words), "{}", said("avro", "a.avsc", AVRO, &columns));
    let columns = format!("beside BIGINT, {COLUMNS}");
    assert!(
        said("avro", "a.avsc", AVRO, &columns).contains("column `beside` is BIGINT, and `Order` writes {\"items\"")
    );
    assert!(said("protobuf", "a.proto", PROTOBUF, &columns).ends_with("and `Order` writes repeated int64"));
    let columns = format!("\"inner\" BIGINT, {COLUMNS}");
    assert!(said("protobuf", "a.proto", PROTOBUF, &columns).ends_with("and `Order` writes Order"));
    assert!(said("protobuf", "a.proto", "message {", COLUMNS).starts_with("schema_file `"));
    assert!(
        said("protobuf", "a.proto", "syntax = \"proto3\"; message Other {}", COLUMNS).contains("no message `Order`")
    );
    assert!(said("avro", "a.avsc", "{}", COLUMNS).contains("not that of a record"));
}

#[test]
fn a_record_that_has_itself_inside_is_read_or_refused() {
    let recursive = r#"{"type": "record", "name": "Order", "fields": [
        {"name": "next", "type": ["null", "Order"]}, {"name": "id", "type": "long"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}"#;
    let columns = "id BIGINT NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts";
    match reader("avro", "a.avsc", recursive, columns) {
        Err(said) => assert!(said.contains("Order"), "{said}"),
        Ok(mut reader) => {
            let body = reader.decoder.decode(&[Some(&[0, 2, 2]), Some(&[2, 0, 4, 4, 2, 2])]).unwrap().unwrap();
            assert_eq!(body.batches()[0].unreadable, []);
        }
    }
}

#[test]
fn regression_a_name_of_an_enumeration_beside_a_value_that_is_none() {
    let schema = r#"{"type": "record", "name": "Order", "fields": [
        {"name": "note", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}}, {"name": "amount", "type": "string"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}"#;
    let columns = "note VARCHAR, amount DECIMAL(12,2), ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts";
    let mut reader = reader("avro", "a.avsc", schema, columns).unwrap();
    let values: [Option<&[u8]>; 2] = [Some(&[2, 6, b'a', b'b', b'c', 2]), Some(&[2, 2, b'1', 2])];
    let body = reader.decoder.decode(&values).unwrap().unwrap();
    let decoded = &body.batches()[0];
    assert_eq!((decoded.unreadable.len(), body.raw(1).text.contains(r#""note":"B""#)), (1, true));
    let dates = columns.replace("note VARCHAR", "note DATE");
    assert!(self::reader("avro", "a.avsc", schema, &dates).err().unwrap().contains("column `note` is DATE"));
}

#[test]
fn regression_schemas_that_have_no_end() {
    let own = r#"syntax = "proto3"; package google.protobuf; message StringValue { StringValue value = 1; }"#;
    let holds = "syntax = \"proto3\"; import \"w.proto\"; message Order { google.protobuf.StringValue note = 1; }";
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("w.proto"), own).unwrap();
    std::fs::write(folder.path().join("order.proto"), holds).unwrap();
    let text = "CREATE STREAM orders (note VARCHAR, ts TIMESTAMP METADATA FROM 'timestamp', WATERMARK FOR ts AS ts) WITH \
                (connector = 'kafka', topic = 'orders', format = 'protobuf', schema_file = 'order.proto', message = 'Order');";
    let project = check(&[SourceFile { name: "a.sql".to_owned(), text: text.to_owned() }]).unwrap();
    let settings = SchemaSettings { registry: None, folder: folder.path().to_owned() };
    let stream = &project.streams[0];
    let said = MessageDecoder::new(stream, stream.feed().unwrap(), &settings).err().unwrap().to_string();
    assert!(said.ends_with("and `Order` writes google.protobuf.StringValue"), "{said}");
}

#[test]
fn regression_a_record_with_the_beginning_of_another_behind_it() {
    let schema = r#"{"type": "record", "name": "Order", "fields": [
        {"name": "id", "type": ["null", "int"]}, {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "items", "type": {"type": "array", "items":
            {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "string"}]}}},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "mixed", "type": ["null", "string", "long", {"type": "fixed", "name": "Four", "size": 4}]},
        {"name": "price", "type": ["null", "float"]},
        {"name": "note", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "raw", "type": "bytes"}, {"name": "is_on", "type": "boolean"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;
    let columns = "id BIGINT, is_on BOOLEAN, amount DECIMAL(12,2), price DOUBLE, note VARCHAR, raw VARBINARY, day DATE, \
                   ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts";
    let whole: &[u8] =
        &[2, 1, 2, 2, b'a', 2, b'b', 0, 2, 2, b'x', 0, 4, 1, 0, 4, 6, 2, 0, 0, 0, 0x3f, 2, 2, 1, 1, 2, 2];
    let frame = [0, 0xfe, 0x9c, 0xb1, 0xa7];
    let damaged = &[whole, &frame].concat()[..];
    let mut reader = reader("avro", "a.avsc", schema, columns).unwrap();
    let body = reader.decoder.decode(&[Some(whole), Some(damaged), Some(whole)]).unwrap().unwrap();
    let decoded = &body.batches()[0];
    assert_eq!(decoded.batch.slice(0, 1), decoded.batch.slice(2, 1), "{:?}", decoded.unreadable);
    assert_eq!(decoded.unreadable.iter().map(|one| one.row).collect::<Vec<_>>(), [1], "{:?}", decoded.unreadable);
}

proptest! {
    #[test]
    fn any_bytes_are_a_row(values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
        let values: Vec<Option<&[u8]>> = values.iter().map(|value| value.as_deref()).collect();
        check_among(&mut avro(), AVRO_MESSAGE, &values);
        check_among(&mut protobuf(), PROTOBUF_MESSAGE, &values);
    }

    #[test]
    fn a_message_that_was_changed_is_a_row(place in 0..AVRO_MESSAGE.len(), byte in any::<u8>(), end in 0..PROTOBUF_MESSAGE.len()) {
        let mut avro_message = AVRO_MESSAGE.to_vec();
        avro_message[place] = byte;
        check_among(&mut avro(), AVRO_MESSAGE, &[Some(&avro_message)]);
        let mut message = PROTOBUF_MESSAGE.to_vec();
        message[end] = byte;
        check_among(&mut protobuf(), PROTOBUF_MESSAGE, &[Some(&message), Some(&message[..end])]);
    }
}
