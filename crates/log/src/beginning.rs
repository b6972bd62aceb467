//! The beginning of a segment: a writer's first one ends what older writers have written or still write here.
//!
//! ```text
//!   hold `beginning` ─▶ list: newer ones? ones that are not known? ─▶ create, sync the folder ─▶ let go ─▶ tidy behind the first
//! ```
//! A writer that was overtaken and does not know it yet must not begin a segment any more. If it had found an earlier end than
//! the one that took over, or that one's first segments were dropped meanwhile, its segment would pass for a part of the log that
//! breaks off. So while one looks and begins, nobody else begins; and whoever looks and sees a newer one stops.
//!
//! Up to its first segment a new writer has changed nothing in the files of older ones, so that a crash leaves their log as they
//! wrote it. From then on nobody reads what is behind its first offset: their last segment gets a footer there, and its room
//! back to the system, whatever they still do to it. Nothing hangs on that footer.

use std::path::Path;
use std::sync::Arc;

use asof_disk::{Disk, FileLock};

use crate::chain::Chain;
use crate::error::LogError;
use crate::mark::remove_marks_before;
use crate::recovery::remove_overtaken;
use crate::segment::{FOOTER_BYTES, Footer, SegmentName};
use crate::summary::SegmentSummary;

const HELD_WHILE_BEGINNING: &str = "beginning";

/// A writer's right to begin a segment, as long as this is held.
#[derive(Debug)]
pub(crate) struct Beginning {
    _held: Box<dyn FileLock>,
}

impl Beginning {
    /// Makes sure that a segment of this name is the end of a log of which these are the others. [`LogError::Replaced`]: there
    /// are others now; [`LogError::Locked`]: another writer is just beginning.
    pub(crate) fn take(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        name: SegmentName,
        others: &[SegmentSummary],
    ) -> Result<Beginning, LogError> {
        let path = folder.join(HELD_WHILE_BEGINNING);
        let held = disk.lock(&path).map_err(|source| LogError::io(&path, source))?;
        let Some(held) = held else { return Err(LogError::Locked { path }) };
        let chain = Chain::list(&**disk, folder)?.with(name);
        chain.check_none_newer(folder, name.generation)?;
        let is_known = |found: &SegmentName| *found == name || others.iter().any(|other| other.name() == *found);
        if chain.segments.iter().all(is_known) {
            return Ok(Beginning { _held: held });
        }
        Err(LogError::Replaced { path: folder.to_path_buf(), offset: name.first_offset })
    }
}

/// Gives the last segment of an older writer the end that it has from now on.
pub(crate) fn end_with(disk: &dyn Disk, path: &Path, footer: &Footer) -> Result<(), LogError> {
    let footed = disk.open(path).and_then(|file| {
        file.write_at(footer.byte, &footer.encode())?;
        file.truncate(footer.byte + FOOTER_BYTES)
    });
    match footed.map_err(|source| LogError::io(path, source)) {
        // It is found without one, too; and retention may have taken it.
        Err(error) if error.is_gone() || matches!(error, LogError::Full { .. }) => Ok(()),
        footed => footed,
    }
}

/// Removes what a writer's first segment, which is durable, has overtaken.
pub(crate) fn remove_older(disk: &dyn Disk, folder: &Path, generation: u64) -> Result<(), LogError> {
    remove_overtaken(disk, folder, generation)?;
    remove_marks_before(disk, folder, generation)
}
