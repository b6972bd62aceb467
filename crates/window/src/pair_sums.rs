//! Sums over pairs (y, x), exact: what covariance, correlation and the slope of a line are computed from, each rounded
//! once (the correlation twice: its square, and the root of that).
//!
//! ```text
//!   C = n·Σxy − Σx·Σy      covar_pop  = C ÷ n²           covar_samp = C ÷ (n·(n − 1))
//!   X = n·Σx² − (Σx)²      regr_slope = C ÷ X            corr = ± √(C² ÷ (X·Y)), with the sign of C
//!   Y = n·Σy² − (Σy)²
//! ```

use crate::aggregate::Function;
use crate::dyadic::{Dyadic, DyadicSum};
use crate::exact::Step;
use crate::number::Number;
use crate::rank::power_of_ten;

/// The sums over pairs of numbers. Pairs with a side that is not finite are counted and not summed.
#[derive(Debug, Clone)]
pub(crate) struct PairSums {
    pairs: u64,
    not_finite: u64,
    x: DyadicSum,
    y: DyadicSum,
    xy: DyadicSum,
    xx: DyadicSum,
    yy: DyadicSum,
    /// Powers of ten by which the numbers of each side are too great.
    x_scale: i8,
    y_scale: i8,
}

/// A side's part of the sums: its sign, magnitude and exponent.
type Side = (bool, u128, i64);

impl PairSums {
    /// No pairs, of sides with such scales.
    pub(crate) fn new(y_scale: i8, x_scale: i8) -> PairSums {
        let [x, y, xy, xx, yy] = [const { DyadicSum::EMPTY }; 5];
        PairSums { pairs: 0, not_finite: 0, x, y, xy, xx, yy, x_scale, y_scale }
    }

    /// Takes a pair in or out.
    pub(crate) fn step(&mut self, step: Step, y: Number, x: Number) {
        step.count(&mut self.pairs);
        match (y, x) {
            (
                Number::Finite { negative: y_negative, magnitude: y, exponent: y_exponent },
                Number::Finite { negative: x_negative, magnitude: x, exponent: x_exponent },
            ) => self.step_sums(step, (y_negative, y, y_exponent), (x_negative, x, x_exponent)),
            _ => step.count(&mut self.not_finite),
        }
    }

    fn step_sums(&mut self, step: Step, (y_negative, y, y_exponent): Side, (x_negative, x, x_exponent): Side) {
        self.x.step(step, x_negative, (x, 1), x_exponent);
        self.y.step(step, y_negative, (y, 1), y_exponent);
        self.xy.step(step, x_negative ^ y_negative, (x, y), x_exponent + y_exponent);
        self.xx.step(step, false, (x, x), 2 * x_exponent);
        self.yy.step(step, false, (y, y), 2 * y_exponent);
    }

    pub(crate) fn clear(&mut self) {
        (self.pairs, self.not_finite) = (0, 0);
        [&mut self.x, &mut self.y, &mut self.xy, &mut self.xx, &mut self.yy].into_iter().for_each(DyadicSum::clear);
    }

    /// Bytes of memory held beside itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        [&self.x, &self.y, &self.xy, &self.xx, &self.yy].into_iter().map(DyadicSum::memory_bytes).sum()
    }

    /// The answer of one of the four functions; `None` is NULL: no pair, one pair for all but covar_pop, or values of
    /// one side that are all the same where their variance would divide.
    pub(crate) fn answer(&self, function: Function) -> Option<f64> {
        let pairs_min = if function == Function::CovarPop { 1 } else { 2 };
        if self.pairs < pairs_min {
            return None;
        }
        if self.not_finite > 0 {
            return Some(f64::NAN);
        }
        match function {
            Function::CovarPop => Some(self.covariance(self.pairs)),
            Function::CovarSamp => Some(self.covariance(self.pairs - 1)),
            Function::RegrSlope => self.slope(),
            _ => self.correlation(),
        }
    }

    /// C ÷ (n·`divisor`).
    fn covariance(&self, divisor: u64) -> f64 {
        let unit = power_of_ten(self.x_scale) * power_of_ten(self.y_scale);
        let divisor = u128::from(self.pairs) * u128::from(divisor);
        self.deviation(&self.xy, &self.x, &self.y).over(&Dyadic::new(unit * divisor, 0))
    }

    fn slope(&self) -> Option<f64> {
        let [x_unit, y_unit] = [self.x_scale, self.y_scale].map(|scale| Dyadic::new(power_of_ten(scale), 0));
        let of_x = self.deviation(&self.xx, &self.x, &self.x);
        let together = self.deviation(&self.xy, &self.x, &self.y);
        (!of_x.is_zero()).then(|| together.times(&x_unit).over(&of_x.times(&y_unit)))
    }

    /// Whatever the units of x and y, they are the same above and below the line.
    fn correlation(&self) -> Option<f64> {
        let of_x = self.deviation(&self.xx, &self.x, &self.x);
        let of_y = self.deviation(&self.yy, &self.y, &self.y);
        if of_x.is_zero() || of_y.is_zero() {
            return None;
        }
        let together = self.deviation(&self.xy, &self.x, &self.y);
        let root = together.times(&together).over(&of_x.times(&of_y)).sqrt();
        Some(if together.is_negative() { -root } else { root })
    }

    /// n·Σab − Σa·Σb.
    fn deviation(&self, products: &DyadicSum, a: &DyadicSum, b: &DyadicSum) -> Dyadic {
        let scaled = products.total().times(&Dyadic::new(self.pairs, 0));
        scaled.minus(&a.total().times(&b.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::{decompose, round_ratio};
    use num_bigint::{BigInt, BigUint};
    use num_traits::Signed;
    use proptest::prelude::*;

    /// A side as the doubles, integers or decimals of two digits that a slot has.
    #[derive(Debug, Clone, Copy)]
    enum Kind {
        Double,
        Integer,
        Decimal,
    }

    /// Whatever fits the kind, from one draw.
    fn drawn(kind: Kind, bits: u64) -> (Number, f64, i128) {
        match kind {
            Kind::Double => {
                let x = f64::from_bits(bits);
                let x = if x.is_finite() && bits.is_multiple_of(4) { x } else { (bits % 2_000) as f64 / 8.0 - 100.0 };
                (Number::of_double(x), x, 0)
            }
            Kind::Integer | Kind::Decimal => {
                let integer = match bits % 4 {
                    0 => i128::from(bits as i64) * if matches!(kind, Kind::Decimal) { i128::from(bits) } else { 1 },
                    _ => i128::from(bits % 50) - 20,
                };
                (Number::of_integer(integer), 0.0, integer)
            }
        }
    }

    /// In units of 2^-1074, times 100 for a decimal's two digits.
    fn exact(kind: Kind, (_, double, integer): (Number, f64, i128)) -> BigInt {
        match kind {
            Kind::Double => {
                let (negative, significand, exponent) = decompose(double);
                let magnitude = BigInt::from(significand) << (exponent + 1074);
                100 * if negative { -magnitude } else { magnitude }
            }
            Kind::Integer => 100 * (BigInt::from(integer) << 1074),
            Kind::Decimal => BigInt::from(integer) << 1074,
        }
    }

    /// Σ (x − x̄)(y − ȳ) over n², as the definitions of covariance say, in units of 2^-2148 / 10⁴.
    fn deviation(a: &[BigInt], b: &[BigInt]) -> BigInt {
        let n = BigInt::from(a.len());
        let [of_a, of_b] = [a.iter().sum::<BigInt>(), b.iter().sum::<BigInt>()];
        a.iter().zip(b).map(|(a, b)| (&n * a - &of_a) * (&n * b - &of_b)).sum::<BigInt>() / n
    }

    fn model(function: Function, y: &[BigInt], x: &[BigInt]) -> Option<f64> {
        let n = BigUint::from(y.len());
        if y.is_empty() {
            return None;
        }
        let [together, of_x, of_y] = [deviation(y, x), deviation(x, x), deviation(y, y)];
        let zero = BigInt::ZERO;
        match function {
            Function::CovarPop => Some(round_ratio(&together, &(10_000u32 * &n * &n), -2148)),
            _ if y.len() == 1 => None,
            Function::CovarSamp => Some(round_ratio(&together, &(10_000u32 * &n * (&n - 1u32)), -2148)),
            _ if of_x == zero => None,
            Function::RegrSlope => Some(round_ratio(&together, of_x.magnitude(), 0)),
            _ if of_y == zero => None,
            _ => {
                let root = round_ratio(&(&together * &together), (of_x * of_y).magnitude(), 0).sqrt();
                Some(if together.is_negative() { -root } else { root })
            }
        }
    }

    proptest! {
        #[test]
        fn equals_the_definitions_whatever_came_and_went(
            kinds in prop::sample::select(vec![
                (Kind::Double, Kind::Double), (Kind::Integer, Kind::Double), (Kind::Decimal, Kind::Double),
                (Kind::Double, Kind::Decimal), (Kind::Decimal, Kind::Decimal), (Kind::Integer, Kind::Integer),
                (Kind::Decimal, Kind::Integer),
            ]),
            pairs in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..12),
        ) {
            let scale = |kind: Kind| if matches!(kind, Kind::Decimal) { 2 } else { 0 };
            let mut sums = PairSums::new(scale(kinds.0), scale(kinds.1));
            let numbers = |pair: &(u64, u64, bool)| (drawn(kinds.0, pair.0), drawn(kinds.1, pair.1));
            for pair in &pairs {
                let (y, x) = numbers(pair);
                sums.step(Step::Enter, y.0, x.0);
            }
            for pair in pairs.iter().rev().filter(|pair| pair.2) {
                let (y, x) = numbers(pair);
                sums.step(Step::Leave, y.0, x.0);
            }
            let kept: Vec<_> = pairs.iter().filter(|pair| !pair.2).map(numbers).collect();
            let y: Vec<BigInt> = kept.iter().map(|(y, _)| exact(kinds.0, *y)).collect();
            let x: Vec<BigInt> = kept.iter().map(|(_, x)| exact(kinds.1, *x)).collect();
            for function in [Function::CovarPop, Function::CovarSamp, Function::Corr, Function::RegrSlope] {
                let (found, expected) = (sums.answer(function), model(function, &y, &x));
                prop_assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{:?}", function);
                prop_assert!(function != Function::Corr || found.is_none_or(|corr| corr.abs() <= 1.0));
            }
        }
    }

    fn number(x: f64) -> Number {
        Number::of_double(x)
    }

    fn sums(pairs: &[(f64, f64)]) -> PairSums {
        let mut sums = PairSums::new(0, 0);
        pairs.iter().for_each(|(y, x)| sums.step(Step::Enter, number(*y), number(*x)));
        sums
    }

    /// covar_pop, covar_samp, corr, regr_slope.
    fn check(pairs: &[(f64, f64)], expected: [Option<f64>; 4]) {
        let sums = sums(pairs);
        let functions = [Function::CovarPop, Function::CovarSamp, Function::Corr, Function::RegrSlope];
        let found = functions.map(|function| sums.answer(function).map(f64::to_bits));
        assert_eq!(found, expected.map(|one| one.map(f64::to_bits)), "{pairs:?}: {expected:?}");
    }

    #[test]
    fn edges_of_pairs() {
        check(&[], [None; 4]);
        check(&[(3.0, 4.0)], [Some(0.0), None, None, None]);
        check(&[(f64::NAN, 4.0)], [Some(f64::NAN), None, None, None]);
        check(&[(1.0, f64::INFINITY), (2.0, 4.0)], [Some(f64::NAN); 4]);
        // x without variance has no slope, y without variance has one: 0.
        check(&[(1.0, 5.0), (2.0, 5.0)], [Some(0.0), Some(0.0), None, None]);
        check(&[(5.0, 1.0), (5.0, 2.0)], [Some(0.0), Some(0.0), None, Some(0.0)]);
        check(&[(2.0, 1.0), (4.0, 2.0), (6.0, 3.0)], [Some(4.0 / 3.0), Some(2.0), Some(1.0), Some(2.0)]);
        check(&[(-2.0, 1.0), (-4.0, 2.0)], [Some(-0.5), Some(-1.0), Some(-1.0), Some(-2.0)]);
        // Far from zero doubles would cancel to nothing: C = 2·1 with offsets of 2^52.
        let far = (1u64 << 52) as f64;
        check(&[(far, far), (far + 1.0, far + 1.0)], [Some(0.25), Some(0.5), Some(1.0), Some(1.0)]);
    }

    #[test]
    fn the_slope_and_correlation_of_great_and_small_numbers() {
        let (great, small) = (2f64.powi(1000), 2f64.powi(-1000));
        check(&[(0.0, 0.0), (great, small)], [Some(0.25), Some(0.5), Some(1.0), Some(f64::INFINITY)]);
        check(&[(0.0, 0.0), (5e-324, 1.0)], [Some(0.0), Some(0.0), Some(1.0), Some(5e-324)]);
        let huge = f64::MAX;
        check(&[(huge, huge), (-huge, -huge)], [Some(f64::INFINITY), Some(f64::INFINITY), Some(1.0), Some(1.0)]);
    }

    #[test]
    fn what_is_not_finite_leaves_no_trace() {
        let mut sums = sums(&[(1.0, 1.0), (f64::NAN, 2.0), (7.0, f64::NEG_INFINITY), (3.0, 2.0)]);
        assert!(sums.answer(Function::CovarPop).is_some_and(f64::is_nan));
        sums.step(Step::Leave, number(f64::NAN), number(2.0));
        sums.step(Step::Leave, number(7.0), number(f64::NEG_INFINITY));
        assert_eq!(sums.answer(Function::CovarPop), Some(0.5));
        assert_eq!(sums.answer(Function::RegrSlope), Some(2.0));
    }
}
