//! A part: one piece of a checkpoint's bytes, an object of its own.
//!
//! ```text
//!   byte 0  magic `asof-prt`      8
//!        8  format version        4
//!       12  kind                  4   1 view, whole · 2 view, what was touched · 4 batches; 3 is used no more
//!       16  length of the bytes   8
//!       24  their XXH3-64         8
//!       32  the bytes
//! ```
//! The manifest says the same of each part. A header is therefore not interpreted but compared: every bit of an object is
//! either as the manifest demands or damage.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::StateError;

/// The greatest length of the bytes of one part. Larger images are written as several: a reader needs memory for one.
pub const PIECE_BYTES_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"asof-prt";
const VERSION: u32 = 1;
/// Bytes before the part's own.
const HEADER_BYTES: usize = 32;

/// What a part holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PartKind {
    /// Images of a view's entities.
    View {
        /// The view.
        name: String,
        /// Of the view's definition, as the writer computes it: images of another definition are of no use.
        fingerprint: u64,
        /// Whether the parts of this kind hold all entities, or those touched since the checkpoint before.
        is_base: bool,
    },
    /// Producers' batches that were taken in.
    Batches,
}

impl PartKind {
    fn code(&self) -> u32 {
        match self {
            PartKind::View { is_base: true, .. } => 1,
            PartKind::View { is_base: false, .. } => 2,
            PartKind::Batches => 4,
        }
    }
}

/// To what a part belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartScope {
    /// The stream.
    pub stream: String,
    /// The partition of the stream.
    pub partition: u32,
    /// What the part holds of it.
    pub kind: PartKind,
}

/// A part as a manifest names it. Clones name the same object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// To what it belongs.
    pub scope: PartScope,
    /// Its object.
    pub path: String,
    /// The length of the object: of its header and its bytes.
    pub bytes: u64,
    /// The XXH3-64 of its bytes, without the header.
    pub checksum: u64,
}

impl Part {
    /// Names `piece`; what stands before it in its object is the header.
    pub(crate) fn write(scope: PartScope, path: String, piece: &[u8]) -> Result<(Part, Bytes), StateError> {
        if piece.len() > PIECE_BYTES_MAX {
            let (bytes, bytes_max) = (piece.len() as u64, PIECE_BYTES_MAX as u64);
            return Err(StateError::TooLarge { object: path, bytes, bytes_max });
        }
        let checksum = XxHash3_64::oneshot(piece);
        let part = Part { scope, path, bytes: (HEADER_BYTES + piece.len()) as u64, checksum };
        let header = Bytes::copy_from_slice(&part.header());
        Ok((part, header))
    }

    /// The bytes without the header, if the object is as this part says.
    pub(crate) fn check(&self, object: Bytes) -> Result<Bytes, StateError> {
        if object.len() as u64 != self.bytes || object.len() < HEADER_BYTES {
            return Err(self.wrong_length(object.len() as u64));
        }
        if object[..HEADER_BYTES] != self.header() {
            return Err(self.wrong_header(&object));
        }
        let piece = object.slice(HEADER_BYTES..);
        let found = XxHash3_64::oneshot(&piece);
        if found != self.checksum {
            let detail = format!("its bytes have the checksum {found:016x}, not {:016x}", self.checksum);
            return Err(StateError::damaged(&self.path, detail));
        }
        Ok(piece)
    }

    /// Whether an object of this part can be read in bounded memory.
    pub(crate) fn has_possible_length(&self) -> bool {
        (HEADER_BYTES as u64..=(HEADER_BYTES + PIECE_BYTES_MAX) as u64).contains(&self.bytes)
    }

    pub(crate) fn wrong_length(&self, found: u64) -> StateError {
        StateError::damaged(&self.path, format!("it has {found} bytes, its manifest names {}", self.bytes))
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&self.scope.kind.code().to_le_bytes());
        header[16..24].copy_from_slice(&self.bytes.saturating_sub(HEADER_BYTES as u64).to_le_bytes());
        header[24..].copy_from_slice(&self.checksum.to_le_bytes());
        header
    }

    fn wrong_header(&self, object: &[u8]) -> StateError {
        let expected = self.header();
        let byte = (0..HEADER_BYTES).find(|&at| object[at] != expected[at]).unwrap_or(HEADER_BYTES);
        let what = match byte {
            0..8 => "magic",
            8..12 => "format version",
            12..16 => "kind",
            16..24 => "length",
            _ => "checksum",
        };
        StateError::damaged(&self.path, format!("the {what} in its header is not the one expected, at byte {byte}"))
    }
}
