//! What a sink writes, whichever it is: rows of logs, or entries of a feature view.

use asof_connect::{Progress, RowMessages};
use asof_definition::{Sink, SinkOf};

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::sink_log::SinkLog;
use crate::sink_rows::{SinkBatch, SinkRows};
use crate::view_entries::ViewEntries;

/// Where the messages of a sink come from.
#[derive(Debug)]
pub(crate) enum SinkInput {
    Rows(Vec<SinkRows>),
    Entries(Box<ViewEntries>),
}

impl SinkInput {
    /// That of a sink, nothing of which is read yet.
    pub(crate) fn of(engine: &Engine, sink: &Sink) -> Result<SinkInput, PipelineError> {
        Ok(match &sink.of {
            SinkOf::Rows(rows) | SinkOf::Stream(rows) => SinkInput::Rows(SinkRows::of(engine, rows)),
            SinkOf::Entries(entries) => SinkInput::Entries(Box::new(ViewEntries::of(engine, sink, entries)?)),
        })
    }

    /// The logs that it reads.
    pub(crate) fn logs(&self) -> Vec<&SinkLog> {
        match self {
            SinkInput::Rows(rows) => rows.iter().map(|one| &one.log).collect(),
            SinkInput::Entries(entries) => entries.logs().collect(),
        }
    }

    /// Goes on where a writer is that was opened. Returns how many offsets of the logs were gone before they were written.
    pub(crate) fn begin(&mut self, engine: &Engine, progress: &Progress) -> Result<u64, PipelineError> {
        let mut lost = 0;
        let logs: Vec<&mut SinkLog> = match self {
            SinkInput::Rows(rows) => rows.iter_mut().map(|one| &mut one.log).collect(),
            SinkInput::Entries(entries) => {
                entries.begin(engine, progress)?;
                entries.logs_mut().collect()
            }
        };
        for log in logs {
            lost += log.begin(engine, progress.logs.get(&log.name).copied().unwrap_or(0))?;
        }
        Ok(lost)
    }

    /// How far it is where the cluster knows nothing: rows are written from the beginning of their logs, and of the entries those of
    /// all entities that there were at the start, before what came since.
    pub(crate) fn first_progress(&self, engine: &Engine) -> Progress {
        match self {
            SinkInput::Rows(_) => Progress::default(),
            SinkInput::Entries(entries) => {
                let logs = entries.logs().map(|log| (log.name.clone(), log.opened_at(engine)));
                Progress { logs: logs.collect(), entries: None }
            }
        }
    }

    /// Whether it does no harm to write everything once more.
    pub(crate) fn may_repeat(&self) -> bool {
        matches!(self, SinkInput::Entries(_))
    }

    /// Whether there is something to write.
    pub(crate) fn has_more(&self, engine: &Engine) -> bool {
        let is_due = match self {
            SinkInput::Rows(_) => false,
            SinkInput::Entries(entries) => entries.is_due(engine.reading().now_us()),
        };
        is_due || self.logs().iter().any(|log| log.has_more(engine))
    }

    /// Reads on. `None` where nothing is there.
    pub(crate) fn next(
        &mut self,
        engine: &Engine,
        messages: &mut RowMessages,
    ) -> Result<Option<SinkBatch>, PipelineError> {
        match self {
            SinkInput::Rows(rows) => {
                for one in rows {
                    if let Some(batch) = one.next(engine, messages)? {
                        return Ok(Some(batch));
                    }
                }
                Ok(None)
            }
            SinkInput::Entries(entries) => Ok(entries.next(engine)?.then(SinkBatch::default)),
        }
    }

    /// How many messages what was read will have before the commit.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            SinkInput::Rows(_) => 0,
            SinkInput::Entries(entries) => entries.waiting(),
        }
    }

    /// What is to be sent with the commit that comes now, part by part until `None`.
    pub(crate) fn send(
        &mut self,
        engine: &Engine,
        messages: &mut RowMessages,
    ) -> Result<Option<SinkBatch>, PipelineError> {
        match self {
            SinkInput::Rows(_) => Ok(None),
            SinkInput::Entries(entries) => entries.send(engine, messages),
        }
    }

    /// How far it is with that commit.
    pub(crate) fn progress(&self) -> Progress {
        let logs = self.logs().into_iter().map(|log| (log.name.clone(), log.next_offset)).collect();
        let entries = match self {
            SinkInput::Rows(_) => None,
            SinkInput::Entries(entries) => Some(entries.as_of()),
        };
        Progress { logs, entries }
    }

    /// The commit has succeeded.
    pub(crate) fn committed(&mut self) {
        if let SinkInput::Entries(entries) = self {
            entries.committed();
        }
    }

    /// Makes durable what the commit was made of. Rows are read when they are. Returns whether that is done.
    pub(crate) fn make_durable(&self, engine: &Engine) -> bool {
        match self {
            SinkInput::Rows(_) => true,
            SinkInput::Entries(entries) => entries.make_durable(engine),
        }
    }

    /// How many entities will have another entry by time alone.
    pub(crate) fn scheduled(&self) -> usize {
        match self {
            SinkInput::Rows(_) => 0,
            SinkInput::Entries(entries) => entries.scheduled(),
        }
    }
}
