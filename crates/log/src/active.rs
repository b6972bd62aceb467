//! The segment that is being written: what is in it, and how much room there is for more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::{Disk, DiskFile};

use crate::error::LogError;
use crate::field::checksum;
use crate::mark::open_or_create;
use crate::partition_log::NewFrame;
use crate::scan::Scan;
use crate::segment::{FOOTER_BYTES, FrameHead, HEADER_BYTES, SegmentName};
use crate::sites::ENTRY;
use crate::unsynced::Syncing;

/// Room is reserved in steps as long as the segment is already, within these bounds: a stream with few events takes little,
/// and one with many seldom changes the file's length, which every sync would have to write.
const RESERVED_STEP_MIN_BYTES: u64 = 1 << 20;
const RESERVED_STEP_MAX_BYTES: u64 = 16 << 20;
/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) name: SegmentName,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) syncing: Arc<Syncing>,
    pub(crate) written: Scan,
    pub(crate) durable_byte: u64,
    reserved_bytes: u64,
}

impl Active {
    /// Makes its file, with a header and nothing more. On a full disk an empty file may be left, which the next attempt takes over.
    pub(crate) fn create(disk: &dyn Disk, folder: &Path, name: SegmentName) -> Result<Active, LogError> {
        let path = name.path(folder);
        let made = open_or_create(disk, &path).and_then(|file| {
            file.truncate(0)?;
            file.reserve(HEADER_BYTES + FOOTER_BYTES)?;
            Ok(file)
        });
        let file = made.map_err(|source| LogError::io(&path, source))?;
        let reserved_bytes = HEADER_BYTES + FOOTER_BYTES;
        let syncing = Arc::default();
        Ok(Active { name, path, file, syncing, written: Scan::begin(name), durable_byte: 0, reserved_bytes })
    }

    /// Writes the header, and makes the name durable.
    pub(crate) fn begin(&self, disk: &dyn Disk, folder: &Path) -> Result<(), LogError> {
        let written = self.file.write_at(0, &self.name.encode_header());
        written.map_err(|source| LogError::failed(&self.path, source))?;
        disk.sync_folder(folder, ENTRY).map_err(|source| LogError::failed(folder, source))
    }

    /// Whether it has frames that no sync has covered.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.durable_byte != self.written.end_byte && self.written.frames > 0
    }

    /// Whether so many more bytes of frames belong into the next segment. Not if room for them was reserved in this one.
    pub(crate) fn is_long_with(&self, bytes: u64, segment_bytes: u64) -> bool {
        let needed = self.written.end_byte.saturating_add(bytes).saturating_add(FOOTER_BYTES);
        self.written.frames > 0 && needed > segment_bytes.max(self.reserved_bytes)
    }

    /// Reserves room for so many more bytes of frames, and for the footer: a step more if there is room for it.
    pub(crate) fn reserve(&mut self, bytes: u64, segment_bytes: u64) -> Result<(), LogError> {
        let needed = self.written.end_byte.saturating_add(bytes).saturating_add(FOOTER_BYTES);
        if needed <= self.reserved_bytes {
            return Ok(());
        }
        let step = needed.clamp(RESERVED_STEP_MIN_BYTES, RESERVED_STEP_MAX_BYTES);
        let generous = needed.saturating_add(step).min(segment_bytes).max(needed);
        self.reserved_bytes = match self.file.reserve(generous) {
            Ok(()) => generous,
            Err(_perhaps_there_is_room_for_less) => {
                self.file.reserve(needed).map_err(|source| LogError::io(&self.path, source))?;
                needed
            }
        };
        Ok(())
    }

    pub(crate) fn head(&self, frame: &NewFrame<'_>, first_offset: u64) -> FrameHead {
        FrameHead {
            first_offset,
            rows: frame.rows,
            arrived_us: frame.arrived_us,
            dead: frame.dead,
            newest_us: frame.newest_us,
            body_bytes: frame.body.len() as u32,
            durable_through: self.durable_byte,
            body_checksum: checksum(frame.body),
            byte: self.written.end_byte,
            segment: self.name,
        }
    }
}
