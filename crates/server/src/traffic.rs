//! What the server has done so far, told to whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that never go back, and the connections of the moment.
#[derive(Debug, Default)]
pub struct Traffic {
    reads: AtomicU64,
    rows: AtomicU64,
    connections: AtomicU64,
}

impl Traffic {
    /// Calls for features that were answered.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Rows in those answers.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, rows: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
