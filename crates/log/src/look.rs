//! What stands behind the place where a segment stops being whole.

use crate::error::LogError;
use crate::read_ahead::ReadAhead;
use crate::segment::{FRAME_ALIGNMENT, FRAME_HEAD_BYTES, FRAME_MAGIC, FrameHead, SegmentName};

/// What was seen behind the end of what is whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The most that the head of a frame there calls durable, if that is more than the end of what is whole: a witness that
    /// something was there.
    pub(crate) durable_through: Option<u64>,
    /// How many bytes there are up to the last that is not zero.
    pub(crate) bytes: u64,
}

impl Behind {
    /// Looks at all of the file from `byte` on, which is a multiple of 8.
    pub(crate) fn look(read: &mut ReadAhead, segment: SegmentName, byte: u64) -> Result<Behind, LogError> {
        let mut behind = Behind::default();
        let mut at = byte;
        loop {
            let piece = read.piece(at)?;
            let length = piece.len() as u64;
            if length == 0 {
                return Ok(behind);
            }
            if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
                behind.bytes = at - byte + last as u64 + 1;
                let candidates = candidates(piece, at);
                behind.hear(read, segment, byte, &candidates)?;
            }
            // Pieces end at any length only at the end of the file.
            at += length.next_multiple_of(FRAME_ALIGNMENT);
        }
    }

    fn hear(
        &mut self,
        read: &mut ReadAhead,
        segment: SegmentName,
        byte: u64,
        candidates: &[u64],
    ) -> Result<(), LogError> {
        for at in candidates {
            let Ok(head) = FrameHead::decode(read.get(*at, FRAME_HEAD_BYTES as usize)?, segment, *at) else { continue };
            if head.durable_through > byte && head.first_offset >= segment.first_offset {
                self.durable_through = self.durable_through.max(Some(head.durable_through));
            }
        }
        Ok(())
    }
}

/// Where in this piece a frame could begin, by its first four bytes.
fn candidates(piece: &[u8], at: u64) -> Vec<u64> {
    let words = piece.chunks_exact(FRAME_ALIGNMENT as usize).enumerate();
    let begins = words.filter(|(_, word)| word.starts_with(FRAME_MAGIC));
    begins.map(|(index, _)| at + index as u64 * FRAME_ALIGNMENT).collect()
}
