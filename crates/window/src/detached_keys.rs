//! Keys that have left the judge and are on their way out of memory.
//!
//! ```text
//!   judge ── detach (a move, O(1)) ─▶ DetachedKeys ── in_order ─▶ whoever writes them to disk
//!                                         └ times_of ─▶ the judge, with each arrival, until they are written
//! ```
//! They never change, so that one thread may write them while another looks keys up.

use crate::key_hash::KeyHash;
use crate::used_keys::UsedKeys;

/// Primary keys of used events of one partition, with the events' times.
#[derive(Debug)]
pub struct DetachedKeys(UsedKeys);

impl DetachedKeys {
    pub(crate) fn new(keys: UsedKeys) -> DetachedKeys {
        DetachedKeys(keys)
    }

    /// The times, in microseconds, of used events of this key; some may be needed no more.
    pub fn times_of(&self, key: KeyHash) -> impl Iterator<Item = i64> {
        self.0.times_of(key)
    }

    /// Those that are needed, by hash and time. Takes memory for a small part of them at a time.
    pub fn in_order(&self, needed_from_us: i64) -> impl Iterator<Item = (KeyHash, i64)> {
        self.0.in_order(needed_from_us)
    }

    /// How many there are, needed or not.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}
