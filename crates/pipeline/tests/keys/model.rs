//! What deduplication is: every used event is looked at, and nothing is forgotten but by the rule.

use std::collections::HashMap;

pub(crate) const SECOND_US: i64 = 1_000_000;
pub(crate) const LATENESS_US: i64 = 10 * SECOND_US;
pub(crate) const HORIZON_US: i64 = 20 * SECOND_US;

/// One event: its primary key and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) time_us: i64,
}

/// Counts of verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) used: u64,
    pub(crate) duplicate: u64,
    pub(crate) late: u64,
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.used + self.duplicate + self.late
    }
}

/// Remembers everything.
#[derive(Debug, Default)]
pub(crate) struct Model {
    used: HashMap<i64, Vec<i64>>,
    newest_us: Option<i64>,
    pub(crate) counts: Counts,
}

impl Model {
    /// Judges events one after the other. Gives the counts of these alone.
    pub(crate) fn judge(&mut self, events: &[Event]) -> Counts {
        let mut counts = Counts::default();
        for event in events {
            let watermark_us = self.newest_us.map_or(i64::MIN, |newest_us| newest_us - LATENESS_US);
            let counts_still = |used_us: &&i64| **used_us >= watermark_us.saturating_sub(HORIZON_US);
            let times = self.used.entry(event.id).or_default();
            if times.iter().filter(counts_still).any(|used_us| (used_us - event.time_us).abs() <= HORIZON_US) {
                counts.duplicate += 1;
            } else if event.time_us < watermark_us {
                counts.late += 1;
            } else {
                counts.used += 1;
                times.push(event.time_us);
                self.newest_us = self.newest_us.max(Some(event.time_us));
            }
        }
        self.counts.used += counts.used;
        self.counts.duplicate += counts.duplicate;
        self.counts.late += counts.late;
        counts
    }
}
