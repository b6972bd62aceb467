//! Windows while events come back from the logs: those that had closed close without rows, and those whose rows did not reach
//! their log, or that nobody asked for before, close again.
//!
//! ```text
//!   log of rows   ●────●──────●┤ logged                    says how far windows had closed when it ended
//!   events back   ───────▶ passed, no rows ─┤──▶ closed: rows, appended, as if the events came now
//!                                           └ logged
//! ```
//! Rules kept here:
//! - windows follow the events that have come back, never those of the checkpoint that are yet to come: of these it is asked
//!   which is the oldest (`still_to_come.rs`);
//! - rows are made only once all rows of the log are back, so that they stand behind them;
//! - what the clock had closed is passed at the end, when all events are there: until then a session may yet turn out longer.

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::{StoredBatch, StoredStream};

use crate::closings::Closed;
use crate::engine::Engine;
use crate::error::PipelineError;
use crate::stream_log::StreamLog;
use crate::writer::Writer;

/// How far windows may close while a recovery goes on.
#[derive(Debug)]
pub(crate) struct RecalledWindows {
    /// By source, where its log ended: what is appended since is not recalled.
    ends: Vec<u64>,
    /// By source, the watermark of the events before the checkpoint that have come back, in microseconds.
    before_us: Vec<Option<i64>>,
    /// Whether all of these have, of all streams.
    has_before: bool,
    /// By source, whether its rows are all there.
    is_back: Vec<bool>,
}

impl RecalledWindows {
    /// Where the log of a source ended.
    pub(crate) fn end(&self, source: usize) -> u64 {
        self.ends[source]
    }

    /// Takes note that all rows of a source are there.
    pub(crate) fn note_back(&mut self, source: usize) {
        self.is_back[source] = true;
    }

    /// Takes note that the events of all streams are there as far as the checkpoint has them.
    pub(crate) fn note_before(&mut self) {
        self.has_before = true;
    }
}

impl Engine {
    /// Asks the logs of rows how far windows had closed.
    pub(crate) fn begin_windows(&self, writer: &mut Writer) -> Result<RecalledWindows, PipelineError> {
        let end = |log: &Option<StreamLog>| log.as_ref().map_or(0, |log| log.log().next_offset());
        let ends: Vec<u64> = writer.logs.iter().map(end).collect();
        for bound in &mut writer.sources.windows {
            let Some(last) = ends[bound.source].checked_sub(1) else { continue };
            let storage = self.storage().expect("a log is open only where there is a data folder");
            let form = self.stored_form(bound.source);
            let mut stored = StoredStream::open(storage.disk().clone(), storage.folder(), &form, 0, last)?;
            let watermark_us = stored.next_frame()?.and_then(|frame| frame.batch.watermark_us);
            // What a log has when it is opened is durable.
            (bound.appended_us, bound.durable_us) = (watermark_us, watermark_us);
            if let Some(watermark_us) = watermark_us.filter(|_| !bound.windows.are_sessions()) {
                // Whatever comes back, these have closed; a session may yet turn out longer.
                bound.windows.pass(watermark_us);
            }
        }
        let is_back = ends.iter().map(|end| *end == 0).collect();
        Ok(RecalledWindows { before_us: vec![None; ends.len()], has_before: false, is_back, ends })
    }

    /// Takes note of a frame that has come back.
    pub(crate) fn note_recalled(
        &self,
        writer: &mut Writer,
        stream: usize,
        stored: &StoredBatch,
        windows: &mut RecalledWindows,
    ) {
        if let Some(watermark_us) = stored.watermark_us {
            writer.sources[stream].set_closed_before(watermark_us);
        }
        let definition = writer.sources[stream].plan().stream();
        let times = stored.used.column(definition.time_column).as_primitive::<TimestampMicrosecondType>();
        let by_events = times.values().iter().max().map(|newest_us| newest_us.saturating_sub(definition.lateness_us));
        let watermark_us = if writer.sources.makes_rows(stream) { stored.watermark_us } else { by_events };
        windows.before_us[stream] = windows.before_us[stream].max(watermark_us);
    }

    /// Passes windows, and closes those that have no row, as far as what has come back says.
    pub(crate) fn close_recalled_windows(
        &self,
        writer: &mut Writer,
        windows: &RecalledWindows,
    ) -> Result<(), PipelineError> {
        let now_us = self.wall_us();
        for place in 0..writer.sources.windows.len() {
            while let Some(watermark_us) = self.recalled_watermark(writer, place, windows) {
                let bound = &mut writer.sources.windows[place];
                if let Some(logged_us) = bound.appended_us {
                    bound.windows.pass(logged_us.min(watermark_us));
                }
                // Which partitions of a topic hold its watermark back is known once they are read again.
                let is_fed = bound.reads.iter().any(|source| self.feed(*source).is_some());
                if bound.windows.watermark_us() >= Some(watermark_us) || !windows.is_back[bound.source] || is_fed {
                    break;
                }
                let arrived_us = writer.next_arrival(now_us);
                match self.close_step(writer, place, watermark_us, arrived_us)? {
                    Closed::Rows(rows) => self.take_in_recalled(writer, &rows, arrived_us)?,
                    Closed::NoRows => {}
                    Closed::Waits => break,
                }
            }
        }
        let moved = std::mem::take(&mut writer.moved_windows);
        writer.note_windows(&moved);
        Ok(())
    }

    /// The same once all is back, what the clock had closed too.
    pub(crate) fn end_windows(&self, writer: &mut Writer, windows: &RecalledWindows) -> Result<(), PipelineError> {
        for bound in &mut writer.sources.windows {
            bound.appended_us.into_iter().for_each(|logged_us| bound.windows.pass(logged_us));
        }
        self.close_recalled_windows(writer, windows)?;
        for place in 0..writer.sources.windows.len() {
            let _synced_or_told = self.sync_source(writer, writer.sources.windows[place].source);
        }
        Ok(())
    }

    /// The watermark of the windows at this place by what has come back, where it has moved.
    fn recalled_watermark(&self, writer: &Writer, place: usize, windows: &RecalledWindows) -> Option<i64> {
        let coming_from_us = |source: &usize, watermark_us| writer.still_to_come[*source].coming_from_us(watermark_us);
        let reads = &writer.sources.windows[place].reads;
        if windows.has_before {
            let least_us = reads.iter().filter_map(|source| coming_from_us(source, Some(i64::MAX))).min();
            return self.due_watermark(writer, place).and_then(|due_us| {
                let watermark_us = least_us.map_or(due_us, |least_us| least_us.min(due_us));
                (writer.sources.windows[place].windows.watermark_us() < Some(watermark_us)).then_some(watermark_us)
            });
        }
        let watermarks: Option<Vec<i64>> =
            reads.iter().map(|source| coming_from_us(source, windows.before_us[*source])).collect();
        let watermark_us = watermarks?.into_iter().min();
        watermark_us.filter(|watermark_us| writer.sources.windows[place].windows.watermark_us() < Some(*watermark_us))
    }
}
