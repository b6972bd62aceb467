//! The checksum of a Parquet file, inside of its own footer.
//!
//! Written are first zeros for its digits; they are replaced by the checksum of the file with the zeros. The digits are
//! found as the last place in the footer that looks like them: what stands behind the metadata pairs of a footer is not
//! text of anybody's choice.

use std::path::Path;

use asof_disk::DiskFile;
use std::hash::Hasher;
use twox_hash::XxHash3_64;

use crate::error::ConnectError;
use crate::format::Format;

/// The footer's key that the value stands under.
pub(crate) const KEY: &str = "asof.history";
/// What stands before the digits.
const MARK: &str = "version=1 xxh3-64=";
/// XXH3-64 in hexadecimal.
const DIGITS: usize = 16;
/// The last bytes of a Parquet file: the footer's length and four letters.
const TAIL_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";
/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The value while the file is written.
pub(crate) fn unsealed() -> String {
    format!("{MARK}{}", "0".repeat(DIGITS))
}

/// Puts the checksum into a finished file. `None` if it has no place for one.
pub(crate) fn seal(file: &mut [u8]) -> Option<()> {
    let digits = rfind(file, MARK.as_bytes())? + MARK.len();
    let checksum = format!("{:016x}", XxHash3_64::oneshot(file));
    file.get_mut(digits..digits + DIGITS)?.copy_from_slice(checksum.as_bytes());
    Some(())
}

/// An error unless the file is as it was sealed.
pub(crate) fn check_whole(path: &Path, file: &dyn DiskFile) -> Result<(), ConnectError> {
    let read_error = |source| ConnectError::Read { path: path.to_owned(), source };
    let length = file.bytes().map_err(read_error)?;
    let footer = footer(file, length).map_err(read_error)?;
    let found = footer.as_ref().and_then(|footer| digits_of(footer).map(|(at, digits)| (at, digits.to_vec())));
    let (Some(footer), Some((at, digits))) = (footer, found) else {
        return Err(corrupt(path, "its end has no checksum"));
    };
    let digits_at = length - footer.len() as u64 + at as u64;
    let checksum = checksum_without(file, length, digits_at).map_err(read_error)?;
    if format!("{checksum:016x}").as_bytes() != digits {
        return Err(corrupt(path, "its checksum does not hold: it is damaged"));
    }
    Ok(())
}

/// The footer with the tail; `None` if the file does not end with one.
fn footer(file: &dyn DiskFile, length: u64) -> std::io::Result<Option<Vec<u8>>> {
    let Some(tail_at) = length.checked_sub(TAIL_BYTES as u64) else { return Ok(None) };
    let mut tail = [0; TAIL_BYTES];
    let read = file.read_at(tail_at, &mut tail)?;
    if read < TAIL_BYTES || &tail[4..] != MAGIC {
        return Ok(None);
    }
    let [a, b, c, d, ..] = tail;
    let bytes = u64::from(u32::from_le_bytes([a, b, c, d])) + TAIL_BYTES as u64;
    let Some(footer_at) = length.checked_sub(bytes) else { return Ok(None) };
    let mut footer = vec![0; bytes as usize];
    let read = file.read_at(footer_at, &mut footer)?;
    Ok((read == footer.len()).then_some(footer))
}

/// The digits and where they begin.
fn digits_of(footer: &[u8]) -> Option<(usize, &[u8])> {
    let at = rfind(footer, MARK.as_bytes())? + MARK.len();
    Some((at, footer.get(at..at + DIGITS)?))
}

/// The checksum of the file with zeros at the place of the digits.
fn checksum_without(file: &dyn DiskFile, length: u64, digits_at: u64) -> std::io::Result<u64> {
    let mut hasher = XxHash3_64::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(length as usize)];
    let mut at = 0;
    while at < length {
        let read = file.read_at(at, &mut chunk)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        for digit in digits_at.max(at)..(digits_at + DIGITS as u64).min(at + read as u64) {
            chunk[(digit - at) as usize] = b'0';
        }
        hasher.write(&chunk[..read]);
        at += read as u64;
    }
    Ok(hasher.finish())
}

fn rfind(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).rposition(|window| window == word)
}

fn corrupt(path: &Path, detail: &str) -> ConnectError {
    ConnectError::Corrupt { path: path.to_owned(), format: Format::Parquet, detail: detail.to_owned() }
}
