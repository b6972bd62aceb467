//! The durable side of a stream: its log, the batches that its producers named, and whether it can still be written.
//!
//! Room is reserved before anything is judged, so that a full disk refuses a batch of which nothing has happened yet. After
//! an error of a write or a sync the judge may know more than the disk: the log is then broken until the next start.

use std::path::Path;
use std::sync::Arc;

use asof_connect::{StoredBatch, stream_folder};
use asof_definition::{Ack, Connector, LogConnector, Stream};
use asof_disk::Disk;
use asof_log::{LogError, LogSettings, NewFrame, PartitionLog, TornTail};

use crate::error::PipelineError;
use crate::producers::Producers;
use crate::statistics::StorageStatistics;
use crate::submission::IngestError;

/// What a row takes in a frame beside its own columns and raw text, for itself and for each view that may set it aside:
/// verdict, reason, 200 characters of detail, names.
const ROW_BYTES: u64 = 1_024;
/// What a frame takes however few rows it has: schema, names, paddings.
const FRAME_BYTES: u64 = 64 << 10;

/// How long events lie in the log before a sync of `ack = 'os'` begins. It is looked at ten times a second: they are durable
/// after about a second, plus that sync, which the thread that takes events in waits for, and everybody's next batch with it.
const UNSYNCED_MAX_US: i64 = 900_000;

/// A stream's log, open for writing.
#[derive(Debug)]
pub(crate) struct StreamLog {
    connector: LogConnector,
    stream: Arc<Stream>,
    /// How often one of its events can be set aside.
    set_aside_max: usize,
    log: PartitionLog,
    pub(crate) producers: Producers,
    /// When the first frame arrived that is not known to be durable, by the wall clock in microseconds.
    dirty_since_us: Option<i64>,
    broken: Option<String>,
    /// Bytes of events that came in.
    pub(crate) received_bytes: u64,
    /// Scratch of [`StreamLog::append`].
    body: Vec<u8>,
}

/// What is appended beside the stored batch itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameAbout {
    pub(crate) arrived_us: i64,
    /// The greatest event time used.
    pub(crate) newest_us: Option<i64>,
}

impl StreamLog {
    /// Opens the log of a stream; tells what is left behind of its end if the last writer was cut off.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        data_folder: &Path,
        stream: &Arc<Stream>,
        set_aside_max: usize,
        settings: LogSettings,
    ) -> Result<(StreamLog, Option<TornTail>), PipelineError> {
        let folder = stream_folder(data_folder, &stream.name, 0);
        let (log, torn) = PartitionLog::open(disk, &folder, settings)?;
        let opened = StreamLog {
            connector: match stream.connector {
                Connector::Log(connector) => connector,
                Connector::File(_) | Connector::Derived(_) => LogConnector::default(),
            },
            stream: stream.clone(),
            set_aside_max,
            log,
            producers: Producers::default(),
            dirty_since_us: None,
            broken: None,
            received_bytes: 0,
            body: Vec::new(),
        };
        Ok((opened, torn))
    }

    pub(crate) fn statistics(&self) -> StorageStatistics {
        let segments = self.log.segments();
        StorageStatistics {
            stream: self.stream.name.clone(),
            log_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments: segments.len(),
            first_offset: self.log.first_offset(),
            received_bytes: self.received_bytes,
        }
    }

    pub(crate) fn log(&self) -> &PartitionLog {
        &self.log
    }

    pub(crate) fn log_mut(&mut self) -> &mut PartitionLog {
        &mut self.log
    }

    /// An error if it cannot be written any more.
    pub(crate) fn check(&self) -> Result<(), IngestError> {
        let broken = |detail: &String| IngestError::Broken { stream: self.stream.name.clone(), detail: detail.clone() };
        self.broken.as_ref().map(broken).map_or(Ok(()), Err)
    }

    /// Makes sure that a frame of `rows` rows and `bytes` bytes of columns and raw texts will find room.
    pub(crate) fn reserve(&mut self, rows: usize, bytes: usize) -> Result<(), IngestError> {
        self.check()?;
        let letters = 1 + self.set_aside_max as u64;
        let wanted = bytes as u64 * 3 + rows as u64 * ROW_BYTES * letters + FRAME_BYTES;
        match self.log.reserve(wanted) {
            Ok(()) => Ok(()),
            Err(error @ LogError::Full { .. }) => {
                Err(IngestError::DiskFull { stream: self.stream.name.clone(), detail: error.to_string() })
            }
            Err(error @ LogError::Broken { .. }) => Err(self.broken_by(&error.to_string())),
            // Nothing was judged yet: it may go well the next time.
            Err(error) => Err(IngestError::Broken { stream: self.stream.name.clone(), detail: error.to_string() }),
        }
    }

    /// Appends a judged batch. It is not durable before [`StreamLog::sync`].
    pub(crate) fn append(&mut self, batch: &StoredBatch, about: FrameAbout) -> Result<(), IngestError> {
        self.body.clear();
        if let Err(error) = batch.encode(&mut self.body) {
            return Err(self.broken_by(&error.to_string()));
        }
        let frame = NewFrame {
            rows: batch.verdicts.len() as u32,
            arrived_us: about.arrived_us,
            dead: batch.dead.len() as u32,
            newest_us: about.newest_us.unwrap_or(i64::MIN),
            body: &self.body,
        };
        match self.log.append(frame) {
            Ok(_) => {
                self.dirty_since_us.get_or_insert(about.arrived_us);
                Ok(())
            }
            Err(error) => Err(self.broken_by(&error.to_string())),
        }
    }

    /// Whether an acknowledgement has to wait for a sync.
    pub(crate) fn waits_for_sync(&self) -> bool {
        self.dirty_since_us.is_some() && self.connector.ack == Ack::Durable
    }

    /// Whether something was acknowledged so long ago that it has to become durable. Also where the clock went back.
    pub(crate) fn is_overdue(&self, now_us: i64) -> bool {
        let waited_us = self.dirty_since_us.map(|since_us| now_us.saturating_sub(since_us));
        self.broken.is_none() && waited_us.is_some_and(|waited_us| !(0..UNSYNCED_MAX_US).contains(&waited_us))
    }

    /// Makes all that was appended durable.
    pub(crate) fn sync(&mut self) -> Result<(), IngestError> {
        if self.dirty_since_us.is_none() {
            return Ok(());
        }
        match self.log.sync() {
            Ok(()) => {
                self.dirty_since_us = None;
                Ok(())
            }
            Err(error) => Err(self.broken_by(&error.to_string())),
        }
    }

    /// Whether nothing more can be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Ends the last segment in order.
    pub(crate) fn seal(&mut self) -> Result<(), PipelineError> {
        if self.broken.is_none() {
            self.log.seal()?;
        }
        Ok(())
    }

    fn broken_by(&mut self, detail: &str) -> IngestError {
        let detail = self.broken.get_or_insert_with(|| detail.to_owned()).clone();
        IngestError::Broken { stream: self.stream.name.clone(), detail }
    }
}
