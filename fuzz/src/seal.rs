//! Checksums made right in bytes that were changed, so that what they protect is interpreted.

use twox_hash::XxHash3_64;

const HEADER_BYTES: usize = 40;
const FRAME_HEAD_BYTES: usize = 64;
const FOOTER_BYTES: usize = 56;

/// Closes a record of fixed length: its last eight bytes are the XXH3-64 of the others. One that is shorter stays.
pub fn seal_record(record: &mut [u8]) {
    if let Some((fields, sum)) = record.split_last_chunk_mut() {
        *sum = XxHash3_64::oneshot(fields).to_le_bytes();
    }
}

/// Closes header, frames and footer of a segment of the log, as far as there are some (`log/src/segment.rs` has the bytes).
pub fn seal_segment(segment: &mut [u8]) {
    let Some(header) = segment.get_mut(..HEADER_BYTES) else { return };
    seal_record(header);
    let mut at = HEADER_BYTES;
    while let Some(next) = seal_frame(segment, at) {
        at = next;
    }
    let footer = segment.get_mut(at..at + FOOTER_BYTES);
    if let Some(footer) = footer.filter(|footer| footer.starts_with(b"asof-end")) {
        seal_record(footer);
    }
}

/// Closes the frame that begins at this byte; gives the byte behind its padding. `None`: no whole frame is there.
fn seal_frame(segment: &mut [u8], at: usize) -> Option<usize> {
    let frame = segment.get_mut(at..)?;
    let (head, rest) = frame.split_at_mut_checked(FRAME_HEAD_BYTES)?;
    if !head.starts_with(b"fram") {
        return None;
    }
    let body_bytes = u32::from_le_bytes(*head[4..].first_chunk()?) as usize;
    let sum = XxHash3_64::oneshot(rest.get(..body_bytes)?);
    head[48..56].copy_from_slice(&sum.to_le_bytes());
    seal_record(head);
    Some(at + (FRAME_HEAD_BYTES + body_bytes).next_multiple_of(8))
}
