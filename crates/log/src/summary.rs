//! What a segment holds, told by its footer, or by walking it where the footer cannot be trusted.

use std::path::Path;

use asof_disk::Disk;

use crate::error::LogError;
use crate::field::VERSION;
use crate::read_ahead::ReadAhead;
use crate::scan::{Scan, Stop};
use crate::segment::{BadHeader, FOOTER_BYTES, Footer, FrameHead, HEADER_BYTES, SegmentName};

/// What one segment of a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The generation of its writer.
    pub generation: u64,
    /// The offset of its first row.
    pub first_offset: u64,
    /// The offset behind its last row. A reader knows it of a segment that may still grow as far as it has read.
    pub end_offset: u64,
    /// The length of its file; of the segment that is being written, without the room that is only reserved.
    pub bytes: u64,
    /// Whether nothing more will be written to it.
    pub is_sealed: bool,
    /// The newest arrival time, in microseconds since 1970; `i64::MIN`: it holds nothing, or that is not known yet.
    pub newest_arrived_us: i64,
    /// The newest event time, in microseconds since 1970; `i64::MIN`: it holds none, or that is not known yet.
    pub newest_us: i64,
}

impl SegmentSummary {
    pub(crate) fn name(&self) -> SegmentName {
        SegmentName { generation: self.generation, first_offset: self.first_offset }
    }

    pub(crate) fn of_scan(name: SegmentName, scan: &Scan, is_sealed: bool) -> SegmentSummary {
        SegmentSummary {
            generation: name.generation,
            first_offset: name.first_offset,
            end_offset: scan.end_offset,
            bytes: scan.end_byte + if is_sealed { FOOTER_BYTES } else { 0 },
            is_sealed,
            newest_arrived_us: scan.newest_arrived_us,
            newest_us: scan.newest_us,
        }
    }

    pub(crate) fn of_footer(name: SegmentName, footer: &Footer) -> SegmentSummary {
        SegmentSummary {
            generation: name.generation,
            first_offset: name.first_offset,
            end_offset: footer.end_offset,
            bytes: footer.byte + FOOTER_BYTES,
            is_sealed: true,
            newest_arrived_us: footer.newest_arrived_us,
            newest_us: footer.newest_us,
        }
    }

    /// Of the last segment, that may still grow: what is `known` of it already, until a footer tells all.
    pub(crate) fn of_last(
        disk: &dyn Disk,
        folder: &Path,
        name: SegmentName,
        known: Option<&SegmentSummary>,
    ) -> Result<SegmentSummary, LogError> {
        let mut read = ReadAhead::open(disk, &name.path(folder))?;
        if let Some(footer) = read_footer(&mut read)? {
            return Ok(SegmentSummary::of_footer(name, &footer));
        }
        Ok(known.cloned().unwrap_or_else(|| SegmentSummary::of_scan(name, &Scan::begin(name), false)))
    }

    /// Takes in a frame that was read.
    pub(crate) fn pass(&mut self, head: &FrameHead) {
        self.end_offset = self.end_offset.max(head.end_offset());
        self.bytes = self.bytes.max(head.end_byte());
        self.newest_arrived_us = self.newest_arrived_us.max(head.arrived_us);
        self.newest_us = self.newest_us.max(head.newest_us);
    }

    /// Of a segment behind which the log goes on at offset `end`: it must hold everything up to there.
    pub(crate) fn of_ended(
        disk: &dyn Disk,
        folder: &Path,
        name: SegmentName,
        end: u64,
    ) -> Result<SegmentSummary, LogError> {
        let mut read = ReadAhead::open(disk, &name.path(folder))?;
        if let Err(bad) = read_header(&mut read, name)? {
            return Err(header_error(bad, read.path(), name));
        }
        if let Some(footer) = read_footer(&mut read)?.filter(|footer| footer.end_offset == end) {
            return Ok(SegmentSummary::of_footer(name, &footer));
        }
        let scan = Scan::run(&mut read, name, end)?;
        if scan.end_offset == end {
            return Ok(SegmentSummary::of_scan(name, &scan, true));
        }
        let detail = match scan.stop {
            Stop::Nothing(detail) => detail.to_owned(),
            Stop::Footer | Stop::Until => format!("it ends here, and the next segment begins at offset {end}"),
        };
        Err(LogError::damaged(read.path(), scan.end_offset, scan.end_byte, detail))
    }
}

/// Whether the header is whole and that of this segment.
pub(crate) fn read_header(read: &mut ReadAhead, name: SegmentName) -> Result<Result<(), BadHeader>, LogError> {
    let header = SegmentName::decode_header(&read.copy(0, HEADER_BYTES)?);
    Ok(header.and_then(|found| {
        if found == name { Ok(()) } else { Err(BadHeader::Bytes("its header is that of another segment")) }
    }))
}

/// The error of a header that should be whole.
pub(crate) fn header_error(bad: BadHeader, path: &Path, name: SegmentName) -> LogError {
    match bad {
        BadHeader::Bytes(detail) => LogError::damaged(path, name.first_offset, 0, detail),
        BadHeader::Version(found) => LogError::Version { path: path.to_path_buf(), found, known: VERSION },
    }
}

/// The footer at the end of the file, if there is one.
pub(crate) fn read_footer(read: &mut ReadAhead) -> Result<Option<Footer>, LogError> {
    let Some(byte) = read.file_bytes()?.checked_sub(FOOTER_BYTES) else { return Ok(None) };
    Ok(Footer::decode(read.get(byte, FOOTER_BYTES as usize)?, byte))
}
