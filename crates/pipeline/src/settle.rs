//! A group that is durable and of which it is not known whether it may be acknowledged: the generation could not be read.
//!
//! ```text
//!   judged, appended, synced ─▶ generation? ─ ours ──────────────────▶ visible, answered
//!                                   │  └───── another's ─────────────▶ refused, the job ends
//!                                   └ cannot be read ─▶ refused (503), held back ─▶ generation? ─ ours ─▶ visible
//!                                                                          ▲ ── cannot be read ──┘ asked again before
//!                                                                                              anything else is judged
//! ```
//! Why this is sound: judges and logs know the group and views do not, so until it is settled no batch is judged and no
//! checkpoint is cut (`Writer::is_torn`). What its producers were told is what a broken connection tells them too: they send
//! it again, and its keys and names are known as soon as it is visible. If the process ends first, its next start finds the
//! group in the log, as one that took over does.

use asof_connect::ProducerBatch;

use crate::commit::Written;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::unit::Unit;
use crate::writer::{Judged, Writer};

/// A group that is durable, and not visible yet.
#[derive(Debug)]
pub(crate) struct Durable {
    /// Rows of windows that closed before the units were judged, these, and rows of windows that closed by them.
    judged: Vec<Judged>,
    /// How many the first are.
    before: usize,
    taken: Vec<Taken>,
    /// Sources with rows of windows whose watermark moved with it.
    moved: Vec<usize>,
    arrived_us: i64,
}

/// What a log takes note of.
#[derive(Debug)]
struct Taken {
    stream: usize,
    bytes: u64,
    /// The batches that producers have named.
    named: Vec<ProducerBatch>,
}

impl Durable {
    /// Parts a group from those who wait for it.
    pub(crate) fn of(written: Vec<Written>, arrived_us: i64) -> (Vec<Unit>, Durable) {
        let mut durable = Durable::of_rows(Vec::new(), arrived_us);
        let mut units = Vec::with_capacity(written.len());
        for Written { unit, judged, producers } in written {
            durable.taken.push(Taken { stream: unit.stream, bytes: unit.bytes() as u64, named: producers });
            durable.judged.push(judged);
            units.push(unit);
        }
        (units, durable)
    }

    /// Rows that were made alone: of windows, or scored.
    pub(crate) fn of_rows(judged: Vec<Judged>, arrived_us: i64) -> Durable {
        Durable { before: judged.len(), judged, taken: Vec::new(), moved: Vec::new(), arrived_us }
    }

    /// The same group, and with it windows that have closed, whether they have rows or not.
    pub(crate) fn with_moved(self, moved: Vec<usize>) -> Durable {
        Durable { moved, ..self }
    }

    /// The same group with the rows of windows that closed before it was judged, and of those that closed by it.
    pub(crate) fn with_rows(self, mut before: Vec<Judged>, after: Vec<Judged>) -> Durable {
        let looked = before.len();
        before.extend(self.judged);
        before.extend(after);
        Durable { judged: before, before: looked, ..self }
    }

    /// The sources whose events or versions it has.
    pub(crate) fn streams(&self) -> impl Iterator<Item = usize> {
        self.judged.iter().map(|judged| judged.batch.stream)
    }
}

impl Engine {
    /// Lets reads see a group. Gives back what its producers are to be told of.
    pub(crate) fn publish_durable(&self, writer: &mut Writer, durable: Durable) -> Result<Vec<Judged>, PipelineError> {
        let Durable { mut judged, before, taken, moved, arrived_us } = durable;
        for Taken { stream, bytes, named } in taken {
            let log = writer.logs[stream].as_mut().expect("what is durable is in a log");
            log.received_bytes += bytes;
            named.into_iter().for_each(|batch| log.producers.remember(batch));
        }
        if judged.is_empty() {
            writer.note_windows(&moved);
        } else {
            let seen_before = (!writer.sources.scored.is_empty()).then(|| self.reading());
            self.publish_judged(writer, &judged, &moved, arrived_us)?;
            seen_before.map_or(Ok(()), |before| self.score_visible(writer, &judged, &before, arrived_us))?;
        }
        Ok(judged.split_off(before))
    }

    /// Lets the group be seen that was held back, if there is one.
    pub(crate) fn settle(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if writer.unsettled.is_none() {
            return Ok(());
        }
        self.storage().expect("logs are open only where there is a data folder").check()?;
        if let Some(durable) = writer.unsettled.take() {
            self.publish_durable(writer, durable)?;
        }
        writer.is_torn = writer.unsettled.is_some();
        Ok(())
    }

    /// Lets a group that was held back be seen as soon as that is possible, though no batch comes.
    pub(crate) fn tend_logs(&self) -> Result<(), PipelineError> {
        match self.settle(&mut lock(self.writer())) {
            Err(error) if !error.may_pass() => Err(error),
            _settled_or_held_back => Ok(()),
        }
    }
}
