//! Windows that close: their rows arise when the watermark moves, by events or by the clock, and are a stream of their own.
//!
//! ```text
//!   group of arrivals ─▶ look at the clock ─▶ close ─▶ judge, append, sync ─▶ close ─▶ visible together
//!   nothing arrives   ─▶ look at the clock ─▶ close ─▶ visible
//!
//!   close: rows of one step ─▶ sync what they are made of, and let windows among it say how far they have closed ─▶ still
//!          ours? ─▶ append ─▶ next step … ─▶ sync
//! ```
//! Rules kept here:
//! - what the clock decided cannot be computed again: a row that was made stands in the log of its stream, and a start takes it
//!   from there;
//! - that log is never ahead of those of the events that its rows are made of: these are synced first, however they are
//!   acknowledged;
//! - before an event is stored that came too late for a window, it stands in the log of rows, durably, that this window had
//!   closed; so it does before rows are stored that were made of its rows, or of there being none;
//! - of a frame all rows are there or none, and it bears the watermark that closed them: a closing of very many windows takes
//!   several steps;
//! - rows for which the disk has no room wait, and so does all that is connected with them;
//! - rows that files have a part in have no log: the clock closes none of them, and each start makes them anew.

use asof_connect::{StoredBatch, StoredVerdict};
use asof_feature::{MadeRows, Prepared, Settled};
use asof_window::Version;

use crate::clock::Clock;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::settle::Durable;
use crate::sources::Preparation;
use crate::stream_batch::StreamBatch;
use crate::stream_log::{FrameAbout, StreamLog};
use crate::submission::IngestError;
use crate::writer::{Judged, Writer};

/// Rows after which a closing goes on another time: they are in memory until they are visible.
const ROWS_AT_ONCE: usize = 1 << 20;

/// What came of closing windows.
#[derive(Debug)]
pub(crate) enum Closed {
    /// The rows of some.
    Rows(Box<Judged>),
    /// They have no rows.
    NoRows,
    /// Their rows wait to be stored.
    Waits,
}

/// Which windows are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// Those whose rows have no log, which is nobody's to sync then.
    NotLogged,
}

impl Engine {
    /// Looks at the clock as events arrive, before they are judged: first it alone has gone on. The rows of the windows that
    /// close by it.
    pub(crate) fn look_at_windows(
        &self,
        writer: &mut Writer,
        now_us: i64,
        which: Which,
    ) -> Result<Vec<Judged>, PipelineError> {
        self.note_fed_partitions(writer, now_us);
        if !writer.sources.windows.is_empty() && self.settings().clock == Clock::System {
            self.follow_clock(writer, now_us);
        }
        self.close_windows(writer, now_us, which)
    }

    /// The rows of the windows that the watermarks close now, in the logs of their streams and not durable there.
    pub(crate) fn close_windows(
        &self,
        writer: &mut Writer,
        now_us: i64,
        which: Which,
    ) -> Result<Vec<Judged>, PipelineError> {
        let (mut judged, mut rows) = (Vec::new(), 0);
        for place in 0..writer.sources.windows.len() {
            if which == Which::NotLogged && writer.logs[writer.sources.windows[place].source].is_some() {
                continue;
            }
            while rows < ROWS_AT_ONCE {
                let Some(watermark_us) = self.due_watermark(writer, place) else { break };
                match self.close_step(writer, place, watermark_us, now_us)? {
                    Closed::Rows(made) => {
                        rows += made.batch.offsets.len();
                        judged.push(*made);
                    }
                    Closed::NoRows => {}
                    Closed::Waits => break,
                }
            }
        }
        Ok(judged)
    }

    /// Closes windows by a watermark, or some that are due by it; those whose rows waited come first.
    pub(crate) fn close_step(
        &self,
        writer: &mut Writer,
        place: usize,
        watermark_us: i64,
        now_us: i64,
    ) -> Result<Closed, PipelineError> {
        let bound = &mut writer.sources.windows[place];
        let source = bound.source;
        let rows = match bound.waiting.take() {
            Some(rows) => rows,
            None => {
                let rows = bound.windows.close(bound.windows.step_us(watermark_us))?;
                lock(self.told()).add_rows_set_aside(source, &rows.set_aside);
                rows
            }
        };
        let closed_before_us = bound.windows.watermark_us();
        let is_any = rows.batch.num_rows() > 0;
        if is_any && !self.store_rows(writer, place, &rows, now_us)? {
            writer.sources.windows[place].waiting = Some(rows);
            return Ok(Closed::Waits);
        }
        closed_before_us.into_iter().for_each(|watermark_us| writer.sources[source].set_closed_before(watermark_us));
        writer.moved_windows.push(source);
        if is_any {
            Ok(Closed::Rows(self.judge_rows(writer, source, rows, now_us)?.into()))
        } else {
            Ok(Closed::NoRows)
        }
    }

    /// Appends rows to the log of their stream, if it has one, behind all that they are made of. Returns whether they are there:
    /// not where the disk has no room, where a log is broken, or where it is not known whether another writer has taken over.
    fn store_rows(
        &self,
        writer: &mut Writer,
        place: usize,
        rows: &MadeRows,
        now_us: i64,
    ) -> Result<bool, PipelineError> {
        let bound = &writer.sources.windows[place];
        let (source, watermark_us) = (bound.source, bound.windows.watermark_us());
        if writer.logs[source].is_none() {
            return Ok(true);
        }
        if self.settle_what_is_read(writer, place, now_us).is_err() {
            return Ok(false);
        }
        // Whoever has taken over since has what is durable by now.
        match self.storage().map_or(Ok(()), |storage| storage.check()) {
            Err(error) if error.may_pass() => return Ok(false),
            checked => checked?,
        }
        let room =
            writer.logs[source].as_mut().map_or(Ok(()), |log| log.reserve_columns(rows.batch.get_array_memory_size()));
        let rows = stored(rows, StoredVerdict::Used, watermark_us);
        if room.and_then(|()| append_frame(writer, source, rows, now_us)).is_err() {
            return Ok(false);
        }
        writer.sources.windows[place].appended_us = watermark_us;
        Ok(true)
    }

    /// Closes windows though nothing arrives, and lets their rows be seen.
    pub(crate) fn close_idle_windows(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if !(0..writer.sources.windows.len()).any(|place| self.due_watermark(writer, place).is_some()) {
            return Ok(());
        }
        let arrived_us = writer.next_arrival(self.wall_us());
        writer.is_torn = true;
        let rows = self.close_windows(writer, arrived_us, Which::All)?;
        let [rows] = self.sync_rows(writer, [rows]);
        let checked = match self.storage().filter(|_| !rows.is_empty()) {
            Some(storage) => storage.check(),
            None => Ok(()),
        };
        let durable = Durable::of_rows(rows, arrived_us).with_moved(std::mem::take(&mut writer.moved_windows));
        match checked {
            Ok(()) => {
                self.publish_durable(writer, durable)?;
            }
            Err(error) if error.may_pass() => writer.hold_back(durable),
            Err(error) => return Err(error),
        }
        self.visibility().publish(writer.published());
        writer.is_torn = writer.unsettled.is_some();
        Ok(())
    }

    /// Takes rows in that arose while events come back from the logs: before anyone reads.
    pub(crate) fn take_in_recalled(
        &self,
        writer: &mut Writer,
        rows: &Judged,
        now_us: i64,
    ) -> Result<(), PipelineError> {
        let oldest = self.visibility().oldest();
        let settled = |source: usize| -> Vec<Settled> {
            let settled = self.settled(&oldest, source).into_iter();
            settled.map(|one| Settled { version: Version(0), ..one }).collect()
        };
        writer.sources.take_in(rows.batch.stream, &rows.preparation, Version(0), settled)?;
        self.tell(writer, rows);
        writer.note(rows, now_us);
        Ok(())
    }

    /// Windows whose log does not say, durably, how far they have closed, among those that have the rows of a stream and those
    /// that have the rows of these.
    fn unsaid(writer: &Writer, stream: usize) -> Vec<usize> {
        let connected = writer.sources.connected(stream);
        let windows = writer.sources.windows.iter().enumerate();
        let own = windows.filter(|(_, one)| connected.contains(&one.source) && writer.logs[one.source].is_some());
        own.filter(|(_, one)| one.durable_us < writer.sources[one.source].watermark_us())
            .map(|(place, _)| place)
            .collect()
    }

    /// Makes sure that windows over a stream have room to say how far they have closed, and that no rows of theirs, or of what
    /// is connected with it, wait for room.
    pub(crate) fn make_room_for_windows(&self, writer: &mut Writer, stream: usize) -> Result<(), IngestError> {
        if let Some(waiting) = writer.rows_waiting(stream) {
            if self.storage().is_some_and(|storage| storage.check().is_err_and(|error| error.may_pass())) {
                return Err(IngestError::BehindNotSettled);
            }
            let (stream, detail) =
                (self.sources()[waiting].name.clone(), "rows that are made of its events wait to be stored".to_owned());
            return Err(IngestError::DiskFull { stream, detail });
        }
        for place in Engine::unsaid(writer, stream) {
            let source = writer.sources.windows[place].source;
            writer.logs[source].as_mut().map_or(Ok(()), |log| log.reserve(1, 0, 0))?;
        }
        Ok(())
    }

    /// Where judged events came too late for windows that the clock alone may have closed, the logs of these say that they had
    /// closed: durably, before the events are stored.
    pub(crate) fn note_too_late(
        &self,
        writer: &mut Writer,
        stream: usize,
        prepared: &Prepared,
        arrived_us: i64,
    ) -> Result<(), IngestError> {
        let views = self.views_of(stream).into_iter().zip(prepared.too_late());
        let views: Vec<usize> = views.filter(|(_, events)| !events.is_empty()).map(|(view, _)| view).collect();
        let windows =
            (0..writer.sources.windows.len()).filter(|place| views.contains(&writer.sources.windows[*place].view));
        windows.collect::<Vec<usize>>().into_iter().try_for_each(|place| self.say_closed(writer, place, arrived_us))
    }

    /// Lets the log of windows say how far they have closed, if they have one: durably.
    fn say_closed(&self, writer: &mut Writer, place: usize, arrived_us: i64) -> Result<(), IngestError> {
        let bound = &writer.sources.windows[place];
        let (source, none) = (bound.source, bound.windows.no_rows());
        let closed_us = writer.sources[source].watermark_us();
        if bound.appended_us < closed_us && writer.logs[source].is_some() {
            self.settle_what_is_read(writer, place, arrived_us)?;
            writer.logs[source].as_mut().map_or(Ok(()), |log| log.reserve(1, 0, 0))?;
            append_frame(writer, source, stored(&none, StoredVerdict::Clock, closed_us), arrived_us)?;
            writer.sources.windows[place].appended_us = closed_us;
            writer.sources[source].looked();
            writer.moved_windows.push(source);
        }
        self.sync_source(writer, source)
    }

    /// Makes durable what the rows of windows are made of, and how far windows have closed that they are made of.
    fn settle_what_is_read(&self, writer: &mut Writer, place: usize, arrived_us: i64) -> Result<(), IngestError> {
        if writer.logs[writer.sources.windows[place].source].is_none() {
            return Ok(());
        }
        for source in writer.sources.windows[place].reads.clone() {
            match writer.sources.windows.iter().position(|one| one.source == source) {
                Some(windows) => self.say_closed(writer, windows, arrived_us)?,
                None => self.sync_source(writer, source)?,
            }
        }
        Ok(())
    }

    /// Makes the logs of rows durable. Gives the rows that are; those of a log that cannot be written are made again at the next
    /// start.
    pub(crate) fn sync_rows<const GROUPS: usize>(
        &self,
        writer: &mut Writer,
        mut rows: [Vec<Judged>; GROUPS],
    ) -> [Vec<Judged>; GROUPS] {
        for source in rows.iter().flatten().map(|one| one.batch.stream) {
            // What it could not sync is told, and is no row of it.
            let _synced = self.sync_source(writer, source);
        }
        let is_stored = |one: &Judged| writer.logs[one.batch.stream].as_ref().is_none_or(|log| !log.is_broken());
        rows.iter_mut().for_each(|rows| rows.retain(is_stored));
        rows
    }

    /// Makes the log of a source durable, if it has one. If that cannot be, nothing that is connected with it goes on.
    pub(crate) fn sync_source(&self, writer: &mut Writer, source: usize) -> Result<(), IngestError> {
        let Some(log) = writer.logs[source].as_mut() else { return Ok(()) };
        log.check()?;
        if let Err(error) = if log.is_dirty() { self.sync_log(log) } else { Ok(()) } {
            break_connected(writer, &error);
            return Err(error);
        }
        let own = writer.sources.windows.iter_mut().find(|one| one.source == source);
        own.into_iter().for_each(|one| one.durable_us = one.appended_us);
        Ok(())
    }

    /// The watermark of the windows at this place, where it has moved since they were last closed: the least of the sources that
    /// they are made of, and of the tables that their rows are joined with, so that a version that is not late finds them open.
    /// Where a file has a part in them it is that of the events alone, since the clock closes nothing that the next start could not
    /// close again.
    pub(crate) fn due_watermark(&self, writer: &Writer, place: usize) -> Option<i64> {
        let bound = &writer.sources.windows[place];
        if writer.logs[bound.source].as_ref().is_some_and(StreamLog::is_broken) {
            return None;
        }
        if bound.waiting.is_some() {
            return bound.windows.watermark_us();
        }
        if writer.logs[bound.source].is_none() && writer.has_to_wait(bound.source) {
            return None;
        }
        let of_source = |source: &usize| {
            // What has never had an event holds everything back.
            let by_events = writer.sources[*source].watermark_us()?;
            let by_clock = writer.clock_watermarks_us[*source].filter(|_| self.is_logged(bound.source));
            Some(by_clock.map_or(by_events, |by_clock| by_clock.max(by_events)))
        };
        let watermarks: Option<Vec<i64>> = bound.reads.iter().map(of_source).collect();
        watermarks?.into_iter().min().filter(|watermark_us| bound.windows.watermark_us() < Some(*watermark_us))
    }

    /// Rows on their way into the streams and views that read them.
    pub(crate) fn judge_rows(
        &self,
        writer: &mut Writer,
        source: usize,
        rows: MadeRows,
        arrived_us: i64,
    ) -> Result<Judged, PipelineError> {
        let count = rows.batch.num_rows();
        let first = writer.sources[source].arrived().next().map_or(0, |(_, arrived)| arrived);
        let offsets: Vec<u64> = (first..first + count as u64).collect();
        let prepared = writer.sources.prepare_rows(source, &rows, &offsets)?;
        let batch = StreamBatch {
            stream: source,
            partition: 0,
            rejected: Vec::new(),
            primary_keys: rows.primary_keys,
            arrived: Some(vec![arrived_us; count].into()),
            offsets,
            fed: None,
            batch: rows.batch,
        };
        Ok(Judged { batch, preparation: Preparation::Events(prepared) })
    }
}

/// A frame of rows, each with this verdict; one of a look at the clock where there are none.
pub(crate) fn stored(rows: &MadeRows, verdict: StoredVerdict, watermark_us: Option<i64>) -> StoredBatch {
    StoredBatch {
        verdicts: vec![verdict; rows.batch.num_rows().max(1)],
        arrived: None,
        arrived_is_imputed: false,
        watermark_us,
        origin: None,
        used: rows.batch.clone(),
        dead: Vec::new(),
        producers: Vec::new(),
    }
}

/// Appends a frame to the log of rows. A log that cannot be written breaks, and all that is connected with it.
pub(crate) fn append_frame(
    writer: &mut Writer,
    source: usize,
    mut stored: StoredBatch,
    arrived_us: i64,
) -> Result<(), IngestError> {
    let log = writer.logs[source].as_mut().expect("rows that are made have a log");
    let appended = log.append(&mut stored, FrameAbout { arrived_us, newest_us: None });
    if let Err(error) = &appended {
        break_connected(writer, error);
    }
    appended
}

fn break_connected(writer: &mut Writer, error: &IngestError) {
    tracing::error!(%error, "rows that are made of events cannot be stored: events are refused until the next start");
    writer.break_connected();
}
