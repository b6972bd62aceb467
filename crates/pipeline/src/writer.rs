//! What only the writer touches: the streams with their judges and logs, and how far each has come.

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::ProducerBatch;
use asof_feature::{OnlineStream, Prepared};
use asof_window::{Captured, Verdict, Version};

use crate::engine::StreamBatch;
use crate::key_memory::KeyMemory;
use crate::settle::Durable;
use crate::stream_log::StreamLog;
use crate::visibility::{Published, StreamPosition};

/// The writer's side of an engine.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) streams: Vec<OnlineStream>,
    /// The logs of the streams that have one, once they are open.
    pub(crate) logs: Vec<Option<StreamLog>>,
    pub(crate) positions: Vec<StreamPosition>,
    /// When each stream last had arrivals, by the wall clock.
    pub(crate) last_arrivals_us: Vec<Option<i64>>,
    /// The arrival time of the last batches.
    pub(crate) arrived_us: i64,
    /// By stream: primary keys beyond the judge's memory, where they are remembered and stored.
    pub(crate) keys: Vec<Option<KeyMemory>>,
    /// Whether a batch is judged and not yet in the views; left set by a commit that did not come to its end.
    pub(crate) is_torn: bool,
    /// A group that is durable and may be seen once it is known that no other writer has taken over.
    pub(crate) unsettled: Option<Durable>,
    version: Version,
    rows_since_sweep: usize,
}

/// A batch and its judgement, on the way into the views.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) batch: StreamBatch,
    pub(crate) prepared: Prepared,
}

impl Writer {
    pub(crate) fn new(streams: Vec<OnlineStream>, positions: Vec<StreamPosition>) -> Writer {
        Writer {
            logs: streams.iter().map(|_| None).collect(),
            last_arrivals_us: vec![None; streams.len()],
            keys: streams.iter().map(|_| None).collect(),
            streams,
            positions,
            arrived_us: i64::MIN,
            is_torn: false,
            unsettled: None,
            version: Version(0),
            rows_since_sweep: 0,
        }
    }

    /// The arrival time of the next batches: it strictly increases, whatever the clock does.
    pub(crate) fn next_arrival(&mut self, now_us: i64) -> i64 {
        self.arrived_us = now_us.max(self.arrived_us.saturating_add(1));
        self.arrived_us
    }

    /// Whether the judges know no more than the views and the logs do: only then may a checkpoint be cut.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_torn && !self.logs.iter().flatten().any(StreamLog::is_broken)
    }

    pub(crate) fn next_version(&mut self) -> Version {
        self.version = Version(self.version.0 + 1);
        self.version
    }

    /// How many rows were taken in since the last sweep, if they are as many as `rows_min`.
    pub(crate) fn rows_to_sweep(&mut self, rows_min: usize) -> Option<usize> {
        let due = self.rows_since_sweep >= rows_min;
        due.then(|| std::mem::take(&mut self.rows_since_sweep))
    }

    /// The named batches of a stream for a checkpoint: all that are remembered, or those that no checkpoint has.
    pub(crate) fn take_batches(&mut self, stream: usize, what: Captured) -> Vec<ProducerBatch> {
        self.logs[stream].as_mut().map_or_else(Vec::new, |log| log.producers.take(what))
    }

    /// Notes what a batch did to its stream's position.
    pub(crate) fn note(&mut self, batch: &StreamBatch, prepared: &Prepared, arrived_us: i64) {
        self.last_arrivals_us[batch.stream] = Some(arrived_us);
        self.rows_since_sweep += batch.offsets.len();
        self.note_position(batch.stream);
        let last_used = prepared.verdicts().iter().rposition(|verdict| *verdict == Verdict::Used);
        if let (Some(arrived), Some(row)) = (&batch.arrived, last_used) {
            let times = batch.batch.column(self.streams[batch.stream].plan().stream().time_column);
            let time_us = times.as_primitive::<TimestampMicrosecondType>().value(row);
            self.positions[batch.stream].arrival_lag_ms = lag_ms(arrived, row, time_us);
        }
    }

    /// Notes how far a stream has come.
    pub(crate) fn note_position(&mut self, stream: usize) {
        let position = &mut self.positions[stream];
        let stream = &self.streams[stream];
        let next_offsets: Vec<u64> = stream.arrived().map(|(_, count)| count).collect();
        // Before the first arrival no partition is known, and the position stays at its beginning.
        if !next_offsets.is_empty() {
            position.next_offsets = next_offsets;
        }
        position.watermark_us = position.watermark_us.max(stream.watermark_us());
        position.newest_us = stream.newest_us();
        position.accounting = stream.accounting();
        let derived = stream.derived().iter().zip(stream.derived_rows());
        position.derived_rows = derived.map(|(stream, rows)| (stream.name.clone(), *rows)).collect();
    }

    pub(crate) fn published(&self) -> Published {
        let newest_us = self.positions.iter().filter_map(|position| position.newest_us).max();
        let rows = self.positions.iter().map(|position| position.accounting.total()).sum();
        Published { version: self.version, rows, newest_us, streams: self.positions.clone() }
    }
}

fn lag_ms(arrived: &Int64Array, row: usize, time_us: i64) -> Option<i64> {
    arrived.is_valid(row).then(|| arrived.value(row).saturating_sub(time_us).div_euclid(1_000))
}
