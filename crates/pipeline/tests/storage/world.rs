//! A project with one stream on a simulated disk, opened again and again: with other definitions, and after things happened
//! to its files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_definition::SourceFile;
use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, SyncSite, read_whole, write_whole};
use asof_log::TakeOver;
use asof_pipeline::{
    BatchKey, Clock, Engine, EngineSettings, IngestError, Manner, PipelineError, Receipt, Steps, Storage,
    StorageSettings, Submission,
};

pub(crate) const DATA: &str = "/data";
pub(crate) const SECOND_US: i64 = 1_000_000;
/// When the first event happened.
pub(crate) const BEGIN_US: i64 = 1_700_000_000 * SECOND_US;

/// A stream with a primary key whose log keeps less than its keys are remembered for.
pub(crate) const PAYMENTS: &str = "
CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL, PRIMARY KEY (id),
WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) WITH (dedup_horizon = '1 day', retention = '15 seconds');";

/// A disk, a clock, and the chance of the next opening.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Arc<AtomicI64>,
    /// Stands for what is drawn.
    pub(crate) drawn: u8,
    /// How far before the watermark reads may stand, in microseconds.
    pub(crate) as_of_horizon_us: i64,
    /// What "now" is for reads.
    pub(crate) reads_by: Clock,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        World {
            disk: SimulatedDisk::new(seed),
            clock: Arc::new(AtomicI64::new(BEGIN_US)),
            drawn: 1,
            as_of_horizon_us: 0,
            reads_by: Clock::Event,
        }
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(crate) fn pass_us(&self, us: i64) {
        self.clock.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn storage(&self, disk: Arc<dyn Disk>, take_over: TakeOver) -> Result<Storage, PipelineError> {
        // Every group gets a segment of its own, and two keys fill the memory.
        let settings = StorageSettings { segment_bytes: 1, keys_in_memory_max: 2, ..StorageSettings::default() };
        let mut draw = |bytes: &mut [u8]| {
            bytes.copy_from_slice(&chance(self.drawn));
            Ok(())
        };
        Storage::open(disk, Path::new(DATA), take_over, settings, &mut draw)
    }

    pub(crate) fn engine(&self, sql: &str) -> Result<Engine, PipelineError> {
        self.engine_on(self.disk.shared(), sql)
    }

    pub(crate) fn engine_on(&self, disk: Arc<dyn Disk>, sql: &str) -> Result<Engine, PipelineError> {
        let storage = self.storage(disk, TakeOver::Refuse)?;
        let sources = [SourceFile { name: "project.sql".to_owned(), text: sql.to_owned() }];
        let project = Arc::new(asof_definition::check(&sources).expect("a sound project"));
        let as_of_horizon_us = self.as_of_horizon_us;
        let settings = EngineSettings { clock: self.reads_by, as_of_horizon_us, state_bytes_max: usize::MAX };
        let clock = self.clock.clone();
        Engine::with_storage(project, settings, Arc::new(move || clock.load(Ordering::Relaxed)), Some(storage))
    }

    /// A life in which all goes well. It ends with a checkpoint.
    pub(crate) fn live<T>(&self, sql: &str, life: impl FnOnce(&Engine, &mut Steps<'_>) -> T) -> T {
        let engine = self.engine(sql).unwrap();
        let mut job = Steps::recover(&engine).unwrap();
        let seen = life(&engine, &mut job);
        job.finish().unwrap();
        seen
    }

    /// What a start says that comes to nothing.
    pub(crate) fn refused(&self, sql: &str) -> String {
        match self.engine(sql) {
            Ok(engine) => Steps::recover(&engine).expect_err("it starts").to_string(),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) fn bytes(&self, file: &str) -> io::Result<Vec<u8>> {
        read_whole(&self.disk, &Path::new(DATA).join(file), 1 << 20)
    }

    pub(crate) fn write(&self, file: &Path, bytes: &[u8]) {
        let path = Path::new(DATA).join(file);
        self.disk.make_folder(path.parent().expect("it is in the data folder"), SyncSite("test")).unwrap();
        write_whole(&self.disk, &path, bytes, SyncSite("test")).unwrap();
    }

    /// Removes a folder of the data folder.
    pub(crate) fn remove(&self, folder: &str) {
        let is_in = |path: &PathBuf| path.starts_with(Path::new(DATA).join(folder));
        self.disk.files().iter().filter(|path| is_in(path)).for_each(|path| self.disk.remove(path).unwrap());
    }
}

/// What is drawn.
pub(crate) fn chance(drawn: u8) -> [u8; 192] {
    std::array::from_fn(|place| (place as u8).wrapping_mul(drawn).wrapping_add(drawn).rotate_left(3))
}

/// Events of these ids, at one time; the shop of each is a thousand more.
pub(crate) fn payments(ids: impl IntoIterator<Item = i64>, time_us: i64) -> String {
    ids.into_iter().map(|id| payment(id, id + 1_000, time_us)).collect()
}

pub(crate) fn payment(id: i64, shop: i64, time_us: i64) -> String {
    format!("{{\"id\":{id},\"shop\":{shop},\"ts\":{time_us}}}\n")
}

/// Sends a batch of the first stream and commits it. The outer error ends the job.
pub(crate) fn try_send(
    engine: &Engine,
    job: &mut Steps<'_>,
    lines: String,
    name: Option<&str>,
) -> Result<Result<Receipt, IngestError>, PipelineError> {
    let answered = leave(engine, 0, lines, name)?;
    job.commit()?;
    job.spill_keys()?;
    Ok(answer(&answered))
}

/// The same of events that arrive in some manner, where the job goes on.
pub(crate) fn send_as(
    engine: &Engine,
    job: &mut Steps<'_>,
    lines: String,
    manner: Manner,
) -> Result<Receipt, IngestError> {
    let answered = leave_as(engine, 0, lines, None, manner)?;
    job.commit().unwrap();
    answer(&answered)
}

/// Sends a batch of the first stream that ends the job. What its producer is told, and why the job ends.
pub(crate) fn send_last(engine: &Engine, job: &mut Steps<'_>, lines: String) -> (IngestError, PipelineError) {
    let answered = leave(engine, 0, lines, None).unwrap();
    let ended = job.commit().unwrap_err();
    (answer(&answered).unwrap_err(), ended)
}

/// Where the answer to a batch will be.
pub(crate) type Answered = Arc<Mutex<Option<Result<Receipt, IngestError>>>>;

fn answer(answered: &Answered) -> Result<Receipt, IngestError> {
    answered.lock().expect("one thread").take().expect("what was committed was answered")
}

/// Leaves a batch at the door.
pub(crate) fn leave(
    engine: &Engine,
    stream: usize,
    lines: String,
    name: Option<&str>,
) -> Result<Answered, IngestError> {
    leave_as(engine, stream, lines, name, Manner::Live)
}

/// The same of events that arrive in some manner.
fn leave_as(
    engine: &Engine,
    stream: usize,
    lines: String,
    name: Option<&str>,
    manner: Manner,
) -> Result<Answered, IngestError> {
    let bytes = lines.into_bytes();
    let batch_key = name.map(|name| BatchKey::of(name.to_owned(), &bytes));
    let definition = &engine.project().streams[stream];
    let body = EventBody::read(bytes.into(), BodyForm::Ndjson, definition, BodyLimits { rows_max: 1_000 });
    let answered = Answered::default();
    let told = answered.clone();
    let answer = Box::new(move |outcome| *told.lock().expect("one thread") = Some(outcome));
    let (body, received_us) = (body.expect("a body of lines"), engine.wall_us());
    let submission = Submission { stream, body, manner, batch_key, origin: None, received_us, answer };
    engine.intake().submit(submission).map_err(|(_, error)| error)?;
    Ok(answered)
}

/// The same where all goes well: how many were used, and how many were duplicates.
pub(crate) fn send(engine: &Engine, job: &mut Steps<'_>, lines: String) -> (u64, u64) {
    let receipt = try_send(engine, job, lines, None).unwrap().unwrap();
    assert_eq!(receipt.late + receipt.rejected, 0, "{receipt:?}");
    (receipt.accepted, receipt.duplicates)
}

/// A whole checkpoint.
pub(crate) fn checkpoint(job: &mut Steps<'_>) {
    while job.checkpoint().unwrap() {}
}

/// Six groups of three payments, 20 seconds apart, of which the log keeps the last two.
pub(crate) fn six_groups(world: &World, engine: &Engine, job: &mut Steps<'_>) {
    for group in 0..6 {
        assert_eq!(send(engine, job, payments(3 * group + 1..3 * group + 4, world.now_us())), (3, 0));
        world.pass_us(20 * SECOND_US);
        checkpoint(job);
    }
    job.keep_history().unwrap();
    assert_eq!(segments(world), ["00000000000000000012", "00000000000000000015"]);
}

/// The offsets at which segments of the log begin.
pub(crate) fn segments(world: &World) -> Vec<String> {
    let files = world.disk.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "segment"));
    files.map(|path| path.file_name().unwrap().to_string_lossy()[..20].to_owned()).collect()
}
