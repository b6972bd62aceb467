//! Windows that close: their rows arise when the watermark moves, by events or by the clock, and are a stream of their own.
//!
//! ```text
//!   group of arrivals ─▶ look at the clock ─▶ close ─▶ judge ─▶ close ─▶ logs of events, then of rows ─▶ visible together
//!   nothing arrives   ─▶ look at the clock ─▶ close ─▶ log of rows ─▶ visible
//! ```
//! Rules kept here:
//! - what the clock decided cannot be computed again: a row that was made stands in the log of its stream, and a start takes it
//!   from there;
//! - that log is never ahead of those of the events that its rows are made of;
//! - before an event is stored that came too late for a window, it stands in the log of rows that this window had closed;
//! - rows that files have a part in have no log: the clock closes none of them, and each start makes them anew.

use asof_connect::{StoredBatch, StoredVerdict};
use asof_feature::{ClosedRows, Settled};
use asof_window::Version;

use crate::clock::Clock;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::settle::Durable;
use crate::sources::Preparation;
use crate::stream_batch::StreamBatch;
use crate::stream_log::{FrameAbout, StreamLog};
use crate::writer::{Judged, Writer};

impl Engine {
    /// Looks at the clock as events arrive, before they are judged: first it alone has gone on. The rows of the windows that
    /// close by it.
    pub(crate) fn look_at_windows(&self, writer: &mut Writer, now_us: i64) -> Result<Vec<Judged>, PipelineError> {
        if !writer.sources.windows.is_empty() && self.settings().clock == Clock::System {
            self.follow_clock(writer, now_us);
        }
        self.close_windows(writer, now_us)
    }

    /// The rows of the windows that the watermarks close now, in the logs of their streams and not durable there.
    pub(crate) fn close_windows(&self, writer: &mut Writer, now_us: i64) -> Result<Vec<Judged>, PipelineError> {
        let mut judged = Vec::new();
        for place in 0..writer.sources.windows.len() {
            let Some(watermark_us) = self.due_watermark(writer, place) else { continue };
            let source = writer.sources.windows[place].source;
            let rows = writer.sources.windows[place].windows.close(watermark_us)?;
            writer.sources[source].set_closed_before(watermark_us);
            writer.moved_windows.push(source);
            lock(self.told()).add_rows_set_aside(source, &rows.set_aside);
            if rows.batch.num_rows() > 0 {
                let verdicts = vec![StoredVerdict::Used; rows.batch.num_rows()];
                self.append_rows(writer, place, (&rows, verdicts), now_us);
                judged.push(self.judge_rows(writer, source, rows, now_us)?);
            }
        }
        Ok(judged)
    }

    /// Closes windows though nothing arrives, and lets their rows be seen.
    pub(crate) fn close_idle_windows(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if !self.are_windows_due(writer) {
            return Ok(());
        }
        let arrived_us = writer.next_arrival(self.wall_us());
        writer.is_torn = true;
        let rows = self.close_windows(writer, arrived_us)?;
        let rows = self.sync_rows(writer, rows);
        let checked = match self.storage().filter(|_| !rows.is_empty()) {
            Some(storage) => storage.check(),
            None => Ok(()),
        };
        let durable = Durable::of_rows(rows, arrived_us);
        match checked {
            Ok(()) => {
                self.publish_durable(writer, durable)?;
                writer.note_moved_windows();
            }
            Err(error) if error.may_pass() => writer.hold_back(durable),
            Err(error) => return Err(error),
        }
        self.visibility().publish(writer.published());
        writer.is_torn = writer.unsettled.is_some();
        Ok(())
    }

    /// Closes windows while events come back from the logs: before anyone reads. Those that had closed are passed already.
    pub(crate) fn close_recalled_windows(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        if !self.are_windows_due(writer) {
            return Ok(());
        }
        let arrived_us = writer.next_arrival(self.wall_us());
        let rows = self.close_windows(writer, arrived_us)?;
        let oldest = self.visibility().oldest();
        let settled = |source: usize| -> Vec<Settled> {
            let settled = self.settled(&oldest, source).into_iter();
            settled.map(|one| Settled { version: Version(0), ..one }).collect()
        };
        for one in &rows {
            writer.sources.take_in(one.batch.stream, &one.preparation, Version(0), settled)?;
            writer.note(one, arrived_us);
        }
        writer.note_moved_windows();
        Ok(())
    }

    /// Where events came too late for windows that the clock alone may have closed, the logs of these say that they had closed:
    /// durably, before the logs of the events are.
    pub(crate) fn note_too_late<'j>(
        &self,
        writer: &mut Writer,
        judged: impl Iterator<Item = &'j Judged>,
        arrived_us: i64,
    ) -> Result<(), PipelineError> {
        let mut views: Vec<usize> = Vec::new();
        for one in judged {
            let own = self.views_of(one.batch.stream).into_iter().zip(one.prepared().too_late());
            views.extend(own.filter(|(_, rows)| !rows.is_empty()).map(|(view, _)| view));
        }
        for place in 0..writer.sources.windows.len() {
            let bound = &writer.sources.windows[place];
            let is_known = bound.recorded_us >= bound.windows.watermark_us();
            if is_known || !views.contains(&bound.view) {
                continue;
            }
            let source = bound.source;
            let none = bound.windows.no_rows();
            self.append_rows(writer, place, (&none, vec![StoredVerdict::Clock]), arrived_us);
            writer.sources[source].looked();
            if let Some(log) = writer.logs[source].as_mut().filter(|log| !log.is_broken()) {
                self.sync_log(log)?;
            }
        }
        Ok(())
    }

    /// Makes the logs of rows durable, once those of the events are. Gives the rows that are; those of a log that cannot be
    /// written are made again at the next start.
    pub(crate) fn sync_rows(&self, writer: &mut Writer, mut rows: Vec<Judged>) -> Vec<Judged> {
        for source in rows.iter().map(|one| one.batch.stream) {
            if let Some(log) = writer.logs[source].as_mut().filter(|log| !log.is_broken()) {
                let _told_by_the_log = self.sync_log(log);
            }
        }
        writer.break_connected();
        rows.retain(|one| writer.logs[one.batch.stream].as_ref().is_none_or(|log| !log.is_broken()));
        rows
    }

    fn are_windows_due(&self, writer: &Writer) -> bool {
        (0..writer.sources.windows.len()).any(|place| self.due_watermark(writer, place).is_some())
    }

    /// The watermark of the windows at this place, where it has moved since they were last closed: the least of the sources that
    /// they are made of. Of a file it is that of its events, since the clock closes nothing that the next start could not close
    /// again.
    fn due_watermark(&self, writer: &Writer, place: usize) -> Option<i64> {
        let bound = &writer.sources.windows[place];
        if writer.logs[bound.source].as_ref().is_some_and(StreamLog::is_broken) {
            return None;
        }
        let of_source = |source: &usize| {
            // What has never had an event holds everything back.
            let by_events = writer.sources[*source].watermark_us()?;
            let by_clock = writer.clock_watermarks_us[*source].filter(|_| self.is_logged(*source));
            Some(by_clock.map_or(by_events, |by_clock| by_clock.max(by_events)))
        };
        let watermarks: Option<Vec<i64>> = bound.reads.iter().map(of_source).collect();
        watermarks?.into_iter().min().filter(|watermark_us| bound.windows.watermark_us() < Some(*watermark_us))
    }

    /// Rows on their way into the streams and views that read them.
    fn judge_rows(
        &self,
        writer: &mut Writer,
        source: usize,
        rows: ClosedRows,
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
            batch: rows.batch,
        };
        Ok(Judged { batch, preparation: Preparation::Events(prepared) })
    }

    /// Appends rows to the log of their stream, if it has one, and up to where windows have closed. A log that cannot be written
    /// breaks, and all that is connected with it.
    fn append_rows(
        &self,
        writer: &mut Writer,
        place: usize,
        (rows, verdicts): (&ClosedRows, Vec<StoredVerdict>),
        arrived_us: i64,
    ) {
        let bound = &mut writer.sources.windows[place];
        let (source, watermark_us) = (bound.source, bound.windows.watermark_us());
        bound.recorded_us = watermark_us;
        let Some(log) = writer.logs[source].as_mut() else { return };
        let mut stored = StoredBatch {
            verdicts,
            arrived: None,
            arrived_is_imputed: false,
            watermark_us,
            used: rows.batch.clone(),
            dead: Vec::new(),
            producers: Vec::new(),
        };
        if let Err(error) = log.append(&mut stored, FrameAbout { arrived_us, newest_us: None }) {
            tracing::error!(%error, "the rows of closed windows cannot be stored: events are refused until the next start");
            writer.break_connected();
        }
    }
}
