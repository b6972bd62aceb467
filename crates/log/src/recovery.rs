//! What a new writer finds in a log: checked, and made durable, before it begins a segment of its own behind it.
//!
//! ```text
//!   segments that another follows   footer, or walked up to where the next begins; anything less is damage
//!   the last one                    walked; a torn tail is left behind, damage is refused
//! ```
//! What is found here is built upon at once, by checkpoints and by the next segment. So the part of it that no sync is known to
//! have covered is written again and synced: after a failed sync the system may call pages clean that it never wrote. The same
//! bytes in the same place: a writer that was overtaken may still be writing behind them. Nothing else is changed; the new
//! segment's name is what ends the older ones (see `chain.rs`).

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::Disk;

use crate::chain::Chain;
use crate::error::LogError;
use crate::look::Behind;
use crate::mark::Durable;
use crate::read_ahead::ReadAhead;
use crate::scan::{Scan, Stop};
use crate::segment::{BadHeader, FOOTER_BYTES, Footer, SegmentName};
use crate::sites::{FOLDER, FOUND, OVERTAKEN};
use crate::summary::{SegmentSummary, header_error, read_header};
use crate::tail::{Tail, TailFacts};

/// A torn tail that was left behind: what no sync had covered when the machine or the process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where it ends from now on.
    pub at_byte: u64,
    /// The offset that the next record gets.
    pub offset: u64,
    /// How many bytes are behind that, without zeros at the end.
    pub bytes: u64,
}

/// A log as it was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) segments: Vec<SegmentSummary>,
    /// What the last of them lacks, if its writer did not come to seal it.
    pub(crate) footer: Option<Footer>,
    pub(crate) next_offset: u64,
    pub(crate) torn: Option<TornTail>,
}

/// Finds out what the log in this folder holds, for a writer of this generation, and makes it durable.
pub(crate) fn recover(disk: &Arc<dyn Disk>, folder: &Path, generation: u64) -> Result<Recovered, LogError> {
    disk.make_folder(folder, FOLDER).map_err(|source| LogError::io(folder, source))?;
    // Read before the segments are listed: then the one that it names is among them, though a writer goes on meanwhile.
    let durable = Durable::newest(&**disk, folder)?;
    let chain = Chain::list(&**disk, folder)?;
    chain.check_none_newer(folder, generation)?;
    let mut segments = Vec::new();
    for (name, next) in chain.segments.iter().zip(chain.segments.iter().skip(1)) {
        segments.push(SegmentSummary::of_ended(&**disk, folder, *name, next.first_offset)?);
    }
    let mut recovered = Recovered { segments, footer: None, next_offset: 0, torn: None };
    if let Some(last) = chain.segments.last() {
        LastSegment { disk, folder, name: *last, durable }.recover(&mut recovered)?;
    }
    check_that_the_marked_one_is_there(durable, &chain, folder, recovered.next_offset)?;
    Ok(recovered)
}

/// Removes the segments that were overtaken, durably, for a writer whose own first segment is durable. Not if a newer one has
/// begun: it is not known whether that is durable, and what it overtook would be missing without it.
pub(crate) fn remove_overtaken(disk: &dyn Disk, folder: &Path, generation: u64) -> Result<(), LogError> {
    let chain = Chain::list(disk, folder)?;
    chain.check_none_newer(folder, generation)?;
    for name in &chain.overtaken {
        let path = name.path(folder);
        match disk.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(LogError::failed(&path, error)),
            _removed_or_gone => {}
        }
    }
    if chain.overtaken.is_empty() {
        return Ok(());
    }
    disk.sync_folder(folder, OVERTAKEN).map_err(|source| LogError::failed(folder, source))
}

/// A mark of the newest generation names a segment behind the end of the log: the file was there, with synced records.
fn check_that_the_marked_one_is_there(
    durable: Option<Durable>,
    chain: &Chain,
    folder: &Path,
    next_offset: u64,
) -> Result<(), LogError> {
    let Some(Durable { segment, bytes }) = durable else { return Ok(()) };
    let is_newest = chain.segments.iter().all(|name| name.generation <= segment.generation);
    let is_listed = chain.segments.contains(&segment) || chain.overtaken.contains(&segment);
    if is_listed || !is_newest || bytes == 0 || segment.first_offset < next_offset {
        return Ok(());
    }
    let detail = format!("the file is gone, {bytes} bytes of it were durable");
    Err(LogError::damaged(&segment.path(folder), segment.first_offset, 0, detail))
}

/// The segment that was written to last.
struct LastSegment<'a> {
    disk: &'a Arc<dyn Disk>,
    folder: &'a Path,
    name: SegmentName,
    durable: Option<Durable>,
}

impl LastSegment<'_> {
    fn recover(&self, recovered: &mut Recovered) -> Result<(), LogError> {
        let path = self.name.path(self.folder);
        let mut read = ReadAhead::open(&**self.disk, &path)?;
        let (scan, detail) = self.scan(&mut read)?;
        let marked = self.durable.filter(|durable| durable.segment == self.name).map_or(0, |durable| durable.bytes);
        let durable_byte = scan.durable_through.max(marked);
        let is_sealed = scan.stop == Stop::Footer;
        let end_of_segment = scan.end_byte + if is_sealed { FOOTER_BYTES } else { 0 };
        let behind = Behind::look(&mut read, self.name, end_of_segment)?;
        let tail = TailFacts { end_byte: scan.end_byte, durable_byte, behind }.decide();
        match tail {
            Tail::Damaged { durable_byte } => {
                let detail = format!("{detail}, and the file was durable through byte {durable_byte}");
                return Err(LogError::damaged(&path, scan.end_offset, scan.end_byte, detail));
            }
            Tail::Torn { bytes } => {
                let (at_byte, offset) = (scan.end_byte, scan.end_offset);
                recovered.torn = Some(TornTail { path, at_byte, offset, bytes });
            }
            Tail::Clean => {}
        }
        recovered.next_offset = scan.end_offset;
        // An empty one gives way to the segment that begins at the same offset.
        if scan.frames > 0 {
            recovered.segments.push(SegmentSummary::of_scan(self.name, &scan, is_sealed));
            recovered.footer = (!is_sealed).then(|| scan.footer());
            self.make_durable(&mut read, durable_byte..scan.end_byte)?;
        }
        Ok(())
    }

    /// Walks it, and says what is wrong at the end.
    fn scan(&self, read: &mut ReadAhead) -> Result<(Scan, &'static str), LogError> {
        match read_header(read, self.name)? {
            Ok(()) => {
                let scan = Scan::run(read, self.name, u64::MAX)?;
                let detail = if let Stop::Nothing(detail) = scan.stop { detail } else { "the segment ends here" };
                Ok((scan, detail))
            }
            Err(BadHeader::Bytes(detail)) => Ok((Scan { end_byte: 0, ..Scan::begin(self.name) }, detail)),
            Err(version) => Err(header_error(version, read.path(), self.name)),
        }
    }

    /// Writes again what no sync is known to have covered, and syncs.
    fn make_durable(&self, read: &mut ReadAhead, bytes: Range<u64>) -> Result<(), LogError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let path = self.name.path(self.folder);
        let io = |source| LogError::io(&path, source);
        let file = self.disk.open(&path).map_err(io)?;
        let mut at = bytes.start;
        // The file may end within the padding of the last frame.
        while at < bytes.end.min(read.file_bytes()?) {
            let piece = read.piece(at)?;
            let count = (piece.len() as u64).min(bytes.end - at);
            file.write_at(at, &piece[..count as usize]).map_err(io)?;
            at += count;
        }
        file.sync(FOUND).map_err(io)
    }
}
