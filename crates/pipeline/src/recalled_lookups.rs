//! How far back the events that a start brings back look into a table: of each key, versions before the one that holds then
//! are let go as they come from the log, which has every version that ever came.
//!
//! ```text
//!   log of rates   v1 v2 v3 v4 v5 …            a row that changes every minute has a million versions in two years
//!   log of tx              held │ since        the events that are joined again: their least time is what is looked up
//!                          └──── scanned ────
//! ```
//! Where a view is computed anew, events of any age are joined again, and all versions are held until the end.

use crate::checkpointer::Restored;
use crate::engine::Engine;
use crate::error::PipelineError;
use crate::writer::Writer;

impl Engine {
    /// For each source that is a table with more than `rows_min` versions in its log, the least instant in microseconds as of
    /// which it is looked into while all comes back and ever after; `None` where that may be any.
    pub(crate) fn looked_up_from(
        &self,
        writer: &Writer,
        restored: &Restored,
        rows_min: u64,
    ) -> Result<Vec<Option<i64>>, PipelineError> {
        let sources = 0..self.sources().len();
        let rows = |source: usize| writer.logs[source].as_ref().map_or(0, |log| log.log().next_offset());
        let tables: Vec<usize> =
            sources.clone().filter(|source| self.is_table(*source) && rows(*source) > rows_min).collect();
        let mut by_stream = vec![None; sources.len()];
        let looks = |stream: &usize| tables.iter().any(|table| writer.sources.looking(*table).contains(stream));
        for stream in sources.clone().filter(looks) {
            by_stream[stream] = self.looks_up_from(writer, restored, stream)?;
        }
        let of_table = |table: usize| {
            let looking = writer.sources.looking(table).into_iter().map(|stream| by_stream[stream]);
            Some(looking.collect::<Option<Vec<i64>>>()?.into_iter().min().unwrap_or(i64::MAX))
        };
        Ok(sources.map(|source| of_table(source).filter(|_| tables.contains(&source))).collect())
    }

    /// The least instant as of which events of a stream are joined, those that are brought back and those that may come.
    fn looks_up_from(&self, writer: &Writer, restored: &Restored, stream: usize) -> Result<Option<i64>, PipelineError> {
        let is_whole = self.views_of(stream).into_iter().all(|view| restored.views[view]);
        let coming_us = writer.sources[stream].coming_from_us();
        let Some(coming_us) = coming_us.filter(|_| is_whole && !restored.undercut[stream]) else { return Ok(None) };
        let oldest = writer.logs[stream].as_ref().map_or(0, |log| log.log().first_offset());
        let mut least_us = coming_us;
        let from = restored.held[stream].max(oldest);
        self.used_times(writer, stream, from, |frame| least_us = least_us.min(frame.least_us))?;
        Ok(Some(least_us))
    }
}
