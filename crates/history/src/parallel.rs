//! Work on numbered parts, by several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::HistoryError;
use crate::stop::Stop;

/// Runs `work` for 0..count on `threads` threads; the first error stops the rest.
pub(crate) fn in_parallel(
    threads: usize,
    count: usize,
    stop: &Stop,
    work: impl Fn(usize) -> Result<(), HistoryError> + Sync,
) -> Result<(), HistoryError> {
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let worker = || {
        while !stopped.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                break;
            }
            if let Err(error) = stop.check().and_then(|()| work(place)) {
                stopped.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    let results: Vec<Result<(), HistoryError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(Err(HistoryError::Panicked))).collect()
    });
    results.into_iter().collect()
}
