//! Which checkpoints are being written: their objects have no manifest yet and must not be taken for rubbish.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// The checkpoints in progress of one store.
#[derive(Debug, Default)]
pub(crate) struct InProgress {
    writers: Mutex<Writers>,
}

#[derive(Debug, Default)]
struct Writers {
    begun: u64,
    running: BTreeMap<u64, Uses>,
}

/// What checkpoints in progress use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    /// Their epochs.
    pub(crate) epochs: BTreeSet<u64>,
    /// Objects of earlier checkpoints that they keep.
    pub(crate) kept: BTreeSet<String>,
}

impl InProgress {
    pub(crate) fn begin(self: &Arc<Self>, epoch: u64) -> Progress {
        let mut writers = self.lock();
        let number = writers.begun;
        writers.begun += 1;
        writers.running.insert(number, Uses { epochs: BTreeSet::from([epoch]), kept: BTreeSet::new() });
        Progress { all: Arc::clone(self), number }
    }

    /// What is used at this moment.
    pub(crate) fn uses(&self) -> Uses {
        let mut all = Uses::default();
        for uses in self.lock().running.values() {
            all.epochs.extend(&uses.epochs);
            all.kept.extend(uses.kept.iter().cloned());
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().expect("nobody panics while holding the lock")
    }
}

/// A checkpoint is in progress as long as this lives.
#[derive(Debug)]
pub(crate) struct Progress {
    all: Arc<InProgress>,
    number: u64,
}

impl Progress {
    pub(crate) fn keep(&self, path: &str) {
        let mut writers = self.all.lock();
        let uses = writers.running.get_mut(&self.number).expect("it runs until this is dropped");
        uses.kept.insert(path.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.all.lock().running.remove(&self.number);
    }
}
