//! Which streams have to be joined anew at a start, though a checkpoint has their views.
//!
//! ```text
//!   checkpoint │ versions that came since        W: the least watermark of the tables that a stream joins
//!     held: ts ≥ W │ 7 ≥ W, 9 ≥ W, 3 < W          3 changes events that nobody holds any more
//! ```
//! In a life in which the stream joins the table, such a version is refused: late, or a history out of reach. One in which
//! nothing joined it takes any history. The views that join come from the log then, with all versions at once.

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::used_times::UsedTimes;
use crate::writer::Writer;

impl Engine {
    /// For each source, whether it is such a stream. `from` says from where on the checkpoint does not have the logs; the
    /// tables' watermarks are its own.
    pub(crate) fn undercut_streams(&self, writer: &Writer, from: &[u64]) -> Result<Vec<bool>, PipelineError> {
        let mut came: Vec<(usize, UsedTimes)> = Vec::new();
        for table in (0..from.len()).filter(|table| !writer.sources.joining(*table).is_empty()) {
            self.used_times(writer, table, from[table], |frame| came.push((table, frame)))?;
        }
        // As the groups were: a frame for a table, tables in their order.
        came.sort_by_key(|(table, frame)| (frame.arrived_us, *table));
        Ok((0..from.len()).map(|stream| is_undercut(writer, stream, &came)).collect())
    }
}

/// Whether versions came to tables, in this order of frames, among them a stream's, that are older than what it held by then.
fn is_undercut(writer: &Writer, stream: usize, came: &[(usize, UsedTimes)]) -> bool {
    let mut joined = writer.sources.joined_by(stream);
    joined.retain(|table| writer.logs[*table].is_some());
    let mut watermarks: Vec<Option<i64>> = joined.iter().map(|table| writer.sources[*table].watermark_us()).collect();
    for (table, frame) in came {
        let Some(place) = joined.iter().position(|other| other == table) else { continue };
        // Before the first version of some table all events are held.
        if watermarks.iter().min().copied().flatten().is_some_and(|held_from_us| frame.least_us < held_from_us) {
            return true;
        }
        let lateness_us = writer.sources[*table].plan().stream().lateness_us;
        watermarks[place] = watermarks[place].max(Some(frame.newest_us.saturating_sub(lateness_us)));
    }
    false
}
