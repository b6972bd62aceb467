//! What may happen next in a life, one drawn at a time.

use std::sync::atomic::Ordering;

use asof_pipeline::{Clock, Engine, Steps};

use super::World;
use crate::model::Checked;
use crate::project::{IDLE_US, SECOND_US, STREAMS, project};

/// How a life goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    /// The process is of no more use.
    End,
}

impl World {
    pub(super) fn step(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Go> {
        let go = match self.chance.below(39) {
            0..=9 => self.submit(engine),
            10..=18 => self.commit(engine, job)?,
            19..=22 => self.checkpoint(job)?,
            23 | 24 => self.keep_history(job)?,
            25 | 26 => self.let_time_pass(),
            27 | 28 => self.read(engine)?,
            29 => self.begin_fault(),
            31 => self.spill_keys(job)?,
            32..=35 => self.page(engine)?,
            36 if self.chance.one_in(2) => self.be_idle(engine)?,
            37 => self.maintain(engine)?,
            30 if !self.is_faulty && self.state_bytes_max == usize::MAX && self.chance.one_in(2) => {
                self.take_over(engine, job)?
            }
            _ => self.resend(engine),
        };
        self.same_position(engine)?;
        Ok(go)
    }

    pub(super) fn let_time_pass(&mut self) -> Go {
        let by_us = if self.chance.one_in(4) {
            self.chance.between(-6 * SECOND_US, -1)
        } else {
            self.chance.between(1, if self.variant.is_bounded { 60 } else { 15 } * SECOND_US)
        };
        self.clock.fetch_add(by_us, Ordering::Relaxed);
        self.trace.add(|| format!("time passes: {by_us}"));
        Go::On
    }

    /// New batches, or old ones that nobody acknowledged.
    pub(super) fn submit(&mut self, engine: &Engine) -> Go {
        for _ in 0..1 + self.chance.below(4) {
            let unsent = self.producers.unsent();
            let batch = if !unsent.is_empty() && self.chance.one_in(2) {
                unsent[self.chance.below(unsent.len() as u64) as usize]
            } else {
                let stream = self.chance.below(STREAMS as u64) as usize;
                let now_us = self.now_us();
                self.producers.make(&mut self.chance, stream, now_us)
            };
            self.send(engine, batch);
        }
        Go::On
    }

    /// A batch that was acknowledged before: its producer did not hear it.
    pub(super) fn resend(&mut self, engine: &Engine) -> Go {
        let batches = self.producers.batches.len() as u64;
        if batches > 0 {
            let batch = self.chance.below(batches) as usize;
            if !self.producers.batches[batch].is_sent {
                self.send(engine, batch);
            }
        }
        Go::On
    }

    pub(super) fn send(&mut self, engine: &Engine, batch: usize) {
        let answers = self.answers.clone();
        let answer = Box::new(move |told| answers.lock().expect("one thread").push((batch, told)));
        let submission = self.producers.batches[batch].submission(engine.project(), self.now_us(), answer);
        match engine.intake().submit(submission) {
            Ok(()) => {
                self.producers.batches[batch].is_sent = true;
                self.trace.add(|| format!("batch {batch} is sent"));
            }
            Err((_, error)) => self.trace.add(|| format!("batch {batch} is turned away: {error}")),
        }
    }

    pub(super) fn commit(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Go> {
        let before_us = self.now_us();
        let committed = job.commit();
        self.take_answers(before_us)?;
        self.trace.add(|| format!("commit: {}", outcome(&committed)));
        self.same_position(engine)?;
        self.ended(committed.err().map(|error| error.to_string()))
    }

    /// An error is expected only where something was made to fail; it ends the process.
    pub(super) fn ended(&self, error: Option<String>) -> Checked<Go> {
        match error {
            None => Ok(Go::On),
            Some(_) if self.is_faulty => Ok(Go::End),
            Some(error) => Err(format!("a step failed though nothing was made to fail: {error}")),
        }
    }

    pub(super) fn checkpoint(&mut self, job: &mut Steps<'_>) -> Checked<Go> {
        // More views take more steps than the first six took: what a seed does stays what it was.
        let steps = (1 + self.chance.below(500)) * project(self.variant).views.len() as u64 / 6;
        for _ in 0..steps {
            match job.checkpoint() {
                Ok(true) => {}
                Ok(false) => {
                    self.trace.add(|| "a checkpoint is complete".to_owned());
                    break;
                }
                Err(error) if self.is_faulty => {
                    self.trace.add(|| format!("a checkpoint failed: {error}"));
                    break;
                }
                Err(error) => return Err(format!("a checkpoint failed: {error}")),
            }
        }
        self.trace.add(|| format!("{steps} steps of a checkpoint"));
        Ok(Go::On)
    }

    pub(super) fn keep_history(&mut self, job: &Steps<'_>) -> Checked<Go> {
        let kept = job.keep_history();
        self.trace.add(|| format!("history: {}", outcome(&kept)));
        match kept {
            Err(error) if !self.is_faulty => Err(format!("the history was not kept: {error}")),
            _ => Ok(Go::On),
        }
    }

    pub(super) fn spill_keys(&mut self, job: &Steps<'_>) -> Checked<Go> {
        let spilled = job.spill_keys();
        self.trace.add(|| format!("keys: {}", outcome(&spilled)));
        match spilled {
            Err(error) if !self.is_faulty => Err(format!("keys were not written: {error}")),
            _ => Ok(Go::On),
        }
    }

    pub(super) fn maintain(&mut self, engine: &Engine) -> Checked<Go> {
        let now_us = self.now_us();
        let maintained = engine.maintain();
        if self.reads_by == Clock::System {
            let streams = self.model.streams.iter_mut().enumerate();
            streams.for_each(|(stream, model)| model.follow_clock(stream, now_us));
        }
        self.ended(maintained.err().map(|error| error.to_string()))
    }

    /// Nothing comes for longer than a stream may be silent: its watermark goes on with the clock, if reads do.
    fn be_idle(&mut self, engine: &Engine) -> Checked<Go> {
        let by_us = self.chance.between(IDLE_US, 2 * IDLE_US);
        self.clock.fetch_add(by_us, Ordering::Relaxed);
        self.trace.add(|| format!("nothing comes for {by_us}"));
        self.maintain(engine)
    }

    pub(super) fn read(&mut self, engine: &Engine) -> Checked<Go> {
        let back_us = self.chance.between(0, 5 * SECOND_US);
        self.compare(engine, back_us)?;
        Ok(Go::On)
    }
}

pub(super) fn outcome<T, E: std::fmt::Display>(result: &Result<T, E>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string(),
    }
}
