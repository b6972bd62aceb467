//! Rounding exact numbers to doubles: to nearest, ties to even, once.
//!
//! Every sum, average and variance ends here. The inputs are integers scaled by a power of two, and quotients of such;
//! what comes out is the double that IEEE 754 would give for the exact value, subnormals and infinities included.

use num_bigint::{BigInt, BigUint, Sign};
use num_integer::Integer;
use num_traits::{ToPrimitive, Zero};

/// `± (significand + a bit more, if sticky) · 2^exponent` as the nearest double. `sticky` says that the exact value lies
/// strictly between `significand` and `significand + 1`; then `significand` must have at least 55 bits.
pub(crate) fn compose(negative: bool, significand: u128, exponent: i32, sticky: bool) -> f64 {
    if significand == 0 {
        debug_assert!(!sticky, "a sticky bit below nothing cannot be rounded");
        return 0.0;
    }
    let top = 127 - significand.leading_zeros() as i32 + exponent;
    if top > 1023 {
        return if negative { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // The weight of the last bit that the double keeps: 52 below the top, but never below the least subnormal.
    let last = (top - 52).max(-1074);
    let drop = last - exponent;
    let mut kept = if drop <= 0 {
        significand << -drop
    } else if drop > 127 {
        0
    } else {
        significand >> drop
    };
    if drop > 0 {
        let (half, rest) = if drop > 128 {
            (false, true)
        } else {
            let half = significand >> (drop - 1) & 1 == 1;
            let rest = sticky || significand & ((1u128 << (drop - 1)) - 1) != 0;
            (half, rest)
        };
        if half && (rest || kept & 1 == 1) {
            kept += 1;
        }
    }
    // `kept` is at most 2^53, exact as a double, and the product is exact or correctly an infinity.
    let magnitude = scale(kept as u64 as f64, last);
    if negative { -magnitude } else { magnitude }
}

/// `x · 2^exponent`, exact where the result is representable; the exponent may be beyond what one factor can hold.
fn scale(x: f64, exponent: i32) -> f64 {
    if exponent >= -1022 {
        x * f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        // 2^-1074 ≤ 2^exponent < 2^-1022: a subnormal power of two.
        x * f64::from_bits(1u64 << (exponent + 1074))
    }
}

/// The quotient `numerator / denominator · 2^exponent` as the nearest double.
pub(crate) fn round_ratio(numerator: &BigInt, denominator: &BigUint, exponent: i32) -> f64 {
    if numerator.is_zero() {
        return 0.0;
    }
    // Shift so that the quotient has 66 or 67 bits: enough for 53 and a guard, and it fits a u128.
    let shift = 66 + denominator.bits() as i64 - numerator.bits() as i64;
    let magnitude = numerator.magnitude();
    let (scaled, denominator) = if shift >= 0 {
        (magnitude << shift as u64, denominator.clone())
    } else {
        (magnitude.clone(), denominator << (-shift) as u64)
    };
    let (quotient, remainder) = scaled.div_rem(&denominator);
    let quotient = quotient.to_u128().expect("the shift keeps the quotient within 67 bits");
    compose(numerator.sign() == Sign::Minus, quotient, exponent - shift as i32, !remainder.is_zero())
}

/// A finite double as `(negative, significand, exponent)` with value `± significand · 2^exponent`.
pub(crate) fn decompose(x: f64) -> (bool, u64, i32) {
    let bits = x.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let biased = (bits >> 52 & 0x7ff) as i32;
    let (significand, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
    (bits >> 63 == 1, significand, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_round_as_ieee_says() {
        assert_eq!(compose(false, 1, -1074, false), 5e-324);
        assert_eq!(compose(false, 1, -1075, false), 0.0, "half the least subnormal is a tie, to even");
        assert_eq!(compose(false, 3, -1075, false), 1e-323, "one and a half: to even");
        assert_eq!(compose(false, (1 << 54) - 1, 970, false), f64::INFINITY);
        assert_eq!(compose(true, (1 << 53) - 1, 971, false), -f64::MAX);
        assert_eq!(compose(false, (1 << 53) + 1, 0, false), (1u64 << 53) as f64);
        assert_eq!(compose(false, (1 << 54) + 2, 0, true), ((1u64 << 54) + 4) as f64);
    }

    proptest! {
        #[test]
        fn compose_undoes_decompose(bits in any::<u64>()) {
            let x = f64::from_bits(bits);
            prop_assume!(x.is_finite());
            let (negative, significand, exponent) = decompose(x);
            let back = compose(negative, u128::from(significand), exponent, false);
            prop_assert_eq!(back, x);
        }

        #[test]
        fn integers_round_as_the_processor_rounds(value in any::<u128>()) {
            prop_assert_eq!(compose(false, value, 0, false), value as f64);
        }

        #[test]
        fn quotients_of_doubles_round_as_the_processor_divides(a in 1u64..1 << 53, b in 1u64..1 << 53) {
            let ratio = round_ratio(&BigInt::from(a), &BigUint::from(b), 0);
            prop_assert_eq!(ratio, a as f64 / b as f64);
        }
    }
}
