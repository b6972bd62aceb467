//! Several runs become one: a merge of sorted files, which leaves out what was forgotten.
//!
//! Its inputs never change, so it may run beside lookups, additions and forgetting. What it needs of memory are some
//! 3 MiB for each input, and filter and index of the result.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::key_run::{KeyRun, RunEntries};
use crate::key_run_writer::{KeyRunWriter, Place};
use crate::{KeyEntry, StateError};

/// A merge to be done.
pub struct KeyMerge {
    place: Place,
    runs: Vec<Arc<KeyRun>>,
    sequence: u64,
    needed_from_us: i64,
}

/// A merge that is done: for [`KeyRuns::adopt`](crate::KeyRuns::adopt).
pub struct MergedKeys {
    run: Option<KeyRun>,
    made_of: Vec<Arc<KeyRun>>,
}

impl KeyMerge {
    pub(crate) fn new(place: Place, runs: Vec<Arc<KeyRun>>, sequence: u64, needed_from_us: i64) -> KeyMerge {
        KeyMerge { place, runs, sequence, needed_from_us }
    }

    /// Reads the runs and writes the merged one, durable when this returns.
    pub fn run(self) -> Result<MergedKeys, StateError> {
        let keys_max = self.runs.iter().map(|run| run.keys()).sum();
        let mut writer = KeyRunWriter::begin(&self.place, self.sequence, keys_max)?;
        let mut sorted = Sorted::new(&self.runs)?;
        let mut last = None;
        while let Some(entry) = sorted.next()? {
            if entry.time_us >= self.needed_from_us && last != Some(entry) {
                writer.push(entry)?;
                last = Some(entry);
            }
        }
        Ok(MergedKeys { run: writer.finish()?, made_of: self.runs })
    }
}

/// Keeps the memory of runs that a merged one replaces, so that it is given back when and where this is dropped.
pub struct ReplacedRuns {
    _runs: Vec<Arc<KeyRun>>,
}

impl MergedKeys {
    /// The runs that it replaces.
    pub fn replaced(&self) -> ReplacedRuns {
        ReplacedRuns { _runs: self.made_of.clone() }
    }

    pub(crate) fn into_parts(self) -> (Option<KeyRun>, Vec<Arc<KeyRun>>) {
        (self.run, self.made_of)
    }
}

/// The entries of several runs in one order.
struct Sorted {
    inputs: Vec<RunEntries>,
    /// The next entry of each input that has one, with the input's number.
    next: BinaryHeap<Reverse<(KeyEntry, usize)>>,
}

impl Sorted {
    fn new(runs: &[Arc<KeyRun>]) -> Result<Sorted, StateError> {
        let inputs = runs.iter().map(|run| run.entries()).collect();
        let mut sorted = Sorted { inputs, next: BinaryHeap::new() };
        (0..runs.len()).try_for_each(|input| sorted.refill(input))?;
        Ok(sorted)
    }

    fn next(&mut self) -> Result<Option<KeyEntry>, StateError> {
        let Some(Reverse((entry, input))) = self.next.pop() else { return Ok(None) };
        self.refill(input)?;
        Ok(Some(entry))
    }

    fn refill(&mut self, input: usize) -> Result<(), StateError> {
        if let Some(entry) = self.inputs[input].next()? {
            self.next.push(Reverse((entry, input)));
        }
        Ok(())
    }
}
