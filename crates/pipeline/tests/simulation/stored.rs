//! What lies on the disk, read with the crate's own readers and put beside what was sent.
//! ```text
//!   log      [ frame ][ frame ][ frame ]   each row's verdict, used events, letters, named batches    ─▶ `stored`
//!   history  [    Parquet     ]            used events, and how many rows were judged how             ─▶ `history`
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use asof_connect::{
    DeadLetter, StoredEvents, StoredFrame, StoredStream, StoredVerdict, VerdictCounts, history_files, stream_folder,
};
use asof_definition::Stream;
use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::LogReader;

use crate::event::{Event, Fault};
use crate::model::{Checked, Letter, Used};
use crate::producers::Producers;

/// One stream as its log has it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) used: Vec<Used>,
    /// The offsets that the log has.
    pub(crate) offsets: Range<u64>,
    /// How the rows of these were judged.
    pub(crate) verdicts: VerdictCounts,
    /// When the last of them arrived.
    pub(crate) arrived_us: i64,
    /// Named batches: used, duplicates, late, rejected.
    pub(crate) named: BTreeMap<String, [u64; 4]>,
    /// By offset.
    pub(crate) letters: BTreeMap<u64, Letter>,
}

/// One stream as training reads it.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) used: Vec<Used>,
    pub(crate) verdicts: VerdictCounts,
    /// The offsets that Parquet has.
    pub(crate) files: Vec<Range<u64>>,
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
        verdicts: VerdictCounts::default(),
        arrived_us: i64::MIN,
        named: BTreeMap::new(),
        letters: BTreeMap::new(),
    };
    while let Some(frame) = frames.next_frame().map_err(|error| failed("the log cannot be read")(&error))? {
        stored.add(frame, producers)?;
    }
    Ok(stored)
}

impl Stored {
    fn add(&mut self, frame: StoredFrame, producers: &Producers) -> Checked<()> {
        let (first_offset, arrived_us) = (frame.first_offset, frame.arrived_us);
        if first_offset != self.offsets.end {
            return Err(format!("a frame begins at {first_offset}, expected {}", self.offsets.end));
        }
        // Frames of one group have one arrival time. That groups differ is seen where their events were acknowledged.
        if arrived_us < self.arrived_us {
            return Err(format!("arrival times go back at {first_offset}: {}, then {arrived_us}", self.arrived_us));
        }
        self.arrived_us = arrived_us;
        self.offsets.end = frame.end_offset();
        self.verdicts.add(VerdictCounts::of(&frame.batch));
        let verdicts = frame.batch.verdicts.iter().enumerate();
        let rows = verdicts.filter(|(_, verdict)| **verdict == StoredVerdict::Used).map(|(row, _)| row);
        for (row, event) in rows.zip(events(&frame.batch.used, producers)?) {
            let arrived_us = frame.batch.arrived.as_ref().map_or(arrived_us, |arrived| arrived.value(row));
            self.used.push(Used { offset: first_offset + row as u64, event, arrived_us: arrived_us..=arrived_us });
        }
        for one in frame.batch.producers {
            let counts = [one.accepted, one.duplicates, one.late, one.rejected].map(u64::from);
            self.named.insert(one.key, counts);
        }
        for dead in frame.batch.dead {
            let offset = first_offset + u64::from(dead.row);
            if self.letters.insert(offset, letter(&dead, producers)?).is_some() {
                return Err(format!("two dead letters are at {offset}"));
            }
        }
        Ok(())
    }
}

/// A dead letter, whose text must be the event that its producer made.
pub(crate) fn letter(dead: &DeadLetter, producers: &Producers) -> Checked<Letter> {
    let serial = Event::serial_in(&dead.raw).ok_or_else(|| format!("a dead letter has no serial: {dead:?}"))?;
    let made = producers.event_of(serial).ok_or_else(|| format!("nobody made event {serial}"))?;
    if !made.is_told_by(&dead.raw) {
        return Err(format!("a dead letter says {:?}: made as {made:?}", dead.raw));
    }
    Ok(Letter { serial, reason: dead.reason.clone() })
}

/// Used events as training reads them: from Parquet where there is some, else from the log.
pub(crate) fn history(
    disk: &SimulatedDisk,
    data: &Path,
    stream: &Arc<Stream>,
    producers: &Producers,
) -> Checked<History> {
    let unreadable = failed("the history cannot be read");
    let files = history_files(disk, data, &stream.name, 0).map_err(|error| unreadable(&error))?;
    let mut read = StoredEvents::open(disk.shared(), data, stream, 0).map_err(|error| unreadable(&error))?;
    let mut history = History {
        used: Vec::new(),
        verdicts: VerdictCounts::default(),
        files: files.iter().map(|file| file.first_offset..file.end_offset).collect(),
    };
    while let Some(some) = read.next_events().map_err(|error| unreadable(&error))? {
        history.verdicts.add(some.verdicts);
        let events = events(&some.events, producers)?;
        if events.len() != some.offsets.len() {
            return Err(format!("{} events at {} offsets", events.len(), some.offsets.len()));
        }
        for ((offset, event), arrived_us) in some.offsets.iter().zip(events).zip(some.arrived_us.values()) {
            history.used.push(Used { offset: *offset, event, arrived_us: *arrived_us..=*arrived_us });
        }
    }
    Ok(history)
}

/// The events of a batch, which must be what their producers made.
fn events(batch: &RecordBatch, producers: &Producers) -> Checked<Vec<Event>> {
    let integers = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let notes = batch.column(4).as_string::<i32>();
    let times = batch.column(5).as_primitive::<TimestampMicrosecondType>();
    let mut found = Vec::new();
    for row in 0..batch.num_rows() {
        let serial = integers(0).value(row);
        let (entity, amount, time_us) = (integers(1).value(row), integers(2).value(row), times.value(row));
        let made = producers.event_of(serial).ok_or_else(|| format!("nobody made event {serial}"))?;
        let is_same = (made.entity, made.amount, made.time_us) == (entity, amount, time_us);
        if !is_same || notes.value(row) != made.note() || !matches!(made.fault, Fault::None) {
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
