//! The rows of a sink, read from one log: what is readable there, made into messages.

use std::sync::Arc;

use arrow::compute::filter_record_batch;
use asof_connect::{RowMessage, RowMessages, StoredFrame, StoredStream};
use asof_definition::{Sink, Stream};
use asof_feature::{DerivedPlan, Feed, Tables};

use crate::engine::Engine;
use crate::error::PipelineError;

/// One log that a sink reads, from where it was written on.
#[derive(Debug)]
pub(crate) struct SinkRows {
    source: usize,
    /// What the log is called.
    pub(crate) log: String,
    plan: DerivedPlan,
    feeds: Vec<Feed>,
    stored: Option<StoredStream>,
    /// Read, and not readable yet.
    ahead: Option<StoredFrame>,
    /// The offset from which it is read on.
    pub(crate) next_offset: u64,
}

/// What one frame gives.
#[derive(Debug, Default)]
pub(crate) struct SinkBatch {
    /// Key and value of each message.
    pub(crate) messages: Vec<RowMessage>,
    /// What was wrong with rows that an expression failed on.
    pub(crate) failed: Vec<String>,
}

impl SinkRows {
    /// The logs that a sink reads, each from its beginning.
    pub(crate) fn of(engine: &Engine, sink: &Sink) -> Vec<SinkRows> {
        let chain = sink.rows.lineage();
        let of_source = |stream: &Arc<Stream>| {
            let source = engine.place_of(&stream.name);
            let plan = DerivedPlan::new(stream, &chain);
            let (log, feeds) = (engine.stored_form(source).name.clone(), plan.feeds(sink.name()));
            SinkRows { source, log, feeds, plan, stored: None, ahead: None, next_offset: 0 }
        };
        sink.rows.sources().iter().map(of_source).collect()
    }

    /// Begins to read at an offset, or at the first one that the log still has. Returns how many between them are gone.
    pub(crate) fn begin(&mut self, engine: &Engine, offset: u64) -> Result<u64, PipelineError> {
        let storage = engine.storage().expect("a log has a data folder");
        let first_offset = engine.first_offset(self.source);
        if offset > 0 && offset < first_offset {
            tracing::warn!(log = self.log, offset, first_offset, "rows are gone that a sink had not written");
        }
        self.next_offset = offset.max(first_offset);
        let form = engine.stored_form(self.source);
        let stored = StoredStream::open(storage.disk().clone(), storage.folder(), &form, 0, self.next_offset)?;
        (self.stored, self.ahead) = (Some(stored), None);
        Ok(if offset > 0 { self.next_offset - offset } else { 0 })
    }

    /// Up to where it may be read: what is visible, and durable.
    pub(crate) fn readable(&self, engine: &Engine) -> u64 {
        engine.readable_offset(self.source)
    }

    /// Where the log ended when this process opened it.
    pub(crate) fn opened_at(&self, engine: &Engine) -> u64 {
        engine.opened_at(self.source)
    }

    /// The messages of the next frame, if there is one to read.
    pub(crate) fn next(
        &mut self,
        engine: &Engine,
        sink: &Sink,
        messages: &mut RowMessages,
    ) -> Result<Option<SinkBatch>, PipelineError> {
        let readable = self.readable(engine);
        if self.next_offset >= readable {
            return Ok(None);
        }
        let stored = self.stored.as_mut().expect("it was begun");
        let frame = match self.ahead.take() {
            Some(frame) => Some(frame),
            None => stored.next_frame()?,
        };
        let Some(frame) = frame else { return Ok(None) };
        if frame.end_offset() > readable {
            self.ahead = Some(frame);
            return Ok(None);
        }
        self.next_offset = frame.end_offset();
        self.messages(&frame, sink, messages).map(Some)
    }

    fn messages(
        &self,
        frame: &StoredFrame,
        sink: &Sink,
        messages: &mut RowMessages,
    ) -> Result<SinkBatch, PipelineError> {
        let used = &frame.batch.used;
        let mut batch = SinkBatch::default();
        if used.num_rows() == 0 {
            return Ok(batch);
        }
        let derived = self.plan.derive(used, None, &Tables::none())?;
        batch.failed.extend(derived.set_aside.iter().flatten().map(|one| one.detail.clone()));
        for feed in &self.feeds {
            let (rows, kept) = derived.at(*feed, used, None);
            let rows = match kept {
                Some(kept) => filter_record_batch(rows, kept)?,
                None => rows.clone(),
            };
            let rows = rows.project(&(0..sink.columns()).collect::<Vec<usize>>())?;
            batch.messages.extend(messages.of(&rows)?);
        }
        Ok(batch)
    }
}
