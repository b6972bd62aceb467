//! What only the writer touches: the sources with their judges and logs, and how far each has come.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::ProducerBatch;
use asof_feature::Prepared;
use asof_window::{Captured, Verdict, Version};

use crate::binding::BoundScored;
use crate::key_memory::KeyMemory;
use crate::settle::Durable;
use crate::sources::{Preparation, Sources};
use crate::still_to_come::StillToCome;
use crate::stream_batch::StreamBatch;
use crate::stream_log::StreamLog;
use crate::visibility::{Published, StreamPosition};

/// The writer's side of an engine.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) sources: Sources,
    /// How many of them are streams with events of their own: they come first.
    streams: usize,
    /// The logs of the sources that have one, once they are open.
    pub(crate) logs: Vec<Option<StreamLog>>,
    pub(crate) positions: Vec<StreamPosition>,
    /// When each source last had arrivals that were used, or the writer began, by the wall clock.
    pub(crate) last_arrivals_us: Vec<i64>,
    /// How far the clock alone has moved the watermark of each source that has had events, in microseconds.
    pub(crate) clock_watermarks_us: Vec<Option<i64>>,
    /// The arrival time of the last batches.
    pub(crate) arrived_us: i64,
    /// By source: primary keys beyond the judge's memory, where they are remembered and stored.
    pub(crate) keys: Vec<Option<KeyMemory>>,
    /// Whether a batch is judged and not yet in the views; left set by a commit that did not come to its end.
    pub(crate) is_torn: bool,
    /// A group that is durable and may be seen once it is known that no other writer has taken over.
    pub(crate) unsettled: Option<Durable>,
    /// By source: what recovery has still to bring.
    pub(crate) still_to_come: Vec<StillToCome>,
    /// Sources with rows of windows whose watermark has moved, of the group that is on its way.
    pub(crate) moved_windows: Vec<usize>,
    /// While rows wait to be scored: a version of which all that they are read for is still there.
    pub(crate) scores_answered: Option<Arc<Published>>,
    version: Version,
    rows_since_sweep: usize,
}

/// A batch and its judgement, on the way into the views.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) batch: StreamBatch,
    pub(crate) preparation: Preparation,
}

impl Judged {
    pub(crate) fn prepared(&self) -> &Prepared {
        self.preparation.prepared()
    }
}

impl Writer {
    /// A writer that begins at an instant of the wall clock, in microseconds.
    pub(crate) fn new(sources: Sources, positions: Vec<StreamPosition>, began_us: i64) -> Writer {
        Writer {
            logs: sources.iter().map(|_| None).collect(),
            last_arrivals_us: vec![began_us; sources.len()],
            clock_watermarks_us: vec![None; sources.len()],
            keys: sources.iter().map(|_| None).collect(),
            still_to_come: sources.iter().map(|_| StillToCome::default()).collect(),
            streams: (0..sources.len())
                .take_while(|source| !sources.is_table(*source) && !sources.makes_rows(*source))
                .count(),
            sources,
            positions,
            arrived_us: i64::MIN,
            is_torn: false,
            unsettled: None,
            moved_windows: Vec::new(),
            scores_answered: None,
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
        let has_waiting = self.sources.windows.iter().any(|one| one.waiting.is_some());
        let has_waiting = has_waiting || self.sources.scored.iter().any(|one| one.is_behind);
        !self.is_torn && !has_waiting && !self.logs.iter().flatten().any(StreamLog::is_broken)
    }

    /// The offset behind what is visible, or about to be, of a source with one partition.
    pub(crate) fn next_offset(&self, source: usize) -> u64 {
        self.positions[source].next_offsets.first().copied().unwrap_or(0)
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

    /// What joins hold together breaks together: a judge or held rows that know more than a log does would answer for others.
    pub(crate) fn break_connected(&mut self) {
        for source in 0..self.logs.len() {
            let Some(detail) = self.logs[source].as_ref().and_then(StreamLog::broken_detail) else { continue };
            let connected = self.sources.connected(source);
            for other in connected.iter().copied().filter(|_| connected.len() > 1) {
                if let Some(log) = &mut self.logs[other] {
                    log.break_beside(&detail);
                }
            }
        }
    }

    /// Whether a source that is not in a log may not go on: joins connect it with events or versions that are prepared and
    /// that no read sees yet, or ever will.
    pub(crate) fn has_to_wait(&self, source: usize) -> bool {
        let connected = self.sources.connected(source);
        let is_broken = |other: &usize| self.logs[*other].as_ref().is_some_and(StreamLog::is_broken);
        connected.len() > 1 && (self.unsettled.is_some() || connected.iter().any(is_broken))
    }

    /// Holds a group back. Its histories were held against the sessions of before: of its streams none is dropped meanwhile.
    pub(crate) fn hold_back(&mut self, durable: Durable) {
        debug_assert!(self.unsettled.is_none(), "one group is held back at a time");
        durable.streams().for_each(|stream| self.positions[stream].coming_from_us = None);
        self.unsettled = Some(durable);
    }

    /// Notes what a batch did to the position of its source and, by joins, to those of others.
    pub(crate) fn note(&mut self, judged: &Judged, arrived_us: i64) {
        for (stream, rejoined) in judged.preparation.rejoined() {
            self.positions[*stream].rejoined_rows += rejoined.row_count() as u64;
        }
        self.note_batch(&judged.batch, judged.prepared(), arrived_us);
    }

    fn note_batch(&mut self, batch: &StreamBatch, prepared: &Prepared, arrived_us: i64) {
        if prepared.newest_us().is_some() {
            self.last_arrivals_us[batch.stream] = arrived_us;
        }
        self.rows_since_sweep += batch.offsets.len();
        self.note_position(batch.stream);
        let last_used = prepared.verdicts().iter().rposition(|verdict| *verdict == Verdict::Used);
        if let (Some(arrived), Some(row)) = (&batch.arrived, last_used) {
            let times = batch.batch.column(self.sources[batch.stream].plan().stream().time_column);
            let time_us = times.as_primitive::<TimestampMicrosecondType>().value(row);
            self.positions[batch.stream].arrival_lag_ms = lag_ms(arrived, row, time_us);
        }
    }

    /// A source whose rows wait to be stored, of windows or scored, which this source is connected with or is seen by.
    pub(crate) fn rows_waiting(&self, source: usize) -> Option<usize> {
        let windows = self.sources.windows.iter().filter(|one| one.waiting.is_some()).map(|one| one.source);
        let scored = self.sources.scored.iter().filter(|one| one.is_behind).map(|one| one.source);
        let sees = |one: &&BoundScored| one.is_behind && one.sees.contains(&source);
        if let Some(seeing) = self.sources.scored.iter().find(sees) {
            return Some(seeing.source);
        }
        let mut waiting = windows.chain(scored);
        waiting.find(|waiting| self.sources.connected(source).contains(waiting))
    }

    /// Notes how far streams of windows have come. Of one whose log is broken it is not known what stands there.
    pub(crate) fn note_windows(&mut self, sources: &[usize]) {
        for source in sources {
            if self.logs[*source].as_ref().is_none_or(|log| !log.is_broken()) {
                self.note_position(*source);
            }
        }
    }

    /// Lets a log not be written any more whose judge knows what it has not, and all that is connected with it.
    pub(crate) fn break_source(&mut self, source: usize, detail: &str) {
        self.logs[source].iter_mut().for_each(|log| log.break_beside(detail));
        self.break_connected();
    }

    /// Notes how far a stream has come.
    pub(crate) fn note_position(&mut self, stream: usize) {
        let (position, still_to_come) = (&mut self.positions[stream], &self.still_to_come[stream]);
        let stream = &self.sources[stream];
        let next_offsets: Vec<u64> = stream.arrived().map(|(_, count)| count).collect();
        // Before the first arrival no partition is known, and the position stays at its beginning.
        if !next_offsets.is_empty() {
            position.next_offsets = next_offsets;
        }
        position.coming_from_us = still_to_come.coming_from_us(stream.coming_from_us());
        position.watermark_us = position.watermark_us.max(stream.watermark_us());
        position.newest_us = stream.newest_us();
        position.accounting = stream.accounting();
        if position.derived_rows.len() != stream.derived().len() {
            let named = stream.derived().iter().map(|derived| (Arc::from(derived.name.as_str()), 0));
            position.derived_rows = named.collect();
        }
        let counts = position.derived_rows.iter_mut().zip(stream.derived_rows());
        counts.for_each(|((_, known), rows)| *known = *rows);
    }

    pub(crate) fn published(&self) -> Published {
        // The event clock is that of events, where there are any streams.
        let moving = if self.streams > 0 { &self.positions[..self.streams] } else { &self.positions[..] };
        let newest_us = moving.iter().filter_map(|position| position.newest_us).max();
        let rows = self.positions.iter().map(|position| position.accounting.total()).sum();
        Published { version: self.version, rows, newest_us, streams: self.positions.clone() }
    }
}

fn lag_ms(arrived: &Int64Array, row: usize, time_us: i64) -> Option<i64> {
    arrived.is_valid(row).then(|| arrived.value(row).saturating_sub(time_us).div_euclid(1_000))
}
