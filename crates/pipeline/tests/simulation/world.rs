//! The world of one seed: a disk, a clock, producers, and life after life of the pipeline.
//!
//! ```text
//!   open ─▶ recover ─▶ compare with the model ─▶ steps … ─▶ orderly end │ kill │ power cut ─▶ open ─▶ …
//!                                                  └ each drawn from the seed, each followed by a comparison
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::util::display::array_value_to_string;
use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::TakeOver;
use asof_pipeline::{Clock, Engine, EngineSettings, IngestError, Receipt, Steps, Storage, StorageSettings, WallClock};

use crate::chance::Chance;
use crate::hooked_disk::{Hook, HookedDisk};
use crate::model::{Checked, Model, counts};
use crate::producers::Producers;
use crate::project::{BEATS, HOUR_US, SECOND_US, STREAMS, Variant, project};
use crate::stored::{history, stored, without_checkpoints};
use crate::trace::Trace;

/// The entities that events are of, and one that none is of.
const ENTITIES: i64 = 5;
const HORIZON_US: i64 = 10 * SECOND_US;
const NO_FAILURE: u64 = 1 << 60;

/// What a producer was told, with the batch that it sent.
type Answers = Arc<Mutex<Vec<(usize, Result<Receipt, IngestError>)>>>;

/// How a life goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    /// The process is of no more use.
    End,
}

/// What another writer has done that took over.
struct Successor {
    answers: Vec<(usize, Result<Receipt, IngestError>)>,
    next_offsets: Vec<u64>,
}

pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) trace: Trace,
    chance: Chance,
    data: PathBuf,
    clock: Arc<AtomicI64>,
    variant: Variant,
    settings: StorageSettings,
    state_bytes_max: usize,
    /// What the state held last.
    held_bytes: usize,
    producers: Producers,
    model: Model,
    /// The arrival time given out last.
    arrived_us: i64,
    hook: Hook,
    /// Whether something was made to fail in this life, so that errors are no surprise.
    is_faulty: bool,
    /// Whether that may break a log: a disk that is only full must not.
    is_breakable: bool,
    is_full: bool,
    answers: Answers,
}

impl World {
    pub(crate) fn new(seed: u64, is_told: bool) -> World {
        let mut chance = Chance::new(seed);
        let segment_bytes = [1, 76 << 10, 90 << 10, 400 << 10][chance.below(4) as usize];
        let keys_in_memory_max = [2, 20, 1_000_000][chance.below(3) as usize];
        let waiting_bytes_max = if chance.one_in(4) { 30_000 } else { 64 << 20 };
        World {
            disk: SimulatedDisk::new(seed),
            trace: Trace::new(is_told),
            data: PathBuf::from("/data"),
            // Some seconds before a full hour.
            clock: Arc::new(AtomicI64::new(472_222 * HOUR_US - 30 * SECOND_US)),
            variant: Variant { is_changed: false, is_bounded: chance.one_in(2) },
            settings: StorageSettings {
                segment_bytes,
                checkpoint_every: Duration::MAX,
                waiting_bytes_max,
                keys_in_memory_max,
            },
            state_bytes_max: usize::MAX,
            held_bytes: 0,
            producers: Producers::default(),
            model: Model::default(),
            arrived_us: i64::MIN,
            hook: Hook::default(),
            is_faulty: false,
            is_breakable: false,
            is_full: false,
            answers: Answers::default(),
            chance,
        }
    }

    /// Some lives, and a last one in which all is acknowledged and compared.
    pub(crate) fn run(&mut self) -> Checked<()> {
        for life in 0..2 + self.chance.below(4) {
            self.trace.add(|| format!("life {life}"));
            self.prepare_life();
            let steps = 4 + self.chance.below(24);
            self.live(steps)?;
        }
        self.trace.add(|| "the last lives".to_owned());
        self.settle()?;
        self.power_cut();
        self.begin_whole();
        self.last_look()
    }

    /// Faults that strike while state is recovered, or at any operation later; a changed definition.
    fn prepare_life(&mut self) {
        self.begin_whole();
        if self.chance.one_in(4) {
            self.crash_soon(120);
        } else if self.chance.one_in(10) {
            self.fail_sync_soon();
        }
        if self.chance.one_in(6) {
            self.state_bytes_max = self.held_bytes + self.chance.below(20_000) as usize;
            let limit = self.state_bytes_max;
            self.trace.add(|| format!("the state may hold {limit}"));
        }
        if self.chance.one_in(5) {
            self.variant.is_changed = !self.variant.is_changed;
            self.trace.add(|| "the definitions are changed".to_owned());
        }
    }

    fn begin_whole(&mut self) {
        self.state_bytes_max = usize::MAX;
        self.is_faulty = false;
        self.is_breakable = false;
        self.is_full = false;
        self.disk.set_room(u64::MAX);
        self.disk.fail_sync(NO_FAILURE);
        self.disk.crash_at(u64::MAX);
    }

    fn crash_soon(&mut self, operations: u64) {
        (self.is_faulty, self.is_breakable) = (true, true);
        let point = self.disk.operations() + self.chance.below(operations);
        self.trace.add(|| format!("a power cut at operation {point}"));
        self.disk.crash_at(point);
    }

    fn fail_sync_soon(&mut self) {
        (self.is_faulty, self.is_breakable) = (true, true);
        let nth = 1 + self.chance.below(6);
        self.trace.add(|| format!("sync {nth} from here fails"));
        self.disk.fail_sync(nth);
    }

    /// One process from its start to its end.
    fn live(&mut self, steps: u64) -> Checked<()> {
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

    fn open(&self, how: TakeOver) -> Checked<Engine> {
        let disk = Arc::new(HookedDisk { disk: self.disk.shared(), hook: self.hook.clone() });
        open(disk, &self.data, how, self.settings, &self.opening())
    }

    fn opening(&self) -> Opening {
        Opening { variant: self.variant, clock: self.clock.clone(), state_bytes_max: self.state_bytes_max }
    }

    fn failed_start(&mut self, error: &str) -> Checked<()> {
        self.trace.add(|| format!("no start: {error}"));
        let is_too_large = self.state_bytes_max < usize::MAX && error.contains("more than its limit");
        if !self.is_faulty && !is_too_large {
            return Err(format!("the pipeline does not start: {error}"));
        }
        self.end_of_life();
        Ok(())
    }

    /// A kill, or what the power cut that struck has left.
    fn end_of_life(&mut self) {
        let is_down = self.disk.list(Path::new("/")).is_err();
        if is_down || self.chance.one_in(2) {
            self.power_cut();
        } else {
            self.trace.add(|| "kill".to_owned());
            self.disk.kill();
            self.producers.nothing_is_sent();
        }
    }

    fn power_cut(&mut self) {
        self.trace.add(|| "power cut".to_owned());
        self.disk.crash();
        self.model.power_cut();
        self.producers.nothing_is_sent();
    }

    fn end(&mut self, engine: &Engine, job: Steps<'_>) -> Checked<()> {
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

    fn now_us(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn step(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Go> {
        let go = match self.chance.below(32) {
            0..=9 => self.submit(engine),
            10..=18 => self.commit(engine, job)?,
            19..=22 => self.checkpoint(job)?,
            23 | 24 => self.keep_history(job)?,
            25 | 26 => self.let_time_pass(),
            27 | 28 => self.read(engine)?,
            29 => self.begin_fault(),
            30 if !self.is_faulty && self.state_bytes_max == usize::MAX && self.chance.one_in(2) => {
                self.take_over(engine, job)?
            }
            30 if self.chance.one_in(2) => self.maintain(engine)?,
            31 => self.spill_keys(job)?,
            _ => self.resend(engine),
        };
        self.same_position(engine)?;
        Ok(go)
    }

    fn begin_fault(&mut self) -> Go {
        match self.chance.below(4) {
            0 => self.crash_soon(60),
            1 => self.fail_sync_soon(),
            2 if self.is_full => {
                self.trace.add(|| "there is room again".to_owned());
                self.disk.set_room(u64::MAX);
                self.is_full = false;
            }
            2 | 3 => {
                let used = self.used_bytes();
                let room = used + self.chance.below(60_000);
                self.trace.add(|| format!("the disk is full at {room}"));
                self.disk.set_room(room);
                self.is_full = true;
                self.is_faulty = true;
            }
            _ => unreachable!("there are four faults"),
        }
        Go::On
    }

    fn used_bytes(&self) -> u64 {
        let bytes = |path: &PathBuf| self.disk.open(path).and_then(|file| file.bytes()).unwrap_or(0);
        self.disk.files().iter().map(bytes).sum()
    }

    fn let_time_pass(&mut self) -> Go {
        let by_us = if self.chance.one_in(4) {
            self.chance.between(-6 * SECOND_US, -1)
        } else {
            self.chance.between(1, if self.variant.is_bounded { 60 } else { 15 } * SECOND_US)
        };
        self.clock.fetch_add(by_us, Ordering::Relaxed);
        self.trace.add(|| format!("time passes: {by_us}"));
        Go::On
    }

    /// New batches, or old ones that nobody acknowledged.
    fn submit(&mut self, engine: &Engine) -> Go {
        for _ in 0..1 + self.chance.below(4) {
            let unsent = self.producers.unsent();
            let batch = if !unsent.is_empty() && self.chance.one_in(2) {
                unsent[self.chance.below(unsent.len() as u64) as usize]
            } else {
                let stream = self.chance.below(STREAMS as u64) as usize;
                let now_us = self.now_us();
                self.producers.make(&mut self.chance, stream, now_us)
            };
            self.send(engine, batch);
        }
        Go::On
    }

    /// A batch that was acknowledged before: its producer did not hear it.
    fn resend(&mut self, engine: &Engine) -> Go {
        let batches = self.producers.batches.len() as u64;
        if batches > 0 {
            let batch = self.chance.below(batches) as usize;
            if !self.producers.batches[batch].is_sent {
                self.send(engine, batch);
            }
        }
        Go::On
    }

    fn send(&mut self, engine: &Engine, batch: usize) {
        let answers = self.answers.clone();
        let answer = Box::new(move |told| answers.lock().expect("one thread").push((batch, told)));
        let submission = self.producers.batches[batch].submission(engine.project(), self.now_us(), answer);
        match engine.intake().submit(submission) {
            Ok(()) => {
                self.producers.batches[batch].is_sent = true;
                self.trace.add(|| format!("batch {batch} is sent"));
            }
            Err((_, error)) => self.trace.add(|| format!("batch {batch} is turned away: {error}")),
        }
    }

    fn commit(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Go> {
        let before_us = self.now_us();
        let committed = job.commit();
        self.take_answers(before_us)?;
        self.trace.add(|| format!("commit: {}", outcome(&committed)));
        self.same_position(engine)?;
        self.ended(committed.err().map(|error| error.to_string()))
    }

    /// An error is expected only where something was made to fail; it ends the process.
    fn ended(&self, error: Option<String>) -> Checked<Go> {
        match error {
            None => Ok(Go::On),
            Some(_) if self.is_faulty => Ok(Go::End),
            Some(error) => Err(format!("a step failed though nothing was made to fail: {error}")),
        }
    }

    /// What the producers of a commit were told, against the model.
    fn take_answers(&mut self, now_us: i64) -> Checked<()> {
        let answers = std::mem::take(&mut *self.answers.lock().expect("one thread"));
        if answers.is_empty() {
            // Nobody was told: the rows that waited may be in the log.
            self.sent_are_unsure();
            return Ok(());
        }
        // Every group has an arrival time of its own; a batch that was a repeat takes none.
        self.arrived_us = now_us.max(self.arrived_us.saturating_add(1));
        for (batch, told) in answers {
            self.trace.add(|| format!("batch {batch}: {told:?}"));
            self.told(batch, told)?;
        }
        self.sent_are_unsure();
        Ok(())
    }

    fn sent_are_unsure(&mut self) {
        for batch in self.producers.batches.iter().filter(|batch| batch.is_sent && self.is_faulty) {
            self.model.streams[batch.stream].unsure.extend(batch.events.iter().map(|event| event.serial));
        }
    }

    fn told(&mut self, place: usize, told: Result<Receipt, IngestError>) -> Checked<()> {
        let batch = &mut self.producers.batches[place];
        batch.is_sent = false;
        let stream = &mut self.model.streams[batch.stream];
        let receipt = match told {
            Ok(receipt) => receipt,
            Err(
                IngestError::DiskFull { .. }
                | IngestError::StateFull { .. }
                | IngestError::KeysFull { .. }
                | IngestError::NotNow { .. },
            ) => {
                return Ok(());
            }
            Err(IngestError::Broken { .. } | IngestError::TakenOver) if self.is_breakable => {
                stream.unsure.extend(batch.events.iter().map(|event| event.serial));
                return Ok(());
            }
            Err(error) => return Err(format!("batch {place} was refused: {error}")),
        };
        batch.is_acknowledged = true;
        let known = batch.name.as_ref().and_then(|name| stream.named.get(name));
        match (receipt.is_repeat, known) {
            (false, None) => stream.acknowledge(batch, self.arrived_us, &receipt),
            (true, Some(known)) if *known == counts(&receipt) => Ok(()),
            // What a power cut left of them is not known here.
            (true, None) if batch.stream == BEATS => Ok(()),
            _ => Err(format!("batch {place} was answered {receipt:?}, known was {known:?}")),
        }
    }

    fn checkpoint(&mut self, job: &mut Steps<'_>) -> Checked<Go> {
        let steps = 1 + self.chance.below(500);
        for _ in 0..steps {
            match job.checkpoint() {
                Ok(true) => {}
                Ok(false) => {
                    self.trace.add(|| "a checkpoint is complete".to_owned());
                    break;
                }
                Err(error) if self.is_faulty => {
                    self.trace.add(|| format!("a checkpoint failed: {error}"));
                    break;
                }
                Err(error) => return Err(format!("a checkpoint failed: {error}")),
            }
        }
        self.trace.add(|| format!("{steps} steps of a checkpoint"));
        Ok(Go::On)
    }

    fn keep_history(&mut self, job: &Steps<'_>) -> Checked<Go> {
        let kept = job.keep_history();
        self.trace.add(|| format!("history: {}", outcome(&kept)));
        match kept {
            Err(error) if !self.is_faulty => Err(format!("the history was not kept: {error}")),
            _ => Ok(Go::On),
        }
    }

    fn spill_keys(&mut self, job: &Steps<'_>) -> Checked<Go> {
        let spilled = job.spill_keys();
        self.trace.add(|| format!("keys: {}", outcome(&spilled)));
        match spilled {
            Err(error) if !self.is_faulty => Err(format!("keys were not written: {error}")),
            _ => Ok(Go::On),
        }
    }

    fn maintain(&mut self, engine: &Engine) -> Checked<Go> {
        let maintained = engine.maintain();
        self.ended(maintained.err().map(|error| error.to_string()))
    }

    /// What reads see is what was acknowledged, neither less nor more.
    fn same_position(&self, engine: &Engine) -> Checked<()> {
        let published = engine.published();
        for (place, (position, model)) in published.streams.iter().zip(&self.model.streams).enumerate() {
            if position.next_offsets != [model.next_offset] {
                let (found, expected) = (&position.next_offsets, model.next_offset);
                return Err(format!("reads of stream {place} stand at {found:?}, acknowledged was up to {expected}"));
            }
            let (rows, used) = (position.accounting.total(), position.accounting.used);
            if rows != model.next_offset || used != model.used.len() as u64 && place != BEATS {
                return Err(format!("stream {place} counts {rows} rows, {used} used, at {}", model.next_offset));
            }
        }
        Ok(())
    }

    fn read(&mut self, engine: &Engine) -> Checked<Go> {
        let back_us = self.chance.between(0, 5 * SECOND_US);
        self.compare(engine, back_us)?;
        Ok(Go::On)
    }

    /// All features of all entities, against the model.
    fn compare(&mut self, engine: &Engine, back_us: i64) -> Checked<()> {
        let reading = engine.reading();
        if reading.published().newest_us.is_none() {
            return Ok(());
        }
        let as_of_us = reading.now_us() - back_us;
        for view in 0..engine.project().views.len() {
            let answers = answers(engine, view, as_of_us)?;
            for (entity, found) in answers.iter().enumerate() {
                let expected = self.model.features(view, self.variant, entity as i64, as_of_us);
                if found[..expected.len()] != expected {
                    let name = &engine.project().views[view].name;
                    return Err(format!("`{name}` of {entity} as of {as_of_us}: {found:?}, expected {expected:?}"));
                }
            }
            self.trace.add(|| format!("read {view}: {answers:?}"));
        }
        Ok(())
    }

    /// After a start: what is on disk is what was seen and promised, and state is what is on disk.
    fn recovered(&mut self, engine: &Engine) -> Checked<()> {
        self.trace.add(|| format!("recovered at {:?}", engine.published()));
        for place in 0..STREAMS {
            let stored = stored(&self.disk, &self.data, &engine.project().streams[place], &self.producers);
            // The disk may have gone down by now.
            let stored = match stored {
                Err(_) if self.disk.list(Path::new("/")).is_err() => return Ok(()),
                stored => stored?,
            };
            let model = &mut self.model.streams[place];
            let mut serials: Vec<i64> = stored.used.iter().map(|(_, event)| event.serial).collect();
            serials.sort_unstable();
            if let Some(twice) = serials.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(format!("stream {place}: event {} is used twice", twice[0]));
            }
            let is_known = |serial: &i64| serials.binary_search(serial).is_ok();
            let mut lost =
                model.used.iter().filter(|(_, event)| !model.unsure.contains(&event.serial) || place != BEATS);
            if let Some((offset, event)) = lost.find(|(offset, event)| {
                let is_there =
                    stored.used.binary_search_by_key(offset, |used| used.0).is_ok_and(|at| stored.used[at].1 == *event);
                let may_be_gone = place == BEATS && *offset < stored.offsets.start && model.may_be_dropped(event);
                !is_there && !may_be_gone
            }) {
                return Err(format!("stream {place}: event {} at {offset} was seen and is gone", event.serial));
            }
            if let Some(lost) = model.promised.iter().find(|serial| !is_known(serial) && place != BEATS) {
                return Err(format!("stream {place}: event {lost} was acknowledged and is gone"));
            }
            let was_used: std::collections::BTreeSet<i64> = model.used.iter().map(|(_, event)| event.serial).collect();
            let is_explained = |serial: &&i64| {
                was_used.contains(*serial) || model.unsure.contains(*serial) || model.promised.contains(*serial)
            };
            if let Some(surprise) = serials.iter().find(|serial| !is_explained(serial)) {
                return Err(format!("stream {place}: event {surprise} was refused, and is in the log"));
            }
            let read = history(&self.disk, &self.data, &engine.project().streams[place], &self.producers)?;
            let from = read.partition_point(|(offset, _)| *offset < stored.offsets.start);
            if read[from..] != stored.used[..] {
                return Err(format!("stream {place}: the history is not what the log has"));
            }
            for (letter, count) in &model.letters {
                if stored.offsets.start == 0 && stored.letters.get(letter).is_none_or(|found| found < count) {
                    return Err(format!("stream {place}: the dead letter {letter:?} is not there {count} times"));
                }
            }
            model.letters = stored.letters;
            model.named.extend(stored.named);
            model.recover(stored.used, stored.offsets);
        }
        self.same_position(engine)?;
        self.compare(engine, 0)
    }

    /// Another writer takes over in the middle of a commit of this one.
    fn take_over(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<Go> {
        (self.is_faulty, self.is_breakable) = (true, true);
        let operations = self.chance.below(24);
        self.trace.add(|| format!("another writer takes over after {operations} operations"));
        let now_us = self.now_us();
        let sent: Vec<usize> = (0..2).map(|stream| self.producers.make(&mut self.chance, stream, now_us)).collect();
        let batches: Vec<_> = sent.iter().map(|place| (*place, self.producers.batches[*place].clone())).collect();
        let slot: Arc<Mutex<Option<Checked<Successor>>>> = Arc::default();
        let (disk, data, settings, opening) = (self.disk.shared(), self.data.clone(), self.settings, self.opening());
        let result = slot.clone();
        let succeed = move || {
            let done = succeed(disk, &data, settings, &opening, batches);
            *result.lock().expect("one thread") = Some(done);
        };
        self.hook.arm(operations, Box::new(succeed));
        self.submit(engine);
        let before_us = self.now_us();
        let committed = job.commit();
        self.take_answers(before_us)?;
        self.trace.add(|| format!("commit of the old one: {}", outcome(&committed)));
        let was_late = self.hook.fire();
        self.same_position(engine)?;
        // One that has noticed ends at once.
        if committed.is_ok() {
            self.old_writer_goes_on(engine, job)?;
        }
        let successor = slot.lock().expect("one thread").take().expect("it was fired")?;
        self.trace
            .add(|| format!("the new one, late {was_late}: {:?}, {:?}", successor.answers, successor.next_offsets));
        for (place, told) in successor.answers {
            let receipt = told.map_err(|error| format!("the new writer refused batch {place}: {error}"))?;
            let batch = &mut self.producers.batches[place];
            batch.is_acknowledged = true;
            // A repeat does not say again which rows were refused.
            if !receipt.is_repeat {
                let refused: Vec<u64> = receipt.refused.iter().map(|row| row.row).collect();
                let rows = batch.events.iter().enumerate().filter(|(row, _)| !refused.contains(&(*row as u64)));
                self.model.streams[batch.stream].promised.extend(rows.map(|(_, event)| event.serial));
            }
            self.model.streams[batch.stream].unsure.extend(batch.events.iter().map(|event| event.serial));
        }
        Ok(Go::End)
    }

    /// The old writer has not noticed yet: it may harm nothing, and acknowledge nothing new.
    fn old_writer_goes_on(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Checked<()> {
        for _ in 0..self.chance.below(400) {
            if let Err(error) = job.checkpoint() {
                self.trace.add(|| format!("checkpoint of the old one: {error}"));
                break;
            }
        }
        self.submit(engine);
        let committed = job.commit();
        let answers = std::mem::take(&mut *self.answers.lock().expect("one thread"));
        for (batch, told) in answers {
            let sent = &mut self.producers.batches[batch];
            sent.is_sent = false;
            self.model.streams[sent.stream].unsure.extend(sent.events.iter().map(|event| event.serial));
            if told.as_ref().is_ok_and(|receipt| !receipt.is_repeat) {
                return Err(format!("the old writer acknowledged batch {batch}: {told:?}"));
            }
        }
        self.trace.add(|| format!("the old one again: {}", outcome(&committed)));
        self.sent_are_unsure();
        self.same_position(engine)
    }

    /// Lives without faults until every batch is acknowledged.
    fn settle(&mut self) -> Checked<()> {
        self.begin_whole();
        let engine = self.open(TakeOver::Refuse)?;
        let mut job = Steps::recover(&engine).map_err(|error| format!("the last start: {error}"))?;
        self.recovered(&engine)?;
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
    fn last_look(&mut self) -> Checked<()> {
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
struct Opening {
    variant: Variant,
    clock: Arc<AtomicI64>,
    state_bytes_max: usize,
}

fn open(disk: Arc<dyn Disk>, data: &Path, how: TakeOver, settings: StorageSettings, with: &Opening) -> Checked<Engine> {
    let storage = Storage::open(disk, data, how, settings).map_err(|error| error.to_string())?;
    let clock = with.clock.clone();
    let wall_clock: WallClock = Arc::new(move || clock.load(Ordering::Relaxed));
    let engine_settings =
        EngineSettings { clock: Clock::Event, as_of_horizon_us: HORIZON_US, state_bytes_max: with.state_bytes_max };
    Engine::with_storage(project(with.variant), engine_settings, wall_clock, Some(storage))
        .map_err(|error| error.to_string())
}

/// The whole life of the writer that takes over while the old one still lives.
fn succeed(
    disk: Arc<dyn Disk>,
    data: &Path,
    settings: StorageSettings,
    opening: &Opening,
    batches: Vec<(usize, crate::producers::Batch)>,
) -> Checked<Successor> {
    let engine = open(disk, data, TakeOver::TakeOver, settings, opening)?;
    let mut job = Steps::recover(&engine).map_err(|error| format!("the new writer: {error}"))?;
    let answers = Answers::default();
    for (place, batch) in batches {
        let told = answers.clone();
        let answer = Box::new(move |outcome| told.lock().expect("one thread").push((place, outcome)));
        let submission = batch.submission(engine.project(), opening.clock.load(Ordering::Relaxed), answer);
        engine.intake().submit(submission).map_err(|(_, error)| format!("the new writer: {error}"))?;
    }
    job.commit().map_err(|error| format!("the new writer: {error}"))?;
    let answers = std::mem::take(&mut *answers.lock().expect("one thread"));
    let next_offsets = engine.published().streams.iter().map(|stream| stream.next_offsets[0]).collect();
    Ok(Successor { answers, next_offsets })
}

/// All features of a view as text, entity by entity.
fn answers(engine: &Engine, view: usize, as_of_us: i64) -> Checked<Vec<Vec<String>>> {
    let key: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..ENTITIES))];
    let answers = engine.reading().view(view, &key, ENTITIES as usize, as_of_us).map_err(|error| error.to_string())?;
    let text = |array: &ArrayRef, row: usize| match array.is_null(row) {
        true => "NULL".to_owned(),
        // The shortest text of a double that reads back as the same one.
        false => array_value_to_string(array, row).expect("a value has a text"),
    };
    let row = |row: usize| answers.features.iter().map(|array| text(array, row)).collect();
    Ok((0..ENTITIES as usize).map(row).collect())
}

/// Features, counts and reasons of two engines are the same.
fn same_state(one: &Engine, other: &Engine) -> Checked<()> {
    let as_of_us = one.reading().now_us();
    for view in 0..one.project().views.len() {
        if one.published().newest_us.is_some() {
            let (found, expected) = (answers(one, view, as_of_us)?, answers(other, view, as_of_us)?);
            if found != expected {
                return Err(format!("view {view} after a checkpoint: {found:?}, from the log alone {expected:?}"));
            }
        }
        let (found, expected) = (one.view_statistics(view).set_aside, other.view_statistics(view).set_aside);
        if found != expected {
            return Err(format!("view {view} set aside {found}, from the log alone {expected}"));
        }
    }
    for stream in 0..STREAMS {
        let (mut found, mut expected) = (one.stream_statistics(stream), other.stream_statistics(stream));
        found.reasons.sort_by(|one, other| one.name.cmp(&other.name));
        expected.reasons.sort_by(|one, other| one.name.cmp(&other.name));
        if (&found.position.accounting, &found.reasons) != (&expected.position.accounting, &expected.reasons)
            || found.position.newest_us != expected.position.newest_us
        {
            return Err(format!("stream {stream} after a checkpoint: {found:?}, from the log alone {expected:?}"));
        }
    }
    Ok(())
}

fn outcome<T, E: std::fmt::Display>(result: &Result<T, E>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string(),
    }
}
