//! The rows of a sink that arise in one log, made into messages.

use std::sync::Arc;

use arrow::compute::filter_record_batch;
use asof_connect::{RowMessage, RowMessages, StoredFrame};
use asof_definition::Stream;

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::sink_log::SinkLog;

/// A log whose rows a sink writes.
#[derive(Debug)]
pub(crate) struct SinkRows {
    pub(crate) log: SinkLog,
    /// How many columns a message has.
    columns: usize,
}

/// What is to be sent.
#[derive(Debug, Default)]
pub(crate) struct SinkBatch {
    /// Key and value of each message.
    pub(crate) messages: Vec<RowMessage>,
    /// What was wrong with rows that an expression failed on.
    pub(crate) failed: Vec<String>,
}

impl SinkRows {
    /// The logs that the rows of a SELECT arise in.
    pub(crate) fn of(engine: &Engine, rows: &Arc<Stream>) -> Vec<SinkRows> {
        let columns = rows.named_columns().len();
        SinkLog::of(engine, rows).into_iter().map(|log| SinkRows { log, columns }).collect()
    }

    /// The messages of the next frame, if there is one to read.
    pub(crate) fn next(
        &mut self,
        engine: &Engine,
        messages: &mut RowMessages,
    ) -> Result<Option<SinkBatch>, PipelineError> {
        let frame = self.log.next_frame(engine)?;
        frame.map(|frame| self.messages(&frame, messages)).transpose()
    }

    fn messages(&self, frame: &StoredFrame, messages: &mut RowMessages) -> Result<SinkBatch, PipelineError> {
        let mut batch = SinkBatch::default();
        let Some(derived) = self.log.derive(frame)? else { return Ok(batch) };
        batch.failed.extend(derived.set_aside.iter().flatten().map(|one| one.detail.clone()));
        for feed in &self.log.feeds {
            let (rows, kept) = derived.at(*feed, &frame.batch.used, None);
            let rows = match kept {
                Some(kept) => filter_record_batch(rows, kept)?,
                None => rows.clone(),
            };
            let rows = rows.project(&(0..self.columns).collect::<Vec<usize>>())?;
            batch.messages.extend(messages.of(&rows)?);
        }
        Ok(batch)
    }
}
