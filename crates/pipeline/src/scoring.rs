//! Scored rows: when events have become visible, the rows of them get the features of services, and stand in a log of their own.
//!
//! ```text
//!   group visible ─▶ rows of it (WHERE) ─▶ read, each as of its own event ─▶ append, sync ─▶ still ours? ─▶ visible
//!   start, or the disk was full ─▶ the same of what the logs have and nobody scored (catch_up)
//! ```
//! Rules kept here:
//! - a row is scored once, over what is visible as soon as its event is: nothing else is taken in between. Where the process ended
//!   in between, over what its next start finds;
//! - the log of scored rows is never ahead of those of the rows before, and says with every frame how far it has come in them;
//! - while rows wait to be scored, nothing that is connected with them is taken in;
//! - what a row that waits is to be read for is not let go of; one as of an instant that a view of the service does not answer any
//!   more is set aside, and counted.

use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::Rows;
use asof_connect::{Origin, StoredBatch, StoredStream, StoredVerdict};
use asof_expression::FailureKind;
use asof_feature::{RowsToScore, Scores, SetAside, StandingRows, Vectors};
use asof_window::Verdict;

use crate::closings::append_frame;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::reading::{ReadError, Reading};
use crate::recovery::used_offsets;
use crate::settle::Durable;
use crate::sources::Preparation;
use crate::visibility::Published;
use crate::writer::{Judged, Writer};

/// Rows that are read together.
const ROWS_AT_ONCE: usize = 4_096;
/// Rows that are made visible together where many are caught up with.
const VISIBLE_AT_ONCE: usize = 65_536;
/// So many offsets without a scored row are said to have been looked at: the next start need not look at them again.
const SAID_EVERY: u64 = 100_000;

/// Visible events of a source.
struct Visible<'a> {
    batch: &'a RecordBatch,
    /// Those that are events; `None` is all.
    used: Option<&'a BooleanArray>,
    offsets: &'a [u64],
    primary_keys: Option<&'a Rows>,
    /// The offset behind them.
    end_offset: u64,
}

/// How a scored stream stands among the others.
struct Place {
    /// Its place among the scored streams.
    scored: usize,
    /// The way by which rows come to it.
    input: usize,
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
        let mut made = Vec::new();
        for scored in 0..writer.sources.scored.len() {
            for one in judged {
                let stream = one.batch.stream;
                let Preparation::Events(prepared) = &one.preparation else { continue };
                let inputs = writer.sources.scored[scored].inputs_of(stream);
                let Some(last) = one.batch.offsets.last().filter(|_| !inputs.is_empty()) else { continue };
                let used: BooleanArray =
                    prepared.verdicts().iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
                let visible = Visible {
                    batch: &one.batch.batch,
                    used: Some(&used).filter(|used| used.has_false()),
                    offsets: &one.batch.offsets,
                    primary_keys: one.batch.primary_keys.as_ref(),
                    end_offset: last + 1,
                };
                for input in inputs {
                    if writer.sources.scored[scored].is_behind {
                        continue;
                    }
                    let place = Place { scored, input };
                    self.score(writer, &place, &visible, before.published(), (now_us, &mut made))?;
                }
            }
        }
        self.publish_scores(writer, made, now_us)
    }

    /// Scores what is visible and nobody has scored yet. Where scores cannot be stored the rows wait on.
    pub(crate) fn catch_up(&self, writer: &mut Writer, now_us: i64) -> Result<(), PipelineError> {
        for scored in 0..writer.sources.scored.len() {
            if !writer.sources.scored[scored].is_behind {
                continue;
            }
            writer.sources.scored[scored].is_behind = false;
            for input in 0..writer.sources.scored[scored].reads.len() {
                if !writer.sources.scored[scored].is_behind {
                    self.catch_up_input(writer, &Place { scored, input }, now_us)?;
                }
            }
        }
        if writer.sources.scored.iter().all(|one| !one.is_behind) {
            self.awaited_from_us().store(i64::MAX, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same though nothing arrives.
    pub(crate) fn catch_up_idle(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if writer.sources.scored.iter().all(|one| !one.is_behind) || writer.unsettled.is_some() {
            return Ok(());
        }
        writer.is_torn = true;
        let now_us = writer.next_arrival(self.wall_us());
        self.catch_up(writer, now_us)?;
        writer.is_torn = writer.unsettled.is_some();
        Ok(())
    }

    fn catch_up_input(&self, writer: &mut Writer, place: &Place, now_us: i64) -> Result<(), PipelineError> {
        let bound = &writer.sources.scored[place.scored];
        let (read, from_offset) = (bound.reads[place.input], bound.scored_to[place.input]);
        let end_offset = writer.positions[read].next_offsets.first().copied().unwrap_or(0);
        if from_offset >= end_offset {
            return Ok(());
        }
        let mut stored = self.stored_from(read, from_offset)?;
        let (mut made, mut rows) = (Vec::new(), 0);
        while let Some(frame) = stored.next_frame()?.filter(|frame| frame.first_offset < end_offset) {
            let offsets = used_offsets(&frame.batch, frame.first_offset);
            let is_new: BooleanArray = offsets.iter().map(|offset| Some(*offset >= from_offset)).collect();
            let primary_keys = writer.sources[read].plan().primary_keys(&frame.batch.used)?;
            let visible = Visible {
                batch: &frame.batch.used,
                used: Some(&is_new).filter(|is_new| is_new.has_false()),
                offsets: &offsets,
                primary_keys: primary_keys.as_ref(),
                end_offset: frame.first_offset + frame.batch.verdicts.len() as u64,
            };
            self.score(writer, place, &visible, &self.published(), (now_us, &mut made))?;
            rows += offsets.len();
            if writer.sources.scored[place.scored].is_behind || rows >= VISIBLE_AT_ONCE {
                rows = 0;
                self.publish_scores(writer, std::mem::take(&mut made), now_us)?;
            }
            if writer.sources.scored[place.scored].is_behind {
                return Ok(());
            }
        }
        self.publish_scores(writer, made, now_us)
    }

    /// Asks the logs of scored rows how far they have come, before anything else is recalled: what those that wait are read for is
    /// held.
    pub(crate) fn recall_scores(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        for place in 0..writer.sources.scored.len() {
            let source = writer.sources.scored[place].source;
            let end_offset = writer.logs[source].as_ref().map(|log| log.log().next_offset());
            let Some(last) = end_offset.and_then(|end| end.checked_sub(1)) else { continue };
            let origin = self.stored_from(source, last)?.next_frame()?.and_then(|frame| frame.batch.origin);
            let bound = &mut writer.sources.scored[place];
            for (input, offset) in origin.unwrap_or_default().next_offsets() {
                bound.scored_to.iter_mut().skip(input as usize).take(1).for_each(|known| *known = offset);
            }
            for (read, from_offset) in bound.reads.clone().into_iter().zip(bound.scored_to.clone()) {
                let time_column = self.sources()[read].time_column;
                let mut stored = self.stored_from(read, from_offset)?;
                while let Some(frame) = stored.next_frame()? {
                    self.await_from(frame.batch.used.column(time_column));
                }
            }
        }
        Ok(())
    }

    /// The frames of a log, from the one on that has an offset.
    fn stored_from(&self, source: usize, offset: u64) -> Result<StoredStream, PipelineError> {
        let storage = self.storage().expect("a log is open only where there is a data folder");
        let form = self.stored_form(source);
        Ok(StoredStream::open(storage.disk().clone(), storage.folder(), &form, 0, offset)?)
    }

    /// What rows of these times are read for is held until they are scored.
    fn await_from(&self, times: &ArrayRef) {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        if let Some(least_us) = times.iter().flatten().min() {
            self.awaited_from_us().fetch_min(least_us, Ordering::Relaxed);
        }
    }

    /// Goes on where the logs of scored rows end, once all is recalled. A stream of scored rows that is new begins with what comes
    /// next: of what was before nobody knows what was visible then.
    pub(crate) fn begin_scores(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if writer.sources.scored.is_empty() {
            return Ok(());
        }
        let now_us = writer.next_arrival(self.wall_us());
        for place in 0..writer.sources.scored.len() {
            let source = writer.sources.scored[place].source;
            let Some(end_offset) = writer.logs[source].as_ref().map(|log| log.log().next_offset()) else { continue };
            if end_offset == 0 {
                let ends = writer.sources.scored[place].reads.iter().map(|read| {
                    writer.positions[*read].next_offsets.first().copied().unwrap_or(0)
                });
                let ends: Vec<u64> = ends.collect();
                if ends.iter().any(|end| *end > 0) {
                    let stream = &self.sources()[source].name;
                    tracing::info!(stream, "rows are scored from now on: what came before has no scores");
                }
                writer.sources.scored[place].scored_to = ends;
                self.say_how_far(writer, place, now_us)?;
                self.sync_source(writer, source)?;
            }
            let bound = &mut writer.sources.scored[place];
            (bound.is_behind, bound.said_to) = (true, bound.scored_to.clone());
            writer.note_position(source);
        }
        self.visibility().publish(writer.published());
        self.catch_up(writer, now_us)
    }

    /// Scores rows that come by one way. Where they cannot be stored their stream is behind from now on.
    fn score(
        &self,
        writer: &mut Writer,
        place: &Place,
        visible: &Visible<'_>,
        answered: &Published,
        (now_us, made): (i64, &mut Vec<Judged>),
    ) -> Result<(), PipelineError> {
        match self.try_to_score(writer, place, visible, answered, (now_us, made)) {
            Ok(()) => Ok(()),
            Err(NotScored::Waits) => {
                let bound = &mut writer.sources.scored[place.scored];
                bound.is_behind = true;
                let time_column = self.sources()[bound.reads[place.input]].time_column;
                self.await_from(visible.batch.column(time_column));
                Ok(())
            }
            Err(NotScored::Failed(error)) => Err(error),
        }
    }

    fn try_to_score(
        &self,
        writer: &mut Writer,
        place: &Place,
        visible: &Visible<'_>,
        answered: &Published,
        (now_us, made): (i64, &mut Vec<Judged>),
    ) -> Result<(), NotScored> {
        let rows = writer.sources.scored[place.scored].stream.rows(place.input, visible.batch, visible.used)?;
        let mut rows = self.without_too_early(writer, place, rows, answered)?;
        let mut set_aside = std::mem::take(&mut rows.set_aside);
        let mut first = 0;
        while first < rows.rows.len() {
            let count = ROWS_AT_ONCE.min(rows.rows.len() - first);
            let (scores, taken) = self.scores_of(writer, place, visible, &rows, first..first + count)?;
            first += taken;
            set_aside.extend(scores.made.set_aside.iter().cloned());
            let mut origin = Origin::default();
            scores.rows.iter().for_each(|row| origin.push(place.input as u32, visible.offsets[*row]));
            let end_offset = match rows.rows.get(first) {
                Some(next) => visible.offsets[*next],
                None => visible.end_offset,
            };
            writer.sources.scored[place.scored].scored_to[place.input] = end_offset;
            if scores.rows.is_empty() {
                continue;
            }
            if let Err(error) = self.store_scores(writer, place.scored, &scores, origin, now_us) {
                writer.sources.scored[place.scored].scored_to[place.input] = visible.offsets[scores.rows[0]];
                return Err(error);
            }
            let source = writer.sources.scored[place.scored].source;
            made.push(self.judge_rows(writer, source, scores.made, now_us)?);
        }
        let bound = &mut writer.sources.scored[place.scored];
        bound.scored_to[place.input] = visible.end_offset;
        let (source, unsaid) = (bound.source, visible.end_offset.saturating_sub(bound.said_to[place.input]));
        lock(self.told()).add_rows_set_aside(source, &set_aside);
        if unsaid >= SAID_EVERY {
            self.say_how_far(writer, place.scored, now_us).map_err(|_| NotScored::Waits)?;
        }
        Ok(())
    }

    /// Rows as of instants that all views of the services answer; the others are set aside. `answered` is a version whose
    /// instants are still answered.
    fn without_too_early(
        &self,
        writer: &Writer,
        place: &Place,
        rows: RowsToScore,
        answered: &Published,
    ) -> Result<RowsToScore, PipelineError> {
        let bound = &writer.sources.scored[place.scored];
        let horizon_us = self.settings().as_of_horizon_us;
        let views = bound.services.iter().flat_map(|service| &self.service(*service).views);
        let earliest = views.filter_map(|view| answered.earliest_of(&self.view(*view).streams, horizon_us)).max();
        let Some((earliest_us, stream)) = earliest else { return Ok(rows) };
        let earliest_us = earliest_us.min(self.awaited_from_us().load(Ordering::Relaxed));
        let in_time = |time_us: i64| Some(time_us >= earliest_us);
        let kept: BooleanArray = rows.times_us(&bound.stream).into_iter().map(in_time).collect();
        if !kept.has_false() {
            return Ok(rows);
        }
        let detail = format!("as of its event time `{}` does not answer any more", self.sources()[stream].name);
        let aside = |row| SetAside { row, kind: FailureKind::Other, detail: detail.clone() };
        Ok(rows.without(&kept, aside)?)
    }

    /// Scores of some rows, or of the first of them where their answers take too much memory together; and of how many.
    fn scores_of(
        &self,
        writer: &Writer,
        place: &Place,
        visible: &Visible<'_>,
        rows: &RowsToScore,
        range: std::ops::Range<usize>,
    ) -> Result<(Scores, usize), NotScored> {
        let bound = &writer.sources.scored[place.scored];
        let mut count = range.len();
        loop {
            let part = rows.slice(range.start, count);
            match self.vectors_of(writer, place, visible, &part) {
                Ok(vectors) => return Ok((bound.stream.score(part, &vectors)?, count)),
                Err(ReadError::Feature(error)) => return Err(error.into()),
                Err(_) if count > 1 => count /= 2,
                Err(error) => {
                    let aside = |row| SetAside { row, kind: FailureKind::TooLarge, detail: error.to_string() };
                    let part = part.without(&BooleanArray::from(vec![false]), aside)?;
                    return Ok((Scores { made: bound.stream.none_of(part), rows: Vec::new() }, count));
                }
            }
        }
    }

    /// What the services answer for rows, each as of its own event.
    fn vectors_of(
        &self,
        writer: &Writer,
        place: &Place,
        visible: &Visible<'_>,
        rows: &RowsToScore,
    ) -> Result<Vec<Vectors>, ReadError> {
        let bound = &writer.sources.scored[place.scored];
        let reading = self.reading();
        let times_us = rows.times_us(&bound.stream);
        let standing =
            StandingRows::new(rows.rows.clone(), 0, visible.offsets.to_vec(), visible.primary_keys.cloned());
        let services = bound.stream.scored().services.iter().zip(&bound.services).zip(&bound.ways[place.input]);
        let vectors = services.map(|((request, service), ways)| {
            let request = bound.stream.request(request, rows);
            reading.at_events(*service, &request, &times_us, (&standing, ways))
        });
        vectors.collect()
    }

    /// Appends scored rows to the log of their stream, behind all that they are made of.
    fn store_scores(
        &self,
        writer: &mut Writer,
        place: usize,
        scores: &Scores,
        origin: Origin,
        now_us: i64,
    ) -> Result<(), NotScored> {
        let bound = &writer.sources.scored[place];
        let (source, reads) = (bound.source, bound.reads.clone());
        for read in reads {
            self.sync_source(writer, read).map_err(|_| NotScored::Waits)?;
        }
        match self.storage().map_or(Ok(()), |storage| storage.check()) {
            Err(error) if error.may_pass() => return Err(NotScored::Waits),
            checked => checked?,
        }
        let bytes = scores.made.batch.get_array_memory_size();
        let log = writer.logs[source].as_mut().expect("scored rows have a log");
        log.reserve_columns(bytes).map_err(|_| NotScored::Waits)?;
        self.append_scores(writer, place, &scores.made.batch, origin, now_us)
    }

    /// Lets the log of scored rows say how far it has come, where there are no rows that would.
    fn say_how_far(&self, writer: &mut Writer, place: usize, now_us: i64) -> Result<(), PipelineError> {
        let none = writer.sources.scored[place].stream.no_rows();
        let source = writer.sources.scored[place].source;
        writer.logs[source].as_mut().map_or(Ok(()), |log| log.reserve(1, 0, 0))?;
        match self.append_scores(writer, place, &none.batch, Origin::default(), now_us) {
            Err(NotScored::Failed(error)) => return Err(error),
            Err(NotScored::Waits) | Ok(()) => {}
        }
        writer.sources[source].looked();
        writer.note_position(source);
        Ok(())
    }

    fn append_scores(
        &self,
        writer: &mut Writer,
        place: usize,
        rows: &RecordBatch,
        mut origin: Origin,
        now_us: i64,
    ) -> Result<(), NotScored> {
        let bound = &mut writer.sources.scored[place];
        bound.scored_to.iter().enumerate().for_each(|(input, offset)| origin.end_at(input as u32, *offset));
        bound.said_to.clone_from(&bound.scored_to);
        let (source, reads) = (bound.source, bound.reads.clone());
        let watermark_us = reads.iter().map(|read| writer.positions[*read].watermark_us).min().flatten();
        let verdict = if rows.num_rows() == 0 { StoredVerdict::Clock } else { StoredVerdict::Used };
        let stored = StoredBatch {
            verdicts: vec![verdict; rows.num_rows().max(1)],
            arrived: None,
            arrived_is_imputed: false,
            watermark_us,
            origin: Some(origin),
            used: rows.clone(),
            dead: Vec::new(),
            producers: Vec::new(),
        };
        append_frame(writer, source, stored, now_us).map_err(|_| NotScored::Waits)?;
        watermark_us.into_iter().for_each(|watermark_us| writer.sources[source].set_closed_before(watermark_us));
        Ok(())
    }

    /// Lets scored rows be seen, once they are durable.
    fn publish_scores(&self, writer: &mut Writer, made: Vec<Judged>, now_us: i64) -> Result<(), PipelineError> {
        let [made] = self.sync_rows(writer, [made]);
        if made.is_empty() {
            return Ok(());
        }
        let durable = Durable::of_rows(made, now_us);
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
}
