//! The event times that a log has, frame by frame: recovery looks ahead by them. Frames are decoded for it, and once more when
//! they are recalled.

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::StoredStream;

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::writer::Writer;

/// The times of a frame, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UsedTimes {
    /// When it arrived.
    pub(crate) arrived_us: i64,
    /// The least event time of its used rows.
    pub(crate) least_us: i64,
    /// The greatest.
    pub(crate) newest_us: i64,
}

impl Engine {
    /// Looks at the frames with used rows that a source's log has from an offset on.
    pub(crate) fn used_times(
        &self,
        writer: &Writer,
        source: usize,
        from: u64,
        mut see: impl FnMut(UsedTimes),
    ) -> Result<(), PipelineError> {
        let end_offset = writer.logs[source].as_ref().map_or(0, |log| log.log().next_offset());
        if from >= end_offset {
            return Ok(());
        }
        let storage = self.storage().expect("a log is open only where there is a data folder");
        let form = self.stored_form(source);
        let mut stored = StoredStream::open(storage.disk().clone(), storage.folder(), &form, 0, from)?;
        while let Some(frame) = stored.next_frame()?.filter(|frame| frame.first_offset < end_offset) {
            let times = frame.batch.used.column(form.time_column).as_primitive::<TimestampMicrosecondType>().values();
            if let (Some(least_us), Some(newest_us)) = (times.iter().copied().min(), times.iter().copied().max()) {
                see(UsedTimes { arrived_us: frame.arrived_us, least_us, newest_us });
            }
        }
        Ok(())
    }
}
