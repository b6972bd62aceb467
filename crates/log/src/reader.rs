//! The reader's end of a log: of one that is being written, by this process or another, or that nobody has open.
//!
//! At the end of what is whole it gives `None`, and more when asked again later. It tells apart three things at a place where no
//! whole frame stands:
//! ```text
//!   the log goes on in another segment   that begins at the offset that is due ─▶ on there
//!   not written yet, or half             nothing says that a sync covered this place ─▶ None
//!   damage                               a sync did, or the segment has ended ─▶ an error
//! ```
//! What is known about the writer must be older than the bytes it is held against: who learns something new reads again.
//! Frames that no sync has covered yet are given out, too; after a crash of the machine they may be gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::Disk;

use crate::chain::Chain;
use crate::error::LogError;
use crate::look::Behind;
use crate::mark::Durable;
use crate::read_ahead::ReadAhead;
use crate::scan::{Found, Place, look_at};
use crate::segment::{BadHeader, FrameHead, HEADER_BYTES, SegmentName};
use crate::summary::{SegmentSummary, header_error, read_footer, read_header};

/// How often the list of segments is read again because one of them vanished meanwhile.
const LISTINGS_MAX: usize = 16;

/// A frame with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says about itself.
    pub head: FrameHead,
    /// What was stored.
    pub body: Vec<u8>,
}

/// Reads the frames of a partition in order.
#[derive(Debug)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Frames that end here or before are not given out.
    from: u64,
    chain: Chain,
    summaries: Vec<SegmentSummary>,
    current: Option<Current>,
}

/// Where in which segment the reader stands.
#[derive(Debug)]
struct Current {
    name: SegmentName,
    read: ReadAhead,
    /// 0 before the header was read.
    byte: u64,
    offset: u64,
    /// How far a sync has covered this segment, as far as the reader knows.
    durable_byte: u64,
    /// Where the rest of the segment was searched in vain for frames that know more.
    searched_at: Option<u64>,
}

/// What one look gave.
enum Step {
    Frame(FrameHead),
    /// Nothing is there yet.
    End,
    /// The reader has moved, or learnt something: look again.
    Again,
}

impl LogReader {
    /// Opens the log in `folder` to read from this offset on. The first frame may begin before it. A missing folder is an empty
    /// log; [`LogError::Missing`]: the log begins later. Of an offset behind the end nothing comes until it is written: whoever
    /// was there before compares with [`PartitionLog::next_offset`](crate::PartitionLog::next_offset).
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, from: u64) -> Result<LogReader, LogError> {
        let folder = folder.to_path_buf();
        let (chain, summaries) = (Chain::default(), Vec::new());
        let mut reader = LogReader { disk, folder, from, chain, summaries, current: None };
        reader.begin()?;
        Ok(reader)
    }

    /// The head of the next frame; `None`: there is none yet.
    pub fn next_head(&mut self) -> Result<Option<FrameHead>, LogError> {
        loop {
            match self.step()? {
                Step::Frame(head) if head.end_offset() > self.from => return Ok(Some(head)),
                Step::Frame(_) | Step::Again => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// The body of a frame whose head this reader gave.
    pub fn body(&mut self, head: &FrameHead) -> Result<Vec<u8>, LogError> {
        let path = head.segment.path(&self.folder);
        let body = match &mut self.current {
            Some(current) if current.name == head.segment => {
                current.read.copy(head.body_byte(), u64::from(head.body_bytes))?
            }
            _ => ReadAhead::open(&*self.disk, &path)?.copy(head.body_byte(), u64::from(head.body_bytes))?,
        };
        if head.fits(&body) {
            return Ok(body);
        }
        self.list()?;
        if let Some(next) = self.chain.after(head.segment).filter(|next| next.first_offset <= head.first_offset) {
            return Err(LogError::Replaced { path: self.folder.clone(), offset: next.first_offset });
        }
        let detail = "the frame's body does not match its checksum";
        Err(LogError::damaged(&path, head.first_offset, head.byte, detail))
    }

    /// The next frame; `None`: there is none yet.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, LogError> {
        let Some(head) = self.next_head()? else { return Ok(None) };
        let body = self.body(&head)?;
        Ok(Some(Frame { head, body }))
    }

    /// The segments of the log as it was last listed.
    pub fn segments(&self) -> &[SegmentSummary] {
        &self.summaries
    }

    fn step(&mut self) -> Result<Step, LogError> {
        let Some(current) = &mut self.current else { return self.begin() };
        let was_last = self.chain.segments.last() == Some(&current.name);
        let fills = current.read.fills();
        let seen = current.look(was_last)?;
        if was_last && current.read.fills() > fills {
            self.list()?;
        }
        let is_last = self.chain.segments.last() == self.current.as_ref().map(|current| &current.name);
        let current = self.current.as_mut().expect("listing does not move the reader");
        if was_last && !is_last {
            // The writer has ended this segment since its bytes were read: some may be older than their frame.
            current.read.forget();
        }
        let next = self.chain.after(current.name);
        match (seen, next) {
            (_, Some(next)) if next.first_offset < current.offset => {
                Err(LogError::Replaced { path: self.folder.clone(), offset: next.first_offset })
            }
            (_, Some(next)) if next.first_offset == current.offset => self.enter(next),
            (Seen::Header, _) => {
                current.byte = HEADER_BYTES;
                Ok(Step::Again)
            }
            (Seen::Frame(head), _) => {
                self.pass(&head);
                Ok(Step::Frame(head))
            }
            (Seen::Nothing(_), Some(_)) if was_last => Ok(Step::Again),
            (Seen::Nothing(detail), Some(next)) => Err(self.breaks_off(detail, next)),
            (Seen::Nothing(detail), None) => self.end_or_damage(detail),
        }
    }

    /// Finds the segment where reading begins.
    fn begin(&mut self) -> Result<Step, LogError> {
        self.list()?;
        match (self.chain.holding(self.from), self.chain.segments.first()) {
            (Some(name), _) => self.enter(name),
            (None, Some(first)) => Err(self.missing(self.from, *first)),
            (None, None) => Ok(Step::End),
        }
    }

    fn enter(&mut self, name: SegmentName) -> Result<Step, LogError> {
        match ReadAhead::open(&*self.disk, &name.path(&self.folder)) {
            Ok(read) => {
                let offset = name.first_offset;
                self.current = Some(Current { name, read, byte: 0, offset, durable_byte: 0, searched_at: None });
            }
            Err(error) if error.is_gone() => {
                // Dropped since it was listed: what is asked for is to be found in a new list, or missing.
                self.from = self.from.max(self.current.as_ref().map_or(0, |current| current.offset));
                self.current = None;
            }
            Err(error) => return Err(error),
        }
        Ok(Step::Again)
    }

    fn pass(&mut self, head: &FrameHead) {
        let current = self.current.as_mut().expect("a frame was read from the current segment");
        current.byte = head.end_byte();
        current.offset = head.end_offset();
        if let Some(summary) = self.summaries.last_mut().filter(|summary| summary.name() == current.name) {
            summary.pass(head);
        }
    }

    /// The segment has ended, but not where the next one begins.
    fn breaks_off(&self, detail: &str, next: SegmentName) -> LogError {
        let current = self.current.as_ref().expect("the reader stands in a segment");
        if self.chain.segments.contains(&current.name) {
            return LogError::damaged(current.read.path(), current.offset, current.byte, detail);
        }
        self.missing(current.offset, next)
    }

    fn missing(&self, offset: u64, first: SegmentName) -> LogError {
        LogError::Missing { path: self.folder.clone(), offset, first_offset: first.first_offset }
    }

    /// No whole frame stands here, and the segment is the last one.
    fn end_or_damage(&mut self, detail: &str) -> Result<Step, LogError> {
        let current = self.current.as_mut().expect("the reader stands in a segment");
        if current.durable_byte > current.byte {
            let detail = format!("{detail}, and the file was durable through byte {}", current.durable_byte);
            return Err(LogError::damaged(current.read.path(), current.offset, current.byte, detail));
        }
        current.durable_byte = current.learn(&*self.disk, &self.folder)?.max(current.durable_byte);
        if current.durable_byte <= current.byte {
            return Ok(Step::End);
        }
        current.read.forget();
        Ok(Step::Again)
    }

    /// Lists the segments anew, again if one of them vanishes meanwhile.
    fn list(&mut self) -> Result<(), LogError> {
        let mut listings = 0;
        loop {
            listings += 1;
            let chain = Chain::list(&*self.disk, &self.folder)?;
            match self.summarize(&chain) {
                Err(error) if error.is_gone() && listings < LISTINGS_MAX => {}
                summaries => {
                    self.summaries = summaries?;
                    self.chain = chain;
                    return Ok(());
                }
            }
        }
    }

    fn summarize(&self, chain: &Chain) -> Result<Vec<SegmentSummary>, LogError> {
        let ends = chain.segments.iter().skip(1).map(|next| Some(next.first_offset)).chain([None]);
        let summary = |(name, end): (&SegmentName, Option<u64>)| {
            let known = self.summaries.iter().find(|known| known.name() == *name);
            match (known, end) {
                (Some(known), Some(end)) if known.is_sealed && known.end_offset == end => Ok(known.clone()),
                (_, Some(end)) => SegmentSummary::of_ended(&*self.disk, &self.folder, *name, end),
                (known, None) => SegmentSummary::of_last(&*self.disk, &self.folder, *name, known),
            }
        };
        chain.segments.iter().zip(ends).map(summary).collect()
    }
}

/// What stands where the reader is.
enum Seen {
    Header,
    Frame(FrameHead),
    /// Nothing that is whole, and why.
    Nothing(&'static str),
}

impl Current {
    /// Looks at what stands here. That nothing does is said of bytes that were read during this call.
    fn look(&mut self, is_last: bool) -> Result<Seen, LogError> {
        let fills = self.read.fills();
        let seen = self.look_once(is_last)?;
        if !matches!(seen, Seen::Nothing(_)) || self.read.fills() > fills {
            return Ok(seen);
        }
        self.read.forget();
        self.look_once(is_last)
    }

    fn look_once(&mut self, is_last: bool) -> Result<Seen, LogError> {
        if self.byte == 0 {
            return match read_header(&mut self.read, self.name)? {
                Ok(()) => Ok(Seen::Header),
                Err(BadHeader::Bytes(detail)) => Ok(Seen::Nothing(detail)),
                Err(version) => Err(header_error(version, self.read.path(), self.name)),
            };
        }
        let place = Place { segment: self.name, byte: self.byte, offset: self.offset };
        // What has ended is whole, or damaged; the body shows it when it is read.
        let whole_through = if is_last { self.durable_byte } else { u64::MAX };
        Ok(match look_at(&mut self.read, place, whole_through)? {
            Found::Frame(head) => Seen::Frame(head),
            Found::Footer => Seen::Nothing("the segment ends here"),
            Found::Nothing(detail) => Seen::Nothing(detail),
        })
    }

    /// How far a sync has covered this segment: by the mark, by a footer, by frames behind this place.
    fn learn(&mut self, disk: &dyn Disk, folder: &Path) -> Result<u64, LogError> {
        let marked = Durable::of(disk, folder, self.name)?;
        let footer = read_footer(&mut self.read)?;
        let known = marked.map_or(0, |durable| durable.bytes).max(footer.map_or(0, |footer| footer.byte));
        // A writer that keeps its mark needs no witness: later frames need not be looked for at each new place.
        let is_searched = self.searched_at.is_some_and(|at| marked.is_some() || at == self.byte);
        if known > self.byte || is_searched {
            return Ok(known);
        }
        self.searched_at = Some(self.byte);
        let behind = Behind::look(&mut self.read, self.name, self.byte)?;
        Ok(known.max(behind.durable_through.unwrap_or(0)))
    }
}
