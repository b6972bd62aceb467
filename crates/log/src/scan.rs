//! Walking a segment from frame to frame, as far as it is whole.

use crate::error::LogError;
use crate::read_ahead::ReadAhead;
use crate::segment::{FOOTER_BYTES, FRAME_HEAD_BYTES, Footer, FrameHead, HEADER_BYTES, SegmentName};

/// What stands at a place where a frame could begin.
#[derive(Debug)]
pub(crate) enum Found {
    Frame(FrameHead),
    Footer,
    /// Neither, and why it is no frame.
    Nothing(&'static str),
}

/// A place in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: SegmentName,
    pub(crate) byte: u64,
    /// The offset that a frame here must begin with.
    pub(crate) offset: u64,
}

/// Looks at what stands here. Of a frame that ends at `whole_through` or before, the body is not read: it is whole, or damaged,
/// and who reads it will see.
pub(crate) fn look_at(read: &mut ReadAhead, place: Place, whole_through: u64) -> Result<Found, LogError> {
    let head = match FrameHead::decode(read.get(place.byte, FRAME_HEAD_BYTES as usize)?, place.segment, place.byte) {
        Ok(head) => head,
        Err(detail) => {
            let footer = Footer::decode(read.get(place.byte, FOOTER_BYTES as usize)?, place.byte);
            let footer = footer.filter(|footer| footer.end_offset == place.offset);
            return Ok(footer.map_or(Found::Nothing(detail), |_| Found::Footer));
        }
    };
    if head.first_offset != place.offset {
        return Ok(Found::Nothing("the frame does not go on where the one before it ends"));
    }
    let body_bytes = u64::from(head.body_bytes);
    let is_whole = if head.end_byte() <= whole_through {
        head.body_byte() + body_bytes <= read.file_bytes()?
    } else {
        read.checksum(head.body_byte(), body_bytes)? == Some(head.body_checksum)
    };
    Ok(if is_whole { Found::Frame(head) } else { Found::Nothing("the frame's body does not match its checksum") })
}

/// How far a segment is whole, and what is in it so far.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) frames: u64,
    pub(crate) end_offset: u64,
    pub(crate) end_byte: u64,
    pub(crate) newest_arrived_us: i64,
    pub(crate) newest_us: i64,
    /// The most that any of the frames calls durable.
    pub(crate) durable_through: u64,
    pub(crate) stop: Stop,
}

/// Why a scan ended where it did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Footer,
    /// The offset that it was to go to.
    Until,
    Nothing(&'static str),
}

impl Scan {
    pub(crate) fn begin(segment: SegmentName) -> Scan {
        Scan {
            frames: 0,
            end_offset: segment.first_offset,
            end_byte: HEADER_BYTES,
            newest_arrived_us: i64::MIN,
            newest_us: i64::MIN,
            durable_through: 0,
            stop: Stop::Until,
        }
    }

    /// Walks a segment whose header is whole, all bodies with it, to this offset or as far as it goes.
    pub(crate) fn run(read: &mut ReadAhead, segment: SegmentName, until: u64) -> Result<Scan, LogError> {
        let mut scan = Scan::begin(segment);
        while scan.end_offset < until {
            let place = Place { segment, byte: scan.end_byte, offset: scan.end_offset };
            match look_at(read, place, 0)? {
                Found::Frame(head) => scan.take(&head),
                Found::Footer => {
                    scan.stop = Stop::Footer;
                    break;
                }
                Found::Nothing(detail) => {
                    scan.stop = Stop::Nothing(detail);
                    break;
                }
            }
        }
        Ok(scan)
    }

    pub(crate) fn take(&mut self, head: &FrameHead) {
        self.frames += 1;
        self.end_offset = head.end_offset();
        self.end_byte = head.end_byte();
        self.newest_arrived_us = self.newest_arrived_us.max(head.arrived_us);
        self.newest_us = self.newest_us.max(head.newest_us);
        self.durable_through = self.durable_through.max(head.durable_through);
    }

    pub(crate) fn footer(&self) -> Footer {
        Footer {
            frames: self.frames,
            end_offset: self.end_offset,
            byte: self.end_byte,
            newest_arrived_us: self.newest_arrived_us,
            newest_us: self.newest_us,
        }
    }
}
