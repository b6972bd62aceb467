//! Group commit: what waits at the door becomes durable and visible together, with one sync and one version.
//!
//! ```text
//!   group ─▶ units ─▶ room on disk? ─▶ judge, evaluate ─▶ append ─┐
//!                                                                 ├─▶ sync ─▶ still ours? ─▶ views, publish ─▶ answers
//!   group ─▶ … of other streams ──────────────────────────────────┘
//! ```
//! Rules kept here:
//! - nothing is answered before it is durable (where the stream promises that) and visible;
//! - a batch refused for want of room or memory has changed nothing;
//! - after a sync the generation is looked at again: what another writer may not have seen is not acknowledged. Where it
//!   cannot be read, the group is held back (`settle.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use asof_connect::{ProducerBatch, StoredBatch};
use asof_feature::{ArrivedAt, Lateness};
use asof_log::LogError;

use crate::closings::Which;
use crate::distribution::Distribution;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::late_letters::late_letters;
use crate::settle::Durable;
use crate::storage::Storage;
use crate::stream_batch::StreamBatch;
use crate::stream_log::{FrameAbout, StreamLog};
use crate::submission::{IngestError, Manner, Receipt, Submission};
use crate::unit::Unit;
use crate::writer::{Judged, Writer};

/// What ingestion measures of itself.
#[derive(Debug, Default)]
pub struct IngestMeasures {
    /// From a batch's arrival at our door to its visibility.
    pub visibility_delay: Distribution,
    /// From an event's time to its visibility.
    pub event_to_visible: Distribution,
    /// One sync of one log.
    pub log_sync: Distribution,
    /// Batches that were not taken in.
    pub refused: RefusedBatches,
}

/// Counts of batches that were not taken in, by reason.
#[derive(Debug, Default)]
pub struct RefusedBatches {
    counts: [AtomicU64; RefusedBatches::REASONS.len()],
}

impl RefusedBatches {
    const REASONS: [&'static str; 7] = ["queue", "state", "keys", "disk", "broken", "generation", "other"];

    /// Counts one.
    pub fn add(&self, error: &IngestError) {
        let place = match error {
            IngestError::Busy { .. } => 0,
            IngestError::StateFull { .. } => 1,
            IngestError::KeysFull { .. } => 2,
            IngestError::DiskFull { .. } => 3,
            IngestError::Broken { .. } | IngestError::NoClaim { .. } => 4,
            IngestError::NotSettled { .. } | IngestError::BehindNotSettled => 5,
            _ => 6,
        };
        self.counts[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Each reason with its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        RefusedBatches::REASONS.into_iter().zip(counts)
    }
}

/// A unit whose frame is in the log.
pub(crate) struct Written {
    pub(crate) unit: Unit,
    pub(crate) judged: Judged,
    /// Named batches in it, which are remembered once they are durable.
    pub(crate) producers: Vec<ProducerBatch>,
}

/// Submissions and what they are to be answered once no lock is held.
type Answers = Vec<(Submission, Result<Receipt, IngestError>)>;

impl Engine {
    /// Takes in a group of submissions and answers them. Gives back those that have to wait for the others, because they
    /// bear the same name.
    pub(crate) fn commit(&self, group: Vec<Submission>) -> Result<Vec<Submission>, PipelineError> {
        let mut answers = Answers::new();
        let result = self.commit_group(group, &mut answers);
        for (submission, outcome) in answers {
            if let Err(error) = &outcome {
                self.ingest_measures().refused.add(error);
            }
            (submission.answer)(outcome);
        }
        result
    }

    fn commit_group(&self, group: Vec<Submission>, answers: &mut Answers) -> Result<Vec<Submission>, PipelineError> {
        let mut writer = lock(self.writer());
        if let Err(error) = self.settle(&mut writer) {
            let may_pass = error.may_pass();
            let told = if may_pass { IngestError::BehindNotSettled } else { told_at_the_end(&error) };
            answers.extend(group.into_iter().map(|submission| (submission, Err(told.clone()))));
            return if may_pass { Ok(Vec::new()) } else { Err(error) };
        }
        if writer.unsettled.is_some() {
            // What was held back is seen now, and its scores are held back in turn.
            let told = IngestError::BehindNotSettled;
            answers.extend(group.into_iter().map(|submission| (submission, Err(told.clone()))));
            return Ok(Vec::new());
        }
        let group = writer.without_repeats(group, answers);
        let (mut units, later) = Unit::of(group);
        // Versions first: an event is joined with those that come with it. Tables in their order: so they are recalled too.
        let table = |unit: &Unit| self.is_table(unit.stream).then_some(unit.stream);
        units.sort_by_key(|unit| (table(unit).is_none(), table(unit)));
        writer.is_torn = true;
        let committed = self.commit_units(&mut writer, units, answers);
        writer.is_torn = committed.is_err() || writer.unsettled.is_some();
        committed.map(|()| later)
    }

    fn commit_units(&self, writer: &mut Writer, units: Vec<Unit>, answers: &mut Answers) -> Result<(), PipelineError> {
        let arrived_us = writer.next_arrival(self.wall_us());
        if let Err(error) = self.catch_up(writer, arrived_us) {
            return refuse_all(units, error, answers);
        }
        if writer.unsettled.is_some() {
            units.into_iter().for_each(|unit| refuse(unit, &IngestError::BehindNotSettled, answers));
            return Ok(());
        }
        let looked = match self.look_at_windows(writer, arrived_us, Which::All) {
            Ok(looked) => looked,
            Err(error) => return refuse_all(units, error, answers),
        };
        let mut written = Vec::with_capacity(units.len());
        for unit in units {
            let outcome = match self.state_full_for(writer, &unit) {
                Some(full) => Err(full),
                None => self.write(writer, &unit, arrived_us)?,
            };
            match outcome {
                Ok((judged, producers)) => written.push(Written { unit, judged, producers }),
                Err(error) => refuse(unit, &error, answers),
            }
        }
        let written = self.sync(writer, written, answers);
        let closed = match self.close_windows(writer, arrived_us, Which::All) {
            Ok(closed) => closed,
            Err(error) => return refuse_all(written.into_iter().map(|one| one.unit), error, answers),
        };
        let [looked, closed] = self.sync_rows(writer, [looked, closed]);
        let storage = self.storage().expect("logs are open only where there is a data folder");
        let (units, durable) = Durable::of(written, arrived_us);
        let durable = durable.with_rows(looked, closed).with_moved(std::mem::take(&mut writer.moved_windows));
        match storage.check() {
            Ok(()) => self.make_visible(writer, units, durable, answers),
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, "events are held back: it is not known whether another writer has taken over");
                let told = IngestError::NotSettled { detail: error.to_string() };
                units.into_iter().for_each(|unit| refuse(unit, &told, answers));
                writer.hold_back(durable);
                self.visibility().publish(writer.published());
                Ok(())
            }
            Err(error) => refuse_all(units, error, answers),
        }
    }

    /// Judges a unit and appends it to its log. The inner error is the producers', the outer one ends the job.
    fn write(
        &self,
        writer: &mut Writer,
        unit: &Unit,
        arrived_us: i64,
    ) -> Result<Result<(Judged, Vec<ProducerBatch>), IngestError>, PipelineError> {
        let stream = unit.stream;
        let Some(log) = &mut writer.logs[stream] else {
            let name = self.sources()[stream].name.clone();
            return Ok(Err(IngestError::ReadsFile { stream: name }));
        };
        let window_streams = self.views_of(stream).into_iter().filter(|view| self.view(*view).online.closes()).count();
        let room =
            log.reserve(unit.rows(), unit.bytes(), window_streams).and_then(|()| writer.make_room_for_keys(stream));
        let room = room.and_then(|()| self.make_room_for_windows(writer, stream));
        if let Err(error) = room {
            writer.break_connected();
            return Ok(Err(error));
        }
        let log = writer.logs[stream].as_ref().expect("it was there before");
        let batch = unit.batch(writer.sources[stream].plan(), log.log().next_offset(), arrived_us)?;
        let lateness = if matches!(unit.manner(), Manner::Live) { Lateness::Applied } else { Lateness::Waived };
        let arrived = match (unit.manner(), &batch.arrived) {
            (Manner::History { .. }, Some(arrived)) => ArrivedAt::Each(arrived),
            _ => ArrivedAt::All(arrived_us),
        };
        let used_before =
            match writer.keys_used_before(stream, unit.rows(), batch.primary_keys.as_ref(), batch.fed.as_deref()) {
                Ok(used_before) => used_before,
                Err(error) => {
                    let stream = self.sources()[stream].name.clone();
                    return Ok(Err(IngestError::Broken { stream, detail: error.to_string() }));
                }
            };
        if lateness == Lateness::Waived {
            // What is dropped with this unit is gone before its events come.
            writer.sources[stream].note_settled(&self.settled(&self.visibility().published(), stream));
        }
        if let Err(error) = reaches_back(writer, unit, &batch) {
            return Ok(Err(error));
        }
        let preparation = writer.sources.prepare(stream, batch.arrivals(arrived, lateness, &used_before))?;
        let judged = Judged { batch, preparation };
        if let Err(error) = self.note_too_late(writer, stream, judged.prepared(), arrived_us) {
            writer.break_source(stream, &error.to_string());
            return Ok(Err(error));
        }
        let mut stored = self.stored_unit(writer, unit, &judged)?;
        let about = FrameAbout { arrived_us, newest_us: judged.prepared().newest_us() };
        let log = writer.logs[stream].as_mut().expect("it was there before");
        let appended = log.append(&mut stored, about);
        if appended.is_err() {
            writer.break_connected();
        }
        Ok(appended.map(|()| (judged, stored.producers)))
    }

    /// What the log keeps of a judged unit.
    fn stored_unit(&self, writer: &Writer, unit: &Unit, judged: &Judged) -> Result<StoredBatch, PipelineError> {
        let mut stored = unit.stored(&judged.batch, judged.prepared(), &self.readers_of(writer, unit.stream))?;
        let stream = |place: usize| (self.sources()[place].name.clone(), self.readers_of(writer, place));
        stored.dead.extend(late_letters(&judged.preparation, stream));
        stored.dead.sort_by_key(|letter| letter.row);
        Ok(stored)
    }

    /// Makes the logs durable that promise it. Units of a log that cannot be are refused, and those of logs that joins connect
    /// with it.
    fn sync(&self, writer: &mut Writer, written: Vec<Written>, answers: &mut Answers) -> Vec<Written> {
        let mut failed: Vec<Option<IngestError>> = vec![None; writer.logs.len()];
        for (log, failed) in writer.logs.iter_mut().zip(&mut failed) {
            if let Some(log) = log.as_mut().filter(|log| log.waits_for_sync()) {
                *failed = self.sync_log(log).err();
            }
        }
        writer.break_connected();
        for (log, failed) in writer.logs.iter().zip(&mut failed) {
            if let Some(log) = log.as_ref().filter(|log| failed.is_none() && log.is_broken_beside()) {
                *failed = log.check().err();
            }
        }
        let mut durable = Vec::with_capacity(written.len());
        for one in written {
            match &failed[one.unit.stream] {
                Some(error) => refuse(one.unit, error, answers),
                None => durable.push(one),
            }
        }
        durable
    }

    /// Syncs one log, and takes the time.
    pub(crate) fn sync_log(&self, log: &mut StreamLog) -> Result<(), IngestError> {
        let began_us = self.wall_us();
        let synced = log.sync();
        self.ingest_measures().log_sync.add(self.wall_us() - began_us, 1);
        synced
    }

    fn make_visible(
        &self,
        writer: &mut Writer,
        units: Vec<Unit>,
        durable: Durable,
        answers: &mut Answers,
    ) -> Result<(), PipelineError> {
        let judged = self.publish_durable(writer, durable)?;
        let visible_us = self.wall_us();
        for (unit, judged) in units.into_iter().zip(&judged) {
            self.measure(&unit, judged, visible_us);
            let receipts = unit.receipts(&judged.batch, judged.prepared().verdicts());
            answers.extend(unit.parts.into_iter().zip(receipts.into_iter().map(Ok)));
        }
        Ok(())
    }

    fn measure(&self, unit: &Unit, judged: &Judged, visible_us: i64) {
        let measures = self.ingest_measures();
        for part in &unit.parts {
            measures.visibility_delay.add(visible_us - part.received_us, 1);
        }
        if matches!(unit.manner(), Manner::Live)
            && let Some(newest_us) = judged.prepared().newest_us()
        {
            measures.event_to_visible.add(visible_us - newest_us, 1);
        }
    }

    /// Makes the logs durable that do not promise it with every answer. An error where one is broken: its judge knows events
    /// that its log has not.
    pub(crate) fn sync_logs(&self) -> Result<(), PipelineError> {
        let mut writer = lock(self.writer());
        for log in writer.logs.iter_mut().flatten() {
            log.check()?;
            log.sync()?;
        }
        Ok(())
    }

    pub(crate) fn storage(&self) -> Option<&Storage> {
        self.storage.as_ref()
    }
}

/// What producers are told of an error that ends the job.
fn told_at_the_end(error: &PipelineError) -> IngestError {
    match error {
        PipelineError::Log(LogError::Fenced { .. }) => IngestError::TakenOver,
        PipelineError::Log(error) => IngestError::NoClaim { detail: error.to_string() },
        error => IngestError::Internal { detail: error.to_string() },
    }
}

/// Whether joins and sessions still know all that a history, which cannot be late, would need or change.
fn reaches_back(writer: &Writer, unit: &Unit, batch: &StreamBatch) -> Result<(), IngestError> {
    if matches!(unit.manner(), Manner::Live) {
        return Ok(());
    }
    let Some((earliest_us, other)) = writer.sources.reaches_back_to(unit.stream, unit.manner()) else { return Ok(()) };
    match Unit::least_us(writer.sources[unit.stream].plan(), batch) {
        Some(least_us) if least_us < earliest_us => Err(IngestError::OutOfReach { least_us, earliest_us, other }),
        _ => Ok(()),
    }
}

fn refuse(unit: Unit, error: &IngestError, answers: &mut Answers) {
    answers.extend(unit.parts.into_iter().map(|part| (part, Err(error.clone()))));
}

/// Answers units of which an error of the job takes hold.
fn refuse_all(
    units: impl IntoIterator<Item = Unit>,
    error: PipelineError,
    answers: &mut Answers,
) -> Result<(), PipelineError> {
    let told = told_at_the_end(&error);
    units.into_iter().for_each(|unit| refuse(unit, &told, answers));
    Err(error)
}

impl Writer {
    /// Answers the submissions whose batch was taken in before; gives back the others.
    fn without_repeats(&self, group: Vec<Submission>, answers: &mut Answers) -> Vec<Submission> {
        let mut fresh = Vec::with_capacity(group.len());
        for submission in group {
            let log = self.logs[submission.stream].as_ref();
            match submission.batch_key.as_ref().and_then(|key| log?.producers.find(key)) {
                Some(outcome) => answers.push((submission, outcome)),
                None => fresh.push(submission),
            }
        }
        fresh
    }
}
