//! What lies on the disk, read with the crate's own readers and put beside what was sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use asof_connect::{StoredEvents, StoredStream, StoredVerdict, stream_folder};
use asof_definition::Stream;
use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::LogReader;

use crate::model::Checked;
use crate::producers::{Event, Fault, Producers};

/// One stream as its log and its history have it.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Used events with their offsets.
    pub(crate) used: Vec<(u64, Event)>,
    /// The offsets that the log has.
    pub(crate) offsets: std::ops::Range<u64>,
    /// Named batches: used, duplicates, late, rejected.
    pub(crate) named: BTreeMap<String, [u64; 4]>,
    /// Refused rows by line and reason, without those that single views set aside.
    pub(crate) letters: BTreeMap<(String, String), u64>,
}

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> String {
    move |error| format!("{what}: {error}")
}

/// Reads a stream's log from its first frame to its end.
pub(crate) fn stored(
    disk: &SimulatedDisk,
    data: &Path,
    stream: &Arc<Stream>,
    producers: &Producers,
) -> Checked<Stored> {
    let shared: Arc<dyn Disk> = disk.shared();
    let folder = stream_folder(data, &stream.name, 0);
    let log = LogReader::open(shared.clone(), &folder, 0);
    let first_offset = match log {
        Ok(log) => log.segments().first().map_or(0, |segment| segment.first_offset),
        Err(asof_log::LogError::Missing { first_offset, .. }) => first_offset,
        Err(error) => return Err(failed("the log cannot be opened")(&error)),
    };
    let mut frames = StoredStream::open(shared, data, stream, 0, first_offset)
        .map_err(|error| failed("the log cannot be opened")(&error))?;
    let mut stored = Stored {
        used: Vec::new(),
        offsets: first_offset..first_offset,
        named: BTreeMap::new(),
        letters: BTreeMap::new(),
    };
    let mut arrived_us = i64::MIN;
    while let Some(frame) = frames.next_frame().map_err(|error| failed("the log cannot be read")(&error))? {
        if frame.first_offset != stored.offsets.end {
            return Err(format!("a frame begins at {}, expected {}", frame.first_offset, stored.offsets.end));
        }
        if frame.arrived_us <= arrived_us {
            return Err(format!(
                "arrival times do not increase at {}: {arrived_us}, then {}",
                frame.first_offset, frame.arrived_us
            ));
        }
        arrived_us = frame.arrived_us;
        stored.offsets.end = frame.end_offset();
        let verdicts = frame.batch.verdicts.iter().enumerate();
        let used = verdicts.filter(|(_, verdict)| **verdict == StoredVerdict::Used);
        let offsets: Vec<u64> = used.map(|(row, _)| frame.first_offset + row as u64).collect();
        stored.used.extend(offsets.into_iter().zip(events(&frame.batch.used, producers)?));
        for one in frame.batch.producers {
            let counts = [one.accepted, one.duplicates, one.late, one.rejected].map(u64::from);
            stored.named.insert(one.key, counts);
        }
        for letter in frame.batch.dead.into_iter().filter(|letter| letter.view.is_none()) {
            *stored.letters.entry((letter.raw, letter.reason)).or_default() += 1;
        }
    }
    Ok(stored)
}

/// Used events as training reads them: from Parquet where there is some, else from the log.
pub(crate) fn history(
    disk: &SimulatedDisk,
    data: &Path,
    stream: &Arc<Stream>,
    producers: &Producers,
) -> Checked<Vec<(u64, Event)>> {
    let mut events_read = StoredEvents::open(disk.shared(), data, stream, 0)
        .map_err(|error| failed("the history cannot be opened")(&error))?;
    let mut all = Vec::new();
    while let Some(some) = events_read.next_events().map_err(|error| failed("the history cannot be read")(&error))? {
        all.extend(some.offsets.iter().copied().zip(events(&some.events, producers)?));
    }
    Ok(all)
}

/// The events of a batch, which must be what their producers made.
fn events(batch: &RecordBatch, producers: &Producers) -> Checked<Vec<Event>> {
    let integers = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let times = batch.column(5).as_primitive::<TimestampMicrosecondType>();
    let mut found = Vec::new();
    for row in 0..batch.num_rows() {
        let serial = integers(0).value(row);
        let (entity, amount, time_us) = (integers(1).value(row), integers(2).value(row), times.value(row));
        let made = producers.event_of(serial).ok_or_else(|| format!("nobody made event {serial}"))?;
        let is_same = (made.entity, made.amount, made.time_us) == (entity, amount, time_us);
        if !is_same || !matches!(made.fault, Fault::None) {
            return Err(format!("event {serial} is stored as {entity}, {amount}, {time_us}: made as {made:?}"));
        }
        found.push(made.clone());
    }
    Ok(found)
}

/// The same files on another disk, without the checkpoints.
pub(crate) fn without_checkpoints(disk: &SimulatedDisk) -> std::io::Result<SimulatedDisk> {
    let copy = SimulatedDisk::new(0);
    let site = asof_disk::SyncSite("copy");
    for path in disk.files() {
        if path.components().any(|part| part.as_os_str() == "checkpoints" || part.as_os_str() == "lock") {
            continue;
        }
        copy.make_folder(path.parent().expect("a file is in a folder"), site)?;
        let (from, to) = (disk.open(&path)?, copy.create(&path)?);
        let mut bytes = vec![0; from.bytes()? as usize];
        from.read_at(0, &mut bytes)?;
        let content = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        to.write_at(0, &bytes[..content])?;
        to.truncate(bytes.len() as u64)?;
    }
    Ok(copy)
}
