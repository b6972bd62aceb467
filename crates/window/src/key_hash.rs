//! Primary keys as the judge knows them: by a hash of 128 bits, so that a key takes 16 bytes whatever its columns are.
//!
//! Two different keys of one hash would make an event a duplicate that is none. Among n keys that are remembered together
//! this happens with probability n² ÷ 2¹²⁹: for 10¹² keys, 10⁻¹⁵. Who may choose keys *and* knows how they are hashed could
//! make such pairs; so what is stored is hashed with a secret of its data folder (`feature/src/key_secret.rs`).

use twox_hash::XxHash3_128;

/// Stands for a primary key. Order means nothing, but is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

impl KeyHash {
    /// The same key in a partition: equal keys of different partitions are different keys. Partition 0 changes nothing.
    #[inline]
    pub fn at(self, partition: u32) -> KeyHash {
        // 2¹²⁸ divided by the golden ratio, odd: no two partitions give the same product.
        const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        KeyHash(self.0 ^ u128::from(partition).wrapping_mul(SPREAD))
    }
}

/// Hashes encoded primary keys: XXH3-128 with a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// For what is judged within one run and never stored, and for data folders that were made before there were secrets.
    pub const FIXED: KeyHasher = KeyHasher { seed: 0x6173_6f66_2d64_7570 };

    /// Hashes of different seeds have nothing to do with each other.
    pub fn new(seed: u64) -> KeyHasher {
        KeyHasher { seed }
    }

    /// The hash of a key in an encoding in which equal bytes are equal keys.
    #[inline]
    pub fn hash(&self, encoded: &[u8]) -> KeyHash {
        KeyHash(XxHash3_128::oneshot_with_seed(self.seed, encoded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashes lie in files: they may never change. From the reference implementation of XXH3.
    #[test]
    fn hashes_are_those_of_xxh3() {
        let hash = |seed, bytes: &[u8]| KeyHasher::new(seed).hash(bytes).0;
        assert_eq!(hash(0, b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_ne!(hash(0, b"key"), hash(1, b"key"));
        assert_ne!(hash(1, b"key"), hash(1, b"kez"));
    }
}
