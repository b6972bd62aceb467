//! How far the topic that feeds a stream is read: written by the threads that read it, read by anybody.
//!
//! Order of locks: whoever has the writer's may take a feed's; who has a feed's takes no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use asof_connect::WriterSchema;

/// A partition whose end was last known so long ago, in microseconds, does not count as read to its end.
const END_KNOWN_FOR_US: i64 = 10_000_000;

/// What is known of one feed.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    state: Mutex<FeedState>,
}

/// The same, as it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeedState {
    /// The partitions that are read.
    pub(crate) partitions: BTreeMap<u32, FedPartition>,
    /// Those that were found and are not read yet, with the offsets to read them from.
    pub(crate) found: BTreeMap<u32, u64>,
    /// Whether one of them was read before, up to another offset: what came of it has to be taken in first.
    pub(crate) begins_anew: bool,
    /// Whether messages of some partition are gone, and it is not known yet of which.
    pub(crate) has_lost: bool,
    /// Why nothing comes, or not all that should.
    pub(crate) trouble: Option<String>,
    /// Whether that will not pass by itself.
    pub(crate) is_refused: bool,
    /// Whether it is not the cluster that keeps messages out: it is our door, or the registry.
    pub(crate) is_at_door: bool,
    /// Whether it is not read any more until the next start.
    pub(crate) has_stopped: bool,
    /// Whether all was taken in once that the topic had when it was first asked.
    pub(crate) has_caught_up: bool,
    /// Messages that were taken in.
    pub(crate) messages: u64,
    /// Messages that were gone before they were read, where the stream goes on without them.
    pub(crate) lost_messages: u64,
    /// Messages that were of another type than the stream reads.
    pub(crate) passed_over: u64,
    /// The schemas of a registry that messages named.
    pub(crate) schemas: Vec<WriterSchema>,
    /// How often partitions were added.
    pub(crate) assignments: u64,
}

/// What kind of trouble a feed is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// The cluster does not answer as it should, and may yet.
    Cluster,
    /// The registry of schemas does not answer as it should, and may yet.
    Registry,
    /// Our own door takes nothing in at the moment.
    AtDoor,
    /// It will not pass by itself.
    Refused,
}

/// One partition of a feed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FedPartition {
    /// The offset behind the last message that came, or where reading began.
    pub(crate) polled: u64,
    /// The offset behind the last message that was taken in, or where reading began.
    pub(crate) taken_in: u64,
    /// The next offset: behind `polled` by what no reader sees.
    position: u64,
    /// Behind the last message that there is.
    end: Option<u64>,
    /// When `end` was last asked for with an answer, in microseconds.
    end_at_us: Option<i64>,
    /// Offsets behind that which no reader of what is committed sees, because a transaction is open.
    held_back: u64,
    /// What `end` was at first.
    first_end: Option<u64>,
    /// When a message last came, or reading began, by the wall clock in microseconds.
    last_us: i64,
    /// Whether messages are gone that were not read, so that it is read no further.
    pub(crate) is_stopped: bool,
}

/// What a running job tells of the topic that feeds a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedStatistics {
    /// The topic.
    pub topic: String,
    /// Its partitions that are read, in their order.
    pub partitions: Vec<FedPartitionStatistics>,
    /// Why nothing comes, or not all that should.
    pub trouble: Option<String>,
    /// Whether it is not read any more until the next start.
    pub has_stopped: bool,
    /// Whether all was taken in once that the topic had when it was first asked.
    pub has_caught_up: bool,
    /// Messages that were taken in since the start.
    pub messages: u64,
    /// Messages that were gone before they were read, since the start.
    pub lost_messages: u64,
    /// Messages that were of another type than the stream reads, since the start.
    pub passed_over: u64,
    /// The schemas of a registry that messages named since the start, by their numbers.
    pub schemas: Vec<WriterSchema>,
    /// How often partitions were added since the start.
    pub assignments: u64,
}

/// One partition of a topic that feeds a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FedPartitionStatistics {
    /// Its number.
    pub partition: u32,
    /// The offset from which it is read on.
    pub next_offset: u64,
    /// Offsets up to its end that are not taken in; `None` before its end is known.
    pub lag: Option<u64>,
    /// Offsets behind its end that transactions which are open hold back.
    pub held_back: u64,
    /// Whether messages are gone that were not read, so that it is read no further.
    pub is_stopped: bool,
}

impl FeedStatistics {
    /// Offsets up to the ends of all partitions that are not taken in; `None` before these are known.
    pub fn lag(&self) -> Option<u64> {
        let lags = self.partitions.iter().map(|one| one.lag);
        lags.sum::<Option<u64>>().filter(|_| !self.partitions.is_empty())
    }
}

impl FedPartition {
    fn new(offset: u64, now_us: i64) -> FedPartition {
        FedPartition { polled: offset, taken_in: offset, position: offset, last_us: now_us, ..FedPartition::default() }
    }

    /// Where it is read on: behind what no reader sees, once all before that is taken in.
    fn next_offset(&self) -> u64 {
        if self.taken_in >= self.polled { self.taken_in.max(self.position) } else { self.taken_in }
    }

    fn has_reached(&self, end: Option<u64>) -> bool {
        !self.is_stopped && end.is_some_and(|end| self.next_offset() >= end)
    }
}

impl Feed {
    pub(crate) fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn statistics(&self, topic: &str) -> FeedStatistics {
        let state = self.lock();
        let partition = |(number, one): (&u32, &FedPartition)| FedPartitionStatistics {
            partition: *number,
            next_offset: one.next_offset(),
            lag: one.end.map(|end| end.saturating_sub(one.next_offset())),
            held_back: one.held_back,
            is_stopped: one.is_stopped,
        };
        FeedStatistics {
            topic: topic.to_owned(),
            partitions: state.partitions.iter().map(partition).collect(),
            trouble: state.trouble.clone(),
            has_stopped: state.has_stopped,
            has_caught_up: state.has_caught_up,
            messages: state.messages,
            lost_messages: state.lost_messages,
            passed_over: state.passed_over,
            schemas: state.schemas.clone(),
            assignments: state.assignments,
        }
    }
}

impl FeedState {
    /// Begins to read partitions at these offsets.
    pub(crate) fn begin(&mut self, offsets: &BTreeMap<u32, u64>, now_us: i64) {
        let new = offsets.iter().map(|(partition, offset)| (*partition, FedPartition::new(*offset, now_us)));
        self.partitions.extend(new);
        self.assignments += u64::from(!offsets.is_empty());
    }

    /// A message came, and this offset is behind it.
    pub(crate) fn polled(&mut self, partition: u32, next_offset: u64) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.polled = next_offset;
        }
    }

    /// Events came of these partitions: what else is in a topic does not keep a partition from being idle.
    pub(crate) fn heard(&mut self, partitions: impl Iterator<Item = u32>, now_us: i64) {
        for partition in partitions {
            if let Some(one) = self.partitions.get_mut(&partition) {
                one.last_us = now_us;
            }
        }
    }

    /// Whether all was taken in that the topic had when it was first asked, but for partitions that are read no further.
    pub(crate) fn is_read(&self) -> bool {
        let is_read = |one: &FedPartition| one.is_stopped || one.has_reached(one.first_end);
        let is_known = !self.partitions.is_empty() && self.found.is_empty();
        self.has_stopped || self.has_caught_up || (is_known && self.partitions.values().all(is_read))
    }

    /// Messages were taken in.
    pub(crate) fn taken_in(&mut self, next: &BTreeMap<u32, u64>, rows: usize) {
        self.messages += rows as u64;
        for (partition, offset) in next {
            if let Some(one) = self.partitions.get_mut(partition) {
                one.taken_in = *offset;
            }
        }
        self.catch_up();
    }

    /// Where the client stands and where partitions end, as they were asked for at an instant.
    pub(crate) fn set_ends(&mut self, positions: &BTreeMap<u32, u64>, ends: &BTreeMap<u32, u64>, asked_us: i64) {
        for (partition, one) in &mut self.partitions {
            if let Some(position) = positions.get(partition) {
                one.position = one.position.max(*position);
            }
            if let Some(end) = ends.get(partition) {
                (one.end, one.end_at_us) = (Some(*end), Some(asked_us));
                one.first_end.get_or_insert(*end);
            }
        }
        self.catch_up();
    }

    /// What transactions that are open hold back.
    pub(crate) fn set_held_back(&mut self, held_back: &BTreeMap<u32, u64>) {
        for (partition, one) in &mut self.partitions {
            one.held_back = held_back.get(partition).copied().unwrap_or(0);
        }
    }

    /// Takes note of what is wrong. Returns whether it is news: what will not pass is not hidden by what may.
    pub(crate) fn is_in_trouble(&mut self, trouble: String, kind: TroubleKind) -> bool {
        let is_news = self.trouble.as_ref() != Some(&trouble) && (!self.is_refused || kind == TroubleKind::Refused);
        if is_news {
            self.trouble = Some(trouble);
            (self.is_refused, self.is_at_door) =
                (kind == TroubleKind::Refused, matches!(kind, TroubleKind::AtDoor | TroubleKind::Registry));
        }
        is_news
    }

    /// The cluster answers, and messages may come. Returns whether that is news.
    pub(crate) fn cluster_is_well(&mut self) -> bool {
        !self.is_at_door && self.is_well()
    }

    /// Messages were taken in. Returns whether that is news.
    pub(crate) fn is_well(&mut self) -> bool {
        let has_stopped = self.has_stopped || self.partitions.values().any(|one| one.is_stopped);
        if has_stopped || self.trouble.is_none() {
            return false;
        }
        (self.trouble, self.is_refused, self.is_at_door) = (None, false, false);
        true
    }

    fn catch_up(&mut self) {
        let all = !self.partitions.is_empty() && self.found.is_empty();
        self.has_caught_up |= all && self.partitions.values().all(|one| one.has_reached(one.first_end));
    }

    /// Each partition with whether it is idle: read to its end, and without a message for so long, in microseconds.
    pub(crate) fn idleness(&self, idle_timeout_us: i64, now_us: i64) -> Vec<(u32, bool)> {
        let is_idle = |one: &FedPartition| {
            // That there was nothing more has to be known of a time when it had been quiet for so long.
            let quiet_from_us = one.last_us.saturating_add(idle_timeout_us);
            let is_known = |at_us: i64| at_us >= quiet_from_us && now_us.saturating_sub(at_us) <= END_KNOWN_FOR_US;
            one.has_reached(one.end) && one.end_at_us.is_some_and(is_known)
        };
        self.partitions.iter().map(|(partition, one)| (*partition, is_idle(one))).collect()
    }

    /// The partitions that are read, and those that soon will be.
    pub(crate) fn known(&self) -> BTreeSet<u32> {
        self.partitions.keys().chain(self.found.keys()).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(offsets: &[(u32, u64)]) -> BTreeMap<u32, u64> {
        offsets.iter().copied().collect()
    }

    #[test]
    fn trouble_is_told_once_and_what_stays_is_not_hidden() {
        let mut state = FeedState::default();
        assert!(!state.is_well());
        assert!(state.is_in_trouble("away".to_owned(), TroubleKind::Cluster));
        assert!(!state.is_in_trouble("away".to_owned(), TroubleKind::Cluster));
        assert!(state.is_in_trouble("full".to_owned(), TroubleKind::AtDoor));
        // That the cluster answers opens no door.
        assert!(!state.cluster_is_well() && state.trouble.is_some());
        assert!(state.is_well() && !state.is_well());
        assert!(state.is_in_trouble("who are you".to_owned(), TroubleKind::Refused));
        assert!(!state.is_in_trouble("away".to_owned(), TroubleKind::Cluster));
        assert_eq!(state.trouble.as_deref(), Some("who are you"));
        assert!(state.cluster_is_well() && state.trouble.is_none());
        state.begin(&offsets(&[(0, 5)]), 0);
        state.partitions.entry(0).or_default().is_stopped = true;
        state.is_in_trouble("gone".to_owned(), TroubleKind::Refused);
        assert!(!state.is_well() && state.trouble.is_some());
    }

    #[test]
    fn a_partition_is_idle_that_is_read_to_its_end_for_a_while() {
        let mut state = FeedState::default();
        state.begin(&offsets(&[(0, 5), (1, 9)]), 100);
        assert_eq!(state.idleness(50, 1_000), [(0, false), (1, false)]);
        state.set_ends(&offsets(&[]), &offsets(&[(0, 7), (1, 9)]), 149);
        assert_eq!(state.idleness(50, 1_000), [(0, false), (1, false)]);
        state.set_ends(&offsets(&[]), &offsets(&[(0, 7), (1, 9)]), 150);
        assert_eq!(state.idleness(50, 1_000), [(0, false), (1, true)]);
        assert!(!state.has_caught_up);
        // What came is not taken in yet, wherever the client stands.
        state.polled(0, 6);
        state.heard([0].into_iter(), 1_010);
        state.set_ends(&offsets(&[(0, 7)]), &offsets(&[(0, 7), (1, 9)]), 1_060);
        assert_eq!(state.idleness(50, 1_070), [(0, false), (1, true)]);
        // The last offset is a control record.
        state.taken_in(&offsets(&[(0, 6)]), 1);
        assert_eq!(state.idleness(50, 1_070), [(0, true), (1, true)]);
        assert!(state.has_caught_up);
        // Of one there is no answer any more.
        state.set_ends(&offsets(&[]), &offsets(&[(1, 9)]), 1_061 + END_KNOWN_FOR_US);
        assert_eq!(state.idleness(50, 1_061 + END_KNOWN_FOR_US), [(0, false), (1, true)]);
    }
}
