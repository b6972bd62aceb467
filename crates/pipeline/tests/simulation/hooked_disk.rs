//! A disk on which something else happens in the middle of what one process does: another one takes over.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use asof_disk::Disk;
use asof_disk::hooked::{HookedDisk, Operation};

/// What is to happen, and before which operation from now on (0: the next one).
type Armed = Option<(u64, Box<dyn FnOnce() + Send>)>;

/// Where something is armed. It happens once.
#[derive(Clone, Default)]
pub(crate) struct Hook(Arc<Mutex<Armed>>);

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hook")
    }
}

impl Hook {
    pub(crate) fn arm(&self, operations: u64, act: Box<dyn FnOnce() + Send>) {
        *self.lock() = Some((operations, act));
    }

    /// Lets it happen now, if it has not. Returns whether it had not.
    pub(crate) fn fire(&self) -> bool {
        let armed = self.lock().take();
        let waited = armed.is_some();
        if let Some((_, act)) = armed {
            act();
        }
        waited
    }

    fn tick(&self) {
        let mut armed = self.lock();
        match &mut *armed {
            Some((0, _)) => {
                drop(armed);
                self.fire();
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Armed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk whose every operation, reads included, may be preceded by what is armed.
pub(crate) fn hooked(disk: Arc<dyn Disk>, hook: Hook) -> Arc<dyn Disk> {
    Arc::new(HookedDisk::new(disk, move |operation| {
        if !matches!(operation, Operation::Lock(_) | Operation::Bytes) {
            hook.tick();
        }
        Ok(())
    }))
}
