//! Primary keys of used events that no longer fit in memory: runs of sorted entries, each an immutable file.
//!
//! ```text
//!   judge's memory ── add ─▶ run ┐               forget(before): runs whose newest time is before
//!                    add ─▶ run  ├─ look_up       │
//!                    add ─▶ run ┘                 ▼
//!                     └─ merge ─▶ one run      names nobody in memory needs ── remove_unnamed ─▶ files removed
//! ```
//! A key is a 128-bit hash; one key may have several event times. A run file is durable when `add` returns and never changes, so
//! a checkpoint only names it. A file goes when neither the runs in use nor a kept checkpoint name it.
//!
//! Memory: 12 bits a key for the filter and 8 bytes a page of 170 keys: 100 M keys take 147 MiB. Disk: 25.7 bytes a key.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use asof_disk::Disk;

use crate::StateError;
use crate::key_merge::{KeyMerge, MergedKeys};
use crate::key_run::KeyRun;
use crate::key_run_writer::{Place, make_folder, sequence_of};
use crate::new_run::{KeyFiles, NewRun, WrittenRun};

/// More runs than this are worth merging: each costs every lookup a cache line, and 0.4 % of them a read.
const RUNS_MAX: usize = 16;
/// Each writer generation has so many numbers for its runs.
const GENERATION_RUNS: u64 = 1 << 32;

/// A used event as deduplication knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyEntry {
    /// The hash of its primary key. The upper half must be spread evenly, as XXH3 does.
    pub hash: u128,
    /// Its event time, in microseconds.
    pub time_us: i64,
}

/// The runs of one partition of a stream, in a folder of their own.
#[derive(Debug)]
pub struct KeyRuns {
    place: Place,
    runs: Vec<Arc<KeyRun>>,
    next_sequence: u64,
    /// Entries before this event time are of no use any more.
    needed_from_us: i64,
    /// Files from this number on are a later writer's.
    sequence_end: u64,
    /// The run that a merge may be writing.
    merging: Option<u64>,
    /// The run that a [`NewRun`] may be writing.
    writing: Option<u64>,
}

impl KeyRuns {
    /// Opens the runs with these names, as [`names`](Self::names) gave them, and makes the folder if it is missing.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, names: &[String]) -> Result<KeyRuns, StateError> {
        make_folder(&*disk, folder)?;
        let place = Place { disk, folder: folder.to_path_buf() };
        let mut runs = Vec::with_capacity(names.len());
        for name in names {
            if sequence_of(name).is_none() {
                return Err(StateError::damaged(name, "it is named as a run of keys, but is not the name of one"));
            }
            runs.push(Arc::new(KeyRun::open(&*place.disk, folder, name)?));
        }
        // Files that no name was given of may belong to another checkpoint: their numbers are not used again.
        let used = KeyFiles::new(place.clone()).list()?.iter().filter_map(|name| sequence_of(name)).max();
        let next_sequence = used.map_or(0, |sequence| sequence.saturating_add(1));
        let (needed_from_us, sequence_end) = (i64::MIN, u64::MAX);
        Ok(KeyRuns { place, runs, next_sequence, needed_from_us, sequence_end, merging: None, writing: None })
    }

    /// Keeps to the numbers of one writer generation, so that writers that do not know of each other yet never write one file,
    /// and never remove what a later one has written.
    pub fn of_generation(mut self, generation: u64) -> KeyRuns {
        self.next_sequence = self.next_sequence.max(generation.saturating_mul(GENERATION_RUNS));
        self.sequence_end = generation.saturating_add(1).saturating_mul(GENERATION_RUNS);
        self
    }

    /// Writes a run of these entries, which it sorts. The run is durable when this returns; after an error, such as a full disk,
    /// no key is here and the caller still has them all.
    pub fn add(&mut self, entries: &mut [KeyEntry]) -> Result<(), StateError> {
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_unstable();
        let written = self.begin_run().write(entries.len() as u64, entries.iter().copied())?;
        self.join(written);
        Ok(())
    }

    /// Begins a run that is written elsewhere; [`join`](Self::join) takes it. If writing it failed, it is begun again.
    pub fn begin_run(&mut self) -> NewRun {
        let sequence = self.writing.unwrap_or_else(|| self.take_sequence());
        self.writing = Some(sequence);
        NewRun::new(self.place.clone(), sequence)
    }

    /// Takes a run that was written into use.
    pub fn join(&mut self, written: WrittenRun) {
        self.writing = None;
        self.runs.extend(written.into_run().map(Arc::new));
    }

    fn take_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    /// The event times under each of these hashes, as (number of the hash, time), in that order. Entries that were forgotten may
    /// be among them: the caller knows how far back a key counts.
    pub fn look_up(&self, hashes: &[u128]) -> Result<Vec<(usize, i64)>, StateError> {
        let mut found = Vec::new();
        for run in &self.runs {
            run.look_up(hashes, &mut found)?;
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Lets go of runs all of whose events lie before this time, and lets merges drop single ones. Returns the names of the runs
    /// that are no longer in use; their files stay until [`remove_unnamed`](Self::remove_unnamed).
    pub fn forget(&mut self, before_us: i64) -> Vec<String> {
        // It may lie before what was said the last time: of whoever comes with older keys nothing was here to be forgotten.
        self.needed_from_us = before_us;
        let needed_from_us = before_us;
        let gone = self.runs.extract_if(.., |run| run.newest_us() < needed_from_us);
        gone.map(|run| run.name().to_owned()).collect()
    }

    /// Removes files of runs that are neither in use nor among `named`: the names in all kept checkpoints. Returns how many.
    /// Only for a writer that has just made sure that nobody has taken over: it does not know the runs of another one.
    pub fn remove_unnamed(&self, named: &[String]) -> Result<usize, StateError> {
        let files = self.files();
        let unused = self.unused(&files.list()?, named);
        files.remove(&unused)?;
        Ok(unused.len())
    }

    /// The files, to list and remove them without holding the runs.
    pub fn files(&self) -> KeyFiles {
        KeyFiles::new(self.place.clone())
    }

    /// Which of the files listed before are neither in use nor being written nor among `named`.
    pub fn unused(&self, listed: &[String], named: &[String]) -> Vec<String> {
        let in_use: BTreeSet<&str> =
            self.runs.iter().map(|run| run.name()).chain(named.iter().map(String::as_str)).collect();
        let is_unused = |name: &&String| match sequence_of(name) {
            Some(sequence) if Some(sequence) == self.merging || Some(sequence) == self.writing => false,
            Some(sequence) => sequence < self.sequence_end && !in_use.contains(name.as_str()),
            None => false,
        };
        listed.iter().filter(is_unused).cloned().collect()
    }

    /// What to merge, if there are too many runs: the smaller ones, so that a key is written again a few times only. The merge
    /// itself may run on another thread, one at a time; [`adopt`](Self::adopt) takes its run.
    pub fn begin_merge(&mut self) -> Option<KeyMerge> {
        if self.runs.len() <= RUNS_MAX {
            return None;
        }
        let mut smaller = self.runs.clone();
        smaller.sort_by_key(|run| run.keys());
        smaller.truncate(self.runs.len() - RUNS_MAX / 2);
        let sequence = self.take_sequence();
        self.merging = Some(sequence);
        Some(KeyMerge::new(self.place.clone(), smaller, sequence, self.needed_from_us))
    }

    /// Puts a merged run in the place of those it was made of. Returns the names that are no longer in use.
    pub fn adopt(&mut self, merged: MergedKeys) -> Vec<String> {
        self.merging = None;
        let (run, made_of) = merged.into_parts();
        let gone = self.runs.extract_if(.., |run| made_of.iter().any(|of| Arc::ptr_eq(of, run)));
        let gone: Vec<String> = gone.map(|run| run.name().to_owned()).collect();
        // All that it was made of may have been forgotten meanwhile.
        let needed_from_us = self.needed_from_us;
        self.runs.extend(run.filter(|run| run.newest_us() >= needed_from_us).map(Arc::new));
        gone
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The names of the runs in use, for a checkpoint.
    pub fn names(&self) -> Vec<String> {
        self.runs.iter().map(|run| run.name().to_owned()).collect()
    }

    /// What filters and indexes take.
    pub fn memory_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.memory_bytes()).sum()
    }

    /// Entries in the runs in use.
    pub fn keys(&self) -> u64 {
        self.runs.iter().map(|run| run.keys()).sum()
    }
}
