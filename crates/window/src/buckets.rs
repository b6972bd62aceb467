//! Quantiles of a frame, about: `approx_quantile(x, q)`.
//!
//! Doubles are counted in buckets, and a quantile is the middle of the bucket that its rank falls into. A bucket is what
//! the first bits of a double say, so that nobody has to compute a logarithm and the same value lies in the same bucket
//! everywhere:
//!
//! ```text
//!   sign │ exponent, 11 bits │ significand: first 7 bits │ 45 bits that are not looked at
//! ```
//! A bucket is at most 2^-7 as wide as its values are great, so the middle is off by at most 2^-8 = 0.4 % of the value;
//! below 2^-1022, where doubles lie evenly, by at most 2^-1030. Zero, each infinity and NaN have buckets of their own.
//! That is DDSketch (C. Masson, J. E. Rim, H. K. Lee, VLDB 2019) with its buckets cut at the bits of a double.
//!
//! Counts are whole numbers: what leaves leaves no trace. Memory: an entry for each bucket in use, whatever the frame
//! holds; values between one cent and a million take at most 3,500 of them, and all doubles that there are half a million.

use std::collections::BTreeMap;

use crate::exact::Step;

/// Bits of a double that a bucket does not look at.
const IGNORED_BITS: u32 = 45;
/// Positive numbers have positive buckets in their order, negative ones the same with a sign; zero is 0, NaN the last.
type Bucket = i32;
const NAN: Bucket = Bucket::MAX;
const INFINITY: Bucket = 1 + (f64::INFINITY.to_bits() >> IGNORED_BITS) as Bucket;

/// How many values of a frame lie in each bucket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buckets {
    counts: BTreeMap<Bucket, u64>,
    len: u64,
}

impl Buckets {
    pub(crate) fn step(&mut self, step: Step, x: f64) {
        let bucket = bucket_of(x);
        match step {
            Step::Enter => {
                self.len += 1;
                *self.counts.entry(bucket).or_insert(0) += 1;
            }
            Step::Leave => {
                self.len -= 1;
                let count = self.counts.get_mut(&bucket).expect("what leaves a frame has entered it");
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&bucket);
                }
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.clear();
        self.len = 0;
    }

    /// The middle of the bucket of the value at rank ⌊q·(n − 1)⌋ from 0; `None` without values. The product is that of
    /// doubles, as `quantile_cont` has it.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.len.checked_sub(1)?;
        let rank = (q * last as f64).floor() as u64;
        let bucket =
            if rank <= last / 2 { at(self.counts.iter(), rank) } else { at(self.counts.iter().rev(), last - rank) };
        bucket.map(middle_of)
    }

    /// Bytes held, about: an entry with its share of the tree's nodes, which are at least half full.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.counts.len() * 2 * size_of::<(Bucket, u64)>()
    }
}

/// The bucket of the value at `rank` from 0 in the order of `counts`.
fn at<'a>(counts: impl Iterator<Item = (&'a Bucket, &'a u64)>, mut rank: u64) -> Option<Bucket> {
    for (bucket, count) in counts {
        if rank < *count {
            return Some(*bucket);
        }
        rank -= count;
    }
    None
}

fn bucket_of(x: f64) -> Bucket {
    if x.is_nan() {
        return NAN;
    }
    if x == 0.0 {
        return 0;
    }
    let bucket = 1 + (x.abs().to_bits() >> IGNORED_BITS) as Bucket;
    if x < 0.0 { -bucket } else { bucket }
}

fn middle_of(bucket: Bucket) -> f64 {
    let middle = match bucket.abs() {
        0 => return 0.0,
        NAN => return f64::NAN,
        INFINITY => f64::INFINITY,
        other => {
            let least = (other as u64 - 1) << IGNORED_BITS;
            f64::from_bits(least | 1 << (IGNORED_BITS - 1))
        }
    };
    if bucket < 0 { -middle } else { middle }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAST_NORMAL: f64 = f64::MIN_POSITIVE;

    fn any_double() -> impl Strategy<Value = f64> {
        let edges = [0.0, 1.0, LEAST_NORMAL, 5e-324, f64::MAX, f64::INFINITY, f64::NAN, 1.0078125, 2.0f64.next_down()];
        prop_oneof![3 => any::<f64>(), 3 => -1e6..1e6f64, 1 => prop::sample::select(edges.to_vec())]
    }

    fn check_near(found: f64, exact: f64) {
        if exact.is_nan() {
            return assert!(found.is_nan(), "{found} for NaN");
        }
        if exact == 0.0 || exact.is_infinite() {
            return assert_eq!(found, exact);
        }
        let bound = if exact.abs() >= LEAST_NORMAL { exact.abs() / 256.0 } else { LEAST_NORMAL / 256.0 };
        assert!((found - exact).abs() <= bound, "{found} for {exact}");
        assert_eq!(found.is_sign_negative(), exact.is_sign_negative(), "{found} for {exact}");
    }

    proptest! {
        #[test]
        fn the_middle_is_near(x in any_double()) {
            check_near(middle_of(bucket_of(x)), x);
        }

        #[test]
        fn buckets_are_in_the_order_of_values(x in any_double(), y in any_double()) {
            prop_assume!(!x.is_nan() && !y.is_nan());
            let (less, greater) = (x.min(y), x.max(y));
            prop_assert!(bucket_of(less) <= bucket_of(greater) && bucket_of(greater) < NAN);
            prop_assert!(middle_of(bucket_of(less)) <= middle_of(bucket_of(greater)));
        }

        #[test]
        fn equals_sorting_whatever_came_and_went(
            kept in prop::collection::vec(any_double(), 0..60),
            gone in prop::collection::vec(any_double(), 0..40),
            q in prop_oneof![Just(0.0), Just(1.0), Just(0.5), 0.0..1.0f64],
        ) {
            let mut buckets = Buckets::default();
            gone.iter().chain(&kept).for_each(|x| buckets.step(Step::Enter, *x));
            gone.iter().rev().for_each(|x| buckets.step(Step::Leave, *x));
            let mut sorted = kept.clone();
            sorted.sort_by(|x, y| x.is_nan().cmp(&y.is_nan()).then(x.partial_cmp(y).unwrap_or(std::cmp::Ordering::Equal)));
            let rank = (q * sorted.len().saturating_sub(1) as f64) as usize;
            let found = buckets.quantile(q);
            prop_assert_eq!(found.is_some(), !kept.is_empty());
            if let Some(found) = found {
                check_near(found, sorted[rank]);
                prop_assert_eq!(found.to_bits(), middle_of(bucket_of(sorted[rank])).to_bits());
            }
        }
    }

    /// From 1 to a million values over nine powers of ten: each quantile within 2^-8 of the value of its rank.
    #[test]
    fn quantiles_are_near_from_one_to_a_million() {
        let value = |n: u64| ((n * 2_654_435_761 % 1_000_003) as f64 / 100.0).powi(3) / 1e6;
        for len in [1, 2, 10, 1_000, 1_000_000] {
            let mut buckets = Buckets::default();
            let mut sorted: Vec<f64> = (0..len).map(value).collect();
            sorted.iter().for_each(|x| buckets.step(Step::Enter, *x));
            sorted.sort_by(f64::total_cmp);
            for q in [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0] {
                let rank = (q * (len - 1) as f64).floor() as usize;
                check_near(buckets.quantile(q).unwrap(), sorted[rank]);
            }
            assert!(buckets.memory_bytes() < 256 << 10, "{} bytes", buckets.memory_bytes());
        }
    }
}
