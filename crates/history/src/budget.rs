//! The memory that waiting batches may take, shared by everything that waits.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound in bytes and how much of it is taken.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: usize,
    taken_bytes: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Budget {
        Budget { limit_bytes, taken_bytes: AtomicUsize::new(0) }
    }

    /// Takes `bytes` and says whether the bound is passed, so that the taker should move something to disk.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.taken_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit_bytes
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub(crate) fn taken_bytes(&self) -> usize {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.taken_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
