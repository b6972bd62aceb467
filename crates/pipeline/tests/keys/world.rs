//! A stream with a primary key whose judge may hold a few hundred keys, on a simulated disk, life after life.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_definition::{Project, SourceFile};
use asof_disk::SyncSite;
use asof_disk::simulated::{SimulatedDisk, Synced};
use asof_log::TakeOver;
use asof_pipeline::{
    Clock, Engine, EngineSettings, IngestError, Manner, PipelineError, Receipt, Steps, Storage, StorageSettings,
    Submission,
};

use crate::model::{Counts, Event, Model, SECOND_US};

const DATA: &str = "/data";
/// A tenth of the keys that count at a time.
const KEYS_IN_MEMORY_MAX: usize = 100;

static PROJECT: LazyLock<Arc<Project>> = LazyLock::new(|| {
    let text = "CREATE STREAM payments (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL, PRIMARY KEY (id),
                WATERMARK FOR ts AS ts - INTERVAL '10' SECOND)
                WITH (dedup_horizon = '20 seconds', retention = '15 seconds');";
    let sources = [SourceFile { name: "project.sql".to_owned(), text: text.to_owned() }];
    Arc::new(asof_definition::check(&sources).expect("a sound project"))
});

/// What was found wrong, in words.
pub(crate) type Checked<T> = Result<T, String>;

/// SplitMix64.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// How a run differs from the plain one of its seed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) turns: u64,
    /// The power is cut at this operation of the disk.
    pub(crate) crash_at: Option<u64>,
    pub(crate) ignored: Option<(SyncSite, Synced)>,
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) counts: Counts,
    pub(crate) operations: u64,
    /// Runs of keys that were there, most at a time.
    pub(crate) runs_max: usize,
    pub(crate) refused: u64,
    pub(crate) syncs: Vec<(SyncSite, Synced)>,
}

/// Why a life ends.
enum End {
    TurnsAreOver,
    /// The process alone.
    Killed,
    PowerCut,
}

struct World {
    disk: SimulatedDisk,
    clock: Arc<AtomicI64>,
    chance: Chance,
    plan: Plan,
    model: Model,
    /// Keys sent before.
    ids: Vec<i64>,
    /// A batch whose answer never came, or was no answer.
    in_doubt: Option<Vec<Event>>,
    /// The batch that was in doubt when the last life ended.
    again: Option<Vec<Event>>,
    /// A sync is going to fail, in this life or a later one: whatever fails next may.
    is_tainted: bool,
    is_full: bool,
    seen: Seen,
}

/// Runs a seed to its end. The error is the first thing that is not as the model says.
pub(crate) fn run(seed: u64, plan: Plan) -> Checked<Seen> {
    let disk = SimulatedDisk::new(seed);
    if let Some((site, synced)) = plan.ignored {
        disk.ignore(site, synced);
    }
    if let Some(point) = plan.crash_at {
        disk.crash_at(point);
    }
    let mut world = World {
        disk,
        clock: Arc::new(AtomicI64::new(1_700_000_000 * SECOND_US)),
        chance: Chance(!seed),
        plan,
        model: Model::default(),
        ids: Vec::new(),
        in_doubt: None,
        again: None,
        is_tainted: false,
        is_full: false,
        seen: Seen::default(),
    };
    loop {
        match world.live()? {
            End::TurnsAreOver => break,
            End::Killed => world.disk.kill(),
            End::PowerCut => world.disk.crash(),
        }
        world.disk.set_room(u64::MAX);
        world.is_full = false;
    }
    let operations = world.disk.operations();
    Ok(Seen { counts: world.model.counts, operations, syncs: world.disk.syncs(), ..world.seen })
}

impl World {
    /// One life: from recovery to an end, orderly or not.
    fn live(&mut self) -> Checked<End> {
        let engine = match self.open() {
            Ok(engine) => engine,
            Err(error) => return self.died("opening", &error),
        };
        let mut job = match Steps::recover(&engine) {
            Ok(job) => job,
            Err(error) => return self.died("recovery", &error),
        };
        self.check_recovered(&engine)?;
        while self.plan.turns > 0 {
            self.plan.turns -= 1;
            if let Some(end) = self.turn(&engine, &mut job)? {
                return Ok(end);
            }
            if self.chance.one_in(40) {
                return match job.finish() {
                    Ok(()) => Ok(End::Killed),
                    Err(_) if self.is_full => Ok(End::Killed),
                    Err(error) => self.died("the end", &error),
                };
            }
        }
        Ok(End::TurnsAreOver)
    }

    fn open(&mut self) -> Result<Engine, PipelineError> {
        let settings = StorageSettings {
            segment_bytes: 8 << 10,
            keys_in_memory_max: KEYS_IN_MEMORY_MAX,
            ..StorageSettings::default()
        };
        let mut draw = |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| *byte = self.chance.below(256) as u8);
            Ok(())
        };
        let disk = self.disk.shared();
        let storage = Storage::open(disk, Path::new(DATA), TakeOver::Refuse, settings, &mut draw)?;
        let clock = self.clock.clone();
        let settings = EngineSettings { clock: Clock::Event, as_of_horizon_us: 0, state_bytes_max: usize::MAX };
        Engine::with_storage(PROJECT.clone(), settings, Arc::new(move || clock.load(Ordering::Relaxed)), Some(storage))
    }

    /// An error that is one of the disk's ends the life; any other is a violation.
    fn died(&mut self, what: &str, error: &dyn std::fmt::Display) -> Checked<End> {
        if self.plan.crash_at.is_some_and(|point| self.disk.operations() >= point) {
            self.plan.crash_at = None;
            return Ok(End::PowerCut);
        }
        if self.is_tainted {
            self.is_tainted = false;
            return Ok(if self.chance.one_in(2) { End::Killed } else { End::PowerCut });
        }
        Err(format!("{what}: {error}"))
    }

    /// A batch in doubt is there as a whole or not at all; all else is.
    fn check_recovered(&mut self, engine: &Engine) -> Checked<()> {
        let position = engine.published().streams[0].clone();
        let in_doubt = self.in_doubt.take().unwrap_or_default();
        if position.next_offsets[0] > self.model.counts.total() {
            self.model.judge(&in_doubt);
        }
        self.again = Some(in_doubt).filter(|events| !events.is_empty());
        let found = position.accounting;
        let found = Counts { used: found.used, duplicate: found.duplicate, late: found.late };
        if (position.next_offsets[0], found) != (self.model.counts.total(), self.model.counts) {
            return Err(format!("recovered {position:?}, expected {:?}", self.model.counts));
        }
        Ok(())
    }

    fn turn(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Option<End>> {
        let done = match self.chance.below(100) {
            0..60 => return self.send_events(engine, job),
            60..75 => {
                let steps = 1 + self.chance.below(5);
                (0..steps).try_for_each(|_| job.checkpoint().map(drop))
            }
            75..85 => job.spill_keys(),
            85..91 => job.keep_history(),
            91..93 => return Ok(Some(End::Killed)),
            93..95 => return Ok(Some(End::PowerCut)),
            95 => {
                self.disk.fail_sync(1 + self.chance.below(6));
                self.is_tainted = true;
                Ok(())
            }
            _ => {
                self.is_full = !self.is_full;
                self.disk.set_room(if self.is_full { 1 } else { u64::MAX });
                Ok(())
            }
        };
        let runs = self.disk.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "keys"));
        self.seen.runs_max = self.seen.runs_max.max(runs.count());
        match done {
            Ok(()) => Ok(None),
            Err(_) if self.is_full => Ok(None),
            Err(error) => self.died("a step", &error).map(Some),
        }
    }

    /// Sends a batch, until it is taken in or the disk does not let it.
    fn send_events(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Option<End>> {
        let events = self.again.take().unwrap_or_else(|| self.events());
        let mut was_broken = false;
        for attempt in 0.. {
            self.in_doubt = Some(events.clone());
            let outcome = match submit(engine, job, &events, self.clock.load(Ordering::Relaxed)) {
                Ok(outcome) => outcome,
                Err(error) => return self.died("a commit", &error).map(Some),
            };
            match outcome {
                Ok(receipt) => {
                    // The failing sync was met before anything was judged, and is over.
                    self.is_tainted &= !was_broken;
                    return self.check_receipt(&events, &receipt).map(|()| None);
                }
                Err(IngestError::Broken { .. }) if self.is_tainted && !was_broken => was_broken = true,
                Err(IngestError::KeysFull { .. }) if attempt < 3 => {
                    self.seen.refused += 1;
                    match job.spill_keys() {
                        Err(_) if self.is_full => break,
                        Err(error) => return self.died("keys", &error).map(Some),
                        Ok(()) => {}
                    }
                }
                Err(IngestError::DiskFull { .. } | IngestError::KeysFull { .. }) if self.is_full => break,
                Err(error) => {
                    // What is judged and not durable must not get into a checkpoint: steps enough for a whole one, which may
                    // well fail. The next life sends the batch again, and sees.
                    let taken = (0..20).try_for_each(|_| job.checkpoint().map(drop));
                    let broken = format!("{error}, then a checkpoint: {taken:?}");
                    return self.died("a batch", &broken).map(Some);
                }
            }
        }
        // A refused batch has changed nothing.
        self.in_doubt = None;
        Ok(None)
    }

    fn check_receipt(&mut self, events: &[Event], receipt: &Receipt) -> Checked<()> {
        self.in_doubt = None;
        let expected = self.model.judge(events);
        let found = Counts { used: receipt.accepted, duplicate: receipt.duplicates, late: receipt.late };
        if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
    }

    /// Some with new keys, some with keys of before, from a little while ago.
    fn events(&mut self) -> Vec<Event> {
        let now_us = self.clock.fetch_add(self.chance.below(2 * SECOND_US as u64) as i64, Ordering::Relaxed);
        let count = 1 + self.chance.below(80);
        let mut events = Vec::new();
        for _ in 0..count {
            let is_known = self.chance.one_in(3) && !self.ids.is_empty();
            // The later half of all keys: in memory, on the way, on disk, and forgotten ones.
            let back = if is_known { self.chance.below(self.ids.len() as u64 / 2 + 1) as usize } else { 0 };
            let id = if is_known { self.ids[self.ids.len() - 1 - back] } else { self.ids.len() as i64 };
            if !is_known {
                self.ids.push(id);
            }
            events.push(Event { id, time_us: now_us - self.chance.below(12 * SECOND_US as u64) as i64 });
        }
        events
    }
}

/// Sends a batch and commits it. The outer error ends the job.
fn submit(
    engine: &Engine,
    job: &mut Steps<'_>,
    events: &[Event],
    received_us: i64,
) -> Result<Result<Receipt, IngestError>, PipelineError> {
    let lines = events.iter().map(|Event { id, time_us }| format!("{{\"id\":{id},\"ts\":{time_us}}}\n"));
    let bytes = lines.collect::<String>().into_bytes();
    let body = EventBody::read(bytes.into(), BodyForm::Ndjson, &PROJECT.streams[0], BodyLimits { rows_max: 1_000 });
    let answered = Arc::new(Mutex::new(None));
    let told = answered.clone();
    let answer = Box::new(move |outcome| *told.lock().expect("one thread") = Some(outcome));
    let (body, manner) = (body.expect("a body of lines"), Manner::Live);
    let submission = Submission { stream: 0, body, manner, batch_key: None, origin: None, received_us, answer };
    engine.intake().submit(submission).map_err(|(_, error)| error)?;
    job.commit()?;
    let outcome = answered.lock().expect("one thread").take();
    Ok(outcome.expect("what was committed was answered"))
}
