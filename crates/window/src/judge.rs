//! Judgement of arrivals: each event is used, duplicate, late or rejected, once and for ever.
//!
//! The verdict depends on the earlier arrivals of the event's own partition and on nothing else, so a replay decides the
//! same. Always `in = rejected + duplicate + late + used` ([`Accounting`]).
//!
//! What the judge remembers is a function of the used events alone, so that it can be had back without judging anew:
//! [`Judge::recall`] takes a used event from a log. Keys that no longer fit in memory leave it
//! ([`Judge::detach_keys`]); whoever keeps them tells of them with each arrival ([`Arrival::used_before_us`]).
//!
//! ```text
//!   unreadable → not_null → check → future     rejected: leaves no key, moves no watermark
//!        └▶ same key as a used event, at most the horizon away     duplicate
//!             └▶ event time < watermark of the partition           late        (equal is not)
//!                  └▶ used: moves the watermark, leaves its key
//! ```

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::detached_keys::DetachedKeys;
use crate::key_hash::KeyHash;
use crate::used_keys::UsedKeys;

/// Why an event is rejected, in the order of judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// A value is not of its column's type, or the event cannot be parsed.
    Unreadable,
    /// A NOT NULL column is NULL.
    NotNull,
    /// A CHECK is false or failed to evaluate.
    Check,
    /// The event time lies further beyond the arrival than allowed.
    Future,
}

impl Rejection {
    /// The word that dead letters and counters use.
    pub fn name(self) -> &'static str {
        match self {
            Rejection::Unreadable => "unreadable",
            Rejection::NotNull => "not_null",
            Rejection::Check => "check",
            Rejection::Future => "future",
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Used,
    /// The primary key was used before.
    Duplicate,
    /// It came after its partition's watermark had passed it.
    Late,
    /// It breaks a rule of its stream.
    Rejected(Rejection),
}

/// A stream's rules, as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Allowed lateness: the watermark trails the greatest event time by this, in microseconds.
    pub lateness_us: i64,
    /// How far event time may lie beyond arrival; `None` for files, whose arrivals are not clocks.
    pub ahead_max_us: Option<i64>,
    /// How far apart two events of one primary key are still the same event; `None` without an enforced key.
    pub dedup_horizon_us: Option<i64>,
}

/// What the judge is told of an arrival.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Why it is rejected on its face: unreadable, not_null or check.
    pub rejection: Option<Rejection>,
    /// Event time in microseconds; means nothing if rejected.
    pub time_us: i64,
    /// Arrival time in microseconds.
    pub arrived_us: i64,
    /// Whether it can be late.
    pub lateness: Lateness,
    /// The primary key; `None` if there is none.
    pub primary_key: Option<KeyHash>,
    /// Times of used events of that key that were moved out of the judge's memory.
    pub used_before_us: &'a [i64],
}

/// Whether an event that is behind the watermark is late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lateness {
    /// It is.
    #[default]
    Applied,
    /// It is not: a history that is loaded, or dead letters that are taken in again, are known to be old.
    Waived,
}

/// Counts of verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Rejected as unreadable.
    pub unreadable: u64,
    /// Rejected as not_null.
    pub not_null: u64,
    /// Rejected by a CHECK.
    pub check: u64,
    /// Rejected as too far ahead of arrival.
    pub future: u64,
    /// Repeats of used events.
    pub duplicate: u64,
    /// Behind the watermark.
    pub late: u64,
    /// Used.
    pub used: u64,
}

impl Accounting {
    /// Counts one verdict.
    pub fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Used => &mut self.used,
            Verdict::Duplicate => &mut self.duplicate,
            Verdict::Late => &mut self.late,
            Verdict::Rejected(Rejection::Unreadable) => &mut self.unreadable,
            Verdict::Rejected(Rejection::NotNull) => &mut self.not_null,
            Verdict::Rejected(Rejection::Check) => &mut self.check,
            Verdict::Rejected(Rejection::Future) => &mut self.future,
        } += 1;
    }

    /// All rejected.
    pub fn rejected(&self) -> u64 {
        self.unreadable + self.not_null + self.check + self.future
    }

    /// All that came in: rejected + duplicate + late + used.
    pub fn total(&self) -> u64 {
        self.rejected() + self.duplicate + self.late + self.used
    }

    /// The counts of both.
    pub fn plus(&self, other: &Accounting) -> Accounting {
        Accounting {
            unreadable: self.unreadable + other.unreadable,
            not_null: self.not_null + other.not_null,
            check: self.check + other.check,
            future: self.future + other.future,
            duplicate: self.duplicate + other.duplicate,
            late: self.late + other.late,
            used: self.used + other.used,
        }
    }
}

/// The judge of one stream's arrivals.
#[derive(Debug, Clone)]
pub struct Judge {
    rules: Rules,
    partitions: HashMap<u32, Partition, FixedState>,
}

#[derive(Debug, Clone, Default)]
struct Partition {
    newest_used_us: Option<i64>,
    /// Empty without an enforced key.
    keys: UsedKeys,
}

impl Rules {
    /// The watermark of a partition whose newest used event is at `newest_us`.
    fn watermark_us(&self, newest_us: i64) -> i64 {
        newest_us.saturating_sub(self.lateness_us)
    }

    /// The oldest used event of a partition that a repeat is still a duplicate of; `None` without an enforced key.
    fn keys_needed_from_us(&self, newest_us: Option<i64>) -> Option<i64> {
        let behind_newest_us = self.lateness_us.saturating_add(self.dedup_horizon_us?);
        Some(newest_us.map_or(i64::MIN, |newest_us| newest_us.saturating_sub(behind_newest_us)))
    }
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(rules: Rules) -> Judge {
        Judge { rules, partitions: HashMap::default() }
    }

    /// Judges the next arrival of a partition.
    pub fn judge(&mut self, partition: u32, arrival: Arrival<'_>) -> Verdict {
        if let Some(rejection) = arrival.rejection {
            return Verdict::Rejected(rejection);
        }
        let ahead_us = arrival.time_us.saturating_sub(arrival.arrived_us);
        if self.rules.ahead_max_us.is_some_and(|ahead_max_us| ahead_us > ahead_max_us) {
            return Verdict::Rejected(Rejection::Future);
        }
        let state = self.partitions.entry(partition).or_default();
        if state.has_used(&self.rules, &arrival) {
            return Verdict::Duplicate;
        }
        let watermark_us = state.newest_used_us.map(|newest_us| self.rules.watermark_us(newest_us));
        let is_behind = watermark_us.is_some_and(|watermark_us| arrival.time_us < watermark_us);
        if is_behind && arrival.lateness == Lateness::Applied {
            return Verdict::Late;
        }
        state.take_note(&self.rules, arrival.time_us, arrival.primary_key);
        Verdict::Used
    }

    /// Takes note of a used event of a partition, as judging it did: the events of a log in their order leave the judge as
    /// it was.
    pub fn recall(&mut self, partition: u32, time_us: i64, primary_key: Option<KeyHash>) {
        self.partitions.entry(partition).or_default().take_note(&self.rules, time_us, primary_key);
    }

    /// Number of used keys in memory.
    pub fn keys(&self) -> usize {
        self.partitions.values().map(|partition| partition.keys.len()).sum()
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let keys = self.partitions.values().map(|partition| partition.keys.memory_bytes());
        self.partitions.allocation_size() + keys.sum::<usize>()
    }

    /// Moves the keys of all partitions out, at once: the judge knows none of them any more. Keys of different partitions are
    /// told apart by their hashes ([`KeyHash::at`]).
    pub fn detach_keys(&mut self) -> DetachedKeys {
        let keys = self.partitions.values_mut().map(|partition| std::mem::take(&mut partition.keys));
        DetachedKeys::new(keys.filter(|keys| keys.len() > 0).collect())
    }

    /// The keys of a partition that are in memory and still needed, by hash and time.
    pub fn live_keys(&self, partition: u32) -> Vec<(KeyHash, i64)> {
        let needed_from_us = self.keys_needed_from_us(partition).unwrap_or(i64::MIN);
        let partition = self.partitions.get(&partition);
        partition.into_iter().flat_map(|partition| partition.keys.in_order(needed_from_us)).collect()
    }

    /// The greatest event time used in a partition, in microseconds.
    pub fn newest_used_us(&self, partition: u32) -> Option<i64> {
        self.partitions.get(&partition)?.newest_used_us
    }

    /// Sets the greatest event time used in a partition, in microseconds; a smaller one than it has changes nothing.
    pub fn set_newest_used(&mut self, partition: u32, newest_us: i64) {
        let state = self.partitions.entry(partition).or_default();
        state.newest_used_us = state.newest_used_us.max(Some(newest_us));
    }

    /// Keys of older used events of a partition, in microseconds, are forgotten. `None` where no key is remembered or no
    /// event was used yet.
    fn keys_needed_from_us(&self, partition: u32) -> Option<i64> {
        self.rules.keys_needed_from_us(Some(self.newest_used_us(partition)?))
    }

    /// Keys of older used events, in microseconds, are forgotten in every partition. `None` where no key is remembered or no
    /// event was used yet.
    pub fn all_keys_needed_from_us(&self) -> Option<i64> {
        let needed = self.partitions().filter_map(|(partition, _)| self.keys_needed_from_us(partition));
        needed.min()
    }

    /// The partitions that had arrivals, in no order, and the greatest event time used in each, in microseconds.
    pub fn partitions(&self) -> impl Iterator<Item = (u32, Option<i64>)> {
        self.partitions.iter().map(|(partition, state)| (*partition, state.newest_used_us))
    }

    /// The partition's watermark: its greatest used event time minus the allowed lateness.
    pub fn watermark_us(&self, partition: u32) -> Option<i64> {
        Some(self.rules.watermark_us(self.newest_used_us(partition)?))
    }
}

impl Partition {
    /// Whether an event of the arrival's key was used at most the horizon away. One that lies behind the watermark by more
    /// than the horizon does not count, whether it is still held or not.
    fn has_used(&self, rules: &Rules, arrival: &Arrival<'_>) -> bool {
        let needed_from_us = rules.keys_needed_from_us(self.newest_used_us);
        let (Some(key), Some(horizon_us), Some(needed_from_us)) =
            (arrival.primary_key, rules.dedup_horizon_us, needed_from_us)
        else {
            return false;
        };
        let counts = |used_us| used_us >= needed_from_us && is_repeat(used_us, arrival.time_us, horizon_us);
        arrival.used_before_us.iter().any(|used_us| counts(*used_us)) || self.keys.holds(key, counts)
    }

    fn take_note(&mut self, rules: &Rules, time_us: i64, primary_key: Option<KeyHash>) {
        self.newest_used_us = self.newest_used_us.max(Some(time_us));
        let needed_from_us = rules.keys_needed_from_us(self.newest_used_us);
        if let (Some(key), Some(needed_from_us)) = (primary_key, needed_from_us)
            && time_us >= needed_from_us
            && !self.keys.holds(key, |used_us| used_us == time_us)
        {
            self.keys.remember(key, time_us, needed_from_us);
        }
    }
}

/// Whether an event is a repeat of a used one with the same primary key: at most the horizon apart, either way.
pub fn is_repeat(used_us: i64, time_us: i64, horizon_us: i64) -> bool {
    used_us.abs_diff(time_us) <= horizon_us.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash::KeyHasher;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    struct Arrived {
        partition: u32,
        rejection: Option<Rejection>,
        time_us: i64,
        arrived_us: i64,
        lateness: Lateness,
        primary_key: Vec<u8>,
    }

    impl Arrived {
        fn told<'a>(&self, used_before_us: &'a [i64]) -> Arrival<'a> {
            Arrival {
                rejection: self.rejection,
                time_us: self.time_us,
                arrived_us: self.arrived_us,
                lateness: self.lateness,
                primary_key: self.key(),
                used_before_us,
            }
        }

        fn key(&self) -> Option<KeyHash> {
            Some(KeyHasher::FIXED.hash(&self.primary_key).at(self.partition))
        }
    }

    /// The rule as it is written down: looks at every earlier used event of the partition, forgets nothing but by rule.
    fn verdicts(rules: Rules, arrivals: &[Arrived]) -> Vec<Verdict> {
        let mut used = Vec::<&Arrived>::new();
        let mut verdicts = Vec::new();
        for arrival in arrivals {
            let verdict = model(rules, &used, arrival);
            if verdict == Verdict::Used {
                used.push(arrival);
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    fn model(rules: Rules, used: &[&Arrived], arrival: &Arrived) -> Verdict {
        if let Some(rejection) = arrival.rejection {
            return Verdict::Rejected(rejection);
        }
        if rules.ahead_max_us.is_some_and(|ahead_max_us| arrival.time_us > arrival.arrived_us + ahead_max_us) {
            return Verdict::Rejected(Rejection::Future);
        }
        let own = || used.iter().filter(|other| other.partition == arrival.partition);
        let newest_us = own().map(|other| other.time_us).max().unwrap_or(arrival.time_us);
        let watermark_us = newest_us - rules.lateness_us;
        if let Some(horizon_us) = rules.dedup_horizon_us {
            let mut kept = own().filter(|other| other.time_us >= watermark_us - horizon_us);
            let near = |other: &Arrived| (other.time_us - arrival.time_us).abs() <= horizon_us;
            if kept.any(|other| other.primary_key == arrival.primary_key && near(other)) {
                return Verdict::Duplicate;
            }
        }
        let is_late = arrival.time_us < watermark_us && arrival.lateness == Lateness::Applied;
        if is_late { Verdict::Late } else { Verdict::Used }
    }

    fn arrived() -> impl Strategy<Value = Arrived> {
        let rejections = vec![Rejection::Unreadable, Rejection::NotNull, Rejection::Check];
        let rejection = prop::option::weighted(0.1, prop::sample::select(rejections));
        let lateness = prop_oneof![9 => Just(Lateness::Applied), 1 => Just(Lateness::Waived)];
        (0..3u32, rejection, 0..80i64, -10..10i64, lateness, 0..8u8).prop_map(
            |(partition, rejection, time_us, ahead_us, lateness, key)| Arrived {
                partition,
                rejection,
                time_us,
                arrived_us: time_us - ahead_us,
                lateness,
                primary_key: vec![key; 3],
            },
        )
    }

    /// What befalls a judge between two arrivals.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Between {
        Nothing,
        /// The keys of a partition leave the judge.
        Detach,
        /// The judge ends, and another recalls the used events from the log.
        RecallAll,
        /// The judge ends, and another gets its keys and times as a checkpoint keeps them.
        Restore,
    }

    fn between() -> impl Strategy<Value = Between> {
        prop_oneof![
            12 => Just(Between::Nothing),
            2 => Just(Between::Detach),
            1 => Just(Between::RecallAll),
            1 => Just(Between::Restore),
        ]
    }

    /// A judge and what is kept outside of it.
    struct Kept {
        judge: Judge,
        rules: Rules,
        /// The used events, as a log has them.
        log: Vec<(u32, i64, Option<KeyHash>)>,
        /// Keys moved out of memory.
        outside: Vec<(KeyHash, i64)>,
    }

    impl Kept {
        fn judge(&mut self, arrived: &Arrived) -> Verdict {
            let own = |(key, _): &&(KeyHash, i64)| Some(*key) == arrived.key();
            let used_before_us: Vec<i64> = self.outside.iter().filter(own).map(|(_, time_us)| *time_us).collect();
            let verdict = self.judge.judge(arrived.partition, arrived.told(&used_before_us));
            if verdict == Verdict::Used {
                self.log.push((arrived.partition, arrived.time_us, arrived.key()));
            }
            verdict
        }

        fn befall(&mut self, between: Between) -> Result<(), TestCaseError> {
            match between {
                Between::Nothing => {}
                Between::Detach => {
                    let live = |judge: &Judge| -> Vec<(KeyHash, i64)> {
                        let mut live: Vec<_> = (0..3).flat_map(|partition| judge.live_keys(partition)).collect();
                        live.sort_unstable();
                        live
                    };
                    let before = live(&self.judge);
                    let needed_from_us = self.judge.all_keys_needed_from_us().unwrap_or(i64::MIN);
                    let detached = self.judge.detach_keys();
                    let taken: Vec<(KeyHash, i64)> = detached.in_order(needed_from_us).collect();
                    prop_assert!(taken.is_sorted());
                    prop_assert!(before.iter().all(|key| taken.contains(key)));
                    prop_assert!(live(&self.judge).is_empty());
                    for (key, time_us) in taken {
                        prop_assert!(detached.times_of(key).any(|used_us| used_us == time_us));
                        self.outside.push((key, time_us));
                    }
                }
                Between::RecallAll => {
                    self.judge = Judge::new(self.rules);
                    for (partition, time_us, key) in &self.log {
                        self.judge.recall(*partition, *time_us, *key);
                    }
                }
                Between::Restore => {
                    let mut next = Judge::new(self.rules);
                    for partition in 0..3 {
                        for (key, time_us) in self.judge.live_keys(partition) {
                            next.recall(partition, time_us, Some(key));
                        }
                        if let Some(newest_us) = self.judge.newest_used_us(partition) {
                            next.set_newest_used(partition, newest_us);
                        }
                        prop_assert_eq!(next.live_keys(partition), self.judge.live_keys(partition));
                    }
                    self.judge = next;
                }
            }
            Ok(())
        }
    }

    fn rules() -> impl Strategy<Value = Rules> {
        (0..40i64, prop::option::of(0..10i64), prop::option::of(0..40i64)).prop_map(
            |(lateness_us, ahead_max_us, dedup_horizon_us)| Rules { lateness_us, ahead_max_us, dedup_horizon_us },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn equals_the_written_rule(
            rules in rules(),
            steps in prop::collection::vec((between(), arrived()), 0..120),
        ) {
            let (befalls, arrivals): (Vec<Between>, Vec<Arrived>) = steps.into_iter().unzip();
            let mut kept = Kept { judge: Judge::new(rules), rules, log: Vec::new(), outside: Vec::new() };
            let mut accounting = Accounting::default();
            let expected = verdicts(rules, &arrivals);
            for ((between, arrival), expected) in befalls.into_iter().zip(&arrivals).zip(&expected) {
                kept.befall(between)?;
                let verdict = kept.judge(arrival);
                prop_assert_eq!(verdict, *expected, "{:?} under {:?}", arrival, rules);
                accounting.count(verdict);
            }
            let judge = kept.judge;
            prop_assert_eq!(accounting.total(), arrivals.len() as u64);
            for partition in 0..4 {
                let used = arrivals.iter().zip(&expected).filter(|(_, verdict)| **verdict == Verdict::Used);
                let newest_us = used.map(|(arrival, _)| arrival).filter(|arrival| arrival.partition == partition);
                let watermark_us = newest_us.map(|arrival| arrival.time_us - rules.lateness_us).max();
                prop_assert_eq!(judge.watermark_us(partition), watermark_us);
            }
        }

        #[test]
        fn partitions_do_not_see_each_other(rules in rules(), arrivals in prop::collection::vec(arrived(), 0..80)) {
            let mut together = Judge::new(rules);
            let mut alone = [Judge::new(rules), Judge::new(rules), Judge::new(rules)];
            for arrival in &arrivals {
                let verdict = together.judge(arrival.partition, arrival.told(&[]));
                prop_assert_eq!(verdict, alone[arrival.partition as usize].judge(0, arrival.told(&[])));
            }
        }
    }

    /// Judges arrivals written as `time key[@arrived]` in one partition and says what became of each.
    fn check(rules: Rules, arrivals: &str, expected: &str) {
        let mut judge = Judge::new(rules);
        let mut words = Vec::new();
        for arrival in arrivals.split(", ") {
            let (event, arrived) = arrival.split_once('@').unwrap_or((arrival, "0"));
            let (time, key) = event.split_once(' ').unwrap();
            let arrival = Arrival {
                rejection: None,
                time_us: time.parse().unwrap(),
                arrived_us: arrived.parse().unwrap(),
                lateness: Lateness::Applied,
                primary_key: Some(KeyHasher::FIXED.hash(key.as_bytes())),
                used_before_us: &[],
            };
            words.push(match judge.judge(0, arrival) {
                Verdict::Used => "used",
                Verdict::Duplicate => "duplicate",
                Verdict::Late => "late",
                Verdict::Rejected(rejection) => rejection.name(),
            });
        }
        assert_eq!(words.join(" "), expected, "{arrivals} under {rules:?}");
    }

    #[test]
    fn the_edges_of_each_rule() {
        let rules = |lateness_us, ahead_max_us, dedup_horizon_us| Rules { lateness_us, ahead_max_us, dedup_horizon_us };
        check(rules(10, None, None), "100 a, 90 b, 89 c, 100 a", "used used late used");
        check(rules(0, None, None), "5 a, 5 b, 4 c", "used used late");
        check(rules(0, Some(10), None), "110 a@100, 111 b@100, 105 c@100", "used future late");
        check(rules(100, None, Some(10)), "50 a, 60 a, 61 a, 40 a, 39 a", "used duplicate used duplicate used");
        check(rules(0, None, Some(0)), "5 a, 5 a, 6 a, 5 a", "used duplicate used late");
        // A key exactly the horizon behind the watermark is still known; one further it is forgotten, and late.
        check(rules(5, None, Some(10)), "0 a, 15 b, 0 a", "used used duplicate");
        check(rules(5, None, Some(10)), "0 a, 16 b, 0 a", "used used late");
        // A repeat of a late or rejected event is judged as if that had not been.
        check(rules(0, None, Some(99)), "9 a, 5 b, 9 b", "used late used");
        check(rules(0, Some(0), Some(99)), "9 a@8, 9 a@9, 9 a@9", "future used duplicate");
    }

    #[test]
    fn keys_are_counted_while_they_are_remembered() {
        let rules = Rules { lateness_us: 0, ahead_max_us: None, dedup_horizon_us: Some(10) };
        let mut judge = Judge::new(rules);
        assert_eq!((judge.keys(), judge.keys_needed_from_us(7)), (0, None));
        for time_us in 0..1_000 {
            judge.recall(7, time_us, Some(KeyHasher::FIXED.hash(&time_us.to_le_bytes())));
        }
        assert_eq!((judge.live_keys(7).len(), judge.keys_needed_from_us(7)), (11, Some(989)));
        // Once recalled, twice recalled: the log may be read again from before a checkpoint.
        judge.recall(7, 999, Some(KeyHasher::FIXED.hash(&999i64.to_le_bytes())));
        assert_eq!(judge.live_keys(7).len(), 11);
        let (held, held_bytes) = (judge.keys(), judge.memory_bytes());
        assert!((11..=1_000).contains(&held) && held_bytes >= held * 24, "{held} in {held_bytes}");
        let detached = judge.detach_keys();
        assert_eq!((detached.len(), detached.in_order(989).count()), (held, 11));
        assert!(!detached.is_empty() && detached.memory_bytes() >= held * 24);
        assert!(judge.keys() == 0 && judge.memory_bytes() < held_bytes - held * 24);
        assert_eq!((judge.newest_used_us(7), judge.newest_used_us(0)), (Some(999), None));
        assert!(Judge::new(Rules { dedup_horizon_us: None, ..rules }).detach_keys().is_empty());
    }

    #[test]
    fn nothing_is_late_where_lateness_is_waived() {
        let rules = Rules { lateness_us: 0, ahead_max_us: None, dedup_horizon_us: Some(10) };
        let mut judge = Judge::new(rules);
        let mut judge_one = |time_us, lateness, used_before_us: &[i64]| {
            let primary_key = Some(KeyHasher::FIXED.hash(b"a"));
            judge.judge(0, Arrival { rejection: None, time_us, arrived_us: 0, lateness, primary_key, used_before_us })
        };
        assert_eq!(judge_one(100, Lateness::Applied, &[]), Verdict::Used);
        assert_eq!(judge_one(80, Lateness::Applied, &[]), Verdict::Late);
        assert_eq!(judge_one(80, Lateness::Waived, &[]), Verdict::Used);
        // Behind the watermark by more than the horizon, a use does not count, here or elsewhere.
        assert_eq!(judge_one(80, Lateness::Waived, &[80, 89]), Verdict::Used);
        assert_eq!(judge_one(80, Lateness::Waived, &[90]), Verdict::Duplicate);
        assert_eq!(judge_one(95, Lateness::Waived, &[]), Verdict::Duplicate);
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let rules = Rules { lateness_us: i64::MAX, ahead_max_us: Some(i64::MAX), dedup_horizon_us: Some(i64::MAX) };
        let times = format!("{} a, {} b, 0 c, {} a@{}", i64::MIN, i64::MAX, i64::MAX, i64::MIN);
        check(rules, &times, "used used used used");
    }

    #[test]
    fn counts_add_up() {
        let rejections = [Rejection::Unreadable, Rejection::NotNull, Rejection::Check, Rejection::Future];
        let mut accounting = Accounting::default();
        for verdict in
            [Verdict::Used, Verdict::Duplicate, Verdict::Late].into_iter().chain(rejections.map(Verdict::Rejected))
        {
            accounting.count(verdict);
        }
        let twice = accounting.plus(&accounting);
        let two = 2;
        let expected = Accounting {
            unreadable: two,
            not_null: two,
            check: two,
            future: two,
            duplicate: two,
            late: two,
            used: two,
        };
        assert_eq!(twice, expected);
        assert_eq!((twice.rejected(), twice.total()), (8, 14));
    }
}
