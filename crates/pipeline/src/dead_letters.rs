//! Events that were set aside, read back from the log: by offset, a page at a time.
//!
//! They stand in the frames of the batches that they came with, so that a batch and its dead letters are there together or
//! not at all. A frame says how many it has, so that frames without any are passed over by their heads.

use asof_connect::{DeadLetter, StoredHead, stream_folder};
use asof_definition::Connector;
use asof_log::{LogError, LogReader};

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::submission::IngestError;
use crate::too_late::as_told;

/// Letters of a page.
pub const DEAD_LETTERS_PAGE_MAX: usize = 1_000;
/// Frames looked at for a page: about a tenth of a second.
const FRAMES_MAX: usize = 50_000;

/// Bytes of frames read for a page.
const BYTES_MAX: usize = 64 << 20;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterQuery {
    /// From this offset on.
    pub from_offset: u64,
    /// Of this reason only.
    pub reason: Option<String>,
    /// Set aside for the view or derived stream of this name only.
    pub reader: Option<String>,
    /// At most so many, and never more than [`DEAD_LETTERS_PAGE_MAX`].
    pub limit: usize,
}

/// Dead letters in the order of their offsets.
#[derive(Debug, Default)]
pub struct DeadLetterPage {
    /// The letters.
    pub letters: Vec<PlacedDeadLetter>,
    /// Where to go on; `None` at the end. A page may be empty and yet not the last: it looked at as many frames as it may.
    pub next_offset: Option<u64>,
}

/// A dead letter and where it lies.
#[derive(Debug)]
pub struct PlacedDeadLetter {
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// Of an event that was read from a topic its partition and offset there.
    pub place: Option<(u32, u64)>,
    /// When it arrived, in microseconds.
    pub arrived_us: i64,
    /// The letter.
    pub letter: DeadLetter,
}

impl Engine {
    /// A page of a stream's dead letters, as far as they are visible.
    pub fn dead_letters(
        &self,
        stream: usize,
        query: &DeadLetterQuery,
    ) -> Result<Result<DeadLetterPage, IngestError>, PipelineError> {
        let definition = &self.sources()[stream];
        let (Some(storage), Connector::Log(_)) = (self.storage(), &definition.connector) else {
            return Ok(Err(IngestError::ReadsFile { stream: definition.name.clone() }));
        };
        let end_offset = self.published().streams[stream].next_offsets.first().copied().unwrap_or(0);
        let folder = stream_folder(storage.folder(), &definition.name, 0);
        let mut reader = match LogReader::open(storage.disk().clone(), &folder, query.from_offset) {
            // Retention has taken the first ones.
            Err(LogError::Missing { first_offset, .. }) => {
                LogReader::open(storage.disk().clone(), &folder, first_offset)?
            }
            opened => opened?,
        };
        let mut bytes = 0;
        let limit = query.limit.clamp(1, DEAD_LETTERS_PAGE_MAX);
        let mut page = DeadLetterPage::default();
        for _ in 0..FRAMES_MAX {
            let Some(head) = reader.next_head()?.filter(|head| head.first_offset < end_offset) else {
                page.next_offset = None;
                return Ok(Ok(page));
            };
            page.next_offset = Some(head.first_offset + u64::from(head.rows));
            if head.dead == 0 {
                continue;
            }
            if bytes > BYTES_MAX {
                page.next_offset = Some(head.first_offset);
                return Ok(Ok(page));
            }
            let body = reader.body(&head)?;
            bytes += body.len();
            let StoredHead { dead, origin, .. } = StoredHead::decode(&body)?;
            for letter in as_told(dead) {
                let offset = head.first_offset + u64::from(letter.row);
                let is_asked = query.reason.as_ref().is_none_or(|reason| *reason == letter.reason);
                let is_of_reader = query.reader.as_ref().is_none_or(|reader| letter.view.as_ref() == Some(reader));
                if offset < query.from_offset || !is_asked || !is_of_reader {
                    continue;
                }
                // Letters of one event, by several views, are on one page: the next one begins at an offset.
                let is_of_last = page.letters.last().is_some_and(|last| last.offset == offset);
                if page.letters.len() >= limit && !is_of_last {
                    page.next_offset = Some(offset);
                    return Ok(Ok(page));
                }
                let arrived_us = head.arrived_us;
                let place = origin.as_ref().and_then(|origin| origin.place(letter.row as usize));
                page.letters.push(PlacedDeadLetter { partition: 0, offset, place, arrived_us, letter });
            }
        }
        Ok(Ok(page))
    }
}
