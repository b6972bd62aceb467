//! A stream with a column of every type, and bodies for it.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_definition::{SourceFile, Stream, check};

use crate::begin::Seed;

/// An event of the stream with every value.
pub const EVENT: &str = r#"{"id":1,"is_on":true,"small":-2,"middle":70000,"ratio":0.5,"amount":-1.25,"price":"12.34","exact":12345678901234567890.0123456789,"country":"GB","image":"AQID","day":"2024-01-31","ts":"2024-01-31T00:00:00.000001Z","arrived":1706659200000001}"#;

static STREAM: LazyLock<Arc<Stream>> = LazyLock::new(|| {
    let text = "CREATE STREAM events (id BIGINT NOT NULL, is_on BOOLEAN, small SMALLINT, middle INTEGER, ratio REAL, \
                amount DOUBLE, price DECIMAL(10,2), exact DECIMAL(38,10), country VARCHAR, image VARBINARY, day DATE, \
                ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts);";
    let sources = [SourceFile { name: "events.sql".to_owned(), text: text.to_owned() }];
    check(&sources).expect("a sound project").streams[0].clone()
});

/// The stream. The column `arrived` of [`EVENT`] is none of its own.
pub fn every_type_stream() -> &'static Stream {
    &STREAM
}

/// Arrow bodies of the event: in the stream's own types, and in others that are converted.
///
/// # Panics
/// If the event cannot be read.
pub fn arrow_bodies() -> Vec<Seed> {
    let limits = BodyLimits { rows_max: 10 };
    let lines = format!("{EVENT}\n{{\"id\":2,\"ts\":\"2024-02-29\"}}");
    let body = EventBody::read(lines.into(), BodyForm::Ndjson, &STREAM, limits).expect("two events");
    let own = &body.batches()[0].batch;
    let texts = |column: &str, data_type: DataType| with(own, column, &data_type);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let batches = [
        ("own", own.clone()),
        ("dictionary", texts("country", dictionary)),
        ("view", texts("country", DataType::Utf8View)),
        ("large", texts("country", DataType::LargeUtf8)),
        ("number", texts("amount", DataType::Utf8)),
        ("ticks", texts("ts", DataType::Int64)),
        ("nanoseconds", texts("ts", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())))),
        ("bytes", texts("image", DataType::BinaryView)),
    ];
    batches.into_iter().map(|(name, batch)| (name.to_owned(), stream_of(&batch))).collect()
}

/// The batch with one column of another type.
fn with(batch: &RecordBatch, column: &str, data_type: &DataType) -> RecordBatch {
    let fields = batch.schema();
    let columns = fields.fields().iter().zip(batch.columns()).map(|(field, array)| {
        let of_type = if field.name() == column { cast(array, data_type).expect("it converts") } else { array.clone() };
        (field.name().clone(), of_type as ArrayRef, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn stream_of(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).expect("a vector takes everything");
    writer.write(batch).expect("a vector takes everything");
    writer.into_inner().expect("a vector takes everything")
}
