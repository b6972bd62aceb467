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

#[derive(Debug, Clone, Default)]
struct Partition {
    newest_used_us: Option<i64>,
    /// Event times of used events by primary key, as far back as a repeat could still be a duplicate.
    times_by_key: HashMap<Box<[u8]>, Vec<i64>>,
    keys_by_time: BTreeSet<(i64, Box<[u8]>)>,
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
        self.keys_by_time.insert((time_us, primary_key.into()));
    }

    /// Forgets keys whose event time lies behind the watermark by more than the horizon.
    fn forget(&mut self, behind_newest_us: i64) {
        let Some(newest_us) = self.newest_used_us else { return };
        let oldest_us = newest_us.saturating_sub(behind_newest_us);
        while self.keys_by_time.first().is_some_and(|(time_us, _)| *time_us < oldest_us) {
            let Some((time_us, key)) = self.keys_by_time.pop_first() else { return };
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
