//! A small stored project, run on a disk in memory: where images, logs and checkpoints of seeds come from, and what gives
//! changed ones back to the shipped recovery.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use asof_connect::{BodyForm, BodyLimits, EventBody, stream_folder};
use asof_definition::{Project, SourceFile, check};
use asof_disk::simulated::SimulatedDisk;
use asof_log::{LogReader, TakeOver};
use asof_pipeline::{
    BatchKey, Clock, Engine, EngineSettings, Manner, PipelineError, Steps, Storage, StorageSettings, Submission,
};
use asof_state::{CheckpointStore, DiskStore, Manifest, PartKind};

/// The data folder.
pub const DATA: &str = "/data";
/// The stream.
pub const CARD: &str = "card";
/// The view whose keys are words; the other one's are texts.
pub const SPENDING: usize = 0;
const BY_COUNTRY: usize = 1;
/// What the wall clock says: 2024-02-01.
const NOW_US: i64 = 1_706_745_600_000_000;

const SQL: &str = "
CREATE STREAM card (id BIGINT NOT NULL, account BIGINT NOT NULL, amount DOUBLE, price DECIMAL(38,2), country VARCHAR,
  ts TIMESTAMP NOT NULL, PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
CREATE FEATURE VIEW spending AS
SELECT account, count(*) OVER r AS events, sum(amount) OVER r AS total, stddev_samp(amount) OVER n AS spread,
       last_value(country) OVER n AS country, count(DISTINCT amount) OVER r AS amounts, sum(price) OVER r AS price
FROM card
WINDOW r AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
       n AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW by_country AS
SELECT country, count(*) OVER w AS events, max(price) OVER w AS most
FROM card WINDOW w AS (PARTITION BY country, date_trunc('hour', ts) ORDER BY ts);";

const EVENTS: &str = r#"
{"id":1,"account":1,"amount":1.5,"price":"12345678901234567890.12","country":"GB","ts":"2024-01-31T23:59:00Z"}
{"id":2,"account":2,"amount":-0.25,"country":"DE","ts":"2024-01-31T23:59:20Z"}
{"id":3,"account":1,"amount":null,"price":"-1.00","country":"Ü","ts":"2024-01-31T23:59:20Z"}
{"id":4,"account":1}
{"id":1,"account":1,"amount":9,"ts":"2024-01-31T23:59:00Z"}
"#;

static PROJECT: LazyLock<Arc<Project>> = LazyLock::new(|| {
    let sources = [SourceFile { name: "project.sql".to_owned(), text: SQL.to_owned() }];
    Arc::new(check(&sources).expect("a sound project"))
});

/// What one run of the project left.
#[derive(Debug)]
pub struct Taken {
    /// Its checkpoint.
    pub manifest: Manifest,
    /// Images of the entities of [`SPENDING`] and of the other view.
    pub images: [Vec<u8>; 2],
    /// The producers' batches of the checkpoint.
    pub batches: Vec<u8>,
    /// The body of the only frame of the log.
    pub frame: Vec<u8>,
}

/// The project.
pub fn project() -> &'static Arc<Project> {
    &PROJECT
}

/// An engine of a project.
pub fn engine(project: &Arc<Project>, storage: Option<Storage>) -> Result<Engine, PipelineError> {
    let settings = EngineSettings { clock: Clock::Event, as_of_horizon_us: 0, state_bytes_max: usize::MAX };
    Engine::with_storage(project.clone(), settings, Arc::new(|| NOW_US), storage)
}

/// Claims the data folder of a disk.
pub fn storage(disk: &SimulatedDisk) -> Result<Storage, PipelineError> {
    // Segments hold one frame each, and two keys fill the memory.
    let settings = StorageSettings { segment_bytes: 1, keys_in_memory_max: 2, ..StorageSettings::default() };
    let mut draw = |bytes: &mut [u8]| {
        bytes.fill(1);
        Ok(())
    };
    Storage::open(disk.shared(), Path::new(DATA), TakeOver::Refuse, settings, &mut draw)
}

/// The checkpoints of a disk, as a writer of this generation sees them.
pub fn checkpoints(disk: &SimulatedDisk, generation: u64) -> CheckpointStore {
    CheckpointStore::new(Arc::new(DiskStore::new(disk.shared(), DATA)), generation)
}

/// Hands events in, as a producer does, and commits them.
///
/// # Panics
/// If the door does not take them.
pub fn send(engine: &Engine, steps: &mut Steps<'_>) -> Result<(), PipelineError> {
    let stream = &engine.project().streams[0];
    let limits = BodyLimits { rows_max: 100 };
    let body = EventBody::read(EVENTS.into(), BodyForm::Ndjson, stream, limits).expect("a body of lines");
    let batch_key = Some(BatchKey::of("first".to_owned(), EVENTS.as_bytes()));
    let (manner, received_us, answer) = (Manner::Live, engine.wall_us(), Box::new(|_told| ()));
    let submission = Submission { stream: 0, body, manner, batch_key, origin: None, received_us, answer };
    assert!(engine.intake().submit(submission).is_ok(), "a few events find room");
    steps.commit()
}

/// Runs the project until it has a checkpoint.
///
/// # Panics
/// If that fails.
pub fn taken() -> Taken {
    let disk = SimulatedDisk::new(1);
    let storage = storage(&disk).expect("an empty data folder can be claimed");
    let engine = engine(project(), Some(storage)).expect("a sound project");
    let mut steps = Steps::recover(&engine).expect("there is nothing to recover");
    send(&engine, &mut steps).expect("events are committed");
    while steps.checkpoint().expect("a checkpoint is written") {}
    let store = checkpoints(&disk, 1);
    let manifest = store.newest(&|_| true).expect("it can be listed").manifest.expect("a checkpoint was taken");
    let parts = |is_wanted: &dyn Fn(&PartKind) -> bool| -> Vec<u8> {
        let parts = manifest.parts.iter().filter(|part| is_wanted(&part.scope.kind));
        parts.flat_map(|part| store.read_part(part).expect("it was just written")).collect()
    };
    let of_view = |view: usize| {
        let wanted = &project().views[view].name;
        parts(&|kind| matches!(kind, PartKind::View { name, .. } if name == wanted))
    };
    let (images, batches) = ([of_view(SPENDING), of_view(BY_COUNTRY)], parts(&|kind| *kind == PartKind::Batches));
    let log = LogReader::open(disk.shared(), &stream_folder(Path::new(DATA), CARD, 0), 0);
    let frame = log.and_then(|mut log| log.next_frame()).expect("the log can be read").expect("it has a frame").body;
    Taken { manifest, images, batches, frame }
}
