//! The bytes of a segment file.
//!
//! ```text
//!  byte 0      header, 40 bytes
//!  byte 40     frame │ frame │ frame │ … each at a multiple of 8
//!  sealed:     … │ footer, 56 bytes, end of the file
//!  not sealed: … │ reserved room, zeros
//!
//!  header   0 `asof-log`   8 version u32   12 zero u32   16 generation   24 offset of the first record   32 checksum of 0..32
//!
//!  frame    0 `fram`       4 bytes of the body u32   8 rows u32   12 dead letters among them u32   16 offset of the first row
//!  head    24 arrival time, µs   32 newest event time, µs (least i64: none)   40 durable through: byte of this file
//!          48 checksum of the body   56 checksum of 0..56
//!  body    64 …
//!  padding    zeros up to a multiple of 8, under no checksum
//!
//!  footer   0 `asof-end`   8 frames   16 offset behind the last row   24 byte where the footer stands
//!          32 newest arrival time, µs   40 newest event time, µs   48 checksum of 0..48
//! ```
//! Integers are little-endian, checksums XXH3-64. Rows have consecutive offsets, over frames and segments.
//!
//! *Durable through* says how much of the file a sync had covered when the frame was written. It tells damage from a torn
//! tail: bad bytes that a later frame calls durable were whole once. Whoever could choose the bytes of a body and cut the
//! power while it is written could fake such a frame; the log is then refused as damaged, nothing wrong is read.
//!
//! A sealed segment that another follows need not be trusted to its footer: it holds the offsets up to where the next begins.

use crate::field::{Fields, VERSION, checksum, i64_at, is_closed, u32_at, u64_at};

pub(crate) const HEADER_BYTES: u64 = 40;
pub(crate) const FRAME_HEAD_BYTES: u64 = 64;
pub(crate) const FOOTER_BYTES: u64 = 56;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGNMENT: u64 = 8;

/// The most bytes that the body of one frame may have: 1 GiB. A body is held in memory whole.
pub const FRAME_BODY_BYTES_MAX: u64 = 1 << 30;

const HEADER_MAGIC: &[u8; 8] = b"asof-log";
const FOOTER_MAGIC: &[u8; 8] = b"asof-end";
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"fram";

/// Which segment: its header says the same as its file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentName {
    pub(crate) generation: u64,
    pub(crate) first_offset: u64,
}

impl SegmentName {
    pub(crate) fn encode_header(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES as usize);
        let fields = Fields::begin(&mut out, HEADER_MAGIC).u32(VERSION).u32(0);
        fields.u64(self.generation).u64(self.first_offset).close();
        out
    }

    /// What is wrong with the bytes, if they are no header.
    pub(crate) fn decode_header(bytes: &[u8]) -> Result<SegmentName, BadHeader> {
        let record = bytes.get(..HEADER_BYTES as usize).ok_or(BadHeader::Bytes("its header is cut off"))?;
        if !is_closed(record, HEADER_MAGIC) {
            return Err(BadHeader::Bytes("its header does not match its checksum"));
        }
        match u32_at(record, 8) {
            VERSION => Ok(SegmentName { generation: u64_at(record, 16), first_offset: u64_at(record, 24) }),
            found => Err(BadHeader::Version(found)),
        }
    }
}

/// Why some bytes are no header that this code reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// What is wrong with the bytes.
    Bytes(&'static str),
    /// A whole header, of another version.
    Version(u32),
}

/// What a frame says about itself before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// The offset of its first row.
    pub first_offset: u64,
    /// How many offsets it takes; at least 1.
    pub rows: u32,
    /// When it arrived, in microseconds since 1970.
    pub arrived_us: i64,
    /// How many of its rows are dead letters.
    pub dead: u32,
    /// The newest event time in it, in microseconds since 1970; `i64::MIN`: none.
    pub newest_us: i64,
    /// The length of its body.
    pub body_bytes: u32,
    pub(crate) durable_through: u64,
    pub(crate) body_checksum: u64,
    /// Where it stands: the byte of its segment, and the segment.
    pub(crate) byte: u64,
    pub(crate) segment: SegmentName,
}

impl FrameHead {
    /// The offset behind its last row.
    pub fn end_offset(&self) -> u64 {
        self.first_offset + u64::from(self.rows)
    }

    /// The byte behind its padding.
    pub(crate) fn end_byte(&self) -> u64 {
        self.byte + frame_bytes(u64::from(self.body_bytes))
    }

    pub(crate) fn body_byte(&self) -> u64 {
        self.byte + FRAME_HEAD_BYTES
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let fields = Fields::begin(out, FRAME_MAGIC).u32(self.body_bytes).u32(self.rows).u32(self.dead);
        let fields = fields.u64(self.first_offset).i64(self.arrived_us).i64(self.newest_us);
        fields.u64(self.durable_through).u64(self.body_checksum).close();
    }

    /// Reads a head that stands at `byte`. The error says what is wrong.
    pub(crate) fn decode(bytes: &[u8], segment: SegmentName, byte: u64) -> Result<FrameHead, &'static str> {
        let record = bytes.get(..FRAME_HEAD_BYTES as usize).ok_or("the frame is cut off")?;
        if !is_closed(record, FRAME_MAGIC) {
            return Err("the frame's head does not match its checksum");
        }
        let head = FrameHead {
            first_offset: u64_at(record, 16),
            rows: u32_at(record, 8),
            arrived_us: i64_at(record, 24),
            dead: u32_at(record, 12),
            newest_us: i64_at(record, 32),
            body_bytes: u32_at(record, 4),
            durable_through: u64_at(record, 40),
            body_checksum: u64_at(record, 48),
            byte,
            segment,
        };
        head.check().map(|()| head)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.rows == 0 || self.first_offset.checked_add(u64::from(self.rows)).is_none() {
            return Err("the frame has impossible offsets");
        }
        if u64::from(self.body_bytes) > FRAME_BODY_BYTES_MAX {
            return Err("the frame's body is longer than a frame may be");
        }
        if self.durable_through > self.byte {
            return Err("the frame calls bytes durable that come after it");
        }
        Ok(())
    }

    /// Whether these bytes are the body that the head was written with.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && checksum(body) == self.body_checksum
    }
}

/// How many bytes a frame takes in its segment.
pub(crate) fn frame_bytes(body_bytes: u64) -> u64 {
    (FRAME_HEAD_BYTES + body_bytes).next_multiple_of(FRAME_ALIGNMENT)
}

/// What stands behind the last frame of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) frames: u64,
    pub(crate) end_offset: u64,
    /// Where the footer stands.
    pub(crate) byte: u64,
    pub(crate) newest_arrived_us: i64,
    pub(crate) newest_us: i64,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES as usize);
        let fields = Fields::begin(&mut out, FOOTER_MAGIC).u64(self.frames).u64(self.end_offset).u64(self.byte);
        fields.i64(self.newest_arrived_us).i64(self.newest_us).close();
        out
    }

    /// The footer that stands at `byte`, if there is one.
    pub(crate) fn decode(bytes: &[u8], byte: u64) -> Option<Footer> {
        let record = bytes.get(..FOOTER_BYTES as usize)?;
        let footer = Footer {
            frames: u64_at(record, 8),
            end_offset: u64_at(record, 16),
            byte: u64_at(record, 24),
            newest_arrived_us: i64_at(record, 32),
            newest_us: i64_at(record, 40),
        };
        (is_closed(record, FOOTER_MAGIC) && footer.byte == byte).then_some(footer)
    }
}
