//! The weight of an instant t in sums that decay by half in every half-life h: W(t) = 2^k · T(r) where t = k·h + r with
//! 0 ≤ r < h, since 1970, and T(r) is 2^(r/h) rounded to the nearest double. Of two instants the quotient of their weights
//! is by how much the earlier has decayed at the later.
//!
//! Weights count from a fixed instant, so that those of events never change and a sum of them takes events in and out in
//! any order. T is computed in integers to more than 120 bits and rounded to 53, so it is the same everywhere, and the
//! same in any other program that computes 2^(r/h) well: that another value lies between (that 2^(r/h) is within 2^-119
//! of the middle between two doubles) would take some 2^65 tries to meet.
//!
//! ```text
//!   r/h = 0.d1 d2 … d16 e…  in hexadecimal digits      2^(r/h) = Π 2^(di · 16^-i) · (1 + e · ln 2)
//!                  16 · 4 = 64 bits, the rest e < 2^-64: what 1 + e·ln 2 lacks is below (e·ln 2)²/2 < 2^-129
//! ```

use std::sync::LazyLock;

use num_bigint::BigUint;
use num_traits::ToPrimitive;

/// A weight: `significand · 2^exponent`, the significand from 2^52 to 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) significand: u64,
    pub(crate) exponent: i64,
}

impl Weight {
    /// The weight of the instant `t_us` for a half-life, which is greater than 0.
    #[inline]
    pub(crate) fn at(t_us: i64, half_life_us: i64) -> Weight {
        let (halvings, rest) = (t_us.div_euclid(half_life_us), t_us.rem_euclid(half_life_us));
        let significand = power_of_two(rest as u64, half_life_us as u64);
        // Saturates for half-lives of a microsecond in the first and the last milliseconds of 64-bit time: what enters
        // still leaves.
        let exponent = halvings.saturating_sub(52).clamp(i64::MIN + EXPONENT_ROOM, i64::MAX - EXPONENT_ROOM);
        Weight { significand, exponent }
    }
}

/// Room on either side of weights for the exponents of the numbers that they weigh, −1074 to 971, and for their limbs.
const EXPONENT_ROOM: i64 = 4096;
/// Hexadecimal digits of r/h that are looked up.
const DIGITS: usize = 16;
/// ln 2 in units of 2^-64.
const LN_2: u128 = 0xb172_17f7_d1cf_79ab;
/// Bits behind the point of the numbers from 1 to 2 that are multiplied here.
const POINT: u32 = 127;

/// Powers of two by digit: the entry d of row i is 2^(d · 16^-(i + 1)) in units of 2^-127, cut off.
static POWERS: LazyLock<[[u128; 16]; DIGITS]> = LazyLock::new(powers);

/// 2^(r/h) in units of 2^-52, rounded to nearest.
fn power_of_two(r: u64, h: u64) -> u64 {
    let (r, h) = (u128::from(r), u128::from(h));
    let (digits, rest) = ((r << 64) / h, (r << 64) % h);
    let beyond = (rest << 64) / h;
    let mut power = 1u128 << POINT;
    for (row, place) in POWERS.iter().zip((0..DIGITS).rev()) {
        let digit = ((digits >> (4 * place)) & 15) as usize;
        if digit != 0 {
            power = multiplied(power, row[digit]);
        }
    }
    // beyond · 2^-128 · ln 2 in units of 2^-127.
    let power = multiplied(power, (1 << POINT) + ((beyond * LN_2) >> 65));
    (((power >> (POINT - 53)) + 1) >> 1) as u64
}

/// The product of two numbers in units of 2^-127 that is less than 2, cut off.
#[inline]
fn multiplied(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let [a_low, b_low] = [a & LOW, b & LOW];
    let [a_high, b_high] = [a >> 64, b >> 64];
    let (one, other) = (a_high * b_low, a_low * b_high);
    let middle = ((a_low * b_low) >> 64) + (one & LOW) + (other & LOW);
    let high = a_high * b_high + (one >> 64) + (other >> 64) + (middle >> 64);
    (high << 1) | ((middle & LOW) >> 63)
}

/// Roots of two, in units of 2^-256: each is the square root of the one before. The entries are products of them.
fn powers() -> [[u128; 16]; DIGITS] {
    const WIDE: u32 = 256;
    let one = BigUint::from(1u32) << WIDE;
    let mut root = BigUint::from(2u32) << WIDE;
    let mut table = [[1u128 << POINT; 16]; DIGITS];
    for row in &mut table {
        let mut entries = vec![one.clone(); 16];
        for bit in [8, 4, 2, 1] {
            root = (&root << WIDE).sqrt();
            for digit in (0..entries.len()).filter(|digit| digit & bit != 0) {
                entries[digit] = (&entries[digit] * &root) >> WIDE;
            }
        }
        for (place, entry) in row.iter_mut().zip(entries) {
            *place = (entry >> (WIDE - POINT)).to_u128().expect("a power of two less than 2 has 128 bits here");
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    /// 2^(r/h) to 200 bits by the series of e^(ln 2 · r/h), which has nothing in common with the roots; ln 2 is the series
    /// of −ln(1 − 1/2).
    fn model(r: u64, h: u64) -> u64 {
        const BITS: u64 = 300;
        let one = BigInt::from(1) << BITS;
        let ln_2: BigInt = (1..=BITS).map(|n| (&one >> n) / n).sum();
        let exponent = ln_2 * r / h;
        let (mut term, mut sum) = (one.clone(), one);
        for n in 1..80u32 {
            term = ((term * &exponent) >> BITS) / n;
            sum += &term;
        }
        (((sum >> (BITS - 53)) + 1u32) >> 1u32).to_u64().unwrap()
    }

    #[test]
    fn known_powers() {
        let power = |r, h| power_of_two(r, h) as f64 / 2f64.powi(52);
        assert_eq!(power(0, 7), 1.0);
        assert_eq!(power(1, 2), std::f64::consts::SQRT_2);
        assert_eq!(power(1, 12), 1.0594630943592953, "a semitone");
        assert_eq!(power(11, 12), 1.887748625363387);
        assert_eq!(power_of_two(i64::MAX as u64 - 1, i64::MAX as u64), 1 << 53, "rounded up to 2");
        assert_eq!(power_of_two(1, i64::MAX as u64), 1 << 52, "rounded down to 1");
    }

    #[test]
    fn weights_count_from_1970() {
        let at = |t_us, half_life_us| Weight::at(t_us, half_life_us);
        assert_eq!(at(0, 10), Weight { significand: 1 << 52, exponent: -52 });
        assert_eq!(at(30, 10), Weight { significand: 1 << 52, exponent: -49 });
        assert_eq!(at(-10, 10), Weight { significand: 1 << 52, exponent: -53 });
        assert_eq!(at(-5, 10), Weight { significand: 6369051672525773, exponent: -53 });
        assert!(at(i64::MIN, 1).exponent < at(i64::MIN + 9_000, 1).exponent);
        assert!(at(i64::MAX, 1).exponent > at(i64::MAX - 9_000, 1).exponent);
        assert_eq!(at(i64::MIN, 1).exponent, i64::MIN + EXPONENT_ROOM);
        assert_eq!(at(i64::MAX, 1).exponent, i64::MAX - EXPONENT_ROOM);
    }

    proptest! {
        #[test]
        fn equals_the_exponential_series(h in prop_oneof![1..100u64, 1..1u64 << 42, 1..1u64 << 63], share in any::<u64>()) {
            let r = ((u128::from(share) * u128::from(h)) >> 64) as u64;
            prop_assert_eq!(power_of_two(r, h), model(r, h), "2^({}/{})", r, h);
        }
    }
}
