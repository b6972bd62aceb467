//! Reads while batches go in: every answer of a read is what its position says, in all views, for as long as it lasts.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int64Type};
use asof_definition::SourceFile;
use asof_feature::StreamPlan;
use asof_pipeline::{Clock, Engine, EngineSettings, ReadError, Reading, StreamBatch};

const PROJECT: &str = "
CREATE STREAM events (
  id BIGINT NOT NULL, a BIGINT NOT NULL, b BIGINT NOT NULL, v DOUBLE NOT NULL, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR ts AS ts - INTERVAL '1' HOUR
) WITH (connector = 'file', path = 'events.parquet', format = 'parquet');
CREATE FEATURE VIEW by_a AS
SELECT a, count(*) OVER w AS events, sum(v) OVER w AS total, last_value(id) OVER w AS newest
FROM events WINDOW w AS (PARTITION BY a ORDER BY ts);
CREATE FEATURE VIEW by_b AS
SELECT b, count(*) OVER w AS events, sum(v) OVER m AS total_minute
FROM events
WINDOW w AS (PARTITION BY b ORDER BY ts),
       m AS (PARTITION BY b ORDER BY ts RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE both AS
SELECT x.events AS events_a, x.total, x.newest, y.events AS events_b, y.total_minute
FROM REQUEST (a BIGINT, b BIGINT) AS r
LEFT JOIN by_a AS x ON x.a = r.a
LEFT JOIN by_b AS y ON y.b = r.b;
";

const ENTITIES_A: i64 = 7;
const ENTITIES_B: i64 = 11;
const ROWS: i64 = 120_000;
const SECOND_US: i64 = 1_000_000;

/// Row i is of entities i mod 7 and i mod 11. Times go forward by a second a row, but every pair of rows comes swapped, so
/// that an insertion stands before the tail.
fn time_us(row: i64) -> i64 {
    (row ^ 1) * SECOND_US
}

fn engine() -> Engine {
    let sources = [SourceFile { name: "project.sql".to_owned(), text: PROJECT.to_owned() }];
    let project = asof_definition::check(&sources).expect("a sound project");
    let settings =
        EngineSettings { clock: Clock::Event, as_of_horizon_us: 3_600 * SECOND_US, state_bytes_max: usize::MAX };
    Engine::new(Arc::new(project), settings, Arc::new(|| 0)).unwrap()
}

fn batch(plan: &StreamPlan, first: i64, rows: i64) -> StreamBatch {
    let column = |value: &dyn Fn(i64) -> i64| Arc::new(Int64Array::from_iter_values((first..first + rows).map(value)));
    let values = (first..first + rows).map(|row| row as f64 * 0.25);
    let times = TimestampMicrosecondArray::from_iter_values((first..first + rows).map(time_us));
    let columns: Vec<ArrayRef> = vec![
        column(&|row| row),
        column(&|row| row % ENTITIES_A),
        column(&|row| row % ENTITIES_B),
        Arc::new(Float64Array::from_iter_values(values)),
        Arc::new(times),
    ];
    let batch = RecordBatch::try_new(plan.stream().schema(), columns).unwrap();
    let primary_keys = plan.primary_keys(&batch).unwrap();
    let offsets = (first as u64..(first + rows) as u64).collect();
    StreamBatch {
        stream: 0,
        partition: 0,
        batch,
        rejected: Vec::new(),
        primary_keys,
        offsets,
        fed: None,
        arrived: None,
    }
}

/// What the service answers for (a, b) once rows 0..position are in, as of an instant: the definition, row by row.
fn expected(position: i64, a: i64, b: i64, t_us: i64) -> (i64, Option<f64>, Option<i64>, i64, Option<f64>) {
    let seen = |row: &i64| time_us(*row) <= t_us;
    let of_a = || (a..position).step_by(ENTITIES_A as usize).filter(seen);
    let of_b = || (b..position).step_by(ENTITIES_B as usize).filter(seen);
    let sum = |rows: &mut dyn Iterator<Item = i64>| rows.map(|row| row as f64 * 0.25).reduce(|sum, x| sum + x);
    (
        of_a().count() as i64,
        sum(&mut of_a()),
        of_a().max_by_key(|row| time_us(*row)),
        of_b().count() as i64,
        sum(&mut of_b().filter(|row| time_us(*row) >= t_us - 60 * SECOND_US)),
    )
}

/// Reads some pairs of entities and compares them with what the read's own position says.
fn check(reading: &Reading<'_>, turn: i64) {
    let position = reading.published().streams[0].next_offsets[0] as i64;
    let pairs: Vec<(i64, i64)> =
        (turn..turn + 5).map(|pair| (pair % (ENTITIES_A + 1), pair % (ENTITIES_B + 1))).collect();
    let request: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(pairs.iter().map(|pair| pair.0))),
        Arc::new(Int64Array::from_iter_values(pairs.iter().map(|pair| pair.1))),
    ];
    let t_us = reading.now_us() - (turn % 40) * SECOND_US;
    let answers = reading.service(0, &request, pairs.len(), t_us).unwrap();
    let integer = |place: usize, row: usize| {
        let column = answers.features[place].as_primitive::<Int64Type>();
        arrow::array::Array::is_valid(column, row).then(|| column.value(row))
    };
    let double = |place: usize, row: usize| {
        let column = answers.features[place].as_primitive::<Float64Type>();
        arrow::array::Array::is_valid(column, row).then(|| column.value(row))
    };
    for (row, (a, b)) in pairs.iter().enumerate() {
        // The last entity of each view has no events at all.
        let (a, b) = (if *a < ENTITIES_A { *a } else { position }, if *b < ENTITIES_B { *b } else { position });
        let found =
            (integer(0, row).unwrap(), double(1, row), integer(2, row), integer(3, row).unwrap(), double(4, row));
        assert_eq!(found, expected(position, a, b, t_us), "({a}, {b}) at position {position} as of {t_us}");
    }
}

/// A read in progress keeps in memory what it must not see: one that more than a million events overtake is given up.
#[test]
fn a_read_that_is_overtaken_ends() {
    let engine = engine();
    let plan = StreamPlan::new(engine.project().streams[0].clone()).unwrap();
    engine.take_in(vec![batch(&plan, 0, 2)]).unwrap();
    let reading = engine.reading();
    let rows = 60_000;
    (0..18).for_each(|turn| engine.take_in(vec![batch(&plan, 2 + turn * rows, rows)]).unwrap());
    let read = |reading: &Reading<'_>, rows: usize| {
        let key: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![0; rows]))];
        reading.view(0, &key, rows, reading.now_us()).map(|answers| answers.known.len())
    };
    assert_eq!(read(&reading, 10).unwrap(), 10, "a short one ends before anybody asks");
    let error = read(&reading, 100).unwrap_err();
    assert!(matches!(error, ReadError::Overtaken { rows: 1_080_000 }), "{error}");
    assert_eq!(read(&engine.reading(), 100).unwrap(), 100);
}

#[test]
fn every_answer_is_of_its_position() {
    let engine = engine();
    let plan = StreamPlan::new(engine.project().streams[0].clone()).unwrap();
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let quick = || {
            let mut turn = 0;
            while !done.load(Ordering::Relaxed) {
                check(&engine.reading(), turn);
                turn += 1;
                reads.fetch_add(1, Ordering::Relaxed);
            }
        };
        // Reads that last: what they see does not change while thousands of rows come in and others are swept.
        let slow = || {
            while !done.load(Ordering::Relaxed) {
                let reading = engine.reading();
                (0..40).for_each(|turn| check(&reading, turn));
                reads.fetch_add(1, Ordering::Relaxed);
            }
        };
        let readers = [scope.spawn(quick), scope.spawn(slow)];
        let mut random: u64 = 17;
        let (mut first, mut batches) = (0, 0u64);
        while first < ROWS && !readers.iter().any(|reader| reader.is_finished()) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // An even number of rows, so that a swapped pair is never torn: in between, a row would be missing.
            let rows = (2 * (1 + (random >> 33) as i64 % if random >> 63 == 0 { 4 } else { 300 })).min(ROWS - first);
            engine.take_in(vec![batch(&plan, first, rows)]).unwrap();
            first += rows;
            batches += 1;
            // Readers and writer keep pace, so that reads fall between and into the batches.
            while reads.load(Ordering::Relaxed) < batches / 2 && !readers.iter().any(|reader| reader.is_finished()) {
                std::thread::yield_now();
            }
            if first % 64 == 0 {
                engine.maintain().unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 20, "readers came to read");
    let last = engine.reading();
    assert_eq!(last.published().streams[0].next_offsets, [ROWS as u64]);
    (0..60).for_each(|turn| check(&last, turn));
}
