//! A project with tables on a simulated disk, opened again and again.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_definition::{Project, SourceFile, check_ahead};
use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::TakeOver;
use asof_pipeline::{
    BatchKey, Clock, Engine, EngineSettings, IngestError, Manner, PipelineError, Receipt, Steps, Storage,
    StorageSettings, Submission,
};

pub(crate) const DATA: &str = "/data";
pub(crate) const SECOND_US: i64 = 1_000_000;
/// No read is too early.
const HORIZON_US: i64 = 1 << 60;

pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) project: Arc<Project>,
    pub(crate) settings: EngineSettings,
    /// The size at which a segment of a log ends.
    pub(crate) segment_bytes: u64,
}

pub(crate) fn project(sql: &str) -> Arc<Project> {
    let file = SourceFile { name: "project.sql".to_owned(), text: sql.to_owned() };
    Arc::new(check_ahead(&[file]).unwrap_or_else(|errors| panic!("{}\n{sql}", errors[0])))
}

impl World {
    pub(crate) fn new(seed: u64, sql: &str) -> World {
        World::on(SimulatedDisk::new(seed), project(sql))
    }

    pub(crate) fn on(disk: SimulatedDisk, project: Arc<Project>) -> World {
        let settings =
            EngineSettings { clock: Clock::Event, as_of_horizon_us: HORIZON_US, state_bytes_max: usize::MAX };
        World { disk, clock: Arc::default(), project, settings, segment_bytes: 1 << 20 }
    }

    pub(crate) fn set_clock(&self, now_us: i64) {
        self.clock.store(now_us, Ordering::Relaxed);
    }

    /// Opens the data folder.
    pub(crate) fn engine(&self) -> Result<Engine, PipelineError> {
        self.engine_on(self.disk.shared())
    }

    /// The same by way of another disk, above that of this world.
    pub(crate) fn engine_on(&self, disk: Arc<dyn Disk>) -> Result<Engine, PipelineError> {
        let settings = StorageSettings { segment_bytes: self.segment_bytes, ..StorageSettings::default() };
        let mut draw = |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok(())
        };
        let storage = Storage::open(disk, Path::new(DATA), TakeOver::Refuse, settings, &mut draw)?;
        let clock = self.clock.clone();
        let wall_clock = Arc::new(move || clock.load(Ordering::Relaxed));
        Engine::with_storage(self.project.clone(), self.settings, wall_clock, Some(storage))
    }

    /// A life in which all goes well, without an end.
    pub(crate) fn live<T>(&self, life: impl FnOnce(&Engine, &mut Steps<'_>) -> T) -> T {
        let engine = self.engine().unwrap();
        let mut job = Steps::recover(&engine).unwrap();
        let seen = life(&engine, &mut job);
        drop(job);
        drop(engine);
        self.disk.kill();
        seen
    }
}

/// Where the answer to a batch will be.
pub(crate) type Answered = Arc<Mutex<Option<Result<Receipt, IngestError>>>>;

/// Leaves lines for a stream or table at the door.
pub(crate) fn leave(
    engine: &Engine,
    source: usize,
    lines: &str,
    (manner, name): (Manner, Option<String>),
) -> Result<Answered, IngestError> {
    let bytes = lines.as_bytes().to_vec();
    let batch_key = name.map(|name| BatchKey::of(name, &bytes));
    let limits = BodyLimits { rows_max: 10_000 };
    let body = EventBody::read(bytes.into(), BodyForm::Ndjson, &engine.sources()[source], limits).unwrap();
    let answered = Answered::default();
    let told = answered.clone();
    let answer = Box::new(move |outcome| *told.lock().unwrap() = Some(outcome));
    let submission =
        Submission { stream: source, body, manner, batch_key, origin: None, received_us: engine.wall_us(), answer };
    engine.intake().submit(submission).map_err(|(_, error)| error)?;
    Ok(answered)
}

/// Sends lines and commits them alone.
pub(crate) fn try_send(
    engine: &Engine,
    job: &mut Steps<'_>,
    source: &str,
    lines: &str,
    manner: Manner,
) -> Result<Receipt, IngestError> {
    let answered = leave(engine, source_of(engine, source), lines, (manner, None))?;
    job.commit().unwrap();
    let outcome = answered.lock().unwrap().take();
    outcome.expect("what was committed was answered")
}

/// The same where all goes well.
pub(crate) fn send(engine: &Engine, job: &mut Steps<'_>, source: &str, lines: &str) -> Receipt {
    try_send(engine, job, source, lines, Manner::Live).unwrap()
}

pub(crate) fn source_of(engine: &Engine, name: &str) -> usize {
    engine.sources().iter().position(|source| source.name == name).unwrap()
}

pub(crate) fn checkpoint(job: &mut Steps<'_>) {
    while job.checkpoint().unwrap() {}
}
