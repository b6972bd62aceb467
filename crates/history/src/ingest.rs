//! One stream's file into the shards of its views: decoded on all threads, judged, evaluated, scattered.
//!
//! Taken in event-time order (the default), whether an event is used depends on no other event but repeats of its primary
//! key, so threads run free and [`DuplicateSearch`] finds repeats afterwards. Taken as arrivals (`order = 'file'`), pieces
//! are judged in turn by the one judge that live streams have.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{filter, take};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::Rows;
use asof_connect::{Decoded, EventFile, split_arrivals};
use asof_definition::FileOrder;
use asof_feature::{Faced, Rejected, StreamPlan, TakenIn, ViewPlan};
use asof_window::{Judge, KeyEncoder, Verdict, shard_of};

use crate::duplicates::{DuplicateSearch, Duplicates};
use crate::error::HistoryError;
use crate::event_layout::EventLayout;
use crate::key_filter::KeyFilter;
use crate::partitions::Partitions;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::summary::{Reason, StreamSummary};
use crate::turns::Turns;

/// A view and the shards of its events.
#[derive(Debug)]
pub(crate) struct ViewEvents {
    pub(crate) plan: ViewPlan,
    pub(crate) layout: EventLayout,
    pub(crate) keys: KeyEncoder,
    pub(crate) events: Partitions,
    /// The entities that are asked for; `None` for all.
    pub(crate) asked: Option<KeyFilter>,
    /// Columns of the stream kept for the output.
    pub(crate) kept: Vec<usize>,
}

/// What a stream's file goes into.
pub(crate) struct Ingest<'a> {
    plan: &'a StreamPlan,
    order: FileOrder,
    /// The column of arrival times in the decoded batches.
    arrival_column: Option<usize>,
    views: Vec<&'a ViewEvents>,
    needs_primary_keys: bool,
    duplicates: Option<DuplicateSearch>,
    turns: Turns,
    judged: Mutex<FileJudge>,
    told: Mutex<Told>,
}

/// The judge of a file's arrivals, and the arrival time that never decreases.
struct FileJudge {
    judge: Judge,
    arrived_us: i64,
}

/// What is to be told at the end.
struct Told {
    summary: StreamSummary,
    /// Offsets of events set aside, by view: those that turn out to be duplicates do not count.
    set_aside: Vec<Vec<u64>>,
}

/// A decoded batch and what is known of its rows.
struct Judged {
    number: u64,
    first_row: u64,
    /// The stream's columns.
    batch: RecordBatch,
    /// Arrival times; NULL where the event time stands for it.
    arrived: Option<Int64Array>,
    primary_keys: Option<Rows>,
    rejected: Vec<Rejected>,
    /// `None` is all.
    used: Option<BooleanArray>,
}

impl<'a> Ingest<'a> {
    pub(crate) fn new(
        plan: &'a StreamPlan,
        order: FileOrder,
        arrival_column: Option<usize>,
        views: Vec<&'a ViewEvents>,
        duplicates: impl FnOnce(i64) -> DuplicateSearch,
    ) -> Result<Ingest<'a>, HistoryError> {
        let stream = plan.stream();
        let rules = plan.file_rules();
        let needs_primary_keys =
            rules.dedup_horizon_us.is_some() || views.iter().any(|view| view.layout.needs_primary_key());
        let duplicates = match (order, rules.dedup_horizon_us) {
            (FileOrder::EventTime, Some(horizon_us)) => Some(duplicates(horizon_us)),
            _ => None,
        };
        let set_aside = views.iter().map(|_| Vec::new()).collect();
        let summary = StreamSummary { name: stream.name.clone(), ..StreamSummary::default() };
        Ok(Ingest {
            plan,
            order,
            arrival_column,
            views,
            needs_primary_keys,
            duplicates,
            turns: Turns::default(),
            judged: Mutex::new(FileJudge { judge: Judge::new(rules), arrived_us: i64::MIN }),
            told: Mutex::new(Told { summary, set_aside }),
        })
    }

    /// Reads the whole file on `threads` threads. Gives what is to be told, and the duplicates to leave out.
    pub(crate) fn run(
        self,
        file: EventFile,
        threads: usize,
        stop: &Stop,
        progress: &dyn Progress,
    ) -> Result<(StreamSummary, Duplicates), HistoryError> {
        let absent_columns = file.absent_columns();
        let decoder = file.decoder();
        let feed = Mutex::new((0u64, file));
        let stopped = AtomicBool::new(false);
        let work = || {
            while !stopped.load(Ordering::Relaxed) {
                stop.check()?;
                let (number, piece) = {
                    let mut feed = lock(&feed);
                    let Some(piece) = feed.1.next_piece()? else { return Ok(()) };
                    feed.0 += 1;
                    (feed.0 - 1, piece)
                };
                let bytes = piece.bytes;
                let mut batches = Vec::new();
                let decoded = decoder.decode(piece, &mut |decoded| {
                    batches.push(self.face(number << 16 | batches.len() as u64, decoded)?);
                    Ok::<_, HistoryError>(())
                });
                if self.order == FileOrder::File {
                    // The turn is taken even after an error: the next in line waits for it.
                    self.turns.take(number, || batches.iter_mut().for_each(|batch| self.judge(batch)));
                }
                decoded?;
                for batch in &batches {
                    self.deliver(batch)?;
                }
                progress.advance(bytes);
            }
            Ok(())
        };
        let results: Vec<Result<(), HistoryError>> = std::thread::scope(|scope| {
            let guarded = || {
                let result = work();
                if result.is_err() {
                    stopped.store(true, Ordering::Relaxed);
                }
                result
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(guarded)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or(Err(HistoryError::Panicked))).collect()
        });
        results.into_iter().collect::<Result<(), _>>()?;
        self.finish(threads, stop, absent_columns)
    }

    /// What can be said of a batch on its face.
    fn face(&self, number: u64, decoded: Decoded) -> Result<Judged, HistoryError> {
        let Decoded { first_row, batch, unreadable } = decoded;
        let (batch, arrived) = split_arrivals(self.plan.stream(), self.arrival_column, &batch);
        let unreadable = unreadable.into_iter().map(|one| (one.row, one.detail)).collect();
        let rejected = self.plan.rejected(&batch, unreadable);
        let used = (!rejected.is_empty()).then(|| {
            let mut used = vec![true; batch.num_rows()];
            rejected.iter().for_each(|one| used[one.row] = false);
            BooleanArray::from(used)
        });
        let primary_keys = if self.needs_primary_keys { self.plan.primary_keys(&batch)? } else { None };
        Ok(Judged { number, first_row, batch, arrived, primary_keys, rejected, used })
    }

    /// Judges a batch of arrivals; called in the file's order.
    fn judge(&self, batch: &mut Judged) {
        let mut state = lock(&self.judged);
        let FileJudge { judge, arrived_us } = &mut *state;
        let faced = Faced {
            partition: 0,
            batch: &batch.batch,
            rejected: &batch.rejected,
            primary_keys: batch.primary_keys.as_ref(),
        };
        let mut arrivals = Vec::with_capacity(batch.batch.num_rows());
        let verdicts = self.plan.judge(judge, faced, |row, own_us| {
            let given = batch.arrived.as_ref().filter(|given| given.is_valid(row)).map(|given| given.value(row));
            *arrived_us = given.or(own_us).unwrap_or(*arrived_us).max(*arrived_us);
            arrivals.push(*arrived_us);
            *arrived_us
        });
        if batch.arrived.is_some() {
            batch.arrived = Some(Int64Array::from(arrivals));
        }
        batch.used = Some(verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect());
        let mut told = lock(&self.told);
        verdicts.iter().for_each(|verdict| told.summary.accounting.count(*verdict));
        if let Some(row) = verdicts.iter().position(|verdict| *verdict == Verdict::Late) {
            told.example("late", batch.first_row + row as u64, "event time is behind the watermark");
        }
    }

    /// Scatters a judged batch to the views.
    fn deliver(&self, batch: &Judged) -> Result<(), HistoryError> {
        self.tell(batch);
        if let (Some(duplicates), Some(keys)) = (&self.duplicates, &batch.primary_keys) {
            self.search_later(duplicates, batch, keys)?;
        }
        for (place, view) in self.views.iter().enumerate() {
            let taken = view.plan.take_in(&batch.batch, batch.used.as_ref());
            if !taken.set_aside.is_empty() {
                self.tell_set_aside(place, view, &taken, batch.first_row);
            }
            self.scatter(view, taken, batch)?;
        }
        Ok(())
    }

    fn search_later(&self, search: &DuplicateSearch, batch: &Judged, keys: &Rows) -> Result<(), HistoryError> {
        let times = times_of(self.plan, &batch.batch);
        let times: ArrayRef = Arc::new(Int64Array::new(times.values().clone(), None));
        let offsets: ArrayRef = Arc::new(offsets_of(batch.first_row, batch.batch.num_rows()));
        let (keys, times, offsets) = match &batch.used {
            Some(used) => (self.plan.keys_where(keys, used), filter(&times, used)?, filter(&offsets, used)?),
            None => (keys.clone(), times, offsets),
        };
        search.add(batch.number, keys, times.as_primitive().clone(), offsets.as_primitive().clone())
    }

    fn scatter(&self, view: &ViewEvents, taken: TakenIn, batch: &Judged) -> Result<(), HistoryError> {
        if taken.rows.is_empty() {
            return Ok(());
        }
        let pick = |array: ArrayRef| if taken.whole { Ok(array) } else { take(&array, &taken.rows, None) };
        let times = times_of(self.plan, &batch.batch);
        let times: ArrayRef = Arc::new(Int64Array::new(times.values().clone(), None));
        let mut columns = taken.keys;
        columns.push(pick(times.clone())?);
        if view.layout.needs_offset() {
            columns.push(pick(Arc::new(offsets_of(batch.first_row, batch.batch.num_rows())))?);
        }
        if let (true, Some(keys)) = (view.layout.needs_primary_key(), &batch.primary_keys) {
            columns.push(pick(Arc::new(keys.clone().try_into_binary()?))?);
        }
        if view.layout.needs_arrived() {
            let arrived: ArrayRef = match &batch.arrived {
                Some(arrived) => Arc::new(or_else(arrived, times.as_primitive())),
                None => times,
            };
            columns.push(pick(arrived)?);
        }
        columns.extend(taken.carried);
        for &column in &view.kept {
            columns.push(pick(batch.batch.column(column).clone())?);
        }
        let events = RecordBatch::try_new(view.layout.schema().clone(), columns)?;
        let keys = view.keys.encode(view.layout.keys(&events))?;
        let shards = view.events.len();
        match &view.asked {
            None => {
                let shards: Vec<u32> = (0..keys.len()).map(|row| shard_of(keys.hash(row), shards)).collect();
                view.events.scatter(batch.number, &events, &shards)
            }
            Some(asked) => {
                let rows: Vec<u32> =
                    (0..keys.len() as u32).filter(|&row| asked.may_hold(&keys, row as usize)).collect();
                let shards: Vec<u32> = rows.iter().map(|&row| shard_of(keys.hash(row as usize), shards)).collect();
                let events = arrow::compute::take_record_batch(&events, &arrow::array::UInt32Array::from(rows))?;
                view.events.scatter(batch.number, &events, &shards)
            }
        }
    }

    /// Counts a batch's verdicts and keeps the first example of each reason.
    fn tell(&self, batch: &Judged) {
        let mut told = lock(&self.told);
        if self.order == FileOrder::EventTime {
            let accounting = &mut told.summary.accounting;
            batch.rejected.iter().for_each(|one| accounting.count(Verdict::Rejected(one.rejection)));
            accounting.used += (batch.batch.num_rows() - batch.rejected.len()) as u64;
        }
        for one in &batch.rejected {
            told.example(one.rejection.name(), batch.first_row + one.row as u64, &one.detail);
        }
    }

    fn tell_set_aside(&self, place: usize, view: &ViewEvents, taken: &TakenIn, first_row: u64) {
        let mut told = lock(&self.told);
        let name = format!("set aside for `{}`", view.plan.view().name);
        for one in &taken.set_aside {
            let offset = first_row + one.row as u64;
            told.set_aside[place].push(offset);
            told.example(&name, offset, &one.detail);
        }
    }

    fn finish(
        self,
        threads: usize,
        stop: &Stop,
        absent_columns: Vec<String>,
    ) -> Result<(StreamSummary, Duplicates), HistoryError> {
        let duplicates = match self.duplicates {
            Some(search) => {
                crate::run::in_parallel(threads, search.shards(), stop, |shard| search.search(shard))?;
                search.finish()
            }
            None => Duplicates::default(),
        };
        let Told { mut summary, set_aside } = self.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        summary.accounting.used -= duplicates.count();
        summary.accounting.duplicate += duplicates.count();
        summary.absent_columns = absent_columns;
        for (view, offsets) in self.views.iter().zip(set_aside) {
            let count = offsets.iter().filter(|offset| !duplicates.hold(**offset)).count() as u64;
            if count > 0 {
                summary.set_aside.push((view.plan.view().name.clone(), count));
            }
        }
        Ok((summary, duplicates))
    }
}

impl Told {
    /// Keeps the example of a reason that comes first in the file.
    fn example(&mut self, name: &str, offset: u64, detail: &str) {
        match self.summary.reasons.iter_mut().find(|reason| reason.name == name) {
            Some(reason) if reason.offset <= offset => {}
            Some(reason) => {
                reason.offset = offset;
                reason.detail = detail.to_owned();
            }
            None => self.summary.reasons.push(Reason { name: name.to_owned(), offset, detail: detail.to_owned() }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn times_of<'a>(
    plan: &StreamPlan,
    batch: &'a RecordBatch,
) -> &'a arrow::array::PrimitiveArray<TimestampMicrosecondType> {
    batch.column(plan.stream().time_column).as_primitive()
}

fn offsets_of(first_row: u64, rows: usize) -> UInt64Array {
    UInt64Array::from_iter_values(first_row..first_row + rows as u64)
}

/// `values`, and those of `others` where they are NULL.
fn or_else(values: &Int64Array, others: &Int64Array) -> Int64Array {
    if values.null_count() == 0 {
        return values.clone();
    }
    values.iter().zip(others.values()).map(|(value, other)| Some(value.unwrap_or(*other))).collect()
}
