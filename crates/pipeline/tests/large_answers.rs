//! Answers are bounded: one list or map fails by name, and a read whose answers would fill the memory is refused.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use asof_definition::SourceFile;
use asof_feature::StreamPlan;
use asof_pipeline::{Clock, Engine, EngineSettings, ReadError, StreamBatch};

const PROJECT: &str = "
CREATE STREAM events (k BIGINT NOT NULL, word VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'events.parquet', format = 'parquet');
CREATE FEATURE VIEW words AS
SELECT k, histogram(word) OVER w AS words FROM events WINDOW w AS (PARTITION BY k ORDER BY ts);
CREATE FEATURE VIEW newest AS
SELECT k, last_value(word) OVER w AS word FROM events WINDOW w AS (PARTITION BY k ORDER BY ts);
";
const WORDS: usize = 0;
const NEWEST: usize = 1;

fn engine() -> Engine {
    let sources = [SourceFile { name: "project.sql".to_owned(), text: PROJECT.to_owned() }];
    let project = asof_definition::check(&sources).expect("a sound project");
    let settings = EngineSettings { clock: Clock::Event, as_of_horizon_us: 0, state_bytes_max: usize::MAX };
    Engine::new(Arc::new(project), settings, Arc::new(|| 0)).unwrap()
}

/// Takes in words of one entity; event times are offsets.
fn take_in(engine: &Engine, k: i64, words: &[String], first: u64) {
    let plan = StreamPlan::new(engine.project().streams[0].clone()).unwrap();
    let offsets: Vec<u64> = (first..first + words.len() as u64).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![k; words.len()])),
        Arc::new(StringArray::from(words.to_vec())),
        Arc::new(TimestampMicrosecondArray::from_iter_values(offsets.iter().map(|offset| *offset as i64))),
    ];
    let batch = RecordBatch::try_new(plan.stream().schema(), columns).unwrap();
    let batch = StreamBatch {
        stream: 0,
        partition: 0,
        batch,
        rejected: Vec::new(),
        primary_keys: None,
        offsets,
        fed: None,
        arrived: None,
    };
    engine.take_in(vec![batch]).unwrap();
}

fn read(engine: &Engine, view: usize, k: i64, rows: usize) -> Result<ArrayRef, ReadError> {
    let reading = engine.reading();
    let key: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![k; rows]))];
    Ok(reading.view(view, &key, rows, reading.now_us())?.features.remove(0))
}

#[test]
fn regression_a_histogram_of_very_many_values_fails_by_name() {
    let engine = engine();
    let words: Vec<String> = (0..10_001).map(|word| format!("word {word}")).collect();
    take_in(&engine, 1, &words[..10_000], 0);
    assert_eq!(read(&engine, WORDS, 1, 1).unwrap().as_map().value(0).len(), 10_000);
    take_in(&engine, 1, &words[10_000..], 10_000);
    let error = read(&engine, WORDS, 1, 1).unwrap_err().to_string();
    let expected =
        "row 0: feature `words`: too_large: `histogram(word) OVER w` has more than 10000 values or 4 MiB of text";
    assert_eq!(error, expected);
    assert_eq!(read(&engine, NEWEST, 1, 1).unwrap().as_string::<i32>().value(0), "word 10000");
}

/// 2,048 times a text of a MiB would be more than a column of texts can hold.
#[test]
fn regression_a_read_of_very_large_answers_is_refused() {
    let engine = engine();
    take_in(&engine, 1, &["x".repeat(1 << 20)], 0);
    assert_eq!(read(&engine, NEWEST, 1, 63).unwrap().len(), 63);
    let error = read(&engine, NEWEST, 1, 2_100).unwrap_err();
    assert!(matches!(error, ReadError::TooLarge { rows: 64, .. }), "{error}");
    assert_eq!(error.to_string(), "the answers of 64 rows of `newest` take more than 67108864 bytes");
}
