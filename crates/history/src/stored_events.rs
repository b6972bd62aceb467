//! A stream's events from the project's own log: those that were used, as they were stored when they arrived.
//! ```text
//!   used events, offsets, arrival times ─▶ EventBatch
//!   counts of verdicts ──────────────────▶ its Account        examples of dead letters: a look at the heads of frames, last
//! ```
//! Read is what was stored when the job began, and no lock is taken: a server may go on writing. Stored batches may be as
//! small as one event, so that several of them go into one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::SchemaRef;
use asof_connect::{ConnectError, DeadLetter, StoredHead, UsedEvents, VerdictCounts, history_files, stream_folder};
use asof_definition::Stream;
use asof_disk::{Disk, FolderDisk};
use asof_log::{FrameHead, LogError, LogReader};
use asof_window::{Accounting, Rejection};

use crate::error::HistoryError;
use crate::event_batch::{Account, EventBatch, Offsets};
use crate::stop::Stop;
use crate::summary::Reason;

/// The one partition that a stream has.
const PARTITION: u32 = 0;
/// A piece ends at so many events, or parts without any: a batch costs a view as much as some thousand events do.
const PIECE_EVENTS: usize = 8_192;

/// What is stored of one stream, opened.
#[derive(Debug)]
pub(crate) struct StoredEvents {
    disk: Arc<dyn Disk>,
    data_folder: PathBuf,
    stream: Arc<Stream>,
    extent: Extent,
    events: asof_connect::StoredEvents,
    /// The offset behind all rows whose verdicts were given out.
    position: u64,
}

/// How much is stored of a stream at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    /// The oldest offset that is kept.
    first_offset: u64,
    /// The oldest that the log itself still has, rather than a Parquet file.
    first_in_log: u64,
    /// The offset behind the last.
    end_offset: u64,
    bytes: u64,
}

/// Used events that follow each other, not joined yet.
#[derive(Debug, Default)]
pub(crate) struct StoredPiece {
    parts: Vec<UsedEvents>,
    bytes: u64,
}

/// Turns pieces into batches.
#[derive(Debug)]
pub(crate) struct StoredDecoder {
    schema: SchemaRef,
}

impl StoredEvents {
    /// Opens what a data folder holds of a stream; an error if that is nothing at all.
    pub(crate) fn open(data_folder: &Path, stream: &Arc<Stream>) -> Result<StoredEvents, HistoryError> {
        let disk: Arc<dyn Disk> = Arc::new(FolderDisk);
        let extent = Extent::of(&disk, data_folder, stream)?.ok_or_else(|| nothing_stored(data_folder, stream))?;
        StoredEvents::within(extent, disk, data_folder, stream)
    }

    /// The same, and no events if there is nothing at all.
    pub(crate) fn open_or_none(data_folder: &Path, stream: &Arc<Stream>) -> Result<StoredEvents, HistoryError> {
        let disk: Arc<dyn Disk> = Arc::new(FolderDisk);
        let extent = Extent::of(&disk, data_folder, stream)?.unwrap_or_default();
        StoredEvents::within(extent, disk, data_folder, stream)
    }

    /// The same of rows of closed windows, which the server makes: `windows` is what SQL calls their stream.
    pub(crate) fn open_rows(
        data_folder: &Path,
        stream: &Arc<Stream>,
        windows: &str,
    ) -> Result<StoredEvents, HistoryError> {
        let disk: Arc<dyn Disk> = Arc::new(FolderDisk);
        let extent = Extent::of(&disk, data_folder, stream)?.ok_or_else(|| no_rows_stored(data_folder, windows))?;
        StoredEvents::within(extent, disk, data_folder, stream)
    }

    /// The extent is taken before: old segments dropped in between make the count of rows reach beyond the end, never stop
    /// before it.
    fn within(
        extent: Extent,
        disk: Arc<dyn Disk>,
        data_folder: &Path,
        stream: &Arc<Stream>,
    ) -> Result<StoredEvents, HistoryError> {
        let events = asof_connect::StoredEvents::open(disk.clone(), data_folder, stream, PARTITION)?;
        let (data_folder, stream) = (data_folder.to_owned(), stream.clone());
        Ok(StoredEvents { disk, data_folder, stream, extent, events, position: extent.first_offset })
    }

    pub(crate) fn data_folder(&self) -> &Path {
        &self.data_folder
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.extent.bytes
    }

    /// The oldest offset that is kept.
    pub(crate) fn first_offset(&self) -> u64 {
        self.extent.first_offset
    }

    pub(crate) fn decoder(&self) -> StoredDecoder {
        StoredDecoder { schema: self.stream.schema() }
    }

    /// The next events, `None` behind the last that there were at the beginning.
    pub(crate) fn next_piece(&mut self) -> Result<Option<StoredPiece>, HistoryError> {
        let (mut piece, mut events) = (StoredPiece::default(), 0);
        let begun = self.extent.bytes_before(self.position);
        while events < PIECE_EVENTS {
            let Some(part) = self.next_part()? else { break };
            events += part.offsets.len().max(1);
            piece.parts.push(part);
        }
        piece.bytes = self.extent.bytes_before(self.position) - begun;
        Ok((!piece.parts.is_empty()).then_some(piece))
    }

    fn next_part(&mut self) -> Result<Option<UsedEvents>, HistoryError> {
        let Some(part) = self.events.next_events()? else { return Ok(None) };
        let rows = accounting(&part.verdicts).total();
        // A part without verdicts goes on with the Parquet file of the part before it, and all of that is within the extent.
        let is_beyond = |offset: u64| offset >= self.extent.end_offset;
        if rows > 0 && (is_beyond(self.position) || part.offsets.first().is_some_and(|first| is_beyond(*first))) {
            return Ok(None);
        }
        // Rows that are no events take offsets and have no verdict that is counted.
        let behind_last = part.offsets.last().map_or(0, |last| last + 1);
        self.position = (self.position + rows).max(behind_last);
        Ok(Some(part))
    }

    /// The first dead letter of each reason that `verdicts` counts, as far as the log still has them.
    pub(crate) fn examples(&self, verdicts: &Accounting, stop: &Stop) -> Result<Vec<Reason>, HistoryError> {
        let mut wanted = dead_reasons(verdicts);
        let mut found = Vec::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let folder = stream_folder(&self.data_folder, &self.stream.name, PARTITION);
        let mut log = match LogReader::open(self.disk.clone(), &folder, self.extent.first_in_log) {
            // Dropped since the job began: the counts stand without an example.
            Err(LogError::Missing { .. }) => return Ok(found),
            opened => opened.map_err(ConnectError::from)?,
        };
        while !wanted.is_empty() {
            stop.check()?;
            let head = log.next_head().map_err(ConnectError::from)?;
            let Some(head) = head.filter(|head| head.first_offset < self.extent.end_offset) else { break };
            if head.dead > 0 {
                self.take_examples(&mut log, &head, &mut wanted, &mut found)?;
            }
        }
        Ok(found)
    }

    fn take_examples(
        &self,
        log: &mut LogReader,
        head: &FrameHead,
        wanted: &mut Vec<&'static str>,
        found: &mut Vec<Reason>,
    ) -> Result<(), HistoryError> {
        let body = log.body(head).map_err(ConnectError::from)?;
        let stored = StoredHead::decode(&body).map_err(|source| ConnectError::StoredAt {
            stream: self.stream.name.clone(),
            partition: PARTITION,
            offset: head.first_offset,
            source: Box::new(source),
        })?;
        // What a view set aside is told anew: today's definition of the view decides.
        for DeadLetter { row, reason, detail, .. } in stored.dead.into_iter().filter(|letter| letter.view.is_none()) {
            if let Some(place) = wanted.iter().position(|name| *name == reason) {
                wanted.swap_remove(place);
                found.push(Reason { name: reason, offset: head.first_offset + u64::from(row), detail });
            }
        }
        Ok(())
    }
}

impl Extent {
    /// `None` if nothing was ever stored.
    fn of(disk: &Arc<dyn Disk>, data_folder: &Path, stream: &Stream) -> Result<Option<Extent>, HistoryError> {
        let files = history_files(&**disk, data_folder, &stream.name, PARTITION)?;
        let folder = stream_folder(data_folder, &stream.name, PARTITION);
        let log_is_there = match disk.list(&folder) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(source) => return Err(ConnectError::Read { path: folder, source }.into()),
        };
        if !log_is_there && files.is_empty() {
            return Ok(None);
        }
        // From beyond the end: the heads of the last segment are walked, and so its end is known.
        let mut log = LogReader::open(disk.clone(), &folder, u64::MAX).map_err(ConnectError::from)?;
        while log.next_head().map_err(ConnectError::from)?.is_some() {}
        let segments = log.segments();
        let newest_file = files.iter().map(|file| file.end_offset).max();
        let end_offset = segments.iter().map(|segment| segment.end_offset).chain(newest_file).max().unwrap_or(0);
        let first_in_log = segments.first().map_or(end_offset, |segment| segment.first_offset);
        let first_offset = files.first().map_or(first_in_log, |file| file.first_offset.min(first_in_log));
        let mut bytes = segments.iter().map(|segment| segment.bytes).sum();
        for file in files.iter().filter(|file| file.end_offset <= first_in_log) {
            let opened = disk.open(&file.path).and_then(|opened| opened.bytes());
            bytes += opened.map_err(|source| ConnectError::Read { path: file.path.clone(), source })?;
        }
        Ok(Some(Extent { first_offset, first_in_log, end_offset, bytes }))
    }

    /// The bytes that the rows before an offset stand for, as if all rows were alike.
    fn bytes_before(&self, offset: u64) -> u64 {
        let rows = self.end_offset.saturating_sub(self.first_offset).max(1);
        let before = offset.saturating_sub(self.first_offset).min(rows);
        (u128::from(self.bytes) * u128::from(before) / u128::from(rows)) as u64
    }
}

impl StoredPiece {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl StoredDecoder {
    /// The events of a piece as one batch.
    pub(crate) fn decode(&self, piece: StoredPiece) -> Result<EventBatch, HistoryError> {
        let mut account = Account::default();
        for part in &piece.parts {
            account.verdicts = account.verdicts.plus(&accounting(&part.verdicts));
            account.imputed += part.verdicts.imputed;
        }
        let parts = || piece.parts.iter();
        let arrived: Vec<&dyn Array> = parts().map(|part| &part.arrived_us as &dyn Array).collect();
        let offsets = parts().flat_map(|part| part.offsets.iter().copied());
        Ok(EventBatch {
            number: 0,
            offsets: Offsets::Each(UInt64Array::from_iter_values(offsets)),
            rows: concat_batches(&self.schema, parts().map(|part| &part.events).collect::<Vec<&RecordBatch>>())?,
            arrived: Some(Int64Array::from(concat(&arrived)?.to_data())),
            primary_keys: None,
            used: None,
            rejected: Vec::new(),
            account,
        })
    }
}

fn nothing_stored(data_folder: &Path, stream: &Stream) -> HistoryError {
    let (stream, folder) = (&stream.name, data_folder.display());
    HistoryError::request_with_hint(
        format!("nothing is stored of stream `{stream}` yet: `{folder}` has no events of it"),
        format!(
            "`asof run` stores what is posted to it and what `asof ingest {stream} FILE` sends; `--data-dir` names \
             another data folder"
        ),
    )
}

fn no_rows_stored(data_folder: &Path, windows: &str) -> HistoryError {
    let folder = data_folder.display();
    HistoryError::request_with_hint(
        format!(
            "no rows of the closed windows of stream `{windows}` are stored, as it is defined now: `{folder}` has no log of \
             them"
        ),
        "run `asof run` once: the server makes the rows, and history goes by those that it made; `--data-dir` names another \
         data folder",
    )
}

fn accounting(counts: &VerdictCounts) -> Accounting {
    Accounting {
        unreadable: counts.unreadable,
        not_null: counts.not_null,
        check: counts.check,
        future: counts.future,
        duplicate: counts.duplicate,
        late: counts.late,
        used: counts.used,
    }
}

/// The names of the reasons for which there are dead letters.
fn dead_reasons(verdicts: &Accounting) -> Vec<&'static str> {
    let counted = [
        (Rejection::Unreadable.name(), verdicts.unreadable),
        (Rejection::NotNull.name(), verdicts.not_null),
        (Rejection::Check.name(), verdicts.check),
        (Rejection::Future.name(), verdicts.future),
        ("late", verdicts.late),
    ];
    counted.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name).collect()
}
