//! Scored rows: when events have become visible, the rows of them get the features of services, and stand in a log of their own.
//!
//! ```text
//!   group visible ─▶ rows of it (WHERE) ─▶ read, each as of its own event ─▶ append, sync ─▶ still ours? ─▶ visible
//!   start, or the disk was full ─▶ the same of what the logs have and nobody scored (catch_up)
//! ```
//! Rules kept here:
//! - a row is scored once, over what is visible as soon as its event is: nothing that it sees is taken in between. Where the process
//!   ended in between, over what its next start finds;
//! - the log of scored rows is never ahead of those of the rows before, and says with every frame how far it has come in them; so it
//!   does where rows are set aside and none is made;
//! - while rows wait to be scored, nothing that is connected with them, or that their services see, is taken in;
//! - what a row that waits is to be read for is not let go of; one as of an instant that a view of the service does not answer any
//!   more is set aside, and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::{Origin, StoredBatch, StoredStream, StoredVerdict};
use asof_expression::FailureKind;
use asof_feature::{EventNames, MadeRows, RowsToScore, Scores, SetAside, StandingRows, Vectors};
use asof_window::Verdict;

use crate::binding::BoundScored;
use crate::checkpointer::Restored;
use crate::closings::{append_frame, stored};
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::reading::{ReadError, Reading};
use crate::recovery::used_offsets;
use crate::settle::Durable;
use crate::sources::Preparation;
use crate::visibility::Published;
use crate::writer::{Judged, Writer};

/// Rows that are read together, and what they may take when they are scored: a frame holds no more.
const ROWS_AT_ONCE: usize = 4_096;
const BYTES_AT_ONCE: usize = 64 << 20;
/// Rows that are made visible together where many are caught up with.
const VISIBLE_AT_ONCE: usize = 65_536;
/// So many offsets without a scored row, or so long after the last frame, are said to have been looked at: the next start need not
/// look at them again, and retention may let go of them.
const SAID_EVERY: u64 = 100_000;
const SAID_EVERY_US: i64 = 60_000_000;

/// Visible events of a source.
struct Visible<'a> {
    batch: &'a RecordBatch,
    /// Those that are events; `None` is all.
    used: Option<&'a BooleanArray>,
    offsets: &'a [u64],
    names: EventNames,
    /// The offset behind them.
    end_offset: u64,
    /// A version that answers as of any instant that the rows may be read at.
    answered: &'a Published,
}

/// One way by which rows come to a scored stream.
#[derive(Clone, Copy)]
struct Place {
    /// The stream's place among those that are scored.
    scored: usize,
    /// The way's number.
    input: usize,
}

/// Rows that were scored at an instant of the wall clock, in microseconds, and are not visible yet.
struct Making {
    now_us: i64,
    made: Vec<Judged>,
}

/// What is appended to the log of scored rows.
struct Frame {
    rows: MadeRows,
    /// Where those before stand.
    origin: Origin,
    /// For each way, up to where they are scored with it.
    scored_to: Vec<u64>,
}

/// Why rows were not scored.
enum NotScored {
    /// Their scores have no place to be stored at.
    Waits,
    Failed(PipelineError),
}

impl<E: Into<PipelineError>> From<E> for NotScored {
    fn from(error: E) -> NotScored {
        NotScored::Failed(error.into())
    }
}

/// When rows are scored.
impl Engine {
    /// Scores the rows of a group that has just become visible. `before` is a read that began before it did: what that sees is
    /// still there.
    pub(crate) fn score_visible(
        &self,
        writer: &mut Writer,
        judged: &[Judged],
        before: &Reading<'_>,
        now_us: i64,
    ) -> Result<(), PipelineError> {
        let mut making = Making { now_us, made: Vec::new() };
        for scored in 0..writer.sources.scored.len() {
            for one in judged {
                let Preparation::Events(prepared) = &one.preparation else { continue };
                let inputs = writer.sources.scored[scored].inputs_of(one.batch.stream);
                let Some(last) = one.batch.offsets.last().filter(|_| !inputs.is_empty()) else { continue };
                let is_used = |verdict: &Verdict| Some(*verdict == Verdict::Used);
                let used: BooleanArray = prepared.verdicts().iter().map(is_used).collect();
                let visible = Visible {
                    batch: &one.batch.batch,
                    used: Some(&used).filter(|used| used.has_false()),
                    offsets: &one.batch.offsets,
                    names: EventNames::new(0, one.batch.offsets.clone(), one.batch.primary_keys.clone()),
                    end_offset: last + 1,
                    answered: before.published(),
                };
                for input in inputs {
                    let place = Place { scored, input };
                    if writer.sources.scored[scored].is_behind {
                        self.let_wait(writer, place, &visible);
                    } else {
                        self.score(writer, place, &visible, &mut making)?;
                    }
                }
            }
        }
        self.publish_scores(writer, making)
    }

    /// Scores what is visible and nobody has scored yet. Where scores cannot be stored, or are held back, the rows wait on.
    pub(crate) fn catch_up(&self, writer: &mut Writer, now_us: i64) -> Result<(), PipelineError> {
        for scored in 0..writer.sources.scored.len() {
            if !writer.sources.scored[scored].is_behind {
                continue;
            }
            if writer.unsettled.is_some() || !self.is_said(writer, scored, now_us)? {
                return Ok(());
            }
            writer.sources.scored[scored].is_behind = false;
            for input in 0..writer.sources.scored[scored].reads.len() {
                self.catch_up_input(writer, Place { scored, input }, now_us)?;
                writer.sources.scored[scored].is_behind |= writer.unsettled.is_some();
                if writer.sources.scored[scored].is_behind {
                    break;
                }
            }
        }
        if writer.sources.scored.iter().all(|one| !one.is_behind) {
            self.awaited_from_us().store(i64::MAX, Ordering::Relaxed);
            writer.scores_answered = None;
        }
        Ok(())
    }

    /// What has to happen from time to time though nothing arrives.
    pub(crate) fn tend_scores(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if writer.unsettled.is_some() {
            return Ok(());
        }
        let now_us = self.wall_us();
        for scored in 0..writer.sources.scored.len() {
            let bound = &writer.sources.scored[scored];
            let is_unsaid = bound.said_to.as_ref().is_some_and(|said_to| *said_to != bound.scored_to);
            let is_long_ago = now_us.saturating_sub(bound.said_us) >= SAID_EVERY_US;
            if is_unsaid && is_long_ago && !bound.is_behind {
                let arrived_us = writer.next_arrival(now_us);
                told(self.say_how_far(writer, scored, arrived_us))?;
            }
        }
        if writer.sources.scored.iter().any(|one| one.is_behind) {
            writer.is_torn = true;
            let arrived_us = writer.next_arrival(now_us);
            self.catch_up(writer, arrived_us)?;
            writer.is_torn = writer.unsettled.is_some();
        }
        Ok(())
    }

    fn catch_up_input(&self, writer: &mut Writer, place: Place, now_us: i64) -> Result<(), PipelineError> {
        let bound = &writer.sources.scored[place.scored];
        let (read, from_offset) = (bound.reads[place.input], bound.scored_to[place.input]);
        let end_offset = writer.next_offset(read);
        if from_offset >= end_offset {
            return Ok(());
        }
        let answered = writer.scores_answered.clone().unwrap_or_else(|| self.published());
        let mut stored = self.stored_from(read, from_offset)?;
        let (mut making, mut rows) = (Making { now_us, made: Vec::new() }, 0);
        while let Some(frame) = stored.next_frame()?.filter(|frame| frame.first_offset < end_offset) {
            let offsets = used_offsets(&frame.batch, frame.first_offset);
            let is_new: BooleanArray = offsets.iter().map(|offset| Some(*offset >= from_offset)).collect();
            let primary_keys = writer.sources[read].plan().primary_keys(&frame.batch.used)?;
            let visible = Visible {
                batch: &frame.batch.used,
                used: Some(&is_new).filter(|is_new| is_new.has_false()),
                offsets: &offsets,
                names: EventNames::new(0, offsets.clone(), primary_keys),
                end_offset: frame.first_offset + frame.batch.verdicts.len() as u64,
                answered: &answered,
            };
            self.score(writer, place, &visible, &mut making)?;
            rows += offsets.len();
            if rows >= VISIBLE_AT_ONCE {
                rows = 0;
                self.publish_scores(writer, std::mem::replace(&mut making, Making { now_us, made: Vec::new() }))?;
            }
            if writer.sources.scored[place.scored].is_behind || writer.unsettled.is_some() {
                break;
            }
        }
        self.publish_scores(writer, making)
    }
}

/// How it begins.
impl Engine {
    /// Asks the logs of scored rows how far they have come, when a checkpoint is back and nothing else: what rows that wait are read
    /// for is held while the logs come back. Of what was before a checkpoint that does not know the stream nobody knows any more
    /// what was visible then.
    pub(crate) fn recall_scores(&self, writer: &mut Writer, restored: &Restored) -> Result<(), PipelineError> {
        if writer.sources.scored.is_empty() {
            return Ok(());
        }
        for place in 0..writer.sources.scored.len() {
            let source = writer.sources.scored[place].source;
            let end_offset = writer.logs[source].as_ref().map(|log| log.log().next_offset());
            let Some(last) = end_offset.and_then(|end| end.checked_sub(1)) else { continue };
            let origin = self.stored_from(source, last)?.next_frame()?.and_then(|frame| frame.batch.origin);
            let name = &self.stored_form(source).name;
            let is_known = restored
                .manifest
                .as_ref()
                .is_none_or(|manifest| manifest.about.streams.iter().any(|about| about.name == *name));
            let bound = &mut writer.sources.scored[place];
            for (input, offset) in origin.unwrap_or_default().next_offsets() {
                bound.scored_to.iter_mut().skip(input as usize).take(1).for_each(|known| *known = offset);
            }
            bound.said_to = Some(bound.scored_to.clone());
            for input in 0..bound.reads.len() {
                let (read, said) = (bound.reads[input], bound.scored_to[input]);
                let first = writer.logs[read].as_ref().map_or(0, |log| log.log().first_offset());
                let known = if is_known { 0 } else { restored.streams[read] };
                let from_offset = said.max(first).max(known);
                if from_offset > said {
                    let (stream, read) = (&self.sources()[source].name, &self.sources()[read].name);
                    tracing::warn!(stream, read, said, from_offset, "events in between are not scored any more");
                }
                bound.scored_to[input] = from_offset;
                let mut stored = self.stored_from(read, from_offset)?;
                while let Some(frame) = stored.next_frame()? {
                    self.await_from(frame.batch.used.column(self.sources()[read].time_column));
                }
            }
        }
        writer.scores_answered = Some(Arc::new(writer.published()));
        Ok(())
    }

    /// Goes on where the logs of scored rows end, once all is recalled. A stream of scored rows that is new begins with what comes
    /// next.
    pub(crate) fn begin_scores(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if writer.sources.scored.is_empty() {
            return Ok(());
        }
        let now_us = writer.next_arrival(self.wall_us());
        for place in 0..writer.sources.scored.len() {
            let bound = &writer.sources.scored[place];
            let source = bound.source;
            if writer.logs[source].is_none() {
                continue;
            }
            if bound.said_to.is_none() {
                let ends: Vec<u64> = bound.reads.iter().map(|read| writer.next_offset(*read)).collect();
                if ends.iter().any(|end| *end > 0) {
                    let stream = &self.sources()[source].name;
                    tracing::info!(stream, "rows are scored from now on: what came before has no scores");
                }
                writer.sources.scored[place].scored_to = ends;
            }
            writer.sources.scored[place].is_behind = true;
            writer.note_position(source);
        }
        self.visibility().publish(writer.published());
        self.catch_up(writer, now_us)?;
        writer.is_torn = writer.unsettled.is_some();
        Ok(())
    }

    /// Whether the log of a scored stream says how far it has come: a new one has to, before a row of it is made.
    fn is_said(&self, writer: &mut Writer, scored: usize, now_us: i64) -> Result<bool, PipelineError> {
        if writer.sources.scored[scored].said_to.is_some() {
            return Ok(true);
        }
        told(self.say_how_far(writer, scored, now_us))
    }

    /// The frames of a log, from the one on that has an offset.
    fn stored_from(&self, source: usize, offset: u64) -> Result<StoredStream, PipelineError> {
        let storage = self.storage().expect("a log is open only where there is a data folder");
        let form = self.stored_form(source);
        Ok(StoredStream::open(storage.disk().clone(), storage.folder(), &form, 0, offset)?)
    }

    /// Visible rows wait: what they are read for is held until they are scored.
    fn let_wait(&self, writer: &mut Writer, place: Place, visible: &Visible<'_>) {
        let bound = &mut writer.sources.scored[place.scored];
        bound.is_behind = true;
        self.await_from(visible.batch.column(self.sources()[bound.reads[place.input]].time_column));
        writer.scores_answered.get_or_insert_with(|| Arc::new(visible.answered.clone()));
    }

    fn await_from(&self, times: &ArrayRef) {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        if let Some(least_us) = times.iter().flatten().min() {
            self.awaited_from_us().fetch_min(least_us, Ordering::Relaxed);
        }
    }
}

/// How rows are scored.
impl Engine {
    /// Scores rows that come by one way. Where they cannot be stored their stream is behind from now on.
    fn score(
        &self,
        writer: &mut Writer,
        place: Place,
        visible: &Visible<'_>,
        making: &mut Making,
    ) -> Result<(), PipelineError> {
        match self.try_to_score(writer, place, visible, making) {
            Ok(()) => Ok(()),
            Err(NotScored::Waits) => {
                self.let_wait(writer, place, visible);
                Ok(())
            }
            Err(NotScored::Failed(error)) => Err(error),
        }
    }

    fn try_to_score(
        &self,
        writer: &mut Writer,
        place: Place,
        visible: &Visible<'_>,
        making: &mut Making,
    ) -> Result<(), NotScored> {
        let rows = writer.sources.scored[place.scored].stream.rows(place.input, visible.batch, visible.used)?;
        let mut rows = self.without_too_early(writer, place, rows, visible.answered)?;
        let mut set_aside = std::mem::take(&mut rows.set_aside);
        let (mut first, mut is_said) = (0, set_aside.is_empty());
        while first < rows.source_rows.len() {
            let (scores, taken) = self.scores_of(writer, place, visible, &rows, first)?;
            let next = rows.source_rows.get(first + taken);
            let end_offset = next.map_or(visible.end_offset, |next| visible.offsets[*next]);
            first += taken;
            is_said = !scores.source_rows.is_empty();
            set_aside.extend(scores.made.set_aside.iter().cloned());
            let scored_to = &mut writer.sources.scored[place.scored].scored_to;
            if is_said {
                let mut frame = Frame { rows: scores.made, origin: Origin::default(), scored_to: scored_to.clone() };
                let offsets = scores.source_rows.iter().map(|row| visible.offsets[*row]);
                offsets.for_each(|offset| frame.origin.push(place.input as u32, offset));
                frame.scored_to[place.input] = end_offset;
                making.made.push(self.store_scores(writer, place.scored, frame, making.now_us)?);
            }
            writer.sources.scored[place.scored].scored_to[place.input] = end_offset;
            self.tell_aside(writer, place, visible, &mut set_aside);
        }
        let bound = &mut writer.sources.scored[place.scored];
        bound.scored_to[place.input] = visible.end_offset;
        let said_to = bound.said_to.as_ref().map_or(0, |said_to| said_to[place.input]);
        let (source, unsaid) = (bound.source, visible.end_offset.saturating_sub(said_to));
        self.tell_aside(writer, place, visible, &mut set_aside);
        if !is_said {
            // That a row was set aside is known for good, as a row is.
            self.say_how_far(writer, place.scored, making.now_us)?;
            self.sync_source(writer, source).map_err(|_| NotScored::Waits)?;
        } else if unsaid >= SAID_EVERY {
            self.say_how_far(writer, place.scored, making.now_us)?;
        }
        Ok(())
    }

    /// Takes note of rows that are set aside, as far as their stream has come.
    fn tell_aside(&self, writer: &Writer, place: Place, visible: &Visible<'_>, set_aside: &mut Vec<SetAside>) {
        let bound = &writer.sources.scored[place.scored];
        let scored_to = bound.scored_to[place.input];
        let (told, left) = set_aside.drain(..).partition(|one| visible.offsets[one.row] < scored_to);
        *set_aside = left;
        lock(self.told()).add_rows_set_aside(bound.source, &told);
    }

    /// Rows as of instants that all views of the services answer; the others are set aside.
    fn without_too_early(
        &self,
        writer: &Writer,
        place: Place,
        rows: RowsToScore,
        answered: &Published,
    ) -> Result<RowsToScore, PipelineError> {
        let bound = &writer.sources.scored[place.scored];
        let horizon_us = self.settings().as_of_horizon_us;
        let views = bound.services.iter().flat_map(|service| &self.service(*service).views);
        let earliest = views.filter_map(|view| answered.earliest_of(&self.view(*view).streams, horizon_us)).max();
        let Some((earliest_us, stream)) = earliest else { return Ok(rows) };
        let in_time = |time_us: i64| Some(time_us >= earliest_us);
        let kept: BooleanArray = rows.times_us(&bound.stream).into_iter().map(in_time).collect();
        if !kept.has_false() {
            return Ok(rows);
        }
        let detail = format!("as of its event time `{}` does not answer any more", self.sources()[stream].name);
        let aside = |row| SetAside { row, kind: FailureKind::Other, detail: detail.clone() };
        Ok(rows.without(&kept, aside)?)
    }

    /// Scores of the rows from one on, as many as go together; and of how many.
    fn scores_of(
        &self,
        writer: &Writer,
        place: Place,
        visible: &Visible<'_>,
        rows: &RowsToScore,
        first: usize,
    ) -> Result<(Scores, usize), NotScored> {
        let stream = &writer.sources.scored[place.scored].stream;
        let mut count = ROWS_AT_ONCE.min(rows.source_rows.len() - first);
        loop {
            let part = rows.slice(first, count);
            let detail = match self.vectors_of(writer, place, visible, &part) {
                Ok(vectors) => {
                    let scores = stream.score(part, &vectors)?;
                    match bytes_of(&scores.made.batch) {
                        bytes if bytes <= BYTES_AT_ONCE => return Ok((scores, count)),
                        bytes => format!("the row takes {bytes} bytes"),
                    }
                }
                Err(ReadError::Feature(error)) => return Err(error.into()),
                Err(error) => error.to_string(),
            };
            if count == 1 {
                let aside = |row| SetAside { row, kind: FailureKind::TooLarge, detail: detail.clone() };
                let part = rows.slice(first, count).without(&BooleanArray::from(vec![false]), aside)?;
                return Ok((Scores { made: stream.none_of(part), source_rows: Vec::new() }, count));
            }
            count /= 2;
        }
    }

    /// What the services answer for rows, each as of its own event.
    fn vectors_of(
        &self,
        writer: &Writer,
        place: Place,
        visible: &Visible<'_>,
        rows: &RowsToScore,
    ) -> Result<Vec<Vectors>, ReadError> {
        let bound = &writer.sources.scored[place.scored];
        let reading = self.reading();
        let times_us = rows.times_us(&bound.stream);
        let standing = StandingRows { names: &visible.names, source_rows: &rows.source_rows };
        let services = bound.stream.scored().services.iter().zip(&bound.services).zip(&bound.ways[place.input]);
        let vectors = services.map(|((request, service), ways)| {
            let request = bound.stream.request(request, rows);
            reading.at_events(*service, &request, &times_us, (standing, ways))
        });
        vectors.collect()
    }
}

/// Where scored rows are kept.
impl Engine {
    /// Appends scored rows to the log of their stream. They are on their way to who reads them.
    fn store_scores(&self, writer: &mut Writer, scored: usize, frame: Frame, now_us: i64) -> Result<Judged, NotScored> {
        match self.storage().map_or(Ok(()), |storage| storage.check()) {
            Err(error) if error.may_pass() => return Err(NotScored::Waits),
            checked => checked?,
        }
        let source = writer.sources.scored[scored].source;
        let log = writer.logs[source].as_mut().expect("scored rows have a log");
        log.reserve_columns(bytes_of(&frame.rows.batch)).map_err(|_| NotScored::Waits)?;
        let rows = self.append_scores(writer, scored, frame, now_us)?;
        Ok(self.judge_rows(writer, source, rows, now_us)?)
    }

    /// Lets the log of scored rows say how far it has come, where there are no rows that would.
    fn say_how_far(&self, writer: &mut Writer, scored: usize, now_us: i64) -> Result<(), NotScored> {
        let bound = &writer.sources.scored[scored];
        let (source, scored_to) = (bound.source, bound.scored_to.clone());
        let frame = Frame { rows: bound.stream.no_rows(), origin: Origin::default(), scored_to };
        let log = writer.logs[source].as_mut().expect("scored rows have a log");
        log.reserve(1, 0, 0).map_err(|_| NotScored::Waits)?;
        self.append_scores(writer, scored, frame, now_us)?;
        writer.sources[source].looked();
        writer.note_position(source);
        Ok(())
    }

    /// Appends a frame, behind all that its rows are made of. Gives the rows back.
    fn append_scores(
        &self,
        writer: &mut Writer,
        scored: usize,
        frame: Frame,
        now_us: i64,
    ) -> Result<MadeRows, NotScored> {
        let Frame { rows, mut origin, scored_to } = frame;
        let BoundScored { source, reads, sees, .. } = &writer.sources.scored[scored];
        let (source, reads, sees) = (*source, reads.clone(), sees.clone());
        for read in reads.iter().chain(&sees) {
            self.sync_source(writer, *read).map_err(|_| NotScored::Waits)?;
        }
        scored_to.iter().enumerate().for_each(|(input, offset)| origin.end_at(input as u32, *offset));
        let watermark_us = reads.iter().map(|read| writer.positions[*read].watermark_us).min().flatten();
        let verdict = if rows.batch.num_rows() == 0 { StoredVerdict::Clock } else { StoredVerdict::Used };
        let stored = StoredBatch { origin: Some(origin), ..stored(&rows, verdict, watermark_us) };
        append_frame(writer, source, stored, now_us).map_err(|_| NotScored::Waits)?;
        watermark_us.into_iter().for_each(|watermark_us| writer.sources[source].set_closed_before(watermark_us));
        let bound = &mut writer.sources.scored[scored];
        (bound.said_to, bound.said_us) = (Some(scored_to), now_us);
        Ok(rows)
    }

    /// Lets scored rows be seen, once they are durable.
    fn publish_scores(&self, writer: &mut Writer, making: Making) -> Result<(), PipelineError> {
        let [made] = self.sync_rows(writer, [making.made]);
        if made.is_empty() {
            return Ok(());
        }
        let durable = Durable::of_rows(made, making.now_us);
        match self.storage().map_or(Ok(()), |storage| storage.check()) {
            Ok(()) => self.publish_durable(writer, durable).map(|_rows| ()),
            Err(error) if error.may_pass() => {
                writer.hold_back(durable);
                self.visibility().publish(writer.published());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The offset before which the rows of a source are scored, as the logs of scored rows say; `None` where none are.
    pub(crate) fn scored_before(&self, source: usize) -> Option<u64> {
        let writer = lock(self.writer());
        let said = writer.sources.scored.iter().flat_map(|one| {
            let said_to = one.said_to.iter().flatten().chain(std::iter::repeat(&0));
            one.reads.iter().zip(said_to).filter(|(read, _)| **read == source).map(|(_, said)| *said)
        });
        said.min()
    }
}

/// Whether something was stored, or has to wait.
fn told(stored: Result<(), NotScored>) -> Result<bool, PipelineError> {
    match stored {
        Ok(()) => Ok(true),
        Err(NotScored::Waits) => Ok(false),
        Err(NotScored::Failed(error)) => Err(error),
    }
}

/// What the rows of a batch take, which may be a part of larger columns.
fn bytes_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
}
