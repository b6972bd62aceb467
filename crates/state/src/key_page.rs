//! The pages of a run file: 4 KiB each, with a checksum of their own.
//!
//! ```text
//!   page 0            the header
//!   pages 1 to n      entries, sorted by (hash, event time): 170 to a page, fewer in the last
//!   then              filter lines (64 bytes each) · the upper half of the first hash of each page (8 bytes each)
//!
//!   header: 0 magic `asof-key` 8 · 8 version 4 · 12 zeros 4 · 16 keys 8 · 24 oldest event time 8 · 32 newest 8
//!           40 filter lines 8 · 48 XXH3-64 of filter and index 8 · 56 XXH3-64 of all entries 8 · 64 zeros · 4088 checksum 8
//!   page:   0 entries of 24: hash 16, event time 8 · zeros · 4080 entries in it 8 · 4088 checksum 8
//! ```
//! The checksum of a page is the XXH3-64 of its first 4088 bytes with the page's number as the seed: a page in a wrong place is
//! damage.

use twox_hash::XxHash3_64;

use crate::key_filter::LINE_BYTES;
use crate::{KeyEntry, StateError};

pub(crate) const PAGE_BYTES: usize = 4096;
pub(crate) const ENTRY_BYTES: usize = 24;
const CHECKSUM_AT: usize = PAGE_BYTES - 8;
const COUNT_AT: usize = CHECKSUM_AT - 8;
/// Entries of a full page.
pub(crate) const PAGE_ENTRIES: usize = COUNT_AT / ENTRY_BYTES;

const MAGIC: &[u8; 8] = b"asof-key";
const VERSION: u32 = 1;

/// One page.
pub(crate) type Page = [u8; PAGE_BYTES];

/// What the first page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) keys: u64,
    pub(crate) oldest_us: i64,
    pub(crate) newest_us: i64,
    pub(crate) filter_lines: u64,
    pub(crate) tail_checksum: u64,
    pub(crate) entries_checksum: u64,
}

impl Header {
    /// Pages of entries.
    pub(crate) fn pages(&self) -> u64 {
        self.keys.div_ceil(PAGE_ENTRIES as u64)
    }

    /// Where the filter begins.
    pub(crate) fn filter_at(&self) -> Option<u64> {
        self.pages().checked_add(1)?.checked_mul(PAGE_BYTES as u64)
    }

    /// Where the index begins.
    pub(crate) fn index_at(&self) -> Option<u64> {
        self.filter_at()?.checked_add(self.filter_lines.checked_mul(LINE_BYTES as u64)?)
    }

    /// The length of the whole file. `None`: of no possible file.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        self.index_at()?.checked_add(self.pages().checked_mul(8)?)
    }

    pub(crate) fn encode(&self) -> Page {
        let mut page = [0; PAGE_BYTES];
        page[..8].copy_from_slice(MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[16..24].copy_from_slice(&self.keys.to_le_bytes());
        page[24..32].copy_from_slice(&self.oldest_us.to_le_bytes());
        page[32..40].copy_from_slice(&self.newest_us.to_le_bytes());
        page[40..48].copy_from_slice(&self.filter_lines.to_le_bytes());
        page[48..56].copy_from_slice(&self.tail_checksum.to_le_bytes());
        page[56..64].copy_from_slice(&self.entries_checksum.to_le_bytes());
        finish(&mut page, 0);
        page
    }

    pub(crate) fn decode(file: &str, page: &Page) -> Result<Header, StateError> {
        if &page[..8] != MAGIC {
            return Err(StateError::damaged(file, "it does not begin with `asof-key`"));
        }
        let version = u32::from_le_bytes(page[8..12].try_into().expect("four bytes"));
        if checksum_of(page, 0) != number(page, CHECKSUM_AT) {
            return Err(wrong_checksum(file, 0));
        }
        if version != VERSION {
            return Err(StateError::Version { object: file.to_owned(), found: version, known: VERSION });
        }
        Ok(Header {
            keys: number(page, 16),
            oldest_us: number(page, 24).cast_signed(),
            newest_us: number(page, 32).cast_signed(),
            filter_lines: number(page, 40),
            tail_checksum: number(page, 48),
            entries_checksum: number(page, 56),
        })
    }
}

/// Writes entries, at most a page full of them, as the page with this number.
pub(crate) fn encode_entries(entries: &[KeyEntry], page_number: u64) -> Page {
    let mut page = [0; PAGE_BYTES];
    for (place, entry) in page.chunks_exact_mut(ENTRY_BYTES).zip(entries) {
        place[..16].copy_from_slice(&entry.hash.to_le_bytes());
        place[16..].copy_from_slice(&entry.time_us.to_le_bytes());
    }
    page[COUNT_AT..CHECKSUM_AT].copy_from_slice(&(entries.len() as u64).to_le_bytes());
    finish(&mut page, page_number);
    page
}

/// The entries of a page that is as it was written.
pub(crate) struct Entries<'a> {
    bytes: &'a [[u8; ENTRY_BYTES]],
}

impl<'a> Entries<'a> {
    pub(crate) fn decode(file: &str, page: &'a Page, page_number: u64) -> Result<Entries<'a>, StateError> {
        if checksum_of(page, page_number) != number(page, CHECKSUM_AT) {
            return Err(wrong_checksum(file, page_number));
        }
        let count = number(page, COUNT_AT);
        let (all, _) = page[..COUNT_AT].as_chunks::<ENTRY_BYTES>();
        let counted = usize::try_from(count).ok().and_then(|count| all.get(..count));
        let wrong_count = || StateError::damaged(file, format!("page {page_number} claims to hold {count} entries"));
        counted.map(|bytes| Entries { bytes }).ok_or_else(wrong_count)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn get(&self, at: usize) -> KeyEntry {
        let (hash, time) = self.bytes[at].split_at(16);
        KeyEntry {
            hash: u128::from_le_bytes(hash.try_into().expect("sixteen bytes")),
            time_us: i64::from_le_bytes(time.try_into().expect("eight bytes")),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = KeyEntry> + '_ {
        (0..self.len()).map(|at| self.get(at))
    }

    /// The event times of this hash.
    pub(crate) fn times_of(&self, hash: u128) -> impl Iterator<Item = i64> + '_ {
        let hash_at = |bytes: &[u8; ENTRY_BYTES]| u128::from_le_bytes(bytes[..16].try_into().expect("sixteen bytes"));
        let first = self.bytes.partition_point(|bytes| hash_at(bytes) < hash);
        (first..self.len())
            .map(|at| self.get(at))
            .take_while(move |entry| entry.hash == hash)
            .map(|entry| entry.time_us)
    }
}

fn finish(page: &mut Page, page_number: u64) {
    let checksum = checksum_of(page, page_number);
    page[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum_of(page: &Page, page_number: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(page_number, &page[..CHECKSUM_AT])
}

fn number(page: &Page, at: usize) -> u64 {
    u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"))
}

fn wrong_checksum(file: &str, page_number: u64) -> StateError {
    let byte = page_number * PAGE_BYTES as u64;
    StateError::damaged(file, format!("the page at byte {byte} has not the checksum that it names"))
}
