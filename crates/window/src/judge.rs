//! Judgement of arrivals: each event is used, duplicate, late or rejected, once and for ever.
//!
//! The verdict depends on the earlier arrivals of the event's own partition and on nothing else, so a replay decides the
//! same. Always `in = rejected + duplicate + late + used` ([`Accounting`]).
//!
//! ```text
//!   unreadable → not_null → check → future     rejected: leaves no key, moves no watermark
//!        └▶ same key as a used event, at most the horizon away     duplicate
//!             └▶ event time < watermark of the partition           late        (equal is not)
//!                  └▶ used: moves the watermark, leaves its key
//! ```

use std::collections::{BTreeSet, HashMap};

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
    /// The encoded primary key; empty if there is none.
    pub primary_key: &'a [u8],
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
    partitions: HashMap<u32, Partition>,
}

/// What a remembered key takes beside its own bytes, which are there twice: two boxes, an entry of each table, a time.
const KEY_BYTES: usize = 160;

#[derive(Debug, Clone, Default)]
struct Partition {
    newest_used_us: Option<i64>,
    /// Event times of used events by primary key, as far back as a repeat could still be a duplicate.
    times_by_key: HashMap<Box<[u8]>, Vec<i64>>,
    keys_by_time: BTreeSet<(i64, Box<[u8]>)>,
    /// Of all keys in `keys_by_time`.
    key_bytes: usize,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(rules: Rules) -> Judge {
        Judge { rules, partitions: HashMap::new() }
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
        let lateness_us = self.rules.lateness_us;
        let state = self.partitions.entry(partition).or_default();
        let watermark_us = state.newest_used_us.map(|newest_us| newest_us.saturating_sub(lateness_us));
        if let Some(horizon_us) = self.rules.dedup_horizon_us
            && state.holds(arrival.primary_key, arrival.time_us, horizon_us)
        {
            return Verdict::Duplicate;
        }
        if watermark_us.is_some_and(|watermark_us| arrival.time_us < watermark_us) {
            return Verdict::Late;
        }
        state.newest_used_us = state.newest_used_us.max(Some(arrival.time_us));
        if let Some(horizon_us) = self.rules.dedup_horizon_us {
            state.remember(arrival.primary_key, arrival.time_us);
            state.forget(lateness_us.saturating_add(horizon_us));
        }
        Verdict::Used
    }

    /// Bytes of memory that remembered keys take, about.
    pub fn memory_bytes(&self) -> usize {
        let of = |partition: &Partition| partition.keys_by_time.len() * KEY_BYTES + 2 * partition.key_bytes;
        self.partitions.values().map(of).sum()
    }

    /// The partition's watermark: its greatest used event time minus the allowed lateness.
    pub fn watermark_us(&self, partition: u32) -> Option<i64> {
        let newest_us = self.partitions.get(&partition)?.newest_used_us?;
        Some(newest_us.saturating_sub(self.rules.lateness_us))
    }
}

impl Partition {
    fn holds(&self, primary_key: &[u8], time_us: i64, horizon_us: i64) -> bool {
        let times = self.times_by_key.get(primary_key);
        times.is_some_and(|times| times.iter().any(|used_us| is_repeat(*used_us, time_us, horizon_us)))
    }

    fn remember(&mut self, primary_key: &[u8], time_us: i64) {
        self.times_by_key.entry(primary_key.into()).or_default().push(time_us);
        if self.keys_by_time.insert((time_us, primary_key.into())) {
            self.key_bytes += primary_key.len();
        }
    }

    /// Forgets keys whose event time lies behind the watermark by more than the horizon.
    fn forget(&mut self, behind_newest_us: i64) {
        let Some(newest_us) = self.newest_used_us else { return };
        let oldest_us = newest_us.saturating_sub(behind_newest_us);
        while self.keys_by_time.first().is_some_and(|(time_us, _)| *time_us < oldest_us) {
            let Some((time_us, key)) = self.keys_by_time.pop_first() else { return };
            self.key_bytes -= key.len();
            if let Some(times) = self.times_by_key.get_mut(&key) {
                times.retain(|used_us| *used_us != time_us);
                if times.is_empty() {
                    self.times_by_key.remove(&key);
                }
            }
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
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    struct Arrived {
        partition: u32,
        rejection: Option<Rejection>,
        time_us: i64,
        arrived_us: i64,
        primary_key: Vec<u8>,
    }

    impl Arrived {
        fn told(&self) -> Arrival<'_> {
            Arrival {
                rejection: self.rejection,
                time_us: self.time_us,
                arrived_us: self.arrived_us,
                primary_key: &self.primary_key,
            }
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
        if arrival.time_us < watermark_us { Verdict::Late } else { Verdict::Used }
    }

    fn arrived() -> impl Strategy<Value = Arrived> {
        let rejections = vec![Rejection::Unreadable, Rejection::NotNull, Rejection::Check];
        let rejection = prop::option::weighted(0.1, prop::sample::select(rejections));
        (0..3u32, rejection, 0..80i64, -10..10i64, 0..8u8).prop_map(|(partition, rejection, time_us, ahead_us, key)| {
            Arrived { partition, rejection, time_us, arrived_us: time_us - ahead_us, primary_key: vec![key; 3] }
        })
    }

    fn rules() -> impl Strategy<Value = Rules> {
        (0..40i64, prop::option::of(0..10i64), prop::option::of(0..40i64)).prop_map(
            |(lateness_us, ahead_max_us, dedup_horizon_us)| Rules { lateness_us, ahead_max_us, dedup_horizon_us },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn equals_the_written_rule(rules in rules(), arrivals in prop::collection::vec(arrived(), 0..120)) {
            let mut judge = Judge::new(rules);
            let mut accounting = Accounting::default();
            let expected = verdicts(rules, &arrivals);
            for (arrival, expected) in arrivals.iter().zip(&expected) {
                let verdict = judge.judge(arrival.partition, arrival.told());
                prop_assert_eq!(verdict, *expected, "{:?} under {:?}", arrival, rules);
                accounting.count(verdict);
            }
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
                let verdict = together.judge(arrival.partition, arrival.told());
                prop_assert_eq!(verdict, alone[arrival.partition as usize].judge(0, arrival.told()));
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
                primary_key: key.as_bytes(),
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
        let mut judge = Judge::new(Rules { lateness_us: 0, ahead_max_us: None, dedup_horizon_us: Some(10) });
        for time_us in 0..1_000 {
            let key = time_us.to_string();
            judge.judge(0, Arrival { rejection: None, time_us, arrived_us: 0, primary_key: key.as_bytes() });
        }
        assert_eq!(judge.memory_bytes(), 11 * (KEY_BYTES + 2 * 3));
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
