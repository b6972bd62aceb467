//! Keys that have left the judge and are on their way out of memory.
//!
//! ```text
//!   judge ── detach (a move, O(1)) ─▶ DetachedKeys ── in_order ─▶ whoever writes them to disk
//!                                         └ times_of ─▶ the judge, with each arrival, until they are written
//! ```
//! They never change, so that one thread may write them while another looks keys up.

use crate::key_hash::KeyHash;
use crate::used_keys::{PARTS, UsedKeys};

/// Primary keys of used events, with the events' times.
#[derive(Debug, Default)]
pub struct DetachedKeys {
    /// Those of one partition each.
    partitions: Vec<UsedKeys>,
}

impl DetachedKeys {
    pub(crate) fn new(partitions: Vec<UsedKeys>) -> DetachedKeys {
        DetachedKeys { partitions }
    }

    /// The times, in microseconds, of used events of this key; some may be needed no more.
    pub fn times_of(&self, key: KeyHash) -> impl Iterator<Item = i64> {
        self.partitions.iter().flat_map(move |keys| keys.times_of(key))
    }

    /// Those that are needed, by hash and time. Takes memory for a small part of them at a time.
    pub fn in_order(&self, needed_from_us: i64) -> impl Iterator<Item = (KeyHash, i64)> {
        (0..PARTS).flat_map(move |part| {
            let keys = self.partitions.iter().flat_map(|keys| keys.of_part(part, needed_from_us));
            let mut keys: Vec<(KeyHash, i64)> = keys.collect();
            keys.sort_unstable();
            keys
        })
    }

    /// How many there are, needed or not.
    pub fn len(&self) -> usize {
        self.partitions.iter().map(UsedKeys::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.partitions.iter().map(UsedKeys::memory_bytes).sum()
    }
}
