//! What a sorted bag of a frame's values answers: its least and greatest, and quantiles between them.

use crate::aggregate::Function;
use crate::bag::Bag;

/// An answer: a quantile, or one of the values.
pub(crate) enum Picked<'a, K> {
    Double(f64),
    Key(&'a K),
    Nothing,
}

/// Answers min, max or a quantile. `double` gives a value as a double.
pub(crate) fn answer_bag<K: Ord>(bag: &Bag<K>, function: Function, double: impl Fn(&K) -> f64) -> Picked<'_, K> {
    match function {
        Function::Quantile(q) if bag.len() > 0 => Picked::Double(quantile(bag, q, double)),
        Function::Max => bag.last().map_or(Picked::Nothing, Picked::Key),
        _ => bag.first().map_or(Picked::Nothing, Picked::Key),
    }
}

/// Rank q·(n−1), lo + (hi − lo)·fraction in doubles; equal neighbours are that value, infinite or NaN too.
fn quantile<K: Ord>(bag: &Bag<K>, q: f64, double: impl Fn(&K) -> f64) -> f64 {
    let rank = q * (bag.len() - 1) as f64;
    let value = |rank: f64| bag.at(rank as usize).map_or(f64::NAN, &double);
    let (low, high) = (value(rank.floor()), value(rank.ceil()));
    if low == high || (low.is_nan() && high.is_nan()) {
        return low;
    }
    let between = low + (high - low) * (rank - rank.floor());
    if between.is_nan() { f64::NAN } else { between }
}
