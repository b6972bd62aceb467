//! Opening a log to write: what is there, made whole and durable.
//!
//! ```text
//!   segments that another follows   footer, or walked up to where the next begins; anything less is damage
//!   the last one                    walked; torn tail cut off, damage refused; sealed
//! ```
//! What is found here is built upon at once, by checkpoints and by the next segment. So the part of it that no sync is known to
//! have covered is written again and synced: after a failed sync the system may call pages clean that it never wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::Disk;

use crate::chain::Chain;
use crate::error::LogError;
use crate::look::Behind;
use crate::mark::{Durable, Mark};
use crate::read_ahead::ReadAhead;
use crate::scan::{Scan, Stop};
use crate::segment::{BadHeader, FOOTER_BYTES, SegmentName};
use crate::sites::{FOLDER, OVERTAKEN, REPAIR};
use crate::summary::{SegmentSummary, header_error, read_header};
use crate::tail::{Tail, TailFacts};

/// A torn tail that was cut off: what no sync had covered when the machine or the process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut.
    pub at_byte: u64,
    /// The offset that the next record gets.
    pub offset: u64,
    /// How many bytes were cut off, without zeros at the end.
    pub bytes: u64,
}

/// A log as it was found and repaired.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// All of them sealed.
    pub(crate) segments: Vec<SegmentSummary>,
    pub(crate) next_offset: u64,
    pub(crate) repair: Option<Repair>,
}

/// Opens the log in this folder for a writer of this generation.
pub(crate) fn recover(disk: &Arc<dyn Disk>, folder: &Path, generation: u64) -> Result<Recovered, LogError> {
    disk.make_folder(folder, FOLDER).map_err(|source| LogError::io(folder, source))?;
    let chain = Chain::list(&**disk, folder)?;
    if let Some(newer) = chain.segments.iter().find(|name| name.generation > generation) {
        let path = folder.to_path_buf();
        return Err(LogError::Fenced { path, own: generation, found: newer.generation });
    }
    let durable = Durable::read(&**disk, folder)?;
    let mut segments = Vec::new();
    for (name, next) in chain.segments.iter().zip(chain.segments.iter().skip(1)) {
        segments.push(SegmentSummary::of_ended(&**disk, folder, *name, next.first_offset)?);
    }
    let mut recovered = Recovered { segments, next_offset: 0, repair: None };
    if let Some(last) = chain.segments.last() {
        LastSegment { disk, folder, name: *last, durable }.recover(&mut recovered)?;
    }
    check_that_the_marked_one_is_there(durable, &chain, folder, recovered.next_offset)?;
    remove_overtaken(&**disk, folder, &chain)?;
    Ok(recovered)
}

/// Removes the segments that were overtaken, durably.
pub(crate) fn remove_overtaken(disk: &dyn Disk, folder: &Path, chain: &Chain) -> Result<(), LogError> {
    for name in &chain.overtaken {
        let path = name.path(folder);
        disk.remove(&path).map_err(|source| LogError::io(&path, source))?;
    }
    if chain.overtaken.is_empty() {
        return Ok(());
    }
    disk.sync_folder(folder, OVERTAKEN).map_err(|source| LogError::io(folder, source))
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
        let end_of_segment = scan.end_byte + if scan.stop == Stop::Footer { FOOTER_BYTES } else { 0 };
        let behind = Behind::look(&mut read, self.name, end_of_segment)?;
        let tail = TailFacts { end_byte: scan.end_byte, durable_byte, behind }.decide();
        match tail {
            Tail::Damaged { durable_byte } => {
                let detail = format!("{detail}, and the file was durable through byte {durable_byte}");
                return Err(LogError::damaged(&path, scan.end_offset, scan.end_byte, detail));
            }
            Tail::Torn { bytes } => {
                let (at_byte, offset) = (scan.end_byte, scan.end_offset);
                recovered.repair = Some(Repair { path: path.clone(), at_byte, offset, bytes });
            }
            Tail::Clean => {}
        }
        recovered.next_offset = scan.end_offset;
        if scan.frames == 0 {
            // Its name keeps the offset until the next segment begins there.
            return self
                .disk
                .open(&path)
                .and_then(|file| file.truncate(0))
                .map_err(|source| LogError::io(&path, source));
        }
        recovered.segments.push(SegmentSummary::of_scan(self.name, &scan, true));
        self.seal(&mut read, &scan, durable_byte)
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

    /// Writes again what no sync is known to have covered, closes it with a footer, and syncs.
    fn seal(&self, read: &mut ReadAhead, scan: &Scan, durable_byte: u64) -> Result<(), LogError> {
        let path = self.name.path(self.folder);
        let io = |source| LogError::io(&path, source);
        let is_sealed = scan.stop == Stop::Footer && read.file_bytes()? == scan.end_byte + FOOTER_BYTES;
        if is_sealed && durable_byte == scan.end_byte {
            return Ok(());
        }
        let file = self.disk.open(&path).map_err(io)?;
        let mut at = durable_byte;
        // The file may end within the padding of the last frame.
        while at < scan.end_byte.min(read.file_bytes()?) {
            let piece = read.piece(at)?;
            let count = (piece.len() as u64).min(scan.end_byte - at);
            file.write_at(at, &piece[..count as usize]).map_err(io)?;
            at += count;
        }
        file.write_at(scan.end_byte, &scan.footer().encode()).map_err(io)?;
        file.truncate(scan.end_byte + FOOTER_BYTES).map_err(io)?;
        file.sync(REPAIR).map_err(io)?;
        Mark::new(self.disk.clone(), self.folder).set(Durable { segment: self.name, bytes: scan.end_byte })
    }
}
