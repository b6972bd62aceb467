//! The live state of a project: one writer takes batches in, any number of readers read at a published version.
//!
//! Fixed after construction are the plans and how views, streams and services hang together; changing are the writer's
//! streams (behind one lock that readers never take), the views' shards, and what is published.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use asof_definition::{Connector, Project, Rate, Stream};
use asof_feature::{ArrivedAt, Lateness, StreamPlan};
use asof_window::{Verdict, Version};

use crate::binding::{
    BoundService, BoundView, bind_scored, bind_services, bind_sources, bind_views, bind_windows, sources_of,
};
use crate::checkpoint_measures::CheckpointMeasures;
use crate::clock::{Clock, WallClock};
use crate::closings::Which;
use crate::commit::IngestMeasures;
use crate::distribution::Distribution;
use crate::error::PipelineError;
use crate::feed::{Feed, FeedStatistics};
use crate::intake::Intake;
use crate::progress::{Phase, Progress};
use crate::reading::Reading;
use crate::sink_state::{SinkState, SinkStatistics};
use crate::statistics::StorageStatistics;
use crate::storage::Storage;
use crate::stored_form::{StoredForm, stored_forms};
use crate::stream_batch::StreamBatch;
use crate::stream_log::StreamLog;
use crate::submission::IngestError;
use crate::tables_told::TablesTold;
use crate::told::Told;
use crate::unit::Readers;
use crate::visibility::{Published, StreamPosition, Visibility};
use crate::writer::{Judged, Writer};

/// After so many rows taken in, as many entities of each view are swept: what time has emptied goes as fast as it came.
pub(crate) const SWEEP_ROWS: usize = 4_096;

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

/// A project's live state.
pub struct Engine {
    project: Arc<Project>,
    sources: Vec<Arc<Stream>>,
    /// The same as logs have them.
    stored_forms: Vec<StoredForm>,
    settings: EngineSettings,
    wall_clock: WallClock,
    views: Vec<BoundView>,
    services: Vec<BoundService>,
    writer: Mutex<Writer>,
    told: Mutex<Told>,
    visibility: Visibility,
    progress: Progress,
    /// By source: the topic that feeds it, if one does.
    feeds: Vec<Option<Feed>>,
    /// By sink.
    sinks: Vec<SinkState>,
    /// What the state held when it was last looked at.
    held_bytes: AtomicUsize,
    /// The least event time in microseconds of rows that wait to be scored; the greatest number where none does.
    awaited_from_us: AtomicI64,
    intake: Intake,
    /// Held by whoever writes keys to the disk.
    spilling: Mutex<()>,
    ingest: IngestMeasures,
    checkpoints: CheckpointMeasures,
    /// Told by the writer now and then: whoever asks must not wait for a sync.
    stored: Mutex<Vec<StorageStatistics>>,
    tables_told: Mutex<TablesTold>,
    /// Where streams without a connector are stored; `None` where there is no such stream, or nothing is stored.
    pub(crate) storage: Option<Storage>,
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
        let windows = bind_windows(&project)?;
        let views = bind_views(&project, &windows)?;
        let secret = storage.as_ref().and_then(Storage::key_secret);
        let services = bind_services(&project);
        let scored = bind_scored(&project)?;
        let stored_forms = stored_forms(&project, &windows, &scored);
        let mut bound = bind_sources(&project, &views, windows, scored, secret)?;
        bound.bind_ways(&services, &views);
        let sources = sources_of(&project);
        let positions = vec![StreamPosition { next_offsets: vec![0], ..StreamPosition::default() }; sources.len()];
        let first = Published { version: Version(0), rows: 0, newest_us: None, streams: positions.clone() };
        let unpaced = sources.iter().map(|stream| match &stream.connector {
            Connector::File(file) => file.rate == Rate::Max,
            Connector::Log(_) | Connector::Derived(_) => false,
        });
        Ok(Engine {
            progress: Progress::new(unpaced),
            feeds: sources.iter().map(|stream| stream.feed().map(|_| Feed::default())).collect(),
            sinks: project.sinks.iter().map(|_| SinkState::default()).collect(),
            services,
            told: Mutex::new(Told::new(&stored_forms, &project, &views)),
            writer: Mutex::new(Writer::new(bound, positions, wall_clock())),
            held_bytes: AtomicUsize::new(0),
            awaited_from_us: AtomicI64::new(i64::MAX),
            intake: Intake::new(storage.as_ref().map_or(0, |storage| storage.settings().waiting_bytes_max)),
            spilling: Mutex::default(),
            ingest: IngestMeasures::default(),
            checkpoints: CheckpointMeasures::default(),
            stored: Mutex::default(),
            tables_told: Mutex::default(),
            storage,
            views,
            visibility: Visibility::new(first),
            project,
            sources,
            stored_forms,
            settings,
            wall_clock,
        })
    }

    /// The project.
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// All that rows come to, as submissions, positions and batches name them by their index: the streams of the project with
    /// events of their own, behind them those of the rows of windows and of scored rows, and its tables, as the streams of their
    /// versions.
    pub fn sources(&self) -> &[Arc<Stream>] {
        &self.sources
    }

    /// Where the table with this index in the project is among the sources.
    pub fn source_of_table(&self, table: usize) -> usize {
        self.first_table() + table
    }

    /// A source as its log, its history and its door have it: a delete marker need not have all that is NOT NULL, and rows of
    /// windows that are computed otherwise are of another name.
    pub fn stored_form(&self, source: usize) -> Arc<Stream> {
        self.stored_forms[source].stream.clone()
    }

    /// Whether what comes to a source goes to a log, where there is a data folder.
    pub(crate) fn is_logged(&self, source: usize) -> bool {
        self.stored_forms[source].is_logged
    }

    /// The source that has the rows of the open windows at this place among the views; `None` of any other view.
    pub(crate) fn rows_of_windows(&self, view: usize) -> Option<usize> {
        view.checked_sub(self.project.views.len()).map(|number| self.project.streams.len() + number)
    }

    /// Whether a source is a table.
    pub fn is_table(&self, source: usize) -> bool {
        source >= self.first_table()
    }

    fn first_table(&self) -> usize {
        self.sources.len() - self.project.tables.len()
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
    /// [`IngestError::BehindNotSettled`]: one of them has to wait for a log.
    pub fn take_in(&self, batches: Vec<StreamBatch>) -> Result<(), PipelineError> {
        match self.take_in_or_wait(batches)? {
            None => Ok(()),
            Some(_) => Err(IngestError::BehindNotSettled.into()),
        }
    }

    /// The same; gives the batches back where one of them has to wait.
    pub(crate) fn take_in_or_wait(
        &self,
        mut batches: Vec<StreamBatch>,
    ) -> Result<Option<Vec<StreamBatch>>, PipelineError> {
        // Versions first: an event is joined with those that come with it.
        batches.sort_by_key(|batch| !self.is_table(batch.stream));
        let mut writer = lock(&self.writer);
        if batches.iter().any(|batch| writer.has_to_wait(batch.stream)) {
            return Ok(Some(batches));
        }
        let arrived_us = writer.next_arrival(self.wall_us());
        let mut judged = self.look_at_windows(&mut writer, arrived_us, Which::NotLogged)?;
        for batch in batches {
            let arrivals = batch.arrivals(ArrivedAt::All(arrived_us), Lateness::Applied, &[]);
            let preparation = writer.sources.prepare(batch.stream, arrivals)?;
            judged.push(Judged { batch, preparation });
        }
        judged.extend(self.close_windows(&mut writer, arrived_us, Which::NotLogged)?);
        let moved = std::mem::take(&mut writer.moved_windows);
        self.publish_judged(&mut writer, &judged, &moved, arrived_us)?;
        self.within_memory()?;
        Ok(None)
    }

    /// Takes judged batches into the views and lets reads see them, all together.
    pub(crate) fn publish_judged(
        &self,
        writer: &mut Writer,
        judged: &[Judged],
        moved_windows: &[usize],
        arrived_us: i64,
    ) -> Result<(), PipelineError> {
        let version = writer.next_version();
        let oldest = self.visibility.oldest();
        for one in judged {
            let batch = &one.batch;
            let settled = |source| self.settled(&oldest, source);
            writer.sources.take_in(batch.stream, &one.preparation, version, settled)?;
            self.tell(writer, one);
            writer.note(one, arrived_us);
            self.progress.stream(batch.stream).rows_taken.fetch_add(batch.offsets.len() as u64, Ordering::Relaxed);
        }
        writer.note_windows(moved_windows);
        self.visibility.publish(writer.published());
        if let Some(rows) = writer.rows_to_sweep(SWEEP_ROWS) {
            self.sweep(writer, rows)?;
        }
        Ok(())
    }

    /// Takes note of why events of a batch, or others because of it, are not where they could be.
    pub(crate) fn tell(&self, writer: &Writer, judged: &Judged) {
        let (batch, prepared) = (&judged.batch, judged.prepared());
        let mut told = lock(&self.told);
        told.add(batch, prepared, &self.views_of(batch.stream), &writer.sources[batch.stream]);
        let first_used = prepared.verdicts().iter().position(|verdict| *verdict == Verdict::Used);
        for (stream, rejoined) in judged.preparation.rejoined().iter().filter(|(_, one)| one.row_count() > 0) {
            let offset = first_used.map_or(0, |row| batch.offsets[row]);
            told.add_late(batch.stream, offset, rejoined, &self.readers_of(writer, *stream));
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

    /// What the job does at the moment.
    pub fn phase(&self) -> Phase {
        self.progress.phase()
    }

    /// Whether reads see what they should: unpaced files are taken in to their end, paced ones run, and of topics all is there
    /// that they had at the start.
    pub fn is_ready(&self) -> bool {
        self.progress.is_ready() && self.feeds.iter().flatten().all(|feed| feed.lock().has_caught_up)
    }

    /// What is known of the topic that feeds a source; `None` where none does.
    pub(crate) fn feed(&self, source: usize) -> Option<&Feed> {
        self.feeds[source].as_ref()
    }

    /// For each partition of the topic that feeds a source the offset from which it is read on, as the source's log says.
    pub fn topic_offsets(&self, source: usize) -> BTreeMap<u32, u64> {
        lock(&self.writer).logs[source].as_ref().map(|log| log.fed.next.clone()).unwrap_or_default()
    }

    /// What is known of the sink with this index in the project.
    pub(crate) fn sink_state(&self, sink: usize) -> &SinkState {
        &self.sinks[sink]
    }

    /// The same for whoever shows it.
    pub fn sink_statistics(&self, sink: usize) -> SinkStatistics {
        let published = self.published();
        let sources = self.project.sinks[sink].sources();
        let readable = sources.iter().map(|source| {
            let place = self.place_of(&source.name);
            (self.stored_form(place).name.clone(), published.streams[place].next_offsets.first().copied().unwrap_or(0))
        });
        let mut told = self.sinks[sink].statistics(readable);
        if let Some(rows) = self.project.sinks[sink].rows().filter(|rows| rows.scored().is_some()) {
            let (place, of_rows) = (self.place_of(&rows.name), lock(&self.told));
            told.set_aside += of_rows.rows_set_aside(place);
            told.first_set_aside =
                told.first_set_aside.or(of_rows.reasons(place).first().map(|one| one.detail.clone()));
        }
        told
    }

    /// How long commits of a sink take, from their first row on.
    pub fn sink_commits(&self, sink: usize) -> &Distribution {
        &self.sinks[sink].commits
    }

    /// The offset before which every sink of a source has written it; `None` where no sink reads it.
    pub(crate) fn sunk_before(&self, source: usize) -> Option<u64> {
        let log = &self.stored_form(source).name;
        let reading = self
            .project
            .sinks
            .iter()
            .zip(&self.sinks)
            .filter(|(sink, _)| sink.sources().iter().any(|stream| self.place_of(&stream.name) == source));
        let written = reading.map(|(_, state)| {
            let told = state.lock();
            told.progress.as_ref().and_then(|progress| progress.logs.get(log).copied()).unwrap_or(0)
        });
        written.min()
    }

    /// Behind the last row of a source that readers see.
    pub(crate) fn visible_offset(&self, source: usize) -> u64 {
        self.published().streams[source].next_offsets.first().copied().unwrap_or(0)
    }

    /// The offset behind what is durable of a source, now and from now on.
    pub(crate) fn durable_offset(&self, source: usize) -> Arc<AtomicU64> {
        lock(&self.writer).logs[source].as_ref().map_or_else(Arc::default, StreamLog::durable_offset)
    }

    /// The first offset that the log of a source has, and the one behind its last when this process opened it.
    pub(crate) fn first_offset(&self, source: usize) -> u64 {
        lock(&self.writer).logs[source].as_ref().map_or(0, |log| log.log().first_offset())
    }

    pub(crate) fn opened_at(&self, source: usize) -> u64 {
        lock(&self.writer).logs[source].as_ref().map_or(0, |log| log.opened_at)
    }

    /// How often partitions of topics were added: a checkpoint keeps where they begin.
    pub(crate) fn assignments(&self) -> u64 {
        self.feeds.iter().flatten().map(|feed| feed.lock().assignments).sum()
    }

    /// The same for whoever shows it.
    pub fn feed_statistics(&self, source: usize) -> Option<FeedStatistics> {
        let topic = &self.sources[source].feed()?.topic;
        Some(self.feed(source)?.statistics(topic))
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
        let views: Vec<&BoundView> = self.views_of(stream).into_iter().map(|view| &self.views[view]).collect();
        let derived = writer.sources[stream].derived().iter().map(|derived| derived.name.clone());
        Readers {
            views: views.iter().map(|view| view.name().to_owned()).collect(),
            windows: views.iter().map(|view| view.rows_name.clone()).collect(),
            derived: derived.collect(),
        }
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

    /// The place of a stream or table of the project among the sources.
    pub(crate) fn place_of(&self, source: &str) -> usize {
        let place = self.sources.iter().position(|other| other.name == source);
        place.expect("the source is one of the project's")
    }

    /// The least event time in microseconds of rows that wait to be scored: what they are read for is held.
    pub(crate) fn awaited_from_us(&self) -> &AtomicI64 {
        &self.awaited_from_us
    }

    /// What the state held when it was last looked at, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_held_bytes(&self, held_bytes: usize) {
        self.held_bytes.store(held_bytes, Ordering::Relaxed);
    }

    pub(crate) fn stored(&self) -> &Mutex<Vec<StorageStatistics>> {
        &self.stored
    }

    pub(crate) fn tables_told(&self) -> &Mutex<TablesTold> {
        &self.tables_told
    }

    pub(crate) fn views(&self) -> &[BoundView] {
        &self.views
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

    /// The plan of the source with this index.
    pub(crate) fn stream_plan(&self, stream: usize) -> StreamPlan {
        lock(&self.writer).sources[stream].plan().clone()
    }

    /// The views that see a source's events, in the order in which it feeds them.
    pub(crate) fn views_of(&self, stream: usize) -> Vec<usize> {
        (0..self.views.len()).filter(|view| self.views[*view].streams.contains(&stream)).collect()
    }

    /// Whether all events that a view sees, and all versions that it joins, come from logs. Those of a file are read again at
    /// the next start.
    pub(crate) fn is_stored(&self, view: usize) -> bool {
        self.views[view].sources().all(|source| self.is_logged(source))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
