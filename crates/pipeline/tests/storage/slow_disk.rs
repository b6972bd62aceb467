//! A disk of which every sync of a file takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use asof_disk::Disk;
use asof_disk::hooked::{HookedDisk, Operation};

/// A sync takes `sync_us` microseconds by `clock`.
pub(crate) fn slow(disk: Arc<dyn Disk>, clock: Arc<AtomicI64>, sync_us: i64) -> Arc<dyn Disk> {
    Arc::new(HookedDisk::new(disk, move |operation| {
        if matches!(operation, Operation::Sync(_)) {
            clock.fetch_add(sync_us, Ordering::Relaxed);
        }
        Ok(())
    }))
}
