//! What producers are told, against the model.

use std::sync::{Arc, Mutex};

use asof_pipeline::{IngestError, Receipt};

use super::World;
use crate::model::{Checked, counts};
use crate::project::{BEATS, STREAMS};

/// What a producer was told, with the batch that it sent.
pub(super) type Answers = Arc<Mutex<Vec<(usize, Result<Receipt, IngestError>)>>>;

impl World {
    /// What the producers of a commit were told, against the model.
    pub(super) fn take_answers(&mut self, now_us: i64) -> Checked<()> {
        let answers = std::mem::take(&mut *self.answers.lock().expect("one thread"));
        if answers.is_empty() {
            // Nobody was told: the rows that waited may be in the log.
            self.sent_are_unsure();
            return Ok(());
        }
        // Every group has an arrival time of its own; a batch that was a repeat takes none.
        let next = |last_us: &i64| now_us.max(last_us.saturating_add(1));
        self.arrived_us = next(self.arrived_us.start())..=next(self.arrived_us.end());
        // A group is held against what reads saw before it.
        let reaches = std::array::from_fn(|stream| self.model.reach(stream, self.variant));
        for (batch, told) in answers {
            self.trace.add(|| format!("batch {batch}: {told:?}"));
            self.told(batch, told, &reaches)?;
        }
        self.sent_are_unsure();
        Ok(())
    }

    pub(super) fn sent_are_unsure(&mut self) {
        for batch in self.producers.batches.iter().filter(|batch| batch.is_sent && self.is_faulty) {
            self.model.streams[batch.stream].unsure.extend(batch.events.iter().map(|event| event.serial));
        }
    }

    fn told(
        &mut self,
        place: usize,
        told: Result<Receipt, IngestError>,
        reaches: &[Option<(i64, &str)>; STREAMS],
    ) -> Checked<()> {
        let batch = &mut self.producers.batches[place];
        batch.is_sent = false;
        let reach = reaches[batch.stream].filter(|_| !batch.arriving.can_be_late());
        let is_beyond = reach.is_some_and(|(from_us, _)| batch.least_us().is_some_and(|least_us| least_us < from_us));
        let stream = &mut self.model.streams[batch.stream];
        let receipt = match told {
            Ok(receipt) => receipt,
            Err(
                IngestError::DiskFull { .. }
                | IngestError::StateFull { .. }
                | IngestError::KeysFull { .. }
                | IngestError::BehindNotSettled
                | IngestError::NotNow { .. },
            ) => {
                return Ok(());
            }
            Err(
                IngestError::Broken { .. }
                | IngestError::NotSettled { .. }
                | IngestError::TakenOver
                | IngestError::NoClaim { .. },
            ) if self.is_breakable => {
                stream.unsure.extend(batch.events.iter().map(|event| event.serial));
                return Ok(());
            }
            Err(IngestError::OutOfReach { least_us, earliest_us, other })
                if reach == Some((earliest_us, other.as_str())) && least_us < earliest_us =>
            {
                // With another of its group that is beyond reach it may come again.
                batch.is_given_up = is_beyond;
                self.out_of_reach += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("batch {place} was refused: {error}, its reach is {reach:?}")),
        };
        if is_beyond && !receipt.is_repeat {
            return Err(format!("batch {place} was taken in, its reach is {reach:?}: {batch:?}"));
        }
        batch.is_acknowledged = true;
        let known = batch.name.as_ref().and_then(|name| stream.named.get(name));
        match (receipt.is_repeat, known) {
            (false, None) => stream.acknowledge(batch, &self.arrived_us, &receipt),
            (true, Some(known)) if *known == counts(&receipt) => Ok(()),
            // What a power cut left of them is not known here.
            (true, None) if batch.stream == BEATS => Ok(()),
            _ => Err(format!("batch {place} was answered {receipt:?}, known was {known:?}")),
        }
    }
}
