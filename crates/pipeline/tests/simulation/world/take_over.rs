//! Another writer takes over in the middle of a commit of this one.
//!
//! ```text
//!   old:  commit … operation n ┊ … goes on ─▶ may acknowledge nothing more
//!   new:                       └ open, recover, take batches in, answer
//! ```

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use asof_disk::Disk;
use asof_log::{LogError, TakeOver};
use asof_pipeline::{Engine, IngestError, PipelineError, Receipt, Steps, StorageSettings};

use super::World;
use super::answers::Answers;
use super::life::{Opening, open};
use super::step::{Go, outcome};
use crate::batch::Batch;
use crate::model::Checked;
use crate::project::SESSIONS;

/// Another process, with what its producers send.
struct Another {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    settings: StorageSettings,
    opening: Opening,
    batches: Vec<(usize, Batch)>,
}

/// What another writer has done that took over.
struct Successor {
    answers: Vec<(usize, Result<Receipt, IngestError>)>,
    next_offsets: Vec<u64>,
}

impl World {
    /// Another writer takes over in the middle of a commit of this one.
    pub(super) fn take_over(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Go> {
        (self.is_faulty, self.is_breakable) = (true, true);
        let operations = self.chance.below(24);
        self.trace.add(|| format!("another writer takes over after {operations} operations"));
        let another = Arc::new(self.another());
        let slot: Arc<Mutex<Option<Checked<Option<Successor>>>>> = Arc::default();
        let (result, other) = (slot.clone(), another.clone());
        self.hook.arm(operations, Box::new(move || *result.lock().expect("one thread") = Some(other.succeed())));
        self.submit(engine);
        let before_us = self.now_us();
        let committed = job.commit();
        self.take_answers(before_us)?;
        self.trace.add(|| format!("commit of the old one: {}", outcome(&committed)));
        let was_late = self.hook.fire();
        self.same_position(engine)?;
        let successor = match slot.lock().expect("one thread").take().expect("it was fired")? {
            Some(successor) => successor,
            None => another.succeed()?.ok_or("the new writer is refused though the old one does nothing")?,
        };
        // One that has noticed ends at once.
        if committed.is_ok() {
            self.old_writer_goes_on(engine, job)?;
        }
        self.trace
            .add(|| format!("the new one, late {was_late}: {:?}, {:?}", successor.answers, successor.next_offsets));
        successor.answers.into_iter().try_for_each(|(place, told)| self.promised(place, told))?;
        Ok(Go::End)
    }

    fn another(&mut self) -> Another {
        let now_us = self.now_us();
        let sent: Vec<usize> = (0..2).map(|stream| self.producers.make(&mut self.chance, stream, now_us)).collect();
        Another {
            disk: self.disk.shared(),
            data: self.data.clone(),
            settings: self.settings,
            opening: self.opening(),
            batches: sent.into_iter().map(|place| (place, self.producers.batches[place].clone())).collect(),
        }
    }

    /// Takes note of what the new writer has answered.
    fn promised(&mut self, place: usize, told: Result<Receipt, IngestError>) -> Checked<()> {
        let batch = &mut self.producers.batches[place];
        let receipt = match told {
            Err(IngestError::OutOfReach { least_us, earliest_us, other })
                if !batch.arriving.can_be_late()
                    && SESSIONS.iter().any(|(view, streams)| *view == other && streams.contains(&batch.stream))
                    && least_us < earliest_us =>
            {
                batch.is_given_up = true;
                return Ok(());
            }
            told => told.map_err(|error| format!("the new writer refused batch {place}: {error}"))?,
        };
        batch.is_acknowledged = true;
        // A repeat does not say again which rows were refused.
        if !receipt.is_repeat {
            let refused: Vec<u64> = receipt.refused.iter().map(|row| row.row).collect();
            let rows = batch.events.iter().enumerate().filter(|(row, _)| !refused.contains(&(*row as u64)));
            self.model.streams[batch.stream].promised.extend(rows.map(|(_, event)| event.serial));
        }
        self.model.streams[batch.stream].unsure.extend(batch.events.iter().map(|event| event.serial));
        Ok(())
    }

    /// The old writer has not noticed yet: it may harm nothing, and acknowledge nothing new.
    fn old_writer_goes_on(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<()> {
        for _ in 0..self.chance.below(400) {
            if let Err(error) = job.checkpoint() {
                self.trace.add(|| format!("checkpoint of the old one: {error}"));
                break;
            }
        }
        self.submit(engine);
        let committed = job.commit();
        let answers = std::mem::take(&mut *self.answers.lock().expect("one thread"));
        for (batch, told) in answers {
            let sent = &mut self.producers.batches[batch];
            sent.is_sent = false;
            self.model.streams[sent.stream].unsure.extend(sent.events.iter().map(|event| event.serial));
            if told.as_ref().is_ok_and(|receipt| !receipt.is_repeat) {
                return Err(format!("the old writer acknowledged batch {batch}: {told:?}"));
            }
        }
        self.trace.add(|| format!("the old one again: {}", outcome(&committed)));
        self.sent_are_unsure();
        self.same_position(engine)
    }
}

impl Another {
    /// The whole life of the writer that takes over while the old one still lives. `None`: it is refused, since the old one is
    /// just beginning a segment, and has to be started once more.
    fn succeed(&self) -> Checked<Option<Successor>> {
        let engine = open(self.disk.clone(), &self.data, TakeOver::TakeOver, self.settings, &self.opening)?;
        let mut job = match Steps::recover(&engine) {
            Err(PipelineError::Log(LogError::Locked { .. })) => return Ok(None),
            recovered => recovered.map_err(|error| format!("the new writer: {error}"))?,
        };
        let answers = Answers::default();
        for (place, batch) in &self.batches {
            let (place, told) = (*place, answers.clone());
            let answer = Box::new(move |outcome| told.lock().expect("one thread").push((place, outcome)));
            let submission = batch.submission(engine.project(), self.opening.clock.load(Ordering::Relaxed), answer);
            engine.intake().submit(submission).map_err(|(_, error)| format!("the new writer: {error}"))?;
        }
        job.commit().map_err(|error| format!("the new writer: {error}"))?;
        let answers = std::mem::take(&mut *answers.lock().expect("one thread"));
        let next_offsets = engine.published().streams.iter().map(|stream| stream.next_offsets[0]).collect();
        Ok(Some(Successor { answers, next_offsets }))
    }
}
