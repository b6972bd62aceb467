//! The live state of a project: one writer takes batches in, any number of readers read at a published version.
//!
//! Fixed after construction are the plans and how views, streams and services hang together; changing are the writer's
//! streams (behind one lock that readers never take), the views' shards, and what is published.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::Rows;
use asof_definition::{Connector, FeatureService, FeatureView, Join, Project, Rate, Stream};
use asof_feature::{
    Arrivals, Faced, OnlineStream, OnlineView, Outcome, Rejected, ServicePlan, Settled, StreamPlan, ViewPlan,
};
use asof_window::{Verdict, Version};

use crate::clock::{Clock, WallClock};
use crate::error::PipelineError;
use crate::progress::{Phase, Progress};
use crate::reading::Reading;
use crate::statistics::{StreamStatistics, ViewStatistics};
use crate::told::Told;
use crate::visibility::{Published, StreamPosition, Visibility};

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
}

/// A view and the stream that feeds it.
#[derive(Debug)]
pub(crate) struct BoundView {
    pub(crate) online: Arc<OnlineView>,
    pub(crate) stream: usize,
}

/// A service and the views that it joins, in its order.
#[derive(Debug)]
pub(crate) struct BoundService {
    pub(crate) plan: ServicePlan,
    pub(crate) views: Vec<usize>,
}

/// What only the writer touches.
#[derive(Debug)]
struct Writer {
    streams: Vec<OnlineStream>,
    positions: Vec<StreamPosition>,
    /// When each stream last had arrivals, by the wall clock.
    last_arrivals_us: Vec<Option<i64>>,
    /// The arrival time of the last batches.
    arrived_us: i64,
    version: Version,
    rows_since_sweep: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine for a project, with no events yet.
    pub fn new(
        project: Arc<Project>,
        settings: EngineSettings,
        wall_clock: WallClock,
    ) -> Result<Engine, PipelineError> {
        let views = bind_views(&project)?;
        let streams = bind_streams(&project, &views)?;
        let positions = vec![StreamPosition { next_offsets: vec![0], ..StreamPosition::default() }; streams.len()];
        let first = Published { version: Version(0), rows: 0, newest_us: None, streams: positions.clone() };
        let unpaced = project.streams.iter().map(|stream| match &stream.connector {
            Connector::File(file) => file.rate == Rate::Max,
            Connector::Log => false,
        });
        Ok(Engine {
            progress: Progress::new(unpaced),
            services: bind_services(&project),
            told: Mutex::new(Told::new(streams.len(), &project.views)),
            writer: Mutex::new(Writer {
                last_arrivals_us: vec![None; streams.len()],
                streams,
                positions,
                arrived_us: i64::MIN,
                version: Version(0),
                rows_since_sweep: 0,
            }),
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
    pub fn take_in(&self, batches: &[StreamBatch]) -> Result<(), PipelineError> {
        let mut writer = lock(&self.writer);
        let version = Version(writer.version.0 + 1);
        let oldest = self.visibility.oldest();
        // Arrival times strictly increase from batch to batch, whatever the clock does.
        let arrived_us = self.wall_us().max(writer.arrived_us.saturating_add(1));
        writer.arrived_us = arrived_us;
        for batch in batches {
            let settled = self.settled(&oldest, batch.stream);
            writer.last_arrivals_us[batch.stream] = Some(arrived_us);
            let arrivals = Arrivals {
                faced: Faced {
                    partition: batch.partition,
                    batch: &batch.batch,
                    rejected: &batch.rejected,
                    primary_keys: batch.primary_keys.as_ref(),
                },
                arrived_us,
                offsets: &batch.offsets,
                version,
            };
            let outcome = writer.streams[batch.stream].arrive(arrivals, settled)?;
            lock(&self.told).add(
                batch,
                &outcome,
                &self.views_of(batch.stream),
                writer.streams[batch.stream].last_keys(),
            );
            writer.note(batch, &outcome);
            self.progress
                .stream(batch.stream)
                .rows_taken
                .fetch_add(batch.offsets.len() as u64, std::sync::atomic::Ordering::Relaxed);
        }
        writer.version = version;
        writer.rows_since_sweep += batches.iter().map(|batch| batch.offsets.len()).sum::<usize>();
        self.visibility.publish(writer.published());
        if writer.rows_since_sweep >= SWEEP_ROWS {
            let rows = std::mem::take(&mut writer.rows_since_sweep);
            self.sweep(&writer, rows)?;
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
        self.sweep(&writer, SWEEP_ROWS)
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

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn view(&self, view: usize) -> &BoundView {
        &self.views[view]
    }

    pub(crate) fn service(&self, service: usize) -> &BoundService {
        &self.services[service]
    }

    /// The plan of the stream with this index in the project.
    pub(crate) fn stream_plan(&self, stream: usize) -> StreamPlan {
        lock(&self.writer).streams[stream].plan().clone()
    }

    /// The views of a stream, in the order in which it feeds them.
    fn views_of(&self, stream: usize) -> Vec<usize> {
        (0..self.views.len()).filter(|view| self.views[*view].stream == stream).collect()
    }

    /// What no read of a stream's views asks for any more, given the oldest version that is read.
    fn settled(&self, oldest: &Published, stream: usize) -> Settled {
        let floor_us = oldest.streams[stream].earliest_us(self.settings.as_of_horizon_us);
        Settled { version: oldest.version, floor_us }
    }

    fn sweep(&self, writer: &Writer, entities_max: usize) -> Result<(), PipelineError> {
        let oldest = self.visibility.oldest();
        let mut held_bytes: usize = writer.streams.iter().map(OnlineStream::memory_bytes).sum();
        for view in &self.views {
            view.online.sweep(self.settled(&oldest, view.stream), entities_max);
            held_bytes += view.online.held().bytes;
        }
        let limit_bytes = self.settings.state_bytes_max;
        if held_bytes > limit_bytes { Err(PipelineError::Memory { held_bytes, limit_bytes }) } else { Ok(()) }
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
            let followed_us = Some(now_us.saturating_sub(stream.lateness_us));
            let is_idle = self.progress.has_ended(place) && idle_from_us.is_some_and(|from_us| from_us <= now_us);
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
        let stream = project.streams.iter().position(|stream| stream.name == view.stream.name);
        let online = Arc::new(OnlineView::new(ViewPlan::new(view.clone())?, SHARDS)?);
        Ok(BoundView { online, stream: stream.expect("a view reads a stream of its project") })
    };
    project.views.iter().map(bind).collect()
}

fn bind_streams(project: &Project, views: &[BoundView]) -> Result<Vec<OnlineStream>, PipelineError> {
    let bind = |(place, stream): (usize, &Arc<Stream>)| {
        let own = views.iter().filter(|view| view.stream == place).map(|view| view.online.clone()).collect();
        let plan = StreamPlan::new(stream.clone())?;
        let rules = match stream.connector {
            Connector::File(_) => plan.file_rules(),
            Connector::Log => plan.rules(),
        };
        Ok(OnlineStream::new(plan, rules, own))
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

impl Writer {
    /// Notes what a batch did to its stream's position.
    fn note(&mut self, batch: &StreamBatch, outcome: &Outcome) {
        let stream = &self.streams[batch.stream];
        let position = &mut self.positions[batch.stream];
        position.next_offsets = stream.arrived().map(|(_, count)| count).collect();
        position.watermark_us = position.watermark_us.max(stream.watermark_us());
        position.newest_us = stream.newest_us();
        position.accounting = stream.accounting();
        let last_used = outcome.verdicts.iter().rposition(|verdict| *verdict == Verdict::Used);
        if let (Some(arrived), Some(row)) = (&batch.arrived, last_used) {
            let times = batch.batch.column(stream.plan().stream().time_column);
            let time_us = times.as_primitive::<TimestampMicrosecondType>().value(row);
            position.arrival_lag_ms =
                arrived.is_valid(row).then(|| arrived.value(row).saturating_sub(time_us).div_euclid(1_000));
        }
    }

    fn published(&self) -> Published {
        let newest_us = self.positions.iter().filter_map(|position| position.newest_us).max();
        let rows = self.positions.iter().map(|position| position.accounting.total()).sum();
        Published { version: self.version, rows, newest_us, streams: self.positions.clone() }
    }
}

impl StreamPosition {
    /// The earliest instant that reads of this stream's views may stand at: the horizon before the watermark.
    pub fn earliest_us(&self, as_of_horizon_us: i64) -> Option<i64> {
        self.watermark_us.map(|watermark_us| watermark_us.saturating_sub(as_of_horizon_us))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
