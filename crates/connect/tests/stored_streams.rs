//! What a stream's log holds, read frame by frame, as Parquet, and both together.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use asof_connect::{
    ConnectError, DeadLetter, HISTORY_SYNC_SITES, StoredBatch, StoredEvents, StoredStream, StoredVerdict, UsedEvents,
    VerdictCounts, history_files, history_folder, stream_folder, write_history_file,
};
use asof_definition::{SourceFile, Stream, check};
use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::{LogSettings, NewFrame, PartitionLog};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const DATA: &str = "/data";
/// The rows of a frame: used, late, used, rejected.
const VERDICTS: [StoredVerdict; 4] =
    [StoredVerdict::Used, StoredVerdict::Late, StoredVerdict::Used, StoredVerdict::Check];

fn stream() -> Arc<Stream> {
    let text =
        "CREATE STREAM \"Card events\" (id BIGINT NOT NULL, _offset VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts);";
    let file = SourceFile { name: "e.sql".to_owned(), text: text.to_owned() };
    check(&[file]).unwrap().streams[0].clone()
}

/// Frame `number` of the log: its used events have the ids of their offsets.
fn frame(number: u64) -> StoredBatch {
    let first = number * VERDICTS.len() as u64;
    let ids = Int64Array::from(vec![first as i64, first as i64 + 2]);
    let texts = ids.iter().map(|id| id.filter(|id| id % 3 == 0).map(|id| format!("event {id}")));
    let times = TimestampMicrosecondArray::from_iter_values(ids.values().iter().map(|id| id * 1_000));
    let texts = Arc::new(texts.collect::<arrow::array::StringArray>());
    let used = RecordBatch::try_new(stream().schema(), vec![Arc::new(ids), texts, Arc::new(times)]).unwrap();
    let letter = DeadLetter {
        row: 3,
        reason: "check".to_owned(),
        view: None,
        detail: String::new(),
        raw: "{}".to_owned(),
        raw_is_cut: false,
    };
    let is_loaded = number.is_multiple_of(2);
    StoredBatch {
        verdicts: VERDICTS.to_vec(),
        arrived: is_loaded.then(|| (0..4).map(|row| number as i64 * 10 + row).collect::<Vec<i64>>().into()),
        arrived_is_imputed: is_loaded,
        watermark_us: None,
        origin: None,
        used,
        dead: vec![letter],
        producers: Vec::new(),
    }
}

fn arrived_us(number: u64) -> i64 {
    1_000_000 + number as i64
}

fn open_log(disk: &Arc<dyn Disk>) -> PartitionLog {
    let folder = stream_folder(Path::new(DATA), &stream().name, 0);
    PartitionLog::open(disk.clone(), &folder, LogSettings { segment_bytes: 1 << 20, generation: 1 }).unwrap().0
}

/// Segments of so many frames; all but the last are sealed.
fn write_log(disk: &Arc<dyn Disk>, segments: &[u64]) -> PartitionLog {
    let mut log = open_log(disk);
    let (mut number, mut body) = (0, Vec::new());
    for (place, frames) in segments.iter().enumerate() {
        for _ in 0..*frames {
            body.clear();
            frame(number).encode(&mut body).unwrap();
            let arrived_us = arrived_us(number);
            let new = NewFrame { rows: 4, arrived_us, dead: 1, newest_us: arrived_us, body: &body };
            assert_eq!(log.append(new).unwrap(), number * 4);
            number += 1;
        }
        log.sync().unwrap();
        if place + 1 < segments.len() {
            log.seal().unwrap();
        }
    }
    log
}

fn write_history(disk: &Arc<dyn Disk>, offsets: std::ops::Range<u64>) -> Result<u64, ConnectError> {
    write_history_file(disk, Path::new(DATA), &stream(), 0, offsets, &mut |_| ()).map(|written| written.events)
}

fn read_events(disk: &Arc<dyn Disk>) -> Result<Vec<UsedEvents>, ConnectError> {
    let mut events = StoredEvents::open(disk.clone(), Path::new(DATA), &stream(), 0)?;
    let mut all = Vec::new();
    while let Some(some) = events.next_events()? {
        all.push(some);
    }
    Ok(all)
}

/// The events of these frames, each once, in order, whatever they were read from.
fn check_events(disk: &Arc<dyn Disk>, frames: std::ops::Range<u64>) {
    let all = read_events(disk).unwrap();
    let mut expected = Vec::new();
    for number in frames.clone() {
        for row in [0, 2] {
            let arrived = if number.is_multiple_of(2) { number as i64 * 10 + row as i64 } else { arrived_us(number) };
            expected.push((number * 4 + row, arrived, (number * 4 + row) as i64));
        }
    }
    let mut found = Vec::new();
    let mut verdicts = VerdictCounts::default();
    for events in &all {
        assert_eq!(events.events.schema(), stream().schema());
        let ids = events.events.column(0).as_primitive::<Int64Type>();
        let texts = events.events.column(1).as_string::<i32>();
        for (row, offset) in events.offsets.iter().enumerate() {
            found.push((*offset, events.arrived_us.value(row), ids.value(row)));
            let text = (ids.value(row) % 3 == 0).then(|| format!("event {}", ids.value(row)));
            assert_eq!(texts.is_valid(row).then(|| texts.value(row).to_owned()), text);
        }
        verdicts.add(events.verdicts);
    }
    assert_eq!(found, expected);
    let count = frames.end - frames.start;
    let imputed = 2 * frames.filter(|number| number.is_multiple_of(2)).count() as u64;
    let judged = VerdictCounts { used: 2 * count, late: count, check: count, imputed, ..VerdictCounts::default() };
    assert_eq!(verdicts, judged);
}

#[test]
fn frames_are_read_from_an_offset_on_and_followed() {
    let disk = SimulatedDisk::new(1).shared();
    let mut empty = StoredStream::open(disk.clone(), Path::new(DATA), &stream(), 0, 0).unwrap();
    assert_eq!(empty.next_frame().unwrap(), None);
    let mut log = write_log(&disk, &[2, 3]);
    let mut stored = StoredStream::open(disk.clone(), Path::new(DATA), &stream(), 0, 5).unwrap();
    for number in 1..5 {
        let found = stored.next_frame().unwrap().unwrap();
        assert_eq!((found.first_offset, found.end_offset()), (number * 4, number * 4 + 4));
        assert_eq!((found.arrived_us, found.batch), (arrived_us(number), frame(number)));
    }
    assert_eq!(stored.next_frame().unwrap(), None);
    let mut body = Vec::new();
    frame(5).encode(&mut body).unwrap();
    log.append(NewFrame { rows: 4, arrived_us: arrived_us(5), dead: 1, newest_us: 0, body: &body }).unwrap();
    log.sync().unwrap();
    assert_eq!(stored.next_frame().unwrap().unwrap().batch, frame(5));
}

#[test]
fn a_frame_that_is_no_batch_is_named() {
    let disk = SimulatedDisk::new(1).shared();
    let mut log = write_log(&disk, &[1]);
    let mut body = Vec::new();
    frame(1).encode(&mut body).unwrap();
    log.append(NewFrame { rows: 3, arrived_us: arrived_us(1), dead: 1, newest_us: 0, body: &body }).unwrap();
    log.append(NewFrame { rows: 1, arrived_us: arrived_us(2), dead: 1, newest_us: 0, body: b"nonsense" }).unwrap();
    log.sync().unwrap();
    for (from, expected) in [
        (4, "offset 4: a stored batch of events is damaged: 4 rows in a frame of 3"),
        (7, "offset 7: a stored batch of events is of version 110"),
    ] {
        let mut stored = StoredStream::open(disk.clone(), Path::new(DATA), &stream(), 0, from).unwrap();
        let refused = stored.next_frame().unwrap_err().to_string();
        assert!(refused.starts_with(&format!("stream `Card events`, partition 0, {expected}")), "{refused}");
    }
}

#[test]
fn events_come_once_from_segments_and_parquet() {
    // Segments of 2, 3, 1 and 2 frames: offsets 0, 8, 20, 24, 32. Which of the sealed ones are Parquet, too:
    for written in 0..8 {
        let disk = SimulatedDisk::new(1).shared();
        let log = write_log(&disk, &[2, 3, 1, 2]);
        for (place, offsets) in [0..8, 8..20, 20..24].into_iter().enumerate() {
            if written & (1 << place) != 0 {
                let frames = (offsets.end - offsets.start) / 4;
                assert_eq!(write_history(&disk, offsets).unwrap(), 2 * frames);
            }
        }
        check_events(&disk, 0..8);
        drop(log);
    }
    let disk = SimulatedDisk::new(1).shared();
    check_events(&disk, 0..0);
    let _log = write_log(&disk, &[2, 3, 1]);
    // Files that overlap: the events of both, once.
    write_history(&disk, 0..20).unwrap();
    write_history(&disk, 0..8).unwrap();
    write_history(&disk, 8..24).unwrap();
    check_events_only(&disk, 0..6);
}

/// As [`check_events`], where what overlaps is counted twice in the verdicts.
fn check_events_only(disk: &Arc<dyn Disk>, frames: std::ops::Range<u64>) {
    let offsets: Vec<u64> = read_events(disk).unwrap().into_iter().flat_map(|events| events.offsets).collect();
    let expected: Vec<u64> = frames.flat_map(|number| [number * 4, number * 4 + 2]).collect();
    assert_eq!(offsets, expected);
}

#[test]
fn dropped_segments_are_read_from_parquet_or_missed() {
    let disk = SimulatedDisk::new(1).shared();
    let mut log = write_log(&disk, &[2, 3, 1]);
    write_history(&disk, 0..8).unwrap();
    assert_eq!(log.drop_segments_before(8).unwrap(), 1);
    check_events(&disk, 0..6);
    assert_eq!(log.drop_segments_before(20).unwrap(), 1);
    let missed = read_events(&disk).unwrap_err();
    assert!(matches!(missed, ConnectError::Log(asof_log::LogError::Missing { .. })), "{missed}");
    // Without the older file, what is left begins later.
    let files = history_files(&*disk, Path::new(DATA), &stream().name, 0).unwrap();
    disk.remove(&files[0].path).unwrap();
    check_events(&disk, 5..6);
    let refused = write_history(&disk, 20..28).unwrap_err().to_string();
    assert!(refused.contains("the events from offset 24 up to 28 are missing"), "{refused}");
    let refused = write_history(&disk, 20..22).unwrap_err().to_string();
    assert!(refused.contains("the events from offset 20 up to 22 are missing"), "{refused}");
}

#[test]
fn parquet_files_are_as_any_reader_expects() {
    let disk = SimulatedDisk::new(1).shared();
    let _log = write_log(&disk, &[3, 1]);
    write_history(&disk, 0..12).unwrap();
    let folder = history_folder(Path::new(DATA), &stream().name, 0);
    assert_eq!(folder, Path::new("/data/history/%43ard%20events/0"));
    let path = folder.join("00000000000000000000-00000000000000000012.parquet");
    let bytes = asof_disk::read_whole(&*disk, &path, 1 << 20).unwrap();
    check_parquet(bytes);
}

fn check_parquet(bytes: Vec<u8>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["_partition", "__offset", "_arrived", "id", "_offset", "ts"]);
    let batches: Vec<RecordBatch> = builder.build().unwrap().collect::<Result<_, _>>().unwrap();
    let batch = &batches[0];
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[0; 6]);
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[0, 2, 4, 6, 8, 10]);
    let arrived = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(arrived.values(), &[0, 2, 1_000_001, 1_000_001, 20, 22]);
    assert_eq!(batch.column(3).as_primitive::<Int64Type>().values(), &[0, 2, 4, 6, 8, 10]);
}

/// See `stored.rs`: what was written once is read for ever.
#[test]
fn the_parquet_sample_of_version_1_is_read() {
    let name = "00000000000000000000-00000000000000000012.parquet";
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/history-1.parquet");
    let disk = SimulatedDisk::new(1).shared();
    let folder = history_folder(Path::new(DATA), &stream().name, 0);
    if std::env::var_os("ASOF_WRITE_SAMPLES").is_some() {
        let writing = SimulatedDisk::new(1).shared();
        let _log = write_log(&writing, &[3, 1]);
        write_history(&writing, 0..12).unwrap();
        std::fs::write(&sample, asof_disk::read_whole(&*writing, &folder.join(name), 1 << 20).unwrap()).unwrap();
    }
    let bytes = std::fs::read(&sample).unwrap();
    disk.make_folder(&folder, HISTORY_SYNC_SITES[0]).unwrap();
    asof_disk::write_whole(&*disk, &folder.join(name), &bytes, HISTORY_SYNC_SITES[1]).unwrap();
    check_events(&disk, 0..3);
    check_parquet(bytes);
}

#[test]
fn a_flipped_byte_anywhere_in_a_parquet_file_is_named() {
    let simulated = SimulatedDisk::new(1);
    let disk = simulated.shared();
    let _log = write_log(&disk, &[3, 1]);
    write_history(&disk, 0..12).unwrap();
    let file = &history_files(&*disk, Path::new(DATA), &stream().name, 0).unwrap()[0];
    let length = disk.open(&file.path).unwrap().bytes().unwrap();
    for byte in 0..length {
        simulated.flip(&file.path, byte).unwrap();
        let refused = read_events(&disk).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("`{}` is not a readable Parquet file", file.path.display())),
            "{byte}: {refused}"
        );
        simulated.flip(&file.path, byte).unwrap();
    }
    check_events(&disk, 0..4);
}

#[test]
fn a_parquet_file_that_is_cut_is_refused() {
    let disk = SimulatedDisk::new(1).shared();
    let _log = write_log(&disk, &[1, 1]);
    write_history(&disk, 0..4).unwrap();
    let path = history_files(&*disk, Path::new(DATA), &stream().name, 0).unwrap()[0].path.clone();
    let file = disk.open(&path).unwrap();
    for length in (0..file.bytes().unwrap()).rev() {
        file.truncate(length).unwrap();
        assert!(matches!(read_events(&disk).unwrap_err(), ConnectError::Corrupt { .. }), "{length}");
    }
}

/// Whatever a crash leaves: no Parquet file, or a whole one.
#[test]
fn a_crash_leaves_no_half_parquet_file() {
    for seed in 0..20 {
        let mut point = 0;
        loop {
            let simulated = SimulatedDisk::new(seed);
            let disk = simulated.shared();
            drop(write_log(&disk, &[2, 1]));
            simulated.crash_at(simulated.operations() + point);
            let written = write_history(&disk, 0..8);
            simulated.crash();
            check_events(&simulated.shared(), 0..3);
            let kept = history_files(&*simulated.shared(), Path::new(DATA), &stream().name, 0).unwrap();
            if written.is_ok() {
                assert_eq!(kept.len(), 1, "seed {seed}: written, and lost");
                break;
            }
            point += 1;
        }
        assert!(point >= 5, "a crash at each of the operations, not at {point}");
    }
}

/// Each sync is needed: without it a crash loses, with some seed, a file that was reported as written.
#[test]
fn every_sync_of_parquet_files_is_needed() {
    for site in HISTORY_SYNC_SITES {
        let loses = |seed: u64| {
            let simulated = SimulatedDisk::new(seed);
            let disk = simulated.shared();
            drop(write_log(&disk, &[2, 1]));
            simulated.ignore_site(site);
            write_history(&disk, 0..8).unwrap();
            simulated.crash();
            let disk = simulated.shared();
            let kept = history_files(&*disk, Path::new(DATA), &stream().name, 0).unwrap();
            kept.is_empty() || read_events(&disk).is_err()
        };
        assert!((0..200).any(loses), "no seed of 200 misses the sync `{}`", site.0);
    }
}
