//! The primary keys of used events that a repeat could still be a duplicate of: hash and event time of each.
//!
//! ```text
//!   hash ─ top 6 bits ─▶ part 0 … 63    a small hash table each: (hash, event time), one for each use
//!                          └ part to sweep next
//! ```
//! Rules kept here:
//! - a key of an event time that is still needed is never lost; one that is needed no more may stay for a while, and
//!   whoever asks says which times count;
//! - forgetting looks at one part at a time, after a quarter as many uses as that part has keys: each use pays for looking
//!   at four keys, and of what is held at most a fifth is needed no more (and a thousand keys).

use hashbrown::HashTable;

use crate::key_hash::KeyHash;

/// So many that growing or sweeping one stops the writer for a few milliseconds at most, at ten million keys.
pub(crate) const PARTS: usize = 64;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// A part is swept after this share of its keys was used since the last sweep, …
const SWEEP_SHARE: usize = 4;
/// … and not for the sake of fewer uses.
const SWEEP_USES_MIN: usize = 16;

/// One use of a key. The hash lies in halves: whole, it would be aligned to 16 bytes and take 8 more.
#[derive(Debug, Clone, Copy)]
struct UsedKey {
    high: u64,
    low: u64,
    time_us: i64,
}

/// The keys of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsedKeys {
    /// None before the first key.
    parts: Vec<HashTable<UsedKey>>,
    uses_since_sweep: usize,
    sweep_next: usize,
}

impl UsedKey {
    fn new(key: KeyHash, time_us: i64) -> UsedKey {
        UsedKey { high: (key.0 >> 64) as u64, low: key.0 as u64, time_us }
    }

    fn key(&self) -> KeyHash {
        KeyHash(u128::from(self.high) << 64 | u128::from(self.low))
    }

    fn part(&self) -> usize {
        (self.high >> (u64::BITS - PART_BITS)) as usize
    }
}

impl UsedKeys {
    /// Whether the key was used at a time that counts. Uses of one key are gone over one by one; those that still count
    /// are further apart than the horizon, so that there are few.
    #[inline]
    pub(crate) fn holds(&self, key: KeyHash, counts: impl Fn(i64) -> bool) -> bool {
        self.times_of(key).any(counts)
    }

    /// The times of the key's uses, needed or not.
    #[inline]
    pub(crate) fn times_of(&self, key: KeyHash) -> impl Iterator<Item = i64> {
        let wanted = UsedKey::new(key, 0);
        let uses = self.parts.get(wanted.part()).into_iter().flat_map(move |part| part.iter_hash(wanted.low));
        uses.filter(move |used| (used.high, used.low) == (wanted.high, wanted.low)).map(|used| used.time_us)
    }

    /// Remembers a use. Times before `needed_from_us` are needed no more.
    pub(crate) fn remember(&mut self, key: KeyHash, time_us: i64, needed_from_us: i64) {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, HashTable::new);
        }
        let used = UsedKey::new(key, time_us);
        self.parts[used.part()].insert_unique(used.low, used, |other| other.low);
        self.uses_since_sweep += 1;
        if self.uses_since_sweep >= (self.parts[self.sweep_next].len() / SWEEP_SHARE).max(SWEEP_USES_MIN) {
            self.sweep_one(needed_from_us);
        }
    }

    /// The uses at times that are still needed, by hash and time.
    pub(crate) fn in_order(&self, needed_from_us: i64) -> impl Iterator<Item = (KeyHash, i64)> {
        (0..PARTS).flat_map(move |part| {
            let mut uses: Vec<(KeyHash, i64)> = self.of_part(part, needed_from_us).collect();
            uses.sort_unstable();
            uses
        })
    }

    /// The same of one part, in no order. A key's part is the beginning of its hash: parts are in the order of hashes.
    pub(crate) fn of_part(&self, part: usize, needed_from_us: i64) -> impl Iterator<Item = (KeyHash, i64)> {
        let uses = self.parts.get(part).into_iter().flatten().filter(move |used| used.time_us >= needed_from_us);
        uses.map(|used| (used.key(), used.time_us))
    }

    /// Number of uses held, needed or not.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let tables = self.parts.capacity() * size_of::<HashTable<UsedKey>>();
        tables + self.parts.iter().map(HashTable::allocation_size).sum::<usize>()
    }

    fn sweep_one(&mut self, needed_from_us: i64) {
        let part = &mut self.parts[self.sweep_next];
        part.retain(|used| used.time_us >= needed_from_us);
        if part.len() * 4 < part.capacity() {
            part.shrink_to(part.len() * 2, |used| used.low);
        }
        self.uses_since_sweep = 0;
        self.sweep_next = (self.sweep_next + 1) % PARTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash::KeyHasher;

    fn key(number: u64) -> KeyHash {
        KeyHasher::FIXED.hash(&number.to_le_bytes())
    }

    /// A key a microsecond, each needed for `KEPT`.
    #[test]
    fn what_is_needed_no_more_goes_soon() {
        const KEPT: i64 = 10_000;
        let mut keys = UsedKeys::default();
        let mut held_max = 0;
        for time_us in 0..20 * KEPT {
            keys.remember(key(time_us as u64), time_us, time_us - KEPT + 1);
            held_max = held_max.max(keys.len());
        }
        // A fifth of what is held is a quarter of what is needed; parts are not all equal.
        assert!((KEPT as usize..KEPT as usize * 13 / 10).contains(&held_max), "{held_max}");
        let needed_from_us = 19 * KEPT;
        let live: Vec<_> = keys.in_order(needed_from_us).collect();
        assert_eq!(live.len(), KEPT as usize);
        assert!(live.is_sorted());
        assert!((needed_from_us..20 * KEPT).all(|time_us| keys.holds(key(time_us as u64), |used| used == time_us)));
        let full_bytes = keys.memory_bytes();
        assert!(full_bytes > KEPT as usize * size_of::<UsedKey>());
        // Time goes on with few keys: the room comes back.
        for turn in 0..20_000 {
            keys.remember(key(turn), 20 * KEPT + turn as i64 * 1_000, 20 * KEPT + (turn as i64 - 10) * 1_000);
        }
        assert!(keys.memory_bytes() < full_bytes / 10, "{} of {full_bytes}", keys.memory_bytes());
    }

    #[test]
    fn uses_of_one_key_are_told_apart_by_their_times() {
        let mut keys = UsedKeys::default();
        [5, 7].into_iter().for_each(|time_us| keys.remember(key(1), time_us, 0));
        assert!(keys.holds(key(1), |used| used == 5) && keys.holds(key(1), |used| used == 7));
        assert!(!keys.holds(key(1), |used| used == 6) && !keys.holds(key(2), |_| true));
        assert!(keys.in_order(6).eq([(key(1), 7)]));
    }
}
