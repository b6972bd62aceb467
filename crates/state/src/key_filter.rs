//! Whether a run may hold a key, at the price of one cache line: a blocked Bloom filter.
//!
//! Keys are 128-bit hashes. The upper half, in which runs are sorted, chooses a line of 512 bits, so that building walks through
//! memory once; 48 bits of the lower half choose one bit in each of the line's eight words.
//!
//! At 12 bits a key a line holds 42.7 keys and a word's bit is set with probability 1 − (63/64)^42.7 ≈ 0.49: a key that is
//! not there is taken for one that may be with 0.49^8 ≈ 0.3 %, 0.4 % since lines fill unevenly. (Putze, Sanders, Singler 2007,
//! "Cache-, Hash- and Space-Efficient Bloom Filters".)

/// Bytes of a line: a cache line.
pub(crate) const LINE_BYTES: usize = 64;
const BITS_PER_KEY: u64 = 12;

/// The bits of one line, on one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

/// The filter of one run.
#[derive(Debug)]
pub(crate) struct KeyFilter {
    lines: Vec<Line>,
}

impl KeyFilter {
    /// An empty filter with room for so many keys.
    pub(crate) fn for_keys(keys: u64) -> KeyFilter {
        KeyFilter { lines: vec![Line([0; 8]); Self::lines_for(keys) as usize] }
    }

    /// How many lines so many keys get; at least one.
    pub(crate) fn lines_for(keys: u64) -> u64 {
        (keys * BITS_PER_KEY).div_ceil(8 * LINE_BYTES as u64).max(1)
    }

    pub(crate) fn insert(&mut self, hash: u128) {
        let line = self.line_of(hash);
        for (word, bit) in self.lines[line].0.iter_mut().zip(bits(hash)) {
            *word |= bit;
        }
    }

    /// False: the key was never inserted.
    #[inline]
    pub(crate) fn may_hold(&self, hash: u128) -> bool {
        // All eight words without a branch: lookups of one batch overlap while they wait for memory.
        let words = &self.lines[self.line_of(hash)].0;
        let missing = words.iter().zip(bits(hash)).fold(0, |missing, (word, bit)| missing | (bit & !word));
        missing == 0
    }

    #[inline]
    fn line_of(&self, hash: u128) -> usize {
        (((hash >> 64) * self.lines.len() as u128) >> 64) as usize
    }

    /// The lines as bytes, in pieces of one line.
    pub(crate) fn encode(&self) -> impl Iterator<Item = [u8; LINE_BYTES]> + '_ {
        self.lines.iter().map(|line| {
            let mut bytes = [0; LINE_BYTES];
            for (place, word) in bytes.chunks_exact_mut(8).zip(line.0) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            bytes
        })
    }

    /// An empty filter without lines, to be filled by [`push_lines`](Self::push_lines).
    pub(crate) fn with_room(lines: u64) -> KeyFilter {
        KeyFilter { lines: Vec::with_capacity(lines as usize) }
    }

    /// Appends lines from a whole number of them.
    pub(crate) fn push_lines(&mut self, bytes: &[u8]) {
        let (lines, rest) = bytes.as_chunks::<LINE_BYTES>();
        debug_assert!(rest.is_empty(), "lines come whole");
        self.lines.extend(lines.iter().map(|line| {
            let (words, _) = line.as_chunks::<8>();
            Line(std::array::from_fn(|word| u64::from_le_bytes(words[word])))
        }));
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.capacity() * LINE_BYTES
    }
}

/// One bit for each word of a line.
#[inline]
fn bits(hash: u128) -> [u64; 8] {
    let low = hash as u64;
    std::array::from_fn(|word| 1 << ((low >> (6 * word)) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64, twice.
    fn hash(number: u64) -> u128 {
        let mix = |seed: u64| {
            let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^ (x >> 31)
        };
        (u128::from(mix(2 * number + 1)) << 64) | u128::from(mix(2 * number + 2))
    }

    #[test]
    fn holds_all_its_keys_and_few_others() {
        let keys = 200_000;
        let mut filter = KeyFilter::for_keys(keys);
        (0..keys).for_each(|number| filter.insert(hash(number)));
        assert!((0..keys).all(|number| filter.may_hold(hash(number))));
        let wrong = (keys..2 * keys).filter(|&number| filter.may_hold(hash(number))).count();
        let share = wrong as f64 / keys as f64;
        assert!((0.001..0.006).contains(&share), "{share}: the file head says 0.004");
    }

    #[test]
    fn is_read_back() {
        let mut filter = KeyFilter::for_keys(1000);
        (0..1000).for_each(|number| filter.insert(hash(number)));
        let bytes: Vec<u8> = filter.encode().flatten().collect();
        let mut again = KeyFilter::with_room(KeyFilter::lines_for(1000));
        again.push_lines(&bytes);
        assert_eq!(again.lines.len(), filter.lines.len());
        assert!((0..5000).all(|number| again.may_hold(hash(number)) == filter.may_hold(hash(number))));
    }
}
