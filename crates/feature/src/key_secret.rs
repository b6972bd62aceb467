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

    fn bytes(first: u8) -> [u8; KEY_SECRET_BYTES] {
        std::array::from_fn(|place| (place as u8).wrapping_mul(97 + 2 * first).rotate_left(3))
    }

    fn secret(first: u8) -> KeySecret {
        KeySecret::new(bytes(first))
    }

    fn key(length: usize) -> Vec<u8> {
        (0..length).map(|place| place as u8).collect()
    }

    /// For each way in which XXH3 hashes, by length: a length, how many bytes of the secret it asks, and the hash, by the
    /// reference implementation (`xxhash.h` 0.8.3, `XXH3_128bits_withSecret`).
    const LENGTHS: [(usize, usize, u128); 8] = [
        (0, 32, 0x209e_cc85_e399_7d58_209e_cc85_e399_7d58),
        (3, 16, 0x645a_6aa8_f3f1_b90b_1501_f496_d94b_9e0a),
        (8, 16, 0xe57b_5ab6_a60c_3210_1dee_510b_9346_8c94),
        (16, 32, 0x57da_058f_e49c_16dd_f621_c0f7_3781_be46),
        (128, 128, 0x8f41_48de_fee0_7c34_31b8_f8dc_b8b9_19b3),
        (240, 135, 0xe36e_3856_1ee0_82c4_43e3_dae9_8818_c491),
        (1_000, 185, 0xcf02_ce13_39da_4731_0080_3c01_6aee_ce6d),
        // Beyond 1,024 bytes the rest of the secret counts too.
        (2_000, 192, 0x0a71_152c_ff3b_d68c_1c6d_0644_367d_1f16),
    ];

    /// They lie in files: for a key of any length they may never change.
    #[test]
    fn hashes_are_those_of_the_reference_implementation() {
        for (length, _, hash) in LENGTHS {
            assert_eq!(secret(0).hash(&key(length)).0, hash, "{length}");
        }
        assert_eq!(secret(0).hash(b"key").0, 0x2094_8d06_58b4_33e5_eb82_7fa4_76f4_9b3b);
    }

    #[test]
    fn each_byte_of_the_key_counts() {
        for length in [1, 9, 16, 17, 128, 129, 240, 241, 1_000] {
            let mut key = key(length);
            let hash = secret(0).hash(&key);
            assert_ne!(hash, secret(1).hash(&key), "{length}");
            for place in 0..length {
                key[place] ^= 1;
                assert_ne!(hash, secret(0).hash(&key), "byte {place} of {length}");
                key[place] ^= 1;
            }
        }
    }

    #[test]
    fn each_byte_of_the_secret_counts_for_a_key_that_is_long_enough() {
        for (length, asked, hash) in LENGTHS {
            let key = key(length);
            let other = |place: usize| {
                let mut bytes = bytes(0);
                bytes[place] ^= 1;
                KeySecret::new(bytes).hash(&key).0
            };
            let counting = (0..KEY_SECRET_BYTES).filter(|place| other(*place) != hash).count();
            assert_eq!(counting, asked, "{length}");
        }
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
