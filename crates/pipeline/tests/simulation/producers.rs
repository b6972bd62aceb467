//! Simulated producers: they make events, keep what is not acknowledged, and send it again.

use std::collections::BTreeMap;

use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_definition::Project;
use asof_pipeline::{Answer, BatchKey, Manner, Submission};

use crate::chance::Chance;
use crate::project::{PAYMENTS, SECOND_US};

/// How an event breaks the rules of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Unreadable,
    NotNull,
    Check,
    Future,
}

/// One event as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Unique over all events of a seed.
    pub(crate) serial: i64,
    pub(crate) entity: i64,
    pub(crate) amount: i64,
    pub(crate) time_us: i64,
    pub(crate) fault: Fault,
}

impl Event {
    /// The line that is sent.
    pub(crate) fn line(&self) -> String {
        let Event { serial, entity, time_us, .. } = self;
        let amount = match self.fault {
            Fault::Unreadable => "\"many\"".to_owned(),
            Fault::Check => "-1".to_owned(),
            Fault::None | Fault::NotNull | Fault::Future => self.amount.to_string(),
        };
        let entity = if self.fault == Fault::NotNull { "null".to_owned() } else { entity.to_string() };
        let cents = serial * 37 % 1000;
        let price = format!("{}.{:02}", cents / 100, cents % 100);
        format!(
            "{{\"serial\":{serial},\"entity\":{entity},\"amount\":{amount},\"price\":\"{price}\",\"note\":\"n{serial}\",\"ts\":{time_us}}}"
        )
    }
}

/// Events that are sent together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) stream: usize,
    pub(crate) name: Option<String>,
    pub(crate) events: Vec<Event>,
    /// Whether it waits at the door of the present life.
    pub(crate) is_sent: bool,
    pub(crate) is_acknowledged: bool,
}

impl Batch {
    fn bytes(&self) -> Vec<u8> {
        self.events.iter().map(|event| event.line() + "\n").collect::<String>().into_bytes()
    }

    /// The batch as it comes to the door.
    pub(crate) fn submission(&self, project: &Project, received_us: i64, answer: Answer) -> Submission {
        let bytes = self.bytes();
        let batch_key = self.name.as_ref().map(|name| BatchKey::of(name.clone(), &bytes));
        let limits = BodyLimits { rows_max: 1_000 };
        let body = EventBody::read(bytes.into(), BodyForm::Ndjson, &project.streams[self.stream], limits);
        let body = body.expect("a body of lines");
        Submission { stream: self.stream, body, manner: Manner::Live, batch_key, received_us, answer }
    }
}

/// All batches that were ever made.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    pub(crate) batches: Vec<Batch>,
    /// By serial, the batch and the row.
    made: BTreeMap<i64, (usize, usize)>,
}

impl Producers {
    /// Makes a batch for a stream; its event times lie about `now_us`.
    pub(crate) fn make(&mut self, chance: &mut Chance, stream: usize, now_us: i64) -> usize {
        let place = self.batches.len();
        let rows = if chance.one_in(12) { 20 } else { 1 + chance.below(5) };
        let events: Vec<Event> =
            (0..rows).map(|row| self.event(chance, stream, now_us, (place, row as usize))).collect();
        let name = (stream != PAYMENTS).then(|| format!("batch {place}"));
        self.batches.push(Batch { stream, name, events, is_sent: false, is_acknowledged: false });
        place
    }

    fn event(&mut self, chance: &mut Chance, stream: usize, now_us: i64, place: (usize, usize)) -> Event {
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
            (Fault::Future, _) => now_us + 3_000 * SECOND_US,
            (_, 0) => now_us - chance.between(40, 200) * SECOND_US,
            // Some events are of one time.
            (_, 1) => now_us / (10 * SECOND_US) * (10 * SECOND_US),
            _ => now_us + chance.between(-15 * SECOND_US, 4 * SECOND_US),
        };
        Event { serial, entity: chance.between(0, 3), amount: chance.between(0, 9), time_us, fault }
    }

    /// The event of a serial.
    pub(crate) fn event_of(&self, serial: i64) -> Option<&Event> {
        let (batch, row) = self.made.get(&serial)?;
        self.batches.get(*batch)?.events.get(*row)
    }

    /// The batches that wait for an acknowledgement and are not on their way.
    pub(crate) fn unsent(&self) -> Vec<usize> {
        let is_unsent = |place: &usize| !self.batches[*place].is_acknowledged && !self.batches[*place].is_sent;
        (0..self.batches.len()).filter(is_unsent).collect()
    }

    /// A life ended: what was on its way is not.
    pub(crate) fn nothing_is_sent(&mut self) {
        self.batches.iter_mut().for_each(|batch| batch.is_sent = false);
    }
}
