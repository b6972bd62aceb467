//! Primary keys of used events beyond the judge's memory: on their way to the disk, and there.
//!
//! ```text
//!   judge's table ── full, or a checkpoint is cut: detach, O(1) ─▶ waiting ── spill (not the writer's thread) ─▶ run
//!         │                                                         │                                          │
//!         └──────────── every arrival asks all three, so that no key is ever out of sight ──────────────────────┘
//! ```
//! Rules kept here:
//! - one table waits at a time. While it does the judge may fill another; then producers are refused
//!   ([`IngestError::KeysFull`]), so that memory is bounded whatever the disk does;
//! - a checkpoint detaches all keys: what it names are the runs of then and the one made of that table, and nothing that
//!   was used later. A run with later keys would make a duplicate of an event that a crash takes out of the log;
//! - the writer waits for a lookup's reads, and for no write;
//! - keys of other columns than the PRIMARY KEY has now are never compared with its keys: their runs are left out, and the log
//!   is asked for the keys of the events that it still has (`recovery.rs`).

use std::sync::{Arc, OnceLock};

use asof_connect::folder_name;
use asof_feature::StreamPlan;
use asof_state::{KeyEntry, KeyRuns, Manifest, NewRun, StateError, WrittenRun};
use asof_window::{DetachedKeys, Judge, KeyHash};

use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::storage::Storage;
use crate::stream_image::StreamImage;
use crate::submission::IngestError;
use crate::writer::Writer;

/// The partition of the log, which has the keys of all partitions of a feed.
const PARTITION: u32 = 0;

/// The keys of one stream that its judge does not hold.
#[derive(Debug)]
pub(crate) struct KeyMemory {
    runs: KeyRuns,
    /// As many as the judge may hold.
    keys_max: usize,
    waiting: Option<Waiting>,
}

/// A table on its way to the disk.
#[derive(Debug)]
pub(crate) struct Waiting {
    keys: Arc<DetachedKeys>,
    run: RunName,
}

/// The name of the run that a table becomes, once it is durable; `None` if no key was needed any more.
type RunName = Arc<OnceLock<Option<String>>>;

/// What is to be written.
pub(crate) struct Spill {
    keys: Arc<DetachedKeys>,
    run: NewRun,
    needed_from_us: i64,
}

/// The keys of a stream at the cut of a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct KeysAtCut {
    runs: Vec<String>,
    /// Keys that were in memory.
    detached: Option<RunName>,
}

impl KeysAtCut {
    /// The names of the runs that hold the keys; `None` while some have not been written yet.
    pub(crate) fn run_names(&self) -> Option<Vec<String>> {
        let mut names = self.runs.clone();
        if let Some(run) = &self.detached {
            names.extend(run.get()?.clone());
        }
        Some(names)
    }
}

impl KeyMemory {
    /// Opens the runs that a checkpoint names for a stream.
    pub(crate) fn open(storage: &Storage, stream: &str, names: &[String]) -> Result<KeyMemory, StateError> {
        let folder = storage.folder().join("keys").join(folder_name(stream)).join(PARTITION.to_string());
        let runs = KeyRuns::open(storage.disk().clone(), &folder, names)?.of_generation(storage.generation());
        Ok(KeyMemory { runs, keys_max: storage.settings().keys_in_memory_max.max(1), waiting: None })
    }

    /// Makes room for more keys in the judge. False: it is full, and the keys before those still wait for the disk.
    fn make_room(&mut self, judge: &mut Judge) -> bool {
        judge.keys() < self.keys_max || self.detach(judge)
    }

    /// Takes all keys from the judge. False: others still wait.
    fn detach(&mut self, judge: &mut Judge) -> bool {
        if self.waiting.is_some() {
            return false;
        }
        let keys = judge.detach_keys();
        if !keys.is_empty() {
            self.waiting = Some(Waiting { keys: Arc::new(keys), run: RunName::default() });
        }
        true
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_none() && self.runs.is_empty()
    }

    /// Of these keys, the times of used events that have left the judge, as (number of the key, time), in that order.
    fn used_before(&self, keys: &[KeyHash]) -> Result<Vec<(usize, i64)>, StateError> {
        let mut found = Vec::new();
        if !self.runs.is_empty() {
            let hashes: Vec<u128> = keys.iter().map(|key| key.0).collect();
            found = self.runs.look_up(&hashes)?;
        }
        if let Some(waiting) = &self.waiting {
            for (number, key) in keys.iter().enumerate() {
                found.extend(waiting.keys.times_of(*key).map(|time_us| (number, time_us)));
            }
            found.sort_unstable();
            found.dedup();
        }
        Ok(found)
    }

    /// What waits to be written, without the keys that nobody needs.
    fn begin_spill(&mut self, needed_from_us: Option<i64>) -> Option<Spill> {
        let keys = self.waiting.as_ref()?.keys.clone();
        Some(Spill { keys, run: self.runs.begin_run(), needed_from_us: needed_from_us.unwrap_or(i64::MIN) })
    }

    /// What waited is durable. Gives it back, to be dropped where nobody waits for that.
    fn join(&mut self, written: WrittenRun) -> Option<Waiting> {
        let waiting = self.waiting.take()?;
        waiting.run.get_or_init(|| written.name().map(str::to_owned));
        self.runs.join(written);
        Some(waiting)
    }

    /// Takes all keys from the judge for a checkpoint; nothing waits.
    fn cut(&mut self, judge: &mut Judge) -> KeysAtCut {
        let was_free = self.detach(judge);
        debug_assert!(was_free, "a cut begins when nothing waits");
        KeysAtCut { runs: self.runs.names(), detached: self.waiting.as_ref().map(|waiting| waiting.run.clone()) }
    }

    /// Bytes of memory held.
    fn memory_bytes(&self) -> usize {
        self.runs.memory_bytes() + self.waiting.as_ref().map_or(0, |waiting| waiting.keys.memory_bytes())
    }
}

impl Spill {
    fn write(self) -> Result<WrittenRun, StateError> {
        let entries = self.keys.in_order(self.needed_from_us);
        let entries = entries.map(|(key, time_us)| KeyEntry { hash: key.0, time_us });
        self.run.write(self.keys.len() as u64, entries)
    }
}

impl Writer {
    /// Makes room for the keys of a stream's next batch.
    pub(crate) fn make_room_for_keys(&mut self, stream: usize) -> Result<(), IngestError> {
        let Some(keys) = &mut self.keys[stream] else { return Ok(()) };
        let judge = self.sources[stream].judge_mut();
        if keys.make_room(judge) {
            return Ok(());
        }
        let stream = self.sources[stream].plan().stream().name.clone();
        Err(IngestError::KeysFull { stream, keys_max: keys.keys_max })
    }

    /// Of rows with these primary keys, the times of used events that have left the judge; ascending by row.
    pub(crate) fn keys_used_before(
        &self,
        stream: usize,
        rows: usize,
        primary_keys: Option<&arrow::row::Rows>,
        fed: Option<&[u32]>,
    ) -> Result<Vec<(usize, i64)>, StateError> {
        let Some(keys) = self.keys[stream].as_ref().filter(|keys| !keys.is_empty()) else { return Ok(Vec::new()) };
        let plan = self.sources[stream].plan();
        let hash = |row: usize| {
            let partition = match fed {
                Some(fed) => fed[row],
                None => self.sources[stream].partition_unfed(),
            };
            plan.key_hash(primary_keys, row, partition).expect("keys are kept for streams that have them")
        };
        keys.used_before(&(0..rows).map(hash).collect::<Vec<KeyHash>>())
    }

    /// At a recovery, where nobody waits for the writer: a full judge's keys go to the disk at once. If that is full they
    /// stay, since a start must not need room.
    pub(crate) fn spill_recalled(&mut self, stream: usize) -> Result<(), StateError> {
        let Some(keys) = &mut self.keys[stream] else { return Ok(()) };
        let judge = self.sources[stream].judge_mut();
        if judge.keys() < keys.keys_max {
            return Ok(());
        }
        let is_first_try = keys.make_room(judge);
        let Some(spill) = keys.begin_spill(judge.all_keys_needed_from_us()) else { return Ok(()) };
        match spill.write() {
            Ok(written) => drop(keys.join(written)),
            Err(error) if error.is_full() && is_first_try => {
                tracing::warn!(%error, "primary keys stay in memory until there is room on disk");
            }
            Err(error) if error.is_full() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether keys of some stream wait for the disk.
    pub(crate) fn keys_wait(&self) -> bool {
        self.keys.iter().flatten().any(|keys| keys.waiting.is_some())
    }

    /// Takes a stream's keys from the judge for a checkpoint.
    pub(crate) fn cut_keys(&mut self, stream: usize) -> KeysAtCut {
        let judge = self.sources[stream].judge_mut();
        self.keys[stream].as_mut().map_or_else(KeysAtCut::default, |keys| keys.cut(judge))
    }

    /// Bytes of memory that keys of used events take, and rows held for late versions.
    pub(crate) fn keys_memory_bytes(&self) -> usize {
        let sources = self.sources.iter().map(|source| source.memory_bytes());
        sources.sum::<usize>() + self.keys.iter().flatten().map(KeyMemory::memory_bytes).sum::<usize>()
    }
}

impl Engine {
    /// Opens the keys beyond memory of all streams that have any, as the checkpoint names them.
    pub(crate) fn open_keys(&self, writer: &mut Writer, restored: Option<&Manifest>) -> Result<(), PipelineError> {
        for (place, stream) in self.sources().iter().enumerate() {
            if self.keeps_keys(writer, place) {
                let storage = self.storage().expect("a log is open only where there is a data folder");
                let plan = writer.sources[place].plan();
                let names = restored.map_or_else(Vec::new, |manifest| usable_run_names(manifest, plan));
                writer.keys[place] = Some(KeyMemory::open(storage, &stream.name, &names)?);
            }
        }
        Ok(())
    }

    /// Whether the runs that a checkpoint names can be used.
    pub(crate) fn can_open_keys(&self, writer: &Writer, manifest: &Manifest) -> bool {
        let storage = self.storage().expect("a checkpoint is in a data folder");
        let mut streams = self.sources().iter().enumerate();
        streams.all(|(place, stream)| {
            let names = usable_run_names(manifest, writer.sources[place].plan());
            let opened = self.keeps_keys(writer, place).then(|| KeyMemory::open(storage, &stream.name, &names));
            let error = opened.and_then(Result::err);
            if let Some(error) = &error {
                tracing::warn!(%error, "a checkpoint's keys cannot be read, and an earlier one is used");
            }
            error.is_none()
        })
    }

    fn keeps_keys(&self, writer: &Writer, stream: usize) -> bool {
        writer.logs[stream].is_some() && writer.sources[stream].plan().deduplicates()
    }

    /// Writes the keys that wait. Threads that do so at a time do it one after the other.
    pub(crate) fn spill_keys(&self) -> Result<(), PipelineError> {
        let _one_at_a_time = lock(self.spilling());
        for stream in 0..self.sources().len() {
            let Some(spill) = self.begin_spill(stream) else { continue };
            let written = spill.write()?;
            let waited = lock(self.writer()).keys[stream].as_mut().and_then(|keys| keys.join(written));
            // Millions of keys take milliseconds to drop: not while the writer waits.
            drop(waited);
        }
        Ok(())
    }

    fn begin_spill(&self, stream: usize) -> Option<Spill> {
        let mut writer = lock(self.writer());
        let needed_from_us = writer.sources[stream].judge().all_keys_needed_from_us();
        writer.keys[stream].as_mut()?.begin_spill(needed_from_us)
    }

    /// After a checkpoint: lets go of runs that nobody needs, and merges those that have become too many.
    pub(crate) fn tidy_keys(&self, kept: &[Manifest]) -> Result<(), PipelineError> {
        // Who was taken over does not know which runs the other one needs.
        self.storage().expect("checkpoints are taken where there is a data folder").check()?;
        for (place, stream) in self.sources().iter().enumerate() {
            let named: Vec<String> = kept.iter().flat_map(|manifest| run_names(manifest, &stream.name)).collect();
            self.tidy_keys_of(place, &named)?;
        }
        Ok(())
    }

    fn tidy_keys_of(&self, stream: usize, named: &[String]) -> Result<(), PipelineError> {
        let Some(files) = lock(self.writer()).keys[stream].as_ref().map(|keys| keys.runs.files()) else {
            return Ok(());
        };
        // Listed before it is asked which are in use: one that is begun in between is not in the list.
        let listed = files.list()?;
        let (unused, merge) = {
            let mut writer = lock(self.writer());
            let needed_from_us = writer.sources[stream].judge().all_keys_needed_from_us();
            let keys = writer.keys[stream].as_mut().expect("it was there before");
            keys.runs.forget(needed_from_us.unwrap_or(i64::MIN));
            (keys.runs.unused(&listed, named), keys.runs.begin_merge())
        };
        files.remove(&unused)?;
        if let Some(merge) = merge {
            let merged = merge.run()?;
            let replaced = merged.replaced();
            if let Some(keys) = &mut lock(self.writer()).keys[stream] {
                keys.runs.adopt(merged);
            }
            drop(replaced);
        }
        Ok(())
    }
}

/// The runs that a checkpoint names for a stream.
fn run_names(manifest: &Manifest, stream: &str) -> Vec<String> {
    image_of(manifest, stream).map_or_else(Vec::new, |image| image.key_runs)
}

/// Those with keys of the columns that are its key now.
fn usable_run_names(manifest: &Manifest, plan: &StreamPlan) -> Vec<String> {
    let image = image_of(manifest, &plan.stream().name).filter(|image| image.has_key_columns_of(plan));
    image.map_or_else(Vec::new, |image| image.key_runs)
}

fn image_of(manifest: &Manifest, stream: &str) -> Option<StreamImage> {
    let about = manifest.about.streams.iter().find(|about| about.name == stream)?;
    StreamImage::read(&about.image)
}
