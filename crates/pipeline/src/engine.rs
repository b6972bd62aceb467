//! The live state of a project: one writer takes batches in, any number of readers read at a published version.
//!
//! Fixed after construction are the plans and how views, streams and services hang together; changing are the writer's
//! streams (behind one lock that readers never take), the views' shards, and what is published.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Int64Array, RecordBatch};
use arrow::row::Rows;
use asof_definition::{Connector, FeatureService, FeatureView, Join, Project, Rate, Stream};
use asof_feature::{
    Arrivals, ArrivedAt, Faced, KeySecret, Lateness, OnlineStream, OnlineView, Rejected, ServicePlan, Settled,
    StreamPlan, ViewPlan,
};
use asof_window::Version;

use crate::checkpoint_measures::CheckpointMeasures;
use crate::clock::{Clock, WallClock};
use crate::commit::IngestMeasures;
use crate::error::PipelineError;
use crate::intake::Intake;
use crate::progress::{Phase, Progress};
use crate::reading::Reading;
use crate::statistics::{DerivedStatistics, StorageStatistics, StreamStatistics, ViewStatistics};
use crate::storage::Storage;
use crate::stream_log::StreamLog;
use crate::submission::IngestError;
use crate::told::Told;
use crate::unit::Readers;
use crate::visibility::{Published, StreamPosition, Visibility};
use crate::writer::{Judged, Writer};

/// Shards of a view: a reader meets the writer in one of this many, for the time of a few dozen appends.
const SHARDS: usize = 64;
/// After so many rows taken in, as many entities of each view are swept: what time has emptied goes as fast as it came.
const SWEEP_ROWS: usize = 4_096;

/// How an engine runs.
#[derive(Debug, Clone, Copy)]
pub struct EngineSettings {
    /// What "now" is.
    pub clock: Clock,
    /// How far before a stream's watermark reads may stand, in microseconds.
    pub as_of_horizon_us: i64,
    /// How much memory the views and the keys remembered for duplicates may take.
    pub state_bytes_max: usize,
}

/// The next rows of one stream, in the order in which they are judged.
#[derive(Debug)]
pub struct StreamBatch {
    /// Index into the project's streams.
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
        Arrivals { faced, arrived_us, offsets: &self.offsets, lateness, used_before }
    }
}

/// A project's live state.
pub struct Engine {
    project: Arc<Project>,
    settings: EngineSettings,
    wall_clock: WallClock,
    views: Vec<BoundView>,
    services: Vec<BoundService>,
    writer: Mutex<Writer>,
    told: Mutex<Told>,
    visibility: Visibility,
    progress: Progress,
    /// What the state held when it was last looked at.
    held_bytes: AtomicUsize,
    intake: Intake,
    /// Held by whoever writes keys to the disk.
    spilling: Mutex<()>,
    ingest: IngestMeasures,
    checkpoints: CheckpointMeasures,
    /// Told by the writer now and then: whoever asks must not wait for a sync.
    stored: Mutex<Vec<StorageStatistics>>,
    /// Where streams without a connector are stored; `None` where there is no such stream, or nothing is stored.
    pub(crate) storage: Option<Storage>,
}

/// A view and the streams whose events it sees, each once: more than one where UNION ALL stands between.
#[derive(Debug)]
pub(crate) struct BoundView {
    pub(crate) online: Arc<OnlineView>,
    pub(crate) streams: Vec<usize>,
}

/// A service and the views that it joins, in its order.
#[derive(Debug)]
pub(crate) struct BoundService {
    pub(crate) plan: ServicePlan,
    pub(crate) views: Vec<usize>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine for a project, with no events yet, that stores nothing.
    pub fn new(
        project: Arc<Project>,
        settings: EngineSettings,
        wall_clock: WallClock,
    ) -> Result<Engine, PipelineError> {
        Engine::with_storage(project, settings, wall_clock, None)
    }

    /// The same with a data folder, from which state is recovered when the job runs.
    pub fn with_storage(
        project: Arc<Project>,
        settings: EngineSettings,
        wall_clock: WallClock,
        storage: Option<Storage>,
    ) -> Result<Engine, PipelineError> {
        let views = bind_views(&project)?;
        let secret = storage.as_ref().and_then(Storage::key_secret);
        let streams = bind_streams(&project, &views, secret)?;
        let positions = vec![StreamPosition { next_offsets: vec![0], ..StreamPosition::default() }; streams.len()];
        let first = Published { version: Version(0), rows: 0, newest_us: None, streams: positions.clone() };
        let unpaced = project.streams.iter().map(|stream| match &stream.connector {
            Connector::File(file) => file.rate == Rate::Max,
            Connector::Log(_) | Connector::Derived(_) => false,
        });
        Ok(Engine {
            progress: Progress::new(unpaced),
            services: bind_services(&project),
            told: Mutex::new(Told::new(streams.len(), &project)),
            writer: Mutex::new(Writer::new(streams, positions)),
            held_bytes: AtomicUsize::new(0),
            intake: Intake::new(storage.as_ref().map_or(0, |storage| storage.settings().waiting_bytes_max)),
            spilling: Mutex::default(),
            ingest: IngestMeasures::default(),
            checkpoints: CheckpointMeasures::default(),
            stored: Mutex::default(),
            storage,
            views,
            visibility: Visibility::new(first),
            project,
            settings,
            wall_clock,
        })
    }

    /// The project.
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// How it runs.
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// The wall clock, in microseconds.
    pub fn wall_us(&self) -> i64 {
        (self.wall_clock)()
    }

    /// Begins a read: everything asked of it is answered at one version.
    pub fn reading(&self) -> Reading<'_> {
        Reading::new(self, &self.visibility)
    }

    /// What reads see at present.
    pub fn published(&self) -> Arc<Published> {
        self.visibility.published()
    }

    /// Takes in the next batches of some streams, together: a read sees all of them or none.
    pub fn take_in(&self, batches: Vec<StreamBatch>) -> Result<(), PipelineError> {
        let mut writer = lock(&self.writer);
        let arrived_us = writer.next_arrival(self.wall_us());
        let mut judged = Vec::with_capacity(batches.len());
        for batch in batches {
            let arrivals = batch.arrivals(ArrivedAt::All(arrived_us), Lateness::Applied, &[]);
            let prepared = writer.streams[batch.stream].prepare(arrivals)?;
            judged.push(Judged { batch, prepared });
        }
        self.publish_judged(&mut writer, &judged, arrived_us)?;
        self.within_memory()
    }

    /// Takes judged batches into the views and lets reads see them, all together.
    pub(crate) fn publish_judged(
        &self,
        writer: &mut Writer,
        judged: &[Judged],
        arrived_us: i64,
    ) -> Result<(), PipelineError> {
        let version = writer.next_version();
        let oldest = self.visibility.oldest();
        for Judged { batch, prepared } in judged {
            let settled = self.settled(&oldest, batch.stream);
            writer.streams[batch.stream].take_in(prepared, version, &settled)?;
            lock(&self.told).add(batch, prepared, &self.views_of(batch.stream), &writer.streams[batch.stream]);
            writer.note(batch, prepared, arrived_us);
            self.progress.stream(batch.stream).rows_taken.fetch_add(batch.offsets.len() as u64, Ordering::Relaxed);
        }
        self.visibility.publish(writer.published());
        if let Some(rows) = writer.rows_to_sweep(SWEEP_ROWS) {
            self.sweep(writer, rows);
        }
        Ok(())
    }

    /// What has to happen from time to time though no event comes: idle streams' watermarks follow the clock, and what
    /// time has emptied is dropped.
    pub fn maintain(&self) -> Result<(), PipelineError> {
        let mut writer = lock(&self.writer);
        if self.settings.clock == Clock::System && self.follow_clock(&mut writer) {
            self.visibility.publish(writer.published());
        }
        self.sweep(&writer, SWEEP_ROWS);
        *lock(&self.stored) = writer.logs.iter().flatten().map(StreamLog::statistics).collect();
        // Where producers can be refused, they are.
        if self.storage.is_some() { Ok(()) } else { self.within_memory() }
    }

    /// Statistics of the stream with this index in the project.
    pub fn stream_statistics(&self, stream: usize) -> StreamStatistics {
        let position = self.published().streams[stream].clone();
        let told = lock(&self.told);
        StreamStatistics {
            position,
            replay: self.progress.replay(stream),
            reasons: told.reasons(stream).to_vec(),
            absent_columns: told.absent_columns(stream).to_vec(),
        }
    }

    /// Statistics of the derived stream with this index among the project's.
    pub fn derived_statistics(&self, derived: usize) -> DerivedStatistics {
        let stream = &self.project.derived[derived];
        let published = self.published();
        let sources: Vec<usize> = stream.sources().iter().map(|source| self.place_of(&source.name)).collect();
        let positions: Vec<&StreamPosition> = sources.iter().map(|source| &published.streams[*source]).collect();
        let rows_of = |position: &&StreamPosition| {
            let own = position.derived_rows.iter().find(|(name, _)| *name == stream.name);
            own.map_or(0, |(_, rows)| *rows)
        };
        let watermarks: Option<Vec<i64>> = positions.iter().map(|position| position.watermark_us).collect();
        DerivedStatistics {
            rows: positions.iter().map(rows_of).sum(),
            set_aside: lock(&self.told).derived_set_aside(derived),
            watermark_us: watermarks.and_then(|watermarks| watermarks.into_iter().min()),
            sources,
        }
    }

    /// Whether there is a data folder.
    pub fn stores(&self) -> bool {
        self.storage.is_some()
    }

    /// The number of this writer of the data folder; 0 without one.
    pub fn generation(&self) -> u64 {
        self.storage.as_ref().map_or(0, Storage::generation)
    }

    /// The stored side of each stream that has a log.
    pub fn storage_statistics(&self) -> Vec<StorageStatistics> {
        lock(&self.stored).clone()
    }

    /// Statistics of the view with this index in the project.
    pub fn view_statistics(&self, view: usize) -> ViewStatistics {
        // Before the lock: the writer waits for it too, and counting meets the shards' locks.
        let held = self.views[view].online.held();
        let told = lock(&self.told);
        ViewStatistics { held, set_aside: told.set_aside(view), example_key: told.example_key(view) }
    }

    /// What the job does at the moment.
    pub fn phase(&self) -> Phase {
        self.progress.phase()
    }

    /// Whether reads see what they should: unpaced files are taken in to their end, paced ones run.
    pub fn is_ready(&self) -> bool {
        self.progress.is_ready()
    }

    pub(crate) fn note_absent_columns(&self, stream: usize, columns: Vec<String>) {
        lock(&self.told).note_absent_columns(stream, columns);
    }

    /// The door for events.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// What ingestion measures of itself.
    pub fn ingest_measures(&self) -> &IngestMeasures {
        &self.ingest
    }

    pub(crate) fn writer(&self) -> &Mutex<Writer> {
        &self.writer
    }

    pub(crate) fn spilling(&self) -> &Mutex<()> {
        &self.spilling
    }

    pub(crate) fn told(&self) -> &Mutex<Told> {
        &self.told
    }

    pub(crate) fn visibility(&self) -> &Visibility {
        &self.visibility
    }

    /// The names of those that may set a stream's events aside.
    pub(crate) fn readers_of(&self, writer: &Writer, stream: usize) -> Readers {
        let views = self.views_of(stream).into_iter().map(|view| self.project.views[view].name.clone());
        let derived = writer.streams[stream].derived().iter().map(|derived| derived.name.clone());
        Readers { views: views.collect(), derived: derived.collect() }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn view(&self, view: usize) -> &BoundView {
        &self.views[view]
    }

    pub(crate) fn service(&self, service: usize) -> &BoundService {
        &self.services[service]
    }

    /// The place of a stream of the project.
    pub(crate) fn place_of(&self, stream: &str) -> usize {
        let place = self.project.streams.iter().position(|other| other.name == stream);
        place.expect("the stream is one of the project's")
    }

    /// What checkpoints measure of themselves.
    pub fn checkpoint_measures(&self) -> &CheckpointMeasures {
        &self.checkpoints
    }

    /// How long it took to bring state back at the start, in microseconds; 0 before.
    pub fn recovery_us(&self) -> i64 {
        self.progress.recovery_us()
    }

    /// When the state was back, by the wall clock in microseconds; `None` before.
    pub fn recovered_at_us(&self) -> Option<i64> {
        self.progress.recovered_at_us()
    }

    /// The plan of the stream with this index in the project.
    pub(crate) fn stream_plan(&self, stream: usize) -> StreamPlan {
        lock(&self.writer).streams[stream].plan().clone()
    }

    /// The views that see a stream's events, in the order in which it feeds them.
    pub(crate) fn views_of(&self, stream: usize) -> Vec<usize> {
        (0..self.views.len()).filter(|view| self.views[*view].streams.contains(&stream)).collect()
    }

    /// Whether all events that a view sees come from logs. Those of a file are read again at the next start.
    pub(crate) fn is_stored(&self, view: usize) -> bool {
        let is_log = |stream: &usize| matches!(self.project.streams[*stream].connector, Connector::Log(_));
        self.views[view].streams.iter().all(is_log)
    }

    /// For each view that sees a stream's events, what no read of it asks for any more, given the oldest version that is
    /// read.
    pub(crate) fn settled(&self, oldest: &Published, stream: usize) -> Vec<Settled> {
        self.views_of(stream).into_iter().map(|view| self.settled_of(oldest, view)).collect()
    }

    fn settled_of(&self, oldest: &Published, view: usize) -> Settled {
        let earliest = oldest.earliest_of(&self.views[view].streams, self.settings.as_of_horizon_us);
        Settled { version: oldest.version, floor_us: earliest.map(|(earliest_us, _)| earliest_us) }
    }

    pub(crate) fn sweep(&self, writer: &Writer, entities_max: usize) {
        let oldest = self.visibility.oldest();
        let mut held_bytes = writer.keys_memory_bytes();
        for (place, view) in self.views.iter().enumerate() {
            view.online.sweep(self.settled_of(&oldest, place), entities_max);
            held_bytes += view.online.held().bytes;
        }
        self.held_bytes.store(held_bytes, Ordering::Relaxed);
    }

    /// What the state held when it was last looked at, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// A replay that outgrows its memory ends with an error.
    pub(crate) fn within_memory(&self) -> Result<(), PipelineError> {
        let (held_bytes, limit_bytes) = (self.held_bytes(), self.settings.state_bytes_max);
        if held_bytes > limit_bytes { Err(PipelineError::Memory { held_bytes, limit_bytes }) } else { Ok(()) }
    }

    /// Why producers are refused when the state is as large as it may be.
    pub(crate) fn state_full(&self) -> Option<IngestError> {
        let (held_bytes, limit_bytes) = (self.held_bytes(), self.settings.state_bytes_max);
        (held_bytes > limit_bytes).then_some(IngestError::StateFull { held_bytes, limit_bytes })
    }

    /// A stream without arrivals for its idle timeout has no partition that holds its watermark back: it follows the wall
    /// clock. A file that has more rows is not idle, only slow. Returns whether a watermark moved.
    fn follow_clock(&self, writer: &mut Writer) -> bool {
        let now_us = self.wall_us();
        let mut moved = false;
        for (place, stream) in self.project.streams.iter().enumerate() {
            let idle_from_us =
                writer.last_arrivals_us[place].map(|last_us| last_us.saturating_add(stream.idle_timeout_us));
            let position = &mut writer.positions[place];
            let is_fed = matches!(stream.connector, Connector::Log(_)) || self.progress.has_ended(place);
            let followed_us = Some(now_us.saturating_sub(stream.lateness_us));
            let is_idle = is_fed && idle_from_us.is_some_and(|from_us| from_us <= now_us);
            if is_idle && position.watermark_us < followed_us {
                position.watermark_us = followed_us;
                moved = true;
            }
        }
        moved
    }
}

fn bind_views(project: &Project) -> Result<Vec<BoundView>, PipelineError> {
    let bind = |view: &Arc<FeatureView>| {
        let place_of = |source: &Arc<Stream>| project.streams.iter().position(|stream| stream.name == source.name);
        let streams: Option<Vec<usize>> = view.stream.sources().iter().map(place_of).collect();
        let online = Arc::new(OnlineView::new(ViewPlan::new(view.clone())?, SHARDS)?);
        Ok(BoundView { online, streams: streams.expect("a view reads streams of its project") })
    };
    project.views.iter().map(bind).collect()
}

fn bind_streams(
    project: &Project,
    views: &[BoundView],
    secret: Option<&KeySecret>,
) -> Result<Vec<OnlineStream>, PipelineError> {
    let bind = |(place, stream): (usize, &Arc<Stream>)| {
        let own = views.iter().filter(|view| view.streams.contains(&place)).map(|view| view.online.clone()).collect();
        let plan = StreamPlan::new(stream.clone())?.with_key_secret(secret.cloned());
        let rules = match stream.connector {
            Connector::File(_) => plan.file_rules(),
            Connector::Log(_) | Connector::Derived(_) => plan.rules(),
        };
        Ok(OnlineStream::new(plan, rules, &project.derived, own))
    };
    project.streams.iter().enumerate().map(bind).collect()
}

fn bind_services(project: &Project) -> Vec<BoundService> {
    let view_of = |join: &Join| {
        let view = project.views.iter().position(|view| view.name == join.view.name);
        view.expect("a service joins views of its project")
    };
    let bind = |service: &Arc<FeatureService>| BoundService {
        plan: ServicePlan::new(service.clone()),
        views: service.joins.iter().map(view_of).collect(),
    };
    project.services.iter().map(bind).collect()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
