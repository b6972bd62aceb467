//! The used events of one partition of a stream, for training: each once, in the order of offsets.
//! ```text
//!   offsets   0 ──────── 512 ───────── 1024 ──────── 1400 ──▶
//!   history   [ Parquet ][  Parquet   ]                       sealed segments, as columns
//!   log       [ segment ][  segment   ][  segment   ][ the active one
//!   read from   Parquet     Parquet       frames        frames
//! ```
//! A Parquet file holds the same events as the segments it was written from, so that either may be read; where a segment is
//! no longer kept, its Parquet file is all there is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use asof_definition::Stream;
use asof_disk::Disk;
use asof_log::{LogError, LogReader};

use crate::data_folder::{HistoryPlace, history_files, stream_folder};
use crate::error::ConnectError;
use crate::history_file::HistoryFile;
use crate::stored_batch::StoredVerdict;
use crate::stored_stream::{StoredFrame, StoredStream};
use crate::verdict_counts::VerdictCounts;

/// Used events with their places.
#[derive(Debug, Clone, PartialEq)]
pub struct UsedEvents {
    /// For each event its offset, ascending.
    pub offsets: Vec<u64>,
    /// For each event when it arrived, in microseconds.
    pub arrived_us: Int64Array,
    /// All columns of the stream.
    pub events: RecordBatch,
    /// How the rows were judged that these are the used ones of; what a Parquet file tells at once comes with its first.
    pub verdicts: VerdictCounts,
}

/// Reads the used events of a partition, from the oldest that is kept to the present end.
#[derive(Debug)]
pub struct StoredEvents {
    disk: Arc<dyn Disk>,
    data_folder: PathBuf,
    stream: Arc<Stream>,
    partition: u32,
    /// Parquet files that are not read yet, by their first offsets.
    files: VecDeque<HistoryPlace>,
    /// Every event before it was given out.
    position: u64,
    source: Source,
}

/// Where events come from at the position.
#[derive(Debug)]
enum Source {
    Undecided,
    File(Box<HistoryFile>),
    /// Until the offset at which a Parquet file begins, if there is one.
    Frames(Box<StoredStream>, Option<u64>),
}

impl StoredEvents {
    /// Opens what is stored of a stream. What does not exist is empty.
    pub fn open(
        disk: Arc<dyn Disk>,
        data_folder: &Path,
        stream: &Arc<Stream>,
        partition: u32,
    ) -> Result<StoredEvents, ConnectError> {
        let files: VecDeque<_> = history_files(&*disk, data_folder, &stream.name, partition)?.into();
        let oldest = oldest_in_log(&disk, &stream_folder(data_folder, &stream.name, partition))?;
        let position = files.front().map(|file| file.first_offset).into_iter().chain(oldest).min().unwrap_or(0);
        let (data_folder, stream) = (data_folder.to_owned(), stream.clone());
        Ok(StoredEvents { disk, data_folder, stream, partition, files, position, source: Source::Undecided })
    }

    /// The next used events; `None` at the present end.
    pub fn next_events(&mut self) -> Result<Option<UsedEvents>, ConnectError> {
        loop {
            let events = match &mut self.source {
                Source::Undecided => {
                    self.source = self.choose()?;
                    continue;
                }
                Source::File(file) => match file.next_events()? {
                    Some(events) => events.from(self.position),
                    None => {
                        self.position = file.end_offset();
                        self.source = Source::Undecided;
                        continue;
                    }
                },
                Source::Frames(_, until) if *until == Some(self.position) => {
                    self.source = Source::Undecided;
                    continue;
                }
                Source::Frames(frames, until) => match (frames.next_frame()?, *until) {
                    (Some(frame), until) if until.is_none_or(|until| frame.first_offset < until) => {
                        let events = UsedEvents::of_frame(&frame).from(self.position);
                        self.position = frame.end_offset();
                        events
                    }
                    (None, None) => return Ok(None),
                    (_, until) => return Err(self.gap(until.unwrap_or(self.position))),
                },
            };
            if events.verdicts != VerdictCounts::default() || !events.offsets.is_empty() {
                return Ok(Some(events));
            }
        }
    }

    /// The Parquet file that holds the position, else the log up to the next one.
    fn choose(&mut self) -> Result<Source, ConnectError> {
        while self.files.front().is_some_and(|file| file.end_offset <= self.position) {
            self.files.pop_front();
        }
        match self.files.front() {
            Some(file) if file.first_offset <= self.position => {
                let file = HistoryFile::open(&*self.disk, file.clone(), &self.stream.schema())?;
                Ok(Source::File(Box::new(file)))
            }
            next => {
                let until = next.map(|file| file.first_offset);
                let (disk, folder) = (self.disk.clone(), &self.data_folder);
                let frames = StoredStream::open(disk, folder, &self.stream, self.partition, self.position)?;
                Ok(Source::Frames(Box::new(frames), until))
            }
        }
    }

    fn gap(&self, until: u64) -> ConnectError {
        let stream = self.stream.name.clone();
        ConnectError::StoredGap { stream, partition: self.partition, offsets: self.position..until }
    }
}

/// The first offset that the log still has; `None` of an empty one.
fn oldest_in_log(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Option<u64>, ConnectError> {
    match LogReader::open(disk.clone(), folder, 0) {
        Ok(log) => Ok(log.segments().first().map(|segment| segment.first_offset)),
        Err(LogError::Missing { first_offset, .. }) => Ok(Some(first_offset)),
        Err(error) => Err(error.into()),
    }
}

impl UsedEvents {
    /// The used rows of a frame.
    pub(crate) fn of_frame(frame: &StoredFrame) -> UsedEvents {
        let batch = &frame.batch;
        let used = batch.verdicts.iter().enumerate().filter(|(_, verdict)| **verdict == StoredVerdict::Used);
        let rows: Vec<usize> = used.map(|(row, _)| row).collect();
        let arrived = |row: &usize| batch.arrived.as_ref().map_or(frame.arrived_us, |arrived| arrived.value(*row));
        UsedEvents {
            offsets: rows.iter().map(|row| frame.first_offset + *row as u64).collect(),
            arrived_us: rows.iter().map(arrived).collect::<Vec<i64>>().into(),
            events: batch.used.clone(),
            verdicts: VerdictCounts::of(batch),
        }
    }

    /// Those from an offset on.
    fn from(self, offset: u64) -> UsedEvents {
        let first = self.offsets.partition_point(|other| *other < offset);
        let rows = self.offsets.len() - first;
        match first {
            0 => self,
            _ => UsedEvents {
                offsets: self.offsets[first..].to_vec(),
                arrived_us: self.arrived_us.slice(first, rows),
                events: self.events.slice(first, rows),
                verdicts: self.verdicts,
            },
        }
    }
}
