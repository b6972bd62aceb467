//! What a frame of the log holds: decoded, it encodes to bytes that decode to the same.
#![no_main]

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use asof_connect::{StoredBatch, StoredHead};
use asof_fuzz::{begin, file};

/// The columns of the sample, as its stream declares them today: `new` came later.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("country", DataType::Utf8, true),
        Field::new("image", DataType::Binary, true),
        Field::new("is_online", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("new", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]))
});

libfuzzer_sys::fuzz_target!(init: begin([seed()]), |bytes: &[u8]| check(bytes));

fn seed() -> (String, Vec<u8>) {
    ("version-1".to_owned(), file("crates/connect/tests/samples/stored-batch-1"))
}

fn check(bytes: &[u8]) {
    let head = StoredHead::decode(bytes);
    let Ok(batch) = StoredBatch::decode(bytes, &SCHEMA) else { return };
    let head = head.expect("a batch that is read has a head that is read");
    assert_eq!((&head.verdicts, &head.dead, &head.producers), (&batch.verdicts, &batch.dead, &batch.producers));
    assert_eq!((&head.arrived, head.arrived_is_imputed), (&batch.arrived, batch.arrived_is_imputed));
    let mut encoded = Vec::new();
    batch.encode(&mut encoded).expect("a batch that was read can be written");
    let again = StoredBatch::decode(&encoded, &SCHEMA).expect("a batch that was written can be read");
    assert_eq!(again, batch);
}
