//! One process after another: start, recovery, steps, and an end in order or not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use asof_disk::Disk;
use asof_log::TakeOver;
use asof_pipeline::{Clock, Engine, EngineSettings, Steps, Storage, StorageSettings, WallClock};

use super::World;
use super::comparison::same_state;
use super::step::{Go, outcome};
use crate::hooked_disk::hooked;
use crate::model::Checked;
use crate::project::{HORIZON_US, STREAMS, Variant, project};
use crate::stored::{stored, without_checkpoints};

impl World {
    /// One process from its start to its end.
    pub(super) fn live(&mut self, steps: u64) -> Checked<()> {
        let engine = match self.open(TakeOver::Refuse) {
            Ok(engine) => engine,
            Err(error) => return self.failed_start(&error),
        };
        let mut job = match Steps::recover(&engine) {
            Ok(job) => job,
            Err(error) => return self.failed_start(&error.to_string()),
        };
        self.recovered(&engine)?;
        for _ in 0..steps {
            if self.step(&engine, &mut job)? == Go::End {
                break;
            }
        }
        self.end(&engine, job)
    }

    pub(super) fn open(&self, how: TakeOver) -> Checked<Engine> {
        let disk = hooked(self.disk.shared(), self.hook.clone());
        open(disk, &self.data, how, self.settings, &self.opening())
    }

    pub(super) fn opening(&self) -> Opening {
        Opening {
            variant: self.variant,
            clock: self.clock.clone(),
            reads_by: self.reads_by,
            state_bytes_max: self.state_bytes_max,
        }
    }

    pub(super) fn failed_start(&mut self, error: &str) -> Checked<()> {
        self.trace.add(|| format!("no start: {error}"));
        let is_too_large = self.state_bytes_max < usize::MAX && error.contains("more than its limit");
        if !self.is_faulty && !is_too_large {
            return Err(format!("the pipeline does not start: {error}"));
        }
        self.end_of_life();
        Ok(())
    }

    /// A kill, or what the power cut that struck has left.
    pub(super) fn end_of_life(&mut self) {
        let is_down = self.disk.list(Path::new("/")).is_err();
        if is_down || self.chance.one_in(2) {
            self.power_cut();
        } else {
            self.trace.add(|| "kill".to_owned());
            self.disk.kill();
            self.producers.nothing_is_sent();
        }
    }

    pub(super) fn power_cut(&mut self) {
        self.trace.add(|| "power cut".to_owned());
        self.disk.crash();
        self.model.power_cut();
        self.producers.nothing_is_sent();
    }

    pub(super) fn end(&mut self, engine: &Engine, job: Steps<'_>) -> Checked<()> {
        self.same_position(engine)?;
        self.held_bytes = engine.held_bytes();
        if !self.is_faulty && self.chance.one_in(3) {
            // What waits is taken in; what it leaves for later is not.
            let before = self.now_us();
            let finished = job.finish();
            self.take_answers(before)?;
            self.trace.add(|| format!("orderly end: {}", outcome(&finished)));
            self.same_position(engine)?;
            if let Err(error) = finished {
                return Err(format!("no orderly end: {error}"));
            }
        }
        self.end_of_life();
        Ok(())
    }

    /// Lives without faults until every batch is acknowledged.
    pub(super) fn settle(&mut self) -> Checked<()> {
        self.begin_whole();
        let engine = self.open(TakeOver::Refuse)?;
        let mut job = Steps::recover(&engine).map_err(|error| format!("the last start: {error}"))?;
        self.recovered(&engine)?;
        self.page_to_the_end(&engine)?;
        for _ in 0..40 {
            for batch in self.producers.unsent() {
                self.send(&engine, batch);
            }
            self.commit(&engine, &mut job)?;
            self.spill_keys(&job)?;
        }
        let unsent = self.producers.unsent();
        if !unsent.is_empty() && self.settings.waiting_bytes_max > 30_000 {
            return Err(format!("batches {unsent:?} are not acknowledged in the end"));
        }
        self.compare(&engine, 0)
    }

    /// The last start, against one from the log alone.
    pub(super) fn last_look(&mut self) -> Checked<()> {
        let engine = self.open(TakeOver::Refuse)?;
        let job = Steps::recover(&engine).map_err(|error| format!("the last start: {error}"))?;
        self.recovered(&engine)?;
        let first_offsets = (0..STREAMS).map(|place| {
            let stream = &engine.project().streams[place];
            stored(&self.disk, &self.data, stream, &self.producers).map(|stored| stored.offsets.start)
        });
        if first_offsets.collect::<Checked<Vec<u64>>>()?.iter().any(|first| *first > 0) {
            return Ok(());
        }
        let copy = without_checkpoints(&self.disk).map_err(|error| error.to_string())?;
        let replayed = open(copy.shared(), &self.data, TakeOver::Refuse, self.settings, &self.opening())?;
        let steps = Steps::recover(&replayed).map_err(|error| format!("the log alone: {error}"))?;
        same_state(&engine, &replayed)?;
        drop((job, steps));
        Ok(())
    }
}

/// With what an engine is opened beside its disk.
#[derive(Clone)]
pub(super) struct Opening {
    variant: Variant,
    pub(super) clock: Arc<AtomicI64>,
    reads_by: Clock,
    state_bytes_max: usize,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    data: &Path,
    how: TakeOver,
    settings: StorageSettings,
    with: &Opening,
) -> Checked<Engine> {
    // Everybody may know it, so that a seed is the same run each time.
    let mut draw = |bytes: &mut [u8]| {
        bytes.iter_mut().zip((1..).map(|place: u32| place as u8)).for_each(|(byte, place)| *byte = place);
        Ok(())
    };
    let storage = Storage::open(disk, data, how, settings, &mut draw).map_err(|error| error.to_string())?;
    let clock = with.clock.clone();
    let wall_clock: WallClock = Arc::new(move || clock.load(Ordering::Relaxed));
    let engine_settings =
        EngineSettings { clock: with.reads_by, as_of_horizon_us: HORIZON_US, state_bytes_max: with.state_bytes_max };
    Engine::with_storage(project(with.variant), engine_settings, wall_clock, Some(storage))
        .map_err(|error| error.to_string())
}
