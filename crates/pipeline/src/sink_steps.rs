//! A sink step by step, without a cluster: what a commit would have, and how far it would be with it. [`crate::run`] writes that to
//! topics; a simulation keeps it, or loses it.

use asof_connect::{Progress, RowMessage, RowMessages};

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::sink_input::SinkInput;

/// A sink whose messages are JSON, as one process writes it.
#[derive(Debug)]
pub struct SinkSteps<'e> {
    engine: &'e Engine,
    input: SinkInput,
    messages: RowMessages,
}

impl<'e> SinkSteps<'e> {
    /// The sink with this index in the project, of an engine whose state was brought back.
    pub fn new(engine: &'e Engine, sink: usize) -> Result<SinkSteps<'e>, PipelineError> {
        let sink = &engine.project().sinks[sink];
        Ok(SinkSteps { engine, input: SinkInput::of(engine, sink)?, messages: RowMessages::json(&sink.key) })
    }

    /// A writer was opened, and the cluster says how far it is; `None`: it knows nothing.
    pub fn begin(&mut self, progress: Option<&Progress>) -> Result<(), PipelineError> {
        let first = self.input.first_progress(self.engine);
        self.input.begin(self.engine, progress.unwrap_or(&first)).map(|_lost| ())
    }

    /// All that a commit would have now, if there is anything.
    pub fn commit(&mut self) -> Result<Option<(Vec<RowMessage>, Progress)>, PipelineError> {
        if !self.input.has_more(self.engine) {
            return Ok(None);
        }
        self.input.logs().iter().for_each(|log| _ = log.make_durable(self.engine));
        let mut messages = Vec::new();
        while let Some(batch) = self.input.next(self.engine, &mut self.messages)? {
            messages.extend(batch.messages);
        }
        while let Some(batch) = self.input.send(self.engine, &mut self.messages)? {
            messages.extend(batch.messages);
        }
        Ok(Some((messages, self.input.progress())).filter(|_| self.input.make_durable(self.engine)))
    }

    /// That commit has succeeded. One that has not is followed by [`SinkSteps::begin`].
    pub fn committed(&mut self) {
        self.input.committed();
    }
}
