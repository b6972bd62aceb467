//! Where the events of a stream lie in a data folder.
//! ```text
//!   <data>/log/<stream>/<partition>/…               segments: the truth
//!   <data>/history/<stream>/<partition>/<first offset>-<end offset>.parquet
//! ```
//! A stream's folder is its name with every byte but a–z, 0–9, `_` and `-` as `%` and two hexadecimal digits: no name leads
//! out of its folder, and none that differ are one on a disk that does not tell cases apart.

use std::ops::Range;
use std::path::{Path, PathBuf};

use asof_disk::{Disk, Entry};

use crate::error::ConnectError;

/// How many digits of an offset are in a file's name: all that 64 bits can have, so that names sort as numbers.
const OFFSET_DIGITS: usize = 20;

/// The folder of a stream's log segments.
pub fn stream_folder(data_folder: &Path, stream: &str, partition: u32) -> PathBuf {
    data_folder.join("log").join(folder_name(stream)).join(partition.to_string())
}

/// The folder of a stream's Parquet files.
pub fn history_folder(data_folder: &Path, stream: &str, partition: u32) -> PathBuf {
    data_folder.join("history").join(folder_name(stream)).join(partition.to_string())
}

/// The name of a stream's folder.
pub fn folder_name(stream: &str) -> String {
    let mut name = String::with_capacity(stream.len());
    for byte in stream.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// A Parquet file of a partition, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPlace {
    /// The first offset that it covers.
    pub first_offset: u64,
    /// The offset behind the last.
    pub end_offset: u64,
    /// Where it lies.
    pub path: PathBuf,
}

/// The Parquet files of a partition, by their first offsets; none where the folder is missing. Where two begin alike, the
/// longer one comes first.
pub fn history_files(
    disk: &dyn Disk,
    data_folder: &Path,
    stream: &str,
    partition: u32,
) -> Result<Vec<HistoryPlace>, ConnectError> {
    let folder = history_folder(data_folder, stream, partition);
    let entries = match disk.list(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(ConnectError::Read { path: folder, source }),
    };
    let place = |entry: &Entry| {
        let offsets = history_offsets(&entry.name)?;
        let path = folder.join(&entry.name);
        Some(HistoryPlace { first_offset: offsets.start, end_offset: offsets.end, path })
    };
    let mut files: Vec<HistoryPlace> = entries.iter().filter_map(place).collect();
    files.sort_unstable_by_key(|file| (file.first_offset, std::cmp::Reverse(file.end_offset)));
    Ok(files)
}

/// The name of the Parquet file of these offsets.
pub(crate) fn history_name(offsets: &Range<u64>) -> String {
    format!("{:020}-{:020}.parquet", offsets.start, offsets.end)
}

/// The offsets of a Parquet file by its name; `None` if it is no such name.
pub fn history_offsets(name: &str) -> Option<Range<u64>> {
    let (first, end) = name.strip_suffix(".parquet")?.split_once('-')?;
    let offset = |digits: &str| {
        let is_offset = digits.len() == OFFSET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_offset.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let offsets = offset(first)?..offset(end)?;
    (offsets.start < offsets.end).then_some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stream_name_leaves_its_folder() {
        for (name, expected) in [
            ("transactions", "transactions"),
            ("a_b-9", "a_b-9"),
            ("..", "%2E%2E"),
            ("a/b", "a%2Fb"),
            ("A", "%41"),
            ("a%2Fb", "a%252%46b"),
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("\0", "%00"),
        ] {
            assert_eq!(folder_name(name), expected);
        }
        assert_eq!(stream_folder(Path::new("/d"), "a b", 7), Path::new("/d/log/a%20b/7"));
        assert_eq!(history_folder(Path::new("/d"), "a b", 7), Path::new("/d/history/a%20b/7"));
    }

    #[test]
    fn names_of_parquet_files_tell_their_offsets() {
        let offsets = 7..u64::MAX;
        assert_eq!(history_name(&offsets), "00000000000000000007-18446744073709551615.parquet");
        assert_eq!(history_offsets(&history_name(&offsets)), Some(offsets));
        for other in [
            "00000000000000000007-00000000000000000007.parquet",
            "7-9.parquet",
            "00000000000000000007-00000000000000000009.parquet.new",
            "00000000000000000007-99999999999999999999.parquet",
            "+0000000000000000007-00000000000000000009.parquet",
            "",
        ] {
            assert_eq!(history_offsets(other), None, "{other}");
        }
    }
}
