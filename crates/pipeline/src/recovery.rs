//! The way back after an end, orderly or not: the newest whole checkpoint, then the log from where it ends.
//!
//! ```text
//!   checkpoint   views as of offset 7,000, judge, named batches
//!   log          …… 6,999 │ 7,000 7,001 …… 9,999       frames from 7,000 on are recalled: judged once, never again
//! ```
//! Where streams join tables, the rows held for late versions come back too, and what a late version changed since
//! (`recalled_lookups.rs` says which versions need not even be held until then):
//! ```text
//!   1  tables    up to the checkpoint        all versions: a table has no image
//!   2  streams   from the first held row     held again; views that are computed anew get their events
//!   3  tables    from the checkpoint on      each batch changes what is held, as it did when it came
//!   4  streams   from the checkpoint on
//! ```
//! Windows that had closed are known from the logs of their rows, which come before those of the events
//! (`recalled_windows.rs`).
//!
//! A view whose definition changed has no use for the images of the old one: it takes in the whole log. A stream whose key
//! changed has no use for the keys of the old one: it takes those of all events that the log has.

use std::ops::Range;

use asof_connect::{StoredBatch, StoredFrame, StoredStream, StoredVerdict};
use asof_definition::Connector;
use asof_feature::{Judgement, Recalled, Settled, TooLate};
use asof_state::Manifest;
use asof_window::{Accounting, Version};

use crate::checkpointer::Restored;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::recalled_windows::RecalledWindows;
use crate::still_to_come::StillToCome;
use crate::stop::Stop;
use crate::stream_log::StreamLog;
use crate::too_late::too_late_for;
use crate::unit::verdict_of;
use crate::writer::Writer;

/// After so many rows recalled, as many entities are swept: what time has emptied goes as fast as it comes.
const SWEEP_ROWS: usize = 65_536;

/// Where the recall of a stream begins.
struct RecallFrom {
    /// For the judge, the counts and the named batches.
    judge: u64,
    /// For the keys that the judge remembers; at most `judge`.
    keys: u64,
    /// For the rows held for late versions; at most `judge`.
    held: u64,
    /// For each view of the stream.
    views: Vec<u64>,
    /// Of a table the least instant, in microseconds, as of which it is looked into; `None` where that may be any.
    looked_up_from_us: Option<i64>,
}

/// The frames of one log that are recalled.
struct Frames {
    /// `None` where there are none.
    stored: Option<StoredStream>,
    end_offset: u64,
    next: Option<StoredFrame>,
}

/// Which frames of a log are recalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    /// Those that the checkpoint has.
    Before,
    /// The others.
    After,
}

impl RecallFrom {
    /// The offsets of a stretch, of a log that ends where it ends now.
    fn offsets(&self, stretch: Stretch, end_offset: u64) -> Range<u64> {
        match stretch {
            Stretch::Before => self.views.iter().copied().fold(self.keys.min(self.held), u64::min)..self.judge,
            Stretch::After => self.judge..end_offset,
        }
    }

    /// The first offset from which on some view takes events in.
    fn of_views(&self) -> u64 {
        self.views.iter().copied().fold(self.judge, u64::min)
    }

    /// What a stream learns from the frame at this offset.
    fn judgement(&self, first_offset: u64) -> Judgement {
        match first_offset {
            offset if offset >= self.judge => Judgement::Recalled,
            offset if offset >= self.keys => Judgement::KnownButKeys,
            _ => Judgement::Known,
        }
    }
}

impl Engine {
    /// Whether some stream is stored.
    pub(crate) fn has_logs(&self) -> bool {
        self.sources().iter().any(|stream| matches!(stream.connector, Connector::Log(_)))
    }

    /// Whether some stream reads a file.
    pub(crate) fn has_files(&self) -> bool {
        self.sources().iter().any(|stream| matches!(stream.connector, Connector::File(_)))
    }

    /// Opens the logs and brings back what they know. Ends early when a stop is asked for. [`LogError::Locked`]: nothing was
    /// brought back yet, and it may be asked for again.
    ///
    /// [`LogError::Locked`]: asof_log::LogError::Locked
    pub(crate) fn recover(&self, stop: &Stop) -> Result<Option<Manifest>, PipelineError> {
        let began_us = self.wall_us();
        let mut writer = lock(self.writer());
        self.open_logs(&mut writer)?;
        let restored = self.restore_checkpoint(&mut writer)?;
        self.recall_scores(&mut writer, &restored)?;
        self.tell_of_no_key_secret();
        self.open_keys(&mut writer, restored.manifest.as_ref())?;
        // What no read asks for any more need not be held again.
        self.visibility().publish(writer.published());
        self.recall_sources(&mut writer, &restored, stop)?;
        if stop.is_asked() {
            return Ok(restored.manifest);
        }
        self.visibility().publish(writer.published());
        self.begin_scores(&mut writer)?;
        self.sweep(&mut writer, usize::MAX)?;
        // A partition counts as idle when nothing came since the start for as long as its stream says.
        writer.last_arrivals_us.fill(self.wall_us());
        drop(writer);
        let now_us = self.wall_us();
        self.progress().recovered(now_us - began_us, now_us);
        if let Some(full) = self.state_full() {
            tracing::warn!(%full, "events are refused until time has emptied windows; hint: raise `memory` in [state]");
        }
        if let Some(manifest) = &restored.manifest {
            self.checkpoint_measures().begin_from(manifest);
        }
        Ok(restored.manifest)
    }

    /// Brings back what the logs know beside the checkpoint, tables before the streams that may join them.
    fn recall_sources(&self, writer: &mut Writer, restored: &Restored, stop: &Stop) -> Result<(), PipelineError> {
        let looked_up_from = self.looked_up_from(writer, restored, SWEEP_ROWS as u64)?;
        let stored = (0..self.sources().len()).filter(|source| writer.logs[*source].is_some());
        let from = |source| RecallFrom {
            looked_up_from_us: looked_up_from[source],
            ..self.recall_from(writer, source, restored)
        };
        let mut stored: Vec<(usize, RecallFrom)> = stored.map(|source| (source, from(source))).collect();
        // Rows of windows go before the events that they were made of: by them it is known which windows had closed.
        stored.sort_by_key(|(source, _)| (!self.is_table(*source), !writer.sources.makes_rows(*source)));
        let tables = stored.partition_point(|(source, _)| self.is_table(*source));
        let (tables, streams) = stored.split_at(tables);
        for (stream, from) in streams {
            writer.still_to_come[*stream] = self.still_to_come(writer, *stream, from.of_views())?;
            writer.note_position(*stream);
        }
        self.visibility().publish(writer.published());
        // What a writer that was taken over appends behind the end is nobody's: it was never acknowledged.
        let windows = &mut self.begin_windows(writer)?;
        let is_undercut = |(stream, _): &&(usize, RecallFrom)| restored.undercut[*stream];
        for one in tables.iter().chain(streams.iter().filter(|one| !is_undercut(one))) {
            self.recall_logs(writer, std::slice::from_ref(one), Stretch::Before, (stop, windows))?;
        }
        // In the order in which they came: a history is held against the watermarks of then.
        self.recall_logs(writer, tables, Stretch::After, (stop, windows))?;
        // What is joined anew is joined with all versions at once.
        for one in streams.iter().filter(is_undercut) {
            self.recall_logs(writer, std::slice::from_ref(one), Stretch::Before, (stop, windows))?;
        }
        windows.note_before();
        for one in streams {
            self.recall_logs(writer, std::slice::from_ref(one), Stretch::After, (stop, windows))?;
        }
        for (stream, _) in streams {
            writer.still_to_come[*stream] = StillToCome::default();
            writer.note_position(*stream);
        }
        if stop.is_asked() { Ok(()) } else { self.end_windows(writer, windows) }
    }

    /// For each view of a stream the events that came too late for a window of it, by their places among the used rows.
    /// Those that are made anew hold what they would then.
    fn too_late(&self, writer: &Writer, stream: usize, stored: &StoredBatch) -> Vec<Vec<TooLate>> {
        if stored.dead.iter().all(|letter| too_late_for(letter).is_none()) {
            return Vec::new();
        }
        let used = |row: u32| {
            let before = stored.verdicts[..row as usize].iter();
            before.filter(|verdict| **verdict == StoredVerdict::Used).count()
        };
        let of_view = |view: usize| {
            let windows = writer.sources.windows.iter().find(|one| one.view == view && self.is_logged(one.source));
            let Some(rows_name) = windows.and(self.view(view).rows_name.as_ref()) else { return Vec::new() };
            let named = stored.dead.iter().filter_map(|letter| Some((letter.row, too_late_for(letter)?)));
            let own = named.filter(|(_, (name, _))| name == rows_name);
            own.map(|(row, (_, branch))| TooLate { row: used(row), branch }).collect()
        };
        self.views_of(stream).into_iter().map(of_view).collect()
    }

    fn recall_from(&self, writer: &Writer, source: usize, restored: &Restored) -> RecallFrom {
        // A view that was changed takes in what there still is: retention has let go only what no frame reaches.
        let oldest = writer.logs[source].as_ref().map_or(0, |log| log.log().first_offset());
        let known = restored.streams[source].max(oldest);
        let of_view = |view: usize| if restored.views[view] { known } else { oldest };
        let held = if self.is_table(source) { oldest } else { restored.held[source].max(oldest) };
        RecallFrom {
            judge: restored.streams[source],
            keys: restored.keys[source].max(oldest).min(restored.streams[source]),
            held,
            views: self.views_of(source).into_iter().map(of_view).collect(),
            looked_up_from_us: None,
        }
    }

    /// Opens the logs that are not open yet.
    fn open_logs(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        let Some(storage) = self.storage() else { return Ok(()) };
        let is_closed = |place: &usize| self.is_logged(*place) && writer.logs[*place].is_none();
        let closed: Vec<usize> = (0..self.sources().len()).filter(is_closed).collect();
        for place in closed {
            let stream = &self.sources()[place];
            let (disk, settings) = (storage.disk().clone(), storage.log_settings());
            let (log, torn) = StreamLog::open(disk, storage.folder(), stream, &self.stored_form(place), settings)?;
            if let Some(torn) = torn {
                tracing::warn!(
                    stream = stream.name,
                    path = %torn.path.display(),
                    offset = torn.offset,
                    bytes = torn.bytes,
                    "the log's last write was cut off when its writer ended; what was not acknowledged is gone"
                );
            }
            writer.logs[place] = Some(log);
        }
        Ok(())
    }

    /// Recalls a stretch of some logs, in the order in which their frames came.
    fn recall_logs(
        &self,
        writer: &mut Writer,
        logs: &[(usize, RecallFrom)],
        stretch: Stretch,
        (stop, windows): (&Stop, &mut RecalledWindows),
    ) -> Result<(), PipelineError> {
        let mut frames = Vec::with_capacity(logs.len());
        for (source, from) in logs {
            frames.push(self.open_frames(*source, from.offsets(stretch, windows.end(*source)))?);
        }
        let mut rows = 0;
        while let Some(place) = earliest(&frames) {
            if stop.is_asked() {
                return Ok(());
            }
            let (source, from) = &logs[place];
            let Some(frame) = frames[place].take_next()? else { continue };
            rows += frame.batch.verdicts.len();
            self.recall(writer, (*source, from), frame, windows)?;
            if rows >= SWEEP_ROWS {
                rows = 0;
                self.close_recalled_windows(writer, windows)?;
                writer.note_position(*source);
                self.visibility().publish(writer.published());
                self.sweep_views(writer, SWEEP_ROWS);
                for (table, from) in logs {
                    // An older version may yet come from the log behind a newer one.
                    let from_us = from.looked_up_from_us;
                    from_us.map_or(Ok(()), |from_us| writer.sources.sweep_recalled(*table, from_us, SWEEP_ROWS))?;
                }
                self.tell_tables(writer);
            }
        }
        logs.iter().for_each(|(source, _)| writer.note_position(*source));
        if stretch == Stretch::After {
            logs.iter().for_each(|(source, _)| windows.note_back(*source));
        }
        Ok(())
    }

    fn open_frames(&self, source: usize, offsets: Range<u64>) -> Result<Frames, PipelineError> {
        let mut frames = Frames { stored: None, end_offset: offsets.end, next: None };
        if !offsets.is_empty() {
            let storage = self.storage().expect("a log is open only where there is a data folder");
            let form = self.stored_form(source);
            let stored = StoredStream::open(storage.disk().clone(), storage.folder(), &form, 0, offsets.start)?;
            frames.stored = Some(stored);
            frames.read_on()?;
        }
        Ok(frames)
    }

    fn recall(
        &self,
        writer: &mut Writer,
        (stream, from): (usize, &RecallFrom),
        frame: StoredFrame,
        windows: &mut RecalledWindows,
    ) -> Result<(), PipelineError> {
        let StoredFrame { first_offset, arrived_us, batch: stored } = frame;
        let mut counts = Accounting::default();
        let verdicts = stored.verdicts.iter().filter_map(|verdict| verdict_of(*verdict));
        verdicts.for_each(|verdict| counts.count(verdict));
        let looks = stored.verdicts.len() as u64 - counts.total();
        let is_new = first_offset >= from.judge;
        let views: Vec<bool> = from.views.iter().map(|from| first_offset >= *from).collect();
        let offsets = used_offsets(&stored, first_offset);
        let primary_keys = writer.sources[stream].plan().primary_keys(&stored.used)?;
        let fed = used_partitions(&stored);
        let recalled = Recalled {
            partition: 0,
            used: &stored.used,
            offsets: &offsets,
            primary_keys: primary_keys.as_ref(),
            counts,
            views: &views,
            too_late: &self.too_late(writer, stream, &stored),
            looks,
            fed: fed.as_deref(),
            judgement: from.judgement(first_offset),
        };
        let oldest = self.visibility().oldest();
        let settled = |source: usize| -> Vec<Settled> {
            let settled = self.settled(&oldest, source).into_iter();
            settled.map(|one| Settled { version: Version(0), ..one }).collect()
        };
        writer.sources.recall(stream, recalled, settled)?;
        writer.spill_recalled(stream)?;
        self.note_recalled(writer, stream, &stored, windows);
        writer.arrived_us = writer.arrived_us.max(arrived_us);
        writer.still_to_come[stream].pass(arrived_us);
        if is_new {
            let joining = writer.sources.joining(stream);
            let views: Vec<usize> = joining.into_iter().chain([stream]).flat_map(|one| self.views_of(one)).collect();
            lock(self.told()).recall(stream, &views, first_offset, &stored.dead);
            let log = writer.logs[stream].as_mut().expect("a stream that is recalled has a log");
            stored.origin.iter().for_each(|origin| log.fed.take_in(origin));
            stored.producers.into_iter().for_each(|batch| log.producers.remember(batch));
        }
        Ok(())
    }
}

/// The log whose next frame came first; of one group, in which the sources stand in their order, the first.
fn earliest(logs: &[Frames]) -> Option<usize> {
    let next = logs.iter().enumerate().filter_map(|(place, log)| Some((log.next.as_ref()?.arrived_us, place)));
    next.min().map(|(_, place)| place)
}

impl Frames {
    /// The frame that comes next; the one behind it is read.
    fn take_next(&mut self) -> Result<Option<StoredFrame>, PipelineError> {
        let frame = self.next.take();
        self.read_on()?;
        Ok(frame)
    }

    fn read_on(&mut self) -> Result<(), PipelineError> {
        let Some(stored) = &mut self.stored else { return Ok(()) };
        self.next = stored.next_frame()?.filter(|frame| frame.first_offset < self.end_offset);
        Ok(())
    }
}

/// Of a stored batch that was read from a topic the partition there of each used row.
fn used_partitions(stored: &StoredBatch) -> Option<Vec<u32>> {
    let rows = stored.origin.as_ref()?.partitions().zip(&stored.verdicts);
    Some(rows.filter(|(_, verdict)| **verdict == StoredVerdict::Used).map(|(partition, _)| partition).collect())
}

/// The offsets of a stored batch's used rows.
pub(crate) fn used_offsets(stored: &StoredBatch, first_offset: u64) -> Vec<u64> {
    let used = stored.verdicts.iter().enumerate().filter(|(_, verdict)| **verdict == StoredVerdict::Used);
    used.map(|(row, _)| first_offset + row as u64).collect()
}
