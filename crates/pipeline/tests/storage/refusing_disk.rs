//! A disk that now and then does not open the file with the generation, as for want of descriptors, and on which another
//! process is beginning a segment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use asof_disk::Disk;
use asof_disk::hooked::{HookedDisk, Operation};

/// When that disk refuses what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals {
    /// Whether the generation is not opened.
    pub(crate) of_generation: Arc<AtomicBool>,
    /// How often it is still found that another process is beginning a segment.
    pub(crate) beginnings: Arc<AtomicUsize>,
}

pub(crate) fn refusing(disk: Arc<dyn Disk>, refusals: &Refusals) -> Arc<dyn Disk> {
    let refusals = refusals.clone();
    Arc::new(HookedDisk::new(disk, move |operation| match operation {
        Operation::Open(path) if path.ends_with("generation") && refusals.of_generation.load(Ordering::Relaxed) => {
            Err(io::Error::other("too many open files"))
        }
        Operation::Lock(path) if path.ends_with("beginning") => {
            let one_less = |left: usize| left.checked_sub(1);
            match refusals.beginnings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
                Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
                Err(_) => Ok(()),
            }
        }
        _ => Ok(()),
    }))
}
