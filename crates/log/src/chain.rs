//! Which segment files make up the log, and which were overtaken.
//!
//! A new writer begins a segment where it found the end of the log, before it does anything else. What a writer of an older
//! generation has put there since, or later, nobody acknowledged: a newer generation's first offset ends everything older.
//! Files are never cut for that: who was overtaken may not know it yet, and a cut under its hands would leave a hole that looks
//! like damage.
//! ```text
//!   generation 1   0────────300────────450          700: overtaken
//!   generation 2                       450─────520────────
//!   the chain      0        300        450     520
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use asof_disk::Disk;

use crate::error::LogError;
use crate::segment::SegmentName;

const ENDING: &str = ".segment";

impl SegmentName {
    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("{:020}-{:010}{ENDING}", self.first_offset, self.generation))
    }

    fn parse(name: &str) -> Option<SegmentName> {
        let (first_offset, generation) = name.strip_suffix(ENDING)?.split_once('-')?;
        let name_only = SegmentName { generation: number(generation, 10)?, first_offset: number(first_offset, 20)? };
        Some(name_only)
    }
}

/// Digits only, at least so many, so that one number has one name.
pub(crate) fn number(digits: &str, width: usize) -> Option<u64> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    (is_plain && format!("{number:0width$}") == digits).then_some(number)
}

/// The segments of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Those that make up the log, in the order of their offsets.
    pub(crate) segments: Vec<SegmentName>,
    /// Those that begin where a newer generation had begun already.
    pub(crate) overtaken: Vec<SegmentName>,
}

impl Chain {
    pub(crate) fn of(mut names: Vec<SegmentName>) -> Chain {
        names.sort_by_key(|name| (name.generation, name.first_offset));
        let mut chain = Chain::default();
        let mut newer_begin: Option<SegmentName> = None;
        for name in names.into_iter().rev() {
            match newer_begin {
                Some(newer) if newer.generation > name.generation && newer.first_offset <= name.first_offset => {
                    chain.overtaken.push(name);
                }
                _ => {
                    newer_begin = Some(name);
                    chain.segments.push(name);
                }
            }
        }
        chain.segments.reverse();
        chain
    }

    /// Lists the partition's folder. A missing folder is an empty log.
    pub(crate) fn list(disk: &dyn Disk, folder: &Path) -> Result<Chain, LogError> {
        let entries = match disk.list(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Chain::default()),
            listed => listed.map_err(|source| LogError::io(folder, source))?,
        };
        let mut names = Vec::new();
        for entry in entries.iter().filter(|entry| entry.name.ends_with(ENDING)) {
            let not_a_name = || LogError::damaged(&folder.join(&entry.name), 0, 0, "its name is not one of a segment");
            names.push(SegmentName::parse(&entry.name).ok_or_else(not_a_name)?);
        }
        Ok(Chain::of(names))
    }

    /// The chain as it is with one more segment, which may be there already.
    pub(crate) fn with(self, name: SegmentName) -> Chain {
        let mut names = self.segments;
        names.extend(self.overtaken);
        if !names.contains(&name) {
            names.push(name);
        }
        Chain::of(names)
    }

    /// [`LogError::Fenced`] if a writer of a greater generation has begun here.
    pub(crate) fn check_none_newer(&self, folder: &Path, generation: u64) -> Result<(), LogError> {
        match self.segments.iter().find(|name| name.generation > generation) {
            Some(newer) => {
                let path = folder.to_path_buf();
                Err(LogError::Fenced { path, own: generation, found: newer.generation })
            }
            None => Ok(()),
        }
    }

    /// The first segment of the log that comes after this one, whether this one is still in the log or not.
    pub(crate) fn after(&self, name: SegmentName) -> Option<SegmentName> {
        let behind =
            |other: &&SegmentName| (other.generation, other.first_offset) > (name.generation, name.first_offset);
        self.segments.iter().find(behind).copied()
    }

    /// The segment where this offset is, or will be.
    pub(crate) fn holding(&self, offset: u64) -> Option<SegmentName> {
        self.segments.iter().rev().find(|name| name.first_offset <= offset).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments as `generation:offset`, and what of them is the log and what was overtaken, newest first.
    fn check(segments: &str, log: &str, overtaken: &str) {
        let parse = |text: &str| -> Vec<SegmentName> {
            let numbers = text.split_whitespace().filter_map(|name| name.split_once(':'));
            let number = |digits: &str| digits.parse().unwrap();
            numbers
                .map(|(first, second)| (number(first), number(second)))
                .map(|(generation, first_offset)| SegmentName { generation, first_offset })
                .collect()
        };
        let chain = Chain { segments: parse(log), overtaken: parse(overtaken) };
        assert_eq!(Chain::of(parse(segments)), chain, "{segments}");
    }

    #[test]
    fn a_newer_generation_ends_what_is_older() {
        check("", "", "");
        check("1:0 1:300 1:450", "1:0 1:300 1:450", "");
        check("2:450 1:700 1:0 2:520 1:300", "1:0 1:300 2:450 2:520", "1:700");
        check("1:0 2:0", "2:0", "1:0");
        check("1:0 1:10 2:10 2:20 3:5", "1:0 3:5", "2:20 2:10 1:10");
        check("1:0 2:8 3:8 2:9 3:12 1:7", "1:0 1:7 3:8 3:12", "2:9 2:8");
    }

    #[test]
    fn one_segment_has_one_name() {
        let name = SegmentName { generation: 12, first_offset: 34 };
        let path = name.path(Path::new("folder"));
        assert_eq!(path, Path::new("folder/00000000000000000034-0000000012.segment"));
        let long = SegmentName { generation: u64::MAX, first_offset: u64::MAX };
        for name in [name, long] {
            let path = name.path(Path::new(""));
            assert_eq!(SegmentName::parse(path.to_str().unwrap()), Some(name));
        }
        for refused in ["34-12.segment", "+0000000000000000034-0000000012.segment", "x", ".segment", "-.segment"] {
            assert_eq!(SegmentName::parse(refused), None, "{refused}");
        }
    }
}
