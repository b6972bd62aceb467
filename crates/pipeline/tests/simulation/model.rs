//! What must be true: the simplest judge, the simplest features, and what was promised.

use std::collections::{BTreeMap, BTreeSet};

use asof_pipeline::Receipt;

use crate::producers::{Batch, Event, Fault};
use crate::project::{AHEAD_MAX_US, BEATS, HOUR_US, LATENESS_US, PAYMENTS, RETENTION_US, STREAMS, Variant, range_us};

/// A violation of a promise, in words.
pub(crate) type Checked<T> = Result<T, String>;

/// What is known of one stream.
#[derive(Debug, Default, Clone)]
pub(crate) struct StreamModel {
    /// Used events with their offsets, as reads have seen them.
    pub(crate) used: Vec<(u64, Event)>,
    /// The offset behind what reads have seen.
    pub(crate) next_offset: u64,
    /// Serials of used events that another writer has acknowledged.
    pub(crate) promised: BTreeSet<i64>,
    /// Named batches that were acknowledged, with what became of them.
    pub(crate) named: BTreeMap<String, [u64; 4]>,
    /// Serials of events that may be in the log though nobody was told.
    pub(crate) unsure: BTreeSet<i64>,
    /// Refused rows that were acknowledged: line and reason.
    pub(crate) letters: BTreeMap<(String, String), u64>,
    newest_us: Option<i64>,
    serials: BTreeSet<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) streams: [StreamModel; STREAMS],
}

/// Used, duplicates, late, rejected.
pub(crate) fn counts(receipt: &Receipt) -> [u64; 4] {
    [receipt.accepted, receipt.duplicates, receipt.late, receipt.rejected]
}

impl StreamModel {
    /// Takes in a batch that was acknowledged as arrived at `arrived_us`, and compares what its producer was told.
    pub(crate) fn acknowledge(&mut self, batch: &Batch, arrived_us: i64, receipt: &Receipt) -> Checked<()> {
        let (mut expected, mut refused) = ([0; 4], Vec::new());
        for (row, event) in batch.events.iter().enumerate() {
            let offset = self.next_offset + row as u64;
            let (place, reason) = self.judge(batch.stream, event, arrived_us);
            expected[place] += 1;
            if place == 0 {
                self.take(offset, event.clone());
            } else if place >= 2 {
                refused.push((row as u64, reason.to_owned()));
                *self.letters.entry((event.line(), reason.to_owned())).or_default() += 1;
            }
        }
        self.next_offset += batch.events.len() as u64;
        let told: Vec<(u64, String)> = receipt.refused.iter().map(|row| (row.row, row.reason.clone())).collect();
        if counts(receipt) != expected || told != refused {
            return Err(format!("a batch was answered {receipt:?}, expected {expected:?} with {refused:?}: {batch:?}"));
        }
        if let Some(name) = &batch.name {
            self.named.insert(name.clone(), expected);
        }
        Ok(())
    }

    fn judge(&self, stream: usize, event: &Event, arrived_us: i64) -> (usize, &'static str) {
        let watermark_us = self.newest_us.map_or(i64::MIN, |newest_us| newest_us - LATENESS_US[stream]);
        match event.fault {
            Fault::Unreadable => (3, "unreadable"),
            Fault::NotNull => (3, "not_null"),
            Fault::Check => (3, "check"),
            Fault::None | Fault::Future if event.time_us > arrived_us + AHEAD_MAX_US => (3, "future"),
            _ if stream == PAYMENTS && self.serials.contains(&event.serial) => (1, "duplicate"),
            _ if event.time_us < watermark_us => (2, "late"),
            Fault::None | Fault::Future => (0, ""),
        }
    }

    fn take(&mut self, offset: u64, event: Event) {
        self.newest_us = self.newest_us.max(Some(event.time_us));
        self.serials.insert(event.serial);
        self.used.push((offset, event));
    }

    /// Goes on from what a log holds: `stored` are its used events, from `first_offset` up to `next_offset`.
    pub(crate) fn recover(&mut self, stored: Vec<(u64, Event)>, offsets: std::ops::Range<u64>) {
        let mut used = std::mem::take(&mut self.used);
        used.retain(|(offset, _)| *offset < offsets.start);
        used.extend(stored);
        self.serials.clear();
        self.newest_us = None;
        used.into_iter().for_each(|(offset, event)| self.take(offset, event));
        self.next_offset = offsets.end;
    }

    /// Whether an event may have gone with an old segment.
    pub(crate) fn may_be_dropped(&self, event: &Event) -> bool {
        self.newest_us.is_some_and(|newest_us| event.time_us < newest_us - RETENTION_US)
    }

    fn of_entity(&self, entity: i64, from_us: i64, to_us: i64) -> Vec<&Event> {
        let is_in = |event: &&Event| event.entity == entity && (from_us..=to_us).contains(&event.time_us);
        let mut events: Vec<&Event> = self.used.iter().map(|(_, event)| event).filter(is_in).collect();
        events.sort_by_key(|event| (event.time_us, event.serial));
        events
    }
}

impl Model {
    /// The first features of a view of an entity as of an instant, as text; the rest is compared elsewhere.
    pub(crate) fn features(&self, view: usize, variant: Variant, entity: i64, as_of_us: i64) -> Vec<String> {
        let [payments, clicks, beats] = &self.streams;
        match view {
            0 => lifetime(&payments.of_entity(entity, i64::MIN, as_of_us)),
            1 => {
                let range = payments.of_entity(entity, as_of_us - range_us("recent", variant), as_of_us);
                let all = payments.of_entity(entity, i64::MIN, as_of_us);
                let last = &all[all.len().saturating_sub(3)..];
                vec![range.len().to_string(), sum(&range), sum(last)]
            }
            2 => {
                let all = payments.of_entity(entity, i64::MIN, as_of_us);
                let shares: Vec<i64> = all.iter().filter(|one| one.amount > 0).map(|one| 100 / one.amount).collect();
                vec![text((!shares.is_empty()).then(|| shares.iter().sum()))]
            }
            3 => {
                let hour = payments.of_entity(entity, as_of_us / HOUR_US * HOUR_US, as_of_us);
                vec![hour.len().to_string(), text(hour.iter().map(|event| event.amount).min())]
            }
            4 => lifetime(&clicks.of_entity(entity, i64::MIN, as_of_us)),
            _ => {
                let range = beats.of_entity(entity, as_of_us - range_us("pulse", variant), as_of_us);
                vec![range.len().to_string(), sum(&range)]
            }
        }
    }

    /// What a power cut may take: promises of a stream that is acknowledged before it is durable.
    pub(crate) fn power_cut(&mut self) {
        let beats = &mut self.streams[BEATS];
        beats.promised.clear();
        beats.letters.clear();
        beats.unsure.extend(beats.used.iter().map(|(_, event)| event.serial));
        beats.named.clear();
    }
}

fn lifetime(events: &[&Event]) -> Vec<String> {
    vec![events.len().to_string(), sum(events), text(events.iter().map(|event| event.serial).max())]
}

fn sum(events: &[&Event]) -> String {
    text((!events.is_empty()).then(|| events.iter().map(|event| event.amount).sum()))
}

fn text(value: Option<i64>) -> String {
    value.map_or("NULL".to_owned(), |value| value.to_string())
}
