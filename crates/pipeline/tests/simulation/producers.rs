//! Simulated producers: they make events, keep what is not acknowledged, and send it again.

use std::collections::{BTreeMap, BTreeSet};

use asof_connect::BodyForm;

use crate::batch::{Arriving, Batch};
use crate::chance::Chance;
use crate::event::{Event, Fault};
use crate::project::{PAYMENTS, SECOND_US};

/// All batches that were ever made.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    pub(crate) batches: Vec<Batch>,
    /// By serial, the batch and the row.
    made: BTreeMap<i64, (usize, usize)>,
    /// Serials of late events that were sent once more.
    replayed: BTreeSet<i64>,
}

impl Producers {
    /// Makes a batch for a stream; its event times lie about `now_us`, of a history before it.
    pub(crate) fn make(&mut self, chance: &mut Chance, stream: usize, now_us: i64) -> usize {
        let place = self.batches.len();
        let rows = if chance.one_in(12) { 20 } else { 1 + chance.below(5) };
        let is_history = chance.one_in(8);
        let about_us = if is_history { now_us - chance.between(0, 600 * SECOND_US) } else { now_us };
        let events: Vec<Event> =
            (0..rows).map(|row| self.event(chance, stream, about_us, (place, row as usize))).collect();
        let arriving = match (is_history, chance.one_in(2)) {
            (false, _) => Arriving::Live,
            (true, false) => Arriving::History,
            (true, true) => Arriving::told_history(chance, &events),
        };
        self.add(chance, stream, events, arriving)
    }

    /// Makes a batch of late events that are to be taken in after all; `None` where all of them were sent once more before.
    pub(crate) fn replay(&mut self, chance: &mut Chance, stream: usize, late: &[Event]) -> Option<usize> {
        let events: Vec<Event> = late.iter().filter(|event| self.replayed.insert(event.serial)).cloned().collect();
        (!events.is_empty()).then(|| self.add(chance, stream, events, Arriving::Replayed))
    }

    fn add(&mut self, chance: &mut Chance, stream: usize, events: Vec<Event>, arriving: Arriving) -> usize {
        let place = self.batches.len();
        let name = (stream != PAYMENTS).then(|| format!("batch {place}"));
        let form = [BodyForm::Ndjson, BodyForm::Ndjson, BodyForm::Json, BodyForm::Arrow][chance.below(4) as usize];
        self.batches.push(Batch {
            stream,
            name,
            events,
            form,
            arriving,
            is_sent: false,
            is_acknowledged: false,
            is_given_up: false,
        });
        place
    }

    fn event(&mut self, chance: &mut Chance, stream: usize, about_us: i64, place: (usize, usize)) -> Event {
        // A payment may be one that was made before, in another batch.
        if stream == PAYMENTS && chance.one_in(10) && !self.made.is_empty() {
            let nth = chance.below(self.made.len() as u64) as usize;
            let (batch, row) = *self.made.values().nth(nth).expect("there are as many");
            let batch = &self.batches.get(batch);
            if let Some(batch) = batch.filter(|batch| batch.stream == PAYMENTS) {
                return batch.events[row].clone();
            }
        }
        let serial = self.made.len() as i64 + 1;
        self.made.insert(serial, place);
        let fault = match chance.below(24) {
            0 => Fault::Unreadable,
            1 => Fault::NotNull,
            2 => Fault::Check,
            3 => Fault::Future,
            _ => Fault::None,
        };
        let time_us = match (fault, chance.below(8)) {
            // Still in the future when it is sent again at the end of the run.
            (Fault::Future, _) => about_us + 7_000 * SECOND_US,
            (_, 0) => about_us - chance.between(40, 200) * SECOND_US,
            // Some events are of one time.
            (_, 1) => about_us / (10 * SECOND_US) * (10 * SECOND_US),
            _ => about_us + chance.between(-15 * SECOND_US, 4 * SECOND_US),
        };
        Event { serial, entity: chance.between(0, 3), amount: chance.between(0, 9), time_us, fault }
    }

    /// The event of a serial.
    pub(crate) fn event_of(&self, serial: i64) -> Option<&Event> {
        let (batch, row) = self.made.get(&serial)?;
        self.batches.get(*batch)?.events.get(*row)
    }

    /// The batches that wait for an acknowledgement that may come, and are not on their way.
    pub(crate) fn unsent(&self) -> Vec<usize> {
        let is_unsent = |batch: &Batch| !batch.is_acknowledged && !batch.is_given_up && !batch.is_sent;
        (0..self.batches.len()).filter(|place| is_unsent(&self.batches[*place])).collect()
    }

    /// A life ended: what was on its way is not.
    pub(crate) fn nothing_is_sent(&mut self) {
        self.batches.iter_mut().for_each(|batch| batch.is_sent = false);
    }
}
