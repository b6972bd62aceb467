//! A stored batch with everything that one can have: for the tests of the format, and as a seed for its fuzz target.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use asof_connect::{DeadLetter, ProducerBatch, StoredBatch, StoredVerdict};

/// The columns of the sample, as its stream declared them then.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("country", DataType::Utf8, true),
        Field::new("image", DataType::Binary, true),
        Field::new("is_online", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]))
}

/// One used event: everything but its time may be NULL.
pub(crate) type Event = (Option<i64>, Option<f64>, Option<i32>, Option<String>, Option<bool>, i64);

pub(crate) fn used(events: &[Event]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(events.iter().map(|event| event.0).collect::<Int64Array>()),
        Arc::new(events.iter().map(|event| event.1).collect::<Float64Array>()),
        Arc::new(
            events
                .iter()
                .map(|event| event.2.map(i128::from))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(10, 2)
                .expect("five digits"),
        ),
        Arc::new(events.iter().map(|event| event.3.clone()).collect::<StringArray>()),
        Arc::new(events.iter().map(|event| event.3.clone()).collect::<BinaryArray>()),
        Arc::new(events.iter().map(|event| event.4).collect::<BooleanArray>()),
        Arc::new(events.iter().map(|event| event.2).collect::<Date32Array>()),
        Arc::new(events.iter().map(|event| Some(event.5)).collect::<TimestampMicrosecondArray>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns of the schema")
}

/// Two used events, one late, one unreadable; everything that a batch can have.
pub(crate) fn sample() -> StoredBatch {
    use StoredVerdict::{Late, Unreadable, Used};
    let letter = |row, view: Option<&str>, raw_is_cut| DeadLetter {
        row,
        reason: "unreadable".to_owned(),
        view: view.map(str::to_owned),
        detail: "column `amount`: expected DOUBLE, found text `ü`".to_owned(),
        raw: "{\"amount\":\"ü\"}".to_owned(),
        raw_is_cut,
    };
    let producer = |key: &str, rows| ProducerBatch {
        key: key.to_owned(),
        digest: 0x1234_5678_9abc_def0,
        rows,
        accepted: 1,
        duplicates: 2,
        late: 3,
        rejected: 4,
    };
    let ts_us = 1_706_659_200_000_000;
    StoredBatch {
        verdicts: vec![Used, Late, Unreadable, Used],
        arrived: Some(Int64Array::from(vec![ts_us, ts_us + 1, ts_us + 2, i64::MIN])),
        arrived_is_imputed: true,
        watermark_us: None,
        origin: None,
        used: used(&[
            (Some(1), Some(-1.5), Some(12_345), Some("GB".to_owned()), Some(true), ts_us),
            (None, None, None, None, None, ts_us + 1),
        ]),
        dead: vec![letter(0, Some("account_activity"), false), letter(2, None, true)],
        producers: vec![producer("key 1", 3), producer("", 1)],
    }
}
