//! How lengths of time are distributed: counts in buckets, written by one thread, read by any, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper ends of the buckets in microseconds: from a fast disk's sync to a stream in trouble. One more takes the rest.
pub const BOUNDS_US: [i64; 19] = [
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
];

/// A histogram of lengths of time.
#[derive(Debug, Default)]
pub struct Distribution {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a distribution held when it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// For each of [`BOUNDS_US`], how many were at most as long; then all.
    pub up_to: Vec<u64>,
    /// All lengths together, in microseconds.
    pub sum_us: u64,
}

impl Distribution {
    /// Counts one length, `times` times. A negative one, of a clock that was set back, counts as none.
    pub(crate) fn add(&self, length_us: i64, times: u64) {
        let length_us = length_us.max(0);
        let bucket = BOUNDS_US.partition_point(|bound_us| *bound_us < length_us);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum_us.fetch_add(length_us as u64 * times, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let mut all = 0;
        let up_to = self.counts.iter().map(|count| {
            all += count.load(Ordering::Relaxed);
            all
        });
        Counts { up_to: up_to.collect(), sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_upper_end() {
        let distribution = Distribution::default();
        for (length_us, times) in [(-5, 1), (100, 2), (101, 4), (i64::MAX / 4, 8)] {
            distribution.add(length_us, times);
        }
        let counts = distribution.counts();
        assert_eq!(counts.up_to[..2], [3, 7]);
        assert_eq!(counts.up_to[BOUNDS_US.len() - 1..], [7, 15]);
    }
}
