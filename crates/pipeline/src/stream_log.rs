//! The durable side of a stream: its log, the batches that its producers named, and whether it can still be written.
//!
//! Room is reserved before anything is judged, so that a full disk refuses a batch of which nothing has happened yet: for one
//! dead letter a row, however many views and derived streams there are that might set it aside too. Where they do and the
//! disk has no room for that, their letters are left out, and that is counted: the event itself and the verdict are stored.
//! After an error of a write or a sync the judge may know more than the disk: the log is then broken until the next start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use asof_connect::{StoredBatch, stream_folder};
use asof_definition::{Ack, Connector, LogConnector, Stream};
use asof_disk::Disk;
use asof_log::{LogError, LogSettings, NewFrame, PartitionLog, TornTail, Unsynced};

use crate::error::PipelineError;
use crate::fed_offsets::FedOffsets;
use crate::producers::Producers;
use crate::statistics::StorageStatistics;
use crate::submission::IngestError;
use crate::too_late::too_late_for;

/// What a row takes in a frame beside its own columns and raw text: verdict, and of one dead letter the reason, 200
/// characters of detail, names.
const ROW_BYTES: u64 = 1_024;
/// What the letter of an event that came too late for a window takes beside the event's text.
const LATE_LETTER_BYTES: u64 = 256;
/// What a frame takes however few rows it has: schema, names, paddings.
const FRAME_BYTES: u64 = 64 << 10;

/// How long events that nobody waits for lie in the log before a sync begins. It is looked at ten times a second: they are
/// durable after about a second, plus that sync.
const UNSYNCED_MAX_US: i64 = 900_000;

/// A stream's log, open for writing.
#[derive(Debug)]
pub(crate) struct StreamLog {
    connector: LogConnector,
    stream: Arc<Stream>,
    log: PartitionLog,
    pub(crate) producers: Producers,
    /// How far the topic that feeds it is in it.
    pub(crate) fed: FedOffsets,
    /// Of that what neither a frame nor a checkpoint was told: where partitions begin.
    begins: BTreeMap<u32, u64>,
    /// When the first frame arrived that is not known to be durable, by the wall clock in microseconds.
    dirty_since_us: Option<i64>,
    /// Whether somebody waits for what was appended to be durable.
    is_waited_for: bool,
    broken: Option<String>,
    /// Whether that is because of another log, or came of one that others are connected with.
    is_broken_beside: bool,
    /// Bytes of events that came in.
    pub(crate) received_bytes: u64,
    /// Dead letters of views and derived streams for which the disk had no room.
    letters_left_out: u64,
    /// Where it ended when it was opened.
    pub(crate) opened_at: u64,
    /// Behind what is known to be durable. For readers too, who do not wait for whoever writes.
    durable_offset: Arc<AtomicU64>,
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
    /// Opens the log of a stream, whose folders bear the name of `form`; tells what is left behind of its end if the last writer was cut off.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        data_folder: &Path,
        stream: &Arc<Stream>,
        form: &Stream,
        settings: LogSettings,
    ) -> Result<(StreamLog, Option<TornTail>), PipelineError> {
        let folder = stream_folder(data_folder, &form.name, 0);
        let (log, torn) = PartitionLog::open(disk, &folder, settings)?;
        let mut opened = StreamLog {
            connector: match &stream.connector {
                Connector::Log(connector) => connector.clone(),
                Connector::File(_) | Connector::Derived(_) => LogConnector::default(),
            },
            fed: FedOffsets::of(stream.feed().map(AsRef::as_ref)),
            begins: BTreeMap::new(),
            stream: stream.clone(),
            log,
            producers: Producers::default(),
            dirty_since_us: None,
            is_waited_for: false,
            broken: None,
            is_broken_beside: false,
            received_bytes: 0,
            letters_left_out: 0,
            opened_at: 0,
            durable_offset: Arc::default(),
            body: Vec::new(),
        };
        // What is found at an opening was made durable there.
        opened.opened_at = opened.log.next_offset();
        opened.durable_offset.store(opened.opened_at, Ordering::Release);
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
            letters_left_out: self.letters_left_out,
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

    /// Makes sure that a frame of `rows` rows and `bytes` bytes of columns and raw texts will find room, where a row may come
    /// too late for windows of `window_streams` streams.
    pub(crate) fn reserve(&mut self, rows: usize, bytes: usize, window_streams: usize) -> Result<(), IngestError> {
        let row_bytes = ROW_BYTES + window_streams as u64 * LATE_LETTER_BYTES;
        self.reserve_bytes(bytes as u64 * 3 + rows as u64 * row_bytes + FRAME_BYTES)
    }

    /// The same of rows of which none can be a dead letter, in columns of `bytes` bytes.
    pub(crate) fn reserve_columns(&mut self, bytes: usize) -> Result<(), IngestError> {
        self.reserve_bytes(bytes as u64 * 2 + FRAME_BYTES)
    }

    fn reserve_bytes(&mut self, wanted: u64) -> Result<(), IngestError> {
        self.check()?;
        match self.log.reserve(wanted) {
            Ok(()) => Ok(()),
            Err(error @ LogError::Full { .. }) => {
                Err(IngestError::DiskFull { stream: self.stream.name.clone(), detail: error.to_string() })
            }
            Err(error @ LogError::Broken { .. }) => Err(self.broken_by(&error)),
            // Nothing was judged yet: it may go well the next time.
            Err(error) => Err(self.told(&error)),
        }
    }

    /// Appends a judged batch. It is not durable before [`StreamLog::sync`]. Dead letters of views and derived streams are
    /// taken out of it where there is no room for them.
    pub(crate) fn append(&mut self, batch: &mut StoredBatch, about: FrameAbout) -> Result<(), IngestError> {
        batch.origin.iter_mut().for_each(|origin| origin.begin_at(&self.begins));
        let from_topic = batch.origin.as_ref().filter(|_| self.stream.feed().is_some());
        if let Some(repeated) = from_topic.and_then(|origin| self.fed.repeated(origin)) {
            return Err(self.broken_for(format!("a topic was read out of order: {repeated}")));
        }
        let mut appended = self.append_whole(batch, about)?;
        if matches!(appended, Err(LogError::Full { .. } | LogError::Frame { .. })) {
            let (left_out, is_less) = leave_out_letters_of_readers(batch);
            if is_less {
                tracing::warn!(
                    stream = self.stream.name,
                    letters = left_out,
                    "dead letters of views are left out: the log has no room for them"
                );
                self.letters_left_out += left_out;
                appended = self.append_whole(batch, about)?;
            }
        }
        appended.map_err(|error| self.broken_by(&error))?;
        self.is_waited_for |= match self.connector.ack {
            Ack::Durable => true,
            Ack::Os => false,
            Ack::Topic => batch.origin.is_none(),
        };
        if let Some(origin) = &batch.origin {
            self.fed.take_in(origin);
            self.begins.clear();
        }
        Ok(())
    }

    /// The inner error is the log's, which is as it was unless it says that it is broken.
    fn append_whole(&mut self, batch: &StoredBatch, about: FrameAbout) -> Result<Result<(), LogError>, IngestError> {
        self.body.clear();
        if let Err(error) = batch.encode(&mut self.body) {
            return Err(self.broken_for(error.to_string()));
        }
        let frame = NewFrame {
            rows: batch.verdicts.len() as u32,
            arrived_us: about.arrived_us,
            dead: batch.dead.len() as u32,
            newest_us: about.newest_us.unwrap_or(i64::MIN),
            body: &self.body,
        };
        let appended = self.log.append(frame);
        if appended.is_ok() {
            self.dirty_since_us.get_or_insert(about.arrived_us);
        }
        Ok(appended.map(|_offset| ()))
    }

    /// The offset behind what is known to be durable, now and from now on.
    pub(crate) fn durable_offset(&self) -> Arc<AtomicU64> {
        self.durable_offset.clone()
    }

    /// Partitions of the topic are read from these offsets on. The next frame and the next checkpoint say so, whichever comes
    /// first.
    pub(crate) fn begin_partitions(&mut self, offsets: &BTreeMap<u32, u64>) {
        self.fed.next.extend(offsets);
        self.begins.extend(offsets);
    }

    /// Whether something was appended that is not known to be durable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty_since_us.is_some()
    }

    /// Whether an acknowledgement has to wait for a sync.
    pub(crate) fn waits_for_sync(&self) -> bool {
        self.dirty_since_us.is_some() && self.is_waited_for
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
                (self.dirty_since_us, self.is_waited_for) = (None, false);
                self.durable_offset.store(self.log.next_offset(), Ordering::Release);
                Ok(())
            }
            Err(error) => Err(self.broken_by(&error)),
        }
    }

    /// What was appended and is not known to be durable, to be synced beside this log.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        self.log.unsynced()
    }

    /// Takes note of how a sync beside this log ended, which began at `began_us`.
    pub(crate) fn note_synced(
        &mut self,
        unsynced: &Unsynced,
        synced: Result<(), LogError>,
        began_us: i64,
    ) -> Result<(), IngestError> {
        self.log.note_synced(unsynced, synced).map_err(|error| self.broken_by(&error))?;
        if self.durable_offset.fetch_max(unsynced.end_offset(), Ordering::AcqRel) < unsynced.end_offset() {
            // What came since then came after that sync had begun.
            let is_more = self.log.next_offset() > unsynced.end_offset();
            (self.dirty_since_us, self.is_waited_for) = (is_more.then_some(began_us), self.is_waited_for && is_more);
        }
        Ok(())
    }

    /// Why nothing more can be written.
    pub(crate) fn broken_detail(&self) -> Option<String> {
        self.broken.clone()
    }

    /// Lets nothing more be written, because a log that joins connect with it is broken, or it is that one.
    pub(crate) fn break_beside(&mut self, detail: &str) {
        self.broken.get_or_insert_with(|| detail.to_owned());
        self.is_broken_beside = true;
    }

    /// Whether what was appended may not be seen either: it was joined with what may not be stored.
    pub(crate) fn is_broken_beside(&self) -> bool {
        self.is_broken_beside
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

    /// Nothing more is written after this error. What producers are told of it.
    fn broken_by(&mut self, error: &LogError) -> IngestError {
        match (self.told(error), self.broken_for(error.to_string())) {
            (IngestError::TakenOver, _) => IngestError::TakenOver,
            (_, broken) => broken,
        }
    }

    fn broken_for(&mut self, detail: String) -> IngestError {
        let detail = self.broken.get_or_insert(detail).clone();
        IngestError::Broken { stream: self.stream.name.clone(), detail }
    }

    /// What producers are told of an error of the log: where another writer has taken over, that is what they have to know.
    fn told(&self, error: &LogError) -> IngestError {
        match error {
            LogError::Fenced { .. } => IngestError::TakenOver,
            error => IngestError::Broken { stream: self.stream.name.clone(), detail: error.to_string() },
        }
    }
}

/// Takes the letters of views and derived streams out of a batch. Returns how many there were, and whether the batch is less.
fn leave_out_letters_of_readers(batch: &mut StoredBatch) -> (u64, bool) {
    let before = batch.dead.len();
    batch.dead.retain(|letter| letter.view.is_none() || too_late_for(letter).is_some());
    let left_out = before - batch.dead.len();
    let mut is_less = left_out > 0;
    // What came too late for a window has to be known, if not what it was.
    for letter in batch.dead.iter_mut().filter(|letter| letter.view.is_some()) {
        is_less |= !letter.raw.is_empty();
        (letter.raw, letter.raw_is_cut) = (String::new(), true);
    }
    (left_out as u64, is_less)
}
