//! What must be true: the simplest judge, the simplest features, and what was promised.
//!
//! ```text
//!   acknowledged batch ─▶ judged here too ─▶ used events, letters, counts ─▶ what reads and pages must show
//!   start ─▶ what the log has ─▶ must hold all of it, and is gone on from
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use asof_pipeline::Receipt;

use crate::batch::Batch;
use crate::event::{Event, Fault};
use crate::project::{
    AHEAD_MAX_US, BEATS, HORIZON_US, HOUR_US, IDLE_US, LATELY_US, LATENESS_US, PAYMENTS, RETENTION_US, SESSIONS,
    STREAMS, Variant, range_us, shape,
};
use crate::windows::{Shape, Windows};

/// A violation of a promise, in words.
pub(crate) type Checked<T> = Result<T, String>;

/// A used event and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) offset: u64,
    pub(crate) event: Event,
    /// When it arrived: exactly known once it was read from the log. A clock that goes back leaves some doubt before.
    pub(crate) arrived_us: RangeInclusive<i64>,
}

/// A dead letter: whose, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) serial: i64,
    pub(crate) reason: String,
}

/// What is known of one stream.
#[derive(Debug, Default, Clone)]
pub(crate) struct StreamModel {
    /// Used events, as reads have seen them.
    pub(crate) used: Vec<Used>,
    /// The offset behind what reads have seen.
    pub(crate) next_offset: u64,
    /// Serials of used events that another writer has acknowledged.
    pub(crate) promised: BTreeSet<i64>,
    /// Named batches that were acknowledged, with what became of them.
    pub(crate) named: BTreeMap<String, [u64; 4]>,
    /// Serials of events that may be in the log though nobody was told.
    pub(crate) unsure: BTreeSet<i64>,
    /// Rows that were set aside, by offset: refused by the stream, or used and without a value in a view.
    pub(crate) letters: BTreeMap<u64, Letter>,
    pub(crate) watermark_us: Option<i64>,
    /// The greatest that reads have ever seen: so far old events may be gone.
    pub(crate) watermark_highest_us: Option<i64>,
    /// When arrivals last came, or the present life began.
    last_arrival_us: i64,
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
    /// Takes in a batch that was acknowledged in a group that arrived at `group_us`, and compares what its producer was told.
    pub(crate) fn acknowledge(
        &mut self,
        batch: &Batch,
        group_us: &RangeInclusive<i64>,
        receipt: &Receipt,
    ) -> Checked<()> {
        let (mut expected, mut refused) = ([0; 4], Vec::new());
        for (row, event) in batch.events.iter().enumerate() {
            let offset = self.next_offset + row as u64;
            let arrived = |now_us: &i64| batch.arriving.arrived_us(row, event, *now_us);
            let arrived_us = arrived(group_us.start())..=arrived(group_us.end());
            let (place, reason) = self.judge(batch, event, *arrived_us.end());
            expected[place] += 1;
            if place == 0 {
                self.take(Used { offset, event: event.clone(), arrived_us });
            } else if place >= 2 {
                refused.push((row as u64, reason.to_owned()));
            }
            if let Some(reason) = letter_of(batch.stream, event, place, reason) {
                self.letters.insert(offset, Letter { serial: event.serial, reason: reason.to_owned() });
            }
        }
        self.next_offset += batch.events.len() as u64;
        if expected[0] > 0 {
            self.last_arrival_us = *group_us.end();
        }
        self.watermark_us = self.watermark_us.max(self.watermark_of_used(batch.stream));
        let told: Vec<(u64, String)> = receipt.refused.iter().map(|row| (row.row, row.reason.clone())).collect();
        if counts(receipt) != expected || told != refused {
            return Err(format!("a batch was answered {receipt:?}, expected {expected:?} with {refused:?}: {batch:?}"));
        }
        if let Some(name) = &batch.name {
            self.named.insert(name.clone(), expected);
        }
        Ok(())
    }

    fn judge(&self, batch: &Batch, event: &Event, arrived_us: i64) -> (usize, &'static str) {
        let watermark_us = self.watermark_of_used(batch.stream);
        match event.fault {
            Fault::Unreadable => (3, "unreadable"),
            Fault::NotNull => (3, "not_null"),
            Fault::Check => (3, "check"),
            Fault::None | Fault::Future if event.time_us > arrived_us + AHEAD_MAX_US => (3, "future"),
            _ if batch.stream == PAYMENTS && self.serials.contains(&event.serial) => (1, "duplicate"),
            _ if Some(event.time_us) < watermark_us && batch.arriving.can_be_late() => (2, "late"),
            Fault::None | Fault::Future => (0, ""),
        }
    }

    /// The watermark by which events are judged; an idle stream's own goes on.
    pub(crate) fn watermark_of_used(&self, stream: usize) -> Option<i64> {
        self.newest_us.map(|newest_us| newest_us - LATENESS_US[stream])
    }

    /// Before this instant no event comes that may not be late, and no read stands.
    fn sessions_from_us(&self, stream: usize) -> Option<i64> {
        Some(self.watermark_of_used(stream)?.min(self.watermark_us? - HORIZON_US))
    }

    /// An idle stream's watermark follows the clock.
    pub(crate) fn follow_clock(&mut self, stream: usize, now_us: i64) {
        if self.last_arrival_us + IDLE_US <= now_us {
            self.watermark_us = self.watermark_us.max(Some(now_us - LATENESS_US[stream]));
        }
    }

    fn take(&mut self, used: Used) {
        self.newest_us = self.newest_us.max(Some(used.event.time_us));
        self.serials.insert(used.event.serial);
        self.used.push(used);
    }

    /// Goes on from what a log holds at a start: `stored` are its used events of `offsets`.
    pub(crate) fn recover(&mut self, stored: Vec<Used>, offsets: Range<u64>, now_us: i64) {
        let mut used = std::mem::take(&mut self.used);
        used.retain(|one| one.offset < offsets.start);
        used.extend(stored);
        self.serials.clear();
        self.newest_us = None;
        used.into_iter().for_each(|one| self.take(one));
        self.next_offset = offsets.end;
        self.last_arrival_us = now_us;
    }

    /// Whether an event may have gone with an old segment.
    pub(crate) fn may_be_dropped(&self, event: &Event) -> bool {
        self.watermark_highest_us.is_some_and(|watermark_us| event.time_us < watermark_us - RETENTION_US)
    }

    fn of_entity(&self, entity: i64, from_us: i64, to_us: i64) -> Vec<&Event> {
        let is_in = |event: &&Event| event.entity == entity && (from_us..=to_us).contains(&event.time_us);
        let mut events: Vec<&Event> = self.used.iter().map(|one| &one.event).filter(is_in).collect();
        events.sort_by_key(|event| (event.time_us, event.serial));
        events
    }
}

/// Why a row is set aside, if it is: refused by its stream, or used and divided by in the view `shares`.
fn letter_of(stream: usize, event: &Event, place: usize, reason: &'static str) -> Option<&'static str> {
    match place {
        0 if stream == PAYMENTS && event.amount == 0 => Some("set_aside"),
        0 | 1 => None,
        _ => Some(reason),
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
            6 => {
                let all = [payments, clicks].map(|stream| stream.of_entity(entity, i64::MIN, as_of_us)).concat();
                lifetime(&all)
            }
            7 => {
                let from_us = as_of_us - LATELY_US;
                let other = if variant.moves_beats { beats } else { clicks };
                let range = [payments, other].map(|stream| stream.of_entity(entity, from_us, as_of_us)).concat();
                vec![range.len().to_string(), sum(&range)]
            }
            5 => {
                let range = beats.of_entity(entity, as_of_us - range_us("pulse", variant), as_of_us);
                vec![range.len().to_string(), sum(&range)]
            }
            8 => grouped(shape("minutes", variant), payments.of_entity(entity, i64::MIN, as_of_us), as_of_us),
            9 => {
                let mut both = grouped(shape("hops", variant), beats.of_entity(entity, i64::MIN, as_of_us), as_of_us);
                both.truncate(2);
                both
            }
            10 => grouped(shape("so_far", variant), clicks.of_entity(entity, i64::MIN, as_of_us), as_of_us),
            11 => grouped(shape("visits", variant), clicks.of_entity(entity, i64::MIN, as_of_us), as_of_us),
            _ => {
                let mut all = [payments, clicks].map(|stream| stream.of_entity(entity, i64::MIN, as_of_us)).concat();
                all.sort_by_key(|event| event.time_us);
                grouped(shape("trips", variant), all, as_of_us)
            }
        }
    }

    /// The event time before which a history of a stream comes too late for sessions, and the view that says so.
    pub(crate) fn reach(&self, stream: usize, variant: Variant) -> Option<(i64, &'static str)> {
        let own = SESSIONS.iter().filter(|(_, streams)| variant.has_sessions && streams.contains(&stream));
        let reach = |(view, streams): &(&'static str, &[usize])| {
            let from = streams.iter().map(|stream| self.streams[*stream].sessions_from_us(*stream));
            Some((from.collect::<Option<Vec<i64>>>()?.into_iter().min()?, *view))
        };
        own.filter_map(reach).max()
    }

    /// What a power cut may take: promises of a stream that is acknowledged before it is durable.
    pub(crate) fn power_cut(&mut self) {
        let beats = &mut self.streams[BEATS];
        beats.promised.clear();
        beats.letters.clear();
        beats.unsure.extend(beats.used.iter().map(|one| one.event.serial));
        beats.named.clear();
    }
}

/// Count and sum of the open window and of the one that closed last.
fn grouped(shape: Shape, events: Vec<&Event>, as_of_us: i64) -> Vec<String> {
    let Windows { open, last_closed } = shape.windows(&events, as_of_us);
    let last_events = last_closed.as_ref().map(|events| events.len() as i64);
    vec![open.len().to_string(), sum(&open), text(last_events), sum(&last_closed.unwrap_or_default())]
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
