//! One stream into the shards of its views, and of the views over streams derived from it: its source's pieces decoded on
//! all threads, judged, evaluated, scattered.
//! ```text
//!   Source ── pieces, one after the other ──▶ decoded on any thread ──▶ judged ──▶ taken in by each view ──▶ shards
//! ```
//! How its rows are judged is the source's to say ([`Judgement`]). Taken in event-time order (a file's default), whether an
//! event is used depends on no other event but repeats of its primary key, so threads run free and [`DuplicateSearch`] finds
//! repeats afterwards. Taken as arrivals (`order = 'file'`), pieces are judged in turn by the one judge that live streams
//! have. Events of the log were judged when they arrived, and nothing is decided about them again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{filter, take, take_record_batch};
use arrow::row::Rows;
use asof_definition::Stream;
use asof_feature::{DerivedPlan, Faced, Feed, StreamPlan, TakenIn, ViewPlan};
use asof_window::{Judge, KeyEncoder, Verdict, shard_of};

use crate::duplicates::{DuplicateSearch, Duplicates};
use crate::error::HistoryError;
use crate::event_batch::{Account, EventBatch};
use crate::event_layout::EventLayout;
use crate::event_place::EventPlace;
use crate::key_filter::KeyFilter;
use crate::partitions::Partitions;
use crate::progress::Progress;
use crate::source::{Judgement, Piece, PieceDecoder, Source};
use crate::stop::Stop;
use crate::summary::StreamSummary;
use crate::told::Told;
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

/// What a stream's events go into.
pub(crate) struct Ingest<'a> {
    plan: &'a StreamPlan,
    derived: DerivedPlan,
    views: Vec<&'a ViewEvents>,
    /// The ways by which events come to the views, with the place of each view.
    feeds: Vec<(usize, Feed)>,
    needs_primary_keys: bool,
    judging: Judging,
    told: Told,
}

/// How batches are judged.
enum Judging {
    ByEventTime {
        /// Where repeats are looked for, if primary keys are enforced.
        repeats: Option<DuplicateSearch>,
    },
    AsArrivals {
        turns: Turns,
        judge: Mutex<FileJudge>,
    },
    AsStored,
}

/// The judge of a file's arrivals, and the arrival time that never decreases.
struct FileJudge {
    judge: Judge,
    arrived_us: i64,
}

impl<'a> Ingest<'a> {
    /// `repeats` makes the place where repeats within a horizon, in microseconds, are looked for.
    pub(crate) fn new(
        plan: &'a StreamPlan,
        source: &Source,
        views: Vec<&'a ViewEvents>,
        repeats: impl FnOnce(i64) -> DuplicateSearch,
    ) -> Ingest<'a> {
        let rules = plan.file_rules();
        let judging = match source.judgement() {
            Judgement::ByEventTime => Judging::ByEventTime { repeats: rules.dedup_horizon_us.map(repeats) },
            Judgement::AsArrivals => Judging::AsArrivals {
                turns: Turns::default(),
                judge: Mutex::new(FileJudge { judge: Judge::new(rules), arrived_us: i64::MIN }),
            },
            Judgement::AsStored => Judging::AsStored,
        };
        let judges = !matches!(judging, Judging::AsStored) && rules.dedup_horizon_us.is_some();
        let needs_primary_keys = judges || views.iter().any(|view| view.layout.needs_primary_key());
        let name = plan.stream().name.clone();
        let (origin, first_offset) = (source.origin(), source.first_offset());
        let summary = StreamSummary { name, origin, first_offset, ..StreamSummary::default() };
        let derived = derived_for(plan, &views);
        let feeds = |(place, view): (usize, &&ViewEvents)| {
            let feeds = derived.feeds(&view.plan.view().stream.name).into_iter();
            feeds.map(move |feed| (place, feed))
        };
        let feeds = views.iter().enumerate().flat_map(feeds).collect();
        let readers = derived.streams().iter().map(|stream| stream.name.clone());
        let readers = readers.chain(views.iter().map(|view| view.plan.view().name.clone())).collect();
        let told = Told::new(summary, readers);
        Ingest { plan, derived, views, feeds, needs_primary_keys, judging, told }
    }

    /// Reads the whole source on `threads` threads. Gives what is to be told, and the duplicates to leave out.
    pub(crate) fn run(
        self,
        source: Source,
        threads: usize,
        stop: &Stop,
        progress: &dyn Progress,
    ) -> Result<(StreamSummary, Duplicates), HistoryError> {
        let decoder = source.decoder();
        let feed = Mutex::new((0u64, source));
        let stopped = AtomicBool::new(false);
        let work = || {
            while !stopped.load(Ordering::Relaxed) {
                stop.check()?;
                let Some((number, piece)) = next_piece(&feed)? else { return Ok(()) };
                let bytes = piece.bytes();
                self.take(number, piece, &decoder)?;
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
        let (_, source) = feed.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.finish(&source, threads, stop)
    }

    /// Takes in the piece with this number.
    fn take(&self, number: u64, piece: Piece, decoder: &PieceDecoder) -> Result<(), HistoryError> {
        let mut batches: Vec<EventBatch> = Vec::new();
        let decoded = decoder.decode(self.plan, piece, &mut |mut batch| {
            batch.number = number << 16 | batches.len() as u64;
            if self.needs_primary_keys {
                batch.primary_keys = self.plan.primary_keys(&batch.rows)?;
            }
            batches.push(batch);
            Ok(())
        });
        if let Judging::AsArrivals { turns, judge } = &self.judging {
            // The turn is taken even after an error: the next in line waits for it.
            turns.take(number, || batches.iter_mut().for_each(|batch| self.judge(judge, batch)));
        }
        decoded?;
        batches.iter().try_for_each(|batch| self.deliver(batch))
    }

    /// Judges a batch of arrivals; called in the file's order.
    fn judge(&self, state: &Mutex<FileJudge>, batch: &mut EventBatch) {
        let mut state = lock(state);
        let FileJudge { judge, arrived_us } = &mut *state;
        let faced = Faced {
            partition: 0,
            batch: &batch.rows,
            rejected: &batch.rejected,
            primary_keys: batch.primary_keys.as_ref(),
        };
        let mut arrivals = Vec::with_capacity(batch.rows.num_rows());
        let verdicts = self.plan.judge(judge, faced, |row, own_us| {
            *arrived_us = batch.given_arrival_us(row).or(own_us).unwrap_or(*arrived_us).max(*arrived_us);
            arrivals.push(*arrived_us);
            *arrived_us
        });
        if batch.arrived.is_some() {
            batch.arrived = Some(Int64Array::from(arrivals));
        }
        batch.used = Some(verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect());
        let reasons = std::mem::take(&mut batch.account.reasons);
        batch.account = Account { reasons, ..Account::default() };
        verdicts.iter().for_each(|verdict| batch.account.verdicts.count(*verdict));
        if let Some(row) = verdicts.iter().position(|verdict| *verdict == Verdict::Late) {
            batch.account.example("late", batch.offsets.of(row), "event time is behind the watermark");
        }
    }

    /// Scatters a judged batch to the views.
    fn deliver(&self, batch: &EventBatch) -> Result<(), HistoryError> {
        self.told.account(&batch.account);
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        if let (Judging::ByEventTime { repeats: Some(search) }, Some(keys)) = (&self.judging, &batch.primary_keys) {
            self.search_later(search, batch, keys)?;
        }
        let derived = self.derived.derive(&batch.rows, batch.used.as_ref())?;
        for (place, aside) in derived.set_aside.iter().enumerate() {
            self.told.set_aside(place, aside, batch);
        }
        for (place, feed) in &self.feeds {
            let (rows, used) = derived.at(*feed, &batch.rows, batch.used.as_ref());
            let taken = self.views[*place].plan.take_in(rows, used);
            self.told.set_aside(derived.set_aside.len() + place, &taken.set_aside, batch);
            self.scatter(self.views[*place], taken, &Fed { batch, rows, branch: feed.number })?;
        }
        Ok(())
    }

    fn search_later(&self, search: &DuplicateSearch, batch: &EventBatch, keys: &Rows) -> Result<(), HistoryError> {
        let times: ArrayRef = Arc::new(Int64Array::new(batch.times(self.plan).values().clone(), None));
        let offsets: ArrayRef = Arc::new(batch.offsets.column(batch.rows.num_rows()));
        let (keys, times, offsets) = match &batch.used {
            Some(used) => (self.plan.keys_where(keys, used), filter(&times, used)?, filter(&offsets, used)?),
            None => (keys.clone(), times, offsets),
        };
        search.add(batch.number, keys, times.as_primitive().clone(), offsets.as_primitive().clone())
    }

    fn scatter(&self, view: &ViewEvents, taken: TakenIn, fed: &Fed<'_>) -> Result<(), HistoryError> {
        if taken.rows.is_empty() {
            return Ok(());
        }
        let number = fed.batch.number;
        let events = self.events(view, taken, fed)?;
        let keys = view.keys.encode(view.layout.keys(&events))?;
        let shards = view.events.len();
        match &view.asked {
            None => {
                let shards: Vec<u32> = (0..keys.len()).map(|row| shard_of(keys.hash(row), shards)).collect();
                view.events.scatter(number, &events, &shards)
            }
            Some(asked) => {
                let rows: Vec<u32> =
                    (0..keys.len() as u32).filter(|&row| asked.may_hold(&keys, row as usize)).collect();
                let shards: Vec<u32> = rows.iter().map(|&row| shard_of(keys.hash(row as usize), shards)).collect();
                let events = take_record_batch(&events, &UInt32Array::from(rows))?;
                view.events.scatter(number, &events, &shards)
            }
        }
    }

    /// What a view took in, in the columns that its events wait with.
    fn events(&self, view: &ViewEvents, taken: TakenIn, fed: &Fed<'_>) -> Result<RecordBatch, HistoryError> {
        let batch = fed.batch;
        let pick = |array: ArrayRef| if taken.whole { Ok(array) } else { take(&array, &taken.rows, None) };
        let times: ArrayRef = Arc::new(Int64Array::new(batch.times(self.plan).values().clone(), None));
        let mut columns = taken.keys;
        columns.push(pick(times.clone())?);
        if view.layout.needs_offset() {
            let offsets = batch.offsets.column(batch.rows.num_rows());
            columns.push(pick(Arc::new(EventPlace::column(&offsets, fed.branch)))?);
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
            columns.push(pick(fed.rows.column(column).clone())?);
        }
        Ok(RecordBatch::try_new(view.layout.schema().clone(), columns)?)
    }

    fn finish(self, source: &Source, threads: usize, stop: &Stop) -> Result<(StreamSummary, Duplicates), HistoryError> {
        let duplicates = match self.judging {
            Judging::ByEventTime { repeats: Some(search) } => {
                crate::run::in_parallel(threads, search.shards(), stop, |shard| search.search(shard))?;
                search.finish()
            }
            Judging::ByEventTime { repeats: None } | Judging::AsArrivals { .. } | Judging::AsStored => {
                Duplicates::default()
            }
        };
        let mut summary = self.told.finish(&duplicates);
        summary.reasons.extend(source.examples(&summary.accounting, stop)?);
        summary.absent_columns = source.absent_columns();
        Ok((summary, duplicates))
    }
}

/// A batch as it comes to a view.
struct Fed<'a> {
    batch: &'a EventBatch,
    /// The same rows, in the columns of the view's stream.
    rows: &'a RecordBatch,
    /// The branch of the view's stream that they came by.
    branch: u32,
}

/// What stands between a stream and the views over it.
fn derived_for(plan: &StreamPlan, views: &[&ViewEvents]) -> DerivedPlan {
    let mut derived: Vec<Arc<Stream>> = Vec::new();
    for stream in views.iter().flat_map(|view| view.plan.view().stream.lineage()) {
        if derived.iter().all(|known| known.name != stream.name) {
            derived.push(stream);
        }
    }
    DerivedPlan::new(plan.stream(), &derived)
}

/// The next piece and its number.
fn next_piece(feed: &Mutex<(u64, Source)>) -> Result<Option<(u64, Piece)>, HistoryError> {
    let mut feed = lock(feed);
    let Some(piece) = feed.1.next_piece()? else { return Ok(None) };
    feed.0 += 1;
    Ok(Some((feed.0 - 1, piece)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `values`, and those of `others` where they are NULL.
fn or_else(values: &Int64Array, others: &Int64Array) -> Int64Array {
    if values.null_count() == 0 {
        return values.clone();
    }
    values.iter().zip(others.values()).map(|(value, other)| Some(value.unwrap_or(*other))).collect()
}
