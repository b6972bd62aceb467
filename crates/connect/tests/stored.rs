//! Stored batches: what is written reads back, and any other bytes give an error or a batch, never a panic.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

#[path = "stored/sample.rs"]
mod sample;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use asof_connect::{DeadLetter, Origin, ProducerBatch, StoredBatch, StoredHead, StoredVerdict};
use proptest::prelude::*;

use crate::sample::{Event, sample, schema, used};

fn encoded(batch: &StoredBatch) -> Vec<u8> {
    let mut out = Vec::new();
    batch.encode(&mut out).unwrap();
    out
}

fn refusal(bytes: &[u8], schema: &SchemaRef) -> String {
    StoredBatch::decode(bytes, schema).unwrap_err().to_string()
}

#[test]
fn a_batch_reads_back_and_its_buffer_is_used_again() {
    let batch = sample();
    let mut out = b"xyz".to_vec();
    batch.encode(&mut out).unwrap();
    assert_eq!(StoredBatch::decode(&out[3..], &schema()).unwrap(), batch);
    let head = StoredHead::decode(&out[3..]).unwrap();
    assert_eq!((&head.verdicts, &head.dead, &head.producers), (&batch.verdicts, &batch.dead, &batch.producers));
    assert_eq!(head.arrived, batch.arrived);
    let capacity = out.capacity();
    out.clear();
    batch.encode(&mut out).unwrap();
    assert_eq!((out.capacity(), out.len() % 8), (capacity, 0));
    let nothing = StoredBatch {
        verdicts: vec![StoredVerdict::Duplicate],
        arrived: None,
        arrived_is_imputed: false,
        watermark_us: None,
        origin: None,
        used: used(&[]),
        dead: Vec::new(),
        producers: Vec::new(),
    };
    assert_eq!(StoredBatch::decode(&encoded(&nothing), &schema()).unwrap(), nothing);
}

#[test]
fn a_batch_of_a_topic_without_a_place_for_each_row_is_not_written() {
    let short = StoredBatch { origin: Some(origin_of(&[(1, 7)])), ..sample() };
    let refused = short.encode(&mut Vec::new()).unwrap_err().to_string();
    assert!(refused.contains("not each row has a place where it comes from"), "{refused}");
}

/// The same of a batch that was read from a topic, which came later.
#[test]
fn the_sample_of_a_topic_is_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/stored-batch-1-of-a-topic");
    let batch = StoredBatch { origin: Some(origin_of(&[(0, 41), (0, 42), (11, 7), (0, 99)])), ..sample() };
    if std::env::var_os("ASOF_WRITE_SAMPLES").is_some() {
        std::fs::write(&path, encoded(&batch)).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(StoredBatch::decode(&bytes, &schema()).unwrap(), batch);
    assert_eq!(encoded(&batch), bytes);
}

/// The format is fixed: what version 1 wrote once is read for ever. `ASOF_WRITE_SAMPLES=1` writes the sample of a new
/// version; one that is committed does not change.
#[test]
fn the_sample_of_version_1_is_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/stored-batch-1");
    if std::env::var_os("ASOF_WRITE_SAMPLES").is_some() {
        std::fs::write(&path, encoded(&sample())).unwrap();
    }
    assert_eq!(StoredBatch::decode(&std::fs::read(&path).unwrap(), &schema()).unwrap(), sample());
}

#[test]
fn verdicts_keep_their_codes() {
    use StoredVerdict::{Check, Clock, Duplicate, Future, Late, NotNull, Unreadable, Used};
    for (code, verdict) in [Used, Duplicate, Late, Unreadable, NotNull, Check, Future, Clock].into_iter().enumerate() {
        assert_eq!((verdict.code(), StoredVerdict::from_code(code as u8)), (code as u8, Some(verdict)));
    }
    assert_eq!(StoredVerdict::from_code(8), None);
}

#[test]
fn stored_columns_follow_the_definition() {
    let bytes = encoded(&sample());
    let field = |name: &str, data_type, nullable| Arc::new(Field::new(name, data_type, nullable));
    let id = || field("id", DataType::Int64, true);
    let ts = || field("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false);
    let of = |fields: Vec<Arc<Field>>| Arc::new(Schema::new(fields));
    let changed = of(vec![ts(), field("new", DataType::Utf8, true), id()]);
    let used = StoredBatch::decode(&bytes, &changed).unwrap().used;
    assert_eq!((used.schema(), used.column(1).null_count()), (changed, 2));
    assert_eq!(used.column(2).as_primitive::<Int64Type>().value(0), 1);
    for (fields, expected) in [
        (
            vec![ts(), field("new", DataType::Utf8, false)],
            "column `new` is declared NOT NULL, and stored events do not have it; hint: declare it without NOT NULL",
        ),
        (
            vec![ts(), field("id", DataType::Int64, false)],
            "column `id` is declared NOT NULL, and a stored event has no value in it; hint: declare it without NOT NULL",
        ),
        (
            vec![ts(), field("id", DataType::Utf8, true)],
            "column `id` is declared as VARCHAR, and its stored events are BIGINT; hint: declare a new column beside it",
        ),
    ] {
        assert_eq!(refusal(&bytes, &of(fields)), expected);
    }
    let nothing = StoredBatch {
        verdicts: Vec::new(),
        arrived: None,
        used: crate::sample::used(&[]),
        dead: Vec::new(),
        ..sample()
    };
    let not_null = of(vec![field("new", DataType::Utf8, false)]);
    assert_eq!(StoredBatch::decode(&encoded(&nothing), &not_null).unwrap().used.num_rows(), 0);
}

#[test]
fn what_is_not_consistent_is_not_written() {
    let check = |batch: StoredBatch, expected: &str| {
        let refused = batch.encode(&mut Vec::new()).unwrap_err().to_string();
        assert_eq!(refused, format!("a batch of events cannot be stored: {expected}"));
    };
    check(StoredBatch { verdicts: vec![StoredVerdict::Used; 4], ..sample() }, "4 verdicts say used, and 2 rows are");
    check(StoredBatch { arrived: Some(vec![1, 2, 3].into()), ..sample() }, "not each row has an arrival time");
    let none = Int64Array::from(vec![Some(1), None, Some(2), Some(3)]);
    check(StoredBatch { arrived: Some(none), ..sample() }, "not each row has an arrival time");
    let mut dead = sample().dead;
    dead[1].row = 4;
    check(StoredBatch { dead, ..sample() }, "a dead letter is of no row");
}

#[test]
fn other_bytes_are_told_from_a_batch() {
    let bytes = encoded(&sample());
    assert_eq!(refusal(&[], &schema()), "a stored batch of events is damaged: it is empty");
    let other = [&[2], &bytes[1..]].concat();
    assert!(refusal(&other, &schema()).contains("is of version 2, and this program reads version 1"));
    for (place, byte, expected) in [
        (1, 16, "unknown flags 16"),
        (2, 1, "unknown flags 3, [1, 0]"),
        (16, 8, "unknown verdict 8"),
        (16, 1, "1 verdicts say used, and 2 rows are"),
        (11, 0xff, "parts are promised"),
        (15, 0xff, "parts are promised"),
        (7, 0xff, "more bytes at byte 16"),
    ] {
        let mut damaged = bytes.clone();
        damaged[place] = byte;
        let refused = refusal(&damaged, &schema());
        assert!(
            refused.starts_with("a stored batch of events is damaged: ") && refused.contains(expected),
            "{refused}"
        );
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_survived() {
    let bytes = encoded(&sample());
    for cut in 0..bytes.len() {
        // Only the mark at the end of the used events may be missing.
        assert!(StoredBatch::decode(&bytes[..cut], &schema()).is_err() || cut == bytes.len() - 8, "{cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(batch) = StoredBatch::decode(&damaged, &schema()) {
            check_whole(&batch);
        }
    }
}

fn check_whole(batch: &StoredBatch) {
    let used = batch.verdicts.iter().filter(|verdict| **verdict == StoredVerdict::Used).count();
    assert_eq!((used, batch.used.schema()), (batch.used.num_rows(), schema()));
    assert!(batch.dead.iter().all(|letter| (letter.row as usize) < batch.verdicts.len()));
    let read_again = StoredBatch::decode(&encoded(batch), &schema()).unwrap();
    assert_eq!(encoded(&read_again), encoded(batch));
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (
        any::<Option<i64>>(),
        proptest::option::of(-1e9..1e9_f64),
        proptest::option::of(-100_000..100_000_i32),
        any::<Option<String>>(),
        any::<Option<bool>>(),
        any::<i64>(),
    );
    proptest::collection::vec(event, 0..20)
}

fn letters(rows: usize) -> impl Strategy<Value = Vec<DeadLetter>> {
    let letter = (
        0..rows.max(1) as u32,
        any::<String>(),
        any::<Option<String>>(),
        any::<String>(),
        any::<String>(),
        any::<bool>(),
    );
    let letters = if rows == 0 { 0..1 } else { 0..5 };
    proptest::collection::vec(
        letter.prop_map(|(row, reason, view, detail, raw, raw_is_cut)| DeadLetter {
            row,
            reason,
            view,
            detail,
            raw,
            raw_is_cut,
        }),
        letters,
    )
}

fn producers() -> impl Strategy<Value = Vec<ProducerBatch>> {
    let producer = (any::<String>(), any::<u64>(), any::<[u32; 5]>());
    proptest::collection::vec(
        producer.prop_map(|(key, digest, [rows, accepted, duplicates, late, rejected])| ProducerBatch {
            key,
            digest,
            rows,
            accepted,
            duplicates,
            late,
            rejected,
        }),
        0..4,
    )
}

fn origin_of(places: &[(u32, u64)]) -> Origin {
    let mut origin = Origin::of_topic("payments");
    places.iter().for_each(|(partition, offset)| origin.push(*partition, *offset));
    origin
}

fn batches() -> impl Strategy<Value = StoredBatch> {
    let verdicts = |events: Vec<Event>| {
        let used = vec![0_u8; events.len()];
        (Just(events), proptest::collection::vec(1..8_u8, 0..10))
            .prop_flat_map(move |(events, others)| (Just(events), Just([used.clone(), others].concat()).prop_shuffle()))
    };
    events().prop_flat_map(verdicts).prop_flat_map(|(events, codes)| {
        let rows = codes.len();
        let arrived = proptest::option::of(proptest::collection::vec(any::<i64>(), rows));
        let watermark = proptest::option::of(any::<i64>());
        let origin = proptest::option::of(proptest::collection::vec((0..3_u32, any::<u64>()), rows));
        let facts = (arrived, any::<bool>(), watermark, origin);
        (Just(events), Just(codes), facts, letters(rows), producers()).prop_map(
            |(events, codes, (arrived, arrived_is_imputed, watermark_us, origin), dead, producers)| StoredBatch {
                verdicts: codes.into_iter().map(|code| StoredVerdict::from_code(code).unwrap()).collect(),
                arrived: arrived.map(Int64Array::from),
                arrived_is_imputed,
                watermark_us,
                origin: origin.as_deref().map(origin_of),
                used: used(&events),
                dead,
                producers,
            },
        )
    })
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back(batch in batches()) {
        prop_assert_eq!(StoredBatch::decode(&encoded(&batch), &schema()).unwrap(), batch);
    }

    #[test]
    fn damaged_bytes_are_survived(
        batch in batches(), places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = encoded(&batch);
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(batch) = StoredBatch::decode(&bytes, &schema()) {
            check_whole(&batch);
        }
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
        bytes[0] = 1;
        if let Ok(batch) = StoredBatch::decode(&bytes, &schema()) {
            check_whole(&batch);
        }
    }
}
