//! Which entities a spine asks for, as bits by hash: events of all others need not be kept. It may let an event through
//! that nobody asks for, never the other way round.

use asof_window::Keys;

/// Eight bits for each key: about one in eight strangers passes.
const BITS_PER_KEY: usize = 8;

/// A set of key hashes.
#[derive(Debug)]
pub(crate) struct KeyFilter {
    bits: Vec<u64>,
    mask: u64,
}

impl KeyFilter {
    /// The set of these hashes.
    pub(crate) fn new(hashes: &[u64]) -> KeyFilter {
        let bits = (hashes.len().max(64) * BITS_PER_KEY).next_power_of_two();
        let mut filter = KeyFilter { bits: vec![0; bits / 64], mask: bits as u64 - 1 };
        for hash in hashes {
            let bit = hash & filter.mask;
            filter.bits[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        filter
    }

    #[inline]
    pub(crate) fn may_hold(&self, keys: &Keys, row: usize) -> bool {
        let bit = keys.hash(row) & self.mask;
        self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }
}
