//! Exact sums of numbers `± integer · 2^exponent`, whatever their exponents: what [`crate::exact`] does for the exponents
//! of everyday doubles, for products and weights that have any.
//!
//! A sum is a two's-complement integer in 64-bit limbs that begin at a power of two of their own. It grows at either end
//! when an addend needs that and loses limbs again that say nothing, so that its limbs depend on its value alone, and what
//! was added and taken away leaves no trace. It is as long as the exponents inside it lie apart: three limbs for numbers of
//! one kind, at most 68 for products of any doubles (2^-2148 to 2^2048, and 2^40 of them).
//!
//! ```text
//!   limbs    [ l0 │ l1 │ l2 ]        value  (l0 + l1·2^64 + l2·2^128) · 2^(64·low),  l2 with the sign
//! ```

use num_bigint::BigInt;
use num_traits::Zero;

use crate::exact::Step;
use crate::rounding::round_ratio;

/// A running sum. Clearing keeps its room.
#[derive(Debug, Clone)]
pub(crate) struct DyadicSum {
    /// Least significant first; none for 0. Neither the first limb is 0 nor is the last one a mere sign.
    limbs: Vec<u64>,
    /// The first limb counts 2^(64·low).
    low: i64,
}

/// The number `integer · 2^exponent`.
#[derive(Debug, Clone)]
pub(crate) struct Dyadic {
    integer: BigInt,
    exponent: i64,
}

impl DyadicSum {
    /// 0.
    pub(crate) const EMPTY: DyadicSum = DyadicSum { limbs: Vec::new(), low: 0 };

    /// Takes `± a · b · 2^exponent` in or out.
    #[inline]
    pub(crate) fn step(&mut self, step: Step, negative: bool, (a, b): (u128, u128), exponent: i64) {
        let negative = negative ^ (step == Step::Leave);
        let (low, high) = ([a as u64, b as u64].map(u128::from), [a >> 64, b >> 64]);
        self.add(negative, low[0] * low[1], exponent);
        if high != [0, 0] {
            self.add(negative, low[0] * high[1], exponent + 64);
            self.add(negative, high[0] * low[1], exponent + 64);
            self.add(negative, high[0] * high[1], exponent + 128);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.limbs.clear();
    }

    /// Bytes of memory held beside the sum itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.limbs.capacity() * size_of::<u64>()
    }

    /// The sum.
    pub(crate) fn total(&self) -> Dyadic {
        let bytes: Vec<u8> = self.limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        Dyadic { integer: BigInt::from_signed_bytes_le(&bytes), exponent: 64 * self.low }
    }

    fn add(&mut self, negative: bool, magnitude: u128, exponent: i64) {
        if magnitude == 0 {
            return;
        }
        let bit = exponent.rem_euclid(64) as u32;
        let over = if bit == 0 { 0 } else { (magnitude >> (128 - bit)) as u64 };
        let shifted = magnitude << bit;
        let parts = [shifted as u64, (shifted >> 64) as u64, over];
        let first = self.make_room(exponent.div_euclid(64), parts.len());
        let mut carry = false;
        for (index, limb) in self.limbs[first..].iter_mut().enumerate() {
            let part = parts.get(index).copied().unwrap_or(0);
            if index >= parts.len() && !carry {
                break;
            }
            let (result, one) = if negative { limb.overflowing_sub(part) } else { limb.overflowing_add(part) };
            let carried = u64::from(carry);
            let (result, other) =
                if negative { result.overflowing_sub(carried) } else { result.overflowing_add(carried) };
            (*limb, carry) = (result, one | other);
        }
        self.trim();
    }

    /// Makes room for `count` limbs from that of 2^(64·low) on, and for a carry beyond them. The place of the first.
    fn make_room(&mut self, low: i64, count: usize) -> usize {
        if self.limbs.is_empty() {
            self.low = low;
        }
        if low < self.low {
            let below = (self.low - low) as usize;
            self.limbs.splice(0..0, std::iter::repeat_n(0, below));
            self.low = low;
        }
        let first = (low - self.low) as usize;
        let len = self.limbs.len().max(first + count) + 1;
        self.limbs.resize(len, self.sign());
        first
    }

    /// What limbs beyond the last would be.
    fn sign(&self) -> u64 {
        sign_of(self.limbs.last().copied().unwrap_or(0))
    }

    /// Drops the limbs that say nothing.
    fn trim(&mut self) {
        while let Some((last, rest)) = self.limbs.split_last()
            && *last == rest.last().map_or(0, |before| sign_of(*before))
        {
            self.limbs.pop();
        }
        if self.limbs.first() == Some(&0) {
            let zeros = self.limbs.iter().take_while(|limb| **limb == 0).count();
            self.limbs.drain(..zeros);
            self.low += zeros as i64;
        }
    }
}

/// All ones above a limb with its highest bit set, else zeros.
fn sign_of(limb: u64) -> u64 {
    if limb >> 63 == 1 { u64::MAX } else { 0 }
}

impl Dyadic {
    pub(crate) fn new(integer: impl Into<BigInt>, exponent: i64) -> Dyadic {
        Dyadic { integer: integer.into(), exponent }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.integer.is_zero()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.integer < BigInt::ZERO
    }

    pub(crate) fn times(&self, other: &Dyadic) -> Dyadic {
        Dyadic { integer: &self.integer * &other.integer, exponent: self.exponent + other.exponent }
    }

    pub(crate) fn minus(&self, other: &Dyadic) -> Dyadic {
        if other.is_zero() || self.is_zero() {
            return if other.is_zero() { self.clone() } else { Dyadic::new(-&other.integer, other.exponent) };
        }
        let exponent = self.exponent.min(other.exponent);
        let aligned = |one: &Dyadic| &one.integer << (one.exponent - exponent) as u64;
        Dyadic { integer: aligned(self) - aligned(other), exponent }
    }

    /// `self ÷ divisor` as the nearest double. The divisor is greater than 0.
    pub(crate) fn over(&self, divisor: &Dyadic) -> f64 {
        // Beyond a million there is an infinity or 0 whatever the integers are: they have some thousands of bits.
        let exponent = self.exponent.saturating_sub(divisor.exponent).clamp(-1_000_000, 1_000_000) as i32;
        round_ratio(&self.integer, divisor.integer.magnitude(), exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Term = (bool, (u128, u128), i64);

    /// In units of 2^-3000.
    fn model(terms: &[Term]) -> BigInt {
        let signed = |(negative, (a, b), exponent): &Term| {
            let magnitude = (BigInt::from(*a) * *b) << (exponent + 3000) as u64;
            if *negative { -magnitude } else { magnitude }
        };
        terms.iter().map(signed).sum()
    }

    fn check_sum(sum: &DyadicSum, terms: &[Term]) -> Result<(), TestCaseError> {
        let total = sum.total();
        let shift = if total.is_zero() { 0 } else { total.exponent + 3000 };
        prop_assert_eq!(total.integer << shift as u64, model(terms));
        Ok(())
    }

    fn term() -> impl Strategy<Value = Term> {
        let magnitude = || prop_oneof![any::<u128>(), any::<u64>().prop_map(u128::from), 0..3u128, Just(u128::MAX)];
        let exponent = prop_oneof![6 => -200..200i64, 1 => -2200..2200i64];
        (any::<bool>(), (magnitude(), magnitude()), exponent)
    }

    proptest! {
        #[test]
        fn equals_big_integers_and_forgets_what_left(
            kept in prop::collection::vec(term(), 0..12),
            gone in prop::collection::vec(term(), 0..12),
        ) {
            let mut sum = DyadicSum::EMPTY;
            for (place, (negative, factors, exponent)) in gone.iter().chain(&kept).enumerate() {
                sum.step(Step::Enter, *negative, *factors, *exponent);
                let all: Vec<Term> = gone.iter().chain(&kept).take(place + 1).copied().collect();
                check_sum(&sum, &all)?;
            }
            for (negative, factors, exponent) in &gone {
                sum.step(Step::Leave, *negative, *factors, *exponent);
            }
            check_sum(&sum, &kept)?;
            let mut alone = DyadicSum::EMPTY;
            kept.iter().rev().for_each(|(negative, factors, exponent)| {
                alone.step(Step::Enter, *negative, *factors, *exponent);
            });
            prop_assert_eq!(&sum.limbs, &alone.limbs, "the limbs depend on the value alone");
        }

        #[test]
        fn quotients_of_doubles_round_as_the_processor_divides(
            a in -(1i64 << 53)..1 << 53, b in 1i64..1 << 53, up in -900..900i64, down in -900..900i64,
        ) {
            let power = |exponent: i64| 2f64.powi(exponent as i32);
            let (one, other) = (Dyadic::new(a, up), Dyadic::new(b, down));
            let difference = a as f64 * power(up) / (b as f64 * power(down));
            prop_assert_eq!(one.over(&other), difference + 0.0);
        }

        #[test]
        fn differences_and_products_are_exact(a in any::<i64>(), b in any::<i64>(), i in -90..90i64, j in -90..90i64) {
            let (one, other) = (Dyadic::new(a, i), Dyadic::new(b, j));
            let at = |number: &Dyadic| number.integer.clone() << (number.exponent + 180) as u64;
            prop_assert_eq!(at(&one.minus(&other)), at(&one) - at(&other));
            prop_assert_eq!(one.times(&other).integer, BigInt::from(a) * b);
            prop_assert_eq!(one.times(&other).exponent, i + j);
        }
    }

    #[test]
    fn a_quotient_far_beyond_doubles_is_an_infinity_or_nothing() {
        let one = Dyadic::new(1, 0);
        assert_eq!(Dyadic::new(-3, 1 << 40).over(&one), f64::NEG_INFINITY);
        assert_eq!(Dyadic::new(3, -(1 << 40)).over(&one), 0.0);
        assert_eq!(Dyadic::new(0, 1 << 40).over(&one), 0.0);
    }
}
