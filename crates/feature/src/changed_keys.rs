//! The keys that a batch of versions changes, to be asked for each row that is held: is this key's row another one at this
//! instant? Nearly always it is not, which one bit says.

use asof_window::ChangedSpan;

use crate::lookup::NO_KEY;
use crate::versioned_table::{ChangedKey, VersionChanges};

/// One bit for each of the low 16 bits of a hash: 8 KiB, which stay in the first cache.
const BITS: usize = 1 << 16;

/// Changes by hash.
pub(crate) struct ChangedKeys {
    bits: Vec<u64>,
    /// By hash.
    spans: Vec<ChangedKey>,
    least_us: i64,
}

impl ChangedKeys {
    pub(crate) fn new(changes: &VersionChanges) -> ChangedKeys {
        let mut spans = changes.spans.clone();
        spans.sort_unstable_by_key(|changed| changed.hash);
        let mut bits = vec![0u64; BITS / 64];
        for changed in &spans {
            let bit = changed.hash as usize % BITS;
            bits[bit / 64] |= 1 << (bit % 64);
        }
        let least_us = spans.iter().map(|changed| changed.span.from_us).min().unwrap_or(i64::MAX);
        ChangedKeys { bits, spans, least_us }
    }

    /// Whether some change may be felt at this instant or before it.
    pub(crate) fn reaches(&self, time_us: i64) -> bool {
        !self.spans.is_empty() && time_us >= self.least_us
    }

    /// Whether the row of a key with this hash may be another one as of this instant.
    #[inline]
    pub(crate) fn touches(&self, hash: u32, time_us: i64) -> bool {
        let bit = hash as usize % BITS;
        if self.bits[bit / 64] & 1 << (bit % 64) == 0 || hash == NO_KEY {
            return false;
        }
        let first = self.spans.partition_point(|changed| changed.hash < hash);
        let own = self.spans[first..].iter().take_while(|changed| changed.hash == hash);
        own.map(|changed| changed.span).any(|ChangedSpan { from_us, until_us }| {
            from_us <= time_us && until_us.is_none_or(|until_us| time_us < until_us)
        })
    }
}
