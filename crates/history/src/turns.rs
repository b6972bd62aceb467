//! Taking turns: work that runs in parallel but must be applied in the order of its numbers.

use std::sync::{Condvar, Mutex, PoisonError};

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    next: Mutex<u64>,
    changed: Condvar,
}

impl Turns {
    /// Waits for turn `number`, does `work` and passes the turn on. All numbers from 0 must come, each once; a number is
    /// never waited for by a thread that holds a later one, so somebody can always go on.
    pub(crate) fn take<R>(&self, number: u64, work: impl FnOnce() -> R) -> R {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        while *next != number {
            next = self.changed.wait(next).unwrap_or_else(PoisonError::into_inner);
        }
        drop(next);
        let _turn = Turn(self);
        work()
    }
}

/// A turn that is being taken; passed on when it ends, even by a panic.
struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_all();
    }
}
