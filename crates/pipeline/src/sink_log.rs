//! A log that a sink reads, from where it was written on: frame by frame, as far as it is visible and durable, with the rows of a
//! stream that its events come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use asof_connect::{StoredFrame, StoredStream};
use asof_definition::Stream;
use asof_feature::{Derived, DerivedPlan, Feed, Tables};

use crate::engine::Engine;
use crate::error::PipelineError;

/// A log and the place in it.
#[derive(Debug)]
pub(crate) struct SinkLog {
    source: usize,
    /// What it is called.
    pub(crate) name: String,
    /// How its events come to the stream.
    plan: DerivedPlan,
    /// Where their rows are then, of each way.
    pub(crate) feeds: Vec<Feed>,
    /// Behind what is durable of it.
    durable_offset: Arc<AtomicU64>,
    stored: Option<StoredStream>,
    /// Read, and not readable yet.
    ahead: Option<StoredFrame>,
    /// The offset from which it is read on.
    pub(crate) next_offset: u64,
}

impl SinkLog {
    /// The logs whose events come to a stream, from their beginnings.
    pub(crate) fn of(engine: &Engine, rows: &Arc<Stream>) -> Vec<SinkLog> {
        let lineage = rows.lineage();
        let of_source = |stream: &Arc<Stream>| {
            let source = engine.place_of(&stream.name);
            let plan = DerivedPlan::new(stream, &lineage);
            SinkLog {
                source,
                name: engine.stored_form(source).name.clone(),
                feeds: plan.feeds(&rows.name),
                plan,
                durable_offset: engine.durable_offset(source),
                stored: None,
                ahead: None,
                next_offset: 0,
            }
        };
        rows.sources().iter().map(of_source).collect()
    }

    /// The rows that the used events of a frame come to; `None` where it has none.
    pub(crate) fn derive(&self, frame: &StoredFrame) -> Result<Option<Derived>, PipelineError> {
        let used = &frame.batch.used;
        let derived = (used.num_rows() > 0).then(|| self.plan.derive(used, None, &Tables::none()));
        Ok(derived.transpose()?)
    }

    /// Begins to read at an offset, or at the first one that the log still has. Returns how many between them are gone.
    pub(crate) fn begin(&mut self, engine: &Engine, offset: u64) -> Result<u64, PipelineError> {
        let storage = engine.storage().expect("a log has a data folder");
        let first_offset = engine.first_offset(self.source);
        if offset > 0 && offset < first_offset {
            tracing::warn!(log = self.name, offset, first_offset, "rows are gone that a sink had not written");
        }
        self.next_offset = offset.max(first_offset);
        let form = engine.stored_form(self.source);
        let stored = StoredStream::open(storage.disk().clone(), storage.folder(), &form, 0, self.next_offset)?;
        (self.stored, self.ahead) = (Some(stored), None);
        Ok(if offset > 0 { self.next_offset - offset } else { 0 })
    }

    /// Where the log ended when this process opened it.
    pub(crate) fn opened_at(&self, engine: &Engine) -> u64 {
        engine.opened_at(self.source)
    }

    /// Whether there is something to read. What is visible is made durable for that, if nothing else is there.
    pub(crate) fn has_more(&self, engine: &Engine) -> bool {
        if self.next_offset >= engine.visible_offset(self.source) {
            return false;
        }
        if self.next_offset >= self.readable(engine) {
            self.make_durable(engine);
        }
        self.next_offset < self.readable(engine)
    }

    /// Makes durable what is visible in it. Returns whether that is done.
    pub(crate) fn make_durable(&self, engine: &Engine) -> bool {
        let visible = engine.visible_offset(self.source);
        if self.durable() < visible {
            engine.sync_beside(self.source, |_| true);
        }
        self.durable() >= visible
    }

    /// The next frame, if there is one to read.
    pub(crate) fn next_frame(&mut self, engine: &Engine) -> Result<Option<StoredFrame>, PipelineError> {
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
        Ok(Some(frame))
    }

    /// Up to where it may be read: what is visible, and durable.
    fn readable(&self, engine: &Engine) -> u64 {
        self.durable().min(engine.visible_offset(self.source))
    }

    fn durable(&self) -> u64 {
        self.durable_offset.load(Ordering::Acquire)
    }
}
