//! One stream into the shards of its views, and of the views over streams derived from it: its source's pieces decoded on
//! all threads, judged, evaluated, scattered. The versions of a table are read in the same way, before the streams.
//! ```text
//!   Source ── pieces, one after the other ──▶ decoded on any thread ──▶ judged ──▶ taken in by each view ──▶ shards
//! ```
//! How its rows are judged is the source's to say ([`Judgement`]). Taken in event-time order (a file's default), whether an
//! event is used depends on no other event but repeats of its primary key, so threads run free and [`DuplicateSearch`] finds
//! repeats afterwards. Taken as arrivals (`order = 'file'`), pieces are judged in turn by the one judge that live streams
//! have. Events of the log were judged when they arrived, and nothing is decided about them again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::filter;
use arrow::row::Rows;
use asof_feature::StreamPlan;

use crate::delivery::Delivery;
use crate::duplicates::{DuplicateSearch, Duplicates};
use crate::error::HistoryError;
use crate::event_batch::EventBatch;
use crate::file_judge::FileJudge;
use crate::parallel::in_parallel;
use crate::progress::Progress;
use crate::source::{Judgement, Piece, PieceDecoder, Source};
use crate::stop::Stop;
use crate::summary::StreamSummary;
use crate::table_versions::{TableVersions, VersionsBeingRead};
use crate::told::Told;
use crate::turns::Turns;
use crate::view_events::ViewEvents;
use crate::watermark::{Watermark, WatermarkBeingRead};

/// What a stream's events go into.
pub(crate) struct Ingest<'a> {
    plan: &'a StreamPlan,
    role: Role<'a>,
    delivery: Delivery<'a>,
    needs_primary_keys: bool,
    judging: Judging,
    told: Told,
    /// Versions that are delivered when all of the table are there.
    waiting: Mutex<Vec<EventBatch>>,
    /// Where windows over a file wait for its watermark.
    watermark: Option<WatermarkBeingRead>,
}

/// What is known of a stream once it was read.
pub(crate) struct Ingested {
    pub(crate) summary: StreamSummary,
    /// To be left out.
    pub(crate) duplicates: Duplicates,
    pub(crate) watermark: Option<Watermark>,
}

/// What tables are to the rows that are read.
#[derive(Clone, Copy)]
pub(crate) enum Role<'a> {
    /// They are the versions of one.
    Table(&'a VersionsBeingRead),
    /// They are events, that are joined with these.
    Stream(&'a TableVersions),
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

impl<'a> Ingest<'a> {
    /// `repeats` makes the place where repeats within a horizon, in microseconds, are looked for.
    pub(crate) fn new(
        plan: &'a StreamPlan,
        source: &Source,
        role: Role<'a>,
        views: Vec<&'a ViewEvents>,
        repeats: impl FnOnce(i64) -> DuplicateSearch,
        watermark: Option<WatermarkBeingRead>,
    ) -> Ingest<'a> {
        let rules = plan.file_rules();
        let judging = match source.judgement() {
            Judgement::ByEventTime => Judging::ByEventTime { repeats: rules.dedup_horizon_us.map(repeats) },
            Judgement::AsArrivals => {
                Judging::AsArrivals { turns: Turns::default(), judge: Mutex::new(FileJudge::new(rules)) }
            }
            Judgement::AsStored => Judging::AsStored,
        };
        let judges = !matches!(judging, Judging::AsStored) && rules.dedup_horizon_us.is_some();
        let needs_primary_keys = judges || views.iter().any(|view| view.layout.needs_primary_key());
        let name = plan.stream().name.clone();
        let (origin, first_offset) = (source.origin(), source.first_offset());
        let summary = StreamSummary { name, origin, first_offset, ..StreamSummary::default() };
        let tables = match role {
            Role::Table(_) => None,
            Role::Stream(tables) => Some(tables),
        };
        let delivery = Delivery::new(plan, views, tables);
        let told = Told::new(summary, delivery.readers());
        Ingest { plan, role, delivery, needs_primary_keys, judging, told, waiting: Mutex::default(), watermark }
    }

    /// Reads the whole source on `threads` threads.
    pub(crate) fn run(
        self,
        source: Source,
        threads: usize,
        stop: &Stop,
        progress: &dyn Progress,
    ) -> Result<Ingested, HistoryError> {
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
            turns.take(number, || batches.iter_mut().for_each(|batch| lock(judge).judge(self.plan, batch)));
        }
        decoded?;
        batches.into_iter().try_for_each(|batch| self.deliver(batch))
    }

    /// Scatters a judged batch to the views.
    fn deliver(&self, batch: EventBatch) -> Result<(), HistoryError> {
        self.told.account(&batch.account);
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        if let (Judging::ByEventTime { repeats: Some(search) }, Some(keys)) = (&self.judging, &batch.primary_keys) {
            self.search_later(search, &batch, keys)?;
        }
        if let Some(watermark) = &self.watermark {
            watermark.take_in(self.plan, &batch)?;
        }
        if let Role::Table(versions) = self.role {
            versions.take_in(self.plan, &batch)?;
            if self.delivery.waits_for_all() {
                versions.hold(&batch)?;
                lock(&self.waiting).push(batch);
                return Ok(());
            }
        }
        self.delivery.deliver(&batch, &self.told)
    }

    /// Delivers the versions that waited for each other.
    fn deliver_waiting(&mut self, threads: usize, stop: &Stop) -> Result<(), HistoryError> {
        let Role::Table(versions) = self.role else { return Ok(()) };
        let waiting = std::mem::take(self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner));
        let waiting: Vec<Mutex<Option<EventBatch>>> =
            waiting.into_iter().map(|batch| Mutex::new(Some(batch))).collect();
        in_parallel(threads, waiting.len(), stop, |place| {
            let Some(batch) = lock(&waiting[place]).take() else { return Ok(()) };
            self.delivery.deliver_versions(&batch, versions, &self.told)?;
            versions.let_go(&batch);
            Ok(())
        })
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

    fn finish(mut self, source: &Source, threads: usize, stop: &Stop) -> Result<Ingested, HistoryError> {
        self.deliver_waiting(threads, stop)?;
        let duplicates = match self.judging {
            Judging::ByEventTime { repeats: Some(search) } => {
                in_parallel(threads, search.shards(), stop, |shard| search.search(shard))?;
                search.finish()
            }
            Judging::ByEventTime { repeats: None } | Judging::AsArrivals { .. } | Judging::AsStored => {
                Duplicates::default()
            }
        };
        let mut summary = self.told.finish(&duplicates);
        summary.reasons.extend(source.examples(&summary.accounting, stop)?);
        summary.absent_columns = source.absent_columns();
        let watermark =
            self.watermark.map(|watermark| watermark.finish(self.plan.stream(), &duplicates)).transpose()?;
        Ok(Ingested { summary, duplicates, watermark })
    }
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
