//! Records of fixed length: little-endian fields, closed by an XXH3-64 of everything before.

use twox_hash::XxHash3_64;

/// The version that this code writes into every kind of file.
pub(crate) const VERSION: u32 = 1;

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// Appends fields to `out`.
pub(crate) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>, magic: &[u8]) -> Fields<'a> {
        let begin = out.len();
        out.extend_from_slice(magic);
        Fields { out, begin }
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn i64(self, value: i64) -> Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn close(self) {
        let sum = checksum(&self.out[self.begin..]);
        self.out.extend_from_slice(&sum.to_le_bytes());
    }
}

/// Whether `record` begins with this magic and its last 8 bytes are the checksum of the others.
pub(crate) fn is_closed(record: &[u8], magic: &[u8]) -> bool {
    record.starts_with(magic)
        && record.split_last_chunk().is_some_and(|(fields, sum)| checksum(fields) == u64::from_le_bytes(*sum))
}

/// The field at this byte of a record, whose length the caller has checked.
pub(crate) fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*record[at..].first_chunk().expect("the field lies within the record"))
}

pub(crate) fn u64_at(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*record[at..].first_chunk().expect("the field lies within the record"))
}

pub(crate) fn i64_at(record: &[u8], at: usize) -> i64 {
    u64_at(record, at) as i64
}
