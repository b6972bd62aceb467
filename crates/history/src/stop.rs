//! A wish to stop, asked from outside and seen between batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::HistoryError;

/// Shared between a job and whoever may want to end it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// Asks the job to stop; says whether it was asked before.
    pub fn ask(&self) -> bool {
        self.asked.swap(true, Ordering::Relaxed)
    }

    /// An error once it was asked.
    pub(crate) fn check(&self) -> Result<(), HistoryError> {
        if self.asked.load(Ordering::Relaxed) { Err(HistoryError::Stopped) } else { Ok(()) }
    }
}
