//! The partitions of the topic that feeds a stream: which there are, and which of them hold its watermark back.
//!
//! ```text
//!   partition   watermark   idle
//!   0           10:07       no       ▶ the stream's: 10:05, the least of those that are not idle
//!   1           10:05       no
//!   2           09:00       yes        comes back later, and is not late in its own partition
//!   3           none        no       ▶ none: whatever it has may still come first
//! ```

use std::collections::BTreeMap;

use asof_window::Judge;

/// Stands for the partition of events that came to a fed stream by another way than its feed: dead letters that were sent
/// once more.
pub const BY_HAND: u32 = u32::MAX;

/// The partitions of one feed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FedPartitions {
    /// Each with whether it is idle; none before the feed is read.
    is_idle: BTreeMap<u32, bool>,
}

impl FedPartitions {
    pub(crate) fn set(&mut self, partition: u32, is_idle: bool) {
        self.is_idle.insert(partition, is_idle);
    }

    /// The stream's watermark in microseconds; `None` while a partition that is not idle has had no event.
    pub(crate) fn watermark_us(&self, judge: &Judge) -> Option<i64> {
        let mut active = self.is_idle.iter().filter(|(_, is_idle)| !**is_idle).peekable();
        if active.peek().is_none() {
            return self.is_idle.keys().filter_map(|partition| judge.watermark_us(*partition)).max();
        }
        let active = active.map(|(partition, _)| judge.watermark_us(*partition));
        active.collect::<Option<Vec<i64>>>()?.into_iter().min()
    }
}

/// The event time in microseconds before which an event is late in every partition that had any; `None` before the first.
pub(crate) fn coming_from_us(judge: &Judge) -> Option<i64> {
    let partitions = judge.partitions().filter(|(partition, _)| *partition != BY_HAND);
    partitions.filter_map(|(partition, _)| judge.watermark_us(partition)).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_window::Rules;

    #[test]
    fn idle_partitions_hold_nothing_back_and_silent_ones_hold_all() {
        let mut judge = Judge::new(Rules { lateness_us: 10, ahead_max_us: None, dedup_horizon_us: None });
        let mut fed = FedPartitions::default();
        assert_eq!((fed.watermark_us(&judge), coming_from_us(&judge)), (None, None));
        judge.recall(0, 100, None);
        judge.recall(1, 70, None);
        judge.recall(BY_HAND, 5, None);
        assert_eq!((fed.watermark_us(&judge), coming_from_us(&judge)), (None, Some(60)));
        (0..3).for_each(|partition| fed.set(partition, false));
        assert_eq!(fed.watermark_us(&judge), None);
        fed.set(2, true);
        assert_eq!(fed.watermark_us(&judge), Some(60));
        fed.set(1, true);
        assert_eq!((fed.watermark_us(&judge), coming_from_us(&judge)), (Some(90), Some(60)));
        fed.set(0, true);
        assert_eq!(fed.watermark_us(&judge), Some(90));
    }
}
