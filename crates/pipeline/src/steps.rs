//! The durable job step by step: recovery, commits, checkpoints, history. [`crate::run`] takes these steps on threads; a
//! simulation takes them in an order of its own, with a crash between any two of them or in the middle of one.

use crate::checkpointer::{Checkpointer, InProgress};
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::spread::Spread;
use crate::stop::Stop;
use crate::submission::Submission;

/// An engine whose state was brought back, and what it is in the middle of.
#[derive(Debug)]
pub struct Steps<'e> {
    engine: &'e Engine,
    checkpointer: Checkpointer<'e>,
    checkpoint: Option<InProgress>,
    /// Submissions that wait for others of the same name.
    later: Vec<Submission>,
}

impl<'e> Steps<'e> {
    /// Brings state back and opens the door for events.
    ///
    /// # Panics
    /// If the engine has no data folder.
    pub fn recover(engine: &'e Engine) -> Result<Steps<'e>, PipelineError> {
        let restored = engine.recover(&Stop::default())?;
        let storage = engine.storage().expect("an engine that recovers has a data folder");
        let checkpointer = Checkpointer::new(engine, storage.checkpoints(), restored.as_ref());
        engine.intake().open();
        Ok(Steps { engine, checkpointer, checkpoint: None, later: Vec::new() })
    }

    /// Commits what waits at the door, if anything does, and sees to the logs.
    pub fn commit(&mut self) -> Result<(), PipelineError> {
        let mut group = std::mem::take(&mut self.later);
        if group.is_empty() {
            group = self.engine.intake().next_group(std::time::Duration::ZERO);
        }
        if !group.is_empty() {
            self.later = self.engine.commit(group)?;
        }
        self.engine.tend_logs()?;
        self.engine.sync_overdue();
        Ok(())
    }

    /// Takes the next step of a checkpoint: its cut, some images, its end. Returns whether a checkpoint is in progress.
    pub fn checkpoint(&mut self) -> Result<bool, PipelineError> {
        match self.checkpoint.take() {
            None => self.checkpoint = self.checkpointer.begin()?,
            Some(mut checkpoint) => {
                if self.checkpointer.step(&mut checkpoint)? {
                    self.checkpointer.finish(checkpoint)?;
                } else {
                    self.checkpoint = Some(checkpoint);
                }
            }
        }
        Ok(self.checkpoint.is_some())
    }

    /// Writes the primary keys that wait for the disk.
    pub fn spill_keys(&self) -> Result<(), PipelineError> {
        self.engine.spill_keys()
    }

    /// Writes sealed segments as Parquet and drops those that nobody needs.
    pub fn keep_history(&self) -> Result<(), PipelineError> {
        self.engine.keep_history(Spread::None)
    }

    /// The orderly end: all that is known is in a checkpoint, and the logs end whole.
    pub fn finish(mut self) -> Result<(), PipelineError> {
        self.engine.intake().close();
        self.commit()?;
        // One on its way comes to its end first: the entities that it captured are not touched any more for the next one.
        while self.checkpoint.is_some() {
            self.checkpoint()?;
        }
        self.checkpointer.take(Spread::None)?;
        seal(self.engine)
    }
}

/// Ends the logs in order.
pub(crate) fn seal(engine: &Engine) -> Result<(), PipelineError> {
    let mut writer = lock(engine.writer());
    writer.logs.iter_mut().flatten().try_for_each(|log| log.seal())
}
