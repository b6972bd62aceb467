//! What becomes of sealed segments: they are written as Parquet, for training and for other tools, and go when the
//! stream's retention lets them go.
//!
//! Before each file that is written or removed it is asked whether another writer has taken over. A segment that was sealed
//! before this process was asked has its offsets for good: its Parquet file is the same whoever writes it.

use std::ops::Range;
use std::path::PathBuf;

use asof_connect::{history_folder, history_offsets, write_history_file};
use asof_definition::{Connector, Retention};
use asof_disk::SyncSite;
use asof_log::SegmentSummary;

use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::spread::Spread;

/// The removal of an old Parquet file, before the next newer one is removed.
const DROP: SyncSite = SyncSite("history.drop");

/// What is known of a stream when its old segments are looked at.
struct Needs {
    retention: Retention,
    /// The stream's watermark in microseconds.
    watermark_us: i64,
    /// Views need events from this instant on.
    needed_from_us: i64,
    /// Events from this offset on are needed by the next start, or by a sink.
    from_offset: u64,
}

impl Engine {
    /// Writes sealed segments as Parquet, and drops those that nobody needs. What goes wrong with one stream does not keep
    /// the others; the first error is told.
    pub(crate) fn keep_history(&self, spread: Spread<'_>) -> Result<(), PipelineError> {
        let stored: Vec<usize> = (0..self.sources().len()).filter(|source| self.is_logged(*source)).collect();
        let spread = spread.divided_by(stored.len());
        let kept: Vec<Result<(), PipelineError>> =
            stored.into_iter().map(|place| self.keep_history_of(place, spread)).collect();
        kept.into_iter().collect()
    }

    fn keep_history_of(&self, place: usize, spread: Spread<'_>) -> Result<(), PipelineError> {
        let Some(storage) = self.storage() else { return Ok(()) };
        let segments = lock(self.writer()).logs[place].as_ref().map(|log| log.log().segments());
        let sealed: Vec<SegmentSummary> =
            segments.unwrap_or_default().into_iter().filter(|segment| segment.is_sealed).collect();
        let kept = self.history_files(place)?;
        let offsets = sealed.iter().map(|segment| segment.first_offset..segment.end_offset);
        let is_new = |offsets: &Range<u64>| !offsets.is_empty() && !kept.iter().any(|(kept, _)| kept == offsets);
        let new: Vec<Range<u64>> = offsets.filter(is_new).collect();
        let (began_us, events) = (self.wall_us(), new.iter().map(|offsets| offsets.end - offsets.start).sum::<u64>());
        let mut events_before = 0;
        for offsets in new {
            storage.check()?;
            let between = &mut |next: u64| {
                let done = (events_before + next - offsets.start) as f64 / events as f64;
                spread.wait(done, self.wall_us() - began_us);
            };
            let form = self.stored_form(place);
            write_history_file(storage.disk(), storage.folder(), &form, 0, offsets.clone(), between)?;
            events_before += offsets.end - offsets.start;
        }
        self.drop_segments(place, &sealed)
    }

    fn drop_segments(&self, place: usize, sealed: &[SegmentSummary]) -> Result<(), PipelineError> {
        let Some(before) = self.needs(place).and_then(|needs| dropped_before(sealed, &needs)) else { return Ok(()) };
        let storage = self.storage().expect("a log has a data folder");
        let stream = &self.sources()[place];
        let mut writer = lock(self.writer());
        let Some(log) = &mut writer.logs[place] else { return Ok(()) };
        storage.check()?;
        let dropped = log.log_mut().drop_segments_before(before)?;
        drop(writer);
        // Oldest first, and each durably before the next one: a crash that brings an old one back must leave no gap behind it.
        let folder = history_folder(storage.folder(), &self.stored_form(place).name, 0);
        for (offsets, path) in self.history_files(place)? {
            if offsets.end <= before {
                storage.check()?;
                let disk = storage.disk();
                let removed = disk.remove(&path).and_then(|()| disk.sync_folder(&folder, DROP));
                removed.map_err(|source| PipelineError::Data { path, source })?;
            }
        }
        tracing::info!(stream = stream.name, segments = dropped, before, "segments beyond the retention were dropped");
        Ok(())
    }

    /// The Parquet files of a stream, and the offsets of each.
    fn history_files(&self, place: usize) -> Result<Vec<(Range<u64>, PathBuf)>, PipelineError> {
        let storage = self.storage().expect("a log has a data folder");
        let folder = history_folder(storage.folder(), &self.stored_form(place).name, 0);
        let entries = match storage.disk().list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(PipelineError::Data { path: folder, source }),
        };
        let file = |entry: asof_disk::Entry| Some((history_offsets(&entry.name)?, folder.join(&entry.name)));
        Ok(entries.into_iter().filter_map(file).collect())
    }

    /// `None` before the first event, where views need all events, and of a table: its log has the only copy of its rows.
    fn needs(&self, place: usize) -> Option<Needs> {
        if self.is_table(place) {
            return None;
        }
        let stream = &self.sources()[place];
        let retention = match &stream.connector {
            Connector::Log(log) => log.retention,
            Connector::File(_) | Connector::Derived(_) => Retention::default(),
        };
        let published = self.published();
        let watermark_us = published.streams[place].watermark_us?;
        let horizon_us = self.settings().as_of_horizon_us;
        let mut needed_from_us = watermark_us.saturating_sub(horizon_us);
        for view in self.views_of(place) {
            // A view of several streams is read as far back as the slowest of them.
            let (earliest_us, _) = published.earliest_of(&self.view(view).streams, horizon_us)?;
            let reach_us = self.view(view).online.plan().view().reach_us()?;
            needed_from_us = needed_from_us.min(earliest_us.saturating_sub(reach_us));
            if let Some(rows) = self.rows_of_windows(view) {
                // What is open is open for as long as any source of the windows has never had an event.
                needed_from_us = needed_from_us.min(published.streams[rows].watermark_us?.saturating_sub(reach_us));
            }
        }
        let covered = self.checkpoint_measures().covered(&self.stored_form(place).name);
        let others = [self.sunk_before(place), self.scored_before(place)];
        let from_offset = others.into_iter().flatten().fold(covered, u64::min);
        Some(Needs { retention, watermark_us, needed_from_us, from_offset })
    }
}

/// The offset before which all may go: whole segments, oldest first, that are beyond the retention and that neither a view
/// nor the next start needs.
fn dropped_before(sealed: &[SegmentSummary], needs: &Needs) -> Option<u64> {
    let behind = |age_us: i64| needs.watermark_us.saturating_sub(age_us);
    let old_us = needs.retention.age_us.map(behind);
    let mut bytes: u64 = sealed.iter().map(|segment| segment.bytes).sum();
    let mut before = None;
    for segment in sealed {
        let is_needed = segment.newest_us >= needs.needed_from_us || segment.end_offset > needs.from_offset;
        let is_beyond = old_us.is_some_and(|old_us| segment.newest_us < old_us)
            || needs.retention.bytes.is_some_and(|most| bytes > most);
        if is_needed || !is_beyond {
            break;
        }
        bytes -= segment.bytes;
        before = Some(segment.end_offset);
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first_offset: u64, newest_us: i64) -> SegmentSummary {
        SegmentSummary {
            first_offset,
            end_offset: first_offset + 10,
            bytes: 100,
            is_sealed: true,
            newest_arrived_us: newest_us,
            newest_us,
            generation: 1,
        }
    }

    fn check(retention: Retention, reach_us: i64, from_offset: u64, expected: Option<u64>) {
        let sealed = [segment(0, 10), segment(10, 20), segment(20, 30)];
        let needs = Needs { retention, watermark_us: 40, needed_from_us: 40 - reach_us, from_offset };
        assert_eq!(dropped_before(&sealed, &needs), expected);
    }

    #[test]
    fn whole_segments_go_that_nobody_needs() {
        let age = Retention { age_us: Some(1), bytes: None };
        check(Retention::default(), 0, 99, None);
        check(age, 19, 99, Some(20));
        check(age, 20, 99, Some(10));
        check(age, 0, 15, Some(10));
        check(Retention { age_us: Some(25), bytes: None }, 0, 99, Some(10));
        let size = |bytes| Retention { age_us: None, bytes: Some(bytes) };
        check(size(200), 0, 99, Some(10));
        check(size(200), 30, 99, None);
        check(size(300), 0, 99, None);
        check(size(1), 0, 99, Some(30));
    }
}
