//! Exact sums of doubles: Σx and Σx² that can be added to and taken from in any order, and are rounded once when read.
//!
//! A double is an integer times a power of two, so a sum of doubles is an integer in units of a small enough power of
//! two. Almost all doubles in practice lie in one window of exponents, and there the sum is a fixed-point number of a
//! few 64-bit limbs ([`Fixed`]); the rest (the *outliers*, e.g. 1e-30 or 1e200) goes into a big integer beside it. Which
//! part a value goes to depends on the value alone, so adding and taking away cancel exactly in both.
//! The idea of a fixed-point superaccumulator: R. Neal, "Fast exact summation using small and large superaccumulators",
//! arXiv 1505.05571 (2015).
//!
//! ```text
//!   Σx    256 bits   unit 2^-128: takes |x| < 2^64 whose last bit weighs at least 2^-128
//!   Σx²   320 bits   unit 2^-192: takes |x| < 2^43 whose last bit weighs at least 2^-96
//!   n     at most 2^40 values, so that no total leaves its limbs: 64 + 40 < 127, 2·43 + 40 < 127
//! ```

use std::ops::RangeInclusive;

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::Zero;

use crate::fixed::{Fixed, product};
use crate::rounding::{compose, decompose, round_ratio};

const SUM_UNIT: i32 = -128;
const SQUARE_UNIT: i32 = -192;
/// Exponents of doubles (53-bit integers times 2^exponent) whose value, or square, lies within the limbs.
const SUM_EXPONENTS: RangeInclusive<i32> = SUM_UNIT..=64 - 53;
const SQUARE_EXPONENTS: RangeInclusive<i32> = SQUARE_UNIT / 2..=43 - 53;
/// Units of the big integers: the last bit of the least subnormal, and of its square.
const OUTLIER_SUM_UNIT: i32 = -1074;
const OUTLIER_SQUARE_UNIT: i32 = 2 * OUTLIER_SUM_UNIT;

/// Σx of doubles, exact.
#[derive(Debug, Clone)]
pub(crate) struct ExactSum {
    count: u64,
    /// The exclusive or of the bits of all values: the value itself where there is one, which needs no rounding. Most
    /// frames of most entities hold one event.
    bits: u64,
    fixed: Fixed<4>,
    outliers: Option<Box<Outliers>>,
    not_finite: NotFinite,
}

/// Σx² of doubles, exact. Non-finite values are the business of the [`ExactSum`] beside it.
#[derive(Debug, Clone)]
pub(crate) struct ExactSquares {
    fixed: Fixed<5>,
    outliers: Option<Box<Outliers>>,
}

/// The part of a sum outside the fixed-point window.
#[derive(Debug, Clone, Default)]
struct Outliers {
    count: u64,
    total: BigInt,
}

/// How many values of a sum are NaN or infinities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NotFinite {
    nan: u32,
    positive: u32,
    negative: u32,
}

impl NotFinite {
    pub(crate) const NONE: NotFinite = NotFinite { nan: 0, positive: 0, negative: 0 };
}

/// Whether a value enters a sum or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Enter,
    Leave,
}

impl Step {
    /// Counts what enters and leaves.
    #[inline]
    pub(crate) fn count(self, count: &mut u64) {
        match self {
            Step::Enter => *count += 1,
            Step::Leave => *count -= 1,
        }
    }
}

impl Default for ExactSum {
    fn default() -> Self {
        ExactSum { count: 0, bits: 0, fixed: Fixed::ZERO, outliers: None, not_finite: NotFinite::NONE }
    }
}

impl ExactSum {
    #[inline]
    pub(crate) fn step(&mut self, step: Step, x: f64) {
        step.count(&mut self.count);
        self.bits ^= x.to_bits();
        if !x.is_finite() {
            return self.not_finite.step(step, x);
        }
        let (negative, significand, exponent) = decompose(x);
        let negative = negative ^ (step == Step::Leave);
        if SUM_EXPONENTS.contains(&exponent) {
            self.fixed.add_shifted(negative, u128::from(significand), (exponent - SUM_UNIT) as u32);
        } else if significand != 0 {
            outlying(&mut self.outliers, step, negative, BigUint::from(significand) << (exponent - OUTLIER_SUM_UNIT));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.bits = 0;
        self.fixed = Fixed::ZERO;
        self.outliers = None;
        self.not_finite = NotFinite::NONE;
    }

    /// Number of values, NaN and infinities included.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn all_finite(&self) -> bool {
        self.not_finite == NotFinite::NONE
    }

    /// The sum, rounded once.
    #[inline]
    pub(crate) fn sum(&self) -> f64 {
        if self.count == 1 { f64::from_bits(self.bits) } else { self.sum_of_many() }
    }

    fn sum_of_many(&self) -> f64 {
        if let Some(value) = self.not_finite.sum() {
            return value;
        }
        match &self.outliers {
            None => {
                let (top, exponent, sticky) = self.fixed.magnitude().top();
                compose(self.fixed.is_negative(), top, exponent as i32 + SUM_UNIT, sticky)
            }
            Some(_) => round_ratio(&self.total(), &BigUint::from(1u32), OUTLIER_SUM_UNIT),
        }
    }

    /// The sum ÷ the count, rounded once. The count must not be 0.
    #[inline]
    pub(crate) fn avg(&self) -> f64 {
        if self.count == 1 { f64::from_bits(self.bits) } else { self.avg_of_many() }
    }

    fn avg_of_many(&self) -> f64 {
        if let Some(value) = self.not_finite.sum() {
            return value;
        }
        match &self.outliers {
            None => quotient(self.fixed.is_negative(), self.fixed.magnitude().top(), self.count, SUM_UNIT),
            Some(_) => round_ratio(&self.total(), &BigUint::from(self.count), OUTLIER_SUM_UNIT),
        }
    }

    /// (n·Σx² − (Σx)²) ÷ `denominator` for finite values, rounded once.
    pub(crate) fn variance(&self, squares: &ExactSquares, denominator: u128) -> f64 {
        if let (None, None, Ok(denominator)) = (&self.outliers, &squares.outliers, u64::try_from(denominator)) {
            // In units of 2^-256: n·Σx² needs 320 + 40 + 64 bits, (Σx)² 512.
            let scaled: Fixed<8> = product(&[0, self.count], &squares.fixed.0);
            let sum = self.fixed.magnitude();
            let square: Fixed<8> = product(&sum.0, &sum.0);
            return quotient(false, scaled.minus(&square).top(), denominator, 2 * SUM_UNIT);
        }
        let sum = self.total();
        let numerator = BigInt::from(self.count) * squares.total() - &sum * &sum;
        round_ratio(&numerator, &BigUint::from(denominator), OUTLIER_SQUARE_UNIT)
    }

    fn total(&self) -> BigInt {
        joined(&self.fixed, (SUM_UNIT - OUTLIER_SUM_UNIT) as u32, &self.outliers)
    }
}

impl Default for ExactSquares {
    fn default() -> Self {
        ExactSquares { fixed: Fixed::ZERO, outliers: None }
    }
}

impl ExactSquares {
    #[inline]
    pub(crate) fn step(&mut self, step: Step, x: f64) {
        if !x.is_finite() {
            return;
        }
        let (_, significand, exponent) = decompose(x);
        let negative = step == Step::Leave;
        let square = u128::from(significand) * u128::from(significand);
        if SQUARE_EXPONENTS.contains(&exponent) {
            self.fixed.add_shifted(negative, square, (2 * exponent - SQUARE_UNIT) as u32);
        } else if significand != 0 {
            outlying(&mut self.outliers, step, negative, BigUint::from(square) << (2 * exponent - OUTLIER_SQUARE_UNIT));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.fixed = Fixed::ZERO;
        self.outliers = None;
    }

    fn total(&self) -> BigInt {
        joined(&self.fixed, (SQUARE_UNIT - OUTLIER_SQUARE_UNIT) as u32, &self.outliers)
    }
}

impl NotFinite {
    pub(crate) fn step(&mut self, step: Step, x: f64) {
        let count = if x.is_nan() {
            &mut self.nan
        } else if x > 0.0 {
            &mut self.positive
        } else {
            &mut self.negative
        };
        match step {
            Step::Enter => *count += 1,
            Step::Leave => *count -= 1,
        }
    }

    /// What the non-finite values make of a sum or an average; `None` if all values are finite.
    pub(crate) fn sum(&self) -> Option<f64> {
        match self {
            NotFinite { nan: 0, positive: 0, negative: 0 } => None,
            NotFinite { nan: 0, negative: 0, .. } => Some(f64::INFINITY),
            NotFinite { nan: 0, positive: 0, .. } => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }
}

#[cold]
fn outlying(outliers: &mut Option<Box<Outliers>>, step: Step, negative: bool, magnitude: BigUint) {
    let part = outliers.get_or_insert_default();
    step.count(&mut part.count);
    part.total += BigInt::from_biguint(if negative { Sign::Minus } else { Sign::Plus }, magnitude);
    if part.count == 0 {
        debug_assert!(part.total.is_zero(), "what entered has left");
        *outliers = None;
    }
}

fn joined<const N: usize>(fixed: &Fixed<N>, shift: u32, outliers: &Option<Box<Outliers>>) -> BigInt {
    let mut digits = Vec::with_capacity(2 * N);
    for limb in fixed.magnitude().0 {
        digits.extend([limb as u32, (limb >> 32) as u32]);
    }
    let sign = if fixed.is_negative() { Sign::Minus } else { Sign::Plus };
    let fixed = BigInt::from_biguint(sign, BigUint::new(digits)) << shift;
    match outliers {
        Some(outliers) => fixed + &outliers.total,
        None => fixed,
    }
}

/// `± top · 2^(exponent + unit) ÷ denominator`. The top has 128 bits or is exact, so at least 64 bits of quotient are
/// known before rounding; an exact small top is first shifted up.
fn quotient(negative: bool, (top, exponent, sticky): (u128, u32, bool), denominator: u64, unit: i32) -> f64 {
    if top == 0 {
        return 0.0;
    }
    let lead = top.leading_zeros();
    let (top, exponent) = (top << lead, exponent as i32 - lead as i32);
    let denominator = u128::from(denominator);
    let (quotient, remainder) = (top / denominator, top % denominator);
    compose(negative, quotient, exponent + unit, sticky || remainder != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The sums over big rationals: the simplest model.
    fn model(values: &[f64]) -> (f64, f64, f64) {
        let one = BigUint::from(1u32);
        let exact: Vec<BigInt> = values
            .iter()
            .map(|&x| {
                let (negative, significand, exponent) = decompose(x);
                let magnitude = BigUint::from(significand) << (exponent + 1074);
                BigInt::from_biguint(if negative { Sign::Minus } else { Sign::Plus }, magnitude)
            })
            .collect();
        let sum: BigInt = exact.iter().sum();
        let squares: BigInt = exact.iter().map(|x| x * x).sum();
        let n = BigUint::from(values.len());
        let numerator = BigInt::from(n.clone()) * squares - &sum * &sum;
        (round_ratio(&sum, &one, -1074), round_ratio(&sum, &n, -1074), round_ratio(&numerator, &(&n * &n), -2148))
    }

    fn check(kept: &[f64], gone: &[f64]) {
        let (mut sum, mut squares) = (ExactSum::default(), ExactSquares::default());
        for &x in gone.iter().chain(kept) {
            sum.step(Step::Enter, x);
            squares.step(Step::Enter, x);
        }
        for &x in gone {
            sum.step(Step::Leave, x);
            squares.step(Step::Leave, x);
        }
        let n = kept.len() as u128;
        let found = (sum.sum(), sum.avg(), sum.variance(&squares, n * n));
        assert_eq!(found, model(kept), "kept {kept:?}, gone {gone:?}");
    }

    #[test]
    fn windows_edges_and_beyond() {
        check(&[1e16, 1.0, -1e16], &[0.1]);
        check(&[5e-324, 5e-324, -1.0], &[1e300]);
        check(&[1e308, 1e308, -1e308], &[]);
        check(&[0.1; 10], &[0.3, 0.7]);
        check(&[2f64.powi(63), 2f64.powi(64), -2f64.powi(65)], &[2f64.powi(-76)]);
        check(&[2f64.powi(42), 2f64.powi(43), 2f64.powi(-44), 2f64.powi(-45)], &[]);
        check(&[-0.0, 0.0], &[3.5]);
    }

    proptest! {
        #[test]
        fn equals_the_model(
            kept in prop::collection::vec(prop_oneof![any::<f64>(), -1e6..1e6f64, Just(0.1), Just(1e-12)], 1..20),
            gone in prop::collection::vec(prop_oneof![any::<f64>(), -1e6..1e6f64], 0..10),
        ) {
            prop_assume!(kept.iter().chain(&gone).all(|x| x.is_finite()));
            check(&kept, &gone);
        }
    }
}
