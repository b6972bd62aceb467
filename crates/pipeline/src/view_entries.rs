//! The entries of a sink of a feature view: for each entity what it is now, whenever that is something else.
//!
//! ```text
//!   logs of the view's events ─▶ keys that they touch ─┐
//!                                                      ├─▶ a commit: read them as of now ─▶ messages, progress
//!   dues: keys whose values change by time alone ──────┘               └─▶ when each changes next ─▶ dues
//! ```
//! Rules kept here:
//! - an entity whose value as of now is another than its entry has is touched, or due: what a log had up to the progress is written,
//!   and so is what time changed up to the progress' instant;
//! - an entry is read after the events that touched it became visible, so it has them all, and perhaps some that come after them in
//!   the log: those touch it again, with the same values;
//! - what was sent with a commit that failed is touched again.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use asof_connect::{EntriesAsOf, Progress, RowMessages, StoredFrame};
use asof_definition::{Entries, Output, Sink};
use asof_feature::ViewAnswers;

use crate::engine::Engine;
use crate::entity_dues::{EntityDues, KeyBytes};
use crate::error::PipelineError;
use crate::reading::ReadError;
use crate::sink_log::SinkLog;
use crate::sink_rows::SinkBatch;

/// Entities that are read at once.
const READ_ENTITIES: usize = 1_024;
/// Entities that a commit takes of those that are due.
const DUE_ENTITIES_MAX: usize = 20_000;

/// The entries of a sink.
#[derive(Debug)]
pub(crate) struct ViewEntries {
    entries: Entries,
    /// The index of the view.
    view: usize,
    print: u64,
    schema: SchemaRef,
    keys: RowConverter,
    /// Of the events of its view.
    logs: Vec<SinkLog>,
    /// Entities that the view had when this was made, until the first writer is opened.
    found: Vec<KeyBytes>,
    touched: BTreeSet<KeyBytes>,
    dues: EntityDues,
    /// The commit on its way: as of when its entries are, up to when they are all, and whose they are.
    committing: Option<Committing>,
    /// Up to when all entries are written.
    as_of_us: i64,
}

#[derive(Debug)]
struct Committing {
    now_us: i64,
    as_of_us: i64,
    sent: Vec<KeyBytes>,
}

impl ViewEntries {
    /// Those of a sink, and the entities that its view has now.
    pub(crate) fn of(engine: &Engine, sink: &Sink, entries: &Entries) -> Result<ViewEntries, PipelineError> {
        let view = engine.project().views.iter().position(|view| view.name == entries.view.name);
        let view = view.expect("a sink is of a view of its project");
        let online = &engine.view(view).online;
        let fields = entries.columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        let parts = online.plan().key_types().into_iter().map(SortField::new).collect();
        let mut made = ViewEntries {
            view,
            print: online.plan().entries_print(entries, sink.format.name()),
            schema: Arc::new(Schema::new(fields.collect::<Vec<Field>>())),
            keys: RowConverter::new(parts)?,
            logs: SinkLog::of(engine, &entries.view.stream),
            found: Vec::new(),
            touched: BTreeSet::new(),
            dues: EntityDues::default(),
            committing: None,
            as_of_us: i64::MIN,
            entries: entries.clone(),
        };
        for shard in 0..online.shards() {
            let keys = made.bytes_of(&online.keys_of(shard)?)?;
            made.found.extend(keys);
        }
        Ok(made)
    }

    /// The logs that it reads.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &SinkLog> {
        self.logs.iter()
    }

    /// The same, to be read.
    pub(crate) fn logs_mut(&mut self) -> impl Iterator<Item = &mut SinkLog> {
        self.logs.iter_mut()
    }

    /// How many entities will have another entry by time alone.
    pub(crate) fn scheduled(&self) -> usize {
        self.dues.len()
    }

    /// Makes durable what entries were read from, so that no crash takes it back. Returns whether that is done.
    pub(crate) fn make_durable(&self, engine: &Engine) -> bool {
        self.logs().all(|log| log.make_durable(engine))
    }

    /// A writer was opened, and this is how far it is. What was not written is touched, or due.
    pub(crate) fn begin(&mut self, engine: &Engine, progress: &Progress) -> Result<(), PipelineError> {
        self.touched.extend(self.committing.take().into_iter().flat_map(|one| one.sent));
        let found = std::mem::take(&mut self.found);
        if found.is_empty() {
            return Ok(());
        }
        let online = &engine.view(self.view).online;
        // Nothing is let go of while this read lasts.
        let reading = engine.reading();
        let written = progress.entries.filter(|entries| entries.view == self.print && entries.as_of_us > i64::MIN);
        // Before that instant the view may have forgotten what it was.
        let earliest_us = reading
            .earliest_us(self.view)
            .unwrap_or_else(|| reading.now_us().saturating_sub(engine.settings().as_of_horizon_us));
        let written_us = written.map(|written| written.as_of_us).filter(|written_us| earliest_us <= *written_us);
        if written.is_some() && written_us.is_none() {
            tracing::warn!(
                view = self.entries.view.name,
                "the entries of a sink are older than `as_of_horizon`: those of all entities that still have events are written again"
            );
        }
        for keys in found.chunks(READ_ENTITIES) {
            let changes = match written_us {
                Some(written_us) => online.next_changes(&self.parts_of(keys)?, written_us)?,
                None => vec![Some(i64::MIN); keys.len()],
            };
            keys.iter().zip(changes).for_each(|(key, due_us)| self.dues.set(key, due_us));
        }
        self.as_of_us = written_us.unwrap_or(i64::MIN);
        Ok(())
    }

    /// Whether some entry is to be written though no event came.
    pub(crate) fn is_due(&self, now_us: i64) -> bool {
        !self.touched.is_empty() || self.dues.first_us().is_some_and(|due_us| due_us <= now_us)
    }

    /// Reads on in the logs. Returns whether there was something.
    pub(crate) fn next(&mut self, engine: &Engine) -> Result<bool, PipelineError> {
        for place in 0..self.logs.len() {
            if let Some(frame) = self.logs[place].next_frame(engine)? {
                self.touch(engine, place, &frame)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many entities wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.touched.len()
    }

    fn touch(&mut self, engine: &Engine, place: usize, frame: &StoredFrame) -> Result<(), PipelineError> {
        let log = &self.logs[place];
        let Some(derived) = log.derive(frame)? else { return Ok(()) };
        let mut touched = Vec::new();
        for feed in &log.feeds {
            let (rows, kept) = derived.at(*feed, &frame.batch.used, None);
            let taken = engine.view(self.view).online.plan().take_in(rows, kept);
            touched.extend(self.bytes_of(&taken.keys)?);
        }
        self.touched.extend(touched);
        Ok(())
    }

    /// The next messages of the commit that is on its way, or begins with them; `None` where it has them all.
    pub(crate) fn send(
        &mut self,
        engine: &Engine,
        messages: &mut RowMessages,
    ) -> Result<Option<SinkBatch>, PipelineError> {
        if self.committing.is_none() {
            let now_us = engine.reading().now_us();
            self.take_due(now_us);
        }
        let mut keys = Vec::new();
        while keys.len() < READ_ENTITIES
            && let Some(key) = self.touched.pop_first()
        {
            keys.push(key);
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let mut batch = SinkBatch::default();
        self.write(engine, &keys, messages, &mut batch)?;
        Ok(Some(batch))
    }

    /// A commit begins, as of an instant: who is due is touched.
    fn take_due(&mut self, now_us: i64) {
        let due = std::iter::from_fn(|| self.dues.pop(now_us)).take(DUE_ENTITIES_MAX);
        self.touched.extend(due);
        let left_us = self.dues.first_us().filter(|left_us| *left_us <= now_us);
        let as_of_us = left_us.map_or(now_us, |left_us| left_us.saturating_sub(1));
        self.committing = Some(Committing { now_us, as_of_us, sent: Vec::new() });
    }

    /// Reads some entities and makes their messages; of fewer at once where their answers are large.
    fn write(
        &mut self,
        engine: &Engine,
        keys: &[KeyBytes],
        messages: &mut RowMessages,
        batch: &mut SinkBatch,
    ) -> Result<(), PipelineError> {
        let now_us = self.committing.as_ref().map_or(i64::MIN, |one| one.now_us);
        let parts = self.parts_of(keys)?;
        // Held until it is known when they change next.
        let reading = engine.reading();
        let answers = match reading.each_of_view(self.view, &parts, keys.len(), now_us) {
            Ok(answers) => Some(answers),
            Err(ReadError::TooLarge { .. } | ReadError::Overtaken { .. }) if keys.len() > 1 => {
                drop(reading);
                let (some, others) = keys.split_at(keys.len() / 2);
                self.write(engine, some, messages, batch)?;
                return self.write(engine, others, messages, batch);
            }
            // Events lie so far ahead of the clock that nothing of now is held any more.
            Err(ReadError::TooEarly { earliest_us, .. }) => {
                keys.iter().for_each(|key| self.dues.set(key, Some(earliest_us)));
                return Ok(());
            }
            Err(ReadError::Feature(error)) => return Err(error.into()),
            Err(error) => {
                batch.failed.push(error.to_string());
                None
            }
        };
        let changes = engine.view(self.view).online.next_changes(&parts, now_us)?;
        drop(reading);
        keys.iter().zip(changes).for_each(|(key, due_us)| self.dues.set(key, due_us));
        let Some(answers) = answers else { return Ok(()) };
        let rows = self.rows(&parts, answers, batch)?;
        batch.messages.extend(messages.of(&rows)?);
        if let Some(committing) = &mut self.committing {
            committing.sent.extend_from_slice(keys);
        }
        Ok(())
    }

    /// What entries have, without those of which something failed.
    fn rows(
        &self,
        parts: &[ArrayRef],
        answers: ViewAnswers,
        batch: &mut SinkBatch,
    ) -> Result<RecordBatch, PipelineError> {
        let of_output = |output: &Output| match output {
            Output::Key(part) => parts[*part].clone(),
            Output::Feature(feature) => answers.features[*feature].clone(),
        };
        let rows = RecordBatch::try_new(self.schema.clone(), self.entries.outputs.iter().map(of_output).collect())?;
        let is_written = |feature: usize| self.entries.outputs.contains(&Output::Feature(feature));
        let failures = answers.failures.iter().filter(|failure| is_written(failure.feature));
        let failed: BTreeSet<usize> = failures.clone().map(|failure| failure.row).collect();
        if failed.is_empty() {
            return Ok(rows);
        }
        for row in &failed {
            let first = failures.clone().find(|failure| failure.row == *row);
            batch.failed.extend(first.map(|failure| {
                let feature = &self.entries.view.features[failure.feature].name;
                format!("feature `{feature}`: {}", failure.detail)
            }));
        }
        let whole = (0..rows.num_rows()).filter(|row| !failed.contains(row)).map(|row| row as u32);
        Ok(take_record_batch(&rows, &UInt32Array::from_iter_values(whole))?)
    }

    /// What the commit that is on its way writes beside its messages.
    pub(crate) fn as_of(&self) -> EntriesAsOf {
        let as_of_us = self.committing.as_ref().map_or(self.as_of_us, |one| one.as_of_us);
        EntriesAsOf { view: self.print, as_of_us }
    }

    /// The commit has succeeded.
    pub(crate) fn committed(&mut self) {
        self.as_of_us = self.committing.take().map_or(self.as_of_us, |one| one.as_of_us);
    }

    fn bytes_of(&self, parts: &[ArrayRef]) -> Result<Vec<KeyBytes>, PipelineError> {
        if parts.first().is_none_or(|part| part.is_empty()) {
            return Ok(Vec::new());
        }
        let rows = self.keys.convert_columns(parts)?;
        Ok(rows.iter().map(|row| KeyBytes::from(row.data())).collect())
    }

    fn parts_of(&self, keys: &[KeyBytes]) -> Result<Vec<ArrayRef>, PipelineError> {
        let parser = self.keys.parser();
        Ok(self.keys.convert_rows(keys.iter().map(|key| parser.parse(key)))?)
    }
}
