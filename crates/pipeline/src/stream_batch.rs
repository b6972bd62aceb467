//! Rows of one stream on their way to its judge.

use arrow::array::{Int64Array, RecordBatch};
use arrow::row::Rows;
use asof_feature::{Arrivals, ArrivedAt, Faced, Lateness, Rejected};

/// The next rows of one stream, in the order in which they are judged.
#[derive(Debug)]
pub struct StreamBatch {
    /// Index into [`Engine::sources`](crate::Engine::sources): the project's streams, and behind them its tables.
    pub stream: usize,
    /// The partition.
    pub partition: u32,
    /// The stream's columns.
    pub batch: RecordBatch,
    /// Rows rejected on their face, ascending.
    pub rejected: Vec<Rejected>,
    /// Encoded primary keys, where the stream has one.
    pub primary_keys: Option<Rows>,
    /// The offset of each row.
    pub offsets: Vec<u64>,
    /// Of rows that come from a feed the partition of each there.
    pub fed: Option<Vec<u32>>,
    /// Arrival times in microseconds, where the source tells them.
    pub arrived: Option<Int64Array>,
}

impl StreamBatch {
    /// The batch as its stream is told of it.
    pub(crate) fn arrivals<'a>(
        &'a self,
        arrived_us: ArrivedAt<'a>,
        lateness: Lateness,
        used_before: &'a [(usize, i64)],
    ) -> Arrivals<'a> {
        let faced = Faced {
            partition: self.partition,
            batch: &self.batch,
            rejected: &self.rejected,
            primary_keys: self.primary_keys.as_ref(),
        };
        Arrivals { faced, arrived_us, offsets: &self.offsets, lateness, used_before, fed: self.fed.as_deref() }
    }
}
