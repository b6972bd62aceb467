//! Sums that decay with time, exact: Σ x·W and Σ W over a frame's events, with the weights of `weight.rs`. As of t the
//! decayed sum is Σ x·W ÷ W(t), the decayed average Σ x·W ÷ Σ W; each is rounded once. Nothing here changes as time goes by,
//! only what a read divides by.

use crate::aggregate::Function;
use crate::dyadic::{Dyadic, DyadicSum};
use crate::exact::{NotFinite, Step};
use crate::number::Number;
use crate::rank::power_of_ten;
use crate::weight::Weight;

/// The sums of one argument and half-life. Frames reach back at most [`HALF_LIVES_MAX`], so the sums have few limbs.
#[derive(Debug, Clone)]
pub(crate) struct DecayedSums {
    half_life_us: i64,
    count: u64,
    /// Σ x·W of the finite x.
    products: DyadicSum,
    /// Σ W of the finite x.
    weights: DyadicSum,
    not_finite: NotFinite,
    /// Powers of ten by which the numbers are too great.
    scale: i8,
}

/// A frame of decayed sums reaches back at most so many half-lives: what is older weighs less than 2^-1000, which is
/// nothing beside any sum.
pub const HALF_LIVES_MAX: i64 = 1_000;

impl DecayedSums {
    /// No numbers.
    pub(crate) fn new(half_life_us: i64, scale: i8) -> DecayedSums {
        let [products, weights] = [const { DyadicSum::EMPTY }; 2];
        DecayedSums { half_life_us, count: 0, products, weights, not_finite: NotFinite::NONE, scale }
    }

    /// Takes the number of an event at `time_us` in or out.
    pub(crate) fn step(&mut self, step: Step, x: Number, time_us: i64) {
        step.count(&mut self.count);
        match x {
            Number::NotFinite(x) => self.not_finite.step(step, x),
            Number::Finite { negative, magnitude, exponent } => {
                let weight = Weight::at(time_us, self.half_life_us);
                let significand = u128::from(weight.significand);
                self.products.step(step, negative, (magnitude, significand), exponent + weight.exponent);
                self.weights.step(step, false, (significand, 1), weight.exponent);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.products.clear();
        self.weights.clear();
        self.not_finite = NotFinite::NONE;
    }

    /// Bytes of memory held beside itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.products.memory_bytes() + self.weights.memory_bytes()
    }

    /// The decayed sum or average as of `t_us`; `None` is NULL: no numbers.
    pub(crate) fn answer(&self, function: Function, t_us: i64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        if let Some(value) = self.not_finite.sum() {
            return Some(value);
        }
        let divisor = match function {
            Function::DecayedAvg { .. } => self.weights.total(),
            _ => {
                let weight = Weight::at(t_us, self.half_life_us);
                Dyadic::new(weight.significand, weight.exponent)
            }
        };
        Some(self.products.total().over(&divisor.times(&Dyadic::new(power_of_ten(self.scale), 0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::{decompose, round_ratio};
    use num_bigint::BigInt;
    use proptest::prelude::*;

    /// Σ x·2^(k − k₀)·T and Σ 2^(k − k₀)·T, with k₀ that of t less a thousand, so that all are integers in units of
    /// 2^-1126; k and T as `weight.rs` tells and proves them.
    fn model(events: &[(i64, f64)], t_us: i64, half_life_us: i64) -> Option<(f64, f64)> {
        let at = |time_us: i64| {
            let above = time_us.div_euclid(half_life_us) - t_us.div_euclid(half_life_us) + 1_000;
            BigInt::from(Weight::at(time_us, half_life_us).significand) << above as u64
        };
        let finite = |x: f64| {
            let (negative, significand, exponent) = decompose(x);
            let magnitude = BigInt::from(significand) << (exponent + 1074) as u64;
            if negative { -magnitude } else { magnitude }
        };
        let weights: BigInt = events.iter().map(|(time_us, _)| at(*time_us)).sum();
        let products: BigInt = events.iter().map(|(time_us, x)| finite(*x) * at(*time_us)).sum();
        let over = |divisor: BigInt| round_ratio(&products, divisor.magnitude(), -1074);
        (!events.is_empty()).then(|| (over(at(t_us)), over(weights)))
    }

    proptest! {
        #[test]
        fn equals_the_definition_whatever_came_and_went(
            half_life_us in prop_oneof![1..100i64, 1_000_000..3_000_000_000i64, Just(86_400_000_000)],
            t_us in -4_000_000_000_000_000..4_000_000_000_000_000i64,
            drawn in prop::collection::vec((0..1_000_000_000u64, any::<u64>(), any::<bool>()), 0..14),
        ) {
            let events: Vec<((i64, f64), bool)> = drawn.iter().map(|(age, bits, leaves)| {
                let reach = if bits % 5 == 0 { 1_000 } else { 4 };
                let age_us = i128::from(half_life_us) * reach * i128::from(*age) / 1_000_000_000;
                let x = if bits % 7 == 0 { f64::from_bits(*bits) } else { (bits % 4_096) as f64 * 0.1 - 200.0 };
                ((t_us - age_us as i64, if x.is_finite() { x } else { 1.5 }), *leaves)
            }).collect();
            let mut sums = DecayedSums::new(half_life_us, 0);
            for ((time_us, x), _) in &events {
                sums.step(Step::Enter, Number::of_double(*x), *time_us);
            }
            for ((time_us, x), _) in events.iter().rev().filter(|(_, leaves)| *leaves) {
                sums.step(Step::Leave, Number::of_double(*x), *time_us);
            }
            let kept: Vec<(i64, f64)> = events.iter().filter(|(_, leaves)| !leaves).map(|(event, _)| *event).collect();
            let expected = model(&kept, t_us, half_life_us).map(|(sum, avg)| [sum.to_bits(), avg.to_bits()]);
            let functions = [Function::DecayedSum { half_life_us }, Function::DecayedAvg { half_life_us }];
            let found = functions.map(|function| sums.answer(function, t_us).map(f64::to_bits));
            prop_assert_eq!(found, [expected.map(|both| both[0]), expected.map(|both| both[1])]);
        }
    }

    #[test]
    fn a_decimal_counts_its_unit() {
        let mut sums = DecayedSums::new(10, 2);
        sums.step(Step::Enter, Number::of_integer(-(10i128.pow(38) - 1)), 0);
        assert_eq!(sums.answer(SUM, 10), Some(-5e35));
        assert_eq!(sums.answer(AVG, 10), Some(-1e36));
    }

    const SUM: Function = Function::DecayedSum { half_life_us: 10 };
    const AVG: Function = Function::DecayedAvg { half_life_us: 10 };

    fn sums(events: &[(i64, f64)]) -> DecayedSums {
        let mut sums = DecayedSums::new(10, 0);
        events.iter().for_each(|(time_us, x)| sums.step(Step::Enter, Number::of_double(*x), *time_us));
        sums
    }

    fn check(events: &[(i64, f64)], t_us: i64, sum: f64, avg: f64) {
        let sums = sums(events);
        let found = [SUM, AVG].map(|function| sums.answer(function, t_us).map(f64::to_bits));
        assert_eq!(found, [sum, avg].map(|one| Some(one.to_bits())), "{events:?} as of {t_us}");
    }

    #[test]
    fn a_half_life_halves() {
        check(&[(0, 8.0)], 0, 8.0, 8.0);
        check(&[(0, 8.0)], 10, 4.0, 8.0);
        check(&[(-25, 0.1)], -5, 0.1 / 4.0, 0.1);
        check(&[(0, 8.0), (10, 1.0)], 20, 2.5, 10.0 / 3.0);
        check(&[(0, 8.0)], 5, 8.0 / std::f64::consts::SQRT_2, 8.0);
        check(&[(1_700_000_000_000_003, 0.1)], 1_700_000_000_000_003, 0.1, 0.1);
        check(&[(0, 1.0)], 10_000, 2f64.powi(-1000), 1.0);
        check(&[(0, 0.0), (3, -0.0)], 4, 0.0, 0.0);
    }

    /// Exponents of weights and numbers stay within 64 bits together, and weights that are near stay near.
    #[test]
    fn regression_the_ends_of_time_with_a_half_life_of_a_microsecond() {
        for t_us in [i64::MIN, i64::MAX] {
            let mut sums = DecayedSums::new(1, 0);
            sums.step(Step::Enter, Number::of_double(f64::MAX), t_us);
            sums.step(Step::Enter, Number::of_double(5e-324), t_us);
            assert_eq!(sums.answer(Function::DecayedSum { half_life_us: 1 }, t_us), Some(f64::MAX));
            sums.step(Step::Leave, Number::of_double(f64::MAX), t_us);
            assert_eq!(sums.answer(Function::DecayedSum { half_life_us: 1 }, t_us), Some(5e-324));
        }
    }

    #[test]
    fn what_is_not_finite_leaves_no_trace() {
        check(&[(0, f64::INFINITY), (5, 1.0)], 7, f64::INFINITY, f64::INFINITY);
        check(&[(0, f64::NEG_INFINITY), (5, f64::INFINITY)], 7, f64::NAN, f64::NAN);
        let mut sums = sums(&[(0, f64::NAN), (5, 3.0)]);
        assert!(sums.answer(SUM, 5).is_some_and(f64::is_nan));
        sums.step(Step::Leave, Number::of_double(f64::NAN), 0);
        assert_eq!(sums.answer(SUM, 15), Some(1.5));
        sums.step(Step::Leave, Number::of_double(3.0), 5);
        assert_eq!(sums.answer(AVG, 15), None);
    }
}
