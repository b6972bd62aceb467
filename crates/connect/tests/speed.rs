//! How fast files decode and are written: printed, so that a change that halves it is seen (`-- --nocapture`).
//! `ASOF_SPEED_ROWS` sets the number of events, 200,000 unless told.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print what they measure")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit as ArrowTimeUnit};
use arrow::ipc::writer::StreamWriter;
use asof_connect::{
    BodyForm, BodyLimits, ConnectError, EventBody, EventFile, Format, StoredBatch, StoredVerdict, TableWriter, Wanted,
    WantedColumn,
};
use asof_definition::{SourceFile, Stream, check};
use bytes::Bytes;

fn rows() -> usize {
    std::env::var("ASOF_SPEED_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(200_000)
}

/// Ten columns of a card transaction.
fn wide_events(rows: usize) -> RecordBatch {
    let hash = |row: usize, salt: u64| (row as u64 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let integers =
        |salt, modulo: u64| Int64Array::from_iter_values((0..rows).map(|row| (hash(row, salt) % modulo) as i64));
    let ts = (0..rows).map(|row| 1_700_000_000_000_000 + row as i64 * 1_000);
    let columns: [(&str, ArrayRef); 10] = [
        ("id", Arc::new(integers(1, u64::MAX))),
        ("account_id", Arc::new(integers(2, 1_000_000))),
        ("merchant_id", Arc::new(integers(3, 10_000))),
        ("device_id", Arc::new(integers(4, 500_000))),
        (
            "amount",
            Arc::new(Float64Array::from_iter_values((0..rows).map(|row| (hash(row, 5) % 100_000) as f64 / 100.0))),
        ),
        ("fee", Arc::new(Float64Array::from_iter_values((0..rows).map(|row| (hash(row, 6) % 100) as f64 / 100.0)))),
        ("country", Arc::new(StringArray::from_iter_values((0..rows).map(|row| ["GB", "DE", "US"][row % 3])))),
        ("channel", Arc::new(Int32Array::from_iter_values((0..rows).map(|row| (row % 5) as i32)))),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(ts.clone()))),
        ("arrived", Arc::new(TimestampMicrosecondArray::from_iter_values(ts))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn wanted_of(batch: &RecordBatch) -> Wanted {
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| WantedColumn { name: field.name().clone(), data_type: field.data_type().clone() });
    Wanted { columns: columns.collect(), time_unit: None }
}

/// Nanoseconds per row with that many threads.
fn decode(path: &Path, wanted: &Wanted, threads: usize, rows: usize) -> f64 {
    let file = EventFile::open(path, Format::from_path(path).unwrap(), wanted).unwrap();
    let decoder = file.decoder();
    let file = Mutex::new(file);
    let started = Instant::now();
    let decoded: usize = std::thread::scope(|scope| {
        let work = || {
            let mut count = 0;
            loop {
                let Some(piece) = file.lock().unwrap().next_piece().unwrap() else { return count };
                let mut each = |one: asof_connect::Decoded| -> Result<(), ConnectError> {
                    assert!(one.unreadable.is_empty());
                    count += one.batch.num_rows();
                    Ok(())
                };
                decoder.decode(piece, &mut each).unwrap();
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(decoded, rows);
    started.elapsed().as_nanos() as f64 / rows as f64
}

#[test]
fn decoding_and_writing_are_timed() {
    let rows = rows();
    let folder = tempfile::tempdir().unwrap();
    let batch = wide_events(rows);
    for (format, name) in [(Format::Parquet, "e.parquet"), (Format::Csv, "e.csv"), (Format::Jsonl, "e.jsonl")] {
        let path = folder.path().join(name);
        let writer = TableWriter::create(&path, format, batch.schema()).unwrap();
        let started = Instant::now();
        writer.append(std::slice::from_ref(&batch)).unwrap();
        let bytes = writer.finish().unwrap();
        let write_ns = started.elapsed().as_nanos() as f64 / rows as f64;
        let one = decode(&path, &wanted_of(&batch), 1, rows);
        let two = decode(&path, &wanted_of(&batch), 2, rows);
        println!(
            "{format}, 10 columns, {} bytes a row: decoded in {one:.0} ns a row by one thread, {two:.0} by two; written in {write_ns:.0}",
            bytes / rows as u64
        );
    }
    let path = folder.path().join("narrow.jsonl");
    let line = |row: usize| {
        format!(
            "{{\"transaction_id\":\"tx-{row:010}\",\"account_id\":{},\"merchant_id\":{},\"amount\":{}.{:02},\"country\":\"GB\",\"ts\":\"2026-01-01T{:02}:{:02}:{:02}.{:06}Z\"}}\n",
            100_000 + row * 7 % 899_999,
            1_000 + row % 8_999,
            100 + row % 800,
            row % 100,
            row / 3_600 % 24,
            row / 60 % 60,
            row % 60,
            row % 1_000_000,
        )
    };
    std::fs::write(&path, (0..rows).map(line).collect::<String>()).unwrap();
    let columns = [
        ("transaction_id", DataType::Utf8),
        ("account_id", DataType::Int64),
        ("merchant_id", DataType::Int64),
        ("amount", DataType::Float64),
        ("country", DataType::Utf8),
        ("ts", DataType::Timestamp(ArrowTimeUnit::Microsecond, None)),
    ];
    let columns =
        columns.into_iter().map(|(name, data_type)| WantedColumn { name: name.to_owned(), data_type }).collect();
    let wanted = Wanted { columns, time_unit: None };
    let (one, two) = (decode(&path, &wanted, 1, rows), decode(&path, &wanted, 2, rows));
    println!(
        "JSONL, 6 columns, {} bytes a row: decoded in {one:.0} ns a row by one thread, {two:.0} by two",
        line(7).len()
    );
}

/// A stream of six columns, and lines of events of it, 142 bytes each.
fn posted_events(rows: usize) -> (Arc<Stream>, Vec<u8>) {
    let text = "CREATE STREAM e (transaction_id BIGINT, account_id BIGINT, merchant_id BIGINT, amount DOUBLE, \
                country VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts);";
    let file = SourceFile { name: "e.sql".to_owned(), text: text.to_owned() };
    let stream = check(&[file]).unwrap().streams[0].clone();
    let mut lines = Vec::new();
    for row in 0..rows {
        let (hour, second, micros) = (row % 24, row % 60, row % 1_000_000);
        let line = format!(
            "{{\"transaction_id\":{:09},\"account_id\":{:07},\"merchant_id\":{:05},\"amount\":{:.2},\"country\":\"GB\",\
             \"ts\":\"2024-01-31T{hour:02}:12:{second:02}.{micros:06}Z\"}}\n",
            100_000_000 + row,
            1_000_000 + row % 1_000_000,
            10_000 + row % 10_000,
            100.0 + (row % 80_000) as f64 / 100.0
        );
        lines.extend(line.as_bytes());
    }
    (stream, lines)
}

#[test]
fn bodies_and_stored_batches_are_timed() {
    let rows = 8_192;
    let (stream, lines) = posted_events(rows);
    let array = [b"[", &lines[..lines.len() - 1], b"]"].concat();
    let array: Vec<u8> = array.into_iter().map(|byte| if byte == b'\n' { b',' } else { byte }).collect();
    let limits = BodyLimits { rows_max: rows };
    let read = |bytes: &Bytes, form| EventBody::read(bytes.clone(), form, &stream, limits).unwrap();
    let used = read(&lines.clone().into(), BodyForm::Ndjson).batches()[0].batch.clone();
    let mut arrow = StreamWriter::try_new(Vec::new(), used.schema_ref()).unwrap();
    arrow.write(&used).unwrap();
    arrow.finish().unwrap();
    let bytes_a_row = lines.len() / rows;
    for (form, bytes) in [
        (BodyForm::Ndjson, Bytes::from(lines)),
        (BodyForm::Json, array.into()),
        (BodyForm::Arrow, arrow.into_inner().unwrap().into()),
    ] {
        let nanoseconds = per_row(rows, || assert_eq!(read(&bytes, form).rows(), rows));
        println!("{form} of {bytes_a_row}-byte events: {nanoseconds:.0} ns a row");
    }
    let (dead, producers) = (Vec::new(), Vec::new());
    let verdicts = vec![StoredVerdict::Used; rows];
    let batch = StoredBatch {
        verdicts,
        arrived: None,
        arrived_is_imputed: false,
        watermark_us: None,
        origin: None,
        used,
        dead,
        producers,
    };
    let mut out = Vec::new();
    let encode = per_row(rows, || {
        out.clear();
        batch.encode(&mut out).unwrap();
    });
    let decode =
        per_row(rows, || assert_eq!(StoredBatch::decode(&out, batch.used.schema_ref()).unwrap().used.num_rows(), rows));
    let copy = per_row(rows, || assert_eq!(std::hint::black_box(out.clone()).len(), out.len()));
    println!(
        "a stored batch of {} bytes a row: encode {encode:.1}, decode {decode:.1}, copy {copy:.1} ns a row",
        out.len() / rows
    );
}

/// The least time of some repetitions, in nanoseconds a row.
fn per_row(rows: usize, mut work: impl FnMut()) -> f64 {
    let time = || {
        let started = Instant::now();
        work();
        started.elapsed().as_nanos()
    };
    std::iter::repeat_with(time).take(30).min().unwrap() as f64 / rows as f64
}
