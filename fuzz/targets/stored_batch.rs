//! What a frame of the log holds: decoded, it encodes to bytes that decode to the same.
#![no_main]

// The batch that the tests of the format are made of.
#[path = "../../crates/connect/tests/stored/sample.rs"]
mod sample;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use asof_connect::{StoredBatch, StoredHead};
use asof_fuzz::{Seed, begin, file};

/// The columns of the sample, as its stream declares them today: `new` came later.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = sample::schema().fields().to_vec();
    fields.push(Arc::new(Field::new("new", DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
});

libfuzzer_sys::fuzz_target!(init: begin(seeds()), |bytes: &[u8]| check(bytes));

fn seeds() -> [Seed; 2] {
    let mut today = Vec::new();
    sample::sample().encode(&mut today).expect("the sample can be written");
    let version_1 = file("crates/connect/tests/samples/stored-batch-1");
    [("version-1".to_owned(), version_1), ("today".to_owned(), today)]
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
