//! Rows of closed windows over files: made here, as a server that was given the events as they arrived would have made them.
//! (Those over the log were made by the server, and are read from a log of their own.)
//!
//! ```text
//!   used events ─▶ shards by key ─▶ windows, closed up to the last watermark ─▶ rows ─▶ ranges of event time ─▶ views
//!                  (a view that                                                         sorted: offsets are the order
//!                   nobody asks)                                                        in which rows were made
//! ```
//! No clock closes windows over files, so that none of the used events comes too late for one, nor a version of a table
//! that they are joined with: the rows do not depend on the order of arrival, and are made when all events are there. What
//! depends on it is their own arrival: when the watermarks of all files behind them had passed their last instant. That is
//! the step at which windows of windows close too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use asof_definition::Stream;
use asof_feature::{StreamPlan, TakenIn, WindowStream};
use asof_window::Accounting;

use crate::error::HistoryError;
use crate::event_batch::{Account, EventBatch, Offsets};
use crate::event_place::ViewDuplicates;
use crate::inputs::Inputs;
use crate::job::Knowledge;
use crate::parallel::in_parallel;
use crate::partitions::Partitions;
use crate::shard::EntityEvents;
use crate::stream_ingest::Reading;
use crate::view_events::ViewEvents;
use crate::watermark::Watermark;

/// So many event times of each shard say where ranges begin.
const SAMPLES: usize = 64;

/// A stream of closed windows whose events are still coming.
pub(crate) struct WindowsBeingRead {
    stream: Arc<Stream>,
    /// The open windows, as a view that no SQL names.
    pub(crate) view: ViewEvents,
}

/// The rows of a stream of closed windows, range after range.
#[derive(Debug)]
pub(crate) struct WindowRows {
    made: Arc<MadeRows>,
    next: usize,
    next_offset: u64,
}

/// Rows of a range, not sorted yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowsPiece {
    range: usize,
    first_offset: u64,
    /// How many.
    pub(crate) rows: u64,
}

/// Turns pieces into batches.
#[derive(Debug, Clone)]
pub(crate) struct RowsDecoder(Arc<MadeRows>);

#[derive(Debug)]
struct MadeRows {
    /// Of event time, one after the other.
    ranges: Partitions,
    /// How many rows each range has.
    counts: Vec<u64>,
    /// Of the files that close the windows.
    watermarks: Vec<Arc<Watermark>>,
    /// Of the tables that they do not stay open for.
    tables: Vec<Arc<Watermark>>,
}

/// Windows that have no row because a column of it failed.
#[derive(Debug, Default)]
pub(crate) struct FailedRows {
    pub(crate) count: u64,
    /// What was wrong with one of them, always the same one.
    pub(crate) detail: Option<String>,
}

/// Rows as they were made, and some of their event times.
struct MadeByShard {
    rows: Partitions,
    times_us: Mutex<Vec<i64>>,
    failed: Mutex<FailedRows>,
}

impl WindowsBeingRead {
    /// No events yet.
    pub(crate) fn new(
        stream: &Arc<Stream>,
        inputs: &Inputs,
        reading: &Reading<'_>,
    ) -> Result<WindowsBeingRead, HistoryError> {
        let open = WindowStream::new(stream.clone(), 1)?.open().plan().clone();
        let view = ViewEvents::of_windows(open, inputs, reading.room, reading.shards)?;
        Ok(WindowsBeingRead { stream: stream.clone(), view })
    }

    /// The stream of their rows.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Whether it matters to them how far a file has come: it closes them, or has versions that their events are joined with.
    pub(crate) fn follow(&self, file: &str) -> bool {
        self.stream.closed_by().iter().chain(&self.unawaited_tables()).any(|source| source.name == file)
    }

    /// The tables that are joined with their events and that they do not stay open for.
    fn unawaited_tables(&self) -> Vec<Arc<Stream>> {
        let (ancestry, closed_by) = (self.stream.ancestry(), self.stream.closed_by());
        let windows = ancestry.iter().filter_map(|stream| stream.window());
        let tables = windows.flat_map(|window| window.view.stream.tables()).map(|table| table.versions.clone());
        tables.filter(|table| closed_by.iter().all(|source| source.name != table.name)).collect()
    }

    /// All events are there: closes the windows that the watermarks have passed.
    pub(crate) fn close(
        self,
        reading: &Reading<'_>,
        watermarks: &BTreeMap<String, Arc<Watermark>>,
        duplicates: &ViewDuplicates<'_>,
    ) -> Result<(WindowRows, FailedRows), HistoryError> {
        let of_source = |source: &Arc<Stream>| watermarks[&source.name].clone();
        let tables = self.unawaited_tables().iter().map(of_source).collect();
        let watermarks: Vec<Arc<Watermark>> = self.stream.closed_by().iter().map(of_source).collect();
        let last_us: Option<Vec<i64>> = watermarks.iter().map(|watermark| watermark.last_us()).collect();
        let schema = WindowStream::new(self.stream.clone(), 1)?.no_rows().batch.schema();
        let made = MadeByShard {
            rows: reading.room.partitions(schema, reading.shards),
            times_us: Mutex::default(),
            failed: Mutex::default(),
        };
        if let Some(watermark_us) = last_us.and_then(|all| all.into_iter().min()) {
            in_parallel(reading.job.threads, reading.shards, &reading.job.stop, |shard| {
                self.close_shard(shard, watermark_us, duplicates, &made)
            })?;
        }
        let (ranges, counts) = made.in_ranges(reading, self.stream.time_column)?;
        let made_rows = MadeRows { ranges, counts, watermarks, tables };
        let failed = made.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((WindowRows { made: Arc::new(made_rows), next: 0, next_offset: 0 }, failed))
    }

    fn close_shard(
        &self,
        shard: usize,
        watermark_us: i64,
        duplicates: &ViewDuplicates<'_>,
        made: &MadeByShard,
    ) -> Result<(), HistoryError> {
        let view = &self.view;
        let EntityEvents { batch, .. } = EntityEvents::take(view, shard, Knowledge::EventTime, duplicates)?;
        let taken = TakenIn {
            rows: UInt32Array::from_iter_values(0..batch.num_rows() as u32),
            whole: true,
            keys: view.layout.keys(&batch).to_vec(),
            carried: view.layout.carried(&batch).to_vec(),
            set_aside: Vec::new(),
            live: None,
        };
        let times = view.layout.time_array(&batch).as_primitive::<Int64Type>().values().clone();
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::new(times, None));
        let mut windows = WindowStream::new(self.stream.clone(), 1)?;
        windows.take_in(taken, &times, |row| EntityEvents::tie(view, &batch, row))?;
        let closed = windows.close(watermark_us)?;
        let details = closed.set_aside.into_iter().map(|aside| aside.detail);
        made.failed.lock().unwrap_or_else(PoisonError::into_inner).add(details);
        made.add(shard, &closed.batch, self.stream.time_column)
    }
}

impl FailedRows {
    fn add(&mut self, details: impl Iterator<Item = String>) {
        for detail in details {
            self.count += 1;
            if self.detail.as_ref().is_none_or(|known| detail < *known) {
                self.detail = Some(detail);
            }
        }
    }
}

impl MadeByShard {
    fn add(&self, shard: usize, rows: &RecordBatch, time_column: usize) -> Result<(), HistoryError> {
        let times = times_us(rows, time_column);
        let every = times.len().div_ceil(SAMPLES).max(1);
        let samples = times.iter().step_by(every);
        self.times_us.lock().unwrap_or_else(PoisonError::into_inner).extend(samples);
        self.rows.scatter(shard as u64, rows, &vec![shard as u32; rows.num_rows()])
    }

    /// The rows in ranges of event time, and how many each has. Rows of one time are in one range.
    fn in_ranges(&self, reading: &Reading<'_>, time_column: usize) -> Result<(Partitions, Vec<u64>), HistoryError> {
        let bounds_us = bounds_us(&self.times_us, reading.shards);
        let ranges = reading.room.partitions(self.rows.schema().clone(), reading.shards);
        let counts = Mutex::new(vec![0u64; reading.shards]);
        in_parallel(reading.job.threads, self.rows.len(), &reading.job.stop, |shard| {
            let rows = self.rows.take(shard)?;
            let range_of = |time_us: &i64| bounds_us.partition_point(|bound_us| bound_us <= time_us) as u32;
            let range_of: Vec<u32> = times_us(&rows, time_column).iter().map(range_of).collect();
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            range_of.iter().for_each(|range| counts[*range as usize] += 1);
            drop(counts);
            ranges.scatter(shard as u64, &rows, &range_of)
        })?;
        Ok((ranges, counts.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Where all ranges but the first begin.
fn bounds_us(samples_us: &Mutex<Vec<i64>>, ranges: usize) -> Vec<i64> {
    let mut samples_us = samples_us.lock().unwrap_or_else(PoisonError::into_inner);
    samples_us.sort_unstable();
    let mut bounds_us: Vec<i64> =
        (1..ranges).filter_map(|range| samples_us.get(range * samples_us.len() / ranges)).copied().collect();
    bounds_us.dedup();
    bounds_us
}

fn times_us(rows: &RecordBatch, time_column: usize) -> &[i64] {
    rows.column(time_column).as_primitive::<TimestampMicrosecondType>().values()
}

impl WindowRows {
    /// How many rows there are.
    pub(crate) fn count(&self) -> u64 {
        self.made.counts.iter().sum()
    }

    pub(crate) fn decoder(&self) -> RowsDecoder {
        RowsDecoder(self.made.clone())
    }

    /// The next range with rows, `None` behind the last.
    pub(crate) fn next_piece(&mut self) -> Option<RowsPiece> {
        while let Some(&rows) = self.made.counts.get(self.next) {
            let piece = RowsPiece { range: self.next, first_offset: self.next_offset, rows };
            self.next += 1;
            self.next_offset += rows;
            if rows > 0 {
                return Some(piece);
            }
        }
        None
    }
}

impl RowsDecoder {
    /// The rows of a piece as one batch.
    pub(crate) fn decode(&self, plan: &StreamPlan, piece: RowsPiece) -> Result<EventBatch, HistoryError> {
        let made = &self.0;
        let rows = plan.in_order(&made.ranges.take(piece.range)?)?;
        let arrived = times_us(&rows, plan.stream().time_column).iter().map(|time_us| made.arrived_us(*time_us));
        let used = rows.num_rows() as u64;
        Ok(EventBatch {
            number: 0,
            offsets: Offsets::From(piece.first_offset),
            arrived: Some(Int64Array::from_iter_values(arrived)),
            rows,
            primary_keys: None,
            used: None,
            rejected: Vec::new(),
            account: Account { verdicts: Accounting { used, ..Accounting::default() }, ..Account::default() },
        })
    }
}

impl MadeRows {
    /// When the row of a window arrived that ended at this instant, both in microseconds.
    fn arrived_us(&self, last_us: i64) -> i64 {
        let passed_us = self.watermarks.iter().filter_map(|watermark| watermark.passed_us(last_us));
        let passed_us = passed_us.max().expect("a window has closed once all watermarks have passed it");
        let there_us = self.tables.iter().filter_map(|table| table.there_us(last_us)).max();
        there_us.map_or(passed_us, |there_us| there_us.max(passed_us))
    }
}
