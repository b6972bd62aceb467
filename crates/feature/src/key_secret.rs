//! The secret that the primary keys of a data folder are hashed with.
//!
//! A judge knows keys by a hash of 128 bits ([`KeyHash`]), and two keys of one hash would make an event a duplicate that is
//! none. Chance does not find such a pair. Who knows how keys are hashed could make one, and have somebody's payment
//! swallowed: so each data folder has a secret of its own, which appears in no log and no answer.
//!
//! It is as long as the secret of XXH3 itself, 192 bytes, in the place of that. A seed of 64 bits would be too little:
//! XXH3 adds it to one multiplier and takes it from the next, so that their sum is known, and with that pairs of keys (the two
//! halves of 16 bytes exchanged and masked) that collide under one seed of two million
//! (one in 2²¹), rather than under one of 2⁶⁴.

use std::fmt;
use std::sync::Arc;

use asof_window::KeyHash;
use twox_hash::XxHash3_128;

/// The length of a [`KeySecret`].
pub const KEY_SECRET_BYTES: usize = 192;

/// Hashes primary keys. Clones are of one secret, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(Arc<[u8; KEY_SECRET_BYTES]>);

impl KeySecret {
    /// Of these bytes, drawn by chance.
    pub fn new(bytes: [u8; KEY_SECRET_BYTES]) -> KeySecret {
        KeySecret(Arc::new(bytes))
    }

    /// The hash of a key in an encoding in which equal bytes are equal keys.
    #[inline]
    pub fn hash(&self, encoded: &[u8]) -> KeyHash {
        let hash = XxHash3_128::oneshot_with_secret(&self.0[..], encoded);
        KeyHash(hash.expect("192 bytes are more than the 136 that XXH3 asks for"))
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeySecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(first: u8) -> KeySecret {
        KeySecret::new(std::array::from_fn(|place| (place as u8).wrapping_mul(97 + 2 * first).rotate_left(3)))
    }

    /// The hashes lie in files: for a key of any length they may never change.
    #[test]
    fn each_byte_of_key_and_secret_counts() {
        for length in [0, 1, 9, 16, 17, 128, 129, 240, 241, 1_000] {
            let mut key: Vec<u8> = (0..length).map(|place| place as u8).collect();
            let hash = secret(0).hash(&key);
            assert_eq!(hash, secret(0).clone().hash(&key));
            assert_ne!(hash, secret(1).hash(&key), "{length}");
            for place in 0..length {
                key[place] ^= 1;
                assert_ne!(hash, secret(0).hash(&key), "byte {place} of {length}");
                key[place] ^= 1;
            }
        }
        assert_eq!(secret(0).hash(b"key").0, 0x2094_8d06_58b4_33e5_eb82_7fa4_76f4_9b3b);
    }

    /// A key whose halves are exchanged and masked with what the two multipliers differ by has, with a seed, the hash of
    /// the key. Under a secret the same pair differs.
    #[test]
    fn pairs_that_collide_under_a_seed_do_not_under_a_secret() {
        let half = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("it is long enough"));
        // The first 16 bytes of the secret in the reference implementation of XXH3.
        let default = 0xb8fe_6c39_23a4_4bbe_7c01_812c_f721_ad1c_u128.to_be_bytes();
        let seed = 0x1234_5678_9abc_def0_u64;
        let (low, high) = (half(&default, 0).wrapping_add(seed), half(&default, 8).wrapping_sub(seed));
        let key = |low: u64, high: u64| [&low.to_le_bytes()[..], &high.to_le_bytes(), &[7; 16]].concat();
        let one = 0x0123_4567_89ab_cdef_u64;
        let (key, other) = (key(one, !one), key(!one ^ low ^ high, one ^ low ^ high));
        assert_ne!(key, other);
        assert_eq!(XxHash3_128::oneshot_with_seed(seed, &key), XxHash3_128::oneshot_with_seed(seed, &other));
        assert_ne!(secret(0).hash(&key), secret(0).hash(&other));
    }

    #[test]
    fn it_is_never_shown() {
        assert_eq!(format!("{:?}", secret(0)), "KeySecret");
    }
}
